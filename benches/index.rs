//! Compares indexing with describing the same films, in turns; measures a run over 100,000 videos that are all up to date;
//! and with `DESCRY_BENCH_LONG=1` compares the memory for a film of 3 hours with that for one of 10 minutes.
//!
//! `make bench`, or `cargo bench --bench index [-- ROUNDS]`.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use common::{Runner, again, minute, race, run, verdict};
use descry::archive::index::file_fingerprint;
use descry::archive::{Archive, Recipe, Work};
use serde_json::Value;

/// Films that are indexed and described.
const FILMS: usize = 4;
/// Videos of the large archive.
const VIDEOS: usize = 100_000;

fn descry(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_descry"));
    command.args(args);
    command
}

/// An empty folder under target.
fn fresh(name: &str) -> PathBuf {
    let folder = minute().with_file_name(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder under target");
    folder
}

/// The test minute in a small size, so that three hours of it fit on the disk.
fn cheap() -> PathBuf {
    let clip = minute().with_file_name("cheap-360p.mp4");
    if !clip.exists() {
        let options = "-vf scale=640:360 -an -c:v libx264 -preset veryfast -crf 30 -g 60";
        run(common::ffmpeg(&format!("-i {}", minute().display())).args(options.split(' ')).arg(&clip));
    }
    clip
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of UTF-8")
}

fn main() {
    let rounds = std::env::args().filter_map(|a| a.parse().ok()).next().unwrap_or(5);
    let (out, archive) = (fresh("index-out"), minute().with_file_name("index-archive"));
    // Keyframes of a minute take less time than a start.
    for (mode, film) in [("all", minute()), ("fast", minute()), ("keyframes", again(&minute(), 10))] {
        // Enough films for two cores: index processes one for each.
        let films = fresh("index-films");
        for n in 0..FILMS {
            std::fs::hard_link(&film, films.join(format!("{n}.mp4"))).expect("a link under target");
        }
        let names: Vec<PathBuf> = (0..FILMS).map(|n| films.join(format!("{n}.mp4"))).collect();
        let names: Vec<&str> = names.iter().map(|n| text(n)).collect();
        let describe =
            [&["--quiet", "describe", "--force", "-f", "vtt,json", "--mode", mode, "-o", text(&out)], &names[..]]
                .concat();
        let index = ["--quiet", "index", text(&films), "--mode", mode, "--into", text(&archive)];
        let seconds = {
            let mut runners: Vec<Runner> = vec![
                (
                    "descry index",
                    Box::new(|| {
                        let _ = std::fs::remove_dir_all(&archive);
                        run(&mut descry(&index));
                    }),
                ),
                ("descry describe", Box::new(|| run(&mut descry(&describe)))),
            ];
            if mode == "fast" {
                let decode = || {
                    for name in &names {
                        run(common::ffmpeg(&format!("-i {name}")).args(["-an", "-f", "null", "-"]));
                    }
                };
                runners.push(("ffmpeg -i F -f null -, one after the other", Box::new(decode)));
            }
            race(rounds, &mut runners)
        };
        verdict(&format!("--mode {mode}: speed compared with describing them"), seconds[1] / seconds[0], 0.95);
        if mode == "fast" {
            verdict("--mode fast: speed compared with decoding them alone", seconds[2] / seconds[0], 1.6);
        }
    }
    keyframes(rounds, &out);
    nothing_to_do(&archive);
    if std::env::var_os("DESCRY_BENCH_LONG").is_some() {
        let peak = |film: &Path| -> f64 {
            let _ = std::fs::remove_dir_all(&archive);
            let out =
                descry(&["index", text(film), "--mode", "keyframes", "--stats", "--into", text(&archive)]).output();
            let out = out.expect("descry starts");
            let words = String::from_utf8_lossy(&out.stderr).into_owned();
            assert!(out.status.success(), "{words}");
            let stats: Value = serde_json::from_str(words.lines().last().unwrap_or("")).expect("--stats prints JSON");
            println!("{:52} {}", film.file_name().unwrap_or_default().to_string_lossy(), stats);
            stats["peak_rss_mb"].as_f64().unwrap_or(f64::NAN)
        };
        let minute = cheap();
        let (short, long) = (peak(&again(&minute, 10)), peak(&again(&minute, 180)));
        println!("peak memory: 10 minutes {short:.0} MB, 3 hours {long:.0} MB (at most 50 MB more)");
    }
}

/// Compares `--mode keyframes` with FFmpeg, which decodes the same keyframes and discards them. Uses a clip of one minute ten times: once
/// with dedup, so that most keyframes are known already, and once with a caption for each keyframe.
fn keyframes(rounds: usize, out: &Path) {
    let film = again(&minute(), 10);
    let describe =
        ["--quiet", "describe", text(&film), "--force", "-f", "vtt,json", "--mode", "keyframes", "-o", text(out)];
    let all = [&describe[..], &["--no-dedup"]].concat();
    let seconds = {
        let mut runners: Vec<Runner> = vec![
            ("descry describe --mode keyframes", Box::new(|| run(&mut descry(&describe)))),
            ("descry describe --mode keyframes --no-dedup", Box::new(|| run(&mut descry(&all)))),
            (
                "ffmpeg -skip_frame nokey -i F -f null -",
                Box::new(|| {
                    let mut ffmpeg = Command::new("ffmpeg");
                    ffmpeg.args(["-nostdin", "-v", "error", "-skip_frame", "nokey", "-i", text(&film)]);
                    run(ffmpeg.args(["-an", "-f", "null", "-"]));
                }),
            ),
        ];
        race(rounds, &mut runners)
    };
    println!("{:52} {:7.0} × real time", "FFmpeg", 600.0 / seconds[2]);
    verdict("keyframes: speed compared with decoding them alone", seconds[2] / seconds[0], 0.6);
    verdict("the same with a caption for each", seconds[2] / seconds[1], 0.6);
}

/// Makes an archive of many videos that are all up to date, and runs over it.
fn nothing_to_do(real: &Path) {
    let real = Archive::open(text(real)).expect("the archive of the race");
    let name = real.record_names().expect("its records")[0];
    let record = real.read_record(name).expect("its record").expect("its record");
    let recipe = Arc::new(Recipe {
        model: record.model.into(),
        model_hash: record.model_hash.into(),
        dimension: 1,
        options: record.options,
    });
    let (films, archive) = (fresh("index-many"), fresh("index-many-archive"));
    let films = films.canonicalize().expect("a folder under target");
    Archive::create(text(&archive)).expect("an archive under target");
    for n in 0..VIDEOS {
        let film = films.join(format!("{:03}", n / 1000)).join(format!("{n}.mp4"));
        if n % 1000 == 0 {
            std::fs::create_dir_all(film.parent().expect("a folder")).expect("a folder under target");
        }
        std::fs::write(&film, b"film").expect("a file under target");
        let work = Work::new(text(&film), file_fingerprint(&film), recipe.clone());
        let shelf = archive.join("records").join(work.name.shelf());
        std::fs::create_dir_all(&shelf).expect("a folder under target");
        std::fs::write(shelf.join(format!("{}.json", work.name)), b"{}").expect("a record under target");
    }
    let mut best = f64::INFINITY;
    for _ in 0..3 {
        let started = Instant::now();
        let out =
            descry(&["index", text(&films), "--mode", "keyframes", "--log", "json", "--into", text(&archive)]).output();
        best = best.min(started.elapsed().as_secs_f64());
        let words = String::from_utf8_lossy(&out.expect("descry starts").stderr).into_owned();
        let summary: Value = serde_json::from_str(words.lines().last().unwrap_or("")).expect("a summary");
        assert_eq!(summary["up_to_date"], VIDEOS, "{words}");
    }
    println!("{:52} {best:7.2} s   (seconds)", format!("a run over {VIDEOS} videos that are all up to date"));
    for folder in [films, archive] {
        let _ = std::fs::remove_dir_all(folder);
    }
}
