//! Ranks the keyframes that were found by meaning, by words and by the text on the screen in one list.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use super::fuse::{FusionScale, ScreenScore};
use super::index::{CAPTIONS, IndexFault, SCREENS, SearchIndex, TextTables, VectorFile, most_ids};
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
    pub(super) screen: Option<ScreenScore>,
    pub(super) score: f64,
}

/// BM25 of the captions, or of the texts of the screen, that have words of a query, by id. Eight bytes per text: every keyframe
/// looks its text up here, and a hash map would take longer than everything else.
pub(super) struct TextScores {
    kind: &'static TextTables,
    bm25: Vec<f64>,
    /// How many of the words a text has, and how many there are; empty unless they were counted.
    counts: Vec<u8>,
    words: usize,
}

impl TextScores {
    /// None of the texts has any.
    pub(super) fn none(kind: &'static TextTables) -> TextScores {
        TextScores { kind, bm25: Vec::new(), counts: Vec::new(), words: 0 }
    }

    /// Searches all captions for words.
    pub(super) fn of_captions(index: &SearchIndex, text: &str) -> Result<TextScores, IndexFault> {
        TextScores::read(index, &CAPTIONS, text)
    }

    /// Searches all texts of the screen for words, and counts them.
    pub(super) fn of_screens(index: &SearchIndex, text: &str) -> Result<TextScores, IndexFault> {
        let mut scores = TextScores::read(index, &SCREENS, text)?;
        let words = words::each_word(text);
        scores.counts = vec![0; scores.bm25.len()];
        scores.words = words.len();
        let query = format!("SELECT rowid FROM {0} WHERE {0} MATCH ?1", SCREENS.words);
        let mut query = index.db.prepare_cached(&query)?;
        for word in words {
            let mut rows = query.query([word])?;
            while let Some(row) = rows.next()? {
                let id: u32 = row.get(0)?;
                let count = scores.counts.get_mut(id as usize);
                let count = count.ok_or_else(|| IndexFault::Damaged(format!("text {id} has a word and no score")))?;
                *count = count.saturating_add(1);
            }
        }
        Ok(scores)
    }

    fn read(index: &SearchIndex, kind: &'static TextTables, text: &str) -> Result<TextScores, IndexFault> {
        let Some(expression) = words::expression(text) else { return Ok(TextScores::none(kind)) };
        let TextTables { texts, words, .. } = kind;
        let mut scores = Vec::new();
        let last: Option<u32> = index.db.query_row(&format!("SELECT max(id) FROM {texts}"), [], |r| r.get(0))?;
        let last = last.unwrap_or(0) as usize;
        // Every text is that of a keyframe.
        let keyframes = index.now.files.iter().map(|(_, file)| file.rows()).sum();
        if last > most_ids(keyframes) {
            return Err(IndexFault::Damaged(format!("most of its numbers for {texts} are unused")));
        }
        let query = format!("SELECT rowid, -bm25({words}) FROM {words} WHERE {words} MATCH ?1");
        let mut query = index.db.prepare_cached(&query)?;
        let mut rows = query.query([expression])?;
        while let Some(row) = rows.next()? {
            let (id, bm25): (u32, f64) = (row.get(0)?, row.get(1)?);
            let at = id as usize;
            if at > last {
                return Err(IndexFault::Damaged(format!("number {id} of {texts} has words but no text")));
            }
            if scores.len() <= at {
                scores.resize(at + 1, 0.0);
            }
            scores[at] = bm25;
        }
        Ok(TextScores { bm25: scores, ..TextScores::none(kind) })
    }

    fn is_empty(&self) -> bool {
        self.bm25.is_empty()
    }

    /// None where the text has none of the words: FTS5 scores all others above 0.
    fn get(&self, text: u32) -> Option<f64> {
        self.bm25.get(text as usize).copied().filter(|bm25| *bm25 > 0.0)
    }

    /// The score of a keyframe's text.
    fn of_row(&self, file: &VectorFile, row: usize) -> Option<ScreenScore> {
        let text = (self.kind.ids)(file)[row];
        let count = self.counts.get(text as usize).copied().unwrap_or_default();
        let words = if self.words == 0 { 0.0 } else { f64::from(count) / self.words as f64 };
        self.get(text).map(|bm25| ScreenScore { bm25, words })
    }
}

/// The keyframes whose texts match best, best first; at most `limit`.
pub(super) fn find_by_words(
    index: &SearchIndex,
    texts: &TextScores,
    accepts: &dyn Fn(&VectorFile, usize) -> bool,
    limit: usize,
    order: &dyn Fn(&RowId) -> (u64, u32),
) -> Vec<RowId> {
    let mut found: Vec<(Reverse<u64>, (u64, u32), RowId)> = Vec::new();
    if texts.is_empty() || limit == 0 {
        return Vec::new();
    }
    for (number, (_, file)) in (0..).zip(&index.now.files) {
        for (row, text) in (texts.kind.ids)(file).iter().enumerate() {
            if let Some(bm25) = texts.get(*text)
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

/// The results of all ways to search, and what they were found with.
pub(super) struct ResultLists<'a> {
    pub(super) index: &'a SearchIndex,
    pub(super) query: &'a SearchQuery,
    /// The embedding, where the index has keyframes of its model.
    pub(super) embedding: Option<&'a ScanQuery>,
    /// The files of that model.
    pub(super) files: &'a [(u32, &'a VectorFile)],
    pub(super) by_meaning: &'a [ScoredRow],
    pub(super) by_words: &'a [RowId],
    pub(super) by_text: &'a [RowId],
    pub(super) captions: &'a TextScores,
    pub(super) screens: &'a TextScores,
}

impl ResultLists<'_> {
    /// All keyframes of the lists, best first; equals in the order of `order`.
    pub(super) fn rank(&self, order: &dyn Fn(&RowId) -> (u64, u32)) -> Vec<KeyframeHit> {
        let cosines: HashMap<RowId, f32> = self.by_meaning.iter().map(|s| (s.id, s.score)).collect();
        let similarity = |id: &RowId| cosines.get(id).copied().or_else(|| self.similarity(id));
        let scale = self.by_meaning.first().map(|best| FusionScale {
            cosine: best.score.into(),
            bm25: self.by_words.first().and_then(|id| self.bm25(id)).unwrap_or_default(),
            screen: self.by_text.first().and_then(|id| self.screen(id)).map_or(0.0, |screen| screen.bm25),
        });
        let is_text = self.query.words.is_some() || self.query.on_screen.is_some();
        let unknown = self.unknown_similarity(&similarity);
        let hit = |id: RowId| {
            let (similarity, words, screen) = (similarity(&id), self.bm25(&id), self.screen(&id));
            let cosine = similarity.map(f64::from);
            let score = match (&scale, self.query.embedding.is_some(), is_text) {
                (Some(scale), true, true) => scale.fused(cosine.unwrap_or(unknown), words, screen),
                (_, true, false) => cosine.unwrap_or_default(),
                _ => words.unwrap_or_default() + screen.map_or(0.0, |screen| screen.bm25),
            };
            KeyframeHit { id, similarity, words, screen, score }
        };
        let least = self.query.min_similarity;
        let similar = |h: &KeyframeHit| least.is_none_or(|least| h.similarity.is_some_and(|s| s >= least));
        let mut known: HashSet<RowId> = cosines.keys().copied().collect();
        let only_by_words = self.by_words.iter().chain(self.by_text).copied().filter(|id| known.insert(*id));
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
        self.captions.of_row(file, id.row as usize).map(|score| score.bm25)
    }

    fn screen(&self, id: &RowId) -> Option<ScreenScore> {
        self.screens.of_row(&self.index.now.files[id.file as usize].1, id.row as usize)
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
