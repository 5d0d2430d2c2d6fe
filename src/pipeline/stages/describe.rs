//! The third stage: decides what is new and captions it, in batches that fill across files. One thread.
//!
//! Order: as they came, file by file. With earlier descriptions in the prompt, a file's captions are made one after the
//! other, and only those of different files share a run of the captioner: so a caption depends on the captions before it and
//! not on the batch.
//!
//! Memory: one batch of embeddings, at most [`MESSAGES`] messages, and for each file the scenes that
//! [dedup](crate::track::dedup) remembers, with their captions, and the descriptions of its next prompt.

use std::collections::{HashMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender};

use crate::error::{Error, Result};
use crate::model::{Caption, CaptionInput, Captions, DescriptionHistory, Load, PromptOptions};
use crate::pipeline::batch::{BatchLimits, BatchRule, BatchStage, Batcher, drive};
use crate::pipeline::context::Run;
use crate::pipeline::message::{CaptionedKeyframe, EncodedKeyframe, QUEUE, StageMessage};
use crate::pipeline::stats::StageTimers;
use crate::track::Dedup;
use crate::track::cue::sentence;

/// Most messages that wait for a batch.
pub(crate) const MESSAGES: usize = 8 * QUEUE;

/// What one file has shown so far.
struct FileMemory {
    dedup: Dedup,
    /// Captions of distinct scenes.
    captions: HashMap<u32, Caption>,
    /// The descriptions of the next prompt; none where prompts have none.
    history: Option<DescriptionHistory>,
}

impl FileMemory {
    /// Remembers the caption of a new scene. One that gets no cue is left out of later prompts.
    fn add(&mut self, scene: u32, caption: Caption, min_score: f32) {
        if let Some(history) = &mut self.history
            && caption.reaches(min_score)
        {
            history.add(&sentence(&caption.text));
        }
        self.captions.insert(scene, caption);
    }
}

/// A keyframe to caption: its file, its distinct scene, and what the captioner reads of it.
type NewScene = (usize, u32, CaptionInput);

/// The stage; see the module.
pub(crate) struct DescribeStage<'a> {
    run: &'a Run<'a>,
    captioner: Box<dyn Captions>,
    /// Only where prompts have earlier descriptions.
    prompt: Option<Arc<PromptOptions>>,
    files: HashMap<usize, FileMemory>,
    /// The user has stopped the run while captions were made: films end at the keyframe before.
    cut: bool,
    out: Sender<StageMessage<CaptionedKeyframe>>,
}

/// The limits of a batch of captions.
pub(crate) fn caption_limits(run: &Run<'_>) -> BatchLimits {
    let rule = BatchRule { size: run.config.caption_batch.max(1), linger: run.config.linger };
    BatchLimits { rule, messages: MESSAGES }
}

/// Loads the captioner and shares the run's stop flag with it.
pub(crate) fn load_captioner(run: &Run<'_>, load: Load<dyn Captions>) -> Result<Box<dyn Captions>> {
    let mut captioner = load()?;
    captioner.begin(run.interrupt);
    Ok(captioner)
}

/// Captions a batch, within the run's budget.
pub(crate) fn caption_batch(
    run: &Run<'_>,
    captioner: &mut dyn Captions,
    inputs: &[&CaptionInput],
) -> Result<Vec<Caption>> {
    // A server computes elsewhere.
    let _busy = if captioner.is_remote() { None } else { run.config.budget.running() };
    let start = Instant::now();
    let captions = captioner.caption(inputs)?;
    StageTimers::add_since(&run.timers.caption, start);
    StageTimers::count(&run.timers.captions, captions.len());
    StageTimers::count(&run.timers.caption_batches, 1);
    Ok(captions)
}

impl<'a> DescribeStage<'a> {
    pub(crate) fn new(
        run: &'a Run<'a>,
        captioner: Box<dyn Captions>,
        prompt: Option<PromptOptions>,
        out: Sender<StageMessage<CaptionedKeyframe>>,
    ) -> DescribeStage<'a> {
        let prompt = prompt.filter(|prompt| prompt.context > 0).map(Arc::new);
        DescribeStage { run, captioner, prompt, files: HashMap::new(), cut: false, out }
    }

    /// Runs until `from` is closed.
    pub(crate) fn run(mut self, from: &Receiver<StageMessage<EncodedKeyframe>>) -> Result<()> {
        drive(from, caption_limits(self.run), &mut self)
    }

    /// Judges a keyframe against what its file has shown; with the work that it makes.
    fn judge(&mut self, file: usize, keyframe: EncodedKeyframe) -> (CaptionedKeyframe, Option<NewScene>) {
        let EncodedKeyframe { info, input, caption, fault, thumbnail } = keyframe;
        let mut captioned = CaptionedKeyframe {
            info,
            embedding: None,
            thumbnail,
            caption: None,
            similarity: None,
            repeats: false,
            distinct: None,
            fault,
        };
        let Some(input) = input else { return (captioned, None) };
        let (options, prompt) = (&self.run.config.dedup, &self.prompt);
        let memory = self.files.entry(file).or_insert_with(|| FileMemory {
            dedup: Dedup::new(options),
            captions: HashMap::new(),
            history: prompt.clone().map(DescriptionHistory::new),
        });
        let unit = input.encoded.unit();
        let judgement = memory.dedup.weigh(&unit);
        let id = judgement.verdict.id();
        captioned.embedding = self.run.sink.is_some().then_some(unit);
        captioned.similarity = judgement.previous;
        captioned.distinct = Some(id);
        captioned.repeats = !judgement.verdict.is_new();
        let work = match caption {
            _ if captioned.repeats => None,
            Some(caption) => {
                memory.add(id, caption, self.run.config.min_score);
                None
            }
            None => Some((file, id, input)),
        };
        (captioned, work)
    }

    /// Captions new scenes.
    fn caption(&mut self, work: Vec<NewScene>) -> Result<()> {
        let rounds = if self.prompt.is_some() { rounds(work) } else { vec![work] };
        for mut round in rounds {
            for (file, _, input) in &mut round {
                let history = self.files.get(file).and_then(|memory| memory.history.as_ref());
                input.prompt = history.map(DescriptionHistory::prompt);
            }
            let inputs: Vec<&CaptionInput> = round.iter().map(|(_, _, input)| input).collect();
            let captions = caption_batch(self.run, self.captioner.as_mut(), &inputs)?;
            for ((file, id, _), caption) in round.iter().zip(captions) {
                if let Some(memory) = self.files.get_mut(file) {
                    memory.add(*id, caption, self.run.config.min_score);
                }
            }
        }
        Ok(())
    }

    /// Gives a message its caption, now that the batch has run.
    fn complete(&mut self, message: &mut StageMessage<CaptionedKeyframe>) {
        match message {
            StageMessage::Item(file, keyframe) => {
                if let (Some(id), Some(memory)) = (keyframe.distinct, self.files.get(file)) {
                    keyframe.caption = memory.captions.get(&id).cloned();
                }
            }
            StageMessage::End(file, _) => drop(self.files.remove(file)),
            StageMessage::Opened(..) => {}
        }
    }
}

/// At most one scene of each file at a time, in order.
fn rounds(work: Vec<NewScene>) -> Vec<Vec<NewScene>> {
    let mut rounds: Vec<Vec<NewScene>> = Vec::new();
    let mut next: HashMap<usize, usize> = HashMap::new();
    for scene in work {
        let number = next.entry(scene.0).or_default();
        if *number == rounds.len() {
            rounds.push(Vec::new());
        }
        rounds[*number].push(scene);
        *number += 1;
    }
    rounds
}

impl BatchStage for DescribeStage<'_> {
    type Input = StageMessage<EncodedKeyframe>;
    type Message = StageMessage<CaptionedKeyframe>;
    type Work = NewScene;

    fn accept(&mut self, input: Self::Input, batcher: &mut Batcher<Self::Message, NewScene>) -> Result<()> {
        let (message, work) = match input {
            StageMessage::Opened(file, info) => (StageMessage::Opened(file, info), None),
            StageMessage::End(file, end) => {
                if self.run.config.jobs <= 1 {
                    batcher.flush();
                }
                (StageMessage::End(file, end), None)
            }
            StageMessage::Item(file, keyframe) => {
                let (keyframe, work) = self.judge(file, keyframe);
                (StageMessage::Item(file, keyframe), work)
            }
        };
        batcher.push(message, work, Instant::now());
        Ok(())
    }

    fn run(&mut self, work: Vec<NewScene>, messages: VecDeque<Self::Message>) -> Result<ControlFlow<()>> {
        if !work.is_empty() && !self.cut {
            match self.caption(work) {
                Err(Error::Interrupted) => self.cut = true,
                captioned => captioned?,
            }
        }
        for mut message in messages {
            self.complete(&mut message);
            match &mut message {
                StageMessage::Item(..) if self.cut => continue,
                StageMessage::End(_, end) => end.interrupted |= self.cut,
                _ => {}
            }
            if self.out.send(message).is_err() {
                return Ok(ControlFlow::Break(()));
            }
        }
        // A scene that dedup has forgotten cannot return.
        for memory in self.files.values_mut() {
            let dedup = &memory.dedup;
            memory.captions.retain(|id, _| dedup.remembers(*id));
        }
        Ok(ControlFlow::Continue(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Encoded;

    #[test]
    fn a_round_has_one_scene_of_each_file_and_each_file_keeps_its_order() {
        let encoded = Encoded { embedding: Vec::new(), grid: None };
        let input = CaptionInput { encoded, pictures: Vec::new(), prompt: None };
        let work = [(0, 0), (0, 1), (1, 0), (0, 2), (1, 1)];
        let work = work.map(|(file, scene)| (file, scene, input.clone())).to_vec();
        let rounds = rounds(work).into_iter().map(|round| round.iter().map(|s| (s.0, s.1)).collect());
        assert_eq!(rounds.collect::<Vec<Vec<_>>>(), [vec![(0, 0), (1, 0)], vec![(0, 1), (1, 1)], vec![(0, 2)]]);
    }
}
