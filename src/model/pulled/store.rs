//! The folder of all pulled models, with one folder for each.

use std::ffi::OsString;
use std::path::PathBuf;

use super::record::{PullRecord, PulledModel};
use super::reference::ModelReference;
use crate::error::{Error, Result};
use crate::message;
use crate::message::Setting;
use crate::program_files::ProgramFiles;

/// The environment variable that names the folder.
const ENV_MODELS: &str = "DESCRY_MODELS";
/// What the name of a folder ends with that is not complete.
pub(crate) const PARTIAL: &str = ".partial";
/// Most models that are listed: no user has so many.
const MOST: usize = 10_000;

/// The folder of all pulled models. It need not exist.
///
/// # Errors
/// [`Error::Usage`] if there is no place for it.
pub(crate) fn store_folder() -> Result<PathBuf> {
    let own = std::env::var_os(ENV_MODELS).filter(|value| !value.is_empty());
    folder_of(own, ProgramFiles::of_this_program().user_data()).ok_or_else(|| {
        Error::usage(
            "there is no folder for models: this user has no home",
            message!["Name one with the environment variable ", Setting::ModelStore, "."],
        )
    })
}

fn folder_of(own: Option<OsString>, data: Option<PathBuf>) -> Option<PathBuf> {
    own.map(PathBuf::from).or_else(|| Some(data?.join("models")))
}

/// The pulled model of this name; none if it was not pulled.
///
/// # Errors
/// [`Error::Model`] if its record cannot be read.
pub fn find_pulled(reference: &ModelReference) -> Result<Option<PulledModel>> {
    let Ok(store) = store_folder() else { return Ok(None) };
    let dir = store.join(reference.folder());
    Ok(PullRecord::read(&dir)?.map(|record| PulledModel { dir, record }))
}

/// What was pulled under this name: the model, and the files for an import.
///
/// # Errors
/// As for [`find_pulled`].
pub fn pulled_as(reference: &ModelReference) -> Result<Vec<PulledModel>> {
    let Ok(store) = store_folder() else { return Ok(Vec::new()) };
    let found = [reference.folder(), reference.import_folder()].into_iter().map(|name| {
        let dir = store.join(name);
        Ok(PullRecord::read(&dir)?.map(|record| PulledModel { dir, record }))
    });
    found.filter_map(Result::transpose).collect()
}

/// All pulled models, by the names of their folders. A folder with a wrong record is an error of its own.
///
/// # Errors
/// [`Error::Input`] if the folder of all models cannot be read.
pub fn list_pulled() -> Result<Vec<Result<PulledModel>>> {
    let store = store_folder()?;
    let fail = |e: &std::io::Error| Error::read(store.display().to_string(), e);
    let entries = match std::fs::read_dir(&store) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(fail(&e)),
    };
    let mut dirs = Vec::new();
    for entry in entries.take(MOST) {
        let dir = entry.map_err(|e| fail(&e))?.path();
        if !dir.to_string_lossy().ends_with(PARTIAL) {
            dirs.push(dir);
        }
    }
    dirs.sort();
    let read = |dir: PathBuf| match PullRecord::read(&dir) {
        Ok(record) => record.map(|record| Ok(PulledModel { dir, record })),
        Err(e) => Some(Err(e)),
    };
    Ok(dirs.into_iter().filter_map(read).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_the_users_own() {
        let of = |own: Option<&str>, data: Option<&str>| folder_of(own.map(Into::into), data.map(Into::into));
        assert_eq!(of(Some("m"), Some("/d/descry")), Some("m".into()));
        assert_eq!(of(None, Some("/d/descry")), Some("/d/descry/models".into()));
        assert_eq!(of(None, None), None);
    }
}
