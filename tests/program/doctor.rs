//! `descry doctor`: what it finds, what it says of what is wrong, and that it shows no secret.

use std::process::Command;

use serde_json::Value;

use crate::common::Bench;

/// Runs the checks with these variables. Returns the exit code, and the checks.
fn doctor(b: &Bench, variables: &[(&str, &str)]) -> (Option<i32>, Vec<Value>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_descry"));
    command.args(["doctor", "--json"]).current_dir(b.path(".")).env("HF_HUB_OFFLINE", "1");
    for variable in ["DESCRY_MODEL", "DESCRY_ONNXRUNTIME", "HF_ENDPOINT", "HF_TOKEN", "DESCRY_MODELS"] {
        command.env_remove(variable);
    }
    let out = command.envs(variables.iter().copied()).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap() + &String::from_utf8_lossy(&out.stderr);
    let checks = text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")));
    (out.status.code(), checks.collect(), text.clone())
}

fn check<'a>(checks: &'a [Value], name: &str) -> &'a Value {
    checks.iter().find(|check| check["check"] == name).unwrap_or_else(|| panic!("{name}: {checks:?}"))
}

#[test]
fn everything_is_found_where_it_is() {
    let b = Bench::new();
    let (code, checks, text) = doctor(&b, &[("HF_TOKEN", "hf_v3rysecret")]);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(check(&checks, "descry")["found"]["origin"], "checkout");
    let libraries = check(&checks, "FFmpeg")["found"]["libraries"].as_array().unwrap();
    assert!(
        libraries.iter().all(|library| library["path"].as_str().is_some_and(|path| path.contains("lib"))),
        "{text}"
    );
    assert!(check(&checks, "decoders")["found"]["present"].as_array().unwrap().contains(&"H.264".into()), "{text}");
    assert!(check(&checks, "ONNX Runtime")["found"]["library"].as_str().unwrap().contains("onnxruntime"), "{text}");
    assert_eq!(check(&checks, "devices")["found"]["cpu"], "in_library");
    assert!(check(&checks, "model")["text"].as_str().unwrap().starts_with("descry-builtin "), "{text}");
    let network = check(&checks, "network");
    assert_eq!((&network["found"]["token"], &network["found"]["offline"]), (&true.into(), &true.into()));
    assert!(!text.contains("v3rysecret"), "{text}");
}

#[test]
fn each_problem_has_a_fix() {
    let b = Bench::new();
    b.write("file", b"");
    let file = b.path("file/below").display().to_string();
    b.write("descry.toml", b"[describe]\nbeem = 3\n");
    let variables = [
        ("DESCRY_MODEL", "http://user:v3rysecret@host/no-such-model"),
        ("DESCRY_ONNXRUNTIME", "/nowhere/libonnxruntime.so"),
        ("DESCRY_MODELS", file.as_str()),
        ("HF_ENDPOINT", "ftp://user:v3rysecret@host"),
        ("DESCRY_TEXT_MODEL", "/nowhere"),
    ];
    let (code, checks, text) = doctor(&b, &variables);
    assert_eq!(code, Some(1), "{text}");
    for (name, cause, fix) in [
        ("configuration", "beem is not an option of describe", "Did you mean beam?"),
        ("ONNX Runtime", "/nowhere/libonnxruntime.so does not exist", "unset DESCRY_ONNXRUNTIME"),
        ("model", "", "unset DESCRY_MODEL"),
        ("text model", "detector.onnx cannot be read", "make setup"),
        ("folders", "cannot be written", "export DESCRY_MODELS=FOLDER"),
        ("network", "HF_ENDPOINT", "unset it"),
    ] {
        let check = check(&checks, name);
        assert_eq!(check["state"], "problem", "{check}");
        assert!(check["text"].as_str().unwrap().contains(cause), "{check}");
        assert!(check["fix"].as_str().unwrap().contains(fix), "{check}");
    }
    assert!(!text.contains("v3rysecret"), "{text}");
    let (out, _) = b.run(&["doctor", "--no-network"], 1);
    assert!(out.contains("problem  configuration ") && out.contains("Fix: Did you mean beam?"), "{out}");
}

#[test]
fn a_hub_that_does_not_answer_is_a_note() {
    let b = Bench::new();
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (code, checks, text) = doctor(&b, &[("HF_HUB_OFFLINE", "0"), ("HF_ENDPOINT", &format!("http://{dead}"))]);
    assert_eq!(code, Some(0), "{text}");
    let network = check(&checks, "network");
    assert_eq!((&network["state"], &network["found"]["answers"]), (&"note".into(), &false.into()), "{network}");
    assert!(network["fix"].as_str().unwrap().contains("HF_ENDPOINT"), "{network}");
}
