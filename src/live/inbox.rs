//! Keyframes of all streams that wait to be described.
//!
//! A line a stream, [`DEPTH`] long at most: where it is full, the oldest leaves undescribed and is counted. Batches take
//! one of each stream in turn, the oldest first, so that a busy stream cannot keep a quiet one waiting, and no batch holds
//! two of one stream, whose second is judged by what the first was. Nobody who fills a line ever waits.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Most keyframes of one stream that wait. More would only be older when their turn comes.
pub const DEPTH: usize = 3;

struct Lines<T> {
    lines: Vec<VecDeque<(Instant, T)>>,
    /// Whose turn is next.
    next: usize,
    closed: bool,
}

/// The lines; shared by the streams and whoever describes.
pub struct Inbox<T> {
    lines: Mutex<Lines<T>>,
    filled: Condvar,
}

impl<T> Inbox<T> {
    pub fn new(streams: usize) -> Inbox<T> {
        let lines = (0..streams).map(|_| VecDeque::new()).collect();
        Inbox { lines: Mutex::new(Lines { lines, next: 0, closed: false }), filled: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Lines<T>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a keyframe into its stream's line; gives back the one that had to leave, or this one where all is closed.
    pub fn push(&self, stream: usize, keyframe: T) -> Option<T> {
        let mut all = self.lock();
        if all.closed {
            return Some(keyframe);
        }
        let Some(line) = all.lines.get_mut(stream) else { return Some(keyframe) };
        let oldest = if line.len() >= DEPTH { line.pop_front() } else { None };
        line.push_back((Instant::now(), keyframe));
        drop(all);
        self.filled.notify_one();
        oldest.map(|(_, keyframe)| keyframe)
    }

    pub fn depth(&self, stream: usize) -> usize {
        self.lock().lines.get(stream).map_or(0, VecDeque::len)
    }

    /// The next batch, at most `most`. Waits for the first, and then for others until there is one of each stream or the
    /// oldest has waited for `linger`. `None`: closed, and nothing is left.
    pub fn take(&self, most: usize, linger: Duration) -> Option<Vec<(usize, T)>> {
        let mut all = self.lock();
        loop {
            let waiting = all.lines.iter().filter(|line| !line.is_empty()).count();
            let oldest = all.lines.iter().filter_map(|line| line.front()).map(|(since, _)| *since).min();
            let Some(oldest) = oldest else {
                if all.closed {
                    return None;
                }
                all = self.filled.wait(all).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let waited = oldest.elapsed();
            if all.closed || waiting >= most.max(1) || waiting >= all.lines.len() || waited >= linger {
                return Some(all.batch(most.max(1)));
            }
            all = self.filled.wait_timeout(all, linger - waited).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Nothing more is put in; what is there may still be taken.
    pub fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
    }

    /// Closes, and gives what nobody will describe.
    pub fn abandon(&self) -> Vec<(usize, T)> {
        let mut all = self.lock();
        all.closed = true;
        let left = all.lines.iter_mut().enumerate();
        let left = left.flat_map(|(stream, line)| line.drain(..).map(move |(_, k)| (stream, k))).collect();
        drop(all);
        self.filled.notify_all();
        left
    }
}

impl<T> Lines<T> {
    fn batch(&mut self, most: usize) -> Vec<(usize, T)> {
        let streams = self.lines.len();
        let mut out = Vec::new();
        for k in 0..streams {
            if out.len() >= most {
                break;
            }
            let stream = (self.next + k) % streams;
            if let Some((_, keyframe)) = self.lines[stream].pop_front() {
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
    use super::*;
    use std::sync::Arc;

    #[test]
    fn the_oldest_leaves_a_full_line() {
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
        let batch = |most| inbox.take(most, Duration::ZERO).unwrap();
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
        assert_eq!(inbox.take(4, Duration::from_secs(20)).unwrap().len(), 2);
        later.join().unwrap();
        inbox.push(1, 'c');
        assert_eq!(inbox.take(4, Duration::from_millis(20)).unwrap(), [(1, 'c')]);
        // Of one stream alone there is nothing to wait for.
        let alone = Inbox::new(1);
        alone.push(0, ());
        assert_eq!(alone.take(4, Duration::from_secs(60)).unwrap().len(), 1);
    }

    #[test]
    fn what_is_left_is_taken_after_closing() {
        let inbox = Inbox::new(1);
        inbox.push(0, 1);
        inbox.push(0, 2);
        inbox.close();
        assert_eq!(inbox.push(0, 3), Some(3));
        assert_eq!(inbox.take(4, Duration::from_secs(60)).unwrap(), [(0, 1)]);
        assert_eq!(inbox.abandon(), [(0, 2)]);
        assert_eq!(inbox.take(4, Duration::from_secs(60)), None);
    }
}
