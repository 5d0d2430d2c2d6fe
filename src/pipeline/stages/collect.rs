//! The last stage: makes cues and tracks, on the thread that called the run.
//!
//! Order: a file's result comes once all of its keyframes have been collected. A keyframe waits until it is known where people
//! talk in its stretch. Memory: the cues, the speech and the list of scenes of the files that are running, and the keyframes
//! that wait: those of some 10 s, because sound that comes later than that after its pictures is left out. Embeddings and
//! thumbnails go to the [`KeyframeSink`](crate::pipeline::KeyframeSink).

use std::collections::{HashMap, VecDeque};

use crossbeam_channel::{Receiver, never, select};
use serde_json::Value;

use crate::address::{Address, hide};
use crate::error::Result;
use crate::media::{SideTrack, StreamInfo};
use crate::model::Caption;
use crate::ocr::{TextLog, TextUpdate};
use crate::pipeline::config::Config;
use crate::pipeline::context::Run;
use crate::pipeline::message::{
    CaptionedKeyframe, CutShort, FileEnd, Finding, FindingMessage, KeyframeRecord, StageMessage,
};
use crate::pipeline::observer::Outcome;
use crate::speech::{SpeechLog, SpeechUpdate};
use crate::time::Time;
use crate::track::pictures::PictureWriter;
use crate::track::place::{PlaceDecision, PlaceableScene, PlacedCue, PlacedTrack, Placer, SceneNovelty, UnplacedScene};
use crate::track::writing::{Passage, Writing};
use crate::track::{Cue, CueBuilder, CueOptions, Description};
use crate::track::{SceneRecord, Speech, SpeechSource, Track};

/// Most keyframes of a film that wait until its speech is known: many times those of 10 s. A film whose clocks contradict each
/// other gets no shares beyond them.
const MOST_WAITING: usize = 1_024;

/// What all tracks of a run have in common.
pub(crate) struct TrackHeader<'a> {
    pub(crate) inputs: &'a [Address],
    /// Name of the model.
    pub(crate) model: String,
    /// The options that decide the content.
    pub(crate) options: Value,
}

/// The stage; see the module.
pub(crate) struct CollectStage<'a> {
    run: &'a Run<'a>,
    header: TrackHeader<'a>,
    files: HashMap<usize, TrackBuilder>,
    done: &'a mut dyn FnMut(usize, Outcome),
}

impl<'a> CollectStage<'a> {
    pub(crate) fn new(
        run: &'a Run<'a>,
        header: TrackHeader<'a>,
        done: &'a mut dyn FnMut(usize, Outcome),
    ) -> CollectStage<'a> {
        CollectStage { run, header, files: HashMap::new(), done }
    }

    /// Runs until `from` is closed. `findings`: what becomes known of the files beside their pictures.
    pub(crate) fn run(
        mut self,
        from: &Receiver<StageMessage<CaptionedKeyframe>>,
        mut findings: Receiver<FindingMessage>,
    ) -> Result<()> {
        loop {
            select! {
                recv(from) -> message => match message {
                    Ok(StageMessage::Opened(file, info)) => self.open(file, *info),
                    Ok(StageMessage::Item(file, keyframe)) => self.keyframe(file, keyframe)?,
                    Ok(StageMessage::End(file, end)) => {
                        // All findings of the file were sent before its end.
                        findings.try_iter().try_for_each(|message| self.find(message))?;
                        self.end(file, end)?;
                    }
                    Err(_) => break,
                },
                recv(findings) -> message => match message {
                    Ok(message) => self.find(message)?,
                    Err(_) => findings = never(),
                },
            }
        }
        self.rescue()
    }

    fn open(&mut self, file: usize, info: StreamInfo) {
        let config = self.run.config;
        self.file(file).open(info, config);
    }

    fn file(&mut self, file: usize) -> &mut TrackBuilder {
        let config = self.run.config;
        self.files.entry(file).or_insert_with(|| TrackBuilder::new(config))
    }

    fn keyframe(&mut self, file: usize, keyframe: CaptionedKeyframe) -> Result<()> {
        self.file(file).waiting.push_back(keyframe);
        self.collect(file, false)
    }

    fn find(&mut self, message: FindingMessage) -> Result<()> {
        let FindingMessage { file, finding } = message;
        let run = self.run;
        let builder = self.file(file);
        let before = builder.cues.len();
        match finding {
            Finding::Speech(update) => builder.take_speech(update),
            Finding::Text(update) => builder.text_updates.push_back(update),
        }
        builder.report(run, file, before);
        self.collect(file, false)
    }

    /// Collects the waiting keyframes of a file, up to the first whose stretch has speech or text that is not known yet; with
    /// `all`, every one.
    fn collect(&mut self, file: usize, all: bool) -> Result<()> {
        let run = self.run;
        let builder = self.file(file);
        while let Some(mut keyframe) = builder.next(all) {
            let (embedding, thumbnail) = (keyframe.embedding.take(), keyframe.thumbnail.take());
            let before = builder.cues.len();
            let record = builder.push(keyframe, run.config.min_score);
            if let Some(pictures) = &mut builder.pictures {
                pictures.push(thumbnail.as_deref());
            }
            if let Some(sink) = run.sink {
                let seen = || builder.text.within(record.start, record.end).into_iter().cloned().collect();
                let text = run.config.text.is_some().then(seen);
                sink.scene(file, KeyframeRecord { record, embedding, thumbnail, text })?;
            }
            builder.report(run, file, before);
        }
        Ok(())
    }

    fn end(&mut self, file: usize, end: FileEnd) -> Result<()> {
        self.collect(file, true)?;
        let mut builder = self.files.remove(&file).unwrap_or_else(|| TrackBuilder::new(self.run.config));
        let before = builder.cues.len();
        builder.finish(if end.interrupted { Time::ZERO } else { end.end });
        builder.report(self.run, file, before);
        let mut damage = end.damage;
        if let Some(fault) = &builder.fault {
            let text = format!("{} keyframes could not be converted ({fault})", builder.faults);
            damage = Some(damage.map_or(text.clone(), |damage| format!("{damage}, {text}")));
        }
        if let Some(from) = builder.speech.full() {
            let text = format!("the texts of its subtitles are left out from {from} on, because there are too many");
            damage = Some(damage.map_or(text.clone(), |damage| format!("{damage}, {text}")));
        }
        let usable = end.error.is_none() && !(end.interrupted && builder.scenes.is_empty());
        let track = usable.then(|| self.track(file, builder, damage, end.interrupted));
        let cut_short = end.lost.then_some(CutShort::Connection);
        (self.done)(file, Outcome { track, error: end.error, cut_short });
        Ok(())
    }

    /// After a stage before this one has failed: what was described until then is not lost.
    fn rescue(&mut self) -> Result<()> {
        let mut files: Vec<usize> = self.files.keys().copied().collect();
        files.sort_unstable();
        for file in files {
            self.collect(file, true)?;
            let Some(mut builder) = self.files.remove(&file).filter(|builder| !builder.scenes.is_empty()) else {
                continue;
            };
            builder.finish(Time::ZERO);
            let until = builder.scenes.last().map_or(Time::ZERO, |s| s.end);
            let track = self.track(file, builder, Some(format!("the model failed after {until}")), false);
            (self.done)(file, Outcome { track: Some(track), error: None, cut_short: Some(CutShort::Model) });
        }
        Ok(())
    }

    fn track(&self, file: usize, builder: TrackBuilder, damage: Option<String>, interrupted: bool) -> Track {
        let mut text = builder.text;
        builder.text_updates.into_iter().for_each(|update| text.update(update));
        let (segments, mut dialogue) = builder.speech.into_parts();
        // A decoder in a process of its own knows the secrets of its input, and might put them anywhere.
        dialogue.iter_mut().for_each(|line| line.text = hide(&line.text));
        let speech = builder.speech_source.map(|source| Speech {
            source,
            segments,
            dialogue: (source != SpeechSource::Audio).then_some(dialogue),
        });
        Track {
            input: self.header.inputs.get(file).map(Address::shown).unwrap_or_default(),
            location: self.header.inputs.get(file).and_then(Address::location),
            info: builder.info,
            model: self.header.model.clone(),
            language: self.run.config.language.clone(),
            damage,
            interrupted,
            options: self.header.options.clone(),
            cues: builder.cues,
            scenes: builder.scenes,
            pictures: builder.pictures.map(PictureWriter::finish),
            speech,
            text: self.run.config.text.is_some().then(|| text.into_lines()),
            placement: builder.placer.is_some().then_some(builder.placement),
        }
    }
}

/// One file on its way to a track.
struct TrackBuilder {
    info: Option<StreamInfo>,
    builder: CueBuilder,
    /// Makes the cues instead, if descriptions are placed in pauses.
    placer: Option<Placer>,
    placement: PlacedTrack,
    /// The scene of each passage that the placer has: its position in `scenes`. A scene whose text appears late has several.
    placeable: Vec<usize>,
    options: CueOptions,
    cues: Vec<Cue>,
    scenes: Vec<SceneRecord>,
    /// One a scene; none where they are not kept.
    pictures: Option<PictureWriter>,
    /// Where in `scenes` each distinct scene appeared first.
    first_seen: HashMap<u32, usize>,
    /// The distinct scene of the last keyframe that is not blank.
    last_seen: Option<u32>,
    /// What the film shows in writing. Everything is known of it where none is read.
    text: TextLog,
    /// What has come of it and is not needed yet. An update is taken when a keyframe needs it, so that what is said of a stretch
    /// does not depend on how far the reader is ahead.
    text_updates: VecDeque<TextUpdate>,
    writing: Writing,
    /// Keyframes that wait until the speech and the text in their stretch are known.
    waiting: VecDeque<CaptionedKeyframe>,
    speech: SpeechLog,
    /// From what speech is known; none where it is not known.
    speech_source: Option<SpeechSource>,
    /// Keyframes that could not be converted, and why the first of them could not.
    faults: u64,
    fault: Option<String>,
}

impl TrackBuilder {
    fn new(config: &Config) -> TrackBuilder {
        TrackBuilder {
            info: None,
            builder: CueBuilder::new(&config.cue),
            placer: None,
            placement: PlacedTrack::default(),
            placeable: Vec::new(),
            options: config.cue.clone(),
            cues: Vec::new(),
            scenes: Vec::new(),
            pictures: config.keep_pictures.then(PictureWriter::default),
            first_seen: HashMap::new(),
            last_seen: None,
            text: if config.text.is_some() { TextLog::default() } else { TextLog::empty() },
            text_updates: VecDeque::new(),
            writing: Writing::new(config.static_text),
            waiting: VecDeque::new(),
            speech: SpeechLog::default(),
            speech_source: None,
            faults: 0,
            fault: None,
        }
    }

    fn open(&mut self, info: StreamInfo, config: &Config) {
        let source = match &config.decode.side_track {
            _ if config.dialogue.is_some() => Some(SpeechSource::File),
            _ if !info.has_side_track() => None,
            SideTrack::Nothing => None,
            SideTrack::Audio(_) => Some(SpeechSource::Audio),
            SideTrack::Subtitles(_) => Some(SpeechSource::Subtitles),
        };
        self.know_speech_from(source, config);
        if let Some(dialogue) = &config.dialogue {
            let range = (config.decode.start.unwrap_or_default(), config.decode.end.unwrap_or(Time::MAX));
            self.take_speech(SpeechUpdate::of_dialogue(&dialogue.lines, range));
        }
        self.info = Some(info);
    }

    /// Begins to place descriptions, where something tells when people talk. Some of that may be known already: speech does not
    /// pass the stages that keyframes do.
    fn know_speech_from(&mut self, source: Option<SpeechSource>, config: &Config) {
        self.speech_source = source;
        self.placer = config.place.as_ref().filter(|_| source.is_some()).map(Placer::new);
        let decisions = self.placer.as_mut().map(|placer| placer.hear(&self.speech.known()));
        self.place(decisions);
    }

    /// Takes what has become known of the speech.
    fn take_speech(&mut self, update: SpeechUpdate) {
        let decisions = self.placer.as_mut().map(|placer| placer.hear(&update));
        self.place(decisions);
        self.speech.update(update);
    }

    /// Makes cues of what has been placed.
    fn place(&mut self, decisions: Option<Vec<PlaceDecision>>) {
        let mut decisions = decisions.unwrap_or_default();
        for decision in &mut decisions {
            let (PlaceDecision::Cue(PlacedCue { scenes, .. }) | PlaceDecision::Unplaced(UnplacedScene { scenes, .. })) =
                decision;
            let position = |n: usize| self.placeable.get(n).copied().unwrap_or(n);
            *scenes = position(scenes.start)..position(scenes.end.saturating_sub(1)) + 1;
        }
        self.cues.extend(self.placement.add(decisions, &self.options));
    }

    /// What is new about a keyframe.
    fn novelty(&mut self, keyframe: &CaptionedKeyframe) -> SceneNovelty {
        let last = self.last_seen;
        self.last_seen = keyframe.distinct.or(last);
        match keyframe.distinct {
            _ if !keyframe.repeats => SceneNovelty::New,
            id if id == last => SceneNovelty::Same,
            _ => SceneNovelty::Returning,
        }
    }

    /// The next keyframe, once the speech and the text in its stretch are known; with `all`, also if they are not.
    fn next(&mut self, all: bool) -> Option<CaptionedKeyframe> {
        let next = self.waiting.front()?;
        let end = next.info.end;
        while !self.writing.is_ready(&self.text, end)
            && let Some(update) = self.text_updates.pop_front()
        {
            self.text.update(update);
        }
        let known = (self.speech_source.is_none() || self.speech.knows(end)) && self.writing.is_ready(&self.text, end);
        if known || all || self.waiting.len() > MOST_WAITING { self.waiting.pop_front() } else { None }
    }

    /// Adds a keyframe. A caption that scores below `min_score` makes no cue.
    fn push(&mut self, keyframe: CaptionedKeyframe, min_score: f32) -> SceneRecord {
        let position = self.scenes.len();
        let first = keyframe.distinct.map(|id| *self.first_seen.entry(id).or_insert(position));
        let novelty = self.novelty(&keyframe);
        let (info, caption) = (&keyframe.info, keyframe.caption.as_ref());
        let shown = caption.filter(|c| c.reaches(min_score));
        let text = |caption: &Caption| caption.text.clone();
        let spoken = (shown.map(text), caption.and_then(|c| c.score));
        for Passage { description, score, quotes } in self.writing.passages(&self.text, (info.start, info.end), spoken)
        {
            let Some(placer) = &mut self.placer else {
                self.cues.extend(self.builder.push(description));
                continue;
            };
            let Description { start, end, text } = description;
            self.placeable.push(position);
            // What is written there is new, whatever the picture.
            let novelty = if quotes { SceneNovelty::New } else { novelty };
            let decisions = placer.push(&PlaceableScene { start, end, text, score, novelty });
            self.place(Some(decisions));
        }
        let record = SceneRecord {
            text: caption.map(text),
            shown: shown.is_some(),
            score: caption.and_then(|c| c.score),
            mean_logprob: caption.map(|c| c.mean_logprob),
            similarity: keyframe.similarity,
            repeats: first.filter(|_| keyframe.repeats),
            speech: self.speech_source.and_then(|_| self.speech.share(info.start, info.end)),
            ..info.record()
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
        let decisions = self.placer.as_mut().map(|placer| placer.finish(end.max(last)));
        self.place(decisions);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::message::KeyframeInfo;
    use crate::scene::Transition;
    use crate::speech::Utterance;
    use crate::track::place::{PlaceOptions, PlaceRule};

    fn keyframe(end: Time) -> CaptionedKeyframe {
        let (text, ids) = ("a dog on a sofa".to_string(), Vec::new());
        CaptionedKeyframe {
            info: KeyframeInfo {
                scene: 0,
                start: Time::ZERO,
                end,
                time: Time::ZERO,
                index: 0,
                start_frame: 0,
                end_frame: 1,
                transition: Transition::Start,
                blank: false,
                quality: 1.0,
                picture: (),
                spread: Vec::new(),
            },
            embedding: None,
            thumbnail: None,
            caption: Some(Caption { text, ids, mean_logprob: 0.0, score: None, support: None }),
            similarity: None,
            repeats: false,
            distinct: Some(0),
            fault: None,
        }
    }

    /// Speech comes straight from its detector, and may be here before it is known what the film holds.
    #[test]
    fn speech_that_comes_before_the_film_is_open_is_not_forgotten() {
        let at = Time::from_millis;
        let place = Some(PlaceOptions { rule: PlaceRule::Strict, ..PlaceOptions::default() });
        let config = Config { place, ..Config::default() };
        let starts = |early: bool| {
            let mut builder = TrackBuilder::new(&config);
            let ended = vec![Utterance { start: at(0), end: at(4_000) }];
            let update = SpeechUpdate { ended, until: Time::MAX, ..SpeechUpdate::default() };
            if early {
                builder.take_speech(update.clone());
            }
            builder.know_speech_from(Some(SpeechSource::Audio), &config);
            if !early {
                builder.take_speech(update);
            }
            builder.push(keyframe(at(9_000)), 0.0);
            builder.finish(Time::ZERO);
            builder.cues.iter().map(|cue| cue.start.millis()).collect::<Vec<_>>()
        };
        assert_eq!((starts(true), starts(false)), (vec![4_200], vec![4_200]));
    }
}
