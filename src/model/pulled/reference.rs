//! How a model that can be pulled is named. Names become parts of paths and of addresses, so they are checked first.

use std::fmt;

use crate::error::{Error, Result};
use crate::message;
use crate::message::Setting;

/// What the name of a model on the hub begins with.
pub(crate) const HUB: &str = "hf:";
/// What the name of a folder ends with whose files are for an import.
const FOR_IMPORT: &str = "~import";
/// Longest owner, name or revision, in characters. The hub allows 96 for names.
const LONGEST: usize = 96;

/// The name of a model that can be pulled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelReference {
    /// A name in descry's registry, such as `smolvlm2-256m`.
    Known(String),
    /// A repository of the hub.
    Hub {
        /// `OWNER/NAME`.
        repository: String,
        /// A branch, a tag or a commit. None: `main`.
        revision: Option<String>,
    },
}

impl ModelReference {
    /// Reads `NAME`, `hf:OWNER/NAME` or `hf:OWNER/NAME@REV`.
    ///
    /// # Errors
    /// [`Error::Usage`] for anything else.
    pub fn parse(text: &str) -> Result<ModelReference> {
        let wrong = || {
            Error::usage(
                format!("{text:?} is not the name of a model that can be pulled"),
                message![
                    "Name one of those that ",
                    Setting::ModelList,
                    " prints, or hf:OWNER/NAME or hf:OWNER/NAME@REV."
                ],
            )
        };
        let Some(rest) = text.strip_prefix(HUB) else {
            return if is_name(text) { Ok(ModelReference::Known(text.into())) } else { Err(wrong()) };
        };
        let (repository, revision) = match rest.split_once('@') {
            Some((repository, revision)) => (repository, Some(revision)),
            None => (rest, None),
        };
        let (owner, name) = repository.split_once('/').ok_or_else(wrong)?;
        if !is_name(owner) || !is_name(name) || revision.is_some_and(|revision| !is_revision(revision)) {
            return Err(wrong());
        }
        Ok(ModelReference::Hub { repository: repository.into(), revision: revision.map(str::to_string) })
    }

    /// The name of the folder with its files for an import. Neither a name nor a revision contains what it ends with.
    pub(crate) fn import_folder(&self) -> String {
        format!("{}{FOR_IMPORT}", self.folder())
    }

    /// The name of its folder, which no other model has.
    pub(crate) fn folder(&self) -> String {
        match self {
            ModelReference::Known(name) => name.clone(),
            // Neither a name nor a revision contains what stands for the slashes.
            ModelReference::Hub { repository, revision } => {
                let revision = revision.as_ref().map_or(String::new(), |r| format!("@{}", r.replace('/', "+")));
                format!("{}{revision}", repository.replace('/', "--"))
            }
        }
    }
}

impl fmt::Display for ModelReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ModelReference::Known(name) => f.write_str(name),
            ModelReference::Hub { repository, revision: None } => write!(f, "{HUB}{repository}"),
            ModelReference::Hub { repository, revision: Some(revision) } => write!(f, "{HUB}{repository}@{revision}"),
        }
    }
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

/// Whether a text is the name of a file without folders, of letters that mean the same on every system and in an address.
pub(crate) fn is_file_name(text: &str) -> bool {
    (1..=2 * LONGEST).contains(&text.len()) && text.chars().all(is_plain) && !text.starts_with('.')
}

fn is_name(text: &str) -> bool {
    is_file_name(text)
        && text.len() <= LONGEST
        && !text.starts_with('-')
        && !text.ends_with(['-', '.'])
        && !["--", ".."].iter().any(|pair| text.contains(pair))
        // Descry's own names beside the models.
        && ![".partial", ".lock"].iter().any(|end| text.to_ascii_lowercase().ends_with(end))
}

fn is_revision(text: &str) -> bool {
    text.len() <= LONGEST && !text.contains("..") && text.split('/').all(is_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_repositories_are_read() {
        for (text, folder) in [
            ("smolvlm2-256m", "smolvlm2-256m"),
            ("hf:Owner/Name_1.5", "Owner--Name_1.5"),
            ("hf:o/n@main", "o--n@main"),
            ("hf:o/n@refs/pr/1", "o--n@refs+pr+1"),
        ] {
            let reference = ModelReference::parse(text).unwrap();
            assert_eq!((reference.to_string().as_str(), reference.folder().as_str()), (text, folder));
        }
    }

    #[test]
    fn nothing_that_leads_elsewhere_is_a_name() {
        for text in [
            "",
            ".",
            "..",
            "../x",
            "a/b",
            "/etc",
            "a\\b",
            "a:b",
            "a b",
            "-x",
            ".hidden",
            "a--b",
            "a..b",
            "x.partial",
            "x.lock",
            "hf:",
            "hf:a",
            "hf:/a",
            "hf:a/",
            "hf:a/..",
            "hf:../a",
            "hf:a/b/c",
            "hf:a/b@",
            "hf:a/b@../c",
            "hf:a/b@c//d",
            "hf:a/b@/c",
            "hf:a/b@c?d",
            "hf:a/b@c#d",
            "hf:a/b@c@d",
            "hf:a/b%2e",
            "hf:ä/b",
            "HF:a/b",
            "hf:a/b\n",
        ] {
            let error = ModelReference::parse(text).unwrap_err();
            assert!(matches!(error, Error::Usage { .. }), "{text}: {error}");
        }
        assert!(ModelReference::parse(&"x".repeat(97)).is_err());
    }
}
