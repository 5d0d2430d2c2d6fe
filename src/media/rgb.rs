//! A picture in memory.

use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageResult};

/// An 8-bit RGB picture, interleaved, rows top to bottom without padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rgb {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// `width * height * 3` bytes.
    pub data: Vec<u8>,
}

impl Rgb {
    /// The picture as JPEG, of a quality from 1 to 100. Fails if a side is longer than JPEG allows.
    pub(crate) fn to_jpeg(&self, quality: u8) -> ImageResult<Vec<u8>> {
        let mut jpeg = Vec::new();
        let mut encoder = JpegEncoder::new_with_quality(&mut jpeg, quality);
        encoder.encode(&self.data, self.width, self.height, ExtendedColorType::Rgb8)?;
        Ok(jpeg)
    }
}
