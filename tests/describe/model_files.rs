//! Every file of a model is listed, hashed, and loaded from the bytes that were hashed.

use std::path::Path;

use descry::error::Error;
use descry::model::{EncodeOptions, HubFolder, ImageEncoder, ModelFolder, TextEncoder};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::common::{Bench, TINY, root};
use crate::hub::{copy, ok, picture};

/// A field of a protocol buffer: its tag, and its value or its bytes.
type RawField = (u64, Vec<u8>);

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value > 0x7f {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn take_varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let (byte, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    value
}

fn fields(mut bytes: &[u8]) -> Vec<RawField> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let tag = take_varint(&mut bytes);
        let length = match tag & 7 {
            0 => bytes.iter().position(|b| b & 0x80 == 0).unwrap() + 1,
            1 => 8,
            2 => take_varint(&mut bytes) as usize,
            _ => 4,
        };
        all.push((tag, bytes[..length].to_vec()));
        bytes = &bytes[length..];
    }
    all
}

fn message(fields: &[RawField]) -> Vec<u8> {
    let mut out = Vec::new();
    for (tag, value) in fields {
        varint(*tag, &mut out);
        if tag & 7 == 2 {
            varint(value.len() as u64, &mut out);
        }
        out.extend(value);
    }
    out
}

/// Moves the weights of a graph into a file of this name, and returns that.
fn move_weights(graph: &Path, location: &str) -> Vec<u8> {
    let mut weights = Vec::new();
    let mut model = fields(&std::fs::read(graph).unwrap());
    let parts = &mut model.iter_mut().find(|(tag, _)| tag >> 3 == 7).unwrap().1;
    let mut moved = fields(parts);
    for (_, tensor) in moved.iter_mut().filter(|(tag, _)| tag >> 3 == 5) {
        let mut all = fields(tensor);
        let Some(at) = all.iter().position(|(tag, value)| tag >> 3 == 9 && value.len() > 64) else { continue };
        let (_, values) = all.remove(at);
        let place = [
            ("location", location.to_string()),
            ("offset", weights.len().to_string()),
            ("length", values.len().to_string()),
        ];
        for (key, value) in place {
            let entry = [(1 << 3 | 2, key.as_bytes().to_vec()), (2 << 3 | 2, value.into_bytes())];
            all.push((13 << 3 | 2, message(&entry)));
        }
        all.push((14 << 3, vec![1]));
        weights.extend(values);
        *tensor = message(&all);
    }
    assert!(!weights.is_empty());
    *parts = message(&moved);
    std::fs::write(graph, message(&model)).unwrap();
    weights
}

/// Lists a file as it is now.
fn list(dir: &Path, name: &str) {
    let path = dir.join("model.json");
    let mut manifest: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let bytes = std::fs::read(dir.join(name)).unwrap();
    let sha256: String = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
    manifest["files"][name] = json!({ "sha256": sha256, "bytes": bytes.len() });
    std::fs::write(path, manifest.to_string()).unwrap();
}

fn tiny_copy(b: &Bench) -> std::path::PathBuf {
    let dir = b.path("model");
    std::fs::create_dir(&dir).unwrap();
    for entry in std::fs::read_dir(root().join(TINY)).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::copy(&path, dir.join(path.file_name().unwrap())).unwrap();
        }
    }
    dir
}

fn caption(b: &Bench, model: &Path, code: i32) -> (String, String) {
    let names = ["noise.png"].map(|_| root().join("tests/goldens/resize/odd.png").display().to_string());
    b.run(&["caption", &names[0], "--json", "--embedding", "--model", &model.display().to_string()], code)
}

#[test]
fn weights_beside_a_graph_are_listed_hashed_and_loaded() {
    let b = Bench::new();
    let (want, _) = caption(&b, &root().join(TINY), 0);
    let dir = tiny_copy(&b);
    for graph in ["image.onnx", "mapper.onnx"] {
        let weights = move_weights(&dir.join(graph), &format!("{graph}.weights"));
        std::fs::write(dir.join(format!("{graph}.weights")), &weights).unwrap();
        list(&dir, graph);
    }
    // The files are there, and nobody vouches for them.
    let (_, err) = caption(&b, &dir, 2);
    // Both graphs load at once, and the first error wins.
    let names = |graph: &str| err.contains(&format!("{graph} takes weights from \"{graph}.weights\""));
    assert!(names("image.onnx") || names("mapper.onnx"), "{err}");
    assert!(err.contains("not one of the model's listed files") && err.contains("model.json"), "{err}");
    list(&dir, "image.onnx.weights");
    list(&dir, "mapper.onnx.weights");
    assert_eq!(caption(&b, &dir, 0).0, want);
    // A model that is too large for memory is loaded from a private copy, and nothing of that stays.
    let pad = std::fs::File::create(dir.join("image.onnx.pad")).unwrap();
    pad.set_len(260 << 20).unwrap();
    list(&dir, "image.onnx.pad");
    let temporary = b.path("temporary");
    std::fs::create_dir(&temporary).unwrap();
    let out = std::process::Command::new(env!("CARGO_BIN_EXE_descry"))
        .args(["embed", &root().join("tests/goldens/resize/odd.png").display().to_string(), "--model"])
        .arg(&dir)
        .env("TMPDIR", &temporary)
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let embedding = |line: &str| serde_json::from_str::<Value>(line.trim()).unwrap()["embedding"].clone();
    assert_eq!(embedding(&String::from_utf8_lossy(&out.stdout)), embedding(&want));
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0);
    let mut weights = std::fs::read(dir.join("image.onnx.weights")).unwrap();
    weights[9] ^= 1;
    std::fs::write(dir.join("image.onnx.weights"), weights).unwrap();
    assert!(caption(&b, &dir, 2).1.contains("image.onnx.weights was changed"));
}

#[cfg(unix)]
#[test]
fn nothing_outside_of_the_folder_is_read() {
    let b = Bench::new();
    let dir = tiny_copy(&b);
    let weights = move_weights(&dir.join("image.onnx"), "../stolen");
    std::fs::write(b.path("stolen"), &weights).unwrap();
    list(&dir, "image.onnx");
    let (_, err) = caption(&b, &dir, 2);
    assert!(err.contains("\"../stolen\"") && err.contains("leads out of its folder"), "{err}");
    // A link that leads out, of a file whose hash is right.
    std::fs::copy(root().join(TINY).join("image.onnx"), b.path("elsewhere.onnx")).unwrap();
    std::fs::remove_file(dir.join("image.onnx")).unwrap();
    std::os::unix::fs::symlink("../elsewhere.onnx", dir.join("image.onnx")).unwrap();
    list(&dir, "image.onnx");
    let (_, err) = caption(&b, &dir, 2);
    assert!(err.contains("image.onnx") && err.contains("out of the folder"), "{err}");
    // One that stays inside is a file like any other.
    std::fs::remove_file(dir.join("image.onnx")).unwrap();
    std::fs::copy(b.path("elsewhere.onnx"), dir.join("tower.onnx")).unwrap();
    std::os::unix::fs::symlink("tower.onnx", dir.join("image.onnx")).unwrap();
    caption(&b, &dir, 0);
}

fn refusal<T>(result: Result<T, Error>) -> String {
    match result {
        Ok(_) => panic!("it was accepted"),
        Err(e) => {
            assert!(matches!(e, Error::Model { .. }), "{e}");
            e.to_string()
        }
    }
}

/// Another process writes to a file after it was hashed, and before it is loaded.
#[test]
fn what_changed_after_it_was_hashed_is_not_loaded() {
    let b = Bench::new();
    let dir = tiny_copy(&b);
    let folder = ok(ModelFolder::open(&dir));
    let graph = dir.join("image.onnx");
    let mut bytes = std::fs::read(&graph).unwrap();
    let last = bytes.len() - 40;
    bytes[last] ^= 1;
    std::fs::write(&graph, &bytes).unwrap();
    let text = refusal(ImageEncoder::new(&folder, &EncodeOptions::default()));
    assert!(text.contains("image.onnx was changed since the folder was opened"), "{text}");
    for (from, name) in [("tests/models/clip", "tokenizer.json"), ("tests/models/clip", "onnx/text_model.onnx")] {
        let clip = tempfile::tempdir().unwrap();
        copy(from, clip.path());
        let folder = ok(ModelFolder::open(clip.path()));
        let mut bytes = std::fs::read(clip.path().join(name)).unwrap();
        bytes.push(b' ');
        std::fs::write(clip.path().join(name), bytes).unwrap();
        let text = refusal(TextEncoder::new(&folder, &Default::default()));
        assert!(text.contains(&format!("{name} was changed")), "{text}");
    }
}

/// The hub's cache links each file of a snapshot to a blob beside the snapshots.
#[cfg(unix)]
#[test]
fn the_cache_of_the_hub_is_read_and_no_other_link() {
    use std::os::unix::fs::symlink;
    let b = Bench::new();
    let plain = root().join("tests/models/hub");
    let snapshot = b.path("models--a--b/snapshots/0123");
    let blobs = b.path("models--a--b/blobs");
    std::fs::create_dir_all(snapshot.join("onnx")).unwrap();
    std::fs::create_dir_all(&blobs).unwrap();
    for (n, name) in ["", "onnx"]
        .iter()
        .flat_map(|sub| {
            let entries = std::fs::read_dir(plain.join(sub)).unwrap();
            entries.map(move |e| Path::new(sub).join(e.unwrap().file_name()))
        })
        .filter(|name| plain.join(name).is_file())
        .enumerate()
    {
        std::fs::copy(plain.join(&name), blobs.join(n.to_string())).unwrap();
        let up = if name.starts_with("onnx") { "../../../blobs" } else { "../../blobs" };
        symlink(format!("{up}/{n}"), snapshot.join(&name)).unwrap();
    }
    let caption = |model: &Path, code| {
        let model = model.display().to_string();
        let embedder = root().join(TINY).display().to_string();
        b.run(
            &["caption", &picture("alpha.png").display().to_string(), "--model", &model, "--embedder", &embedder],
            code,
        )
    };
    assert_eq!(caption(&snapshot, 0), caption(&plain, 0));
    assert_eq!(ok(HubFolder::open(&snapshot, None)).hash(), ok(HubFolder::open(&plain, None)).hash());
    // Weights under a name that the graph's own does not begin.
    let other = b.path("other");
    copy("tests/models/hub", &other);
    let weights = move_weights(&other.join("onnx/vision_encoder.onnx"), "vision_encoder.onnx_data");
    std::fs::write(other.join("onnx/vision_encoder.onnx_data"), &weights).unwrap();
    assert_eq!(caption(&other, 0), caption(&plain, 0));
    std::fs::copy(plain.join("onnx/vision_encoder.onnx"), other.join("onnx/vision_encoder.onnx")).unwrap();
    let weights = move_weights(&other.join("onnx/vision_encoder.onnx"), "weights.bin");
    std::fs::write(other.join("onnx/weights.bin"), &weights).unwrap();
    let (_, err) = caption(&other, 2);
    assert!(err.contains("takes weights from \"weights.bin\"") && err.contains("named after its graph"), "{err}");
    // A link that leads anywhere else.
    std::fs::remove_file(snapshot.join("tokenizer.json")).unwrap();
    symlink(plain.join("tokenizer.json"), snapshot.join("tokenizer.json")).unwrap();
    let (_, err) = caption(&snapshot, 2);
    assert!(err.contains("tokenizer.json") && err.contains("out of the folder"), "{err}");
}

#[test]
fn a_large_file_is_hashed_once_and_again_when_it_changes() {
    let b = Bench::new();
    let model = b.path("model");
    std::fs::create_dir(&model).unwrap();
    for entry in std::fs::read_dir(root().join("models/builtin")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::copy(&path, model.join(path.file_name().unwrap())).unwrap();
        }
    }
    let descry = |command: &[&str]| {
        let out = std::process::Command::new(env!("CARGO_BIN_EXE_descry"))
            .args(command)
            .current_dir(b.path("."))
            .env("XDG_CACHE_HOME", b.path("cache"))
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        (out.status.code(), String::from_utf8(out.stderr).unwrap())
    };
    let open = || descry(&["embed", "--text", "--model", "model"]);
    let record = b.path("cache/descry/hashes.json");
    assert_eq!(open().0, Some(0));
    assert!(!record.exists(), "files that were written just now are not kept");
    std::thread::sleep(std::time::Duration::from_millis(3100));
    assert_eq!(open().0, Some(0));
    let text = std::fs::read_to_string(&record).unwrap();
    let mut kept: Value = serde_json::from_str(&text).unwrap();
    let files = kept["files"].as_array_mut().unwrap();
    assert_eq!(files.len(), 4, "the graphs: {text}");

    // What is kept is believed: a wrong hash makes the file look changed. A command that checks hashes believes nothing.
    for file in files {
        file["sha256"] = "0".repeat(64).into();
    }
    std::fs::write(&record, kept.to_string()).unwrap();
    let (code, stderr) = open();
    assert!(code == Some(2) && stderr.contains(&format!("its SHA-256 is {}", "0".repeat(64))), "{stderr}");
    assert_eq!(descry(&["model", "show", "model"]).0, Some(0));
    assert_eq!(open().0, Some(0), "the right hashes have replaced them");

    // A changed byte is found, though the length and the time of modification stay.
    let graph = model.join("text.onnx");
    let modified = graph.metadata().unwrap().modified().unwrap();
    let mut bytes = std::fs::read(&graph).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&graph, bytes).unwrap();
    std::fs::File::options().write(true).open(&graph).unwrap().set_modified(modified).unwrap();
    let (code, stderr) = open();
    assert!(code == Some(2) && stderr.contains("text.onnx was changed"), "{stderr}");
}
