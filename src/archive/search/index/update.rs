//! Opens an index, after bringing it up to date with its source.
//!
//! One process updates an index, the others wait for it. An index that is damaged, or that an earlier version made, is rebuilt.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;

use super::fault::{DATABASE, IndexFault};
use super::report::{UpdateReport, UpdateStep};
use super::snapshot::SearchIndex;
use super::source::RecordSource;
use super::writer::{IndexWriter, changes, vector_files};
use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::message;
use crate::message::Setting;
use crate::open_folder::{OpenFolder, try_lock, wait_for_lock};

const LOCK: &str = "lock";

/// Opens the index in a folder, after bringing it up to date or, with `rebuild`, building it again. An index that is up to
/// date opens even where nothing may be written.
pub(crate) fn open_current(
    folder: &Path,
    source: &dyn RecordSource,
    rebuild: bool,
    interrupt: &Interrupt,
    progress: &mut dyn FnMut(UpdateStep),
) -> Result<(SearchIndex, UpdateReport), IndexFault> {
    let mut damage = None;
    if !rebuild {
        match SearchIndex::open(folder, interrupt) {
            Ok(index) if changes(&index.db, source)?.is_none() => {
                return Ok((index, UpdateReport::default()));
            }
            // Where a killed process left a transaction half done, only a writer can open the database.
            Ok(_) | Err(IndexFault::Missing | IndexFault::Outdated) => {}
            Err(e) if e.is_read_only() => {}
            Err(IndexFault::Damaged(cause)) => damage = Some(cause),
            Err(e) => return Err(e),
        }
    }
    let _lock = lock(folder, || {
        progress(UpdateStep::Waiting);
        // The process that held the lock may have repaired the index.
        damage = None;
    })?;
    // A second attempt repairs damage that shows only during an update, and does what a signal interrupted.
    let mut attempts = 0;
    loop {
        attempts += 1;
        if rebuild || damage.is_some() {
            remove_index(folder)?;
        }
        let mut report = UpdateReport::default();
        match update(folder, source, interrupt, &mut report, progress)
            .and_then(|()| SearchIndex::open(folder, interrupt))
        {
            Err(IndexFault::Damaged(cause)) if attempts < 2 => damage = Some(cause),
            // What it holds is in the archive, too.
            Err(IndexFault::Outdated) if attempts < 2 => remove_index(folder)?,
            // Everything is written again.
            Err(IndexFault::Unsynced(_)) if attempts < 2 => {}
            Err(IndexFault::Damaged(cause)) => return Err(IndexFault::Other(cannot_make(folder, &cause))),
            Err(e) => return Err(e),
            Ok(index) => {
                report.damage = damage.filter(|_| !rebuild);
                return Ok((index, report));
            }
        }
    }
}

/// Brings an index up to date, or makes it where there is none.
fn update(
    folder: &Path,
    source: &dyn RecordSource,
    interrupt: &Interrupt,
    report: &mut UpdateReport,
    progress: &mut dyn FnMut(UpdateStep),
) -> Result<(), IndexFault> {
    let mut writer = IndexWriter::open(folder, interrupt)?;
    writer.remove_unnamed_files()?;
    if let Some(changes) = changes(&writer.db, source)? {
        writer.apply(source, changes, interrupt, report, progress)?;
    }
    writer.compact()
}

/// Takes the lock of an index; calls `waiting` first where another process holds it.
fn lock(folder: &Path, waiting: impl FnOnce()) -> Result<File, IndexFault> {
    let fail = |e: io::Error| IndexFault::Write(LOCK.into(), e);
    fs::create_dir_all(folder).map_err(|e| IndexFault::Write("".into(), e))?;
    let lock = OpenFolder::open(folder).and_then(|folder| folder.lock_file(LOCK)).map_err(fail)?;
    match try_lock(&lock) {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            waiting();
            wait_for_lock(&lock).map_err(fail)?;
        }
        Err(TryLockError::Error(e)) => return Err(fail(e)),
    }
    Ok(lock)
}

/// Removes an index; leaves other files in its folder alone.
fn remove_index(folder: &Path) -> Result<(), IndexFault> {
    let database = ["", "-journal", "-wal", "-shm"].map(|tail| format!("{DATABASE}{tail}"));
    for name in database.into_iter().chain(vector_files(folder)?) {
        match fs::remove_file(folder.join(&name)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(IndexFault::Write(name.into(), e)),
            _ => {}
        }
    }
    Ok(())
}

fn cannot_make(folder: &Path, cause: &str) -> Error {
    Error::output(
        folder.display().to_string(),
        format!("the search index cannot be made: {cause}"),
        message!["Check the disk, or choose another place with ", Setting::SearchIndex, "."],
    )
}
