//! Answers one query from one state of an index.

use super::index::{CAPTIONS, IndexFault, SCREENS, SearchIndex, VectorFile};
use super::moments::{Moment, collapse, read_moment};
use super::query::{QueryEmbedding, SearchQuery};
use super::ranking::{ResultLists, TextScores, find_by_words};
use super::scan::{RowId, ScanOptions, ScanQuery, ScoredRow, nearest};

/// The least number of keyframes in each list, before they are turned into moments. A scan for this many costs the same as
/// one for ten.
const MIN_DEPTH: usize = 1_000;

/// Which keyframes may answer.
struct KeyframeFilter<'a> {
    query: &'a SearchQuery,
    /// By id of the video.
    videos: Vec<bool>,
    /// Whether the query limits nothing.
    accepts_most: bool,
}

impl KeyframeFilter<'_> {
    fn new<'a>(index: &SearchIndex, query: &'a SearchQuery) -> Result<KeyframeFilter<'a>, IndexFault> {
        let mut videos: Vec<bool> = index.now.videos.iter().map(Option::is_some).collect();
        if !query.files.is_empty() {
            let named = videos_named(index, &query.files)?;
            videos.iter_mut().zip(named).for_each(|(video, named)| *video &= named);
        }
        let accepts_most =
            query.files.is_empty() && query.from_ms.is_none() && query.until_ms.is_none() && query.min_score.is_none();
        Ok(KeyframeFilter { query, videos, accepts_most })
    }

    fn accepts(&self, file: &VectorFile, row: usize) -> bool {
        let video = file.videos()[row] as usize;
        self.videos.get(video).copied().unwrap_or(false)
            && self.query.from_ms.is_none_or(|t| file.ends()[row] > t)
            && self.query.until_ms.is_none_or(|t| file.starts()[row] < t)
            && self.query.min_score.is_none_or(|s| file.scores()[row] >= s)
    }
}

/// Which videos have a name that matches a pattern, by id.
fn videos_named(index: &SearchIndex, patterns: &[String]) -> Result<Vec<bool>, IndexFault> {
    let mut named = vec![false; index.now.videos.len()];
    for pattern in patterns {
        let query = match pattern.contains(['*', '?', '[']) {
            true => "SELECT id FROM videos WHERE lower(name) GLOB lower(?1)",
            false => "SELECT id FROM videos WHERE instr(lower(name), lower(?1)) > 0",
        };
        let mut query = index.db.prepare_cached(query)?;
        let mut rows = query.query([pattern])?;
        while let Some(row) = rows.next()? {
            let id: i64 = row.get(0)?;
            if let Some(named) = named.get_mut(id as usize) {
                *named = true;
            }
        }
    }
    Ok(named)
}

/// The moments that answer a query, best first.
pub(super) fn answer(index: &SearchIndex, query: &SearchQuery) -> Result<Vec<Moment>, IndexFault> {
    let now = &index.now;
    let filter = KeyframeFilter::new(index, query)?;
    let captions = match &query.words {
        Some(words) => TextScores::of_captions(index, words)?,
        None => TextScores::none(&CAPTIONS),
    };
    let screens = match &query.on_screen {
        Some(words) => TextScores::of_screens(index, words)?,
        None => TextScores::none(&SCREENS),
    };
    let same_model =
        |e: &QueryEmbedding| now.models.iter().find(|m| m.hash == e.model_hash && m.dimension == e.embedding.len());
    let model = query.embedding.as_ref().and_then(same_model);
    let embedding = query.embedding.as_ref().filter(|_| model.is_some()).map(|e| ScanQuery::new(&e.embedding));
    let files: Vec<(u32, &VectorFile)> = (0..)
        .zip(&now.files)
        .filter(|(_, (id, _))| model.is_some_and(|model| model.id == *id))
        .map(|(number, (_, file))| (number, file))
        .collect();
    // By the video's key, then by time.
    let order = |id: &RowId| {
        let (file, row) = (&now.files[id.file as usize].1, id.row as usize);
        let video = file.videos()[row] as usize;
        (now.videos.get(video).copied().flatten().unwrap_or(0), file.numbers()[row])
    };
    let accepts = |file: &VectorFile, row: usize| filter.accepts(file, row);
    let mut depth = query.limit.saturating_mul(4).max(MIN_DEPTH);
    loop {
        let options = ScanOptions {
            limit: depth,
            threads: query.threads,
            accepts: &accepts,
            accepts_most: filter.accepts_most,
            order: &order,
        };
        let by_meaning = find_by_meaning(&files, embedding.as_ref(), &options)?;
        let by_words = find_by_words(index, &captions, &accepts, depth, &order);
        let by_text = find_by_words(index, &screens, &accepts, depth, &order);
        // With a minimum similarity, the lists by words add nothing to a list by meaning that reaches below it.
        let below = by_meaning.last().is_some_and(|last| query.min_similarity.is_some_and(|least| last.score < least));
        let all_words = by_words.len() < depth && by_text.len() < depth;
        let exhausted = (by_meaning.len() < depth || below) && (all_words || query.min_similarity.is_some());
        let lists = ResultLists {
            index,
            query,
            embedding: embedding.as_ref(),
            files: &files,
            by_meaning: &by_meaning,
            by_words: &by_words,
            by_text: &by_text,
            captions: &captions,
            screens: &screens,
        };
        let moments = collapse(index, &lists.rank(&order), query.limit);
        if moments.len() >= query.limit || exhausted {
            return moments.iter().enumerate().map(|(n, m)| read_moment(index, query, n + 1, m)).collect();
        }
        // One long scene may have filled the lists.
        depth = depth.saturating_mul(4);
    }
}

/// The keyframes most similar to an embedding, best first; none without an embedding.
fn find_by_meaning(
    files: &[(u32, &VectorFile)],
    embedding: Option<&ScanQuery>,
    options: &ScanOptions<'_>,
) -> Result<Vec<ScoredRow>, IndexFault> {
    let Some(embedding) = embedding else { return Ok(Vec::new()) };
    nearest(files, embedding, options).map_err(|e| {
        let RowId { file, row } = e.0;
        IndexFault::Damaged(format!("the codes and the embedding of row {row} in file {file} differ"))
    })
}
