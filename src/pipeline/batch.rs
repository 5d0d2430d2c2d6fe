//! Batches for the model: full, or as full as they get before a deadline.
//!
//! Everything here is pure: the caller passes the time in, so the rules are tested without threads. [`drive`] connects a
//! [`Batcher`] to a channel and is all that the stages share of their loops.
//!
//! Order: messages leave in the order in which they came, whether they bring work or not. Memory: at most
//! [`BatchLimits::messages`] messages and [`BatchRule::size`] pieces of work.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use crate::error::Result;

/// When a batch runs: when it is full, or when its oldest piece of work has waited for long enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchRule {
    /// Pieces of work that make a batch full. At least 1.
    pub(crate) size: usize,
    /// Longest wait of the oldest piece of work.
    pub(crate) linger: Duration,
}

impl BatchRule {
    /// How much longer to wait for more work, when there are `items` pieces and the oldest came at `oldest`. `None`: the
    /// batch is due.
    pub(crate) fn wait(&self, items: usize, oldest: Instant, now: Instant) -> Option<Duration> {
        let left = self.linger.saturating_sub(now.saturating_duration_since(oldest));
        (items < self.size.max(1) && !left.is_zero()).then_some(left)
    }
}

/// What a [`Batcher`] holds at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchLimits {
    /// When there is enough work.
    pub(crate) rule: BatchRule,
    /// Most messages that wait, those without work included.
    pub(crate) messages: usize,
}

/// Messages `M` that wait for their work `W` to be done. Messages without work wait behind those with it, so that the order
/// stays.
#[derive(Debug)]
pub(crate) struct Batcher<M, W> {
    limits: BatchLimits,
    messages: VecDeque<M>,
    work: Vec<W>,
    /// When the oldest piece of work came.
    oldest: Option<Instant>,
    /// Nothing more is worth waiting for.
    flush: bool,
}

impl<M, W> Batcher<M, W> {
    pub(crate) fn new(limits: BatchLimits) -> Batcher<M, W> {
        Batcher { limits, messages: VecDeque::new(), work: Vec::new(), oldest: None, flush: false }
    }

    /// Adds a message, and the work that has to be done before it can leave.
    pub(crate) fn push(&mut self, message: M, work: Option<W>, now: Instant) {
        self.messages.push_back(message);
        if let Some(work) = work {
            self.oldest.get_or_insert(now);
            self.work.push(work);
        }
    }

    /// Makes the batch due, however full it is.
    pub(crate) fn flush(&mut self) {
        self.flush = true;
    }

    /// Messages that wait.
    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    /// When the batch will be due at the latest; `None` where there is no work.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.oldest.and_then(|oldest| oldest.checked_add(self.limits.rule.linger))
    }

    /// Whether the messages should leave now: a full batch, one that has waited for long enough, or no work at all.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        let Some(oldest) = self.oldest else { return true };
        self.flush
            || self.messages.len() >= self.limits.messages
            || self.limits.rule.wait(self.work.len(), oldest, now).is_none()
    }

    /// The work of the batch, and all messages in order.
    pub(crate) fn take(&mut self) -> (Vec<W>, VecDeque<M>) {
        self.oldest = None;
        self.flush = false;
        (std::mem::take(&mut self.work), std::mem::take(&mut self.messages))
    }
}

/// What waiting for a message came to.
enum Received<T> {
    Message(T),
    Deadline,
    Closed,
}

fn receive<T>(from: &Receiver<T>, deadline: Option<Instant>) -> Received<T> {
    match deadline {
        None => from.recv().map_or(Received::Closed, Received::Message),
        Some(at) => match from.recv_deadline(at) {
            Ok(message) => Received::Message(message),
            Err(RecvTimeoutError::Timeout) => Received::Deadline,
            Err(RecvTimeoutError::Disconnected) => Received::Closed,
        },
    }
}

/// A stage that works in batches.
pub(crate) trait BatchStage {
    /// What comes in.
    type Input;
    /// What waits for its work.
    type Message;
    /// A piece of work.
    type Work;

    /// Turns what came into a message for the batcher.
    fn accept(&mut self, input: Self::Input, batcher: &mut Batcher<Self::Message, Self::Work>) -> Result<()>;

    /// Does the work of a batch and passes its messages on. `Break`: the receiver is gone.
    fn run(&mut self, work: Vec<Self::Work>, messages: VecDeque<Self::Message>) -> Result<ControlFlow<()>>;
}

/// Runs a stage until its channel is closed and every message has left.
///
/// # Errors
/// The first error of the stage.
pub(crate) fn drive<S: BatchStage>(from: &Receiver<S::Input>, limits: BatchLimits, stage: &mut S) -> Result<()> {
    let mut batcher = Batcher::new(limits);
    loop {
        let mut closed = false;
        match receive(from, batcher.deadline()) {
            Received::Message(message) => stage.accept(message, &mut batcher)?,
            Received::Deadline => batcher.flush(),
            Received::Closed => {
                closed = true;
                batcher.flush();
            }
        }
        if batcher.is_due(Instant::now()) {
            let (work, messages) = batcher.take();
            if stage.run(work, messages)?.is_break() {
                return Ok(());
            }
        }
        if closed {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: BatchRule = BatchRule { size: 3, linger: Duration::from_secs(1) };

    fn batcher() -> Batcher<u32, char> {
        Batcher::new(BatchLimits { rule: RULE, messages: 5 })
    }

    #[test]
    fn a_batch_is_due_when_it_is_full() {
        let (mut b, now) = (batcher(), Instant::now());
        b.push(1, Some('a'), now);
        b.push(2, Some('b'), now);
        assert!(!b.is_due(now));
        b.push(3, Some('c'), now);
        assert!(b.is_due(now));
        assert_eq!(b.take(), (vec!['a', 'b', 'c'], VecDeque::from([1, 2, 3])));
        assert_eq!((b.deadline(), b.len()), (None, 0));
    }

    #[test]
    fn the_oldest_work_sets_the_deadline() {
        let (mut b, start) = (batcher(), Instant::now());
        b.push(0, Some('a'), start);
        b.push(1, Some('b'), start + Duration::from_millis(900));
        assert_eq!(b.deadline(), Some(start + RULE.linger));
        assert!(!b.is_due(start + Duration::from_millis(999)));
        assert!(b.is_due(start + RULE.linger));
    }

    #[test]
    fn messages_without_work_pass_at_once_or_wait_their_turn() {
        let (mut b, now) = (batcher(), Instant::now());
        b.push(1, None, now);
        assert!(b.is_due(now) && b.deadline().is_none());
        b.take();
        b.push(2, Some('a'), now);
        b.push(3, None, now);
        assert!(!b.is_due(now));
        assert_eq!(b.take().1, [2, 3]);
    }

    #[test]
    fn waiting_messages_are_bounded() {
        let (mut b, now) = (batcher(), Instant::now());
        b.push(0, Some('a'), now);
        for n in 1..4 {
            b.push(n, None, now);
            assert!(!b.is_due(now), "{n}");
        }
        b.push(4, None, now);
        assert!(b.is_due(now));
    }

    #[test]
    fn a_flush_counts_for_one_batch() {
        let (mut b, now) = (batcher(), Instant::now());
        b.push(0, Some('a'), now);
        b.flush();
        assert!(b.is_due(now));
        b.take();
        b.push(1, Some('b'), now);
        assert!(!b.is_due(now));
    }

    #[test]
    fn the_rule_says_how_long_to_wait() {
        let now = Instant::now();
        let later = now + Duration::from_millis(400);
        assert_eq!(RULE.wait(1, now, later), Some(Duration::from_millis(600)));
        assert_eq!(RULE.wait(3, now, now), None);
        assert_eq!(RULE.wait(1, now, now + Duration::from_secs(2)), None);
        assert_eq!(BatchRule { size: 0, ..RULE }.wait(1, now, now), None);
        assert_eq!(BatchRule { linger: Duration::ZERO, ..RULE }.wait(1, now, now), None);
    }

    /// Collects numbers in batches, and checks their size.
    struct Collect {
        done: Vec<(usize, u32)>,
        /// Ends after so many messages.
        most: usize,
    }

    impl BatchStage for Collect {
        type Input = (usize, u32);
        type Message = (usize, u32);
        type Work = u32;

        fn accept(&mut self, input: (usize, u32), batcher: &mut Batcher<(usize, u32), u32>) -> Result<()> {
            // Every third message brings no work.
            let work = (!input.1.is_multiple_of(3)).then_some(input.1);
            batcher.push(input, work, Instant::now());
            Ok(())
        }

        fn run(&mut self, work: Vec<u32>, messages: VecDeque<(usize, u32)>) -> Result<ControlFlow<()>> {
            assert!(work.len() <= RULE.size && messages.len() <= 5);
            assert!(work.iter().eq(messages.iter().map(|(_, n)| n).filter(|n| !n.is_multiple_of(3))));
            self.done.extend(messages);
            Ok(if self.done.len() >= self.most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        }
    }

    /// Several senders, whose threads give way at random: `make test-threads` searches it for races.
    #[test]
    fn messages_of_many_threads_leave_once_and_in_order() {
        for round in 0..30 {
            let (to, from) = crossbeam_channel::bounded(2);
            let limits = BatchLimits { rule: BatchRule { linger: Duration::from_micros(50), ..RULE }, messages: 5 };
            // Some rounds end before the senders do.
            let most = if round % 4 == 1 { 20 } else { usize::MAX };
            let (done, sent) = std::thread::scope(|scope| {
                let send = |sender| {
                    let to = to.clone();
                    move || {
                        let sends = (0..20).take_while(|n| {
                            if fastrand::bool() {
                                std::thread::yield_now();
                            }
                            to.send((sender, *n)).is_ok()
                        });
                        sends.count()
                    }
                };
                let senders = [0, 1, 2].map(|sender| scope.spawn(send(sender)));
                drop(to);
                let stage = scope.spawn(move || {
                    let mut stage = Collect { done: Vec::new(), most };
                    drive(&from, limits, &mut stage).unwrap();
                    stage.done
                });
                (stage.join().unwrap(), senders.map(|s| s.join().unwrap()))
            });
            for (sender, sent) in sent.into_iter().enumerate() {
                let own: Vec<u32> = done.iter().filter(|(of, _)| *of == sender).map(|(_, n)| *n).collect();
                assert!(own.iter().copied().eq(0..own.len() as u32), "{own:?}");
                assert!(own.len() == sent || most < usize::MAX && own.len() <= sent, "{} of {sent}", own.len());
            }
        }
    }
}
