//! Pictures in, captions out: prompts, features, prefill, and one token at a time for all pictures of a batch.
//!
//! The keys of pictures that are finished leave the batch at once, so that late ones do not pay for them.

use std::collections::BTreeMap;

use super::chat::{Chat, Prompt};
use super::files::HubFolder;
use super::generation::{Generation, GenerationOptions, NextRow};
use super::graphs::Graphs;
use super::processor::Processor;
use crate::error::{Error, Result};
use crate::message;
use crate::message::Setting;
use crate::model::caption::{Caption, CaptionInput, CaptionOptions, Captions};
use crate::model::graph::LEAST_ROWS;
use crate::model::prompt::{CaptionPrompt, PromptOptions};

/// Most beams: more need more memory than they are worth.
const MAX_BEAMS: usize = 64;
/// Tokens of a caption where neither the user nor the model says how many.
const MAX_TOKENS: usize = 64;
/// Most pictures in one run of the image tower: its attention needs hundreds of megabytes for more.
const VISION_BATCH: usize = 4;

/// The options of a search with a hub model.
///
/// # Errors
/// [`Error::Usage`] for options that such a model does not have, or that are out of range.
pub(crate) fn generation_options(folder: &HubFolder, options: &CaptionOptions) -> Result<GenerationOptions> {
    let (config, longest) = (&folder.config.generation, folder.config.model.text_config.max_position_embeddings);
    if options.sample.is_some() {
        return Err(Error::usage(
            message![Setting::Sample, " works with ClipCap models only"],
            message!["Use ", Setting::Beam, " or ", Setting::Greedy, "."],
        ));
    }
    let beams = if options.greedy { 1 } else { options.beam.or(config.num_beams).unwrap_or(1) };
    if !(1..=MAX_BEAMS).contains(&beams) {
        return Err(Error::usage(
            message![Setting::Beam, format!(" {beams} is out of range")],
            format!("Use a beam from 1 to {MAX_BEAMS}."),
        ));
    }
    let tokens = options.max_tokens.or(config.max_new_tokens).unwrap_or(MAX_TOKENS);
    if !(1..=longest).contains(&tokens) {
        return Err(Error::usage(
            message![Setting::MaxTokens, format!(" {tokens} is out of range")],
            format!("This model can make from 1 to {longest} tokens."),
        ));
    }
    Ok(GenerationOptions::of(config, beams, tokens))
}

/// A model in the hub's layout.
pub struct HubCaptioner {
    graphs: Graphs,
    chat: Chat,
    processor: Processor,
    options: GenerationOptions,
    /// Where an input has none of its own.
    prompt: CaptionPrompt,
    batch: usize,
}

/// A picture of a batch, or several that are described together.
struct BatchedPicture {
    /// Its number among the inputs.
    number: usize,
    search: Generation,
}

impl HubCaptioner {
    /// Builds the sessions of all graphs and reads the tokenizer.
    ///
    /// # Errors
    /// [`Error::Usage`] if the options do not fit the model; [`Error::Runtime`] if ONNX Runtime or the device is missing;
    /// [`Error::Model`] if descry cannot run the folder's graphs.
    pub fn new(folder: &HubFolder, prompt: PromptOptions, options: &CaptionOptions) -> Result<HubCaptioner> {
        let graphs = Graphs::load(folder, &options.session)?;
        Ok(HubCaptioner {
            options: generation_options(folder, options)?,
            processor: Processor::new(folder)?,
            chat: Chat::new(folder)?,
            batch: if graphs.alone { 1 } else { options.batch.max(1) },
            graphs,
            prompt: prompt.into(),
        })
    }

    /// Captions pictures whose prompts have the same length.
    fn batch(&mut self, inputs: &[(usize, &CaptionInput)], prompt: &Prompt, out: &mut [Option<Caption>]) -> Result<()> {
        let (width, length) = (self.graphs.width(), prompt.ids.len());
        let words = self.graphs.embed(&prompt.ids)?;
        let features = self.features(inputs)?;
        let each = prompt.features.len() * width;
        let mut embeds = Vec::with_capacity(inputs.len() * words.len());
        for features in features.chunks_exact(each) {
            let start = embeds.len();
            embeds.extend_from_slice(&words);
            for (&position, feature) in prompt.features.iter().zip(features.chunks_exact(width)) {
                embeds[start + position * width..][..width].copy_from_slice(feature);
            }
        }
        let mut searches: Vec<BatchedPicture> = inputs
            .iter()
            .map(|(number, _)| BatchedPicture { number: *number, search: Generation::new(prompt.ids.clone()) })
            .collect();
        let (mut logits, mut keys) =
            self.graphs.decode(embeds, inputs.len(), length, self.graphs.no_keys(inputs.len())?)?;
        // Rows of each picture in the present step.
        let mut rows = vec![1; searches.len()];
        let vocab = self.graphs.vocab();
        loop {
            let (mut next, mut counts, mut first) = (Vec::new(), Vec::new(), 0);
            for (picture, count) in searches.iter_mut().zip(&rows) {
                let own = &logits[first * vocab..(first + count) * vocab];
                let more = picture.search.advance(own, vocab, &self.options);
                if picture.search.is_done() {
                    out[picture.number] = Some(self.caption_of(&picture.search)?);
                } else {
                    counts.push(more.len());
                    next.extend(more.into_iter().map(|r| NextRow { source: first + r.source, ..r }));
                }
                first += count;
            }
            searches.retain(|picture| !picture.search.is_done());
            if next.is_empty() {
                return Ok(());
            }
            rows = counts;
            // One row is computed in another way than several, unless its integers have a scale of their own.
            if self.batch > 1 && next.len() < LEAST_ROWS {
                next.resize(LEAST_ROWS, next[0]);
            }
            let sources: Vec<usize> = next.iter().map(|r| r.source).collect();
            keys = self.graphs.select(keys, &sources)?;
            let tokens: Vec<i64> = next.iter().map(|r| r.token).collect();
            let embeds = self.graphs.embed(&tokens)?;
            (logits, keys) = self.graphs.decode(embeds, next.len(), 1, keys)?;
        }
    }

    /// The tokens of a prompt with so many pictures. Leaves out the oldest of its earlier descriptions until it fits.
    fn prompt(&self, prompt: &CaptionPrompt, pictures: usize) -> Result<Prompt> {
        let context = self.graphs.context();
        let mut shorter = Some(prompt.clone());
        let mut needed = 0;
        while let Some(prompt) = shorter {
            let tokens = self.chat.prompt(&prompt.compose(), pictures)?;
            needed = tokens.ids.len() + self.options.max_tokens;
            if needed <= context {
                return Ok(tokens);
            }
            shorter = prompt.shortened();
        }
        Err(Error::usage(
            format!("the prompt and a caption need {needed} tokens, and the model has room for {context}"),
            message!["Shorten the ", Setting::Prompt, ", or lower ", Setting::MaxTokens, "."],
        ))
    }

    /// The features of all pictures, in order.
    fn features(&mut self, inputs: &[(usize, &CaptionInput)]) -> Result<Vec<f32>> {
        let side = self.processor.side();
        let mut features = Vec::new();
        let each = inputs.first().map_or(0, |(_, input)| input.pictures.len());
        let together = if self.graphs.vision_alone { 1 } else { (VISION_BATCH / each.max(1)).max(1) };
        for group in inputs.chunks(together) {
            let mut pixels = Vec::with_capacity(group.len() * each * 3 * side * side);
            for picture in group.iter().flat_map(|(_, input)| &input.pictures) {
                self.processor.append(picture, &mut pixels)?;
            }
            features.extend(self.graphs.features(pixels, group.len(), each, side)?);
        }
        Ok(features)
    }

    fn caption_of(&self, search: &Generation) -> Result<Caption> {
        let best = search.best();
        let text = self.chat.text(&best.ids)?;
        Ok(Caption { text, ids: best.ids, mean_logprob: best.mean_logprob, score: None })
    }
}

impl Captions for HubCaptioner {
    fn caption(&mut self, inputs: &[&CaptionInput]) -> Result<Vec<Caption>> {
        let mut captions = vec![None; inputs.len()];
        let mut groups: BTreeMap<(usize, String), Vec<(usize, &CaptionInput)>> = BTreeMap::new();
        for (number, input) in inputs.iter().enumerate() {
            let text = input.prompt.as_deref().unwrap_or(&self.prompt).compose();
            groups.entry((input.required_pictures()?.len(), text)).or_default().push((number, input));
        }
        for ((pictures, _), group) in groups {
            let asked = group.first().and_then(|(_, input)| input.prompt.as_deref()).unwrap_or(&self.prompt);
            let prompt = self.prompt(asked, pictures)?;
            for batch in group.chunks(self.batch) {
                self.batch(batch, &prompt, &mut captions)?;
            }
        }
        let missing = || Error::runtime("a picture got no caption", "Report this as a bug.");
        captions.into_iter().map(|caption| caption.ok_or_else(missing)).collect()
    }

    fn at_once(&self) -> usize {
        self.batch
    }
}
