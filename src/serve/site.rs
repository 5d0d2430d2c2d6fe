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
}

/// What connections and requests may take.
#[derive(Debug, Clone)]
pub struct ServeLimits {
    /// Open connections. Default: 64.
    pub connections: usize,
    /// How long a request's head may take. Default: 5 s.
    pub head_time: Duration,
    /// How long a client may take to read its answer. Default: 10 s.
    pub answer_time: Duration,
}

impl Default for ServeLimits {
    fn default() -> ServeLimits {
        ServeLimits { connections: 64, head_time: Duration::from_secs(5), answer_time: Duration::from_secs(10) }
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
