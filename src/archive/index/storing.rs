//! The thread that stores what the pipeline finds: keyframes as they come, then each video's outcome.
//!
//! Order: a video's keyframes come in order of time and its outcome last; videos mix freely. A video is committed only if
//! it was described to its end and its source is still what it was when the job was planned. Memory: one
//! [`VideoWriter`] per video that is being described.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crossbeam_channel::Receiver;

use super::job::IndexJob;
use super::plan::PlannedVideo;
use super::remote::object_fingerprint;
use super::sources::{SourceVideo, file_fingerprint};
use crate::address::{hide, is_object};
use crate::archive::claim::Claim;
use crate::archive::writer::VideoWriter;
use crate::error::{Error, Result};
use crate::message;
use crate::message::Setting;
use crate::pipeline::{CutShort, KeyframeRecord, Outcome};

/// Keyframes, each with its embedding and its thumbnail, that may wait for the storing thread: some 2 MB.
pub(super) const STORE_QUEUE: usize = 32;

/// What the storing thread receives; the number is the position in [`IndexJob::videos`].
pub(super) enum StoreMessage {
    Keyframe(usize, Box<KeyframeRecord>),
    End(usize, Box<Outcome>),
}

/// The claims of the videos that are being described, by position in the job.
#[derive(Default)]
pub(super) struct HeldClaims(Mutex<HashMap<usize, Claim>>);

impl HeldClaims {
    pub(super) fn hold(&self, file: usize, claim: Claim) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(file, claim);
    }

    fn release(&self, file: usize) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&file);
    }
}

/// What the storing thread works with.
pub(super) struct Storing<'a> {
    job: &'a IndexJob<'a>,
    claims: &'a HeldClaims,
    writers: HashMap<usize, VideoWriter<'a>>,
}

impl<'a> Storing<'a> {
    pub(super) fn new(job: &'a IndexJob<'a>, claims: &'a HeldClaims) -> Storing<'a> {
        Storing { job, claims, writers: HashMap::new() }
    }

    /// Stores what comes, in order, until the senders are gone. Fails where the archive cannot be written.
    pub(super) fn run(&mut self, messages: &Receiver<StoreMessage>) -> Result<()> {
        for message in messages {
            match message {
                StoreMessage::Keyframe(file, keyframe) => {
                    let mut writer = self.writer(file)?;
                    writer.keyframe(*keyframe)?;
                    self.writers.insert(file, writer);
                }
                StoreMessage::End(file, outcome) => {
                    self.end(file, *outcome)?;
                    self.claims.release(file);
                }
            }
        }
        Ok(())
    }

    /// The writer of a video; a new one at its first keyframe.
    fn writer(&mut self, file: usize) -> Result<VideoWriter<'a>> {
        self.writers.remove(&file).map_or_else(|| self.job.archive.begin(&self.job.videos[file].work), Ok)
    }

    /// Commits a video, or records why it cannot be described.
    fn end(&mut self, file: usize, outcome: Outcome) -> Result<()> {
        let PlannedVideo { source, work, .. } = &self.job.videos[file];
        let Outcome { track, error, cut_short } = outcome;
        // A video that ended early because its server failed must not pass for a short video.
        let lost = match (&track, cut_short) {
            (Some(track), Some(CutShort::Connection)) => {
                let cause = track.damage.clone().unwrap_or_default();
                let remedy = message!["Run again with ", Setting::RetryFailed, " when the server answers."];
                Some(Error::input(&*work.video, cause, remedy))
            }
            _ => None,
        };
        let complete = track.filter(|t| !t.interrupted && cut_short.is_none());
        match (complete, error.or(lost)) {
            (_, Some(e)) => {
                self.abandon(file)?;
                let e = without_credentials(e, source);
                let recorded = self.record_failure(file, &e)?;
                self.job.observer.failed(file, &e, recorded);
            }
            (Some(track), None) if self.is_unchanged(source) => {
                let record = self.writer(file)?.finish(track)?;
                self.job.observer.stored(file, &record);
            }
            (Some(_), None) => {
                self.abandon(file)?;
                let cause = "has changed while it was described";
                let e = Error::input(&*work.video, cause, "Run again when nothing writes to it any more.");
                self.job.observer.failed(file, &e, false);
            }
            // The user or the model stopped it: the next job describes it from the start.
            (None, None) => self.abandon(file)?,
        }
        Ok(())
    }

    fn abandon(&mut self, file: usize) -> Result<()> {
        self.writers.remove(&file).map_or(Ok(()), VideoWriter::abandon)
    }

    /// Records why a video failed, if the video itself is the reason; returns whether it did.
    fn record_failure(&self, file: usize, e: &Error) -> Result<bool> {
        let Error::Input { cause, remedy, .. } = e else { return Ok(false) };
        let work = &self.job.videos[file].work;
        self.job.archive.record_failure(work, &cause.to_string(), &remedy.to_string()).map(|_| true)
    }

    /// Whether a source is still what it was when the job was planned. A file that was deleted meanwhile has been read to
    /// its end all the same. Web addresses are not requested again.
    fn is_unchanged(&self, source: &SourceVideo) -> bool {
        if is_object(&source.video) {
            // If the store does not answer now: the object was read under the e-tag that it had then.
            return object_fingerprint(&source.input(), &self.job.config.decode, self.job.interrupt)
                .map_or(true, |now| now.is_none_or(|now| now == source.fingerprint));
        }
        if source.fingerprint.mtime_ns.is_none() {
            return true;
        }
        let path = Path::new(&*source.video);
        !path.exists() || file_fingerprint(path) == source.fingerprint
    }
}

/// An error about a video, by its name in the archive and without credentials. The error underneath may hold some, and is
/// dropped.
fn without_credentials(e: Error, source: &SourceVideo) -> Error {
    let clean = |text: String| match &source.address {
        Some(address) => hide(&text.replace(address.reveal(), &source.video)),
        None => hide(&text),
    };
    match e {
        Error::Input { cause, remedy, .. } => {
            Error::input(&*source.video, cause.map_text(clean), remedy.map_text(clean))
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_show_no_credentials() {
        let address = crate::address::Address::new("https://user:hush-hush@host/a.mp4?sig=s3cr3t-sig");
        let source =
            SourceVideo { video: address.shown().into(), address: Some(address), fingerprint: Default::default() };
        let raw = "https://user:hush-hush@host/a.mp4?sig=s3cr3t-sig cannot be opened";
        let remedy = message![raw, Setting::RetryFailed];
        let text = without_credentials(Error::input(source.input().reveal(), raw, remedy), &source)
            .render(|_| "--retry".into());
        assert!(!text.contains("hush") && !text.contains("s3cr3t") && text.contains("https://host/a.mp4"), "{text}");
        assert!(text.ends_with("--retry"), "{text}");
    }
}
