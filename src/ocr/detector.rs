//! PP-OCR's detector of lines.

use ort::session::Session;
use ort::value::Tensor;

use super::OcrOptions;
use super::geometry::{Quad, area};
use super::regions::ProbabilityMap;
use super::warp::resize;
use crate::error::{Error, Result};
use crate::media::Rgb;
use crate::model::{Runtime, SessionOptions};

/// The sides of what the detector sees are multiples of this.
const MULTIPLE: f64 = 32.0;
/// Longest side of what the detector sees.
const LONGEST: f64 = 8_192.0;
/// Boxes whose upper left corners differ by less in height are at the same height, in pixels.
const SAME_HEIGHT: f64 = 10.0;

/// Finds the lines of text in pictures.
pub struct LineDetector {
    session: Session,
    input: String,
}

impl LineDetector {
    /// From the bytes of its graph.
    ///
    /// # Errors
    /// If ONNX Runtime is not found or cannot run the graph.
    pub fn load(graph: &[u8], options: &SessionOptions) -> Result<LineDetector> {
        let session = Runtime::load()?.session_of_bytes(graph, "the detector of text", options)?;
        let input = input_name(&session)?;
        Ok(LineDetector { session, input })
    }

    /// The boxes of the lines in a picture, from top to bottom, and of those at the same height from left to right.
    ///
    /// # Errors
    /// If ONNX Runtime fails.
    pub fn detect(&mut self, picture: &Rgb, options: &OcrOptions) -> Result<Vec<Quad>> {
        if picture.width == 0 || picture.height == 0 {
            return Ok(Vec::new());
        }
        let (width, height) = seen_size(picture, options);
        let pixels = normalized(&resize(picture, width, height), width as usize);
        let (width, height) = (width as usize, height as usize);
        let mut boxes = {
            let run = || {
                let tensor = Tensor::from_array(([1, 3, height, width], pixels))?;
                let outputs = self.session.run(ort::inputs! { self.input.as_str() => tensor })?;
                let (shape, values) = outputs[0].try_extract_tensor::<f32>()?;
                let fits =
                    shape.len() == 4 && shape[2..] == [height as i64, width as i64] && values.len() == width * height;
                let map = ProbabilityMap { width, height, values };
                Ok(fits.then(|| map.regions((picture.width, picture.height))))
            };
            let regions = run().map_err(|e: ort::Error| failed(e.to_string()).with_source(e))?;
            regions.ok_or_else(|| failed("its map has another size than the picture".into()))?
        };
        if boxes.len() > options.most_lines {
            boxes.sort_by(|a, b| area(&b.corners).total_cmp(&area(&a.corners)));
            boxes.truncate(options.most_lines);
        }
        Ok(in_reading_order(boxes.into_iter().map(|region| region.corners).collect()))
    }
}

fn failed(cause: String) -> Error {
    Error::runtime(format!("the detector of text failed: {cause}"), "Report this, with the picture.")
}

/// The name of a graph's only input.
pub(super) fn input_name(session: &Session) -> Result<String> {
    let name = session.inputs().first().map(|input| input.name().to_string());
    name.ok_or_else(|| Error::runtime("a graph that reads text has no input", "Fetch the models again."))
}

/// The size in which the detector sees a picture.
fn seen_size(picture: &Rgb, options: &OcrOptions) -> (u32, u32) {
    let (width, height) = (f64::from(picture.width), f64::from(picture.height));
    let enlarged = (f64::from(options.side) / width.min(height)).max(1.0);
    let most = (options.most_pixels as f64 / (width * height)).sqrt();
    let scale = enlarged.min(most);
    let side =
        |length: f64| ((length * scale).trunc() / MULTIPLE).round_ties_even().clamp(1.0, LONGEST / MULTIPLE) * MULTIPLE;
    (side(width) as u32, side(height) as u32)
}

/// Channel by channel, each value from -1 to 1, in rows of `width` pixels. The rest of a row is 0. PP-OCR's models are
/// trained on pictures whose channels are blue, green and red.
pub(super) fn normalized(picture: &Rgb, width: usize) -> Vec<f32> {
    let mut values = vec![0.0; 3 * width * picture.height as usize];
    let plane = width * picture.height as usize;
    for (y, row) in picture.data.chunks_exact(3 * picture.width as usize).enumerate() {
        for (x, pixel) in row.chunks_exact(3).enumerate().take(width) {
            for (channel, value) in pixel.iter().rev().enumerate() {
                values[channel * plane + y * width + x] = (f32::from(*value) / 255.0 - 0.5) / 0.5;
            }
        }
    }
    values
}

/// Rows from top to bottom, each from left to right. Boxes whose heights differ little from one to the next are a row.
fn in_reading_order(mut boxes: Vec<Quad>) -> Vec<Quad> {
    boxes.sort_by(|a, b| a[0].y.total_cmp(&b[0].y).then(a[0].x.total_cmp(&b[0].x)));
    let same_row = |a: &Quad, b: &Quad| b[0].y - a[0].y < SAME_HEIGHT;
    for row in boxes.chunk_by_mut(same_row) {
        row.sort_by(|a, b| a[0].x.total_cmp(&b[0].x));
    }
    boxes
}

#[cfg(test)]
mod tests {
    use super::super::geometry::Point;
    use super::*;

    #[test]
    fn small_pictures_are_enlarged_and_huge_ones_reduced() {
        let size = |width, height| {
            let picture = Rgb { width, height, data: Vec::new() };
            seen_size(&picture, &OcrOptions { side: 736, most_pixels: 2_000_000, ..OcrOptions::default() })
        };
        assert_eq!(size(640, 360), (1_312, 736));
        assert_eq!(size(1_920, 1_080), (1_888, 1_056));
        let (width, height) = size(16_000, 16_000);
        assert!(width == height && width * height < 2_100_000);
        assert_eq!(size(100_000, 1), (8_192, 32));
    }

    #[test]
    fn boxes_are_read_row_by_row() {
        let at = |x: f64, y: f64| [Point { x, y }; 4];
        let order = in_reading_order(vec![at(50.0, 4.0), at(9.0, 30.0), at(0.0, 9.0), at(0.0, 35.0)]);
        let order: Vec<(f64, f64)> = order.iter().map(|q| (q[0].x, q[0].y)).collect();
        assert_eq!(order, [(0.0, 9.0), (50.0, 4.0), (0.0, 35.0), (9.0, 30.0)]);
    }
}
