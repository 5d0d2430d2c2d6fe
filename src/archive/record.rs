//! What an archive records about one video: a record once it is described, a failure when it cannot be.
//!
//! Both are JSON. Their bytes depend on the video, the model and the options alone: they hold no time of day, no host name
//! and no duration of the work.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::fingerprint::Fingerprint;

/// The archive's format. Part of every state: with another format, every video is described again.
pub const FORMAT: &str = "descry-archive/1";
/// Most bytes of the options in a record: a prompt may be long.
const OPTIONS_LIMIT: usize = 8 << 20;

/// Identifies a video in one state. Written `<key>.<state>`, 16 lower-case hex digits each.
///
/// An archive is up to date where it has a record of the name that a video has now, so no record needs to be read to
/// find out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordName {
    /// Hash of the video's name alone; see [`video_key`].
    pub key: u64,
    /// Hash of what decides the descriptions: the source's fingerprint, the model and the options.
    pub state: u64,
}

impl RecordName {
    /// The folder that holds this record: the first two digits of the key. It keeps every folder small.
    pub fn shelf(self) -> String {
        shelf(self.key)
    }

    /// The state as names and reviews have it: 16 hex digits.
    pub(super) fn state_text(self) -> String {
        format!("{:016x}", self.state)
    }
}

/// The folder of everything about a video; see [`RecordName::shelf`].
pub(super) fn shelf(key: u64) -> String {
    format!("{:02x}", key >> 56)
}

impl fmt::Display for RecordName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}.{:016x}", self.key, self.state)
    }
}

/// A text is not a [`RecordName`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a record's name")]
pub struct InvalidRecordName;

impl FromStr for RecordName {
    type Err = InvalidRecordName;

    fn from_str(text: &str) -> Result<RecordName, InvalidRecordName> {
        let (key, state) = text.split_once('.').ok_or(InvalidRecordName)?;
        let number = |digits: &str| {
            let hex = digits.len() == 16 && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
            if hex { u64::from_str_radix(digits, 16).map_err(|_| InvalidRecordName) } else { Err(InvalidRecordName) }
        };
        Ok(RecordName { key: number(key)?, state: number(state)? })
    }
}

/// The first 8 bytes of a SHA-256 as a number.
fn first_bytes(hash: &[u8]) -> u64 {
    hash.iter().take(8).fold(0, |v, b| v << 8 | u64::from(*b))
}

/// The key of a video: a hash of its name in the archive.
pub fn video_key(video: &str) -> u64 {
    first_bytes(&Sha256::digest(video.as_bytes()))
}

/// What decides the descriptions of a whole job, apart from the videos.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipe {
    /// Name and version of the model.
    pub model: Arc<str>,
    /// SHA-256 of the model's manifest in hex. The manifest holds the hashes of all other files of the model.
    pub model_hash: Arc<str>,
    /// Values per embedding.
    pub dimension: usize,
    /// The options that decide the content, as JSON.
    pub options: Value,
}

impl Recipe {
    /// The state of a video whose source has this fingerprint.
    pub fn state(&self, source: &Fingerprint) -> u64 {
        let mut hash = Sha256::new();
        hash.update(FORMAT);
        for part in
            [serde_json::to_string(source).unwrap_or_default(), self.model_hash.to_string(), self.options.to_string()]
        {
            // The length comes first, so that no two lists of parts give the same bytes.
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        first_bytes(&hash.finalize())
    }
}

/// A video to describe, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Work {
    /// Follows from the other fields.
    pub name: RecordName,
    /// The video's name in the archive: a canonical path, or an address without credentials.
    pub video: Arc<str>,
    /// What distinguishes the source from a changed one.
    pub source: Fingerprint,
    /// The model and the options.
    pub recipe: Arc<Recipe>,
}

impl Work {
    /// Describes `video`, whose source has this fingerprint, by a recipe.
    pub fn new(video: impl Into<Arc<str>>, source: Fingerprint, recipe: Arc<Recipe>) -> Work {
        let video = video.into();
        let name = RecordName { key: video_key(&video), state: recipe.state(&source) };
        Work { name, video, source, recipe }
    }
}

/// One file of a video's folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256 in hex.
    pub sha256: String,
}

/// A finished video. Its presence makes the video's files part of the archive.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VideoRecord {
    /// [`FORMAT`].
    pub format: String,
    /// The video's name in the archive.
    pub video: String,
    /// The source as it was described.
    pub source: Fingerprint,
    /// The state in the record's name.
    #[serde(serialize_with = "write_hex", deserialize_with = "read_hex")]
    pub state: u64,
    /// Name and version of the model.
    pub model: String,
    /// SHA-256 of the model's manifest in hex.
    pub model_hash: String,
    /// The options that decide the content.
    #[serde(deserialize_with = "read_options")]
    pub options: Value,
    /// Duration that the container states, in milliseconds; none where it states none.
    pub duration_ms: Option<i64>,
    /// Number of keyframes, including blank ones.
    pub keyframes: u64,
    /// Number of cues.
    pub cues: u64,
    /// What decoding lost, in words; none where it lost nothing.
    pub damage: Option<String>,
    /// The video's files, by name within its folder.
    pub files: BTreeMap<String, FileRecord>,
}

/// A video that cannot be described.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FailureRecord {
    /// [`FORMAT`].
    pub format: String,
    /// The video's name in the archive.
    pub video: String,
    /// The source when it failed.
    pub source: Fingerprint,
    /// The state in the record's name.
    #[serde(serialize_with = "write_hex", deserialize_with = "read_hex")]
    pub state: u64,
    /// Number of attempts so far.
    pub attempts: u32,
    /// Why the last attempt failed.
    pub cause: String,
    /// What to do about it.
    pub remedy: String,
}

fn write_hex<S: Serializer>(state: &u64, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(&format!("{state:016x}"))
}

/// Options in JSON have some hundred bytes. As values, a text of the same length can take many times the memory.
fn read_options<'de, D: Deserializer<'de>>(d: D) -> Result<Value, D::Error> {
    let text = <&RawValue>::deserialize(d)?.get();
    if text.len() > OPTIONS_LIMIT {
        return Err(serde::de::Error::custom(format!("its options have more than {OPTIONS_LIMIT} bytes")));
    }
    serde_json::from_str(text).map_err(serde::de::Error::custom)
}

fn read_hex<'de, D: Deserializer<'de>>(d: D) -> Result<u64, D::Error> {
    let text = String::deserialize(d)?;
    u64::from_str_radix(&text, 16).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn recipe(options: Value) -> Recipe {
        Recipe { model: "m 1".into(), model_hash: "ab".into(), dimension: 4, options }
    }

    #[test]
    fn names_parse_as_they_are_written() {
        let name = RecordName { key: 0x0a00_0000_0000_0001, state: u64::MAX };
        assert_eq!(name.to_string(), "0a00000000000001.ffffffffffffffff");
        assert_eq!(name.to_string().parse(), Ok(name));
        assert_eq!(name.shelf(), "0a");
        for bad in
            ["", ".", "0a00000000000001", "0A00000000000001.ffffffffffffffff", "+a00000000000001.ffffffffffffffff"]
        {
            assert_eq!(bad.parse::<RecordName>(), Err(InvalidRecordName), "{bad}");
        }
    }

    #[test]
    fn a_state_depends_on_everything_that_decides_the_content() {
        let file =
            |size, mtime_ns| Fingerprint { size: Some(size), mtime_ns: Some(mtime_ns), ..Fingerprint::default() };
        let base = recipe(json!({"a": 1}));
        let states = [
            base.state(&file(1, 2)),
            base.state(&file(1, 3)),
            base.state(&file(2, 2)),
            base.state(&Fingerprint::default()),
            base.state(&Fingerprint { etag: Some("x".into()), ..Fingerprint::default() }),
            recipe(json!({"a": 2})).state(&file(1, 2)),
            Recipe { model_hash: "cd".into(), ..base.clone() }.state(&file(1, 2)),
        ];
        let mut distinct = states.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), states.len());
        assert_eq!(base.state(&file(1, 2)), states[0]);
    }
}
