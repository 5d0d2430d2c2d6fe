//! One run: the stages on their threads, joined by channels.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crossbeam_channel::{Sender, bounded};

use super::config::Config;
use super::context::Run;
use super::message::{EncodedKeyframe, QUEUE, StageMessage};
use super::observer::{KeyframeSink, Observer, Outcome};
use super::stages::collect::{CollectStage, TrackHeader};
use super::stages::describe::{DescribeStage, load_captioner};
use super::stages::encode::EncodeStage;
use super::stages::speech::SpeechStage;
use super::stages::text::TextStage;
use super::stages::watch::{BesideStages, FrameKeyframe, watch};
use super::stats::Stats;
use crate::address::Address;
use crate::error::Result;
use crate::interrupt::Interrupt;
use crate::media::thumbnail::ThumbnailOptions;
use crate::model::Model;

/// What to describe, and how.
pub struct Job<'a> {
    /// Paths and URLs.
    pub inputs: &'a [Address],
    /// Options of all stages.
    pub config: &'a Config,
    /// The model; its graphs load on the threads of their stages.
    pub model: Model,
    /// Stops the run.
    pub interrupt: &'a Interrupt,
    /// Follows the progress.
    pub observer: &'a dyn Observer,
    /// Stores keyframes as they come.
    pub sink: Option<&'a dyn KeyframeSink>,
}

/// Describes all inputs. `done` is called on this thread once for each input, as it ends.
///
/// # Errors
/// Only for what concerns all inputs (the model, the runtime, the sink). What concerns one input is in its outcome.
pub fn run(job: Job<'_>, mut done: impl FnMut(usize, Outcome)) -> Result<Stats> {
    let Job { inputs, config, model, interrupt, observer, sink } = job;
    let Model { name, decoding, image, encoder, captioner, demand, prompt, .. } = model;
    let run = Run::new(config, demand, interrupt, observer, sink);
    let options = config.content_options(&decoding);
    let wanted = sink.is_some() || config.keep_pictures;
    let thumbnails = if wanted { config.thumbnail } else { ThumbnailOptions { width: 0, ..config.thumbnail } };
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        let (to_encode, watched) = bounded::<StageMessage<FrameKeyframe>>(QUEUE);
        let (to_describe, encoded) = bounded::<StageMessage<EncodedKeyframe>>(QUEUE);
        let (to_collect, captioned) = bounded(QUEUE);
        let (to_log, findings) = bounded(QUEUE);
        let (run, next) = (&run, &next);
        for _ in 0..config.jobs.clamp(1, inputs.len().max(1)) {
            let (to_encode, to_log) = (to_encode.clone(), to_log.clone());
            scope.spawn(move || {
                let text = TextStage::new(run, &to_log);
                let beside = BesideStages { speech: Some(SpeechStage::new(run, to_log)), text };
                watch_films(run, inputs, next, beside, &to_encode);
            });
        }
        drop((to_encode, to_log));
        scope.spawn(move || {
            run.stage(&watched, |from| EncodeStage::new(run, encoder()?, image, thumbnails, to_describe).run(from));
        });
        scope.spawn(move || {
            run.stage(&encoded, |from| {
                DescribeStage::new(
                    run,
                    load_captioner(run, captioner)?,
                    prompt.map(|prompt| prompt.options),
                    to_collect,
                )
                .run(from)
            });
        });
        let track = TrackHeader { inputs, model: name, options };
        run.stage(&captioned, |from| CollectStage::new(run, track, &mut done).run(from, findings));
    });
    run.finish()
}

/// Decodes the films that no other thread has taken, one after another.
fn watch_films(
    run: &Run<'_>,
    inputs: &[Address],
    next: &AtomicUsize,
    mut beside: BesideStages<'_>,
    to_encode: &Sender<StageMessage<FrameKeyframe>>,
) {
    loop {
        let file = next.fetch_add(1, Ordering::Relaxed);
        let Some(input) = inputs.get(file) else { return };
        if run.is_stopped() {
            return;
        }
        match run.sink.map_or(Ok(true), |sink| sink.begin(file)) {
            Ok(true) => {}
            Ok(false) => continue,
            Err(e) => return run.stop(e),
        }
        // The caller has prepared the process of the first film. If this fails, opening the film reports why.
        if let (Some(isolation), true) = (&run.config.isolation, file + 1 < inputs.len()) {
            let _ = isolation.prepare();
        }
        let end = watch(run, file, input, None, &mut beside, to_encode);
        if to_encode.send(StageMessage::End(file, end)).is_err() {
            return;
        }
    }
}
