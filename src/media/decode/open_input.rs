//! An open container, together with what it reads through.

use std::mem::ManuallyDrop;

use ffmpeg_next as ff;

use super::byte_io::ByteIo;
use super::reading::Reading;
use crate::time::Time;

/// An open container and what it reads through.
///
/// FFmpeg may still read while it closes a container. The two cannot be taken apart, so the container is closed first
/// however this value is moved or dropped. Nothing else keeps the container open: only [`ff::codec::Parameters`] would,
/// and [`ffmpeg`](crate::media::ffmpeg) reads parameters without them.
pub(super) struct OpenInput {
    input: ManuallyDrop<ff::format::context::Input>,
    reading: Reading,
}

impl OpenInput {
    /// `reading` is what `input` reads through.
    pub(super) fn new(input: ff::format::context::Input, reading: Reading) -> OpenInput {
        OpenInput { input: ManuallyDrop::new(input), reading }
    }

    pub(super) fn input(&self) -> &ff::format::context::Input {
        &self.input
    }

    pub(super) fn input_mut(&mut self) -> &mut ff::format::context::Input {
        &mut self.input
    }

    /// What the container reads through.
    pub(super) fn reading(&self) -> &Reading {
        &self.reading
    }

    /// The same, to be asked for more.
    pub(super) fn reading_mut(&mut self) -> &mut Reading {
        &mut self.reading
    }

    /// FFmpeg's name of the format.
    pub(super) fn format_name(&self) -> String {
        let input = self.input();
        input.format().name().to_string()
    }

    /// Start of the container's own clock, if it has one.
    pub(super) fn start_time(&self) -> Option<Time> {
        // SAFETY: a plain read of the open container's field.
        let start = unsafe { (*self.input.as_ptr()).start_time };
        (start != ff::ffi::AV_NOPTS_VALUE).then(|| Time::from_micros(start))
    }

    /// Duration by the header, if it has one.
    pub(super) fn duration(&self) -> Option<Time> {
        // SAFETY: a plain read of the open container's field.
        let duration = unsafe { (*self.input.as_ptr()).duration };
        (duration != ff::ffi::AV_NOPTS_VALUE && duration > 0).then(|| Time::from_micros(duration))
    }

    /// Demuxes only the streams with these indices from now on.
    pub(super) fn keep(&mut self, wanted: impl Fn(usize) -> bool) {
        for i in (0..self.input.nb_streams() as usize).filter(|i| !wanted(*i)) {
            if let Some(mut other) = self.input.stream_mut(i) {
                // SAFETY: a plain write to a field of a valid stream.
                unsafe { (*other.as_mut_ptr()).discard = ff::ffi::AVDiscard::AVDISCARD_ALL };
            }
        }
    }

    /// Both, for seeks that announce what they read.
    pub(super) fn parts_mut(&mut self) -> (&mut ff::format::context::Input, Option<&mut ByteIo>) {
        (&mut self.input, self.reading.io_mut())
    }
}

impl Drop for OpenInput {
    fn drop(&mut self) {
        // SAFETY: here alone, and never used again. `reading` is dropped after this.
        unsafe { ManuallyDrop::drop(&mut self.input) };
    }
}
