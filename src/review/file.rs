//! The document on the disk: `film.review.json`.
//!
//! A save replaces the whole file atomically. Between two saves somebody else may have changed it: an editor on another
//! machine, a synchronised folder, a version that was restored. Such a change is noticed before the file is replaced, and
//! then both versions are kept. A lock keeps a second descry on this machine out.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::document::ReviewDocument;
use super::outline::ReviewOutline;
use crate::atomic_file::{AtomicFile, CommitError};
use crate::error::{Error, Result};
use crate::limited_file::read_bytes;
use crate::message::Setting;
use crate::open_folder::{NamedLock, open_folder_of};

/// Largest file that is read, in bytes: a hundred times that of a long film with a long history.
pub const LARGEST_REVIEW: u64 = 256 << 20;
/// What to do about a file that holds no review.
const REMEDY: &str = "Restore a version that works, or rename this file, and the review begins anew.";
/// How many copies of one file may lie beside it.
const MOST_COPIES: u32 = 1_000;

/// Where the review of a film is kept: `film.review.json` beside `film.mp4`.
pub fn review_path(film: &Path) -> PathBuf {
    film.with_extension("review.json")
}

/// What became of a save.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SaveOutcome {
    /// The file holds the document.
    Saved,
    /// Somebody else has changed the file, which was left alone. The document is in this file instead.
    ChangedOnDisk {
        /// The file beside it.
        copy: PathBuf,
    },
}

/// The file of a document, which this process alone has open.
#[derive(Debug)]
pub struct ReviewFile {
    path: PathBuf,
    /// The file as it was read or written last; none if there was none.
    stamp: Option<DiskStamp>,
    /// Where the document is kept while the file holds somebody else's.
    copy: Option<PathBuf>,
    _lock: NamedLock,
}

/// Tells two states of a file apart.
#[derive(Debug, Clone, PartialEq, Eq)]
struct DiskStamp {
    length: u64,
    modified: Option<SystemTime>,
    #[cfg(unix)]
    inode: u64,
}

impl DiskStamp {
    fn of(metadata: &Metadata) -> DiskStamp {
        DiskStamp {
            length: metadata.len(),
            modified: metadata.modified().ok(),
            #[cfg(unix)]
            inode: std::os::unix::fs::MetadataExt::ino(metadata),
        }
    }

    /// The state of a file; none if it is missing.
    fn read(path: &Path) -> io::Result<Option<DiskStamp>> {
        match fs::metadata(path) {
            Ok(metadata) => Ok(Some(DiskStamp::of(&metadata))),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }
}

/// Locks a review by a file beside it; none where another process has locked it.
///
/// # Errors
/// If the folder cannot be written.
pub(crate) fn try_lock_review(path: &Path) -> Result<Option<NamedLock>> {
    let last = path.file_name().unwrap_or_default().to_string_lossy();
    let lock = open_folder_of(path).and_then(|folder| NamedLock::try_take(folder, format!(".{last}.lock")));
    lock.map_err(|e| Error::write(path.display().to_string(), &e, Setting::Review))
}

/// The error for a review that another process has locked.
pub(crate) fn is_reviewed(shown: &str) -> Error {
    let remedy = "Use the page that is open already, or end the other descry first.";
    Error::output(shown, "another descry reviews this film", remedy)
}

impl ReviewFile {
    /// Locks the file and reads its document; none if there is no file yet.
    ///
    /// # Errors
    /// If another process has it open, its folder cannot be written, or it cannot be read or holds no review.
    pub fn open(path: &Path) -> Result<(ReviewFile, Option<ReviewDocument>)> {
        let lock = try_lock_review(path)?.ok_or_else(|| is_reviewed(&path.display().to_string()))?;
        let mut file = ReviewFile { path: path.into(), stamp: None, copy: None, _lock: lock };
        let document = file.read()?;
        Ok((file, document))
    }

    /// The document of a file that is only looked at; none if there is no file.
    ///
    /// # Errors
    /// If it cannot be read or holds no review.
    pub fn read_only(path: &Path) -> Result<Option<ReviewDocument>> {
        match DiskStamp::read(path) {
            Ok(Some(_)) => read_document(path).map(Some),
            Ok(None) => Ok(None),
            Err(e) => Err(Error::read(path.display().to_string(), &e)),
        }
    }

    /// The review of a file that is only looked at, without its changes; none if there is no file.
    ///
    /// # Errors
    /// If it cannot be read or holds no review.
    pub fn outline(path: &Path) -> Result<Option<ReviewOutline>> {
        let shown = path.display().to_string();
        let bytes = match read_bytes(path, LARGEST_REVIEW) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            read => read.map_err(|e| Error::read(&*shown, &e))?,
        };
        ReviewOutline::parse(&bytes).map(Some).map_err(|cause| Error::input(shown, cause, REMEDY))
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file, and takes its state as the known one.
    ///
    /// # Errors
    /// If it cannot be read or holds no review.
    pub fn read(&mut self) -> Result<Option<ReviewDocument>> {
        let shown = self.path.display().to_string();
        let stamp = DiskStamp::read(&self.path).map_err(|e| Error::read(&*shown, &e))?;
        if stamp.is_none() {
            self.stamp = None;
            return Ok(None);
        }
        let document = read_document(&self.path)?;
        (self.stamp, self.copy) = (stamp, None);
        Ok(Some(document))
    }

    /// Writes the document, unless somebody else has changed the file: then it is written beside it.
    ///
    /// # Errors
    /// If it cannot be written. The file is as before then.
    pub fn save(&mut self, document: &ReviewDocument) -> Result<SaveOutcome> {
        let now = DiskStamp::read(&self.path).map_err(|e| self.fail(&e))?;
        if now == self.stamp {
            self.write(document)?;
            return Ok(SaveOutcome::Saved);
        }
        let copy = match &self.copy {
            Some(copy) => copy.clone(),
            None => self.free_name("mine").map_err(|e| self.fail(&e))?,
        };
        write_document(&copy, document).map_err(|e| self.fail(&e))?;
        self.copy = Some(copy.clone());
        Ok(SaveOutcome::ChangedOnDisk { copy })
    }

    /// Writes the document although somebody else has changed the file. Theirs gets another name, which is returned; none if
    /// there is no file any more.
    ///
    /// # Errors
    /// If it cannot be renamed or written.
    pub fn replace(&mut self, document: &ReviewDocument) -> Result<Option<PathBuf>> {
        let theirs = match DiskStamp::read(&self.path).map_err(|e| self.fail(&e))? {
            Some(stamp) if Some(&stamp) != self.stamp.as_ref() => {
                let name = self.free_name("theirs").map_err(|e| self.fail(&e))?;
                fs::rename(&self.path, &name).map_err(|e| self.fail(&e))?;
                Some(name)
            }
            _ => None,
        };
        self.write(document)?;
        // What was kept beside the file is in it now.
        if let Some(copy) = self.copy.take() {
            let _ = fs::remove_file(copy);
        }
        Ok(theirs)
    }

    fn write(&mut self, document: &ReviewDocument) -> Result<()> {
        let stamp = write_document(&self.path, document).map_err(|e| self.fail(&e))?;
        self.stamp = Some(stamp);
        Ok(())
    }

    fn fail(&self, e: &io::Error) -> Error {
        Error::write(self.path.display().to_string(), e, Setting::Review)
    }

    /// A name beside the file that nothing has: `film.review.mine-1.json`.
    fn free_name(&self, word: &str) -> io::Result<PathBuf> {
        let stem = self.path.file_stem().unwrap_or_default();
        for number in 1..=MOST_COPIES {
            let mut name = OsString::from(stem);
            name.push(format!(".{word}-{number}.json"));
            let path = self.path.with_file_name(name);
            if fs::symlink_metadata(&path).is_err_and(|e| e.kind() == ErrorKind::NotFound) {
                return Ok(path);
            }
        }
        Err(io::Error::new(ErrorKind::AlreadyExists, "there are too many copies of this file beside it"))
    }
}

/// # Errors
/// If the file cannot be read or holds no review.
fn read_document(path: &Path) -> Result<ReviewDocument> {
    let shown = path.display().to_string();
    let bytes = read_bytes(path, LARGEST_REVIEW).map_err(|e| Error::read(&*shown, &e))?;
    ReviewDocument::parse(&bytes).map_err(|cause| Error::input(shown, cause, REMEDY))
}

fn write_document(path: &Path, document: &ReviewDocument) -> io::Result<DiskStamp> {
    let mut file = AtomicFile::create(path, true)?;
    serde_json::to_writer_pretty(&mut file, document)?;
    writeln!(file)?;
    let file = file.commit().map_err(|e| match e {
        CommitError::Io(e) => e,
        CommitError::Exists(_) => ErrorKind::AlreadyExists.into(),
    })?;
    Ok(DiskStamp::of(&file.metadata()?))
}

#[cfg(test)]
mod tests {
    use super::super::Edit;
    use super::super::tests::{cue, document};
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn edited(document: &ReviewDocument, text: &str) -> ReviewDocument {
        let mut document = document.clone();
        let (start, end) = (crate::time::Time::from_millis(5_000), crate::time::Time::from_millis(6_000));
        document.edit(&Edit::Add { start, end, text: text.into() }, "ann", "2026-01-01T00:00:00Z").unwrap().unwrap();
        document
    }

    #[test]
    fn a_document_is_what_was_saved() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("film.review.json");
        let (mut file, none) = ReviewFile::open(&path).unwrap();
        assert!(none.is_none());
        let first = edited(&document(vec![cue(1, 0, 1_234, "A \"dog\"\nruns — ü.")]), "A cat.");
        assert_eq!(file.save(&first).unwrap(), SaveOutcome::Saved);
        let second = edited(&first, "A cow.");
        assert_eq!(file.save(&second).unwrap(), SaveOutcome::Saved);
        let busy = ReviewFile::open(&path).unwrap_err().to_string();
        assert!(busy.contains("another descry"), "{busy}");
        drop(file);
        let (_file, read) = ReviewFile::open(&path).unwrap();
        assert_eq!(read.unwrap(), second);
        drop(_file);
        assert_eq!(names(folder.path()), ["film.review.json"]);
    }

    #[test]
    fn a_change_on_the_disk_loses_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("film.review.json");
        let (mut file, _) = ReviewFile::open(&path).unwrap();
        let base = document(vec![cue(1, 0, 1_000, "A dog.")]);
        file.save(&base).unwrap();
        let theirs = edited(&base, "theirs");
        fs::write(&path, serde_json::to_vec(&theirs).unwrap()).unwrap();
        let mine = edited(&base, "mine");
        let copy = folder.path().join("film.review.mine-1.json");
        assert_eq!(file.save(&mine).unwrap(), SaveOutcome::ChangedOnDisk { copy: copy.clone() });
        // Later saves go to the same copy.
        let mine = edited(&mine, "more");
        assert_eq!(file.save(&mine).unwrap(), SaveOutcome::ChangedOnDisk { copy: copy.clone() });
        let read = |path: &Path| -> ReviewDocument { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
        assert_eq!((read(&path), read(&copy)), (theirs.clone(), mine.clone()));
        let kept = file.replace(&mine).unwrap().unwrap();
        assert_eq!((read(&path), read(&kept), copy.exists()), (mine.clone(), theirs, false));
        assert_eq!(file.save(&edited(&mine, "and more")).unwrap(), SaveOutcome::Saved);
        // A file that is gone is a change too.
        fs::remove_file(&path).unwrap();
        assert!(matches!(file.save(&mine).unwrap(), SaveOutcome::ChangedOnDisk { .. }));
        assert_eq!(file.replace(&mine).unwrap(), None);
        assert_eq!(read(&path), mine);
    }

    #[test]
    fn what_is_no_review_is_named_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("film.review.json");
        for (bytes, word) in [("{", "EOF"), ("{\"a\":1}", "unknown field"), ("", "EOF"), ("[]", "invalid")] {
            fs::write(&path, bytes).unwrap();
            let e = ReviewFile::open(&path).unwrap_err().to_string();
            assert!(e.contains("film.review.json") && e.contains(word), "{e}");
            assert_eq!(fs::read_to_string(&path).unwrap(), bytes);
        }
        let mut bad = document(vec![cue(1, 0, 1_000, "A dog.")]);
        bad.next_id = 0;
        fs::write(&path, serde_json::to_vec(&bad).unwrap()).unwrap();
        assert!(ReviewFile::open(&path).unwrap_err().to_string().contains("next_id"));
    }
}
