//! The file behind FFmpeg's writer. FFmpeg reports faults as numbers; here they are kept.

use std::io::{self, Seek, SeekFrom, Write};
use std::sync::{Arc, Mutex, PoisonError};

use crate::atomic_file::AtomicFile;

/// The file behind FFmpeg, and why it cannot be written.
#[derive(Clone)]
pub(super) struct SharedFile(Arc<Mutex<FileState>>);

struct FileState {
    file: Option<AtomicFile>,
    fault: Option<io::Error>,
}

impl SharedFile {
    pub(super) fn new(file: AtomicFile) -> SharedFile {
        SharedFile(Arc::new(Mutex::new(FileState { file: Some(file), fault: None })))
    }

    fn with<T>(&self, act: impl FnOnce(&mut AtomicFile) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(file) = &mut state.file else { return Err(io::ErrorKind::BrokenPipe.into()) };
        act(file).inspect_err(|e| {
            if e.kind() != io::ErrorKind::Interrupted {
                state.fault.get_or_insert(io::Error::new(e.kind(), e.to_string()));
            }
        })
    }

    /// The first fault; once.
    pub(super) fn fault(&self) -> Option<io::Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fault.take()
    }

    /// The file, to be given its name.
    pub(super) fn take(&self) -> Option<AtomicFile> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).file.take()
    }
}

impl Write for SharedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.with(|file| file.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.with(AtomicFile::flush)
    }
}

impl Seek for SharedFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.with(|file| file.seek(to))
    }
}
