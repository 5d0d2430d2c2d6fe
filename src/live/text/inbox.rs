//! What waits to be read, of all streams.
//!
//! Order: of each stream in order of time. Streams take turns.
//!
//! Memory: of each stream, one frame and at most [`MOST_STROKES`] small maps. A frame that waits gives way to a later one, in
//! which everything is read that was to be read in it; adding one never blocks.

use std::collections::VecDeque;
use std::sync::PoisonError;

use crate::live::sync::{Condvar, Mutex, MutexGuard};
use crate::ocr::{Look, TextBox};
use crate::scene::StrokeMap;
use crate::time::Time;

/// Most frames of a stream whose strokes wait: those of some 12 s, 1.7 MB.
const MOST_STROKES: usize = 720;

/// What there is to do for a stream.
#[derive(Debug)]
pub(in crate::live) struct TextWork<T> {
    /// The strokes of frames, in order.
    pub(super) strokes: Vec<(Time, StrokeMap)>,
    /// What to read, and in which frame. Its strokes are among those above.
    pub(super) look: Option<(T, Look)>,
    /// Whether the stream has ended.
    pub(super) ended: bool,
}

/// What became of a look.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Pushed {
    /// It waits to be taken, or there was none.
    Waits,
    /// It waits in place of an earlier one, and everything is read in its frame that was to be read in either: here.
    Replaced(Vec<TextBox>),
    /// Nobody will read it.
    Closed,
}

struct TextQueue<T> {
    strokes: VecDeque<(Time, StrokeMap)>,
    look: Option<(T, Look)>,
    /// The end was announced, and was not taken yet.
    ended: bool,
}

impl<T> Default for TextQueue<T> {
    fn default() -> TextQueue<T> {
        TextQueue { strokes: VecDeque::new(), look: None, ended: false }
    }
}

struct TextInboxState<T> {
    queues: Vec<TextQueue<T>>,
    /// The stream whose turn is next.
    next: usize,
    closed: bool,
}

/// The queues, shared by the streams' threads and the reader.
pub(in crate::live) struct TextInbox<T> {
    state: Mutex<TextInboxState<T>>,
    filled: Condvar,
}

impl<T> TextInbox<T> {
    pub(in crate::live) fn new(streams: usize) -> TextInbox<T> {
        let queues = (0..streams).map(|_| TextQueue::default()).collect();
        TextInbox { state: Mutex::new(TextInboxState { queues, next: 0, closed: false }), filled: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, TextInboxState<T>> {
        // Also after a thread panicked while it held the lock: every update leaves the queues consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the strokes of a stream's next frames, and a look at the last of them. Returns whether that takes the place of another
    /// look, with all that is to be read in its frame; or what becomes of its own after closing.
    pub(super) fn push(&self, stream: usize, strokes: Vec<(Time, StrokeMap)>, look: Option<(T, Look)>) -> Pushed {
        let mut all = self.lock();
        let is_closed = all.closed;
        let Some(queue) = all.queues.get_mut(stream).filter(|_| !is_closed) else {
            return if look.is_some() { Pushed::Closed } else { Pushed::Waits };
        };
        queue.strokes.extend(strokes);
        let excess = queue.strokes.len().saturating_sub(MOST_STROKES);
        queue.strokes.drain(..excess);
        let pushed = match (queue.look.take(), look) {
            (Some((_, earlier)), Some((frame, later))) => {
                let both = earlier.with(later);
                let regions = both.regions.clone();
                queue.look = Some((frame, both));
                Pushed::Replaced(regions)
            }
            (waiting, new) => {
                queue.look = new.or(waiting);
                Pushed::Waits
            }
        };
        drop(all);
        self.filled.notify_one();
        pushed
    }

    /// The stream has ended: no more frames will come.
    pub(in crate::live) fn end(&self, stream: usize) {
        let mut all = self.lock();
        if let Some(queue) = all.queues.get_mut(stream) {
            queue.ended = true;
        }
        drop(all);
        self.filled.notify_one();
    }

    /// All that there is to do for the stream whose turn it is, with its number. Waits for it. `None` once the inbox is closed
    /// and empty.
    pub(super) fn take(&self) -> Option<(usize, TextWork<T>)> {
        let mut all = self.lock();
        loop {
            let streams = all.queues.len();
            let has_work = |queue: &TextQueue<T>| !queue.strokes.is_empty() || queue.look.is_some() || queue.ended;
            let next = (0..streams).map(|k| (all.next + k) % streams).find(|stream| has_work(&all.queues[*stream]));
            if let Some(stream) = next {
                all.next = (stream + 1) % streams;
                let TextQueue { strokes, look, ended } = std::mem::take(&mut all.queues[stream]);
                return Some((stream, TextWork { strokes: strokes.into(), look, ended }));
            }
            if all.closed {
                return None;
            }
            all = self.filled.wait(all).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Accepts nothing more but ends. What waits can still be taken, without the frames, which are returned with their streams.
    pub(in crate::live) fn close(&self) -> Vec<(usize, T)> {
        let mut all = self.lock();
        all.closed = true;
        let looks = all.queues.iter_mut().enumerate();
        let left = looks.filter_map(|(stream, queue)| queue.look.take().map(|(frame, _)| (stream, frame))).collect();
        drop(all);
        self.filled.notify_all();
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ocr::LookReason;
    use crate::scene::{THUMB_HEIGHT, THUMB_WIDTH};

    fn strokes(millis: i64) -> (Time, StrokeMap) {
        (Time::from_millis(millis), StrokeMap { values: vec![0; THUMB_WIDTH * THUMB_HEIGHT] })
    }

    fn look(reason: LookReason, y: f32) -> Look {
        Look { reason, regions: vec![TextBox { x: 0.1, y, width: 0.5, height: 0.1 }] }
    }

    /// A reader that takes nothing for a day.
    #[test]
    fn a_reader_that_is_too_slow_reads_the_newest_frame_and_nothing_piles_up() {
        let inbox = TextInbox::new(2);
        let mut replaced = 0;
        for n in 0..10_000 {
            let reason = if n % 2 == 0 { LookReason::Rest } else { LookReason::Again };
            let wanted = (n % 20 == 0).then(|| (n, look(reason, if n % 40 == 0 { 0.1 } else { 0.7 })));
            let pushed = inbox.push(0, vec![strokes(40 * n)], wanted);
            replaced += usize::from(matches!(pushed, Pushed::Replaced(_)));
        }
        inbox.push(1, Vec::new(), Some((7, look(LookReason::Motion, 0.4))));
        assert_eq!(replaced, 499);
        let (stream, work) = inbox.take().unwrap();
        let (frame, look) = work.look.unwrap();
        assert_eq!((stream, work.strokes.len(), frame), (0, MOST_STROKES, 9_980));
        // What the frames before it were to show is read in this one.
        assert_eq!(look.regions.iter().map(|r| r.y).collect::<Vec<_>>(), [0.1, 0.7]);
        assert_eq!(look.reason, LookReason::Rest);
        assert_eq!(work.strokes.last().unwrap().0, Time::from_millis(399_960));
        assert_eq!(inbox.take().unwrap().0, 1);
    }

    #[test]
    fn streams_take_turns_and_ends_come_through() {
        let inbox = TextInbox::<u32>::new(2);
        inbox.push(0, vec![strokes(0)], None);
        inbox.push(1, vec![strokes(0)], None);
        assert_eq!(inbox.take().unwrap().0, 0);
        inbox.push(0, vec![strokes(40)], Some((1, look(LookReason::Rest, 0.1))));
        assert_eq!(inbox.take().unwrap().0, 1);
        assert_eq!(inbox.close(), [(0, 1)]);
        inbox.end(1);
        assert_eq!(inbox.push(0, Vec::new(), Some((2, look(LookReason::Rest, 0.1)))), Pushed::Closed);
        let (stream, work) = inbox.take().unwrap();
        assert!(stream == 0 && work.look.is_none() && !work.ended);
        let (stream, work) = inbox.take().unwrap();
        assert!(stream == 1 && work.ended);
        assert!(inbox.take().is_none());
    }
}
