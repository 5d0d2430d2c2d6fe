//! What is written, by the names and the options: container, codec, rate and channels.

use std::path::Path;

use super::job::SpeakJob;
use crate::error::{Error, Result};
use crate::media::audio_format::{AudioFormat, ChannelPlace};
use crate::media::decode::WholeFilm;
use crate::media::remux::{AudioEncoder, FilmPause, FilmPauses, Programme};
use crate::media::{AudioCodec, FilmFormat};
use crate::message;
use crate::message::Setting;
use crate::mix::{Seat, Seats};
use crate::time::Time;

/// What is written, and from what.
pub(super) struct SpeakSetup {
    pub(super) format: FilmFormat,
    pub(super) codec: AudioCodec,
    pub(super) programme: Option<Programme>,
    /// Of the new track.
    pub(super) audio: AudioFormat,
}

impl SpeakSetup {
    /// # Errors
    /// If the output cannot be what its name says, or the film has no such audio track.
    pub(super) fn new(job: &SpeakJob<'_>, film: &mut WholeFilm) -> Result<SpeakSetup> {
        let (format, codec) = container(job)?;
        let programme = Programme::choose(film, &job.options.audio)?;
        let audio = audio_format(film, programme, codec)?;
        Ok(SpeakSetup { format, codec, programme, audio })
    }

    /// A new encoder of the new track.
    ///
    /// # Errors
    /// If this FFmpeg has none.
    pub(super) fn encoder(&self) -> Result<AudioEncoder> {
        AudioEncoder::open(self.codec, self.audio.clone()).map_err(|e| {
            let cause = format!(
                "{} with {} channels cannot be encoded by this FFmpeg: {e}",
                self.codec.name(),
                self.audio.channels()
            );
            Error::usage(cause, message!["Choose another codec with ", Setting::AudioCodec, "."])
        })
    }
}

/// The container and the codec of the output.
///
/// # Errors
/// If there is no such container, it would replace the input, or it cannot hold what the options ask for.
pub(super) fn container(job: &SpeakJob<'_>) -> Result<(FilmFormat, AudioCodec)> {
    let name = job.output.display();
    let format = FilmFormat::of(job.output).ok_or_else(|| {
        let remedy = message!["Name a file with ", Setting::Output, format!(" that ends in {}.", FilmFormat::NAMES)];
        Error::usage(format!("{name}: the end of the name stands for no container that descry writes"), remedy)
    })?;
    if let (Ok(input), Ok(output)) = (Path::new(job.input.reveal()).canonicalize(), job.output.canonicalize())
        && input == output
        && !job.input.is_url()
    {
        let remedy = message!["Name another file with ", Setting::Output, "."];
        return Err(Error::usage(format!("{name}: the output would replace the input"), remedy));
    }
    if job.options.texts && format.text_track().is_none() {
        let remedy = message!["Name an .mkv or an .mp4 with ", Setting::Output, ", or leave the text track out."];
        return Err(Error::usage(format!("{name}: {} cannot hold a text track", format.name()), remedy));
    }
    let codecs = format.codecs();
    let codec = job.options.codec.unwrap_or(codecs[0]);
    if !codecs.contains(&codec) {
        let names: Vec<&str> = codecs.iter().map(|c| c.name()).collect();
        let cause = format!("{name}: {} cannot hold {}", format.name(), codec.name());
        let remedy = message![
            format!("It holds {}: choose that with ", names.join(", ")),
            Setting::AudioCodec,
            ", or another container with ",
            Setting::Output,
            "."
        ];
        return Err(Error::usage(cause, remedy));
    }
    Ok((format, codec))
}

/// The rate and the channels of the new track.
fn audio_format(film: &mut WholeFilm, programme: Option<Programme>, codec: AudioCodec) -> Result<AudioFormat> {
    let Some(programme) = programme else { return Ok(AudioFormat::usual(codec.rate(48_000), 2)) };
    // Nothing is known about what is encrypted, which is the better message.
    let own = programme.format(film).map_err(|e| film.read().err().unwrap_or(e))?;
    Ok(fitting(&own, codec))
}

/// What a codec makes of a format.
pub(super) fn fitting(own: &AudioFormat, codec: AudioCodec) -> AudioFormat {
    let rate = codec.rate(own.rate);
    if own.channels() > codec.most_channels() { AudioFormat::usual(rate, 2) } else { own.with_rate(rate) }
}

/// Where the channels of a format are heard.
pub(super) fn seats(format: &AudioFormat) -> Seats {
    let places = format.places();
    if places.len() == 1 {
        return Seats(vec![Seat::Mono]);
    }
    let seat = |place: &ChannelPlace| match place {
        ChannelPlace::FrontLeft => Seat::Left,
        ChannelPlace::FrontRight => Seat::Right,
        ChannelPlace::FrontCentre => Seat::Centre,
        ChannelPlace::Low => Seat::Low,
        ChannelPlace::Around => Seat::Surround,
    };
    Seats(places.iter().map(seat).collect())
}

/// A time as frames of a rate.
pub(super) fn frames(secs: f64, rate: u32) -> u64 {
    (secs * f64::from(rate)).round().max(0.0) as u64
}

/// The pauses of a film in frames of a rate: before which frame of the film each begins, and how long it is.
pub(super) fn pauses_in_frames(pauses: &FilmPauses, rate: u32) -> Vec<(u64, u64)> {
    let mut before = Time::ZERO;
    let length = |pause: FilmPause| {
        let from = frames(before.secs(), rate);
        before = before + pause.length;
        (frames(pause.at.secs(), rate), frames(before.secs(), rate) - from)
    };
    pauses.iter().map(length).collect()
}

/// What to do where the encoder of a track of sound fails.
pub(super) fn encoding_failed(e: &dyn std::fmt::Display) -> Error {
    Error::usage(
        format!("the new track cannot be encoded: {e}"),
        message!["Choose another codec with ", Setting::AudioCodec, "."],
    )
}
