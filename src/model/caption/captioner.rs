//! Pictures in, captions out: joins the mapper, the decoder and the search, and turns tokens into text.
//!
//! Captions are handed on as soon as they are found; each comes with the number of its picture.

use tokenizers::Tokenizer;

use super::batch::{BatchOptions, DecodingBatch};
use super::beam::{TokenSequence, search, search_ranked};
use super::certain::certain_part;
use super::decoder::Decoder;
use super::input::CaptionInput;
use super::language_model::StoppableModel;
use super::mapper::Mapper;
use super::options::{CaptionOptions, SearchOptions};
use super::pictures::{PictureSlice, Pictures};
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::model::folder::ModelFolder;
use crate::model::manifest::CaptionerSpec;
use crate::model::support::WordSupport;
use crate::model::text::load_tokenizer;
use crate::model::tokenizer::decode;

/// The description of a picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Caption {
    /// The text, without the stop token and trimmed.
    pub text: String,
    /// Token ids, including the stop token unless the caption was cut.
    pub ids: Vec<i64>,
    /// Mean natural log-probability of a token; at most 0.
    pub mean_logprob: f32,
    /// From 0 to 1, if the model has a calibration.
    pub score: Option<f32>,
    /// How far the picture supports each token, if the model has a word detector and made the caption in this run.
    pub support: Option<WordSupport>,
}

impl Caption {
    /// Whether the score is at least `min_score`. A caption without a score always is good enough.
    pub(crate) fn reaches(&self, min_score: f32) -> bool {
        self.score.is_none_or(|score| score >= min_score)
    }
}

/// Describes pictures. A trait, so that the pipeline can be tested without a model.
pub trait Captions {
    /// One caption for each picture, in order.
    ///
    /// # Errors
    /// [`Error::Runtime`] if the model fails.
    fn caption(&mut self, inputs: &[&CaptionInput]) -> Result<Vec<Caption>>;

    /// A result for each picture, in order: for callers that go on without the pictures whose failure is
    /// [temporary](Error::is_temporary). Other failures concern all pictures.
    fn caption_each(&mut self, inputs: &[&CaptionInput]) -> Vec<Result<Caption>> {
        match self.caption(inputs) {
            Ok(captions) => captions.into_iter().map(Ok).collect(),
            Err(e) => vec![Err(e); inputs.len()],
        }
    }

    /// The captions of one picture that the search has at its end, the best first, each text once; at least one. A captioner
    /// that follows one caption only has that one.
    ///
    /// # Errors
    /// [`Error::Runtime`] if the model fails; [`Error::Interrupted`] once the flag is set.
    fn candidates(&mut self, input: &CaptionInput, interrupt: &Interrupt) -> Result<Vec<Caption>> {
        self.begin(interrupt);
        self.caption(&[input])
    }

    /// Shares the run's stop flag, before the first picture. A captioner that waits for others ends its wait with
    /// [`Error::Interrupted`] once the flag is set.
    fn begin(&mut self, _interrupt: &Interrupt) {}

    /// Whether another machine or process does the work. It then takes no share of this machine, and the captioner limits
    /// the time itself.
    fn is_remote(&self) -> bool {
        false
    }

    /// Most pictures that [`Captions::stream`] takes at a time: what waits for a captioner that reads pictures can be large.
    fn at_once(&self) -> usize {
        usize::MAX
    }

    /// Describes pictures while they arrive. `done` receives each caption as soon as it is found, with the number of
    /// its picture in order of arrival.
    ///
    /// # Errors
    /// [`Error::Runtime`] if the model fails, and every error of `done`, which ends the work.
    fn stream(
        &mut self,
        pictures: &mut dyn Pictures,
        done: &mut dyn FnMut(usize, Caption) -> Result<()>,
    ) -> Result<()> {
        let mut number = 0;
        loop {
            let some = pictures.more(self.at_once(), true);
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

/// The mapper and the decoder of a model folder.
pub struct Captioner {
    mapper: Mapper,
    decoder: Decoder,
    tokenizer: Tokenizer,
    spec: CaptionerSpec,
    search: SearchOptions,
    seed: u64,
    batch: usize,
}

impl Captioner {
    /// Builds the sessions of both graphs and reads the tokenizer.
    ///
    /// # Errors
    /// [`Error::Usage`] if the options do not fit the model; [`Error::Runtime`] if ONNX Runtime or the device is
    /// missing; [`Error::Model`] if a graph or the tokenizer does not match the manifest.
    pub fn new(folder: &ModelFolder, options: &CaptionOptions) -> Result<Captioner> {
        let spec = folder.captioner()?.clone();
        Ok(Captioner {
            search: options.search_options(&spec)?,
            mapper: Mapper::new(folder, &options.session)?,
            decoder: Decoder::new(folder, &options.session)?,
            tokenizer: load_tokenizer(folder, &spec.tokenizer)?,
            spec,
            seed: options.sample.unwrap_or(0),
            batch: options.batch.max(1),
        })
    }

    /// The search that captions come from.
    pub fn search(&self) -> &SearchOptions {
        &self.search
    }
}

impl Captions for Captioner {
    fn caption(&mut self, inputs: &[&CaptionInput]) -> Result<Vec<Caption>> {
        let mut captions: Vec<Option<Caption>> = vec![None; inputs.len()];
        self.stream(&mut PictureSlice(inputs.iter()), &mut |number, caption| {
            if let Some(place) = captions.get_mut(number) {
                *place = Some(caption);
            }
            Ok(())
        })?;
        let missing = || Error::runtime("a picture got no caption", "Report this as a bug.");
        captions.into_iter().map(|c| c.ok_or_else(missing)).collect()
    }

    fn candidates(&mut self, input: &CaptionInput, interrupt: &Interrupt) -> Result<Vec<Caption>> {
        let Captioner { mapper, decoder, tokenizer, spec, search: options, seed, .. } = self;
        let size = BatchOptions { pictures: 1, hypotheses: options.width(), seed: *seed };
        let only = [input];
        let mut pictures = PictureSlice(only.iter());
        let mut batch = DecodingBatch::new(mapper, decoder, &mut pictures, &size)?;
        let mut model = StoppableModel { model: &mut batch, interrupt };
        let mut captions: Vec<Caption> = Vec::new();
        search_ranked(&mut model, options, |_, ranked| {
            for found in ranked {
                let caption = to_caption(certain_part(found, options), options, tokenizer, spec)?;
                add_candidate(&mut captions, caption);
            }
            Ok(())
        })?;
        Ok(captions)
    }

    fn stream(
        &mut self,
        pictures: &mut dyn Pictures,
        done: &mut dyn FnMut(usize, Caption) -> Result<()>,
    ) -> Result<()> {
        let Captioner { mapper, decoder, tokenizer, spec, search: options, seed, batch } = self;
        let size = BatchOptions { pictures: *batch, hypotheses: options.width(), seed: *seed };
        let mut batch = DecodingBatch::new(mapper, decoder, pictures, &size)?;
        search(&mut batch, options, |number, found| {
            done(number, to_caption(certain_part(found, options), options, tokenizer, spec)?)
        })
    }
}

/// Adds a caption whose text is another one than those before it. Hypotheses often differ in a stop token alone, or in what
/// was cut.
pub(crate) fn add_candidate(captions: &mut Vec<Caption>, caption: Caption) {
    if captions.iter().all(|other| other.text != caption.text) {
        captions.push(caption);
    }
}

/// Turns tokens into text and computes their score.
fn to_caption(
    found: TokenSequence,
    options: &SearchOptions,
    tokenizer: &Tokenizer,
    spec: &CaptionerSpec,
) -> Result<Caption> {
    let stopped = found.ids.last().is_some_and(|&id| options.stops(id));
    let shown = &found.ids[..found.ids.len() - usize::from(stopped)];
    let shown: Vec<u32> = shown.iter().map(|&id| u32::try_from(id).unwrap_or(0)).collect();
    let text = decode(tokenizer, &shown).map_err(|e| {
        Error::runtime(format!("{} cannot decode: {e}", spec.tokenizer), "Make the model folder again.")
    })?;
    let TokenSequence { ids, mean_logprob, support, .. } = found;
    let score = spec.score.as_ref().and_then(|s| s.score(mean_logprob, support.as_ref()));
    Ok(Caption { text: text.trim().to_string(), ids, mean_logprob, score, support })
}
