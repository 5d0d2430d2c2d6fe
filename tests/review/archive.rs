//! Reviews of an archive: the list, editing, and what becomes of the editors' words in search, in exports and in later runs.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::{Bench, root, tiny};
use crate::support::{Review, film, seen};

/// An archive of two films, in which every caption is a cue.
fn archive() -> Bench {
    let b = Bench::new();
    std::fs::create_dir(b.path("films")).unwrap();
    // Three scenes that the model of the tests describes.
    b.ffmpeg(
        "-f lavfi -i testsrc=s=160x90:r=10:d=2 -f lavfi -i mandelbrot=s=160x90:r=10 -f lavfi -i testsrc2=s=160x90:r=10:d=2 \
        -f lavfi -i sine=440:d=6 -filter_complex [1]trim=duration=2[m];[0][m][2]concat=n=3[v] -map [v] -map 3 \
        -pix_fmt yuv420p -c:v libx264 -c:a aac -shortest films/one.mp4",
    );
    b.ffmpeg("-i films/one.mp4 -vf negate -c:a copy films/two.mp4");
    index(&b, &[]);
    b
}

fn index(b: &Bench, args: &[&str]) {
    let options = ["index", "films", "--into", "archive", "--min-score", "0", "--no-dedup", "--audio", "none"];
    b.run(&tiny(&[&options, args].concat()), 0);
}

fn list(review: &Review, query: &Value) -> Value {
    let (status, list) = review.post("/api/films", query);
    assert_eq!(status, 200, "{list}");
    list
}

/// The path of a film's pages, by the end of its name.
fn page_of(review: &Review, name: &str) -> String {
    let begun = Instant::now();
    loop {
        let all = list(review, &json!({ "order": "title" }));
        let film = all["films"].as_array().unwrap().iter().find(|film| film["title"] == name);
        if let Some(film) = film {
            return format!("/films/{}", film["key"].as_str().unwrap());
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{all}");
    }
}

fn load(review: &Review, page: &str) -> Value {
    let (status, _, body) = review.get(&format!("{page}/api/review"));
    let loaded: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(status, 200, "{loaded}");
    loaded
}

fn edit(review: &Review, page: &str, edit: &Value) {
    let (status, report) = review.post(&format!("{page}/api/edit"), &json!({ "edit": edit, "who": "ann" }));
    assert_eq!(status, 200, "{edit}: {report}");
}

fn rewrite(review: &Review, page: &str, at: usize, text: &str) {
    let loaded = load(review, page);
    edit(review, page, &json!({ "do": "change", "cue": seen(&loaded, at), "to": { "text": text } }));
}

/// Captions and films that are found by a word.
fn found(b: &Bench, word: &str) -> Vec<(String, String)> {
    let (out, _) = b.run(&tiny(&["search", "archive", word, "--by", "words", "--json"]), 0);
    let moments = out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    moments.map(|m| (text(&m["caption"]), text(&m["video"]).rsplit('/').next().unwrap().to_string())).collect()
}

fn walrus(name: &str) -> Vec<(String, String)> {
    vec![("A purple walrus sleeps.".to_string(), name.to_string())]
}

/// The files of reviews in the archive.
fn reviews(b: &Bench) -> Vec<PathBuf> {
    let Ok(shelves) = std::fs::read_dir(b.path("archive/reviews")) else { return Vec::new() };
    let files = shelves.flat_map(|shelf| std::fs::read_dir(shelf.unwrap().path()).unwrap());
    let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn edits_are_found_exported_and_kept() {
    let b = archive();
    let review = Review::start(&b, &["archive"]);
    let (one, two) = (page_of(&review, "one.mp4"), page_of(&review, "two.mp4"));
    let (status, head, _) = review.get(&one);
    assert!(status == 308 && head.contains(&format!("{one}/")), "{head}");
    let (status, _, page) = review.get(&format!("{one}/"));
    assert!(status == 200 && String::from_utf8(page).unwrap().contains("review.js"));
    for part in ["review.js", "around.js", "look.css", "api/history", "film", "export/vtt"] {
        assert_eq!(review.get(&format!("{one}/{part}")).0, 200, "{part}");
    }
    rewrite(&review, &one, 0, "A purple walrus sleeps.");
    let loaded = load(&review, &one);
    let picture = format!("{one}/picture/{}/500.jpg", loaded["film"]["key"].as_str().unwrap());
    assert_eq!(review.get(&picture).0, 200);
    assert_eq!((&loaded["in_archive"], &loaded["document"]["source"]["kind"]), (&json!(true), &json!("described")));
    edit(&review, &one, &json!({ "do": "check", "cues": [seen(&loaded, 0), seen(&loaded, 1)], "checked": true }));
    let loaded = load(&review, &two);
    edit(&review, &two, &json!({ "do": "delete", "cues": [seen(&loaded, 0)] }));
    // The list knows what was edited this moment.
    let all = list(&review, &json!({ "order": "edited" }));
    let progress = |n: usize| &all["films"][n]["progress"];
    assert_eq!((&all["total"], &all["unread"], &all["orphans"]), (&json!(2), &json!(0), &json!(0)));
    assert_eq!((&all["films"][0]["title"], &progress(0)["changes"]), (&json!("two.mp4"), &json!(1)));
    assert_eq!(
        (&progress(1)["changes"], &progress(1)["unchecked"]),
        (&json!(2), &json!(progress(1)["cues"].as_u64().unwrap() - 2))
    );
    assert_eq!(all["films"][1]["standing"], "current");
    // Search finds it while the review is still open.
    assert_eq!(found(&b, "walrus"), walrus("one.mp4"));
    let (code, errors) = review.end();
    assert_eq!((code, &*errors), (Some(130), ""));
    // Nothing but the reviews is left.
    assert_eq!(reviews(&b).len(), 2);
    b.run(&["archive", "export", "archive", "-o", "all.parquet"], 0);
    let script = "import json, pyarrow.parquet as p; print(json.dumps([(r['video'], r['caption'], r['said'], r['score']) \
        for r in p.read_table('all.parquet').to_pylist()]))";
    let out =
        Command::new(root().join("vendor/venv/bin/python")).args(["-c", script]).current_dir(b.path(".")).output();
    let out = out.expect("Python is missing: run make setup-test");
    let rows: Vec<(String, Option<String>, bool, Option<f64>)> = serde_json::from_slice(&out.stdout).unwrap();
    let of = |name: &str| rows.iter().filter(|row| row.0.ends_with(name)).collect::<Vec<_>>();
    assert_eq!(
        (of("one.mp4")[0].1.as_deref(), of("one.mp4")[0].2, of("one.mp4")[0].3),
        (Some("A purple walrus sleeps."), true, Some(1.0))
    );
    assert_eq!(of("one.mp4")[1].3, Some(1.0), "checked");
    assert!(!of("two.mp4")[0].2, "deleted: {rows:?}");
    // A later run leaves it alone.
    index(&b, &[]);
    assert_eq!(found(&b, "walrus"), walrus("one.mp4"));
    let (sound, _) = b.run(&["archive", "check", "archive"], 0);
    let _ = sound;
    let (reports, _) = b.run(&["review", "archive", "--report"], 0);
    let reports: Vec<Value> = reports.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let counts: Vec<(&Value, &Value)> = reports.iter().map(|r| (&r["reworded"], &r["rejected"])).collect();
    assert_eq!(
        (counts.len(), counts.contains(&(&json!(1), &json!(0))), counts.contains(&(&json!(0), &json!(1)))),
        (2, true, true)
    );
}

#[test]
fn a_film_that_is_described_again_keeps_the_words_of_its_editors() {
    let b = archive();
    let review = Review::start(&b, &["archive"]);
    let one = page_of(&review, "one.mp4");
    rewrite(&review, &one, 0, "A purple walrus sleeps.");
    // It changes, and is described again, while the review is open.
    b.ffmpeg("-i films/two.mp4 -vf hue=h=90 -c:a copy films/new.mp4");
    std::fs::rename(b.path("films/new.mp4"), b.path("films/one.mp4")).unwrap();
    let changed = list(&review, &json!({ "find": "ONE" }));
    assert_eq!((&changed["total"], &changed["films"][0]["presence"]), (&json!(1), &json!("changed")));
    index(&b, &[]);
    rewrite(&review, &one, 1, "A second walrus.");
    let mut words = found(&b, "walrus");
    words.sort();
    assert_eq!(words, [walrus("one.mp4"), vec![("A second walrus.".into(), "one.mp4".into())]].concat());
    assert_eq!(review.end().0, Some(130));
    let review = Review::start(&b, &["archive"]);
    let again = list(&review, &json!({ "find": "one" }));
    assert_eq!(
        (&again["films"][0]["standing"], &again["films"][0]["presence"]),
        (&json!("described-again"), &json!("here"))
    );
    let loaded = load(&review, &one);
    assert_eq!(loaded["renewal"]["kept"], 2, "{}", loaded["renewal"]);
    let cues = loaded["document"]["cues"].as_array().unwrap();
    assert_eq!((&cues[0]["text"], &cues[1]["text"]), (&json!("A purple walrus sleeps."), &json!("A second walrus.")));
    assert_eq!(list(&review, &json!({ "find": "one" }))["films"][0]["standing"], "current");
    let mut words = found(&b, "walrus");
    words.sort();
    assert_eq!(words.len(), 2);
    // From now on the review is of the new descriptions.
    assert_eq!(review.end().0, Some(130));
    let review = Review::start(&b, &["archive"]);
    assert_eq!(load(&review, &one)["renewal"], Value::Null);
}

#[test]
fn one_film_that_cannot_be_reviewed_does_not_stop_the_others() {
    let b = archive();
    let review = Review::start(&b, &["archive"]);
    let (one, two) = (page_of(&review, "one.mp4"), page_of(&review, "two.mp4"));
    std::fs::remove_file(b.path("films/one.mp4")).unwrap();
    let all = list(&review, &json!({ "order": "title" }));
    assert_eq!((&all["films"][0]["presence"], &all["films"][1]["presence"]), (&json!("missing"), &json!("here")));
    let (status, _, page) = review.get(&format!("{one}/"));
    let page = String::from_utf8(page).unwrap();
    assert!(
        status == 422 && page.contains("films/one.mp4: is not there any more") && page.contains("descry index"),
        "{page}"
    );
    let (status, answer) = review.post(&format!("{one}/api/edit"), &json!({}));
    assert!(status == 422 && answer["error"].as_str().unwrap().contains("one.mp4"), "{answer}");
    rewrite(&review, &two, 0, "A purple walrus sleeps.");
    // Another descry may have a film open, and reviews the others all the same.
    let other = Review::start(&b, &["archive"]);
    let (status, answer) = other.post(&format!("{two}/api/edit"), &json!({}));
    assert!(status == 422 && answer["error"].as_str().unwrap().contains("another descry"), "{answer}");
    review.kill();
    assert_eq!(load(&other, &two)["document"]["cues"][0]["text"], "A purple walrus sleeps.");
    // None of these is a film of the archive.
    for none in ["/films/0123456789abcdef/", "/films/0123456789ABCDEF/", "/films/1/", "/films/", "/films", "/film"] {
        assert!(matches!(other.get(none).0, 404 | 422), "{none}");
    }
    for wrong in [json!({ "order": "size" }), json!({ "page": -1 }), json!({ "find": "a".repeat(300) }), json!("all")] {
        assert_eq!(other.post("/api/films", &wrong).0, 400, "{wrong}");
    }
    assert_eq!(list(&other, &json!({ "page": u64::MAX }))["films"], json!([]));
    drop(other);
    // A damaged review is named, stays as it is, and hides no other film.
    let file = reviews(&b).into_iter().find(|file| file.extension().is_some_and(|end| end == "json")).unwrap();
    std::fs::write(&file, "{ broken").unwrap();
    let review = Review::start(&b, &["archive"]);
    let all = list(&review, &json!({ "order": "title" }));
    assert!(all["films"][1]["fault"].as_str().unwrap().contains("is no review"), "{all}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "{ broken");
    drop(review);
    let (_, errors) = b.run(&["archive", "check", "archive", "--repair"], 1);
    assert!(errors.contains("is no review") && errors.contains("1 damaged"), "{errors}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "{ broken");
}

#[test]
fn what_editors_wrote_outlives_the_video() {
    let b = archive();
    let review = Review::start(&b, &["archive"]);
    let one = page_of(&review, "one.mp4");
    rewrite(&review, &one, 0, "A purple walrus sleeps.");
    let video = b.path("films/one.mp4").canonicalize().unwrap().display().to_string();
    // Not while somebody works on it.
    let (_, errors) = b.run(&["archive", "forget", "archive", &video, "--reviews"], 1);
    assert!(errors.contains("another descry reviews this film"), "{errors}");
    assert_eq!(found(&b, "walrus"), walrus("one.mp4"));
    review.end();
    let (_, errors) = b.run(&["archive", "forget", "archive", &video], 0);
    assert!(errors.contains("its review stays"), "{errors}");
    assert!(found(&b, "walrus").is_empty());
    let review = Review::start(&b, &["archive"]);
    let all = list(&review, &json!({}));
    assert_eq!((&all["total"], &all["orphans"]), (&json!(1), &json!(1)));
    drop(review);
    index(&b, &[]);
    assert_eq!(found(&b, "walrus"), walrus("one.mp4"));
    // So does a run that removes what the sources no longer name.
    std::fs::remove_file(b.path("films/one.mp4")).unwrap();
    index(&b, &["--prune"]);
    assert_eq!(reviews(&b).len(), 1);
    b.run(&["archive", "forget", "archive", &video, "--reviews"], 0);
    assert!(reviews(&b).is_empty());
    b.run(&["archive", "forget", "archive", &video, "--reviews"], 1);
}

#[cfg(unix)]
#[test]
fn no_link_leads_out_of_the_archive() {
    let b = archive();
    std::fs::create_dir(b.path("elsewhere")).unwrap();
    std::os::unix::fs::symlink(b.path("elsewhere"), b.path("archive/reviews")).unwrap();
    let review = Review::start(&b, &["archive"]);
    let (status, answer) = review.post("/api/films", &json!({}));
    assert!(status == 500 && answer["error"].as_str().unwrap().contains("symbolic link"), "{answer}");
    drop(review);
    assert_eq!(std::fs::read_dir(b.path("elsewhere")).unwrap().count(), 0);
    // Beside the archive, reviews can be kept all the same.
    std::fs::remove_file(b.path("archive/reviews")).unwrap();
    let review = Review::start(&b, &["archive", "--review", "elsewhere"]);
    let one = page_of(&review, "one.mp4");
    rewrite(&review, &one, 0, "A purple walrus sleeps.");
    review.end();
    assert!(found(&b, "walrus").is_empty() && !b.path("archive/reviews").exists());
    assert_eq!(std::fs::read_dir(b.path("elsewhere")).unwrap().count(), 1);
}

#[test]
fn what_is_no_archive_is_named() {
    let b = Bench::new();
    std::fs::create_dir(b.path("films")).unwrap();
    film(&b, "films/one.mp4");
    let refused = |args: &[&str], code| b.run(&tiny(&[&["review"], args, &["--no-open"]].concat()), code).1;
    let none = refused(&["films"], 2);
    assert!(none.contains("there is no archive") && none.contains("descry index"), "{none}");
    index(&b, &[]);
    b.write("film.vtt", b"WEBVTT\n\n00:01.000 --> 00:02.000\nA dog.\n");
    let track = refused(&["archive", "film.vtt"], 2);
    assert!(track.contains("a track belongs to one film"), "{track}");
    let folder = refused(&["archive", "--review", "none"], 2);
    assert!(folder.contains("mkdir -p none"), "{folder}");
    let address = b.run(&tiny(&["review", "archive", "--listen", "0.0.0.0:0"]), 2).1;
    assert!(address.contains("other machines"), "{address}");
}
