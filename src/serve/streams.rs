//! Places for answers that last: files, and bodies that a thread produces. A client may take nothing of one for minutes, so
//! their number is bounded, and one gives way where there is no room. A browser whose film was cut off asks for the rest.
//!
//! Also the threads that produce bodies. They end soon after their client is gone, and are joined when the server ends.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{Builder, JoinHandle};

use futures_util::future::AbortHandle;

use super::client_address::{ClientAddress, heaviest};
use crate::lock::lock;

struct HeldPlace {
    number: u64,
    address: ClientAddress,
    /// Closes the connection.
    abort: AbortHandle,
}

pub(super) struct StreamPlaces {
    most: usize,
    /// The oldest first.
    held: Mutex<Vec<HeldPlace>>,
    next: AtomicU64,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// A place, until it is dropped.
pub(super) struct StreamPlace {
    places: Arc<StreamPlaces>,
    number: u64,
}

impl StreamPlaces {
    /// `most`: how many there are.
    pub(super) fn new(most: usize) -> StreamPlaces {
        StreamPlaces { most, held: Mutex::default(), next: AtomicU64::default(), threads: Mutex::default() }
    }

    /// Takes a place. Where there is none, the oldest stream of the address that has the most gives way, or the oldest of
    /// this address; none where it has none, and no address has more than one.
    pub(super) fn take(self: &Arc<Self>, address: ClientAddress, abort: AbortHandle) -> Option<StreamPlace> {
        let mut held = lock(&self.held);
        if held.len() >= self.most {
            let addresses: Vec<ClientAddress> = held.iter().map(|h| h.address).collect();
            let gives = heaviest(&addresses, address).filter(|h| h.surplus > 1).map_or(address, |h| h.address);
            let at = addresses.iter().position(|a| *a == gives)?;
            held.remove(at).abort.abort();
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        held.push(HeldPlace { number, address, abort });
        Some(StreamPlace { places: self.clone(), number })
    }

    /// Runs what produces a body in a thread.
    ///
    /// # Errors
    /// When there are too many threads: those of clients that are gone may not have ended yet.
    pub(super) fn spawn(&self, produce: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let mut threads = lock(&self.threads);
        threads.retain(|thread| !thread.is_finished());
        if threads.len() >= 2 * self.most {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        threads.push(Builder::new().name("produce".into()).spawn(produce)?);
        Ok(())
    }

    /// Waits for the threads. Their clients must be gone.
    pub(super) fn join(&self) {
        let threads = std::mem::take(&mut *lock(&self.threads));
        for thread in threads {
            let _ = thread.join();
        }
    }
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        lock(&self.places.held).retain(|h| h.number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn the_oldest_stream_gives_way_to_its_own_address_or_to_one_with_fewer() {
        let places = Arc::new(StreamPlaces::new(3));
        let take = |n: u8| {
            let abort = AbortHandle::new_pair().0;
            (places.take(IpAddr::from([10, 0, 0, n]).into(), abort.clone()), abort)
        };
        let (first, a) = take(1);
        let (second, b) = take(1);
        let (third, c) = take(1);
        assert!(first.is_some() && second.is_some() && third.is_some() && !a.is_aborted());
        // Of its own, the oldest.
        let (fourth, d) = take(1);
        assert!(fourth.is_some() && a.is_aborted() && !b.is_aborted());
        // To another address.
        let (other, _e) = take(2);
        assert!(other.is_some() && b.is_aborted() && !c.is_aborted());
        // No address has two more than this one.
        let (another, _f) = take(3);
        assert!(another.is_some() && c.is_aborted() && !d.is_aborted());
        assert!(take(4).0.is_none());
        // A place that is left is free. The place of one that gave way is nobody's.
        drop((first, second, third));
        assert!(take(4).0.is_none());
        drop(other);
        assert!(take(4).0.is_some());
    }
}
