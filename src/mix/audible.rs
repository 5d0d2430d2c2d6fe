//! Where the programme can be heard.

use super::envelope::SpeechWindow;

/// Length of a piece, in seconds.
const PIECE: f64 = 0.1;
/// Mean square of the loudest channel below which a piece is silent: −60 dBFS.
const SILENT: f64 = 1e-6;
/// Pieces in a word.
const BITS: usize = u64::BITS as usize;

/// Remembers which pieces of a programme are not silent. Samples come block by block.
///
/// Memory: a bit for each 0.1 s, which is 14 KB for 3 hours.
pub(crate) struct Audibility {
    audible: Vec<u64>,
    /// Pieces that are complete.
    pieces: usize,
    /// Frames of a piece.
    piece: usize,
    /// Of the piece that is not complete: its frames, and the sum of squares of each channel.
    frames: usize,
    sums: Vec<f64>,
}

impl Audibility {
    /// `rate` in Hz.
    pub(crate) fn new(channels: usize, rate: u32) -> Audibility {
        Audibility {
            audible: Vec::new(),
            pieces: 0,
            piece: (PIECE * f64::from(rate)).round().max(1.0) as usize,
            frames: 0,
            sums: vec![0.0; channels],
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

    /// Ends the programme.
    pub(crate) fn finish(&mut self) {
        if self.frames > 0 {
            self.end_piece();
        }
    }

    fn end_piece(&mut self) {
        let loudest = self.sums.iter().fold(0.0, |most: f64, sum| most.max(*sum)) / self.frames as f64;
        let (word, bit) = (self.pieces / BITS, self.pieces % BITS);
        if bit == 0 {
            self.audible.push(0);
        }
        if loudest > SILENT {
            self.audible[word] |= 1 << bit;
        }
        self.pieces += 1;
        self.frames = 0;
        self.sums.fill(0.0);
    }

    /// Whether a piece that the window touches is not silent.
    pub(crate) fn is_audible(&self, window: SpeechWindow) -> bool {
        let from = window.start as usize / self.piece;
        let to = (window.end as usize).div_ceil(self.piece).min(self.pieces);
        (from..to).any(|piece| self.audible[piece / BITS] >> (piece % BITS) & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silent_windows_are_found() {
        let mut audibility = Audibility::new(2, 10_000);
        // Silent up to 0.25 s, then heard on one side, then silent from 0.6 s on.
        let sample = |n: usize| if (2_500..6_000).contains(&n) { [0.0, 0.01] } else { [0.000_1, 0.0] };
        let samples: Vec<f32> = (0..100_500).flat_map(sample).collect();
        samples.chunks(2 * 333).for_each(|block| audibility.push(block));
        audibility.finish();
        for (start, end, audible) in [
            (0, 900, false),
            (2_000, 3_000, true),
            (7_000, 9_000, false),
            (5_999, 90_000, true),
            (80_000, 200_000, false),
        ] {
            assert_eq!(audibility.is_audible(SpeechWindow { start, end }), audible, "{start}");
        }
        assert!(!Audibility::new(1, 10_000).is_audible(SpeechWindow { start: 0, end: 10 }));
    }
}
