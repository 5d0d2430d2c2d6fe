//! Scaling and colour conversion by FFmpeg's swscale.

use std::ptr;

use ffmpeg_next as ff;
use ffmpeg_next::ffi;

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
pub(crate) fn scale(
    frame: &ff::frame::Video,
    rows: Rows,
    to: ff::format::Pixel,
    width: u32,
    height: u32,
) -> Option<Vec<u8>> {
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
        let (from, no_filter) = (frame.format().into(), ptr::null_mut());
        let (w, h, to_w, to_h) = (frame.width() as i32, lines as i32, width as i32, height as i32);
        let context = ffi::sws_getContext(w, h, from, to_w, to_h, to.into(), flags, no_filter, no_filter, ptr::null());
        if context.is_null() {
            return None;
        }
        let av = &*frame.as_ptr();
        let table = ffi::sws_getCoefficients(coefficients(av.colorspace, frame.height()));
        let full = i32::from(is_full_range(frame));
        ffi::sws_setColorspaceDetails(context, table, full, table, 1, 0, 1 << 16, 1 << 16);
        let mut data = [ptr::null::<u8>(); 4];
        let mut strides = [0i32; 4];
        for i in 0..4 {
            data[i] = av.data[i].cast_const();
            strides[i] = av.linesize[i] * stride;
        }
        let base = out.as_mut_ptr();
        let (targets, target_strides) = if to == ff::format::Pixel::RGB24 {
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
        if (*av).colorspace == ffi::AVColorSpace::AVCOL_SPC_UNSPECIFIED && frame.height() > SD_ROWS {
            (*av).colorspace = ffi::AVColorSpace::AVCOL_SPC_BT709;
        }
    }
    Some(part)
}

/// The matrix between YUV and RGB. Where the stream names none, high definition is Rec. 709, as in players.
fn coefficients(space: ffi::AVColorSpace, rows: u32) -> i32 {
    use ffi::AVColorSpace::*;
    match space {
        AVCOL_SPC_BT709 => ffi::SWS_CS_ITU709,
        AVCOL_SPC_BT2020_NCL | AVCOL_SPC_BT2020_CL => ffi::SWS_CS_BT2020,
        AVCOL_SPC_SMPTE240M => ffi::SWS_CS_SMPTE240M,
        AVCOL_SPC_UNSPECIFIED if rows > SD_ROWS => ffi::SWS_CS_ITU709,
        _ => ffi::SWS_CS_ITU601,
    }
}

/// Whether samples use all values. Grey does unless the stream says otherwise, as in swscale.
pub(crate) fn is_full_range(frame: &ff::frame::Video) -> bool {
    use ff::format::Pixel::*;
    // SAFETY: a plain read of a valid frame's field.
    let range = unsafe { (*frame.as_ptr()).color_range };
    match frame.format() {
        YUVJ420P | YUVJ422P | YUVJ444P | YUVJ440P | YUVJ411P => true,
        GRAY8 | GRAY10LE | GRAY12LE | GRAY16LE | YA8 => range != ffi::AVColorRange::AVCOL_RANGE_MPEG,
        _ => range == ffi::AVColorRange::AVCOL_RANGE_JPEG,
    }
}
