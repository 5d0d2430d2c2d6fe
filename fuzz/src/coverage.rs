//! What FFmpeg does, as far as it shows: FFmpeg is a library of the system, whose code is not instrumented.
//!
//! Each kind of message that FFmpeg logs, and each combination of container, codec and pixel format, has a counter among
//! libFuzzer's extra ones. So an input that makes FFmpeg complain about something new is kept like one that reaches new code.

use std::ffi::{c_char, c_int, c_void};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU8, Ordering};

use ffmpeg_next::ffi;

const COUNTERS: usize = 1 << 14;

/// libFuzzer reads everything in a section of this name, and clears it before each input.
#[cfg_attr(target_os = "linux", unsafe(link_section = "__libfuzzer_extra_counters"))]
static COUNTS: [AtomicU8; COUNTERS] = [const { AtomicU8::new(0) }; COUNTERS];

/// Counts something that an input has reached.
pub fn reached(what: impl Hash) {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    COUNTS[hasher.finish() as usize % COUNTERS].fetch_add(1, Ordering::Relaxed);
}

/// Counts FFmpeg's messages from now on. descry's own count of concealed errors is off then.
pub fn watch_ffmpeg() {
    // descry sets its own callback when it first opens something.
    let _ = descry::media::container_version();
    let _ = descry::media::Source::open(&"/".into(), &Default::default(), descry::interrupt::Interrupt::new());
    // SAFETY: the callback is a plain function that is safe to call from any thread.
    unsafe { ffi::av_log_set_callback(Some(count_message)) };
}

/// Generic over the argument list, whose type differs from platform to platform and which is not read.
unsafe extern "C" fn count_message<T>(_context: *mut c_void, level: c_int, format: *const c_char, _arguments: T) {
    if level <= ffi::AV_LOG_VERBOSE {
        // Messages are literals, so the address tells them apart.
        reached(format as usize);
    }
}
