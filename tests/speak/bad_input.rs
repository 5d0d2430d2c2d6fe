//! What cannot be spoken: a message with the fix, the right exit code, and nothing half-written.
#![cfg(unix)]

use std::process::Command;

use crate::common::Bench;
use crate::support::{descriptions, files, speak, voice};

fn film(b: &Bench) {
    b.ffmpeg(
        "-f lavfi -i testsrc2=size=64x36:rate=10:duration=4 -f lavfi -i sine=300:d=4:r=48000 -c:v libx264 -c:a aac film.mp4",
    );
    descriptions(b, &[(1_000, "A dog runs.")]);
}

/// Runs descry with these arguments, and checks that it fails and leaves nothing.
fn fails(b: &Bench, args: &[&str], code: i32, words: &[&str]) {
    let before = files(b);
    let told = b.run(&[&["speak"], args].concat(), code).1;
    words.iter().for_each(|word| assert!(told.contains(word), "{word}: {told}"));
    assert_eq!(files(b), before, "{args:?}");
}

const ARGS: [&str; 5] = ["film.mp4", "--descriptions", "film.vtt", "-o", "a.mkv"];

#[test]
fn voices_that_do_not_speak() {
    let b = Bench::new();
    film(&b);
    let voice = |line: &str, words: &[&str]| {
        fails(&b, &[&ARGS[..], &["--voice-command", line]].concat(), 2, words);
    };
    voice("no-such-voice -x", &["no-such-voice: no such program", "PATH"]);
    let slow = ["--voice-timeout", "0.5", "--voice-command", "sleep 300"];
    fails(&b, &[&ARGS[..], &slow].concat(), 2, &["sleep: gave no speech within 0.5 s", "--voice"]);
    voice("echo hello", &["echo: wrote 6 bytes that are not a WAV file"]);
    voice("false", &["false: ended with exit status: 1"]);
    voice("'", &["quote"]);
    voice("", &["--voice-command is empty"]);
    voice(&format!("{} 1 3", self::voice()), &["Hz, which no speech has"]);
    fails(&b, &[&ARGS[..], &["--voice", "piper"]].concat(), 2, &["--voice-model"]);
    // Without the program, the package that has it is named.
    let out = Command::new(env!("CARGO_BIN_EXE_descry"))
        .args(["speak"])
        .args(ARGS)
        .env("PATH", "/nowhere")
        .current_dir(b.path(""))
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.code() == Some(2) && told.contains("apt-get install espeak-ng"), "{told}");
}

#[test]
fn films_that_cannot_be_mixed() {
    let b = Bench::new();
    film(&b);
    let voice = voice();
    let run = |input: &str, output: &str, code: i32, words: &[&str]| {
        let args = [input, "--descriptions", "film.vtt", "-o", output, "--voice-command", &voice];
        fails(&b, &args, code, words);
    };
    run("nothing.mp4", "a.mkv", 1, &["nothing.mp4: no such file"]);
    b.ffmpeg(
        "-i film.mp4 -c copy -encryption_scheme cenc-aes-ctr -encryption_key 76a6c65c5ea762046bd749a2e632ccbb \
         -encryption_kid a7e61c373e219033c21091fa607bf3b8 drm.mp4",
    );
    run("drm.mp4", "a.mkv", 1, &["drm.mp4: the film is encrypted (DRM)"]);
    // A codec that no FFmpeg has.
    b.ffmpeg("-i film.mp4 -c copy film.mkv");
    let mut bytes = std::fs::read(b.path("film.mkv")).unwrap();
    let at = bytes.windows(5).position(|w| w == b"A_AAC").unwrap();
    bytes[at..at + 5].copy_from_slice(b"A_XXX");
    b.write("strange.mkv", &bytes);
    run("strange.mkv", "a.mp4", 2, &["MP4 cannot hold stream 1", "-o"]);
    run("strange.mkv", "a.m4a", 1, &["cannot be decoded by this FFmpeg", "--audio"]);
    run("film.mp4", "a.webm", 2, &["WebM cannot hold stream 0 (video h264)", ".mkv"]);
    run("film.mp4", "a.avi", 2, &["stands for no container", ".mkv"]);
    run("film.mp4", "film.mp4", 1, &["exists already", "--force"]);
    run("rtsp://127.0.0.1:9/x", "a.mkv", 1, &["is a stream, and a film must be read twice"]);
    let forced = ["film.mp4", "--descriptions", "film.vtt", "-o", "film.mp4", "--force", "--voice-command", &voice];
    fails(&b, &forced, 2, &["the output would replace the input"]);
    let codec = ["film.mp4", "--descriptions", "film.vtt", "-o", "a.wav", "--codec", "mp3"];
    fails(&b, &codec, 2, &["WAV cannot hold MP3", "--codec"]);
    let texts = ["film.mp4", "--descriptions", "film.vtt", "-o", "a.m4a", "--text-track", "--voice-command", &voice];
    fails(&b, &texts, 2, &["M4A cannot hold a text track", ".mkv"]);
}

#[test]
fn descriptions_that_cannot_be_read() {
    let b = Bench::new();
    film(&b);
    let run = |bytes: &[u8], words: &[&str]| {
        b.write("film.vtt", bytes);
        fails(&b, &ARGS, 1, words);
    };
    run(b"Once upon a time.\n", &["film.vtt: is no WebVTT, SubRip or ASS file"]);
    run(b"WEBVTT\n\nNOTE nothing\n", &["film.vtt: holds no descriptions", "descry describe"]);
    run(b"WEBVTT\n\n00:01.000 --> 00:02.000\ncaf\xe9\n", &["is not UTF-8", "iconv"]);
    fails(&b, &["film.mp4", "--descriptions", "none.vtt", "-o", "a.mkv"], 1, &["none.vtt: no such file"]);
    fails(&b, &["film.mp4", "--descriptions", ".", "-o", "a.mkv"], 1, &["is a folder"]);
}

#[test]
fn a_full_disk_leaves_nothing() {
    let b = Bench::new();
    b.ffmpeg(
        "-f lavfi -i testsrc2=size=640x360:rate=25:duration=4 -f lavfi -i sine=300:d=4 -c:v mjpeg -c:a aac film.mkv",
    );
    descriptions(&b, &[(1_000, "A dog runs.")]);
    let before = files(&b);
    // A limit on the size of files is what a full disk is, on any machine. The signal that it sends is ignored.
    let script = format!(
        "trap '' XFSZ; ulimit -f 600; exec {} speak film.mkv --descriptions film.vtt -o a.mkv --voice-command '{}'",
        env!("CARGO_BIN_EXE_descry"),
        voice()
    );
    let out = Command::new("sh").args(["-c", &script]).current_dir(b.path("")).output().unwrap();
    let told = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.code() == Some(1) && told.contains("a.mkv: the disk is full"), "{told}");
    assert_eq!(files(&b), before);
}

#[test]
fn an_interrupt_leaves_nothing() {
    let b = Bench::new();
    film(&b);
    let before = files(&b);
    let mut child = Command::new(env!("CARGO_BIN_EXE_descry"))
        .args(["speak"])
        .args(ARGS)
        .args(["--voice-command", "sh -c 'echo $$ >pid; exec sleep 300'"])
        .current_dir(b.path(""))
        .spawn()
        .unwrap();
    while !b.path("pid").exists() || b.read("pid").is_empty() {
        assert_eq!(child.try_wait().unwrap(), None);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    // The voice has ended too.
    assert!(!Command::new("kill").args(["-0", b.read("pid").trim()]).status().unwrap().success());
    std::fs::remove_file(b.path("pid")).unwrap();
    assert_eq!(files(&b), before);
}

#[test]
fn damaged_films_are_copied_as_far_as_they_go() {
    let b = Bench::new();
    film(&b);
    b.ffmpeg("-i film.mp4 -c copy film.mkv");
    let bytes = std::fs::read(b.path("film.mkv")).unwrap();
    b.write("cut.mkv", &bytes[..bytes.len() * 3 / 4]);
    let told = speak(&b, "cut.mkv", "a.mkv", &[], 1);
    assert!(told.contains("copied in part") && told.contains("cut off"), "{told}");
    assert!(b.path("a.mkv").exists());
    // A quarter of the file is noise.
    let mut noise = bytes.clone();
    let mut random = fastrand::Rng::with_seed(3);
    noise[bytes.len() / 4..bytes.len() / 2].iter_mut().for_each(|byte| *byte = random.u8(..));
    b.write("noise.mkv", &noise);
    let out =
        b.descry(&["speak", "noise.mkv", "--descriptions", "film.vtt", "-o", "b.mkv", "--voice-command", &voice()]);
    let told = String::from_utf8_lossy(&out.stderr);
    assert!(!told.contains("panicked") && matches!(out.status.code(), Some(0 | 1)), "{told}");
}
