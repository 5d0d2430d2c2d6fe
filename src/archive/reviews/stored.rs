//! Where reviews are in an archive, and what is in them.
//!
//! Memory: the names; of a review, its cues and what is known of its film.

use std::path::PathBuf;

use crate::archive::catalog::Archive;
use crate::archive::layout::{REVIEWS, review_file, review_folder, review_key};
use crate::error::{Error, Result};
use crate::fingerprint::Fingerprint;
use crate::message::Setting;
use crate::open_folder::{NamedLock, OpenFolder};
use crate::review::{LARGEST_REVIEW, ReviewDocument, ReviewOutline, is_reviewed, try_lock_review};

/// A review in an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredReview {
    /// The key of its video.
    pub key: u64,
    /// What distinguishes it from a changed one.
    pub state: Fingerprint,
}

impl StoredReview {
    /// Its state as a text, which no other state has.
    pub(crate) fn mark(&self) -> String {
        serde_json::to_string(&self.state).unwrap_or_default()
    }
}

impl Archive {
    /// All reviews, by the keys of their videos, which may not be in the archive any more.
    ///
    /// # Errors
    /// The archive cannot be read.
    pub fn reviews(&self) -> Result<Vec<StoredReview>> {
        let mut reviews = Vec::new();
        self.store().list_states(REVIEWS, &mut |name, state| {
            reviews.extend(review_key(name).map(|key| StoredReview { key, state }));
        })?;
        reviews.sort_unstable_by_key(|review| review.key);
        Ok(reviews)
    }

    /// The review of a video; none where there is none.
    ///
    /// # Errors
    /// It cannot be read, or is damaged.
    pub fn review(&self, key: u64) -> Result<Option<ReviewOutline>> {
        self.parse_review(key, ReviewOutline::parse)
    }

    /// The whole review of a video, with its changes; none where there is none.
    ///
    /// # Errors
    /// It cannot be read, or is damaged.
    pub fn review_document(&self, key: u64) -> Result<Option<ReviewDocument>> {
        self.parse_review(key, ReviewDocument::parse)
    }

    fn parse_review<T>(&self, key: u64, parse: fn(&[u8]) -> std::result::Result<T, String>) -> Result<Option<T>> {
        let name = review_file(key);
        let Some(bytes) = self.store().read(&name, LARGEST_REVIEW)? else { return Ok(None) };
        parse(&bytes).map(Some).map_err(|cause| {
            Error::input(
                self.shown(&name),
                cause,
                "Restore a version that works, or move this file out of the archive.",
            )
        })
    }

    /// Whether there is a review of a video.
    ///
    /// # Errors
    /// The archive cannot be read.
    pub fn has_review(&self, key: u64) -> Result<bool> {
        self.store().exists(&review_file(key))
    }

    /// Removes the review of a video for good; returns whether there was one.
    ///
    /// # Errors
    /// Somebody works on it, or the archive cannot be written.
    pub fn remove_review(&self, key: u64) -> Result<bool> {
        let name = review_file(key);
        if !self.has_review(key)? {
            return Ok(false);
        }
        let _lock = match self.folder() {
            None => None,
            Some(_) => Some(self.try_lock_review(key)?.ok_or_else(|| is_reviewed(&self.shown(&name)))?),
        };
        self.store().remove(&name)?;
        self.store().sync_names(&review_folder(key))?;
        Ok(true)
    }

    /// Locks the review of a video; none where somebody works on it.
    pub(super) fn try_lock_review(&self, key: u64) -> Result<Option<NamedLock>> {
        try_lock_review(&self.review_path(key)?)
    }

    /// The file of a video's review, in a folder that exists and that no link leads to.
    ///
    /// # Errors
    /// The archive is in an object store or cannot be written, or something else than a file has the name.
    pub(crate) fn review_path(&self, key: u64) -> Result<PathBuf> {
        let name = review_file(key);
        let Some(root) = self.folder() else {
            let remedy = "Copy the archive to this machine, review it there, and copy its folder reviews/ back.";
            return Err(Error::usage(format!("{}: reviews are kept in folders only", self.location()), remedy));
        };
        let folder = OpenFolder::open(root).and_then(|root| root.make_folder(&review_folder(key)));
        folder.map_err(|e| Error::write(self.shown(&name), &e, Setting::Review))?;
        // The names of new folders are on the disk before a review is in them.
        self.store().sync_names(&review_folder(key))?;
        // Refuses a link, and whatever else is no file.
        self.store().open_file(&name)?;
        Ok(root.join(name))
    }
}
