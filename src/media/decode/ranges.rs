//! Reading an object by ranges, ahead of its reader.
//!
//! Continuous reading fetches growing pieces, the next one while the current one is used. A jump fetches a small piece, or
//! exactly what it needs if that is known beforehand; the piece after it is then fetched in the meantime. Memory: at most
//! [`CACHED`] bytes of fetched pieces, or one piece, and at most [`LARGEST`] bytes in flight.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;

use crate::media::byte_source::ByteSource;
use crate::media::object_store::{Bucket, PendingGet, RemoteObject};
use crate::media::remote::RemoteError;

/// Bytes that a jump fetches, and with which continuous reading begins: a keyframe of a small film.
pub(super) const SMALLEST: u64 = 128 << 10;
/// Most bytes of one request: beyond this a request's latency no longer matters.
pub(super) const LARGEST: u64 = 4 << 20;
/// Bytes of fetched pieces that are kept: a few of the largest.
pub(super) const CACHED: usize = 12 << 20;

/// Where ranges come from; a trait so that reading is tested without a network.
pub(super) trait RangeStore {
    /// A request in flight. Dropped, it is given up.
    type PendingRange;
    fn start(&self, range: Range<u64>) -> Result<Self::PendingRange, RemoteError>;
    fn finish(&self, request: Self::PendingRange) -> Result<Bytes, RemoteError>;
}

/// The ranges of one object.
pub(super) struct ObjectRanges {
    pub(super) bucket: Bucket,
    pub(super) object: RemoteObject,
}

impl RangeStore for ObjectRanges {
    type PendingRange = PendingGet;

    fn start(&self, range: Range<u64>) -> Result<PendingGet, RemoteError> {
        self.bucket.start_get(&self.object, range)
    }

    fn finish(&self, request: PendingGet) -> Result<Bytes, RemoteError> {
        self.bucket.finish_get(request)
    }
}

/// Bytes that were fetched.
struct Piece {
    start: u64,
    bytes: Bytes,
}

impl Piece {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    fn contains(&self, position: u64) -> bool {
        (self.start..self.end()).contains(&position)
    }
}

/// Reads an object from any position.
pub(super) struct RangeReader<S: RangeStore> {
    store: S,
    size: u64,
    position: u64,
    /// Oldest first.
    pieces: VecDeque<Piece>,
    /// The request in flight, and its range.
    ahead: Option<(Range<u64>, S::PendingRange)>,
    /// Bytes that continuous reading fetches next.
    step: u64,
    /// What the next jump needs.
    expected: Option<Range<u64>>,
    /// What the jump after that needs.
    following: Option<Range<u64>>,
}

impl<S: RangeStore> RangeReader<S> {
    /// Starts at the first of `size` bytes. Nothing is fetched yet.
    pub(super) fn new(store: S, size: u64) -> RangeReader<S> {
        let pieces = VecDeque::new();
        RangeReader { store, size, position: 0, pieces, ahead: None, step: SMALLEST, expected: None, following: None }
    }

    /// Fetches the bytes at the position. Returns the index of their piece.
    fn fetch(&mut self) -> Result<usize, RemoteError> {
        let position = self.position;
        let continues = self.pieces.back().is_some_and(|p| p.end() == position);
        let (range, request) = match self.ahead.take() {
            Some((range, request)) if range.contains(&position) => (range, request),
            // A request in flight for other bytes is given up.
            _ => {
                let known = self.expected.take().filter(|e| e.contains(&position));
                let known = known.map(|e| (e.end - position).min(LARGEST));
                let length = known.unwrap_or(if continues { self.step } else { SMALLEST });
                let range = position..(position + length).min(self.size);
                (range.clone(), self.store.start(range)?)
            }
        };
        self.step = if continues { (self.step * 2).min(LARGEST) } else { SMALLEST };
        if let Some(next) = self.following.take() {
            let next = next.start..next.end.min(next.start + LARGEST).min(self.size);
            if next.start < next.end && next.start != range.start {
                self.ahead = Some((next.clone(), self.store.start(next)?));
            }
        }
        let bytes = self.store.finish(request)?;
        if bytes.len() as u64 != range.end - range.start {
            return Err(RemoteError::Other("the store gave fewer bytes than there are".into()));
        }
        self.pieces.push_back(Piece { start: range.start, bytes });
        while self.pieces.len() > 1 && self.pieces.iter().map(|p| p.bytes.len()).sum::<usize>() > CACHED {
            self.pieces.pop_front();
        }
        Ok(self.pieces.len() - 1)
    }
}

impl<S: RangeStore + Send> ByteSource for RangeReader<S>
where
    S::PendingRange: Send,
{
    fn read(&mut self, out: &mut [u8]) -> Result<usize, RemoteError> {
        if self.position >= self.size || out.is_empty() {
            return Ok(0);
        }
        let position = self.position;
        let index = match self.pieces.iter().position(|p| p.contains(position)) {
            Some(index) => index,
            None => self.fetch()?,
        };
        let piece = &self.pieces[index];
        let (start, end) = (piece.start, piece.end());
        let from = (position - start) as usize;
        let n = out.len().min(piece.bytes.len() - from);
        out[..n].copy_from_slice(&piece.bytes[from..from + n]);
        self.position += n as u64;
        // Half through the newest piece of a continuous reading, the next piece will be needed too.
        let is_newest = index + 1 == self.pieces.len();
        let is_continuous = self.step > SMALLEST;
        let is_half_read = self.position > start + (end - start) / 2;
        if is_newest && is_continuous && is_half_read && self.ahead.is_none() && end < self.size {
            let range = end..(end + self.step).min(self.size);
            self.ahead = Some((range.clone(), self.store.start(range)?));
        }
        Ok(n)
    }

    fn seek(&mut self, position: u64) {
        self.position = position;
    }

    fn position(&self) -> u64 {
        self.position
    }

    fn size(&self) -> Option<u64> {
        Some(self.size)
    }

    fn is_by_ranges(&self) -> bool {
        true
    }

    fn expect(&mut self, next: Range<u64>, following: Option<Range<u64>>) {
        (self.expected, self.following) = (Some(next), following);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// Bytes of one read: FFmpeg's buffer.
    const READ: usize = 32 << 10;

    /// An object in memory that records what is fetched.
    struct Memory {
        bytes: Bytes,
        fetched: Mutex<Vec<(u64, u64)>>,
    }

    impl RangeStore for &Memory {
        type PendingRange = Range<u64>;

        fn start(&self, range: Range<u64>) -> Result<Range<u64>, RemoteError> {
            self.fetched.lock().unwrap().push((range.start, range.end));
            Ok(range)
        }

        fn finish(&self, range: Range<u64>) -> Result<Bytes, RemoteError> {
            Ok(self.bytes.slice(range.start as usize..range.end as usize))
        }
    }

    fn memory(size: usize) -> Memory {
        let bytes: Vec<u8> = (0..size).map(|n| (n * 31 % 251) as u8).collect();
        Memory { bytes: bytes.into(), fetched: Mutex::default() }
    }

    fn check(reader: &mut RangeReader<&Memory>, position: u64, length: usize) {
        reader.seek(position);
        let mut out = vec![0; length];
        let mut have = 0;
        while have < length {
            match reader.read(&mut out[have..]).unwrap() {
                0 => break,
                n => have += n,
            }
        }
        let want = &reader.store.bytes[(position as usize).min(reader.size as usize)..];
        assert_eq!(out[..have], want[..have]);
        assert_eq!(have, length.min(want.len()));
    }

    #[test]
    fn continuous_reading_fetches_everything_once_in_growing_pieces() {
        let memory = memory(20 << 20);
        let mut reader = RangeReader::new(&memory, 20 << 20);
        for position in (0..20 << 20).step_by(READ) {
            check(&mut reader, position, READ);
            assert!(reader.pieces.iter().map(|p| p.bytes.len()).sum::<usize>() <= CACHED + LARGEST as usize);
        }
        let fetched = memory.fetched.lock().unwrap();
        assert!(fetched.len() < 20, "{}", fetched.len());
        assert_eq!(fetched.iter().map(|(a, b)| b - a).sum::<u64>(), 20 << 20);
        assert!(fetched.iter().any(|(a, b)| b - a == LARGEST));
    }

    #[test]
    fn jumps_fetch_little_and_never_what_is_there() {
        let memory = memory(64 << 20);
        let mut reader = RangeReader::new(&memory, 64 << 20);
        for position in [60u64 << 20, 3, 10 << 20, 30 << 20, 60 << 20, 5] {
            check(&mut reader, position, 5_000);
        }
        assert_eq!(memory.fetched.lock().unwrap().len(), 4);
        assert!(memory.fetched.lock().unwrap().iter().all(|(a, b)| b - a <= SMALLEST));
    }

    #[test]
    fn known_jumps_fetch_exactly_what_they_need_and_the_next_meanwhile() {
        let memory = memory(64 << 20);
        let mut reader = RangeReader::new(&memory, 64 << 20);
        let places = [(1u64 << 20, 300_000u64), (5 << 20, 10), (9 << 20, 2_000_000), (20 << 20, 90_000)];
        for (n, (at, length)) in places.iter().enumerate() {
            let following = places.get(n + 1).map(|(at, length)| *at..at + length);
            reader.expect(*at..at + length, following);
            check(&mut reader, *at, *length as usize);
        }
        let fetched = memory.fetched.lock().unwrap();
        assert_eq!(*fetched, places.map(|(at, length)| (at, at + length)));
    }

    #[test]
    fn the_end_is_the_end_wherever_reading_begins() {
        let memory = memory(300_000);
        let mut reader = RangeReader::new(&memory, 300_000);
        for position in [299_990, 0, 131_000, 300_000, 400_000, 262_144, 7] {
            check(&mut reader, position, 70_000);
        }
    }
}
