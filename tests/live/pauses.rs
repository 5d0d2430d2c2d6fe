//! Descriptions that wait while somebody talks: in one process and in two, with sound that ends, is damaged or is not there,
//! and after a new connection.
//!
//! The words are those of the golden sound, without the pauses between them.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use crate::common::rtsp::{Mode, Proxy, Server};
use crate::common::{Bench, root, tiny};
use crate::engine;
use crate::streams::{Live, film};
use descry::live::{EventKind, LiveCaption};
use serde_json::Value;

/// In which somebody talks, in seconds from the start of the film.
const TALK: (f64, f64) = (3.0, 11.0);
/// Longest wait.
const WAIT: f64 = 3.0;
/// Until a pause is known to be one.
const PAUSE: f64 = 0.5;
/// For a machine that is busy.
const SLACK: f64 = 1.0;

/// Words without a pause: `talk.wav`, of so many seconds.
fn words(b: &Bench, seconds: f64) {
    let golden = root().join("tests/goldens/speech/speech.wav").display().to_string();
    b.ffmpeg(&format!(
        "-i {golden} -filter_complex [0]asplit=4[p][q][r][s];[p]atrim=1.19:1.98,asetpts=N/SR/TB[a];\
         [q]atrim=2.37:3.42,asetpts=N/SR/TB[b];[r]atrim=4.77:5.88,asetpts=N/SR/TB[c];\
         [s]atrim=6.02:7.32,asetpts=N/SR/TB[d];[a][b][c][d]concat=n=4:v=0:a=1 words.wav"
    ));
    b.ffmpeg(&format!("-stream_loop 20 -i words.wav -t {seconds} -c copy talk.wav"));
}

/// A film of 16 s that changes every 0.8 s, with silence, words, and whatever `rest` adds to the options of its sound.
fn talking_film(b: &Bench, name: &str, rest: &str) {
    words(b, TALK.1 - TALK.0);
    engine::film(b, "pictures.mp4", 16);
    let delay = TALK.0 * 1e3;
    b.ffmpeg(&format!(
        "-i pictures.mp4 -i talk.wav -filter_complex [1]aresample=48000,adelay={delay}{rest} -c:v copy -c:a aac {name}"
    ));
}

fn captions<'a>(run: &'a engine::Run, stream: &str) -> Vec<&'a LiveCaption> {
    let of = run.events.iter().filter(|(_, e)| &*e.stream == stream);
    of.filter_map(|(_, e)| if let EventKind::Caption(c) = &e.kind { Some(c) } else { None }).collect()
}

/// Checks the descriptions of a film whose words end with `TALK`: when each came, how long it waited, and when it is due.
fn waited(captions: &[(f64, f64, f64)]) {
    let (mut held, mut in_pause) = (0, 0);
    for (start, waited, due) in captions {
        assert!(*waited <= WAIT + SLACK, "{captions:?}");
        assert!((due - start - waited).abs() < SLACK, "{captions:?}");
        if (TALK.0 + SLACK..TALK.1 - SLACK).contains(start) {
            assert!(*waited > 0.0, "{start} s in {captions:?}");
            held += 1;
            // Either it waited for as long as it may, or nobody talks.
            assert!(*waited >= WAIT || *due >= TALK.1 - 0.1, "{start} s in {captions:?}");
            in_pause += usize::from(*waited < WAIT);
        } else if *start < TALK.0 - SLACK || *start > TALK.1 + PAUSE + SLACK {
            assert!(*waited == 0.0 && due == start, "{start} s in {captions:?}");
        }
    }
    assert!(held >= 5 && in_pause >= 1, "{captions:?}");
    assert!(captions.iter().any(|c| c.0 < TALK.0 - SLACK) && captions.iter().any(|c| c.0 > TALK.1 + PAUSE + SLACK));
}

#[test]
fn descriptions_wait_for_pauses() {
    let b = Bench::new();
    talking_film(&b, "talk.mp4", ",apad=whole_dur=16");
    // The sound ends in the middle of a word.
    talking_film(&b, "ends.mp4", "");
    talking_film(&b, "damaged.mp4", " -bsf:a noise=amount=200");
    b.ffmpeg("-i talk.mp4 -an -c copy mute.mp4");
    let all = ["talk.mp4", "ends.mp4", "damaged.mp4", "mute.mp4"];
    let run = engine::watch_speech(&b, &all, WAIT);
    engine::sound(&run, 4);
    assert_eq!(run.result.as_ref().unwrap().failed, 0);
    for name in ["talk.mp4", "ends.mp4"] {
        let of = |c: &&LiveCaption| (c.start.secs(), c.waited.as_secs_f64(), c.due.secs());
        waited(&captions(&run, name).iter().map(of).collect::<Vec<_>>());
    }
    assert!(captions(&run, "damaged.mp4").len() >= 10);
    let mute = captions(&run, "mute.mp4");
    assert!(mute.len() >= 10 && mute.iter().all(|c| c.waited.is_zero() && c.due == c.start));
    let count =
        |line: &str| run.figures.lines().find_map(|l| l.strip_prefix(line)?.trim().parse::<f64>().ok()).unwrap();
    assert_eq!(count("descry_held_captions{stream=\"talk.mp4\"}"), 0.0);
    assert!(count("descry_pause_wait_seconds_sum{stream=\"talk.mp4\"}") > WAIT);
    assert!(count("descry_stage_seconds_count{stage=\"speech\"}") > 100.0);
}

#[test]
fn nothing_waits_if_it_may_not() {
    let b = Bench::new();
    talking_film(&b, "talk.mp4", "");
    let run = engine::watch_speech(&b, &["talk.mp4"], 0.0);
    engine::sound(&run, 1);
    let captions = captions(&run, "talk.mp4");
    assert!(captions.len() >= 10 && captions.iter().all(|c| c.waited.is_zero() && c.due == c.start));
}

/// Start and `waited` of the captions on standard output.
fn lines(out: &str) -> Vec<(f64, f64)> {
    let events = out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let captions = events.filter(|e| e["type"] == "caption");
    captions.map(|e| (e["time"].as_f64().unwrap(), e["waited"].as_f64().unwrap_or(0.0))).collect()
}

#[test]
fn cues_begin_in_pauses() {
    let b = Bench::new();
    talking_film(&b, "talk.mp4", ",apad=whole_dur=16");
    let args = ["live", "--realtime", "--min-score", "0", "--min-interval", "0.1", "--jsonl", "--vtt"];
    let run = |vtt: &str, more: &[&str]| b.run(&tiny(&[&args[..], &[vtt, "talk.mp4"], more].concat()), 0).0;
    let cues = |vtt: &str| {
        let starts = b.read(vtt).lines().filter_map(|l| Some(l.split_once(" --> ")?.0.to_string())).collect::<Vec<_>>();
        let secs = |t: &String| t.rsplit(':').next().unwrap().parse::<f64>().unwrap();
        starts.iter().map(secs).collect::<Vec<f64>>()
    };
    let (isolated, here, at_once) = std::thread::scope(|scope| {
        let isolated = scope.spawn(|| lines(&run("isolated.vtt", &["--isolate"])));
        let here = scope.spawn(|| lines(&run("here.vtt", &["--no-isolate"])));
        let at_once = lines(&run("at-once.vtt", &["--wait-for-pause", "0"]));
        (isolated.join().unwrap(), here.join().unwrap(), at_once)
    });
    for (vtt, told) in [("isolated.vtt", isolated), ("here.vtt", here)] {
        let held: Vec<_> = told.iter().filter(|(_, waited)| *waited > 0.0).collect();
        assert!(held.len() >= 2, "{told:?}");
        for (start, waited) in &told {
            let due = start + waited;
            let talks = (TALK.0 + SLACK..TALK.1 - SLACK).contains(start);
            assert!(!talks || *waited >= WAIT || due > TALK.1 - SLACK, "{told:?}");
            assert!(cues(vtt).iter().any(|cue| *cue >= due - 0.2), "{told:?} {:?}", cues(vtt));
        }
    }
    assert!(at_once.len() >= 4 && at_once.iter().all(|(_, waited)| *waited == 0.0), "{at_once:?}");
}

#[test]
fn talk_is_noticed_after_a_new_connection() {
    let b = Bench::new();
    words(&b, 60.0);
    film(&b, "pictures.mp4", "320:180", "libx264 -preset ultrafast");
    b.ffmpeg("-i pictures.mp4 -i talk.wav -ar 48000 -c:v copy -c:a aac -shortest film.mp4");
    let mount = format!(
        "/film=filesrc location={} ! qtdemux name=d d.video_0 ! queue ! h264parse ! rtph264pay name=pay0 \
         config-interval=1 d.audio_0 ! queue ! aacparse ! rtpmp4apay name=pay1",
        b.path("film.mp4").display()
    );
    let server = Server::new(0, None, &[mount]);
    let proxy = Proxy::new(server.port);
    let mut live = Live::new(&tiny(&["--min-interval", "0.1", &proxy.url("/film")]));
    let waits = |l: &Value| l["type"] == "caption" && l["waited"].as_f64().is_some_and(|waited| waited > 0.5);
    let (_, from) = live.wait("caption that waits", 0, waits);
    proxy.set(Mode::Truncate);
    let (_, from) = live.state(from, "null", &[]);
    proxy.set(Mode::Pass);
    let (_, from) = live.state(from, "playing", &[]);
    live.wait("caption that waits", from, waits);
    live.stop();
}

/// A server that sends a file slowly, over so many seconds, to everyone who connects.
pub(crate) fn slow_server(bytes: Vec<u8>, seconds: u32) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/film.ts", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let _ = client.read(&mut [0; 4_096]);
            let _ = client.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\nConnection: close\r\n\r\n");
            for piece in bytes.chunks(bytes.len() / (seconds as usize * 20)) {
                if client.write_all(piece).is_err() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    });
    address
}

#[test]
fn sound_alone_does_not_keep_a_connection() {
    let b = Bench::new();
    words(&b, 30.0);
    engine::film(&b, "pictures.mp4", 3);
    b.ffmpeg("-i pictures.mp4 -i talk.wav -ar 48000 -c:v copy -c:a aac -b:a 128k -f mpegts film.ts");
    let url = slow_server(std::fs::read(b.path("film.ts")).unwrap(), 30);
    let mut live = Live::new(&tiny(&["--allow-private", "--silence", "3", &url]));
    let (_, from) = live.state(0, "playing", &[]);
    live.state(from, "null", &["timeout"]);
    let (_, errors) = live.stop();
    assert!(errors.contains("only sound came for 3 s"), "{errors}");
}
