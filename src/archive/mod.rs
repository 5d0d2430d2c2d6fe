//! An archive: what descry knows of many videos, in open formats, in a folder.
//!
//! ```text
//! archive.json                                what it is
//! videos/ab/<key>.<state>/descriptions.vtt    also descriptions.json, keyframes.parquet, thumbnails/000000123.jpg
//! records/ab/<key>.<state>.json               written last: that it is there is the commit
//! failures/ab/<key>.<state>.json              what cannot be described, and why
//! claims/<key>.lock                           held while a process describes that video
//! ```
//!
//! Owns the layout, the order in which things are written and taken away, and the claims. What is up to date is known
//! from names alone: see [`record::Name`]. All bytes are a function of the video, the model and the options, so that
//! doing a video twice is harmless. A process that is killed leaves files without a record, which are nobody's and are swept
//! when that video's turn comes again.
//!
//! Memory: names of records are 16 bytes each; a [`Writer`] holds a row group, and a hash a thumbnail.

pub mod check;
pub mod export;
pub mod index;
pub mod record;
pub mod search;
pub mod store;
pub mod table;

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::json;

use crate::error::{Error, Result};
use crate::pipeline::KeyframeRecord;
use crate::track::{Format, Track, write};
use record::{FORMAT, Failure, FileRecord, Name, Record, Work};
use store::{Pending, Store, Upload, unwritten};
use table::{Row, TableReader, TableWriter};

const HEAD: &str = "archive.json";
const RECORDS: &str = "records";
const FAILURES: &str = "failures";
const CLAIMS: &str = "claims";
/// The table of a video's keyframes, in its folder.
pub const TABLE: &str = "keyframes.parquet";
/// The descriptions of a video, in its folder.
pub const VTT: &str = "descriptions.vtt";
/// Everything that is known of a video, in its folder.
pub const JSON: &str = "descriptions.json";
/// The pictures of a video's keyframes, in its folder.
pub const THUMBNAILS: &str = "thumbnails";

/// One archive, open for reading and writing. Shared by threads.
#[derive(Debug, Clone)]
pub struct Archive {
    store: Store,
    location: String,
}

impl Archive {
    /// Opens an archive that is there.
    pub fn open(location: &str) -> Result<Archive> {
        let archive = Archive { store: Store::at(location)?, location: location.to_string() };
        match archive.head()? {
            true => Ok(archive),
            false => Err(Error::usage(
                format!("{location}: there is no archive"),
                format!("Make one: descry index FOLDER --into {location}"),
            )),
        }
    }

    /// An archive that may not be there yet: then it is empty.
    pub fn look(location: &str) -> Result<Archive> {
        let archive = Archive { store: Store::at(location)?, location: location.to_string() };
        archive.head().map(|_| archive)
    }

    /// Opens an archive, and makes it where there is none. A folder that holds something else is refused.
    pub fn create(location: &str) -> Result<Archive> {
        let archive = Archive { store: Store::at(location)?, location: location.to_string() };
        if archive.head()? {
            return Ok(archive);
        }
        if let Some(folder) = archive.store.folder() {
            let parent = folder.parent().filter(|p| !p.as_os_str().is_empty());
            if let Some(parent) = parent.filter(|p| !p.is_dir()) {
                return Err(Error::usage(
                    format!("{}: no such folder", parent.display()),
                    format!("Make it first: mkdir -p {}", parent.display()),
                ));
            }
        }
        // Who else makes it this moment is not something else.
        if let Some(other) = archive.store.list("", "")?.iter().find(|n| *n != HEAD && !n.ends_with(store::PART)) {
            return Err(Error::usage(
                format!("{location}: holds {other} and is no archive"),
                "Name a folder that is empty or does not exist yet.",
            ));
        }
        let head = format!("{}\n", json!({ "format": FORMAT }));
        archive.store.put(HEAD, head.as_bytes())?;
        Ok(archive)
    }

    /// Whether there is an archive; an error where it is of another format.
    fn head(&self) -> Result<bool> {
        let Some(bytes) = self.store.read(HEAD)? else { return Ok(false) };
        let head: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
        match head["format"].as_str() {
            Some(FORMAT) => Ok(true),
            Some(other) => Err(Error::usage(
                format!("{} is of format {other}, and this descry knows {FORMAT}", self.location),
                "Use the descry that made it, or index anew into another folder.",
            )),
            None => Err(Error::usage(
                format!("{} does not say its format", self.store.shown(HEAD)),
                "Name an archive that descry index made.",
            )),
        }
    }

    /// As the user named it.
    pub fn location(&self) -> &str {
        &self.location
    }

    /// The folder, where it is one of this machine.
    pub fn folder(&self) -> Option<&Path> {
        self.store.folder()
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    /// All videos that are done, in order.
    pub fn record_names(&self) -> Result<Vec<Name>> {
        self.names(RECORDS)
    }

    /// All videos that could not be described, in order.
    pub fn failure_names(&self) -> Result<Vec<Name>> {
        self.names(FAILURES)
    }

    fn names(&self, kind: &str) -> Result<Vec<Name>> {
        let mut names = Vec::new();
        self.store.list_shelves(kind, &mut |name| {
            names.extend(name.strip_suffix(".json").and_then(|n| n.parse::<Name>().ok()));
        })?;
        names.sort_unstable();
        Ok(names)
    }

    /// Whether a video is done.
    pub fn has_record(&self, name: Name) -> Result<bool> {
        self.store.has(&file(RECORDS, name))
    }

    /// Whether it is kept why a video could not be described.
    pub fn has_failure(&self, name: Name) -> Result<bool> {
        self.store.has(&file(FAILURES, name))
    }

    /// The record of a video that is done; none where it is not, or not any more.
    pub fn read_record(&self, name: Name) -> Result<Option<Record>> {
        self.json(&file(RECORDS, name))
    }

    /// Why a video could not be described.
    pub fn read_failure(&self, name: Name) -> Result<Option<Failure>> {
        self.json(&file(FAILURES, name))
    }

    fn json<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>> {
        let Some(bytes) = self.store.read(path)? else { return Ok(None) };
        let parsed = serde_json::from_slice(&bytes);
        parsed.map(Some).map_err(|e| {
            let remedy = "Let descry archive check repair it, and index again.";
            Error::input(self.store.shown(path), format!("is damaged: {e}"), remedy)
        })
    }

    /// Place of a video's file from the archive's root.
    pub fn place(&self, name: Name, within: &str) -> String {
        format!("{}/{within}", folder(name))
    }

    /// A video's keyframes; none where it is not done, or not any more.
    pub fn table(&self, name: Name) -> Result<Option<TableReader>> {
        let place = self.place(name, TABLE);
        match self.store.folder() {
            Some(root) => {
                let path = root.join(&place);
                if path.exists() { TableReader::open(&path).map(Some) } else { Ok(None) }
            }
            None => {
                let bytes = self.store.read(&place)?;
                bytes.map(|b| TableReader::of_bytes(self.store.shown(&place), b)).transpose()
            }
        }
    }

    /// Takes a video for this process alone; none where another has it. It is free again when the claim is dropped,
    /// and when the process ends, however it does.
    pub fn claim(&self, key: u64) -> Result<Option<Claim>> {
        let Some(root) = self.store.folder() else { return Ok(Some(Claim { held: None })) };
        let path = root.join(CLAIMS).join(format!("{key:016x}.lock"));
        let fail = |e: &io::Error| unwritten(&path.display().to_string(), e);
        loop {
            let open = || File::options().create(true).truncate(false).write(true).open(&path);
            let opened = open().or_else(|e| {
                if e.kind() != io::ErrorKind::NotFound {
                    return Err(e);
                }
                fs::create_dir_all(root.join(CLAIMS)).and_then(|()| open())
            });
            let lock = opened.map_err(|e| fail(&e))?;
            match lock.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(e)) => return Err(fail(&e)),
            }
            // Who had it before has taken the file away: the lock is on something without a name.
            if is_at(&lock, &path) {
                return Ok(Some(Claim { held: Some((lock, path)) }));
            }
        }
    }

    /// Takes away the locks that killed processes left. Locks that are held stay.
    pub fn sweep(&self) -> Result<()> {
        for name in self.store.list(CLAIMS, "")? {
            if let Some(key) = name.strip_suffix(".lock").and_then(|k| u64::from_str_radix(k, 16).ok()) {
                drop(self.claim(key)?);
            }
        }
        Ok(())
    }

    /// Begins to store a video that this process has claimed. What earlier runs left of it is swept.
    pub fn begin(&self, work: &Work) -> Result<Writer<'_>> {
        // Without claims another machine may be writing the very same bytes there.
        if self.store.folder().is_some() {
            let prefix = format!("{:016x}.", work.name.key);
            for kind in [RECORDS, FAILURES] {
                let shelf = format!("{kind}/{}", work.name.shelf());
                for part in self.store.list(&shelf, &prefix)?.iter().filter(|n| n.ends_with(store::PART)) {
                    self.store.remove(&format!("{shelf}/{part}"))?;
                }
            }
            let shelf = format!("videos/{}", work.name.shelf());
            for name in self.store.list(&shelf, &prefix)? {
                let committed = name.parse().is_ok_and(|n| n != work.name && self.has_record(n).unwrap_or(true));
                if !committed {
                    self.store.remove(&file(RECORDS, work.name))?;
                    self.store.remove_folder(&format!("{shelf}/{name}"))?;
                }
            }
        }
        let place = self.place(work.name, TABLE);
        let shown = self.store.shown(&place);
        let table = TableWriter::new(self.store.upload(&place)?, shown, work.recipe.dimension, table::ROWS)?;
        let transition: Arc<str> = "".into();
        let (files, pending) = (BTreeMap::new(), Pending::default());
        Ok(Writer { archive: self, work: work.clone(), table, files, pending, keyframes: 0, transition })
    }

    /// Keeps why a video could not be described.
    pub fn fail(&self, work: &Work, cause: &str, remedy: &str) -> Result<Failure> {
        let path = file(FAILURES, work.name);
        // One that is damaged is begun anew.
        let before = self.read_failure(work.name).ok().flatten().map_or(0, |f| f.attempts);
        let failure = Failure {
            format: FORMAT.into(),
            video: work.video.to_string(),
            source: work.source.clone(),
            state: work.name.state,
            attempts: before.saturating_add(1),
            cause: cause.into(),
            remedy: remedy.into(),
        };
        self.put_json(&path, &failure)?;
        self.settle(FAILURES, work.name)?;
        self.drop_others(FAILURES, work.name)?;
        Ok(failure)
    }

    fn put_json(&self, path: &str, value: &impl serde::Serialize) -> Result<FileRecord> {
        let mut bytes = serde_json::to_vec_pretty(value)
            .map_err(|e| Error::output(self.store.shown(path), format!("cannot be told: {e}"), "Report this."))?;
        bytes.push(b'\n');
        self.store.put(path, &bytes)
    }

    /// Brings a record onto the disk: the file, and the folder that names it.
    fn settle(&self, kind: &str, name: Name) -> Result<()> {
        self.store.settle_file(&file(kind, name))
    }

    /// Takes away what was known of a video in other states.
    fn drop_others(&self, kind: &str, name: Name) -> Result<()> {
        for other in self.states(kind, name.key)? {
            if other != name {
                self.drop_one(kind, other)?;
            }
        }
        Ok(())
    }

    /// What there is of a video, in whatever state.
    fn states(&self, kind: &str, key: u64) -> Result<Vec<Name>> {
        let shelf = Name { key, state: 0 }.shelf();
        let names = self.store.list(&format!("{kind}/{shelf}"), &format!("{key:016x}."))?;
        Ok(names.iter().filter_map(|n| n.strip_suffix(".json")?.parse().ok()).collect())
    }

    fn drop_one(&self, kind: &str, name: Name) -> Result<()> {
        // The record first: what has none is nobody's.
        self.store.remove(&file(kind, name))?;
        if kind == RECORDS { self.store.remove_folder(&folder(name)) } else { Ok(()) }
    }

    /// Takes away everything that is known of a video but in this state. The caller has claimed it.
    pub fn retire(&self, name: Name) -> Result<()> {
        self.drop_others(RECORDS, name)?;
        self.drop_others(FAILURES, name)
    }

    /// Takes away everything that is known of a video; false where nothing was. The caller has claimed it.
    pub fn forget(&self, key: u64) -> Result<bool> {
        let mut any = false;
        for kind in [RECORDS, FAILURES] {
            for name in self.states(kind, key)? {
                self.drop_one(kind, name)?;
                any = true;
            }
        }
        Ok(any)
    }
}

fn folder(name: Name) -> String {
    format!("videos/{}/{name}", name.shelf())
}

fn file(kind: &str, name: Name) -> String {
    format!("{kind}/{}/{name}.json", name.shelf())
}

#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), fs::metadata(path)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

/// Where files that are open cannot be taken away.
#[cfg(not(unix))]
fn is_at(_file: &File, path: &Path) -> bool {
    path.exists()
}

/// A video that this process alone describes.
#[derive(Debug)]
pub struct Claim {
    held: Option<(File, PathBuf)>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some((lock, path)) = self.held.take() {
            // While it is held: whoever waits for it sees that it has lost its name.
            let _ = fs::remove_file(path);
            drop(lock);
        }
    }
}

/// Stores one video as it is described. Dropped before [`Writer::finish`], it leaves files that are nobody's.
pub struct Writer<'a> {
    archive: &'a Archive,
    work: Work,
    table: TableWriter<Upload>,
    files: BTreeMap<String, FileRecord>,
    pending: Pending,
    keyframes: u64,
    transition: Arc<str>,
}

impl Writer<'_> {
    /// Stores a keyframe; they come in order of time.
    pub fn scene(&mut self, kept: KeyframeRecord) -> Result<()> {
        let KeyframeRecord { record, embedding, thumbnail } = kept;
        self.keyframes += 1;
        let ms = record.keyframe.millis();
        let mut place = None;
        if let Some(jpeg) = thumbnail {
            let within = format!("{THUMBNAILS}/{:09}.jpg", ms.max(0));
            let path = self.archive.place(self.work.name, &within);
            self.files.insert(within, self.archive.store.put_soon(&path, jpeg, &mut self.pending)?);
            place = Some(path);
        }
        let Some(embedding) = embedding else { return Ok(()) };
        if *self.transition != *record.transition {
            self.transition = record.transition.into();
        }
        self.table.push(Row {
            video: self.work.video.clone(),
            start_ms: record.start.millis(),
            end_ms: record.end.millis(),
            keyframe_ms: ms,
            scene: i32::try_from(record.scene).unwrap_or(i32::MAX),
            transition: self.transition.clone(),
            caption: record.text,
            said: record.shown,
            score: record.score,
            mean_logprob: record.mean_logprob,
            repeats: record.repeats.is_some(),
            thumbnail: place,
            model: self.work.recipe.model.clone(),
            model_hash: self.work.recipe.model_hash.clone(),
            embedding,
        })
    }

    /// Takes away what was stored so far.
    pub fn abandon(self) -> Result<()> {
        let Writer { archive, work, table, .. } = self;
        drop(table);
        // Where there are no claims it may be another machine's by now.
        if archive.store.folder().is_some() { archive.store.remove_folder(&folder(work.name)) } else { Ok(()) }
    }

    /// Stores the descriptions and commits the video; what was known of it in other states is taken away then.
    /// The track's input is told by the video's name in the archive.
    pub fn finish(mut self, mut track: Track) -> Result<Record> {
        let (archive, name) = (self.archive, self.work.name);
        track.input = self.work.video.to_string();
        self.files.insert(TABLE.into(), self.table.finish()?.finish()?);
        for (within, format) in [(VTT, Format::Vtt), (JSON, Format::Json)] {
            let path = archive.place(name, within);
            let mut upload = archive.store.upload(&path)?;
            write(&track, format, &mut upload).map_err(|e| unwritten(&archive.store.shown(&path), &e))?;
            self.files.insert(within.into(), upload.finish()?);
        }
        self.pending.settle()?;
        archive.store.settle(&folder(name))?;
        let record = Record {
            format: FORMAT.into(),
            video: self.work.video.to_string(),
            source: self.work.source,
            state: name.state,
            model: self.work.recipe.model.to_string(),
            model_hash: self.work.recipe.model_hash.to_string(),
            options: self.work.recipe.options.clone(),
            duration_ms: track.info.and_then(|i| i.duration).map(|d| (d * 1e3).round() as i64),
            keyframes: self.keyframes,
            cues: track.cues.len() as u64,
            damage: track.damage,
            files: self.files,
        };
        archive.put_json(&file(RECORDS, name), &record)?;
        archive.settle(RECORDS, name)?;
        archive.drop_others(RECORDS, name)?;
        for failure in archive.states(FAILURES, name.key)? {
            archive.drop_one(FAILURES, failure)?;
        }
        Ok(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fingerprint::Fingerprint;
    use crate::time::Time;
    use crate::track::SceneRecord;
    use record::Recipe;

    fn scene(n: u32) -> SceneRecord {
        SceneRecord {
            scene: n + 1,
            start: Time::from_secs(f64::from(n)),
            end: Time::from_secs(f64::from(n) + 1.0),
            start_frame: 0,
            end_frame: 1,
            keyframe: Time::from_secs(f64::from(n) + 0.5),
            transition: "cut",
            text: Some("A dog.".into()),
            shown: true,
            score: Some(0.5),
            mean_logprob: Some(-1.0),
            similarity: None,
            repeats: None,
            blank: false,
        }
    }

    fn track() -> Track {
        Track {
            input: "film.mp4".into(),
            info: None,
            model: "m 1".into(),
            damage: None,
            interrupted: false,
            options: json!({}),
            cues: Vec::new(),
            scenes: vec![scene(0), scene(1)],
        }
    }

    fn work(video: &str, size: u64) -> Work {
        let recipe = Recipe { model: "m 1".into(), model_hash: "ab".into(), dimension: 2, options: json!({}) };
        Work::new(video, Fingerprint { size: Some(size), ..Fingerprint::default() }, Arc::new(recipe))
    }

    fn store(archive: &Archive, work: &Work) -> Record {
        let mut writer = archive.begin(work).unwrap();
        for record in track().scenes {
            writer
                .scene(KeyframeRecord { record, embedding: Some(vec![0.6, 0.8]), thumbnail: Some(vec![1, 2]) })
                .unwrap();
        }
        writer.finish(track()).unwrap()
    }

    fn archive(dir: &tempfile::TempDir) -> Archive {
        Archive::create(dir.path().join("archive").to_str().unwrap()).unwrap()
    }

    #[test]
    fn a_video_is_there_once_it_is_committed_and_replaces_its_older_states() {
        let dir = tempfile::tempdir().unwrap();
        let archive = archive(&dir);
        let (old, new) = (work("/a.mp4", 1), work("/a.mp4", 2));
        archive.fail(&old, "broken", "mend it").unwrap();
        assert_eq!(archive.fail(&old, "broken", "mend it").unwrap().attempts, 2);
        assert_eq!(archive.failure_names().unwrap(), [old.name]);
        let record = store(&archive, &old);
        assert_eq!((record.keyframes, record.files.len()), (2, 5));
        assert_eq!(archive.read_record(old.name).unwrap(), Some(record));
        assert!(archive.failure_names().unwrap().is_empty());
        // One that was not finished, of whatever state, is swept.
        drop(archive.begin(&work("/a.mp4", 3)).unwrap());
        store(&archive, &new);
        assert_eq!(archive.record_names().unwrap(), [new.name]);
        let folders = archive.store.list(&format!("videos/{}", new.name.shelf()), "").unwrap();
        assert_eq!(folders, [new.name.to_string()]);
        let rows: Vec<Row> = archive.table(new.name).unwrap().unwrap().flat_map(|b| b.unwrap()).collect();
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[1].thumbnail.as_deref(), Some(&*archive.place(new.name, "thumbnails/000001500.jpg")));
        assert!(archive.forget(new.name.key).unwrap() && !archive.forget(new.name.key).unwrap());
        assert!(archive.table(new.name).unwrap().is_none());
    }

    #[test]
    fn the_same_video_gives_the_same_bytes() {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let bytes = dirs.each_ref().map(|dir| {
            let archive = archive(dir);
            let work = work("/a.mp4", 1);
            let record = store(&archive, &work);
            let table = archive.store.read(&archive.place(work.name, TABLE)).unwrap().unwrap();
            (record, table, archive.store.read(&file(RECORDS, work.name)).unwrap().unwrap())
        });
        assert_eq!(bytes[0], bytes[1]);
    }

    #[test]
    fn a_claim_is_held_once_and_its_lock_goes_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let archive = archive(&dir);
        let claim = archive.claim(7).unwrap().expect("free");
        assert!(archive.claim(7).unwrap().is_none() && archive.claim(8).unwrap().is_some());
        archive.sweep().unwrap();
        assert!(archive.claim(7).unwrap().is_none());
        drop(claim);
        fs::write(dir.path().join("archive/claims/0000000000000009.lock"), "").unwrap();
        archive.sweep().unwrap();
        assert!(archive.store.list(CLAIMS, "").unwrap().is_empty());
    }

    #[test]
    fn what_is_no_archive_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let name = |n: &str| dir.path().join(n).to_str().unwrap().to_string();
        let told = |r: Result<Archive>| r.unwrap_err().to_string();
        assert!(told(Archive::open(&name("none"))).contains("no archive"));
        assert!(told(Archive::create(&name("no/where"))).contains("mkdir -p"));
        fs::create_dir(name("full")).unwrap();
        fs::write(name("full/film.mp4"), "").unwrap();
        assert!(told(Archive::create(&name("full"))).contains("film.mp4"));
        fs::write(name("full/archive.json"), "{\"format\":\"descry-archive/9\"}").unwrap();
        assert!(told(Archive::create(&name("full"))).contains("descry-archive/9"));
        fs::write(name("full/archive.json"), "[").unwrap();
        assert!(told(Archive::open(&name("full"))).contains("format"));
    }
}
