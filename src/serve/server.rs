//! Accepts connections and serves one request on each, within limits that hyper alone does not enforce.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::from_fn_with_state;
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

use super::auth::PagePolicy;
use super::connections::Connections;
use super::guard::{Gate, guard};
use super::peer::Peer;
use super::site::{ServeCounters, ServeLimits, Site};
use super::timed::TimedStream;

/// Bytes of a request's head; the least that hyper allows, and plenty.
const HEAD: usize = 8 << 10;
/// Header lines of a request.
const HEADERS: usize = 48;
/// How long connections may take when the server closes.
const CLOSE_TIME: Duration = Duration::from_millis(300);
/// Pause after a connection could not be accepted: file descriptors may be free again by then.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// What a client may still send after it was refused: as many reads, each within this time.
const DRAIN_READS: usize = 16;
const DRAIN_TIME: Duration = Duration::from_millis(100);
/// In the form of hyper's own answers to wrong requests.
const TIMED_OUT: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

/// Serves until `stop` resolves, then lets connections finish for a moment.
pub(super) async fn serve(listener: TcpListener, site: Site, access: PagePolicy, mut stop: oneshot::Receiver<()>) {
    let gate = Arc::new(Gate { access, counters: site.counters.clone() });
    let shared = Arc::new(Shared {
        router: site.router.layer(from_fn_with_state(gate, guard)),
        counters: site.counters,
        connections: Connections::new(site.limits.connections),
        limits: site.limits,
    });
    let mut tasks = JoinSet::new();
    loop {
        match select(pin!(listener.accept()), &mut stop).await {
            Either::Left((Ok((stream, address)), _)) => accept(&shared, stream, address, &mut tasks),
            Either::Left((Err(_), _)) => sleep(ACCEPT_PAUSE).await,
            Either::Right(_) => break,
        }
        while tasks.try_join_next().is_some() {}
    }
    drop(listener);
    // Connections that are still open then are dropped with their tasks.
    let _ = timeout(CLOSE_TIME, async { while tasks.join_next().await.is_some() {} }).await;
}

/// What all connections share.
struct Shared {
    router: Router,
    counters: Arc<dyn ServeCounters>,
    connections: Connections,
    limits: ServeLimits,
}

fn accept(shared: &Arc<Shared>, stream: TcpStream, address: SocketAddr, tasks: &mut JoinSet<()>) {
    let (abort, registration) = AbortHandle::new_pair();
    let added = shared.connections.add(address.ip().into(), abort.clone(), &*shared.counters);
    let Some(number) = added else { return };
    let peer = Peer { number, address, abort, timer: Arc::default() };
    let shared = shared.clone();
    tasks.spawn(async move {
        let _ = Abortable::new(serve_connection(stream, peer, &shared), registration).await;
        shared.connections.remove(number);
    });
}

/// A response in the making.
type Answering = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

/// Serves one request.
async fn serve_connection(stream: TcpStream, peer: Peer, shared: &Arc<Shared>) {
    // Messages are short and should leave immediately.
    let _ = stream.set_nodelay(true);
    let (timer, answer_time) = (peer.timer.clone(), shared.limits.answer_time);
    let stream = TimedStream::new(stream, timer.clone());
    let router = TowerToHyperService::new(shared.router.clone());
    let connections = shared.clone();
    let service = service_fn(move |mut request: Request<Incoming>| -> Answering {
        connections.connections.keep(peer.number);
        request.extensions_mut().insert(peer.clone());
        let (answering, timer) = (router.call(request), peer.timer.clone());
        Box::pin(async move {
            let response = answering.await;
            timer.limit_answer(answer_time);
            response
        })
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(shared.limits.head_time)
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
            shared.counters.count_refusal();
            timer.limit_answer(answer_time);
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
