//! The HTML page of a search, which html5lib parses.

use std::fs;
use std::path::Path;
use std::process::Command;

use descry::digest::hex;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::films::{Films, SEEN};
use crate::common::{root, sample, tiny};

/// The page as html5lib parses it.
pub(super) fn read_page(path: &Path) -> Value {
    let out = Command::new(root().join("vendor/venv/bin/python"))
        .arg(root().join("tests/parsers/check_page.py"))
        .arg(path)
        .output()
        .expect("html5lib is missing: run make setup-test");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

#[test]
fn pages_escape_all_text() {
    let films = Films::new();
    films.fill();
    let evil = "<script>alert(1)</script>\"' onload=x & a \u{0}dog";
    films.put(
        "/films/\"><img src=x onerror=y>#?%.mp4",
        1,
        vec![films.keyframe(1, 3, SEEN[4], Some("</p><script>dog</script>&amp;"))],
    );
    films.put("javascript:alert(1)//dog.mp4", 1, vec![films.keyframe(1, 3, SEEN[4], Some("A dog."))]);
    films.put("s3://bucket/dog.mp4", 1, vec![films.keyframe(1, 3, SEEN[4], Some("A dog."))]);
    fs::create_dir(films.bench.path("pages")).unwrap();
    let query = evil.replace('\0', "");
    let (out, err) = films.bench.run(&tiny(&["search", "films", &query, "--html", "pages/found.html", "-n", "20"]), 0);
    assert_eq!(out, "");
    // descry reports a thumbnail that is not a picture and leaves it out. The rest of the page is complete.
    assert!(err.contains("000002400.jpg") && err.contains("damaged"), "{err}");
    let page = read_page(&films.bench.path("pages/found.html"));
    assert_eq!(page["strange"], serde_json::json!([]), "text never becomes an element");
    assert!(!page["attributes"].as_array().unwrap().iter().any(|a| a.as_str().unwrap().starts_with("on")), "{page}");
    assert_eq!(page["heading"], query);
    let policy = page["policy"].as_str().unwrap();
    assert!(
        policy.contains("default-src 'none'") && !policy.contains("unsafe") && !policy.contains("script-src"),
        "{policy}"
    );
    assert!(policy.contains(&format!("style-src '{}'", page["style"].as_str().unwrap())), "{page}");
    let results = page["results"].as_array().unwrap();
    assert_eq!(results.len(), 8);
    let of = |name: &str| {
        let hits: Vec<&Value> = results.iter().filter(|r| r["texts"].to_string().contains(name)).collect();
        assert!(!hits.is_empty(), "{name}: {page}");
        hits[0]
    };
    let here = fs::canonicalize(films.bench.path("pages")).unwrap();
    let up = "../".repeat(here.components().count() - 1);
    assert_eq!(of("A dog runs on a beach.")["href"], format!("{up}films/agree%20%26%20%3Cb%3E.mp4#t=0.400"));
    assert!(
        of("onerror")["href"]
            .as_str()
            .unwrap()
            .ends_with("%22%3E%3Cimg%20src%3Dx%20onerror%3Dy%3E%23%3F%25.mp4#t=3.400")
    );
    assert!(of("onerror")["texts"][0].as_str().unwrap() == "</p><script>dog</script>&amp;");
    assert_eq!(of("host/seen")["href"], "https://host/seen.mp4#t=61.400");
    assert!(of("javascript:alert")["href"].is_null() && of("s3://")["href"].is_null());
    // The page holds the picture byte for byte.
    let jpeg = hex(&Sha256::digest(fs::read(sample("bikes-00-04.jpg")).unwrap()));
    let pictures: Vec<&Value> = results.iter().map(|r| &r["picture"]).filter(|p| !p.is_null()).collect();
    assert_eq!(pictures.len(), 1);
    assert_eq!(
        (pictures[0]["sha256"].as_str(), pictures[0]["kind"].as_str()),
        (Some(&*jpeg), Some("data:image/jpeg;base64"))
    );
    // descry keeps an existing file.
    let (_, err) = films.bench.run(&tiny(&["search", "films", "dog", "--html", "pages/found.html"]), 1);
    assert!(err.contains("exists already") && err.contains("--force"), "{err}");
    films.bench.run(&tiny(&["search", "films", "zzz", "--by", "words", "--html", "pages/found.html", "--force"]), 0);
    assert_eq!(read_page(&films.bench.path("pages/found.html"))["results"], serde_json::json!([]));
    let names: Vec<_> = fs::read_dir(films.bench.path("pages")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["found.html"], "no partial file is left");
    let (_, err) = films.bench.run(&tiny(&["search", "films", "dog", "--html", "none/found.html"]), 2);
    assert!(err.contains("none") && err.contains("mkdir"), "{err}");
}
