//! How much of the machine a run may use: threads that compute at the same time, and memory.
//!
//! Both are shares that are handed out in the order of the requests, so that a large request is never starved by small
//! ones. Threads: every step of a decoder and every run of the model takes as many as it keeps busy; a decoder with frame
//! threads may still finish its current frames after its step. Memory: a film takes the most that it can need before its
//! first frame is decoded, and returns it when it ends; a film that needs more than the whole budget is refused.

use std::sync::{Condvar, Mutex, PoisonError};

use super::message::QUEUE;
use crate::error::{Error, Result};
use crate::media::StreamInfo;
use crate::message;
use crate::message::Setting;
use crate::scene::keyframe::MAX_PICTURES;

/// Shares that are handed out in the order of the requests.
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
        Shares { all, state: Mutex::new(ShareState { free: all, next: 0, serving: 0 }), changed: Condvar::new() }
    }

    /// How many there are.
    pub fn all(&self) -> usize {
        self.all
    }

    /// Waits for `n` of them; a request for more than there are gets all.
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
struct ThreadShares {
    shares: Shares,
    /// What one decoder takes.
    decoder: usize,
    /// What a run of the image tower or of the captioner takes.
    model: usize,
}

/// How much of the machine a run may use. Default: all of it.
#[derive(Debug, Default)]
pub struct Budget {
    threads: Option<ThreadShares>,
    /// Megabytes that films may take.
    memory: Option<Shares>,
}

impl Budget {
    /// Limits the run to `threads` at once, of which a decoder takes `decoder` and a run of the image tower or captioner
    /// `model`.
    #[must_use]
    pub fn threads(mut self, threads: usize, decoder: usize, model: usize) -> Budget {
        self.threads =
            Some(ThreadShares { shares: Shares::new(threads), decoder: decoder.max(1), model: model.max(1) });
        self
    }

    /// Limits films to `mb` megabytes together, without what the program and the model take.
    #[must_use]
    pub fn memory(mut self, mb: usize) -> Budget {
        self.memory = Some(Shares::new(mb));
        self
    }

    /// For a step of a decoder.
    pub fn decoding(&self) -> Option<Held<'_>> {
        self.threads.as_ref().map(|t| t.shares.take(t.decoder))
    }

    /// For a run of the image tower or the captioner.
    pub fn running(&self) -> Option<Held<'_>> {
        self.threads.as_ref().map(|t| t.shares.take(t.model))
    }

    /// For work of one thread.
    pub fn working(&self) -> Option<Held<'_>> {
        self.threads.as_ref().map(|t| t.shares.take(1))
    }

    /// The memory of a film, for as long as it is decoded.
    ///
    /// # Errors
    /// When the film can need more than the whole budget.
    pub fn film(
        &self,
        input: &str,
        info: &StreamInfo,
        decode_threads: usize,
        spread: usize,
    ) -> Result<Option<Held<'_>>> {
        let Some(memory) = &self.memory else { return Ok(None) };
        let needed = film_mb(info, decode_threads, spread);
        if needed > memory.all() {
            return Err(Error::input(
                input,
                message![
                    format!("frames of {}×{} can take {needed} MB, and ", info.width, info.height),
                    Setting::Memory,
                    format!(" leaves {} MB for films", memory.all())
                ],
                message![
                    "Allow more with ",
                    Setting::Memory,
                    " and ",
                    Setting::RetryFailed,
                    ", or index a smaller copy."
                ],
            ));
        }
        Ok(Some(memory.take(needed)))
    }
}

/// Frames that a decoder may hold for reference and reordering: the 16 that H.264 and HEVC allow, and the current one.
const REFERENCES: usize = 17;
/// Megabytes of a film whatever its picture size: the container's index, packets, the list of scenes.
const FILM_MB: usize = 24;

/// The most that a film can take, in megabytes. `spread`: frames that each keyframe brings along.
pub fn film_mb(info: &StreamInfo, decode_threads: usize, spread: usize) -> usize {
    // With 0 FFmpeg chooses: one thread for each core and one more, at most 16.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = if decode_threads == 0 { (cores + 1).min(16) } else { decode_threads };
    // The selector holds twice the frames that it spreads, and each keyframe on its way holds them once.
    let spread = if spread > 1 { 2 * spread + (QUEUE + 2) * spread } else { 0 };
    let frames = REFERENCES + 2 * threads + MAX_PICTURES + QUEUE + 2 + spread;
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
