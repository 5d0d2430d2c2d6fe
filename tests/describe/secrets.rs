//! Credentials: every command, with addresses that work and addresses that fail, and every output: what is printed, what is
//! written, and the names of files.
//!
//! Every secret contains the same few letters, some of them behind a percent sign, so that one search finds them all.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::common::model_server::{ModelServer, Reply};
use crate::common::rtsp::{Server, free_port};
use crate::common::web::Web;
use crate::common::{Bench, TINY, root};

/// In every secret.
const MARK: &str = "zq7";
/// User name and password as they are meant.
const PLAIN: &str = "zq7user:zq7-pass/w0rd-zq7";
/// The same as an address holds them, and everything behind its path.
const LOGIN: &str = "zq7user:zq7-pass%2Fw0rd-zq%37@";
const MORE: &str = "?key=zq7-key&quality=zq7-value&zq7-bare#zq7-fragment";

/// Fails if a secret is in a text, also encoded as a server gets it.
fn check(what: &str, text: &[u8]) {
    let text = String::from_utf8_lossy(text);
    // As it is meant, and as it is written.
    let encoded = [PLAIN, LOGIN.trim_end_matches('@')].map(|login| STANDARD.encode(login));
    let encoded = encoded.each_ref().map(|login| login.trim_end_matches('='));
    for secret in [MARK, "zq%37", "w0rd", encoded[0], encoded[1]] {
        assert!(!text.contains(secret), "{what} shows {secret}:\n{text}");
    }
}

/// Checks the names and the contents of all files below a folder. Returns how many there are.
fn check_folder(folder: &Path) -> usize {
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        check("a file's name", path.file_name().unwrap().as_encoded_bytes());
        if path.is_dir() {
            files += check_folder(&path);
        } else {
            check(&path.display().to_string(), &std::fs::read(&path).unwrap());
            files += 1;
        }
    }
    files
}

/// descry in a folder of its own, with variables of its environment.
struct Runner<'a> {
    b: &'a Bench,
    folder: String,
    environment: Vec<(&'static str, String)>,
}

impl Runner<'_> {
    /// Runs a command with all details, as text or as JSON lines, and checks what it prints. Returns whether it succeeds.
    fn run(&self, json: bool, args: &[&str]) -> bool {
        let folder = self.b.path(&self.folder);
        std::fs::create_dir_all(&folder).unwrap();
        let level: &[&str] = if json { &["-v", "--log", "json"] } else { &["-vv"] };
        let mut child = Command::new(env!("CARGO_BIN_EXE_descry"))
            .args(args)
            .args(level)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(&folder)
            .stdin(Stdio::null())
            .stdout(File::create(self.b.path("out")).unwrap())
            .stderr(File::create(self.b.path("err")).unwrap())
            .spawn()
            .unwrap();
        // A stream that cannot be reached is tried for ever.
        let is_live = args[0] == "live";
        let status = wait(&mut child, Duration::from_secs(if is_live { 3 } else { 120 }));
        for name in ["out", "err"] {
            check(&format!("descry {args:?}"), &std::fs::read(self.b.path(name)).unwrap());
        }
        let err = self.b.read("err");
        assert!(!err.contains("panicked"), "descry {args:?}\n{err}");
        status == Some(0)
    }

    /// Both ways of logging succeed.
    fn works(&self, args: &[&str]) {
        for json in [false, true] {
            // Each run has outputs of its own.
            let number = u8::from(json).to_string();
            let args: Vec<String> = args.iter().map(|arg| arg.replace('{', &number)).collect();
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            assert!(self.run(json, &args), "descry {args:?}\n{}", self.b.read("err"));
        }
    }

    fn fails(&self, args: &[&str]) {
        assert!(!self.run(false, args), "descry {args:?} succeeds");
        assert!(!self.b.read("err").is_empty(), "descry {args:?} says nothing");
    }
}

/// Waits for the end of a program, and ends it if that takes too long.
fn wait(child: &mut Child, limit: Duration) -> Option<i32> {
    let started = Instant::now();
    let mut asked = false;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        if started.elapsed() > limit && !asked {
            asked = true;
            let _ = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
        }
        assert!(started.elapsed() < limit + Duration::from_secs(60), "it does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn runner<'a>(b: &'a Bench, folder: &str) -> Runner<'a> {
    Runner { b, folder: folder.into(), environment: Vec::new() }
}

fn film(b: &Bench) {
    std::fs::create_dir_all(b.path("web")).unwrap();
    b.ffmpeg("-f lavfi -i testsrc2=size=320x180:rate=10:duration=2 -c:v libx264 -preset ultrafast -g 10 web/film.mp4");
}

/// A web server of the film that wants the password, and of addresses that lead to others with credentials.
fn web(b: &Bench) -> Web {
    let other = "http://zq7user:zq7pass@127.0.0.1:1/zq_.ts?sig=zq7-sig";
    let list = format!("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{other}\n#EXTINF:2,\n{other}2\n#EXT-X-ENDLIST\n");
    std::fs::write(b.path("web/list.m3u8"), list).unwrap();
    let lead = format!("HTTP/1.1 302 Found\r\nLocation: {other}\r\nContent-Length: 0\r\n\r\n");
    Web::with(b.path("web"), move |request| {
        let wanted = format!("Basic {}", STANDARD.encode(PLAIN));
        let there = request.lines().any(|line| line.split_once(": ").is_some_and(|(_, value)| value == wanted));
        if request.contains("/lead") {
            return Some(lead.clone());
        }
        (!there).then(|| {
            "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"zq\"\r\nContent-Length: 0\r\n\r\n".into()
        })
    })
}

fn model() -> String {
    root().join(TINY).display().to_string()
}

#[test]
fn films_at_secret_addresses_leave_no_secret_anywhere() {
    let b = Bench::new();
    film(&b);
    let (web, model) = (web(&b), model());
    let url = format!("HTTP://{LOGIN}127.0.0.1:{}/film.mp4{MORE}", web.port);
    let r = runner(&b, "made");
    r.works(&["probe", &url]);
    r.works(&["probe", "--json", &url]);
    r.works(&["describe", "--model", &model, "-f", "vtt,srt,json,csv", "-o", "out{/", &url]);
    r.works(&["describe", "--isolate", "--model", &model, "-f", "json", "-o", "-", "--stats", &url]);
    std::fs::write(b.path("list.txt"), format!("{url}\nhttp://{LOGIN}127.0.0.1:1/gone.mp4{MORE}\n")).unwrap();
    let list = b.path("list.txt").display().to_string();
    // The second film of the list is not there.
    r.fails(&["index", "--model", &model, "--into", "archive", "--stats", &list]);
    r.works(&["index", "--model", &model, "--into", "archive", "--plan", &url]);
    r.works(&["archive", "list", "archive"]);
    r.works(&["archive", "list", "--failures", "archive"]);
    assert!(b.read("out").contains("gone.mp4"), "no failure is recorded");
    r.works(&["archive", "check", "archive"]);
    r.works(&["archive", "export", "archive", "-o", "out{.parquet"]);
    for more in [&["--by", "words"][..], &["--json", "--by", "words"], &["--html", "found{.html", "--by", "words"]] {
        r.works(&[&["search", "--model", &model, "archive", "a"], more].concat());
    }
    r.works(&["part", "--model", &model, "--part", "1/1", "-o", "{.descry", &url]);
    r.works(&["stitch", "--model", &model, "-f", "json", "-o", "{.json", &url, "{.descry"]);
    r.works(&["stitch", "--model", &model, "--into", "stitched{", &url, "{.descry"]);
    assert!(check_folder(&b.path("made")) > 30, "outputs are missing");
}

/// Addresses at which nothing can be read, in all the ways in which people write them.
fn bad_addresses(web: &Web) -> Vec<String> {
    let here = format!("127.0.0.1:{}", free_port());
    let all = ["http", "https", "rtsp", "RTSPS", "rtmp", "rtmps", "srt", "ftp", "gopher", "s3", "tcp"];
    let mut addresses: Vec<String> = all.iter().map(|scheme| format!("{scheme}://{LOGIN}{here}/zq/x{MORE}")).collect();
    let port = web.port;
    addresses.extend([
        format!("http://{LOGIN}127.0.0.1:{port}/missing{MORE}"),
        format!("http://zq7user:wr0ng-zq7@127.0.0.1:{port}/film.mp4"),
        format!("http://{LOGIN}127.0.0.1:{port}/list.m3u8"),
        format!("http://127.0.0.1:{port}/lead"),
        format!("rtsp://{LOGIN}[::1]:1/x{MORE}"),
        format!("rtsp://zq7user:zq7/w0rd@{here}/x"),
        format!("rtsp://zq7user:zq7/w0rd@{here}"),
        format!("rtsp://{LOGIN}127.0.0.1:zq/x"),
        format!("srt://{here}?passphrase=zq7-passphrase&mode=caller"),
        format!("rtsp:{LOGIN}{here}/x{MORE}"),
        format!("http:/{LOGIN}{here}/x"),
        format!("rtsp:zq7t0ken@{here}"),
        format!("film:{LOGIN}x"),
        format!("rtsp//{LOGIN}{here}/x"),
        format!("{LOGIN}{here}/x{MORE}"),
        format!("s3:{LOGIN}bucket/x.mp4"),
        "s3://zq7user:zq7pass@bucket".into(),
        "s3://bucket/x.mp4?X-Amz-Signature=zq7-sig".into(),
        format!("https://{LOGIN}{here}/x\u{7f}{MORE}"),
    ]);
    addresses
}

#[test]
fn addresses_that_fail_leave_no_secret_anywhere() {
    let b = Bench::new();
    film(&b);
    let (web, model) = (web(&b), model());
    let addresses = bad_addresses(&web);
    let r = runner(&b, "made");
    for (n, url) in addresses.iter().enumerate() {
        r.fails(&["probe", url]);
        r.fails(&["describe", "--timeout", "3", "--model", &model, "-f", "vtt,json", "-o", &format!("out{n}/"), url]);
        let archive = format!("archive{n}");
        r.fails(&["index", "--timeout", "3", "--model", &model, "--into", &archive, url]);
        r.run(n % 2 == 0, &["archive", "list", "--failures", &archive]);
    }
    // An answer that leads elsewhere.
    r.fails(&["probe", "--allow-private", &format!("http://127.0.0.1:{}/lead", web.port)]);
    // What differs in its query alone would have one name.
    let two = [1, 2].map(|n| format!("http://{LOGIN}127.0.0.1:1/a?zq7-{n}"));
    r.fails(&["describe", "--model", &model, &two[0], &two[1]]);
    r.fails(&["index", "--model", &model, "--into", "two", &two[0], &two[1]]);
    check_folder(&b.path("made"));
}

#[test]
fn other_arguments_and_the_environment_show_no_secret() {
    let b = Bench::new();
    film(&b);
    let model = model();
    let film = b.path("web/film.mp4").display().to_string();
    let mut r = runner(&b, "made");
    for place in [format!("s3:{LOGIN}bucket/a"), format!("https://{LOGIN}h/a{MORE}"), format!("{LOGIN}h/a{MORE}")] {
        r.fails(&["describe", "--model", &model, "-o", &place, &film]);
        r.fails(&["part", "--model", &model, "--part", "1/1", "-o", &format!("{place}/x"), &film]);
        r.fails(&["stitch", "--model", &model, &film, &place]);
        r.fails(&["index", "--model", &model, "--into", &place, &film]);
        r.fails(&["archive", "list", &place]);
        r.fails(&["archive", "check", &place]);
        r.fails(&["archive", "export", &place, "-o", "x.parquet"]);
        r.fails(&["search", &place, "--by", "words", "a"]);
        r.fails(&["caption", "--model", &model, &place]);
        r.fails(&["embed", "--model", &model, &place]);
        r.fails(&["probe", "--ca", &place, "https://127.0.0.1:1/x"]);
        r.fails(&["live", "--model", &place, "rtsp://127.0.0.1:1/x"]);
        r.fails(&["live", "--config", &place]);
        r.fails(&["live", "--webhook", &place, "--model", &model, "/nowhere"]);
        // What the command line does not know.
        r.fails(&["probe", &format!("--nothing={place}")]);
        r.fails(&[place.as_str()]);
        r.fails(&["describe", "--format", &place, &film]);
        r.fails(&["live", "--http", &place, "rtsp://127.0.0.1:1/x"]);
    }
    let dead = format!("http://{LOGIN}127.0.0.1:1/zq");
    r.environment = vec![
        ("http_proxy", dead.clone()),
        ("AWS_ENDPOINT_URL", dead),
        ("AWS_REGION", "zq".into()),
        ("AWS_ACCESS_KEY_ID", "zq7-access-key".into()),
        ("AWS_SECRET_ACCESS_KEY", "zq7-secret-key".into()),
        ("DESCRY_API_KEY", "zq7 api key".into()),
    ];
    r.fails(&["probe", "http://films.example/x.mp4"]);
    r.fails(&["probe", "s3://films/x.mp4"]);
    r.fails(&["index", "--model", &model, "--into", "archive", "s3://films/x.mp4"]);
    r.fails(&["search", "s3://films/zq", "--by", "words", "a"]);
    r.fails(&["describe", "--model", "openai:http://127.0.0.1:1/v1", "--model-name", "m", &film]);
    // A user who names a key where it does not belong.
    r.fails(&["probe", "no-such-zq7-secret-key.mp4"]);
    check_folder(&b.path("made"));
}

#[test]
fn the_configuration_of_streams_is_not_quoted() {
    let b = Bench::new();
    let r = runner(&b, "made");
    let stream = format!("[[stream]]\nurl = 'rtsp://{LOGIN}127.0.0.1:1/x{MORE}'\n");
    for wrong in [
        format!("{stream}nmae = 'zq7'"),
        format!("{stream}'zq7`secret' = 'zq7'"),
        format!("{stream}transport = 'zq7`, expected zq7'"),
        format!("{stream}decode_threads = 'zq7\"zq7\\\"zq7'"),
        format!("{stream}url = 'zq7"),
        format!("{stream}url 'zq7'"),
        format!("{stream}[outputs]\nhttp = 'zq7'"),
        format!("{stream}[outputs]\nhttp_token = ['zq7']"),
        format!("{stream}[outputs]\nhttp_token = 'zq7'\nhttp = '0.0.0.0:0'"),
        format!("{stream}[outputs]\nwebhook = ['zq7://zq7/zq7']"),
        format!("{stream}[outputs]\nwebhook = ['http://h/zq7']\nwebhook_ca = 'http://{LOGIN}h/ca'"),
        format!("{stream}[outputs]\nhls = 'hls'\nhls_video = 'http://{LOGIN}h/v.m3u8'"),
        format!("[[stream]]\nurl = 'film:{LOGIN}x'\nrealtime = true"),
        format!("[[stream]]\nurl = 'zq://{LOGIN}h/x'"),
    ] {
        std::fs::write(b.path("streams.toml"), &wrong).unwrap();
        r.fails(&["live", "--model", &model(), "--config", &b.path("streams.toml").display().to_string()]);
        assert!(!b.read("err").contains("Reconnect"), "{wrong}: {}", b.read("err"));
    }
}

#[test]
fn streams_at_secret_addresses_leave_no_secret_anywhere() {
    let b = Bench::new();
    film(&b);
    b.ffmpeg("-stream_loop 40 -i web/film.mp4 -c copy long.mp4");
    let long = b.path("long.mp4").display().to_string();
    let mount = format!("/film=filesrc location={long} ! qtdemux ! h264parse ! rtph264pay name=pay0 config-interval=1");
    let (user, password) = PLAIN.split_once(':').unwrap();
    let server = Server::new(0, Some((user, password)), &[mount]);
    let good = format!("rtsp://{LOGIN}127.0.0.1:{}/film", server.port);
    // The server has no such path if the query counts.
    let bad = format!("{good}{MORE}");
    let refused = format!("rtmps://{LOGIN}127.0.0.1:{}/app/x{MORE}", free_port());
    let (hook, page, model) = (silent_server(), format!("127.0.0.1:{}", free_port()), model());
    let hook = format!("http://{LOGIN}{hook}/zq7-hook{MORE}");
    let mut child = Command::new(env!("CARGO_BIN_EXE_descry"))
        .args(["-vv", "live", "--model", &model, "--min-score", "0", "--jsonl", "--vtt", "vtt", "--hls", "hls"])
        .args(["--http", &page, "--webhook", &hook, "--realtime", &good, &bad, &refused, &long])
        .current_dir(b.path("web"))
        .stdout(File::create(b.path("out")).unwrap())
        .stderr(File::create(b.path("err")).unwrap())
        .spawn()
        .unwrap();
    let started = Instant::now();
    loop {
        let metrics = get(&page, "/metrics");
        if metrics.lines().any(|l| l.starts_with("descry_captions_total{stream=\"127") && !l.ends_with(" 0")) {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(90), "no caption: {metrics}\n{}", b.read("err"));
        std::thread::sleep(Duration::from_millis(100));
    }
    for path in ["/", "/metrics", "/healthz", "/status", "/events"] {
        let answer = get(&page, path);
        assert!(answer.starts_with("HTTP/1.1 "), "{path}: {answer}");
        check(path, answer.as_bytes());
    }
    let status = b.descry(&["live", "--status", "--http", &page]);
    check("--status", &[status.stdout, status.stderr].concat());
    assert!(wait(&mut child, Duration::ZERO).is_some());
    for name in ["out", "err"] {
        let text = std::fs::read(b.path(name)).unwrap();
        assert!(!text.is_empty(), "{name}");
        check(name, &text);
    }
    for folder in ["web/vtt", "web/hls"] {
        assert!(check_folder(&b.path(folder)) > 1, "{folder} is empty");
    }
    let r = runner(&b, "made");
    for url in [format!("film:{LOGIN}x"), format!("rtsp:{LOGIN}h/x"), format!("zq://{LOGIN}h/x"), format!("{LOGIN}h")] {
        r.fails(&["live", "--realtime", "--model", &model, &url]);
    }
}

#[test]
fn servers_of_models_leave_no_secret_anywhere() {
    let b = Bench::new();
    film(&b);
    let film = b.path("web/film.mp4").display().to_string();
    let picture = "picture.png";
    b.ffmpeg("-i web/film.mp4 -frames:v 1 picture.png");
    let (picture, embedder) = (b.path(picture).display().to_string(), model());
    let r = runner(&b, "made");
    let here = format!("127.0.0.1:{}", free_port());
    for url in [
        format!("openai:http://{LOGIN}{here}/v1{MORE}"),
        format!("openai:HTTP://{LOGIN}{here}/v1"),
        format!("openai:{LOGIN}{here}/v1"),
        format!("openai:http:{LOGIN}{here}/v1"),
        format!("openai:ftp://{LOGIN}{here}/v1{MORE}"),
        format!("openai:http://{LOGIN}127.0.0.1:zq/v1{MORE}"),
        format!("OpenAI:{LOGIN}{here}"),
    ] {
        let server = ["--model", &url, "--model-name", "m", "--embedder", &embedder];
        r.fails(&[&["describe"], &server[..], &[&film]].concat());
        r.fails(&[&["index", "--into", "archive"], &server[..], &[&film]].concat());
        r.fails(&[&["caption"], &server[..], &[&picture]].concat());
        r.fails(&[&["embed", "--model", &url], &[picture.as_str()][..]].concat());
        r.fails(&["describe", "--embedder", &url, &film]);
        r.fails(&["model", "show", &url]);
    }
    // A server that repeats what it gets.
    let server = ModelServer::new(|number, asked| {
        let wanted = format!("Authorization: Basic {}\r\n", STANDARD.encode(PLAIN)).to_lowercase();
        assert!(asked.head.to_lowercase().contains(&wanted), "{}", asked.head);
        let repeated = format!("a sign that reads {PLAIN} and zq7-key and {}", asked.head.replace("\r\n", " "));
        if number == 0 { Reply::Http("400 Bad Request", String::new(), repeated) } else { Reply::text(&repeated) }
    });
    let url = format!("openai:http://{LOGIN}127.0.0.1:{}/v1?key=zq7-key", server.port);
    let server = ["--model", &url, "--model-name", "m", "--embedder", &embedder];
    r.fails(&[&["caption"], &server[..], &[&picture]].concat());
    r.works(&[&["caption"], &server[..], &[&picture]].concat());
    assert!(b.read("out").contains("a sign that reads …"), "{}", b.read("out"));
    r.works(&[&["describe", "-f", "vtt,json", "-o", "out{/"], &server[..], &[&film]].concat());
    r.works(&[&["index", "--into", "archive{"], &server[..], &[&film]].concat());
    assert!(check_folder(&b.path("made")) > 4, "outputs are missing");
}

/// A server that takes requests and answers nothing.
fn silent_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || listener.incoming().flatten().collect::<Vec<TcpStream>>());
    address
}

/// The first piece of an answer, which is all of it but for events.
fn get(address: &str, path: &str) -> String {
    let Ok(mut stream) = TcpStream::connect(address) else { return String::new() };
    stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}
