//! Queries as embeddings: texts and pictures, in the space of the archive's keyframes.

use std::path::Path;

use super::query::QueryEmbedding;
use crate::error::Result;
use crate::media::Bars;
use crate::media::picture::{self, PictureOptions};
use crate::model::SessionOptions;
use crate::model::TextEncoder;
use crate::model::folder::ModelFolder;
use crate::model::image::{Encode, EncodeOptions, Encoded, ImageEncoder};
use crate::model::preprocess::preprocess;

/// Encodes texts with the text tower of a model.
pub struct QueryEncoder {
    encoder: TextEncoder,
    model_hash: String,
}

impl QueryEncoder {
    /// Loads the text tower of a model. An archive's keyframes can only be compared with queries of the model that made
    /// them.
    ///
    /// # Errors
    /// The model has no text tower, or ONNX Runtime cannot load it.
    pub fn new(folder: &ModelFolder, session: &SessionOptions) -> Result<QueryEncoder> {
        Ok(QueryEncoder { encoder: TextEncoder::new(folder, session)?, model_hash: folder.hash().to_string() })
    }

    /// The embedding of a text. Longer texts than the tower takes are cut.
    ///
    /// # Errors
    /// The model cannot be run.
    pub fn encode(&mut self, text: &str) -> Result<QueryEmbedding> {
        let mut embeddings = self.encode_all(&[text])?;
        Ok(embeddings.remove(0))
    }

    /// The embeddings of several texts, in order: faster than one by one.
    ///
    /// # Errors
    /// The model cannot be run.
    pub fn encode_all(&mut self, texts: &[&str]) -> Result<Vec<QueryEmbedding>> {
        let embeddings = self.encoder.embed(texts)?.into_iter();
        Ok(embeddings.map(|embedding| QueryEmbedding { model_hash: self.model_hash.clone(), embedding }).collect())
    }
}

/// The embedding of a picture: finds what looks like it. `bars` are treated as those of the archive's keyframes were.
///
/// # Errors
/// The picture cannot be read, or the model cannot be run.
pub fn image_embedding(
    folder: &ModelFolder,
    image: &Path,
    bars: Bars,
    pictures: &PictureOptions,
    session: &SessionOptions,
) -> Result<QueryEmbedding> {
    let rgb = bars.apply(picture::open(image, pictures)?);
    let options = EncodeOptions { session: session.clone(), ..EncodeOptions::default() };
    let mut encoder = ImageEncoder::new(folder, &options)?;
    let pixels = preprocess(&rgb, encoder.spec());
    let encoded = encoder.encode(&[pixels])?;
    let embedding = encoded.first().map(Encoded::unit).unwrap_or_default();
    Ok(QueryEmbedding { model_hash: folder.hash().to_string(), embedding })
}
