//! The page, its events, `/metrics`, `/healthz` and `/status`: an HTTP server that answers GET only.
//!
//! It is an output like the others. The hub hands it events; it remembers what the page shows, and passes events on to the
//! clients of `/events` (server-sent events).
//!
//! The limits of [`crate::serve`] apply, with one request on each connection. Besides, at most 16 clients read events, each
//! with a queue of 64; one that does not read is dropped and counted, and those places are shared as connections are. Bodies
//! are not read.

mod board;
mod client;
mod routes;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::event::{Event, EventKind};
use super::hub::Sink;
use super::json::has_json;
use super::metrics::Metrics;
use crate::error::Result;
use crate::lock::lock;
use crate::message::Setting;
use crate::serve::{ContentPolicy, HttpOptions, ServeCounters, ServeLimits, Site, WebServer};
use board::Board;
use routes::{PageState, router};

pub use client::fetch_status;

/// How often clients get the numbers.
const STATUS: Duration = Duration::from_secs(2);

impl ServeCounters for Metrics {
    fn count_answer(&self) {
        self.http.requests.inc();
    }

    fn count_refusal(&self) {
        self.http.refused.inc();
    }
}

/// The server, as an output.
pub struct HttpServer {
    state: Arc<PageState>,
    server: WebServer,
    /// When clients got the numbers last.
    sent: Instant,
}

impl HttpServer {
    /// Listens immediately, so that a port in use is reported before anything else starts.
    ///
    /// # Errors
    /// When the address is in use, or others could read it without a token.
    pub fn bind(options: &HttpOptions, streams: &[Arc<str>], metrics: Arc<Metrics>) -> Result<HttpServer> {
        let state = Arc::new(PageState { metrics: metrics.clone(), board: Mutex::new(Board::new(streams)) });
        let site = Site {
            router: router(state.clone()),
            counters: metrics,
            limits: ServeLimits::default(),
            content: ContentPolicy::Page,
        };
        let server = WebServer::start(options, Setting::Http, site)?;
        Ok(HttpServer { state, server, sent: Instant::now() })
    }

    /// Where the server listens: with the port that the system chose for port 0.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Gives clients a moment to receive what is queued, and closes.
    fn end(&mut self) {
        lock(&self.state.board).close();
        self.server.stop();
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
