//! Where text is in a picture.

use std::ops::Range;

use serde::{Serialize, Serializer};

use super::geometry::Quad;
use crate::scene::{THUMB_HEIGHT, THUMB_WIDTH};

/// So near an edge, as a share of the picture, a line may be cut off.
const EDGE: f32 = 0.01;

/// An upright rectangle, in shares of the picture's width and height: 0 is its left or top edge, 1 its right or bottom edge.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TextBox {
    /// Left edge.
    pub x: f32,
    /// Top edge.
    pub y: f32,
    /// From left to right.
    pub width: f32,
    /// From top to bottom.
    pub height: f32,
}

/// As `[x, y, width, height]`, in ten-thousandths: finer than a pixel of any picture in which text is read.
impl Serialize for TextBox {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let round = |share: f32| (f64::from(share) * 1e4).round() / 1e4;
        serializer.collect_seq([self.x, self.y, self.width, self.height].map(round))
    }
}

impl TextBox {
    /// The whole picture.
    pub const WHOLE: TextBox = TextBox { x: 0.0, y: 0.0, width: 1.0, height: 1.0 };

    /// Around four corners in a picture of so many pixels.
    pub fn around(corners: &Quad, width: u32, height: u32) -> TextBox {
        let (w, h) = (f64::from(width.max(1)), f64::from(height.max(1)));
        let edges = |values: [f64; 4]| {
            let least = values.into_iter().fold(f64::INFINITY, f64::min);
            let most = values.into_iter().fold(f64::NEG_INFINITY, f64::max);
            (least.clamp(0.0, 1.0), most.clamp(0.0, 1.0))
        };
        let ((left, right), (top, bottom)) = (edges(corners.map(|p| p.x / w)), edges(corners.map(|p| p.y / h)));
        TextBox { x: left as f32, y: top as f32, width: (right - left) as f32, height: (bottom - top) as f32 }
    }

    /// The smallest one around this and another.
    pub(super) fn with(&self, other: &TextBox) -> TextBox {
        let (x, y) = (self.x.min(other.x), self.y.min(other.y));
        let (right, bottom) =
            ((self.x + self.width).max(other.x + other.width), (self.y + self.height).max(other.y + other.height));
        TextBox { x, y, width: right - x, height: bottom - y }
    }

    /// The share of its area that is in another, 0 to 1.
    pub(super) fn share_in(&self, other: &TextBox) -> f32 {
        let area = self.width * self.height;
        if area > 0.0 { self.shared(other) / area } else { 0.0 }
    }

    /// Its middle.
    pub fn center(&self) -> (f32, f32) {
        (self.x + self.width / 2.0, self.y + self.height / 2.0)
    }

    /// The area that it shares with another, as a share of the area of both; 0 to 1.
    pub fn overlap(&self, other: &TextBox) -> f32 {
        let shared = self.shared(other);
        let all = self.width * self.height + other.width * other.height - shared;
        if all > 0.0 { shared / all } else { 0.0 }
    }

    /// How far it is from another, across or down, whichever is more. A box becomes larger or smaller by a letter, or by its
    /// accent, that was not seen: what is in it has not moved by that.
    pub(super) fn distance(&self, other: &TextBox) -> f32 {
        let ((x, y), (other_x, other_y)) = (self.center(), other.center());
        let across = (x - other_x).abs() - (self.width - other.width).abs() / 2.0;
        let down = (y - other_y).abs() - (self.height - other.height).abs() / 2.0;
        across.max(down).max(0.0)
    }

    fn shared(&self, other: &TextBox) -> f32 {
        let along =
            |a: f32, a_length: f32, b: f32, b_length: f32| ((a + a_length).min(b + b_length) - a.max(b)).max(0.0);
        along(self.x, self.width, other.x, other.width) * along(self.y, self.height, other.y, other.height)
    }

    /// Whether another box is close enough beside it, or over it, to be a part of the same line.
    pub(super) fn reaches(&self, other: &TextBox) -> bool {
        let gap = self.x.max(other.x) - (self.x + self.width).min(other.x + other.width);
        gap < self.height.max(other.height)
    }

    /// The columns and rows of blocks whose centre is in it, at least one of each.
    pub(super) fn blocks(&self) -> (Range<usize>, Range<usize>) {
        let range = |from: f32, length: f32, count: usize| {
            let edge = |at: f32| (at * count as f32).round().clamp(0.0, count as f32) as usize;
            let first = edge(from).min(count - 1);
            first..edge(from + length).max(first + 1)
        };
        (range(self.x, self.width, THUMB_WIDTH), range(self.y, self.height, THUMB_HEIGHT))
    }

    /// Whether it touches the upper or the lower edge of the picture.
    pub(super) fn is_at_edge(&self) -> bool {
        self.y < EDGE || self.y + self.height > 1.0 - EDGE
    }

    /// Whether most of it is in the picture.
    pub(super) fn is_visible(&self) -> bool {
        self.share_in(&TextBox::WHOLE) >= 0.5
    }
}
