//! The real binary on real and synthesised video, mostly with the built-in model: outputs, their parsers, exit codes.

use std::process::Command;

use crate::common::{Bench, root, sample, tiny};
use serde_json::{Value, json};

#[test]
fn every_parser_reads_the_outputs() {
    let b = Bench::new();
    b.run(&["describe", &sample("bikes.mp4"), "-o", "out/", "-f", "vtt,srt,json,csv"], 0);
    let vtt = b.read("out/bikes.vtt");
    assert!(vtt.starts_with("WEBVTT\n\nNOTE\n") && vtt.contains("-->"), "{vtt}");
    let parsers = root().join("tests/parsers");
    let w3c = Command::new("node")
        .arg(parsers.join("check_vtt.mjs"))
        .arg(b.path("out/bikes.vtt"))
        .output()
        .expect("node is missing: run make setup-test");
    assert!(w3c.status.success(), "{}", String::from_utf8_lossy(&w3c.stderr));
    let py = Command::new(root().join("vendor/venv/bin/python"))
        .arg(parsers.join("check_vtt.py"))
        .args([b.path("out/bikes.vtt"), b.path("out/bikes.srt")])
        .output()
        .expect("webvtt-py is missing: run make setup-test");
    assert!(py.status.success(), "{}", String::from_utf8_lossy(&py.stderr));
    let counts: Vec<usize> = serde_json::from_slice(&py.stdout).unwrap();
    let json: Value = serde_json::from_str(&b.read("out/bikes.json")).unwrap();
    let cues = json["cues"].as_array().unwrap().len();
    assert!(cues >= 3, "{json}");
    assert_eq!(counts, [cues, cues]);
    // Scenes cover the clip without gaps.
    let scenes = json["scenes"].as_array().unwrap();
    assert_eq!(scenes[0]["start"], 0.0);
    for pair in scenes.windows(2) {
        assert_eq!(pair[0]["end"], pair[1]["start"]);
    }
    assert_eq!(scenes.last().unwrap()["end"], 10.0);
    assert!(b.read("out/bikes.csv").starts_with("Scene Number,Start Frame,Start Timecode,Start Time (seconds),"));
}

#[test]
fn output_does_not_depend_on_threads_or_batches() {
    let b = Bench::new();
    let clip = sample("bikes.mp4");
    // Many keyframes, each with its own caption: batches fill, and beams of many pictures run at the same time.
    let often = ["--scenes", "fixed", "--interval", "0.5", "--no-dedup", "--beam", "3", "--max-tokens", "8", "--stats"];
    let describe = |args: &[&str]| {
        let all = [&["describe", clip.as_str(), "-o", "-", "-f", "json"], &often[..], args].concat();
        let (out, err) = b.run(&all, 0);
        let stats: Value = serde_json::from_str(err.lines().last().unwrap()).unwrap();
        (out, stats["captions"].as_u64().unwrap(), stats["caption_batches"].as_u64().unwrap())
    };
    let (want, captions, batches) = describe(&[]);
    assert!(captions >= 18, "{captions}");
    // By default, the pipeline waits long enough to make most captions in batches.
    assert!(batches * 2 <= captions, "{captions} captions in {batches} batches");
    let (one, captions, batches) = describe(&["--batch", "1", "--model-threads", "1", "--decode-threads", "1"]);
    assert_eq!((one.as_str(), batches), (want.as_str(), captions));
    for args in [
        &["--batch", "3", "--model-threads", "2", "--decode-threads", "4"][..],
        &["--batch", "64", "--model-threads", "3", "--decode-threads", "2"],
    ] {
        assert_eq!(describe(args).0, want, "{args:?}");
    }
    // Every format is the same for two films at once or one after the other.
    let formats = ["bikes.vtt", "bikes.srt", "bikes.csv", "bigbuckbunny.vtt", "bigbuckbunny.srt", "bigbuckbunny.csv"];
    let both = |folder: &str, args: &[&str]| {
        let other = sample("bigbuckbunny.mp4");
        let all = [&["describe", &clip, &other, "-o", folder, "-f", "vtt,srt,csv"], args].concat();
        b.run(&all, 0);
        formats.map(|f| b.read(&format!("{folder}/{f}")))
    };
    let want = both("one", &["--batch", "1", "--model-threads", "1"]);
    assert_eq!(both("two", &["--jobs", "2"]), want);
    assert_eq!(both("three", &["--jobs", "2", "--batch", "5", "--model-threads", "2"]), want);
}

/// The JSON records each option that affects the output, and no other.
#[test]
fn json_records_the_options() {
    let b = Bench::new();
    let clip = sample("bikes.mp4");
    let options = |args: &[&str]| -> Value {
        let (out, _) = b.run(&tiny(&[&["describe", &clip, "-o", "-", "-f", "json"], args].concat()), 0);
        serde_json::from_str::<Value>(&out).unwrap()["options"].clone()
    };
    let plain = options(&[]);
    assert_eq!(plain["scenes"], "adaptive");
    assert_eq!(plain["mode"], "all");
    assert_eq!(plain["min_scene"], 0.6);
    assert_eq!(plain["same"], 0.98, "the model's default");
    assert_eq!(plain["decoding"]["beam"], 5, "the model's default");
    assert!(plain["start"].is_null() && plain["max_duration"].is_null());
    assert_eq!(options(&["--batch", "2", "--model-threads", "1", "--decode-threads", "1", "--jobs", "2"]), plain);
    for (args, key, value) in [
        (&["--start", "1"][..], "/start", json!(1.0)),
        (&["--end", "0:08"], "/end", json!(8.0)),
        (&["--mode", "keyframes"], "/mode", json!("keyframes")),
        (&["--scenes", "content", "--threshold", "20"], "/threshold", json!(20.0)),
        (&["--scenes", "fixed", "--interval", "2"], "/interval", json!(2.0)),
        (&["--threshold", "4.5"], "/ratio", json!(4.5)),
        (&["--min-scene", "1"], "/min_scene", json!(1.0)),
        (&["--max-gap", "3"], "/max_gap", json!(3.0)),
        (&["--same", "0.9"], "/same", json!(0.9)),
        (&["--returning", "0.9"], "/returning", json!(0.9)),
        (&["--no-dedup"], "/same", json!(null)),
        (&["--max-line", "30"], "/max_line", json!(30)),
        (&["--max-lines", "3"], "/max_lines", json!(3)),
        (&["--reading-speed", "15"], "/reading_speed", json!(15.0)),
        (&["--min-duration", "2"], "/min_duration", json!(2.0)),
        (&["--max-duration", "7"], "/max_duration", json!(7.0)),
        (&["--keep-bars"], "/bars", json!("keep")),
        (&["--min-score", "0.3"], "/min_score", json!(0.3)),
        (&["--beam", "2"], "/decoding/beam", json!(2)),
        (&["--greedy"], "/decoding/strategy", json!("greedy")),
        (&["--sample", "7"], "/decoding/seed", json!(7)),
        (&["--max-tokens", "9"], "/decoding/max_tokens", json!(9)),
    ] {
        let recorded = options(args);
        assert_eq!(recorded.pointer(key), Some(&value), "{args:?}: {recorded}");
        assert_ne!(plain.pointer(key), Some(&value), "{args:?}");
    }
}

#[test]
fn messages_are_json_on_request() {
    let b = Bench::new();
    let clip = sample("bikes.mp4");
    b.write("text.mp4", b"no video\n");
    let whole = std::fs::read(sample("bigbuckbunny.mp4")).unwrap();
    b.write("cut.mp4", &whole[..whole.len() * 2 / 3]);
    let lines = |args: &[&str], code: i32| -> Vec<Value> {
        let (_, err) = b.run(args, code);
        err.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}"))).collect()
    };
    let all = ["describe", &clip, "text.mp4", "cut.mp4", "-o", "out", "--stats", "-vv", "--log", "json"];
    let messages = lines(&tiny(&all), 1);
    let level = |level: &str| messages.iter().filter(|l| l["level"] == level).collect::<Vec<_>>();
    assert!(messages.iter().all(|l| l["message"].is_string()), "{messages:?}");
    assert!(level("error")[0]["message"].as_str().unwrap().contains("text.mp4"), "{messages:?}");
    assert!(level("info").iter().any(|l| l["message"].as_str().unwrap().contains("bikes.vtt")), "{messages:?}");
    assert!(level("info").iter().any(|l| l["stats"]["frames"].as_u64() > Some(0)), "{messages:?}");
    for (args, code) in [
        (&["describe", "missing.mp4", "--log", "json"][..], 1),
        (&["describe", &clip, "--model", "missing", "--log=json", "-o", "-"], 2),
        (&["describe", &clip, "--start", "9", "--end", "1", "--log", "json"], 2),
        (&["describe", "--no-such-option", "--log", "json"], 2),
    ] {
        let messages = lines(args, code);
        assert_eq!(messages.len(), 1, "{args:?}: {messages:?}");
        assert_eq!(messages[0]["level"], "error", "{args:?}");
    }
}

#[test]
fn messages_appear_only_when_needed() {
    let b = Bench::new();
    let clip = sample("bikes.mp4");
    b.ffmpeg("-f lavfi -i testsrc2=size=320x180:rate=25:duration=6 -c:v libx264 -g 25 -movflags +faststart whole.mp4");
    let whole = std::fs::read(b.path("whole.mp4")).unwrap();
    b.write("part.mp4", &whole[..whole.len() * 2 / 3]);
    // Without a terminal there is no progress, and this run has nothing to report.
    let (out, err) = b.run(&tiny(&["describe", &clip, "-o", "film.vtt"]), 0);
    assert_eq!((out.as_str(), err.as_str()), ("", ""));
    let (_, err) = b.run(&tiny(&["describe", "part.mp4", "-o", "part.vtt"]), 1);
    assert!(err.contains("warning"), "{err}");
    let (_, err) = b.run(&tiny(&["describe", "part.mp4", "-o", "part.vtt", "--force", "--quiet", "-v"]), 1);
    assert_eq!(err, "", "--quiet hides the warning, but not the exit code");
    let (_, err) = b.run(&tiny(&["describe", "missing.mp4", "--quiet"]), 1);
    assert!(err.contains("missing.mp4"), "{err}");
    // On a terminal descry shows its progress.
    let run = |more: &str| {
        let command = format!(
            "'{}' {} --force{more}",
            env!("CARGO_BIN_EXE_descry"),
            tiny(&["describe", &clip, "-o", "film.vtt"]).join(" ")
        );
        let out = Command::new("script").args(["-qec", &command, "/dev/null"]).current_dir(b.path("")).output();
        let out = out.expect("script is missing (Debian: bsdutils)");
        assert!(out.status.success(), "{command}");
        String::from_utf8_lossy(&out.stdout).into_owned()
    };
    let shown = run("");
    assert!(shown.contains("bikes.mp4") && shown.contains('×') && shown.contains("cues"), "{shown:?}");
    assert_eq!(run(" --quiet").trim(), "");
}

#[test]
fn a_bad_input_does_not_stop_the_others() {
    let b = Bench::new();
    b.write("broken.mp4", b"this is no video");
    let (_, err) = b.run(
        &[
            "describe",
            "broken.mp4",
            &sample("bigbuckbunny.mp4"),
            &sample("bikes.mp4"),
            "-o",
            "out",
            "--jobs",
            "2",
            "--min-score",
            "0",
        ],
        1,
    );
    assert!(err.contains("broken.mp4"), "{err}");
    assert!(b.read("out/bigbuckbunny.vtt").contains("-->") && b.read("out/bikes.vtt").contains("-->"));
    assert!(!b.path("out/broken.vtt").exists());
    let single = b.run(&["describe", &sample("bikes.mp4"), "-o", "-", "--min-score", "0"], 0).0;
    assert_eq!(b.read("out/bikes.vtt"), single);
}

/// ONNX Runtime writes a telemetry database to the home folder, unless telemetry is turned off before it starts.
#[test]
fn nothing_is_written_outside_of_the_outputs() {
    let b = Bench::new();
    std::fs::create_dir(b.path("home")).unwrap();
    let out = Command::new(env!("CARGO_BIN_EXE_descry"))
        .args(tiny(&["describe", &sample("bikes.mp4"), "-o", "film.vtt"]))
        .current_dir(b.path(""))
        .env("HOME", b.path("home"))
        .env_remove("XDG_CACHE_HOME")
        .env_remove("ORT_DISABLE_TELEMETRY")
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let left: Vec<_> = std::fs::read_dir(b.path("home")).unwrap().map(|e| e.unwrap().path()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_closed_pipe_is_not_an_error() {
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
fn an_interrupted_run_saves_its_work_and_exits_130() {
    let b = Bench::new();
    // The clip repeats often enough that the interrupt comes in the middle.
    b.ffmpeg(&format!("-stream_loop 400 -i {} -c copy -an long.mp4", sample("bikes.mp4")));
    // How soon the first cue is there depends on the machine.
    let has_cue = [4, 8, 16, 32, 64].into_iter().any(|seconds| {
        let child = Command::new(env!("CARGO_BIN_EXE_descry"))
            .args(["describe", "long.mp4", "-o", "long.vtt", "--no-dedup", "--force"])
            .current_dir(b.path(""))
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_secs(seconds));
        assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
        let status = child.wait_with_output().unwrap().status;
        assert_eq!(status.code(), Some(130));
        // Interrupted before anything was described, a run has nothing to save.
        let vtt = std::fs::read_to_string(b.path("long.vtt")).unwrap_or_default();
        assert!(vtt.is_empty() || vtt.contains("interrupted"), "{vtt}");
        vtt.contains("-->")
    });
    assert!(has_cue, "no cue in a minute");
}

#[test]
fn a_blank_video_gets_no_cues() {
    let b = Bench::new();
    b.ffmpeg("-f lavfi -i color=black:size=320x180:rate=25:duration=3 -c:v libx264 black.mp4");
    let (out, _) = b.run(&["describe", "black.mp4", "-o", "-"], 0);
    assert!(!out.contains("-->"), "{out}");
}

#[test]
fn cuts_are_reported_at_their_exact_frame() {
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
fn pictures_are_captioned_and_embedded() {
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
    // `embed` returns the same embeddings as `caption`.
    let (alone, err) = b.run(&["embed", ".", "missing.jpg"], 1);
    let alone: Vec<Value> = alone.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert!(err.contains("missing.jpg"));
    assert_eq!(alone.len(), lines.len());
    for (alone, both) in alone.iter().zip(&lines) {
        assert_eq!((&alone["image"], &alone["embedding"]), (&both["image"], &both["embedding"]));
    }
    b.run(&["embed"], 2);
    b.run(&["embed", ".", "--text"], 2);
    let (_, err) = b.run(&["caption", "a.jpg", "missing.jpg"], 1);
    assert!(err.contains("missing.jpg"));
    let (out, _) = b.run(&["model", "show"], 0);
    assert!(out.contains("image.onnx"), "{out}");
}
