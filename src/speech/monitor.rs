//! When somebody talks in a stream that is read as it arrives.

use std::time::{Duration, Instant};

use super::detector::SpeechDetector;
use super::finder::SpeechFinder;
use crate::error::Result;
use crate::media::SideTrackData;

/// Windows that are examined together: 64 ms of sound.
const BLOCK: usize = 2;

/// Follows the sound of one connection.
///
/// Memory: a block of sound, and what the model remembers.
pub struct SpeechMonitor<'a> {
    finder: SpeechFinder<'a>,
}

impl<'a> SpeechMonitor<'a> {
    /// Loads a detector that gives results soon.
    ///
    /// # Errors
    /// As [`SpeechDetector::load`].
    pub fn detector() -> Result<SpeechDetector> {
        Ok(SpeechDetector::load()?.with_block(BLOCK))
    }

    /// For a new connection.
    pub fn new(detector: &'a mut SpeechDetector) -> SpeechMonitor<'a> {
        SpeechMonitor { finder: SpeechFinder::new(detector) }
    }

    /// Takes sound that arrived at `now`. Returns when somebody talked last, if that has become known.
    ///
    /// # Errors
    /// If the detector fails.
    pub fn push(&mut self, data: &SideTrackData, now: Instant) -> Result<Option<Instant>> {
        let update = self.finder.push(data)?;
        let last = if update.since.is_some() { Some(update.until) } else { update.ended.last().map(|last| last.end) };
        Ok(last.map(|last| {
            // Since then, that much sound has come.
            let quiet = Duration::from_micros((data.until - last).micros().max(0) as u64);
            now.checked_sub(quiet).unwrap_or(now)
        }))
    }
}
