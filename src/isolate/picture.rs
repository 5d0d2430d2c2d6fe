//! A frame's picture as bytes: its planes, row by row, in the pixel format that the decoder gave it.
//!
//! The parent computes every size itself, from the format and the number of pixels, and makes the frame that it fills. So
//! what comes from a child decides the samples, and nothing about memory beyond the limit of pixels.

use std::ffi::CString;
use std::io::{self, ErrorKind, Read, Write};

use ffmpeg_next as ff;
use ffmpeg_next::ffi;
use serde::{Deserialize, Serialize};

use crate::media::ffmpeg::{PixelFormat, color_range, color_space, set_colors};

/// What a picture is, besides its samples.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct PictureHeader {
    /// FFmpeg's name of the pixel format.
    format: String,
    width: u32,
    height: u32,
    /// How its colours are to be read: FFmpeg's numbers, or others, which mean nothing.
    colorspace: u32,
    range: u32,
    interlaced: bool,
    /// Where its packet was in the file.
    position: i64,
}

/// Bytes of a palette: 256 colours.
const PALETTE: usize = 1024;

/// A plane of a picture.
struct Plane {
    index: usize,
    /// Bytes of a row.
    bytes: usize,
    rows: usize,
}

/// The planes of a picture of this format and size.
fn planes(format: PixelFormat, width: i32, height: i32) -> Option<Vec<Plane>> {
    let d = format.descriptor()?;
    let is = |flag: i32| d.flags & flag as u64 != 0;
    if is(ffi::AV_PIX_FMT_FLAG_HWACCEL) {
        return None;
    }
    let mut found = Vec::new();
    for index in 0..4 {
        if index == 1 && is(ffi::AV_PIX_FMT_FLAG_PAL) {
            found.push(Plane { index, bytes: PALETTE, rows: 1 });
            break;
        }
        let bytes = usize::try_from(format.line_size(width, index as i32)).ok()?;
        let is_chroma = index == 1 || index == 2;
        let rows = if is_chroma { -((-height) >> d.log2_chroma_h) } else { height };
        if bytes > 0 {
            found.push(Plane { index, bytes, rows: usize::try_from(rows).ok()? });
        }
    }
    (!found.is_empty()).then_some(found)
}

/// What is sent of a picture; `None` if its format has no planes in memory.
pub(super) fn header(av: &ff::frame::Video) -> Option<PictureHeader> {
    let format = PixelFormat::of(av);
    planes(format, av.width() as i32, av.height() as i32)?;
    // SAFETY: plain reads of a valid frame's fields.
    let (interlaced, position) = unsafe { ((*av.as_ptr()).interlaced_frame != 0, (*av.as_ptr()).pkt_pos) };
    let (colorspace, range) = (color_space(av), color_range(av));
    Some(PictureHeader {
        format: format.name(),
        width: av.width(),
        height: av.height(),
        colorspace,
        range,
        interlaced,
        position,
    })
}

/// Writes the samples of a picture that has a [`header`].
///
/// # Errors
/// If the other side is gone.
pub(super) fn write_samples(av: &ff::frame::Video, out: &mut impl Write) -> io::Result<()> {
    let planes = planes(PixelFormat::of(av), av.width() as i32, av.height() as i32).unwrap_or_default();
    let absent = |plane: &Plane| vec![0; plane.bytes];
    for plane in planes {
        for y in 0..plane.rows {
            // SAFETY: FFmpeg guarantees a plane's rows times its line size, which may be negative; a row that would be
            // longer than that, or a plane that is not there, is not read.
            let row = unsafe {
                let f = av.as_ptr();
                let (base, stride) = ((*f).data[plane.index], (*f).linesize[plane.index]);
                let fits = plane.rows == 1 || stride.unsigned_abs() as usize >= plane.bytes;
                (!base.is_null() && fits)
                    .then(|| std::slice::from_raw_parts(base.offset(stride as isize * y as isize), plane.bytes))
            };
            match row {
                Some(row) => out.write_all(row)?,
                None => out.write_all(&absent(&plane))?,
            }
        }
    }
    Ok(())
}

/// Reads the samples of a picture that a child describes with `header`.
///
/// # Errors
/// If the other side is gone, there is no memory, or the header is none ([`ErrorKind::InvalidData`]).
pub(super) fn read_picture(
    header: &PictureHeader,
    max_pixels: u64,
    input: &mut impl Read,
) -> io::Result<ff::frame::Video> {
    let invalid = || io::Error::new(ErrorKind::InvalidData, "a picture's header is wrong");
    let PictureHeader { width, height, .. } = *header;
    if width == 0 || height == 0 || u64::from(width) * u64::from(height) > max_pixels.min(1 << 31) {
        return Err(invalid());
    }
    let (width, height) = (i32::try_from(width).map_err(|_| invalid())?, i32::try_from(height).map_err(|_| invalid())?);
    let name = CString::new(header.format.as_str()).map_err(|_| invalid())?;
    let format = PixelFormat::named(&name);
    let planes = planes(format, width, height).ok_or_else(invalid)?;
    let mut av = ff::frame::Video::empty();
    format.set(&mut av);
    set_colors(&mut av, header.colorspace, header.range);
    // SAFETY: plain writes to a new frame, whose buffers FFmpeg then allocates.
    let code = unsafe {
        let f = av.as_mut_ptr();
        (*f).width = width;
        (*f).height = height;
        (*f).interlaced_frame = i32::from(header.interlaced);
        (*f).pkt_pos = header.position;
        ffi::av_frame_get_buffer(f, 0)
    };
    if code < 0 {
        return Err(io::Error::from(ErrorKind::OutOfMemory));
    }
    for plane in planes {
        for y in 0..plane.rows {
            // SAFETY: the buffers of a new frame of this format and size hold these rows, and nothing else refers to them.
            let row = unsafe {
                let f = av.as_ptr();
                let (base, stride) = ((*f).data[plane.index], (*f).linesize[plane.index]);
                if base.is_null() || (plane.rows > 1 && (stride as usize) < plane.bytes) {
                    return Err(invalid());
                }
                std::slice::from_raw_parts_mut(base.offset(stride as isize * y as isize), plane.bytes)
            };
            input.read_exact(row)?;
        }
    }
    Ok(av)
}

#[cfg(test)]
mod tests {
    use ff::format::Pixel;

    use super::*;
    use crate::media::scale::{Rows, scale};

    /// A picture of random samples in a buffer whose rows are longer than the picture.
    fn noise(format: Pixel, width: u32, height: u32) -> ff::frame::Video {
        let mut av = ff::frame::Video::new(format, width, height);
        fastrand::seed(7);
        for plane in 0..av.planes() {
            fastrand::Rng::with_seed(plane as u64).fill(av.data_mut(plane));
        }
        av
    }

    #[test]
    fn a_picture_converts_to_the_same_pixels_after_its_way() {
        let formats = [
            Pixel::YUV420P,
            Pixel::YUVJ420P,
            Pixel::YUV422P,
            Pixel::YUV444P10LE,
            Pixel::NV12,
            Pixel::P010LE,
            Pixel::GRAY8,
            Pixel::RGB24,
            Pixel::BGRA,
            Pixel::GBRP,
            Pixel::YUYV422,
            Pixel::PAL8,
            Pixel::MonoBlack,
            Pixel::UYYVYY411,
        ];
        for format in formats {
            for (width, height) in [(640, 360), (641, 361), (322, 7), (2, 2), (1, 1)] {
                let av = noise(format, width, height);
                let mut sent = Vec::new();
                write_samples(&av, &mut sent).unwrap();
                let mut from = sent.as_slice();
                let got = read_picture(&header(&av).unwrap(), 1 << 20, &mut from).unwrap();
                assert!(from.is_empty(), "{format:?} {width}×{height}");
                let rgb = |av: &_| scale(av, Rows::All, PixelFormat::RGB24, width.div_ceil(2), height.div_ceil(2));
                assert!(rgb(&av) == rgb(&got), "{format:?} {width}×{height}");
            }
        }
    }

    #[test]
    fn a_header_that_lies_is_refused() {
        let good = header(&noise(Pixel::YUV420P, 64, 64)).unwrap();
        let refused = |header: PictureHeader, most: u64| {
            let kind = read_picture(&header, most, &mut io::repeat(1)).err().map(|e| e.kind());
            assert_eq!(kind, Some(ErrorKind::InvalidData), "{header:?}");
        };
        refused(good.clone(), 64 * 64 - 1);
        for (width, height) in [(0, 1), (1, 0), (u32::MAX, u32::MAX), (u32::MAX, 1)] {
            refused(PictureHeader { width, height, ..good.clone() }, u64::MAX);
        }
        for format in ["", "unknown", "vaapi", "yuv\0"] {
            refused(PictureHeader { format: format.into(), ..good.clone() }, u64::MAX);
        }
        let short = read_picture(&good, 1 << 20, &mut io::empty()).err().map(|e| e.kind());
        assert_eq!(short, Some(ErrorKind::UnexpectedEof));
    }
}
