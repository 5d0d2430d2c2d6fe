//! `descry model`: a model comes from a hub, describes without a network, is listed, checked, repaired and removed.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use crate::common::hub::{COMMIT, Hub, HubReply, SIGNATURE, assert_files, command, files_of, git_hash, run, sha256};
use crate::common::{Bench, TINY, root};
use crate::hub::picture;

pub(crate) const MODEL: &str = "tests/models/hub";
pub(crate) const NAME: &str = "smolvlm2-256m";

/// What a repository holds: both variants, and what no model needs.
pub(crate) fn repository() -> BTreeMap<String, Vec<u8>> {
    let mut files = files_of(MODEL, ("_uint8", "_int8"));
    files.insert("README.md".into(), b"# A model\n".to_vec());
    files.insert("model.safetensors".into(), vec![7; 1000]);
    files
}

/// What `pull` takes of it: the variant of 8 bits.
pub(crate) fn wanted() -> BTreeMap<String, Vec<u8>> {
    let is_wanted = |name: &str| {
        !matches!(name, "README.md" | "model.safetensors") && (!name.starts_with("onnx/") || name.contains("_int8"))
    };
    repository().into_iter().filter(|(name, _)| is_wanted(name)).collect()
}

pub(crate) fn record(b: &Bench, folder: &str) -> Value {
    serde_json::from_str(&b.read(&format!("store/{folder}/descry-pull.json"))).unwrap()
}

pub(crate) fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Captions a picture with the model, without a hub. Returns the JSON.
fn caption(b: &Bench, model: &str, code: i32) -> (String, String) {
    let (picture, embedder) = (picture("alpha.png").display().to_string(), root().join(TINY).display().to_string());
    run(&mut command(b, &["caption", &picture, "--model", model, "--embedder", &embedder, "--json"]), code)
}

#[test]
fn a_model_comes_once_and_describes_without_a_network() {
    let (b, hub) = (Bench::new(), Hub::new(repository()));
    let mut pull = hub.command(&b, &["model", "pull", NAME, "--log", "json"]);
    let (_, err) = run(pull.env("HF_TOKEN", "hf_t0ken-of-mine"), 0);
    assert_files(&b.path("store").join(NAME), &wanted());
    assert_eq!(names(&b.path("store")), [NAME]);
    assert!(err.contains(COMMIT) && err.contains("\"was_complete\":false"), "{err}");
    // The record.
    let record = record(&b, NAME);
    assert_eq!(record["repository"], "HuggingFaceTB/SmolVLM2-256M-Video-Instruct");
    assert_eq!((&record["revision"], &record["commit"]), (&json!("main"), &json!(COMMIT)));
    assert_eq!((&record["licence"], &record["precisions"]), (&json!("Apache-2.0"), &json!(["int8"])));
    for (name, bytes) in wanted() {
        assert_eq!(record["files"][&name], json!({ "sha256": sha256(&bytes), "bytes": bytes.len() }), "{name}");
    }
    // Whom the token and which files went to.
    let asked = hub.take_asked();
    assert!(asked.iter().any(|a| a.outside) && asked.iter().any(|a| !a.outside));
    for a in &asked {
        let token = a.header("authorization");
        assert_eq!(token, (!a.outside).then_some("Bearer hf_t0ken-of-mine"), "{}", a.head);
        assert!(a.path().starts_with("api/") || wanted().keys().any(|name| a.is_for(name)), "{}", a.head);
    }
    // Nothing shows the token or the signature.
    for text in [&err, &record.to_string()] {
        assert!(!text.contains("t0ken") && !text.contains(SIGNATURE), "{text}");
    }
    // Without a network it captions as its files do, with the prompt of the registry.
    let plain = b.path("plain");
    std::fs::create_dir_all(plain.join("onnx")).unwrap();
    wanted().iter().for_each(|(name, bytes)| std::fs::write(plain.join(name), bytes).unwrap());
    let (own, _) = caption(&b, NAME, 0);
    let text = |out: &str| serde_json::from_str::<Value>(out.lines().next().unwrap()).unwrap()["text"].clone();
    let args = [
        "caption",
        "--model",
        "plain",
        "--embedder",
        &root().join(TINY).display().to_string(),
        "--json",
        "--prompt",
        "Describe what happens, in one short sentence.",
        &picture("alpha.png").display().to_string(),
    ];
    let (theirs, _) = b.run(&args, 0);
    assert_eq!(text(&own), text(&theirs));
    assert!(text(&own).is_string(), "{own}");
    // A second pull asks nobody.
    let (_, err) = hub.run(&b, &["model", "pull", NAME], 0);
    assert!(err.contains("is complete") && hub.asked().is_empty(), "{err}");
}

#[test]
fn the_prompt_of_a_model_is_used_and_recorded() {
    let (b, hub) = (Bench::new(), Hub::new(repository()));
    hub.run(&b, &["model", "pull", NAME], 0);
    b.ffmpeg("-f lavfi -i testsrc2=size=96x64:rate=10:duration=1 -c:v mpeg4 clip.mkv");
    let embedder = root().join(TINY).display().to_string();
    let prompt = |more: &[&str]| {
        let args = ["describe", "clip.mkv", "--model", NAME, "--embedder", &embedder, "-f", "json", "-o", "-"];
        let (out, _) = run(&mut command(&b, &[&args, more].concat()), 0);
        serde_json::from_str::<Value>(&out).unwrap()["options"]["decoding"]["prompt"].clone()
    };
    assert_eq!(prompt(&[]), "Describe what happens, in one short sentence.");
    assert_eq!(prompt(&["--prompt", "What is it?"]), "What is it?");
    assert_eq!(prompt(&["--language", "French"])["text"], "Describe what happens, in one short sentence.");
}

#[test]
fn any_repository_can_be_named_and_another_variant_added() {
    let (b, hub) = (Bench::new(), Hub::new(repository()));
    let name = "hf:owner/some-model@v1.0";
    assert!(caption(&b, name, 2).1.contains(&format!("Bring it here with descry model pull {name}.")));
    // Without a variant, the usual one.
    hub.run(&b, &["model", "pull", name], 0);
    let first = record(&b, "owner--some-model@v1.0");
    assert_eq!((&first["precisions"], &first["licence"]), (&json!(["fp32"]), &json!("cc-by-4.0")));
    assert!(hub.take_asked()[0].path().starts_with("api/models/owner/some-model/revision/v1.0"));
    let captioned = caption(&b, name, 0);
    // The commit stays, and only the new graphs come.
    hub.run(&b, &["model", "pull", name, "--precision", "int8"], 0);
    let asked = hub.take_asked();
    assert!(asked[0].path().ends_with(&format!("revision/{COMMIT}")), "{}", asked[0].head);
    assert!(asked[1..].iter().all(|a| a.path().contains("_int8.onnx")), "{asked:?}");
    let both = record(&b, "owner--some-model@v1.0");
    assert_eq!((&both["precisions"], &both["pulled"]), (&json!(["fp32", "int8"]), &first["pulled"]));
    assert_eq!(names(&b.path("store")), ["owner--some-model@v1.0"]);
    assert_eq!(caption(&b, name, 0), captioned);
    run(&mut command(&b, &["model", "check"]), 0);
    run(&mut command(&b, &["model", "show", name, "--precision", "int8"]), 0);
    // A variant that is not there.
    let (_, err) = hub.run(&b, &["model", "pull", name, "--precision", "q4"], 2);
    assert!(err.contains("onnx/vision_encoder_q4.onnx") && err.contains("fp32, int8"), "{err}");
}

#[test]
fn an_embedder_and_a_model_with_an_encoder_come_too() {
    let b = Bench::new();
    let hub = Hub::new(files_of("tests/models/clip", ("_int8", "_int8")));
    hub.run(&b, &["model", "pull", "clip-vit-b32"], 0);
    assert!(b.path("store/clip-vit-b32/onnx/text_model.onnx").exists());
    assert!(!b.path("store/clip-vit-b32/onnx/text_model_int8.onnx").exists());
    let alpha = picture("alpha.png").display().to_string();
    run(&mut command(&b, &["embed", "--model", "clip-vit-b32", &alpha]), 0);
    let hub = Hub::new(files_of("tests/models/florence", (".onnx", "_int8.onnx")));
    hub.run(&b, &["model", "pull", "florence-2-base-ft"], 0);
    assert!(b.path("store/florence-2-base-ft/onnx/encoder_model_int8.onnx").exists());
    let (out, _) = run(&mut command(&b, &["model", "list", "--json"]), 0);
    assert_eq!(out.matches("\"state\":\"pulled\"").count(), 2, "{out}");
}

#[test]
fn models_are_listed_shown_and_removed() {
    let (b, hub) = (Bench::new(), Hub::new(repository()));
    let (out, _) = run(&mut command(&b, &["model", "list"]), 0);
    let line = |out: &str, name: &str| out.lines().find(|l| l.starts_with(name)).unwrap_or_default().to_string();
    assert!(line(&out, "builtin").contains("built-in"), "{out}");
    for words in ["available", "about 260 MB, int8", "Apache-2.0", "better words"] {
        assert!(line(&out, NAME).contains(words), "{out}");
    }
    hub.run(&b, &["model", "pull", NAME], 0);
    let (out, _) = run(&mut command(&b, &["model", "list"]), 0);
    assert!(line(&out, NAME).contains("pulled") && !line(&out, NAME).contains("about"), "{out}");
    let (out, _) = run(&mut command(&b, &["model", "list", "--json"]), 0);
    let all: Vec<Value> = out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let own = all.iter().find(|model| model["name"] == NAME).unwrap();
    let bytes: usize = wanted().values().map(Vec::len).sum();
    assert_eq!((&own["bytes"], &own["commit"]), (&json!(bytes), &json!(COMMIT)));
    let (out, _) = run(&mut command(&b, &["model", "show", NAME]), 0);
    for words in
        ["repository   HuggingFaceTB/", COMMIT, "revision     main", "pulled       20", "licence      Apache-2.0"]
    {
        assert!(out.contains(words), "{words}: {out}");
    }
    // What descry did not pull is not removed.
    std::fs::create_dir_all(b.path("store/mine")).unwrap();
    for name in ["builtin", "mine", "smolvlm2-500m", "hf:o/n"] {
        let (_, err) = run(&mut command(&b, &["model", "rm", name]), 2);
        assert!(err.contains(&format!("{name} was not pulled")), "{err}");
    }
    let (_, err) = run(&mut command(&b, &["model", "rm", "../store"]), 2);
    assert!(err.contains("not the name of a model"), "{err}");
    run(&mut command(&b, &["model", "rm", NAME]), 0);
    assert_eq!(names(&b.path("store")), ["mine"]);
    // And a folder of the user's is not taken.
    std::fs::rename(b.path("store/mine"), b.path("store").join(NAME)).unwrap();
    let (_, err) = hub.run(&b, &["model", "pull", NAME], 1);
    assert!(err.contains("descry did not pull it"), "{err}");
    let (_, err) = hub.run(&b, &["model", "pull", "smolvlm2-256"], 2);
    assert!(err.contains("Did you mean smolvlm2-256m?"), "{err}");
}

#[test]
fn damage_is_found_refused_and_repaired() {
    let (b, hub) = (Bench::new(), Hub::new(repository()));
    hub.run(&b, &["model", "pull", NAME], 0);
    let (_, err) = run(&mut command(&b, &["model", "check"]), 0);
    assert!(err.contains("1 pulled model intact, 0 damaged"), "{err}");
    let store = b.path("store").join(NAME);
    let graph = store.join("onnx/embed_tokens_int8.onnx");
    let mut bytes = std::fs::read(&graph).unwrap();
    let last = bytes.len() - 40;
    bytes[last] ^= 1;
    std::fs::write(&graph, &bytes).unwrap();
    std::fs::remove_file(store.join("tokenizer.json")).unwrap();
    let (_, err) = run(&mut command(&b, &["model", "check", NAME]), 1);
    for words in [
        "embed_tokens_int8.onnx: is not the file that was pulled",
        "tokenizer.json: is missing",
        "descry model pull smolvlm2-256m repairs it",
    ] {
        assert!(err.contains(words), "{words}: {err}");
    }
    assert_eq!(err.matches("error:").count(), 2, "{err}");
    hub.take_asked();
    hub.run(&b, &["model", "pull", NAME], 0);
    assert_files(&store, &wanted());
    assert_eq!(names(&b.path("store")), [NAME]);
    assert!(hub.take_asked().iter().all(|a| !a.is_for("vision_encoder_int8.onnx") && !a.is_for("/config.json")));
    // A model that is not what was pulled is not used.
    std::fs::write(&graph, &bytes).unwrap();
    let (_, err) = caption(&b, NAME, 2);
    assert!(err.contains("was changed") && err.contains("descry model pull smolvlm2-256m repairs it"), "{err}");
    std::fs::write(&graph, &wanted()["onnx/embed_tokens_int8.onnx"]).unwrap();
    for graph in ["vision_encoder", "embed_tokens", "decoder_model_merged"] {
        let name = format!("onnx/{graph}.onnx");
        std::fs::write(store.join(&name), &repository()[&name]).unwrap();
    }
    let (_, err) = caption(&b, NAME, 2);
    assert!(err.contains("is not one of the files that were pulled"), "{err}");
    let (_, err) = run(&mut command(&b, &["model", "check", "smolvlm2-500m"]), 2);
    assert!(err.contains("was not pulled"), "{err}");
}

/// The hub's own cache, with its files behind links.
#[cfg(unix)]
fn cache(b: &Bench, leave_out: &str) {
    use std::os::unix::fs::symlink;
    let dir = b.path("hf/hub/models--HuggingFaceTB--SmolVLM2-256M-Video-Instruct");
    let snapshot = dir.join("snapshots").join(COMMIT);
    for folder in [&snapshot.join("onnx"), &dir.join("blobs"), &dir.join("refs")] {
        std::fs::create_dir_all(folder).unwrap();
    }
    std::fs::write(dir.join("refs/main"), COMMIT).unwrap();
    for (name, bytes) in wanted().iter().filter(|(name, _)| name.as_str() != leave_out) {
        let hash = if name.starts_with("onnx/") { sha256(bytes) } else { git_hash(bytes) };
        std::fs::write(dir.join("blobs").join(&hash), bytes).unwrap();
        let up = if name.starts_with("onnx/") { "../../../blobs" } else { "../../blobs" };
        symlink(format!("{up}/{hash}"), snapshot.join(name)).unwrap();
    }
}

#[cfg(unix)]
#[test]
fn files_in_the_cache_of_the_hub_are_used() {
    let (b, hub) = (Bench::new(), Hub::new(repository()));
    cache(&b, "onnx/embed_tokens_int8.onnx");
    let mut offline = hub.command(&b, &["model", "pull", NAME]);
    let (_, err) = run(offline.env("HF_HUB_OFFLINE", "1"), 2);
    assert!(err.contains("embed_tokens_int8.onnx"), "{err}");
    let mut none = hub.command(&b, &["model", "pull", "smolvlm2-500m"]);
    let (_, err) = run(none.env("HF_HUB_OFFLINE", "1"), 1);
    assert!(err.contains("revision main") && err.contains("HF_HUB_OFFLINE"), "{err}");
    assert!(hub.asked().is_empty());
    // With the hub, only what is missing comes.
    hub.run(&b, &["model", "pull", NAME], 0);
    let asked = hub.take_asked();
    assert!(
        asked[0].path().starts_with("api/") && asked[1..].iter().all(|a| a.is_for("embed_tokens_int8.onnx")),
        "{asked:?}"
    );
    assert_files(&b.path("store").join(NAME), &wanted());
    // A cache that has all of it is enough, and is left as it is.
    let b = Bench::new();
    cache(&b, "");
    let mut offline = command(&b, &["model", "pull", NAME]);
    run(offline.env("HF_HUB_OFFLINE", "1"), 0);
    assert_files(&b.path("store").join(NAME), &wanted());
    assert!(!std::fs::symlink_metadata(b.path("store").join(NAME).join("config.json")).unwrap().is_symlink());
    // One that was changed counts for nothing.
    run(&mut command(&b, &["model", "rm", NAME]), 0);
    let blob = sha256(&wanted()["onnx/embed_tokens_int8.onnx"]);
    let blob = b.path("hf/hub/models--HuggingFaceTB--SmolVLM2-256M-Video-Instruct/blobs").join(blob);
    let mut bytes = std::fs::read(&blob).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&blob, bytes).unwrap();
    let mut offline = command(&b, &["model", "pull", NAME]);
    let (_, err) = run(offline.env("HF_HUB_OFFLINE", "1"), 1);
    assert!(err.contains("onnx/embed_tokens_int8.onnx") && err.contains("HF_HUB_OFFLINE"), "{err}");
    hub.run(&b, &["model", "pull", NAME], 0);
    assert_files(&b.path("store").join(NAME), &wanted());
}

/// Both want the same model, and one waits for the other.
#[test]
fn two_processes_pull_a_model_once() {
    let b = Bench::new();
    let hub = Hub::with(repository(), |_, _| HubReply::Slow(2_000));
    let children: Vec<_> = (0..3).map(|_| hub.command(&b, &["model", "pull", NAME, "-q"]).spawn().unwrap()).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_files(&b.path("store").join(NAME), &wanted());
    assert_eq!(names(&b.path("store")), [NAME]);
    let asked = hub.asked();
    for name in wanted().keys() {
        let times = asked.iter().filter(|a| a.is_for(&format!("/{name}")) && !a.outside).count();
        assert_eq!(times, 1, "{name}");
    }
}

/// A model folder as descry makes it: its manifest says which files belong to it, and what they are.
#[test]
fn a_model_folder_of_descrys_own_is_pulled_by_its_manifest() {
    let files = || {
        let mut files = std::collections::BTreeMap::new();
        for entry in std::fs::read_dir(root().join(TINY)).unwrap() {
            let path = entry.unwrap().path();
            files.insert(path.file_name().unwrap().to_str().unwrap().to_string(), std::fs::read(path).unwrap());
        }
        files
    };
    let manifest: Value = serde_json::from_slice(&files()["model.json"]).unwrap();
    let listed = manifest["files"].as_object().unwrap();
    let mut with_more = files();
    with_more.insert("other.bin".into(), vec![1; 100]);
    let (b, hub) = (Bench::new(), Hub::new(with_more));
    hub.run(&b, &["model", "pull", "hf:owner/tiny"], 0);
    let record = record(&b, "owner--tiny");
    let mut names: Vec<&String> = record["files"].as_object().unwrap().keys().collect();
    names.retain(|name| *name != "model.json");
    assert_eq!(names, listed.keys().collect::<Vec<_>>(), "only what the manifest lists comes");
    let (out, _) = run(&mut command(&b, &["model", "show", "hf:owner/tiny"]), 0);
    assert!(out.contains("image.onnx"), "{out}");
    let (_, err) = hub.run(&b, &["model", "pull", "hf:owner/tiny"], 0);
    assert!(err.contains("is complete"), "{err}");
    // The built-in model is pinned: another one in its place is refused.
    let (_, err) = hub.run(&b, &["model", "pull", "builtin"], 1);
    assert!(err.contains("model.json") && err.contains("builtin"), "{err}");
    let (_, err) = hub.run(&b, &["model", "pull", "hf:owner/tiny", "--precision", "int8"], 2);
    assert!(err.contains("--precision"), "{err}");
    for (change, cause) in [("absent.onnx", "which the repository does not have"), ("../x", "")] {
        let mut changed = files();
        let mut wrong = manifest.clone();
        wrong["files"][change] = json!({ "sha256": "0".repeat(64), "bytes": 1 });
        changed.insert("model.json".into(), wrong.to_string().into_bytes());
        let (b, hub) = (Bench::new(), Hub::new(changed));
        let (_, err) = hub.run(&b, &["model", "pull", "hf:owner/tiny"], 2);
        assert!(err.contains(cause), "{err}");
        assert!(!b.path("models/owner--tiny").exists());
    }
}
