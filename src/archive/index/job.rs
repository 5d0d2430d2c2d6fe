//! A job: which videos are described, how, and into which archive.

use super::observer::IndexObserver;
use super::plan::PlannedVideo;
use crate::address::Address;
use crate::archive::catalog::Archive;
use crate::error::Result;
use crate::interrupt::Interrupt;
use crate::pipeline::{Config, KeyframeSink, Model, Observer, Outcome, Stats};

/// Describes videos into an archive.
#[derive(Clone, Copy)]
pub struct IndexJob<'a> {
    /// Where the descriptions go.
    pub archive: &'a Archive,
    /// The videos, as [`plan`](super::plan()) gives them.
    pub videos: &'a [PlannedVideo],
    /// How they are described; must be what their recipe was made from.
    pub config: &'a Config,
    /// Loads the model. Called once per pass: once, and again only if another process had claimed videos and not finished
    /// them.
    pub model: &'a (dyn Fn() -> Result<Model> + Sync),
    /// Ends the job early: finished videos are kept, the others start again next time.
    pub interrupt: &'a Interrupt,
    /// Receives what becomes of each video.
    pub observer: &'a dyn IndexObserver,
}

/// One pass for a [`DescribeVideos`].
pub struct DescribeRequest<'a> {
    /// What to open, one per video.
    pub inputs: &'a [Address],
    /// The loaded model.
    pub model: Model,
    /// Receives progress; positions are those of `inputs`.
    pub observer: &'a dyn Observer,
    /// Decides whether a video is described, and takes its keyframes.
    pub sink: &'a dyn KeyframeSink,
    /// Takes the outcome of each video that was described.
    pub done: &'a mut dyn FnMut(usize, Outcome),
}

/// Describes videos: the pipeline, or a replacement that gives the same results.
pub type DescribeVideos<'a> = dyn Fn(DescribeRequest<'_>) -> Result<Stats> + Sync + 'a;
