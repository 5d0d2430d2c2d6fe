//! What a job reports while it runs.

use crate::archive::record::VideoRecord;
use crate::error::Error;
use crate::pipeline::{Observer, Silent};

/// Receives the outcome of each video, from several threads at once. `file` is the position in [`IndexJob::videos`]. All
/// methods do nothing by default; [`Silent`] implements only those.
///
/// [`IndexJob::videos`]: super::IndexJob::videos
pub trait IndexObserver: Observer {
    /// The video is in the archive.
    fn stored(&self, _file: usize, _record: &VideoRecord) {}

    /// The video cannot be described. `recorded`: the archive holds the reason, and the next job skips the video.
    fn failed(&self, _file: usize, _error: &Error, _recorded: bool) {}

    /// Another process has described the video.
    fn described_elsewhere(&self, _file: usize) {}
}

impl IndexObserver for Silent {}
