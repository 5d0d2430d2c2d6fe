//! Text that a picture shows: where its lines are, and what they say.
//!
//! A [`LineDetector`] finds lines with PP-OCR's detector, `geometry` and `regions` make boxes of what it gives, `warp`
//! cuts the lines out upright, and a [`LineRecognizer`] reads them. A [`TextReader`] does all of that for a picture. Results
//! do not depend on which pictures and lines are read together.
//!
//! Lines that run from top to bottom are turned by a quarter before they are read; lines that stand on their head are not
//! turned, so they are read wrongly or not at all.
//!
//! Memory: a picture of at most [`OcrOptions::most_pixels`] for the detector, and a batch of lines.

mod detector;
mod finder;
mod gate;
mod geometry;
mod model;
mod reading;
mod recognizer;
mod regions;
mod screen_text;
mod text_box;
mod trace;
mod tracked;
mod tracker;
mod warp;

use crate::error::Result;
use crate::media::Rgb;

pub use detector::LineDetector;
pub use finder::TextFinder;
pub use gate::{Look, LookReason, TextGate};
pub use geometry::{Point, Quad};
#[cfg(feature = "cli")]
pub(crate) use model::TESTED_PACKAGE;
pub use model::TextModel;
pub(crate) use reading::with_zeros;
pub use recognizer::LineRecognizer;
pub use screen_text::{ScreenText, StaticText, TextKind, TextLog, TextUpdate};
pub use text_box::TextBox;
pub(crate) use tracked::SURE_ALONE;
pub use tracked::VisibleLine;
pub use tracker::TextTracker;

/// How text is read.
#[derive(Debug, Clone, Copy)]
pub struct OcrOptions {
    /// The shorter side of what the detector sees, in pixels: smaller pictures are enlarged. Default: 736, as in PaddleOCR.
    pub side: u32,
    /// Most pixels that the detector sees: larger pictures are reduced. Default: 4 million.
    pub most_pixels: u64,
    /// Most lines of a picture. Default: 200, the largest first.
    pub most_lines: usize,
    /// Least width of what the recogniser reads, in pixels: narrower lines, which are 48 pixels high, are filled up. Default: 320,
    /// as in PaddleOCR.
    pub least_width: u32,
    /// Lines with a lower score are left out, 0 to 1. Default: 0.5.
    pub min_score: f32,
}

impl OcrOptions {
    /// For frames of films, where small letters matter less than time: the detector sees at most 864 × 480 pixels.
    pub fn of_film() -> OcrOptions {
        OcrOptions { side: 0, most_pixels: 864 * 480, least_width: 96, ..OcrOptions::default() }
    }
}

impl Default for OcrOptions {
    fn default() -> OcrOptions {
        OcrOptions { side: 736, most_pixels: 4_000_000, most_lines: 200, least_width: 320, min_score: 0.5 }
    }
}

/// A line of text in a picture.
#[derive(Debug, Clone, PartialEq)]
pub struct TextLine {
    /// Its corners in pixels of the picture, clockwise from where the text begins at the top.
    pub corners: Quad,
    /// What it says, as it is written. Never empty.
    pub text: String,
    /// Mean probability of its characters, 0 to 1.
    pub score: f32,
}

/// Pixels of the copy at which [`TextReader::may_show_text`] glances.
const GLANCE_PIXELS: u64 = 480 * 270;

/// Reads the text in pictures.
pub struct TextReader {
    detector: LineDetector,
    recognizer: LineRecognizer,
    options: OcrOptions,
}

impl TextReader {
    /// From a detector and a recogniser.
    pub fn new(detector: LineDetector, recognizer: LineRecognizer, options: OcrOptions) -> TextReader {
        TextReader { detector, recognizer, options }
    }

    /// Whether a small copy of a part that has this `share` of its picture's pixels shows anything like text: a question that
    /// costs a fifth of an answer.
    ///
    /// # Errors
    /// If ONNX Runtime fails.
    pub(crate) fn may_show_text(&mut self, picture: &Rgb, share: f64) -> Result<bool> {
        let most_pixels = (GLANCE_PIXELS as f64 * share.min(1.0)) as u64;
        let options = OcrOptions { side: 0, most_pixels, ..self.options };
        Ok(!self.detector.detect(picture, &options)?.is_empty())
    }

    /// The lines of a picture, from top to bottom, and of those at the same height from left to right.
    ///
    /// # Errors
    /// If ONNX Runtime fails.
    pub fn read(&mut self, picture: &Rgb) -> Result<Vec<TextLine>> {
        self.read_part(picture, 1.0)
    }

    /// As [`TextReader::read`], of a part that has this `share` of its picture's pixels, in the scale in which the picture
    /// would be read.
    pub(crate) fn read_part(&mut self, picture: &Rgb, share: f64) -> Result<Vec<TextLine>> {
        let most_pixels = (self.options.most_pixels as f64 * share.min(1.0)) as u64;
        let boxes = self.detector.detect(picture, &OcrOptions { most_pixels, ..self.options })?;
        let crops: Vec<Rgb> = boxes.iter().map(|corners| warp::cut_out(picture, corners)).collect();
        let texts = self.recognizer.recognize(&crops, self.options.least_width)?;
        let lines = boxes.into_iter().zip(texts).map(|(corners, (text, score))| TextLine { corners, text, score });
        let min_score = self.options.min_score;
        Ok(lines.filter(|line| line.score >= min_score && !line.text.trim().is_empty()).collect())
    }
}
