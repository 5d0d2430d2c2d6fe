//! Runs `descry live` on four 720p25 streams and injects a fault into one of them every 15 s. Memory, threads and open files
//! must not grow, and every lost description must be counted.
//!
//! `cargo bench --bench soak [-- MINUTES]`, by default 60. Prints a line every half minute, and its checks at the end: whether
//! the last quarter of the run needed more than the second, whether every description on standard output is also in the
//! WebVTT files and was in an HLS segment (except those that are counted as lost), whether everything that was dropped was
//! reported, and whether the run stopped in time. Faults must have been injected on time, and those that interrupt a stream
//! must show in its states, or the run would show nothing. Exits with 1 if a check fails.

mod common;
#[path = "../tests/common/rtsp.rs"]
mod rtsp;

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rtsp::{Mode, Proxy, Server, free_port};
use serde_json::Value;

const STREAMS: usize = 4;
const EVERY: Duration = Duration::from_secs(15);
/// The length of each fault. A stall outlasts the timeout.
const FAULT: Duration = Duration::from_secs(8);

/// A kind of fault.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// One stream's network does this for [`FAULT`].
    Network(&'static str, Mode),
    /// All streams lose their server for two seconds.
    Server,
}

impl Fault {
    const ALL: [Fault; 9] = [
        Fault::Network("stall", Mode::Stall),
        Fault::Network("connections cut", Mode::Truncate),
        Fault::Network("clock jump", Mode::Shift(i32::MIN / 3)),
        Fault::Network("broken packets", Mode::Corrupt(5)),
        Fault::Server,
        Fault::Network("garbage", Mode::Garbage),
        Fault::Network("wrong password", Mode::Refuse),
        Fault::Network("slow network", Mode::Delay(Duration::from_millis(20))),
        Fault::Network("lost packets", Mode::Drop(3)),
    ];

    fn name(self) -> &'static str {
        match self {
            Fault::Network(name, _) => name,
            Fault::Server => "server killed",
        }
    }

    /// How many streams it interrupts, so that they are no longer playing.
    fn interrupts(self) -> usize {
        match self {
            Fault::Server => STREAMS,
            Fault::Network(_, Mode::Stall | Mode::Truncate | Mode::Refuse) => 1,
            Fault::Network(..) => 0,
        }
    }
}

/// The faults of a run: their names, and how many interruptions must show.
#[derive(Default)]
struct Injected {
    names: Vec<&'static str>,
    interruptions: usize,
}

/// A change of a stream's state, as descry prints it.
#[derive(Clone, Debug)]
struct Change {
    stream: String,
    state: String,
    reason: Option<String>,
}

impl Change {
    fn of(line: &Value) -> Option<Change> {
        let text = |key: &str| line[key].as_str().map(String::from);
        Some(Change { stream: text("stream")?, state: text("state")?, reason: text("reason") })
    }
}

/// How often a stream stopped playing.
fn interruptions(changes: &[Change]) -> usize {
    let mut playing = HashSet::new();
    let stops = |c: &&Change| match c.state.as_str() {
        "playing" => {
            playing.insert(c.stream.clone());
            false
        }
        _ => playing.remove(&c.stream),
    };
    changes.iter().filter(stops).count()
}

/// The resources that a process holds.
#[derive(Clone, Copy, Debug)]
struct Held {
    kilobytes: u64,
    threads: u64,
    files: u64,
}

fn held(id: u32) -> Held {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let of = |name: &str| {
        let line = status.lines().find(|l| l.starts_with(name));
        line.and_then(|l| l.split_whitespace().nth(1)).and_then(|n| n.parse().ok()).unwrap_or(0)
    };
    let files = std::fs::read_dir(format!("/proc/{id}/fd")).map_or(0, |d| d.count() as u64);
    Held { kilobytes: of("VmRSS:"), threads: of("Threads:"), files }
}

/// The run's status, from the page.
fn status(page: &str) -> Value {
    let answer = || {
        let mut stream = TcpStream::connect(page).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        write!(stream, "GET /status HTTP/1.1\r\nHost: {page}\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        serde_json::from_str(text.split_once("\r\n\r\n")?.1).ok()
    };
    answer().unwrap_or_default()
}

/// A text in the form in which texts are compared. Cues break lines and end with a full stop.
fn plain(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").trim_end_matches('.').to_lowercase()
}

/// The cues of a WebVTT text: start in seconds, text.
fn cues(text: &str) -> Vec<(f64, String)> {
    let seconds = |stamp: &str| stamp.split(':').fold(0.0, |sum, p| sum * 60.0 + p.parse::<f64>().unwrap_or(f64::NAN));
    let cue = |block: &str| {
        let (times, text) = block.trim_start().split_once('\n')?;
        Some((seconds(times.split_once(" --> ")?.0), plain(text)))
    };
    text.split("\n\n").filter_map(cue).collect()
}

/// How many of these descriptions (stream time, text) have no cue. Each needs a cue of its own, at its time or a little later.
fn missing(printed: &[(f64, String)], cues: &[(f64, String)]) -> usize {
    let mut taken = vec![false; cues.len()];
    printed
        .iter()
        .filter(|(time, text)| {
            let is = |(at, cue): &(f64, String)| *at > time - 0.002 && *at < time + 30.0 && text.starts_with(cue);
            let place = cues.iter().enumerate().position(|(n, c)| !taken[n] && is(c));
            place.is_none_or(|n| std::mem::replace(&mut taken[n], true))
        })
        .count()
}

/// Collects the cues of every segment of a rolling playlist.
struct Follower {
    segments: HashSet<String>,
    /// Each with the number of its clock and the segment's time map. A cue is in every segment that it touches, and a film that
    /// starts over has cues with the same times.
    cues: Vec<(u64, String, f64, String)>,
}

impl Follower {
    fn look(&mut self, folder: &Path) {
        let list = std::fs::read_to_string(folder.join("descriptions.m3u8")).unwrap_or_default();
        let mut clock = 0;
        for name in list.lines() {
            if let Some(n) = name.strip_prefix("#EXT-X-DISCONTINUITY-SEQUENCE:") {
                clock = n.parse().unwrap_or(0);
            }
            clock += u64::from(name == "#EXT-X-DISCONTINUITY");
            if name.ends_with(".vtt") && self.segments.insert(name.to_string()) {
                let text = std::fs::read_to_string(folder.join(name)).unwrap_or_default();
                let map = text.lines().nth(1).unwrap_or_default().to_string();
                for (time, found) in cues(&text) {
                    let cue = (clock, map.clone(), time, found);
                    if !self.cues.contains(&cue) {
                        self.cues.push(cue);
                    }
                }
            }
        }
    }
}

fn main() {
    let minutes: f64 = std::env::args().filter_map(|a| a.parse().ok()).next().unwrap_or(60.0);
    let clip = common::again(&common::minute_as_a_camera(), 10);
    let mount = format!(
        "/film=filesrc location={} ! qtdemux ! h264parse ! rtph264pay name=pay0 config-interval=1",
        clip.display()
    );
    let mut server = Some(Server::new(0, None, std::slice::from_ref(&mount)));
    let port = server.as_ref().map_or(0, |s| s.port);
    let proxies: Vec<Proxy> = (0..STREAMS).map(|_| Proxy::new(port)).collect();
    let folder = std::env::temp_dir().join(format!("descry-soak-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let (vtt, hls) = (folder.join("vtt"), folder.join("hls"));
    let page = format!("127.0.0.1:{}", free_port());
    let messages = folder.join("messages.txt");
    let mut child = Command::new(env!("CARGO_BIN_EXE_descry"))
        .args(["live", "--min-score", "0", "--silence", "5", "--jsonl", "--http", &page])
        .arg("--vtt")
        .arg(&vtt)
        .arg("--hls")
        .arg(&hls)
        .args(proxies.iter().map(|p| p.url("/film")))
        .stdout(Stdio::piped())
        .stderr(File::create(&messages).expect("a file"))
        .spawn()
        .expect("descry starts");
    let out = BufReader::new(child.stdout.take().expect("a pipe"));
    let lines = Arc::new(Mutex::new((0u64, 0u64, 0u64, Vec::<f64>::new())));
    let texts = Arc::<Mutex<HashMap<String, Vec<(f64, String)>>>>::default();
    let changes = Arc::<Mutex<Vec<Change>>>::default();
    let (into, printed, changed) = (lines.clone(), texts.clone(), changes.clone());
    let reader = std::thread::spawn(move || {
        for line in out.lines().map_while(Result::ok) {
            let line: Value = serde_json::from_str(&line).expect("JSON lines");
            if let (Some(change), Ok(mut changed)) = (Change::of(&line), changed.lock()) {
                changed.push(change);
            }
            let Ok(mut totals) = into.lock() else { return };
            totals.0 += u64::from(line["type"] == "caption");
            totals.1 += u64::from(line["state"] == "playing");
            totals.2 += line["keyframes"].as_u64().unwrap_or(0) + line["frames"].as_u64().unwrap_or(0);
            if let (Some(stream), Some(time), Some(text)) =
                (line["stream"].as_str(), line["time"].as_f64(), line["text"].as_str())
                && let Ok(mut printed) = printed.lock()
            {
                printed.entry(stream.into()).or_default().push((time, plain(text)));
            }
            totals.3.extend(line["lag"].as_f64());
        }
    });
    let started = Instant::now();
    let end = Duration::from_secs_f64(minutes * 60.0);
    let mut samples: Vec<(Duration, Held)> = Vec::new();
    let file = |p: &Proxy| p.url("/film").trim_start_matches("rtsp://").replace([':', '/'], "_");
    let mut followers: Vec<Follower> =
        (0..STREAMS).map(|_| Follower { segments: HashSet::new(), cues: Vec::new() }).collect();
    let look = |followers: &mut [Follower]| {
        for (follower, proxy) in followers.iter_mut().zip(&proxies) {
            follower.look(&hls.join(file(proxy)));
        }
    };
    let mut next_fault = EVERY;
    let mut heal: Option<(Duration, usize)> = None;
    let mut injected = Injected::default();
    let mut next_line = Duration::ZERO;
    println!(
        "{:>8} {:>9} {:>8} {:>6} {:>9} {:>9} {:>8} {:>9}",
        "seconds", "RSS", "threads", "files", "captions", "playing", "dropped", "lag p95"
    );
    while started.elapsed() < end {
        std::thread::sleep(Duration::from_millis(250));
        if let Some(status) = child.try_wait().expect("descry") {
            let said = std::fs::read_to_string(&messages).unwrap_or_default();
            panic!("descry has ended: {status}; its messages:\n{said}");
        }
        let now = started.elapsed();
        samples.push((now, held(child.id())));
        look(&mut followers);
        if heal.is_some_and(|(at, _)| now >= at)
            && let Some((_, stream)) = heal.take()
        {
            proxies[stream].set(Mode::Pass);
        }
        if now >= next_fault {
            next_fault += EVERY;
            let number = injected.names.len();
            let (fault, stream) = (Fault::ALL[number % Fault::ALL.len()], number % STREAMS);
            // A fault at the end has no time to show.
            if now + FAULT + Duration::from_secs(4) < end {
                injected.names.push(fault.name());
                injected.interruptions += fault.interrupts();
            }
            match fault {
                Fault::Network(_, mode) => {
                    proxies[stream].set(mode);
                    heal = Some((now + FAULT, stream));
                }
                Fault::Server => {
                    drop(server.take());
                    std::thread::sleep(Duration::from_secs(2));
                    server = Some(Server::new(port, None, std::slice::from_ref(&mount)));
                }
            }
        }
        if now >= next_line {
            next_line += Duration::from_secs(30);
            let h = held(child.id());
            let (captions, playing, dropped, mut lags) =
                lines.lock().map(|mut t| (t.0, t.1, t.2, std::mem::take(&mut t.3))).unwrap_or_default();
            lags.sort_by(f64::total_cmp);
            let p95 = lags.get((lags.len() * 95).div_ceil(100).saturating_sub(1)).copied().unwrap_or(f64::NAN);
            println!(
                "{:>8.0} {:>6.0} MB {:>8} {:>6} {captions:>9} {playing:>9} {dropped:>8} {p95:>7.2} s",
                now.as_secs_f64(),
                h.kilobytes as f64 / 1024.0,
                h.threads,
                h.files
            );
        }
    }
    let figures = status(&page);
    let id = child.id().to_string();
    let _ = Command::new("kill").args(["-TERM", &id]).status();
    let stopped = Instant::now();
    let status_code = child.wait().expect("descry stops");
    let ended = stopped.elapsed().as_secs_f64();
    let _ = reader.join();
    look(&mut followers);
    let mut fine = true;
    let mut judge = |what: &str, ok: bool| {
        println!("{:5} {what}", if ok { "ok" } else { "NOT" });
        fine &= ok;
    };
    judge(&format!("stopped in {ended:.2} s, exit {:?} (3 s at most, 130)", status_code.code()), {
        ended < 3.0 && status_code.code() == Some(130)
    });
    let changes = changes.lock().expect("no reader panics").clone();
    let due = ((minutes * 60.0 - FAULT.as_secs_f64() - 4.0) / EVERY.as_secs_f64()) as usize;
    let count = |name: &str| injected.names.iter().filter(|n| **n == name).count();
    let kinds: Vec<String> = Fault::ALL.iter().map(|f| format!("{} × {}", count(f.name()), f.name())).collect();
    println!("{} faults: {}", injected.names.len(), kinds.join(", "));
    judge(&format!("{} faults of {due} that are due", injected.names.len()), {
        due > 0 && injected.names.len() + 1 >= due && Fault::ALL.iter().take(due).all(|f| count(f.name()) > 0)
    });
    let shown = interruptions(&changes);
    // A stream that has not returned yet cannot be interrupted again.
    judge(&format!("{shown} interruptions show of {} that were made", injected.interruptions), {
        shown >= injected.interruptions * 3 / 4 && shown > 0
    });
    let refused = changes.iter().filter(|c| c.reason.as_deref() == Some("not-authorized")).count();
    judge(&format!("{refused} refusals show"), refused >= count("wrong password"));
    let played = |stream: &str| changes.iter().any(|c| c.stream == stream && c.state == "playing");
    judge("every stream has played", proxies.iter().all(|p| played(p.url("/film").trim_start_matches("rtsp://"))));
    let most = |from: f64, to: f64| {
        let share = |t: Duration| t.as_secs_f64() / end.as_secs_f64();
        let quarter = samples.iter().filter(|(t, _)| (from..to).contains(&share(*t))).map(|(_, h)| *h);
        quarter.fold(Held { kilobytes: 0, threads: 0, files: 0 }, |a, b| Held {
            kilobytes: a.kilobytes.max(b.kilobytes),
            threads: a.threads.max(b.threads),
            files: a.files.max(b.files),
        })
    };
    let (early, late) = (most(0.25, 0.5), most(0.75, 1.1));
    println!("maximum in the second quarter: {early:?}, in the last: {late:?}");
    judge("memory is flat (at most 10 % and 8 MB more)", late.kilobytes <= early.kilobytes * 11 / 10 + (8 << 10));
    // During a reconnection, threads and files of both connections exist for a moment.
    judge("threads are flat", late.threads <= early.threads + 2);
    judge("open files are flat", late.files <= early.files + 4);
    let sum = |list: &str, key: &[&str]| -> u64 {
        let of = |v: &Value| key.iter().fold(v.clone(), |v, k| v[*k].clone()).as_u64().unwrap_or(0);
        figures[list].as_array().into_iter().flatten().map(of).sum()
    };
    let (captions, _, dropped, _) = *lines.lock().expect("no reader panics");
    let least = (minutes * STREAMS as f64) as u64;
    judge(&format!("{captions} descriptions, at least {least}"), captions >= least && least > 0);
    let counted = sum("streams", &["captions"]);
    judge(&format!("{captions} descriptions printed, {counted} counted just before the end"), {
        captions >= counted && captions <= counted + 2 * STREAMS as u64
    });
    let overload = sum("streams", &["frames_dropped", "overload"]);
    judge(&format!("{dropped} keyframes and frames reported as dropped, {overload} counted"), dropped >= overload);
    let lost = |sink: &str| {
        let all = figures["outputs"].as_array().into_iter().flatten();
        all.filter(|o| o["name"] == sink).map(|o| o["lost"].as_u64().unwrap_or(0)).sum::<u64>() as usize
    };
    let texts = texts.lock().expect("no reader panics");
    let (mut in_vtt, mut in_hls) = (0, 0);
    for (proxy, follower) in proxies.iter().zip(&followers) {
        let printed = texts.get(proxy.url("/film").trim_start_matches("rtsp://")).cloned().unwrap_or_default();
        let text = std::fs::read_to_string(vtt.join(format!("{}.vtt", file(proxy)))).unwrap_or_default();
        in_vtt += missing(&printed, &cues(&text));
        // Times in segments start over with each jump of the source's clock, so only the texts are compared.
        let texts_printed: Vec<(f64, String)> = printed.iter().map(|(_, text)| (0.0, text.clone())).collect();
        let texts_found: Vec<(f64, String)> = follower.cues.iter().map(|(.., text)| (0.0, text.clone())).collect();
        in_hls += missing(&texts_printed, &texts_found);
    }
    for (name, gone) in [("vtt", in_vtt), ("hls", in_hls)] {
        let lost = lost(name);
        judge(&format!("{gone} descriptions are missing from {name}, {lost} are counted as lost"), gone <= lost);
    }
    let _ = std::fs::remove_dir_all(&folder);
    if !fine {
        std::process::exit(1);
    }
}
