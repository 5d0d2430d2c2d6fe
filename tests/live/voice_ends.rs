//! The end of a run with a voice: what was captioned is spoken and played, however slow the voice and the player are; what
//! hangs is given up in time, with everything that it started, and costs nothing else.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::common::{Bench, tiny};
use crate::outputs::{caption, clock, event, watched};
use crate::speak_support::{RATE, samples, spoken, voice};
use crate::streams::Live;
use crate::voice::{TEXT, by_shell, film};
use descry::live::{EventKind, Existing, HlsOptions, Sink, VoiceOutputs, VoiceSink};
use serde_json::Value;

/// A script in the bench, as a command line.
fn script(b: &Bench, name: &str, lines: &str) -> String {
    b.write(name, lines.as_bytes());
    format!("sh {}", b.path(name).display())
}

/// A voice that speaks at once when descry starts, and from then on does something first.
fn later(b: &Bench, first: &str) -> String {
    let mark = b.path("spoke").display().to_string();
    script(b, "voice.sh", &format!("if [ -e {mark} ]; then {first}; else touch {mark}; fi; {}", voice()))
}

/// Runs descry on a film of 5 s that it describes aloud. Returns the texts of the captions and standard error.
fn described(b: &Bench, voice: &str, more: &[&str], code: i32) -> (Vec<String>, String) {
    film(b, 5);
    let args = ["live", "--realtime", "film.mp4", "--min-score", "0", "--min-interval", "2", "--jsonl"];
    let outputs = ["--voice-command", voice, "--voice-file", "spoken.aac", "--hls", "hls", "--hls-window", "100"];
    let (out, errors) = b.run(&tiny(&[&args, &outputs, more].concat()), code);
    let events = out.lines().map(|l| serde_json::from_str::<Value>(l).unwrap());
    let texts: Vec<String> = events.filter_map(|e| e["text"].as_str().map(String::from)).collect();
    assert!(texts.len() >= 2, "{out}");
    (texts, errors)
}

/// How many seconds of a sound are not silent.
fn loud(samples: &[f32]) -> f64 {
    samples.chunks(RATE / 100).filter(|piece| piece.iter().any(|s| s.abs() > 0.01)).count() as f64 / 100.0
}

/// Whether a process runs whose number is in a file.
fn is_alive(path: &Path) -> bool {
    let number = std::fs::read_to_string(path).unwrap();
    // A process that waits to be reaped by its parent has no command line.
    std::fs::read(format!("/proc/{}/cmdline", number.trim())).is_ok_and(|line| !line.is_empty())
}

#[test]
fn everything_is_spoken_and_played_after_the_end() {
    let b = Bench::new();
    let play = script(&b, "play.sh", &format!("sleep 1; cat >{}/play-$$.wav", b.path("").display()));
    let (texts, errors) = described(&b, &later(&b, "sleep 3"), &["--voice-play", &play], 0);
    assert!(errors.is_empty(), "{errors}");
    let files = std::fs::read_dir(b.path("")).unwrap().flatten();
    let played = files.filter(|f| f.file_name().to_string_lossy().starts_with("play-")).count();
    assert_eq!(played, texts.len());
    let wanted: f64 = texts.iter().map(|text| loud(&spoken(&b, text))).sum();
    let found = loud(&samples(&b, "spoken.aac", "a:0"));
    assert!((found - wanted).abs() < 0.1 * wanted, "{found} s of {wanted} s");
    let playlist = b.read("hls/descriptions-audio.m3u8");
    assert!(playlist.ends_with("#EXT-X-ENDLIST\n"), "{playlist}");
    // The film's 5 s and what is spoken after them: the voice was 3 s late for each.
    let heard = samples(&b, "hls/descriptions-audio.m3u8", "a:0").len() as f64 / RATE as f64;
    assert!(heard > 5.0 + wanted / texts.len() as f64, "{heard} s");
}

/// Three descriptions of 24 s each, which come at once.
#[test]
fn long_descriptions_are_spoken_to_their_end_in_file_and_rendition() {
    let b = Bench::new();
    let streams = [Arc::from("s")];
    let outputs = VoiceOutputs {
        file: Some((b.path("spoken.aac"), Existing::Refuse)),
        hls: Some((b.path("hls"), HlsOptions { window: 100, ..HlsOptions::default() })),
        ..VoiceOutputs::default()
    };
    let mut sink = VoiceSink::open(&streams, &by_shell(&voice()), &outputs).unwrap();
    let text = TEXT.repeat(20);
    sink.event(&event("s", clock(0, 0))).unwrap();
    (0..3).for_each(|n| sink.event(&event("s", caption(n * 100, &text))).unwrap());
    sink.event(&event("s", watched(1_000))).unwrap();
    sink.event(&event("s", EventKind::End)).unwrap();
    let started = Instant::now();
    while sink.is_busy() {
        assert!(started.elapsed() < Duration::from_secs(120));
        sink.tick(Instant::now()).unwrap();
        std::thread::sleep(Duration::from_millis(20));
    }
    sink.close().unwrap();
    let wanted = 3.0 * spoken(&b, &text).len() as f64 / RATE as f64;
    for name in ["spoken.aac", "hls/descriptions-audio.m3u8"] {
        let heard = samples(&b, name, "a:0").len() as f64 / RATE as f64;
        assert!(wanted > 60.0 && heard > wanted, "{name}: {heard} s of {wanted} s");
    }
}

#[test]
fn a_voice_that_hangs_at_the_end_is_given_up() {
    let b = Bench::new();
    let (_, errors) = described(&b, &later(&b, "sleep 300"), &["--voice-timeout", "3"], 1);
    assert!(errors.contains("gave no speech within 3 s"), "{errors}");
    assert!(samples(&b, "spoken.aac", "a:0").len() > 4 * RATE);
    assert!(b.read("hls/descriptions-audio.m3u8").ends_with("#EXT-X-ENDLIST\n"));
}

#[test]
fn a_stop_does_not_wait_for_the_last_words() {
    let b = Bench::new();
    film(&b, 5);
    let file = b.path("film.mp4").display().to_string();
    let (voice, to) = (later(&b, "sleep 300"), b.path("spoken.aac").display().to_string());
    let args =
        ["--realtime", &file, "--jsonl", "--voice-command", &voice, "--voice-timeout", "200", "--voice-file", &to];
    let mut live = Live::new(&tiny(&args));
    live.wait("end", 0, |l| l["type"] == "end");
    // It waits for the voice now; within 3 s it does not any more.
    std::thread::sleep(Duration::from_secs(2));
    assert!(live.child.try_wait().unwrap().is_none(), "{}", live.errors.lock().unwrap());
    let (_, errors) = live.stop();
    assert!(errors.contains("there was no time for the last"), "{errors}");
    b.ffmpeg("-i spoken.aac -f null -");
}

#[test]
fn a_player_that_hangs_is_killed_and_costs_nothing_else() {
    let b = Bench::new();
    let pid = b.path("pid");
    let hangs = format!("sleep 300 & echo $! >{}; wait", pid.display());
    let play = script(&b, "play.sh", &hangs);
    let (texts, errors) = described(&b, &voice(), &["--voice-play", &play], 1);
    assert!(errors.contains("player sh: took too long and was killed"), "{errors}");
    let wanted: f64 = texts.iter().map(|text| loud(&spoken(&b, text))).sum();
    let found = loud(&samples(&b, "spoken.aac", "a:0"));
    assert!((found - wanted).abs() < 0.1 * wanted, "{found} s of {wanted} s");
    assert!(b.read("hls/descriptions-audio.m3u8").ends_with("#EXT-X-ENDLIST\n"));
    let started = Instant::now();
    while is_alive(&pid) {
        assert!(started.elapsed() < Duration::from_secs(20), "what the player started is alive");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_player_that_dies_is_reported_and_one_need_not_read() {
    let b = Bench::new();
    let pid = b.path("pid");
    let play = script(&b, "play.sh", &format!("sleep 300 & echo $! >{}; sleep 4; exit 3", pid.display()));
    let (_, errors) = described(&b, &voice(), &["--voice-play", &play], 1);
    assert!(errors.contains("player sh: ended with exit status: 3"), "{errors}");
    let started = Instant::now();
    while is_alive(&pid) {
        assert!(started.elapsed() < Duration::from_secs(20), "what the player started is alive");
        std::thread::sleep(Duration::from_millis(10));
    }
    let b = Bench::new();
    let (_, errors) = described(&b, &voice(), &["--voice-play", "true"], 0);
    assert!(errors.is_empty(), "{errors}");
}
