//! Loudness by EBU R 128 (ITU-R BS.1770), with its gates.

use ebur128::{Channel, EbuR128, Mode};

/// Where a channel is heard from, as far as it counts for loudness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seat {
    /// Front left.
    Left,
    /// Front right.
    Right,
    /// Front centre.
    Centre,
    /// The only channel.
    Mono,
    /// Beside or behind the listener: counts 1.5 dB more.
    Surround,
    /// Low frequencies: does not count.
    Low,
}

/// The seats of all channels, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seats(pub(crate) Vec<Seat>);

impl Seats {
    /// The channels that carry a description: the centre, or both in front, or the first.
    pub(crate) fn speech(&self) -> Vec<usize> {
        let at = |seat: Seat| self.0.iter().position(|s| *s == seat);
        match (at(Seat::Centre), at(Seat::Left), at(Seat::Right)) {
            (Some(centre), _, _) => vec![centre],
            (None, Some(left), Some(right)) => vec![left, right],
            _ => vec![0],
        }
    }
}

/// A block of the standard: 0.4 s of a programme. One begins every 0.1 s.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct GatingBlock {
    /// Its first frame, and the first after it.
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// In LUFS.
    pub(crate) loudness: f64,
}

/// Measures the blocks of a programme that is pushed piece by piece.
///
/// Memory: 0.4 s of samples.
pub(crate) struct BlockMeter {
    meter: EbuR128,
    channels: usize,
    /// Frames from one block to the next.
    step: usize,
    /// Frames so far.
    frames: u64,
}

/// Steps that a block lasts.
const STEPS: u64 = 4;

impl BlockMeter {
    /// For interleaved samples of a rate in Hz; none for rates and channels that the standard does not cover.
    pub(crate) fn new(seats: &Seats, rate: u32) -> Option<BlockMeter> {
        let channels = u32::try_from(seats.0.len()).ok()?;
        let mut meter = EbuR128::new(channels, rate, Mode::M).ok()?;
        let map: Vec<Channel> = seats
            .0
            .iter()
            .map(|seat| match seat {
                Seat::Left => Channel::Left,
                Seat::Right => Channel::Right,
                Seat::Centre | Seat::Mono => Channel::Center,
                Seat::Surround => Channel::LeftSurround,
                Seat::Low => Channel::Unused,
            })
            .collect();
        meter.set_channel_map(&map).ok()?;
        // As the library rounds.
        let step = ((rate as usize + 5) / 10).max(1);
        Some(BlockMeter { meter, channels: seats.0.len(), step, frames: 0 })
    }

    /// Takes whole frames, and hands out the blocks that they complete.
    pub(crate) fn push(&mut self, mut samples: &[f32], mut each: impl FnMut(GatingBlock)) {
        let step = self.step as u64;
        while !samples.is_empty() {
            let missing = self.step - (self.frames % step) as usize;
            let (now, later) = samples.split_at(samples.len().min(missing * self.channels));
            samples = later;
            // It fails only for half a frame, which nobody pushes.
            let _ = self.meter.add_frames_f32(now);
            self.frames += (now.len() / self.channels) as u64;
            if self.frames.is_multiple_of(step) && self.frames >= STEPS * step {
                let loudness = self.meter.loudness_momentary().unwrap_or(f64::NEG_INFINITY);
                each(GatingBlock { start: self.frames - STEPS * step, end: self.frames, loudness });
            }
        }
    }
}

/// The loudness of blocks together, with the gates of the standard.
///
/// Memory: a histogram, however many blocks there are.
#[derive(Debug, Clone)]
pub(crate) struct IntegratedLoudness {
    /// Blocks of each tenth of a LU, from [`QUIETEST`] on.
    bins: Vec<u64>,
    blocks: u64,
}

/// Blocks that are quieter, in LUFS, do not count: the absolute gate.
const QUIETEST: f64 = -70.0;
/// Bins of the histogram: up to 30 LUFS.
const BINS: usize = 1_000;
/// Blocks that are so much quieter than all together, in LU, do not count: the relative gate.
const RELATIVE_GATE: f64 = 10.0;

impl Default for IntegratedLoudness {
    fn default() -> IntegratedLoudness {
        IntegratedLoudness { bins: vec![0; BINS], blocks: 0 }
    }
}

impl IntegratedLoudness {
    /// Adds a block of a loudness in LUFS.
    pub(crate) fn add(&mut self, loudness: f64) {
        if loudness >= QUIETEST {
            let bin = ((loudness - QUIETEST) * 10.0) as usize;
            self.bins[bin.min(BINS - 1)] += 1;
            self.blocks += 1;
        }
    }

    /// Blocks that are not too quiet to count.
    pub(crate) fn blocks(&self) -> u64 {
        self.blocks
    }

    /// In LUFS; none without blocks.
    pub(crate) fn value(&self) -> Option<f64> {
        let all = self.mean(f64::NEG_INFINITY)?;
        self.mean(all - RELATIVE_GATE)
    }

    /// The mean of what is not below a loudness.
    fn mean(&self, least: f64) -> Option<f64> {
        let (mut energy, mut count) = (0.0, 0);
        for (n, blocks) in self.bins.iter().enumerate() {
            let loudness = QUIETEST + (n as f64 + 0.5) / 10.0;
            if loudness >= least {
                energy += *blocks as f64 * 10f64.powf(loudness / 10.0);
                count += blocks;
            }
        }
        (count > 0).then(|| 10.0 * (energy / count as f64).log10())
    }
}

/// Measures the integrated loudness of a programme that is pushed piece by piece.
pub(crate) struct LoudnessMeter {
    meter: BlockMeter,
    all: IntegratedLoudness,
}

impl LoudnessMeter {
    /// As [`BlockMeter::new`].
    pub(crate) fn new(seats: &Seats, rate: u32) -> Option<LoudnessMeter> {
        Some(LoudnessMeter { meter: BlockMeter::new(seats, rate)?, all: IntegratedLoudness::default() })
    }

    /// Takes whole frames.
    pub(crate) fn push(&mut self, samples: &[f32]) {
        let all = &mut self.all;
        self.meter.push(samples, |block| all.add(block.loudness));
    }

    /// In LUFS; none for silence and for less than 0.4 s.
    pub(crate) fn integrated(&self) -> Option<f64> {
        self.all.value()
    }
}

/// An amplitude in dB as a factor.
pub(crate) fn gain(decibels: f64) -> f64 {
    10f64.powf(decibels / 20.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sine(channels: usize, amplitude: f32) -> Vec<f32> {
        let wave = |n: usize| amplitude * (n as f32 * 997.0 * std::f32::consts::TAU / 48_000.0).sin();
        (0..48_000 * 4).flat_map(|n| std::iter::repeat_n(wave(n), channels)).collect()
    }

    fn integrated(seats: &[Seat], samples: &[f32]) -> Option<f64> {
        let mut meter = LoudnessMeter::new(&Seats(seats.to_vec()), 48_000).unwrap();
        samples.chunks(seats.len() * 1_000).for_each(|block| meter.push(block));
        meter.integrated()
    }

    /// EBU Tech 3341: a sine of −23 dBFS at 997 Hz on both sides is −23 LUFS.
    #[test]
    fn the_standards_sine_has_the_standards_loudness() {
        let amplitude = gain(-23.0) as f32;
        let stereo = integrated(&[Seat::Left, Seat::Right], &sine(2, amplitude)).unwrap();
        assert!((stereo + 23.0).abs() < 0.1, "{stereo}");
        let mono = integrated(&[Seat::Mono], &sine(1, amplitude)).unwrap();
        assert!((mono + 26.0).abs() < 0.1, "{mono}");
        assert_eq!(integrated(&[Seat::Mono], &[0.0; 96_000]), None);
        assert_eq!(integrated(&[Seat::Low], &sine(1, amplitude)), None);
    }

    /// EBU Tech 3341, signal 4: what is 13 LU quieter than the rest is left out by the relative gate.
    #[test]
    fn gates_leave_out_what_is_quiet() {
        let mut seats = Vec::new();
        for (level, times) in [(-72.0, 3), (-36.0, 3), (-23.0, 15), (-36.0, 3), (-72.0, 3)] {
            seats.extend(sine(2, gain(level) as f32).repeat(times));
        }
        let found = integrated(&[Seat::Left, Seat::Right], &seats).unwrap();
        assert!((found + 23.0).abs() < 0.1, "{found}");
    }

    #[test]
    fn blocks_do_not_depend_on_how_samples_come() {
        let mut random = fastrand::Rng::with_seed(5);
        let samples: Vec<f32> = (0..100_000).map(|_| random.f32() - 0.5).collect();
        let blocks = |size: usize| {
            let mut meter = BlockMeter::new(&Seats(vec![Seat::Mono]), 44_100).unwrap();
            let mut blocks = Vec::new();
            samples.chunks(size).for_each(|piece| meter.push(piece, |block| blocks.push(block)));
            blocks
        };
        assert_eq!(blocks(77), blocks(50_000));
        assert_eq!((blocks(77)[0].start, blocks(77)[1].start, blocks(77).len()), (0, 4_410, 19));
    }

    #[test]
    fn speech_comes_from_the_centre() {
        use Seat::*;
        assert_eq!(Seats(vec![Left, Right, Centre, Low, Surround, Surround]).speech(), [2]);
        assert_eq!(Seats(vec![Left, Right]).speech(), [0, 1]);
        assert_eq!(Seats(vec![Mono]).speech(), [0]);
        assert_eq!(Seats(vec![Surround, Surround]).speech(), [0]);
    }
}
