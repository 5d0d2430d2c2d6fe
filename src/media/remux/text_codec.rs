//! Tracks of texts that this program writes: their headers, and texts as bytes of a packet.

use std::ffi::c_int;

use ffmpeg_next as ff;
use ffmpeg_next::ffi;

use crate::media::ffmpeg::sound::TextCodec;

/// Longest text of a packet in bytes: `mov_text` says in two bytes how long one is.
pub(super) const LONGEST_TEXT: usize = u16::MAX as usize;
/// How `mov_text` is shown: a box of QuickTime's timed text with its usual values, and one font.
const MOV_TEXT_HEADER: [u8; 43] = [
    0, 0, 0, 0, 1, 0xFF, 0, 0, 0, 0, // flags, justification, background
    0, 0, 0, 0, 0, 0, 0, 0, // box
    0, 0, 0, 0, 0, 1, 0, 18, 0xFF, 0xFF, 0xFF, 0xFF, // style: all characters, font 1, 18 points, white
    0, 0, 0, 13, b'f', b't', b'a', b'b', 0, 1, 0, 1, 0, // font table: one font without a name
];

/// Gives a new track of texts its codec and its header. Returns FFmpeg's code of an error, or 0.
///
/// # Safety
/// `parameters` must be valid, and have no header yet.
pub(super) unsafe fn describe_texts(parameters: *mut ffi::AVCodecParameters, codec: TextCodec) -> c_int {
    // SAFETY: valid parameters. Their header is FFmpeg's own allocation, with the padding that FFmpeg asks for.
    unsafe {
        codec.set(parameters);
        if codec == TextCodec::MovText {
            let length = MOV_TEXT_HEADER.len();
            let header = ffi::av_mallocz(length + ffi::AV_INPUT_BUFFER_PADDING_SIZE as usize).cast::<u8>();
            if header.is_null() {
                return ffi::AVERROR(ff::util::error::ENOMEM);
            }
            std::ptr::copy_nonoverlapping(MOV_TEXT_HEADER.as_ptr(), header, length);
            (*parameters).extradata = header;
            (*parameters).extradata_size = length as c_int;
        }
    }
    0
}

/// A packet that shows a text, with times in ticks. A text of more than [`LONGEST_TEXT`] bytes is cut.
pub(super) fn text_packet(codec: TextCodec, text: &str, start: i64, end: i64) -> ff::Packet {
    let text = &text[..text.floor_char_boundary(LONGEST_TEXT)];
    let bytes = match codec {
        TextCodec::SubRip => text.as_bytes().to_vec(),
        TextCodec::WebVtt => text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").into_bytes(),
        TextCodec::MovText => [&(text.len() as u16).to_be_bytes(), text.as_bytes()].concat(),
    };
    let mut packet = ff::Packet::copy(&bytes);
    packet.set_pts(Some(start));
    packet.set_dts(Some(start));
    packet.set_duration(end.saturating_sub(start).max(1));
    packet.set_flags(ff::packet::Flags::KEY);
    packet
}
