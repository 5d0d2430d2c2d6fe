//! Sizes that no model has are refused before anything is allocated for them: a folder may be someone else's.

use super::config::HubConfig;
use super::json_files::JsonFolder;
use crate::error::{Error, Result};
use crate::model::manifest::{MAX_BEAM, MAX_LAYERS, MAX_LENGTH, MAX_VOCAB, MAX_WIDTH, within};

/// Reads the configuration files and checks their sizes.
///
/// # Errors
/// As [`HubConfig::read`], and if a size is one that no model has.
pub(super) fn read_checked(files: &JsonFolder<'_>) -> Result<HubConfig> {
    let config = HubConfig::read(files)?;
    check_sizes(&config).map_err(|cause| {
        let cause = format!("its configuration is impossible: {cause}");
        Error::model(files.dir().display().to_string(), cause, "Download the model's files again.")
    })?;
    Ok(config)
}

/// Checks what the configuration files say; the error is the cause.
fn check_sizes(config: &HubConfig) -> Result<(), String> {
    let (text, generation) = (&config.model.text_config, &config.generation);
    within("hidden_size", text.hidden_size, MAX_WIDTH)?;
    within("num_hidden_layers", text.num_hidden_layers, MAX_LAYERS)?;
    within("num_attention_heads", text.num_attention_heads, MAX_LAYERS)?;
    within("num_key_value_heads", text.key_value_heads(), MAX_LAYERS)?;
    within("head_dim", text.head_dim(), MAX_LENGTH)?;
    within("vocab_size", text.vocab_size, MAX_VOCAB)?;
    within("max_position_embeddings", text.max_position_embeddings, MAX_VOCAB)?;
    within("num_beams", generation.num_beams.unwrap_or(1), MAX_BEAM)?;
    within("max_new_tokens", generation.max_new_tokens.unwrap_or(1), MAX_LENGTH)?;
    within("the number of a picture's tokens", config.image_tokens(), MAX_LENGTH)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::model::hub::HubFolder;

    #[test]
    fn sizes_that_no_model_has_are_refused() {
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/hub");
        for (file, from, to, name) in [
            (
                "config.json",
                "\"num_hidden_layers\": 2",
                "\"num_hidden_layers\": 18446744073709551615",
                "num_hidden_layers",
            ),
            ("config.json", "\"num_attention_heads\": 4", "\"num_attention_heads\": 0", "num_attention_heads"),
            ("processor_config.json", "\"image_seq_len\": 4", "\"image_seq_len\": 99999999999", "a picture's tokens"),
            ("generation_config.json", "{", "{ \"num_beams\": 65,", "num_beams"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            std::fs::create_dir(dir.path().join("onnx")).unwrap();
            for sub in ["", "onnx"] {
                for entry in std::fs::read_dir(model.join(sub)).unwrap().map(|entry| entry.unwrap().path()) {
                    if entry.is_file() {
                        std::fs::copy(&entry, dir.path().join(sub).join(entry.file_name().unwrap())).unwrap();
                    }
                }
            }
            assert!(HubFolder::open(dir.path(), None).is_ok());
            let text = std::fs::read_to_string(dir.path().join(file)).unwrap();
            assert!(text.contains(from), "{text}");
            std::fs::write(dir.path().join(file), text.replacen(from, to, 1)).unwrap();
            let error = HubFolder::open(dir.path(), None).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }
}
