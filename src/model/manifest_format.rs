//! The text of `model.json`: format `descry-model/2`, and `descry-model/1`, which is read into the same manifest.
//!
//! Format 1 has both parts of a model, and its fields lie side by side. Owns parsing; touches no file.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::manifest::{
    CaptionerSpec, DecoderSpec, DecodingSpec, DedupSpec, EmbedderSpec, FileSpec, GridSpec, ImageSpec, Manifest,
    MapperSpec, Resize, TextSpec,
};
use super::score::ScoreSpec;
use crate::media::resize::Resample;

/// File name of the manifest in a model folder.
pub(crate) const MANIFEST: &str = "model.json";

/// The format in which a model has parts.
const FORMAT: &str = "descry-model/2";
/// The format of models that have both parts.
const FORMAT_V1: &str = "descry-model/1";

/// Why a manifest is refused, and what to do about it.
#[derive(Debug)]
pub(crate) struct ManifestFault {
    pub(crate) cause: String,
    pub(crate) remedy: &'static str,
    pub(crate) source: Option<serde_json::Error>,
}

/// Parses and validates the text of a manifest.
pub(crate) fn parse_manifest(text: &[u8]) -> Result<Manifest, ManifestFault> {
    #[derive(Deserialize)]
    struct FormatOnly {
        format: Option<String>,
    }
    let malformed = |e: serde_json::Error| ManifestFault {
        cause: format!("{MANIFEST} cannot be read: {e}"),
        remedy: "Compare it with the manifest format in docs/models.md, which the README links to.",
        source: Some(e),
    };
    // The format first: a manifest of another format may have any fields.
    let head: FormatOnly = serde_json::from_slice(text).map_err(malformed)?;
    let manifest: Manifest = match head.format.as_deref() {
        Some(FORMAT) => serde_json::from_slice(text).map_err(malformed)?,
        Some(FORMAT_V1) => serde_json::from_slice::<ManifestV1>(text).map_err(malformed)?.into(),
        Some(other) => {
            return Err(ManifestFault {
                cause: format!(
                    "{MANIFEST} has format {other:?}; this version of descry reads {FORMAT:?} and {FORMAT_V1:?}"
                ),
                remedy: "Convert the model folder to that format, or use a version of descry that reads this one.",
                source: None,
            });
        }
        None => {
            return Err(ManifestFault {
                cause: format!("{MANIFEST} has no \"format\""),
                remedy: "Name a folder whose model.json has \"format\": \"descry-model/2\".",
                source: None,
            });
        }
    };
    manifest.validate().map_err(|cause| ManifestFault {
        cause: format!("{MANIFEST}: {cause}"),
        remedy: "Correct the manifest, or make the folder again.",
        source: None,
    })?;
    Ok(manifest)
}

/// A manifest in format 1. The fields mean what they mean in [`Manifest`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ManifestV1 {
    format: String,
    name: String,
    version: String,
    #[serde(default)]
    licence: String,
    #[serde(default)]
    trained_on: String,
    #[serde(default)]
    description: String,
    image: ImageV1,
    mapper: MapperSpec,
    decoder: DecoderSpec,
    tokenizer: String,
    #[serde(default)]
    text: Option<TextSpec>,
    decoding: DecodingSpec,
    #[serde(default)]
    score: Option<ScoreSpec>,
    #[serde(default)]
    dedup: Option<DedupSpec>,
    files: BTreeMap<String, FileSpec>,
}

/// The image tower in format 1, which always gives an embedding.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ImageV1 {
    graph: String,
    size: u32,
    resize: Resize,
    resample: Resample,
    mean: [f32; 3],
    std: [f32; 3],
    embedding_dim: usize,
    #[serde(default)]
    grid: Option<GridSpec>,
}

impl From<ManifestV1> for Manifest {
    fn from(v1: ManifestV1) -> Manifest {
        let ManifestV1 { format, name, version, licence, trained_on, description, .. } = v1;
        let ImageV1 { graph, size, resize, resample, mean, std, embedding_dim, grid } = v1.image;
        let ManifestV1 { mapper, decoder, tokenizer, decoding, score, .. } = v1;
        Manifest {
            format,
            name,
            version,
            licence,
            trained_on,
            description,
            image: ImageSpec { graph, size, resize, resample, mean, std, grid },
            embedder: Some(EmbedderSpec { dimension: embedding_dim, text: v1.text, dedup: v1.dedup }),
            captioner: Some(CaptionerSpec { mapper, decoder, tokenizer, decoding, score }),
            files: v1.files,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::model::score::EvidenceSpec;
    use crate::model::support::SupportSpec;

    /// The manifest of the built-in model or another of format 1, as JSON.
    fn v1() -> Value {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/models/tiny/model.json");
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }

    /// The same model in format 2.
    fn v2() -> Value {
        let mut all = v1();
        let mut take = |key: &str| all.as_object_mut().unwrap().remove(key).unwrap();
        let captioner = json!({ "mapper": take("mapper"), "decoder": take("decoder"), "tokenizer": take("tokenizer"),
            "decoding": take("decoding"), "score": take("score") });
        let mut embedder = json!({ "text": take("text"), "dedup": take("dedup") });
        embedder["dimension"] = all["image"].as_object_mut().unwrap().remove("embedding_dim").unwrap();
        all["format"] = json!(FORMAT);
        all["embedder"] = embedder;
        all["captioner"] = captioner;
        all
    }

    fn parse(value: &Value) -> Result<Manifest, String> {
        parse_manifest(value.to_string().as_bytes()).map_err(|fault| fault.cause)
    }

    #[test]
    fn both_formats_come_to_the_same_manifest() {
        let old = parse(&v1()).unwrap();
        let new = parse(&v2()).unwrap();
        assert_eq!(new, Manifest { format: FORMAT.into(), ..old.clone() });
        assert_eq!(old.embedder.unwrap().dimension, 24);
    }

    #[test]
    fn either_part_may_be_missing_but_not_both() {
        let without = |parts: &[&str]| {
            let mut all = v2();
            parts.iter().for_each(|part| drop(all.as_object_mut().unwrap().remove(*part)));
            all
        };
        assert!(parse(&without(&["captioner"])).unwrap().captioner.is_none());
        assert!(parse(&without(&["embedder"])).unwrap().embedder.is_none());
        assert!(parse(&without(&["embedder", "captioner"])).unwrap_err().contains("neither"));
        let mut all = without(&["embedder"]);
        all["captioner"]["mapper"]["input"] = json!("embedding");
        assert!(parse(&all).unwrap_err().contains("no embedder"));
        let mut all = v2();
        all["image"].as_object_mut().unwrap().remove("grid");
        assert!(parse(&all).unwrap_err().contains("no grid"));
    }

    #[test]
    fn support_is_used_where_the_mapper_gives_it() {
        let with = |mapper: Value, decoding: Value, evidence: Value| {
            let mut all = v1();
            all["mapper"]["support"] = mapper;
            all["decoding"]["support"] = decoding;
            all["score"]["evidence"] = evidence;
            parse(&all).map(|manifest| manifest.captioner.unwrap())
        };
        let search = || json!({ "weight": 0.3, "candidates": 48 });
        let evidence = || json!({ "mean_logprob": 1.0, "least_support": 0.5 });
        let none = || Value::Null;
        let parsed = with(json!(true), search(), evidence()).unwrap();
        assert_eq!(parsed.decoding.support, Some(SupportSpec::new(0.3, 48)));
        let weights = EvidenceSpec { mean_logprob: 1.0, least_support: 0.5, ..EvidenceSpec::default() };
        assert_eq!(parsed.score.unwrap().evidence, Some(weights));
        assert!(!parse(&v1()).unwrap().captioner.unwrap().mapper.support);
        with(json!(true), none(), none()).unwrap();
        for (decoding, evidence, cause) in [
            (search(), none(), "decoding.support needs a mapper"),
            (none(), evidence(), "score.evidence needs a mapper"),
        ] {
            assert!(with(json!(false), decoding, evidence).unwrap_err().contains(cause), "{cause}");
        }
        for (decoding, evidence, cause) in [
            (json!({ "weight": -0.1, "candidates": 48 }), none(), "support.weight must be at least 0"),
            (json!({ "weight": 1e60, "candidates": 48 }), none(), "support.weight must be at least 0"),
            (json!({ "weight": 0.3, "candidates": 4 }), none(), "support.candidates is 4; it must be from 5"),
            (json!({ "weight": 0.3, "candidates": 121 }), none(), "support.candidates is 121"),
            (json!({ "weight": 0.3 }), none(), "candidates"),
            (none(), json!({}), "not all 0"),
            (none(), json!({ "mean_logprob": 1e60 }), "finite"),
            (none(), json!({ "words": 1.0 }), "words"),
        ] {
            let refused = with(json!(true), decoding, evidence).unwrap_err();
            assert!(refused.contains(cause), "{refused}");
        }
    }

    #[test]
    fn captions_are_cut_where_the_model_asks_for_it() {
        let with = |field: &str, value: Value| {
            let mut all = v1();
            all["mapper"]["support"] = json!(true);
            all["decoding"]["support"] =
                json!({ "weight": 0.3, "candidates": 48, "least": -1.6, "open": [119, 0], "repeats": false });
            all["decoding"]["support"][field] = value;
            parse(&all).map(|manifest| manifest.captioner.unwrap().decoding.support.unwrap())
        };
        let rules = SupportSpec { least: Some(-1.6), open: vec![119, 0], repeats: false, ..SupportSpec::new(0.3, 48) };
        assert_eq!(with("weight", json!(0.3)).unwrap(), rules);
        assert_eq!(with("least", Value::Null).unwrap(), SupportSpec { least: None, ..rules });
        for (field, value, cause) in [
            ("least", json!(0.0), "support.least must be finite and below 0"),
            ("least", json!(-1e60), "support.least must be finite and below 0"),
            ("open", json!([3, 120]), "support.open must hold ids of the vocabulary"),
            ("open", json!([-1]), "support.open must hold ids of the vocabulary"),
            ("repeats", json!("no"), "expected a boolean"),
        ] {
            let refused = with(field, value).unwrap_err();
            assert!(refused.contains(cause), "{refused}");
        }
    }

    #[test]
    fn fields_of_the_other_format_are_refused() {
        let mut all = v2();
        all["format"] = json!(FORMAT_V1);
        assert!(parse(&all).unwrap_err().contains("cannot be read"));
        let mut all = v1();
        all["format"] = json!(FORMAT);
        assert!(parse(&all).unwrap_err().contains("cannot be read"));
        let mut all = v2();
        all["image"]["resize"] = json!({ "cropfrom": 3 });
        assert!(parse(&all).unwrap_err().contains("cropfrom"));
    }
}
