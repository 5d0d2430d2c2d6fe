//! Transcripts: a page of a film as the binary writes it, and pages of made-up tracks, read by html5lib.

use std::path::Path;
use std::process::Command;

use descry::interrupt::Interrupt;
use descry::media::DialogueLine;
use descry::ocr::{ScreenText, TextBox, TextKind};
use descry::time::Time;
use descry::track::output::{self, Target};
use descry::track::{Format, SceneRecord, Speech, SpeechSource, Track};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use crate::common::{Bench, root, tiny};

/// The pages of a folder as html5lib parses them, sorted by name.
fn pages(folder: &Path) -> Vec<Value> {
    let out = Command::new(root().join("vendor/venv/bin/python"))
        .arg(root().join("tests/parsers/check_transcript.py"))
        .arg(folder)
        .output()
        .expect("html5lib is missing: run make setup-test");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

fn scene(number: u32, secs: (i64, i64), text: &str) -> SceneRecord {
    let (start, end) = (Time::from_millis(secs.0 * 1_000), Time::from_millis(secs.1 * 1_000));
    SceneRecord {
        scene: number,
        start,
        end,
        start_frame: 0,
        end_frame: 1,
        keyframe: start,
        transition: "cut",
        text: Some(text.into()),
        shown: true,
        score: None,
        mean_logprob: None,
        similarity: None,
        repeats: None,
        blank: false,
        speech: None,
    }
}

fn track(scenes: Vec<SceneRecord>) -> Track {
    Track { scenes, ..Track::new("film.mp4", "test 1") }
}

fn save(track: &Track, file: &Path) {
    output::save(track, &Target::File(file.into(), Format::Html), false, &Interrupt::new()).unwrap();
}

fn page(b: &Bench, track: &Track) -> Value {
    std::fs::create_dir_all(b.path("page")).unwrap();
    let _ = std::fs::remove_file(b.path("page/film.html"));
    save(track, &b.path("page/film.html"));
    pages(&b.path("page")).remove(0)
}

/// A film with a cut every 2 s.
fn film(b: &Bench, name: &str) {
    b.ffmpeg(&format!(
        "-f lavfi -i testsrc2=size=192x108:rate=25:duration=8,hue=h=137*floor(t/2):s=1+mod(floor(t/2)\\,2)*3 \
         -c:v libx264 -preset ultrafast {name}"
    ));
}

#[test]
fn a_film_becomes_a_page_with_pictures_and_links() {
    let b = Bench::new();
    film(&b, "film.mp4");
    std::fs::rename(b.path("film.mp4"), b.path("a film#1.mp4")).unwrap();
    b.run(&tiny(&["describe", "a film#1.mp4", "-f", "html,json,vtt", "-o", "out/"]), 0);
    let (page, json): (Value, Value) =
        (pages(&b.path("out")).remove(0), serde_json::from_str(&b.read("out/a film#1.json")).unwrap());
    assert_eq!((&page["strange"], &page["lang"]), (&json!([]), &json!("en")));
    assert_eq!(page["heading"], "Descriptive transcript of a film#1.mp4");
    assert_eq!(
        page["policy"],
        format!(
            "default-src 'none'; img-src data:; style-src '{}'; base-uri 'none'; form-action 'none'",
            page["style"].as_str().unwrap()
        )
    );
    let (entries, scenes) = (page["entries"].as_array().unwrap(), json["scenes"].as_array().unwrap());
    assert!(scenes.len() == 4 && entries.len() == 4, "{page}");
    // The same thumbnails as those of an archive, each with its own scene.
    b.run(&tiny(&["index", "a film#1.mp4", "--into", "archive"]), 0);
    for (entry, scene) in entries.iter().zip(scenes) {
        let start = scene["start"].as_f64().unwrap();
        assert_eq!(entry["href"], format!("../a%20film%231.mp4#t={start:.3}"));
        assert_eq!(entry["time"], json!([format!("PT{start:.3}S"), format!("0:{:02}", start as i64)]));
        let text = entry["text"].as_str().unwrap().to_lowercase();
        assert_eq!(text.trim_end_matches('.'), scene["text"].as_str().unwrap());
        let name = format!("{:09}.jpg", (scene["keyframe"].as_f64().unwrap() * 1e3).round() as i64);
        let thumbnail = find(&b.path("archive"), &name);
        assert_eq!(entry["picture"], json!({ "kind": "data:image/jpeg;base64", "sha256": sha256(&thumbnail) }));
    }
    // Smaller pictures, and none.
    b.run(&tiny(&["describe", "a film#1.mp4", "-f", "html", "-o", "none.html", "--thumbnail-width", "0"]), 0);
    assert!(!b.read("none.html").contains("<img") && b.read("none.html").contains("href=\"./a%20film%231.mp4#t="));
    // On standard output, links start from the current folder.
    let (out, _) = b.run(&tiny(&["describe", "a film#1.mp4", "-f", "html", "-o", "-"]), 0);
    assert_eq!(out, b.read("out/a film#1.html").replace("href=\"../a", "href=\"./a"));
}

/// The one file of this name below a folder.
fn find(folder: &Path, name: &str) -> std::path::PathBuf {
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().is_some_and(|own| own == name) {
                return path;
            }
        }
    }
    panic!("no {name}");
}

fn sha256(file: &Path) -> String {
    let out = Command::new("sha256sum").arg(file).output().unwrap();
    String::from_utf8(out.stdout).unwrap().split(' ').next().unwrap().to_string()
}

/// A full or missing temporary folder costs the page, and nothing else.
#[test]
fn pictures_that_cannot_be_kept_cost_the_page_alone() {
    let b = Bench::new();
    film(&b, "film.mp4");
    let out = Command::new(env!("CARGO_BIN_EXE_descry"))
        .args(tiny(&["describe", "film.mp4", "-f", "vtt,html"]))
        .current_dir(b.path(""))
        .env("TMPDIR", "/nowhere")
        .output()
        .unwrap();
    let err = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{err}");
    assert!(err.contains("film.html") && err.contains("/nowhere") && err.contains("TMPDIR"), "{err}");
    assert!(b.path("film.vtt").exists() && !b.path("film.html").exists());
}

#[test]
fn scenes_with_one_description_are_one_entry_and_others_are_left_out() {
    let b = Bench::new();
    let hidden = SceneRecord { shown: false, ..scene(3, (6, 8), "a cat") };
    let blank = SceneRecord { text: None, shown: false, blank: true, ..scene(4, (8, 9), "") };
    let scenes = vec![
        scene(1, (0, 4), "a dog, seen from afar on a long road that leads through a valley to a village with a church"),
        scene(2, (4, 6), "a bird"),
        scene(2, (6, 7), "a bird"),
        hidden,
        blank,
        scene(5, (9, 11), "a bird"),
        scene(6, (11, 12), "  ... "),
    ];
    let page = page(&b, &track(scenes));
    let texts: Vec<_> = page["entries"].as_array().unwrap().iter().map(|e| (&e["time"][1], &e["text"])).collect();
    let long = "A dog, seen from afar on a long road that leads through a valley to a village with a church.";
    let expected = [("0:00", long), ("0:04", "A bird."), ("0:09", "A bird.")].map(|(a, b)| (json!(a), json!(b)));
    assert_eq!(texts, expected.iter().map(|(a, b)| (a, b)).collect::<Vec<_>>());
    assert_eq!((&page["contents"], &page["sections"]), (&json!([]), &json!([])));
    assert!(page["entries"].as_array().unwrap().iter().all(|e| e["href"].is_null() && e["picture"].is_null()));
}

#[test]
fn long_films_have_sections() {
    let b = Bench::new();
    let scenes = [0, 599, 600, 3_599, 7_260].iter().enumerate();
    let scenes = scenes.map(|(n, start)| scene(n as u32, (*start, start + 1), &format!("picture {n}"))).collect();
    let page = page(&b, &track(scenes));
    let sections = json!(["0:00 to 10:00", "10:00 to 20:00", "50:00 to 1:00:00", "2:00:00 to 2:10:00"]);
    assert_eq!((&page["contents"], &page["sections"]), (&sections, &sections));
    assert_eq!(page["entries"].as_array().unwrap().len(), 5);
    assert_eq!(page["entries"][4]["time"], json!(["PT7260.000S", "2:01:00"]));
}

#[test]
fn a_page_states_what_is_missing_and_its_language() {
    let b = Bench::new();
    let (damage, interrupted) = (Some("3 broken packets".into()), true);
    let mut film = Track { damage, interrupted, ..track(vec![scene(1, (0, 2), "ein Hund")]) };
    film.language = "de".into();
    let german = page(&b, &film);
    assert_eq!(german["entries"][0]["lang"], "de");
    let about = german["intro"][1].as_str().unwrap();
    assert!(about.ends_with("Incomplete: 3 broken packets. Incomplete: interrupted."), "{about}");
    film.language = "und".into();
    assert_eq!(page(&b, &film)["entries"][0]["lang"], "");
    assert_eq!(page(&b, &track(vec![scene(1, (0, 2), "a dog")]))["entries"][0]["lang"], Value::Null);
    let empty = page(&b, &track(Vec::new()));
    assert_eq!((&empty["intro"][0], &empty["entries"]), (&json!("The film has no descriptions."), &json!([])));
}

fn said(secs: i64, text: &str) -> DialogueLine {
    let (start, end) = (Time::from_millis(secs * 1_000), Time::from_millis(secs * 1_000 + 900));
    DialogueLine { start, end, text: text.into() }
}

/// Each line follows the scene that it is in; where there is none, lines are an entry of their own.
#[test]
fn dialogue_is_between_the_descriptions() {
    let b = Bench::new();
    let scenes = vec![scene(1, (10, 20), "a dog"), scene(2, (20, 30), "a cat"), scene(3, (1_300, 1_310), "a bird")];
    let lines =
        [(3, "One."), (4, "Two."), (10, "Three."), (25, "Four <b>."), (650, "Five."), (660, "Six."), (1_305, "Seven.")];
    let dialogue = Some(lines.map(|(secs, text)| said(secs, text)).to_vec());
    let speech = Some(Speech { source: SpeechSource::File, segments: Vec::new(), dialogue });
    let film = Track { speech, location: Some("/films/a.mp4".into()), ..track(scenes) };
    let page = page(&b, &film);
    let entries: Vec<(&str, Value, Vec<&str>)> = page["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| {
            let lines = e["dialogue"].as_array().unwrap().iter().map(|line| line[2].as_str().unwrap()).collect();
            (e["time"][1].as_str().unwrap(), e["text"].clone(), lines)
        })
        .collect();
    assert_eq!(
        entries,
        [
            ("0:03", Value::Null, vec!["One.", "Two."]),
            ("0:10", json!("A dog."), vec!["Three."]),
            ("0:20", json!("A cat."), vec!["Four <b>."]),
            ("10:50", Value::Null, vec!["Five.", "Six."]),
            ("21:40", json!("A bird."), vec!["Seven."]),
        ]
    );
    assert_eq!(page["contents"], json!(["0:00 to 10:00", "10:00 to 20:00", "20:00 to 30:00"]));
    let line = &page["entries"][1]["dialogue"][0];
    assert!(line[1].as_str().unwrap().ends_with("/films/a.mp4#t=10.000"), "{line}");
    assert_eq!((&line[0], &line[3]), (&json!("0:10"), &json!("")), "{line}");
    assert!(page["intro"][0].as_str().unwrap().contains("what is said"), "{page}");
}

fn written(text: &str, start: i64, end: i64, kind: TextKind) -> ScreenText {
    let place = TextBox { x: 0.1, y: 0.2, width: 0.5, height: 0.1 };
    let (start, end) = (Time::from_millis(start), Time::from_millis(end));
    ScreenText { text: text.into(), start, end, place, confidence: 0.9, kind }
}

/// Text is in the scene in which it appears; where there is none, it is an entry of its own.
#[test]
fn text_on_the_screen_is_with_its_scene() {
    let b = Bench::new();
    let mut text = vec![
        written("The Film", 3_000, 5_000, TextKind::Title),
        written("12:00", 4_000, 30_000, TextKind::Counter),
        written("Rue <Haute>", 12_000, 14_000, TextKind::Scene),
        // So shortly before a cut that it belongs to what follows.
        written("Later", 19_900, 25_000, TextKind::Title),
        written("Two weeks", 21_000, 25_000, TextKind::Title),
    ];
    text.extend((0..10_000).map(|n| written(&format!("word {n}"), 700_000, 702_000, TextKind::Scene)));
    let scenes = vec![scene(1, (10, 20), "a dog"), scene(2, (20, 30), "a cat")];
    let dialogue = Some(vec![said(25, "Hello.")]);
    let speech = Some(Speech { source: SpeechSource::File, segments: Vec::new(), dialogue });
    let mut film = Track { text: Some(text), ..track(scenes) };
    let without = page(&b, &film);
    assert!(without["intro"][0].as_str().unwrap().contains("what is written"), "{without}");
    film.speech = speech;
    let page = page(&b, &film);
    assert!(page["intro"][0].as_str().unwrap().contains("what is said and written"), "{page}");
    let entries = page["entries"].as_array().unwrap();
    let seen: Vec<_> = entries[..3].iter().map(|e| (&e["time"][1], &e["text"], &e["shown"])).collect();
    let expected = [
        (json!("0:03"), Value::Null, json!(["The Film"])),
        (json!("0:10"), json!("A dog."), json!(["Rue <Haute>"])),
        (json!("0:20"), json!("A cat."), json!(["Later", "Two weeks"])),
    ];
    assert_eq!(seen, expected.iter().map(|(a, b, c)| (a, b, c)).collect::<Vec<_>>());
    assert_eq!(entries[2]["dialogue"].as_array().unwrap().len(), 1);
    // A page of 10,000 words.
    assert_eq!((entries.len(), entries[3]["shown"].as_array().unwrap().len()), (4, 200));
    assert_eq!(entries[3]["time"][1], "11:40");
}

/// From a file and from the film, with and without a process for the decoder; credentials are no dialogue.
#[test]
fn dialogue_of_subtitles_is_in_page_and_json() {
    let b = Bench::new();
    film(&b, "bare.mp4");
    b.write(
        "film.srt",
        "1\n00:00:00,500 --> 00:00:01,500\n<i>Who's there?</i>\n- A {\\an8}dog\n\n\
         2\n00:00:02,500 --> 00:00:03,000\n♪\n\n3\n00:00:05,000 --> 00:00:06,000\nThe key is open-sesame-42.\n\n"
            .as_bytes(),
    );
    b.ffmpeg("-i bare.mp4 -i film.srt -map 0 -map 1 -c copy -c:s srt -metadata:s:s:0 language=ger film.mkv");
    let describe = |film: &str, args: &[&str]| {
        let args = [&["describe", film, "-f", "html,json", "-o", "out/", "--force"], args].concat();
        let out = Command::new(env!("CARGO_BIN_EXE_descry"))
            .args(tiny(&args))
            .current_dir(b.path(""))
            .env("DESCRY_API_KEY", "open-sesame-42")
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let name = film.split('.').next().unwrap();
        let json: Value = serde_json::from_str(&b.read(&format!("out/{name}.json"))).unwrap();
        let page = pages(&b.path("out")).remove(0);
        std::fs::remove_dir_all(b.path("out")).unwrap();
        (json, page)
    };
    let text = ["Who's there? - A dog", "The key is ***."];
    for (film, args, source, lang) in [
        ("bare.mp4", &["--dialogue", "film.srt"][..], "file", ""),
        ("film.mkv", &["--dialogue", "embedded"], "subtitles", "de"),
        ("film.mkv", &["--dialogue", "embedded", "--isolate"], "subtitles", "de"),
    ] {
        let (json, page) = describe(film, args);
        assert_eq!(json["speech"]["source"], source);
        let dialogue = json!([
            { "start": 0.5, "end": 1.5, "text": text[0] },
            { "start": 5.0, "end": 6.0, "text": text[1] },
        ]);
        assert_eq!(json["speech"]["dialogue"], dialogue, "{args:?}");
        let lines: Vec<&Value> =
            page["entries"].as_array().unwrap().iter().flat_map(|e| e["dialogue"].as_array().unwrap()).collect();
        assert_eq!(lines.len(), 2, "{page}");
        for (line, (time, text)) in lines.iter().zip([("0:00", text[0]), ("0:05", text[1])]) {
            assert_eq!((&line[0], &line[2], &line[3]), (&json!(time), &json!(text), &json!(lang)));
        }
    }
    // A stretch of the film has the dialogue in it.
    let (json, _) = describe("bare.mp4", &["--dialogue", "film.srt", "--start", "1", "--end", "3"]);
    assert_eq!(json["speech"]["dialogue"], json!([{ "start": 1.0, "end": 1.5, "text": text[0] }]));
    let (json, _) = describe("bare.mp4", &[]);
    assert_eq!(json["speech"], Value::Null);
}

/// Whatever a model writes, text stays text.
#[test]
fn no_text_becomes_markup() {
    let b = Bench::new();
    let mut runner = TestRunner::deterministic();
    let text = prop_oneof![
        "\\PC{0,40}",
        "(</p>|<script>|</li>|<img src=x onerror=y>|\"|'|&amp;|&#0;|<!--|]]>|\u{0}|\u{85}|\u{fffe}|\u{202e}|a| ){1,12}"
    ];
    let any = (text.clone(), text.clone(), prop::collection::vec(text, 0..4));
    let tracks: Vec<Track> = (0..100)
        .map(|_| {
            let (input, model, texts) = any.new_tree(&mut runner).unwrap().current();
            let scenes = texts.iter().enumerate().map(|(n, text)| scene(n as u32, (n as i64, n as i64 + 1), text));
            let location = Some(format!("/films/{input}"));
            let dialogue = Some(texts.iter().enumerate().map(|(n, text)| said(n as i64, text)).collect());
            let speech = Some(Speech { source: SpeechSource::File, segments: Vec::new(), dialogue });
            let written =
                |(n, text): (usize, &String)| written(text, n as i64 * 1_000, n as i64 * 1_000 + 500, TextKind::Title);
            let text = Some(texts.iter().enumerate().map(written).collect());
            Track { input: input.clone(), model, location, speech, text, ..track(scenes.collect()) }
        })
        .collect();
    tracks.iter().enumerate().for_each(|(i, track)| save(track, &b.path(&format!("{i:03}.html"))));
    let known = [
        "alt",
        "aria-label",
        "aria-labelledby",
        "id",
        "charset",
        "checked",
        "class",
        "content",
        "datetime",
        "href",
        "http-equiv",
        "lang",
        "name",
        "role",
        "src",
        "type",
    ];
    let mut entries = 0;
    for (page, track) in pages(&b.path("")).iter().zip(&tracks) {
        assert_eq!(page["strange"], json!([]), "{track:?}");
        let attributes = page["attributes"].as_array().unwrap();
        assert!(attributes.iter().all(|a| known.contains(&a.as_str().unwrap())), "{attributes:?}");
        for entry in page["entries"].as_array().unwrap() {
            let href = entry["href"].as_str().unwrap();
            assert!(href.contains("/films") && href.contains("#t="), "{href}");
            entries += 1;
        }
    }
    assert!(entries > 80, "{entries}");
}
