//! Embeddings to captions: mapping network, then the language model behind its prefix, token by token.
//!
//! [`mapper`] and [`decoder`] own the two sessions, [`cache`] the keys that the decoder has read; the search itself is
//! [`crate::beam`]. A caption does not depend on the pictures beside its own. Memory: weights once, and the cache of at most
//! [`CaptionOptions::batch`] pictures.

pub mod beam;
mod cache;
mod decoder;
mod mapper;
mod mover;

use tokenizers::Tokenizer;

use crate::error::{Error, Result};
use crate::model::caption::beam::{Found, SearchOptions, SplitMix, Strategy, search};
use crate::model::folder::{MAX_BEAM, Manifest, ModelFolder};
use crate::model::image::Encoded;
use crate::model::runtime::SessionOptions;
use crate::model::text::load_tokenizer;
use decoder::{Batch, Decoder};
use mapper::Mapper;

/// What is to be seen in a picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Caption {
    /// Without the stop token, trimmed.
    pub text: String,
    /// Token ids, the stop token included.
    pub ids: Vec<i64>,
    pub mean_logprob: f32,
    /// From 0 to 1, where the model has a calibration.
    pub score: Option<f32>,
}

/// Pictures as they come.
pub trait Pictures {
    /// At most `most` pictures more, as many as there are. Where `wait`, waits for one; an empty answer then means that no more
    /// will come.
    fn more(&mut self, most: usize, wait: bool) -> Vec<Encoded>;
}

/// Describes pictures. A trait so that the pipeline is tested without a model.
pub trait Captions {
    /// One caption a picture, in order.
    fn caption(&mut self, pictures: &[&Encoded]) -> Result<Vec<Caption>>;

    /// Describes pictures as they come. `done` hears of each as soon as it is described, with its number in the order of
    /// coming.
    fn stream(
        &mut self,
        pictures: &mut dyn Pictures,
        done: &mut dyn FnMut(usize, Caption) -> Result<()>,
    ) -> Result<()> {
        let mut number = 0;
        loop {
            let some = pictures.more(usize::MAX, true);
            if some.is_empty() {
                return Ok(());
            }
            for caption in self.caption(&some.iter().collect::<Vec<_>>())? {
                done(number, caption)?;
                number += 1;
            }
        }
    }
}

/// How captions are made. What is left open is as the model's manifest says.
#[derive(Debug, Clone, PartialEq)]
pub struct CaptionOptions {
    /// Hypotheses side by side. Default: the model's.
    pub beam: Option<usize>,
    /// The likeliest token each time, instead of beams. Default: false.
    pub greedy: bool,
    /// Draw tokens with this seed, instead of beams. Default: none.
    pub sample: Option<u64>,
    /// Tokens that a draw chooses from. Default: 20.
    pub top_k: usize,
    /// Logits are divided by it. Default: the model's.
    pub temperature: Option<f32>,
    /// Most tokens, the stop token counted. Default: the model's.
    pub max_tokens: Option<usize>,
    /// Most pictures at once. Default: 16.
    pub batch: usize,
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
            session: SessionOptions::default(),
        }
    }
}

impl CaptionOptions {
    /// The search that these options come to with a model, or what is wrong with them.
    pub fn search(&self, manifest: &Manifest) -> Result<SearchOptions> {
        let decoding = &manifest.decoding;
        let vocab = manifest.decoder.vocab;
        let beam = self.beam.unwrap_or(decoding.beam);
        let most = MAX_BEAM.min(vocab);
        if beam == 0 || beam > most {
            return Err(Error::usage(format!("--beam {beam} cannot be"), format!("use a beam from 1 to {most}")));
        }
        let max_tokens = self.max_tokens.unwrap_or(decoding.max_tokens);
        let longest = manifest.longest();
        if max_tokens == 0 || max_tokens > longest {
            let remedy = format!("this model can make from 1 to {longest} tokens");
            return Err(Error::usage(format!("--max-tokens {max_tokens} cannot be"), remedy));
        }
        let temperature = self.temperature.unwrap_or(decoding.temperature);
        if !(temperature.is_finite() && temperature > 0.0) {
            return Err(Error::usage(format!("--temperature {temperature} cannot be"), "use a number above 0"));
        }
        let strategy = match (self.greedy, self.sample) {
            (true, Some(_)) => {
                return Err(Error::usage("--greedy and sampling exclude each other", "ask for one of them"));
            }
            (true, None) => Strategy::Greedy,
            (false, Some(_)) => Strategy::Sample { top_k: self.top_k.clamp(1, vocab) },
            (false, None) => Strategy::Beam(beam),
        };
        let stop_tokens = decoding.stop_tokens.clone();
        Ok(SearchOptions { strategy, max_tokens, temperature, stop_tokens, vocab })
    }
}

/// The mapper and the decoder of a model folder.
pub struct Captioner {
    mapper: Mapper,
    decoder: Decoder,
    tokenizer: Tokenizer,
    manifest: Manifest,
    search: SearchOptions,
    seed: u64,
    batch: usize,
}

impl Captioner {
    pub fn new(folder: &ModelFolder, options: &CaptionOptions) -> Result<Captioner> {
        let manifest = folder.manifest().clone();
        Ok(Captioner {
            search: options.search(&manifest)?,
            mapper: Mapper::new(folder, &options.session)?,
            decoder: Decoder::new(folder, &options.session)?,
            tokenizer: load_tokenizer(folder, &manifest.tokenizer)?,
            manifest,
            seed: options.sample.unwrap_or(0),
            batch: options.batch.max(1),
        })
    }

    /// The search that captions come from.
    pub fn search(&self) -> &SearchOptions {
        &self.search
    }
}

/// Tokens as words, with their score.
fn speak(found: Found, search: &SearchOptions, tokenizer: &Tokenizer, manifest: &Manifest) -> Result<Caption> {
    let stop = found.ids.last().is_some_and(|id| search.stop_tokens.contains(id));
    let spoken: Vec<u32> =
        found.ids[..found.ids.len() - usize::from(stop)].iter().map(|&id| u32::try_from(id).unwrap_or(0)).collect();
    let text = tokenizer.decode(&spoken, true).map_err(|e| {
        Error::runtime(format!("{} cannot decode: {e}", manifest.tokenizer), "make the model folder again")
    })?;
    let score = manifest.score.as_ref().and_then(|s| s.score(found.mean_logprob));
    Ok(Caption { text: text.trim().to_string(), ids: found.ids, mean_logprob: found.mean_logprob, score })
}

impl Captions for Captioner {
    fn caption(&mut self, pictures: &[&Encoded]) -> Result<Vec<Caption>> {
        let mut captions: Vec<Option<Caption>> = vec![None; pictures.len()];
        self.stream(&mut Slice(pictures.iter()), &mut |number, caption| {
            if let Some(place) = captions.get_mut(number) {
                *place = Some(caption);
            }
            Ok(())
        })?;
        let missing = || Error::runtime("a picture got no caption", "report this");
        captions.into_iter().map(|c| c.ok_or_else(missing)).collect()
    }

    fn stream(
        &mut self,
        pictures: &mut dyn Pictures,
        done: &mut dyn FnMut(usize, Caption) -> Result<()>,
    ) -> Result<()> {
        let sizes = (self.batch, self.search.width(), self.seed);
        let mut batch = Batch::new(&mut self.mapper, &mut self.decoder, pictures, sizes)?;
        search(&mut batch, &self.search, |number, found| {
            done(number, speak(found, &self.search, &self.tokenizer, &self.manifest)?)
        })
    }
}

/// Pictures that are all there.
struct Slice<'p>(std::slice::Iter<'p, &'p Encoded>);

impl Pictures for Slice<'_> {
    fn more(&mut self, most: usize, _wait: bool) -> Vec<Encoded> {
        self.0.by_ref().take(most).map(|&picture| picture.clone()).collect()
    }
}

/// A picture's own seed: the same picture draws the same tokens whatever stands beside or before it.
fn seed_of(seed: u64, embedding: &[f32]) -> u64 {
    embedding.iter().fold(seed, |hash, v| SplitMix(hash ^ u64::from(v.to_bits())).draw())
}

fn wrong(graph: &str) -> Error {
    Error::runtime(format!("{graph} gave a result of the wrong shape"), "make the model folder again")
}
