//! Files that appear whole or not at all.
//!
//! The bytes go to a temporary file in the same folder, `NAME.xxxxxx.part`, and get their name when all are on the disk. A
//! run that is killed leaves at most such a `.part` file behind.
//!
//! The temporary file is always a new one: its letters are random, and a file or a link that has its name already is left
//! alone. All happens in the folder that was opened at the start, even if that is renamed or replaced meanwhile.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::iter;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::message;
use crate::message::Setting;
use crate::open_folder::{OpenFolder, open_folder_of};

/// A file that is being written. Dropped before [`AtomicFile::commit`], it leaves nothing behind.
#[derive(Debug)]
pub(crate) struct AtomicFile {
    file: io::BufWriter<File>,
    part: PartName,
    path: PathBuf,
    overwrite: bool,
}

/// The temporary name, which is removed with this.
#[derive(Debug)]
struct PartName {
    folder: OpenFolder,
    /// None once the file has its own name.
    name: Option<OsString>,
}

/// Why a file did not get its name.
#[derive(Debug)]
pub(crate) enum CommitError {
    /// Something else has the name. The bytes are kept under this path.
    Exists(PathBuf),
    /// They could not be written or renamed; nothing is left of them.
    Io(io::Error),
}

/// Random letters in the name of a part.
const LETTERS: usize = 6;
/// The bytes that a part's name adds: a dot, the letters and `.part`.
const NAME_TAIL: usize = ".".len() + LETTERS + ".part".len();
/// Longest file name of common file systems, in bytes.
const LONGEST_NAME: usize = 255;
/// How often another name is tried where a part's name is taken.
const ATTEMPTS: usize = 100;

impl AtomicFile {
    /// Begins a file that will be named `path`. With `overwrite` it replaces whatever has that name by then.
    ///
    /// # Errors
    /// When the temporary file cannot be created, or `path` has no file name.
    pub(crate) fn create(path: &Path, overwrite: bool) -> io::Result<AtomicFile> {
        AtomicFile::create_in(open_folder_of(path)?, path, overwrite)
    }

    /// As [`AtomicFile::create`], in an open folder; only the last part of `path` is used, and the rest for messages.
    ///
    /// # Errors
    /// As [`AtomicFile::create`].
    pub(crate) fn create_in(folder: OpenFolder, path: &Path, overwrite: bool) -> io::Result<AtomicFile> {
        let name = path.file_name().ok_or(ErrorKind::InvalidInput)?;
        if name.len() > LONGEST_NAME {
            return Err(ErrorKind::InvalidFilename.into());
        }
        for _ in 0..ATTEMPTS {
            let part = part_name(name);
            match folder.create_new(&part) {
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e),
                Ok(file) => {
                    let part = PartName { folder, name: Some(part) };
                    return Ok(AtomicFile { file: io::BufWriter::new(file), part, path: path.into(), overwrite });
                }
            }
        }
        Err(ErrorKind::AlreadyExists.into())
    }

    /// Brings the bytes and their name to the disk. Returns the open file.
    ///
    /// # Errors
    /// [`CommitError::Exists`] where something has the name and must not be replaced, even if it came this moment.
    pub(crate) fn commit(self) -> Result<File, CommitError> {
        self.finish(true)
    }

    /// Gives the file its name without waiting for the disk: for files that are worthless after a crash of the machine, and
    /// for callers that sync many files at once, later.
    ///
    /// # Errors
    /// As [`AtomicFile::commit`].
    pub(crate) fn commit_unsynced(self) -> Result<File, CommitError> {
        self.finish(false)
    }

    fn finish(self, sync: bool) -> Result<File, CommitError> {
        let AtomicFile { file, mut part, path, overwrite } = self;
        let file = file.into_inner().map_err(|e| CommitError::Io(e.into_error()))?;
        if sync {
            file.sync_all().map_err(CommitError::Io)?;
        }
        if let Some(kept) = part.persist(path.file_name().unwrap_or_default(), overwrite).map_err(CommitError::Io)? {
            return Err(CommitError::Exists(path.with_file_name(kept)));
        }
        if sync {
            part.folder.sync("").map_err(CommitError::Io)?;
        }
        Ok(file)
    }
}

impl PartName {
    /// Gives the file its own name. Where that is taken and must not be replaced, returns the name that it keeps.
    fn persist(&mut self, to: &OsStr, overwrite: bool) -> io::Result<Option<OsString>> {
        let Some(part) = self.name.take() else { return Ok(None) };
        let renamed = if overwrite { self.folder.rename(&part, to) } else { self.link(&part, to) };
        match renamed {
            Ok(()) => Ok(None),
            Err(e) if !overwrite && e.kind() == ErrorKind::AlreadyExists => Ok(Some(part)),
            Err(e) => {
                self.name = Some(part);
                Err(e)
            }
        }
    }

    /// Renames a file, unless something has the new name.
    fn link(&self, part: &OsStr, to: &OsStr) -> io::Result<()> {
        match self.folder.link(part, to) {
            Ok(()) => {
                // The file has its name; a second one does no harm.
                let _ = self.folder.remove(part);
                Ok(())
            }
            // File systems without hard links (FAT, some network shares): claim the name with an empty file, then replace
            // it.
            Err(e) if lacks_links(&e) => {
                drop(self.folder.create_new(to)?);
                self.folder.rename(part, to).inspect_err(|_| {
                    let _ = self.folder.remove(to);
                })
            }
            Err(e) => Err(e),
        }
    }
}

impl Drop for PartName {
    fn drop(&mut self) {
        if let Some(part) = self.name.take() {
            let _ = self.folder.remove(&part);
        }
    }
}

/// Whether a file system refuses every hard link, or another one to this file.
fn lacks_links(e: &io::Error) -> bool {
    use ErrorKind::{InvalidInput, PermissionDenied, TooManyLinks, Unsupported};
    matches!(e.kind(), InvalidInput | PermissionDenied | TooManyLinks | Unsupported)
}

/// A new name for the part of a file.
fn part_name(name: &OsStr) -> OsString {
    let mut part = name.to_os_string();
    if name.len() + NAME_TAIL > LONGEST_NAME {
        // The random letters keep shortened names apart.
        part = name.to_string_lossy().chars().take(40).collect::<String>().into();
    }
    part.push(".");
    part.push(iter::repeat_with(fastrand::alphanumeric).take(LETTERS).collect::<String>());
    part.push(".part");
    part
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for AtomicFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

impl CommitError {
    /// The error for a file that the user named. `what` names what was written, such as `The description`.
    pub(crate) fn explain(self, path: &Path, what: &str) -> Error {
        let name = path.display().to_string();
        match self {
            CommitError::Exists(kept) => {
                let remedy = message![
                    format!("{what} is in {}: rename it, or run again with ", kept.display()),
                    Setting::Overwrite,
                    "."
                ];
                Error::output(name, "has appeared while descry was working, and is not replaced", remedy)
            }
            CommitError::Io(e) => Error::write(name, &e, Setting::Output),
        }
    }
}

impl From<CommitError> for io::Error {
    fn from(e: CommitError) -> io::Error {
        match e {
            CommitError::Exists(_) => ErrorKind::AlreadyExists.into(),
            CommitError::Io(e) => e,
        }
    }
}

/// Creates the folder of a file, one level deep, and brings its name to the disk.
///
/// # Errors
/// When the folder's own parent is missing or cannot be written.
pub(crate) fn create_folder_of(path: &Path) -> io::Result<()> {
    match path.parent().filter(|p| !p.as_os_str().is_empty() && !p.exists()) {
        Some(folder) => std::fs::create_dir(folder)
            .and_then(|()| open_folder_of(folder)?.sync(""))
            .or_else(|e| if folder.is_dir() && e.kind() == ErrorKind::AlreadyExists { Ok(()) } else { Err(e) }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    fn write(path: &Path, text: &str, overwrite: bool) -> Result<(), CommitError> {
        let mut file = AtomicFile::create(path, overwrite).map_err(CommitError::Io)?;
        file.write_all(text.as_bytes()).map_err(CommitError::Io)?;
        file.commit().map(drop)
    }

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.txt");
        let mut file = AtomicFile::create(&path, false).unwrap();
        file.write_all(b"half").unwrap();
        assert!(names(dir.path())[0].ends_with(".part"));
        drop(file);
        assert!(names(dir.path()).is_empty());
        write(&path, "one", false).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one");
        write(&path, "two", true).unwrap();
        assert_eq!((fs::read(&path).unwrap().as_slice(), names(dir.path()).len()), (b"two".as_slice(), 1));
    }

    #[test]
    fn what_is_not_replaced_stays_and_so_do_the_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.txt");
        fs::write(&path, "mine").unwrap();
        let Err(CommitError::Exists(kept)) = write(&path, "yours", false) else { panic!("it was replaced") };
        assert_eq!((fs::read(&path).unwrap(), fs::read(kept).unwrap()), (b"mine".to_vec(), b"yours".to_vec()));
    }

    #[test]
    fn names_may_be_as_long_as_the_system_allows() {
        let dir = tempfile::tempdir().unwrap();
        for (length, good) in [(10, true), (250, true), (255, true), (256, false)] {
            assert_eq!(write(&dir.path().join("x".repeat(length)), "", false).is_ok(), good, "{length}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn permissions_are_those_of_any_new_file() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let (ours, plain) = (dir.path().join("a"), dir.path().join("b"));
        write(&ours, "", false).unwrap();
        fs::write(&plain, "").unwrap();
        let mode = |path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(ours), mode(plain));
    }

    /// Anyone who may write to the folder can put links where the parts of earlier versions were, and make a link of every name
    /// that can be guessed.
    #[cfg(unix)]
    #[test]
    fn planted_links_are_not_followed() {
        use std::os::unix::fs::symlink;
        let dir = tempfile::tempdir().unwrap();
        let (victim, path) = (dir.path().join("victim"), dir.path().join("a.txt"));
        fs::write(&victim, "mine").unwrap();
        let folder = || OpenFolder::open(dir.path()).unwrap();
        symlink(&victim, dir.path().join("part")).unwrap();
        assert_eq!(folder().create_new("part".as_ref()).unwrap_err().kind(), ErrorKind::AlreadyExists);
        // A link of the file's own name is replaced itself, or left as it is.
        symlink(&victim, &path).unwrap();
        assert!(matches!(write(&path, "new", false), Err(CommitError::Exists(_))));
        write(&path, "new", true).unwrap();
        assert!(!fs::symlink_metadata(&path).unwrap().is_symlink());
        assert_eq!(fs::read(&victim).unwrap(), b"mine");
        // No two parts have one name.
        let parts: std::collections::HashSet<OsString> = (0..500).map(|_| part_name("a".as_ref())).collect();
        assert_eq!(parts.len(), 500);
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_that_is_exchanged_meanwhile_gets_nothing() {
        use std::os::unix::fs::symlink;
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("mine")).unwrap();
        fs::create_dir(at("victim")).unwrap();
        let mut file = AtomicFile::create(&at("mine/a.txt"), true).unwrap();
        file.write_all(b"a").unwrap();
        fs::rename(at("mine"), at("moved")).unwrap();
        symlink(at("victim"), at("mine")).unwrap();
        file.commit().unwrap();
        assert_eq!((names(&at("victim")).len(), names(&at("moved"))), (0, vec!["a.txt".to_string()]));
    }
}
