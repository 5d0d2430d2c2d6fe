//! PP-OCR's recogniser of lines: a CTC decoder (connectionist temporal classification) over columns of the line.

use ort::session::Session;
use ort::value::Tensor;

use super::detector::{input_name, normalized};
use super::warp::resize;
use crate::error::{Error, Result};
use crate::media::Rgb;
use crate::model::{Runtime, SessionOptions};

/// The height of what it reads, in pixels.
const HEIGHT: u32 = 48;
/// Widths up to this are rounded up to whole pixels and others down, as PaddleOCR does.
const ROUNDED_UP: u32 = 320;
/// Lines that are filled up have a width that is a multiple of this, so that more of them are read together.
const STEP: u32 = 32;
/// Longer lines are compressed.
const MOST_WIDTH: u32 = 3_200;
/// Most pixels across of all lines that are read together: each has a probability for each of thousands of characters.
const BATCH_WIDTH: u32 = 3_200;

/// Reads lines of text.
pub struct LineRecognizer {
    session: Session,
    input: String,
    /// The character of each class but the first, which stands for none.
    characters: Vec<String>,
}

impl LineRecognizer {
    /// From the bytes of its graph, which hold the characters too.
    ///
    /// # Errors
    /// If ONNX Runtime is not found or cannot run the graph, or the graph does not hold its characters.
    pub fn load(graph: &[u8], options: &SessionOptions) -> Result<LineRecognizer> {
        let session = Runtime::load()?.session_of_bytes(graph, "the recogniser of text", options)?;
        let input = input_name(&session)?;
        let list = session.metadata().ok().and_then(|metadata| metadata.custom("character"));
        let list = list.ok_or_else(|| failed("its graph holds no list of characters"))?;
        let mut characters: Vec<String> = list.lines().map(String::from).collect();
        characters.push(" ".into());
        Ok(LineRecognizer { session, input, characters })
    }

    /// The text of each line, in order, filled up to `least_width` pixels, with the mean probability of its characters, 0 to 1. A line without any character
    /// has an empty text and the score 0.
    ///
    /// # Errors
    /// If ONNX Runtime fails.
    pub fn recognize(&mut self, lines: &[Rgb], least_width: u32) -> Result<Vec<(String, f32)>> {
        let mut order: Vec<(u32, usize)> =
            lines.iter().enumerate().map(|(n, line)| (padded_width(line, least_width), n)).collect();
        order.sort_unstable();
        let mut texts = vec![(String::new(), 0.0); lines.len()];
        for same in order.chunk_by(|a, b| a.0 == b.0) {
            let width = same[0].0;
            for batch in same.chunks((BATCH_WIDTH / width).max(1) as usize) {
                let read = self.read(width as usize, batch.iter().map(|(_, n)| &lines[*n]))?;
                for ((_, n), text) in batch.iter().zip(read) {
                    texts[*n] = text;
                }
            }
        }
        Ok(texts)
    }

    fn read<'a>(&mut self, width: usize, lines: impl ExactSizeIterator<Item = &'a Rgb>) -> Result<Vec<(String, f32)>> {
        let count = lines.len();
        let mut pixels = Vec::with_capacity(count * 3 * HEIGHT as usize * width);
        for line in lines {
            pixels.extend(normalized(&resize(line, scaled_width(line).min(width as u32), HEIGHT), width));
        }
        let characters = &self.characters;
        let run = || {
            let tensor = Tensor::from_array(([count, 3, HEIGHT as usize, width], pixels))?;
            let outputs = self.session.run(ort::inputs! { self.input.as_str() => tensor })?;
            let (shape, values) = outputs[0].try_extract_tensor::<f32>()?;
            let classes = characters.len() + 1;
            let fits = shape.len() == 3 && shape[0] == count as i64 && shape[2] == classes as i64 && shape[1] > 0;
            let decoded =
                |columns: usize| values.chunks_exact(columns * classes).map(|v| decode(v, characters)).collect();
            Ok(fits.then(|| decoded(shape[1] as usize)))
        };
        let read: Option<Vec<_>> = run().map_err(|e: ort::Error| failed(&e.to_string()).with_source(e))?;
        read.filter(|read| read.len() == count).ok_or_else(|| failed("its output does not fit its characters"))
    }
}

fn failed(cause: &str) -> Error {
    Error::runtime(format!("the recogniser of text failed: {cause}"), "Report this, with the picture.")
}

/// The width of a line that is as high as the recogniser wants it: rounded up, or down if it need not be filled up.
fn scaled_width(line: &Rgb) -> u32 {
    let width = f64::from(HEIGHT) * f64::from(line.width) / f64::from(line.height.max(1));
    let whole = if width.ceil() > f64::from(ROUNDED_UP) { width.floor() } else { width.ceil() };
    whole.clamp(1.0, f64::from(MOST_WIDTH)) as u32
}

/// That, filled up. It depends on nothing but the line, so neither does what is read.
fn padded_width(line: &Rgb, least: u32) -> u32 {
    let width = scaled_width(line);
    if width < ROUNDED_UP { width.next_multiple_of(STEP).max(least) } else { width }
}

/// The most probable class of each column; of a class that repeats the first; without those that stand for no character.
fn decode(probabilities: &[f32], characters: &[String]) -> (String, f32) {
    let (mut text, mut sum, mut count, mut last) = (String::new(), 0.0f64, 0u32, 0);
    for column in probabilities.chunks_exact(characters.len() + 1) {
        let mut best = (0, f32::NEG_INFINITY);
        for (class, probability) in column.iter().enumerate() {
            if *probability > best.1 {
                best = (class, *probability);
            }
        }
        if best.0 != last && best.0 > 0 {
            text.push_str(&characters[best.0 - 1]);
            sum += f64::from(best.1);
            count += 1;
        }
        last = best.0;
    }
    let score = if count == 0 { 0.0 } else { (sum / f64::from(count)) as f32 };
    (text, score)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_classes_are_one_character_unless_none_is_between() {
        let characters: Vec<String> = ["a", "b", " "].map(String::from).to_vec();
        let columns = |classes: &[(usize, f32)]| -> Vec<f32> {
            let column = |&(class, p): &(usize, f32)| (0..4).map(move |n| if n == class { p } else { 0.0 });
            classes.iter().flat_map(column).collect()
        };
        let values = columns(&[(0, 0.9), (1, 0.5), (1, 0.9), (0, 0.9), (1, 0.7), (3, 0.6), (2, 1.0)]);
        let (text, score) = decode(&values, &characters);
        assert_eq!(text, "aa b");
        assert!((score - 0.7).abs() < 1e-6);
        assert_eq!(decode(&columns(&[(0, 1.0)]), &characters), (String::new(), 0.0));
    }

    #[test]
    fn a_line_has_a_width_of_its_own() {
        let line = |width, height| Rgb { width, height, data: Vec::new() };
        assert_eq!((scaled_width(&line(100, 20)), padded_width(&line(100, 20), 320)), (240, 320));
        assert_eq!((padded_width(&line(641, 48), 320), scaled_width(&line(1_923, 144))), (641, 641));
        assert_eq!((scaled_width(&line(90_000, 1)), padded_width(&line(90_000, 1), 96)), (3_200, 3_200));
        assert_eq!(scaled_width(&line(0, 0)), 1);
    }
}
