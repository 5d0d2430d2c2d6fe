//! Clients of the page that guess tokens, hold connections, or are not who they seem to be; and servers that are not descry.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use descry::live::{HttpOptions, HttpServer, Metrics, fetch_status};

const TOKEN: &str = "0123456789abcdef";
const PATIENCE: Duration = Duration::from_secs(20);

fn server(token: Option<&str>) -> (HttpServer, Arc<Metrics>) {
    let streams: [Arc<str>; 1] = ["a".into()];
    let metrics = Metrics::new(&streams);
    let options = HttpOptions { listen: ([127, 0, 0, 1], 0).into(), token: token.map(String::from) };
    (HttpServer::bind(&options, &streams, metrics.clone()).unwrap(), metrics)
}

/// Connects from another loopback address, as another machine would.
fn connect_from(from: u8, to: SocketAddr) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, from], 0).into()).unwrap();
        socket.connect(to).await.unwrap().into_std().unwrap()
    });
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// The status and the whole answer; 0 where the connection was closed without one.
fn ask(from: u8, to: SocketAddr, request: &str) -> (u16, String) {
    let mut stream = connect_from(from, to);
    let _ = stream.write_all(format!("{request}\r\n\r\n").as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    (answer.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0), answer)
}

fn with_token(from: u8, to: SocketAddr, token: &str) -> (u16, String) {
    ask(from, to, &format!("GET /status HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}"))
}

#[test]
fn clients_that_guess_lock_nobody_out() {
    let (http, _metrics) = server(Some(TOKEN));
    let (to, done, guesses) = (http.address(), AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..80 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    with_token(2, to, "wrong-wrong-wrong-w");
                    guesses.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let began = Instant::now();
        while guesses.load(Ordering::Relaxed) < 200 && began.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(5));
        }
        let answers: Vec<u16> = (0..40).map(|_| with_token(3, to, TOKEN).0).collect();
        done.store(true, Ordering::Relaxed);
        assert!(guesses.load(Ordering::Relaxed) >= 200);
        assert_eq!(answers, [200; 40]);
    });
}

#[test]
fn guessing_is_slow_and_costs_only_those_who_guess() {
    let (http, _metrics) = server(Some(TOKEN));
    let to = http.address();
    let (_, welcome) = ask(2, to, &format!("GET /?token={TOKEN} HTTP/1.1\r\nHost: x"));
    let cookie = welcome.split("Set-Cookie: ").nth(1).unwrap().split(';').next().unwrap();
    let wrong: Vec<u16> = (0..13).map(|n| with_token(2, to, &format!("wrong-{n}")).0).collect();
    assert_eq!(wrong, [[401; 10].as_slice(), &[429; 3]].concat());
    let (status, answer) = with_token(2, to, TOKEN);
    assert!(status == 429 && answer.contains("Retry-After: "), "{answer}");
    assert_eq!(ask(2, to, &format!("GET /?token={TOKEN} HTTP/1.1\r\nHost: x")).0, 429);
    // Those who have their cookie, and everyone elsewhere, notice nothing.
    assert_eq!(ask(2, to, &format!("GET /status HTTP/1.1\r\nHost: x\r\nCookie: {cookie}")).0, 200);
    assert_eq!(with_token(3, to, TOKEN).0, 200);
    // A cookie cannot be made of the token, so nobody can guess it that way.
    let made = sha2_hex(&format!("descry cookie {TOKEN}"));
    assert_eq!(ask(3, to, &format!("GET /status HTTP/1.1\r\nHost: x\r\nCookie: descry_{}={made}", to.port())).0, 401);
    // Behind a proxy, each of its clients has a limit of its own.
    let proxied = |client: &str, token: &str| {
        let head = format!("GET /status HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 9.9.9.9, {client}");
        ask(4, to, &format!("{head}\r\nAuthorization: Bearer {token}")).0
    };
    let wrong: Vec<u16> = (0..11).map(|_| proxied("198.51.100.1", "wrong")).collect();
    assert_eq!(wrong[9..], [401, 429]);
    assert_eq!(proxied("198.51.100.2", TOKEN), 200);
}

fn sha2_hex(text: &str) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(text).iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn one_address_cannot_hold_the_places_of_all_readers() {
    let (http, metrics) = server(None);
    let to = http.address();
    let listen = |from: u8| {
        let mut stream = connect_from(from, to);
        stream.write_all(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut lines = BufReader::new(stream).lines();
        let first = lines.next().and_then(Result::ok).unwrap_or_default();
        (first, lines)
    };
    let many: Vec<_> = (0..17).map(|_| listen(2)).collect();
    assert!(many[15].0.contains(" 200 ") && many[16].0.contains(" 503 "), "{}", many[16].0);
    // The oldest gives way, and half of the places at most.
    let others: Vec<_> = (0..9).map(|n| listen(3 + (n % 2))).collect();
    assert!(others.iter().all(|(first, _)| first.contains(" 200 ")));
    assert!(listen(5).0.contains(" 200 "));
    assert!(metrics.prometheus().contains("descry_http_clients_dropped_total 10\n"));
    drop(many);
}

#[test]
fn head_is_answered_wherever_get_is() {
    let (http, metrics) = server(None);
    let paths = [
        "/",
        "/look.css",
        "/page.css",
        "/page.js",
        "/icon.svg",
        "/metrics",
        "/healthz",
        "/status",
        "/keyframe/0.jpg",
        "/events",
    ];
    for path in paths {
        // The answer's head: events never end.
        let first = |method: &str| {
            let mut stream = connect_from(1, http.address());
            stream.write_all(format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).unwrap();
            let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
            let head: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
            (head, lines)
        };
        let (head, body) = first("HEAD");
        assert_eq!(body.count(), 0, "{path}");
        // It takes no reader's place.
        assert!(metrics.prometheus().contains("descry_http_clients 0\n"));
        let (get, _) = first("GET");
        let kind = |head: &[String]| head.iter().find(|line| line.starts_with("Content-Type: ")).cloned();
        assert_eq!((&get[0], kind(&get)), (&head[0], kind(&head)), "{path}");
        assert!(head.iter().any(|line| line.starts_with("Content-Security-Policy: ")), "{path}: {head:?}");
    }
}

#[test]
fn another_sites_page_gets_nothing_through_the_browser() {
    let (http, _metrics) = server(None);
    let status =
        |headers: &str| ask(1, http.address(), &format!("GET /status HTTP/1.1\r\nHost: localhost\r\n{headers}")).0;
    assert_eq!(status("Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: image"), 403);
    assert_eq!(status("Sec-Fetch-Site: same-site\r\nSec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty"), 403);
    assert_eq!(status("Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: iframe"), 403);
    assert_eq!(status("Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document"), 200);
    assert_eq!(status("Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty"), 200);
    assert_eq!(status("Sec-Fetch-Site: none\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document"), 200);
}

/// Answers each connection with what `answer` makes of the request. Keeps all requests.
fn imposter(answer: impl Fn(&str) -> String + Send + 'static) -> (String, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, heard) = (listener.local_addr().unwrap().to_string(), Arc::new(Mutex::new(String::new())));
    let keep = heard.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let (mut head, mut part) = (Vec::new(), [0; 4_096]);
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read(&mut part) {
                    Ok(n @ 1..) => head.extend_from_slice(&part[..n]),
                    _ => break,
                }
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            keep.lock().unwrap().push_str(&head);
            let _ = stream.write_all(answer(&head).as_bytes());
        }
    });
    (address, heard)
}

/// Whatever listens on the port, and whatever it answers, it does not get the token.
#[test]
fn the_token_is_never_sent_to_whatever_listens() {
    let proof = format!("Descry-Proof: {}.{}.{}\r\n", "ab".repeat(16), "cd".repeat(40), "ef".repeat(32));
    let body = "Content-Length: 2\r\nConnection: close\r\n\r\n{}";
    for answer in [
        format!("HTTP/1.1 200 OK\r\n{body}"),
        format!("HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer\r\n{body}"),
        format!("HTTP/1.1 401 Unauthorized\r\n{proof}{body}"),
        format!("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/status\r\n{proof}{body}"),
        format!("HTTP/1.1 200 OK\r\n{proof}{body}"),
    ] {
        let said = answer.clone();
        let (address, heard) = imposter(move |_| said.clone());
        let e = fetch_status(&address, Some(TOKEN), PATIENCE).unwrap_err().to_string();
        assert!(e.contains("does not know this token") && !e.contains(TOKEN), "{answer}: {e}");
        let heard = heard.lock().unwrap();
        assert!(heard.to_ascii_lowercase().contains("descry-challenge: "), "{heard}");
        assert!(!heard.contains(TOKEN) && !heard.contains("Authorization"), "{heard}");
    }
    // One that passes everything on gets one status, and still not the token.
    let (http, _metrics) = server(Some(TOKEN));
    let real = http.address();
    let (address, heard) = imposter(move |request| ask(1, real, request.trim_end()).1);
    assert_eq!(fetch_status(&address, Some(TOKEN), PATIENCE).unwrap()["streams"][0]["name"], "a");
    let heard = heard.lock().unwrap();
    assert!(heard.contains("uthorization: Descry ") || heard.contains("uthorization: descry "), "{heard}");
    assert!(!heard.contains(TOKEN), "{heard}");
}
