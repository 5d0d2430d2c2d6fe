//! How long after a frame arrives its description is there: `descry live` with the built-in model on 720p25 H.264 streams
//! from a real RTSP server, in real time, a cut every 4 s.
//!
//! `cargo bench --bench live [-- STREAMS…]`, by default 1 and then 4, a minute each. Needs what `tools/setup.sh test`
//! installs. Other work on the machine counts.
//!
//! Measured from outside: a proxy before the server notes when it passed on the first packet of each frame, by the time that
//! is written into it, and a caption says of which moment of the stream it is. Two figures: from the arrival of the
//! picture that was described, and from the first frame of what is new, which is what a listener waits: a
//! cut, or where a moving camera begins to show something else.

mod common;
#[path = "../tests/common/rtsp.rs"]
mod rtsp;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rtsp::{Proxy, Server};
use serde_json::Value;

fn main() {
    let counts: Vec<usize> = std::env::args().filter_map(|a| a.parse().ok()).collect();
    let counts = if counts.is_empty() { vec![1, 4] } else { counts };
    let clip = common::minute_as_a_camera();
    println!(
        "{:>7} {:>8} {:>24} {:>24} {:>8} {:>9}",
        "streams", "captions", "from the picture", "from what is new", "dropped", "CPU"
    );
    println!("{:>7} {:>8} {:>12}{:>12} {:>12}{:>12}", "", "", "p50", "p95", "p50", "p95");
    for streams in counts {
        measure(&clip.display().to_string(), streams);
    }
}

fn measure(clip: &str, streams: usize) {
    let mount = format!("/film=filesrc location={clip} ! qtdemux ! h264parse ! rtph264pay name=pay0 config-interval=1");
    let server = Server::new(0, None, &[mount]);
    let proxies: Vec<Proxy> = (0..streams).map(|_| Proxy::new(server.port)).collect();
    let mut child = Command::new(env!("CARGO_BIN_EXE_descry"))
        // Every cut is said, whatever the model makes of it.
        .args(["--quiet", "live", "--min-score", "0", "--same", "2", "--returning", "2"])
        .args(proxies.iter().map(|p| p.url("/film")))
        .stdout(Stdio::piped())
        .spawn()
        .expect("descry starts");
    let out = BufReader::new(child.stdout.take().expect("a pipe"));
    let lines: Vec<(Instant, Value)> = out
        .lines()
        .map_while(Result::ok)
        .map(|line| (Instant::now(), serde_json::from_str(&line).expect("JSON lines")))
        .collect();
    let cpu = child_seconds();
    let status = child.wait().expect("descry ends with the film");
    assert!(status.success(), "{status}");
    let cpu = child_seconds() - cpu;
    let (mut picture, mut cut) = (Vec::new(), Vec::new());
    let mut dropped = 0;
    for (proxy, url) in proxies.iter().map(|p| (p.stamps(), p.url("/film"))) {
        let name = url.trim_start_matches("rtsp://");
        let Some(&(origin, _)) = proxy.first() else { continue };
        let arrived = |seconds: f64| {
            let ticks = (seconds * 90_000.0).round() as i64;
            let near = |time: u32| (i64::from(time.wrapping_sub(origin) as i32) - ticks).abs();
            proxy.iter().min_by_key(|(time, _)| near(*time)).map(|(_, at)| *at)
        };
        for (at, line) in lines.iter().filter(|(_, l)| l["stream"] == name) {
            dropped += line["keyframes"].as_u64().unwrap_or(0);
            // What begins a stream waits for the model to be loaded.
            let (Some(time), Some(of)) = (line["time"].as_f64(), line["picture_time"].as_f64()) else { continue };
            if time < 2.0 {
                continue;
            }
            let lag =
                |seconds| arrived(seconds).map_or(Duration::ZERO, |a| at.saturating_duration_since(a)).as_secs_f64();
            picture.push(lag(of));
            cut.push(lag(time));
        }
    }
    let quantile = |values: &mut Vec<f64>, q: f64| {
        values.sort_by(f64::total_cmp);
        values.get(((values.len() as f64 * q).ceil() as usize).saturating_sub(1)).copied().unwrap_or(f64::NAN)
    };
    println!(
        "{streams:>7} {:>8} {:>10.3} s{:>10.3} s {:>10.3} s{:>10.3} s {dropped:>8} {cpu:>7.1} s",
        picture.len(),
        quantile(&mut picture, 0.5),
        quantile(&mut picture, 0.95),
        quantile(&mut cut, 0.5),
        quantile(&mut cut, 0.95),
    );
}

/// Processor time of children that were waited for, in seconds.
fn child_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = stat.rsplit(')').next().unwrap_or_default();
    let ticks = |n: usize| after.split_whitespace().nth(n).and_then(|t| t.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(13) + ticks(14)) / 100.0
}
