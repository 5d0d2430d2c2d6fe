//! Shares that are handed out in the order of the requests, so that a large request is never starved by small ones.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Shares that are handed out in the order of the requests. A holder may ask for more: that comes before new requests.
#[derive(Debug)]
pub struct Shares {
    all: usize,
    state: Mutex<ShareState>,
    changed: Condvar,
}

#[derive(Debug)]
struct ShareState {
    free: usize,
    /// Numbers of the next request and of the one whose turn it is.
    next: u64,
    serving: u64,
    /// Those who hold some.
    holders: usize,
    /// Those of them who wait for more.
    growing: usize,
    /// Nobody waits for a turn any more.
    closed: bool,
}

/// Shares that are in use; returned when dropped.
#[derive(Debug)]
pub struct Held<'a> {
    of: &'a Shares,
    n: usize,
}

impl Shares {
    /// `all` shares, at least one.
    pub fn new(all: usize) -> Shares {
        let all = all.max(1);
        let state = ShareState { free: all, next: 0, serving: 0, holders: 0, growing: 0, closed: false };
        Shares { all, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// How many there are.
    pub fn all(&self) -> usize {
        self.all
    }

    /// Waits for `n` of them; a request for more than there are gets all.
    pub fn take(&self, n: usize) -> Held<'_> {
        Held { of: self, n: self.acquire(n) }
    }

    /// Waits for `n` of them and for those who have the turns before. Every turn from 0 on must be taken; the shares serve
    /// turns alone. `None` after [`Shares::close`].
    pub(super) fn take_turn(&self, turn: u64, n: usize) -> Option<Held<'_>> {
        let n = n.min(self.all);
        let mut state = self.lock();
        while !state.closed && (state.serving != turn || state.free < n) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.closed {
            return None;
        }
        state.free -= n;
        state.serving += 1;
        state.holders += usize::from(n > 0);
        drop(state);
        self.changed.notify_all();
        Some(Held { of: self, n })
    }

    /// Ends all waits for a turn: the next ones will not be taken.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// As [`Shares::take`], for those who return them by [`Shares::release`]. Returns how many it took.
    pub(super) fn acquire(&self, n: usize) -> usize {
        let n = n.min(self.all);
        let mut state = self.lock();
        let turn = state.next;
        state.next += 1;
        while state.serving != turn || state.free < n || state.growing > 0 {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.free -= n;
        state.serving += 1;
        state.holders += usize::from(n > 0);
        drop(state);
        self.changed.notify_all();
        n
    }

    /// Returns all that one holder has; nothing if that is nothing.
    pub(super) fn release(&self, n: usize) {
        let mut state = self.lock();
        state.free += n;
        state.holders -= usize::from(n > 0);
        drop(state);
        self.changed.notify_all();
    }

    /// Takes `n` more for a holder, if they are free.
    pub(super) fn try_grow(&self, n: usize) -> bool {
        let mut state = self.lock();
        let enough = state.free >= n;
        state.free -= if enough { n } else { 0 };
        enough
    }

    /// Waits for `n` more for a holder. False, if all holders would then wait: nobody would ever return any.
    pub(super) fn grow(&self, n: usize) -> bool {
        let mut state = self.lock();
        state.growing += 1;
        while state.free < n && state.growing < state.holders {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let enough = state.free >= n;
        state.free -= if enough { n } else { 0 };
        state.growing -= 1;
        drop(state);
        self.changed.notify_all();
        enough
    }

    fn lock(&self) -> MutexGuard<'_, ShareState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.of.release(self.n);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    #[test]
    fn shares_are_never_more_than_there_are_and_who_asks_for_much_gets_its_turn() {
        let shares = Shares::new(3);
        let (held, most, large) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for n in [1, 1, 2, 3, 9] {
                let (shares, held, most, large) = (&shares, &held, &most, &large);
                scope.spawn(move || {
                    for _ in 0..300 {
                        let some = shares.take(n);
                        let now = held.fetch_add(some.n, Ordering::SeqCst) + some.n;
                        most.fetch_max(now, Ordering::SeqCst);
                        large.fetch_add(usize::from(n > 2), Ordering::SeqCst);
                        held.fetch_sub(some.n, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!((most.into_inner(), large.into_inner()), (3, 600));
    }
}
