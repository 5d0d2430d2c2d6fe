//! What an output implements, and how it learns that the run ends.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::super::event::{Event, EventKind};
use crate::error::{Error, Result, is_disk_full};
use crate::message::Setting;

/// One output. It runs in a thread of its own and may block there.
pub trait Sink: Send {
    /// The name in logs and metrics, without credentials. The hub makes it unique.
    fn name(&self) -> &str;

    /// Which events the output takes; others never enter its queue. Default: all.
    fn wants(&self) -> fn(&EventKind) -> bool {
        |_| true
    }

    /// Whether the output wants the streams' sound as it is heard. Default: false.
    fn wants_audio(&self) -> bool {
        false
    }

    /// How many events may wait for the output. Default: 256.
    fn capacity(&self) -> usize {
        256
    }

    /// Called first, in the output's thread. Whatever blocks longer than a moment checks `stop`.
    fn begin(&mut self, stop: StopSignal) {
        let _ = stop;
    }

    /// Takes one event.
    ///
    /// # Errors
    /// The event counts as lost. An output that [buffers](Sink::buffers) returns `Ok` for an event that it keeps for later,
    /// reports its trouble from [`tick`](Sink::tick), and fails here when it had to drop an older event.
    fn event(&mut self, event: &Event) -> Result<()>;

    /// Reports that events before the next one were lost to this output.
    ///
    /// # Errors
    /// When the report cannot be written.
    fn lost(&mut self, events: u64) -> Result<()> {
        let _ = events;
        Ok(())
    }

    /// Called a few times a second, also between events.
    ///
    /// # Errors
    /// While the output is in trouble. An error that lasts counts once.
    fn tick(&mut self, now: Instant) -> Result<()> {
        let _ = now;
        Ok(())
    }

    /// Completes the output; no event follows.
    ///
    /// # Errors
    /// When it cannot be completed.
    fn close(&mut self) -> Result<()>;

    /// How long the run waits for an output that [is busy](Sink::is_busy) once all streams have ended. A stop cuts that short.
    /// Default: not at all.
    fn finishing(&self) -> Duration {
        Duration::ZERO
    }

    /// Whether the output has not completed what it got, though all streams have ended. Asked after each event and each
    /// [`tick`](Sink::tick). Default: false.
    fn is_busy(&self) -> bool {
        false
    }

    /// Whether nothing will read the output any more. The hub then leaves it alone. Default: false.
    fn ended(&self) -> bool {
        false
    }

    /// Whether the output keeps events and writes them in its own time, so that [`tick`](Sink::tick) reports how it fares.
    /// Default: false.
    fn buffers(&self) -> bool {
        false
    }

    /// Captions that became readable since the last call, as stream and lag. `None`, the default, is for outputs whose
    /// captions are readable when [`event`](Sink::event) returns.
    fn delivered(&mut self) -> Option<Vec<(Arc<str>, Duration)>> {
        None
    }
}

/// Informs outputs that the run ends, and by when they must be done.
#[derive(Debug, Clone, Default)]
pub struct StopSignal(Arc<OnceLock<Instant>>);

impl StopSignal {
    /// When everything must be done; `None` while the run continues.
    pub fn deadline(&self) -> Option<Instant> {
        self.0.get().copied()
    }

    /// `most`, or the time until the deadline where that is shorter.
    pub fn at_most(&self, most: Duration) -> Duration {
        self.deadline().map_or(most, |d| d.saturating_duration_since(Instant::now()).min(most))
    }

    /// Sleeps for `most`, or until the deadline. Returns early when the stop is announced, so that the caller can check the
    /// time again.
    pub fn sleep(&self, most: Duration) {
        let until = Instant::now() + most;
        let running = self.deadline().is_none();
        loop {
            let left = self.at_most(until.saturating_duration_since(Instant::now()));
            if left.is_zero() || running && self.deadline().is_some() {
                return;
            }
            std::thread::sleep(left.min(Duration::from_millis(20)));
        }
    }

    /// Announces the stop. Only the first call counts.
    pub(super) fn announce(&self, deadline: Instant) {
        let _ = self.0.set(deadline);
    }
}

/// Explains why an output cannot be written; outputs of live mode try again. `place` is the setting that names another
/// place for it.
pub(in crate::live) fn write_error(output: impl Into<String>, e: &io::Error, place: Setting) -> Error {
    let error = Error::write(output, e, place);
    match e.kind() {
        _ if is_disk_full(e) => error.with_remedy("Free some space; descry tries again."),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => error,
        _ => error.with_remedy("descry tries again."),
    }
}
