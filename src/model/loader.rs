//! The parts of a model, each loaded by the thread that runs it.
//!
//! Building a session takes long, and stages start side by side. So a [`Model`] holds functions that make its parts,
//! and each stage calls its own: graphs load while the first frames are decoded. Tests put mocks in their place.

use serde_json::{Value, json};

use crate::error::Result;
use crate::model::caption::{CaptionOptions, Captioner, Captions, Strategy};
use crate::model::folder::ModelFolder;
use crate::model::image::{Encode, EncodeOptions, ImageEncoder};
use crate::model::manifest::ImageSpec;

/// Makes a part of a model, on the thread that will use it.
pub type Load<T> = Box<dyn FnOnce() -> Result<Box<T>> + Send>;

/// A model, as the stages need it.
pub struct Model {
    /// Name and version.
    pub name: String,
    /// SHA-256 of the manifest, which holds the hashes of all its files. Empty for a model without a folder.
    pub hash: String,
    /// How captions are decoded, as a track's options record it.
    pub decoding: Value,
    /// How pictures are prepared for the encoder.
    pub image: ImageSpec,
    /// Loads the image tower.
    pub encoder: Load<dyn Encode>,
    /// Loads the mapper and the decoder.
    pub captioner: Load<dyn Captions>,
}

impl Model {
    /// The model of a folder. Its graphs load when their stages start.
    ///
    /// # Errors
    /// [`Error::Usage`](crate::error::Error::Usage) if the caption options do not fit the model.
    pub fn of(folder: &ModelFolder, encode: EncodeOptions, caption: CaptionOptions) -> Result<Model> {
        let search = caption.search_options(folder.manifest())?;
        let (encoder_folder, captioner_folder) = (folder.clone(), folder.clone());
        Ok(Model {
            decoding: json!({
                "strategy": match search.strategy {
                    Strategy::Beam(_) => "beam",
                    Strategy::Greedy => "greedy",
                    Strategy::Sample { .. } => "sample",
                },
                "beam": if let Strategy::Beam(n) = search.strategy { Some(n) } else { None },
                "seed": caption.sample,
                "max_tokens": search.max_tokens,
                "temperature": search.temperature,
            }),
            name: folder.manifest().title(),
            hash: folder.hash().to_string(),
            image: folder.manifest().image.clone(),
            encoder: Box::new(move || Ok(Box::new(ImageEncoder::new(&encoder_folder, &encode)?))),
            captioner: Box::new(move || Ok(Box::new(Captioner::new(&captioner_folder, &caption)?))),
        })
    }
}
