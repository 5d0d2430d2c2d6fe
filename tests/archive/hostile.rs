//! Archives that someone prepared: names and links that lead out, tables and databases that claim or compute without end.
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::common::archive_files::{films, folder, records};
use crate::common::{Bench, tiny};

/// An archive of one film, with a search index if `searched`.
fn archive(searched: bool) -> Bench {
    let b = Bench::new();
    films(&b, 1);
    b.run(&tiny(&["index", "films", "--into", "archive"]), 0);
    if searched {
        b.run(&["search", "archive", "--by", "words", "the"], 0);
    }
    fs::write(b.path("secret"), b"\xff\xd8\xff the secret of another folder").unwrap();
    b
}

fn film(b: &Bench) -> PathBuf {
    folder(&b.path("archive"), "film-0.mp4")
}

fn change_record(b: &Bench, change: impl FnOnce(&mut Value)) {
    let (path, mut record) = records(&b.path("archive")).remove("film-0.mp4").unwrap();
    change(&mut record);
    fs::write(b.path("archive").join(path), record.to_string()).unwrap();
}

/// Runs descry, which must end by itself.
fn run_in_time(b: &Bench, args: &[&str]) -> (Option<i32>, String) {
    let out = fs::File::create(b.path("messages")).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_descry"))
        .args(args)
        .current_dir(b.path(""))
        .stdout(Stdio::null())
        .stderr(out)
        .spawn()
        .unwrap();
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if started.elapsed() > Duration::from_secs(120) {
            child.kill().unwrap();
            panic!("descry {args:?} does not end");
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    (status.code(), b.read("messages"))
}

#[test]
fn names_in_a_record_do_not_lead_out() {
    let b = archive(false);
    let out = ["../../../../secret", "/etc/passwd", "thumbnails/../../../../../secret", "..\\secret", "", "./x"];
    for name in out {
        change_record(&b, |record| {
            record["files"] = json!({ name: { "bytes": 1, "sha256": "00" } });
        });
        let (_, err) = b.run(&["archive", "check", "archive"], 1);
        assert!(err.contains("leads out of its folder") || name.is_empty(), "{name}: {err}");
        assert!(!err.contains("bytes; its record"), "the size of another file: {err}");
    }
    b.run(&["archive", "check", "archive", "--repair"], 1);
    assert!(b.path("secret").exists());
}

#[test]
fn a_record_cannot_take_all_memory() {
    let b = archive(false);
    change_record(&b, |record| record["options"] = json!(vec![0; 5_000_000]));
    let (_, err) = b.run(&["archive", "check", "archive"], 1);
    assert!(err.contains("is damaged") && err.contains("options have more than"), "{err}");
}

/// What a page shows of the secret.
fn page(b: &Bench) -> (String, String) {
    let (_, err) =
        b.run(&tiny(&["search", "archive", "a dog", "--by", "meaning", "--html", "page.html", "--force"]), 0);
    (b.read("page.html"), err)
}

#[test]
fn links_in_an_archive_are_not_followed() {
    let b = archive(false);
    let mut thumbnails: Vec<PathBuf> =
        fs::read_dir(film(&b).join("thumbnails")).unwrap().map(|entry| entry.unwrap().path()).collect();
    thumbnails.sort();
    for thumbnail in &thumbnails {
        fs::remove_file(thumbnail).unwrap();
        symlink(b.path("secret"), thumbnail).unwrap();
    }
    let (_, err) = b.run(&["archive", "check", "archive"], 1);
    assert!(err.contains("symbolic link") && !err.contains("33 bytes"), "{err}");
    let (html, err) = page(&b);
    // `\xff\xd8\xff the` in Base64.
    assert!(!html.contains("/9j/IHRoZ") && html.contains("no picture"), "{html}");
    assert!(err.contains("symbolic link"), "{err}");
    // A pipe would make descry wait for its other end.
    fs::remove_file(&thumbnails[0]).unwrap();
    assert!(Command::new("mkfifo").arg(&thumbnails[0]).status().unwrap().success());
    let (code, err) = run_in_time(&b, &["archive", "check", "archive"]);
    assert!(code == Some(1) && err.contains("regular file"), "{err}");
    fs::remove_file(&thumbnails[0]).unwrap();
    // The record itself.
    let record = b.path("archive").join(&records(&b.path("archive"))["film-0.mp4"].0);
    fs::rename(&record, b.path("record.json")).unwrap();
    symlink(b.path("record.json"), &record).unwrap();
    let (_, err) = b.run(&["archive", "list", "archive"], 1);
    assert!(err.contains("symbolic link"), "{err}");
}

#[test]
fn nothing_is_written_or_removed_behind_a_link() {
    let b = archive(false);
    let (record, _) = records(&b.path("archive")).remove("film-0.mp4").unwrap();
    let shelf = film(&b).parent().unwrap().to_path_buf();
    fs::rename(&shelf, b.path("elsewhere")).unwrap();
    symlink(b.path("elsewhere"), &shelf).unwrap();
    let before = crate::common::archive_files::tree(&b.path("elsewhere"));
    // The record is removed, so that the film is described again.
    fs::remove_file(b.path("archive").join(&record)).unwrap();
    let (_, err) = b.run(&tiny(&["index", "films", "--into", "archive"]), 1);
    assert!(err.contains("symbolic link") && err.contains("videos"), "{err}");
    let (_, err) = b.run(&["archive", "check", "archive", "--repair"], 1);
    assert!(err.contains("symbolic link"), "{err}");
    assert_eq!(crate::common::archive_files::tree(&b.path("elsewhere")), before);
    // A lock, and the folder of locks.
    fs::remove_file(&shelf).unwrap();
    let _ = fs::remove_dir_all(b.path("archive/claims"));
    fs::create_dir(b.path("locks")).unwrap();
    symlink(b.path("locks"), b.path("archive/claims")).unwrap();
    let (_, err) = b.run(&tiny(&["index", "films", "--into", "archive"]), 1);
    assert!(err.contains("symbolic link"), "{err}");
    assert_eq!(fs::read_dir(b.path("locks")).unwrap().count(), 0);
}

#[test]
fn the_search_index_is_not_written_behind_a_link() {
    let b = archive(true);
    fs::rename(b.path("archive/search"), b.path("index")).unwrap();
    symlink(b.path("index"), b.path("archive/search")).unwrap();
    let search = ["search", "archive", "--by", "words", "the"];
    let (_, err) = b.run(&search, 1);
    assert!(err.contains("symbolic link") && err.contains("--index"), "{err}");
    // A folder that the user names may be one.
    b.run(&[&search[..], &["--index", "archive/search"]].concat(), 0);
    // A file in it may not.
    fs::remove_file(b.path("archive/search")).unwrap();
    fs::rename(b.path("index"), b.path("archive/search")).unwrap();
    let database = b.path("archive/search/index.sqlite");
    fs::rename(&database, b.path("database")).unwrap();
    symlink(b.path("database"), &database).unwrap();
    let before = fs::read(b.path("database")).unwrap();
    let (_, err) = b.run(&search, 0);
    assert!(err.contains("symbolic link") && err.contains("has been rebuilt"), "{err}");
    assert_eq!(fs::read(b.path("database")).unwrap(), before);
    assert!(!fs::symlink_metadata(&database).unwrap().is_symlink());
}

/// A table of some kilobytes whose first page claims to have three gigabytes.
fn claim_gigabytes(table: &Path) {
    let mut bytes = fs::read(table).unwrap();
    // The header of a data page: its kind, then its size.
    let at = bytes.windows(3).position(|w| w == [0x15, 0x00, 0x15]).expect("a page");
    bytes[at + 3..at + 8].copy_from_slice(&[0x80, 0xe0, 0xde, 0xe6, 0x0b]);
    fs::write(table, bytes).unwrap();
}

#[test]
fn a_small_table_cannot_take_gigabytes() {
    let b = archive(false);
    claim_gigabytes(&film(&b).join("keyframes.parquet"));
    let script = "ulimit -v 2500000; exec \"$0\" archive export archive -o all.parquet";
    let out =
        Command::new("sh").args(["-c", script, env!("CARGO_BIN_EXE_descry")]).current_dir(b.path("")).output().unwrap();
    let err = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{err}");
    assert!(err.contains("keyframes.parquet: is not a readable table") && err.contains("a page"), "{err}");
    assert!(!err.contains("panicked") && !b.path("all.parquet").exists(), "{err}");
}

/// A table in which one number after another is changed: the Parquet reader has panicked at some.
#[test]
fn a_broken_table_prints_no_panic() {
    let b = archive(false);
    let table = film(&b).join("keyframes.parquet");
    let whole = fs::read(&table).unwrap();
    for at in (whole.len() * 2 / 3..whole.len()).step_by(whole.len() / 150) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0xff;
        fs::write(&table, bytes).unwrap();
        let out = b.descry(&["archive", "export", "archive", "-o", "all.parquet", "--force"]);
        let err = String::from_utf8_lossy(&out.stderr);
        assert!(matches!(out.status.code(), Some(0 | 1)) && !err.contains("panicked"), "{at}: {err}");
    }
}

/// Tables of the index that are none, or that do something when they are read.
#[test]
fn foreign_tables_in_a_search_index_are_not_used() {
    let endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n)";
    let schemas = [
        format!(
            "DROP TABLE videos; CREATE VIEW videos AS {endless}
                SELECT x AS id, x AS key, x AS state, '' AS name, 1 AS model, 1 AS keyframes FROM n WHERE x < 0"
        ),
        format!("DROP TABLE meta; CREATE VIEW meta AS {endless} SELECT 'format' AS key, x AS value FROM n WHERE x < 0"),
        format!("DROP TABLE texts; CREATE VIEW texts AS {endless} SELECT x AS id, 'a' AS text FROM n WHERE x < 0"),
        "CREATE TRIGGER t AFTER UPDATE ON meta BEGIN DELETE FROM videos; END".into(),
        "CREATE VIRTUAL TABLE other USING fts5 (text)".into(),
        "CREATE TABLE other (x)".into(),
        "CREATE INDEX other ON videos (abs(id))".into(),
        "PRAGMA journal_mode = WAL; DELETE FROM videos".into(),
    ];
    let b = archive(true);
    let search = ["search", "archive", "--by", "words", "the"];
    for schema in schemas {
        let db = Connection::open(b.path("archive/search/index.sqlite")).unwrap();
        db.execute_batch(&schema).unwrap();
        drop(db);
        let (code, err) = run_in_time(&b, &search);
        assert_eq!(code, Some(0), "{schema}: {err}");
        assert!(err.contains("was damaged") && err.contains("has been rebuilt"), "{schema}: {err}");
        let (_, err) = b.run(&search, 0);
        assert!(!err.contains("damaged"), "{schema}: {err}");
    }
}

/// SQLite removes the file that such a journal names, if it thinks that it belongs to a transaction of several databases.
#[test]
fn a_journal_names_no_other_files() {
    let b = archive(true);
    let victim = b.path("victim");
    fs::write(&victim, "mine").unwrap();
    let name = victim.to_str().unwrap().as_bytes();
    let sum: u32 = name.iter().map(|byte| u32::from(*byte)).sum();
    let mut journal = vec![0; 512];
    journal[..8].copy_from_slice(&[0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7]);
    journal[20..24].copy_from_slice(&512u32.to_be_bytes());
    journal[24..28].copy_from_slice(&4096u32.to_be_bytes());
    // The page of the lock byte, then the name.
    journal.extend((0x4000_0000u32 / 4096 + 1).to_be_bytes());
    journal.extend(name);
    journal.extend((name.len() as u32).to_be_bytes());
    journal.extend(sum.to_be_bytes());
    journal.extend([0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7]);
    fs::write(b.path("archive/search/index.sqlite-journal"), journal).unwrap();
    let (_, err) = b.run(&["search", "archive", "--by", "words", "the"], 0);
    assert!(err.contains("names other files") && err.contains("has been rebuilt"), "{err}");
    assert_eq!(b.read("victim"), "mine");
}

#[test]
fn a_search_index_cannot_take_all_memory() {
    let b = archive(true);
    for change in [
        "UPDATE videos SET id = 2147483000",
        "UPDATE texts SET id = 4294967000 WHERE id = (SELECT max(id) FROM texts); INSERT INTO words (words) VALUES ('rebuild')",
        "UPDATE models SET width = 1 << 40",
        "UPDATE segments SET keyframes = 1 << 40",
    ] {
        let db = Connection::open(b.path("archive/search/index.sqlite")).unwrap();
        db.execute_batch(change).unwrap();
        drop(db);
        let script = "ulimit -v 2500000; exec \"$0\" search archive --by words a";
        let out = Command::new("sh")
            .args(["-c", script, env!("CARGO_BIN_EXE_descry")])
            .current_dir(b.path(""))
            .output()
            .unwrap();
        let err = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(0), "{change}: {err}");
        assert!(err.contains("has been rebuilt"), "{change}: {err}");
    }
}
