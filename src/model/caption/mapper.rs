//! The mapping network: from a picture's features to the decoder's prefix, and to the support of words if the model has a
//! word detector.
//!
//! Owns the mapper's session. Prefixes come in the order of the pictures. Memory: the weights and one batch of
//! prefixes and supports.

use ort::session::{Session, SessionOutputs};
use ort::value::{Tensor, TensorElementType};

use super::input::CaptionInput;
use crate::error::{Error, Result};
use crate::model::folder::ModelFolder;
use crate::model::graph::{GraphCheck, LEAST_ROWS, run_error, wrong_shape};
use crate::model::image::unit_vector;
use crate::model::manifest::{CaptionerSpec, Manifest, MapperInput, MapperSpec};
use crate::model::runtime::{Runtime, SessionOptions};

/// The mapper of a model folder.
pub(crate) struct Mapper {
    session: Session,
    spec: MapperSpec,
    /// Shape of one picture's input.
    input_shape: Vec<usize>,
    /// Values in a vector of the prefix.
    width: usize,
    /// Words in the vocabulary.
    vocab: usize,
}

/// Prefixes of some pictures.
pub(crate) struct Prefixes {
    /// At least [`LEAST_ROWS`]; rows beyond the pictures are padding.
    pub(crate) rows: usize,
    /// Rows × prefix length × width of the decoder.
    pub(crate) data: Vec<f32>,
    /// For each picture the support of each word of the vocabulary; nothing if the model has no word detector.
    pub(crate) support: Vec<Vec<f32>>,
}

impl Mapper {
    pub(crate) fn new(folder: &ModelFolder, options: &SessionOptions) -> Result<Mapper> {
        let CaptionerSpec { mapper, decoder, .. } = folder.captioner()?;
        let session = Runtime::load()?.session(folder, &mapper.graph, options)?;
        let input_shape = input_shape(mapper, folder.manifest());
        let dims: Vec<_> = std::iter::once(None).chain(input_shape.iter().copied().map(Some)).collect();
        let float = TensorElementType::Float32;
        let check = GraphCheck::new(folder, &mapper.graph, &session);
        check.input("input", float, &dims)?;
        check.output("prefix", float, &[None, Some(mapper.prefix_length), Some(decoder.width)])?;
        if mapper.support {
            check.output("support", float, &[None, Some(decoder.vocab)])?;
        }
        Ok(Mapper { session, spec: mapper.clone(), input_shape, width: decoder.width, vocab: decoder.vocab })
    }

    /// Maps pictures to prefixes.
    pub(crate) fn prefixes(&mut self, pictures: &[CaptionInput]) -> Result<Prefixes> {
        let values_each: usize = self.input_shape.iter().product();
        let rows = pictures.len().max(LEAST_ROWS);
        let mut input = Vec::with_capacity(rows * values_each);
        for picture in pictures {
            let values = match self.spec.input {
                MapperInput::Grid => picture.encoded.grid.as_deref().unwrap_or_default(),
                MapperInput::Embedding => &picture.encoded.embedding,
            };
            if values.len() != values_each {
                return Err(Error::runtime(
                    format!("the mapper got {} values of a picture and reads {values_each}", values.len()),
                    "Encode pictures with the same model that captions them.",
                ));
            }
            if self.spec.normalize_prefix {
                input.extend(unit_vector(values));
            } else {
                input.extend_from_slice(values);
            }
        }
        input.resize(rows * values_each, 0.0);
        let failed = run_error(&self.spec.graph);
        let shape: Vec<usize> = std::iter::once(rows).chain(self.input_shape.iter().copied()).collect();
        let input = Tensor::from_array((shape, input)).map_err(&failed)?;
        let outputs = self.session.run(ort::inputs!["input" => input]).map_err(&failed)?;
        let data = output(&self.spec, &outputs, "prefix", rows * self.spec.prefix_length * self.width)?;
        let mut support = vec![Vec::new(); pictures.len()];
        if self.spec.support {
            let all = output(&self.spec, &outputs, "support", rows * self.vocab)?;
            if !all.iter().all(|v| v.is_finite() && *v <= 0.0) {
                return Err(Error::runtime(
                    format!("{} gave support that is not a finite log-probability", self.spec.graph),
                    "Make the model folder again.",
                ));
            }
            support.iter_mut().zip(all.chunks_exact(self.vocab)).for_each(|(own, values)| own.extend(values));
        }
        Ok(Prefixes { rows, data: data.to_vec(), support })
    }
}

/// The values of an output, which must be `count`.
fn output<'a>(spec: &MapperSpec, outputs: &'a SessionOutputs<'_>, name: &str, count: usize) -> Result<&'a [f32]> {
    let value = outputs.get(name).ok_or_else(|| wrong_shape(&spec.graph))?;
    let (_, values) = value.try_extract_tensor::<f32>().map_err(run_error(&spec.graph))?;
    if values.len() == count { Ok(values) } else { Err(wrong_shape(&spec.graph)) }
}

fn input_shape(mapper: &MapperSpec, manifest: &Manifest) -> Vec<usize> {
    match (mapper.input, manifest.image.grid) {
        (MapperInput::Grid, Some(grid)) => vec![grid.cells, grid.dim],
        _ => vec![manifest.embedder.as_ref().map_or(0, |e| e.dimension)],
    }
}
