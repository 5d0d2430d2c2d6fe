//! What stops the work on an index, and what that means for its user.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;
use rusqlite::ffi::{SQLITE_IOERR_DIR_FSYNC, SQLITE_IOERR_FSYNC};

use crate::error::Error;
use crate::message;
use crate::message::Setting;

/// The database's file, in the folder of the index.
pub(super) const DATABASE: &str = "index.sqlite";

/// SQLite's errors of a sync that failed.
const SYNCS: [i32; 2] = [SQLITE_IOERR_FSYNC, SQLITE_IOERR_DIR_FSYNC];

/// What stops the work on an index. Paths are relative to the index's folder; an empty one is the folder itself.
#[derive(Debug)]
pub(crate) enum IndexFault {
    /// There is no index.
    Missing,
    /// An earlier version of descry made the index.
    Outdated,
    /// The index contradicts itself and must be rebuilt.
    Damaged(String),
    /// A file cannot be written.
    Write(PathBuf, io::Error),
    /// The database cannot be brought to the disk. SQLite does not repeat a sync that a signal interrupts, and does not say
    /// so either.
    Unsynced(io::Error),
    /// A file cannot be read.
    Read(PathBuf, io::Error),
    /// Another program holds the database for too long.
    Locked,
    /// Something else, explained already.
    Other(Error),
}

impl IndexFault {
    /// A value that the database must not hold.
    pub(super) fn impossible(what: &str) -> IndexFault {
        IndexFault::Damaged(format!("{what} is impossible"))
    }

    /// Whether this user may not write the index, so that an index elsewhere would help.
    pub(crate) fn is_read_only(&self) -> bool {
        let kind = match self {
            IndexFault::Write(_, e) => e.kind(),
            _ => return false,
        };
        matches!(kind, ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem)
    }

    /// Explains the fault of an index in this folder.
    pub(crate) fn explain(self, folder: &Path) -> Error {
        let name = |file: &Path| match file.as_os_str().is_empty() {
            true => folder.display().to_string(),
            false => folder.join(file).display().to_string(),
        };
        match self {
            IndexFault::Missing | IndexFault::Outdated => Error::output(
                name(Path::new("")),
                "there is no search index",
                message!["Make one with ", Setting::Rebuild, "."],
            ),
            IndexFault::Damaged(cause) => Error::output(
                name(Path::new("")),
                format!("the search index is damaged: {cause}"),
                message!["Make it anew with ", Setting::Rebuild, "."],
            ),
            IndexFault::Write(file, e) => Error::write(name(&file), &e, Setting::SearchIndex),
            IndexFault::Unsynced(e) => Error::write(name(Path::new(DATABASE)), &e, Setting::SearchIndex),
            IndexFault::Read(file, e) => Error::read(name(&file), &e).with_remedy(message![
                "Make it readable, or choose another place with ",
                Setting::SearchIndex,
                "."
            ]),
            IndexFault::Locked => Error::output(
                name(Path::new(DATABASE)),
                "another program holds the search index",
                message!["End that program, or choose another place with ", Setting::SearchIndex, "."],
            ),
            IndexFault::Other(e) => e,
        }
    }
}

impl From<Error> for IndexFault {
    fn from(e: Error) -> IndexFault {
        IndexFault::Other(e)
    }
}

impl From<rusqlite::Error> for IndexFault {
    fn from(e: rusqlite::Error) -> IndexFault {
        let write = |kind| IndexFault::Write(DATABASE.into(), io::Error::new(kind, e.to_string()));
        if e.sqlite_error().is_some_and(|e| SYNCS.contains(&e.extended_code)) {
            return IndexFault::Unsynced(io::Error::other(e.to_string()));
        }
        match e.sqlite_error_code() {
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => write(ErrorKind::ReadOnlyFilesystem),
            Some(ErrorCode::CannotOpen) => write(ErrorKind::PermissionDenied),
            Some(ErrorCode::DiskFull) => write(ErrorKind::StorageFull),
            Some(ErrorCode::SystemIoFailure | ErrorCode::OutOfMemory) => write(ErrorKind::Other),
            Some(ErrorCode::OperationInterrupted) => IndexFault::Other(Error::Interrupted),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => IndexFault::Locked,
            // Not a database, or one with other tables, columns or types.
            _ => IndexFault::Damaged(e.to_string()),
        }
    }
}
