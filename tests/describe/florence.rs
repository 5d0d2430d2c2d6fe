//! Florence-2 in the hub's layout, against what PyTorch generates with the same weights (`tools/hub_goldens.py`): tasks as
//! prompts, forced tokens, batches. Older configurations of it, and what descry refuses.

use std::path::Path;

use serde_json::{Value, json};

use crate::common::{Bench, root};
use crate::hub::{captions, cases_in, check_batches, check_bound, check_cases, edited_copy, picture};

const FOLDER: &str = "tests/models/florence";

fn json_of(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn edited(file: &str, fields: &Value) -> tempfile::TempDir {
    edited_copy(FOLDER, file, fields)
}

#[test]
fn captions_are_those_of_pytorch() {
    check_cases(FOLDER, &cases_in("florence.json"));
}

#[test]
fn batches_and_threads_change_nothing() {
    check_batches(FOLDER, &cases_in("florence.json"));
}

/// The keys and the result of the encoder are bound, too.
#[test]
fn bound_keys_give_the_same_captions() {
    check_bound(FOLDER, &cases_in("florence.json"));
}

/// Published folders have the configuration of the code that came with the first weights: no image token, the sizes and the
/// rules of generation among the language model's fields, and the encoder's layers by the general name.
#[test]
fn a_configuration_of_the_first_release_gives_the_same_captions() {
    let case = &cases_in("florence.json")[1];
    let want = captions(&root().join(FOLDER), case, 16, 1);
    let dir = edited("preprocessor_config.json", &json!({ "image_seq_length": null }));
    let path = dir.path().join("config.json");
    let (mut config, generation) = (json_of(&path), json_of(&dir.path().join("generation_config.json")));
    config.as_object_mut().unwrap().remove("image_token_id");
    config["num_image_tokens"] = json!(10);
    config["forced_bos_token_id"] = Value::Null;
    let text = config["text_config"].as_object_mut().unwrap();
    text.extend(generation.as_object().unwrap().clone());
    text.extend(json!({ "model_type": "florence2_language", "num_hidden_layers": 1 }).as_object().unwrap().clone());
    std::fs::write(&path, config.to_string()).unwrap();
    std::fs::remove_file(dir.path().join("generation_config.json")).unwrap();
    assert_eq!(captions(dir.path(), case, 16, 1), want);
}

/// `transformers` 5 writes the processor's configuration into one file.
#[test]
fn a_configuration_of_one_processor_file_gives_the_same_captions() {
    let case = &cases_in("florence.json")[1];
    let want = captions(&root().join(FOLDER), case, 16, 1);
    let dir = edited("config.json", &json!({}));
    let old = dir.path().join("preprocessor_config.json");
    let joint = json!({ "image_processor": json_of(&old), "processor_class": "Florence2Processor" });
    std::fs::write(dir.path().join("processor_config.json"), joint.to_string()).unwrap();
    std::fs::remove_file(old).unwrap();
    assert_eq!(captions(dir.path(), case, 16, 1), want);
}

#[test]
fn the_caption_task_is_the_default_and_is_recorded() {
    let b = Bench::new();
    let folder = root().join(FOLDER).display().to_string();
    let tiny = root().join("tests/models/tiny").display().to_string();
    let picture = picture("landscape.png").display().to_string();
    let ids = |more: &[&str]| {
        let args = [&["caption", &picture, "--model", &folder, "--max-tokens", "12", "--json"][..], more].concat();
        let line: Value = serde_json::from_str(&b.run(&args, 0).0).unwrap();
        line["ids"].clone()
    };
    let default = ids(&[]);
    assert_eq!(ids(&["--prompt", "<CAPTION>"]), default);
    assert_eq!(ids(&["--prompt", "What does the image describe?"]), default);
    assert_ne!(ids(&["--prompt", "<DETAILED_CAPTION>"]), default);
    assert_eq!(ids(&["--beam", "3"]), default, "the beams of generation_config.json");
    b.ffmpeg("-f lavfi -i testsrc=d=3:s=160x120:r=25 -pix_fmt yuv420p film.mp4");
    let film = ["describe", "film.mp4", "--model", &folder, "--embedder", &tiny, "-f", "json", "-o", "film.json"];
    b.run(&[&film[..], &["--prompt", "<DETAILED_CAPTION>", "--max-tokens", "12"]].concat(), 0);
    let track: Value = serde_json::from_str(&b.read("film.json")).unwrap();
    let decoding = &track["options"]["decoding"];
    assert_eq!(decoding["prompt"], "Describe in detail what is shown in the image.");
    assert_eq!((&decoding["beam"], &decoding["strategy"]), (&json!(3), &json!("beam")));
    let shown = b.run(&["model", "show", &folder], 0).0;
    assert!(shown.contains("<MORE_DETAILED_CAPTION>") && shown.contains("encoder_model.onnx"), "{shown}");
}

#[test]
fn prompts_and_folders_that_do_not_suit_are_refused() {
    let b = Bench::new();
    b.write("notes.txt", b"Ann is the cook.");
    b.write("film.mp4", b"");
    let picture = picture("grey.png").display().to_string();
    let refusal = |dir: &Path, command: &str, more: &[&str]| {
        let dir = dir.display().to_string();
        let input = if command == "caption" { picture.as_str() } else { "film.mp4" };
        b.run(&[&[command, input, "--model", &dir][..], more].concat(), 2).1
    };
    for (command, more, words) in [
        ("caption", &["--prompt", "What is new?"][..], "\"What is new?\" is not a task"),
        ("caption", &["--prompt", "<CAPTOIN>"], "Set --prompt to one of <CAPTION>,"),
        ("caption", &["--prompt", "<OD>"], "<OD> answers with places"),
        ("caption", &["--language", "French"], "a language or notes cannot be added"),
        ("caption", &["--notes", "notes.txt"], "a language or notes cannot be added"),
        ("caption", &["--max-tokens", "97"], "from 1 to 96 tokens"),
        ("describe", &["--frames", "2"], "--frames 2 is out of range"),
    ] {
        let text = refusal(&root().join(FOLDER), command, more);
        assert!(text.contains(words), "{more:?}: {text}");
    }
    let missing = edited("config.json", &json!({}));
    std::fs::remove_file(missing.path().join("onnx/encoder_model.onnx")).unwrap();
    let text = refusal(missing.path(), "caption", &[]);
    assert!(text.contains("onnx/encoder_model.onnx is missing") && text.contains("decoder_model_merged"), "{text}");
    let (config, tokenizer) = (root().join(FOLDER).join("config.json"), "tokenizer_config.json");
    let mut text_config = json_of(&config)["text_config"].clone();
    text_config["decoder_layers"] = json!(1);
    let layers = edited("config.json", &json!({ "text_config": text_config }));
    assert!(refusal(layers.path(), "caption", &[]).contains("2 layers, and config.json 1"));
    let token = edited(tokenizer, &json!({ "eos_token": "<end>" }));
    assert!(refusal(token.path(), "caption", &[]).contains("eos_token is \"<end>\""));
    let tokens = edited("preprocessor_config.json", &json!({ "image_seq_length": 11 }));
    let tokens = tokens.path().display().to_string();
    let text = b.run(&["caption", &picture, "--model", &tokens], 2).1;
    assert!(text.contains("vision_encoder.onnx"), "{text}");
}
