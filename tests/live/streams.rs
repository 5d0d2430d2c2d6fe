//! `descry live` on sources that fail: the real binary, a real RTSP server, and a proxy that injects network faults.
//!
//! Films change between two pictures every two seconds, so that there is always something to describe. Time limits are many
//! times the usual duration. Unless a test says otherwise, only waiting forever is a failure.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::common::rtsp::{Mode, Proxy, Server, free_port, next_port};
use crate::common::tls::{Authority, Certificate, Front};
use crate::common::web::Web;
use crate::common::{Bench, sample, tiny};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(40);

/// A running `descry live`.
pub(crate) struct Live {
    pub(crate) child: Child,
    lines: Arc<Mutex<Vec<Value>>>,
    pub(crate) errors: Arc<Mutex<String>>,
    raw: Arc<Mutex<String>>,
    readers: Vec<std::thread::JoinHandle<()>>,
}

impl Live {
    pub(crate) fn new(args: &[&str]) -> Live {
        Live::with(args, &[])
    }

    /// Like [`Live::new`], with these environment variables as well.
    pub(crate) fn with(args: &[&str], environment: &[(&str, &str)]) -> Live {
        let mut child = Command::new(env!("CARGO_BIN_EXE_descry"))
            .args(["-v", "live", "--min-score", "0"])
            .args(args)
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (lines, errors, raw) = (Arc::new(Mutex::new(Vec::new())), Arc::default(), Arc::<Mutex<String>>::default());
        let out = BufReader::new(child.stdout.take().unwrap());
        let (into, text) = (lines.clone(), raw.clone());
        let of_out = std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                into.lock().unwrap().push(serde_json::from_str(&line).unwrap_or_else(|e| panic!("{line}: {e}")));
                text.lock().unwrap().push_str(&(line + "\n"));
            }
        });
        let from = BufReader::new(child.stderr.take().unwrap());
        let into: Arc<Mutex<String>> = Arc::clone(&errors);
        let of_err = std::thread::spawn(move || {
            for line in from.lines().map_while(Result::ok) {
                into.lock().unwrap().push_str(&(line + "\n"));
            }
        });
        Live { child, lines, errors, raw, readers: vec![of_out, of_err] }
    }

    /// The first wanted line from number `from` on, and the number after it.
    pub(crate) fn wait(&mut self, what: &str, from: usize, wanted: impl Fn(&Value) -> bool) -> (Value, usize) {
        let started = Instant::now();
        loop {
            let found = {
                let lines = self.lines.lock().unwrap();
                lines.iter().enumerate().skip(from).find(|(_, l)| wanted(l)).map(|(n, l)| (l.clone(), n + 1))
            };
            if let Some(found) = found {
                return found;
            }
            let ended = self.child.try_wait().unwrap();
            if ended.is_some() || started.elapsed() > PATIENCE {
                let (lines, errors) = (self.raw.lock().unwrap(), self.errors.lock().unwrap());
                panic!("no {what} from line {from} on, exit {ended:?}\n{lines}\n{errors}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn caption(&mut self, from: usize) -> (Value, usize) {
        self.wait("caption", from, |l| l["type"] == "caption")
    }

    pub(crate) fn state(&mut self, from: usize, state: &str, reasons: &[&str]) -> (Value, usize) {
        self.wait(&format!("{state} {reasons:?}"), from, |l| {
            let reason = l["reason"].as_str().unwrap_or_default();
            l["state"] == state && (reasons.is_empty() || reasons.contains(&reason))
        })
    }

    /// Sends SIGTERM. Exit code 130 must follow within three seconds, every stream must end, and numbers must increase.
    /// Returns the lines and the errors.
    pub(crate) fn stop(mut self) -> (Vec<Value>, String) {
        let asked = Instant::now();
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(asked.elapsed() < Duration::from_secs(3), "does not stop: {}", self.errors.lock().unwrap());
            std::thread::sleep(Duration::from_millis(5));
        };
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        let (lines, errors) = (self.lines.lock().unwrap().clone(), self.errors.lock().unwrap().clone());
        assert_eq!(status.code(), Some(130), "{errors}");
        assert!(!errors.contains("panicked"), "{errors}");
        let mut streams: Vec<&str> = lines.iter().filter_map(|l| l["stream"].as_str()).collect();
        streams.sort_unstable();
        streams.dedup();
        for stream in streams {
            let own: Vec<&Value> = lines.iter().filter(|l| l["stream"] == stream).collect();
            assert_eq!(own.last().unwrap()["type"], "end", "{own:?}");
            let ordered = |key: &str| {
                let values: Vec<f64> = own.iter().filter_map(|l| l[key].as_f64()).collect();
                assert!(values.is_sorted_by(|a, b| a < b), "{stream} {key}: {values:?}");
            };
            ordered("number");
            ordered("time");
        }
        (lines, errors)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A film of one minute that alternates between two pictures, two seconds each.
pub(crate) fn film(b: &Bench, name: &str, size: &str, codec: &str) {
    let (one, two) = (sample("bikes.mp4"), sample("bigbuckbunny.mp4"));
    b.ffmpeg(&format!("-ss 4.2 -i {one} -frames:v 1 one-{name}.png"));
    b.ffmpeg(&format!("-ss 4.8 -i {two} -frames:v 1 two-{name}.png"));
    let scale = format!("scale={size},setsar=1,fps=25,format=yuv420p");
    b.ffmpeg(&format!(
        "-loop 1 -t 2 -i one-{name}.png -loop 1 -t 2 -i two-{name}.png -filter_complex \
         [0]{scale}[a];[1]{scale}[b];[a][b]concat -c:v {codec} -g 25 -bf 0 short-{name}"
    ));
    b.ffmpeg(&format!("-stream_loop 14 -i short-{name} -c copy {name}"));
}

fn h264(b: &Bench) -> String {
    film(b, "film.mp4", "320:180", "libx264 -preset ultrafast");
    format!(
        "/film=filesrc location={} ! qtdemux ! h264parse ! rtph264pay name=pay0 config-interval=1",
        b.path("film.mp4").display()
    )
}

const SOUND: &str = "/sound=audiotestsrc is-live=true ! alawenc ! rtppcmapay name=pay0";

#[test]
fn descry_waits_for_a_server_that_is_not_up_yet() {
    let b = Bench::new();
    let mount = h264(&b);
    let port = free_port();
    let mut live = Live::new(&[&format!("rtsp://127.0.0.1:{port}/film")]);
    let (_, n) = live.state(0, "null", &["open-read"]);
    let _server = Server::new(port, None, &[mount]);
    let (_, n) = live.state(n, "playing", &[]);
    let (caption, _) = live.caption(n);
    assert!(caption["text"].as_str().unwrap().ends_with('.') && caption["lag"].as_f64().unwrap() >= 0.0, "{caption}");
    live.stop();
}

#[test]
fn a_server_may_come_back_with_another_codec_and_size() {
    let b = Bench::new();
    let mount = h264(&b);
    film(&b, "other.mkv", "480:360", "mjpeg -pix_fmt yuvj420p");
    let other =
        format!("/film=filesrc location={} ! matroskademux ! rtpjpegpay name=pay0", b.path("other.mkv").display());
    let server = Server::new(0, None, &[mount]);
    let port = server.port;
    let mut live = Live::new(&[&server.url("/film")]);
    let (first, n) = live.caption(0);
    drop(server);
    let (_, n) = live.state(n, "null", &["read"]);
    let _server = Server::new(port, None, &[other]);
    let (_, n) = live.state(n, "playing", &[]);
    // The server's times start over. Those of the stream continue.
    let (second, _) = live.caption(n);
    assert!(second["time"].as_f64() > first["time"].as_f64(), "{first} {second}");
    let (_, errors) = live.stop();
    assert!(errors.contains("mjpeg 480×360"), "{errors}");
}

#[test]
fn a_stall_without_a_close_is_detected_and_the_stream_reconnects() {
    let b = Bench::new();
    let server = Server::new(0, None, &[h264(&b)]);
    let proxy = Proxy::new(server.port);
    let mut live = Live::new(&["--silence", "1.5", &proxy.url("/film")]);
    let (_, n) = live.caption(0);
    proxy.set(Mode::Stall);
    let (_, n) = live.state(n, "null", &["timeout"]);
    proxy.set(Mode::Pass);
    let (_, n) = live.state(n, "playing", &[]);
    let (_, n) = live.caption(n);
    // Cut off in the middle of a packet.
    proxy.set(Mode::Truncate);
    let (_, n) = live.state(n, "null", &["read"]);
    proxy.set(Mode::Pass);
    let (_, n) = live.state(n, "playing", &[]);
    // A delay is not a loss.
    proxy.set(Mode::Delay(Duration::from_millis(30)));
    live.caption(n);
    live.stop();
}

#[test]
fn clock_jumps_and_broken_packets_end_no_stream() {
    let b = Bench::new();
    let server = Server::new(0, None, &[h264(&b)]);
    let proxy = Proxy::new(server.port);
    let hls = b.path("hls").display().to_string();
    let mut live = Live::new(&[&proxy.url("/film"), "--jsonl", "--hls", &hls, "--hls-window", "1000"]);
    let (before, mut n) = live.caption(0);
    // An hour ahead, back to before the start, constantly 0, frozen, and normal again.
    let times = [Mode::Shift(90_000 * 3_600), Mode::Shift(-90_000 * 100), Mode::Zero, Mode::Freeze, Mode::Pass];
    for mode in times {
        proxy.set(mode);
        n = live.caption(n).1;
        n = live.caption(n).1;
    }
    for broken in [Mode::Corrupt(3), Mode::Drop(4)] {
        proxy.set(broken);
        std::thread::sleep(Duration::from_secs(3));
        proxy.set(Mode::Pass);
        n = n.max(live.lines.lock().unwrap().len());
        n = live.caption(n).1;
    }
    let (after, _) = live.caption(n);
    let passed = after["time"].as_f64().unwrap() - before["time"].as_f64().unwrap();
    let wall = |l: &Value| {
        let text = l["wall"].as_str().unwrap();
        let part = |r: std::ops::Range<usize>| text[r].parse::<f64>().unwrap();
        part(11..13) * 3_600.0 + part(14..16) * 60.0 + part(17..23)
    };
    let truly = (wall(&after) - wall(&before)).rem_euclid(86_400.0);
    assert!((passed - truly).abs() < 3.0, "{passed} s of stream time in {truly} s");
    let (lines, errors) = live.stop();
    assert_eq!(lines.iter().filter(|l| l["state"] == "null").count(), 1, "{lines:?}\n{errors}");
    // The playlist has every caption, whatever the clocks did.
    let list = b.read("hls/descriptions.m3u8");
    let mut cues = std::collections::BTreeSet::new();
    let mut clock = 0;
    for name in list.lines() {
        clock += u32::from(name == "#EXT-X-DISCONTINUITY");
        if !name.ends_with(".vtt") {
            continue;
        }
        let text = b.read(&format!("hls/{name}"));
        let map = (clock, text.lines().nth(1).unwrap().to_string());
        for (times, cue) in text.split("\n\n").skip(1).filter_map(|block| block.split_once('\n')) {
            cues.insert((map.clone(), times.to_string(), cue.split_whitespace().collect::<Vec<_>>().join(" ")));
        }
    }
    let texts: Vec<&str> = lines.iter().filter_map(|l| l["text"].as_str()).collect();
    assert!(texts.len() >= 13, "{texts:?}");
    for text in texts {
        let printed = lines.iter().filter(|l| l["text"] == text).count();
        let written = cues.iter().filter(|(.., cue)| cue == text).count();
        assert!(written >= printed, "{text}: {written} of {printed}\n{lines:?}\n{cues:?}\n{list}");
    }
}

/// A film has an end, and a camera's clock that jumps ahead is not there.
#[test]
fn a_server_that_dies_after_a_clock_jump_has_not_ended_its_stream() {
    let b = Bench::new();
    let mount = h264(&b);
    let server = Server::new(0, None, std::slice::from_ref(&mount));
    let (port, proxy) = (server.port, Proxy::new(server.port));
    let mut live = Live::new(&[&proxy.url("/film")]);
    let (_, n) = live.caption(0);
    proxy.set(Mode::Shift(90_000 * 3_600));
    let (_, n) = live.caption(n);
    let (_, n) = live.caption(n);
    drop(server);
    let (_, n) = live.state(n, "null", &["read"]);
    proxy.set(Mode::Pass);
    let _server = Server::new(port, None, &[mount]);
    let (_, n) = live.state(n, "playing", &[]);
    live.caption(n);
    live.stop();
}

/// Raw H.264 has no timestamps.
#[test]
fn a_stream_without_timestamps_uses_arrival_times() {
    let b = Bench::new();
    h264(&b);
    let url = format!("http://127.0.0.1:{}/film.h264", next_port());
    let film = b.path("film.mp4").display().to_string();
    let child = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-re", "-i", &film, "-c", "copy", "-bsf:v", "h264_mp4toannexb"])
        .args(["-f", "h264", "-listen", "1", &url])
        .spawn()
        .unwrap();
    let _sender = Sender(child);
    let mut live = Live::new(&[&url]);
    let (first, mut n) = live.caption(0);
    let mut last = first.clone();
    for _ in 0..4 {
        (last, n) = live.caption(n);
    }
    let of = |key: &str| last[key].as_f64().unwrap() - first[key].as_f64().unwrap();
    // The picture changes every two seconds. How many descriptions that gives depends on the model.
    assert!((3.0..40.0).contains(&of("time")), "{first} {last}");
    assert!(last["lag"].as_f64().unwrap() < 10.0, "{last}");
    live.stop();
}

#[test]
fn a_decoder_that_cannot_keep_up_skips_counts_and_logs() {
    let b = Bench::new();
    // Noise that a single thread cannot decode in real time.
    b.ffmpeg(
        "-f lavfi -i testsrc2=size=3840x2160:rate=60:duration=0.25,noise=alls=60:allf=t -pix_fmt yuv420p -c:v libx264 \
         -preset ultrafast -tune zerolatency -x264-params sliced-threads=0:cabac=1:deblock=1 -crf 40 -g 15 short.mp4",
    );
    b.ffmpeg("-stream_loop 32 -i short.mp4 -c copy film.mp4");
    let mount = format!(
        "/film=filesrc location={} ! qtdemux ! h264parse ! rtph264pay name=pay0 config-interval=1",
        b.path("film.mp4").display()
    );
    let server = Server::new(0, None, &[mount]);
    let page = format!("127.0.0.1:{}", free_port());
    let mut live = Live::new(&["--jsonl", "--http", &page, "--max-gap", "1", "--every", "1", &server.url("/film")]);
    let (dropped, n) = live.wait("dropped frames", 0, |l| l["type"] == "dropped" && l["frames"].as_u64() > Some(0));
    let (caption, _) = live.caption(n);
    let figures = get(&page, "/metrics");
    let name = "descry_frames_dropped_total{stream=\"127.0.0.1";
    let line = figures.lines().find(|l| l.starts_with(name) && l.contains("overload")).unwrap();
    let counted: u64 = line.rsplit(' ').next().unwrap().parse().unwrap();
    assert!(counted >= dropped["frames"].as_u64().unwrap(), "{line} {dropped}");
    // Without skipping, the lag would grow to minutes.
    assert!(caption["lag"].as_f64().unwrap() < 10.0, "{caption}");
    let (_, errors) = live.stop();
    assert!(errors.contains("frames arrive faster than they are decoded"), "{errors}");
}

/// A name lookup that never returns. Nothing can interrupt it.
#[cfg(target_os = "linux")]
#[test]
fn a_resolver_that_hangs_does_not_delay_the_stop() {
    let b = Bench::new();
    b.write(
        "hang.c",
        b"#include <unistd.h>\nint getaddrinfo(const char *a, const char *b, const void *c, void *d) { for (;;) sleep(1); }\n",
    );
    let (from, to) = (b.path("hang.c"), b.path("hang.so"));
    assert!(Command::new("cc").args(["-shared", "-fPIC", "-w", "-o"]).args([&to, &from]).status().unwrap().success());
    let hanging = b.path("hang.so").display().to_string();
    // A decoder of its own is killed; a thread can only be left behind.
    for (isolation, left_behind) in [("--isolate", false), ("--no-isolate", true)] {
        let args = ["rtsp://camera.invalid/x", "srt://camera.invalid:9", isolation];
        let mut live = Live::with(&args, &[("LD_PRELOAD", &hanging)]);
        for stream in ["camera.invalid/x", "camera.invalid:9"] {
            live.wait("ready", 0, |l| l["stream"] == stream && l["state"] == "ready");
        }
        std::thread::sleep(Duration::from_secs(1));
        let (lines, errors) = live.stop();
        assert_eq!(lines.iter().filter(|l| l["reason"] == "stopped").count(), 2, "{lines:?}");
        assert_eq!(errors.contains("left behind"), left_behind, "{isolation}: {errors}");
    }
}

#[test]
fn a_missing_or_wrong_camera_is_reported() {
    let b = Bench::new();
    b.write("plain", b"no camera");
    let plain = format!("v4l2:{}", b.path("plain").display());
    let mut live = Live::new(&["/dev/video97", "v4l2:/dev/null", &plain]);
    for (name, reason) in [("video97", "not-found"), ("null", "open-read"), ("plain", "open-read")] {
        live.wait(name, 0, |l| l["stream"].as_str().unwrap().ends_with(name) && l["reason"] == reason);
    }
    let (_, errors) = live.stop();
    assert!(errors.contains("it is not there") && errors.contains("it is not a camera"), "{errors}");
}

#[test]
fn a_fault_affects_one_stream_only_and_no_credentials_are_shown() {
    let b = Bench::new();
    let server = Server::new(0, Some(("guard", "s3cret-w0rd")), &[h264(&b), SOUND.into()]);
    let port = server.port;
    b.write(
        "streams.toml",
        format!(
            "[[stream]]\nname = 'good'\nurl = 'rtsp://guard:s3cret-w0rd@127.0.0.1:{port}/film'\n\
             [[stream]]\nname = 'wrong'\nurl = 'rtsp://guard:wr0ng-w0rd@127.0.0.1:{port}/film?key=t0ken-here'\n\
             [[stream]]\nname = 'sound'\nurl = 'rtsp://guard:s3cret-w0rd@127.0.0.1:{port}/sound'\n\
             [[stream]]\nname = 'none'\nurl = 'rtsp://guard:s3cret-w0rd@127.0.0.1:{port}/none'\n\
             [[stream]]\nname = 'udp'\ntransport = 'udp'\nurl = 'rtsp://guard:s3cret-w0rd@127.0.0.1:{port}/film'\n"
        )
        .as_bytes(),
    );
    let page = format!("127.0.0.1:{}", free_port());
    let config = b.path("streams.toml").display().to_string();
    let mut live = Live::new(&["-vv", "--config", &config, "--jsonl", "--http", &page]);
    let of = |stream: &'static str, reason: &'static str| {
        move |l: &Value| l["stream"] == stream && l["state"] == "null" && l["reason"] == reason
    };
    live.wait("wrong password", 0, of("wrong", "not-authorized"));
    live.wait("audio only", 0, of("sound", "wrong-type"));
    live.wait("no such path", 0, of("none", "not-found"));
    for stream in ["good", "udp"] {
        let (_, n) = live.wait("caption", 0, |l| l["stream"] == stream && l["type"] == "caption");
        live.wait("another caption", n, |l| l["stream"] == stream && l["type"] == "caption");
    }
    let (status, _) = b.run(&["live", "--status", "--http", &page], 0);
    assert!(status.contains("\"good\"") && status.contains("not-authorized"), "{status}");
    let shown = ["/", "/metrics", "/healthz"].map(|path| get(&page, path));
    assert!(shown[1].contains("descry_captions_total{stream=\"good\"}"), "{shown:?}");
    let (lines, errors) = live.stop();
    let text = format!("{lines:?}{errors}{status}{shown:?}");
    for secret in ["s3cret", "wr0ng", "t0ken", "guard"] {
        assert!(!text.contains(secret), "{text}");
    }
    assert!(errors.contains("401"), "{errors}");
}

#[test]
fn other_kinds_of_sources_work_too() {
    let b = Bench::new();
    h264(&b);
    let film = b.path("film.mp4").display().to_string();
    let send = |to: &[&str]| {
        let child = Command::new("ffmpeg")
            .args(["-nostdin", "-v", "error", "-re", "-i", &film, "-c", "copy"])
            .args(to)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Sender(child)
    };
    let udp = format!("udp://127.0.0.1:{}", next_port());
    let srt = format!("srt://127.0.0.1:{}", next_port());
    let rtmp = format!("rtmp://127.0.0.1:{}/app/film", next_port());
    let hls = b.path("live.m3u8").display().to_string();
    let _senders = [
        send(&["-bsf:v", "h264_mp4toannexb", "-f", "mpegts", &format!("{udp}?pkt_size=1316")]),
        send(&["-bsf:v", "h264_mp4toannexb", "-f", "mpegts", &format!("{srt}?mode=listener")]),
        send(&["-f", "flv", "-listen", "1", &rtmp]),
        send(&["-f", "hls", "-hls_time", "1", "-hls_flags", "delete_segments", &hls]),
    ];
    let files = files(b.path(""));
    let http = format!("{files}/live.m3u8");
    let names = [&udp, &srt, &rtmp, &http, &film];
    let mut live = Live::new(&["--realtime", &udp, &srt, &rtmp, &http, &film]);
    for name in names {
        let end = name.rsplit('/').next().unwrap();
        live.wait(name, 0, |l| l["type"] == "caption" && l["stream"].as_str().unwrap().ends_with(end));
    }
    live.stop();
}

/// A web server's response, including the head.
pub(crate) fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

struct Sender(Child);

impl Drop for Sender {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A web server for the files of a folder.
pub(crate) fn files(folder: std::path::PathBuf) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
                request.push(byte[0]);
            }
            let text = String::from_utf8_lossy(&request).into_owned();
            let name = text.split_whitespace().nth(1).unwrap_or("/").trim_start_matches('/').to_string();
            let answer = match std::fs::read(folder.join(name)) {
                Ok(body) => [
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len())
                        .into_bytes(),
                    body,
                ]
                .concat(),
                Err(_) => b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec(),
            };
            let _ = stream.write_all(&answer);
        }
    });
    address
}

#[test]
fn playlists_and_redirects_open_no_other_protocol() {
    let b = Bench::new();
    film(&b, "film.ts", "320:180", "libx264 -preset ultrafast");
    let trap = TcpListener::bind("127.0.0.1:0").unwrap();
    trap.set_nonblocking(true).unwrap();
    let port = trap.local_addr().unwrap().port();
    let film = b.path("film.ts").display().to_string();
    let targets =
        [format!("file://{film}"), film.clone(), format!("rtmp://127.0.0.1:{port}/a/b"), format!("concat:{film}")];
    let http = files(b.path(""));
    let mut urls = Vec::new();
    for (n, target) in targets.iter().enumerate() {
        let list = format!("#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\n{target}\n");
        b.write(&format!("{n}.m3u8"), list.as_bytes());
        urls.push(format!("{http}/{n}.m3u8"));
    }
    let redirect = TcpListener::bind("127.0.0.1:0").unwrap();
    urls.push(format!("http://{}/moved", redirect.local_addr().unwrap()));
    std::thread::spawn(move || {
        for mut stream in redirect.incoming().flatten() {
            let _ = stream.read(&mut [0; 2048]);
            let head =
                format!("HTTP/1.1 302 Found\r\nLocation: rtmp://127.0.0.1:{port}/a/b\r\nContent-Length: 0\r\n\r\n");
            let _ = stream.write_all(head.as_bytes());
        }
    });
    let args: Vec<&str> = ["--silence", "3"].into_iter().chain(urls.iter().map(String::as_str)).collect();
    let mut live = Live::new(&args);
    for url in &urls {
        let end = url.rsplit('/').next().unwrap();
        live.wait(url, 0, |l| l["state"] == "null" && l["stream"].as_str().unwrap().ends_with(end));
    }
    let (lines, _) = live.stop();
    assert!(lines.iter().all(|l| l["type"] != "caption"), "{lines:?}");
    assert!(trap.accept().is_err(), "descry followed a playlist or a redirect");
}

#[test]
fn servers_of_streams_must_prove_who_they_are() {
    let b = Bench::new();
    h264(&b);
    b.ffmpeg("-i film.mp4 -c copy -f hls -hls_time 2 -hls_list_size 0 list.m3u8");
    let authority = Authority::new(&b);
    let web = Web::new(b.path(""));
    let good = Front::new(&authority, Certificate::Good, web.port);
    let bad = Front::new(&authority, Certificate::Expired, web.port);
    let at = |front: &Front| format!("https://localhost:{}/list.m3u8", front.port);
    let toml = format!(
        "ca = '{}'\n[[stream]]\nname = 'good'\nurl = '{}'\n[[stream]]\nname = 'bad'\nurl = '{}'\n",
        authority.pem.display(),
        at(&good),
        at(&bad)
    );
    b.write("streams.toml", toml.as_bytes());
    let mut live = Live::new(&["--config", &b.path("streams.toml").display().to_string()]);
    live.wait("caption", 0, |l| l["type"] == "caption" && l["stream"] == "good");
    live.wait("failure", 0, |l| l["state"] == "null" && l["stream"] == "bad" && l["reason"] == "open-read");
    let (lines, errors) = live.stop();
    assert!(errors.contains("certificate has expired"), "{errors}");
    assert!(lines.iter().all(|l| l["type"] != "caption" || l["stream"] != "bad"), "{lines:?}");
    assert_eq!(bad.received(), 0);
    let mut live = Live::new(&["--insecure", &at(&bad)]);
    live.caption(0);
    live.stop();
}

#[test]
fn a_file_at_its_own_pace_is_described_to_its_end() {
    let b = Bench::new();
    b.ffmpeg(&format!("-i {} -t 3 -c copy -an short.mp4", sample("bikes.mp4")));
    let started = Instant::now();
    let (out, err) = b.run(&["live", "--realtime", "short.mp4"], 0);
    assert!(started.elapsed() >= Duration::from_millis(2_800), "{err}");
    let lines: Vec<Value> = out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert!(lines.iter().any(|l| l["type"] == "caption"), "{out}");
    assert_eq!(lines.last().unwrap()["type"], "end");
    b.run(&["live", "--realtime", "none.mp4"], 1);
    b.run(&["live", "short.mp4"], 2);
    b.run(&["live"], 2);
    let (_, err) = b.run(&["live", "gopher://u:hidden-w0rd@host/x"], 2);
    assert!(!err.contains("hidden"), "{err}");
}

#[test]
fn a_command_gets_the_text_and_no_tokens() {
    let b = Bench::new();
    b.ffmpeg(&format!("-i {} -t 2 -c copy -an short.mp4", sample("bikes.mp4")));
    b.write("tell.sh", b"{ env; ls -l /proc/self/fd; cat; } >> $1");
    let said = b.path("said");
    let command = format!("sh {} {}", b.path("tell.sh").display(), said.display());
    let tokens = [
        ("DESCRY_HTTP_TOKEN", "t0ken-of-the-page-0000"),
        ("DESCRY_WEBHOOK_TOKEN", "t0ken-of-a-hook"),
        ("AWS_SECRET_ACCESS_KEY", "t0ken-of-a-cloud"),
        ("LC_TIME", "nl_NL"),
        ("VOICE", "anna"),
    ];
    let film = b.path("short.mp4").display().to_string();
    let mut live = Live::with(
        &["--realtime", &film, "--command", &command, "--command-env", "VOICE", "--jsonl", "--http", "127.0.0.1:0"],
        &tokens,
    );
    let (caption, _) = live.caption(0);
    let started = Instant::now();
    while !said.exists() || !b.read("said").contains(caption["text"].as_str().unwrap()) {
        assert!(started.elapsed() < PATIENCE, "{caption}");
        std::thread::sleep(Duration::from_millis(10));
    }
    let text = b.read("said");
    assert!(text.contains("DESCRY_STREAM=short.mp4\n") && text.contains("DESCRY_WALL=2"), "{text}");
    assert!(!text.contains("t0ken"), "{text}");
    assert!(["VOICE=anna", "LC_TIME=nl_NL"].iter().all(|set| text.lines().any(|line| line == *set)), "{text}");
    // Standard error alone is descry's.
    assert!(!text.contains("socket:") && !text.contains("short.mp4 ->"), "{text}");
    let wrong = ["live", "--realtime", "short.mp4", "--command", "cat", "--command-env", "THERE_IS_NONE"];
    let (_, err) = b.run(&tiny(&wrong), 2);
    assert!(err.contains("THERE_IS_NONE") && err.contains("--command-env"), "{err}");
}

#[test]
fn descry_ends_when_its_reader_goes_away() {
    let b = Bench::new();
    film(&b, "film.mp4", "160:90", "libx264 -preset ultrafast");
    let started = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_descry"))
        .args(["live", "--realtime", "--min-score", "0", &b.path("film.mp4").display().to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut String::new()).unwrap();
    drop(out);
    let status = child.wait().unwrap();
    assert!(started.elapsed() < PATIENCE, "descry continued to the end of the film");
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_signal_stops_descry_in_any_state() {
    let b = Bench::new();
    let server = Server::new(0, None, &[h264(&b)]);
    let proxy = Proxy::new(server.port);
    // While one stream has stalled, one is connecting and one waits to reconnect.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("rtsp://{}/x", silent.local_addr().unwrap());
    let refused = format!("rtsp://127.0.0.1:{}/x", free_port());
    let mut live = Live::new(&[&server.url("/film"), &proxy.url("/film"), &silent, &refused]);
    let (_, n) = live.caption(0);
    proxy.set(Mode::Stall);
    live.caption(n);
    live.stop();
    // Probably in the middle of a batch, with four streams and every caption published. What one output has, all have.
    let (vtt, hls) = (b.path("vtt").display().to_string(), b.path("hls").display().to_string());
    let names = ["a", "b", "c", "d"];
    let streams: String =
        names.iter().map(|n| format!("[[stream]]\nname = '{n}'\nurl = '{}'\n", server.url("/film"))).collect();
    b.write("streams.toml", format!("max_gap = 0.6\nmin_interval = 0\n{streams}").as_bytes());
    let config = b.path("streams.toml").display().to_string();
    let all = ["--same", "2", "--returning", "2", "--config", &config, "--jsonl", "--vtt", &vtt, "--hls", &hls];
    let mut live = Live::new(&all);
    let mut n = 0;
    for _ in 0..30 {
        n = live.caption(n).1;
    }
    let (lines, _) = live.stop();
    for name in names {
        let own: Vec<&Value> = lines.iter().filter(|l| l["stream"] == name && l["type"] == "caption").collect();
        assert!(!own.is_empty(), "{lines:?}");
        let written = b.read(&format!("vtt/{name}.vtt"));
        let last = own.last().unwrap()["text"].as_str().unwrap();
        // Cues break lines, and a long caption takes more than one cue.
        let count = written.split("\n\n").filter(|block| block.contains(" --> ")).count();
        assert!(count >= own.len(), "{count} of {}: {written}", own.len());
        let folder = b.path("hls").join(name);
        let list = std::fs::read_to_string(folder.join("descriptions.m3u8")).unwrap();
        let segments = list.lines().filter(|l| l.ends_with(".vtt"));
        let text: String = segments.map(|s| std::fs::read_to_string(folder.join(s)).unwrap()).collect();
        let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(plain(&written).contains(last) && plain(&text).contains(last), "{last}\n{written}\n{text}");
    }
    // Right at the start.
    let mut live = Live::new(&[&server.url("/film")]);
    live.state(0, "ready", &[]);
    live.stop();
}
