//! Measures the lag of each output: the time from the arrival of a frame to the arrival of its description. `descry live`
//! reads 720p25 H.264 streams from a real RTSP server with the built-in model, in real time, with a cut every 4 s.
//!
//! `cargo bench --bench live [-- STREAMS…]`, by default 1 and then 4 streams, a minute each. Needs the programs that
//! `tools/setup.sh test` installs. Other work on the machine affects the result.
//!
//! The bench measures from outside. A proxy before the server records when it forwards the first packet of each frame, and
//! that frame's timestamp; each caption has the stream time that it describes. The outputs have readers: of standard output,
//! of the WebVTT file and of the HLS playlist and its segments (polled every 5 ms), of the page's events, a web server for the
//! webhook, and this program itself as the command. Each output has two lags. One starts at the arrival of the picture that
//! was described. The other starts at the first frame that shows something new (a cut, or the moment at which a moving camera
//! shows something else), and is how long a listener waits. The last columns are the lags that descry reports in `/status`.

mod common;
#[path = "../tests/common/rtsp.rs"]
mod rtsp;

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rtsp::{Proxy, Server, free_port};
use serde_json::Value;

const SINKS: [&str; 6] = ["jsonl", "vtt", "hls", "page", "webhook", "command"];
const POLL: Duration = Duration::from_millis(5);

/// A caption that a reader received: when, from which output, of which stream, its stream time (for a cue, the cue's), and its
/// text.
struct Arrival {
    at: Instant,
    sink: &'static str,
    stream: usize,
    time: f64,
    text: String,
}

/// What all readers share.
#[derive(Clone)]
struct Recorder {
    names: Arc<Vec<String>>,
    arrivals: Arc<Mutex<Vec<Arrival>>>,
    over: Arc<AtomicBool>,
}

impl Recorder {
    fn record(&self, sink: &'static str, stream: &str, time: f64, text: &str) {
        let at = Instant::now();
        let Some(stream) = self.names.iter().position(|n| n == stream) else { return };
        self.arrivals.lock().expect("no reader panics").push(Arrival { at, sink, stream, time, text: plain(text) });
    }

    /// A caption as JSON.
    fn object(&self, sink: &'static str, object: &Value) {
        if let (Some(stream), Some(time), Some(text)) =
            (object["stream"].as_str(), object["time"].as_f64(), object["text"].as_str())
        {
            self.record(sink, stream, time, text);
        }
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

/// A text in the form in which texts are compared. Cues break lines and end with a full stop.
fn plain(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").trim_end_matches('.').to_lowercase()
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let Some(at) = args.iter().position(|a| a == "--report") {
        return report_command(&args[at + 1]);
    }
    let counts: Vec<usize> = args.iter().filter_map(|a| a.parse().ok()).collect();
    let counts = if counts.is_empty() { vec![1, 4] } else { counts };
    let clip = common::minute_as_a_camera();
    println!(
        "{:>7} {:>8} {:>8} {:>20} {:>20} {:>20}",
        "streams", "output", "captions", "from the picture", "from what is new", "as descry reports"
    );
    println!("{:25} {:>10}{:>10} {:>10}{:>10} {:>10}{:>10}", "", "p50", "p95", "p50", "p95", "p50", "p95");
    for streams in counts {
        measure(&clip.display().to_string(), streams);
    }
}

/// Runs as the command: sends the caption to the bench.
fn report_command(address: &str) {
    let of = |name| std::env::var(name).unwrap_or_default();
    let mut text = String::new();
    let _ = std::io::stdin().read_to_string(&mut text);
    let mut stream = TcpStream::connect(address).expect("the bench listens");
    let line = format!("{}\t{}\t{}", of("DESCRY_STREAM"), of("DESCRY_TIME"), text.trim());
    stream.write_all(line.as_bytes()).expect("the bench listens");
}

/// Receives what the command sends.
fn commands(recorder: Recorder) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = listener.local_addr().expect("an address").to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut line = String::new();
            let _ = stream.read_to_string(&mut line);
            let mut parts = line.split('\t');
            if let (Some(stream), Some(time), Some(text)) = (parts.next(), parts.next(), parts.next()) {
                recorder.record("command", stream, time.parse().unwrap_or(f64::NAN), text);
            }
        }
    });
    address
}

/// Receives what the webhook posts.
fn webhook(recorder: Recorder) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = listener.local_addr().expect("an address").to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let recorder = recorder.clone();
            // One connection may carry many requests.
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream);
                loop {
                    let (mut line, mut length) = (String::new(), 0usize);
                    loop {
                        line.clear();
                        if !reader.read_line(&mut line).is_ok_and(|n| n > 0) {
                            return;
                        }
                        if let Some(n) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                            length = n.trim().parse().unwrap_or(0);
                        }
                        if line.trim().is_empty() {
                            break;
                        }
                    }
                    let mut body = vec![0; length];
                    if reader.read_exact(&mut body).is_err() {
                        return;
                    }
                    recorder.object("webhook", &serde_json::from_slice(&body).unwrap_or_default());
                    let _ = reader.get_mut().write_all(b"HTTP/1.1 204 No Content\r\n\r\n");
                }
            });
        }
    });
    address
}

/// Sends a request to the page. Returns a reader of the response.
fn ask(address: &str, path: &str) -> Option<BufReader<TcpStream>> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").ok()?;
    Some(BufReader::new(stream))
}

/// Reads the page's events.
fn follow_events(recorder: &Recorder, address: &str) {
    while !recorder.is_over() {
        let Some(reader) = ask(address, "/events") else {
            std::thread::sleep(POLL);
            continue;
        };
        for line in reader.lines().map_while(Result::ok) {
            if let Some(data) = line.strip_prefix("data: ") {
                let object: Value = serde_json::from_str(data).unwrap_or_default();
                if object["type"] == "caption" {
                    recorder.object("page", &object);
                }
            }
        }
    }
}

/// The cues of a WebVTT text: start in seconds, text.
fn cues(text: &str) -> Vec<(f64, String)> {
    let seconds = |stamp: &str| stamp.split(':').fold(0.0, |sum, p| sum * 60.0 + p.parse::<f64>().unwrap_or(f64::NAN));
    let cue = |block: &str| {
        let (times, text) = block.trim_start().split_once('\n')?;
        Some((seconds(times.split_once(" --> ")?.0), text.to_string()))
    };
    text.split("\n\n").filter_map(cue).collect()
}

/// Reads a file that grows.
fn follow_file(recorder: &Recorder, path: &Path, stream: &str) {
    let mut seen = 0;
    while !recorder.is_over() {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let all = cues(&text);
        for (time, text) in all.iter().skip(seen) {
            recorder.record("vtt", stream, *time, text);
        }
        seen = seen.max(all.len());
        std::thread::sleep(POLL);
    }
}

/// Follows a playlist.
fn follow_playlist(recorder: &Recorder, folder: &Path, stream: &str) {
    let (mut read, mut seen) = (HashSet::new(), HashSet::new());
    while !recorder.is_over() {
        let list = std::fs::read_to_string(folder.join("descriptions.m3u8")).unwrap_or_default();
        for name in list.lines().filter(|l| l.ends_with(".vtt")) {
            if !read.insert(name.to_string()) {
                continue;
            }
            for (time, text) in cues(&std::fs::read_to_string(folder.join(name)).unwrap_or_default()) {
                if seen.insert((time.to_bits(), text.clone())) {
                    recorder.record("hls", stream, time, &text);
                }
            }
        }
        std::thread::sleep(POLL);
    }
}

fn measure(clip: &str, streams: usize) {
    let mount = format!("/film=filesrc location={clip} ! qtdemux ! h264parse ! rtph264pay name=pay0 config-interval=1");
    let server = Server::new(0, None, &[mount]);
    let proxies: Vec<Proxy> = (0..streams).map(|_| Proxy::new(server.port)).collect();
    let names: Vec<String> = proxies.iter().map(|p| p.url("/film").trim_start_matches("rtsp://").to_string()).collect();
    let recorder =
        Recorder { names: Arc::new(names.clone()), arrivals: Arc::default(), over: Arc::new(AtomicBool::new(false)) };
    let folder = std::env::temp_dir().join(format!("descry-bench-{}-{streams}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let (vtt, hls) = (folder.join("vtt"), folder.join("hls"));
    let page = format!("127.0.0.1:{}", free_port());
    let (hook, command) = (webhook(recorder.clone()), commands(recorder.clone()));
    let own = std::env::current_exe().expect("this program").display().to_string();
    let mut child = Command::new(env!("CARGO_BIN_EXE_descry"))
        // Describe every cut, whatever the model's score.
        .args(["--quiet", "live", "--min-score", "0", "--same", "2", "--returning", "2", "--jsonl", "--http", &page])
        .arg("--vtt")
        .arg(&vtt)
        .arg("--hls")
        .arg(&hls)
        .args(["--webhook", &format!("http://{hook}/"), "--command", &format!("{own} --report {command}")])
        .args(proxies.iter().map(|p| p.url("/film")))
        .stdout(Stdio::piped())
        .spawn()
        .expect("descry starts");
    let mut readers = Vec::new();
    for name in &names {
        let file: String = name.chars().map(|c| if matches!(c, ':' | '/') { '_' } else { c }).collect();
        let place = |path: &PathBuf, end: &str| {
            if streams == 1 { path.clone() } else { path.join(format!("{file}{end}")) }
        };
        let (own, path, stream) = (recorder.clone(), place(&vtt, ".vtt"), name.clone());
        readers.push(std::thread::spawn(move || follow_file(&own, &path, &stream)));
        let (own, path, stream) = (recorder.clone(), place(&hls, ""), name.clone());
        readers.push(std::thread::spawn(move || follow_playlist(&own, &path, &stream)));
    }
    let (own, address) = (recorder.clone(), page.clone());
    readers.push(std::thread::spawn(move || follow_events(&own, &address)));
    let (own, status) = (recorder.clone(), Arc::<Mutex<Value>>::default());
    let last = status.clone();
    readers.push(std::thread::spawn(move || {
        while !own.is_over() {
            let mut text = String::new();
            if ask(&page, "/status").is_some_and(|mut r| r.read_to_string(&mut text).is_ok())
                && let Some(body) = text.split_once("\r\n\r\n").and_then(|(_, b)| serde_json::from_str(b).ok())
            {
                *last.lock().expect("no reader panics") = body;
            }
            std::thread::sleep(Duration::from_secs(1));
        }
    }));
    let out = BufReader::new(child.stdout.take().expect("a pipe"));
    let (mut printed, mut dropped) = (Vec::<Value>::new(), 0);
    for line in out.lines().map_while(Result::ok) {
        let line: Value = serde_json::from_str(&line).expect("JSON lines");
        recorder.object("jsonl", &line);
        dropped += line["keyframes"].as_u64().unwrap_or(0) + line["frames"].as_u64().unwrap_or(0);
        printed.push(line);
    }
    let cpu = child_seconds();
    let ended = child.wait().expect("descry ends with the film");
    assert!(ended.success(), "{ended}");
    let cpu = child_seconds() - cpu;
    // The last command may still be sending.
    std::thread::sleep(Duration::from_millis(300));
    recorder.over.store(true, Ordering::Relaxed);
    readers.into_iter().for_each(|r| r.join().expect("no reader panics"));
    let _ = std::fs::remove_dir_all(&folder);
    let arrivals = std::mem::take(&mut *recorder.arrivals.lock().expect("no reader panics"));
    let status = status.lock().expect("no reader panics").clone();
    let mut faults = Vec::new();
    for sink in SINKS {
        let mut taken = vec![false; arrivals.len()];
        let (mut picture, mut cut, mut missing) = (Vec::new(), Vec::new(), 0);
        for line in printed.iter().filter(|l| l["type"] == "caption") {
            let (time, of) = (line["time"].as_f64().unwrap_or(0.0), line["picture_time"].as_f64().unwrap_or(0.0));
            // The first captions of a stream wait for the model to load.
            if time < 2.0 {
                continue;
            }
            let text = plain(line["text"].as_str().unwrap_or_default());
            let stream = names.iter().position(|n| line["stream"] == **n).expect("a stream of ours");
            // A cue has its caption's time, or a later one if it waited for its turn. It has the text, or its first page.
            let is = |h: &Arrival| {
                let cue = matches!(sink, "vtt" | "hls");
                let near = if cue { h.time > time - 0.002 } else { (h.time - time).abs() < 0.002 };
                h.sink == sink && h.stream == stream && near && text.starts_with(&h.text)
            };
            let Some(n) = arrivals.iter().enumerate().position(|(n, h)| !taken[n] && is(h)) else {
                missing += 1;
                continue;
            };
            taken[n] = true;
            let stamps = proxies[stream].stamps();
            let Some(&(origin, _)) = stamps.first() else { continue };
            let lag = |seconds: f64| {
                let ticks = (seconds * 90_000.0).round() as i64;
                let near = |time: u32| (i64::from(time.wrapping_sub(origin) as i32) - ticks).abs();
                let arrived = stamps.iter().min_by_key(|(time, _)| near(*time)).map(|(_, at)| *at);
                arrived.map_or(f64::NAN, |a| arrivals[n].at.saturating_duration_since(a).as_secs_f64())
            };
            picture.push(lag(of));
            cut.push(lag(time));
        }
        let own = |q: &str| {
            let lags = status["streams"].as_array().into_iter().flatten();
            lags.filter_map(|s| {
                let lag = s["lag"].as_object()?.iter().find(|(name, _)| name.split(' ').next() == Some(sink))?.1;
                lag[q].as_f64()
            })
            .fold(f64::NAN, f64::max)
        };
        let (p, c) = (quantiles(&mut picture), quantiles(&mut cut));
        println!(
            "{streams:>7} {sink:>8} {:>8} {:>8.3} s{:>8.3} s {:>8.3} s{:>8.3} s {:>8.3} s{:>8.3} s{}",
            picture.len(),
            p.0,
            p.1,
            c.0,
            c.1,
            own("p50"),
            own("p95"),
            if missing > 0 { format!("   {missing} MISSING") } else { String::new() },
        );
        if missing > 0 || picture.is_empty() {
            faults.push(format!("{sink}: {} captions arrived and {missing} did not", picture.len()));
        }
    }
    println!("{streams:>7} dropped under load: {dropped}; CPU time of descry: {cpu:.1} s");
    assert!(faults.is_empty(), "{faults:#?}");
}

/// The 50th and the 95th percentile.
fn quantiles(values: &mut [f64]) -> (f64, f64) {
    values.sort_by(f64::total_cmp);
    let at =
        |q: f64| values.get(((values.len() as f64 * q).ceil() as usize).saturating_sub(1)).copied().unwrap_or(f64::NAN);
    (at(0.5), at(0.95))
}

/// CPU time of children that have ended and been waited for, in seconds.
fn child_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = stat.rsplit(')').next().unwrap_or_default();
    let ticks = |n: usize| after.split_whitespace().nth(n).and_then(|t| t.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(13) + ticks(14)) / 100.0
}
