//! What one stream's connection is doing: its states, when silence counts as loss, and how long to wait for the next try.
//!
//! Pure: it is told what happens and when, and says what follows. States and reasons are GStreamer's words.

use std::time::{Duration, Instant};

use super::event::{Reason, State};
use crate::media::StreamFault;

/// The first wait after a failure. Each next one is twice as long …
pub const FIRST: Duration = Duration::from_millis(500);
/// … up to this.
pub const MOST: Duration = Duration::from_secs(30);
/// The same where user name or password are wrong: cameras lock out who tries often.
pub const REFUSED_FIRST: Duration = Duration::from_secs(10);
pub const REFUSED_MOST: Duration = Duration::from_secs(300);
/// Waits are shortened by up to this share, at random, so that streams of one server do not all come back at once.
pub const JITTER: f64 = 0.5;
/// Who has played for so long is well, and the next failure is its first.
pub const STEADY: Duration = Duration::from_secs(10);
/// Without a frame for so long a stream is no longer playing.
pub const STALLED: Duration = Duration::from_secs(2);

impl From<&StreamFault> for Reason {
    fn from(fault: &StreamFault) -> Reason {
        match fault {
            StreamFault::Stopped => Reason::Stopped,
            StreamFault::Silent(_) => Reason::Timeout,
            StreamFault::Absent(_) => Reason::NotFound,
            StreamFault::Forbidden(_) => Reason::NotAuthorized,
            StreamFault::Unreachable(_) => Reason::OpenRead,
            StreamFault::Lost(_) => Reason::Read,
            StreamFault::Ended => Reason::Eos,
            StreamFault::Undecodable(_) => Reason::Decode,
            StreamFault::NoVideo => Reason::WrongType,
        }
    }
}

/// How long to wait after each failure.
#[derive(Debug, Clone, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The wait after one more failure. `draw`: from 0 up to 1, at random.
    pub fn next(&mut self, reason: Reason, draw: f64) -> Duration {
        let (first, most) = match reason {
            Reason::NotAuthorized => (REFUSED_FIRST, REFUSED_MOST),
            _ => (FIRST, MOST),
        };
        let wait = first.saturating_mul(1 << self.failures.min(16)).min(most);
        self.failures = self.failures.saturating_add(1);
        wait.mul_f64(1.0 - JITTER * draw.clamp(0.0, 1.0))
    }

    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

/// A state and why, to be told.
pub type Change = (State, Option<Reason>);

/// One stream's connection; see the module.
#[derive(Debug)]
pub struct Session {
    state: State,
    silence: Duration,
    backoff: Backoff,
    /// When it was connected, or the last frame came.
    heard: Option<Instant>,
    /// Since when it has been playing.
    playing: Option<Instant>,
}

impl Session {
    /// `silence`: without a frame for so long a connection is given up.
    pub fn new(silence: Duration) -> Session {
        Session { state: State::Null, silence, backoff: Backoff::default(), heard: None, playing: None }
    }

    pub fn state(&self) -> State {
        self.state
    }

    fn become_(&mut self, state: State, reason: Option<Reason>) -> Option<Change> {
        let changed = self.state != state;
        self.state = state;
        changed.then_some((state, reason))
    }

    pub fn connecting(&mut self) -> Option<Change> {
        self.heard = None;
        self.playing = None;
        self.become_(State::Ready, None)
    }

    pub fn connected(&mut self, now: Instant) -> Option<Change> {
        self.heard = Some(now);
        self.become_(State::Paused, None)
    }

    pub fn frame(&mut self, now: Instant) -> Option<Change> {
        self.heard = Some(now);
        let since = *self.playing.get_or_insert(now);
        if now.saturating_duration_since(since) >= STEADY {
            self.backoff.reset();
        }
        self.become_(State::Playing, None)
    }

    /// Time passes; to be called now and then.
    pub fn tick(&mut self, now: Instant) -> Option<Change> {
        let heard = self.heard?;
        if self.state == State::Playing && now.saturating_duration_since(heard) >= STALLED.min(self.silence) {
            self.playing = None;
            return self.become_(State::Paused, Some(Reason::Timeout));
        }
        None
    }

    /// Whether the connection is to be given up: it is there, and no frame comes of it.
    pub fn is_silent(&self, now: Instant) -> bool {
        self.heard.is_some_and(|heard| now.saturating_duration_since(heard) >= self.silence)
    }

    /// The connection failed; how long to wait for the next.
    pub fn failed(&mut self, reason: Reason, draw: f64) -> (Change, Duration) {
        self.heard = None;
        self.playing = None;
        self.state = State::Null;
        ((State::Null, Some(reason)), self.backoff.next(reason, draw))
    }
}

/// Whether a reader has fallen behind: then it never waits for packets, for there always are some.
#[derive(Debug)]
pub struct Hurry {
    since: Instant,
    /// How long it had waited by then.
    waited: Duration,
    on: bool,
}

/// Who has hardly waited for so long has fallen behind.
pub const BEHIND: Duration = Duration::from_secs(3);
/// Who hurries has caught up when it waits again, looked at this often.
pub const CAUGHT_UP: Duration = Duration::from_millis(300);
/// The share of its time that a reader which keeps up waits at least.
pub const IDLE: f64 = 0.05;

impl Hurry {
    pub fn new(now: Instant) -> Hurry {
        Hurry { since: now, waited: Duration::ZERO, on: false }
    }

    /// `waited`: for packets, in all. Says whether to hurry, where that changes.
    pub fn tick(&mut self, now: Instant, waited: Duration) -> Option<bool> {
        let passed = now.saturating_duration_since(self.since);
        if passed < if self.on { CAUGHT_UP } else { BEHIND } {
            return None;
        }
        let idle = waited.saturating_sub(self.waited).as_secs_f64() >= IDLE * passed.as_secs_f64();
        (self.since, self.waited) = (now, waited);
        (self.on == idle).then(|| {
            self.on = !idle;
            self.on
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_limit_and_are_shortened_at_random() {
        let mut b = Backoff::default();
        let waits: Vec<f64> = (0..9).map(|_| b.next(Reason::OpenRead, 0.0).as_secs_f64()).collect();
        assert_eq!(waits, [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]);
        assert_eq!(b.next(Reason::OpenRead, 1.0), Duration::from_secs(15));
        b.reset();
        assert_eq!(b.next(Reason::Read, 0.5), Duration::from_millis(375));
        for _ in 0..100 {
            assert!(b.next(Reason::Timeout, 0.0) <= MOST);
        }
    }

    #[test]
    fn a_wrong_password_is_tried_seldom() {
        let mut b = Backoff::default();
        assert_eq!(b.next(Reason::NotAuthorized, 0.0), REFUSED_FIRST);
        assert!((0..20).all(|_| b.next(Reason::NotAuthorized, 0.0) <= REFUSED_MOST));
    }

    #[test]
    fn states_go_up_and_down() {
        let mut s = Session::new(Duration::from_secs(10));
        let now = Instant::now();
        let after = |secs: f64| now + Duration::from_secs_f64(secs);
        assert_eq!(s.connecting(), Some((State::Ready, None)));
        assert_eq!(s.tick(after(100.0)), None);
        assert!(!s.is_silent(after(100.0)));
        assert_eq!(s.connected(now), Some((State::Paused, None)));
        assert_eq!(s.frame(after(0.1)), Some((State::Playing, None)));
        assert_eq!(s.frame(after(0.2)), None);
        assert_eq!(s.tick(after(2.0)), None);
        assert_eq!(s.tick(after(2.3)), Some((State::Paused, Some(Reason::Timeout))));
        assert_eq!(s.tick(after(2.4)), None);
        assert_eq!(s.frame(after(3.0)), Some((State::Playing, None)));
        assert!(!s.is_silent(after(12.9)) && s.is_silent(after(13.0)));
        let (change, wait) = s.failed(Reason::Timeout, 0.0);
        assert_eq!((change, wait), ((State::Null, Some(Reason::Timeout)), FIRST));
    }

    #[test]
    fn who_is_connected_and_sends_nothing_is_silent() {
        let mut s = Session::new(Duration::from_secs(1));
        let now = Instant::now();
        s.connecting();
        s.connected(now);
        assert!(!s.is_silent(now) && s.is_silent(now + Duration::from_secs(1)));
    }

    #[test]
    fn only_who_plays_for_a_while_is_well_again() {
        let mut s = Session::new(Duration::from_secs(10));
        let mut now = Instant::now();
        let mut waits = Vec::new();
        // Flaps: a second of frames, then nothing.
        for seconds in [1, 1, 1, 11, 1] {
            s.connecting();
            s.connected(now);
            for _ in 0..=seconds {
                s.frame(now);
                now += Duration::from_secs(1);
            }
            waits.push(s.failed(Reason::Read, 0.0).1.as_secs_f64());
        }
        assert_eq!(waits, [0.5, 1.0, 2.0, 0.5, 1.0]);
    }

    #[test]
    fn who_never_waits_hurries_until_it_waits_again() {
        let start = Instant::now();
        let mut hurry = Hurry::new(start);
        let mut waited = Duration::ZERO;
        let mut changes = Vec::new();
        for tenth in 1..=200u32 {
            // Keeps up for 5 s, then not for 7, then again.
            let idle = tenth <= 50 || tenth > 120;
            waited += Duration::from_millis(if idle { 50 } else { 0 });
            if let Some(on) = hurry.tick(start + Duration::from_millis(100) * tenth, waited) {
                changes.push((tenth, on));
            }
        }
        assert_eq!(changes.len(), 2, "{changes:?}");
        assert!(changes[0].1 && (80..=110).contains(&changes[0].0), "{changes:?}");
        assert!(!changes[1].1 && (121..=125).contains(&changes[1].0), "{changes:?}");
    }
}
