//! What the JSON files of a hub folder say, as far as captioning needs it. Other fields are ignored: the files have
//! many, and new ones come with every release of the tools that write them.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::json_files::{JsonFolder, optional, parse, read_text, required};
use crate::error::{Error, Result};
use crate::media::resize::Resample;

/// How pictures are prepared. Newer exporters write it into `processor_config.json`.
pub(crate) const PREPROCESSOR: &str = "preprocessor_config.json";
/// How Florence's processor writes its only kind of prompt. The features come before it.
const FLORENCE_TEMPLATE: &str = "{{ bos_token }}{{ messages[0].content[-1].text }}{{ eos_token }}";
/// Features of a picture where a Florence folder does not say: those of the published models.
const FLORENCE_FEATURES: usize = 577;

/// Kinds of models that descry can run, by the `model_type` of `config.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// SmolVLM, SmolVLM2 and Idefics3: pictures as a run of image tokens between markers.
    SmolVlm,
    /// LLaVA: pictures as a run of image tokens.
    Llava,
    /// Florence-2: an encoder reads pictures and a task, a decoder answers.
    Florence,
}

impl Family {
    /// The families by `model_type`.
    const ALL: [(&'static str, Family); 5] = [
        ("smolvlm", Family::SmolVlm),
        ("idefics3", Family::SmolVlm),
        ("llava", Family::Llava),
        ("llava_qwen2", Family::Llava),
        ("florence2", Family::Florence),
    ];

    fn of(model_type: &str) -> Option<Family> {
        Family::ALL.iter().find(|(name, _)| *name == model_type).map(|(_, family)| *family)
    }
}

/// Whether descry captions with models of this `model_type`.
pub(super) fn is_captioner(model_type: &str) -> bool {
    Family::of(model_type).is_some()
}

/// `config.json`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ModelConfig {
    model_type: String,
    /// The token that features replace. Florence needs none.
    #[serde(default, alias = "image_token_index")]
    pub(crate) image_token_id: Option<i64>,
    pub(crate) text_config: TextConfig,
    #[serde(default)]
    pub(crate) vision_config: VisionConfig,
    /// SmolVLM: pixels of a patch that are shuffled into one token's width, per side.
    #[serde(default = "one")]
    scale_factor: usize,
    /// LLaVA: whether the class token is among the features.
    #[serde(default)]
    vision_feature_select_strategy: Option<String>,
    /// Florence: features of a picture.
    #[serde(default)]
    num_image_tokens: Option<usize>,
}

fn one() -> usize {
    1
}

/// The language model.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct TextConfig {
    pub(crate) hidden_size: usize,
    pub(crate) num_hidden_layers: usize,
    pub(crate) num_attention_heads: usize,
    #[serde(default)]
    num_key_value_heads: Option<usize>,
    #[serde(default)]
    head_dim: Option<usize>,
    pub(crate) vocab_size: usize,
    #[serde(default = "long")]
    pub(crate) max_position_embeddings: usize,
    #[serde(default)]
    decoder_start_token_id: Option<i64>,
}

fn long() -> usize {
    2048
}

impl TextConfig {
    /// Heads of keys and values.
    pub(crate) fn key_value_heads(&self) -> usize {
        self.num_key_value_heads.unwrap_or(self.num_attention_heads)
    }

    /// Values in a head.
    pub(crate) fn head_dim(&self) -> usize {
        self.head_dim.unwrap_or(self.hidden_size / self.num_attention_heads.max(1))
    }
}

/// The image tower.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct VisionConfig {
    #[serde(default)]
    model_type: String,
    #[serde(default)]
    image_size: usize,
    #[serde(default)]
    patch_size: usize,
}

/// `preprocessor_config.json`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ProcessorConfig {
    #[serde(default)]
    pub(crate) do_image_splitting: bool,
    #[serde(default = "yes")]
    pub(crate) do_resize: bool,
    #[serde(default = "yes")]
    pub(crate) do_rescale: bool,
    #[serde(default = "yes")]
    pub(crate) do_normalize: bool,
    #[serde(default)]
    pub(crate) do_center_crop: Option<bool>,
    pub(crate) size: Value,
    #[serde(default)]
    pub(crate) crop_size: Value,
    #[serde(default)]
    pub(crate) max_image_size: Value,
    #[serde(default)]
    pub(crate) resample: Option<u8>,
    #[serde(default = "per_255")]
    pub(crate) rescale_factor: f64,
    #[serde(default)]
    pub(crate) image_mean: Option<[f32; 3]>,
    #[serde(default)]
    pub(crate) image_std: Option<[f32; 3]>,
    #[serde(default, alias = "image_seq_length")]
    image_seq_len: Option<usize>,
    /// Florence: what kind of answer each task has.
    #[serde(default)]
    pub(crate) tasks_answer_post_processing_type: BTreeMap<String, String>,
    /// Florence: the sentences of tasks.
    #[serde(default)]
    pub(crate) task_prompts_without_inputs: BTreeMap<String, String>,
    /// Florence: the sentences of tasks about something, with `{input}` for it.
    #[serde(default)]
    pub(crate) task_prompts_with_input: BTreeMap<String, String>,
}

fn yes() -> bool {
    true
}

fn per_255() -> f64 {
    1.0 / 255.0
}

impl ProcessorConfig {
    /// The filter, by its number in Pillow; the number where descry does not have it.
    pub(crate) fn filter(&self) -> std::result::Result<Resample, u8> {
        match self.resample {
            Some(1) => Ok(Resample::Lanczos),
            Some(2) => Ok(Resample::Bilinear),
            Some(3) | None => Ok(Resample::Bicubic),
            Some(other) => Err(other),
        }
    }

    /// The side of a square size.
    pub(crate) fn square(size: &Value) -> Option<usize> {
        let (h, w) = (size["height"].as_u64()?, size["width"].as_u64()?);
        (h == w).then_some(h as usize)
    }

    /// The length of the shorter side, where that is what the size says. Old files have a number alone.
    pub(crate) fn shortest_edge(&self) -> Option<usize> {
        self.size["shortest_edge"].as_u64().or(self.size.as_u64()).map(|n| n as usize)
    }

    /// The side of the square that is cut out, where the file says it.
    pub(crate) fn crop(&self) -> Option<usize> {
        ProcessorConfig::square(&self.crop_size).or(self.crop_size.as_u64().map(|n| n as usize))
    }
}

/// `processor_config.json`, where there is one.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct JointConfig {
    #[serde(default)]
    image_seq_len: Option<usize>,
    #[serde(default)]
    patch_size: Option<usize>,
    #[serde(default)]
    vision_feature_select_strategy: Option<String>,
    /// LLaVA: features besides those of the patches, such as a class token's.
    #[serde(default)]
    num_additional_image_tokens: Option<usize>,
    /// What `preprocessor_config.json` says, where that is not a file of its own.
    #[serde(default)]
    image_processor: Value,
}

/// `tokenizer_config.json`.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct TokenizerConfig {
    #[serde(default)]
    pub(crate) chat_template: Value,
    #[serde(default)]
    bos_token: Value,
    #[serde(default)]
    eos_token: Value,
    #[serde(default)]
    pad_token: Value,
}

impl TokenizerConfig {
    /// The text of a token, which may be written as an object.
    fn text(token: &Value) -> String {
        token.as_str().or_else(|| token["content"].as_str()).unwrap_or_default().to_string()
    }

    pub(crate) fn bos(&self) -> String {
        TokenizerConfig::text(&self.bos_token)
    }

    pub(crate) fn eos(&self) -> String {
        TokenizerConfig::text(&self.eos_token)
    }

    /// The token that pads texts, if the file names one.
    pub(crate) fn pad(&self) -> Option<String> {
        Some(TokenizerConfig::text(&self.pad_token)).filter(|token| !token.is_empty())
    }
}

/// One token or several.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Tokens {
    One(i64),
    Several(Vec<i64>),
}

impl Tokens {
    fn list(tokens: Option<&Tokens>) -> Vec<i64> {
        match tokens {
            None => Vec::new(),
            Some(Tokens::One(id)) => vec![*id],
            Some(Tokens::Several(ids)) => ids.clone(),
        }
    }
}

/// `generation_config.json`: how the model's makers generate.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct GenerationConfig {
    #[serde(default)]
    eos_token_id: Option<Tokens>,
    #[serde(default)]
    pub(crate) num_beams: Option<usize>,
    #[serde(default)]
    pub(crate) max_new_tokens: Option<usize>,
    #[serde(default)]
    pub(crate) length_penalty: Option<f32>,
    /// `true`, `false` or `"never"`.
    #[serde(default)]
    pub(crate) early_stopping: Value,
    #[serde(default)]
    pub(crate) repetition_penalty: Option<f32>,
    #[serde(default)]
    pub(crate) no_repeat_ngram_size: Option<usize>,
    #[serde(default)]
    pub(crate) suppress_tokens: Option<Vec<i64>>,
    /// Encoder and decoder: the first token, which no picture changes.
    #[serde(default)]
    pub(crate) forced_bos_token_id: Option<i64>,
    /// What the longest texts end with.
    #[serde(default)]
    forced_eos_token_id: Option<Tokens>,
    /// Encoder and decoder: what the decoder reads first.
    #[serde(default)]
    decoder_start_token_id: Option<i64>,
}

impl GenerationConfig {
    /// Tokens that end a text.
    pub(crate) fn stop_tokens(&self) -> Vec<i64> {
        Tokens::list(self.eos_token_id.as_ref())
    }

    /// Tokens of which one ends a text of the greatest length; none if such a text may break off.
    pub(crate) fn forced_last(&self) -> Vec<i64> {
        Tokens::list(self.forced_eos_token_id.as_ref())
    }
}

/// Everything that the JSON files say.
#[derive(Debug, Clone)]
pub(crate) struct HubConfig {
    pub(crate) family: Family,
    pub(crate) model: ModelConfig,
    pub(crate) processor: ProcessorConfig,
    joint: JointConfig,
    pub(crate) generation: GenerationConfig,
    pub(crate) tokenizer: TokenizerConfig,
    /// The chat template.
    pub(crate) template: String,
}

impl HubConfig {
    /// Reads the JSON files of a folder.
    pub(super) fn read(files: &JsonFolder<'_>) -> Result<HubConfig> {
        let mut raw: Value = required(files, "config.json")?;
        let model_type = raw["model_type"].as_str().unwrap_or_default();
        let Some(family) = Family::of(model_type) else {
            let known: Vec<&str> = Family::ALL.iter().map(|(name, _)| *name).collect();
            return Err(Error::model(
                files.dir().display().to_string(),
                format!("its model_type is {model_type:?}, which descry cannot run"),
                format!("Use a model of one of these types: {}.", known.join(", ")),
            ));
        };
        let tokenizer: TokenizerConfig = optional(files, "tokenizer_config.json")?.unwrap_or_default();
        let template = match family {
            Family::Florence => FLORENCE_TEMPLATE.to_string(),
            Family::SmolVlm | Family::Llava => chat_template(files, &tokenizer)?,
        };
        let generation = match optional(files, "generation_config.json")? {
            Some(generation) => generation,
            None => parse(files, "config.json", generation_fields(&raw))?,
        };
        if family == Family::Florence {
            as_one_decoder(&mut raw);
        }
        let joint: JointConfig = optional(files, "processor_config.json")?.unwrap_or_default();
        let processor = match optional(files, PREPROCESSOR)? {
            Some(processor) => processor,
            None if joint.image_processor.is_object() => {
                parse(files, "processor_config.json", joint.image_processor.clone())?
            }
            None => required(files, PREPROCESSOR)?,
        };
        Ok(HubConfig {
            family,
            model: parse(files, "config.json", raw)?,
            processor,
            joint,
            generation,
            tokenizer,
            template,
        })
    }

    /// The `model_type` of `config.json`.
    pub(crate) fn model_type(&self) -> &str {
        &self.model.model_type
    }

    /// Image tokens of one picture.
    pub(crate) fn image_tokens(&self) -> usize {
        let vision = &self.model.vision_config;
        let stated = self.joint.image_seq_len.or(self.processor.image_seq_len);
        let patch = self.joint.patch_size.unwrap_or(vision.patch_size).max(1);
        let patches = (vision.image_size / patch).saturating_pow(2);
        match self.family {
            Family::SmolVlm => stated.unwrap_or(patches / self.model.scale_factor.max(1).saturating_pow(2)),
            Family::Llava => {
                let strategy = self.joint.vision_feature_select_strategy.as_ref();
                let strategy = strategy.or(self.model.vision_feature_select_strategy.as_ref());
                // SigLIP has no class token. By default, the first feature is dropped.
                let class_token = usize::from(!vision.model_type.contains("siglip"));
                let all = patches.saturating_add(self.joint.num_additional_image_tokens.unwrap_or(class_token));
                all.saturating_sub(usize::from(strategy.is_none_or(|s| s == "default")))
            }
            Family::Florence => stated.or(self.model.num_image_tokens).unwrap_or(FLORENCE_FEATURES),
        }
    }

    /// The token that a decoder behind an encoder reads first.
    pub(crate) fn decoder_start(&self) -> Option<i64> {
        self.generation.decoder_start_token_id.or(self.model.text_config.decoder_start_token_id)
    }
}

/// How old exporters configure generation: among the fields of the language model, or of the whole model before them.
fn generation_fields(config: &Value) -> Value {
    let fields = |value: &Value| value.as_object().cloned().unwrap_or_default();
    let mut all = fields(&config["text_config"]);
    all.extend(fields(config).into_iter().filter(|(_, value)| !value.is_null()));
    Value::Object(all)
}

/// Gives the sizes of BART's decoder the names that other language models have, and leaves out those of DaViT, which
/// has a list of them where other image towers have one.
fn as_one_decoder(config: &mut Value) {
    let Some(config) = config.as_object_mut() else { return };
    config.remove("vision_config");
    let Some(text) = config.get_mut("text_config").and_then(Value::as_object_mut) else { return };
    for (bart, name) in [
        ("d_model", "hidden_size"),
        ("decoder_layers", "num_hidden_layers"),
        ("decoder_attention_heads", "num_attention_heads"),
    ] {
        if let Some(value) = text.get(bart).cloned() {
            text.insert(name.into(), value);
        }
    }
}

/// The template of `chat_template.jinja`, `chat_template.json` or `tokenizer_config.json`, in this order.
fn chat_template(files: &JsonFolder<'_>, tokenizer: &TokenizerConfig) -> Result<String> {
    if let Some(text) = read_text(files, "chat_template.jinja")? {
        return Ok(text);
    }
    let own: Option<Value> = optional(files, "chat_template.json")?;
    let templates = own.map_or(tokenizer.chat_template.clone(), |own| own["chat_template"].clone());
    // A text, or a list of named templates.
    let named = |name: &str| templates.as_array()?.iter().find(|t| t["name"] == name)?["template"].as_str();
    templates.as_str().or_else(|| named("default")).map(str::to_string).ok_or_else(|| {
        Error::model(
            files.dir().display().to_string(),
            "it has no chat template",
            "Download chat_template.jinja or tokenizer_config.json of the model.",
        )
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;

    /// Image tokens of the small LLaVA with other fields in its configuration files.
    fn tokens(config: &Value, joint: &Value) -> usize {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/llava");
        let dir = tempfile::tempdir().unwrap();
        let names = ["config.json", "processor_config.json", "preprocessor_config.json", "chat_template.jinja"];
        for (name, fields) in names.into_iter().zip([config, joint, &Value::Null, &Value::Null]) {
            let text = std::fs::read_to_string(source.join(name)).unwrap();
            let text = match fields.as_object() {
                Some(fields) => {
                    let mut all: serde_json::Map<String, Value> = serde_json::from_str(&text).unwrap();
                    all.extend(fields.clone());
                    json!(all).to_string()
                }
                None => text,
            };
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        HubConfig::read(&JsonFolder::Unlisted(dir.path())).unwrap().image_tokens()
    }

    #[test]
    fn features_of_llava_are_counted_as_its_processor_counts_them() {
        let none = json!({});
        let plain = json!({ "num_additional_image_tokens": null, "vision_feature_select_strategy": null });
        assert_eq!(tokens(&none, &none), 16, "CLIP without its class token");
        assert_eq!(tokens(&none, &plain), 16, "an older processor");
        assert_eq!(tokens(&none, &json!({ "vision_feature_select_strategy": "full" })), 17, "CLIP with it");
        let siglip = json!({ "vision_config": { "model_type": "siglip_vision_model", "image_size": 32, "patch_size": 8 },
            "vision_feature_select_strategy": "full" });
        assert_eq!(tokens(&siglip, &plain), 16, "SigLIP has none");
    }
}
