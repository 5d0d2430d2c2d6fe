//! The same for sound and for what is written: formats of samples, and which codec a container can hold.

use std::ffi::{CStr, c_char, c_int, c_uint};
use std::ptr;

use ffmpeg_next as ff;
use ffmpeg_next::ffi;

/// FFmpeg's own functions, as C sees them: an enumeration is an `int`.
mod c {
    use super::*;

    unsafe extern "C" {
        pub(super) fn av_get_sample_fmt(name: *const c_char) -> c_int;
        pub(super) fn avformat_query_codec(format: *const ffi::AVOutputFormat, id: c_uint, compliance: c_int) -> c_int;
        pub(super) fn av_codec_get_id(tags: *const *const ffi::AVCodecTag, tag: c_uint) -> c_uint;
        pub(super) fn av_codec_get_tag2(tags: *const *const ffi::AVCodecTag, id: c_uint, tag: *mut c_uint) -> c_int;
        pub(super) fn av_channel_layout_channel_from_index(layout: *const ffi::AVChannelLayout, index: c_uint)
        -> c_int;
    }
}

/// What a stream holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamKind {
    Video,
    Sound,
    Text,
    /// Fonts, time codes and whatever else there is.
    Other,
}

impl StreamKind {
    pub(crate) fn of(stream: &ff::format::stream::Stream<'_>) -> StreamKind {
        use ffi::AVMediaType::{AVMEDIA_TYPE_AUDIO, AVMEDIA_TYPE_SUBTITLE, AVMEDIA_TYPE_VIDEO};
        let medium = super::medium(stream);
        match medium {
            _ if medium == AVMEDIA_TYPE_VIDEO as c_int => StreamKind::Video,
            _ if medium == AVMEDIA_TYPE_AUDIO as c_int => StreamKind::Sound,
            _ if medium == AVMEDIA_TYPE_SUBTITLE as c_int => StreamKind::Text,
            _ => StreamKind::Other,
        }
    }
}

/// A format of samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SampleFormat(c_int);

impl SampleFormat {
    /// The format of this name, which FFmpeg must know.
    pub(crate) fn named(name: &CStr) -> SampleFormat {
        // SAFETY: a look-up in FFmpeg's static table, which takes any C string.
        SampleFormat(unsafe { c::av_get_sample_fmt(name.as_ptr()) })
    }

    /// Interleaved 32-bit floating point.
    pub(crate) fn float() -> SampleFormat {
        SampleFormat(ffi::AVSampleFormat::AV_SAMPLE_FMT_FLT as c_int)
    }

    /// Makes it the format of a frame that has no buffers yet.
    ///
    /// # Safety
    /// `frame` must be valid.
    pub(crate) unsafe fn set_frame(self, frame: *mut ffi::AVFrame) {
        // SAFETY: a plain write of an integer to a valid frame.
        unsafe { (*frame).format = self.0 };
    }

    /// Makes it the format of an encoder that is not open yet.
    ///
    /// # Safety
    /// `context` must be valid.
    pub(crate) unsafe fn set_encoder(self, context: *mut ffi::AVCodecContext) {
        // SAFETY: a write to a valid context's field, as the integer that it is in C.
        unsafe { ptr::addr_of_mut!((*context).sample_fmt).cast::<c_int>().write(self.0) };
    }
}

/// The speaker of a channel: an `AVChannel`, or any other integer.
///
/// # Safety
/// `layout` must be valid.
pub(crate) unsafe fn speaker(layout: *const ffi::AVChannelLayout, channel: u32) -> c_int {
    // SAFETY: a look-up in a valid layout, which takes any index.
    unsafe { c::av_channel_layout_channel_from_index(layout, channel) }
}

/// Whether a container can hold the codec of a stream.
///
/// # Safety
/// `format` must be one of FFmpeg's formats.
pub(crate) unsafe fn holds(format: *const ffi::AVOutputFormat, stream: &ff::format::stream::Stream<'_>) -> bool {
    // SAFETY: a look-up in static tables, which takes any integer as the codec.
    unsafe { c::avformat_query_codec(format, super::codec_id(stream), ffi::FF_COMPLIANCE_EXPERIMENTAL) == 1 }
}

/// The tag of a copied stream: its own, if that means the same codec in the container or nothing there, otherwise 0, for
/// which the container chooses.
///
/// # Safety
/// `format` must be one of FFmpeg's formats.
pub(crate) unsafe fn tag_of_copy(format: *const ffi::AVOutputFormat, stream: &ff::format::stream::Stream<'_>) -> u32 {
    let id = super::codec_id(stream);
    // SAFETY: reads of a valid stream's integers, and look-ups in static tables, which take any integer.
    unsafe {
        let own = (*super::parameters(stream)).codec_tag;
        let tags = (*format).codec_tag;
        let mut other = 0;
        let fits = tags.is_null()
            || c::av_codec_get_id(tags, own) == id
            || c::av_codec_get_tag2(tags, id, &raw mut other) == 0;
        if fits { own } else { 0 }
    }
}

/// A codec of texts that this program writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TextCodec {
    SubRip,
    WebVtt,
    MovText,
}

impl TextCodec {
    /// The name for people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            TextCodec::SubRip => "SubRip",
            TextCodec::WebVtt => "WebVTT",
            TextCodec::MovText => "mov_text",
        }
    }

    /// Makes parameters those of a track of such texts.
    ///
    /// # Safety
    /// `parameters` must be valid.
    pub(crate) unsafe fn set(self, parameters: *mut ffi::AVCodecParameters) {
        use ffi::AVCodecID::{AV_CODEC_ID_MOV_TEXT, AV_CODEC_ID_SUBRIP, AV_CODEC_ID_WEBVTT};
        let id = match self {
            TextCodec::SubRip => AV_CODEC_ID_SUBRIP,
            TextCodec::WebVtt => AV_CODEC_ID_WEBVTT,
            TextCodec::MovText => AV_CODEC_ID_MOV_TEXT,
        };
        // SAFETY: writes of values that the enumerations have.
        unsafe {
            (*parameters).codec_type = ffi::AVMediaType::AVMEDIA_TYPE_SUBTITLE;
            (*parameters).codec_id = id;
        }
    }
}
