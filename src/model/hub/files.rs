//! The folder of a captioner: its configuration and the files that it needs.

use std::path::{Path, PathBuf};

use super::clip::{CLIP_GRAPHS, is_clip};
use super::config::{Family, HubConfig, PREPROCESSOR};
use super::json_files::JsonFolder;
use super::limits::read_checked;
use super::listing::{HubFiles, folder_name, has_file};
use super::tasks::{self, Tasks};
use crate::error::{Error, Result};
use crate::message;
use crate::model::precision::Precision;
use crate::model::prompt::PromptOptions;
use crate::model::pulled::PullRecord;
use crate::model::verified::ListedFiles;

/// A captioner in the hub's ONNX layout.
#[derive(Debug, Clone)]
pub struct HubFolder {
    dir: PathBuf,
    pub(crate) config: HubConfig,
    pub(crate) listing: HubFiles,
    record: Option<PullRecord>,
}

/// The graphs of a model: pictures to features, tokens to vectors, and what continues a prompt or answers it.
pub(crate) const VISION: &str = "vision_encoder";
pub(crate) const EMBED: &str = "embed_tokens";
/// Of models that answer: what reads the features and the prompt.
pub(crate) const ENCODER: &str = "encoder_model";
pub(crate) const DECODER: &str = "decoder_model_merged";

/// Files besides the configuration, the tokenizer and the graphs.
const OPTIONAL: [&str; 5] = [
    "processor_config.json",
    "generation_config.json",
    "tokenizer_config.json",
    "chat_template.json",
    "chat_template.jinja",
];

fn graphs_of_family(family: Family) -> &'static [&'static str] {
    match family {
        Family::SmolVlm | Family::Llava => &[VISION, EMBED, DECODER],
        Family::Florence => &[VISION, EMBED, ENCODER, DECODER],
    }
}

/// The files of any model in this layout that are not graphs. Most may be missing.
pub(crate) fn small_files() -> impl Iterator<Item = &'static str> {
    ["config.json", PREPROCESSOR, "tokenizer.json"].into_iter().chain(OPTIONAL)
}

/// The graphs that a folder needs, of which the other files are there.
///
/// # Errors
/// [`Error::Model`] if a file cannot be read, or if descry cannot run such a model.
pub(crate) fn graphs_of(dir: &Path) -> Result<&'static [&'static str]> {
    if is_clip(dir) { Ok(&CLIP_GRAPHS) } else { Ok(graphs_of_family(read_checked(&JsonFolder::Unlisted(dir))?.family)) }
}

impl HubFolder {
    /// Opens a folder: reads its configuration, finds the graphs, and hashes every file that the model needs.
    ///
    /// # Errors
    /// [`Error::Model`] if a file is missing or cannot be read, or if descry cannot run such a model.
    pub fn open(dir: impl AsRef<Path>, precision: Option<Precision>) -> Result<HubFolder> {
        let dir = dir.as_ref();
        let planned = read_checked(&JsonFolder::Unlisted(dir))?;
        let graphs = graphs_of_family(planned.family);
        let mut required = vec!["config.json", "tokenizer.json"];
        if has_file(dir, PREPROCESSOR)? {
            required.insert(1, PREPROCESSOR);
        }
        let listing = HubFiles::list(dir, &required, &OPTIONAL, graphs, precision)?;
        // What counts is what was hashed.
        let config = read_checked(&JsonFolder::Listed(ListedFiles { dir, files: &listing.specs }))?;
        if config.family != planned.family {
            let cause = "config.json was changed while it was read";
            return Err(Error::model(dir.display().to_string(), cause, "Run descry again."));
        }
        Ok(HubFolder { dir: dir.to_path_buf(), config, listing, record: PullRecord::read(dir)? })
    }

    /// The folder's path.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// SHA-256 over the names and hashes of all its files, in hexadecimal.
    pub fn hash(&self) -> &str {
        &self.listing.hash
    }

    /// The folder's name and the precision of its graphs.
    pub fn title(&self) -> String {
        format!("{} {}", folder_name(&self.dir, self.config.model_type()), self.listing.precision)
    }

    /// What it is asked where the user names no prompt: what was recorded when it was pulled.
    pub fn own_prompt(&self) -> Option<&str> {
        self.record.as_ref()?.prompt.as_deref()
    }

    /// What its configuration says, for people.
    pub(crate) fn facts(&self) -> Vec<(&'static str, String)> {
        let (text, generation) = (&self.config.model.text_config, &self.config.generation);
        let mut facts = vec![
            ("type", self.config.model_type().to_string()),
            ("picture", format!("{} tokens", self.config.image_tokens())),
            (
                "decoder",
                format!(
                    "{} layers, {} heads ({} of keys), width {}, vocabulary {}, context {}",
                    text.num_hidden_layers,
                    text.num_attention_heads,
                    text.key_value_heads(),
                    text.hidden_size,
                    text.vocab_size,
                    text.max_position_embeddings
                ),
            ),
            ("decoding", format!("beam {}, stop {:?}", generation.num_beams.unwrap_or(1), generation.stop_tokens())),
        ];
        if self.config.family == Family::Florence {
            facts.push(("tasks", Tasks::of(&self.config.processor).names()));
        }
        facts
    }

    /// What the model is asked; see [`tasks::settle_prompt`].
    pub(crate) fn settle_prompt(&self, prompt: PromptOptions, frames: usize) -> Result<PromptOptions> {
        tasks::settle_prompt(&self.config, &self.title(), prompt, frames)
    }

    /// Bytes of all its files, most of which are weights.
    pub fn bytes(&self) -> u64 {
        self.listing.files.iter().map(|f| f.bytes).sum()
    }

    /// Memory in bytes that a batch of pictures needs besides the weights: keys and values, twice while a step appends to
    /// them, logits of the prompt, and the attention of the image tower.
    pub fn batch_bytes(&self, pictures: usize) -> u64 {
        /// Tokens of a prompt and a caption.
        const TOKENS: u64 = 256;
        /// The attention of four pictures of 1,024 patches in 12 heads, with room for what else a layer needs.
        const VISION: u64 = 512 << 20;
        let (text, beams) = (&self.config.model.text_config, self.config.generation.num_beams.unwrap_or(1));
        let (rows, tokens, logits) = match self.config.family {
            // The graph computes the logits of the last two vectors only.
            Family::SmolVlm | Family::Llava => (pictures * beams, TOKENS, 2),
            // A batch has so many hypotheses, not pictures, and each has the keys of its picture's features too.
            Family::Florence => (pictures.max(beams), TOKENS + self.config.image_tokens() as u64, 1),
        };
        let keys = (text.num_hidden_layers * 2 * text.key_value_heads() * text.head_dim() * 4) as u64;
        rows as u64 * (tokens * keys * 3 + logits * text.vocab_size as u64 * 4) + VISION
    }

    /// The file of a graph.
    pub(crate) fn graph(&self, graph: &str) -> String {
        self.listing.precision.file(graph)
    }

    /// Its files, as they were when they were hashed.
    pub(crate) fn listed(&self) -> ListedFiles<'_> {
        ListedFiles { dir: &self.dir, files: &self.listing.specs }
    }

    /// An [`Error::Model`] about this folder.
    pub(crate) fn error(&self, cause: impl Into<message::Message>, remedy: impl Into<message::Message>) -> Error {
        Error::model(self.dir.display().to_string(), cause, remedy)
    }
}
