//! Files for what descry reads by path, and inputs of several parts.

use std::fs;
use std::path::{Path, PathBuf};

use descry::error::Error;
use tempfile::TempDir;

thread_local! {
    static FOLDER: TempDir = tempfile::Builder::new().prefix("descry-fuzz-").tempdir().expect("a temporary folder");
}

/// A folder of this thread's own. Inputs of the same target replace each other there.
pub fn scratch_folder() -> PathBuf {
    FOLDER.with(|folder| folder.path().to_path_buf())
}

/// Writes an input to a file of this name, and returns its path.
pub(crate) fn scratch_file(name: &str, data: &[u8]) -> PathBuf {
    let path = scratch_folder().join(name);
    fs::write(&path, data).expect("a file in a temporary folder");
    path
}

/// The path as descry takes it.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("a temporary folder with a UTF-8 name")
}

/// Between the parts of an input that is several files. None of their formats has it, and mutations keep it.
pub const SEPARATOR: u8 = 0;

/// The parts of an input that is several files. Missing ones are `None`; one that is not there has no separator before it.
pub fn parts<const N: usize>(data: &[u8]) -> [Option<&[u8]>; N] {
    let mut parts = data.splitn(N, |byte| *byte == SEPARATOR);
    std::array::from_fn(|_| parts.next())
}

/// A message for people: there is one, it is short enough to be read, and it shows no secret.
pub(crate) fn check_error(error: &Error) {
    let text = error.to_string();
    assert!(!text.trim().is_empty(), "an error without a message");
    assert!(text.len() < 64 << 10, "a message of {} bytes", text.len());
    assert!(!text.contains(SECRET), "a message shows a secret: {text}");
}

/// What no message may show. Seeds have it where a password may be.
pub(crate) const SECRET: &str = "S3cr3tW0rd";
