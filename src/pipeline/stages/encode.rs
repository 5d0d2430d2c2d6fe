//! The second stage: converts keyframes and runs the image tower, in batches that fill across scenes and files. One thread.
//!
//! Order: as they came, file by file. Memory: one batch of pixels, and at most [`MESSAGES`] messages.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender};

use super::watch::FrameKeyframe;
use crate::error::Result;
use crate::media::rgb::Rgb;
use crate::media::thumbnail::{ThumbnailOptions, thumbnail};
use crate::media::{Frame, LONGEST_SIDE};
use crate::model::{CaptionInput, Encode, Encoded, ImageSpec, Pixels, preprocess};
use crate::pipeline::batch::{BatchLimits, BatchRule, BatchStage, Batcher, drive};
use crate::pipeline::context::Run;
use crate::pipeline::message::{EncodedKeyframe, QUEUE, StageMessage, split};
use crate::pipeline::stats::StageTimers;

/// Most messages that wait for a batch.
const MESSAGES: usize = 4 * QUEUE;

/// The stage; see the module.
pub(crate) struct EncodeStage<'a> {
    run: &'a Run<'a>,
    encoder: Box<dyn Encode>,
    image: ImageSpec,
    thumbnails: ThumbnailOptions,
    out: Sender<StageMessage<EncodedKeyframe>>,
}

impl<'a> EncodeStage<'a> {
    pub(crate) fn new(
        run: &'a Run<'a>,
        encoder: Box<dyn Encode>,
        image: ImageSpec,
        thumbnails: ThumbnailOptions,
        out: Sender<StageMessage<EncodedKeyframe>>,
    ) -> EncodeStage<'a> {
        EncodeStage { run, encoder, image, thumbnails, out }
    }

    /// Runs until `from` is closed.
    pub(crate) fn run(mut self, from: &Receiver<StageMessage<FrameKeyframe>>) -> Result<()> {
        let config = self.run.config;
        let rule = BatchRule { size: config.encode_batch.max(1), linger: config.linger };
        drive(from, BatchLimits { rule, messages: MESSAGES }, &mut self)
    }

    /// Converts a keyframe's picture; `None` where there is nothing to encode.
    fn prepare(&self, picture: Arc<Frame>, spread: Vec<Arc<Frame>>, keyframe: &mut EncodedKeyframe) -> Option<Pixels> {
        if keyframe.info.blank {
            return None;
        }
        let _busy = self.run.config.budget.working();
        let start = Instant::now();
        let pixels = match self.convert(&picture, &spread, keyframe) {
            Ok(pixels) => Some(pixels),
            Err(e) => {
                keyframe.fault = Some(e.to_string());
                None
            }
        };
        StageTimers::add_since(&self.run.timers.prepare, start);
        pixels
    }

    /// Gives a keyframe its pictures and its thumbnail; with what the image tower reads.
    fn convert(&self, frame: &Arc<Frame>, spread: &[Arc<Frame>], keyframe: &mut EncodedKeyframe) -> Result<Pixels> {
        let longest = self.image.longest_useful();
        let whole = frame.to_rgb_within(longest)?;
        let pictures = self.pictures(frame, spread)?;
        // A placeholder until the batch has run.
        let encoded = Encoded { embedding: Vec::new(), grid: None };
        let thumbnail = thumbnail(&whole, self.thumbnails);
        let inside = frame.to_rgb_inside(self.run.config.bars, &whole, longest)?.unwrap_or(whole);
        keyframe.input = Some(CaptionInput { encoded, pictures, prompt: None });
        keyframe.thumbnail = thumbnail;
        Ok(preprocess(&inside, &self.image))
    }

    /// The pictures that the captioner reads. They do not depend on the image tower, nor the tower on them.
    fn pictures(&self, frame: &Arc<Frame>, spread: &[Arc<Frame>]) -> Result<Vec<Arc<Rgb>>> {
        if self.run.demand.count == 0 {
            return Ok(Vec::new());
        }
        let frames = if spread.is_empty() { std::slice::from_ref(frame) } else { spread };
        let longest = self.run.demand.longest.min(LONGEST_SIDE);
        let convert = |frame: &Arc<Frame>| {
            let whole = frame.to_rgb_within(longest)?;
            Ok(Arc::new(frame.to_rgb_inside(self.run.config.bars, &whole, longest)?.unwrap_or(whole)))
        };
        frames.iter().map(convert).collect()
    }

    fn encode(&mut self, pixels: &[Pixels]) -> Result<Vec<Encoded>> {
        let _busy = self.run.config.budget.running();
        let start = Instant::now();
        let encoded = self.encoder.encode(pixels)?;
        let timers = &self.run.timers;
        StageTimers::add_since(&timers.encode, start);
        StageTimers::count(&timers.encoded, pixels.len());
        StageTimers::count(&timers.encode_batches, 1);
        Ok(encoded)
    }
}

impl BatchStage for EncodeStage<'_> {
    type Input = StageMessage<FrameKeyframe>;
    type Message = StageMessage<EncodedKeyframe>;
    type Work = Pixels;

    fn accept(&mut self, input: Self::Input, batcher: &mut Batcher<Self::Message, Pixels>) -> Result<()> {
        let (message, work) = match input {
            StageMessage::Opened(file, info) => (StageMessage::Opened(file, info), None),
            StageMessage::End(file, end) => {
                // With one file at a time nothing follows soon that could fill the batch.
                if self.run.config.jobs <= 1 {
                    batcher.flush();
                }
                (StageMessage::End(file, end), None)
            }
            StageMessage::Item(file, keyframe) => {
                let (info, picture, spread) = split(keyframe);
                let mut keyframe = EncodedKeyframe { info, input: None, caption: None, fault: None, thumbnail: None };
                let pixels = self.prepare(picture, spread, &mut keyframe);
                (StageMessage::Item(file, keyframe), pixels)
            }
        };
        batcher.push(message, work, Instant::now());
        Ok(())
    }

    fn run(&mut self, work: Vec<Pixels>, mut messages: VecDeque<Self::Message>) -> Result<ControlFlow<()>> {
        if !work.is_empty() {
            let mut encoded = self.encode(&work)?.into_iter();
            for message in &mut messages {
                if let StageMessage::Item(_, keyframe) = message
                    && let Some(input) = &mut keyframe.input
                    && let Some(e) = encoded.next()
                {
                    input.encoded = e;
                }
            }
        }
        for message in messages {
            if self.out.send(message).is_err() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}
