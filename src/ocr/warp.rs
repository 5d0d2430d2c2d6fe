//! Cuts a line out of a picture upright, and resizes it, as OpenCV does: by cubic and by linear interpolation.

use super::geometry::Quad;
use crate::media::Rgb;

/// A line that is higher than this times its width runs from top to bottom.
const UPRIGHT: f64 = 1.5;
/// OpenCV's cubic interpolation.
const CUBIC: f64 = -0.75;
/// The weight of a pixel in linear interpolation.
const WEIGHT: f32 = 2_048.0;
/// Longest side of a line that is cut out. Larger ones only occur in huge pictures, and are reduced.
const LONGEST: f64 = 4_096.0;

/// The part of a picture inside corners. A line that runs from top to bottom is turned to the left by a quarter.
pub(super) fn cut_out(picture: &Rgb, corners: &Quad) -> Rgb {
    let [a, b, c, d] = *corners;
    let side = |one: f64, other: f64| one.max(other).trunc().clamp(1.0, LONGEST);
    let (width, height) = (side(a.distance(b), c.distance(d)), side(a.distance(d), b.distance(c)));
    let map = Projection::new(corners, width, height);
    let (columns, rows) = (width as u32, height as u32);
    let mut data = Vec::with_capacity((columns * rows * 3) as usize);
    for y in 0..rows {
        for x in 0..columns {
            let (sx, sy) = map.at(f64::from(x), f64::from(y));
            data.extend(cubic(picture, sx, sy));
        }
    }
    let line = Rgb { width: columns, height: rows, data };
    if height / width >= UPRIGHT { turned(&line) } else { line }
}

/// From places in a rectangle to those in a quadrangle: `(a x + b y + c) / (g x + h y + 1)`, and so for y.
struct Projection {
    x: [f64; 3],
    y: [f64; 3],
    w: [f64; 2],
}

impl Projection {
    /// Of a rectangle's corners to those given. (Heckbert, Fundamentals of Texture Mapping and Image Warping, 1989.)
    fn new(&[p0, p1, p2, p3]: &Quad, width: f64, height: f64) -> Projection {
        let (sx, sy) = (p0.x - p1.x + p2.x - p3.x, p0.y - p1.y + p2.y - p3.y);
        let (dx1, dx2, dy1, dy2) = (p1.x - p2.x, p3.x - p2.x, p1.y - p2.y, p3.y - p2.y);
        let det = dx1 * dy2 - dx2 * dy1;
        let (g, h) = if det == 0.0 { (0.0, 0.0) } else { ((sx * dy2 - dx2 * sy) / det, (dx1 * sy - sx * dy1) / det) };
        Projection {
            x: [(p1.x - p0.x + g * p1.x) / width, (p3.x - p0.x + h * p3.x) / height, p0.x],
            y: [(p1.y - p0.y + g * p1.y) / width, (p3.y - p0.y + h * p3.y) / height, p0.y],
            w: [g / width, h / height],
        }
    }

    fn at(&self, x: f64, y: f64) -> (f64, f64) {
        let w = self.w[0] * x + self.w[1] * y + 1.0;
        let w = if w == 0.0 { 0.0 } else { 1.0 / w };
        ((self.x[0] * x + self.x[1] * y + self.x[2]) * w, (self.y[0] * x + self.y[1] * y + self.y[2]) * w)
    }
}

/// The colour at a place. The picture's edges continue outside of it.
fn cubic(picture: &Rgb, x: f64, y: f64) -> [u8; 3] {
    let (wx, wy) = (cubic_weights(x - x.floor()), cubic_weights(y - y.floor()));
    let (left, top) = (x.floor() as i64 - 1, y.floor() as i64 - 1);
    let mut sums = [0.0; 3];
    for (row, wy) in (top..).zip(wy) {
        let row = row.clamp(0, i64::from(picture.height) - 1) as usize * picture.width as usize;
        for (column, wx) in (left..).zip(wx) {
            let at = 3 * (row + column.clamp(0, i64::from(picture.width) - 1) as usize);
            for (sum, value) in sums.iter_mut().zip(&picture.data[at..at + 3]) {
                *sum += wx * wy * f64::from(*value);
            }
        }
    }
    sums.map(|sum| sum.round().clamp(0.0, 255.0) as u8)
}

/// The weights of the four pixels around a place, for its distance from the second.
fn cubic_weights(t: f64) -> [f64; 4] {
    let far = |t: f64| ((CUBIC * t - 5.0 * CUBIC) * t + 8.0 * CUBIC) * t - 4.0 * CUBIC;
    let near = |t: f64| ((CUBIC + 2.0) * t - (CUBIC + 3.0)) * t * t + 1.0;
    let weights = [far(t + 1.0), near(t), near(1.0 - t)];
    [weights[0], weights[1], weights[2], 1.0 - weights.iter().sum::<f64>()]
}

/// A quarter to the left.
fn turned(picture: &Rgb) -> Rgb {
    let (width, height) = (picture.width as usize, picture.height as usize);
    let mut data = Vec::with_capacity(picture.data.len());
    for column in (0..width).rev() {
        for row in 0..height {
            let at = 3 * (row * width + column);
            data.extend_from_slice(&picture.data[at..at + 3]);
        }
    }
    Rgb { width: picture.height, height: picture.width, data }
}

/// A picture in another size, by linear interpolation between the centres of pixels. In integers, as OpenCV computes it.
pub(super) fn resize(picture: &Rgb, width: u32, height: u32) -> Rgb {
    let columns = linear_taps(picture.width, width);
    let rows = linear_taps(picture.height, height);
    let stride = 3 * picture.width as usize;
    let across = |row: usize, to: &mut Vec<i32>| {
        let row = &picture.data[row * stride..][..stride];
        to.clear();
        for tap in &columns {
            let (left, right) = (&row[3 * tap.first..][..3], &row[3 * tap.second..][..3]);
            to.extend(
                left.iter().zip(right).map(|(l, r)| i32::from(*l) * tap.weights.0 + i32::from(*r) * tap.weights.1),
            );
        }
    };
    let (mut upper, mut lower) = (Vec::new(), Vec::new());
    let mut data = Vec::with_capacity(3 * width as usize * height as usize);
    for tap in &rows {
        across(tap.first, &mut upper);
        across(tap.second, &mut lower);
        let part = |weight: i32, sum: i32| (weight * (sum >> 4)) >> 16;
        let values = upper.iter().zip(&lower);
        data.extend(values.map(|(u, l)| ((part(tap.weights.0, *u) + part(tap.weights.1, *l) + 2) >> 2) as u8));
    }
    Rgb { width, height, data }
}

/// The two old pixels beside the centre of a new one, and their weights, of [`WEIGHT`].
struct LinearTap {
    first: usize,
    second: usize,
    weights: (i32, i32),
}

fn linear_taps(from: u32, to: u32) -> Vec<LinearTap> {
    let (scale, last) = (f64::from(from) / f64::from(to.max(1)), from.saturating_sub(1) as usize);
    let tap = |n: u32| {
        let centre = ((f64::from(n) + 0.5) * scale - 0.5) as f32;
        let (first, part) = (centre.floor(), centre - centre.floor());
        let (first, part) = if first < 0.0 { (0, 0.0) } else { (first as usize, part) };
        let weights = (((1.0 - part) * WEIGHT).round_ties_even() as i32, (part * WEIGHT).round_ties_even() as i32);
        LinearTap { first: first.min(last), second: (first + 1).min(last), weights }
    };
    (0..to).map(tap).collect()
}

#[cfg(test)]
mod tests {
    use super::super::geometry::Point;
    use super::*;

    fn picture(width: u32, height: u32) -> Rgb {
        let data = (0..height).flat_map(|y| (0..width).flat_map(move |x| [x as u8, y as u8, (x * y) as u8]));
        Rgb { width, height, data: data.collect() }
    }

    fn quad(corners: [(f64, f64); 4]) -> Quad {
        corners.map(|(x, y)| Point { x, y })
    }

    #[test]
    fn an_upright_line_is_cut_out_as_it_is() {
        let whole = picture(40, 30);
        let line = cut_out(&whole, &quad([(4.0, 6.0), (24.0, 6.0), (24.0, 16.0), (4.0, 16.0)]));
        assert_eq!((line.width, line.height), (20, 10));
        for (y, row) in line.data.chunks_exact(60).enumerate() {
            for (x, pixel) in row.chunks_exact(3).enumerate() {
                assert_eq!(pixel[..2], [x as u8 + 4, y as u8 + 6]);
            }
        }
    }

    #[test]
    fn a_line_from_top_to_bottom_is_turned_to_the_left() {
        let line = cut_out(&picture(40, 30), &quad([(4.0, 6.0), (9.0, 6.0), (9.0, 26.0), (4.0, 26.0)]));
        assert_eq!((line.width, line.height), (20, 5));
        // What was at the top is at the left, and what was at the right is above.
        assert_eq!(line.data[..2], [8, 6]);
        assert_eq!(line.data[3 * 99..3 * 99 + 2], [4, 25]);
    }

    #[test]
    fn corners_anywhere_are_safe() {
        let whole = picture(3, 2);
        for corners in [[(-9.0, -9.0); 4], [(0.0, 0.0), (1e9, 0.0), (1e9, 1e9), (0.0, 1e9)], [(f64::NAN, 0.0); 4]] {
            let line = cut_out(&whole, &quad(corners));
            assert_eq!(line.data.len() as u32, line.width * line.height * 3);
        }
    }

    #[test]
    fn resizing_keeps_what_is_flat_and_interpolates_between_centres() {
        let flat = Rgb { width: 5, height: 4, data: vec![77; 60] };
        assert!(resize(&flat, 13, 9).data.iter().all(|v| *v == 77));
        let two = Rgb { width: 2, height: 1, data: vec![0, 0, 0, 100, 100, 100] };
        let reds: Vec<u8> = resize(&two, 4, 1).data.iter().step_by(3).copied().collect();
        assert_eq!(reds, [0, 25, 75, 100]);
    }
}
