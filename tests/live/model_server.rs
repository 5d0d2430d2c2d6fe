//! Live mode with a server of models: what each stream asks it, what is dropped while it is down, and what ends the run.

use std::time::{Duration, Instant};

use crate::common::model_server::{Asked, ModelServer, Reply};
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

/// The prompt of a request, and how many pictures it has.
fn question(asked: &Asked) -> (String, usize) {
    let content = asked.body["messages"][0]["content"].as_array().unwrap();
    (content.last().unwrap()["text"].as_str().unwrap().to_string(), content.len() - 1)
}

#[test]
fn each_stream_has_its_own_prompt_and_context() {
    let b = Bench::new();
    film(&b, "film.mp4", "320:180", "libx264 -preset ultrafast");
    let file = b.path("film.mp4").display().to_string();
    b.write("who.txt", b"Who comes?\n");
    b.write("notes.txt", b"Ann lives here.\n");
    let (who, notes) = (b.path("who.txt").display().to_string(), b.path("notes.txt").display().to_string());
    b.write(
        "streams.toml",
        format!(
            "realtime = true\nmax_gap = 1\nlanguage = 'French'\n\
             [[stream]]\nname = 'yard'\nurl = '{file}'\n\
             [[stream]]\nname = 'door'\nurl = '{file}'\nprompt_file = '{who}'\nlanguage = 'Dutch'\nnotes = '{notes}'\n\
             context = 2\n"
        )
        .as_bytes(),
    );
    let config = b.path("streams.toml").display().to_string();
    let server = ModelServer::new(|n, _| Reply::text(&format!("Sight number {n}.")));
    let (model, embedder) = (server.model(), root().join(TINY).display().to_string());
    let mut live = Live::new(&[
        "--config",
        &config,
        "--jsonl",
        "--model",
        &model,
        "--model-name",
        "m",
        "--embedder",
        &embedder,
        "--prompt",
        "What happens?",
        "--same",
        "2",
        "--returning",
        "2",
    ]);
    let mut n = 0;
    let mut texts: Vec<String> = Vec::new();
    // Until the stream with a context has four descriptions.
    while texts.len() < 4 {
        let (caption, next) = live.caption(n);
        n = next;
        if caption["stream"] == "door" {
            texts.push(caption["text"].as_str().unwrap().to_string());
        }
    }
    live.stop();
    let asked: Vec<(String, usize)> = server.asked().iter().map(question).collect();
    assert!(asked.iter().all(|(_, pictures)| *pictures == 1), "{asked:?}");
    let (door, yard): (Vec<_>, Vec<_>) = asked.iter().map(|(prompt, _)| prompt).partition(|p| p.contains("Who comes?"));
    // The command line comes before the file's own defaults.
    assert!(yard.iter().all(|prompt| *prompt == "What happens? Answer in French."), "{yard:?}");
    assert!(!yard.is_empty(), "{asked:?}");
    let start = "Notes about what you will see:\nAnn lives here.\n\n";
    assert_eq!(door[0], &format!("{start}Who comes? Answer in Dutch."));
    for number in 1..4 {
        let earlier: String = texts[number.max(2) - 2..number].iter().map(|text| format!("- {text}\n")).collect();
        let want = format!(
            "{start}Earlier descriptions, oldest first:\n{earlier}\nWho comes? Describe only what is new. Answer in Dutch."
        );
        assert_eq!(door[number], &want);
    }
}

#[test]
fn a_prompt_has_frames_of_the_scene_so_far() {
    let b = Bench::new();
    film(&b, "film.mp4", "320:180", "libx264 -preset ultrafast");
    let (file, embedder) = (b.path("film.mp4").display().to_string(), root().join(TINY).display().to_string());
    let page = format!("127.0.0.1:{}", free_port());
    let server = ModelServer::new(|n, _| Reply::text(&format!("Sight number {n}.")));
    let model = server.model();
    let mut live = Live::new(&[&args(&file, &model, &embedder, &page)[..], &["--frames", "3"]].concat());
    let (_, n) = live.caption(0);
    live.caption(n);
    live.stop();
    let pictures: Vec<usize> = server.asked().iter().map(|asked| question(asked).1).collect();
    assert!(pictures.len() >= 2 && pictures.iter().all(|count| *count == 3), "{pictures:?}");
}

#[test]
fn prompts_that_cannot_be_are_refused_before_anything_starts() {
    let b = Bench::new();
    let refused = |toml: &str, args: &[&str]| {
        b.write(
            "streams.toml",
            format!("[[stream]]\nname = 'door'\nurl = 'rtsp://127.0.0.1:1/x'\n{toml}\n").as_bytes(),
        );
        let out = b.descry(&[&["live", "--config", "streams.toml", "--vtt", "out.vtt"], args].concat());
        let text = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(matches!(out.status.code(), Some(1 | 2)) && !b.path("out.vtt").exists(), "{text}");
        text
    };
    let tiny = root().join(TINY).display().to_string();
    let text = refused("prompt = 'Who?'", &["--model", &tiny]);
    assert!(text.contains("stream door has a prompt") && text.contains("--model"), "{text}");
    let text = refused("context = 40", &["--model", &tiny]);
    assert!(text.contains("streams.toml: stream door: --context 40 is out of range"), "{text}");
    let text = refused("", &["--model", &tiny, "--prompt", " "]);
    assert!(text.starts_with("error: the prompt is empty"), "{text}");
    let text = refused("", &["--model", &tiny, "--context", "3"]);
    assert!(text.contains("takes no --context"), "{text}");
    let text = refused("", &["--model", &tiny, "--frames", "3"]);
    assert!(text.contains("takes no --frames"), "{text}");
    let florence = root().join("tests/models/florence").display().to_string();
    let text = refused("prompt = 'Who?'", &["--model", &florence]);
    assert!(text.contains("stream door") && text.contains("<OCR>"), "{text}");
    let text = refused("notes = 'streams.toml'", &["--model", &florence]);
    assert!(text.contains("stream door") && text.contains("notes cannot be added"), "{text}");
}

/// Models see streams without bars.
#[test]
fn a_stream_is_cropped_like_a_film() {
    let b = Bench::new();
    film(&b, "film.mp4", "320:180", "libx264 -preset ultrafast");
    b.ffmpeg("-t 8 -i film.mp4 -vf pad=320:240:0:30 -c:v libx264 -preset ultrafast bars.mp4");
    let (file, embedder) = (b.path("bars.mp4").display().to_string(), root().join(TINY).display().to_string());
    let server = ModelServer::new(|n, _| Reply::text(&format!("Scene {n}.")));
    let model = server.model();
    for (more, size) in [(&[][..], (320, 180)), (&["--keep-bars"], (320, 240))] {
        let (page, before) = (format!("127.0.0.1:{}", free_port()), server.asked().len());
        let mut live = Live::new(&[&args(&file, &model, &embedder, &page)[..], more].concat());
        live.caption(0);
        live.stop();
        let sizes: Vec<_> = server.asked()[before..].iter().map(|asked| asked.picture().dimensions()).collect();
        assert!(!sizes.is_empty() && sizes.iter().all(|s| *s == size), "{more:?}: {sizes:?}");
    }
}
