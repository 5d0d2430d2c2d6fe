//! Search: moments of an archive by what is to be seen in them.
//!
//! A [`Search`] holds an index that was made from the archive's tables ([`index`]). It finds keyframes by meaning (the dot
//! product of a query's embedding with theirs, [`scan`]) and by the words of their captions (BM25), fuses both lists
//! ([`fuse`]), and makes one moment of neighbouring keyframes of one scene. [`page`] shows moments as HTML.
//!
//! Order: best first; among equals by the videos' keys and time. The same archive gives the same moments, whichever way its
//! index came about and however many threads look. Memory: what a list may hold ([`DEPTH`], or as much as the moments
//! that are wanted need), besides what [`index`] and [`scan`] need.

pub mod fuse;
pub mod index;
pub mod page;
pub mod scan;
pub mod segment;
pub mod words;

use std::cmp::Reverse;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use rusqlite::OptionalExtension;
use serde::Serialize;

use crate::archive::record::Name;
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use index::{Fault, Index, Report, Source, Step};
use scan::{Best, Place, Query, Scored};
use segment::Segment;

/// Keyframes that each list holds at least, before moments are made of them.
const DEPTH: usize = 1_000;

/// What is to be found.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Look for these words in captions.
    pub words: Option<String>,
    /// Look for what is like this, among embeddings of the same model.
    pub like: Option<Like>,
    /// Only in videos whose names match one of these: with `*`, `?` or `[` as a whole, else in part, whatever the case.
    /// Default: all.
    pub files: Vec<String>,
    /// Only moments that end after this. Default: none.
    pub from_ms: Option<i64>,
    /// Only moments that begin before this. Default: none.
    pub until_ms: Option<i64>,
    /// Only captions of at least this score. Default: none.
    pub min_score: Option<f32>,
    /// Only what is at least so like. Default: none.
    pub min_similarity: Option<f32>,
    /// Moments at most.
    pub limit: usize,
    /// Threads that look. Default: one a core.
    pub threads: usize,
}

/// An embedding of length 1, and which model made it.
#[derive(Debug, Clone, PartialEq)]
pub struct Like {
    pub model_hash: String,
    pub embedding: Vec<f32>,
}

impl Default for Ask {
    fn default() -> Ask {
        Ask {
            words: None,
            like: None,
            files: Vec::new(),
            from_ms: None,
            until_ms: None,
            min_score: None,
            min_similarity: None,
            limit: 10,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

/// Something that was found. Times are seconds of the video.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Moment {
    /// From 1.
    pub rank: usize,
    /// By meaning: the cosine; by words: BM25; by both: what [`fuse`] makes of them.
    pub score: f64,
    /// Cosine of the query and the keyframe; none where words alone were asked for, or another model saw the keyframe.
    pub similarity: Option<f32>,
    /// BM25 of the caption; none where it has none of the words.
    pub words: Option<f64>,
    pub video: String,
    pub start: f64,
    pub end: f64,
    /// The picture that was found.
    pub keyframe: f64,
    pub scene: i32,
    pub caption: Option<String>,
    /// How often captions like this one are right.
    pub caption_score: Option<f32>,
    /// Neighbouring keyframes of the scene that were found too, this one counted.
    pub keyframes: usize,
    /// Name and version of the model that saw it.
    pub model: String,
    /// The record that it comes from.
    #[serde(skip)]
    pub record: Name,
    #[serde(skip)]
    pub keyframe_ms: i64,
    /// Whether the archive has its picture.
    #[serde(skip)]
    pub thumbnail: bool,
}

/// Where an index is.
pub enum Home<'a> {
    /// Here, and made in a folder of this process's own where that may not be written.
    Archive(PathBuf),
    /// Here and nowhere else.
    Named(&'a Path),
}

/// An archive that can be asked.
pub struct Search {
    index: Index,
    /// Of the process's own; goes with it.
    own: Option<tempfile::TempDir>,
}

impl Search {
    /// Brings the index up to date with its source, or makes it (`anew` in any case), and opens it.
    pub fn open(
        home: &Home,
        source: &dyn Source,
        anew: bool,
        interrupt: &Interrupt,
        tell: &mut dyn FnMut(Step),
    ) -> Result<(Search, Report)> {
        let (folder, elsewhere) = match home {
            Home::Archive(folder) => (folder.as_path(), true),
            Home::Named(folder) => (*folder, false),
        };
        match Index::current(folder, source, anew, interrupt, tell) {
            Ok((index, report)) => Ok((Search { index, own: None }, report)),
            Err(Fault::ReadOnly(_)) if elsewhere => {
                let own = tempfile::Builder::new().prefix("descry-search-").tempdir().map_err(|e| {
                    Error::output(
                        std::env::temp_dir().display().to_string(),
                        format!("no search index can be made there: {e}"),
                        "Name a place for it with --index DIR.",
                    )
                })?;
                let (index, report) = Index::current(own.path(), source, true, interrupt, tell).map_err(plain)?;
                Ok((Search { index, own: Some(own) }, report))
            }
            Err(e) => Err(plain(e)),
        }
    }

    /// Whether the index is in a folder of this process's own and goes with it.
    pub fn is_passing(&self) -> bool {
        self.own.is_some()
    }

    pub fn index(&self) -> &Index {
        &self.index
    }

    /// The moments that answer, best first. Damage that shows only here is told as [`Damaged`].
    pub fn ask(&mut self, ask: &Ask) -> Result<Vec<Moment>, Damaged> {
        // Nobody changes the database until this has ended; it holds no longer than one answer takes.
        let begun = self.index.db.execute_batch("BEGIN").map_err(|e| self.index.sql(e));
        let answer = begun.and_then(|()| self.index.refresh()).and_then(|()| answer(&self.index, ask));
        let ended = self.index.db.is_autocommit() || self.index.db.execute_batch("COMMIT").is_ok();
        debug_assert!(ended, "reading ends");
        answer.map_err(|e| match e {
            Fault::Damaged(cause) => Damaged::Index(cause),
            e => Damaged::Other(plain(e)),
        })
    }
}

/// Why an answer could not be given.
#[derive(Debug)]
pub enum Damaged {
    /// The index must be made anew; the words say what is wrong with it.
    Index(String),
    Other(Error),
}

fn plain(fault: Fault) -> Error {
    match fault {
        Fault::Other(e) | Fault::ReadOnly(e) => e,
        Fault::Missing => Error::output("search index", "is not there", "Give --rebuild to make it."),
        Fault::Damaged(cause) => {
            Error::output("search index", format!("is damaged: {cause}"), "Give --rebuild to make it anew.")
        }
    }
}

/// A keyframe that was found.
#[derive(Debug, Clone, Copy)]
struct Hit {
    place: Place,
    similarity: Option<f32>,
    words: Option<f64>,
    score: f64,
}

/// What limits the search.
struct Filter<'a> {
    ask: &'a Ask,
    /// By number of video.
    videos: Vec<bool>,
    all: bool,
}

impl Filter<'_> {
    fn takes(&self, segment: &Segment, row: usize) -> bool {
        let video = segment.videos()[row] as usize;
        self.videos.get(video).copied().unwrap_or(false)
            && self.ask.from_ms.is_none_or(|t| segment.ends()[row] > t)
            && self.ask.until_ms.is_none_or(|t| segment.starts()[row] < t)
            && self.ask.min_score.is_none_or(|s| segment.scores()[row] >= s)
    }
}

fn filter<'a>(index: &Index, ask: &'a Ask) -> Result<Filter<'a>, Fault> {
    let mut videos: Vec<bool> = index.now.videos.iter().map(Option::is_some).collect();
    if !ask.files.is_empty() {
        let mut named = vec![false; videos.len()];
        for pattern in &ask.files {
            let whole = pattern.contains(['*', '?', '[']);
            let query = if whole {
                "SELECT id FROM videos WHERE lower(name) GLOB lower(?1)"
            } else {
                "SELECT id FROM videos WHERE instr(lower(name), lower(?1)) > 0"
            };
            let mut query = index.db.prepare_cached(query).map_err(|e| index.sql(e))?;
            let mut rows = query.query([pattern]).map_err(|e| index.sql(e))?;
            while let Some(row) = rows.next().map_err(|e| index.sql(e))? {
                let id: i64 = row.get(0).map_err(|e| index.sql(e))?;
                if let Some(named) = named.get_mut(id as usize) {
                    *named = true;
                }
            }
        }
        videos.iter_mut().zip(named).for_each(|(v, n)| *v &= n);
    }
    let all = ask.files.is_empty() && ask.from_ms.is_none() && ask.until_ms.is_none() && ask.min_score.is_none();
    Ok(Filter { ask, videos, all })
}

/// BM25 of each caption, by its number and up to the last one that has words of the query; 0 has none, for FTS5's is above
/// that. Eight bytes each: every keyframe looks in here, and a hash of each takes longer than all else.
type Captions = Vec<f64>;

fn bm25(captions: &Captions, text: u32) -> Option<f64> {
    captions.get(text as usize).copied().filter(|bm25| *bm25 > 0.0)
}

fn captions(index: &Index, words: &str) -> Result<Captions, Fault> {
    let sql = |e| index.sql(e);
    let mut captions = Captions::default();
    let Some(expression) = words::expression(words) else { return Ok(captions) };
    let last: Option<u32> = index.db.query_row("SELECT max(id) FROM texts", [], |r| r.get(0)).map_err(sql)?;
    let last = last.unwrap_or(0) as usize;
    let query = "SELECT rowid, -bm25(words) FROM words WHERE words MATCH ?1";
    let mut query = index.db.prepare_cached(query).map_err(sql)?;
    let mut rows = query.query([expression]).map_err(sql)?;
    while let Some(row) = rows.next().map_err(sql)? {
        let (id, bm25): (u32, f64) = (row.get(0).map_err(sql)?, row.get(1).map_err(sql)?);
        let at = id as usize;
        if at > last {
            return Err(Fault::Damaged(format!("caption {id} is found and not there")));
        }
        if captions.len() <= at {
            captions.resize(at + 1, 0.0);
        }
        captions[at] = bm25;
    }
    Ok(captions)
}

fn answer(index: &Index, ask: &Ask) -> Result<Vec<Moment>, Fault> {
    let filter = filter(index, ask)?;
    let captions = match &ask.words {
        Some(words) => captions(index, words)?,
        None => Captions::default(),
    };
    let model = match &ask.like {
        Some(like) => index.now.models.iter().find(|m| m.hash == like.model_hash && m.width == like.embedding.len()),
        None => None,
    };
    let query = ask.like.as_ref().filter(|_| model.is_some()).map(|like| Query::new(&like.embedding));
    let seen: Vec<(u32, &Segment)> = (0..)
        .zip(&index.now.segments)
        .filter(|(_, (m, _))| model.is_some_and(|model| model.id == *m))
        .map(|(n, (_, s))| (n, s))
        .collect();
    let now = &index.now;
    let key = |p: &Place| {
        let segment = &now.segments[p.segment as usize].1;
        let video = segment.videos()[p.row as usize] as usize;
        (now.videos.get(video).copied().flatten().unwrap_or(0), segment.numbers()[p.row as usize])
    };
    let mut depth = ask.limit.saturating_mul(4).max(DEPTH);
    loop {
        let mut found: Vec<Scored> = Vec::new();
        if let Some(query) = &query {
            let takes = |s: &Segment, row: usize| filter.takes(s, row);
            let how = Best { most: depth, threads: ask.threads, takes: &takes, takes_most: filter.all, order: &key };
            found = scan::best(&seen, query, &how).map_err(|d| {
                Fault::Damaged(format!("a vector (row {} of file {}) is not what its codes say", d.0.row, d.0.segment))
            })?;
        }
        let worded = worded(index, &captions, &filter, depth, &key);
        // What is like enough is in the first list: the second one adds nothing to it.
        let unlike = found.last().is_some_and(|last| ask.min_similarity.is_some_and(|least| last.score < least));
        let whole = (found.len() < depth || unlike) && (worded.len() < depth || ask.min_similarity.is_some());
        let lists = Lists { query: query.as_ref(), seen: &seen, found: &found, worded: &worded, captions: &captions };
        let hits = lists.fuse(index, ask, &key);
        let moments = collapse(index, &hits, ask.limit);
        if moments.len() >= ask.limit || whole {
            return moments.into_iter().enumerate().map(|(n, m)| tell(index, n + 1, &m)).collect();
        }
        // One long scene may have taken all places.
        depth = depth.saturating_mul(4);
    }
}

/// Keyframes whose captions have the words, best captions first.
fn worded(
    index: &Index,
    captions: &Captions,
    filter: &Filter,
    most: usize,
    key: &dyn Fn(&Place) -> (u64, u32),
) -> Vec<Place> {
    let mut found: Vec<(Reverse<u64>, (u64, u32), Place)> = Vec::new();
    if captions.is_empty() || most == 0 {
        return Vec::new();
    }
    for (number, (_, segment)) in (0..).zip(&index.now.segments) {
        for (row, text) in segment.texts().iter().enumerate() {
            if let Some(bm25) = bm25(captions, *text)
                && filter.takes(segment, row)
            {
                let place = Place { segment: number, row: row as u32 };
                // Bits of numbers above 0 are in the order of the numbers.
                found.push((Reverse(bm25.to_bits()), key(&place), place));
                if found.len() >= most.saturating_mul(4) {
                    found.select_nth_unstable(most - 1);
                    found.truncate(most);
                }
            }
        }
    }
    found.sort_unstable();
    found.truncate(most);
    found.into_iter().map(|(_, _, place)| place).collect()
}

/// What was found, by meaning and by words.
struct Lists<'a> {
    query: Option<&'a Query>,
    /// The files of the query's model.
    seen: &'a [(u32, &'a Segment)],
    found: &'a [Scored],
    worded: &'a [Place],
    captions: &'a Captions,
}

impl Lists<'_> {
    /// One list of both, best first.
    fn fuse(&self, index: &Index, ask: &Ask, key: &dyn Fn(&Place) -> (u64, u32)) -> Vec<Hit> {
        let by_meaning: HashMap<Place, f32> = self.found.iter().map(|s| (s.place, s.score)).collect();
        let mut all: Vec<Place> = self.found.iter().map(|s| s.place).collect();
        all.extend(self.worded.iter().filter(|p| !by_meaning.contains_key(p)));
        let similarity = |place: &Place| {
            by_meaning.get(place).copied().or_else(|| {
                let same = self.seen.iter().any(|(n, _)| *n == place.segment);
                let segment = &index.now.segments[place.segment as usize].1;
                self.query.filter(|_| same).map(|q| q.score(segment.vector(place.row as usize)))
            })
        };
        let words = |place: &Place| {
            let segment = &index.now.segments[place.segment as usize].1;
            bm25(self.captions, segment.texts()[place.row as usize])
        };
        let scale = self.found.first().map(|best| fuse::Scale {
            cosine: best.score.into(),
            bm25: self.worded.first().and_then(words).unwrap_or_default(),
        });
        // What another model saw counts as what captions with the words are like in the mean.
        let worded = || self.worded.iter().take(DEPTH).filter_map(similarity).map(f64::from);
        let (sum, count) = match self.seen.len() == index.now.segments.len() {
            true => (0.0, 0),
            false => worded().fold((0.0, 0), |(sum, count), s| (sum + s, count + 1)),
        };
        let least = self.found.last().map_or(0.0, |s| f64::from(s.score));
        let unseen = if count > 0 { sum / f64::from(count) } else { least };
        let hit = |place: Place| {
            let (similarity, bm25) = (similarity(&place), words(&place));
            let cosine = similarity.map(f64::from);
            let score = match (&scale, ask.like.is_some(), ask.words.is_some()) {
                (Some(scale), true, true) => scale.fused(cosine.unwrap_or(unseen), bm25),
                (_, true, false) => cosine.unwrap_or_default(),
                _ => bm25.unwrap_or_default(),
            };
            Hit { place, similarity, words: bm25, score }
        };
        let like = |h: &Hit| ask.min_similarity.is_none_or(|least| h.similarity.is_some_and(|s| s >= least));
        let mut hits: Vec<Hit> = all.into_iter().map(hit).filter(like).collect();
        let rank = |h: &Hit| h.similarity.unwrap_or(f32::NEG_INFINITY);
        hits.sort_by(|a, b| {
            b.score
                .total_cmp(&a.score)
                .then(rank(b).total_cmp(&rank(a)))
                .then_with(|| key(&a.place).cmp(&key(&b.place)))
        });
        hits
    }
}

/// A keyframe, and its neighbours in the scene that were found too.
struct Found {
    best: Hit,
    first: u32,
    last: u32,
    start_ms: i64,
    end_ms: i64,
    keyframes: usize,
}

fn collapse(index: &Index, hits: &[Hit], limit: usize) -> Vec<Found> {
    let mut moments: Vec<Found> = Vec::new();
    let mut scenes: HashMap<(u32, i32), Vec<usize>> = HashMap::new();
    for hit in hits {
        let facts = index.now.segments[hit.place.segment as usize].1.facts(hit.place.row as usize);
        let scene = scenes.entry((facts.video, facts.scene)).or_default();
        let beside = |m: &Found| facts.number.saturating_add(1) >= m.first && facts.number <= m.last.saturating_add(1);
        if let Some(&at) = scene.iter().find(|at| beside(&moments[**at])) {
            let moment = &mut moments[at];
            moment.first = moment.first.min(facts.number);
            moment.last = moment.last.max(facts.number);
            moment.start_ms = moment.start_ms.min(facts.start_ms);
            moment.end_ms = moment.end_ms.max(facts.end_ms);
            moment.keyframes += 1;
        } else if moments.len() < limit {
            scene.push(moments.len());
            moments.push(Found {
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

fn tell(index: &Index, rank: usize, moment: &Found) -> Result<Moment, Fault> {
    let sql = |e| index.sql(e);
    let Hit { place, similarity, words, score } = moment.best;
    let (model, segment) = &index.now.segments[place.segment as usize];
    let facts = segment.facts(place.row as usize);
    let mut query = index.db.prepare_cached("SELECT name, key, state FROM videos WHERE id = ?1").map_err(sql)?;
    let told = query.query_row([facts.video], |r| Ok((r.get(0)?, r.get::<_, i64>(1)?, r.get::<_, i64>(2)?)));
    let (video, key, state) = told.map_err(sql)?;
    let mut query = index.db.prepare_cached("SELECT text FROM texts WHERE id = ?1").map_err(sql)?;
    let caption: Option<String> = query.query_row([facts.text], |r| r.get(0)).optional().map_err(sql)?;
    if caption.is_none() && facts.text != 0 {
        return Err(Fault::Damaged("a caption is missing".into()));
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
        record: Name { key: key as u64, state: state as u64 },
        keyframe_ms: facts.keyframe_ms,
        thumbnail: facts.thumbnail,
    })
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::{BTreeMap, HashSet};
    use std::fs;

    use proptest::prelude::*;

    use super::*;
    use crate::archive::table::Row;
    use crate::model::unit_vector;

    /// An archive in memory.
    #[derive(Default)]
    struct Shelf {
        videos: RefCell<BTreeMap<Name, Vec<Row>>>,
        /// Cannot be read behind its first row.
        broken: RefCell<Option<Name>>,
        /// Is gone as soon as it is read.
        fleeting: RefCell<Option<Name>>,
        /// The work ends there, as if the disk had died.
        deadly: RefCell<Option<Name>>,
    }

    impl Source for Shelf {
        fn records(&self) -> Result<Vec<Name>> {
            Ok(self.videos.borrow().keys().rev().copied().collect())
        }

        fn read(&self, record: Name, each: &mut dyn FnMut(Row) -> Result<()>) -> Result<bool> {
            for (n, row) in self.videos.borrow()[&record].iter().enumerate() {
                each(row.clone())?;
                if n == 0 && *self.broken.borrow() == Some(record) {
                    return Err(Error::input(record.to_string(), "is broken", "Mend it."));
                }
                if *self.deadly.borrow() == Some(record) {
                    return Err(Error::runtime("the end", "none"));
                }
            }
            Ok(*self.fleeting.borrow() != Some(record))
        }
    }

    const WIDTH: usize = 24;
    const CAPTIONS: [&str; 6] = [
        "A dog runs on a beach.",
        "A man rides a bicycle.",
        "Two dogs play in the snow.",
        "A red car is parked.",
        "A man is standing in front of a car.",
        "Children swim.",
    ];

    fn vector(seed: u64) -> Vec<f32> {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let values: Vec<f32> = (0..WIDTH)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 40) as f32 / (1 << 23) as f32 - 1.0
            })
            .collect();
        unit_vector(&values)
    }

    fn row(video: u64, number: usize) -> Row {
        let seed = video * 31 + number as u64 / 2;
        Row {
            video: format!("/films/{video}.mp4").into(),
            start_ms: number as i64 * 1_000,
            end_ms: number as i64 * 1_000 + 1_000,
            keyframe_ms: number as i64 * 1_000 + 400,
            scene: 1 + number as i32 / 3,
            transition: "cut".into(),
            caption: Some(CAPTIONS[seed as usize % CAPTIONS.len()].into()),
            said: !seed.is_multiple_of(5),
            score: Some((seed % 10) as f32 / 10.0),
            mean_logprob: None,
            repeats: false,
            thumbnail: (number.is_multiple_of(2)).then(|| "x.jpg".into()),
            model: "m 1".into(),
            model_hash: if video % 4 == 3 { "other" } else { "same" }.into(),
            embedding: vector(seed % 17),
        }
    }

    fn film(video: u64, state: u64, keyframes: usize) -> (Name, Vec<Row>) {
        let name = Name { key: crate::archive::record::key(&format!("/films/{video}.mp4")), state };
        (name, (0..keyframes).map(|n| row(video, n + state as usize % 3)).collect())
    }

    impl Shelf {
        fn of(videos: std::ops::Range<u64>) -> Shelf {
            let shelf = Shelf::default();
            shelf.videos.borrow_mut().extend(videos.map(|v| film(v, 0, 3 + v as usize % 9)));
            shelf
        }

        fn open(&self, folder: &Path) -> Result<(Search, Report)> {
            Search::open(&Home::Named(folder), self, false, &Interrupt::new(), &mut |_| {})
        }

        fn anew(&self) -> Search {
            let own = tempfile::tempdir().unwrap();
            let (index, _) = Index::current(own.path(), self, false, &Interrupt::new(), &mut |_| {}).unwrap();
            Search { index, own: Some(own) }
        }
    }

    fn like(seed: u64) -> Option<Like> {
        Some(Like { model_hash: "same".into(), embedding: vector(seed) })
    }

    fn asks() -> Vec<Ask> {
        let base = Ask { threads: 2, limit: 20, ..Ask::default() };
        let words = Some("a dog".to_string());
        vec![
            Ask { like: like(3), ..base.clone() },
            Ask { words: words.clone(), ..base.clone() },
            Ask { words: words.clone(), like: like(3), ..base.clone() },
            Ask { words: words.clone(), like: like(5), limit: 3, min_score: Some(0.3), ..base.clone() },
            Ask { like: like(5), from_ms: Some(2_000), until_ms: Some(4_000), ..base.clone() },
            Ask { words, files: vec!["films/1".into(), "*2.mp4".into()], ..base.clone() },
            Ask { like: like(7), min_similarity: Some(0.2), limit: 1_000, ..base },
        ]
    }

    fn answers(search: &mut Search) -> Vec<Vec<Moment>> {
        asks().iter().map(|a| search.ask(a).unwrap()).collect()
    }

    #[test]
    fn moments_are_found_by_meaning_by_words_and_by_both() {
        let (shelf, dir) = (Shelf::of(0..8), tempfile::tempdir().unwrap());
        let (mut search, report) = shelf.open(dir.path()).unwrap();
        assert_eq!((report.added, report.removed, report.faults.len()), (8, 0, 0));
        let told = answers(&mut search);
        // By meaning: what is most like, best first, of this model alone; one moment a scene.
        assert!((told[0][0].similarity.unwrap() - 1.0).abs() < 1e-5, "{:?}", told[0][0]);
        assert!(told[0].windows(2).all(|w| w[0].score >= w[1].score));
        assert!(told[0].iter().all(|m| !m.video.ends_with("3.mp4") && !m.video.ends_with("7.mp4")));
        let scenes: HashSet<_> = told[6].iter().map(|m| (&m.video, m.scene)).collect();
        assert_eq!(scenes.len(), told[6].len(), "neighbours are one moment");
        assert!(told[0].iter().any(|m| m.keyframes > 1 && m.end - m.start > 1.5));
        // By words: every caption with a dog in it, of any model, and nothing else.
        assert!(!told[1].is_empty() && told[1].iter().all(|m| m.caption.as_ref().unwrap().contains("dog")));
        assert!(told[1].iter().any(|m| m.video.ends_with("3.mp4") || m.video.ends_with("7.mp4")));
        // By both: what is in both lists comes first.
        let first = &told[2][0];
        assert!(first.words.is_some() && first.similarity.unwrap() > 0.9, "{first:?}");
        // Filters.
        assert!(!told[3].is_empty() && told[3].len() <= 3 && told[3].iter().all(|m| m.caption_score.unwrap() >= 0.3));
        assert!(!told[4].is_empty() && told[4].iter().all(|m| m.end > 2.0 && m.start < 4.0));
        let videos: HashSet<&str> = told[5].iter().map(|m| m.video.as_str()).collect();
        assert!(videos.iter().all(|v| ["/films/1.mp4", "/films/2.mp4"].contains(v)), "{videos:?}");
        assert!(told[6].iter().all(|m| m.similarity.unwrap() >= 0.2));
        // What was not said is not shown.
        assert!(told.iter().flatten().any(|m| m.caption.is_none()) && told.iter().flatten().any(|m| m.thumbnail));
        // Nothing to look for.
        assert_eq!(search.ask(&Ask { words: Some("?!".into()), ..Ask::default() }).unwrap(), []);
        assert_eq!(
            search
                .ask(&Ask { like: Some(Like { model_hash: "none".into(), embedding: vector(1) }), ..Ask::default() })
                .unwrap(),
            []
        );
    }

    #[test]
    fn one_long_scene_does_not_take_all_places() {
        let shelf = Shelf::default();
        let mut rows: Vec<Row> = (0..1_500).map(|n| Row { scene: 1, embedding: vector(3), ..row(0, n) }).collect();
        rows.push(Row { scene: 2, embedding: vector(4), ..row(0, 1_500) });
        shelf.videos.borrow_mut().insert(Name { key: 1, state: 1 }, rows);
        let dir = tempfile::tempdir().unwrap();
        let found = shelf.open(dir.path()).unwrap().0.ask(&Ask { like: like(3), ..Ask::default() }).unwrap();
        assert_eq!(found.iter().map(|m| (m.scene, m.keyframes)).collect::<Vec<_>>(), [(1, 1_500), (2, 1)]);
        assert_eq!((found[0].start, found[0].end), (0.0, 1_500.0));
    }

    #[test]
    fn a_video_that_cannot_be_read_stops_no_other() {
        let (shelf, dir) = (Shelf::of(0..6), tempfile::tempdir().unwrap());
        let bad = film(2, 0, 0).0;
        *shelf.broken.borrow_mut() = Some(bad);
        *shelf.fleeting.borrow_mut() = Some(film(4, 0, 0).0);
        for _ in 0..2 {
            let (mut search, report) = shelf.open(dir.path()).unwrap();
            assert_eq!(report.faults.len(), 1, "told each time");
            assert!(report.faults[0].to_string().contains(&bad.to_string()));
            let (whole, without) = (answers(&mut search), Shelf::of(0..6));
            without.videos.borrow_mut().retain(|n, _| *n != bad && *n != film(4, 0, 0).0);
            assert_eq!(whole, answers(&mut without.anew()));
        }
        *shelf.broken.borrow_mut() = None;
        *shelf.fleeting.borrow_mut() = None;
        let (mut search, report) = shelf.open(dir.path()).unwrap();
        assert_eq!((report.added, report.faults.len()), (2, 0));
        assert_eq!(answers(&mut search), answers(&mut shelf.anew()));
        // An embedding that is none.
        let (name, mut rows) = film(50, 0, 4);
        rows[2].embedding[1] = f32::NAN;
        shelf.videos.borrow_mut().insert(name, rows);
        let (mut search, report) = shelf.open(dir.path()).unwrap();
        assert!(report.faults[0].to_string().contains("/films/50.mp4"), "{:?}", report.faults);
        shelf.videos.borrow_mut().remove(&name);
        assert_eq!(answers(&mut search), answers(&mut shelf.anew()));
    }

    #[test]
    fn work_that_ended_in_the_middle_goes_on() {
        let (shelf, dir) = (Shelf::of(0..9), tempfile::tempdir().unwrap());
        for deadly in [5, 1, 8] {
            *shelf.deadly.borrow_mut() = Some(film(deadly, 0, 0).0);
            assert!(shelf.open(dir.path()).is_err());
        }
        let stop = Interrupt::new();
        stop.set();
        let stopped = Search::open(&Home::Named(dir.path()), &shelf, false, &stop, &mut |_| {});
        assert!(matches!(stopped.err(), Some(Error::Interrupted)));
        *shelf.deadly.borrow_mut() = None;
        fs::write(dir.path().join("123.part"), "x").unwrap();
        fs::write(dir.path().join("0123.vectors"), "x").unwrap();
        fs::write(dir.path().join("mine.txt"), "x").unwrap();
        let (mut search, _) = shelf.open(dir.path()).unwrap();
        assert_eq!(answers(&mut search), answers(&mut shelf.anew()));
        assert!(!dir.path().join("123.part").exists() && !dir.path().join("0123.vectors").exists());
        assert!(dir.path().join("mine.txt").exists());
    }

    fn vectors(folder: &Path) -> Vec<PathBuf> {
        let files = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
        files.filter(|p| p.extension().is_some_and(|e| e == "vectors")).collect()
    }

    #[test]
    fn damage_is_noticed_and_made_good() {
        type Harm = fn(&Path);
        let harms: [(&str, Harm); 9] = [
            ("no database", |f| fs::write(f.join("index.sqlite"), "this is none".repeat(999)).unwrap()),
            ("an empty database", |f| fs::write(f.join("index.sqlite"), "").unwrap()),
            ("half a database", |f| {
                let whole = fs::read(f.join("index.sqlite")).unwrap();
                fs::write(f.join("index.sqlite"), &whole[..whole.len() / 2]).unwrap();
            }),
            ("another database", |f| {
                let db = rusqlite::Connection::open(f.join("index.sqlite")).unwrap();
                db.execute_batch("DROP TABLE segments").unwrap();
            }),
            ("a lost caption", |f| {
                let db = rusqlite::Connection::open(f.join("index.sqlite")).unwrap();
                db.execute_batch("DELETE FROM texts").unwrap();
            }),
            ("lost vectors", |f| vectors(f).iter().for_each(|p| fs::remove_file(p).unwrap())),
            ("half the vectors", |f| {
                for path in vectors(f) {
                    let whole = fs::read(&path).unwrap();
                    fs::remove_file(&path).unwrap();
                    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
                }
            }),
            ("other vectors", |f| {
                for path in vectors(f) {
                    let mut whole = fs::read(&path).unwrap();
                    let length = whole.len();
                    whole[length - 3_000..].iter_mut().for_each(|b| *b ^= 0x55);
                    fs::remove_file(&path).unwrap();
                    fs::write(&path, whole).unwrap();
                }
            }),
            ("no vectors at all", |f| {
                for path in vectors(f) {
                    let length = fs::read(&path).unwrap().len();
                    fs::remove_file(&path).unwrap();
                    fs::write(&path, vec![0xFF; length]).unwrap();
                }
            }),
        ];
        let (shelf, dir) = (Shelf::of(0..30), tempfile::tempdir().unwrap());
        let want = answers(&mut shelf.open(dir.path()).unwrap().0);
        for (name, harm) in harms {
            harm(dir.path());
            // It shows when the index is opened or when it is asked, and never as a wrong answer.
            let (mut search, report) = shelf.open(dir.path()).unwrap();
            let mut noticed = report.anew.is_some();
            let told: Result<Vec<_>, _> = asks().iter().map(|a| search.ask(a)).collect();
            let told = told.unwrap_or_else(|e| {
                assert!(matches!(e, Damaged::Index(_)), "{name}: {e:?}");
                noticed = true;
                let again = Search::open(&Home::Named(dir.path()), &shelf, true, &Interrupt::new(), &mut |_| {});
                answers(&mut again.unwrap().0)
            });
            assert_eq!(told, want, "{name}");
            assert!(noticed || name == "an empty database", "{name}");
        }
    }

    #[test]
    fn a_newer_index_is_left_alone() {
        let (shelf, dir) = (Shelf::of(0..3), tempfile::tempdir().unwrap());
        drop(shelf.open(dir.path()).unwrap());
        let db = rusqlite::Connection::open(dir.path().join("index.sqlite")).unwrap();
        db.execute("UPDATE meta SET value = 'descry-search/7' WHERE key = 'format'", []).unwrap();
        let e = shelf.open(dir.path()).err().unwrap().to_string();
        assert!(e.contains("newer descry") && e.contains("descry-search/7") && e.contains("--rebuild"), "{e}");
        let again = Search::open(&Home::Named(dir.path()), &shelf, true, &Interrupt::new(), &mut |_| {}).unwrap();
        assert_eq!(again.1.added, 3);
        db.execute_batch("").unwrap();
        // One that cannot be of any version is damaged.
        let db = rusqlite::Connection::open(dir.path().join("index.sqlite")).unwrap();
        db.execute("UPDATE meta SET value = 'x' WHERE key = 'format'", []).unwrap();
        assert!(shelf.open(dir.path()).unwrap().1.anew.is_some());
    }

    #[test]
    fn a_reader_sees_what_others_write() {
        let (shelf, dir) = (Shelf::of(0..4), tempfile::tempdir().unwrap());
        let (mut reader, _) = shelf.open(dir.path()).unwrap();
        answers(&mut reader);
        for more in 4..30 {
            let (name, rows) = film(more, 0, 5);
            shelf.videos.borrow_mut().insert(name, rows);
            shelf.videos.borrow_mut().remove(&film(more - 4, 0, 0).0);
            let (_, report) = shelf.open(dir.path()).unwrap();
            assert_eq!((report.added, report.removed), (1, 1));
            assert_eq!(answers(&mut reader), answers(&mut shelf.anew()), "{more}");
        }
        assert!(vectors(dir.path()).len() <= 2 * 9, "files are made one");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn however_an_index_came_about_it_answers_the_same(
            steps in prop::collection::vec((0u64..12, 0u64..3, 0usize..12, any::<bool>()), 1..16),
        ) {
            let (shelf, dir) = (Shelf::default(), tempfile::tempdir().unwrap());
            for (video, state, keyframes, look) in steps {
                // What a record holds follows from its state.
                let (name, rows) = film(video, state + 3 * keyframes as u64, keyframes);
                // Replaced, added, or taken away where it is there already.
                let before = shelf.videos.borrow().keys().find(|n| n.key == name.key).copied();
                if let Some(before) = before {
                    shelf.videos.borrow_mut().remove(&before);
                }
                if before != Some(name) {
                    shelf.videos.borrow_mut().insert(name, rows);
                }
                if look {
                    let (mut search, report) = shelf.open(dir.path()).unwrap();
                    prop_assert!(report.anew.is_none() && report.faults.is_empty());
                    prop_assert_eq!(answers(&mut search), answers(&mut shelf.anew()));
                }
            }
        }
    }
}
