//! The first stage: decodes a file, finds its scenes and chooses keyframes. One thread for each file that is decoded.
//!
//! Order: keyframes in order of time. Memory: the decoder's own frames and the pictures that the selector holds, which the
//! run's [budget](crate::pipeline::budget) accounts for.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Instant;

use crossbeam_channel::{Sender, bounded};

use crate::address::Address;
use crate::error::{Error, Result, panic_text};
use crate::isolate::FrameSource;
use crate::media::decode::Polled;
use crate::media::{DecodeOptions, DecodedFrames, Frame, FrameGate, SideTrackData};
use crate::pipeline::budget::{FilmNeed, FilmShare};
use crate::pipeline::context::Run;
use crate::pipeline::message::{FileEnd, QUEUE, StageMessage};
use crate::pipeline::parts::mark::Marker;
use crate::pipeline::stages::speech::SpeechStage;
use crate::pipeline::stages::text::{self, TextStage, TextWatch};
use crate::pipeline::stats::StageTimers;
use crate::scene::{Keyframe, KeyframeSelector};
use crate::time::Time;

/// A keyframe with its decoded frame.
pub(crate) type FrameKeyframe = Keyframe<Arc<Frame>>;

/// What runs beside this stage, each on a thread of its own while a film is decoded.
#[derive(Default)]
pub(crate) struct BesideStages<'a> {
    /// Finds speech.
    pub(crate) speech: Option<SpeechStage<'a>>,
    /// Reads text.
    pub(crate) text: Option<TextStage<'a>>,
}

/// Decodes a file and sends its keyframes, while the stages `beside` look for other things. A `marker` sees every frame, and
/// may end the decoding early. A panic costs this file alone.
pub(crate) fn watch(
    run: &Run<'_>,
    file: usize,
    input: &Address,
    marker: Option<&mut Marker<'_>>,
    beside: &mut BesideStages<'_>,
    out: &Sender<StageMessage<FrameKeyframe>>,
) -> FileEnd {
    // Nothing of the file's state is used again, and what the threads share survives a panic.
    catch_unwind(AssertUnwindSafe(|| watch_file(run, file, input, marker, beside, out))).unwrap_or_else(|panic| {
        let cause = format!("descry has a bug and stops reading it: {}", panic_text(panic.as_ref()));
        FileEnd::failed(Error::input(input.shown(), cause, "Report it, with the file if you can."))
    })
}

fn watch_file(
    run: &Run<'_>,
    file: usize,
    input: &Address,
    marker: Option<&mut Marker<'_>>,
    beside: &mut BesideStages<'_>,
    out: &Sender<StageMessage<FrameKeyframe>>,
) -> FileEnd {
    let isolation = run.config.isolation.as_ref();
    let decode = &DecodeOptions { strokes: beside.text.is_some(), ..run.config.decode.clone() };
    let mut source = match FrameSource::open(input, decode, isolation, run.interrupt.clone()) {
        Ok(source) => source,
        Err(Error::Interrupted) => return FileEnd::interrupted(Time::ZERO),
        Err(e) => return FileEnd::failed(e),
    };
    run.observer.opened(file, source.info());
    if out.send(StageMessage::Opened(file, Box::new(source.info().clone()))).is_err() {
        return FileEnd::interrupted(Time::ZERO);
    }
    let (decode_threads, isolated) = (decode.threads, isolation.is_some());
    let text = beside.text.as_ref().map_or(0, |_| text::FRAMES);
    let need = FilmNeed { decode_threads, spread: run.demand.count, isolated, text };
    let share = match run.config.budget.film(&input.shown(), source.info().frame_size(), need) {
        Ok(share) => share,
        Err(e) => return FileEnd::failed(e),
    };
    if run.config.budget.limits_memory() || isolated {
        source.guard(share.clone());
    }
    let selector = KeyframeSelector::new(&run.config.scene, &run.config.keyframe).with_spread(run.demand.count);
    let BesideStages { speech, text } = beside;
    let speech = speech.as_mut().filter(|_| source.info().has_side_track());
    thread::scope(|scope| {
        let side_track = speech.map(|stage| {
            let (to, from) = bounded(QUEUE);
            scope.spawn(move || stage.run(file, &from));
            to
        });
        let text = text.as_mut().map(|stage| {
            let (to, from) = bounded(text::WAITING);
            scope.spawn(move || stage.run(file, &from));
            TextWatch::new(to)
        });
        let (first, last) = (None, Time::ZERO);
        let mut watch = Watch { run, file, source, share, selector, marker, side_track, text, out, first, last };
        match watch.frames() {
            Ok(error) => watch.finish(error),
            Err(end) => *end,
        }
    })
}

/// A file while it is decoded.
struct Watch<'a, 'm, 's> {
    run: &'a Run<'a>,
    file: usize,
    /// Dropped before `share`, which accounts for its frames.
    source: FrameSource,
    share: Arc<FilmShare>,
    selector: KeyframeSelector<Arc<Frame>>,
    marker: Option<&'m mut Marker<'s>>,
    /// To the stage that finds speech.
    side_track: Option<Sender<SideTrackData>>,
    /// Chooses the frames in which text is read.
    text: Option<TextWatch>,
    out: &'a Sender<StageMessage<FrameKeyframe>>,
    /// Times of the first and of the latest frame.
    first: Option<Time>,
    last: Time,
}

impl Watch<'_, '_, '_> {
    /// Decodes up to the end, or until the marker has seen enough. `Ok`: with the error that ended a film in the middle.
    fn frames(&mut self) -> Result<Option<Error>, Box<FileEnd>> {
        loop {
            if self.run.has_failed() {
                return Err(Box::new(FileEnd::interrupted(self.last)));
            }
            let share = self.share.clone();
            let step = share.step();
            let start = Instant::now();
            let next = self.source.poll();
            StageTimers::add_since(&self.run.timers.decode, start);
            // What is stored of a film must not depend on the films beside it: one that was refused memory is not described.
            self.share.check().map_err(|e| Box::new(FileEnd::failed(e)))?;
            let frame = match next {
                Ok(Polled::Frame(frame)) => Some(Arc::new(frame)),
                Ok(Polled::Pending) => None,
                Ok(Polled::End) => {
                    drop(step);
                    self.send_side_track();
                    return Ok(None);
                }
                Err(Error::Interrupted) => return Err(Box::new(FileEnd::interrupted(self.last))),
                // What a decoder that crashed has decoded depends on when it did.
                Err(e) if self.first.is_none() || self.source.has_crashed() => {
                    return Err(Box::new(FileEnd::failed(e)));
                }
                Err(e) => return Ok(Some(e)),
            };
            let keyframes = frame.as_ref().map(|frame| self.examine(frame)).transpose()?;
            drop(step);
            self.send_side_track();
            let (Some(frame), Some(keyframes)) = (frame, keyframes) else { continue };
            let count = keyframes.len();
            self.run.observer.watched(self.file, self.last - self.first.unwrap_or_default());
            self.send(keyframes)?;
            // Nothing may wait for this thread while it waits for the reader.
            if let Some(text) = &mut self.text {
                text.push(&frame).map_err(|e| Box::new(FileEnd::failed(e)))?;
            }
            if let Some(marker) = &mut self.marker
                && !marker.mark(&frame, count, &self.selector, &self.source)
            {
                return Ok(None);
            }
        }
    }

    /// Passes on what was read of the side track. Waits while the stage that finds speech is behind, so nothing may wait for
    /// this thread meanwhile.
    fn send_side_track(&mut self) {
        while let Some(data) = self.source.take_side_track() {
            // If that stage has ended, it has stopped the run.
            let _ = self.side_track.as_ref().map(|to| to.send(data));
        }
    }

    /// Shows a frame to the selector.
    fn examine(&mut self, frame: &Arc<Frame>) -> Result<Vec<FrameKeyframe>, Box<FileEnd>> {
        let timers = &self.run.timers;
        let start = Instant::now();
        let thumb = frame.thumb().map_err(|e| Box::new(FileEnd::failed(e)))?;
        StageTimers::add_since(&timers.analyse, start);
        if !self.share.admits(frame.size()) {
            self.share.check().map_err(|e| Box::new(FileEnd::failed(e)))?;
        }
        self.first.get_or_insert(frame.time);
        self.last = frame.time;
        StageTimers::count(&timers.frames, 1);
        let start = Instant::now();
        let keyframes = self.selector.push(thumb, frame.clone());
        StageTimers::add_since(&timers.scenes, start);
        Ok(keyframes)
    }

    fn send(&self, keyframes: Vec<FrameKeyframe>) -> Result<(), Box<FileEnd>> {
        for keyframe in keyframes {
            self.fetch(&keyframe).map_err(|e| Box::new(FileEnd::failed(e)))?;
            StageTimers::count(&self.run.timers.keyframes, 1);
            if self.out.send(StageMessage::Item(self.file, keyframe)).is_err() {
                return Err(Box::new(FileEnd::interrupted(self.last)));
            }
        }
        Ok(())
    }

    /// Counts the frames that were not decoded.
    fn count_skipped(&self) {
        let (timers, skipped) = (&self.run.timers, self.source.left_out());
        StageTimers::count(&timers.skipped, skipped as usize);
        let in_vain = skipped == 0 && self.run.config.decode.frames == DecodedFrames::Fast;
        StageTimers::count(&timers.unskippable, usize::from(in_vain));
    }

    /// Fetches a keyframe's pictures where another process holds them, so that no stage after this one waits for it.
    fn fetch(&self, keyframe: &FrameKeyframe) -> Result<()> {
        if keyframe.blank {
            return Ok(());
        }
        [&keyframe.picture].into_iter().chain(&keyframe.spread).try_for_each(|frame| frame.av().map(drop))
    }

    /// The last keyframes, and how the file ended. `error` ended it in the middle.
    fn finish(mut self, error: Option<Error>) -> FileEnd {
        let end = self.source.end();
        self.count_skipped();
        if let Some(marker) = &mut self.marker
            && !marker.is_finished(&self.source)
        {
            self.run.observer.ended(self.file);
            let damage = error.map(|e| e.to_string());
            return FileEnd { damage, lost: self.source.is_lost(), ..FileEnd::at(end) };
        }
        if let Some(text) = self.text.take()
            && let Err(e) = text.finish(end)
        {
            return FileEnd::failed(e);
        }
        let keyframes = self.selector.finish(end);
        if let Err(end) = self.send(keyframes) {
            return *end;
        }
        let media = (end - self.first.unwrap_or(end)).micros().max(0);
        self.run.timers.media.fetch_add(media.unsigned_abs(), Ordering::Relaxed);
        self.run.observer.ended(self.file);
        let damage = self.source.damage();
        let mut text = (!damage.is_clean()).then(|| damage.to_string());
        if let Some(e) = error {
            text = Some(text.map_or(e.to_string(), |text| format!("{text}; {e}")));
        }
        FileEnd { damage: text, lost: self.source.is_lost(), ..FileEnd::at(end) }
    }
}
