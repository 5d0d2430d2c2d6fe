//! Folders by file descriptor: every part of a name is opened with `openat` and `O_NOFOLLOW`.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use nix::NixPath;
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, linkat, unlinkat};

use super::{folder_and_last, is_link, no_file, parts};

/// A folder that is open; see [the module](super).
#[derive(Debug)]
pub(crate) struct OpenFolder(OwnedFd);

impl OpenFolder {
    /// Opens a folder that the caller names, which may be a link.
    pub(crate) fn open(path: &Path) -> io::Result<OpenFolder> {
        let open = |how| retry(|| openat(AT_FDCWD, path, how | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty()));
        let opened = open(OFlag::O_RDONLY).or_else(|e| match e {
            // Files may be made in a folder whose names this user may not read.
            #[cfg(target_os = "linux")]
            Errno::EACCES => open(OFlag::O_PATH),
            e => Err(e),
        });
        Ok(OpenFolder(opened?))
    }

    /// A folder below this one; this one where the name is empty.
    pub(crate) fn folder(&self, name: &str) -> io::Result<OpenFolder> {
        let mut folder = self.inner(".")?;
        for part in parts(name)? {
            folder = folder.inner(part)?;
        }
        Ok(folder)
    }

    /// A folder below this one. Makes it, and those above it, where they are missing.
    pub(crate) fn make_folder(&self, name: &str) -> io::Result<OpenFolder> {
        let mut folder = self.inner(".")?;
        for part in parts(name)? {
            folder = folder.inner(part).or_else(|e| {
                if e.kind() != ErrorKind::NotFound {
                    return Err(e);
                }
                // Another process may make it at the same time.
                match mkdirat(&folder.0, part, Mode::from_bits_truncate(0o777)) {
                    Ok(()) | Err(Errno::EEXIST) => folder.inner(part),
                    Err(e) => Err(e.into()),
                }
            })?;
        }
        Ok(folder)
    }

    /// Opens a regular file for reading.
    pub(crate) fn file(&self, name: &str) -> io::Result<File> {
        self.regular(name, OFlag::O_RDONLY)
    }

    /// Opens a regular file that is to be locked. Makes it where it is missing, and never changes what it holds.
    pub(crate) fn lock_file(&self, name: &str) -> io::Result<File> {
        self.regular(name, OFlag::O_RDWR | OFlag::O_CREAT)
    }

    fn regular(&self, name: &str, how: OFlag) -> io::Result<File> {
        let (folder, last) = self.folder_of(name)?;
        // A pipe must not make descry wait for its other end.
        let file = File::from(folder.openat(last.as_ref(), how | OFlag::O_NONBLOCK)?);
        if file.metadata()?.is_file() { Ok(file) } else { Err(no_file()) }
    }

    /// Makes a file of this folder that must not exist yet, with the permissions of any new file.
    pub(crate) fn create_new(&self, name: &OsStr) -> io::Result<File> {
        self.openat(name, OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL).map(File::from)
    }

    /// Whether something has a name.
    pub(crate) fn exists(&self, name: &str) -> io::Result<bool> {
        let found = self.folder_of(name).and_then(|(folder, last)| folder.stat(last));
        match found {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Whether an open file still has a name in this folder.
    pub(crate) fn is_at(&self, file: &File, name: &str) -> io::Result<bool> {
        use std::os::unix::fs::MetadataExt;
        let there = match self.folder_of(name).and_then(|(folder, last)| folder.stat(last)) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(false),
            there => there?,
        };
        let open = file.metadata()?;
        // The types of the two differ between systems.
        let same_disk = i128::from(open.dev()) == i128::from(there.st_dev);
        Ok(same_disk && i128::from(open.ino()) == i128::from(there.st_ino))
    }

    /// Renames a file of this folder, in place of what has the new name.
    pub(crate) fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        Ok(renameat(&self.0, from, &self.0, to)?)
    }

    /// Gives a file of this folder a second name, unless something has it.
    pub(crate) fn link(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        Ok(linkat(&self.0, from, &self.0, to, AtFlags::empty())?)
    }

    /// Removes a file of this folder.
    pub(crate) fn remove(&self, name: &OsStr) -> io::Result<()> {
        Ok(unlinkat(&self.0, name, UnlinkatFlags::NoRemoveDir)?)
    }

    /// Removes a file below this folder.
    pub(crate) fn remove_file(&self, name: &str) -> io::Result<()> {
        let (folder, last) = self.folder_of(name)?;
        folder.remove(last.as_ref())
    }

    /// Removes a folder below this one with everything in it. Links go; what they name stays.
    pub(crate) fn remove_folder(&self, name: &str) -> io::Result<()> {
        let (folder, last) = self.folder_of(name)?;
        folder.remove_tree(last.as_ref())
    }

    fn remove_tree(&self, name: &OsStr) -> io::Result<()> {
        let stat = self.stat(name)?;
        if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT != SFlag::S_IFDIR {
            return self.remove(name);
        }
        let inner = self.inner(name)?;
        for entry in inner.entries()? {
            inner.remove_tree(&entry)?;
        }
        Ok(unlinkat(&self.0, name, UnlinkatFlags::RemoveDir)?)
    }

    /// The names in a folder below this one, in no order.
    pub(crate) fn names(&self, name: &str) -> io::Result<Vec<OsString>> {
        self.folder(name)?.entries()
    }

    fn entries(&self) -> io::Result<Vec<OsString>> {
        let mut dir = Dir::from_fd(self.inner(".")?.0)?;
        let mut names = Vec::new();
        for entry in dir.iter() {
            let name = OsString::from_vec(entry?.file_name().to_bytes().to_vec());
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// Brings the names in a folder to the disk, and those in every folder from there up to this one.
    pub(crate) fn sync(&self, name: &str) -> io::Result<()> {
        let mut folders = match self.inner(".") {
            // A folder can only be synced by a user who may read it.
            Err(e) if e.kind() == ErrorKind::PermissionDenied => return Ok(()),
            folder => vec![folder?],
        };
        for part in parts(name)? {
            let inner = folders[folders.len() - 1].inner(part)?;
            folders.push(inner);
        }
        folders.into_iter().rev().try_for_each(|folder| sync_names(File::from(folder.0)))
    }

    /// Brings a folder and everything in it to the disk.
    pub(crate) fn sync_tree(&self, name: &str) -> io::Result<()> {
        let folder = self.folder(name)?;
        for entry in folder.entries()? {
            let stat = folder.stat(&entry)?;
            match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
                SFlag::S_IFDIR => folder.sync_tree(entry.to_str().ok_or(ErrorKind::InvalidFilename)?)?,
                SFlag::S_IFREG => File::from(folder.openat(&entry, OFlag::O_RDONLY)?).sync_all()?,
                _ => return Err(no_file()),
            }
        }
        sync_names(File::from(folder.0))
    }

    fn folder_of<'a>(&self, name: &'a str) -> io::Result<(OpenFolder, &'a str)> {
        let (above, last) = folder_and_last(name)?;
        let mut folder = self.inner(".")?;
        for part in above {
            folder = folder.inner(part)?;
        }
        Ok((folder, last))
    }

    fn inner<P: ?Sized + NixPath + AsRef<OsStr>>(&self, part: &P) -> io::Result<OpenFolder> {
        self.openat(part.as_ref(), OFlag::O_DIRECTORY).map(OpenFolder)
    }

    fn openat(&self, part: &OsStr, how: OFlag) -> io::Result<OwnedFd> {
        let how = how | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        retry(|| openat(&self.0, part, how, Mode::from_bits_truncate(0o666))).map_err(|e| match e {
            // The systems do not agree on the error for a link.
            Errno::ELOOP | Errno::ENOTDIR | Errno::EMLINK if self.holds_link(part) => is_link(),
            e => e.into(),
        })
    }

    fn holds_link(&self, part: &OsStr) -> bool {
        self.stat(part).is_ok_and(|s| SFlag::from_bits_truncate(s.st_mode) & SFlag::S_IFMT == SFlag::S_IFLNK)
    }

    fn stat<P: ?Sized + AsRef<OsStr>>(&self, part: &P) -> io::Result<FileStat> {
        Ok(fstatat(&self.0, part.as_ref().as_bytes(), AtFlags::AT_SYMLINK_NOFOLLOW)?)
    }
}

/// Some file systems cannot sync a folder, and need not.
fn sync_names(folder: File) -> io::Result<()> {
    match folder.sync_all() {
        Err(e) if e.raw_os_error() == Some(Errno::EINVAL as i32) => Ok(()),
        synced => synced,
    }
}

/// A signal may interrupt opening a file on the network.
fn retry<T>(open: impl Fn() -> nix::Result<T>) -> nix::Result<T> {
    loop {
        match open() {
            Err(Errno::EINTR) => {}
            done => return done,
        }
    }
}
