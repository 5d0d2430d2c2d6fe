//! True peaks: those of the sound between the samples, which a player or a coder makes audible.
//!
//! They are found at four times the rate, as ITU-R BS.1770-4 asks for, with a longer filter than its own: that one misses
//! some of noise.

/// Samples from which one between two samples is computed.
const TAPS: usize = 32;
/// Places between two samples that are computed.
const BETWEEN: [f32; 3] = [0.25, 0.5, 0.75];

/// Finds the peaks of samples that come frame by frame.
///
/// Memory: 64 samples a channel.
pub(super) struct PeakFilter {
    /// The last samples of each channel, the newest at `newest`.
    history: Vec<[f32; 2 * TAPS]>,
    /// For each place between two samples, the weights of the last samples, the newest first.
    weights: [[f32; TAPS]; BETWEEN.len()],
    /// Samples below this amplitude make no peak above the ceiling.
    harmless: f32,
    newest: usize,
    /// Frames for which the filter still has something to find.
    loud: usize,
}

impl PeakFilter {
    /// Peaks above `ceiling`, an amplitude, are found exactly. Of what is quieter, the samples alone count.
    pub(super) fn new(channels: usize, ceiling: f64) -> PeakFilter {
        let weights = BETWEEN.map(weights);
        let largest = weights.iter().map(|w| w.iter().map(|w| w.abs()).sum()).fold(1f32, f32::max);
        PeakFilter {
            history: vec![[0.0; 2 * TAPS]; channels],
            weights,
            harmless: ceiling as f32 / largest,
            newest: 0,
            loud: 0,
        }
    }

    /// The largest amplitude at and between the last samples, of which `frame` is the newest.
    pub(super) fn peak(&mut self, frame: &[f32]) -> f32 {
        self.newest = if self.newest == 0 { TAPS - 1 } else { self.newest - 1 };
        let at_samples = frame.iter().fold(0f32, |most, s| most.max(s.abs()));
        self.loud = if at_samples > self.harmless { TAPS + 1 } else { self.loud.saturating_sub(1) };
        for (history, sample) in self.history.iter_mut().zip(frame) {
            // Twice, so that the last ones always lie in a row.
            history[self.newest] = *sample;
            history[self.newest + TAPS] = *sample;
        }
        if self.loud == 0 {
            return at_samples;
        }
        self.history.iter().fold(at_samples, |most, history| {
            let last = &history[self.newest..self.newest + TAPS];
            self.weights.iter().fold(most, |most, weights| most.max(product(last, weights).abs()))
        })
    }
}

/// Measures the highest true peak of samples that come block by block.
pub(crate) struct TruePeakMeter {
    filter: PeakFilter,
    channels: usize,
    most: f32,
}

impl TruePeakMeter {
    /// As [`PeakFilter::new`].
    pub(crate) fn new(channels: usize, ceiling: f64) -> TruePeakMeter {
        TruePeakMeter { filter: PeakFilter::new(channels, ceiling), channels, most: 0.0 }
    }

    /// Takes whole frames.
    pub(crate) fn push(&mut self, samples: &[f32]) {
        for frame in samples.chunks_exact(self.channels) {
            self.most = self.most.max(self.filter.peak(frame));
        }
    }

    /// The highest peak so far, in dBTP.
    pub(crate) fn decibels(&self) -> f64 {
        20.0 * f64::from(self.most).max(1e-9).log10()
    }
}

/// The sum of products, eight at a time: in an order that processors can work on at once.
fn product(samples: &[f32], weights: &[f32; TAPS]) -> f32 {
    let mut sums = [0f32; 8];
    for (samples, weights) in samples.chunks_exact(8).zip(weights.chunks_exact(8)) {
        for ((sum, sample), weight) in sums.iter_mut().zip(samples).zip(weights) {
            *sum += sample * weight;
        }
    }
    sums.iter().sum()
}

/// Weights of the last samples, the newest first, for the sample at a place between the two in the middle: a windowed sinc.
fn weights(place: f32) -> [f32; TAPS] {
    let middle = (TAPS / 2) as f64 - 1.0;
    std::array::from_fn(|n| {
        let distance = n as f64 - middle - f64::from(place);
        let turn = std::f64::consts::PI * distance;
        let window = 0.5 + 0.5 * (turn / (TAPS / 2) as f64).cos();
        (turn.sin() / turn * window) as f32
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_between_samples_is_measured() {
        // A sine whose samples miss its peaks by 3 dB.
        let sine = |n: usize| (std::f32::consts::TAU * (n as f32 * 0.25 + 0.125)).sin();
        let samples: Vec<f32> = (0..4_800).flat_map(|n| [0.01, sine(n)]).collect();
        let mut meter = TruePeakMeter::new(2, 0.5);
        assert!(meter.decibels() < -100.0);
        samples.chunks(2 * 7).for_each(|block| meter.push(block));
        assert!(meter.decibels().abs() < 0.15, "{}", meter.decibels());
    }
}
