//! `make install`: what it puts where, that an installed program finds its files from its own place, and that nothing is left
//! after `make uninstall`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::common::{Bench, root, sample};

fn make(target: &str, destination: &Path, prefix: &str) -> Output {
    Command::new("make")
        .args(["-s", target, &format!("BINARY={}", env!("CARGO_BIN_EXE_descry"))])
        .args([format!("DESTDIR={}", destination.display()), format!("PREFIX={prefix}")])
        .current_dir(root())
        .output()
        .expect("make is installed")
}

fn good(out: &Output) -> String {
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// The program, with nothing in the environment but a home folder that is empty.
fn installed(program: &Path, home: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", home).current_dir(home);
    command
}

/// The files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

#[test]
fn an_installed_program_works_from_its_prefix_alone() {
    let b = Bench::new();
    let (destination, prefix) = (b.path("root"), "/opt/with space");
    good(&make("install", &destination, prefix));
    let at = destination.join(prefix.trim_start_matches('/'));
    for file in [
        "bin/descry",
        "share/descry/models/builtin/model.json",
        "share/descry/text-model/detector.onnx",
        "share/man/man1/descry-describe.1",
        "share/bash-completion/completions/descry",
        "share/zsh/site-functions/_descry",
        "share/fish/vendor_completions.d/descry.fish",
        "share/doc/descry/README.md",
    ] {
        assert!(at.join(file).is_file(), "{file}");
    }
    let home = b.path("home");
    std::fs::create_dir(&home).unwrap();
    // A link to the program leads to its files too, and a model that lies about is not taken for the built-in one.
    std::fs::create_dir_all(home.join("models/builtin")).unwrap();
    std::fs::write(home.join("models/builtin/model.json"), "{}").unwrap();
    let link = home.join("link");
    std::os::unix::fs::symlink(at.join("bin/descry"), &link).unwrap();
    let out = installed(&link, &home).args(["doctor", "--json", "--no-network"]).output().unwrap();
    let checks: Vec<Value> = good(&out).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let found = |check: &str, key: &str| {
        let check = checks.iter().find(|c| c["check"] == check).unwrap_or_else(|| panic!("{check}: {checks:?}"));
        PathBuf::from(check["found"][key].as_str().unwrap_or_else(|| panic!("{check}")))
    };
    assert_eq!(found("descry", "folder"), at);
    assert_eq!(found("model", "folder"), at.join("share/descry/models/builtin"));
    assert_eq!(found("text model", "folder"), at.join("share/descry/text-model"));
    assert!(found("ONNX Runtime", "library").starts_with(at.join("lib/descry")));
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(!text.contains(&root().display().to_string()), "the checkout is named: {text}");
    let out = installed(&link, &home).args(["caption", &sample("bikes-00-04.jpg")]).output().unwrap();
    assert!(good(&out).contains("man") || good(&out).contains("bike"), "{}", String::from_utf8_lossy(&out.stdout));

    std::fs::create_dir(at.join("share/descry/models/mine")).unwrap();
    std::fs::write(at.join("share/descry/models/mine/model.json"), "{}").unwrap();
    good(&make("uninstall", &destination, prefix));
    assert_eq!(files(&destination), [at.join("share/descry/models/mine/model.json")]);
}

#[test]
fn a_program_alone_says_what_is_missing_and_how_to_get_it() {
    let b = Bench::new();
    std::fs::create_dir_all(b.path("bin")).unwrap();
    std::fs::create_dir_all(b.path("home")).unwrap();
    let program = b.path("bin/descry");
    std::fs::copy(env!("CARGO_BIN_EXE_descry"), &program).unwrap();
    let out = installed(&program, &b.path("home")).args(["doctor", "--no-network"]).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    assert_eq!(out.status.code(), Some(1), "{text}");
    assert!(text.contains("pip install --no-deps --target"), "{text}");
    assert!(text.contains("home/.local/lib/descry onnxruntime=="), "{text}");
    assert!(text.contains("descry model pull builtin") && text.contains("make install-model MODELS="), "{text}");
    let out = installed(&program, &b.path("home")).args(["caption", &sample("bikes-00-04.jpg")]).output().unwrap();
    let text = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(2), "{text}");
    assert!(text.contains("model builtin: it is not installed") && text.contains("descry doctor"), "{text}");
    // The user's own folders are enough: what pip leaves, and the model.
    let libraries = b.path("home/.local/lib/descry/onnxruntime/capi");
    std::fs::create_dir_all(&libraries).unwrap();
    let is_library = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with("libonnxruntime.so");
    let library = files(&root().join("vendor/onnxruntime")).into_iter().find(is_library).expect("make setup-test");
    std::fs::copy(&library, libraries.join(library.file_name().unwrap())).unwrap();
    let models = b.path("home/.local/share/descry/models");
    let out = Command::new("make")
        .args(["-s", "install-model", &format!("MODELS={}", models.display())])
        .current_dir(root())
        .output()
        .unwrap();
    good(&out);
    let out = installed(&program, &b.path("home")).args(["caption", &sample("bikes-00-04.jpg")]).output().unwrap();
    assert!(!good(&out).trim().is_empty());
}

#[test]
fn versions_of_packages_are_those_that_setup_fetches() {
    let setup = std::fs::read_to_string(root().join("tools/setup.sh")).unwrap();
    let b = Bench::new();
    std::fs::create_dir_all(b.path("bin")).unwrap();
    std::fs::copy(env!("CARGO_BIN_EXE_descry"), b.path("bin/descry")).unwrap();
    let out = installed(&b.path("bin/descry"), &b.path(".")).args(["doctor", "--no-network"]).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let version = |package: &str| {
        let (_, rest) = text.split_once(&format!("{package}==")).unwrap_or_else(|| panic!("{package}: {text}"));
        rest.split_whitespace().next().unwrap().to_string()
    };
    assert!(setup.contains(&format!("\nVERSION={}\n", version("onnxruntime"))), "{text}");
    assert!(setup.contains(&format!("rapidocr=={} ", version("rapidocr"))), "{text}");
}
