//! Verifies an archive: reads every file and compares it with its record.
//!
//! A repair removes the record of a damaged video, so that the next index describes the video again. It removes nothing that
//! the disk does not give at the moment: that may be sound. Memory: the names, and in an object store one file at a time.

use std::collections::HashSet;
use std::error::Error as _;
use std::fs::File;
use std::io::{self, Seek};

use sha2::{Digest, Sha256};

use super::catalog::{Archive, TABLE_LIMIT};
use super::layout::{RECORDS, TABLE, VIDEOS, record_file, video_file};
use super::record::{RecordName, VideoRecord};
use super::reviews::check_reviews;
use super::table::TableReader;
use crate::digest::{hex, sha256_of};
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::media::remote::RemoteError;
use crate::message;
use crate::message::Setting;

/// What a check found.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct CheckReport {
    /// Videos whose files are what their records say.
    pub sound: usize,
    /// Videos with files that are missing or changed.
    pub damaged: usize,
    /// Videos that cannot be checked, because the disk or the object store does not give one of their files. A repair leaves
    /// them alone.
    pub unreadable: usize,
    /// Folders without a record, and half-written reviews: killed processes leave them behind.
    pub leftovers: usize,
    /// Reviews that can be read.
    pub reviews: usize,
    /// Reviews that cannot. A repair leaves them alone.
    pub damaged_reviews: usize,
}

/// Checks all videos and calls `report` for each damaged or unreadable one. With `repair`, removes what is damaged or left over. Skips
/// videos that another process is describing; stops early when the interrupt is set.
///
/// # Errors
/// The archive cannot be listed, or a repair cannot be written.
pub fn check(
    archive: &Archive,
    repair: bool,
    interrupt: &Interrupt,
    report: &mut dyn FnMut(&Error),
) -> Result<CheckReport> {
    let mut found = CheckReport::default();
    for name in archive.record_names()? {
        if interrupt.is_set() {
            return Ok(found);
        }
        let Some(_claim) = archive.claim(name.key)? else { continue };
        let checked = match archive.read_record(name) {
            Ok(None) => continue,
            Ok(Some(record)) => check_video(archive, name, &record),
            Err(e) => Err(e),
        };
        match checked {
            Ok(()) => found.sound += 1,
            Err(e) if is_unreadable(&e) => {
                report(&e);
                found.unreadable += 1;
            }
            Err(e) => {
                report(&e);
                found.damaged += 1;
                if repair {
                    archive.remove_record(RECORDS, name)?;
                }
            }
        }
    }
    let reviews = check_reviews(archive, repair, interrupt, report)?;
    (found.reviews, found.damaged_reviews) = (reviews.sound, reviews.damaged);
    found.leftovers = sweep_leftovers(archive, repair)? + reviews.leftovers;
    Ok(found)
}

/// Whether something could not be read, so that it may or may not be damaged. The error for something that is not a regular
/// file, which descry never writes, has no I/O error as its source.
fn is_unreadable(e: &Error) -> bool {
    matches!(e, Error::Interrupted) || e.source().is_some_and(|s| s.is::<io::Error>() || s.is::<RemoteError>())
}

/// Counts the folders without a record; removes them with `repair`.
fn sweep_leftovers(archive: &Archive, repair: bool) -> Result<usize> {
    let mut leftovers = 0;
    let known: HashSet<RecordName> = archive.record_names()?.into_iter().collect();
    for shelf in archive.store().list(VIDEOS, "")? {
        for entry in archive.store().list(&format!("{VIDEOS}/{shelf}"), "")? {
            let name = entry.parse::<RecordName>().ok();
            if name.is_some_and(|n| known.contains(&n)) {
                continue;
            }
            // A process may be describing this video, or may have finished it since the names were listed.
            let claim = name.map(|n| archive.claim(n.key)).transpose()?;
            let committed = name.is_some_and(|n| archive.has_record(n).unwrap_or(true));
            if matches!(claim, Some(None)) || committed {
                continue;
            }
            leftovers += 1;
            if repair {
                archive.store().remove_folder(&format!("{VIDEOS}/{shelf}/{entry}"))?;
            }
        }
    }
    Ok(leftovers)
}

fn check_video(archive: &Archive, name: RecordName, record: &VideoRecord) -> Result<()> {
    let damaged = |path: &str, cause: String| {
        let shown = archive.store().shown(path);
        Err(Error::input(shown, cause, message!["Run ", Setting::ArchiveRepair, ", then ", Setting::Index, " again."]))
    };
    if record.state != name.state {
        return damaged(&record_file(RECORDS, name), "is the record of another state".into());
    }
    for (within, expected) in &record.files {
        let path = video_file(name, within);
        let found = match StoredFile::open(archive, &path, expected.bytes)? {
            None => return damaged(&path, "is missing".into()),
            Some(found) if found.bytes != expected.bytes => {
                return damaged(&path, format!("has {} bytes; its record says {}", found.bytes, expected.bytes));
            }
            Some(found) => found,
        };
        let (hash, content) = found.hash().map_err(|e| Error::read(archive.store().shown(&path), &e))?;
        if hash != expected.sha256 {
            return damaged(&path, "was changed: its SHA-256 is not that of its record".into());
        }
        if within == TABLE {
            let shown = archive.store().shown(&path);
            let table = match content {
                Content::File(file) => TableReader::of_file(shown, file),
                Content::Bytes(bytes) => TableReader::of_bytes(shown, bytes),
            };
            table?.try_for_each(|batch| batch.map(drop))?;
        }
    }
    Ok(())
}

/// A file of a video, open for reading.
struct StoredFile {
    content: Content,
    bytes: u64,
}

enum Content {
    File(File),
    /// Of an object.
    Bytes(Vec<u8>),
}

impl StoredFile {
    /// None if it does not exist. An object is read only if it is no larger than `expected`, in bytes.
    fn open(archive: &Archive, path: &str, expected: u64) -> Result<Option<StoredFile>> {
        if archive.folder().is_none() {
            let bytes = archive.store().read(path, expected.min(TABLE_LIMIT))?;
            return Ok(bytes.map(|b| StoredFile { bytes: b.len() as u64, content: Content::Bytes(b) }));
        }
        let Some(file) = archive.store().open_file(path)? else { return Ok(None) };
        let bytes = file.metadata().map_err(|e| Error::read(archive.store().shown(path), &e))?.len();
        Ok(Some(StoredFile { content: Content::File(file), bytes }))
    }

    /// SHA-256 in hex, and the content from its start.
    fn hash(self) -> io::Result<(String, Content)> {
        match self.content {
            Content::Bytes(bytes) => Ok((hex(&Sha256::digest(&bytes)), Content::Bytes(bytes))),
            Content::File(mut file) => {
                let hash = sha256_of(&mut file)?;
                file.rewind()?;
                Ok((hash, Content::File(file)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_not_damaged() {
        let failing = io::Error::from_raw_os_error(5);
        let unreadable = [
            Error::read("a", &failing),
            RemoteError::Status(503).input("s3://bucket/a"),
            RemoteError::Late("nothing came".into()).input("s3://bucket/a"),
            Error::Interrupted,
        ];
        assert!(unreadable.iter().all(is_unreadable), "{unreadable:?}");
        assert!(!is_unreadable(&Error::input("a", "was changed", "Index again.")));
    }
}
