//! Speech in less time, at the same pitch: overlap and add, where each piece is taken from where it fits the one before best
//! (WSOLA).

/// Length of a piece, in seconds: a few periods of a voice.
const PIECE: f64 = 0.030;
/// How far from its place a piece may be taken, in seconds: a period of a deep voice.
const SEARCH: f64 = 0.010;

/// The samples in `1 / speed` of their time. `rate` is in Hz, `speed` at least 1.
pub(crate) fn stretch(samples: &[f32], rate: u32, speed: f64) -> Vec<f32> {
    let half = (PIECE * f64::from(rate) / 2.0).round() as usize;
    let search = (SEARCH * f64::from(rate)).round() as usize;
    if speed <= 1.0 || half < 2 || samples.len() < 4 * half + 2 * search {
        return samples.to_vec();
    }
    let length = (samples.len() as f64 / speed).round() as usize;
    // The window of a piece and that of the next add up to one.
    let fade = |n: usize| 0.5 - 0.5 * (std::f64::consts::PI * (n as f64 + 0.5) / half as f64).cos();
    let rise: Vec<f32> = (0..half).map(|n| fade(n) as f32).collect();
    let mut out = samples[..half].to_vec();
    // The first half of each piece overlaps the second half of the one before.
    let mut previous = 0;
    while out.len() < length {
        let natural = previous + half;
        let target = (out.len() as f64 * speed).round() as usize;
        let last = samples.len() - 2 * half;
        let from = target.saturating_sub(search).min(last);
        let to = (target + search).min(last);
        let wanted = &samples[natural..natural + half];
        let best = best_match(samples, wanted, from..=to);
        let faded = wanted.iter().zip(&samples[best..best + half]).zip(&rise);
        out.extend(faded.map(|((old, new), rise)| old * (1.0 - rise) + new * rise));
        previous = best;
        if best >= last {
            break;
        }
    }
    // What comes next without a seam.
    out.extend_from_slice(&samples[(previous + half).min(samples.len())..]);
    out.truncate(length.max(half));
    out
}

/// Where in `places` the samples resemble `wanted` most.
fn best_match(samples: &[f32], wanted: &[f32], places: std::ops::RangeInclusive<usize>) -> usize {
    let likeness = |at: usize| {
        let piece = &samples[at..at + wanted.len()];
        // Every second sample is enough to compare speech.
        let pairs = || piece.iter().zip(wanted).step_by(2);
        let product: f32 = pairs().map(|(a, b)| a * b).sum();
        let energy: f32 = pairs().map(|(a, _)| a * a).sum();
        product / (energy + 1e-6).sqrt()
    };
    let start = *places.start();
    let mut best = (f32::MIN, start);
    for at in places {
        let like = likeness(at);
        if like > best.0 {
            best = (like, at);
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Zero crossings upwards, in Hz.
    fn pitch(samples: &[f32], rate: u32) -> f64 {
        let crossings = samples.windows(2).filter(|w| w[0] < 0.0 && w[1] >= 0.0).count();
        crossings as f64 * f64::from(rate) / samples.len() as f64
    }

    #[test]
    fn the_pitch_stays_and_the_time_shrinks() {
        let rate = 22_050;
        let tone: Vec<f32> =
            (0..rate * 2).map(|n| 0.5 * (n as f32 * 180.0 * std::f32::consts::TAU / rate as f32).sin()).collect();
        for speed in [1.05, 1.2, 1.35] {
            let fast = stretch(&tone, rate, speed);
            let want = tone.len() as f64 / speed;
            assert!((fast.len() as f64 - want).abs() < 2.0, "{speed}: {} and not {want}", fast.len());
            assert!((pitch(&fast, rate) - 180.0).abs() < 3.0, "{speed}: {}", pitch(&fast, rate));
            // No click: a tone has no larger steps than its own.
            let step = |s: &[f32]| s.windows(2).map(|w| (w[0] - w[1]).abs()).fold(0.0, f32::max);
            assert!(step(&fast) < 1.3 * step(&tone), "{speed}");
        }
    }

    #[test]
    fn what_is_short_or_slow_stays() {
        assert_eq!(stretch(&[0.1; 50], 22_050, 1.3), [0.1; 50]);
        assert_eq!(stretch(&[0.1; 50_000], 22_050, 1.0).len(), 50_000);
        for length in [2_000, 1_764, 1_763, 1_765, 5_001] {
            stretch(&vec![0.1; length], 22_050, 1.35);
        }
    }
}
