//! The crate: whether it has what the program is built from, and is as small as crates.io demands.

use std::process::Command;

use crate::common::root;

/// crates.io takes no larger files, and these are not compressed yet.
const LARGEST: u64 = 10 << 20;

#[test]
fn the_crate_is_small_and_complete() {
    let out = Command::new(env!("CARGO"))
        .args(["package", "--list", "--allow-dirty", "--offline", "--exclude-lockfile"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let list = String::from_utf8(out.stdout).unwrap();
    let files: Vec<&str> = list.lines().collect();
    // Cargo writes some of them itself.
    let bytes: u64 = files.iter().filter_map(|file| root().join(file).metadata().ok()).map(|meta| meta.len()).sum();
    assert!(bytes > 2 << 20 && bytes < LARGEST, "{bytes} bytes");
    assert!(!files.iter().any(|file| file.starts_with("models/builtin") || file.starts_with("samples")), "{list}");
    for needed in ["src/main.rs", "LICENSE-MIT", "LICENSE-APACHE", "README.md", "docs/configuration.md"] {
        assert!(files.contains(&needed), "{needed} is not in the crate");
    }
    // What the source includes.
    let mut included = 0;
    for file in files.iter().filter(|file| file.ends_with(".rs") && !file.ends_with("tests.rs")) {
        let text = std::fs::read_to_string(root().join(file)).unwrap();
        let code = text.split("\n#[cfg(test)]\nmod ").next().unwrap();
        for part in
            code.split("include_").skip(1).filter(|part| part.starts_with("str!(\"") || part.starts_with("bytes!(\""))
        {
            let name = part.split('"').nth(1).unwrap();
            let path = root().join(file).parent().unwrap().join(name).canonicalize().unwrap();
            let path = path.strip_prefix(root().canonicalize().unwrap()).unwrap().display().to_string();
            assert!(files.contains(&path.as_str()), "{file} includes {path}, which is not in the crate");
            included += 1;
        }
    }
    assert!(included > 10, "the includes are not read");
}
