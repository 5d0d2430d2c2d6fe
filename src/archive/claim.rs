//! Claims: at most one process describes a video at a time.
//!
//! A claim is a locked file. The system releases the lock when the process ends, however it ends. In an object store there
//! are no claims: two processes may describe the same video, and write the same bytes.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::catalog::Archive;
use super::io_error::write_error;
use super::layout::{CLAIMS, claim_file, claim_key};
use crate::error::Result;

/// A video that this process alone describes. Dropping it releases the video.
#[derive(Debug)]
pub struct Claim {
    /// The lock and its path; none in an object store.
    lock: Option<(File, PathBuf)>,
}

impl Archive {
    /// Claims a video for this process, by its [key](super::video_key); none where another process has claimed it.
    ///
    /// # Errors
    /// The archive cannot be written.
    pub fn claim(&self, key: u64) -> Result<Option<Claim>> {
        let Some(root) = self.folder() else { return Ok(Some(Claim { lock: None })) };
        let folder = root.join(CLAIMS);
        let path = folder.join(claim_file(key));
        let fail = |e: io::Error| write_error(&path.display().to_string(), &e);
        loop {
            let open = || File::options().create(true).truncate(false).write(true).open(&path);
            let opened = open().or_else(|e| {
                if e.kind() != io::ErrorKind::NotFound {
                    return Err(e);
                }
                fs::create_dir_all(&folder).and_then(|()| open())
            });
            let lock = opened.map_err(fail)?;
            match lock.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(e)) => return Err(fail(e)),
            }
            // The previous owner may have removed the file after we opened it: then the lock protects nothing.
            if is_at(&lock, &path) {
                return Ok(Some(Claim { lock: Some((lock, path)) }));
            }
        }
    }

    /// Removes the locks that killed processes left behind. Locks that a process holds stay.
    ///
    /// # Errors
    /// The archive cannot be read or written.
    pub fn remove_stale_claims(&self) -> Result<()> {
        for name in self.store().list(CLAIMS, "")? {
            if let Some(key) = claim_key(&name) {
                drop(self.claim(key)?);
            }
        }
        Ok(())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some((lock, path)) = self.lock.take() {
            // Removed while it is locked: a process that opened it meanwhile notices that it has lost its name.
            let _ = fs::remove_file(path);
            drop(lock);
        }
    }
}

#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), fs::metadata(path)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

/// Elsewhere an open file cannot be removed.
#[cfg(not(unix))]
fn is_at(_file: &File, path: &Path) -> bool {
    path.exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_video_is_claimed_once_and_released() {
        let dir = tempfile::tempdir().unwrap();
        let archive = Archive::create(dir.path().join("archive").to_str().unwrap()).unwrap();
        let claim = archive.claim(7).unwrap().expect("free");
        assert!(archive.claim(7).unwrap().is_none() && archive.claim(8).unwrap().is_some());
        archive.remove_stale_claims().unwrap();
        assert!(archive.claim(7).unwrap().is_none());
        drop(claim);
        fs::write(dir.path().join("archive/claims/0000000000000009.lock"), "").unwrap();
        archive.remove_stale_claims().unwrap();
        assert!(archive.store().list(CLAIMS, "").unwrap().is_empty());
    }
}
