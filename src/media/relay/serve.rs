//! The task of a relay: takes FFmpeg's connections, and passes bytes on in both directions.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::ClientConfig;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional_with_sizes, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::filter::{Reaction, RtspFilter};
use super::message::{RtspItem, RtspReader, TooLong};
use super::own::is_own;
use super::target::{Dialect, RelayTarget};
use super::upstream::{Upstream, connect};
use crate::media::access::{Leads, Place};
use crate::media::remote::RemoteError;

/// Bytes that are read at once.
const BUFFER: usize = 64 << 10;

/// Why a connection was closed.
pub(super) enum RelayEnd {
    /// The server leads there.
    Redirect(String),
    Fault(RemoteError),
}

/// What a relay and its task share.
#[derive(Default)]
pub(super) struct RelayState {
    closing: Notify,
    end: Mutex<Option<RelayEnd>>,
}

impl RelayState {
    /// Stops accepting connections.
    pub(super) fn close(&self) {
        self.closing.notify_one();
    }

    /// Reads why the last connection was closed.
    pub(super) fn take<T>(&self, read: impl FnOnce(&RelayEnd) -> Option<T>) -> Option<T> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner).as_ref().and_then(read)
    }

    fn set(&self, end: RelayEnd) {
        *self.end.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
    }
}

/// How to connect to the server, as often as FFmpeg does.
pub(super) struct Upstreams {
    pub(super) target: RelayTarget,
    pub(super) leads: Leads,
    pub(super) tls: Option<Arc<ClientConfig>>,
}

impl Upstreams {
    /// # Errors
    /// Why the server cannot be reached.
    pub(super) async fn connect(&self) -> Result<Upstream, RemoteError> {
        connect(&self.target, &self.leads, self.tls.as_ref()).await
    }
}

/// Serves until the relay is closed. `first` is for the first connection.
pub(super) async fn serve(
    listener: TcpListener,
    ours: SocketAddr,
    upstreams: Upstreams,
    first: Upstream,
    state: Arc<RelayState>,
) {
    let mut ready = Some(first);
    loop {
        let accepted = tokio::select! {
            () = state.closing.notified() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((client, theirs)) = accepted else { return };
        if !is_own(ours, theirs) {
            continue;
        }
        let _ = client.set_nodelay(true);
        // FFmpeg connects again to log in at an RTMP server, and to get by TCP what does not come by UDP.
        let upstream = match ready.take() {
            Some(upstream) => Ok(upstream),
            None => upstreams.connect().await,
        };
        match upstream {
            Ok(upstream) if upstreams.target.dialect == Dialect::Rtmp => pass(client, upstream).await,
            Ok(upstream) => pass_rtsp(client, upstream, ours, &upstreams, &state).await,
            Err(fault) => state.set(RelayEnd::Fault(fault)),
        }
    }
}

/// Passes bytes as they are, until both ends have closed.
async fn pass(mut client: TcpStream, mut upstream: Upstream) {
    // A broken connection ends for FFmpeg as one that is closed.
    let _ = copy_bidirectional_with_sizes(&mut client, &mut upstream.wire, BUFFER, BUFFER).await;
}

/// RTSP in both directions.
struct RtspRelay<'a> {
    filter: RtspFilter,
    leads: &'a Leads,
    requests: RtspReader,
    answers: RtspReader,
}

impl RtspRelay<'_> {
    /// What the server gets for what FFmpeg sends.
    fn outgoing(&mut self, bytes: &[u8]) -> Result<Vec<u8>, RelayEnd> {
        self.requests.push(bytes);
        let mut out = Vec::new();
        while let Some(item) = self.requests.next().map_err(endless)? {
            match item {
                RtspItem::Bytes(bytes) => out.extend(bytes),
                RtspItem::Message(message) => out.extend(self.filter.outgoing(message, fastrand::u64(..))),
            }
        }
        Ok(out)
    }

    /// What FFmpeg and the server get for what the server sends.
    fn incoming(&mut self, bytes: &[u8]) -> Result<(Vec<u8>, Vec<u8>), RelayEnd> {
        let leads = self.leads;
        let may_reach = |ip: IpAddr| leads.check(&Place::new(&ip.to_string(), 0), ip).is_ok();
        self.answers.push(bytes);
        let (mut out, mut again) = (Vec::new(), Vec::new());
        while let Some(item) = self.answers.next().map_err(endless)? {
            match item {
                RtspItem::Bytes(bytes) => out.extend(bytes),
                RtspItem::Message(message) => match self.filter.incoming(message, fastrand::u64(..), may_reach) {
                    Reaction::Pass(bytes) => out.extend(bytes),
                    Reaction::Retry(bytes) => again.extend(bytes),
                    Reaction::Redirect(location) => return Err(RelayEnd::Redirect(location)),
                },
            }
        }
        Ok((out, again))
    }
}

fn endless(_: TooLong) -> RelayEnd {
    RelayEnd::Fault(RemoteError::Other("its server sends a message without an end".into()))
}

/// Passes RTSP until one end closes, or something else ends it. FFmpeg notices that only when the reason is known.
async fn pass_rtsp(client: TcpStream, upstream: Upstream, ours: SocketAddr, to: &Upstreams, state: &RelayState) {
    let (peer, login) = (upstream.peer.ip(), to.target.login.clone());
    let filter = RtspFilter::new(format!("rtsp://{ours}"), to.target.origin(), peer, login);
    let (requests, answers) = (RtspReader::default(), RtspReader::default());
    let mut relay = RtspRelay { filter, leads: &to.leads, requests, answers };
    let (mut from_client, mut to_client) = split(client);
    let (mut from_server, mut to_server) = split(upstream.wire);
    let (mut of_client, mut of_server) = (vec![0; BUFFER], vec![0; BUFFER]);
    loop {
        // Neither read loses bytes when the other one comes first.
        let passed = tokio::select! {
            read = from_client.read(&mut of_client) => {
                let Some(length) = read.ok().filter(|n| *n > 0) else { break };
                relay.outgoing(&of_client[..length]).map(|out| (Vec::new(), out))
            }
            read = from_server.read(&mut of_server) => {
                let Some(length) = read.ok().filter(|n| *n > 0) else { break };
                relay.incoming(&of_server[..length])
            }
        };
        match passed {
            Err(end) => {
                state.set(end);
                break;
            }
            Ok((back, out)) => {
                if send(&mut to_client, &back).await.is_err() || send(&mut to_server, &out).await.is_err() {
                    break;
                }
            }
        }
    }
    let _ = to_server.shutdown().await;
    let _ = to_client.shutdown().await;
}

async fn send(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    to.write_all(bytes).await?;
    to.flush().await
}
