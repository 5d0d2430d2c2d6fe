//! The outputs of live mode, fed with invented events. Parsers by others read back what they write, and their readers are
//! slow, hostile or gone.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::common::{Bench, not_tried, root};
use descry::live::{
    ClockMapping, CommandOptions, CommandSink, DropReason, Event, EventKind, Existing, HlsOptions, HlsSink,
    HttpOptions, HttpServer, Hub, JsonLinesSink, LiveCaption, Metrics, ModelState, Reason, RotateWhen, Rotation, Sink,
    Stage, StreamState, VttSink, WebhookOptions, WebhookSink, fetch_status,
};
use descry::time::Time;
use descry::track::CueOptions;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

pub(crate) fn ms(millis: i64) -> Time {
    Time::from_millis(millis)
}

/// The wall clock at a stream time.
pub(crate) fn wall(time: Time) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000) + Duration::from_micros(time.micros() as u64)
}

pub(crate) fn event(stream: &str, kind: EventKind) -> Event {
    Event { stream: stream.into(), number: 0, at: SystemTime::now(), kind }
}

pub(crate) fn caption(at: i64, text: &str) -> EventKind {
    EventKind::Caption(LiveCaption {
        start: ms(at),
        picture_time: ms(at),
        due: ms(at),
        wall: wall(ms(at)),
        arrived: Instant::now(),
        waited: Duration::ZERO,
        text: text.into(),
        score: None,
        returning: false,
        screen_text: [].into(),
        jpeg: b"\xff\xd8picture\xff\xd9"[..].into(),
    })
}

pub(crate) fn watched(at: i64) -> EventKind {
    EventKind::Progress { time: ms(at), wall: wall(ms(at)) }
}

pub(crate) fn clock(at: i64, pts: i64) -> EventKind {
    EventKind::Clock(ClockMapping { time: ms(at), pts, wall: wall(ms(at)) })
}

/// Sends an event straight to a sink, without a hub.
fn send(sink: &mut dyn Sink, kind: EventKind) -> descry::error::Result<()> {
    sink.event(&event("s", kind))
}

fn names(of: &[&str]) -> Vec<Arc<str>> {
    of.iter().map(|n| Arc::from(*n)).collect()
}

fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The cues of a WebVTT file, or of each one in a folder, as W3C's parser reads them. The parser must find no fault.
fn w3c(path: &Path) -> Vec<Vec<(f64, f64, String)>> {
    let out = Process::new("node").arg(root().join("tests/parsers/check_vtt.mjs")).arg("--cues").arg(path).output();
    let out = out.expect("node with the parser, see make setup-test");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

fn python(script: &str, args: &[&Path], input: &str) -> Value {
    let mut child = Process::new(root().join("vendor/venv/bin/python"))
        .arg(root().join("tests/parsers").join(script))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python with the parsers, see make setup-test");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success(), "{script}");
    serde_json::from_slice(&out.stdout).unwrap()
}

fn files(folder: &Path) -> Vec<String> {
    let mut all: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().file_name().to_string_lossy().into_owned()).collect();
    all.sort();
    all
}

/// A file system of a given size, if this user may mount one.
pub(crate) struct Small(PathBuf);

impl Small {
    pub(crate) fn mount(at: PathBuf, size: &str) -> Option<Small> {
        std::fs::create_dir_all(&at).unwrap();
        let done = Process::new("mount").args(["-t", "tmpfs", "-o", size, "descry-test"]).arg(&at).output();
        if done.is_ok_and(|d| d.status.success()) {
            return Some(Small(at));
        }
        not_tried("no small file system can be mounted here");
        None
    }

    /// Fills the file system completely.
    pub(crate) fn fill(&self) {
        let mut file = std::fs::File::create(self.0.join("filler")).unwrap();
        while file.write_all(&[7; 512]).is_ok() {}
    }

    pub(crate) fn free(&self) {
        std::fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Process::new("umount").arg("-l").arg(&self.0).status();
    }
}

const HOSTILE: [&str; 6] = [
    "a man & a <b>woman</b> --> in a park",
    "WEBVTT\n\nNOTE x\n\n00:00.000 --> 00:01.000\nno",
    "a dog\r\n\r\nwith\u{0}a\u{2028}hat <00:01.000> &lt; &amp;",
    "",
    "two children are playing with a ball in a park while a woman in a long red coat looks on from a bench by the lake",
    "e\u{301}\u{200d}\u{202e}xyz",
];

#[test]
fn webvtt_is_valid_at_every_instant() {
    let b = Bench::new();
    let (path, seen) = (b.path("live.vtt"), b.path("seen"));
    std::fs::create_dir(&seen).unwrap();
    let mut vtt = VttSink::open(&path, &names(&["s"]), Existing::Refuse, &CueOptions::default()).unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let reader = std::thread::spawn({
        let (path, seen, done) = (path.clone(), seen.clone(), done.clone());
        move || {
            let (mut last, mut kept) = (Vec::new(), 0);
            while !done.load(Ordering::Relaxed) && kept < 400 {
                let now = std::fs::read(&path).unwrap();
                if now != last {
                    std::fs::write(seen.join(format!("{kept:04}.vtt")), &now).unwrap();
                    (last, kept) = (now, kept + 1);
                }
            }
            kept
        }
    });
    send(&mut vtt, clock(0, 0)).unwrap();
    for i in 0..2_000 {
        send(&mut vtt, caption(i * 1_500, HOSTILE[i as usize % HOSTILE.len()])).unwrap();
        if i % 50 == 0 {
            send(&mut vtt, clock(i * 1_500, i)).unwrap();
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    vtt.close().unwrap();
    done.store(true, Ordering::Relaxed);
    let kept = reader.join().unwrap();
    assert!(kept > 10, "{kept}");
    let counts: Vec<usize> = w3c(&seen).iter().map(Vec::len).collect();
    assert!(counts.is_sorted(), "{counts:?}");
    // A reader can see part of a write only where the write crosses a page.
    let (text, mut at) = (b.read("live.vtt"), 0);
    for block in text.split("\n\n") {
        let (first, last) = (at + block.len() - block.trim_start().len(), at + block.len());
        assert!(first / 4_096 == last / 4_096, "{block:?} at {first}");
        at += block.len() + 2;
    }
    let cues = w3c(&path).remove(0);
    // The empty text makes no cue. The long one fills two pages.
    assert!(cues.len() > 1_900, "{}", cues.len());
    assert_eq!(cues[0].2, "A man & a <b>woman</b> → in a park.");
    assert!(cues.windows(2).all(|w| w[0].0 <= w[1].0));
}

#[test]
fn an_existing_webvtt_file_is_kept_by_default() {
    let b = Bench::new();
    let (path, s) = (b.path("live.vtt"), names(&["s"]));
    let open = |existing| VttSink::open(&path, &s, existing, &CueOptions::default());
    let mut vtt = open(Existing::Append).unwrap();
    send(&mut vtt, caption(1_000, "a dog")).unwrap();
    let other = open(Existing::Append).err().unwrap().to_string();
    assert!(other.contains("another program"), "{other}");
    drop(vtt);
    let e = open(Existing::Refuse).err().unwrap().to_string();
    assert!(e.contains("`overwrite`") && e.contains("`append`"), "{e}");

    // A run that was killed in the middle of a block.
    let mut half = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    half.write_all(b"\n00:00:09.000 --> 00:0").unwrap();
    drop(half);
    let mut vtt = open(Existing::Append).unwrap();
    send(&mut vtt, caption(500, "a cat")).unwrap();
    vtt.close().unwrap();
    drop(vtt);
    let cues = w3c(&path).remove(0);
    assert_eq!(cues, [(1.0, 2.0, "A dog.".into()), (2.5, 3.5, "A cat.".into())]);
    assert!(b.read("live.vtt").contains("began anew"));

    open(Existing::Replace).unwrap();
    assert_eq!(w3c(&path), [[]]);
    std::fs::write(&path, "a letter").unwrap();
    assert!(open(Existing::Append).is_err());
    assert_eq!(b.read("live.vtt"), "a letter");
    assert_eq!(files(&b.path("")), ["live.vtt"]);

    let mut two =
        VttSink::open(&b.path("two"), &names(&["a/b", "c"]), Existing::Refuse, &CueOptions::default()).unwrap();
    two.event(&event("c", caption(0, "a dog"))).unwrap();
    assert_eq!(files(&b.path("two")), ["a_b.vtt", "c.vtt"]);
    assert_eq!(w3c(&b.path("two"))[1].len(), 1);
}

#[test]
fn a_file_that_another_program_empties_starts_over() {
    let b = Bench::new();
    let path = b.path("live.vtt");
    let mut vtt = VttSink::open(&path, &names(&["s"]), Existing::Refuse, &CueOptions::default()).unwrap();
    send(&mut vtt, caption(1_000, "a dog")).unwrap();
    std::fs::File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
    send(&mut vtt, caption(5_000, "a cat")).unwrap();
    assert_eq!(w3c(&path), [[(5.0, 6.0, "A cat.".into())]]);
}

#[test]
fn webvtt_files_rotate() {
    let b = Bench::new();
    let path = b.path("live.vtt");
    let of_another = "live.2026-01-01T00-00-00.000Z.txt.vtt";
    b.write(of_another, b"mine");
    let open = |existing| {
        let vtt = VttSink::open(&path, &names(&["s"]), existing, &CueOptions::default()).unwrap();
        vtt.rotating(Rotation { when: RotateWhen::Bytes(4 << 10), keep: 3 })
    };
    let mut vtt = open(Existing::Refuse);
    send(&mut vtt, clock(0, 0)).unwrap();
    let mut held = Vec::new();
    let text = |n: i64| format!("a brown dog and a white cat in the garden of a house with the number {n}");
    for n in 0..400 {
        send(&mut vtt, caption(n * 10_000, &text(n))).unwrap();
        if n % 40 == 0 {
            // A reader can read a file to its end even if the file is renamed meanwhile.
            held.push(std::fs::File::open(&path).unwrap());
            w3c(&path);
        }
    }
    let old: Vec<String> =
        files(&b.path("")).into_iter().filter(|f| f.starts_with("live.2") && f != of_another).collect();
    assert_eq!(old.len(), 3, "{old:?}");
    // Three old files and the one that grows. No cue is missing between the first and the last.
    let mut cues = Vec::new();
    for name in old.iter().map(String::as_str).chain(["live.vtt"]) {
        assert!(b.path(name).metadata().unwrap().len() <= 4 << 10);
        assert!(b.read(name).starts_with("WEBVTT\n\nNOTE\nDescriptions of the live stream s\n"));
        assert!(b.read(name).contains("\nNOTE 00:00:00.000 is 2027-01-15T08:00:00.000Z\n"));
        cues.extend(w3c(&b.path(name)).remove(0));
    }
    let starts: Vec<f64> = cues.iter().map(|c| c.0).collect();
    assert!(starts.windows(2).all(|w| (w[1] - w[0] - 10.0).abs() < 0.001), "{starts:?}");
    assert_eq!(*starts.last().unwrap(), 3_990.0);
    for mut file in held {
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert!(text.ends_with(".\n"), "{text}");
    }
    drop(vtt);
    assert_eq!(b.read(of_another), "mine");
    // After a restart, times continue and files still rotate.
    let mut vtt = open(Existing::Append);
    (0..40).for_each(|n| send(&mut vtt, caption(n * 10_000, &text(n))).unwrap());
    let last = w3c(&path).remove(0);
    assert!(last.last().unwrap().0 > 4_300.0, "{last:?}");
    drop(vtt);
    // The folder takes no new names (here because it is renamed for a while). The file keeps growing, and nothing is lost.
    let (folder, away) = (b.path("folder"), b.path("away"));
    std::fs::create_dir(&folder).unwrap();
    let path = folder.join("live.vtt");
    let vtt = VttSink::open(&path, &names(&["s"]), Existing::Refuse, &CueOptions::default()).unwrap();
    let mut vtt = vtt.rotating(Rotation { when: RotateWhen::Bytes(4 << 10), keep: 3 });
    std::fs::rename(&folder, &away).unwrap();
    (0..40).for_each(|n| send(&mut vtt, caption(n * 10_000, &text(n))).unwrap());
    assert_eq!(w3c(&away.join("live.vtt")).remove(0).len(), 40);
    let e = vtt.tick(Instant::now()).unwrap_err().to_string();
    assert!(e.contains("live.vtt") && e.contains("folder does not exist"), "{e}");
    std::fs::rename(&away, &folder).unwrap();
    assert_eq!(files(&folder), ["live.vtt"]);
    send(&mut vtt, caption(400_000, &text(40))).unwrap();
    vtt.tick(Instant::now()).unwrap();
    assert_eq!(w3c(&path).remove(0).len(), 1);
}

/// No file is half-written, nothing is lost if space becomes free in time, and every error is counted.
#[test]
fn outputs_survive_a_full_disk() {
    let b = Bench::new();
    let Some(disk) = Small::mount(b.path("disk"), "size=128k") else { return };
    let streams = names(&["s"]);
    let vtt = VttSink::open(&disk.0.join("live.vtt"), &streams, Existing::Refuse, &CueOptions::default()).unwrap();
    let hls = HlsSink::open(&disk.0.join("hls"), &streams, &HlsOptions { window: 5, ..HlsOptions::default() }).unwrap();
    let metrics = Metrics::new(&streams);
    let hub = Hub::new(vec![Box::new(vtt), Box::new(hls)], metrics.clone());
    let publish = |what| hub.publish(Arc::new(event("s", what)));
    let settled = || wait("queues run empty", || metrics.sinks().iter().all(|s| s.waiting() == 0));
    let second = |i: i64| {
        publish(caption(
            i * 1_000,
            &format!("a brown dog and a white cat in the garden of a house with the number {i}"),
        ));
        publish(watched(i * 1_000));
    };
    publish(clock(0, 0));
    (0..6).for_each(second);
    settled();
    disk.fill();
    for i in 6..60 {
        second(i);
        std::thread::sleep(Duration::from_millis(2));
    }
    wait("errors are counted", || metrics.sinks().iter().all(|s| s.errors() > 0));
    let before = w3c(&disk.0.join("live.vtt")).remove(0).len();
    assert!((6..59).contains(&before), "{before}");
    assert!(!files(&disk.0.join("hls")).iter().any(|f| f.ends_with(".part")));
    check_hls(&disk.0.join("hls"));
    disk.free();
    wait("all is written", || w3c(&disk.0.join("live.vtt")).remove(0).len() == 60);
    (60..64).for_each(second);
    hub.close(Duration::from_secs(5));
    assert_eq!(w3c(&disk.0.join("live.vtt")).remove(0).len(), 64);
    assert_eq!(metrics.sinks()[0].lost(), 0);
    let lost = metrics.sinks()[1].lost();
    assert!(lost > 5, "{lost}");
    let playlist = check_hls(&disk.0.join("hls"));
    let last = playlist["segments"].as_array().unwrap().last().unwrap();
    let text = std::fs::read_to_string(disk.0.join("hls").join(last[0].as_str().unwrap())).unwrap();
    assert!(text.contains("number 63"), "{text}");
}

/// The playlist as the m3u8 parser reads it. Every segment in it must exist and be valid, and times must increase.
fn check_hls(folder: &Path) -> Value {
    let playlist = python("check_m3u8.py", &[&folder.join("descriptions.m3u8")], "");
    let plain = tempfile::tempdir().unwrap();
    let mut next: Option<f64> = None;
    for s in playlist["segments"].as_array().unwrap() {
        let text = std::fs::read_to_string(folder.join(s[0].as_str().unwrap())).unwrap();
        let rest = text.strip_prefix("WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:").unwrap();
        let (pts, cues) = rest.split_once(",LOCAL:00:00:00.000\n").unwrap();
        assert!(pts.parse::<u64>().unwrap() < 1 << 33);
        // Plain WebVTT has no such header.
        std::fs::write(plain.path().join(s[0].as_str().unwrap()), format!("WEBVTT\n{cues}")).unwrap();
        let (duration, wall) = (s[1].as_f64().unwrap(), s[3].as_f64().unwrap());
        assert!(duration <= playlist["target"].as_f64().unwrap());
        if s[2] == false
            && let Some(next) = next
        {
            assert!((wall - next).abs() < 0.002, "{s}");
        }
        next = Some(wall + duration);
    }
    w3c(plain.path());
    playlist
}

/// The cues of a listed segment, as text.
fn segment(folder: &Path, playlist: &Value, i: usize) -> String {
    std::fs::read_to_string(folder.join(playlist["segments"][i][0].as_str().unwrap())).unwrap()
}

fn last_segment(folder: &Path, playlist: &Value) -> String {
    segment(folder, playlist, playlist["segments"].as_array().unwrap().len() - 1)
}

#[test]
fn hls_rolls() {
    let b = Bench::new();
    let folder = b.path("hls");
    let options = HlsOptions { window: 4, video: Some("video/main.m3u8".into()), ..HlsOptions::default() };
    let mut hls = HlsSink::open(&folder, &names(&["s"]), &options).unwrap();
    send(&mut hls, clock(0, 900_000)).unwrap();
    // It is written immediately, in a segment that ends with its picture, and lasts until 3.2 s. No caption follows it.
    send(&mut hls, caption(1_000, "a man is riding a bike down the street")).unwrap();
    let playlist = check_hls(&folder);
    assert_eq!(playlist["segments"], json!([["descriptions-000000.vtt", 1.0, false, 1_800_000_000.0]]));
    let settled = hls.delivered().unwrap();
    assert!(settled.len() == 1 && settled[0].1 < Duration::from_secs(1), "{settled:?}");
    send(&mut hls, watched(2_900)).unwrap();
    assert_eq!(check_hls(&folder)["segments"].as_array().unwrap().len(), 1);
    send(&mut hls, watched(7_100)).unwrap();
    let playlist = check_hls(&folder);
    assert_eq!(playlist["segments"].as_array().unwrap().len(), 4);
    let cue = "00:00:01.000 --> 00:00:03.235\nA man is riding a bike down the street.\n";
    for i in 0..4 {
        let cue = if i < 3 { format!("\n{cue}") } else { String::new() };
        let text = format!("WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:900000,LOCAL:00:00:00.000\n{cue}");
        let duration = if i == 0 { 1.0 } else { 2.0 };
        assert_eq!((segment(&folder, &playlist, i), &playlist["segments"][i][1]), (text, &json!(duration)), "{i}");
    }

    // A late caption, whose moment is in a closed segment.
    send(&mut hls, caption(6_000, "a dog")).unwrap();
    send(&mut hls, watched(7_600)).unwrap();
    let playlist = check_hls(&folder);
    assert_eq!((&playlist["sequence"], &playlist["target"], &playlist["ended"]), (&json!(0), &json!(2), &json!(false)));
    assert!(segment(&folder, &playlist, 4).contains("00:00:07.000 --> 00:00:08.000\nA dog."));

    // A caption soon after the start of a segment is written immediately, in a segment slightly longer than the progress so
    // far. The next caption waits for that progress and then for its turn, but is written before it is due.
    send(&mut hls, watched(8_400)).unwrap();
    send(&mut hls, caption(8_500, "a group of people stand in front of a building")).unwrap();
    assert!(last_segment(&folder, &check_hls(&folder)).contains("00:00:08.500 --> 00:00:11.2"));
    send(&mut hls, caption(8_700, "a cat on a table")).unwrap();
    let playlist = check_hls(&folder);
    assert_eq!(playlist["segments"].as_array().unwrap().last().unwrap()[1], 0.5);
    assert!(last_segment(&folder, &playlist).contains("00:00:11.206 --> 00:00:12.206\nA cat on a table.\n"));
    send(&mut hls, watched(10_000)).unwrap();
    send(&mut hls, watched(13_000)).unwrap();

    // The camera's clock jumps at 16.2 s. A cue that is shown then ends there.
    send(&mut hls, caption(15_200, "a cat on a table")).unwrap();
    send(&mut hls, clock(16_200, 5)).unwrap();
    send(&mut hls, caption(16_700, "a bird")).unwrap();
    // A clock event with the expected time is not a jump.
    send(&mut hls, clock(18_200, 180_005)).unwrap();
    send(&mut hls, watched(20_000)).unwrap();
    let playlist = check_hls(&folder);
    let all = playlist["segments"].as_array().unwrap();
    let after = all.iter().position(|s| s[2] == true).unwrap();
    assert_eq!([&all[after - 1][1], &all[after][1], &all[after + 1][1]], [&json!(1.2), &json!(0.5), &json!(2.0)]);
    assert_eq!(
        segment(&folder, &playlist, after),
        "WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:5,LOCAL:00:00:00.000\n\n00:00:00.500 --> 00:00:01.500\nA bird.\n"
    );
    assert_eq!(playlist["discontinuities"], 0);
    // The playlist is at least as long as four full segments, and would be shorter without its first segment.
    let length: f64 = all.iter().map(|s| s[1].as_f64().unwrap()).sum();
    assert!(length >= 8.0 && length - all[0][1].as_f64().unwrap() < 8.0, "{all:?}");

    // Each old segment is removed once it has been out of the playlist for as long as it was in it.
    (21..60).for_each(|s| send(&mut hls, watched(s * 1_000)).unwrap());
    let playlist = check_hls(&folder);
    assert_eq!(playlist["discontinuities"], 1);
    let segments = files(&folder).iter().filter(|f| f.ends_with(".vtt")).count();
    assert_eq!(segments, 10);
    let master = python("check_m3u8.py", &[&folder.join("master.m3u8")], "");
    assert_eq!(master["variants"], json!([["video/main.m3u8", "descriptions"]]));
    // Nobody gets the descriptions unasked, and what HLS defines for sound alone is not claimed of a text.
    assert_eq!(master["media"], json!([["SUBTITLES", "descriptions", "descriptions.m3u8", null, "NO", "NO"]]));

    // Stream time continues during an outage, but no empty segments fill it.
    send(&mut hls, clock(600_000, 77)).unwrap();
    send(&mut hls, watched(602_500)).unwrap();
    let playlist = check_hls(&folder);
    let last = playlist["segments"].as_array().unwrap().last().unwrap();
    assert_eq!((&last[2], &last[3]), (&json!(true), &json!(1_800_000_600.0)));

    // While no frames arrive, a caption does not wait for them.
    send(&mut hls, watched(602_900)).unwrap();
    send(&mut hls, caption(602_000, "a ladder")).unwrap();
    let seen = check_hls(&folder)["segments"].as_array().unwrap().len();
    send(&mut hls, EventKind::State { state: StreamState::Paused, reason: Some(Reason::Timeout) }).unwrap();
    let playlist = check_hls(&folder);
    assert_eq!(playlist["segments"].as_array().unwrap().len(), seen);
    assert!(last_segment(&folder, &playlist).contains("00:00:02.000 --> 00:00:03.000\nA ladder."), "{playlist}");

    // The last caption gets its own segment, although no progress follows it.
    send(&mut hls, caption(604_000, "a white van")).unwrap();
    send(&mut hls, EventKind::End).unwrap();
    let before = check_hls(&folder);
    assert_eq!(before["ended"], true);
    assert!(last_segment(&folder, &before).contains("00:00:04.000 --> "));
    hls.close().unwrap();
    drop(hls);

    // After a restart the numbers continue.
    let mut hls = HlsSink::open(&folder, &names(&["s"]), &options).unwrap();
    send(&mut hls, clock(0, 0)).unwrap();
    send(&mut hls, watched(2_000)).unwrap();
    let after = check_hls(&folder);
    let count = before["segments"].as_array().unwrap().len() as u64;
    assert_eq!(after["sequence"].as_u64(), Some(before["sequence"].as_u64().unwrap() + count));
    assert_eq!(after["segments"][0][2], true);
    hls.event(&event("s", EventKind::State { state: StreamState::Null, reason: Some(Reason::Stopped) })).unwrap();
    send(&mut hls, EventKind::End).unwrap();
    assert_eq!(check_hls(&folder)["ended"], false);
}

#[test]
fn hls_times_increase_for_months() {
    let b = Bench::new();
    let mut hls = HlsSink::open(&b.path(""), &names(&["s"]), &HlsOptions::default()).unwrap();
    // Just before the source's clock wraps around, as it does every 26.5 hours.
    send(&mut hls, clock(0, (1 << 33) - 90_000)).unwrap();
    for s in (0..15_000).step_by(2) {
        if s % 60 == 0 {
            send(&mut hls, caption(s * 1_000 + 500, "a dog")).unwrap();
        }
        send(&mut hls, watched(s * 1_000)).unwrap();
    }
    let playlist = check_hls(&b.path(""));
    let last = playlist["segments"].as_array().unwrap().len() - 1;
    let text = segment(&b.path(""), &playlist, last);
    let pts: i64 = text.split("MPEGTS:").nth(1).unwrap().split(',').next().unwrap().parse().unwrap();
    // Local time 0 advances by the hour, and the source's clock with it, past the point where it wraps around.
    assert!(pts > 3 * 3_600 * 90_000 - 90_000 && pts < 5 * 3_600 * 90_000, "{pts}");
}

/// Whatever a stream reports, in any order, players can read the playlist, and its times increase.
#[test]
fn hls_is_valid_for_any_events() {
    let b = Bench::new();
    let time = || prop_oneof![4 => -2_000i64..30_000, 1 => -1_000_000_000i64..1_000_000_000];
    let far = |t: i64| wall(ms(0)) + Duration::from_secs(2_000_000) - Duration::from_millis((2_000_000_000 - t) as u64);
    let what = (0..7u8, time(), any::<i64>());
    let mut runner = TestRunner::deterministic();
    for case in 0..40 {
        let folder = b.path(&format!("{case}"));
        let events = prop::collection::vec(what.clone(), 1..60).new_tree(&mut runner).unwrap().current();
        let options = HlsOptions { window: 6, ..HlsOptions::default() };
        let mut hls = HlsSink::open(&folder, &names(&["s"]), &options).unwrap();
        let mut at = 0;
        for (kind, t, pts) in events {
            // Time mostly advances, as it does in streams.
            at = if kind % 2 == 0 { at + (t.rem_euclid(3_000)) } else { t };
            let _ = send(
                &mut hls,
                match kind {
                    0 | 1 => EventKind::Progress { time: ms(at), wall: far(at) },
                    2 | 3 => match caption(0, "a dog in a park") {
                        EventKind::Caption(c) => {
                            EventKind::Caption(LiveCaption { start: ms(at), due: ms(at), wall: far(at), ..c })
                        }
                        other => other,
                    },
                    4 => EventKind::Clock(ClockMapping { time: ms(at), pts, wall: far(at) }),
                    5 => EventKind::Clock(ClockMapping { time: ms(at), pts: at.wrapping_mul(90), wall: far(at) }),
                    _ => EventKind::State { state: StreamState::Paused, reason: None },
                },
            );
        }
        send(&mut hls, EventKind::End).unwrap();
        hls.close().unwrap();
        if folder.join("descriptions.m3u8").exists() {
            check_hls(&folder);
        }
    }
}

#[test]
fn hls_never_overwrites_playlists_of_others() {
    let b = Bench::new();
    b.write("descriptions.m3u8", b"#EXTM3U\n");
    let open = |o: &HlsOptions| HlsSink::open(&b.path(""), &names(&["s"]), o).map(|_| ());
    assert!(open(&HlsOptions::default()).unwrap_err().to_string().contains("`overwrite`"));
    open(&HlsOptions { force: true, ..HlsOptions::default() }).unwrap();
    for video in ["https://me:secret@host/v.m3u8", "a\nb", "", "#x", "a\"b"] {
        let e = open(&HlsOptions { force: true, video: Some(video.into()), ..HlsOptions::default() }).unwrap_err();
        assert!(!e.to_string().contains("secret"), "{e}");
    }
}

#[test]
fn json_lines_end_with_their_reader() {
    let (reader, writer) = std::io::pipe().unwrap();
    let metrics = Metrics::new(["s"]);
    let hub = Hub::new(vec![Box::new(JsonLinesSink::new(writer))], metrics.clone());
    let publish = |what| hub.publish(Arc::new(event("s", what)));
    publish(clock(0, 0));
    publish(watched(10));
    publish(caption(1_500, "a \"dog\"\n"));
    publish(EventKind::State { state: StreamState::Null, reason: Some(Reason::Timeout) });
    publish(EventKind::Dropped { keyframes: 7, frames: 12 });
    let mut lines = BufReader::new(reader).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    let c = next();
    assert_eq!((&c["type"], &c["stream"], &c["time"]), (&json!("caption"), &json!("s"), &json!(1.5)));
    assert_eq!((&c["text"], &c["wall"]), (&json!("a \"dog\"\n"), &json!("2027-01-15T08:00:01.500Z")));
    let (s, d) = (next(), next());
    assert_eq!((&s["state"], &s["reason"]), (&json!("null"), &json!("timeout")));
    assert_eq!((&d["type"], &d["keyframes"], &d["frames"]), (&json!("dropped"), &json!(7), &json!(12)));
    drop(lines);
    publish(caption(2_000, "a cat"));
    wait("it ends", || metrics.status()["outputs"][0]["ended"] == true);
    publish(caption(3_000, "a cat"));
    assert_eq!((metrics.sinks()[0].lost(), metrics.sinks()[0].errors()), (0, 0));
}

/// A full pipe holds up only its own queue.
#[test]
fn a_reader_that_never_reads_slows_no_other_output() {
    let (reader, writer) = std::io::pipe().unwrap();
    let b = Bench::new();
    let vtt = VttSink::open(&b.path("x.vtt"), &names(&["s"]), Existing::Refuse, &CueOptions::default()).unwrap();
    let metrics = Metrics::new(["s"]);
    let hub = Hub::new(vec![Box::new(JsonLinesSink::new(writer)), Box::new(vtt)], metrics.clone());
    for i in 0..3_000 {
        hub.publish(Arc::new(event("s", caption(i * 1_000, "a dog"))));
        wait("the file has it", || metrics.sinks()[1].waiting() < 200);
    }
    let began = Instant::now();
    hub.close(Duration::from_millis(500));
    assert!(began.elapsed() < Duration::from_secs(2));
    let [lines, vtt] = metrics.sinks() else { panic!() };
    assert_eq!(lines.lost() + lines.written(), 3_000);
    assert!(lines.lost() > 1_000);
    assert_eq!((vtt.lost(), w3c(&b.path("x.vtt"))[0].len()), (0, 3_000));
    drop(reader);
}

/// Answers each request with the next status. Returns the address and the requests.
fn server(statuses: &[&'static str]) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (statuses, bodies) = (statuses.to_vec(), Arc::new(Mutex::new(Vec::new())));
    let kept = bodies.clone();
    std::thread::spawn(move || {
        for status in statuses {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream);
            let (mut head, mut length) = (String::new(), 0);
            while reader.read_line(&mut head).is_ok_and(|n| n > 2) {
                let line = head.lines().last().unwrap().to_ascii_lowercase();
                if let Some(n) = line.strip_prefix("content-length:") {
                    length = n.trim().parse().unwrap();
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            kept.lock().unwrap().push(format!("{head}{}", String::from_utf8(body).unwrap()));
            if status == "hang" {
                std::thread::sleep(Duration::from_secs(2));
            }
            let _ = write!(reader.get_mut(), "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    (address, bodies)
}

#[test]
fn a_webhook_retries_a_limited_number_of_times() {
    let statuses = [
        "503 Busy",
        "429 Slow",
        "204 Fine",
        "404 No",
        "302 There\r\nLocation: file:///etc/passwd",
        "hang",
        "200 Good",
        "500 A",
        "500 B",
        "500 C",
    ];
    let (address, bodies) = server(&statuses);
    let options = WebhookOptions {
        timeout: Duration::from_secs(1),
        pause: Duration::from_millis(10),
        token: Some("abc".into()),
        ..WebhookOptions::default()
    };
    let mut hook = WebhookSink::new(&format!("http://{address}/hook?key=secret"), &options).unwrap();
    let mut post = |text: &str| send(&mut hook, caption(0, text)).map_err(|e| e.to_string());
    post("a").unwrap();
    for (text, cause) in [("b", "404"), ("c", "302")] {
        let e = post(text).unwrap_err();
        assert!(e.contains(cause) && !e.contains("secret"), "{e}");
    }
    post("d").unwrap();
    assert!(post("e").unwrap_err().contains("500"));
    let bodies = bodies.lock().unwrap();
    let texts: Vec<String> = bodies
        .iter()
        .map(|b| {
            assert!(b.starts_with("POST /hook?key=secret HTTP/1.1\r\n"), "{b}");
            assert!(b.to_ascii_lowercase().contains("authorization: bearer abc\r\n"), "{b}");
            let body: Value = serde_json::from_str(b.split_once("\r\n\r\n").unwrap().1).unwrap();
            body["text"].as_str().unwrap().to_string()
        })
        .collect();
    assert_eq!(texts, ["a", "a", "a", "b", "c", "d", "d", "e", "e", "e"]);
    drop(bodies);
    // A server without TLS.
    let (address, _) = server(&["200 Good"]);
    let mut secure = WebhookSink::new(&format!("https://{address}/secret"), &options).unwrap();
    let e = send(&mut secure, caption(0, "f")).unwrap_err().to_string();
    assert!(e.contains("webhook 127.0.0.1") && !e.contains("secret/"), "{e}");
    eprintln!("{e}");
    // The server is gone.
    let e = send(&mut hook, caption(0, "f")).unwrap_err().to_string();
    assert!(e.contains("webhook 127.0.0.1") && !e.contains("secret"), "{e}");
}

/// A TLS server in Python. It ends when its standard input closes.
struct Tls(std::process::Child, BufReader<std::process::ChildStdout>, String);

impl Tls {
    fn new() -> Tls {
        let mut child = Process::new("python3")
            .arg(root().join("tests/tls/server.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python starts");
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut port = String::new();
        out.read_line(&mut port).unwrap();
        Tls(child, out, port.trim().into())
    }
}

impl Drop for Tls {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_webhook_trusts_only_the_given_authorities() {
    let b = Bench::new();
    let mut tls = Tls::new();
    let once = WebhookOptions { tries: 1, token: Some("t0ken".into()), ..WebhookOptions::default() };
    let url = format!("https://127.0.0.1:{}/hook?key=s3cret", tls.2);
    let with = |ca: &str| WebhookOptions { authorities: Some(ca.into()), ..once.clone() };
    let own = root().join("tests/tls/ca.pem");
    let own = own.to_str().unwrap();
    let mut hook = WebhookSink::new(&url, &with(own)).unwrap();
    send(&mut hook, caption(0, "a dog")).unwrap();
    let mut body = String::new();
    tls.1.read_line(&mut body).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["text"], "a dog");
    // By default only Mozilla's authorities are trusted, and none of them signed this certificate.
    let e = send(&mut WebhookSink::new(&url, &once).unwrap(), caption(0, "a dog")).unwrap_err().to_string();
    assert!(e.contains("no secure connection") && !e.contains("s3cret") && !e.contains("t0ken"), "{e}");
    // A host name that the certificate does not have.
    let other = url.replace("127.0.0.1", "127.0.0.2");
    assert!(send(&mut WebhookSink::new(&other, &with(own)).unwrap(), caption(0, "a dog")).is_err());
    // Files that are missing, truncated or hold no certificate.
    let whole = std::fs::read(own).unwrap();
    b.write("half.pem", &whole[..whole.len() / 2]);
    b.write("none.pem", b"plain words\n");
    for (name, cause) in [("half.pem", "PEM"), ("none.pem", "no certificate"), ("absent.pem", "cannot be read")] {
        let path = b.path(name).display().to_string();
        let e = WebhookSink::new(&url, &with(&path)).err().unwrap().to_string();
        assert!(e.contains(cause) && e.contains(name) && !e.contains("s3cret"), "{e}");
    }
}

#[cfg(unix)]
#[test]
fn a_command_gets_the_text_and_is_killed_when_it_hangs() {
    let b = Bench::new();
    let out = b.path("said").display().to_string();
    let sh = |script: String| vec!["sh".to_string(), "-c".into(), script];
    let options = CommandOptions { timeout: Duration::from_millis(600), ..CommandOptions::default() };
    let mut run =
        CommandSink::new(&sh(format!("cat >>{out}; echo $DESCRY_STREAM $DESCRY_TIME $DESCRY_WALL >>{out}")), &options)
            .unwrap();
    send(&mut run, caption(1_250, "a dog; $(touch x) `id`")).unwrap();
    assert_eq!(b.read("said"), "A dog; $(touch x) `id`.\ns 1.250 2027-01-15T08:00:01.250Z\n");
    let fails = |line: Vec<String>, cause: &str| {
        let began = Instant::now();
        let e = send(&mut CommandSink::new(&line, &options).unwrap(), caption(0, "a dog")).unwrap_err().to_string();
        assert!(e.contains(cause), "{e}");
        assert!(began.elapsed() < Duration::from_secs(3));
    };
    fails(sh("exit 3".into()), "3");
    fails(vec!["/no/such/program".into()], "cannot be run");
    // A killed command takes the processes that it started with it.
    fails(sh(format!("(sleep 2; echo late >>{out}) & sleep 60")), "killed");
    std::thread::sleep(Duration::from_millis(1_800));
    assert!(!b.read("said").contains("late"));
    assert!(CommandSink::new(&[], &options).is_err());

    // At the end of the run the command is killed in time, and waiting captions are counted as lost.
    let slow = CommandSink::new(&sh("sleep 60".into()), &CommandOptions::default()).unwrap();
    let metrics = Metrics::new(["s"]);
    let hub = Hub::new(vec![Box::new(slow)], metrics.clone());
    (0..9).for_each(|i| hub.publish(Arc::new(event("s", caption(i, "a dog")))));
    std::thread::sleep(Duration::from_millis(100));
    let began = Instant::now();
    hub.close(Duration::from_secs(1));
    assert!(began.elapsed() < Duration::from_millis(1_500));
    assert_eq!(metrics.sinks()[0].lost(), 9);
}

#[test]
fn prometheus_parses_the_metrics() {
    let odd = "a \"b\" \\ c\nd {e=\"f\"} 🦊";
    let metrics = Metrics::new([odd, "b"]);
    let hub = Hub::new(vec![Box::new(JsonLinesSink::new(Vec::new()))], metrics.clone());
    let stream = metrics.stream(odd).unwrap();
    (0..25).for_each(|_| stream.frame_in());
    stream.frames_dropped(DropReason::Overload, 3);
    stream.keyframe();
    stream.set_queue(2);
    stream.reconnect(Reason::Timeout);
    metrics.set_model(ModelState::Working);
    metrics.stage_seconds(Stage::Encode, Duration::from_millis(30));
    metrics.encode_batch(4);
    hub.publish(Arc::new(event(odd, EventKind::State { state: StreamState::Playing, reason: None })));
    for lag in [300, 700, 1_600] {
        metrics.lag(0, odd, Duration::from_millis(lag));
    }
    let all = python("check_metrics.py", &[], &metrics.prometheus());
    let all = all.as_array().unwrap();
    let get = |name: &str, labels: Value| {
        let found: Vec<&Value> = all.iter().filter(|s| s[1] == name && s[2] == labels).map(|s| &s[3]).collect();
        assert_eq!(found.len(), 1, "{name} {labels}");
        found[0].as_f64().unwrap()
    };
    assert_eq!(get("descry_frames_total", json!({ "stream": odd })), 25.0);
    assert_eq!(get("descry_frames_dropped_total", json!({ "stream": odd, "reason": "overload" })), 3.0);
    assert_eq!(get("descry_queue_depth", json!({ "stream": odd })), 2.0);
    assert_eq!(get("descry_reconnects_total", json!({ "stream": odd, "reason": "timeout" })), 1.0);
    assert_eq!(get("descry_state", json!({ "stream": odd, "state": "playing" })), 1.0);
    assert_eq!(get("descry_state", json!({ "stream": "b", "state": "null" })), 1.0);
    assert_eq!(get("descry_model_working", json!({})), 1.0);
    assert_eq!(get("descry_batch_fill_bucket", json!({ "stage": "encode", "le": "4" })), 1.0);
    assert_eq!(get("descry_stage_seconds_bucket", json!({ "stage": "encode", "le": "0.05" })), 1.0);
    let lag = |le: &str| get("descry_lag_seconds_bucket", json!({ "stream": odd, "sink": "jsonl", "le": le }));
    assert_eq!([lag("0.2"), lag("0.8"), lag("2"), lag("+Inf")], [0.0, 2.0, 3.0, 3.0]);
    assert_eq!(get("descry_lag_seconds_sum", json!({ "stream": odd, "sink": "jsonl" })), 2.6);
    let recent = |q: &str| get("descry_lag_recent_seconds", json!({ "stream": odd, "sink": "jsonl", "quantile": q }));
    assert_eq!([recent("0.5"), recent("0.95")], [0.7, 1.6]);
    let mut series: Vec<String> = all.iter().map(|s| format!("{} {}", s[1], s[2])).collect();
    let count = series.len();
    series.sort();
    series.dedup();
    assert_eq!(series.len(), count);
}

/// Sends a request unchanged. Returns the status, the head and the body.
fn ask(http: &HttpServer, request: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(http.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let _ = stream.write_all(request.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    (head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0), head.into(), body.into())
}

fn get(http: &HttpServer, path: &str) -> (u16, String, String) {
    ask(http, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
}

fn any_port(token: Option<&str>) -> HttpOptions {
    HttpOptions { listen: ([127, 0, 0, 1], 0).into(), token: token.map(String::from) }
}

#[test]
fn the_page_and_the_metrics_are_served_to_this_machine() {
    let streams = names(&["a", "b"]);
    let metrics = Metrics::new(&streams);
    let mut http = HttpServer::bind(&any_port(None), &streams, metrics.clone()).unwrap();
    http.event(&event("b", caption(0, "<script>alert(1)</script> a dog"))).unwrap();
    let (status, head, body) = get(&http, "/");
    assert_eq!(status, 200);
    assert!(body.contains("aria-live=\"polite\"") && !body.contains("style=") && !body.contains(" onload"));
    for header in ["default-src 'none'; script-src 'self'", "nosniff", "no-referrer", "DENY", "no-store"] {
        assert!(head.contains(header), "{head}");
    }
    assert!(!head.contains("unsafe"));
    for (path, kind) in [
        ("/page.js", "text/javascript"),
        ("/look.css", "text/css"),
        ("/page.css", "text/css"),
        ("/icon.svg", "image/svg+xml"),
    ] {
        let (status, head, body) = get(&http, path);
        assert!(status == 200 && head.contains(kind) && body.len() > 100);
        assert!(!body.contains("innerHTML"));
    }
    assert_eq!(get(&http, "/keyframe/0.jpg").0, 404);
    let (status, head, body) = get(&http, "/keyframe/1.jpg?n=0");
    assert!(status == 200 && head.contains("image/jpeg") && body.contains("picture"));
    for path in ["/keyframe/-1.jpg", "/keyframe/99999999999999999999.jpg", "/../etc/passwd", "/keyframe/2.jpg"] {
        assert_eq!(get(&http, path).0, 404, "{path}");
    }
    assert_eq!(get(&http, "/healthz").0, 503);
    metrics.set_model(ModelState::Working);
    let (status, _, body) = get(&http, "/healthz");
    assert_eq!(
        (status, serde_json::from_str::<Value>(&body).unwrap()["streams"]["a"].as_str()),
        (200, Some("retrying"))
    );
    metrics.set_ended("a");
    assert_eq!(get(&http, "/healthz").0, 503);
    assert!(get(&http, "/metrics").2.contains("descry_http_requests_total"));
    let status = fetch_status(&http.address().to_string(), None, Duration::from_secs(5)).unwrap();
    assert_eq!(status["streams"][1]["name"], "b");
    // Foreign, malformed and missing host names.
    for host in ["Host: evil.example", "Host: 127.0.0.1.evil.example", "Host: localhost:1@evil", "X: y", "Host: "] {
        assert_eq!(ask(&http, &format!("GET /status HTTP/1.1\r\n{host}\r\n\r\n")).0, 403, "{host}");
    }
    for host in ["Host: LOCALHOST:99", "Host: 127.0.0.1", "Host: [::1]:8080"] {
        assert_eq!(ask(&http, &format!("GET /status HTTP/1.1\r\n{host}\r\n\r\n")).0, 200, "{host}");
    }
    assert_eq!(ask(&http, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n123456789").0, 405);
    assert_eq!(ask(&http, "\u{16}\u{3}\u{1}\r\n\r\n").0, 400);
    assert_eq!(ask(&http, &format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "y".repeat(20_000))).0, 431);
    let (status, head, body) = ask(&http, "HEAD /page.js HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(status == 200 && head.contains("Content-Length: ") && body.is_empty());
}

#[test]
fn other_addresses_need_a_token() {
    let streams = names(&["a"]);
    let bind = |options: &HttpOptions| HttpServer::bind(options, &streams, Metrics::new(&streams));
    let open = HttpOptions { listen: ([0, 0, 0, 0], 0).into(), token: None };
    assert!(bind(&open).err().unwrap().to_string().contains("token"));
    assert!(bind(&any_port(Some("short"))).is_err());
    let token = "0123456789abcdef";
    let http = bind(&any_port(Some(token))).unwrap();
    let with = |header: &str| ask(&http, &format!("GET /status HTTP/1.1\r\nHost: localhost\r\n{header}\r\n\r\n"));
    for wrong in [
        "X: y".to_string(),
        "Authorization: Bearer wrong".into(),
        format!("Authorization: Basic {token}"),
        format!("Authorization: Bearer {token}0"),
        "Cookie: descry=1".into(),
        format!("Cookie: descry_{}={token}", http.address().port()),
    ] {
        let (status, head, _) = with(&wrong);
        assert!(status == 401 && head.to_ascii_lowercase().contains("www-authenticate"), "{wrong}");
    }
    assert_eq!(get(&http, "/?token=wrong").0, 401);
    assert_eq!(with(&format!("Authorization: bearer {token}")).0, 200);
    // Behind a proxy the host name differs.
    let proxied = format!("GET /status HTTP/1.1\r\nHost: cameras.example\r\nAuthorization: Bearer {token}\r\n\r\n");
    assert_eq!(ask(&http, &proxied).0, 200);
    let (status, head, body) = get(&http, &format!("/?token={token}"));
    assert!(
        status == 200 && body.contains("url=/\"") && !head.contains(token) && !body.contains(token),
        "{head}\n{body}"
    );
    assert!(head.contains("; HttpOnly; SameSite=Strict\r\n") && !head.contains("Max-Age"), "{head}");
    let cookie = head.split("Set-Cookie: ").nth(1).unwrap().split(';').next().unwrap();
    assert_eq!(with(&format!("Cookie: a=b; {cookie}; c=d")).0, 200);
    let address = http.address().to_string();
    assert!(fetch_status(&address, Some(token), Duration::from_secs(5)).is_ok());
    let e = fetch_status(&address, Some("wrong"), Duration::from_secs(5)).unwrap_err().to_string();
    assert!(e.contains("token") && !e.contains("wrong"), "{e}");
    assert!(bind(&HttpOptions { listen: http.address(), token: None }).err().unwrap().to_string().contains("another"));
}

/// Any number of unfinished requests leaves room for other clients.
#[test]
fn slow_clients_make_way() {
    let streams = names(&["a"]);
    let metrics = Metrics::new(&streams);
    let http = HttpServer::bind(&any_port(None), &streams, metrics.clone()).unwrap();
    let mut slow: Vec<TcpStream> = Vec::new();
    for _ in 0..200 {
        let mut stream = TcpStream::connect(http.address()).unwrap();
        let _ = stream.write_all(b"GET / HT");
        slow.push(stream);
    }
    let began = Instant::now();
    assert_eq!(get(&http, "/status").0, 200);
    assert!(began.elapsed() < Duration::from_secs(2));
    assert!(threads() < 150, "{}", threads());
    // A slow trickle of bytes does not extend the time limit of the head.
    let mut stream = TcpStream::connect(http.address()).unwrap();
    let began = Instant::now();
    while stream.write_all(b"x").is_ok() && began.elapsed() < Duration::from_secs(15) {
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
    drop(slow);
    drop(http);
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

#[test]
fn clients_receive_events_and_one_that_never_reads_is_dropped() {
    let streams = names(&["a"]);
    let metrics = Metrics::new(&streams);
    let mut http = HttpServer::bind(&any_port(None), &streams, metrics.clone()).unwrap();
    http.event(&event("a", caption(0, "before"))).unwrap();
    let address = http.address();
    let listen = || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    };
    let mut reader = BufReader::new(listen()).lines();
    let mut next = |wanted: &str| -> Value {
        loop {
            let line = reader.next().unwrap().unwrap();
            if line.strip_prefix("event: ").is_some_and(|k| k == wanted) {
                let data = reader.next().unwrap().unwrap();
                return serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
            }
        }
    };
    let snapshot = next("snapshot");
    assert_eq!(snapshot["streams"][0]["captions"][0]["text"], "before");
    http.event(&event("a", caption(0, "a dog\n\nevent: evil\ndata: 1"))).unwrap();
    let caption_event = next("caption");
    assert_eq!(caption_event["say"], "A dog event: evil data: 1.");
    http.tick(Instant::now() + Duration::from_secs(3)).unwrap();
    assert_eq!(next("status")["streams"][0]["name"], "a");

    let silent = listen();
    wait("the client is counted", || get(&http, "/metrics").2.contains("descry_http_clients 2\n"));
    let long = "a dog ".repeat(2_000);
    let began = Instant::now();
    // One client reads everything. The other fills the system's buffers and then its queue.
    while !get(&http, "/metrics").2.contains("descry_http_clients_dropped_total 1\n") {
        assert!(began.elapsed() < Duration::from_secs(20));
        for _ in 0..40 {
            http.event(&event("a", caption(0, &long))).unwrap();
            next("caption");
        }
    }
    wait("the client is dropped", || get(&http, "/metrics").2.contains("descry_http_clients 1\n"));
    // More clients than the limit allows.
    let many: Vec<TcpStream> = (0..20).map(|_| listen()).collect();
    wait("the limit is reached", || get(&http, "/metrics").2.contains("descry_http_clients 16\n"));
    let refused = many
        .into_iter()
        .filter_map(|s| BufReader::new(s).lines().next())
        .filter(|l| l.as_ref().is_ok_and(|l| l.contains("503")));
    assert_eq!(refused.count(), 5);
    let began = Instant::now();
    http.close().unwrap();
    assert!(began.elapsed() < Duration::from_secs(1));
    drop(silent);
}
