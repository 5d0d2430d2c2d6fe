//! Named pipes, devices and standard input: what waits for another program can be stopped.
#![cfg(target_os = "linux")]

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{Bench, root, tiny};

const PATIENCE: Duration = Duration::from_secs(20);

/// A child that is killed with the test.
struct Running(Child);

impl Running {
    fn start(b: &Bench, args: &[&str]) -> Running {
        let child = Command::new(env!("CARGO_BIN_EXE_descry"))
            .args(args)
            .current_dir(b.path(""))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        Running(child.unwrap())
    }

    /// Waits until the process has this file open.
    fn has_open(&mut self, path: &Path) {
        let folder = format!("/proc/{}/fd", self.0.id());
        let path = path.canonicalize().unwrap();
        self.wait(|| {
            let open = std::fs::read_dir(&folder).into_iter().flatten().flatten();
            open.filter_map(|fd| std::fs::read_link(fd.path()).ok()).any(|target| target == path)
        });
    }

    /// Waits until a thread of the process waits for standard input.
    fn reads_stdin(&mut self) {
        let folder = format!("/proc/{}/task", self.0.id());
        self.wait(|| {
            let threads = std::fs::read_dir(&folder).into_iter().flatten().flatten();
            // The number of the system call, and its first argument: read from 0.
            let calls = threads.filter_map(|t| std::fs::read_to_string(t.path().join("syscall")).ok());
            calls.into_iter().any(|call| call.starts_with("0 0x0 ") || call.starts_with("63 0x0 "))
        });
    }

    fn wait(&mut self, mut done: impl FnMut() -> bool) {
        let began = Instant::now();
        while !done() {
            assert_eq!(self.0.try_wait().unwrap(), None, "descry ended: {}", self.stderr());
            assert!(began.elapsed() < PATIENCE, "descry waits elsewhere");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn stderr(&mut self) -> String {
        let mut text = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        text
    }

    /// Sends SIGTERM once, and returns the exit code.
    fn stop(mut self) -> Option<i32> {
        assert!(Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status().unwrap().success());
        let began = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code();
            }
            assert!(began.elapsed() < PATIENCE, "descry ignores SIGTERM");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn pipe(b: &Bench, name: &str) {
    assert!(Command::new("mkfifo").arg(b.path(name)).status().unwrap().success());
}

/// Before it has a writer, and while the writer writes nothing.
#[test]
fn a_signal_ends_the_wait_for_a_named_pipe() {
    let b = Bench::new();
    pipe(&b, "pipe.ts");
    for args in [tiny(&["describe", "pipe.ts", "-o", "a.vtt"]), vec!["probe", "pipe.ts"]] {
        let mut waiting = Running::start(&b, &args);
        waiting.has_open(&b.path("pipe.ts"));
        assert_eq!(waiting.stop(), Some(130), "{args:?}");
        let mut reading = Running::start(&b, &args);
        reading.has_open(&b.path("pipe.ts"));
        let mut writer = std::fs::OpenOptions::new().write(true).open(b.path("pipe.ts")).unwrap();
        writer.write_all(&[0x47; 188]).unwrap();
        assert_eq!(reading.stop(), Some(130), "{args:?}");
        drop(writer);
    }
}

#[test]
fn a_film_may_come_through_a_named_pipe() {
    let b = Bench::new();
    b.ffmpeg("-f lavfi -i testsrc2=size=64x36:rate=10 -t 2 -c:v libx264 film.ts");
    pipe(&b, "pipe.ts");
    let film = std::fs::read(b.path("film.ts")).unwrap();
    let path = b.path("pipe.ts");
    // In pieces, so that FFmpeg has to wait.
    let writer = std::thread::spawn(move || {
        let mut pipe = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        for piece in film.chunks(film.len() / 3) {
            pipe.write_all(piece).unwrap();
            std::thread::sleep(Duration::from_millis(30));
        }
    });
    b.run(&tiny(&["describe", "pipe.ts", "-f", "json", "-o", "pipe.json"]), 0);
    writer.join().unwrap();
    b.run(&tiny(&["describe", "film.ts", "-f", "json", "-o", "film.json"]), 0);
    let scenes = |name: &str| serde_json::from_str::<serde_json::Value>(&b.read(name)).unwrap()["scenes"].clone();
    assert!(!scenes("film.json").as_array().unwrap().is_empty());
    assert_eq!(scenes("pipe.json"), scenes("film.json"));
}

/// A description for a pipe that nobody reads. WebVTT is written first.
#[test]
fn a_signal_ends_the_wait_for_the_reader_of_a_named_pipe() {
    let b = Bench::new();
    b.ffmpeg("-f lavfi -i testsrc2=size=64x36:rate=10 -t 2 -c:v libx264 film.ts");
    std::fs::create_dir(b.path("out")).unwrap();
    pipe(&b, "out/film.json");
    let mut waiting = Running::start(&b, &tiny(&["describe", "film.ts", "-f", "vtt,json", "-o", "out"]));
    waiting.wait(|| b.path("out/film.vtt").exists());
    assert_eq!(waiting.stop(), Some(130));
    let mut writing = Running::start(&b, &tiny(&["describe", "film.ts", "-f", "json", "-o", "out"]));
    let track: serde_json::Value = serde_json::from_str(&b.read("out/film.json")).unwrap();
    assert!(!track["cues"].as_array().unwrap().is_empty(), "{track}");
    assert!(writing.0.wait().unwrap().success());
}

/// Where only a file makes sense, nothing waits at all.
/// `/dev/stdout` is such a link, and a program of root could replace it for everybody.
#[test]
fn a_link_to_standard_output_is_written_through_and_stays() {
    let b = Bench::new();
    std::fs::copy(root().join("samples/bikes.mp4"), b.path("a.mp4")).unwrap();
    std::os::unix::fs::symlink("/proc/self/fd/1", b.path("link")).unwrap();
    for force in [&[][..], &["--force"]] {
        let out = std::fs::File::create(b.path("out.vtt")).unwrap();
        let args = tiny(&[&["--quiet", "describe", "a.mp4", "-o", "link"], force].concat());
        let mut command = Command::new(env!("CARGO_BIN_EXE_descry"));
        assert!(command.args(args).current_dir(b.path("")).stdout(out).status().unwrap().success());
        assert!(b.path("link").is_symlink(), "the link was replaced");
        assert!(b.read("out.vtt").starts_with("WEBVTT"));
    }
}

#[test]
fn named_pipes_and_devices_are_refused_where_a_file_is_needed() {
    let b = Bench::new();
    std::fs::create_dir(b.path("model")).unwrap();
    for entry in std::fs::read_dir(root().join(crate::common::TINY)).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), b.path("model").join(entry.file_name())).unwrap();
    }
    std::fs::remove_file(b.path("model/tokenizer.json")).unwrap();
    std::fs::create_dir(b.path("other")).unwrap();
    for name in ["pipe", "pipe.txt", "pipe.jpg", "model/tokenizer.json", "other/model.json"] {
        pipe(&b, name);
    }
    let piped = "a named pipe, not a file";
    for (args, code, cause) in [
        (tiny(&["caption", "pipe.jpg"]), 1, piped),
        (tiny(&["embed", "pipe.jpg"]), 1, piped),
        (tiny(&["live", "--config", "pipe"]), 2, piped),
        (tiny(&["live", "rtsp://h/x", "--webhook", "http://h/x", "--webhook-ca", "pipe"]), 2, piped),
        (tiny(&["describe", "film.mp4", "--prompt-file", "pipe"]), 1, piped),
        (tiny(&["index", "pipe.txt", "--into", "archive"]), 1, piped),
        (vec!["stitch", "film.mp4", "pipe", "-o", "a.vtt"], 1, piped),
        (vec!["describe", "film.mp4", "--model", "model"], 2, "tokenizer.json is not a file"),
        (vec!["model", "show", "./other"], 2, piped),
        (tiny(&["describe", "/dev/zero", "-o", "a.vtt"]), 1, "is a device or a socket, not a video"),
        (tiny(&["caption", "/dev/zero"]), 1, "a device, not a file"),
    ] {
        let mut running = Running::start(&b, &args);
        let began = Instant::now();
        let status = loop {
            if let Some(status) = running.0.try_wait().unwrap() {
                break status;
            }
            assert!(began.elapsed() < PATIENCE, "descry waits: {args:?}");
            std::thread::sleep(Duration::from_millis(5));
        };
        let err = running.stderr();
        assert!(status.code() == Some(code) && err.contains(cause), "{args:?}: {status}\n{err}");
    }
}

#[test]
fn a_signal_ends_the_wait_for_standard_input() {
    let b = Bench::new();
    for args in [tiny(&["embed", "--text"]), tiny(&["index", "-", "--into", "archive"])] {
        let mut reading = Running::start(&b, &args);
        reading.reads_stdin();
        assert_eq!(reading.stop(), Some(130), "{args:?}");
    }
}
