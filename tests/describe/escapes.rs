//! Names and texts of other people on a terminal: nothing in them acts.
#![cfg(unix)]

use std::process::Command;

use crate::common::{Bench, sample, tiny};

/// Escape sequences in both forms, a bell, a backspace, a line of its own, and a text from right to left.
const HOSTILE: &str = "a\u{1b}[31m\u{9b}2J\u{7}\u{8}\nerror: b\u{202e}gpj";

/// Whether a terminal would do something else than show a character.
fn acts(c: char) -> bool {
    c.is_control() && !matches!(c, '\n' | '\t') || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Runs descry and checks both of its outputs. Returns them.
fn run(b: &Bench, args: &[&str], code: i32) -> (String, String) {
    let (out, err) = b.run(args, code);
    for text in [&out, &err] {
        assert!(!text.chars().any(acts), "{args:?}: {text:?}");
        assert!(!text.lines().any(|line| line.starts_with("error: b")), "{args:?}: {text:?}");
    }
    (out, err)
}

#[test]
fn names_are_escaped_in_messages_and_tables() {
    let b = Bench::new();
    let (film, picture) = (format!("{HOSTILE}.mp4"), format!("{HOSTILE}.jpg"));
    // Missing files, wrong options, wrong models.
    for log in ["text", "json"] {
        let (_, err) = run(&b, &tiny(&["describe", &film, "--log", log]), 1);
        assert!(err.contains("\\u{1b}[31m") || err.contains("\\u001b[31m"), "{err}");
        run(&b, &["describe", "a.mp4", "--model", HOSTILE, "--log", log], 2);
        run(&b, &["describe", "a.mp4", &format!("--{HOSTILE}"), "--log", log], 2);
        run(&b, &tiny(&["live", "--config", HOSTILE, "--log", log]), 2);
        run(&b, &tiny(&["live", "--realtime", &film, "--log", log]), 1);
        run(&b, &tiny(&["search", "a", HOSTILE, "--log", log]), 2);
    }
    // Files that are there, and what is printed about them.
    std::fs::copy(sample("bigbuckbunny.mp4"), b.path(&film)).unwrap();
    b.ffmpeg("-f lavfi -i testsrc2=size=64x36 -frames:v 1 a.jpg");
    std::fs::rename(b.path("a.jpg"), b.path(&picture)).unwrap();
    let (out, _) = run(&b, &["probe", &film], 0);
    assert!(out.starts_with("a\\u{1b}[31m\\u{9b}2J\\u{7}\\u{8}\\nerror: b\\u{202e}gpj.mp4\n"), "{out}");
    let (out, _) = run(&b, &["probe", "--json", &film], 0);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&out).unwrap()["input"], film.as_str());
    let (out, _) = run(&b, &tiny(&["caption", &picture]), 0);
    assert_eq!(out.lines().count(), 1, "{out}");
    run(&b, &tiny(&["describe", &film, "-vv"]), 0);
    run(&b, &tiny(&["index", &film, "--into", "archive", "--plan"]), 0);
    run(&b, &tiny(&["index", &film, "--into", "archive", "-v"]), 0);
    let (out, _) = run(&b, &["archive", "list", "archive"], 0);
    assert_eq!(out.lines().count(), 1, "{out}");
    let (out, _) = run(&b, &["archive", "list", "archive", "--json"], 0);
    let video = serde_json::from_str::<serde_json::Value>(&out).unwrap()["video"].clone();
    assert!(video.as_str().unwrap().ends_with(&film));
    // A stream is named after its file.
    let (out, _) = run(&b, &tiny(&["live", "--realtime", &film, "--min-score", "0", "-v"]), 0);
    assert!(out.contains("\"stream\":\"a\\\\u{1b}[31m"), "{out}");
}

/// A file holds what its format allows; a terminal does not get it unescaped.
#[test]
fn a_terminal_gets_no_escape_sequence_with_a_track() {
    let b = Bench::new();
    std::fs::copy(sample("bigbuckbunny.mp4"), b.path("a\u{9b}2J\u{202e}.mp4")).unwrap();
    let command = tiny(&["describe", "a\u{9b}2J\u{202e}.mp4", "-o", "-", "-f", "vtt", "-q"]);
    let piped = b.run(&command, 0).0;
    assert!(piped.contains('\u{202e}'), "{piped}");
    // `script` gives descry a terminal.
    let line = shlex::try_join([env!("CARGO_BIN_EXE_descry")].into_iter().chain(command)).unwrap();
    let shown = Command::new("script").args(["-qec", &line, "/dev/null"]).current_dir(b.path("")).output().unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).replace("\r\n", "\n");
    assert!(shown.contains("WEBVTT") && shown.contains("\\u{202e}"), "{shown:?}");
    assert!(!shown.chars().any(acts), "{shown:?}");
}
