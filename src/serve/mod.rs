//! A small HTTP server for pages: connections and their limits, who may read, and the form of answers. What it serves, and
//! what that shows, is its owner's: a [`Site`].
//!
//! axum routes and hyper parses, in one thread with its own tokio runtime.
//!
//! Memory and time are bounded, by [`ServeLimits`]. A request's head has at most 8 KiB and 5 s to arrive in, however slowly
//! its bytes come; an answer must be taken within 10 s. There are at most 64 connections. Beyond that a new one takes the
//! place of another one, of the address that has the most, so that no address keeps others out; those that wait for a head
//! go first. Where a site keeps connections, those that are idle are closed. hyper enforces the size of a head; [`server`] and
//! [`timed`] enforce the other limits, which hyper lacks.
//!
//! A site answers GET and HEAD. Where it takes bodies, they are JSON, from its own pages, bounded in size and time ([`body`]).
//! Answers that last are files ([`serve_file`]) and what a thread produces ([`serve_produced`]): 16 at most, with some chunks
//! of 64 KiB in memory for each.
//!
//! [`auth`] decides who may read. There is no TLS: put a proxy before the server.

mod auth;
mod body;
pub(crate) mod client_address;
mod connections;
mod file;
mod guard;
mod guesses;
mod options;
mod peer;
mod producer;
pub(crate) mod proof;
pub mod response;
mod server;
mod sessions;
mod site;
mod streams;
#[cfg(test)]
mod tests;
mod timed;

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::error::{Error, Result};
use crate::message;
use crate::message::Setting;
use auth::PagePolicy;

pub use file::{ServedFile, serve_file};
pub use options::HttpOptions;
pub use peer::Peer;
pub use producer::{BodyWriter, serve_produced};
pub use site::{BodyLimits, ContentPolicy, ServeCounters, ServeLimits, Site};

/// Threads that read files at the same time.
const READERS: usize = 8;
/// How long a read may take when the server closes.
const READ_TIME: Duration = Duration::from_millis(300);

/// A server that runs in a thread of its own until it is stopped or dropped.
pub struct WebServer {
    address: SocketAddr,
    /// Ends the thread.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl WebServer {
    /// Listens immediately, so that a port in use is reported before anything else starts. `setting` is what chose the
    /// address, for messages. With a token it takes a few hundred milliseconds.
    ///
    /// # Errors
    /// When the address is in use, or others could read it without a token.
    pub fn start(options: &HttpOptions, setting: Setting, site: Site) -> Result<WebServer> {
        options.check(setting)?;
        let fail = |e: io::Error| {
            let cause = match e.kind() {
                ErrorKind::AddrInUse => "another program listens there".to_string(),
                _ => e.to_string(),
            };
            let cause = message![setting, format!(" {}: {cause}", options.listen)];
            Error::usage(cause, "Give another address or port.").with_source(e)
        };
        let listener = TcpListener::bind(options.listen).map_err(fail)?;
        listener.set_nonblocking(true).map_err(fail)?;
        let address = listener.local_addr().map_err(fail)?;
        let access = PagePolicy::new(address, options.token.as_deref(), Instant::now());
        let access = access.map_err(|_| fail(io::Error::other("the system has no random numbers")))?;
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_io().enable_time().max_blocking_threads(READERS).build().map_err(fail)?;
        let (stop, stopped) = oneshot::channel();
        let serve = move || {
            let served = runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                io::Result::Ok(server::serve(listener, site, access, stopped).await)
            });
            // A disk that hangs holds nothing up.
            runtime.shutdown_timeout(READ_TIME);
            match served {
                Ok(streams) => streams.join(),
                Err(e) => tracing::error!("the HTTP server cannot start: {e}"),
            }
        };
        let thread = Builder::new().name("http".into()).spawn(serve).map_err(fail)?;
        Ok(WebServer { address, stop: Some(stop), thread: Some(thread) })
    }

    /// Where the server listens: with the port that the system chose for port 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Gives clients a moment to receive their answers, and closes.
    pub fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        self.stop();
    }
}
