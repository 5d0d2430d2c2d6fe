//! An open container, together with what it reads through.

use std::mem::ManuallyDrop;

use ffmpeg_next as ff;

use super::object_io::ObjectIo;

/// An open container and the object that it reads through, if FFmpeg did not open the address itself.
///
/// FFmpeg may still read while it closes a container. The two cannot be taken apart, so the container is closed first
/// however this value is moved or dropped. Nothing else keeps the container open: only [`ff::codec::Parameters`] would,
/// and [`ffmpeg`](crate::media::ffmpeg) reads parameters without them.
pub(super) struct OpenInput {
    input: ManuallyDrop<ff::format::context::Input>,
    io: Option<ObjectIo>,
}

impl OpenInput {
    /// `io` is what `input` reads through.
    pub(super) fn new(input: ff::format::context::Input, io: Option<ObjectIo>) -> OpenInput {
        OpenInput { input: ManuallyDrop::new(input), io }
    }

    pub(super) fn input(&self) -> &ff::format::context::Input {
        &self.input
    }

    pub(super) fn input_mut(&mut self) -> &mut ff::format::context::Input {
        &mut self.input
    }

    /// What the container reads through.
    pub(super) fn io(&self) -> Option<&ObjectIo> {
        self.io.as_ref()
    }

    /// Both, for seeks that announce what they read.
    pub(super) fn parts_mut(&mut self) -> (&mut ff::format::context::Input, Option<&mut ObjectIo>) {
        (&mut self.input, self.io.as_mut())
    }
}

impl Drop for OpenInput {
    fn drop(&mut self) {
        // SAFETY: here alone, and never used again. `io` is dropped after this.
        unsafe { ManuallyDrop::drop(&mut self.input) };
    }
}
