//! Files that are locked for as long as somebody works on what they stand for.

use std::fs::{File, TryLockError};
use std::io;

use super::{OpenFolder, try_lock};

/// A locked file, which no other process has. The system releases the lock when the process ends, however it ends. Dropping
/// this removes the file.
#[derive(Debug)]
pub(crate) struct NamedLock {
    file: File,
    folder: OpenFolder,
    name: String,
}

impl NamedLock {
    /// Makes and locks a file of a folder; none where another process has locked it.
    ///
    /// # Errors
    /// The file cannot be made or locked.
    pub(crate) fn try_take(folder: OpenFolder, name: String) -> io::Result<Option<NamedLock>> {
        loop {
            let file = folder.lock_file(&name)?;
            match try_lock(&file) {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(e)) => return Err(e),
            }
            // The previous owner may have removed the file after this process opened it: then the lock protects nothing.
            if folder.is_at(&file, &name)? {
                return Ok(Some(NamedLock { file, folder, name }));
            }
        }
    }
}

impl Drop for NamedLock {
    fn drop(&mut self) {
        // Removed while it is locked: a process that opened it meanwhile notices that it has lost its name.
        let _ = self.folder.remove_file(&self.name);
        let _ = self.file.unlock();
    }
}
