//! What a model and a voice do for an editor: frames described again, with a prompt or without, and cues spoken.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::{Bench, root};
use crate::support::{Review, film};

fn candidates(review: &Review, request: &Value) -> Vec<Value> {
    let (status, answer) = review.post("/api/describe", request);
    assert_eq!(status, 200, "{answer}");
    answer["candidates"].as_array().unwrap().clone()
}

fn text(candidate: &Value) -> &str {
    candidate["text"].as_str().unwrap()
}

#[test]
fn the_beam_of_a_frame_is_offered_with_scores() {
    let b = Bench::new();
    film(&b, "film.mp4");
    let review = Review::start(&b, &["film.mp4"]);
    let loaded = review.load();
    assert_eq!(loaded["film"]["model"]["prompt"], Value::Null);
    let found = candidates(&review, &json!({ "at": 2.5, "prompt": null }));
    // The first one is what descry itself says of the scene.
    let scenes = loaded["document"]["timeline"]["scenes"].as_array().unwrap();
    let scene = scenes.iter().find(|s| s["keyframe"].as_f64().is_some_and(|at| (2.0..4.0).contains(&at))).unwrap();
    let own = candidates(&review, &json!({ "at": scene["keyframe"] }));
    assert_eq!(text(&own[0]).to_lowercase().trim_end_matches('.'), scene["text"].as_str().unwrap().to_lowercase());
    let of_frame: Vec<&Value> = found.iter().filter(|one| one["offset"] == 0.0).collect();
    assert!(of_frame.len() > 1, "one hypothesis alone: {found:?}");
    assert!(
        found.iter().all(|one| one["score"].as_f64().is_some_and(|score| (0.0..=1.0).contains(&score))),
        "{found:?}"
    );
    let mut texts: Vec<&str> = found.iter().map(text).collect();
    texts.sort_unstable();
    texts.dedup();
    assert_eq!(texts.len(), found.len());
    // The same question has the same answer, also at either end of the film.
    assert_eq!(candidates(&review, &json!({ "at": 2.5 })), found);
    assert!(!candidates(&review, &json!({ "at": 0 })).is_empty());
    let (status, answer) = review.post("/api/describe", &json!({ "at": 2.5, "prompt": "Name the animal." }));
    assert!(status == 422 && answer["error"].as_str().unwrap().contains("takes no prompt"), "{answer}");
    assert_eq!(review.post("/api/describe", &json!({ "at": -1 })).0, 400);
    assert_eq!(review.post("/api/describe", &json!({ "at": 1, "prompt": "a".repeat(2_001) })).0, 400);
    assert_eq!(review.post("/api/describe", &json!({ "at": 1, "prompt": " " })).0, 400);
    assert_eq!(review.post("/api/describe", &json!({ "at": 999 })).0, 422);
}

#[test]
fn a_prompt_changes_what_a_model_says_that_follows_one() {
    let b = Bench::new();
    film(&b, "film.mp4");
    for (model, prompt, wrong) in
        [("hub", "Name the colours.", None), ("florence", "<DETAILED_CAPTION>", Some("Name the colours."))]
    {
        let model = root().join("tests/models").join(model).display().to_string();
        let review = format!("{}.json", prompt.len());
        let review = Review::start(&b, &["film.mp4", "--review", &review, "--model", &model, "--beam", "3"]);
        let own = review.load()["film"]["model"]["prompt"].as_str().unwrap().to_string();
        let usual = candidates(&review, &json!({ "at": 2.5 }));
        let asked = candidates(&review, &json!({ "at": 2.5, "prompt": prompt }));
        assert_ne!(usual, asked, "{own}");
        assert!(usual.iter().filter(|one| one["offset"] == 0.0).count() > 1, "{usual:?}");
        if let Some(wrong) = wrong {
            let (status, answer) = review.post("/api/describe", &json!({ "at": 2.5, "prompt": wrong }));
            assert!(status == 422 && answer["error"].as_str().unwrap().contains("task"), "{answer}");
        }
    }
}

/// A question and a text that nobody waits for any more make room for the next ones.
#[test]
fn a_client_that_leaves_ends_its_work() {
    let b = Bench::new();
    film(&b, "film.mp4");
    // A voice that hangs at the word "slowly".
    b.ffmpeg("-f lavfi -i sine=440:d=0.2 voice.wav");
    let voice = "sh -c 'read -r text; case $text in *slowly*) exec sleep 600;; esac; cat voice.wav'";
    let review = Review::start(&b, &["film.mp4", "--voice-command", voice]);
    let begun = Instant::now();
    for (path, body) in [
        ("/api/speak", json!({ "text": "A dog walks slowly." })),
        ("/api/describe", json!({ "at": 1.0 })),
        ("/api/speak", json!({ "text": "A cat walks slowly." })),
    ] {
        let body = body.to_string();
        let mut stream = TcpStream::connect(&review.address).unwrap();
        let head = format!("POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json", review.address);
        write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        std::thread::sleep(Duration::from_millis(300));
    }
    let (status, head, wav) = speak(&review, "A hen.");
    assert!(status == 200 && head.contains("audio/wav"), "{head}");
    assert_eq!(&wav[..4], b"RIFF");
    assert!(!candidates(&review, &json!({ "at": 2.5 })).is_empty());
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    assert_eq!(review.end().0, Some(130));
}

fn speak(review: &Review, text: &str) -> (u16, String, Vec<u8>) {
    let head = format!("POST /api/speak HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json", review.address);
    review.send(&head, &json!({ "text": text }).to_string())
}

#[test]
fn cues_are_spoken_by_the_voice_that_is_asked_for() {
    let b = Bench::new();
    film(&b, "film.mp4");
    let silent = Review::start(&b, &["film.mp4"]);
    assert_eq!(silent.load()["film"]["voice"], Value::Null);
    let (status, _, answer) = speak(&silent, "A dog.");
    assert!(status == 422 && String::from_utf8_lossy(&answer).contains("--voice"));
    silent.end();
    b.ffmpeg("-f lavfi -i sine=440:d=0.2 voice.wav");
    let voice = "sh -c 'cat >>texts; echo {language} >>texts; cat voice.wav'";
    let review = Review::start(&b, &["film.mp4", "--voice-command", voice, "--voice-language", "de-AT"]);
    assert_eq!(review.load()["film"]["voice"], "sh");
    let first = speak(&review, "Ein Hund.");
    assert_eq!(first.0, 200, "{}", first.1);
    assert_eq!(speak(&review, "Ein Hund.").2, first.2);
    // Spoken once.
    assert_eq!(b.read("texts"), "Ein Hund.\nde\n");
    assert_eq!(speak(&review, " ").0, 400);
    assert_eq!(speak(&review, &"a".repeat(2_001)).0, 400);
    review.end();
    let broken = Review::start(&b, &["film.mp4", "--voice-command", "no-such-voice"]);
    let (status, _, answer) = speak(&broken, "A dog.");
    let answer = String::from_utf8_lossy(&answer);
    assert!(status == 422 && answer.contains("no-such-voice: no such program"), "{answer}");
    broken.end();
    let lone = b.run(&["review", "film.mp4", "--voice-language", "de"], 2).1;
    assert!(lone.contains("--voice-command"), "{lone}");
}

#[test]
fn pauses_are_those_between_lines_of_dialogue() {
    let b = Bench::new();
    film(&b, "film.mp4");
    b.write("talk.srt", b"1\n00:00:02,500 --> 00:00:03,000\nHello.\n");
    let review = Review::start(&b, &["film.mp4", "--dialogue", "talk.srt"]);
    let pauses = review.load()["pauses"].clone();
    assert_eq!(pauses, json!([{ "start": 0.0, "end": 2.3 }, { "start": 3.2, "end": 6.0 }]));
    review.end();
    let unknown = Review::start(&b, &["film.mp4", "--review", "other.json"]);
    assert_eq!(unknown.load()["pauses"], Value::Null);
}
