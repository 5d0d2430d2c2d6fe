//! What the packets of a few formats say about their frames, in their first few bytes. No state.

/// How units follow one another in a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// Each begins after the bytes 0, 0, 1.
    StartCodes,
    /// Each begins with its length, in so many bytes.
    Lengths(usize),
}

/// How a codec's packets are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PacketSyntax {
    H264(Framing),
    Hevc {
        framing: Framing,
        /// The highest temporal layer. A frame of a lower one may be referred to by a higher one, whatever its type says.
        top_layer: u8,
    },
    /// MPEG-1 and MPEG-2.
    Mpeg2,
}

/// What a slice refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SliceKind {
    /// Nothing.
    I,
    /// One frame for each block.
    P,
    /// Up to two.
    B,
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
    pub(super) fn of(codec: &str, extradata: &[u8]) -> Option<PacketSyntax> {
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
    pub(super) fn is_unreferenced(self, packet: &[u8]) -> bool {
        // Headers come before the first slice, and all slices of a frame agree.
        let verdict = self.first(packet, |unit| match self.judge(unit) {
            UnitVerdict::Other => None,
            verdict => Some(verdict),
        });
        verdict == Some(UnitVerdict::Unreferenced)
    }

    /// What the first slice of a packet refers to; `None` if it does not say, and for formats other than H.264.
    pub(super) fn slice_kind(self, packet: &[u8]) -> Option<SliceKind> {
        match self {
            PacketSyntax::H264(_) => self.first(packet, h264_slice)?,
            _ => None,
        }
    }

    /// The first answer that a unit of a packet gives.
    fn first<T>(self, packet: &[u8], ask: impl Fn(&[u8]) -> Option<T>) -> Option<T> {
        let framing = match self {
            PacketSyntax::H264(framing) | PacketSyntax::Hevc { framing, .. } => framing,
            PacketSyntax::Mpeg2 => Framing::StartCodes,
        };
        match framing {
            Framing::StartCodes => start_codes(packet).find_map(ask),
            Framing::Lengths(width) => lengths(packet, width).find_map(ask),
        }
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

/// H.264, 7.3.3: what a slice refers to follows the number of its first macroblock. `None` if the unit is no slice; `Some(None)`
/// if it cannot be read.
fn h264_slice(unit: &[u8]) -> Option<Option<SliceKind>> {
    let (header, bits) = unit.split_first()?;
    if !matches!(header & 0x1F, 1 | 2 | 5) {
        return None;
    }
    let mut word = [0; 8];
    let known = bits.len().min(8);
    word[..known].copy_from_slice(&bits[..known]);
    let kind = exp_golomb(u64::from_be_bytes(word)).and_then(|(_, rest)| exp_golomb(rest));
    Some(kind.and_then(|(kind, _)| match kind % 5 {
        0 | 3 => Some(SliceKind::P),
        1 => Some(SliceKind::B),
        2 | 4 => Some(SliceKind::I),
        _ => None,
    }))
}

/// H.264, 9.1: as many zeros as there are bits behind the first one; and the bits that follow.
fn exp_golomb(bits: u64) -> Option<(u64, u64)> {
    let zeros = bits.leading_zeros();
    // The number of a macroblock has less than 20 bits.
    (zeros < 20).then(|| ((bits >> (63 - 2 * zeros)) - 1, bits << (2 * zeros + 1)))
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

    #[test]
    fn slices_say_what_they_refer_to() {
        let kind = |bits: u8| PacketSyntax::of("h264", &AVCC).unwrap().slice_kind(&[0, 0, 0, 2, 0x41, bits]);
        // The first macroblock is 0, a single bit.
        assert_eq!(kind(0b1001_1000), Some(SliceKind::P), "5");
        assert_eq!(kind(0b1001_1100), Some(SliceKind::B), "6");
        assert_eq!(kind(0b1000_1000), Some(SliceKind::I), "7");
        assert_eq!(kind(0b1100_0000), Some(SliceKind::P), "0");
        assert_eq!(kind(0b1010_0000), Some(SliceKind::B), "1");
        assert_eq!(kind(0b1011_0000), Some(SliceKind::I), "2");
        assert_eq!(kind(0), None, "cut off");
        let first = [0, 0, 1, 0x09, 0x10, 0, 0, 1, 0x65, 0b1011_0000, 0, 0, 1, 0x41, 0b1100_0000];
        assert_eq!(PacketSyntax::of("h264", &[]).unwrap().slice_kind(&first), Some(SliceKind::I), "the first slice");
        assert_eq!(PacketSyntax::Mpeg2.slice_kind(&first), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged(extradata in prop::collection::vec(any::<u8>(), 0..40), data in prop::collection::vec(0u8..70, 0..60)) {
            for codec in ["h264", "hevc", "mpeg2video", "av1"] {
                if let Some(syntax) = PacketSyntax::of(codec, &extradata) {
                    syntax.is_unreferenced(&data);
                    syntax.slice_kind(&data);
                }
            }
        }
    }
}
