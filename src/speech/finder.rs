//! The speech of a film, from its side track: sound, or lines of dialogue.

use super::detector::SpeechDetector;
use super::log::{LEAST_PAUSE, SpeechUpdate, Utterance};
use super::segments::{SpeechSegment, SpeechSegmenter};
use crate::error::Result;
use crate::media::{AudioChunk, DialogueLine, SideTrackData, sample_time};
use crate::time::Time;

/// Finds speech in a side track, in order of time. Where sound has a gap, detection begins anew.
///
/// Memory: a block of sound, and lines that are not over yet.
pub struct SpeechFinder<'a> {
    detector: &'a mut SpeechDetector,
    /// The sound that is going on; none before the first sample and in a gap.
    audio: Option<OpenAudio>,
    /// Lines that are not over, without overlap, in order.
    lines: Vec<Utterance>,
    /// Up to when everything is known.
    until: Time,
}

/// A sound without a gap.
struct OpenAudio {
    /// Its first sample, and the one after its last, from the start of the film's clock.
    start: u64,
    end: u64,
    segmenter: SpeechSegmenter,
}

impl OpenAudio {
    /// Takes the probabilities of the next windows, and appends the utterances that end in them.
    fn push(&mut self, probabilities: &[f32], ended: &mut Vec<Utterance>) {
        for probability in probabilities {
            let segment = self.segmenter.push(*probability);
            ended.extend(segment.map(|segment| self.utterance(segment)));
        }
    }

    fn utterance(&self, segment: SpeechSegment) -> Utterance {
        Utterance { start: sample_time(self.start + segment.start), end: sample_time(self.start + segment.end) }
    }
}

impl<'a> SpeechFinder<'a> {
    /// With a detector, which is reset.
    pub fn new(detector: &'a mut SpeechDetector) -> SpeechFinder<'a> {
        detector.reset();
        SpeechFinder { detector, audio: None, lines: Vec::new(), until: Time::ZERO }
    }

    /// Takes the next data, and returns what has become known.
    ///
    /// # Errors
    /// If the detector fails.
    pub fn push(&mut self, data: &SideTrackData) -> Result<SpeechUpdate> {
        let mut ended = Vec::new();
        for chunk in &data.audio {
            self.push_audio(chunk, &mut ended)?;
        }
        // The sound before `until` is complete, so a gap begins.
        if self.audio.as_ref().is_some_and(|open| sample_time(open.end) < data.until) {
            self.end_audio(&mut ended)?;
        }
        data.lines.iter().for_each(|line| self.add(line));
        let over = self.lines.partition_point(|line| line.end + LEAST_PAUSE < data.until);
        ended.extend(self.lines.drain(..over));
        let (until, since) = match &self.audio {
            Some(open) => {
                let (until, since) = open.segmenter.known();
                let at = |sample: u64| sample_time(open.start + sample);
                (at(until), since.map(at))
            }
            None => self.known_lines(data.until),
        };
        self.until = self.until.max(until);
        Ok(SpeechUpdate { ended, dialogue: data.lines.clone(), since, until: self.until })
    }

    /// Ends the film.
    ///
    /// # Errors
    /// If the detector fails.
    pub fn finish(mut self) -> Result<SpeechUpdate> {
        let mut ended = Vec::new();
        self.end_audio(&mut ended)?;
        ended.append(&mut self.lines);
        Ok(SpeechUpdate { ended, until: self.until, ..SpeechUpdate::default() })
    }

    fn push_audio(&mut self, chunk: &AudioChunk, ended: &mut Vec<Utterance>) -> Result<()> {
        if self.audio.as_ref().is_some_and(|open| open.end != chunk.start) {
            self.end_audio(ended)?;
        }
        let start = chunk.start;
        let open =
            self.audio.get_or_insert_with(|| OpenAudio { start, end: start, segmenter: SpeechSegmenter::default() });
        open.end += chunk.samples.len() as u64;
        let mut probabilities = Vec::new();
        self.detector.push(&chunk.samples, &mut probabilities)?;
        open.push(&probabilities, ended);
        Ok(())
    }

    fn end_audio(&mut self, ended: &mut Vec<Utterance>) -> Result<()> {
        let Some(mut open) = self.audio.take() else { return Ok(()) };
        let mut probabilities = Vec::new();
        self.detector.finish(&mut probabilities)?;
        open.push(&probabilities, ended);
        let last = std::mem::take(&mut open.segmenter).finish(open.end - open.start);
        ended.extend(last.map(|segment| open.utterance(segment)));
        Ok(())
    }

    /// Up to when everything is known of lines of which those before `passed` have come, and since when one goes on then.
    fn known_lines(&self, passed: Time) -> (Time, Option<Time>) {
        match self.lines.first() {
            // Whether a pause follows, or the next line at once, is not known.
            Some(line) if line.start < passed => (passed.min(line.end), Some(line.start)),
            _ => (passed, None),
        }
    }

    /// Adds a line to those that it touches. What is before `until` is known already.
    fn add(&mut self, line: &DialogueLine) {
        let mut new = Utterance { start: line.start.max(self.until), end: line.end };
        if new.end <= new.start {
            return;
        }
        let from = self.lines.partition_point(|other| other.end + LEAST_PAUSE < new.start);
        let to = self.lines.partition_point(|other| other.start <= new.end + LEAST_PAUSE);
        for other in self.lines.drain(from..to) {
            new = Utterance { start: new.start.min(other.start), end: new.end.max(other.end) };
        }
        self.lines.insert(from, new);
    }
}
