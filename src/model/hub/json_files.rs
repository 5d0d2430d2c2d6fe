//! The JSON files and texts of a folder in the hub's layout, at most [`LIMIT`] bytes each.

use std::path::Path;
use std::str::from_utf8;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::limited_file;
use crate::model::verified::{ListedFiles, resolve};

/// Largest JSON file in bytes, tokenizers excepted. Real ones take a few kilobytes.
const LIMIT: u64 = 4 << 20;

/// Where JSON files are read from.
#[derive(Debug, Clone, Copy)]
pub(super) enum JsonFolder<'a> {
    /// A folder of which nothing is known yet.
    Unlisted(&'a Path),
    /// The files that were hashed, and only those: as they were.
    Listed(ListedFiles<'a>),
}

impl JsonFolder<'_> {
    pub(super) fn dir(&self) -> &Path {
        match self {
            JsonFolder::Unlisted(dir) => dir,
            JsonFolder::Listed(listed) => listed.dir,
        }
    }
}

/// A file that the folder must have.
pub(super) fn required<T: DeserializeOwned>(files: &JsonFolder<'_>, name: &str) -> Result<T> {
    optional(files, name)?.ok_or_else(|| {
        Error::model(files.dir().display().to_string(), format!("{name} is missing"), "Download the whole folder.")
    })
}

/// A file; `None` if there is none.
pub(super) fn optional<T: DeserializeOwned>(files: &JsonFolder<'_>, name: &str) -> Result<Option<T>> {
    let Some(text) = read_text(files, name)? else { return Ok(None) };
    let value = serde_json::from_str(&text).map_err(|e| unreadable(files, name, e))?;
    parse(files, name, value).map(Some)
}

/// What a file's JSON says.
pub(super) fn parse<T: DeserializeOwned>(files: &JsonFolder<'_>, name: &str, value: Value) -> Result<T> {
    serde_json::from_value(value).map_err(|e| unreadable(files, name, e))
}

fn unreadable(files: &JsonFolder<'_>, name: &str, e: impl std::error::Error + Send + Sync + 'static) -> Error {
    let cause = format!("{name} cannot be read: {e}");
    Error::model(files.dir().display().to_string(), cause, "Download the file again.").with_source(e)
}

/// The text of a file; `None` if there is none.
pub(super) fn read_text(files: &JsonFolder<'_>, name: &str) -> Result<Option<String>> {
    let read = match files {
        JsonFolder::Listed(listed) if !listed.files.contains_key(name) => return Ok(None),
        JsonFolder::Listed(listed) => {
            let bytes = listed.read(name)?;
            return from_utf8(&bytes).map(|text| Some(text.into())).map_err(|e| unreadable(files, name, e));
        }
        JsonFolder::Unlisted(dir) => resolve(dir, name).and_then(|path| limited_file::read_text(&path, LIMIT)),
    };
    match read {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(unreadable(files, name, e)),
    }
}
