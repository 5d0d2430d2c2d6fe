//! Faults of a decoder and of descry itself in live mode: each costs one stream, or one connection of it.

use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::span;
use tracing::{Event as LogEvent, Metadata, Subscriber};

use crate::common::Bench;
use crate::common::faulty::{self, SEGFAULT, preload};
use crate::engine;
use crate::streams::{Live, files};
use descry::live::EventKind;

#[test]
fn a_decoder_that_crashes_costs_a_connection_and_no_other_stream() {
    let b = Bench::new();
    let library = preload(&b).display().to_string();
    faulty::film(&b, "crash.ts", (322, SEGFAULT));
    engine::film(&b, "good.mp4", 16);
    let crash = format!("{}/crash.ts", files(b.path("")));
    let good = b.path("good.mp4").display().to_string();
    let args = ["--realtime", "--min-interval", "0.1", "--model", "tests/models/tiny", &crash, &good];
    let mut live = Live::with(&args, &[("LD_PRELOAD", &library)]);
    let crashes = |l: &serde_json::Value| l["stream"].as_str().is_some_and(|s| s.contains("crash"));
    let mut from = 0;
    for _ in 0..2 {
        let lost = |l: &serde_json::Value| crashes(l) && l["type"] == "state" && l["reason"] == "read";
        (_, from) = live.wait("connection that is lost", from, lost);
        let again = |l: &serde_json::Value| crashes(l) && l["state"] == "playing";
        (_, from) = live.wait("new connection", from, again);
    }
    live.wait("caption of the other stream", from, |l| !crashes(l) && l["type"] == "caption");
    let (_, errors) = live.stop();
    assert!(errors.contains("its decoder crashed (SIGSEGV)"), "{errors}");
    assert!(errors.contains("decoding in separate processes"), "{errors}");
}

/// A log that panics when the stream of this name connects.
struct PanickingLog(&'static str);

/// Looks for the name of a stream.
struct StreamName<'a>(&'a str, bool);

impl Visit for StreamName<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.1 |= field.name() == "stream" && format!("{value:?}").contains(self.0);
    }
}

impl Subscriber for PanickingLog {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &LogEvent<'_>) {
        let mut name = StreamName(self.0, false);
        event.record(&mut name);
        let is_info = *event.metadata().level() == tracing::Level::INFO;
        assert!(!(name.1 && is_info), "the log of {} panics", self.0);
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

#[test]
fn a_panic_costs_one_stream() {
    tracing::subscriber::set_global_default(PanickingLog("panics-here")).unwrap();
    let b = Bench::new();
    engine::film(&b, "panics-here.mp4", 3);
    engine::film(&b, "good.mp4", 3);
    let run = engine::watch(&b, &["panics-here.mp4", "good.mp4"], Duration::ZERO, usize::MAX, false);
    assert_eq!(run.result.as_ref().unwrap().failed, 1);
    engine::sound(&run, 2);
    let captions = |name: &str| {
        let is_caption = |e: &descry::live::Event| matches!(e.kind, EventKind::Caption(_));
        run.events.iter().filter(|(_, e)| e.stream.contains(name) && is_caption(e)).count()
    };
    assert_eq!(captions("panics-here"), 0);
    assert!(captions("good") >= 2, "{}", captions("good"));
}
