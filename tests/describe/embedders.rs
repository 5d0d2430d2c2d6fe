//! Models as parts: a CLIP in the hub's layout against what `transformers` computes (`tools/hub_clip.py`), model folders
//! with one part, and embedders beside captioners of every kind.

use std::path::{Path, PathBuf};
use std::process::Command;

use descry::archive::Archive;
use descry::archive::search::Searcher;
use descry::error::Error;
use descry::media::{PictureOptions, open_picture};
use descry::model::{
    Encode, EncodeOptions, ImageEncoder, ModelFolder, Pixels, Precision, SessionOptions, TextEncoder, preprocess,
};
use serde_json::{Value, json};

use crate::common::{Bench, root};

const CLIP: &str = "tests/models/clip";
const HUB: &str = "tests/models/hub";
const TINY: &str = "tests/models/tiny";

fn ok<T>(result: Result<T, Error>) -> T {
    result.unwrap_or_else(|e| panic!("{e}"))
}

fn path(folder: &str) -> String {
    root().join(folder).display().to_string()
}

fn picture(name: &str) -> PathBuf {
    root().join("tests/goldens/hub").join(name)
}

fn goldens() -> Value {
    let text = std::fs::read_to_string(root().join("tests/goldens/clip.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn strings(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|s| s.as_str().unwrap()).collect()
}

/// A copy of a model's folder.
fn copy(folder: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for sub in ["", "onnx"] {
        let Ok(entries) = std::fs::read_dir(root().join(folder).join(sub)) else { continue };
        std::fs::create_dir_all(dir.path().join(sub)).unwrap();
        for path in entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
            std::fs::copy(&path, dir.path().join(sub).join(path.file_name().unwrap())).unwrap();
        }
    }
    dir
}

/// Changes a JSON file of a folder.
fn edit(dir: &Path, file: &str, change: impl FnOnce(&mut Value)) {
    let path = dir.join(file);
    let mut all: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    change(&mut all);
    std::fs::write(path, all.to_string()).unwrap();
}

/// A copy of the CLIP in which only the int8 graphs are left.
fn int8() -> tempfile::TempDir {
    let dir = copy(CLIP);
    for graph in ["vision_model", "text_model"] {
        std::fs::remove_file(dir.path().join(format!("onnx/{graph}.onnx"))).unwrap();
    }
    dir
}

/// The tiny model in format 2, with one of its parts or both.
fn parts(embedder: bool, captioner: bool) -> tempfile::TempDir {
    let dir = copy(TINY);
    edit(dir.path(), "model.json", |all| {
        let all = all.as_object_mut().unwrap();
        let mut take = |key: &str| all.remove(key).unwrap();
        let words = json!({ "mapper": take("mapper"), "decoder": take("decoder"), "tokenizer": take("tokenizer"),
            "decoding": take("decoding"), "score": take("score") });
        let mut space = json!({ "text": take("text"), "dedup": take("dedup") });
        space["dimension"] = all["image"].as_object_mut().unwrap().remove("embedding_dim").unwrap();
        all.insert("format".into(), json!("descry-model/2"));
        if embedder {
            all.insert("embedder".into(), space);
        }
        if captioner {
            all.insert("captioner".into(), words);
        }
    });
    dir
}

fn pixels(folder: &ModelFolder, names: &[&str]) -> Vec<Pixels> {
    let open = |name: &&str| ok(open_picture(&picture(name), &PictureOptions::default()));
    names.iter().map(|name| preprocess(&open(name), &folder.manifest().image)).collect()
}

/// Embeddings of pictures at length 1.
fn images(folder: &ModelFolder, pixels: &[Pixels], batch: usize, sessions: usize) -> Vec<Vec<f32>> {
    let session = SessionOptions { threads: 2, ..SessionOptions::default() };
    let mut encoder = ok(ImageEncoder::new(folder, &EncodeOptions { batch, sessions, session }));
    ok(encoder.encode(pixels)).iter().map(|encoded| encoded.unit()).collect()
}

fn texts(folder: &ModelFolder, texts: &[&str]) -> Vec<Vec<f32>> {
    ok(ok(TextEncoder::new(folder, &SessionOptions::default())).embed(texts))
}

/// The largest difference between embeddings, and the smallest cosine.
fn compare(got: &[Vec<f32>], wanted: &Value) -> (f64, f64) {
    let wanted: Vec<Vec<f64>> = serde_json::from_value(wanted.clone()).unwrap();
    assert_eq!(got.len(), wanted.len());
    let (mut off, mut cosine) = (0f64, 1f64);
    for (got, wanted) in got.iter().zip(&wanted) {
        assert_eq!(got.len(), wanted.len());
        let pairs = || got.iter().map(|v| f64::from(*v)).zip(wanted.iter().copied());
        off = pairs().map(|(a, b)| (a - b).abs()).fold(off, f64::max);
        cosine = cosine.min(pairs().map(|(a, b)| a * b).sum());
    }
    (off, cosine)
}

#[test]
fn embeddings_of_texts_depend_on_neither_their_number_nor_threads() {
    for (folder, few_texts) in
        [("models/builtin", false), ("models/builtin", true), (CLIP, false), (CLIP, true), (TINY, false)]
    {
        let model = ok(ModelFolder::open(root().join(folder)));
        let embeddings = |few_texts, threads| {
            let options = SessionOptions { few_texts, threads, ..SessionOptions::default() };
            let mut encoder = ok(TextEncoder::new(&model, &options));
            let alone = ok(encoder.embed(&["a man on a bicycle"]));
            let all = ok(encoder.embed(&["two dogs", "a man on a bicycle", "the sea"]));
            assert_eq!(alone[0], all[1], "{folder}, {threads}");
            all
        };
        let wanted = embeddings(few_texts, 1);
        for threads in [2, 3, 5] {
            assert_eq!(embeddings(few_texts, threads), wanted, "{folder}, {threads}");
        }
        // But for the last bits.
        for (few, many) in embeddings(true, 2).iter().flatten().zip(embeddings(false, 2).iter().flatten()) {
            assert!((few - many).abs() < 1e-6, "{folder}: {few} and {many}");
        }
    }
}

#[test]
fn pixels_of_a_clip_are_those_of_pillow() {
    let folder = ok(ModelFolder::open(root().join(CLIP)));
    for name in ["landscape", "wide"] {
        let bytes = std::fs::read(root().join(format!("tests/goldens/clip/{name}.npy"))).unwrap();
        let header = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
        let wanted: Vec<f32> = bytes[header..].as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        let got = pixels(&folder, &[&format!("{name}.png")]).remove(0);
        assert_eq!(got.data.len(), wanted.len());
        let off = got.data.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off < 1e-5, "{name}: {off}");
    }
}

#[test]
fn embeddings_of_a_clip_are_those_of_transformers() {
    let (folder, goldens) = (ok(ModelFolder::open(root().join(CLIP))), goldens());
    assert_eq!(folder.precision(), Some(Precision::Fp32));
    let pixels = pixels(&folder, &strings(&goldens["pictures"]));
    let (off, cosine) = compare(&images(&folder, &pixels, 8, 1), &goldens["image_embeds"]);
    assert!(off < 1e-5 && cosine > 1.0 - 1e-6, "pictures: {off}, {cosine}");
    let (off, cosine) = compare(&texts(&folder, &strings(&goldens["texts"])), &goldens["text_embeds"]);
    assert!(off < 1e-5 && cosine > 1.0 - 1e-6, "texts: {off}, {cosine}");
}

#[test]
fn lengths_that_a_tokenizer_file_holds_do_not_matter() {
    let (dir, goldens) = (copy(CLIP), goldens());
    edit(dir.path(), "tokenizer.json", |all| {
        all["truncation"] = json!({ "direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0 });
        all["padding"] = json!({ "strategy": { "Fixed": 8 }, "direction": "Left", "pad_to_multiple_of": null,
            "pad_id": 3, "pad_type_id": 0, "pad_token": "!" });
    });
    let folder = ok(ModelFolder::open(dir.path()));
    assert!(compare(&texts(&folder, &strings(&goldens["texts"])), &goldens["text_embeds"]).0 < 1e-5);
}

#[test]
fn batches_do_not_change_embeddings_in_any_precision() {
    let (int8, goldens) = (int8(), goldens());
    for (dir, precision, tolerance) in
        [(root().join(CLIP), Precision::Fp32, 1e-5), (int8.path().to_path_buf(), Precision::Int8, 0.2)]
    {
        let folder = ok(ModelFolder::open(&dir));
        assert_eq!(folder.precision(), Some(precision));
        let names = strings(&goldens["pictures"]);
        let pixels = pixels(&folder, &names);
        let one = images(&folder, &pixels, 1, 1);
        for (batch, sessions) in [(2, 1), (3, 2), (8, 1)] {
            assert_eq!(images(&folder, &pixels, batch, sessions), one, "{precision}: batch {batch}");
        }
        assert!(compare(&one, &goldens["image_embeds"]).0 < tolerance, "{precision}");
        let words = strings(&goldens["texts"]);
        let alone: Vec<Vec<f32>> = words.iter().map(|text| texts(&folder, &[text]).remove(0)).collect();
        assert_eq!(texts(&folder, &words), alone, "{precision}");
        assert!(compare(&alone, &goldens["text_embeds"]).0 < tolerance, "{precision}");
    }
}

#[test]
fn an_archive_has_the_clip_as_its_model_and_search_uses_it() {
    let b = Bench::new();
    let (hub, clip) = (path(HUB), path(CLIP));
    b.ffmpeg("-f lavfi -i testsrc=d=3:s=160x120:r=25 -pix_fmt yuv420p a.mp4");
    b.ffmpeg("-f lavfi -i mandelbrot=s=160x120:r=25 -t 3 -pix_fmt yuv420p b.mp4");
    b.write("list.txt", b"file a.mp4\nfile b.mp4\n");
    b.ffmpeg("-f concat -i list.txt -c copy film.mp4");
    let models = ["--model", &hub, "--embedder", &clip, "--max-tokens", "6"];
    b.run(&[&["index", "film.mp4", "--into", "archive"], &models[..]].concat(), 0);
    let archive = ok(Archive::open(&b.path("archive").display().to_string()));
    let searcher = ok(Searcher::open(&archive));
    let recorded = &searcher.models()[0];
    assert_eq!(recorded.name, "clip fp32");
    assert_eq!(recorded.hash, ok(ModelFolder::open(&clip)).hash());
    let find = |args: &[&str]| {
        let args = [&["search", "archive", "--json", "--model", &clip], args].concat();
        let out = b.run(&args, 0).0;
        out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>()
    };
    let moments = find(&["a photo of a dog", "--by", "meaning"]);
    // The picture of one of its keyframes finds that one first.
    let second = moments.iter().find(|m| m["start"].as_f64().unwrap() >= 3.0).expect("both shots are found");
    b.ffmpeg(&format!("-ss {} -i film.mp4 -frames:v 1 second.png", second["keyframe"]));
    let like = &find(&["--image", "second.png"])[0];
    assert_eq!(like["keyframe"], second["keyframe"]);
    assert!(like["similarity"].as_f64().unwrap() > 0.99, "{like}");
    let (_, err) = b.run(&["search", "archive", "a dog", "--model", &path(TINY)], 2);
    assert!(err.contains("clip fp32") && err.contains("--model"), "{err}");
    b.run(&[&["describe", "film.mp4", "-o", "film.json", "-f", "json"], &models[..]].concat(), 0);
    let track: Value = serde_json::from_str(&b.read("film.json")).unwrap();
    assert_eq!(track["options"]["decoding"]["captioner"], "hub fp32");
}

#[test]
fn parts_of_one_film_have_one_embedder() {
    let b = Bench::new();
    let (hub, clip, tiny) = (path(HUB), path(CLIP), path(TINY));
    b.ffmpeg("-f lavfi -i testsrc=d=6:s=160x120:r=25 -pix_fmt yuv420p film.mp4");
    let with = |embedder| ["--model", &hub, "--embedder", embedder, "--max-tokens", "4"];
    b.run(&[&["part", "film.mp4", "--part", "1/1", "-o", "a.part"], &with(&clip)[..]].concat(), 0);
    let (_, err) = b.run(&[&["stitch", "film.mp4", "a.part", "-o", "film.vtt"], &with(&tiny)[..]].concat(), 1);
    assert!(err.contains("a.part") && err.contains("another model"), "{err}");
}

#[test]
fn embed_and_show_read_a_clip() {
    let b = Bench::new();
    let (clip, goldens) = (path(CLIP), goldens());
    let grey = picture("grey.png").display().to_string();
    let line: Value = serde_json::from_str(&b.run(&["embed", &grey, "--model", &clip], 0).0).unwrap();
    let got: Vec<f32> = serde_json::from_value(line["embedding"].clone()).unwrap();
    assert!(compare(&[got], &json!([goldens["image_embeds"][3]])).0 < 1e-5);
    let shown = b.run(&["model", "show", &clip], 0).0;
    for words in ["clip fp32", "embedder", "20", "yes, 16 tokens", "onnx/text_model.onnx", "tokenizer_config.json"] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    assert!(!shown.contains("decoder") && !shown.contains("int8"), "{shown}");
    let (_, err) = b.run(&["model", "show", &clip, "--precision", "int8"], 2);
    assert!(err.contains("--precision"), "{err}");
}

#[test]
fn a_model_that_only_embeds_does_not_describe() {
    let b = Bench::new();
    let half = parts(true, false);
    let half = half.path().display().to_string();
    let grey = picture("grey.png").display().to_string();
    for model in [&path(CLIP), &half] {
        let (_, err) = b.run(&["caption", &grey, "--model", model], 2);
        assert!(err.contains("no captioner") && err.contains("--embedder"), "{err}");
        b.run(&["embed", &grey, "--model", model], 0);
    }
    let shown = b.run(&["model", "show", &half], 0).0;
    assert!(shown.contains("parts        embedder\n") && shown.contains("same from 0.98"), "{shown}");
}

#[test]
fn a_model_that_only_captions_leaves_embeddings_to_another() {
    let b = Bench::new();
    let (half, clip, tiny) = (parts(false, true), path(CLIP), path(TINY));
    let half = half.path().display().to_string();
    let pictures: Vec<String> =
        ["landscape.png", "grey.png", "wide.png"].iter().map(|name| picture(name).display().to_string()).collect();
    let caption = |args: &[&str]| {
        let pictures = pictures.iter().map(String::as_str).collect::<Vec<_>>();
        let all = [&["caption", "--json", "--embedding"], &pictures[..], args].concat();
        let rows: Vec<Value> = b.run(&all, 0).0.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let ids: Vec<Value> = rows.iter().map(|row| json!([row["ids"], row["score"]])).collect();
        (ids, rows[0]["embedding"].as_array().unwrap().len())
    };
    let (whole, dimension) = caption(&["--model", &tiny]);
    assert_eq!(dimension, 24);
    assert_eq!(caption(&["--model", &half, "--embedder", &clip]), (whole.clone(), 20));
    // A model with both parts leaves them too, if the user says so.
    assert_eq!(caption(&["--model", &tiny, "--embedder", &clip, "--batch", "1"]), (whole, 20));
    let (_, err) = b.run(&["embed", &pictures[0], "--model", &half], 2);
    assert!(err.contains("no embedder") && err.contains("built-in"), "{err}");
    let (_, err) = b.run(&["caption", &pictures[0], "--model", &tiny, "--embedder", &half], 2);
    assert!(err.contains("no embedder"), "{err}");
    // The built-in model embeds where no other is named, also if the default model cannot.
    assert!(b.run(&["model", "show", &half], 0).0.contains("descry-builtin"));
    for (model, caption) in [(&half, "w4"), (&path(HUB), "")] {
        let args = ["caption", "--json", "--embedding", "--max-tokens", "3", &pictures[1]];
        let out = Command::new(env!("CARGO_BIN_EXE_descry")).args(args).env("DESCRY_MODEL", model).output().unwrap();
        let row: Value = serde_json::from_slice(&out.stdout).unwrap();
        assert!(row["text"].as_str().unwrap().starts_with(caption), "{row}");
        assert!(row["embedding"].as_array().unwrap().len() > 24, "{row}");
    }
    b.ffmpeg("-f lavfi -i testsrc=d=3:s=160x120:r=25 -pix_fmt yuv420p a.mp4");
    b.ffmpeg("-f lavfi -i mandelbrot=s=160x120:r=25 -t 3 -pix_fmt yuv420p b.mp4");
    b.write("list.txt", b"file a.mp4\nfile b.mp4\n");
    b.ffmpeg("-f concat -i list.txt -c copy film.mp4");
    let describe = |out: &str, args: &[&str]| {
        b.run(&[&["describe", "film.mp4", "--no-dedup", "-f", "json", "-o", out], args].concat(), 0);
        let track: Value = serde_json::from_str(&b.read(out)).unwrap();
        let texts: Vec<Value> = track["scenes"].as_array().unwrap().iter().map(|s| s["text"].clone()).collect();
        (texts, track["options"]["decoding"]["captioner"].clone())
    };
    let (texts, captioner) = describe("whole.json", &["--model", &tiny]);
    assert!(texts.len() > 1 && captioner.is_null(), "{texts:?}");
    assert_eq!(describe("half.json", &["--model", &half, "--embedder", &clip]), (texts, json!("tiny 1.0.0")));
}

#[test]
fn a_folder_in_format_2_is_the_model_that_it_was_in_format_1() {
    let b = Bench::new();
    let both = parts(true, true);
    let grey = picture("grey.png").display().to_string();
    let caption = |model: &str| b.run(&["caption", &grey, "--json", "--embedding", "--model", model], 0).0;
    assert_eq!(caption(&both.path().display().to_string()), caption(&path(TINY)));
}

#[test]
fn a_clip_that_descry_cannot_run_is_refused() {
    let b = Bench::new();
    let grey = picture("grey.png").display().to_string();
    let check = |change: &dyn Fn(&Path), words: &[&str]| {
        let dir = copy(CLIP);
        change(dir.path());
        let folder = dir.path().display().to_string();
        let mut out = b.descry(&["embed", "--text", "--model", &folder]);
        if out.status.success() {
            out = b.descry(&["embed", &grey, "--model", &folder]);
        }
        let text = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(2), "{words:?}: {text}");
        assert!(text.contains(&folder) && words.iter().all(|word| text.contains(word)), "{words:?}: {text}");
    };
    let remove = |file: &'static str| move |dir: &Path| std::fs::remove_file(dir.join(file)).unwrap();
    let set = |file: &'static str, key: &'static str, value: Value| {
        move |dir: &Path| edit(dir, file, |all| all[key] = value.clone())
    };
    check(&remove("tokenizer.json"), &["tokenizer.json is missing", "Download"]);
    check(&remove("preprocessor_config.json"), &["preprocessor_config.json is missing", "Download"]);
    // The int8 variant is complete, so it takes both graphs to be gone.
    check(
        &|dir| {
            remove("onnx/text_model.onnx")(dir);
            remove("onnx/text_model_int8.onnx")(dir);
        },
        &["onnx/text_model.onnx is missing", "vision_model, text_model"],
    );
    check(&set("config.json", "model_type", json!("siglip")), &["\"siglip\"", "\"clip\""]);
    check(&set("config.json", "model_type", json!("smolvlm")), &["\"smolvlm\"", "captions"]);
    check(&set("config.json", "projection_dim", json!(21)), &["text_model.onnx", "text_embeds", "21", "config.json"]);
    check(&set("config.json", "projection_dim", json!("wide")), &["config.json cannot be read"]);
    check(&set("config.json", "projection_dim", json!(0)), &["config.json", "dimension"]);
    check(&set("preprocessor_config.json", "crop_size", json!(24)), &["24 pixels", "config.json for 32"]);
    check(&set("preprocessor_config.json", "do_center_crop", json!(false)), &["preprocessor_config.json asks for"]);
    check(&set("tokenizer_config.json", "pad_token", json!("<nothing>")), &["\"<nothing>\"", "tokenizer"]);
    let write = |file: &'static str| move |dir: &Path| std::fs::write(dir.join(file), "nothing").unwrap();
    check(&write("onnx/text_model.onnx"), &["text_model.onnx is not a graph"]);
    check(&write("tokenizer.json"), &["tokenizer.json is not a tokenizer"]);
    // Graphs in each other's places.
    let swap = |a: &'static str, b: &'static str| {
        move |dir: &Path| {
            std::fs::copy(dir.join(a), dir.join(b)).unwrap();
        }
    };
    check(&swap("onnx/vision_model.onnx", "onnx/text_model.onnx"), &["no input \"input_ids\", only pixel_values"]);
    check(&swap("onnx/text_model.onnx", "onnx/vision_model.onnx"), &["no input \"pixel_values\", only input_ids"]);
}
