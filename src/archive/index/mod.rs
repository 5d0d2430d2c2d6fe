//! Indexing: many videos described into an archive, each once.
//!
//! ```text
//! sources → names and fingerprints → less what the archive's own names say is done → a share of that → the pipeline
//!                                                     keyframes, descriptions │ bounded
//!                                                                     store (one thread)
//! ```
//!
//! Owns the job: what is to be done, whose turn it is, and what becomes of each. A video is claimed when its turn comes
//! and committed when it ends, so that any number of processes share an archive, and one that is killed loses only what it was
//! at. What another process is at is come back to at the end. One video's fault stops no other; an archive that
//! cannot be written ends the job.
//!
//! Memory: the names of the job, and [`WAITING`] keyframes between the pipeline and the store.

pub mod progress;
pub mod remote;
pub mod sources;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::address::hide;
use crate::address::is_object;
use crate::archive::record::{Name, Recipe, Record, Work};
use crate::archive::{Archive, Claim, Writer};
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::pipeline::{self, Config, CutShort, Job, KeyframeRecord, KeyframeSink, Model, Observer, Outcome, Stats};
use remote::ask_object;
use sources::{Item, Listing, fingerprint};

/// Keyframes, each with its embedding and thumbnail, that may wait for the store.
pub const WAITING: usize = 32;
/// How often it is looked whether another process is through with a video.
const AGAIN: Duration = Duration::from_millis(200);

/// A share of a job: the `index`-th of `of`, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    pub index: u64,
    pub of: u64,
}

impl Shard {
    /// Whether a video is in this share. Shares are disjoint and together everything, whoever lists in whatever order.
    pub fn has(self, key: u64) -> bool {
        key % self.of.max(1) + 1 == self.index
    }
}

impl std::str::FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Shard, String> {
        let parts = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
        match parts {
            Some((index, of)) if (1..=of).contains(&index) => Ok(Shard { index, of }),
            _ => Err("use i/n, with i from 1 to n".into()),
        }
    }
}

/// One video of the job.
#[derive(Debug, Clone)]
pub struct Task {
    pub item: Item,
    pub work: Work,
    /// It failed before in this state, and is tried again.
    pub again: bool,
}

/// What is to be done, and what is not.
#[derive(Debug, Default)]
pub struct Plan {
    pub tasks: Vec<Task>,
    /// Videos of this share.
    pub videos: usize,
    pub up_to_date: usize,
    /// Videos that failed before in this state and are not tried again.
    pub failed_before: usize,
    /// What is done in the present state and still has records of older ones: a run was killed in between.
    pub left_over: Vec<Name>,
}

/// Compares what is wanted with what the archive has, by names alone.
pub fn plan(
    archive: &Archive,
    listing: Listing,
    recipe: &Arc<Recipe>,
    shard: Option<Shard>,
    retry_failed: bool,
) -> Result<(Plan, Vec<Error>)> {
    let done = archive.record_names()?;
    let failed: HashSet<Name> = archive.failure_names()?.into_iter().collect();
    let mut plan = Plan::default();
    for item in listing.items {
        let work = Work::new(item.video.clone(), item.source.clone(), recipe.clone());
        let name = work.name;
        if shard.is_some_and(|s| !s.has(name.key)) {
            continue;
        }
        plan.videos += 1;
        if done.binary_search(&name).is_ok() {
            plan.up_to_date += 1;
            let first = done.partition_point(|n| n.key < name.key);
            if done[first..].iter().take_while(|n| n.key == name.key).count() > 1 {
                plan.left_over.push(name);
            }
        } else {
            let again = failed.contains(&name);
            if again && !retry_failed {
                plan.failed_before += 1;
            } else {
                plan.tasks.push(Task { item, work, again });
            }
        }
    }
    Ok((plan, listing.problems))
}

/// Takes away what is in the archive and is not among these videos; how many that were.
pub fn prune(archive: &Archive, wanted: &[Item]) -> Result<usize> {
    let wanted: HashSet<u64> = wanted.iter().map(|i| crate::archive::record::key(&i.video)).collect();
    let mut keys: Vec<u64> =
        [archive.record_names()?, archive.failure_names()?].concat().iter().map(|n| n.key).collect();
    keys.dedup();
    let mut gone = 0;
    for key in keys.into_iter().filter(|k| !wanted.contains(k)) {
        // Who describes it now wants it.
        if let Some(_claim) = archive.claim(key)? {
            gone += usize::from(archive.forget(key)?);
        }
    }
    Ok(gone)
}

/// Hears what becomes of each video, from several threads at once; `file` is its place in the plan.
pub trait Listener: Observer {
    /// It is in the archive.
    fn stored(&self, _file: usize, _record: &Record) {}
    /// It cannot be described. `kept`: the reason is in the archive.
    fn failed(&self, _file: usize, _error: &Error, _kept: bool) {}
    /// Another process has described it.
    fn elsewhere(&self, _file: usize) {}
}

/// How a turn's videos are described: what [`pipeline::run`] does, or what makes the same of them.
pub type Describer<'a> = dyn Fn(&[String], Model, &dyn Observer, &dyn KeyframeSink, &mut dyn FnMut(usize, Outcome)) -> Result<Stats>
    + Sync
    + 'a;

/// Describes what is planned. `model` is made once, and once more where videos are come back to. Fails where the
/// archive cannot be written or the model cannot be run; what was committed until then stays.
pub fn run(
    archive: &Archive,
    tasks: &[Task],
    config: &Config,
    model: &dyn Fn() -> Result<Model>,
    interrupt: &Interrupt,
    listener: &dyn Listener,
) -> Result<Stats> {
    let by = |inputs: &[String],
              model: Model,
              observer: &dyn Observer,
              keep: &dyn KeyframeSink,
              done: &mut dyn FnMut(usize, Outcome)| {
        let job = Job { inputs, config, model, interrupt, observer, sink: Some(keep) };
        pipeline::run(job, done)
    };
    run_by(archive, tasks, config, model, &by, interrupt, listener)
}

/// As [`run`], with another describer.
pub fn run_by(
    archive: &Archive,
    tasks: &[Task],
    config: &Config,
    model: &dyn Fn() -> Result<Model>,
    by: &Describer<'_>,
    interrupt: &Interrupt,
    listener: &dyn Listener,
) -> Result<Stats> {
    let mut stats = Stats::default();
    let mut turn: Vec<usize> = (0..tasks.len()).collect();
    while !turn.is_empty() && !interrupt.is_set() {
        let (busy, more) = pass(archive, tasks, &turn, config, model()?, by, interrupt, listener)?;
        stats.add(&more);
        turn = free(archive, tasks, busy, interrupt, listener)?;
    }
    Ok(stats)
}

/// Waits until other processes are through with any of these videos, and gives those that they left undone.
fn free(
    archive: &Archive,
    tasks: &[Task],
    mut busy: Vec<usize>,
    interrupt: &Interrupt,
    listener: &dyn Listener,
) -> Result<Vec<usize>> {
    let mut ready = Vec::new();
    while !busy.is_empty() && ready.is_empty() && !interrupt.is_set() {
        let mut still = Vec::new();
        for file in busy {
            let name = tasks[file].work.name;
            if archive.has_record(name)? {
                listener.elsewhere(file);
            } else if archive.claim(name.key)?.is_none() {
                still.push(file);
            } else if is_through(archive, &tasks[file])? {
                listener.elsewhere(file);
            } else {
                ready.push(file);
            }
        }
        busy = still;
        if !busy.is_empty() && ready.is_empty() {
            thread::sleep(AGAIN);
        }
    }
    // Those that are still taken are asked for again with the ready ones.
    ready.extend(busy);
    Ok(ready)
}

/// Whether another process has done a video since the job was planned, or has failed at it.
fn is_through(archive: &Archive, task: &Task) -> Result<bool> {
    let name = task.work.name;
    Ok(archive.has_record(name)? || (!task.again && archive.has_failure(name)?))
}

enum Message {
    Scene(usize, Box<KeyframeRecord>),
    End(usize, Box<Outcome>),
}

/// What the pipeline's keyframes are handed to.
struct Keeper<'a> {
    archive: &'a Archive,
    tasks: &'a [Task],
    /// The pipeline's files, as places in the plan.
    turn: &'a [usize],
    claims: &'a Mutex<HashMap<usize, Claim>>,
    busy: Mutex<Vec<usize>>,
    to: Sender<Message>,
    listener: &'a dyn Listener,
}

impl KeyframeSink for Keeper<'_> {
    fn begin(&self, file: usize) -> Result<bool> {
        let file = self.turn[file];
        let task = &self.tasks[file];
        let name = task.work.name;
        let Some(claim) = self.archive.claim(name.key)? else {
            self.busy.lock().unwrap_or_else(PoisonError::into_inner).push(file);
            return Ok(false);
        };
        if is_through(self.archive, task)? {
            self.listener.elsewhere(file);
            return Ok(false);
        }
        self.claims.lock().unwrap_or_else(PoisonError::into_inner).insert(file, claim);
        Ok(true)
    }

    fn scene(&self, file: usize, kept: KeyframeRecord) -> Result<()> {
        // The store's own reason is told in place of this.
        self.to.send(Message::Scene(self.turn[file], Box::new(kept))).map_err(|_| Error::Interrupted)
    }
}

/// The pipeline's words, said of places in the plan.
struct Placed<'a>(&'a [usize], &'a dyn Listener);

impl Observer for Placed<'_> {
    fn opened(&self, file: usize, info: &crate::media::StreamInfo) {
        self.1.opened(self.0[file], info);
    }
    fn watched(&self, file: usize, time: crate::time::Time) {
        self.1.watched(self.0[file], time);
    }
    fn cues(&self, file: usize, count: usize) {
        self.1.cues(self.0[file], count);
    }
    fn ended(&self, file: usize) {
        self.1.ended(self.0[file]);
    }
}

/// Describes those of the tasks that no other process is at; gives the others.
#[allow(clippy::too_many_arguments)]
fn pass(
    archive: &Archive,
    tasks: &[Task],
    turn: &[usize],
    config: &Config,
    model: Model,
    by: &Describer<'_>,
    interrupt: &Interrupt,
    listener: &dyn Listener,
) -> Result<(Vec<usize>, Stats)> {
    let inputs: Vec<String> = turn.iter().map(|&file| tasks[file].item.input().to_string()).collect();
    let claims = Mutex::new(HashMap::new());
    let (to, from) = bounded(WAITING);
    let keeper = Keeper { archive, tasks, turn, claims: &claims, busy: Mutex::default(), to, listener };
    thread::scope(|scope| {
        let claims = &claims;
        let storing =
            scope.spawn(move || store(&from, archive, tasks, claims, config.decode.timeout, interrupt, listener));
        let placed = Placed(turn, listener);
        let run = by(&inputs, model, &placed, &keeper, &mut |file, outcome| {
            // A store that has failed has closed this, and says why itself.
            let _ = keeper.to.send(Message::End(turn[file], Box::new(outcome)));
        });
        let Keeper { busy, to, .. } = keeper;
        drop(to);
        storing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        let mut busy = busy.into_inner().unwrap_or_else(PoisonError::into_inner);
        busy.sort_unstable();
        run.map(|stats| (busy, stats))
    })
}

/// Stores what comes, in order of coming, until nothing more does.
fn store(
    from: &Receiver<Message>,
    archive: &Archive,
    tasks: &[Task],
    claims: &Mutex<HashMap<usize, Claim>>,
    patience: Duration,
    interrupt: &Interrupt,
    listener: &dyn Listener,
) -> Result<()> {
    let mut writers: HashMap<usize, Writer<'_>> = HashMap::new();
    for message in from {
        match message {
            Message::Scene(file, kept) => {
                let mut writer = begun(archive, &mut writers, &tasks[file].work, file)?;
                writer.scene(*kept)?;
                writers.insert(file, writer);
            }
            Message::End(file, outcome) => {
                let Task { item, work, .. } = &tasks[file];
                let Outcome { track, error, cut_short } = *outcome;
                // A film that ended early for want of a connection is not a film of that length.
                let lost = match (&track, cut_short) {
                    (Some(track), Some(CutShort::Connection)) => {
                        let cause = track.damage.clone().unwrap_or_default();
                        let remedy = "Run again with --retry-failed when the server answers.";
                        Some(Error::input(&*work.video, cause, remedy))
                    }
                    _ => None,
                };
                let whole = track.filter(|t| !t.interrupted && cut_short.is_none());
                match (whole, error.or(lost)) {
                    (_, Some(e)) => {
                        if let Some(writer) = writers.remove(&file) {
                            writer.abandon()?;
                        }
                        let e = public(e, item);
                        let kept = keep_failure(archive, work, &e)?;
                        listener.failed(file, &e, kept);
                    }
                    (Some(track), None) if is_as_it_was(item, patience, interrupt) => {
                        let record = begun(archive, &mut writers, work, file)?.finish(track)?;
                        listener.stored(file, &record);
                    }
                    (Some(_), None) => {
                        if let Some(writer) = writers.remove(&file) {
                            writer.abandon()?;
                        }
                        let cause = "has changed while it was described";
                        let e = Error::input(&*work.video, cause, "Run again when it is written to no more.");
                        listener.failed(file, &e, false);
                    }
                    // The user has stopped it, or the model has: it is as if it had not begun.
                    (None, None) => {
                        if let Some(writer) = writers.remove(&file) {
                            writer.abandon()?;
                        }
                    }
                }
                claims.lock().unwrap_or_else(PoisonError::into_inner).remove(&file);
            }
        }
    }
    Ok(())
}

/// The writer of a video: the one that is there, or a new one.
fn begun<'a>(
    archive: &'a Archive,
    writers: &mut HashMap<usize, Writer<'a>>,
    work: &Work,
    file: usize,
) -> Result<Writer<'a>> {
    writers.remove(&file).map_or_else(|| archive.begin(work), Ok)
}

/// Keeps the reason of a failure, where it is the video's own.
fn keep_failure(archive: &Archive, work: &Work, e: &Error) -> Result<bool> {
    match e {
        Error::Input { cause, remedy, .. } => archive.fail(work, &cause.to_string(), &remedy.to_string()).map(|_| true),
        _ => Ok(false),
    }
}

/// An error about a video, by its name in the archive and without credentials.
fn public(e: Error, item: &Item) -> Error {
    let clean = |text: &str| {
        let text = match &item.input {
            Some(address) => text.replace(address.reveal(), &item.video),
            None => text.to_string(),
        };
        hide(&text)
    };
    match e {
        Error::Input { cause, remedy, .. } => {
            Error::input(&*item.video, clean(&cause.to_string()), clean(&remedy.to_string()))
        }
        other => other,
    }
}

/// Whether a file is still what it was when the job was planned. One that is gone has been read to its end all the same; of
/// the web nothing is asked twice.
fn is_as_it_was(item: &Item, patience: Duration, interrupt: &Interrupt) -> bool {
    if is_object(&item.video) {
        // Where it cannot be asked now, it was read under the e-tag that it had.
        return ask_object(&item.video, patience, interrupt)
            .map_or(true, |now| now.is_none_or(|now| now == item.source));
    }
    if item.source.mtime_ns.is_none() {
        return true;
    }
    let path = Path::new(&*item.video);
    !path.exists() || fingerprint(path) == item.source
}

/// Counts that several threads add to.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_disjoint_and_together_everything() {
        let shards: Vec<Shard> = ["1/3", "2/3", "3/3"].map(|s| s.parse().unwrap()).into();
        for key in [0, 1, 2, 3, u64::MAX, u64::MAX - 1, 0x1234_5678_9abc_def0] {
            assert_eq!(shards.iter().filter(|s| s.has(key)).count(), 1, "{key}");
        }
        for bad in ["", "1", "0/3", "4/3", "1/0", "a/b", "1/3/2", "-1/3"] {
            assert!(bad.parse::<Shard>().is_err(), "{bad}");
        }
    }

    #[test]
    fn errors_show_no_credentials() {
        let address = crate::address::Address::new("https://user:hush-hush@host/a.mp4?sig=s3cr3t-sig");
        let item = Item { video: address.shown().into(), input: Some(address), source: Default::default() };
        let raw = "https://user:hush-hush@host/a.mp4?sig=s3cr3t-sig cannot be opened";
        let told = public(Error::input(item.input(), raw, raw), &item).to_string();
        assert!(!told.contains("hush") && !told.contains("s3cr3t") && told.contains("https://host/a.mp4"), "{told}");
    }
}
