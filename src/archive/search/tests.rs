//! Searches of archives in memory. Whatever happens to an index, it answers like a new one.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;
use crate::archive::record::{RecordName, video_key};
use crate::archive::table::{KeyframeRow, TextRow};
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::model::unit_vector as unit;

/// An archive in memory.
#[derive(Default)]
struct MemoryArchive {
    videos: RefCell<BTreeMap<RecordName, Vec<KeyframeRow>>>,
    /// Cannot be read after its first row.
    broken: RefCell<Option<RecordName>>,
    /// Is removed while it is read.
    vanishing: RefCell<Option<RecordName>>,
    /// Reading it ends the update, as if the disk had failed.
    fatal: RefCell<Option<RecordName>>,
}

impl RecordSource for MemoryArchive {
    fn records(&self) -> Result<Vec<RecordName>> {
        Ok(self.videos.borrow().keys().rev().copied().collect())
    }

    fn read(&self, record: RecordName, each: &mut dyn FnMut(KeyframeRow) -> Result<()>) -> Result<bool> {
        for (n, row) in self.videos.borrow()[&record].iter().enumerate() {
            each(row.clone())?;
            if n == 0 && *self.broken.borrow() == Some(record) {
                return Err(Error::input(record.to_string(), "is broken", "Mend it."));
            }
            if *self.fatal.borrow() == Some(record) {
                return Err(Error::runtime("the end", "none"));
            }
        }
        Ok(*self.vanishing.borrow() != Some(record))
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
    unit(&values)
}

fn row(video: u64, number: usize) -> KeyframeRow {
    let seed = video * 31 + number as u64 / 2;
    KeyframeRow {
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
        speech: None,
        text: (video % 4 == 1).then(|| screen(number)),
        thumbnail: (number.is_multiple_of(2)).then(|| "x.jpg".into()),
        model: "m 1".into(),
        model_hash: if video % 4 == 3 { "other" } else { "same" }.into(),
        embedding: vector(seed % 17),
    }
}

fn line(text: &str, start_ms: i64, end_ms: i64) -> TextRow {
    let (text, kind) = (text.into(), "title".into());
    TextRow { text, start_ms, end_ms, x: 0.25, y: 0.75, width: 0.5, height: 0.125, confidence: 0.875, kind }
}

/// A logo that is always there, and a title in every fourth section.
fn screen(number: usize) -> Vec<TextRow> {
    let (at, logo) = (number as i64 * 1_000, line("Channel 5", 0, number as i64 * 1_000 + 1_000));
    let title = line("BREAKING NEWS", at + 300, at + 900);
    if number % 4 == 3 { vec![logo, title, line("Dog missing", at + 500, at + 900)] } else { vec![logo] }
}

fn film(video: u64, state: u64, keyframes: usize) -> (RecordName, Vec<KeyframeRow>) {
    let name = RecordName { key: video_key(&format!("/films/{video}.mp4")), state };
    (name, (0..keyframes).map(|n| row(video, n + state as usize % 3)).collect())
}

impl MemoryArchive {
    fn of(videos: std::ops::Range<u64>) -> MemoryArchive {
        let archive = MemoryArchive::default();
        archive.videos.borrow_mut().extend(videos.map(|v| film(v, 0, 3 + v as usize % 9)));
        archive
    }

    fn open(&self, folder: &Path) -> Result<Searcher> {
        let location = IndexLocation::Folder(folder.into());
        Searcher::open_at(&location, self, false, &Interrupt::new(), &mut |_| {})
    }

    fn rebuild(&self, folder: &Path) -> Result<Searcher> {
        let location = IndexLocation::Folder(folder.into());
        Searcher::open_at(&location, self, true, &Interrupt::new(), &mut |_| {})
    }

    /// The answers of a new index.
    fn fresh_answers(&self) -> Vec<Vec<Moment>> {
        let dir = tempfile::tempdir().unwrap();
        answers(&mut self.open(dir.path()).unwrap())
    }
}

fn embedding(seed: u64) -> Option<QueryEmbedding> {
    Some(QueryEmbedding { model_hash: "same".into(), embedding: vector(seed) })
}

fn queries() -> Vec<SearchQuery> {
    let base = SearchQuery { threads: 2, limit: 20, ..SearchQuery::default() };
    let words = Some("a dog".to_string());
    vec![
        SearchQuery { embedding: embedding(3), ..base.clone() },
        SearchQuery { words: words.clone(), ..base.clone() },
        SearchQuery { words: words.clone(), embedding: embedding(3), ..base.clone() },
        SearchQuery { words: words.clone(), embedding: embedding(5), limit: 3, min_score: Some(0.3), ..base.clone() },
        SearchQuery { embedding: embedding(5), from_ms: Some(2_000), until_ms: Some(4_000), ..base.clone() },
        SearchQuery { words, files: vec!["films/1".into(), "*2.mp4".into()], ..base.clone() },
        SearchQuery { on_screen: Some("breaking dog".into()), ..base.clone() },
        SearchQuery {
            words: Some("a dog".into()),
            on_screen: Some("a dog".into()),
            embedding: embedding(3),
            ..base.clone()
        },
        SearchQuery { embedding: embedding(7), min_similarity: Some(0.2), limit: 1_000, ..base },
    ]
}

fn answers(searcher: &mut Searcher) -> Vec<Vec<Moment>> {
    queries().iter().map(|q| searcher.find(q).unwrap()).collect()
}

#[test]
fn moments_are_found_by_meaning_by_words_and_by_both() {
    let (archive, dir) = (MemoryArchive::of(0..8), tempfile::tempdir().unwrap());
    let mut search = archive.open(dir.path()).unwrap();
    assert_eq!((search.report().added, search.report().removed, search.report().unreadable.len()), (8, 0, 0));
    let found = answers(&mut search);
    // By meaning: the most similar, best first, of this model alone; one moment per scene.
    assert!((found[0][0].similarity.unwrap() - 1.0).abs() < 1e-5, "{:?}", found[0][0]);
    assert!(found[0].windows(2).all(|w| w[0].score >= w[1].score));
    assert!(found[0].iter().all(|m| !m.video.ends_with("3.mp4") && !m.video.ends_with("7.mp4")));
    let scenes: HashSet<_> = found[8].iter().map(|m| (&m.video, m.scene)).collect();
    assert_eq!(scenes.len(), found[8].len(), "neighbours are one moment");
    assert!(found[0].iter().any(|m| m.keyframes > 1 && m.end - m.start > 1.5));
    // By words: every caption with a dog in it, of any model, and nothing else.
    assert!(!found[1].is_empty() && found[1].iter().all(|m| m.caption.as_ref().unwrap().contains("dog")));
    assert!(found[1].iter().any(|m| m.video.ends_with("3.mp4") || m.video.ends_with("7.mp4")));
    // By both: what is in both lists comes first.
    let first = &found[2][0];
    assert!(first.words.is_some() && first.similarity.unwrap() > 0.9, "{first:?}");
    // Filters.
    assert!(!found[3].is_empty() && found[3].len() <= 3 && found[3].iter().all(|m| m.caption_score.unwrap() >= 0.3));
    assert!(!found[4].is_empty() && found[4].iter().all(|m| m.end > 2.0 && m.start < 4.0));
    let videos: HashSet<&str> = found[5].iter().map(|m| m.video.as_str()).collect();
    assert!(videos.iter().all(|v| ["/films/1.mp4", "/films/2.mp4"].contains(v)), "{videos:?}");
    assert!(found[8].iter().all(|m| m.similarity.unwrap() >= 0.2));
    // Captions without a cue are not reported.
    assert!(found.iter().flatten().any(|m| m.caption.is_none()) && found.iter().flatten().any(|m| m.has_thumbnail));
    // Nothing to search for.
    assert_eq!(search.find(&SearchQuery { words: Some("?!".into()), ..SearchQuery::default() }).unwrap(), []);
    let unknown = QueryEmbedding { model_hash: "none".into(), embedding: vector(1) };
    assert_eq!(search.find(&SearchQuery { embedding: Some(unknown), ..SearchQuery::default() }).unwrap(), []);
}

#[test]
fn text_on_the_screen_is_found_where_it_appears() {
    let (archive, dir) = (MemoryArchive::default(), tempfile::tempdir().unwrap());
    archive.videos.borrow_mut().extend([film(0, 0, 8), film(1, 0, 8)]);
    let mut search = archive.open(dir.path()).unwrap();
    assert!(search.has_screen_text());
    let mut find = |text: &str| {
        let query = SearchQuery { on_screen: Some(text.into()), ..SearchQuery::default() };
        search.find(&query).unwrap()
    };
    // At the moment when it appears, and where.
    let found = find("bréaking");
    assert_eq!(found.iter().map(|m| (m.start, m.end)).collect::<Vec<_>>(), [(3.3, 4.0), (7.3, 8.0)]);
    assert_eq!((found[0].play_ms, found[0].keyframe_ms, found[0].words), (3_300, 3_400, None));
    let shown = &found[0].shown;
    assert_eq!(shown.len(), 1, "only the line with the word");
    assert_eq!((shown[0].text.as_str(), shown[0].start, shown[0].end), ("BREAKING NEWS", 3.3, 3.9));
    assert_eq!((shown[0].place, shown[0].confidence, &*shown[0].kind), ([0.25, 0.75, 0.5, 0.125], 0.875, "title"));
    // A moment begins with the line that has most of the words.
    let found = find("missing dogs breaking");
    assert_eq!((found[0].start, found[0].shown.len()), (3.5, 2));
    // A logo is found once.
    assert_eq!(find("channel").iter().map(|m| m.start).collect::<Vec<_>>(), [0.0]);
    assert_eq!(find("beach"), [], "captions are not text of the screen");
}

#[test]
fn text_on_the_screen_is_part_of_the_whole_score() {
    let (archive, dir) = (MemoryArchive::default(), tempfile::tempdir().unwrap());
    archive.videos.borrow_mut().extend([film(0, 0, 8), film(1, 0, 8)]);
    let mut search = archive.open(dir.path()).unwrap();
    let mut find = |text: &str, on_screen: bool| {
        let on_screen = on_screen.then(|| text.to_string());
        let words = Some(text.to_string());
        search.find(&SearchQuery { words, on_screen, embedding: embedding(3), ..SearchQuery::default() }).unwrap()
    };
    let (without, with) = (find("breaking news", false), find("breaking news", true));
    let of = |all: &[Moment], scene: i32| {
        let moment = all.iter().find(|m| m.video == "/films/1.mp4" && m.scene == scene).unwrap();
        (moment.rank, moment.score, moment.start, moment.text)
    };
    let (before, after) = (of(&without, 2), of(&with, 2));
    assert!(after.0 <= before.0 && after.1 > before.1 + 0.3, "{before:?} {after:?}");
    assert!(before.3.is_none() && after.3.is_some());
    assert_eq!((before.2, after.2), (3.0, 3.3), "the moment begins when all of the words appear");
    // With one of three words, it counts for little.
    let (without, with) = (find("a dog on a beach with children", false), find("a dog on a beach with children", true));
    let (before, after) = (of(&without, 2), of(&with, 2));
    assert!(after.1 > before.1 && after.1 < before.1 + 0.1, "{before:?} {after:?}");
    assert_eq!(after.2, before.2);
}

#[test]
fn an_index_of_an_earlier_version_is_made_anew() {
    let (archive, dir) = (MemoryArchive::of(0..3), tempfile::tempdir().unwrap());
    drop(archive.open(dir.path()).unwrap());
    let db = rusqlite::Connection::open(dir.path().join("index.sqlite")).unwrap();
    db.execute_batch("DROP TABLE screen_words; DROP TABLE screens").unwrap();
    db.execute("UPDATE meta SET value = 'descry-search/1' WHERE key = 'format'", []).unwrap();
    drop(db);
    let mut search = archive.open(dir.path()).unwrap();
    assert_eq!((search.report().added, &search.report().damage), (3, &None));
    assert_eq!(answers(&mut search), archive.fresh_answers());
    assert_eq!(archive.open(dir.path()).unwrap().report().added, 0);
}

#[test]
fn one_long_scene_does_not_take_all_places() {
    let archive = MemoryArchive::default();
    let mut rows: Vec<KeyframeRow> =
        (0..1_500).map(|n| KeyframeRow { scene: 1, embedding: vector(3), ..row(0, n) }).collect();
    rows.push(KeyframeRow { scene: 2, embedding: vector(4), ..row(0, 1_500) });
    archive.videos.borrow_mut().insert(RecordName { key: 1, state: 1 }, rows);
    let dir = tempfile::tempdir().unwrap();
    let query = SearchQuery { embedding: embedding(3), ..SearchQuery::default() };
    let found = archive.open(dir.path()).unwrap().find(&query).unwrap();
    assert_eq!(found.iter().map(|m| (m.scene, m.keyframes)).collect::<Vec<_>>(), [(1, 1_500), (2, 1)]);
    assert_eq!((found[0].start, found[0].end), (0.0, 1_500.0));
}

#[test]
fn an_unreadable_video_stops_no_other() {
    let (archive, dir) = (MemoryArchive::of(0..6), tempfile::tempdir().unwrap());
    let bad = film(2, 0, 0).0;
    *archive.broken.borrow_mut() = Some(bad);
    *archive.vanishing.borrow_mut() = Some(film(4, 0, 0).0);
    for _ in 0..2 {
        let mut search = archive.open(dir.path()).unwrap();
        assert_eq!(search.report().unreadable.len(), 1, "reported each time");
        assert!(search.report().unreadable[0].to_string().contains(&bad.to_string()));
        let (whole, without) = (answers(&mut search), MemoryArchive::of(0..6));
        without.videos.borrow_mut().retain(|n, _| *n != bad && *n != film(4, 0, 0).0);
        assert_eq!(whole, without.fresh_answers());
    }
    *archive.broken.borrow_mut() = None;
    *archive.vanishing.borrow_mut() = None;
    let mut search = archive.open(dir.path()).unwrap();
    assert_eq!((search.report().added, search.report().unreadable.len()), (2, 0));
    assert_eq!(answers(&mut search), archive.fresh_answers());
    // An embedding with NaN.
    let (name, mut rows) = film(50, 0, 4);
    rows[2].embedding[1] = f32::NAN;
    archive.videos.borrow_mut().insert(name, rows);
    let mut search = archive.open(dir.path()).unwrap();
    assert!(search.report().unreadable[0].to_string().contains("/films/50.mp4"), "{:?}", search.report().unreadable);
    archive.videos.borrow_mut().remove(&name);
    assert_eq!(answers(&mut search), archive.fresh_answers());
}

#[test]
fn interrupted_updates_are_continued() {
    let (archive, dir) = (MemoryArchive::of(0..9), tempfile::tempdir().unwrap());
    for fatal in [5, 1, 8] {
        *archive.fatal.borrow_mut() = Some(film(fatal, 0, 0).0);
        assert!(archive.open(dir.path()).is_err());
    }
    let stop = Interrupt::new();
    stop.set();
    let location = IndexLocation::Folder(dir.path().into());
    let stopped = Searcher::open_at(&location, &archive, false, &stop, &mut |_| {});
    assert!(matches!(stopped.err(), Some(Error::Interrupted)));
    *archive.fatal.borrow_mut() = None;
    fs::write(dir.path().join("123.part"), "x").unwrap();
    fs::write(dir.path().join("0123.vectors"), "x").unwrap();
    fs::write(dir.path().join("mine.txt"), "x").unwrap();
    let mut search = archive.open(dir.path()).unwrap();
    assert_eq!(answers(&mut search), archive.fresh_answers());
    assert!(!dir.path().join("123.part").exists() && !dir.path().join("0123.vectors").exists());
    assert!(dir.path().join("mine.txt").exists());
}

fn vectors(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    files.filter(|p| p.extension().is_some_and(|e| e == "vectors")).collect()
}

#[test]
fn damage_is_noticed_and_repaired() {
    type Harm = fn(&Path);
    let harms: [(&str, Harm); 11] = [
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
        ("lost text of the screen", |f| {
            let db = rusqlite::Connection::open(f.join("index.sqlite")).unwrap();
            db.execute_batch("DELETE FROM screens").unwrap();
        }),
        ("text of the screen without places", |f| {
            let db = rusqlite::Connection::open(f.join("index.sqlite")).unwrap();
            db.execute_batch("UPDATE screens SET lines = '[]'").unwrap();
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
    let (archive, dir) = (MemoryArchive::of(0..30), tempfile::tempdir().unwrap());
    let want = answers(&mut archive.open(dir.path()).unwrap());
    for (name, harm) in harms {
        harm(dir.path());
        // It shows when the index is opened or when it is searched, and never as a wrong answer.
        let mut search = archive.open(dir.path()).unwrap();
        let mut noticed = search.report().damage.is_some();
        let found: Result<Vec<_>, _> = queries().iter().map(|q| search.find(q)).collect();
        let found = found.unwrap_or_else(|e| {
            assert!(matches!(e, SearchError::DamagedIndex(_)), "{name}: {e:?}");
            noticed = true;
            answers(&mut archive.rebuild(dir.path()).unwrap())
        });
        assert_eq!(found, want, "{name}");
        assert!(noticed || name == "an empty database", "{name}");
    }
}

#[test]
fn a_newer_index_is_left_alone() {
    let (archive, dir) = (MemoryArchive::of(0..3), tempfile::tempdir().unwrap());
    drop(archive.open(dir.path()).unwrap());
    let db = rusqlite::Connection::open(dir.path().join("index.sqlite")).unwrap();
    db.execute("UPDATE meta SET value = 'descry-search/7' WHERE key = 'format'", []).unwrap();
    let e = archive.open(dir.path()).err().unwrap().to_string();
    assert!(e.contains("newer descry") && e.contains("descry-search/7") && e.contains("`rebuild`"), "{e}");
    let again = archive.rebuild(dir.path()).unwrap();
    assert_eq!(again.report().added, 3);
    db.execute_batch("").unwrap();
    // A format without a version is damage.
    let db = rusqlite::Connection::open(dir.path().join("index.sqlite")).unwrap();
    db.execute("UPDATE meta SET value = 'x' WHERE key = 'format'", []).unwrap();
    assert!(archive.open(dir.path()).unwrap().report().damage.is_some());
}

#[test]
fn a_reader_sees_what_others_write() {
    let (archive, dir) = (MemoryArchive::of(0..4), tempfile::tempdir().unwrap());
    let mut reader = archive.open(dir.path()).unwrap();
    answers(&mut reader);
    for more in 4..30 {
        let (name, rows) = film(more, 0, 5);
        archive.videos.borrow_mut().insert(name, rows);
        archive.videos.borrow_mut().remove(&film(more - 4, 0, 0).0);
        let searcher = archive.open(dir.path()).unwrap();
        let report = searcher.report();
        assert_eq!((report.added, report.removed), (1, 1));
        assert_eq!(answers(&mut reader), archive.fresh_answers(), "{more}");
    }
    assert!(vectors(dir.path()).len() <= 2 * 9, "files are made one");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn the_history_of_an_index_does_not_change_its_answers(
        steps in prop::collection::vec((0u64..12, 0u64..3, 0usize..12, any::<bool>()), 1..16),
    ) {
        let (archive, dir) = (MemoryArchive::default(), tempfile::tempdir().unwrap());
        for (video, state, keyframes, look) in steps {
            // The state decides what a record holds.
            let (name, rows) = film(video, state + 3 * keyframes as u64, keyframes);
            // Replaces the video, adds it, or removes it where it is there in this state.
            let before = archive.videos.borrow().keys().find(|n| n.key == name.key).copied();
            if let Some(before) = before {
                archive.videos.borrow_mut().remove(&before);
            }
            if before != Some(name) {
                archive.videos.borrow_mut().insert(name, rows);
            }
            if look {
                let mut search = archive.open(dir.path()).unwrap();
                prop_assert!(search.report().damage.is_none() && search.report().unreadable.is_empty());
                prop_assert_eq!(answers(&mut search), archive.fresh_answers());
            }
        }
    }
}
