//! Arguments of `descry model import`.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::model_pull::PullBar;
use super::pictures;
use super::reporter::Reporter;
use crate::clipcap::{ImportOptions, Preset, WeightPrecision};
use crate::error::Result;
use crate::interrupt::Interrupt;
use crate::model::ModelReference;
use crate::pull::{HubEnvironment, ImportPart, PullJob, pull_part};

const EXAMPLES: &str = "\
Examples:
  descry model import --clipcap coco_weights.pt --clip hf:openai/clip-vit-base-patch32 \\
    --tokenizer hf:openai-community/gpt2 --preset coco-mlp --out models/coco-mlp
  descry model import --clipcap coco_weights.pt --clip ViT-B-32.pt \\
    --tokenizer gpt2/tokenizer.json --preset coco-mlp --out models/coco-mlp";

/// How weights are stored.
#[derive(Clone, Copy, ValueEnum)]
enum PrecisionArg {
    /// Unchanged, for the checkpoint's own tokens
    Fp32,
    /// In 16 bits, multiplied in 32
    Fp16,
    /// In 16 bits throughout, for GPUs
    Half,
    /// In 8-bit integers, for CPUs; needs --images
    Int8,
}

/// Import a published ClipCap checkpoint as a model folder
///
/// Reads the checkpoint and the CLIP that it was trained with, of which only tensors are accepted, and prints what it has found
/// as a JSON object. A preset gives what no tensor shows.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ImportArgs {
    /// Checkpoint with the tensors gpt.* and clip_project.*
    #[arg(long, help_heading = "Input", value_name = "FILE")]
    clipcap: PathBuf,
    /// CLIP: a folder in Hugging Face's layout, or OpenAI's file (ViT or ResNet)
    ///
    /// hf:OWNER/NAME[@REVISION] fetches one from the hub, verifies it and keeps it, as 'descry model pull' does.
    #[arg(long, help_heading = "Input", value_name = "DIR|FILE|NAME")]
    clip: PathBuf,
    /// tokenizer.json of GPT-2, or hf:OWNER/NAME[@REVISION] on the hub
    #[arg(long, help_heading = "Input", value_name = "FILE|NAME")]
    tokenizer: PathBuf,
    /// tokenizer.json of CLIP, or hf:OWNER/NAME[@REVISION]: import its text tower too, for search
    #[arg(long, help_heading = "Input", value_name = "FILE|NAME")]
    text_tokenizer: Option<PathBuf>,
    /// Published checkpoint that this is: coco-mlp, conceptual-mlp or coco-transformer; its shapes are checked
    #[arg(long, help_heading = "Checkpoint", value_name = "NAME")]
    preset: Option<Preset>,
    /// The mapper was trained on embeddings of length 1
    #[arg(long, help_heading = "Checkpoint", overrides_with = "no_normalize_prefix")]
    normalize_prefix: bool,
    /// The mapper was trained on embeddings as CLIP gives them
    #[arg(long, help_heading = "Checkpoint", overrides_with = "normalize_prefix")]
    no_normalize_prefix: bool,
    /// Token that ends a caption
    #[arg(long, help_heading = "Checkpoint", value_name = "TEXT|ID")]
    stop_token: Option<String>,
    /// Attention heads of GPT-2 [default: the preset's]
    ///
    /// No tensor shows them. GPT-2 has 12, medium 16, large 20 and XL 25.
    #[arg(long, help_heading = "Checkpoint", value_name = "N")]
    heads: Option<usize>,
    /// Model folder to write, which must be absent or empty
    #[arg(short, long, help_heading = "Output", value_name = "DIR")]
    out: PathBuf,
    /// How weights are stored and multiplied
    #[arg(long, help_heading = "Output", value_name = "NAME", default_value = "fp32")]
    precision: PrecisionArg,
    /// Pictures that int8 is tried on before the folder is written
    #[arg(long, help_heading = "Output", value_name = "DIR")]
    images: Option<PathBuf>,
    /// How many of them
    #[arg(long, help_heading = "Output", value_name = "N", default_value_t = 100)]
    limit: usize,
    /// Name of the model [default: the preset's, or the checkpoint's file name]
    #[arg(long, help_heading = "Output")]
    name: Option<String>,
    /// Licence of the model
    #[arg(long, help_heading = "Output", value_name = "TEXT")]
    licence: Option<String>,
}

impl ImportArgs {
    /// The library's options. What is on the hub is brought here; the pictures are listed only where they are needed.
    pub(super) fn options(&self, reporter: &Reporter, interrupt: &Interrupt) -> Result<ImportOptions> {
        let here = |path: &Path, part| match path.to_str().filter(|name| name.starts_with("hf:")) {
            Some(name) => brought_here(name, part, reporter, interrupt),
            None => Ok(path.to_path_buf()),
        };
        let precision = match self.precision {
            PrecisionArg::Fp32 => WeightPrecision::Fp32,
            PrecisionArg::Fp16 => WeightPrecision::Fp16,
            PrecisionArg::Half => WeightPrecision::Half,
            PrecisionArg::Int8 => WeightPrecision::Int8,
        };
        let mut images = match &self.images {
            Some(folder) if precision == WeightPrecision::Int8 => pictures::in_folder(folder)?,
            _ => Vec::new(),
        };
        images.truncate(self.limit);
        let normalize = (self.normalize_prefix || self.no_normalize_prefix).then_some(self.normalize_prefix);
        let text_tokenizer = self.text_tokenizer.as_ref().map(|path| here(path, ImportPart::Tokenizer));
        Ok(ImportOptions {
            clipcap: self.clipcap.clone(),
            clip: here(&self.clip, ImportPart::Clip)?,
            tokenizer: here(&self.tokenizer, ImportPart::Tokenizer)?,
            out: self.out.clone(),
            preset: self.preset,
            normalize_prefix: normalize,
            stop_token: self.stop_token.clone(),
            heads: self.heads,
            text_tokenizer: text_tokenizer.transpose()?,
            precision,
            images,
            name: self.name.clone(),
            licence: self.licence.clone(),
        })
    }
}

/// Brings a part from the hub, if it is not here already. Returns the folder of a CLIP, and the file of a tokenizer.
fn brought_here(name: &str, part: ImportPart, reporter: &Reporter, interrupt: &Interrupt) -> Result<PathBuf> {
    let (reference, environment) = (ModelReference::parse(name)?, HubEnvironment::read()?);
    let bar = PullBar::new(name, reporter);
    let job = PullJob { reference: &reference, precision: None, environment: &environment, observer: &bar, interrupt };
    let done = pull_part(&job, part);
    bar.end();
    let dir = done?.dir;
    Ok(match part {
        ImportPart::Clip => dir,
        ImportPart::Tokenizer => dir.join("tokenizer.json"),
    })
}
