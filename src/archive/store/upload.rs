//! Writing to an archive's store, piece by piece or in the background.
//!
//! Memory: an object that is written piece by piece holds [`PIECE`] bytes; [`PendingObjects`] holds [`MAX_PENDING`]
//! objects.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::archive::io_error::{is_absent, write_error};
use crate::archive::record::FileRecord;
use crate::atomic_file::{AtomicFile, CommitError};
use crate::digest::hex;
use crate::error::Result;
use crate::media::object_store::{Bucket, MultipartPut, PendingPut};
use crate::media::remote::RemoteError;
use crate::open_folder::{OpenFolder, open_folder_of};

/// Size of the parts of a large object. S3 requires at least 5 MB and allows 10,000 parts: objects up to 80 GB.
const PIECE: usize = 8 << 20;
/// Objects that a bucket receives at the same time.
const MAX_PENDING: usize = 8;

/// A file or an object that is being written. Dropped before [`Upload::finish`], it leaves nothing behind.
pub(crate) struct Upload {
    target: UploadTarget,
    name: String,
    hash: Sha256,
    bytes: u64,
}

enum UploadTarget {
    File(AtomicFile),
    Object {
        bucket: Bucket,
        path: String,
        waiting: Vec<u8>,
        /// Present once there was more than one piece.
        parts: Option<MultipartPut>,
    },
}

impl Upload {
    /// Writes a file below `root`; makes the folders above it where they are missing.
    pub(super) fn to_file(root: &Path, name: &str) -> Result<Upload> {
        let path = root.join(name);
        let shown = path.display().to_string();
        let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
        let file = open_or_make(root)
            .and_then(|root| root.make_folder(folder))
            .and_then(|folder| AtomicFile::create_in(folder, &path, true))
            .map_err(|e| write_error(&shown, &e))?;
        Ok(Upload { target: UploadTarget::File(file), name: shown, hash: Sha256::new(), bytes: 0 })
    }

    /// Writes an object of a bucket.
    pub(super) fn to_object(bucket: &Bucket, path: String) -> Upload {
        let name = bucket.address(&path);
        let target = UploadTarget::Object { bucket: bucket.clone(), path, waiting: Vec::new(), parts: None };
        Upload { target, name, hash: Sha256::new(), bytes: 0 }
    }

    /// Gives the bytes their name, and returns their number and hash.
    pub(crate) fn finish(self) -> Result<FileRecord> {
        // The caller syncs all files of a video at once.
        self.commit(AtomicFile::commit_unsynced)
    }

    /// As [`Upload::finish`], and brings the bytes to the disk before they get their name.
    pub(super) fn finish_synced(self) -> Result<FileRecord> {
        self.commit(AtomicFile::commit)
    }

    fn commit(self, commit: impl FnOnce(AtomicFile) -> std::result::Result<File, CommitError>) -> Result<FileRecord> {
        let Upload { target, name, hash, bytes } = self;
        match target {
            UploadTarget::File(file) => {
                commit(file).map_err(|e| write_error(&name, &e.into()))?;
            }
            UploadTarget::Object { bucket, path, waiting, parts } => {
                let put = match parts {
                    None => bucket.put(&path, waiting.into()),
                    Some(parts) if waiting.is_empty() => parts.complete(),
                    Some(mut parts) => parts.put_part(waiting.into()).and_then(|()| parts.complete()),
                };
                put.map_err(|t| t.output(&name))?;
            }
        }
        Ok(FileRecord { bytes, sha256: hex(&hash.finalize()) })
    }
}

impl Write for Upload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = match &mut self.target {
            UploadTarget::File(file) => file.write(bytes)?,
            UploadTarget::Object { bucket, path, waiting, parts } => {
                let n = bytes.len().min(PIECE - waiting.len());
                waiting.extend_from_slice(&bytes[..n]);
                if waiting.len() == PIECE {
                    let fail = |t: RemoteError| io::Error::other(t.to_string());
                    let parts = match parts {
                        Some(parts) => parts,
                        None => parts.insert(bucket.start_multipart(path).map_err(fail)?),
                    };
                    parts.put_part(std::mem::take(waiting).into()).map_err(fail)?;
                }
                n
            }
        };
        self.hash.update(&bytes[..n]);
        self.bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.target {
            UploadTarget::File(file) => file.flush(),
            UploadTarget::Object { .. } => Ok(()),
        }
    }
}

/// Opens the archive's folder. Makes it where it is missing; the archive may have been made a moment ago, or be forgotten.
fn open_or_make(root: &Path) -> io::Result<OpenFolder> {
    OpenFolder::open(root).or_else(|e| match is_absent(&e) {
        true => fs::create_dir_all(root)
            // The folder's own name must survive a power failure as well.
            .and_then(|()| open_folder_of(root)?.sync(""))
            .and_then(|()| OpenFolder::open(root)),
        false => Err(e),
    })
}

/// Objects that a bucket is still receiving.
#[derive(Debug, Default)]
pub(crate) struct PendingObjects {
    puts: VecDeque<(Bucket, String, PendingPut)>,
}

impl PendingObjects {
    /// Starts to send an object. Waits for the oldest one where [`MAX_PENDING`] are under way.
    pub(super) fn put(&mut self, bucket: &Bucket, path: &str, bytes: Vec<u8>) -> Result<()> {
        while self.puts.len() >= MAX_PENDING {
            self.finish_oldest()?;
        }
        let address = bucket.address(path);
        let put = bucket.start_put(path, bytes.into()).map_err(|t| t.output(&address))?;
        self.puts.push_back((bucket.clone(), address, put));
        Ok(())
    }

    fn finish_oldest(&mut self) -> Result<()> {
        match self.puts.pop_front() {
            Some((bucket, address, put)) => bucket.finish_put(put).map_err(|t| t.output(&address)),
            None => Ok(()),
        }
    }

    /// Waits for all objects.
    pub(crate) fn finish(&mut self) -> Result<()> {
        while !self.puts.is_empty() {
            self.finish_oldest()?;
        }
        Ok(())
    }
}
