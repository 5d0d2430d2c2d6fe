//! Search for the best caption: beam search and greedy search by the rules of released ClipCap, and seeded sampling.
//!
//! Pure logic over a [`LanguageModel`]. Many pictures are searched at once. A hypothesis that has stopped costs
//! nothing more, a picture that is done leaves the batch, and others join when the model has room. A picture's search
//! uses that picture's rows alone, so its neighbours do not matter. Pictures finish in any order. Memory: tokens and
//! a few numbers for each hypothesis of the pictures in the batch, and the support of each word for each picture.
//!
//! The value of a token is its log-probability. If the model has a word detector, the token's weighted
//! [support](crate::model::support) is added, and the best tokens are chosen among more candidates of each hypothesis.
//! What is reported is the log-probability alone.
//!
//! The rules: hypotheses are compared by mean value, and the length counts the stop token. A hypothesis
//! that has stopped keeps its score and its length. A picture is done when all its hypotheses have stopped, or at the
//! length limit. Sums are kept as the released code keeps them (`total = mean × length`, in f32). Of two candidates
//! that are exactly equal, the one of the earlier hypothesis comes first, then the one with the lower token. A
//! runtime whose logits differ by rounding may order candidates differently that are closer to each other than about
//! 1e-6.

use std::cmp::Ordering;

use super::language_model::{JoinedPicture, LanguageModel, StepRow, TopTokens};
use super::options::{SearchOptions, Strategy};
use super::sample::{SplitMix, draw_token};
use crate::error::Result;
use crate::model::support::WordSupport;

/// The tokens of a picture's best caption.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TokenSequence {
    /// Token ids, including the stop token if there is one.
    pub(crate) ids: Vec<i64>,
    /// Mean natural log-probability of a token.
    pub(crate) mean_logprob: f32,
    /// Natural log-probability of each token.
    pub(crate) logprobs: Vec<f32>,
    /// How far the picture supports each token, if the model has a word detector.
    pub(crate) support: Option<WordSupport>,
}

/// Finds a caption for each picture that joins. `done` receives it with the picture's number.
pub(crate) fn search<M: LanguageModel + ?Sized>(
    model: &mut M,
    options: &SearchOptions,
    done: impl FnMut(usize, TokenSequence) -> Result<()>,
) -> Result<()> {
    search_for(model, options, PictureSearch::best, done)
}

/// As [`search`], with all hypotheses that a picture has at the end, the best first.
pub(crate) fn search_ranked<M: LanguageModel + ?Sized>(
    model: &mut M,
    options: &SearchOptions,
    done: impl FnMut(usize, Vec<TokenSequence>) -> Result<()>,
) -> Result<()> {
    search_for(model, options, PictureSearch::ranked, done)
}

/// Finds what `take` takes of each finished search.
fn search_for<M: LanguageModel + ?Sized, T>(
    model: &mut M,
    options: &SearchOptions,
    take: fn(&PictureSearch) -> T,
    mut done: impl FnMut(usize, T) -> Result<()>,
) -> Result<()> {
    let k = options.returned_tokens();
    // The pictures in the batch, in the order in which they joined.
    let mut batch: Vec<PictureSearch> = Vec::new();
    let mut joined = 0;
    let mut rows = Vec::new();
    loop {
        let live: Vec<usize> = batch.iter().map(|p| p.number).collect();
        let (new, top) = model.join(&live, k)?;
        if new.is_empty() && batch.is_empty() {
            return Ok(());
        }
        let top = apply_temperature(top, options);
        for (row, picture) in new.into_iter().enumerate() {
            batch.push(PictureSearch::new(joined, picture, top.row(row), options));
            joined += 1;
        }
        release_finished(&mut batch, options, take, &mut done)?;
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
        release_finished(&mut batch, options, take, &mut done)?;
    }
}

/// Removes finished pictures from the batch and hands on what `take` takes of them.
fn release_finished<T>(
    batch: &mut Vec<PictureSearch>,
    options: &SearchOptions,
    take: fn(&PictureSearch) -> T,
    done: &mut impl FnMut(usize, T) -> Result<()>,
) -> Result<()> {
    for picture in batch.iter().filter(|p| p.is_done(options)) {
        done(picture.number, take(picture))?;
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
    /// The support of each word; empty if the model has no word detector.
    support: Vec<f32>,
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
    /// Sum of values.
    total: f32,
    /// Sum of log-probabilities, and each of them.
    logprob: f32,
    logprobs: Vec<f32>,
    stopped: bool,
    /// The place of the hypothesis that it continues.
    source: usize,
}

impl Hypothesis {
    fn mean(&self) -> f32 {
        self.total / self.length as f32
    }

    fn mean_logprob(&self) -> f32 {
        self.logprob / self.length as f32
    }
}

struct SingleSequence {
    ids: Vec<i64>,
    /// Sum of log-probabilities, and each of them.
    total: f32,
    logprobs: Vec<f32>,
    random: SplitMix,
}

impl SingleSequence {
    /// Appends a token of the row.
    fn extend(&mut self, row: impl Iterator<Item = (f32, i64)>, support: &[f32], options: &SearchOptions) {
        let (logprob, id) = match options.strategy {
            Strategy::Sample { .. } => draw_token(row, options.candidates(), options.temperature, &mut self.random),
            Strategy::Beam(_) | Strategy::Greedy => {
                let best = next_tokens(row, &self.ids, support, options).first().map(|next| (next.logprob, next.id));
                best.unwrap_or((f32::NEG_INFINITY, 0))
            }
        };
        self.ids.push(id);
        self.total += logprob;
        self.logprobs.push(logprob);
    }
}

/// A token that may come next.
struct NextToken {
    value: f32,
    logprob: f32,
    id: i64,
}

/// The best tokens of a row to come after `ids`, as many as the search is wide, best first.
///
/// A caption that has said nothing yet does not stop: where the support of every content word is low, "there is a" would
/// have the highest value.
fn next_tokens(
    row: impl Iterator<Item = (f32, i64)>,
    ids: &[i64],
    support: &[f32],
    options: &SearchOptions,
) -> Vec<NextToken> {
    let row = row.take(options.candidates());
    let Some(rules) = options.fusion() else {
        return row.map(|(logprob, id)| NextToken { value: logprob, logprob, id }).collect();
    };
    let weight = rules.weight;
    let empty = |id: &i64| rules.open.contains(id) && support_of(*id, support) == 0.0;
    let says_nothing = !rules.open.is_empty() && ids.iter().all(empty);
    let value = |logprob: f32, id: i64| logprob + weight * support_of(id, support);
    let mut next: Vec<NextToken> =
        row.map(|(logprob, id)| NextToken { value: value(logprob, id), logprob, id }).collect();
    if says_nothing && next.iter().any(|token| !options.stops(token.id)) {
        next.retain(|token| !options.stops(token.id));
    }
    next.sort_by(|a, b| best_first(a.value, b.value).then(a.id.cmp(&b.id)));
    next.truncate(options.width());
    next
}

/// A token's support; 0 if the model has no word detector.
fn support_of(id: i64, support: &[f32]) -> f32 {
    usize::try_from(id).ok().and_then(|id| support.get(id)).copied().unwrap_or(0.0)
}

fn best_first(a: f32, b: f32) -> Ordering {
    b.partial_cmp(&a).unwrap_or(Ordering::Equal)
}

/// A hypothesis that the next beam may hold.
struct BeamCandidate {
    /// Mean value, and mean log-probability.
    mean: f32,
    mean_logprob: f32,
    /// The place of the hypothesis that it continues.
    source: usize,
    /// The token that it gains, and its log-probability; 0 if its source has stopped.
    token: i64,
    logprob: f32,
}

impl PictureSearch {
    /// `first`: the likeliest tokens after the prefix.
    fn new(
        number: usize,
        picture: JoinedPicture,
        first: impl Iterator<Item = (f32, i64)>,
        options: &SearchOptions,
    ) -> PictureSearch {
        let JoinedPicture { seed, support } = picture;
        let hypotheses = match options.strategy {
            Strategy::Beam(_) => Hypotheses::Beam(
                next_tokens(first, &[], &support, options)
                    .into_iter()
                    .map(|NextToken { value: total, logprob, id }| {
                        let stopped = options.stops(id);
                        let logprobs = vec![logprob];
                        Hypothesis { ids: vec![id], length: 1, total, logprob, logprobs, stopped, source: 0 }
                    })
                    .collect(),
            ),
            Strategy::Greedy | Strategy::Sample { .. } => {
                let mut sequence =
                    SingleSequence { ids: Vec::new(), total: 0.0, logprobs: Vec::new(), random: SplitMix(seed) };
                sequence.extend(first, &support, options);
                Hypotheses::Single(sequence)
            }
        };
        PictureSearch { number, support, steps: 1, hypotheses }
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
                best.map_or_else(|| self.sequence(&[], &[], f32::NEG_INFINITY), |h| self.of_beam(h))
            }
            Hypotheses::Single(single) => self.of_single(single),
        }
    }

    /// All hypotheses, the best first.
    fn ranked(&self) -> Vec<TokenSequence> {
        match &self.hypotheses {
            Hypotheses::Beam(all) => {
                let mut all: Vec<&Hypothesis> = all.iter().collect();
                // A stable sort: of equal ones the earlier stays first, as in `best`.
                all.sort_by(|a, b| best_first(a.mean(), b.mean()));
                all.into_iter().map(|h| self.of_beam(h)).collect()
            }
            Hypotheses::Single(single) => vec![self.of_single(single)],
        }
    }

    fn of_beam(&self, h: &Hypothesis) -> TokenSequence {
        self.sequence(&h.ids, &h.logprobs, h.mean_logprob())
    }

    fn of_single(&self, SingleSequence { ids, total, logprobs, .. }: &SingleSequence) -> TokenSequence {
        self.sequence(ids, logprobs, total / ids.len().max(1) as f32)
    }

    fn sequence(&self, ids: &[i64], logprobs: &[f32], mean_logprob: f32) -> TokenSequence {
        let tokens = || ids.iter().map(|&id| support_of(id, &self.support)).collect();
        let support = (!self.support.is_empty()).then(|| WordSupport { tokens: tokens() });
        TokenSequence { ids: ids.to_vec(), mean_logprob, logprobs: logprobs.to_vec(), support }
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
                sequence.extend(top.row(row), &self.support, options);
                row + 1
            }
            Hypotheses::Beam(all) => {
                let (candidates, next_row) = candidates(all, top, row, &self.support, options);
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
        let mut logprobs = Vec::with_capacity(from.ids.len() + 1);
        logprobs.extend_from_slice(&from.logprobs);
        if !from.stopped {
            ids.push(self.token);
            logprobs.push(self.logprob);
        }
        let stopped = from.stopped || options.stops(self.token);
        let (total, logprob) = (self.mean * length as f32, self.mean_logprob * length as f32);
        Hypothesis { ids, length, total, logprob, logprobs, stopped, source: self.source }
    }
}

/// The best continuations of a beam, as many as it is wide, best first, and the row after the picture's own in `top`.
fn candidates(
    beam: &[Hypothesis],
    top: &TopTokens,
    mut row: usize,
    support: &[f32],
    options: &SearchOptions,
) -> (Vec<BeamCandidate>, usize) {
    let width = options.width();
    let mut candidates: Vec<BeamCandidate> = Vec::with_capacity(width * width);
    for (source, h) in beam.iter().enumerate() {
        if h.stopped {
            let (mean, mean_logprob) = (h.mean(), h.mean_logprob());
            candidates.push(BeamCandidate { mean, mean_logprob, source, token: 0, logprob: 0.0 });
        } else {
            let length = (h.length + 1) as f32;
            let next = next_tokens(top.row(row), &h.ids, support, options);
            candidates.extend(next.into_iter().map(|NextToken { value, logprob, id }| BeamCandidate {
                mean: (h.total + value) / length,
                mean_logprob: (h.logprob + logprob) / length,
                source,
                token: id,
                logprob,
            }));
            row += 1;
        }
    }
    candidates.sort_by(|a, b| best_first(a.mean, b.mean).then((a.source, a.token).cmp(&(b.source, b.token))));
    candidates.truncate(width);
    (candidates, row)
}

#[cfg(test)]
mod tests;
