//! Under which descriptions the programme can be heard.

use super::envelope::SpeechWindow;

/// Length of a piece, in seconds.
const PIECE: f64 = 0.1;
/// Mean square of the loudest channel below which a piece is silent: −60 dBFS.
const SILENT: f64 = 1e-6;

/// Finds the windows in which the programme is not silent. Samples come block by block.
///
/// Memory: a flag for each window.
pub(crate) struct Audibility {
    windows: Vec<SpeechWindow>,
    audible: Vec<bool>,
    /// Windows that are over.
    passed: usize,
    /// Frames of a piece.
    piece: usize,
    /// Of the piece that is not complete: its frames, and the sum of squares of each channel.
    frames: usize,
    sums: Vec<f64>,
    position: u64,
}

impl Audibility {
    /// `windows` in order of time; `rate` in Hz.
    pub(crate) fn new(windows: Vec<SpeechWindow>, channels: usize, rate: u32) -> Audibility {
        Audibility {
            audible: vec![false; windows.len()],
            windows,
            passed: 0,
            piece: (PIECE * f64::from(rate)).round().max(1.0) as usize,
            frames: 0,
            sums: vec![0.0; channels],
            position: 0,
        }
    }

    /// Takes whole frames.
    pub(crate) fn push(&mut self, samples: &[f32]) {
        for frame in samples.chunks_exact(self.sums.len()) {
            for (sum, sample) in self.sums.iter_mut().zip(frame) {
                *sum += f64::from(*sample) * f64::from(*sample);
            }
            self.frames += 1;
            if self.frames == self.piece {
                self.end_piece();
            }
        }
    }

    fn end_piece(&mut self) {
        let (start, end) = (self.position, self.position + self.frames as u64);
        let loudest = self.sums.iter().fold(0.0, |most: f64, sum| most.max(*sum)) / self.frames.max(1) as f64;
        while self.windows.get(self.passed).is_some_and(|w| w.end <= start) {
            self.passed += 1;
        }
        if loudest > SILENT {
            let near = self.windows.iter().enumerate().skip(self.passed).take_while(|(_, w)| w.start < end);
            near.for_each(|(i, _)| self.audible[i] = true);
        }
        (self.position, self.frames) = (end, 0);
        self.sums.fill(0.0);
    }

    /// The windows in which something can be heard.
    pub(crate) fn finish(mut self) -> Vec<SpeechWindow> {
        self.end_piece();
        self.windows.iter().zip(&self.audible).filter_map(|(w, audible)| audible.then_some(*w)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silent_windows_are_left_out() {
        let windows: Vec<SpeechWindow> = [(0, 900), (2_000, 3_000), (7_000, 9_000), (50_000, 60_000)]
            .map(|(start, end)| SpeechWindow { start, end })
            .into();
        let mut audibility = Audibility::new(windows.clone(), 2, 10_000);
        // Silent up to the 2.5 s, then heard on one side, then silent from 6 s on.
        let sample = |n: usize| if (2_500..6_000).contains(&n) { [0.0, 0.01] } else { [0.000_1, 0.0] };
        let samples: Vec<f32> = (0..10_000).flat_map(sample).collect();
        samples.chunks(2 * 333).for_each(|block| audibility.push(block));
        assert_eq!(audibility.finish(), windows[1..2]);
    }
}
