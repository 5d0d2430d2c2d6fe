//! Moments: neighbouring keyframes of a scene that were found together.

use std::cmp::Reverse;
use std::collections::HashMap;

use rusqlite::OptionalExtension;
use serde::Serialize;

use super::index::{IndexFault, MARKS, MarkedLine, ScreenLine, SearchIndex, record_name, unspaced};
use super::query::SearchQuery;
use super::ranking::KeyframeHit;
use super::words::expression;
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
    /// BM25 of the text that appears on the screen; none where it has none of the words.
    pub text: Option<f64>,
    /// The video's name in the archive.
    pub video: String,
    /// Start of the first keyframe's section; where all words of the query appear on the screen, when they do.
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
    /// The lines on the screen that have words of the query, in order of their start.
    pub shown: Vec<ShownLine>,
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
    /// From where to play the video, in milliseconds: when the words appear on the screen, or the best keyframe.
    #[serde(skip)]
    pub play_ms: i64,
    /// Whether the archive has a thumbnail of the best keyframe.
    #[serde(skip)]
    pub has_thumbnail: bool,
}

/// A line of text on the screen. Times are in seconds from the start of the video.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ShownLine {
    /// As it is written.
    pub text: String,
    /// When it is seen first.
    pub start: f64,
    /// When it is gone, or when the section of its keyframe ends.
    pub end: f64,
    /// Left and top edge, width and height, in shares of the picture.
    #[serde(rename = "box")]
    pub place: [f32; 4],
    /// How likely it was read correctly, 0 to 1.
    pub confidence: f32,
    /// How it behaves: `title`, `subtitle`, `static`, `rolling`, `counter` or `scene`.
    pub kind: String,
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
pub(super) fn read_moment(
    index: &SearchIndex,
    asked: &SearchQuery,
    rank: usize,
    moment: &SceneMatch,
) -> Result<Moment, IndexFault> {
    let KeyframeHit { id, similarity, words, screen, score } = moment.best;
    let (model, file) = &index.now.files[id.file as usize];
    let facts = file.facts(id.row as usize);
    let mut query = index.db.prepare_cached("SELECT name, key, state FROM videos WHERE id = ?1")?;
    let (video, key, state) = query.query_row([facts.video], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?;
    let mut query = index.db.prepare_cached("SELECT text FROM texts WHERE id = ?1")?;
    let caption: Option<String> = query.query_row([facts.text], |r| r.get(0)).optional()?;
    let caption = caption.as_deref().map(unspaced);
    if caption.is_none() && facts.text != 0 {
        return Err(IndexFault::Damaged("a caption is missing".into()));
    }
    let shown = match &asked.on_screen {
        Some(text) if screen.is_some() => read_lines(index, facts.screen, text)?,
        _ => Vec::new(),
    };
    // The line with the most words, the first of several.
    let line = shown.iter().min_by_key(|m| (Reverse(m.marks), m.line.start_ms)).map(|m| &m.line);
    let is_text = asked.embedding.is_none() && asked.words.is_none() || screen.is_some_and(|s| s.words >= 1.0);
    let from = line.filter(|_| is_text).map(|line| line.start_ms.min(moment.end_ms).max(moment.start_ms));
    let secs = |ms: i64| ms as f64 / 1e3;
    let shown_line = |MarkedLine { text, line, .. }: MarkedLine| {
        let ScreenLine { start_ms, end_ms, place, confidence, kind } = line;
        ShownLine { text, start: secs(start_ms), end: secs(end_ms), place, confidence, kind }
    };
    Ok(Moment {
        rank,
        score,
        similarity,
        words,
        text: screen.map(|s| s.bm25),
        video,
        start: secs(from.unwrap_or(moment.start_ms)),
        end: secs(moment.end_ms),
        keyframe: secs(facts.keyframe_ms),
        scene: facts.scene,
        caption,
        caption_score: Some(facts.score).filter(|s| s.is_finite()),
        shown: shown.into_iter().map(shown_line).collect(),
        keyframes: moment.keyframes,
        model: index.now.models.iter().find(|m| m.id == *model).map_or(String::new(), |m| m.name.clone()),
        record: record_name(key, state),
        keyframe_ms: facts.keyframe_ms,
        play_ms: from.unwrap_or(facts.keyframe_ms),
        has_thumbnail: facts.thumbnail,
    })
}

/// The lines of a text of the screen that have words of a query.
fn read_lines(index: &SearchIndex, screen: u32, words: &str) -> Result<Vec<MarkedLine>, IndexFault> {
    let Some(expression) = expression(words) else { return Ok(Vec::new()) };
    let [open, close] = MARKS.map(String::from);
    let mut query = index.db.prepare_cached(
        "SELECT highlight(screen_words, 0, ?3, ?4) FROM screen_words WHERE rowid = ?1 AND screen_words MATCH ?2",
    )?;
    let text: String = query.query_row((screen, expression, open, close), |r| r.get(0))?;
    let mut query = index.db.prepare_cached("SELECT lines FROM screens WHERE id = ?1")?;
    let places: String = query.query_row([screen], |r| r.get(0))?;
    ScreenLine::marked(&text, &places)
}
