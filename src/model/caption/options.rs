//! How captions are made: what the user asks for, and the search that it comes to with a model.

use crate::error::{Error, Result};
use crate::message;
use crate::message::Setting;
use crate::model::manifest::{CaptionerSpec, MAX_BEAM};
use crate::model::runtime::SessionOptions;
use crate::model::support::SupportSpec;

/// How captions are made. `None` means the value in the model's manifest.
#[derive(Debug, Clone, PartialEq)]
pub struct CaptionOptions {
    /// Hypotheses side by side, from 1 to 64. Default: the model's.
    pub beam: Option<usize>,
    /// Whether the likeliest token is taken each time, instead of a beam search. Default: false.
    pub greedy: bool,
    /// The seed for drawing tokens at random, instead of a beam search. Default: none.
    pub sample: Option<u64>,
    /// How many of the likeliest tokens a draw chooses from. Default: 20.
    pub top_k: usize,
    /// Logits are divided by this; above 0. Default: the model's.
    pub temperature: Option<f32>,
    /// Most tokens in a caption, including the stop token. Default: the model's.
    pub max_tokens: Option<usize>,
    /// Most pictures at once. Default: 16.
    pub batch: usize,
    /// Whether a model of the hub splits pictures into tiles where its processor says so: more detail, for many times the
    /// work. Default: false, as processors of videos do with frames.
    pub split_pictures: bool,
    /// Threads, device and memory. Default: ONNX Runtime's threads on the CPU.
    pub session: SessionOptions,
}

impl Default for CaptionOptions {
    fn default() -> CaptionOptions {
        CaptionOptions {
            beam: None,
            greedy: false,
            sample: None,
            top_k: 20,
            temperature: None,
            max_tokens: None,
            batch: 16,
            split_pictures: false,
            session: SessionOptions::default(),
        }
    }
}

impl CaptionOptions {
    /// The search that these options come to with a model.
    ///
    /// # Errors
    /// [`Error::Usage`] if an option is out of range for the model, or if two of them exclude each other.
    pub fn search_options(&self, captioner: &CaptionerSpec) -> Result<SearchOptions> {
        let decoding = &captioner.decoding;
        let vocab = captioner.decoder.vocab;
        let beam = self.beam.unwrap_or(decoding.beam);
        let widest = MAX_BEAM.min(vocab);
        if beam == 0 || beam > widest {
            return Err(Error::usage(
                message![Setting::Beam, format!(" {beam} is out of range")],
                format!("Use a beam from 1 to {widest}."),
            ));
        }
        let max_tokens = self.max_tokens.unwrap_or(decoding.max_tokens);
        let longest = captioner.longest();
        if max_tokens == 0 || max_tokens > longest {
            return Err(Error::usage(
                message![Setting::MaxTokens, format!(" {max_tokens} is out of range")],
                format!("This model can make from 1 to {longest} tokens."),
            ));
        }
        let temperature = self.temperature.unwrap_or(decoding.temperature);
        if !(temperature.is_finite() && temperature > 0.0) {
            return Err(Error::usage(
                message![Setting::Temperature, format!(" {temperature} is out of range")],
                "Use a number above 0.",
            ));
        }
        let strategy = match (self.greedy, self.sample) {
            (true, Some(_)) => {
                return Err(Error::usage(
                    message![Setting::Greedy, " and ", Setting::Sample, " exclude each other"],
                    "Use one of them.",
                ));
            }
            (true, None) => Strategy::Greedy,
            (false, Some(_)) => Strategy::Sample { top_k: self.top_k.clamp(1, vocab) },
            (false, None) => Strategy::Beam(beam),
        };
        let stop_tokens = decoding.stop_tokens.clone();
        let support = decoding.support.clone();
        Ok(SearchOptions { strategy, max_tokens, temperature, stop_tokens, vocab, support })
    }
}

/// How tokens are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// This many hypotheses side by side.
    Beam(usize),
    /// The likeliest token each time. The "top-p" of released ClipCap comes to this.
    Greedy,
    /// A token drawn from the likeliest ones by its probability. Each picture has a seed of its own.
    Sample {
        /// How many of the likeliest tokens a draw chooses from.
        top_k: usize,
    },
}

/// A search, with every option settled.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchOptions {
    /// How tokens are chosen. Default: beams of 5, as in released ClipCap.
    pub strategy: Strategy,
    /// Most tokens in a caption, including the stop token; at least 1. Default: 67, as in released ClipCap.
    pub max_tokens: usize,
    /// Logits are divided by this. Default: 1.
    pub temperature: f32,
    /// Tokens that end a caption. Default: 13, GPT-2's full stop.
    pub stop_tokens: Vec<i64>,
    /// Tokens in the language model's vocabulary. Default: 50,257, GPT-2's.
    pub vocab: usize,
    /// How the support of words is weighed, which sampling ignores, and where captions are cut. Default: none, and the
    /// language model alone decides.
    pub support: Option<SupportSpec>,
}

impl Default for SearchOptions {
    fn default() -> SearchOptions {
        SearchOptions {
            strategy: Strategy::Beam(5),
            max_tokens: 67,
            temperature: 1.0,
            stop_tokens: vec![13],
            vocab: 50_257,
            support: None,
        }
    }
}

impl SearchOptions {
    /// Most hypotheses of a picture.
    pub(crate) fn width(&self) -> usize {
        match self.strategy {
            Strategy::Beam(width) => width.clamp(1, self.vocab.max(1)),
            Strategy::Greedy | Strategy::Sample { .. } => 1,
        }
    }

    /// How many of the likeliest tokens the model must return for each hypothesis. Beams at a temperature other than
    /// 1 need the whole vocabulary for the right sum.
    pub(crate) fn returned_tokens(&self) -> usize {
        if self.rescales() { self.vocab } else { self.candidates() }
    }

    /// Among how many of a hypothesis's likeliest tokens the next one is chosen. A draw weighs its candidates against
    /// one another, so it needs only those.
    pub(crate) fn candidates(&self) -> usize {
        let supported = self.fusion().map_or(1, |support| support.candidates);
        match self.strategy {
            Strategy::Beam(_) | Strategy::Greedy => supported.clamp(self.width(), self.vocab.max(1)),
            Strategy::Sample { top_k } => top_k.clamp(1, self.vocab.max(1)),
        }
    }

    /// How the search weighs the support of words, if it does.
    pub(crate) fn fusion(&self) -> Option<&SupportSpec> {
        self.support.as_ref().filter(|support| support.weight > 0.0)
    }

    /// Whether log-probabilities must be computed again at the search's temperature.
    pub(crate) fn rescales(&self) -> bool {
        matches!(self.strategy, Strategy::Beam(_)) && self.temperature != 1.0
    }

    /// Whether a token ends a caption.
    pub(crate) fn stops(&self, token: i64) -> bool {
        self.stop_tokens.contains(&token)
    }
}
