//! The search against a mock language model, and against the loop of released ClipCap.

use proptest::prelude::*;

use super::*;
use crate::model::caption::options::Strategy;
use crate::model::caption::sample::SplitMix;

/// A language model whose logits depend on a picture and on all tokens before.
#[derive(Clone)]
struct Mock {
    vocab: usize,
    pictures: Vec<u64>,
    seeds: Vec<u64>,
    /// How much likelier the stop token is.
    gain: f32,
    /// Logits are multiples of this; a coarse grain gives many ties.
    grain: f32,
    /// Most pictures at once, and steps between two moments at which others may join.
    room: usize,
    every: usize,
    joined: usize,
    since: usize,
    /// The tokens that each picture's hypotheses have read, by place in its last call.
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

    fn top<'t>(&self, k: usize, rows: impl Iterator<Item = (usize, &'t [i64])>) -> TopTokens {
        let mut top = TopTokens { k, logprob: vec![], id: vec![] };
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

impl LanguageModel for Mock {
    fn join(&mut self, live: &[usize], k: usize) -> Result<(Vec<u64>, TopTokens)> {
        self.read.retain(|picture, _| live.contains(picture));
        assert_eq!(self.read.len(), live.len(), "the pictures that remain were in the batch");
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

    fn step(&mut self, rows: &[StepRow], k: usize) -> Result<TopTokens> {
        self.steps += 1;
        self.since += 1;
        self.rows += rows.len();
        let order: Vec<(usize, usize)> = rows.iter().map(|r| (r.picture, r.place)).collect();
        assert!(order.windows(2).all(|w| w[0] < w[1]), "rows are sorted by picture and place");
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

/// The caption of each picture, in order.
fn all(mut model: Mock, options: &SearchOptions) -> Vec<TokenSequence> {
    let mut found = vec![None; model.pictures.len()];
    search(&mut model, options, |picture, f| {
        assert_eq!(found[picture].replace(f), None, "a picture is done once");
        Ok(())
    })
    .unwrap();
    found.into_iter().map(|f| f.expect("every picture is done")).collect()
}

/// The loop of released ClipCap, over whole rows of the vocabulary, for one picture.
fn released(model: &Mock, picture: u64, beam: usize, limit: usize, temperature: f32) -> TokenSequence {
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
    TokenSequence { ids: ids[best][..length[best] as usize].to_vec(), mean_logprob: total[best] / length[best] }
}

fn options(strategy: Strategy, vocab: usize, limit: usize, temperature: f32) -> SearchOptions {
    SearchOptions { strategy, max_tokens: limit, temperature, stop_tokens: vec![STOP], vocab }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn beams_are_those_of_released_clipcap(
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
    fn a_draw_depends_on_its_own_seed_only(
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
fn stopped_hypotheses_cost_nothing() {
    // Most hypotheses stop early. If they were still computed, every step would have five rows for each picture.
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
fn no_pictures_give_no_captions() {
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
