//! Seeking: to the requested start, and from keyframe to keyframe.

use std::ops::Range;

use ffmpeg_next as ff;
use ffmpeg_next::ffi;

use super::byte_io::ByteIo;
use crate::time::Time;

/// Jumps that save fewer bytes than this are not worth their request.
const LEAST_SAVED: u64 = 256 << 10;

/// Seeks to a time on the container's own clock. A container that cannot seek is read from its beginning; frames before
/// the start are dropped all the same.
pub(super) fn seek_to_start(input: &mut ff::format::context::Input, start: Time) {
    let at = start.micros();
    let _ = input.seek(at, ..at);
}

/// Jumps from a keyframe to the next, so that nothing in between is fetched from an object store.
///
/// Uses the container's index. After the last keyframe reading continues, to find the end of the film.
#[derive(Debug, Default)]
pub(super) struct KeyframeJumps {
    /// Decoding times of the last jump's keyframes, from and to, by the stream's clock.
    last: Option<(i64, i64)>,
}

/// Where a jump leads.
struct JumpTarget {
    /// Decoding time by the stream's clock.
    timestamp: i64,
    /// The keyframe's bytes in the file.
    bytes: Range<u64>,
    /// The bytes of the keyframe after it.
    following: Option<Range<u64>>,
}

impl KeyframeJumps {
    /// Whether a packet was read before a jump that led back.
    pub(super) fn has_passed(&self, packet: &ff::Packet) -> bool {
        self.last.is_some_and(|(from, _)| packet.dts().is_some_and(|dts| dts <= from))
    }

    /// Jumps from the keyframe `packet` to the next one, if the index knows it and the jump pays.
    pub(super) fn jump(
        &mut self,
        packet: &ff::Packet,
        input: &mut ff::format::context::Input,
        stream: usize,
        io: &mut ByteIo,
    ) {
        let Some(dts) = packet.dts() else { return };
        if self.last.is_some_and(|(_, to)| dts < to) {
            // The last jump led elsewhere than the index says: the index is wrong, so this was the last one.
            self.last = Some((dts, i64::MAX));
            return;
        }
        let Some(target) = next_keyframe(input, stream, dts) else { return };
        let saved = target.bytes.start.saturating_sub(u64::try_from(packet.position()).unwrap_or(u64::MAX));
        if target.timestamp <= dts || saved < LEAST_SAVED {
            return;
        }
        // The index goes by decoding time, a seek by presentation time: both keyframes have the same delay.
        let delay = packet.pts().map_or(0, |pts| pts.saturating_sub(dts)).max(0);
        let shown = target.timestamp.saturating_add(delay);
        // SAFETY: a seek within one stream of a valid context; `Input::seek` cannot name the stream.
        let code = unsafe { ffi::av_seek_frame(input.as_mut_ptr(), stream as i32, shown, ffi::AVSEEK_FLAG_BACKWARD) };
        if code >= 0 {
            self.last = Some((dts, target.timestamp));
            io.expect(target.bytes, target.following);
        }
    }
}

/// The keyframe after the packet with this decoding time, from the container's index.
fn next_keyframe(input: &ff::format::context::Input, stream: usize, dts: i64) -> Option<JumpTarget> {
    // SAFETY: look-ups in the open container's index, of a stream that it has.
    unsafe {
        let stream = *(*input.as_ptr()).streams.add(stream);
        let here = ffi::av_index_search_timestamp(stream, dts, ffi::AVSEEK_FLAG_BACKWARD | ffi::AVSEEK_FLAG_ANY);
        if here < 0 {
            return None;
        }
        let entries = ffi::avformat_index_get_entries_count(stream);
        let mut keyframes = (here + 1..entries).filter_map(|n| {
            let entry = ffi::avformat_index_get_entry(stream, n).as_ref()?;
            let start = u64::try_from(entry.pos).ok()?;
            let bytes = start..start.saturating_add(u64::try_from(entry.size()).unwrap_or(0));
            (entry.flags() & ffi::AVINDEX_KEYFRAME != 0).then_some((entry.timestamp, bytes))
        });
        let (timestamp, bytes) = keyframes.next()?;
        let following = keyframes.next().map(|(_, bytes)| bytes);
        Some(JumpTarget { timestamp, bytes, following })
    }
}
