//! The describer's thread: takes batches across all streams from the inbox, runs the model, and publishes what is new.
//!
//! Order: of one stream, keyframes are described in the order in which they were queued.
//!
//! Memory: one batch, and for each stream what its [`Novelty`] remembers and the descriptions of its next prompt.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::event::LiveCaption;
use super::inbox::Inbox;
use super::metrics::{DropReason, Metrics, ModelState, Stage};
use super::novelty::{Decision, Novelty, NoveltyOptions};
use super::stream::{LiveStream, QueuedKeyframe};
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::media::Rgb;
use crate::model::ImageSpec;
use crate::model::caption::{Caption, CaptionInput, Captions, PictureDemand};
use crate::model::image::{Encode, Encoded};
use crate::model::preprocess::{Pixels, preprocess};
use crate::model::{DescriptionHistory, Model};
use crate::pipeline::batch::BatchRule;
use crate::track::dedup::DedupOptions;

/// How long a batch that is not full waits for keyframes of other streams.
const LINGER: Duration = Duration::from_millis(60);
/// Quality of the JPEG pictures, of 100.
const JPEG_QUALITY: u8 = 80;

/// What the describer needs besides the model.
pub(super) struct DescriberJob {
    pub(super) streams: Vec<Arc<LiveStream>>,
    pub(super) inbox: Arc<Inbox<QueuedKeyframe>>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) dedup: DedupOptions,
    pub(super) min_score: f32,
    /// Most pictures of a batch.
    pub(super) batch: usize,
    /// Ends what the captioner waits for.
    pub(super) interrupt: Interrupt,
}

/// Loads the model and describes until the inbox is closed and empty.
pub(super) fn describe(model: Model, job: DescriberJob) -> Result<()> {
    let metrics = job.metrics.clone();
    let failed = |e: Error| {
        metrics.set_model(ModelState::Failed);
        e
    };
    // A model that cannot be loaded now cannot be loaded by the next start either: that error stays as it is.
    let mut describer = DescribeLoop::load(model, job).map_err(failed)?;
    let result = describer.run();
    metrics.set_inferring(false);
    result.map_err(failed).map_err(|e| {
        // What a server refuses now it also refuses after a restart.
        if matches!(e, Error::Server { .. }) {
            return e;
        }
        let remedy = "Start descry again. If that does not help, describe a single picture with this model to see why.";
        Error::broken(e.to_string(), remedy).with_source(e)
    })
}

struct DescribeLoop {
    job: DescriberJob,
    spec: ImageSpec,
    demand: PictureDemand,
    encoder: Box<dyn Encode>,
    captioner: Box<dyn Captions>,
    /// In the order of the streams.
    novelties: Vec<Novelty>,
    /// What each stream's next prompt consists of; none if the model takes no prompt.
    histories: Vec<Option<DescriptionHistory>>,
    /// Whether the last batch got no caption for a reason that passes.
    unanswered: bool,
}

impl DescribeLoop {
    fn load(model: Model, job: DescriberJob) -> Result<DescribeLoop> {
        let encoder = (model.encoder)()?;
        let mut captioner = (model.captioner)()?;
        captioner.begin(&job.interrupt);
        job.metrics.set_model(ModelState::Working);
        let novelty = |s: &Arc<LiveStream>| {
            Novelty::new(NoveltyOptions {
                dedup: job.dedup,
                every: s.config.every,
                min_interval: s.config.min_interval,
                min_score: job.min_score,
            })
        };
        let novelties = job.streams.iter().map(novelty).collect();
        let history = |s: &Arc<LiveStream>| {
            let prompt =
                s.config.prompt.clone().or_else(|| model.prompt.as_ref().map(|prompt| prompt.options.clone()))?;
            Some(DescriptionHistory::new(Arc::new(prompt)))
        };
        let histories = job.streams.iter().map(history).collect();
        Ok(DescribeLoop {
            spec: model.image,
            demand: model.demand,
            encoder,
            captioner,
            novelties,
            histories,
            unanswered: false,
            job,
        })
    }

    fn run(&mut self) -> Result<()> {
        let rule = BatchRule { size: self.job.batch, linger: LINGER };
        while let Some(batch) = self.job.inbox.take(rule) {
            let (keyframes, pixels) = self.preprocess(batch);
            if keyframes.is_empty() {
                continue;
            }
            let encoded = self.encode(&pixels)?;
            let decisions: Vec<Decision> = keyframes
                .iter()
                .zip(&encoded)
                .map(|((stream, keyframe), e)| self.novelties[*stream].judge(&e.unit(), keyframe.time))
                .collect();
            let mut captions = self.caption(&keyframes, encoded, &decisions)?.into_iter();
            self.job.metrics.set_inferring(false);
            for ((stream, keyframe), decision) in keyframes.into_iter().zip(decisions) {
                let caption = if matches!(decision, Decision::Describe(_)) { captions.next() } else { None };
                match caption.transpose() {
                    Ok(caption) => self.publish(stream, keyframe, decision, caption),
                    Err(why) => self.job.streams[stream].drop_keyframe(&keyframe, why),
                }
            }
        }
        Ok(())
    }

    /// Leaves out keyframes that were chosen before the last description of their stream was published.
    fn preprocess(&self, batch: Vec<(usize, QueuedKeyframe)>) -> (Vec<(usize, QueuedKeyframe)>, Vec<Pixels>) {
        let began = Instant::now();
        let (mut keyframes, mut pixels) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
        for (position, keyframe) in batch {
            let stream = &self.job.streams[position];
            if let Some(counters) = stream.counters() {
                counters.set_queue(self.job.inbox.depth(position));
            }
            if keyframe.time < self.novelties[position].not_before() {
                stream.reject(keyframe.start);
                continue;
            }
            pixels.push(preprocess(keyframe.inside.as_ref().unwrap_or(&keyframe.picture), &self.spec));
            keyframes.push((position, keyframe));
        }
        if !keyframes.is_empty() {
            self.job.metrics.stage_seconds(Stage::Preprocess, began.elapsed());
        }
        (keyframes, pixels)
    }

    fn encode(&mut self, pixels: &[Pixels]) -> Result<Vec<Encoded>> {
        let metrics = &self.job.metrics;
        let began = Instant::now();
        metrics.set_inferring(true);
        let encoded = self.encoder.encode(pixels)?;
        metrics.stage_seconds(Stage::Encode, began.elapsed());
        metrics.encode_batch(pixels.len());
        Ok(encoded)
    }

    /// A caption for each picture that is to be described, or why it is dropped, in order.
    fn caption(
        &mut self,
        keyframes: &[(usize, QueuedKeyframe)],
        encoded: Vec<Encoded>,
        decisions: &[Decision],
    ) -> Result<Vec<Result<Caption, DropReason>>> {
        let all = decisions.iter().zip(keyframes).zip(encoded);
        let fresh: Vec<CaptionInput> = all
            .filter(|((decision, _), _)| matches!(decision, Decision::Describe(_)))
            .map(|((_, (stream, keyframe)), encoded)| CaptionInput {
                encoded,
                pictures: self.pictures(keyframe),
                prompt: self.histories[*stream].as_ref().map(DescriptionHistory::prompt),
            })
            .collect();
        if fresh.is_empty() {
            return Ok(Vec::new());
        }
        let metrics = &self.job.metrics;
        let began = Instant::now();
        // A server's captioner has deadlines of its own.
        metrics.set_inferring(!self.captioner.is_remote());
        let captions = self.captioner.caption_each(&fresh.iter().collect::<Vec<_>>());
        metrics.stage_seconds(Stage::Caption, began.elapsed());
        metrics.caption_batch(fresh.len());
        let mut failure = None;
        let mut results = Vec::with_capacity(captions.len());
        for caption in captions {
            results.push(match caption {
                Ok(caption) => Ok(caption),
                Err(Error::Interrupted) => Err(DropReason::Stopped),
                Err(e) if e.is_temporary() => {
                    failure = Some(e);
                    Err(DropReason::Server)
                }
                Err(e) => return Err(e),
            });
        }
        self.log_failure(failure, results.iter().any(Result::is_ok));
        Ok(results)
    }

    /// The pictures that the captioner reads.
    fn pictures(&self, keyframe: &QueuedKeyframe) -> Vec<Arc<Rgb>> {
        let pictures = match (self.demand.count, keyframe.spread.as_slice()) {
            (0, _) => &[],
            (_, []) => std::slice::from_ref(keyframe.inside.as_ref().unwrap_or(&keyframe.picture)),
            (_, spread) => spread,
        };
        pictures.to_vec()
    }

    /// Logs once when captions begin to fail, and once when they succeed again.
    fn log_failure(&mut self, failure: Option<Error>, some: bool) {
        match failure {
            Some(e) if !self.unanswered => {
                tracing::warn!(
                    "{}; keyframes are dropped until it answers",
                    e.to_string().lines().next().unwrap_or("")
                );
                self.unanswered = true;
            }
            None if self.unanswered && some => {
                tracing::warn!("the server of models answers again");
                self.unanswered = false;
            }
            _ => {}
        }
    }

    fn publish(&mut self, position: usize, keyframe: QueuedKeyframe, decision: Decision, caption: Option<Caption>) {
        let (novelty, stream) = (&mut self.novelties[position], &self.job.streams[position]);
        let words = match decision {
            Decision::Skip => None,
            Decision::Repeat { text, score } => Some((text, score, true)),
            Decision::Describe(id) => caption.and_then(|c| {
                let text = novelty.described(id, &c.text, c.score, keyframe.time)?;
                if let Some(history) = &mut self.histories[position] {
                    history.add(&text);
                }
                Some((text, c.score, false))
            }),
        };
        let QueuedKeyframe { start, time: picture_time, wall, arrived, picture, .. } = keyframe;
        if let Some((text, score, returning)) = words {
            let began = Instant::now();
            // Empty where the picture is larger than JPEG allows.
            let jpeg = picture.to_jpeg(JPEG_QUALITY).unwrap_or_default().into();
            self.job.metrics.stage_seconds(Stage::Picture, began.elapsed());
            let (due, waited) = (start, Duration::ZERO);
            let screen_text = Arc::new([]);
            let caption = LiveCaption {
                start,
                picture_time,
                due,
                wall,
                arrived,
                waited,
                text,
                score,
                returning,
                screen_text,
                jpeg,
            };
            stream.describe(caption, Instant::now());
        }
        stream.close(start, novelty.not_before());
    }
}
