//! What is read beside the pictures, in the same pass over the input.
//!
//! Order: as the container has it. A track that comes more than [`MOST_BEHIND`] behind the pictures is not waited for: what
//! comes later is not heard. That depends on the order of packets alone, never on the threads of a decoder. Memory: what was
//! read since it was taken last, at most 30 s of sound.

use ffmpeg_next as ff;

use super::clock::FrameClock;
use super::container::Container;
use super::lines::LineDecoder;
use super::options::DecodeOptions;
use super::sound::SoundDecoder;
use super::stream::rescale;
use super::tracks::{ChosenTrack, choose_track};
use crate::error::Result;
use crate::media::heard::{Heard, Listen, MediaTrack, SOUND_RATE, sample_at, sample_time};
use crate::time::Time;

/// How far a track may be behind the pictures in the container.
const MOST_BEHIND: Time = Time::from_millis(10_000);
/// Sound is given out in pieces of at least this length, in samples: 1 s.
const LEAST: usize = SOUND_RATE as usize;

/// The track that is read beside the pictures.
pub(super) struct Ear {
    pub(super) stream: usize,
    track: HeardTrack,
    /// The clock of the packets of pictures, in the order of decoding.
    pictures: FrameClock,
    picture_base: (i64, i64),
    /// Where what is wanted ends.
    end: Option<Time>,
    /// What nobody waits for any more.
    passed: Time,
    /// Until when everything has been given out.
    given: Time,
    /// The container has no more of it.
    ended: bool,
    /// Packets that could not be decoded.
    pub(super) broken: u64,
}

enum HeardTrack {
    Sound(Box<SoundDecoder>),
    Lines(Box<LineDecoder>),
}

/// What listening to an input comes to.
#[derive(Default)]
pub(super) struct Listening {
    pub(super) ear: Option<Ear>,
    pub(super) track: Option<MediaTrack>,
    /// Why the track cannot be read, in words.
    pub(super) fault: Option<String>,
}

impl Listening {
    /// Chooses the track that the options ask for. `origin`: start of the container's own clock. `pictures`: the stream of
    /// the pictures, and its frames a second.
    pub(super) fn new(
        container: &Container,
        options: &DecodeOptions,
        origin: Option<Time>,
        pictures: (usize, Option<f64>),
        name: &str,
    ) -> Result<Listening> {
        let input = container.open.input();
        let (track, opened) = match choose_track(input, &options.listen, name)? {
            ChosenTrack::Nothing => return Ok(Listening::default()),
            ChosenTrack::Unreadable(track, fault) => {
                return Ok(Listening { ear: None, track: Some(track), fault: Some(fault) });
            }
            ChosenTrack::Open(track, opened) => (track, opened),
        };
        let base = |stream: usize| {
            let tick = input.stream(stream).map_or(ff::Rational::new(1, 1_000_000), |stream| stream.time_base());
            (i64::from(tick.numerator()), i64::from(tick.denominator().max(1)))
        };
        let stream = track.stream as usize;
        let range = (options.start, options.end);
        let heard = match options.listen {
            Listen::Lines(_) => HeardTrack::Lines(Box::new(LineDecoder::new(opened, base(stream), origin, range))),
            _ => HeardTrack::Sound(Box::new(SoundDecoder::new(opened, base(stream), origin, range))),
        };
        let ear = Ear {
            stream,
            track: heard,
            pictures: FrameClock::new(origin, pictures.1),
            picture_base: base(pictures.0),
            end: options.end,
            passed: options.start.unwrap_or_default(),
            given: options.start.unwrap_or_default(),
            ended: false,
            broken: 0,
        };
        Ok(Listening { ear: Some(ear), track: Some(track), fault: None })
    }
}

impl Ear {
    /// Takes a packet of the track.
    pub(super) fn push(&mut self, packet: &ff::Packet) {
        self.broken += match &mut self.track {
            HeardTrack::Sound(sound) => sound.push(packet),
            HeardTrack::Lines(lines) => lines.push(packet),
        };
    }

    /// Follows a packet of the pictures.
    pub(super) fn follow(&mut self, packet: &ff::Packet) {
        let own = packet.dts().or(packet.pts()).map(|ts| rescale(ts, self.picture_base));
        let time = self.pictures.time_of(own);
        self.pictures.advance(time);
        self.passed = self.passed.max(time - MOST_BEHIND);
        if let HeardTrack::Sound(sound) = &mut self.track {
            sound.grid.pass(u64::try_from(sample_at(self.passed)).unwrap_or(0));
        }
    }

    /// The container has no more.
    pub(super) fn finish(&mut self) {
        if self.ended {
            return;
        }
        self.ended = true;
        match &mut self.track {
            HeardTrack::Sound(sound) => self.broken += sound.finish(),
            HeardTrack::Lines(lines) => lines.finish(),
        }
    }

    /// Nothing before this time will be heard any more.
    pub(super) fn until(&self) -> Time {
        match &self.track {
            _ if self.ended => Time::MAX,
            HeardTrack::Sound(sound) if sound.grid.is_full() => Time::MAX,
            HeardTrack::Sound(sound) => sample_time(sound.grid.position()),
            HeardTrack::Lines(_) => match self.end {
                Some(end) if self.passed >= end => Time::MAX,
                _ => self.passed,
            },
        }
    }

    /// Whether some of it came too late.
    pub(super) fn is_late(&self) -> bool {
        matches!(&self.track, HeardTrack::Sound(sound) if sound.is_late())
    }

    pub(super) fn take(&mut self, all: bool) -> Option<Heard> {
        let until = self.until();
        let enough = match &self.track {
            HeardTrack::Sound(sound) => sound.grid.waiting() >= LEAST,
            HeardTrack::Lines(lines) => lines.has_lines(),
        };
        let passed = until - self.given >= sample_time(LEAST as u64);
        if !(enough || passed || all && until > self.given) {
            return None;
        }
        self.given = until;
        Some(match &mut self.track {
            HeardTrack::Sound(sound) => Heard { sounds: sound.take(), lines: Vec::new(), until },
            HeardTrack::Lines(lines) => Heard { sounds: Vec::new(), lines: lines.take(), until },
        })
    }
}
