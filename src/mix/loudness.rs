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

/// Measures the loudness of a programme that is pushed block by block.
///
/// Memory: a histogram, whatever the length.
pub(crate) struct LoudnessMeter(EbuR128);

impl LoudnessMeter {
    /// For interleaved samples of a rate in Hz; none for rates and channels that the standard does not cover.
    pub(crate) fn new(seats: &Seats, rate: u32) -> Option<LoudnessMeter> {
        let channels = u32::try_from(seats.0.len()).ok()?;
        let mut meter = EbuR128::new(channels, rate, Mode::I | Mode::HISTOGRAM).ok()?;
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
        Some(LoudnessMeter(meter))
    }

    /// Takes whole frames.
    pub(crate) fn push(&mut self, samples: &[f32]) {
        // It fails only for half a frame, which nobody pushes.
        let _ = self.0.add_frames_f32(samples);
    }

    /// Integrated loudness in LUFS; none for silence and for less than 0.4 s.
    pub(crate) fn integrated(&self) -> Option<f64> {
        self.0.loudness_global().ok().filter(|l| l.is_finite())
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

    #[test]
    fn speech_comes_from_the_centre() {
        use Seat::*;
        assert_eq!(Seats(vec![Left, Right, Centre, Low, Surround, Surround]).speech(), [2]);
        assert_eq!(Seats(vec![Left, Right]).speech(), [0, 1]);
        assert_eq!(Seats(vec![Mono]).speech(), [0]);
        assert_eq!(Seats(vec![Surround, Surround]).speech(), [0]);
    }
}
