//! `descry model import` with a CLIP and a tokenizer of the hub: they come once, verified, and stay.

use std::collections::BTreeMap;
use std::path::Path;

use crate::clipcap::parity_of;
use crate::clipcap_import::{KNOWN, checkpoint};
use crate::common::hub::{COMMIT, Hub, HubReply, assert_files, command, git_hash, run, sha256};
use crate::common::{Bench, root};
use crate::pull::{names, record};

const CLIP: &str = "hf:openai/clip-vit-base-patch32";
const TOKENIZER: &str = "hf:openai-community/gpt2";
const CLIP_FOLDER: &str = "openai--clip-vit-base-patch32~import";
const TOKENIZER_FOLDER: &str = "openai-community--gpt2~import";

fn file(name: &str) -> Vec<u8> {
    std::fs::read(checkpoint(name)).expect("a file of the checkpoint")
}

/// What an import takes of a repository with a CLIP.
fn clip() -> BTreeMap<String, Vec<u8>> {
    let files = [("config.json", "clip/config.json"), ("model.safetensors", "clip/model.safetensors")];
    let all = files.into_iter().chain([("tokenizer.json", "../mlp/tokenizer.json")]);
    all.map(|(name, from)| (name.to_string(), file(from))).collect()
}

/// The same with what no import needs.
pub(crate) fn repository() -> BTreeMap<String, Vec<u8>> {
    let mut files = clip();
    for name in ["README.md", "pytorch_model.bin", "tf_model.h5", "vocab.json", "onnx/model.onnx"] {
        files.insert(name.into(), b"not needed".to_vec());
    }
    files
}

fn args<'a>(checkpoint: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let args = ["model", "import", "--clipcap", checkpoint, "--clip", CLIP, "--tokenizer", TOKENIZER, "--out", "out"];
    [&args, &KNOWN[..], more].concat()
}

#[test]
fn a_clip_and_a_tokenizer_of_the_hub_come_once() {
    let (b, hub, clipcap) = (Bench::new(), Hub::new(repository()), checkpoint("clipcap.pt"));
    hub.run(&b, &args(&clipcap, &[]), 0);
    parity_of(&b, "checkpoint/clipcap", &b.path("out").display().to_string());
    assert_eq!(names(&b.path("store")), [CLIP_FOLDER, TOKENIZER_FOLDER]);
    assert_files(&b.path("store").join(CLIP_FOLDER), &clip());
    let tokenizer = BTreeMap::from([("tokenizer.json".to_string(), file("../mlp/tokenizer.json"))]);
    assert_files(&b.path("store").join(TOKENIZER_FOLDER), &tokenizer);
    assert_eq!(record(&b, CLIP_FOLDER)["commit"], COMMIT);
    let asked = hub.take_asked();
    let is_needed =
        |a: &str| a.starts_with("api/models/") || clip().keys().any(|name| a.ends_with(&format!("/{name}")));
    assert!(asked.iter().all(|a| is_needed(a.path())), "{asked:?}");
    // A second import asks nobody, not even for the tokenizer of the CLIP, and needs no network.
    std::fs::remove_dir_all(b.path("out")).expect("the model");
    hub.run(&b, &args(&clipcap, &["--text-tokenizer", CLIP]), 0);
    assert!(hub.asked().is_empty());
    std::fs::remove_dir_all(b.path("out")).expect("the model");
    run(command(&b, &args(&clipcap, &[])).env("HF_HUB_OFFLINE", "1"), 0);
}

#[test]
fn files_for_imports_are_listed_checked_repaired_and_removed() {
    let (b, hub, clipcap) = (Bench::new(), Hub::new(repository()), checkpoint("clipcap.pt"));
    hub.run(&b, &args(&clipcap, &[]), 0);
    hub.take_asked();
    let (list, _) = run(&mut command(&b, &["model", "list"]), 0);
    assert!(list.lines().any(|l| l.contains(CLIP) && l.ends_with("files that descry model import reads")), "{list}");
    let (_, err) = run(&mut command(&b, &["model", "check"]), 0);
    assert!(err.contains("2 pulled models intact, 0 damaged"), "{err}");
    // One changed byte is found, and that file comes again.
    let weights = b.path("store").join(CLIP_FOLDER).join("model.safetensors");
    let mut bytes = std::fs::read(&weights).expect("the weights");
    *bytes.last_mut().expect("a byte") ^= 1;
    std::fs::write(&weights, bytes).expect("the weights");
    let (_, err) = run(&mut command(&b, &["model", "check", CLIP]), 1);
    assert!(err.contains("model.safetensors") && err.contains("1 damaged"), "{err}");
    std::fs::remove_dir_all(b.path("out")).expect("the model");
    hub.run(&b, &args(&clipcap, &[]), 0);
    let asked = hub.take_asked();
    assert!(asked[1..].iter().all(|a| a.is_for("/model.safetensors")) && asked.len() > 1, "{asked:?}");
    assert_files(&b.path("store").join(CLIP_FOLDER), &clip());
    run(&mut command(&b, &["model", "rm", CLIP]), 0);
    assert_eq!(names(&b.path("store")), [TOKENIZER_FOLDER]);
    let (_, err) = run(&mut command(&b, &["model", "rm", CLIP]), 2);
    assert!(err.contains("was not pulled"), "{err}");
}

/// A repository of before safetensors, and one whose tokenizer was brought here first, at an older commit.
#[test]
fn weights_of_pytorch_are_taken_where_there_is_nothing_else() {
    let (b, clipcap, mut files) = (Bench::new(), checkpoint("clipcap.pt"), repository());
    let weights = files.remove("model.safetensors").expect("the weights");
    files.insert("pytorch_model.bin".into(), weights);
    let hub = Hub::new(files.clone());
    let more = ["--text-tokenizer", "hf:openai/clip-vit-base-patch32@v1"];
    hub.run(&b, &args(&clipcap, &more), 0);
    assert!(hub.take_asked().iter().any(|a| a.path().ends_with("openai/clip-vit-base-patch32/revision/v1")));
    assert!(b.path("store").join(CLIP_FOLDER).join("pytorch_model.bin").is_file());
    // The tokenizer alone is here: a CLIP of the same revision is added to it.
    std::fs::remove_dir_all(b.path("out")).expect("the model");
    let added = ["--clip", "hf:openai/clip-vit-base-patch32@v1"];
    let args = args(&clipcap, &[]).into_iter().map(|arg| if arg == CLIP { added[1] } else { arg }).collect::<Vec<_>>();
    hub.run(&b, &args, 0);
    let asked = hub.take_asked();
    assert!(asked[0].path().ends_with(&format!("revision/{COMMIT}")), "{asked:?}");
    assert!(asked.iter().all(|a| !a.is_for("/tokenizer.json")), "{asked:?}");
    let folder = b.path("store/openai--clip-vit-base-patch32@v1~import");
    assert_eq!(names(&folder), ["config.json", "descry-pull.json", "pytorch_model.bin", "tokenizer.json"]);
}

#[test]
fn what_the_hub_does_not_give_is_an_error_and_nothing_is_written() {
    let clipcap = checkpoint("clipcap.pt");
    let refused = |hub: &Hub, code: i32, words: &[&str]| {
        let b = Bench::new();
        let (_, err) = hub.run(&b, &args(&clipcap, &[]), code);
        assert!(words.iter().all(|word| err.contains(word)), "{err}");
        assert!(!b.path("out").exists() && !b.path("store").join(CLIP_FOLDER).exists());
    };
    let gated = Hub::with(repository(), |_, _| HubReply::Http("401 Unauthorized", String::new(), Vec::new()));
    refused(&gated, 1, &[CLIP, "set the environment variable HF_TOKEN"]);
    let wrong = Hub::with(repository(), |_, a| match a.is_for("/model.safetensors") {
        true => HubReply::Wrong,
        false => HubReply::Good,
    });
    refused(&wrong, 1, &["model.safetensors", "another file than it states"]);
    let without =
        |gone: &[&str]| Hub::new(repository().into_iter().filter(|(name, _)| !gone.contains(&name.as_str())).collect());
    let no_weights = without(&["model.safetensors", "pytorch_model.bin"]);
    refused(&no_weights, 2, &[CLIP, "no model.safetensors and no pytorch_model.bin", "such as hf:"]);
    refused(&without(&["config.json"]), 2, &[CLIP, "no config.json"]);
    // A name that is none.
    let b = Bench::new();
    let (_, err) = run(
        &mut command(
            &b,
            &["model", "import", "--clipcap", &clipcap, "--clip", "hf:../x", "--tokenizer", "t", "--out", "out"],
        ),
        2,
    );
    assert!(err.contains("hf:OWNER/NAME"), "{err}");
}

#[test]
fn without_a_network_the_cache_of_the_hub_is_used() {
    let (b, clipcap) = (Bench::new(), checkpoint("clipcap.pt"));
    let offline = |b: &Bench, code: i32| run(command(b, &args(&clipcap, &[])).env("HF_HUB_OFFLINE", "1"), code).1;
    let err = offline(&b, 1);
    assert!(err.contains(CLIP) && err.contains("HF_HUB_OFFLINE"), "{err}");
    for repository in ["models--openai--clip-vit-base-patch32", "models--openai-community--gpt2"] {
        let dir = b.path("hf/hub").join(repository);
        let snapshot = dir.join("snapshots").join(COMMIT);
        for folder in [&snapshot, &dir.join("blobs"), &dir.join("refs")] {
            std::fs::create_dir_all(folder).expect("a folder");
        }
        std::fs::write(dir.join("refs/main"), COMMIT).expect("a file");
        for (name, bytes) in clip() {
            let hash = if name == "config.json" { git_hash(&bytes) } else { sha256(&bytes) };
            std::fs::write(dir.join("blobs").join(&hash), bytes).expect("a file");
            #[cfg(unix)]
            std::os::unix::fs::symlink(format!("../../blobs/{hash}"), snapshot.join(name)).expect("a link");
        }
    }
    offline(&b, 0);
    parity_of(&b, "checkpoint/clipcap", &b.path("out").display().to_string());
    assert_files(&b.path("store").join(CLIP_FOLDER), &clip());
}

/// The commands of the page, with a checkpoint that has no preset.
#[test]
fn the_first_commands_of_the_page_lead_to_a_caption() {
    let (b, hub) = (Bench::new(), Hub::new(repository()));
    std::fs::copy(checkpoint("clipcap.pt"), b.path("coco_weights.pt")).expect("a file");
    std::fs::copy(root().join("tests/models/clipcap/pictures/odd.png"), b.path("photo.jpg")).expect("a file");
    let page = std::fs::read_to_string(root().join("docs/clipcap.md")).expect("the page");
    let block = page.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a block of commands");
    let (known, block) = (KNOWN.join(" "), block.replace("\\\n", " "));
    let commands: Vec<String> =
        block.lines().map(|line| line.replace("--preset coco-mlp", &known)).filter(|line| !line.is_empty()).collect();
    assert_eq!(commands.len(), 2, "{commands:?}");
    for line in &commands {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[0], "descry", "{line}");
        let (out, _) = hub.run(&b, &words[1..], 0);
        assert!(!out.trim().is_empty(), "{line}");
    }
    assert!(Path::new(&b.path("models/coco-mlp/model.json")).is_file());
}
