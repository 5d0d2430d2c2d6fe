//! Whether bytes are those that were stated: by SHA-256 for large files, and by git's own hash for small ones.

use std::io::{ErrorKind, Read};
use std::path::Path;

use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use sha2::{Digest, Sha256};

use super::listing::StatedFile;
use crate::digest::hex;
use crate::interrupt::Interrupt;
use crate::model::FileSpec;
use crate::regular_file;

/// Bytes that are hashed at a time.
pub(super) const BLOCK: usize = 64 << 10;

/// Hashes a file as its bytes come.
pub(super) struct FileHasher {
    sha256: Sha256,
    /// Git hashes the length first, so that must be stated.
    git: Option<Context>,
    bytes: u64,
}

impl FileHasher {
    pub(super) fn new(stated: &StatedFile) -> FileHasher {
        let git = stated.bytes.filter(|_| stated.git.is_some()).map(|bytes| {
            let mut git = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
            git.update(format!("blob {bytes}\0").as_bytes());
            git
        });
        FileHasher { sha256: Sha256::new(), git, bytes: 0 }
    }

    pub(super) fn update(&mut self, block: &[u8]) {
        self.sha256.update(block);
        if let Some(git) = &mut self.git {
            git.update(block);
        }
        self.bytes += block.len() as u64;
    }

    /// How many bytes there were so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What the file is.
    ///
    /// # Errors
    /// In what it differs from what was stated.
    pub(super) fn finish(self, stated: &StatedFile) -> Result<FileSpec, String> {
        let (sha256, bytes) = (hex(&self.sha256.finalize()), self.bytes);
        if let Some(want) = stated.bytes.filter(|want| *want != bytes) {
            return Err(format!("it has {bytes} bytes instead of {want}"));
        }
        if let Some(want) = stated.sha256.as_ref().filter(|want| **want != sha256) {
            return Err(format!("its SHA-256 is {sha256} instead of {want}"));
        }
        let git = self.git.map(|git| hex(git.finish().as_ref()));
        match (git, &stated.git) {
            (Some(git), Some(want)) if git != *want => Err(format!("git's hash of it is {git} instead of {want}")),
            _ => Ok(FileSpec { sha256, bytes }),
        }
    }
}

impl StatedFile {
    /// Whether anything is stated by which a file can be recognised.
    pub(super) fn has_hash(&self) -> bool {
        self.sha256.is_some() || (self.git.is_some() && self.bytes.is_some())
    }

    /// Reads a file to the end, and compares it. None if it is not there, cannot be read, or is another.
    pub(super) fn find(&self, path: &Path, interrupt: &Interrupt) -> Option<FileSpec> {
        let mut file = regular_file::open(path).ok()?;
        if self.bytes.is_some_and(|bytes| file.metadata().is_ok_and(|found| found.len() != bytes)) {
            return None;
        }
        let mut hasher = FileHasher::new(self);
        let mut block = vec![0; BLOCK];
        while !interrupt.is_set() {
            match file.read(&mut block) {
                Ok(0) => return hasher.finish(self).ok(),
                Ok(n) => hasher.update(&block[..n]),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
        None
    }
}

impl From<&FileSpec> for StatedFile {
    fn from(spec: &FileSpec) -> StatedFile {
        StatedFile { bytes: Some(spec.bytes), sha256: Some(spec.sha256.to_ascii_lowercase()), git: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stated(bytes: u64, sha256: Option<&str>, git: Option<&str>) -> StatedFile {
        StatedFile { bytes: Some(bytes), sha256: sha256.map(Into::into), git: git.map(Into::into) }
    }

    /// The hashes are those that `sha256sum` and `git hash-object` print of `hello` and a line feed.
    #[test]
    fn files_are_recognised_by_either_hash() {
        let sha256 = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
        let git = "ce013625030ba8dba906f756967f9e9ca394464a";
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        std::fs::write(&path, "hello\n").unwrap();
        let found = |stated: StatedFile| stated.find(&path, &Interrupt::new());
        assert_eq!(found(stated(6, Some(sha256), None)).unwrap().sha256, sha256);
        assert_eq!(found(stated(6, None, Some(git))).unwrap().sha256, sha256);
        assert!(found(stated(7, Some(sha256), None)).is_none());
        assert!(found(stated(6, Some(&sha256.replace('5', "6")), None)).is_none());
        assert!(found(stated(6, None, Some(&git.replace('c', "d")))).is_none());
        assert!(stated(6, None, Some(git)).has_hash() && !StatedFile::default().has_hash());
    }
}
