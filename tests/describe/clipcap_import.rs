//! `descry model import`: checkpoints of ClipCap and CLIP in each form that is published, against what PyTorch says with them,
//! and what is refused. `tests/goldens/make_clipcap.py` makes the checkpoints.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::clipcap::{captions, parity_of};
use crate::common::{Bench, root};

pub(crate) const KNOWN: [&str; 5] = ["--heads", "2", "--stop-token", "144", "--no-normalize-prefix"];

pub(crate) fn checkpoint(name: &str) -> String {
    root().join("tests/models/clipcap/checkpoint").join(name).display().to_string()
}

/// Imports a checkpoint with a CLIP. `more` are further options.
fn import(b: &Bench, [clipcap, clip]: [&str; 2], out: &str, more: &[&str], exit: i32) -> (String, String) {
    let tokenizer = checkpoint("../mlp/tokenizer.json");
    let args = ["model", "import", "--clipcap", clipcap, "--clip", clip, "--tokenizer", &tokenizer, "--out", out];
    b.run(&[&args, more].concat(), exit)
}

/// Imports the usual checkpoint with the CLIP in Hugging Face's layout.
fn import_known(b: &Bench, out: &str, more: &[&str], exit: i32) -> (String, String) {
    import(b, [&checkpoint("clipcap.pt"), &checkpoint("clip")], out, more, exit)
}

fn out(b: &Bench, name: &str) -> String {
    b.path(name).display().to_string()
}

#[test]
fn an_imported_checkpoint_matches_the_reference_and_is_the_same_each_time() {
    let b = Bench::new();
    let (one, two) = (out(&b, "one"), out(&b, "two"));
    let (printed, _) = import_known(&b, &one, &KNOWN, 0);
    let found: Value = serde_json::from_str(&printed).expect("one JSON object");
    assert_eq!((&found["mapper"], &found["gpt2"]), (&json!("mlp"), &json!([2, 2, 16, 300])));
    parity_of(&b, "checkpoint/clipcap", &one);
    import_known(&b, &two, &KNOWN, 0);
    for file in ["model.json", "image.onnx", "mapper.onnx", "decoder.onnx"] {
        let read = |folder: &str| std::fs::read(Path::new(folder).join(file)).expect("a file of the model");
        assert_eq!(read(&one), read(&two), "{file}");
    }
}

#[test]
fn a_transformer_mapper_in_safetensors_matches_the_reference() {
    let (b, files) = (Bench::new(), [checkpoint("transformer.safetensors"), checkpoint("clip")]);
    let more = ["--heads", "2", "--stop-token", "157", "--normalize-prefix"];
    let (printed, _) = import(&b, files.each_ref().map(String::as_str), &out(&b, "out"), &more, 0);
    assert_eq!(serde_json::from_str::<Value>(&printed).expect("one JSON object")["mapper"], "transformer");
    parity_of(&b, "checkpoint/transformer", &out(&b, "out"));
}

/// The archive is TorchScript with 16-bit weights, as OpenAI publishes its own.
#[test]
fn the_archive_of_openai_matches_the_reference() {
    let (b, files) = (Bench::new(), [checkpoint("clipcap.pt"), checkpoint("openai.pt")]);
    let (printed, _) = import(&b, files.each_ref().map(String::as_str), &out(&b, "out"), &KNOWN, 0);
    assert_eq!(serde_json::from_str::<Value>(&printed).expect("one JSON object")["image"], 16);
    parity_of(&b, "checkpoint/openai", &out(&b, "out"));
}

#[test]
fn the_text_tower_gives_the_embeddings_of_clip() {
    let b = Bench::new();
    let (model, tokenizer) = (out(&b, "out"), checkpoint("../mlp/tokenizer.json"));
    import_known(&b, &model, &[&KNOWN[..], &["--text-tokenizer", &tokenizer]].concat(), 0);
    let lines = |text: &str| text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect::<Vec<Value>>();
    let want = lines(&std::fs::read_to_string(checkpoint("texts.jsonl")).expect("the golden file"));
    let texts = want.iter().map(|want| want["text"].as_str().expect("a text")).collect::<Vec<_>>().join("\n");
    b.write("texts.txt", texts.as_bytes());
    let mut embed = std::process::Command::new(env!("CARGO_BIN_EXE_descry"));
    embed.args(["embed", "--text", "--model", &model]).stdin(std::fs::File::open(b.path("texts.txt")).expect("a file"));
    let done = embed.output().expect("the binary starts");
    let got = lines(&String::from_utf8_lossy(&done.stdout));
    assert_eq!((got.len(), want.len()), (2, 2), "{}", String::from_utf8_lossy(&done.stderr));
    for (got, want) in got.iter().zip(&want) {
        let values = |of: &Value| -> Vec<f64> {
            of["embedding"].as_array().into_iter().flatten().map(|v| v.as_f64().expect("a number")).collect()
        };
        let (got, want) = (values(got), values(want));
        assert!(got.len() == 16 && got.iter().zip(&want).all(|(a, b)| (a - b).abs() < 1e-5), "{got:?} {want:?}");
    }
}

#[test]
fn other_precisions_of_an_import_caption_as_full_precision_does() {
    let b = Bench::new();
    let pictures = root().join("tests/models/clipcap/pictures").display().to_string();
    let greedy = |model: &str| captions(&b, model, &["--greedy"]);
    import_known(&b, &out(&b, "fp32"), &KNOWN, 0);
    let exact = greedy(&out(&b, "fp32"));
    for (name, near) in [("fp16", 1e-2), ("half", 5e-2)] {
        import_known(&b, &out(&b, name), &[&KNOWN[..], &["--precision", name]].concat(), 0);
        for (exact, got) in exact.iter().zip(greedy(&out(&b, name))) {
            assert_eq!(exact["ids"], got["ids"], "{name}");
            let apart = exact["mean_logprob"].as_f64().zip(got["mean_logprob"].as_f64()).map(|(a, b)| (a - b).abs());
            assert!(apart.is_some_and(|d| d < near), "{exact} {got}");
        }
    }
    let int8 = [&KNOWN[..], &["--precision", "int8", "--images", &pictures]].concat();
    let (printed, _) = import_known(&b, &out(&b, "int8"), &int8, 0);
    let found: Value = serde_json::from_str(&printed).expect("one JSON object");
    assert_eq!(found["against fp32"]["pictures"], 5);
    assert!(found["against fp32"]["least cosine"].as_f64().is_some_and(|c| c > 0.99), "{found}");
}

#[test]
fn what_no_tensor_shows_is_asked_for_and_nothing_is_written() {
    let b = Bench::new();
    for (more, words) in [
        (&KNOWN[2..], &["how many attention heads", "--heads", "--preset"][..]),
        (&KNOWN[..4], &["--normalize-prefix"]),
        (&["--heads", "2", "--no-normalize-prefix"], &["--stop-token"]),
        (&["--heads", "3", "--stop-token", "13", "--no-normalize-prefix"], &["3 attention heads do not divide"]),
        (&["--heads", "2", "--stop-token", "300", "--no-normalize-prefix"], &["\"300\" is not among the 300 tokens"]),
        (&["--preset", "coco-mlp"], &["not coco-mlp", "prefix length is 4, the preset's is 10"]),
        (&[&KNOWN[..], &["--precision", "int8"]].concat(), &["--images"]),
    ] {
        let (_, error) = import_known(&b, &out(&b, "out"), more, 2);
        assert!(words.iter().all(|word| error.contains(word)), "{more:?}: {error}");
        assert!(!b.path("out").exists());
    }
    std::fs::create_dir(b.path("taken")).expect("a folder");
    b.write("taken/file", b"");
    let (_, error) = import_known(&b, &out(&b, "taken"), &KNOWN, 1);
    assert!(error.contains("exists and is not empty"), "{error}");
}

/// Tensors of a file of safetensors: type, shape and bytes.
type Tensors = BTreeMap<String, (String, Vec<usize>, Vec<u8>)>;

fn read_tensors(path: &Path) -> Tensors {
    let bytes = std::fs::read(path).expect("a file of safetensors");
    let (length, rest) = bytes.split_at(8);
    let (header, data) = rest.split_at(u64::from_le_bytes(length.try_into().expect("8 bytes")) as usize);
    let header: BTreeMap<String, Value> = serde_json::from_slice(header).expect("a header");
    let tensor = |info: &Value| {
        let number = |value: &Value| value.as_u64().expect("a number") as usize;
        let shape = info["shape"].as_array().expect("a shape").iter().map(number).collect();
        let [from, to] = [0, 1].map(|n| number(&info["data_offsets"][n]));
        (info["dtype"].as_str().expect("a type").to_string(), shape, data[from..to].to_vec())
    };
    header.iter().filter(|(name, _)| *name != "__metadata__").map(|(name, info)| (name.clone(), tensor(info))).collect()
}

fn write_tensors(path: &Path, tensors: &Tensors) {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, (dtype, shape, bytes)) in tensors {
        let from = data.len();
        data.extend(bytes);
        header.insert(name.clone(), json!({ "dtype": dtype, "shape": shape, "data_offsets": [from, data.len()] }));
    }
    let header = Value::from(header).to_string();
    let all = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat();
    std::fs::write(path, all).expect("a file of safetensors");
}

/// A copy of the checkpoint with the transformer mapper, changed.
fn changed(b: &Bench, change: impl FnOnce(&mut Tensors)) -> PathBuf {
    let mut tensors = read_tensors(Path::new(&checkpoint("transformer.safetensors")));
    change(&mut tensors);
    write_tensors(&b.path("changed.safetensors"), &tensors);
    b.path("changed.safetensors")
}

/// Refused with this in the message. Nothing is written, and nothing is left behind.
fn assert_refused(b: &Bench, [clipcap, clip]: [&str; 2], words: &[&str]) {
    let more = ["--heads", "2", "--stop-token", "157", "--normalize-prefix"];
    let before = std::fs::read_dir(b.path(".")).expect("a folder").count();
    let (printed, error) = import(b, [clipcap, clip], &out(b, "out"), &more, 2);
    assert!(words.iter().all(|word| error.contains(word)), "{error}");
    assert_eq!((printed.as_str(), std::fs::read_dir(b.path(".")).expect("a folder").count()), ("", before));
}

#[test]
fn a_checkpoint_with_a_missing_or_an_odd_tensor_is_refused() {
    let (b, clip) = (Bench::new(), checkpoint("clip"));
    let bias = "clip_project.transformer.layers.0.attn.project.bias";
    let same = changed(&b, |_| {}).display().to_string();
    import(&b, [&same, &clip], &out(&b, "same"), &["--heads", "2", "--stop-token", "157", "--normalize-prefix"], 0);
    let refused = |change: fn(&mut Tensors), words: &[&str]| {
        let path = changed(&b, change).display().to_string();
        assert_refused(&b, [&path, &clip], &[&["changed.safetensors"], words].concat());
    };
    refused(
        |all| drop(all.remove("clip_project.transformer.layers.0.attn.project.bias")),
        &[&format!("there is no tensor {bias}")],
    );
    refused(
        |all| all.retain(|name, _| !name.starts_with("clip_project.")),
        &["no mapper in it", "clip_project.model.0.weight", "clip_project.prefix_const"],
    );
    refused(
        |all| {
            let norm = all.get_mut("gpt.transformer.h.1.ln_2.weight").expect("a norm");
            (norm.1, norm.2) = (vec![15], norm.2[..30].to_vec());
        },
        &["tensor gpt.transformer.h.1.ln_2.weight is [15], and must be [16]"],
    );
    refused(
        |all| all.retain(|name, _| !name.starts_with("gpt.transformer.h.")),
        &["there is no layer gpt.transformer.h.0"],
    );
    refused(
        |all| {
            let linear = all.get_mut("clip_project.linear.weight").expect("a matrix");
            (linear.1, linear.2) = (vec![63, 16], linear.2[..63 * 16 * 2].to_vec());
        },
        &["clip_project.linear.weight has 63 rows, no multiple of the language model's width 16"],
    );
    refused(
        |all| all.get_mut("gpt.transformer.ln_f.bias").expect("a norm").0 = "I16".into(),
        &["tensor gpt.transformer.ln_f.bias holds integers"],
    );
}

#[test]
fn a_clip_that_does_not_belong_to_the_checkpoint_is_refused() {
    let (b, clipcap) = (Bench::new(), checkpoint("transformer.safetensors"));
    std::fs::create_dir(b.path("clip")).expect("a folder");
    let config: Value =
        serde_json::from_slice(&std::fs::read(checkpoint("clip/config.json")).expect("a file")).expect("JSON");
    let clip = b.path("clip").display().to_string();
    let weights = Path::new(&checkpoint("clip")).join("model.safetensors");
    let refused = |change: &dyn Fn(&mut Value, &mut Tensors), words: &[&str]| {
        let (mut config, mut tensors) = (config.clone(), read_tensors(&weights));
        change(&mut config, &mut tensors);
        b.write("clip/config.json", config.to_string().as_bytes());
        write_tensors(&b.path("clip/model.safetensors"), &tensors);
        assert_refused(&b, [&clipcap, &clip], words);
    };
    let fit = ["transformer.safetensors", "its mapper reads 16 numbers", "gives embeddings of 8", "Name the CLIP"];
    refused(&|config, _| config["projection_dim"] = 8.into(), &fit);
    refused(&|config, _| config["vision_config"]["num_attention_heads"] = 3.into(), &["are no transformer"]);
    refused(&|config, _| config["vision_config"]["patch_size"] = 5.into(), &["no whole patches of 5"]);
    refused(&|config, _| config["vision_config"]["hidden_act"] = "relu".into(), &["hidden_act \"relu\" is unknown"]);
    refused(
        &|config, _| config["vision_config"]["image_size"] = 40.into(),
        &["position_embedding.weight is [17, 16], and must be [26, 16]"],
    );
    refused(
        &|_, all| drop(all.remove("vision_model.post_layernorm.weight")),
        &["there is no tensor vision_model.post_layernorm.weight"],
    );
    // A checkpoint that is none of a CLIP, and a folder without weights.
    assert_refused(&b, [&clipcap, &checkpoint("clipcap.pt")], &["not one of OpenAI's CLIP files"]);
    std::fs::remove_file(b.path("clip/model.safetensors")).expect("a file");
    assert_refused(&b, [&clipcap, &clip], &["no model.safetensors and no pytorch_model.bin"]);
}

/// A checkpoint whose pickle would run a command.
#[test]
fn a_pickle_that_runs_a_command_is_refused_and_nothing_is_run() {
    let b = Bench::new();
    let evil = root().join("tests/goldens/checkpoints/system.pt").display().to_string();
    assert_refused(&b, [&evil, &checkpoint("clip")], &["system.pt", "posix.system", "more than tensors"]);
    assert_refused(&b, [&checkpoint("transformer.safetensors"), &evil], &["system.pt", "posix.system"]);
    assert!(!b.path("this-was-run").exists());
}
