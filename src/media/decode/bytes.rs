//! Reading an object store as FFmpeg reads a file: from anywhere, by ranges.
//!
//! What is read on and on is fetched in growing pieces, the next one while this one is used; what is jumped to in a
//! small one, or as it is, where its length is known: then what is jumped to next is fetched meanwhile. Memory: [`CACHED`] bytes of pieces that were fetched, and one under way of at most [`LARGEST`].

use std::collections::VecDeque;
use std::ffi::{c_int, c_void};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use ffmpeg_next as ff;
use ffmpeg_next::ffi;

use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::media::object_store::{Bucket, Fetch, Object, Trouble};

/// What a jump fetches: a keyframe of a small film.
const SMALLEST: u64 = 128 << 10;
/// What reading on fetches at most at once.
const LARGEST: u64 = 4 << 20;
/// What is kept of what was fetched.
const CACHED: usize = 12 << 20;
/// FFmpeg's own buffer.
const BUFFER: usize = 32 << 10;

struct Piece {
    start: u64,
    bytes: Bytes,
}

impl Piece {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    fn has(&self, at: u64) -> bool {
        (self.start..self.end()).contains(&at)
    }
}

/// Where pieces come from; a trait so that the reading is tested without a network.
trait Pieces {
    type Fetch;
    fn begin(&self, start: u64, end: u64) -> std::result::Result<Self::Fetch, Trouble>;
    fn join(&self, fetch: Self::Fetch) -> std::result::Result<Bytes, Trouble>;
}

impl Pieces for (Bucket, Object) {
    type Fetch = Fetch;

    fn begin(&self, start: u64, end: u64) -> std::result::Result<Fetch, Trouble> {
        self.0.begin(&self.1, start..end)
    }

    fn join(&self, mut fetch: Fetch) -> std::result::Result<Bytes, Trouble> {
        self.0.join(&mut fetch)
    }
}

/// An object, read from anywhere.
struct Reader<P: Pieces> {
    from: P,
    size: u64,
    at: u64,
    /// Oldest first.
    pieces: VecDeque<Piece>,
    /// Where the piece begins and ends that is under way.
    ahead: Option<(u64, u64, P::Fetch)>,
    /// How much reading on fetches next.
    step: u64,
    /// What is jumped to, and what after that.
    expected: Option<Range<u64>>,
    then: Option<Range<u64>>,
}

impl<P: Pieces> Reader<P> {
    fn new(from: P, size: u64) -> Reader<P> {
        Reader { from, size, at: 0, pieces: VecDeque::new(), ahead: None, step: SMALLEST, expected: None, then: None }
    }

    /// Reads some bytes where it stands; 0 at the end.
    fn read(&mut self, out: &mut [u8]) -> std::result::Result<usize, Trouble> {
        if self.at >= self.size || out.is_empty() {
            return Ok(0);
        }
        let at = self.at;
        let place = match self.pieces.iter().position(|p| p.has(at)) {
            Some(place) => place,
            None => self.fetch()?,
        };
        let piece = &self.pieces[place];
        let from = (at - piece.start) as usize;
        let n = out.len().min(piece.bytes.len() - from);
        out[..n].copy_from_slice(&piece.bytes[from..from + n]);
        let (start, end) = (piece.start, piece.end());
        self.at += n as u64;
        // Half through the newest piece, after one that was read to its end: the next will be wanted, too.
        let newest = place + 1 == self.pieces.len();
        if newest
            && self.step > SMALLEST
            && self.ahead.is_none()
            && self.at > start + (end - start) / 2
            && end < self.size
        {
            let until = (end + self.step).min(self.size);
            self.ahead = Some((end, until, self.from.begin(end, until)?));
        }
        Ok(n)
    }

    /// Has the bytes that are wanted now; gives their piece's place.
    fn fetch(&mut self) -> std::result::Result<usize, Trouble> {
        let at = self.at;
        let read_on = self.pieces.back().is_some_and(|p| p.end() == at);
        let (start, fetch, expected) = match self.ahead.take() {
            Some((start, end, fetch)) if (start..end).contains(&at) => (start, fetch, end - start),
            // One that is not wanted is given up.
            _ => {
                let known = self.expected.take().filter(|e| e.contains(&at)).map(|e| (e.end - at).min(LARGEST));
                let length = known.unwrap_or(if read_on { self.step } else { SMALLEST });
                let end = (at + length).min(self.size);
                (at, self.from.begin(at, end)?, end - at)
            }
        };
        self.step = if read_on { (self.step * 2).min(LARGEST) } else { SMALLEST };
        if let Some(next) = self.then.take() {
            let end = next.end.min(next.start + LARGEST).min(self.size);
            if next.start < end && next.start != start {
                self.ahead = Some((next.start, end, self.from.begin(next.start, end)?));
            }
        }
        let bytes = self.from.join(fetch)?;
        if bytes.len() as u64 != expected {
            return Err(Trouble::Other("the store gave fewer bytes than there are".into()));
        }
        self.pieces.push_back(Piece { start, bytes });
        while self.pieces.len() > 1 && self.pieces.iter().map(|p| p.bytes.len()).sum::<usize>() > CACHED {
            self.pieces.pop_front();
        }
        Ok(self.pieces.len() - 1)
    }
}

/// Why reading failed, where it did.
pub(super) type Told = Arc<Mutex<Option<Trouble>>>;

struct Opaque {
    reader: Reader<(Bucket, Object)>,
    told: Told,
}

/// What FFmpeg reads through. Dropped after the container that uses it.
pub(super) struct Io {
    context: *mut ffi::AVIOContext,
    told: Told,
}

// SAFETY: the context is used by one thread at a time, that of the container which it belongs to; what is behind it (a
// client, bytes, a handle of a task) is bound to no thread.
unsafe impl Send for Io {}

impl Io {
    /// Asks for the object; nothing of it is read yet.
    pub(super) fn open(address: &str, patience: Duration, interrupt: Interrupt) -> Result<Io> {
        let (bucket, path) = Bucket::of(address, patience, interrupt)?;
        let (object, _) = bucket.head(&path).map_err(|t| t.input(address))?;
        if object.size == 0 {
            return Err(Error::input(address, "the object is empty (0 bytes)", "Upload it again."));
        }
        let told = Told::default();
        let size = object.size;
        let opaque = Box::new(Opaque { reader: Reader::new((bucket, object), size), told: told.clone() });
        // SAFETY: the buffer is FFmpeg's own allocation, as it may be replaced; the opaque box is given up here and taken
        // back in `drop`, or below where there is no context to hold it.
        unsafe {
            let buffer = ffi::av_malloc(BUFFER).cast::<u8>();
            let opaque = Box::into_raw(opaque);
            let context = if buffer.is_null() {
                ptr::null_mut()
            } else {
                let size = BUFFER as c_int;
                ffi::avio_alloc_context(buffer, size, 0, opaque.cast(), Some(read), None, Some(seek))
            };
            if context.is_null() {
                ffi::av_free(buffer.cast());
                drop(Box::from_raw(opaque));
                return Err(Error::input(address, "not enough memory to read it", "Free memory, or lower --jobs."));
            }
            Ok(Io { context, told })
        }
    }

    pub(super) fn context(&self) -> *mut ffi::AVIOContext {
        self.context
    }

    /// Says which bytes are read next, and which after those. Only between two calls of FFmpeg.
    pub(super) fn expect(&mut self, next: Range<u64>, then: Option<Range<u64>>) {
        // SAFETY: what `open` set; FFmpeg is not reading, for it reads only while it is called.
        let reader = unsafe { &mut (*(*self.context).opaque.cast::<Opaque>()).reader };
        (reader.expected, reader.then) = (Some(next), then);
    }

    /// Why reading failed.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Io {
    fn drop(&mut self) {
        // SAFETY: made in `open`; nobody uses it any more. FFmpeg may have put another buffer in place of the first.
        unsafe {
            drop(Box::from_raw((*self.context).opaque.cast::<Opaque>()));
            ffi::av_freep((&raw mut (*self.context).buffer).cast());
            ffi::avio_context_free(&raw mut self.context);
        }
    }
}

unsafe extern "C" fn read(opaque: *mut c_void, buffer: *mut u8, size: c_int) -> c_int {
    // SAFETY: FFmpeg gives what was set in `open`, and a buffer of that size.
    let (opaque, out) = unsafe {
        let size = usize::try_from(size).unwrap_or(0);
        (&mut *opaque.cast::<Opaque>(), std::slice::from_raw_parts_mut(buffer, size))
    };
    // A panic must not go through FFmpeg's frames.
    let read = catch_unwind(AssertUnwindSafe(|| opaque.reader.read(out)));
    match read.unwrap_or_else(|_| Err(Trouble::Other("reading it failed".into()))) {
        Ok(0) => ffi::AVERROR_EOF,
        Ok(n) => n as c_int,
        Err(trouble) => {
            let stopped = trouble == Trouble::Interrupted;
            *opaque.told.lock().unwrap_or_else(PoisonError::into_inner) = Some(trouble);
            if stopped { ffi::AVERROR_EXIT } else { ffi::AVERROR(ff::util::error::EIO) }
        }
    }
}

unsafe extern "C" fn seek(opaque: *mut c_void, offset: i64, whence: c_int) -> i64 {
    // SAFETY: FFmpeg gives what was set in `open`.
    let reader = unsafe { &mut (*opaque.cast::<Opaque>()).reader };
    let size = i64::try_from(reader.size).unwrap_or(i64::MAX);
    let target = match whence & !ffi::AVSEEK_FORCE {
        w if w == ffi::AVSEEK_SIZE => return size,
        0 => Some(offset),
        1 => i64::try_from(reader.at).ok().and_then(|at| at.checked_add(offset)),
        2 => size.checked_add(offset),
        _ => None,
    };
    match target.and_then(|t| u64::try_from(t).ok()) {
        Some(target) => {
            reader.at = target;
            target as i64
        }
        None => i64::from(ffi::AVERROR(ff::util::error::EINVAL)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    /// An object in memory that counts what is fetched.
    struct Mock {
        bytes: Bytes,
        fetched: RefCell<Vec<(u64, u64)>>,
    }

    impl Pieces for &Mock {
        type Fetch = (u64, u64);

        fn begin(&self, start: u64, end: u64) -> std::result::Result<(u64, u64), Trouble> {
            self.fetched.borrow_mut().push((start, end));
            Ok((start, end))
        }

        fn join(&self, (start, end): (u64, u64)) -> std::result::Result<Bytes, Trouble> {
            Ok(self.bytes.slice(start as usize..end as usize))
        }
    }

    fn mock(size: usize) -> Mock {
        let bytes: Vec<u8> = (0..size).map(|n| (n * 31 % 251) as u8).collect();
        Mock { bytes: bytes.into(), fetched: RefCell::default() }
    }

    fn check(reader: &mut Reader<&Mock>, at: u64, length: usize) {
        reader.at = at;
        let mut out = vec![0; length];
        let mut have = 0;
        while have < length {
            match reader.read(&mut out[have..]).unwrap() {
                0 => break,
                n => have += n,
            }
        }
        let want = &reader.from.bytes[(at as usize).min(reader.size as usize)..];
        assert_eq!(out[..have], want[..have]);
        assert_eq!(have, length.min(want.len()));
    }

    #[test]
    fn reading_on_fetches_everything_once_in_growing_pieces() {
        let mock = mock(20 << 20);
        let mut reader = Reader::new(&mock, 20 << 20);
        for at in (0..20 << 20).step_by(BUFFER) {
            check(&mut reader, at, BUFFER);
            assert!(reader.pieces.iter().map(|p| p.bytes.len()).sum::<usize>() <= CACHED + LARGEST as usize);
        }
        let fetched = mock.fetched.borrow();
        assert!(fetched.len() < 20, "{}", fetched.len());
        assert_eq!(fetched.iter().map(|(a, b)| b - a).sum::<u64>(), 20 << 20);
        assert!(fetched.iter().any(|(a, b)| b - a == LARGEST));
    }

    #[test]
    fn jumping_fetches_little_and_what_is_there_is_not_fetched_again() {
        let mock = mock(64 << 20);
        let mut reader = Reader::new(&mock, 64 << 20);
        for at in [60u64 << 20, 3, 10 << 20, 30 << 20, 60 << 20, 5] {
            check(&mut reader, at, 5_000);
        }
        assert_eq!(mock.fetched.borrow().len(), 4);
        assert!(mock.fetched.borrow().iter().all(|(a, b)| b - a <= SMALLEST));
    }

    #[test]
    fn what_is_known_is_fetched_as_it_is_and_the_next_meanwhile() {
        let mock = mock(64 << 20);
        let mut reader = Reader::new(&mock, 64 << 20);
        let places = [(1u64 << 20, 300_000u64), (5 << 20, 10), (9 << 20, 2_000_000), (20 << 20, 90_000)];
        for (n, (at, length)) in places.iter().enumerate() {
            reader.expected = Some(*at..at + length);
            reader.then = places.get(n + 1).map(|(at, length)| *at..at + length);
            check(&mut reader, *at, *length as usize);
        }
        let fetched = mock.fetched.borrow();
        assert_eq!(*fetched, places.map(|(at, length)| (at, at + length)));
    }

    #[test]
    fn the_end_is_the_end_wherever_reading_begins() {
        let mock = mock(300_000);
        let mut reader = Reader::new(&mock, 300_000);
        for at in [299_990, 0, 131_000, 300_000, 400_000, 262_144, 7] {
            check(&mut reader, at, 70_000);
        }
    }
}
