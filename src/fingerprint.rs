//! What distinguishes one state of a source from another without reading it.

use std::fs::Metadata;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

/// Distinguishes a source from a changed one without reading it. Empty where nothing is known about the source.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Of a file: when it was last written, in nanoseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtime_ns: Option<i64>,
    /// Of an object, where its store gives one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// Of an object without an e-tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modified: Option<String>,
}

impl Fingerprint {
    /// What distinguishes a file: its size and when it was last written.
    pub(crate) fn of_file(metadata: &Metadata) -> Fingerprint {
        let nanoseconds = metadata.modified().ok().map(|at| match at.duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |n| -n),
        });
        Fingerprint { size: Some(metadata.len()), mtime_ns: nanoseconds, ..Fingerprint::default() }
    }
}
