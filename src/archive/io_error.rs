//! Explains I/O errors in an archive.

use std::io;

use crate::error::{Error, is_disk_full};
use crate::message::Setting;

/// Explains why something in an archive cannot be written.
pub(crate) fn write_error(name: &str, e: &io::Error) -> Error {
    let error = Error::write(name, e, Setting::Archive);
    match is_disk_full(e) {
        true => error.with_remedy("Free some space and run again: finished videos are kept."),
        false => error,
    }
}

/// Whether an error says that a path, or a folder on the way to it, does not exist.
pub(crate) fn is_absent(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
