//! Descriptions over the sound of a stream, on its own time. Pure: samples in, samples out.
//!
//! Positions count frames of samples from stream time 0. Sound is mixed as it comes: what is late is left out, and what is
//! missing is silence. A description begins as soon as the sound can be turned down for it, or when the one before is over.
//!
//! Memory: [`MOST_WAITING`] descriptions that wait, the one that is spoken, and the mixer's 6 ms.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crate::media::{PROGRAMME_CHANNELS, PROGRAMME_RATE};
use crate::mix::{DuckOptions, Ducking, LoudnessMeter, MixSpeech, Mixer, Seat, Seats, SpeechWindow, gain};
use crate::time::Time;

/// Most descriptions that wait for their turn. One more, and the first of them is lost.
const MOST_WAITING: usize = 3;
/// Silence between two descriptions, in frames: 0.2 s.
const GAP: u64 = PROGRAMME_RATE as u64 / 5;
/// Loudness of descriptions where the stream has none, in LUFS, and the range that it may have.
const USUAL_LOUDNESS: f64 = -23.0;
const LOUDNESS: (f64, f64) = (-36.0, -12.0);
/// Highest true peak, in dBTP: that of `descry speak`, less what a lossy codec changes.
const PEAK: f64 = -4.0;
/// Frames of silence that are mixed at once.
const BLOCK: u64 = 8_192;

/// A description as it was spoken: one channel, [`PROGRAMME_RATE`] samples a second.
#[derive(Debug, Clone)]
pub(super) struct LiveSpeech {
    pub(super) samples: Arc<[f32]>,
    /// Integrated loudness in LUFS.
    pub(super) loudness: f64,
    /// When the picture's packet arrived.
    pub(super) arrived: Instant,
}

/// What comes out, in order.
pub(super) enum MixPiece {
    /// Interleaved samples.
    Samples(Vec<f32>),
    /// So many frames of silence.
    Silence(u64),
}

/// The mix of one stream.
pub(super) struct LiveMix {
    seats: Seats,
    /// Whether the stream's sound is heard too.
    has_programme: bool,
    /// Before it is known what is loud, there is none.
    meter: Option<LoudnessMeter>,
    /// With the position of its first frame. None while there is nothing but silence.
    mixer: Option<(Mixer, u64)>,
    /// The next frame to be mixed.
    position: u64,
    /// Where the last description ends.
    spoken: u64,
    waiting: VecDeque<LiveSpeech>,
    /// Of descriptions that have begun: where, and when their pictures' packets arrived.
    begun: Vec<(u64, Instant)>,
}

/// The frame at a stream time.
pub(super) fn frame_at(time: Time) -> u64 {
    let frames = i128::from(time.micros()) * i128::from(PROGRAMME_RATE) / 1_000_000;
    u64::try_from(frames).unwrap_or(0)
}

/// The stream time of a frame, which may be before 0.
pub(super) fn frame_time(frame: i64) -> Time {
    let micros = i128::from(frame) * 1_000_000 / i128::from(PROGRAMME_RATE);
    Time::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
}

impl LiveMix {
    /// Descriptions and the stream's sound, on two channels.
    pub(super) fn over_programme() -> LiveMix {
        let seats = Seats(vec![Seat::Left, Seat::Right]);
        LiveMix { meter: LoudnessMeter::new(&seats, PROGRAMME_RATE), has_programme: true, ..LiveMix::new(seats) }
    }

    /// Descriptions alone, on one channel.
    pub(super) fn speech_alone() -> LiveMix {
        LiveMix::new(Seats(vec![Seat::Mono]))
    }

    fn new(seats: Seats) -> LiveMix {
        LiveMix {
            seats,
            has_programme: false,
            meter: None,
            mixer: None,
            position: 0,
            spoken: 0,
            waiting: VecDeque::new(),
            begun: Vec::new(),
        }
    }

    /// The next frame to be mixed.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Whether a description is being spoken or waits.
    pub(super) fn is_speaking(&self) -> bool {
        !self.waiting.is_empty() || self.position < self.spoken
    }

    /// Goes on at a later position, without silence in between. What is being spoken is cut off. Returns what comes before.
    pub(super) fn skip_to(&mut self, position: u64) -> Vec<MixPiece> {
        let mut out = Vec::new();
        self.end_mixer(&mut out);
        self.position = position.max(self.position);
        self.spoken = self.spoken.min(self.position);
        out
    }

    /// Takes a description. False where another one is lost for it.
    pub(super) fn speak(&mut self, speech: LiveSpeech) -> bool {
        self.waiting.push_back(speech);
        if self.waiting.len() <= MOST_WAITING {
            return true;
        }
        self.waiting.pop_front();
        false
    }

    /// Takes sound that begins at a position, interleaved on two channels.
    pub(super) fn programme(&mut self, start: u64, samples: &[f32]) -> Vec<MixPiece> {
        let late = usize::try_from(self.position.saturating_sub(start)).unwrap_or(usize::MAX);
        let samples = samples.get(late.saturating_mul(PROGRAMME_CHANNELS)..).unwrap_or_default();
        if samples.is_empty() {
            return Vec::new();
        }
        let mut out = self.silence_until(start);
        // Floating point allows samples that are no numbers.
        let mut samples: Vec<f32> =
            samples.iter().map(|s| if s.is_finite() { s.clamp(-4.0, 4.0) } else { 0.0 }).collect();
        if let Some(meter) = &mut self.meter {
            meter.push(&samples);
        }
        self.mix(&mut samples, &mut out);
        out
    }

    /// Goes on to a position with silence and what is to be said.
    pub(super) fn silence_until(&mut self, end: u64) -> Vec<MixPiece> {
        let mut out = Vec::new();
        while self.position < end {
            if !self.is_speaking() {
                self.end_mixer(&mut out);
                out.push(MixPiece::Silence(end - self.position));
                self.position = end;
                break;
            }
            let frames = (end - self.position).min(BLOCK);
            self.mix(&mut vec![0.0; frames as usize * self.seats.0.len()], &mut out);
        }
        out
    }

    /// Ends the stream: what is left is said while there is time. Returns the rest.
    pub(super) fn finish(&mut self, has_time: &dyn Fn() -> bool) -> Vec<MixPiece> {
        let mut out = Vec::new();
        while self.is_speaking() && has_time() {
            let end = self.position.max(self.spoken.min(self.position + BLOCK)).max(self.position + 1);
            out.extend(self.silence_until(end));
        }
        self.end_mixer(&mut out);
        out
    }

    /// Drops the descriptions that wait, and returns how many there were.
    pub(super) fn drop_waiting(&mut self) -> usize {
        std::mem::take(&mut self.waiting).len()
    }

    /// Descriptions that have begun since the last call: where, and when their pictures' packets arrived.
    pub(super) fn take_begun(&mut self) -> Vec<(u64, Instant)> {
        std::mem::take(&mut self.begun)
    }

    fn mix(&mut self, samples: &mut [f32], out: &mut Vec<MixPiece>) {
        self.begin_speech();
        let (position, seats, has_programme) = (self.position, &self.seats, self.has_programme);
        let (mixer, _) = self.mixer.get_or_insert_with(|| (new_mixer(seats, has_programme), position));
        self.position += (samples.len() / self.seats.0.len()) as u64;
        let mut mixed = Vec::with_capacity(samples.len());
        mixer.mix(samples, &mut mixed);
        if !mixed.is_empty() {
            out.push(MixPiece::Samples(mixed));
        }
    }

    /// Gives the next description its place, once the one before is over.
    fn begin_speech(&mut self) {
        if self.spoken > self.position {
            return;
        }
        let Some(speech) = self.waiting.pop_front() else { return };
        let (position, seats, has_programme) = (self.position, &self.seats, self.has_programme);
        let (mixer, origin) = self.mixer.get_or_insert_with(|| (new_mixer(seats, has_programme), position));
        let ramp = if has_programme { frame_at(Time::from_secs(DuckOptions::default().ramp)) } else { 0 };
        let start = (self.position + ramp).max(self.spoken + GAP);
        let end = start + speech.samples.len() as u64;
        let programme = self.meter.as_ref().and_then(LoudnessMeter::integrated);
        let wanted = programme.unwrap_or(USUAL_LOUDNESS).clamp(LOUDNESS.0, LOUDNESS.1);
        // Two channels with the same sound are louder than one.
        let doubled = if seats.0.len() > 1 { 3.01 } else { 0.0 };
        let level = gain(wanted - doubled - speech.loudness) as f32;
        let samples = speech.samples.iter().map(|sample| sample * level).collect();
        mixer.duck(SpeechWindow { start: start - *origin, end: end - *origin });
        mixer.add(MixSpeech { start: start - *origin, samples });
        self.spoken = end;
        self.begun.push((start, speech.arrived));
    }

    fn end_mixer(&mut self, out: &mut Vec<MixPiece>) {
        if let Some((mut mixer, _)) = self.mixer.take() {
            let mut rest = Vec::new();
            mixer.finish(&mut rest);
            if !rest.is_empty() {
                out.push(MixPiece::Samples(rest));
            }
        }
    }
}

fn new_mixer(seats: &Seats, has_programme: bool) -> Mixer {
    let ducking = has_programme.then(|| Ducking::new(DuckOptions::default(), Vec::new(), PROGRAMME_RATE));
    Mixer::new(seats, PROGRAMME_RATE, ducking, gain(PEAK))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = PROGRAMME_RATE as u64;

    fn speech(seconds: f64) -> LiveSpeech {
        let samples = vec![0.25; (seconds * SECOND as f64) as usize].into();
        LiveSpeech { samples, loudness: -12.0, arrived: Instant::now() }
    }

    /// The left channel of what came out.
    fn left(pieces: Vec<MixPiece>, channels: usize) -> Vec<f32> {
        let one = |piece| match piece {
            MixPiece::Samples(samples) => samples.into_iter().step_by(channels).collect(),
            MixPiece::Silence(frames) => vec![0.0; frames as usize],
        };
        pieces.into_iter().flat_map(one).collect()
    }

    /// The first and the last frame that are not silent.
    fn heard(samples: &[f32]) -> Option<(usize, usize)> {
        let loud = |s: &f32| s.abs() > 0.001;
        Some((samples.iter().position(loud)?, samples.iter().rposition(loud)?))
    }

    #[test]
    fn speech_alone_begins_at_once_and_one_waits_for_the_other() {
        let mut mix = LiveMix::speech_alone();
        let mut out = left(mix.silence_until(SECOND), 1);
        assert!(mix.speak(speech(1.0)) && mix.speak(speech(0.5)));
        out.extend(left(mix.silence_until(4 * SECOND), 1));
        assert_eq!(out.len() as u64, 4 * SECOND);
        let second = SECOND as usize;
        let (first, last) = heard(&out).unwrap();
        assert!((second..second + 200).contains(&first), "{first}");
        // The second begins 0.2 s after the first, or with the next block.
        let begins = (2.2 * SECOND as f64) as usize;
        let gap = heard(&out[2 * second + 200..]).unwrap().0 + 2 * second + 200;
        assert!((begins - 10..begins + BLOCK as usize + 200).contains(&gap), "{gap}");
        assert!(last < begins + second / 2 + BLOCK as usize + 200, "{last}");
        assert_eq!(mix.take_begun().iter().map(|b| b.0).collect::<Vec<_>>()[0], SECOND);
    }

    #[test]
    fn the_sound_is_turned_down_and_late_sound_is_left_out() {
        let mut mix = LiveMix::over_programme();
        let (mut out, piece) = (Vec::new(), vec![0.1; 2 * 4_800]);
        for n in 0..100u64 {
            if n == 20 {
                mix.speak(speech(2.0));
            }
            // A gap of a second, and a piece that comes again.
            let start = n * 4_800 + if n >= 70 { SECOND } else { 0 };
            out.extend(left(mix.programme(start, &piece), 2));
            assert!(n != 50 || mix.programme(start, &piece).is_empty());
        }
        out.extend(left(mix.finish(&|| true), 2));
        assert_eq!(out.len() as u64, 11 * SECOND);
        let at = |seconds: f64| out[(seconds * SECOND as f64) as usize];
        assert!((at(1.9) - 0.1).abs() < 1e-3 && (at(4.9) - 0.1).abs() < 1e-3);
        let floor = 0.1 * gain(-DuckOptions::default().depth) as f32;
        // Ducked, with the description on top.
        assert!(at(3.0) > floor + 0.005 && at(3.0) < 0.1 && (at(4.31) - 0.1).abs() > 0.01, "{} {}", at(3.0), at(4.31));
        assert!(at(7.5) == 0.0 && (at(8.5) - 0.1).abs() < 1e-3);
        assert_eq!(mix.take_begun()[0].0, 2 * SECOND + frame_at(Time::from_millis(300)));
    }

    #[test]
    fn samples_that_are_no_numbers_do_no_harm() {
        let mut mix = LiveMix::over_programme();
        let strange = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN_POSITIVE, 1e30];
        let piece: Vec<f32> = strange.iter().copied().cycle().take(2 * 4_800).collect();
        let mut out = Vec::new();
        for n in 0..40 {
            if n == 10 {
                mix.speak(speech(1.0));
            }
            out.extend(left(mix.programme(n * 4_800, &piece), 2));
        }
        let usual = mix.programme(40 * 4_800, &[0.1; 2 * 48_000]);
        out.extend(left(usual, 2));
        out.extend(left(mix.finish(&|| true), 2));
        let most = gain(PEAK) as f32 + 1e-3;
        assert!(out.len() as u64 == 5 * SECOND && out.iter().all(|s| s.abs() <= most), "{most}");
    }

    #[test]
    fn few_wait_and_a_skip_cuts_off() {
        let mut mix = LiveMix::speech_alone();
        let kept: Vec<bool> = (0..5).map(|_| mix.speak(speech(10.0))).collect();
        assert_eq!(kept, [true, true, true, false, false]);
        let before = left(mix.silence_until(SECOND), 1).len() + left(mix.skip_to(100 * SECOND), 1).len();
        assert_eq!((before as u64, mix.position()), (SECOND, 100 * SECOND));
        let rest = left(mix.finish(&|| true), 1).len() as u64;
        assert!((20 * SECOND..21 * SECOND).contains(&rest), "{rest}");
        assert!(!mix.is_speaking());
    }
}
