//! `descry index` decodes each video in a process of its own.

use crate::common::archive_files::{assert_same, failures, records};
use crate::common::faulty::{self, KILLED, SEGFAULT, preload};
use crate::common::{Bench, tiny};

#[test]
fn videos_that_crash_the_decoder_are_failures_and_the_archive_is_the_same_otherwise() {
    let b = Bench::new();
    preload(&b);
    std::fs::create_dir(b.path("films")).unwrap();
    for (name, size) in [("a", (320, 180)), ("b", (322, SEGFAULT)), ("c", (322, KILLED)), ("d", (160, 120))] {
        faulty::film(&b, &format!("films/{name}.mp4"), size);
    }
    let out = faulty::descry(&b, &tiny(&["-v", "index", "films", "--into", "isolated", "-j", "2"]));
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("decoding in separate processes"), "{stderr}");
    let failed = failures(&b.path("isolated"));
    let causes: Vec<String> = failed.values().map(|(_, json)| json["cause"].to_string()).collect();
    assert!(causes.len() == 2 && causes[0].contains("SIGSEGV") && causes[1].contains("SIGKILL"), "{causes:?}");
    assert_eq!(records(&b.path("isolated")).len(), 2);
    for name in ["b", "c"] {
        std::fs::remove_file(b.path(&format!("films/{name}.mp4"))).unwrap();
    }
    // Both forget the videos that are gone.
    b.run(&tiny(&["index", "films", "--into", "isolated", "--prune"]), 0);
    let (_, said) = b.run(&tiny(&["-v", "index", "films", "--into", "plain", "--no-isolate"]), 0);
    assert!(!said.contains("separate processes"), "{said}");
    assert_same(&b.path("isolated"), &b.path("plain"));
}
