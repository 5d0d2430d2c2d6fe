//! The pipeline for one stretch of a film: the same stages, but keyframes come out with everything known about them, and no
//! cues are made. Pictures that are new within the stretch are captioned.
//!
//! Order: keyframes in order of time. Memory: as the pipeline's; marks, one for each second, grow with the stretch.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::thread;
use std::time::Instant;

use crossbeam_channel::bounded;

use super::mark::{Mark, Marker, StretchReport};
use crate::address::Address;
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::model::{CaptionInput, Captions, Model};
use crate::pipeline::batch::{BatchStage, Batcher, drive};
use crate::pipeline::config::Config;
use crate::pipeline::context::Run;
use crate::pipeline::message::{EncodedKeyframe, FileEnd, QUEUE, StageMessage};
use crate::pipeline::observer::Observer;
use crate::pipeline::stages::describe::{caption_batch, caption_limits, load_captioner};
use crate::pipeline::stages::encode::EncodeStage;
use crate::pipeline::stages::watch::{BesideStages, FrameKeyframe, watch};
use crate::pipeline::stats::Stats;
use crate::track::Dedup;

/// A stretch of one film: the one between start and end in `config.decode`.
pub(super) struct StretchJob<'a> {
    pub(super) input: &'a Address,
    pub(super) config: &'a Config,
    pub(super) model: Model,
    pub(super) interrupt: &'a Interrupt,
    pub(super) observer: &'a dyn Observer,
}

/// Decodes a stretch. `enough` ends it at a mark; `sink` receives the keyframes, in order. A stretch beyond the end of the
/// film is empty, and no error.
pub(super) fn watch_stretch(
    job: StretchJob<'_>,
    enough: &mut (dyn FnMut(&Mark) -> bool + Send),
    sink: &mut dyn FnMut(EncodedKeyframe) -> Result<()>,
) -> Result<(StretchReport, Stats)> {
    let StretchJob { input, config, model, interrupt, observer } = job;
    let Model { image, encoder, captioner, demand, .. } = model;
    let run = Run::new(config, demand, interrupt, observer, None);
    let mut marker = Marker::new(enough);
    let mut ended = None;
    thread::scope(|scope| {
        let (to_encode, watched) = bounded::<StageMessage<FrameKeyframe>>(QUEUE);
        let (to_caption, encoded) = bounded::<StageMessage<EncodedKeyframe>>(QUEUE);
        let (run, marker, ended) = (&run, &mut marker, &mut ended);
        scope
            .spawn(move || *ended = Some(watch(run, 0, input, Some(marker), &mut BesideStages::default(), &to_encode)));
        scope.spawn(move || {
            let thumbnails = config.thumbnail;
            run.stage(&watched, |from| EncodeStage::new(run, encoder()?, image, thumbnails, to_caption).run(from));
        });
        run.stage(&encoded, |from| {
            let (captioner, dedup) = (load_captioner(run, captioner)?, Dedup::new(&config.dedup));
            let mut stage = StretchStage { run, captioner, dedup, sink };
            drive(from, caption_limits(run), &mut stage)
        });
    });
    let stats = run.finish()?;
    let mut report = marker.into_report();
    match ended {
        Some(FileEnd { interrupted: true, .. }) | None => return Err(Error::Interrupted),
        Some(FileEnd { error: Some(e), .. }) => {
            if report.marks.is_empty() && config.decode.start.is_some() && matches!(e, Error::Input { .. }) {
                report.empty = Some(e.to_string());
            } else {
                return Err(e);
            }
        }
        Some(FileEnd { damage: Some(_), .. }) => report.losses = report.losses.max(1),
        Some(_) => {}
    }
    Ok((report, stats))
}

/// The last stage of a stretch: captions what is new in it.
struct StretchStage<'a> {
    run: &'a Run<'a>,
    captioner: Box<dyn Captions>,
    dedup: Dedup,
    sink: &'a mut dyn FnMut(EncodedKeyframe) -> Result<()>,
}

impl BatchStage for StretchStage<'_> {
    type Input = StageMessage<EncodedKeyframe>;
    type Message = EncodedKeyframe;
    /// Position of a message.
    type Work = usize;

    fn accept(&mut self, input: Self::Input, batcher: &mut Batcher<EncodedKeyframe, usize>) -> Result<()> {
        let StageMessage::Item(_, keyframe) = input else { return Ok(()) };
        let input = keyframe.input.as_ref();
        // A part file holds no pictures from which a repetition could be captioned later.
        let all = self.run.demand.count > 0;
        let wanted = input.is_some_and(|input| self.dedup.weigh(&input.encoded.unit()).verdict.is_new() || all);
        let position = batcher.len();
        batcher.push(keyframe, wanted.then_some(position), Instant::now());
        Ok(())
    }

    fn run(&mut self, work: Vec<usize>, mut messages: VecDeque<EncodedKeyframe>) -> Result<ControlFlow<()>> {
        if !work.is_empty() {
            let inputs: Vec<&CaptionInput> =
                work.iter().filter_map(|&n| messages.get(n).and_then(|k| k.input.as_ref())).collect();
            let captions = caption_batch(self.run, self.captioner.as_mut(), &inputs)?;
            for (n, caption) in work.into_iter().zip(captions) {
                if let Some(keyframe) = messages.get_mut(n) {
                    keyframe.caption = Some(caption);
                }
            }
        }
        messages.into_iter().try_for_each(&mut *self.sink)?;
        Ok(ControlFlow::Continue(()))
    }
}
