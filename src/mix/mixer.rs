//! Programme and speech, sample by sample.

use std::collections::VecDeque;

use super::envelope::{Ducking, SpeechWindow};
use super::limiter::Limiter;
use super::loudness::Seats;

/// How long speech takes to rise at its beginning and to fall at its end, in seconds: too short to hear, and no click.
const EDGE: f64 = 0.003;

/// A description as it is mixed.
#[derive(Debug, Clone)]
pub(crate) struct MixSpeech {
    /// The sample at which it begins.
    pub(crate) start: u64,
    /// One channel, as loud as it is to be.
    pub(crate) samples: Vec<f32>,
}

/// Mixes descriptions into a programme.
pub(crate) struct Mixer {
    channels: usize,
    /// The channels that carry speech.
    speech: Vec<usize>,
    /// None if the programme is not to be heard.
    ducking: Option<Ducking>,
    limiter: Limiter,
    edge: usize,
    sounding: VecDeque<MixSpeech>,
    position: u64,
}

impl Mixer {
    /// `rate` is in Hz. True peaks stay below `ceiling`, an amplitude. Without `ducking`, only speech is heard.
    pub(crate) fn new(seats: &Seats, rate: u32, ducking: Option<Ducking>, ceiling: f64) -> Mixer {
        Mixer {
            channels: seats.0.len(),
            speech: seats.speech(),
            ducking,
            limiter: Limiter::new(seats.0.len(), rate, ceiling),
            edge: (EDGE * f64::from(rate)) as usize,
            sounding: VecDeque::new(),
            position: 0,
        }
    }

    /// Adds a description that begins at the next sample or later.
    pub(crate) fn add(&mut self, mut speech: MixSpeech) {
        let length = speech.samples.len();
        let edge = self.edge.min(length / 2);
        for n in 0..edge {
            let gain = (n as f32 + 0.5) / edge as f32;
            speech.samples[n] *= gain;
            speech.samples[length - 1 - n] *= gain;
        }
        self.sounding.push_back(speech);
    }

    /// Turns the programme down, after all other times.
    pub(crate) fn duck(&mut self, window: SpeechWindow) {
        if let Some(ducking) = &mut self.ducking {
            ducking.push(window);
        }
    }

    /// Mixes whole frames of the programme, and adds those that are ready to `out`.
    pub(crate) fn mix(&mut self, programme: &mut [f32], out: &mut Vec<f32>) {
        let frames = programme.len() / self.channels;
        match &mut self.ducking {
            None => programme.fill(0.0),
            Some(ducking) => {
                for (n, frame) in programme.chunks_exact_mut(self.channels).enumerate() {
                    let gain = ducking.gain(self.position + n as u64);
                    if gain < 1.0 {
                        frame.iter_mut().for_each(|s| *s *= gain);
                    }
                }
            }
        }
        let end = self.position + frames as u64;
        for speech in &self.sounding {
            let from = speech.start.max(self.position);
            let to = (speech.start + speech.samples.len() as u64).min(end);
            for at in from..to {
                let sample = speech.samples[(at - speech.start) as usize];
                let frame = (at - self.position) as usize * self.channels;
                self.speech.iter().for_each(|channel| programme[frame + channel] += sample);
            }
        }
        self.sounding.retain(|speech| speech.start + speech.samples.len() as u64 > end);
        self.position = end;
        self.limiter.push(programme, out);
    }

    /// Adds the last frames to `out`.
    pub(crate) fn finish(&mut self, out: &mut Vec<f32>) {
        self.limiter.finish(out);
    }
}

#[cfg(test)]
mod tests {
    use super::super::envelope::DuckOptions;
    use super::super::loudness::Seat;
    use super::*;

    fn mix(ducked: bool, block: usize) -> Vec<f32> {
        let seats = Seats(vec![Seat::Left, Seat::Right]);
        let windows = vec![SpeechWindow { start: 20_000, end: 24_000 }];
        let ducking = ducked.then(|| Ducking::new(DuckOptions::default(), windows, 48_000));
        let mut mixer = Mixer::new(&seats, 48_000, ducking, 0.79);
        let mut added = false;
        let (mut out, mut left) = (Vec::new(), 60_000);
        while left > 0 {
            let frames = block.min(left);
            if !added && mixer.position + frames as u64 > 20_000 {
                added = true;
                mixer.add(MixSpeech { start: 20_000, samples: vec![0.25; 4_000] });
            }
            mixer.mix(&mut vec![0.125; frames * 2], &mut out);
            left -= frames;
        }
        mixer.finish(&mut out);
        out
    }

    #[test]
    fn speech_begins_at_its_sample_above_the_programme() {
        let out = mix(true, 1_000);
        assert_eq!(out.len(), 120_000);
        let floor = 10f32.powf(-8.2 / 20.0) * 0.125;
        let left = |n: usize| out[2 * n];
        assert_eq!((left(100), left(50_000)), (0.125, 0.125));
        assert!((left(19_999) - floor).abs() < 1e-4 && (left(22_000) - floor - 0.25).abs() < 1e-6);
        assert!(left(20_000) < 0.06 && left(20_150) > 0.29 && left(23_999) < 0.06, "{}", left(20_000));
        assert!(out.chunks(2).all(|f| f[0] == f[1]));
    }

    #[test]
    fn blocks_do_not_matter_and_only_speech_can_be_heard() {
        assert!(mix(true, 60_000) == mix(true, 7));
        let only = mix(false, 1_000);
        assert!(only[..40_000].iter().chain(&only[48_000..]).all(|s| *s == 0.0));
        assert_eq!(only[44_000], 0.25);
    }
}
