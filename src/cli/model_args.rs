//! Arguments that choose the models of a command, and how they become the library's.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clap::Args;

use super::server_args::ServerArgs;
use crate::error::{Error, Result};
use crate::limited_file::read_text;
use crate::model::{
    CaptionModel, CaptionOptions, Device, EncodeOptions, ModelFolder, ModelOptions, Models, Precision, PromptOptions,
    SessionOptions,
};

/// The model and where it runs.
#[derive(Args)]
#[command(next_help_heading = "Model")]
pub(super) struct ModelArgs {
    /// Model folder, or the name of a model next to the program [default: the built-in model]
    #[arg(long, value_name = "DIR|NAME")]
    model: Option<String>,
    /// Device that runs the model: cpu, cuda[:N], tensorrt[:N], directml[:N], coreml or openvino
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Threads per inference [default: all cores, or half of them while every frame is decoded]
    #[arg(long, value_name = "N")]
    pub model_threads: Option<usize>,
}

impl ModelArgs {
    /// Opens the folder of a model that embeds, and checks its files.
    pub(super) fn load(&self) -> Result<ModelFolder> {
        ModelFolder::load_embedder(self.model.as_deref())
    }

    /// Options of an inference session. `shared`: decoders need the other half of the cores.
    pub(super) fn session(&self, shared: bool) -> Result<SessionOptions> {
        let cores = cores();
        let threads = self.model_threads.unwrap_or(if shared { cores.div_ceil(2) } else { cores });
        let device: Device = self.device.parse()?;
        Ok(SessionOptions { threads, device, ..SessionOptions::default() })
    }
}

/// The models that describe, and where they run.
#[derive(Args)]
#[command(next_help_heading = "Model")]
pub(super) struct CaptionModelArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Model that embeds pictures [default: that of --model, or the built-in model if that has no embedder]
    ///
    /// A model folder, or a CLIP in the hub's layout. Repetitions are recognised by its embeddings, and search uses its text
    /// tower.
    #[arg(long, value_name = "DIR|NAME")]
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
    /// Language of the answers of a model that takes a prompt, such as French
    #[arg(long, value_name = "NAME")]
    language: Option<String>,
    /// Read notes for a model that takes a prompt: the title, people, places
    #[arg(long, value_name = "FILE")]
    notes: Option<PathBuf>,
    #[command(flatten)]
    server: ServerArgs,
}

/// Largest prompt file in bytes: longer than any model's context.
const PROMPT_LIMIT: u64 = 1 << 20;

impl CaptionModelArgs {
    /// Opens the models' folders and checks their files. A server is not asked yet.
    pub(super) fn load(&self) -> Result<Models> {
        let model = self.model.model.as_deref();
        match self.server.model(model, self.precision)? {
            Some(server) => Models::on_server(server, self.embedder.as_deref()),
            None => Models::load(model, self.embedder.as_deref(), self.precision),
        }
    }

    /// Most pictures that are captioned at once, where `batch` suits a model on this machine.
    pub(super) fn caption_batch(&self, models: &Models, batch: usize) -> usize {
        match &models.captioner {
            CaptionModel::Server(_) => batch.max(self.server.jobs()),
            CaptionModel::ClipCap(_) | CaptionModel::Hub(_) => batch,
        }
    }

    /// Options of the model's stages.
    pub(super) fn options(
        &self,
        models: &Models,
        encode: EncodeOptions,
        caption: CaptionOptions,
    ) -> Result<ModelOptions> {
        let (prompt, server) = (self.prompt()?, self.server.options(models)?);
        Ok(ModelOptions { encode, caption, prompt, server, frames: None })
    }

    /// Options of an inference session; see [`ModelArgs::session`].
    pub(super) fn session(&self, shared: bool) -> Result<SessionOptions> {
        self.model.session(shared)
    }

    /// Threads per inference, if the user names them.
    pub(super) fn threads(&self) -> Option<usize> {
        self.model.model_threads
    }

    /// The prompt, if the user gives one.
    fn prompt(&self) -> Result<Option<PromptOptions>> {
        let text = match (&self.prompt, &self.prompt_file) {
            (Some(text), _) => Some(text.clone()),
            (None, file) => file.as_deref().map(read_prompt).transpose()?,
        };
        let notes = self.notes.as_deref().map(read_prompt).transpose()?;
        if text.is_none() && notes.is_none() && self.language.is_none() {
            return Ok(None);
        }
        let text = text.unwrap_or_else(|| PromptOptions::default().text);
        if text.trim().is_empty() {
            return Err(Error::usage("the prompt is empty", "Give a prompt, or none for the model's own."));
        }
        let trimmed = |text: String| text.trim().to_string();
        let notes = notes.map(trimmed).filter(|notes| !notes.is_empty());
        Ok(Some(PromptOptions { text: trimmed(text), language: self.language.clone(), notes }))
    }
}

fn read_prompt(file: &Path) -> Result<String> {
    let name = file.display().to_string();
    read_text(file, PROMPT_LIMIT).map_err(|e| match e.kind() {
        ErrorKind::FileTooLarge => {
            Error::usage(format!("{name} is larger than a prompt can be"), "Name a file with the prompt alone.")
        }
        _ => Error::read(&name, &e),
    })
}

/// Cores that this process may use.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
