//! FFmpeg's side of an encoder, which is the same for sound and for pictures.

use std::ffi::CStr;

use ffmpeg_next as ff;
use ffmpeg_next::ffi;
use ffmpeg_next::packet::Mut;

/// An encoder that is filled by its owner, opened, and then encodes frame by frame.
pub(super) struct EncoderContext {
    raw: *mut ffi::AVCodecContext,
    codec: *const ffi::AVCodec,
}

// SAFETY: the context is bound to no thread, and one thread at a time uses it.
unsafe impl Send for EncoderContext {}

impl EncoderContext {
    /// Of the encoder with FFmpeg's name.
    ///
    /// # Errors
    /// If this FFmpeg has no such encoder, or there is no memory for it.
    pub(super) fn new(encoder: &CStr) -> Result<EncoderContext, ff::Error> {
        // SAFETY: a look-up by a C string, and a context for what was found, which `drop` frees.
        unsafe {
            let codec = ffi::avcodec_find_encoder_by_name(encoder.as_ptr());
            if codec.is_null() {
                return Err(ff::Error::EncoderNotFound);
            }
            let raw = ffi::avcodec_alloc_context3(codec);
            if raw.is_null() {
                return Err(ff::Error::Other { errno: ff::util::error::ENOMEM });
            }
            // Without the version of the encoder: the same input gives the same bytes.
            (*raw).flags |= ffi::AV_CODEC_FLAG_BITEXACT as i32;
            // Containers want it; those that do not ignore it.
            (*raw).flags |= ffi::AV_CODEC_FLAG_GLOBAL_HEADER as i32;
            Ok(EncoderContext { raw, codec })
        }
    }

    /// The context, valid for as long as this lives.
    pub(super) fn as_ptr(&self) -> *mut ffi::AVCodecContext {
        self.raw
    }

    /// The encoder.
    pub(super) fn codec(&self) -> *const ffi::AVCodec {
        self.codec
    }

    /// Opens the encoder, once it has been filled.
    ///
    /// # Errors
    /// If it refuses what it was filled with.
    pub(super) fn open(&mut self, options: ff::Dictionary<'_>) -> Result<(), ff::Error> {
        // SAFETY: a context of this encoder. The options are FFmpeg's until it returns those that it did not use.
        let opened = unsafe {
            let mut options = options.disown();
            let opened = ffi::avcodec_open2(self.raw, self.codec, &raw mut options);
            ffi::av_dict_free(&raw mut options);
            opened
        };
        if opened < 0 { Err(ff::Error::from(opened)) } else { Ok(()) }
    }

    /// Gives a stream the parameters of the encoder.
    ///
    /// # Safety
    /// `parameters` must be valid.
    pub(super) unsafe fn describe(&self, parameters: *mut ffi::AVCodecParameters) -> i32 {
        // SAFETY: both are valid.
        unsafe { ffi::avcodec_parameters_from_context(parameters, self.raw) }
    }

    /// Encodes a frame, or null for the end, and appends the packets that are ready.
    ///
    /// # Errors
    /// If the encoder fails.
    ///
    /// # Safety
    /// The encoder must be open, and `frame` null or valid.
    pub(super) unsafe fn encode(
        &mut self,
        frame: *const ffi::AVFrame,
        out: &mut Vec<ff::Packet>,
    ) -> Result<(), ff::Error> {
        // SAFETY: an open encoder, and a frame that it only refers to, or none for the end.
        let sent = unsafe { ffi::avcodec_send_frame(self.raw, frame) };
        if sent < 0 {
            return Err(ff::Error::from(sent));
        }
        loop {
            let mut packet = ff::Packet::empty();
            // SAFETY: an open encoder and a valid packet.
            let code = unsafe { ffi::avcodec_receive_packet(self.raw, packet.as_mut_ptr()) };
            match ff::Error::from(code) {
                _ if code >= 0 => out.push(packet),
                ff::Error::Eof => return Ok(()),
                ff::Error::Other { errno } if errno == ff::util::error::EAGAIN => return Ok(()),
                e => return Err(e),
            }
        }
    }
}

impl Drop for EncoderContext {
    fn drop(&mut self) {
        // SAFETY: made in `new`, and dropped here alone.
        unsafe { ffi::avcodec_free_context(&raw mut self.raw) };
    }
}
