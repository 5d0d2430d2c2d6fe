//! Models that descry knows by a name: `registry.json`.
//!
//! An entry may state the SHA-256 of files, which then count besides those that the hub states. An entry without them is
//! trusted when it comes for the first time; the record of that pull holds the hashes from then on.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::message;
use crate::message::Setting;
use crate::model::{ModelReference, Precision};

/// A model of the registry.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownModel {
    /// Its name in descry.
    pub name: String,
    /// `OWNER/NAME` on the hub.
    pub repository: String,
    /// A branch, a tag or a commit.
    pub revision: String,
    /// The variant of its graphs that is pulled by default.
    #[serde(deserialize_with = "variant")]
    pub precision: Precision,
    /// About how many bytes that variant has.
    pub bytes: u64,
    /// As its makers state it.
    pub licence: String,
    /// What it is good for.
    pub purpose: String,
    /// What it is asked where the user names no prompt; none for descry's own words.
    pub prompt: Option<String>,
    /// SHA-256 of files by their names, in hexadecimal.
    pub files: BTreeMap<String, String>,
}

fn variant<'de, D: serde::Deserializer<'de>>(from: D) -> std::result::Result<Precision, D::Error> {
    String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
}

/// All models of the registry.
pub fn known_models() -> &'static [KnownModel] {
    // A test reads it.
    static MODELS: LazyLock<Vec<KnownModel>> =
        LazyLock::new(|| serde_json::from_str(include_str!("registry.json")).unwrap_or_default());
    &MODELS
}

/// What is to be pulled.
#[derive(Debug, Clone)]
pub(super) struct PullSource {
    pub(super) repository: String,
    pub(super) revision: String,
    /// The variant where the user names none. None: fp32, or the first that is there.
    pub(super) precision: Option<Precision>,
    /// None: what the makers state.
    pub(super) licence: Option<String>,
    pub(super) prompt: Option<String>,
    pub(super) hashes: BTreeMap<String, String>,
}

/// Where a model comes from.
///
/// # Errors
/// [`Error::Usage`] if the registry does not have it.
pub(super) fn source_of(reference: &ModelReference) -> Result<PullSource> {
    match reference {
        ModelReference::Hub { repository, revision } => Ok(PullSource {
            repository: repository.clone(),
            revision: revision.clone().unwrap_or_else(|| "main".into()),
            precision: None,
            licence: None,
            prompt: None,
            hashes: BTreeMap::new(),
        }),
        ModelReference::Known(name) => {
            let known = known_models().iter().find(|known| known.name == *name).ok_or_else(|| unknown(name))?;
            Ok(PullSource {
                repository: known.repository.clone(),
                revision: known.revision.clone(),
                precision: Some(known.precision),
                licence: Some(known.licence.clone()),
                prompt: known.prompt.clone(),
                hashes: known.files.clone(),
            })
        }
    }
}

fn unknown(name: &str) -> Error {
    let nearest =
        known_models().iter().map(|known| (strsim::damerau_levenshtein(&known.name, name), &known.name)).min();
    let hint = nearest.filter(|(distance, _)| *distance <= 4).map(|(_, near)| format!(" Did you mean {near}?"));
    Error::usage(
        format!("descry knows no model named {name:?}"),
        message![
            Setting::ModelList,
            format!(
                " prints those that it knows; hf:OWNER/NAME names any other on the hub.{}",
                hint.unwrap_or_default()
            )
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registry_can_be_read_and_every_entry_can_be_named() {
        let models: Vec<KnownModel> = serde_json::from_str(include_str!("registry.json")).unwrap();
        assert_eq!(known_models().len(), models.len());
        assert!(models.len() >= 5);
        for model in models {
            let reference = ModelReference::parse(&model.name).unwrap();
            assert!(matches!(reference, ModelReference::Known(_)));
            let repository = format!("hf:{}@{}", model.repository, model.revision);
            assert!(ModelReference::parse(&repository).is_ok(), "{repository}");
            assert!(!model.licence.is_empty() && !model.purpose.is_empty() && model.bytes > 1_000_000);
            assert!(model.files.values().all(|hash| hash.len() == 64), "{}", model.name);
            source_of(&reference).unwrap();
        }
        let mut names: Vec<_> = known_models().iter().map(|known| &known.name).collect();
        names.dedup();
        assert_eq!(names.len(), known_models().len());
    }

    /// The registry has the hash of the manifest, and the manifest those of all other files.
    #[test]
    fn the_built_in_model_is_the_one_of_this_version() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models/builtin");
        let known = known_models().iter().find(|known| known.name == "builtin").unwrap();
        let manifest = std::fs::read(folder.join("model.json")).unwrap();
        assert_eq!(known.files["model.json"], crate::digest::sha256_of(manifest.as_slice()).unwrap());
        let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
        assert_eq!(known.licence, manifest["licence"].as_str().unwrap());
    }

    #[test]
    fn an_unknown_name_gets_the_nearest_one() {
        let error = source_of(&ModelReference::Known("smolvlm2-256".into())).unwrap_err().to_string();
        assert!(error.contains("Did you mean smolvlm2-256m?") && error.contains("`model list`"), "{error}");
        let error = source_of(&ModelReference::Known("whisper".into())).unwrap_err().to_string();
        assert!(!error.contains("Did you mean"), "{error}");
    }
}
