//! How much of the machine a run may use: threads that compute at the same time, and memory.
//!
//! Both are [`Shares`]. Threads: every step of a decoder and every run of the model takes as many as it keeps busy; a decoder
//! with frame threads may still finish its current frames after its step. Memory: a film takes the most that it can need
//! before its first frame is decoded, and returns it when it ends; a film that needs more than the whole budget is refused.
//! A film whose frames grow on the way takes more before its decoder allocates the first of them: [`FilmShare`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::message::QUEUE;
pub use super::shares::{Held, Shares};
use crate::error::{Error, Result};
use crate::isolate::FRAMES_AHEAD;
use crate::media::{FrameGate, FrameSize, decoder_threads};
use crate::message;
use crate::message::{Message, Setting};
use crate::scene::keyframe::MAX_PICTURES;

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

    /// Whether there is a limit for the memory of films.
    pub fn limits_memory(&self) -> bool {
        self.memory.is_some()
    }

    /// For a run of the image tower or the captioner.
    pub fn running(&self) -> Option<Held<'_>> {
        self.threads.as_ref().map(|t| t.shares.take(t.model))
    }

    /// For work of one thread.
    pub fn working(&self) -> Option<Held<'_>> {
        self.threads.as_ref().map(|t| t.shares.take(1))
    }

    /// The share of a film, for as long as it is decoded. `size`: that of its frames by its header; `spread`: frames that
    /// each keyframe brings along. Waits until there is memory for it.
    ///
    /// # Errors
    /// When the film can need more than the whole budget.
    pub fn film(self: &Arc<Budget>, input: &str, size: FrameSize, need: FilmNeed) -> Result<Arc<FilmShare>> {
        let mb = if let Some(memory) = &self.memory {
            let mb = film_mb(size, need);
            if mb > memory.all() {
                let cause = message![
                    format!("frames of {} can take {mb} MB, and ", sides(size)),
                    Setting::Memory,
                    format!(" leaves {} MB for films", memory.all())
                ];
                return Err(Error::input(input, cause, allow_more()));
            }
            memory.acquire(mb);
            mb
        } else {
            0
        };
        let state = Mutex::new(FilmHold { size, mb, threads: 0, refused: None });
        Ok(Arc::new(FilmShare { budget: self.clone(), input: input.into(), need, state }))
    }
}

fn allow_more() -> Message {
    message!["Allow more with ", Setting::Memory, " and ", Setting::RetryFailed, ", or index a smaller copy."]
}

fn sides(size: FrameSize) -> String {
    format!("{}×{}", size.width, size.height)
}

/// One film's share of a budget. Returned when dropped.
///
/// Memory only grows: frames of an earlier size may still be held. A film waits for more while another film that holds some
/// goes on. The last of them is refused instead, because it would wait for ever. New films wait until none waits for more.
#[derive(Debug)]
pub struct FilmShare {
    budget: Arc<Budget>,
    input: String,
    need: FilmNeed,
    state: Mutex<FilmHold>,
}

#[derive(Debug)]
struct FilmHold {
    /// The largest frame that `mb` is enough for.
    size: FrameSize,
    /// Megabytes that are held.
    mb: usize,
    /// Threads that are held.
    threads: usize,
    /// Why a frame was refused: its cause and remedy.
    refused: Option<(Message, Message)>,
}

impl FilmShare {
    /// Takes the threads of a step of the decoder, until the result is dropped.
    pub fn step(&self) -> FilmStep<'_> {
        if let Some(threads) = &self.budget.threads {
            let taken = threads.shares.acquire(threads.decoder);
            self.lock().threads += taken;
        }
        FilmStep(self)
    }

    fn end_step(&self) {
        let taken = std::mem::take(&mut self.lock().threads);
        if let Some(threads) = &self.budget.threads {
            threads.shares.release(taken);
        }
    }

    /// Refuses a film whose frames have become too large.
    ///
    /// # Errors
    /// If a frame was refused.
    pub fn check(&self) -> Result<()> {
        match &self.lock().refused {
            Some((cause, remedy)) => Err(Error::input(&*self.input, cause.clone(), remedy.clone())),
            None => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, FilmHold> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes `mb` megabytes more. Whoever waits for memory holds no threads, which others need to go on.
    fn grow(&self, memory: &Shares, mb: usize, state: &mut FilmHold) -> bool {
        if memory.try_grow(mb) {
            return true;
        }
        let threads = self.budget.threads.as_ref().filter(|_| state.threads > 0);
        if let Some(threads) = threads {
            threads.shares.release(std::mem::take(&mut state.threads));
        }
        let granted = memory.grow(mb);
        if let Some(threads) = threads {
            state.threads = threads.shares.acquire(threads.decoder);
        }
        granted
    }
}

/// A step of a film's decoder.
#[derive(Debug)]
pub struct FilmStep<'a>(&'a FilmShare);

impl Drop for FilmStep<'_> {
    fn drop(&mut self) {
        self.0.end_step();
    }
}

impl FrameGate for FilmShare {
    fn admits(&self, size: FrameSize) -> bool {
        let Some(memory) = &self.budget.memory else { return true };
        let needed = film_mb(size, self.need);
        let mut state = self.lock();
        if needed <= state.mb {
            return true;
        }
        if state.refused.is_some() {
            return false;
        }
        let all = memory.all();
        let change =
            format!("frames change from {} to {} and can take {needed} MB, and ", sides(state.size), sides(size));
        if needed > all {
            let cause = message![change, Setting::Memory, format!(" leaves {all} MB for films")];
            state.refused = Some((cause, allow_more()));
            return false;
        }
        let more = needed - state.mb;
        if !self.grow(memory, more, &mut state) {
            let cause = message![change, "other films hold the rest of what ", Setting::Memory, " leaves"];
            let remedy = message![
                "Describe fewer at once with ",
                Setting::Jobs,
                ", or allow more with ",
                Setting::Memory,
                ", and add ",
                Setting::RetryFailed,
                "."
            ];
            state.refused = Some((cause, remedy));
            return false;
        }
        (state.size, state.mb) = (size, needed);
        true
    }

    fn film_mb(&self, size: FrameSize) -> usize {
        film_mb(size, self.need)
    }
}

impl Drop for FilmShare {
    fn drop(&mut self) {
        let mb = self.lock().mb;
        if let Some(memory) = &self.budget.memory {
            memory.release(mb);
        }
    }
}

/// Frames that a decoder may hold for reference and reordering: the 16 that H.264 and HEVC allow, and the current one.
const REFERENCES: usize = 17;
/// Megabytes of a film whatever its picture size: the container's index, packets, the list of scenes.
const FILM_MB: usize = 24;
/// Megabytes of a process that decodes one, besides.
const PROCESS_MB: usize = 24;

/// Decoders pad frames to whole blocks. These are the largest, except those of AV1.
const BLOCK: u32 = 64;

/// What a film's memory depends on besides the size of its frames.
#[derive(Debug, Clone, Copy)]
pub struct FilmNeed {
    /// Threads of its decoder; with 0 FFmpeg chooses.
    pub decode_threads: usize,
    /// Frames that each keyframe brings along.
    pub spread: usize,
    /// Whether it is decoded in a process of its own.
    pub isolated: bool,
    /// Frames that wait until their text is read.
    pub text: usize,
}

/// Admits every frame, where there is no budget.
impl FrameGate for FilmNeed {
    fn admits(&self, _: FrameSize) -> bool {
        true
    }

    fn film_mb(&self, size: FrameSize) -> usize {
        film_mb(size, *self)
    }
}

/// The most that a film can take, in megabytes.
pub fn film_mb(size: FrameSize, need: FilmNeed) -> usize {
    let threads = decoder_threads(need.decode_threads);
    // The selector holds twice the frames that it spreads, and each keyframe on its way holds them once.
    let spread = if need.spread > 1 { 2 * need.spread + (QUEUE + 2) * need.spread } else { 0 };
    let (ahead, process) = if need.isolated { (FRAMES_AHEAD, PROCESS_MB) } else { (0, 0) };
    let frames = REFERENCES + 2 * threads + MAX_PICTURES + QUEUE + 2 + spread + ahead + need.text;
    let padded = |side: u32| u64::from(side).next_multiple_of(u64::from(BLOCK));
    let pixels = padded(size.width).saturating_mul(padded(size.height));
    let bytes = pixels.saturating_mul(u64::from(size.bits_per_pixel.max(8))) / 8;
    FILM_MB + process + usize::try_from(bytes.saturating_mul(frames as u64) >> 20).unwrap_or(usize::MAX >> 1)
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    const NEED: FilmNeed = FilmNeed { decode_threads: 1, spread: 0, isolated: false, text: 0 };

    fn frame(side: u32) -> FrameSize {
        FrameSize { width: side, height: side, bits_per_pixel: 12 }
    }

    #[test]
    fn a_film_takes_more_when_its_frames_grow_and_nothing_back_when_they_shrink() {
        let (small, large) = (film_mb(frame(512), NEED), film_mb(frame(1024), NEED));
        let budget = Arc::new(Budget::default().memory(large));
        let film = budget.film("a", frame(512), NEED).unwrap();
        assert_eq!(film.lock().mb, small);
        // Padding is included.
        assert!(film.admits(frame(449)) && film.admits(frame(512)) && film.lock().mb == small);
        assert!(film.admits(frame(1024)) && film.admits(frame(512)) && film.admits(frame(1000)));
        assert_eq!(film.lock().mb, large);
        assert!(!film.admits(frame(1025)), "it has all there is");
        assert!(film.admits(frame(512)), "smaller frames are still within its share");
        let error = film.check().unwrap_err().to_string();
        assert!(error.contains("1024×1024 to 1025×1025") && error.contains(&format!("{large} MB")), "{error}");
        drop(film);
        assert!(budget.film("b", frame(1024), NEED).unwrap().check().is_ok(), "all was returned");
    }

    /// Two films hold half each, and both want more: one waits and the other is refused.
    #[test]
    fn films_that_wait_for_more_do_not_wait_for_each_other() {
        let (small, large) = (film_mb(frame(512), NEED), film_mb(frame(1024), NEED));
        for threads in [None, Some(1)] {
            let mut budget = Budget::default().memory(large.max(2 * small));
            if let Some(threads) = threads {
                budget = budget.threads(threads, 1, 1);
            }
            let (budget, together) = (Arc::new(budget), Barrier::new(2));
            let run = |name: &str| {
                let film = budget.film(name, frame(512), NEED).unwrap();
                together.wait();
                let step = film.step();
                let admitted = film.admits(frame(1024));
                drop(step);
                assert_eq!(film.check().is_ok(), admitted);
                film.check().err().map(|e| e.to_string())
            };
            let refused: Vec<String> = thread::scope(|scope| {
                let films = ["a", "b"].map(|name| scope.spawn(move || run(name)));
                films.into_iter().filter_map(|film| film.join().unwrap()).collect()
            });
            assert!(refused.len() == 1 && refused[0].contains("other films hold the rest"), "{refused:?}");
        }
    }
}
