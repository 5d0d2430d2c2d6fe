//! The mapping network: from what the image tower says of a picture to the decoder's prefix.
//!
//! Owns the mapper's session. Prefixes come in the order of the pictures. Memory: one batch of prefixes.

use ort::session::Session;
use ort::value::{Tensor, TensorElementType};

use super::wrong;
use crate::error::{Error, Result};
use crate::model::folder::{ImageSpec, Manifest, MapperInput, MapperSpec, ModelFolder};
use crate::model::image::{Encoded, unit};
use crate::model::runtime::{LEAST_ROWS, Runtime, SessionOptions, expect, run_error};

/// The mapper of a model folder.
pub struct Mapper {
    session: Session,
    spec: MapperSpec,
    /// One picture's input.
    shape: Vec<usize>,
    /// Of the decoder.
    width: usize,
}

/// Prefixes of some pictures.
pub struct Prefixes {
    /// At least [`LEAST_ROWS`]; those beyond the pictures are padding.
    pub rows: usize,
    /// rows × prefix length × width of the decoder.
    pub data: Vec<f32>,
}

impl Mapper {
    pub fn new(folder: &ModelFolder, options: &SessionOptions) -> Result<Mapper> {
        let Manifest { mapper, image, decoder, .. } = folder.manifest();
        let session = Runtime::load()?.session(folder, &mapper.graph, options)?;
        let shape = input(mapper, image);
        let dims: Vec<_> = std::iter::once(None).chain(shape.iter().copied().map(Some)).collect();
        let float = TensorElementType::Float32;
        expect(folder, &mapper.graph, "input", session.inputs(), "input", float, &dims)?;
        let dims = [None, Some(mapper.prefix_length), Some(decoder.width)];
        expect(folder, &mapper.graph, "output", session.outputs(), "prefix", float, &dims)?;
        Ok(Mapper { session, spec: mapper.clone(), shape, width: decoder.width })
    }

    pub fn prefixes(&mut self, pictures: &[Encoded]) -> Result<Prefixes> {
        let width: usize = self.shape.iter().product();
        let rows = pictures.len().max(LEAST_ROWS);
        let mut input = Vec::with_capacity(rows * width);
        for picture in pictures {
            let values = match self.spec.input {
                MapperInput::Grid => picture.grid.as_deref().unwrap_or_default(),
                MapperInput::Embedding => &picture.embedding,
            };
            if values.len() != width {
                return Err(Error::runtime(
                    format!("{} values of a picture came to a mapper that reads {width}", values.len()),
                    "encode pictures with the same model that captions them",
                ));
            }
            if self.spec.normalize_prefix {
                input.extend(unit(values));
            } else {
                input.extend_from_slice(values);
            }
        }
        input.resize(rows * width, 0.0);
        let failed = run_error(&self.spec.graph);
        let shape: Vec<usize> = std::iter::once(rows).chain(self.shape.iter().copied()).collect();
        let input = Tensor::from_array((shape, input)).map_err(&failed)?;
        let outputs = self.session.run(ort::inputs!["input" => input]).map_err(&failed)?;
        let prefix = outputs.get("prefix").ok_or_else(|| wrong(&self.spec.graph))?;
        let (_, data) = prefix.try_extract_tensor::<f32>().map_err(&failed)?;
        if data.len() != rows * self.spec.prefix_length * self.width {
            return Err(wrong(&self.spec.graph));
        }
        Ok(Prefixes { rows, data: data.to_vec() })
    }
}

/// The shape of one picture's input.
fn input(mapper: &MapperSpec, image: &ImageSpec) -> Vec<usize> {
    match (mapper.input, image.grid) {
        (MapperInput::Grid, Some(grid)) => vec![grid.cells, grid.dim],
        _ => vec![image.embedding_dim],
    }
}
