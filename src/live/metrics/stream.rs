//! What is counted about one stream.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;

use super::super::event::{Reason, StreamState};
use super::Depth;

/// Bounds of the histogram of waits for a pause, in seconds.
const PAUSE_SECONDS: [f64; 8] = [0.0, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0];

/// Why a frame or keyframe was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum DropReason {
    /// The model could not keep up; the oldest keyframes are dropped.
    Overload,
    /// It could not be decoded, or arrived damaged.
    Decode,
    /// It was still waiting when descry stopped.
    Stopped,
    /// The server of models did not caption it.
    Server,
}

impl DropReason {
    /// Every reason.
    pub const ALL: [DropReason; 4] =
        [DropReason::Overload, DropReason::Decode, DropReason::Stopped, DropReason::Server];

    /// The name that metrics and the status use.
    pub fn name(self) -> &'static str {
        ["overload", "decode", "stopped", "server"][self as usize]
    }
}

/// The counters of one stream. Recording touches atomics only.
#[derive(Debug)]
pub struct StreamMetrics {
    name: Arc<str>,
    pub(super) frames: Counter,
    pub(super) dropped: [Counter; DropReason::ALL.len()],
    pub(super) keyframes: Counter,
    /// Frames that were to be read, and those that were not, because later ones were read instead.
    pub(super) text_looks: Counter,
    pub(super) text_dropped: Counter,
    pub(super) captions: Counter,
    pub(super) queue: Depth,
    /// Descriptions that wait for a pause, and how long each waited.
    pub(super) held: Depth,
    pub(super) pause_waits: Histogram,
    pub(super) reconnects: [Counter; Reason::ALL.len()],
    state: AtomicU8,
    /// Position in `Reason::ALL`, from 1; 0 for none.
    reason: AtomicU8,
    /// When the state was entered, in milliseconds since the run began.
    pub(super) since: AtomicU64,
    ended: AtomicBool,
    /// The watcher's last heartbeat while it is connected, in milliseconds since the run began, from 1; 0 while it is not.
    pub(super) heartbeat: AtomicU64,
    /// Longest time between two heartbeats, in milliseconds; 0 for no limit.
    pub(super) stuck_limit: AtomicU64,
}

impl StreamMetrics {
    pub(super) fn new(name: Arc<str>) -> StreamMetrics {
        StreamMetrics {
            name,
            frames: Counter::default(),
            dropped: Default::default(),
            keyframes: Counter::default(),
            text_looks: Counter::default(),
            text_dropped: Counter::default(),
            captions: Counter::default(),
            queue: Depth::default(),
            held: Depth::default(),
            pause_waits: Histogram::new(PAUSE_SECONDS),
            reconnects: Default::default(),
            state: AtomicU8::new(StreamState::Null as u8),
            reason: AtomicU8::new(0),
            since: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            heartbeat: AtomicU64::new(0),
            stuck_limit: AtomicU64::new(0),
        }
    }

    /// The stream's name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Counts a decoded frame.
    pub fn frame_in(&self) {
        self.frames.inc();
    }

    /// Counts frames or keyframes that were dropped.
    pub fn frames_dropped(&self, why: DropReason, n: u64) {
        self.dropped[why as usize].inc_by(n);
    }

    /// Counts a keyframe that was chosen to be described.
    pub fn keyframe(&self) {
        self.keyframes.inc();
    }

    /// Counts a frame that is to be read.
    pub fn text_look(&self) {
        self.text_looks.inc();
    }

    /// Counts a frame that was to be read and was not.
    pub fn text_look_dropped(&self) {
        self.text_dropped.inc();
    }

    /// Counts a description that was sent to the outputs.
    pub fn caption(&self) {
        self.captions.inc();
    }

    /// Counts how long a description waited for a pause.
    pub fn waited(&self, waited: Duration) {
        self.pause_waits.observe(waited.as_secs_f64());
    }

    /// Sets how many descriptions wait for a pause.
    pub fn set_held(&self, captions: usize) {
        self.held.set(captions as u64);
    }

    /// Sets how many keyframes wait to be described.
    pub fn set_queue(&self, depth: usize) {
        self.queue.set(depth as u64);
    }

    /// Counts an attempt to reconnect, by the reason of the loss.
    pub fn reconnect(&self, why: Reason) {
        self.reconnects[position(why)].inc();
    }

    /// A connected stream whose watcher gives no heartbeat for this long is stuck.
    pub(in crate::live) fn set_stuck_limit(&self, limit: Duration) {
        self.stuck_limit.store(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// `since`: milliseconds since the run began.
    pub(super) fn set_state(&self, state: StreamState, reason: Option<Reason>, since: u64) {
        self.state.store(state as u8, Ordering::Relaxed);
        self.reason.store(reason.map_or(0, |r| position(r) as u8 + 1), Ordering::Relaxed);
        self.since.store(since, Ordering::Relaxed);
    }

    pub(super) fn set_ended(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    pub(super) fn state(&self) -> StreamState {
        StreamState::ALL[usize::from(self.state.load(Ordering::Relaxed)) % StreamState::ALL.len()]
    }

    pub(super) fn reason(&self) -> Option<Reason> {
        Reason::ALL.get(usize::from(self.reason.load(Ordering::Relaxed)).checked_sub(1)?).copied()
    }
}

/// Place in `Reason::ALL`.
pub(super) fn position(reason: Reason) -> usize {
    Reason::ALL.iter().position(|r| *r == reason).unwrap_or(0)
}
