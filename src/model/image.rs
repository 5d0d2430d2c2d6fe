//! Pictures to embeddings, many at a time.
//!
//! Owns the image tower's sessions. Results come in the order of the pictures and do not depend on how they were
//! batched or which session ran them. Memory: for each session its weights, one batch of pixels and its own arena; longer
//! slices are run piece by piece.

use std::thread;

use ort::session::Session;
use ort::value::{Tensor, TensorElementType};

use crate::error::{Error, Result};
use crate::model::folder::{ImageSpec, ModelFolder};
use crate::model::preprocess::Pixels;
use crate::model::runtime::{Device, LEAST_ROWS, Runtime, SessionOptions, expect, run_error};

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
    /// Sessions that run side by side, each with its share of the threads and weights of its own. Default: 1.
    pub sessions: usize,
    /// Threads of all sessions together, device and memory. Default: ONNX Runtime's threads on the CPU.
    pub session: SessionOptions,
}

/// A graph of more bytes is not loaded twice.
const LIGHT: u64 = 128 << 20;

impl EncodeOptions {
    /// For many pictures at once, where a single one may take longer: an operation that runs on one core while the
    /// others wait for it costs a fifth of a tower's time, so each core gets a session, unless the weights are heavy.
    pub fn side_by_side(self, folder: &ModelFolder) -> EncodeOptions {
        let graph = folder.path(&folder.manifest().image.graph);
        let light = std::fs::metadata(graph).is_ok_and(|m| m.len() <= LIGHT);
        let sessions = if light && self.session.device == Device::Cpu { self.session.threads.max(1) } else { 1 };
        EncodeOptions { sessions, ..self }
    }
}

impl Default for EncodeOptions {
    fn default() -> EncodeOptions {
        EncodeOptions { batch: 8, sessions: 1, session: SessionOptions::default() }
    }
}

/// The image tower of a model folder.
pub struct ImageEncoder {
    sessions: Vec<Session>,
    spec: ImageSpec,
    batch: usize,
}

impl ImageEncoder {
    pub fn new(folder: &ModelFolder, options: &EncodeOptions) -> Result<ImageEncoder> {
        let spec = folder.manifest().image.clone();
        let count = options.sessions.max(1);
        // 0 would be a thread a core, for each of them.
        let threads = if count > 1 { (options.session.threads / count).max(1) } else { options.session.threads };
        let of_each = SessionOptions { threads, ..options.session.clone() };
        let runtime = Runtime::load()?;
        let sessions: Vec<Session> =
            (0..count).map(|_| runtime.session(folder, &spec.graph, &of_each)).collect::<Result<_>>()?;
        let session = &sessions[0];
        let (size, float) = (spec.size as usize, TensorElementType::Float32);
        let pixels = [None, Some(3), Some(size), Some(size)];
        expect(folder, &spec.graph, "input", session.inputs(), "pixels", float, &pixels)?;
        let embedding = [None, Some(spec.embedding_dim)];
        expect(folder, &spec.graph, "output", session.outputs(), "embedding", float, &embedding)?;
        if let Some(grid) = spec.grid {
            let grid = [None, Some(grid.cells), Some(grid.dim)];
            expect(folder, &spec.graph, "output", session.outputs(), "grid", float, &grid)?;
        }
        Ok(ImageEncoder { sessions, spec, batch: options.batch.max(1) })
    }

    /// How pictures must be made ready.
    pub fn spec(&self) -> &ImageSpec {
        &self.spec
    }
}

/// One run of one session.
fn run(session: &mut Session, spec: &ImageSpec, pictures: &[Pixels], out: &mut Vec<Encoded>) -> Result<()> {
    let size = spec.size as usize;
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
    let failed = run_error(&spec.graph);
    let input = Tensor::from_array(([rows, 3, size, size], pixels)).map_err(&failed)?;
    let outputs = session.run(ort::inputs!["pixels" => input]).map_err(&failed)?;
    let (_, embedding) = outputs["embedding"].try_extract_tensor::<f32>().map_err(&failed)?;
    let grid = match spec.grid {
        Some(grid) => {
            let (_, values) = outputs["grid"].try_extract_tensor::<f32>().map_err(&failed)?;
            Some((values, grid.cells * grid.dim))
        }
        None => None,
    };
    let width = spec.embedding_dim;
    let whole = embedding.len() == rows * width && grid.is_none_or(|(values, n)| values.len() == rows * n);
    if !whole || !embedding.iter().all(|v| v.is_finite()) {
        let cause = if whole { "gave an embedding that is no number" } else { "gave a result of the wrong shape" };
        return Err(Error::runtime(format!("{} {cause}", spec.graph), "make the model folder again"));
    }
    for n in 0..pictures.len() {
        out.push(Encoded {
            embedding: embedding[n * width..(n + 1) * width].to_vec(),
            grid: grid.map(|(values, size)| values[n * size..(n + 1) * size].to_vec()),
        });
    }
    Ok(())
}

impl Encode for ImageEncoder {
    fn encode(&mut self, pictures: &[Pixels]) -> Result<Vec<Encoded>> {
        let ImageEncoder { sessions, spec, batch } = self;
        // Each session a piece of the pictures that follow each other.
        let share = pictures.len().div_ceil(sessions.len()).max(1);
        let mut all: Vec<Result<Vec<Encoded>>> = pictures.chunks(share).map(|_| Ok(Vec::new())).collect();
        let work = |session: &mut Session, pictures: &[Pixels]| -> Result<Vec<Encoded>> {
            let mut out = Vec::with_capacity(pictures.len());
            pictures.chunks(*batch).try_for_each(|some| run(session, spec, some, &mut out))?;
            Ok(out)
        };
        thread::scope(|scope| {
            let mut pieces = sessions.iter_mut().zip(pictures.chunks(share)).zip(&mut all);
            // The first on this thread.
            let here = pieces.next();
            for ((session, piece), result) in pieces {
                scope.spawn(|| *result = work(session, piece));
            }
            if let Some(((session, piece), result)) = here {
                *result = work(session, piece);
            }
        });
        let mut out = Vec::with_capacity(pictures.len());
        for piece in all {
            out.append(&mut piece?);
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
