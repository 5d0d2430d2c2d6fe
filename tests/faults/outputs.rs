//! A fault at each call that writes outputs: a file is the old one, the new one or missing, and never half of one.

use std::fs;

use crate::attempt::{Attempt, clear, each_call};
use crate::common::archive_files::{films, tree};
use crate::common::{Bench, tiny};
use crate::everything;
use crate::shim::Fault;

/// The files of a folder that have their own name.
fn files(b: &Bench, folder: &str) -> Vec<(String, Vec<u8>)> {
    let at = b.path(folder);
    let all = if at.exists() { tree(&at) } else { Default::default() };
    all.into_iter().filter(|(name, _)| !name.ends_with(".part")).collect()
}

/// Tries a command that writes into the folder `OUT`, where the file `old` may be.
fn try_outputs(b: &Bench, args: &[&str], old: Option<&str>, known: &[(Fault, &str, &str)]) {
    let at = |folder: &str| -> Vec<String> { args.iter().map(|a| a.replace("OUT", folder)).collect() };
    let (to_want, to_out) = (at("want"), at("out"));
    clear(b, "want");
    fs::create_dir_all(b.path("want")).unwrap();
    b.run(&to_want.iter().map(String::as_str).collect::<Vec<_>>(), 0);
    let want: Vec<(String, Vec<u8>)> = files(b, "want");
    let prepare = || {
        clear(b, "out");
        if let Some(name) = old {
            fs::create_dir(b.path("out")).unwrap();
            fs::write(b.path("out").join(name), "the old one").unwrap();
        }
    };
    let examine = |success: bool, about: &str| {
        let found = files(b, "out");
        assert!(!success || found == want, "{about}: success is reported, and outputs are missing");
        for (name, bytes) in &found {
            let is_old = old == Some(name) && bytes == b"the old one";
            assert!(is_old || want.contains(&(name.clone(), bytes.clone())), "{about}: {name} is torn");
        }
        assert!(old.is_none_or(|name| found.iter().any(|(n, _)| n == name)), "{about}: the old file is gone");
    };
    let attempt = Attempt { known, ..Attempt::new(to_out.iter().map(String::as_str).collect(), "out", 1) };
    each_call(b, &attempt, &prepare, &examine);
}

#[test]
fn descriptions_are_whole_or_missing() {
    let b = Bench::new();
    films(&b, 2);
    let args = tiny(&["describe", "films/film-0.mp4", "films/film-1.mp4", "--format", "vtt,json,csv", "-o", "OUT/"]);
    try_outputs(&b, &args, None, &[]);
}

#[test]
fn descriptions_replace_older_ones_in_one_step() {
    let b = Bench::new();
    films(&b, 1);
    let args = tiny(&["describe", "films/film-0.mp4", "--format", "vtt,srt", "--force", "-o", "OUT/"]);
    // The folder seems to be missing.
    try_outputs(&b, &args, Some("film-0.vtt"), &[(Fault::Gone, "stat", "out/")]);
}

#[test]
fn parts_and_what_is_stitched_of_them_are_whole_or_missing() {
    let b = Bench::new();
    films(&b, 1);
    let part = tiny(&["part", "films/film-0.mp4", "--part", "1/1", "-o", "OUT/one.part-of-film"]);
    try_outputs(&b, &part, None, &[]);
    fs::copy(b.path("want/one.part-of-film"), b.path("one")).unwrap();
    let stitch = tiny(&["stitch", "films/film-0.mp4", "one", "--format", "vtt,json", "-o", "OUT/"]);
    try_outputs(&b, &stitch, None, &[]);
}

#[test]
fn exports_and_pages_are_whole_or_missing() {
    let b = Bench::new();
    films(&b, 2);
    b.run(&tiny(&["index", "films", "--into", "archive"]), 0);
    fs::create_dir(b.path("out")).unwrap();
    try_outputs(&b, &["archive", "export", "archive", "--force", "-o", "OUT/all.parquet"], Some("all.parquet"), &[]);
    let search = ["search", "archive", "--by", "meaning", "a dog", "--force", "--html", "OUT/page.html"];
    try_outputs(&b, &tiny(&search), Some("page.html"), &[(Fault::Gone, "stat", "page.html")]);
}

/// The cues of a WebVTT file, without their times: those follow the clock.
fn cues(text: &str, about: &str) -> Vec<String> {
    assert!(text.is_empty() || text.starts_with("WEBVTT\n"), "{about}: {text}");
    assert!(text.is_empty() || text.ends_with('\n'), "{about}: {text}");
    let blocks = text.split("\n\n").filter(|block| block.contains(" --> "));
    blocks.map(|block| block.trim().lines().skip_while(|l| !l.contains(" --> ")).skip(1).collect()).collect()
}

/// Cuts off what a killed process, or a disk that is full and cannot be changed either, leaves of the last block. The next run
/// with `--append` does the same; see below.
fn whole_blocks(text: &str) -> &str {
    let whole = text.ends_with('\n') && text.trim_end().lines().next_back().is_some_and(|line| !line.contains(" --> "));
    if whole { text } else { &text[..text.rfind("\n\n").map_or(0, |at| at + 1)] }
}

/// A live output that grows: every block in it is whole, and none is lost to a disk that is well again a moment later.
#[test]
fn live_outputs_lose_nothing_and_show_nothing_torn() {
    let b = Bench::new();
    films(&b, 1);
    let args = tiny(&["live", "--realtime", "films/film-0.mp4", "--vtt", "out/film.vtt", "--hls", "out/hls"]);
    fs::create_dir(b.path("out")).unwrap();
    b.run(&args, 0);
    let want = cues(&b.read("out/film.vtt"), "undisturbed");
    assert!(want.len() > 1, "{want:?}");
    let prepare = || {
        clear(&b, "out");
        fs::create_dir(b.path("out")).unwrap();
    };
    let examine = |success: bool, about: &str| {
        let all = files(&b, "out");
        for (name, bytes) in all.iter().filter(|(name, _)| name.ends_with(".vtt")) {
            let text = std::str::from_utf8(bytes).unwrap();
            let grows = name == "film.vtt" && !success;
            let found = cues(if grows { whole_blocks(text) } else { text }, &format!("{about}: {name}"));
            assert!(found.iter().all(|cue| want.contains(cue)), "{about}: {name}: {found:?}");
            assert!(!success || name != "film.vtt" || found == want, "{about}: {name}: {found:?}");
        }
        let playlist = all.iter().find(|(name, _)| name.ends_with(".m3u8"));
        let playlist = playlist.map(|(_, bytes)| String::from_utf8(bytes.clone()).unwrap()).unwrap_or_default();
        for segment in playlist.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            assert!(b.path("out/hls").join(segment).exists(), "{about}: {segment} is listed and missing");
        }
        assert!(!success || playlist.contains("#EXT-X-ENDLIST"), "{about}: {playlist}");
        let torn = all.iter().find(|(name, bytes)| name == "film.vtt" && !bytes.ends_with(b"\n"));
        if let Some((_, bytes)) = torn {
            let kept = cues(whole_blocks(std::str::from_utf8(bytes).unwrap()), about);
            b.run(&[&args[..], &["--append"]].concat(), 0);
            let found = cues(&b.read("out/film.vtt"), about);
            assert_eq!(found, [kept, want.clone()].concat(), "{about}: the file goes on after its last whole block");
        }
    };
    // A disk that stays full to the end.
    let known = &[(Fault::Full { half: false }, "rename", "descriptions.m3u8")];
    let most = if everything() { 200 } else { 5 };
    each_call(&b, &Attempt { most, known, ..Attempt::new(args.clone(), "out", 1) }, &prepare, &examine);
}
