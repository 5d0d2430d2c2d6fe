//! Decoded audio into interleaved floating point of one format, by FFmpeg's libswresample.

use std::ptr;

use ffmpeg_next as ff;
use ffmpeg_next::ffi;

use super::audio_format::AudioFormat;
use super::ffmpeg::sound::SampleFormat;

/// Converts frames of one format that follow one another. The first sample out has the time of the first sample in.
pub(super) struct Resampler {
    context: *mut ffi::SwrContext,
    format: AudioFormat,
    /// Whether there has been a frame.
    started: bool,
}

// SAFETY: the context is bound to no thread, and one thread at a time uses it.
unsafe impl Send for Resampler {}

impl Resampler {
    /// Converts into `format`, from that of the first frame. None if there is no memory for it.
    pub(super) fn new(format: AudioFormat) -> Option<Resampler> {
        // SAFETY: a new context, which `drop` frees.
        let context = unsafe { ffi::swr_alloc() };
        (!context.is_null()).then_some(Resampler { context, format, started: false })
    }

    /// Channels that are mixed into one never exceed the range.
    pub(super) fn within_range(self) -> Resampler {
        // SAFETY: an option of a valid context, which is not set up yet.
        unsafe { ffi::av_opt_set_double(self.context.cast(), c"rematrix_maxval".as_ptr(), 1.0, 0) };
        self
    }

    /// Converts a frame, and appends what is ready.
    ///
    /// # Errors
    /// If the frame has another format than those before, or one that cannot be converted.
    pub(super) fn convert(&mut self, frame: &ff::frame::Audio, to: &mut Vec<f32>) -> Result<(), ff::Error> {
        self.started = true;
        // SAFETY: a valid frame.
        unsafe { self.run(frame.as_ptr(), to) }.map(drop)
    }

    /// Appends what is left. Nothing follows.
    pub(super) fn finish(mut self, to: &mut Vec<f32>) {
        // SAFETY: no frame asks for what is left.
        while self.started && unsafe { self.run(ptr::null(), to) }.is_ok_and(|frames| frames > 0) {}
    }

    /// # Safety
    /// `frame` must be null or valid.
    unsafe fn run(&mut self, frame: *const ffi::AVFrame, to: &mut Vec<f32>) -> Result<usize, ff::Error> {
        let mut out = ff::frame::Audio::empty();
        // SAFETY: the context and both frames are valid. FFmpeg checks the format of what goes in, allocates what comes out,
        // and fills it with as many samples as it says.
        unsafe {
            let raw = out.as_mut_ptr();
            SampleFormat::float().set_frame(raw);
            (*raw).sample_rate = i32::try_from(self.format.rate).unwrap_or(48_000);
            self.format.copy_to(&raw mut (*raw).ch_layout);
            let code = ffi::swr_convert_frame(self.context, raw, frame);
            if code < 0 {
                return Err(ff::Error::from(code));
            }
            let (data, frames) = ((*raw).data[0].cast::<f32>(), usize::try_from((*raw).nb_samples).unwrap_or(0));
            if data.is_null() {
                return Ok(0);
            }
            to.extend_from_slice(std::slice::from_raw_parts(data, frames * self.format.channels()));
            Ok(frames)
        }
    }
}

impl Drop for Resampler {
    fn drop(&mut self) {
        // SAFETY: made in `new`, and dropped here alone.
        unsafe { ffi::swr_free(&raw mut self.context) };
    }
}
