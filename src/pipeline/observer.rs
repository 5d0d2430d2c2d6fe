//! What callers implement to follow a run: its progress, and a store for its keyframes.

use super::message::{CutShort, KeyframeRecord};
use crate::error::{Error, Result};
use crate::media::StreamInfo;
use crate::time::Time;
use crate::track::Cue;
use crate::track::Track;

/// Follows the progress of a run. Called from several threads at once; every method does nothing by default.
pub trait Observer: Sync {
    /// A file was opened.
    fn opened(&self, _file: usize, _info: &StreamInfo) {}
    /// A file was decoded up to this time.
    fn watched(&self, _file: usize, _time: Time) {}
    /// A cue is final. A file's cues come in order of time.
    fn cue(&self, _file: usize, _cue: &Cue) {}
    /// A file has this many cues so far.
    fn cues(&self, _file: usize, _count: usize) {}
    /// A file was decoded to its end.
    fn ended(&self, _file: usize) {}
}

/// Ignores everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {}

/// Stores keyframes while films are described: a film's own list of scenes holds neither embeddings nor thumbnails. An
/// error of any method ends the whole run.
pub trait KeyframeSink: Sync {
    /// A file is about to be opened, on the thread that decodes it. `false` skips the file, and nothing more is reported
    /// about it.
    ///
    /// # Errors
    /// When the run cannot continue.
    fn begin(&self, _file: usize) -> Result<bool> {
        Ok(true)
    }

    /// A keyframe, on the thread that called [`run`](super::run). A file's keyframes come in order of time; those of
    /// several files may be mixed.
    ///
    /// # Errors
    /// When it cannot be stored and the run cannot continue.
    fn scene(&self, file: usize, keyframe: KeyframeRecord) -> Result<()>;
}

/// The result for one input.
#[derive(Debug)]
pub struct Outcome {
    /// The track as far as the input was described; none where nothing could be.
    pub track: Option<Track>,
    /// Why the input could not be described.
    pub error: Option<Error>,
    /// Set where the film continues after the end of the track, and that is not the film's fault.
    pub cut_short: Option<CutShort>,
}
