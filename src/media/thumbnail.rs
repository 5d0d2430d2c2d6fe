//! Thumbnails of keyframes, as JPEG, for people who browse an archive.
//!
//! The same picture and options give the same bytes.

use crate::media::resize::{Resample, Window, reduce, resize};
use crate::media::rgb::Rgb;

/// Size and quality of thumbnails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThumbnailOptions {
    /// Width in pixels; narrower pictures are not enlarged. 0 makes no thumbnails. Default: 320.
    pub width: u32,
    /// JPEG quality, from 1 to 100; other values count as the nearest of these. Default: 80.
    pub quality: u8,
}

impl Default for ThumbnailOptions {
    fn default() -> ThumbnailOptions {
        ThumbnailOptions { width: 320, quality: 80 }
    }
}

/// A picture as a small JPEG. `None` if the picture is empty or too long for JPEG, or if the options ask for none.
pub fn thumbnail(picture: &Rgb, options: ThumbnailOptions) -> Option<Vec<u8>> {
    let (w, h) = (picture.width as usize, picture.height as usize);
    if options.width == 0 || w == 0 || h == 0 || picture.data.len() != w * h * 3 {
        return None;
    }
    let width = w.min(options.width as usize);
    let height = ((h * width + w / 2) / w).max(1);
    // Most of the way by means of boxes takes half the time, as Pillow's `thumbnail` does with its `reducing_gap` of 2.
    let factor = (w / width).min(h / height) / 2;
    let reduced = if factor > 1 { &reduce(picture, factor) } else { picture };
    let window = Window { left: 0, top: 0, width, height };
    let small = resize(reduced, width, height, Resample::Bilinear, window);
    small.to_jpeg(options.quality.clamp(1, 100)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(w: u32, h: u32, width: u32) -> Option<(u32, u32)> {
        let picture = Rgb { width: w, height: h, data: vec![90; (w * h * 3) as usize] };
        let jpeg = thumbnail(&picture, ThumbnailOptions { width, ..ThumbnailOptions::default() })?;
        let read = image::load_from_memory(&jpeg).unwrap();
        Some((read.width(), read.height()))
    }

    #[test]
    fn thumbnails_keep_their_shape_and_are_not_enlarged() {
        assert_eq!(size(640, 360, 320), Some((320, 180)));
        assert_eq!(size(360, 640, 320), Some((320, 569)));
        assert_eq!(size(100, 50, 320), Some((100, 50)));
        assert_eq!(size(1_921, 1_079, 320), Some((320, 180)));
        assert_eq!(size(4_001, 9, 320), Some((320, 1)));
        assert_eq!(size(3_000, 1, 320), Some((320, 1)));
        assert_eq!(size(640, 360, 0), None);
        assert_eq!(thumbnail(&Rgb { width: 2, height: 2, data: vec![0; 3] }, ThumbnailOptions::default()), None);
    }
}
