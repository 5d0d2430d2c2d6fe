//! What a decoder and its owner share: errors that were concealed, and a say in which frames may be allocated.

use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use ffmpeg_next as ff;
use ffmpeg_next::ffi;
use serde::{Deserialize, Serialize};

use crate::media::ffmpeg::PixelFormat;

/// The size of a frame in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameSize {
    /// Pixels across, with those that a decoder adds.
    pub width: u32,
    /// Pixels down, with those that a decoder adds.
    pub height: u32,
    /// Bits that a pixel takes in memory.
    pub bits_per_pixel: u32,
}

/// Decides which frames a decoder may allocate: a stream can change its size at any frame.
pub trait FrameGate: Send + Sync {
    /// Whether a frame of this size may be allocated. Called before that happens, on any thread, and may wait. Decoders
    /// that allocate frames by themselves (AV1 through dav1d) do not ask.
    fn admits(&self, size: FrameSize) -> bool;

    /// The most that a film of such frames takes, in megabytes: a decoder in a process of its own is limited to a multiple.
    fn film_mb(&self, size: FrameSize) -> usize;
}

/// What the decoder's context points to.
#[derive(Default)]
pub(super) struct DecoderState {
    /// Frames in which errors were concealed.
    pub(super) concealed: AtomicU64,
    gate: OnceLock<Arc<dyn FrameGate>>,
    /// Whether the gate has refused a frame.
    pub(super) refused: AtomicBool,
}

impl DecoderState {
    /// Asks `gate` before every frame from now on. Only the first gate counts.
    ///
    /// # Safety
    /// `context` must be valid and not in use by another thread, and its opaque pointer must lead to `self`, which must
    /// live longer than the context.
    pub(super) unsafe fn guard(&self, context: *mut ffi::AVCodecContext, gate: Arc<dyn FrameGate>) {
        if self.gate.set(gate).is_ok() {
            // SAFETY: a plain write to a valid context's field. A decoder's threads take it over with their next packet.
            unsafe { (*context).get_buffer2 = Some(gated_buffer) };
        }
    }
}

/// Allocates a frame as FFmpeg does, if the gate admits it.
unsafe extern "C" fn gated_buffer(context: *mut ffi::AVCodecContext, frame: *mut ffi::AVFrame, flags: c_int) -> c_int {
    // SAFETY: FFmpeg passes a valid context and frame. The context is one that `guard` has seen, or a copy of it for a
    // decoder's thread, so its opaque pointer leads to the state.
    unsafe {
        let size = FrameSize {
            width: u32::try_from((*frame).width).unwrap_or(0),
            height: u32::try_from((*frame).height).unwrap_or(0),
            bits_per_pixel: PixelFormat::of_raw(frame).bits_per_pixel(),
        };
        if let Some(state) = (*context).opaque.cast::<DecoderState>().as_ref()
            && let Some(gate) = state.gate.get()
            // A panic must not unwind through FFmpeg's frames.
            && !catch_unwind(AssertUnwindSafe(|| gate.admits(size))).unwrap_or(false)
        {
            state.refused.store(true, Ordering::Relaxed);
            return ffi::AVERROR(ff::util::error::ENOMEM);
        }
        ffi::avcodec_default_get_buffer2(context, frame, flags)
    }
}
