//! Search for the best caption: beam search and greedy by the rules of the released ClipCap, and seeded sampling.
//!
//! Pure logic over a [`Step`], the language model. Many pictures go through it at once, each with the same number of
//! rows, adjacent; a picture that is finished leaves the batch. Every decision about a picture rests on that picture's
//! rows alone, so that neighbours do not matter. Memory: tokens and a few numbers for each row.
//!
//! The rules: hypotheses are compared by mean log-probability, where the length counts the stop token; one that has
//! stopped keeps its score and length; a picture is done when all of its hypotheses have stopped or at the limit. Sums
//! are kept as the released code keeps them (`total = mean × length`, in f32). Where two candidates are exactly equal
//! the one of the earlier row, then of the lower token, comes first; a runtime whose logits differ by rounding
//! may order candidates otherwise that are closer to each other than about 1e-6.

use std::cmp::Ordering;

use crate::error::Result;

/// The most likely next tokens of each row, likeliest first, the lower id first where equal.
#[derive(Debug, Clone, PartialEq)]
pub struct Top {
    /// Candidates a row.
    pub k: usize,
    /// `rows × k` log-probabilities over the whole vocabulary.
    pub logprob: Vec<f32>,
    /// `rows × k` token ids.
    pub id: Vec<i64>,
}

impl Top {
    fn row(&self, row: usize) -> impl Iterator<Item = (f32, i64)> + '_ {
        let span = row * self.k..(row + 1) * self.k;
        self.logprob[span.clone()].iter().copied().zip(self.id[span].iter().copied())
    }
}

/// A language model that is asked one token at a time.
pub trait Step {
    /// Reads every picture's prefix: one row a picture.
    fn start(&mut self, k: usize) -> Result<Top>;

    /// Appends `tokens[n]` to what row `source[n]` of the call before has read, for every new row `n`. The rows of one
    /// picture are adjacent, the same number for each. `keep` lists, ascending, the places in the batch of the pictures
    /// that remain; `None` where all do. `source` counts rows of the call before, whoever has left.
    fn step(&mut self, tokens: &[i64], source: &[usize], keep: Option<&[usize]>, k: usize) -> Result<Top>;
}

/// How tokens are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// This many hypotheses side by side.
    Beam(usize),
    /// The likeliest token each time. The released code's "top-p" comes to this.
    Greedy,
    /// One of the `top_k` likeliest tokens, drawn by its probability. Each picture has its own seed.
    Sample { top_k: usize },
}

/// The search's bounds.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchOptions {
    /// How tokens are chosen. Default: beams of 5.
    pub strategy: Strategy,
    /// Most tokens, the stop token counted. Default: 67.
    pub max_tokens: usize,
    /// Logits are divided by it. Default: 1.
    pub temperature: f32,
    /// Tokens that end a caption. Default: 13, GPT-2's full stop.
    pub stop_tokens: Vec<i64>,
    /// The language model's tokens. Default: 50257, GPT-2's.
    pub vocab: usize,
}

impl Default for SearchOptions {
    fn default() -> SearchOptions {
        SearchOptions {
            strategy: Strategy::Beam(5),
            max_tokens: 67,
            temperature: 1.0,
            stop_tokens: vec![13],
            vocab: 50_257,
        }
    }
}

/// A picture's best token sequence.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The stop token included, where there is one.
    pub ids: Vec<i64>,
    pub mean_logprob: f32,
}

/// One sequence in the making.
#[derive(Debug, Clone)]
struct Hypothesis {
    ids: Vec<i64>,
    /// Tokens that count, up to and with the stop token.
    length: usize,
    total: f32,
    stopped: bool,
}

/// Finds a caption for each picture, `seeds.len()` of them; seeds matter to sampling only.
pub fn search<S: Step + ?Sized>(step: &mut S, seeds: &[u64], options: &SearchOptions) -> Result<Vec<Found>> {
    if seeds.is_empty() || options.max_tokens == 0 {
        return Ok(vec![Found { ids: Vec::new(), mean_logprob: 0.0 }; seeds.len()]);
    }
    match options.strategy {
        Strategy::Beam(width) => beams(step, seeds.len(), width.clamp(1, options.vocab), options),
        Strategy::Greedy => single(step, seeds, 1, options),
        Strategy::Sample { top_k } => single(step, seeds, top_k.clamp(1, options.vocab), options),
    }
}

/// Candidates to ask for: at another temperature the whole vocabulary is needed for the right sum.
fn asked(k: usize, options: &SearchOptions) -> usize {
    if options.temperature == 1.0 { k.min(options.vocab) } else { options.vocab }
}

/// Turns log-probabilities into those at the search's temperature. The order stays.
fn warm(mut top: Top, options: &SearchOptions) -> Top {
    if options.temperature != 1.0 && top.k > 0 {
        for row in top.logprob.chunks_exact_mut(top.k) {
            let best = row[0] / options.temperature;
            let sum: f64 = row.iter().map(|l| f64::from(l / options.temperature - best).exp()).sum();
            let log = sum.ln() as f32;
            row.iter_mut().for_each(|l| *l = *l / options.temperature - best - log);
        }
    }
    top
}

fn beams<S: Step + ?Sized>(step: &mut S, pictures: usize, width: usize, options: &SearchOptions) -> Result<Vec<Found>> {
    let k = asked(width, options);
    let stops = |token: i64| options.stop_tokens.contains(&token);
    let mut found: Vec<Option<Found>> = vec![None; pictures];
    let top = warm(step.start(k)?, options);
    // The pictures in the batch, each with its hypotheses.
    let mut batch: Vec<(usize, Vec<Hypothesis>)> = (0..pictures)
        .map(|picture| {
            let first = top.row(picture).take(width);
            let all =
                first.map(|(logprob, id)| Hypothesis { ids: vec![id], length: 1, total: logprob, stopped: stops(id) });
            (picture, all.collect())
        })
        .collect();
    // Row of the last call that each row of the next one continues, and its token.
    let mut source: Vec<usize> = (0..pictures).flat_map(|picture| std::iter::repeat_n(picture, width)).collect();
    let mut tokens: Vec<i64> = batch.iter().flat_map(|(_, all)| all.iter().map(|h| h.ids[0])).collect();

    for length in 1..=options.max_tokens {
        let keep = leave(&mut batch, &mut source, &mut tokens, width, |picture, all| {
            let done = length == options.max_tokens || all.iter().all(|h| h.stopped);
            if done {
                found[picture] = best(all);
            }
            done
        });
        if batch.is_empty() {
            break;
        }
        let top = warm(step.step(&tokens, &source, keep.as_deref(), k)?, options);
        source.clear();
        tokens.clear();
        let mut candidates: Vec<(f32, usize, i64)> = Vec::new();
        for (place, (_, all)) in batch.iter_mut().enumerate() {
            let first_row = place * width;
            candidates.clear();
            for (row, h) in all.iter().enumerate() {
                if h.stopped {
                    candidates.push((h.total / h.length as f32, row, 0));
                } else {
                    let length = (h.length + 1) as f32;
                    let next = top.row(first_row + row).take(width);
                    candidates.extend(next.map(|(logprob, id)| ((h.total + logprob) / length, row, id)));
                }
            }
            candidates
                .sort_by(|a, b| b.0.partial_cmp(&a.0).unwrap_or(Ordering::Equal).then((a.1, a.2).cmp(&(b.1, b.2))));
            let next: Vec<Hypothesis> = candidates
                .iter()
                .take(width)
                .map(|&(mean, row, id)| {
                    let from = &all[row];
                    let length = if from.stopped { from.length } else { from.length + 1 };
                    let mut ids = Vec::with_capacity(from.ids.len() + 1);
                    ids.extend_from_slice(&from.ids);
                    if !from.stopped {
                        ids.push(id);
                    }
                    source.push(first_row + row);
                    tokens.push(id);
                    Hypothesis { ids, length, total: mean * length as f32, stopped: from.stopped || stops(id) }
                })
                .collect();
            *all = next;
        }
    }
    Ok(found.into_iter().map(|f| f.unwrap_or(Found { ids: Vec::new(), mean_logprob: f32::NEG_INFINITY })).collect())
}

/// The best of a picture's hypotheses, the first where equal.
fn best(all: &[Hypothesis]) -> Option<Found> {
    let mean = |h: &Hypothesis| h.total / h.length as f32;
    let best = all.iter().reduce(|a, b| if mean(b) > mean(a) { b } else { a })?;
    Some(Found { ids: best.ids.clone(), mean_logprob: mean(best) })
}

/// Takes finished pictures out of the batch, with their rows; gives the places that remain if any left.
fn leave<T>(
    batch: &mut Vec<(usize, T)>,
    source: &mut Vec<usize>,
    tokens: &mut Vec<i64>,
    width: usize,
    mut done: impl FnMut(usize, &T) -> bool,
) -> Option<Vec<usize>> {
    let kept: Vec<bool> = batch.iter().map(|(picture, state)| !done(*picture, state)).collect();
    if kept.iter().all(|k| *k) {
        return None;
    }
    let mut row = kept.iter().flat_map(|k| std::iter::repeat_n(*k, width));
    source.retain(|_| row.next().unwrap_or(true));
    let mut row = kept.iter().flat_map(|k| std::iter::repeat_n(*k, width));
    tokens.retain(|_| row.next().unwrap_or(true));
    let mut place = kept.iter();
    batch.retain(|_| *place.next().unwrap_or(&true));
    Some(kept.iter().enumerate().filter(|(_, k)| **k).map(|(n, _)| n).collect())
}

/// Greedy (`top_k` 1) and sampling: one row a picture.
fn single<S: Step + ?Sized>(step: &mut S, seeds: &[u64], top_k: usize, options: &SearchOptions) -> Result<Vec<Found>> {
    struct Line {
        ids: Vec<i64>,
        total: f32,
        random: SplitMix,
    }
    // Sampling weighs the `top_k` against one another, whatever the rest of the vocabulary holds.
    let mut found: Vec<Option<Found>> = vec![None; seeds.len()];
    let mut top = step.start(top_k)?;
    let line =
        |(picture, seed): (usize, &u64)| (picture, Line { ids: Vec::new(), total: 0.0, random: SplitMix(*seed) });
    let mut batch: Vec<(usize, Line)> = seeds.iter().enumerate().map(line).collect();
    loop {
        let mut tokens = Vec::with_capacity(batch.len());
        for (row, (_, line)) in batch.iter_mut().enumerate() {
            let (logprob, id) = draw(top.row(row), top_k, options.temperature, &mut line.random);
            line.ids.push(id);
            line.total += logprob;
            tokens.push(id);
        }
        let mut source: Vec<usize> = (0..batch.len()).collect();
        let keep = leave(&mut batch, &mut source, &mut tokens, 1, |picture, line| {
            let stopped = line.ids.last().is_some_and(|id| options.stop_tokens.contains(id));
            let done = stopped || line.ids.len() >= options.max_tokens;
            if done {
                found[picture] =
                    Some(Found { ids: line.ids.clone(), mean_logprob: line.total / line.ids.len() as f32 });
            }
            done
        });
        if batch.is_empty() {
            break;
        }
        top = step.step(&tokens, &source, keep.as_deref(), top_k)?;
    }
    Ok(found.into_iter().map(|f| f.unwrap_or(Found { ids: Vec::new(), mean_logprob: f32::NEG_INFINITY })).collect())
}

/// One token of a row; its log-probability is the model's own, at temperature 1.
fn draw(row: impl Iterator<Item = (f32, i64)>, top_k: usize, temperature: f32, random: &mut SplitMix) -> (f32, i64) {
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

/// SplitMix64: small, and the same numbers everywhere.
#[derive(Debug, Clone)]
pub struct SplitMix(pub u64);

impl SplitMix {
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to below 1.
    fn unit(&mut self) -> f64 {
        (self.draw() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::{Strategy, *};
    use proptest::prelude::*;

    /// A language model whose logits hang on a picture and on all tokens before.
    #[derive(Clone)]
    struct Mock {
        vocab: usize,
        pictures: Vec<u64>,
        /// How much likelier the stop token is.
        gain: f32,
        /// Logits are multiples of this; coarse ones tie often.
        grain: f32,
        // Rows of the last call: picture and tokens read.
        rows: Vec<(u64, Vec<i64>)>,
        live: Vec<u64>,
        steps: usize,
    }

    const STOP: i64 = 3;

    impl Mock {
        fn new(vocab: usize, pictures: &[u64], gain: f32, grain: f32) -> Mock {
            Mock { vocab, pictures: pictures.to_vec(), gain, grain, rows: vec![], live: vec![], steps: 0 }
        }

        fn logprobs(&self, picture: u64, tokens: &[i64]) -> Vec<f32> {
            let mut random = SplitMix(tokens.iter().fold(picture, |h, t| SplitMix(h ^ (*t as u64 + 17)).draw()));
            let logits: Vec<f32> = (0..self.vocab)
                .map(|t| {
                    let logit = (random.unit() as f32 * 6.0 / self.grain).round() * self.grain;
                    if t as i64 == STOP { logit + self.gain } else { logit }
                })
                .collect();
            let sum: f64 = logits.iter().map(|l| f64::from(*l).exp()).sum();
            logits.iter().map(|l| (f64::from(*l) - sum.ln()) as f32).collect()
        }

        fn top(&self, k: usize) -> Top {
            let mut top = Top { k, logprob: vec![], id: vec![] };
            for (picture, tokens) in &self.rows {
                let logprobs = self.logprobs(*picture, tokens);
                let mut order: Vec<usize> = (0..self.vocab).collect();
                order.sort_by(|a, b| logprobs[*b].total_cmp(&logprobs[*a]).then(a.cmp(b)));
                for &id in &order[..k] {
                    top.logprob.push(logprobs[id]);
                    top.id.push(id as i64);
                }
            }
            top
        }
    }

    impl Step for Mock {
        fn start(&mut self, k: usize) -> Result<Top> {
            self.live = self.pictures.clone();
            self.rows = self.live.iter().map(|p| (*p, vec![])).collect();
            Ok(self.top(k))
        }

        fn step(&mut self, tokens: &[i64], source: &[usize], keep: Option<&[usize]>, k: usize) -> Result<Top> {
            self.steps += 1;
            if let Some(keep) = keep {
                assert!(keep.windows(2).all(|w| w[0] < w[1]));
                self.live = keep.iter().map(|&n| self.live[n]).collect();
            }
            let beams = tokens.len() / self.live.len();
            assert_eq!(beams * self.live.len(), tokens.len());
            let mut rows = Vec::new();
            for (n, (&token, &from)) in tokens.iter().zip(source).enumerate() {
                let (picture, mut read) = self.rows[from].clone();
                assert_eq!(picture, self.live[n / beams], "rows of one picture are adjacent");
                read.push(token);
                rows.push((picture, read));
            }
            self.rows = rows;
            Ok(self.top(k))
        }
    }

    /// The released code's loop, over whole rows of the vocabulary, one picture.
    fn released(model: &Mock, picture: u64, beam: usize, limit: usize, temperature: f32) -> Found {
        let v = model.vocab;
        let row = |tokens: &[i64]| {
            let raw = model.logprobs(picture, tokens);
            if temperature == 1.0 {
                return raw;
            }
            let hot: Vec<f64> = raw.iter().map(|l| f64::from(*l / temperature)).collect();
            let sum: f64 = hot.iter().map(|l| l.exp()).sum();
            hot.iter().map(|l| (l - sum.ln()) as f32).collect()
        };
        let topk = |values: &[f32]| {
            let mut order: Vec<usize> = (0..values.len()).collect();
            order.sort_by(|a, b| values[*b].partial_cmp(&values[*a]).unwrap().then(a.cmp(b)));
            order.truncate(beam);
            order
        };
        let first = row(&[]);
        let mut ids: Vec<Vec<i64>> = vec![];
        let (mut total, mut length, mut stopped) = (vec![], vec![1.0f32; beam], vec![]);
        for t in topk(&first) {
            ids.push(vec![t as i64]);
            total.push(first[t]);
            stopped.push(t as i64 == STOP);
        }
        for _ in 0..limit - 1 {
            if stopped.iter().all(|s| *s) {
                break;
            }
            let mut mean = vec![];
            for b in 0..beam {
                let mut logp = row(&ids[b]);
                if stopped[b] {
                    logp.fill(f32::NEG_INFINITY);
                    logp[0] = 0.0;
                } else {
                    length[b] += 1.0;
                }
                mean.extend(logp.iter().map(|l| (total[b] + l) / length[b]));
            }
            let flat = topk(&mean);
            let source: Vec<usize> = flat.iter().map(|f| f / v).collect();
            length = source.iter().map(|s| length[*s]).collect();
            total = flat.iter().zip(&length).map(|(f, l)| mean[*f] * l).collect();
            ids = flat.iter().map(|f| [&ids[f / v][..], &[(f % v) as i64]].concat()).collect();
            stopped = flat.iter().map(|f| stopped[f / v] || (f % v) as i64 == STOP).collect();
        }
        let mut best = 0;
        for b in 1..beam {
            if total[b] / length[b] > total[best] / length[best] {
                best = b;
            }
        }
        Found { ids: ids[best][..length[best] as usize].to_vec(), mean_logprob: total[best] / length[best] }
    }

    fn options(strategy: Strategy, vocab: usize, limit: usize, temperature: f32) -> SearchOptions {
        SearchOptions { strategy, max_tokens: limit, temperature, stop_tokens: vec![STOP], vocab }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn beams_are_those_of_the_released_code(
            pictures in prop::collection::vec(any::<u64>(), 1..6),
            vocab in 10usize..30, beam in 1usize..10, limit in 1usize..9,
            gain in 0.0f32..6.0, grain in prop::sample::select(vec![1e-6f32, 1e-6, 2.0]),
        ) {
            let model = Mock::new(vocab, &pictures, gain, grain);
            let found = search(&mut model.clone(), &vec![0; pictures.len()], &options(Strategy::Beam(beam), vocab, limit, 1.0)).unwrap();
            for (picture, found) in pictures.iter().zip(found) {
                prop_assert_eq!(released(&model, *picture, beam, limit, 1.0), found);
            }
        }

        #[test]
        fn temperature_weighs_the_whole_vocabulary(picture: u64, gain in 0.0f32..4.0, temperature in 0.3f32..3.0) {
            let model = Mock::new(20, &[picture], gain, 1e-6);
            let found = search(&mut model.clone(), &[0], &options(Strategy::Beam(4), 20, 6, temperature)).unwrap();
            let want = released(&model, picture, 4, 6, temperature);
            prop_assert_eq!(&want.ids, &found[0].ids);
            prop_assert!((want.mean_logprob - found[0].mean_logprob).abs() < 1e-4);
        }

        #[test]
        fn greedy_is_a_beam_of_one(pictures in prop::collection::vec(any::<u64>(), 1..6), gain in 0.0f32..6.0) {
            let model = Mock::new(20, &pictures, gain, 1e-6);
            let seeds = vec![0; pictures.len()];
            let greedy = search(&mut model.clone(), &seeds, &options(Strategy::Greedy, 20, 8, 1.0)).unwrap();
            let beam = search(&mut model.clone(), &seeds, &options(Strategy::Beam(1), 20, 8, 1.0)).unwrap();
            for (a, b) in greedy.iter().zip(beam) {
                prop_assert_eq!(&a.ids, &b.ids);
                prop_assert!((a.mean_logprob - b.mean_logprob).abs() < 1e-5);
            }
        }

        #[test]
        fn a_draw_hangs_on_its_own_seed_only(pictures in prop::collection::vec(any::<u64>(), 2..6), seed: u64) {
            let how = options(Strategy::Sample { top_k: 5 }, 20, 8, 0.8);
            let all = search(&mut Mock::new(20, &pictures, 1.0, 1e-6), &vec![seed; pictures.len()], &how).unwrap();
            for (picture, found) in pictures.iter().zip(all) {
                let alone = search(&mut Mock::new(20, &[*picture], 1.0, 1e-6), &[seed], &how).unwrap();
                prop_assert_eq!(&alone[0], &found);
            }
        }
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let row = [(0.5f32.ln(), 7), (0.3f32.ln(), 8), (0.2f32.ln(), 9)];
        let mut random = SplitMix(1);
        let mut counts = [0; 10];
        for _ in 0..10_000 {
            counts[draw(row.into_iter(), 3, 1.0, &mut random).1 as usize] += 1;
        }
        assert!((4_800..5_200).contains(&counts[7]) && (2_800..3_200).contains(&counts[8]), "{counts:?}");
    }

    #[test]
    fn nothing_asked_nothing_done() {
        let mut model = Mock::new(10, &[], 0.0, 1.0);
        assert_eq!(search(&mut model, &[], &SearchOptions::default()).unwrap(), []);
    }

    #[test]
    fn the_last_picture_ends_the_search() {
        let mut model = Mock::new(10, &[1, 2, 3], 50.0, 1e-6);
        let found = search(&mut model, &[0; 3], &options(Strategy::Greedy, 10, 60, 1.0)).unwrap();
        assert!(found.iter().all(|f| f.ids == [STOP]));
        assert_eq!(model.steps, 0);
    }
}
