//! Holds a stream's descriptions back while somebody talks.
//!
//! Pure: callers report when somebody talked and that time passes, and get back what is to be published.
//!
//! A description waits until nobody has talked for [`PAUSE`], but not longer than the stream allows. Where no sound arrives,
//! nobody talks.
//!
//! Order: descriptions are published in the order in which they come. Memory: at most [`MOST_HELD`] descriptions.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::event::LiveCaption;

/// Nobody has talked for this long where a description begins. Between two words or sentences there is less.
const PAUSE: Duration = Duration::from_millis(500);
/// Most descriptions that wait. One more, and the first of them is published.
const MOST_HELD: usize = 8;

/// The descriptions of a stream that wait for a pause.
#[derive(Debug)]
pub(super) struct PauseGate {
    /// How long a description waits at most; zero if it does not wait.
    longest: Duration,
    /// When somebody talked last.
    talked: Option<Instant>,
    /// With the time since which each waits.
    held: VecDeque<(Instant, LiveCaption)>,
}

impl PauseGate {
    /// `longest`: how long a description waits at most.
    pub(super) fn new(longest: Duration) -> PauseGate {
        PauseGate { longest, talked: None, held: VecDeque::new() }
    }

    /// Somebody talked at this time.
    pub(super) fn talked(&mut self, at: Instant) {
        self.talked = self.talked.max(Some(at));
    }

    /// Takes a description. Returns those that are to be published now, in order.
    pub(super) fn push(&mut self, caption: LiveCaption, now: Instant) -> Vec<LiveCaption> {
        self.held.push_back((now, caption));
        self.due(now)
    }

    /// Returns the descriptions that are to be published now, in order.
    pub(super) fn due(&mut self, now: Instant) -> Vec<LiveCaption> {
        let is_pause = self.talked.is_none_or(|at| now.saturating_duration_since(at) >= PAUSE);
        let over = |since: Instant| now.saturating_duration_since(since) >= self.longest;
        let late = self.held.iter().take_while(|(since, _)| over(*since)).count();
        let due = if is_pause { self.held.len() } else { late.max(self.held.len().saturating_sub(MOST_HELD)) };
        let release = |(since, caption): (Instant, LiveCaption)| {
            let waited = now.saturating_duration_since(since);
            LiveCaption { waited, ..caption }
        };
        self.held.drain(..due).map(release).collect()
    }

    /// From now on nothing waits.
    pub(super) fn open(&mut self) {
        self.longest = Duration::ZERO;
    }

    /// How many descriptions wait.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::SystemTime;

    use super::*;
    use crate::time::Time;

    const LONGEST: Duration = Duration::from_secs(3);

    fn caption(text: &str, now: Instant) -> LiveCaption {
        LiveCaption {
            start: Time::ZERO,
            picture_time: Time::ZERO,
            due: Time::ZERO,
            wall: SystemTime::UNIX_EPOCH,
            arrived: now,
            waited: Duration::ZERO,
            text: text.into(),
            score: None,
            returning: false,
            screen_text: Arc::new([]),
            jpeg: Arc::new([]),
        }
    }

    fn texts(captions: Vec<LiveCaption>) -> Vec<(String, u64)> {
        captions.into_iter().map(|c| (c.text, c.waited.as_millis() as u64)).collect()
    }

    fn all(texts: &[(&str, u64)]) -> Vec<(String, u64)> {
        texts.iter().map(|(text, waited)| ((*text).to_string(), *waited)).collect()
    }

    /// A gate, and moments in milliseconds.
    fn gate(longest: Duration) -> (PauseGate, impl Fn(u64) -> Instant) {
        let start = Instant::now();
        (PauseGate::new(longest), move |ms| start + Duration::from_millis(ms))
    }

    #[test]
    fn a_description_waits_for_a_pause_and_no_longer_than_it_may() {
        let (mut gate, at) = gate(LONGEST);
        assert_eq!(texts(gate.push(caption("silence", at(0)), at(0))), all(&[("silence", 0)]));
        gate.talked(at(1_000));
        assert!(gate.push(caption("a", at(1_100)), at(1_100)).is_empty());
        gate.talked(at(1_300));
        // What was heard earlier changes nothing.
        gate.talked(at(1_200));
        assert!(gate.push(caption("b", at(1_400)), at(1_400)).is_empty() && gate.held() == 2);
        assert!(gate.due(at(1_799)).is_empty());
        assert_eq!(texts(gate.due(at(1_800))), all(&[("a", 700), ("b", 400)]));
        for ms in (2_000..9_000).step_by(100) {
            gate.talked(at(ms));
            if ms == 2_500 || ms == 2_900 {
                assert!(gate.push(caption("c", at(ms)), at(ms)).is_empty());
            }
            let expected = if ms == 5_500 || ms == 5_900 { all(&[("c", 3_000)]) } else { Vec::new() };
            assert_eq!(texts(gate.due(at(ms))), expected, "{ms}");
        }
        assert_eq!(gate.held(), 0);
    }

    #[test]
    fn few_wait_and_all_keep_their_order() {
        let (mut gate, at) = gate(LONGEST);
        gate.talked(at(0));
        let names: Vec<String> = (0..20).map(|n| n.to_string()).collect();
        let mut released = Vec::new();
        for name in &names {
            released.extend(gate.push(caption(name, at(1)), at(1)));
            assert!(gate.held() <= MOST_HELD);
        }
        assert_eq!(released.len(), 20 - MOST_HELD);
        released.extend(gate.due(at(600)));
        assert_eq!(texts(released).into_iter().map(|(text, _)| text).collect::<Vec<_>>(), names);
    }

    #[test]
    fn nothing_waits_where_it_may_not_or_when_the_run_ends() {
        let (mut off, at) = gate(Duration::ZERO);
        off.talked(at(0));
        assert_eq!(off.push(caption("a", at(1)), at(1)).len(), 1);
        let (mut gate, at) = gate_talking();
        assert!(gate.push(caption("b", at(1)), at(1)).is_empty());
        gate.open();
        assert_eq!(gate.due(at(2)).len(), 1);
        assert_eq!(gate.push(caption("c", at(3)), at(3)).len(), 1);
    }

    fn gate_talking() -> (PauseGate, impl Fn(u64) -> Instant) {
        let (mut gate, at) = gate(LONGEST);
        gate.talked(at(0));
        (gate, at)
    }
}
