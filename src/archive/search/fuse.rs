//! One score from two: how similar a keyframe is to the query, and how well its caption matches the words.
//!
//! The score is a convex combination (Bruch, Gai, Ingber, "An Analysis of Fusion Functions for Hybrid Retrieval", TOIS
//! 42:20, 2023), which preserves how much better one result is than the next. Reciprocal ranks lose that. The captions of
//! small models carry less than the embeddings, and with reciprocal ranks a search found fewer of the right pictures than
//! by embeddings alone.

/// Weight of the words beside the meaning, both relative to the best of the query. Chosen on 1,000 validation pictures of
/// COCO with `benches/search_quality.py`: up to 0.06, a search there finds no fewer pictures than by meaning alone, and on
/// Flickr8k it finds more.
pub(super) const WORDS_WEIGHT: f64 = 0.05;

/// The best values of one query, which its scores are relative to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct FusionScale {
    /// The best cosine; below 0 it counts as 0.
    pub(super) cosine: f64,
    /// The best BM25. Words count for nothing unless it is above 0.
    pub(super) bm25: f64,
}

impl FusionScale {
    /// The cosine, plus up to [`WORDS_WEIGHT`] of the best cosine for the words of the caption.
    pub(super) fn fused(&self, cosine: f64, bm25: Option<f64>) -> f64 {
        let share = bm25.filter(|_| self.bm25 > 0.0).map_or(0.0, |bm25| bm25 / self.bm25);
        cosine + WORDS_WEIGHT * self.cosine.max(0.0) * share
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_add_a_share_of_the_best() {
        let scale = FusionScale { cosine: 0.6, bm25: 8.0 };
        assert_eq!(scale.fused(0.5, None), 0.5);
        assert!((scale.fused(0.5, Some(8.0)) - 0.53).abs() < 1e-12);
        assert!((scale.fused(0.5, Some(4.0)) - 0.515).abs() < 1e-12);
        assert_eq!(FusionScale { cosine: -0.2, bm25: 8.0 }.fused(-0.3, Some(8.0)), -0.3);
        assert_eq!(FusionScale { cosine: 0.6, bm25: 0.0 }.fused(0.5, Some(0.0)), 0.5);
    }

    proptest! {
        #[test]
        fn more_never_hurts(best in -1.0f64..1.0, most in 0.0f64..20.0, a in -1.0f64..1.0, b in 0.0f64..1.0, more in 0.0f64..1.0) {
            let scale = FusionScale { cosine: best, bm25: most };
            let words = Some(b * most);
            prop_assert!(scale.fused(a + more, words) >= scale.fused(a, words));
            prop_assert!(scale.fused(a, words) >= scale.fused(a, None));
            prop_assert!(scale.fused(a, Some(most)) >= scale.fused(a, words));
            prop_assert!(scale.fused(a, Some(most)) <= a + WORDS_WEIGHT + 1e-12);
        }
    }
}
