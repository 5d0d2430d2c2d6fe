//! Bad input: each message names the file, the cause and the remedy, and the exit code is right.
//!
//! The tests run the real binary. They synthesise files, then truncate, patch and corrupt them.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::{Bench, TINY, not_tried, root, sample, tiny};

const CLIP: &str = "-f lavfi -i testsrc2=size=192x108:rate=25:duration=4";

/// Asserts that a run prints one message, with the file and the cause, and the remedy on a second line.
fn assert_message(err: &str, file: &str, cause: &str, remedy: &str) {
    let lines: Vec<&str> = err.lines().collect();
    assert_eq!(lines.len(), 2, "expected a message and its remedy: {err}");
    assert!(lines[0].starts_with("error: ") && lines[0].contains(file) && lines[0].contains(cause), "{cause}: {err}");
    assert!(lines[1].starts_with("  ") && lines[1].contains(remedy), "{remedy}: {err}");
}

/// The position of the last `name` in a file. An MP4 file lists names of boxes in its brands, too.
fn find(bytes: &[u8], name: &[u8]) -> usize {
    bytes.windows(name.len()).rposition(|w| w == name).unwrap_or_else(|| panic!("{name:?}"))
}

/// Changes the size in an AVI header. FFV1 pictures have no size of their own.
fn avi_header(b: &Bench, from: &str, to: &str, size: i32) {
    let mut bytes = std::fs::read(b.path(from)).unwrap();
    let at = bytes.windows(4).position(|w| w == b"strf").unwrap() + 12;
    bytes[at..at + 4].copy_from_slice(&size.to_le_bytes());
    bytes[at + 4..at + 8].copy_from_slice(&size.to_le_bytes());
    b.write(to, &bytes);
}

/// Changes the size in an MP4 sample description.
fn mp4_header(b: &Bench, from: &str, to: &str, name: &[u8], size: u16) {
    let mut bytes = std::fs::read(b.path(from)).unwrap();
    let at = find(&bytes, name) + 28;
    bytes[at..at + 2].copy_from_slice(&size.to_be_bytes());
    bytes[at + 2..at + 4].copy_from_slice(&size.to_be_bytes());
    b.write(to, &bytes);
}

/// Changes the size in every picture of a Motion JPEG file.
fn jpeg_headers(b: &Bench, from: &str, to: &str, size: u16) {
    let mut bytes = std::fs::read(b.path(from)).unwrap();
    for at in 0..bytes.len() - 9 {
        if bytes[at..at + 4] == [0xFF, 0xC0, 0, 17] {
            bytes[at + 5..at + 7].copy_from_slice(&size.to_be_bytes());
            bytes[at + 7..at + 9].copy_from_slice(&size.to_be_bytes());
        }
    }
    b.write(to, &bytes);
}

#[test]
fn unusable_inputs_are_reported() {
    let b = Bench::new();
    b.write("empty.mp4", b"");
    b.write("text.mp4", b"hello, world\n");
    std::fs::create_dir(b.path("folder")).unwrap();
    b.ffmpeg("-f lavfi -i sine=duration=1 -c:a aac sound.m4a");
    // A cover is not a film.
    b.ffmpeg("-f lavfi -i testsrc2=size=64x64 -frames:v 1 cover.png");
    b.ffmpeg("-f lavfi -i sine=duration=1 -i cover.png -map 0 -map 1 -c:a aac -c:v copy -disposition:v attached_pic cover.m4a");
    b.ffmpeg(&format!("{CLIP} -c:v libx264 whole.mp4"));
    let whole = std::fs::read(b.path("whole.mp4")).unwrap();
    b.write("cut.mp4", &whole[..whole.len() / 2]);
    b.ffmpeg(&format!(
        "{CLIP} -c:v libx264 -encryption_scheme cenc-aes-ctr -encryption_key 76a6c65c5ea762046bd749a2e632ccbb \
         -encryption_kid a7e61c373e219033c21091fa607bf3b8 drm.mp4"
    ));
    // Files without frames: no streams, an empty index, only a header.
    b.ffmpeg(&format!("{CLIP} -c:v libx264 -frames:v 0 none.mp4"));
    b.ffmpeg(&format!("{CLIP} -c:v libx264 -frames:v 0 none.mkv"));
    b.ffmpeg("-i whole.mp4 -c copy -movflags empty_moov+frag_keyframe parts.mp4");
    let parts = std::fs::read(b.path("parts.mp4")).unwrap();
    let first = parts.windows(4).position(|w| w == b"moof").unwrap() - 4;
    b.write("header.mp4", &parts[..first]);
    b.ffmpeg("-i whole.mp4 -c copy whole.mkv");
    let mkv = std::fs::read(b.path("whole.mkv")).unwrap();
    let cluster = mkv.windows(4).position(|w| w == [0x1F, 0x43, 0xB6, 0x75]).unwrap();
    b.write("header.mkv", &mkv[..cluster]);
    // Impossible sizes.
    b.ffmpeg(&format!("{CLIP} -c:v ffv1 ffv1.avi"));
    b.ffmpeg(&format!("{CLIP} -c:v mjpeg jpeg.avi"));
    b.ffmpeg(&format!("{CLIP} -c:v mjpeg jpeg.mp4"));
    avi_header(&b, "ffv1.avi", "zero.avi", 0);
    avi_header(&b, "ffv1.avi", "huge.avi", 16_384);
    avi_header(&b, "ffv1.avi", "large.avi", 8_200);
    jpeg_headers(&b, "jpeg.avi", "zero-jpeg.avi", 0);
    jpeg_headers(&b, "jpeg.avi", "huge-jpeg.avi", 16_384);
    jpeg_headers(&b, "jpeg.mp4", "huge-jpeg.mp4", 16_384);
    for (name, cause, remedy) in [
        ("missing.mp4", "no such file", "path"),
        ("no/folder/x.mp4", "no such file", "path"),
        ("folder", "is a folder", "Name the files in it"),
        ("empty.mp4", "is empty (0 bytes)", "again"),
        ("text.mp4", "not a video", "ffprobe"),
        ("sound.m4a", "no video stream", "ffprobe"),
        ("cover.m4a", "no video stream", "ffprobe"),
        ("cut.mp4", "cut off", "complete"),
        ("drm.mp4", "encrypted", "not protected"),
        ("none.mp4", "no streams", "again"),
        ("none.mkv", "holds no frames", "again"),
        ("header.mp4", "holds no frames", "again"),
        ("header.mkv", "holds no frames", "again"),
        ("zero.avi", "0×0", "ffprobe"),
        ("huge.avi", "16384×16384", "--max-pixels"),
        ("large.avi", "8200×8200", "--max-pixels"),
        ("zero-jpeg.avi", "none of its 100 video packets could be decoded", "ffprobe"),
        ("huge-jpeg.avi", "none of its 100 video packets could be decoded", "ffprobe"),
        ("huge-jpeg.mp4", "none of its 100 video packets could be decoded", "ffprobe"),
        ("-", "standard input", "file"),
    ] {
        let (out, err) = b.run(&tiny(&["describe", name, "-o", "out.vtt"]), 1);
        assert_message(&err, name, cause, remedy);
        assert!(out.is_empty() && !b.path("out.vtt").exists(), "{name}");
        let (out, err) = b.run(&["probe", name], 1);
        assert_message(&err, name, cause, remedy);
        assert!(out.is_empty(), "{name}");
    }
    let (_, err) = b.run(&tiny(&["describe", "whole.mp4", "--max-pixels", "1000"]), 1);
    assert_message(&err, "whole.mp4", "192×108", "--max-pixels");
}

/// The peak memory of a run in kilobytes, as Python reports it, and the run's exit code.
pub(super) fn memory(b: &Bench, args: &[&str]) -> (u64, i32) {
    let script = "import resource, subprocess, sys\n\
                  code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode\n\
                  print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, code)";
    let out = Command::new("python3")
        .args(["-c", script, env!("CARGO_BIN_EXE_descry")])
        .args(args)
        .current_dir(b.path(""))
        .output()
        .expect("python3 is missing: run make setup-test");
    let text = String::from_utf8(out.stdout).unwrap();
    let (kilobytes, code) = text.trim().split_once(' ').unwrap_or_else(|| panic!("{text}"));
    (kilobytes.parse().unwrap(), code.parse().unwrap())
}

#[test]
fn headers_with_huge_sizes_take_no_memory() {
    let b = Bench::new();
    for (name, codec) in [("ffv1.avi", "ffv1"), ("jpeg.avi", "mjpeg"), ("jpeg.mp4", "mjpeg"), ("h264.mp4", "libx264")] {
        b.ffmpeg(&format!("{CLIP} -c:v {codec} {name}"));
    }
    avi_header(&b, "ffv1.avi", "header.avi", 16_384);
    avi_header(&b, "ffv1.avi", "large.avi", 16_000);
    jpeg_headers(&b, "jpeg.avi", "pictures.avi", 16_000);
    mp4_header(&b, "jpeg.mp4", "container.mp4", b"mp4v", 16_384);
    mp4_header(&b, "h264.mp4", "lie.mp4", b"avc1", 16_384);
    mp4_header(&b, "h264.mp4", "zero.mp4", b"avc1", 0);
    let describe = |name: &str| memory(&b, &tiny(&["describe", name, "-o", "-"]));
    let (usual, code) = describe("h264.mp4");
    assert_eq!(code, 0);
    // Where the pictures carry their own size, the size in the container does not matter.
    for (name, want) in [
        ("header.avi", 1),
        ("large.avi", 1),
        ("pictures.avi", 1),
        ("container.mp4", 0),
        ("lie.mp4", 0),
        ("zero.mp4", 0),
    ] {
        let (peak, code) = describe(name);
        assert_eq!(code, want, "{name}");
        assert!(peak < usual + 30_000, "{name}: {peak} kB, but {usual} kB for a good file");
    }
}

/// A position in the middle of the first frame that begins at a position or later. A stream without an index that ends between
/// two frames is whole.
fn within_a_frame(b: &Bench, name: &str, from: usize) -> usize {
    let args = ["-v", "error", "-select_streams", "v", "-show_entries", "packet=pos,size", "-of", "csv=p=0"];
    let out = Command::new("ffprobe").args(args).arg(b.path(name)).output().expect("ffprobe is installed");
    let text = String::from_utf8(out.stdout).unwrap();
    let frames = text.lines().filter_map(|line| {
        let mut fields = line.split(',').map(str::parse::<usize>);
        Some((fields.next()?.ok()?, fields.next()?.ok()?))
    });
    let (size, position) =
        frames.filter(|(_, position)| *position >= from).min_by_key(|(_, position)| *position).unwrap();
    position + size / 2
}

#[test]
fn damaged_files_are_described_in_part() {
    let b = Bench::new();
    let clip = "-f lavfi -i testsrc2=size=320x180:rate=25:duration=6";
    b.ffmpeg(&format!("{clip} -c:v libx264 -g 25 -movflags +faststart x.mp4"));
    b.ffmpeg("-i x.mp4 -c copy x.mkv");
    b.ffmpeg("-i x.mp4 -c copy x.flv");
    b.ffmpeg("-i x.mp4 -c copy x.ts");
    b.ffmpeg(&format!("{clip} -c:v mpeg4 -g 25 x.avi"));
    b.ffmpeg(&format!("{clip} -c:v libvpx -deadline realtime -g 25 x.webm"));
    for name in ["x.mp4", "x.mkv", "x.flv", "x.ts", "x.avi", "x.webm"] {
        let (out, _) = b.run(&tiny(&["describe", name, "-o", "-"]), 0);
        assert!(out.contains("--> 00:00:06.000"), "{name}: {out}");
        let whole = std::fs::read(b.path(name)).unwrap();
        let cut = format!("cut-{name}");
        b.write(&cut, &whole[..within_a_frame(&b, name, whole.len() * 2 / 3)]);
        let (out, err) = b.run(&tiny(&["describe", &cut, "-o", "-", "--min-score", "0"]), 1);
        assert!(out.starts_with("WEBVTT") && out.contains("-->") && out.contains("\nincomplete: "), "{cut}: {out}");
        assert!(err.starts_with(&format!("warning: {cut}: described in part: ")), "{err}");
        // A VP8 decoder cannot detect the damage. In FLV the flips break the length of a packet, and everything after it
        // is lost. A threaded decoder does not always report that.
        if name != "x.webm" && name != "x.flv" {
            let flipped = format!("flipped-{name}");
            let mut bytes = whole.clone();
            let middle = bytes.len() / 2;
            bytes[middle..middle + 4000].iter_mut().step_by(7).for_each(|byte| *byte ^= 0x55);
            b.write(&flipped, &bytes);
            let (out, err) = b.run(&tiny(&["describe", &flipped, "-o", "-", "--min-score", "0"]), 1);
            assert!(out.contains("-->") && out.contains("\nincomplete: "), "{flipped}: {out}");
            // The reported loss does not depend on the number of threads.
            let lost = |vtt: &str| vtt.lines().find(|l| l.starts_with("incomplete: ")).map(str::to_string);
            for threads in ["1", "3", "4"] {
                let args = ["describe", &flipped, "-o", "-", "--min-score", "0", "--decode-threads", threads];
                assert_eq!(lost(&b.run(&tiny(&args), 1).0), lost(&out), "{flipped}, {threads} threads");
            }
            // Decoding continues after the damage and misses only a frame or two.
            let end = ["--> 00:00:05.8", "--> 00:00:05.9", "--> 00:00:06.000"].iter().any(|end| out.contains(end));
            assert!(end, "{flipped}: {out}");
            assert!(err.starts_with(&format!("warning: {flipped}: described in part: ")), "{err}");
        }
    }
    // One of a hundred pictures is broken and claims the largest size.
    b.ffmpeg(&format!("{CLIP} -c:v mjpeg jpeg.avi"));
    let mut bytes = std::fs::read(b.path("jpeg.avi")).unwrap();
    let at = bytes.windows(4).position(|w| w == [0xFF, 0xC0, 0, 17]).unwrap();
    bytes[at + 5..at + 9].copy_from_slice(&[0x40, 0, 0x40, 0]);
    b.write("one.avi", &bytes);
    let (out, err) = b.run(&tiny(&["describe", "one.avi", "-o", "-", "--min-score", "0"]), 1);
    assert!(out.contains("-->") && err.contains("1 broken packet"), "{out}{err}");
}

/// descry must not read for ever, even if the headers give a wrong position for a frame.
#[test]
fn flipped_bytes_never_cause_a_panic() {
    let b = Bench::new();
    for (name, codec) in [("x.mp4", "libx264 -movflags +faststart"), ("x.mkv", "libx264"), ("x.avi", "mpeg4")] {
        b.ffmpeg(&format!("-f lavfi -i testsrc2=size=96x64:rate=25:duration=1 -c:v {codec} {name}"));
        let whole = std::fs::read(b.path(name)).unwrap();
        for turn in 0..8usize {
            let mut bytes = whole.clone();
            // The first turns change the header.
            let span = if turn < 5 { 2_000.min(bytes.len()) } else { bytes.len() };
            for k in 0..12usize {
                let at = (k * 7_919 + turn * 104_729 + 31) % span;
                bytes[at] ^= (k * 37 + turn * 11 + 1) as u8;
            }
            b.write(name, &bytes);
            let out = b.descry(&["probe", name]);
            let err = String::from_utf8_lossy(&out.stderr);
            assert!(matches!(out.status.code(), Some(0 | 1)) && !err.contains("panicked"), "{name} {turn}: {err}");
            let out = b.descry(&tiny(&["describe", name, "-o", "-"]));
            let err = String::from_utf8_lossy(&out.stderr);
            assert!(matches!(out.status.code(), Some(0 | 1)) && !err.contains("panicked"), "{name} {turn}: {err}");
            assert!(out.status.code() == Some(0) || err.contains(name), "{name} {turn}: {err}");
        }
    }
}

/// Root can read everything, so a test that runs as root starts a copy of descry as nobody.
#[cfg(unix)]
#[test]
fn unreadable_input_is_reported() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    let b = Bench::new();
    let mode = |name: &str, mode| {
        std::fs::set_permissions(b.path(name), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    b.ffmpeg(&format!("{CLIP} -c:v libx264 film.mp4"));
    std::fs::create_dir(b.path("locked")).unwrap();
    std::fs::copy(b.path("film.mp4"), b.path("locked/film.mp4")).unwrap();
    mode("", 0o755);
    mode("film.mp4", 0o000);
    mode("locked", 0o000);
    let root = std::fs::read(b.path("film.mp4")).is_ok();
    let mut binary = Path::new(env!("CARGO_BIN_EXE_descry")).to_path_buf();
    if root {
        // The build may be in a folder that only root can read.
        std::fs::copy(&binary, b.path("descry")).unwrap();
        binary = b.path("descry");
        mode("descry", 0o755);
    }
    for name in ["film.mp4", "locked/film.mp4"] {
        let mut probe = Command::new(&binary);
        probe.args(["probe", name]).current_dir(b.path(""));
        if root {
            probe.uid(65534);
        }
        let out = probe.output().unwrap();
        let err = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(1), "{err}");
        assert_message(&err, name, "permission denied", "readable");
    }
    mode("locked", 0o755);
}

fn entries(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// A limit on file sizes simulates a full disk without root. Where namespaces are allowed, the test fills a real disk of
/// one page.
#[cfg(unix)]
#[test]
fn a_full_disk_leaves_no_partial_file() {
    let b = Bench::new();
    let clip = sample("bigbuckbunny.mp4");
    let shell = |script: &str| {
        Command::new("sh")
            .args(["-c", script, env!("CARGO_BIN_EXE_descry"), &clip])
            .current_dir(b.path(""))
            .output()
            .unwrap()
    };
    // First nothing fits, then only 512 bytes fit.
    for blocks in [0, 1] {
        let out = shell(&format!(
            "trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" describe \"$1\" -o out/ -f json --model {}",
            root().join(TINY).display()
        ));
        let err = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(1), "{err}");
        assert_message(&err, "out/bigbuckbunny.json", "disk is full", "space");
        assert!(entries(&b.path("out")).is_empty(), "{:?}", entries(&b.path("out")));
    }
    std::fs::create_dir(b.path("disk")).unwrap();
    let out = shell(&format!(
        "exec unshare --mount --map-root-user sh -c '
            mount -t tmpfs -o size=4k tmpfs disk && echo > disk/full || exit 77
            \"$0\" describe \"$1\" -o disk/ -f json --model {}; code=$?; ls -A disk; exit $code' \"$0\" \"$1\"",
        root().join(TINY).display()
    ));
    let err = String::from_utf8_lossy(&out.stderr);
    if out.status.code() == Some(1) && err.contains("disk/bigbuckbunny.json") {
        assert_message(&err, "disk/bigbuckbunny.json", "disk is full", "space");
        assert_eq!(String::from_utf8_lossy(&out.stdout), "full\n");
    } else {
        assert!(matches!(out.status.code(), Some(1 | 77 | 127)) && !err.contains("descry"), "{err}");
        not_tried("no file system can be mounted here");
    }
    let out = shell("exec \"$0\" describe \"$1\" -o - > /dev/full");
    let err = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{err}");
    assert_message(&err, "standard output", "disk is full", "space");
}

#[test]
fn unusable_outputs_are_reported() {
    let b = Bench::new();
    let clip = sample("bigbuckbunny.mp4");
    b.write("there.vtt", b"mine");
    std::fs::create_dir_all(b.path("a")).unwrap();
    std::fs::create_dir_all(b.path("dir.vtt")).unwrap();
    std::fs::copy(&clip, b.path("a/bigbuckbunny.mkv")).unwrap();
    for (args, code, name, cause, remedy) in [
        (&[&clip[..], "-o", "there.vtt"][..], 1, "there.vtt", "exists already", "--force"),
        (&[&clip, "-o", "dir.vtt", "-f", "json"], 0, "", "", ""),
        (&[&clip, "-o", "no/such/folder/x.vtt"], 2, "no/such/folder", "no such folder", "mkdir -p no/such/folder"),
        (&[&clip, "-o", "no/such/"], 2, "no", "no such folder", "mkdir -p no"),
        (&[&clip, "a/bigbuckbunny.mkv", "-o", "out"], 2, "out/bigbuckbunny.vtt", "both", "different -o"),
        (&[&clip, &clip, "-o", "out"], 2, "out/bigbuckbunny.vtt", "both", "different -o"),
        (&[&clip, &clip, "-o", "there.vtt"], 2, "there.vtt", "is a file", "folder"),
        (&[&clip, "-o", "-", "-f", "vtt,srt"], 2, "-o -", "only one format", "folder"),
        (&[&clip, "-o", "x.vtt", "-f", "vtt,srt"], 2, "x.vtt", "2 formats", "folder"),
        (&[&clip, "-o", ""], 2, "-o", "nothing", "file"),
    ] {
        let (_, err) =
            b.run(&[&["describe", "--model", &root().join(TINY).display().to_string()], args].concat(), code);
        if code != 0 {
            assert_message(&err, name, cause, remedy);
        }
    }
    assert_eq!(b.read("there.vtt"), "mine");
    assert!(!b.path("out").exists(), "descry made a folder that it does not need");
    assert_eq!(entries(&b.path("dir.vtt")), ["bigbuckbunny.json"]);
    b.run(&tiny(&["describe", &clip, "-o", "there.vtt", "--force"]), 0);
    assert!(b.read("there.vtt").starts_with("WEBVTT"));
}

/// The input is a named pipe, so that the test decides when the film ends.
#[cfg(unix)]
#[test]
fn a_file_that_appears_during_the_run_is_kept() {
    use std::io::Write;
    let b = Bench::new();
    b.ffmpeg(&format!("{CLIP} -c:v libx264 film.ts"));
    let film = std::fs::read(b.path("film.ts")).unwrap();
    for force in [false, true] {
        assert!(Command::new("mkfifo").arg(b.path("pipe.ts")).status().unwrap().success());
        let mut args = tiny(&["describe", "pipe.ts", "-o", "film.vtt"]);
        args.extend(force.then_some("--force"));
        let child = Command::new(env!("CARGO_BIN_EXE_descry"))
            .args(&args)
            .current_dir(b.path(""))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // This blocks until descry opens its end. By then descry has checked its outputs.
        let mut pipe = std::fs::OpenOptions::new().write(true).open(b.path("pipe.ts")).unwrap();
        pipe.write_all(&film[..film.len() / 2]).unwrap();
        b.write("film.vtt", b"mine");
        pipe.write_all(&film[film.len() / 2..]).unwrap();
        drop(pipe);
        let out = child.wait_with_output().unwrap();
        let err = String::from_utf8_lossy(&out.stderr);
        std::fs::remove_file(b.path("pipe.ts")).unwrap();
        if force {
            assert_eq!(out.status.code(), Some(0), "{err}");
            assert!(b.read("film.vtt").starts_with("WEBVTT"));
            continue;
        }
        assert_eq!(out.status.code(), Some(1), "{err}");
        assert_message(&err, "film.vtt", "has appeared", "--force");
        assert_eq!(b.read("film.vtt"), "mine");
        // The work is in the file that the message names.
        let kept = entries(&b.path("")).into_iter().find(|n| n.ends_with(".part")).unwrap();
        assert!(err.contains(&kept) && b.read(&kept).starts_with("WEBVTT"), "{err}");
        std::fs::remove_file(b.path(&kept)).unwrap();
        std::fs::remove_file(b.path("film.vtt")).unwrap();
    }
    assert_eq!(entries(&b.path("")), ["film.ts", "film.vtt"]);
}

#[test]
fn unusable_model_folders_are_reported() {
    let b = Bench::new();
    let clip = sample("bigbuckbunny.mp4");
    let model = |name: &str| {
        std::fs::create_dir(b.path(name)).unwrap();
        for entry in std::fs::read_dir(root().join(TINY)).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), b.path(name).join(entry.file_name())).unwrap();
        }
        b.path(name)
    };
    let edit = |name: &str, from: &str, to: &str| {
        let path = model(name).join("model.json");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from}");
        std::fs::write(path, text.replacen(from, to, 1)).unwrap();
    };
    b.write("file", b"no folder");
    std::fs::create_dir(b.path("empty")).unwrap();
    let decoder = model("cut").join("decoder.onnx");
    let bytes = std::fs::read(&decoder).unwrap();
    std::fs::write(&decoder, &bytes[..bytes.len() / 2]).unwrap();
    let decoder = model("flipped").join("decoder.onnx");
    let mut bytes = std::fs::read(&decoder).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&decoder, &bytes).unwrap();
    std::fs::remove_file(model("gone").join("tokenizer.json")).unwrap();
    std::fs::write(model("garbled").join("model.json"), "{").unwrap();
    edit("future", "descry-model/1", "descry-model/3");
    edit("outside", "\"image.onnx\"", "\"../image.onnx\"");
    // The hashes are right, but the manifest does not match the graphs. Only `describe` can detect this.
    edit("width", "\"embedding_dim\": 24", "\"embedding_dim\": 25");
    edit("layers", "\"layers\": 2", "\"layers\": 3");
    edit("prefix", "\"prefix_length\": 5", "\"prefix_length\": 6");
    for (name, cause, remedy, shown) in [
        ("absent", "no such model folder", "--model", true),
        ("no/such", "no such folder", "model.json", true),
        ("./file", "not a folder", "model.json", true),
        ("empty", "model.json is missing", "model.json", true),
        ("cut", "decoder.onnx is truncated", "again", true),
        ("flipped", "decoder.onnx was changed", "again", true),
        ("gone", "tokenizer.json is missing", "again", true),
        ("garbled", "model.json cannot be read", "README", true),
        ("future", "descry-model/3", "use", true),
        ("outside", "image.onnx", "again", true),
        ("width", "image.onnx", "again", false),
        ("layers", "decoder.onnx", "again", false),
        ("prefix", "mapper.onnx", "again", false),
    ] {
        let (_, err) = b.run(&["describe", &clip, "-o", "out.vtt", "--model", name], 2);
        assert_message(&err, name, cause, remedy);
        assert!(!b.path("out.vtt").exists(), "{name}");
        if shown {
            let (_, err) = b.run(&["model", "show", name], 2);
            assert_message(&err, name, cause, remedy);
        }
    }
}

/// Libraries of an old or unknown version, compiled here, and files that are not ONNX Runtime.
#[cfg(target_os = "linux")]
#[test]
fn unusable_onnx_runtimes_are_reported() {
    let b = Bench::new();
    let clip = sample("bigbuckbunny.mp4");
    b.write(
        "old.c",
        b"#include <stddef.h>\n\
          struct base { const void *(*api)(unsigned); const char *(*version)(void); };\n\
          static const void *api(unsigned wanted) { return NULL; }\n\
          static const char *version(void) { return VERSION; }\n\
          static const struct base base = { api, version };\n\
          const struct base *OrtGetApiBase(void) { return &base; }\n",
    );
    b.write("other.c", b"int nothing;\n");
    let cc = |args: &[&str]| {
        assert!(
            Command::new("cc")
                .args(["-shared", "-fPIC"])
                .args(args)
                .current_dir(b.path(""))
                .status()
                .unwrap()
                .success()
        );
    };
    cc(&["-DVERSION=\"1.4.0\"", "old.c", "-o", "old.so"]);
    cc(&["-DVERSION=\"not a version\"", "old.c", "-o", "odd.so"]);
    cc(&["other.c", "-o", "other.so"]);
    b.write("text.so", b"no library\n");
    for (library, cause) in [
        ("missing.so", "does not exist"),
        ("text.so", "cannot be used"),
        ("other.so", "OrtGetApiBase"),
        ("old.so", "1.4.0"),
        ("odd.so", "version"),
    ] {
        let path = b.path(library);
        for variable in ["DESCRY_ONNXRUNTIME", "ORT_DYLIB_PATH"] {
            let out = Command::new(env!("CARGO_BIN_EXE_descry"))
                .args(tiny(&["describe", &clip, "-o", "-"]))
                .env_remove("DESCRY_ONNXRUNTIME")
                .env(variable, &path)
                .current_dir(b.path(""))
                .output()
                .unwrap();
            let err = String::from_utf8_lossy(&out.stderr);
            assert_eq!(out.status.code(), Some(2), "{library}: {err}");
            assert!(out.stdout.is_empty() && !err.contains("panicked"), "{library}: {err}");
            assert_message(&err, "ONNX Runtime", cause, "DESCRY_ONNXRUNTIME");
            assert!(err.contains(library), "{err}");
        }
    }
}

#[test]
fn wrong_usage_is_reported() {
    let b = Bench::new();
    let clip = sample("bikes.mp4");
    for args in [
        &["describe"][..],
        &["describe", &clip, "--no-such-option"],
        &["describe", &clip, "-f", "ass"],
        &["describe", &clip, "--start", "yesterday"],
        &["describe", &clip, "--batch", "0"],
        &["describe", &clip, "--greedy", "--beam", "3"],
        &["no-such-command"],
        &[],
    ] {
        let (out, err) = b.run(args, 2);
        assert!(out.is_empty() && err.contains("--help"), "{args:?}: {err}");
    }
    for (args, cause, remedy) in [
        (&["--start", "5", "--end", "2"][..], "--end is not after --start", "after"),
        (&["--min-score", "2"], "--min-score 2", "0"),
        (&["--beam", "1000"], "--beam 1000", "from 1 to"),
        (&["--max-tokens", "0"], "--max-tokens 0", "tokens"),
        (&["--reading-speed", "0"], "--reading-speed", "17"),
        (&["--device", "toaster"], "toaster", "--device to cpu"),
        (&["--device", "cuda"], "cuda", "--device to cpu"),
        (&["--hwaccel", "toaster"], "--hwaccel toaster", "Leave it out"),
    ] {
        let all = tiny(&[&["describe", &clip, "-o", "-"], args].concat());
        let (out, err) = b.run(&all, 2);
        assert_message(&err, "", cause, remedy);
        assert!(out.is_empty(), "{args:?}");
    }
}
