//! Whether an archive is what its records say: every file is read and hashed.
//!
//! What is damaged loses its record, where that is wished for, so that the next index does it again. Memory: one file
//! at a time, and the names.

use std::collections::HashSet;

use sha2::{Digest, Sha256};

use super::record::{Name, Record};
use super::table::TableReader;
use super::{Archive, RECORDS, TABLE, file, folder};
use crate::digest::hex;
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;

/// What was found.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    pub sound: usize,
    pub damaged: usize,
    /// Folders without a record and files that are not whole.
    pub leftovers: usize,
}

/// Checks all videos; `tell` hears of each that is damaged. What another process is at is left alone.
pub fn check(archive: &Archive, repair: bool, interrupt: &Interrupt, tell: &mut dyn FnMut(&Error)) -> Result<Found> {
    let mut found = Found::default();
    for name in archive.record_names()? {
        if interrupt.is_set() {
            return Ok(found);
        }
        let Some(_claim) = archive.claim(name.key)? else { continue };
        let sound = match archive.read_record(name) {
            Ok(None) => continue,
            Ok(Some(record)) => sound(archive, name, &record),
            Err(e) => Err(e),
        };
        match sound {
            Ok(()) => found.sound += 1,
            Err(e) => {
                tell(&e);
                found.damaged += 1;
                if repair {
                    archive.drop_one(RECORDS, name)?;
                }
            }
        }
    }
    let known: HashSet<Name> = archive.record_names()?.into_iter().collect();
    for shelf in archive.store.list("videos", "")? {
        for entry in archive.store.list(&format!("videos/{shelf}"), "")? {
            let name = entry.parse::<Name>().ok();
            if name.is_some_and(|n| known.contains(&n)) {
                continue;
            }
            // What has a lock may be a video that is being described.
            let claim = name.map(|n| archive.claim(n.key)).transpose()?;
            let committed = name.is_some_and(|n| archive.has_record(n).unwrap_or(true));
            if matches!(claim, Some(None)) || committed {
                continue;
            }
            found.leftovers += 1;
            if repair {
                archive.store.remove_folder(&format!("videos/{shelf}/{entry}"))?;
            }
        }
    }
    Ok(found)
}

fn sound(archive: &Archive, name: Name, record: &Record) -> Result<()> {
    let damaged = |what: &str, cause: String| {
        let shown = archive.store.shown(what);
        Err(Error::input(shown, cause, "Let descry archive check --repair mark it, and index again."))
    };
    if record.state != name.state {
        return damaged(&file(RECORDS, name), "is the record of something else".into());
    }
    for (within, told) in &record.files {
        let place = format!("{}/{within}", folder(name));
        match archive.store.read(&place)? {
            None => return damaged(&place, "is missing".into()),
            Some(bytes) if bytes.len() as u64 != told.bytes => {
                let cause = format!("has {} bytes, and its record says {}", bytes.len(), told.bytes);
                return damaged(&place, cause);
            }
            Some(bytes) if hex(&Sha256::digest(&bytes)) != told.sha256 => {
                return damaged(&place, "was changed: its SHA-256 is not the record's".into());
            }
            Some(bytes) if within == TABLE => {
                TableReader::of_bytes(archive.store.shown(&place), bytes)?.try_for_each(|batch| batch.map(drop))?
            }
            Some(_) => {}
        }
    }
    Ok(())
}
