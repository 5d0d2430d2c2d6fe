//! The source's own clock and the wall clock, as functions of stream time; and where playlists do not go on because of them.

use std::time::{Duration, SystemTime};

use super::super::super::event::ClockMapping;
use crate::time::Time;

/// MPEG's clock has 33 bits.
const WRAP: i64 = 1 << 33;
/// A source's clock that is off by more than this has jumped: 100 ms of its 90 kHz.
const JUMP: i64 = 9_000;
/// A longer time of which nothing was processed is in no playlist.
const LONGEST_GAP: Time = Time::from_millis(10_000);
/// The wall clocks of the source and this machine drift apart; beyond this the playlist follows.
const DRIFT: Duration = Duration::from_secs(1);

/// The clocks of a stream, as they were reported last.
#[derive(Debug, Default)]
pub(super) struct SourceClock(Option<ClockMapping>);

impl SourceClock {
    /// From here on the clocks are these.
    pub(super) fn set(&mut self, mapping: ClockMapping) {
        self.0 = Some(mapping);
    }

    /// Where a playlist ends, if it does not go on with a mapping. `processed`: so far. `span`: the playlist's length.
    pub(super) fn breaks(&self, mapping: &ClockMapping, processed: Time, span: Time) -> Option<Time> {
        if is_gap(processed, mapping.time, span) {
            return Some(processed);
        }
        self.jumps(mapping).then_some(mapping.time)
    }

    /// Whether a mapping differs from the clock so far.
    fn jumps(&self, mapping: &ClockMapping) -> bool {
        let off = (self.pts(mapping.time) - mapping.pts.rem_euclid(WRAP)).rem_euclid(WRAP);
        off.min(WRAP - off) > JUMP
    }

    /// Corrects the wall clock where the source and this machine have drifted apart.
    pub(super) fn follow(&mut self, time: Time, wall: SystemTime) {
        let ours = self.wall(time);
        let off = ours.duration_since(wall).or_else(|_| wall.duration_since(ours)).unwrap_or_default();
        if let Some(clock) = &mut self.0
            && off > DRIFT
        {
            clock.wall = shifted(wall, clock.time - time).unwrap_or(wall);
        }
    }

    /// The wall clock at a stream time.
    pub(super) fn wall(&self, time: Time) -> SystemTime {
        let Some(clock) = self.0 else { return SystemTime::now() };
        shifted(clock.wall, time - clock.time).unwrap_or(clock.wall)
    }

    /// Stream time on the source's clock, in 33 bits.
    pub(super) fn pts(&self, time: Time) -> i64 {
        let (from, pts) = self.0.map_or((Time::ZERO, 0), |c| (c.time, c.pts));
        let ticks = i128::from((time - from).micros()) * 9 / 100 + i128::from(pts);
        ticks.rem_euclid(i128::from(WRAP)) as i64
    }
}

/// Whether the time between is in no playlist: nothing of it was processed, and it is long.
pub(super) fn is_gap(processed: Time, next: Time, span: Time) -> bool {
    next - processed > LONGEST_GAP.min(span)
}

/// A wall-clock time moved by a span.
fn shifted(wall: SystemTime, by: Time) -> Option<SystemTime> {
    let step = Duration::from_micros(by.micros().unsigned_abs());
    if by >= Time::ZERO { wall.checked_add(step) } else { wall.checked_sub(step) }
}
