//! Storyboards: `probe --storyboard` writes the scenes of films as pages, which html5lib reads.

use std::process::Command;

use serde_json::{Value, json};

use crate::common::{Bench, root};

/// The pages of a folder as html5lib parses them, sorted by name.
fn pages(b: &Bench, folder: &str) -> Vec<Value> {
    let out = Command::new(root().join("vendor/venv/bin/python"))
        .arg(root().join("tests/parsers/check_transcript.py"))
        .arg(b.path(folder))
        .output()
        .expect("html5lib is missing: run make setup-test");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

/// Three scenes of 2 s, of which the middle one is black.
fn film(b: &Bench, name: &str) {
    let scenes = "-f lavfi -i testsrc=s=160x90:r=10:d=2 -f lavfi -i color=black:s=160x90:r=10:d=2 \
        -f lavfi -i testsrc2=s=160x90:r=10:d=2 -filter_complex [0][1][2]concat=n=3[v] -map [v]";
    b.ffmpeg(&format!("{scenes} -c:v libx264 -pix_fmt yuv420p {name}"));
}

#[test]
fn a_storyboard_shows_the_scenes_that_would_be_described() {
    let b = Bench::new();
    film(&b, "film.mp4");
    let (out, err) = b.run(&["-v", "probe", "film.mp4", "--storyboard", "film.html"], 0);
    assert!(out.contains("film.mp4") && out.contains("h264"), "{out}");
    assert!(err.contains("film.html, 3 scenes"), "{err}");
    let page = &pages(&b, "")[0];
    assert_eq!((&page["heading"], &page["strange"]), (&json!("Storyboard of film.mp4"), &json!([])));
    assert_eq!(
        (&page["view"], &page["intro"][0]),
        (
            &json!(["storyboard"]),
            &json!("What is seen in the film. Each time is a link that plays the film from there.")
        )
    );
    // The same pictures and times as on the page of descriptions. A tower that reads pictures of 32 pixels would be given
    // smaller ones, and thumbnails are made of these.
    b.run(&["describe", "film.mp4", "-f", "html", "--min-score", "0", "-o", "described/"], 0);
    let described = &pages(&b, "described")[0];
    assert_eq!(described["view"], json!(["list"]));
    let scenes = |page: &Value| {
        let entries = page["entries"].as_array().unwrap().iter();
        entries.map(|e| json!([e["time"], e["picture"]])).collect::<Vec<_>>()
    };
    let own = scenes(page);
    assert!(own.len() == 2 && own.iter().all(|e| e[1]["kind"] == "data:image/jpeg;base64"), "{own:?}");
    assert_eq!(scenes(described).first(), own.first());
    assert!(page["entries"].as_array().unwrap().iter().all(|e| e["text"].is_null()));
    // It is not replaced unless somebody says so.
    let (_, err) = b.run(&["probe", "film.mp4", "--storyboard", "film.html"], 1);
    assert!(err.contains("film.html") && err.contains("--force"), "{err}");
    b.run(&["probe", "film.mp4", "--storyboard", "film.html", "--force"], 0);
}

#[test]
fn a_storyboard_has_the_descriptions_that_are_given_and_escapes_them() {
    let b = Bench::new();
    film(&b, "film.mp4");
    let evil = "<script>alert(1)</script> & \"A dog\"";
    b.write(
        "film.srt",
        format!("1\n00:00:00,000 --> 00:00:01,900\nA <b>dog</b> runs.\n\n2\n00:00:04,500 --> 00:00:06,000\n{evil}\n")
            .as_bytes(),
    );
    b.run(&["probe", "film.mp4", "--storyboard", "boards/", "--descriptions", "film.srt"], 0);
    let page = &pages(&b, "boards")[0];
    let entries = page["entries"].as_array().unwrap();
    assert_eq!(entries[0]["text"], "A dog runs.");
    assert!(entries[1]["text"].as_str().unwrap().contains("\"A dog\""), "{entries:?}");
    assert_eq!(page["strange"], json!([]));
}

#[test]
fn several_films_have_a_page_each_and_one_that_fails_stops_no_other() {
    let b = Bench::new();
    film(&b, "one.mp4");
    film(&b, "two.mp4");
    b.write("broken.mp4", b"no film");
    let (_, err) = b.run(&["probe", "one.mp4", "broken.mp4", "two.mp4", "--storyboard", "boards"], 1);
    assert!(err.contains("broken.mp4"), "{err}");
    assert_eq!(pages(&b, "boards").len(), 2);
    for (args, word) in [
        (vec!["probe", "one.mp4", "--storyboard", "-"], "a file"),
        (vec!["probe", "one.mp4", "two.mp4", "--storyboard", "x/", "--descriptions", "a.srt"], "one video"),
        (vec!["probe", "one.mp4", "--descriptions", "a.srt"], "--storyboard"),
    ] {
        let (_, err) = b.run(&args, 2);
        assert!(err.contains(word), "{err}");
    }
}
