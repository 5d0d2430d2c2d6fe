//! The manifest of a model folder: its fields, and the rules that they follow.
//!
//! Touches no file. A manifest that is valid is consistent in itself; whether the graphs agree with it shows when their
//! sessions are built.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use serde::{Deserialize, Serialize};

use super::score::ScoreSpec;
use super::support::SupportSpec;
use crate::media::resize::Resample;

/// The widest beam that can be requested. Released ClipCap uses 5. The cache holds this many keys for each picture and
/// token, so the limit bounds its memory.
pub(crate) const MAX_BEAM: usize = 64;

// The limits below reject nonsense before anything is allocated for it. Each is far above what published models use:
// CLIP RN50x64 reads 448 pixels and has embeddings of 1,024 values; GPT-2 XL has 48 layers of 25 heads, 1,600 values a
// token, 50,257 tokens and 1,024 positions.

/// Most pixels along a side of an image tower's input.
const MAX_IMAGE_SIZE: usize = 4096;
/// Most values in an embedding or in a token's vector.
pub(crate) const MAX_WIDTH: usize = 1 << 20;
/// Most layers, and most heads in a layer.
pub(crate) const MAX_LAYERS: usize = 1024;
/// Most grid cells, values in a cell or a head, prefix vectors, and tokens of a text.
pub(crate) const MAX_LENGTH: usize = 1 << 16;
/// Most tokens in a vocabulary, and most positions of a decoder.
pub(crate) const MAX_VOCAB: usize = 1 << 24;

/// What `model.json` holds. A folder in the hub's layout has one that is made from its own files.
///
/// A model has two parts, of which one may be missing. They share the image tower.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// `descry-model/1` or `descry-model/2`; the `model_type` of a folder in the hub's layout.
    pub format: String,
    /// The model's name, without its version.
    pub name: String,
    /// The model's version, in any form.
    pub version: String,
    /// Licence of the weights. Default: empty.
    #[serde(default)]
    pub licence: String,
    /// The data that the model was trained on. Default: empty.
    #[serde(default)]
    pub trained_on: String,
    /// One line for people. Default: empty.
    #[serde(default)]
    pub description: String,
    /// The image tower.
    pub image: ImageSpec,
    /// What compares pictures with each other and with texts. Default: none, and another model must do that.
    #[serde(default)]
    pub embedder: Option<EmbedderSpec>,
    /// What captions pictures. Default: none, and another model must do that.
    #[serde(default)]
    pub captioner: Option<CaptionerSpec>,
    /// Every file of the folder except the manifest, by name.
    pub files: BTreeMap<String, FileSpec>,
}

/// The part of a model that compares pictures, by the embedding that the image tower gives, and texts with them.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbedderSpec {
    /// Values in an embedding.
    pub dimension: usize,
    /// The text tower. Default: none, and pictures cannot be compared with texts.
    #[serde(default)]
    pub text: Option<TextSpec>,
    /// Thresholds for repeated scenes. Default: none, and descry's own apply.
    #[serde(default)]
    pub dedup: Option<DedupSpec>,
}

/// The part of a model that captions pictures, from what the image tower gives.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaptionerSpec {
    /// The mapping network.
    pub mapper: MapperSpec,
    /// The language model.
    pub decoder: DecoderSpec,
    /// File name of the captions' tokenizer, in the Hugging Face `tokenizers` format.
    pub tokenizer: String,
    /// How captions are decoded.
    pub decoding: DecodingSpec,
    /// How captions are scored. Default: none, and captions have no score.
    #[serde(default)]
    pub score: Option<ScoreSpec>,
}

/// The image tower, and how a picture is prepared for it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageSpec {
    /// File name of the graph.
    pub graph: String,
    /// Side of the square input in pixels: the graph reads `N × 3 × size × size`.
    pub size: u32,
    /// How a picture becomes a square.
    pub resize: Resize,
    /// The resampling filter.
    pub resample: Resample,
    /// Means of red, green and blue, after division by 255.
    pub mean: [f32; 3],
    /// Standard deviations of red, green and blue, after division by 255.
    pub std: [f32; 3],
    /// The grid of local features that the tower gives, beside the embedding or alone. Default: none.
    #[serde(default)]
    pub grid: Option<GridSpec>,
}

/// How a picture of any shape becomes a square.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resize {
    /// Both sides to `size`, whatever the aspect ratio.
    Squash,
    /// The shorter side to `size`, then the middle square, as CLIP does.
    Crop,
    /// The shorter side to this length, then the middle square of `size` pixels, whose corner is rounded down, as
    /// `transformers` does. For folders in the hub's layout; manifests cannot name it.
    #[serde(skip)]
    CropFrom(u32),
}

/// The grid of features that an image tower gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GridSpec {
    /// Cells of a picture.
    pub cells: usize,
    /// Values in a cell.
    pub dim: usize,
}

/// The mapping network, from a picture's features to the decoder's prefix.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MapperSpec {
    /// File name of the graph.
    pub graph: String,
    /// Which of the image tower's outputs it reads.
    pub input: MapperInput,
    /// Whether its input is L2-normalised first. Default: false.
    #[serde(default)]
    pub normalize_prefix: bool,
    /// Vectors in a prefix.
    pub prefix_length: usize,
    /// Whether it also gives the support of each word of the vocabulary. Default: false.
    #[serde(default)]
    pub support: bool,
}

/// Which of the image tower's outputs the mapping network reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MapperInput {
    /// The embedding of the whole picture.
    Embedding,
    /// The grid of local features.
    Grid,
}

/// The shape of the language model.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecoderSpec {
    /// File name of the graph.
    pub graph: String,
    /// Transformer layers.
    pub layers: usize,
    /// Attention heads in a layer.
    pub heads: usize,
    /// Values in a head's key.
    pub head_dim: usize,
    /// Values in a token's vector.
    pub width: usize,
    /// Tokens in the vocabulary.
    pub vocab: usize,
    /// Positions of the decoder, including the prefix.
    pub context: usize,
}

/// The text tower, which maps texts into the space of the image embedding.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextSpec {
    /// File name of the graph.
    pub graph: String,
    /// File name of its tokenizer.
    pub tokenizer: String,
    /// Tokens of a text; longer ones are cut, shorter ones padded.
    pub context_length: usize,
    /// The token that pads a text.
    pub pad_token: i64,
}

/// Defaults for decoding, and the tokens that end a caption.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecodingSpec {
    /// Tokens that end a caption; at least one.
    pub stop_tokens: Vec<i64>,
    /// Most tokens in a caption, including the stop token.
    pub max_tokens: usize,
    /// Hypotheses in a beam.
    pub beam: usize,
    /// Logits are divided by this; above 0. Default: 1.
    #[serde(default = "default_temperature")]
    pub temperature: f32,
    /// How the search weighs the support of words. Default: none, and the decoder alone decides.
    #[serde(default)]
    pub support: Option<SupportSpec>,
}

fn default_temperature() -> f32 {
    1.0
}

/// Cosine thresholds that were measured for this model's embedding.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DedupSpec {
    /// From this cosine to the previous scene on, a scene shows nothing new. −1 to 1.
    pub same: f32,
    /// From this cosine to an earlier scene on, that scene has returned. −1 to 1.
    pub returning: f32,
}

/// A file of the folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSpec {
    /// SHA-256 in hexadecimal, 64 digits.
    pub sha256: String,
    /// Size in bytes.
    pub bytes: u64,
}

impl Manifest {
    /// Name and version, as tracks and archives record them.
    pub fn title(&self) -> String {
        format!("{} {}", self.name, self.version)
    }

    /// Refuses values that no graph can have or that no caption can come from. The error is the cause.
    pub(crate) fn validate(&self) -> Result<(), String> {
        self.validate_files()?;
        self.image.validate()?;
        if let Some(embedder) = &self.embedder {
            embedder.validate()?;
        }
        match &self.captioner {
            Some(captioner) => captioner.validate(self.image.grid.is_some(), self.embedder.is_some()),
            None if self.embedder.is_none() => Err("it has neither an \"embedder\" nor a \"captioner\"".into()),
            None => Ok(()),
        }
    }

    fn validate_files(&self) -> Result<(), String> {
        let text = self.embedder.iter().flat_map(|e| &e.text).flat_map(|t| [&t.graph, &t.tokenizer]);
        let captioner = self.captioner.iter().flat_map(|c| [&c.mapper.graph, &c.decoder.graph, &c.tokenizer]);
        for name in [&self.image.graph].into_iter().chain(captioner).chain(text) {
            if !self.files.contains_key(name) {
                return Err(format!("{name:?} is used but is not listed under \"files\""));
            }
        }
        for (name, spec) in &self.files {
            let inside = !name.is_empty() && Path::new(name).components().all(|c| matches!(c, Component::Normal(_)));
            if !inside {
                return Err(format!("the file name {name:?} leads out of the folder"));
            }
            if spec.sha256.len() != 64 || !spec.sha256.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(format!("{name}: {:?} is not a SHA-256", spec.sha256));
            }
        }
        Ok(())
    }
}

impl ImageSpec {
    fn validate(&self) -> Result<(), String> {
        within("image.size", self.size as usize, MAX_IMAGE_SIZE)?;
        if let Some(grid) = self.grid {
            within("image.grid.cells", grid.cells, MAX_LENGTH)?;
            within("image.grid.dim", grid.dim, MAX_LENGTH)?;
        }
        if !self.mean.iter().all(|m| m.is_finite()) || !self.std.iter().all(|s| s.is_finite() && *s > 0.0) {
            return Err("image.mean and image.std must be finite, and image.std above 0".into());
        }
        Ok(())
    }
}

impl EmbedderSpec {
    fn validate(&self) -> Result<(), String> {
        within("the dimension of the embedding", self.dimension, MAX_WIDTH)?;
        if let Some(text) = &self.text {
            within("text.context_length", text.context_length, MAX_LENGTH)?;
        }
        if let Some(dedup) = &self.dedup
            && ![dedup.same, dedup.returning].iter().all(|v| (-1.0..=1.0).contains(v))
        {
            return Err("dedup thresholds are cosines, from -1 to 1".into());
        }
        Ok(())
    }
}

impl CaptionerSpec {
    /// The most tokens that fit behind the prefix: the last one is never fed back.
    pub fn longest(&self) -> usize {
        (self.decoder.context + 1).saturating_sub(self.mapper.prefix_length)
    }

    /// `grid` and `embedding`: whether the image tower gives them.
    fn validate(&self, grid: bool, embedding: bool) -> Result<(), String> {
        match self.mapper.input {
            MapperInput::Grid if !grid => return Err("mapper.input is \"grid\", and image has no grid".into()),
            MapperInput::Embedding if !embedding => {
                return Err("mapper.input is \"embedding\", and the folder has no embedder".into());
            }
            MapperInput::Grid | MapperInput::Embedding => {}
        }
        self.validate_decoder()?;
        self.validate_decoding()?;
        self.score.as_ref().map_or(Ok(()), |score| score.validate(self.mapper.support))
    }

    fn validate_decoder(&self) -> Result<(), String> {
        within("mapper.prefix_length", self.mapper.prefix_length, MAX_LENGTH)?;
        let decoder = &self.decoder;
        within("decoder.layers", decoder.layers, MAX_LAYERS)?;
        within("decoder.heads", decoder.heads, MAX_LAYERS)?;
        within("decoder.head_dim", decoder.head_dim, MAX_LENGTH)?;
        within("decoder.width", decoder.width, MAX_WIDTH)?;
        within("decoder.vocab", decoder.vocab, MAX_VOCAB)?;
        within("decoder.context", decoder.context, MAX_VOCAB)
    }

    fn validate_decoding(&self) -> Result<(), String> {
        let (decoding, decoder) = (&self.decoding, &self.decoder);
        within("decoding.max_tokens", decoding.max_tokens, decoder.context)?;
        within("decoding.beam", decoding.beam, decoder.vocab.min(MAX_BEAM))?;
        if self.longest() < decoding.max_tokens {
            return Err(format!(
                "prefix_length {} and max_tokens {} do not fit into a context of {}",
                self.mapper.prefix_length, decoding.max_tokens, decoder.context
            ));
        }
        let in_vocab = |&token: &i64| token >= 0 && (token as usize) < decoder.vocab;
        if decoding.stop_tokens.is_empty() || !decoding.stop_tokens.iter().all(in_vocab) {
            return Err("decoding.stop_tokens must hold ids of the vocabulary".into());
        }
        if !(decoding.temperature.is_finite() && decoding.temperature > 0.0) {
            return Err("decoding.temperature must be above 0".into());
        }
        match &decoding.support {
            Some(_) if !self.mapper.support => Err("decoding.support needs a mapper with \"support\": true".into()),
            Some(support) => support.validate(decoding.beam, decoder.vocab),
            None => Ok(()),
        }
    }
}

/// Refuses 0 and values above `max`.
pub(crate) fn within(field: &str, value: usize, max: usize) -> Result<(), String> {
    match value {
        0 => Err(format!("{field} is 0")),
        v if v > max => Err(format!("{field} is {v}; the most is {max}")),
        _ => Ok(()),
    }
}
