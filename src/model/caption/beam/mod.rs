//! Search for the best caption: beam search and greedy search by the rules of released ClipCap, and seeded sampling.
//!
//! Pure logic over a [`LanguageModel`]. Many pictures are searched at once. A hypothesis that has stopped costs
//! nothing more, a picture that is done leaves the batch, and others join when the model has room. A picture's search
//! uses that picture's rows alone, so its neighbours do not matter. Pictures finish in any order. Memory: tokens and
//! a few numbers for each hypothesis of the pictures in the batch.
//!
//! The rules: hypotheses are compared by mean log-probability, and the length counts the stop token. A hypothesis
//! that has stopped keeps its score and its length. A picture is done when all its hypotheses have stopped, or at the
//! length limit. Sums are kept as the released code keeps them (`total = mean × length`, in f32). Of two candidates
//! that are exactly equal, the one of the earlier hypothesis comes first, then the one with the lower token. A
//! runtime whose logits differ by rounding may order candidates differently that are closer to each other than about
//! 1e-6.

use std::cmp::Ordering;

use super::language_model::{LanguageModel, StepRow, TopTokens};
use super::options::{SearchOptions, Strategy};
use super::sample::{SplitMix, draw_token};
use crate::error::Result;

/// The tokens of a picture's best caption.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TokenSequence {
    /// Token ids, including the stop token if there is one.
    pub(crate) ids: Vec<i64>,
    /// Mean natural log-probability of a token.
    pub(crate) mean_logprob: f32,
}

/// Finds a caption for each picture that joins. `done` receives it with the picture's number.
pub(crate) fn search<M: LanguageModel + ?Sized>(
    model: &mut M,
    options: &SearchOptions,
    mut done: impl FnMut(usize, TokenSequence) -> Result<()>,
) -> Result<()> {
    let k = options.candidates();
    // The pictures in the batch, in the order in which they joined.
    let mut batch: Vec<PictureSearch> = Vec::new();
    let mut joined = 0;
    let mut rows = Vec::new();
    loop {
        let live: Vec<usize> = batch.iter().map(|p| p.number).collect();
        let (seeds, top) = model.join(&live, k)?;
        if seeds.is_empty() && batch.is_empty() {
            return Ok(());
        }
        let top = apply_temperature(top, options);
        for (row, seed) in seeds.into_iter().enumerate() {
            batch.push(PictureSearch::new(joined, seed, top.row(row), options));
            joined += 1;
        }
        release_finished(&mut batch, options, &mut done)?;
        rows.clear();
        batch.iter().for_each(|picture| picture.rows(&mut rows));
        if rows.is_empty() {
            continue;
        }
        let top = apply_temperature(model.step(&rows, k)?, options);
        let mut row = 0;
        for picture in &mut batch {
            row = picture.advance(&top, row, options);
        }
        release_finished(&mut batch, options, &mut done)?;
    }
}

/// Removes finished pictures from the batch and hands their captions on.
fn release_finished(
    batch: &mut Vec<PictureSearch>,
    options: &SearchOptions,
    done: &mut impl FnMut(usize, TokenSequence) -> Result<()>,
) -> Result<()> {
    for picture in batch.iter().filter(|p| p.is_done(options)) {
        done(picture.number, picture.best())?;
    }
    batch.retain(|p| !p.is_done(options));
    Ok(())
}

/// Turns log-probabilities into those at the search's temperature. Their order stays.
fn apply_temperature(mut top: TopTokens, options: &SearchOptions) -> TopTokens {
    if options.rescales() && top.k > 0 {
        for row in top.logprob.chunks_exact_mut(top.k) {
            let best = row[0] / options.temperature;
            let sum: f64 = row.iter().map(|l| f64::from(l / options.temperature - best).exp()).sum();
            let log = sum.ln() as f32;
            row.iter_mut().for_each(|l| *l = *l / options.temperature - best - log);
        }
    }
    top
}

/// The search for one picture's caption.
struct PictureSearch {
    number: usize,
    /// Tokens of its longest hypotheses.
    steps: usize,
    hypotheses: Hypotheses,
}

enum Hypotheses {
    /// Of a beam search, best first.
    Beam(Vec<Hypothesis>),
    /// Of greedy search and sampling.
    Single(SingleSequence),
}

/// One of a beam's sequences.
#[derive(Debug, Clone)]
struct Hypothesis {
    ids: Vec<i64>,
    /// Tokens that count: up to the stop token, and including it.
    length: usize,
    /// Sum of log-probabilities.
    total: f32,
    stopped: bool,
    /// The place of the hypothesis that it continues.
    source: usize,
}

impl Hypothesis {
    fn mean(&self) -> f32 {
        self.total / self.length as f32
    }
}

struct SingleSequence {
    ids: Vec<i64>,
    /// Sum of log-probabilities.
    total: f32,
    random: SplitMix,
}

impl SingleSequence {
    /// Appends a token of the row.
    fn extend(&mut self, row: impl Iterator<Item = (f32, i64)>, options: &SearchOptions) {
        let (logprob, id) = draw_token(row, options.candidates(), options.temperature, &mut self.random);
        self.ids.push(id);
        self.total += logprob;
    }
}

/// A hypothesis that the next beam may hold.
struct BeamCandidate {
    mean: f32,
    /// The place of the hypothesis that it continues.
    source: usize,
    /// The token that it gains; 0 if its source has stopped.
    token: i64,
}

impl PictureSearch {
    /// `first`: the likeliest tokens after the prefix.
    fn new(
        number: usize,
        seed: u64,
        first: impl Iterator<Item = (f32, i64)>,
        options: &SearchOptions,
    ) -> PictureSearch {
        let hypotheses = match options.strategy {
            Strategy::Beam(_) => Hypotheses::Beam(
                first
                    .take(options.width())
                    .map(|(total, id)| {
                        let stopped = options.stops(id);
                        Hypothesis { ids: vec![id], length: 1, total, stopped, source: 0 }
                    })
                    .collect(),
            ),
            Strategy::Greedy | Strategy::Sample { .. } => {
                let mut sequence = SingleSequence { ids: Vec::new(), total: 0.0, random: SplitMix(seed) };
                sequence.extend(first, options);
                Hypotheses::Single(sequence)
            }
        };
        PictureSearch { number, steps: 1, hypotheses }
    }

    fn is_done(&self, options: &SearchOptions) -> bool {
        self.steps >= options.max_tokens
            || match &self.hypotheses {
                Hypotheses::Beam(all) => all.iter().all(|h| h.stopped),
                Hypotheses::Single(sequence) => sequence.ids.last().is_none_or(|id| options.stops(*id)),
            }
    }

    fn best(&self) -> TokenSequence {
        match &self.hypotheses {
            Hypotheses::Beam(all) => {
                // The first of the best: `reduce` moves on only where a later one is better.
                let best = all.iter().reduce(|a, b| if b.mean() > a.mean() { b } else { a });
                let nothing = || TokenSequence { ids: Vec::new(), mean_logprob: f32::NEG_INFINITY };
                best.map_or_else(nothing, |h| TokenSequence { ids: h.ids.clone(), mean_logprob: h.mean() })
            }
            Hypotheses::Single(SingleSequence { ids, total, .. }) => {
                TokenSequence { ids: ids.clone(), mean_logprob: total / ids.len().max(1) as f32 }
            }
        }
    }

    /// Appends a row for each hypothesis that has not stopped.
    fn rows(&self, out: &mut Vec<StepRow>) {
        let picture = self.number;
        let mut push = |place, source, ids: &[i64]| {
            if let Some(&token) = ids.last() {
                out.push(StepRow { picture, place, source, token });
            }
        };
        match &self.hypotheses {
            Hypotheses::Beam(all) => {
                let running = all.iter().enumerate().filter(|(_, h)| !h.stopped);
                running.for_each(|(place, h)| push(place, h.source, &h.ids));
            }
            Hypotheses::Single(sequence) => push(0, 0, &sequence.ids),
        }
    }

    /// Extends the hypotheses by a token. The picture's rows in `top` begin at `row`; returns the row after them.
    fn advance(&mut self, top: &TopTokens, row: usize, options: &SearchOptions) -> usize {
        self.steps += 1;
        match &mut self.hypotheses {
            Hypotheses::Single(sequence) => {
                sequence.extend(top.row(row), options);
                row + 1
            }
            Hypotheses::Beam(all) => {
                let (candidates, next_row) = candidates(all, top, row, options.width());
                *all = candidates.iter().map(|c| c.hypothesis(all, options)).collect();
                next_row
            }
        }
    }
}

impl BeamCandidate {
    fn hypothesis(&self, beam: &[Hypothesis], options: &SearchOptions) -> Hypothesis {
        let from = &beam[self.source];
        let length = from.length + usize::from(!from.stopped);
        let mut ids = Vec::with_capacity(from.ids.len() + 1);
        ids.extend_from_slice(&from.ids);
        if !from.stopped {
            ids.push(self.token);
        }
        let stopped = from.stopped || options.stops(self.token);
        Hypothesis { ids, length, total: self.mean * length as f32, stopped, source: self.source }
    }
}

/// The best `width` continuations of a beam, best first, and the row after the picture's own in `top`.
fn candidates(beam: &[Hypothesis], top: &TopTokens, mut row: usize, width: usize) -> (Vec<BeamCandidate>, usize) {
    let mut candidates: Vec<BeamCandidate> = Vec::with_capacity(width * width);
    for (source, h) in beam.iter().enumerate() {
        if h.stopped {
            candidates.push(BeamCandidate { mean: h.mean(), source, token: 0 });
        } else {
            let length = (h.length + 1) as f32;
            let next = top.row(row).take(width);
            candidates.extend(next.map(|(logprob, token)| BeamCandidate {
                mean: (h.total + logprob) / length,
                source,
                token,
            }));
            row += 1;
        }
    }
    candidates.sort_by(|a, b| {
        let likeliest_first = b.mean.partial_cmp(&a.mean).unwrap_or(Ordering::Equal);
        likeliest_first.then((a.source, a.token).cmp(&(b.source, b.token)))
    });
    candidates.truncate(width);
    (candidates, row)
}

#[cfg(test)]
mod tests;
