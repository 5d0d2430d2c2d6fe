//! Where an archive is stored: named files in a folder of this machine, or objects in a bucket.
//!
//! A name is a path from the archive's root with `/` between its parts. Whatever has a name is complete: a folder gets a
//! file by renaming a finished one, a bucket shows an object once all of it has arrived.
//!
//! Other people may have made the archive. A name that leads out of it is refused, in a folder and in a bucket; in a folder,
//! symbolic links are not followed and only regular files are read (see [`OpenFolder`]). The archive's own folder may be a
//! link: its user named it.
//!
//! Memory: the bytes that a caller passes in or asks for, up to the caller's limit; see [`upload`] for what is written piece
//! by piece.

mod upload;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::address::{Address, is_object, is_url};
use crate::archive::io_error::{is_absent, write_error};
use crate::archive::record::FileRecord;
use crate::digest::hex;
use crate::error::{Error, Result};
use crate::fingerprint::Fingerprint;
use crate::interrupt::Interrupt;
use crate::media::AccessPolicy;
use crate::media::object_store::Bucket;
use crate::media::remote::RemoteError;
use crate::message;
use crate::message::{Message, Setting};
use crate::open_folder::{OpenFolder, parts};

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
            let (bucket, path) =
                Bucket::open(&Address::new(location), REQUEST_TIMEOUT, &AccessPolicy::default(), Interrupt::new())?;
            return Ok(ArchiveStore(Backend::Bucket { bucket, prefix: path.trim_matches('/').to_string() }));
        }
        if location.is_empty() || is_url(location) || Address::new(location).lacks_slashes() {
            let cause =
                if location.is_empty() { "the archive has no name".into() } else { Address::new(location).shown() };
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

    /// All bytes of a name, at most `limit`; none where it does not exist.
    pub(crate) fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let too_large = || {
            let cause = format!("has more than the {limit} bytes that such a file may have");
            Err(Error::input(self.shown(name), cause, again()))
        };
        match &self.0 {
            Backend::Folder(_) => {
                let Some(file) = self.open_file(name)? else { return Ok(None) };
                let mut bytes = Vec::new();
                file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(|e| self.unreadable(name, &e))?;
                if bytes.len() as u64 > limit { too_large() } else { Ok(Some(bytes)) }
            }
            Backend::Bucket { bucket, prefix } => {
                let path = self.object(prefix, name)?;
                // Before the bytes: a bucket sends as many as it likes.
                match bucket.head(&path) {
                    Ok((object, _)) if object.size > limit => return too_large(),
                    Err(RemoteError::Absent) => return Ok(None),
                    Err(t) => return Err(t.input(&self.shown(name))),
                    Ok(_) => {}
                }
                match bucket.get(&path) {
                    Ok(bytes) if bytes.len() as u64 > limit => too_large(),
                    Ok(bytes) => Ok(Some(bytes.into())),
                    Err(RemoteError::Absent) => Ok(None),
                    Err(t) => Err(t.input(&self.shown(name))),
                }
            }
        }
    }

    /// Opens a file of a folder for reading; none where it does not exist. Never a file of a bucket.
    pub(crate) fn open_file(&self, name: &str) -> Result<Option<File>> {
        let Some(root) = self.root(name)? else { return Ok(None) };
        match root.file(name) {
            Ok(file) => Ok(Some(file)),
            Err(e) if is_absent(&e) => Ok(None),
            Err(e) => Err(self.unreadable(name, &e)),
        }
    }

    /// Whether a name exists.
    pub(crate) fn exists(&self, name: &str) -> Result<bool> {
        match &self.0 {
            Backend::Folder(_) => {
                let found = self.root(name)?.map_or(Ok(false), |root| root.exists(name));
                match found {
                    Err(e) if is_absent(&e) => Ok(false),
                    found => found.map_err(|e| self.unreadable(name, &e)),
                }
            }
            Backend::Bucket { bucket, prefix } => match bucket.head(&self.object(prefix, name)?) {
                Ok(_) => Ok(true),
                Err(RemoteError::Absent) => Ok(false),
                Err(t) => Err(t.input(&self.shown(name))),
            },
        }
    }

    /// The archive's folder, open; none where it does not exist or the archive is in a bucket.
    fn root(&self, name: &str) -> Result<Option<OpenFolder>> {
        let Backend::Folder(root) = &self.0 else { return Ok(None) };
        match OpenFolder::open(root) {
            Ok(root) => Ok(Some(root)),
            Err(e) if is_absent(&e) => Ok(None),
            Err(e) => Err(self.unreadable(name, &e)),
        }
    }

    /// Why something cannot be read.
    fn unreadable(&self, name: &str, e: &io::Error) -> Error {
        match e.kind() {
            ErrorKind::InvalidInput => Error::input(self.shown(name), format!("is not read: {e}"), again()),
            _ => Error::read(self.shown(name), e),
        }
    }

    /// The path of an object, if its name stays in the archive.
    fn object(&self, prefix: &str, name: &str) -> Result<String> {
        match parts(name) {
            Ok(_) => Ok(object_path(prefix, name)),
            Err(e) => Err(Error::input(self.shown(name), format!("is not used: {e}"), again())),
        }
    }

    /// Writes bytes under a name in one step. They survive the end of this process immediately, and a power failure after
    /// [`ArchiveStore::sync_folder`].
    pub(crate) fn put(&self, name: &str, bytes: &[u8]) -> Result<FileRecord> {
        let mut upload = self.upload(name)?;
        upload.write_all(bytes).map_err(|e| write_error(&self.shown(name), &e))?;
        upload.finish()
    }

    /// As [`ArchiveStore::put`], but the bytes survive a power failure, too: they are on the disk before they get their
    /// name, and the name is when this returns.
    pub(crate) fn put_durably(&self, name: &str, bytes: &[u8]) -> Result<FileRecord> {
        let mut upload = self.upload(name)?;
        upload.write_all(bytes).map_err(|e| write_error(&self.shown(name), &e))?;
        let record = upload.finish_synced()?;
        self.sync_names(name.rsplit_once('/').map_or("", |(folder, _)| folder))?;
        Ok(record)
    }

    /// Starts writing a name piece by piece. The name exists once all pieces are written.
    pub(crate) fn upload(&self, name: &str) -> Result<Upload> {
        match &self.0 {
            Backend::Folder(root) => Upload::to_file(root, name),
            Backend::Bucket { bucket, prefix } => Ok(Upload::to_object(bucket, self.object(prefix, name)?)),
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

    /// Brings a folder, all files in it and the names of all folders above it to the disk.
    pub(crate) fn sync_folder(&self, folder: &str) -> Result<()> {
        self.sync(folder, |root| root.sync_tree(folder).and_then(|()| root.sync(folder)))
    }

    /// Brings the names in a folder, and in all folders above it, to the disk.
    pub(crate) fn sync_names(&self, folder: &str) -> Result<()> {
        self.sync(folder, |root| root.sync(folder))
    }

    fn sync(&self, folder: &str, sync: impl FnOnce(&OpenFolder) -> io::Result<()>) -> Result<()> {
        let Backend::Folder(root) = &self.0 else { return Ok(()) };
        OpenFolder::open(root).and_then(|root| sync(&root)).map_err(|e| write_error(&self.shown(folder), &e))
    }

    /// Sorted names of the files and folders directly in a folder that start with `prefix`; none where there is no such
    /// folder.
    pub(crate) fn list(&self, folder: &str, prefix: &str) -> Result<Vec<String>> {
        let mut names = match &self.0 {
            Backend::Folder(_) => {
                let names: io::Result<Vec<OsString>> =
                    self.root(folder)?.map_or(Ok(Vec::new()), |root| root.names(folder));
                match names {
                    // An archive has no names outside of UTF-8.
                    Ok(names) => names.into_iter().filter_map(|name| name.into_string().ok()).collect(),
                    Err(e) if is_absent(&e) => Vec::new(),
                    Err(e) => return Err(self.unreadable(folder, &e)),
                }
            }
            Backend::Bucket { bucket, prefix } => {
                let path = self.object(prefix, folder)?;
                bucket.list_folder(&path).map_err(|t| t.input(&self.shown(folder)))?
            }
        };
        names.retain(|n| n.starts_with(prefix));
        names.sort_unstable();
        Ok(names)
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
        for shelf in self.list(folder, "")?.iter().filter(|shelf| is_shelf(shelf)) {
            self.list(&format!("{folder}/{shelf}"), "")?.iter().for_each(|name| found(name));
        }
        Ok(())
    }

    /// Calls `found` with the last part of every name in the shelves of a folder, in no order, and with what distinguishes it
    /// from a changed one. That is empty where something else than a file has the name.
    pub(crate) fn list_states(&self, folder: &str, found: &mut dyn FnMut(&str, Fingerprint)) -> Result<()> {
        if let Backend::Bucket { bucket, prefix } = &self.0 {
            let below = object_path(prefix, folder);
            let mut last = |name: &str, state| {
                found(name.rsplit('/').next().unwrap_or(name), state);
                Ok(())
            };
            return bucket.list(&below, &mut last).map_err(|t| t.input(&self.shown(folder)))?;
        }
        for shelf in self.list(folder, "")?.iter().filter(|shelf| is_shelf(shelf)) {
            let shelf = format!("{folder}/{shelf}");
            let Some(opened) = self.root(&shelf)?.map(|root| root.folder(&shelf)) else { continue };
            let opened = match opened {
                Err(e) if is_absent(&e) => continue,
                opened => opened.map_err(|e| self.unreadable(&shelf, &e))?,
            };
            for name in self.list(&shelf, "")? {
                match opened.file(&name).and_then(|file| file.metadata()) {
                    Ok(metadata) => found(&name, Fingerprint::of_file(&metadata)),
                    Err(e) if is_absent(&e) => {}
                    Err(_) => found(&name, Fingerprint::default()),
                }
            }
        }
        Ok(())
    }

    /// Removes a name; succeeds where it does not exist.
    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        match &self.0 {
            Backend::Folder(_) => self.removed(name, |root| root.remove_file(name)),
            Backend::Bucket { bucket, prefix } => {
                bucket.delete(&self.object(prefix, name)?).map_err(|t| t.output(&self.shown(name)))
            }
        }
    }

    /// Removes a folder with all names in it; succeeds where it does not exist.
    pub(crate) fn remove_folder(&self, folder: &str) -> Result<()> {
        match &self.0 {
            Backend::Folder(_) => self.removed(folder, |root| root.remove_folder(folder)),
            Backend::Bucket { bucket, prefix } => {
                let mut all = Vec::new();
                let mut each = |name: &str, _| {
                    all.push(name.to_string());
                    Ok(())
                };
                let fail = |t: RemoteError| t.output(&self.shown(folder));
                bucket.list(&self.object(prefix, folder)?, &mut each).map_err(fail)??;
                all.iter().try_for_each(|name| bucket.delete(name)).map_err(fail)
            }
        }
    }

    fn removed(&self, name: &str, remove: impl FnOnce(&OpenFolder) -> io::Result<()>) -> Result<()> {
        match self.root(name)?.map_or(Ok(()), |root| remove(&root)) {
            Err(e) if !is_absent(&e) => Err(write_error(&self.shown(name), &e)),
            _ => Ok(()),
        }
    }
}

/// What to do about a part of an archive that descry did not make.
fn again() -> Message {
    message!["Run ", Setting::ArchiveRepair, ", then ", Setting::Index, " again."]
}

/// Whether a folder's name is that of a shelf; see [`layout`](crate::archive::layout).
fn is_shelf(name: &str) -> bool {
    name.len() == 2 && name.bytes().all(|b| b.is_ascii_hexdigit())
}

fn file_path(folder: &Path, name: &str) -> PathBuf {
    if name.is_empty() { folder.to_path_buf() } else { folder.join(name) }
}

fn object_path(prefix: &str, name: &str) -> String {
    if prefix.is_empty() || name.is_empty() { format!("{prefix}{name}") } else { format!("{prefix}/{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No request is sent: the names are refused before.
    #[test]
    fn names_do_not_lead_out_of_a_bucket() {
        let store = ArchiveStore::at("s3://bucket/archive").unwrap();
        for bad in ["../other/secret", "videos/../../secret", "/secret", "videos//secret"] {
            let errors = [
                store.read(bad, 1).unwrap_err(),
                store.exists(bad).unwrap_err(),
                store.upload(bad).map(drop).unwrap_err(),
                store.remove(bad).unwrap_err(),
                store.remove_folder(bad).unwrap_err(),
                store.list(bad, "").unwrap_err(),
            ];
            assert!(errors.iter().all(|e| e.to_string().contains("leads out of its folder")), "{bad}: {errors:?}");
        }
    }
}
