//! What a keyframe is like and what its caption says, made one score: a convex combination (Bruch, Gai, Ingber, "An Analysis
//! of Fusion Functions for Hybrid Retrieval", TOIS 42:20, 2023), which keeps how much better one result is than the next.
//! Reciprocal ranks throw that away: with captions that know less than embeddings, as those of small models do, they found
//! fewer of the right pictures than the embeddings alone.

/// Weight of the words beside the meaning, both taken relative to their best. Chosen on 1,000 val pictures of COCO
/// (`benches/search_quality.py`): up to 0.06 no fewer pictures are found there than by meaning alone, and on Flickr8k more.
pub const WEIGHT: f64 = 0.05;

/// What scores of one query are relative to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    /// The best cosine; what is below 0 counts as 0.
    pub cosine: f64,
    /// The best BM25, above 0; else words count for nothing.
    pub bm25: f64,
}

impl Scale {
    /// The cosine, and for the words of the caption at most [`WEIGHT`] of the best cosine more.
    pub fn fused(&self, cosine: f64, bm25: Option<f64>) -> f64 {
        let share = bm25.filter(|_| self.bm25 > 0.0).map_or(0.0, |bm25| bm25 / self.bm25);
        cosine + WEIGHT * self.cosine.max(0.0) * share
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_add_a_share_of_the_best() {
        let scale = Scale { cosine: 0.6, bm25: 8.0 };
        assert_eq!(scale.fused(0.5, None), 0.5);
        assert!((scale.fused(0.5, Some(8.0)) - 0.53).abs() < 1e-12);
        assert!((scale.fused(0.5, Some(4.0)) - 0.515).abs() < 1e-12);
        assert_eq!(Scale { cosine: -0.2, bm25: 8.0 }.fused(-0.3, Some(8.0)), -0.3);
        assert_eq!(Scale { cosine: 0.6, bm25: 0.0 }.fused(0.5, Some(0.0)), 0.5);
    }

    proptest! {
        #[test]
        fn more_never_hurts(best in -1.0f64..1.0, most in 0.0f64..20.0, a in -1.0f64..1.0, b in 0.0f64..1.0, more in 0.0f64..1.0) {
            let scale = Scale { cosine: best, bm25: most };
            let words = Some(b * most);
            prop_assert!(scale.fused(a + more, words) >= scale.fused(a, words));
            prop_assert!(scale.fused(a, words) >= scale.fused(a, None));
            prop_assert!(scale.fused(a, Some(most)) >= scale.fused(a, words));
            prop_assert!(scale.fused(a, Some(most)) <= a + WEIGHT + 1e-12);
        }
    }
}
