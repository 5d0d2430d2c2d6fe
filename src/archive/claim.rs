//! Claims: at most one process describes a video at a time.
//!
//! A claim is a locked file. The system releases the lock when the process ends, however it ends. In an object store there
//! are no claims: two processes may describe the same video, and write the same bytes.

use std::io;

use super::catalog::Archive;
use super::io_error::write_error;
use super::layout::{CLAIMS, claim_file, claim_key};
use crate::error::Result;
use crate::open_folder::{NamedLock, OpenFolder};

/// A video that this process alone describes. Dropping it releases the video.
#[derive(Debug)]
pub struct Claim {
    /// None in an object store.
    _lock: Option<NamedLock>,
}

impl Archive {
    /// Claims a video for this process, by its [key](super::video_key); none where another process has claimed it.
    ///
    /// # Errors
    /// The archive cannot be written.
    pub fn claim(&self, key: u64) -> Result<Option<Claim>> {
        let Some(root) = self.folder() else { return Ok(Some(Claim { _lock: None })) };
        let name = claim_file(key);
        let fail = |e: io::Error| write_error(&root.join(CLAIMS).join(&name).display().to_string(), &e);
        let folder = OpenFolder::open(root).and_then(|root| root.make_folder(CLAIMS)).map_err(fail)?;
        let lock = NamedLock::try_take(folder, name.clone()).map_err(fail)?;
        Ok(lock.map(|lock| Claim { _lock: Some(lock) }))
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

#[cfg(test)]
mod tests {
    use std::fs;

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

    #[cfg(unix)]
    #[test]
    fn a_planted_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let archive = Archive::create(dir.path().join("archive").to_str().unwrap()).unwrap();
        drop(archive.claim(7).unwrap());
        let victim = dir.path().join("victim");
        std::os::unix::fs::symlink(&victim, dir.path().join("archive/claims/0000000000000007.lock")).unwrap();
        assert!(archive.claim(7).unwrap_err().to_string().contains("symbolic link"));
        assert!(!victim.exists());
    }
}
