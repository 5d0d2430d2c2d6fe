//! A decoded frame in small: its planes in, a [`Thumb`] of block means out.
//!
//! This runs on every frame, so it reads only some rows of each block, straight from the decoder's planes: no scaled or
//! converted copy of the frame is made. Formats that are not planes or words of YUV (RGB, palettes) take the slower
//! path through swscale. No state. Memory: a few rows.

use std::ops::Range;

use ffmpeg_next as ff;
use ffmpeg_next::ffi;

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::media::Frame;
use crate::media::ffmpeg::PixelFormat;
use crate::media::scale::{Rows, is_full_range, scale};
use crate::time::Time;

/// Width of a thumb in samples. Enough to tell scenes apart; with [`THUMB_HEIGHT`] in the aspect ratio of most video,
/// 16:9.
pub const THUMB_WIDTH: usize = 64;
/// Height of a thumb in samples.
pub const THUMB_HEIGHT: usize = 36;

/// A decoded frame as block means.
///
/// The grid is the same for every frame size and aspect ratio, so that frames stay comparable when a stream changes its
/// size. Samples are full range (0 black to 255 white, chroma neutral at 128) in 8 bits, also those of 10-bit and
/// limited-range sources. Thumbs are not rotated, because detection does not depend on it.
#[derive(Debug, Clone, PartialEq)]
pub struct Thumb {
    /// Presentation time from the container's start.
    pub time: Time,
    /// Ordinal of the decoded frame, from 0.
    pub index: u64,
    /// Luma: [`THUMB_HEIGHT`] rows of [`THUMB_WIDTH`] block means.
    pub y: Vec<u8>,
    /// Blue-difference chroma on the same grid; 128 everywhere if the source is grey.
    pub u: Vec<u8>,
    /// Red-difference chroma on the same grid.
    pub v: Vec<u8>,
    /// Mean absolute horizontal luma gradient at the source's own resolution, in 8-bit levels. Higher is sharper.
    /// Comparable only within one scene.
    pub sharpness: f32,
    /// As [`Frame::unfiltered`]. The edges of blocks count as sharp then.
    pub unfiltered: bool,
}

impl Thumb {
    /// Adds the thumb to a digest.
    pub(crate) fn digest(&self, digest: &mut Digest) {
        let Thumb { time, index, y, u, v, sharpness, unfiltered } = self;
        digest.time(*time);
        digest.frame(*index);
        [y, u, v].into_iter().for_each(|plane| digest.bytes(plane));
        digest.float(*sharpness);
        digest.flag(*unfiltered);
    }
}

/// Rows that are read of each block's luma: as many of either field, and enough that noise does not matter. Reading
/// rows takes most of this module's time, so it reads no others.
pub(super) const ROWS: usize = 4;
/// Blocks with at least this many columns need half the rows only: those of frames 1,920 pixels wide and more.
pub(super) const WIDE: usize = 30;
/// Words that can be added before a lane of 16 bits overflows.
const WORDS: usize = u16::MAX as usize / (ROWS * u8::MAX as usize);
/// Samples of a plane.
pub(crate) const SAMPLES: usize = THUMB_WIDTH * THUMB_HEIGHT;

impl Frame {
    /// The frame as block means.
    ///
    /// # Errors
    /// [`Error::Input`] if the pixel format cannot be read.
    pub fn thumb(&self) -> Result<Thumb> {
        if let Some((samples, sharpness)) = self.samples() {
            let mut planes = samples.chunks_exact(SAMPLES).map(<[u8]>::to_vec);
            let (y, u, v) = (planes.next(), planes.next(), planes.next());
            let (y, u, v) = (y.unwrap_or_default(), u.unwrap_or_default(), v.unwrap_or_default());
            return Ok(self.thumb_of(y, u, v, sharpness));
        }
        let av = self.av()?;
        let (y, u, v, sharpness) = match layout(av) {
            Some(layout) => from_planes(av, &layout),
            None => from_scaler(av).ok_or_else(|| unreadable(av))?,
        };
        Ok(self.thumb_of(y, u, v, sharpness))
    }

    fn thumb_of(&self, y: Vec<u8>, u: Vec<u8>, v: Vec<u8>, sharpness: f32) -> Thumb {
        Thumb { time: self.time, index: self.index, y, u, v, sharpness, unfiltered: self.unfiltered }
    }
}

pub(super) fn unreadable(av: &ff::frame::Video) -> Error {
    Error::input(
        PixelFormat::of(av).name(),
        "this pixel format cannot be read",
        "Convert the file first, for example: ffmpeg -i INPUT -pix_fmt yuv420p OUTPUT.mp4",
    )
}

/// Where one component's samples are in memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Component {
    plane: usize,
    /// Bytes from one sample to the next.
    step: usize,
    /// Bytes before the first sample.
    offset: usize,
    /// Unused low bits of a sample.
    shift: u32,
    /// Bits of a sample.
    depth: u32,
    /// Size in samples.
    pub(super) width: usize,
    pub(super) height: usize,
}

/// Where a frame's samples are in memory.
pub(super) struct SampleLayout {
    /// Luma, then both chroma components unless the frame is grey.
    pub(super) components: Vec<Component>,
    full_range: bool,
}

/// The layout of little-endian YUV and grey formats with 8 to 16 bits; `None` for all others.
pub(super) fn layout(av: &ff::frame::Video) -> Option<SampleLayout> {
    let d = PixelFormat::of(av).descriptor()?;
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
    Some(SampleLayout { components, full_range: is_full_range(av) })
}

/// The bytes of a component's row, checked against the plane's stride.
fn row<'a>(av: &'a ff::frame::Video, c: &Component, y: usize) -> &'a [u8] {
    let bytes = if c.depth > 8 { 2 } else { 1 };
    let length = c.offset + (c.width - 1) * c.step + bytes;
    // SAFETY: FFmpeg guarantees `height` rows of `linesize` bytes a plane, the line size may be negative (bottom-up)
    // but a row always holds `width` samples of its format; a null plane gives an empty row.
    unsafe {
        let f = av.as_ptr();
        let (base, stride) = ((*f).data[c.plane], (*f).linesize[c.plane]);
        if base.is_null() || (stride.unsigned_abs() as usize) < length {
            return &[];
        }
        let start = base.offset(stride as isize * y as isize);
        std::slice::from_raw_parts(start, length)
    }
}

fn from_planes(av: &ff::frame::Video, layout: &SampleLayout) -> BlockMeans {
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
    // Limited range: 16 to 235 for luma, 16 to 240 for chroma.
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

/// Fills `out` with the block means of one component. Returns the mean absolute gradient along one row of each block if
/// `gradient` is set, otherwise 0.
///
/// Rows of a block are added up column by column first, and then the columns, once for each block. Vector
/// instructions add side by side, and the sums are the same.
fn block_means(av: &ff::frame::Video, c: &Component, rows: usize, out: &mut [u8], gradient: bool) -> f32 {
    let edge = |i: usize| i * c.width / THUMB_WIDTH;
    let blocks: Vec<Range<usize>> = (0..THUMB_WIDTH).map(|i| edge(i)..edge(i + 1).max(edge(i) + 1)).collect();
    let mut narrow = Vec::new();
    // Sums of a few rows of 8 bits: far from overflow.
    let mut columns = vec![0u16; c.width];
    let (mut steps, mut pairs) = (0u64, 0u64);
    for (by, means) in out.chunks_exact_mut(THUMB_WIDTH).enumerate() {
        let top = by * c.height / THUMB_HEIGHT;
        let bottom = ((by + 1) * c.height / THUMB_HEIGHT).max(top + 1);
        let take = rows.min(bottom - top);
        let mut set = false;
        for r in 0..take {
            let y = sampled_row(top..bottom, r, take);
            let line = row_of_bytes(av, c, y, &mut narrow);
            if line.len() < c.width {
                continue;
            }
            if set {
                add_row(&mut columns, line)
            } else {
                set_row(&mut columns, line)
            }
            set = true;
            if gradient && r == take / 2 {
                steps += gradient_sum(line);
                pairs += line.len() as u64 - 1;
            }
        }
        if set {
            mean_of_blocks(&columns, &blocks, take, means);
        } else {
            means.fill(0);
        }
    }
    if pairs == 0 { 0.0 } else { steps as f32 / pairs as f32 }
}

/// Row `r` of the `take` rows that are read of a block: spread evenly, each from the middle of its share; every other one from
/// the other field, if there are two.
pub(super) fn sampled_row(block: Range<usize>, r: usize, take: usize) -> usize {
    let y = block.start + (2 * r + 1) * block.len() / (2 * take);
    if y % 2 == r % 2 || take == 1 { y } else { (y ^ 1).clamp(block.start, block.end - 1) }
}

/// The samples of a component's row in 8 bits. `narrow` holds them where they are not bytes already.
pub(super) fn row_of_bytes<'a>(av: &'a ff::frame::Video, c: &Component, y: usize, narrow: &'a mut Vec<u8>) -> &'a [u8] {
    let bytes = row(av, c, y);
    if c.depth == 8 && c.step == 1 && c.shift == 0 {
        return bytes.get(c.offset..).unwrap_or_default();
    }
    narrow_row(bytes, c, narrow);
    narrow
}

/// Begins the sums of the columns with a row.
fn set_row(columns: &mut [u16], row: &[u8]) {
    for (column, &sample) in columns.iter_mut().zip(row) {
        *column = u16::from(sample);
    }
}

/// Adds a row to the sums of its columns.
fn add_row(columns: &mut [u16], row: &[u8]) {
    for (column, &sample) in columns.iter_mut().zip(row) {
        *column += u16::from(sample);
    }
}

/// The sum of absolute differences between neighbours of a row.
fn gradient_sum(row: &[u8]) -> u64 {
    row.iter().zip(&row[1..]).map(|(&p, &q)| u32::from(p.abs_diff(q))).sum::<u32>() as u64
}

/// The rounded mean of each block, whose columns are sums of `rows` rows.
fn mean_of_blocks(columns: &[u16], blocks: &[Range<usize>], rows: usize, means: &mut [u8]) {
    // Blocks differ in width by one column at most.
    let narrow = (columns.len() / blocks.len()).max(1);
    let divisors = [narrow, narrow + 1].map(|width| Divisor::new((width * rows) as u32));
    for (mean, block) in means.iter_mut().zip(blocks) {
        let divisor = &divisors[block.len() - narrow];
        *mean = divisor.rounded(sum(&columns[block.clone()])) as u8;
    }
}

/// The sum of columns, each of at most [`ROWS`] samples. Four columns are added at once, in the lanes of one word.
pub(super) fn sum(columns: &[u16]) -> u32 {
    columns
        .chunks(4 * WORDS)
        .map(|columns| {
            let (fours, rest) = columns.as_chunks::<4>();
            let lanes: [u16; 4] = bytemuck::cast(fours.iter().map(|&four| bytemuck::cast::<_, u64>(four)).sum::<u64>());
            lanes.iter().chain(rest).map(|&column| u32::from(column)).sum::<u32>()
        })
        .sum()
}

/// Divides many numbers by the same one: a multiplication takes a fraction of a division's time.
struct Divisor {
    half: u32,
    inverse: u64,
}

impl Divisor {
    /// The inverse is too large by less than 2⁻⁴⁰, so quotients are exact while number times divisor is below 2⁴⁰: for
    /// blocks of up to 65,536 samples of 8 bits, which are wider than any frame.
    const BITS: u32 = 40;

    fn new(divisor: u32) -> Divisor {
        Divisor { half: divisor / 2, inverse: (1 << Self::BITS) / u64::from(divisor) + 1 }
    }

    /// `number` divided by the divisor, rounded.
    fn rounded(&self, number: u32) -> u32 {
        ((u64::from(number + self.half) * self.inverse) >> Self::BITS) as u32
    }
}

/// Writes the samples of a row into `out` as 8 bits, for interleaved and for deeper formats.
fn narrow_row(bytes: &[u8], c: &Component, out: &mut Vec<u8>) {
    out.clear();
    let bytes = bytes.get(c.offset..).unwrap_or_default();
    let down = c.shift + c.depth.saturating_sub(8);
    let word = |s: &[u8]| (u16::from_le_bytes([s[0], s.get(1).copied().unwrap_or(0)]) >> down).min(255) as u8;
    match (c.step, c.depth > 8) {
        // The common layouts separately: with a step that the compiler knows, it uses vector instructions.
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
type BlockMeans = (Vec<u8>, Vec<u8>, Vec<u8>, f32);

fn from_scaler(av: &ff::frame::Video) -> Option<BlockMeans> {
    let data = scale(av, Rows::All, PixelFormat::YUVJ444P, THUMB_WIDTH as u32, THUMB_HEIGHT as u32)?;
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

    fn block_means_of(av: &ff::frame::Video) -> BlockMeans {
        let mut layout = layout(av).unwrap();
        layout.full_range = true;
        from_planes(av, &layout)
    }

    #[test]
    fn deep_and_interleaved_planes_give_the_same_as_plain_ones() {
        use ff::format::Pixel;
        let value = |plane: usize, x: usize, y: usize| ((x * 7 + y * 3 + plane * 50) % 256) as u16;
        // Odd sizes, blocks narrower than a word, and smaller than the thumb itself.
        for (w, h) in [(640, 360), (333, 187), (64, 36), (20, 10), (2, 2)] {
            let plain = block_means_of(&frame(Pixel::YUV420P, w, h, value));
            assert_eq!(plain, block_means_of(&frame(Pixel::NV12, w, h, value)), "nv12 {w}x{h}");
            let ten = |p, x, y| value(p, x, y) << 2 | 3;
            assert_eq!(plain, block_means_of(&frame(Pixel::YUV420P10LE, w, h, ten)), "10 bits {w}x{h}");
            assert_eq!(plain, block_means_of(&frame(Pixel::P010LE, w, h, ten)), "p010 {w}x{h}");
            let twelve = |p, x, y| value(p, x, y) << 4 | 9;
            assert_eq!(plain, block_means_of(&frame(Pixel::YUV420P12LE, w, h, twelve)), "12 bits {w}x{h}");
            assert_eq!(plain.0, block_means_of(&frame(Pixel::GRAY8, w, h, value)).0, "grey {w}x{h}");
        }
    }

    #[test]
    fn a_divisor_rounds_as_division_does() {
        for divisor in (1..5_000).chain([65_535, 65_536]) {
            let (by, largest) = (Divisor::new(divisor), divisor * 255);
            let numbers = (0..=largest).step_by((largest / 500).max(1) as usize);
            for number in numbers.chain((0..=255).flat_map(|mean| {
                let middle = mean * divisor + divisor.div_ceil(2);
                [middle.saturating_sub(1).min(largest), middle.min(largest)]
            })) {
                assert_eq!(by.rounded(number), (number + divisor / 2) / divisor, "{number} / {divisor}");
            }
        }
    }

    #[test]
    fn lanes_do_not_overflow() {
        let columns: Vec<u16> = vec![(ROWS * 255) as u16; 1_027];
        for length in [0, 1, 4, 20, 4 * WORDS - 1, 4 * WORDS, 4 * WORDS + 1, 1_027] {
            assert_eq!(sum(&columns[..length]), (length * ROWS * 255) as u32);
        }
    }

    #[test]
    fn both_fields_count_equally() {
        // Interlaced: one field black, the other white. Every block is grey, whatever its height in rows.
        for (w, h) in [(1920, 1080), (1280, 720), (720, 1080), (720, 576), (720, 480), (352, 288)] {
            let (y, ..) = block_means_of(&frame(ff::format::Pixel::YUV420P, w, h, |p, _, y| {
                if p == 0 { (y % 2 * 255) as u16 } else { 128 }
            }));
            let mean = y.iter().map(|&v| f32::from(v)).sum::<f32>() / y.len() as f32;
            assert!((mean - 127.5).abs() < 16.0, "{w}x{h}: {mean}");
        }
    }
}
