//! Where the reviews of an archive are: in the archive, or in a folder of their own if the archive cannot be written.

use std::fs;
use std::path::PathBuf;

use super::stored::StoredReview;
use crate::archive::catalog::Archive;
use crate::archive::layout::{review_key, review_name};
use crate::error::{Error, Result};
use crate::fingerprint::Fingerprint;
use crate::review::{ReviewDocument, ReviewFile, ReviewOutline};

/// Where the reviews of an archive are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReviewPlace {
    /// In the archive, where search and exports find them.
    InArchive,
    /// In this folder, which search and exports do not know.
    Folder(PathBuf),
}

impl ReviewPlace {
    /// All reviews, by the keys of their videos.
    ///
    /// # Errors
    /// The place cannot be read.
    pub fn reviews(&self, archive: &Archive) -> Result<Vec<StoredReview>> {
        let folder = match self {
            ReviewPlace::InArchive => return archive.reviews(),
            ReviewPlace::Folder(folder) => folder,
        };
        let fail = |e: std::io::Error| Error::read(folder.display().to_string(), &e);
        let mut reviews = Vec::new();
        for entry in fs::read_dir(folder).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            if let Some(key) = entry.file_name().to_str().and_then(review_key) {
                let state = entry.metadata().map_or_else(|_| Fingerprint::default(), |m| Fingerprint::of_file(&m));
                reviews.push(StoredReview { key, state });
            }
        }
        reviews.sort_unstable_by_key(|review| review.key);
        Ok(reviews)
    }

    /// The review of a video; none where there is none.
    ///
    /// # Errors
    /// It cannot be read, or is damaged.
    pub fn review(&self, archive: &Archive, key: u64) -> Result<Option<ReviewOutline>> {
        match self {
            ReviewPlace::InArchive => archive.review(key),
            ReviewPlace::Folder(folder) => ReviewFile::outline(&folder.join(review_name(key))),
        }
    }

    /// The file of a video's review, to be written.
    ///
    /// # Errors
    /// As [`Archive::review_path`].
    pub(crate) fn path(&self, archive: &Archive, key: u64) -> Result<PathBuf> {
        match self {
            ReviewPlace::InArchive => archive.review_path(key),
            ReviewPlace::Folder(folder) => Ok(folder.join(review_name(key))),
        }
    }

    /// The whole review of a video; none where there is none.
    ///
    /// # Errors
    /// It cannot be read, or is damaged.
    pub fn document(&self, archive: &Archive, key: u64) -> Result<Option<ReviewDocument>> {
        match self {
            ReviewPlace::InArchive => archive.review_document(key),
            ReviewPlace::Folder(folder) => ReviewFile::read_only(&folder.join(review_name(key))),
        }
    }
}
