//! The manifest of a model folder, `model.json` in format `descry-model/1`: its fields and the rules that they follow.
//!
//! Owns parsing and validation and touches no file. A manifest that parses is consistent in itself; whether the graphs
//! agree with it shows when their sessions are built.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use serde::{Deserialize, Serialize};

use crate::media::resize::Resample;

/// The only manifest format that this version reads.
pub(crate) const FORMAT: &str = "descry-model/1";
/// File name of the manifest in a model folder.
pub(crate) const MANIFEST: &str = "model.json";

/// The widest beam that can be requested. Released ClipCap uses 5. The cache holds this many keys for each picture and
/// token, so the limit bounds its memory.
pub(crate) const MAX_BEAM: usize = 64;

// The limits below reject nonsense before anything is allocated for it. Each is far above what published models use:
// CLIP RN50x64 reads 448 pixels and has embeddings of 1,024 values; GPT-2 XL has 48 layers of 25 heads, 1,600 values a
// token, 50,257 tokens and 1,024 positions.

/// Most pixels along a side of an image tower's input.
const MAX_IMAGE_SIZE: usize = 4096;
/// Most values in an embedding or in a token's vector.
const MAX_WIDTH: usize = 1 << 20;
/// Most layers, and most heads in a layer.
const MAX_LAYERS: usize = 1024;
/// Most grid cells, values in a cell or a head, prefix vectors, and tokens of a text.
const MAX_LENGTH: usize = 1 << 16;
/// Most tokens in a vocabulary, and most positions of a decoder.
const MAX_VOCAB: usize = 1 << 24;

/// What `model.json` holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Always `descry-model/1`.
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
    /// The mapping network.
    pub mapper: MapperSpec,
    /// The language model.
    pub decoder: DecoderSpec,
    /// File name of the captions' tokenizer, in the Hugging Face `tokenizers` format.
    pub tokenizer: String,
    /// The text tower. Default: none, and pictures cannot be scored against texts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<TextSpec>,
    /// How captions are decoded.
    pub decoding: DecodingSpec,
    /// How captions are scored. Default: none, and captions have no score.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<ScoreSpec>,
    /// Thresholds for repeated scenes. Default: none, and descry's own apply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dedup: Option<DedupSpec>,
    /// Every file of the folder except the manifest, by name.
    pub files: BTreeMap<String, FileSpec>,
}

/// The image tower, and how a picture is prepared for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    /// Values in an embedding.
    pub embedding_dim: usize,
    /// The grid of local features beside the embedding. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grid: Option<GridSpec>,
}

/// How a picture of any shape becomes a square.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resize {
    /// Both sides to `size`, whatever the aspect ratio.
    Squash,
    /// The shorter side to `size`, then the middle square, as CLIP does.
    Crop,
}

/// The grid of features that an image tower gives beside its embedding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GridSpec {
    /// Cells of a picture.
    pub cells: usize,
    /// Values in a cell.
    pub dim: usize,
}

/// The mapping network, from a picture's features to the decoder's prefix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
}

/// Which of the image tower's outputs the mapping network reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MapperInput {
    /// The embedding of the whole picture.
    Embedding,
    /// The grid of local features.
    Grid,
}

/// The shape of the language model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
}

fn default_temperature() -> f32 {
    1.0
}

/// How a caption's mean log-probability becomes a score from 0 to 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScoreSpec {
    /// Pairs of mean log-probability and score, ascending. Scores between them are interpolated linearly, those outside
    /// are the nearest pair's.
    pub calibration: Vec<[f32; 2]>,
    /// Captions that score lower are not used, unless the user sets another minimum.
    pub default_min_score: f32,
}

impl ScoreSpec {
    /// The score of a caption; `None` where the mean log-probability is NaN.
    pub fn score(&self, mean_logprob: f32) -> Option<f32> {
        let points = &self.calibration;
        let (first, last) = (points.first()?, points.last()?);
        if mean_logprob.is_nan() {
            return None;
        }
        if mean_logprob <= first[0] {
            return Some(first[1]);
        }
        if mean_logprob >= last[0] {
            return Some(last[1]);
        }
        let above = points.partition_point(|p| p[0] <= mean_logprob);
        let ([x0, y0], [x1, y1]) = (points[above - 1], points[above]);
        Some(y0 + (y1 - y0) * ((mean_logprob - x0) / (x1 - x0)))
    }
}

/// Cosine thresholds that were measured for this model's embedding.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
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

/// Why a manifest is refused, and what to do about it.
#[derive(Debug)]
pub(crate) struct ManifestFault {
    pub(crate) cause: String,
    pub(crate) remedy: &'static str,
    pub(crate) source: Option<serde_json::Error>,
}

impl Manifest {
    /// Parses and validates the text of a manifest.
    pub(crate) fn parse(text: &[u8]) -> Result<Manifest, ManifestFault> {
        #[derive(Deserialize)]
        struct FormatOnly {
            format: Option<String>,
        }
        let malformed = |e: serde_json::Error| ManifestFault {
            cause: format!("{MANIFEST} cannot be read: {e}"),
            remedy: "Compare it with the manifest format in docs/models.md, which the README links to.",
            source: Some(e),
        };
        // The format first: a manifest of another format may have any fields.
        let head: FormatOnly = serde_json::from_slice(text).map_err(malformed)?;
        match head.format.as_deref() {
            Some(FORMAT) => {}
            Some(other) => {
                return Err(ManifestFault {
                    cause: format!("{MANIFEST} has format {other:?}; this version of descry reads {FORMAT:?}"),
                    remedy: "Convert the model folder to that format, or use a version of descry that reads this one.",
                    source: None,
                });
            }
            None => {
                return Err(ManifestFault {
                    cause: format!("{MANIFEST} has no \"format\""),
                    remedy: "Name a folder whose model.json has \"format\": \"descry-model/1\".",
                    source: None,
                });
            }
        }
        let manifest: Manifest = serde_json::from_slice(text).map_err(malformed)?;
        manifest.validate().map_err(|cause| ManifestFault {
            cause: format!("{MANIFEST}: {cause}"),
            remedy: "Correct the manifest, or make the folder again.",
            source: None,
        })?;
        Ok(manifest)
    }

    /// Name and version, as tracks and archives record them.
    pub fn title(&self) -> String {
        format!("{} {}", self.name, self.version)
    }

    /// The most tokens that fit behind the prefix: the last one is never fed back.
    pub fn longest(&self) -> usize {
        (self.decoder.context + 1).saturating_sub(self.mapper.prefix_length)
    }

    /// Refuses values that no graph can have or that no caption can come from. The error is the cause.
    fn validate(&self) -> Result<(), String> {
        self.validate_files()?;
        self.validate_image()?;
        self.validate_decoder()?;
        self.validate_decoding()?;
        if let Some(text) = &self.text {
            within("text.context_length", text.context_length, MAX_LENGTH)?;
        }
        self.validate_thresholds()
    }

    fn validate_files(&self) -> Result<(), String> {
        let text = self.text.iter().flat_map(|t| [&t.graph, &t.tokenizer]);
        let used = [&self.image.graph, &self.mapper.graph, &self.decoder.graph, &self.tokenizer];
        for name in used.into_iter().chain(text) {
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

    fn validate_image(&self) -> Result<(), String> {
        let image = &self.image;
        within("image.size", image.size as usize, MAX_IMAGE_SIZE)?;
        within("image.embedding_dim", image.embedding_dim, MAX_WIDTH)?;
        if let Some(grid) = image.grid {
            within("image.grid.cells", grid.cells, MAX_LENGTH)?;
            within("image.grid.dim", grid.dim, MAX_LENGTH)?;
        } else if self.mapper.input == MapperInput::Grid {
            return Err("mapper.input is \"grid\", and image has no grid".into());
        }
        if !image.mean.iter().all(|m| m.is_finite()) || !image.std.iter().all(|s| s.is_finite() && *s > 0.0) {
            return Err("image.mean and image.std must be finite, and image.std above 0".into());
        }
        Ok(())
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
        Ok(())
    }

    fn validate_thresholds(&self) -> Result<(), String> {
        if let Some(score) = &self.score {
            let points = &score.calibration;
            let ascending = points.windows(2).all(|w| w[0][0] < w[1][0]);
            if points.is_empty() || !ascending || !points.iter().flatten().all(|v| v.is_finite()) {
                return Err("score.calibration must hold pairs whose first numbers ascend".into());
            }
        }
        if let Some(dedup) = &self.dedup
            && ![dedup.same, dedup.returning].iter().all(|v| (-1.0..=1.0).contains(v))
        {
            return Err("dedup thresholds are cosines, from -1 to 1".into());
        }
        Ok(())
    }
}

/// Refuses 0 and values above `max`.
fn within(field: &str, value: usize, max: usize) -> Result<(), String> {
    match value {
        0 => Err(format!("{field} is 0")),
        v if v > max => Err(format!("{field} is {v}; the most is {max}")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_lie_on_the_calibration() {
        let spec = ScoreSpec { calibration: vec![[-2.0, 0.1], [-1.0, 0.5], [0.0, 0.9]], default_min_score: 0.2 };
        assert_eq!(spec.score(-9.0), Some(0.1));
        assert_eq!(spec.score(-1.0), Some(0.5));
        assert_eq!(spec.score(-1.5), Some(0.3));
        assert_eq!(spec.score(1.0), Some(0.9));
        assert_eq!(spec.score(f32::NAN), None);
    }
}
