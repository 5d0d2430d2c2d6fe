//! Lets FFmpeg read a [`ByteSource`] as if it were a file.
//!
//! Connects FFmpeg's `AVIOContext` to the source. FFmpeg asks its own contexts where a web server has redirected to, and
//! of which type the bytes are; [`labels`](ByteLabels) give it both.

use std::ffi::{CString, c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use ffmpeg_next as ff;
use ffmpeg_next::ffi;

use crate::media::byte_source::ByteSource;
use crate::media::remote::RemoteError;

/// Bytes of FFmpeg's own buffer: the default of its protocols (`IO_BUFFER_SIZE`).
const BUFFER: usize = 32 << 10;
/// Bytes from the start that are remembered, to tell the format of what could not be opened.
const HEAD: usize = 16 << 10;

/// Why reading failed.
type LastError = Arc<Mutex<Option<RemoteError>>>;

/// What FFmpeg may ask about bytes from a web server.
pub(super) struct ByteLabels {
    /// Their address, after redirects.
    pub(super) location: CString,
    /// What the server calls them.
    pub(super) mime_type: CString,
}

/// What FFmpeg hands to the callbacks, and an object with options of FFmpeg.
#[repr(C)]
struct IoState {
    /// First, as in every object with options.
    class: *const ffi::AVClass,
    location: *const c_char,
    mime_type: *const c_char,
    /// Owns what the two point to.
    _labels: Option<ByteLabels>,
    source: Box<dyn ByteSource>,
    head: Vec<u8>,
    error: LastError,
}

/// What FFmpeg reads through. Dropped after the container that uses it.
pub(super) struct ByteIo {
    context: *mut ffi::AVIOContext,
    error: LastError,
}

// SAFETY: one thread at a time uses the context, that of its container. What is behind it (a client, bytes, a handle of a
// task) is bound to no thread.
unsafe impl Send for ByteIo {}

impl ByteIo {
    /// Reads from `source`; none if there is no memory for it.
    pub(super) fn new(source: Box<dyn ByteSource>, labels: Option<ByteLabels>) -> Option<ByteIo> {
        let error = LastError::default();
        let seekable = source.is_seekable();
        let point = |text: fn(&ByteLabels) -> &CString| labels.as_ref().map_or(ptr::null(), |l| text(l).as_ptr());
        let state = Box::new(IoState {
            class: classes().state,
            location: point(|l| &l.location),
            mime_type: point(|l| &l.mime_type),
            _labels: labels,
            source,
            head: Vec::new(),
            error: error.clone(),
        });
        // SAFETY: the buffer is FFmpeg's own allocation, because FFmpeg may replace it. The box is given up here and taken
        // back in `drop`, or below if there is no context to hold it.
        unsafe {
            let buffer = ffi::av_malloc(BUFFER).cast::<u8>();
            let labelled = !state.location.is_null();
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
                return None;
            }
            if !seekable {
                (*context).seekable = 0;
            }
            if labelled {
                (*context).av_class = classes().context;
            }
            Some(ByteIo { context, error })
        }
    }

    /// For FFmpeg; valid as long as `self`.
    pub(super) fn context(&self) -> *mut ffi::AVIOContext {
        self.context
    }

    fn state(&mut self) -> &mut IoState {
        // SAFETY: set in `new`. FFmpeg reads only while it is called, so there is no other reference.
        unsafe { &mut *(*self.context).opaque.cast::<IoState>() }
    }

    /// Whether it pays to jump from keyframe to keyframe.
    pub(super) fn is_by_ranges(&self) -> bool {
        // SAFETY: as for `state`.
        unsafe { (*(*self.context).opaque.cast::<IoState>()).source.is_by_ranges() }
    }

    /// Announces which bytes the next jump needs, and which the jump after that. Called only between two calls of FFmpeg.
    pub(super) fn expect(&mut self, next: Range<u64>, following: Option<Range<u64>>) {
        self.state().source.expect(next, following);
    }

    /// The first bytes, as far as they were read.
    pub(super) fn head(&mut self) -> Vec<u8> {
        self.state().head.clone()
    }

    /// Why reading failed.
    pub(super) fn error(&self) -> Option<RemoteError> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for ByteIo {
    fn drop(&mut self) {
        // SAFETY: made in `new`, and no longer used. FFmpeg may have replaced the buffer.
        unsafe {
            drop(Box::from_raw((*self.context).opaque.cast::<IoState>()));
            ffi::av_freep((&raw mut (*self.context).buffer).cast());
            ffi::avio_context_free(&raw mut self.context);
        }
    }
}

unsafe extern "C" fn read(state: *mut c_void, buffer: *mut u8, size: c_int) -> c_int {
    // SAFETY: FFmpeg passes what was set in `new`, and a buffer of that size.
    let (state, out) = unsafe {
        let size = usize::try_from(size).unwrap_or(0);
        (&mut *state.cast::<IoState>(), std::slice::from_raw_parts_mut(buffer, size))
    };
    // A panic must not unwind through FFmpeg's frames.
    let at = state.source.position();
    let read = catch_unwind(AssertUnwindSafe(|| state.source.read(out)));
    match read.unwrap_or_else(|_| Err(RemoteError::Other("reading it failed".into()))) {
        Ok(0) => ffi::AVERROR_EOF,
        Ok(n) => {
            if at == state.head.len() as u64 && state.head.len() < HEAD {
                state.head.extend_from_slice(&out[..n.min(HEAD - state.head.len())]);
            }
            n as c_int
        }
        Err(error) => {
            let code = error_code(&error);
            *state.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            code
        }
    }
}

unsafe extern "C" fn seek(state: *mut c_void, offset: i64, whence: c_int) -> i64 {
    // SAFETY: FFmpeg passes what was set in `new`.
    let source = unsafe { &mut (*state.cast::<IoState>()).source };
    let size = source.size().map(|size| i64::try_from(size).unwrap_or(i64::MAX));
    let target = match whence & !ffi::AVSEEK_FORCE {
        w if w == ffi::AVSEEK_SIZE => return size.unwrap_or(i64::from(ffi::AVERROR(ff::util::error::ENOSYS))),
        _ if !source.is_seekable() => return i64::from(ffi::AVERROR(ff::util::error::EPIPE)),
        // SEEK_SET, SEEK_CUR and SEEK_END.
        0 => Some(offset),
        1 => i64::try_from(source.position()).ok().and_then(|at| at.checked_add(offset)),
        2 => size.and_then(|size| size.checked_add(offset)),
        _ => None,
    };
    match target.and_then(|t| u64::try_from(t).ok()) {
        Some(target) => {
            source.seek(target);
            target as i64
        }
        None => i64::from(ffi::AVERROR(ff::util::error::EINVAL)),
    }
}

/// What FFmpeg calls a failure.
pub(super) fn error_code(e: &RemoteError) -> c_int {
    match e {
        RemoteError::Interrupted => ffi::AVERROR_EXIT,
        RemoteError::Late(_) => ffi::AVERROR(ff::util::error::ETIMEDOUT),
        RemoteError::Status(401) => ffi::AVERROR_HTTP_UNAUTHORIZED,
        RemoteError::Status(403) => ffi::AVERROR_HTTP_FORBIDDEN,
        RemoteError::Status(404 | 410) | RemoteError::Absent => ffi::AVERROR_HTTP_NOT_FOUND,
        RemoteError::Status(500..=599) => ffi::AVERROR_HTTP_SERVER_ERROR,
        RemoteError::Status(_) => ffi::AVERROR_HTTP_OTHER_4XX,
        RemoteError::Refused(_) | RemoteError::Untrusted(_) => ffi::AVERROR(ff::util::error::EPERM),
        RemoteError::Changed | RemoteError::Other(_) => ffi::AVERROR(ff::util::error::EIO),
    }
}

/// The classes of a context and of its state: how FFmpeg finds the labels.
struct IoClasses {
    context: *const ffi::AVClass,
    state: *const ffi::AVClass,
}

// SAFETY: what they point to is never changed and never freed.
unsafe impl Send for IoClasses {}
// SAFETY: as above.
unsafe impl Sync for IoClasses {}

fn classes() -> &'static IoClasses {
    static CLASSES: OnceLock<IoClasses> = OnceLock::new();
    CLASSES.get_or_init(|| {
        // SAFETY: zero is null or nothing in every field of both structures, except for the type of an option, whose values
        // differ between versions of FFmpeg: an option is never read as a whole. The list of options ends with one without a
        // name. All of it lives as long as the process.
        unsafe {
            let option = |name: &'static std::ffi::CStr, offset: usize| {
                let mut option = MaybeUninit::<ffi::AVOption>::zeroed();
                let field = option.as_mut_ptr();
                (*field).name = name.as_ptr();
                (*field).offset = offset as c_int;
                (*field).type_ = ffi::AVOptionType::AV_OPT_TYPE_STRING;
                option
            };
            let options = Box::leak(Box::new([
                option(c"location", std::mem::offset_of!(IoState, location)),
                option(c"mime_type", std::mem::offset_of!(IoState, mime_type)),
                MaybeUninit::zeroed(),
            ]));
            let class = |name: &'static std::ffi::CStr| {
                let mut class: ffi::AVClass = std::mem::zeroed();
                class.class_name = name.as_ptr();
                class.item_name = Some(ffi::av_default_item_name);
                class.version = ffi::avutil_version() as c_int;
                class
            };
            let mut state = class(c"DescryBytes");
            state.option = options.as_ptr().cast();
            let mut context = class(c"DescryIO");
            context.child_next = Some(state_of);
            IoClasses { context: Box::leak(Box::new(context)), state: Box::leak(Box::new(state)) }
        }
    })
}

/// The one child of a context: its state.
unsafe extern "C" fn state_of(context: *mut c_void, previous: *mut c_void) -> *mut c_void {
    // SAFETY: only contexts made in `new` have the class that names this function.
    if previous.is_null() { unsafe { (*context.cast::<ffi::AVIOContext>()).opaque } } else { ptr::null_mut() }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Zeros(u64);

    impl ByteSource for Zeros {
        fn read(&mut self, out: &mut [u8]) -> Result<usize, RemoteError> {
            out.fill(0);
            self.0 += out.len() as u64;
            Ok(out.len())
        }

        fn seek(&mut self, position: u64) {
            self.0 = position;
        }

        fn position(&self) -> u64 {
            self.0
        }

        fn size(&self) -> Option<u64> {
            None
        }
    }

    #[test]
    fn ffmpeg_finds_the_labels() {
        let labels = ByteLabels { location: c"http://host/b.m3u8".into(), mime_type: c"video/mp4".into() };
        let io = ByteIo::new(Box::new(Zeros(0)), Some(labels)).unwrap();
        for (name, want) in
            [(c"location", Some("http://host/b.m3u8")), (c"mime_type", Some("video/mp4")), (c"cookies", None)]
        {
            let mut found = ptr::null_mut();
            let children = ffi::AV_OPT_SEARCH_CHILDREN as c_int;
            // SAFETY: the context is valid; FFmpeg allocates what it finds.
            let text = unsafe {
                let code = ffi::av_opt_get(io.context().cast(), name.as_ptr(), children, &raw mut found);
                let text = (code >= 0).then(|| std::ffi::CStr::from_ptr(found.cast()).to_str().unwrap().to_string());
                ffi::av_free(found.cast());
                text
            };
            assert_eq!(text.as_deref(), want, "{name:?}");
        }
    }
}
