//! Published ClipCap, token for token: models with seeded weights, against the captions of a plain PyTorch implementation
//! without a cache. `tools/parity.py` makes both, and compares many more cases. `clipcap_import` imports other ones.

use std::collections::BTreeMap;

use crate::common::{Bench, root};
use serde_json::Value;

fn parity(mapper: &str) {
    let model = root().join("tests/models/clipcap").join(mapper).display().to_string();
    parity_of(&Bench::new(), mapper, &model);
}

/// Compares the captions of a model with those of the reference, which are in a file of this name.
pub(crate) fn parity_of(b: &Bench, golden: &str, model: &str) {
    let folder = root().join("tests/models/clipcap");
    let name = golden;
    let golden = std::fs::read_to_string(folder.join(format!("{name}.jsonl"))).expect("the golden file");
    let mut decodings: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for row in golden.lines().map(|l| serde_json::from_str::<Value>(l).expect("each golden is JSON")) {
        decodings.entry(row["decoding"].to_string()).or_default().push(row);
    }
    assert_eq!(decodings.len(), 5, "beam 1, 3, 5, 10 and greedy");
    let mut stopped = 0;
    for rows in decodings.values() {
        let decoding: Vec<&str> =
            rows[0]["decoding"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let decoding = if decoding[0] == "--decode" { vec!["--greedy"] } else { decoding };
        let pictures: Vec<String> = rows
            .iter()
            .map(|r| folder.join("pictures").join(r["image"].as_str().unwrap_or_default()).display().to_string())
            .collect();
        let mut args = vec!["caption", "--json", "--min-score", "0", "--model", model];
        args.extend(decoding);
        args.extend(pictures.iter().map(String::as_str));
        let (out, _) = b.run(&args, 0);
        let found: Vec<Value> =
            out.lines().map(|l| serde_json::from_str(l).expect("one object for each picture")).collect();
        assert_eq!(found.len(), rows.len());
        for (got, want) in found.iter().zip(rows) {
            assert_eq!(got["ids"], want["ids"], "{name} {} {}", want["decoding"], want["image"]);
            let apart = got["mean_logprob"].as_f64().zip(want["mean_logprob"].as_f64()).map(|(a, b)| (a - b).abs());
            assert!(apart.is_some_and(|d| d < 1e-4), "{got} {want}");
            stopped += usize::from(want["ids"].as_array().is_some_and(|ids| ids.len() < 67));
        }
    }
    assert!(stopped > 0, "some case must stop before the longest length");
}

#[test]
fn mlp_mapper_matches_the_reference() {
    parity("mlp");
}

#[test]
fn transformer_mapper_with_normalised_embedding_matches_the_reference() {
    parity("transformer");
}

/// The captions that `descry caption` makes of the pictures with one of the models.
pub(crate) fn captions(b: &Bench, model: &str, more: &[&str]) -> Vec<Value> {
    let folder = root().join("tests/models/clipcap");
    let (pictures, model) = (folder.join("pictures").display().to_string(), folder.join(model).display().to_string());
    let mut args = vec!["caption", &pictures, "--json", "--min-score", "0", "--model", &model];
    args.extend(more);
    let (out, _) = b.run(&args, 0);
    let captions: Vec<Value> =
        out.lines().map(|l| serde_json::from_str(l).expect("one object for each picture")).collect();
    assert_eq!(captions.len(), 5);
    captions
}

/// Checks another precision of the MLP checkpoint. Captions are the same for any batch. With the options `more`, the
/// tokens are those of full precision, and the mean log-probabilities differ by less than `near`.
fn precision(model: &str, more: &[&str], near: f64) {
    let b = Bench::new();
    for (exact, got) in captions(&b, "mlp", more).iter().zip(captions(&b, model, more)) {
        assert_eq!(exact["ids"], got["ids"], "{model} {more:?}");
        let apart = exact["mean_logprob"].as_f64().zip(got["mean_logprob"].as_f64()).map(|(a, b)| (a - b).abs());
        assert!(apart.is_some_and(|d| d < near), "{exact} {got}");
    }
    for decoding in [&[][..], &["--greedy"]] {
        let whole = captions(&b, model, decoding);
        for batch in ["1", "2", "3"] {
            let parts = captions(&b, model, &[decoding, &["--batch", batch]].concat());
            assert_eq!(parts, whole, "{model} {decoding:?} batch {batch}");
        }
    }
}

/// A graph moves the keys of half precision, as on a GPU, because the host does not read them.
#[test]
fn half_precision_gives_the_same_captions() {
    precision("half", &[], 0.02);
}

/// Seeded weights give near ties, so beams soon diverge. The first tokens are the same.
#[test]
fn int8_gives_nearly_the_same_captions() {
    precision("int8", &["--greedy", "--max-tokens", "4"], 0.15);
}
