//! Still pictures that commands take as input.

use std::path::{Path, PathBuf};

use super::reporter::Reporter;
use crate::error::{Error, Result};
use crate::media::picture;

/// The pictures that these paths name. A folder means the pictures in it, one level deep, sorted by name. Reports folders
/// that cannot be read or hold none.
pub(super) fn find(inputs: &[PathBuf], reporter: &Reporter) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for input in inputs {
        if !input.is_dir() {
            all.push(input.clone());
            continue;
        }
        match in_folder(input) {
            Ok(found) => all.extend(found),
            Err(e) => reporter.error(&e),
        }
    }
    all
}

/// The pictures of a folder, sorted by name.
pub(super) fn in_folder(folder: &Path) -> Result<Vec<PathBuf>> {
    let name = || folder.display().to_string();
    let entries =
        std::fs::read_dir(folder).map_err(|e| Error::input(name(), e.to_string(), "Make the folder readable."))?;
    let mut found: Vec<PathBuf> =
        entries.filter_map(|e| e.ok().map(|e| e.path())).filter(|p| picture::is_picture(p)).collect();
    if found.is_empty() {
        return Err(Error::input(name(), "holds no pictures", "Name another folder."));
    }
    found.sort();
    Ok(found)
}
