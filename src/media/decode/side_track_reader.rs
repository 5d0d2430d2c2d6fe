//! Reads the side track in the same pass over the input as the pictures.
//!
//! Order: that of the packets in the container. Sound that is more than [`MOST_BEHIND`] behind the pictures is left out. That
//! depends on the order of packets alone, never on the threads of a decoder. Memory: what was read since it was last taken, at
//! most 30 s of sound.
//!
//! With [`DecodeOptions::low_delay`], sound is handed out in small pieces, and its clock is its own: it begins with the first
//! sample, and does not follow that of the pictures, because the clocks of a live source may jump apart.

use ffmpeg_next as ff;

use super::audio_decoder::AudioDecoder;
use super::clock::FrameClock;
use super::container::Container;
use super::options::DecodeOptions;
use super::stream::{StreamHeader, rescale};
use super::subtitle_decoder::SubtitleDecoder;
use super::tracks::{ChosenTrack, choose_track};
use crate::error::Result;
use crate::media::side_track::{
    AUDIO_RATE, MediaTrack, PROGRAMME_CHANNELS, PROGRAMME_RATE, SideTrack, SideTrackData, sample_at, sample_time,
};
use crate::time::Time;

/// How far a track may be behind the pictures in the container.
const MOST_BEHIND: Time = Time::from_millis(10_000);
/// Least length of the sound that is taken at once, in samples: 1 s.
const LEAST: usize = AUDIO_RATE as usize;
/// The same with low delay: 64 ms.
const LEAST_LIVE: usize = 1_024;

/// Samples as they are heard, for each one on the grid.
const PROGRAMME_SHARE: usize = PROGRAMME_RATE as usize * PROGRAMME_CHANNELS / AUDIO_RATE as usize;

/// Decodes the side track, and knows up to when it has been read.
pub(super) struct SideTrackReader {
    pub(super) stream: usize,
    decoder: SideTrackDecoder,
    /// The clock of the packets of pictures, in the order of decoding.
    pictures: FrameClock,
    picture_base: (i64, i64),
    /// Least length of the sound that is taken at once, in samples.
    least: usize,
    /// Whether sound does not follow the clock of the pictures.
    is_free: bool,
    /// The end of the wanted range.
    end: Option<Time>,
    /// Packets with times before this one come too late.
    passed: Time,
    /// Up to when the data has been taken.
    taken: Time,
    /// Every packet has been decoded.
    ended: bool,
    /// Packets that could not be decoded.
    pub(super) broken: u64,
}

enum SideTrackDecoder {
    Audio(Box<AudioDecoder>),
    Subtitles(Box<SubtitleDecoder>),
}

/// The side track of an open input: none if nothing is to be read, or the input has no such track.
#[derive(Default)]
pub(super) struct OpenedSideTrack {
    pub(super) reader: Option<SideTrackReader>,
    pub(super) track: Option<MediaTrack>,
    /// Why the track cannot be read, as a text for people.
    pub(super) fault: Option<String>,
}

impl OpenedSideTrack {
    /// Chooses the track that the options ask for. `origin`: start of the container's own clock. `pictures`: the header
    /// of the pictures' stream.
    pub(super) fn new(
        container: &Container,
        options: &DecodeOptions,
        origin: Option<Time>,
        pictures: &StreamHeader,
        name: &str,
    ) -> Result<OpenedSideTrack> {
        let (track, opened, tick) = match choose_track(container.open.input(), &options.side_track, name)? {
            ChosenTrack::Nothing => return Ok(OpenedSideTrack::default()),
            ChosenTrack::Unreadable(track, fault) => {
                return Ok(OpenedSideTrack { reader: None, track: Some(track), fault: Some(fault) });
            }
            ChosenTrack::Open(track, opened, tick) => (track, opened, tick),
        };
        let range = (options.start, options.end);
        let own_clock = if options.low_delay { None } else { origin };
        let decoder = match options.side_track {
            SideTrack::Subtitles(_) => {
                SideTrackDecoder::Subtitles(Box::new(SubtitleDecoder::new(opened, tick, origin, range)))
            }
            _ => {
                let decoder = AudioDecoder::new(opened, tick, own_clock, range);
                SideTrackDecoder::Audio(Box::new(if options.programme { decoder.with_programme() } else { decoder }))
            }
        };
        let reader = SideTrackReader {
            stream: track.stream as usize,
            decoder,
            pictures: FrameClock::new(origin, pictures.frame_rate),
            picture_base: pictures.time_base,
            least: if options.low_delay { LEAST_LIVE } else { LEAST },
            is_free: options.low_delay,
            end: options.end,
            passed: options.start.unwrap_or_default(),
            taken: options.start.unwrap_or_default(),
            ended: false,
            broken: 0,
        };
        Ok(OpenedSideTrack { reader: Some(reader), track: Some(track), fault: None })
    }
}

impl SideTrackReader {
    /// Decodes a packet of the track.
    pub(super) fn push(&mut self, packet: &ff::Packet) {
        self.broken += match &mut self.decoder {
            SideTrackDecoder::Audio(sound) => sound.push(packet),
            SideTrackDecoder::Subtitles(lines) => lines.push(packet),
        };
    }

    /// Follows the clock of the pictures: `packet` is their next one.
    pub(super) fn follow_pictures(&mut self, packet: &ff::Packet) {
        let own = packet.dts().or(packet.pts()).map(|ts| rescale(ts, self.picture_base));
        let time = self.pictures.time_of(own);
        self.pictures.advance(time);
        self.passed = self.passed.max(time - MOST_BEHIND);
        if let SideTrackDecoder::Audio(sound) = &mut self.decoder
            && !self.is_free
        {
            sound.grid.pass(u64::try_from(sample_at(self.passed)).unwrap_or(0));
        }
    }

    /// Decodes the rest, after the last packet.
    pub(super) fn finish(&mut self) {
        if self.ended {
            return;
        }
        self.ended = true;
        match &mut self.decoder {
            SideTrackDecoder::Audio(sound) => self.broken += sound.finish(),
            SideTrackDecoder::Subtitles(lines) => lines.finish(),
        }
    }

    /// Up to when everything has been read; [`Time::MAX`] at the end of the wanted range.
    pub(super) fn until(&self) -> Time {
        match &self.decoder {
            _ if self.ended => Time::MAX,
            SideTrackDecoder::Audio(sound) if sound.grid.is_full() => Time::MAX,
            SideTrackDecoder::Audio(sound) => sample_time(sound.grid.position()),
            SideTrackDecoder::Subtitles(_) => match self.end {
                Some(end) if self.passed >= end => Time::MAX,
                _ => self.passed,
            },
        }
    }

    /// Whether some sound came too late and was left out.
    pub(super) fn is_late(&self) -> bool {
        matches!(&self.decoder, SideTrackDecoder::Audio(sound) if sound.is_late())
    }

    /// What was read since the last call, once that is enough, or a line of dialogue; with `all`, whatever it is.
    pub(super) fn take(&mut self, all: bool) -> Option<SideTrackData> {
        let until = self.until();
        let enough = match &self.decoder {
            SideTrackDecoder::Audio(sound) => {
                let (samples, programme) = sound.waiting();
                samples >= self.least || programme >= self.least * PROGRAMME_SHARE
            }
            SideTrackDecoder::Subtitles(lines) => lines.has_lines(),
        };
        let passed = until - self.taken >= sample_time(self.least as u64);
        if !(enough || passed || all && until > self.taken) {
            return None;
        }
        self.taken = until;
        Some(match &mut self.decoder {
            SideTrackDecoder::Audio(sound) => {
                let (audio, programme) = (sound.take(), sound.take_programme());
                SideTrackData { audio, programme, lines: Vec::new(), until }
            }
            SideTrackDecoder::Subtitles(lines) => {
                SideTrackData { lines: lines.take(), until, ..SideTrackData::default() }
            }
        })
    }
}
