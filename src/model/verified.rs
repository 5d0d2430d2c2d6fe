//! The files of a model, as they were when they were hashed.
//!
//! A folder is hashed when it is opened, and its files are read when their part of the model loads, which may be later. What
//! is read then is hashed again, unless the file system says that it [has not changed](super::file_hash), and used from where it
//! was read: small files from memory, large weights from a copy in a private folder. ONNX Runtime repacks weights while it loads them, so weights in memory would be there twice. And it
//! cannot load them from a memory map of the file itself: another process could change what was hashed, or cut the file,
//! which ends a process that reads the map.
//!
//! Memory: a file of at most [`IN_MEMORY`] bytes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use memmap2::Mmap;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::buffer::zeroed;
use super::file_hash::{FileStamp, is_known};
use super::manifest::FileSpec;
use super::onnx::external_files;
use crate::digest::{hex, sha256_of};
use crate::error::{Error, Result};
use crate::message::Message;
use crate::regular_file;

/// Most bytes of a graph and its weights together that are loaded from memory.
const IN_MEMORY: u64 = 256 << 20;

const CHANGED: &str = "Leave a model's files unchanged while descry runs.";

/// The files of a folder and what they were.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ListedFiles<'a> {
    pub(crate) dir: &'a Path,
    pub(crate) files: &'a BTreeMap<String, FileSpec>,
}

/// A graph and its weights.
pub(crate) struct VerifiedGraph {
    /// Its path below the folder.
    pub(crate) name: String,
    pub(crate) storage: GraphStorage,
}

/// Where a graph and its weights are.
pub(crate) enum GraphStorage {
    /// The graph, and the files that it names.
    Memory(Arc<[u8]>, Vec<(String, Arc<[u8]>)>),
    /// A folder of this process alone, with the graph and the files that it names. Removed when dropped.
    Private(TempDir, Mmap),
}

impl VerifiedGraph {
    /// Its file, without folders.
    pub(crate) fn file(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or(&self.name)
    }

    /// The graph itself.
    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.storage {
            GraphStorage::Memory(bytes, _) => bytes,
            GraphStorage::Private(_, map) => map,
        }
    }
}

impl<'a> ListedFiles<'a> {
    /// The bytes of a file. Tokenizers and configurations are small.
    ///
    /// # Errors
    /// [`Error::Model`] if it is not listed, cannot be read, or is not what it was.
    pub(crate) fn read(&self, name: &str) -> Result<Arc<[u8]>> {
        let spec = self.spec(name)?;
        let path = self.resolve(name)?;
        let read = read_exactly(&path, spec.bytes).map_err(|e| self.unreadable(name, e))?;
        let same = |bytes: &[u8], stamp| {
            is_known(stamp, &spec.sha256) || hex(&Sha256::digest(bytes)) == spec.sha256.to_ascii_lowercase()
        };
        let read = read.filter(|(bytes, stamp)| same(bytes, *stamp)).map(|(bytes, _)| bytes);
        read.ok_or_else(|| self.changed(name))
    }

    /// A graph and the files that it names, all of which must be listed.
    ///
    /// # Errors
    /// As for [`ListedFiles::read`], and [`Error::Model`] if the graph names a file that is not listed.
    pub(crate) fn graph(&self, name: &str) -> Result<VerifiedGraph> {
        let (folder, file) = name.rsplit_once('/').unwrap_or(("", name));
        let beside = |file: &str| if folder.is_empty() { file.to_string() } else { format!("{folder}/{file}") };
        // Weights of a graph are named after it, and what else it names is read all the same.
        let bytes: u64 = self.files.iter().filter(|(n, _)| n.starts_with(name)).map(|(_, spec)| spec.bytes).sum();
        let storage = if bytes <= IN_MEMORY {
            let graph = self.read(name)?;
            let weights = self.weights(name, &graph, beside)?;
            let weights = weights.into_iter().map(|(file, listed)| Ok((file, self.read(&listed)?)));
            let weights = weights.collect::<Result<Vec<_>>>()?;
            GraphStorage::Memory(graph, weights)
        } else {
            let private = tempfile::Builder::new().prefix("descry-model-").tempdir();
            let private = private.map_err(|e| self.no_room(name, &e))?;
            let copy = private.path().join(file);
            self.copy(name, &copy)?;
            let map = File::open(&copy).and_then(|file| {
                // SAFETY: nobody else writes to the copy: its folder belongs to this process and is closed to other users.
                unsafe { Mmap::map(&file) }
            });
            let map = map.map_err(|e| self.unreadable(name, e))?;
            for (file, listed) in self.weights(name, &map, beside)? {
                let to = private.path().join(file);
                if let Some(parent) = to.parent() {
                    std::fs::create_dir_all(parent).map_err(|e| self.no_room(&listed, &e))?;
                }
                self.copy(&listed, &to)?;
            }
            GraphStorage::Private(private, map)
        };
        Ok(VerifiedGraph { name: name.to_string(), storage })
    }

    /// The files that a graph names: as it names them, and as they are listed.
    fn weights(&self, name: &str, graph: &[u8], beside: impl Fn(&str) -> String) -> Result<Vec<(String, String)>> {
        let files = external_files(graph).ok_or_else(|| {
            let cause = format!("{name} is not a graph that ONNX Runtime can run: it is not in ONNX's format");
            self.error(cause, "Make or download the model again.")
        })?;
        let listed = files.into_iter().map(|file| {
            let listed = beside(&file);
            if !is_inside(&file) {
                let cause = format!("{name} takes weights from {file:?}, which leads out of its folder");
                return Err(self.error(cause, "Use a model whose weights are beside its graphs."));
            }
            if !self.files.contains_key(&listed) {
                let cause = format!("{name} takes weights from {file:?}, which is not one of the model's listed files");
                let remedy =
                    "List it under \"files\" in model.json. In the hub's layout, it must be named after its graph.";
                return Err(self.error(cause, remedy));
            }
            Ok((file, listed))
        });
        listed.collect()
    }

    /// Copies a file, and verifies the copy.
    fn copy(&self, name: &str, to: &Path) -> Result<()> {
        let spec = self.spec(name)?;
        let from = self.resolve(name)?;
        let stamp = |path: &Path| path.metadata().map(|meta| FileStamp::of(&meta));
        let before = stamp(&from).map_err(|e| self.unreadable(name, e))?;
        // The system copies within a file system without reading, if it can.
        let copied = std::fs::copy(&from, to).map_err(|e| self.no_room(name, &e))?;
        let after = stamp(&from).map_err(|e| self.unreadable(name, e))?;
        if copied == spec.bytes && before == after && is_known(before, &spec.sha256) {
            return Ok(());
        }
        let hash = File::open(to).and_then(sha256_of).map_err(|e| self.unreadable(name, e))?;
        if hash == spec.sha256.to_ascii_lowercase() { Ok(()) } else { Err(self.changed(name)) }
    }

    fn spec(&self, name: &str) -> Result<&'a FileSpec> {
        let missing =
            || self.error(format!("{name} is not one of the model's listed files"), "Download the whole folder.");
        self.files.get(name).ok_or_else(missing)
    }

    fn resolve(&self, name: &str) -> Result<PathBuf> {
        resolve(self.dir, name).map_err(|e| self.unreadable(name, e))
    }

    fn no_room(&self, name: &str, e: &io::Error) -> Error {
        let cause = format!("{name} cannot be copied into {}: {e}", std::env::temp_dir().display());
        self.error(cause, "Free space there, or name another folder with the environment variable TMPDIR.")
    }

    fn unreadable(&self, name: &str, e: io::Error) -> Error {
        self.error(format!("{name} cannot be read: {e}"), "Check the disk and the file's permissions.").with_source(e)
    }

    fn changed(&self, name: &str) -> Error {
        self.error(format!("{name} was changed since the folder was opened"), CHANGED)
    }

    fn error(&self, cause: String, remedy: impl Into<Message>) -> Error {
        Error::model(self.dir.display().to_string(), cause, remedy)
    }
}

/// Whether a path consists of names alone: it is not empty or absolute, and does not go up.
pub(crate) fn is_inside(name: &str) -> bool {
    !name.is_empty() && Path::new(name).components().all(|c| matches!(c, Component::Normal(_)))
}

/// The path of a file in a folder, without links.
///
/// # Errors
/// If there is none, or a link leads out of the folder. The hub's cache is an exception: the files of its `snapshots` are
/// links to `blobs` beside them.
pub(crate) fn resolve(dir: &Path, name: &str) -> io::Result<PathBuf> {
    let (root, path) = (dir.canonicalize()?, dir.join(name).canonicalize()?);
    let snapshots = root.parent().filter(|parent| parent.ends_with("snapshots"));
    let blobs = snapshots.and_then(Path::parent).map(|repository| repository.join("blobs"));
    if path.starts_with(&root) || blobs.is_some_and(|blobs| path.starts_with(blobs)) {
        return Ok(path);
    }
    Err(io::Error::other(format!("it is a link to {}, out of the folder", path.display())))
}

/// The bytes of a file, and what the file system said of it.
type StampedBytes = (Arc<[u8]>, Option<FileStamp>);

/// The bytes of a file, which should be this many, and its stamp if that was the same before and after; `None` if it is
/// longer or shorter.
fn read_exactly(path: &Path, length: u64) -> io::Result<Option<StampedBytes>> {
    use std::io::Read;
    let file = regular_file::open(path)?;
    let meta = file.metadata()?;
    // Nothing is set aside for a length that no file has.
    let Some(length) = usize::try_from(length).ok().filter(|_| meta.len() == length) else { return Ok(None) };
    let before = FileStamp::of(&meta);
    let mut bytes = zeroed(length);
    let Some(room) = Arc::get_mut(&mut bytes) else { return Ok(None) };
    match (&file).read_exact(room) {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let after = file.metadata()?;
    let same = before.filter(|_| before == FileStamp::of(&after));
    Ok((after.len() == meta.len()).then_some((bytes, same)))
}
