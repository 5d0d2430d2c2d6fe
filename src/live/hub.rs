//! Hands events to sinks: a bounded queue and a thread each. A slow sink loses events, which are counted, and holds up
//! nobody.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};

use super::event::{Event, What};
use super::metrics::Metrics;
use crate::error::Result;

/// Events that wait for one sink at most.
const QUEUE: usize = 256;
/// How often a sink is told the time.
const TICK: Duration = Duration::from_millis(250);

/// One output.
pub trait Sink: Send {
    fn name(&self) -> &str;
    fn event(&mut self, event: &Event) -> Result<()>;
    fn tick(&mut self, _now: Instant) -> Result<()> {
        Ok(())
    }
    fn close(&mut self) -> Result<()>;
}

pub struct Hub {
    lines: Mutex<Vec<Line>>,
}

struct Line {
    to: Sender<Arc<Event>>,
    lost: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Hub {
    pub fn new(sinks: Vec<Box<dyn Sink>>, metrics: Arc<Metrics>) -> Hub {
        metrics.set_sinks(sinks.iter().map(|s| s.name().to_string()));
        let line = |(number, mut sink): (usize, Box<dyn Sink>)| {
            let (to, from) = bounded::<Arc<Event>>(QUEUE);
            let metrics = metrics.clone();
            let thread = std::thread::spawn(move || {
                loop {
                    match from.recv_timeout(TICK) {
                        Ok(event) => {
                            if sink.event(&event).is_err() {
                                return;
                            }
                            if let What::Caption(spoken) = &event.what {
                                metrics.lag(number, &event.stream, spoken.arrived.elapsed());
                            }
                        }
                        Err(RecvTimeoutError::Timeout) => drop(sink.tick(Instant::now())),
                        Err(RecvTimeoutError::Disconnected) => break,
                    }
                }
                let _ = sink.close();
            });
            Line { to, lost: Arc::default(), thread }
        };
        Hub { lines: Mutex::new(sinks.into_iter().enumerate().map(line).collect()) }
    }

    /// Never blocks.
    pub fn publish(&self, event: Arc<Event>) {
        for line in self.lines.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            if line.to.try_send(event.clone()).is_err() {
                line.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// What is queued is written, or lost at the deadline.
    pub fn close(&self, deadline: Duration) {
        let end = Instant::now() + deadline;
        let lines = std::mem::take(&mut *self.lines.lock().unwrap_or_else(PoisonError::into_inner));
        for Line { to, thread, .. } in lines {
            drop(to);
            while !thread.is_finished() && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(5));
            }
            if thread.is_finished() {
                let _ = thread.join();
            }
        }
    }
}
