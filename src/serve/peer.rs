//! The connection that a request came on.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::AbortHandle;

use super::streams::{StreamPlace, StreamPlaces};
use super::timed::ConnectionTimer;

/// The connection that a request came on.
#[derive(Clone)]
pub struct Peer {
    pub(super) number: u64,
    pub(super) address: SocketAddr,
    pub(super) abort: AbortHandle,
    pub(super) timer: Arc<ConnectionTimer>,
    pub(super) streams: Arc<StreamPlaces>,
    pub(super) stall_time: Duration,
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

    /// A place for an answer that lasts, and its limit; none where there is no room.
    pub(super) fn begin_stream(&self) -> Option<StreamPlace> {
        let place = self.streams.take(self.address.ip().into(), self.abort.clone())?;
        self.limit_stall(self.stall_time);
        Some(place)
    }

    /// Runs what produces a body in a thread.
    ///
    /// # Errors
    /// When there are too many threads.
    pub(super) fn spawn(&self, produce: impl FnOnce() + Send + 'static) -> io::Result<()> {
        self.streams.spawn(produce)
    }
}
