//! Films from the network, and ranges of a film: the real binary against servers that the tests start.
//!
//! The tests assert no times, only that each run ends: a dead server must not block it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::common::{Bench, tiny};
use serde_json::Value;

/// Counts connections, and answers each in its own thread until the test ends.
struct Server {
    address: String,
    connections: Arc<AtomicUsize>,
}

impl Server {
    fn new(answer: impl Fn(&str, &mut TcpStream) + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let connections = Arc::new(AtomicUsize::new(0));
        let (count, answer) = (connections.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { continue };
                count.fetch_add(1, Ordering::Relaxed);
                let answer = answer.clone();
                std::thread::spawn(move || {
                    let mut request = Vec::new();
                    let mut byte = [0];
                    while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
                        request.push(byte[0]);
                    }
                    answer(&String::from_utf8_lossy(&request), &mut stream);
                });
            }
        });
        Server { address, connections }
    }

    fn url(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }
}

/// The first byte that the request asks for.
fn wanted(request: &str) -> Option<usize> {
    let lower = request.to_ascii_lowercase();
    let from = lower.split_once("range: bytes=")?.1;
    from.split_once('-')?.0.parse().ok()
}

/// A server that supports ranges and sends at most `most` bytes per connection.
fn ranges(bytes: Vec<u8>, most: usize) -> Server {
    Server::new(move |request, stream| {
        let from = wanted(request).unwrap_or(0).min(bytes.len());
        let (end, all) = (bytes.len() - 1, bytes.len());
        let head = format!(
            "HTTP/1.1 206 Partial Content\r\nAccept-Ranges: bytes\r\nContent-Range: bytes {from}-{end}/{all}\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n",
            all - from
        );
        let _ = stream.write_all(head.as_bytes());
        let _ = stream.write_all(&bytes[from..from.saturating_add(most).min(all)]);
    })
}

/// A server without ranges that calls `then` after `most` bytes.
fn plain(bytes: Vec<u8>, most: usize, then: impl Fn() + Send + Sync + 'static) -> Server {
    Server::new(move |_, stream| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", bytes.len());
        let _ = stream.write_all(head.as_bytes());
        let _ = stream.write_all(&bytes[..most.min(bytes.len())]);
        then();
    })
}

fn answers(text: &'static str) -> Server {
    Server::new(move |_, stream| drop(stream.write_all(text.as_bytes())))
}

fn for_ever() {
    std::thread::sleep(Duration::from_secs(3_600));
}

/// Runs descry, and kills it if it does not end.
pub(crate) fn run(b: &Bench, args: &[&str], code: i32) -> (String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_descry"))
        .args(tiny(args))
        .current_dir(b.path(""))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let started = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if started.elapsed() > Duration::from_secs(90) {
            child.kill().unwrap();
            panic!("descry {args:?} hangs");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&stdout).into_owned(), String::from_utf8_lossy(&stderr).into_owned());
    assert_eq!(status.code(), Some(code), "descry {args:?}\n{out}\n{err}");
    (out, err)
}

/// The cues, without the comment that names the file. They do not depend on the source.
pub(crate) fn cues(vtt: &str) -> Vec<&str> {
    vtt.lines().skip_while(|l| !l.contains("-->")).collect()
}

#[test]
fn films_on_servers_are_described() {
    let b = Bench::new();
    b.ffmpeg("-f lavfi -i testsrc2=size=192x108:rate=25:duration=6 -c:v libx264 -g 25 late.mp4");
    b.ffmpeg("-i late.mp4 -c copy -movflags +faststart early.mp4");
    b.ffmpeg("-i late.mp4 -c copy film.ts");
    let bytes = |name: &str| std::fs::read(b.path(name)).unwrap();
    let (want, _) = run(&b, &["describe", "early.mp4", "-o", "-"], 0);
    assert!(cues(&want).len() >= 2, "{want}");
    for (name, server) in [
        ("early.mp4", plain(bytes("early.mp4"), usize::MAX, || ())),
        ("early.mp4", ranges(bytes("early.mp4"), usize::MAX)),
        ("late.mp4", ranges(bytes("late.mp4"), usize::MAX)),
        // Connections break, and the server continues from the same byte.
        ("early.mp4", ranges(bytes("early.mp4"), 20_000)),
        ("film.ts", plain(bytes("film.ts"), usize::MAX, || ())),
    ] {
        let (out, err) = run(&b, &["describe", &server.url(name), "-o", "-"], 0);
        assert_eq!(cues(&out), cues(&want), "{name}\n{out}\n{err}");
        assert!(out.contains(&format!("Descriptions of {name}\n")), "{out}");
    }
    let server = plain(bytes("early.mp4"), usize::MAX, || ());
    // The output gets its name from the address, but no secrets.
    run(&b, &["describe", &server.url("film.mp4?token=secret"), "-f", "vtt,json"], 0);
    assert!(b.read("film.vtt").contains("Descriptions of film.mp4\n") && !b.read("film.vtt").contains("secret"));
    let json: Value = serde_json::from_str(&b.read("film.json")).unwrap();
    assert_eq!(json["input"], server.url("film.mp4?…"));
    // Without ranges, an index at the end comes too late.
    let server = plain(bytes("late.mp4"), usize::MAX, || ());
    let (_, err) = run(&b, &["describe", &server.url("late.mp4"), "-o", "-"], 1);
    assert!(err.contains("late.mp4") && err.contains("Download it first"), "{err}");
}

#[test]
fn credentials_in_an_address_never_appear() {
    let b = Bench::new();
    b.ffmpeg("-f lavfi -i testsrc2=size=192x108:rate=25:duration=2 -c:v libx264 -g 25 -movflags +faststart film.mp4");
    let server = ranges(std::fs::read(b.path("film.mp4")).unwrap(), usize::MAX);
    let with_secrets = |url: String| url.replace("http://", "http://guard:sesame-42@") + "?token=top-secret";
    let good = with_secrets(server.url("film.mp4"));
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let bad = with_secrets(format!("http://{gone}/film.mp4"));
    for (args, code) in [
        (&["describe", &good, "-o", "-", "-f", "json", "-v"][..], 0),
        (&["describe", &good, "-o", "film.vtt", "-v"], 0),
        (&["describe", &bad, "-o", "bad.vtt", "-v", "--log", "json"], 1),
        (&["describe", &good, &good, "-o", "out/"], 2),
        (&["probe", &good, &bad], 1),
        (&["probe", &good, "--json"], 0),
        (&["part", &bad, "--part", "1/2", "-o", "part", "-v"], 1),
        (&["live", "--transport", &good], 2),
    ] {
        // `probe` needs no model, and `live` fails before it needs one.
        let (out, err) = match args[0] {
            "probe" | "live" => b.run(args, code),
            _ => run(&b, args, code),
        };
        for secret in ["guard", "sesame-42", "top-secret"] {
            assert!(!out.contains(secret) && !err.contains(secret), "{args:?}\n{out}\n{err}");
        }
    }
}

#[test]
fn failing_servers_are_reported() {
    let b = Bench::new();
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let refused = format!("http://{gone}/x.mp4");
    let servers = [
        (answers("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"), "404"),
        (answers("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"), "403"),
        (answers("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"), "5"),
        (answers("HTTP/1.1 200 OK\r\nContent-Length: 12\r\nConnection: close\r\n\r\n<html></html"), "not a video"),
        (answers("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"), "x.mp4"),
        (answers("HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n"), "x.mp4"),
        (answers("no HTTP at all\r\n"), "x.mp4"),
        (answers(""), "x.mp4"),
        // This server accepts the connection and sends nothing.
        (Server::new(|_, _| for_ever()), "gave nothing for 2 s"),
    ];
    let check = |url: &str, cause: &str| {
        let (out, err) = run(&b, &["describe", url, "-o", "-", "--timeout", "2"], 1);
        assert!(out.is_empty(), "{out}");
        let lines: Vec<&str> = err.lines().collect();
        assert_eq!(lines.len(), 2, "{err}");
        assert!(lines[0].contains(url) && lines[0].contains(cause), "{cause}: {err}");
        assert!(lines[1].starts_with("  "), "{err}");
    };
    for (server, cause) in &servers {
        check(&server.url("x.mp4"), cause);
        assert!(server.connections.load(Ordering::Relaxed) < 20, "{cause}: too many connections");
    }
    check(&refused, "refused");
    check("http://no-such-host.invalid/x.mp4", "no-such-host");
    check("gopher://127.0.0.1/x.mp4", "gopher");
}

#[test]
fn broken_connections_give_partial_descriptions() {
    let b = Bench::new();
    b.ffmpeg("-f lavfi -i testsrc2=size=320x180:rate=25:duration=8 -c:v libx264 -g 25 -movflags +faststart film.mp4");
    b.ffmpeg("-i film.mp4 -c copy film.ts");
    for name in ["film.mp4", "film.ts"] {
        let bytes = std::fs::read(b.path(name)).unwrap();
        let half = bytes.len() / 2;
        let closes = plain(bytes.clone(), half, || ());
        let stalls = plain(bytes, half, for_ever);
        for (server, why) in [(closes, ""), (stalls, "the server gave nothing for 2 s")] {
            let (out, err) = run(&b, &["describe", &server.url(name), "-o", "-", "--timeout", "2"], 1);
            assert!(out.contains("\nincomplete: ") && out.contains("-->"), "{name}: {out}");
            assert!(
                err.starts_with("warning: http") && err.contains("described in part") && err.contains(why),
                "{err}"
            );
            assert!(server.connections.load(Ordering::Relaxed) < 20, "too many connections");
        }
    }
}

/// A playlist on disk that names an address must not make descry fetch it.
#[test]
fn local_playlists_do_not_reach_the_network() {
    let b = Bench::new();
    let server = answers("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    b.write(
        "list.m3u8",
        format!("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{}\n#EXT-X-ENDLIST\n", server.url("a.ts")).as_bytes(),
    );
    run(&b, &["describe", "list.m3u8", "-o", "-"], 1);
    assert_eq!(server.connections.load(Ordering::Relaxed), 0);
}

fn scenes(json: &str) -> Vec<(f64, f64, f64)> {
    let json: Value = serde_json::from_str(json).unwrap();
    let second = |v: &Value| v.as_f64().unwrap();
    json["scenes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| (second(&s["start"]), second(&s["end"]), second(&s["keyframe"])))
        .collect()
}

#[test]
fn the_part_between_start_and_end_is_described() {
    let b = Bench::new();
    b.ffmpeg(
        "-f lavfi -i testsrc2=size=320x180:rate=25:duration=4 -f lavfi -i mandelbrot=size=320x180:rate=25 \
         -filter_complex [1:v]trim=duration=4[m];[0:v][m]concat=n=2:v=1 -c:v libx264 -g 100 film.mp4",
    );
    let describe = |args: &[&str]| {
        let all = [&["describe", "film.mp4", "-o", "-", "-f", "json", "--no-dedup"], args].concat();
        scenes(&run(&b, &all, 0).0)
    };
    let all = describe(&[]);
    assert_eq!((all[0].0, all.last().unwrap().1), (0.0, 8.0));
    assert!(all.windows(2).all(|w| w[0].1 == w[1].0));
    // The range begins in the middle of a group of pictures. Times are those of the film.
    let part = describe(&["--start", "2.5", "--end", "0:05.5"]);
    assert_eq!((part[0].0, part.last().unwrap().1), (2.52, 5.5), "{part:?}");
    assert!(part.windows(2).all(|w| w[0].1 == w[1].0), "{part:?}");
    assert!(part.iter().any(|s| s.0 == 4.0), "the cut at 4 s: {part:?}");
    assert!(part.iter().all(|s| (2.5..5.5).contains(&s.2)), "{part:?}");
    assert_eq!(describe(&["--start", "6"])[0].0, 6.0);
    assert_eq!(describe(&["--end", "2"]).last().unwrap().1, 2.0);
    // A start after the end is an error.
    let out = run(&b, &["describe", "film.mp4", "-o", "-", "--start", "1:00:00"], 1);
    assert!(out.1.contains("film.mp4") && out.1.contains("--start"), "{}", out.1);
}

#[test]
fn keyframes_mode_covers_the_whole_film() {
    let b = Bench::new();
    b.ffmpeg(
        "-f lavfi -i testsrc2=size=320x180:rate=25:duration=4 -f lavfi -i mandelbrot=size=320x180:rate=25 \
         -filter_complex [1:v]trim=duration=4[m];[0:v][m]concat=n=2:v=1 -c:v libx264 -g 25 -sc_threshold 0 film.mp4",
    );
    let args = ["describe", "film.mp4", "-o", "-", "-f", "json", "--no-dedup", "--mode", "keyframes"];
    let (out, _) = run(&b, &args, 0);
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json["options"]["mode"], "keyframes");
    let scenes = scenes(&out);
    assert_eq!((scenes[0].0, scenes.last().unwrap().1), (0.0, 8.0), "{scenes:?}");
    assert!(scenes.windows(2).all(|w| w[0].1 == w[1].0), "{scenes:?}");
    // Every keyframe is one of the container's, one per second.
    assert!(scenes.iter().all(|s| s.2.fract() == 0.0), "{scenes:?}");
    assert!(scenes.iter().any(|s| s.0 == 4.0), "the cut at 4 s: {scenes:?}");
}

/// Interlaced, narrow, 10-bit, grey, joined, variable rate: for each, scenes cover the film without gaps.
#[test]
fn every_kind_of_video_is_described() {
    let b = Bench::new();
    let src = "-f lavfi -i testsrc2=size=192x108:rate=25:duration=2";
    b.ffmpeg(&format!("{src} -vf tinterlace=interleave_top -c:v mpeg2video -flags +ilme+ildct interlaced.mpg"));
    b.ffmpeg(&format!("{src} -vf setsar=16/11 -c:v libx264 narrow.mp4"));
    b.ffmpeg(&format!("{src} -pix_fmt yuv420p10le -c:v libx265 -x265-params log-level=none deep.mkv"));
    b.ffmpeg(&format!("{src} -pix_fmt gray -c:v ffv1 grey.mkv"));
    b.ffmpeg(&format!("{src} -pix_fmt rgb24 -c:v png rgb.mov"));
    b.ffmpeg(&format!("{src} -pix_fmt yuva420p -c:v libvpx -auto-alt-ref 0 alpha.webm"));
    b.ffmpeg(&format!("{src} -c:v libx264 -bf 3 -b_strategy 0 bframes.mp4"));
    b.ffmpeg(&format!("{src} -c:v libx264 -output_ts_offset 7.3 late.ts"));
    b.ffmpeg(&format!("{src} -vf select='not(mod(n\\,3))+not(mod(n\\,7))' -vsync vfr -c:v libx264 uneven.mkv"));
    b.ffmpeg("-f lavfi -i testsrc2=size=192x108:rate=120:duration=2 -c:v libx264 fast.mp4");
    b.ffmpeg(&format!("{src} -f gif palette.gif"));
    b.ffmpeg("-i narrow.mp4 -c copy -metadata:s:v:0 rotate=90 turned.mp4");
    b.ffmpeg("-f lavfi -i testsrc2=size=320x240:rate=25:duration=2 -c:v libx264 other.ts");
    b.ffmpeg("-i bframes.mp4 -c copy one.ts");
    b.write("list.txt", b"file one.ts\nfile other.ts\n");
    b.ffmpeg("-f concat -i list.txt -c copy joined.ts");
    for (name, end) in [
        ("interlaced.mpg", 2.0),
        ("narrow.mp4", 2.0),
        ("deep.mkv", 2.0),
        ("grey.mkv", 2.0),
        ("rgb.mov", 2.0),
        ("alpha.webm", 2.0),
        ("bframes.mp4", 2.0),
        ("late.ts", 2.0),
        ("uneven.mkv", 2.0),
        ("fast.mp4", 2.0),
        ("palette.gif", 2.0),
        ("turned.mp4", 2.0),
        ("joined.ts", 4.0),
    ] {
        let (out, err) = run(&b, &["describe", name, "-o", "-", "-f", "json", "--min-score", "0"], 0);
        assert!(err.is_empty(), "{name}: {err}");
        let scenes = scenes(&out);
        assert_eq!(scenes[0].0, 0.0, "{name}");
        assert!(scenes.windows(2).all(|w| w[0].1 == w[1].0), "{name}: {scenes:?}");
        assert!((scenes.last().unwrap().1 - end).abs() < 0.13, "{name}: {scenes:?}");
        let json: Value = serde_json::from_str(&out).unwrap();
        assert!(json["scenes"][0]["text"].is_string() && json["damage"].is_null(), "{name}: {json}");
    }
}
