//! Verifies the reviews of an archive. A repair never removes one: only what killed processes left beside them.

use super::place::ReviewPlace;
use crate::archive::catalog::Archive;
use crate::archive::layout::{PART, REVIEWS, review_folder, review_key};
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;

/// What a check of reviews found.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(in crate::archive) struct ReviewCheck {
    /// Reviews that can be read.
    pub(in crate::archive) sound: usize,
    /// Reviews that cannot.
    pub(in crate::archive) damaged: usize,
    /// Files that killed processes left half written.
    pub(in crate::archive) leftovers: usize,
}

/// Reads all reviews and calls `report` for each that is damaged. With `repair`, removes what killed processes left. Stops
/// early when the interrupt is set.
///
/// # Errors
/// The archive cannot be listed, or a repair cannot be written.
pub(in crate::archive) fn check_reviews(
    archive: &Archive,
    repair: bool,
    interrupt: &Interrupt,
    report: &mut dyn FnMut(&Error),
) -> Result<ReviewCheck> {
    let mut found = ReviewCheck::default();
    for review in archive.reviews()? {
        if interrupt.is_set() {
            return Ok(found);
        }
        match ReviewPlace::InArchive.document(archive, review.key) {
            Ok(Some(_)) => found.sound += 1,
            Ok(None) => {}
            Err(e) => {
                report(&e);
                found.damaged += 1;
            }
        }
    }
    let mut parts = Vec::new();
    archive
        .store()
        .list_shelves(REVIEWS, &mut |name| parts.extend(part_of(name).map(|key| (key, name.to_string()))))?;
    for (key, name) in parts {
        // While somebody works on it, the part is no leftover.
        if archive.folder().is_some() && archive.try_lock_review(key)?.is_none() {
            continue;
        }
        found.leftovers += 1;
        if repair {
            archive.store().remove(&format!("{}/{name}", review_folder(key)))?;
        }
    }
    Ok(found)
}

/// The key of the review that a file is a part of: `KEY.json.abcdef.part`.
fn part_of(name: &str) -> Option<u64> {
    let (of, _) = name.strip_suffix(PART)?.rsplit_once('.')?;
    review_key(of)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn damaged_reviews_are_reported_and_stay() {
        let dir = tempfile::tempdir().unwrap();
        let archive = Archive::create(dir.path().join("archive").to_str().unwrap()).unwrap();
        let path = archive.review_path(0xab00_0000_0000_0001).unwrap();
        fs::write(&path, "{").unwrap();
        let part = path.with_file_name("ab00000000000001.json.qwerty.part");
        fs::write(&part, "{").unwrap();
        let mut said = Vec::new();
        let lock = archive.try_lock_review(0xab00_0000_0000_0001).unwrap();
        let mut check =
            |repair| check_reviews(&archive, repair, &Interrupt::new(), &mut |e| said.push(e.to_string())).unwrap();
        assert_eq!(check(true), ReviewCheck { sound: 0, damaged: 1, leftovers: 0 });
        drop(lock);
        assert_eq!(check(false).leftovers, 1);
        assert_eq!(check(true).leftovers, 1);
        assert_eq!(check(true).leftovers, 0);
        assert!(path.exists() && !part.exists());
        assert!(said[0].contains("reviews/ab/ab00000000000001.json: is no review"), "{}", said[0]);
    }
}
