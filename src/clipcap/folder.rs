//! The model folder on the disk.
//!
//! It is written beside its place under another name, and gets its own when everything is on the disk.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::gpt2::Gpt2Shape;
use super::{Import, WeightPrecision};
use crate::digest::sha256_of;
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::message;
use crate::message::Setting;
use crate::model::{GraphBuilder, MANIFEST, parse_manifest};

/// Most tokens and hypotheses of a caption in the released code.
const MAX_TOKENS: usize = 67;
const BEAM: usize = 5;
/// OpenAI's preprocessing, the same for all of its CLIP models.
const MEAN: [f64; 3] = [0.48145466, 0.4578275, 0.40821073];
const STD: [f64; 3] = [0.26862954, 0.26130258, 0.27577711];
/// Bytes that are written at a time.
const BLOCK: usize = 1 << 20;

/// Refuses a place where something is.
pub(super) fn check_free(out: &Path) -> Result<()> {
    let free = match fs::read_dir(out) {
        Ok(mut entries) => entries.next().is_none(),
        Err(e) if e.kind() == ErrorKind::NotFound => true,
        Err(e) if e.kind() == ErrorKind::NotADirectory => false,
        Err(e) => return Err(Error::write(out.display().to_string(), &e, Setting::Output)),
    };
    if free {
        return Ok(());
    }
    let remedy = message!["Name a new folder with ", Setting::Output, ", or remove this one."];
    Err(Error::output(out.display().to_string(), "exists and is not empty", remedy))
}

/// A folder that is being written. Dropped before [`NewFolder::commit`], it leaves nothing behind.
pub(super) struct NewFolder {
    folder: TempDir,
    out: PathBuf,
}

impl NewFolder {
    /// Begins a folder that will have this path.
    pub(super) fn create(out: &Path) -> Result<NewFolder> {
        let failed = |e: io::Error| Error::write(out.display().to_string(), &e, Setting::Output);
        let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(parent).map_err(failed)?;
        let name = out.file_name().ok_or(ErrorKind::InvalidInput).map_err(|e| failed(e.into()))?;
        let mut builder = tempfile::Builder::new();
        // As of any other new folder: who may read it is for the user's mask to say.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
        let folder = builder.prefix(name).suffix(".part").tempdir_in(parent).map_err(failed)?;
        Ok(NewFolder { folder, out: out.into() })
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Bytes of its files.
    pub(super) fn bytes(&self) -> Result<u64> {
        let sum = || fs::read_dir(self.path())?.try_fold(0, |sum, entry| Ok(sum + entry?.metadata()?.len()));
        sum().map_err(|e: io::Error| Error::read(self.out.display().to_string(), &e))
    }

    /// Gives the folder its own name. An empty folder that has it makes way.
    pub(super) fn commit(self) -> Result<()> {
        let failed = |e: io::Error| Error::write(self.out.display().to_string(), &e, Setting::Output);
        check_free(&self.out)?;
        match fs::remove_dir(&self.out) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(failed(e)),
            _ => {}
        }
        fs::rename(self.folder.path(), &self.out).map_err(failed)?;
        // There is nothing left to remove.
        let _ = self.folder.keep();
        if let Some(parent) = self.out.parent().filter(|_| cfg!(unix)) {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            File::open(parent).and_then(|parent| parent.sync_all()).map_err(failed)?;
        }
        Ok(())
    }
}

/// The files of a folder as the manifest lists them.
struct Files<'a> {
    folder: &'a Path,
    out: &'a Path,
    listed: BTreeMap<String, Value>,
}

impl Files<'_> {
    fn add(&mut self, name: &str, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> Result<()> {
        let path = self.folder.join(name);
        let write = || {
            let mut file = BufWriter::with_capacity(BLOCK, File::create_new(&path)?);
            write(&mut file)?;
            file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
            let file = File::open(&path)?;
            let bytes = file.metadata()?.len();
            Ok(json!({ "sha256": sha256_of(file)?, "bytes": bytes }))
        };
        let listed = write().map_err(|e: io::Error| self.failed(name, &e))?;
        self.listed.insert(name.into(), listed);
        Ok(())
    }

    fn graph(&mut self, name: &str, graph: &GraphBuilder, interrupt: &Interrupt) -> Result<()> {
        if interrupt.is_set() {
            return Err(Error::Interrupted);
        }
        self.add(name, |file| graph.write(name, file))
    }

    fn failed(&self, name: &str, e: &io::Error) -> Error {
        let file = self.out.join(name).display().to_string();
        // Only the graph itself is too large for its format; a disk's limit has a cause of its own.
        if e.kind() == ErrorKind::FileTooLarge && e.raw_os_error().is_none() {
            let remedy = message!["Store weights in fewer bits: fp16 or int8 as ", Setting::Precision, "."];
            return Error::output(file, "it would have more than 2 GiB, the most that ONNX's format holds", remedy);
        }
        Error::write(file, e, Setting::Output)
    }
}

impl Import<'_> {
    /// Writes all files of the model into a folder that is there.
    pub(super) fn write(&self, folder: &Path, precision: WeightPrecision, interrupt: &Interrupt) -> Result<()> {
        let mut files = Files { folder, out: &self.options.out, listed: BTreeMap::new() };
        files.graph("image.onnx", &self.clip.image_graph(precision)?, interrupt)?;
        files.graph("mapper.onnx", &self.mapper.graph(&self.checkpoint, precision)?, interrupt)?;
        files.graph("decoder.onnx", &self.gpt2.graph(&self.checkpoint, precision)?, interrupt)?;
        files.add("tokenizer.json", |file| file.write_all(&self.tokenizer))?;
        if let (Some(graph), Some(tokenizer)) = (self.clip.text_graph(precision), &self.text_tokenizer) {
            files.graph("text.onnx", &graph?, interrupt)?;
            files.add("text_tokenizer.json", |file| file.write_all(tokenizer))?;
        }
        let mut manifest = self.manifest(precision);
        manifest["files"] = json!(files.listed);
        let text = format!("{manifest:#}\n");
        // What could not be loaded is not written.
        parse_manifest(text.as_bytes()).map_err(|fault| self.checkpoint.error(fault.cause))?;
        files.add(MANIFEST, |file| file.write_all(text.as_bytes()))
    }

    fn manifest(&self, precision: WeightPrecision) -> Value {
        let (options, Gpt2Shape { layers, heads, width, vocab, context }) = (self.options, self.gpt2);
        let stem = || options.clipcap.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let name = options.name.clone().or(options.preset.map(|p| p.name().into())).unwrap_or_else(stem);
        let mut manifest = json!({
            "format": "descry-model/1",
            "name": name,
            "version": "1",
            "licence": options.licence.as_deref().unwrap_or("as the checkpoint's own"),
            "trained_on": options.preset.map_or("", |preset| preset.trained_on()),
            "description": format!("ClipCap, {} mapper, imported at {}", self.mapper.kind.name(), precision.name()),
            "image": {
                "graph": "image.onnx", "size": self.clip.size(), "resize": "crop", "resample": "bicubic",
                "mean": MEAN, "std": STD, "embedding_dim": self.clip.embedding(),
            },
            "mapper": {
                "graph": "mapper.onnx", "input": "embedding", "normalize_prefix": self.normalize_prefix,
                "prefix_length": self.mapper.prefix,
            },
            "decoder": {
                "graph": "decoder.onnx", "layers": layers, "heads": heads, "head_dim": self.gpt2.head_dim(),
                "width": width, "vocab": vocab, "context": context,
            },
            "tokenizer": "tokenizer.json",
            "decoding": {
                "stop_tokens": [self.stop_token], "max_tokens": MAX_TOKENS.min(context - self.mapper.prefix),
                "beam": BEAM, "temperature": 1.0,
            },
        });
        if let Some(context) = self.clip.context() {
            manifest["text"] = json!({
                "graph": "text.onnx", "tokenizer": "text_tokenizer.json", "context_length": context, "pad_token": 0,
            });
        }
        manifest
    }
}
