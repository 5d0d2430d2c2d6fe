//! The texts that people and programs read, word for word: help, error messages, outputs.
//!
//! The expected texts are in `tests/snapshots/`. After a deliberate change, `make snapshots` writes them again.
//! `git diff tests/snapshots` then shows what users will notice.

mod common;

use std::process::{Command, Output, Stdio};

use common::{Bench, root, sample};
use serde_json::{Value, json};

/// Compares a text with its file in `tests/snapshots/`.
fn check(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// Runs the binary without a terminal and without the variables that affect its texts.
fn descry(b: &Bench, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_descry"));
    command.args(args).current_dir(b.path(".")).stdin(Stdio::null()).env_remove("COLUMNS").env_remove("NO_COLOR");
    for variable in ["DESCRY_MODEL", "DESCRY_MODEL_NAME", "DESCRY_HTTP_TOKEN"] {
        command.env_remove(variable);
    }
    command.output().expect("the binary starts")
}

/// Standard output or standard error, without the parts that differ between machines and versions.
fn text(b: &Bench, bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .replace(&b.path("").display().to_string(), "FOLDER/")
        .replace(&root().display().to_string(), "ROOT")
        .replace(concat!("descry ", env!("CARGO_PKG_VERSION")), "descry VERSION")
        .replace(concat!("\"descry\": \"", env!("CARGO_PKG_VERSION"), "\""), "\"descry\": \"VERSION\"")
}

/// The commands that a help text lists: each line is a word, a gap and a sentence.
fn commands(help: &str) -> Vec<&str> {
    help.lines()
        .filter_map(|l| l.strip_prefix("  ")?.split_once("  "))
        .filter(|(word, _)| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'))
        .filter(|(word, _)| !word.starts_with('-') && *word != "help")
        .map(|(word, _)| word)
        .collect()
}

/// Checks `-h` and `--help` of a command and of all its subcommands. Returns the number of subcommands.
fn check_help(b: &Bench, path: &[&str]) -> usize {
    let help = |flag: &str| {
        let out = descry(b, &[path, &[flag]].concat());
        assert!(out.status.success() && out.stderr.is_empty(), "{path:?} {flag}");
        text(b, &out.stdout)
    };
    let (short, long) = (help("-h"), help("--help"));
    let title = [&["descry"], path].concat().join(" ");
    let both = if short == long {
        format!("$ {title} --help (-h is the same)\n{long}")
    } else {
        format!("$ {title} -h\n{short}\n$ {title} --help\n{long}")
    };
    check(&[&["help"], path].concat().join("_"), &both);
    let children = commands(&short);
    children.len() + children.iter().map(|c| check_help(b, &[path, &[c]].concat())).sum::<usize>()
}

#[test]
fn help() {
    let checked = check_help(&Bench::new(), &[]);
    assert!(checked >= 16, "found only {checked} commands in the help");
}

/// A command line, its standard error and its exit code.
fn failure(b: &Bench, args: &[&str]) -> String {
    let out = descry(b, args);
    assert!(out.stdout.is_empty(), "{args:?}: {}", String::from_utf8_lossy(&out.stdout));
    let code = out.status.code().expect("no signal");
    assert_ne!(code, 0, "{args:?}");
    let shown: Vec<&str> =
        args.iter().map(|a| a.strip_prefix(concat!(env!("CARGO_MANIFEST_DIR"), "/")).unwrap_or(a)).collect();
    format!("$ descry {}\n{}exit code {code}\n", shown.join(" "), text(b, &out.stderr))
}

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/models/tiny");

fn clip(b: &Bench) {
    b.ffmpeg(
        "-f lavfi -i testsrc2=size=192x108:rate=25:duration=3 -f lavfi -i rgbtestsrc=size=192x108:rate=25:duration=3 \
         -filter_complex [0]format=yuv420p[a];[1]format=yuv420p[b];[a][b]concat -c:v ffv1 clip.mkv",
    );
}

#[test]
fn messages_about_files() {
    let b = Bench::new();
    clip(&b);
    b.write("empty.mp4", b"");
    b.write("text.mp4", b"This is no video.\n");
    b.write("clip.vtt", b"WEBVTT\n");
    b.write("broken.jpg", &std::fs::read(sample("bikes-00-04.jpg")).unwrap()[..1000]);
    b.ffmpeg("-f lavfi -i sine=duration=1 sound.wav");
    let describe = |args: &[&str]| failure(&b, &[&["describe", "--model", MODEL], args].concat());
    let texts = [
        describe(&["nothing.mp4"]),
        describe(&["."]),
        describe(&["empty.mp4"]),
        describe(&["text.mp4"]),
        describe(&["sound.wav"]),
        describe(&["clip.mkv"]),
        describe(&["clip.mkv", "-o", "no/such/folder/out.vtt"]),
        describe(&["clip.mkv", "-o", "-", "--start", "60"]),
        failure(&b, &["caption", "--model", MODEL, "broken.jpg"]),
        failure(&b, &["embed", "--model", MODEL, "nothing.jpg"]),
        failure(&b, &["probe", "nothing.mp4"]),
        failure(&b, &["stitch", "clip.mkv", "empty.mp4", "-o", "out.vtt"]),
    ];
    check("messages_files", &texts.join("\n"));
}

#[test]
fn messages_about_usage() {
    let b = Bench::new();
    clip(&b);
    let describe = |args: &[&str]| failure(&b, &[&["describe", "clip.mkv", "--model", MODEL], args].concat());
    let texts = [
        failure(&b, &["no-such-command"]),
        failure(&b, &["describe"]),
        failure(&b, &["live"]),
        describe(&["--no-such-option"]),
        describe(&["--forse"]),
        describe(&["-f", "ass"]),
        describe(&["--start", "yesterday"]),
        describe(&["--start", "5", "--end", "2"]),
        describe(&["--batch", "0"]),
        describe(&["--beam", "1000"]),
        describe(&["--greedy", "--beam", "3"]),
        describe(&["--min-score", "2"]),
        describe(&["--reading-speed", "0"]),
        describe(&["--device", "toaster"]),
        describe(&["--device", "cuda"]),
        describe(&["--hwaccel", "toaster"]),
    ];
    check("messages_usage", &texts.join("\n"));
}

#[test]
fn messages_about_models() {
    let b = Bench::new();
    std::fs::create_dir(b.path("model")).unwrap();
    let mut texts = vec![failure(&b, &["model", "show", "./nothing"]), failure(&b, &["model", "show", "./model"])];
    let mut manifest: Value = serde_json::from_slice(&std::fs::read(format!("{MODEL}/model.json")).unwrap()).unwrap();
    b.write("model/model.json", b"{");
    texts.push(failure(&b, &["model", "show", "./model"]));
    manifest["format"] = json!(99);
    b.write("model/model.json", manifest.to_string().as_bytes());
    texts.push(failure(&b, &["model", "show", "./model"]));
    check("messages_models", &texts.join("\n"));
}

#[test]
fn messages_about_archives() {
    let b = Bench::new();
    let texts = [
        failure(&b, &["search", "nothing", "a dog"]),
        failure(&b, &["archive", "list", "nothing"]),
        failure(&b, &["archive", "check", "nothing"]),
        failure(&b, &["index", "nothing", "--into", "archive", "--model", MODEL]),
    ];
    check("messages_archives", &texts.join("\n"));
}

#[test]
fn messages_about_streams() {
    let b = Bench::new();
    b.write("syntax.toml", b"[[stream]\n");
    b.write("unknown.toml", b"[[stream]]\nname = \"door\"\nurl = \"rtsp://127.0.0.1/door\"\ncolour = \"red\"\n");
    b.write("twice.toml", b"[[stream]]\nname = \"a\"\nurl = \"rtsp://127.0.0.1/a\"\n".repeat(2).as_slice());
    let live = |args: &[&str]| failure(&b, &[&["live", "--model", MODEL], args].concat());
    let texts = [
        live(&["--config", "nothing.toml"]),
        live(&["--config", "syntax.toml"]),
        live(&["--config", "unknown.toml"]),
        live(&["--config", "twice.toml"]),
        live(&["no/such/file.mp4"]),
    ];
    check("messages_streams", &texts.join("\n"));
}

/// Rounds scores to three digits: the last ones differ between processors.
fn round(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value.as_f64() {
                    Some(x) if key == "score" || key == "mean_logprob" || key == "similarity" => {
                        *value = json!((x * 1e3).round() / 1e3);
                    }
                    _ => round(value),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(round),
        _ => {}
    }
}

#[test]
fn outputs() {
    let b = Bench::new();
    clip(&b);
    for format in ["vtt", "srt", "json", "csv", "dapt"] {
        let out = descry(&b, &["describe", "clip.mkv", "-o", "-", "-f", format, "--model", MODEL]);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let mut written = text(&b, &out.stdout);
        if format == "json" {
            let mut value: Value = serde_json::from_str(&written).unwrap();
            round(&mut value);
            written = serde_json::to_string_pretty(&value).unwrap();
        }
        check(&format!("output_{format}"), &written);
    }
    let out = descry(&b, &["probe", "clip.mkv"]);
    check("output_probe", &text(&b, &out.stdout));
    let out = descry(&b, &["model", "show", MODEL]);
    check("output_model_show", &text(&b, &out.stdout));
}
