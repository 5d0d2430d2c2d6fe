//! The pictures that stages hand to one another.
//!
//! [`Thumb`] is what scene detection looks at, one a decoded frame, a few kilobytes; [`Rgb`] is a full picture
//! and exists only for keyframes, which somebody looks at.

use crate::time::Time;

/// Width of [`Thumb::y`] in samples.
pub const THUMB_WIDTH: usize = 64;
/// Height of [`Thumb::y`] in samples.
pub const THUMB_HEIGHT: usize = 36;

/// A decoded frame reduced for analysis: block means on a fixed grid, whatever the frame's size and aspect, so that
/// frames stay comparable when a stream changes its size. Samples are full range (0 black … 255 white; chroma
/// neutral at 128), from 10-bit and limited-range sources too. Not rotated: detection does not care.
#[derive(Debug, Clone, PartialEq)]
pub struct Thumb {
    /// Presentation time from the container's start.
    pub time: Time,
    /// Ordinal of the decoded frame, from 0.
    pub index: u64,
    /// `THUMB_HEIGHT` rows of `THUMB_WIDTH` luma block means.
    pub y: Vec<u8>,
    /// Blue-difference chroma, same grid as `y` (128 everywhere where the source is grey).
    pub u: Vec<u8>,
    /// Red-difference chroma, same grid as `y`.
    pub v: Vec<u8>,
    /// Mean absolute horizontal luma gradient at the source's own resolution, in 8-bit levels; higher is sharper.
    /// Compared only between frames of one scene.
    pub sharpness: f32,
}

/// An 8-bit RGB picture, interleaved, rows top to bottom without padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rgb {
    pub width: u32,
    pub height: u32,
    /// `width * height * 3` bytes.
    pub data: Vec<u8>,
}
