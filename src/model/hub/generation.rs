//! Tokens out of logits, as `transformers` generates them: greedy and beam search, repetition rules, when a search ends.
//!
//! Pure: a [`Generation`] takes the logits of its rows and says which rows come next. The sums of a beam search are kept
//! in f32 as there, and ties go to the lower index.
//!
//! Memory: the tokens of a picture's hypotheses.

use super::config::GenerationConfig;

/// How tokens are chosen, with every option settled.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct GenerationOptions {
    /// Hypotheses side by side; 1 is greedy search.
    pub(crate) beams: usize,
    /// Most new tokens, including the stop token.
    pub(crate) max_tokens: usize,
    pub(crate) stop_tokens: Vec<i64>,
    /// Exponent of the length by which a finished hypothesis's sum is divided.
    pub(crate) length_penalty: f32,
    pub(crate) early_stopping: EarlyStopping,
    /// Logits of tokens that were there before are divided by this where positive, and multiplied where negative.
    pub(crate) repetition_penalty: f32,
    /// No sequence of this many tokens occurs twice; 0 for no limit.
    pub(crate) no_repeat_ngram: usize,
    /// Tokens that never come.
    pub(crate) suppressed: Vec<i64>,
    /// The first token behind a prompt of one token, which is where a decoder behind an encoder starts.
    pub(crate) forced_first: Option<i64>,
    /// Tokens of which one ends a text of the greatest length; empty if such a text breaks off.
    pub(crate) forced_last: Vec<i64>,
}

/// When a beam search with enough finished hypotheses ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EarlyStopping {
    /// At once.
    Yes,
    /// When no running hypothesis is better than the worst finished one, at its present length.
    No,
    /// The same at the best length that it can reach.
    Never,
}

impl GenerationOptions {
    /// The options of a model's `generation_config.json`.
    pub(crate) fn of(config: &GenerationConfig, beams: usize, max_tokens: usize) -> GenerationOptions {
        GenerationOptions {
            beams,
            max_tokens,
            stop_tokens: config.stop_tokens(),
            length_penalty: config.length_penalty.unwrap_or(1.0),
            early_stopping: match (config.early_stopping.as_bool(), config.early_stopping.as_str()) {
                (Some(true), _) => EarlyStopping::Yes,
                (_, Some("never")) => EarlyStopping::Never,
                _ => EarlyStopping::No,
            },
            repetition_penalty: config.repetition_penalty.unwrap_or(1.0),
            no_repeat_ngram: config.no_repeat_ngram_size.unwrap_or(0),
            suppressed: config.suppress_tokens.clone().unwrap_or_default(),
            forced_first: config.forced_bos_token_id,
            forced_last: config.forced_last(),
        }
    }

    /// The only tokens that may come behind so many of the prompt and new ones, if there is such a rule.
    fn forced(&self, prompt: usize, new: usize) -> Option<&[i64]> {
        if new + 1 == self.max_tokens && !self.forced_last.is_empty() {
            return Some(&self.forced_last);
        }
        self.forced_first.as_ref().filter(|_| prompt + new == 1).map(std::slice::from_ref)
    }

    /// Candidates that a step of beam search considers: enough that each beam can go on if the best ones all stop.
    fn candidates(&self) -> usize {
        (1 + self.stop_tokens.len()).max(2) * self.beams
    }
}

/// A row of the next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NextRow {
    /// Which of the picture's rows of this step it continues.
    pub(crate) source: usize,
    pub(crate) token: i64,
}

/// A finished text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct GeneratedText {
    /// New tokens, including the stop token if there is one.
    pub(crate) ids: Vec<i64>,
    /// Mean natural log-probability of a token.
    pub(crate) mean_logprob: f32,
}

#[derive(Debug, Clone)]
struct RunningText {
    ids: Vec<i64>,
    /// Sum of log-probabilities, after the repetition rules.
    total: f32,
}

#[derive(Debug, Clone)]
struct FinishedText {
    ids: Vec<i64>,
    total: f32,
    /// The sum divided by the length to the power of the penalty.
    score: f32,
}

/// The search for one picture's text.
#[derive(Debug, Clone)]
pub(crate) struct Generation {
    prompt: Vec<i64>,
    running: Vec<RunningText>,
    /// Best first, at most as many as there are beams.
    finished: Vec<FinishedText>,
    /// Tokens so far.
    length: usize,
    /// No running hypothesis can become better than the finished ones.
    settled: bool,
    done: bool,
}

impl Generation {
    /// A search behind a prompt. Its first row of logits is the prompt's last.
    pub(crate) fn new(prompt: Vec<i64>) -> Generation {
        let running = vec![RunningText { ids: Vec::new(), total: 0.0 }];
        Generation { prompt, running, finished: Vec::new(), length: 0, settled: false, done: false }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.done
    }

    /// Takes the logits of the picture's rows, `vocab` values each, and returns the rows of the next step; none if the
    /// search is done.
    pub(crate) fn advance(&mut self, logits: &[f32], vocab: usize, options: &GenerationOptions) -> Vec<NextRow> {
        if options.beams <= 1 { self.greedy(&logits[..vocab], options) } else { self.beam(logits, vocab, options) }
    }

    fn greedy(&mut self, logits: &[f32], options: &GenerationOptions) -> Vec<NextRow> {
        self.length += 1;
        let hypothesis = &mut self.running[0];
        let mut scores = logits.to_vec();
        apply_rules(&mut scores, &self.prompt, &hypothesis.ids, options);
        let best = scores.iter().enumerate().reduce(|a, b| if b.1 > a.1 { b } else { a }).map_or(0, |(id, _)| id);
        let token = best as i64;
        // A token that comes by rule is certain.
        let forced = options.forced(self.prompt.len(), hypothesis.ids.len()).is_some();
        hypothesis.total += if forced { 0.0 } else { logits[best] - log_sum(logits) };
        hypothesis.ids.push(token);
        self.done = options.stop_tokens.contains(&token) || self.length >= options.max_tokens;
        if self.done { Vec::new() } else { vec![NextRow { source: 0, token }] }
    }

    fn beam(&mut self, logits: &[f32], vocab: usize, options: &GenerationOptions) -> Vec<NextRow> {
        self.length += 1;
        let last = self.length >= options.max_tokens;
        let candidates = self.candidates(logits, vocab, options);
        let stops = |id: i64| last || options.stop_tokens.contains(&id);
        // FinishedText hypotheses come from the best candidates only; the others are a reserve to go on with.
        let closed = options.early_stopping == EarlyStopping::Yes && self.finished.len() >= options.beams;
        let divisor = (self.length as f32).powf(options.length_penalty);
        for c in candidates.iter().take(options.beams).filter(|c| stops(c.token)) {
            if !closed && !self.settled {
                let ids = self.extended(c);
                self.finished.push(FinishedText { ids, total: c.total, score: c.total / divisor });
            }
        }
        // A stable sort: of equal scores the earlier one stays first.
        self.finished.sort_by(|a, b| b.score.total_cmp(&a.score));
        self.finished.truncate(options.beams);
        let next: Vec<Continuation> =
            candidates.iter().filter(|c| !stops(c.token)).take(options.beams).cloned().collect();
        let running = next.iter().map(|c| RunningText { ids: self.extended(c), total: c.total }).collect();
        self.running = running;
        self.settle(options);
        let full = self.finished.len() >= options.beams;
        let stopped = options.early_stopping == EarlyStopping::Yes && full;
        self.done = self.settled || stopped || self.running.is_empty();
        if self.done {
            return Vec::new();
        }
        next.iter().map(|c| NextRow { source: c.source, token: c.token }).collect()
    }

    /// Whether a running hypothesis can still become better than the worst finished one, as `transformers` estimates it.
    fn settle(&mut self, options: &GenerationOptions) {
        let (Some(best), true) = (self.running.first(), self.finished.len() >= options.beams) else { return };
        let reach = match options.early_stopping {
            EarlyStopping::Never if options.length_penalty > 0.0 => options.max_tokens,
            _ => self.length,
        };
        let possible = best.total / (reach as f32).powf(options.length_penalty);
        self.settled |= self.finished.last().is_some_and(|worst| possible <= worst.score);
    }

    /// The best continuations of all running hypotheses, best first.
    fn candidates(&self, logits: &[f32], vocab: usize, options: &GenerationOptions) -> Vec<Continuation> {
        let most = options.candidates();
        let mut best: Vec<Continuation> = Vec::with_capacity(most + 1);
        for (source, (hypothesis, row)) in self.running.iter().zip(logits.chunks_exact(vocab)).enumerate() {
            let log = log_sum(row);
            let mut scores: Vec<f32> = row.iter().map(|l| l - log).collect();
            apply_rules(&mut scores, &self.prompt, &hypothesis.ids, options);
            for (id, logprob) in scores.into_iter().enumerate() {
                let total = hypothesis.total + logprob;
                // A token that cannot come is no candidate. `transformers` fills its place with a beam that never wins.
                if total == f32::NEG_INFINITY
                    || best.len() == most && best.last().is_some_and(|worst| total <= worst.total)
                {
                    continue;
                }
                let at = best.partition_point(|c| c.total >= total);
                best.insert(at, Continuation { total, source, token: id as i64 });
                best.truncate(most);
            }
        }
        best
    }

    fn extended(&self, candidate: &Continuation) -> Vec<i64> {
        let mut ids = self.running[candidate.source].ids.clone();
        ids.push(candidate.token);
        ids
    }

    /// The best text.
    pub(crate) fn best(&self) -> GeneratedText {
        self.ranked().into_iter().next().unwrap_or(GeneratedText { ids: Vec::new(), mean_logprob: 0.0 })
    }

    /// The texts that are finished, the best first; those that the length limit has cut where none is.
    pub(crate) fn ranked(&self) -> Vec<GeneratedText> {
        let finished = self.finished.iter().map(|f| (&f.ids, f.total));
        let running = self.running.iter().map(|h| (&h.ids, h.total)).filter(|_| self.finished.is_empty());
        let text = |(ids, total): (&Vec<i64>, f32)| GeneratedText {
            ids: ids.clone(),
            mean_logprob: total / ids.len().max(1) as f32,
        };
        finished.chain(running).map(text).collect()
    }
}

/// A continuation that the next beam may hold.
#[derive(Debug, Clone)]
struct Continuation {
    total: f32,
    source: usize,
    token: i64,
}

/// Natural logarithm of the sum of exponentials.
fn log_sum(logits: &[f32]) -> f32 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|l| f64::from(l - largest).exp()).sum();
    largest + sum.ln() as f32
}

/// The rules of `generation_config.json`, in the order of `transformers`.
fn apply_rules(scores: &mut [f32], prompt: &[i64], ids: &[i64], options: &GenerationOptions) {
    let before = || prompt.iter().chain(ids).filter_map(|&id| usize::try_from(id).ok());
    if options.repetition_penalty != 1.0 {
        let mut seen: Vec<usize> = before().filter(|&id| id < scores.len()).collect();
        seen.sort_unstable();
        seen.dedup();
        for id in seen {
            let score = &mut scores[id];
            *score =
                if *score < 0.0 { *score * options.repetition_penalty } else { *score / options.repetition_penalty };
        }
    }
    let n = options.no_repeat_ngram;
    let all: Vec<usize> = if n > 0 { before().collect() } else { Vec::new() };
    if n > 0 && all.len() + 1 > n {
        let latest = &all[all.len() + 1 - n..];
        for ngram in all.windows(n).filter(|ngram| ngram[..n - 1] == *latest) {
            if let Some(score) = scores.get_mut(ngram[n - 1]) {
                *score = f32::NEG_INFINITY;
            }
        }
    }
    if let Some(forced) = options.forced(prompt.len(), ids.len()) {
        scores.fill(f32::NEG_INFINITY);
        for &id in forced {
            if let Some(score) = usize::try_from(id).ok().and_then(|id| scores.get_mut(id)) {
                *score = 0.0;
            }
        }
    }
    for &id in &options.suppressed {
        if let Some(score) = usize::try_from(id).ok().and_then(|id| scores.get_mut(id)) {
            *score = f32::NEG_INFINITY;
        }
    }
}
