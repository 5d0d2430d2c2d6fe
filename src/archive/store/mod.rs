//! Where an archive is stored: named files in a folder of this machine, or objects in a bucket.
//!
//! A name is a path from the archive's root with `/` between its parts. Whatever has a name is complete: a folder gets a
//! file by renaming a finished one, a bucket shows an object once all of it has arrived. Memory: the bytes that a caller
//! passes in; see [`upload`] for what is written piece by piece.

mod upload;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::address::{hide, is_object, is_url};
use crate::archive::io_error::{is_absent, write_error};
use crate::archive::record::FileRecord;
use crate::digest::hex;
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::media::AccessPolicy;
use crate::media::object_store::Bucket;
use crate::media::remote::RemoteError;

pub(crate) use upload::{PendingObjects, Upload};

/// How long a bucket may take to answer one request. Long enough for 8 MB over a slow line.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// The place of an archive.
#[derive(Debug, Clone)]
pub(crate) struct ArchiveStore(Backend);

#[derive(Debug, Clone)]
enum Backend {
    Folder(PathBuf),
    /// The prefix of all names has no slash at its end.
    Bucket {
        bucket: Bucket,
        prefix: String,
    },
}

impl ArchiveStore {
    /// The place that a user named. Creates nothing and sends no request.
    pub(crate) fn at(location: &str) -> Result<ArchiveStore> {
        if is_object(location) {
            // Ctrl-C must not cut off what is being written.
            let (bucket, path) = Bucket::open(location, REQUEST_TIMEOUT, &AccessPolicy::default(), Interrupt::new())?;
            return Ok(ArchiveStore(Backend::Bucket { bucket, prefix: path.trim_matches('/').to_string() }));
        }
        if location.is_empty() || is_url(location) {
            let cause = if location.is_empty() { "the archive has no name".into() } else { hide(location) };
            return Err(Error::usage(
                format!("{cause}: no place for an archive"),
                "Name a folder, or s3://BUCKET/PREFIX.",
            ));
        }
        Ok(ArchiveStore(Backend::Folder(PathBuf::from(location))))
    }

    /// The folder; none where the archive is in a bucket.
    pub(crate) fn folder(&self) -> Option<&Path> {
        match &self.0 {
            Backend::Folder(folder) => Some(folder),
            Backend::Bucket { .. } => None,
        }
    }

    /// A name as messages show it.
    pub(crate) fn shown(&self, name: &str) -> String {
        match &self.0 {
            Backend::Folder(folder) => file_path(folder, name).display().to_string(),
            Backend::Bucket { bucket, prefix } => bucket.address(&object_path(prefix, name)),
        }
    }

    /// All bytes of a name; none where it does not exist.
    pub(crate) fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        match &self.0 {
            Backend::Folder(folder) => {
                let path = file_path(folder, name);
                match fs::read(&path) {
                    Ok(bytes) => Ok(Some(bytes)),
                    Err(e) if is_absent(&e) => Ok(None),
                    Err(e) => Err(Error::read(path.display().to_string(), &e)),
                }
            }
            Backend::Bucket { bucket, prefix } => match bucket.get(&object_path(prefix, name)) {
                Ok(bytes) => Ok(Some(bytes.into())),
                Err(RemoteError::Absent) => Ok(None),
                Err(t) => Err(t.input(&self.shown(name))),
            },
        }
    }

    /// Whether a name exists.
    pub(crate) fn exists(&self, name: &str) -> Result<bool> {
        match &self.0 {
            Backend::Folder(folder) => {
                let path = file_path(folder, name);
                path.try_exists().map_err(|e| Error::read(path.display().to_string(), &e))
            }
            Backend::Bucket { bucket, prefix } => match bucket.head(&object_path(prefix, name)) {
                Ok(_) => Ok(true),
                Err(RemoteError::Absent) => Ok(false),
                Err(t) => Err(t.input(&self.shown(name))),
            },
        }
    }

    /// Writes bytes under a name in one step. They survive the end of this process immediately, and a power failure after
    /// [`ArchiveStore::sync_file`] or [`ArchiveStore::sync_folder`].
    pub(crate) fn put(&self, name: &str, bytes: &[u8]) -> Result<FileRecord> {
        let mut upload = self.upload(name)?;
        upload.write_all(bytes).map_err(|e| write_error(&self.shown(name), &e))?;
        upload.finish()
    }

    /// Starts writing a name piece by piece. The name exists once all pieces are written.
    pub(crate) fn upload(&self, name: &str) -> Result<Upload> {
        match &self.0 {
            Backend::Folder(folder) => Upload::to_file(&file_path(folder, name)),
            Backend::Bucket { bucket, prefix } => Ok(Upload::to_object(bucket, object_path(prefix, name))),
        }
    }

    /// As [`ArchiveStore::put`], but a bucket may still be receiving the bytes when this returns: `pending` reports how
    /// that ends.
    pub(crate) fn put_soon(&self, name: &str, bytes: Vec<u8>, pending: &mut PendingObjects) -> Result<FileRecord> {
        let Backend::Bucket { bucket, prefix } = &self.0 else { return self.put(name, &bytes) };
        let record = FileRecord { bytes: bytes.len() as u64, sha256: hex(&Sha256::digest(&bytes)) };
        pending.put(bucket, &object_path(prefix, name), bytes)?;
        Ok(record)
    }

    /// Flushes a folder, all files in it and all folders above it to the disk.
    pub(crate) fn sync_folder(&self, folder: &str) -> Result<()> {
        let Backend::Folder(root) = &self.0 else { return Ok(()) };
        let path = file_path(root, folder);
        let synced = sync_tree(&path).and_then(|()| sync_parents(&path, root));
        synced.map_err(|e| write_error(&path.display().to_string(), &e))
    }

    /// Flushes a file and all folders above it to the disk.
    pub(crate) fn sync_file(&self, name: &str) -> Result<()> {
        let Backend::Folder(root) = &self.0 else { return Ok(()) };
        let path = file_path(root, name);
        let synced = File::open(&path).and_then(|f| f.sync_all()).and_then(|()| sync_parents(&path, root));
        synced.map_err(|e| write_error(&path.display().to_string(), &e))
    }

    /// Sorted names of the files and folders directly in a folder that start with `prefix`; none where there is no such
    /// folder.
    pub(crate) fn list(&self, folder: &str, prefix: &str) -> Result<Vec<String>> {
        match &self.0 {
            Backend::Folder(root) => list_folder(&file_path(root, folder), prefix),
            Backend::Bucket { bucket, prefix: root } => {
                let mut names =
                    bucket.list_folder(&object_path(root, folder)).map_err(|t| t.input(&self.shown(folder)))?;
                names.retain(|n| n.starts_with(prefix));
                Ok(names)
            }
        }
    }

    /// Calls `found` with the last part of every name in the shelves of a folder, in no order.
    pub(crate) fn list_shelves(&self, folder: &str, found: &mut dyn FnMut(&str)) -> Result<()> {
        if let Backend::Bucket { bucket, prefix } = &self.0 {
            let below = object_path(prefix, folder);
            let mut last = |name: &str, _| {
                found(name.rsplit('/').next().unwrap_or(name));
                Ok(())
            };
            return bucket.list(&below, &mut last).map_err(|t| t.input(&self.shown(folder)))?;
        }
        for shelf in self.list(folder, "")? {
            self.list(&format!("{folder}/{shelf}"), "")?.iter().for_each(|name| found(name));
        }
        Ok(())
    }

    /// Removes a name; succeeds where it does not exist.
    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        match &self.0 {
            Backend::Folder(folder) => {
                let path = file_path(folder, name);
                removed(&path, fs::remove_file(&path))
            }
            Backend::Bucket { bucket, prefix } => {
                bucket.delete(&object_path(prefix, name)).map_err(|t| t.output(&self.shown(name)))
            }
        }
    }

    /// Removes a folder with all names in it; succeeds where it does not exist.
    pub(crate) fn remove_folder(&self, folder: &str) -> Result<()> {
        match &self.0 {
            Backend::Folder(root) => {
                let path = file_path(root, folder);
                removed(&path, fs::remove_dir_all(&path))
            }
            Backend::Bucket { bucket, prefix } => {
                let mut all = Vec::new();
                let mut each = |name: &str, _| {
                    all.push(name.to_string());
                    Ok(())
                };
                let fail = |t: RemoteError| t.output(&self.shown(folder));
                bucket.list(&object_path(prefix, folder), &mut each).map_err(fail)??;
                all.iter().try_for_each(|name| bucket.delete(name)).map_err(fail)
            }
        }
    }
}

fn file_path(folder: &Path, name: &str) -> PathBuf {
    if name.is_empty() { folder.to_path_buf() } else { folder.join(name) }
}

fn object_path(prefix: &str, name: &str) -> String {
    if prefix.is_empty() || name.is_empty() { format!("{prefix}{name}") } else { format!("{prefix}/{name}") }
}

fn list_folder(path: &Path, prefix: &str) -> Result<Vec<String>> {
    let fail = |e: io::Error| Error::read(path.display().to_string(), &e);
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(e) if is_absent(&e) => return Ok(Vec::new()),
        Err(e) => return Err(fail(e)),
    };
    let mut names = Vec::new();
    for entry in entries {
        // An archive has no names outside of UTF-8.
        if let Ok(name) = entry.map_err(fail)?.file_name().into_string()
            && name.starts_with(prefix)
        {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn removed(path: &Path, result: io::Result<()>) -> Result<()> {
    match result {
        Err(e) if !is_absent(&e) => Err(write_error(&path.display().to_string(), &e)),
        _ => Ok(()),
    }
}

fn sync_parents(path: &Path, root: &Path) -> io::Result<()> {
    let parents = path.ancestors().skip(1).take_while(|a| a.starts_with(root));
    parents.into_iter().try_for_each(|a| File::open(a).and_then(|d| d.sync_all()))
}

fn sync_tree(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_tree(&entry.path())?;
        } else {
            File::open(entry.path())?.sync_all()?;
        }
    }
    File::open(folder)?.sync_all()
}
