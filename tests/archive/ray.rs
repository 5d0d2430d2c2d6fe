//! The Ray package on a local cluster of several nodes: see tools/descry_ray/tests/test_ray.py.

use std::process::Command;

use crate::common::root;

#[test]
fn a_cluster_gives_what_one_machine_gives() {
    let out = Command::new(root().join("vendor/venv/bin/python"))
        .arg(root().join("tools/descry_ray/tests/test_ray.py"))
        .env("DESCRY_BINARY", env!("CARGO_BIN_EXE_descry"))
        .output()
        .expect("make setup-test has made vendor/venv");
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{said}");
    // A run that found no test would pass as well.
    assert!(said.contains("Ran 5 tests") && said.trim_end().ends_with("OK"), "{said}");
}
