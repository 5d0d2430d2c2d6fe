//! Object stores, with the real binary and an independent S3 server: sources that descry reads in ranges, archives in a
//! bucket, servers that fail, and credentials that never appear.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::common::archive_files::{assert_same, failures, films, folder, records, summary, tree};
use crate::common::s3::{KEY, PASS, REFUSE, SECRET, STALL, Server};
use crate::common::{Bench, TINY, root};

struct Cloud {
    b: Bench,
    server: Server,
}

impl Cloud {
    fn new() -> Cloud {
        let cloud = Cloud { b: Bench::new(), server: Server::new() };
        cloud.server.put("films", b"");
        cloud
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_descry"));
        command.args(args).current_dir(self.b.path("")).env("DESCRY_MODEL", root().join(TINY));
        self.server.configure(&mut command);
        command
    }

    /// Runs descry. Checks the exit code, and that the output holds no credentials.
    fn run(&self, args: &[&str], code: i32) -> (String, String) {
        let out = self.command(args).output().unwrap();
        let (stdout, stderr) =
            (String::from_utf8_lossy(&out.stdout).into_owned(), String::from_utf8_lossy(&out.stderr).into_owned());
        assert_eq!(out.status.code(), Some(code), "descry {args:?}\n{stdout}\n{stderr}");
        for text in [&stdout, &stderr] {
            assert!(!text.contains(SECRET) && !text.contains(KEY) && !text.contains("panicked"), "{text}");
        }
        (stdout, stderr)
    }

    fn index(&self, args: &[&str], code: i32) -> serde_json::Value {
        summary(&self.run(&[&["index", "--log", "json"], args].concat(), code).1)
    }
}

#[test]
fn objects_are_read_in_ranges_and_described_like_files() {
    let cloud = Cloud::new();
    let b = &cloud.b;
    // About 20 MB, with a keyframe every 2 s and the index at the end.
    b.ffmpeg(
        "-f lavfi -i testsrc2=size=640x360:rate=25:duration=40 -vf noise=alls=60:allf=t,hue=H=2*PI*floor(t/4)/10 \
         -c:v libx264 -preset ultrafast -b:v 4M -maxrate 4M -bufsize 4M -g 50 -bf 2 film.mp4",
    );
    let film = std::fs::read(b.path("film.mp4")).unwrap();
    let size = film.len() as u64;
    let at = |name: &[u8]| film.windows(4).position(|w| w == name).unwrap();
    assert!(size > 12 << 20 && at(b"mdat") < at(b"moov"), "{size}");
    cloud.server.put("films/2024/film.mp4", &film);
    cloud.server.put("films/2024/notes.txt", b"not looked at");
    cloud.server.fetched();
    for (n, (args, most)) in [
        (&[][..], 1.25),
        (&["--mode", "keyframes"], 0.5),
        (&["--start", "30", "--end", "33"], 0.3),
        (&["--mode", "keyframes", "--start", "10", "--end", "20"], 0.3),
    ]
    .into_iter()
    .enumerate()
    {
        let into = format!("archive-{n}");
        let done = cloud.index(&[&["s3://films/2024", "--into", &into], args].concat(), 0);
        let fetched = cloud.server.fetched() as f64 / size as f64;
        assert!(fetched < most, "{args:?}: descry fetched {fetched:.2} of the object");
        assert_eq!(done["progress"]["described"], 1);
        cloud.run(&[&["describe", "film.mp4", "-o", "want.vtt", "--force"], args].concat(), 0);
        let vtt = folder(&b.path(&into), "film.mp4").join("descriptions.vtt");
        assert_eq!(std::fs::read_to_string(vtt).unwrap(), b.read("want.vtt"), "{args:?}");
    }
    let (out, _) = cloud.run(&["describe", "s3://films/2024/film.mp4", "-o", "-", "--mode", "keyframes"], 0);
    assert!(out.contains("Descriptions of film.mp4"), "{out}");
    cloud.run(&["probe", "s3://films/2024/film.mp4"], 0);
    // The object is up to date until its ETag changes.
    assert_eq!(records(&b.path("archive-1"))["film.mp4"].1["video"], "s3://films/2024/film.mp4");
    let again = ["s3://films/2024", "--into", "archive-1", "--mode", "keyframes"];
    cloud.server.fetched();
    assert_eq!(cloud.index(&again, 0)["up_to_date"], 1);
    assert!(cloud.server.fetched() < 10_000);
    cloud.server.put("films/2024/film.mp4", &std::fs::read(crate::common::sample("bikes.mp4")).unwrap());
    assert_eq!(cloud.index(&again, 0)["progress"]["described"], 1);
    // Objects that are missing or are not videos.
    for (address, cause) in
        [("s3://films/2024/none.mp4", "no such object"), ("s3://nowhere/x/film.mp4", "no such object")]
    {
        let (_, err) = cloud.run(&["describe", address, "-o", "-"], 1);
        assert!(err.contains(address) && err.contains(cause) && err.contains("AWS_ENDPOINT_URL"), "{err}");
    }
    cloud.server.put("films/bad/text.mp4", b"no video");
    cloud.index(&["s3://films/bad/", "s3://films/2024/gone.mp4", "--into", "archive-1"], 1);
    let kept = failures(&b.path("archive-1"));
    assert!(kept["text.mp4"].1["cause"].as_str().unwrap().contains("not a video"));
    assert!(kept["gone.mp4"].1["cause"].as_str().unwrap().contains("no such object"));
    for (name, bytes) in tree(&b.path("archive-1")) {
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains(SECRET) && !text.contains(KEY), "{name}");
    }
}

#[test]
fn an_archive_in_a_bucket_equals_one_in_a_folder() {
    let cloud = Cloud::new();
    let b = &cloud.b;
    films(b, 5);
    b.write("films/bad.mp4", b"no video\n");
    cloud.index(&["films", "--into", "local"], 1);
    let mut child = cloud
        .command(&["index", "films", "--into", "s3://films/my/archive", "-q"])
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(900));
    child.kill().unwrap();
    child.wait().unwrap();
    cloud.index(&["films", "--into", "s3://films/my/archive", "--jobs", "2"], 1);
    let done = cloud.index(&["films", "--into", "s3://films/my/archive/"], 1);
    assert_eq!((&done["up_to_date"], &done["failed_before"]), (&5.into(), &1.into()));
    cloud.server.mirror("films", "my/archive", &b.path("mirror"));
    assert_same(&b.path("mirror"), &b.path("local"));
    let (out, _) = cloud.run(&["archive", "list", "s3://films/my/archive"], 0);
    assert_eq!(out.lines().count(), 5);
    cloud.run(&["archive", "check", "s3://films/my/archive"], 0);
    cloud.run(&["archive", "export", "s3://films/my/archive", "-o", "remote.parquet"], 0);
    cloud.run(&["archive", "export", "local", "-o", "local.parquet"], 0);
    assert!(std::fs::read(b.path("remote.parquet")).unwrap() == std::fs::read(b.path("local.parquet")).unwrap());
    // Searches of both return the same. The page gets its pictures from the bucket.
    let ask = ["a dog on a beach", "--json", "-n", "20"];
    let there = cloud.run(&[&["search", "s3://films/my/archive", "--index", "found"], &ask[..]].concat(), 0).0;
    let here = cloud.run(&[&["search", "local"], &ask[..]].concat(), 0).0;
    assert!(here.lines().count() >= 5 && there == here, "{there}\n{here}");
    let page = ["search", "s3://films/my/archive", "a dog", "--index", "found", "--html", "found.html"];
    assert_eq!(cloud.run(&page, 0).1, "");
    let html = std::fs::read_to_string(b.path("found.html")).unwrap();
    assert!(html.matches("data:image/jpeg;base64,").count() >= 5, "{html:.2000}");
    let (_, err) = cloud.run(&["search", "s3://films/my/archive", "a dog"], 2);
    assert!(err.contains("--index DIR"), "{err}");
    // Other options replace the descriptions.
    cloud.index(&["films", "--into", "s3://films/my/archive", "--thumbnail-width", "0"], 1);
    std::fs::remove_dir_all(b.path("mirror")).unwrap();
    cloud.server.mirror("films", "my/archive", &b.path("mirror"));
    let files = tree(&b.path("mirror"));
    assert!(!files.keys().any(|n| n.contains("thumbnails")), "{:?}", files.keys());
    assert_eq!(files.keys().filter(|n| n.starts_with("records/")).count(), 5);
}

#[test]
fn a_failing_store_fails_only_the_current_video() {
    let cloud = Cloud::new();
    let b = &cloud.b;
    b.ffmpeg(
        "-f lavfi -i testsrc2=size=640x360:rate=25:duration=60 -vf noise=alls=60:allf=t -c:v libx264 -preset ultrafast \
         -b:v 6M -maxrate 6M -bufsize 6M film.mp4",
    );
    let film = std::fs::read(b.path("film.mp4")).unwrap();
    cloud.server.put("films/film.mp4", &film);
    for (mode, words) in [(REFUSE, ""), (STALL, "")] {
        cloud.server.fetched();
        let child = cloud
            .command(&["index", "s3://films/film.mp4", "--into", "archive", "--timeout", "2", "--log", "json"])
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut so_far = 0;
        while so_far < film.len() as u64 / 4 {
            so_far += cloud.server.fetched();
            std::thread::sleep(Duration::from_millis(2));
        }
        cloud.server.set(mode);
        let failed = Instant::now();
        let out = child.wait_with_output().unwrap();
        let err = String::from_utf8_lossy(&out.stderr);
        cloud.server.set(PASS);
        assert_eq!(out.status.code(), Some(1), "{err}");
        assert!(failed.elapsed() < Duration::from_secs(40), "{:?}", failed.elapsed());
        assert!(err.contains("s3://films/film.mp4") && err.contains(words) && !err.contains(SECRET), "{err}");
        // A quarter of a film is not committed as the whole film.
        assert!(records(&b.path("archive")).is_empty());
        assert_eq!(summary(&err)["progress"]["failed"], 1, "{err}");
        std::fs::remove_dir_all(b.path("archive")).unwrap();
    }
    cloud.index(&["s3://films/film.mp4", "--into", "archive"], 0);
    cloud.run(&["describe", "film.mp4"], 0);
    let vtt = folder(&b.path("archive"), "film.mp4").join("descriptions.vtt");
    assert_eq!(std::fs::read_to_string(vtt).unwrap(), b.read("film.vtt"));
    // An archive that cannot be reached ends the job before any work.
    cloud.server.set(REFUSE);
    let (_, err) = cloud.run(&["index", "film.mp4", "--into", "s3://films/archive"], 1);
    assert!(err.contains("s3://films/archive"), "{err}");
}

/// FFmpeg reads through descry while it opens and closes an object. `make test-sanitizers` runs this under valgrind.
#[test]
fn objects_that_open_in_part_are_closed_cleanly() {
    let cloud = Cloud::new();
    let b = &cloud.b;
    b.ffmpeg("-f lavfi -i testsrc2=size=192x108:rate=25:duration=4 -c:v libx264 -g 25 film.mp4");
    b.ffmpeg("-f lavfi -i sine=duration=1 -c:a aac sound.m4a");
    b.ffmpeg("-i film.mp4 -c copy film.mkv");
    let film = std::fs::read(b.path("film.mp4")).unwrap();
    b.write("text.mp4", b"hello, world\n");
    b.write("cut.mp4", &film[..film.len() / 2]);
    for name in ["film.mp4", "film.mkv", "sound.m4a", "text.mp4", "cut.mp4"] {
        cloud.server.put(&format!("films/{name}"), &std::fs::read(b.path(name)).unwrap());
    }
    // Closed after its first frame.
    for name in ["film.mp4", "film.mkv"] {
        let (out, _) = cloud.run(&["probe", &format!("s3://films/{name}")], 0);
        assert!(out.contains("192×108"), "{out}");
    }
    // Refused once it is open.
    let (_, err) = cloud.run(&["probe", "s3://films/sound.m4a"], 1);
    assert!(err.contains("has no video stream"), "{err}");
    // Refused by FFmpeg, while it opens it.
    for name in ["text.mp4", "cut.mp4"] {
        let (_, err) = cloud.run(&["probe", &format!("s3://films/{name}")], 1);
        assert!(err.contains("not a video that FFmpeg can read"), "{err}");
    }
}
