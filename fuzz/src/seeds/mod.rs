//! What the fuzzer begins with: small files of every kind that a target reads.
//!
//! Films are made by FFmpeg's program, one for each encoder and each container that it has; the rest comes from the
//! repository's models, pictures and samples, and from the texts in `texts`.

mod films;
mod texts;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::scratch::SEPARATOR;
use crate::{Target, targets};

/// Words of a dictionary.
const WORDS: usize = 500;

/// A seed: its name and its bytes.
pub type Seed = (String, Vec<u8>);

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the folder above fuzz/")
}

/// Writes the seeds of a target into a folder, and beside it the words in those that are texts. Returns how many seeds.
///
/// # Errors
/// FFmpeg is missing, or the folder cannot be written. There are fewer seeds than there must be.
pub fn write(target: &Target, folder: &Path) -> Result<usize> {
    let seeds = of(target.name)?;
    fs::create_dir_all(folder)?;
    for (name, bytes) in &seeds {
        fs::write(folder.join(name), bytes)?;
    }
    fs::write(folder.with_extension("dict"), dictionary(&seeds))?;
    Ok(seeds.len())
}

/// The seeds of a target, none longer than its inputs.
///
/// # Errors
/// FFmpeg is missing. There are fewer seeds than there must be.
pub fn of(target: &str) -> Result<Vec<Seed>> {
    // Fewer would mean that something they are made of has moved.
    let (seeds, least) = match target {
        "media" => (films::all()?, 120),
        "picture" => (files(&["tests/goldens/resize", "tests/goldens/hub"], |ext| ext != "json" && ext != "npy")?, 20),
        "manifest" => (manifests()?, 6),
        "graph" => (graphs()?, 8),
        "hub" => (hub_folders()?, 4),
        "tokenizer" => (tokenizers()?, 6),
        "checkpoint" => (checkpoints()?, 20),
        "index" => (index()?, 2),
        "replies" => (descry::fuzzing::reply_seeds()?, 8),
        "table" => (texts::tables()?, 3),
        other => (texts::of(other), 4),
    };
    let longest = crate::target(target).with_context(|| format!("there is no target {target}"))?.longest;
    let seeds: Vec<Seed> = seeds.into_iter().filter(|(_, bytes)| bytes.len() <= longest).collect();
    ensure!(seeds.len() >= least, "{} seeds of {target}, and there must be {least}", seeds.len());
    Ok(seeds)
}

/// Names of files below a folder of the repository, sorted.
fn paths(folder: &str) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(root().join(folder)).with_context(|| folder.to_string())?;
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.map(|e| e.path())).collect::<std::io::Result<_>>()?;
    paths.sort();
    Ok(paths)
}

fn name_of(path: &Path) -> String {
    let inside = path.strip_prefix(root()).unwrap_or(path);
    inside.to_string_lossy().replace('/', "_")
}

/// Whole files of some folders.
fn files(folders: &[&str], wanted: impl Fn(&str) -> bool) -> Result<Vec<Seed>> {
    let mut seeds = Vec::new();
    for path in folders.iter().map(|folder| paths(folder)).collect::<Result<Vec<_>>>()?.concat() {
        if path.is_file() && wanted(path.extension().and_then(|e| e.to_str()).unwrap_or_default()) {
            seeds.push((name_of(&path), fs::read(&path)?));
        }
    }
    Ok(seeds)
}

const MODELS: [&str; 10] = [
    "models/builtin",
    "tests/models/tiny",
    "tests/models/support",
    "tests/models/clipcap/half",
    "tests/models/clipcap/int8",
    "tests/models/clipcap/mlp",
    "tests/models/clipcap/transformer",
    "tests/models/hub",
    "tests/models/llava",
    "tests/models/florence",
];

fn manifests() -> Result<Vec<Seed>> {
    Ok(files(&MODELS, |ext| ext == "json")?.into_iter().filter(|(name, _)| name.ends_with("model.json")).collect())
}

fn graphs() -> Result<Vec<Seed>> {
    let mut folders = MODELS.to_vec();
    let inner =
        ["tests/models/hub/onnx", "tests/models/llava/onnx", "tests/models/florence/onnx", "tests/models/clip/onnx"];
    folders.extend(inner);
    files(&folders, |ext| ext == "onnx")
}

/// Each small model in the hub's layout, and each with the prompt that an input ends with.
fn hub_folders() -> Result<Vec<Seed>> {
    let mut seeds = Vec::new();
    for model in ["hub", "llava", "florence", "clip"] {
        let folder = root().join("tests/models").join(model);
        let mut input = Vec::new();
        for name in targets::model::HUB_FILES {
            input.extend(fs::read(folder.join(name)).unwrap_or_default());
            input.push(SEPARATOR);
        }
        let prompt = if model == "florence" { "<CAPTION>" } else { "Describe it in one sentence." };
        ensure!(input.len() > 4_000, "{} has no configuration", folder.display());
        input.extend(prompt.as_bytes());
        seeds.push((model.to_string(), input));
    }
    Ok(seeds)
}

/// Checkpoints, and the pickles in them.
fn checkpoints() -> Result<Vec<Seed>> {
    let mut seeds = files(&["tests/goldens/checkpoints"], |_| true)?;
    let pickle = |(name, bytes): &Seed| Some((format!("{name}.pkl"), descry::fuzzing::pickle_of_archive(bytes).ok()?));
    seeds.extend(seeds.iter().filter_map(pickle).collect::<Vec<_>>());
    Ok(seeds)
}

fn tokenizers() -> Result<Vec<Seed>> {
    let mut folders = MODELS.to_vec();
    folders.push("tests/models/clip");
    let mut seeds = files(&folders, |ext| ext == "json")?;
    seeds.retain(|(name, _)| name.ends_with("tokenizer.json"));
    for (n, (_, seed)) in seeds.iter_mut().enumerate() {
        seed.push(SEPARATOR);
        seed.extend(
            ["A dog runs on the beach.", "", "Zwei Café-Gäste, 3 × 4 <image> 🐕", "a\u{301}  b\n\tc"][n % 4].bytes(),
        );
    }
    Ok(seeds)
}

/// Every file of a sound index, behind the byte that chooses it.
fn index() -> Result<Vec<Seed>> {
    let files = targets::archive::index_files().iter().enumerate();
    let mut seeds: Vec<Seed> =
        files.map(|(n, (name, bytes))| (name.clone(), [&[n as u8], &bytes[..]].concat())).collect();
    seeds.extend(texts::foreign_databases()?);
    Ok(seeds)
}

/// The words in seeds that are texts, in libFuzzer's form.
fn dictionary(seeds: &[Seed]) -> String {
    let mut words = BTreeSet::new();
    for (_, bytes) in seeds {
        let words_of = bytes.split(|b| !b.is_ascii_alphanumeric() && !b"_-".contains(b));
        words.extend(words_of.filter(|w| (3..=24).contains(&w.len()) && w[0].is_ascii_alphabetic()));
    }
    let is_text = |bytes: &[u8]| {
        bytes.iter().filter(|b| b.is_ascii_graphic() || b.is_ascii_whitespace()).count() * 10 > bytes.len() * 9
    };
    if !seeds.iter().all(|(_, bytes)| is_text(bytes)) {
        return String::new();
    }
    let words = words.into_iter().take(WORDS).map(|w| format!("\"{}\"\n", String::from_utf8_lossy(w)));
    words.collect()
}
