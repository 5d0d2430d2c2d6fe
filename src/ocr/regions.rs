//! From the detector's map of probabilities to boxes around lines, as in Differentiable Binarization (arXiv 1911.08947).
//!
//! The thresholds are PaddleOCR's, for its detector.

use std::f64::consts::{PI, TAU};

use super::geometry::{Point, Quad, area, edges, min_area_rect, ordered, perimeter};

/// A pixel with a greater probability belongs to a line.
const PIXEL: f32 = 0.3;
/// A region whose mean probability is lower is no line.
const REGION: f64 = 0.5;
/// The detector sees the core of a line; its box has grown by this times its area over its perimeter.
const GROWTH: f64 = 1.6;
/// A region with a shorter side is no line, before and after it has grown, in pixels of the map.
const SHORTEST: (f64, f64) = (3.0, 5.0);
/// A box with a side of so many pixels of the picture, or fewer, is left out.
const LEAST_SIDE: f64 = 4.0;
/// Most regions that are looked at.
const MOST_REGIONS: usize = 1_000;
/// Clipper's default: how far an arc may be from its circle, in pixels, or as a part of its radius.
const ARC_TOLERANCE: f64 = 0.25;
/// Most points of an arc.
const MOST_STEPS: f64 = 1_000.0;

/// A map of probabilities, row by row.
pub(super) struct ProbabilityMap<'a> {
    pub(super) width: usize,
    pub(super) height: usize,
    /// `width * height` values.
    pub(super) values: &'a [f32],
}

/// A line's box in the picture.
pub(super) struct Region {
    pub(super) corners: Quad,
}

impl ProbabilityMap<'_> {
    /// The boxes of the lines in a picture of this size, in no particular order.
    pub(super) fn regions(&self, picture: (u32, u32)) -> Vec<Region> {
        let mut components = self.components();
        // The uppermost last, as OpenCV lists contours from the bottom.
        components.reverse();
        components.truncate(MOST_REGIONS);
        components.into_iter().filter_map(|pixels| self.region(pixels, picture)).collect()
    }

    /// Whether each pixel belongs to a line: each pixel above the threshold, and those to the right of it and below.
    fn mask(&self) -> Vec<bool> {
        let mut mask = vec![false; self.values.len()];
        for (row, values) in self.values.chunks_exact(self.width).enumerate() {
            for (column, value) in values.iter().enumerate() {
                if *value > PIXEL {
                    for (y, x) in [(row, column), (row, column + 1), (row + 1, column), (row + 1, column + 1)] {
                        if y < self.height && x < self.width {
                            mask[y * self.width + x] = true;
                        }
                    }
                }
            }
        }
        mask
    }

    /// The pixels of each region at the ends of its rows: enough for its hull. Pixels that touch at a corner are connected.
    fn components(&self) -> Vec<Vec<Point>> {
        let mut mask = self.mask();
        let (mut found, mut stack) = (Vec::new(), Vec::new());
        for first in 0..mask.len() {
            if !mask[first] {
                continue;
            }
            let mut points = Vec::new();
            mask[first] = false;
            stack.push(first);
            while let Some(at) = stack.pop() {
                let (x, y) = (at % self.width, at / self.width);
                let mut inner = 0;
                for ny in y.saturating_sub(1)..(y + 2).min(self.height) {
                    for nx in x.saturating_sub(1)..(x + 2).min(self.width) {
                        let next = ny * self.width + nx;
                        if mask[next] {
                            mask[next] = false;
                            stack.push(next);
                        }
                        inner += usize::from(self.values[next] > PIXEL);
                    }
                }
                // A pixel among nothing but its own is not on the hull.
                if inner < 9 {
                    points.push(Point { x: x as f64, y: y as f64 });
                }
            }
            found.push(points);
        }
        found
    }

    fn region(&self, pixels: Vec<Point>, (width, height): (u32, u32)) -> Option<Region> {
        let core = min_area_rect(pixels).filter(|rect| rect.short >= SHORTEST.0)?;
        let corners = ordered(core.corners);
        if self.score(&corners) < REGION {
            return None;
        }
        let grown = min_area_rect(grow(&corners)).filter(|rect| rect.short >= SHORTEST.1)?;
        let scale = |value: f64, from: usize, to: u32| {
            let pixels = (value / from as f64 * f64::from(to)).round_ties_even();
            pixels.clamp(0.0, f64::from(to.saturating_sub(1)))
        };
        let place = |p: Point| Point { x: scale(p.x, self.width, width), y: scale(p.y, self.height, height) };
        let corners = ordered(ordered(grown.corners).map(place));
        let (across, down) = (corners[0].distance(corners[1]), corners[0].distance(corners[3]));
        (across >= LEAST_SIDE && down >= LEAST_SIDE).then_some(Region { corners })
    }

    /// The mean probability inside corners, edges included.
    fn score(&self, corners: &Quad) -> f64 {
        let most = |size: usize| size.saturating_sub(1) as f64;
        let low =
            |values: [f64; 4], size| values.into_iter().fold(f64::INFINITY, f64::min).floor().clamp(0.0, most(size));
        let high = |values: [f64; 4], size| values.into_iter().fold(0.0, f64::max).ceil().clamp(0.0, most(size));
        let (xs, ys) = (corners.map(|p| p.x), corners.map(|p| p.y));
        let (left, right) = (low(xs, self.width), high(xs, self.width));
        let (top, bottom) = (low(ys, self.height), high(ys, self.height));
        let whole = corners.map(|p| Point { x: (p.x - left).trunc() + left, y: (p.y - top).trunc() + top });
        let (mut sum, mut count) = (0.0, 0u32);
        for y in top as usize..=bottom as usize {
            let Some((from, to)) = row_span(&whole, y as f64) else { continue };
            let (from, to) = (from.round().max(left) as usize, to.round().min(right) as usize);
            for value in self.values[y * self.width..].iter().take(to + 1).skip(from) {
                sum += f64::from(*value);
                count += 1;
            }
        }
        if count == 0 { 0.0 } else { sum / f64::from(count) }
    }
}

/// Where a row crosses a shape: from where to where.
fn row_span(corners: &Quad, y: f64) -> Option<(f64, f64)> {
    let mut span: Option<(f64, f64)> = None;
    let mut add = |x: f64| span = Some(span.map_or((x, x), |(from, to)| (from.min(x), to.max(x))));
    for (a, b) in edges(corners) {
        if (a.y.min(b.y)..=a.y.max(b.y)).contains(&y) {
            if a.y == b.y {
                add(a.x);
                add(b.x);
            } else {
                add(a.x + (b.x - a.x) * (y - a.y) / (b.y - a.y));
            }
        }
    }
    span
}

/// Points around corners that have grown, in whole pixels. Arcs have the points that the library Clipper gives them, because
/// the recogniser was trained on boxes of these sizes, and a pixel more or less can change what it reads.
fn grow(corners: &Quad) -> Vec<Point> {
    let distance = area(corners) * GROWTH / perimeter(corners).max(f64::MIN_POSITIVE);
    let whole = corners.map(|p| Point { x: p.x.trunc(), y: p.y.trunc() });
    if distance <= 0.0 {
        return whole.to_vec();
    }
    let tolerance = ARC_TOLERANCE.min(distance * ARC_TOLERANCE);
    let steps = (PI / (1.0 - tolerance / distance).acos()).min(distance * PI);
    // Outwards from each edge; corners are clockwise.
    let normals: Vec<(f64, f64)> = edges(&whole)
        .map(|(a, b)| {
            let length = a.distance(b).max(f64::MIN_POSITIVE);
            ((b.y - a.y) / length, (a.x - b.x) / length)
        })
        .collect();
    let mut points = Vec::new();
    for (n, corner) in whole.iter().enumerate() {
        let (from, to) = (normals[(n + 3) % 4], normals[n]);
        let angle = (from.0 * to.1 - from.1 * to.0).atan2(from.0 * to.0 + from.1 * to.1);
        let count = (angle.abs() * steps / TAU).round().clamp(1.0, MOST_STEPS) as usize;
        let (sin, cos) = (TAU / steps).copysign(angle).sin_cos();
        let mut direction = from;
        for direction in (0..count).map(|_| {
            let (x, y) = direction;
            direction = (x * cos - y * sin, x * sin + y * cos);
            (x, y)
        }) {
            points.push(moved(*corner, direction, distance));
        }
        points.push(moved(*corner, to, distance));
    }
    points
}

/// A point moved in a direction, in whole pixels.
fn moved(point: Point, (x, y): (f64, f64), distance: f64) -> Point {
    Point { x: (point.x + x * distance).round(), y: (point.y + y * distance).round() }
}
