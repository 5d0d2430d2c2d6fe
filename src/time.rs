//! Media time: microseconds from the container's start.
//!
//! Everything between the decoder and the writers uses [`Time`]; nothing counts frames or divides by a frame rate.
//! Microseconds are FFmpeg's own `AV_TIME_BASE`, fine enough for any stream's time base at 24 hours.

use std::fmt;
use std::ops::{Add, Sub};

use serde::{Deserialize, Serialize};

/// A point in media time, or a span between two, in microseconds. May be negative (a span, or pre-roll).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Time(i64);

impl Time {
    /// The container's start, or no time at all.
    pub const ZERO: Time = Time(0);
    /// Later than any time.
    pub const MAX: Time = Time(i64::MAX);

    /// From microseconds.
    pub const fn from_micros(micros: i64) -> Time {
        Time(micros)
    }

    /// From milliseconds; saturates.
    pub const fn from_millis(millis: i64) -> Time {
        Time(millis.saturating_mul(1_000))
    }

    /// Nearest microsecond; saturates, and NaN is zero.
    pub fn from_secs(secs: f64) -> Time {
        Time((secs * 1e6).round() as i64)
    }

    /// In microseconds.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Nearest millisecond, halves up: the precision of WebVTT and SRT.
    pub const fn millis(self) -> i64 {
        self.0.saturating_add(500).div_euclid(1_000)
    }

    /// In seconds.
    pub fn secs(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// `M:SS`, or `H:MM:SS` from an hour on: whole seconds, for people.
    pub fn clock(self) -> String {
        let secs = self.0.max(0) / 1_000_000;
        let (hours, minutes, secs) = (secs / 3600, secs / 60 % 60, secs % 60);
        if hours > 0 { format!("{hours}:{minutes:02}:{secs:02}") } else { format!("{minutes}:{secs:02}") }
    }
}

impl Add for Time {
    type Output = Time;
    fn add(self, other: Time) -> Time {
        Time(self.0.saturating_add(other.0))
    }
}

impl Sub for Time {
    type Output = Time;
    fn sub(self, other: Time) -> Time {
        Time(self.0.saturating_sub(other.0))
    }
}

/// `HH:MM:SS.mmm`, hours with at least two digits, as WebVTT writes it; a leading `-` where negative.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.millis();
        let sign = if millis < 0 { "-" } else { "" };
        let ms = millis.unsigned_abs();
        write!(f, "{sign}{:02}:{:02}:{:02}.{:03}", ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60, ms % 1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn millis_round_to_nearest() {
        assert_eq!(Time::from_micros(1_499).millis(), 1);
        assert_eq!(Time::from_micros(1_500).millis(), 2);
        assert_eq!(Time::from_micros(-500).millis(), 0);
        assert_eq!(Time::from_micros(-501).millis(), -1);
    }

    #[test]
    fn displays_as_webvtt() {
        assert_eq!(Time::from_millis(3_723_045).to_string(), "01:02:03.045");
        assert_eq!(Time::from_millis(360_000_000).to_string(), "100:00:00.000");
        assert_eq!(Time::from_millis(-1_500).to_string(), "-00:00:01.500");
    }
}
