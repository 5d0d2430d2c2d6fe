//! Where people talk: a detector of speech, and the segments that it finds.
//!
//! Sound is mono, 16,000 samples a second, each from -1 to 1. A [`SpeechDetector`] gives the probability of speech for
//! windows of [`WINDOW`] samples, in order, and a [`SpeechSegmenter`] makes segments of them. Neither holds more than a block of
//! [`BLOCK`] windows (or of [fewer](SpeechDetector::with_block)), and results do not depend on how the sound is cut into pieces.
//!
//! A [`SpeechFinder`] does both for the sound of a film, and takes lines of dialogue instead of sound. It returns what
//! it has found, and up to when that is complete; a [`SpeechLog`] remembers it. A [`SpeechMonitor`] says when somebody talked
//! last, while a stream arrives.

mod detector;
mod finder;
mod log;
mod monitor;
mod segments;

pub use detector::SpeechDetector;
pub use finder::SpeechFinder;
pub use log::{SpeechLog, SpeechUpdate, Utterance, utterances};
pub use monitor::SpeechMonitor;
pub use segments::{SpeechSegment, SpeechSegmenter};

use crate::media::AUDIO_RATE;

/// Samples per second of the sound that is examined.
pub const SAMPLE_RATE: u32 = AUDIO_RATE;
/// Samples of a window: 32 ms.
pub const WINDOW: usize = 512;
/// Windows that are examined together: 1.02 s. A larger block is no faster.
pub const BLOCK: usize = 32;
