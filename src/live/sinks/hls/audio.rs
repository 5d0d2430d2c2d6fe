//! The playlist of a stream's sound with spoken descriptions: packed audio (AAC in ADTS), whose first bytes are an ID3 tag with
//! the time on the source's clock.
//!
//! Segments are as long as whole frames of AAC fit into a segment. Memory: one segment, and on a full disk as many as the
//! playlist holds.

use std::path::PathBuf;
use std::time::{Instant, SystemTime};

use super::super::super::event::ClockMapping;
use super::HlsOptions;
use super::folder::PlaylistFolder;
use super::playlist::AUDIO;
use super::segmenter::ClosedSegment;
use super::source_clock::{SourceClock, is_gap};
use crate::error::Result;
use crate::time::Time;

/// The owner of the ID3 frame that has the time, with the zero at its end.
const OWNER: &[u8] = b"com.apple.streaming.transportStreamTimestamp\0";

/// A segment that is not complete.
struct OpenAudioSegment {
    start: Time,
    end: Time,
    bytes: Vec<u8>,
}

/// The playlist of one stream.
pub(in crate::live::sinks) struct AudioPlaylist {
    clock: SourceClock,
    folder: PlaylistFolder,
    /// Longest segment.
    segment: Time,
    /// Length of the playlist.
    span: Time,
    /// The stream is processed up to here.
    processed: Time,
    open: Option<OpenAudioSegment>,
    /// The next segment does not continue the one before.
    jumped: bool,
    /// Of descriptions that are in no segment yet: when they begin, and when their pictures' packets arrived.
    arrivals: Vec<(Time, Instant)>,
    lost: bool,
}

impl AudioPlaylist {
    /// # Errors
    /// When an option is out of range, or the folder cannot be written or has a playlist that descry did not write.
    pub(in crate::live::sinks) fn open(folder: PathBuf, options: &HlsOptions) -> Result<AudioPlaylist> {
        options.check()?;
        Ok(AudioPlaylist {
            clock: SourceClock::default(),
            folder: PlaylistFolder::open(folder, AUDIO, options, false)?,
            segment: options.segment,
            span: options.span(),
            processed: Time::ZERO,
            open: None,
            // After an earlier run, the clock of the source goes on.
            jumped: false,
            arrivals: Vec::new(),
            lost: false,
        })
    }

    /// Where the sound so far ends, if it does not go on with this clock: exactly where the playlist of the text does.
    pub(in crate::live::sinks) fn breaks(&self, mapping: &ClockMapping) -> Option<Time> {
        self.clock.breaks(mapping, self.processed, self.span)
    }

    /// The source's clock is this from here on.
    pub(in crate::live::sinks) fn set_clock(&mut self, mapping: ClockMapping) {
        self.clock.set(mapping);
    }

    /// The next frame begins there.
    pub(in crate::live::sinks) fn begin(&mut self, at: Time) {
        self.processed = self.processed.max(at);
    }

    /// The stream is processed up to a time. Where that leaves a gap, returns the ends of it.
    pub(in crate::live::sinks) fn progress(&mut self, time: Time) -> Option<(Time, Time)> {
        let processed = self.processed;
        self.processed = processed.max(time);
        is_gap(processed, time, self.span).then(|| (processed, time - self.segment))
    }

    /// The wall clock at a stream time.
    pub(in crate::live::sinks) fn follow(&mut self, time: Time, wall: SystemTime) {
        self.clock.follow(time, wall);
    }

    /// A description begins in sound that is yet to come.
    pub(in crate::live::sinks) fn begin_speech(&mut self, at: Time, arrived: Instant) {
        self.arrivals.push((at, arrived));
    }

    /// Takes the next frame of AAC, from `start` to `end`.
    pub(in crate::live::sinks) fn frame(&mut self, start: Time, end: Time, bytes: &[u8]) {
        if self.open.as_ref().is_some_and(|open| end - open.start > self.segment) {
            self.close_segment();
        }
        let clock = &self.clock;
        let begin = || OpenAudioSegment { start, end, bytes: timestamp(clock.pts(start)) };
        let open = self.open.get_or_insert_with(begin);
        open.bytes.extend_from_slice(bytes);
        open.end = end;
    }

    /// Ends the segment. The next frame does not continue it.
    pub(in crate::live::sinks) fn cut(&mut self) {
        self.close_segment();
        self.jumped = true;
    }

    /// Ends the last segment. `is_final`: the source has ended, and the playlist is to announce it.
    pub(in crate::live::sinks) fn finish(&mut self, is_final: bool) {
        self.close_segment();
        if is_final {
            self.folder.end();
        }
    }

    fn close_segment(&mut self) {
        let Some(OpenAudioSegment { start, end, bytes }) = self.open.take() else { return };
        let (first, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.arrivals).into_iter().partition(|(at, _)| *at < end);
        self.arrivals = later;
        self.lost |= self.folder.push(ClosedSegment {
            duration: end - start,
            wall: self.clock.wall(start),
            discontinuity: std::mem::take(&mut self.jumped),
            bytes,
            arrivals: first.into_iter().map(|(_, arrived)| arrived).collect(),
        });
    }

    /// Whether segments that waited for disk space were lost since the last call.
    pub(in crate::live::sinks) fn take_lost(&mut self) -> bool {
        std::mem::take(&mut self.lost)
    }

    /// Writes what waits. `delivered` gets the arrivals of the descriptions that can be heard now.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(in crate::live::sinks) fn write(&mut self, now: Instant, delivered: impl FnMut(Instant)) -> Result<()> {
        self.folder.write(now, delivered)
    }

    /// Fails while something cannot be written.
    pub(in crate::live::sinks) fn trouble(&self) -> Result<()> {
        self.folder.trouble()
    }

    /// Immediately tries again what failed.
    pub(in crate::live::sinks) fn hasten(&mut self) {
        self.folder.hasten();
    }
}

/// An ID3 tag with a time in 90 kHz.
fn timestamp(pts: i64) -> Vec<u8> {
    let length = OWNER.len() + 8;
    // Both lengths are below 128, so each is one byte.
    let mut tag = b"ID3\x04\0\0\0\0\0".to_vec();
    tag.push((10 + length) as u8);
    tag.extend_from_slice(b"PRIV\0\0\0");
    tag.push(length as u8);
    tag.extend_from_slice(&[0, 0]);
    tag.extend_from_slice(OWNER);
    tag.extend_from_slice(&pts.to_be_bytes());
    tag
}

const _: () = assert!(OWNER.len() + 18 < 128);
