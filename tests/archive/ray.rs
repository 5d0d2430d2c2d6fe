//! The Ray package on a local cluster of several nodes: see tools/descry_ray/tests/test_ray.py.

use std::process::Command;

use crate::common::root;

#[test]
fn a_cluster_matches_one_machine() {
    let out = Command::new(root().join("vendor/venv/bin/python"))
        .arg(root().join("tools/descry_ray/tests/test_ray.py"))
        .env("DESCRY_BINARY", env!("CARGO_BIN_EXE_descry"))
        .output()
        .expect("vendor/venv is missing: run make setup-test");
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{stderr}");
    // A run that finds no tests would succeed as well.
    assert!(stderr.contains("Ran 5 tests") && stderr.trim_end().ends_with("OK"), "{stderr}");
}
