//! The Python package of tools/wheel, which runs this program.

use std::process::Command;

use crate::common::root;

#[test]
fn python_gets_what_the_program_prints() {
    let mut python = Command::new("python3");
    python.arg("tools/test_wheel.py").env("DESCRY_BINARY", env!("CARGO_BIN_EXE_descry")).current_dir(root());
    let out = python.output().unwrap_or_else(|e| panic!("python3: {e}: run make setup-test"));
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success() && text.contains("Ran 9 tests"), "{text}");
}
