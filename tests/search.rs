//! `descry search` through the real binary: archives whose keyframes are made up, and one of real films.

#[path = "common/archives.rs"]
mod archives;
mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use archives::{look, put, recipe};
use common::{Bench, TINY, root, sample, tiny};
use descry::archive::Archive;
use descry::archive::record::Recipe;
use descry::digest::hex;
use descry::pipeline::KeyframeRecord;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// What is to be seen in the made-up films; the model's own text tower says where that lies.
const SEEN: [&str; 6] = [
    "a dog runs on the beach",
    "two people ride bicycles",
    "a red car in the snow",
    "children play football",
    "a boat on a lake at night",
    "a woman reads a book",
];

struct Films {
    bench: Bench,
    archive: Archive,
    recipe: Arc<Recipe>,
    meanings: BTreeMap<String, Vec<f32>>,
}

fn lines(text: &str) -> Vec<Value> {
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
    fn new() -> Films {
        let bench = Bench::new();
        let archive = Archive::create(&bench.path("films").display().to_string()).unwrap();
        let meanings: BTreeMap<String, Vec<f32>> =
            SEEN.iter().map(|t| t.to_string()).zip(embeddings(&bench, &SEEN)).collect();
        let manifest = fs::read(root().join(TINY).join("model.json")).unwrap();
        let recipe = recipe("tiny 1", &hex(&Sha256::digest(manifest)), meanings[SEEN[0]].len());
        Films { bench, archive, recipe, meanings }
    }

    /// A keyframe that shows one thing, and whose caption says something.
    fn look(&self, scene: u32, second: usize, shows: &str, says: Option<&str>) -> KeyframeRecord {
        look(scene, second, says, self.meanings[shows].clone())
    }

    fn put(&self, video: &str, size: u64, looks: Vec<KeyframeRecord>) {
        put(&self.archive, video, size, &self.recipe, looks);
    }

    /// Three films: what is seen and what is said agree in the first alone.
    fn fill(&self) {
        let jpeg = fs::read(sample("bikes-00-04.jpg")).unwrap();
        let mut first = vec![
            self.look(1, 0, SEEN[0], Some("A dog runs on a beach.")),
            self.look(1, 1, SEEN[0], Some("A dog runs on a beach.")),
            self.look(2, 2, SEEN[1], Some("Two people on bicycles.")),
        ];
        first[0].thumbnail = Some(jpeg);
        first[2].thumbnail = Some(b"no picture".to_vec());
        self.put("/films/agree & <b>.mp4", 1, first);
        self.put(
            "/films/said.mp4",
            1,
            vec![self.look(1, 5, SEEN[5], Some("A dog sleeps.")), self.look(2, 6, SEEN[5], None)],
        );
        self.put("https://host/seen.mp4", 1, vec![self.look(7, 61, SEEN[0], Some("A brown animal."))]);
    }

    fn search(&self, args: &[&str]) -> Vec<Value> {
        lines(&self.bench.run(&tiny(&[&["search", "films", "--json"], args].concat()), 0).0)
    }

    /// What was found, shortly: video and second of the keyframe.
    fn found(&self, args: &[&str]) -> Vec<(String, f64)> {
        let moments = self.search(args);
        moments.iter().map(|m| (m["video"].as_str().unwrap().to_string(), m["keyframe"].as_f64().unwrap())).collect()
    }
}

const AGREE: &str = "/films/agree & <b>.mp4";
const SAID: &str = "/films/said.mp4";
const THERE: &str = "https://host/seen.mp4";

#[test]
fn by_meaning_by_words_and_by_both() {
    let films = Films::new();
    films.fill();
    let dog = SEEN[0];
    let meaning = films.search(&[dog, "--by", "meaning"]);
    // Two neighbouring looks at one scene are one moment, and both are the very thing.
    assert_eq!(meaning[0]["keyframes"], 2);
    assert_eq!((meaning[0]["start"].as_f64(), meaning[0]["end"].as_f64()), (Some(0.0), Some(2.0)));
    let similar: Vec<f64> = meaning.iter().map(|m| m["similarity"].as_f64().unwrap()).collect();
    assert!(similar[0] > 0.999 && similar[1] > 0.999 && similar[2] < 0.999, "{similar:?}");
    assert!(similar.windows(2).all(|w| w[0] >= w[1]));
    let mut first: Vec<&str> = meaning[..2].iter().map(|m| m["video"].as_str().unwrap()).collect();
    first.sort_unstable();
    assert_eq!(first, [AGREE, THERE]);
    assert_eq!(meaning.len(), 5, "everything has a meaning: {meaning:?}");
    let words = films.search(&[dog, "--by", "words"]);
    assert_eq!(words.len(), 2, "{words:?}");
    // Three of its words are there; of the other one.
    assert_eq!((words[0]["video"].as_str(), words[1]["video"].as_str()), (Some(AGREE), Some(SAID)));
    assert!(words[0]["similarity"].is_null() && words[0]["words"].as_f64() > words[1]["words"].as_f64());
    let both = films.search(&[dog]);
    assert_eq!(both[0]["video"], AGREE);
    // The very thing has the best cosine and all the words: a twentieth more.
    let score = |m: &Value| m["score"].as_f64().unwrap();
    assert!((score(&both[0]) - 1.05 * similar[0]).abs() < 1e-6, "{both:?}");
    let there = both.iter().find(|m| m["video"] == THERE).unwrap();
    assert!(there["words"].is_null() && (score(there) - similar[0]).abs() < 1e-6, "{both:?}");
    assert!(both.windows(2).all(|w| score(&w[0]) >= score(&w[1])), "{both:?}");
    assert_eq!(both[0]["rank"], 1);
    // Words of a query need no quotes.
    assert_eq!(films.search(&dog.split(' ').collect::<Vec<_>>()), both);
    assert_eq!(films.search(&[dog, "-n", "2"]), both[..2]);
}

#[test]
fn filters_leave_out() {
    let films = Films::new();
    films.fill();
    let dog = SEEN[0];
    let only = |args: &[&str]| films.found(&[&[dog], args].concat());
    assert_eq!(only(&["--file", "HOST/seen"]), [(THERE.into(), 61.4)]);
    assert_eq!(only(&["--file", "https://*"]), [(THERE.into(), 61.4)]);
    assert_eq!(only(&["--file", "seen.mp?", "--file", "no such"]), []);
    assert_eq!(only(&["--file", "*said*", "--by", "meaning"]).len(), 2);
    assert_eq!(only(&["--start", "1:00"]), [(THERE.into(), 61.4)]);
    assert_eq!(
        only(&["--start", "2", "--end", "6", "--by", "meaning"]).iter().map(|f| f.1).collect::<Vec<_>>().len(),
        2
    );
    // The neighbour before is not drawn in.
    let late = films.search(&[dog, "--start", "1", "--end", "2"]);
    assert_eq!((late[0]["start"].as_f64(), late[0]["keyframes"].as_u64()), (Some(1.0), Some(1)));
    assert_eq!(only(&["--min-similarity", "0.999"]).len(), 2);
    assert_eq!(only(&["--min-score", "0.6"]), []);
    assert_eq!(only(&["--min-score", "0.5", "--by", "meaning"]).len(), 4, "one has no caption");
    for (args, cause) in [
        (&["--min-score", "2"][..], "--min-score 2"),
        (&["--min-similarity", "-2"], "--min-similarity -2"),
        (&["--start", "5", "--end", "4"], "--end"),
        (&["--by", "words", "--min-similarity", "0"], "--min-similarity"),
    ] {
        let (_, err) = films.bench.run(&tiny(&[&["search", "films", dog], args].concat()), 2);
        assert!(err.contains(cause), "{err}");
    }
    let (_, err) = films.bench.run(&["search", "films"], 2);
    assert!(err.contains("there is no query"), "{err}");
    let (_, err) = films.bench.run(&["search", "nowhere", "x"], 2);
    assert!(err.contains("nowhere"), "{err}");
}

#[test]
fn any_text_is_a_query() {
    let films = Films::new();
    films.fill();
    let odd = [
        "\"",
        "'",
        "a\"b OR dog*",
        "NEAR(dog, 2)",
        "dog AND NOT dog",
        "text : dog",
        "{a b}:dog",
        "^dog",
        "(((",
        "-- dog",
        "'; DROP TABLE texts; --",
        "\u{1f415} \u{1f3d6}\u{fe0f}",
        "\u{202e}gnirts",
        "dog\u{0}cat",
        "%s%n",
        "..",
        "<script>",
        "\u{fffd}",
        "é e\u{301}",
        "dog\\",
    ];
    let mut child = Command::new(env!("CARGO_BIN_EXE_descry"))
        .args(tiny(&["search", "films", "--queries", "-"]))
        .current_dir(films.bench.path(""))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let long = "dog ".repeat(5_000);
    let all: Vec<&str> = odd.iter().copied().chain(["", " ", &long]).collect();
    child.stdin.take().unwrap().write_all(all.join("\n").as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let told = lines(&String::from_utf8(out.stdout).unwrap());
    assert_eq!(told.len(), all.len());
    for (line, text) in told.iter().zip(&all) {
        assert_eq!(line["query"], *text);
        let moments = line["moments"].as_array().unwrap();
        assert_eq!(moments.len(), 5, "everything has a meaning: {text}");
        let worded = moments.iter().filter(|m| m["words"].is_number()).count();
        let dog = text.split(|c: char| !c.is_alphanumeric()).any(|w| w == "dog");
        assert_eq!(worded > 0, dog, "{text:?}: {line}");
    }
    // The same as arguments, as far as a command line can hold them; those with a hyphen in front behind two of them.
    for text in odd.iter().filter(|t| !t.contains('\0')) {
        let (out, _) = films.bench.run(&[&tiny(&["search", "films", "--json"])[..], &["--", text]].concat(), 0);
        let one = told.iter().find(|l| l["query"] == *text).unwrap();
        assert_eq!(&lines(&out), one["moments"].as_array().unwrap(), "{text:?}");
    }
    films.bench.write("queries.txt", b"dog\nboat");
    let (out, _) = films.bench.run(&["search", "films", "--by", "words", "--queries", "queries.txt"], 0);
    assert_eq!(lines(&out).iter().map(|l| l["moments"].as_array().unwrap().len()).collect::<Vec<_>>(), [2, 0]);
    films.bench.write("bad.txt", b"dog\n\xff\n");
    let (_, err) = films.bench.run(&["search", "films", "--by", "words", "--queries", "bad.txt"], 1);
    assert!(err.contains("bad.txt") && err.contains("UTF-8"), "{err}");
}

#[test]
fn a_table_for_people() {
    let films = Films::new();
    films.fill();
    films.put("/films/evil\u{1b}[2J\nname.mp4", 1, vec![films.look(1, 0, SEEN[4], Some("A boat\u{7}."))]);
    let (out, err) = films.bench.run(&tiny(&["search", "films", SEEN[0]]), 0);
    assert_eq!(err, "");
    let rows: Vec<&str> = out.lines().collect();
    assert_eq!(rows.len(), 1 + 6);
    assert!(rows[0].contains("from") && rows[0].contains("caption"));
    assert!(
        rows[1].contains("00:00:00.000") && rows[1].contains("A dog runs on a beach.") && rows[1].ends_with(AGREE),
        "{out}"
    );
    assert!(!out.contains('\u{1b}') && !out.contains('\u{7}'));
    let (out, err) = films.bench.run(&["search", "films", "zebra", "--by", "words", "-v"], 0);
    assert!(out.is_empty() && err.contains("nothing was found"), "{err}");
}

/// The page, as html5lib reads it.
fn read_page(path: &Path) -> Value {
    let out = Command::new(root().join("vendor/venv/bin/python"))
        .arg(root().join("tests/parsers/check_page.py"))
        .arg(path)
        .output()
        .expect("html5lib, see make setup-test");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

#[test]
fn a_page_that_a_parser_reads() {
    let films = Films::new();
    films.fill();
    let evil = "<script>alert(1)</script>\"' onload=x & a \u{0}dog";
    films.put(
        "/films/\"><img src=x onerror=y>#?%.mp4",
        1,
        vec![films.look(1, 3, SEEN[4], Some("</p><script>dog</script>&amp;"))],
    );
    films.put("javascript:alert(1)//dog.mp4", 1, vec![films.look(1, 3, SEEN[4], Some("A dog."))]);
    films.put("s3://bucket/dog.mp4", 1, vec![films.look(1, 3, SEEN[4], Some("A dog."))]);
    fs::create_dir(films.bench.path("pages")).unwrap();
    let query = evil.replace('\0', "");
    let (out, err) = films.bench.run(&tiny(&["search", "films", &query, "--html", "pages/found.html", "-n", "20"]), 0);
    assert_eq!(out, "");
    // A thumbnail that is none is told and left out; the rest of the page is there.
    assert!(err.contains("000002400.jpg") && err.contains("damaged"), "{err}");
    let page = read_page(&films.bench.path("pages/found.html"));
    assert_eq!(page["strange"], serde_json::json!([]), "nothing of what was told became an element");
    assert!(!page["attributes"].as_array().unwrap().iter().any(|a| a.as_str().unwrap().starts_with("on")), "{page}");
    assert_eq!(page["heading"], query);
    let policy = page["policy"].as_str().unwrap();
    assert!(
        policy.contains("default-src 'none'") && !policy.contains("unsafe") && !policy.contains("script-src"),
        "{policy}"
    );
    assert!(policy.contains(&format!("style-src '{}'", page["style"].as_str().unwrap())), "{page}");
    let results = page["results"].as_array().unwrap();
    assert_eq!(results.len(), 8);
    let of = |name: &str| {
        let hits: Vec<&Value> = results.iter().filter(|r| r["texts"].to_string().contains(name)).collect();
        assert!(!hits.is_empty(), "{name}: {page}");
        hits[0]
    };
    let here = fs::canonicalize(films.bench.path("pages")).unwrap();
    let up = "../".repeat(here.components().count() - 1);
    assert_eq!(of("A dog runs on a beach.")["href"], format!("{up}films/agree%20%26%20%3Cb%3E.mp4#t=0.400"));
    assert!(
        of("onerror")["href"]
            .as_str()
            .unwrap()
            .ends_with("%22%3E%3Cimg%20src%3Dx%20onerror%3Dy%3E%23%3F%25.mp4#t=3.400")
    );
    assert!(of("onerror")["texts"][0].as_str().unwrap() == "</p><script>dog</script>&amp;");
    assert_eq!(of("host/seen")["href"], "https://host/seen.mp4#t=61.400");
    assert!(of("javascript:alert")["href"].is_null() && of("s3://")["href"].is_null());
    // The picture is in the page, byte for byte.
    let jpeg = hex(&Sha256::digest(fs::read(sample("bikes-00-04.jpg")).unwrap()));
    let pictures: Vec<&Value> = results.iter().map(|r| &r["picture"]).filter(|p| !p.is_null()).collect();
    assert_eq!(pictures.len(), 1);
    assert_eq!(
        (pictures[0]["sha256"].as_str(), pictures[0]["kind"].as_str()),
        (Some(&*jpeg), Some("data:image/jpeg;base64"))
    );
    // What exists is kept.
    let (_, err) = films.bench.run(&tiny(&["search", "films", "dog", "--html", "pages/found.html"]), 1);
    assert!(err.contains("exists already") && err.contains("--force"), "{err}");
    films.bench.run(&tiny(&["search", "films", "zzz", "--by", "words", "--html", "pages/found.html", "--force"]), 0);
    assert_eq!(read_page(&films.bench.path("pages/found.html"))["results"], serde_json::json!([]));
    let names: Vec<_> = fs::read_dir(films.bench.path("pages")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["found.html"], "nothing is left beside it");
    let (_, err) = films.bench.run(&tiny(&["search", "films", "dog", "--html", "none/found.html"]), 2);
    assert!(err.contains("none") && err.contains("mkdir"), "{err}");
}

#[test]
fn embeddings_of_another_model_are_not_compared() {
    let films = Films::new();
    let other = recipe("other 2", &"ab".repeat(32), films.recipe.dimension);
    put(&films.archive, "/films/other.mp4", 1, &other, [films.look(1, 0, SEEN[0], Some("A dog."))]);
    let ask = ["search", "films", "dog", "--json"];
    let (_, err) = films.bench.run(&tiny(&ask), 2);
    assert!(err.contains("other 2 (abababab…)") && err.contains("--model") && err.contains("--by words"), "{err}");
    assert_eq!(lines(&films.bench.run(&["search", "films", "dog", "--json", "--by", "words"], 0).0).len(), 1);
    // Beside some of this model: those alone have a meaning, and that is said.
    films.put(SAID, 1, vec![films.look(1, 5, SEEN[0], Some("A cat."))]);
    let (out, err) = films.bench.run(&tiny(&ask), 0);
    assert!(err.contains("1 keyframe ") && err.contains("other 2") && err.contains("only their words"), "{err}");
    let told = lines(&out);
    let of = |video: &str| told.iter().find(|m| m["video"] == video).unwrap();
    assert!(of("/films/other.mp4")["similarity"].is_null() && of("/films/other.mp4")["words"].is_number());
    assert!(of(SAID)["similarity"].is_number() && of(SAID)["words"].is_null());
    let (out, err) = films.bench.run(&tiny(&[&ask[..], &["--by", "meaning"]].concat()), 0);
    assert!(err.contains("left out"), "{err}");
    assert_eq!(lines(&out).len(), 1);
    // A model that cannot read.
    let (_, err) = films
        .bench
        .run(&["search", "films", "dog", "--model", &root().join("tests/models/clipcap/mlp").display().to_string()], 2);
    assert!(err.contains("text tower") && err.contains("--by words"), "{err}");
}

fn clear(films: &Films) {
    fs::remove_dir_all(films.bench.path("films/search")).unwrap();
}

#[test]
fn an_index_may_go_at_any_time() {
    let films = Films::new();
    films.fill();
    let asked = || films.bench.run(&tiny(&["search", "films", SEEN[0], "--json"]), 0);
    let want = asked();
    assert_eq!(asked(), want, "the same each time");
    clear(&films);
    assert_eq!(asked(), want);
    let (out, _) = films.bench.run(&tiny(&["search", "films", SEEN[0], "--json", "--rebuild"]), 0);
    assert_eq!(out, want.0);
    assert_eq!(
        films.bench.run(&["search", "films", "--rebuild", "-v"], 0).1,
        "search index: 3 videos added, 0 removed\n"
    );
    // Elsewhere.
    let (out, _) = films.bench.run(&tiny(&["search", "films", SEEN[0], "--json", "--index", "elsewhere/index"]), 0);
    assert_eq!(out, want.0);
    assert!(films.bench.path("elsewhere/index/index.sqlite").is_file());
    // Damaged in a way that shows at once.
    fs::write(films.bench.path("films/search/index.sqlite"), b"garbage").unwrap();
    let (out, err) = asked();
    assert_eq!(out, want.0);
    assert!(err.contains("damaged") && err.contains("rebuilt"), "{err}");
    // Damaged in a way that shows only when it is asked.
    for entry in fs::read_dir(films.bench.path("films/search")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "vectors") {
            let mut bytes = fs::read(&path).unwrap();
            let length = bytes.len();
            bytes[length - 40..].iter_mut().for_each(|b| *b ^= 0x3F);
            fs::remove_file(&path).unwrap();
            fs::write(&path, bytes).unwrap();
        }
    }
    let (out, err) = asked();
    assert_eq!(out, want.0);
    assert!(err.contains("damaged") && err.contains("rebuilt"), "{err}");
    assert_eq!(asked().1, "");
    // Of a descry that does not exist yet.
    let db = rusqlite::Connection::open(films.bench.path("films/search/index.sqlite")).unwrap();
    db.execute("UPDATE meta SET value = 'descry-search/2' WHERE key = 'format'", []).unwrap();
    let (_, err) = films.bench.run(&tiny(&["search", "films", "dog"]), 2);
    assert!(err.contains("newer descry") && err.contains("--rebuild"), "{err}");
    assert_eq!(films.bench.run(&tiny(&["search", "films", SEEN[0], "--json", "--rebuild"]), 0).0, want.0);
}

#[test]
fn what_changes_in_the_archive_is_found_anew() {
    let films = Films::new();
    films.fill();
    assert_eq!(films.found(&["boat", "--by", "words"]), []);
    films.put("/films/new.mp4", 1, vec![films.look(1, 0, SEEN[4], Some("A boat."))]);
    assert_eq!(films.found(&["boat", "--by", "words"]), [("/films/new.mp4".into(), 0.4)]);
    films.put("/films/new.mp4", 2, vec![films.look(1, 9, SEEN[4], Some("A boat."))]);
    assert_eq!(films.found(&["boat", "--by", "words"]), [("/films/new.mp4".into(), 9.4)]);
    let name = films
        .archive
        .record_names()
        .unwrap()
        .into_iter()
        .find(|n| n.key == descry::archive::record::key("/films/new.mp4"));
    assert!(films.archive.forget(name.unwrap().key).unwrap());
    assert_eq!(films.found(&["boat", "--by", "words"]), []);
    // A table that is damaged stops nothing else.
    let said = films
        .archive
        .record_names()
        .unwrap()
        .into_iter()
        .find(|n| n.key == descry::archive::record::key(SAID))
        .unwrap();
    clear(&films);
    let table = films.bench.path("films").join(films.archive.place(said, "keyframes.parquet"));
    let whole = fs::read(&table).unwrap();
    for damage in [&whole[..whole.len() / 2], b"", b"PAR1 and no more"] {
        fs::write(&table, damage).unwrap();
        let (out, err) = films.bench.run(&["search", "films", "dog", "--by", "words", "--json"], 1);
        assert_eq!(lines(&out).len(), 1, "{err}");
        assert!(err.contains("keyframes.parquet"), "{err}");
    }
    fs::remove_file(&table).unwrap();
    let (_, err) = films.bench.run(&["search", "films", "dog", "--by", "words"], 1);
    assert!(err.contains("keyframes.parquet") && err.contains("missing"), "{err}");
    fs::write(&table, whole).unwrap();
    assert_eq!(films.found(&["dog", "--by", "words"]).len(), 2);
}

/// Words whose captions tell films apart: the n-th film says the n-th.
fn word(n: usize) -> String {
    format!("w{n}x")
}

fn film(films: &Films, n: usize) {
    let says = format!("Film {}.", word(n));
    let looks = (0..20).map(|s| films.look(1 + s as u32, s, SEEN[s % 6], Some(&says))).collect();
    films.put(&format!("/films/{n}.mp4"), 1, looks);
}

#[test]
fn searches_go_on_while_films_are_indexed() {
    let films = Films::new();
    film(&films, 0);
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for n in 1..60 {
                film(&films, n);
                // Some are replaced, too.
                put(
                    &films.archive,
                    "/films/0.mp4",
                    n as u64 + 1,
                    &films.recipe,
                    [films.look(1, 0, SEEN[0], Some("Film w0x."))],
                );
            }
            ended.store(true, Ordering::Relaxed);
        });
        for _ in 0..2 {
            scope.spawn(|| {
                let mut rounds = 0;
                while rounds < 3 || !ended.load(Ordering::Relaxed) {
                    let both = films.search(&["film", "-n", "100"]);
                    assert!(!both.is_empty());
                    rounds += 1;
                }
            });
        }
    });
    let told = films.search(&["film", "-n", "2000", "--by", "words"]);
    assert_eq!(told.len(), 1 + 59 * 20);
    clear(&films);
    assert_eq!(films.search(&["film", "-n", "2000", "--by", "words"]), told);
}

#[test]
fn killed_at_any_instant_it_goes_on() {
    let films = Films::new();
    (0..40).for_each(|n| film(&films, n));
    let ask = ["search", "films", "film", "-n", "1000", "--by", "words", "--json"];
    let want = films.bench.run(&ask, 0).0;
    clear(&films);
    for round in 0..12 {
        let mut child = Command::new(env!("CARGO_BIN_EXE_descry"))
            .args(ask)
            .current_dir(films.bench.path(""))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        thread::sleep(Duration::from_millis(5 + 23 * round));
        let _ = child.kill();
        child.wait().unwrap();
        if round % 4 == 3 {
            assert_eq!(films.bench.run(&ask, 0).0, want, "{round}");
            clear(&films);
        } else if round % 4 == 1 {
            film(&films, round as usize);
        }
    }
    let (out, err) = films.bench.run(&ask, 0);
    assert_eq!((out.as_str(), err.as_str()), (want.as_str(), ""));
    let left: Vec<_> = fs::read_dir(films.bench.path("films/search"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(!left.iter().any(|n| n.ends_with(".part")), "{left:?}");
}

/// As a user who may not write there: the tests may be run as root, whom nothing stops.
fn as_nobody(films: &Films, args: &[&str]) -> (String, String) {
    let root_here = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    let mut command = if root_here {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", env!("CARGO_BIN_EXE_descry")]);
        command
    } else {
        Command::new(env!("CARGO_BIN_EXE_descry"))
    };
    let out = command.args(args).current_dir(films.bench.path("")).output().expect("setpriv (Debian: util-linux)");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    (text(&out.stdout), text(&out.stderr))
}

#[cfg(unix)]
#[test]
fn an_archive_that_may_not_be_written_is_searched_all_the_same() {
    use std::os::unix::fs::PermissionsExt;
    let films = Films::new();
    films.fill();
    let mode =
        |path: &str, mode: u32| fs::set_permissions(films.bench.path(path), fs::Permissions::from_mode(mode)).unwrap();
    mode("", 0o755);
    mode("films", 0o555);
    let ask = ["search", "films", "dog", "--by", "words", "--json"];
    let (out, err) = as_nobody(&films, &ask);
    assert_eq!(lines(&out).len(), 2);
    assert!(err.contains("is not writable") && err.contains("--index"), "{err}");
    assert!(!films.bench.path("films/search").exists());
    mode("films", 0o755);
    let want = films.bench.run(&ask, 0).0;
    assert_eq!(out, want);
    mode("films", 0o555);
    mode("films/search", 0o555);
    // One that is up to date is read where it is.
    assert_eq!(as_nobody(&films, &ask), (want.clone(), String::new()));
    mode("films", 0o755);
    mode("films/search", 0o755);
    film(&films, 1);
    mode("films/search", 0o555);
    let (out, err) = as_nobody(&films, &ask);
    // How telling a word is depends on the captions that there are by now.
    let videos = |text: &str| lines(text).iter().map(|m| m["video"].to_string()).collect::<Vec<_>>();
    assert_eq!(videos(&out), videos(&want));
    assert!(err.contains("is not writable"), "{err}");
    let (out, _) = as_nobody(&films, &["search", "films", &word(1), "--by", "words", "--json"]);
    assert_eq!(lines(&out).len(), 10);
    mode("films/search", 0o755);
}

#[test]
fn the_right_moments_of_real_films() {
    let b = Bench::new();
    b.run(&["index", &sample("bikes.mp4"), &sample("bigbuckbunny.mp4"), "--into", "films"], 0);
    let find = |args: &[&str]| lines(&b.run(&[&["search", "films", "--json"], args].concat(), 0).0);
    // The second shot of three, from 3.04 s to 5.48 s, has a cyclist in it.
    let bike = find(&["a man riding a bike down the street"]);
    assert!(bike[0]["video"].as_str().unwrap().ends_with("bikes.mp4"), "{bike:?}");
    let at = bike[0]["keyframe"].as_f64().unwrap();
    assert!((3.0..5.5).contains(&at), "{at}");
    let meaning = find(&["a cartoon animal on green grass", "--by", "meaning"]);
    assert!(meaning[0]["video"].as_str().unwrap().ends_with("bigbuckbunny.mp4"), "{meaning:?}");
    // A picture out of the film leads to its shot.
    let still = find(&["--image", &sample("bikes-00-04.jpg")]);
    let (start, end) = (still[0]["start"].as_f64().unwrap(), still[0]["end"].as_f64().unwrap());
    assert!(still[0]["video"].as_str().unwrap().ends_with("bikes.mp4") && (start..end).contains(&4.2), "{still:?}");
    assert!(still[0]["similarity"].as_f64().unwrap() > 0.8, "{still:?}");
    // Its own thumbnail leads to a keyframe best of all.
    let thumbnail = b.path("films").join(still[0]["thumbnail"].as_str().unwrap());
    let again = find(&["--image", &thumbnail.display().to_string()]);
    assert_eq!(again[0]["keyframe"], still[0]["keyframe"]);
    b.run(&["search", "films", "bicycle", "--html", "page.html"], 0);
    let page = read_page(&b.path("page.html"));
    assert!(
        page["results"].as_array().unwrap().iter().all(|r| r["picture"]["kind"] == "data:image/jpeg;base64"),
        "{page}"
    );
    let (_, err) = b.run(&["search", "films", "--image", "none.jpg"], 1);
    assert!(err.contains("none.jpg"), "{err}");
    let (_, err) = b.run(&["search", "films", "--image", &sample("bikes-00-04.jpg"), "--by", "words"], 2);
    assert!(err.contains("no words"), "{err}");
}
