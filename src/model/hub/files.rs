//! The folder: which of its files a model needs, in which precision, and their hashes.

use std::fmt::{self, Display};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use sha2::{Digest, Sha256};

use super::config::HubConfig;
use crate::digest::hex;
use crate::error::{Error, Result};
use crate::message;
use crate::message::Setting;
use crate::model::folder::sha256;

/// The subfolder of the graphs.
const GRAPHS: &str = "onnx";

/// Which variant of the graphs is run, by the end of their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// 32-bit floats: no suffix.
    Fp32,
    /// 16-bit floats: `_fp16`.
    Fp16,
    /// Weights of 8 bits with a sign: `_int8`.
    Int8,
    /// Weights of 8 bits without a sign: `_uint8`.
    Uint8,
    /// Weights of 8 bits, as the makers chose them: `_quantized`.
    Quantized,
    /// Weights of 4 bits: `_q4`.
    Q4,
    /// Weights of 4 bits, and 16-bit floats: `_q4f16`.
    Q4f16,
    /// Weights of 4 bits in the format of bitsandbytes: `_bnb4`.
    Bnb4,
}

impl Precision {
    /// All variants, in the order in which one is chosen where the user names none.
    pub const ALL: [Precision; 8] = [
        Precision::Fp32,
        Precision::Int8,
        Precision::Quantized,
        Precision::Uint8,
        Precision::Q4,
        Precision::Bnb4,
        Precision::Fp16,
        Precision::Q4f16,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Precision::Fp32 => "fp32",
            Precision::Fp16 => "fp16",
            Precision::Int8 => "int8",
            Precision::Uint8 => "uint8",
            Precision::Quantized => "quantized",
            Precision::Q4 => "q4",
            Precision::Q4f16 => "q4f16",
            Precision::Bnb4 => "bnb4",
        }
    }

    /// The file of a graph, below the folder.
    fn file(self, graph: &str) -> String {
        match self {
            Precision::Fp32 => format!("{GRAPHS}/{graph}.onnx"),
            other => format!("{GRAPHS}/{graph}_{}.onnx", other.name()),
        }
    }

    /// Whether activations are rounded to integers whose scale is that of the whole batch.
    pub(crate) fn scales_by_batch(self) -> bool {
        matches!(self, Precision::Int8 | Precision::Uint8 | Precision::Quantized)
    }
}

impl Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Precision, String> {
        let names: Vec<&str> = Precision::ALL.iter().map(|p| p.name()).collect();
        let found = Precision::ALL.into_iter().find(|p| p.name() == name);
        found.ok_or_else(|| format!("{name:?} is none of {}", names.join(", ")))
    }
}

/// A file of the model.
#[derive(Debug, Clone)]
pub(crate) struct HubFile {
    /// Its path below the folder.
    pub(crate) name: String,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

/// A folder in the hub's ONNX layout.
#[derive(Debug, Clone)]
pub struct HubFolder {
    dir: PathBuf,
    pub(crate) config: HubConfig,
    pub(crate) precision: Precision,
    pub(crate) files: Vec<HubFile>,
    hash: String,
}

/// The graphs of a model that continues a prompt.
pub(crate) const VISION: &str = "vision_encoder";
pub(crate) const EMBED: &str = "embed_tokens";
pub(crate) const DECODER: &str = "decoder_model_merged";

impl HubFolder {
    /// Whether a folder has this layout.
    pub fn is_one(dir: &Path) -> bool {
        dir.join("config.json").is_file() && dir.join(GRAPHS).is_dir()
    }

    /// Opens a folder: reads its configuration, finds the graphs, and hashes every file that the model needs.
    ///
    /// # Errors
    /// [`Error::Model`] if a file is missing or cannot be read, or if descry cannot run such a model.
    pub fn open(dir: impl AsRef<Path>, precision: Option<Precision>) -> Result<HubFolder> {
        let dir = dir.as_ref();
        let config = HubConfig::read(dir)?;
        let precision = choose(dir, precision)?;
        let mut names = vec!["config.json".to_string(), "preprocessor_config.json".into(), "tokenizer.json".into()];
        let optional = [
            "processor_config.json",
            "generation_config.json",
            "tokenizer_config.json",
            "chat_template.json",
            "chat_template.jinja",
        ];
        names.extend(optional.iter().filter(|name| dir.join(name).is_file()).map(ToString::to_string));
        for graph in [VISION, EMBED, DECODER] {
            names.extend(with_external_data(dir, precision.file(graph))?);
        }
        let files = names.into_iter().map(|name| hashed(dir, name)).collect::<Result<Vec<_>>>()?;
        let mut all = Sha256::new();
        for file in &files {
            all.update(format!("{} {} {}\n", file.sha256, file.bytes, file.name));
        }
        let hash = hex(&all.finalize());
        Ok(HubFolder { dir: dir.to_path_buf(), config, precision, files, hash })
    }

    /// The folder's path.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// SHA-256 over the names and hashes of all its files, in hexadecimal.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The folder's name and the precision of its graphs.
    pub fn title(&self) -> String {
        let name = self.dir.canonicalize().ok().and_then(|d| Some(d.file_name()?.to_string_lossy().into_owned()));
        format!("{} {}", name.unwrap_or_else(|| self.config.model_type().to_string()), self.precision)
    }

    /// What its configuration says, for people.
    pub(crate) fn facts(&self) -> Vec<(&'static str, String)> {
        let (text, generation) = (&self.config.model.text_config, &self.config.generation);
        vec![
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
        ]
    }

    /// Bytes of all its files, most of which are weights.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|f| f.bytes).sum()
    }

    /// Memory in bytes that a batch of pictures needs besides the weights: keys and values, twice while a step appends to
    /// them, logits of the prompt, and the attention of the image tower.
    pub fn batch_bytes(&self, pictures: usize) -> u64 {
        /// Tokens of a prompt and a caption.
        const TOKENS: u64 = 256;
        /// The attention of four pictures of 1,024 patches in 12 heads, with room for what else a layer needs.
        const VISION: u64 = 512 << 20;
        let text = &self.config.model.text_config;
        let keys = (text.num_hidden_layers * 2 * text.key_value_heads() * text.head_dim() * 4) as u64;
        let rows = (pictures * self.config.generation.num_beams.unwrap_or(1)) as u64;
        rows * TOKENS * (keys * 3 + text.vocab_size as u64 * 4) + VISION
    }

    /// The file of a graph.
    pub(crate) fn graph(&self, graph: &str) -> String {
        self.precision.file(graph)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// An [`Error::Model`] about this folder.
    pub(crate) fn error(&self, cause: impl Into<message::Message>, remedy: impl Into<message::Message>) -> Error {
        Error::model(self.dir.display().to_string(), cause, remedy)
    }
}

/// The precision that the user wants, or the first that is there in full.
fn choose(dir: &Path, wanted: Option<Precision>) -> Result<Precision> {
    let missing = |p: Precision| {
        let mut files = [VISION, EMBED, DECODER].into_iter().map(|graph| p.file(graph));
        files.find(|file| !dir.join(file).is_file())
    };
    let there: Vec<Precision> = Precision::ALL.into_iter().filter(|p| missing(*p).is_none()).collect();
    let names: Vec<&str> = there.iter().map(|p| p.name()).collect();
    match (wanted, there.first()) {
        (Some(p), _) => match missing(p) {
            None => Ok(p),
            Some(file) => Err(Error::model(
                dir.display().to_string(),
                format!("{file} is missing"),
                message![
                    "Download it, or choose another precision with ",
                    Setting::Precision,
                    format!(": {}.", if names.is_empty() { "none is complete".into() } else { names.join(", ") })
                ],
            )),
        },
        (None, Some(p)) => Ok(*p),
        (None, None) => Err(Error::model(
            dir.display().to_string(),
            format!("{} is missing", missing(Precision::Fp32).unwrap_or_default()),
            format!("descry runs models with the graphs {VISION}, {EMBED} and {DECODER}: download all three."),
        )),
    }
}

/// A graph's file and the files with its weights, which are named after it.
fn with_external_data(dir: &Path, graph: String) -> Result<Vec<String>> {
    let unreadable = |e: std::io::Error| {
        let cause = format!("{GRAPHS} cannot be read: {e}");
        Error::model(dir.display().to_string(), cause, "Make the folder readable.").with_source(e)
    };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir.join(GRAPHS)).map_err(unreadable)? {
        let name = format!("{GRAPHS}/{}", entry.map_err(unreadable)?.file_name().to_string_lossy());
        if name.strip_prefix(&graph).is_some_and(|rest| rest.starts_with("_data") || rest.starts_with(".data")) {
            names.push(name);
        }
    }
    names.sort();
    names.insert(0, graph);
    Ok(names)
}

fn hashed(dir: &Path, name: String) -> Result<HubFile> {
    let unreadable = |e: std::io::Error| {
        let (cause, remedy) = match e.kind() {
            std::io::ErrorKind::NotFound => (format!("{name} is missing"), "Download the whole folder."),
            _ => (format!("{name} cannot be read: {e}"), "Check the file's permissions and the disk."),
        };
        Error::model(dir.display().to_string(), cause, remedy).with_source(e)
    };
    let file = std::fs::File::open(dir.join(&name)).map_err(unreadable)?;
    let bytes = file.metadata().map_err(unreadable)?.len();
    let sha256 = sha256(file).map_err(unreadable)?;
    Ok(HubFile { name, bytes, sha256 })
}
