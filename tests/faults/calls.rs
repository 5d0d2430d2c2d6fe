//! Every call that reads or writes fails once, in every way: nothing is lost or left half written, and a message says why.

use std::fs;
use std::path::Path;

use descry::archive::{Archive, check};
use descry::interrupt::Interrupt;

use crate::attempt::{Attempt, clear, copy, each_call};
use crate::common::archive_files::{assert_same, failures, films, folder, tree};
use crate::common::{Bench, TINY, root, tiny};
use crate::shim::Fault;

/// Asserts that two archives are the same, apart from locks: they hold nothing.
fn assert_same_archive(got: &Path, want: &Path) {
    let _ = fs::remove_dir_all(got.join("claims"));
    let _ = fs::remove_dir_all(want.join("claims"));
    assert_same(got, want);
}

/// Whether two archives are the same, apart from locks.
fn is_same_archive(got: &Path, want: &Path) -> bool {
    let files = |archive: &Path| {
        let mut all = tree(archive);
        all.retain(|name, _| !name.starts_with("claims/"));
        all
    };
    files(got) == files(want)
}

/// Asserts that every video that an archive has is sound. Returns how many there are.
fn sound(b: &Bench, about: &str) -> usize {
    let Ok(archive) = Archive::open(&b.path("archive").display().to_string()) else { return 0 };
    check(&archive, false, &Interrupt::new(), &mut |e| panic!("{about}: {e}")).unwrap().sound
}

#[test]
fn index_survives_a_fault_at_any_call() {
    let b = Bench::new();
    films(&b, 2);
    let args = tiny(&["index", "films", "--into", "archive"]);
    b.run(&tiny(&["index", "films", "--into", "want"]), 0);
    let examine = |success: bool, about: &str| {
        let videos = sound(&b, about);
        assert!(!success || videos == 2, "{about}: success is reported, and a video is missing");
        for (name, bytes) in tree(&b.path("")).iter().filter(|(name, _)| name.starts_with("archive/records/")) {
            let wanted = fs::read(b.path("").join(name.replacen("archive", "want", 1)));
            assert!(name.ends_with(".part") || wanted.is_ok_and(|w| w == *bytes), "{about}: {name}");
        }
        if success && is_same_archive(&b.path("archive"), &b.path("want")) {
            return;
        }
        b.run(&args, 0);
        assert_same_archive(&b.path("archive"), &b.path("want"));
    };
    // A claim that a signal interrupts, and one whose file cannot be examined.
    let known = &[(Fault::Interrupted, "lock", ".lock"), (Fault::Gone, "lock", ".lock")];
    let attempt = Attempt { known, ..Attempt::new(args.clone(), "archive", 1) };
    each_call(&b, &attempt, &|| clear(&b, "archive"), &examine);
}

/// A changed film replaces its older state.
#[test]
fn replacing_a_video_survives_a_fault_at_any_call() {
    let b = Bench::new();
    films(&b, 1);
    let args = tiny(&["index", "films", "--into", "archive"]);
    b.run(&tiny(&["index", "films", "--into", "old", "--max-gap", "1"]), 0);
    b.run(&tiny(&["index", "films", "--into", "want"]), 0);
    let examine = |success: bool, about: &str| {
        let videos = sound(&b, about);
        assert!(if success { videos == 1 } else { videos >= 1 }, "{about}: {videos} states of the video");
        if success && is_same_archive(&b.path("archive"), &b.path("want")) {
            return;
        }
        b.run(&args, 0);
        b.run(&["archive", "check", "archive", "--repair"], 0);
        assert_same_archive(&b.path("archive"), &b.path("want"));
    };
    let prepare = || copy(&b.path("old"), &b.path("archive"));
    each_call(&b, &Attempt::new(args.clone(), "archive", 1), &prepare, &examine);
}

/// Why a video cannot be described is recorded, or the video is tried again.
#[test]
fn recording_a_failure_survives_a_fault_at_any_call() {
    let b = Bench::new();
    films(&b, 1);
    b.write("films/bad.mp4", b"no video\n");
    let args = tiny(&["index", "films", "--into", "archive"]);
    let examine = |success: bool, about: &str| {
        let videos = sound(&b, about);
        assert!(!success || videos == 1, "{about}: success is reported, and a video is missing");
        // Panics if one is torn.
        let recorded = if b.path("archive").exists() { failures(&b.path("archive")) } else { Default::default() };
        assert!(!success || recorded.contains_key("bad.mp4"), "{about}: the failure is not recorded");
        b.run(&args, 1);
        assert_eq!(failures(&b.path("archive")).len(), 1, "{about}");
        assert_eq!(sound(&b, about), 1, "{about}");
        let all = tree(&b.path("archive"));
        assert!(!all.keys().any(|name| name.ends_with(".part")), "{about}: leftovers: {:?}", all.keys());
    };
    // The half-written record of a video that is never begun.
    let known = &[(Fault::Killed, "write", ".json.part")];
    let attempt = Attempt { whole: 1, known, ..Attempt::new(args.clone(), "archive", 1) };
    each_call(&b, &attempt, &|| clear(&b, "archive"), &examine);
}

#[test]
fn forgetting_a_video_survives_a_fault_at_any_call() {
    let b = Bench::new();
    films(&b, 2);
    b.run(&tiny(&["index", "films/film-1.mp4", "--into", "want"]), 0);
    b.run(&tiny(&["index", "films", "--into", "both"]), 0);
    let (list, _) = b.run(&["archive", "list", "both"], 0);
    let name = list.lines().find(|line| line.contains("film-0")).unwrap().split('\t').next().unwrap().to_string();
    let args = vec!["archive", "forget", "archive", &name];
    let examine = |success: bool, about: &str| {
        let videos = sound(&b, about);
        assert!(if success { videos == 1 } else { videos >= 1 }, "{about}: {videos} videos");
        b.descry(&args);
        b.run(&["archive", "check", "archive", "--repair"], 0);
        assert_eq!(sound(&b, about), 1, "{about}");
        assert_same_archive(&b.path("archive"), &b.path("want"));
    };
    let prepare = || copy(&b.path("both"), &b.path("archive"));
    each_call(&b, &Attempt::new(args.clone(), "archive", 1), &prepare, &examine);
}

/// A repair removes what is damaged and nothing else, whatever the disk does meanwhile.
#[test]
fn a_repair_survives_a_fault_at_any_call() {
    let b = Bench::new();
    films(&b, 2);
    b.run(&tiny(&["index", "films", "--into", "want"]), 0);
    copy(&b.path("want"), &b.path("damaged"));
    let table = folder(&b.path("damaged"), "film-0.mp4").join("keyframes.parquet");
    let mut bytes = fs::read(&table).unwrap();
    bytes[20] ^= 1;
    fs::write(&table, bytes).unwrap();
    let whole = folder(&b.path("want"), "film-1.mp4").strip_prefix(b.path("want")).unwrap().to_path_buf();
    let args = vec!["archive", "check", "archive", "--repair"];
    let examine = |success: bool, about: &str| {
        assert!(b.path("archive").join(&whole).exists(), "{about}: a sound video is removed");
        b.descry(&args);
        let (_, report) = b.run(&args, 0);
        assert!(!success || report.contains("1 video intact, 0 damaged"), "{about}: {report}");
        b.run(&tiny(&["index", "films", "--into", "archive"]), 0);
        assert_same_archive(&b.path("archive"), &b.path("want"));
    };
    let prepare = || copy(&b.path("damaged"), &b.path("archive"));
    // What cannot be read is not what is damaged.
    let known = &[(Fault::Broken, "read", "descriptions.json"), (Fault::Broken, "read", "keyframes.parquet")];
    let attempt = Attempt { whole: 1, known, ..Attempt::new(args.clone(), "archive", 1) };
    each_call(&b, &attempt, &prepare, &examine);
}

#[test]
fn a_search_index_survives_a_fault_at_any_call() {
    let b = Bench::new();
    films(&b, 2);
    b.run(&tiny(&["index", "films", "--into", "archive"]), 0);
    let args = tiny(&["search", "archive", "--by", "meaning", "--json", "a dog"]);
    let (want, _) = b.run(&args, 0);
    assert!(!want.is_empty());
    let examine = |_, about: &str| {
        let (found, _) = b.run(&args, 0);
        assert_eq!(found, want, "{about}");
    };
    let known = &[(Fault::Interrupted, "sync", "index.sqlite")];
    let attempt = Attempt { known, ..Attempt::new(args.clone(), "archive/search", 1) };
    each_call(&b, &attempt, &|| clear(&b, "archive/search"), &examine);
}

/// A video is added to an index, and another one removed from it.
#[test]
fn a_search_index_is_brought_up_to_date_whatever_the_disk_does() {
    let b = Bench::new();
    films(&b, 2);
    let args = tiny(&["search", "archive", "--by", "meaning", "--json", "a dog"]);
    b.run(&tiny(&["index", "films/film-0.mp4", "--into", "archive"]), 0);
    b.run(&args, 0);
    copy(&b.path("archive/search"), &b.path("old"));
    b.run(&tiny(&["index", "films/film-1.mp4", "--into", "archive", "--prune"]), 0);
    let (want, _) = b.run(&args, 0);
    let examine = |_, about: &str| {
        let (found, _) = b.run(&args, 0);
        assert_eq!(found, want, "{about}");
    };
    let prepare = || copy(&b.path("old"), &b.path("archive/search"));
    each_call(&b, &Attempt::new(args.clone(), "archive/search", 1), &prepare, &examine);
}

fn loads(model: &str, more: &[&str], known: &[(Fault, &str, &str)]) {
    let b = Bench::new();
    films(&b, 1);
    copy(&root().join(model), &b.path("model"));
    let args = ["describe", "films/film-0.mp4", "--model", "model", "--force", "-o", "film.vtt"];
    let args = [&args, more].concat();
    b.run(&args, 0);
    let want = b.read("film.vtt");
    let prepare = || {
        let _ = fs::remove_file(b.path("film.vtt"));
    };
    let examine = |success: bool, about: &str| {
        let written = fs::read_to_string(b.path("film.vtt")).ok();
        assert_eq!(written.as_ref(), success.then_some(&want), "{about}");
    };
    let attempt = Attempt { known, ..Attempt::new(args.clone(), "model", 2) };
    each_call(&b, &attempt, &prepare, &examine);
}

#[test]
fn a_model_is_loaded_whole_or_not_at_all() {
    loads(TINY, &[], &[(Fault::Broken, "stat", "model.json")]);
}

#[test]
fn a_model_in_the_layout_of_the_hub_is_loaded_whole_or_not_at_all() {
    let embedder = root().join(TINY).display().to_string();
    // An optional file that seems to be missing, and a precision that seems to be incomplete.
    let known =
        &[(Fault::Broken, "stat", "generation_config.json"), (Fault::Broken, "stat", "onnx/vision_encoder.onnx")];
    loads("tests/models/florence", &["--embedder", &embedder, "--max-tokens", "8"], known);
}
