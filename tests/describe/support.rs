//! A model with a word detector, against a PyTorch loop with the same weights (`tools/tiny_model.py --support`). Its
//! other weights are those of the tiny model. Its text tower reads word pieces, as BERT does.

use std::path::Path;

use descry::error::Error;
use descry::model::{Caption, CaptionOptions, Captioner, Encoded, ModelFolder, SessionOptions, TextEncoder};
use serde_json::{Value, json};

use crate::common::{Bench, root};
use crate::inference::{caption, copy, encode, numbers, ok, one_thread, pixels, tiny};

fn detecting() -> ModelFolder {
    ok(ModelFolder::open(root().join("tests/models/support")))
}

fn goldens() -> Value {
    let text = std::fs::read_to_string(root().join("tests/goldens/support.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// A copy of the model with another manifest.
fn edited(edit: impl FnOnce(&mut Value)) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    copy(&root().join("tests/models/support"), dir.path());
    change(&dir.path().join("model.json"), edit);
    dir
}

fn change(path: &Path, edit: impl FnOnce(&mut Value)) {
    let mut manifest: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    edit(&mut manifest);
    std::fs::write(path, manifest.to_string()).unwrap();
}

fn encoded(folder: &ModelFolder, seeds: impl Iterator<Item = u32>) -> Vec<Encoded> {
    encode(folder, &pixels(folder, seeds), 8, 1)
}

fn near(found: f32, want: &Value) -> bool {
    (found - want.as_f64().unwrap() as f32).abs() < 1e-4
}

/// The searches of the golden file, by name.
fn searches() -> [(&'static str, CaptionOptions); 6] {
    let plain = || CaptionOptions { session: one_thread(), ..CaptionOptions::default() };
    [
        ("beam 1", CaptionOptions { beam: Some(1), ..plain() }),
        ("beam 3", CaptionOptions { beam: Some(3), ..plain() }),
        ("beam 5", plain()),
        ("beam 12", CaptionOptions { beam: Some(12), ..plain() }),
        ("beam 5 warm", CaptionOptions { temperature: Some(0.7), ..plain() }),
        ("greedy", CaptionOptions { greedy: true, ..plain() }),
    ]
}

fn seeds(cases: &[Value]) -> impl Iterator<Item = u32> {
    cases.iter().map(|c| c["seed"].as_u64().unwrap() as u32)
}

fn assert_matches(found: &Caption, want: &Value, at: &str) {
    let ids: Vec<i64> = want["ids"].as_array().unwrap().iter().map(|v| v.as_i64().unwrap()).collect();
    assert_eq!(found.ids, ids, "{at}");
    assert!(near(found.mean_logprob, &want["mean_logprob"]), "{at}: {}", found.mean_logprob);
    let support = found.support.as_ref().expect("the model gives it");
    assert_eq!(support.tokens.len(), ids.len(), "{at}");
    for (have, want) in support.tokens.iter().zip(numbers(&want["word_support"])) {
        assert!((have - want).abs() < 1e-4 && (*have == 0.0) == (want == 0.0), "{at}: {have} {want}");
    }
    assert!(near(support.mean(), &want["mean_support"]) && near(support.least(), &want["least_support"]));
    assert!(near(found.score.unwrap(), &want["score"]), "{at}: {:?} {}", found.score, want["score"]);
}

#[test]
fn captions_match_pytorch() {
    let (folder, goldens) = (detecting(), goldens());
    let cases = goldens["pictures"].as_array().unwrap();
    let pictures = encoded(&folder, seeds(cases));
    let mut others = 0;
    for (name, options) in searches() {
        let without = caption(&tiny(), &pictures, &options);
        for ((case, found), plain) in cases.iter().zip(caption(&folder, &pictures, &options)).zip(without) {
            assert_matches(&found, &case[name], &format!("{name}, picture {}", case["seed"]));
            others += usize::from(found.ids != plain.ids);
        }
    }
    assert!((20..60).contains(&others), "support should change some captions and not all: {others} of 72");
}

#[test]
fn certain_parts_match_pytorch() {
    let goldens = goldens();
    let cases = goldens["pictures"].as_array().unwrap();
    let rules = goldens["rules"].as_object().unwrap();
    let mut cut = 0;
    for (rule, fields) in rules {
        let dir = edited(|manifest| {
            let support = manifest["decoding"]["support"].as_object_mut().unwrap();
            support.extend(fields.as_object().unwrap().clone());
        });
        let folder = ok(ModelFolder::open(dir.path()));
        let pictures = encoded(&folder, seeds(cases));
        for (name, options) in searches() {
            for (case, found) in cases.iter().zip(caption(&folder, &pictures, &options)) {
                let name_with_rule = format!("{name}, {rule}");
                assert_matches(&found, &case[&name_with_rule], &format!("{name_with_rule}, picture {}", case["seed"]));
                assert_eq!(found.text.split_whitespace().count(), words(&found.ids), "{}", found.text);
                cut += usize::from(json!(found.ids) != case[name]["ids"]);
            }
        }
    }
    assert!((100..200).contains(&cut), "the rules should cut many captions and not all: {cut} of 216");
}

/// Tokens that are words: all but the stop token.
fn words(ids: &[i64]) -> usize {
    ids.iter().filter(|&&id| id != 13).count()
}

#[test]
fn draws_are_cut_too() {
    let pictures = encoded(&tiny(), 1..=12);
    let options = CaptionOptions { session: one_thread(), sample: Some(3), ..CaptionOptions::default() };
    let dir = edited(|manifest| manifest["decoding"]["support"]["repeats"] = false.into());
    let cut = caption(&ok(ModelFolder::open(dir.path())), &pictures, &options);
    let whole = caption(&detecting(), &pictures, &options);
    assert!(cut.iter().zip(&whole).all(|(cut, whole)| whole.ids.starts_with(&cut.ids)));
    assert!(cut.iter().zip(&whole).any(|(cut, whole)| cut.ids != whole.ids));
}

#[test]
fn captions_do_not_depend_on_batch_or_threads() {
    let folder = detecting();
    let pictures = encoded(&folder, 1..=8);
    for greedy in [false, true] {
        let mut want = None;
        for batch in [8, 1, 2, 3] {
            for threads in [1, 2] {
                let session = SessionOptions { threads, ..SessionOptions::default() };
                let options = CaptionOptions { batch, greedy, session, ..CaptionOptions::default() };
                let found = caption(&folder, &pictures, &options);
                assert_eq!(want.get_or_insert_with(|| found.clone()), &found, "batch {batch}, {threads} threads");
            }
        }
    }
}

#[test]
fn no_weight_is_no_support() {
    let pictures = encoded(&tiny(), 1..=12);
    let options = CaptionOptions { session: one_thread(), ..CaptionOptions::default() };
    let of_words = |c: &Caption| (c.text.clone(), c.ids.clone(), c.mean_logprob.to_bits());
    let want: Vec<_> = caption(&tiny(), &pictures, &options).iter().map(of_words).collect();
    for weight in [Some(0.0), None] {
        let dir = edited(|manifest| match weight {
            Some(weight) => manifest["decoding"]["support"]["weight"] = weight.into(),
            None => manifest["decoding"]["support"] = Value::Null,
        });
        let found = caption(&ok(ModelFolder::open(dir.path())), &pictures, &options);
        assert_eq!(found.iter().map(of_words).collect::<Vec<_>>(), want);
        // It is still known how far the words are supported.
        assert!(found.iter().all(|c| c.support.as_ref().is_some_and(|s| s.tokens.len() == c.ids.len())));
    }
    // Nor does a draw follow the support.
    let draws = CaptionOptions { sample: Some(3), ..options };
    let ids = |folder: &ModelFolder| caption(folder, &pictures, &draws).into_iter().map(|c| c.ids).collect::<Vec<_>>();
    assert_eq!(ids(&detecting()), ids(&tiny()));
}

#[test]
fn the_mapper_must_give_the_support() {
    let refused = |dir: &Path, cause: &str| {
        let folder = ok(ModelFolder::open(dir));
        let error = Captioner::new(&folder, &CaptionOptions::default()).err().expect("refused");
        assert!(matches!(&error, Error::Model { .. }) && error.to_string().contains(cause), "{error}");
    };
    // A mapper without that output.
    let dir = tempfile::tempdir().unwrap();
    copy(&root().join("tests/models/tiny"), dir.path());
    change(&dir.path().join("model.json"), |manifest| manifest["mapper"]["support"] = true.into());
    refused(dir.path(), "mapper.onnx has no output \"support\"");
    // One of another vocabulary.
    refused(edited(|manifest| manifest["decoder"]["vocab"] = 130.into()).path(), "mapper.onnx: output \"support\" is");
}

#[test]
fn text_embeddings_of_word_pieces_match_pytorch() {
    let goldens = goldens();
    let mut encoder = ok(TextEncoder::new(&detecting(), &one_thread()));
    let texts: Vec<&str> = goldens["texts"].as_object().unwrap().keys().map(String::as_str).collect();
    let together = ok(encoder.embed(&texts));
    for (text, found) in texts.iter().zip(together) {
        for (want, have) in numbers(&goldens["texts"][text]).iter().zip(&found) {
            assert!((want - have).abs() < 1e-5, "{text}: {want} {have}");
        }
        assert_eq!(ok(encoder.embed(&[text])), [found], "{text} alone");
    }
}

#[test]
fn the_command_line_shows_the_support() {
    let b = Bench::new();
    let picture = root().join("tests/goldens/resize/odd.png");
    let (model, tiny) = (root().join("tests/models/support"), root().join("tests/models/tiny"));
    let [picture, model, tiny] = [&picture, &model, &tiny].map(|path| path.to_str().unwrap());
    let line = |model: &str| {
        let (out, _) = b.run(&["caption", picture, "--json", "--model", model], 0);
        serde_json::from_str::<Value>(&out).unwrap()
    };
    let with = line(model);
    let words = numbers(&with["word_support"]);
    assert_eq!(words.len(), with["ids"].as_array().unwrap().len());
    let content: Vec<f32> = words.into_iter().filter(|v| *v < 0.0).collect();
    assert!(near(content.iter().sum::<f32>() / content.len() as f32, &with["mean_support"]));
    assert!(near(content.iter().copied().fold(0.0, f32::min), &with["least_support"]));
    let without = line(tiny);
    assert!(["mean_support", "least_support", "word_support"].iter().all(|key| without.get(key).is_none()));

    let rules = json!({ "weight": 0.5, "candidates": 12, "least": -1.5, "open": [20, 21], "repeats": false });
    let cutting = edited(|manifest| manifest["decoding"]["support"] = rules);
    let (shown, _) = b.run(&["model", "show", cutting.path().to_str().unwrap()], 0);
    let rules = ", cut before words of support below -1.5, cut before repeated words, never ending on 2 open tokens";
    assert!(shown.contains(rules), "{shown}");
    let (shown, _) = b.run(&["model", "show", model], 0);
    assert!(!shown.contains("cut before") && !shown.contains("open tokens"), "{shown}");
    for fact in [
        "5 prefix vectors and the support of words",
        "support of words with weight 0.5 among 12 candidates",
        "evidence 1 × mean_logprob + 0.5 × mean_support + 0.25 × least_support + -0.0625 × content_words",
    ] {
        assert!(shown.contains(fact), "{shown}");
    }
}
