//! Audio tracks of the film besides the programme, if it pauses: decoded, silent during pauses, and encoded with the codec of
//! the new track.
//!
//! Memory: for each of at most [`MOST_TRACKS`] tracks, a frame, a block of the encoder, and what its decoder and encoder hold.

use ffmpeg_next as ff;

use super::setup::{SpeakSetup, encoding_failed, fitting, pauses_in_frames};
use crate::error::Result;
use crate::media::decode::WholeFilm;
use crate::media::remux::{AudioEncoder, FilmPauses, FilmWriter, Programme, ProgrammeDecoder};
use crate::mix::PausedProgramme;

/// Most tracks that are kept: many times those of a film.
const MOST_TRACKS: usize = 32;

/// One such track.
pub(super) struct OtherSound {
    decoder: ProgrammeDecoder,
    track: PausedTrack,
}

/// What becomes of its samples.
struct PausedTrack {
    /// Its stream in the film.
    stream: usize,
    paused: PausedProgramme,
    encoder: AudioEncoder,
}

impl OtherSound {
    /// Those of a film that pauses: all that can be decoded, and encoded again.
    pub(super) fn all(film: &WholeFilm, setup: &SpeakSetup, pauses: Option<&FilmPauses>) -> Vec<OtherSound> {
        let Some(pauses) = pauses.filter(|_| setup.format.is_film()) else { return Vec::new() };
        let programme = setup.programme.map(|programme| programme.stream);
        let others = film.sound().filter(|stream| Some(*stream) != programme);
        others.filter_map(|stream| OtherSound::open(film, setup, pauses, stream)).take(MOST_TRACKS).collect()
    }

    fn open(film: &WholeFilm, setup: &SpeakSetup, pauses: &FilmPauses, stream: usize) -> Option<OtherSound> {
        let programme = Programme { stream };
        let format = fitting(&programme.format(film).ok()?, setup.codec);
        let decoder = ProgrammeDecoder::open(film, programme, format.clone()).ok()?;
        let paused = PausedProgramme::new(pauses_in_frames(pauses, format.rate), format.channels(), format.rate);
        let encoder = AudioEncoder::open(setup.codec, format).ok()?;
        Some(OtherSound { decoder, track: PausedTrack { stream, paused, encoder } })
    }

    /// Its stream in the film.
    pub(super) fn stream(&self) -> usize {
        self.track.stream
    }

    /// The same, and what encodes it.
    pub(super) fn encoder(&self) -> (usize, &AudioEncoder) {
        (self.track.stream, &self.track.encoder)
    }

    /// Takes a packet of the stream, and writes what is ready.
    ///
    /// # Errors
    /// If its times make no sense, it cannot be encoded, or the file cannot be written.
    pub(super) fn push(&mut self, packet: &ff::Packet, writer: &mut FilmWriter) -> Result<()> {
        let OtherSound { decoder, track } = self;
        decoder.push(packet, &mut |samples| track.take(samples, writer))
    }

    /// Writes what is left, and returns how many packets could not be decoded.
    ///
    /// # Errors
    /// As [`OtherSound::push`].
    pub(super) fn finish(self, writer: &mut FilmWriter) -> Result<u64> {
        let OtherSound { mut decoder, mut track } = self;
        decoder.finish(&mut |samples| track.take(samples, writer))?;
        let PausedTrack { stream, mut paused, mut encoder } = track;
        paused.finish(&mut |samples| encode(&mut encoder, samples, stream, writer))?;
        let mut packets = Vec::new();
        encoder.finish(&mut packets).map_err(|e| encoding_failed(&e))?;
        writer.other_sound(stream, &mut packets, encoder.rate())?;
        Ok(decoder.broken())
    }
}

impl PausedTrack {
    fn take(&mut self, samples: &mut [f32], writer: &mut FilmWriter) -> Result<()> {
        let PausedTrack { stream, paused, encoder } = self;
        paused.push(samples, &mut |samples| encode(encoder, samples, *stream, writer))
    }
}

/// Encodes samples, and writes the packets that are ready.
fn encode(encoder: &mut AudioEncoder, samples: &[f32], stream: usize, writer: &mut FilmWriter) -> Result<()> {
    let mut packets = Vec::new();
    encoder.push(samples, &mut packets).map_err(|e| encoding_failed(&e))?;
    writer.other_sound(stream, &mut packets, encoder.rate())
}
