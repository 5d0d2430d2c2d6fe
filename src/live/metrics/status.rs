//! The status: every number of a live run as one JSON object, for people and for the page.

use std::sync::atomic::Ordering;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use serde_json::{Map, Value, json};

use super::super::event::Reason;
use super::process;
use super::{DropReason, Metrics, SinkMetrics, StreamMetrics};

impl Metrics {
    /// The answer of `/status`.
    pub fn status(&self) -> Value {
        let streams: Vec<Value> = self.streams.iter().enumerate().map(|(i, s)| self.stream_status(i, s)).collect();
        let outputs: Vec<Value> = self.sinks().iter().map(sink_status).collect();
        json!({
            "descry": env!("CARGO_PKG_VERSION"),
            "healthy": self.healthy(),
            "model": self.model_word(),
            "uptime_seconds": self.began.elapsed().as_secs(),
            "resident_bytes": process::resident_bytes(),
            "streams": streams,
            "outputs": outputs,
        })
    }

    fn stream_status(&self, position: usize, s: &StreamMetrics) -> Value {
        let since = Duration::from_millis(s.since.load(Ordering::Relaxed));
        let dropped = named(DropReason::ALL.map(DropReason::name), &s.dropped);
        let mut reconnects = named(Reason::ALL.map(Reason::name), &s.reconnects);
        reconnects.retain(|_, n| *n != 0);
        let lag: Map<String, Value> = self
            .sinks()
            .iter()
            .filter_map(|sink| {
                let lag = sink.lag_of(position)?;
                let [p50, p95] = lag.quantiles([0.5, 0.95])?;
                Some((sink.name.clone(), json!({ "p50": p50, "p95": p95, "captions": lag.count() })))
            })
            .collect();
        json!({
            "name": &**s.name(),
            "state": s.state().name(),
            "reason": s.reason().map(Reason::name),
            "state_seconds": self.began.elapsed().saturating_sub(since).as_secs(),
            "ended": s.has_ended(),
            "frames": s.frames.get(),
            "frames_dropped": dropped,
            "keyframes": s.keyframes.get(),
            "captions": s.captions.get(),
            "text_looks": s.text_looks.get(),
            "text_looks_dropped": s.text_dropped.get(),
            "waiting": s.queue.get(),
            "held": s.held.get(),
            "reconnects": reconnects,
            "lag": lag,
        })
    }
}

fn named<const N: usize>(names: [&str; N], counters: &[Counter; N]) -> Map<String, Value> {
    names.iter().zip(counters).map(|(name, n)| ((*name).into(), n.get().into())).collect()
}

fn sink_status(s: &SinkMetrics) -> Value {
    json!({
        "name": s.name,
        "waiting": s.waiting(),
        "written": s.written(),
        "lost": s.lost(),
        "errors": s.errors(),
        "ended": s.has_ended(),
    })
}
