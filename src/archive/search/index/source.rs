//! Where an index gets its keyframes from: an archive, or a replacement for tests.

use std::collections::HashMap;

use crate::archive::catalog::Archive;
use crate::archive::layout::TABLE;
use crate::archive::record::RecordName;
use crate::archive::table::KeyframeRow;
use crate::error::{Error, Result};
use crate::message;
use crate::message::Setting;

/// Supplies the keyframes of videos.
pub trait RecordSource {
    /// The finished videos, in any order.
    ///
    /// # Errors
    /// They cannot be listed.
    fn records(&self) -> Result<Vec<RecordName>>;

    /// Calls `each` with a video's keyframes in order of time, with the words of its editors; returns false where the video
    /// was removed meanwhile.
    ///
    /// # Errors
    /// The keyframes cannot be read ([`Error::Input`]), or `each` fails.
    fn read(&self, record: RecordName, each: &mut dyn FnMut(KeyframeRow) -> Result<()>) -> Result<bool>;

    /// The videos that have reviews, by their keys, each with a text that is another one when the review has changed. When
    /// it is, the video's keyframes are read again.
    ///
    /// # Errors
    /// They cannot be listed.
    fn reviews(&self) -> Result<HashMap<u64, String>> {
        Ok(HashMap::new())
    }
}

impl RecordSource for Archive {
    fn records(&self) -> Result<Vec<RecordName>> {
        self.record_names()
    }

    fn read(&self, record: RecordName, each: &mut dyn FnMut(KeyframeRow) -> Result<()>) -> Result<bool> {
        let read = (|| {
            let Some(table) = self.corrected_table(record)? else { return Ok(false) };
            for rows in table {
                for row in rows? {
                    each(row)?;
                }
            }
            Ok(true)
        })();
        match read {
            Ok(true) => Ok(true),
            // A video that was removed while it was read is not damaged; a record without a table is.
            Ok(false) | Err(Error::Input { .. }) if !self.has_record(record)? => Ok(false),
            Ok(false) => Err(Error::input(
                self.shown(&self.video_path(record, TABLE)),
                "is missing",
                message!["Run ", Setting::ArchiveRepair, ", then ", Setting::Index, " again."],
            )),
            Err(e) => Err(e),
        }
    }

    fn reviews(&self) -> Result<HashMap<u64, String>> {
        let reviews = Archive::reviews(self)?;
        Ok(reviews.iter().map(|review| (review.key, review.mark())).collect())
    }
}
