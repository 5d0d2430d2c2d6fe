//! Editing, saving, conflicts and exports.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::Bench;
use crate::support::{Review, film, seen};

fn reviewed() -> (Bench, Review) {
    let b = Bench::new();
    film(&b, "film.mp4");
    b.write("film.vtt", TRACK.as_bytes());
    let review = Review::start(&b, &["film.mp4", "film.vtt"]);
    (b, review)
}

const TRACK: &str = "WEBVTT\n\n00:00.000 --> 00:02.000\nA dog runs.\n\n00:02.000 --> 00:04.000\nA cat <i>sits</i>.\n\n\
    00:04.000 --> 00:05.900\nA cow &amp; a hen.\n";

/// Waits until the file says something that fits.
fn wait_for(b: &Bench, fits: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        if let Ok(document) = serde_json::from_str(&b.read("film.review.json"))
            && fits(&document)
        {
            return document;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{}", b.read("film.review.json"));
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn edits_survive_a_kill_and_go_on() {
    let (b, review) = reviewed();
    let loaded = review.load();
    assert_eq!(loaded["document"]["cues"][1]["text"], "A cat sits.");
    let report = review.edit(&json!({ "do": "change", "cue": seen(&loaded, 0), "to": { "text": "A wolf runs." } }));
    assert_eq!((&report["changed"][0]["text"], &report["revision"]), (&json!("A wolf runs."), &json!(1)));
    wait_for(&b, |document| document["revision"] == 1);
    review.kill();
    // It goes on without the track, and without describing the film again.
    let review = Review::start(&b, &["film.mp4"]);
    let loaded = review.load();
    assert_eq!(loaded["document"]["cues"][0]["text"], "A wolf runs.");
    assert_eq!(loaded["document"]["cues"][0]["machine"]["text"], "A dog runs.");
    review.edit(&json!({ "do": "undo", "revision": 1 }));
    assert_eq!(review.load()["document"]["cues"][0]["text"], "A dog runs.");
    let (code, errors) = review.end();
    assert_eq!((code, &*errors), (Some(130), ""));
    let document = wait_for(&b, |document| document["revision"] == 2);
    let history: Vec<_> = document["history"].as_array().unwrap().iter().map(|c| (&c["what"], &c["who"])).collect();
    assert_eq!(history, [(&json!("edit"), &json!("ann")), (&json!("undo"), &json!("ann"))]);
    // Nothing is left beside it.
    let mut names: Vec<_> = std::fs::read_dir(b.path(".")).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["film.mp4", "film.review.json", "film.vtt"]);
}

#[test]
fn a_described_film_can_be_reviewed_and_reported() {
    let b = Bench::new();
    film(&b, "film.mp4");
    let review = Review::start(&b, &["film.mp4", "--min-score", "0"]);
    let loaded = review.load();
    assert_eq!(loaded["document"]["source"]["kind"], "described");
    let cues = loaded["document"]["cues"].as_array().unwrap();
    let scenes = loaded["document"]["timeline"]["scenes"].as_array().unwrap();
    assert!(!cues.is_empty() && scenes.len() == 3, "{loaded}");
    assert_eq!(loaded["facts"].as_array().unwrap().len(), cues.len());
    review.edit(&json!({ "do": "delete", "cues": [seen(&loaded, 0)] }));
    review.end();
    let (report, _) = b.run(&["review", "film.mp4", "--report"], 0);
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!((&report["rejected"], &report["machine_cues"]), (&json!(1), &json!(cues.len())));
}

#[test]
fn two_windows_see_each_other_and_cannot_overwrite() {
    let (_b, review) = reviewed();
    let mut events = TcpStream::connect(&review.address).unwrap();
    events.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    events.write_all(format!("GET /api/events HTTP/1.1\r\nHost: {}\r\n\r\n", review.address).as_bytes()).unwrap();
    let mut events = BufReader::new(events).lines().map(Result::unwrap);
    assert!(events.by_ref().any(|line| line.is_empty()), "the head");
    let loaded = review.load();
    let change = |text: &str| json!({ "do": "change", "cue": seen(&loaded, 1), "to": { "text": text } });
    review.edit(&change("A lynx sits."));
    assert!(events.by_ref().any(|line| line == "event: change"));
    let told = events.by_ref().find_map(|line| line.strip_prefix("data: ").map(String::from)).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&told).unwrap()["changed"][0]["text"], "A lynx sits.");
    let (status, answer) = review.post("/api/edit", &json!({ "edit": change("A tiger sits."), "who": "bob" }));
    assert_eq!((status, &answer["cues"][0]["text"]), (409, &json!("A lynx sits.")));
    assert_eq!(review.load()["document"]["cues"][1]["text"], "A lynx sits.");
    let (status, answer) = review.post("/api/edit", &json!({ "edit": { "do": "undo", "revision": 99 } }));
    assert_eq!((status, &answer["error"]), (422, &json!("This change is too old to be undone.")));
}

#[test]
fn a_file_that_somebody_else_has_changed_is_kept() {
    let (b, review) = reviewed();
    let mut theirs: Value = serde_json::from_str(&b.read("film.review.json")).unwrap();
    theirs["notes"] = json!("theirs");
    b.write("film.review.json", theirs.to_string().as_bytes());
    review.edit(&json!({ "do": "notes", "notes": "mine", "seen": 0 }));
    let begun = Instant::now();
    while !b.path("film.review.mine-1.json").exists() {
        assert!(begun.elapsed() < Duration::from_secs(20));
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(wait_for(&b, |_| true)["notes"], "theirs");
    let (status, _) = review.post("/api/disk", &json!({ "take": "mine" }));
    assert_eq!((status, &wait_for(&b, |_| true)["notes"]), (200, &json!("mine")));
    assert!(b.read("film.review.theirs-1.json").contains("theirs"));
    // Once more, and nobody decides.
    b.write("film.review.json", theirs.to_string().as_bytes());
    review.edit(&json!({ "do": "notes", "notes": "mine again", "seen": 99 }));
    let (code, errors) = review.end();
    assert_eq!(code, Some(1));
    assert!(errors.contains("film.review.mine-1.json"), "{errors}");
    assert!(b.read("film.review.mine-1.json").contains("mine again"));
}

#[test]
fn what_editors_wrote_is_exported_in_every_format() {
    let (b, review) = reviewed();
    let loaded = review.load();
    let to = json!({ "text": "<script>alert(1)</script> A dog --> runs." });
    review.edit(&json!({ "do": "change", "cue": seen(&loaded, 0), "to": to }));
    for (end, holds) in [
        ("vtt", "&lt;script&gt;alert(1)&lt;/script&gt; A dog"),
        ("srt", "00:00:02,000 --> 00:00:04,000\nA cat sits."),
        ("json", "\"A cow & a hen.\""),
        ("csv", "A cat sits."),
        ("ttml", "A cow &amp; a hen."),
        ("html", "&lt;script&gt;"),
    ] {
        let (status, head, body) = review.get(&format!("/export/{end}"));
        let text = String::from_utf8(body).unwrap();
        assert!(status == 200 && text.contains(holds), "{end}: {text}");
        assert!(head.contains(&format!("attachment; filename=\"film.{end}\"")), "{head}");
        b.write(&format!("out.{end}"), text.as_bytes());
    }
    // FFmpeg reads what it must read.
    for name in ["out.vtt", "out.srt"] {
        b.ffmpeg(&format!("-i {name} read.ass"));
        assert_eq!(b.read("read.ass").matches("Dialogue:").count(), 3);
    }
    assert_eq!(review.get("/export/exe").0, 404);
}
