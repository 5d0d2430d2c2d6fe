//! Runs descry behind the shim: counts its calls below a folder, makes one fail, and logs what is changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use crate::common::Bench;

/// The shim, built once.
fn library() -> &'static Path {
    static BUILT: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = BUILT.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shim.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults/shim.c");
        let out = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&path).arg(source).output();
        let out = out.expect("a C compiler is missing: run make setup-test");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        (dir, path)
    });
    path
}

/// What happens at a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The disk is full from this call on. A write may still find room for half of its bytes.
    Full { half: bool },
    /// The disk fails at this call.
    Broken,
    /// The disk can be read and not changed from this call on.
    Failing,
    /// The disk is gone from this call on.
    Gone,
    /// A signal comes.
    Interrupted,
    /// Half of the bytes are read or written.
    Short,
    /// The process is killed, in the middle if it is a write.
    Killed,
}

pub(crate) const FAULTS: [Fault; 8] = [
    Fault::Full { half: false },
    Fault::Full { half: true },
    Fault::Broken,
    Fault::Failing,
    Fault::Gone,
    Fault::Interrupted,
    Fault::Short,
    Fault::Killed,
];

/// What the shim says about a call.
const READS: u32 = 1;
const CHANGES: u32 = 2;
const INTERRUPTIBLE: u32 = 4;
const SHORTENS: u32 = 8;

/// A call below the folder, as the shim counts it.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) name: String,
    kind: u32,
    /// Its path, without the random letters of temporary files.
    pub(crate) path: String,
}

impl Call {
    /// Whether a fault can happen at such a call.
    pub(crate) fn can_have(&self, fault: Fault) -> bool {
        let has = |bits| self.kind & bits == bits;
        match fault {
            Fault::Full { half: false } => has(CHANGES),
            Fault::Full { half: true } => has(CHANGES | SHORTENS),
            Fault::Broken | Fault::Gone => has(CHANGES) || has(READS),
            Fault::Failing => has(CHANGES),
            Fault::Interrupted => has(INTERRUPTIBLE),
            Fault::Short => has(SHORTENS),
            // Between two calls that only read, nothing changes.
            Fault::Killed => has(CHANGES),
        }
    }
}

/// Runs descry and returns its calls below a folder.
pub(crate) fn count(b: &Bench, args: &[&str], below: &str) -> (Output, Vec<Call>) {
    let to = b.path("calls");
    let _ = fs::remove_file(&to);
    let out = command(b, args, below).env("SHIM_CALLS", &to).output().unwrap();
    let text = fs::read_to_string(&to).unwrap_or_default();
    let calls = text.lines().map(|line| {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        let path = match words[3].strip_suffix(".part") {
            Some(part) => format!("{}.part", &part[..part.len() - ".xxxxxx".len()]),
            None => words[3].to_string(),
        };
        Call { name: words[1].into(), kind: words[2].parse().unwrap(), path }
    });
    (out, calls.collect())
}

/// Runs descry with a fault at a call below a folder. Returns also which call that was; none if the run made fewer calls.
pub(crate) fn with_fault(b: &Bench, args: &[&str], below: &str, at: usize, fault: Fault) -> (Output, Option<String>) {
    let hit = b.path("hit");
    let _ = fs::remove_file(&hit);
    let mut command = command(b, args, below);
    // ENOSPC, EIO and EINTR.
    let (does, code, stays) = match fault {
        Fault::Full { half: false } => ("fails", "28", "1"),
        Fault::Full { half: true } => ("short", "28", "1"),
        Fault::Broken => ("fails", "5", "0"),
        Fault::Failing => ("fails", "5", "1"),
        Fault::Gone => ("fails", "5", "2"),
        Fault::Interrupted => ("fails", "4", "0"),
        Fault::Short => ("short", "0", "0"),
        Fault::Killed => ("kills", "0", "0"),
    };
    command.env("SHIM_AT", at.to_string()).env("SHIM_DOES", does).env("SHIM_ERRNO", code);
    command.env("SHIM_STAYS", stays).env("SHIM_HIT", &hit);
    let out = command.output().unwrap();
    // Empty where this run made fewer calls than the one that was counted.
    let hit = fs::read_to_string(&hit).ok().map(|line| line.trim().to_string());
    (out, hit.filter(|line| !line.is_empty()))
}

/// Runs descry and returns the log of what it changes below a folder.
pub(crate) fn log(b: &Bench, args: &[&str], below: &str) -> (Output, Vec<u8>) {
    let to = b.path("log");
    let _ = fs::remove_file(&to);
    let out = command(b, args, below).env("SHIM_LOG", &to).output().unwrap();
    (out, fs::read(&to).unwrap_or_default())
}

fn command(b: &Bench, args: &[&str], below: &str) -> Command {
    let folder = b.path("").canonicalize().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_descry"));
    command.args(args).current_dir(&folder).env("LD_PRELOAD", library());
    command.env("SHIM_ROOTS", folder.join(below));
    // What a test sets besides, as `NAME=VALUE`.
    let environment = fs::read_to_string(b.path("environment")).unwrap_or_default();
    command.envs(environment.lines().filter_map(|line| line.split_once('=')));
    command
}
