//! Where people talk: a detector of speech, and the segments that it finds.
//!
//! Sound is mono, 16,000 samples a second, each from -1 to 1. A [`SpeechDetector`] gives the probability of speech for
//! windows of [`WINDOW`] samples, in order, and a [`Segmenter`] makes segments of them. Neither holds more than a block of
//! [`BLOCK`] windows, and results do not depend on how the sound is cut into pieces.

mod detector;
mod segments;

pub use detector::SpeechDetector;
pub use segments::{Segmenter, SpeechSegment};

/// Samples per second of the sound that is examined.
pub const SAMPLE_RATE: u32 = 16_000;
/// Samples of a window: 32 ms.
pub const WINDOW: usize = 512;
/// Windows that are examined together: 1.02 s. A larger block is no faster.
pub const BLOCK: usize = 32;
