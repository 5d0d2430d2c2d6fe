//! The last stage: makes cues and tracks, on the thread that called the run.
//!
//! Order: a file's result comes once all of its keyframes have been collected. Memory: the cues and the list of scenes of
//! the files that are running; embeddings and thumbnails go to the [`KeyframeSink`](crate::pipeline::KeyframeSink).

use std::collections::HashMap;

use crossbeam_channel::Receiver;
use serde_json::Value;

use crate::address::Address;
use crate::error::Result;
use crate::media::StreamInfo;
use crate::model::Caption;
use crate::pipeline::config::Config;
use crate::pipeline::context::Run;
use crate::pipeline::message::{CaptionedKeyframe, CutShort, FileEnd, KeyframeRecord, StageMessage};
use crate::pipeline::observer::Outcome;
use crate::time::Time;
use crate::track::{Cue, CueBuilder, Description};
use crate::track::{SceneRecord, Track};

/// The stage; see the module.
pub(crate) struct CollectStage<'a> {
    run: &'a Run<'a>,
    inputs: &'a [Address],
    /// Name of the model.
    model: String,
    /// The options that decide the content.
    options: Value,
    files: HashMap<usize, TrackBuilder>,
    done: &'a mut dyn FnMut(usize, Outcome),
}

impl<'a> CollectStage<'a> {
    pub(crate) fn new(
        run: &'a Run<'a>,
        inputs: &'a [Address],
        model: String,
        options: Value,
        done: &'a mut dyn FnMut(usize, Outcome),
    ) -> CollectStage<'a> {
        CollectStage { run, inputs, model, options, files: HashMap::new(), done }
    }

    /// Runs until `from` is closed.
    pub(crate) fn run(&mut self, from: &Receiver<StageMessage<CaptionedKeyframe>>) -> Result<()> {
        for message in from {
            match message {
                StageMessage::Opened(file, info) => self.file(file).info = Some(*info),
                StageMessage::Item(file, keyframe) => self.keyframe(file, keyframe)?,
                StageMessage::End(file, end) => self.end(file, end),
            }
        }
        self.rescue();
        Ok(())
    }

    fn file(&mut self, file: usize) -> &mut TrackBuilder {
        let config = self.run.config;
        self.files.entry(file).or_insert_with(|| TrackBuilder::new(config))
    }

    fn keyframe(&mut self, file: usize, mut keyframe: CaptionedKeyframe) -> Result<()> {
        let run = self.run;
        let (embedding, thumbnail) = (keyframe.embedding.take(), keyframe.thumbnail.take());
        let builder = self.file(file);
        let before = builder.cues.len();
        let record = builder.push(keyframe, run.config.min_score);
        if let Some(sink) = run.sink {
            sink.scene(file, KeyframeRecord { record, embedding, thumbnail })?;
        }
        builder.report(run, file, before);
        Ok(())
    }

    fn end(&mut self, file: usize, end: FileEnd) {
        let mut builder = self.files.remove(&file).unwrap_or_else(|| TrackBuilder::new(self.run.config));
        let before = builder.cues.len();
        builder.finish(if end.interrupted { Time::ZERO } else { end.end });
        builder.report(self.run, file, before);
        let mut damage = end.damage;
        if let Some(fault) = &builder.fault {
            let text = format!("{} keyframes could not be converted ({fault})", builder.faults);
            damage = Some(damage.map_or(text.clone(), |damage| format!("{damage}, {text}")));
        }
        let usable = end.error.is_none() && !(end.interrupted && builder.scenes.is_empty());
        let track = usable.then(|| self.track(file, builder, damage, end.interrupted));
        let cut_short = end.lost.then_some(CutShort::Connection);
        (self.done)(file, Outcome { track, error: end.error, cut_short });
    }

    /// After a stage before this one has failed: what was described until then is not lost.
    fn rescue(&mut self) {
        let mut rest: Vec<_> = self.files.drain().filter(|(_, builder)| !builder.scenes.is_empty()).collect();
        rest.sort_by_key(|(file, _)| *file);
        for (file, mut builder) in rest {
            builder.finish(Time::ZERO);
            let until = builder.scenes.last().map_or(Time::ZERO, |s| s.end);
            let track = self.track(file, builder, Some(format!("the model failed after {until}")), false);
            (self.done)(file, Outcome { track: Some(track), error: None, cut_short: Some(CutShort::Model) });
        }
    }

    fn track(&self, file: usize, builder: TrackBuilder, damage: Option<String>, interrupted: bool) -> Track {
        Track {
            input: self.inputs.get(file).map(Address::shown).unwrap_or_default(),
            info: builder.info,
            model: self.model.clone(),
            damage,
            interrupted,
            options: self.options.clone(),
            cues: builder.cues,
            scenes: builder.scenes,
        }
    }
}

/// One file on its way to a track.
struct TrackBuilder {
    info: Option<StreamInfo>,
    builder: CueBuilder,
    cues: Vec<Cue>,
    scenes: Vec<SceneRecord>,
    /// Where in `scenes` each distinct scene appeared first.
    first_seen: HashMap<u32, usize>,
    /// Keyframes that could not be converted, and why the first of them could not.
    faults: u64,
    fault: Option<String>,
}

impl TrackBuilder {
    fn new(config: &Config) -> TrackBuilder {
        TrackBuilder {
            info: None,
            builder: CueBuilder::new(&config.cue),
            cues: Vec::new(),
            scenes: Vec::new(),
            first_seen: HashMap::new(),
            faults: 0,
            fault: None,
        }
    }

    /// Adds a keyframe. A caption that scores below `min_score` makes no cue.
    fn push(&mut self, keyframe: CaptionedKeyframe, min_score: f32) -> SceneRecord {
        let position = self.scenes.len();
        let first = keyframe.distinct.map(|id| *self.first_seen.entry(id).or_insert(position));
        let (info, caption) = (&keyframe.info, keyframe.caption.as_ref());
        let shown = caption.filter(|c| c.reaches(min_score));
        let text = |caption: &Caption| caption.text.clone();
        self.cues.extend(self.builder.push(Description { start: info.start, end: info.end, text: shown.map(text) }));
        let record = SceneRecord {
            scene: info.scene + 1,
            start: info.start,
            end: info.end,
            start_frame: info.start_frame,
            end_frame: info.end_frame,
            keyframe: info.time,
            transition: info.transition.name(),
            text: caption.map(text),
            shown: shown.is_some(),
            score: caption.and_then(|c| c.score),
            mean_logprob: caption.map(|c| c.mean_logprob),
            similarity: keyframe.similarity,
            repeats: first.filter(|_| keyframe.repeats),
            blank: info.blank,
        };
        self.scenes.push(record.clone());
        if let Some(fault) = keyframe.fault {
            self.faults += 1;
            self.fault.get_or_insert(fault);
        }
        record
    }

    /// No scene will follow, and the film lasts at least until `end`.
    fn finish(&mut self, end: Time) {
        let last = self.scenes.last().map_or(Time::ZERO, |s| s.end);
        self.cues.extend(self.builder.finish(end.max(last)));
    }

    /// Reports the cues from number `before` on.
    fn report(&self, run: &Run<'_>, file: usize, before: usize) {
        for cue in self.cues.iter().skip(before) {
            run.observer.cue(file, cue);
        }
        run.observer.cues(file, self.cues.len());
    }
}
