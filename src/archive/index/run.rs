//! Runs a job: pass after pass over its videos, until each is described, here or by another process.
//!
//! A pass describes the videos that no other process has claimed. The claimed ones come again in the next pass, once their
//! claims are released.

use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};

use super::job::{DescribeRequest, DescribeVideos, IndexJob};
use super::observer::IndexObserver;
use super::plan::PlannedVideo;
use super::storing::{HeldClaims, STORE_QUEUE, StoreMessage, Storing};
use crate::address::Address;
use crate::error::{Error, Result};
use crate::media::decode::StreamInfo;
use crate::pipeline::{Job, KeyframeRecord, KeyframeSink, Observer, Stats, run};
use crate::time::Time;

/// How often a job checks whether another process has released a video. Short beside the seconds that a video takes.
const CLAIM_POLL: Duration = Duration::from_millis(200);

impl IndexJob<'_> {
    /// Describes the videos with the pipeline; returns how long each stage was busy.
    ///
    /// # Errors
    /// The archive cannot be written, or the model cannot be run. Videos that were finished until then stay. What goes
    /// wrong with one video goes to [`IndexObserver::failed`].
    pub fn run(&self) -> Result<Stats> {
        self.run_with(&|request: DescribeRequest<'_>| {
            let DescribeRequest { inputs, model, observer, sink, done } = request;
            let (config, interrupt) = (self.config, self.interrupt);
            run(Job { inputs, config, model, interrupt, observer, sink: Some(sink) }, done)
        })
    }

    /// As [`IndexJob::run`], with something else in place of the pipeline.
    ///
    /// # Errors
    /// As [`IndexJob::run`].
    pub fn run_with(&self, describe: &DescribeVideos<'_>) -> Result<Stats> {
        let mut stats = Stats::default();
        let mut pass: Vec<usize> = (0..self.videos.len()).collect();
        while !pass.is_empty() && !self.interrupt.is_set() {
            let (claimed, more) = self.describe_unclaimed(&pass, describe)?;
            stats.add(&more);
            pass = self.wait_for_release(claimed)?;
        }
        Ok(stats)
    }

    /// Describes the videos of a pass that no other process has claimed; returns the claimed ones.
    fn describe_unclaimed(&self, pass: &[usize], describe: &DescribeVideos<'_>) -> Result<(Vec<usize>, Stats)> {
        let inputs: Vec<Address> = pass.iter().map(|&file| self.videos[file].source.input()).collect();
        let model = (self.model)()?;
        let claims = HeldClaims::default();
        let (to_store, messages) = bounded(STORE_QUEUE);
        let sink = ClaimingSink { job: self, pass, claims: &claims, claimed_elsewhere: Mutex::default(), to_store };
        thread::scope(|scope| {
            let mut storing = Storing::new(self, &claims);
            let storing = scope.spawn(move || storing.run(&messages));
            let observer = PassObserver { pass, observer: self.observer };
            let described = describe(DescribeRequest {
                inputs: &inputs,
                model,
                observer: &observer,
                sink: &sink,
                done: &mut |file, outcome| {
                    // Fails only if storing has failed, which reports the reason itself.
                    let _ = sink.to_store.send(StoreMessage::End(pass[file], Box::new(outcome)));
                },
            });
            let ClaimingSink { claimed_elsewhere, to_store, .. } = sink;
            drop(to_store);
            storing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            let mut claimed = claimed_elsewhere.into_inner().unwrap_or_else(PoisonError::into_inner);
            claimed.sort_unstable();
            described.map(|stats| (claimed, stats))
        })
    }

    /// Waits until another process has released at least one of these videos; returns those that still need a pass.
    fn wait_for_release(&self, mut claimed: Vec<usize>) -> Result<Vec<usize>> {
        let mut ready = Vec::new();
        while !claimed.is_empty() && ready.is_empty() && !self.interrupt.is_set() {
            let mut still = Vec::new();
            for file in claimed {
                let name = self.videos[file].work.name;
                if self.archive.has_record(name)? {
                    self.observer.described_elsewhere(file);
                } else if self.archive.claim(name.key)?.is_none() {
                    still.push(file);
                } else if self.is_finished(file)? {
                    self.observer.described_elsewhere(file);
                } else {
                    ready.push(file);
                }
            }
            claimed = still;
            if !claimed.is_empty() && ready.is_empty() {
                thread::sleep(CLAIM_POLL);
            }
        }
        // The next pass asks for the claimed ones again.
        ready.extend(claimed);
        Ok(ready)
    }

    /// Whether another process has finished a video since the job was planned, or has failed at it.
    fn is_finished(&self, file: usize) -> Result<bool> {
        let PlannedVideo { work, failed_before, .. } = &self.videos[file];
        Ok(self.archive.has_record(work.name)? || (!failed_before && self.archive.has_failure(work.name)?))
    }
}

/// Claims each video when its turn comes, and passes its keyframes to the storing thread.
struct ClaimingSink<'a> {
    job: &'a IndexJob<'a>,
    /// Positions in the job of the pass's videos.
    pass: &'a [usize],
    claims: &'a HeldClaims,
    claimed_elsewhere: Mutex<Vec<usize>>,
    to_store: Sender<StoreMessage>,
}

impl KeyframeSink for ClaimingSink<'_> {
    fn begin(&self, file: usize) -> Result<bool> {
        let file = self.pass[file];
        let name = self.job.videos[file].work.name;
        let Some(claim) = self.job.archive.claim(name.key)? else {
            self.claimed_elsewhere.lock().unwrap_or_else(PoisonError::into_inner).push(file);
            return Ok(false);
        };
        if self.job.is_finished(file)? {
            self.job.observer.described_elsewhere(file);
            return Ok(false);
        }
        self.claims.hold(file, claim);
        Ok(true)
    }

    fn scene(&self, file: usize, keyframe: KeyframeRecord) -> Result<()> {
        // Storing reports its own failure in place of this one.
        self.to_store.send(StoreMessage::Keyframe(self.pass[file], Box::new(keyframe))).map_err(|_| Error::Interrupted)
    }
}

/// Translates positions in a pass to positions in the job.
struct PassObserver<'a> {
    pass: &'a [usize],
    observer: &'a dyn IndexObserver,
}

impl Observer for PassObserver<'_> {
    fn opened(&self, file: usize, info: &StreamInfo) {
        self.observer.opened(self.pass[file], info);
    }

    fn watched(&self, file: usize, time: Time) {
        self.observer.watched(self.pass[file], time);
    }

    fn cues(&self, file: usize, count: usize) {
        self.observer.cues(self.pass[file], count);
    }

    fn ended(&self, file: usize) {
        self.observer.ended(self.pass[file]);
    }
}
