//! Accepts connections and serves requests on them, within limits that hyper does not enforce.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use futures_util::future::{AbortHandle, Abortable, Either, select};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
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
use super::streams::StreamPlaces;
use super::timed::{ConnectionTimer, TimedStream};

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
/// The same after a request with a body, which a browser sends before it reads the answer.
const BODY_DRAIN_READS: usize = 256;
const DRAIN_TIME: Duration = Duration::from_millis(100);
/// In the form of hyper's own answers to wrong requests.
const TIMED_OUT: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

/// Serves until `stop` resolves, then lets connections finish for a moment. Returns what waits for the threads that produce
/// bodies.
pub(super) async fn serve(
    listener: TcpListener,
    site: Site,
    access: PagePolicy,
    mut stop: oneshot::Receiver<()>,
) -> Arc<StreamPlaces> {
    let Site { router, counters, limits, content } = site;
    let gate = Gate { access, counters: counters.clone(), content, bodies: limits.bodies };
    let shared = Arc::new(Shared {
        router: router.layer(from_fn_with_state(Arc::new(gate), guard)),
        counters,
        connections: Connections::new(limits.connections),
        streams: Arc::new(StreamPlaces::new(limits.streams)),
        limits,
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
    shared.streams.clone()
}

/// What all connections share.
struct Shared {
    router: Router,
    counters: Arc<dyn ServeCounters>,
    connections: Connections,
    streams: Arc<StreamPlaces>,
    limits: ServeLimits,
}

fn accept(shared: &Arc<Shared>, stream: TcpStream, address: SocketAddr, tasks: &mut JoinSet<()>) {
    let (abort, registration) = AbortHandle::new_pair();
    let added = shared.connections.add(address.ip().into(), abort.clone(), &*shared.counters);
    let Some(number) = added else { return };
    let timer = Arc::new(ConnectionTimer::new(shared.limits.head_time));
    let (streams, stall_time) = (shared.streams.clone(), shared.limits.stall_time);
    let peer = Peer { number, address, abort, timer, streams, stall_time };
    let shared = shared.clone();
    tasks.spawn(async move {
        let _ = Abortable::new(serve_connection(stream, peer, &shared), registration).await;
        shared.connections.remove(number);
    });
}

/// A response in the making.
type Answering = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

/// Serves the requests of a connection.
async fn serve_connection(stream: TcpStream, peer: Peer, shared: &Arc<Shared>) {
    // Messages are short and should leave immediately.
    let _ = stream.set_nodelay(true);
    let timer = peer.timer.clone();
    let stream = TimedStream::new(stream, timer.clone());
    let router = TowerToHyperService::new(shared.router.clone());
    let common = shared.clone();
    let service = service_fn(move |mut request: Request<Incoming>| -> Answering {
        common.connections.keep(peer.number);
        peer.timer.begin_request();
        request.extensions_mut().insert(peer.clone());
        let (answering, shared, peer) = (router.call(request), common.clone(), peer.clone());
        Box::pin(async move {
            let response = answering.await;
            peer.timer.limit_answer(shared.limits.answer_time);
            let Some(idle_time) = shared.limits.idle_time else { return response };
            response.map(|response| response.map(|body| Body::new(KeptBody { body, peer, shared, idle_time })))
        })
    });
    let keeps = shared.limits.idle_time.is_some();
    let mut connection = http1::Builder::new()
        .max_buf_size(HEAD)
        .max_headers(HEADERS)
        .keep_alive(keeps)
        // Programs that close their side after one request still get an answer. Of a browser, it means that it is gone.
        .half_close(!keeps)
        .title_case_headers(true)
        .auto_date_header(false)
        .serve_connection(TokioIo::new(stream), service);
    let served = poll_fn(|cx| connection.poll_without_shutdown(cx)).await;
    let mut stream = connection.into_parts().io.into_inner();
    let is_late = timer.is_head_late();
    let is_refused = is_late || served.as_ref().is_err_and(hyper::Error::is_parse);
    if is_refused {
        refuse(stream, is_late, &timer, shared).await;
    } else if served.is_ok() && stream.shutdown().await.is_ok() && shared.limits.bodies.is_some() {
        drain(&mut stream, BODY_DRAIN_READS).await;
    }
    // Otherwise the client went away, or was sent away.
}

/// The body of an answer on a connection that is kept. When it ends, another request may come.
struct KeptBody {
    body: Body,
    peer: Peer,
    shared: Arc<Shared>,
    idle_time: Duration,
}

impl HttpBody for KeptBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for KeptBody {
    fn drop(&mut self) {
        self.peer.timer.await_request(self.idle_time);
        self.shared.connections.wait(self.peer.number);
    }
}

/// Ends a connection whose request hyper refused, or whose head took too long. hyper has answered the former already.
async fn refuse(mut stream: TimedStream, is_late: bool, timer: &ConnectionTimer, shared: &Shared) {
    shared.counters.count_refusal();
    timer.begin_request();
    timer.limit_answer(shared.limits.answer_time);
    if is_late && stream.write_all(TIMED_OUT).await.is_err() {
        return;
    }
    if stream.shutdown().await.is_ok() {
        drain(&mut stream, DRAIN_READS).await;
    }
}

/// Reads some of what the client still sends: with unread data the system would discard the answer.
async fn drain(stream: &mut TimedStream, reads: usize) {
    let mut buffer = vec![0; 16 << 10];
    for _ in 0..reads {
        if !matches!(timeout(DRAIN_TIME, stream.read(&mut buffer)).await, Ok(Ok(1..))) {
            break;
        }
    }
}
