//! Compares the whole pipeline, with the built-in model on a 1080p30 H.264 film with a scene every 4 s, with decoding alone:
//! one minute with every frame, and with `--mode fast` the same minute, and ten of them with a caption for each scene.
//!
//! `make bench`, or `cargo bench --bench describe [-- ROUNDS]`. `DESCRY_BENCH_LONG=1` also compares the memory for a film of
//! 30 minutes with that for one minute, which takes about ten minutes.

mod common;

use std::path::Path;
use std::process::Command;

use common::{ffmpeg, median, minute, minutes, race, run, verdict};

/// The output of `--stats` for one run.
fn stats(clip: &Path, mode: &str) -> serde_json::Value {
    let out = Command::new(env!("CARGO_BIN_EXE_descry"))
        .args(["--quiet", "describe", "--stats", "-o", "-", "--mode", mode])
        .arg(clip)
        .output()
        .expect("descry starts");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8_lossy(&out.stderr);
    let line = text.lines().find(|l| l.starts_with('{')).expect("--stats prints an object");
    serde_json::from_str(line).expect("--stats prints JSON")
}

fn main() {
    let rounds = std::env::args().filter_map(|a| a.parse().ok()).next().unwrap_or(5);
    let clip = minute();
    let input = format!("-i {}", clip.display());
    let mut slowest = Vec::new();
    let seconds = {
        let mut runners: Vec<common::Runner> = vec![
            (
                "descry describe F",
                Box::new(|| {
                    let s = stats(&clip, "all");
                    let busy = |names: &[&str]| names.iter().map(|n| s[n].as_f64().unwrap_or(0.0)).sum::<f64>();
                    // One sum for each thread of the pipeline.
                    let watch = busy(&["decode", "analyse", "scenes"]);
                    let most = watch.max(busy(&["prepare", "encode"])).max(busy(&["caption"]));
                    slowest.push(s["wall"].as_f64().unwrap_or(f64::NAN) / most);
                }),
            ),
            ("descry describe --mode fast F", Box::new(|| drop(stats(&clip, "fast")))),
            ("ffmpeg -i F -f null -", Box::new(|| run(ffmpeg(&input).args(["-an", "-f", "null", "-"])))),
        ];
        race(rounds, &mut runners)
    };
    // For archives, whose films are long: the model's start counts less.
    let film = minutes(10);
    let long_input = format!("-i {}", film.display());
    let long_seconds = {
        let mut runners: Vec<common::Runner> = vec![
            (
                "descry describe --mode fast --no-dedup, 10 minutes",
                Box::new(|| {
                    let mut command = Command::new(env!("CARGO_BIN_EXE_descry"));
                    command.args(["--quiet", "describe", "--mode", "fast", "--no-dedup", "-o", "-"]);
                    run(command.arg(&film));
                }),
            ),
            ("ffmpeg, 10 minutes", Box::new(|| run(ffmpeg(&long_input).args(["-an", "-f", "null", "-"])))),
        ];
        race(rounds.div_ceil(2), &mut runners)
    };
    verdict("speed compared with decoding alone", seconds[2] / seconds[0], 0.80);
    println!("{:52} {:7.2}", "--mode fast, one minute", seconds[2] / seconds[1]);
    verdict("--mode fast: speed compared with decoding alone", long_seconds[1] / long_seconds[0], 1.6);
    println!("{:52} {:7.2}     (at most 1.15)", "wall time over the slowest stage's busy time", median(&mut slowest));
    println!("{}", stats(&clip, "all"));
    println!("{}", stats(&clip, "fast"));
    if std::env::var_os("DESCRY_BENCH_LONG").is_some() {
        let peak = |clip: &Path| stats(clip, "all")["peak_rss_mb"].as_f64().unwrap_or(f64::NAN);
        let (short, long) = (peak(&clip), peak(&minutes(30)));
        println!("peak memory: 1 minute {short:.0} MB, 30 minutes {long:.0} MB (at most 50 MB more)");
        assert!(long <= short + 50.0, "memory grows with the length of the film");
    }
}
