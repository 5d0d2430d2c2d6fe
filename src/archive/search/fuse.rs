//! One score from three: how similar a keyframe is to the query, how well its caption matches the words, and how well the text
//! on the screen does.
//!
//! The score is a convex combination (Bruch, Gai, Ingber, "An Analysis of Fusion Functions for Hybrid Retrieval", TOIS
//! 42:20, 2023), which preserves how much better one result is than the next. Reciprocal ranks lose that. The captions of
//! small models carry less than the embeddings, and with reciprocal ranks a search found fewer of the right pictures than
//! by embeddings alone.

/// Weight of the words beside the meaning, both relative to the best of the query. Chosen on 1,000 validation pictures of
/// COCO with `benches/search_quality.py`: up to 0.06, a search there finds no fewer pictures than by meaning alone, and on
/// Flickr8k it finds more.
pub(super) const WORDS_WEIGHT: f64 = 0.05;

/// Weight of the text on the screen if it has all words of the query: where unrelated pictures have half of the best cosine, a
/// moment that shows the whole query ranks beside the best picture. With fewer words it counts less, by the square of their
/// share: a sign with one word of a long query says little about what the query asks for.
pub(super) const SCREEN_WEIGHT: f64 = 0.5;

/// A lower best cosine counts as this for the text on the screen: no picture resembles a query of names, and what shows all of
/// its words comes first then.
const LEAST_COSINE: f64 = 0.4;

/// The best values of one query, which its scores are relative to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct FusionScale {
    /// The best cosine; below 0 it counts as 0.
    pub(super) cosine: f64,
    /// The best BM25. Words count for nothing unless it is above 0.
    pub(super) bm25: f64,
    /// The best BM25 of text on the screen, likewise.
    pub(super) screen: f64,
}

/// How well the text on the screen matches the words of a query.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ScreenScore {
    pub(super) bm25: f64,
    /// Share of the query's words that it has, 0 to 1.
    pub(super) words: f64,
}

impl FusionScale {
    /// The cosine, plus up to [`WORDS_WEIGHT`] of the best cosine for the words of the caption, plus up to [`SCREEN_WEIGHT`] of
    /// it, or of [`LEAST_COSINE`] if that is more, for the text on the screen.
    pub(super) fn fused(&self, cosine: f64, bm25: Option<f64>, screen: Option<ScreenScore>) -> f64 {
        let share = |bm25: Option<f64>, best: f64| bm25.filter(|_| best > 0.0).map_or(0.0, |bm25| bm25 / best);
        let words = WORDS_WEIGHT * share(bm25, self.bm25);
        let shown = screen.map_or(0.0, |screen| share(Some(screen.bm25), self.screen) * screen.words.powi(2));
        cosine + self.cosine.max(0.0) * words + self.cosine.max(LEAST_COSINE) * SCREEN_WEIGHT * shown
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_add_a_share_of_the_best() {
        let scale = FusionScale { cosine: 0.6, bm25: 8.0, screen: 4.0 };
        assert_eq!(scale.fused(0.5, None, None), 0.5);
        assert!((scale.fused(0.5, Some(8.0), None) - 0.53).abs() < 1e-12);
        assert!((scale.fused(0.5, Some(4.0), None) - 0.515).abs() < 1e-12);
        let below = FusionScale { cosine: -0.2, ..scale };
        assert_eq!(below.fused(-0.3, Some(8.0), None), -0.3);
        let all_words = ScreenScore { bm25: 4.0, words: 1.0 };
        assert!(
            below.fused(-0.3, None, Some(all_words)) > -0.2,
            "it shows the query, and others only resemble it little"
        );
        assert_eq!(FusionScale { bm25: 0.0, ..scale }.fused(0.5, Some(0.0), None), 0.5);
    }

    #[test]
    fn a_screen_with_all_words_counts_more_than_one_with_some() {
        let scale = FusionScale { cosine: 0.4, bm25: 8.0, screen: 4.0 };
        let shown = |words| scale.fused(0.2, None, Some(ScreenScore { bm25: 4.0, words }));
        assert!((shown(1.0) - 0.4).abs() < 1e-12, "beside the best picture");
        assert!((shown(0.5) - 0.25).abs() < 1e-12);
    }

    proptest! {
        #[test]
        fn more_never_hurts(best in -1.0f64..1.0, most in 0.0f64..20.0, a in -1.0f64..1.0, b in 0.0f64..1.0, more in 0.0f64..1.0) {
            let scale = FusionScale { cosine: best, bm25: most, screen: most };
            let words = Some(b * most);
            let screen = Some(ScreenScore { bm25: b * most, words: more });
            prop_assert!(scale.fused(a + more, words, screen) >= scale.fused(a, words, screen));
            prop_assert!(scale.fused(a, words, screen) >= scale.fused(a, words, None));
            prop_assert!(scale.fused(a, words, None) >= scale.fused(a, None, None));
            prop_assert!(scale.fused(a, Some(most), None) >= scale.fused(a, words, None));
            prop_assert!(scale.fused(a, Some(most), screen) <= a + WORDS_WEIGHT + SCREEN_WEIGHT + 1e-12);
        }
    }
}
