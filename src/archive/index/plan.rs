//! Which videos a job describes: the ones that the sources name and the archive does not hold yet.
//!
//! Compares names alone: no record is read. Memory: the names of the job and of the archive.

use std::collections::HashSet;
use std::str::FromStr;
use std::sync::Arc;

use serde_json::{Value, json};

use super::sources::SourceVideo;
use crate::archive::catalog::Archive;
use crate::archive::record::{Recipe, RecordName, Work, video_key};
use crate::error::Result;
use crate::model::folder::ModelFolder;
use crate::pipeline::Config;

/// A share of a job, so that several machines can divide it without talking to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// Which share, from 1 to `of`.
    pub index: u64,
    /// Number of shares.
    pub of: u64,
}

impl Shard {
    /// Whether a video is in this share, by its key. Every video is in exactly one share, whatever the order of the
    /// sources.
    pub fn contains(self, key: u64) -> bool {
        key % self.of.max(1) + 1 == self.index
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Shard, String> {
        let parts = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
        match parts {
            Some((index, of)) if (1..=of).contains(&index) => Ok(Shard { index, of }),
            _ => Err("use i/n, with i from 1 to n".into()),
        }
    }
}

/// What decides the descriptions of a job: the model, and the options with how captions are searched for (`decoding`).
pub fn recipe(folder: &ModelFolder, config: &Config, decoding: &Value) -> Recipe {
    let manifest = folder.manifest();
    let mut options = config.content_options(decoding);
    options["thumbnails"] = json!({ "width": config.thumbnail.width, "quality": config.thumbnail.quality });
    Recipe {
        model: manifest.title().into(),
        model_hash: folder.hash().into(),
        dimension: manifest.embedder.as_ref().map_or(0, |e| e.dimension),
        options,
    }
}

/// Which part of the sources a job describes.
#[derive(Debug, Clone, Copy, Default)]
pub struct PlanOptions {
    /// Only this share. Default: everything.
    pub shard: Option<Shard>,
    /// Describe videos again that failed before in the same state. Default: no.
    pub retry_failed: bool,
}

/// A video that a job will describe.
#[derive(Debug, Clone)]
pub struct PlannedVideo {
    /// Where the video comes from.
    pub source: SourceVideo,
    /// Its name in the archive, and the recipe.
    pub work: Work,
    /// Whether it failed before in this state.
    pub failed_before: bool,
}

/// The videos of a job, and how many need no work.
#[derive(Debug, Default)]
pub struct IndexPlan {
    /// Videos to describe, in the order of the sources.
    pub videos: Vec<PlannedVideo>,
    /// Number of videos in this share.
    pub in_share: usize,
    /// Videos that the archive holds in their present state.
    pub up_to_date: usize,
    /// Videos that failed before in their present state, and are skipped.
    pub failed_before: usize,
    /// Videos that are up to date but still have records of older states: a process was killed before it removed them.
    pub outdated: Vec<RecordName>,
}

/// Compares the sources with the archive.
///
/// # Errors
/// The archive cannot be read.
pub fn plan(
    archive: &Archive,
    videos: &[SourceVideo],
    recipe: &Arc<Recipe>,
    options: &PlanOptions,
) -> Result<IndexPlan> {
    let done = archive.record_names()?;
    let failed: HashSet<RecordName> = archive.failure_names()?.into_iter().collect();
    let mut plan = IndexPlan::default();
    for source in videos {
        let work = Work::new(source.video.clone(), source.fingerprint.clone(), recipe.clone());
        let name = work.name;
        if options.shard.is_some_and(|s| !s.contains(name.key)) {
            continue;
        }
        plan.in_share += 1;
        let failed_before = failed.contains(&name);
        if done.binary_search(&name).is_ok() {
            plan.up_to_date += 1;
            let first = done.partition_point(|n| n.key < name.key);
            if done[first..].iter().take_while(|n| n.key == name.key).count() > 1 {
                plan.outdated.push(name);
            }
        } else if failed_before && !options.retry_failed {
            plan.failed_before += 1;
        } else {
            plan.videos.push(PlannedVideo { source: source.clone(), work, failed_before });
        }
    }
    Ok(plan)
}

/// Removes the videos from an archive that the sources do not name; returns their number. Keeps videos that another process
/// is describing.
///
/// # Errors
/// The archive cannot be read or written.
pub fn prune(archive: &Archive, wanted: &[SourceVideo]) -> Result<usize> {
    let wanted: HashSet<u64> = wanted.iter().map(|source| video_key(&source.video)).collect();
    let mut keys: Vec<u64> =
        [archive.record_names()?, archive.failure_names()?].concat().iter().map(|n| n.key).collect();
    keys.dedup();
    let mut removed = 0;
    for key in keys.into_iter().filter(|k| !wanted.contains(k)) {
        if let Some(_claim) = archive.claim(key)? {
            removed += usize::from(archive.forget(key)?);
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_video_is_in_exactly_one_shard() {
        let shards: Vec<Shard> = ["1/3", "2/3", "3/3"].map(|s| s.parse().unwrap()).into();
        for key in [0, 1, 2, 3, u64::MAX, u64::MAX - 1, 0x1234_5678_9abc_def0] {
            assert_eq!(shards.iter().filter(|s| s.contains(key)).count(), 1, "{key}");
        }
        for bad in ["", "1", "0/3", "4/3", "1/0", "a/b", "1/3/2", "-1/3"] {
            assert!(bad.parse::<Shard>().is_err(), "{bad}");
        }
    }
}
