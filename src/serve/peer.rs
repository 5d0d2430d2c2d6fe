//! The connection that a request came on.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::AbortHandle;

use super::timed::WriteTimer;

/// The connection that a request came on.
#[derive(Clone)]
pub struct Peer {
    pub(super) number: u64,
    pub(super) address: SocketAddr,
    pub(super) abort: AbortHandle,
    pub(super) timer: Arc<WriteTimer>,
}

impl Peer {
    /// The connection's number: no other connection of the server has it.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Where the connection comes from.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes the connection, whenever it is called.
    pub(crate) fn abort_handle(&self) -> AbortHandle {
        self.abort.clone()
    }

    /// Lets the answer take any time, as long as each write makes progress within `time`.
    pub fn limit_stall(&self, time: Duration) {
        self.timer.limit_stall(time);
    }

    /// Whether the client did not take its answer in time.
    pub fn has_stalled(&self) -> bool {
        self.timer.has_expired()
    }
}
