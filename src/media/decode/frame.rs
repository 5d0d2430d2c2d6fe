//! A decoded frame, and pictures made of it: upright, with square pixels, full range.
//!
//! Owns nothing but references to the decoder's buffers; a picture is made only for who asks.

use std::os::raw::c_int;
use std::ptr;
use std::time::Instant;

use ffmpeg_next as ff;
use ffmpeg_next::ffi;

use crate::error::{Error, Result};
use crate::media::frame::Rgb;
use crate::time::Time;

/// Where a stored pixel goes on the screen: the signs of the display matrix's 2×2 part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Orientation {
    a: i8,
    b: i8,
    c: i8,
    d: i8,
}

impl Orientation {
    pub(super) const UPRIGHT: Orientation = Orientation { a: 1, b: 0, c: 0, d: 1 };

    /// From FFmpeg's 3×3 matrix (`a b u c d v x y w`); anything but right angles is shown as stored.
    pub(super) fn from_matrix(m: &[i32; 9]) -> Orientation {
        let s = |v: i32| v.signum() as i8;
        match (s(m[0]), s(m[1]), s(m[3]), s(m[4])) {
            (a, 0, 0, d) if a != 0 && d != 0 => Orientation { a, b: 0, c: 0, d },
            (0, b, c, 0) if b != 0 && c != 0 => Orientation { a: 0, b, c, d: 0 },
            _ => Orientation::UPRIGHT,
        }
    }

    /// Clockwise turn in degrees; a mirrored picture reports the turn that comes before the mirror.
    pub(super) fn degrees(self) -> u32 {
        match self {
            Orientation { a: 0, b, .. } => {
                if b > 0 {
                    90
                } else {
                    270
                }
            }
            Orientation { d, .. } => {
                if d > 0 {
                    0
                } else {
                    180
                }
            }
        }
    }

    fn apply(self, picture: Rgb) -> Rgb {
        if self == Orientation::UPRIGHT {
            return picture;
        }
        let (w, h) = (picture.width as usize, picture.height as usize);
        let turned = self.a == 0;
        let (ow, oh) = if turned { (h, w) } else { (w, h) };
        let mut data = vec![0u8; w * h * 3];
        for oy in 0..oh {
            for ox in 0..ow {
                let (x, y) = if turned {
                    (if self.b > 0 { oy } else { w - 1 - oy }, if self.c > 0 { ox } else { h - 1 - ox })
                } else {
                    (if self.a > 0 { ox } else { w - 1 - ox }, if self.d > 0 { oy } else { h - 1 - oy })
                };
                let (to, from) = ((oy * ow + ox) * 3, (y * w + x) * 3);
                data[to..to + 3].copy_from_slice(&picture.data[from..from + 3]);
            }
        }
        Rgb { width: ow as u32, height: oh as u32, data }
    }
}

/// A decoded frame: a reference to the decoder's own buffer with its time.
pub struct Frame {
    /// Presentation time from the container's start.
    pub time: Time,
    /// Ordinal of the frame among those decoded, from 0.
    pub index: u64,
    /// By the source's own clock, where it says so.
    pub pts: Option<Time>,
    /// When its packet was read; only of sources that never end.
    pub arrived: Option<Instant>,
    pub(crate) av: ff::frame::Video,
    pub(super) orientation: Orientation,
    pub(super) sample_aspect: (i32, i32),
}

// SAFETY: an AVFrame is plain data behind atomically refcounted buffers; nothing in it is bound to a thread, and
// `Frame` only ever reads the picture data once it is made.
unsafe impl Send for Frame {}
// SAFETY: as above; all methods through `&Frame` only read.
unsafe impl Sync for Frame {}

/// Pictures for people and models are made no longer than this on their longer side: several times what any image
/// tower reads, and small enough that a few of them are nothing beside a decoder's own frames.
pub const LONGEST_SIDE: u32 = 1280;

impl Frame {
    /// The picture as it is shown: upright, square pixels, one field of an interlaced frame, full range, at most
    /// [`LONGEST_SIDE`] on its longer side.
    pub fn to_rgb(&self) -> Result<Rgb> {
        self.to_rgb_within(LONGEST_SIDE)
    }

    /// A hash of what it shows, of its own timestamp and of where in the file it was read: two that have the same were
    /// decoded from the same packet to the same picture, but for rows that are not looked at. Every fourth row is.
    pub fn identity(&self) -> u64 {
        let mut hash =
            RowHash([0x9E37_79B9_7F4A_7C15, 0xC2B2_AE3D_27D4_EB4F, 0x1656_67B1_9E37_79F9, 0x2745_9B1D_4CF5_AD43]);
        // SAFETY: plain reads of a valid frame's fields; each row that is read lies within its plane, for FFmpeg
        // guarantees a plane's height times its line size, which may be negative; widths and heights are FFmpeg's own.
        unsafe {
            let av = &*self.av.as_ptr();
            hash.word(av.pkt_pos as u64);
            hash.word(self.pts.map_or(u64::MAX, |t| t.micros() as u64));
            let format: ffi::AVPixelFormat = self.av.format().into();
            let Some(d) = ffi::av_pix_fmt_desc_get(format).as_ref() else { return hash.finish() };
            let palette = d.flags & ffi::AV_PIX_FMT_FLAG_PAL as u64 != 0;
            for plane in 0..4 {
                let base = av.data[plane];
                let bytes = ffi::av_image_get_linesize(format, av.width, plane as c_int);
                let lines = if plane == 1 || plane == 2 { -((-av.height) >> d.log2_chroma_h) } else { av.height };
                let there = !base.is_null() && bytes > 0 && bytes <= av.linesize[plane].abs();
                if !there || palette && plane > 0 {
                    continue;
                }
                for y in (0..lines).step_by(4) {
                    let start = base.offset(av.linesize[plane] as isize * y as isize);
                    hash.row(std::slice::from_raw_parts(start, bytes as usize));
                }
            }
        }
        hash.finish()
    }

    /// Whether it has the time that its packet was given, or its packet had none. FFmpeg takes the order of decoding for the
    /// time where a stream's timestamps have been wrong too often, which depends on where the reading began.
    pub fn has_own_time(&self) -> bool {
        // SAFETY: plain reads of a valid frame's fields.
        let (told, taken) = unsafe {
            let av = &*self.av.as_ptr();
            (av.pts, av.best_effort_timestamp)
        };
        told == ffi::AV_NOPTS_VALUE || told == taken
    }

    /// Whether parts of it had to be made up. With frame threads this may be known only later.
    pub fn is_damaged(&self) -> bool {
        self.av.is_corrupt() || self.av.has_decode_errors()
    }

    /// Whether it was coded without any other.
    pub fn is_key(&self) -> bool {
        self.av.is_key()
    }

    /// As [`Frame::to_rgb`], at most `longest` pixels on its longer side.
    pub fn to_rgb_within(&self, longest: u32) -> Result<Rgb> {
        let (w, h) = (self.av.width(), self.av.height());
        // SAFETY: reads plain fields of a valid AVFrame.
        let (interlaced, range, space) = unsafe {
            let f = &*self.av.as_ptr();
            (f.interlaced_frame != 0 && h >= 4, f.color_range, f.colorspace)
        };
        let (num, den) = self.sample_aspect;
        let (mut dw, mut dh) = (f64::from(w) * f64::from(num) / f64::from(den), f64::from(h));
        let scale = (f64::from(longest.max(1)) / dw.max(dh)).min(1.0);
        (dw, dh) = ((dw * scale).round().max(1.0), (dh * scale).round().max(1.0));
        let (dw, dh) = (dw as u32, dh as u32);
        let lines = if interlaced { h / 2 } else { h };
        let source = Planes { frame: &self.av, lines, stride: if interlaced { 2 } else { 1 } };
        let data = scale_to(&source, ff::format::Pixel::RGB24, dw, dh, range, space)
            .ok_or_else(|| unreadable(&self.av, "the picture cannot be converted"))?;
        Ok(self.orientation.apply(Rgb { width: dw, height: dh, data: data.0 }))
    }
}

/// Four sums side by side: hashing is nothing beside decoding.
struct RowHash([u64; 4]);

impl RowHash {
    const PRIME: u64 = 0x9FB2_1C65_1E98_DF25;

    fn word(&mut self, word: u64) {
        self.0[0] = (self.0[0] ^ word).wrapping_mul(Self::PRIME).rotate_left(29);
    }

    fn row(&mut self, row: &[u8]) {
        self.word(row.len() as u64);
        let mut blocks = row.chunks_exact(32);
        for block in &mut blocks {
            for (lane, bytes) in self.0.iter_mut().zip(block.chunks_exact(8)) {
                let word = u64::from_le_bytes(bytes.try_into().unwrap_or_default());
                *lane = (*lane ^ word).wrapping_mul(Self::PRIME).rotate_left(29);
            }
        }
        for byte in blocks.remainder() {
            self.word(u64::from(*byte));
        }
    }

    fn finish(&self) -> u64 {
        self.0.iter().fold(0, |sum, lane| (sum ^ lane ^ (lane >> 32)).wrapping_mul(Self::PRIME).rotate_left(31))
    }
}

fn unreadable(frame: &ff::frame::Video, cause: &str) -> Error {
    Error::input(
        format!("frame of {}×{} {:?}", frame.width(), frame.height(), frame.format()),
        cause,
        "Convert the file first, for example: ffmpeg -i INPUT -pix_fmt yuv420p OUTPUT.mp4",
    )
}

/// The lines of a frame that are read: all, or every second one (one field).
pub(crate) struct Planes<'a> {
    pub frame: &'a ff::frame::Video,
    pub lines: u32,
    pub stride: i32,
}

/// Scales into one buffer: packed, or three equal planes for YUVJ444P. `None` where swscale refuses the format.
/// The second value says whether the source was full range.
pub(crate) fn scale_to(
    source: &Planes<'_>,
    to: ff::format::Pixel,
    width: u32,
    height: u32,
    range: ffi::AVColorRange,
    space: ffi::AVColorSpace,
) -> Option<(Vec<u8>, bool)> {
    use ffi::AVColorSpace::*;
    let size = width as usize * height as usize * 3;
    let mut out = vec![0u8; size + 64];
    let format: ffi::AVPixelFormat = source.frame.format().into();
    let full = full_range(source.frame.format(), range);
    // Rec. 709 where the stream does not say and is larger than standard definition, as players do.
    let coefficients = match space {
        AVCOL_SPC_BT709 => ffi::SWS_CS_ITU709,
        AVCOL_SPC_BT2020_NCL | AVCOL_SPC_BT2020_CL => ffi::SWS_CS_BT2020,
        AVCOL_SPC_SMPTE240M => ffi::SWS_CS_SMPTE240M,
        AVCOL_SPC_UNSPECIFIED if source.frame.height() > 576 => ffi::SWS_CS_ITU709,
        _ => ffi::SWS_CS_ITU601,
    };
    let shrinks = width < source.frame.width() || height < source.lines;
    let filter = if shrinks { ffi::SWS_AREA } else { ffi::SWS_BICUBIC };
    let flags = filter | ffi::SWS_ACCURATE_RND | ffi::SWS_FULL_CHR_H_INT;
    // SAFETY: the context is made for exactly these sizes and formats and freed below; source pointers come from a
    // valid frame and are read for `lines` rows only; `out` holds three bytes a pixel, which both targets need, and
    // 64 more that swscale's vector code may touch.
    unsafe {
        let context = ffi::sws_getContext(
            source.frame.width() as i32,
            source.lines as i32,
            format,
            width as i32,
            height as i32,
            to.into(),
            flags,
            ptr::null_mut(),
            ptr::null_mut(),
            ptr::null(),
        );
        if context.is_null() {
            return None;
        }
        let table = ffi::sws_getCoefficients(coefficients);
        ffi::sws_setColorspaceDetails(context, table, i32::from(full), table, 1, 0, 1 << 16, 1 << 16);
        let av = &*source.frame.as_ptr();
        let mut data = [ptr::null::<u8>(); 4];
        let mut strides = [0i32; 4];
        for i in 0..4 {
            data[i] = av.data[i].cast_const();
            // A palette is no picture plane and has no second field.
            strides[i] = av.linesize[i] * source.stride;
        }
        let plane = width as usize * height as usize;
        let packed = to == ff::format::Pixel::RGB24;
        let base = out.as_mut_ptr();
        let targets = if packed {
            [base, ptr::null_mut(), ptr::null_mut(), ptr::null_mut()]
        } else {
            [base, base.add(plane), base.add(2 * plane), ptr::null_mut()]
        };
        let line = if packed { 3 * width as i32 } else { width as i32 };
        let target_strides = if packed { [line, 0, 0, 0] } else { [line, line, line, 0] };
        let rows = ffi::sws_scale(
            context,
            data.as_ptr(),
            strides.as_ptr(),
            0,
            source.lines as i32,
            targets.as_ptr(),
            target_strides.as_ptr(),
        );
        ffi::sws_freeContext(context);
        if rows <= 0 {
            return None;
        }
    }
    out.truncate(size);
    Some((out, full))
}

/// Whether samples use all values. Grey without a word about it does, as swscale has it.
pub(crate) fn full_range(format: ff::format::Pixel, range: ffi::AVColorRange) -> bool {
    use ff::format::Pixel::*;
    match format {
        YUVJ420P | YUVJ422P | YUVJ444P | YUVJ440P | YUVJ411P => true,
        GRAY8 | GRAY10LE | GRAY12LE | GRAY16LE | YA8 => range != ffi::AVColorRange::AVCOL_RANGE_MPEG,
        _ => range == ffi::AVColorRange::AVCOL_RANGE_JPEG,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orientation_turns_clockwise() {
        // a b / c d of two pixels side by side: left red, right blue.
        let picture = Rgb { width: 2, height: 1, data: vec![255, 0, 0, 0, 0, 255] };
        // The matrix that FFmpeg writes for a 90° clockwise turn: x' = -y, y' = x.
        let turn = Orientation::from_matrix(&[0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30]);
        assert_eq!(turn.degrees(), 90);
        let turned = turn.apply(picture.clone());
        assert_eq!((turned.width, turned.height), (1, 2));
        assert_eq!(turned.data, [255, 0, 0, 0, 0, 255]);
        let half = Orientation::from_matrix(&[-65536, 0, 0, 0, -65536, 0, 0, 0, 1 << 30]);
        assert_eq!(half.degrees(), 180);
        assert_eq!(half.apply(picture).data, [0, 0, 255, 255, 0, 0]);
    }
}
