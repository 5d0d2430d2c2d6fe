//! Model folders, and what models on servers answer.

use std::fs;
use std::path::{Component, Path};

use descry::fuzzing;
use descry::media::Rgb;
use descry::model::{HubFolder, Manifest, ModelFolder};

use crate::scratch::{check_error, parts, scratch_file, scratch_folder};

/// Longest sentence of an answer, in characters.
const SENTENCE: usize = 500;
/// Most samples of a picture for an image tower: 17 tiles of 2048 pixels.
const SAMPLES: usize = 17 * 3 * 2048 * 2048;

/// `model.json` of both formats: whatever is accepted names no file outside of the folder, and has sizes in their ranges.
pub(crate) fn manifest(data: &[u8]) {
    let first = fuzzing::manifest(data);
    assert_eq!(format!("{first:?}"), format!("{:?}", fuzzing::manifest(data)), "parsing twice differs");
    match first {
        Ok(manifest) => check_manifest(&manifest),
        Err(cause) => assert!(!cause.is_empty() && cause.len() < 64 << 10),
    }
}

fn check_manifest(manifest: &Manifest) {
    for (name, file) in &manifest.files {
        let mut components = Path::new(name).components();
        assert!(components.all(|c| matches!(c, Component::Normal(_))) && !name.is_empty(), "{name:?}");
        assert_eq!(file.sha256.len(), 64);
    }
    assert!(manifest.files.contains_key(&manifest.image.graph));
    assert!((1..=4096).contains(&manifest.image.size) && manifest.image.std.iter().all(|s| *s > 0.0));
    assert!(manifest.embedder.is_some() || manifest.captioner.is_some());
    if let Some(captioner) = &manifest.captioner {
        assert!(captioner.decoding.temperature > 0.0 && !captioner.decoding.stop_tokens.is_empty());
        assert!((1..=captioner.longest()).contains(&captioner.decoding.max_tokens));
        assert!((1..=64).contains(&captioner.decoding.beam));
    }
}

/// ONNX graphs, which descry's own reader changes: what it writes it reads again, to the same bytes.
pub(crate) fn graph(data: &[u8]) {
    if let Some(copy) = fuzzing::copied_graph(data) {
        assert_eq!(fuzzing::copied_graph(&copy).as_ref(), Some(&copy), "a copy of the copy differs");
    }
    if let Some(changed) = fuzzing::rewritten_graph(data) {
        assert!(fuzzing::copied_graph(&changed).is_some(), "a changed graph cannot be read");
    }
}

/// The files of a folder in the hub's layout, in the order of an input's parts; the prompt is the last part.
pub(crate) const HUB_FILES: [&str; 7] = [
    "config.json",
    "preprocessor_config.json",
    "generation_config.json",
    "tokenizer_config.json",
    "processor_config.json",
    "chat_template.jinja",
    "tokenizer.json",
];
/// Graphs of all families; their content does not matter before ONNX Runtime reads them.
const GRAPHS: [&str; 6] =
    ["vision_encoder", "embed_tokens", "decoder_model_merged", "encoder_model", "vision_model", "text_model"];

/// A folder in the hub's layout: its configuration, chat template and tokenizer, up to the input of its graphs.
pub(crate) fn hub(data: &[u8]) {
    let folder = scratch_folder().join("hub");
    if !folder.is_dir() {
        fs::create_dir_all(folder.join("onnx")).expect("a folder");
        for graph in GRAPHS {
            fs::write(folder.join(format!("onnx/{graph}.onnx")), b"graph").expect("a graph");
        }
    }
    let files: [Option<&[u8]>; 8] = parts(data);
    for (name, content) in HUB_FILES.iter().zip(files) {
        let path = folder.join(name);
        match content.filter(|content| !content.is_empty()) {
            Some(content) => fs::write(path, content).expect("a file of the model"),
            None => drop(fs::remove_file(path)),
        }
    }
    match ModelFolder::open(&folder) {
        Ok(clip) => {
            check_manifest(clip.manifest());
            assert!(clip.hash().len() == 64 && !clip.manifest().title().is_empty());
        }
        Err(error) => check_error(&error),
    }
    let captioner = match HubFolder::open(&folder, None) {
        Ok(captioner) => captioner,
        Err(error) => return check_error(&error),
    };
    assert!(captioner.hash().len() == 64 && !captioner.title().is_empty());
    let _ = captioner.batch_bytes(4);
    let picture = Rgb { width: 12, height: 7, data: vec![99; 12 * 7 * 3] };
    let prompt = String::from_utf8_lossy(files[7].unwrap_or(b"Describe it."));
    match fuzzing::hub_input(&captioner, &prompt, &picture) {
        Ok((tokens, samples)) => {
            assert!(tokens.len() < 1 << 20, "{} tokens", tokens.len());
            assert!(samples.len() <= SAMPLES && samples.len().is_multiple_of(3), "{} samples", samples.len());
        }
        Err(error) => check_error(&error),
    }
}

/// A `tokenizer.json`, then a text: a tower gets at least one token, and no more than it reads.
pub(crate) fn tokenizer(data: &[u8]) {
    let [file, text] = parts(data);
    let text = String::from_utf8_lossy(text.unwrap_or(b"A dog runs on the beach, 3 times."));
    for length in [1, 16] {
        match fuzzing::text_tokens(file.unwrap_or_default(), &text, length) {
            Ok(tokens) => assert!((1..=length).contains(&tokens.len()), "{} of {length} tokens", tokens.len()),
            Err(cause) => assert!(!cause.is_empty()),
        }
    }
}

/// What a server answers: a caption is one line of bounded length, and a refusal none.
pub(crate) fn answer(data: &[u8]) {
    check_sentence(&fuzzing::sentence(&String::from_utf8_lossy(data)));
    for status in [200, 400, 429, 503] {
        match fuzzing::answer_text(status, data) {
            Ok(text) => check_sentence(&fuzzing::sentence(&text)),
            // A server's own words are cut.
            Err(cause) => assert!(!cause.is_empty() && cause.chars().count() < 1_000, "{} bytes", cause.len()),
        }
    }
}

/// What the hub lists: whatever is chosen of it is the name of a file in the model's folder.
pub(crate) fn listing(data: &[u8]) {
    match fuzzing::chosen_files(data) {
        Ok(names) => {
            for name in names {
                let mut components = Path::new(&name).components();
                assert!(components.all(|c| matches!(c, Component::Normal(_))) && !name.is_empty(), "{name:?}");
                let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
                assert!(name.chars().all(plain) && name.matches('/').count() <= 1, "{name:?}");
            }
        }
        Err(cause) => assert!(!cause.is_empty() && cause.len() < 64 << 10),
    }
}

/// Most bytes of a checkpoint that are read at a time, whatever its length.
const CHECKPOINT_BLOCK: usize = 64 << 10;

/// A checkpoint, in any format, or a pickle alone, which an archive is made around: its checksum would refuse most changes.
pub(crate) fn checkpoint(data: &[u8]) {
    check_checkpoint(data);
    if data.starts_with(b"\x80") {
        for script in [false, true] {
            check_checkpoint(&fuzzing::archive_of_pickle(data, script).expect("an archive in memory"));
        }
    }
}

/// A checkpoint must not give more values than a file of its size can hold.
fn check_checkpoint(data: &[u8]) {
    let path = scratch_file("checkpoint.pt", data);
    let tensors = match fuzzing::checkpoint_tensors(&path) {
        Ok(tensors) => tensors,
        Err(error) => return check_error(&error),
    };
    let mut all = 0;
    for (shape, values) in tensors {
        match values {
            Ok(values) => {
                assert_eq!(values.len(), shape.iter().product::<usize>());
                all += values.len();
            }
            Err(error) => check_error(&error),
        }
    }
    assert!(all <= 4 * (data.len() + CHECKPOINT_BLOCK), "{all} values of {} bytes", data.len());
}

fn check_sentence(sentence: &str) {
    assert!(sentence.chars().count() <= SENTENCE, "{} bytes", sentence.len());
    assert!(!sentence.contains(['\n', '\r']), "a caption of several lines: {sentence:?}");
    assert_eq!(sentence, sentence.trim(), "a caption with spaces around it");
    assert!(
        sentence.is_empty() || sentence.chars().any(char::is_alphanumeric),
        "a caption without a word: {sentence:?}"
    );
}
