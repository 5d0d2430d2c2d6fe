//! Where an archive lives: named bytes in a folder of this machine.
//!
//! A name is a path from the archive's root with `/` between its parts. Whatever has a name is whole: bytes are written
//! beside and renamed into place. Nothing is held in memory but what a caller hands over.

use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use sha2::{Digest, Sha256};

use super::record::{FileRecord, hex};
use crate::error::{Error, Result};

/// What ends the name of a file that is not whole yet.
pub const PART: &str = ".part";

/// A place for an archive.
#[derive(Debug, Clone)]
pub struct Store {
    folder: PathBuf,
}

impl Store {
    /// The place that a user named. Nothing is made or asked yet.
    pub fn at(location: &str) -> Result<Store> {
        if location.is_empty() {
            return Err(Error::usage("the archive has no name", "Name a folder."));
        }
        Ok(Store { folder: PathBuf::from(location) })
    }

    /// The folder, where it is one of this machine.
    pub fn folder(&self) -> Option<&Path> {
        Some(&self.folder)
    }

    /// A name as messages give it.
    pub fn shown(&self, name: &str) -> String {
        self.place(name).display().to_string()
    }

    fn place(&self, name: &str) -> PathBuf {
        if name.is_empty() { self.folder.clone() } else { self.folder.join(name) }
    }

    /// All bytes of a name; none where there is no such name.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let path = self.place(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if absent(&e) => Ok(None),
            Err(e) => Err(unread(&path.display().to_string(), &e)),
        }
    }

    /// Whether there is such a name.
    pub fn has(&self, name: &str) -> Result<bool> {
        let path = self.place(name);
        path.try_exists().map_err(|e| unread(&path.display().to_string(), &e))
    }

    /// Gives bytes a name, in one step. They outlive this process, and the machine once [`Store::settle`] has seen to it.
    pub fn put(&self, name: &str, bytes: &[u8]) -> Result<FileRecord> {
        let mut upload = self.upload(name)?;
        upload.write_all(bytes).map_err(|e| unwritten(&self.shown(name), &e))?;
        upload.finish()
    }

    /// Takes bytes as they come; they get their name when all are there.
    pub fn upload(&self, name: &str) -> Result<Upload> {
        let path = self.place(name);
        let part = part(&path);
        let made = File::create(&part).or_else(|e| match path.parent() {
            Some(folder) if absent(&e) => fs::create_dir_all(folder).and_then(|()| File::create(&part)),
            _ => Err(e),
        });
        let file = made.map_err(|e| unwritten(&path.display().to_string(), &e))?;
        Ok(Upload { file: Some(BufWriter::new(file)), part, path, hash: Sha256::new(), bytes: 0 })
    }

    /// Brings a folder with all files in it, and all folders above it, onto the disk.
    pub fn settle(&self, folder: &str) -> Result<()> {
        let path = self.place(folder);
        let settled = sync_tree(&path).and_then(|()| self.sync_above(&path));
        settled.map_err(|e| unwritten(&path.display().to_string(), &e))
    }

    /// Brings one file, and the folders that name it, onto the disk.
    pub fn settle_file(&self, name: &str) -> Result<()> {
        let path = self.place(name);
        let settled = File::open(&path).and_then(|f| f.sync_all()).and_then(|()| self.sync_above(&path));
        settled.map_err(|e| unwritten(&path.display().to_string(), &e))
    }

    fn sync_above(&self, path: &Path) -> io::Result<()> {
        let above = path.ancestors().skip(1).take_while(|a| a.starts_with(&self.folder));
        above.into_iter().try_for_each(|a| File::open(a).and_then(|d| d.sync_all()))
    }

    /// Names directly below a folder that begin so, sorted; none where there is no such folder.
    pub fn list(&self, folder: &str, prefix: &str) -> Result<Vec<String>> {
        let path = self.place(folder);
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

    /// Takes a name away; that there is none is no error.
    pub fn remove(&self, name: &str) -> Result<()> {
        let path = self.place(name);
        match fs::remove_file(&path) {
            Err(e) if !absent(&e) => Err(unwritten(&path.display().to_string(), &e)),
            _ => Ok(()),
        }
    }

    /// Takes all names below a folder away.
    pub fn remove_folder(&self, folder: &str) -> Result<()> {
        let path = self.place(folder);
        match fs::remove_dir_all(&path) {
            Err(e) if !absent(&e) => Err(unwritten(&path.display().to_string(), &e)),
            _ => Ok(()),
        }
    }
}

/// Bytes on their way to a name. Dropped before [`Upload::finish`], nothing is left of them.
pub struct Upload {
    file: Option<BufWriter<File>>,
    part: PathBuf,
    path: PathBuf,
    hash: Sha256,
    bytes: u64,
}

impl Upload {
    /// Gives the bytes their name, and says how many there are and their hash.
    pub fn finish(mut self) -> Result<FileRecord> {
        let done = match self.file.take() {
            Some(mut file) => file.flush().and_then(|()| fs::rename(&self.part, &self.path)),
            None => Ok(()),
        };
        if let Err(e) = done {
            let _ = fs::remove_file(&self.part);
            return Err(unwritten(&self.path.display().to_string(), &e));
        }
        Ok(FileRecord { bytes: self.bytes, sha256: hex(&std::mem::take(&mut self.hash).finalize()) })
    }
}

impl Write for Upload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(file) = &mut self.file else { return Err(io::ErrorKind::NotConnected.into()) };
        let n = file.write(bytes)?;
        self.hash.update(&bytes[..n]);
        self.bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            let _ = fs::remove_file(&self.part);
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
