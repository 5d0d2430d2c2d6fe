//! A film that is decoded ahead of the parent's questions, on a thread of its own.
//!
//! The decoder goes on while the parent looks at frames, and a picture that the parent asks for does not wait for the next
//! frames.
//! Frames come in order. At most [`AHEAD`] frames wait.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::wire::{AHEAD, MOST_LINES, MOST_PROGRAMME, MOST_SAMPLES, SIGN, SourceState};
use crate::error::{Error, Result};
use crate::media::decode::Polled;
use crate::media::{AudioChunk, Frame, PROGRAMME_CHANNELS, PROGRAMME_RATE, ProgrammeChunk, SideTrackData, Source};
use crate::scene::{StrokeMap, Thumb};
use crate::time::Time;

/// What the decoder came to, and the source after it.
pub(super) type Decoded = (DecodedStep, SourceState);

/// What the decoder came to.
pub(super) enum DecodedStep {
    /// A frame, its thumb, and its strokes if they are wanted.
    Frame(Frame, Thumb, Option<StrokeMap>),
    /// What was read of the side track: at most what fits into a reply.
    SideTrack(SideTrackData),
    /// The film has ended. The same follows.
    End,
    /// Decoding failed. What follows is what a [`Source`] gives to those who ask again.
    Failed(Error),
}

/// A film on its decoding thread.
pub(super) struct FilmAhead {
    decoded: Receiver<Decoded>,
    /// Steps of the decoder, to tell one that works from one that hangs.
    steps: Arc<AtomicU64>,
}

impl FilmAhead {
    /// Starts to decode. `strokes`: whether they are wanted.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub(super) fn start(source: Source, strokes: bool) -> io::Result<FilmAhead> {
        // One more frame waits in the thread's hands.
        let (to, decoded) = bounded(AHEAD - 1);
        let steps = Arc::new(AtomicU64::new(0));
        let counter = steps.clone();
        std::thread::Builder::new().name("decode".into()).spawn(move || decode(source, strokes, &to, &counter))?;
        Ok(FilmAhead { decoded, steps })
    }

    /// Waits for the next step. Calls `working` about once a second while the decoder works without a result, and not
    /// while it hangs.
    ///
    /// # Errors
    /// Those of `working`, and if the decoding thread is gone.
    pub(super) fn next(&self, mut working: impl FnMut() -> io::Result<()>) -> io::Result<Decoded> {
        let mut seen = self.steps.load(Ordering::Relaxed);
        loop {
            match self.decoded.recv_timeout(SIGN) {
                Ok(decoded) => return Ok(decoded),
                Err(RecvTimeoutError::Timeout) => {
                    let steps = self.steps.load(Ordering::Relaxed);
                    if steps != seen {
                        seen = steps;
                        working()?;
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
    }

    /// The next step, if it comes in time.
    pub(super) fn next_before(&self, limit: Instant) -> Option<Decoded> {
        self.decoded.recv_deadline(limit).ok()
    }
}

fn decode(mut source: Source, strokes: bool, to: &Sender<Decoded>, steps: &AtomicU64) {
    let mut until = Time::ZERO;
    loop {
        let step = match source.poll() {
            Ok(Polled::Pending) => None,
            Ok(Polled::Frame(frame)) => Some(match examine(&frame, strokes) {
                Ok((thumb, strokes)) => DecodedStep::Frame(frame, thumb, strokes),
                Err(e) => DecodedStep::Failed(e),
            }),
            Ok(Polled::End) => Some(DecodedStep::End),
            Err(e) => Some(DecodedStep::Failed(e)),
        };
        steps.fetch_add(1, Ordering::Relaxed);
        while let Some(data) = source.take_side_track() {
            for piece in split(data, &mut until) {
                if to.send((DecodedStep::SideTrack(piece), SourceState::of(&source))).is_err() {
                    return;
                }
            }
        }
        let Some(step) = step else { continue };
        if to.send((step, SourceState::of(&source))).is_err() {
            return;
        }
    }
}

/// A frame's thumb, and its strokes if they are wanted.
///
/// # Errors
/// If the pixel format cannot be read.
pub(super) fn examine(frame: &Frame, strokes: bool) -> Result<(Thumb, Option<StrokeMap>)> {
    Ok((frame.thumb()?, strokes.then(|| frame.strokes()).transpose()?))
}

/// The same in pieces of which each fits into a reply. `until`: that of the piece before.
pub(super) fn split(data: SideTrackData, until: &mut Time) -> Vec<SideTrackData> {
    let before = std::mem::replace(until, data.until);
    let piece = |audio, lines| SideTrackData { audio, lines, programme: Vec::new(), until: before };
    let mut pieces = Vec::new();
    for chunk in data.audio {
        for (n, samples) in chunk.samples.chunks(MOST_SAMPLES).enumerate() {
            let start = chunk.start + (n * MOST_SAMPLES) as u64;
            pieces.push(piece(vec![AudioChunk { start, samples: samples.to_vec() }], Vec::new()));
        }
    }
    for chunk in data.programme {
        for (n, samples) in chunk.samples.chunks(MOST_PROGRAMME).enumerate() {
            let frames = (n * MOST_PROGRAMME / PROGRAMME_CHANNELS) as i64;
            let pts = chunk.pts + Time::from_micros(frames * 1_000_000 / i64::from(PROGRAMME_RATE));
            let programme = vec![ProgrammeChunk { pts, samples: samples.to_vec() }];
            pieces.push(SideTrackData { programme, until: before, ..SideTrackData::default() });
        }
    }
    pieces.extend(data.lines.chunks(MOST_LINES).map(|lines| piece(Vec::new(), lines.to_vec())));
    match pieces.last_mut() {
        Some(last) => last.until = data.until,
        None => pieces.push(SideTrackData { until: data.until, ..SideTrackData::default() }),
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{DialogueLine, LONGEST_LINE};

    #[test]
    fn pieces_fit_into_a_reply_and_are_the_whole() {
        let chunk = |start: u64, samples: usize| AudioChunk { start, samples: vec![0.5; samples] };
        let at = Time::from_millis;
        let mut until = at(1);
        let data = SideTrackData {
            audio: vec![chunk(5, MOST_SAMPLES + 3), chunk(90_000, 2)],
            until: at(7),
            ..SideTrackData::default()
        };
        let pieces = split(data, &mut until);
        let audio: Vec<AudioChunk> = pieces.iter().flat_map(|piece| piece.audio.clone()).collect();
        assert_eq!(audio, [chunk(5, MOST_SAMPLES), chunk(5 + MOST_SAMPLES as u64, 3), chunk(90_000, 2)]);
        assert_eq!(pieces.iter().map(|piece| piece.until).collect::<Vec<_>>(), [at(1), at(1), at(7)]);
        let chunk = |pts: Time, samples: usize| ProgrammeChunk { pts, samples: vec![0.25; samples] };
        let data = SideTrackData {
            programme: vec![chunk(at(50), MOST_PROGRAMME + 2)],
            until: at(8),
            ..SideTrackData::default()
        };
        let pieces = split(data, &mut until);
        // 8,192 frames.
        let second = Time::from_micros(50_000 + 170_666);
        let programme: Vec<ProgrammeChunk> = pieces.iter().flat_map(|piece| piece.programme.clone()).collect();
        assert_eq!(programme, [chunk(at(50), MOST_PROGRAMME), chunk(second, 2)]);
        assert_eq!(pieces.iter().map(|piece| piece.until).collect::<Vec<_>>(), [at(7), at(8)]);
        let line = DialogueLine { start: at(1), end: at(2), text: "ä".repeat(LONGEST_LINE) };
        let data = SideTrackData { lines: vec![line; 2 * MOST_LINES + 1], until: at(8), ..SideTrackData::default() };
        let pieces = split(data.clone(), &mut until);
        assert_eq!(pieces.iter().map(|piece| piece.lines.len()).collect::<Vec<_>>(), [MOST_LINES, MOST_LINES, 1]);
        assert_eq!(pieces.iter().flat_map(|piece| piece.lines.clone()).collect::<Vec<_>>(), data.lines);
        let silence = SideTrackData { until: at(9), ..SideTrackData::default() };
        assert_eq!(split(silence.clone(), &mut until), [silence]);
        assert_eq!(until, at(9));
    }
}
