//! Completions, tried in the shells, and manual pages, checked by man and mandoc.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use crate::common::{Bench, not_tried};

/// Runs a program on a text. None if it is not installed.
fn fed(program: &str, args: &[&str], input: &str) -> Option<Output> {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    Some(child.wait_with_output().unwrap())
}

fn script(shell: &str) -> String {
    Bench::new().run(&["completions", shell], 0).0
}

fn shell(name: &str, args: &[&str], input: &str) -> Option<String> {
    let Some(out) = fed(name, args, input) else {
        not_tried(&format!("{name} is not installed: run make setup-test"));
        return None;
    };
    let error = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && error.is_empty(), "{name}: {error}");
    Some(String::from_utf8_lossy(&out.stdout).into_owned())
}

#[test]
fn bash_completes_commands_options_and_values() {
    let complete = |words: &[&str]| {
        let list = words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ");
        let last = words.len() - 1;
        let (word, before) = (words[last], words[last - 1]);
        let call = format!(
            "{}\nCOMP_WORDS=({list}); COMP_CWORD={last}; _descry descry '{word}' '{before}'; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            script("bash")
        );
        shell("bash", &["--norc"], &call).unwrap()
    };
    assert_eq!(complete(&["descry", "desc"]).trim(), "describe");
    assert_eq!(complete(&["descry", "describe", "--min-sce"]).trim(), "--min-scene");
    assert_eq!(complete(&["descry", "describe", "--mode", "key"]).trim(), "keyframes");
    assert_eq!(complete(&["descry", "model", "pu"]).trim(), "pull");
}

#[test]
fn zsh_and_fish_take_their_scripts() {
    shell("zsh", &["-n"], &script("zsh"));
    shell("fish", &["--no-execute"], &script("fish"));
    let fish = script("fish") + "\ncomplete -C 'descry describe --min-sce'\ncomplete -C 'descry model pul'\n";
    if let Some(found) = shell("fish", &["--no-config"], &fish) {
        assert!(found.contains("--min-scene") && found.contains("pull"), "{found}");
    }
}

#[test]
fn manual_pages_are_read_without_a_warning() {
    let b = Bench::new();
    b.run(&["man", "--out", "pages"], 0);
    let mut pages: Vec<_> = std::fs::read_dir(b.path("pages")).unwrap().map(|e| e.unwrap().path()).collect();
    pages.sort();
    assert!(pages.len() > 20, "{pages:?}");
    for page in &pages {
        let man = Command::new("man")
            .args(["--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z"])
            .arg(page)
            .env("LC_ALL", "C.UTF-8")
            .output();
        match man {
            Ok(out) => {
                let error = String::from_utf8_lossy(&out.stderr);
                assert!(out.status.success() && error.is_empty(), "{}: {error}", page.display());
            }
            Err(_) => not_tried("man is not installed: run make setup-test"),
        }
        match Command::new("mandoc").args(["-T", "lint", "-W", "error"]).arg(page).output() {
            Ok(out) => assert!(out.status.success(), "{}: {}", page.display(), String::from_utf8_lossy(&out.stdout)),
            Err(_) => not_tried("mandoc is not installed: run make setup-test"),
        }
    }
    let text = std::fs::read_to_string(b.path("pages/descry-describe.1")).unwrap();
    assert!(text.contains("descry describe film.mp4"), "{text}");
    let again = Bench::new();
    again.run(&["man", "--out", "pages"], 0);
    assert_eq!(std::fs::read_to_string(again.path("pages/descry-describe.1")).unwrap(), text);
    b.write("file", b"");
    let (_, error) = b.run(&["man", "--out", "file"], 1);
    assert!(error.contains("file: cannot be written") && error.contains("--out"), "{error}");
}
