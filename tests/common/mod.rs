//! Runs the real binary in its own folder, on clips that FFmpeg synthesises.
#![allow(dead_code)]

pub(crate) mod archive_files;
pub(crate) mod faulty;
pub(crate) mod hub;
pub(crate) mod letters;
pub(crate) mod made_archive;
pub(crate) mod model_server;
pub(crate) mod rtsp;
pub(crate) mod s3;
pub(crate) mod tls;
pub(crate) mod web;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub(crate) struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new() -> Bench {
        Bench { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).expect("a file in the temporary folder");
    }

    pub(crate) fn descry(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_descry"))
            .args(args)
            .current_dir(self.folder.path())
            .output()
            .expect("the binary starts")
    }

    /// Runs descry and checks the exit code. Returns standard output and standard error.
    pub(crate) fn run(&self, args: &[&str], code: i32) -> (String, String) {
        let out = self.descry(args);
        let (stdout, stderr) =
            (String::from_utf8_lossy(&out.stdout).into_owned(), String::from_utf8_lossy(&out.stderr).into_owned());
        assert_eq!(out.status.code(), Some(code), "descry {args:?}\n{stdout}\n{stderr}");
        assert!(!stderr.contains("panicked"), "{stderr}");
        (stdout, stderr)
    }

    /// Runs `ffmpeg` with these arguments. The output comes last.
    pub(crate) fn ffmpeg(&self, args: &str) {
        let out = Command::new("ffmpeg")
            .args(["-v", "error", "-y"])
            .args(args.split_whitespace())
            .current_dir(self.folder.path())
            .output()
            .expect("ffmpeg is installed");
        assert!(out.status.success(), "ffmpeg {args}\n{}", String::from_utf8_lossy(&out.stderr));
    }

    /// The presentation times that ffprobe reports, in microseconds from the container's start.
    pub(crate) fn frame_times(&self, name: &str) -> Vec<i64> {
        let probe = |entries: &str| {
            let out = Command::new("ffprobe")
                .args(["-v", "quiet", "-select_streams", "v:0", "-show_entries", entries, "-of", "csv=p=0"])
                .arg(self.path(name))
                .output()
                .expect("ffprobe is installed");
            String::from_utf8_lossy(&out.stdout).into_owned()
        };
        let seconds = |s: &str| s.trim().trim_end_matches(',').parse::<f64>().ok();
        let start = seconds(probe("format=start_time").lines().last().unwrap_or("0")).unwrap_or(0.0);
        probe("frame=best_effort_timestamp_time")
            .lines()
            .filter_map(seconds)
            .map(|t| ((t - start) * 1e6).round() as i64)
            .collect()
    }
}

/// Reports that this machine cannot try something. With `DESCRY_NO_SKIPS`, as in `.ci/run`, that is a failure: a check that is
/// not made must not look like one that passes.
pub(crate) fn not_tried(reason: &str) {
    assert!(std::env::var_os("DESCRY_NO_SKIPS").is_none(), "not tried, and DESCRY_NO_SKIPS is set: {reason}");
    eprintln!("not tried: {reason}");
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn sample(name: &str) -> String {
    root().join("samples").join(name).display().to_string()
}

/// A model small enough to load again and again. Its captions make no sense.
pub(crate) const TINY: &str = "tests/models/tiny";

/// The arguments, with this model.
pub(crate) fn tiny<'a>(args: &[&'a str]) -> Vec<&'a str> {
    [args, &["--model", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/models/tiny")]].concat()
}
