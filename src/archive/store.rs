//! Where an archive lives: named bytes in a folder of this machine, or in a bucket of an object store.
//!
//! A name is a path from the archive's root with `/` between its parts. Whatever has a name is whole: in a folder bytes
//! are written beside and renamed into place, a bucket shows nothing before it has all. Memory: what a caller hands
//! over, and of an object that is put as it comes [`PIECE`] bytes.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::record::FileRecord;
use crate::address::hide;
use crate::address::is_object;
use crate::address::is_url;
use crate::digest::hex;
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::media::object_store::{Bucket, MultipartPut, PendingPut, RemoteError};

/// What ends the name of a file that is not whole yet.
pub const PART: &str = ".part";

/// What an object that comes as it is made is put in.
const PIECE: usize = 8 << 20;
/// Objects that are put at the same time.
const PUTS: usize = 8;
/// How long a bucket may keep an archive waiting.
const PATIENCE: Duration = Duration::from_secs(30);

/// A place for an archive.
#[derive(Debug, Clone)]
pub struct Store(Place);

#[derive(Debug, Clone)]
enum Place {
    Folder(PathBuf),
    /// A bucket, and the prefix of all names, without a slash at its end.
    Bucket(Bucket, String),
}

impl Store {
    /// The place that a user named. Nothing is made or asked yet.
    pub fn at(location: &str) -> Result<Store> {
        if is_object(location) {
            // An interrupt lets what is being written be written to its end.
            let (bucket, path) = Bucket::open(location, PATIENCE, Interrupt::new())?;
            return Ok(Store(Place::Bucket(bucket, path.trim_matches('/').to_string())));
        }
        if location.is_empty() || is_url(location) {
            let cause = if location.is_empty() { "the archive has no name".into() } else { hide(location) };
            return Err(Error::usage(
                format!("{cause}: no place for an archive"),
                "Name a folder, or s3://BUCKET/PREFIX.",
            ));
        }
        Ok(Store(Place::Folder(PathBuf::from(location))))
    }

    /// The folder, where it is one of this machine.
    pub fn folder(&self) -> Option<&Path> {
        match &self.0 {
            Place::Folder(folder) => Some(folder),
            Place::Bucket(..) => None,
        }
    }

    /// A name as messages give it.
    pub fn shown(&self, name: &str) -> String {
        match &self.0 {
            Place::Folder(folder) => place(folder, name).display().to_string(),
            Place::Bucket(bucket, prefix) => bucket.address(&object(prefix, name)),
        }
    }

    /// All bytes of a name; none where there is no such name.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let folder = match &self.0 {
            Place::Folder(folder) => folder,
            Place::Bucket(bucket, prefix) => {
                return match bucket.get(&object(prefix, name)) {
                    Ok(bytes) => Ok(Some(bytes.into())),
                    Err(RemoteError::Absent) => Ok(None),
                    Err(t) => Err(t.input(&self.shown(name))),
                };
            }
        };
        let path = place(folder, name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if absent(&e) => Ok(None),
            Err(e) => Err(unread(&path.display().to_string(), &e)),
        }
    }

    /// Whether there is such a name.
    pub fn has(&self, name: &str) -> Result<bool> {
        match &self.0 {
            Place::Folder(folder) => {
                let path = place(folder, name);
                path.try_exists().map_err(|e| unread(&path.display().to_string(), &e))
            }
            Place::Bucket(bucket, prefix) => match bucket.head(&object(prefix, name)) {
                Ok(_) => Ok(true),
                Err(RemoteError::Absent) => Ok(false),
                Err(t) => Err(t.input(&self.shown(name))),
            },
        }
    }

    /// Gives bytes a name, in one step. They outlive this process, and the machine once [`Store::settle`] has seen to it.
    pub fn put(&self, name: &str, bytes: &[u8]) -> Result<FileRecord> {
        let mut upload = self.upload(name)?;
        upload.write_all(bytes).map_err(|e| unwritten(&self.shown(name), &e))?;
        upload.finish()
    }

    /// Takes bytes as they come; they get their name when all are there.
    pub fn upload(&self, name: &str) -> Result<Upload> {
        let to = match &self.0 {
            Place::Folder(folder) => To::File(self.file(folder, name)?),
            Place::Bucket(bucket, prefix) => {
                let path = object(prefix, name);
                To::Object { bucket: bucket.clone(), path, waiting: Vec::new(), parts: None }
            }
        };
        Ok(Upload { to, name: self.shown(name), hash: Sha256::new(), bytes: 0 })
    }

    /// As [`Store::put`], but a bucket may still be at it when this returns: `pending` says how it went.
    pub fn put_soon(&self, name: &str, bytes: Vec<u8>, pending: &mut Pending) -> Result<FileRecord> {
        let Place::Bucket(bucket, prefix) = &self.0 else { return self.put(name, &bytes) };
        while pending.puts.len() >= PUTS {
            pending.settle_one()?;
        }
        let told = FileRecord { bytes: bytes.len() as u64, sha256: hex(&Sha256::digest(&bytes)) };
        let path = object(prefix, name);
        let put = bucket.start_put(&path, bytes.into()).map_err(|t| t.output(&bucket.address(&path)))?;
        pending.puts.push_back((bucket.clone(), bucket.address(&path), put));
        Ok(told)
    }

    fn file(&self, folder: &Path, name: &str) -> Result<Part> {
        let path = place(folder, name);
        let part = part(&path);
        let made = File::create(&part).or_else(|e| match path.parent() {
            Some(folder) if absent(&e) => fs::create_dir_all(folder).and_then(|()| File::create(&part)),
            _ => Err(e),
        });
        let file = made.map_err(|e| unwritten(&path.display().to_string(), &e))?;
        Ok(Part { file: Some(BufWriter::new(file)), part, path })
    }

    /// Brings a folder with all files in it, and all folders above it, onto the disk.
    pub fn settle(&self, folder: &str) -> Result<()> {
        let Place::Folder(root) = &self.0 else { return Ok(()) };
        let path = place(root, folder);
        let settled = sync_tree(&path).and_then(|()| sync_above(&path, root));
        settled.map_err(|e| unwritten(&path.display().to_string(), &e))
    }

    /// Brings one file, and the folders that name it, onto the disk.
    pub fn settle_file(&self, name: &str) -> Result<()> {
        let Place::Folder(root) = &self.0 else { return Ok(()) };
        let path = place(root, name);
        let settled = File::open(&path).and_then(|f| f.sync_all()).and_then(|()| sync_above(&path, root));
        settled.map_err(|e| unwritten(&path.display().to_string(), &e))
    }

    /// Names directly below a folder that begin so, sorted; none where there is no such folder.
    pub fn list(&self, folder: &str, prefix: &str) -> Result<Vec<String>> {
        let root = match &self.0 {
            Place::Folder(root) => root,
            Place::Bucket(bucket, root) => {
                let mut names = bucket.list_folder(&object(root, folder)).map_err(|t| t.input(&self.shown(folder)))?;
                names.retain(|n| n.starts_with(prefix));
                return Ok(names);
            }
        };
        let path = place(root, folder);
        let fail = |e: io::Error| unread(&path.display().to_string(), &e);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(e) if absent(&e) => return Ok(Vec::new()),
            Err(e) => return Err(fail(e)),
        };
        let mut names = Vec::new();
        for entry in entries {
            // What is no UTF-8 is none of ours.
            if let Ok(name) = entry.map_err(fail)?.file_name().into_string()
                && name.starts_with(prefix)
            {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// The last parts of all names below a folder, whose names are in folders of their own there; in no order.
    pub fn list_shelves(&self, folder: &str, found: &mut dyn FnMut(&str)) -> Result<()> {
        if let Place::Bucket(bucket, root) = &self.0 {
            let below = object(root, folder);
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

    /// Takes a name away; that there is none is no error.
    pub fn remove(&self, name: &str) -> Result<()> {
        let folder = match &self.0 {
            Place::Folder(folder) => folder,
            Place::Bucket(bucket, prefix) => {
                return bucket.delete(&object(prefix, name)).map_err(|t| t.output(&self.shown(name)));
            }
        };
        let path = place(folder, name);
        match fs::remove_file(&path) {
            Err(e) if !absent(&e) => Err(unwritten(&path.display().to_string(), &e)),
            _ => Ok(()),
        }
    }

    /// Takes all names below a folder away.
    pub fn remove_folder(&self, folder: &str) -> Result<()> {
        let root = match &self.0 {
            Place::Folder(root) => root,
            Place::Bucket(bucket, root) => {
                let mut all = Vec::new();
                let mut each = |name: &str, _| {
                    all.push(name.to_string());
                    Ok(())
                };
                let fail = |t: RemoteError| t.output(&self.shown(folder));
                bucket.list(&object(root, folder), &mut each).map_err(fail)??;
                return all.iter().try_for_each(|name| bucket.delete(name)).map_err(fail);
            }
        };
        let path = place(root, folder);
        match fs::remove_dir_all(&path) {
            Err(e) if !absent(&e) => Err(unwritten(&path.display().to_string(), &e)),
            _ => Ok(()),
        }
    }
}

fn place(folder: &Path, name: &str) -> PathBuf {
    if name.is_empty() { folder.to_path_buf() } else { folder.join(name) }
}

fn object(prefix: &str, name: &str) -> String {
    if prefix.is_empty() || name.is_empty() { format!("{prefix}{name}") } else { format!("{prefix}/{name}") }
}

/// Objects that a bucket is still being given.
#[derive(Debug, Default)]
pub struct Pending {
    puts: VecDeque<(Bucket, String, PendingPut)>,
}

impl Pending {
    /// Waits for the oldest.
    fn settle_one(&mut self) -> Result<()> {
        match self.puts.pop_front() {
            Some((bucket, name, put)) => bucket.finish_put(put).map_err(|t| t.output(&name)),
            None => Ok(()),
        }
    }

    /// Waits for all.
    pub fn settle(&mut self) -> Result<()> {
        while !self.puts.is_empty() {
            self.settle_one()?;
        }
        Ok(())
    }
}

/// Bytes on their way to a name. Dropped before [`Upload::finish`], nothing is left of them.
pub struct Upload {
    to: To,
    name: String,
    hash: Sha256,
    bytes: u64,
}

enum To {
    File(Part),
    Object {
        bucket: Bucket,
        path: String,
        waiting: Vec<u8>,
        /// Where there was more than one piece.
        parts: Option<MultipartPut>,
    },
}

/// A file that is taken away where it does not get its name.
struct Part {
    file: Option<BufWriter<File>>,
    part: PathBuf,
    path: PathBuf,
}

impl Drop for Part {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            let _ = fs::remove_file(&self.part);
        }
    }
}

impl Upload {
    /// Gives the bytes their name, and says how many there are and their hash.
    pub fn finish(self) -> Result<FileRecord> {
        let Upload { to, name, hash, bytes } = self;
        match to {
            To::File(mut part) => {
                let named = match &mut part.file {
                    Some(file) => file.flush().and_then(|()| fs::rename(&part.part, &part.path)),
                    None => Err(io::ErrorKind::NotConnected.into()),
                };
                named.map_err(|e| unwritten(&name, &e))?;
                drop(part.file.take());
            }
            To::Object { bucket, path, waiting, parts } => {
                let put = match parts {
                    None => bucket.put(&path, waiting.into()),
                    Some(parts) if waiting.is_empty() => parts.complete(),
                    Some(mut parts) => parts.put_part(waiting.into()).and_then(|()| parts.complete()),
                };
                put.map_err(|t| t.output(&name))?;
            }
        }
        Ok(FileRecord { bytes, sha256: hex(&hash.finalize()) })
    }
}

impl Write for Upload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = match &mut self.to {
            To::File(part) => match &mut part.file {
                Some(file) => file.write(bytes)?,
                None => return Err(io::ErrorKind::NotConnected.into()),
            },
            To::Object { bucket, path, waiting, parts } => {
                let n = bytes.len().min(PIECE - waiting.len());
                waiting.extend_from_slice(&bytes[..n]);
                if waiting.len() == PIECE {
                    let lost = |t: RemoteError| io::Error::other(t.to_string());
                    let begun = match parts {
                        Some(begun) => begun,
                        None => parts.insert(bucket.start_multipart(path).map_err(lost)?),
                    };
                    begun.put_part(std::mem::take(waiting).into()).map_err(lost)?;
                }
                n
            }
        };
        self.hash.update(&bytes[..n]);
        self.bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.to {
            To::File(Part { file: Some(file), .. }) => file.flush(),
            _ => Ok(()),
        }
    }
}

/// Where the bytes of a file go first. The word in it is this process's own, on whatever machine.
fn part(path: &Path) -> PathBuf {
    static OWN: OnceLock<u64> = OnceLock::new();
    let own = OWN.get_or_init(|| {
        let mut hasher = RandomState::new().build_hasher();
        hasher.write_u32(std::process::id());
        hasher.finish()
    });
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{own:016x}{PART}"));
    path.with_file_name(name)
}

fn sync_above(path: &Path, root: &Path) -> io::Result<()> {
    let above = path.ancestors().skip(1).take_while(|a| a.starts_with(root));
    above.into_iter().try_for_each(|a| File::open(a).and_then(|d| d.sync_all()))
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

/// Whether an error says that a name, or a folder on the way to it, is not there.
fn absent(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// What stands in the way of writing into an archive.
pub(crate) fn unwritten(name: &str, e: &io::Error) -> Error {
    let (cause, remedy) = match e.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            ("the disk is full".to_string(), "Free some space and run again: what is done stays done.")
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            (format!("cannot be written: {e}"), "Make the archive writable for this user, or name another with --into.")
        }
        _ => (format!("cannot be written: {e}"), "Check the disk and run again: what is done stays done."),
    };
    Error::output(name, cause, remedy)
}

/// What stands in the way of reading from an archive.
pub(crate) fn unread(name: &str, e: &io::Error) -> Error {
    let (cause, remedy) = match e.kind() {
        io::ErrorKind::NotFound => ("no such file".to_string(), "Check the path."),
        io::ErrorKind::PermissionDenied => {
            ("permission denied".to_string(), "Make the archive readable for this user.")
        }
        _ => (format!("cannot be read: {e}"), "Check the disk."),
    };
    Error::input(name, cause, remedy)
}
