//! `descry live` for as long as is wanted on four 720p25 streams, one of which meets with a fault every quarter of a minute:
//! its memory, threads and open files must stay what they were.
//!
//! `cargo bench --bench soak [-- MINUTES]`, by default 60. Prints a line every half minute, and at the end whether the last
//! quarter needed more than the one after the start.

mod common;
#[path = "../tests/common/rtsp.rs"]
mod rtsp;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rtsp::{Mode, Proxy, Server};
use serde_json::Value;

const STREAMS: usize = 4;
const EVERY: Duration = Duration::from_secs(15);
/// How long each fault lasts; a stall outlives the time-out.
const FAULT: Duration = Duration::from_secs(8);

/// What a process holds.
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
    let mut child = Command::new(env!("CARGO_BIN_EXE_descry"))
        .args(["--quiet", "live", "--min-score", "0", "--silence", "5"])
        .args(proxies.iter().map(|p| p.url("/film")))
        .stdout(Stdio::piped())
        .spawn()
        .expect("descry starts");
    let out = BufReader::new(child.stdout.take().expect("a pipe"));
    let lines = Arc::new(Mutex::new((0u64, 0u64, 0u64, Vec::<f64>::new())));
    let into = lines.clone();
    let reader = std::thread::spawn(move || {
        for line in out.lines().map_while(Result::ok) {
            let line: Value = serde_json::from_str(&line).expect("JSON lines");
            let Ok(mut told) = into.lock() else { return };
            told.0 += u64::from(line["type"] == "caption");
            told.1 += u64::from(line["state"] == "playing");
            told.2 += line["keyframes"].as_u64().unwrap_or(0);
            told.3.extend(line["lag"].as_f64());
        }
    });
    let faults = [
        Mode::Stall,
        Mode::Truncate,
        Mode::Shift(i32::MIN / 3),
        Mode::Corrupt(5),
        Mode::Delay(Duration::from_millis(20)),
    ];
    let started = Instant::now();
    let end = Duration::from_secs_f64(minutes * 60.0);
    let mut samples: Vec<(Duration, Held)> = Vec::new();
    let mut next_fault = EVERY;
    let mut heal: Option<(Duration, usize)> = None;
    let mut number = 0;
    let mut next_line = Duration::ZERO;
    println!(
        "{:>8} {:>9} {:>8} {:>6} {:>9} {:>9} {:>8} {:>9}",
        "seconds", "RSS", "threads", "files", "captions", "playing", "dropped", "lag p95"
    );
    while started.elapsed() < end {
        std::thread::sleep(Duration::from_millis(250));
        assert!(child.try_wait().expect("descry").is_none(), "descry has ended");
        let now = started.elapsed();
        samples.push((now, held(child.id())));
        if heal.is_some_and(|(at, _)| now >= at)
            && let Some((_, stream)) = heal.take()
        {
            proxies[stream].set(Mode::Pass);
        }
        if now >= next_fault {
            next_fault += EVERY;
            let fault = number % (faults.len() + 1);
            let stream = number % STREAMS;
            number += 1;
            if let Some(mode) = faults.get(fault) {
                proxies[stream].set(*mode);
                heal = Some((now + FAULT, stream));
            } else {
                // All of them lose their server.
                drop(server.take());
                std::thread::sleep(Duration::from_secs(2));
                server = Some(Server::new(port, None, std::slice::from_ref(&mount)));
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
    let id = child.id().to_string();
    let _ = Command::new("kill").args(["-TERM", &id]).status();
    let stopped = Instant::now();
    let status = child.wait().expect("descry stops");
    let _ = reader.join();
    println!("stopped in {:.2} s, exit {:?} (3 s at most, 130)", stopped.elapsed().as_secs_f64(), status.code());
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
    println!("most held in the second quarter: {early:?}, in the last: {late:?}");
}
