//! The second pass: programme and descriptions in, film out.

use super::other_sound::OtherSound;
use super::plan::PlacedText;
use super::setup::{encoding_failed, frames};
use crate::error::{Error, Result};
use crate::media::decode::WholeFilm;
use crate::media::remux::{AudioEncoder, FilmText, FilmWriter, Programme, ProgrammeDecoder, RoundTrip, convert_speech};
use crate::mix::{MixSpeech, Mixer, PausedProgramme, TruePeakMeter, stretch};
use crate::voice::Speaker;

/// Frames of silence at once.
const SILENCE: u64 = 8_192;

/// The second pass.
pub(super) struct Mixdown<'a> {
    pub(super) paused: PausedProgramme,
    pub(super) track: MixedTrack<'a>,
    /// Audio tracks that are encoded anew because the film pauses.
    pub(super) others: Vec<OtherSound>,
}

/// The new track, in the time of the output.
pub(super) struct MixedTrack<'a> {
    pub(super) mixer: Mixer,
    pub(super) encoder: AudioEncoder,
    pub(super) writer: FilmWriter,
    pub(super) speaker: &'a mut Speaker,
    /// Descriptions that are not mixed yet.
    pub(super) placed: &'a [PlacedText],
    /// Texts that are not written yet.
    pub(super) texts: &'a [FilmText],
    /// Gain of descriptions.
    pub(super) level: f32,
    pub(super) channels: usize,
    /// Frames so far.
    pub(super) position: u64,
    /// The frame after the last description that was mixed.
    pub(super) last: u64,
    /// What is decoded of the track, and its peaks; none if nothing changes it, or there is no decoder.
    pub(super) decoded: Option<(RoundTrip, TruePeakMeter)>,
}

/// A film that is written, and has no name yet.
pub(super) struct FinishedFilm {
    pub(super) writer: FilmWriter,
    /// Packets of sound that could not be decoded.
    pub(super) broken: u64,
    /// Highest true peak as the track is decoded, in dBTP.
    pub(super) peak: Option<f64>,
}

impl<'a> Mixdown<'a> {
    /// Mixes and writes everything up to the end of the film. Without a programme, or if only descriptions are to be heard,
    /// silence takes its place, for `length` frames at least.
    pub(super) fn run(
        mut self,
        film: &mut WholeFilm,
        programme: Option<Programme>,
        decoder: Option<ProgrammeDecoder>,
        length: u64,
    ) -> Result<FinishedFilm> {
        let mut decoder = decoder;
        let rate = self.track.encoder.rate();
        let decoded = programme.map(|p| p.stream);
        film.complete_times();
        film.keep(|stream| Some(stream) == decoded || self.track.writer.copies(stream));
        while let Some(packet) = film.read()? {
            if let Some(other) = self.others.iter_mut().find(|other| other.stream() == packet.stream()) {
                other.push(&packet, &mut self.track.writer)?;
                continue;
            }
            match &mut decoder {
                Some(decoder) if Some(packet.stream()) == decoded => {
                    decoder.push(&packet, &mut |samples| self.take(samples))?;
                }
                Some(_) => {}
                None => {
                    let time = film.time_of(&packet).unwrap_or_default().secs();
                    self.silence_until(frames(time, rate))?;
                }
            }
            self.track.writer.copy(packet)?;
        }
        if let Some(decoder) = &mut decoder {
            decoder.finish(&mut |samples| self.take(samples))?;
        }
        self.track.writer.end_film()?;
        let mut broken = decoder.map_or(0, |decoder| decoder.broken());
        for other in self.others.drain(..) {
            broken += other.finish(&mut self.track.writer)?;
        }
        self.silence_until(length)?;
        self.finish(broken)
    }

    /// Without a film that is copied and a programme: descriptions over silence of `length` frames.
    pub(super) fn run_silent(mut self, length: u64) -> Result<FinishedFilm> {
        self.silence_until(length)?;
        self.finish(0)
    }

    /// Takes samples of the programme.
    fn take(&mut self, samples: &mut [f32]) -> Result<()> {
        let track = &mut self.track;
        self.paused.push(samples, &mut |samples| track.take(samples))
    }

    fn silence_until(&mut self, place: u64) -> Result<()> {
        while self.paused.position() < place {
            let frames = (place - self.paused.position()).min(SILENCE);
            self.take(&mut vec![0.0; frames as usize * self.track.channels])?;
        }
        Ok(())
    }

    /// Writes what is left.
    fn finish(self, broken: u64) -> Result<FinishedFilm> {
        let Mixdown { mut paused, mut track, .. } = self;
        paused.finish(&mut |samples| track.take(samples))?;
        // A description may go on after the film.
        let rate = track.encoder.rate();
        let last = track.last.max(track.placed.last().map_or(0, |p| end_of(p, rate)));
        while track.position < last {
            let frames = (last - track.position).min(SILENCE);
            track.take(&mut vec![0.0; frames as usize * track.channels])?;
        }
        let mut rest = Vec::new();
        track.mixer.finish(&mut rest);
        track.encode(&rest, true)?;
        for text in track.texts {
            track.writer.text(text)?;
        }
        let peak = track.decoded.take().map(|(decoder, mut meter)| {
            let mut samples = Vec::new();
            decoder.finish(&mut samples);
            meter.push(&samples);
            meter.decibels()
        });
        Ok(FinishedFilm { writer: track.writer, broken, peak })
    }
}

impl MixedTrack<'_> {
    /// Takes samples of the programme, with its pauses.
    fn take(&mut self, samples: &mut [f32]) -> Result<()> {
        let rate = self.encoder.rate();
        self.position += (samples.len() / self.channels) as u64;
        while let Some((text, rest)) = self.placed.split_first()
            && frames(text.start.secs(), rate) < self.position
        {
            let mut speech = self::samples(text, self.speaker, rate)?;
            speech.iter_mut().for_each(|s| *s *= self.level);
            self.mixer.add(MixSpeech { start: frames(text.start.secs(), rate), samples: speech });
            self.last = end_of(text, rate);
            self.placed = rest;
        }
        while let Some((text, rest)) = self.texts.split_first()
            && frames(text.start.secs(), rate) < self.position
        {
            self.writer.text(text)?;
            self.texts = rest;
        }
        let mut mixed = Vec::new();
        self.mixer.mix(samples, &mut mixed);
        self.encode(&mixed, false)
    }

    fn encode(&mut self, samples: &[f32], is_end: bool) -> Result<()> {
        let mut packets = Vec::new();
        self.encoder.push(samples, &mut packets).map_err(|e| encoding_failed(&e))?;
        if is_end {
            self.encoder.finish(&mut packets).map_err(|e| encoding_failed(&e))?;
        }
        if let Some((decoder, meter)) = &mut self.decoded {
            let mut samples = Vec::new();
            decoder.push(&packets, &mut samples);
            meter.push(&samples);
        }
        self.writer.sound(&mut packets, self.encoder.rate())
    }
}

/// The frame after a description.
fn end_of(text: &PlacedText, rate: u32) -> u64 {
    frames(text.start.secs() + text.secs(), rate) + 1
}

/// A description as samples of a rate.
pub(super) fn samples(text: &PlacedText, speaker: &mut Speaker, rate: u32) -> Result<Vec<f32>> {
    let speech = speaker.load(text.spoken)?;
    let faster = stretch(&speech.samples, speech.rate, text.stretch);
    convert_speech(&faster, speech.rate, rate).map_err(|e| {
        Error::usage(format!("speech of {} Hz cannot be converted: {e}", speech.rate), "Choose another voice.")
    })
}
