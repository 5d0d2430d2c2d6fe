//! What is in an archive: opening it, listing its videos, reading and removing them.
//!
//! The names of the records alone say which videos are up to date; see [`RecordName`]. Memory: 16 bytes per name.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::io_error::write_error;
use super::layout::{
    FAILURES, HEAD, PART, RECORDS, SEARCH, TABLE, record_file, record_folder, video_file, video_folder,
};
use super::record::{FORMAT, FailureRecord, FileRecord, RecordName, VideoRecord};
use super::store::ArchiveStore;
use super::table::TableReader;
use crate::error::{Error, Result};
use crate::message;
use crate::message::Setting;
use crate::regular_file;

/// Largest `archive.json`, in bytes.
const HEAD_LIMIT: u64 = 1 << 16;
/// Largest record: it has about 150 bytes per thumbnail.
pub(super) const RECORD_LIMIT: u64 = 128 << 20;
/// Largest thumbnail. Usual ones have about 20 kB; anything far larger is no thumbnail of descry.
const THUMBNAIL_LIMIT: u64 = 4 << 20;
/// Largest table in an object store, which is read into memory: half a million keyframes at 512 values per embedding.
pub(super) const TABLE_LIMIT: u64 = 1 << 30;

/// An archive, open for reading and writing. Threads may share it; so may processes, see [`Archive::claim`].
#[derive(Debug, Clone)]
pub struct Archive {
    store: ArchiveStore,
    location: String,
}

impl Archive {
    /// Opens an existing archive: a folder, or `s3://BUCKET/PREFIX`.
    ///
    /// # Errors
    /// There is no archive, it has another format, or it cannot be read.
    pub fn open(location: &str) -> Result<Archive> {
        let archive = Archive::at(location)?;
        match archive.check_head()? {
            true => Ok(archive),
            false => Err(Error::usage(
                format!("{location}: there is no archive"),
                message!["Make one: ", Setting::Index, " FOLDER ", Setting::Archive, format!(" {location}")],
            )),
        }
    }

    /// Opens an archive that may not exist yet; it is empty then. Writes nothing.
    ///
    /// # Errors
    /// The archive has another format, or it cannot be read.
    pub fn open_or_empty(location: &str) -> Result<Archive> {
        let archive = Archive::at(location)?;
        archive.check_head().map(|_| archive)
    }

    /// Opens an archive, and creates it where there is none. The folder above it must exist.
    ///
    /// # Errors
    /// The folder holds something else, the archive has another format, or it cannot be read or written.
    pub fn create(location: &str) -> Result<Archive> {
        let archive = Archive::at(location)?;
        if archive.check_head()? {
            return Ok(archive);
        }
        if let Some(folder) = archive.store.folder() {
            let parent = folder.parent().filter(|p| !p.as_os_str().is_empty());
            if let Some(parent) = parent {
                let shown = parent.display().to_string();
                let kind = regular_file::kind(parent).map_err(|e| write_error(&shown, &e))?;
                if !kind.is_some_and(|kind| kind.is_dir()) {
                    let remedy = format!("Make it first: mkdir -p {shown}");
                    return Err(Error::usage(format!("{shown}: no such folder"), remedy));
                }
            }
        }
        // Another process may be creating the same archive right now.
        if let Some(other) = archive.store.list("", "")?.iter().find(|n| *n != HEAD && !n.ends_with(PART)) {
            return Err(Error::usage(
                format!("{location}: holds {other} and is not an archive"),
                "Name a folder that is empty or does not exist yet.",
            ));
        }
        let head = format!("{}\n", json!({ "format": FORMAT }));
        if let Err(e) = archive.store.put_durably(HEAD, head.as_bytes())
            && !archive.check_head().unwrap_or(false)
        {
            return Err(e);
        }
        // Killed processes left them. A process that creates the archive now finds it made.
        let parts = |name: &String| name.starts_with(HEAD) && name.ends_with(PART);
        for part in archive.store.list("", HEAD)?.iter().filter(|name| parts(name)) {
            archive.store.remove(part)?;
        }
        Ok(archive)
    }

    fn at(location: &str) -> Result<Archive> {
        Ok(Archive { store: ArchiveStore::at(location)?, location: location.to_string() })
    }

    /// Whether there is an archive. Fails where it has another format.
    fn check_head(&self) -> Result<bool> {
        let Some(bytes) = self.store.read(HEAD, HEAD_LIMIT)? else { return Ok(false) };
        let head: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
        match head["format"].as_str() {
            Some(FORMAT) => Ok(true),
            Some(other) => Err(Error::usage(
                format!("{} has the format {other}; this descry reads {FORMAT}", self.location),
                "Use the descry that made it, or index into another folder.",
            )),
            None => Err(Error::usage(
                format!("{} does not state its format", self.store.shown(HEAD)),
                message!["Name an archive that ", Setting::Index, " made."],
            )),
        }
    }

    /// The location that the archive was opened with.
    pub fn location(&self) -> &str {
        &self.location
    }

    /// The archive's folder; none where it is in an object store.
    pub fn folder(&self) -> Option<&Path> {
        self.store.folder()
    }

    pub(crate) fn store(&self) -> &ArchiveStore {
        &self.store
    }

    /// Names of all finished videos, sorted.
    ///
    /// # Errors
    /// The archive cannot be read.
    pub fn record_names(&self) -> Result<Vec<RecordName>> {
        self.names(RECORDS)
    }

    /// Names of all videos that could not be described, sorted.
    ///
    /// # Errors
    /// The archive cannot be read.
    pub fn failure_names(&self) -> Result<Vec<RecordName>> {
        self.names(FAILURES)
    }

    fn names(&self, kind: &str) -> Result<Vec<RecordName>> {
        let mut names = Vec::new();
        self.store.list_shelves(kind, &mut |name| {
            names.extend(name.strip_suffix(".json").and_then(|n| n.parse::<RecordName>().ok()));
        })?;
        names.sort_unstable();
        Ok(names)
    }

    /// Whether a video is finished.
    ///
    /// # Errors
    /// The archive cannot be read.
    pub fn has_record(&self, name: RecordName) -> Result<bool> {
        self.store.exists(&record_file(RECORDS, name))
    }

    /// Whether the archive knows why a video cannot be described.
    ///
    /// # Errors
    /// The archive cannot be read.
    pub fn has_failure(&self, name: RecordName) -> Result<bool> {
        self.store.exists(&record_file(FAILURES, name))
    }

    /// The record of a finished video; none where there is none (any more).
    ///
    /// # Errors
    /// The record cannot be read, or is damaged.
    pub fn read_record(&self, name: RecordName) -> Result<Option<VideoRecord>> {
        self.read_json(&record_file(RECORDS, name))
    }

    /// Why a video cannot be described; none where the archive does not know.
    ///
    /// # Errors
    /// The record cannot be read, or is damaged.
    pub fn read_failure(&self, name: RecordName) -> Result<Option<FailureRecord>> {
        self.read_json(&record_file(FAILURES, name))
    }

    fn read_json<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>> {
        let Some(bytes) = self.store.read(path, RECORD_LIMIT)? else { return Ok(None) };
        let parsed = serde_json::from_slice(&bytes);
        parsed.map(Some).map_err(|e| {
            let remedy = message!["Run ", Setting::ArchiveRepair, ", then ", Setting::Index, " again."];
            Error::input(self.store.shown(path), format!("is damaged: {e}"), remedy)
        })
    }

    /// Writes a record, so that it survives a power failure whole or not at all.
    pub(super) fn write_json(&self, path: &str, value: &impl Serialize) -> Result<FileRecord> {
        let mut bytes = serde_json::to_vec_pretty(value).map_err(|e| {
            Error::output(self.store.shown(path), format!("cannot be written as JSON: {e}"), "Report this as a bug.")
        })?;
        bytes.push(b'\n');
        self.store.put_durably(path, &bytes)
    }

    /// Path of a file in a video's folder, from the archive's root: `keyframes.parquet`, `descriptions.vtt`, or an empty
    /// name for the folder itself.
    pub fn video_path(&self, name: RecordName, within: &str) -> String {
        video_file(name, within)
    }

    /// A video's keyframes; none where the video is not finished (any more).
    ///
    /// # Errors
    /// The table cannot be read, or is damaged.
    pub fn table(&self, name: RecordName) -> Result<Option<TableReader>> {
        let path = video_file(name, TABLE);
        let shown = self.store.shown(&path);
        if self.store.folder().is_some() {
            return self.store.open_file(&path)?.map(|file| TableReader::of_file(shown, file)).transpose();
        }
        self.store.read(&path, TABLE_LIMIT)?.map(|bytes| TableReader::of_bytes(shown, bytes)).transpose()
    }

    /// Reads a thumbnail, by its path from the archive's root; none where it does not exist.
    ///
    /// # Errors
    /// The thumbnail cannot be read, leads out of the archive, is a link, or has more than 4 MiB.
    pub fn read_thumbnail(&self, path: &str) -> Result<Option<Vec<u8>>> {
        self.store.read(path, THUMBNAIL_LIMIT)
    }

    /// A path from the archive's root as messages show it.
    pub fn shown(&self, path: &str) -> String {
        self.store.shown(path)
    }

    /// The archive's own folder for its search index; none where it is in an object store.
    pub fn search_folder(&self) -> Option<PathBuf> {
        self.folder().map(|root| root.join(SEARCH))
    }

    /// The records of a video: one, but two for a moment while it is described again.
    pub(super) fn record_states(&self, key: u64) -> Result<Vec<RecordName>> {
        self.states(RECORDS, key)
    }

    /// The names that a video has in one kind of records, in any state.
    pub(super) fn states(&self, kind: &str, key: u64) -> Result<Vec<RecordName>> {
        let folder = record_folder(kind, RecordName { key, state: 0 });
        let names = self.store.list(&folder, &format!("{key:016x}."))?;
        Ok(names.iter().filter_map(|n| n.strip_suffix(".json")?.parse().ok()).collect())
    }

    /// Removes one record, and with it the video's files where `kind` is [`RECORDS`].
    pub(super) fn remove_record(&self, kind: &str, name: RecordName) -> Result<()> {
        // The record goes first: files without a record are leftovers, a record without files is damage.
        self.store.remove(&record_file(kind, name))?;
        if kind != RECORDS {
            return Ok(());
        }
        // After a power failure, too: the disk may forget the two in any order.
        self.store.sync_names(&record_folder(kind, name))?;
        self.store.remove_folder(&video_folder(name))
    }

    /// Removes what one kind of records holds of a video in other states.
    pub(super) fn remove_other_states(&self, kind: &str, name: RecordName) -> Result<()> {
        for other in self.states(kind, name.key)? {
            if other != name {
                self.remove_record(kind, other)?;
            }
        }
        Ok(())
    }

    /// Removes everything about a video except in this state. Claim the video first.
    ///
    /// # Errors
    /// The archive cannot be read or written.
    pub fn remove_older_states(&self, name: RecordName) -> Result<()> {
        self.remove_other_states(RECORDS, name)?;
        self.remove_other_states(FAILURES, name)
    }

    /// Removes everything about a video; returns whether there was anything. Claim the video first.
    ///
    /// # Errors
    /// The archive cannot be read or written.
    pub fn forget(&self, key: u64) -> Result<bool> {
        let mut any = false;
        for kind in [RECORDS, FAILURES] {
            for name in self.states(kind, key)? {
                self.remove_record(kind, name)?;
                any = true;
            }
        }
        Ok(any)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn other_folders_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let name = |n: &str| dir.path().join(n).to_str().unwrap().to_string();
        let message = |r: Result<Archive>| r.unwrap_err().to_string();
        assert!(message(Archive::open(&name("none"))).contains("no archive"));
        assert!(message(Archive::create(&name("no/where"))).contains("mkdir -p"));
        fs::create_dir(name("full")).unwrap();
        fs::write(name("full/film.mp4"), "").unwrap();
        assert!(message(Archive::create(&name("full"))).contains("film.mp4"));
        fs::write(name("full/archive.json"), "{\"format\":\"descry-archive/9\"}").unwrap();
        assert!(message(Archive::create(&name("full"))).contains("descry-archive/9"));
        fs::write(name("full/archive.json"), "[").unwrap();
        assert!(message(Archive::open(&name("full"))).contains("format"));
    }
}
