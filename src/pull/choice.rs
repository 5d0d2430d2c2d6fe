//! Which files a model needs, out of those that a repository has. Names are descry's own, except those of weights beside a graph.

use std::collections::{BTreeMap, BTreeSet};

use super::listing::{HubCommit, StatedFile};
use crate::error::{Error, Result};
use crate::message;
use crate::message::Setting;
use crate::model::hub::small_files;
use crate::model::pulled::is_file_name;
use crate::model::{Manifest, Precision};

/// Largest file that is no graph, in bytes. Tokenizers have up to 20 MB.
const LARGEST_SMALL: u64 = 64 << 20;
/// Most files with weights beside one graph.
const MOST_WEIGHTS: usize = 32;

/// Files that `descry model import` reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImportPart {
    /// The configuration and the weights of a CLIP, and its tokenizer where there is one.
    Clip,
    /// A `tokenizer.json` alone.
    Tokenizer,
}

/// Most files that a manifest lists.
const MOST_LISTED: usize = 64;

const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";
/// What belongs to a CLIP besides its weights.
const CLIP_FILES: [&str; 3] = [CONFIG, "preprocessor_config.json", TOKENIZER];
/// Weights as PyTorch's models have them. The first that is there is taken.
pub(super) const WEIGHTS: [&str; 2] = ["model.safetensors", "pytorch_model.bin"];
/// What to do about a repository that is no CLIP.
const OTHER_CLIP: &str = "Name a repository with a CLIP in PyTorch's format, such as hf:openai/clip-vit-base-patch32.";

impl ImportPart {
    /// Whether these files are all that is needed.
    pub(super) fn is_in<T>(self, files: &BTreeMap<String, T>) -> bool {
        match self {
            ImportPart::Tokenizer => files.contains_key(TOKENIZER),
            ImportPart::Clip => files.contains_key(CONFIG) && WEIGHTS.iter().any(|name| files.contains_key(*name)),
        }
    }
}

/// The files that are no graphs.
///
/// # Errors
/// [`Error::Model`] if it is no model that descry knows.
pub(super) fn choose_small(about: &str, commit: &HubCommit) -> Result<Vec<String>> {
    let names: Vec<String> = small_files().filter(|name| commit.files.contains_key(*name)).map(Into::into).collect();
    if !commit.files.contains_key("config.json") {
        return Err(Error::model(about, "the repository has no config.json", "Name a model in the hub's ONNX layout."));
    }
    for name in &names {
        if commit.files[name].bytes.is_some_and(|bytes| bytes > LARGEST_SMALL) {
            let cause = format!("{name} is larger than such a file can be");
            return Err(Error::model(about, cause, "Name another model."));
        }
    }
    Ok(names)
}

/// The files for an import: first what describes them, then the weights.
///
/// # Errors
/// [`Error::Model`] if the repository does not have them.
pub(super) fn choose_parts(about: &str, commit: &HubCommit, part: ImportPart) -> Result<Vec<String>> {
    let lacks = |what: &str, remedy: &str| Err(Error::model(about, format!("the repository has no {what}"), remedy));
    let is_there = |name: &&str| commit.files.contains_key(*name);
    let (mut names, weights) = match part {
        ImportPart::Tokenizer if is_there(&TOKENIZER) => (vec![TOKENIZER], None),
        ImportPart::Tokenizer => return lacks(TOKENIZER, "Name a repository with one, or the file itself."),
        ImportPart::Clip => match WEIGHTS.into_iter().find(is_there) {
            Some(weights) if is_there(&CONFIG) => (CLIP_FILES.into_iter().filter(is_there).collect(), Some(weights)),
            Some(_) => return lacks(CONFIG, OTHER_CLIP),
            None => return lacks(&format!("{} and no {}", WEIGHTS[0], WEIGHTS[1]), OTHER_CLIP),
        },
    };
    if let Some(large) = names.iter().find(|name| commit.files[**name].bytes.is_some_and(|bytes| bytes > LARGEST_SMALL))
    {
        return Err(Error::model(about, format!("{large} is larger than such a file can be"), "Name another model."));
    }
    names.extend(weights);
    Ok(names.into_iter().map(String::from).collect())
}

/// The files of a model folder that its manifest lists.
///
/// # Errors
/// [`Error::Model`] if there are too many, one is not there, or one has a name that descry's own models do not have.
pub(super) fn choose_listed(about: &str, commit: &HubCommit, manifest: &Manifest) -> Result<Vec<String>> {
    let names: Vec<String> = manifest.files.keys().cloned().collect();
    let wrong = match names.iter().find(|name| !is_file_name(name)) {
        Some(name) => format!("its manifest lists the file {name:?}, whose name is not that of a file in its folder"),
        None if names.len() > MOST_LISTED => format!("its manifest lists {} files", names.len()),
        None => match names.iter().find(|name| !commit.files.contains_key(*name)) {
            Some(name) => format!("its manifest lists {name}, which the repository does not have"),
            None => return Ok(names),
        },
    };
    Err(Error::model(about, wrong, "Name another model."))
}

/// The graphs in one variant, and the files with their weights.
///
/// # Errors
/// [`Error::Model`] if the repository does not have them.
pub(super) fn choose_graphs(
    about: &str,
    commit: &HubCommit,
    graphs: &[&str],
    wanted: Option<Precision>,
) -> Result<(Precision, Vec<String>)> {
    let is_there = |p: &Precision| graphs.iter().all(|graph| commit.files.contains_key(&p.file(graph)));
    let there: Vec<Precision> = Precision::ALL.into_iter().filter(is_there).collect();
    let precision = match wanted {
        Some(p) => Some(p).filter(|p| there.contains(p)),
        None => there.first().copied(),
    };
    let Some(precision) = precision else {
        let missing = wanted.unwrap_or(Precision::Fp32);
        let missing = graphs.iter().map(|graph| missing.file(graph)).find(|name| !commit.files.contains_key(name));
        let cause = format!("the repository has no {}", missing.unwrap_or_default());
        let names: Vec<&str> = there.iter().map(|p| p.name()).collect();
        return Err(Error::model(
            about,
            cause,
            if names.is_empty() {
                "Name a repository with a folder onnx: onnx-community has many.".into()
            } else {
                message!["Choose one of its variants with ", Setting::Precision, format!(": {}.", names.join(", "))]
            },
        ));
    };
    let mut names = Vec::new();
    for graph in graphs.iter().map(|graph| precision.file(graph)) {
        names.extend(weights_of(about, commit, &graph)?);
        names.push(graph);
    }
    Ok((precision, names))
}

/// The files that hold a graph's weights: their names begin with the graph's.
fn weights_of(about: &str, commit: &HubCommit, graph: &str) -> Result<BTreeSet<String>> {
    let all = commit.files.range(graph.to_string()..).take_while(|(name, _)| name.starts_with(graph));
    let is_weights = |rest: &str| rest.starts_with("_data") || rest.starts_with(".data");
    let names: BTreeSet<String> =
        all.filter(|(name, _)| is_weights(&name[graph.len()..])).map(|(name, _)| name.clone()).collect();
    let is_good = |name: &String| name.strip_prefix("onnx/").is_some_and(is_file_name);
    let cause = match names.iter().find(|name| !is_good(name)) {
        Some(bad) => format!("the repository has the file {bad:?}, whose name is not that of a file beside its graph"),
        None if names.len() > MOST_WEIGHTS => {
            format!("the repository has {} files with the weights of {graph}", names.len())
        }
        None => return Ok(names),
    };
    Err(Error::model(about, cause, "Name another model."))
}

/// Adds what is known of a file to what the hub states.
///
/// # Errors
/// [`Error::Model`] if the two differ: the hub has another file now.
pub(super) fn combine(about: &str, name: &str, stated: &StatedFile, known: Option<&StatedFile>) -> Result<StatedFile> {
    let Some(known) = known else { return Ok(stated.clone()) };
    let differs = |a: &Option<String>, b: &Option<String>| a.as_ref().zip(b.as_ref()).is_some_and(|(a, b)| a != b);
    let sizes_differ = stated.bytes.zip(known.bytes).is_some_and(|(a, b)| a != b);
    if differs(&stated.sha256, &known.sha256) || sizes_differ {
        let cause = format!("the hub states another {name} than the one that is known");
        return Err(Error::model(about, cause, "Do not use it before you know why."));
    }
    Ok(StatedFile {
        bytes: stated.bytes.or(known.bytes),
        sha256: stated.sha256.clone().or_else(|| known.sha256.clone()),
        git: stated.git.clone(),
    })
}

/// All files that are chosen of a listing, for a captioner and for an embedder.
#[cfg(feature = "fuzzing")]
pub(crate) fn chosen_files(listing: &[u8]) -> Result<Vec<String>, String> {
    let commit = HubCommit::parse(listing).map_err(|fault| fault.cause)?;
    let mut names = choose_small("x", &commit).map_err(|e| e.to_string())?;
    for graphs in [&["vision_encoder", "embed_tokens", "decoder_model_merged"][..], &["vision_model", "text_model"]] {
        for wanted in Precision::ALL.into_iter().map(Some).chain([None]) {
            match choose_graphs("x", &commit, graphs, wanted) {
                Ok((_, chosen)) => names.extend(chosen),
                Err(e) => assert!(!e.to_string().is_empty()),
            }
        }
    }
    for part in [ImportPart::Clip, ImportPart::Tokenizer] {
        match choose_parts("x", &commit, part) {
            Ok(chosen) => names.extend(chosen),
            Err(e) => assert!(!e.to_string().is_empty()),
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(names: &[&str]) -> HubCommit {
        let files = names.iter().map(|name| (name.to_string(), StatedFile::default())).collect();
        HubCommit { files, ..HubCommit::default() }
    }

    #[test]
    fn the_files_of_one_variant_are_chosen() {
        let commit = commit(&[
            "README.md",
            "config.json",
            "onnx/a.onnx",
            "onnx/a.onnx_data",
            "onnx/a.onnx_data_1",
            "onnx/a.onnxruntime",
            "onnx/a_int8.onnx",
            "onnx/b.onnx",
            "onnx/b_int8.onnx",
            "onnx/b_q4.onnx",
            "tokenizer.json",
        ]);
        assert_eq!(choose_small("x", &commit).unwrap(), ["config.json", "tokenizer.json"]);
        let graphs = |wanted| choose_graphs("x", &commit, &["a", "b"], wanted);
        let fp32 = ["onnx/a.onnx_data", "onnx/a.onnx_data_1", "onnx/a.onnx", "onnx/b.onnx"].map(String::from).to_vec();
        assert_eq!(graphs(None).unwrap(), (Precision::Fp32, fp32));
        assert_eq!(graphs(Some(Precision::Int8)).unwrap().1, ["onnx/a_int8.onnx", "onnx/b_int8.onnx"]);
        let error = graphs(Some(Precision::Q4)).unwrap_err().to_string();
        assert!(error.contains("onnx/a_q4.onnx") && error.contains("fp32, int8"), "{error}");
    }

    #[test]
    fn an_import_takes_one_file_of_weights() {
        let parts = |names: &[&str], part| choose_parts("x", &commit(names), part).map_err(|e| e.to_string());
        let all =
            ["config.json", "model.safetensors", "pytorch_model.bin", "tf_model.h5", "tokenizer.json", "vocab.json"];
        assert_eq!(parts(&all, ImportPart::Clip).unwrap(), ["config.json", "tokenizer.json", "model.safetensors"]);
        assert_eq!(parts(&all, ImportPart::Tokenizer).unwrap(), ["tokenizer.json"]);
        let old = ["config.json", "preprocessor_config.json", "pytorch_model.bin"];
        assert_eq!(parts(&old, ImportPart::Clip).unwrap(), old);
        assert!(parts(&old, ImportPart::Tokenizer).unwrap_err().contains("no tokenizer.json"));
        assert!(
            parts(&old[..2], ImportPart::Clip).unwrap_err().contains("no model.safetensors and no pytorch_model.bin")
        );
        assert!(parts(&old[1..], ImportPart::Clip).unwrap_err().contains("no config.json"));
        let mut huge = commit(&["tokenizer.json"]);
        huge.files.insert("tokenizer.json".into(), StatedFile { bytes: Some(1 << 40), ..StatedFile::default() });
        assert!(choose_parts("x", &huge, ImportPart::Tokenizer).is_err());
    }

    #[test]
    fn hostile_names_are_refused() {
        for bad in [
            "onnx/a.onnx_data/../../../x",
            "onnx/a.onnx_data/x",
            "onnx/a.onnx_data\\x",
            "onnx/a.onnx_data\n",
            "onnx/a.onnx_data:x",
        ] {
            let error = choose_graphs("x", &commit(&["onnx/a.onnx", bad]), &["a"], None).unwrap_err().to_string();
            assert!(error.contains("not that of a file beside"), "{error}");
        }
        let many: Vec<String> =
            (0..40).map(|n| format!("onnx/a.onnx_data_{n}")).chain(["onnx/a.onnx".into()]).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(choose_graphs("x", &commit(&many), &["a"], None).is_err());
        assert!(choose_small("x", &commit(&["tokenizer.json"])).is_err());
        let mut huge = commit(&["config.json"]);
        huge.files.insert("config.json".into(), StatedFile { bytes: Some(1 << 40), ..StatedFile::default() });
        assert!(choose_small("x", &huge).is_err());
    }

    #[test]
    fn what_is_known_and_what_is_stated_must_agree() {
        let stated = |hash: &str| StatedFile { sha256: Some(hash.into()), ..StatedFile::default() };
        assert_eq!(combine("x", "f", &StatedFile::default(), Some(&stated("a"))).unwrap(), stated("a"));
        assert_eq!(combine("x", "f", &stated("a"), Some(&stated("a"))).unwrap(), stated("a"));
        assert!(combine("x", "f", &stated("b"), Some(&stated("a"))).is_err());
    }
}
