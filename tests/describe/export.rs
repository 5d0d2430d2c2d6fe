//! Third-party parsers read every format of many tracks: W3C's own, webvtt-py and Python's csv. Each starts once for a
//! folder of files. One test writes to a folder without permission.

use std::path::Path;
use std::process::Command;

use crate::common::{Bench, not_tried, root, sample};
use descry::interrupt::Interrupt;
use descry::ocr::{ScreenText, TextBox, TextKind};
use descry::time::Time;
use descry::track::output::{self, Target};
use descry::track::{Cue, CueBuilder, CueOptions, Description};
use descry::track::{Format, SceneRecord, Track};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

const TRACKS: usize = 150;

/// Texts as models write them, and hostile ones.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "(a|two) (red|big|small) (dogs?|cars?|men) (running|standing|sitting) (in|on|by) the (road|beach|city)( and a long grey wall){0,4}",
        1 => "\\PC{0,200}",
        1 => "(-->|\n\n|\r|\\\\N|&amp;|&|&lt;|<b>|</i>|<00:01.000>|\\{an8\\}|WEBVTT|NOTE|STYLE|\u{0}|e\u{301}|\u{200d}|\u{2028}|\u{85}|=1\\+1|\"|,|1|:| ){1,20}",
        1 => Just(String::new()),
    ]
}

fn stretches() -> impl Strategy<Value = Vec<Description>> {
    prop::collection::vec((0i64..2_000_000, 1i64..9_000_000, text()), 0..25).prop_map(|parts| {
        let mut at = 0;
        parts
            .into_iter()
            .map(|(gap, length, text)| {
                let start = at + if gap > 1_500_000 { gap } else { 0 };
                at = start + length;
                let text = (!text.is_empty()).then_some(text);
                Description { start: Time::from_micros(start), end: Time::from_micros(at), text }
            })
            .collect()
    })
}

fn record(i: usize, d: &Description) -> SceneRecord {
    SceneRecord {
        scene: i as u32 + 1,
        start: d.start,
        end: d.end,
        start_frame: i as u64 * 50,
        end_frame: i as u64 * 50 + 50,
        keyframe: d.start,
        transition: "cut",
        text: d.text.clone(),
        shown: i % 5 != 4,
        score: (!i.is_multiple_of(3)).then_some(0.5),
        mean_logprob: Some(-0.7),
        similarity: None,
        repeats: None,
        blank: d.text.is_none(),
        speech: i.is_multiple_of(2).then_some(0.25),
    }
}

fn track(input: String, model: String, stretches: &[Description], options: &CueOptions) -> Track {
    let mut builder = CueBuilder::new(options);
    let mut cues: Vec<Cue> = stretches.iter().flat_map(|d| builder.push(d.clone())).collect();
    cues.extend(builder.finish(stretches.last().map_or(Time::ZERO, |d| d.end)));
    let scenes = stretches.iter().enumerate().map(|(i, d)| record(i, d)).collect();
    let damage = Some("cut off\n\nat --> half".into());
    Track { damage, interrupted: true, options: json!({}), cues, scenes, ..Track::new(input, model) }
}

fn tracks() -> Vec<Track> {
    let mut runner = TestRunner::deterministic();
    let options = (1usize..4, 4usize..60).prop_map(|(max_lines, max_line)| CueOptions {
        max_lines,
        max_line,
        ..CueOptions::default()
    });
    let any = (text(), text(), stretches(), options);
    (0..TRACKS)
        .map(|i| {
            let (input, model, stretches, options) = any.new_tree(&mut runner).unwrap().current();
            let options = if i.is_multiple_of(2) { CueOptions::default() } else { options };
            track(input, model, &stretches, &options)
        })
        .collect()
}

fn write(track: &Track, folder: &Path, name: &str) {
    for format in [Format::Vtt, Format::Srt, Format::Json, Format::Csv, Format::Dapt] {
        let file = Target::File(folder.join(format!("{name}.{}", format.extension())), format);
        output::save(track, &file, false, &Interrupt::new()).unwrap();
    }
}

fn node(args: &[&Path]) -> Value {
    parse(Command::new("node").arg(root().join("tests/parsers/check_vtt.mjs")).arg("--cues").args(args))
}

fn python(args: &[&Path]) -> Value {
    let python = root().join("vendor/venv/bin/python");
    parse(Command::new(python).arg(root().join("tests/parsers/check_vtt.py")).arg("--cues").args(args))
}

/// DAPT scripts as Python's XML parser reads them.
fn scripts(folder: &Path) -> Value {
    let python = root().join("vendor/venv/bin/python");
    parse(Command::new(python).arg(root().join("tests/parsers/check_dapt.py")).arg(folder))
}

fn parse(command: &mut Command) -> Value {
    let out = command.output().expect("node, Python or a parser is missing: run make setup-test");
    assert!(out.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

#[test]
fn third_party_parsers_read_every_track() {
    let b = Bench::new();
    let tracks = tracks();
    assert!(tracks.iter().map(|t| t.cues.len()).sum::<usize>() > 500, "the tracks hold too few cues");
    for (i, t) in tracks.iter().enumerate() {
        write(t, &b.path(""), &format!("{i:04}"));
    }
    let w3c = node(&[&b.path("")]);
    // Sorted by name: 0000.csv, 0000.srt, 0000.vtt, 0001.csv …
    let py = python(&[&b.path("")]);
    assert_eq!(w3c.as_array().unwrap().len(), TRACKS);
    assert_eq!(py.as_array().unwrap().len(), 3 * TRACKS);
    for (i, t) in tracks.iter().enumerate() {
        let json: Value = serde_json::from_str(&b.read(&format!("{i:04}.json"))).unwrap();
        let (csv, srt, vtt) = (&py[3 * i], &py[3 * i + 1], &py[3 * i + 2]);
        for read in [&w3c[i], srt, vtt, &json["cues"]] {
            assert_eq!(read.as_array().unwrap().len(), t.cues.len(), "track {i}");
        }
        for (n, cue) in t.cues.iter().enumerate() {
            let text = cue.lines.join("\n");
            let stamp = |t: Time| t.to_string();
            let millis = |v: &Value| (v.as_f64().unwrap() * 1e3).round() as i64;
            assert_eq!((millis(&w3c[i][n][0]), millis(&w3c[i][n][1])), (cue.start.millis(), cue.end.millis()));
            assert_eq!(w3c[i][n][2], text);
            assert_eq!(vtt[n], json!([stamp(cue.start), stamp(cue.end), text]));
            let plain = text.replace('<', "‹").replace('>', "›").replace('{', "(").replace('}', ")");
            assert_eq!(srt[n], json!([stamp(cue.start), stamp(cue.end), plain]));
            assert_eq!(json["cues"][n]["lines"], json!(cue.lines));
        }
        let rows = csv.as_array().unwrap();
        assert_eq!(rows.len(), t.scenes.len());
        for (row, scene) in rows.iter().zip(&t.scenes) {
            let shown = scene.text.as_deref().filter(|_| scene.shown).unwrap_or("");
            let safe = if shown.starts_with(['=', '+', '-', '@']) { format!("'{shown}") } else { shown.to_string() };
            assert_eq!(row["Text"], safe);
            assert_eq!(row["Start Timecode"], scene.start.to_string());
            assert_eq!(row["Start Frame"], (scene.start_frame + 1).to_string());
            assert_eq!(row["End Frame"], scene.end_frame.to_string());
            assert_eq!(row["Length (frames)"], "50");
        }
    }
}

/// A track need not come from a [`CueBuilder`]: the writers follow the formats' rules themselves.
#[test]
fn any_cues_become_valid_files() {
    let b = Bench::new();
    let mut runner = TestRunner::deterministic();
    let cues = prop::collection::vec(
        (0i64..3_000, prop::collection::vec("\\PC{0,20}|\n{1,3}|(-->|[a<&\n]){0,9}", 0..4)),
        0..9,
    );
    let mut tracks = Vec::new();
    for i in 0..TRACKS {
        let mut t = track("film.mp4".into(), "test 1".into(), &[], &CueOptions::default());
        let mut at = -2_000;
        for (length, lines) in cues.new_tree(&mut runner).unwrap().current() {
            let (start, end) = (Time::from_micros(at), Time::from_micros(at + length));
            t.cues.push(Cue { start, end, lines });
            at += length;
        }
        write(&t, &b.path(""), &format!("{i:04}"));
        tracks.push(t);
    }
    let (w3c, py) = (node(&[&b.path("")]), python(&[&b.path("")]));
    let (mut read, mut left_out) = (0, 0);
    for (i, t) in tracks.iter().enumerate() {
        let want: Vec<Value> = t.cues.iter().filter_map(readable).collect();
        let count = |v: &Value| v.as_array().unwrap().len();
        assert_eq!((count(&w3c[i]), count(&py[3 * i + 1])), (want.len(), want.len()), "track {i}: {:?}", t.cues);
        assert_eq!(count(&py[3 * i + 2]), want.len(), "track {i}: {:?}", t.cues);
        for (cue, want) in w3c[i].as_array().unwrap().iter().zip(&want) {
            let millis = |v: &Value| (v.as_f64().unwrap() * 1e3).round() as i64;
            assert_eq!(json!([millis(&cue[0]), millis(&cue[1]), words(cue[2].as_str().unwrap())]), *want, "track {i}");
        }
        read += want.len();
        left_out += t.cues.len() - want.len();
    }
    assert!(read > 200 && left_out > 50, "{read} cues are read and {left_out} left out");
    let scripts = scripts(&b.path(""));
    for (i, t) in tracks.iter().enumerate() {
        let want: Vec<Value> = t.cues.iter().filter_map(readable).collect();
        let events = scripts[i]["events"].as_array().unwrap().iter();
        let got: Vec<Value> = events
            .map(|e| json!([millis(&e["begin"]), millis(&e["end"]), words(e["text"].as_str().unwrap())]))
            .collect();
        assert_eq!(got, want, "track {i}");
    }
}

/// Whole milliseconds of `HH:MM:SS.mmm`.
fn millis(stamp: &Value) -> i64 {
    let digits: Vec<i64> = stamp.as_str().unwrap().split([':', '.']).map(|part| part.parse().unwrap()).collect();
    let [h, m, s, ms] = digits[..] else { panic!("{stamp}") };
    ((h * 60 + m) * 60 + s) * 1_000 + ms
}

/// What a player must make of a cue: start and end in milliseconds and its words, or nothing of one that shows nothing.
fn readable(cue: &Cue) -> Option<Value> {
    let millis = |micros: i64| (micros + 500).div_euclid(1_000);
    let text = cue.lines.join(" ").replace("-->", "→");
    let (start, end, words) = (millis(cue.start.micros().max(0)), millis(cue.end.micros()), words(&text));
    (end > start && !words.is_empty()).then(|| json!([start, end, words]))
}

fn words(text: &str) -> Vec<String> {
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    plain.split_whitespace().map(String::from).collect()
}

/// The first columns are those of PySceneDetect's `write_scene_list`. The columns of descry follow.
#[test]
fn csv_extends_that_of_pyscenedetect() {
    let b = Bench::new();
    let golden = std::fs::read_to_string(root().join("tests/goldens/scene_list.csv")).unwrap();
    let cuts = [0u64, 50, 150, 175, 90_000];
    let at = |frame: u64| Time::from_millis(frame as i64 * 40);
    let mut t = track("film.mp4".into(), "m".into(), &[], &CueOptions::default());
    for (i, w) in cuts.windows(2).enumerate() {
        let d = Description { start: at(w[0]), end: at(w[1]), text: Some("a dog".into()) };
        t.scenes.push(SceneRecord { start_frame: w[0], end_frame: w[1], ..record(i, &d) });
    }
    write(&t, &b.path(""), "film");
    let own = b.read("film.csv");
    let (own, golden): (Vec<&str>, Vec<&str>) = (own.lines().collect(), golden.lines().collect());
    assert_eq!(own.len(), golden.len());
    for (own, golden) in own.iter().zip(&golden) {
        assert!(own.starts_with(&format!("{golden},")), "{own}\n{golden}");
    }
    assert_eq!(own[0], format!("{},Text,Score,Transition,Blank,Text on Screen", golden[0]));
}

/// Keyframes of one long shot share a row, and captions that were not shown are absent.
#[test]
fn csv_has_one_row_per_scene() {
    let b = Bench::new();
    let ms = Time::from_millis;
    let d = |start, end, text: &str| Description { start: ms(start), end: ms(end), text: Some(text.into()) };
    let mut t = track(
        "film.mp4".into(),
        "m".into(),
        &[d(0, 2_000, "a dog, \"big\""), d(2_000, 4_000, "a cat")],
        &CueOptions::default(),
    );
    // A second keyframe of the second scene.
    t.scenes.push(SceneRecord { scene: 2, start: ms(4_000), end: ms(6_000), end_frame: 150, ..t.scenes[1].clone() });
    // A caption that was not shown.
    t.scenes.push(SceneRecord {
        scene: 3,
        start: ms(6_000),
        end: ms(7_001),
        start_frame: 150,
        end_frame: 175,
        shown: false,
        ..t.scenes[0].clone()
    });
    write(&t, &b.path(""), "film");
    assert_eq!(
        b.read("film.csv"),
        "Scene Number,Start Frame,Start Timecode,Start Time (seconds),End Frame,End Timecode,End Time (seconds),\
         Length (frames),Length (timecode),Length (seconds),Text,Score,Transition,Blank,Text on Screen\n\
         1,1,00:00:00.000,0.000,50,00:00:02.000,2.000,50,00:00:02.000,2.000,\"a dog, \"\"big\"\"\",,cut,false,\n\
         2,51,00:00:02.000,2.000,150,00:00:06.000,6.000,100,00:00:04.000,4.000,a cat,0.500,cut,false,\n\
         3,151,00:00:06.000,6.000,175,00:00:07.001,7.001,25,00:00:01.001,1.001,,,cut,false,\n"
    );
}

#[test]
fn webvtt_names_its_source_and_model() {
    let b = Bench::new();
    let d = Description { start: Time::ZERO, end: Time::from_millis(2_000), text: Some("cats & <dogs>".into()) };
    let mut t = track("/home/me/film.mp4".into(), "builtin 1".into(), &[d], &CueOptions::default());
    (t.damage, t.interrupted) = (None, false);
    write(&t, &b.path(""), "film");
    assert_eq!(
        b.read("film.vtt"),
        format!(
            "WEBVTT\n\nNOTE\nDescriptions of film.mp4\nmade by descry {} with the model builtin 1\nkind: descriptions\n\n\
             00:00:00.000 --> 00:00:02.000\nCats &amp; &lt;dogs&gt;.\n",
            env!("CARGO_PKG_VERSION")
        )
    );
    assert_eq!(b.read("film.srt"), "1\n00:00:00,000 --> 00:00:02,000\nCats & ‹dogs›.\n");
}

/// What w3c/dapt's schema and its spec ask of a script, of a script as Python's XML parser reads it.
#[test]
fn dapt_is_a_pre_recording_script_of_what_is_seen() {
    let b = Bench::new();
    let ms = Time::from_millis;
    let d = |start, end, text: &str| Description { start: ms(start), end: ms(end), text: Some(text.into()) };
    let mut t = track(
        "/home/me/a <b> & \"c\".mp4".into(),
        "builtin 1".into(),
        &[d(0, 2_000, "cats & <dogs> ]]>"), d(3_601_000, 3_605_500, "a \u{1}dog\u{fffe}\u{7}")],
        &CueOptions::default(),
    );
    t.language = "pt-br".into();
    write(&t, &b.path(""), "film");
    let tt = "{http://www.w3.org/ns/ttml}";
    let daptm = "{http://www.w3.org/ns/ttml/profile/dapt#metadata}";
    let xml = "{http://www.w3.org/XML/1998/namespace}";
    let script = &scripts(&b.path(""))[0];
    assert_eq!(script["root"], format!("{tt}tt"));
    assert_eq!(
        script["attributes"],
        json!({
            "{http://www.w3.org/ns/ttml#parameter}contentProfiles": "http://www.w3.org/ns/ttml/profile/dapt1.0/content",
            format!("{xml}lang"): "pt-br",
            format!("{daptm}langSrc"): "zxx",
            format!("{daptm}scriptRepresents"): "visual.nonText",
            format!("{daptm}scriptType"): "preRecording",
        })
    );
    assert_eq!(script["title"], "Descriptions of a <b> & \"c\".mp4");
    assert_eq!(script["source"], "a <b> & \"c\".mp4");
    assert_eq!(
        script["about"],
        json!([
            format!("made by descry {} with the model builtin 1", env!("CARGO_PKG_VERSION")),
            "incomplete: cut off  at → half",
            "incomplete: interrupted"
        ])
    );
    let event = |id: &str, begin: &str, end: &str, text: &str| {
        let attributes = json!({ format!("{xml}id"): id, "begin": begin, "end": end,
            format!("{daptm}represents"): "visual.nonText" });
        json!({ "begin": begin, "end": end, "text": text, "attributes": attributes })
    };
    assert_eq!(
        script["events"],
        json!([
            event("d1", "00:00:00.000", "00:00:02.000", "Cats & <dogs> ]]>."),
            event("d2", "01:00:01.000", "01:00:05.500", "A dog\u{fffd}."),
        ])
    );
    // A film without a description is a script without events.
    let empty = track("film.mp4".into(), "m".into(), &[], &CueOptions::default());
    write(&empty, &b.path(""), "none");
    assert_eq!(scripts(&b.path(""))[1]["events"], json!([]));
}

/// An event represents one thing; a part of it may represent another.
#[test]
fn dapt_tells_what_is_written_from_what_is_seen() {
    let b = Bench::new();
    let ms = Time::from_millis;
    let d = |start, end, text: &str| Description { start: ms(start), end: ms(end), text: Some(text.into()) };
    let stretches =
        [d(0, 4_000, "a car. On a sign: “<Rue> Haute”"), d(4_000, 8_000, "Text: “The End”"), d(8_000, 9_000, "a dog")];
    let mut t = track("film.mp4".into(), "m".into(), &stretches, &CueOptions::default());
    write(&t, &b.path(""), "0");
    t.text = Some(Vec::new());
    write(&t, &b.path(""), "1");
    let (daptm, scripts) = ("{http://www.w3.org/ns/ttml/profile/dapt#metadata}", scripts(&b.path("")));
    let represents = |value: &Value| value[format!("{daptm}represents")].clone();
    let of = |n: usize| -> Vec<Value> {
        scripts[n]["events"].as_array().unwrap().iter().map(|e| represents(&e["attributes"])).collect()
    };
    assert_eq!(of(0), ["visual.nonText"; 3], "a model that quotes");
    assert_eq!(scripts[1]["attributes"][format!("{daptm}scriptRepresents")], "visual.nonText visual.text");
    assert_eq!(of(1), ["visual.nonText", "visual.text", "visual.nonText"]);
    let events = &scripts[1]["events"];
    let written = json!({ format!("{daptm}represents"): "visual.text", format!("{daptm}langSrc"): "" });
    assert_eq!(events[0]["spans"], json!([["On a sign: “<Rue> Haute”.", written]]));
    assert_eq!(events[0]["text"], "A car. On a sign: “<Rue> Haute”.");
    assert_eq!(events[1]["attributes"][format!("{daptm}langSrc")], "");
    assert_eq!((&events[1]["spans"], &events[2]["spans"]), (&Value::Null, &Value::Null));
}

/// Text on the screen is in the last column, and runs no formula.
#[test]
fn csv_has_the_text_on_the_screen() {
    let b = Bench::new();
    let ms = Time::from_millis;
    let d = |start, end| Description { start: ms(start), end: ms(end), text: Some("a dog".into()) };
    let mut t = track("film.mp4".into(), "m".into(), &[d(0, 2_000), d(2_000, 4_000)], &CueOptions::default());
    let place = TextBox { x: 0.1, y: 0.2, width: 0.5, height: 0.1 };
    let line = |text: &str, start, end| {
        let (start, end, kind) = (ms(start), ms(end), TextKind::Title);
        ScreenText { text: text.into(), start, end, place, confidence: 0.9, kind }
    };
    t.text = Some(vec![line("=1+1", 500, 3_000), line("a \"b\", c\u{7}", 1_000, 1_500)]);
    write(&t, &b.path(""), "film");
    let rows = &python(&[&b.path("film.csv")])[0];
    assert_eq!(rows[0]["Text on Screen"], "'=1+1 / a \"b\", c ");
    assert_eq!(rows[1]["Text on Screen"], "'=1+1");
}

/// descry reports the folder at once, although the input would take long.
#[cfg(unix)]
#[test]
fn an_unwritable_folder_is_reported_before_any_work() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    let b = Bench::new();
    std::fs::create_dir(b.path("mine")).unwrap();
    let mode = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    mode(&b.path(""), 0o755);
    mode(&b.path("mine"), 0o555);
    let clip = sample("bikes.mp4");
    let mut descry = Command::new(env!("CARGO_BIN_EXE_descry"));
    descry.args(["describe", &clip, "-o", "mine/film.vtt"]).current_dir(b.path(""));
    // Root can write everywhere, so a test that runs as root starts descry as nobody.
    let root = std::fs::write(b.path("mine/probe"), "").is_ok();
    if root {
        std::fs::remove_file(b.path("mine/probe")).unwrap();
        descry.uid(65534);
    }
    let out = match descry.output() {
        Ok(out) => out,
        Err(e) if root => return not_tried(&format!("the user nobody cannot run the binary here ({e})")),
        Err(e) => panic!("{e}"),
    };
    mode(&b.path("mine"), 0o755);
    let text = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{text}");
    assert!(text.contains("mine/film.vtt") && text.contains("ermission") && text.contains("-o"), "{text}");
}
