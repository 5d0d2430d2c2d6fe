//! The JSON files and texts of a folder in the hub's layout, at most [`LIMIT`] bytes each.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::limited_file;

/// Largest JSON file in bytes, tokenizers excepted. Real ones take a few kilobytes.
const LIMIT: u64 = 4 << 20;

/// A file that the folder must have.
pub(super) fn required<T: DeserializeOwned>(dir: &Path, name: &str) -> Result<T> {
    optional(dir, name)?.ok_or_else(|| {
        Error::model(dir.display().to_string(), format!("{name} is missing"), "Download the whole folder.")
    })
}

/// A file; `None` if there is none.
pub(super) fn optional<T: DeserializeOwned>(dir: &Path, name: &str) -> Result<Option<T>> {
    let Some(text) = read_text(dir, name)? else { return Ok(None) };
    let value = serde_json::from_str(&text).map_err(|e| unreadable(dir, name, e))?;
    parse(dir, name, value).map(Some)
}

/// What a file's JSON says.
pub(super) fn parse<T: DeserializeOwned>(dir: &Path, name: &str, value: Value) -> Result<T> {
    serde_json::from_value(value).map_err(|e| unreadable(dir, name, e))
}

fn unreadable(dir: &Path, name: &str, e: impl std::error::Error + Send + Sync + 'static) -> Error {
    let cause = format!("{name} cannot be read: {e}");
    Error::model(dir.display().to_string(), cause, "Download the file again.").with_source(e)
}

/// The text of a file; `None` if there is none.
pub(super) fn read_text(dir: &Path, name: &str) -> Result<Option<String>> {
    match limited_file::read_text(&dir.join(name), LIMIT) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(unreadable(dir, name, e)),
    }
}
