//! `descry.toml`: which files count, what they change, and what they may not.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::common::{Bench, sample, tiny};

/// Runs descry in a folder, with a home folder of its own.
fn descry_in(b: &Bench, folder: &str, args: &[&str]) -> Output {
    std::fs::create_dir_all(b.path("home/.config/descry")).unwrap();
    std::fs::create_dir_all(b.path(folder)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_descry"));
    command.args(args).current_dir(b.path(folder)).env("HOME", b.path("home")).env_remove("XDG_CONFIG_HOME");
    command.env_remove("DESCRY_MODEL").output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Where the values of a command's options come from, as `config show` says.
fn shown(b: &Bench, folder: &str, args: &[&str]) -> Vec<Value> {
    let out = descry_in(b, folder, &[&["config", "show", "--json"], args].concat());
    assert!(out.status.success(), "{}", text(&out.stderr));
    text(&out.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn value(shown: &[Value], option: &str) -> (String, String) {
    let found = shown.iter().find(|shown| shown["option"] == option).unwrap_or_else(|| panic!("{option}: {shown:?}"));
    (found["value"].as_str().unwrap_or("-").into(), found["from"].as_str().unwrap().into())
}

fn write(b: &Bench, path: &str, content: &str) {
    let path = b.path(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

#[test]
fn files_set_the_options_of_a_run() {
    let b = Bench::new();
    write(
        &b,
        "home/.config/descry/descry.toml",
        "[common]\nmax-line = 30\n[describe]\nformat = 'json'\nmin-scene = 2\n",
    );
    write(&b, "films/descry.toml", "[describe]\nmin-scene = 1\n");
    let clip = sample("bikes.mp4");
    let options = |args: &[&str]| -> Value {
        let out = descry_in(&b, "films/below", &tiny(&[&["describe", &clip, "-o", "-"], args].concat()));
        assert!(out.status.success(), "{}", text(&out.stderr));
        serde_json::from_slice::<Value>(&out.stdout).unwrap()["options"].clone()
    };
    let plain = options(&[]);
    assert_eq!((&plain["max_line"], &plain["min_scene"]), (&30.into(), &1.0.into()), "{plain}");
    let typed = options(&["--min-scene", "3", "--ignore-config=max-line"]);
    assert_eq!((&typed["max_line"], &typed["min_scene"]), (&42.into(), &3.0.into()), "{typed}");
    let ignored = options(&["--ignore-config", "-f", "json"]);
    assert_eq!((&ignored["max_line"], &ignored["min_scene"]), (&42.into(), &0.6.into()), "{ignored}");
}

#[test]
fn every_source_is_named() {
    let b = Bench::new();
    write(
        &b,
        "home/.config/descry/descry.toml",
        "[common]\nbeam = 2\nmax-line = 30\nmodel = 'mine'\n[describe]\nlead = 1\n",
    );
    write(&b, "films/descry.toml", "[describe]\nmax-line = 31\n");
    let found = shown(&b, "films", &["describe", "--beam", "3"]);
    for (option, expected, from) in [
        ("beam", "3", "command line"),
        ("max-line", "31", "project"),
        ("lead", "1", "user"),
        ("model", "mine", "user"),
        ("max-lines", "2", "default"),
        ("min-score", "set by the model", "default"),
    ] {
        assert_eq!(value(&found, option), (expected.into(), from.into()), "{option}");
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_descry"));
    command.args(["config", "show", "describe"]).current_dir(b.path("films")).env("HOME", b.path("home"));
    let out =
        command.env_remove("XDG_CONFIG_HOME").env("DESCRY_MODEL", "openai:http://u:s3cretpw@h/v1").output().unwrap();
    let table = text(&out.stdout);
    assert!(table.contains("environment (DESCRY_MODEL)") && !table.contains("s3cretpw"), "{table}");
    assert!(table.contains("films/descry.toml:2"), "{table}");
    let all = shown(&b, "films", &[]);
    assert_eq!(all.len(), 5, "{all:?}");
}

#[test]
fn a_wrong_file_stops_every_command_but_those_that_help() {
    let b = Bench::new();
    write(&b, "films/descry.toml", "[live]\nmin-score = 'many'\n");
    for args in [&["describe", "x.mp4"][..], &["probe", "x.mp4"], &["describe"]] {
        let out = descry_in(&b, "films", args);
        let error = text(&out.stderr);
        assert_eq!(out.status.code(), Some(2), "{args:?}: {error}");
        assert!(error.contains("films/descry.toml:2: invalid value … for '--min-score <SCORE>'"), "{error}");
    }
    for args in
        [&["--version"][..], &["describe", "--help"], &["completions", "bash"], &["model", "list", "--ignore-config"]]
    {
        let out = descry_in(&b, "films", args);
        assert!(out.status.success(), "{args:?}: {}", text(&out.stderr));
    }
    let out = descry_in(&b, "films", &["describe", "x.mp4", "--log", "json"]);
    let line: Value = serde_json::from_slice(&out.stderr).unwrap();
    assert_eq!(line["level"], "error");
}

#[test]
fn projects_end_at_a_repository_and_at_home() {
    let b = Bench::new();
    write(&b, "work/descry.toml", "[common]\nbeam = 2\n");
    write(&b, "work/repository/.git/HEAD", "");
    for above in ["home/descry.toml", "descry.toml"] {
        write(&b, above, "[common]\nbeam = 4\n");
    }
    let beam = |folder: &str| value(&shown(&b, folder, &["describe"]), "beam").0;
    assert_eq!(beam("work/plain/below"), "2");
    assert_eq!(beam("other/below"), "set by the model");
    assert_eq!(beam("work/repository/below"), "set by the model");
    assert_eq!(beam("home/films"), "set by the model");
    write(&b, "work/repository/descry.toml", "[common]\nbeam = 3\n");
    assert_eq!(beam("work/repository/below"), "3");
    write(&b, "work/repository/below/descry.toml", "[common]\nbeam = 5\n");
    assert_eq!(beam("work/repository/below"), "5");
}

#[test]
fn a_project_runs_nothing_and_a_file_that_others_can_write_is_ignored() {
    use std::os::unix::fs::PermissionsExt;
    let b = Bench::new();
    write(&b, "films/descry.toml", "[live]\ncommand = 'touch ran'\n");
    let out = descry_in(&b, "films", &["live", "--realtime", "x.mp4"]);
    assert_eq!(out.status.code(), Some(2));
    let error = text(&out.stderr);
    assert!(error.contains("descry.toml:2: a project's file may not set command"), "{error}");
    assert!(error.contains(".config/descry/descry.toml"), "{error}");
    assert!(!Path::new(&b.path("films/ran")).exists());
    std::fs::set_permissions(b.path("films/descry.toml"), PermissionsExt::from_mode(0o666)).unwrap();
    let out = descry_in(&b, "films", &["probe", &sample("bikes.mp4")]);
    assert!(out.status.success() && text(&out.stderr).contains("so it is ignored"), "{}", text(&out.stderr));
}

#[test]
fn notes_of_a_project_are_beside_its_file_and_passwords_are_guarded() {
    use std::os::unix::fs::PermissionsExt;
    let b = Bench::new();
    write(&b, "films/notes.txt", "a film\n");
    write(&b, "films/descry.toml", "[common]\nnotes = 'notes.txt'\n");
    let notes = value(&shown(&b, "films/below", &["describe"]), "notes").0;
    assert_eq!(Path::new(&notes).canonicalize().unwrap(), b.path("films/notes.txt").canonicalize().unwrap());
    let file = "home/.config/descry/descry.toml";
    write(&b, file, "[live]\nwebhook = 'http://u:s3cretpw@h/x'\nvtt = '~/v'\n");
    std::fs::set_permissions(b.path(file), PermissionsExt::from_mode(0o644)).unwrap();
    let out = descry_in(&b, "other", &["config", "show"]);
    let (table, error) = (text(&out.stdout), text(&out.stderr));
    assert!(
        error.contains("chmod 600") && !error.contains("s3cretpw") && !table.contains("s3cretpw"),
        "{table}{error}"
    );
    assert!(table.contains("home/v"), "{table}");
    std::fs::set_permissions(b.path(file), PermissionsExt::from_mode(0o600)).unwrap();
    assert!(descry_in(&b, "other", &["config", "show"]).stderr.is_empty());
}

#[test]
fn an_error_names_the_files_whose_options_took_part() {
    let b = Bench::new();
    write(&b, "films/descry.toml", "[describe]\nmin-score = 2\n");
    let clip = sample("bikes.mp4");
    let out = descry_in(&b, "films", &tiny(&["describe", &clip, "-o", "-"]));
    let error = text(&out.stderr);
    assert_eq!(out.status.code(), Some(2), "{error}");
    assert!(error.contains("--min-score 2 is not between 0 and 1") && error.contains("films/descry.toml"), "{error}");
}
