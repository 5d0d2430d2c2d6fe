//! Moments: neighbouring keyframes of a scene that were found together.

use std::collections::HashMap;

use rusqlite::OptionalExtension;
use serde::Serialize;

use super::index::{IndexFault, SearchIndex, record_name};
use super::ranking::KeyframeHit;
use crate::archive::layout::{thumbnail, video_file};
use crate::archive::record::RecordName;

/// A moment that answers a query. Times are in seconds from the start of its video.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Moment {
    /// Place among the answers, from 1.
    pub rank: usize,
    /// What the answers are ordered by: the cosine for a query by meaning, BM25 for one by words, and both combined for one
    /// by both.
    pub score: f64,
    /// Cosine of the query and the keyframe; none for a query by words, and for keyframes of another model.
    pub similarity: Option<f32>,
    /// BM25 of the caption; none where it has none of the words.
    pub words: Option<f64>,
    /// The video's name in the archive.
    pub video: String,
    /// Start of the first keyframe's section.
    pub start: f64,
    /// End of the last keyframe's section.
    pub end: f64,
    /// Time of the best keyframe.
    pub keyframe: f64,
    /// Ordinal of the scene in the video, from 1.
    pub scene: i32,
    /// Caption of the best keyframe; none where it has no cue.
    pub caption: Option<String>,
    /// Calibrated score of the caption, 0 to 1.
    pub caption_score: Option<f32>,
    /// Number of keyframes: neighbours in the scene that were all found.
    pub keyframes: usize,
    /// Name and version of the model.
    pub model: String,
    /// The record of the video.
    #[serde(skip)]
    pub record: RecordName,
    /// Time of the best keyframe in milliseconds.
    #[serde(skip)]
    pub keyframe_ms: i64,
    /// Whether the archive has a thumbnail of the best keyframe.
    #[serde(skip)]
    pub has_thumbnail: bool,
}

impl Moment {
    /// Path of the thumbnail from the archive's root; none where there is none.
    pub fn thumbnail(&self) -> Option<String> {
        self.has_thumbnail.then(|| video_file(self.record, &thumbnail(self.keyframe_ms)))
    }
}

/// The best keyframe of a moment, and what its neighbours add.
pub(super) struct SceneMatch {
    best: KeyframeHit,
    /// Numbers of the first and the last keyframe.
    first: u32,
    last: u32,
    start_ms: i64,
    end_ms: i64,
    keyframes: usize,
}

/// Turns keyframes, best first, into moments: a keyframe beside one that was found before in the same scene joins it.
pub(super) fn collapse(index: &SearchIndex, hits: &[KeyframeHit], limit: usize) -> Vec<SceneMatch> {
    let mut moments: Vec<SceneMatch> = Vec::new();
    let mut scenes: HashMap<(u32, i32), Vec<usize>> = HashMap::new();
    for hit in hits {
        let facts = index.now.files[hit.id.file as usize].1.facts(hit.id.row as usize);
        let scene = scenes.entry((facts.video, facts.scene)).or_default();
        let beside =
            |m: &SceneMatch| facts.number.saturating_add(1) >= m.first && facts.number <= m.last.saturating_add(1);
        if let Some(&at) = scene.iter().find(|at| beside(&moments[**at])) {
            let moment = &mut moments[at];
            moment.first = moment.first.min(facts.number);
            moment.last = moment.last.max(facts.number);
            moment.start_ms = moment.start_ms.min(facts.start_ms);
            moment.end_ms = moment.end_ms.max(facts.end_ms);
            moment.keyframes += 1;
        } else if moments.len() < limit {
            scene.push(moments.len());
            moments.push(SceneMatch {
                best: *hit,
                first: facts.number,
                last: facts.number,
                start_ms: facts.start_ms,
                end_ms: facts.end_ms,
                keyframes: 1,
            });
        }
    }
    moments
}

/// Looks up everything that is reported of a moment.
pub(super) fn read_moment(index: &SearchIndex, rank: usize, moment: &SceneMatch) -> Result<Moment, IndexFault> {
    let KeyframeHit { id, similarity, words, score } = moment.best;
    let (model, file) = &index.now.files[id.file as usize];
    let facts = file.facts(id.row as usize);
    let mut query = index.db.prepare_cached("SELECT name, key, state FROM videos WHERE id = ?1")?;
    let (video, key, state) = query.query_row([facts.video], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?;
    let mut query = index.db.prepare_cached("SELECT text FROM texts WHERE id = ?1")?;
    let caption: Option<String> = query.query_row([facts.text], |r| r.get(0)).optional()?;
    if caption.is_none() && facts.text != 0 {
        return Err(IndexFault::Damaged("a caption is missing".into()));
    }
    let secs = |ms: i64| ms as f64 / 1e3;
    Ok(Moment {
        rank,
        score,
        similarity,
        words,
        video,
        start: secs(moment.start_ms),
        end: secs(moment.end_ms),
        keyframe: secs(facts.keyframe_ms),
        scene: facts.scene,
        caption,
        caption_score: Some(facts.score).filter(|s| s.is_finite()),
        keyframes: moment.keyframes,
        model: index.now.models.iter().find(|m| m.id == *model).map_or(String::new(), |m| m.name.clone()),
        record: record_name(key, state),
        keyframe_ms: facts.keyframe_ms,
        has_thumbnail: facts.thumbnail,
    })
}
