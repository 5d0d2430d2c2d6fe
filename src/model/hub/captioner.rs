//! Pictures in, captions out: prompts, features, prefill, and one token at a time for all pictures of a batch.
//!
//! The keys of pictures that are finished leave the batch at once, so that late ones do not pay for them.

use std::collections::BTreeMap;

use super::chat::{Chat, Prompt};
use super::config::Family;
use super::files::HubFolder;
use super::generation::{GeneratedText, Generation, GenerationOptions, NextRow};
use super::language::{HubGraphs, TextGraphs};
use super::processor::{Processor, TileGrid};
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::message;
use crate::message::Setting;
use crate::model::caption::{Caption, CaptionInput, CaptionOptions, Captions, add_candidate};
use crate::model::graph::LEAST_ROWS;
use crate::model::prompt::{CaptionPrompt, PromptOptions};
use crate::model::side_by_side::{each_of, side_by_side};

/// Most beams: more need more memory than they are worth.
const MAX_BEAMS: usize = 64;
/// Tokens of a caption where neither the user nor the model says how many.
const MAX_TOKENS: usize = 64;

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
    graphs: HubGraphs,
    chat: Chat,
    processor: Processor,
    options: GenerationOptions,
    /// Where an input has none of its own.
    prompt: CaptionPrompt,
    batch: usize,
    /// Threads that prepare pictures and choose tokens. At least one.
    threads: usize,
    /// Fewest rows of a step. One row is computed in another way than several, unless its integers have a scale of
    /// their own.
    least_rows: usize,
}

/// A picture of a batch, or several that are described together.
struct BatchedPicture {
    /// Its number in the batch.
    number: usize,
    search: Generation,
}

impl HubCaptioner {
    /// Builds the sessions of all graphs and reads the tokenizer.
    ///
    /// # Errors
    /// [`Error::Usage`] if the options or the prompt do not fit the model; [`Error::Runtime`] if ONNX Runtime or the
    /// device is missing; [`Error::Model`] if descry cannot run the folder's graphs.
    pub fn new(folder: &HubFolder, prompt: PromptOptions, options: &CaptionOptions) -> Result<HubCaptioner> {
        let search = generation_options(folder, options)?;
        let prompt: CaptionPrompt = folder.settle_prompt(prompt, 1)?.into();
        let (chat, graphs) = side_by_side(
            || Chat::new(folder).inspect(|chat| chat.prepare(&prompt.compose(), 1)),
            || HubGraphs::load(folder, &options.session),
        );
        let graphs = graphs?;
        let batch = match folder.config.family {
            _ if graphs.scale_by_batch() => 1,
            Family::SmolVlm | Family::Llava => options.batch,
            // Each hypothesis has the keys of hundreds of features, so their number is what counts.
            Family::Florence => options.batch / search.beams,
        };
        Ok(HubCaptioner {
            options: search,
            processor: Processor::new(folder, options.split_pictures)?,
            chat: chat?,
            prompt,
            batch: batch.max(1),
            threads: options.session.threads_on_host(),
            least_rows: if graphs.scale_by_batch() { 1 } else { LEAST_ROWS },
            graphs,
        })
    }

    /// Captions inputs with the same prompt, for each of which the image tower reads `each` pictures.
    fn batch(
        &mut self,
        inputs: &[(usize, &CaptionInput)],
        each: usize,
        prompt: &Prompt,
        out: &mut [Option<Caption>],
    ) -> Result<()> {
        for ((number, _), search) in inputs.iter().zip(self.searches(inputs, each, prompt, None)?) {
            out[*number] = Some(self.caption_of(search.best())?);
        }
        Ok(())
    }

    /// The finished searches of inputs with the same prompt; see [`HubCaptioner::batch`].
    fn searches(
        &mut self,
        inputs: &[(usize, &CaptionInput)],
        each: usize,
        prompt: &Prompt,
        interrupt: Option<&Interrupt>,
    ) -> Result<Vec<Generation>> {
        let features = self.features(inputs, each)?;
        let (options, threads, least_rows) = (&self.options, self.threads, self.least_rows);
        let batch = Batch { prompt, features: &features, options, threads, least_rows, interrupt };
        match &mut self.graphs {
            HubGraphs::Decoder(graphs) => batch.searches(graphs.as_mut(), inputs.len()),
            HubGraphs::EncoderDecoder(graphs) => batch.searches(graphs.as_mut(), inputs.len()),
        }
    }

    /// The tokens of a prompt with such pictures. Leaves out the oldest of its earlier descriptions until it fits.
    fn prompt(&self, prompt: &CaptionPrompt, grids: &[Option<TileGrid>]) -> Result<Prompt> {
        let mut shorter = Some(prompt.clone());
        let (mut needed, mut context) = (0, 0);
        while let Some(prompt) = shorter {
            let tokens = self.chat.prompt(&prompt.compose(), grids)?;
            (needed, context) = self.graphs.room(&tokens, self.options.max_tokens);
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
    fn features(&mut self, inputs: &[(usize, &CaptionInput)], each: usize) -> Result<Vec<f32>> {
        let side = self.processor.side();
        let at_once = self.graphs.vision_batch();
        // Integers have one scale for all pictures of a prompt, so those are always in one run.
        let run = if self.graphs.inputs().scale_by_batch { each } else { at_once };
        let together = (at_once / each.max(1)).max(1);
        // As many pictures are prepared at a time as there are threads: on a GPU, this takes longer than the tower.
        let prepared_at_once = together * (self.threads / (together * each.max(1))).max(1);
        let mut features = Vec::new();
        for block in inputs.chunks(prepared_at_once) {
            let pictures = block.iter().flat_map(|(_, input)| &input.pictures).collect();
            let processor = &self.processor;
            let prepared = each_of(pictures, self.threads, |picture| {
                let mut pixels = Vec::new();
                processor.append(picture, &mut pixels).map(|()| pixels)
            });
            let mut prepared = prepared.into_iter();
            for group in block.chunks(together) {
                let pictures = group.iter().map(|(_, input)| input.pictures.len()).sum();
                let mut pixels = Vec::with_capacity(group.len() * each * 3 * side * side);
                for picture in prepared.by_ref().take(pictures) {
                    pixels.append(&mut picture?);
                }
                while !pixels.is_empty() {
                    let rest = pixels.split_off(pixels.len().min(run * 3 * side * side));
                    features.extend(self.graphs.inputs().features(std::mem::replace(&mut pixels, rest), side)?);
                }
            }
        }
        Ok(features)
    }

    /// How each picture of a prompt is split.
    fn grids(&self, input: &CaptionInput) -> Vec<Option<TileGrid>> {
        input.pictures.iter().map(|picture| self.processor.grid(picture)).collect()
    }

    fn caption_of(&self, text: GeneratedText) -> Result<Caption> {
        let GeneratedText { ids, mean_logprob } = text;
        Ok(Caption { text: self.chat.text(&ids)?, ids, mean_logprob, score: None, support: None })
    }
}

/// What inputs must have in common to share a batch: how their pictures are split, and the prompt.
type BatchKey = (Vec<Option<TileGrid>>, String);

/// Pictures whose texts are generated side by side.
struct Batch<'b> {
    prompt: &'b Prompt,
    /// The features of all pictures, in order.
    features: &'b [f32],
    options: &'b GenerationOptions,
    /// Threads that choose tokens.
    threads: usize,
    /// Fewest rows of a step.
    least_rows: usize,
    /// Ends the work before its next token.
    interrupt: Option<&'b Interrupt>,
}

impl Batch<'_> {
    /// The finished searches of all pictures, in order.
    fn searches<G: TextGraphs>(&self, graphs: &mut G, pictures: usize) -> Result<Vec<Generation>> {
        let before = graphs.before(self.prompt);
        let mut finished: Vec<Generation> = vec![Generation::new(before.clone()); pictures];
        let mut searches: Vec<BatchedPicture> =
            (0..pictures).map(|number| BatchedPicture { number, search: Generation::new(before.clone()) }).collect();
        let (mut logits, mut keys) = graphs.prefill(self.prompt, self.features, pictures)?;
        // Rows of each picture in the present step.
        let mut rows = vec![1; searches.len()];
        let vocab = graphs.vocab();
        loop {
            let mut own = logits.as_slice();
            let pictures = searches.iter_mut().zip(&rows).map(|(picture, count)| {
                let (row, rest) = own.split_at(count * vocab);
                own = rest;
                (picture, row)
            });
            let chosen = each_of(pictures.collect(), self.threads, |(picture, logits)| {
                picture.search.advance(logits, vocab, self.options)
            });
            let (mut next, mut counts, mut first) = (Vec::new(), Vec::new(), 0);
            for ((picture, count), more) in searches.iter_mut().zip(&rows).zip(chosen) {
                if picture.search.is_done() {
                    finished[picture.number] = picture.search.clone();
                } else {
                    counts.push(more.len());
                    next.extend(more.into_iter().map(|r| NextRow { source: first + r.source, ..r }));
                }
                first += count;
            }
            searches.retain(|picture| !picture.search.is_done());
            if next.is_empty() {
                return Ok(finished);
            }
            if self.interrupt.is_some_and(Interrupt::is_set) {
                return Err(Error::Interrupted);
            }
            rows = counts;
            if next.len() < self.least_rows {
                next.resize(self.least_rows, next[0]);
            }
            let sources: Vec<usize> = next.iter().map(|r| r.source).collect();
            let tokens: Vec<i64> = next.iter().map(|r| r.token).collect();
            (logits, keys) = graphs.step(&tokens, &sources, keys)?;
        }
    }
}

impl Captions for HubCaptioner {
    fn caption(&mut self, inputs: &[&CaptionInput]) -> Result<Vec<Caption>> {
        let mut captions = vec![None; inputs.len()];
        let mut groups: BTreeMap<BatchKey, Vec<(usize, &CaptionInput)>> = BTreeMap::new();
        for (number, input) in inputs.iter().enumerate() {
            let text = input.prompt.as_deref().unwrap_or(&self.prompt).compose();
            input.required_pictures()?;
            groups.entry((self.grids(input), text)).or_default().push((number, input));
        }
        for ((grids, _), group) in groups {
            let asked = group.first().and_then(|(_, input)| input.prompt.as_deref()).unwrap_or(&self.prompt);
            let prompt = self.prompt(asked, &grids)?;
            // Tiles have tokens, too, whose keys take memory.
            let each = grids.iter().map(|&grid| TileGrid::pictures(grid)).sum::<usize>().max(1);
            for batch in group.chunks((self.batch * grids.len() / each).max(1)) {
                self.batch(batch, each, &prompt, &mut captions)?;
            }
        }
        let missing = || Error::runtime("a picture got no caption", "Report this as a bug.");
        captions.into_iter().map(|caption| caption.ok_or_else(missing)).collect()
    }

    fn candidates(&mut self, input: &CaptionInput, interrupt: &Interrupt) -> Result<Vec<Caption>> {
        input.required_pictures()?;
        let grids = self.grids(input);
        let each = grids.iter().map(|&grid| TileGrid::pictures(grid)).sum::<usize>().max(1);
        let prompt = self.prompt(input.prompt.as_deref().unwrap_or(&self.prompt), &grids)?;
        let searches = self.searches(&[(0, input)], each, &prompt, Some(interrupt))?;
        let mut captions = Vec::new();
        for text in searches.first().map(Generation::ranked).unwrap_or_default() {
            add_candidate(&mut captions, self.caption_of(text)?);
        }
        Ok(captions)
    }

    fn at_once(&self) -> usize {
        self.batch
    }
}
