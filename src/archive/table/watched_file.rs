//! A table's file, which remembers why it could not be read: the Parquet reader's errors do not say whether the disk has
//! failed or the table is damaged.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parquet::errors::Result;
use parquet::file::reader::{ChunkReader, Length};

/// The first error of the system while a file was read.
#[derive(Debug, Clone, Default)]
pub(super) struct ReadFault(Arc<OnceLock<io::Error>>);

impl ReadFault {
    /// None if every read has succeeded.
    pub(super) fn get(&self) -> Option<&io::Error> {
        self.0.get()
    }

    /// The same result; remembers its error. A read that a signal interrupts is repeated.
    fn watch<T>(&self, result: io::Result<T>) -> io::Result<T> {
        result.inspect_err(|e| {
            if e.kind() != io::ErrorKind::Interrupted {
                let _ = self.0.set(io::Error::new(e.kind(), e.to_string()));
            }
        })
    }
}

/// A file and what went wrong with it.
#[derive(Debug)]
pub(super) struct WatchedFile {
    file: File,
    fault: ReadFault,
}

impl WatchedFile {
    pub(super) fn new(file: File, fault: ReadFault) -> WatchedFile {
        WatchedFile { file, fault }
    }

    fn at(&self, start: u64) -> io::Result<WatchedFile> {
        let mut file = self.fault.watch(self.file.try_clone())?;
        self.fault.watch(file.seek(SeekFrom::Start(start)))?;
        Ok(WatchedFile { file, fault: self.fault.clone() })
    }
}

impl Read for WatchedFile {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        self.fault.watch(self.file.read(to))
    }
}

impl Length for WatchedFile {
    fn len(&self) -> u64 {
        self.fault.watch(self.file.metadata()).map_or(0, |m| m.len())
    }
}

impl ChunkReader for WatchedFile {
    type T = BufReader<WatchedFile>;

    fn get_read(&self, start: u64) -> Result<BufReader<WatchedFile>> {
        Ok(BufReader::new(self.at(start)?))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        let mut bytes = vec![0; length];
        self.at(start)?.read_exact(&mut bytes)?;
        Ok(bytes.into())
    }
}
