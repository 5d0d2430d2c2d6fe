//! `/metrics`: all numbers in Prometheus' text format, version 0.0.4.
//!
//! A [`Collector`] writes them with the encoder of `prometheus-client`, in a fixed order. Half of the numbers are computed
//! on request (health, states, quantiles, memory), and the labels are known from the start, so the crate's
//! `Family`, which creates series on demand and lists them in random order, has no use here.

use std::fmt;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::prometheus_text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::super::event::{Reason, StreamState};
use super::process;
use super::{DropReason, Metrics, ModelState, SinkMetrics, Stage, StreamMetrics};

/// Quantiles that `descry_lag_recent_seconds` has.
const QUANTILES: [f64; 2] = [0.5, 0.95];

/// Name and help of a counter, and where it is.
type CounterOf<T> = (&'static str, &'static str, fn(&T) -> &Counter);

impl Metrics {
    /// The answer of `/metrics`.
    pub fn prometheus(self: &Arc<Metrics>) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self.clone()));
        let mut out = String::with_capacity(16 << 10);
        // Writing to a string cannot fail.
        let _ = encode(&mut out, &registry);
        out
    }
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let text = &mut Exposition { encoder: &mut encoder };
        self.encode_process(text)?;
        self.encode_health(text)?;
        self.encode_streams(text)?;
        self.encode_stages(text)?;
        self.encode_sinks(text)?;
        self.encode_lags(text)?;
        self.encode_http(text)
    }
}

/// Writes one metric after the other.
struct Exposition<'a, 'b> {
    encoder: &'a mut DescriptorEncoder<'b>,
}

impl Exposition<'_, '_> {
    /// Writes the head of a metric, and lets `series` write its series.
    fn metric(
        &mut self,
        name: &str,
        kind: MetricType,
        help: &str,
        series: impl FnOnce(MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        series(self.encoder.encode_descriptor(name, help, None, kind)?)
    }

    /// A gauge without labels.
    fn gauge(&mut self, name: &str, help: &str, value: impl EncodeGaugeValue) -> fmt::Result {
        self.metric(name, MetricType::Gauge, help, |mut metric| metric.encode_gauge(&value))
    }

    /// A gauge that is 1 or 0 for each stream.
    fn flags(
        &mut self,
        name: &str,
        help: &str,
        streams: &[StreamMetrics],
        flag: impl Fn(&StreamMetrics) -> bool,
    ) -> fmt::Result {
        self.metric(name, MetricType::Gauge, help, |mut metric| {
            streams
                .iter()
                .try_for_each(|s| metric.encode_family(&[("stream", &**s.name())])?.encode_gauge(&u64::from(flag(s))))
        })
    }
}

/// Encodes a number that has its own type with these labels.
fn series<const N: usize>(
    metric: &mut MetricEncoder<'_>,
    labels: &[(&str, &str); N],
    value: &impl EncodeMetric,
) -> fmt::Result {
    value.encode(metric.encode_family(labels)?)
}

impl Metrics {
    fn encode_process(&self, text: &mut Exposition<'_, '_>) -> fmt::Result {
        text.metric("descry_build_info", MetricType::Gauge, "Version of descry.", |mut metric| {
            series(&mut metric, &[("version", env!("CARGO_PKG_VERSION"))], &ConstGauge::new(1u64))
        })?;
        let began = self.began_wall.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        text.gauge("process_start_time_seconds", "When the run began, in Unix time.", began)?;
        if let Some(bytes) = process::resident_bytes() {
            text.gauge("process_resident_memory_bytes", "Resident memory of this process.", bytes)?;
        }
        if let Some(threads) = process::threads() {
            text.gauge("process_threads", "Threads of this process.", threads)?;
        }
        if let Some(open) = process::open_files() {
            text.gauge("process_open_fds", "Open file descriptors of this process.", open)?;
        }
        Ok(())
    }

    fn encode_health(&self, text: &mut Exposition<'_, '_>) -> fmt::Result {
        text.gauge("descry_healthy", "1 while /healthz answers 200.", u64::from(self.healthy()))?;
        let working = self.model_word() == ModelState::Working.name();
        text.gauge(
            "descry_model_working",
            "1 while the model is loaded, works and does not hang.",
            u64::from(working),
        )?;
        let busy = self.inference_time().as_secs_f64();
        text.gauge("descry_model_busy_seconds", "How long the current inference has taken; 0 without one.", busy)
    }

    fn encode_streams(&self, text: &mut Exposition<'_, '_>) -> fmt::Result {
        let streams = &self.streams;
        let dropped_looks = "Frames that were chosen to be read and were not, because later ones were.";
        let counters: [CounterOf<StreamMetrics>; 5] = [
            ("descry_frames", "Decoded frames.", |s| &s.frames),
            ("descry_keyframes", "Keyframes that were chosen to be described.", |s| &s.keyframes),
            ("descry_text_looks", "Frames that were chosen to be read.", |s| &s.text_looks),
            ("descry_text_looks_dropped", dropped_looks, |s| &s.text_dropped),
            ("descry_captions", "Descriptions that were sent to the outputs.", |s| &s.captions),
        ];
        for (name, help, of) in counters {
            text.metric(name, MetricType::Counter, help, |mut metric| {
                streams.iter().try_for_each(|s| series(&mut metric, &[("stream", s.name())], of(s)))
            })?;
        }
        text.metric("descry_queue_depth", MetricType::Gauge, "Keyframes that wait to be described.", |mut metric| {
            streams.iter().try_for_each(|s| series(&mut metric, &[("stream", s.name())], &s.queue))
        })?;
        let help = "Descriptions that wait until nobody talks.";
        text.metric("descry_held_captions", MetricType::Gauge, help, |mut metric| {
            streams.iter().try_for_each(|s| series(&mut metric, &[("stream", s.name())], &s.held))
        })?;
        let help = "How long descriptions waited until nobody talked; a part of their lag.";
        text.metric("descry_pause_wait_seconds", MetricType::Histogram, help, |mut metric| {
            streams.iter().try_for_each(|s| series(&mut metric, &[("stream", s.name())], &s.pause_waits))
        })?;
        let help = "Frames and keyframes that were dropped, by reason.";
        text.metric("descry_frames_dropped", MetricType::Counter, help, |mut metric| {
            by_reason(&mut metric, streams, DropReason::ALL.map(DropReason::name), |s| &s.dropped)
        })?;
        let help = "Attempts to reconnect, by the reason of the loss.";
        text.metric("descry_reconnects", MetricType::Counter, help, |mut metric| {
            by_reason(&mut metric, streams, Reason::ALL.map(Reason::name), |s| &s.reconnects)
        })?;
        text.metric("descry_state", MetricType::Gauge, "1 for the state that a stream is in.", |mut metric| {
            streams.iter().flat_map(|s| StreamState::ALL.map(|state| (s, state))).try_for_each(|(s, state)| {
                let labels = [("stream", &**s.name()), ("state", state.name())];
                metric.encode_family(&labels)?.encode_gauge(&u64::from(s.state() == state))
            })
        })?;
        let help = "1 while a stream is connected and its watcher makes no progress.";
        text.flags("descry_stuck", help, streams, |s| self.stuck_for(s).is_some())?;
        text.flags("descry_ended", "1 once a stream has ended.", streams, StreamMetrics::has_ended)
    }

    fn encode_stages(&self, text: &mut Exposition<'_, '_>) -> fmt::Result {
        let help = "Duration of one piece of work, by stage.";
        text.metric("descry_stage_seconds", MetricType::Histogram, help, |mut metric| {
            let stages = Stage::ALL.iter().zip(&self.stages);
            stages.into_iter().try_for_each(|(stage, h)| series(&mut metric, &[("stage", stage.name())], h))
        })?;
        text.metric("descry_batch_fill", MetricType::Histogram, "Pictures in a batch, by stage.", |mut metric| {
            series(&mut metric, &[("stage", "encode")], &self.encode_fill)?;
            series(&mut metric, &[("stage", "caption")], &self.caption_fill)
        })
    }

    fn encode_sinks(&self, text: &mut Exposition<'_, '_>) -> fmt::Result {
        let sinks = self.sinks();
        text.metric("descry_sink_queue_depth", MetricType::Gauge, "Events that wait for an output.", |mut metric| {
            sinks.iter().try_for_each(|s| series(&mut metric, &[("sink", &s.name)], &s.queue))
        })?;
        let counters: [CounterOf<SinkMetrics>; 3] = [
            ("descry_sink_written", "Events that an output took.", |s| &s.written),
            ("descry_sink_lost", "Events that an output missed because it was slow or unavailable.", |s| &s.lost),
            ("descry_sink_errors", "Failures of an output.", |s| &s.errors),
        ];
        for (name, help, of) in counters {
            text.metric(name, MetricType::Counter, help, |mut metric| {
                sinks.iter().try_for_each(|s| series(&mut metric, &[("sink", &s.name)], of(s)))
            })?;
        }
        Ok(())
    }

    fn encode_lags(&self, text: &mut Exposition<'_, '_>) -> fmt::Result {
        let pairs: Vec<_> = self
            .sinks()
            .iter()
            .flat_map(|sink| self.streams.iter().zip(&sink.lags).map(move |(s, lag)| (s, sink, lag)))
            .collect();
        let help = "Time from a picture's arrival to its caption at an output.";
        text.metric("descry_lag_seconds", MetricType::Histogram, help, |mut metric| {
            pairs.iter().try_for_each(|(s, sink, lag)| {
                series(&mut metric, &[("stream", s.name()), ("sink", &sink.name)], &lag.all)
            })
        })?;
        let help = "Quantiles of that lag over the last 256 captions.";
        text.metric("descry_lag_recent_seconds", MetricType::Gauge, help, |mut metric| {
            for (s, sink, lag) in &pairs {
                for (q, lag) in QUANTILES.iter().zip(lag.quantiles(QUANTILES).into_iter().flatten()) {
                    let labels = [("stream", &**s.name()), ("sink", &sink.name), ("quantile", &q.to_string())];
                    metric.encode_family(&labels)?.encode_gauge(&lag)?;
                }
            }
            Ok(())
        })
    }

    fn encode_http(&self, text: &mut Exposition<'_, '_>) -> fmt::Result {
        text.metric("descry_http_clients", MetricType::Gauge, "Clients that read events.", |metric| {
            self.http.clients.encode(metric)
        })?;
        let counters = [
            (
                "descry_http_clients_dropped",
                "Clients that were dropped because they read too slowly.",
                &self.http.dropped,
            ),
            ("descry_http_requests", "Requests that were answered.", &self.http.requests),
            ("descry_http_refused", "Connections and requests that were refused.", &self.http.refused),
        ];
        for (name, help, counter) in counters {
            text.metric(name, MetricType::Counter, help, |metric| counter.encode(metric))?;
        }
        Ok(())
    }
}

/// A counter for each stream and reason.
fn by_reason<const N: usize>(
    metric: &mut MetricEncoder<'_>,
    streams: &[StreamMetrics],
    reasons: [&'static str; N],
    of: fn(&StreamMetrics) -> &[Counter; N],
) -> fmt::Result {
    for s in streams {
        for (reason, counter) in reasons.iter().zip(of(s)) {
            series(metric, &[("stream", s.name()), ("reason", reason)], counter)?;
        }
    }
    Ok(())
}
