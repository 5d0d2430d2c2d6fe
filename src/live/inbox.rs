//! Keyframes of all streams that wait to be described.
//!
//! Order: a batch takes one keyframe of each stream in turn, the oldest first, so that a busy stream cannot hold up a quiet
//! one. No batch has two keyframes of one stream, because the first one decides whether the second shows anything new.
//!
//! Memory: at most [`DEPTH`] keyframes a stream. Where a stream's queue is full, its oldest keyframe is dropped and counted;
//! adding one never blocks.

use std::collections::VecDeque;
use std::sync::PoisonError;
use std::time::Instant;

use super::sync::{Condvar, Mutex, MutexGuard};
use crate::pipeline::batch::BatchRule;

/// Most keyframes of one stream that wait. More would only be older when their turn comes.
pub(super) const DEPTH: usize = 3;

struct InboxState<T> {
    /// A queue for each stream: when a keyframe came, and the keyframe.
    queues: Vec<VecDeque<(Instant, T)>>,
    /// The stream whose turn is next.
    next: usize,
    closed: bool,
}

/// The queues, shared by the streams' threads and the describer.
pub(super) struct Inbox<T> {
    state: Mutex<InboxState<T>>,
    filled: Condvar,
}

impl<T> Inbox<T> {
    pub(super) fn new(streams: usize) -> Inbox<T> {
        let queues = (0..streams).map(|_| VecDeque::new()).collect();
        Inbox { state: Mutex::new(InboxState { queues, next: 0, closed: false }), filled: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, InboxState<T>> {
        // Also after a thread panicked while it held the lock: every update leaves the queues consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a keyframe to its stream's queue. Returns the one that is dropped for it, or this one after closing.
    pub(super) fn push(&self, stream: usize, keyframe: T) -> Option<T> {
        let mut all = self.lock();
        if all.closed {
            return Some(keyframe);
        }
        let Some(queue) = all.queues.get_mut(stream) else { return Some(keyframe) };
        let oldest = if queue.len() >= DEPTH { queue.pop_front() } else { None };
        queue.push_back((Instant::now(), keyframe));
        drop(all);
        self.filled.notify_one();
        oldest.map(|(_, keyframe)| keyframe)
    }

    /// Keyframes of a stream that wait.
    pub(super) fn depth(&self, stream: usize) -> usize {
        self.lock().queues.get(stream).map_or(0, VecDeque::len)
    }

    /// The next batch, at most `rule.size` keyframes with their streams. `rule` decides when it is due; one of each stream makes it
    /// full too. `None` once the inbox is closed and empty.
    pub(super) fn take(&self, rule: BatchRule) -> Option<Vec<(usize, T)>> {
        let mut all = self.lock();
        let rule = BatchRule { size: rule.size.min(all.queues.len()), ..rule };
        loop {
            let fronts = || all.queues.iter().filter_map(|queue| queue.front());
            let Some(oldest) = fronts().map(|(since, _)| *since).min() else {
                if all.closed {
                    return None;
                }
                all = self.filled.wait(all).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            match rule.wait(fronts().count(), oldest, Instant::now()) {
                Some(left) if !all.closed => {
                    all = self.filled.wait_timeout(all, left).unwrap_or_else(PoisonError::into_inner).0;
                }
                _ => return Some(all.batch(rule.size.max(1))),
            }
        }
    }

    /// Accepts no further keyframe; the waiting ones can still be taken.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
    }

    /// Closes, and returns the keyframes that will not be described.
    pub(super) fn abandon(&self) -> Vec<(usize, T)> {
        let mut all = self.lock();
        all.closed = true;
        let left = all.queues.iter_mut().enumerate();
        let left = left.flat_map(|(stream, queue)| queue.drain(..).map(move |(_, k)| (stream, k))).collect();
        drop(all);
        self.filled.notify_all();
        left
    }
}

impl<T> InboxState<T> {
    fn batch(&mut self, most: usize) -> Vec<(usize, T)> {
        let streams = self.queues.len();
        let mut out = Vec::new();
        for k in 0..streams {
            if out.len() >= most {
                break;
            }
            let stream = (self.next + k) % streams;
            if let Some((_, keyframe)) = self.queues[stream].pop_front() {
                out.push((stream, keyframe));
            }
        }
        if let Some((last, _)) = out.last() {
            self.next = (last + 1) % streams;
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    fn rule(size: usize, linger: Duration) -> BatchRule {
        BatchRule { size, linger }
    }

    #[test]
    fn a_full_queue_drops_its_oldest() {
        let inbox = Inbox::new(2);
        let left: Vec<Option<u32>> = (0..5).map(|n| inbox.push(0, n)).collect();
        assert_eq!(left, [None, None, None, Some(0), Some(1)]);
        assert_eq!(inbox.push(1, 9), None);
        assert_eq!((inbox.depth(0), inbox.depth(1)), (DEPTH, 1));
        assert_eq!(inbox.push(7, 1), Some(1));
    }

    #[test]
    fn batches_are_fair() {
        let inbox = Inbox::new(4);
        for n in 0..3 {
            inbox.push(0, n);
        }
        for stream in 1..4 {
            inbox.push(stream, 10 * stream as u32);
        }
        let batch = |most| inbox.take(rule(most, Duration::ZERO)).unwrap();
        assert_eq!(batch(3), [(0, 0), (1, 10), (2, 20)]);
        // The one that was left out comes first; no stream twice in a batch.
        assert_eq!(batch(3), [(3, 30), (0, 1)]);
        assert_eq!(batch(3), [(0, 2)]);
    }

    #[test]
    fn a_batch_waits_for_others_but_not_for_long() {
        let inbox = Arc::new(Inbox::new(2));
        inbox.push(0, 'a');
        let other = inbox.clone();
        let later = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(30));
            other.push(1, 'b');
        });
        assert_eq!(inbox.take(rule(4, Duration::from_secs(20))).unwrap().len(), 2);
        later.join().unwrap();
        inbox.push(1, 'c');
        assert_eq!(inbox.take(rule(4, Duration::from_millis(20))).unwrap(), [(1, 'c')]);
        // Of one stream alone there is nothing to wait for.
        let alone = Inbox::new(1);
        alone.push(0, ());
        assert_eq!(alone.take(rule(4, Duration::from_secs(60))).unwrap().len(), 1);
    }

    #[test]
    fn what_is_left_is_taken_after_closing() {
        let inbox = Inbox::new(1);
        inbox.push(0, 1);
        inbox.push(0, 2);
        inbox.close();
        assert_eq!(inbox.push(0, 3), Some(3));
        assert_eq!(inbox.take(rule(4, Duration::from_secs(60))).unwrap(), [(0, 1)]);
        assert_eq!(inbox.abandon(), [(0, 2)]);
        assert_eq!(inbox.take(rule(4, Duration::from_secs(60))), None);
    }
}

/// `shuttle` decides which thread continues at each lock and each wait, and notices when none can. Time does not pass.
#[cfg(all(test, feature = "interleavings"))]
mod interleavings {
    use std::sync::Arc;
    use std::time::Duration;

    use shuttle::thread;

    use super::*;

    const STREAMS: usize = 2;
    const EACH: u32 = 4;

    /// Pushes keyframes of a stream. Returns those that were dropped or refused.
    fn pusher(inbox: &Arc<Inbox<u32>>, stream: usize) -> thread::JoinHandle<Vec<u32>> {
        let inbox = inbox.clone();
        thread::spawn(move || (0..EACH).filter_map(|n| inbox.push(stream, n)).collect())
    }

    /// Takes batches until the inbox is closed. Returns the keyframes of each stream.
    fn taker(inbox: &Arc<Inbox<u32>>, linger: Duration) -> thread::JoinHandle<[Vec<u32>; STREAMS]> {
        let inbox = inbox.clone();
        thread::spawn(move || {
            let mut taken = [Vec::new(), Vec::new()];
            while let Some(batch) = inbox.take(BatchRule { size: STREAMS, linger }) {
                assert!(!batch.is_empty() && batch.len() <= STREAMS);
                assert!(batch.len() < 2 || batch[0].0 != batch[1].0, "a batch has a stream twice");
                batch.into_iter().for_each(|(stream, keyframe)| taken[stream].push(keyframe));
            }
            taken
        })
    }

    fn each_once(mut all: Vec<u32>) {
        all.sort_unstable();
        assert_eq!(all, (0..EACH).collect::<Vec<_>>());
    }

    /// With a wait that never ends by itself, a batch is due when both streams have one, or the inbox closes.
    fn nothing_is_lost(linger: Duration) {
        let inbox = Arc::new(Inbox::new(STREAMS));
        let taker = taker(&inbox, linger);
        let pushers = [0, 1].map(|stream| pusher(&inbox, stream));
        let dropped = pushers.map(|p| p.join().unwrap());
        inbox.close();
        let taken = taker.join().unwrap();
        for (taken, dropped) in taken.into_iter().zip(dropped) {
            assert!(taken.is_sorted());
            each_once([taken, dropped].concat());
        }
    }

    #[test]
    fn every_keyframe_is_taken_or_dropped_once() {
        shuttle::check_random(|| nothing_is_lost(Duration::ZERO), 3_000);
        shuttle::check_random(|| nothing_is_lost(Duration::MAX), 3_000);
        shuttle::check_pct(|| nothing_is_lost(Duration::MAX), 3_000, 3);
    }

    /// Nothing but the keyframes themselves wakes the taker up. None is dropped, because there is room for all.
    fn pushes_wake_up(linger: Duration) {
        let inbox = Arc::new(Inbox::new(STREAMS));
        let (done, batches) = shuttle::sync::mpsc::channel();
        let from = inbox.clone();
        let taker = thread::spawn(move || {
            while let Some(batch) = from.take(BatchRule { size: STREAMS, linger }) {
                done.send(batch.len()).unwrap();
            }
        });
        let pushers = [0, 1].map(|stream| {
            let inbox = inbox.clone();
            thread::spawn(move || (0..DEPTH).for_each(|n| assert_eq!(inbox.push(stream, n), None)))
        });
        let mut taken = 0;
        while taken < STREAMS * DEPTH {
            taken += batches.recv().unwrap();
        }
        inbox.close();
        taker.join().unwrap();
        pushers.into_iter().for_each(|p| p.join().unwrap());
    }

    #[test]
    fn no_wake_up_is_missed() {
        for linger in [Duration::ZERO, Duration::MAX] {
            shuttle::check_random(move || pushes_wake_up(linger), 3_000);
            shuttle::check_pct(move || pushes_wake_up(linger), 3_000, 3);
        }
    }

    /// While batches are taken and keyframes come, the run is given up.
    fn abandoned() {
        let inbox = Arc::new(Inbox::new(STREAMS));
        let taker = taker(&inbox, Duration::ZERO);
        let pushers = [0, 1].map(|stream| pusher(&inbox, stream));
        let left = inbox.abandon();
        let taken = taker.join().unwrap();
        for (stream, (taken, pusher)) in taken.into_iter().zip(pushers).enumerate() {
            let left = left.iter().filter(|(of, _)| *of == stream).map(|(_, keyframe)| *keyframe);
            each_once(taken.into_iter().chain(left).chain(pusher.join().unwrap()).collect());
        }
        assert!(inbox.abandon().is_empty());
    }

    #[test]
    fn a_run_that_is_given_up_accounts_for_every_keyframe() {
        shuttle::check_random(abandoned, 3_000);
        shuttle::check_pct(abandoned, 3_000, 3);
    }
}
