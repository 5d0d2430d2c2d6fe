//! Whether a live run works: the streams make progress, and the model is loaded and does not hang.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::super::event::StreamState;
use super::{Metrics, ModelState, StreamMetrics};

impl Metrics {
    /// Limits one inference: the model counts as hung when one takes longer. `None` for no limit.
    pub(in crate::live) fn set_hang_limit(&self, limit: Option<Duration>) {
        let millis = limit.map_or(0, |m| u64::try_from(m.as_millis()).unwrap_or(u64::MAX).max(1));
        self.hang_limit.store(millis, Ordering::Relaxed);
    }

    /// Records that an inference begins (`true`) or has ended.
    pub(in crate::live) fn set_inferring(&self, on: bool) {
        self.inferring_since.store(if on { self.now() } else { 0 }, Ordering::Relaxed);
    }

    /// Records that a frame begins to be read (`true`) or was.
    pub(in crate::live) fn set_reading(&self, on: bool) {
        self.reading_since.store(if on { self.now() } else { 0 }, Ordering::Relaxed);
    }

    /// How long the current inference has taken, or the longer of two; zero while there is none.
    pub(in crate::live) fn inference_time(&self) -> Duration {
        let spent = |since: &AtomicU64| match since.load(Ordering::Relaxed) {
            0 => 0,
            since => self.now().saturating_sub(since),
        };
        Duration::from_millis(spent(&self.inferring_since).max(spent(&self.reading_since)))
    }

    /// Whether the current inference takes longer than the limit.
    pub(in crate::live) fn is_hung(&self) -> bool {
        let limit = self.hang_limit.load(Ordering::Relaxed);
        limit > 0 && self.inference_time() >= Duration::from_millis(limit)
    }

    /// Records that a stream's watcher is alive, or that it is not connected and owes no heartbeat.
    pub(in crate::live) fn heartbeat(&self, stream: usize, connected: bool) {
        if let Some(s) = self.streams.get(stream) {
            s.heartbeat.store(if connected { self.now() } else { 0 }, Ordering::Relaxed);
        }
    }

    /// How long a connected stream has given no heartbeat, where that is longer than its limit.
    pub(super) fn stuck_for(&self, s: &StreamMetrics) -> Option<Duration> {
        let (last, limit) = (s.heartbeat.load(Ordering::Relaxed), s.stuck_limit.load(Ordering::Relaxed));
        let still = self.now().saturating_sub(last);
        (last > 0 && limit > 0 && still >= limit).then(|| Duration::from_millis(still))
    }

    /// Whether every stream plays or reconnects, and the model works and does not hang.
    pub fn healthy(&self) -> bool {
        self.problem().is_none()
    }

    /// Why the run is not healthy.
    fn problem(&self) -> Option<String> {
        match self.model_state() {
            ModelState::Loading => return Some("the model is being loaded".into()),
            ModelState::Failed => return Some("the model has failed".into()),
            ModelState::Working => {}
        }
        if self.is_hung() {
            return Some(format!(
                "the model has been busy with one inference for {} s",
                self.inference_time().as_secs()
            ));
        }
        self.streams.iter().find_map(|s| {
            let name = s.name();
            match self.stuck_for(s) {
                Some(still) => Some(format!("stream {name} has made no progress for {} s", still.as_secs())),
                None => s.has_ended().then(|| format!("stream {name} has ended")),
            }
        })
    }

    /// `loading`, `working`, `hung` or `failed`.
    pub(super) fn model_word(&self) -> &'static str {
        if self.model_state() == ModelState::Working && self.is_hung() { "hung" } else { self.model_state().name() }
    }

    /// The answer of `/healthz`: `healthy`, `reason`, `model`, and a word for each stream.
    pub fn health(&self) -> Value {
        let streams: Map<String, Value> =
            self.streams.iter().map(|s| (s.name().to_string(), self.stream_word(s).into())).collect();
        let problem = self.problem();
        json!({ "healthy": problem.is_none(), "reason": problem, "model": self.model_word(), "streams": streams })
    }

    fn stream_word(&self, s: &StreamMetrics) -> &'static str {
        if s.has_ended() {
            "ended"
        } else if self.stuck_for(s).is_some() {
            "stuck"
        } else if s.state() == StreamState::Playing {
            "playing"
        } else {
            "retrying"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::event::Reason;
    use super::*;

    #[test]
    fn a_stream_that_reconnects_is_healthy_and_one_that_ended_is_not() {
        let m = Metrics::new(["a", "b"]);
        assert!(!m.healthy());
        m.set_model(ModelState::Working);
        m.set_state("a", StreamState::Null, Some(Reason::OpenRead));
        assert!(m.healthy());
        assert_eq!(m.status()["streams"][0]["reason"], "open-read");
        m.set_ended("b");
        assert!(!m.healthy());
        assert_eq!(m.health()["streams"], json!({ "a": "retrying", "b": "ended" }));
        assert_eq!(m.health()["reason"], "stream b has ended");
    }

    #[test]
    fn lack_of_progress_is_reported() {
        let m = Metrics::new(["a", "b"]);
        m.set_model(ModelState::Working);
        // Without limits nothing hangs.
        m.set_inferring(true);
        m.heartbeat(1, true);
        std::thread::sleep(Duration::from_millis(20));
        assert!(m.healthy());
        m.set_hang_limit(Some(Duration::from_millis(10)));
        assert!(!m.healthy() && m.is_hung());
        assert_eq!((&m.health()["model"], &m.status()["model"]), (&json!("hung"), &json!("hung")));
        assert!(
            m.health()["reason"].as_str().unwrap().starts_with("the model has been busy with one inference for 0 s")
        );
        assert!(
            m.prometheus().contains("\ndescry_model_working 0\n") && m.prometheus().contains("\ndescry_healthy 0\n")
        );
        m.set_inferring(false);
        assert!(m.healthy());
        m.streams()[1].set_stuck_limit(Duration::from_millis(10));
        assert!(!m.healthy());
        assert_eq!(m.health()["streams"], json!({ "a": "retrying", "b": "stuck" }));
        assert!(m.prometheus().contains("descry_stuck{stream=\"b\"} 1\n"));
        m.heartbeat(1, false);
        assert!(m.healthy());
        assert!(
            m.prometheus().contains("\ndescry_model_working 1\n") && m.prometheus().contains("\ndescry_healthy 1\n")
        );
    }
}
