//! The times of frames.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::time::Time;

/// A frame this much earlier than the one before starts a new clock: recordings that were joined. Smaller steps back are
/// rounding and jitter.
const RESTART: Time = Time::from_millis(1_000);
/// Duration of a frame if the stream does not give its rate: that of 25 frames a second.
const DEFAULT_STEP: Time = Time::from_millis(40);

/// Gives frames strictly increasing times, counted from the container's start.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct FrameClock {
    /// Start of the stream's own clock.
    origin: Option<Time>,
    /// Whether the container named the origin; otherwise it is the first frame's.
    from_container: bool,
    /// What clocks that started again add.
    shift: Time,
    /// Time of the last frame.
    last: Option<Time>,
    /// Duration of one frame.
    step: Time,
}

impl FrameClock {
    /// `start`: of the container's own clock. `frame_rate`: frames a second.
    pub(super) fn new(start: Option<Time>, frame_rate: Option<f64>) -> FrameClock {
        let step = frame_rate.map_or(DEFAULT_STEP, |r| Time::from_secs(1.0 / r.clamp(0.1, 1000.0)));
        FrameClock { origin: start, from_container: start.is_some(), shift: Time::ZERO, last: None, step }
    }

    /// The time of the next frame, whose timestamp by the stream's own clock is `own`.
    pub(super) fn time_of(&mut self, own: Option<Time>) -> Time {
        let time = match (own, self.last) {
            (Some(own), _) => own - *self.origin.get_or_insert(own) + self.shift,
            (None, Some(last)) => last + self.step,
            (None, None) => {
                self.origin.get_or_insert(Time::ZERO);
                Time::ZERO
            }
        };
        match self.last {
            Some(last) if time < last - RESTART => {
                let next = last + self.step;
                self.shift = self.shift + (next - time);
                next
            }
            Some(last) if time <= last => last + Time::from_micros(1),
            _ => time,
        }
    }

    /// Moves on to a frame of this time.
    pub(super) fn advance(&mut self, time: Time) {
        self.last = Some(time);
    }

    /// Whether there has been a frame.
    pub(super) fn has_frames(&self) -> bool {
        self.last.is_some()
    }

    /// End of the last frame.
    pub(super) fn end(&self) -> Option<Time> {
        self.last.map(|t| t + self.step)
    }

    /// End of a frame whose timestamp by the stream's own clock is `own`.
    pub(super) fn end_of(&self, own: Time) -> Time {
        own - self.origin.unwrap_or_default() + self.shift + self.step
    }

    /// Whether the container itself names the start of its clock.
    pub(crate) fn is_from_container(&self) -> bool {
        self.from_container
    }

    /// Adds what the times of later frames depend on.
    pub(crate) fn digest(&self, digest: &mut Digest) {
        digest.option(self.origin, Digest::time);
        digest.option(self.last, Digest::time);
        digest.time(self.shift);
        digest.time(self.step);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(clock: &mut FrameClock, own: &[Option<i64>]) -> Vec<i64> {
        own.iter()
            .map(|own| {
                let time = clock.time_of(own.map(Time::from_millis));
                clock.advance(time);
                time.micros()
            })
            .collect()
    }

    #[test]
    fn times_count_from_the_start_and_increase() {
        let mut clock = FrameClock::new(Some(Time::from_millis(7_000)), Some(25.0));
        assert!(clock.is_from_container() && !clock.has_frames());
        let got = times(&mut clock, &[Some(7_000), Some(7_040), Some(7_040), None]);
        assert_eq!(got, [0, 40_000, 40_001, 80_001]);
        assert_eq!(clock.end(), Some(Time::from_micros(120_001)));
        assert_eq!(clock.end_of(Time::from_millis(8_000)), Time::from_millis(1_040));
    }

    #[test]
    fn a_clock_that_starts_again_continues() {
        let mut clock = FrameClock::new(None, None);
        assert_eq!(
            times(&mut clock, &[Some(5_000), Some(9_000), Some(5_000), Some(5_100)]),
            [0, 4_000_000, 4_040_000, 4_140_000]
        );
    }
}
