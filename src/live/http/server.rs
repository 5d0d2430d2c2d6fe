//! Accepts connections and serves one request on each, within limits that hyper alone does not enforce.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use futures_util::future::{AbortHandle, Abortable, Either, select};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::super::lock::lock;
use super::super::metrics::HttpMetrics;
use super::client_address::{ClientAddress, heaviest};
use super::routes::{Peer, ServerState, router};
use super::timed::TimedStream;

/// Open connections.
const CONNECTIONS: usize = 64;
/// Bytes of a request's head; the least that hyper allows, and plenty.
const HEAD: usize = 8 << 10;
/// Header lines of a request.
const HEADERS: usize = 48;
/// How long a request's head may take.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// How long a client may take to read its answer.
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// How long connections may take when the server closes.
const CLOSE_TIME: Duration = Duration::from_millis(300);
/// Pause after a connection could not be accepted: file descriptors may be free again by then.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// What a client may still send after it was refused: as many reads, each within this time.
const DRAIN_READS: usize = 16;
const DRAIN_TIME: Duration = Duration::from_millis(100);
/// In the form of hyper's own answers to wrong requests.
const TIMED_OUT: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

struct OpenConnection {
    number: u64,
    address: ClientAddress,
    /// The request's head has not arrived yet.
    is_waiting: bool,
    abort: AbortHandle,
}

/// The open connections, at most [`CONNECTIONS`].
#[derive(Default)]
struct Connections {
    open: Mutex<Vec<OpenConnection>>,
    next: AtomicU64,
}

impl Connections {
    /// Adds a connection. Where there is no room, another one gives way, or this one is refused.
    fn add(&self, address: ClientAddress, abort: AbortHandle, counters: &HttpMetrics) -> Option<u64> {
        let mut open = lock(&self.open);
        if open.len() >= CONNECTIONS {
            counters.refused.inc();
            let dispensable = dispensable(&open, address)?;
            open.remove(dispensable).abort.abort();
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        open.push(OpenConnection { number, address, is_waiting: true, abort });
        Some(number)
    }

    /// The head has arrived: the connection keeps its place.
    fn keep(&self, number: u64) {
        if let Some(c) = lock(&self.open).iter_mut().find(|c| c.number == number) {
            c.is_waiting = false;
        }
    }

    fn remove(&self, number: u64) {
        lock(&self.open).retain(|c| c.number != number);
    }
}

/// Which connection gives way to a new one: of the address that has the most, the oldest whose head has not arrived, or else
/// the oldest where that address still has as many as the new one's then. Where no address has more than the new one's, only
/// a connection of its own whose head has not arrived gives way.
fn dispensable(open: &[OpenConnection], newcomer: ClientAddress) -> Option<usize> {
    let addresses: Vec<ClientAddress> = open.iter().map(|c| c.address).collect();
    let (address, surplus) = heaviest(&addresses, newcomer).map_or((newcomer, 0), |h| (h.address, h.surplus));
    let of_it = || open.iter().enumerate().filter(|(_, c)| c.address == address);
    let waiting = of_it().find(|(_, c)| c.is_waiting);
    waiting.or_else(|| of_it().next().filter(|_| surplus > 1)).map(|(at, _)| at)
}

/// Serves until `stop` resolves, then lets connections finish for a moment.
pub(super) async fn serve(listener: TcpListener, state: Arc<ServerState>, mut stop: oneshot::Receiver<()>) {
    let server = Server { router: router(state.clone()), state, connections: Arc::default() };
    let mut tasks = JoinSet::new();
    loop {
        match select(pin!(listener.accept()), &mut stop).await {
            Either::Left((Ok((stream, address)), _)) => server.accept(stream, address, &mut tasks),
            Either::Left((Err(_), _)) => sleep(ACCEPT_PAUSE).await,
            Either::Right(_) => break,
        }
        while tasks.try_join_next().is_some() {}
    }
    drop(listener);
    // Connections that are still open then are dropped with their tasks.
    let _ = timeout(CLOSE_TIME, async { while tasks.join_next().await.is_some() {} }).await;
}

struct Server {
    router: Router,
    state: Arc<ServerState>,
    connections: Arc<Connections>,
}

impl Server {
    fn accept(&self, stream: TcpStream, address: SocketAddr, tasks: &mut JoinSet<()>) {
        let (abort, registration) = AbortHandle::new_pair();
        let counters = &self.state.metrics.http;
        let Some(number) = self.connections.add(address.ip().into(), abort.clone(), counters) else { return };
        let peer = Peer { number, address, abort, timer: Arc::default() };
        let (router, state, connections) = (self.router.clone(), self.state.clone(), self.connections.clone());
        tasks.spawn(async move {
            let serving = serve_connection(stream, peer, router, &state.metrics.http, connections.clone());
            let _ = Abortable::new(serving, registration).await;
            connections.remove(number);
        });
    }
}

/// A response in the making.
type Answering = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

/// Serves one request.
async fn serve_connection(
    stream: TcpStream,
    peer: Peer,
    router: Router,
    counters: &HttpMetrics,
    connections: Arc<Connections>,
) {
    // Messages are short and should leave immediately.
    let _ = stream.set_nodelay(true);
    let timer = peer.timer.clone();
    let stream = TimedStream::new(stream, timer.clone());
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| -> Answering {
        connections.keep(peer.number);
        request.extensions_mut().insert(peer.clone());
        let (answering, timer) = (router.call(request), peer.timer.clone());
        Box::pin(async move {
            let response = answering.await;
            timer.limit_answer(ANSWER_TIME);
            response
        })
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD)
        .max_headers(HEADERS)
        .keep_alive(false)
        .half_close(true)
        .title_case_headers(true)
        .auto_date_header(false)
        .serve_connection(TokioIo::new(stream), service);
    let served = poll_fn(|cx| connection.poll_without_shutdown(cx)).await;
    let mut stream = connection.into_parts().io.into_inner();
    match served {
        Err(e) if e.is_parse() || e.is_timeout() => {
            counters.refused.inc();
            timer.limit_answer(ANSWER_TIME);
            let _ = refuse(stream, e.is_timeout()).await;
        }
        Ok(()) => drop(stream.shutdown().await),
        // The client went away, or was sent away.
        Err(_) => {}
    }
}

/// Ends a connection whose request hyper refused. hyper has answered it already, except where the head took too long.
async fn refuse(mut stream: TimedStream, timed_out: bool) -> io::Result<()> {
    if timed_out {
        stream.write_all(TIMED_OUT).await?;
    }
    stream.shutdown().await?;
    // Reads some of what the client still sends: with unread data the system would discard the answer.
    let mut buffer = [0; 4 << 10];
    for _ in 0..DRAIN_READS {
        if !matches!(timeout(DRAIN_TIME, stream.read(&mut buffer)).await, Ok(Ok(1..))) {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn address(n: u32) -> ClientAddress {
        IpAddr::from(Ipv4Addr::from_bits(n)).into()
    }

    fn open(all: &[(u32, bool)]) -> Vec<OpenConnection> {
        let one = |(number, (from, is_waiting)): (usize, &(u32, bool))| OpenConnection {
            number: number as u64,
            address: address(*from),
            is_waiting: *is_waiting,
            abort: AbortHandle::new_pair().0,
        };
        all.iter().enumerate().map(one).collect()
    }

    #[test]
    fn the_address_with_the_most_connections_gives_way() {
        let way = |all: &[(u32, bool)], newcomer| dispensable(&open(all), address(newcomer));
        // One that has not sent its request yet, or else the oldest.
        assert_eq!(way(&[(9, true), (1, false), (1, true), (1, true)], 2), Some(2));
        assert_eq!(way(&[(9, true), (1, false), (1, false)], 2), Some(1));
        // Nobody gives way to an address that has as many.
        assert_eq!(way(&[(1, false), (1, false), (2, false), (2, false)], 2), None);
        assert_eq!(way(&[(1, true), (1, true), (2, false), (2, false)], 2), None);
        assert_eq!(way(&[(1, false), (2, false)], 3), None);
        assert_eq!(way(&[(1, false), (1, true)], 1), Some(1));
        assert_eq!(way(&[(1, false), (1, false)], 1), None);
    }

    #[test]
    fn one_address_holds_all_connections_only_while_nobody_else_wants_one() {
        let (connections, counters) = (Connections::default(), HttpMetrics::default());
        let add = |from| connections.add(address(from), AbortHandle::new_pair().0, &counters);
        for _ in 0..CONNECTIONS {
            let number = add(1).unwrap();
            connections.keep(number);
        }
        assert_eq!(add(1), None);
        for other in 2..34 {
            connections.keep(add(other).unwrap());
        }
        let open = lock(&connections.open);
        assert_eq!((open.len(), open.iter().filter(|c| c.address == address(1)).count()), (CONNECTIONS, 32));
    }
}
