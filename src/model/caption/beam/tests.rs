//! The search against a mock language model, and against the loop of released ClipCap.

use proptest::prelude::*;

use super::*;
use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::model::caption::language_model::StoppableModel;
use crate::model::caption::options::Strategy;
use crate::model::caption::sample::SplitMix;
use crate::model::support::SupportSpec;

/// A language model whose logits depend on a picture and on all tokens before.
#[derive(Clone)]
struct Mock {
    vocab: usize,
    pictures: Vec<u64>,
    seeds: Vec<u64>,
    /// Whether it has a word detector.
    detects: bool,
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
        let detects = false;
        Mock { vocab, pictures, seeds, detects, gain, grain, room, every, joined: 0, since: 0, read, steps: 0, rows: 0 }
    }

    fn seeded(self, seeds: Vec<u64>) -> Mock {
        Mock { seeds, ..self }
    }

    fn detecting(self) -> Mock {
        Mock { detects: true, ..self }
    }

    /// The support of each word: that of a few words is high, every third says nothing about a picture.
    fn support(&self, picture: u64) -> Vec<f32> {
        let mut random = SplitMix(picture ^ 99);
        let support = (0..self.vocab).map(|t| {
            let support = (random.unit() as f32 * -8.0 / self.grain).round() * self.grain;
            if t % 3 == 0 || t as i64 == STOP { 0.0 } else { support }
        });
        if self.detects { support.collect() } else { Vec::new() }
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
    fn join(&mut self, live: &[usize], k: usize) -> Result<(Vec<JoinedPicture>, TopTokens)> {
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
        let joined = |n: usize| JoinedPicture { seed: self.seeds[n], support: self.support(self.pictures[n]) };
        Ok((new.map(joined).collect(), top))
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

proptest! {
    /// All hypotheses of a picture come in order, and the best one is the caption.
    #[test]
    fn the_best_hypothesis_is_the_caption(
        pictures in prop::collection::vec(any::<u64>(), 1..4), width in 1usize..5, gain in 0.0f32..4.0, grain in 1u8..4,
    ) {
        let options = SearchOptions { vocab: 20, stop_tokens: vec![STOP], max_tokens: 6, ..options(Strategy::Beam(width), 20, 6, 1.0) };
        let model = || Mock::new(20, &pictures, gain, 1.0 / f32::from(grain));
        let best = all(model(), &options);
        let mut ranked = vec![Vec::new(); pictures.len()];
        search_ranked(&mut model(), &options, |picture, found| {
            ranked[picture] = found;
            Ok(())
        }).unwrap();
        for (ranked, best) in ranked.iter().zip(&best) {
            prop_assert_eq!(&ranked[0], best);
            prop_assert!(ranked.len() <= width && ranked.windows(2).all(|w| w[0].mean_logprob >= w[1].mean_logprob));
        }
    }
}

#[test]
fn a_flag_stops_a_search_before_its_next_token() {
    let (interrupt, options) = (Interrupt::new(), options(Strategy::Beam(2), 20, 60, 1.0));
    let mut mock = Mock::new(20, &[1], -100.0, 1.0);
    interrupt.set();
    let mut model = StoppableModel { model: &mut mock, interrupt: &interrupt };
    let stopped = search(&mut model, &options, |_, _| Ok(()));
    assert!(matches!(stopped, Err(Error::Interrupted)) && mock.steps == 0);
}

/// The loop of released ClipCap, over whole rows of the vocabulary, for one picture.
fn released(model: &Mock, picture: u64, options: &SearchOptions) -> TokenSequence {
    let SearchOptions { max_tokens: limit, temperature, support: ref fusion, .. } = *options;
    let (v, beam, support) = (model.vocab, options.width(), model.support(picture));
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
    // The detector weighs in where the decoder gives a token a chance; other tokens are out.
    let fused = |logp: &[f32]| {
        let &Some(SupportSpec { weight, candidates, .. }) = fusion else { return logp.to_vec() };
        let mut order: Vec<usize> = (0..v).collect();
        order.sort_by(|a, b| logp[*b].partial_cmp(&logp[*a]).unwrap().then(a.cmp(b)));
        let mut values = vec![f32::NEG_INFINITY; v];
        order[..candidates].iter().for_each(|&t| values[t] = logp[t] + weight * support[t]);
        values
    };
    let first = fused(&row(&[]));
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
            let mut logp = fused(&row(&ids[b]));
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
    let ids = ids[best][..length[best] as usize].to_vec();
    // What is reported: the decoder's own log-probabilities.
    let logprobs: Vec<f32> = (0..ids.len()).map(|n| row(&ids[..n])[ids[n] as usize]).collect();
    if fusion.is_none() {
        return TokenSequence { ids, mean_logprob: total[best] / length[best], logprobs, support: None };
    }
    let mean_logprob = logprobs.iter().sum::<f32>() / ids.len() as f32;
    let tokens = ids.iter().map(|&id| support[id as usize]).collect();
    TokenSequence { mean_logprob, logprobs, support: Some(WordSupport { tokens }), ids }
}

fn options(strategy: Strategy, vocab: usize, limit: usize, temperature: f32) -> SearchOptions {
    SearchOptions { strategy, max_tokens: limit, temperature, stop_tokens: vec![STOP], vocab, support: None }
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
        let how = options(Strategy::Beam(beam), vocab, limit, 1.0);
        let found = all(model.clone().narrow(room, every), &how);
        for (picture, found) in pictures.iter().zip(found) {
            prop_assert_eq!(released(&model, *picture, &how), found);
        }
    }

    #[test]
    fn temperature_weighs_the_whole_vocabulary(picture: u64, gain in 0.0f32..4.0, temperature in 0.3f32..3.0) {
        let model = Mock::new(20, &[picture], gain, 1e-6);
        let how = options(Strategy::Beam(4), 20, 6, temperature);
        let found = all(model.clone(), &how);
        let want = released(&model, picture, &how);
        prop_assert_eq!(&want.ids, &found[0].ids);
        prop_assert!((want.mean_logprob - found[0].mean_logprob).abs() < 1e-4);
    }

    #[test]
    fn support_decides_among_the_candidates(
        pictures in prop::collection::vec(any::<u64>(), 1..6),
        vocab in 10usize..30, beam in 1usize..8, limit in 1usize..9, more in 0usize..22,
        gain in 0.0f32..6.0, weight in 0.1f32..3.0,
        temperature in prop::sample::select(vec![1.0f32, 1.0, 0.7]),
        room in 1usize..6, every in 1usize..5,
    ) {
        let model = Mock::new(vocab, &pictures, gain, 1e-6).detecting();
        let support = Some(SupportSpec::new(weight, (beam + more).min(vocab)));
        let how = SearchOptions { support, ..options(Strategy::Beam(beam), vocab, limit, temperature) };
        let found = all(model.clone().narrow(room, every), &how);
        for (picture, found) in pictures.iter().zip(found) {
            let want = released(&model, *picture, &how);
            prop_assert_eq!(&want.ids, &found.ids);
            prop_assert_eq!(&want.support, &found.support);
            let pairs = || want.logprobs.iter().zip(&found.logprobs);
            prop_assert!(pairs().count() == found.ids.len() && pairs().all(|(a, b)| (a - b).abs() < 1e-4));
            prop_assert!((want.mean_logprob - found.mean_logprob).abs() < 1e-4);
        }
    }

    #[test]
    fn support_of_no_weight_changes_nothing(
        pictures in prop::collection::vec(any::<u64>(), 1..6), gain in 0.0f32..6.0,
        beam in 1usize..8, candidates in 8usize..20, grain in prop::sample::select(vec![1e-6f32, 2.0]),
        strategy in prop::sample::select(vec![0, 1, 2]),
    ) {
        let strategy = [Strategy::Beam(beam), Strategy::Greedy, Strategy::Sample { top_k: 5 }][strategy];
        let how = options(strategy, 20, 8, 1.0);
        let model = Mock::new(20, &pictures, gain, grain);
        let none = SearchOptions { support: Some(SupportSpec::new(0.0, candidates)), ..how.clone() };
        for (plain, found) in all(model.clone(), &how).into_iter().zip(all(model.detecting(), &none)) {
            prop_assert_eq!(plain, TokenSequence { support: None, ..found });
        }
    }

    #[test]
    fn greedy_is_a_beam_of_one(pictures in prop::collection::vec(any::<u64>(), 1..6), gain in 0.0f32..6.0) {
        let model = Mock::new(20, &pictures, gain, 1e-6);
        for support in [None, Some(SupportSpec::new(0.8, 9))] {
            let how = |strategy| SearchOptions { support: support.clone(), ..options(strategy, 20, 8, 1.0) };
            let greedy = all(model.clone().detecting(), &how(Strategy::Greedy));
            let beam = all(model.clone().detecting(), &how(Strategy::Beam(1)));
            for (a, b) in greedy.iter().zip(beam) {
                prop_assert_eq!(&a.ids, &b.ids);
                prop_assert!((a.mean_logprob - b.mean_logprob).abs() < 1e-5);
            }
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

/// A model that says one caption to every picture, word by word, with these probabilities.
struct Script(Vec<Vec<(f32, i64)>>, Vec<f32>, usize);

impl Script {
    fn top(&self, step: usize, rows: usize, k: usize) -> TopTokens {
        let row = &self.0[step][..k];
        let (logprob, id): (Vec<f32>, Vec<i64>) = row.iter().map(|(p, id)| (p.ln(), *id)).unzip();
        TopTokens { k, logprob: logprob.repeat(rows), id: id.repeat(rows) }
    }
}

impl LanguageModel for Script {
    fn join(&mut self, live: &[usize], k: usize) -> Result<(Vec<JoinedPicture>, TopTokens)> {
        if !live.is_empty() || self.2 > 0 {
            return Ok((Vec::new(), TopTokens::empty(k)));
        }
        Ok((vec![JoinedPicture { seed: 0, support: self.1.clone() }], self.top(0, 1, k)))
    }

    fn step(&mut self, rows: &[StepRow], k: usize) -> Result<TopTokens> {
        self.2 += 1;
        Ok(self.top(self.2, rows.len(), k))
    }
}

#[test]
fn a_general_word_replaces_one_that_the_picture_does_not_support() {
    // The decoder's words: 0 a, 1 poodle, 2 dog, 4 zebra. The detector supports a dog, and by no means a poodle.
    let support = vec![0.0, -6.0, -0.25, 0.0, -0.125];
    let words = [vec![(0.9, 0), (0.1, 2)], vec![(0.6, 1), (0.3, 2), (0.0001, 4)], vec![(0.9, STOP), (0.1, 0)]];
    let said = |how: &SearchOptions| {
        let words = words.iter().map(|row| [&row[..], &[(1e-9, 4); 3]].concat()).collect();
        let mut found = None;
        search(&mut Script(words, support.clone(), 0), how, |_, sequence| {
            found = Some(sequence);
            Ok(())
        })
        .unwrap();
        found.unwrap()
    };
    for strategy in [Strategy::Greedy, Strategy::Beam(1), Strategy::Beam(2)] {
        let plain = options(strategy, 5, 3, 1.0);
        assert_eq!(said(&plain).ids, [0, 1, STOP]);
        let fused = SearchOptions { support: Some(SupportSpec::new(0.5, 3)), ..plain };
        let found = said(&fused);
        assert_eq!(found.ids, [0, 2, STOP]);
        assert_eq!(found.support, Some(WordSupport { tokens: vec![0.0, -0.25, 0.0] }));
        // The reported mean is the decoder's own.
        let own = (0.9f32.ln() + 0.3f32.ln() + 0.9f32.ln()) / 3.0;
        assert!((found.mean_logprob - own).abs() < 1e-6, "{} {own}", found.mean_logprob);
    }
    // Draws take no notice.
    let draw = options(Strategy::Sample { top_k: 1 }, 5, 3, 1.0);
    let weighed = SearchOptions { support: Some(SupportSpec::new(0.5, 3)), ..draw };
    assert_eq!(said(&weighed).ids, [0, 1, STOP]);
}

#[test]
fn a_caption_says_something_before_it_stops() {
    // The decoder's words: 0 there, 1 is, 2 dog. The detector does not support the dog, but nothing else is said.
    let words = [
        vec![(0.9, 0), (0.1, 2)],
        vec![(0.9, 1), (0.05, 0)],
        vec![(0.5, 2), (0.4, STOP)],
        vec![(0.9, STOP), (0.05, 1)],
    ];
    let said = |open: Vec<i64>| {
        let script = Script(words.to_vec(), vec![0.0, 0.0, -4.0, 0.0, 0.0], 0);
        let rules = SupportSpec { open, ..SupportSpec::new(2.0, 2) };
        let how = SearchOptions { support: Some(rules), ..options(Strategy::Greedy, 5, 4, 1.0) };
        let mut found = None;
        search(&mut { script }, &how, |_, sequence| {
            found = Some(sequence.ids);
            Ok(())
        })
        .unwrap();
        found.unwrap()
    };
    assert_eq!(said(vec![0, 1]), [0, 1, 2, STOP]);
    assert_eq!(said(vec![1]), [0, 1, STOP], "a word that may end a caption says something");
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
