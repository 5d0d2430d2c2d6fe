//! A model that is ready to load: each stage loads its graphs on its own thread.

use serde_json::{Value, json};

use super::caption::beam::Strategy;
use super::caption::{CaptionOptions, Captioner, Captions};
use super::folder::{ImageSpec, ModelFolder};
use super::image::{Encode, EncodeOptions, ImageEncoder};
use crate::error::Result;

/// Loads a stage's part of the model on the stage's own thread, while the first frames are decoded.
pub type Load<T> = Box<dyn FnOnce() -> Result<Box<T>> + Send>;

/// A model for one run of the pipeline.
pub struct Model {
    /// Name and version, for people.
    pub name: String,
    /// SHA-256 of the manifest, which holds the hashes of all files; empty for a model that is not a folder.
    pub hash: String,
    /// How captions are searched for, as JSON; part of a track's options.
    pub decoding: Value,
    /// What the image tower takes.
    pub image: ImageSpec,
    /// Loads the image tower.
    pub encoder: Load<dyn Encode>,
    /// Loads the captioner.
    pub captioner: Load<dyn Captions>,
}

impl Model {
    /// The model in a folder. Its graphs load when their stages begin.
    ///
    /// # Errors
    /// When the options do not suit the model.
    pub fn of(folder: &ModelFolder, encode: EncodeOptions, caption: CaptionOptions) -> Result<Model> {
        let search = caption.search(folder.manifest())?;
        let (of_encoder, of_captioner) = (folder.clone(), folder.clone());
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
            encoder: Box::new(move || Ok(Box::new(ImageEncoder::new(&of_encoder, &encode)?))),
            captioner: Box::new(move || Ok(Box::new(Captioner::new(&of_captioner, &caption)?))),
        })
    }
}
