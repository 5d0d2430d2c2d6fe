//! Finds and opens ONNX Runtime's shared library.
//!
//! The library is the one that `DESCRY_ONNXRUNTIME` or `ORT_DYLIB_PATH` names. Without them it is the newest in the folders
//! of libraries that belong to this program ([`program_files`](crate::program_files)), or else the system's. A library that
//! is named must work: there is no fallback to another one.

use std::path::{Path, PathBuf};

use ort::environment::EnvironmentBuilder;

use crate::error::{Error, Result};
use crate::message;
use crate::message::{Message, Setting};
use crate::program_files::ProgramFiles;

/// The environment variable that names the shared library.
pub(crate) const ENV_LIBRARY: &str = "DESCRY_ONNXRUNTIME";
/// The variable that other programs built on `ort` read.
const ENV_ORT: &str = "ORT_DYLIB_PATH";
/// The version that descry is tested with.
#[cfg(feature = "cli")]
pub(crate) const TESTED_RUNTIME: &str = "1.32.0";
/// Where a wheel of Python has the library.
const IN_WHEEL: &str = "onnxruntime/capi";
/// Most libraries that are tried. More only turn up if the folders are not what they should be; the limit keeps the
/// search and its message short.
const MAX_CANDIDATES: usize = 32;

/// A place where the library may be.
struct LibraryCandidate {
    path: PathBuf,
    /// Somebody named it, so nothing else will do.
    named: bool,
}

/// What to do about a library that is missing or does not work.
pub(crate) fn remedy() -> Message {
    message![
        "Run ",
        Setting::Doctor,
        ", which prints how to get it, or name the library with DESCRY_ONNXRUNTIME=/path/to/libonnxruntime.so."
    ]
}

/// Opens the library. Returns it with its path, or with the name that the system's loader found it by.
pub(crate) fn open() -> Result<(EnvironmentBuilder, PathBuf)> {
    open_first(&candidates())
}

/// Where the library may be, best first.
fn candidates() -> Vec<LibraryCandidate> {
    let mut found = Vec::new();
    for variable in [ENV_LIBRARY, ENV_ORT] {
        if let Some(path) = std::env::var_os(variable).filter(|v| !v.is_empty()) {
            found.push(LibraryCandidate { path: PathBuf::from(path), named: true });
        }
    }
    if found.is_empty() {
        let unnamed = |path| LibraryCandidate { path, named: false };
        for folder in ProgramFiles::of_this_program().library_folders() {
            found.extend(libraries_in(&folder).map(unnamed));
            found.extend(libraries_in(&folder.join(IN_WHEEL)).map(unnamed));
        }
        let system = format!("{}onnxruntime{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
        found.push(unnamed(PathBuf::from(format!("{system}.1"))));
        found.push(unnamed(PathBuf::from(system)));
    }
    found.truncate(MAX_CANDIDATES);
    found
}

/// The libraries in a folder, newest version first.
fn libraries_in(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let mut names: Vec<PathBuf> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            name.starts_with("libonnxruntime.") || name == "onnxruntime.dll"
        })
        .collect();
    names.sort();
    names.into_iter().rev()
}

fn open_first(candidates: &[LibraryCandidate]) -> Result<(EnvironmentBuilder, PathBuf)> {
    let mut tried = Vec::new();
    for LibraryCandidate { path, named } in candidates {
        if *named && path.components().count() > 1 && !path.is_file() {
            return Err(Error::runtime(format!("the library {} does not exist", path.display()), remedy()));
        }
        match ort::init_from(path) {
            Ok(builder) => return Ok((builder, path.clone())),
            Err(e @ ort::LoadDynamicError::BadVersion { .. }) => {
                return Err(Error::runtime(format!("the library has the wrong version: {e}"), remedy()));
            }
            Err(e) if *named => {
                return Err(Error::runtime(format!("the library {} cannot be used: {e}", path.display()), remedy()));
            }
            Err(_) => tried.push(path.display().to_string()),
        }
    }
    Err(Error::runtime(
        format!(
            "its shared library was not found; {ENV_LIBRARY} and {ENV_ORT} name none, and there is none in {} or among the \
             system's libraries (tried {})",
            ProgramFiles::of_this_program()
                .library_folders()
                .iter()
                .map(|folder| folder.display().to_string())
                .collect::<Vec<_>>()
                .join(" and "),
            tried.join(", ")
        ),
        remedy(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether nothing else runs in this process, where what was loaded once stays. If something does, the test is run in a
    /// process of its own.
    fn is_alone(test: &str) -> bool {
        const ALONE: &str = "DESCRY_TEST_ALONE";
        if std::env::var_os(ALONE).is_some() {
            return true;
        }
        let test = format!("model::library::tests::{test}");
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        let out = command.args(["--exact", &test]).env(ALONE, "1").output().unwrap();
        let text = String::from_utf8_lossy(&out.stdout);
        assert!(out.status.success() && text.contains("1 passed"), "{text}");
        false
    }

    fn candidate(path: impl Into<PathBuf>, named: bool) -> LibraryCandidate {
        LibraryCandidate { path: path.into(), named }
    }

    #[test]
    fn the_error_for_a_missing_library_lists_the_places_tried() {
        if !is_alone("the_error_for_a_missing_library_lists_the_places_tried") {
            return;
        }
        let missing = vec![candidate("libdescry-no-such-library.so", false)];
        let error = open_first(&missing).err().unwrap().to_string();
        assert!(error.contains(ENV_LIBRARY) && error.contains("`doctor`"), "{error}");
        let named = vec![candidate("/nowhere/libonnxruntime.so", true)];
        let error = open_first(&named).err().unwrap().to_string();
        assert!(error.contains("/nowhere/libonnxruntime.so"), "{error}");
    }

    #[test]
    fn a_file_that_is_not_a_library_is_refused() {
        if !is_alone("a_file_that_is_not_a_library_is_refused") {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("libonnxruntime.so.1");
        std::fs::write(&path, "not a library").unwrap();
        let error = open_first(&[candidate(path, true)]).err().unwrap();
        assert!(matches!(error, Error::Runtime { .. }), "{error}");
    }

    #[test]
    fn newest_library_first() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["libonnxruntime.so.1.31.0", "libonnxruntime.so.1.32.0", "libonnxruntime_providers_shared.so", "x"]
        {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let found: Vec<_> = libraries_in(dir.path()).collect();
        assert_eq!(found.len(), 2);
        assert!(found[0].ends_with("libonnxruntime.so.1.32.0"));
    }
}
