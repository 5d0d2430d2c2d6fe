//! What a model that takes a prompt is asked.

use serde_json::{Value, json};

/// A prompt, and what is added to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromptOptions {
    /// The prompt. Default: "Describe this picture in one sentence."
    pub text: String,
    /// The language of the answer, by its English name. Default: none, so that the model chooses.
    pub language: Option<String>,
    /// What is known about the film: its title, people, places. Default: nothing.
    pub notes: Option<String>,
}

impl Default for PromptOptions {
    fn default() -> PromptOptions {
        PromptOptions { text: "Describe this picture in one sentence.".into(), language: None, notes: None }
    }
}

impl PromptOptions {
    /// The whole prompt: the notes, the text, the language.
    pub(crate) fn compose(&self) -> String {
        let mut prompt = String::new();
        if let Some(notes) = &self.notes {
            prompt.push_str(&format!("Notes about what you will see:\n{notes}\n\n"));
        }
        prompt.push_str(&self.text);
        if let Some(language) = &self.language {
            prompt.push_str(&format!(" Answer in {language}."));
        }
        prompt
    }

    /// The prompt as the options of a track record it.
    pub(crate) fn to_json(&self) -> Value {
        match (&self.language, &self.notes) {
            (None, None) => json!(self.text),
            (language, notes) => json!({ "text": self.text, "language": language, "notes": notes }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_come_first_and_the_language_last() {
        let plain = PromptOptions { text: "What happens?".into(), ..PromptOptions::default() };
        assert_eq!(plain.compose(), "What happens?");
        let full = PromptOptions { language: Some("French".into()), notes: Some("Ann is the cook.".into()), ..plain };
        assert_eq!(
            full.compose(),
            "Notes about what you will see:\nAnn is the cook.\n\nWhat happens? Answer in French."
        );
        assert_eq!(full.to_json()["notes"], "Ann is the cook.");
    }
}
