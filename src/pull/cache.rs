//! Files that another program of the hub has brought here: the hub's own cache, `models--OWNER--NAME/snapshots/COMMIT`.
//!
//! Its files are read and never changed. What is used of them is copied and verified, as if it came from the hub.

use std::path::{Path, PathBuf};

use super::choice::WEIGHTS;
use super::listing::{HubCommit, StatedFile, is_commit, is_hex};
use crate::limited_file::read_text;
use crate::model::hub::small_files;
use crate::model::verified::resolve;

/// Most files of a snapshot that are looked at.
const MOST: usize = 10_000;

/// The cache of one repository.
pub(super) struct HubCache {
    dir: PathBuf,
}

impl HubCache {
    pub(super) fn of(cache: &Path, repository: &str) -> HubCache {
        HubCache { dir: cache.join(format!("models--{}", repository.replace('/', "--"))) }
    }

    /// The commit that a revision was when it came here.
    fn commit(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.into());
        }
        let text = read_text(&self.dir.join("refs").join(revision), 1_000).ok()?;
        Some(text.trim().to_string()).filter(|commit| is_commit(commit))
    }

    fn snapshot(&self, commit: &str) -> PathBuf {
        self.dir.join("snapshots").join(commit)
    }

    /// The files of a revision that are here; none if it never came.
    pub(super) fn listing(&self, revision: &str) -> Option<HubCommit> {
        let commit = self.commit(revision)?;
        let snapshot = self.snapshot(&commit);
        let mut names: Vec<String> = small_files().chain(WEIGHTS).map(str::to_string).collect();
        let graphs = std::fs::read_dir(snapshot.join("onnx")).into_iter().flatten().take(MOST);
        names.extend(graphs.flatten().map(|entry| format!("onnx/{}", entry.file_name().to_string_lossy())));
        let files = names.into_iter().filter_map(|name| {
            let path = self.file(&commit, &name)?;
            // A file of the cache is named after its hash.
            let hash = path.file_name()?.to_str()?.to_string();
            let (sha256, git) = (is_hex(&hash, 64).then(|| hash.clone()), is_hex(&hash, 40).then(|| hash.clone()));
            Some((name, StatedFile { bytes: Some(path.metadata().ok()?.len()), sha256, git }))
        });
        let files = files.collect();
        Some(HubCommit { commit, licence: String::new(), files }).filter(|listing| !listing.files.is_empty())
    }

    /// The file itself, if it is here.
    pub(super) fn file(&self, commit: &str, name: &str) -> Option<PathBuf> {
        let path = resolve(&self.snapshot(commit), name).ok()?;
        path.is_file().then_some(path)
    }
}
