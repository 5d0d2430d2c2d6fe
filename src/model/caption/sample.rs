//! Random draws that are the same everywhere: a token by its probability, and a seed for each picture.

/// SplitMix64 (Steele, Lea and Flood, 2014): small, and the same numbers on every machine. The constants are the
/// algorithm's own.
#[derive(Debug, Clone)]
pub(crate) struct SplitMix(pub(crate) u64);

impl SplitMix {
    /// The next 64 bits.
    pub(crate) fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to below 1, in steps of an `f64`'s 53 bits.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.draw() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Draws one of the first `top_k` tokens of a row by its probability at `temperature`. Returns its log-probability,
/// which is the model's own at temperature 1, and its id.
pub(crate) fn draw_token(
    row: impl Iterator<Item = (f32, i64)>,
    top_k: usize,
    temperature: f32,
    random: &mut SplitMix,
) -> (f32, i64) {
    let row: Vec<(f32, i64)> = row.take(top_k).collect();
    let Some(&(first, id)) = row.first() else { return (f32::NEG_INFINITY, 0) };
    if top_k <= 1 {
        return (first, id);
    }
    let weight = |logprob: f32| f64::from((logprob - first) / temperature).exp();
    let mut left = random.unit() * row.iter().map(|(l, _)| weight(*l)).sum::<f64>();
    for &(logprob, id) in &row {
        left -= weight(logprob);
        if left < 0.0 {
            return (logprob, id);
        }
    }
    (first, id)
}

/// A picture's own seed. It depends on the user's seed and on the picture alone, so that the same picture draws the
/// same tokens whatever comes beside or before it.
pub(crate) fn picture_seed(seed: u64, embedding: &[f32]) -> u64 {
    embedding.iter().fold(seed, |hash, v| SplitMix(hash ^ u64::from(v.to_bits())).draw())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_follow_the_probabilities() {
        let row = [(0.5f32.ln(), 7), (0.3f32.ln(), 8), (0.2f32.ln(), 9)];
        let mut random = SplitMix(1);
        let mut counts = [0; 10];
        for _ in 0..10_000 {
            counts[draw_token(row.into_iter(), 3, 1.0, &mut random).1 as usize] += 1;
        }
        assert!((4_800..5_200).contains(&counts[7]) && (2_800..3_200).contains(&counts[8]), "{counts:?}");
    }
}
