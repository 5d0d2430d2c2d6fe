//! The files of a folder in the hub's layout: which ones a model needs, in which precision, and their hashes.

use std::collections::BTreeMap;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::digest::hex;
use crate::error::{Error, Result};
use crate::message;
use crate::message::Setting;
use crate::model::file_hash::file_sha256;
use crate::model::manifest::FileSpec;
use crate::model::precision::{GRAPHS, Precision};
use crate::model::pulled::check_against_record;
use crate::model::verified::resolve;
use crate::regular_file;

/// A file of the model.
#[derive(Debug, Clone)]
pub(crate) struct HubFile {
    /// Its path below the folder.
    pub(crate) name: String,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

/// The files that a model needs.
#[derive(Debug, Clone)]
pub(crate) struct HubFiles {
    pub(crate) precision: Precision,
    pub(crate) files: Vec<HubFile>,
    /// The same by name.
    pub(crate) specs: BTreeMap<String, FileSpec>,
    /// SHA-256 over their names, sizes and hashes, in hexadecimal.
    pub(crate) hash: String,
}

/// Whether a folder has this layout.
///
/// # Errors
/// [`Error::Model`] if the disk does not say what is there.
pub(crate) fn has_hub_layout(dir: &Path) -> Result<bool> {
    let graphs = regular_file::kind(&dir.join(GRAPHS)).map_err(|e| unreadable(dir, GRAPHS, e))?;
    Ok(graphs.is_some_and(|kind| kind.is_dir()) && has_file(dir, "config.json")?)
}

/// Whether a folder has a file.
///
/// # Errors
/// [`Error::Model`] if the disk does not say: what is optional must not be left out for that.
pub(crate) fn has_file(dir: &Path, name: &str) -> Result<bool> {
    let kind = regular_file::kind(&dir.join(name)).map_err(|e| unreadable(dir, name, e))?;
    Ok(kind.is_some_and(|kind| kind.is_file()))
}

fn unreadable(dir: &Path, name: &str, e: std::io::Error) -> Error {
    let (cause, remedy) = match e.kind() {
        std::io::ErrorKind::NotFound => (format!("{name} is missing"), "Download the whole folder."),
        _ => (format!("{name} cannot be read: {e}"), "Check the file's permissions and the disk."),
    };
    Error::model(dir.display().to_string(), cause, remedy).with_source(e)
}

/// The folder's own name, or `otherwise` where it has none.
pub(crate) fn folder_name(dir: &Path, otherwise: &str) -> String {
    let name = dir.canonicalize().ok().and_then(|d| Some(d.file_name()?.to_string_lossy().into_owned()));
    name.unwrap_or_else(|| otherwise.to_string())
}

impl HubFiles {
    /// Finds the graphs, with their external data, and hashes every file. `wanted` is the precision that the user names;
    /// `optional` files may be missing.
    ///
    /// # Errors
    /// [`Error::Model`] if a file is missing or cannot be read, or is not what it was when it was pulled.
    pub(crate) fn list(
        dir: &Path,
        required: &[&str],
        optional: &[&str],
        graphs: &[&str],
        wanted: Option<Precision>,
    ) -> Result<HubFiles> {
        let precision = choose(dir, graphs, wanted)?;
        let mut names: Vec<String> = required.iter().map(ToString::to_string).collect();
        for name in optional {
            if has_file(dir, name)? {
                names.push(name.to_string());
            }
        }
        for graph in graphs {
            names.extend(with_external_data(dir, precision.file(graph))?);
        }
        let files = names.into_iter().map(|name| hashed(dir, name)).collect::<Result<Vec<_>>>()?;
        let mut all = Sha256::new();
        for file in &files {
            all.update(format!("{} {} {}\n", file.sha256, file.bytes, file.name));
        }
        let spec = |f: &HubFile| (f.name.clone(), FileSpec { sha256: f.sha256.clone(), bytes: f.bytes });
        let specs: BTreeMap<String, FileSpec> = files.iter().map(spec).collect();
        check_against_record(dir, &specs)?;
        Ok(HubFiles { precision, files, specs, hash: hex(&all.finalize()) })
    }
}

/// The precision that the user wants, or the first that is there in full.
fn choose(dir: &Path, graphs: &[&str], wanted: Option<Precision>) -> Result<Precision> {
    let missing = |p: Precision| -> Result<Option<String>> {
        for file in graphs.iter().map(|graph| p.file(graph)) {
            if !has_file(dir, &file)? {
                return Ok(Some(file));
            }
        }
        Ok(None)
    };
    let mut there: Vec<Precision> = Vec::new();
    for precision in Precision::ALL {
        if missing(precision)?.is_none() {
            there.push(precision);
        }
    }
    let names: Vec<&str> = there.iter().map(|p| p.name()).collect();
    match (wanted, there.first()) {
        (Some(p), _) => match missing(p)? {
            None => Ok(p),
            Some(file) => Err(Error::model(
                dir.display().to_string(),
                format!("{file} is missing"),
                message![
                    "Download it, or choose another precision with ",
                    Setting::Precision,
                    format!(": {}.", if names.is_empty() { "none is complete".into() } else { names.join(", ") })
                ],
            )),
        },
        (None, Some(p)) => Ok(*p),
        (None, None) => Err(Error::model(
            dir.display().to_string(),
            format!("{} is missing", missing(Precision::Fp32)?.unwrap_or_default()),
            format!("descry runs models of this type with the graphs {}: download them all.", graphs.join(", ")),
        )),
    }
}

/// A graph's file and the files with its weights, which are named after it.
fn with_external_data(dir: &Path, graph: String) -> Result<Vec<String>> {
    let unreadable = |e: std::io::Error| {
        let cause = format!("{GRAPHS} cannot be read: {e}");
        Error::model(dir.display().to_string(), cause, "Make the folder readable.").with_source(e)
    };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir.join(GRAPHS)).map_err(unreadable)? {
        let name = format!("{GRAPHS}/{}", entry.map_err(unreadable)?.file_name().to_string_lossy());
        if name.strip_prefix(&graph).is_some_and(|rest| rest.starts_with("_data") || rest.starts_with(".data")) {
            names.push(name);
        }
    }
    names.sort();
    names.insert(0, graph);
    Ok(names)
}

fn hashed(dir: &Path, name: String) -> Result<HubFile> {
    let unreadable = |e| unreadable(dir, &name, e);
    let file = resolve(dir, &name).and_then(|path| regular_file::open(&path)).map_err(unreadable)?;
    let bytes = file.metadata().map_err(unreadable)?.len();
    let sha256 = file_sha256(&file).map_err(unreadable)?;
    Ok(HubFile { name, bytes, sha256 })
}
