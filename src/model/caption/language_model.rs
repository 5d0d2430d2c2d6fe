//! What the search asks of a language model: prefixes of pictures, then one token at a time for each hypothesis.

use crate::error::{Error, Result};
use crate::interrupt::Interrupt;

/// The likeliest next tokens of each row, likeliest first; of equally likely ones the lower id comes first.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TopTokens {
    /// Tokens in a row.
    pub(crate) k: usize,
    /// `rows × k` log-probabilities, over the whole vocabulary.
    pub(crate) logprob: Vec<f32>,
    /// `rows × k` token ids.
    pub(crate) id: Vec<i64>,
}

impl TopTokens {
    /// No rows.
    pub(crate) fn empty(k: usize) -> TopTokens {
        TopTokens { k, logprob: Vec::new(), id: Vec::new() }
    }

    /// Log-probability and id of each token in a row.
    pub(crate) fn row(&self, row: usize) -> impl Iterator<Item = (f32, i64)> + '_ {
        let span = row * self.k..(row + 1) * self.k;
        self.logprob[span.clone()].iter().copied().zip(self.id[span].iter().copied())
    }
}

/// A hypothesis that the next step extends by a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StepRow {
    /// Pictures are numbered from 0 in the order in which they joined.
    pub(crate) picture: usize,
    /// Its place among the picture's hypotheses, below the width of the search.
    pub(crate) place: usize,
    /// The place, in the picture's previous step, of the hypothesis that it continues; 0 if the picture has just
    /// joined.
    pub(crate) source: usize,
    /// The token that the hypothesis has gained.
    pub(crate) token: i64,
}

/// A picture that has just joined.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct JoinedPicture {
    /// For draws.
    pub(crate) seed: u64,
    /// The support of each word of the vocabulary; empty if the model has no word detector.
    pub(crate) support: Vec<f32>,
}

/// A language model that answers for many pictures at once.
pub(crate) trait LanguageModel {
    /// Lets pictures join the batch, as many as there are and as there is room for, and reads their prefixes. Returns
    /// the new pictures and a row of tokens for each.
    ///
    /// `live` are the pictures that remain in the batch, ascending. If there are none, an empty answer means that no
    /// picture will come any more.
    fn join(&mut self, live: &[usize], k: usize) -> Result<(Vec<JoinedPicture>, TopTokens)>;

    /// Extends each hypothesis by its token and returns a row of next tokens for each. The rows of a picture are
    /// adjacent, by ascending place.
    fn step(&mut self, rows: &[StepRow], k: usize) -> Result<TopTokens>;
}

/// A language model that a flag stops, before its next token.
pub(crate) struct StoppableModel<'a, M: ?Sized> {
    pub(crate) model: &'a mut M,
    pub(crate) interrupt: &'a Interrupt,
}

impl<M: ?Sized> StoppableModel<'_, M> {
    fn check(&self) -> Result<()> {
        if self.interrupt.is_set() { Err(Error::Interrupted) } else { Ok(()) }
    }
}

impl<M: LanguageModel + ?Sized> LanguageModel for StoppableModel<'_, M> {
    fn join(&mut self, live: &[usize], k: usize) -> Result<(Vec<JoinedPicture>, TopTokens)> {
        self.check()?;
        self.model.join(live, k)
    }

    fn step(&mut self, rows: &[StepRow], k: usize) -> Result<TopTokens> {
        self.check()?;
        self.model.step(rows, k)
    }
}
