//! What is counted about one output.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;

use super::Depth;

/// Bounds of the lag histogram in seconds: fine around a second, where captions of a machine that keeps up arrive.
const LAG_SECONDS: [f64; 21] =
    [0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0, 5.0, 7.5, 10.0, 30.0, 60.0];
/// Captions that the quantiles cover.
const RECENT: usize = 256;

/// Lags of one stream at one output: all of them as a histogram, the last 256 as they were.
#[derive(Debug)]
pub struct LagStats {
    pub(super) all: Histogram,
    /// Milliseconds of the last ones, in a ring.
    recent: Box<[AtomicU32]>,
    count: AtomicU64,
}

impl LagStats {
    pub(super) fn new() -> LagStats {
        let recent = (0..RECENT).map(|_| AtomicU32::new(0)).collect();
        LagStats { all: Histogram::new(LAG_SECONDS), recent, count: AtomicU64::new(0) }
    }

    pub(super) fn add(&self, lag: Duration) {
        self.all.observe(lag.as_secs_f64());
        let at = self.count.fetch_add(1, Ordering::Relaxed) as usize % RECENT;
        self.recent[at].store(u32::try_from(lag.as_millis()).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// Captions that were counted.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Quantiles (0 to 1) of the last 256 lags, in seconds. `None` before the first caption.
    pub fn quantiles<const N: usize>(&self, wanted: [f64; N]) -> Option<[f64; N]> {
        let kept = self.count().min(RECENT as u64) as usize;
        let mut last: Vec<u32> = self.recent[..kept].iter().map(|m| m.load(Ordering::Relaxed)).collect();
        last.sort_unstable();
        let at = |q: f64| last[((q * kept as f64).ceil() as usize).clamp(1, kept) - 1];
        (kept > 0).then(|| wanted.map(|q| f64::from(at(q)) / 1e3))
    }
}

/// The counters of one output. Recording touches atomics, and for the lag one uncontended lock.
#[derive(Debug)]
pub struct SinkMetrics {
    pub(super) name: String,
    pub(super) queue: Depth,
    pub(super) written: Counter,
    pub(super) lost: Counter,
    pub(super) errors: Counter,
    ended: AtomicBool,
    incomplete: AtomicBool,
    /// In the order of the streams.
    pub(super) lags: Box<[LagStats]>,
}

impl SinkMetrics {
    pub(super) fn new(name: String, streams: usize) -> SinkMetrics {
        SinkMetrics {
            name,
            queue: Depth::default(),
            written: Counter::default(),
            lost: Counter::default(),
            errors: Counter::default(),
            ended: AtomicBool::new(false),
            incomplete: AtomicBool::new(false),
            lags: (0..streams).map(|_| LagStats::new()).collect(),
        }
    }

    /// Sets how many events wait for the output.
    pub(in crate::live) fn set_queue(&self, depth: usize) {
        self.queue.set(depth as u64);
    }

    /// Counts an event that the output took.
    pub(in crate::live) fn count_written(&self) {
        self.written.inc();
    }

    /// Counts events that the output never got.
    pub(in crate::live) fn count_lost(&self, events: u64) {
        self.lost.inc_by(events);
    }

    /// Counts a failure of the output.
    pub(in crate::live) fn count_error(&self) {
        self.errors.inc();
    }

    /// Records that nothing reads the output any more.
    pub(in crate::live) fn set_ended(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    /// Records that the output could not complete itself when it was closed.
    pub(in crate::live) fn set_incomplete(&self) {
        self.incomplete.store(true, Ordering::Relaxed);
    }

    /// Whether the output could not complete itself when it was closed: what it still held is not written.
    pub fn is_incomplete(&self) -> bool {
        self.incomplete.load(Ordering::Relaxed)
    }

    /// Events that wait for the output.
    pub fn waiting(&self) -> u64 {
        self.queue.get()
    }

    /// Whether the output has ended: nothing is written to it any more.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// Events that the output never got.
    pub fn lost(&self) -> u64 {
        self.lost.get()
    }

    /// Events that the output took.
    pub fn written(&self) -> u64 {
        self.written.get()
    }

    /// Failures of the output.
    pub fn errors(&self) -> u64 {
        self.errors.get()
    }

    /// Lags of the stream at this position.
    pub fn lag_of(&self, stream: usize) -> Option<&LagStats> {
        self.lags.get(stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_last_captions() {
        let lag = LagStats::new();
        assert_eq!(lag.quantiles([0.5]), None);
        lag.add(Duration::from_millis(700));
        assert_eq!(lag.quantiles([0.5, 0.95]), Some([0.7, 0.7]));
        (0..300).for_each(|i| lag.add(Duration::from_millis(i)));
        // 44 … 299 are left.
        assert_eq!(lag.quantiles([0.5, 0.95]), Some([0.171, 0.287]));
        assert_eq!(lag.count(), 301);
    }
}
