//! Measures searches in an archive of a million keyframes. The first run generates the archive under target/bench: 1,000
//! films, embeddings in clusters as real pictures have them, captions of everyday words.
//!
//! `cargo bench --bench search`. `DESCRY_BENCH_KEYFRAMES` sets another number of keyframes.
//!
//! Queries are timed in the library, with the whole index in memory, and as whole processes, which load the model first. For
//! ten million keyframes, a scan reads all files ten times.

mod common;
#[path = "../tests/common/made_archive.rs"]
mod made_archive;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use descry::archive::Archive;
use descry::archive::search::{
    IndexLocation, QueryEmbedding, RowId, ScanOptions, ScanQuery, SearchQuery, Searcher, VectorFile, nearest,
};
use descry::digest::hex;
use descry::interrupt::Interrupt;
use descry::model::unit_vector as unit;
use made_archive::{keyframe, put, recipe};
use serde_json::Value;
use sha2::{Digest, Sha256};

const WIDTH: usize = 256;
const FILMS: usize = 1_000;
/// Kinds of pictures.
const CLUSTERS: usize = 4_000;
const QUERIES: usize = 200;

const WHO: [&str; 16] = [
    "A man",
    "A woman",
    "Two people",
    "A dog",
    "Children",
    "A cat",
    "A group of people",
    "A boy",
    "A girl",
    "A bird",
    "A horse",
    "Two dogs",
    "A car",
    "A boat",
    "A train",
    "A crowd",
];
const DOES: [&str; 20] = [
    "stands",
    "walks",
    "runs",
    "sits",
    "jumps",
    "plays",
    "swims",
    "sleeps",
    "rides a bicycle",
    "eats",
    "reads a book",
    "looks up",
    "dances",
    "waits",
    "turns",
    "climbs",
    "sings",
    "falls",
    "laughs",
    "works",
];
const WHERE: [&str; 24] = [
    "on a beach",
    "in the snow",
    "on the street",
    "in a kitchen",
    "beside a lake",
    "in front of a house",
    "on a bridge",
    "in a forest",
    "on grass",
    "at night",
    "in a room",
    "under a tree",
    "on a mountain",
    "in the rain",
    "on a stage",
    "in a park",
    "by the sea",
    "in a field",
    "on a wall",
    "near a fence",
    "at a table",
    "in the water",
    "on a boat",
    "in a tunnel",
];
const LIKE: [&str; 12] =
    ["red", "blue", "white", "black", "green", "small", "large", "old", "young", "wet", "bright", "dark"];

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    /// Approximately normal.
    fn normal(&mut self) -> f32 {
        (0..4).map(|_| self.next() as f32 / (1u64 << 31) as f32 - 0.5).sum::<f32>() * 1.73
    }

    /// A random word. The first ones are more frequent.
    fn of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        let share = self.next() as f64 / (1u64 << 31) as f64;
        words[((share * share) * words.len() as f64) as usize]
    }

    fn vector(&mut self) -> Vec<f32> {
        unit(&(0..WIDTH).map(|_| self.normal()).collect::<Vec<_>>())
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The archive. The first run creates it.
fn archive(keyframes: usize) -> Archive {
    let folder = root().join(format!("target/bench/search-{keyframes}"));
    let ready = folder.with_extension("ready");
    if ready.exists() {
        return Archive::open(&folder.display().to_string()).expect("the archive that was made");
    }
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(root().join("target/bench")).expect("a folder under target");
    let archive = Archive::create(&folder.display().to_string()).expect("a new archive");
    let manifest = std::fs::read(root().join("models/builtin/model.json")).expect("the built-in model");
    let model = recipe("descry-builtin", &hex(&Sha256::digest(manifest)), WIDTH);
    let mut random = Random(11);
    // Image towers give all pictures something in common.
    let all = random.vector();
    let clusters: Vec<Vec<f32>> = (0..CLUSTERS).map(|_| random.vector()).collect();
    let started = Instant::now();
    for film in 0..FILMS {
        let mut random = Random(film as u64 + 1_000);
        let keyframes_of_film = (0..keyframes.div_ceil(FILMS)).map(|n| {
            let cluster = &clusters[random.next() as usize % CLUSTERS];
            let noise = random.vector();
            let vector: Vec<f32> = (0..WIDTH).map(|i| 0.4 * all[i] + 0.6 * cluster[i] + 0.7 * noise[i]).collect();
            let caption =
                format!("{} {} {} {}.", random.of(&WHO), random.of(&DOES), random.of(&WHERE), random.of(&LIKE));
            keyframe(n as u32, n, Some(&caption), unit(&vector))
        });
        put(&archive, &format!("/films/{film:04}.mp4"), 1, &model, keyframes_of_film);
    }
    println!("made an archive of {keyframes} keyframes in {:.0} s", started.elapsed().as_secs_f64());
    std::fs::write(ready, "").expect("a mark under target");
    archive
}

/// Queries with their embeddings by the built-in model.
fn queries() -> Vec<(String, Vec<f32>)> {
    let mut random = Random(5);
    let texts: Vec<String> = (0..QUERIES)
        .map(|_| format!("{} {} {}", random.of(&WHO), random.of(&DOES), random.of(&WHERE)).to_lowercase())
        .collect();
    let mut child = Command::new(env!("CARGO_BIN_EXE_descry"))
        .args(["embed", "--text"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let lines = texts.join("\n");
    std::thread::spawn(move || std::io::Write::write_all(&mut stdin, lines.as_bytes()));
    let out = child.wait_with_output().expect("embeddings").stdout;
    let embeddings = String::from_utf8_lossy(&out)
        .lines()
        .map(|l| {
            let line: Value = serde_json::from_str(l).expect("JSON");
            serde_json::from_value(line["embedding"].clone()).expect("an embedding")
        })
        .collect::<Vec<Vec<f32>>>();
    texts.into_iter().zip(embeddings).collect()
}

fn report(what: &str, ms: &mut [f64]) -> f64 {
    ms.sort_by(f64::total_cmp);
    let at = |share: f64| ms[((ms.len() - 1) as f64 * share).round() as usize];
    println!("{what:58} p50 {:8.1} ms   p95 {:8.1} ms   max {:8.1} ms", at(0.5), at(0.95), at(1.0));
    at(0.5)
}

fn times(queries: &[(String, Vec<f32>)], mut ask: impl FnMut(&str, &[f32])) -> Vec<f64> {
    let once = |(text, vector): &(String, Vec<f32>), ask: &mut dyn FnMut(&str, &[f32])| {
        let t = Instant::now();
        ask(text, vector);
        t.elapsed().as_secs_f64() * 1e3
    };
    for query in &queries[..3] {
        once(query, &mut ask);
    }
    queries.iter().map(|q| once(q, &mut ask)).collect()
}

/// The best similarities, found by reading every table of the archive. A search must return the same.
fn brute(archive: &Archive, queries: &[ScanQuery], most: usize) -> Vec<Vec<f32>> {
    let mut found = vec![Vec::new(); queries.len()];
    for name in archive.record_names().expect("records") {
        for rows in archive.table(name).expect("a table").expect("a table") {
            for row in rows.expect("rows") {
                for (query, found) in queries.iter().zip(&mut found) {
                    found.push(query.score(&row.embedding));
                }
            }
        }
        for found in &mut found {
            found.sort_by(|a, b| b.total_cmp(a));
            found.truncate(most);
        }
    }
    found
}

fn vector_files(folder: &Path) -> Vec<VectorFile> {
    let db = rusqlite::Connection::open(folder.join("index.sqlite")).expect("the index");
    let mut query = db.prepare("SELECT name, keyframes FROM segments").expect("its files");
    let files: Vec<(String, usize)> = query
        .query_map([], |r| Ok((r.get(0)?, r.get::<_, i64>(1)? as usize)))
        .and_then(Iterator::collect)
        .expect("its files");
    files
        .iter()
        .map(|(name, rows)| VectorFile::open(&folder.join(name), WIDTH, *rows).expect("a file of vectors"))
        .collect()
}

fn main() {
    let keyframes = std::env::var("DESCRY_BENCH_KEYFRAMES").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    let archive = archive(keyframes);
    let folder: PathBuf = archive.folder().expect("a local archive").join("search");
    let started = Instant::now();
    let location = IndexLocation::InArchive(folder.clone());
    let mut search = Searcher::open_at(&location, &archive, false, &Interrupt::new(), &mut |_| {}).expect("an index");
    if search.report().added > 0 {
        println!("made the index in {:.0} s", started.elapsed().as_secs_f64());
    } else {
        println!("{:58} {:12.1} ms", "opening an index that is up to date", started.elapsed().as_secs_f64() * 1e3);
    }
    let model = search.models()[0].clone();
    let size: u64 =
        std::fs::read_dir(&folder).expect("the index").flatten().map(|e| e.metadata().map_or(0, |m| m.len())).sum();
    println!("{} keyframes, {} wide; index {} MB", model.keyframes, model.dimension, size >> 20);
    let queries = queries();
    let embedding = |v: &[f32]| Some(QueryEmbedding { model_hash: model.hash.clone(), embedding: v.to_vec() });
    let checked: Vec<ScanQuery> = queries.iter().take(5).map(|(_, v)| ScanQuery::new(v)).collect();
    for (n, want) in brute(&archive, &checked, 10).iter().enumerate() {
        let found = search
            .find(&SearchQuery { embedding: embedding(&queries[n].1), ..SearchQuery::default() })
            .expect("an answer");
        let got: Vec<f32> = found.iter().filter_map(|m| m.similarity).collect();
        assert_eq!(&got, want, "{}", queries[n].0);
    }
    println!("the best 10 of {} queries equal those from reading all tables", checked.len());

    let mut ms = times(&queries, |_, v| {
        drop(search.find(&SearchQuery { embedding: embedding(v), ..SearchQuery::default() }).expect("an answer"))
    });
    let median = report("by meaning", &mut ms);
    println!("{:58} {:12} (at most 50 ms)", "", if median <= 50.0 { "ok" } else { "TOO SLOW" });
    let mut ms = times(&queries, |_, v| {
        drop(
            search
                .find(&SearchQuery { embedding: embedding(v), threads: 1, ..SearchQuery::default() })
                .expect("an answer"),
        )
    });
    report("by meaning, one thread", &mut ms);
    let words = |t: &str| Some(t.to_string());
    let mut ms = times(&queries, |t, _| {
        drop(search.find(&SearchQuery { words: words(t), ..SearchQuery::default() }).expect("an answer"))
    });
    report("by words", &mut ms);
    let mut ms = times(&queries, |t, v| {
        drop(
            search
                .find(&SearchQuery { words: words(t), embedding: embedding(v), ..SearchQuery::default() })
                .expect("an answer"),
        )
    });
    report("by both", &mut ms);
    let mut ms = times(&queries, |t, v| {
        let ask = SearchQuery {
            words: words(t),
            embedding: embedding(v),
            files: vec!["*/04*.mp4".into()],
            ..SearchQuery::default()
        };
        drop(search.find(&ask).expect("an answer"));
    });
    report("by both, in 100 of the films", &mut ms);

    let files = vector_files(&folder);
    let ten: Vec<(u32, &VectorFile)> = (0..).zip(std::iter::repeat_n(&files, 10).flatten()).collect();
    let rows: usize = ten.iter().map(|(_, s)| s.rows()).sum();
    let mut ms = times(&queries[..40], |_, v| {
        let options = ScanOptions {
            limit: 1_000,
            threads: SearchQuery::default().threads,
            accepts: &|_, _| true,
            accepts_most: true,
            order: &|id: &RowId| (u64::from(id.file), id.row),
        };
        drop(nearest(&ten, &ScanQuery::new(v), &options).expect("sound files"));
    });
    report(&format!("by meaning, all files ten times: {rows} keyframes"), &mut ms);

    for (name, by) in [
        ("descry search --by words, the whole process", "words"),
        ("descry search --by meaning", "meaning"),
        ("descry search", "both"),
    ] {
        let mut stats = Vec::new();
        let mut ms = times(&queries[..11], |t, _| {
            let out = Command::new(env!("CARGO_BIN_EXE_descry"))
                .args(["search", archive.location(), t, "--by", by, "--stats"])
                .output()
                .expect("the binary starts");
            assert!(out.status.success() && !out.stdout.is_empty(), "{}", String::from_utf8_lossy(&out.stderr));
            stats = out.stderr;
        });
        report(name, &mut ms);
        print!("{}", String::from_utf8_lossy(&stats));
    }
}
