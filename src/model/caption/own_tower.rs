//! A ClipCap model whose keyframes another model embeds: its own image tower reads the picture again.
//!
//! Captions come in the order of the pictures. Memory: the tower's and the captioner's, and the features of one call.

use super::captioner::{Caption, Captioner, Captions};
use super::input::CaptionInput;
use super::options::CaptionOptions;
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::model::folder::ModelFolder;
use crate::model::image::{Encode, EncodeOptions, ImageEncoder};
use crate::model::preprocess::preprocess;

/// The captioner of a model folder, with the folder's image tower before it.
pub(crate) struct OwnTowerCaptioner {
    tower: ImageEncoder,
    captioner: Captioner,
    batch: usize,
}

impl OwnTowerCaptioner {
    /// Builds the sessions of all graphs and reads the tokenizer.
    ///
    /// # Errors
    /// Those of [`ImageEncoder::new`] and [`Captioner::new`].
    pub(crate) fn new(folder: &ModelFolder, encode: &EncodeOptions, caption: &CaptionOptions) -> Result<Self> {
        Ok(OwnTowerCaptioner {
            tower: ImageEncoder::new(folder, encode)?,
            captioner: Captioner::new(folder, caption)?,
            batch: caption.batch.max(1),
        })
    }
}

impl OwnTowerCaptioner {
    /// What the captioner reads of pictures.
    fn encode(&mut self, inputs: &[&CaptionInput]) -> Result<Vec<CaptionInput>> {
        let spec = self.tower.spec();
        let pixels = inputs
            .iter()
            .map(|input| Ok(preprocess(&input.required_pictures()?[0], spec)))
            .collect::<Result<Vec<_>>>()?;
        let encoded = self.tower.encode(&pixels)?.into_iter();
        Ok(encoded.map(|encoded| CaptionInput { encoded, pictures: Vec::new(), prompt: None }).collect())
    }
}

impl Captions for OwnTowerCaptioner {
    fn caption(&mut self, inputs: &[&CaptionInput]) -> Result<Vec<Caption>> {
        let own = self.encode(inputs)?;
        self.captioner.caption(&own.iter().collect::<Vec<_>>())
    }

    fn candidates(&mut self, input: &CaptionInput, interrupt: &Interrupt) -> Result<Vec<Caption>> {
        let own = self.encode(&[input])?;
        let missing = || Error::runtime("a picture got no embedding", "Report this as a bug.");
        self.captioner.candidates(own.first().ok_or_else(missing)?, interrupt)
    }

    fn at_once(&self) -> usize {
        self.batch
    }
}
