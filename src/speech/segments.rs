//! Segments of speech: hysteresis over the probabilities of windows, least lengths, and padding.
//!
//! The rules and their constants are those of Silero's own `get_speech_timestamps` with its defaults, so that segments are
//! the same. Pure logic, one window at a time: a segment comes out as soon as the pause after it is long enough.

use super::WINDOW;

/// Speech begins at a window with at least this probability,
const BEGINS: f32 = 0.5;
/// and pauses before one with less than this.
const PAUSES: f32 = 0.35;
/// A segment ends when speech has paused for this long, in samples: 100 ms.
const LEAST_PAUSE: u64 = 1_600;
/// Shorter segments are noise, in samples: 250 ms.
const LEAST_SPEECH: u64 = 4_000;
/// What is added at both ends, in samples: 30 ms.
const PADDING: u64 = 480;

// Two segments never touch, and padding never reaches beyond the sound so far.
const _: () = assert!(LEAST_PAUSE > 2 * PADDING);

/// A stretch of speech, in samples since the first one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpeechSegment {
    /// The first sample.
    pub start: u64,
    /// The sample after the last one.
    pub end: u64,
}

/// Finds segments in the probabilities of windows that follow one another.
#[derive(Debug, Clone, Default)]
pub struct SpeechSegmenter {
    windows: u64,
    /// Where the speech that is going on began.
    start: Option<u64>,
    /// Where it paused, if it does.
    pause: Option<u64>,
}

impl SpeechSegmenter {
    /// Takes the probability of the next window. Returns the segment whose end it shows, if any.
    pub fn push(&mut self, probability: f32) -> Option<SpeechSegment> {
        let now = self.windows * WINDOW as u64;
        self.windows += 1;
        if probability >= BEGINS {
            self.pause = None;
            self.start.get_or_insert(now);
            return None;
        }
        let start = self.start?;
        if probability >= PAUSES {
            return None;
        }
        let pause = *self.pause.get_or_insert(now);
        if now - pause < LEAST_PAUSE {
            return None;
        }
        (self.start, self.pause) = (None, None);
        padded(start, pause, now)
    }

    /// Ends the sound after `samples`, which may be fewer than those of all windows. Returns the segment that is going on
    /// then, which includes a pause that is shorter than one between segments.
    pub fn finish(self, samples: u64) -> Option<SpeechSegment> {
        self.start.and_then(|start| padded(start, samples, samples))
    }

    /// Up to which sample everything is known, whatever follows, and where the speech began that goes on until then. Speech
    /// that may still prove to be noise is not known.
    pub fn known(&self) -> (u64, Option<u64>) {
        let now = self.windows * WINDOW as u64;
        let Some(start) = self.start else { return (now.saturating_sub(PADDING), None) };
        let (padded, end) = (start.saturating_sub(PADDING), self.pause.unwrap_or(now));
        if end - start > LEAST_SPEECH { (end, Some(padded)) } else { (padded, None) }
    }
}

fn padded(start: u64, end: u64, samples: u64) -> Option<SpeechSegment> {
    let long_enough = end.saturating_sub(start) > LEAST_SPEECH;
    long_enough.then(|| SpeechSegment { start: start.saturating_sub(PADDING), end: (end + PADDING).min(samples) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(probabilities: &[f32], samples: u64) -> Vec<(u64, u64)> {
        let mut segmenter = SpeechSegmenter::default();
        let mut found: Vec<SpeechSegment> = probabilities.iter().filter_map(|&p| segmenter.push(p)).collect();
        found.extend(segmenter.finish(samples));
        found.iter().map(|s| (s.start, s.end)).collect()
    }

    /// Probabilities of runs of windows.
    fn runs(runs: &[(f32, usize)]) -> Vec<f32> {
        runs.iter().flat_map(|&(p, count)| std::iter::repeat_n(p, count)).collect()
    }

    const W: u64 = WINDOW as u64;

    #[test]
    fn speech_is_padded_at_both_ends() {
        let probabilities = runs(&[(0.1, 10), (0.9, 20), (0.1, 10)]);
        assert_eq!(segments(&probabilities, 40 * W), [(10 * W - 480, 30 * W + 480)]);
        // Not before the first sample, and not behind the last.
        assert_eq!(segments(&runs(&[(0.9, 20)]), 20 * W - 100), [(0, 20 * W - 100)]);
        assert_eq!(segments(&runs(&[(0.9, 20), (0.1, 2)]), 22 * W), [(0, 22 * W)]);
    }

    #[test]
    fn a_short_pause_and_a_doubtful_one_do_not_end_a_segment() {
        // 100 ms are more than three windows.
        assert_eq!(segments(&runs(&[(0.9, 10), (0.1, 4), (0.9, 10), (0.1, 9)]), 33 * W).len(), 1);
        assert_eq!(segments(&runs(&[(0.9, 10), (0.1, 5), (0.9, 10), (0.1, 9)]), 34 * W).len(), 2);
        assert_eq!(segments(&runs(&[(0.9, 10), (0.4, 50), (0.9, 10), (0.1, 9)]), 79 * W).len(), 1);
        // A pause goes on through doubtful windows, and ends only where speech comes back.
        let doubtful = runs(&[(0.9, 10), (0.1, 1), (0.4, 3), (0.1, 1), (0.9, 10), (0.1, 9)]);
        assert_eq!(segments(&doubtful, 34 * W).len(), 2);
    }

    /// Whatever comes, what was known before stays true.
    #[test]
    fn what_is_known_does_not_change() {
        let probabilities =
            runs(&[(0.1, 3), (0.9, 5), (0.1, 6), (0.9, 20), (0.1, 3), (0.4, 2), (0.9, 4), (0.1, 8), (0.9, 9)]);
        let whole = segments(&probabilities, probabilities.len() as u64 * W);
        let spoken = |at: u64| whole.iter().any(|&(start, end)| (start..end).contains(&at));
        let (mut segmenter, mut found, mut before) = (SpeechSegmenter::default(), Vec::new(), 0);
        for &p in &probabilities {
            found.extend(segmenter.push(p));
            let (until, since) = segmenter.known();
            assert!(until >= before && since.is_none_or(|since| since <= until));
            before = until;
            for at in (0..until).step_by(32) {
                let known =
                    found.iter().any(|s| (s.start..s.end).contains(&at)) || since.is_some_and(|since| at >= since);
                assert_eq!(known, spoken(at), "{at} of {until}");
            }
        }
        assert!(before > 55 * W);
    }

    #[test]
    fn short_noises_are_no_speech() {
        assert_eq!(segments(&runs(&[(0.1, 5), (0.9, 7), (0.1, 9)]), 21 * W), []);
        assert_eq!(segments(&runs(&[(0.1, 5), (0.9, 8), (0.1, 9)]), 22 * W), [(5 * W - 480, 13 * W + 480)]);
        assert_eq!(segments(&[], 0), []);
    }
}
