//! `make dist`: the tests of its Python code. What it builds is tried by `make test-dist`.

use std::process::Command;

use crate::common::root;

#[test]
fn pins_archives_and_lists_of_parts_are_as_their_own_tests_say() {
    let out = Command::new("python3").arg("tools/test_dist.py").current_dir(root()).output();
    let out = out.unwrap_or_else(|e| panic!("python3: {e}: run make setup-test"));
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success() && text.contains("Ran 9 tests"), "{text}");
}
