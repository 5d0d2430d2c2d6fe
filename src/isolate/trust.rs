//! Checks what a child sends before its parent uses it: texts, times, the order of frames, the state of a source, and data of
//! the side track.

use super::wire::{BATCH, MOST_LINES, MOST_PROGRAMME, MOST_SAMPLES, SentError, SentFrame, SourceState};
use crate::address::hide;
use crate::error::Error;
use crate::media::decode::MOST_PENDING;
use crate::media::side_track::language;
use crate::media::{
    AudioChunk, DecodeOptions, DecodedFrames, DialogueLine, LONGEST_LINE, PROGRAMME_CHANNELS, ProgrammeChunk,
    SideTrackData, StreamFault, StreamInfo, sample_time,
};
use crate::message::Message;
use crate::scene::THUMB_SAMPLES;
use crate::time::Time;

/// Longest text of a child in characters.
const TEXT: usize = 600;
/// Longest name of a container, codec or pixel format.
const NAME: usize = 120;
/// Bytes of a frame's thumb.
pub(super) const SAMPLES: usize = 3 * THUMB_SAMPLES;
/// Most bits of a pixel: four numbers of 32 bits.
const MOST_BITS: u32 = 128;
/// Latest plausible time, in microseconds: 10 years. Earlier than minus this is not plausible either.
const LATEST: i64 = 10 * 366 * 86_400 * 1_000_000;

pub(super) fn is_time(time: Time) -> bool {
    (-LATEST..=LATEST).contains(&time.micros())
}

/// A child's text: without credentials and control characters, and not too long.
fn text(text: &str) -> String {
    let text: String = text.chars().take(TEXT).map(|c| if c.is_control() { ' ' } else { c }).collect();
    hide(&text)
}

/// The cause of a child's error. There is always one.
fn cause(message: Message) -> Message {
    let cause = clean(message);
    if cause.to_string().trim().is_empty() { "its decoder failed and does not say why".into() } else { cause }
}

fn clean(message: Message) -> Message {
    message.map_text(|t| text(&t))
}

/// The error of a child about its input.
pub(super) fn error(e: SentError, name: &str) -> Error {
    match e {
        SentError::Interrupted => Error::input(name, "its decoder stopped", "Run again."),
        // It has only one input, so the name that it sends does not matter.
        SentError::Input { input: _, cause: words, remedy } => Error::input(name, cause(words), clean(remedy)),
        SentError::Usage { cause: words, remedy } => Error::usage(cause(words), clean(remedy)),
    }
}

pub(super) fn fault_of(fault: StreamFault) -> StreamFault {
    match fault {
        // Only this process knows whether the user stopped it.
        StreamFault::Stopped => StreamFault::Lost("its decoder stopped".into()),
        StreamFault::Silent(words) => StreamFault::Silent(text(&words)),
        StreamFault::Absent(words) => StreamFault::Absent(text(&words)),
        StreamFault::Forbidden(words) => StreamFault::Forbidden(text(&words)),
        StreamFault::Unreachable(words) => StreamFault::Unreachable(text(&words)),
        StreamFault::Lost(words) => StreamFault::Lost(text(&words)),
        StreamFault::Undecodable(words) => StreamFault::Undecodable(text(&words)),
        fault @ (StreamFault::Ended | StreamFault::NoVideo) => fault,
    }
}

pub(super) fn clean_state(mut state: SourceState) -> SourceState {
    state.damage.stopped = state.damage.stopped.map(|words| text(&words));
    state.damage.missing = state.damage.missing.filter(|secs| secs.is_finite());
    state
}

pub(super) fn check_info(info: &mut StreamInfo, max_pixels: u64) -> Result<(), &'static str> {
    let mut names = vec![&mut info.container, &mut info.codec, &mut info.pixel_format];
    if let Some(track) = &mut info.side_track {
        names.push(&mut track.codec);
        track.language = track.language.take().and_then(|tag| language(&tag));
    }
    for name in names {
        *name = name.chars().filter(|c| c.is_ascii_graphic()).take(NAME).collect();
    }
    info.side_track_fault = info.side_track_fault.take().map(|words| text(&words));
    let (width, height) = (u64::from(info.width), u64::from(info.height));
    let (num, den) = info.sample_aspect;
    let is_length = |secs: f64| secs.is_finite() && (0.0..=LATEST as f64 / 1e6).contains(&secs.abs());
    let is_fine = width > 0
        && height > 0
        && width * height <= max_pixels
        && num > 0
        && den > 0
        && [0, 90, 180, 270].contains(&info.rotation)
        && info.duration.is_none_or(|secs| is_length(secs) && secs >= 0.0)
        && info.frame_rate.is_none_or(|rate| rate.is_finite() && rate > 0.0)
        && is_length(info.start_time);
    if is_fine { Ok(()) } else { Err("what it says about the stream is wrong") }
}

/// Which frames of a child may come next.
pub(super) struct FrameOrder {
    /// Ordinal and earliest time of the next frame.
    next: u64,
    earliest: Time,
    /// Most frames that may be left out between two.
    most_left_out: u64,
    max_pixels: u64,
    /// Bytes of a frame's thumb and, if they are wanted, its strokes.
    pub(super) frame_bytes: usize,
}

impl FrameOrder {
    pub(super) fn new(options: &DecodeOptions) -> FrameOrder {
        FrameOrder {
            next: 0,
            earliest: Time::from_micros(i64::MIN),
            most_left_out: if options.frames == DecodedFrames::Fast { MOST_PENDING as u64 } else { 0 },
            max_pixels: options.max_pixels,
            frame_bytes: SAMPLES + if options.strokes { THUMB_SAMPLES } else { 0 },
        }
    }

    /// Checks how many frames a reply has, and the bytes of their thumbs.
    ///
    /// # Errors
    /// If they do not match, or there are too many, as a text for people.
    pub(super) fn count(&self, frames: &[SentFrame], samples: &[u8]) -> Result<(), &'static str> {
        let is_right = frames.len() <= BATCH && samples.len() == frames.len() * self.frame_bytes;
        if is_right { Ok(()) } else { Err("the number of frames is wrong") }
    }

    /// Checks the next frame.
    ///
    /// # Errors
    /// If it is none that can follow, as a text for people.
    pub(super) fn receive(&mut self, sent: &SentFrame) -> Result<(), &'static str> {
        let SentFrame { header, sharpness, .. } = sent;
        // A small number of frames may be left out between two.
        let left_out = header.index.checked_sub(self.next);
        let is_next = left_out.is_some_and(|frames| frames <= self.most_left_out);
        if !is_next || header.time <= self.earliest || !is_time(header.time) {
            return Err("frames are not in order");
        }
        let (num, den) = header.sample_aspect;
        let is_plausible = num > 0 && den > 0 && (0.1..=10.0).contains(&(f64::from(num) / f64::from(den)));
        if !is_plausible || !header.pts.is_none_or(is_time) || !(0.0..=255.0).contains(sharpness) {
            return Err("a frame's header is wrong");
        }
        let size = header.flags.size;
        if u64::from(size.width) * u64::from(size.height) > self.max_pixels || size.bits_per_pixel > MOST_BITS {
            return Err("a frame is too large");
        }
        self.next = header.index.saturating_add(1);
        self.earliest = header.time;
        Ok(())
    }
}

/// Checked data of the side track of a child, until it is taken.
#[derive(Default)]
pub(super) struct CheckedSideTrack {
    waiting: Option<SideTrackData>,
    /// The sample after the last one so far.
    end: u64,
    /// Up to when everything has been read.
    until: Time,
}

impl CheckedSideTrack {
    /// Checks the next data: it must be in order, with plausible times, and fit into one reply.
    ///
    /// # Errors
    /// If it is not, as a text for people.
    pub(super) fn receive(&mut self, data: SideTrackData) -> Result<(), &'static str> {
        let SideTrackData { audio, lines, programme, until } = &data;
        let mut end = self.end;
        let mut in_order = |chunk: &AudioChunk| {
            let follows = chunk.start >= end && !chunk.samples.is_empty();
            end = chunk.end();
            follows && is_time(sample_time(end))
        };
        let samples: usize = audio.iter().map(|chunk| chunk.samples.len()).sum();
        let is_text = |text: &str| text.chars().count() <= LONGEST_LINE && !text.chars().any(char::is_control);
        let is_line = |line: &DialogueLine| {
            is_time(line.start) && is_time(line.end) && line.start < line.end && is_text(&line.text)
        };
        let programme_samples: usize = programme.iter().map(|chunk| chunk.samples.len()).sum();
        let is_chunk = |chunk: &ProgrammeChunk| {
            let frames = !chunk.samples.is_empty() && chunk.samples.len().is_multiple_of(PROGRAMME_CHANNELS);
            frames && is_time(chunk.pts)
        };
        let is_fine = samples <= MOST_SAMPLES
            && lines.len() <= MOST_LINES
            && audio.iter().all(&mut in_order)
            && lines.iter().all(is_line)
            && *until >= self.until
            && (is_time(*until) || *until == Time::MAX)
            && programme_samples <= MOST_PROGRAMME
            && programme.iter().all(is_chunk)
            && (samples > 0 || programme_samples > 0 || !lines.is_empty() || *until > self.until);
        if !is_fine {
            return Err("what it says about the sound or subtitles is wrong");
        }
        (self.end, self.until, self.waiting) = (end, *until, Some(data));
        Ok(())
    }

    pub(super) fn take(&mut self) -> Option<SideTrackData> {
        self.waiting.take()
    }

    /// Drops what has not been taken.
    pub(super) fn clear(&mut self) {
        self.waiting = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound(start: u64, samples: usize, until: i64) -> SideTrackData {
        let audio = vec![AudioChunk { start, samples: vec![f32::NAN; samples] }];
        SideTrackData { audio, until: Time::from_millis(until), ..SideTrackData::default() }
    }

    fn programme(pts: i64, samples: usize) -> SideTrackData {
        let chunk = ProgrammeChunk { pts: Time::from_micros(pts), samples: vec![f32::NAN; samples] };
        SideTrackData { programme: vec![chunk], ..SideTrackData::default() }
    }

    fn line(start: i64, end: i64) -> SideTrackData {
        said(start, end, "Hello.")
    }

    fn said(start: i64, end: i64, text: &str) -> SideTrackData {
        let line = DialogueLine { start: Time::from_millis(start), end: Time::from_millis(end), text: text.into() };
        SideTrackData { lines: vec![line], ..SideTrackData::default() }
    }

    #[test]
    fn every_error_has_a_cause() {
        for words in ["", " \u{1b}\n"] {
            let sent = [
                SentError::Input { input: "x".into(), cause: words.into(), remedy: words.into() },
                SentError::Usage { cause: words.into(), remedy: words.into() },
            ];
            for sent in sent {
                let said = error(sent, "film.mp4").to_string();
                assert!(said.contains("does not say why"), "{said:?}");
            }
        }
    }

    #[test]
    fn a_side_track_must_be_in_order_and_bounded() {
        for (first, then) in [
            (sound(0, 10, 0), sound(9, 10, 0)),
            (sound(0, 10, 0), sound(10, 0, 0)),
            (sound(0, 10, 5), sound(10, 10, 4)),
            (sound(0, 10, 5), SideTrackData { until: Time::from_millis(5), ..SideTrackData::default() }),
            (sound(0, 10, 0), sound(10, MOST_SAMPLES + 1, 0)),
            (sound(0, 10, 0), sound(u64::MAX - 5, 10, 0)),
            (sound(0, 10, 0), programme(0, 0)),
            (sound(0, 10, 0), programme(0, 3)),
            (sound(0, 10, 0), programme(0, MOST_PROGRAMME + 2)),
            (sound(0, 10, 0), programme(i64::MAX, 2)),
            (line(5, 9), line(5, 5)),
            (line(5, 9), line(5, i64::MAX / 1_000)),
            (line(5, 9), said(5, 9, &"x".repeat(LONGEST_LINE + 1))),
            (line(5, 9), said(5, 9, "a\u{1b}[2J")),
            (
                line(5, 9),
                SideTrackData { lines: vec![line(1, 2).lines.remove(0); MOST_LINES + 1], ..SideTrackData::default() },
            ),
            (line(5, 9), SideTrackData { until: Time::from_micros(LATEST + 1), ..SideTrackData::default() }),
        ] {
            let mut checked = CheckedSideTrack::default();
            checked.receive(first).unwrap();
            assert!(checked.receive(then.clone()).is_err(), "{then:?}");
        }
        let mut checked = CheckedSideTrack::default();
        for fine in [
            line(3, 9),
            sound(7, 10, 0),
            sound(17, 10, 1),
            SideTrackData { until: Time::from_millis(1), ..programme(-5, MOST_PROGRAMME) },
            SideTrackData { until: Time::MAX, ..SideTrackData::default() },
        ] {
            checked.receive(fine.clone()).unwrap();
            assert!(checked.take().is_some(), "{fine:?}");
        }
        assert!(checked.take().is_none());
    }
}
