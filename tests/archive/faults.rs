//! Faults that an archive survives: interrupts, full and read-only disks, damage, videos that vanish or change.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use crate::common::archive_files::{assert_same, failures, films, folder, records, start, summary, tree};
use crate::common::faulty::children;
use crate::common::{Bench, TINY, not_tried, root, tiny};

fn index(b: &Bench, args: &[&str], code: i32) -> serde_json::Value {
    let (_, err) = b.run(&tiny(&[&["index", "--log", "json"], args].concat()), code);
    summary(&err)
}

/// The time at which each record was written.
fn written(archive: &Path) -> BTreeMap<String, SystemTime> {
    if !archive.exists() {
        return BTreeMap::new();
    }
    let names = tree(archive).into_keys().filter(|n| n.starts_with("records/") && n.ends_with(".json"));
    names.map(|n| (n.clone(), std::fs::metadata(archive.join(n)).unwrap().modified().unwrap())).collect()
}

/// Whether a job, or a decoder of it, has a file open.
fn has_open(job: u32, name: &str) -> bool {
    [vec![job], children(job)].concat().into_iter().any(|id| {
        let open = std::fs::read_dir(format!("/proc/{id}/fd")).into_iter().flatten().flatten();
        open.filter_map(|fd| std::fs::read_link(fd.path()).ok()).any(|path| path.ends_with(name))
    })
}

#[cfg(unix)]
#[test]
fn ctrl_c_keeps_finished_videos() {
    let b = Bench::new();
    films(&b, 7);
    b.ffmpeg("-f lavfi -i testsrc2=size=640x360:rate=25:duration=90 -c:v libx264 -preset ultrafast films/z-long.mp4");
    let mut child = start(&b, &["films", "--into", "archive"]);
    while written(&b.path("archive")).is_empty() {
        assert!(child.try_wait().unwrap().is_none(), "the job ended before the interrupt");
        std::thread::sleep(Duration::from_millis(2));
    }
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(130), "{}", String::from_utf8_lossy(&out.stderr));
    let done = records(&b.path("archive")).len();
    assert!((1..8).contains(&done) && !records(&b.path("archive")).contains_key("z-long.mp4"), "{done}");
    let all = tree(&b.path("archive"));
    assert!(!all.keys().any(|n| n.ends_with(".part") || n.ends_with(".lock")), "{:?}", all.keys());
    assert_eq!(index(&b, &["films", "--into", "archive"], 0)["progress"]["described"], 8 - done);
}

/// Simulates a full disk with a limit on file sizes and, where namespaces are allowed, with a small disk.
#[cfg(unix)]
#[test]
fn a_full_disk_ends_the_job_and_keeps_finished_videos() {
    let b = Bench::new();
    films(&b, 4);
    let model = root().join(TINY).display().to_string();
    let shell = |script: &str| {
        Command::new("sh")
            .args(["-c", script, env!("CARGO_BIN_EXE_descry"), &model])
            .current_dir(b.path(""))
            .output()
            .unwrap()
    };
    index(&b, &["films", "--into", "want"], 0);
    index(&b, &["films/film-0.mp4", "--into", "archive"], 0);
    let before = tree(&b.path("archive"));
    for blocks in [0, 1, 4] {
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" index films --into archive --model \"$1\"");
        let out = shell(&script);
        let err = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(1), "{err}");
        assert!(err.contains("the disk is full") && err.contains("Free some space"), "{err}");
        assert!(!err.contains("panicked"), "{err}");
        let now = tree(&b.path("archive"));
        assert!(before.iter().all(|(name, bytes)| now.get(name) == Some(bytes)));
        assert_eq!(records(&b.path("archive")).len(), 1);
    }
    assert!(failures(&b.path("archive")).is_empty(), "a full disk is not a failure of the films");
    index(&b, &["films", "--into", "archive"], 0);
    assert_same(&b.path("archive"), &b.path("want"));

    std::fs::create_dir(b.path("disk")).unwrap();
    let out = shell(
        "exec unshare --mount --map-root-user sh -c '
            mount -t tmpfs -o size=64k tmpfs disk && mkdir disk/archive || exit 77
            \"$0\" index films --into disk/archive --model \"$1\"; code=$?
            ls disk/archive/records | wc -l; mount -o remount,size=8m disk || exit 77
            \"$0\" index films --into disk/archive --model \"$1\" -q || exit 78
            cp -r disk/archive copied; exit $code' \"$0\" \"$1\"",
    );
    let err = String::from_utf8_lossy(&out.stderr);
    if b.path("copied").exists() {
        assert_eq!(out.status.code(), Some(1), "{err}");
        assert!(err.contains("the disk is full"), "{err}");
        let _ = std::fs::remove_dir_all(b.path("copied/claims"));
        assert_same(&b.path("copied"), &b.path("want"));
    } else {
        assert!(matches!(out.status.code(), Some(1 | 77 | 127)) && !err.contains("descry"), "{err}");
        not_tried("no file system can be mounted here");
    }
}

/// Root can write everywhere, so a test that runs as root starts descry as nobody.
#[cfg(unix)]
#[test]
fn a_read_only_archive_is_reported_and_can_be_read() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    let b = Bench::new();
    films(&b, 1);
    index(&b, &["films", "--into", "archive"], 0);
    films(&b, 2);
    let mode = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    let open = |folder: &Path| {
        for entry in std::fs::read_dir(folder).unwrap() {
            mode(&entry.unwrap().path(), 0o644);
        }
    };
    let root_user = std::fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0);
    let mut binary = Path::new(env!("CARGO_BIN_EXE_descry")).to_path_buf();
    mode(&b.path(""), 0o755);
    if root_user {
        // The folder of the build and the model may be readable only by root.
        std::fs::copy(&binary, b.path("descry")).unwrap();
        binary = b.path("descry");
        mode(&binary, 0o755);
    }
    let copy = |from: &Path, name: &str| {
        std::fs::create_dir_all(b.path(name)).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, b.path(name).join(path.file_name().unwrap())).unwrap();
        }
        mode(&b.path(name), 0o755);
        open(&b.path(name));
    };
    copy(&root().join(TINY), "model");
    let runtime = b.path("libonnxruntime.so");
    let library = std::fs::read_dir(root().join("vendor/onnxruntime"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.to_string_lossy().contains("libonnxruntime.so"))
        .expect("the runtime is missing: run make setup");
    std::fs::copy(library, &runtime).unwrap();
    let run = |args: &[&str]| {
        let mut command = Command::new(&binary);
        command.args(args).current_dir(b.path("")).env("DESCRY_ONNXRUNTIME", &runtime);
        if root_user {
            command.uid(65534);
        } else {
            for folder in ["archive", "archive/records", "archive/videos"] {
                mode(&b.path(folder), 0o555);
            }
        }
        let out = command.output().unwrap();
        (
            out.status.code(),
            String::from_utf8_lossy(&out.stdout).into_owned(),
            String::from_utf8_lossy(&out.stderr).into_owned(),
        )
    };
    let before = tree(&b.path("archive"));
    let (code, _, err) = run(&["index", "films", "--into", "archive", "--model", "model"]);
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("cannot be written") && err.contains("may write") && !err.contains("panicked"), "{err}");
    let (code, out, err) = run(&["archive", "list", "archive"]);
    assert!(code == Some(0) && out.contains("film-0.mp4"), "{err}");
    assert_eq!(tree(&b.path("archive")), before);
    for folder in ["archive", "archive/records", "archive/videos"] {
        mode(&b.path(folder), 0o755);
    }
}

#[test]
fn damage_is_found_reported_and_repaired() {
    let b = Bench::new();
    films(&b, 6);
    index(&b, &["films", "--into", "archive"], 0);
    index(&b, &["films", "--into", "want"], 0);
    let archive = b.path("archive");
    b.run(&["archive", "check", "archive"], 0);
    let half = |path: &Path| {
        let bytes = std::fs::read(path).unwrap();
        std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
    };
    let in_folder = |video: &str, name: &str| folder(&archive, video).join(name);
    half(&in_folder("film-0.mp4", "keyframes.parquet"));
    let thumbnail = std::fs::read_dir(in_folder("film-1.mp4", "thumbnails")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&thumbnail).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    std::fs::write(&thumbnail, bytes).unwrap();
    std::fs::remove_file(in_folder("film-2.mp4", "descriptions.vtt")).unwrap();
    let record = archive.join(&records(&archive)["film-3.mp4"].0);
    // A killed run leaves this behind.
    let orphan = archive.join("videos/ab/ab00000000000000.0000000000000000");
    std::fs::create_dir_all(&orphan).unwrap();
    std::fs::write(orphan.join("keyframes.parquet.0123456789abcdef.part"), "PAR1").unwrap();
    half(&record);
    // A damaged table causes an error, not a panic.
    let (_, err) = b.run(&["archive", "export", "archive", "-o", "all.parquet"], 1);
    assert!(err.contains("keyframes.parquet") && err.contains("archive check"), "{err}");
    assert!(!b.path("all.parquet").exists());
    let (_, err) = b.run(&["archive", "check", "archive"], 1);
    for words in
        ["keyframes.parquet", "was changed", "is missing", "is damaged", "2 videos intact, 4 damaged; 1 leftover of"]
    {
        assert!(err.contains(words), "{words}: {err}");
    }
    assert_eq!(index(&b, &["films", "--into", "archive"], 0)["up_to_date"], 6, "index compares only names");
    b.run(&["archive", "check", "archive", "--repair"], 1);
    b.run(&["archive", "check", "archive"], 0);
    assert_eq!(index(&b, &["films", "--into", "archive"], 0)["progress"]["described"], 4);
    assert_same(&archive, &b.path("want"));
    b.run(&["archive", "export", "archive", "-o", "all.parquet"], 0);
    let (_, err) = b.run(&["archive", "export", "archive", "-o", "all.parquet"], 1);
    assert!(err.contains("--force"), "{err}");
}

/// Calls `act` once a job has claimed a video and is describing it.
#[cfg(unix)]
fn when_begun(archive: &Path, act: impl FnOnce()) {
    let begun = Instant::now();
    while !archive.join("claims").exists() || std::fs::read_dir(archive.join("claims")).unwrap().count() == 0 {
        assert!(begun.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(1));
    }
    act();
}

#[cfg(unix)]
#[test]
fn videos_that_vanish_or_change_do_not_stop_the_job() {
    let b = Bench::new();
    films(&b, 3);
    // Long enough that the test can act in the middle of it.
    b.ffmpeg("-f lavfi -i testsrc2=size=640x360:rate=25:duration=60 -c:v libx264 -preset ultrafast films/a-long.mp4");
    std::fs::copy(b.path("films/a-long.mp4"), b.path("films/b-gone.mp4")).unwrap();
    // The second film is removed before its turn. It fails, and the failure is recorded.
    let child = start(&b, &["films", "--into", "archive"]);
    when_begun(&b.path("archive"), || std::fs::remove_file(b.path("films/b-gone.mp4")).unwrap());
    let out = child.wait_with_output().unwrap();
    let err = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{err}");
    assert_eq!(summary(&err)["progress"]["described"], 4);
    assert!(failures(&b.path("archive"))["b-gone.mp4"].1["cause"].as_str().unwrap().contains("no such file"), "{err}");
    // A file that changes while descry reads it is not committed.
    std::fs::rename(b.path("films/a-long.mp4"), b.path("films/c-grows.mp4")).unwrap();
    let child = start(&b, &["films/c-grows.mp4", "--into", "archive"]);
    when_begun(&b.path("archive"), || {
        use std::io::Write;
        let mut film = std::fs::File::options().append(true).open(b.path("films/c-grows.mp4")).unwrap();
        film.write_all(&[0, 0, 0, 8, b'f', b'r', b'e', b'e']).unwrap();
    });
    let out = child.wait_with_output().unwrap();
    let err = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{err}");
    assert!(err.contains("has changed while it was described"), "{err}");
    assert!(!records(&b.path("archive")).contains_key("c-grows.mp4"));
    // The next job describes it, since nothing writes to it any longer.
    assert_eq!(index(&b, &["films/c-grows.mp4", "--into", "archive"], 0)["progress"]["described"], 1);
    // descry reads a file to its end even if the file is deleted meanwhile.
    std::fs::rename(b.path("films/c-grows.mp4"), b.path("films/d-deleted.mp4")).unwrap();
    let child = start(&b, &["films/d-deleted.mp4", "--into", "archive"]);
    when_begun(&b.path("archive"), || {
        let started = Instant::now();
        while !has_open(child.id(), "d-deleted.mp4") {
            assert!(started.elapsed() < Duration::from_secs(60), "nobody opens the film");
            std::thread::sleep(Duration::from_millis(5));
        }
        std::fs::remove_file(b.path("films/d-deleted.mp4")).unwrap();
    });
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    assert!(records(&b.path("archive")).contains_key("d-deleted.mp4"));
}
