//! A CLIP in the hub's layout, as it is: its files become the manifest of an embedder.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::config::{ProcessorConfig, TokenizerConfig, is_captioner};
use super::json_files::{JsonFolder, optional, required};
use super::listing::{HubFiles, folder_name};
use crate::error::{Error, Result};
use crate::message;
use crate::message::Setting;
use crate::model::manifest::{EmbedderSpec, ImageSpec, Manifest, Resize, TextSpec};
use crate::model::tokenizer::parse_tokenizer;
use crate::model::verified::ListedFiles;

/// The `model_type` of such a folder.
const CLIP: &str = "clip";
/// The graphs.
const VISION: &str = "vision_model";
const TEXT: &str = "text_model";
pub(super) const CLIP_GRAPHS: [&str; 2] = [VISION, TEXT];
/// CLIP's own means and standard deviations, for a configuration without them.
const MEAN: [f32; 3] = [0.48145466, 0.4578275, 0.40821073];
const STD: [f32; 3] = [0.26862954, 0.261_302_6, 0.275_777_1];
/// The token that pads a text, where the configuration names none.
const PAD: &str = "<|endoftext|>";

/// `config.json`. The defaults are those of `transformers`, which leaves them out when it writes the file.
#[derive(Deserialize)]
struct ClipConfig {
    #[serde(default = "projection")]
    projection_dim: usize,
    #[serde(default)]
    text_config: ClipTextConfig,
    #[serde(default)]
    vision_config: ClipVisionConfig,
}

fn projection() -> usize {
    512
}

#[derive(Deserialize)]
struct ClipTextConfig {
    #[serde(default = "context")]
    max_position_embeddings: usize,
}

fn context() -> usize {
    77
}

impl Default for ClipTextConfig {
    fn default() -> ClipTextConfig {
        ClipTextConfig { max_position_embeddings: context() }
    }
}

#[derive(Deserialize)]
struct ClipVisionConfig {
    #[serde(default = "side")]
    image_size: usize,
}

fn side() -> usize {
    224
}

impl Default for ClipVisionConfig {
    fn default() -> ClipVisionConfig {
        ClipVisionConfig { image_size: side() }
    }
}

/// Whether a folder in the hub's layout holds a CLIP.
pub(crate) fn is_clip(dir: &Path) -> bool {
    required::<Value>(&JsonFolder::Unlisted(dir), "config.json").is_ok_and(|config| config["model_type"] == CLIP)
}

/// The manifest of a CLIP, and its files: fp32, or the first variant that is complete.
///
/// # Errors
/// [`Error::Model`] if a file is missing or cannot be read, or if descry cannot embed with such a model.
pub(crate) fn read_clip(dir: &Path) -> Result<(Manifest, HubFiles)> {
    let raw: Value = required(&JsonFolder::Unlisted(dir), "config.json")?;
    let model_type = raw["model_type"].as_str().unwrap_or_default();
    if model_type != CLIP {
        return Err(not_a_clip(dir, model_type));
    }
    let needed = ["config.json", "preprocessor_config.json", "tokenizer.json"];
    let listing = HubFiles::list(dir, &needed, &["tokenizer_config.json"], &CLIP_GRAPHS, None)?;
    // What counts is what was hashed.
    let listed = ListedFiles { dir, files: &listing.specs };
    let json = JsonFolder::Listed(listed);
    let config: ClipConfig = required(&json, "config.json")?;
    let processor: ProcessorConfig = required(&json, "preprocessor_config.json")?;
    let image = image_spec(&processor, listing.precision.file(VISION)).map_err(|what| {
        let cause = format!("preprocessor_config.json asks for {what}");
        Error::model(dir.display().to_string(), cause, "Use a CLIP whose pictures are squares.")
    })?;
    let reads = config.vision_config.image_size;
    if image.size as usize != reads {
        let cause =
            format!("preprocessor_config.json asks for pictures of {} pixels, and config.json for {reads}", image.size);
        return Err(Error::model(dir.display().to_string(), cause, "Download both files again."));
    }
    let text = TextSpec {
        graph: listing.precision.file(TEXT),
        tokenizer: "tokenizer.json".into(),
        context_length: config.text_config.max_position_embeddings,
        pad_token: pad_token(listed)?,
    };
    let manifest = Manifest {
        format: CLIP.into(),
        name: folder_name(dir, CLIP),
        version: listing.precision.to_string(),
        licence: String::new(),
        trained_on: String::new(),
        description: String::new(),
        image,
        embedder: Some(EmbedderSpec { dimension: config.projection_dim, text: Some(text), dedup: None }),
        captioner: None,
        files: listing.specs.clone(),
    };
    manifest.validate().map_err(|cause| {
        Error::model(dir.display().to_string(), format!("config.json: {cause}"), "Download the file again.")
    })?;
    Ok((manifest, listing))
}

fn not_a_clip(dir: &Path, model_type: &str) -> Error {
    let dir = dir.display().to_string();
    if is_captioner(model_type) {
        let cause = format!("its model_type is {model_type:?}: it captions and cannot compare pictures");
        return Error::model(dir, cause, "Use another model for that, such as the built-in one or a CLIP.");
    }
    Error::model(
        dir,
        format!("its model_type is {model_type:?}, which descry cannot embed with"),
        message![format!("Name a model of type {CLIP:?}, or a model folder, with "), Setting::Embedder, "."],
    )
}

/// How pictures are prepared. The error is what descry cannot do.
fn image_spec(config: &ProcessorConfig, graph: String) -> std::result::Result<ImageSpec, String> {
    let resample = config.filter().map_err(|other| format!("Pillow's filter {other}, which descry does not have"))?;
    let crop = config.crop().filter(|_| config.do_center_crop.unwrap_or(true));
    let (size, resize) = match (ProcessorConfig::square(&config.size), config.shortest_edge(), crop) {
        (Some(side), _, crop) if crop.is_none_or(|crop| crop == side) => (side, Resize::Squash),
        (None, Some(shortest), Some(crop)) if crop <= shortest => {
            (crop, Resize::CropFrom(u32::try_from(shortest).map_err(|_| "pictures that are too large")?))
        }
        _ => return Err(format!("the size {} and the crop {}", config.size, config.crop_size)),
    };
    if !config.do_resize {
        return Err("pictures of different sizes".into());
    }
    // The samples of the configuration are v × factor, those of a manifest v / 255.
    let factor = if config.do_rescale { config.rescale_factor * 255.0 } else { 255.0 };
    if !(factor.is_finite() && factor > 0.0) {
        return Err(format!("the rescale_factor {}", config.rescale_factor));
    }
    let (mean, std) = (config.image_mean.unwrap_or(MEAN), config.image_std.unwrap_or(STD));
    let (mean, std) = if config.do_normalize { (mean, std) } else { ([0.0; 3], [1.0; 3]) };
    let scaled = |v: f32| (f64::from(v) / factor) as f32;
    Ok(ImageSpec {
        graph,
        size: u32::try_from(size).map_err(|_| "pictures that are too large")?,
        resize,
        resample,
        mean: mean.map(scaled),
        std: std.map(scaled),
        grid: None,
    })
}

/// The token that pads a text, as the tokenizer's configuration names it.
fn pad_token(listed: ListedFiles<'_>) -> Result<i64> {
    let fail = |cause: String| Error::model(listed.dir.display().to_string(), cause, "Download the tokenizer again.");
    let tokenizer = parse_tokenizer(&listed.read("tokenizer.json")?)
        .map_err(|e| fail(format!("tokenizer.json is not a tokenizer that can be read: {e}")))?;
    let config: TokenizerConfig = optional(&JsonFolder::Listed(listed), "tokenizer_config.json")?.unwrap_or_default();
    let pad = config.pad().unwrap_or_else(|| PAD.into());
    tokenizer.token_to_id(&pad).map(i64::from).ok_or_else(|| fail(format!("tokenizer.json has no token {pad:?}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::media::resize::Resample;

    fn spec(changes: Value) -> std::result::Result<ImageSpec, String> {
        let mut all = json!({ "do_center_crop": true, "size": { "shortest_edge": 224 }, "resample": 3,
            "crop_size": { "height": 224, "width": 224 }, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4] });
        changes.as_object().unwrap().iter().for_each(|(key, value)| all[key] = value.clone());
        image_spec(&serde_json::from_value(all).unwrap(), "g".into())
    }

    #[test]
    fn sizes_of_published_processors_are_understood() {
        let usual = spec(json!({})).unwrap();
        assert_eq!((usual.size, usual.resize, usual.resample), (224, Resize::CropFrom(224), Resample::Bicubic));
        assert_eq!((usual.mean, usual.std), ([0.5, 0.4, 0.3], [0.2, 0.3, 0.4]));
        // As old releases write them.
        assert_eq!(spec(json!({ "size": 224, "crop_size": 224 })).unwrap(), usual);
        assert_eq!(spec(json!({ "size": { "shortest_edge": 256 } })).unwrap().resize, Resize::CropFrom(256));
        let square = json!({ "size": { "height": 32, "width": 32 }, "do_center_crop": false });
        assert_eq!(spec(square).unwrap().resize, Resize::Squash);
        for (changes, word) in [
            (json!({ "do_center_crop": false }), "the crop"),
            (json!({ "crop_size": 225 }), "the crop"),
            (json!({ "size": { "longest_edge": 224 } }), "longest_edge"),
            (json!({ "resample": 4 }), "filter 4"),
            (json!({ "do_resize": false }), "different sizes"),
            (json!({ "rescale_factor": 0 }), "rescale_factor"),
        ] {
            assert!(spec(changes).unwrap_err().contains(word), "{word}");
        }
    }

    #[test]
    fn any_scale_of_samples_comes_to_the_same_values() {
        let value = |spec: &ImageSpec, v: f32| (v / 255.0 - spec.mean[1]) / spec.std[1];
        let near = |a: f32, b: f32| assert!((a - b).abs() < 1e-5 * b.abs().max(1.0), "{a} {b}");
        near(value(&spec(json!({ "rescale_factor": 1.0 / 127.5 })).unwrap(), 200.0), (200.0 / 127.5 - 0.4) / 0.3);
        near(value(&spec(json!({ "do_rescale": false })).unwrap(), 200.0), (200.0 - 0.4) / 0.3);
        near(value(&spec(json!({ "do_normalize": false })).unwrap(), 200.0), 200.0 / 255.0);
    }
}
