//! The pages: what each path answers, and the event stream.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HOST, RETRY_AFTER, SET_COOKIE};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::sse::{self, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use futures_util::future::AbortHandle;
use futures_util::stream::{self, Stream, StreamExt};
use prometheus_client::encoding::prometheus_text;
use tokio::sync::mpsc::Receiver;

use super::super::lock::lock;
use super::super::metrics::Metrics;
use super::auth::PagePolicy;
use super::board::{Board, EventClient, EventMessage};
use super::response::{add_headers, bad_request, json, method_not_allowed, not_found, text};
use super::timed::WriteTimer;

/// A client that takes nothing for this long is dropped.
const STALL_TIME: Duration = Duration::from_secs(5);
/// Proxies and browsers give up connections that are silent for longer.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long a browser waits before it reconnects.
const RECONNECT: Duration = Duration::from_secs(2);

/// What all requests share.
pub(super) struct ServerState {
    pub(super) metrics: Arc<Metrics>,
    pub(super) access: PagePolicy,
    pub(super) board: Mutex<Board>,
}

/// The connection that a request came on.
#[derive(Clone)]
pub(super) struct Peer {
    pub(super) number: u64,
    pub(super) address: SocketAddr,
    /// Closes the connection.
    pub(super) abort: AbortHandle,
    pub(super) timer: Arc<WriteTimer>,
}

pub(super) fn router(state: Arc<ServerState>) -> Router {
    let asset = |kind: &'static str, body: &'static str| get(move || async move { ([(CONTENT_TYPE, kind)], body) });
    Router::new()
        .route("/", asset("text/html; charset=utf-8", include_str!("page.html")))
        .route("/page.css", asset("text/css; charset=utf-8", include_str!("page.css")))
        .route("/page.js", asset("text/javascript; charset=utf-8", include_str!("page.js")))
        .route("/icon.svg", asset("image/svg+xml", include_str!("icon.svg")))
        .route("/metrics", get(metrics))
        .route("/healthz", get(health))
        .route("/status", get(status))
        .route("/keyframe/{file}", get(keyframe))
        .route("/events", get(events))
        .fallback(async || not_found())
        .layer(from_fn_with_state(state.clone(), guard))
        .with_state(state)
}

/// Lets requests through that are allowed, counts them, and adds the headers of every response.
async fn guard(
    State(state): State<Arc<ServerState>>,
    Extension(peer): Extension<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let (parts, body) = request.into_parts();
    let mut response = match admit(&state.access, &parts, peer.address) {
        Ok(cookie) => {
            let mut response = next.run(Request::from_parts(parts, body)).await;
            if let Some(cookie) = cookie {
                response.headers_mut().insert(SET_COOKIE, cookie);
            }
            response
        }
        Err(refusal) => *refusal,
    };
    let failed = response.status().is_client_error() || response.status().is_server_error();
    let counters = &state.metrics.http;
    if failed { &counters.refused } else { &counters.requests }.inc();
    add_headers(response.headers_mut());
    response
}

fn admit(access: &PagePolicy, request: &Parts, peer: SocketAddr) -> Result<Option<HeaderValue>, Box<Response>> {
    if !matches!(request.method, Method::GET | Method::HEAD) {
        return Err(Box::new(method_not_allowed()));
    }
    // A path, and not a whole address as for a proxy.
    let is_path = request.uri.authority().is_none() && request.uri.path().starts_with('/');
    if !is_path || request.headers.get_all(HOST).iter().count() > 1 {
        return Err(Box::new(bad_request()));
    }
    access.check(request, peer, Instant::now())
}

async fn metrics(State(state): State<Arc<ServerState>>) -> Response {
    ([(CONTENT_TYPE, prometheus_text::CONTENT_TYPE)], state.metrics.prometheus()).into_response()
}

async fn health(State(state): State<Arc<ServerState>>) -> Response {
    let status = if state.metrics.healthy() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json(status, &state.metrics.health())
}

async fn status(State(state): State<Arc<ServerState>>) -> Response {
    json(StatusCode::OK, &state.metrics.status())
}

/// `/keyframe/N.jpg`: the picture of the last caption of stream N.
async fn keyframe(State(state): State<Arc<ServerState>>, uri: Uri) -> Response {
    let index = uri.path().strip_prefix("/keyframe/").and_then(|p| p.strip_suffix(".jpg"));
    let index = index.and_then(|i| i.parse::<usize>().ok());
    match index.and_then(|i| lock(&state.board).picture(i)) {
        Some(jpeg) => ([(CONTENT_TYPE, "image/jpeg")], jpeg.to_vec()).into_response(),
        None => not_found(),
    }
}

/// Server-sent events: a snapshot first, then everything as it happens.
async fn events(State(state): State<Arc<ServerState>>, Extension(peer): Extension<Peer>, method: Method) -> Response {
    if method == Method::HEAD {
        // The headers alone, without a place among the readers.
        return ([(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-cache")], ()).into_response();
    }
    let client = EventClient::new(peer.number, peer.address.ip().into(), peer.abort);
    let subscribed = lock(&state.board).subscribe(client, &state.metrics);
    let Some((messages, snapshot)) = subscribed else {
        let text = text(StatusCode::SERVICE_UNAVAILABLE, "Too many clients read events already.");
        return ([(RETRY_AFTER, "10")], text).into_response();
    };
    peer.timer.limit_stall(STALL_TIME);
    let subscription = Subscription::new(state, peer.number, peer.timer);
    let first = [sse::Event::default().retry(RECONNECT), (*snapshot).clone()];
    let stream = stream::iter(first).chain(subscription.stream(messages));
    Sse::new(stream.map(Ok::<_, Infallible>)).into_response()
}

/// Counts a client, and removes it when its connection ends.
struct Subscription {
    state: Arc<ServerState>,
    number: u64,
    timer: Arc<WriteTimer>,
}

impl Subscription {
    fn new(state: Arc<ServerState>, number: u64, timer: Arc<WriteTimer>) -> Subscription {
        state.metrics.http.clients.inc();
        Subscription { state, number, timer }
    }

    /// The messages, until the server closes.
    fn stream(self, messages: Receiver<EventMessage>) -> impl Stream<Item = sse::Event> {
        stream::unfold((self, messages), async |(subscription, mut messages)| {
            let event = match tokio::time::timeout(KEEP_ALIVE, messages.recv()).await {
                Ok(message) => (*message?).clone(),
                Err(_) => sse::Event::default().comment("still here"),
            };
            Some((event, (subscription, messages)))
        })
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let counters = &self.state.metrics.http;
        counters.clients.dec();
        // A client whose queue was full is gone from the board, and counted.
        if lock(&self.state.board).unsubscribe(self.number) && self.timer.has_expired() {
            counters.dropped.inc();
        }
    }
}
