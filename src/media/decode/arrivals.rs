//! When the packets of a live source arrived, and which of them are skipped.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use ffmpeg_next as ff;

/// Most packets between the demuxer and the decoder's output whose arrival is remembered: several times what the
/// decoders hold back (16 reordered frames, and one a thread).
const MOST_IN_FLIGHT: usize = 256;

/// Follows the packets of a live source through the decoder.
pub(super) struct Arrivals {
    /// Presentation time by the stream's own clock, and arrival, of packets whose frame has not come yet.
    in_flight: VecDeque<(Option<i64>, Instant)>,
    /// Whether only keyframes are decoded.
    keyframes_only: bool,
    /// Whether packets are skipped up to the next keyframe.
    skipping: bool,
    skipped: u64,
    /// How long reading has waited for packets.
    waited: Duration,
    wait_started: Instant,
}

impl Arrivals {
    pub(super) fn new() -> Arrivals {
        Arrivals {
            in_flight: VecDeque::new(),
            keyframes_only: false,
            skipping: false,
            skipped: 0,
            waited: Duration::ZERO,
            wait_started: Instant::now(),
        }
    }

    /// Turns keyframe-only decoding on or off. Off takes effect at the next keyframe.
    pub(super) fn set_keyframes_only(&mut self, on: bool) {
        self.keyframes_only = on;
    }

    /// Packets skipped so far.
    pub(super) fn skipped(&self) -> u64 {
        self.skipped
    }

    /// How long reading has waited so far.
    pub(super) fn waited(&self) -> Duration {
        self.waited
    }

    /// Starts to wait for a packet.
    pub(super) fn start_wait(&mut self) {
        self.wait_started = Instant::now();
    }

    /// A packet has come, of whatever stream, or the end.
    pub(super) fn end_wait(&mut self) {
        self.waited += self.wait_started.elapsed();
    }

    /// Stamps a packet. Returns whether it is decoded.
    pub(super) fn admit(&mut self, packet: &ff::Packet) -> bool {
        let now = Instant::now();
        // What follows a skipped packet cannot be decoded before the next keyframe.
        self.skipping = (self.skipping || self.keyframes_only) && !packet.is_key();
        if self.skipping {
            self.skipped += 1;
            return false;
        }
        if self.in_flight.len() >= MOST_IN_FLIGHT {
            self.in_flight.pop_front();
        }
        self.in_flight.push_back((packet.pts().or(packet.dts()), now));
        true
    }

    /// When the packet of a frame arrived.
    pub(super) fn take(&mut self, pts: Option<i64>) -> Instant {
        let position = pts.and_then(|pts| self.in_flight.iter().position(|(p, _)| *p == Some(pts)));
        let Some(position) = position else {
            // Without timestamps the order of arrival has to do; the oldest stamp is never too late.
            return self.in_flight.pop_front().map_or_else(Instant::now, |(_, at)| at);
        };
        let at = self.in_flight.remove(position).map_or_else(Instant::now, |(_, at)| at);
        // Frames come in presentation order: everything before this one is gone.
        self.in_flight.retain(|(p, _)| p.is_none_or(|p| pts.is_none_or(|pts| p > pts)));
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(pts: Option<i64>, key: bool) -> ff::Packet {
        let mut packet = ff::Packet::copy(&[0]);
        packet.set_pts(pts);
        if key {
            packet.set_flags(ff::packet::Flags::KEY);
        }
        packet
    }

    #[test]
    fn arrival_follows_a_frame_through_reordering() {
        let mut arrivals = Arrivals::new();
        let mut stamps = Vec::new();
        for pts in [0, 120, 40, 80] {
            assert!(arrivals.admit(&packet(Some(pts), false)));
            stamps.push(arrivals.in_flight.back().unwrap().1);
            std::thread::sleep(Duration::from_millis(1));
        }
        let taken = [0, 40, 80, 120].map(|pts| arrivals.take(Some(pts)));
        assert_eq!(taken, [stamps[0], stamps[2], stamps[3], stamps[1]]);
        assert!(arrivals.in_flight.is_empty());
    }

    #[test]
    fn arrival_without_times_goes_by_order_and_memory_is_bounded() {
        let mut arrivals = Arrivals::new();
        arrivals.admit(&packet(None, true));
        let first = arrivals.in_flight[0].1;
        for _ in 0..100 {
            arrivals.admit(&packet(None, false));
        }
        assert_eq!(arrivals.take(Some(7)), first);
        for _ in 0..1_000 {
            arrivals.admit(&packet(Some(i64::MAX), false));
        }
        assert_eq!(arrivals.in_flight.len(), MOST_IN_FLIGHT);
    }

    #[test]
    fn skipping_goes_to_keyframes_and_ends_with_one() {
        let mut arrivals = Arrivals::new();
        let mut admit = |keyframes_only: bool, key: bool| {
            arrivals.set_keyframes_only(keyframes_only);
            arrivals.admit(&packet(Some(0), key))
        };
        assert!(admit(false, false));
        assert!(!admit(true, false) && admit(true, true) && !admit(true, false));
        assert!(!admit(false, false) && admit(false, true) && admit(false, false));
        assert_eq!(arrivals.skipped, 3);
    }
}
