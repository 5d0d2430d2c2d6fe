//! Hands events to the outputs: a bounded queue and a thread for each.
//!
//! Order: each output gets the events of one stream in their order.
//!
//! Faults: publishing never waits for an output. Where an output is slow or hangs, its queue fills and its oldest events are
//! dropped: counted in the output's metrics, logged, and reported to the output itself once it takes events again. Progress
//! events that a later one supersedes are dropped first, and are no loss. No output affects another.
//!
//! Memory: bounded by the lengths of the queues and the size of an event, which the queues share.

mod queue;
mod sink;
mod worker;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::event::{Event, EventKind};
use super::metrics::Metrics;
use crate::interrupt::Interrupt;
use crate::lock::lock;
use queue::EventQueue;
use worker::SinkWorker;

pub(super) use sink::write_error;
pub use sink::{Sink, StopSignal};
pub(super) use worker::{LogLevel, SinkLog};

/// An output's thread and what is needed to end it.
struct SinkThread {
    queue: Arc<EventQueue>,
    thread: Option<JoinHandle<()>>,
    name: String,
    /// How long it may be busy once all streams have ended, and whether it is.
    finishing: Duration,
    busy: Arc<AtomicBool>,
}

/// How often outputs that are busy at the end are looked at.
const NAP: Duration = Duration::from_millis(20);

/// All outputs of a run.
pub struct Hub {
    outputs: Mutex<Vec<SinkThread>>,
    queues: Vec<Arc<EventQueue>>,
    metrics: Arc<Metrics>,
    stop: StopSignal,
    log: SinkLog,
    /// Whether an output wants the streams' sound.
    wants_audio: bool,
}

impl Hub {
    /// Starts the outputs' threads, and logs nothing.
    pub fn new(sinks: Vec<Box<dyn Sink>>, metrics: Arc<Metrics>) -> Hub {
        Hub::logged(sinks, metrics, Arc::new(|_, _, _| {}))
    }

    /// Starts the outputs' threads; `log` receives what happens to an output, by its name.
    pub(super) fn logged(sinks: Vec<Box<dyn Sink>>, metrics: Arc<Metrics>, log: SinkLog) -> Hub {
        let stop = StopSignal::default();
        let names = unique_names(&sinks);
        let wants_audio = sinks.iter().any(|sink| sink.wants_audio());
        metrics.set_sinks(names.iter().cloned());
        let mut outputs = Vec::new();
        for (position, (sink, name)) in sinks.into_iter().zip(names).enumerate() {
            let (queue, finishing) = (Arc::new(EventQueue::new(&*sink)), sink.finishing());
            let busy = Arc::<AtomicBool>::default();
            let mut worker = SinkWorker {
                sink,
                position,
                name: name.clone(),
                queue: queue.clone(),
                metrics: metrics.clone(),
                stop: stop.clone(),
                failing: false,
                busy: busy.clone(),
                log: log.clone(),
            };
            let thread = std::thread::Builder::new().name(format!("out-{position}")).spawn(move || worker.run());
            let thread = thread.inspect_err(|e| log(LogLevel::Warning, &name, &format!("got no thread: {e}"))).ok();
            if thread.is_none() {
                queue.shut();
            }
            outputs.push(SinkThread { queue, thread, name, finishing, busy });
        }
        let queues = outputs.iter().map(|o| o.queue.clone()).collect();
        Hub { outputs: Mutex::new(outputs), queues, metrics, stop, log, wants_audio }
    }

    /// Whether an output wants the streams' sound.
    pub(super) fn wants_audio(&self) -> bool {
        self.wants_audio
    }

    /// Hands an event to every output that wants it; never blocks. Updates the states in the metrics.
    pub fn publish(&self, event: Arc<Event>) {
        match &event.kind {
            EventKind::State { state, reason } => self.metrics.set_state(&event.stream, *state, *reason),
            EventKind::End => self.metrics.set_ended(&event.stream),
            _ => {}
        }
        for (queue, sink) in self.queues.iter().zip(self.metrics.sinks()) {
            queue.offer(&event, sink);
        }
    }

    /// Waits for outputs that are busy after all streams have ended, each as long as it [may be](Sink::finishing), but not
    /// beyond a stop.
    pub(super) fn settle(&self, interrupt: &Interrupt) {
        let ended = Instant::now();
        let is_busy = |o: &SinkThread| {
            let works = || o.queue.has_work() || o.busy.load(Ordering::Acquire);
            ended.elapsed() < o.finishing && o.thread.as_ref().is_some_and(|t| !t.is_finished()) && works()
        };
        while !interrupt.is_set() && lock(&self.outputs).iter().any(is_busy) {
            std::thread::sleep(NAP);
        }
    }

    /// Lets the outputs write what is queued and complete themselves. What is not done by the deadline is lost and counted.
    /// An output that hangs even then is left behind; the threads of the others are joined.
    pub fn close(&self, deadline: Duration) {
        self.stop.announce(Instant::now() + deadline);
        let mut outputs = lock(&self.outputs);
        outputs.iter().for_each(|o| o.queue.close());
        for (o, sink) in outputs.iter_mut().zip(self.metrics.sinks()) {
            let Some(thread) = o.thread.take() else { continue };
            while !thread.is_finished() && !self.stop.at_most(Duration::MAX).is_zero() {
                std::thread::sleep(Duration::from_millis(2));
            }
            let left = o.queue.shut();
            if left > 0 {
                sink.count_lost(left);
                (self.log)(LogLevel::Warning, &o.name, &format!("ran out of time; {left} events are lost"));
            }
            if thread.is_finished() && thread.join().is_err() {
                (self.log)(LogLevel::Warning, &o.name, "panicked and was given up");
            }
        }
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.close(Duration::ZERO);
    }
}

/// The names of the outputs: `vtt`, and `vtt-2` for a second one.
fn unique_names(sinks: &[Box<dyn Sink>]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for sink in sinks {
        let plain = sink.name().to_string();
        let mut unique = plain.clone();
        for n in 2.. {
            if !names.contains(&unique) {
                break;
            }
            unique = format!("{plain}-{n}");
        }
        names.push(unique);
    }
    names
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::SystemTime;

    use super::super::event::{LiveCaption, Reason, StreamState};
    use super::*;
    use crate::error::{Error, Result};
    use crate::time::Time;

    /// Records numbers; waits at its gate before each event.
    struct MockSink {
        gate: Arc<Mutex<()>>,
        seen: Arc<Mutex<Vec<u64>>>,
        missed: Arc<AtomicU64>,
        closed: Arc<AtomicU64>,
        fails: bool,
    }

    impl Sink for MockSink {
        fn name(&self) -> &str {
            "probe"
        }
        fn capacity(&self) -> usize {
            8
        }
        fn event(&mut self, event: &Event) -> Result<()> {
            drop(self.gate.lock().unwrap());
            if self.fails {
                return Err(Error::output("probe", "fails", "do something"));
            }
            self.seen.lock().unwrap().push(event.number);
            Ok(())
        }
        fn lost(&mut self, events: u64) -> Result<()> {
            self.missed.fetch_add(events, Ordering::Relaxed);
            Ok(())
        }
        fn close(&mut self) -> Result<()> {
            self.closed.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
    }

    fn probe() -> MockSink {
        MockSink {
            gate: Arc::default(),
            seen: Arc::default(),
            missed: Arc::default(),
            closed: Arc::default(),
            fails: false,
        }
    }

    fn event(number: u64, kind: EventKind) -> Arc<Event> {
        Arc::new(Event { stream: "s".into(), number, at: SystemTime::now(), kind })
    }

    fn caption(number: u64) -> Arc<Event> {
        let time = Time::from_millis(number as i64);
        event(
            number,
            EventKind::Caption(LiveCaption {
                start: time,
                picture_time: time,
                due: time,
                wall: SystemTime::now(),
                arrived: Instant::now(),
                waited: Duration::ZERO,
                text: "a dog".into(),
                score: None,
                returning: false,
                screen_text: Arc::new([]),
                jpeg: Arc::new([]),
            }),
        )
    }

    fn progress(number: u64) -> Arc<Event> {
        event(number, EventKind::Progress { time: Time::from_millis(number as i64), wall: SystemTime::now() })
    }

    fn wait(what: &str, mut done: impl FnMut() -> bool) {
        let began = Instant::now();
        while !done() {
            assert!(began.elapsed() < Duration::from_secs(10), "{what}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    #[test]
    fn events_come_in_order_and_all_of_them_before_the_end() {
        let (a, b) = (probe(), probe());
        let (seen, also, closed) = (a.seen.clone(), b.seen.clone(), a.closed.clone());
        let metrics = Metrics::new(["s"]);
        let hub = Hub::new(vec![Box::new(a), Box::new(b)], metrics.clone());
        (0..7).for_each(|n| hub.publish(caption(n)));
        hub.publish(event(7, EventKind::State { state: StreamState::Null, reason: Some(Reason::Read) }));
        hub.close(Duration::from_secs(5));
        assert_eq!(*seen.lock().unwrap(), (0..8).collect::<Vec<_>>());
        assert_eq!(*also.lock().unwrap(), *seen.lock().unwrap());
        assert_eq!(closed.load(Ordering::Relaxed), 1);
        let status = metrics.status();
        assert_eq!(status["outputs"][1]["name"], "probe-2");
        assert_eq!(status["streams"][0]["lag"]["probe-2"]["captions"], 7);
        assert_eq!(status["streams"][0]["reason"], "read");
        // Too late, and counted.
        hub.publish(caption(9));
        assert_eq!(metrics.sinks()[0].lost(), 1);
    }

    #[test]
    fn an_output_that_hangs_loses_its_oldest_events_and_no_other_does() {
        let (slow, quick) = (probe(), probe());
        let (gate, seen, missed) = (slow.gate.clone(), slow.seen.clone(), slow.missed.clone());
        let all = quick.seen.clone();
        let metrics = Metrics::new(["s"]);
        let hub = Hub::new(vec![Box::new(slow), Box::new(quick)], metrics.clone());
        let shut = gate.lock().unwrap();
        hub.publish(caption(0));
        wait("the slow output takes the first", || metrics.sinks()[0].waiting() == 0);
        let began = Instant::now();
        for n in 1..100 {
            hub.publish(caption(n));
            wait("the quick one has it", || all.lock().unwrap().len() as u64 == n + 1);
        }
        assert!(began.elapsed() < Duration::from_secs(5));
        assert_eq!(metrics.sinks()[0].lost(), 91);
        drop(shut);
        wait("it recovers", || seen.lock().unwrap().len() == 9);
        assert_eq!(*seen.lock().unwrap(), [0, 92, 93, 94, 95, 96, 97, 98, 99]);
        assert_eq!(missed.load(Ordering::Relaxed), 91);
        assert_eq!(metrics.sinks()[1].lost(), 0);
    }

    #[test]
    fn progress_is_dropped_before_captions_and_is_no_loss() {
        let slow = probe();
        let (gate, seen) = (slow.gate.clone(), slow.seen.clone());
        let metrics = Metrics::new(["s"]);
        let hub = Hub::new(vec![Box::new(slow)], metrics.clone());
        let shut = gate.lock().unwrap();
        hub.publish(caption(0));
        wait("it is at work", || metrics.sinks()[0].waiting() == 0);
        (1..9).for_each(|n| hub.publish(if n % 2 == 0 { caption(n) } else { progress(n) }));
        (9..13).for_each(|n| hub.publish(caption(n)));
        (13..20).for_each(|n| hub.publish(progress(n)));
        drop(shut);
        hub.close(Duration::from_secs(5));
        assert_eq!(*seen.lock().unwrap(), [0, 2, 4, 6, 8, 9, 10, 11, 12]);
        assert_eq!(metrics.sinks()[0].lost(), 0);
    }

    #[test]
    fn an_output_that_never_returns_does_not_block_the_end() {
        let dead = probe();
        let gate = dead.gate.clone();
        let metrics = Metrics::new(["s"]);
        let hub = Hub::new(vec![Box::new(dead)], metrics.clone());
        let shut = gate.lock().unwrap();
        (0..5).for_each(|n| hub.publish(caption(n)));
        let began = Instant::now();
        hub.close(Duration::from_millis(200));
        assert!(began.elapsed() < Duration::from_secs(1));
        assert_eq!(metrics.sinks()[0].lost(), 5);
        drop(shut);
    }

    #[test]
    fn failures_are_counted_and_logged_once() {
        let bad = MockSink { fails: true, ..probe() };
        let metrics = Metrics::new(["s"]);
        let logged = Arc::new(Mutex::new(Vec::new()));
        let log = logged.clone();
        let log: SinkLog =
            Arc::new(move |level, name, text| log.lock().unwrap().push(format!("{level:?} {name} {text}")));
        let hub = Hub::logged(vec![Box::new(bad)], metrics.clone(), log);
        (0..5).for_each(|n| hub.publish(caption(n)));
        hub.close(Duration::from_secs(5));
        // Once, for all of a row.
        assert_eq!(*logged.lock().unwrap(), ["Warning probe probe: fails\n  do something"]);
        let sink = &metrics.sinks()[0];
        assert_eq!((sink.lost(), sink.errors(), sink.written()), (5, 5, 0));
    }
}
