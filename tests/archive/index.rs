//! `descry index` with the real binary: what an archive holds, which programs read it, and what a second run describes.

use std::process::Command;
use std::time::Duration;

use crate::common::archive_files::{assert_same, failures, films, folder, records, start, summary, tree};
use crate::common::faulty::children;
use crate::common::{Bench, root, sample, tiny};
use serde_json::{Value, json};

fn index(b: &Bench, args: &[&str], code: i32) -> Value {
    let (_, err) = b.run(&tiny(&[&["index", "--log", "json"], args].concat()), code);
    summary(&err)
}

#[test]
fn an_archive_holds_what_describe_writes() {
    let b = Bench::new();
    std::fs::create_dir(b.path("films")).unwrap();
    for name in ["bikes.mp4", "bigbuckbunny.mp4"] {
        std::fs::copy(sample(name), b.path("films").join(name)).unwrap();
    }
    // The second half is black: a keyframe without a picture.
    b.ffmpeg(
        "-f lavfi -i testsrc2=size=192x108:rate=25:duration=2 -f lavfi -i color=black:size=192x108:rate=25:duration=2 \
         -filter_complex [0:v][1:v]concat -c:v libx264 films/black.mp4",
    );
    let done = index(&b, &["films", "--into", "archive"], 0);
    assert_eq!((&done["progress"]["described"], &done["up_to_date"]), (&json!(3), &json!(0)));
    b.run(
        &tiny(&[
            "describe",
            "films/bikes.mp4",
            "films/black.mp4",
            "films/bigbuckbunny.mp4",
            "-o",
            "out/",
            "-f",
            "vtt,json",
        ]),
        0,
    );
    let archive = b.path("archive");
    let mut pictures = 0;
    for name in ["bikes", "black", "bigbuckbunny"] {
        let folder = folder(&archive, &format!("{name}.mp4"));
        let read = |n: &str| std::fs::read_to_string(folder.join(n)).unwrap();
        assert_eq!(read("descriptions.vtt"), b.read(&format!("out/{name}.vtt")));
        let (mut kept, plain): (Value, Value) = (
            serde_json::from_str(&read("descriptions.json")).unwrap(),
            serde_json::from_str(&b.read(&format!("out/{name}.json"))).unwrap(),
        );
        assert!(kept["input"].as_str().unwrap().starts_with('/'));
        kept["input"] = plain["input"].clone();
        assert_eq!(kept, plain);
        let seen = plain["scenes"].as_array().unwrap().iter().filter(|s| s["blank"] == false).count();
        pictures += seen;
        let thumbnails = tree(&folder.join("thumbnails"));
        assert_eq!(thumbnails.len(), seen, "{name}");
        for bytes in thumbnails.values() {
            let (w, h) = jpeg_size(bytes);
            assert!(w <= 320 && h > 0, "{w}×{h}");
        }
    }
    b.run(&["archive", "export", "archive", "-o", "all.parquet"], 0);
    let python = root().join("vendor/venv/bin/python");
    let out = Command::new(&python)
        .arg(root().join("tests/parsers/check_archive.py"))
        .args([&archive, &b.path("all.parquet")])
        .output()
        .expect("Python is missing: run make setup-test");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let tables: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(tables["format"], "descry-keyframes/1");
    assert_eq!([&tables["pyarrow"], &tables["pandas"], &tables["duckdb"]], [&json!(pictures); 3]);
    assert!(
        tables["longest"].as_f64().unwrap() < 1e-6 && tables["longest_duckdb"].as_f64().unwrap() < 1e-5,
        "{tables}"
    );
    // Each row matches the JSON.
    for name in ["bikes", "black", "bigbuckbunny"] {
        let plain: Value = serde_json::from_str(&b.read(&format!("out/{name}.json"))).unwrap();
        let scenes: Vec<&Value> = plain["scenes"].as_array().unwrap().iter().filter(|s| s["blank"] == false).collect();
        let file = format!("/{name}.mp4");
        let rows = tables["rows"].as_array().unwrap().iter().filter(|r| r["video"].as_str().unwrap().ends_with(&file));
        let rows: Vec<&Value> = rows.collect();
        assert_eq!(rows.len(), scenes.len());
        for (row, scene) in rows.iter().zip(scenes) {
            let ms = |v: &Value| (v.as_f64().unwrap() * 1e3).round() as i64;
            assert_eq!(row["start_ms"], ms(&scene["start"]));
            assert_eq!(row["end_ms"], ms(&scene["end"]));
            assert_eq!(row["keyframe_ms"], ms(&scene["keyframe"]));
            assert_eq!(
                (&row["caption"], &row["said"], &row["scene"]),
                (&scene["text"], &scene["said"], &scene["scene"])
            );
            assert_eq!(row["repeats"], !scene["repeats"].is_null());
            assert_eq!(row["speech"], scene["speech"]);
            assert!(row["text"].is_null(), "not read");
            assert_eq!(row["model"], plain["model"]);
            assert!(archive.join(row["thumbnail"].as_str().unwrap()).is_file(), "{row}");
            let near = |a: &Value, b: &Value| (a.as_f64().unwrap() - b.as_f64().unwrap()).abs() < 1e-6;
            assert!(
                near(&row["mean_logprob"], &scene["mean_logprob"]) && near(&row["score"], &scene["score"]),
                "{row}"
            );
        }
    }
    // The documented examples run.
    let example = |args: &[&std::ffi::OsStr]| {
        let out = Command::new(&python).args(args).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    };
    let script = |name: &str| root().join("examples/archive").join(name);
    let film = b.path("films/bikes.mp4").canonicalize().unwrap();
    let first = tables["rows"].as_array().unwrap().iter().find(|r| r["video"] == film.to_str().unwrap()).unwrap();
    let ms = first["keyframe_ms"].to_string();
    let found = example(&[script("duckdb_example.py").as_ref(), archive.as_ref(), film.as_ref(), ms.as_ref()]);
    let best: Vec<&str> = found.lines().next().unwrap().split('\t').collect();
    assert_eq!((best[0], best[1], best[3]), (film.to_str().unwrap(), ms.as_str(), "1.0"), "{found}");
    let counted = example(&[script("pandas_example.py").as_ref(), b.path("all.parquet").as_ref()]);
    assert!(counted.contains("bikes.mp4") && counted.contains("similarity"), "{counted}");
}

/// The width and height in the frame header.
fn jpeg_size(bytes: &[u8]) -> (u16, u16) {
    assert_eq!(&bytes[..2], [0xFF, 0xD8]);
    let at = bytes.windows(2).position(|w| w == [0xFF, 0xC0]).expect("a baseline JPEG");
    let number = |n: usize| u16::from_be_bytes([bytes[at + n], bytes[at + n + 1]]);
    (number(7), number(5))
}

#[test]
fn only_changed_videos_are_described_again() {
    let b = Bench::new();
    films(&b, 4);
    let described = |args: &[&str]| {
        let done = index(&b, &[&["films", "--into", "archive"], args].concat(), 0);
        let (new, same) = (done["progress"]["described"].as_u64().unwrap(), done["up_to_date"].as_u64().unwrap());
        assert_eq!(records(&b.path("archive")).len() as u64, new + same);
        (new, same)
    };
    assert_eq!(described(&[]), (4, 0));
    let first = tree(&b.path("archive"));
    assert_eq!(described(&[]), (0, 4));
    assert_eq!(described(&["--threads", "1", "--jobs", "3", "--batch", "2", "--memory", "2G"]), (0, 4));
    assert_eq!(tree(&b.path("archive")), first);
    // Another modification time with the same bytes.
    let film = std::fs::File::options().write(true).open(b.path("films/film-1.mp4")).unwrap();
    film.set_modified(std::time::SystemTime::now() + Duration::from_secs(5)).unwrap();
    assert_eq!(described(&[]), (1, 3));
    // Another size.
    let mut bytes = std::fs::read(b.path("films/film-0.mp4")).unwrap();
    bytes.extend([0, 0, 0, 8]);
    bytes.extend(b"free");
    b.write("films/film-0.mp4", &bytes);
    assert_eq!(described(&[]), (1, 3));
    // Another film, in another folder.
    std::fs::create_dir(b.path("films/new")).unwrap();
    std::fs::copy(b.path("films/film-3.mp4"), b.path("films/new/film-9.mp4")).unwrap();
    assert_eq!(described(&[]), (1, 4));
    // Each option that affects the content makes a new state, which replaces the previous one.
    assert_eq!(described(&["--max-gap", "1"]), (5, 0));
    assert_eq!(described(&["--max-gap", "1", "--thumbnail-width", "64"]), (5, 0));
    assert_eq!(described(&["--max-gap", "1", "--thumbnail-width", "64"]), (0, 5));
    // Another model.
    let tiny = root().join(crate::common::TINY);
    std::fs::create_dir(b.path("model")).unwrap();
    for file in std::fs::read_dir(tiny).unwrap() {
        let file = file.unwrap().path();
        std::fs::copy(&file, b.path("model").join(file.file_name().unwrap())).unwrap();
    }
    let manifest = b.read("model/model.json").replacen("1.0.0", "1.0.1", 1);
    b.write("model/model.json", manifest.as_bytes());
    let (_, err) = b.run(&["index", "films", "--into", "archive", "--log", "json", "--model", "model"], 0);
    assert_eq!(summary(&err)["progress"]["described"], 5);
    let folders = tree(&b.path("archive")).keys().filter(|n| n.ends_with("descriptions.vtt")).count();
    assert_eq!(folders, 5, "older states are removed");
}

#[test]
fn failures_are_recorded_and_do_not_stop_the_job() {
    let b = Bench::new();
    films(&b, 2);
    b.write("films/text.mp4", b"no video\n");
    b.write("films/empty.mkv", b"");
    b.write("films/notes.txt", b"not looked at\n");
    b.write("list.txt", b"films\nmissing.mp4\n");
    let done = index(&b, &["list.txt", "--into", "archive"], 1);
    assert_eq!((&done["progress"]["described"], &done["progress"]["failed"]), (&json!(2), &json!(3)));
    let kept = failures(&b.path("archive"));
    for (name, cause) in [("text.mp4", "not a video"), ("empty.mkv", "is empty"), ("missing.mp4", "no such file")] {
        let failure = &kept[name].1;
        assert!(failure["cause"].as_str().unwrap().contains(cause), "{failure}");
        assert_eq!(failure["attempts"], 1);
        assert!(!failure["remedy"].as_str().unwrap().is_empty());
    }
    // The next run reports them and does not try them again.
    let done = index(&b, &["list.txt", "--into", "archive"], 1);
    assert_eq!((&done["progress"]["failed"], &done["failed_before"]), (&json!(0), &json!(3)));
    let done = index(&b, &["list.txt", "--into", "archive", "--retry-failed"], 1);
    assert_eq!(done["progress"]["failed"], 3);
    assert_eq!(failures(&b.path("archive"))["text.mp4"].1["attempts"], 2);
    // A repaired video is described, and its failure is removed.
    std::fs::copy(b.path("films/film-0.mp4"), b.path("films/text.mp4")).unwrap();
    std::fs::copy(b.path("films/film-0.mp4"), b.path("missing.mp4")).unwrap();
    std::fs::remove_file(b.path("films/empty.mkv")).unwrap();
    let done = index(&b, &["list.txt", "--into", "archive"], 0);
    assert_eq!(done["progress"]["described"], 2);
    assert_eq!(failures(&b.path("archive")).keys().collect::<Vec<_>>(), ["empty.mkv"]);
    let (out, _) = b.run(&["archive", "list", "--failures", "archive"], 0);
    assert!(out.contains("empty.mkv\t2\tthe file is empty"), "{out}");
    // Videos that the sources no longer name are removed only on request.
    std::fs::remove_file(b.path("films/film-1.mp4")).unwrap();
    index(&b, &["list.txt", "--into", "archive"], 0);
    assert_eq!(records(&b.path("archive")).len(), 4);
    assert_eq!(index(&b, &["list.txt", "--into", "archive", "--prune"], 0)["pruned"], 2);
    assert_eq!(records(&b.path("archive")).len(), 3);
    assert!(failures(&b.path("archive")).is_empty());
    let (_, err) = b.run(&tiny(&["index", "no.txt", "--into", "archive", "--prune"]), 2);
    assert!(err.contains("Nothing was removed"), "{err}");
    assert_eq!(records(&b.path("archive")).len(), 3);
    let film = b.path("films/film-0.mp4").canonicalize().unwrap();
    b.run(&["archive", "forget", "archive", film.to_str().unwrap()], 0);
    b.run(&["archive", "forget", "archive", film.to_str().unwrap()], 1);
    assert_eq!(records(&b.path("archive")).len(), 2);
}

#[test]
fn shards_together_equal_one_job() {
    let b = Bench::new();
    films(&b, 7);
    index(&b, &["films", "--into", "whole"], 0);
    let (planned, _) = b.run(&tiny(&["index", "films", "--into", "parts", "--plan"]), 0);
    assert_eq!(planned.lines().count(), 7);
    assert!(!b.path("parts").exists());
    let mut described = 0;
    for n in 1..=3 {
        let done = index(&b, &["films", "--into", "parts", "--shard", &format!("{n}/3"), "--jobs", "2"], 0);
        described += done["progress"]["described"].as_u64().unwrap();
    }
    assert_eq!(described, 7);
    assert_same(&b.path("parts"), &b.path("whole"));
    let (planned, _) = b.run(&tiny(&["index", "films", "--into", "parts", "--plan"]), 0);
    assert_eq!(planned, "");
}

#[test]
fn two_processes_share_an_archive() {
    let b = Bench::new();
    films(&b, 9);
    index(&b, &["films", "--into", "one"], 0);
    let both = [start(&b, &["films", "--into", "two", "--jobs", "2"]), start(&b, &["films", "--into", "two"])];
    let (mut described, mut elsewhere, mut current) = (0, 0, 0);
    for child in both {
        let out = child.wait_with_output().unwrap();
        let err = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(0), "{err}");
        let done = summary(&err);
        described += done["progress"]["described"].as_u64().unwrap();
        elsewhere += done["progress"]["elsewhere"].as_u64().unwrap();
        current += done["up_to_date"].as_u64().unwrap();
    }
    // One process or the other describes each film, once.
    assert_eq!((described, elsewhere + current), (9, 9));
    assert_same(&b.path("two"), &b.path("one"));
}

#[test]
fn wrong_usage_is_reported_before_any_work() {
    let b = Bench::new();
    films(&b, 1);
    std::fs::create_dir(b.path("full")).unwrap();
    b.write("full/thing", b"");
    for (args, code, words) in [
        (&["films", "--into", "full"][..], 2, "thing"),
        (&["films", "--into", "no/such/archive"], 2, "mkdir -p"),
        (&["films", "--into", "archive", "--shard", "3/2"], 2, "i/n"),
        (&["films", "--into", "archive", "--memory", "10M"], 2, "--memory"),
        (&["films", "--into", "archive", "--memory", "lots"], 2, "800M"),
        (&["films", "--into", "https://host/archive"], 2, "no place for an archive"),
        (&["films", "--into", "archive", "--start", "9", "--end", "1"], 2, "--end is not after"),
        (&["rtsp://u:sesame-7@camera/1", "--into", "archive"], 1, "descry live"),
    ] {
        let (_, err) = b.run(&tiny(&[&["index"], args].concat()), code);
        assert!(err.contains(words) && !err.contains("sesame"), "{args:?}: {err}");
    }
    for command in ["list", "check"] {
        let (_, err) = b.run(&["archive", command, "nowhere"], 2);
        assert!(err.contains("there is no archive"), "{err}");
    }
}

/// A budget bounds the running threads and the memory for any number of films: films wait for each other.
#[cfg(target_os = "linux")]
#[test]
fn budgets_bound_threads_and_memory() {
    let b = Bench::new();
    std::fs::create_dir(b.path("films")).unwrap();
    b.ffmpeg("-f lavfi -i testsrc2=size=1920x1080:rate=25:duration=4 -c:v libx264 -preset ultrafast films/0.mp4");
    for n in 1..6 {
        std::fs::copy(b.path("films/0.mp4"), b.path(&format!("films/{n}.mp4"))).unwrap();
    }
    let stats = |into: &str, args: &[&str]| -> Value {
        let all = [&["index", "films", "--into", into, "--jobs", "6", "--stats", "--no-isolate"], args].concat();
        let (_, err) = b.run(&tiny(&all), 0);
        serde_json::from_str(err.lines().last().unwrap()).unwrap()
    };
    let started = std::time::Instant::now();
    let one = stats("one", &["--threads", "1"]);
    // With one thread, the stages' busy times cannot add up to more than the elapsed time.
    let busy: f64 =
        ["decode", "analyse", "scenes", "prepare", "encode", "caption"].iter().map(|n| one[n].as_f64().unwrap()).sum();
    assert!(busy <= started.elapsed().as_secs_f64() * 1.02, "{one}");
    let bound = stats("bound", &["--memory", "420M", "--decode-threads", "1"]);
    let free = stats("free", &["--decode-threads", "1"]);
    let peak = |s: &Value| s["peak_rss_mb"].as_f64().unwrap();
    assert!(peak(&bound) <= 420.0, "{bound}");
    assert!(peak(&free) > peak(&bound), "six films at once take more memory without a budget: {free}");
    assert_same(&b.path("bound"), &b.path("free"));
    assert_same(&b.path("one"), &b.path("free"));
    // A film that never fits is reported and recorded as a failure.
    let (_, err) = b.run(&tiny(&["index", "films/0.mp4", "--into", "small", "--memory", "180M"]), 1);
    assert!(err.contains("--memory leaves"), "{err}");
    assert!(failures(&b.path("small"))["0.mp4"].1["cause"].as_str().unwrap().contains("1920×1080"));
}

/// The most memory that descry and its decoders took together, in megabytes.
#[cfg(target_os = "linux")]
fn peak_of_all(b: &Bench, into: &str, args: &[&str]) -> f64 {
    let all = [&[into, "--jobs", "6", "--decode-threads", "1"], args].concat();
    let mut child = start(b, &[&["films", "--into"], all.as_slice()].concat());
    let mut peak = 0.0f64;
    while child.try_wait().unwrap().is_none() {
        let processes = [vec![child.id()], children(child.id())].concat();
        // Pages that several processes share count once.
        let share = |id: &u32| -> Option<f64> {
            let rollup = std::fs::read_to_string(format!("/proc/{id}/smaps_rollup")).ok()?;
            rollup.lines().find(|l| l.starts_with("Pss:"))?.split_whitespace().nth(1)?.parse().ok()
        };
        peak = peak.max(processes.iter().filter_map(share).sum::<f64>() / 1024.0);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(child.wait().unwrap().success());
    peak
}

/// `--memory` holds for descry and its decoders together.
#[cfg(target_os = "linux")]
#[test]
fn a_budget_bounds_the_memory_of_all_decoders() {
    let b = Bench::new();
    std::fs::create_dir(b.path("films")).unwrap();
    b.ffmpeg("-f lavfi -i testsrc2=size=1920x1080:rate=25:duration=4 -c:v libx264 -preset ultrafast films/0.mp4");
    for n in 1..6 {
        std::fs::copy(b.path("films/0.mp4"), b.path(&format!("films/{n}.mp4"))).unwrap();
    }
    let bound = peak_of_all(&b, "bound", &["--memory", "480M"]);
    let free = peak_of_all(&b, "free", &[]);
    assert!(bound <= 480.0, "{bound}");
    assert!(free > bound, "six decoders at once take more memory without a budget: {free}, {bound}");
    assert_same(&b.path("bound"), &b.path("free"));
}

/// The sizes of a film's frames may change at any frame, up and down. Its memory is reserved again, or it is refused.
#[cfg(target_os = "linux")]
#[test]
fn films_that_change_their_size_stay_within_the_budget() {
    let b = Bench::new();
    let films = b.path("films");
    std::fs::create_dir(&films).unwrap();
    let sizes = ["320x240", "1280x720", "160x120", "1920x1080", "640x360"];
    for size in sizes {
        b.ffmpeg(&format!(
            "-f lavfi -i testsrc2=size={size}:rate=25:duration=1 -c:v libx264 -preset ultrafast -g 25 {size}.h264"
        ));
    }
    let part = |size: &str| std::fs::read(b.path(&format!("{size}.h264"))).unwrap();
    b.write("all.h264", &sizes.map(part).concat());
    for n in 0..3 {
        b.ffmpeg(&format!("-framerate 25 -i all.h264 -c copy films/{n}.ts"));
    }
    let index = |into: &str, args: &[&str], code: i32| {
        let common = ["index", "films", "--into", into, "--decode-threads", "1", "--stats"];
        let place: &[&str] = if into.ends_with("away") { &[] } else { &["--no-isolate"] };
        b.run(&tiny(&[&common, place, args].concat()), code).1
    };
    let peak = |err: &str| -> f64 {
        serde_json::from_str::<Value>(err.lines().last().unwrap()).unwrap()["peak_rss_mb"].as_f64().unwrap()
    };
    // One at a time, the reservation grows on the way.
    let free = index("free", &["--jobs", "1"], 0);
    let bound = index("bound", &["--jobs", "1", "--memory", "420M"], 0);
    assert!(peak(&bound) <= 420.0, "{free}\n{bound}");
    assert_same(&b.path("bound"), &b.path("free"));
    // Refused as soon as it cannot fit, with both sizes.
    let small = index("small", &["--jobs", "1", "--memory", "230M"], 1);
    assert!(peak(&small) <= 230.0, "{small}");
    assert!(small.contains("1280×720") && small.contains("1920×10") && small.contains("--memory leaves"), "{small}");
    assert_eq!(failures(&b.path("small")).len(), 3);
    // The same from decoders in processes of their own, which ask before they allocate.
    index("bound-away", &["--jobs", "1", "--memory", "500M"], 0);
    assert_same(&b.path("bound-away"), &b.path("free"));
    let small = index("small-away", &["--jobs", "1", "--memory", "270M"], 1);
    assert!(small.contains("1280×720") && small.contains("1920×10") && small.contains("--memory leaves"), "{small}");
    assert_eq!(failures(&b.path("small-away")).len(), 3);
    // Three at once cannot all grow. Each is described as if it was alone, or refused; none waits for ever.
    let three = index("three", &["--jobs", "3", "--memory", "420M"], 1);
    assert!(peak(&three) <= 420.0, "{three}");
    let refused = failures(&b.path("three"));
    assert!(refused.values().all(|f| f.1["cause"].as_str().unwrap().contains("other films hold the rest")), "{three}");
    assert!((1..3).contains(&refused.len()), "{three}");
    index("three", &["--jobs", "1", "--memory", "420M", "--retry-failed"], 0);
    assert_same(&b.path("three"), &b.path("free"));
}
