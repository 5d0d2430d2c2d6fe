//! Hands events to the outputs: a bounded queue and a thread for each.
//!
//! Publishing never waits for an output. Each output gets the events of one stream in their order. Where it is slow or
//! stands still, its queue fills, and then its oldest events go: progress that later progress makes needless goes first
//! and is not counted, all else is counted in the output's metrics, logged, and told to the output itself when it takes
//! events again. No output knows of another. Memory is bounded by the queues' lengths and the size of an event, which
//! the queues share.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::event::{Event, What};
use super::metrics::Metrics;
use crate::error::{Error, Result};

/// How often an output that has nothing to do is asked whether it has.
const TICK: Duration = Duration::from_millis(250);

/// One output. It lives in a thread of its own and may block there.
pub trait Sink: Send {
    /// For logs and metrics: no credentials. Made unique by the hub.
    fn name(&self) -> &str;

    /// Which events it takes; the others never enter its queue. Default: all.
    fn wants(&self) -> fn(&What) -> bool {
        |_| true
    }

    /// Events that may wait for it. Default: 256.
    fn capacity(&self) -> usize {
        256
    }

    /// Called first, in the output's thread. Whatever blocks longer than a moment looks at `stop`.
    fn begin(&mut self, stop: Stop) {
        let _ = stop;
    }

    /// Takes one event. With an error the event counts as lost: an output that [keeps](Sink::keeps) it to try again says
    /// `Ok`, tells of its trouble from [`tick`](Sink::tick), and gives an error here when it had to let an older one go.
    fn event(&mut self, event: &Event) -> Result<()>;

    /// Events before the next one were lost to this output.
    fn lost(&mut self, events: u64) -> Result<()> {
        let _ = events;
        Ok(())
    }

    /// Called a few times a second, between events too. An error that lasts counts once.
    fn tick(&mut self, now: Instant) -> Result<()> {
        let _ = now;
        Ok(())
    }

    /// Nothing more comes: completes what is open.
    fn close(&mut self) -> Result<()>;

    /// Nobody reads it any more, and nobody will: it is left alone from now on.
    fn ended(&self) -> bool {
        false
    }

    /// Keeps events and writes them in its own time, so that [`tick`](Sink::tick) tells how it fares. Default: false.
    fn keeps(&self) -> bool {
        false
    }

    /// Captions that have become readable since the last call, by their stream and lag. `None`, the default, is for
    /// outputs whose captions are out when [`event`](Sink::event) returns.
    fn settled(&mut self) -> Option<Vec<(Arc<str>, Duration)>> {
        None
    }
}

/// Tells outputs that the program ends, and when at the latest.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<OnceLock<Instant>>);

impl Stop {
    /// When all must be done; none while the program goes on.
    pub fn deadline(&self) -> Option<Instant> {
        self.0.get().copied()
    }

    /// `most`, or the time to the deadline where that is less.
    pub fn at_most(&self, most: Duration) -> Duration {
        self.deadline().map_or(most, |d| d.saturating_duration_since(Instant::now()).min(most))
    }

    /// Sleeps so long, or to the deadline; wakes up early when the program is told to end, to look at the time anew.
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
}

/// How a message is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Info,
    Warning,
}

/// Hears of what happens to a stream or an output, in words for people, from several threads.
pub type Log = Arc<dyn Fn(Level, &str, &str) + Send + Sync>;

/// What the publisher and an output's thread share.
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    wants: fn(&What) -> bool,
    capacity: usize,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Arc<Event>>,
    /// Lost since the output was last told.
    lost: u64,
    /// The output works on an event.
    busy: bool,
    closing: bool,
    /// Nothing goes in any more: the output has ended, or its time is over.
    shut: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Output {
    queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
    name: String,
}

/// All outputs of a run.
pub struct Hub {
    outputs: Mutex<Vec<Output>>,
    queues: Vec<Arc<Queue>>,
    metrics: Arc<Metrics>,
    stop: Stop,
    log: Log,
}

impl Hub {
    /// Starts the outputs' threads, and logs nothing.
    pub fn new(sinks: Vec<Box<dyn Sink>>, metrics: Arc<Metrics>) -> Hub {
        Hub::logged(sinks, metrics, Arc::new(|_, _, _| {}))
    }

    /// Starts the outputs' threads; what happens to an output is logged by its name.
    pub fn logged(sinks: Vec<Box<dyn Sink>>, metrics: Arc<Metrics>, log: Log) -> Hub {
        let stop = Stop::default();
        let mut names: Vec<String> = Vec::new();
        for sink in &sinks {
            let plain = sink.name().to_string();
            let unique = (1..).map(|n| if n == 1 { plain.clone() } else { format!("{plain}-{n}") });
            names.extend(unique.into_iter().find(|n| !names.contains(n)));
        }
        metrics.set_sinks(names.iter().cloned());
        let mut outputs = Vec::new();
        for (place, (sink, name)) in sinks.into_iter().zip(names).enumerate() {
            let queue = Arc::new(Queue {
                state: Mutex::default(),
                changed: Condvar::new(),
                wants: sink.wants(),
                capacity: sink.capacity().max(1),
            });
            let mut worker = Worker {
                sink,
                place,
                name: name.clone(),
                queue: queue.clone(),
                metrics: metrics.clone(),
                stop: stop.clone(),
                failing: false,
                log: log.clone(),
            };
            let thread = std::thread::Builder::new().name(format!("out-{place}")).spawn(move || worker.run());
            let thread = thread.inspect_err(|e| log(Level::Warning, &name, &format!("has no thread: {e}"))).ok();
            queue.lock().shut = thread.is_none();
            outputs.push(Output { queue, thread, name });
        }
        let queues = outputs.iter().map(|o| o.queue.clone()).collect();
        Hub { outputs: Mutex::new(outputs), queues, metrics, stop, log }
    }

    /// Hands an event to every output that wants it; never blocks. Keeps the metrics' states up to date.
    pub fn publish(&self, event: Arc<Event>) {
        match &event.what {
            What::State { state, reason } => self.metrics.state(&event.stream, *state, *reason),
            What::End => self.metrics.ended(&event.stream),
            _ => {}
        }
        for (queue, sink) in self.queues.iter().zip(self.metrics.sinks()) {
            if !(queue.wants)(&event.what) {
                continue;
            }
            let mut state = queue.lock();
            if state.shut || state.closing {
                sink.lost(u64::from(state.closing));
                continue;
            }
            let progress = |what: &What| matches!(what, What::Watched { .. });
            if state.waiting.len() >= queue.capacity {
                let needless = state.waiting.iter().position(|e| progress(&e.what));
                if needless.is_none() && progress(&event.what) {
                    continue;
                }
                if needless.is_none() {
                    sink.lost(1);
                    state.lost += 1;
                }
                state.waiting.remove(needless.unwrap_or(0));
            }
            state.waiting.push_back(event.clone());
            sink.queue(state.waiting.len());
            drop(state);
            queue.changed.notify_one();
        }
    }

    /// What is queued is written and every output completed, or lost and counted at the deadline. An output that hangs
    /// even then is left behind; the others' threads are joined.
    pub fn close(&self, deadline: Duration) {
        let _ = self.stop.0.set(Instant::now() + deadline);
        let mut outputs = self.outputs.lock().unwrap_or_else(PoisonError::into_inner);
        for o in outputs.iter() {
            o.queue.lock().closing = true;
            o.queue.changed.notify_all();
        }
        for (o, sink) in outputs.iter_mut().zip(self.metrics.sinks()) {
            let Some(thread) = o.thread.take() else { continue };
            while !thread.is_finished() && !self.stop.at_most(Duration::MAX).is_zero() {
                std::thread::sleep(Duration::from_millis(2));
            }
            let mut state = o.queue.lock();
            let left = state.waiting.iter().filter(|e| !matches!(e.what, What::Watched { .. })).count() as u64;
            let left = left + u64::from(state.busy);
            (state.shut, state.waiting) = (true, VecDeque::new());
            drop(state);
            if left > 0 {
                sink.lost(left);
                (self.log)(Level::Warning, &o.name, &format!("{left} events are lost, because there was no more time"));
            }
            if thread.is_finished() && thread.join().is_err() {
                (self.log)(Level::Warning, &o.name, "failed badly and was given up");
            }
        }
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.close(Duration::ZERO);
    }
}

/// An output in its thread.
struct Worker {
    sink: Box<dyn Sink>,
    place: usize,
    name: String,
    queue: Arc<Queue>,
    metrics: Arc<Metrics>,
    stop: Stop,
    failing: bool,
    log: Log,
}

impl Worker {
    fn run(&mut self) {
        self.sink.begin(self.stop.clone());
        let mut ticked = Instant::now();
        loop {
            if ticked.elapsed() >= TICK {
                ticked = Instant::now();
                let result = self.sink.tick(ticked);
                if self.sink.keeps() || result.is_err() {
                    self.judge(&result, !self.failing);
                }
                self.settle();
            }
            let (event, lost) = {
                let mut state = self.queue.lock();
                if state.waiting.is_empty() && !state.closing && !state.shut {
                    let left = TICK.saturating_sub(ticked.elapsed());
                    state = self.queue.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
                }
                if state.shut {
                    return;
                }
                let Some(event) = state.waiting.pop_front() else {
                    if state.closing {
                        break;
                    }
                    continue;
                };
                state.busy = !matches!(event.what, What::Watched { .. });
                self.metrics.sinks()[self.place].queue(state.waiting.len());
                (event, std::mem::take(&mut state.lost))
            };
            if lost > 0 {
                (self.log)(Level::Warning, &self.name, &format!("was too slow; {lost} events are lost"));
                let result = self.sink.lost(lost);
                if result.is_err() {
                    self.judge(&result, true);
                }
            }
            let result = self.sink.event(&event);
            self.queue.lock().busy = false;
            let sink = &self.metrics.sinks()[self.place];
            match &result {
                Ok(()) => sink.written(),
                Err(_) => sink.lost(u64::from(self.sink.keeps() || !matches!(event.what, What::Watched { .. }))),
            }
            if !self.sink.keeps() || result.is_err() {
                self.judge(&result, true);
            }
            if !self.settle()
                && result.is_ok()
                && let What::Caption(c) = &event.what
            {
                self.metrics.lag(self.place, &event.stream, c.arrived.elapsed());
            }
            if self.sink.ended() {
                let mut state = self.queue.lock();
                (state.shut, state.waiting) = (true, VecDeque::new());
                let sink = &self.metrics.sinks()[self.place];
                sink.ended();
                sink.queue(0);
                (self.log)(Level::Info, &self.name, "nobody reads it any more");
                return;
            }
        }
        let result = self.sink.close();
        if self.sink.keeps() || result.is_err() {
            self.judge(&result, true);
        }
        self.settle();
    }

    /// Counts the captions that are out by now; false where the output leaves that to the hub.
    fn settle(&mut self) -> bool {
        let Some(settled) = self.sink.settled() else { return false };
        for (stream, lag) in settled {
            self.metrics.lag(self.place, &stream, lag);
        }
        true
    }

    /// Counts a failure; logs the first of a row, and its end.
    fn judge(&mut self, result: &Result<()>, count: bool) {
        if let Err(e) = result {
            if count {
                self.metrics.sinks()[self.place].error();
            }
            if !self.failing {
                (self.log)(Level::Warning, &self.name, &e.to_string());
            }
        } else if self.failing {
            (self.log)(Level::Info, &self.name, "works again");
        }
        self.failing = result.is_err();
    }
}

/// An I/O error of an output, for people.
pub(super) fn explain(output: impl Into<String>, e: &std::io::Error) -> Error {
    match e.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge | ErrorKind::WriteZero => {
            Error::output(output, "the disk is full", "Free some space; descry tries again.")
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            Error::output(output, format!("cannot be written: {e}"), "Choose a folder that this user may write.")
        }
        _ => Error::output(output, format!("cannot be written: {e}"), "descry tries again."),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::SystemTime;

    use super::super::event::{Reason, Spoken, State as StreamState};
    use super::*;
    use crate::time::Time;

    /// Remembers numbers; waits at its gate before each event.
    struct Probe {
        gate: Arc<Mutex<()>>,
        seen: Arc<Mutex<Vec<u64>>>,
        told: Arc<AtomicU64>,
        closed: Arc<AtomicU64>,
        fails: bool,
    }

    impl Sink for Probe {
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
            self.told.fetch_add(events, Ordering::Relaxed);
            Ok(())
        }
        fn close(&mut self) -> Result<()> {
            self.closed.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
    }

    fn probe() -> Probe {
        Probe { gate: Arc::default(), seen: Arc::default(), told: Arc::default(), closed: Arc::default(), fails: false }
    }

    fn event(number: u64, what: What) -> Arc<Event> {
        Arc::new(Event { stream: "s".into(), number, at: SystemTime::now(), what })
    }

    fn caption(number: u64) -> Arc<Event> {
        let time = Time::from_millis(number as i64);
        event(
            number,
            What::Caption(Spoken {
                start: time,
                picture_time: time,
                wall: SystemTime::now(),
                arrived: Instant::now(),
                text: "a dog".into(),
                score: None,
                returning: false,
                jpeg: Arc::new([]),
            }),
        )
    }

    fn watched(number: u64) -> Arc<Event> {
        event(number, What::Watched { time: Time::from_millis(number as i64), wall: SystemTime::now() })
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
        hub.publish(event(7, What::State { state: StreamState::Null, reason: Some(Reason::Read) }));
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
        assert_eq!(metrics.sinks()[0].lost_so_far(), 1);
    }

    #[test]
    fn an_output_that_stands_still_loses_its_oldest_and_no_other_does() {
        let (slow, quick) = (probe(), probe());
        let (gate, seen, told) = (slow.gate.clone(), slow.seen.clone(), slow.told.clone());
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
        assert_eq!(metrics.sinks()[0].lost_so_far(), 91);
        drop(shut);
        wait("it recovers", || seen.lock().unwrap().len() == 9);
        assert_eq!(*seen.lock().unwrap(), [0, 92, 93, 94, 95, 96, 97, 98, 99]);
        assert_eq!(told.load(Ordering::Relaxed), 91);
        assert_eq!(metrics.sinks()[1].lost_so_far(), 0);
    }

    #[test]
    fn progress_goes_before_captions_and_is_no_loss() {
        let slow = probe();
        let (gate, seen) = (slow.gate.clone(), slow.seen.clone());
        let metrics = Metrics::new(["s"]);
        let hub = Hub::new(vec![Box::new(slow)], metrics.clone());
        let shut = gate.lock().unwrap();
        hub.publish(caption(0));
        wait("it is at work", || metrics.sinks()[0].waiting() == 0);
        (1..9).for_each(|n| hub.publish(if n % 2 == 0 { caption(n) } else { watched(n) }));
        (9..13).for_each(|n| hub.publish(caption(n)));
        (13..20).for_each(|n| hub.publish(watched(n)));
        drop(shut);
        hub.close(Duration::from_secs(5));
        assert_eq!(*seen.lock().unwrap(), [0, 2, 4, 6, 8, 9, 10, 11, 12]);
        assert_eq!(metrics.sinks()[0].lost_so_far(), 0);
    }

    #[test]
    fn one_that_never_returns_does_not_keep_the_program() {
        let dead = probe();
        let gate = dead.gate.clone();
        let metrics = Metrics::new(["s"]);
        let hub = Hub::new(vec![Box::new(dead)], metrics.clone());
        let shut = gate.lock().unwrap();
        (0..5).for_each(|n| hub.publish(caption(n)));
        let began = Instant::now();
        hub.close(Duration::from_millis(200));
        assert!(began.elapsed() < Duration::from_secs(1));
        assert_eq!(metrics.sinks()[0].lost_so_far(), 5);
        drop(shut);
    }

    #[test]
    fn what_fails_is_counted() {
        let bad = Probe { fails: true, ..probe() };
        let metrics = Metrics::new(["s"]);
        let heard = Arc::new(Mutex::new(Vec::new()));
        let log = heard.clone();
        let log: Log = Arc::new(move |level, name, text| log.lock().unwrap().push(format!("{level:?} {name} {text}")));
        let hub = Hub::logged(vec![Box::new(bad)], metrics.clone(), log);
        (0..5).for_each(|n| hub.publish(caption(n)));
        hub.close(Duration::from_secs(5));
        // Once, for all of a row.
        assert_eq!(*heard.lock().unwrap(), ["Warning probe probe: fails\n  do something"]);
        let sink = &metrics.sinks()[0];
        assert_eq!((sink.lost_so_far(), sink.errors_so_far(), sink.written_so_far()), (5, 5, 0));
    }
}
