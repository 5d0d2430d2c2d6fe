//! One monotonic clock for a stream, across its connections, whatever its camera's clock does.
//!
//! Stream time starts at 0 with the first frame and follows the camera's clock: a burst keeps its distances. Where that
//! clock restarts, jumps ahead, freezes or is missing, and while there is no connection, stream time follows the
//! arrival of the frames. The wall clock follows stream time, and is corrected when the two have drifted apart.
//!
//! Pure: the caller passes the time at which each frame arrived.

use std::time::{Duration, Instant, SystemTime};

use super::event::ClockMapping;
use crate::time::Time;

/// A camera's clock may step back by this much without having restarted: frames of one moment, out of order.
const JITTER: Time = Time::from_millis(1_000);
/// It may run ahead of the arrivals by this much: what a server sends in a burst when a client connects, or a segment of HLS.
const BURST: Time = Time::from_millis(10_000);
/// The distance of two frames where nothing is known: 25 frames a second.
const STEP: Time = Time::from_millis(40);
/// Stream time grows by at least this from frame to frame.
const LEAST: Time = Time::from_micros(1);
/// How often the wall clock is compared with stream time, and the difference from which on it is corrected: cameras' clocks
/// run fast or slow by seconds a day.
const COMPARED: Duration = Duration::from_secs(60);
const DRIFT: Duration = Duration::from_millis(500);

/// A frame's place in stream time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Placement {
    pub(super) time: Time,
    /// How the clocks relate from here on, where that has changed.
    pub(super) mapping: Option<ClockMapping>,
}

/// A moment at which stream time and the camera's clock are known to agree.
#[derive(Debug, Clone, Copy)]
struct ClockAnchor {
    time: Time,
    pts: Time,
}

/// The clock of one stream.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    anchor: Option<ClockAnchor>,
    /// Stream time and arrival of the last frame.
    last: Option<(Time, Instant)>,
    /// The last frame on which the camera's clock moved on: the camera's time, stream time, and arrival.
    moved: Option<(Time, Time, Instant)>,
    /// A stream time and its wall clock.
    wall: Option<(Time, SystemTime)>,
    /// Whether the next frame is the first of its connection.
    fresh: bool,
    /// Since when the wall clock is compared, and the least that it was ahead in microseconds: frames are late, never early.
    compared: Option<(Instant, i128)>,
}

impl Timeline {
    pub(super) fn new() -> Timeline {
        Timeline { fresh: true, ..Timeline::default() }
    }

    /// A new connection begins: the camera's clock may be anything.
    pub(super) fn reconnected(&mut self) {
        self.anchor = None;
        self.moved = None;
        self.fresh = true;
    }

    /// Places the next frame, in presentation order. `pts`: its time on the camera's clock.
    pub(super) fn place(&mut self, pts: Option<Time>, arrived: Instant, wall: SystemTime) -> Placement {
        let (time, again) = match self.last {
            None => (Time::ZERO, true),
            Some((last, at)) => {
                let passed = time_of(arrived.saturating_duration_since(at));
                // A frozen clock is worth as much as a missing one.
                let frozen = self.moved.filter(|(then, _, since)| {
                    let still = pts.is_some_and(|pts| pts <= *then && *then - pts <= JITTER);
                    still && time_of(arrived.saturating_duration_since(*since)) > JITTER
                });
                let expected = pts.and_then(|pts| self.anchor.map(|a| a.time + (pts - a.pts)));
                match (frozen, expected) {
                    (Some((_, time, since)), _) => {
                        ((time + time_of(arrived.saturating_duration_since(since))).max(last + LEAST), false)
                    }
                    (None, Some(time)) if last - time <= JITTER && time - last <= passed + BURST => {
                        (time.max(last + LEAST), false)
                    }
                    // Another clock than before.
                    (None, Some(_)) => (last + passed.max(STEP), true),
                    // The first frame of this connection, with or without a time.
                    (None, None) if self.fresh => (last + passed.max(STEP), true),
                    (None, None) => (last + passed.max(LEAST), pts.is_some()),
                }
            }
        };
        if let (Some(pts), true) = (pts, again) {
            self.anchor = Some(ClockAnchor { time, pts });
        }
        if let Some(pts) = pts
            && (again || self.moved.is_none_or(|(then, ..)| pts > then))
        {
            self.moved = Some((pts, time, arrived));
        }
        self.fresh = false;
        self.last = Some((time, arrived));
        let drifted = self.drifted(time, arrived, wall);
        let mapping = (again || drifted || self.wall.is_none()).then(|| {
            if !drifted || self.wall.is_none() {
                self.wall = Some((time, wall));
                self.compared = None;
            }
            let pts = pts.or(self.anchor.map(|a| a.pts + (time - a.time))).unwrap_or(time);
            ClockMapping { time, pts: ticks(pts), wall: self.wall(time) }
        });
        Placement { time, mapping }
    }

    /// The stream time of a moment on the camera's clock; none while it is not known, or where that is far from the last
    /// frame.
    pub(super) fn time_of(&self, pts: Time) -> Option<Time> {
        let (anchor, (last, _)) = (self.anchor?, self.last?);
        let time = anchor.time + (pts - anchor.pts);
        (time - last <= BURST && last - time <= BURST).then_some(time)
    }

    /// The wall clock at a stream time; 1970 before the first frame.
    pub(super) fn wall(&self, time: Time) -> SystemTime {
        let Some((from, wall)) = self.wall else { return SystemTime::UNIX_EPOCH };
        let apart = Duration::from_micros((time - from).micros().unsigned_abs());
        let moved = if time >= from { wall.checked_add(apart) } else { wall.checked_sub(apart) };
        moved.unwrap_or(wall)
    }

    /// Whether the wall clock and stream time have drifted apart; if so, corrects the wall clock.
    fn drifted(&mut self, time: Time, arrived: Instant, wall: SystemTime) -> bool {
        if self.wall.is_none() {
            return false;
        }
        let ahead = micros(wall) - micros(self.wall(time));
        let (since, least) = self.compared.unwrap_or((arrived, ahead));
        let least = least.min(ahead);
        self.compared = Some((since, least));
        if arrived.saturating_duration_since(since) < COMPARED {
            return false;
        }
        self.compared = None;
        let apart = Duration::from_micros(u64::try_from(least.unsigned_abs()).unwrap_or(u64::MAX));
        if apart < DRIFT {
            return false;
        }
        let now = self.wall(time);
        let moved = if least > 0 { now.checked_add(apart) } else { now.checked_sub(apart) };
        self.wall = Some((time, moved.unwrap_or(wall)));
        true
    }
}

fn time_of(d: Duration) -> Time {
    Time::from_micros(i64::try_from(d.as_micros()).unwrap_or(i64::MAX))
}

fn micros(at: SystemTime) -> i128 {
    match at.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(d) => d.as_micros() as i128,
        Err(e) => -(e.duration().as_micros() as i128),
    }
}

/// In units of MPEG's clock: 1/90000 s.
fn ticks(time: Time) -> i64 {
    (i128::from(time.micros()) * 9 / 100) as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Frames as (pts, arrival) in milliseconds; `None` as pts is a missing one.
    fn run(frames: &[(Option<i64>, u64)]) -> (Vec<i64>, Vec<ClockMapping>) {
        let mut line = Timeline::new();
        let (now, wall) = (Instant::now(), SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000));
        let mut mappings = Vec::new();
        let times = frames.iter().map(|(pts, at)| {
            let at = Duration::from_millis(*at);
            let place = line.place(pts.map(Time::from_millis), now + at, wall + at);
            mappings.extend(place.mapping);
            place.time.millis()
        });
        (times.collect(), mappings)
    }

    #[test]
    fn a_frozen_clock_is_no_clock() {
        let frozen = (0..100).map(|n| (Some(4_000), 40 * n));
        let goes_on = (1..50).map(|n| (Some(4_000 + n * 40), 4_000 + 40 * n as u64));
        let frames: Vec<(Option<i64>, u64)> = frozen.chain(goes_on).collect();
        let (times, _) = run(&frames);
        assert!(times.is_sorted());
        for ((_, at), time) in frames.iter().zip(&times).filter(|((_, at), _)| *at > 1_000) {
            assert!((*at as i64 - time).abs() <= 80, "{time} ms at {at}");
        }
    }

    #[test]
    fn a_burst_keeps_its_distances() {
        let (times, mappings) = run(&[(Some(5_000), 0), (Some(5_040), 1), (Some(5_080), 2), (Some(5_120), 900)]);
        assert_eq!(times, [0, 40, 80, 120]);
        assert_eq!(mappings.len(), 1);
        assert_eq!((mappings[0].time, mappings[0].pts), (Time::ZERO, 450_000));
    }

    #[test]
    fn after_a_restart_of_the_clock_time_follows_arrival() {
        let (times, mappings) = run(&[(Some(60_000), 0), (Some(60_040), 40), (Some(0), 240), (Some(40), 280)]);
        assert_eq!(times, [0, 40, 240, 280]);
        assert_eq!(mappings.len(), 2);
        assert_eq!(mappings[1].pts, 0);
    }

    #[test]
    fn after_a_jump_ahead_time_follows_arrival() {
        let (times, _) = run(&[(Some(0), 0), (Some(40), 40), (Some(3_600_000), 80), (Some(3_600_040), 120)]);
        assert_eq!(times, [0, 40, 80, 120]);
        // A gap in which really nothing came is one.
        assert_eq!(run(&[(Some(0), 0), (Some(40), 40), (Some(30_000), 30_000)]).0, [0, 40, 30_000]);
    }

    #[test]
    fn missing_times_follow_arrival() {
        let (times, mappings) = run(&[(None, 0), (None, 50), (None, 90), (Some(7_000), 130), (Some(7_040), 500)]);
        assert_eq!(times, [0, 50, 90, 130, 170]);
        assert_eq!(mappings.len(), 2);
        assert_eq!(run(&[(Some(0), 0), (None, 40), (Some(80), 90), (None, 120)]).0, [0, 40, 80, 110]);
    }

    #[test]
    fn connections_continue_after_the_time_between_them() {
        let (now, wall) = (Instant::now(), SystemTime::UNIX_EPOCH);
        let mut line = Timeline::new();
        let at = |line: &mut Timeline, pts: i64, ms: u64| {
            let d = Duration::from_millis(ms);
            line.place(Some(Time::from_millis(pts)), now + d, wall + d)
        };
        at(&mut line, 100, 0);
        at(&mut line, 140, 40);
        line.reconnected();
        let place = at(&mut line, 50, 5_040);
        assert_eq!(place.time, Time::from_millis(5_040));
        assert_eq!(place.mapping.unwrap().wall, wall + Duration::from_millis(5_040));
        assert_eq!(at(&mut line, 90, 5_090).time, Time::from_millis(5_080));
    }

    #[test]
    fn the_wall_clock_follows_a_camera_whose_clock_is_slow() {
        let (now, wall) = (Instant::now(), SystemTime::UNIX_EPOCH);
        let mut line = Timeline::new();
        let mut worst = 0i128;
        for second in 0..3_600u64 {
            // 1 % slow.
            let at = Duration::from_millis(second * 1_010);
            let place = line.place(Some(Time::from_millis(second as i64 * 1_000)), now + at, wall + at);
            worst = worst.max((micros(line.wall(place.time)) - micros(wall + at)).abs());
        }
        assert!(worst < 2_500_000, "{worst}");
        assert_eq!(line.last.unwrap().0, Time::from_millis(3_599_000));
    }

    proptest! {
        #[test]
        fn time_only_grows_and_keeps_up(
            frames in proptest::collection::vec((proptest::option::of(any::<i64>()), 0u64..60_000, any::<bool>()), 1..200),
        ) {
            let (mut line, now) = (Timeline::new(), Instant::now());
            let (mut last, mut at) = (None, Duration::ZERO);
            for (pts, later, lost) in frames {
                if lost {
                    line.reconnected();
                }
                at += Duration::from_millis(later);
                let pts = pts.map(|p| Time::from_micros(p / 4));
                let place = line.place(pts, now + at, SystemTime::UNIX_EPOCH + at);
                prop_assert!(last.is_none_or(|last| place.time > last));
                last = Some(place.time);
                let _ = line.wall(place.time);
            }
            // Each frame may be at most a burst ahead of the arrivals.
            prop_assert!(last.unwrap() <= time_of(at) + Time::from_millis(200 * 10_000));
        }

        #[test]
        fn a_sane_camera_is_followed_to_the_microsecond(
            origin in -1_000_000_000i64..1_000_000_000_000,
            steps in proptest::collection::vec((1i64..2_000, 0u64..3_000), 1..200),
        ) {
            let (mut line, now) = (Timeline::new(), Instant::now());
            let (mut pts, mut at) = (origin, Duration::ZERO);
            for (n, (step, late)) in steps.into_iter().enumerate() {
                if n > 0 {
                    pts += step * 1_000;
                }
                at = at.max(Duration::from_micros((pts - origin) as u64)) + Duration::from_millis(late / 100);
                let place = line.place(Some(Time::from_micros(pts)), now + at, SystemTime::UNIX_EPOCH + at);
                prop_assert_eq!(place.time.micros(), pts - origin);
                prop_assert_eq!(place.mapping.is_some(), n == 0);
            }
        }

        #[test]
        fn resets_cost_no_more_than_a_frame(
            resets in proptest::collection::vec((any::<i64>(), 1usize..50), 1..20),
        ) {
            // 25 frames a second on time; the camera's clock starts anywhere, any number of times.
            let (mut line, now, mut n) = (Timeline::new(), Instant::now(), 0u64);
            for (start, frames) in resets {
                for k in 0..frames {
                    let at = Duration::from_millis(n * 40);
                    let pts = Time::from_micros(start / 4) + Time::from_millis(k as i64 * 40);
                    let place = line.place(Some(pts), now + at, SystemTime::UNIX_EPOCH + at);
                    // A new clock close to the old one looks the same: it is off by what is tolerated at most.
                    let off = (place.time - time_of(at)).micros().abs();
                    prop_assert!(off <= (JITTER + BURST).micros() * 20, "{}", off);
                    n += 1;
                }
            }
        }
    }
}
