//! Models in the hub's layout, against what PyTorch generates with the same weights (`tools/hub_goldens.py`): token for
//! token, for any batch and any number of threads. And the folders that descry refuses.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use descry::error::Error;
use descry::media::{PictureOptions, open_picture};
use descry::model::{
    Caption, CaptionInput, CaptionOptions, CaptionPrompt, Captions, Encoded, HubCaptioner, HubFolder, Precision,
    PromptOptions, SessionOptions,
};
use serde_json::{Value, json};

use crate::common::{Bench, root};
use crate::inference::one_thread;

const FOLDER: &str = "tests/models/hub";

pub(crate) fn ok<T>(result: Result<T, Error>) -> T {
    result.unwrap_or_else(|e| panic!("{e}"))
}

fn cases() -> Vec<Value> {
    cases_in("hub.json")
}

/// What `transformers` generates, in a file of tests/goldens.
pub(crate) fn cases_in(file: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(root().join("tests/goldens").join(file)).unwrap();
    let cases: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert!(cases.len() >= 2, "{file} holds {} cases", cases.len());
    cases
}

pub(crate) fn picture(name: &str) -> PathBuf {
    root().join("tests/goldens/hub").join(name)
}

/// A copy of a model's folder.
pub(crate) fn copy(folder: &str, to: &Path) {
    for sub in ["", "onnx"] {
        std::fs::create_dir_all(to.join(sub)).unwrap();
        for entry in std::fs::read_dir(root().join(folder).join(sub)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                std::fs::copy(&path, to.join(sub).join(path.file_name().unwrap())).unwrap();
            }
        }
    }
}

/// A copy of the model's folder in which a JSON file has other fields.
fn edited(file: &str, fields: &Value) -> tempfile::TempDir {
    edited_copy(FOLDER, file, fields)
}

/// The same of another model's folder.
pub(crate) fn edited_copy(folder: &str, file: &str, fields: &Value) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    copy(folder, dir.path());
    let path = dir.path().join(file);
    let mut all: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    for (key, value) in fields.as_object().unwrap() {
        all[key] = value.clone();
    }
    std::fs::write(path, all.to_string()).unwrap();
    dir
}

/// The groups of pictures of a case.
fn inputs(case: &Value) -> Vec<CaptionInput> {
    let names: Vec<&str> = case["pictures"].as_array().unwrap().iter().map(|n| n.as_str().unwrap()).collect();
    let rgb = |name: &&str| Arc::new(ok(open_picture(&picture(name), &PictureOptions::default())));
    let frames = case["frames"].as_u64().unwrap() as usize;
    let encoded = Encoded { embedding: vec![1.0], grid: None };
    let input = |group: &[&str]| CaptionInput {
        encoded: encoded.clone(),
        pictures: group.iter().map(rgb).collect(),
        prompt: None,
    };
    names.chunks(frames).map(input).collect()
}

fn captioner(precision: Precision, dir: &Path, case: &Value, batch: usize, session: SessionOptions) -> HubCaptioner {
    let beams = case["beams"].as_u64().unwrap() as usize;
    let options = CaptionOptions {
        beam: Some(beams),
        max_tokens: Some(case["max_tokens"].as_u64().unwrap() as usize),
        batch,
        split_pictures: true,
        session,
        ..CaptionOptions::default()
    };
    let text = case["prompt"].as_str().unwrap().into();
    let prompt = PromptOptions { text, ..PromptOptions::default() };
    ok(HubCaptioner::new(&ok(HubFolder::open(dir, Some(precision))), prompt, &options))
}

/// Captions of a case's pictures.
pub(crate) fn captions(dir: &Path, case: &Value, batch: usize, threads: usize) -> Vec<Caption> {
    captions_in(Precision::Fp32, dir, case, batch, threads)
}

fn captions_in(precision: Precision, dir: &Path, case: &Value, batch: usize, threads: usize) -> Vec<Caption> {
    let session = SessionOptions { threads, ..SessionOptions::default() };
    captions_with(session, precision, dir, case, batch)
}

fn captions_with(
    session: SessionOptions,
    precision: Precision,
    dir: &Path,
    case: &Value,
    batch: usize,
) -> Vec<Caption> {
    ok(captioner(precision, dir, case, batch, session).caption(&inputs(case).iter().collect::<Vec<_>>()))
}

#[test]
fn captions_are_those_of_pytorch() {
    check_cases(FOLDER, &cases());
}

/// Compares captions with those of the cases, token for token.
pub(crate) fn check_cases(folder: &str, cases: &[Value]) {
    for case in cases {
        let dir = edited_copy(folder, "generation_config.json", &case["generation"]);
        let got = captions(dir.path(), case, 16, 1);
        let (ids, texts) = (case["ids"].as_array().unwrap(), case["text"].as_array().unwrap());
        assert_eq!((got.len(), got.len()), (ids.len(), texts.len()));
        assert!(!got.is_empty(), "a case without pictures: {case}");
        for ((got, ids), text) in got.iter().zip(ids).zip(texts) {
            assert_eq!(json!(got.ids), *ids, "{case}");
            assert_eq!(got.text, text.as_str().unwrap().trim(), "{case}");
        }
    }
}

#[test]
fn batches_and_threads_change_nothing() {
    check_batches(FOLDER, &cases());
}

/// Compares captions in batches and with threads with those of single pictures.
pub(crate) fn check_batches(folder: &str, cases: &[Value]) {
    let plain: Vec<&Value> = cases.iter().filter(|c| c["generation"] == json!({})).collect();
    assert!(plain.len() >= 5, "only {} cases without rules of their own", plain.len());
    for case in plain {
        let one = captions(&root().join(folder), case, 1, 1);
        for (batch, threads) in [(2, 1), (3, 2), (16, 2)] {
            assert_eq!(captions(&root().join(folder), case, batch, threads), one, "batch {batch}, {threads} threads");
        }
    }
}

/// On a device with memory of its own, keys stay there between steps, and a graph gathers those of the rows that go on:
/// of beams, and of pictures that are not finished. Bound on the CPU, they give the same captions to the last bit.
#[test]
fn bound_keys_give_the_same_captions() {
    check_bound(FOLDER, &cases());
}

/// Compares captions whose keys are bound with those whose keys the host moves.
pub(crate) fn check_bound(folder: &str, cases: &[Value]) {
    let (mut beams, mut lengths) = (BTreeSet::new(), BTreeSet::new());
    for case in cases {
        let dir = edited_copy(folder, "generation_config.json", &case["generation"]);
        for batch in [1, 16] {
            let session = |bind_keys| SessionOptions { bind_keys, ..one_thread() };
            let got = |bind_keys| captions_with(session(bind_keys), Precision::Fp32, dir.path(), case, batch);
            let want = got(false);
            assert_eq!(got(true), want, "batch {batch}, {case}");
            lengths.extend(want.iter().map(|caption| caption.ids.len()));
        }
        beams.insert(case["beams"].as_u64());
    }
    assert!(beams.len() > 1 && lengths.len() > 1, "{beams:?} beams, {lengths:?} tokens");
}

/// The processors of most published folders split pictures.
#[test]
fn pictures_are_split_into_tiles_where_the_processor_says_so() {
    let dir = edited("preprocessor_config.json", &json!({ "do_image_splitting": true }));
    for case in cases_in("hub_split.json") {
        for (batch, threads) in [(1, 1), (16, 2)] {
            let got = captions(dir.path(), &case, batch, threads);
            let ids: Vec<_> = got.iter().map(|caption| &caption.ids).collect();
            assert_eq!(json!(ids), case["ids"], "batch {batch}, {threads} threads");
        }
    }
}

/// ONNX Runtime scales the integers of a batch by all its values. The goldens are those of one picture at a time.
#[test]
fn integers_do_not_depend_on_the_batch() {
    for case in cases_in("hub_uint8.json") {
        for (batch, threads) in [(1, 1), (2, 2), (3, 1), (16, 2)] {
            let got = captions_in(Precision::Uint8, &root().join(FOLDER), &case, batch, threads);
            let ids: Vec<_> = got.iter().map(|caption| &caption.ids).collect();
            assert_eq!(json!(ids), case["ids"], "batch {batch}, {threads} threads");
        }
    }
}

/// Pictures may have prompts of their own; those with equal ones share a batch.
#[test]
fn prompts_of_pictures_change_nothing_about_their_neighbours() {
    let asked = |text: &str, earlier: &[&str]| {
        let options = Arc::new(PromptOptions { text: text.into(), ..PromptOptions::default() });
        Some(Arc::new(CaptionPrompt { options, earlier: earlier.iter().map(|&text| text.into()).collect() }))
    };
    let case = &cases()[0];
    let mut inputs = inputs(case);
    for (input, prompt) in inputs.iter_mut().zip([
        None,
        asked("What?", &[]),
        asked("What?", &["A cat."]),
        None,
        asked("What?", &[]),
        asked("Who?", &["A cat.", "A dog."]),
    ]) {
        input.prompt = prompt;
    }
    let mut captioner = captioner(Precision::Fp32, &root().join(FOLDER), case, 16, one_thread());
    let together = ok(captioner.caption(&inputs.iter().collect::<Vec<_>>()));
    for (input, caption) in inputs.iter().zip(&together) {
        assert_eq!(&ok(captioner.caption(&[input])), std::slice::from_ref(caption));
    }
    assert_eq!(json!(together[0].ids), case["ids"][0]);
    assert_ne!(json!(together[1].ids), case["ids"][1]);
}

#[test]
fn the_oldest_descriptions_go_where_the_model_has_no_room_for_them() {
    let config = std::fs::read_to_string(root().join(FOLDER).join("config.json")).unwrap();
    let mut text: Value = serde_json::from_str::<Value>(&config).unwrap()["text_config"].clone();
    text["max_position_embeddings"] = json!(160);
    let small = edited("config.json", &json!({ "text_config": text }));
    let case = &cases()[0];
    let mut input = inputs(case).remove(0);
    let options = Arc::new(PromptOptions::default());
    let mut caption = |dir: &Path, earlier: &[&str]| {
        let earlier = earlier.iter().map(|&text| text.into()).collect();
        input.prompt = Some(Arc::new(CaptionPrompt { options: options.clone(), earlier }));
        captioner(Precision::Fp32, dir, case, 1, one_thread())
            .caption(&[&input])
            .map(|captions| captions[0].ids.clone())
    };
    let long = "A long description of what was there before all of this and is of no use now.";
    let fits = ok(caption(small.path(), &["A cat."]));
    assert_eq!(ok(caption(small.path(), &[long, long, "A cat."])), fits);
    assert_ne!(ok(caption(&root().join(FOLDER), &[long, long, "A cat."])), fits);
    text["max_position_embeddings"] = json!(40);
    let none = edited("config.json", &json!({ "text_config": text }));
    let e = caption(none.path(), &["A cat."]).unwrap_err().to_string();
    assert!(e.contains("the model has room for 40"), "{e}");
}

#[test]
fn a_film_is_described_and_the_embedder_recognises_repetitions() {
    let b = Bench::new();
    let folder = root().join(FOLDER).display().to_string();
    let tiny = root().join("tests/models/tiny").display().to_string();
    // Two shots, each twice.
    b.ffmpeg("-f lavfi -i testsrc=d=3:s=160x120:r=25 -pix_fmt yuv420p a.mp4");
    b.ffmpeg("-f lavfi -i mandelbrot=s=160x120:r=25 -t 3 -pix_fmt yuv420p b.mp4");
    b.write("list.txt", b"file a.mp4\nfile b.mp4\nfile a.mp4\nfile b.mp4\n");
    b.ffmpeg("-f concat -i list.txt -c copy film.mp4");
    let args = [
        "describe",
        "film.mp4",
        "--model",
        &folder,
        "--embedder",
        &tiny,
        "--max-tokens",
        "12",
        "--prompt",
        "What?",
        "--language",
        "French",
    ];
    b.run(&[&args[..], &["-o", "film.json", "-f", "json", "--stats"]].concat(), 0);
    let track: Value = serde_json::from_str(&b.read("film.json")).unwrap();
    let text =
        |track: &Value| track["scenes"].as_array().unwrap().iter().map(|s| s["text"].clone()).collect::<Vec<_>>();
    // Several frames a scene make another prompt; threads and batches change nothing about it.
    let mut several = Vec::new();
    for (name, more) in [("a", &["--batch", "1"][..]), ("b", &["--batch", "5", "--model-threads", "2"])] {
        let out = format!("{name}.json");
        b.run(&[&args[..], &["--frames", "3", "-f", "json", "-o", &out], more].concat(), 0);
        several.push(serde_json::from_str::<Value>(&b.read(&out)).unwrap());
    }
    assert_eq!(text(&several[0]), text(&several[1]));
    assert_ne!(text(&several[0]), text(&track));
    assert_eq!(several[0]["options"]["decoding"]["frames"], 3);
    assert!(!track["cues"].as_array().unwrap().is_empty(), "{track}");
    assert!(track["model"].as_str().unwrap().starts_with("hub fp32"), "{track}");
    assert_eq!(track["options"]["decoding"]["prompt"], json!({ "text": "What?", "language": "French", "notes": null }));
}

/// A model that reads pictures itself needs an embedder beside it only where its embeddings are asked for.
#[test]
fn a_caption_needs_no_embedding() {
    let b = Bench::new();
    b.ffmpeg("-f lavfi -i testsrc2=size=64x48:rate=1 -frames:v 3 picture%d.png");
    let folder = root().join(FOLDER).display().to_string();
    let tiny = root().join("tests/models/tiny").display().to_string();
    let run = |more: &[&str]| {
        let args = ["caption", ".", "--model", &folder, "--embedder", &tiny, "--max-tokens", "8", "--json", "--stats"];
        let (out, err) = b.run(&[&args[..], more].concat(), 0);
        let rows: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let stats = err.lines().rfind(|line| line.starts_with('{')).unwrap_or_else(|| panic!("{err}"));
        (rows, serde_json::from_str::<Value>(stats).unwrap()["encoded"].clone())
    };
    let (bare, encoded) = run(&[]);
    assert_eq!((bare.len(), encoded), (3, json!(0)));
    let (mut rows, encoded) = run(&["--embedding"]);
    assert_eq!(encoded, json!(3));
    for row in &mut rows {
        let embedding = row.as_object_mut().unwrap().remove("embedding").unwrap();
        assert!(embedding.as_array().is_some_and(|values| !values.is_empty()), "{embedding}");
    }
    assert_eq!(rows, bare);
}

#[test]
fn a_folder_that_descry_cannot_run_is_refused() {
    let b = Bench::new();
    let refusal = |dir: &Path| {
        let dir = dir.display().to_string();
        let picture = picture("grey.png").display().to_string();
        b.run(&["caption", &picture, "--model", &dir], 2).1
    };
    let other = edited("config.json", &json!({ "model_type": "paligemma" }));
    let text = refusal(other.path());
    assert!(text.contains("\"paligemma\"") && text.contains("smolvlm"), "{text}");
    let missing = edited("config.json", &json!({}));
    for variant in ["", "_uint8"] {
        std::fs::remove_file(missing.path().join(format!("onnx/embed_tokens{variant}.onnx"))).unwrap();
    }
    let text = refusal(missing.path());
    assert!(text.contains("onnx/embed_tokens.onnx is missing"), "{text}");
    let whole: Value =
        serde_json::from_str(&std::fs::read_to_string(root().join(FOLDER).join("config.json")).unwrap()).unwrap();
    let mut text_config = whole["text_config"].clone();
    text_config["num_hidden_layers"] = json!(1);
    let layers = edited("config.json", &json!({ "text_config": text_config }));
    let text = refusal(layers.path());
    assert!(text.contains("2 layers"), "{text}");
    let broken = edited("config.json", &json!({}));
    std::fs::write(broken.path().join("onnx/vision_encoder.onnx"), "no graph").unwrap();
    let text = refusal(broken.path());
    assert!(text.contains("vision_encoder.onnx is not a graph"), "{text}");
    let token = edited("config.json", &json!({ "image_token_id": 1 }));
    assert!(refusal(token.path()).contains("<image>"));
    let template = edited("tokenizer_config.json", &json!({}));
    std::fs::write(template.path().join("chat_template.jinja"), "{% for %}").unwrap();
    assert!(refusal(template.path()).contains("chat template"));
    let size = edited("preprocessor_config.json", &json!({ "size": { "depth": 3 } }));
    assert!(refusal(size.path()).contains("preprocessor_config.json"));
}

/// Each step of these doubles a text, so that a few dozen steps make gigabytes.
#[test]
#[cfg(target_os = "linux")]
fn a_chat_template_cannot_fill_the_memory() {
    let b = Bench::new();
    let model = edited("config.json", &json!({}));
    let (dir, picture) = (model.path().display().to_string(), picture("grey.png").display().to_string());
    // Everything behind the hostile part is the model's own template, which makes a prompt of it.
    let own = std::fs::read_to_string(root().join(FOLDER).join("chat_template.jinja")).unwrap();
    let doubled = "{% set n = namespace(s='x') %}{% for i in range(30) %}{% set n.s = n.s ~ n.s %}{% endfor %}";
    let captured = "{% set s %}{% for i in range(8000) %}{{ 'x' * 100000 }}{% endfor %}{% endset %}";
    let replaced = "{% set s = ('x' * 30000)|replace('x', 'y' * 30000) %}";
    for hostile in [doubled, captured, replaced] {
        std::fs::write(model.path().join("chat_template.jinja"), format!("{hostile}{own}")).unwrap();
        let text = b.run(&["caption", &picture, "--model", &dir], 2).1;
        assert!(text.contains("chat template takes more than 256 MB of memory"), "{hostile}: {text}");
    }
    std::fs::write(model.path().join("chat_template.jinja"), format!("{}{own}", doubled.replace("30", "20"))).unwrap();
    b.run(&["caption", &picture, "--model", &dir], 0);
}

#[test]
fn options_that_do_not_suit_the_model_are_refused() {
    let b = Bench::new();
    let (folder, picture) = (root().join(FOLDER).display().to_string(), picture("grey.png").display().to_string());
    let tiny = root().join("tests/models/tiny").display().to_string();
    for (model, args, words) in [
        (&folder, &["--sample", "1"][..], "--sample"),
        (&folder, &["--beam", "65"], "--beam 65"),
        (&folder, &["--max-tokens", "0"], "--max-tokens 0"),
        (&folder, &["--precision", "q4"], "onnx/vision_encoder_q4.onnx is missing"),
        (&folder, &["--prompt", " "], "the prompt is empty"),
        (&folder, &["--prompt-file", "none.txt"], "none.txt"),
        (&tiny, &["--prompt", "x"], "--prompt"),
        (&tiny, &["--language", "French"], "--prompt"),
        (&tiny, &["--precision", "fp32"], "--precision"),
    ] {
        let out = b.descry(&[&["caption", &picture, "--model", model], args].concat());
        let text = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(matches!(out.status.code(), Some(1 | 2)) && text.contains(words), "{args:?}: {text}");
    }
}

#[test]
fn a_prompt_cannot_place_pictures() {
    let case = json!({ "pictures": ["grey.png"], "frames": 1, "prompt": "a <image> b", "beams": 1, "max_tokens": 4 });
    assert_eq!(captions(&root().join(FOLDER), &case, 1, 1).len(), 1);
}
