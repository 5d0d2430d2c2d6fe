//! Text on the screen: what `descry index --text` stores of it, and how it is found.

use std::fs;
use std::process::Command;

use descry::ocr::{ScreenText, TextBox, TextKind};
use descry::pipeline::KeyframeRecord;
use descry::time::Time;
use serde_json::{Value, json};

use super::films::{Films, SEEN, lines};
use super::page::read_page;
use crate::common::{Bench, letters, root, tiny};

fn shown(text: &str, start: i64, end: i64) -> ScreenText {
    let place = TextBox { x: 0.25, y: 0.75, width: 0.5, height: 0.125 };
    let (start, end) = (Time::from_millis(start), Time::from_millis(end));
    ScreenText { text: text.into(), start, end, place, confidence: 0.875, kind: TextKind::Title }
}

fn with_text(films: &Films, second: usize, caption: &str, text: Vec<ScreenText>) -> KeyframeRecord {
    KeyframeRecord { text: Some(text), ..films.keyframe(second as u32 + 1, second, SEEN[4], Some(caption)) }
}

/// What the tables hold, as pyarrow and DuckDB read them.
fn rows(b: &Bench) -> Vec<Value> {
    b.run(&["archive", "export", "archive", "-o", "all.parquet", "--force"], 0);
    let out = Command::new(root().join("vendor/venv/bin/python"))
        .arg(root().join("tests/parsers/check_archive.py"))
        .args([b.path("archive"), b.path("all.parquet")])
        .output()
        .expect("Python is missing: run make setup-test");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let tables: Value = serde_json::from_slice(&out.stdout).unwrap();
    tables["rows"].as_array().unwrap().clone()
}

#[test]
fn words_on_the_screen_of_a_film_are_indexed_and_found() {
    let b = Bench::new();
    fs::create_dir(b.path("films")).unwrap();
    b.write("title.pgm", &letters::line("BREAKING NEWS"));
    b.ffmpeg(
        "-f lavfi -i smptebars=size=640x360:rate=25:duration=8 -loop 1 -t 8 -i title.pgm -filter_complex \
         [0:v]noise=alls=12:allf=t:all_seed=1[n];[1:v]scale=504:-2[t];[n][t]overlay=60:200:enable='gte(t,3)*lt(t,6)' \
         -t 8 -c:v libx264 -pix_fmt yuv420p films/news.mp4",
    );
    b.ffmpeg("-f lavfi -i smptebars=size=320x180:rate=25:duration=3 -c:v libx264 -pix_fmt yuv420p films/silent.mp4");
    b.run(&tiny(&["index", "films", "--into", "archive"]), 0);
    assert!(rows(&b).iter().all(|row| row["text"].is_null()), "not read");
    let (_, err) = b.run(&["search", "archive", "--by", "text", "breaking news"], 0);
    assert!(err.contains("index them with --text"), "{err}");
    // The text is part of a film's state: it is described again.
    b.run(&tiny(&["index", "films", "--into", "archive", "--text"]), 0);
    let rows = rows(&b);
    let of = |name: &str| rows.iter().find(|row| row["video"].as_str().unwrap().ends_with(name)).unwrap();
    assert_eq!(of("silent.mp4")["text"], json!([]), "nothing to read");
    let text = &of("news.mp4")["text"][0];
    assert_eq!((&text["text"], &text["kind"]), (&json!("BREAKING NEWS"), &json!("title")));
    let near = |value: &Value, wanted: f64, off: f64| (value.as_f64().unwrap() - wanted).abs() <= off;
    assert!(near(&text["start_ms"], 3_000.0, 200.0) && near(&text["end_ms"], 6_000.0, 200.0), "{text}");
    assert!(near(&text["x"], 0.1, 0.05) && near(&text["width"], 0.75, 0.1), "{text}");
    assert!(near(&text["y"], 0.57, 0.06) && near(&text["height"], 0.15, 0.06), "{text}");
    assert!(text["confidence"].as_f64().unwrap() > 0.8, "{text}");
    // By the text alone, and among others. The moment begins when the words appear.
    for by in [&["--by", "text"][..], &[]] {
        let (out, _) = b.run(&tiny(&[&["search", "archive", "--json", "breaking news"], by].concat()), 0);
        let found = lines(&out);
        assert!(found[0]["video"].as_str().unwrap().ends_with("news.mp4"), "{out}");
        assert_eq!((&found[0]["shown"][0]["text"], &found[0]["shown"][0]["kind"]), (&text["text"], &text["kind"]));
        assert!(near(&found[0]["start"], text["start_ms"].as_f64().unwrap() / 1e3, 1e-9), "{out}");
        assert_eq!(found.len(), if by.is_empty() { 2 } else { 1 }, "{out}");
    }
    let (out, _) = b.run(&["search", "archive", "--by", "text", "breaking", "news"], 0);
    assert!(out.contains("shown: “BREAKING NEWS”"), "{out}");
}

#[test]
fn words_on_the_screen_are_folded_and_escaped() {
    let films = Films::new();
    let evil = "</p><script>alert(1)</script>& “Zürich\u{202e}\u{1b}[2J”";
    let page: Vec<ScreenText> = (0..10_000).map(|n| shown(&format!("word {n}"), 5_100, 5_900)).collect();
    films.put(
        "/films/a.mp4",
        1,
        vec![
            with_text(&films, 0, "A boat.", vec![shown(evil, 200, 900), shown("Café", 100, 900)]),
            with_text(&films, 5, "A boat.", page),
        ],
    );
    let found = films.search(&["--by", "text", "ZURICH"]);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["shown"].as_array().unwrap().len(), 1, "only the line with the word");
    let shown = &found[0]["shown"][0];
    assert_eq!(shown["text"], "</p><script>alert(1)</script>& “Zürich[2J”");
    assert_eq!(
        (&shown["start"], &shown["end"], &shown["box"]),
        (&json!(0.2), &json!(0.9), &json!([0.25, 0.75, 0.5, 0.125]))
    );
    assert_eq!((&found[0]["start"], &found[0]["keyframe"]), (&json!(0.2), &json!(0.4)));
    assert_eq!(films.search(&["--by", "text", "cafe"]).len(), 1);
    assert_eq!(films.search(&["--by", "text", "boat"]).len(), 0, "a caption is not on the screen");
    assert_eq!(films.search(&["--by", "words", "zurich"]).len(), 0);
    // A page of 10,000 words has a few of them.
    let found = films.search(&["--by", "text", "word"]);
    assert_eq!(found[0]["shown"].as_array().unwrap().len(), 200);
    let (out, _) = films.bench.run(&["search", "films", "--by", "text", "word zürich"], 0);
    assert!(!out.contains('\u{202e}') && !out.contains('\u{1b}'), "{out}");
    assert!(out.lines().all(|line| line.chars().count() < 300), "{out}");
    let args = ["search", "films", "--by", "text", "Zürich", "--html", "page.html"];
    films.bench.run(&args, 0);
    let page = read_page(&films.bench.path("page.html"));
    assert_eq!(page["strange"], json!([]), "text never becomes an element");
    let result = &page["results"][0];
    assert!(result["texts"][1].as_str().unwrap().starts_with("On the screen: “</p><script>"), "{page}");
    assert!(result["href"].as_str().unwrap().ends_with("a.mp4#t=0.200"), "{page}");
    for args in [&["--min-similarity", "0.1"][..], &["--image", "x.jpg"]] {
        films.bench.run(&[&["search", "films", "--by", "text"], args].concat(), 2);
    }
}

#[test]
fn a_part_of_a_run_of_characters_is_found_where_there_are_no_spaces() {
    let films = Films::new();
    films.put(
        "/films/a.mp4",
        1,
        vec![
            with_text(
                &films,
                0,
                "一只狗在海滩上跑。",
                vec![shown("東京駅前、JR線9番", 100, 900), shown("부산역에서", 200, 900)],
            ),
            with_text(&films, 5, "A boat.", vec![shown("京東", 5_100, 5_900)]),
        ],
    );
    for (query, text) in [
        ("東京", "東京駅前、JR線9番"),
        ("駅前", "東京駅前、JR線9番"),
        ("JR線", "東京駅前、JR線9番"),
        ("부산역", "부산역에서"),
    ] {
        let found = films.search(&["--by", "text", query]);
        assert_eq!(found.len(), 1, "{query}");
        assert_eq!((&found[0]["shown"][0]["text"], found[0]["shown"].as_array().unwrap().len()), (&json!(text), 1));
    }
    assert_eq!(films.search(&["--by", "text", "京駅東"]).len(), 0);
    let found = films.search(&["--by", "words", "海滩"]);
    assert_eq!((found.len(), &found[0]["caption"]), (1, &json!("一只狗在海滩上跑。")));
}
