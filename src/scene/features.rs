//! What the detector keeps of a thumb, and how two thumbs compare.
//!
//! Changes are mean absolute differences in 8-bit levels. Likeness is a correlation of structure, from −1 to 1. Memory:
//! one vector of 864 values for each [`FrameFeatures`].

use std::ops::Range;

use crate::digest::Digest;
use crate::scene::thumb::{THUMB_HEIGHT, THUMB_WIDTH, Thumb};
use crate::time::Time;

/// Luma values of a compact picture: the thumb at half its width and height.
const LUMA: usize = THUMB_WIDTH / 2 * (THUMB_HEIGHT / 2);
/// Values of each chroma plane of a compact picture: the thumb at a quarter of its width and height.
const CHROMA: usize = THUMB_WIDTH / 4 * (THUMB_HEIGHT / 4);
/// Values of a compact picture.
const COMPACT: usize = LUMA + 2 * CHROMA;

// The thresholds here and in the detector's rules were tuned on the clips that benches/scene_quality.py synthesises,
// whose scene changes are known exactly. Where a value has another source, it is given.

/// Weight of a chroma plane beside luma's 1. Chroma alone must not make a cut.
const CHROMA_WEIGHT: f32 = 0.5;
/// Standard deviation of luma, in 8-bit levels, below which a picture may be flat: black, white, or one colour.
pub(crate) const FLAT_DEVIATION: f32 = 4.0;
/// Range of luma, in 8-bit levels, up to which it then is flat. A small lamp in the night exceeds it.
const FLAT_RANGE: u8 = 48;
/// The mean luma change to a neighbouring frame, in 8-bit levels, that halves a frame's [`quality`].
const HALVING_MOTION: f32 = 8.0;
/// Width and height, in samples of the compact luma, of the blocks whose motion is searched.
const BLOCK: (usize, usize) = (8, 6);
/// How far motion is searched to either side, across and down, in samples of the compact luma.
const SEARCH: (isize, isize) = (5, 3);

/// Whether a thumb is flat: black, white, or one colour.
pub(crate) fn is_flat(thumb: &Thumb) -> bool {
    flat(range(&thumb.y), deviation(&thumb.y))
}

/// Mean absolute difference of luma, in 8-bit levels.
pub(crate) fn luma_change(a: &Thumb, b: &Thumb) -> f32 {
    mean_difference(&a.y, &b.y)
}

/// How well a frame represents its scene: its sharpness, less what the motion around it costs.
pub(crate) fn quality(sharpness: f32, motion: f32) -> f32 {
    sharpness / (1.0 + motion / HALVING_MOTION)
}

/// Likeness of structure; see [`FrameFeatures::likeness`].
pub(crate) fn likeness(a: &Thumb, b: &Thumb) -> f32 {
    let features = |t: &Thumb| FrameFeatures::new(t, 0.0, (t.time, t.index));
    features(a).likeness(&features(b))
}

/// Mean absolute difference of luma, plus that of both chroma planes at [`CHROMA_WEIGHT`] each, in 8-bit levels.
pub(crate) fn change(a: &Thumb, b: &Thumb) -> f32 {
    mean_difference(&a.y, &b.y) + CHROMA_WEIGHT * (mean_difference(&a.u, &b.u) + mean_difference(&a.v, &b.v))
}

/// A thumb at half its size, with what the detector's rules need computed once.
#[derive(Clone)]
pub(crate) struct FrameFeatures {
    pub(crate) time: Time,
    pub(crate) index: u64,
    /// Change from the previous features; see [`change`].
    pub(crate) change: f32,
    /// The frame with the largest step since the previous features: this frame itself, unless frames were skipped.
    pub(crate) step: (Time, u64),
    /// Whether the picture is flat.
    pub(crate) flat: bool,
    /// Luma's range, from the darkest to the brightest sample.
    range: u8,
    /// Standard deviation of luma.
    pub(crate) deviation: f32,
    /// Mean square of luma's gradient at the thumb's size: fine contrast.
    pub(crate) energy: f32,
    /// Variance of luma at half size: coarse contrast.
    pub(crate) variance: f32,
    /// Mean of each plane of `compact`.
    means: [f32; 3],
    /// Sum of squares of `compact`.
    square: f32,
    /// Sum of squares of `compact` around the planes' means.
    spread: f32,
    /// Luma at half the thumb's size and chroma at a quarter, minus 128.
    compact: Box<[f32; COMPACT]>,
}

impl FrameFeatures {
    /// `change` and `step` are as in the fields.
    pub(crate) fn new(thumb: &Thumb, change: f32, step: (Time, u64)) -> FrameFeatures {
        let compact = compact(thumb);
        let mut means = [0.0; 3];
        let mut spread = 0.0;
        let mut variance = 0.0;
        for (k, plane) in planes().into_iter().enumerate() {
            let part = &compact[plane];
            means[k] = part.iter().sum::<f32>() / part.len() as f32;
            let around = dot(part, part) - means[k] * means[k] * part.len() as f32;
            spread += around.max(0.0);
            if k == 0 {
                variance = around.max(0.0) / part.len() as f32;
            }
        }
        let (range, deviation) = (range(&thumb.y), deviation(&thumb.y));
        FrameFeatures {
            time: thumb.time,
            index: thumb.index,
            change,
            step,
            flat: flat(range, deviation),
            range,
            deviation,
            energy: energy(&thumb.y),
            variance,
            means,
            square: dot(&compact[..], &compact[..]),
            spread,
            compact,
        }
    }

    /// Adds the features to a digest.
    pub(crate) fn digest(&self, d: &mut Digest) {
        // Every field is named, so that a new one cannot be forgotten.
        let FrameFeatures {
            time,
            index,
            change,
            step,
            flat,
            range,
            deviation,
            energy,
            variance,
            means,
            square,
            spread,
            compact,
        } = self;
        d.time(*time);
        d.frame(*index);
        d.time(step.0);
        d.frame(step.1);
        d.flag(*flat);
        d.number(u64::from(*range));
        d.floats(&[*change, *deviation, *energy, *variance, *square, *spread]);
        d.floats(means);
        d.floats(&compact[..]);
    }

    /// Whether the picture is flat except for some noise.
    pub(crate) fn nearly_flat(&self) -> bool {
        self.flat || self.deviation < 1.5 * FLAT_DEVIATION && self.range <= FLAT_RANGE + FLAT_RANGE / 2
    }

    /// Dot product of the compact pictures.
    pub(crate) fn dot(&self, other: &FrameFeatures) -> f32 {
        dot(&self.compact[..], &other.compact[..])
    }

    /// Squared distance of the compact pictures, given their dot product.
    pub(crate) fn squared_distance(&self, other: &FrameFeatures, dot: f32) -> f32 {
        (self.square + other.square - 2.0 * dot).max(0.0)
    }

    /// Likeness of structure, −1 to 1. Brightness, contrast and tint of the whole picture do not count. Two flat
    /// pictures are alike.
    pub(crate) fn likeness(&self, other: &FrameFeatures) -> f32 {
        let scale = (self.spread * other.spread).sqrt();
        // A standard deviation of one 8-bit level.
        let nothing = LUMA as f32;
        if scale < nothing {
            return if self.spread < nothing && other.spread < nothing { 1.0 } else { 0.0 };
        }
        let mut sum = self.dot(other);
        for (k, plane) in planes().into_iter().enumerate() {
            sum -= self.means[k] * other.means[k] * plane.len() as f32;
        }
        sum / scale
    }

    /// Covariance of luma.
    pub(crate) fn covariance(&self, other: &FrameFeatures) -> f32 {
        dot(&self.compact[..LUMA], &other.compact[..LUMA]) / LUMA as f32 - self.means[0] * other.means[0]
    }

    /// Mean absolute difference, on the scale of [`change`].
    pub(crate) fn distance(&self, other: &FrameFeatures) -> f32 {
        let part = |r: Range<usize>| {
            self.compact[r.clone()].iter().zip(&other.compact[r]).map(|(x, y)| (x - y).abs()).sum::<f32>()
        };
        part(0..LUMA) / LUMA as f32 + part(LUMA..COMPACT) / CHROMA as f32
    }

    /// The share of the luma difference that motion does not explain: 0 if shifted blocks of this picture make up the
    /// other one, 1 if they explain nothing.
    pub(crate) fn unexplained_by_motion(&self, other: &FrameFeatures) -> f32 {
        let (width, height) = (THUMB_WIDTH / 2, THUMB_HEIGHT / 2);
        let (a, b) = (&self.compact[..LUMA], &other.compact[..LUMA]);
        let (mut still, mut moved) = (1.0, 1.0);
        for top in (0..height).step_by(BLOCK.1) {
            for left in (0..width).step_by(BLOCK.0) {
                let rows = BLOCK.1.min(height - top);
                let columns = BLOCK.0.min(width - left);
                let cost = |dx: isize, dy: isize| -> Option<f32> {
                    let (x, y) = (left.checked_add_signed(dx)?, top.checked_add_signed(dy)?);
                    if x + columns > width || y + rows > height {
                        return None;
                    }
                    let mut sum = 0.0;
                    for r in 0..rows {
                        let (p, q) = ((y + r) * width + x, (top + r) * width + left);
                        sum +=
                            a[p..p + columns].iter().zip(&b[q..q + columns]).map(|(p, q)| (p - q).abs()).sum::<f32>();
                    }
                    Some(sum / (rows * columns) as f32)
                };
                let here = cost(0, 0).unwrap_or(0.0);
                let shifts = (-SEARCH.1..=SEARCH.1).flat_map(|dy| (-SEARCH.0..=SEARCH.0).map(move |dx| (dx, dy)));
                still += here;
                moved += shifts.filter_map(|(dx, dy)| cost(dx, dy)).fold(here, f32::min);
            }
        }
        moved / still
    }
}

/// Mean absolute change of hue (0 to 180, as in OpenCV), saturation and value: the measure of PySceneDetect's
/// ContentDetector.
pub(crate) fn hsv_change(a: &Thumb, b: &Thumb) -> f32 {
    let mut sum = 0.0;
    for (p, q) in a.y.iter().zip(&a.u).zip(&a.v).zip(b.y.iter().zip(&b.u).zip(&b.v)) {
        let (p, q) = (hsv(*p.0.0, *p.0.1, *p.1), hsv(*q.0.0, *q.0.1, *q.1));
        sum += (p.0 - q.0).abs() + (p.1 - q.1).abs() + (p.2 - q.2).abs();
    }
    sum / (3 * a.y.len().max(1)) as f32
}

fn flat(range: u8, deviation: f32) -> bool {
    range <= FLAT_RANGE && deviation < FLAT_DEVIATION
}

fn range(y: &[u8]) -> u8 {
    let (low, high) = y.iter().fold((u8::MAX, 0), |(low, high), &v| (low.min(v), high.max(v)));
    high.saturating_sub(low)
}

fn mean_difference(a: &[u8], b: &[u8]) -> f32 {
    let sum: u32 = a.iter().zip(b).map(|(&x, &y)| u32::from(x.abs_diff(y))).sum();
    sum as f32 / a.len().max(1) as f32
}

fn deviation(y: &[u8]) -> f32 {
    let n = y.len().max(1) as f64;
    let sum: u32 = y.iter().map(|&v| u32::from(v)).sum();
    let squares: u32 = y.iter().map(|&v| u32::from(v) * u32::from(v)).sum();
    let mean = f64::from(sum) / n;
    (f64::from(squares) / n - mean * mean).max(0.0).sqrt() as f32
}

/// The planes of a compact picture.
fn planes() -> [Range<usize>; 3] {
    [0..LUMA, LUMA..LUMA + CHROMA, LUMA + CHROMA..COMPACT]
}

/// Eight sums side by side, which the compiler turns into vector instructions.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; 8];
    for (x, y) in a.chunks_exact(8).zip(b.chunks_exact(8)) {
        for k in 0..8 {
            sums[k] += x[k] * y[k];
        }
    }
    let rest: f32 = a.chunks_exact(8).remainder().iter().zip(b.chunks_exact(8).remainder()).map(|(x, y)| x * y).sum();
    sums.iter().sum::<f32>() + rest
}

/// Mean square of luma's gradient, across plus down.
fn energy(y: &[u8]) -> f32 {
    let (mut across, mut down) = (0u32, 0u32);
    let square = |a: u8, b: u8| u32::from(a.abs_diff(b)).pow(2);
    for row in y.chunks_exact(THUMB_WIDTH) {
        across += row.iter().zip(&row[1..]).map(|(&a, &b)| square(a, b)).sum::<u32>();
    }
    for (upper, lower) in y.chunks_exact(THUMB_WIDTH).zip(y.chunks_exact(THUMB_WIDTH).skip(1)) {
        down += upper.iter().zip(lower).map(|(&a, &b)| square(a, b)).sum::<u32>();
    }
    across as f32 / (THUMB_HEIGHT * (THUMB_WIDTH - 1)) as f32 + down as f32 / ((THUMB_HEIGHT - 1) * THUMB_WIDTH) as f32
}

fn compact(t: &Thumb) -> Box<[f32; COMPACT]> {
    let mut out = Box::new([0.0; COMPACT]);
    let mut at = 0;
    for (plane, cell, weight) in [(&t.y, 2, 1.0), (&t.u, 4, CHROMA_WEIGHT), (&t.v, 4, CHROMA_WEIGHT)] {
        for by in 0..THUMB_HEIGHT / cell {
            for bx in 0..THUMB_WIDTH / cell {
                let mut sum = 0u32;
                for y in 0..cell {
                    let row = (by * cell + y) * THUMB_WIDTH + bx * cell;
                    sum += plane.get(row..row + cell).unwrap_or_default().iter().map(|&v| u32::from(v)).sum::<u32>();
                }
                out[at] = weight * (sum as f32 / (cell * cell) as f32 - 128.0);
                at += 1;
            }
        }
    }
    out
}

/// Hue (0 to 180), saturation and value of a full-range BT.601 sample.
fn hsv(y: u8, u: u8, v: u8) -> (f32, f32, f32) {
    let (y, u, v) = (f32::from(y), f32::from(u) - 128.0, f32::from(v) - 128.0);
    let r = (y + 1.402 * v).clamp(0.0, 255.0);
    let g = (y - 0.344_14 * u - 0.714_14 * v).clamp(0.0, 255.0);
    let b = (y + 1.772 * u).clamp(0.0, 255.0);
    let (max, min) = (r.max(g).max(b), r.min(g).min(b));
    let span = max - min;
    if span <= f32::EPSILON {
        return (0.0, 0.0, max);
    }
    let hue = if max == r {
        60.0 * (g - b) / span
    } else if max == g {
        120.0 + 60.0 * (b - r) / span
    } else {
        240.0 + 60.0 * (r - g) / span
    };
    (hue.rem_euclid(360.0) / 2.0, 255.0 * span / max, max)
}
