//! Counters, gauges and histograms of a live run, and their texts: Prometheus metrics, the JSON status, health.
//!
//! Everything is created when the run begins, for its streams and outputs. From then on writers touch atomics (histograms:
//! a lock that is held for a few additions), so no stage waits for a reader, nothing is allocated, and memory does not grow
//! with time or with what streams send. Numbers only grow, except gauges. A reader sees each number whole, and different
//! numbers at slightly different moments.

mod exposition;
mod health;
mod process;
mod sink;
mod status;
mod stream;

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use super::event::{Reason, StreamState};
use crate::wall::rfc3339;

pub use sink::{LagStats, SinkMetrics};
pub use stream::{DropReason, StreamMetrics};

/// How much of something there is right now.
type Depth = Gauge<u64, AtomicU64>;

/// Work whose duration is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// Decoding a packet.
    Decode,
    /// Choosing keyframes.
    Scene,
    /// Scaling a picture for the model.
    Preprocess,
    /// Encoding a batch of pictures.
    Encode,
    /// Describing a batch of pictures.
    Caption,
    /// Compressing the picture as JPEG.
    Picture,
    /// Finding speech in a piece of sound.
    Speech,
    /// Reading text in a frame, and following it over some others.
    Text,
}

impl Stage {
    /// Every stage.
    pub const ALL: [Stage; 8] = [
        Stage::Decode,
        Stage::Scene,
        Stage::Preprocess,
        Stage::Encode,
        Stage::Caption,
        Stage::Picture,
        Stage::Speech,
        Stage::Text,
    ];

    /// The name that metrics use.
    pub fn name(self) -> &'static str {
        ["decode", "scene", "preprocess", "encode", "caption", "picture", "speech", "text"][self as usize]
    }
}

/// What the shared model is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ModelState {
    /// It is being loaded.
    Loading,
    /// It is loaded.
    Working,
    /// It failed; the run ends.
    Failed,
}

impl ModelState {
    /// The name that the status uses.
    pub fn name(self) -> &'static str {
        ["loading", "working", "failed"][self as usize]
    }
}

/// Bounds of the stage histograms in seconds: from a frame's analysis to a slow inference.
const STAGE_SECONDS: [f64; 12] = [0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];
/// Bounds of the batch histograms in pictures.
const BATCH_FILL: [f64; 8] = [1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 16.0, 32.0];

/// What the HTTP server counts.
#[derive(Debug, Default)]
pub(super) struct HttpMetrics {
    /// Clients that read events.
    pub(super) clients: Depth,
    /// Clients that were dropped because they read too slowly.
    pub(super) dropped: Counter,
    /// Requests that were answered.
    pub(super) requests: Counter,
    /// Connections and requests that were refused.
    pub(super) refused: Counter,
}

/// Every number of a live run.
#[derive(Debug)]
pub struct Metrics {
    began: Instant,
    began_wall: SystemTime,
    streams: Box<[StreamMetrics]>,
    sinks: OnceLock<Box<[SinkMetrics]>>,
    model: AtomicU8,
    /// When the current inference began, in milliseconds since the run began, from 1; 0 without one.
    inferring_since: AtomicU64,
    /// The same of the frame that is being read.
    reading_since: AtomicU64,
    /// Longest time of one inference, in milliseconds; 0 for no limit.
    hang_limit: AtomicU64,
    stages: [Histogram; Stage::ALL.len()],
    encode_fill: Histogram,
    caption_fill: Histogram,
    pub(super) http: HttpMetrics,
}

impl Metrics {
    /// Metrics of these streams, whose names are unique. The hub adds its outputs.
    pub fn new<S: AsRef<str>>(streams: impl IntoIterator<Item = S>) -> Arc<Metrics> {
        Arc::new(Metrics {
            began: Instant::now(),
            began_wall: SystemTime::now(),
            streams: streams.into_iter().map(|s| StreamMetrics::new(s.as_ref().into())).collect(),
            sinks: OnceLock::new(),
            model: AtomicU8::new(ModelState::Loading as u8),
            inferring_since: AtomicU64::new(0),
            reading_since: AtomicU64::new(0),
            hang_limit: AtomicU64::new(0),
            stages: [(); Stage::ALL.len()].map(|()| Histogram::new(STAGE_SECONDS)),
            encode_fill: Histogram::new(BATCH_FILL),
            caption_fill: Histogram::new(BATCH_FILL),
            http: HttpMetrics::default(),
        })
    }

    /// Names the outputs. A second call changes nothing.
    pub(super) fn set_sinks(&self, names: impl IntoIterator<Item = String>) {
        let streams = self.streams.len();
        let _ = self.sinks.set(names.into_iter().map(|name| SinkMetrics::new(name, streams)).collect());
    }

    /// The streams, in the order of the configuration.
    pub fn streams(&self) -> &[StreamMetrics] {
        &self.streams
    }

    fn position(&self, stream: &str) -> Option<usize> {
        self.streams.iter().position(|s| &**s.name() == stream)
    }

    /// The stream with this name.
    pub fn stream(&self, name: &str) -> Option<&StreamMetrics> {
        self.streams.get(self.position(name)?)
    }

    /// The outputs, in their order; empty before the hub starts.
    pub fn sinks(&self) -> &[SinkMetrics] {
        self.sinks.get().map_or(&[], |s| s)
    }

    /// Counts a caption that has reached the output at this position.
    pub fn lag(&self, sink: usize, stream: &str, lag: Duration) {
        if let (Some(sink), Some(stream)) = (self.sinks().get(sink), self.position(stream)) {
            sink.lags[stream].add(lag);
        }
    }

    /// Sets a stream's state.
    pub fn set_state(&self, stream: &str, state: StreamState, reason: Option<Reason>) {
        if let Some(s) = self.stream(stream) {
            s.set_state(state, reason, self.began.elapsed().as_millis() as u64);
        }
    }

    /// Records that a stream has ended.
    pub fn set_ended(&self, stream: &str) {
        if let Some(s) = self.stream(stream) {
            s.set_ended();
        }
    }

    /// Sets the model's state.
    pub fn set_model(&self, state: ModelState) {
        self.model.store(state as u8, Ordering::Relaxed);
    }

    fn model_state(&self) -> ModelState {
        [ModelState::Loading, ModelState::Working, ModelState::Failed]
            [usize::from(self.model.load(Ordering::Relaxed)) % 3]
    }

    /// Counts a piece of work.
    pub fn stage_seconds(&self, stage: Stage, spent: Duration) {
        self.stages[stage as usize].observe(spent.as_secs_f64());
    }

    /// Counts a batch of pictures that was encoded.
    pub fn encode_batch(&self, fill: usize) {
        self.encode_fill.observe(fill as f64);
    }

    /// Counts a batch of pictures that was described.
    pub fn caption_batch(&self, fill: usize) {
        self.caption_fill.observe(fill as f64);
    }

    /// Identifies the run: the page starts counting again when this changes.
    pub(super) fn run(&self) -> String {
        rfc3339(self.began_wall)
    }

    /// Milliseconds since the run began, from 1.
    fn now(&self) -> u64 {
        self.began.elapsed().as_millis() as u64 + 1
    }
}
