//! Text that films show: read, described where it appears, and kept in the JSON.

use descry::media::{PictureOptions, open_picture};
use descry::model::SessionOptions;
use descry::ocr::{OcrOptions, TextModel};
use serde_json::Value;

use crate::common::{Bench, letters, root, sample, tiny};

fn described(b: &Bench, input: &str, args: &[&str]) -> Value {
    let all = [&["describe", input, "-o", "-", "-f", "json"], args].concat();
    serde_json::from_str(&b.run(&all, 0).0).unwrap()
}

/// Texts with their first and last second and their kind.
fn lines(track: &Value) -> Vec<(String, f64, f64, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_string();
    let line =
        |v: &Value| (text(&v["text"]), v["start"].as_f64().unwrap(), v["end"].as_f64().unwrap(), text(&v["kind"]));
    track["text"].as_array().unwrap().iter().map(line).collect()
}

fn cues(track: &Value) -> Vec<(f64, String)> {
    let cue = |v: &Value| (v["start"].as_f64().unwrap(), v["text"].as_str().unwrap().to_string());
    track["cues"].as_array().unwrap().iter().map(cue).collect()
}

/// The titles appear at 20.4 s and go with the picture at 23.0 s; the stylised name of the film comes after them.
#[test]
fn opening_titles_are_described_when_they_appear_and_what_cannot_be_read_is_not() {
    let b = Bench::new();
    let film = sample("bigbuckbunny-opening.webm");
    let track = described(&b, &film, &["--text"]);
    let lines = lines(&track);
    let (titles, name) = lines.split_at(2);
    let texts: Vec<&str> = titles.iter().map(|line| line.0.as_str()).collect();
    assert_eq!(texts, ["THE PEACH OPEN MOVIE PROJECT", "PRESENTS"], "{lines:?}");
    // The words are drawn, and rarely read; never as others.
    let words = name.iter().flat_map(|line| line.0.split(' '));
    assert!(words.into_iter().all(|word| ["BIG", "BUCK", "BUNNY"].contains(&word)), "{lines:?}");
    assert!(titles.iter().all(|line| line.3 == "title" && (line.2 - 22.95).abs() < 0.25), "{lines:?}");
    assert!((lines[0].1 - 20.4).abs() < 0.3 && (lines[1].1 - 21.0).abs() < 0.3, "{lines:?}");
    let said: Vec<(f64, String)> = cues(&track).into_iter().filter(|cue| cue.1.contains('“')).collect();
    assert!(said[0].0 > 18.0 && said[0].1 == "Text: “THE PEACH OPEN MOVIE PROJECT PRESENTS”.", "{said:?}");
    // Not asked for, not read.
    assert_eq!(described(&b, &film, &[])["text"], Value::Null);
}

#[test]
fn what_is_read_depends_on_neither_processes_nor_threads() {
    let b = Bench::new();
    let film = sample("bigbuckbunny-opening.webm");
    let args: [&[&str]; 3] = [&["--text"], &["--text", "--isolate"], &["--text", "--decode-threads", "1"]];
    let tracks: Vec<Value> = args.iter().map(|args| described(&b, &film, args)).collect();
    for track in &tracks {
        assert_eq!((&track["text"], &track["cues"]), (&tracks[0]["text"], &tracks[0]["cues"]));
    }
}

/// A ticker, a cut, and credits. Which frames are read does not depend on how far the reader is behind, and what is said of
/// them not on what is captioned together.
#[test]
fn what_moves_is_read_the_same_for_any_threads_and_batches() {
    let b = Bench::new();
    b.write("news.pgm", &letters::line("BREAKING NEWS  BRIAN BEARS WIN AGAIN IN WEISS AREA"));
    let names = ["ERIN BAKER", "IAN KING", "ANNA BERG", "KAREN WEBER", "WIN SENNA", "BEN GREEN"];
    for (n, name) in names.iter().enumerate() {
        b.write(&format!("name{n}.pgm"), &letters::line(&format!("{name:^12}")));
    }
    let inputs: String = (0..names.len()).map(|n| format!("-i name{n}.pgm ")).collect();
    let pads: String = (2..2 + names.len()).map(|n| format!("[{n}:v]")).collect();
    b.ffmpeg(&format!(
        "-f lavfi -i smptebars=size=640x360:rate=25:duration=6,noise=alls=12:allf=t:all_seed=1 -loop 1 -t 6 -i news.pgm \
         {inputs}-f lavfi -i color=navy:size=640x360:rate=25:duration=9 -filter_complex \
         [1:v]scale=-2:39[n];[0:v][n]overlay=640-110*t:310[a];{pads}vstack=inputs={count},scale=-2:{tall},loop=-1:1,\
         setpts=N/25/TB[c];[{color}:v][c]overlay=(W-w)/2:360-60*t:shortest=1[b];[a][b]concat \
         -t 15 -c:v libx264 -pix_fmt yuv420p moving.mp4",
        count = names.len(),
        color = names.len() + 2,
        tall = names.len() * 52,
    ));
    let often = ["--scenes", "fixed", "--interval", "0.5", "--no-dedup", "--min-score", "0"];
    let args: [&[&str]; 4] = [
        &["--decode-threads", "4", "--model-threads", "2"],
        &["--decode-threads", "1", "--model-threads", "1", "--batch", "1"],
        &["--batch", "64", "--decode-threads", "2"],
        &["--isolate", "--batch", "3"],
    ];
    let tracks: Vec<Value> =
        args.iter().map(|args| described(&b, "moving.mp4", &tiny(&[&["--text"], &often[..], args].concat()))).collect();
    let rolling: Vec<String> =
        lines(&tracks[0]).into_iter().filter(|line| line.3 == "rolling").map(|line| line.0).collect();
    assert!(rolling.len() >= 5 && rolling.iter().any(|text| text.contains("NEWS")), "{rolling:?}");
    for track in &tracks {
        assert_eq!((&track["text"], &track["cues"]), (&tracks[0]["text"], &tracks[0]["cues"]));
    }
}

#[test]
fn a_film_that_is_turned_is_read_as_it_is_shown() {
    let b = Bench::new();
    let film = sample("bigbuckbunny-opening.webm");
    b.ffmpeg(&format!("-ss 19 -t 5 -i {film} -an -vf transpose=1 -c:v libx264 -crf 18 stored.mp4"));
    b.ffmpeg("-i stored.mp4 -c copy -metadata:s:v rotate=90 turned.mp4");
    let lines = lines(&described(&b, "turned.mp4", &["--text"]));
    assert!(lines.iter().any(|line| line.0 == "THE PEACH OPEN MOVIE PROJECT"), "{lines:?}");
}

#[test]
fn films_without_text_have_none() {
    let b = Bench::new();
    for film in ["bikes.mp4", "signing.mkv", "bigbuckbunny.mp4"] {
        assert_eq!(described(&b, &sample(film), &["--text"])["text"], Value::Array(Vec::new()), "{film}");
    }
}

#[test]
fn a_text_model_that_is_missing_is_named() {
    let b = Bench::new();
    std::fs::create_dir(b.path("empty")).unwrap();
    let out = std::process::Command::new(env!("CARGO_BIN_EXE_descry"))
        .args(["describe", &sample("bikes.mp4"), "--text", "-o", "-"])
        .env("DESCRY_TEXT_MODEL", b.path("empty"))
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(2), "{message}");
    assert!(message.contains("detector.onnx") && message.contains("descry doctor"), "{message}");
}

#[test]
fn model_show_names_the_text_model_with_its_licence_and_files() {
    let b = Bench::new();
    let show = |args: &[&str], folder: Option<&str>| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_descry"));
        command.args([&["model", "show"], args].concat()).current_dir(b.path("."));
        folder.map(|folder| command.env("DESCRY_TEXT_MODEL", b.path(folder)));
        let out = command.output().unwrap();
        (out.status.code(), String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned())
    };
    let folder = root().join("vendor/text-model");
    let (code, alone) = show(&["--text"], None);
    assert_eq!(code, Some(0), "{alone}");
    for shown in ["PP-OCRv6 small", "Apache-2.0", "all as published", "recognizer.onnx", folder.to_str().unwrap()] {
        assert!(alone.contains(shown), "{shown} is not in {alone}");
    }
    let (_, all) = show(&[], None);
    assert!(all.contains("descry-builtin") && all.ends_with(&alone), "{all}");
    // Another model is not taken for the published one, and a broken one is named.
    std::fs::create_dir(b.path("other")).unwrap();
    std::fs::write(b.path("other/detector.onnx"), "x").unwrap();
    let (code, message) = show(&[], Some("other"));
    assert!(code == Some(2) && message.contains("recognizer.onnx") && message.contains("descry doctor"), "{message}");
    std::fs::copy(folder.join("recognizer.onnx"), b.path("other/recognizer.onnx")).unwrap();
    let (code, other) = show(&["--text"], Some("other"));
    assert!(code == Some(0) && !other.contains("Apache-2.0") && !other.contains("as published"), "{other}");
    assert_eq!(show(&["--text", "models/mine"], None).0, Some(2));
}

#[test]
fn parts_of_a_film_are_not_read() {
    let b = Bench::new();
    let (_, message) = b.run(&["part", &sample("bikes.mp4"), "--text", "--part", "1/2", "-o", "part_1"], 2);
    assert!(message.contains("--text"), "{message}");
}

/// Four scenes of six seconds, or fewer, with a logo and a clock over all of them, and a title in the second.
fn film_with_logo(b: &Bench, name: &str, scenes: usize) {
    let (bikes, cartoon, signing) = (sample("bikes.mp4"), sample("bigbuckbunny.mp4"), sample("signing.mkv"));
    let inputs =
        format!("-ss 1 -t 6 -i {bikes} -t 6 -i {cartoon} -t 6 -i {signing} -ss 2 -t 6 -i {bikes} -filter_complex ");
    let scale = |n: usize| format!("[{n}:v]{}scale=640:360,setsar=1,fps=25[s{n}];", ["", "hflip,"][n / 3]);
    let all: String = (0..scenes).map(scale).collect();
    b.write("logo.txt", b"KANAL 5");
    let text = |text: &str, place: &str| format!(",drawtext={text}:{place}:fontcolor=white:box=1:boxcolor=black");
    let clock = r"text=%{pts\\:gmtime\\:36000\\:%H\\\\\\:%M\\\\\\:%S}";
    let texts = [
        text("textfile=logo.txt", "x=30:y=20:fontsize=28"),
        text("text=Welcome", r"x=200:y=160:fontsize=44:enable=between(t\,8\,10.5)"),
        text(clock, "x=500:y=20:fontsize=28"),
    ];
    let joined: String = (0..scenes).map(|n| format!("[s{n}]")).collect();
    b.ffmpeg(&format!("{inputs}{all}{joined}concat=n={scenes}{} -an -c:v libx264 -crf 20 {name}", texts.concat()));
}

#[test]
fn logos_are_described_once_or_never() {
    let b = Bench::new();
    film_with_logo(&b, "long.mp4", 4);
    // Too short for three scenes: it is there for all of the film.
    film_with_logo(&b, "short.mp4", 2);
    for film in ["long.mp4", "short.mp4"] {
        let count = |args: &[&str]| {
            let track = described(&b, film, &tiny(&[&["--text"], args].concat()));
            let lines = lines(&track);
            let logo: Vec<_> = lines.iter().filter(|line| line.0 == "KANAL 5").collect();
            assert!(!logo.is_empty() && logo.iter().all(|line| line.3 == "static"), "{lines:?}");
            let quoted = |what: &str| cues(&track).iter().filter(|cue| cue.1.contains(what)).count();
            (quoted("KANAL 5"), quoted("Welcome"), quoted("10:00"))
        };
        let (logo, title, clock) = count(&[]);
        assert!((logo, title) == (1, 1) && clock <= 1, "{film}");
        assert_eq!(count(&["--text-static", "once"]), (logo, title, clock));
        assert_eq!(count(&["--text-static", "never"]), (0, 1, 0));
    }
    let (_, message) = b.run(&["describe", "long.mp4", "--text-static", "never", "-o", "-"], 2);
    assert!(message.contains("--text"), "{message}");
}

/// `benches/text_parity.py --seed 3 --count 5 --goldens tests/goldens/text` made the pictures and what rapidocr reads of them:
/// upright and turned, clean and spoilt.
#[test]
fn pictures_are_read_as_by_rapidocr() {
    let folder = root().join("tests/goldens/text");
    let goldens: Value = serde_json::from_slice(&std::fs::read(folder.join("lines.json")).unwrap()).unwrap();
    let all = goldens["lines"].as_array().unwrap();
    let session = SessionOptions { threads: 1, ..SessionOptions::default() };
    let mut reader = TextModel::load().and_then(|model| model.reader(&session, OcrOptions::default())).unwrap();
    for n in 0..5 {
        let name = format!("000{n}.png");
        let picture = open_picture(&folder.join(&name), &PictureOptions::default()).unwrap();
        let mut wanted: Vec<&Value> = all.iter().filter(|line| line["picture"] == name.as_str()).collect();
        let read = reader.read(&picture).unwrap();
        assert!(wanted.len() >= 4 && read.len() == wanted.len(), "{name}: {read:?}");
        for line in read {
            let off = |other: &Value| {
                let corners = line.corners.iter().zip(other["corners"].as_array().unwrap());
                corners.fold(0.0f64, |off, (own, theirs)| {
                    let far = |own: f64, axis: usize| (own - theirs[axis].as_f64().unwrap()).abs();
                    off.max(far(own.x, 0)).max(far(own.y, 1))
                })
            };
            let same = |other: &&Value| other["text"] == line.text.as_str() && off(other) <= 2.0;
            let at = wanted.iter().position(same).unwrap_or_else(|| panic!("{name}: {line:?} is not among {wanted:?}"));
            let score = wanted.remove(at)["score"].as_f64().unwrap();
            assert!((f64::from(line.score) - score).abs() < 0.02, "{name}: {line:?}, not {score}");
        }
    }
}
