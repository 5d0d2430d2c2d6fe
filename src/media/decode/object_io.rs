//! Lets FFmpeg read an object of an object store as if it were a file.
//!
//! Connects FFmpeg's `AVIOContext` to a [`RangeReader`], which decides what is fetched.

use std::ffi::{c_int, c_void};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ffmpeg_next as ff;
use ffmpeg_next::ffi;

use super::ranges::{ObjectRanges, RangeReader};
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::media::object_store::{Bucket, RemoteError};
use crate::message;
use crate::message::Setting;

/// Bytes of FFmpeg's own buffer: the default of its protocols (`IO_BUFFER_SIZE`).
const BUFFER: usize = 32 << 10;

/// Why reading failed.
type LastError = Arc<Mutex<Option<RemoteError>>>;

/// What FFmpeg hands to the callbacks.
struct IoState {
    reader: RangeReader<ObjectRanges>,
    error: LastError,
}

/// What FFmpeg reads through. [`OpenInput`](super::open_input::OpenInput) drops it after the container that uses it.
pub(super) struct ObjectIo {
    context: *mut ffi::AVIOContext,
    error: LastError,
}

// SAFETY: one thread at a time uses the context, that of its container. What is behind it (a client, bytes, a handle of a
// task) is bound to no thread.
unsafe impl Send for ObjectIo {}

impl ObjectIo {
    /// Asks for the object. None of it is read yet.
    ///
    /// # Errors
    /// If the store cannot be reached, or the object is missing or empty.
    pub(super) fn open(address: &str, timeout: Duration, interrupt: Interrupt) -> Result<ObjectIo> {
        let (bucket, path) = Bucket::open(address, timeout, interrupt)?;
        let (object, _) = bucket.head(&path).map_err(|e| e.input(address))?;
        if object.size == 0 {
            return Err(Error::input(address, "the object is empty (0 bytes)", "Upload it again."));
        }
        let error = LastError::default();
        let size = object.size;
        let reader = RangeReader::new(ObjectRanges { bucket, object }, size);
        let state = Box::new(IoState { reader, error: error.clone() });
        // SAFETY: the buffer is FFmpeg's own allocation, because FFmpeg may replace it. The box is given up here and taken
        // back in `drop`, or below if there is no context to hold it.
        unsafe {
            let buffer = ffi::av_malloc(BUFFER).cast::<u8>();
            let state = Box::into_raw(state);
            let context = if buffer.is_null() {
                ptr::null_mut()
            } else {
                let size = BUFFER as c_int;
                ffi::avio_alloc_context(buffer, size, 0, state.cast(), Some(read), None, Some(seek))
            };
            if context.is_null() {
                ffi::av_free(buffer.cast());
                drop(Box::from_raw(state));
                let remedy = message!["Free memory, or lower ", Setting::Jobs, "."];
                return Err(Error::input(address, "not enough memory to read it", remedy));
            }
            Ok(ObjectIo { context, error })
        }
    }

    /// For FFmpeg; valid as long as `self`.
    pub(super) fn context(&self) -> *mut ffi::AVIOContext {
        self.context
    }

    /// Announces which bytes the next jump needs, and which the jump after that. Called only between two calls of FFmpeg.
    pub(super) fn expect(&mut self, next: Range<u64>, following: Option<Range<u64>>) {
        // SAFETY: set in `open`. FFmpeg reads only while it is called, so there is no other reference.
        let state = unsafe { &mut *(*self.context).opaque.cast::<IoState>() };
        state.reader.expect(next, following);
    }

    /// Why reading failed.
    pub(super) fn error(&self) -> Option<RemoteError> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for ObjectIo {
    fn drop(&mut self) {
        // SAFETY: made in `open`, and no longer used. FFmpeg may have replaced the buffer.
        unsafe {
            drop(Box::from_raw((*self.context).opaque.cast::<IoState>()));
            ffi::av_freep((&raw mut (*self.context).buffer).cast());
            ffi::avio_context_free(&raw mut self.context);
        }
    }
}

unsafe extern "C" fn read(state: *mut c_void, buffer: *mut u8, size: c_int) -> c_int {
    // SAFETY: FFmpeg passes what was set in `open`, and a buffer of that size.
    let (state, out) = unsafe {
        let size = usize::try_from(size).unwrap_or(0);
        (&mut *state.cast::<IoState>(), std::slice::from_raw_parts_mut(buffer, size))
    };
    // A panic must not unwind through FFmpeg's frames.
    let read = catch_unwind(AssertUnwindSafe(|| state.reader.read(out)));
    match read.unwrap_or_else(|_| Err(RemoteError::Other("reading it failed".into()))) {
        Ok(0) => ffi::AVERROR_EOF,
        Ok(n) => n as c_int,
        Err(error) => {
            let interrupted = error == RemoteError::Interrupted;
            *state.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            if interrupted { ffi::AVERROR_EXIT } else { ffi::AVERROR(ff::util::error::EIO) }
        }
    }
}

unsafe extern "C" fn seek(state: *mut c_void, offset: i64, whence: c_int) -> i64 {
    // SAFETY: FFmpeg passes what was set in `open`.
    let reader = unsafe { &mut (*state.cast::<IoState>()).reader };
    let size = i64::try_from(reader.size()).unwrap_or(i64::MAX);
    let target = match whence & !ffi::AVSEEK_FORCE {
        w if w == ffi::AVSEEK_SIZE => return size,
        // SEEK_SET, SEEK_CUR and SEEK_END.
        0 => Some(offset),
        1 => i64::try_from(reader.position()).ok().and_then(|at| at.checked_add(offset)),
        2 => size.checked_add(offset),
        _ => None,
    };
    match target.and_then(|t| u64::try_from(t).ok()) {
        Some(target) => {
            reader.seek(target);
            target as i64
        }
        None => i64::from(ffi::AVERROR(ff::util::error::EINVAL)),
    }
}
