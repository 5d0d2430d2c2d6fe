//! A film that is decoded ahead of the parent's questions, on a thread of its own.
//!
//! So the decoder works on while the parent looks at frames, and a picture that it asks for does not wait for the next frames.
//! Frames come in order. At most [`AHEAD`] frames wait.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::wire::{AHEAD, SIGN, SourceState};
use crate::error::Error;
use crate::media::decode::Polled;
use crate::media::{Frame, Source};
use crate::scene::Thumb;

/// What the decoder came to, and the source after it.
pub(super) type Decoded = (DecodedStep, SourceState);

/// What the decoder came to.
pub(super) enum DecodedStep {
    /// A frame and its thumb.
    Frame(Frame, Thumb),
    /// The film has ended. The same follows.
    End,
    /// Decoding failed. What follows is what a [`Source`] gives to those who ask again.
    Failed(Error),
}

/// A film on its decoding thread.
pub(super) struct FilmAhead {
    decoded: Receiver<Decoded>,
    /// Steps of the decoder, to tell one that works from one that hangs.
    steps: Arc<AtomicU64>,
}

impl FilmAhead {
    /// Starts to decode.
    ///
    /// # Errors
    /// If there can be no more threads.
    pub(super) fn start(source: Source) -> io::Result<FilmAhead> {
        // One more frame waits in the thread's hands.
        let (to, decoded) = bounded(AHEAD - 1);
        let steps = Arc::new(AtomicU64::new(0));
        let counter = steps.clone();
        std::thread::Builder::new().name("decode".into()).spawn(move || decode(source, &to, &counter))?;
        Ok(FilmAhead { decoded, steps })
    }

    /// Waits for the next step. Calls `working` about once a second while the decoder works without a result, and not
    /// while it hangs.
    ///
    /// # Errors
    /// Those of `working`, and if the decoding thread is gone.
    pub(super) fn next(&self, mut working: impl FnMut() -> io::Result<()>) -> io::Result<Decoded> {
        let mut seen = self.steps.load(Ordering::Relaxed);
        loop {
            match self.decoded.recv_timeout(SIGN) {
                Ok(decoded) => return Ok(decoded),
                Err(RecvTimeoutError::Timeout) => {
                    let steps = self.steps.load(Ordering::Relaxed);
                    if steps != seen {
                        seen = steps;
                        working()?;
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
    }

    /// The next step, if it comes in time.
    pub(super) fn next_before(&self, limit: Instant) -> Option<Decoded> {
        self.decoded.recv_deadline(limit).ok()
    }
}

fn decode(mut source: Source, to: &Sender<Decoded>, steps: &AtomicU64) {
    loop {
        let step = match source.poll() {
            Ok(Polled::Pending) => None,
            Ok(Polled::Frame(frame)) => Some(match frame.thumb() {
                Ok(thumb) => DecodedStep::Frame(frame, thumb),
                Err(e) => DecodedStep::Failed(e),
            }),
            Ok(Polled::End) => Some(DecodedStep::End),
            Err(e) => Some(DecodedStep::Failed(e)),
        };
        steps.fetch_add(1, Ordering::Relaxed);
        let Some(step) = step else { continue };
        if to.send((step, SourceState::of(&source))).is_err() {
            return;
        }
    }
}
