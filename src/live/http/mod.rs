//! The page, its events, `/metrics`, `/healthz` and `/status`: a small HTTP server that only ever answers GET.
//!
//! It is an output like the others: the hub hands it events, it keeps what the page shows and passes them on to whoever
//! listens on `/events` (server-sent events).
//!
//! Everything is bounded. A connection has one thread, 64 kB of stack to spare for it and one request; its head has at
//! most 8 KiB and 5 s to arrive in, however slowly its bytes come, and an answer 10 s to be taken. There are at most 64
//! connections: a new one takes the place of the oldest whose head has not come yet, so that clients which never
//! finish their requests do not keep others out. At most 16 clients listen to events, each with a queue of 64; one that
//! does not read is dropped and counted. Bodies are not read. Nothing is kept alive.
//!
//! On a loopback address whoever is on this machine may read; the `Host` header must name this machine, so that no web page
//! elsewhere can make a browser read it under another name. On another address a token is needed, and then stands for all of
//! that, also on a loopback address behind a proxy. It is compared in constant time: as `Authorization: Bearer`, or once as
//! `/?token=…`, which leaves a cookie. There is no TLS: put a proxy before it.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::event::{Event, Reason, State, What};
use super::hub::Sink;
use super::line::line;
use super::metrics::Metrics;
use crate::digest::hex;
use crate::error::{Error, Result};
use crate::track::cue::sentence;

/// Where and for whom the server is.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// Default: 127.0.0.1:8080.
    pub listen: SocketAddr,
    /// At least 16 letters, digits or `-._~`; must be there where `listen` is no loopback address. Default: none.
    pub token: Option<String>,
}

impl Default for HttpOptions {
    fn default() -> HttpOptions {
        HttpOptions { listen: SocketAddr::from(([127, 0, 0, 1], 8080)), token: None }
    }
}

const CONNECTIONS: usize = 64;
const LISTENERS: usize = 16;
const LISTENER_QUEUE: usize = 64;
const HEAD: usize = 8 << 10;
const HEADERS: usize = 48;
const HEAD_TIME: Duration = Duration::from_secs(5);
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// A listener that takes nothing for so long is dropped.
const LISTENER_TIME: Duration = Duration::from_secs(5);
/// Proxies and browsers give up silent connections.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How often listeners get the figures.
const STATUS: Duration = Duration::from_secs(2);
/// Captions of a stream that the page shows.
const CAPTIONS: usize = 20;

/// Nothing inline, nothing from elsewhere, no markup from text.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

/// The server, as an output.
pub struct Http {
    shared: Arc<Shared>,
    address: SocketAddr,
    acceptor: Option<JoinHandle<()>>,
    told: Instant,
}

struct Shared {
    metrics: Arc<Metrics>,
    token: Option<Token>,
    /// Names by which this machine may be called; none where a token guards it.
    hosts: Option<Vec<String>>,
    board: Mutex<Board>,
    connections: Mutex<Vec<Connection>>,
    closing: AtomicBool,
    numbers: AtomicU64,
}

struct Token {
    bearer: [u8; 32],
    cookie: String,
    cookie_name: String,
}

struct Connection {
    number: u64,
    stream: TcpStream,
    /// Its head has not come yet.
    waiting: bool,
}

/// What the page shows, and who listens: under one lock, so that a new listener misses nothing and gets nothing twice.
struct Board {
    streams: Vec<Shown>,
    listeners: Vec<Listener>,
}

struct Shown {
    name: Arc<str>,
    state: State,
    reason: Option<Reason>,
    ended: bool,
    captions: VecDeque<Value>,
    picture: Option<Arc<[u8]>>,
}

struct Listener {
    number: u64,
    queue: Sender<Arc<str>>,
    stream: TcpStream,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Http {
    /// Listens at once, so that a port that is taken is told before anything else starts.
    pub fn bind(options: &HttpOptions, streams: &[Arc<str>], metrics: Arc<Metrics>) -> Result<Http> {
        let ip = options.listen.ip();
        if !ip.is_loopback() && options.token.is_none() {
            let cause = format!("--http {}: others could read it without a token", options.listen);
            return Err(Error::usage(cause, "Give a token, or listen on 127.0.0.1."));
        }
        let fit = |t: &str| t.len() >= 16 && t.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b));
        if !options.token.as_deref().is_none_or(fit) {
            let cause = "the HTTP token is too short or has other signs than letters, digits and -._~";
            return Err(Error::usage(cause, "Give at least 16 of them, such as: openssl rand -hex 16"));
        }
        let fail = |e: io::Error| {
            let cause = match e.kind() {
                ErrorKind::AddrInUse => "another program listens there".to_string(),
                _ => e.to_string(),
            };
            Error::usage(format!("--http {}: {cause}", options.listen), "Give another address or port.")
        };
        let listener = TcpListener::bind(options.listen).map_err(fail)?;
        let address = listener.local_addr().map_err(fail)?;
        let token = options.token.as_ref().map(|token| Token {
            bearer: Sha256::digest(token).into(),
            cookie: hex(&Sha256::digest(format!("descry cookie {token}"))),
            cookie_name: format!("descry_{}", address.port()),
        });
        let hosts = (ip.is_loopback() && token.is_none()).then(|| {
            let own = if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() };
            vec!["localhost".into(), "127.0.0.1".into(), "[::1]".into(), own]
        });
        let shown = |name: &Arc<str>| Shown {
            name: name.clone(),
            state: State::Null,
            reason: None,
            ended: false,
            captions: VecDeque::new(),
            picture: None,
        };
        let shared = Arc::new(Shared {
            metrics,
            token,
            hosts,
            board: Mutex::new(Board { streams: streams.iter().map(shown).collect(), listeners: Vec::new() }),
            connections: Mutex::default(),
            closing: AtomicBool::new(false),
            numbers: AtomicU64::new(0),
        });
        let accept = shared.clone();
        let acceptor = Builder::new().name("http".into()).spawn(move || accept.accept(&listener)).map_err(fail)?;
        Ok(Http { shared, address, acceptor: Some(acceptor), told: Instant::now() })
    }

    /// Where it listens: the port that was given, or the one that the system chose for port 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    fn end(&mut self) {
        self.shared.closing.store(true, Ordering::Relaxed);
        let Some(acceptor) = self.acceptor.take() else { return };
        for listener in lock(&self.shared.board).listeners.drain(..) {
            // Its thread sends what is queued and ends.
            drop(listener.queue);
        }
        let mut own = self.address;
        if own.ip().is_unspecified() {
            own.set_ip(if own.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { IpAddr::V6(Ipv6Addr::LOCALHOST) });
        }
        // Wakes the acceptor.
        if TcpStream::connect_timeout(&own, Duration::from_millis(500)).is_ok() {
            let _ = acceptor.join();
        }
        let until = Instant::now() + Duration::from_millis(300);
        while !lock(&self.shared.connections).is_empty() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        for c in lock(&self.shared.connections).iter() {
            let _ = c.stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        self.end();
    }
}

impl Sink for Http {
    fn name(&self) -> &str {
        "page"
    }

    fn wants(&self) -> fn(&What) -> bool {
        |what| !matches!(what, What::Clock(_) | What::Watched { .. })
    }

    fn event(&mut self, event: &Event) -> Result<()> {
        let Some(mut object) = line(event) else { return Ok(()) };
        let mut board = lock(&self.shared.board);
        let Some(index) = board.streams.iter().position(|s| s.name == event.stream) else { return Ok(()) };
        object["index"] = json!(index);
        let shown = &mut board.streams[index];
        match &event.what {
            What::Caption(c) => {
                object["say"] = json!(sentence(&c.text));
                object["picture"] = json!(!c.jpeg.is_empty());
                if !c.jpeg.is_empty() {
                    shown.picture = Some(c.jpeg.clone());
                }
                shown.captions.push_back(object.clone());
                let excess = shown.captions.len().saturating_sub(CAPTIONS);
                shown.captions.drain(..excess);
            }
            What::State { state, reason } => (shown.state, shown.reason) = (*state, *reason),
            What::End => shown.ended = true,
            _ => {}
        }
        let kind = object["type"].as_str().unwrap_or("message").to_string();
        board.tell(&self.shared.metrics, &kind, &object);
        Ok(())
    }

    fn tick(&mut self, now: Instant) -> Result<()> {
        if now.duration_since(self.told) >= STATUS {
            self.told = now;
            let mut board = lock(&self.shared.board);
            if !board.listeners.is_empty() {
                board.tell(&self.shared.metrics, "status", &self.shared.metrics.status());
            }
        }
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        self.end();
        Ok(())
    }
}

/// A server-sent event. JSON has no line breaks of its own.
fn message(kind: &str, data: &Value) -> Arc<str> {
    format!("event: {kind}\ndata: {data}\n\n").into()
}

impl Board {
    /// To all who listen; whoever has not read for a whole queue is dropped.
    fn tell(&mut self, metrics: &Metrics, kind: &str, data: &Value) {
        let message = message(kind, data);
        self.listeners.retain(|l| match l.queue.try_send(message.clone()) {
            Ok(()) => true,
            Err(TrySendError::Disconnected(_)) => false,
            Err(TrySendError::Full(_)) => {
                metrics.clients_dropped.fetch_add(1, Ordering::Relaxed);
                let _ = l.stream.shutdown(Shutdown::Both);
                false
            }
        });
    }

    fn snapshot(&self, metrics: &Metrics) -> Value {
        let streams: Vec<Value> = self
            .streams
            .iter()
            .map(|s| {
                json!({
                    "name": &*s.name,
                    "state": s.state.name(),
                    "reason": s.reason.map(Reason::name),
                    "ended": s.ended,
                    "captions": s.captions,
                })
            })
            .collect();
        json!({ "run": metrics.run(), "streams": streams, "status": metrics.status() })
    }
}

/// What is answered.
struct Answer {
    status: &'static str,
    kind: &'static str,
    body: Vec<u8>,
    more: Vec<String>,
}

impl Answer {
    fn new(status: &'static str, kind: &'static str, body: impl Into<Vec<u8>>) -> Answer {
        Answer { status, kind, body: body.into(), more: Vec::new() }
    }

    fn text(status: &'static str, text: &str) -> Answer {
        Answer::new(status, "text/plain; charset=utf-8", format!("{text}\n"))
    }

    fn json(status: &'static str, value: &Value) -> Answer {
        Answer::new(status, "application/json", format!("{value}\n"))
    }

    fn with(mut self, header: String) -> Answer {
        self.more.push(header);
        self
    }
}

/// What matters of a request.
struct Request {
    head_only: bool,
    path: String,
    query: String,
    host: Option<String>,
    authorization: Option<Vec<u8>>,
    cookies: Vec<u8>,
}

const OK: &str = "200 OK";

impl Shared {
    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        loop {
            let accepted = listener.accept();
            if self.closing.load(Ordering::Relaxed) {
                return;
            }
            match accepted {
                Ok((stream, _)) => self.begin(stream),
                // Out of file descriptors, say: the next try may fare better.
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    /// Gives a connection its thread.
    fn begin(self: &Arc<Self>, stream: TcpStream) {
        let refused = || self.metrics.refused.fetch_add(1, Ordering::Relaxed);
        let Ok(own) = stream.try_clone() else {
            refused();
            return;
        };
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        {
            let mut all = lock(&self.connections);
            if all.len() >= CONNECTIONS {
                refused();
                let Some(oldest) = all.iter().position(|c| c.waiting) else { return };
                let _ = all.remove(oldest).stream.shutdown(Shutdown::Both);
            }
            all.push(Connection { number, stream: own, waiting: true });
        }
        let shared = self.clone();
        let serve = move || {
            // Errors are the client's: it went away, or was sent away.
            let _ = shared.serve(number, stream);
            lock(&shared.connections).retain(|c| c.number != number);
        };
        if Builder::new().name("http-client".into()).stack_size(256 << 10).spawn(serve).is_err() {
            refused();
            lock(&self.connections).retain(|c| c.number != number);
        }
    }

    fn serve(&self, number: u64, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let request = read_head(&mut stream)?;
        match lock(&self.connections).iter_mut().find(|c| c.number == number) {
            Some(c) => c.waiting = false,
            None => return Ok(()),
        }
        let counted = |answer: Answer| {
            let n = if answer.status < "400" { &self.metrics.requests } else { &self.metrics.refused };
            n.fetch_add(1, Ordering::Relaxed);
            answer
        };
        let request = match request {
            Ok(request) => request,
            Err(answer) => {
                send(&mut stream, &counted(answer), false)?;
                return drain(&mut stream);
            }
        };
        if let Some(answer) = self.refusal(&request) {
            return send(&mut stream, &counted(answer), request.head_only);
        }
        if request.path == "/events" && !request.head_only {
            self.metrics.requests.fetch_add(1, Ordering::Relaxed);
            return self.events(number, stream);
        }
        send(&mut stream, &counted(self.answer(&request)), request.head_only)
    }

    /// Why a request is not answered, or that its token has become a cookie.
    fn refusal(&self, request: &Request) -> Option<Answer> {
        if let Some(hosts) = &self.hosts {
            let name = request.host.as_deref().map(|h| match h.rsplit_once(':') {
                Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name.to_ascii_lowercase(),
                _ => h.to_ascii_lowercase(),
            });
            if !name.is_some_and(|name| hosts.contains(&name)) {
                return Some(Answer::text("403 Forbidden", "This server is for this machine alone."));
            }
        }
        let token = self.token.as_ref()?;
        let bearer = |given: &[u8]| same(&Sha256::digest(given).into(), &token.bearer);
        let given = request.authorization.as_deref().and_then(|a| a.split_at_checked(7));
        if given.is_some_and(|(scheme, given)| scheme.eq_ignore_ascii_case(b"Bearer ") && bearer(given)) {
            return None;
        }
        let cookie = request.cookies.split(|b| *b == b';').any(|c| {
            let c = c.trim_ascii();
            let value = c.strip_prefix(token.cookie_name.as_bytes()).and_then(|c| c.strip_prefix(b"="));
            value.is_some_and(|v| same(&Sha256::digest(v).into(), &Sha256::digest(&token.cookie).into()))
        });
        let asked = request.query.split('&').find_map(|p| p.strip_prefix("token="));
        if asked.is_some_and(|t| bearer(t.as_bytes())) {
            let cookie = format!("{}={}", token.cookie_name, token.cookie);
            let answer = Answer::text("303 See Other", "The token is good.");
            // Away from the address line, which is shown, kept and shared.
            return Some(
                answer
                    .with("Location: /".into())
                    .with(format!("Set-Cookie: {cookie}; Path=/; HttpOnly; SameSite=Lax; Max-Age=31536000")),
            );
        }
        if cookie {
            return None;
        }
        // Guessing is slow, whatever the token.
        if asked.is_some() || request.authorization.is_some() {
            std::thread::sleep(Duration::from_millis(300));
        }
        let text = "A token is needed: open /?token=TOKEN, or send Authorization: Bearer TOKEN.";
        Some(Answer::text("401 Unauthorized", text).with("WWW-Authenticate: Bearer realm=\"descry\"".into()))
    }

    fn answer(&self, request: &Request) -> Answer {
        match request.path.as_str() {
            "/" => Answer::new(OK, "text/html; charset=utf-8", include_str!("page.html")),
            "/page.css" => Answer::new(OK, "text/css; charset=utf-8", include_str!("page.css")),
            "/page.js" => Answer::new(OK, "text/javascript; charset=utf-8", include_str!("page.js")),
            "/icon.svg" => Answer::new(OK, "image/svg+xml", include_str!("icon.svg")),
            "/metrics" => Answer::new(OK, "text/plain; version=0.0.4; charset=utf-8", self.metrics.prometheus()),
            "/healthz" => {
                let status = if self.metrics.healthy() { OK } else { "503 Service Unavailable" };
                Answer::json(status, &self.metrics.health())
            }
            "/status" => Answer::json(OK, &self.metrics.status()),
            path => {
                let index = path.strip_prefix("/keyframe/").and_then(|p| p.strip_suffix(".jpg"));
                let index = index.and_then(|i| i.parse::<usize>().ok());
                let picture = index.and_then(|i| lock(&self.board).streams.get(i).and_then(|s| s.picture.clone()));
                match picture {
                    Some(jpeg) => Answer::new(OK, "image/jpeg", &*jpeg),
                    None => Answer::text("404 Not Found", "There is nothing here."),
                }
            }
        }
    }

    /// Sends events until the client goes, or is dropped for not reading.
    fn events(&self, number: u64, mut stream: TcpStream) -> io::Result<()> {
        let (queue, events): (Sender<Arc<str>>, Receiver<Arc<str>>) = bounded(LISTENER_QUEUE);
        let first = {
            let mut board = lock(&self.board);
            if board.listeners.len() >= LISTENERS || self.closing.load(Ordering::Relaxed) {
                drop(board);
                self.metrics.refused.fetch_add(1, Ordering::Relaxed);
                let answer = Answer::text("503 Service Unavailable", "Too many listen already.");
                return send(&mut stream, &answer.with("Retry-After: 10".into()), false);
            }
            board.listeners.push(Listener { number, queue, stream: stream.try_clone()? });
            board.snapshot(&self.metrics)
        };
        let gauge = &self.metrics.clients;
        gauge.fetch_add(1, Ordering::Relaxed);
        let result: io::Result<()> = (|| {
            stream.set_write_timeout(Some(LISTENER_TIME))?;
            let head = head(OK, "text/event-stream", &[]);
            stream.write_all(format!("{head}\r\nretry: 2000\n\n{}", message("snapshot", &first)).as_bytes())?;
            loop {
                match events.recv_timeout(KEEP_ALIVE) {
                    Ok(message) => stream.write_all(message.as_bytes())?,
                    Err(RecvTimeoutError::Timeout) => stream.write_all(b": still here\n\n")?,
                    Err(RecvTimeoutError::Disconnected) => return Ok(()),
                }
            }
        })();
        gauge.fetch_sub(1, Ordering::Relaxed);
        let mut board = lock(&self.board);
        let there = board.listeners.iter().position(|l| l.number == number).map(|i| board.listeners.swap_remove(i));
        if let Err(e) = &result
            && matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
            && there.is_some()
        {
            self.metrics.clients_dropped.fetch_add(1, Ordering::Relaxed);
        }
        result
    }
}

/// Whether two digests are the same, in a time that tells nothing.
fn same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    std::hint::black_box(a.iter().zip(b).fold(0, |sum, (a, b)| sum | (a ^ b))) == 0
}

/// Reads a request's head; the inner error is what to answer to one that is none.
fn read_head(stream: &mut TcpStream) -> io::Result<Result<Request, Answer>> {
    let until = Instant::now() + HEAD_TIME;
    let mut buffer = vec![0; HEAD];
    let mut length = 0;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(Err(Answer::text("408 Request Timeout", "The request came too slowly.")));
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut buffer[length..]) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => length += n,
            Err(e) if matches!(e.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                continue;
            }
            Err(e) => return Err(e),
        }
        match parse(&buffer[..length]) {
            Some(result) => return Ok(result),
            None if length == HEAD => {
                let text = "The request's head is too long.";
                return Ok(Err(Answer::text("431 Request Header Fields Too Large", text)));
            }
            None => {}
        }
    }
}

/// None where more is to come.
fn parse(bytes: &[u8]) -> Option<Result<Request, Answer>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    let bad = || Answer::text("400 Bad Request", "This is no request that descry understands.");
    match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return None,
        Err(httparse::Error::TooManyHeaders) => {
            return Some(Err(Answer::text("431 Request Header Fields Too Large", "Too many headers.")));
        }
        Err(_) => return Some(Err(bad())),
    }
    let method = parsed.method.unwrap_or_default();
    if !matches!(method, "GET" | "HEAD") {
        let answer = Answer::text("405 Method Not Allowed", "Only GET is answered.");
        return Some(Err(answer.with("Allow: GET, HEAD".into())));
    }
    let target = parsed.path.filter(|p| p.starts_with('/'));
    let Some(target) = target else { return Some(Err(bad())) };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let all =
        |name: &'static str| parsed.headers.iter().filter(move |h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value);
    if all("host").count() > 1 {
        return Some(Err(bad()));
    }
    Some(Ok(Request {
        head_only: method == "HEAD",
        path: path.to_string(),
        query: query.to_string(),
        host: all("host").next().map(|h| String::from_utf8_lossy(h).trim().to_string()),
        authorization: all("authorization").next().map(|a| a.trim_ascii().to_vec()),
        cookies: all("cookie").collect::<Vec<_>>().join(&b';'),
    }))
}

fn head(status: &str, kind: &str, more: &[String]) -> String {
    let mut head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nConnection: close\r\nCache-Control: no-store\r\n\
         Content-Security-Policy: {POLICY}\r\nX-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n\
         X-Frame-Options: DENY\r\nCross-Origin-Resource-Policy: same-origin\r\n\
         Cross-Origin-Opener-Policy: same-origin\r\n"
    );
    for header in more {
        head.push_str(header);
        head.push_str("\r\n");
    }
    head
}

/// Sends an answer, at most so long.
fn send(stream: &mut TcpStream, answer: &Answer, head_only: bool) -> io::Result<()> {
    let until = Instant::now() + ANSWER_TIME;
    let length = format!("Content-Length: {}", answer.body.len());
    let more: Vec<String> = answer.more.iter().cloned().chain([length]).collect();
    let mut bytes = format!("{}\r\n", head(answer.status, answer.kind, &more)).into_bytes();
    if !head_only {
        bytes.extend_from_slice(&answer.body);
    }
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        stream.set_write_timeout(Some(left))?;
        match stream.write(rest) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(n) => rest = &rest[n..],
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    stream.shutdown(Shutdown::Write)
}

/// Takes some of what a refused client still sends, or the answer would not reach it.
fn drain(stream: &mut TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_millis(100)))?;
    let mut sink = [0; 4 << 10];
    for _ in 0..16 {
        if stream.read(&mut sink)? == 0 {
            break;
        }
    }
    Ok(())
}

/// Asks a running descry for its status: what `descry live --status` shows.
pub fn fetch_status(address: &str, token: Option<&str>, timeout: Duration) -> Result<Value> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(timeout))
        .max_redirects(0)
        .http_status_as_error(false)
        .proxy(None)
        .build()
        .into();
    let fail = |cause: String| Error::input(address, cause, "Give the address that descry live was given as --http.");
    let request = agent.get(format!("http://{address}/status"));
    let request = match token {
        Some(token) => request.header("Authorization", format!("Bearer {token}")),
        None => request,
    };
    let mut answer = request.call().map_err(|e| fail(format!("no descry answers there: {e}")))?;
    match answer.status().as_u16() {
        200 => {}
        401 => return Err(fail("wants another token".into())),
        status => return Err(fail(format!("answers {status}"))),
    }
    let body = answer.body_mut().with_config().limit(4 << 20).read_to_vec().map_err(|e| fail(e.to_string()))?;
    serde_json::from_slice(&body).map_err(|_| fail("answers, but is no descry".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_or_refused() {
        let read = |text: &str| parse(text.as_bytes());
        assert!(read("GET / HTTP/1.1\r\nHost: x\r\n").is_none());
        let r = read("HEAD /a?b=c HTTP/1.1\r\nHOST: x:1\r\ncookie: a=b\r\nCookie: c=d\r\n\r\n").unwrap().ok().unwrap();
        assert_eq!((r.path.as_str(), r.query.as_str(), r.host.as_deref()), ("/a", "b=c", Some("x:1")));
        assert!(r.head_only && r.cookies == b"a=b;c=d");
        let status = |text: &str| read(text).unwrap().err().unwrap().status;
        assert!(status("POST / HTTP/1.1\r\n\r\n").starts_with("405"));
        assert!(status("GET http://h/ HTTP/1.1\r\n\r\n").starts_with("400"));
        assert!(status("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").starts_with("400"));
        assert!(status("\u{16}\u{3}\u{1}").starts_with("400"));
        assert!(status(&format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(60))).starts_with("431"));
    }
}
