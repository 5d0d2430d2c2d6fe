//! What is known of one video: the record of one that is done, the failure of one that is not.
//!
//! Both are JSON whose bytes depend on nothing but the video, the model and the options: no time of day, host or duration
//! of the work.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::fingerprint::Fingerprint;

/// The archive's format.
pub const FORMAT: &str = "descry-archive/1";

/// Names a video in one state: what it is called, and what decides its description. Written `<key>.<state>`, 16 hex
/// digits each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// Of the video's name alone.
    pub key: u64,
    /// Of the source's fingerprint, the model and the options.
    pub state: u64,
}

impl Name {
    /// The folder's two digits that keep any one folder small.
    pub fn shelf(self) -> String {
        format!("{:02x}", self.key >> 56)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}.{:016x}", self.key, self.state)
    }
}

/// Says only that it is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoName;

impl FromStr for Name {
    type Err = NoName;

    fn from_str(text: &str) -> Result<Name, NoName> {
        let (key, state) = text.split_once('.').ok_or(NoName)?;
        let number = |digits: &str| {
            let hex = digits.len() == 16 && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
            if hex { u64::from_str_radix(digits, 16).map_err(|_| NoName) } else { Err(NoName) }
        };
        Ok(Name { key: number(key)?, state: number(state)? })
    }
}

/// First 8 bytes of a SHA-256, as a number.
fn first(hash: &[u8]) -> u64 {
    hash.iter().take(8).fold(0, |v, b| v << 8 | u64::from(*b))
}

/// The key of a video's name.
pub fn key(video: &str) -> u64 {
    first(&Sha256::digest(video.as_bytes()))
}

/// What decides the descriptions of a whole job, beside the videos.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipe {
    /// Name and version of the model.
    pub model: Arc<str>,
    /// SHA-256 of the model's manifest, which holds the hashes of all its files.
    pub model_hash: Arc<str>,
    /// Values of an embedding.
    pub dimension: usize,
    /// The options that decide the content.
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
            // Parts of which the lengths are told cannot be read as other parts.
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        first(&hash.finalize())
    }
}

/// A video that is to be described.
#[derive(Debug, Clone, PartialEq)]
pub struct Work {
    pub name: Name,
    /// The video's name: a canonical path, or an address without credentials.
    pub video: Arc<str>,
    pub source: Fingerprint,
    pub recipe: Arc<Recipe>,
}

impl Work {
    pub fn new(video: impl Into<Arc<str>>, source: Fingerprint, recipe: Arc<Recipe>) -> Work {
        let video = video.into();
        let name = Name { key: key(&video), state: recipe.state(&source) };
        Work { name, video, source, recipe }
    }
}

/// One file of a video's folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    pub bytes: u64,
    pub sha256: String,
}

/// A video that is done. That it is there is what makes its files part of the archive.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub format: String,
    pub video: String,
    pub source: Fingerprint,
    #[serde(serialize_with = "digits", deserialize_with = "number")]
    pub state: u64,
    pub model: String,
    pub model_hash: String,
    pub options: Value,
    /// Of the container, in whole milliseconds, where it says so.
    pub duration_ms: Option<i64>,
    /// Keyframes, blank ones among them.
    pub keyframes: u64,
    pub cues: u64,
    /// What was lost in decoding, in words.
    pub damage: Option<String>,
    /// By name within the video's folder.
    pub files: BTreeMap<String, FileRecord>,
}

/// A video that cannot be described.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    pub format: String,
    pub video: String,
    pub source: Fingerprint,
    #[serde(serialize_with = "digits", deserialize_with = "number")]
    pub state: u64,
    /// How often it was tried.
    pub attempts: u32,
    pub cause: String,
    pub remedy: String,
}

fn digits<S: Serializer>(state: &u64, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(&format!("{state:016x}"))
}

fn number<'de, D: Deserializer<'de>>(d: D) -> Result<u64, D::Error> {
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
    fn names_are_read_as_they_are_written() {
        let name = Name { key: 0x0a00_0000_0000_0001, state: u64::MAX };
        assert_eq!(name.to_string(), "0a00000000000001.ffffffffffffffff");
        assert_eq!(name.to_string().parse(), Ok(name));
        assert_eq!(name.shelf(), "0a");
        for bad in
            ["", ".", "0a00000000000001", "0A00000000000001.ffffffffffffffff", "+a00000000000001.ffffffffffffffff"]
        {
            assert_eq!(bad.parse::<Name>(), Err(NoName), "{bad}");
        }
    }

    #[test]
    fn a_state_follows_everything_that_decides() {
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
