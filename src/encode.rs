//! Pictures to embeddings, many at a time.
//!
//! Owns the image tower's session. Results come in the order of the pictures and do not depend on how they were
//! batched. Memory: one batch of pixels and the session's own arena; longer slices are run piece by piece.

use ort::session::Session;
use ort::value::{Tensor, TensorElementType};

use crate::error::{Error, Result};
use crate::model::{ImageSpec, ModelFolder};
use crate::preprocess::Pixels;
use crate::runtime::{LEAST_ROWS, Runtime, SessionOptions, expect, run_error};

/// What an image tower says of a picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Encoded {
    /// As the tower gives it, not normalised.
    pub embedding: Vec<f32>,
    /// Features of the picture's cells, where the model has them.
    pub grid: Option<Vec<f32>>,
}

impl Encoded {
    /// The embedding at length 1, for cosines.
    pub fn unit(&self) -> Vec<f32> {
        unit(&self.embedding)
    }
}

/// A vector at length 1; zeros stay zeros.
pub fn unit(vector: &[f32]) -> Vec<f32> {
    let norm = vector.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>().sqrt();
    if !(norm.is_finite() && norm > 0.0) {
        return vector.to_vec();
    }
    vector.iter().map(|v| (f64::from(*v) / norm) as f32).collect()
}

/// Turns pictures into embeddings. A trait so that the pipeline is tested without a model.
pub trait Encode {
    /// One result a picture, in order.
    fn encode(&mut self, pictures: &[Pixels]) -> Result<Vec<Encoded>>;
}

/// How the image tower is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodeOptions {
    /// Most pictures in one run. Default: 8.
    pub batch: usize,
    /// Threads, device and memory. Default: ONNX Runtime's threads on the CPU.
    pub session: SessionOptions,
}

impl Default for EncodeOptions {
    fn default() -> EncodeOptions {
        EncodeOptions { batch: 8, session: SessionOptions::default() }
    }
}

/// The image tower of a model folder.
pub struct ImageEncoder {
    session: Session,
    spec: ImageSpec,
    batch: usize,
}

impl ImageEncoder {
    pub fn new(folder: &ModelFolder, options: &EncodeOptions) -> Result<ImageEncoder> {
        let spec = folder.manifest().image.clone();
        let session = Runtime::load()?.session(folder, &spec.graph, &options.session)?;
        let (size, float) = (spec.size as usize, TensorElementType::Float32);
        let pixels = [None, Some(3), Some(size), Some(size)];
        expect(folder, &spec.graph, "input", session.inputs(), "pixels", float, &pixels)?;
        let embedding = [None, Some(spec.embedding_dim)];
        expect(folder, &spec.graph, "output", session.outputs(), "embedding", float, &embedding)?;
        if let Some(grid) = spec.grid {
            let grid = [None, Some(grid.cells), Some(grid.dim)];
            expect(folder, &spec.graph, "output", session.outputs(), "grid", float, &grid)?;
        }
        Ok(ImageEncoder { session, spec, batch: options.batch.max(1) })
    }

    /// How pictures must be made ready.
    pub fn spec(&self) -> &ImageSpec {
        &self.spec
    }

    fn run(&mut self, pictures: &[Pixels], out: &mut Vec<Encoded>) -> Result<()> {
        let size = self.spec.size as usize;
        let one = 3 * size * size;
        let rows = pictures.len().max(LEAST_ROWS);
        let mut pixels = Vec::with_capacity(rows * one);
        for picture in pictures {
            if picture.data.len() != one {
                return Err(Error::runtime(
                    format!("a picture of {} values came to a tower that reads {one}", picture.data.len()),
                    "prepare pictures with this model's own image specification",
                ));
            }
            pixels.extend_from_slice(&picture.data);
        }
        pixels.resize(rows * one, 0.0);
        let failed = run_error(&self.spec.graph);
        let input = Tensor::from_array(([rows, 3, size, size], pixels)).map_err(&failed)?;
        let outputs = self.session.run(ort::inputs!["pixels" => input]).map_err(&failed)?;
        let (_, embedding) = outputs["embedding"].try_extract_tensor::<f32>().map_err(&failed)?;
        let grid = match self.spec.grid {
            Some(grid) => {
                let (_, values) = outputs["grid"].try_extract_tensor::<f32>().map_err(&failed)?;
                Some((values, grid.cells * grid.dim))
            }
            None => None,
        };
        let width = self.spec.embedding_dim;
        let whole = embedding.len() == rows * width && grid.is_none_or(|(values, n)| values.len() == rows * n);
        if !whole || !embedding.iter().all(|v| v.is_finite()) {
            let cause = if whole { "gave an embedding that is no number" } else { "gave a result of the wrong shape" };
            return Err(Error::runtime(format!("{} {cause}", self.spec.graph), "make the model folder again"));
        }
        for n in 0..pictures.len() {
            out.push(Encoded {
                embedding: embedding[n * width..(n + 1) * width].to_vec(),
                grid: grid.map(|(values, size)| values[n * size..(n + 1) * size].to_vec()),
            });
        }
        Ok(())
    }
}

impl Encode for ImageEncoder {
    fn encode(&mut self, pictures: &[Pixels]) -> Result<Vec<Encoded>> {
        let mut out = Vec::with_capacity(pictures.len());
        for some in pictures.chunks(self.batch) {
            self.run(some, &mut out)?;
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_has_length_one() {
        assert_eq!(unit(&[3.0, 4.0]), [0.6, 0.8]);
        assert_eq!(unit(&[0.0, 0.0]), [0.0, 0.0]);
    }
}
