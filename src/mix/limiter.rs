//! A limiter for true peaks. The gain falls before a peak, over 5 ms, and rises slowly after it. All channels get the same
//! gain. Samples pass unchanged, bit by bit, where nothing is limited.

use std::collections::VecDeque;

use super::true_peak::PeakFilter;

/// How long the gain falls before a peak, in seconds.
const ATTACK: f64 = 0.005;
/// How long the gain takes to rise by two thirds of the way, in seconds.
const RELEASE: f64 = 0.08;
/// Samples between a peak and its detection, and around it that belong to it.
const SPREAD: usize = 32;

/// Keeps true peaks below a ceiling.
///
/// Memory: 5 ms of samples.
pub(super) struct Limiter {
    channels: usize,
    ceiling: f64,
    /// Part of the way to 1 that the gain rises with each sample.
    rise: f64,
    attack: usize,
    delay: usize,
    /// Frames that wait for their gain.
    waiting: VecDeque<f32>,
    peaks: PeakFilter,
    /// Frames so far.
    frames: u64,
    /// The gain that the last frame needs, rising.
    needed: f64,
    /// Candidates of the smallest gain in the window, by frame.
    smallest: VecDeque<(u64, f64)>,
    /// The smallest gains of the last frames, and their sum.
    recent: VecDeque<f64>,
    sum: f64,
    /// How many of them in a row are 1.
    ones: usize,
}

impl Limiter {
    /// `ceiling` is an amplitude, `rate` in Hz.
    pub(super) fn new(channels: usize, rate: u32, ceiling: f64) -> Limiter {
        let samples = |secs: f64| (secs * f64::from(rate)).round().max(1.0);
        let attack = samples(ATTACK) as usize;
        Limiter {
            channels,
            ceiling,
            rise: (1.0 - (-1.0 / samples(RELEASE)).exp()),
            attack,
            delay: attack + SPREAD,
            waiting: VecDeque::new(),
            peaks: PeakFilter::new(channels, ceiling),
            frames: 0,
            needed: 1.0,
            smallest: VecDeque::new(),
            recent: std::iter::repeat_n(1.0, attack).collect(),
            sum: attack as f64,
            ones: attack,
        }
    }

    /// Takes whole frames, and gives those whose gain is known.
    pub(super) fn push(&mut self, block: &[f32], out: &mut Vec<f32>) {
        for frame in block.chunks_exact(self.channels) {
            self.waiting.extend(frame);
            let gain = self.step(frame);
            if self.frames > self.delay as u64 {
                let limited = self.waiting.drain(..self.channels);
                if gain < 1.0 { out.extend(limited.map(|s| s * gain)) } else { out.extend(limited) }
            }
        }
    }

    /// Gives the frames that still wait.
    pub(super) fn finish(&mut self, out: &mut Vec<f32>) {
        let silence = vec![0.0; self.channels];
        let rest = self.waiting.len() / self.channels;
        let (before, want) = (out.len(), rest * self.channels);
        while out.len() - before < want {
            self.push(&silence, out);
        }
        self.waiting.clear();
    }

    /// Takes a frame, and returns the gain of the one that is `delay` frames older.
    fn step(&mut self, frame: &[f32]) -> f32 {
        let peak = f64::from(self.peaks.peak(frame));
        let wanted = if peak > self.ceiling { self.ceiling / peak } else { 1.0 };
        let risen = self.needed + (1.0 - self.needed) * self.rise;
        // So that it reaches 1.
        self.needed = wanted.min(if risen > 0.9999 { 1.0 } else { risen });
        let window = (self.delay + SPREAD / 2) as u64;
        while self.smallest.back().is_some_and(|(_, gain)| *gain >= self.needed) {
            self.smallest.pop_back();
        }
        self.smallest.push_back((self.frames, self.needed));
        while self.smallest.front().is_some_and(|(at, _)| at + window < self.frames) {
            self.smallest.pop_front();
        }
        self.frames += 1;
        let smallest = self.smallest.front().map_or(1.0, |(_, gain)| *gain);
        self.sum += smallest - self.recent.pop_front().unwrap_or(1.0);
        self.recent.push_back(smallest);
        self.ones = if smallest >= 1.0 { self.ones + 1 } else { 0 };
        if self.ones >= self.attack {
            // Also ends rounding errors.
            self.sum = self.attack as f64;
            return 1.0;
        }
        (self.sum / self.attack as f64) as f32
    }
}

#[cfg(test)]
mod tests {
    use ebur128::{EbuR128, Mode};

    use super::*;

    const CEILING: f64 = 0.785;

    fn limit(samples: &[f32], channels: usize, block: usize) -> Vec<f32> {
        let mut limiter = Limiter::new(channels, 48_000, CEILING);
        let mut out = Vec::new();
        samples.chunks(block * channels).for_each(|b| limiter.push(b, &mut out));
        limiter.finish(&mut out);
        out
    }

    fn true_peak(samples: &[f32]) -> f64 {
        let mut meter = EbuR128::new(1, 48_000, Mode::TRUE_PEAK).unwrap();
        meter.add_frames_f32(samples).unwrap();
        meter.true_peak(0).unwrap()
    }

    /// A sine whose samples miss its peaks: 3 dB more between them.
    fn between(amplitude: f32) -> Vec<f32> {
        (0..48_000).map(|n| amplitude * (std::f32::consts::TAU * (n as f32 * 0.25 + 0.125)).sin()).collect()
    }

    #[test]
    fn peaks_between_samples_are_found_and_limited() {
        for samples in [between(1.0), between(1.4), [[1.0; 8], [-1.0; 8]].concat().repeat(900)] {
            assert!(true_peak(&samples) > 0.95);
            let limited = limit(&samples, 1, 1_000);
            assert_eq!(limited.len(), samples.len());
            assert!(true_peak(&limited) < CEILING * 1.01, "{}", true_peak(&limited));
            assert!(limited[1_000..].iter().fold(0f32, |m, s| m.max(s.abs())) > 0.5);
        }
    }

    #[test]
    fn noise_with_sudden_bursts_is_limited_too() {
        let mut random = fastrand::Rng::with_seed(7);
        let noise: Vec<f32> =
            (0..96_000).map(|n| (random.f32() - 0.5) * if n / 4_000 % 3 == 0 { 4.0 } else { 0.2 }).collect();
        let limited = limit(&noise, 1, 997);
        assert!(true_peak(&limited) < CEILING * 1.03, "{}", true_peak(&limited));
    }

    #[test]
    fn quiet_sound_stays_bit_by_bit_and_blocks_do_not_matter() {
        let quiet = between(0.5);
        assert!(limit(&quiet, 1, 64) == quiet);
        let loud: Vec<f32> = between(1.2).iter().zip(between(0.3)).flat_map(|(a, b)| [*a, b]).collect();
        assert!(limit(&loud, 2, 3) == limit(&loud, 2, 5_000));
        // After a peak it becomes what it was.
        let mut bump = quiet.clone();
        bump[100] = 1.5;
        assert!(limit(&bump, 1, 64)[40_000..] == quiet[40_000..]);
        assert!(limit(&[], 1, 64).is_empty());
        assert_eq!(limit(&[0.1], 1, 64), [0.1]);
    }
}
