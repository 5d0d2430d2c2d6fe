//! What is wrong is named, and loses nothing.

use serde_json::json;

use crate::common::{Bench, tiny};
use crate::support::{Review, film};

fn refused(b: &Bench, args: &[&str], code: i32) -> String {
    b.run(&tiny(&[&["review"], args, &["--no-open", "--listen", "127.0.0.1:0", "--audio", "none"]].concat()), code).1
}

#[test]
fn wrong_films_tracks_and_reviews_are_named() {
    let b = Bench::new();
    film(&b, "film.mp4");
    let missing = refused(&b, &["none.mp4"], 1);
    assert!(missing.contains("none.mp4") && missing.contains("no such file"), "{missing}");
    b.write("late.vtt", b"WEBVTT\n\n01:00.000 --> 01:02.000\nA dog.\n");
    let late = refused(&b, &["film.mp4", "late.vtt"], 1);
    assert!(late.contains("late.vtt") && late.contains("after the end of film.mp4"), "{late}");
    b.write("bad.vtt", b"WEBVTT\n\n00:02.000 --> 00:01.000\nA dog.\n");
    let bad = refused(&b, &["film.mp4", "bad.vtt"], 1);
    assert!(bad.contains("bad.vtt") && bad.contains("ends before it begins"), "{bad}");
    assert!(!b.path("film.review.json").exists());
    b.write("film.review.json", b"{ broken");
    let broken = refused(&b, &["film.mp4"], 1);
    assert!(broken.contains("film.review.json") && broken.contains("is no review"), "{broken}");
    assert_eq!(b.read("film.review.json"), "{ broken");
    let report = b.run(&["review", "film.mp4", "--report", "--review", "none.json"], 1).1;
    assert!(report.contains("none.json"), "{report}");
    let address = b.run(&tiny(&["review", "film.mp4", "--listen", "0.0.0.0:0"]), 2).1;
    assert!(address.contains("other machines") && address.contains("SSH"), "{address}");
}

#[test]
fn a_second_descry_is_kept_out() {
    let b = Bench::new();
    film(&b, "film.mp4");
    let review = Review::start(&b, &["film.mp4"]);
    let busy = refused(&b, &["film.mp4"], 1);
    assert!(busy.contains("another descry reviews this film"), "{busy}");
    assert_eq!(review.end().0, Some(130));
    // A track does not replace what was edited.
    b.write("film.vtt", b"WEBVTT\n\n00:01.000 --> 00:02.000\nA dog.\n");
    let kept = refused(&b, &["film.mp4", "film.vtt"], 1);
    assert!(kept.contains("there is a review of this film") && kept.contains("--review"), "{kept}");
}

#[test]
fn only_the_page_itself_can_change_anything() {
    let b = Bench::new();
    film(&b, "film.mp4");
    let review = Review::start(&b, &["film.mp4"]);
    let add = json!({ "edit": { "do": "add", "start": 1.0, "end": 2.0, "text": "x" } }).to_string();
    let own = format!("Host: {}", review.address);
    let json = "Content-Type: application/json";
    for (head, status) in [
        (format!("POST /api/edit HTTP/1.1\r\nHost: evil.example\r\n{json}"), 403),
        (format!("POST /api/edit HTTP/1.1\r\n{own}\r\n{json}\r\nOrigin: http://evil.example"), 403),
        (format!("POST /api/edit HTTP/1.1\r\n{own}\r\n{json}\r\nSec-Fetch-Site: cross-site"), 403),
        (format!("POST /api/edit HTTP/1.1\r\n{own}\r\nContent-Type: text/plain"), 415),
        ("GET /api/review HTTP/1.1\r\nHost: evil.example".to_string(), 403),
        (format!("GET /api/edit HTTP/1.1\r\n{own}"), 405),
    ] {
        assert_eq!(review.send(&head, &add).0, status, "{head}");
    }
    for wrong in [
        "",
        "{",
        "[]",
        "{\"edit\":{\"do\":\"format\"}}",
        "{\"edit\":{\"do\":\"add\",\"start\":1e99,\"end\":2,\"text\":\"\"}}",
    ] {
        let head = format!("POST /api/edit HTTP/1.1\r\n{own}\r\n{json}");
        assert_eq!(review.send(&head, wrong).0, 400, "{wrong}");
    }
    assert_eq!(review.load()["document"]["revision"], 0);
    let (_, head, _) = review.get("/");
    for part in ["require-trusted-types-for 'script'", "default-src 'none'", "nosniff"] {
        assert!(head.contains(part), "{head}");
    }
}

#[test]
fn ten_thousand_cues_open() {
    let b = Bench::new();
    film(&b, "film.mp4");
    let cue = |n: u64| format!("00:00.{:03} --> 00:05.{:03}\nCue <b>{n}</b> &lt;script&gt;\n\n", n % 1_000, n % 1_000);
    b.write("many.vtt", format!("WEBVTT\n\n{}", (0..10_000).map(cue).collect::<String>()).as_bytes());
    let review = Review::start(&b, &["film.mp4", "many.vtt"]);
    let loaded = review.load();
    assert_eq!(loaded["document"]["cues"].as_array().unwrap().len(), 10_000);
    let replace = json!({ "do": "replace", "find": "cue", "with": "Shot", "whole_words": true });
    assert_eq!(review.edit(&replace)["changed"].as_array().unwrap().len(), 10_000);
}
