//! A commit and its files, as the hub states them. All of it is the server's: nothing here is a path until it is checked.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::fault::HubFault;

/// Most characters of a licence that are kept.
const LICENCE: usize = 60;

/// A file, as it is stated.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct StatedFile {
    pub(super) bytes: Option<u64>,
    /// SHA-256 in hexadecimal, of large files.
    pub(super) sha256: Option<String>,
    /// The hash that git gives to a file, in hexadecimal, of small ones.
    pub(super) git: Option<String>,
}

/// A commit of a repository.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct HubCommit {
    pub(super) commit: String,
    pub(super) licence: String,
    pub(super) files: BTreeMap<String, StatedFile>,
}

#[derive(Deserialize)]
struct ModelAnswer {
    sha: String,
    #[serde(default)]
    siblings: Vec<SiblingAnswer>,
    #[serde(default, rename = "cardData")]
    card: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SiblingAnswer {
    rfilename: String,
    size: Option<u64>,
    blob_id: Option<String>,
    lfs: Option<LfsAnswer>,
}

#[derive(Deserialize)]
struct LfsAnswer {
    sha256: Option<String>,
    size: Option<u64>,
}

/// Whether a text is a hash in lower-case hexadecimal of this many digits.
pub(super) fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether a text can be a commit.
pub(super) fn is_commit(text: &str) -> bool {
    is_hex(text, 40) || is_hex(text, 64)
}

impl HubCommit {
    /// Reads what `api/models/OWNER/NAME/revision/REV?blobs=true` answers.
    pub(super) fn parse(body: &[u8]) -> Result<HubCommit, HubFault> {
        let other = |cause: &str| HubFault::permanent(cause, "Check that HF_ENDPOINT is the address of a hub.");
        let answer: ModelAnswer =
            serde_json::from_slice(body).map_err(|_| other("does not answer with the listing of a repository"))?;
        if !is_commit(&answer.sha) {
            return Err(other("lists a repository without its commit"));
        }
        let licence = answer.card["license"].as_str().unwrap_or_default();
        let files = answer.siblings.into_iter().map(|sibling| {
            let lfs = sibling.lfs.as_ref();
            let hash = lfs.and_then(|lfs| lfs.sha256.clone()).map(|hash| hash.to_ascii_lowercase());
            let file = StatedFile {
                bytes: lfs.and_then(|lfs| lfs.size).or(sibling.size),
                sha256: hash.filter(|hash| is_hex(hash, 64)),
                // Of a large file, it is the hash of a text that points to it.
                git: sibling.blob_id.filter(|id| lfs.is_none() && is_hex(id, 40)),
            };
            (sibling.rfilename, file)
        });
        Ok(HubCommit { commit: answer.sha, licence: licence.chars().take(LICENCE).collect(), files: files.collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_is_read() {
        let (commit, sha256, git) = ("a1".repeat(20), "B2".repeat(32), "c3".repeat(20));
        let text = format!(
            r#"{{"sha": "{commit}", "cardData": {{"license": "apache-2.0"}}, "gated": false, "siblings": [
                {{"rfilename": "config.json", "size": 7, "blobId": "{git}"}},
                {{"rfilename": "onnx/a.onnx", "size": 9, "blobId": "{git}", "lfs": {{"sha256": "{sha256}", "size": 9, "pointerSize": 3}}}},
                {{"rfilename": "plain"}}]}}"#
        );
        let listing = HubCommit::parse(text.as_bytes()).unwrap();
        assert_eq!((listing.commit, listing.licence.as_str()), (commit, "apache-2.0"));
        assert_eq!(listing.files["config.json"], StatedFile { bytes: Some(7), sha256: None, git: Some(git) });
        let large = StatedFile { bytes: Some(9), sha256: Some(sha256.to_lowercase()), git: None };
        assert_eq!(listing.files["onnx/a.onnx"], large);
        assert_eq!(listing.files["plain"], StatedFile::default());
    }

    #[test]
    fn what_is_no_listing_is_refused() {
        for text in ["", "[]", "<html>", "{}", r#"{"sha": "main"}"#, r#"{"sha": "../../x"}"#, r#"{"sha": 7}"#] {
            assert!(HubCommit::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
