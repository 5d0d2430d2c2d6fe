//! How much of the machine a run may take: threads that compute at the same time, and memory.
//!
//! Both are shares that are taken and given back in the order of asking, so that nobody who asks for much waits for ever.
//! Threads: every decoder step and every model run takes as many as it keeps busy; a decoder with frame threads of its
//! own may finish the frames that it is at after its step. Memory: a film takes what it can need at most, before
//! the first frame is decoded, and gives it back when it ends; one that needs more than there is altogether is refused.

use std::sync::{Condvar, Mutex, PoisonError};

use crate::error::{Error, Result};
use crate::media::decode::StreamInfo;
use crate::scene::keyframe::MAX_PICTURES;

/// Shares that are taken in the order of asking.
#[derive(Debug)]
pub struct Shares {
    all: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    free: usize,
    next: u64,
    serving: u64,
}

/// Shares that are held; given back when dropped.
#[derive(Debug)]
pub struct Held<'a> {
    of: &'a Shares,
    n: usize,
}

impl Shares {
    pub fn new(all: usize) -> Shares {
        let all = all.max(1);
        Shares { all, state: Mutex::new(State { free: all, next: 0, serving: 0 }), changed: Condvar::new() }
    }

    /// How many there are.
    pub fn all(&self) -> usize {
        self.all
    }

    /// Waits for `n` of them; who asks for more than there are gets all.
    pub fn take(&self, n: usize) -> Held<'_> {
        let n = n.min(self.all);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = state.next;
        state.next += 1;
        while state.serving != turn || state.free < n {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.free -= n;
        state.serving += 1;
        drop(state);
        self.changed.notify_all();
        Held { of: self, n }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.of.state.lock().unwrap_or_else(PoisonError::into_inner).free += self.n;
        self.of.changed.notify_all();
    }
}

/// Threads that compute at the same time.
#[derive(Debug)]
pub struct Threads {
    shares: Shares,
    /// What one decoder takes.
    decoder: usize,
    /// What a run of one half of the model takes.
    model: usize,
}

/// What a run may take.
#[derive(Debug, Default)]
pub struct Budget {
    threads: Option<Threads>,
    /// Megabytes that films may take.
    memory: Option<Shares>,
}

impl Budget {
    /// `threads` at once, of which a decoder has `decoder` and a half of the model `model`.
    pub fn threads(mut self, threads: usize, decoder: usize, model: usize) -> Budget {
        self.threads = Some(Threads { shares: Shares::new(threads), decoder: decoder.max(1), model: model.max(1) });
        self
    }

    /// `mb` megabytes for films, beside what the program and the model take.
    pub fn memory(mut self, mb: usize) -> Budget {
        self.memory = Some(Shares::new(mb));
        self
    }

    /// A decoder's step.
    pub fn decoding(&self) -> Option<Held<'_>> {
        self.threads.as_ref().map(|t| t.shares.take(t.decoder))
    }

    /// A run of a half of the model.
    pub fn running(&self) -> Option<Held<'_>> {
        self.threads.as_ref().map(|t| t.shares.take(t.model))
    }

    /// What one thread does.
    pub fn working(&self) -> Option<Held<'_>> {
        self.threads.as_ref().map(|t| t.shares.take(1))
    }

    /// A film's memory, for as long as it is watched.
    pub fn film(&self, input: &str, info: &StreamInfo, decode_threads: usize) -> Result<Option<Held<'_>>> {
        let Some(memory) = &self.memory else { return Ok(None) };
        let needed = film_mb(info, decode_threads);
        if needed > memory.all() {
            return Err(Error::input(
                input,
                format!(
                    "frames of {}×{} can take {needed} MB, and --memory leaves {} MB for films",
                    info.width,
                    info.height,
                    memory.all()
                ),
                "Give more with --memory and --retry-failed, or index a smaller copy.",
            ));
        }
        Ok(Some(memory.take(needed)))
    }
}

/// Frames that a decoder may hold for reference and for reordering: what H.264 and HEVC allow, and the one under way.
const REFERENCES: usize = 17;
/// Megabytes of a film whatever its size: the container's index, packets, the list of scenes.
const FILM_MB: usize = 24;

/// What a film can take at most, in megabytes.
pub fn film_mb(info: &StreamInfo, decode_threads: usize) -> usize {
    // 0 lets FFmpeg choose, which is a thread a core and one more, and 16 at most.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = if decode_threads == 0 { (cores + 1).min(16) } else { decode_threads };
    let frames = REFERENCES + 2 * threads + MAX_PICTURES + crate::pipeline::QUEUE + 2;
    let bytes = u64::from(info.width) * u64::from(info.height) * u64::from(info.bits_per_pixel().max(8)) / 8;
    FILM_MB + usize::try_from(bytes.saturating_mul(frames as u64) >> 20).unwrap_or(usize::MAX >> 1)
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
