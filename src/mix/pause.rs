//! A programme that pauses: silence is put in, and the programme fades out before it and in again after it.

/// How long the programme fades, in seconds.
const FADE: f64 = 0.05;
/// Frames of silence at once.
const SILENCE: u64 = 8_192;

/// Puts pauses into a programme that comes block by block.
pub(crate) struct PausedProgramme {
    /// In order: the frame of the programme before which each begins, and its frames.
    pauses: Vec<(u64, u64)>,
    /// Pauses that are over.
    passed: usize,
    channels: usize,
    /// Frames of a fade.
    fade: u64,
    /// Frames of the programme so far.
    position: u64,
}

impl PausedProgramme {
    /// `pauses`: where each begins, in frames of the programme, and how many frames it lasts. `rate` in Hz.
    pub(crate) fn new(pauses: Vec<(u64, u64)>, channels: usize, rate: u32) -> PausedProgramme {
        let fade = ((FADE * f64::from(rate)).round() as u64).max(1);
        PausedProgramme { pauses, passed: 0, channels, fade, position: 0 }
    }

    /// Frames of the programme so far.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Takes whole frames of the programme, and hands them out with the pauses.
    ///
    /// # Errors
    /// Those of `out`.
    pub(crate) fn push<E>(
        &mut self,
        mut samples: &mut [f32],
        out: &mut dyn FnMut(&mut [f32]) -> Result<(), E>,
    ) -> Result<(), E> {
        while !samples.is_empty() {
            let frames = (samples.len() / self.channels) as u64;
            let before = match self.pauses.get(self.passed) {
                Some(&(at, length)) if at <= self.position => {
                    self.passed += 1;
                    silence(length, self.channels, out)?;
                    continue;
                }
                Some(&(at, _)) => frames.min(at - self.position),
                None => frames,
            };
            let (now, later) = samples.split_at_mut(before as usize * self.channels);
            self.fade(now);
            out(now)?;
            self.position += before;
            samples = later;
        }
        Ok(())
    }

    /// Hands out the pauses after the end.
    ///
    /// # Errors
    /// Those of `out`.
    pub(crate) fn finish<E>(&mut self, out: &mut dyn FnMut(&mut [f32]) -> Result<(), E>) -> Result<(), E> {
        let rest = self.pauses.split_off(self.passed.min(self.pauses.len()));
        rest.into_iter().try_for_each(|(_, length)| silence(length, self.channels, out))
    }

    /// Turns down the frames near a pause. They lie between the last pause and the next one.
    fn fade(&self, samples: &mut [f32]) {
        let last = self.passed.checked_sub(1).map(|last| self.pauses[last].0);
        let next = self.pauses.get(self.passed).map(|next| next.0);
        for (n, frame) in (self.position..).zip(samples.chunks_exact_mut(self.channels)) {
            let since = last.map_or(u64::MAX, |last| n - last);
            let until = next.map_or(u64::MAX, |next| next - n - 1);
            let near = since.min(until);
            if near < self.fade {
                let gain = near as f32 / self.fade as f32;
                frame.iter_mut().for_each(|sample| *sample *= gain);
            }
        }
    }
}

fn silence<E>(mut frames: u64, channels: usize, out: &mut dyn FnMut(&mut [f32]) -> Result<(), E>) -> Result<(), E> {
    while frames > 0 {
        let now = frames.min(SILENCE);
        out(&mut vec![0.0; now as usize * channels])?;
        frames -= now;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn paused(block: usize, pauses: &[(u64, u64)]) -> Vec<f32> {
        let mut programme = PausedProgramme::new(pauses.to_vec(), 2, 1_000);
        let mut all = Vec::new();
        let mut out = |samples: &mut [f32]| {
            all.extend_from_slice(samples);
            Ok::<(), Infallible>(())
        };
        for block in vec![1.0f32; 2 * 1_000].chunks_mut(2 * block) {
            programme.push(block, &mut out).unwrap();
        }
        programme.finish(&mut out).unwrap();
        assert_eq!(programme.position(), 1_000);
        all
    }

    #[test]
    fn pauses_are_silent_and_the_programme_fades() {
        let pauses = [(0, 10), (400, 20_000), (420, 5), (1_000, 30)];
        let all = paused(7, &pauses);
        assert_eq!(all.len(), 2 * (1_000 + 10 + 20_000 + 5 + 30));
        assert!(all == paused(1_000, &pauses));
        let left = |n: usize| all[2 * n];
        assert!((0..10).chain(410..20_410).chain(20_430..20_435).chain(21_015..21_045).all(|n| left(n) == 0.0));
        assert!((70..350).chain(20_490..20_960).all(|n| left(n) == 1.0));
        // Between two near pauses it stays quiet. No step is larger than that of a fade.
        assert!((20_410..20_430).all(|n| left(n) < 0.21));
        assert!(all.chunks(2).zip(all.chunks(2).skip(1)).all(|(a, b)| (a[0] - b[0]).abs() <= 0.0201 && a[0] == a[1]));
    }
}
