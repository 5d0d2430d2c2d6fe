//! `make gpu-check`: what it does where there is no GPU, and its own tests.

use std::path::Path;
use std::process::{Command, Output};

use crate::common::root;

fn run(program: &str, args: &[&str]) -> Output {
    let out = Command::new(program).args(args).current_dir(root()).output();
    out.unwrap_or_else(|e| panic!("{program}: {e}: run make setup-test"))
}

#[test]
fn without_a_gpu_the_check_is_skipped() {
    let cards = Path::new("/proc/driver/nvidia/gpus");
    // With a driver, the check would run, for many minutes.
    if cards.exists() || Command::new("nvidia-smi").output().is_ok() {
        eprintln!("not tried: this machine has a GPU, or its driver");
        return;
    }
    let out = run("make", &["--silent", "--no-print-directory", "gpu-check"]);
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success(), "{out:?}");
    assert!(out.stderr.is_empty(), "nothing is installed or built: {out:?}");
    let [line] = text.lines().collect::<Vec<_>>()[..] else { panic!("{text}") };
    assert!(line.contains("no NVIDIA GPU was found: there is no nvidia-smi") && line.ends_with(": skipped"), "{line}");
}

#[test]
fn the_check_finds_and_compares_as_its_own_tests_say() {
    let out = run("python3", &["tools/test_gpu_check.py"]);
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success() && text.contains("Ran 15 tests"), "{text}");
}
