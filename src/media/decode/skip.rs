//! Which packets [`DecodedFrames::Fast`](super::DecodedFrames::Fast) leaves out: frames to which no other frame refers.
//!
//! The bitstream itself marks such a frame, so a packet is judged by its first few bytes, and the frames that are decoded
//! are the same, sample for sample, as if every frame were. A packet that cannot be judged is decoded. What is left out
//! depends on the packets since the last frame that others refer to, so it is the same wherever reading began.
//!
//! Memory: the times of skipped frames that come later than the last frame, at most [`MOST_PENDING`].

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use ffmpeg_next as ff;
use ffmpeg_next::ffi::AVPacketSideDataType as SideData;

use super::stream::{StreamHeader, rescale};
use crate::media::ffmpeg::{codec_name, is_side_data, parameters};
use crate::time::Time;

/// Most frames that are skipped in a row, in order of decoding. A cut is then found at most so many frames late.
const MOST_IN_A_ROW: i64 = 2;
/// Longest time between two frames because of those that are skipped between them. Scene detection takes frames with more
/// than 250 ms between them for unrelated pictures.
const MOST_SPACING: Time = Time::from_millis(140);
/// Most skipped frames whose times are remembered; those of a sound stream are fewer than it reorders, which is 16.
const MOST_PENDING: usize = 64;

/// Decides which packets of a stream are skipped, and counts them.
pub(super) struct FrameSkipper {
    /// None where nothing is known about the bitstream.
    syntax: Option<PacketSyntax>,
    /// Frames skipped in a row.
    row: i64,
    /// Seconds a tick, as a fraction.
    time_base: (i64, i64),
    /// Duration of a frame for packets that do not say.
    step: Time,
    /// Times of skipped frames that come later than the last frame, by the stream's clock.
    pending: BinaryHeap<Reverse<i64>>,
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
        FrameSkipper { syntax, row: 0, time_base, step, pending: BinaryHeap::new(), skipped: 0 }
    }

    /// Whether to leave a packet out.
    pub(super) fn skips(&mut self, packet: &ff::Packet) -> bool {
        if packet.side_data().any(|data| is_side_data(&data, SideData::AV_PKT_DATA_NEW_EXTRADATA)) {
            // From here on other headers are valid, which nothing here reads.
            self.syntax = None;
        }
        let step = rescale(packet.duration().max(0), self.time_base);
        let step = if step > Time::ZERO { step } else { self.step };
        let spacing = step.micros().saturating_mul(self.row + 2);
        let data = packet.data().unwrap_or_default();
        // Without a time of its own, a frame's time is guessed from the packets before it.
        let pts = packet.pts().filter(|_| {
            self.row < MOST_IN_A_ROW
                && spacing <= MOST_SPACING.micros()
                && !packet.is_key()
                && !packet.is_corrupt()
                && self.syntax.as_ref().is_some_and(|syntax| syntax.is_unreferenced(data))
        });
        let Some(pts) = pts else {
            self.row = 0;
            return false;
        };
        self.row += 1;
        self.skipped += 1;
        if self.pending.len() < MOST_PENDING {
            self.pending.push(Reverse(pts));
        }
        true
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

/// How units follow one another in a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// Each begins after the bytes 0, 0, 1.
    StartCodes,
    /// Each begins with its length, in so many bytes.
    Lengths(usize),
}

/// How a codec's packets are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PacketSyntax {
    H264(Framing),
    Hevc {
        framing: Framing,
        /// The highest temporal layer. A frame of a lower one may be referred to by a higher one, whatever its type says.
        top_layer: u8,
    },
    /// MPEG-1 and MPEG-2.
    Mpeg2,
}

/// What a unit says about the frame of its packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum UnitVerdict {
    /// Nothing.
    Other,
    /// Others refer to it, or the packet holds headers that later frames need.
    Needed,
    Unreferenced,
}

impl PacketSyntax {
    fn of(codec: &str, extradata: &[u8]) -> Option<PacketSyntax> {
        // Both avcC and hvcC begin with their version, 1, and a start code with a zero.
        let lengths = extradata.first() == Some(&1);
        let framing = |at: usize| -> Option<Framing> {
            if lengths {
                extradata.get(at).map(|byte| Framing::Lengths(usize::from(byte & 3) + 1))
            } else {
                Some(Framing::StartCodes)
            }
        };
        match codec {
            "h264" => Some(PacketSyntax::H264(framing(4)?)),
            "hevc" => Some(PacketSyntax::Hevc { framing: framing(21)?, top_layer: top_layer(extradata, lengths)? }),
            "mpeg1video" | "mpeg2video" => Some(PacketSyntax::Mpeg2),
            _ => None,
        }
    }

    /// Whether no other frame refers to a packet's frame.
    fn is_unreferenced(self, packet: &[u8]) -> bool {
        let framing = match self {
            PacketSyntax::H264(framing) | PacketSyntax::Hevc { framing, .. } => framing,
            PacketSyntax::Mpeg2 => Framing::StartCodes,
        };
        // Headers come before the first slice, and all slices of a frame agree.
        let says = |verdict: &UnitVerdict| *verdict != UnitVerdict::Other;
        let verdict = match framing {
            Framing::StartCodes => start_codes(packet).map(|unit| self.judge(unit)).find(says),
            Framing::Lengths(width) => lengths(packet, width).map(|unit| self.judge(unit)).find(says),
        };
        verdict == Some(UnitVerdict::Unreferenced)
    }

    fn judge(self, unit: &[u8]) -> UnitVerdict {
        match self {
            PacketSyntax::H264(_) => h264_unit(unit),
            PacketSyntax::Hevc { top_layer, .. } => hevc_unit(unit, top_layer),
            PacketSyntax::Mpeg2 => mpeg2_unit(unit),
        }
    }
}

/// The rest of the packet from each unit on, start codes left out.
fn start_codes(packet: &[u8]) -> impl Iterator<Item = &[u8]> {
    let starts = packet.windows(3).enumerate().filter(|(_, code)| *code == [0, 0, 1]);
    starts.map(|(at, _)| &packet[at + 3..])
}

/// The units of a packet; ends where a length leads out of it.
fn lengths(packet: &[u8], width: usize) -> impl Iterator<Item = &[u8]> {
    let mut rest = packet;
    std::iter::from_fn(move || {
        let (length, behind) = rest.split_at_checked(width)?;
        let length = length.iter().fold(0usize, |sum, byte| sum << 8 | usize::from(*byte));
        let (unit, behind) = behind.split_at_checked(length)?;
        rest = behind;
        Some(unit)
    })
}

/// H.264, 7.3.1: the second and third bit of a slice say whether its picture is a reference.
fn h264_unit(unit: &[u8]) -> UnitVerdict {
    let Some(&header) = unit.first() else { return UnitVerdict::Other };
    match header & 0x1F {
        // A slice, or the first partition of one.
        1 | 2 | 5 if header & 0x60 == 0 => UnitVerdict::Unreferenced,
        // Other slices, and parameter sets.
        1 | 2 | 5 | 7 | 8 | 13 | 15 => UnitVerdict::Needed,
        _ => UnitVerdict::Other,
    }
}

/// HEVC, 7.3.1.2: even types below 16 are of pictures to which no picture of the same temporal layer refers.
fn hevc_unit(unit: &[u8], top_layer: u8) -> UnitVerdict {
    let &[first, second, ..] = unit else { return UnitVerdict::Other };
    let (kind, layer, temporal) = (first >> 1 & 0x3F, (first & 1) << 5 | second >> 3, (second & 7).saturating_sub(1));
    match kind {
        // Of another view, or of the alpha channel, which is not decoded.
        _ if layer > 0 => UnitVerdict::Other,
        0..16 if kind % 2 == 0 && temporal >= top_layer => UnitVerdict::Unreferenced,
        // Other slices, and parameter sets.
        0..=34 => UnitVerdict::Needed,
        _ => UnitVerdict::Other,
    }
}

/// The highest temporal layer by a stream's headers.
fn top_layer(extradata: &[u8], is_configuration: bool) -> Option<u8> {
    /// The type of a unit that holds a video parameter set, as the first byte of the unit.
    const VPS: u8 = 32 << 1;
    let parameter_set = if is_configuration {
        // hvcC: 22 bytes, the number of arrays; each has its type, the number of its units, and each of those its length.
        // The first array holds video parameter sets, by the usual order.
        let array = extradata.get(23..)?;
        if *array.first()? & 0x3F != 32 {
            return None;
        }
        array.get(5..)?
    } else {
        start_codes(extradata).find(|unit| unit.first() == Some(&VPS))?
    };
    // Behind the unit's own two bytes: an id, two flags and the number of layers, 12 bits; then the number of temporal layers.
    parameter_set.get(3).map(|byte| byte >> 1 & 7)
}

/// MPEG-2, 6.2: a picture's type follows ten bits of its number. Nothing refers to a B picture.
fn mpeg2_unit(unit: &[u8]) -> UnitVerdict {
    match unit {
        [0, _, kind, ..] if kind >> 3 & 7 == 3 => UnitVerdict::Unreferenced,
        // Another picture, or the header of a sequence or of a group.
        [0 | 0xB3 | 0xB8, ..] => UnitVerdict::Needed,
        _ => UnitVerdict::Other,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const AVCC: [u8; 5] = [1, 100, 0, 40, 0xFF];

    fn h264(extradata: &[u8], packet: &[u8]) -> bool {
        PacketSyntax::of("h264", extradata).is_some_and(|syntax| syntax.is_unreferenced(packet))
    }

    #[test]
    fn a_frame_is_unreferenced_only_where_its_slices_say_so() {
        assert!(h264(&AVCC, &[0, 0, 0, 2, 0x01, 9]), "a slice with nal_ref_idc 0");
        assert!(h264(&AVCC, &[0, 0, 0, 1, 0x09, 0, 0, 0, 2, 0x01, 9]), "behind a delimiter");
        assert!(!h264(&AVCC, &[0, 0, 0, 2, 0x41, 9]), "a reference");
        assert!(!h264(&AVCC, &[0, 0, 0, 1, 0x68, 0, 0, 0, 2, 0x01, 9]), "with headers");
        assert!(!h264(&AVCC, &[0, 0, 0, 1, 0x06]), "no slice");
        assert!(!h264(&AVCC, &[0, 0, 1, 2, 0x01, 9]), "cut off");
        assert!(h264(&[], &[0, 0, 0, 1, 0x09, 0x10, 0, 0, 1, 0x01, 9]), "start codes");
        assert!(!h264(&[], &[0, 0, 1, 0x61, 9, 0, 0, 1, 0x01]), "the first slice counts");
    }

    #[test]
    fn hevc_frames_of_lower_temporal_layers_are_kept() {
        let syntax = |layers: u8| {
            let headers = [0, 0, 0, 1, 0x40, 1, 0x0C, layers << 1 | 1, 0xFF];
            PacketSyntax::of("hevc", &headers).unwrap()
        };
        let slice = |kind: u8, temporal: u8| [0, 0, 1, kind << 1, temporal + 1, 9];
        assert!(syntax(0).is_unreferenced(&slice(0, 0)), "TRAIL_N");
        assert!(!syntax(0).is_unreferenced(&slice(1, 0)), "TRAIL_R");
        assert!(!syntax(0).is_unreferenced(&slice(19, 0)), "IDR");
        assert!(!syntax(1).is_unreferenced(&slice(0, 0)) && syntax(1).is_unreferenced(&slice(2, 1)), "TSA_N");
        assert_eq!(PacketSyntax::of("hevc", &[]), None, "without headers nothing is known");
    }

    #[test]
    fn b_pictures_of_mpeg2_are_unreferenced() {
        let picture = |kind: u8| [0, 0, 1, 0, 0x12, 0x40 | kind << 3, 0xFF, 0, 0, 1, 1];
        let skipped = |packet: &[u8]| PacketSyntax::Mpeg2.is_unreferenced(packet);
        assert_eq!([1, 2, 3].map(|kind| skipped(&picture(kind))), [false, false, true]);
        assert!(!skipped(&[&[0, 0, 1, 0xB8, 1, 2, 3, 4][..], &picture(3)].concat()), "a group begins");
    }

    fn packet(pts: i64, data: &[u8]) -> ff::Packet {
        let mut packet = ff::Packet::copy(data);
        packet.set_pts(Some(pts));
        packet
    }

    #[test]
    fn few_are_skipped_in_a_row_and_none_at_low_frame_rates() {
        let skipped = |rate: f64| {
            let mut skipper = FrameSkipper::new("h264", &AVCC, (1, 1000), Some(rate));
            (0..7).map(|n| skipper.skips(&packet(n, &[0, 0, 0, 2, 0x01, 9]))).collect::<Vec<_>>()
        };
        assert_eq!(skipped(25.0), [true, true, false, true, true, false, true]);
        assert_eq!(skipped(15.0), [true, false, true, false, true, false, true]);
        assert!(!skipped(12.0).contains(&true));
    }

    #[test]
    fn skipped_frames_count_where_they_would_have_come() {
        let mut skipper = FrameSkipper::new("h264", &AVCC, (1, 1000), Some(25.0));
        let mut skip = |pts| skipper.skips(&packet(pts, &[0, 0, 0, 2, 0x01, 9]));
        assert!(skip(1) && skip(3));
        assert_eq!([0, 2, 4, 6].map(|pts| skipper.passed(Some(pts))), [0, 1, 1, 0]);
        assert_eq!((skipper.passed(None), skipper.skipped()), (0, 2));
        let mut timeless = ff::Packet::copy(&[0, 0, 0, 2, 0x01, 9]);
        timeless.set_pts(None);
        assert!(!skipper.skips(&timeless), "its time would be guessed");
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged(extradata in prop::collection::vec(any::<u8>(), 0..40), data in prop::collection::vec(0u8..70, 0..60)) {
            for codec in ["h264", "hevc", "mpeg2video", "av1"] {
                if let Some(syntax) = PacketSyntax::of(codec, &extradata) {
                    syntax.is_unreferenced(&data);
                }
            }
        }
    }
}
