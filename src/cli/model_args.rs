//! Arguments that choose the models of a command, and how they become the library's.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::model_choice::{ModelChoice, load_embedder};
use super::server_args::ServerArgs;
use crate::error::Result;
use crate::media::{Bars, PictureOptions};
use crate::model::{
    CaptionModel, CaptionOptions, Device, EncodeOptions, MOST_CONTEXT, ModelFolder, ModelOptions, Models, Precision,
    PromptSource, SessionOptions,
};

/// Most pictures that a model of the hub captions at once by default. A step of decoding reads all its weights, whether for
/// one picture or for many.
const HUB_BATCH: usize = 16;

/// Where a model runs.
#[derive(Args)]
#[command(next_help_heading = "Model")]
struct DeviceArgs {
    /// Device that runs the model: cpu, cuda[:N], tensorrt[:N], directml[:N], coreml or openvino
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Threads per inference [default: all cores, or half of them while every frame is decoded]
    #[arg(long, value_name = "N")]
    model_threads: Option<usize>,
}

impl DeviceArgs {
    fn session(&self, shared: bool) -> Result<SessionOptions> {
        let cores = cores();
        let threads = self.model_threads.unwrap_or(if shared { cores.div_ceil(2) } else { cores });
        let device: Device = self.device.parse()?;
        Ok(SessionOptions { threads, device, ..SessionOptions::default() })
    }
}

/// How pictures are prepared for a model.
#[derive(Args)]
#[command(next_help_heading = "Model")]
pub(super) struct PictureArgs {
    /// Do not crop black bars off pictures
    ///
    /// By default, models see pictures without the bars of letterbox and pillarbox. Scene detection, thumbnails and the web
    /// page keep them.
    #[arg(long)]
    keep_bars: bool,
}

impl PictureArgs {
    pub(super) fn bars(&self) -> Bars {
        if self.keep_bars { Bars::Keep } else { Bars::Crop }
    }
}

/// Which still pictures are read.
#[derive(Args)]
pub(super) struct StillArgs {
    /// Refuse pictures with more pixels
    ///
    /// Checked before memory is allocated for a picture. The default is 8192 × 8192. JPEG files beyond that are decoded at a
    /// smaller size.
    #[arg(long, help_heading = "Input", value_name = "PIXELS", default_value_t = PictureOptions::default().max_pixels)]
    max_pixels: u64,
}

impl StillArgs {
    pub(super) fn options(&self) -> PictureOptions {
        PictureOptions { max_pixels: self.max_pixels }
    }
}

/// A model that embeds, and where it runs.
#[derive(Args)]
#[command(next_help_heading = "Model")]
pub(super) struct ModelArgs {
    /// Model folder, or the name of a model that was pulled or is next to the program [default: the built-in model]
    ///
    /// The environment variable DESCRY_MODEL sets the default.
    #[arg(long, value_name = "DIR|NAME", value_hint = ValueHint::AnyPath)]
    model: Option<String>,
    #[command(flatten)]
    device: DeviceArgs,
}

impl ModelArgs {
    /// Opens the model's folder and checks its files.
    pub(super) fn load(&self) -> Result<ModelFolder> {
        load_embedder(self.model.as_deref())
    }

    /// Options of an inference session. `shared`: decoders need the other half of the cores.
    pub(super) fn session(&self, shared: bool) -> Result<SessionOptions> {
        self.device.session(shared)
    }
}

/// The models that describe, and where they run.
#[derive(Args)]
#[command(next_help_heading = "Model")]
pub(super) struct CaptionModelArgs {
    /// Model folder, name of a model that was pulled or is next to the program, folder in the hub's layout, or openai:URL of a
    /// server [default: the built-in model]
    ///
    /// 'descry model list' prints the models that can be pulled. The hub's layout is that of ONNX models for transformers.js and optimum, such as SmolVLM. A server of models needs
    /// --model-name. The environment variable DESCRY_MODEL sets the default.
    #[arg(long, value_name = "DIR|NAME|URL", value_hint = ValueHint::AnyPath)]
    model: Option<String>,
    #[command(flatten)]
    device: DeviceArgs,
    /// Model that embeds pictures [default: that of --model, or the built-in model if that has no embedder]
    ///
    /// A model folder, or a CLIP in the hub's layout. Repetitions are recognised by its embeddings, and search uses its text
    /// tower.
    #[arg(long, value_name = "DIR|NAME", value_hint = ValueHint::AnyPath)]
    embedder: Option<String>,
    /// Variant of the graphs of a captioner in the hub's layout [default: fp32, or the first that is there]
    ///
    /// One of fp32, fp16, int8, uint8, quantized, q4, q4f16 and bnb4.
    #[arg(long, value_name = "NAME")]
    precision: Option<Precision>,
    /// What to ask a model that takes a prompt
    #[arg(long, value_name = "TEXT", conflicts_with = "prompt_file")]
    prompt: Option<String>,
    /// Read the prompt from a file
    #[arg(long, value_name = "FILE")]
    prompt_file: Option<PathBuf>,
    /// Read notes for a model that takes a prompt: the title, people, places
    #[arg(long, value_name = "FILE")]
    notes: Option<PathBuf>,
    /// Frames or pictures in one prompt, from 1 to 8, so that a model that takes several can tell what happens [default: 1]
    ///
    /// For films and streams, these are frames spread over the scene; for still pictures, pictures that follow one another.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=8))]
    frames: Option<u8>,
    #[command(flatten)]
    pub(super) picture: PictureArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// The language in which a model answers.
#[derive(Args)]
#[command(next_help_heading = "Model")]
pub(super) struct AnswerArgs {
    /// Language of the answers of a model that takes a prompt, such as French
    #[arg(long = "language", value_name = "NAME")]
    answer_language: Option<String>,
}

impl AnswerArgs {
    pub(super) fn language(&self) -> Option<String> {
        self.answer_language.clone()
    }
}

/// Earlier descriptions in prompts.
#[derive(Args)]
#[command(next_help_heading = "Model")]
pub(super) struct ContextArgs {
    /// Put the last N descriptions of the same film or stream into the prompt, up to 20, so that a model that takes a
    /// prompt describes only what is new [default: 0]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=MOST_CONTEXT as i64))]
    context: Option<u8>,
}

impl ContextArgs {
    pub(super) fn number(&self) -> Option<usize> {
        self.context.map(usize::from)
    }
}

impl CaptionModelArgs {
    /// Opens the models' folders and checks their files. A server is not asked yet.
    pub(super) fn load(&self) -> Result<Models> {
        let (model, name) = (self.model.as_deref(), self.server.model_name());
        ModelChoice { model, name, embedder: self.embedder.as_deref(), precision: self.precision }.load()
    }

    /// Most pictures that are captioned at once: as many as the user has `given`, or what suits the model. `usual` is the
    /// batch of other inferences.
    pub(super) fn caption_batch(&self, models: &Models, given: Option<u16>, usual: u16) -> usize {
        let batch = usize::from(given.unwrap_or(usual));
        match &models.captioner {
            CaptionModel::Server(_) => batch.max(self.server.jobs()),
            CaptionModel::Hub(_) if given.is_none() => batch.max(HUB_BATCH),
            CaptionModel::ClipCap(_) | CaptionModel::Hub(_) => batch,
        }
    }

    /// Options of the model's stages.
    pub(super) fn options(
        &self,
        models: &Models,
        encode: EncodeOptions,
        caption: CaptionOptions,
        prompt: PromptSource,
    ) -> Result<ModelOptions> {
        let (prompt, server) = (prompt.or_own(models.captioner.own_prompt()).read()?, self.server.options(models)?);
        Ok(ModelOptions { encode, caption, prompt, server, frames: self.frames() })
    }

    /// Frames or pictures in one prompt, if the user says how many.
    pub(super) fn frames(&self) -> Option<usize> {
        self.frames.map(usize::from)
    }

    /// What the user gives for a prompt, with so many earlier descriptions. `language`: of the answer.
    pub(super) fn prompt(&self, context: Option<usize>, language: Option<String>) -> PromptSource {
        PromptSource {
            text: self.prompt.clone(),
            file: self.prompt_file.clone(),
            language,
            notes: self.notes.clone(),
            context,
        }
    }

    /// Options of an inference session; see [`ModelArgs::session`].
    pub(super) fn session(&self, shared: bool) -> Result<SessionOptions> {
        self.device.session(shared)
    }

    /// Threads per inference, if the user names them.
    pub(super) fn threads(&self) -> Option<usize> {
        self.device.model_threads
    }
}

/// Cores that this process may use.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
