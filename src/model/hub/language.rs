//! What makes the texts of a batch: a decoder that continues the prompt, or one behind an encoder that answers it. Both
//! run a whole prompt first, and then one token of each row at a time.

use super::chat::Prompt;
use super::config::Family;
use super::encoder_decoder::{CrossKeys, EncoderDecoder};
use super::files::HubFolder;
use super::graphs::{DecodedKeys, Graphs, InputGraphs};
use crate::error::Result;
use crate::model::runtime::SessionOptions;

/// Most pictures in one run of the image tower: its attention needs hundreds of megabytes for more.
const VISION_BATCH: usize = 4;

/// The graphs of a folder, by the form of its model.
pub(crate) enum HubGraphs {
    /// A decoder with the features in the middle of its prompt.
    Decoder(Box<Graphs>),
    /// An encoder that reads the features and the prompt, and a decoder.
    EncoderDecoder(Box<EncoderDecoder>),
}

impl HubGraphs {
    /// Builds the sessions and checks what they read.
    ///
    /// # Errors
    /// See [`Graphs::load`].
    pub(crate) fn load(folder: &HubFolder, options: &SessionOptions) -> Result<HubGraphs> {
        Ok(match folder.config.family {
            Family::SmolVlm | Family::Llava => HubGraphs::Decoder(Box::new(Graphs::load(folder, options)?)),
            Family::Florence => HubGraphs::EncoderDecoder(Box::new(EncoderDecoder::load(folder, options)?)),
        })
    }

    /// The graphs that make the input.
    pub(crate) fn inputs(&mut self) -> &mut InputGraphs {
        match self {
            HubGraphs::Decoder(graphs) => &mut graphs.inputs,
            HubGraphs::EncoderDecoder(graphs) => &mut graphs.inputs,
        }
    }

    /// Whether integers have one scale for all pictures of a batch, so that each must have a batch of its own.
    pub(crate) fn scale_by_batch(&self) -> bool {
        match self {
            HubGraphs::Decoder(graphs) => graphs.scale_by_batch,
            HubGraphs::EncoderDecoder(graphs) => graphs.inputs.scale_by_batch,
        }
    }

    /// Most pictures in one run of the image tower; those of a prompt are always together.
    pub(crate) fn vision_batch(&self) -> usize {
        match self {
            HubGraphs::Decoder(graphs) if graphs.inputs.scale_by_batch => 1,
            HubGraphs::Decoder(_) => VISION_BATCH,
            // Florence's tower averages its patches, which ONNX Runtime sums up in another order for one picture than
            // for several. One picture is work enough for a run.
            HubGraphs::EncoderDecoder(_) => 1,
        }
    }

    /// Tokens that a prompt and `new` more need in the model's context, and how many it has.
    pub(crate) fn room(&self, prompt: &Prompt, new: usize) -> (usize, usize) {
        match self {
            HubGraphs::Decoder(graphs) => (prompt.ids.len() + new, graphs.context()),
            // The encoder reads the prompt behind the features, and has a context of its own.
            HubGraphs::EncoderDecoder(graphs) => (new.max(graphs.encoded(&prompt.ids)), graphs.context()),
        }
    }
}

/// The graphs that make texts.
pub(crate) trait TextGraphs {
    /// What a step reads besides the next tokens, for some rows.
    type Keys;

    /// Tokens in the vocabulary.
    fn vocab(&self) -> usize;

    /// The tokens that a text follows, for the rules of generation.
    fn before(&self, prompt: &Prompt) -> Vec<i64>;

    /// Runs a prompt with the features of each picture. Returns the logits of the first token, pictures × vocabulary,
    /// and the keys.
    fn prefill(&mut self, prompt: &Prompt, features: &[f32], pictures: usize) -> Result<(Vec<f32>, Self::Keys)>;

    /// Runs the next tokens: each continues the row of the last step that `sources` gives. Returns the logits, rows ×
    /// vocabulary, and the keys with those tokens.
    fn step(&mut self, tokens: &[i64], sources: &[usize], keys: Self::Keys) -> Result<(Vec<f32>, Self::Keys)>;
}

impl TextGraphs for Graphs {
    type Keys = DecodedKeys;

    fn vocab(&self) -> usize {
        Graphs::vocab(self)
    }

    fn before(&self, prompt: &Prompt) -> Vec<i64> {
        prompt.ids.clone()
    }

    fn prefill(&mut self, prompt: &Prompt, features: &[f32], pictures: usize) -> Result<(Vec<f32>, DecodedKeys)> {
        let (words, width) = (self.inputs.embed(&prompt.ids)?, self.inputs.width());
        let mut embeds = Vec::with_capacity(pictures * words.len());
        for features in features.chunks_exact(prompt.features.len() * width) {
            let start = embeds.len();
            embeds.extend_from_slice(&words);
            for (&position, feature) in prompt.features.iter().zip(features.chunks_exact(width)) {
                embeds[start + position * width..][..width].copy_from_slice(feature);
            }
        }
        let none = self.no_keys(pictures)?;
        self.decode(embeds, pictures, prompt.ids.len(), none)
    }

    fn step(&mut self, tokens: &[i64], sources: &[usize], keys: DecodedKeys) -> Result<(Vec<f32>, DecodedKeys)> {
        let keys = self.select(keys, sources)?;
        let embeds = self.inputs.embed(tokens)?;
        self.decode(embeds, tokens.len(), 1, keys)
    }
}

impl TextGraphs for EncoderDecoder {
    type Keys = CrossKeys;

    fn vocab(&self) -> usize {
        EncoderDecoder::vocab(self)
    }

    fn before(&self, _prompt: &Prompt) -> Vec<i64> {
        vec![self.start()]
    }

    fn prefill(&mut self, prompt: &Prompt, features: &[f32], pictures: usize) -> Result<(Vec<f32>, CrossKeys)> {
        let (hidden, tokens) = self.encode(&prompt.ids, features, pictures)?;
        self.begin(hidden, tokens, pictures)
    }

    fn step(&mut self, tokens: &[i64], sources: &[usize], keys: CrossKeys) -> Result<(Vec<f32>, CrossKeys)> {
        let keys = self.select(keys, sources)?;
        self.decode(tokens, keys)
    }
}
