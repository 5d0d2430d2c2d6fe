//! The connection of one stream: its states, when silence counts as a loss, and how long to wait before the next attempt.
//!
//! Pure: callers report what happens and when, and get the consequences back. States and reasons are in GStreamer's terms.

use std::time::{Duration, Instant};

use super::event::{Reason, StreamState};
use crate::media::StreamFault;

/// The wait after the first failure. Each further one doubles it …
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// … up to this.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// The same for a wrong user name or password: cameras lock accounts out after a few attempts.
const FIRST_REFUSED_WAIT: Duration = Duration::from_secs(10);
const LONGEST_REFUSED_WAIT: Duration = Duration::from_secs(300);
/// Waits are shortened at random by up to this share, so that the streams of one server do not all return at once.
const JITTER: f64 = 0.5;
/// This much continuous playback resets the back-off.
const STEADY: Duration = Duration::from_secs(10);
/// A stream without a frame for this long is no longer playing.
const STALLED: Duration = Duration::from_secs(2);

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
struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The wait after one more failure. `draw`: a random number from 0 to 1.
    fn next(&mut self, reason: Reason, draw: f64) -> Duration {
        let (first, longest) = match reason {
            Reason::NotAuthorized => (FIRST_REFUSED_WAIT, LONGEST_REFUSED_WAIT),
            _ => (FIRST_WAIT, LONGEST_WAIT),
        };
        let wait = first.saturating_mul(1 << self.failures.min(16)).min(longest);
        self.failures = self.failures.saturating_add(1);
        wait.mul_f64(1.0 - JITTER * draw.clamp(0.0, 1.0))
    }

    fn reset(&mut self) {
        self.failures = 0;
    }
}

/// A new state, and the reason for it where there is one.
pub(super) type StateChange = (StreamState, Option<Reason>);

/// The connection of one stream. Each method returns the change of state that it causes.
#[derive(Debug)]
pub(super) struct Connection {
    state: StreamState,
    silence: Duration,
    backoff: Backoff,
    /// When it was established, or the last frame arrived; `None` while there is no connection.
    last_sign: Option<Instant>,
    /// Since when frames have arrived without a stall.
    playing: Option<Instant>,
}

impl Connection {
    /// `silence`: a connection without a frame for this long is given up.
    pub(super) fn new(silence: Duration) -> Connection {
        Connection { state: StreamState::Null, silence, backoff: Backoff::default(), last_sign: None, playing: None }
    }

    fn enter(&mut self, state: StreamState, reason: Option<Reason>) -> Option<StateChange> {
        let changed = self.state != state;
        self.state = state;
        changed.then_some((state, reason))
    }

    /// An attempt to connect begins.
    pub(super) fn connecting(&mut self) -> Option<StateChange> {
        self.last_sign = None;
        self.playing = None;
        self.enter(StreamState::Ready, None)
    }

    /// The attempt succeeded.
    pub(super) fn connected(&mut self, now: Instant) -> Option<StateChange> {
        self.last_sign = Some(now);
        self.enter(StreamState::Paused, None)
    }

    /// A frame arrived.
    pub(super) fn frame(&mut self, now: Instant) -> Option<StateChange> {
        self.last_sign = Some(now);
        let since = *self.playing.get_or_insert(now);
        if now.saturating_duration_since(since) >= STEADY {
            self.backoff.reset();
        }
        self.enter(StreamState::Playing, None)
    }

    /// Time passes. To be called a few times a second.
    pub(super) fn tick(&mut self, now: Instant) -> Option<StateChange> {
        let last = self.last_sign?;
        if self.state == StreamState::Playing && now.saturating_duration_since(last) >= STALLED.min(self.silence) {
            self.playing = None;
            return self.enter(StreamState::Paused, Some(Reason::Timeout));
        }
        None
    }

    /// Whether the connection is established and has brought no frame for too long.
    pub(super) fn is_silent(&self, now: Instant) -> bool {
        self.last_sign.is_some_and(|last| now.saturating_duration_since(last) >= self.silence)
    }

    /// The connection failed. Also returns how long to wait before the next attempt.
    pub(super) fn failed(&mut self, reason: Reason, draw: f64) -> (StateChange, Duration) {
        self.last_sign = None;
        self.playing = None;
        self.state = StreamState::Null;
        ((StreamState::Null, Some(reason)), self.backoff.next(reason, draw))
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
            assert!(b.next(Reason::Timeout, 0.0) <= LONGEST_WAIT);
        }
    }

    #[test]
    fn a_wrong_password_is_tried_rarely() {
        let mut b = Backoff::default();
        assert_eq!(b.next(Reason::NotAuthorized, 0.0), FIRST_REFUSED_WAIT);
        assert!((0..20).all(|_| b.next(Reason::NotAuthorized, 0.0) <= LONGEST_REFUSED_WAIT));
    }

    #[test]
    fn states_go_up_and_down() {
        let mut s = Connection::new(Duration::from_secs(10));
        let now = Instant::now();
        let after = |secs: f64| now + Duration::from_secs_f64(secs);
        assert_eq!(s.connecting(), Some((StreamState::Ready, None)));
        assert_eq!(s.tick(after(100.0)), None);
        assert!(!s.is_silent(after(100.0)));
        assert_eq!(s.connected(now), Some((StreamState::Paused, None)));
        assert_eq!(s.frame(after(0.1)), Some((StreamState::Playing, None)));
        assert_eq!(s.frame(after(0.2)), None);
        assert_eq!(s.tick(after(2.0)), None);
        assert_eq!(s.tick(after(2.3)), Some((StreamState::Paused, Some(Reason::Timeout))));
        assert_eq!(s.tick(after(2.4)), None);
        assert_eq!(s.frame(after(3.0)), Some((StreamState::Playing, None)));
        assert!(!s.is_silent(after(12.9)) && s.is_silent(after(13.0)));
        let (change, wait) = s.failed(Reason::Timeout, 0.0);
        assert_eq!((change, wait), ((StreamState::Null, Some(Reason::Timeout)), FIRST_WAIT));
    }

    #[test]
    fn a_connection_without_frames_is_silent() {
        let mut s = Connection::new(Duration::from_secs(1));
        let now = Instant::now();
        s.connecting();
        s.connected(now);
        assert!(!s.is_silent(now) && s.is_silent(now + Duration::from_secs(1)));
    }

    #[test]
    fn only_continuous_playback_resets_the_back_off() {
        let mut s = Connection::new(Duration::from_secs(10));
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
}
