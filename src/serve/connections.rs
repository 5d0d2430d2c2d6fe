//! The open connections of a server: how many there may be, and which gives way.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::AbortHandle;

use super::client_address::{ClientAddress, heaviest};
use super::site::ServeCounters;
use crate::lock::lock;

struct OpenConnection {
    number: u64,
    address: ClientAddress,
    /// No head has arrived, or none since the last answer.
    is_waiting: bool,
    abort: AbortHandle,
}

/// The open connections.
pub(super) struct Connections {
    most: usize,
    open: Mutex<Vec<OpenConnection>>,
    next: AtomicU64,
}

impl Connections {
    /// `most`: how many there may be.
    pub(super) fn new(most: usize) -> Connections {
        Connections { most, open: Mutex::default(), next: AtomicU64::default() }
    }

    /// Adds a connection. Where there is no room, another one gives way, or this one is refused.
    pub(super) fn add(&self, address: ClientAddress, abort: AbortHandle, counters: &dyn ServeCounters) -> Option<u64> {
        let mut open = lock(&self.open);
        if open.len() >= self.most {
            counters.count_refusal();
            let dispensable = dispensable(&open, address)?;
            open.remove(dispensable).abort.abort();
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        open.push(OpenConnection { number, address, is_waiting: true, abort });
        Some(number)
    }

    /// The head has arrived: the connection keeps its place.
    pub(super) fn keep(&self, number: u64) {
        if let Some(c) = lock(&self.open).iter_mut().find(|c| c.number == number) {
            c.is_waiting = false;
        }
    }

    /// An answer was sent: the connection waits for the head of another request.
    pub(super) fn wait(&self, number: u64) {
        if let Some(c) = lock(&self.open).iter_mut().find(|c| c.number == number) {
            c.is_waiting = true;
        }
    }

    pub(super) fn remove(&self, number: u64) {
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
        let connections = Connections::new(64);
        let add = |from| connections.add(address(from), AbortHandle::new_pair().0, &());
        for _ in 0..64 {
            let number = add(1).unwrap();
            connections.keep(number);
        }
        assert_eq!(add(1), None);
        for other in 2..34 {
            connections.keep(add(other).unwrap());
        }
        let open = lock(&connections.open);
        assert_eq!((open.len(), open.iter().filter(|c| c.address == address(1)).count()), (64, 32));
    }
}
