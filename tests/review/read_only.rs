//! Films and archives in folders that cannot be written. Root can write everywhere, so a test that runs as root starts descry
//! as nobody.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::common::{Bench, TINY, root, tiny};
use crate::support::{Review, film, seen};

/// A folder in which somebody may write nothing but in `mine`.
struct ReadOnly {
    b: Bench,
    binary: PathBuf,
    is_root: bool,
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

impl ReadOnly {
    /// `make`: what is in it.
    fn new(make: impl FnOnce(&Bench)) -> ReadOnly {
        let b = Bench::new();
        fs::create_dir(b.path("films")).unwrap();
        film(&b, "films/film.mp4");
        make(&b);
        let is_root = fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0);
        let mut binary = Path::new(env!("CARGO_BIN_EXE_descry")).to_path_buf();
        set_mode(&b.path(""), 0o755);
        if is_root {
            // The folder of the build, the model and the runtime may be readable only by root.
            fs::copy(&binary, b.path("descry")).unwrap();
            binary = b.path("descry");
            set_mode(&binary, 0o755);
        }
        let library = fs::read_dir(root().join("vendor/onnxruntime"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.to_string_lossy().contains("libonnxruntime.so"))
            .expect("the runtime is missing: run make setup");
        fs::copy(library, b.path("libonnxruntime.so")).unwrap();
        fs::create_dir(b.path("model")).unwrap();
        for file in fs::read_dir(root().join(TINY)).unwrap() {
            let path = file.unwrap().path();
            fs::copy(&path, b.path("model").join(path.file_name().unwrap())).unwrap();
        }
        fs::create_dir(b.path("mine")).unwrap();
        set_mode(&b.path("mine"), 0o777);
        let open = ReadOnly { b, binary, is_root };
        open.close(&open.b.path("films"));
        if open.b.path("archive").exists() {
            open.close(&open.b.path("archive"));
        }
        open
    }

    /// Nobody but root may write in a folder, and everybody may read it.
    fn close(&self, folder: &Path) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                self.close(&path);
            } else {
                set_mode(&path, 0o444);
            }
        }
        set_mode(folder, 0o555);
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        let options = ["--no-open", "--listen", "127.0.0.1:0", "--audio", "none", "--model", "model"];
        command.arg("review").args(args).args(options).current_dir(self.b.path(""));
        command.env("DESCRY_ONNXRUNTIME", self.b.path("libonnxruntime.so")).env("HOME", self.b.path("mine"));
        if self.is_root {
            command.uid(65534).gid(65534);
        }
        command
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        // So that it can be removed.
        fn open(folder: &Path) {
            set_mode(folder, 0o755);
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    open(&path);
                }
            }
        }
        for name in ["films", "archive"] {
            if self.b.path(name).exists() {
                open(&self.b.path(name));
            }
        }
    }
}

#[test]
fn a_film_in_a_folder_that_cannot_be_written_is_reviewed_elsewhere() {
    let only = ReadOnly::new(|_| ());
    let out = only.command(&["films/film.mp4"]).output().unwrap();
    let errors = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{errors}");
    assert!(errors.contains("films/film.review.json: cannot be written") && errors.contains("--review"), "{errors}");
    let review = Review::of(only.command(&["films/film.mp4", "--review", "mine/film.json", "--min-score", "0"]));
    let add = json!({ "do": "add", "start": 1.0, "end": 2.0, "text": "A walrus." });
    review.edit(&add);
    assert_eq!(review.end().0, Some(130));
    assert!(only.b.read("mine/film.json").contains("A walrus."));
}

#[test]
fn an_archive_that_cannot_be_written_is_reviewed_elsewhere() {
    let only = ReadOnly::new(|b| {
        let args = ["index", "films", "--into", "archive", "--min-score", "0", "--audio", "none"];
        b.run(&tiny(&args), 0);
    });
    let page = |review: &Review| {
        let (status, list) = review.post("/api/films", &json!({}));
        assert_eq!(status, 200, "{list}");
        format!("/films/{}", list["films"][0]["key"].as_str().unwrap())
    };
    let review = Review::of(only.command(&["archive"]));
    let (status, _, answer) = review.get(&format!("{}/api/review", page(&review)));
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    let why = answer["error"].as_str().unwrap();
    assert!(status == 422 && why.contains("cannot be written") && why.contains("--review"), "{why}");
    drop(review);
    let review = Review::of(only.command(&["archive", "--review", "mine"]));
    let page = page(&review);
    let loaded: Value = serde_json::from_slice(&review.get(&format!("{page}/api/review")).2).unwrap();
    let to = json!({ "do": "change", "cue": seen(&loaded, 0), "to": { "text": "A walrus." } });
    assert_eq!(review.post(&format!("{page}/api/edit"), &json!({ "edit": to })).0, 200);
    assert_eq!(review.end().0, Some(130));
    let kept: Vec<PathBuf> = fs::read_dir(only.b.path("mine")).unwrap().map(|e| e.unwrap().path()).collect();
    assert!(kept.len() == 1 && fs::read_to_string(&kept[0]).unwrap().contains("A walrus."), "{kept:?}");
}
