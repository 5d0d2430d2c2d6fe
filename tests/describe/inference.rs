//! The tiny model from end to end, against a PyTorch loop with the same weights (`tools/tiny_model.py`).
//!
//! The tests need the ONNX Runtime library. Without it, each fails with the message that a user would get.

use std::path::{Path, PathBuf};

use descry::error::Error;
use descry::media::Rgb;
use descry::model::{
    Caption, CaptionInput, CaptionOptions, Captioner, Captions, Device, Encode, EncodeOptions, Encoded, ImageEncoder,
    ModelFolder, Pixels, Runtime, SessionOptions, Strategy, TextEncoder, preprocess,
};
use serde_json::Value;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Panics with the error's message, not with its Rust structure.
pub(crate) fn ok<T>(result: Result<T, Error>) -> T {
    result.unwrap_or_else(|e| panic!("{e}"))
}

pub(crate) fn tiny() -> ModelFolder {
    ok(ModelFolder::open(root().join("tests/models/tiny")))
}

fn goldens() -> Value {
    let text = std::fs::read_to_string(root().join("tests/goldens/tiny.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The picture that `tools/tiny_model.py` makes from the same seed.
fn picture(seed: u32) -> Rgb {
    let mut state = seed.wrapping_mul(747_796_405).wrapping_add(1);
    let tint = [seed * 37 % 256, seed * 91 % 256, seed * 151 % 256];
    let data = (0..32 * 32 * 3)
        .map(|n| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (((state >> 24) + 3 * tint[n % 3]) / 4) as u8
        })
        .collect();
    Rgb { width: 32, height: 32, data }
}

pub(crate) fn pixels(folder: &ModelFolder, seeds: impl Iterator<Item = u32>) -> Vec<Pixels> {
    seeds.map(|seed| preprocess(&picture(seed), &folder.manifest().image)).collect()
}

pub(crate) fn encode(folder: &ModelFolder, pixels: &[Pixels], batch: usize, threads: usize) -> Vec<Encoded> {
    encode_side_by_side(folder, pixels, batch, threads, 1)
}

fn encode_side_by_side(
    folder: &ModelFolder,
    pixels: &[Pixels],
    batch: usize,
    threads: usize,
    sessions: usize,
) -> Vec<Encoded> {
    let session = SessionOptions { threads, ..SessionOptions::default() };
    let mut encoder = ok(ImageEncoder::new(folder, &EncodeOptions { batch, sessions, session }));
    ok(encoder.encode(pixels))
}

pub(crate) fn caption(folder: &ModelFolder, encoded: &[Encoded], options: &CaptionOptions) -> Vec<Caption> {
    let mut captioner = ok(Captioner::new(folder, options));
    let inputs: Vec<CaptionInput> =
        encoded.iter().map(|e| CaptionInput { encoded: e.clone(), pictures: Vec::new(), prompt: None }).collect();
    ok(captioner.caption(&inputs.iter().collect::<Vec<_>>()))
}

pub(crate) fn one_thread() -> SessionOptions {
    SessionOptions { threads: 1, ..SessionOptions::default() }
}

pub(crate) fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect()
}

#[test]
fn embeddings_match_pytorch() {
    let (folder, goldens) = (tiny(), goldens());
    let cases = goldens["pictures"].as_array().unwrap();
    let pixels = pixels(&folder, cases.iter().map(|c| c["seed"].as_u64().unwrap() as u32));
    for (case, found) in cases.iter().zip(encode(&folder, &pixels, 8, 1)) {
        for (want, have) in numbers(&case["embedding"]).iter().zip(&found.embedding) {
            assert!((want - have).abs() < 2e-5 * want.abs().max(1.0), "{want} {have}");
        }
        assert_eq!(found.grid.unwrap().len(), 16 * 24);
    }
}

#[test]
fn captions_match_pytorch() {
    let (folder, goldens) = (tiny(), goldens());
    let cases = goldens["pictures"].as_array().unwrap();
    let pixels = pixels(&folder, cases.iter().map(|c| c["seed"].as_u64().unwrap() as u32));
    let encoded = encode(&folder, &pixels, 8, 1);
    let plain = || CaptionOptions { session: one_thread(), ..CaptionOptions::default() };
    let settings = [
        ("beam 1", CaptionOptions { beam: Some(1), ..plain() }),
        ("beam 3", CaptionOptions { beam: Some(3), ..plain() }),
        ("beam 5", plain()),
        ("beam 10", CaptionOptions { beam: Some(10), ..plain() }),
        ("beam 5 warm", CaptionOptions { temperature: Some(0.7), ..plain() }),
        ("greedy", CaptionOptions { greedy: true, ..plain() }),
    ];
    let mut stops = 0;
    for (name, options) in settings {
        for (case, found) in cases.iter().zip(caption(&folder, &encoded, &options)) {
            let ids: Vec<i64> = case[name]["ids"].as_array().unwrap().iter().map(|v| v.as_i64().unwrap()).collect();
            assert_eq!(found.ids, ids, "{name}, picture {}", case["seed"]);
            let mean = case[name]["mean_logprob"].as_f64().unwrap() as f32;
            assert!((found.mean_logprob - mean).abs() < 1e-4, "{name}: {} {mean}", found.mean_logprob);
            assert!(!found.text.ends_with('.') && found.text == found.text.trim());
            assert!((0.0..=1.0).contains(&found.score.unwrap()));
            stops += usize::from(ids.last() == Some(&13));
        }
    }
    assert!((20..60).contains(&stops), "the goldens should hold some early stops, but not only those: {stops} of 72");
}

#[test]
fn embeddings_do_not_depend_on_batch_or_threads() {
    let folder = tiny();
    let pixels = pixels(&folder, 1..=8);
    let want = encode(&folder, &pixels, 8, 1);
    for batch in [1, 2, 3, 8] {
        for threads in [1, 2, 4] {
            assert!(encode(&folder, &pixels, batch, threads) == want, "batch {batch}, {threads} threads");
            for sessions in [2, 3, 16] {
                let found = encode_side_by_side(&folder, &pixels, batch, threads, sessions);
                assert!(found == want, "batch {batch}, {threads} threads, {sessions} sessions");
            }
        }
    }
    assert!(encode_side_by_side(&folder, &[], 8, 2, 2).is_empty());
}

#[test]
fn captions_do_not_depend_on_batch_or_threads() {
    let folder = tiny();
    let encoded = encode(&folder, &pixels(&folder, 1..=8), 8, 1);
    let styles = [
        CaptionOptions::default(),
        CaptionOptions { greedy: true, ..CaptionOptions::default() },
        CaptionOptions { sample: Some(7), ..CaptionOptions::default() },
    ];
    for style in styles {
        let mut want = None;
        for batch in [8, 1, 2, 3] {
            for threads in [1, 2] {
                let session = SessionOptions { threads, ..SessionOptions::default() };
                let found = caption(&folder, &encoded, &CaptionOptions { batch, session, ..style.clone() });
                assert_eq!(want.get_or_insert_with(|| found.clone()), &found, "batch {batch}, {threads} threads");
            }
        }
    }
}

/// On a device with memory of its own, keys stay there and a graph moves them. Bound on the CPU, they give the same
/// captions to the last bit.
#[test]
fn bound_keys_give_the_same_captions() {
    let folder = tiny();
    let encoded = encode(&folder, &pixels(&folder, 1..=8), 8, 1);
    let styles = [
        CaptionOptions::default(),
        CaptionOptions { beam: Some(10), ..CaptionOptions::default() },
        CaptionOptions { greedy: true, ..CaptionOptions::default() },
        CaptionOptions { sample: Some(7), ..CaptionOptions::default() },
    ];
    for style in styles {
        for batch in [1, 3, 8] {
            let found = |bind_keys| {
                let session = SessionOptions { bind_keys, ..one_thread() };
                caption(&folder, &encoded, &CaptionOptions { batch, session, ..style.clone() })
            };
            assert_eq!(found(true), found(false), "batch {batch}, {style:?}");
        }
    }
}

#[test]
fn seeds_decide_the_sampled_captions() {
    let folder = tiny();
    let encoded = encode(&folder, &pixels(&folder, 1..=4), 8, 1);
    let drawn = |seed| {
        caption(&folder, &encoded, &CaptionOptions { sample: Some(seed), session: one_thread(), ..Default::default() })
    };
    assert_eq!(drawn(1), drawn(1));
    assert_ne!(drawn(1), drawn(2));
}

#[test]
fn options_out_of_range_are_rejected() {
    let folder = tiny();
    let refused = |options: CaptionOptions| {
        let error = Captioner::new(&folder, &options).err().expect("refused");
        assert!(matches!(error, Error::Usage { .. }), "{error}");
    };
    refused(CaptionOptions { beam: Some(0), ..Default::default() });
    refused(CaptionOptions { beam: Some(1000), ..Default::default() });
    refused(CaptionOptions { max_tokens: Some(45), ..Default::default() });
    refused(CaptionOptions { temperature: Some(0.0), ..Default::default() });
    refused(CaptionOptions { greedy: true, sample: Some(1), ..Default::default() });
    // The longest caption that fits reaches the last position.
    let warm = CaptionOptions { sample: Some(1), top_k: 120, temperature: Some(9.0), ..Default::default() };
    let options = CaptionOptions { max_tokens: Some(44), session: one_thread(), ..warm };
    let captioner = ok(Captioner::new(&folder, &options));
    assert_eq!(captioner.search().strategy, Strategy::Sample { top_k: 120 });
    let encoded = encode(&folder, &pixels(&folder, 1..=12), 8, 1);
    assert!(caption(&folder, &encoded, &options).iter().any(|c| c.ids.len() == 44));
}

#[test]
fn text_embeddings_match_pytorch() {
    let (folder, goldens) = (tiny(), goldens());
    let mut encoder = ok(TextEncoder::new(&folder, &one_thread()));
    let texts: Vec<&String> = goldens["texts"].as_object().unwrap().keys().collect();
    let found = ok(encoder.embed(&texts.iter().map(|t| t.as_str()).collect::<Vec<_>>()));
    for (text, found) in texts.iter().zip(found) {
        for (want, have) in numbers(&goldens["texts"][text.as_str()]).iter().zip(&found) {
            assert!((want - have).abs() < 1e-5, "{text}");
        }
        assert!((found.iter().map(|v| v * v).sum::<f32>() - 1.0).abs() < 1e-5);
    }
}

#[test]
fn an_absent_device_is_an_error() {
    let folder = tiny();
    let session = SessionOptions { device: Device::Cuda(0), ..SessionOptions::default() };
    let error =
        ImageEncoder::new(&folder, &EncodeOptions { session, ..Default::default() }).err().expect("no GPU here");
    assert!(matches!(&error, Error::Runtime { .. }) && error.to_string().contains("cuda:0"), "{error}");
}

#[test]
fn a_process_has_one_runtime() {
    let (a, b) = (ok(Runtime::load()), ok(Runtime::load()));
    assert!(std::ptr::eq(a, b));
    assert!(a.build_info().contains("ORT"));
}

/// A copy of the tiny model with an edited manifest. The hashes do not cover the manifest and stay right.
fn edited(edits: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    copy(&root().join("tests/models/tiny"), dir.path());
    let path = dir.path().join("model.json");
    let mut text = std::fs::read_to_string(&path).unwrap();
    for (from, to) in edits {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    std::fs::write(path, text).unwrap();
    dir
}

pub(crate) fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn graphs_must_match_the_manifest() {
    let cases = [
        ("\"size\": 32", "\"size\": 64", "image.onnx"),
        ("\"embedding_dim\": 24", "\"embedding_dim\": 25", "image.onnx"),
        ("\"cells\": 16", "\"cells\": 9", "mapper.onnx"),
        ("\"prefix_length\": 5", "\"prefix_length\": 6", "mapper.onnx"),
        ("\"layers\": 2", "\"layers\": 3", "decoder.onnx"),
        ("\"layers\": 2", "\"layers\": 1", "decoder.onnx"),
        ("\"heads\": 2", "\"heads\": 4", "decoder.onnx"),
        ("\"input\": \"grid\"", "\"input\": \"embedding\"", "mapper.onnx"),
        ("\"context_length\": 12", "\"context_length\": 13", "text.onnx"),
        ("\"graph\": \"mapper.onnx\"", "\"graph\": \"tokenizer.json\"", "tokenizer.json"),
        ("\"tokenizer\": \"tokenizer.json\"", "\"tokenizer\": \"mapper.onnx\"", "mapper.onnx"),
    ];
    for (from, to, file) in cases {
        let dir = edited(&[(from, to)]);
        let folder = ok(ModelFolder::open(dir.path()));
        let opened = ImageEncoder::new(&folder, &EncodeOptions::default())
            .map(|_| ())
            .and_then(|()| Captioner::new(&folder, &CaptionOptions::default()).map(|_| ()))
            .and_then(|()| TextEncoder::new(&folder, &SessionOptions::default()).map(|_| ()));
        let error = opened.err().unwrap_or_else(|| panic!("{to} was accepted"));
        assert!(matches!(&error, Error::Model { .. }) && error.to_string().contains(file), "{to}: {error}");
    }
}

#[test]
fn pictures_and_resizing_match_pillow() {
    use descry::model::{Resample, Resize};
    use sha2::{Digest, Sha256};
    let hash = |picture: &Rgb| Sha256::digest(&picture.data).iter().map(|b| format!("{b:02x}")).collect::<String>();
    let folder = root().join("tests/goldens/resize");
    let text = std::fs::read_to_string(folder.join("cases.json")).unwrap();
    let cases: Value = serde_json::from_str(&text).unwrap();
    let mut spec = tiny().manifest().image.clone();
    let (mut wrong, mut squares) = (Vec::new(), 0);
    for case in cases.as_array().unwrap() {
        let name = case["file"].as_str().unwrap();
        let picture = ok(descry::media::open_picture(&folder.join(name), &Default::default()));
        if hash(&picture) != case["rgb"].as_str().unwrap() {
            wrong.push(format!("{name}: the pixels differ from Pillow's"));
            continue;
        }
        for (setting, want) in case["squares"].as_object().unwrap() {
            squares += 1;
            let words: Vec<&str> = setting.split(' ').collect();
            spec.size = words[0].parse().unwrap();
            spec.resize = if words[1] == "squash" { Resize::Squash } else { Resize::Crop };
            spec.resample = if words[2] == "bicubic" { Resample::Bicubic } else { Resample::Bilinear };
            if hash(&descry::model::to_square(&picture, &spec)) != want.as_str().unwrap() {
                wrong.push(format!("{name}: {setting}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(squares >= 300, "only {squares} squares are compared");
}

#[test]
fn bad_pictures_are_rejected() {
    use descry::media::{PictureOptions, open_picture};
    let dir = tempfile::tempdir().unwrap();
    let refused = |name: &str, bytes: Option<&[u8]>, options: &PictureOptions, cause: &str| {
        let path = dir.path().join(name);
        if let Some(bytes) = bytes {
            std::fs::write(&path, bytes).unwrap();
        }
        let error = open_picture(&path, options).err().unwrap_or_else(|| panic!("{name} was accepted"));
        assert!(matches!(error, Error::Input { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(name) && text.contains(cause), "{text}");
    };
    let plain = PictureOptions::default();
    let good = std::fs::read(root().join("tests/goldens/resize/odd.png")).unwrap();
    refused("none.png", None, &plain, "no such file");
    refused("empty.png", Some(b""), &plain, "");
    refused("text.jpg", Some(b"hello"), &plain, "no picture");
    refused("half.png", Some(&good[..good.len() / 2]), &plain, "");
    refused("large.png", Some(&good), &PictureOptions { max_pixels: 2_000 }, "61×43");
    let good = std::fs::read(root().join("tests/goldens/resize/420.jpg")).unwrap();
    refused("half.jpg", Some(&good[..good.len() / 2]), &plain, "truncated");
    let mut bad = good.clone();
    bad.truncate(good.len() / 3);
    bad.extend([0xFF, 0xC5, 0, 9, 0xFF, 0xD9]);
    refused("bad.jpg", Some(&bad), &plain, "");
    // A header that claims 60000 × 60000 pixels.
    let mut bomb = std::fs::read(root().join("tests/goldens/resize/odd.png")).unwrap();
    bomb[16..24].copy_from_slice(&[0, 0, 0xEA, 0x60, 0, 0, 0xEA, 0x60]);
    refused("bomb.png", Some(&bomb), &plain, "");
    std::fs::create_dir(dir.path().join("folder.png")).unwrap();
    refused("folder.png", None, &plain, "folder");
}
