//! What [`DecodedFrames::Fast`](super::DecodedFrames::Fast) leaves out: frames to which no other frame refers, and, away from
//! keyframes, the loop filter.
//!
//! A packet is judged by its first few bytes, and one that cannot be judged is decoded in full. What is left out depends on
//! the packets since the last keyframe alone, so it is the same wherever reading began.
//!
//! For [`IN_FULL`] after a keyframe, and after a packet that may hold a cut, frames pass through the loop filter: these become
//! the keyframes of scenes. The others serve to find scene changes. Without the filter they drift from what the encoder
//! meant, by a few levels at most, until the next keyframe.
//!
//! Memory: the times of skipped frames that come later than the last frame, at most [`MOST_PENDING`], and of frames that the
//! decoder has not returned, at most [`MOST_UNFILTERED`].

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};

use ffmpeg_next as ff;
use ffmpeg_next::ffi::AVPacketSideDataType as SideData;

use super::stream::{StreamHeader, rescale};
use super::syntax::{PacketSyntax, SliceKind};
use crate::media::ffmpeg::{codec_name, is_side_data, parameters};
use crate::time::Time;

/// Most frames that are skipped in a row, in order of decoding. A cut is then found at most so many frames late.
const MOST_IN_A_ROW: i64 = 2;
/// Longest time between two frames because of those that are skipped between them. Scene detection takes frames with more
/// than 250 ms between them for unrelated pictures.
const MOST_SPACING: Time = Time::from_millis(140);
/// Most skipped frames whose times are remembered; those of a sound stream are fewer than it reorders, which is 16.
/// As many may also be missing between two frames of a decoder in a process of its own.
pub(crate) const MOST_PENDING: usize = 64;
/// Most unfiltered frames whose times are remembered: more than a decoder holds.
const MOST_UNFILTERED: usize = 256;
/// How long frames are filtered after a keyframe. Of the scenes that begin with one, most have their sharpest frame within
/// this time, because encoders spend most on what later frames are copied from.
const IN_FULL: Time = Time::from_millis(350);
/// A P-frame that is more than so many times as large as those before it may hold a cut.
const SPIKE: u64 = 2;
/// P-frames with which the next one is compared.
const COMPARED: usize = 4;

/// What happens to a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PacketPlan {
    /// It is decoded in full.
    Decode,
    /// Without the loop filter.
    DecodeUnfiltered,
    /// It is left out.
    Skip,
}

/// Decides what happens to the packets of a stream, and counts those that are skipped.
pub(super) struct FrameSkipper {
    /// None where nothing is known about the bitstream.
    syntax: Option<PacketSyntax>,
    /// Frames skipped in a row.
    row: i64,
    /// Seconds a tick, as a fraction.
    time_base: (i64, i64),
    /// Duration of a frame for packets that do not say.
    step: Time,
    /// Frames before this time are filtered, by the stream's clock.
    full_until: Option<i64>,
    /// Whether a frame was skipped since the last keyframe.
    has_skipped: bool,
    /// Bytes of the last P-frames since the last keyframe, oldest first.
    recent: VecDeque<u64>,
    /// Times of skipped frames that come later than the last frame, by the stream's clock.
    pending: BinaryHeap<Reverse<i64>>,
    /// Times of unfiltered frames that the decoder has not returned yet.
    unfiltered: BTreeSet<i64>,
    skipped: u64,
}

impl FrameSkipper {
    /// For the packets of a stream.
    pub(super) fn of(stream: &ff::format::stream::Stream<'_>, header: &StreamHeader) -> FrameSkipper {
        // SAFETY: plain reads of a valid stream's parameters. FFmpeg guarantees so many bytes behind the pointer, which is null if
        // there are none; they live as long as the stream.
        let extradata = unsafe {
            let (bytes, size) = ((*parameters(stream)).extradata, (*parameters(stream)).extradata_size);
            match usize::try_from(size) {
                Ok(size) if !bytes.is_null() => std::slice::from_raw_parts(bytes, size),
                _ => &[],
            }
        };
        FrameSkipper::new(&codec_name(stream), extradata, header.time_base, header.frame_rate)
    }

    /// For packets of the codec that FFmpeg calls so. `extradata`: the stream's headers. `frame_rate`: frames a second.
    fn new(codec: &str, extradata: &[u8], time_base: (i64, i64), frame_rate: Option<f64>) -> FrameSkipper {
        let step = Time::from_secs(1.0 / frame_rate.unwrap_or(25.0).clamp(0.1, 1000.0));
        let syntax = PacketSyntax::of(codec, extradata);
        let (pending, unfiltered) = (BinaryHeap::new(), BTreeSet::new());
        FrameSkipper {
            syntax,
            row: 0,
            time_base,
            step,
            full_until: None,
            has_skipped: false,
            recent: VecDeque::new(),
            pending,
            unfiltered,
            skipped: 0,
        }
    }

    /// What to do with the next packet.
    pub(super) fn plan(&mut self, packet: &ff::Packet) -> PacketPlan {
        if packet.side_data().any(|data| is_side_data(&data, SideData::AV_PKT_DATA_NEW_EXTRADATA)) {
            // From here on other headers are valid, which nothing here reads.
            self.syntax = None;
        }
        // Without a time of its own, a frame's time is guessed from the packets before it.
        let (Some(pts), Some(syntax)) = (packet.pts(), self.syntax) else {
            self.row = 0;
            return PacketPlan::Decode;
        };
        let is_filtered = !self.spares_filter(syntax) || self.is_in_full(pts, packet, syntax);
        if self.may_skip(packet, syntax) {
            self.row += 1;
            self.has_skipped = true;
            self.skipped += 1;
            if self.pending.len() < MOST_PENDING {
                self.pending.push(Reverse(pts));
            }
            return PacketPlan::Skip;
        }
        self.row = 0;
        if is_filtered {
            return PacketPlan::Decode;
        }
        self.unfiltered.insert(pts);
        if self.unfiltered.len() > MOST_UNFILTERED {
            self.unfiltered.pop_first();
        }
        PacketPlan::DecodeUnfiltered
    }

    /// Whether the loop filter is left out of frames that only serve to find scene changes. In H.264 it takes a fifth of the
    /// decoder's time.
    fn spares_filter(&self, syntax: PacketSyntax) -> bool {
        // Where no frame may be left out, every frame is the same as when all are decoded.
        matches!(syntax, PacketSyntax::H264(_)) && self.step.micros() * 2 <= MOST_SPACING.micros()
    }

    /// Whether a frame is to be decoded in full, because a scene may have begun shortly before it.
    fn is_in_full(&mut self, pts: i64, packet: &ff::Packet, syntax: PacketSyntax) -> bool {
        let data = packet.data().unwrap_or_default();
        if packet.is_key() {
            self.has_skipped = false;
            self.recent.clear();
        }
        if packet.is_key() || self.may_be_cut(data, syntax) {
            self.full_until = Some(pts.saturating_add(self.ticks(IN_FULL)));
        }
        // A film in which nothing can be skipped is decoded as it is when all frames are.
        !self.has_skipped || self.full_until.is_none_or(|until| pts < until)
    }

    /// Whether a packet between keyframes may hold a cut: it stands out, or refers to nothing.
    fn may_be_cut(&mut self, data: &[u8], syntax: PacketSyntax) -> bool {
        match syntax.slice_kind(data) {
            Some(SliceKind::I) => true,
            Some(SliceKind::P) => {
                let size = data.len() as u64;
                let others = self.recent.iter().sum::<u64>();
                let is_known = self.recent.len() == COMPARED;
                if is_known {
                    self.recent.pop_front();
                }
                self.recent.push_back(size);
                is_known && size.saturating_mul(COMPARED as u64) > others.saturating_mul(SPIKE)
            }
            _ => false,
        }
    }

    /// A time in ticks of the stream.
    fn ticks(&self, time: Time) -> i64 {
        let (num, den) = self.time_base;
        let ticks = i128::from(time.micros()) * i128::from(den) / (i128::from(num.max(1)) * 1_000_000);
        i64::try_from(ticks).unwrap_or(i64::MAX)
    }

    /// Whether a packet's frame may be left out.
    fn may_skip(&self, packet: &ff::Packet, syntax: PacketSyntax) -> bool {
        let step = rescale(packet.duration().max(0), self.time_base);
        let step = if step > Time::ZERO { step } else { self.step };
        self.row < MOST_IN_A_ROW
            && step.micros().saturating_mul(self.row + 2) <= MOST_SPACING.micros()
            && !packet.is_key()
            && !packet.is_corrupt()
            && syntax.is_unreferenced(packet.data().unwrap_or_default())
    }

    /// Whether the frame of this time, which the decoder returned, is unfiltered.
    pub(super) fn was_unfiltered(&mut self, pts: Option<i64>) -> bool {
        let Some(pts) = pts else { return false };
        let later = self.unfiltered.split_off(&pts.saturating_add(1));
        std::mem::replace(&mut self.unfiltered, later).last() == Some(&pts)
    }

    /// How many skipped frames come before a frame of this time and after those asked for before.
    pub(super) fn passed(&mut self, pts: Option<i64>) -> u64 {
        let Some(pts) = pts else { return 0 };
        let mut count = 0;
        while self.pending.peek().is_some_and(|Reverse(skipped)| *skipped < pts) {
            self.pending.pop();
            count += 1;
        }
        count
    }

    /// Packets left out so far.
    pub(super) fn skipped(&self) -> u64 {
        self.skipped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AVCC: [u8; 5] = [1, 100, 0, 40, 0xFF];
    /// A B-slice to which nothing refers, one of a P-frame, and the same much larger.
    const UNREFERENCED: [u8; 6] = [0, 0, 0, 2, 0x01, 0b1010_0000];
    const P: [u8; 6] = [0, 0, 0, 2, 0x41, 0b1100_0000];
    const LARGE: [u8; 60] = {
        let mut large = [0; 60];
        (large[3], large[4], large[5]) = (56, P[4], P[5]);
        large
    };

    fn packet(pts: i64, data: &[u8]) -> ff::Packet {
        let mut packet = ff::Packet::copy(data);
        packet.set_pts(Some(pts));
        packet
    }

    /// Milliseconds are ticks; a keyframe at the time 0 has passed.
    fn skipper(rate: f64) -> FrameSkipper {
        let mut skipper = FrameSkipper::new("h264", &AVCC, (1, 1000), Some(rate));
        assert_eq!(skipper.plan(&key(0)), PacketPlan::Decode);
        skipper
    }

    fn key(pts: i64) -> ff::Packet {
        let mut packet = packet(pts, &[0, 0, 0, 2, 0x65, 0b1011_0000]);
        packet.set_flags(ff::packet::Flags::KEY);
        packet
    }

    #[test]
    fn few_are_skipped_in_a_row_and_none_at_low_frame_rates() {
        let skipped = |rate: f64| {
            let mut skipper = skipper(rate);
            (400..407).map(|n| skipper.plan(&packet(n, &UNREFERENCED)) == PacketPlan::Skip).collect::<Vec<_>>()
        };
        assert_eq!(skipped(25.0), [true, true, false, true, true, false, true]);
        assert_eq!(skipped(15.0), [true, false, true, false, true, false, true]);
        assert!(!skipped(12.0).contains(&true));
    }

    #[test]
    fn skipped_frames_count_where_they_would_have_come() {
        let mut skipper = skipper(25.0);
        let mut skip = |pts| skipper.plan(&packet(pts, &UNREFERENCED)) == PacketPlan::Skip;
        assert!(skip(401) && skip(403));
        assert_eq!([400, 402, 404, 406].map(|pts| skipper.passed(Some(pts))), [0, 1, 1, 0]);
        assert_eq!((skipper.passed(None), skipper.skipped()), (0, 2));
        let mut timeless = ff::Packet::copy(&UNREFERENCED);
        timeless.set_pts(None);
        assert_eq!(skipper.plan(&timeless), PacketPlan::Decode, "its time would be guessed");
    }

    #[test]
    fn after_a_keyframe_and_after_a_spike_frames_are_filtered() {
        use PacketPlan::{Decode, DecodeUnfiltered, Skip};
        let mut skipper = skipper(25.0);
        let mut plan = |pts, data: &[u8]| skipper.plan(&packet(pts, data));
        assert_eq!([plan(120, &P), plan(40, &UNREFERENCED), plan(280, &P)], [Decode, Skip, Decode]);
        assert_eq!([plan(400, &P), plan(320, &UNREFERENCED)], [DecodeUnfiltered, Skip]);
        assert_eq!([plan(480, &P), plan(440, &P)], [DecodeUnfiltered; 2]);
        // A frame before it in order of time may follow it.
        assert_eq!([plan(600, &LARGE), plan(560, &P), plan(920, &P)], [Decode; 3]);
        assert_eq!([plan(960, &P), plan(1_000, &P)], [DecodeUnfiltered; 2]);
        assert_eq!(plan(1_040, &[0, 0, 0, 2, 0x41, 0b1011_0000]), Decode, "an I-slice");
        let known = [400, 440, 480, 600, 960, 1_040].map(|pts| skipper.was_unfiltered(Some(pts)));
        assert_eq!(known, [true, true, true, false, true, false]);
        assert!(skipper.unfiltered.is_empty());
    }

    #[test]
    fn a_film_without_frames_to_skip_is_filtered() {
        let mut skipper = skipper(25.0);
        assert!((0..50).all(|n| skipper.plan(&packet(40 * n, &P)) == PacketPlan::Decode));
    }

    #[test]
    fn every_frame_of_other_formats_is_filtered() {
        let mut skipper = FrameSkipper::new("mpeg2video", &[], (1, 1000), Some(25.0));
        let picture = |kind: u8| [0, 0, 1, 0, 0x12, 0x40 | kind << 3, 0xFF];
        let plans = [(0, 1), (880, 2), (840, 3)].map(|(pts, kind)| skipper.plan(&packet(pts, &picture(kind))));
        assert_eq!(plans, [PacketPlan::Decode, PacketPlan::Decode, PacketPlan::Skip]);
    }

    #[test]
    fn no_more_times_are_remembered_than_the_bound() {
        let mut skipper = skipper(25.0);
        for n in 0..10_000 {
            skipper.plan(&packet(1_000 + n, if n % 3 == 0 { &P } else { &UNREFERENCED }));
        }
        assert!(skipper.unfiltered.len() <= MOST_UNFILTERED && skipper.pending.len() <= MOST_PENDING);
    }
}
