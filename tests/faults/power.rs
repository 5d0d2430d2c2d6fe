//! A power failure after any change: the archive opens, is sound, and the job finishes to the same archive; an output is the
//! old one or the new one.

use std::collections::HashSet;
use std::fs;

use descry::archive::{Archive, check};
use descry::interrupt::Interrupt;

use crate::attempt::copy;
use crate::common::archive_files::{assert_same, failures, films, records, tree};
use crate::common::{Bench, tiny};
use crate::disk::{Disk, Loss, read_log};
use crate::shim::log;
use crate::{Random, everything};

/// Runs descry on the folder `disk`, and calls `examine` for what power failures leave of it, in the folder `after`: with
/// whether descry had ended by then, and what to say when something is wrong.
pub(crate) fn each_failure(b: &Bench, args: &[&str], code: i32, examine: &dyn Fn(bool, &str)) {
    let before = Disk::of(&b.path("disk"));
    let (out, log) = log(b, args, "disk");
    assert_eq!(out.status.code(), Some(code), "{}", String::from_utf8_lossy(&out.stderr));
    let changes = read_log(&log, &b.path("disk").canonicalize().unwrap());
    assert!(changes.len() > 5, "{changes:?}");
    let mut random = Random::seeded();
    let points: Vec<usize> = match everything() {
        true => (0..=changes.len()).collect(),
        false => (0..6).map(|_| random.below(changes.len())).chain([changes.len()]).collect(),
    };
    let (mut states, mut seen) = (0, HashSet::new());
    for point in points {
        let mut disk = before.clone();
        changes[..point].iter().for_each(|change| disk.apply(change));
        let seeds = if everything() { 6 } else { 1 };
        let losses = [Loss::Everything, Loss::Bytes].into_iter().chain((0..seeds).map(|_| {
            let seed = random.below(1 << 30) as u64;
            Loss::Some(seed)
        }));
        for loss in losses {
            let _ = fs::remove_dir_all(b.path("after"));
            disk.fail(loss, &b.path("after"));
            states += 1;
            // Many failures leave the same.
            if !seen.insert((point == changes.len(), tree(&b.path("after")))) {
                continue;
            }
            let last = point.checked_sub(1).map(|n| &changes[n]);
            let last: String = format!("{last:?}").chars().take(200).collect();
            let about = format!("{loss:?} after change {point} of {}, {last}", changes.len());
            examine(point == changes.len(), &about);
        }
    }
    let (command, changes, different) = (args[..2].join(" "), changes.len(), seen.len());
    eprintln!("descry {command}: {changes} changes, {states} power failures, {different} different states after them");
}

/// Asserts that what the archive `after/archive` has is sound.
fn sound(b: &Bench, about: &str) {
    let at = b.path("after/archive");
    if at.join("archive.json").exists() {
        let archive = Archive::open(&at.display().to_string()).unwrap_or_else(|e| panic!("{about}: {e}"));
        check(&archive, false, &Interrupt::new(), &mut |e| panic!("{about}: {e}")).unwrap();
    }
}

/// Checks the archive `after/archive`, finishes the job there, and compares it with `want`.
fn finish(b: &Bench, about: &str) {
    let (at, want) = (b.path("after/archive"), b.path("want"));
    sound(b, about);
    let out = b.descry(&tiny(&["index", "films", "--into", "after/archive"]));
    assert_eq!(out.status.code(), Some(0), "{about}: {}", String::from_utf8_lossy(&out.stderr));
    // Files of older states may be left; nothing names them.
    b.run(&["archive", "check", "after/archive", "--repair"], 0);
    let _ = fs::remove_dir_all(at.join("claims"));
    let _ = fs::remove_dir_all(want.join("claims"));
    assert_same(&at, &want);
}

#[test]
fn index_survives_a_power_failure_at_any_time() {
    let b = Bench::new();
    films(&b, 2);
    b.run(&tiny(&["index", "films", "--into", "want"]), 0);
    fs::create_dir(b.path("disk")).unwrap();
    let args = tiny(&["index", "films", "--into", "disk/archive"]);
    each_failure(&b, &args, 0, &|ended, about| {
        assert!(!ended || records(&b.path("after/archive")).len() == 2, "{about}: not all is on the disk");
        finish(&b, about);
    });
}

#[test]
fn replacing_a_video_survives_a_power_failure_at_any_time() {
    let b = Bench::new();
    films(&b, 1);
    b.run(&tiny(&["index", "films", "--into", "want"]), 0);
    fs::create_dir(b.path("disk")).unwrap();
    b.run(&tiny(&["index", "films", "--into", "disk/archive", "--max-gap", "1"]), 0);
    each_failure(&b, &tiny(&["index", "films", "--into", "disk/archive"]), 0, &|_, about| {
        let records = tree(&b.path("after/archive")).into_keys().filter(|n| n.starts_with("records/"));
        assert!(records.filter(|n| n.ends_with(".json")).count() >= 1, "{about}: the video is gone");
        finish(&b, about);
    });
}

/// Recorded failures are whole; a video that is forgotten takes no other one with it.
#[test]
fn failures_and_forgotten_videos_survive_a_power_failure_at_any_time() {
    let b = Bench::new();
    films(&b, 1);
    b.write("films/bad.mp4", b"no video\n");
    fs::create_dir(b.path("disk")).unwrap();
    let examine = |_, about: &str| {
        sound(&b, about);
        // Panics if one is torn.
        if b.path("after/archive").exists() {
            failures(&b.path("after/archive"));
        }
        b.run(&tiny(&["index", "films", "--into", "after/archive"]), 1);
        assert_eq!(failures(&b.path("after/archive")).len(), 1, "{about}");
        assert_eq!(records(&b.path("after/archive")).len(), 1, "{about}");
    };
    each_failure(&b, &tiny(&["index", "films", "--into", "disk/archive"]), 1, &examine);
    let (list, _) = b.run(&["archive", "list", "disk/archive"], 0);
    let name = list.split('\t').next().unwrap();
    each_failure(&b, &["archive", "forget", "disk/archive", name], 0, &examine);
}

/// The answer after a power failure is that before it, by an index that is whole or made again.
#[test]
fn a_search_index_survives_a_power_failure_at_any_time() {
    let b = Bench::new();
    films(&b, 2);
    let args = |index| tiny(&["search", "archive", "--by", "meaning", "--json", "a dog", "--index", index]);
    fs::create_dir(b.path("disk")).unwrap();
    b.run(&tiny(&["index", "films/film-0.mp4", "--into", "archive"]), 0);
    b.run(&args("disk/index"), 0);
    copy(&b.path("disk/index"), &b.path("old"));
    b.run(&tiny(&["index", "films", "--into", "archive"]), 0);
    let (want, _) = b.run(&args("new"), 0);
    let examine = |_, about: &str| {
        let (found, _) = b.run(&args("after/index"), 0);
        assert_eq!(found, want, "{about}");
    };
    // One that is made, and one that is brought up to date.
    fs::remove_dir_all(b.path("disk/index")).unwrap();
    each_failure(&b, &args("disk/index"), 0, &examine);
    copy(&b.path("old"), &b.path("disk/index"));
    each_failure(&b, &args("disk/index"), 0, &examine);
}

/// `old` is a file that is there before.
fn outputs(args: &dyn Fn(&'static str) -> Vec<&'static str>, old: Option<&str>) {
    let b = Bench::new();
    films(&b, 1);
    fs::create_dir(b.path("want")).unwrap();
    b.run(&args("want/out/"), 0);
    fs::create_dir(b.path("disk")).unwrap();
    if let Some(name) = old {
        fs::create_dir(b.path("disk/out")).unwrap();
        fs::write(b.path("disk/out").join(name), "the old one").unwrap();
    }
    let (want, old) = (tree(&b.path("want")), old.map(|name| format!("out/{name}")));
    each_failure(&b, &args("disk/out/"), 0, &|ended, about| {
        let found = tree(&b.path("after"));
        assert!(old.as_ref().is_none_or(|name| found.contains_key(name)), "{about}: the old file is gone");
        for (name, bytes) in found.iter().filter(|(name, _)| !name.ends_with(".part")) {
            let is_old = old.as_ref() == Some(name) && bytes == b"the old one";
            assert!(is_old && !ended || *bytes == want[name], "{about}: {name} is torn");
        }
        assert!(!ended || want.keys().all(|name| found.contains_key(name)), "{about}: not all is on the disk");
    });
}

#[test]
fn an_output_is_old_or_new_after_a_power_failure() {
    outputs(
        &|to| tiny(&["describe", "films/film-0.mp4", "--format", "vtt,json", "--force", "-o", to]),
        Some("film-0.vtt"),
    );
}

/// The folder is made, and nothing is replaced.
#[test]
fn an_output_in_a_new_folder_is_whole_or_missing_after_a_power_failure() {
    outputs(&|to| tiny(&["describe", "films/film-0.mp4", "--format", "vtt,csv", "-o", to]), None);
}
