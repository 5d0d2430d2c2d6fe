//! Pillow's resampling of 8-bit RGB, exact to the last bit.
//!
//! Two passes, across and down. Each sums fixed-point products (22 fractional bits), rounds and clips to 8 bits, so the
//! picture between the passes is 8-bit too. A resizer that rounds elsewhere changes captions. Only the rows and columns of
//! the window are computed. Memory: a copy of the source under the window, the picture between the passes, and a few rows
//! of scratch.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::media::rgb::Rgb;

/// Pillow's `PRECISION_BITS` for 8-bit samples.
const PRECISION: u32 = 32 - 8 - 2;
/// Rows that the horizontal pass works on side by side: with three colours, what a few vector registers hold.
const ROWS: usize = 8;
/// Samples of one column in the scratch of the horizontal pass.
const LANES: usize = ROWS * 3;

/// Pillow's filter of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resample {
    /// Cubic convolution with a = −0.5, over two samples each way (more when shrinking).
    Bicubic,
    /// A triangle over one sample each way (more when shrinking).
    Bilinear,
    /// A windowed sinc over three samples each way (more when shrinking).
    Lanczos,
}

/// The wanted part of the resized picture, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// First column.
    pub left: usize,
    /// First row.
    pub top: usize,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

/// Resizes `picture` to `width` × `height` as Pillow does, and returns a window of the result.
///
/// The window must lie inside the result. The picture must not be empty, and must hold all its samples.
pub fn resize(picture: &Rgb, width: usize, height: usize, filter: Resample, window: Window) -> Rgb {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2, which is all that the function needs beyond its plain form.
        return unsafe { resize_avx2(picture, width, height, filter, window) };
    }
    resize_plain(picture, width, height, filter, window)
}

/// The same code, compiled for AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn resize_avx2(picture: &Rgb, width: usize, height: usize, filter: Resample, window: Window) -> Rgb {
    resize_plain(picture, width, height, filter, window)
}

#[inline(always)]
fn resize_plain(picture: &Rgb, width: usize, height: usize, filter: Resample, window: Window) -> Rgb {
    let (from_w, from_h) = (picture.width as usize, picture.height as usize);
    let x = (width != from_w).then(|| Taps::new(from_w, width, filter, window.left, window.width));
    let y = (height != from_h).then(|| Taps::new(from_h, height, filter, window.top, window.height));
    // Source columns and rows under the window. The rest is cut away first.
    let (left, right) = x.as_ref().map_or((window.left, window.left + window.width), Taps::span);
    let (top, bottom) = y.as_ref().map_or((window.top, window.top + window.height), Taps::span);
    let mut part = PicturePart {
        data: Cow::Borrowed(&picture.data),
        line: from_w * 3,
        left: left * 3,
        top,
        width: (right - left) * 3,
        height: bottom - top,
    };
    // Pillow's order: across, then down; the other way round if the height shrinks by more than twice as many samples as
    // the width does (from Pillow 13 on; earlier versions always went across first).
    let down_first = from_h.saturating_sub(height) > 2 * from_w.saturating_sub(width);
    if let (true, Some(taps)) = (down_first, &y) {
        part = down(&part, top, taps);
    }
    if let Some(taps) = &x {
        part = across(&part, left, taps);
    }
    if let (false, Some(taps)) = (down_first, &y) {
        part = down(&part, top, taps);
    }
    Rgb { width: window.width as u32, height: window.height as u32, data: part.into_data() }
}

/// A part of a picture, without a copy of it.
struct PicturePart<'a> {
    data: Cow<'a, [u8]>,
    /// Bytes of a whole row.
    line: usize,
    /// Bytes before the part in each row, and rows before it.
    left: usize,
    top: usize,
    /// Bytes of a row, and rows.
    width: usize,
    height: usize,
}

impl PicturePart<'_> {
    /// The result of a pass.
    fn made(data: Vec<u8>, width: usize, height: usize) -> PicturePart<'static> {
        PicturePart { data: Cow::Owned(data), line: width, left: 0, top: 0, width, height }
    }

    #[inline(always)]
    fn row(&self, y: usize) -> &[u8] {
        let start = (self.top + y) * self.line + self.left;
        &self.data[start..start + self.width]
    }

    fn into_data(self) -> Vec<u8> {
        match self.data {
            Cow::Owned(data) => data,
            Cow::Borrowed(_) => (0..self.height).flat_map(|y| self.row(y)).copied().collect(),
        }
    }
}

/// The source samples and weights of each wanted output sample.
struct Taps {
    /// First source sample and number of samples, one pair an output sample.
    bounds: Vec<(usize, usize)>,
    /// `stride` weights an output sample.
    weights: Vec<i32>,
    stride: usize,
}

impl Taps {
    /// Pillow's `precompute_coeffs` and `normalize_coeffs_8bpc`, for outputs `skip .. skip + count` of `to`.
    fn new(from: usize, to: usize, filter: Resample, skip: usize, count: usize) -> Taps {
        let reach = match filter {
            Resample::Bicubic => 2.0,
            Resample::Bilinear => 1.0,
            Resample::Lanczos => 3.0,
        };
        let scale = from as f64 / to as f64;
        let filter_scale = scale.max(1.0);
        let support = reach * filter_scale;
        let inverse = 1.0 / filter_scale;
        let stride = (support.ceil() as usize * 2 + 1).min(from);
        let mut taps = Taps { bounds: Vec::with_capacity(count), weights: vec![0; count * stride], stride };
        let mut exact = Vec::with_capacity(stride);
        for (n, weights) in taps.weights.chunks_exact_mut(stride).enumerate() {
            let centre = ((skip + n) as f64 + 0.5) * scale;
            let low = ((centre - support + 0.5) as i64).max(0) as usize;
            let high = ((centre + support + 0.5) as i64).clamp(0, from as i64) as usize;
            let size = high.saturating_sub(low).min(stride);
            exact.clear();
            let mut sum = 0.0;
            for x in 0..size {
                let weight = weight_at(filter, ((x + low) as f64 - centre + 0.5) * inverse);
                exact.push(weight);
                sum += weight;
            }
            for (out, weight) in weights.iter_mut().zip(&exact) {
                let weight = if sum != 0.0 { weight / sum } else { *weight };
                let half = if weight < 0.0 { -0.5 } else { 0.5 };
                *out = (half + weight * (1 << PRECISION) as f64) as i32;
            }
            taps.bounds.push((low, size));
        }
        taps
    }

    /// First source sample that any output needs, and the one after the last.
    fn span(&self) -> (usize, usize) {
        let first = self.bounds.iter().map(|b| b.0).min().unwrap_or(0);
        let last = self.bounds.iter().map(|b| b.0 + b.1).max().unwrap_or(0);
        (first, last)
    }

    fn iter(&self) -> impl Iterator<Item = (usize, &[i32])> {
        self.bounds.iter().zip(self.weights.chunks_exact(self.stride)).map(|(&(low, size), w)| (low, &w[..size]))
    }
}

/// The filter's weight at a distance in samples.
fn weight_at(filter: Resample, x: f64) -> f64 {
    let x = x.abs();
    match filter {
        Resample::Bilinear if x < 1.0 => 1.0 - x,
        Resample::Bilinear => 0.0,
        Resample::Lanczos if x < 3.0 => sinc(x) * sinc(x / 3.0),
        Resample::Lanczos => 0.0,
        Resample::Bicubic => {
            const A: f64 = -0.5;
            if x < 1.0 {
                ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
            } else if x < 2.0 {
                (((x - 5.0) * x + 8.0) * x - 4.0) * A
            } else {
                0.0
            }
        }
    }
}

/// Pillow's `sinc_filter`.
fn sinc(x: f64) -> f64 {
    if x == 0.0 {
        return 1.0;
    }
    let x = x * std::f64::consts::PI;
    x.sin() / x
}

/// Ends a sum that began with one half.
#[inline(always)]
fn round_and_clip(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

/// Horizontal pass; column 0 of `source` is column `first` of the picture. [`ROWS`] rows at a
/// time are laid out column by column, so that one weight meets [`LANES`] neighbours.
#[inline(always)]
fn across(source: &PicturePart<'_>, first: usize, taps: &Taps) -> PicturePart<'static> {
    let to = taps.bounds.len();
    let (from, rows) = (source.width / 3, source.height);
    let mut out = vec![0; rows * to * 3];
    let mut columns = vec![0u8; from * LANES];
    for top in (0..rows).step_by(ROWS) {
        let count = ROWS.min(rows - top);
        for r in 0..count {
            for (column, pixel) in columns.chunks_exact_mut(LANES).zip(source.row(top + r).chunks_exact(3)) {
                column[r * 3] = pixel[0];
                column[r * 3 + 1] = pixel[1];
                column[r * 3 + 2] = pixel[2];
            }
        }
        for (x, (low, weights)) in taps.iter().enumerate() {
            let mut sums = [1i32 << (PRECISION - 1); LANES];
            for (column, &weight) in columns[(low - first) * LANES..].chunks_exact(LANES).zip(weights) {
                for (sum, &sample) in sums.iter_mut().zip(column) {
                    *sum = sum.wrapping_add(i32::from(sample) * weight);
                }
            }
            for r in 0..count {
                let at = ((top + r) * to + x) * 3;
                for c in 0..3 {
                    out[at + c] = round_and_clip(sums[r * 3 + c]);
                }
            }
        }
    }
    PicturePart::made(out, to * 3, rows)
}

/// Vertical pass; row 0 of `source` is row `first` of the picture.
#[inline(always)]
fn down(source: &PicturePart<'_>, first: usize, taps: &Taps) -> PicturePart<'static> {
    let line = source.width;
    let mut out = vec![0; taps.bounds.len() * line];
    let mut sums = vec![0i32; line];
    for ((low, weights), row) in taps.iter().zip(out.chunks_exact_mut(line)) {
        sums.fill(1 << (PRECISION - 1));
        for (n, &weight) in weights.iter().enumerate() {
            let above = source.row(low - first + n);
            for (sum, &sample) in sums.iter_mut().zip(above) {
                *sum = sum.wrapping_add(i32::from(sample) * weight);
            }
        }
        for (to, &sum) in row.iter_mut().zip(&sums) {
            *to = round_and_clip(sum);
        }
    }
    PicturePart::made(out, line, taps.bounds.len())
}

/// Means of boxes of `factor` × `factor` pixels, from the first on. Up to `factor` − 1 rows and columns at the end are left out.
pub(crate) fn reduce(picture: &Rgb, factor: usize) -> Rgb {
    let (width, height) = (picture.width as usize / factor, picture.height as usize / factor);
    let line = picture.width as usize * 3;
    // Divides by the number of pixels, with 24 fractional bits.
    let share = (1u32 << 24) / (factor * factor) as u32;
    let mut out = Vec::with_capacity(width * height * 3);
    let mut sums = vec![0u32; width * factor * 3];
    for rows in picture.data.chunks_exact(line * factor) {
        sums.fill(0);
        for row in rows.chunks_exact(line) {
            for (sum, &sample) in sums.iter_mut().zip(row) {
                *sum += u32::from(sample);
            }
        }
        for pixels in sums.chunks_exact(factor * 3) {
            let mut pixel = [0u32; 3];
            for part in pixels.chunks_exact(3) {
                for (sum, part) in pixel.iter_mut().zip(part) {
                    *sum += part;
                }
            }
            out.extend(pixel.map(|sum| ((sum * share + (1 << 23)) >> 24) as u8));
        }
    }
    Rgb { width: width as u32, height: height as u32, data: out }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn noise(width: u32, height: u32, seed: u32) -> Rgb {
        let mut state = seed.wrapping_mul(747_796_405).wrapping_add(1);
        let data = (0..width * height * 3)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .collect();
        Rgb { width, height, data }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_window_is_a_part_of_the_whole(
            (w, h) in (1u32..40, 1u32..40), (tw, th) in (1usize..50, 1usize..50), seed: u32, cut in 0usize..1000,
        ) {
            let picture = noise(w, h, seed);
            for filter in [Resample::Bicubic, Resample::Bilinear, Resample::Lanczos] {
                let all = resize(&picture, tw, th, filter, Window { left: 0, top: 0, width: tw, height: th });
                let (left, top) = (cut % tw, cut / 7 % th);
                let window = Window { left, top, width: tw - left, height: th - top };
                let part = resize(&picture, tw, th, filter, window);
                for y in 0..window.height {
                    let want = &all.data[((top + y) * tw + left) * 3..((top + y) * tw + tw) * 3];
                    prop_assert_eq!(want, &part.data[y * window.width * 3..(y + 1) * window.width * 3]);
                }
                prop_assert_eq!(resize_plain(&picture, tw, th, filter, window), part);
            }
        }
    }

    #[test]
    fn boxes_become_their_means() {
        let picture = noise(13, 7, 3);
        for factor in 1..=6 {
            let small = reduce(&picture, factor);
            assert_eq!((small.width as usize, small.height as usize), (13 / factor, 7 / factor));
            for (n, &found) in small.data.iter().enumerate() {
                let (x, y, colour) = (n / 3 % (13 / factor), n / 3 / (13 / factor), n % 3);
                let samples = (0..factor * factor).map(|k| {
                    let at = (y * factor + k / factor) * 13 + x * factor + k % factor;
                    f64::from(picture.data[at * 3 + colour])
                });
                let mean = samples.sum::<f64>() / (factor * factor) as f64;
                assert!((f64::from(found) - mean).abs() <= 0.51, "{factor}: {found}, {mean}");
            }
        }
    }

    #[test]
    fn flat_stays_flat() {
        let picture = Rgb { width: 7, height: 5, data: vec![200; 105] };
        let big = resize(&picture, 33, 2, Resample::Bicubic, Window { left: 0, top: 0, width: 33, height: 2 });
        assert!(big.data.iter().all(|&v| v == 200));
    }
}
