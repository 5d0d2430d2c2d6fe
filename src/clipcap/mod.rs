//! ClipCap as it is published (arXiv 2111.09734): a checkpoint and its CLIP become a model folder.
//!
//! ```text
//! preset        what is known about published checkpoints
//! clip          CLIP's towers: which they are            layout   how their tensors are named
//! transformer   ViT and the text tower                   resnet   the other image tower
//! mapper        embedding to prefix                      gpt2     the decoder
//! net           what all of them are made of             int8     rounding
//! folder        graphs, tokenizers and manifest on the disk
//! trial         what rounding to integers changes on pictures
//! ```
//!
//! Sizes come from the shapes of the tensors. What shapes do not show comes from the user or a preset, and is never guessed.
//! Memory: the weights of one graph at a time, as they are written.

mod clip;
mod folder;
mod gpt2;
mod int8;
mod layout;
mod mapper;
mod net;
mod preset;
mod resnet;
mod transformer;
mod trial;

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::limited_file::read_bytes;
use crate::message;
use crate::message::Setting;
use crate::model::parse_tokenizer;
use clip::Clip;
use folder::NewFolder;
use gpt2::Gpt2Shape;
use mapper::MapperShape;

pub use net::WeightPrecision;
pub use preset::Preset;
pub use trial::RoundingCost;

/// Largest tokenizer.json.
const LARGEST_TOKENIZER: u64 = 64 << 20;

/// What an import reads and writes.
#[derive(Debug, Clone)]
pub struct ImportOptions {
    /// The checkpoint: `gpt.*` and `clip_project.*`.
    pub clipcap: PathBuf,
    /// CLIP: a Hugging Face folder, or OpenAI's file.
    pub clip: PathBuf,
    /// `tokenizer.json` of GPT-2.
    pub tokenizer: PathBuf,
    /// The model folder to write, which must be absent or empty.
    pub out: PathBuf,
    /// The published checkpoint that this is. Default: none.
    pub preset: Option<Preset>,
    /// Whether the mapper was trained on embeddings of length 1. Default: the preset's.
    pub normalize_prefix: Option<bool>,
    /// The token that ends a caption, as text or as an id. Default: the preset's.
    pub stop_token: Option<String>,
    /// Attention heads of GPT-2. Default: the preset's.
    pub heads: Option<usize>,
    /// `tokenizer.json` of CLIP, to import its text tower too. Default: none.
    pub text_tokenizer: Option<PathBuf>,
    /// How weights are stored and multiplied.
    pub precision: WeightPrecision,
    /// Pictures that integers are tried on; needed for [`WeightPrecision::Int8`] and read for nothing else.
    pub images: Vec<PathBuf>,
    /// Name of the model. Default: the preset's, or the checkpoint's file name.
    pub name: Option<String>,
    /// Licence of the model. Default: "as the checkpoint's own".
    pub licence: Option<String>,
}

/// What an import has written.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ImportReport {
    /// The model folder.
    pub out: String,
    /// Kind of the mapper.
    pub mapper: &'static str,
    /// Vectors of a prefix.
    pub prefix_length: usize,
    /// Values of an embedding.
    pub embedding: usize,
    /// Layers, heads, width and vocabulary of GPT-2.
    pub gpt2: [usize; 4],
    /// Pixels along a side of a picture.
    pub image: usize,
    /// Whether embeddings get length 1 first.
    pub normalize_prefix: bool,
    /// Id of the token that ends a caption.
    pub stop_token: i64,
    /// What integers change, if weights are integers.
    #[serde(rename = "against fp32", skip_serializing_if = "Option::is_none")]
    pub against_fp32: Option<RoundingCost>,
    /// Size of the folder in millions of bytes.
    pub megabytes: f64,
}

/// Everything that goes into the model folder, except what its files hold.
struct Import<'a> {
    options: &'a ImportOptions,
    checkpoint: Checkpoint,
    clip: Clip,
    mapper: MapperShape,
    gpt2: Gpt2Shape,
    normalize_prefix: bool,
    stop_token: i64,
    tokenizer: Vec<u8>,
    text_tokenizer: Option<Vec<u8>>,
}

/// Imports a checkpoint of ClipCap as a model folder, which appears whole or not at all.
///
/// # Errors
/// [`Error::Input`] if a file cannot be read; [`Error::Model`] if one holds more than tensors, lacks a tensor, or does not
/// belong to the others; [`Error::Usage`] if something is missing that no tensor shows; [`Error::Output`] if the folder is not empty or cannot be
/// written, or if integers change too much; [`Error::Interrupted`].
pub fn import(options: &ImportOptions, interrupt: &Interrupt) -> Result<ImportReport> {
    let int8 = options.precision == WeightPrecision::Int8;
    if int8 && options.images.is_empty() {
        return Err(Error::usage(
            "int8 is tried on pictures before a model folder is written, and there are none",
            message!["Give real pictures, some 100, as ", Setting::Images, "."],
        ));
    }
    folder::check_free(&options.out)?;
    let import = Import::read(options)?;
    let folder = NewFolder::create(&options.out)?;
    let against_fp32 = if int8 {
        let exact = NewFolder::create(&options.out)?;
        import.write(exact.path(), WeightPrecision::Fp32, interrupt)?;
        import.write(folder.path(), WeightPrecision::Int8, interrupt)?;
        let cost = trial::rounding_cost(exact.path(), folder.path(), &options.images, interrupt)?;
        cost.check(&options.out)?;
        Some(cost)
    } else {
        import.write(folder.path(), options.precision, interrupt)?;
        None
    };
    let megabytes = (folder.bytes()? as f64 / 1e5).round() / 10.0;
    if interrupt.is_set() {
        return Err(Error::Interrupted);
    }
    folder.commit()?;
    let Gpt2Shape { layers, heads, width, vocab, .. } = import.gpt2;
    Ok(ImportReport {
        out: options.out.display().to_string(),
        mapper: import.mapper.kind.name(),
        prefix_length: import.mapper.prefix,
        embedding: import.mapper.embedding,
        gpt2: [layers, heads, width, vocab],
        image: import.clip.size(),
        normalize_prefix: import.normalize_prefix,
        stop_token: import.stop_token,
        against_fp32,
        megabytes,
    })
}

impl<'a> Import<'a> {
    /// Opens all files and settles what their shapes do not show.
    fn read(options: &'a ImportOptions) -> Result<Import<'a>> {
        let checkpoint = Checkpoint::open(&options.clipcap)?;
        let preset = options.preset;
        if let Some(preset) = preset {
            preset.check(&checkpoint)?;
        }
        let gpt2 = Gpt2Shape::find(&checkpoint, options.heads.or(preset.map(|_| Preset::HEADS)))?;
        let mapper = MapperShape::find(&checkpoint, gpt2.width)?;
        if mapper.prefix >= gpt2.context {
            let cause =
                format!("its prefix of {} vectors fills the {} positions of its GPT-2", mapper.prefix, gpt2.context);
            return Err(checkpoint.error(cause));
        }
        let clip = Clip::open(&options.clip, options.text_tokenizer.is_some())?;
        if clip.embedding() != mapper.embedding {
            let cause = format!(
                "its mapper reads {} numbers, but {} gives embeddings of {}",
                mapper.embedding,
                options.clip.display(),
                clip.embedding()
            );
            return Err(Error::model(checkpoint.name(), cause, "Name the CLIP that this checkpoint was trained with."));
        }
        let normalize = options.normalize_prefix.or(preset.map(Preset::normalize_prefix));
        let normalize_prefix = normalize.ok_or_else(|| {
            let cause = "no checkpoint says whether its mapper was trained on embeddings of length 1";
            Error::usage(
                cause,
                message!["Say so with ", Setting::NormalizePrefix, ", or name a ", Setting::Preset, "."],
            )
        })?;
        let stop = options.stop_token.as_deref().or(preset.map(Preset::stop_token)).ok_or_else(|| {
            let remedy =
                message!["Give ", Setting::StopToken, " (the published ones: \".\"), or name a ", Setting::Preset, "."];
            Error::usage("no checkpoint says which token ends its captions", remedy)
        })?;
        let tokenizer = read_tokenizer(&options.tokenizer)?;
        let stop_token = stop_id(&options.tokenizer, &tokenizer, stop, gpt2.vocab)?;
        let text_tokenizer = options.text_tokenizer.as_deref().map(read_tokenizer).transpose()?;
        Ok(Import { options, checkpoint, clip, mapper, gpt2, normalize_prefix, stop_token, tokenizer, text_tokenizer })
    }
}

/// The bytes of a tokenizer that can be used.
fn read_tokenizer(path: &Path) -> Result<Vec<u8>> {
    let bytes = read_bytes(path, LARGEST_TOKENIZER).map_err(|e| Error::read(path.display().to_string(), &e))?;
    parse_tokenizer(&bytes).map_err(|cause| not_a_tokenizer(path, &cause))?;
    Ok(bytes)
}

fn not_a_tokenizer(path: &Path, cause: &str) -> Error {
    let cause = format!("it is not a tokenizer: {cause}");
    Error::model(path.display().to_string(), cause, "Name a tokenizer.json in Hugging Face's format.")
}

/// The id of a stop token that is given as text or as an id.
fn stop_id(path: &Path, tokenizer: &[u8], stop: &str, vocab: usize) -> Result<i64> {
    let id = match stop.parse::<i64>() {
        Ok(id) => Some(id),
        Err(_) => {
            let tokenizer = parse_tokenizer(tokenizer).map_err(|cause| not_a_tokenizer(path, &cause))?;
            tokenizer.token_to_id(stop).map(i64::from)
        }
    };
    let known = id.filter(|&id| usize::try_from(id).is_ok_and(|id| id < vocab));
    known.ok_or_else(|| {
        Error::usage(
            format!("the stop token {stop:?} is not among the {vocab} tokens of the checkpoint"),
            message!["Give a token of ", path.display().to_string(), ", or its id, as ", Setting::StopToken, "."],
        )
    })
}
