//! The image tower: pictures to embeddings, many at a time.
//!
//! Owns the tower's sessions. Results come in the order of the pictures and do not depend on batches or on the
//! session that ran them. Memory: for each session its weights, one batch of pixels and its own arena; a longer slice
//! of pictures runs piece by piece.

use ort::session::Session;
use ort::value::TensorElementType;

use crate::error::{Error, Result};
use crate::model::device::Device;
use crate::model::folder::ModelFolder;
use crate::model::graph::{GraphCheck, LEAST_ROWS, float_type, floats, floats_of, run_error, wrong_shape};
use crate::model::manifest::ImageSpec;
use crate::model::precision::Precision;
use crate::model::preprocess::Pixels;
use crate::model::runtime::{Preparation, Runtime, SessionOptions};
use crate::model::side_by_side::each_of;

/// Names of the graph's input and of its embedding, in a model folder and in the hub's layout.
const NAMES: (&str, &str) = ("pixels", "embedding");
const HUB_NAMES: (&str, &str) = ("pixel_values", "image_embeds");

/// What an image tower gives for a picture.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Encoded {
    /// The embedding as the tower gives it, not normalised. Empty if it gives none.
    pub embedding: Vec<f32>,
    /// Features of the picture's cells, cell by cell, if the model has a grid.
    pub grid: Option<Vec<f32>>,
}

impl Encoded {
    /// The embedding at length 1, for cosines.
    pub fn unit(&self) -> Vec<f32> {
        unit_vector(&self.embedding)
    }
}

/// A vector at length 1. Zeros stay zeros.
pub fn unit_vector(vector: &[f32]) -> Vec<f32> {
    let norm = vector.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>().sqrt();
    if !(norm.is_finite() && norm > 0.0) {
        return vector.to_vec();
    }
    vector.iter().map(|v| (f64::from(*v) / norm) as f32).collect()
}

/// Turns pictures into embeddings. A trait, so that the pipeline can be tested without a model.
pub trait Encode {
    /// One result for each picture, in order.
    ///
    /// # Errors
    /// [`Error::Runtime`] if the model fails.
    fn encode(&mut self, pictures: &[Pixels]) -> Result<Vec<Encoded>>;
}

/// How the image tower runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodeOptions {
    /// Most pictures in one run; large ones run one at a time. Default: 8.
    pub batch: usize,
    /// Sessions that run side by side, each with its share of the threads and with weights of its own. Default: 1.
    pub sessions: usize,
    /// Threads of all sessions together, device and memory. Default: ONNX Runtime's threads on the CPU.
    pub session: SessionOptions,
}

/// Pictures of at least this side, in pixels, run one at a time on the CPU: what a tower computes of several no longer fits
/// into a core's cache. The built-in model's tower (512) takes 29 ms of one core for a picture alone, and 52 in a batch of 16.
const LARGE_SIDE: u32 = 384;
/// Most sessions that run side by side.
const MOST_SESSIONS: usize = 8;
/// Graphs of more bytes get a single session, because every session holds the weights again. The built-in model's image
/// tower (20 MB) is below this, CLIP ViT-B/32's (350 MB) above.
const LIGHT_GRAPH: u64 = 128 << 20;

impl EncodeOptions {
    /// The options for many pictures at once, where a single one may take longer.
    ///
    /// Some operations run on one core while the others wait for it, which costs a fifth of a tower's time. So each
    /// core gets a session of its own, up to eight, unless the weights are heavy.
    #[must_use]
    pub fn side_by_side(self, folder: &ModelFolder) -> EncodeOptions {
        let light = folder.graph_bytes(&folder.manifest().image.graph) <= LIGHT_GRAPH;
        let sessions =
            if light && self.session.device == Device::Cpu { self.session.threads.clamp(1, MOST_SESSIONS) } else { 1 };
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
    graph: ImageGraph,
    batch: usize,
}

/// What is fixed about the tower's graph.
struct ImageGraph {
    spec: ImageSpec,
    /// Values in an embedding, if the tower gives one.
    dimension: Option<usize>,
    /// Names of the input and of the embedding.
    names: (&'static str, &'static str),
    /// Type of the input.
    element: TensorElementType,
    /// Fewest rows of a run.
    least: usize,
}

impl ImageEncoder {
    /// Builds the tower's sessions.
    ///
    /// # Errors
    /// [`Error::Runtime`] if ONNX Runtime or the device is missing; [`Error::Model`] if the graph does not match the
    /// manifest.
    pub fn new(folder: &ModelFolder, options: &EncodeOptions) -> Result<ImageEncoder> {
        let manifest = folder.manifest();
        let spec = manifest.image.clone();
        let count = options.sessions.max(1);
        // At least 1: a share of 0 threads would mean one for each core.
        let threads = if count > 1 { (options.session.threads / count).max(1) } else { options.session.threads };
        let session_options = SessionOptions { threads, ..options.session.clone() };
        let runtime = Runtime::load()?;
        let graph = folder.listed().graph(&spec.graph)?;
        let wrong = |cause| folder.error(cause, "Make the model folder again.");
        let session = |_| runtime.session_of_graph((&graph, None), Preparation::Full, &session_options, wrong);
        let sessions: Vec<Session> = (0..count).map(session).collect::<Result<_>>()?;
        let (first, dimension) = (&sessions[0], manifest.embedder.as_ref().map(|e| e.dimension));
        let names = if folder.precision().is_some() { HUB_NAMES } else { NAMES };
        let element = float_type(first.inputs(), names.0);
        let check = GraphCheck::new(folder, &spec.graph, first);
        let (size, float) = (spec.size as usize, TensorElementType::Float32);
        check.input(names.0, element, &[None, Some(3), Some(size), Some(size)])?;
        check.no_input_but(&[names.0])?;
        if let Some(dimension) = dimension {
            check.output(names.1, float_type(first.outputs(), names.1), &[None, Some(dimension)])?;
        }
        if let Some(grid) = spec.grid {
            check.output("grid", float, &[None, Some(grid.cells), Some(grid.dim)])?;
        }
        // A picture that always runs alone needs no padding row.
        let is_large = spec.size >= LARGE_SIDE && options.session.device == Device::Cpu;
        let alone = is_large || folder.precision().is_some_and(Precision::scales_by_batch);
        let (batch, least) = if alone { (1, 1) } else { (options.batch.max(1), LEAST_ROWS) };
        Ok(ImageEncoder { sessions, graph: ImageGraph { spec, dimension, names, element, least }, batch })
    }

    /// How pictures must be prepared.
    pub fn spec(&self) -> &ImageSpec {
        &self.graph.spec
    }
}

impl Encode for ImageEncoder {
    fn encode(&mut self, pictures: &[Pixels]) -> Result<Vec<Encoded>> {
        let ImageEncoder { sessions, graph, batch } = self;
        // Each session gets one run of consecutive pictures, and a thread.
        let share = pictures.len().div_ceil(sessions.len()).max(1);
        let shares: Vec<_> = sessions.iter_mut().zip(pictures.chunks(share)).collect();
        let threads = shares.len();
        let results = each_of(shares, threads, |(session, pictures)| -> Result<Vec<Encoded>> {
            let mut out = Vec::with_capacity(pictures.len());
            pictures.chunks(*batch).try_for_each(|chunk| graph.run(session, chunk, &mut out))?;
            Ok(out)
        });
        let mut out = Vec::with_capacity(pictures.len());
        for result in results {
            out.append(&mut result?);
        }
        Ok(out)
    }
}

impl ImageGraph {
    /// One run of one session; appends a result for each picture.
    fn run(&self, session: &mut Session, pictures: &[Pixels], out: &mut Vec<Encoded>) -> Result<()> {
        let ImageGraph { spec, names: (input_name, embedding_name), .. } = self;
        let size = spec.size as usize;
        let values = 3 * size * size;
        let rows = pictures.len().max(self.least);
        let mut pixels = Vec::with_capacity(rows * values);
        for picture in pictures {
            if picture.data.len() != values {
                return Err(Error::runtime(
                    format!("the image tower got a picture of {} values and reads {values}", picture.data.len()),
                    "Prepare pictures with this model's own image specification.",
                ));
            }
            pixels.extend_from_slice(&picture.data);
        }
        pixels.resize(rows * values, 0.0);
        let failed = run_error(&spec.graph);
        let input = floats(self.element, &[rows, 3, size, size], pixels).map_err(&failed)?;
        let outputs = session.run(ort::inputs![*input_name => input]).map_err(&failed)?;
        let read = |name: &str, each: usize| -> Result<Vec<f32>> {
            let (_, values) = floats_of(&outputs[name]).map_err(&failed)?;
            if values.len() == rows * each { Ok(values) } else { Err(wrong_shape(&spec.graph)) }
        };
        let width = self.dimension.unwrap_or(0);
        let embedding = if width > 0 { read(embedding_name, width)? } else { Vec::new() };
        let cells = spec.grid.map_or(0, |grid| grid.cells * grid.dim);
        let grid = if cells > 0 { Some(read("grid", cells)?) } else { None };
        if !embedding.iter().all(|v| v.is_finite()) {
            return Err(Error::runtime(
                format!("{} gave an embedding that is not a number", spec.graph),
                "Make the model folder again.",
            ));
        }
        for n in 0..pictures.len() {
            out.push(Encoded {
                embedding: embedding[n * width..(n + 1) * width].to_vec(),
                grid: grid.as_ref().map(|values| values[n * cells..(n + 1) * cells].to_vec()),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_vectors_have_length_one() {
        assert_eq!(unit_vector(&[3.0, 4.0]), [0.6, 0.8]);
        assert_eq!(unit_vector(&[0.0, 0.0]), [0.0, 0.0]);
    }
}
