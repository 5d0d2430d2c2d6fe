//! Live mode with a server of models: what it drops while the server is down, and what ends the run.

use std::time::{Duration, Instant};

use crate::common::model_server::{ModelServer, Reply};
use crate::common::rtsp::free_port;
use crate::common::{Bench, TINY, root};
use crate::streams::{Live, film, get};
use serde_json::{Value, json};

/// Arguments for a film at its own pace.
fn args<'a>(film: &'a str, model: &'a str, embedder: &'a str, page: &'a str) -> Vec<&'a str> {
    let server = ["--model", model, "--model-name", "m", "--embedder", embedder, "--server-timeout", "1"];
    // Every picture is new, so that none is announced in the words of an earlier one.
    let new = ["--max-gap", "1", "--same", "2", "--returning", "2"];
    [&[film, "--realtime", "--jsonl", "--http", page], &new[..], &server].concat()
}

fn dropped(page: &str, reason: &str) -> u64 {
    let answer = get(page, "/status");
    let status: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    status["streams"][0]["frames_dropped"][reason].as_u64().unwrap_or_else(|| panic!("{status}"))
}

/// Waits until the server has cost more keyframes than `before`. Other keyframes are dropped because they wait for it.
fn wait_for_drops(live: &Live, page: &str, before: u64) -> u64 {
    let started = Instant::now();
    loop {
        let now = dropped(page, "server");
        if now > before {
            return now;
        }
        assert!(started.elapsed() < Duration::from_secs(20), "{}", live.errors.lock().unwrap());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_server_that_is_down_drops_keyframes_until_it_is_back() {
    let b = Bench::new();
    film(&b, "film.mp4", "320:180", "libx264 -preset ultrafast");
    let (file, embedder) = (b.path("film.mp4").display().to_string(), root().join(TINY).display().to_string());
    let (port, page) = (free_port(), format!("127.0.0.1:{}", free_port()));
    let model = format!("openai:http://127.0.0.1:{port}/v1");
    let mut live = Live::new(&args(&file, &model, &embedder, &page));
    let (event, n) = live.wait("dropped", 0, |l| l["type"] == "dropped" && l["keyframes"].as_u64() > Some(0));
    assert_eq!(event["frames"], 0);
    wait_for_drops(&live, &page, 0);
    let metrics = get(&page, "/metrics");
    assert!(metrics.contains("reason=\"server\""), "{metrics}");
    let server = ModelServer::at(port, |n, _| Reply::text(&format!("The image shows scene number {n}.")));
    let (caption, n) = live.caption(n);
    assert!(caption["text"].as_str().unwrap().starts_with("Scene number "), "{caption}");
    assert!(server.asked().last().unwrap().picture().width() <= 768);
    // Down again, and back again.
    let before = dropped(&page, "server");
    drop(server);
    wait_for_drops(&live, &page, before);
    let _server = ModelServer::at(port, |n, _| Reply::text(&format!("A sight of number {n}.")));
    live.wait("caption", n, |l| l["text"].as_str().is_some_and(|text| text.starts_with("A sight")));
    let (_, errors) = live.stop();
    let all = errors.matches("nothing answers: connection refused").count();
    assert!(all == 2 && errors.contains("answers again"), "{errors}");
}

/// A hanging server is no hanging model, and does not delay the stop.
#[test]
fn a_server_that_hangs_drops_keyframes_and_does_not_delay_the_stop() {
    let b = Bench::new();
    film(&b, "film.mp4", "320:180", "libx264 -preset ultrafast");
    let (file, embedder) = (b.path("film.mp4").display().to_string(), root().join(TINY).display().to_string());
    let page = format!("127.0.0.1:{}", free_port());
    let server = ModelServer::new(|_, _| {
        std::thread::sleep(Duration::from_secs(30));
        Reply::Close
    });
    let model = server.model();
    // Twice this limit would end the run before the attempts are over.
    let mut live = Live::new(&[&args(&file, &model, &embedder, &page)[..], &["--hang", "1"]].concat());
    live.wait("dropped", 0, |l| l["type"] == "dropped" && l["keyframes"].as_u64() > Some(0));
    wait_for_drops(&live, &page, 0);
    let (_, errors) = live.stop();
    assert!(!errors.contains("hangs") && errors.contains("does not answer in time"), "{errors}");
}

#[test]
fn a_server_that_refuses_for_good_ends_the_run() {
    let b = Bench::new();
    film(&b, "film.mp4", "320:180", "libx264 -preset ultrafast");
    let (file, embedder) = (b.path("film.mp4").display().to_string(), root().join(TINY).display().to_string());
    for (status, word) in [("401 Unauthorized", "DESCRY_API_KEY"), ("404 Not Found", "--model-name")] {
        let server = ModelServer::new(move |_, _| Reply::json(status, &json!({ "error": { "message": "never" } })));
        let (model, page) = (server.model(), format!("127.0.0.1:{}", free_port()));
        let mut live = Live::new(&args(&file, &model, &embedder, &page));
        let started = Instant::now();
        let code = loop {
            if let Some(status) = live.child.try_wait().unwrap() {
                break status.code();
            }
            assert!(started.elapsed() < Duration::from_secs(30), "does not end");
            std::thread::sleep(Duration::from_millis(20));
        };
        std::thread::sleep(Duration::from_millis(100));
        let errors = live.errors.lock().unwrap().clone();
        assert_eq!(code, Some(2), "{errors}");
        assert!(errors.contains(&format!("answers {status}: never")) && errors.contains(word), "{errors}");
        assert_eq!(server.asked().len(), 1);
    }
}
