//! What a search index survives: deletion, damage, changes in the archive, concurrent processes, kills, read-only folders.

use std::fs;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use descry::archive::video_key;

use super::films::{Films, SAID, SEEN, lines};
use crate::common::made_archive::put;
use crate::common::tiny;

fn clear(films: &Films) {
    fs::remove_dir_all(films.bench.path("films/search")).unwrap();
}

#[test]
fn a_missing_or_damaged_index_is_rebuilt() {
    let films = Films::new();
    films.fill();
    let search = || films.bench.run(&tiny(&["search", "films", SEEN[0], "--json"]), 0);
    let want = search();
    assert_eq!(search(), want, "a second search returns the same");
    clear(&films);
    assert_eq!(search(), want);
    let (out, _) = films.bench.run(&tiny(&["search", "films", SEEN[0], "--json", "--rebuild"]), 0);
    assert_eq!(out, want.0);
    assert_eq!(
        films.bench.run(&["search", "films", "--rebuild", "-v"], 0).1,
        "search index: 3 videos added, 0 removed\n"
    );
    // In another folder.
    let (out, _) = films.bench.run(&tiny(&["search", "films", SEEN[0], "--json", "--index", "elsewhere/index"]), 0);
    assert_eq!(out, want.0);
    assert!(films.bench.path("elsewhere/index/index.sqlite").is_file());
    // With damage that shows at once.
    fs::write(films.bench.path("films/search/index.sqlite"), b"garbage").unwrap();
    let (out, err) = search();
    assert_eq!(out, want.0);
    assert!(err.contains("damaged") && err.contains("rebuilt"), "{err}");
    // With damage that shows only during a search.
    for entry in fs::read_dir(films.bench.path("films/search")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "vectors") {
            let mut bytes = fs::read(&path).unwrap();
            let length = bytes.len();
            bytes[length - 40..].iter_mut().for_each(|b| *b ^= 0x3F);
            fs::remove_file(&path).unwrap();
            fs::write(&path, bytes).unwrap();
        }
    }
    let (out, err) = search();
    assert_eq!(out, want.0);
    assert!(err.contains("damaged") && err.contains("rebuilt"), "{err}");
    assert_eq!(search().1, "");
    // Written by a newer descry.
    let db = rusqlite::Connection::open(films.bench.path("films/search/index.sqlite")).unwrap();
    db.execute("UPDATE meta SET value = 'descry-search/99' WHERE key = 'format'", []).unwrap();
    let (_, err) = films.bench.run(&tiny(&["search", "films", "dog"]), 2);
    assert!(err.contains("newer descry") && err.contains("--rebuild"), "{err}");
    assert_eq!(films.bench.run(&tiny(&["search", "films", SEEN[0], "--json", "--rebuild"]), 0).0, want.0);
}

#[test]
fn searches_see_changes_in_the_archive() {
    let films = Films::new();
    films.fill();
    assert_eq!(films.found(&["boat", "--by", "words"]), []);
    films.put("/films/new.mp4", 1, vec![films.keyframe(1, 0, SEEN[4], Some("A boat."))]);
    assert_eq!(films.found(&["boat", "--by", "words"]), [("/films/new.mp4".into(), 0.4)]);
    films.put("/films/new.mp4", 2, vec![films.keyframe(1, 9, SEEN[4], Some("A boat."))]);
    assert_eq!(films.found(&["boat", "--by", "words"]), [("/films/new.mp4".into(), 9.4)]);
    let name = films.archive.record_names().unwrap().into_iter().find(|n| n.key == video_key("/films/new.mp4"));
    assert!(films.archive.forget(name.unwrap().key).unwrap());
    assert_eq!(films.found(&["boat", "--by", "words"]), []);
    // A damaged table affects no other video.
    let record = films.archive.record_names().unwrap().into_iter().find(|n| n.key == video_key(SAID)).unwrap();
    clear(&films);
    let table = films.bench.path("films").join(films.archive.video_path(record, "keyframes.parquet"));
    let whole = fs::read(&table).unwrap();
    for damage in [&whole[..whole.len() / 2], b"", b"PAR1 and no more"] {
        fs::write(&table, damage).unwrap();
        let (out, err) = films.bench.run(&["search", "films", "dog", "--by", "words", "--json"], 1);
        assert_eq!(lines(&out).len(), 1, "{err}");
        assert!(err.contains("keyframes.parquet"), "{err}");
    }
    fs::remove_file(&table).unwrap();
    let (_, err) = films.bench.run(&["search", "films", "dog", "--by", "words"], 1);
    assert!(err.contains("keyframes.parquet") && err.contains("missing"), "{err}");
    fs::write(&table, whole).unwrap();
    assert_eq!(films.found(&["dog", "--by", "words"]).len(), 2);
}

/// A word that appears only in the captions of the n-th film.
fn word(n: usize) -> String {
    format!("w{n}x")
}

fn film(films: &Films, n: usize) {
    let caption = format!("Film {}.", word(n));
    let keyframes = (0..20).map(|s| films.keyframe(1 + s as u32, s, SEEN[s % 6], Some(&caption))).collect();
    films.put(&format!("/films/{n}.mp4"), 1, keyframes);
}

#[test]
fn searches_work_while_films_are_indexed() {
    let films = Films::new();
    film(&films, 0);
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for n in 1..60 {
                film(&films, n);
                // The first film is replaced, too.
                put(
                    &films.archive,
                    "/films/0.mp4",
                    n as u64 + 1,
                    &films.recipe,
                    [films.keyframe(1, 0, SEEN[0], Some("Film w0x."))],
                );
            }
            ended.store(true, Ordering::Relaxed);
        });
        for _ in 0..2 {
            scope.spawn(|| {
                let mut rounds = 0;
                while rounds < 3 || !ended.load(Ordering::Relaxed) {
                    let both = films.search(&["film", "-n", "100"]);
                    assert!(!both.is_empty());
                    rounds += 1;
                }
            });
        }
    });
    let found = films.search(&["film", "-n", "2000", "--by", "words"]);
    assert_eq!(found.len(), 1 + 59 * 20);
    clear(&films);
    assert_eq!(films.search(&["film", "-n", "2000", "--by", "words"]), found);
}

#[test]
fn a_killed_search_leaves_a_usable_index() {
    let films = Films::new();
    (0..40).for_each(|n| film(&films, n));
    let ask = ["search", "films", "film", "-n", "1000", "--by", "words", "--json"];
    let want = films.bench.run(&ask, 0).0;
    clear(&films);
    for round in 0..12 {
        let mut child = Command::new(env!("CARGO_BIN_EXE_descry"))
            .args(ask)
            .current_dir(films.bench.path(""))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        thread::sleep(Duration::from_millis(5 + 23 * round));
        let _ = child.kill();
        child.wait().unwrap();
        if round % 4 == 3 {
            assert_eq!(films.bench.run(&ask, 0).0, want, "{round}");
            clear(&films);
        } else if round % 4 == 1 {
            film(&films, round as usize);
        }
    }
    let (out, err) = films.bench.run(&ask, 0);
    assert_eq!((out.as_str(), err.as_str()), (want.as_str(), ""));
    let left: Vec<_> = fs::read_dir(films.bench.path("films/search"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(!left.iter().any(|n| n.ends_with(".part")), "{left:?}");
}

/// Runs descry as a user who cannot write to the archive. Tests may run as root, who can write everywhere.
fn as_nobody(films: &Films, args: &[&str]) -> (String, String) {
    let root_here = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    let mut command = if root_here {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", env!("CARGO_BIN_EXE_descry")]);
        command
    } else {
        Command::new(env!("CARGO_BIN_EXE_descry"))
    };
    let out =
        command.args(args).current_dir(films.bench.path("")).output().expect("setpriv is missing (Debian: util-linux)");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    (text(&out.stdout), text(&out.stderr))
}

#[cfg(unix)]
#[test]
fn a_read_only_archive_can_be_searched() {
    use std::os::unix::fs::PermissionsExt;
    let films = Films::new();
    films.fill();
    let mode =
        |path: &str, mode: u32| fs::set_permissions(films.bench.path(path), fs::Permissions::from_mode(mode)).unwrap();
    mode("", 0o755);
    mode("films", 0o555);
    let ask = ["search", "films", "dog", "--by", "words", "--json"];
    let (out, err) = as_nobody(&films, &ask);
    assert_eq!(lines(&out).len(), 2);
    assert!(err.contains("is not writable") && err.contains("--index"), "{err}");
    assert!(!films.bench.path("films/search").exists());
    mode("films", 0o755);
    let want = films.bench.run(&ask, 0).0;
    assert_eq!(out, want);
    mode("films", 0o555);
    mode("films/search", 0o555);
    // descry uses an up-to-date index where it is.
    assert_eq!(as_nobody(&films, &ask), (want.clone(), String::new()));
    mode("films", 0o755);
    mode("films/search", 0o755);
    film(&films, 1);
    mode("films/search", 0o555);
    let (out, err) = as_nobody(&films, &ask);
    // A word's score depends on all captions, so the test compares only the videos.
    let videos = |text: &str| lines(text).iter().map(|m| m["video"].to_string()).collect::<Vec<_>>();
    assert_eq!(videos(&out), videos(&want));
    assert!(err.contains("is not writable"), "{err}");
    let (out, _) = as_nobody(&films, &["search", "films", &word(1), "--by", "words", "--json"]);
    assert_eq!(lines(&out).len(), 10);
    mode("films/search", 0o755);
}
