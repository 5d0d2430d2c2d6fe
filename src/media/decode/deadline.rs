//! How long a server may take.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ffmpeg_next as ff;

use crate::interrupt::Interrupt;
use crate::media::remote::{RemoteError, StopCheck};

/// How long a server may keep a caller waiting.
///
/// FFmpeg asks for it, together with the interrupt flag, wherever it blocks. FFmpeg's own time-outs do not do: they start
/// again with every reconnection and every byte. Clones share the deadline.
#[derive(Clone)]
pub(super) struct Deadline {
    /// When the deadline passes, in milliseconds after `since`; 0 while nothing waits.
    end: Arc<AtomicU64>,
    since: Instant,
    limit: Option<Duration>,
}

impl Deadline {
    /// Without a limit it never passes.
    pub(super) fn new(limit: Option<Duration>) -> Deadline {
        Deadline { end: Arc::default(), since: Instant::now(), limit }
    }

    /// Whether there is a limit: whether the input comes from a server.
    pub(super) fn has_limit(&self) -> bool {
        self.limit.is_some()
    }

    /// Starts a wait.
    pub(super) fn start(&self) {
        if let Some(limit) = self.limit {
            let end = (self.since.elapsed() + limit).as_millis().max(1);
            self.end.store(u64::try_from(end).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }

    /// Ends the wait.
    pub(super) fn stop(&self) {
        self.end.store(0, Ordering::Relaxed);
    }

    /// Whether the wait has taken too long.
    pub(super) fn has_passed(&self) -> bool {
        let end = self.end.load(Ordering::Relaxed);
        end != 0 && self.since.elapsed().as_millis() >= u128::from(end)
    }

    /// The failure in words.
    pub(super) fn cause(&self) -> String {
        format!("the server gave nothing for {} s", self.limit.unwrap_or_default().as_secs_f64())
    }
}

/// What a wait for a server asks: whether to stop, and whether it has taken too long.
pub(super) fn stop_check(deadline: &Deadline, interrupt: &Interrupt) -> StopCheck {
    let (deadline, interrupt) = (deadline.clone(), interrupt.clone());
    Arc::new(move || match interrupt.is_set() {
        true => Err(RemoteError::Interrupted),
        false if deadline.has_passed() => Err(RemoteError::Late(deadline.cause())),
        false => Ok(()),
    })
}

/// Whether FFmpeg reports a time-out of its own.
pub(super) fn is_timeout(e: ff::Error) -> bool {
    matches!(e, ff::Error::Other { errno } if errno == ff::util::error::ETIMEDOUT)
}
