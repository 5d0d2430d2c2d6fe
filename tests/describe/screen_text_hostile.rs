//! Text on the screen that is meant to do harm: markup, control characters, pages of words, huge pictures.

use std::path::Path;
use std::process::Command;

use descry::interrupt::Interrupt;
use descry::ocr::{ScreenText, TextBox, TextKind};
use descry::time::Time;
use descry::track::output::{self, Target};
use descry::track::{CueBuilder, CueOptions, Description, Format, SceneRecord, Track};
use serde_json::{Value, json};

use super::bad_input::memory;
use crate::common::{Bench, letters, root, tiny};

/// What the parsers of other people read in a folder or a file.
fn parsed(program: &Path, script: &str, args: &[&str], path: &Path) -> Value {
    let out = Command::new(program).arg(root().join("tests/parsers").join(script)).args(args).arg(path).output();
    let out = out.expect("node, Python or a parser is missing: run make setup-test");
    assert!(out.status.success(), "{script}\n{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

/// A film of a scene in which this is written, and is said without its control characters, as descry says it.
fn film_of(written: &str) -> Track {
    let (start, end) = (Time::ZERO, Time::from_millis(60_000));
    let said = format!("a wall. On a sign: “{}”", written.replace(|c: char| c.is_control(), ""));
    let mut builder = CueBuilder::new(&CueOptions::default());
    let mut cues = builder.push(Description { start, end, text: Some(said.clone()) });
    cues.extend(builder.finish(end));
    let place = TextBox { x: 0.1, y: 0.2, width: 0.5, height: 0.1 };
    let line = ScreenText { text: written.into(), start, end, place, confidence: 0.9, kind: TextKind::Scene };
    let scene = SceneRecord {
        scene: 1,
        start,
        end,
        start_frame: 0,
        end_frame: 1_500,
        keyframe: start,
        transition: "cut",
        text: Some(said),
        shown: true,
        score: None,
        mean_logprob: None,
        similarity: None,
        repeats: None,
        blank: false,
        speech: None,
    };
    Track { text: Some(vec![line]), scenes: vec![scene], cues, ..Track::new("film.mp4", "test 1") }
}

/// The words of a text, without those characters that a format may replace or leave out.
fn words(text: &str) -> String {
    let kept = |c: char| !c.is_control() && !c.is_whitespace() && c != '\u{fffd}';
    text.replace("-->", "→").chars().filter(|&c| kept(c)).collect()
}

#[test]
fn what_is_written_never_becomes_markup_or_a_command() {
    let evil =
        "</p></q><script>alert(1)</script> <b>]]> --> 00:09.000 &lt;!ENTITY x \"y\"; =cmd|'/c'!A1, \u{7}\u{1b}[2J";
    let b = Bench::new();
    let track = film_of(evil);
    let (node, python) = (Path::new("node"), root().join("vendor/venv/bin/python"));
    for format in [Format::Vtt, Format::Srt, Format::Json, Format::Csv, Format::Dapt, Format::Html] {
        std::fs::create_dir_all(b.path(format.extension())).unwrap();
        let file = b.path(format.extension()).join(format!("film.{}", format.extension()));
        output::save(&track, &Target::File(file.clone(), format), false, &Interrupt::new()).unwrap();
        let bytes = std::fs::read_to_string(&file).unwrap();
        let acts = |c: char| c.is_control() && !matches!(c, '\n' | '\r');
        assert!(!bytes.chars().any(acts), "{}: {bytes:?}", format.extension());
    }
    let said = words(&format!("A wall. On a sign: “{evil}”."));
    let joined = |cues: &Value| -> String {
        cues.as_array().unwrap().iter().map(|cue| words(cue[2].as_str().unwrap())).collect()
    };
    let vtt = parsed(node, "check_vtt.mjs", &["--cues"], &b.path("vtt"));
    assert_eq!(joined(&vtt[0]), said);
    // SubRip cannot escape.
    let srt = parsed(&python, "check_vtt.py", &["--cues"], &b.path("srt"));
    assert_eq!(joined(&srt[0]), said.replace('<', "‹").replace('>', "›"));
    let csv = parsed(&python, "check_vtt.py", &["--cues"], &b.path("csv"));
    assert_eq!(words(csv[0][0]["Text on Screen"].as_str().unwrap()), words(evil));
    assert_eq!(csv[0].as_array().unwrap().len(), 1);
    let json: Value = serde_json::from_str(&b.read("json/film.json")).unwrap();
    assert_eq!(json["text"][0]["text"], evil);
    let dapt = parsed(&python, "check_dapt.py", &[], &b.path("ttml"));
    let events = dapt[0]["events"].as_array().unwrap().iter();
    assert_eq!(events.map(|event| words(event["text"].as_str().unwrap())).collect::<String>(), said);
    let page = parsed(&python, "check_transcript.py", &[], &b.path("html"));
    let entry = &page[0]["entries"][0];
    assert_eq!(words(entry["shown"][0].as_str().unwrap()), words(evil));
    assert_eq!(words(entry["text"].as_str().unwrap()), said);
}

/// 27 rows of 13 words are more than are read of a picture.
#[test]
fn a_page_of_words_is_read_in_part_and_quoted_in_part() {
    let b = Bench::new();
    let word = |n: usize| [n / 100, n / 10, n].map(|digit| char::from(b"ABEGIKNRSW"[digit % 10])).iter().collect();
    let row = |y: usize| (0..13).map(|x| word(13 * y + x)).collect::<Vec<String>>().join("     ");
    let rows: Vec<Vec<u8>> = (0..27).map(|y| letters::line(&row(y))).collect();
    let start = |pgm: &[u8]| pgm.iter().position(|&byte| byte == b'\n').unwrap() + 1;
    let width = (rows[0].len() - start(&rows[0])) / 13;
    let pixels: Vec<u8> = rows.iter().flat_map(|pgm| pgm[start(pgm)..].iter().copied()).collect();
    b.write("page.pgm", &[format!("P5 {width} {} 255\n", 13 * 27).as_bytes(), &pixels].concat());
    b.ffmpeg("-loop 1 -framerate 10 -t 4 -i page.pgm -vf scale=1280:720 -c:v libx264 -pix_fmt yuv420p page.mp4");
    b.run(&tiny(&["describe", "page.mp4", "--text", "-f", "json,csv,vtt", "-o", "out/"]), 0);
    let track: Value = serde_json::from_str(&b.read("out/page.json")).unwrap();
    let lines = track["text"].as_array().unwrap();
    assert!((20..=200).contains(&lines.len()), "{} lines", lines.len());
    let said: String = track["cues"].as_array().unwrap().iter().map(|cue| cue["text"].to_string()).collect();
    assert!(said.chars().count() < 500, "{said}");
    assert!(b.read("out/page.csv").lines().all(|line| line.len() < 20_000));
}

/// Frames of 256 million pixels are refused by default. Where they are allowed, only a few are in memory at a time.
#[test]
fn text_in_huge_frames_takes_bounded_memory() {
    let b = Bench::new();
    b.write("title.pgm", &letters::line("BREAKING NEWS"));
    b.ffmpeg(
        "-f lavfi -i color=gray:size=16000x16000:rate=2:duration=2 -loop 1 -t 2 -i title.pgm -filter_complex \
         [1:v]scale=13440:-2[t];[0:v][t]overlay=1280:6000 -t 2 -c:v mjpeg -q:v 5 -pix_fmt yuvj420p huge.avi",
    );
    let (_, err) = b.run(&["describe", "huge.avi", "--text", "-o", "-"], 1);
    assert!(err.contains("16000×16000") && err.contains("--max-pixels"), "{err}");
    let args = tiny(&["describe", "huge.avi", "--text", "--max-pixels", "256000000", "-f", "json", "-o", "out.json"]);
    let (peak, code) = memory(&b, &args);
    assert!(code == 0 && peak < 3_000_000, "exit code {code}, {peak} kB");
    let track: Value = serde_json::from_str(&b.read("out.json")).unwrap();
    assert_eq!(track["text"].as_array().unwrap().len(), 1, "{}", track["text"]);
    assert_eq!(track["text"][0]["kind"], json!("title"));
    // FFmpeg warns about the pixel format. With a process for the decoder, too, that is printed on request only.
    let args = [&args[..], &["--isolate", "--force"]].concat();
    let (_, err) = b.run(&args, 0);
    assert!(!err.contains("swscaler"), "{err}");
}
