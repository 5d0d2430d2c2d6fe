//! The service: whether systemd accepts the unit, and whether descry, as an unprivileged user, accepts its arguments and the
//! configuration of the example.
#![cfg(target_os = "linux")]

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{Bench, not_tried, root};
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_descry");

fn example(name: &str) -> String {
    std::fs::read_to_string(root().join("examples/service").join(name)).unwrap()
}

#[test]
fn systemd_finds_no_fault_in_the_unit() {
    let b = Bench::new();
    b.write("descry@.service", example("descry@.service").replace("/usr/bin/descry", PROGRAM).as_bytes());
    let Ok(out) = Command::new("systemd-analyze").arg("verify").arg(b.path("descry@door.service")).output() else {
        return not_tried("this system has no systemd-analyze");
    };
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && !errors.contains("descry@"), "{errors}");
}

/// Denies the program memory that is both written and executed, as the unit does. Linux can do that from 6.3 on.
fn deny_generated_code(command: &mut Command) {
    let deny = || {
        // SAFETY: these operations take no pointers.
        let denied = unsafe {
            nix::libc::prctl(nix::libc::PR_SET_MDWE, nix::libc::PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0) == 0
                && nix::libc::prctl(nix::libc::PR_GET_MDWE, 0, 0, 0, 0) == 1
        };
        if denied { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    };
    let mut probe = Command::new("true");
    // SAFETY: between fork and exec the closure does nothing but two system calls.
    if unsafe { probe.pre_exec(deny) }.status().is_err() {
        return not_tried("this kernel cannot deny memory that is written and executed");
    }
    // SAFETY: as above.
    unsafe { command.pre_exec(deny) };
}

/// Runs the program with these arguments, as the user nobody where possible and without memory that is both written and
/// executed, until it prints a line. SIGTERM then ends it.
fn serves(b: &Bench, words: &[&str]) {
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"];
    // Only root can run a program as nobody, and nobody may lack access to this program.
    let can = |words: &[&str]| {
        Command::new(words[0]).args(&words[1..]).args([PROGRAM, "--version"]).output().is_ok_and(|o| o.status.success())
    };
    let mut whole = Vec::new();
    match can(&nobody) {
        true => whole.extend(nobody),
        false => not_tried("no program can be run as nobody here"),
    }
    whole.push(PROGRAM);
    whole.extend(words);
    let mut command = Command::new(whole[0]);
    deny_generated_code(&mut command);
    let mut child = command
        .args(&whole[1..])
        .current_dir("/")
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("DESCRY_MODEL", root().join(crate::common::TINY))
        .envs(std::env::var_os("DESCRY_ONNXRUNTIME").map(|library| ("DESCRY_ONNXRUNTIME", library)))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first: Value = serde_json::from_str(&lines.next().expect("descry prints a line").unwrap()).unwrap();
    assert_eq!((&first["type"], &first["state"]), (&"state".into(), &"ready".into()), "{first}");
    let asked = Instant::now();
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(asked.elapsed() < Duration::from_secs(3));
    let mut names: Vec<String> = std::fs::read_dir(b.path("state/vtt"))
        .unwrap()
        .map(|f| f.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    assert_eq!(names, ["door.vtt", "yard.vtt"]);
}

/// The example's configuration, with another folder and another address.
fn configured(b: &Bench) -> String {
    std::fs::set_permissions(b.path(""), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::create_dir(b.path("state")).unwrap();
    std::fs::set_permissions(b.path("state"), std::fs::Permissions::from_mode(0o777)).unwrap();
    let state = b.path("state").display().to_string();
    let text = example("streams.toml");
    assert!(text.contains("/var/lib/descry/streams") && text.contains("127.0.0.1:8080"));
    let text = text.replace("/var/lib/descry/streams", &state).replace("127.0.0.1:8080", "127.0.0.1:0");
    b.write("streams.toml", text.as_bytes());
    b.path("streams.toml").display().to_string()
}

#[test]
fn descry_accepts_the_arguments_of_the_unit() {
    let b = Bench::new();
    let config = configured(&b);
    let unit = example("descry@.service");
    let line = unit.lines().find_map(|l| l.strip_prefix("ExecStart=/usr/bin/descry ")).unwrap();
    let line = line.replace("${CREDENTIALS_DIRECTORY}/streams.toml", &config);
    serves(&b, &line.split(' ').collect::<Vec<_>>());
}
