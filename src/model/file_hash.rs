//! The hashes of a model's files, so that a large one is read for its hash only once.
//!
//! A hash is kept together with what the file system says of the file: where it is, how long it is, when it was modified and
//! when anything about it was changed. Nobody can set the last of these, so a file of which all of it is the same has the
//! same bytes. A file that was changed moments before it was hashed is not kept, because a second change might bear the same
//! time. The record outlives the process, in `descry/hashes.json` below `XDG_CACHE_HOME` or `~/.cache`; where it cannot be
//! read or written, files are hashed.
//!
//! Memory: at most [`MOST`] hashes.

use std::collections::VecDeque;
use std::fs::{File, Metadata};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::atomic_file::AtomicFile;
use crate::digest::sha256_of;
use crate::limited_file::read_bytes;
use crate::program_files::ProgramFiles;

/// Smaller files are hashed in no time, and are not kept.
const LEAST: u64 = 1 << 20;
/// Most hashes that are kept; the oldest go first.
const MOST: usize = 512;
/// Largest record that is read, in bytes. One hash takes less than 300.
const LARGEST: u64 = 1 << 20;
const FORMAT: &str = "descry-hashes/1";
/// How long before it is hashed a file must have been left alone. File systems keep times in steps of up to two seconds.
const SETTLED: Duration = Duration::from_secs(3);

/// What the file system says of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileStamp {
    device: u64,
    inode: u64,
    bytes: u64,
    /// In nanoseconds since 1970, like `changed`.
    modified: i64,
    changed: i64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct KeptHash {
    #[serde(flatten)]
    stamp: FileStamp,
    sha256: String,
}

#[derive(Serialize, Deserialize)]
struct Record {
    format: String,
    files: VecDeque<KeptHash>,
}

/// The hashes that are known, and the file that keeps them.
struct KnownHashes {
    path: Option<PathBuf>,
    files: VecDeque<KeptHash>,
}

static KNOWN: LazyLock<Mutex<KnownHashes>> = LazyLock::new(|| Mutex::new(KnownHashes::open(record_path())));
static HASH_ALL: AtomicBool = AtomicBool::new(false);

/// From now on, this process reads every file for its hash, whatever is known of it.
pub fn hash_every_file() {
    HASH_ALL.store(true, Ordering::Relaxed);
}

/// The SHA-256 of a file, in hexadecimal.
///
/// # Errors
/// Those of reading it.
pub(crate) fn file_sha256(file: &File) -> io::Result<String> {
    let before = FileStamp::of(&file.metadata()?);
    if let Some(hash) = before.filter(|_| !HASH_ALL.load(Ordering::Relaxed)).and_then(|stamp| known().hash(stamp)) {
        return Ok(hash);
    }
    let settled = before.is_some_and(FileStamp::is_settled);
    let sha256 = sha256_of(file)?;
    if let Some(stamp) = before.filter(|_| settled)
        && FileStamp::of(&file.metadata()?) == Some(stamp)
    {
        known().keep(KeptHash { stamp, sha256: sha256.clone() });
    }
    Ok(sha256)
}

/// Whether this process knows that a file with this stamp has this hash.
pub(crate) fn is_known(stamp: Option<FileStamp>, sha256: &str) -> bool {
    stamp.and_then(|stamp| known().hash(stamp)).is_some_and(|known| known.eq_ignore_ascii_case(sha256))
}

fn known() -> MutexGuard<'static, KnownHashes> {
    KNOWN.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Where the record is. Tests of this crate keep none.
fn record_path() -> Option<PathBuf> {
    if cfg!(test) {
        return None;
    }
    Some(ProgramFiles::of_this_program().user_cache()?.join("hashes.json"))
}

impl FileStamp {
    /// `None` for small files, and where the system does not say when a file was changed.
    pub(crate) fn of(meta: &Metadata) -> Option<FileStamp> {
        if meta.len() < LEAST || !meta.is_file() {
            return None;
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            let nanoseconds = |s: i64, ns: i64| s.saturating_mul(1_000_000_000).saturating_add(ns);
            Some(FileStamp {
                device: meta.dev(),
                inode: meta.ino(),
                bytes: meta.len(),
                modified: nanoseconds(meta.mtime(), meta.mtime_nsec()),
                changed: nanoseconds(meta.ctime(), meta.ctime_nsec()),
            })
        }
        #[cfg(not(unix))]
        None
    }

    /// Whether the last change was long enough ago that another one would bear another time.
    fn is_settled(self) -> bool {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let latest = self.modified.max(self.changed);
        let age = i64::try_from(now.as_nanos()).unwrap_or(i64::MAX).saturating_sub(latest);
        age >= i64::try_from(SETTLED.as_nanos()).unwrap_or(i64::MAX)
    }
}

impl KnownHashes {
    fn open(path: Option<PathBuf>) -> KnownHashes {
        let files = path.as_deref().and_then(read_record).unwrap_or_default();
        KnownHashes { path, files }
    }

    fn hash(&self, stamp: FileStamp) -> Option<String> {
        self.files.iter().rev().find(|kept| kept.stamp == stamp).map(|kept| kept.sha256.clone())
    }

    fn keep(&mut self, kept: KeptHash) {
        // Another process may have kept more meanwhile.
        if let Some(files) = self.path.as_deref().and_then(read_record) {
            self.files = files;
        }
        self.files.retain(|old| old.stamp != kept.stamp);
        self.files.push_back(kept);
        while self.files.len() > MOST {
            self.files.pop_front();
        }
        if let Some(path) = &self.path
            && let Err(e) = write_record(path, &self.files)
        {
            tracing::debug!("{}: hashes of models are not kept: {e}", path.display());
        }
    }
}

/// What a record holds; `None` if there is none, or it is not one.
fn read_record(path: &Path) -> Option<VecDeque<KeptHash>> {
    let bytes = read_bytes(path, LARGEST).ok()?;
    let record: Record = serde_json::from_slice(&bytes).ok()?;
    (record.format == FORMAT && record.files.len() <= MOST).then_some(record.files)
}

fn write_record(path: &Path, files: &VecDeque<KeptHash>) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let record = Record { format: FORMAT.into(), files: files.clone() };
    let mut file = AtomicFile::create(path, true)?;
    file.write_all(&serde_json::to_vec(&record)?)?;
    file.commit_unsynced().map(drop).map_err(|e| io::Error::other(format!("{e:?}")))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn large(dir: &Path, byte: u8) -> PathBuf {
        let path = dir.join("weights");
        std::fs::write(&path, vec![byte; LEAST as usize]).unwrap();
        path
    }

    fn stamp(path: &Path) -> FileStamp {
        FileStamp::of(&path.metadata().unwrap()).unwrap()
    }

    #[test]
    fn a_record_outlives_its_process_and_forgets_the_oldest() {
        let dir = tempfile::tempdir().unwrap();
        let (path, record) = (large(dir.path(), 1), dir.path().join("cache/descry/hashes.json"));
        let first = stamp(&path);
        let mut known = KnownHashes::open(Some(record.clone()));
        known.keep(KeptHash { stamp: first, sha256: "a".repeat(64) });
        assert_eq!(KnownHashes::open(Some(record.clone())).hash(first), Some("a".repeat(64)));
        for n in 0..MOST as u64 {
            known.keep(KeptHash { stamp: FileStamp { inode: n, device: 9, ..first }, sha256: format!("{n:064}") });
        }
        let known = KnownHashes::open(Some(record));
        assert_eq!((known.files.len(), known.hash(first)), (MOST, None));
    }

    #[test]
    fn any_change_makes_another_stamp() {
        let dir = tempfile::tempdir().unwrap();
        let path = large(dir.path(), 1);
        let (before, modified) = (stamp(&path), path.metadata().unwrap().modified().unwrap());
        std::thread::sleep(Duration::from_millis(20));
        large(dir.path(), 2);
        // The time of modification can be set back, that of the change cannot.
        File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        let after = stamp(&path);
        assert_eq!((before.bytes, before.inode, before.modified), (after.bytes, after.inode, after.modified));
        assert_ne!(before, after);
    }

    #[test]
    fn what_was_changed_just_now_is_hashed_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = large(dir.path(), 1);
        let hash = file_sha256(&File::open(&path).unwrap()).unwrap();
        assert!(!stamp(&path).is_settled() && !is_known(Some(stamp(&path)), &hash));
        let old = FileStamp { modified: 0, changed: 0, ..stamp(&path) };
        assert!(old.is_settled());
    }

    #[test]
    fn records_that_are_none_are_ignored() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hashes.json");
        for text in ["", "[", "{\"format\":\"other\",\"files\":[]}", "{\"format\":\"descry-hashes/1\"}"] {
            std::fs::write(&path, text).unwrap();
            assert!(read_record(&path).is_none(), "{text}");
        }
        assert!(FileStamp::of(&path.metadata().unwrap()).is_none(), "small files are not kept");
    }
}
