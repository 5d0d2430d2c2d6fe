//! The page, its events, `/metrics`, `/healthz` and `/status`: a small HTTP server that answers GET only.
//!
//! It is an output like the others. The hub hands it events; it remembers what the page shows, and passes events on to the
//! clients of `/events` (server-sent events). axum routes and hyper parses, in one thread with its own tokio runtime.
//!
//! Memory and time are bounded. A connection carries one request, whose head has at most 8 KiB and 5 s to arrive in,
//! however slowly its bytes come; an answer must be taken within 10 s. There are at most 64 connections. Beyond that a new
//! one takes the place of another one, of the address that has the most, so that no address keeps others out; those whose
//! head has not arrived go first. At most 16 clients read events, each with a queue of 64; one that does not read is dropped
//! and counted, and those places are shared in the same way. Bodies are not read, and connections are not kept alive. hyper
//! enforces the limits of the head; [`server`] and [`timed`] enforce the others, which hyper lacks.
//!
//! [`auth`] decides who may read. There is no TLS: put a proxy before the server.

mod auth;
mod board;
mod client;
mod client_address;
mod guesses;
mod proof;
mod response;
mod routes;
mod server;
mod sessions;
mod timed;

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::event::{Event, EventKind};
use super::hub::Sink;
use super::json::has_json;
use super::lock::lock;
use super::metrics::Metrics;
use crate::error::{Error, Result};
use crate::message;
use crate::message::Setting;
use auth::PagePolicy;
use board::Board;
use routes::ServerState;

pub use client::fetch_status;

/// How often clients get the numbers.
const STATUS: Duration = Duration::from_secs(2);
/// Shortest token.
const TOKEN: usize = 16;

/// Where the server listens, and who may read.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// Default: 127.0.0.1:8080.
    pub listen: SocketAddr,
    /// At least 16 letters, digits or `-._~`; required where `listen` is not a loopback address. Default: none.
    pub token: Option<String>,
}

impl Default for HttpOptions {
    fn default() -> HttpOptions {
        HttpOptions { listen: SocketAddr::from(([127, 0, 0, 1], 8080)), token: None }
    }
}

impl HttpOptions {
    fn check(&self) -> Result<()> {
        if !self.listen.ip().is_loopback() && self.token.is_none() {
            let cause =
                message![Setting::Http, format!(" {}: other machines could read it without a token", self.listen)];
            return Err(Error::usage(cause, "Give a token, or listen on 127.0.0.1."));
        }
        let fit = |t: &str| t.len() >= TOKEN && t.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b));
        if !self.token.as_deref().is_none_or(fit) {
            let cause = "the HTTP token is too short, or has characters other than letters, digits and -._~";
            return Err(Error::usage(cause, "Give at least 16 of them, such as: openssl rand -hex 16"));
        }
        Ok(())
    }
}

/// The server, as an output.
pub struct HttpServer {
    state: Arc<ServerState>,
    address: SocketAddr,
    /// Ends the server's thread.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    /// When clients got the numbers last.
    sent: Instant,
}

impl HttpServer {
    /// Listens immediately, so that a port in use is reported before anything else starts.
    ///
    /// # Errors
    /// When the address is in use, or others could read it without a token.
    pub fn bind(options: &HttpOptions, streams: &[Arc<str>], metrics: Arc<Metrics>) -> Result<HttpServer> {
        options.check()?;
        let fail = |e: io::Error| {
            let cause = match e.kind() {
                ErrorKind::AddrInUse => "another program listens there".to_string(),
                _ => e.to_string(),
            };
            let cause = message![Setting::Http, format!(" {}: {cause}", options.listen)];
            Error::usage(cause, "Give another address or port.").with_source(e)
        };
        let listener = TcpListener::bind(options.listen).map_err(fail)?;
        listener.set_nonblocking(true).map_err(fail)?;
        let address = listener.local_addr().map_err(fail)?;
        let access = PagePolicy::new(address, options.token.as_deref(), Instant::now());
        let access = access.map_err(|_| fail(io::Error::other("the system has no random numbers")))?;
        let state = Arc::new(ServerState { metrics, access, board: Mutex::new(Board::new(streams)) });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build().map_err(fail)?;
        let (stop, stopped) = oneshot::channel();
        let shared = state.clone();
        let serve = move || {
            runtime.block_on(async {
                match tokio::net::TcpListener::from_std(listener) {
                    Ok(listener) => server::serve(listener, shared, stopped).await,
                    Err(e) => tracing::error!("the HTTP server cannot start: {e}"),
                }
            });
        };
        let thread = Builder::new().name("http".into()).spawn(serve).map_err(fail)?;
        Ok(HttpServer { state, address, stop: Some(stop), thread: Some(thread), sent: Instant::now() })
    }

    /// Where the server listens: with the port that the system chose for port 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Gives clients a moment to receive what is queued, and closes.
    fn end(&mut self) {
        lock(&self.state.board).close();
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.end();
    }
}

impl Sink for HttpServer {
    fn name(&self) -> &str {
        "page"
    }

    fn wants(&self) -> fn(&EventKind) -> bool {
        has_json
    }

    fn event(&mut self, event: &Event) -> Result<()> {
        lock(&self.state.board).show(event, &self.state.metrics);
        Ok(())
    }

    fn tick(&mut self, now: Instant) -> Result<()> {
        if now.duration_since(self.sent) >= STATUS {
            self.sent = now;
            lock(&self.state.board).send_status(&self.state.metrics);
        }
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        self.end();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::*;

    fn server(token: Option<&str>) -> HttpServer {
        let options = HttpOptions { listen: ([127, 0, 0, 1], 0).into(), token: token.map(String::from) };
        HttpServer::bind(&options, &["a".into()], Metrics::new(["a"])).unwrap()
    }

    /// Everything that a client gets for these bytes; `None` where nothing comes for a while.
    fn answer(server: &HttpServer, bytes: &str) -> Option<String> {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(1_000))).unwrap();
        stream.write_all(bytes.as_bytes()).unwrap();
        let mut all = Vec::new();
        // A connection that is reset after its answer still had it.
        let _ = stream.read_to_end(&mut all);
        (!all.is_empty()).then(|| String::from_utf8(all).unwrap())
    }

    #[test]
    fn requests_are_read_or_refused() {
        let open = server(None);
        assert_eq!(answer(&open, "GET / HTTP/1.1\r\nHost: x\r\n"), None);
        let status = |bytes: &str| answer(&open, bytes).unwrap()["HTTP/1.1 ".len()..][..3].to_string();
        assert_eq!(status("POST / HTTP/1.1\r\n\r\n"), "405");
        assert_eq!(status("GET http://h/ HTTP/1.1\r\n\r\n"), "400");
        assert_eq!(status("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"), "400");
        assert_eq!(status("\u{16}\u{3}\u{1}\r\n\r\n"), "400");
        assert_eq!(status(&format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(60))), "431");
        assert_eq!(status(&format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "y".repeat(9_000))), "431");
        assert_eq!(open.state.metrics.http.refused.get(), 6);
        assert_eq!(open.state.metrics.http.requests.get(), 0);

        let token = "0123456789abcdef";
        let guarded = server(Some(token));
        let welcome = answer(&guarded, &format!("GET /?a=b&token={token} HTTP/1.1\r\n\r\n")).unwrap();
        let cookie = welcome.lines().find_map(|l| l.strip_prefix("Set-Cookie: ")).unwrap();
        let cookie = cookie.split(';').next().unwrap();
        // Names of headers in any case, a second line of cookies, a query.
        let request = format!("HEAD /status?c=d HTTP/1.1\r\nHOST: x:1\r\ncookie: a=b\r\nCookie: {cookie}\r\n\r\n");
        let head = answer(&guarded, &request).unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"), "{head}");
        for header in ["Content-Length: ", "Content-Security-Policy: ", "Connection: close", "Cache-Control: no-store"]
        {
            assert!(head.contains(header), "{head}");
        }
    }

    #[test]
    fn a_head_that_takes_too_long_is_refused() {
        let server = server(None);
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.write_all(b"GET / HT").unwrap();
        let (began, mut all) = (Instant::now(), String::new());
        let _ = stream.read_to_string(&mut all);
        assert!(all.starts_with("HTTP/1.1 408 "), "{all}");
        assert!((Duration::from_secs(4)..Duration::from_secs(8)).contains(&began.elapsed()), "{:?}", began.elapsed());
    }
}
