//! Search for the best caption: beam search and greedy by the rules of the released ClipCap, and seeded sampling.
//!
//! Pure logic over a [`Step`], the language model. Many pictures go through it at once; a hypothesis that has stopped costs
//! nothing more, a picture that is finished leaves the batch, and others join it when the model has room. Every
//! decision about a picture rests on that picture's rows alone, so that neighbours do not matter. Pictures are finished in any
//! order. Memory: tokens and a few numbers for each hypothesis of the pictures in the batch.
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

/// A hypothesis that goes on by one token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Pictures are numbered from 0 in the order in which they joined.
    pub picture: usize,
    /// Its place among the picture's hypotheses, below the width of the search.
    pub place: usize,
    /// The place of the row that it continues, in the picture's last call; 0 where the picture has just joined.
    pub source: usize,
    pub token: i64,
}

/// A language model that is asked one token at a time.
pub trait Step {
    /// Lets pictures join the batch, as many as there is room for and as there are, and reads their prefixes: the seed of
    /// each, and one row of tokens. `live` are the pictures that remain in the batch, ascending. Where there are none, an empty
    /// answer means that no picture will come any more.
    fn join(&mut self, live: &[usize], k: usize) -> Result<(Vec<u64>, Top)>;

    /// Appends a token to what each row's source has read. The rows of one picture are adjacent, by ascending place.
    fn step(&mut self, rows: &[Row], k: usize) -> Result<Top>;
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
    /// Most tokens, the stop token counted; at least 1. Default: 67.
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

impl SearchOptions {
    /// Rows that a picture has at most.
    pub fn width(&self) -> usize {
        match self.strategy {
            Strategy::Beam(width) => width.clamp(1, self.vocab.max(1)),
            Strategy::Greedy | Strategy::Sample { .. } => 1,
        }
    }

    /// Candidates to ask for. Beams at another temperature need the whole vocabulary for the right sum; sampling weighs its
    /// candidates against one another, whatever the rest of the vocabulary holds.
    fn asked(&self) -> usize {
        match self.strategy {
            Strategy::Beam(_) if self.temperature != 1.0 => self.vocab,
            Strategy::Beam(_) => self.width(),
            Strategy::Greedy => 1,
            Strategy::Sample { top_k } => top_k.clamp(1, self.vocab.max(1)),
        }
    }

    fn stops(&self, token: i64) -> bool {
        self.stop_tokens.contains(&token)
    }
}

/// A picture's best token sequence.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The stop token included, where there is one.
    pub ids: Vec<i64>,
    pub mean_logprob: f32,
}

/// Finds a caption for each picture that joins; `done` hears of it with the picture's number.
pub fn search<S: Step + ?Sized>(
    step: &mut S,
    options: &SearchOptions,
    mut done: impl FnMut(usize, Found) -> Result<()>,
) -> Result<()> {
    let k = options.asked();
    // The pictures in the batch, in the order in which they joined.
    let mut batch: Vec<Picture> = Vec::new();
    let mut next = 0;
    let mut rows = Vec::new();
    loop {
        let live: Vec<usize> = batch.iter().map(|p| p.number).collect();
        let (seeds, top) = step.join(&live, k)?;
        if seeds.is_empty() && batch.is_empty() {
            return Ok(());
        }
        let top = warm(top, options);
        for (row, seed) in seeds.into_iter().enumerate() {
            batch.push(Picture::begin(next, seed, top.row(row), options));
            next += 1;
        }
        leave(&mut batch, options, &mut done)?;
        rows.clear();
        batch.iter().for_each(|picture| picture.rows(&mut rows));
        if rows.is_empty() {
            continue;
        }
        let top = warm(step.step(&rows, k)?, options);
        let mut row = 0;
        for picture in &mut batch {
            row = picture.go_on(&top, row, options);
        }
        leave(&mut batch, options, &mut done)?;
    }
}

/// Finished pictures leave the batch.
fn leave(
    batch: &mut Vec<Picture>,
    options: &SearchOptions,
    done: &mut impl FnMut(usize, Found) -> Result<()>,
) -> Result<()> {
    for picture in batch.iter().filter(|p| p.is_done(options)) {
        done(picture.number, picture.found())?;
    }
    batch.retain(|p| !p.is_done(options));
    Ok(())
}

/// Turns log-probabilities into those at the search's temperature. The order stays.
fn warm(mut top: Top, options: &SearchOptions) -> Top {
    let whole = matches!(options.strategy, Strategy::Beam(_)) && options.temperature != 1.0;
    if whole && top.k > 0 {
        for row in top.logprob.chunks_exact_mut(top.k) {
            let best = row[0] / options.temperature;
            let sum: f64 = row.iter().map(|l| f64::from(l / options.temperature - best).exp()).sum();
            let log = sum.ln() as f32;
            row.iter_mut().for_each(|l| *l = *l / options.temperature - best - log);
        }
    }
    top
}

/// A picture in the batch.
struct Picture {
    number: usize,
    /// Tokens of its hypotheses that go on.
    steps: usize,
    lines: Lines,
}

enum Lines {
    /// Best first.
    Beams(Vec<Hypothesis>),
    /// Greedy and sampling.
    One(Line),
}

/// One sequence in the making.
#[derive(Debug, Clone)]
struct Hypothesis {
    ids: Vec<i64>,
    /// Tokens that count, up to and with the stop token.
    length: usize,
    total: f32,
    stopped: bool,
    /// The place of the hypothesis that it grew out of.
    source: usize,
}

struct Line {
    ids: Vec<i64>,
    total: f32,
    random: SplitMix,
}

impl Picture {
    /// `first`: the likeliest tokens behind the prefix.
    fn begin(number: usize, seed: u64, first: impl Iterator<Item = (f32, i64)>, options: &SearchOptions) -> Picture {
        let lines = match options.strategy {
            Strategy::Beam(_) => Lines::Beams(
                first
                    .take(options.width())
                    .map(|(total, id)| {
                        let stopped = options.stops(id);
                        Hypothesis { ids: vec![id], length: 1, total, stopped, source: 0 }
                    })
                    .collect(),
            ),
            Strategy::Greedy | Strategy::Sample { .. } => {
                let mut line = Line { ids: Vec::new(), total: 0.0, random: SplitMix(seed) };
                line.draw(first, options);
                Lines::One(line)
            }
        };
        Picture { number, steps: 1, lines }
    }

    fn is_done(&self, options: &SearchOptions) -> bool {
        self.steps >= options.max_tokens
            || match &self.lines {
                Lines::Beams(all) => all.iter().all(|h| h.stopped),
                Lines::One(line) => line.ids.last().is_none_or(|id| options.stops(*id)),
            }
    }

    fn found(&self) -> Found {
        match &self.lines {
            Lines::Beams(all) => {
                let mean = |h: &Hypothesis| h.total / h.length as f32;
                let best = all.iter().reduce(|a, b| if mean(b) > mean(a) { b } else { a });
                let nothing = || Found { ids: Vec::new(), mean_logprob: f32::NEG_INFINITY };
                best.map_or_else(nothing, |h| Found { ids: h.ids.clone(), mean_logprob: mean(h) })
            }
            Lines::One(line) => {
                Found { ids: line.ids.clone(), mean_logprob: line.total / line.ids.len().max(1) as f32 }
            }
        }
    }

    /// Its hypotheses that go on.
    fn rows(&self, out: &mut Vec<Row>) {
        let picture = self.number;
        let mut push = |place, source, ids: &[i64]| {
            if let Some(&token) = ids.last() {
                out.push(Row { picture, place, source, token });
            }
        };
        match &self.lines {
            Lines::Beams(all) => {
                let going = all.iter().enumerate().filter(|(_, h)| !h.stopped);
                going.for_each(|(place, h)| push(place, h.source, &h.ids));
            }
            Lines::One(line) => push(0, 0, &line.ids),
        }
    }

    /// Chooses what its hypotheses go on with; its rows in `top` begin at `row`. Gives the row behind them.
    fn go_on(&mut self, top: &Top, mut row: usize, options: &SearchOptions) -> usize {
        self.steps += 1;
        let all = match &mut self.lines {
            Lines::One(line) => {
                line.draw(top.row(row), options);
                return row + 1;
            }
            Lines::Beams(all) => all,
        };
        let width = options.width();
        let mut candidates: Vec<(f32, usize, i64)> = Vec::with_capacity(width * width);
        for (place, h) in all.iter().enumerate() {
            if h.stopped {
                candidates.push((h.total / h.length as f32, place, 0));
            } else {
                let length = (h.length + 1) as f32;
                let next = top.row(row).take(width);
                candidates.extend(next.map(|(logprob, id)| ((h.total + logprob) / length, place, id)));
                row += 1;
            }
        }
        candidates.sort_by(|a, b| b.0.partial_cmp(&a.0).unwrap_or(Ordering::Equal).then((a.1, a.2).cmp(&(b.1, b.2))));
        *all = candidates
            .iter()
            .take(width)
            .map(|&(mean, source, id)| {
                let from = &all[source];
                let length = from.length + usize::from(!from.stopped);
                let mut ids = Vec::with_capacity(from.ids.len() + 1);
                ids.extend_from_slice(&from.ids);
                if !from.stopped {
                    ids.push(id);
                }
                let stopped = from.stopped || options.stops(id);
                Hypothesis { ids, length, total: mean * length as f32, stopped, source }
            })
            .collect();
        row
    }
}

impl Line {
    fn draw(&mut self, row: impl Iterator<Item = (f32, i64)>, options: &SearchOptions) {
        let (logprob, id) = draw(row, options.asked(), options.temperature, &mut self.random);
        self.ids.push(id);
        self.total += logprob;
    }
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
        seeds: Vec<u64>,
        /// How much likelier the stop token is.
        gain: f32,
        /// Logits are multiples of this; coarse ones tie often.
        grain: f32,
        /// Pictures at once, and the steps between which others may join.
        room: usize,
        every: usize,
        joined: usize,
        since: usize,
        // Rows of each picture's last call, by place: the tokens that were read.
        read: std::collections::BTreeMap<usize, Vec<(usize, Vec<i64>)>>,
        steps: usize,
        rows: usize,
    }

    const STOP: i64 = 3;

    impl Mock {
        fn new(vocab: usize, pictures: &[u64], gain: f32, grain: f32) -> Mock {
            let (pictures, seeds) = (pictures.to_vec(), vec![0; pictures.len()]);
            let (room, every, read) = (pictures.len().max(1), 1, Default::default());
            Mock { vocab, pictures, seeds, gain, grain, room, every, joined: 0, since: 0, read, steps: 0, rows: 0 }
        }

        fn seeded(self, seeds: Vec<u64>) -> Mock {
            Mock { seeds, ..self }
        }

        fn narrow(self, room: usize, every: usize) -> Mock {
            Mock { room, every, ..self }
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

        fn top<'t>(&self, k: usize, rows: impl Iterator<Item = (usize, &'t [i64])>) -> Top {
            let mut top = Top { k, logprob: vec![], id: vec![] };
            for (picture, tokens) in rows {
                let logprobs = self.logprobs(self.pictures[picture], tokens);
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
        fn join(&mut self, live: &[usize], k: usize) -> Result<(Vec<u64>, Top)> {
            self.read.retain(|picture, _| live.contains(picture));
            assert_eq!(self.read.len(), live.len(), "who remains was there");
            let open = live.is_empty() || self.since >= self.every;
            let room = if open { self.room - live.len() } else { 0 };
            if open {
                self.since = 0;
            }
            let new = self.joined..(self.joined + room).min(self.pictures.len());
            self.joined = new.end;
            new.clone().for_each(|picture| drop(self.read.insert(picture, vec![(0, vec![])])));
            let top = self.top(k, new.clone().map(|picture| (picture, &[][..])));
            Ok((new.map(|picture| self.seeds[picture]).collect(), top))
        }

        fn step(&mut self, rows: &[Row], k: usize) -> Result<Top> {
            self.steps += 1;
            self.since += 1;
            self.rows += rows.len();
            let order: Vec<(usize, usize)> = rows.iter().map(|r| (r.picture, r.place)).collect();
            assert!(order.windows(2).all(|w| w[0] < w[1]), "rows stand by picture and place");
            let mut now = std::collections::BTreeMap::<usize, Vec<(usize, Vec<i64>)>>::new();
            for row in rows {
                let before = &self.read[&row.picture];
                let mut read = before.iter().find(|(place, _)| *place == row.source).unwrap().1.clone();
                read.push(row.token);
                now.entry(row.picture).or_default().push((row.place, read));
            }
            self.read = now;
            let rows = self.read.iter().flat_map(|(p, rows)| rows.iter().map(|(_, read)| (*p, &read[..])));
            Ok(self.top(k, rows))
        }
    }

    /// What is found of each picture, in their order.
    fn all(mut model: Mock, options: &SearchOptions) -> Vec<Found> {
        let mut found = vec![None; model.pictures.len()];
        search(&mut model, options, |picture, f| {
            assert_eq!(found[picture].replace(f), None, "a picture is done once");
            Ok(())
        })
        .unwrap();
        found.into_iter().map(|f| f.expect("every picture is done")).collect()
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
            room in 1usize..6, every in 1usize..5,
        ) {
            let model = Mock::new(vocab, &pictures, gain, grain);
            let found = all(model.clone().narrow(room, every), &options(Strategy::Beam(beam), vocab, limit, 1.0));
            for (picture, found) in pictures.iter().zip(found) {
                prop_assert_eq!(released(&model, *picture, beam, limit, 1.0), found);
            }
        }

        #[test]
        fn temperature_weighs_the_whole_vocabulary(picture: u64, gain in 0.0f32..4.0, temperature in 0.3f32..3.0) {
            let model = Mock::new(20, &[picture], gain, 1e-6);
            let found = all(model.clone(), &options(Strategy::Beam(4), 20, 6, temperature));
            let want = released(&model, picture, 4, 6, temperature);
            prop_assert_eq!(&want.ids, &found[0].ids);
            prop_assert!((want.mean_logprob - found[0].mean_logprob).abs() < 1e-4);
        }

        #[test]
        fn greedy_is_a_beam_of_one(pictures in prop::collection::vec(any::<u64>(), 1..6), gain in 0.0f32..6.0) {
            let model = Mock::new(20, &pictures, gain, 1e-6);
            let greedy = all(model.clone(), &options(Strategy::Greedy, 20, 8, 1.0));
            let beam = all(model, &options(Strategy::Beam(1), 20, 8, 1.0));
            for (a, b) in greedy.iter().zip(beam) {
                prop_assert_eq!(&a.ids, &b.ids);
                prop_assert!((a.mean_logprob - b.mean_logprob).abs() < 1e-5);
            }
        }

        #[test]
        fn a_draw_hangs_on_its_own_seed_only(
            pictures in prop::collection::vec(any::<u64>(), 2..6), seed: u64, room in 1usize..6, every in 1usize..4,
        ) {
            let how = options(Strategy::Sample { top_k: 5 }, 20, 8, 0.8);
            let model = |pictures: &[u64]| Mock::new(20, pictures, 1.0, 1e-6).seeded(vec![seed; pictures.len()]);
            let found = all(model(&pictures).narrow(room, every), &how);
            for (picture, found) in pictures.iter().zip(found) {
                prop_assert_eq!(&all(model(&[*picture]), &how)[0], &found);
            }
        }
    }

    #[test]
    fn what_has_stopped_costs_nothing() {
        // Stops come at once or soon: with their rows going on there would be five rows a picture in every step.
        let (count, how) = (40, options(Strategy::Beam(5), 20, 30, 1.0));
        let mut model = Mock::new(20, &(0..count).collect::<Vec<u64>>(), 3.0, 1e-6).narrow(8, 2);
        search(&mut model, &how, |_, _| Ok(())).unwrap();
        assert!(model.steps > 0 && model.rows < model.steps * 8 * 5 * 2 / 3, "{} rows in {}", model.rows, model.steps);
    }

    #[test]
    fn an_error_ends_the_search() {
        let mut model = Mock::new(20, &[1, 2, 3], 3.0, 1e-6);
        let failed = search(&mut model, &SearchOptions { vocab: 20, ..SearchOptions::default() }, |_, _| {
            Err(crate::error::Error::Interrupted)
        });
        assert!(failed.is_err());
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
        assert_eq!(all(Mock::new(10, &[], 0.0, 1.0), &SearchOptions::default()), []);
    }

    #[test]
    fn the_last_picture_ends_the_search() {
        let mut model = Mock::new(10, &[1, 2, 3], 50.0, 1e-6);
        let mut count = 0;
        search(&mut model, &options(Strategy::Greedy, 10, 60, 1.0), |_, found| {
            count += 1;
            assert_eq!(found.ids, [STOP]);
            Ok(())
        })
        .unwrap();
        assert_eq!((count, model.steps), (3, 0));
    }
}
