//! Verifies an archive: reads every file and compares it with its record.
//!
//! A repair removes the record of a damaged video, so that the next index describes the video again. Memory: one file at a
//! time, and the names.

use std::collections::HashSet;

use sha2::{Digest, Sha256};

use super::catalog::Archive;
use super::layout::{RECORDS, TABLE, VIDEOS, record_file, video_file};
use super::record::{RecordName, VideoRecord};
use super::table::TableReader;
use crate::digest::hex;
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::message;
use crate::message::Setting;

/// What a check found.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct CheckReport {
    /// Videos whose files are what their records say.
    pub sound: usize,
    /// Videos with files that are missing, changed or unreadable.
    pub damaged: usize,
    /// Folders without a record: killed processes leave them behind.
    pub leftovers: usize,
}

/// Checks all videos and calls `report` for each damaged one. With `repair`, removes what is damaged or left over. Skips
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
            Err(e) => {
                report(&e);
                found.damaged += 1;
                if repair {
                    archive.remove_record(RECORDS, name)?;
                }
            }
        }
    }
    found.leftovers = sweep_leftovers(archive, repair)?;
    Ok(found)
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
        match archive.store().read(&path)? {
            None => return damaged(&path, "is missing".into()),
            Some(bytes) if bytes.len() as u64 != expected.bytes => {
                let cause = format!("has {} bytes; its record says {}", bytes.len(), expected.bytes);
                return damaged(&path, cause);
            }
            Some(bytes) if hex(&Sha256::digest(&bytes)) != expected.sha256 => {
                return damaged(&path, "was changed: its SHA-256 is not that of its record".into());
            }
            Some(bytes) if within == TABLE => {
                TableReader::of_bytes(archive.store().shown(&path), bytes)?.try_for_each(|batch| batch.map(drop))?;
            }
            Some(_) => {}
        }
    }
    Ok(())
}
