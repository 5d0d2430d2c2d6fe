//! Spoken descriptions of live streams: where they are in the file and in the HLS rendition, what is played, and what a voice
//! or a player that fails costs.
//!
//! The voice is that of `descry speak`'s tests: a rising tone, which is found again in what FFmpeg decodes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::common::{Bench, root, tiny};
use crate::engine;
use crate::outputs::{Small, caption, clock, event, ms, watched};
use crate::speak_support::{RATE, find, samples, spoken, voice};
use crate::streams::Live;
use descry::error::Result;
use descry::live::{EventKind, Existing, HlsOptions, LiveAudio, Sink, VoiceOutputs, VoiceSink};
use descry::voice::{Voice, VoiceOptions};
use serde_json::Value;

/// 1.2 s of the voice.
pub(crate) const TEXT: &str = "A dog runs over a field.";
const PATIENCE: Duration = Duration::from_secs(30);

/// A voice, by its command line for a shell.
pub(crate) fn by_shell(script: &str) -> VoiceOptions {
    let voice = Voice::Program(["sh", "-c", script].map(String::from).to_vec());
    VoiceOptions { voice, timeout: Duration::from_secs(20), ..VoiceOptions::default() }
}

/// An output, fed with invented events.
struct Fed {
    sink: VoiceSink,
    heard: usize,
    /// What it reported.
    errors: Vec<String>,
}

impl Fed {
    fn open(voice: &VoiceOptions, outputs: &VoiceOutputs) -> Result<Fed> {
        let streams: Vec<Arc<str>> = vec!["s".into()];
        Ok(Fed { sink: VoiceSink::open(&streams, voice, outputs)?, heard: 0, errors: Vec::new() })
    }

    fn send(&mut self, kind: EventKind) {
        let sent = self.sink.event(&event("s", kind));
        self.errors.extend(sent.err().map(|e| e.to_string()));
        self.heard += self.sink.delivered().unwrap().len();
    }

    fn clock(&mut self, at: i64, pts: i64) {
        self.send(clock(at, pts));
    }

    fn progress(&mut self, at: i64) {
        self.send(watched(at));
    }

    /// A tone, for 100 ms.
    fn sound(&mut self, at: i64) {
        let sample = |n: usize| ((at as usize * 48 + n) as f32 * 0.0576).sin() * 0.3;
        let samples: Vec<f32> = (0..4_800).flat_map(|n| [sample(n); 2]).collect();
        self.send(EventKind::Audio(LiveAudio { start: ms(at), samples: samples.into() }));
    }

    /// A description, and waits until the voice has spoken it.
    fn caption(&mut self, at: i64, text: &str) {
        self.send(caption(at, text));
        // The voice has no other sign of its end that can be seen from here.
        std::thread::sleep(Duration::from_millis(1_500));
        let _ = self.sink.tick(Instant::now());
        self.heard += self.sink.delivered().unwrap().len();
    }

    fn end(&mut self) {
        self.send(EventKind::End);
        let closed = self.sink.close();
        self.errors.extend(closed.err().map(|e| e.to_string()));
        self.heard += self.sink.delivered().unwrap().len();
    }
}

fn file(path: PathBuf, existing: Existing) -> VoiceOutputs {
    VoiceOutputs { file: Some((path, existing)), ..VoiceOutputs::default() }
}

#[test]
fn a_file_has_each_description_at_its_time_and_can_be_continued() {
    let b = Bench::new();
    let path = b.path("spoken.aac");
    let mut fed = Fed::open(&by_shell(&voice()), &file(path.clone(), Existing::Refuse)).unwrap();
    for at in (0..=6_000).step_by(500) {
        fed.progress(at);
        if at == 2_000 || at == 4_000 {
            fed.caption(at, TEXT);
        }
    }
    // Whole at every instant.
    b.ffmpeg("-i spoken.aac -f null -");
    // Hours without a connection.
    fed.progress(1_500_000);
    fed.end();
    assert_eq!((fed.heard, &fed.errors), (2, &vec![]));
    let (all, tone) = (samples(&b, "spoken.aac", "a:0"), spoken(&b, TEXT));
    assert!((all.len() as f64 / RATE as f64 - 1_500.0).abs() < 0.1, "{} s", all.len() as f64 / RATE as f64);
    for wanted in [2.0, 4.0] {
        let found = find(&tone, &all, wanted - 0.4, wanted + 0.8);
        assert!((found - wanted).abs() < 0.03, "{found} and not {wanted}");
    }
    let quiet = |from: f64, to: f64| {
        all[(from * RATE as f64) as usize..(to * RATE as f64) as usize].iter().all(|s| s.abs() < 0.001)
    };
    assert!(quiet(0.1, 1.9) && quiet(3.4, 3.9) && quiet(5.4, 1_499.0));
    let refused = Fed::open(&by_shell(&voice()), &file(path.clone(), Existing::Refuse)).err().unwrap().to_string();
    assert!(refused.contains("exists already"), "{refused}");
    let busy = Fed::open(&by_shell(&voice()), &file(path.clone(), Existing::Append)).err().unwrap().to_string();
    assert!(busy.contains("is being written by another program"), "{busy}");
    drop(fed);
    let before = std::fs::metadata(&path).unwrap().len();
    let mut fed = Fed::open(&by_shell(&voice()), &file(path.clone(), Existing::Append)).unwrap();
    fed.progress(1_000);
    fed.caption(1_000, TEXT);
    fed.progress(3_000);
    fed.end();
    assert!(std::fs::metadata(&path).unwrap().len() > before);
    let all = samples(&b, "spoken.aac", "a:0");
    let found = find(&tone, &all, 1_500.5, 1_502.0);
    assert!((found - 1_501.0).abs() < 0.05, "{found}");
}

#[test]
fn the_rendition_has_the_sound_and_the_description_on_the_clock_of_the_source() {
    let b = Bench::new();
    let options = HlsOptions { window: 100, ..HlsOptions::default() };
    let outputs = VoiceOutputs { hls: Some((b.path("hls"), options)), ..VoiceOutputs::default() };
    let mut fed = Fed::open(&by_shell(&voice()), &outputs).unwrap();
    fed.clock(0, 900_000);
    for at in (0..10_000).step_by(100) {
        fed.sound(at);
        if at % 500 == 0 {
            fed.progress(at);
        }
        if at == 3_000 {
            fed.caption(at, TEXT);
        }
    }
    // The source starts over.
    fed.clock(10_040, 0);
    for at in (10_100..16_000).step_by(100) {
        fed.sound(at);
    }
    fed.progress(16_000);
    fed.end();
    assert_eq!((fed.heard, fed.errors), (1, vec![]));
    let playlist = b.read("hls/descriptions-audio.m3u8");
    assert!(
        playlist.ends_with("#EXT-X-ENDLIST\n") && playlist.matches("#EXT-X-DISCONTINUITY\n").count() == 1,
        "{playlist}"
    );
    let durations = playlist.lines().filter_map(|l| l.strip_prefix("#EXTINF:")?.strip_suffix(',')?.parse::<f64>().ok());
    assert!(durations.clone().all(|d| d <= 2.0) && (durations.sum::<f64>() - 16.0).abs() < 0.2, "{playlist}");
    let date = playlist.lines().find_map(|l| l.strip_prefix("#EXT-X-PROGRAM-DATE-TIME:")).unwrap();
    assert!(date.starts_with("2027-01-15T07:59:59.97") || date.starts_with("2027-01-15T08:00:00"), "{date}");
    // The segments up to the jump, as FFmpeg places them.
    let before = playlist.split("#EXT-X-DISCONTINUITY\n").next().unwrap();
    b.write("hls/before.m3u8", format!("{before}#EXT-X-ENDLIST\n").as_bytes());
    let probe =
        crate::speak_support::output_of(&b, "ffprobe", "-v error -show_entries format=start_time hls/before.m3u8");
    let start: f64 = probe.lines().find_map(|l| l.strip_prefix("start_time=")?.parse().ok()).unwrap();
    assert!((start - 10.0).abs() < 0.03, "{probe}");
    let (all, tone) = (samples(&b, "hls/before.m3u8", "a:0"), spoken(&b, TEXT));
    // After the ramp, from the sound that had come; what comes before the first sample counts too.
    let found = find(&tone, &all, 2.5, 4.5);
    assert!((found - 3.42).abs() < 0.12, "{found}");
    let level = |from: f64| {
        let part = &all[(from * RATE as f64) as usize..][..RATE / 5];
        part.iter().fold(0f32, |most, s| most.max(s.abs()))
    };
    assert!((level(1.0) - 0.3).abs() < 0.03 && (level(7.0) - 0.3).abs() < 0.03, "{} {}", level(1.0), level(7.0));
    let after = playlist.split("#EXT-X-DISCONTINUITY\n").nth(1).unwrap();
    let head = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:0\n";
    b.write("hls/after.m3u8", format!("{head}{after}").as_bytes());
    let probe =
        crate::speak_support::output_of(&b, "ffprobe", "-v error -show_entries format=start_time hls/after.m3u8");
    let start: f64 = probe.lines().find_map(|l| l.strip_prefix("start_time=")?.parse().ok()).unwrap();
    assert!(start.abs() < 0.01, "{probe}");
}

/// A voice that speaks once, and then does what a script says.
fn once_then(b: &Bench, then: &str) -> String {
    let mark = b.path("spoke").display().to_string();
    format!("if [ -e {mark} ]; then {then}; else touch {mark}; {}; fi", voice())
}

#[test]
fn a_voice_that_fails_or_hangs_costs_its_descriptions_only() {
    for (then, wanted) in [("exit 3", "ended with exit status: 3"), ("sleep 60", "no speech within 4 s")] {
        let b = Bench::new();
        let voice = VoiceOptions { timeout: Duration::from_secs(4), ..by_shell(&once_then(&b, then)) };
        let mut fed = Fed::open(&voice, &file(b.path("spoken.aac"), Existing::Refuse)).unwrap();
        fed.progress(1_000);
        fed.caption(1_000, TEXT);
        let started = Instant::now();
        while fed.errors.is_empty() && started.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(20));
            fed.progress(2_000);
        }
        assert!(fed.errors.len() == 1 && fed.errors[0].contains(wanted), "{:?}", fed.errors);
        fed.end();
        assert_eq!((fed.heard, fed.errors.len()), (0, 1));
        assert!(samples(&b, "spoken.aac", "a:0").len() > 3 * RATE / 2);
    }
}

/// A film that changes every 0.8 s, with a tone.
pub(crate) fn film(b: &Bench, seconds: u32) {
    engine::film(b, "pictures.mp4", seconds);
    b.ffmpeg(&format!(
        "-i pictures.mp4 -f lavfi -t {seconds} -i sine=frequency=440 -c:v copy -ar 44100 -c:a aac film.mp4"
    ));
}

#[test]
fn a_stream_is_described_aloud_in_every_way_at_once() {
    let b = Bench::new();
    film(&b, 10);
    let play = format!("sh -c 'cat >{}/play-$$.wav'", b.path("").display());
    let voice = voice();
    let run = |isolation: &str, name: &str| {
        let (file, hls) = (format!("{name}.aac"), format!("{name}-hls"));
        let args = [
            "live",
            "--realtime",
            "film.mp4",
            "--min-score",
            "0",
            "--min-interval",
            "3",
            "--jsonl",
            isolation,
            "--voice-command",
            &voice,
            "--voice-play",
            &play,
            "--voice-file",
            &file,
            "--hls",
            &hls,
            "--hls-video",
            "video.m3u8",
        ];
        b.run(&tiny(&args), 0)
    };
    let ((out, errors), (_, here)) = std::thread::scope(|scope| {
        let isolated = scope.spawn(|| run("--isolate", "isolated"));
        let here = run("--no-isolate", "here");
        (isolated.join().unwrap(), here)
    });
    assert!(errors.is_empty() && here.is_empty(), "{errors}{here}");
    let events: Vec<Value> = out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let first = events.iter().find(|e| e["type"] == "caption").unwrap();
    let (text, time) = (first["text"].as_str().unwrap(), first["time"].as_f64().unwrap());
    for name in ["isolated", "here"] {
        let tone = spoken(&b, text);
        let all = samples(&b, &format!("{name}.aac"), "a:0");
        assert!(all.len() > 9 * RATE, "{}", all.len());
        let found = find(&tone, &all, time, time + 3.0);
        assert!(found > time && found < time + 3.0, "{found} for {time}");
        let master = b.read(&format!("{name}-hls/master.m3u8"));
        assert!(master.contains("TYPE=AUDIO") && master.contains("URI=\"descriptions-audio.m3u8\""), "{master}");
        let heard = samples(&b, &format!("{name}-hls/descriptions-audio.m3u8"), "a:0");
        assert!(heard.len() > 9 * RATE && heard[RATE..2 * RATE].iter().any(|s| s.abs() > 0.02), "{}", heard.len());
    }
    let played = std::fs::read_dir(b.path("")).unwrap().flatten();
    let played: Vec<PathBuf> = played.map(|f| f.path()).filter(|p| p.display().to_string().contains("play-")).collect();
    assert!(played.len() >= 2, "{played:?}");
    assert!(played.iter().all(|p| std::fs::read(p).unwrap().starts_with(b"RIFF")));
}

#[test]
fn a_voice_that_hangs_delays_neither_other_outputs_nor_the_end() {
    let b = Bench::new();
    film(&b, 30);
    let (file, path) = (b.path("film.mp4").display().to_string(), b.path("spoken.aac").display().to_string());
    let script = format!("{}/voice.sh", b.path("").display());
    let marker = format!("sleep 7{}", std::process::id() % 10_000);
    std::fs::write(&script, once_then(&b, &marker)).unwrap();
    let line = format!("sh {script}");
    let args =
        ["--realtime", "--min-interval", "0.1", "--voice-command", &line, "--voice-file", &path, "--jsonl", &file];
    let mut live = Live::new(&tiny(&args));
    let (mut from, started) = (0, Instant::now());
    for _ in 0..4 {
        (_, from) = live.caption(from);
    }
    assert!(started.elapsed() < PATIENCE);
    // Within 3 s, and nothing of the voice stays.
    live.stop();
    let left = std::process::Command::new("pgrep").args(["-f", &marker]).output().unwrap();
    assert!(left.stdout.is_empty(), "{}", String::from_utf8_lossy(&left.stdout));
    b.ffmpeg("-i spoken.aac -f null -");
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let b = Bench::new();
    film(&b, 1);
    for (more, wanted) in [
        (&["--voice", "espeak"][..], "nowhere for its descriptions to go"),
        (&["--voice-file", "x.aac"], "settings of a voice are given, and no voice"),
        (&["--voice-command", "no-such-voice", "--voice-file", "x.aac"], "no such program"),
        (&["--voice-command", "true", "--voice-file", "x.aac"], "that are not a WAV file"),
        (&["--voice", "espeak", "--voice-file", "x.aac", "--voice-timeout", "0"], "out of range"),
        (&["--voice", "piper", "--voice-file", "x.aac"], "--voice-model"),
        (&["--voice-command", "a 'b", "--voice-file", "x.aac"], "quote without its end"),
    ] {
        let args = [&["live", "--realtime", "film.mp4"], more].concat();
        let (_, errors) = b.run(&tiny(&args), 2);
        assert!(errors.contains(wanted), "{more:?}: {errors}");
        assert!(!Path::new(&b.path("x.aac")).exists(), "{more:?}");
    }
    let _ = root();
}

#[test]
fn a_full_disk_delays_what_is_spoken_and_leaves_nothing_half_written() {
    let b = Bench::new();
    let Some(small) = Small::mount(b.path("small"), "size=1m") else { return };
    let outputs = VoiceOutputs {
        file: Some((b.path("small/spoken.aac"), Existing::Refuse)),
        hls: Some((b.path("small/hls"), HlsOptions::default())),
        ..VoiceOutputs::default()
    };
    let mut fed = Fed::open(&by_shell(&voice()), &outputs).unwrap();
    fed.clock(0, 0);
    fed.progress(8_000);
    let whole = std::fs::read(b.path("small/hls/descriptions-audio.m3u8")).unwrap();
    small.fill();
    fed.progress(20_000);
    fed.caption(20_000, TEXT);
    fed.progress(600_000);
    let trouble = fed.sink.tick(Instant::now() + Duration::from_secs(2)).unwrap_err().to_string();
    assert!(trouble.contains("Free some space"), "{trouble}");
    b.ffmpeg("-i small/spoken.aac -f null -");
    assert_eq!(std::fs::read(b.path("small/hls/descriptions-audio.m3u8")).unwrap(), whole);
    small.free();
    fed.progress(601_000);
    // What failed is tried again after a second.
    fed.sink.tick(Instant::now() + Duration::from_secs(9)).unwrap();
    fed.progress(602_000);
    fed.end();
    let (all, tone) = (samples(&b, "small/spoken.aac", "a:0"), spoken(&b, TEXT));
    assert!((all.len() as f64 / RATE as f64 - 602.0).abs() < 3.0, "{} s", all.len() as f64 / RATE as f64);
    let found = find(&tone, &all, 19.5, 21.0);
    assert!((found - 20.0).abs() < 0.1, "{found}");
    let playlist = b.read("small/hls/descriptions-audio.m3u8");
    assert!(playlist.ends_with("#EXT-X-ENDLIST\n"), "{playlist}");
    let all = std::fs::read_dir(b.path("small/hls")).unwrap().flatten();
    assert!(all.into_iter().all(|f| !f.file_name().to_string_lossy().ends_with(".part")));
}
