//! Files of outputs that may exist already, and grow.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::path::Path;

use crate::atomic_file::{AtomicFile, CommitError};
use crate::error::{Error, Result};
use crate::live::hub::write_error;
use crate::message;
use crate::message::Setting;
use crate::open_folder::try_lock;

/// What happens to a file that exists already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Opening it fails.
    Refuse,
    /// It is replaced.
    Replace,
    /// It is appended to.
    Append,
}

/// One write, so that readers see all of it at once. A signal that comes before it does not count.
pub(super) fn write_once(file: &mut File, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match file.write(bytes) {
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            written => return written,
        }
    }
}

/// The file that is there already, locked; `None` where there is none. `place`: the setting
/// that names it.
pub(super) fn open_existing(path: &Path, existing: Existing, place: Setting) -> Result<Option<File>> {
    let name = path.display().to_string();
    let file = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(explain(path, &e, place)),
    };
    if !file.metadata().map_err(|e| explain(path, &e, place))?.is_file() {
        return Err(Error::output(name, "is not a regular file", "Name a file that can be appended to."));
    }
    if existing == Existing::Refuse {
        return Err(explain(path, &ErrorKind::AlreadyExists.into(), place));
    }
    lock(&file, path)?;
    Ok(Some(file))
}

/// A new file, locked. Readers see it with these bytes or not at all.
pub(super) fn create_file(path: &Path, bytes: &[u8], overwrite: bool, place: Setting) -> Result<File> {
    let made = || -> io::Result<File> {
        let mut file = AtomicFile::create(path, overwrite)?;
        file.write_all(bytes)?;
        file.commit_unsynced().map_err(|e| {
            if let CommitError::Exists(kept) = &e {
                // What is there at the beginning is not worth keeping.
                let _ = std::fs::remove_file(kept);
            }
            e.into()
        })
    };
    let file = made().map_err(|e| explain(path, &e, place))?;
    lock(&file, path)?;
    Ok(file)
}

fn lock(file: &File, path: &Path) -> Result<()> {
    match try_lock(file) {
        Err(TryLockError::WouldBlock) => {
            let cause = "is being written by another program";
            Err(Error::output(path.display().to_string(), cause, "Name another file."))
        }
        // Some file systems have no locks.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(()),
    }
}

/// Why the file cannot be opened.
pub(super) fn explain(path: &Path, e: &io::Error, place: Setting) -> Error {
    let name = path.display().to_string();
    match e.kind() {
        ErrorKind::AlreadyExists => {
            let remedy =
                message!["Give ", Setting::Overwrite, " to replace it, or ", Setting::Append, " to append to it."];
            Error::output(name, "exists already", remedy)
        }
        ErrorKind::IsADirectory => Error::output(name, "is a folder", "Name a file."),
        ErrorKind::NotFound => Error::write(name, e, place),
        _ => write_error(name, e, place),
    }
}
