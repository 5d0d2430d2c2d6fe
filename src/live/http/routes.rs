//! The pages: what each path answers, and the event stream.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{Method, StatusCode, Uri};
use axum::response::sse::{self, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use futures_util::stream::{self, Stream, StreamExt};
use prometheus_client::encoding::prometheus_text;
use tokio::sync::mpsc::Receiver;

use super::super::metrics::Metrics;
use super::board::{Board, EventClient, EventMessage};
use crate::lock::lock;
use crate::look::{ICON, STYLE};
use crate::serve::Peer;
use crate::serve::response::{asset, json, not_found, text};

/// A client that takes nothing for this long is dropped.
const STALL_TIME: Duration = Duration::from_secs(5);
/// Proxies and browsers give up connections that are silent for longer.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long a browser waits before it reconnects.
const RECONNECT: Duration = Duration::from_secs(2);

/// What all requests share.
pub(super) struct PageState {
    pub(super) metrics: Arc<Metrics>,
    pub(super) board: Mutex<Board>,
}

pub(super) fn router(state: Arc<PageState>) -> Router {
    Router::new()
        .route("/", asset("text/html; charset=utf-8", include_str!("page.html")))
        .route("/look.css", asset("text/css; charset=utf-8", STYLE))
        .route("/page.css", asset("text/css; charset=utf-8", include_str!("page.css")))
        .route("/page.js", asset("text/javascript; charset=utf-8", include_str!("page.js")))
        .route("/icon.svg", asset("image/svg+xml", ICON))
        .route("/metrics", get(metrics))
        .route("/healthz", get(health))
        .route("/status", get(status))
        .route("/keyframe/{file}", get(keyframe))
        .route("/events", get(events))
        .fallback(async || not_found())
        .with_state(state)
}

async fn metrics(State(state): State<Arc<PageState>>) -> Response {
    ([(CONTENT_TYPE, prometheus_text::CONTENT_TYPE)], state.metrics.prometheus()).into_response()
}

async fn health(State(state): State<Arc<PageState>>) -> Response {
    let status = if state.metrics.healthy() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json(status, &state.metrics.health())
}

async fn status(State(state): State<Arc<PageState>>) -> Response {
    json(StatusCode::OK, &state.metrics.status())
}

/// `/keyframe/N.jpg`: the picture of the last caption of stream N.
async fn keyframe(State(state): State<Arc<PageState>>, uri: Uri) -> Response {
    let index = uri.path().strip_prefix("/keyframe/").and_then(|p| p.strip_suffix(".jpg"));
    let index = index.and_then(|i| i.parse::<usize>().ok());
    match index.and_then(|i| lock(&state.board).picture(i)) {
        Some(jpeg) => ([(CONTENT_TYPE, "image/jpeg")], jpeg.to_vec()).into_response(),
        None => not_found(),
    }
}

/// Server-sent events: a snapshot first, then everything as it happens.
async fn events(State(state): State<Arc<PageState>>, Extension(peer): Extension<Peer>, method: Method) -> Response {
    if method == Method::HEAD {
        // The headers alone, without a place among the readers.
        return ([(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-cache")], ()).into_response();
    }
    let client = EventClient::new(peer.number(), peer.address().ip().into(), peer.abort_handle());
    let subscribed = lock(&state.board).subscribe(client, &state.metrics);
    let Some((messages, snapshot)) = subscribed else {
        let text = text(StatusCode::SERVICE_UNAVAILABLE, "Too many clients read events already.");
        return ([(RETRY_AFTER, "10")], text).into_response();
    };
    peer.limit_stall(STALL_TIME);
    let subscription = Subscription::new(state, peer);
    let first = [sse::Event::default().retry(RECONNECT), (*snapshot).clone()];
    let stream = stream::iter(first).chain(subscription.stream(messages));
    Sse::new(stream.map(Ok::<_, Infallible>)).into_response()
}

/// Counts a client, and removes it when its connection ends.
struct Subscription {
    state: Arc<PageState>,
    peer: Peer,
}

impl Subscription {
    fn new(state: Arc<PageState>, peer: Peer) -> Subscription {
        state.metrics.http.clients.inc();
        Subscription { state, peer }
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
        if lock(&self.state.board).unsubscribe(self.peer.number()) && self.peer.has_stalled() {
            counters.dropped.inc();
        }
    }
}
