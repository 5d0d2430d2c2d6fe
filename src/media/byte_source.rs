//! Bytes that FFmpeg reads through descry: of an object, or from a web server.

use std::ops::Range;

use crate::media::remote::RemoteError;

/// Bytes with a position.
pub(crate) trait ByteSource: Send {
    /// Reads at least one byte; 0 at the end.
    ///
    /// # Errors
    /// When they cannot be fetched.
    fn read(&mut self, out: &mut [u8]) -> Result<usize, RemoteError>;

    /// Moves to a position, which may lie beyond the end. Fetches nothing yet.
    fn seek(&mut self, position: u64);

    /// Position of the next byte to read.
    fn position(&self) -> u64;

    /// How many bytes there are, if that is known.
    fn size(&self) -> Option<u64>;

    /// Whether [`ByteSource::seek`] may be called.
    fn is_seekable(&self) -> bool {
        true
    }

    /// Whether a jump costs a request of its own size, so that it pays to jump from keyframe to keyframe.
    fn is_by_ranges(&self) -> bool {
        false
    }

    /// Announces which bytes the next jump needs, and which the jump after that.
    fn expect(&mut self, _next: Range<u64>, _following: Option<Range<u64>>) {}
}

/// Bytes in memory.
pub(crate) struct MemoryBytes {
    bytes: Vec<u8>,
    position: u64,
}

impl MemoryBytes {
    /// Starts at the first.
    pub(crate) fn new(bytes: Vec<u8>) -> MemoryBytes {
        MemoryBytes { bytes, position: 0 }
    }
}

impl ByteSource for MemoryBytes {
    fn read(&mut self, out: &mut [u8]) -> Result<usize, RemoteError> {
        let rest = usize::try_from(self.position).ok().and_then(|at| self.bytes.get(at..)).unwrap_or_default();
        let n = out.len().min(rest.len());
        out[..n].copy_from_slice(&rest[..n]);
        self.position += n as u64;
        Ok(n)
    }

    fn seek(&mut self, position: u64) {
        self.position = position;
    }

    fn position(&self) -> u64 {
        self.position
    }

    fn size(&self) -> Option<u64> {
        Some(self.bytes.len() as u64)
    }
}
