//! Starting FFmpeg, and what it logs.
//!
//! FFmpeg logs through one callback for the whole process. By default nothing is printed: the callback only counts
//! concealed errors. [`print_warnings`] prints FFmpeg's warnings too, without credentials.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::io::Write;
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use ffmpeg_next as ff;
use ffmpeg_next::ffi;

use super::gate::DecoderState;
use crate::address::hide;
use crate::printable::printable_message;

/// Longest line that is printed, in bytes. FFmpeg's own callback has the same limit (`LINE_SZ`).
const LINE: usize = 1024;

/// Whether warnings are printed.
static PRINTS: AtomicBool = AtomicBool::new(false);

/// Prepares FFmpeg, once a process. Every way into FFmpeg calls this first.
pub(crate) fn init() {
    static INIT: Once = Once::new();
    INIT.call_once(|| {
        // `init` only registers; it cannot fail on any FFmpeg since 4.0.
        let _ = ff::init();
        ff::format::network::init();
        ff::util::log::set_level(ff::util::log::Level::Quiet);
        // SAFETY: the callback is a plain function that is safe to call from any thread.
        unsafe { ffi::av_log_set_callback(Some(count_concealed)) };
    });
}

/// Prints FFmpeg's warnings to standard error from now on, without the credentials of any address.
pub fn print_warnings() {
    init();
    // SAFETY: the callback is a plain function that is safe to call from any thread.
    unsafe { ffi::av_log_set_callback(Some(print_and_count)) };
    ff::util::log::set_level(ff::util::log::Level::Warning);
    PRINTS.store(true, Ordering::Relaxed);
}

/// Whether [`print_warnings`] was called.
pub(crate) fn prints_warnings() -> bool {
    PRINTS.load(Ordering::Relaxed)
}

/// Makes a codec context count the frames whose errors its decoder conceals.
///
/// # Safety
/// `context` must be valid, and `state` must live longer than the context.
pub(super) unsafe fn count_concealed_in(context: *mut ffi::AVCodecContext, state: *const DecoderState) {
    // SAFETY: a plain write to a valid context's field, which FFmpeg leaves to its user.
    unsafe { (*context).opaque = state.cast_mut().cast() };
}

/// Counts frames that a decoder had to make up in part.
///
/// A frame's flags are not reliable: with frame threads they are copied while the frame may still be decoded (before
/// FFmpeg 7), so a broken file would be broken in one run and whole in the next. But FFmpeg always logs each such frame.
///
/// Generic over the argument list, whose type differs from platform to platform and which is not read.
unsafe extern "C" fn count_concealed<T>(context: *mut c_void, _level: c_int, format: *const c_char, _arguments: T) {
    // SAFETY: FFmpeg logs with a C string, and for null or a structure that begins with a pointer to its class. A codec
    // context with an opaque pointer is one of ours: it points to a state that lives longer than the context.
    unsafe {
        if context.is_null() || format.is_null() || !CStr::from_ptr(format).to_bytes().starts_with(b"concealing ") {
            return;
        }
        // Not as a reference: a class holds an enumeration.
        let class = *context.cast::<*const ffi::AVClass>();
        let name = if class.is_null() { ptr::null() } else { (*class).class_name };
        if !name.is_null()
            && CStr::from_ptr(name) == c"AVCodecContext"
            && let Some(state) = (*context.cast::<ffi::AVCodecContext>()).opaque.cast::<DecoderState>().as_ref()
        {
            state.concealed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Prints a warning without credentials, and counts as [`count_concealed`].
unsafe extern "C" fn print_and_count<T: Copy>(context: *mut c_void, level: c_int, format: *const c_char, arguments: T) {
    type FormatLine<T> =
        unsafe extern "C" fn(*mut c_void, c_int, *const c_char, T, *mut c_char, c_int, *mut c_int) -> c_int;
    static PREFIX: AtomicI32 = AtomicI32::new(1);
    if level > ffi::AV_LOG_WARNING {
        return;
    }
    let mut line = [0u8; LINE];
    let mut prefix = PREFIX.load(Ordering::Relaxed);
    // SAFETY: FFmpeg's own function, with the argument list that came in, whose type is the platform's own. It ends the
    // line with a zero within its size.
    unsafe {
        let format_line: FormatLine<T> = std::mem::transmute(ffi::av_log_format_line2 as *const ());
        format_line(context, level, format, arguments, line.as_mut_ptr().cast(), line.len() as c_int, &raw mut prefix);
        count_concealed(context, level, format, arguments);
    }
    PREFIX.store(prefix, Ordering::Relaxed);
    let mut text = CStr::from_bytes_until_nul(&line).unwrap_or_default().to_string_lossy();
    // A line that is cut off loses its last word: half a password would not be recognised as one.
    if text.len() + 1 >= line.len() {
        let whole = text.rfind(char::is_whitespace).unwrap_or(0);
        text = format!("{}…\n", &text[..whole]).into();
    }
    // A closed standard error must not end the work.
    let _ = std::io::stderr().write_all(printable_message(&hide(&text)).as_bytes());
}
