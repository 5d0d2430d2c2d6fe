//! The model folder: where it is found, what its manifest says, and whether its files are the ones it was made with.
//!
//! Owns `model.json` (format `descry-model/1`) and nothing else: sessions are built by [`crate::runtime`]. Opening a
//! folder reads every file once to check its SHA-256, in blocks of 64 KiB; no file is held in memory.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::digest::hex;
use crate::error::{Error, Result};
pub use crate::media::resize::Resample;

/// The only manifest format that this version reads.
pub const FORMAT: &str = "descry-model/1";
/// Name of the manifest in a model folder.
pub const MANIFEST: &str = "model.json";
/// The environment variable that names a model folder.
pub const ENV_MODEL: &str = "DESCRY_MODEL";
/// The model that is used where none is named.
pub const BUILTIN: &str = "builtin";

/// A manifest is a page of JSON; anything larger is not one.
const MANIFEST_LIMIT: u64 = 4 << 20;

/// What `model.json` says. See the README's chapter on model folders for each field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub format: String,
    pub name: String,
    pub version: String,
    #[serde(default)]
    pub licence: String,
    #[serde(default)]
    pub trained_on: String,
    #[serde(default)]
    pub description: String,
    pub image: ImageSpec,
    pub mapper: MapperSpec,
    pub decoder: DecoderSpec,
    /// File name of the tokenizer of captions, in the Hugging Face `tokenizers` format.
    pub tokenizer: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<TextSpec>,
    pub decoding: DecodingSpec,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<ScoreSpec>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dedup: Option<DedupSpec>,
    /// Every file of the folder but the manifest.
    pub files: BTreeMap<String, FileSpec>,
}

/// The image tower, and how a picture is made ready for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageSpec {
    pub graph: String,
    /// The graph's input is `N × 3 × size × size`.
    pub size: u32,
    pub resize: Resize,
    pub resample: Resample,
    /// Mean of red, green, blue after division by 255.
    pub mean: [f32; 3],
    /// Deviation of red, green, blue after division by 255.
    pub std: [f32; 3],
    pub embedding_dim: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grid: Option<GridSpec>,
}

/// How a picture of any shape becomes a square.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resize {
    /// Both sides to `size`, whatever the aspect.
    Squash,
    /// The shorter side to `size`, then the middle square, as CLIP does.
    Crop,
}

/// The grid of features that an image tower gives beside its embedding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GridSpec {
    pub cells: usize,
    pub dim: usize,
}

/// The mapping network from the picture to the decoder's prefix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MapperSpec {
    pub graph: String,
    pub input: MapperInput,
    /// L2-normalise the embedding first.
    #[serde(default)]
    pub normalize_prefix: bool,
    pub prefix_length: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MapperInput {
    Embedding,
    Grid,
}

/// The language model's shape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecoderSpec {
    pub graph: String,
    pub layers: usize,
    pub heads: usize,
    pub head_dim: usize,
    pub width: usize,
    pub vocab: usize,
    /// Positions that the decoder has, prefix included.
    pub context: usize,
}

/// The text tower, which puts words into the space of the image embedding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextSpec {
    pub graph: String,
    pub tokenizer: String,
    pub context_length: usize,
    pub pad_token: i64,
}

/// Decoding defaults, and the tokens that end a caption.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecodingSpec {
    pub stop_tokens: Vec<i64>,
    pub max_tokens: usize,
    pub beam: usize,
    #[serde(default = "one")]
    pub temperature: f32,
}

fn one() -> f32 {
    1.0
}

/// How a mean log-probability becomes a score from 0 to 1 that means something.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScoreSpec {
    /// Pairs of mean log-probability and score, ascending; straight lines between, level outside.
    pub calibration: Vec<[f32; 2]>,
    pub default_min_score: f32,
}

impl ScoreSpec {
    /// The score of a caption, or `None` where its mean log-probability is no number.
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
        let at = points.partition_point(|p| p[0] <= mean_logprob);
        let ([x0, y0], [x1, y1]) = (points[at - 1], points[at]);
        Some(y0 + (y1 - y0) * ((mean_logprob - x0) / (x1 - x0)))
    }
}

/// Cosine thresholds measured for this model's embedding.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DedupSpec {
    /// At least this like the scene before: nothing new.
    pub same: f32,
    /// At least this like an earlier scene: that scene again.
    pub returning: f32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSpec {
    /// Lower-case hexadecimal SHA-256.
    pub sha256: String,
    pub bytes: u64,
}

/// A model folder whose every file was found to be the one that its manifest names.
#[derive(Debug, Clone)]
pub struct ModelFolder {
    dir: PathBuf,
    manifest: Manifest,
    hash: String,
}

impl ModelFolder {
    /// Finds a folder as [`find`] does and opens it.
    pub fn load(name_or_dir: Option<&str>) -> Result<ModelFolder> {
        ModelFolder::open(find(name_or_dir)?)
    }

    /// Opens a folder: the manifest is read and checked, then every file's size and SHA-256.
    pub fn open(dir: impl AsRef<Path>) -> Result<ModelFolder> {
        let dir = dir.as_ref();
        let fail = |cause: String, remedy: &str| Error::model(dir.display().to_string(), cause, remedy);
        const AGAIN: &str = "fetch or make the model folder again; its files must not be changed afterwards";

        let text = read_manifest(dir)?;
        #[derive(Deserialize)]
        struct Head {
            format: Option<String>,
        }
        let broken = |e: serde_json::Error| {
            fail(
                format!("{MANIFEST} cannot be read: {e}"),
                "check the file against the README's chapter on model folders",
            )
        };
        let head: Head = serde_json::from_slice(&text).map_err(broken)?;
        match head.format.as_deref() {
            Some(FORMAT) => {}
            Some(other) => {
                return Err(fail(
                    format!("{MANIFEST} has format {other:?}, and this descry reads {FORMAT:?}"),
                    "use a model folder of that format, or a descry that reads this one",
                ));
            }
            None => {
                return Err(fail(
                    format!("{MANIFEST} does not say its \"format\""),
                    "name a folder whose model.json has \"format\": \"descry-model/1\"",
                ));
            }
        }
        let manifest: Manifest = serde_json::from_slice(&text).map_err(broken)?;
        manifest
            .check()
            .map_err(|cause| fail(format!("{MANIFEST}: {cause}"), "correct the manifest, or make the folder again"))?;

        for (name, spec) in &manifest.files {
            let path = dir.join(name);
            let open = File::open(&path).and_then(|f| Ok((f.metadata()?, f)));
            let (meta, file) = match open {
                Ok(opened) => opened,
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(fail(format!("{name} is missing"), AGAIN)),
                Err(e) => return Err(fail(format!("{name} cannot be read: {e}"), "check the file's permissions")),
            };
            if !meta.is_file() {
                return Err(fail(format!("{name} is not a file"), AGAIN));
            }
            if meta.len() != spec.bytes {
                let what = if meta.len() < spec.bytes { "truncated" } else { "not the file it should be" };
                return Err(fail(
                    format!("{name} is {what}: it has {} bytes, and the manifest says {}", meta.len(), spec.bytes),
                    AGAIN,
                ));
            }
            let hash = sha256(file).map_err(|e| {
                fail(format!("{name} cannot be read: {e}"), "check the disk and the file's permissions")
            })?;
            if hash != spec.sha256.to_ascii_lowercase() {
                return Err(fail(
                    format!("{name} was changed: its SHA-256 is {hash}, and the manifest says {}", spec.sha256),
                    AGAIN,
                ));
            }
        }
        let hash = hex(&Sha256::digest(&text));
        Ok(ModelFolder { dir: dir.to_path_buf(), manifest, hash })
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// SHA-256 of the manifest, in hex. It holds the hashes of all files, so that it stands for the whole model.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The path of a file that the manifest names.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// An [`Error::Model`] about this folder.
    pub fn error(
        &self,
        cause: impl Into<crate::message::Message>,
        remedy: impl Into<crate::message::Message>,
    ) -> Error {
        Error::model(self.dir.display().to_string(), cause, remedy)
    }

    /// What a person wants to know of the folder, in several lines.
    pub fn describe(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for ModelFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let m = &self.manifest;
        let mut line = |key: &str, value: String| {
            if value.is_empty() { Ok(()) } else { writeln!(f, "{key:<12} {value}") }
        };
        line("model", m.title())?;
        line("folder", self.dir.display().to_string())?;
        line("description", m.description.clone())?;
        line("licence", m.licence.clone())?;
        line("trained on", m.trained_on.clone())?;
        let how = match m.image.resize {
            Resize::Squash => "squashed to a square",
            Resize::Crop => "shorter side resized, middle square",
        };
        let filter = match m.image.resample {
            Resample::Bicubic => "bicubic",
            Resample::Bilinear => "bilinear",
        };
        line("image", format!("{0}×{0}, {how}, {filter}", m.image.size))?;
        let grid = m.image.grid.map(|g| format!(", grid {} × {}", g.cells, g.dim)).unwrap_or_default();
        line("embedding", format!("{}{grid}", m.image.embedding_dim))?;
        let input = match m.mapper.input {
            MapperInput::Embedding if m.mapper.normalize_prefix => "normalised embedding",
            MapperInput::Embedding => "embedding",
            MapperInput::Grid => "grid",
        };
        line("mapper", format!("{input} → {} prefix vectors", m.mapper.prefix_length))?;
        let d = &m.decoder;
        line(
            "decoder",
            format!(
                "{} layers, {} heads, width {}, vocabulary {}, context {}",
                d.layers, d.heads, d.width, d.vocab, d.context
            ),
        )?;
        line(
            "decoding",
            format!(
                "beam {}, at most {} tokens, temperature {}, stop {:?}",
                m.decoding.beam, m.decoding.max_tokens, m.decoding.temperature, m.decoding.stop_tokens
            ),
        )?;
        if let Some(s) = &m.score {
            line(
                "score",
                format!("calibrated at {} points, default minimum {}", s.calibration.len(), s.default_min_score),
            )?;
        }
        if let Some(d) = &m.dedup {
            line("dedup", format!("same from {}, returning from {}", d.same, d.returning))?;
        }
        line("text tower", if m.text.is_some() { "yes".into() } else { "no".into() })?;
        let total: u64 = m.files.values().map(|s| s.bytes).sum();
        line("files", format!("{} in {:.1} MB, all as the manifest says:", m.files.len(), total as f64 / 1e6))?;
        for (name, spec) in &m.files {
            writeln!(f, "  {name:<24} {:>12}  {}", spec.bytes, spec.sha256)?;
        }
        Ok(())
    }
}

impl Manifest {
    /// Name and version, as tracks and archives tell them.
    pub fn title(&self) -> String {
        format!("{} {}", self.name, self.version)
    }

    /// What no graph could satisfy, or no caption could come of. The text says the cause.
    fn check(&self) -> Result<(), String> {
        let text = self.text.iter().flat_map(|t| [&t.graph, &t.tokenizer]);
        let named = [&self.image.graph, &self.mapper.graph, &self.decoder.graph, &self.tokenizer];
        for name in named.into_iter().chain(text) {
            if !self.files.contains_key(name) {
                return Err(format!("{name:?} is used but does not stand under \"files\""));
            }
        }
        for (name, spec) in &self.files {
            let inside = !name.is_empty() && Path::new(name).components().all(|c| matches!(c, Component::Normal(_)));
            if !inside {
                return Err(format!("the file name {name:?} leads out of the folder"));
            }
            if spec.sha256.len() != 64 || !spec.sha256.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(format!("{name}: {:?} is no SHA-256", spec.sha256));
            }
        }
        let within = |what: &str, value: usize, max: usize| match value {
            0 => Err(format!("{what} is 0")),
            v if v > max => Err(format!("{what} is {v}, and {max} is the most")),
            _ => Ok(()),
        };
        within("image.size", self.image.size as usize, 4096)?;
        within("image.embedding_dim", self.image.embedding_dim, 1 << 20)?;
        if let Some(grid) = self.image.grid {
            within("image.grid.cells", grid.cells, 1 << 16)?;
            within("image.grid.dim", grid.dim, 1 << 16)?;
        } else if self.mapper.input == MapperInput::Grid {
            return Err("mapper.input is \"grid\", and image has no grid".into());
        }
        if !self.image.mean.iter().all(|m| m.is_finite()) || !self.image.std.iter().all(|s| s.is_finite() && *s > 0.0) {
            return Err("image.mean and image.std must be finite, and image.std above 0".into());
        }
        within("mapper.prefix_length", self.mapper.prefix_length, 1 << 16)?;
        within("decoder.layers", self.decoder.layers, 1024)?;
        within("decoder.heads", self.decoder.heads, 1024)?;
        within("decoder.head_dim", self.decoder.head_dim, 1 << 16)?;
        within("decoder.width", self.decoder.width, 1 << 20)?;
        within("decoder.vocab", self.decoder.vocab, 1 << 24)?;
        within("decoder.context", self.decoder.context, 1 << 24)?;
        let d = &self.decoding;
        within("decoding.max_tokens", d.max_tokens, self.decoder.context)?;
        within("decoding.beam", d.beam, self.decoder.vocab.min(MAX_BEAM))?;
        if self.longest() < d.max_tokens {
            return Err(format!(
                "prefix_length {} and max_tokens {} do not fit into a context of {}",
                self.mapper.prefix_length, d.max_tokens, self.decoder.context
            ));
        }
        if d.stop_tokens.is_empty() || d.stop_tokens.iter().any(|&t| t < 0 || t as usize >= self.decoder.vocab) {
            return Err("decoding.stop_tokens must hold ids of the vocabulary".into());
        }
        if !(d.temperature.is_finite() && d.temperature > 0.0) {
            return Err("decoding.temperature must be above 0".into());
        }
        if let Some(text) = &self.text {
            within("text.context_length", text.context_length, 1 << 16)?;
        }
        if let Some(score) = &self.score {
            let points = &score.calibration;
            let ascending = points.windows(2).all(|w| w[0][0] < w[1][0]);
            if points.is_empty() || !ascending || !points.iter().flatten().all(|v| v.is_finite()) {
                return Err("score.calibration must hold pairs whose first numbers ascend".into());
            }
        }
        if let Some(d) = &self.dedup
            && ![d.same, d.returning].iter().all(|v| (-1.0..=1.0).contains(v))
        {
            return Err("dedup thresholds are cosines, from -1 to 1".into());
        }
        Ok(())
    }

    /// The most tokens that fit behind the prefix: the last one is never fed back.
    pub fn longest(&self) -> usize {
        (self.decoder.context + 1).saturating_sub(self.mapper.prefix_length)
    }
}

/// The widest beam that anybody may ask for.
pub const MAX_BEAM: usize = 64;

fn read_manifest(dir: &Path) -> Result<Vec<u8>> {
    let fail = |cause: String| {
        Error::model(
            dir.display().to_string(),
            cause,
            "name a folder that holds model.json, its graphs and its tokenizer",
        )
    };
    let path = dir.join(MANIFEST);
    if !dir.is_dir() {
        return Err(fail(if dir.exists() { "this is not a folder".into() } else { "there is no such folder".into() }));
    }
    let file = File::open(&path).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => fail(format!("{MANIFEST} is missing")),
        _ => fail(format!("{MANIFEST} cannot be read: {e}")),
    })?;
    let mut text = Vec::new();
    file.take(MANIFEST_LIMIT + 1)
        .read_to_end(&mut text)
        .map_err(|e| fail(format!("{MANIFEST} cannot be read: {e}")))?;
    if text.len() as u64 > MANIFEST_LIMIT {
        return Err(fail(format!("{MANIFEST} is larger than a manifest can be")));
    }
    Ok(text)
}

fn sha256(mut file: File) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut block = vec![0; 64 << 10];
    loop {
        let n = match file.read(&mut block) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        hash.update(&block[..n]);
    }
    Ok(hex(&hash.finalize()))
}

/// Where the model folder is: the folder named, or a model of that name beside the program; without a name the folder
/// that `DESCRY_MODEL` names; else the built-in model beside the program or in one of the folders above it.
pub fn find(name_or_dir: Option<&str>) -> Result<PathBuf> {
    let env = std::env::var(ENV_MODEL).ok().filter(|v| !v.is_empty());
    let exe = std::env::current_exe().ok();
    find_in(name_or_dir, env.as_deref(), exe.as_deref())
}

fn find_in(named: Option<&str>, env: Option<&str>, exe: Option<&Path>) -> Result<PathBuf> {
    let wanted = named.or(env).unwrap_or(BUILTIN);
    let plain = !wanted.is_empty() && Path::new(wanted).components().all(|c| matches!(c, Component::Normal(_)));
    let is_name = plain && Path::new(wanted).components().count() == 1;
    if (named.or(env).is_some() && Path::new(wanted).is_dir()) || !is_name {
        return Ok(PathBuf::from(wanted)); // opening it says what is wrong with it
    }
    let mut places = Vec::new();
    for above in exe.iter().flat_map(|e| e.ancestors().skip(1)) {
        places.push(above.join("models").join(wanted));
    }
    if let Some(bin) = exe.and_then(Path::parent) {
        places.push(bin.join("../share/descry/models").join(wanted));
    }
    if let Some(found) = places.iter().find(|p| p.join(MANIFEST).is_file()) {
        return Ok(found.clone());
    }
    let looked: Vec<String> = places.iter().map(|p| p.display().to_string()).collect();
    Err(Error::model(
        wanted,
        format!(
            "no such model folder; looked for {}",
            if looked.is_empty() { wanted.into() } else { looked.join(", ") }
        ),
        format!(
            "name a model folder with --model DIR or {ENV_MODEL}=DIR, or put one into models/{BUILTIN} beside descry"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiny() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/tiny")
    }

    fn copy() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(tiny()).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
        }
        dir
    }

    fn edit(dir: &Path, from: &str, to: &str) {
        let path = dir.join(MANIFEST);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from}");
        std::fs::write(path, text.replacen(from, to, 1)).unwrap();
    }

    fn refusal(dir: &Path) -> String {
        let error = ModelFolder::open(dir).unwrap_err();
        assert!(matches!(error, Error::Model { .. }), "{error:?}");
        error.to_string()
    }

    #[test]
    fn opens_and_describes() {
        let folder = ModelFolder::open(tiny()).unwrap();
        let text = folder.describe();
        assert!(text.contains("image.onnx") && text.contains("grid"), "{text}");
    }

    #[test]
    fn refuses_what_was_changed() {
        let dir = copy();
        let path = dir.path().join("mapper.onnx");
        let good = std::fs::read(&path).unwrap();
        let mut bad = good.clone();
        let middle = bad.len() / 2;
        bad[middle] ^= 1;
        std::fs::write(&path, &bad).unwrap();
        assert!(refusal(dir.path()).contains("mapper.onnx was changed"));
        std::fs::write(&path, &good[..good.len() - 1]).unwrap();
        assert!(refusal(dir.path()).contains("mapper.onnx is truncated"));
        std::fs::remove_file(&path).unwrap();
        assert!(refusal(dir.path()).contains("mapper.onnx is missing"));
        std::fs::create_dir(&path).unwrap();
        assert!(refusal(dir.path()).contains("mapper.onnx is not a file"));
    }

    #[test]
    fn refuses_wrong_manifests() {
        for (from, to, cause) in [
            ("descry-model/1", "descry-model/9", "descry-model/9"),
            ("\"format\"", "\"former\"", "does not say its \"format\""),
            ("\"licence\"", "\"license\"", "license"),
            ("\"squash\"", "\"stretch\"", "stretch"),
            ("\"image.onnx\"", "\"../image.onnx\"", "does not stand under"),
            ("\"beam\": 5", "\"beam\": 0", "decoding.beam is 0"),
        ] {
            let dir = copy();
            edit(dir.path(), from, to);
            let text = refusal(dir.path());
            assert!(text.contains(cause) && text.contains(MANIFEST), "{text}");
        }
        let dir = copy();
        let path = dir.path().join(MANIFEST);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("\"image.onnx\"", "\"../image.onnx\"")).unwrap();
        assert!(refusal(dir.path()).contains("leads out of the folder"));
        std::fs::write(&path, "[").unwrap();
        assert!(refusal(dir.path()).contains("model.json cannot be read"));
        std::fs::remove_file(&path).unwrap();
        assert!(refusal(dir.path()).contains("model.json is missing"));
        assert!(refusal(&dir.path().join("none")).contains("no such folder"));
    }

    #[test]
    fn looks_beside_the_program_and_above() {
        let root = tempfile::tempdir().unwrap();
        let home = root.path().join("models/builtin");
        std::fs::create_dir_all(&home).unwrap();
        std::fs::write(home.join(MANIFEST), "").unwrap();
        let exe = root.path().join("target/release/descry");
        assert_eq!(find_in(None, None, Some(&exe)).unwrap(), home);
        assert_eq!(find_in(Some("builtin"), Some("other"), Some(&exe)).unwrap(), home);
        let dir = home.to_str().unwrap();
        assert_eq!(find_in(None, Some(dir), Some(&exe)).unwrap(), home);
        assert_eq!(find_in(Some("/nowhere/x"), None, Some(&exe)).unwrap(), PathBuf::from("/nowhere/x"));
        let error = find_in(Some("absent-model"), None, Some(&exe)).unwrap_err().to_string();
        assert!(error.contains("absent-model") && error.contains("--model"), "{error}");
    }

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
