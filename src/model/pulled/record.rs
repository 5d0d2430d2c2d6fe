//! What a pulled model was when it came: `descry-pull.json` in its folder.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::atomic_file::AtomicFile;
use crate::error::{Error, Result};
use crate::limited_file::read_bytes;
use crate::message;
use crate::message::{Message, Setting};
use crate::model::manifest::FileSpec;
use crate::model::precision::Precision;
use crate::model::verified::is_inside;
#[cfg(feature = "cli")]
use crate::printable::printable;

/// Its name in the folder.
pub(crate) const RECORD: &str = "descry-pull.json";
/// What this version writes.
const FORMAT: &str = "descry-pull/1";
/// Largest record in bytes. Real ones take a few kilobytes.
const LIMIT: u64 = 1 << 20;

/// Where a pulled model comes from, and its files as they came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PullRecord {
    format: String,
    /// What the model was pulled as: a name of the registry, or `hf:OWNER/NAME@REV`.
    pub name: String,
    /// The server, without credentials.
    pub server: String,
    /// `OWNER/NAME`.
    pub repository: String,
    /// The branch, tag or commit that was asked for.
    pub revision: String,
    /// The commit that it was.
    pub commit: String,
    /// As the registry or the makers state it; empty if neither does.
    pub licence: String,
    /// What the model is asked where the user names no prompt.
    pub prompt: Option<String>,
    /// Date and time in UTC.
    pub pulled: String,
    /// Names of the variants whose graphs are here.
    pub precisions: Vec<String>,
    /// The files by their names.
    pub files: BTreeMap<String, FileSpec>,
}

impl PullRecord {
    /// A record without files.
    pub(crate) fn new(name: String, repository: String, revision: String) -> PullRecord {
        PullRecord {
            format: FORMAT.into(),
            name,
            server: String::new(),
            repository,
            revision,
            commit: String::new(),
            licence: String::new(),
            prompt: None,
            pulled: String::new(),
            precisions: Vec::new(),
            files: BTreeMap::new(),
        }
    }

    /// The record of a folder; none if the folder was not pulled.
    ///
    /// # Errors
    /// [`Error::Model`] if it cannot be read, or is not what descry writes.
    pub(crate) fn read(dir: &Path) -> Result<Option<PullRecord>> {
        let fail = |cause: String| Error::model(dir.display().to_string(), cause, remedy_for(dir));
        let bytes = match read_bytes(&dir.join(RECORD), LIMIT) {
            Ok(bytes) => bytes,
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
            Err(e) => return Err(fail(format!("{RECORD} cannot be read: {e}")).with_source(e)),
        };
        let record: PullRecord =
            serde_json::from_slice(&bytes).map_err(|e| fail(format!("{RECORD} cannot be read: {e}")).with_source(e))?;
        if record.format != FORMAT {
            return Err(fail(format!("{RECORD} has the format {:?}, and this descry reads {FORMAT}", record.format)));
        }
        match record.files.keys().find(|name| !is_inside(name)) {
            Some(name) => Err(fail(format!("{RECORD} names the file {name:?}, which leads out of the folder"))),
            None => Ok(Some(record)),
        }
    }

    /// Writes the record into a folder.
    ///
    /// # Errors
    /// [`Error::Output`] if it cannot be written.
    pub(crate) fn write(&self, dir: &Path) -> Result<()> {
        let path = dir.join(RECORD);
        let fail = |e: &std::io::Error| Error::write(path.display().to_string(), e, Setting::ModelStore);
        let text = serde_json::to_string_pretty(self).unwrap_or_default() + "\n";
        let mut file = AtomicFile::create(&path, true).map_err(|e| fail(&e))?;
        file.write_all(text.as_bytes()).map_err(|e| fail(&e))?;
        file.commit().map_err(|e| fail(&e.into()))?;
        Ok(())
    }

    /// The variants whose graphs are here.
    pub(crate) fn variants(&self) -> Vec<Precision> {
        self.precisions.iter().filter_map(|name| name.parse().ok()).collect()
    }

    /// Bytes of all its files.
    pub fn bytes(&self) -> u64 {
        self.files.values().map(|spec| spec.bytes).sum()
    }

    /// What `descry model show` prints of it, for people.
    #[cfg(feature = "cli")]
    pub(crate) fn facts(&self) -> String {
        let facts = [
            ("pulled", format!("{} from {}", self.pulled, self.server)),
            ("repository", self.repository.clone()),
            ("revision", format!("{}, commit {}", self.revision, self.commit)),
            ("licence", self.licence.clone()),
            ("prompt", self.prompt.clone().unwrap_or_default()),
        ];
        let facts = facts.into_iter().filter(|(_, value)| !value.is_empty());
        facts.map(|(key, value)| format!("{key:<12} {}\n", printable(&value))).collect()
    }
}

/// A model that was pulled.
#[derive(Debug, Clone)]
pub struct PulledModel {
    /// Its folder.
    pub dir: PathBuf,
    /// What it was when it came.
    pub record: PullRecord,
}

fn remedy_for(dir: &Path) -> Message {
    let folder = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
    message![format!("Remove the folder {folder}, and bring the model with "), Setting::ModelPull, "."]
}

/// Compares files as they are with those that were pulled. A folder that was not pulled passes.
///
/// # Errors
/// [`Error::Model`] if a file differs, or came otherwise.
pub(crate) fn check_against_record<'a>(
    dir: &Path,
    files: impl IntoIterator<Item = (&'a String, &'a FileSpec)>,
) -> Result<()> {
    let Some(record) = PullRecord::read(dir)? else { return Ok(()) };
    let again = || message![Setting::ModelPull, format!(" {} repairs it.", record.name)];
    for (name, spec) in files {
        match record.files.get(name) {
            Some(pulled) if pulled == spec => {}
            Some(pulled) => {
                let cause = format!(
                    "{name} was changed: its SHA-256 is {}, and it was pulled with {}",
                    spec.sha256, pulled.sha256
                );
                return Err(Error::model(dir.display().to_string(), cause, again()));
            }
            None => {
                let cause = format!("{name} is not one of the files that were pulled");
                let remedy = message![
                    "Remove it, or bring another variant with ",
                    Setting::ModelPull,
                    format!(" {} and ", record.name),
                    Setting::Precision,
                    "."
                ];
                return Err(Error::model(dir.display().to_string(), cause, remedy));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_and_a_wrong_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(PullRecord::read(dir.path()).unwrap(), None);
        let mut record = PullRecord::new("x".into(), "o/n".into(), "main".into());
        record.files.insert("onnx/a.onnx".into(), FileSpec { sha256: "00".repeat(32), bytes: 7 });
        record.write(dir.path()).unwrap();
        assert_eq!(PullRecord::read(dir.path()).unwrap(), Some(record.clone()));
        for (from, to, cause) in [
            ("onnx/a.onnx", "../a.onnx", "leads out of the folder"),
            ("descry-pull/1", "descry-pull/9", "descry-pull/9"),
            ("\"files\"", "\"file\"", "cannot be read"),
        ] {
            record.write(dir.path()).unwrap();
            let path = dir.path().join(RECORD);
            let text = std::fs::read_to_string(&path).unwrap();
            std::fs::write(&path, text.replace(from, to)).unwrap();
            let error = PullRecord::read(dir.path()).unwrap_err().to_string();
            assert!(error.contains(cause), "{error}");
        }
    }
}
