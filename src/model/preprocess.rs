//! From a picture to the image tower's input: resized as Pillow does, cropped or squashed, scaled, split by colour.
//!
//! One picture in, one out, no state. Memory: the result and what [`resize`] needs.

use crate::media::LONGEST_SIDE;
use crate::media::resize::{Window, resize};
use crate::media::rgb::Rgb;
use crate::model::manifest::{ImageSpec, Resize};

/// A picture as an image tower reads it.
#[derive(Debug, Clone, PartialEq)]
pub struct Pixels {
    /// Width and height in pixels.
    pub size: usize,
    /// Three planes of `size × size` values, red first: `(v / 255 - mean) / std` for each sample `v`.
    pub data: Vec<f32>,
}

/// A picture of this many times the side of the image tower's input gives the tower's filter enough to choose from. Larger
/// ones only cost time.
const DETAIL: u32 = 3;

impl ImageSpec {
    /// Longest side of a picture, in pixels, that is of any use to the image tower.
    pub fn longest_useful(&self) -> u32 {
        self.size.saturating_mul(DETAIL).min(LONGEST_SIDE)
    }
}

/// Prepares a picture for the image tower that `spec` describes. An empty picture counts as black.
pub fn preprocess(picture: &Rgb, spec: &ImageSpec) -> Pixels {
    let square = to_square(picture, spec);
    let size = spec.size as usize;
    let area = size * size;
    let mut data = vec![0.0; 3 * area];
    for (c, plane) in data.chunks_exact_mut(area).enumerate() {
        // A sample has one of 256 values. The divisions are those of NumPy and PyTorch, in f32.
        let table: [f32; 256] = std::array::from_fn(|v| (v as f32 / 255.0 - spec.mean[c]) / spec.std[c]);
        for (out, pixel) in plane.iter_mut().zip(square.data.chunks_exact(3)) {
            *out = table[usize::from(pixel[c])];
        }
    }
    Pixels { size, data }
}

/// Resizes a picture to `spec.size × spec.size` pixels, still in 8 bits. An empty picture becomes black.
pub fn to_square(picture: &Rgb, spec: &ImageSpec) -> Rgb {
    let size = spec.size as usize;
    let (w, h) = (picture.width as usize, picture.height as usize);
    let bytes = w.checked_mul(h).and_then(|n| n.checked_mul(3));
    if w == 0 || h == 0 || bytes != Some(picture.data.len()) {
        return Rgb { width: spec.size, height: spec.size, data: vec![0; size * size * 3] };
    }
    let shortest = match spec.resize {
        Resize::CropFrom(shortest) => shortest as usize,
        Resize::Squash | Resize::Crop => size,
    };
    // Python's int(shortest * h / w): an exact product, a division in f64, cut to an integer.
    let longer = |long: usize, short: usize| ((shortest * long) as f64 / short as f64) as usize;
    let (to_w, to_h) = match spec.resize {
        Resize::Squash => (size, size),
        Resize::Crop | Resize::CropFrom(_) if w <= h => (shortest, longer(h, w)),
        Resize::Crop | Resize::CropFrom(_) => (longer(w, h), shortest),
    };
    let corner = |length: usize| match spec.resize {
        Resize::CropFrom(_) => length.saturating_sub(size) / 2,
        Resize::Squash | Resize::Crop => middle(length, size),
    };
    let window = Window { left: corner(to_w), top: corner(to_h), width: size, height: size };
    resize(picture, to_w, to_h, spec.resample, window)
}

/// Where the middle part of `size` begins in `length`: Python's `int(round((length - size) / 2))`, which rounds
/// halves to the even neighbour.
fn middle(length: usize, size: usize) -> usize {
    let spare = length.saturating_sub(size);
    let half = spare / 2;
    if spare % 2 == 1 && half % 2 == 1 { half + 1 } else { half }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::resize::Resample;

    fn spec(size: u32, resize: Resize) -> ImageSpec {
        ImageSpec {
            graph: String::new(),
            size,
            resize,
            resample: Resample::Bicubic,
            mean: [0.5, 0.25, 0.0],
            std: [0.5, 0.25, 1.0],
            grid: None,
        }
    }

    #[test]
    fn halves_round_to_even() {
        assert_eq!([0, 1, 2, 3, 4, 5, 6, 7].map(|spare| middle(10 + spare, 10)), [0, 0, 1, 2, 2, 2, 3, 4]);
    }

    #[test]
    fn planes_are_scaled() {
        let picture = Rgb { width: 2, height: 2, data: [255, 0, 51].repeat(4) };
        let pixels = preprocess(&picture, &spec(2, Resize::Squash));
        assert_eq!(pixels.data, [1.0, 1.0, 1.0, 1.0, -1.0, -1.0, -1.0, -1.0, 0.2, 0.2, 0.2, 0.2]);
    }

    #[test]
    fn a_crop_keeps_the_middle_of_any_shape() {
        for (w, h) in [(1, 1), (1, 5000), (5000, 1), (3, 2), (64, 64)] {
            let picture = Rgb { width: w, height: h, data: vec![9; (w * h * 3) as usize] };
            let square = to_square(&picture, &spec(32, Resize::Crop));
            assert_eq!((square.width, square.height), (32, 32));
            assert!(square.data.iter().all(|&v| v == 9));
        }
    }

    #[test]
    fn a_crop_may_come_from_a_longer_side_and_rounds_down() {
        // Columns of one value each, so that no filter changes them where nothing is scaled.
        let data = (0..14u8).cycle().take(14 * 12).flat_map(|x| [x; 3]).collect();
        let picture = Rgb { width: 14, height: 12, data };
        let first = |size, resize| to_square(&picture, &spec(size, resize)).data[0];
        assert_eq!(first(11, Resize::CropFrom(12)), 1, "1.5 is rounded down");
        assert_eq!(first(12, Resize::CropFrom(12)), 1);
        assert_eq!(first(12, Resize::Crop), 1);
        assert_eq!(first(8, Resize::CropFrom(12)), 3);
    }

    #[test]
    fn an_empty_picture_is_black() {
        let picture = Rgb { width: 0, height: 7, data: vec![] };
        assert_eq!(preprocess(&picture, &spec(2, Resize::Crop)).data[8..], [0.0; 4]);
    }
}
