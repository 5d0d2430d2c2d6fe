//! The queue of an output and its thread, in one order of steps after another. `shuttle` decides which thread continues at each
//! lock and each wait, and notices when none can. Time does not pass, so that a wake-up which is missed is not made good.

use std::time::SystemTime;

use shuttle::sync::Mutex as TestMutex;
use shuttle::sync::mpsc::{Sender, channel};
use shuttle::thread;

use super::super::super::metrics::Metrics;
use super::super::sink::StopSignal;
use super::super::worker::SinkWorker;
use super::*;
use crate::error::Result;
use crate::live::event::StreamState;
use crate::time::Time;

const EACH: u64 = 4;

#[derive(Default)]
struct Seen {
    numbers: Vec<(Arc<str>, u64)>,
    lost: u64,
    closed: u64,
}

/// Notes what it gets.
struct Notes {
    seen: Arc<TestMutex<Seen>>,
    capacity: usize,
    /// Receives a message for each event.
    done: Sender<()>,
}

impl Sink for Notes {
    fn name(&self) -> &str {
        "notes"
    }
    fn capacity(&self) -> usize {
        self.capacity
    }
    fn event(&mut self, event: &Event) -> Result<()> {
        self.seen.lock().unwrap().numbers.push((event.stream.clone(), event.number));
        // Not every test waits for it.
        let _ = self.done.send(());
        Ok(())
    }
    fn lost(&mut self, events: u64) -> Result<()> {
        self.seen.lock().unwrap().lost += events;
        Ok(())
    }
    fn close(&mut self) -> Result<()> {
        self.seen.lock().unwrap().closed += 1;
        Ok(())
    }
}

/// Every other event is progress, which a later one supersedes.
fn event(stream: &str, number: u64) -> Arc<Event> {
    let kind = if number.is_multiple_of(2) {
        EventKind::State { state: StreamState::Playing, reason: None }
    } else {
        EventKind::Progress { time: Time::ZERO, wall: SystemTime::UNIX_EPOCH }
    };
    Arc::new(Event { stream: stream.into(), number, at: SystemTime::UNIX_EPOCH, kind })
}

/// When the publishers' end is announced.
#[derive(Clone, Copy, PartialEq)]
enum Ending {
    /// When everything is published: some events are lost.
    Published,
    /// When the output has everything, for which there is room.
    Taken,
    /// Meanwhile, and the output is given up.
    GivenUp,
}

/// Two streams publish while the output's thread works.
fn publish(ending: Ending) {
    let seen = Arc::new(TestMutex::new(Seen::default()));
    let (done, taken) = channel();
    let capacity = if ending == Ending::Taken { 2 * EACH as usize } else { 2 };
    let sink: Box<dyn Sink> = Box::new(Notes { seen: seen.clone(), capacity, done });
    let metrics = Metrics::new(["a", "b"]);
    metrics.set_sinks(["notes".to_string()]);
    let queue = Arc::new(EventQueue::new(&*sink));
    let mut worker = SinkWorker {
        sink,
        position: 0,
        name: "notes".into(),
        queue: queue.clone(),
        metrics: metrics.clone(),
        stop: StopSignal::default(),
        failing: false,
        busy: Arc::default(),
        log: Arc::new(|_, _, _| {}),
    };
    let working = thread::spawn(move || worker.run());
    let publishers = ["a", "b"].map(|stream| {
        let (queue, metrics) = (queue.clone(), metrics.clone());
        thread::spawn(move || (0..EACH).for_each(|n| queue.offer(&event(stream, n), &metrics.sinks()[0])))
    });
    match ending {
        Ending::Published => {}
        // Nothing but the events themselves wakes the output up.
        Ending::Taken => (0..2 * EACH).for_each(|_| taken.recv().unwrap()),
        Ending::GivenUp => {
            queue.close();
            metrics.sinks()[0].count_lost(queue.shut());
        }
    }
    publishers.into_iter().for_each(|p| p.join().unwrap());
    queue.close();
    working.join().unwrap();
    check(&seen.lock().unwrap(), metrics.sinks()[0].lost(), ending);
}

fn check(seen: &Seen, lost: u64, ending: Ending) {
    let changes = seen.numbers.iter().filter(|(_, n)| n.is_multiple_of(2)).count() as u64;
    for stream in ["a", "b"] {
        let own: Vec<u64> = seen.numbers.iter().filter(|(s, _)| &**s == stream).map(|(_, n)| *n).collect();
        assert!(own.windows(2).all(|w| w[0] < w[1]), "{own:?}");
    }
    if ending == Ending::GivenUp {
        assert!(seen.closed <= 1 && changes <= EACH);
        return;
    }
    assert!(lost == 0 || ending == Ending::Published);
    // Each change is seen, or lost and counted; and every loss is reported to the output itself.
    assert_eq!((changes + lost, seen.lost, seen.closed), (EACH, lost, 1), "{:?}", seen.numbers);
}

#[test]
fn every_event_is_taken_or_counted_as_lost() {
    shuttle::check_random(|| publish(Ending::Published), 3_000);
    shuttle::check_pct(|| publish(Ending::Published), 3_000, 3);
}

#[test]
fn no_wake_up_is_missed() {
    shuttle::check_random(|| publish(Ending::Taken), 3_000);
    shuttle::check_pct(|| publish(Ending::Taken), 3_000, 3);
}

#[test]
fn an_output_can_be_given_up_at_any_moment() {
    shuttle::check_random(|| publish(Ending::GivenUp), 3_000);
    shuttle::check_pct(|| publish(Ending::GivenUp), 3_000, 3);
}
