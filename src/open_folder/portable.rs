//! Folders by name, for systems without `openat`: every part of a name is checked before it is used.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::{folder_and_last, is_link, no_file, parts};

/// A folder that is open; see [the module](super).
#[derive(Debug)]
pub(crate) struct NamedFolder(PathBuf);

impl NamedFolder {
    pub(crate) fn open(path: &Path) -> io::Result<NamedFolder> {
        match fs::metadata(path)?.is_dir() {
            true => Ok(NamedFolder(path.to_path_buf())),
            false => Err(ErrorKind::NotADirectory.into()),
        }
    }

    pub(crate) fn folder(&self, name: &str) -> io::Result<NamedFolder> {
        self.descend(&parts(name)?, false)
    }

    pub(crate) fn make_folder(&self, name: &str) -> io::Result<NamedFolder> {
        self.descend(&parts(name)?, true)
    }

    fn descend(&self, parts: &[&str], make: bool) -> io::Result<NamedFolder> {
        let mut path = self.0.clone();
        for part in parts {
            path.push(part);
            let found = match fs::symlink_metadata(&path) {
                Err(e) if make && e.kind() == ErrorKind::NotFound => {
                    fs::create_dir(&path).or_else(|e| if path.is_dir() { Ok(()) } else { Err(e) })?;
                    continue;
                }
                found => found?,
            };
            match found.is_dir() {
                true => {}
                false if found.is_symlink() => return Err(is_link()),
                false => return Err(ErrorKind::NotADirectory.into()),
            }
        }
        Ok(NamedFolder(path))
    }

    pub(crate) fn file(&self, name: &str) -> io::Result<File> {
        let path = self.path_of(name)?;
        check_regular(&path)?;
        File::open(path)
    }

    pub(crate) fn lock_file(&self, name: &str) -> io::Result<File> {
        let path = self.path_of(name)?;
        match check_regular(&path) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        File::options().create(true).truncate(false).read(true).write(true).open(path)
    }

    pub(crate) fn create_new(&self, name: &OsStr) -> io::Result<File> {
        File::options().read(true).write(true).create_new(true).open(self.0.join(name))
    }

    pub(crate) fn exists(&self, name: &str) -> io::Result<bool> {
        match self.path_of(name).and_then(fs::symlink_metadata) {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// An open file cannot be removed on such systems.
    #[cfg(not(unix))]
    pub(crate) fn is_at(&self, _file: &File, name: &str) -> io::Result<bool> {
        self.exists(name)
    }

    pub(crate) fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        fs::rename(self.0.join(from), self.0.join(to))
    }

    pub(crate) fn link(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        fs::hard_link(self.0.join(from), self.0.join(to))
    }

    pub(crate) fn remove(&self, name: &OsStr) -> io::Result<()> {
        fs::remove_file(self.0.join(name))
    }

    pub(crate) fn remove_file(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path_of(name)?)
    }

    pub(crate) fn remove_folder(&self, name: &str) -> io::Result<()> {
        let path = self.path_of(name)?;
        if fs::symlink_metadata(&path)?.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
    }

    pub(crate) fn names(&self, name: &str) -> io::Result<Vec<OsString>> {
        fs::read_dir(self.folder(name)?.0)?.map(|entry| Ok(entry?.file_name())).collect()
    }

    /// Such systems keep the order of names themselves.
    pub(crate) fn sync(&self, name: &str) -> io::Result<()> {
        self.folder(name).map(drop)
    }

    pub(crate) fn sync_tree(&self, name: &str) -> io::Result<()> {
        let folder = self.folder(name)?;
        for entry in folder.names("")? {
            let inner = entry.to_str().ok_or(ErrorKind::InvalidFilename)?;
            match fs::symlink_metadata(folder.0.join(&entry))?.is_dir() {
                true => folder.sync_tree(inner)?,
                false => {
                    check_regular(&folder.0.join(&entry))?;
                    File::options().write(true).open(folder.0.join(inner))?.sync_all()?;
                }
            }
        }
        Ok(())
    }

    fn path_of(&self, name: &str) -> io::Result<PathBuf> {
        let (above, last) = folder_and_last(name)?;
        Ok(self.descend(&above, false)?.0.join(last))
    }
}

fn check_regular(path: &Path) -> io::Result<()> {
    let found = fs::symlink_metadata(path)?;
    match found.is_file() {
        true => Ok(()),
        false if found.is_symlink() => Err(is_link()),
        false => Err(no_file()),
    }
}
