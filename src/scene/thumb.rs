//! Analysis: a decoded frame's planes in, a [`Thumb`] out.
//!
//! Runs on every frame, so it reads only some rows of each block, straight from the decoder's planes: no scaled or
//! converted copy of the frame is made. Formats that are not planes or words of YUV (RGB, palettes) take the slower
//! way through swscale. Owns nothing.

use ffmpeg_next as ff;
use ffmpeg_next::ffi;

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::media::Frame;
use crate::media::scale::{Rows, is_full_range, scale};
use crate::time::Time;

/// Width of [`Thumb::y`] in samples.
pub const THUMB_WIDTH: usize = 64;
/// Height of [`Thumb::y`] in samples.
pub const THUMB_HEIGHT: usize = 36;

/// A decoded frame reduced for analysis: block means on a fixed grid, whatever the frame's size and aspect, so that
/// frames stay comparable when a stream changes its size. Samples are full range (0 black … 255 white; chroma
/// neutral at 128), from 10-bit and limited-range sources too. Not rotated: detection does not care.
#[derive(Debug, Clone, PartialEq)]
pub struct Thumb {
    /// Presentation time from the container's start.
    pub time: Time,
    /// Ordinal of the decoded frame, from 0.
    pub index: u64,
    /// `THUMB_HEIGHT` rows of `THUMB_WIDTH` luma block means.
    pub y: Vec<u8>,
    /// Blue-difference chroma, same grid as `y` (128 everywhere where the source is grey).
    pub u: Vec<u8>,
    /// Red-difference chroma, same grid as `y`.
    pub v: Vec<u8>,
    /// Mean absolute horizontal luma gradient at the source's own resolution, in 8-bit levels; higher is sharper.
    /// Compared only between frames of one scene.
    pub sharpness: f32,
}

impl Thumb {
    /// Adds everything of the thumb to a digest.
    pub(crate) fn digest(&self, digest: &mut Digest) {
        let Thumb { time, index, y, u, v, sharpness } = self;
        digest.time(*time);
        digest.frame(*index);
        [y, u, v].into_iter().for_each(|plane| digest.bytes(plane));
        digest.float(*sharpness);
    }
}

/// Rows that are read of each block's luma: as many of either field, and enough that noise does not matter. Reading
/// them is what analysis costs.
const ROWS: usize = 4;
/// Blocks of so many columns, those of high definition, do with half the rows.
const WIDE: usize = 30;
const SAMPLES: usize = THUMB_WIDTH * THUMB_HEIGHT;

impl Frame {
    /// Block means of the whole frame; see [`Thumb`].
    pub fn thumb(&self) -> Result<Thumb> {
        let (y, u, v, sharpness) = match layout(&self.av) {
            Some(layout) => from_planes(&self.av, &layout),
            None => from_scaler(&self.av).ok_or_else(|| {
                Error::input(
                    format!("{:?}", self.av.format()),
                    "this pixel format cannot be read",
                    "Convert the file first, for example: ffmpeg -i INPUT -pix_fmt yuv420p OUTPUT.mp4",
                )
            })?,
        };
        Ok(Thumb { time: self.time, index: self.index, y, u, v, sharpness })
    }
}

/// How one component lies in memory.
#[derive(Debug, Clone, Copy)]
struct Component {
    plane: usize,
    step: usize,
    offset: usize,
    shift: u32,
    depth: u32,
    /// Size in samples.
    width: usize,
    height: usize,
}

struct Layout {
    components: Vec<Component>,
    full_range: bool,
}

/// The layout of little-endian YUV and grey formats of 8 to 16 bits; `None` for all others.
fn layout(av: &ff::frame::Video) -> Option<Layout> {
    let format: ffi::AVPixelFormat = av.format().into();
    // SAFETY: the descriptor is static data of FFmpeg, null for unknown formats.
    let d = unsafe { ffi::av_pix_fmt_desc_get(format).as_ref() }?;
    const OTHER: i32 = ffi::AV_PIX_FMT_FLAG_RGB
        | ffi::AV_PIX_FMT_FLAG_PAL
        | ffi::AV_PIX_FMT_FLAG_BE
        | ffi::AV_PIX_FMT_FLAG_BITSTREAM
        | ffi::AV_PIX_FMT_FLAG_HWACCEL
        | ffi::AV_PIX_FMT_FLAG_BAYER
        | ffi::AV_PIX_FMT_FLAG_FLOAT;
    if d.flags & OTHER as u64 != 0 || d.nb_components == 0 {
        return None;
    }
    let count = if d.nb_components >= 3 { 3 } else { 1 };
    let (w, h) = (av.width() as usize, av.height() as usize);
    let mut components = Vec::with_capacity(count);
    for (i, c) in d.comp.iter().take(count).enumerate() {
        let (sw, sh) = if i == 0 { (0, 0) } else { (u32::from(d.log2_chroma_w), u32::from(d.log2_chroma_h)) };
        let component = Component {
            plane: c.plane as usize,
            step: c.step as usize,
            offset: c.offset as usize,
            shift: c.shift as u32,
            depth: c.depth as u32,
            width: w.div_ceil(1 << sw),
            height: h.div_ceil(1 << sh),
        };
        if !(8..=16).contains(&component.depth) || component.step == 0 {
            return None;
        }
        components.push(component);
    }
    Some(Layout { components, full_range: is_full_range(av) })
}

/// Bytes of one row of a component, checked against the plane's stride.
fn row<'a>(av: &'a ff::frame::Video, c: &Component, y: usize) -> &'a [u8] {
    let bytes = if c.depth > 8 { 2 } else { 1 };
    let length = c.offset + (c.width - 1) * c.step + bytes;
    // SAFETY: FFmpeg guarantees `height` rows of `linesize` bytes a plane, the line size may be negative (bottom-up)
    // but a row always holds `width` samples of its format; a null plane gives an empty row.
    unsafe {
        let f = &*av.as_ptr();
        let base = f.data[c.plane];
        if base.is_null() || (f.linesize[c.plane].unsigned_abs() as usize) < length {
            return &[];
        }
        let start = base.offset(f.linesize[c.plane] as isize * y as isize);
        std::slice::from_raw_parts(start, length)
    }
}

fn from_planes(av: &ff::frame::Video, layout: &Layout) -> Analysed {
    let mut planes = [vec![0u8; SAMPLES], vec![128u8; SAMPLES], vec![128u8; SAMPLES]];
    let mut sharpness = 0.0;
    for (i, c) in layout.components.iter().enumerate() {
        // Chroma is smoother than luma, and in most formats a block has half as many columns of it.
        let wide = layout.components[0].width / THUMB_WIDTH >= WIDE;
        let rows = ROWS / if wide { 2 } else { 1 } / if i == 0 { 1 } else { 2 };
        let gradient = block_means(av, c, rows, &mut planes[i], i == 0);
        if i == 0 {
            sharpness = gradient;
        }
    }
    if !layout.full_range {
        for s in &mut planes[0] {
            *s = (((i32::from(*s) - 16) * 255 + 109) / 219).clamp(0, 255) as u8;
        }
        for plane in planes.iter_mut().skip(1).take(layout.components.len() - 1) {
            for s in plane {
                *s = (((i32::from(*s) - 128) * 255) / 224 + 128).clamp(0, 255) as u8;
            }
        }
    }
    let [y, u, v] = planes;
    (y, u, v, sharpness)
}

/// Fills `out` with the block means of one component; returns the mean absolute gradient along one row of each block.
///
/// Rows of a block are added up column by column first, and the columns then once a block: additions side by side are
/// what vector instructions are good at, and the sums are the same.
fn block_means(av: &ff::frame::Video, c: &Component, rows: usize, out: &mut [u8], gradient: bool) -> f32 {
    let edges: Vec<(usize, usize)> = (0..THUMB_WIDTH)
        .map(|i| {
            let a = i * c.width / THUMB_WIDTH;
            (a, ((i + 1) * c.width / THUMB_WIDTH).max(a + 1))
        })
        .collect();
    let plain = c.depth == 8 && c.step == 1 && c.shift == 0;
    let mut narrow = Vec::new();
    // Sums of a few rows of 8 bits: far from overflow.
    let mut columns = vec![0u16; c.width];
    let (mut steps, mut pairs) = (0u64, 0u64);
    for by in 0..THUMB_HEIGHT {
        let top = by * c.height / THUMB_HEIGHT;
        let bottom = ((by + 1) * c.height / THUMB_HEIGHT).max(top + 1);
        let take = rows.min(bottom - top);
        columns.fill(0);
        for r in 0..take {
            // Spread evenly, from the middle of each share; every other one of the other field, should there be two.
            let y = top + (2 * r + 1) * (bottom - top) / (2 * take);
            let y = if y % 2 == r % 2 || take == 1 { y } else { (y ^ 1).clamp(top, bottom - 1) };
            let bytes = row(av, c, y);
            let line: &[u8] = if plain {
                bytes.get(c.offset..).unwrap_or_default()
            } else {
                narrow_row(bytes, c, &mut narrow);
                &narrow
            };
            if line.len() < c.width {
                continue;
            }
            for (column, &s) in columns.iter_mut().zip(line) {
                *column += u16::from(s);
            }
            if gradient && r == take / 2 {
                steps += line.iter().zip(&line[1..]).map(|(&p, &q)| u32::from(p.abs_diff(q))).sum::<u32>() as u64;
                pairs += line.len() as u64 - 1;
            }
        }
        for (bx, &(a, b)) in edges.iter().enumerate() {
            let sum = columns.get(a..b).unwrap_or_default().iter().map(|&s| u32::from(s)).sum::<u32>();
            let n = ((b - a) * take) as u32;
            out[by * THUMB_WIDTH + bx] = ((sum + n / 2) / n) as u8;
        }
    }
    if pairs == 0 { 0.0 } else { steps as f32 / pairs as f32 }
}

/// Samples of a row as 8 bits into `out`, for interleaved and for deeper formats.
fn narrow_row(bytes: &[u8], c: &Component, out: &mut Vec<u8>) {
    out.clear();
    let bytes = bytes.get(c.offset..).unwrap_or_default();
    let down = c.shift + c.depth.saturating_sub(8);
    let word = |s: &[u8]| (u16::from_le_bytes([s[0], s.get(1).copied().unwrap_or(0)]) >> down).min(255) as u8;
    match (c.step, c.depth > 8) {
        // The common layouts by themselves: a step known beforehand takes vector instructions.
        (2, true) => {
            let (words, _) = bytes.as_chunks::<2>();
            out.extend(words.iter().map(|s| (u16::from_le_bytes(*s) >> down).min(255) as u8));
        }
        (2, false) => {
            let (pairs, rest) = bytes.as_chunks::<2>();
            out.extend(pairs.iter().map(|s| s[0]));
            out.extend(rest.first());
        }
        (step, true) => out.extend(bytes.chunks(step).map(word)),
        (step, false) => out.extend(bytes.chunks(step).map(|s| s[0])),
    }
}

/// Luma, both chroma planes, and sharpness.
type Analysed = (Vec<u8>, Vec<u8>, Vec<u8>, f32);

fn from_scaler(av: &ff::frame::Video) -> Option<Analysed> {
    let data = scale(av, Rows::All, ff::format::Pixel::YUVJ444P, THUMB_WIDTH as u32, THUMB_HEIGHT as u32)?;
    let y = data[..SAMPLES].to_vec();
    let gradient: u32 = y
        .chunks(THUMB_WIDTH)
        .map(|r| r.iter().zip(&r[1..]).map(|(&a, &b)| u32::from(a.abs_diff(b))).sum::<u32>())
        .sum();
    let sharpness = gradient as f32 / (THUMB_HEIGHT * (THUMB_WIDTH - 1)) as f32;
    Some((y, data[SAMPLES..2 * SAMPLES].to_vec(), data[2 * SAMPLES..].to_vec(), sharpness))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame whose every sample is `value(plane, x, y)`, of 8 or more bits.
    fn frame(
        format: ff::format::Pixel,
        w: u32,
        h: u32,
        value: impl Fn(usize, usize, usize) -> u16,
    ) -> ff::frame::Video {
        let mut av = ff::frame::Video::new(format, w, h);
        let layout = layout(&av).unwrap();
        for (i, c) in layout.components.iter().enumerate() {
            let stride = av.stride(c.plane);
            let data = av.data_mut(c.plane);
            for y in 0..c.height {
                for x in 0..c.width {
                    let at = y * stride + c.offset + x * c.step;
                    if c.depth > 8 {
                        data[at..at + 2].copy_from_slice(&(value(i, x, y) << c.shift).to_le_bytes());
                    } else {
                        data[at] = value(i, x, y) as u8;
                    }
                }
            }
        }
        av
    }

    fn analysed(av: &ff::frame::Video) -> Analysed {
        let mut layout = layout(av).unwrap();
        layout.full_range = true;
        from_planes(av, &layout)
    }

    #[test]
    fn deep_and_interleaved_planes_give_what_plain_ones_do() {
        use ff::format::Pixel;
        let value = |plane: usize, x: usize, y: usize| ((x * 7 + y * 3 + plane * 50) % 256) as u16;
        // Odd sizes, blocks narrower than a word, and smaller than the thumb itself.
        for (w, h) in [(640, 360), (333, 187), (64, 36), (20, 10), (2, 2)] {
            let plain = analysed(&frame(Pixel::YUV420P, w, h, value));
            assert_eq!(plain, analysed(&frame(Pixel::NV12, w, h, value)), "nv12 {w}x{h}");
            let ten = |p, x, y| value(p, x, y) << 2 | 3;
            assert_eq!(plain, analysed(&frame(Pixel::YUV420P10LE, w, h, ten)), "10 bits {w}x{h}");
            assert_eq!(plain, analysed(&frame(Pixel::P010LE, w, h, ten)), "p010 {w}x{h}");
            let twelve = |p, x, y| value(p, x, y) << 4 | 9;
            assert_eq!(plain, analysed(&frame(Pixel::YUV420P12LE, w, h, twelve)), "12 bits {w}x{h}");
            assert_eq!(plain.0, analysed(&frame(Pixel::GRAY8, w, h, value)).0, "grey {w}x{h}");
        }
    }

    #[test]
    fn both_fields_count_alike() {
        // Interlaced: one field black, the other white. Every block is grey, whatever its height in rows.
        for (w, h) in [(1920, 1080), (1280, 720), (720, 1080), (720, 576), (720, 480), (352, 288)] {
            let (y, ..) =
                analysed(&frame(
                    ff::format::Pixel::YUV420P,
                    w,
                    h,
                    |p, _, y| {
                        if p == 0 { (y % 2 * 255) as u16 } else { 128 }
                    },
                ));
            let mean = y.iter().map(|&v| f32::from(v)).sum::<f32>() / y.len() as f32;
            assert!((mean - 127.5).abs() < 16.0, "{w}x{h}: {mean}");
        }
    }
}
