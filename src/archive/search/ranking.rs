//! Ranks the keyframes that were found by meaning and by words in one list.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::fuse::FusionScale;
use super::index::{IndexFault, SearchIndex, VectorFile, most_ids};
use super::query::SearchQuery;
use super::scan::{RowId, ScanQuery, ScoredRow};
use super::words;

/// Keyframes whose similarity is averaged, to rank those of other models.
const AVERAGED: usize = 1_000;

/// A keyframe that was found.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeyframeHit {
    pub(super) id: RowId,
    pub(super) similarity: Option<f32>,
    pub(super) words: Option<f64>,
    pub(super) score: f64,
}

/// BM25 of the captions that have words of a query, by id of the caption. Eight bytes per caption: every keyframe looks its
/// caption up here, and a hash map would take longer than everything else.
#[derive(Default)]
pub(super) struct CaptionScores(Vec<f64>);

impl CaptionScores {
    /// Searches all captions for words.
    pub(super) fn read(index: &SearchIndex, text: &str) -> Result<CaptionScores, IndexFault> {
        let Some(expression) = words::expression(text) else { return Ok(CaptionScores::default()) };
        let mut scores = Vec::new();
        let last: Option<u32> = index.db.query_row("SELECT max(id) FROM texts", [], |r| r.get(0))?;
        let last = last.unwrap_or(0) as usize;
        // Every caption is that of a keyframe.
        let keyframes = index.now.files.iter().map(|(_, file)| file.rows()).sum();
        if last > most_ids(keyframes) {
            return Err(IndexFault::Damaged("most of its numbers for captions are unused".into()));
        }
        let mut query = index.db.prepare_cached("SELECT rowid, -bm25(words) FROM words WHERE words MATCH ?1")?;
        let mut rows = query.query([expression])?;
        while let Some(row) = rows.next()? {
            let (id, bm25): (u32, f64) = (row.get(0)?, row.get(1)?);
            let at = id as usize;
            if at > last {
                return Err(IndexFault::Damaged(format!("caption {id} has words but no text")));
            }
            if scores.len() <= at {
                scores.resize(at + 1, 0.0);
            }
            scores[at] = bm25;
        }
        Ok(CaptionScores(scores))
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// None where the caption has none of the words: FTS5 scores all others above 0.
    fn get(&self, text: u32) -> Option<f64> {
        self.0.get(text as usize).copied().filter(|bm25| *bm25 > 0.0)
    }
}

/// The keyframes whose captions match best, best first; at most `limit`.
pub(super) fn find_by_words(
    index: &SearchIndex,
    captions: &CaptionScores,
    accepts: &dyn Fn(&VectorFile, usize) -> bool,
    limit: usize,
    order: &dyn Fn(&RowId) -> (u64, u32),
) -> Vec<RowId> {
    let mut found: Vec<(Reverse<u64>, (u64, u32), RowId)> = Vec::new();
    if captions.is_empty() || limit == 0 {
        return Vec::new();
    }
    for (number, (_, file)) in (0..).zip(&index.now.files) {
        for (row, text) in file.texts().iter().enumerate() {
            if let Some(bm25) = captions.get(*text)
                && accepts(file, row)
            {
                let id = RowId { file: number, row: row as u32 };
                // The bits of positive floats have the order of the floats.
                found.push((Reverse(bm25.to_bits()), order(&id), id));
                if found.len() >= limit.saturating_mul(4) {
                    found.select_nth_unstable(limit - 1);
                    found.truncate(limit);
                }
            }
        }
    }
    found.sort_unstable();
    found.truncate(limit);
    found.into_iter().map(|(_, _, id)| id).collect()
}

/// The results of both ways to search, and what they were found with.
pub(super) struct ResultLists<'a> {
    pub(super) index: &'a SearchIndex,
    pub(super) query: &'a SearchQuery,
    /// The embedding, where the index has keyframes of its model.
    pub(super) embedding: Option<&'a ScanQuery>,
    /// The files of that model.
    pub(super) files: &'a [(u32, &'a VectorFile)],
    pub(super) by_meaning: &'a [ScoredRow],
    pub(super) by_words: &'a [RowId],
    pub(super) captions: &'a CaptionScores,
}

impl ResultLists<'_> {
    /// All keyframes of both lists, best first; equals in the order of `order`.
    pub(super) fn rank(&self, order: &dyn Fn(&RowId) -> (u64, u32)) -> Vec<KeyframeHit> {
        let cosines: HashMap<RowId, f32> = self.by_meaning.iter().map(|s| (s.id, s.score)).collect();
        let similarity = |id: &RowId| cosines.get(id).copied().or_else(|| self.similarity(id));
        let scale = self.by_meaning.first().map(|best| FusionScale {
            cosine: best.score.into(),
            bm25: self.by_words.first().and_then(|id| self.bm25(id)).unwrap_or_default(),
        });
        let unknown = self.unknown_similarity(&similarity);
        let hit = |id: RowId| {
            let (similarity, bm25) = (similarity(&id), self.bm25(&id));
            let cosine = similarity.map(f64::from);
            let score = match (&scale, self.query.embedding.is_some(), self.query.words.is_some()) {
                (Some(scale), true, true) => scale.fused(cosine.unwrap_or(unknown), bm25),
                (_, true, false) => cosine.unwrap_or_default(),
                _ => bm25.unwrap_or_default(),
            };
            KeyframeHit { id, similarity, words: bm25, score }
        };
        let least = self.query.min_similarity;
        let similar = |h: &KeyframeHit| least.is_none_or(|least| h.similarity.is_some_and(|s| s >= least));
        let only_by_words = self.by_words.iter().copied().filter(|id| !cosines.contains_key(id));
        let all = self.by_meaning.iter().map(|s| s.id).chain(only_by_words);
        let mut hits: Vec<KeyframeHit> = all.map(hit).filter(similar).collect();
        let cosine = |h: &KeyframeHit| h.similarity.unwrap_or(f32::NEG_INFINITY);
        hits.sort_by(|a, b| {
            b.score
                .total_cmp(&a.score)
                .then(cosine(b).total_cmp(&cosine(a)))
                .then_with(|| order(&a.id).cmp(&order(&b.id)))
        });
        hits
    }

    /// The cosine of a keyframe; none where another model made its embedding.
    fn similarity(&self, id: &RowId) -> Option<f32> {
        let comparable = self.files.iter().any(|(n, _)| *n == id.file);
        let file = &self.index.now.files[id.file as usize].1;
        self.embedding.filter(|_| comparable).map(|q| q.score(file.embedding(id.row as usize)))
    }

    fn bm25(&self, id: &RowId) -> Option<f64> {
        let file = &self.index.now.files[id.file as usize].1;
        self.captions.get(file.texts()[id.row as usize])
    }

    /// What keyframes of another model count as: the average similarity of the captions with the words, or the lowest one
    /// that was found.
    fn unknown_similarity(&self, similarity: &dyn Fn(&RowId) -> Option<f32>) -> f64 {
        let lowest = self.by_meaning.last().map_or(0.0, |s| f64::from(s.score));
        if self.files.len() == self.index.now.files.len() {
            return lowest;
        }
        let known = self.by_words.iter().take(AVERAGED).filter_map(similarity).map(f64::from);
        let (sum, count) = known.fold((0.0, 0), |(sum, count), s| (sum + s, count + 1));
        if count > 0 { sum / f64::from(count) } else { lowest }
    }
}
