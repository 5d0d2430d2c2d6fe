//! The score of a caption: how likely it is to be right, from what the model knows about it.

use serde::Deserialize;

use super::support::WordSupport;

/// How a caption's evidence becomes a score from 0 to 1.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScoreSpec {
    /// Pairs of evidence and score, ascending. Scores between them are interpolated linearly, those outside are the
    /// nearest pair's.
    pub calibration: Vec<[f32; 2]>,
    /// Captions that score lower are not used, unless the user sets another minimum.
    pub default_min_score: f32,
    /// What the evidence is. Default: none, and it is the mean log-probability.
    #[serde(default)]
    pub evidence: Option<EvidenceSpec>,
}

/// The weights whose sum with a caption's values is its evidence. Each is 0 by default.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EvidenceSpec {
    /// Of the mean log-probability of the tokens.
    pub mean_logprob: f32,
    /// Of [`WordSupport::mean`].
    pub mean_support: f32,
    /// Of [`WordSupport::least`].
    pub least_support: f32,
    /// Of [`WordSupport::content_words`].
    pub content_words: f32,
}

impl EvidenceSpec {
    /// Weights by name.
    pub(crate) fn weights(&self) -> [(&'static str, f32); 4] {
        let EvidenceSpec { mean_logprob, mean_support, least_support, content_words } = *self;
        [
            ("mean_logprob", mean_logprob),
            ("mean_support", mean_support),
            ("least_support", least_support),
            ("content_words", content_words),
        ]
    }

    /// The evidence of a caption.
    fn of(&self, mean_logprob: f32, support: &WordSupport) -> f32 {
        self.mean_logprob * mean_logprob
            + self.mean_support * support.mean()
            + self.least_support * support.least()
            + self.content_words * support.content_words() as f32
    }
}

impl ScoreSpec {
    /// The score of a caption; `None` where its evidence is not a number or needs support that the model does not give.
    pub fn score(&self, mean_logprob: f32, support: Option<&WordSupport>) -> Option<f32> {
        let evidence = match &self.evidence {
            Some(weights) => weights.of(mean_logprob, support?),
            None => mean_logprob,
        };
        let points = &self.calibration;
        let (first, last) = (points.first()?, points.last()?);
        if evidence.is_nan() {
            return None;
        }
        if evidence <= first[0] {
            return Some(first[1]);
        }
        if evidence >= last[0] {
            return Some(last[1]);
        }
        let above = points.partition_point(|p| p[0] <= evidence);
        let ([x0, y0], [x1, y1]) = (points[above - 1], points[above]);
        Some(y0 + (y1 - y0) * ((evidence - x0) / (x1 - x0)))
    }

    /// Refuses a calibration that gives no scores. `support`: whether the model gives the support of words. The error is
    /// the cause.
    pub(crate) fn validate(&self, support: bool) -> Result<(), String> {
        let points = &self.calibration;
        let ascending = points.windows(2).all(|w| w[0][0] < w[1][0]);
        if points.is_empty() || !ascending || !points.iter().flatten().all(|v| v.is_finite()) {
            return Err("score.calibration must hold pairs whose first numbers ascend".into());
        }
        let Some(evidence) = &self.evidence else { return Ok(()) };
        if !support {
            return Err("score.evidence needs a mapper with \"support\": true".into());
        }
        let weights = evidence.weights().map(|(_, weight)| weight);
        if !weights.iter().all(|w| w.is_finite()) || weights.iter().all(|w| *w == 0.0) {
            return Err("score.evidence must hold finite weights that are not all 0".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(evidence: Option<EvidenceSpec>) -> ScoreSpec {
        ScoreSpec { calibration: vec![[-2.0, 0.1], [-1.0, 0.5], [0.0, 0.9]], default_min_score: 0.2, evidence }
    }

    #[test]
    fn scores_lie_on_the_calibration() {
        let spec = spec(None);
        assert_eq!(spec.score(-9.0, None), Some(0.1));
        assert_eq!(spec.score(-1.0, None), Some(0.5));
        assert_eq!(spec.score(-1.5, None), Some(0.3));
        assert_eq!(spec.score(1.0, None), Some(0.9));
        assert_eq!(spec.score(f32::NAN, None), None);
    }

    #[test]
    fn evidence_is_a_weighted_sum() {
        let support = WordSupport { tokens: vec![0.0, -1.0, -0.5, 0.0] };
        let evidence =
            EvidenceSpec { mean_logprob: 0.5, mean_support: 1.0, least_support: 0.25, content_words: -0.125 };
        // -0.5 × 0.5 - 0.75 - 0.25 - 0.25 = -1.5
        assert_eq!(spec(Some(evidence)).score(-0.5, Some(&support)), Some(0.3));
        assert_eq!(spec(Some(evidence)).score(-0.5, None), None);
        let only = EvidenceSpec { least_support: 1.0, ..EvidenceSpec::default() };
        assert_eq!(spec(Some(only)).score(-0.5, Some(&support)), Some(0.5));
        // Without the evidence, support changes nothing.
        assert_eq!(spec(None).score(-1.5, Some(&support)), Some(0.3));
    }
}
