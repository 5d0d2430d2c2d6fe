//! Scaling and colour conversion by FFmpeg's swscale.

use std::ptr;

use ffmpeg_next as ff;
use ffmpeg_next::ffi;

use crate::media::ffmpeg::{PixelFormat, ScalerSide, color_range, color_space, scaler};
use crate::media::resize::Window;

/// Which rows of a frame are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rows {
    /// All of them.
    All,
    /// Every second one, from the first: the top field of an interlaced frame.
    OneField,
}

/// Bytes behind a target that swscale's vector code may touch.
const SLACK: usize = 64;
/// Frames with more rows are high definition, whose colours are Rec. 709 unless the stream says otherwise: the rows of
/// PAL, the larger of the two standard-definition systems.
const SD_ROWS: u32 = 576;

/// Scales rows of a frame to `width` × `height`, full range, three bytes a pixel.
///
/// `to` is RGB24 (packed) or YUVJ444P (three planes, one behind the other). Returns `None` if swscale refuses the
/// frame's format.
pub(crate) fn scale(frame: &ff::frame::Video, rows: Rows, to: PixelFormat, width: u32, height: u32) -> Option<Vec<u8>> {
    let (lines, stride) = match rows {
        Rows::All => (frame.height(), 1),
        Rows::OneField => (frame.height() / 2, 2),
    };
    let plane = width as usize * height as usize;
    let mut out = vec![0u8; plane * 3 + SLACK];
    let shrinks = width < frame.width() || height < lines;
    let filter = if shrinks { ffi::SWS_AREA } else { ffi::SWS_BICUBIC };
    let flags = filter | ffi::SWS_ACCURATE_RND | ffi::SWS_FULL_CHR_H_INT;
    // SAFETY: the context is made for exactly these sizes and formats and freed below. Source pointers come from a valid
    // frame and are read for `lines` rows only. `out` holds three bytes a pixel, which both targets need, and `SLACK`.
    let scaled = unsafe {
        let (w, h, to_w, to_h) = (frame.width() as i32, lines as i32, width as i32, height as i32);
        let from = ScalerSide { width: w, height: h, format: PixelFormat::of(frame) };
        let context = scaler(from, ScalerSide { width: to_w, height: to_h, format: to }, flags);
        if context.is_null() {
            return None;
        }
        let av = frame.as_ptr();
        let table = ffi::sws_getCoefficients(coefficients(color_space(frame), frame.height()));
        let full = i32::from(is_full_range(frame));
        ffi::sws_setColorspaceDetails(context, table, full, table, 1, 0, 1 << 16, 1 << 16);
        let mut data = [ptr::null::<u8>(); 4];
        let mut strides = [0i32; 4];
        for i in 0..4 {
            data[i] = (*av).data[i].cast_const();
            strides[i] = (*av).linesize[i] * stride;
        }
        let base = out.as_mut_ptr();
        let (targets, target_strides) = if to == PixelFormat::RGB24 {
            ([base, ptr::null_mut(), ptr::null_mut(), ptr::null_mut()], [3 * to_w, 0, 0, 0])
        } else {
            ([base, base.add(plane), base.add(2 * plane), ptr::null_mut()], [to_w, to_w, to_w, 0])
        };
        let scaled =
            ffi::sws_scale(context, data.as_ptr(), strides.as_ptr(), 0, h, targets.as_ptr(), target_strides.as_ptr());
        ffi::sws_freeContext(context);
        scaled
    };
    out.truncate(plane * 3);
    (scaled > 0).then_some(out)
}

/// A part of a frame, which must lie inside it. It shares the frame's buffers, and its colours are converted as those of the
/// whole frame. Returns `None` if FFmpeg refuses.
pub(crate) fn crop(frame: &ff::frame::Video, window: Window) -> Option<ff::frame::Video> {
    let (right, bottom) = (window.left + window.width, window.top + window.height);
    let mut part = ff::frame::Video::empty();
    // SAFETY: both frames are valid. `av_frame_ref` makes `part` own references to the buffers, and `av_frame_apply_cropping`
    // checks the borders and moves the pointers within them.
    unsafe {
        let av = part.as_mut_ptr();
        if ffi::av_frame_ref(av, frame.as_ptr()) < 0 {
            return None;
        }
        (*av).crop_left = window.left;
        (*av).crop_top = window.top;
        (*av).crop_right = (frame.width() as usize).checked_sub(right)?;
        (*av).crop_bottom = (frame.height() as usize).checked_sub(bottom)?;
        if ffi::av_frame_apply_cropping(av, ffi::AV_FRAME_CROP_UNALIGNED as i32) < 0 {
            return None;
        }
        if color_space(frame) == ffi::AVColorSpace::AVCOL_SPC_UNSPECIFIED as u32 && frame.height() > SD_ROWS {
            (*av).colorspace = ffi::AVColorSpace::AVCOL_SPC_BT709;
        }
    }
    Some(part)
}

/// The matrix between YUV and RGB. Where the stream names none, high definition is Rec. 709, as in players.
fn coefficients(space: u32, rows: u32) -> i32 {
    use ffi::AVColorSpace::*;
    let is = |named: ffi::AVColorSpace| space == named as u32;
    if is(AVCOL_SPC_BT709) || is(AVCOL_SPC_UNSPECIFIED) && rows > SD_ROWS {
        ffi::SWS_CS_ITU709
    } else if is(AVCOL_SPC_BT2020_NCL) || is(AVCOL_SPC_BT2020_CL) {
        ffi::SWS_CS_BT2020
    } else if is(AVCOL_SPC_SMPTE240M) {
        ffi::SWS_CS_SMPTE240M
    } else {
        ffi::SWS_CS_ITU601
    }
}

/// Whether samples use all values. Grey does unless the stream says otherwise, as in swscale.
pub(crate) fn is_full_range(frame: &ff::frame::Video) -> bool {
    use ffi::AVPixelFormat::*;
    const FULL: [ffi::AVPixelFormat; 5] =
        [AV_PIX_FMT_YUVJ420P, AV_PIX_FMT_YUVJ422P, AV_PIX_FMT_YUVJ444P, AV_PIX_FMT_YUVJ440P, AV_PIX_FMT_YUVJ411P];
    const GREY: [ffi::AVPixelFormat; 5] =
        [AV_PIX_FMT_GRAY8, AV_PIX_FMT_GRAY10LE, AV_PIX_FMT_GRAY12LE, AV_PIX_FMT_GRAY16LE, AV_PIX_FMT_YA8];
    let (format, range) = (PixelFormat::of(frame), color_range(frame));
    if FULL.iter().any(|f| format.is(*f)) {
        true
    } else if GREY.iter().any(|f| format.is(*f)) {
        range != ffi::AVColorRange::AVCOL_RANGE_MPEG as u32
    } else {
        range == ffi::AVColorRange::AVCOL_RANGE_JPEG as u32
    }
}
