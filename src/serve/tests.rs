//! The server over real sockets: bodies, connections that are kept, files, and bodies that threads produce.

use std::io::{self, BufRead, BufReader, Cursor, Read, Seek, SeekFrom, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Extension;
use axum::http::{HeaderMap, HeaderValue, Method};
use axum::routing::{get, post};

use super::*;

/// Longer than anything takes; tests wait for what happens, not for time.
const PATIENCE: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(300);

fn serve(router: Router, limits: ServeLimits) -> WebServer {
    let options = HttpOptions { listen: ([127, 0, 0, 1], 0).into(), token: None };
    let site = Site { router, counters: Arc::new(()), limits, content: ContentPolicy::Player };
    WebServer::start(&options, Setting::Http, site).unwrap()
}

fn kept() -> ServeLimits {
    let bodies = Some(BodyLimits { bytes: 1_000, time: SHORT });
    ServeLimits { idle_time: Some(PATIENCE), bodies, ..ServeLimits::default() }
}

struct Client {
    stream: BufReader<TcpStream>,
}

#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
    /// Whether the body has ended as its head says.
    is_whole: bool,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

impl Client {
    fn new(server: &WebServer) -> Client {
        let stream = TcpStream::connect(server.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Client { stream: BufReader::new(stream) }
    }

    fn send(&mut self, text: &str) -> &mut Client {
        // The server may have closed already, after its answer.
        let _ = self.stream.get_mut().write_all(text.as_bytes());
        self
    }

    /// The head alone; none where the connection was closed.
    fn head(&mut self) -> Option<Answer> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.stream.read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        Some(Answer { status: head[9..12].parse().unwrap(), head, body: Vec::new(), is_whole: false })
    }

    fn answer(&mut self) -> Option<Answer> {
        let mut answer = self.head()?;
        if let Some(length) = answer.header("Content-Length") {
            let length: u64 = length.parse().unwrap();
            let _ = self.stream.by_ref().take(length).read_to_end(&mut answer.body);
            answer.is_whole = answer.body.len() as u64 == length;
            return Some(answer);
        }
        assert_eq!(answer.header("Transfer-Encoding"), Some("chunked"));
        let mut line = String::new();
        while self.stream.read_line(&mut line).is_ok_and(|read| read > 0) {
            let size = u64::from_str_radix(line.trim(), 16).unwrap();
            let _ = self.stream.by_ref().take(size).read_to_end(&mut answer.body);
            line.clear();
            let _ = self.stream.read_line(&mut line);
            answer.is_whole = size == 0;
            if answer.is_whole {
                break;
            }
            line.clear();
        }
        Some(answer)
    }

    fn get(&mut self, path: &str, headers: &str) -> Answer {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n")).answer().unwrap()
    }

    /// Whether the server closes without another word.
    fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        let read = self.stream.read_to_end(&mut rest);
        rest.is_empty() && read.map_or_else(|e| e.kind() == io::ErrorKind::ConnectionReset, |_| true)
    }
}

fn echo() -> Router {
    let say = async |body: String| format!("<{body}>");
    Router::new().route("/", get("hello")).route("/save", post(say).put(say).delete(say))
}

#[test]
fn bodies_are_json_from_the_servers_own_pages() {
    let server = serve(echo(), kept());
    let port = server.address().port();
    let own = format!("Origin: http://localhost:{port}\r\n");
    let json = "Content-Type: application/json\r\n";
    let ask = |method: &str, headers: &str| {
        let request =
            format!("{method} /save HTTP/1.1\r\nHost: localhost:{port}\r\nContent-Length: 2\r\n{headers}\r\n{{}}");
        let answer = Client::new(&server).send(&request).answer().unwrap();
        assert_eq!(answer.status == 200, answer.body == b"<{}>", "{answer:?}");
        answer.status
    };
    for method in ["POST", "PUT", "DELETE"] {
        assert_eq!(ask(method, json), 200);
    }
    assert_eq!(ask("PATCH", json), 405);
    assert_eq!(ask("POST", &format!("{json}Sec-Fetch-Site: same-origin\r\n{own}")), 200);
    assert_eq!(ask("POST", &format!("Content-Type: Application/JSON; charset=utf-8\r\n{own}")), 200);
    for kind in ["", "Content-Type: text/plain\r\n", "Content-Type: application/x-www-form-urlencoded\r\n"] {
        assert_eq!(ask("POST", &format!("{kind}{own}")), 415, "{kind}");
    }
    assert_eq!(ask("POST", &format!("{json}{json}")), 415);
    for site in ["cross-site", "same-site", "none", "x"] {
        // A form that a person submits on another site's page is let through nowhere.
        let form = "Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n";
        assert_eq!(ask("POST", &format!("{json}{form}Sec-Fetch-Site: {site}\r\n")), 403, "{site}");
    }
    let other_port = format!("http://localhost:{}", port ^ 1);
    for origin in ["null", "http://localhost", "http://example.com", &other_port, "ftp://localhost", ""] {
        assert_eq!(ask("POST", &format!("{json}Origin: {origin}\r\n")), 403, "{origin}");
    }
    assert_eq!(ask("POST", &format!("{json}{own}{own}")), 403);
    // A name of this machine that is not one.
    let evil = format!("POST /save HTTP/1.1\r\nHost: evil.example:{port}\r\nContent-Length: 2\r\n{json}\r\n{{}}");
    assert_eq!(Client::new(&server).send(&evil).answer().unwrap().status, 403);
    // Only where the site takes bodies.
    let closed = serve(echo(), ServeLimits::default());
    let request = format!("POST /save HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n{json}\r\n");
    let refused = Client::new(&closed).send(&request).answer().unwrap();
    assert_eq!((refused.status, refused.header("Allow")), (405, Some("GET, HEAD")));
}

#[test]
fn bodies_are_limited_in_bytes_and_time() {
    let server = serve(echo(), kept());
    let post = "POST /save HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    let ask = |rest: &str| Client::new(&server).send(&format!("{post}{rest}")).answer().unwrap();
    let long = "x".repeat(1_000);
    assert_eq!(ask(&format!("Content-Length: 1000\r\n\r\n{long}")).status, 200);
    // What is stated is refused unread, however much is on its way.
    assert_eq!(ask("Content-Length: 1001\r\n\r\n").status, 413);
    assert_eq!(ask(&format!("Content-Length: 500000\r\n\r\n{}", long.repeat(500))).status, 413);
    assert_eq!(ask(&format!("Transfer-Encoding: chunked\r\n\r\n3e8\r\n{long}\r\n0\r\n\r\n")).status, 200);
    assert_eq!(ask(&format!("Transfer-Encoding: chunked\r\n\r\n3e8\r\n{long}\r\n1\r\nx\r\n0\r\n\r\n")).status, 413);
    assert_eq!(ask("Content-Length: 9\r\n\r\n{").status, 408);
    // What has a body that was not read carries no further request.
    let mut client = Client::new(&server);
    let refused = client.send(&format!("{post}Content-Length: 1001\r\n\r\n")).answer().unwrap();
    assert_eq!(refused.header("Connection"), Some("close"));
    assert!(client.is_closed());
}

#[test]
fn connections_are_kept_and_closed_when_they_are_idle() {
    let server = serve(echo(), ServeLimits { idle_time: Some(SHORT), head_time: 4 * SHORT, ..kept() });
    let mut client = Client::new(&server);
    for _ in 0..3 {
        assert_eq!(client.get("/", "").body, b"hello");
    }
    let json = "Content-Type: application/json\r\nContent-Length: 2\r\n";
    client.send(&format!("PUT /save HTTP/1.1\r\nHost: localhost\r\n{json}\r\n[]"));
    assert_eq!(client.answer().unwrap().body, b"<[]>");
    // Two at once.
    client.send(&"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(2));
    assert!((0..2).all(|_| client.answer().unwrap().body == b"hello"));
    assert!(client.is_closed());
    // A head that has begun has its own time.
    let mut slow = Client::new(&server);
    slow.get("/", "");
    slow.send("GET / HTTP/1.1\r\n");
    std::thread::sleep(2 * SHORT);
    slow.send("Host: localhost\r\n\r\n");
    assert_eq!(slow.answer().unwrap().status, 200);
    slow.send("GET / HTTP/1.1\r\nHost");
    assert_eq!(slow.answer().unwrap().status, 408);
    // Otherwise there is one request on each.
    let once = serve(echo(), ServeLimits::default());
    let mut client = Client::new(&once);
    assert_eq!(client.get("/", "").header("Connection"), Some("close"));
    assert!(client.is_closed());
}

#[test]
fn an_idle_connection_gives_way_to_a_new_one() {
    let server = serve(echo(), ServeLimits { connections: 2, ..kept() });
    let mut clients: Vec<Client> = (0..2).map(|_| Client::new(&server)).collect();
    for client in &mut clients {
        assert_eq!(client.get("/", "").status, 200);
    }
    assert_eq!(Client::new(&server).get("/", "").status, 200);
    assert!(clients[0].is_closed());
    assert_eq!(clients[1].get("/", "").status, 200);
}

/// Bytes that count what is read of them.
struct Counted {
    at: u64,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        for byte in to.iter_mut() {
            *byte = pattern(self.at);
            self.at += 1;
        }
        self.read.fetch_add(to.len() as u64, Ordering::Relaxed);
        Ok(to.len())
    }
}

impl Seek for Counted {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let SeekFrom::Start(at) = to else { return Err(io::ErrorKind::Unsupported.into()) };
        self.at = at;
        Ok(at)
    }
}

fn pattern(at: u64) -> u8 {
    (at ^ (at >> 8) ^ (at >> 16)) as u8
}

const FILM: u64 = 48 << 20;

/// `/film`, and how much of it was read.
fn film() -> (Router, Arc<AtomicU64>) {
    let read = Arc::new(AtomicU64::new(0));
    let counted = read.clone();
    let film = async move |Extension(peer): Extension<Peer>, method: Method, headers: HeaderMap| {
        let kind = HeaderValue::from_static("video/mp4");
        let source = Counted { at: 0, read: counted.clone() };
        let tag = Some(HeaderValue::from_static("\"v1\""));
        serve_file(&peer, &method, &headers, ServedFile::new(source, FILM, kind, tag))
    };
    (Router::new().route("/", get("hello")).route("/film", get(film)), read)
}

#[test]
fn a_player_gets_the_part_that_it_asks_for() {
    let (router, read) = film();
    let server = serve(router, kept());
    let mut client = Client::new(&server);
    for (range, from, to) in [("0-9", 0, 10), ("-7", FILM - 7, FILM), ("1000000-1199999", 1_000_000, 1_200_000)] {
        let part = client.get("/film", &format!("Range: bytes={range}\r\n"));
        assert_eq!(part.status, 206, "{part:?}");
        let stated = format!("bytes {from}-{}/{FILM}", to - 1);
        assert_eq!(part.header("Content-Range"), Some(&*stated));
        assert!(part.is_whole && part.body.iter().copied().eq((from..to).map(pattern)), "{range}");
    }
    // Only as much was read as was sent.
    assert_eq!(read.load(Ordering::Relaxed), 200_017);
    let beyond = client.get("/film", &format!("Range: bytes={FILM}-\r\n"));
    assert_eq!((beyond.status, beyond.header("Content-Range")), (416, Some(&*format!("bytes */{FILM}"))));
    let same = client.get("/film", "Range: bytes=0-9\r\nIf-Range: \"v1\"\r\n");
    assert_eq!((same.status, same.body.len()), (206, 10));
    let head = client.send("HEAD /film HTTP/1.1\r\nHost: localhost\r\nRange: bytes=0-9\r\n\r\n").head().unwrap();
    assert_eq!((head.status, head.header("Content-Length")), (200, Some(&*FILM.to_string())));
    assert_eq!((head.header("Accept-Ranges"), head.header("Etag")), (Some("bytes"), Some("\"v1\"")));
    let policy = head.header("Content-Security-Policy").unwrap();
    for part in ["media-src 'self' blob:", "img-src 'self' blob:", "script-src 'self';", "require-trusted-types-for"] {
        assert!(policy.contains(part) && !policy.contains("unsafe"), "{policy}");
    }
    // Another version, and several parts: the whole.
    for headers in ["Range: bytes=0-9\r\nIf-Range: \"v2\"\r\n", "Range: bytes=0-9,20-29\r\n"] {
        let whole = client.get("/film", headers);
        assert!(whole.status == 200 && whole.is_whole && whole.body.len() as u64 == FILM, "{headers}");
    }
}

#[test]
fn files_have_tags_and_dates_and_break_off_where_they_have_become_shorter() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.mp4");
    std::fs::write(&path, vec![7; 200_000]).unwrap();
    assert!(ServedFile::open(std::fs::File::open(folder.path()).unwrap(), HeaderValue::from_static("x/y")).is_err());
    let opened = path.clone();
    let serve_it = async move |Extension(peer): Extension<Peer>, method: Method, headers: HeaderMap| {
        let file = std::fs::File::open(&opened).unwrap();
        let mut served = ServedFile::open(file, HeaderValue::from_static("video/mp4")).unwrap();
        if headers.contains_key("x-shorter") {
            served = ServedFile::open(std::fs::File::open(&opened).unwrap(), HeaderValue::from_static("x/y")).unwrap();
            std::fs::write(&opened, vec![7; 100_000]).unwrap();
        }
        serve_file(&peer, &method, &headers, served)
    };
    let server = serve(Router::new().route("/a.mp4", get(serve_it)), kept());
    let whole = Client::new(&server).get("/a.mp4", "");
    assert!(whole.is_whole && whole.body.len() == 200_000);
    assert_eq!(whole.header("Content-Type"), Some("video/mp4"));
    assert!(whole.header("Last-Modified").is_some_and(|date| date.ends_with(" GMT")), "{}", whole.head);
    let tag = format!("If-Range: {}\r\nRange: bytes=-5\r\n", whole.header("Etag").unwrap());
    assert_eq!(Client::new(&server).get("/a.mp4", &tag).status, 206);
    let shorter = Client::new(&server).get("/a.mp4", "X-Shorter: 1\r\n");
    assert!(shorter.status == 200 && !shorter.is_whole);
    assert_eq!(Client::new(&server).get("/a.mp4", &tag).status, 200);
}

#[test]
fn a_film_that_is_paused_holds_some_chunks_and_goes_on() {
    let (router, read) = film();
    let server = serve(router, ServeLimits { answer_time: SHORT, ..kept() });
    let mut client = Client::new(&server);
    client.send("GET /film HTTP/1.1\r\nHost: localhost\r\n\r\n");
    // It is paused for longer than other answers may take.
    std::thread::sleep(3 * SHORT);
    let before = read.load(Ordering::Relaxed);
    // The system's buffers, and some chunks.
    assert!((1..24 << 20).contains(&before), "{before} bytes were read");
    assert_eq!(Client::new(&server).get("/", "").status, 200);
    assert_eq!(read.load(Ordering::Relaxed), before);
    let whole = client.answer().unwrap();
    assert!(whole.is_whole && whole.body.iter().copied().eq((0..FILM).map(pattern)));
    // One that is paused for too long is cut off.
    let (router, _) = film();
    let server = serve(router, ServeLimits { stall_time: SHORT, ..kept() });
    let mut client = Client::new(&server);
    client.send("GET /film HTTP/1.1\r\nHost: localhost\r\n\r\n");
    std::thread::sleep(4 * SHORT);
    assert!(!client.answer().unwrap().is_whole);
}

#[test]
fn few_films_are_sent_at_once_and_the_oldest_gives_way() {
    let (router, _) = film();
    let server = serve(router, ServeLimits { streams: 2, ..kept() });
    let begin = || {
        let mut client = Client::new(&server);
        client.send("GET /film HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(client.head().unwrap().status, 200);
        client
    };
    let mut clients = [begin(), begin(), begin()];
    let mut sizes = clients.iter_mut().map(|client| {
        let mut rest = Vec::new();
        let _ = client.stream.by_ref().take(FILM).read_to_end(&mut rest);
        rest.len() as u64
    });
    assert!(sizes.next().unwrap() < FILM);
    assert!(sizes.all(|size| size == FILM));
}

/// `/made`: what `produce` makes.
fn made(produce: impl Fn(&mut BodyWriter) -> io::Result<()> + Clone + Send + Sync + 'static) -> WebServer {
    let made = async move |Extension(peer): Extension<Peer>, method: Method| {
        serve_produced(&peer, &method, HeaderValue::from_static("video/webm"), produce.clone())
    };
    serve(Router::new().route("/made", get(made)), kept())
}

#[test]
fn what_a_thread_produces_is_sent_whole_or_breaks_off() {
    let server = made(|to| {
        let bytes: Vec<u8> = (0..1_000_000).map(pattern).collect();
        io::copy(&mut Cursor::new(bytes), to).map(|_| ())
    });
    let mut client = Client::new(&server);
    for _ in 0..2 {
        let whole = client.get("/made", "");
        assert!(whole.is_whole && whole.body.iter().copied().eq((0..1_000_000).map(pattern)));
        assert_eq!(whole.header("Content-Type"), Some("video/webm"));
    }
    let head = client.send("HEAD /made HTTP/1.1\r\nHost: localhost\r\n\r\n").head().unwrap();
    assert_eq!((head.status, head.header("Content-Type")), (200, Some("video/webm")));
    // More than waits for the client, so that it has begun to read.
    let some = vec![1; 2 * FILM as usize / 10];
    let again = some.clone();
    let fails = made(move |to| to.write_all(&some).and(Err(io::Error::other("no more"))));
    let panics = made(move |to| to.write_all(&again).map(|()| panic!("no more")));
    for server in [fails, panics] {
        let part = Client::new(&server).get("/made", "");
        assert!(part.status == 200 && !part.is_whole && !part.body.is_empty());
    }
}

#[test]
fn a_producer_waits_for_its_client_and_learns_when_it_is_gone() {
    let written = Arc::new(AtomicU64::new(0));
    let (report, reports) = mpsc::channel();
    let count = written.clone();
    let server = made(move |to| {
        let said = report.clone();
        to.when_gone(move || said.send("gone").unwrap());
        loop {
            if let Err(e) = to.write_all(&[1; 10_000]) {
                assert!(to.is_gone() && e.kind() == io::ErrorKind::BrokenPipe);
                report.send("failed").unwrap();
                return Err(e);
            }
            count.fetch_add(10_000, Ordering::Relaxed);
        }
    });
    let mut client = Client::new(&server);
    client.send("GET /made HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(client.head().unwrap().status, 200);
    std::thread::sleep(2 * SHORT);
    let before = written.load(Ordering::Relaxed);
    std::thread::sleep(SHORT);
    assert_eq!(written.load(Ordering::Relaxed), before);
    assert!((1..24 << 20).contains(&before), "{before} bytes were written");
    drop(client);
    let mut all = [reports.recv_timeout(PATIENCE).unwrap(), reports.recv_timeout(PATIENCE).unwrap()];
    all.sort_unstable();
    assert_eq!(all, ["failed", "gone"]);
}

#[test]
fn a_server_that_stops_ends_what_it_sends() {
    let (begun, begins) = mpsc::channel();
    let mut server = made(move |to| {
        let (gone, waits) = mpsc::channel();
        to.when_gone(move || gone.send(()).unwrap());
        to.write_all(b"some")?;
        to.flush()?;
        begun.send("begun").unwrap();
        // A program that writes nothing for long.
        waits.recv_timeout(PATIENCE).unwrap();
        begun.send("gone").unwrap();
        Ok(())
    });
    let mut client = Client::new(&server);
    client.send("GET /made HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(begins.recv_timeout(PATIENCE), Ok("begun"));
    let began = Instant::now();
    server.stop();
    // The thread has ended.
    assert_eq!(begins.try_recv(), Ok("gone"));
    assert!(began.elapsed() < PATIENCE);
    assert!(!client.answer().unwrap().is_whole);
}
