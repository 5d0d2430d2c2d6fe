//! What a model that takes a prompt is asked: the prompt itself, and the descriptions that came before.
//!
//! Memory: a [`DescriptionHistory`] holds at most [`MOST_CONTEXT`] descriptions of at most [`LONGEST_EARLIER`] characters.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::limited_file::read_text;
use crate::message;
use crate::message::Setting;

/// Most earlier descriptions in a prompt.
pub const MOST_CONTEXT: usize = 20;
/// An earlier description is cut to this many characters: a server may write more than a sentence.
const LONGEST_EARLIER: usize = 400;
/// Largest prompt file in bytes: longer than any model's context.
const FILE_LIMIT: u64 = 1 << 20;

/// A prompt, and what is added to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromptOptions {
    /// The prompt. Default: "Describe this picture in one sentence."
    pub text: String,
    /// The language of the answer, by its English name. Default: none, so that the model chooses.
    pub language: Option<String>,
    /// What is known about the film: its title, people, places. Default: nothing.
    pub notes: Option<String>,
    /// How many of the latest descriptions of the same film or stream are added, at most 20. Default: 0.
    pub context: usize,
}

impl Default for PromptOptions {
    fn default() -> PromptOptions {
        PromptOptions { text: "Describe this picture in one sentence.".into(), language: None, notes: None, context: 0 }
    }
}

impl PromptOptions {
    /// Refuses values that are out of range.
    pub(crate) fn check(&self) -> Result<()> {
        if self.context > MOST_CONTEXT {
            return Err(Error::usage(
                message![Setting::Context, format!(" {} is out of range", self.context)],
                format!("Use a number from 0 to {MOST_CONTEXT}."),
            ));
        }
        Ok(())
    }

    /// The whole prompt: the notes, the earlier descriptions, the text, the language.
    fn compose(&self, earlier: &[Arc<str>]) -> String {
        let mut prompt = String::new();
        if let Some(notes) = &self.notes {
            prompt.push_str(&format!("Notes about what you will see:\n{notes}\n\n"));
        }
        if !earlier.is_empty() {
            let lines: String = earlier.iter().map(|text| format!("- {text}\n")).collect();
            prompt.push_str(&format!("Earlier descriptions, oldest first:\n{lines}\n"));
        }
        prompt.push_str(&self.text);
        if !earlier.is_empty() {
            prompt.push_str(" Describe only what is new.");
        }
        if let Some(language) = &self.language {
            prompt.push_str(&format!(" Answer in {language}."));
        }
        prompt
    }

    /// The prompt as the options of a track record it.
    pub(crate) fn to_json(&self) -> Value {
        let PromptOptions { text, language, notes, context } = self;
        if language.is_none() && notes.is_none() && *context == 0 {
            return json!(text);
        }
        let mut value = json!({ "text": text, "language": language, "notes": notes });
        if *context > 0 {
            value["context"] = json!(context);
        }
        value
    }
}

/// What a user gives for a prompt, some of it in files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PromptSource {
    /// The prompt.
    pub text: Option<String>,
    /// File with the prompt, instead of `text`.
    pub file: Option<PathBuf>,
    /// The language of the answer.
    pub language: Option<String>,
    /// File with notes.
    pub notes: Option<PathBuf>,
    /// Earlier descriptions in the prompt, at most 20.
    pub context: Option<usize>,
}

impl PromptSource {
    /// This, and what it leaves open from `other`.
    #[must_use]
    pub fn or(self, other: PromptSource) -> PromptSource {
        let (text, file) = match (self.text, self.file) {
            (None, None) => (other.text, other.file),
            own => own,
        };
        PromptSource {
            text,
            file,
            language: self.language.or(other.language),
            notes: self.notes.or(other.notes),
            context: self.context.or(other.context),
        }
    }

    /// This, and the model's own prompt where it names none.
    #[must_use]
    pub fn or_own(self, own: Option<&str>) -> PromptSource {
        self.or(PromptSource { text: own.map(str::to_string), ..PromptSource::default() })
    }

    /// Reads the files. None if nothing is given; what is not given has its default otherwise.
    ///
    /// # Errors
    /// [`Error::Usage`] if a value is out of range or there are two prompts; [`Error::Input`] if a file cannot be read.
    pub fn read(&self) -> Result<Option<PromptOptions>> {
        let PromptSource { text, file, language, notes, context } = self;
        let context = context.unwrap_or(0);
        if text.is_none() && file.is_none() && language.is_none() && notes.is_none() && context == 0 {
            return Ok(None);
        }
        let text = match (text, file) {
            (Some(_), Some(_)) => {
                return Err(Error::usage("a prompt and a file with a prompt are given", "Give one of them."));
            }
            (Some(text), None) => text.clone(),
            (None, Some(file)) => read_prompt(file)?,
            (None, None) => PromptOptions::default().text,
        };
        let text = text.trim().to_string();
        if text.is_empty() {
            return Err(Error::usage("the prompt is empty", "Give a prompt, or none for the model's own."));
        }
        if language.as_ref().is_some_and(|language| language.trim().is_empty()) {
            return Err(Error::usage("the language has no name", "Give a name such as French, or none."));
        }
        let notes = notes.as_deref().map(read_prompt).transpose()?;
        let notes = notes.map(|notes| notes.trim().to_string()).filter(|notes| !notes.is_empty());
        let language = language.as_ref().map(|language| language.trim().to_string());
        let options = PromptOptions { text, language, notes, context };
        options.check()?;
        Ok(Some(options))
    }
}

fn read_prompt(file: &Path) -> Result<String> {
    let name = file.display().to_string();
    read_text(file, FILE_LIMIT).map_err(|e| match e.kind() {
        ErrorKind::FileTooLarge => {
            Error::usage(format!("{name} is larger than a prompt can be"), "Name a file with the prompt alone.")
        }
        _ => Error::read(&name, &e),
    })
}

/// The prompt of one caption: what is asked, and the descriptions before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptionPrompt {
    /// What is asked.
    pub options: Arc<PromptOptions>,
    /// Earlier descriptions, oldest first.
    pub earlier: Vec<Arc<str>>,
}

impl From<PromptOptions> for CaptionPrompt {
    fn from(options: PromptOptions) -> CaptionPrompt {
        CaptionPrompt { options: Arc::new(options), earlier: Vec::new() }
    }
}

impl CaptionPrompt {
    /// The whole prompt.
    pub(crate) fn compose(&self) -> String {
        self.options.compose(&self.earlier)
    }

    /// The same without the oldest description; none if there is no earlier description.
    pub(crate) fn shortened(&self) -> Option<CaptionPrompt> {
        let (_, earlier) = self.earlier.split_first()?;
        Some(CaptionPrompt { options: self.options.clone(), earlier: earlier.to_vec() })
    }
}

/// The latest descriptions of one film or stream, for the prompts of the next ones.
#[derive(Debug, Clone)]
pub(crate) struct DescriptionHistory {
    options: Arc<PromptOptions>,
    /// Oldest first.
    latest: VecDeque<Arc<str>>,
}

impl DescriptionHistory {
    /// No descriptions yet.
    pub(crate) fn new(options: Arc<PromptOptions>) -> DescriptionHistory {
        DescriptionHistory { options, latest: VecDeque::new() }
    }

    /// Adds a description that was shown. One in the words of the latest adds nothing.
    pub(crate) fn add(&mut self, text: &str) {
        let text: Arc<str> = text.chars().take(LONGEST_EARLIER).collect::<String>().into();
        if self.options.context == 0 || text.is_empty() || self.latest.back() == Some(&text) {
            return;
        }
        self.latest.push_back(text);
        while self.latest.len() > self.options.context {
            self.latest.pop_front();
        }
    }

    /// The prompt of the next caption.
    pub(crate) fn prompt(&self) -> Arc<CaptionPrompt> {
        let earlier = self.latest.iter().cloned().collect();
        Arc::new(CaptionPrompt { options: self.options.clone(), earlier })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain() -> PromptOptions {
        PromptOptions { text: "What happens?".into(), ..PromptOptions::default() }
    }

    #[test]
    fn notes_come_first_and_the_language_last() {
        assert_eq!(plain().compose(&[]), "What happens?");
        let full = PromptOptions { language: Some("French".into()), notes: Some("Ann is the cook.".into()), ..plain() };
        assert_eq!(
            full.compose(&[]),
            "Notes about what you will see:\nAnn is the cook.\n\nWhat happens? Answer in French."
        );
        assert_eq!(
            full.to_json(),
            json!({ "text": "What happens?", "language": "French", "notes": "Ann is the cook." })
        );
        assert_eq!(
            full.compose(&["A door.".into(), "Ann enters.".into()]),
            "Notes about what you will see:\nAnn is the cook.\n\n\
             Earlier descriptions, oldest first:\n- A door.\n- Ann enters.\n\n\
             What happens? Describe only what is new. Answer in French."
        );
        let with_context = PromptOptions { context: 2, ..plain() };
        assert_eq!(plain().to_json(), json!("What happens?"));
        assert_eq!(with_context.to_json()["context"], 2);
    }

    #[test]
    fn a_history_has_the_latest_descriptions_once_and_cut() {
        let mut history = DescriptionHistory::new(Arc::new(PromptOptions { context: 2, ..plain() }));
        assert_eq!(history.prompt().compose(), "What happens?");
        for text in ["A.", "B.", "B.", "", "C."] {
            history.add(text);
        }
        assert_eq!(history.prompt().earlier, ["B.".into(), "C.".into()] as [Arc<str>; 2]);
        history.add(&"é".repeat(1_000));
        assert_eq!(history.prompt().earlier[1].chars().count(), LONGEST_EARLIER);
        let shorter = history.prompt().shortened().unwrap();
        assert_eq!(shorter.earlier.len(), 1);
        assert_eq!(shorter.shortened().unwrap().shortened(), None);
        let mut none = DescriptionHistory::new(Arc::new(plain()));
        none.add("A.");
        assert_eq!(none.prompt().earlier.len(), 0);
    }

    #[test]
    fn a_source_completes_another_and_nothing_is_no_prompt() {
        let source = |text: Option<&str>| PromptSource { text: text.map(Into::into), ..PromptSource::default() };
        let all = PromptSource { file: Some("a.txt".into()), language: Some("Dutch".into()), ..source(None) };
        let own = source(Some("Why?")).or(all.clone()).read().unwrap().unwrap();
        assert_eq!((own.text.as_str(), own.language.as_deref()), ("Why?", Some("Dutch")));
        assert_eq!(source(None).or(all.clone()), all);
        let zero = PromptSource { context: Some(0), ..source(None) };
        assert_eq!((source(None).read().unwrap(), zero.read().unwrap()), (None, None));
        let three = PromptSource { context: Some(3), ..source(None) };
        assert_eq!(three.read().unwrap(), Some(PromptOptions { context: 3, ..PromptOptions::default() }));
    }

    #[test]
    fn values_that_cannot_be_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let big = dir.path().join("big.txt");
        std::fs::write(&big, vec![b'a'; FILE_LIMIT as usize + 1]).unwrap();
        let nothing = PromptSource::default;
        for (source, cause) in [
            (PromptSource { text: Some(" ".into()), ..nothing() }, "the prompt is empty"),
            (PromptSource { language: Some(" ".into()), ..nothing() }, "the language has no name"),
            (PromptSource { context: Some(21), ..nothing() }, "`context` 21 is out of range"),
            (PromptSource { text: Some("a".into()), file: Some("b".into()), ..nothing() }, "a prompt and a file"),
            (PromptSource { file: Some(dir.path().join("none.txt")), ..nothing() }, "none.txt: no such file"),
            (PromptSource { notes: Some(big), ..nothing() }, "big.txt is larger"),
        ] {
            let e = source.read().unwrap_err().to_string();
            assert!(e.contains(cause), "{e}");
        }
    }
}
