//! Where somebody talks, as far as it is known.

use std::collections::VecDeque;

use crate::speech::{SpeechUpdate, Utterance};
use crate::time::Time;

/// Time is counted in steps of this, in microseconds: 100 ms.
pub(super) const TICK: i64 = 100_000;
/// Shorter pauses are left to the people who talk: the W3C's failure F113 names less than 2 s as too short.
pub const LEAST_PAUSE: Time = Time::from_millis(2_000);
/// Between speech and a description in a pause: 200 ms, what people leave between turns.
pub(super) const BREATH: Time = Time::from_millis(200);

/// Remembers speech that may still matter.
#[derive(Debug, Clone, Default)]
pub(super) struct KnownSpeech {
    /// What is over, in order, without overlaps.
    over: VecDeque<(Time, Time)>,
    /// When the speech began that goes on until `until`, at least.
    since: Option<Time>,
    /// Up to when everything is known.
    until: Time,
}

impl KnownSpeech {
    /// Takes what has become known.
    pub(super) fn hear(&mut self, update: &SpeechUpdate) {
        let &SpeechUpdate { ref ended, since, until, .. } = update;
        for &Utterance { start, end } in ended {
            let start = self.over.back().map_or(start, |last| start.max(last.1));
            if end > start {
                self.over.push_back((start, end));
            }
        }
        self.since = since;
        self.until = self.until.max(until);
    }

    /// Nothing more will become known.
    pub(super) fn finish(&mut self) {
        if let Some(since) = self.since {
            let ended = vec![Utterance { start: since, end: self.until }];
            self.hear(&SpeechUpdate { ended, until: Time::MAX, ..SpeechUpdate::default() });
        }
        self.until = Time::MAX;
    }

    /// Whether everything before a time is known.
    pub(super) fn knows(&self, time: Time) -> bool {
        self.until >= time
    }

    /// Forgets what cannot matter to ticks from `base` on.
    pub(super) fn forget(&mut self, base: i64) {
        let kept = Time::from_micros(base.saturating_mul(TICK)) - LEAST_PAUSE;
        while self.over.front().is_some_and(|&(_, end)| end < kept) {
            self.over.pop_front();
        }
    }

    /// The speech in `ticks` ticks from `base` on. Speech behind them is as if it were not known.
    pub(super) fn within(&self, base: i64, ticks: usize) -> TalkWindow {
        let limit = Time::from_micros((base + ticks as i64).saturating_mul(TICK));
        let going_on = self.since.map(|since| (since, self.until));
        let mut window = TalkWindow { spoken: vec![0; ticks + 1], blocked: vec![0; ticks + 1] };
        let mut before: Option<Time> = None;
        for (start, end) in self.over.iter().copied().chain(going_on) {
            if start >= limit {
                break;
            }
            add(&mut window.spoken, base, start, end);
            // What is added twice does no harm: only whether there is something counts.
            let close = before.filter(|before| start - *before < LEAST_PAUSE);
            add(&mut window.blocked, base, close.unwrap_or(start - BREATH), end + BREATH);
            before = Some(end);
        }
        for sums in [&mut window.spoken, &mut window.blocked] {
            let mut sum = 0;
            for tick in sums.iter_mut() {
                sum += *tick;
                *tick = sum;
            }
        }
        window
    }
}

/// The pauses in which a description may be spoken: those that are long enough, without the breath at either end. `speech` is
/// in order and without overlap; before it and behind it, up to `end`, there is no breath to leave.
pub(crate) fn pauses_of(speech: impl Iterator<Item = (Time, Time)>, end: Time) -> Vec<(Time, Time)> {
    let mut pauses = Vec::new();
    let mut add = |from: Time, to: Time| {
        if to - from >= LEAST_PAUSE {
            let start = if from > Time::ZERO { from + BREATH } else { from };
            pauses.push((start, if to < end { to - BREATH } else { to }));
        }
    };
    let mut quiet_from = Time::ZERO;
    for (start, until) in speech {
        add(quiet_from, start.min(end));
        quiet_from = quiet_from.max(until);
    }
    add(quiet_from, end);
    pauses
}

/// Adds the part of each tick that lies in a stretch. The sum before a tick leaves it out, so tick *n* counts in `sums[n + 1]`.
fn add(sums: &mut [i64], base: i64, start: Time, end: Time) {
    let ticks = sums.len() as i64 - 1;
    let origin = base.saturating_mul(TICK);
    let from = start.micros().saturating_sub(origin).clamp(0, ticks * TICK);
    let to = end.micros().saturating_sub(origin).clamp(0, ticks * TICK);
    let mut at = from;
    while at < to {
        let tick = at / TICK;
        let until = to.min((tick + 1) * TICK);
        sums[tick as usize + 1] += until - at;
        at = until;
    }
}

/// How much somebody talks in ticks of a window, in microseconds: sums up to each tick.
#[derive(Debug)]
pub(super) struct TalkWindow {
    spoken: Vec<i64>,
    /// With the pauses that are too short, and the breath before and after; more where these meet.
    blocked: Vec<i64>,
}

impl TalkWindow {
    /// For how long somebody talks, in microseconds, from one tick of the window to another.
    pub(super) fn spoken(&self, from: usize, to: usize) -> i64 {
        self.spoken[to] - self.spoken[from]
    }

    /// Whether all of it lies in one pause that is long enough.
    pub(super) fn is_pause(&self, from: usize, to: usize) -> bool {
        self.blocked[to] == self.blocked[from]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(over: &[(Time, Time)], since: Option<Time>, until: Time) -> KnownSpeech {
        let ended = over.iter().map(|&(start, end)| Utterance { start, end }).collect();
        let mut known = KnownSpeech::default();
        known.hear(&SpeechUpdate { ended, since, until, ..SpeechUpdate::default() });
        known
    }

    fn ms(millis: i64) -> Time {
        Time::from_millis(millis)
    }

    #[test]
    fn pauses_of_a_film_are_those_that_are_used() {
        let pauses = |speech: &[(i64, i64)], end| {
            let found = pauses_of(speech.iter().map(|&(start, end)| (ms(start), ms(end))), ms(end));
            found.into_iter().map(|(start, end)| (start.millis(), end.millis())).collect::<Vec<_>>()
        };
        assert_eq!(pauses(&[], 10_000), [(0, 10_000)]);
        assert_eq!(pauses(&[], 1_999), []);
        assert_eq!(
            pauses(&[(3_000, 5_000), (6_999, 8_000), (10_000, 11_000)], 14_000),
            [(0, 2_800), (8_200, 9_800), (11_200, 14_000)]
        );
        // Speech that goes on behind the end, and a film that begins with it.
        assert_eq!(pauses(&[(0, 1_000), (9_000, 12_000)], 10_000), [(1_200, 8_800)]);
        // The same as what a placement sees.
        let known = heard(&[(ms(3_000), ms(5_000)), (ms(8_000), ms(9_000))], None, Time::MAX);
        let window = known.within(0, 120);
        for (start, end) in pauses(&[(3_000, 5_000), (8_000, 9_000)], 12_000) {
            let (from, to) = (start as usize / 100, end as usize / 100);
            assert!(window.is_pause(from, to) && (from == 0 || !window.is_pause(from - 1, to)), "{start} {end}");
        }
    }

    #[test]
    fn short_pauses_are_no_pauses() {
        let known = heard(
            &[(ms(1_050), ms(2_000)), (ms(3_999), ms(5_000)), (ms(7_000), ms(8_000))],
            Some(ms(9_000)),
            ms(9_550),
        );
        let window = known.within(0, 100);
        assert_eq!((window.spoken(10, 11), window.spoken(0, 100)), (50_000, 950_000 + 1_001_000 + 1_000_000 + 550_000));
        assert_eq!(window.spoken(20, 39), 0);
        assert!(
            !window.is_pause(25, 26) && window.is_pause(52, 68) && !window.is_pause(51, 68) && !window.is_pause(80, 81)
        );
        assert!(window.is_pause(0, 8) && !window.is_pause(0, 9) && window.is_pause(98, 100));
    }

    /// Otherwise decisions would depend on how far ahead the detector happens to be.
    #[test]
    fn speech_behind_a_window_does_not_matter() {
        let known = heard(&[(ms(1_000), ms(2_000)), (ms(3_300), ms(4_000))], None, ms(9_000));
        assert!(known.within(0, 33).is_pause(22, 33));
        assert!(!known.within(0, 34).is_pause(22, 33));
    }

    #[test]
    fn what_is_forgotten_did_not_matter() {
        let mut known = heard(&[(ms(0), ms(1_000)), (ms(3_500), ms(4_000)), (ms(5_500), ms(6_000))], None, ms(60_000));
        let whole: Vec<bool> = (0..49).map(|t| known.within(51, 50).is_pause(t, t + 1)).collect();
        known.forget(51);
        assert_eq!(known.over.len(), 2);
        assert_eq!(whole, (0..49).map(|t| known.within(51, 50).is_pause(t, t + 1)).collect::<Vec<_>>());
        assert!(!whole[0]);
    }
}
