//! Which way up a picture is shown.

use serde::{Deserialize, Serialize};

use crate::media::rgb::Rgb;

/// A turn by right angles, perhaps with a mirror: the signs of the 2×2 part of a container's display matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Orientation {
    a: i8,
    b: i8,
    c: i8,
    d: i8,
}

impl Orientation {
    /// Shown as stored.
    pub(super) const UPRIGHT: Orientation = Orientation { a: 1, b: 0, c: 0, d: 1 };

    /// Reads FFmpeg's 3×3 matrix (`a b u c d v x y w`). Any turn other than by right angles counts as upright.
    pub(super) fn from_matrix(m: &[i32; 9]) -> Orientation {
        let s = |v: i32| v.signum() as i8;
        match (s(m[0]), s(m[1]), s(m[3]), s(m[4])) {
            (a, 0, 0, d) if a != 0 && d != 0 => Orientation { a, b: 0, c: 0, d },
            (0, b, c, 0) if b != 0 && c != 0 => Orientation { a: 0, b, c, d: 0 },
            _ => Orientation::UPRIGHT,
        }
    }

    /// Clockwise turn in degrees: 0, 90, 180 or 270. Of a mirrored picture, the turn that comes before the mirror.
    pub(super) fn degrees(self) -> u32 {
        match self {
            Orientation { a: 0, b, .. } if b > 0 => 90,
            Orientation { a: 0, .. } => 270,
            Orientation { d, .. } if d > 0 => 0,
            _ => 180,
        }
    }

    /// Where a place of the picture as it is shown is in the picture as it is stored; both in shares of width and height.
    pub(super) fn stored(self, x: f32, y: f32) -> (f32, f32) {
        let side = |sign: i8, at: f32| if sign > 0 { at } else { 1.0 - at };
        if self.a == 0 { (side(self.b, y), side(self.c, x)) } else { (side(self.a, x), side(self.d, y)) }
    }

    /// The picture as it is shown.
    pub(super) fn apply(self, picture: Rgb) -> Rgb {
        if self == Orientation::UPRIGHT {
            return picture;
        }
        let (w, h) = (picture.width as usize, picture.height as usize);
        let turned = self.a == 0;
        let (out_w, out_h) = if turned { (h, w) } else { (w, h) };
        let mut data = vec![0u8; w * h * 3];
        for out_y in 0..out_h {
            for out_x in 0..out_w {
                let (x, y) = if turned {
                    (if self.b > 0 { out_y } else { w - 1 - out_y }, if self.c > 0 { out_x } else { h - 1 - out_x })
                } else {
                    (if self.a > 0 { out_x } else { w - 1 - out_x }, if self.d > 0 { out_y } else { h - 1 - out_y })
                };
                let (to, from) = ((out_y * out_w + out_x) * 3, (y * w + x) * 3);
                data[to..to + 3].copy_from_slice(&picture.data[from..from + 3]);
            }
        }
        Rgb { width: out_w as u32, height: out_h as u32, data }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orientation_turns_clockwise() {
        // Two pixels side by side: red on the left, blue on the right.
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
