//! An archive of made-up films, and searches in it.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;

use descry::archive::{Archive, Recipe};
use descry::digest::hex;
use descry::pipeline::KeyframeRecord;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::common::made_archive::{keyframe, put, recipe};
use crate::common::{Bench, TINY, root, sample, tiny};

/// What the made-up films show. The model's own text tower makes the embeddings.
pub(super) const SEEN: [&str; 6] = [
    "a dog runs on the beach",
    "two people ride bicycles",
    "a red car in the snow",
    "children play football",
    "a boat on a lake at night",
    "a woman reads a book",
];

pub(super) struct Films {
    pub bench: Bench,
    pub archive: Archive,
    pub recipe: Arc<Recipe>,
    meanings: BTreeMap<String, Vec<f32>>,
}

pub(super) fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}"))).collect()
}

fn embeddings(bench: &Bench, texts: &[&str]) -> Vec<Vec<f32>> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_descry"))
        .args(tiny(&["embed", "--text"]))
        .current_dir(bench.path(""))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(texts.join("\n").as_bytes()).unwrap();
    let out = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    lines(&out).iter().map(|l| serde_json::from_value(l["embedding"].clone()).unwrap()).collect()
}

impl Films {
    pub(super) fn new() -> Films {
        let bench = Bench::new();
        let archive = Archive::create(&bench.path("films").display().to_string()).unwrap();
        let meanings: BTreeMap<String, Vec<f32>> =
            SEEN.iter().map(|t| t.to_string()).zip(embeddings(&bench, &SEEN)).collect();
        let manifest = fs::read(root().join(TINY).join("model.json")).unwrap();
        let recipe = recipe("tiny 1", &hex(&Sha256::digest(manifest)), meanings[SEEN[0]].len());
        Films { bench, archive, recipe, meanings }
    }

    /// A keyframe whose caption need not match its picture.
    pub(super) fn keyframe(&self, scene: u32, second: usize, shows: &str, caption: Option<&str>) -> KeyframeRecord {
        keyframe(scene, second, caption, self.meanings[shows].clone())
    }

    pub(super) fn put(&self, video: &str, size: u64, keyframes: Vec<KeyframeRecord>) {
        put(&self.archive, video, size, &self.recipe, keyframes);
    }

    /// Three films. Only in the first do picture and caption agree.
    pub(super) fn fill(&self) {
        let jpeg = fs::read(sample("bikes-00-04.jpg")).unwrap();
        let mut first = vec![
            self.keyframe(1, 0, SEEN[0], Some("A dog runs on a beach.")),
            self.keyframe(1, 1, SEEN[0], Some("A dog runs on a beach.")),
            self.keyframe(2, 2, SEEN[1], Some("Two people on bicycles.")),
        ];
        first[0].thumbnail = Some(jpeg);
        first[2].thumbnail = Some(b"no picture".to_vec());
        self.put("/films/agree & <b>.mp4", 1, first);
        self.put(
            "/films/said.mp4",
            1,
            vec![self.keyframe(1, 5, SEEN[5], Some("A dog sleeps.")), self.keyframe(2, 6, SEEN[5], None)],
        );
        self.put("https://host/seen.mp4", 1, vec![self.keyframe(7, 61, SEEN[0], Some("A brown animal."))]);
    }

    pub(super) fn search(&self, args: &[&str]) -> Vec<Value> {
        lines(&self.bench.run(&tiny(&[&["search", "films", "--json"], args].concat()), 0).0)
    }

    /// The video and the second of each keyframe that the search returns.
    pub(super) fn found(&self, args: &[&str]) -> Vec<(String, f64)> {
        let moments = self.search(args);
        moments.iter().map(|m| (m["video"].as_str().unwrap().to_string(), m["keyframe"].as_f64().unwrap())).collect()
    }
}

pub(super) const AGREE: &str = "/films/agree & <b>.mp4";
pub(super) const SAID: &str = "/films/said.mp4";
pub(super) const THERE: &str = "https://host/seen.mp4";
