//! The files of an archive, its search index, and the parts of a film.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use descry::archive::search::{IndexLocation, Moment, QueryEmbedding, RecordSource, SearchQuery, Searcher};
use descry::archive::{Archive, FailureRecord, KeyframeRow, RecordName, TextRow, VideoRecord, check};
use descry::error::Result;
use descry::fuzzing;
use descry::interrupt::Interrupt;
use descry::pipeline::parts::PartFile;
use serde_json::{from_slice, json, to_vec};
use sha2::{Digest, Sha256};

use crate::scratch::{check_error, scratch_file, scratch_folder, text};

/// The record that an input is the text of.
const NAME: RecordName = RecordName { key: 0x0a00_0000_0000_0001, state: 2 };
/// Size of a file beside the archive. No message may show it.
const OUTSIDE: usize = 31_337;

/// A record: what is read is written to the same value, and a check of the archive reads nothing outside of it.
pub(crate) fn record(data: &[u8]) {
    if let Ok(record) = from_slice::<VideoRecord>(data) {
        let written = to_vec(&record).expect("a record can be written");
        assert_eq!(from_slice::<VideoRecord>(&written).expect("a written record can be read"), record);
    }
    if let Ok(record) = from_slice::<FailureRecord>(data) {
        let written = to_vec(&record).expect("a record can be written");
        assert_eq!(from_slice::<FailureRecord>(&written).expect("a written record can be read"), record);
    }
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(name) = text.parse::<RecordName>()
    {
        assert_eq!(name.to_string(), text);
    }
    let root = archive_with(data);
    let archive = Archive::open(text(&root)).expect("an archive");
    let mut messages = String::new();
    let report = check(&archive, false, &Interrupt::new(), &mut |error| {
        check_error(error);
        messages += &error.to_string();
    });
    let report = report.expect("an archive on disk can be checked");
    assert_eq!(report.sound + report.damaged, 1, "{report:?}");
    assert_eq!(report.damaged == 0, messages.is_empty(), "{report:?}: {messages}");
    assert!(!messages.contains(&OUTSIDE.to_string()), "the size of a file outside shows: {messages}");
}

/// An archive with one record of this text.
fn archive_with(record: &[u8]) -> PathBuf {
    let root = scratch_folder().join("archive");
    let place = root.join("records/0a");
    if !place.is_dir() {
        fs::create_dir_all(&place).expect("a folder");
        fs::create_dir_all(root.join("videos/0a").join(NAME.to_string())).expect("a folder");
        fs::write(root.join("archive.json"), b"{\"format\":\"descry-archive/1\"}").expect("a head");
        fs::write(scratch_folder().join("outside"), vec![b'x'; OUTSIDE]).expect("a file outside");
    }
    fs::write(place.join(format!("{NAME}.json")), record).expect("a record");
    root
}

/// A table of keyframes: its rows are written to a table that has the same rows.
pub(crate) fn table(data: &[u8]) {
    /// Rows that are read of a table.
    const ROWS: usize = 4_096;
    let table = match fuzzing::open_table(data.to_vec()) {
        Ok(table) => table,
        Err(error) => return check_error(&error),
    };
    let (dimension, mut rows) = (table.dimension(), Vec::new());
    assert!(dimension > 0);
    for batch in table {
        match batch {
            Ok(batch) => {
                assert!(batch.len() <= 256, "a batch of {} rows", batch.len());
                rows.extend(batch);
            }
            Err(error) => return check_error(&error),
        }
        if rows.len() > ROWS {
            return;
        }
    }
    assert!(rows.iter().all(|row| row.embedding.len() == dimension));
    let written = match fuzzing::table_of(rows.clone(), dimension) {
        Ok(written) => written,
        // Values that the format of a model does not allow.
        Err(error) => return check_error(&error),
    };
    let again: Result<Vec<_>> = fuzzing::open_table(written).expect("a written table opens").collect();
    let again: Vec<KeyframeRow> = again.expect("a written table can be read").concat();
    // As texts, because not-a-numbers differ from themselves.
    assert_eq!(format!("{rows:?}"), format!("{again:?}"), "the rows change when they are written");
}

/// A part of a film: a footer that is not quite right leads to errors, and to no memory beyond the file's size.
pub(crate) fn part(data: &[u8]) {
    let path = scratch_file("film.part", &part_of(data));
    let mut part = match PartFile::open(&path) {
        Ok(part) => part,
        Err(error) => return check_error(&error),
    };
    let _ = (part.part(), part.film().to_string(), format!("{:?}", part.report()));
    for n in 0..part.len() {
        match part.keyframe(n) {
            Ok(keyframe) => {
                let encoded = keyframe.input.map(|input| input.encoded);
                let floats = encoded.map_or(0, |e| e.embedding.len() + e.grid.map_or(0, |grid| grid.len()));
                let bytes = floats * 4 + keyframe.thumbnail.map_or(0, |t| t.len());
                assert!(bytes <= 3 * data.len() + 64, "{bytes} bytes of a file of {}", data.len());
            }
            Err(error) => check_error(&error),
        }
    }
    assert!(part.keyframe(part.len()).is_err());
}

/// A file whose length and hash are right: two bytes of an input give the length of the blobs, the rest is the footer.
fn part_of(data: &[u8]) -> Vec<u8> {
    let (head, rest) = data.split_at_checked(2).unwrap_or((&[0, 0], data));
    let blobs = usize::from(u16::from_le_bytes([head[0], head[1]])).min(rest.len());
    let mut file = [b"descry-part/1\n", rest].concat();
    file.extend(((rest.len() - blobs) as u64).to_le_bytes());
    let hash = Sha256::digest(&file);
    file.extend(hash);
    file
}

/// Keyframes in memory, as a search index reads them from an archive.
struct Films(Vec<(RecordName, Vec<KeyframeRow>)>);

impl RecordSource for Films {
    fn records(&self) -> Result<Vec<RecordName>> {
        Ok(self.0.iter().map(|(name, _)| *name).collect())
    }

    fn read(&self, record: RecordName, each: &mut dyn FnMut(KeyframeRow) -> Result<()>) -> Result<bool> {
        let film = self.0.iter().find(|(name, _)| *name == record);
        film.into_iter().flat_map(|(_, rows)| rows.clone()).try_for_each(each).map(|()| true)
    }
}

/// Values of an embedding.
const WIDTH: usize = 8;

fn films() -> Films {
    const CAPTIONS: [&str; 3] = ["A dog runs on a beach.", "A man rides a bicycle.", "Two dogs play in the snow."];
    let film = |video: u64| {
        let row = |n: u64| KeyframeRow {
            video: format!("/films/{video}.mp4").into(),
            start_ms: n as i64 * 1_000,
            end_ms: n as i64 * 1_000 + 1_000,
            keyframe_ms: n as i64 * 1_000 + 400,
            scene: 1 + n as i32 / 2,
            transition: "cut".into(),
            caption: Some(CAPTIONS[(video + n) as usize % CAPTIONS.len()].into()),
            said: n != 3,
            speech: None,
            text: (n == 2).then(|| {
                let line = TextRow {
                    text: "BREAKING dogs".into(),
                    start_ms: 2_100,
                    end_ms: 2_900,
                    x: 0.1,
                    y: 0.2,
                    width: 0.5,
                    height: 0.1,
                    confidence: 0.9,
                    kind: "title".into(),
                };
                vec![line]
            }),
            score: Some(n as f32 / 8.0),
            mean_logprob: None,
            repeats: false,
            thumbnail: None,
            model: "m 1".into(),
            model_hash: "same".into(),
            embedding: unit(video + n),
        };
        (RecordName { key: video << 56 | 7, state: 1 }, (0..6).map(row).collect())
    };
    Films((1..4).map(film).collect())
}

/// An embedding of length 1.
fn unit(n: u64) -> Vec<f32> {
    let mut embedding = vec![0.0; WIDTH];
    embedding[n as usize % WIDTH] = 0.8;
    embedding[(n as usize + 3) % WIDTH] = 0.6;
    embedding
}

/// An index that nobody has touched: its files by name, and what it answers.
struct Sound {
    films: Films,
    files: Vec<(String, Vec<u8>)>,
    answers: Vec<Vec<Moment>>,
}

static SOUND: LazyLock<Sound> = LazyLock::new(|| {
    let (films, folder) = (films(), scratch_folder().join("sound"));
    let answers = answers(&mut open(&folder, &films, true).expect("a new index")).expect("its answers");
    assert!(answers.iter().all(|moments| !moments.is_empty()));
    let files = fs::read_dir(&folder).expect("its files").map(|entry| {
        let path = entry.expect("an entry").path();
        (path.file_name().expect("a name").to_string_lossy().into_owned(), fs::read(&path).expect("a file"))
    });
    let mut files: Vec<_> = files.collect();
    files.sort();
    Sound { files, answers, films }
});

/// The files of a sound index: inputs begin with those.
pub(crate) fn index_files() -> &'static [(String, Vec<u8>)] {
    &SOUND.files
}

fn open(folder: &Path, films: &Films, rebuild: bool) -> Result<Searcher> {
    let location = IndexLocation::Folder(folder.into());
    Searcher::open_at(&location, films, rebuild, &Interrupt::new(), &mut |_| {})
}

fn answers(searcher: &mut Searcher) -> Result<Vec<Vec<Moment>>> {
    let base = SearchQuery { threads: 1, limit: 5, ..SearchQuery::default() };
    let embedding = Some(QueryEmbedding { model_hash: "same".into(), embedding: unit(2) });
    let words = |text: &str| Some(text.to_string());
    let queries = [
        SearchQuery { embedding: embedding.clone(), ..base.clone() },
        SearchQuery { words: words("dogs OR \"snow* NEAR("), files: vec!["*/[1-3].mp4".into()], ..base.clone() },
        SearchQuery { on_screen: words("breaking* OR (dogs"), ..base.clone() },
        SearchQuery {
            words: words("a man"),
            on_screen: words("a man"),
            embedding,
            from_ms: Some(500),
            min_score: Some(0.1),
            ..base
        },
    ];
    queries.iter().map(|query| searcher.find(query).map_err(Into::into)).collect()
}

/// The files of a search index: an index that is not what descry wrote is rebuilt or refused, and a rebuilt one answers like
/// a new one. The first byte of an input chooses the file, the others replace its content.
pub(crate) fn index(data: &[u8]) {
    let Some((choice, content)) = data.split_first() else { return };
    let (sound, folder) = (&*SOUND, scratch_folder().join("index"));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder");
    for (n, (name, own)) in sound.files.iter().enumerate() {
        let replaced = usize::from(*choice) % sound.files.len() == n;
        fs::write(folder.join(name), if replaced { content } else { &own[..] }).expect("a file of the index");
    }
    match open(&folder, &sound.films, false) {
        Ok(mut searcher) => {
            let repaired = searcher.report().damage.is_some();
            match answers(&mut searcher) {
                Ok(answers) if repaired => assert_eq!(json!(answers), json!(sound.answers), "a repaired index"),
                Ok(answers) => answers.iter().for_each(|moments| check_moments(moments)),
                Err(error) => {
                    assert!(!repaired, "a repaired index: {error}");
                    check_error(&error);
                }
            }
        }
        Err(error) => check_error(&error),
    }
    let mut rebuilt = open(&folder, &sound.films, true).expect("an index can always be made anew");
    assert_eq!(json!(answers(&mut rebuilt).expect("answers")), json!(sound.answers), "a rebuilt index");
}

/// Answers are as many as asked for at most, and in order.
fn check_moments(moments: &[Moment]) {
    assert!(moments.len() <= 5);
    assert!(moments.iter().enumerate().all(|(n, moment)| moment.rank == n + 1));
    assert!(moments.windows(2).all(|pair| pair[0].score >= pair[1].score), "{moments:?}");
}
