//! What distinguishes one state of a source from another without reading it.

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
