//! What a review is used for: spoken descriptions, and training data.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::{Value, json};

use crate::common::{Bench, root, tiny};
use crate::support::{Review, film, seen};

const TRACK: &str = "WEBVTT\n\n00:00.000 --> 00:02.000\nA dog runs.\n\n00:02.000 --> 00:04.000\nA cat sits.\n\n\
    00:04.000 --> 00:05.900\nA cow.\n";

/// A film with a review, in which an editor has written one cue, checked another one, and left the third alone.
fn reviewed() -> Bench {
    let b = Bench::new();
    film(&b, "film.mp4");
    b.write("film.vtt", TRACK.as_bytes());
    let review = Review::start(&b, &["film.mp4", "film.vtt"]);
    let loaded = review.load();
    let to = json!({ "text": "A purple walrus\nsleeps." });
    review.edit(&json!({ "do": "change", "cue": seen(&loaded, 0), "to": to }));
    review.edit(&json!({ "do": "check", "cues": [seen(&loaded, 1)], "checked": true }));
    // The page says how to go on.
    let commands: Vec<Value> = review.load()["commands"].as_array().unwrap().clone();
    assert_eq!(
        commands.iter().map(|command| command["command"].as_str().unwrap()).collect::<Vec<_>>(),
        [
            "descry speak film.mp4 --descriptions film.review.json -o film.ad.m4a",
            "descry review film.mp4 --review film.review.json --export-captions captions"
        ]
    );
    review.end();
    b
}

/// What the reader of `tools/models.py` finds: split and captions of each picture, by its name.
fn read_by_training(b: &Bench, folder: &str) -> BTreeMap<String, (String, Vec<String>)> {
    let script = "import json, sys; sys.path.insert(0, sys.argv[1]); from descry_models.data import read_pictures\n\
        from pathlib import Path\n\
        d = Path(sys.argv[2]); p = read_pictures(d / 'captions.jsonl', d / 'images')\n\
        assert all(Path(x.path).read_bytes()[:2] == b'\\xff\\xd8' for x in p)\n\
        print(json.dumps({x.image: (x.split, x.captions) for x in p}))";
    let out = Command::new("python3")
        .args(["-c", script])
        .arg(root().join("tools"))
        .arg(b.path(folder))
        .output()
        .expect("Python is installed");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

#[test]
fn training_reads_what_editors_wrote_or_checked() {
    let b = reviewed();
    let (_, errors) = b.run(&tiny(&["review", "film.mp4", "--export-captions", "learn"]), 0);
    assert!(errors.contains("2 captions on 2 pictures written to learn"), "{errors}");
    let read = read_by_training(&b, "learn");
    let captions: Vec<&str> = read.values().map(|(_, captions)| &*captions[0]).collect();
    assert_eq!(captions, ["A purple walrus sleeps.", "A cat sits."]);
    // The frame of the first scene is red.
    let picture = image::open(b.path("learn/images").join(read.keys().next().unwrap())).unwrap().to_rgb8();
    assert_eq!(picture.dimensions(), (160, 90));
    let [red, green, blue] = picture.get_pixel(80, 45).0;
    assert!(red > 200 && green < 60 && blue < 60, "{red} {green} {blue}");
    // Captions that are there are not replaced.
    let (_, errors) = b.run(&tiny(&["review", "film.mp4", "--export-captions", "learn"]), 1);
    assert!(errors.contains("captions.jsonl: exists already"), "{errors}");
    // A review in which nobody has done anything gives none.
    let untouched = ["film.mp4", "film.vtt", "--review", "untouched.json"];
    Review::start(&b, &untouched).end();
    let args = ["review", "film.mp4", "--review", "untouched.json", "--export-captions", "nothing"];
    let (_, errors) = b.run(&tiny(&args), 1);
    assert!(errors.contains("untouched.json: has no cue that an editor wrote or checked"), "{errors}");
    assert!(!b.path("nothing/captions.jsonl").exists());
    // The same review gives the same bytes.
    b.run(&tiny(&["review", "film.mp4", "--export-captions", "again"]), 0);
    assert_eq!(b.read("learn/captions.jsonl"), b.read("again/captions.jsonl"));
    let (_, errors) = b.run(&tiny(&["review", "film.mp4", "--review", "none.json", "--export-captions", "x"]), 1);
    assert!(errors.contains("none.json") && !b.path("x").exists(), "{errors}");
}

#[test]
fn an_archive_gives_the_captions_of_all_its_films() {
    let b = Bench::new();
    std::fs::create_dir(b.path("films")).unwrap();
    for name in ["a", "b", "gone"] {
        film(&b, &format!("films/{name}.mp4"));
    }
    b.run(&tiny(&["index", "films", "--into", "archive", "--min-score", "0", "--audio", "none"]), 0);
    let review = Review::start(&b, &["archive"]);
    let (_, list) = review.post("/api/films", &json!({ "order": "title" }));
    for (film, text) in list["films"].as_array().unwrap().iter().zip(["A walrus.", "", "A hen."]) {
        let page = format!("/films/{}", film["key"].as_str().unwrap());
        let loaded: Value = serde_json::from_slice(&review.get(&format!("{page}/api/review")).2).unwrap();
        if !text.is_empty() {
            let edit = json!({ "do": "change", "cue": seen(&loaded, 0), "to": { "text": text } });
            assert_eq!(review.post(&format!("{page}/api/edit"), &json!({ "edit": edit })).0, 200);
        }
    }
    review.end();
    std::fs::remove_file(b.path("films/gone.mp4")).unwrap();
    // One film is missing, which is reported; the other ones are written.
    let (_, errors) = b.run(&tiny(&["review", "archive", "--export-captions", "learn"]), 1);
    assert!(
        errors.contains("gone.mp4: is not there any more") && errors.contains("1 caption on 1 picture"),
        "{errors}"
    );
    let read = read_by_training(&b, "learn");
    assert_eq!(read.values().collect::<Vec<_>>(), [&("train".to_string(), vec!["A walrus.".to_string()])]);
}

#[test]
fn a_review_is_spoken() {
    let b = reviewed();
    let voice = format!("tee -a said.txt | python3 {}/tests/speak/voice.py", root().display());
    b.write("voice.sh", format!("cd '{}' && {voice}", b.path(".").display()).as_bytes());
    let speak = |file: &str, code| {
        let command = format!("sh {}", b.path("voice.sh").display());
        let args =
            ["speak", "film.mp4", "--descriptions", file, "-o", "film.ad.m4a", "--force", "--voice-command", &command];
        b.run(&args, code).1
    };
    speak("film.review.json", 0);
    let said = b.read("said.txt");
    assert!(said.contains("A purple walrus sleeps.") && said.contains("A cow.") && !said.contains("A dog"), "{said}");
    b.write("other.json", b"{\"scenes\":[]}");
    let errors = speak("other.json", 1);
    assert!(errors.contains("other.json: is no review"), "{errors}");
    let errors = speak("none.json", 1);
    assert!(errors.contains("none.json") && errors.contains("no such file"), "{errors}");
}
