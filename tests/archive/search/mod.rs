//! `descry search` with the real binary: archives of made-up keyframes, and one of real films.

mod films;
mod index;
mod page;
mod screen;

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::common::made_archive::{put, recipe};
use crate::common::{Bench, root, sample, tiny};
use films::{AGREE, Films, SAID, SEEN, THERE, lines};
use page::read_page;

#[test]
fn searches_rank_by_meaning_by_words_or_by_both() {
    let films = Films::new();
    films.fill();
    let dog = SEEN[0];
    let meaning = films.search(&[dog, "--by", "meaning"]);
    // Two neighbouring keyframes of one scene form one moment. Both are exactly what the query asks for.
    assert_eq!(meaning[0]["keyframes"], 2);
    assert_eq!((meaning[0]["start"].as_f64(), meaning[0]["end"].as_f64()), (Some(0.0), Some(2.0)));
    let similar: Vec<f64> = meaning.iter().map(|m| m["similarity"].as_f64().unwrap()).collect();
    assert!(similar[0] > 0.999 && similar[1] > 0.999 && similar[2] < 0.999, "{similar:?}");
    assert!(similar.windows(2).all(|w| w[0] >= w[1]));
    let mut first: Vec<&str> = meaning[..2].iter().map(|m| m["video"].as_str().unwrap()).collect();
    first.sort_unstable();
    assert_eq!(first, [AGREE, THERE]);
    assert_eq!(meaning.len(), 5, "every moment has a similarity: {meaning:?}");
    let words = films.search(&[dog, "--by", "words"]);
    assert_eq!(words.len(), 2, "{words:?}");
    // One caption has three of the words, the other one.
    assert_eq!((words[0]["video"].as_str(), words[1]["video"].as_str()), (Some(AGREE), Some(SAID)));
    assert!(words[0]["similarity"].is_null() && words[0]["words"].as_f64() > words[1]["words"].as_f64());
    let both = films.search(&[dog]);
    assert_eq!(both[0]["video"], AGREE);
    // The best cosine and all the words: the bonus is a twentieth.
    let score = |m: &Value| m["score"].as_f64().unwrap();
    assert!((score(&both[0]) - 1.05 * similar[0]).abs() < 1e-6, "{both:?}");
    let there = both.iter().find(|m| m["video"] == THERE).unwrap();
    assert!(there["words"].is_null() && (score(there) - similar[0]).abs() < 1e-6, "{both:?}");
    assert!(both.windows(2).all(|w| score(&w[0]) >= score(&w[1])), "{both:?}");
    assert_eq!(both[0]["rank"], 1);
    // A query needs no quotes.
    assert_eq!(films.search(&dog.split(' ').collect::<Vec<_>>()), both);
    assert_eq!(films.search(&[dog, "-n", "2"]), both[..2]);
}

#[test]
fn filters_limit_the_results() {
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
    // The neighbour before it does not become part of the moment.
    let late = films.search(&[dog, "--start", "1", "--end", "2"]);
    assert_eq!((late[0]["start"].as_f64(), late[0]["keyframes"].as_u64()), (Some(1.0), Some(1)));
    assert_eq!(only(&["--min-similarity", "0.999"]).len(), 2);
    assert_eq!(only(&["--min-score", "0.6"]), []);
    assert_eq!(only(&["--min-score", "0.5", "--by", "meaning"]).len(), 4, "one keyframe has no caption");
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
fn any_text_is_a_valid_query() {
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
    let answers = lines(&String::from_utf8(out.stdout).unwrap());
    assert_eq!(answers.len(), all.len());
    for (line, text) in answers.iter().zip(&all) {
        assert_eq!(line["query"], *text);
        let moments = line["moments"].as_array().unwrap();
        assert_eq!(moments.len(), 5, "every moment has a similarity: {text}");
        let worded = moments.iter().filter(|m| m["words"].is_number()).count();
        let dog = text.split(|c: char| !c.is_alphanumeric()).any(|w| w == "dog");
        assert_eq!(worded > 0, dog, "{text:?}: {line}");
    }
    // Arguments give the same results, if a command line can hold them. `--` protects those that begin with a hyphen.
    for text in odd.iter().filter(|t| !t.contains('\0')) {
        let (out, _) = films.bench.run(&[&tiny(&["search", "films", "--json"])[..], &["--", text]].concat(), 0);
        let one = answers.iter().find(|l| l["query"] == *text).unwrap();
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
fn results_are_printed_as_a_table() {
    let films = Films::new();
    films.fill();
    films.put("/films/evil\u{1b}[2J\nname.mp4", 1, vec![films.keyframe(1, 0, SEEN[4], Some("A boat\u{7}."))]);
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

#[test]
fn embeddings_of_another_model_are_not_compared() {
    let films = Films::new();
    let other = recipe("other 2", &"ab".repeat(32), films.recipe.dimension);
    put(&films.archive, "/films/other.mp4", 1, &other, [films.keyframe(1, 0, SEEN[0], Some("A dog."))]);
    let ask = ["search", "films", "dog", "--json"];
    let (_, err) = films.bench.run(&tiny(&ask), 2);
    assert!(err.contains("other 2 (abababab…)") && err.contains("--model") && err.contains("--by words"), "{err}");
    assert_eq!(lines(&films.bench.run(&["search", "films", "dog", "--json", "--by", "words"], 0).0).len(), 1);
    // With keyframes of this model as well, descry compares only those and warns.
    films.put(SAID, 1, vec![films.keyframe(1, 5, SEEN[0], Some("A cat."))]);
    let (out, err) = films.bench.run(&tiny(&ask), 0);
    assert!(err.contains("1 keyframe ") && err.contains("other 2") && err.contains("only their words"), "{err}");
    let found = lines(&out);
    let of = |video: &str| found.iter().find(|m| m["video"] == video).unwrap();
    assert!(of("/films/other.mp4")["similarity"].is_null() && of("/films/other.mp4")["words"].is_number());
    assert!(of(SAID)["similarity"].is_number() && of(SAID)["words"].is_null());
    let (out, err) = films.bench.run(&tiny(&[&ask[..], &["--by", "meaning"]].concat()), 0);
    assert!(err.contains("left out"), "{err}");
    assert_eq!(lines(&out).len(), 1);
    // A model without a text tower.
    let (_, err) = films
        .bench
        .run(&["search", "films", "dog", "--model", &root().join("tests/models/clipcap/mlp").display().to_string()], 2);
    assert!(err.contains("text tower") && err.contains("--by words"), "{err}");
}

#[test]
fn real_films_can_be_searched() {
    let b = Bench::new();
    b.run(&["index", &sample("bikes.mp4"), &sample("bigbuckbunny.mp4"), "--into", "films"], 0);
    let find = |args: &[&str]| lines(&b.run(&[&["search", "films", "--json"], args].concat(), 0).0);
    // The second of three shots, from 3.04 s to 5.48 s, shows a cyclist.
    let bike = find(&["a man riding a bike down the street"]);
    assert!(bike[0]["video"].as_str().unwrap().ends_with("bikes.mp4"), "{bike:?}");
    let at = bike[0]["keyframe"].as_f64().unwrap();
    assert!((3.0..5.5).contains(&at), "{at}");
    let meaning = find(&["a cartoon animal on green grass", "--by", "meaning"]);
    assert!(meaning[0]["video"].as_str().unwrap().ends_with("bigbuckbunny.mp4"), "{meaning:?}");
    // A picture from the film finds its shot.
    let still = find(&["--image", &sample("bikes-00-04.jpg")]);
    let (start, end) = (still[0]["start"].as_f64().unwrap(), still[0]["end"].as_f64().unwrap());
    assert!(still[0]["video"].as_str().unwrap().ends_with("bikes.mp4") && (start..end).contains(&4.2), "{still:?}");
    // A keyframe's own thumbnail finds it first.
    let thumbnail = b.path("films").join(still[0]["thumbnail"].as_str().unwrap());
    let again = find(&["--image", &thumbnail.display().to_string()]);
    assert_eq!(again[0]["keyframe"], still[0]["keyframe"]);
    assert!(again[0]["similarity"].as_f64().unwrap() > 0.9, "{again:?}");
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
