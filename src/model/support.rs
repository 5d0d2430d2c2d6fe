//! Word support: what a model's word detector says about the words of a caption, how the search weighs it, and what it
//! leaves of a caption.
//!
//! The support of a word is the log-probability that somebody would use it for the picture: at most 0, and exactly 0 for
//! words that say nothing about a picture.

use serde::Deserialize;

/// How the search weighs the word detector against the decoder, as shallow fusion does in speech recognition, and where
/// captions are cut.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SupportSpec {
    /// What a token's support is multiplied by before it is added to the token's log-probability; at least 0. With 0 the
    /// search is that of the decoder alone.
    pub weight: f32,
    /// The search chooses each next token among this many of the decoder's likeliest; from the width of the beam to the
    /// size of the vocabulary.
    pub candidates: usize,
    /// A caption is cut before the first content word whose support is lower; below 0. Default: none, and captions keep
    /// such words.
    #[serde(default)]
    pub least: Option<f32>,
    /// Tokens that no caption may end with: they are dropped from its end, and a caption that has nothing but such tokens
    /// without support does not stop there. Default: none.
    #[serde(default)]
    pub open: Vec<i64>,
    /// Whether a caption may use a content word twice. If not, it is cut before the second time. Default: true.
    #[serde(default = "default_repeats")]
    pub repeats: bool,
}

fn default_repeats() -> bool {
    true
}

impl SupportSpec {
    /// Weighs the support, and cuts no caption.
    pub fn new(weight: f32, candidates: usize) -> SupportSpec {
        SupportSpec { weight, candidates, least: None, open: Vec::new(), repeats: default_repeats() }
    }

    /// Refuses values that no search can have. The error is the cause.
    pub(crate) fn validate(&self, beam: usize, vocab: usize) -> Result<(), String> {
        if !(self.weight.is_finite() && self.weight >= 0.0) {
            return Err("decoding.support.weight must be at least 0".into());
        }
        if !(beam..=vocab).contains(&self.candidates) {
            return Err(format!(
                "decoding.support.candidates is {}; it must be from {beam}, the width of the beam, to {vocab}, the size of \
                 the vocabulary",
                self.candidates
            ));
        }
        if self.least.is_some_and(|least| !(least.is_finite() && least < 0.0)) {
            return Err("decoding.support.least must be finite and below 0".into());
        }
        let in_vocab = |&token: &i64| usize::try_from(token).is_ok_and(|token| token < vocab);
        if !self.open.iter().all(in_vocab) {
            return Err("decoding.support.open must hold ids of the vocabulary".into());
        }
        Ok(())
    }
}

/// The support of each token of a caption.
#[derive(Debug, Clone, PartialEq)]
pub struct WordSupport {
    /// In the order of the tokens: log-probabilities, and 0 for tokens that say nothing about a picture.
    pub tokens: Vec<f32>,
}

impl WordSupport {
    /// Mean over the words that say something about the picture; 0 if there are none.
    pub fn mean(&self) -> f32 {
        match self.content_words() {
            0 => 0.0,
            count => self.content().sum::<f32>() / count as f32,
        }
    }

    /// The least support of a word that says something about the picture; 0 if there are none.
    pub fn least(&self) -> f32 {
        self.content().fold(0.0, f32::min)
    }

    /// Number of words that say something about the picture.
    pub fn content_words(&self) -> usize {
        self.content().count()
    }

    fn content(&self) -> impl Iterator<Item = f32> + '_ {
        self.tokens.iter().copied().filter(|support| *support < 0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn function_words_do_not_count() {
        let support = WordSupport { tokens: vec![0.0, -1.0, 0.0, -3.0, -0.0] };
        assert_eq!((support.mean(), support.least(), support.content_words()), (-2.0, -3.0, 2));
        let none = WordSupport { tokens: vec![0.0, 0.0] };
        assert_eq!((none.mean(), none.least(), none.content_words()), (0.0, 0.0, 0));
    }
}
