//! Decoded sound into mono at [`AUDIO_RATE`], by FFmpeg's libswresample.

use std::ptr;

use ffmpeg_next as ff;
use ffmpeg_next::ffi;
use ffmpeg_next::format::sample::Type::Packed;

use crate::media::side_track::AUDIO_RATE;

/// Converts frames of one format that follow one another. The first sample out has the time of the first sample in.
pub(super) struct Resampler {
    context: *mut ffi::SwrContext,
    /// Whether there has been a frame.
    started: bool,
}

// SAFETY: the context is bound to no thread, and one thread at a time uses it.
unsafe impl Send for Resampler {}

impl Resampler {
    /// None if there is no memory for it. The format is that of the first frame.
    pub(super) fn new() -> Option<Resampler> {
        // SAFETY: a new context, of which an option is set. All channels together never exceed the range.
        unsafe {
            let context = ffi::swr_alloc();
            if context.is_null() {
                return None;
            }
            ffi::av_opt_set_double(context.cast(), c"rematrix_maxval".as_ptr(), 1.0, 0);
            Some(Resampler { context, started: false })
        }
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
        while self.started && unsafe { self.run(ptr::null(), to) }.is_ok_and(|samples| samples > 0) {}
    }

    /// # Safety
    /// `frame` must be null or valid.
    unsafe fn run(&mut self, frame: *const ffi::AVFrame, to: &mut Vec<f32>) -> Result<usize, ff::Error> {
        let mut out = ff::frame::Audio::empty();
        out.set_format(ff::format::Sample::F32(Packed));
        out.set_channel_layout(ff::ChannelLayout::MONO);
        out.set_rate(AUDIO_RATE);
        // SAFETY: the context and both frames are valid. FFmpeg checks the format, and allocates the samples.
        let code = unsafe { ffi::swr_convert_frame(self.context, out.as_mut_ptr(), frame) };
        if code < 0 {
            return Err(ff::Error::from(code));
        }
        // SAFETY: FFmpeg has allocated and filled so many samples of the format that was asked for.
        let samples = unsafe {
            let (data, count) = ((*out.as_ptr()).data[0].cast::<f32>(), (*out.as_ptr()).nb_samples);
            if data.is_null() || count <= 0 { &[] } else { std::slice::from_raw_parts(data, count as usize) }
        };
        to.extend_from_slice(samples);
        Ok(samples.len())
    }
}

impl Drop for Resampler {
    fn drop(&mut self) {
        // SAFETY: made in `new`, and dropped here alone.
        unsafe { ffi::swr_free(&raw mut self.context) };
    }
}
