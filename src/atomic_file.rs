//! Files that appear whole or not at all.
//!
//! The bytes go to a temporary file in the same folder, `NAME.xxxxxx.part`, and get their name when all are on the disk. A
//! run that is killed leaves at most such a `.part` file behind.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

/// A file that is being written. Dropped before [`AtomicFile::commit`], it leaves nothing behind.
#[derive(Debug)]
pub(crate) struct AtomicFile {
    file: io::BufWriter<NamedTempFile>,
    path: PathBuf,
    overwrite: bool,
}

/// Why a file did not get its name.
#[derive(Debug)]
pub(crate) enum CommitError {
    /// Something else has the name. The bytes are kept under this path.
    Exists(PathBuf),
    /// They could not be written or renamed; nothing is left of them.
    Io(io::Error),
}

/// The bytes that a part's name adds: a dot, six random letters and `.part`.
const NAME_TAIL: usize = ".xxxxxx.part".len();
/// Longest file name of common file systems, in bytes.
const LONGEST_NAME: usize = 255;

impl AtomicFile {
    /// Begins a file that will be named `path`. With `overwrite` it replaces whatever has that name by then.
    ///
    /// # Errors
    /// When the temporary file cannot be created, or `path` has no file name.
    pub(crate) fn create(path: &Path, overwrite: bool) -> io::Result<AtomicFile> {
        let name = path.file_name().ok_or(ErrorKind::InvalidInput)?;
        if name.len() > LONGEST_NAME {
            return Err(ErrorKind::InvalidFilename.into());
        }
        let mut prefix = name.to_os_string();
        if name.len() + NAME_TAIL > LONGEST_NAME {
            // The random letters keep shortened names apart.
            prefix = name.to_string_lossy().chars().take(40).collect::<String>().into();
        }
        prefix.push(".");
        let mut builder = Builder::new();
        builder.prefix(&prefix).suffix(".part");
        // The permissions of any new file; the system applies the user's mask.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = builder.tempfile_in(folder)?;
        Ok(AtomicFile { file: io::BufWriter::new(file), path: path.to_path_buf(), overwrite })
    }

    /// Brings the bytes to the disk and gives them their name. Returns the open file.
    ///
    /// # Errors
    /// [`CommitError::Exists`] where something has the name and must not be replaced, even if it came this moment.
    pub(crate) fn commit(self) -> Result<fs::File, CommitError> {
        self.finish(true)
    }

    /// Gives the file its name without waiting for the disk: for files that are worthless after a crash of the machine, and
    /// for callers that sync many files at once, later.
    ///
    /// # Errors
    /// As [`AtomicFile::commit`].
    pub(crate) fn commit_unsynced(self) -> Result<fs::File, CommitError> {
        self.finish(false)
    }

    fn finish(self, sync: bool) -> Result<fs::File, CommitError> {
        let file = self.file.into_inner().map_err(|e| CommitError::Io(e.into_error()))?;
        if sync {
            file.as_file().sync_all().map_err(CommitError::Io)?;
        }
        if self.overwrite {
            return file.persist(&self.path).map_err(|e| CommitError::Io(e.error));
        }
        let (file, error) = match file.persist_noclobber(&self.path) {
            Ok(file) => return Ok(file),
            Err(e) => (e.file, e.error),
        };
        if error.kind() == ErrorKind::AlreadyExists {
            return match file.keep() {
                Ok((_, kept)) => Err(CommitError::Exists(kept)),
                Err(e) => Err(CommitError::Io(e.error)),
            };
        }
        // File systems without hard links (FAT, some network shares): claim the name with an empty file, then replace it.
        fs::File::create_new(&self.path).map_err(CommitError::Io)?;
        file.persist(&self.path).map_err(|e| CommitError::Io(e.error))
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
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

/// Creates the folder of a file, one level deep.
///
/// # Errors
/// When the folder's own parent is missing or cannot be written.
pub(crate) fn create_folder_of(path: &Path) -> io::Result<()> {
    match path.parent().filter(|p| !p.as_os_str().is_empty() && !p.exists()) {
        Some(folder) => fs::create_dir(folder).or_else(|e| if folder.is_dir() { Ok(()) } else { Err(e) }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
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
}
