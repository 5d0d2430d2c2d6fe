//! The real binary on real and synthesised video, with the built-in model: outputs, their parsers, exit codes.

mod common;

use std::process::Command;

use common::{Bench, root, sample};
use serde_json::Value;

#[test]
fn sample_is_described_and_every_parser_reads_it() {
    let b = Bench::new();
    b.run(&["describe", &sample("bikes.mp4"), "-o", "out/", "-f", "vtt,srt,json,csv"], 0);
    let vtt = b.read("out/bikes.vtt");
    assert!(vtt.starts_with("WEBVTT\n\nNOTE\n") && vtt.contains("-->"), "{vtt}");
    let parsers = root().join("tests/parsers");
    let w3c = Command::new("node")
        .arg(parsers.join("check_vtt.mjs"))
        .arg(b.path("out/bikes.vtt"))
        .output()
        .expect("node, see make setup-test");
    assert!(w3c.status.success(), "{}", String::from_utf8_lossy(&w3c.stderr));
    let py = Command::new(root().join("vendor/venv/bin/python"))
        .arg(parsers.join("check_vtt.py"))
        .args([b.path("out/bikes.vtt"), b.path("out/bikes.srt")])
        .output()
        .expect("webvtt-py, see make setup-test");
    assert!(py.status.success(), "{}", String::from_utf8_lossy(&py.stderr));
    let counts: Vec<usize> = serde_json::from_slice(&py.stdout).unwrap();
    let json: Value = serde_json::from_str(&b.read("out/bikes.json")).unwrap();
    let cues = json["cues"].as_array().unwrap().len();
    assert!(cues >= 3, "{json}");
    assert_eq!(counts, [cues, cues]);
    // Scenes tile the clip.
    let scenes = json["scenes"].as_array().unwrap();
    assert_eq!(scenes[0]["start"], 0.0);
    for pair in scenes.windows(2) {
        assert_eq!(pair[0]["end"], pair[1]["start"]);
    }
    assert_eq!(scenes.last().unwrap()["end"], 10.0);
    assert!(b.read("out/bikes.csv").starts_with("Scene Number,Start Frame,Start Timecode,Start Time (seconds),"));
}

#[test]
fn output_is_the_same_for_any_threads_and_batches() {
    let b = Bench::new();
    let clip = sample("bikes.mp4");
    let describe = |args: &[&str]| {
        let all = [&["describe", clip.as_str(), "-o", "-", "-f", "json"], args].concat();
        b.run(&all, 0).0
    };
    let want = describe(&[]);
    assert_eq!(describe(&["--batch", "1", "--model-threads", "1", "--decode-threads", "1"]), want);
    assert_eq!(describe(&["--batch", "3", "--model-threads", "2", "--decode-threads", "4"]), want);
    assert_eq!(describe(&["--batch", "64", "--model-threads", "3"]), want);
}

#[test]
fn several_inputs_go_side_by_side_and_a_bad_one_stops_none() {
    let b = Bench::new();
    b.write("broken.mp4", b"this is no video");
    let (_, err) = b.run(
        &["describe", "broken.mp4", &sample("bigbuckbunny.mp4"), &sample("bikes.mp4"), "-o", "out", "--jobs", "2"],
        1,
    );
    assert!(err.contains("broken.mp4"), "{err}");
    assert!(b.read("out/bigbuckbunny.vtt").contains("-->") && b.read("out/bikes.vtt").contains("-->"));
    assert!(!b.path("out/broken.vtt").exists());
    let single = b.run(&["describe", &sample("bikes.mp4"), "-o", "-"], 0).0;
    assert_eq!(b.read("out/bikes.vtt"), single);
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let b = Bench::new();
    let clip = sample("bigbuckbunny.mp4");
    for args in ["probe \"$1\" --json", "describe \"$1\" -o -", "caption \"$2\" --json", "model show", "--help"] {
        let out = Command::new("sh")
            .args(["-c", &format!("{{ \"$0\" {args}; echo \"code $?\" >&2; }} | true")])
            .args([env!("CARGO_BIN_EXE_descry"), &clip, &sample("bikes-00-04.jpg")])
            .current_dir(b.path(""))
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&out.stderr), "code 0\n", "{args}");
    }
}

#[test]
fn interrupted_work_is_written_and_exits_130() {
    let b = Bench::new();
    // The clip over and over: long enough to be in the middle of it.
    b.ffmpeg(&format!("-stream_loop 200 -i {} -c copy -an long.mp4", sample("bikes.mp4")));
    let child = Command::new(env!("CARGO_BIN_EXE_descry"))
        .args(["describe", "long.mp4", "-o", "long.vtt", "--no-dedup"])
        .current_dir(b.path(""))
        .spawn()
        .unwrap();
    std::thread::sleep(std::time::Duration::from_secs(4));
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let status = child.wait_with_output().unwrap().status;
    assert_eq!(status.code(), Some(130));
    let vtt = b.read("long.vtt");
    assert!(vtt.contains("interrupted") && vtt.contains("-->"), "{vtt}");
}

#[test]
fn blank_video_is_described_as_nothing() {
    let b = Bench::new();
    b.ffmpeg("-f lavfi -i color=black:size=320x180:rate=25:duration=3 -c:v libx264 black.mp4");
    let (out, _) = b.run(&["describe", "black.mp4", "-o", "-"], 0);
    assert!(!out.contains("-->"), "{out}");
}

#[test]
fn cuts_are_told_on_their_frame() {
    let b = Bench::new();
    b.ffmpeg(
        "-f lavfi -i testsrc2=size=320x180:rate=30000/1001:duration=3 -f lavfi -i mandelbrot=size=320x180:rate=30000/1001 \
         -filter_complex [1:v]trim=duration=3[m];[0:v][m]concat=n=2:v=1 -c:v libx264 cut.mkv",
    );
    let (out, _) = b.run(&["describe", "cut.mkv", "-o", "-", "-f", "json", "--no-dedup"], 0);
    let json: Value = serde_json::from_str(&out).unwrap();
    let scenes = json["scenes"].as_array().unwrap();
    let times = b.frame_times("cut.mkv");
    let cut = scenes.iter().find(|s| s["transition"] == "cut").expect("a cut");
    let frame = cut["start_frame"].as_u64().unwrap() as usize;
    assert_eq!((cut["start"].as_f64().unwrap() * 1e6).round() as i64, times[frame]);
    assert!((2.9..3.1).contains(&cut["start"].as_f64().unwrap()), "{cut}");
}

#[test]
fn pictures_are_captioned_and_texts_embedded() {
    let b = Bench::new();
    b.ffmpeg(&format!("-ss 1 -i {} -frames:v 1 a.jpg", sample("bikes.mp4")));
    b.ffmpeg(&format!("-ss 9 -i {} -frames:v 1 b.png", sample("bikes.mp4")));
    let (out, _) = b.run(&["caption", ".", "--json", "--embedding"], 0);
    let lines: Vec<Value> = out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    for line in &lines {
        assert!(!line["text"].as_str().unwrap().is_empty() && !line["ids"].as_array().unwrap().is_empty());
        let norm: f64 = line["embedding"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap().powi(2)).sum();
        assert!((norm - 1.0).abs() < 1e-3);
    }
    let (_, err) = b.run(&["caption", "a.jpg", "missing.jpg"], 1);
    assert!(err.contains("missing.jpg"));
    let (out, _) = b.run(&["model", "show"], 0);
    assert!(out.contains("image.onnx"), "{out}");
}
