//! Films on which a stand-in for a vulnerable decoder misbehaves; see `tests/isolation/preload.c`.

use std::path::PathBuf;
use std::process::{Command, Output};

use super::{Bench, root};

/// What the decoder does, and the height of the film on which it does.
pub(crate) const SEGFAULT: u32 = 102;
pub(crate) const ABORT: u32 = 104;
pub(crate) const ENDLESS_LOOP: u32 = 106;
pub(crate) const MEMORY_BOMB: u32 = 108;
pub(crate) const EXIT: u32 = 110;
pub(crate) const NOISE: u32 = 112;
pub(crate) const WRONG_MESSAGE: u32 = 114;
pub(crate) const KILLED: u32 = 116;
pub(crate) const PROBE: u32 = 118;

/// Builds the stand-in.
pub(crate) fn preload(b: &Bench) -> PathBuf {
    let library = b.path("preload.so");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&library)
        .arg(root().join("tests/isolation/preload.c"))
        .output()
        .expect("a C compiler is installed");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    library
}

/// A film of two scenes, of this size.
pub(crate) fn film(b: &Bench, name: &str, (width, height): (u32, u32)) {
    b.ffmpeg(&format!(
        "-f lavfi -i testsrc2=size={width}x{height}:rate=25:duration=2 -f lavfi -i mandelbrot=size={width}x{height}:rate=25 \
         -filter_complex [1:v]trim=duration=2[b];[0:v][b]concat -c:v libx264 -preset ultrafast -g 25 -pix_fmt yuv420p {name}"
    ));
}

/// Runs descry with the stand-in.
pub(crate) fn descry(b: &Bench, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_descry"))
        .args(args)
        .current_dir(b.path(""))
        .env("LD_PRELOAD", b.path("preload.so"))
        .output()
        .expect("the binary starts")
}

/// Children of a process.
pub(crate) fn children(of: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{of}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<_>>()).collect()
}
