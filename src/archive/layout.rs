//! Which file of an archive has which name.
//!
//! ```text
//! archive.json                                the archive's format
//! videos/ab/<key>.<state>/descriptions.vtt    also descriptions.json, keyframes.parquet, thumbnails/000000123.jpg
//! records/ab/<key>.<state>.json               one per finished video; writing it commits the video
//! failures/ab/<key>.<state>.json              one per video that cannot be described, with the reason
//! claims/<key>.lock                           locked while a process describes that video
//! reviews/ab/<key>.json                       what editors made of a video's descriptions, whatever its state; see `reviews`
//! search/                                     the search index; see `search::index`
//! ```
//!
//! All names are relative to the archive's root, with `/` between their parts. `ab` is the shelf: the first two digits of
//! the key, which keep every folder small.

use super::record::{RecordName, shelf};

/// Holds the archive's format; its presence makes a folder an archive.
pub(super) const HEAD: &str = "archive.json";
/// Holds the records of finished videos.
pub(super) const RECORDS: &str = "records";
/// Holds the reasons why videos could not be described.
pub(super) const FAILURES: &str = "failures";
/// Holds the locks of videos that are being described.
pub(super) const CLAIMS: &str = "claims";
/// Holds the reviews of videos.
pub(super) const REVIEWS: &str = "reviews";
/// Holds one folder per video.
pub(super) const VIDEOS: &str = "videos";
/// The search index, where the archive is a folder on this machine.
pub(super) const SEARCH: &str = "search";
/// A video's keyframes, in its folder.
pub(super) const TABLE: &str = "keyframes.parquet";
/// A video's descriptions as WebVTT, in its folder.
pub(super) const VTT: &str = "descriptions.vtt";
/// A video's descriptions with all details, in its folder.
pub(super) const JSON: &str = "descriptions.json";
/// Holds the thumbnails of a video, in its folder.
pub(super) const THUMBNAILS: &str = "thumbnails";
/// Ends the name of a file that is still being written.
pub(super) const PART: &str = ".part";

/// The folder of a video in one state.
pub(super) fn video_folder(name: RecordName) -> String {
    format!("{VIDEOS}/{}/{name}", name.shelf())
}

/// A file in the folder of a video.
pub(super) fn video_file(name: RecordName, within: &str) -> String {
    format!("{}/{within}", video_folder(name))
}

/// The folder of a video's record; `kind` is [`RECORDS`] or [`FAILURES`].
pub(super) fn record_folder(kind: &str, name: RecordName) -> String {
    format!("{kind}/{}", name.shelf())
}

/// The record of a video; `kind` is [`RECORDS`] or [`FAILURES`].
pub(super) fn record_file(kind: &str, name: RecordName) -> String {
    format!("{kind}/{}/{name}.json", name.shelf())
}

/// The folder of a video's review.
pub(super) fn review_folder(key: u64) -> String {
    format!("{REVIEWS}/{}", shelf(key))
}

/// The name of a video's review within its folder; see [`review_key`].
pub(super) fn review_name(key: u64) -> String {
    format!("{key:016x}.json")
}

/// The review of a video.
pub(super) fn review_file(key: u64) -> String {
    format!("{}/{}", review_folder(key), review_name(key))
}

/// The key of the video that a file in a folder of reviews belongs to; none for copies, locks and parts.
pub(super) fn review_key(file: &str) -> Option<u64> {
    let key = u64::from_str_radix(file.strip_suffix(".json")?, 16).ok()?;
    (review_name(key) == file).then_some(key)
}

/// The thumbnail of the keyframe at this time, in milliseconds, within its video's folder.
pub(super) fn thumbnail(keyframe_ms: i64) -> String {
    format!("{THUMBNAILS}/{:09}.jpg", keyframe_ms.max(0))
}

/// The lock of a video; see [`claim_key`].
pub(super) fn claim_file(key: u64) -> String {
    format!("{key:016x}.lock")
}

/// The key of the video that a lock in [`CLAIMS`] belongs to.
pub(super) fn claim_key(file: &str) -> Option<u64> {
    u64::from_str_radix(file.strip_suffix(".lock")?, 16).ok()
}
