//! What a server serves, and within which limits.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;

/// What a server serves. Handlers find the connection as an `Extension<Peer>`.
pub struct Site {
    /// Answers requests that may be answered: the server checks them before, and adds the headers of every response.
    pub router: Router,
    /// Counts requests.
    pub counters: Arc<dyn ServeCounters>,
    /// What connections and requests may take.
    pub limits: ServeLimits,
    /// What the site's pages may load.
    pub content: ContentPolicy,
}

/// What pages may load: nothing inline, nothing from elsewhere, no markup from text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentPolicy {
    /// Scripts, styles, pictures and data of the site.
    Page,
    /// Films and sound too, and pictures, films and sound that a script has made.
    Player,
}

/// What connections and requests may take.
#[derive(Debug, Clone)]
pub struct ServeLimits {
    /// Open connections. Default: 64.
    pub connections: usize,
    /// How long a request's head may take. Default: 5 s.
    pub head_time: Duration,
    /// How long a client may take to read its answer, unless that is a stream. Default: 10 s.
    pub answer_time: Duration,
    /// Keeps connections for further requests, and closes those on which none begins for so long. Default: none; a
    /// connection carries one request.
    pub idle_time: Option<Duration>,
    /// Answers POST, PUT and DELETE too, with bodies of JSON. Default: none; GET and HEAD alone.
    pub bodies: Option<BodyLimits>,
    /// Files and produced bodies that are sent at the same time. Default: 16.
    pub streams: usize,
    /// How long a client may take nothing of a file or a produced body: a film that is paused. Default: 10 minutes.
    pub stall_time: Duration,
}

/// What the body of a request may take.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimits {
    /// In bytes. It is in memory as a whole, on each connection.
    pub bytes: usize,
    /// From the end of the head on.
    pub time: Duration,
}

impl Default for ServeLimits {
    fn default() -> ServeLimits {
        ServeLimits {
            connections: 64,
            head_time: Duration::from_secs(5),
            answer_time: Duration::from_secs(10),
            idle_time: None,
            bodies: None,
            streams: 16,
            stall_time: Duration::from_secs(600),
        }
    }
}

/// Counts what a server does.
pub trait ServeCounters: Send + Sync {
    /// A request was answered.
    fn count_answer(&self);
    /// A request was refused or failed, or a connection found no place.
    fn count_refusal(&self);
}

/// Counts nothing.
impl ServeCounters for () {
    fn count_answer(&self) {}

    fn count_refusal(&self) {}
}
