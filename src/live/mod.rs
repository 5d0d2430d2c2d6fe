//! Live mode: describes streams that never end, as they arrive.
//!
//! ```text
//! watch (one thread a stream)   connect, decode, place on the stream's clock, choose keyframes; reconnect after each loss
//!   │ inbox: a short queue a stream, which drops its oldest keyframe
//! describe (one thread)         image and caption batches across all streams; publish what is new, in pauses of the talk
//!   │ hub: a bounded queue an output
//! outputs (one thread each)
//! ```
//!
//! The caller's thread supervises them ([`run()`]). The states in between (connection, timeline, novelty, pause, inbox, segments)
//! are pure and tested without threads.
//!
//! Order: events of one stream are in order and numbered without a gap.
//!
//! Memory: nothing grows with time. A watcher holds two decoded frames beside the decoder's own, the inbox three small
//! pictures a stream, the describer one batch and what deduplication remembers, each output its queue.
//!
//! Faults: a source that fails affects its own stream only, which reconnects. Only the model's failure ends the run. A model
//! that makes no progress is reported in the metrics; when that lasts, the run ends too, because nothing can interrupt a
//! thread inside an inference.
//!
//! Stopping: watchers and the describer finish their current work. Waiting keyframes are described if there is time, and
//! counted as dropped otherwise. All threads are joined, except one that nothing can interrupt (in the system's resolver,
//! or in a model that hangs): it is left behind, and the process must end without waiting for it.
//!
//! # Example
//!
//! A file plays at its own pace like a camera; the first description ends the run.
//!
//! ```
//! use descry::interrupt::Interrupt;
//! use descry::live::{self, CallbackSink, EventKind, LiveJob, StreamConfig};
//! use descry::model::{Model, ModelFolder, ModelOptions};
//!
//! # fn main() -> descry::error::Result<()> {
//! let folder = ModelFolder::open("models/builtin")?;
//! let model = Model::of(&folder.into(), ModelOptions::default())?;
//! let stop = Interrupt::new();
//!
//! let mut job = LiveJob::new(vec![StreamConfig::new("samples/bikes.mp4")?], model);
//! let described = stop.clone();
//! job.outputs.push(Box::new(CallbackSink::new(move |event| {
//!     if let EventKind::Caption(caption) = &event.kind {
//!         println!("{} {}: {}", event.stream, caption.start, caption.text);
//!         described.set();
//!     }
//! })));
//! let summary = live::run(job, &stop)?;
//! assert_eq!(summary.failed, 0);
//! # Ok(())
//! # }
//! ```

mod access;
mod catch_up;
mod config;
mod connection;
mod describe;
mod event;
mod http;
mod hub;
mod inbox;
mod json;
mod metrics;
mod novelty;
mod outputs;
mod pause;
mod run;
mod sinks;
mod source;
mod stream;
mod sync;
#[cfg(test)]
mod tests;
mod text;
mod timeline;
mod voice_config;
mod watch;

pub use crate::serve::HttpOptions;
pub use config::{LiveConfig, StreamConfig, StreamEntry};
pub use event::{ClockMapping, Event, EventKind, LiveAudio, LiveCaption, Reason, StreamState};
pub use http::{HttpServer, fetch_status};
pub use hub::{Hub, Sink, StopSignal};
pub use metrics::{DropReason, LagStats, Metrics, ModelState, SinkMetrics, Stage, StreamMetrics};
pub use outputs::{CommandLine, OutputConfig, Secret};
pub use run::{LiveJob, LiveOptions, LiveSummary, run};
pub use sinks::callback::CallbackSink;
pub use sinks::command::{CommandOptions, CommandSink};
pub use sinks::existing::Existing;
pub use sinks::hls::{HlsOptions, HlsSink};
pub use sinks::jsonl::JsonLinesSink;
pub use sinks::voice::{VoiceOutputs, VoiceSink};
pub use sinks::vtt::{RotateWhen, Rotation, VttSink};
pub use sinks::webhook::{WebhookOptions, WebhookSink};
pub use source::{RtspTransport, SourceKind};
