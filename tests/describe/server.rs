//! Captions by a server of models: what it is sent, how its answers and faults are handled, and what is never shown.

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::common::model_server::{ModelServer, Reply};
use crate::common::{Bench, TINY, root};
use serde_json::{Value, json};

const KEY: &str = "sk-test-0123456789abcdef";

/// A film of so many seconds, each a little lighter than the one before.
fn film(b: &Bench, seconds: u32) {
    let step = 160 / seconds;
    b.ffmpeg(&format!(
        "-f lavfi -i nullsrc=size=320x180:rate=5:duration={seconds},format=yuv420p,\
         geq=lum='16+{step}*floor(T)+32*mod(floor(X/8)+floor(Y/8)\\,2)':cb=128:cr=128 -c:v ffv1 film.mkv"
    ));
}

/// A film of one picture.
fn still(b: &Bench) {
    film(b, 1);
}

fn command(b: &Bench, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_descry"));
    let embedder = root().join(TINY).display().to_string();
    command
        .args(args)
        .args(["--embedder", &embedder])
        .current_dir(b.path("."))
        .env_remove("DESCRY_API_KEY")
        .stdin(Stdio::null());
    command
}

/// Describes the film, a picture for each second, with JSON on standard output.
fn describe(b: &Bench, model: &str, more: &[&str]) -> Command {
    let usual = ["describe", "film.mkv", "-o", "-", "-f", "json", "--model", model, "--model-name", "m:3b"];
    command(b, &[&usual[..], &["--scenes", "fixed", "--interval", "1", "--no-dedup"], more].concat())
}

fn texts(out: &Output) -> Vec<String> {
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(0), "{stderr}");
    let track: Value = serde_json::from_slice(&out.stdout).unwrap();
    let scenes = track["scenes"].as_array().unwrap().iter();
    scenes.map(|s| s["text"].as_str().unwrap_or("none").to_string()).collect()
}

/// The message of a run that fails because of the server.
fn failure(b: &Bench, server: &ModelServer, more: &[&str]) -> String {
    let out = describe(b, &server.model(), more).output().unwrap();
    let stderr = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains(&format!("http://127.0.0.1:{}/v1: ", server.port)), "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    stderr
}

#[test]
fn the_request_has_the_form_of_openai_and_the_picture_its_size() {
    let b = Bench::new();
    film(&b, 2);
    let server = ModelServer::new(|_, _| Reply::text("**Sure!** The image shows a *chessboard*. It is grey."));
    let more = ["--picture-size", "200", "--prompt", "What is it?", "--max-tokens", "33"];
    let out = describe(&b, &server.model(), &more).env("DESCRY_API_KEY", KEY).output().unwrap();
    assert_eq!(texts(&out), ["a chessboard", "a chessboard"]);
    let asked = server.asked();
    assert_eq!(asked.len(), 2);
    for request in &asked {
        let head = request.head.to_lowercase();
        assert!(head.starts_with("post /v1/chat/completions http/1.1\r\n"), "{head}");
        assert!(head.contains(&format!("authorization: bearer {KEY}\r\n")), "{head}");
        assert!(head.contains("content-type: application/json\r\n"), "{head}");
        let body = &request.body;
        assert_eq!((&body["model"], &body["max_tokens"]), (&json!("m:3b"), &json!(33)));
        assert_eq!((body["temperature"].as_f64(), &body["stream"]), (Some(0.0), &json!(false)));
        assert_eq!(body["messages"].as_array().unwrap().len(), 1);
        assert_eq!(body["messages"][0]["content"][1], json!({ "type": "text", "text": "What is it?" }));
        // 320 × 180, reduced.
        let picture = request.picture();
        assert_eq!(picture.width(), 200);
        assert!((112..=113).contains(&picture.height()), "{}", picture.height());
    }
    let track: Value = serde_json::from_slice(&out.stdout).unwrap();
    let decoding = &track["options"]["decoding"];
    assert_eq!((&track["model"], &decoding["captioner"]), (&json!("m:3b"), &json!("m:3b")));
    assert_eq!(decoding["captioner_hash"].as_str().unwrap().len(), 64);
    assert_eq!((&decoding["prompt"], &decoding["max_tokens"]), (&json!("What is it?"), &json!(33)));
    assert_eq!(decoding["picture_side"], 200);
    assert!(!String::from_utf8_lossy(&out.stdout).contains(KEY));
}

#[test]
fn the_defaults_are_those_of_the_help() {
    let b = Bench::new();
    b.ffmpeg("-f lavfi -i testsrc2=size=1600x900:rate=5:duration=1 film.mkv");
    let server = ModelServer::new(|_, _| Reply::text("A test card."));
    let out = describe(&b, &format!("{}/", server.model()), &[]).output().unwrap();
    assert_eq!(texts(&out), ["A test card"]);
    let request = server.asked().remove(0);
    assert!(!request.head.to_lowercase().contains("authorization"), "{}", request.head);
    assert_eq!((&request.body["max_tokens"], request.picture().dimensions()), (&json!(64), (768, 432)));
    assert_eq!(request.body["messages"][0]["content"][1]["text"], "Describe this picture in one sentence.");
}

#[test]
fn captions_are_in_order_whatever_the_order_of_the_answers() {
    let b = Bench::new();
    film(&b, 8);
    // Names a picture by its lightness, and answers a light one sooner.
    let server = ModelServer::new(|_, request| {
        let picture = request.picture();
        let mean = picture.as_raw().iter().map(|v| u64::from(*v)).sum::<u64>() / picture.as_raw().len() as u64;
        std::thread::sleep(Duration::from_millis(500 - 2 * mean.min(240)));
        Reply::text(&format!("Lightness {mean}"))
    });
    let level = |text: &String| text.strip_prefix("Lightness ").unwrap().parse::<u32>().unwrap();
    for jobs in [1, 3, 8] {
        let jobs = jobs.to_string();
        let out = describe(&b, &server.model(), &["--server-jobs", &jobs]).output().unwrap();
        let levels: Vec<u32> = texts(&out).iter().map(level).collect();
        assert_eq!(levels.len(), 8);
        assert!(levels.is_sorted_by(|a, b| a < b), "{levels:?}");
        assert!(server.most_at_once() <= jobs.parse().unwrap(), "{} at once", server.most_at_once());
    }
    assert!(server.most_at_once() >= 4, "{} at once", server.most_at_once());
    // Still pictures too.
    b.ffmpeg("-i film.mkv -r 1 %d.png");
    let names: Vec<String> = (1..=8).map(|n| format!("{n}.png")).collect();
    let model = server.model();
    let mut args = vec!["caption", "--model", &model, "--model-name", "m", "--picture-size", "64"];
    args.extend(names.iter().map(String::as_str));
    let out = command(&b, &args).output().unwrap();
    let lines = String::from_utf8(out.stdout).unwrap();
    let levels: Vec<u32> = lines.lines().map(|l| level(&l.split_once('\t').unwrap().1.to_string())).collect();
    assert!(levels.len() == 8 && levels.is_sorted(), "{lines}");
    assert!(server.asked().last().unwrap().picture().width() == 64);
}

#[test]
fn a_refused_picture_gets_no_cue_and_does_not_end_the_run() {
    let b = Bench::new();
    film(&b, 3);
    let server = ModelServer::new(|n, _| match n {
        0 => Reply::text("I'm sorry, I can't help with that."),
        1 => Reply::json("400 Bad Request", &json!({ "error": { "code": "content_filter", "message": "no" } })),
        _ => Reply::text("A chessboard."),
    });
    let out = describe(&b, &server.model(), &["--server-jobs", "1"]).output().unwrap();
    assert_eq!(texts(&out), ["", "", "A chessboard"]);
    let track: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(track["cues"].as_array().unwrap().len(), 1, "{track}");
    assert_eq!(track["cues"][0]["start"], 2.0, "{track}");
}

#[test]
fn faults_that_pass_are_tried_again() {
    let b = Bench::new();
    still(&b);
    let first_then = |first: fn() -> Reply| {
        let server = ModelServer::new(move |n, _| if n == 0 { first() } else { Reply::text("A chessboard.") });
        let start = Instant::now();
        let out = describe(&b, &server.model(), &[]).output().unwrap();
        assert_eq!(texts(&out), ["A chessboard"]);
        assert_eq!(server.asked().len(), 2);
        start.elapsed()
    };
    first_then(|| Reply::json("500 Internal Server Error", &json!({})));
    first_then(|| Reply::Http("503 Service Unavailable", String::new(), "<html>".into()));
    first_then(|| Reply::Close);
    first_then(|| Reply::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"choices\"".to_vec()));
    let busy = || Reply::Http("429 Too Many Requests", "Retry-After: 2\r\n".into(), "{\"error\":\"busy\"}".into());
    assert!(first_then(busy) >= Duration::from_secs(2));
}

#[test]
fn a_slow_answer_is_waited_for_up_to_the_timeout() {
    let b = Bench::new();
    still(&b);
    let server = ModelServer::new(|n, _| {
        // The first two are too slow.
        std::thread::sleep(Duration::from_millis([1_500, 1_500, 400][n.min(2)]));
        Reply::text("A chessboard.")
    });
    let out = describe(&b, &server.model(), &["--server-timeout", "1"]).output().unwrap();
    assert_eq!((texts(&out), server.asked().len()), (vec!["A chessboard".to_string()], 3));
    let silent = ModelServer::new(|_, _| {
        std::thread::sleep(Duration::from_secs(20));
        Reply::Close
    });
    let error = failure(&b, &silent, &["--server-timeout", "0.3"]);
    assert!(
        error.contains("does not answer in time, 4 times in a row") && error.contains("--server-timeout"),
        "{error}"
    );
}

#[test]
fn a_server_that_fails_for_good_ends_the_run_with_cause_and_remedy() {
    let b = Bench::new();
    still(&b);
    // Each: the reply, attempts, and what the message must hold.
    type Case = (fn() -> Reply, usize, &'static [&'static str]);
    let cases: [Case; 10] = [
        (
            || Reply::json("500 Internal Server Error", &json!({ "error": { "message": "no image projector" } })),
            4,
            &["answers 500 Internal Server Error: no image projector, 4 times in a row"],
        ),
        (
            || Reply::json("401 Unauthorized", &json!({ "error": { "message": format!("wrong key {KEY}") } })),
            1,
            &["answers 401 Unauthorized: wrong key ***\n", "DESCRY_API_KEY"],
        ),
        (
            || Reply::json("404 Not Found", &json!({ "error": { "message": "model 'm:3b' not found" } })),
            1,
            &["answers 404 Not Found: model 'm:3b' not found\n", "--model-name"],
        ),
        (|| Reply::Http("200 OK", String::new(), "<html>hello</html>".into()), 1, &["not answer with JSON", "/v1"]),
        (|| Reply::json("200 OK", &json!({ "choices": [] })), 1, &["answers without a choice"]),
        (|| Reply::json("200 OK", &json!({ "hello": 1 })), 1, &["no chat completion"]),
        (|| Reply::Http("200 OK", String::new(), "x".repeat(3 << 20)), 1, &["answers with more than 1 MB"]),
        (
            || Reply::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{\"choices\":[]}".to_vec()),
            1,
            &["does not answer with JSON"],
        ),
        (|| Reply::Close, 4, &["closes the connection before its answer is complete, 4 times in a row"]),
        (|| Reply::Raw(b"220 mail.example ESMTP\r\n".to_vec()), 1, &["does not answer as an HTTP server does"]),
    ];
    for (reply, tries, words) in cases {
        let server = ModelServer::new(move |_, _| reply());
        let out = describe(&b, &server.model(), &[]).env("DESCRY_API_KEY", KEY).output().unwrap();
        let error = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(2), "{error}");
        assert!(error.starts_with(&format!("error: http://127.0.0.1:{}/v1: ", server.port)), "{error}");
        assert!(words.iter().all(|word| error.contains(word)), "{error} lacks {words:?}");
        assert!(!error.contains(KEY) && !error.contains("panicked"), "{error}");
        assert_eq!(server.asked().len(), tries, "{error}");
    }
}

#[test]
fn what_was_described_before_the_server_failed_is_kept() {
    let b = Bench::new();
    film(&b, 6);
    let server = ModelServer::new(|n, _| match n {
        0..3 => Reply::text(&format!("Picture {n}.")),
        _ => Reply::json("403 Forbidden", &json!({})),
    });
    let more = ["--server-jobs", "1", "--batch", "1"];
    let out = describe(&b, &server.model(), &more).output().unwrap();
    assert_eq!(out.status.code(), Some(2), "{}", String::from_utf8_lossy(&out.stderr));
    let track: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert!(track["damage"].as_str().unwrap().contains("the model failed"), "{track}");
    assert_eq!(track["scenes"].as_array().unwrap().len(), 3, "{track}");
}

#[test]
fn a_server_that_is_down_is_named_with_its_address() {
    let b = Bench::new();
    still(&b);
    let server = ModelServer::new(|_, _| Reply::Close);
    let model = format!("openai:http://user:secret-word@127.0.0.1:{}/v1?token=hidden-too", server.port);
    let port = server.port;
    drop(server);
    let out = describe(&b, &model, &[]).output().unwrap();
    let error = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(2), "{error}");
    assert!(error.contains(&format!("error: http://127.0.0.1:{port}/v1")), "{error}");
    assert!(error.contains("nothing answers: connection refused, 4 times in a row"), "{error}");
    assert!(error.contains("Start the server, or check the address in --model."), "{error}");
    assert!(!error.contains("secret-word") && !error.contains("hidden-too"), "{error}");
}

/// A redirect could carry the key and the pictures to another host.
#[test]
fn redirects_are_not_followed() {
    let b = Bench::new();
    still(&b);
    let other = ModelServer::new(|_, _| Reply::text("A chessboard."));
    let to = format!("Location: http://localhost:{}/v1/chat/completions\r\n", other.port);
    for status in ["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let to = to.clone();
        let server = ModelServer::new(move |_, _| Reply::Http(status, to.clone(), String::new()));
        let error = failure(&b, &server, &[]);
        assert!(error.contains(&format!("answers {status}")) && error.contains("follows no redirects"), "{error}");
        assert!(other.asked().is_empty());
    }
}

#[test]
fn credentials_are_sent_and_shown_nowhere() {
    let b = Bench::new();
    film(&b, 2);
    let server = ModelServer::new(|_, request| {
        // A server that repeats the key does not get it into the track.
        let key = request.head.lines().find_map(|l| l.split_once("Bearer ")).map_or("none", |(_, key)| key.trim());
        Reply::text(&format!("A board with {key} on it."))
    });
    let model = format!("openai:http://user:secret-word@127.0.0.1:{}/v1?token=hidden-too", server.port);
    let mut seen = String::new();
    for args in [&["-v"][..], &["-v", "--log", "json"], &["--stats"]] {
        let out = command(
            &b,
            &[
                &["describe", "film.mkv", "-o", "out/", "-f", "vtt,srt,json,csv", "--force"][..],
                &["--model", &model, "--model-name", "m"],
                args,
            ]
            .concat(),
        )
        .env("DESCRY_API_KEY", KEY)
        .output()
        .unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        seen += &String::from_utf8_lossy(&out.stdout);
        seen += &String::from_utf8_lossy(&out.stderr);
    }
    for name in ["out/film.vtt", "out/film.srt", "out/film.json", "out/film.csv"] {
        seen += &b.read(name);
    }
    for secret in [KEY, "secret-word", "hidden-too"] {
        assert!(!seen.contains(secret), "{secret}: {seen}");
    }
    assert!(seen.contains("with … on it"), "{seen}");
    let asked = server.asked();
    let with_key = asked.iter().find(|a| a.head.contains(KEY)).unwrap();
    assert!(with_key.head.starts_with("POST /v1/chat/completions?token=hidden-too HTTP/1.1"), "{}", with_key.head);
    // Without a key, the user name and the password of the address are used.
    let out = describe(&b, &model, &[]).output().unwrap();
    assert_eq!(out.status.code(), Some(0));
    let last = server.asked().pop().unwrap().head.to_lowercase();
    assert!(last.contains("authorization: basic dxnlcjpzzwnyzxqtd29yza=="), "{last}");
}

#[test]
fn options_that_do_not_suit_a_server_are_refused_by_name() {
    let b = Bench::new();
    still(&b);
    let server = ModelServer::new(|_, _| Reply::text("A chessboard."));
    let model = server.model();
    let run = |args: &[&str]| {
        let out = command(&b, &[&["describe", "film.mkv", "-o", "-"], args].concat()).output().unwrap();
        assert_eq!(out.status.code(), Some(2), "{args:?}");
        String::from_utf8_lossy(&out.stderr).into_owned()
    };
    let named = ["--model", model.as_str(), "--model-name", "m"];
    for (more, flag) in [
        (&["--beam", "3"][..], "--beam"),
        (&["--greedy"], "--greedy"),
        (&["--sample", "1"], "--sample"),
        (&["--precision", "int8"], "--precision"),
        (&["--max-tokens", "0"], "--max-tokens"),
        (&["--server-timeout", "0"], "--server-timeout"),
        (&["--server-jobs", "65"], "--server-jobs"),
        (&["--picture-size", "63"], "--picture-size"),
    ] {
        let error = run(&[&named[..], more].concat());
        assert!(error.contains(flag), "{more:?}: {error}");
    }
    let error = run(&["--model", &model]);
    assert!(error.contains("--model-name"), "{error}");
    for address in ["openai:", "openai:localhost", "openai:ftp://h/v1", "openai:http://"] {
        let error = run(&["--model", address, "--model-name", "m"]);
        assert!(error.contains("--model openai:http://HOST:PORT/v1"), "{address}: {error}");
    }
    // The other way round.
    let tiny = root().join(TINY).display().to_string();
    let without = |args: &[&str]| {
        let out = b.descry(&[&["describe", "film.mkv", "-o", "-", "--model", &tiny], args].concat());
        assert_eq!(out.status.code(), Some(2), "{args:?}");
        String::from_utf8_lossy(&out.stderr).into_owned()
    };
    for more in [["--model-name", "m"], ["--server-timeout", "5"], ["--server-jobs", "5"], ["--picture-size", "500"]] {
        let error = without(&more);
        assert!(error.contains(more[0]) && error.contains("a server of models only"), "{error}");
    }
    assert!(server.asked().is_empty());
    let out = describe(&b, &model, &[]).env("DESCRY_API_KEY", "two words of a secret").output().unwrap();
    let error = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.code() == Some(2) && error.contains("DESCRY_API_KEY") && !error.contains("words of"), "{error}");
}

#[test]
fn an_interrupt_waits_neither_for_an_answer_nor_for_a_pause() {
    let b = Bench::new();
    film(&b, 6);
    let slow = || {
        std::thread::sleep(Duration::from_secs(15));
        Reply::Close
    };
    let busy = || Reply::Http("429 Too Many Requests", "Retry-After: 30\r\n".into(), String::new());
    let cases: [fn() -> Reply; 2] = [slow, busy];
    for reply in cases {
        // The first picture is captioned.
        let server = ModelServer::new(move |n, _| if n == 0 { Reply::text("A chessboard.") } else { reply() });
        let child = describe(&b, &server.model(), &["--batch", "1", "--server-jobs", "1"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let started = Instant::now();
        while server.asked().len() < 2 {
            assert!(started.elapsed() < Duration::from_secs(20));
            std::thread::sleep(Duration::from_millis(10));
        }
        std::thread::sleep(Duration::from_millis(300));
        let stopped = Instant::now();
        assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
        let out = child.wait_with_output().unwrap();
        assert!(stopped.elapsed() < Duration::from_secs(3), "{:?}", stopped.elapsed());
        assert_eq!(out.status.code(), Some(130), "{}", String::from_utf8_lossy(&out.stderr));
        // What is complete is written, and marked as interrupted.
        let track: Value = serde_json::from_slice(&out.stdout).unwrap();
        assert_eq!((&track["interrupted"], track["scenes"].as_array().unwrap().len()), (&json!(true), 1), "{track}");
    }
}
