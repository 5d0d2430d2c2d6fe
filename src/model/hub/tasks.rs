//! The tasks of Florence-2. Its prompts are sentences that it was trained on, and each has a short name, such as
//! `<CAPTION>`. A folder may list tasks of its own.

use std::collections::BTreeMap;

use super::config::{Family, HubConfig, ProcessorConfig};
use crate::error::{Error, Result};
use crate::message;
use crate::message::Setting;
use crate::model::prompt::PromptOptions;

/// The task where the user names none.
const CAPTION: &str = "<CAPTION>";
/// What a sentence has in the place of its subject.
const INPUT: &str = "{input}";
/// The kind of answer that is a text. Others are boxes, polygons or labels.
const TEXT: &str = "pure_text";
/// Characters of a wrong prompt in a message.
const SHOWN: usize = 60;

/// The published tasks, with their sentences.
const PLAIN: [(&str, &str); 8] = [
    (CAPTION, "What does the image describe?"),
    ("<DETAILED_CAPTION>", "Describe in detail what is shown in the image."),
    ("<MORE_DETAILED_CAPTION>", "Describe with a paragraph what is shown in the image."),
    ("<OCR>", "What is the text in the image?"),
    ("<OCR_WITH_REGION>", "What is the text in the image, with regions?"),
    ("<OD>", "Locate the objects with category name in the image."),
    ("<DENSE_REGION_CAPTION>", "Locate the objects in the image, with their descriptions."),
    ("<REGION_PROPOSAL>", "Locate the region proposals in the image."),
];

/// The published tasks about something, with their sentences.
const ABOUT: [(&str, &str); 7] = [
    ("<CAPTION_TO_PHRASE_GROUNDING>", "Locate the phrases in the caption: {input}"),
    ("<REFERRING_EXPRESSION_SEGMENTATION>", "Locate {input} in the image with mask"),
    ("<REGION_TO_SEGMENTATION>", "What is the polygon mask of region {input}"),
    ("<OPEN_VOCABULARY_DETECTION>", "Locate {input} in the image."),
    ("<REGION_TO_CATEGORY>", "What is the region {input}?"),
    ("<REGION_TO_DESCRIPTION>", "What does the region {input} describe?"),
    ("<REGION_TO_OCR>", "What text is in the region {input}?"),
];

/// The published tasks whose answers are not texts.
const PLACES: [&str; 8] = [
    "<OCR_WITH_REGION>",
    "<OD>",
    "<DENSE_REGION_CAPTION>",
    "<REGION_PROPOSAL>",
    "<CAPTION_TO_PHRASE_GROUNDING>",
    "<REFERRING_EXPRESSION_SEGMENTATION>",
    "<REGION_TO_SEGMENTATION>",
    "<OPEN_VOCABULARY_DETECTION>",
];

/// Settles what a model is asked: the prompt itself, or the sentence of its task for a model that has tasks. `name` is
/// the model's, for messages.
///
/// # Errors
/// [`Error::Usage`] for a prompt that is no task with a text for an answer, or for what such a prompt cannot have
/// beside it: a language, notes, several frames.
pub(crate) fn settle_prompt(
    config: &HubConfig,
    name: &str,
    prompt: PromptOptions,
    frames: usize,
) -> Result<PromptOptions> {
    if config.family != Family::Florence {
        return Ok(prompt);
    }
    if frames > 1 {
        return Err(Error::usage(
            message![Setting::Frames, format!(" {frames} is out of range: {name} reads one picture")],
            message!["Leave ", Setting::Frames, " out, or use a model that reads several, such as SmolVLM2."],
        ));
    }
    let alone = PromptOptions { text: prompt.text.clone(), ..PromptOptions::default() };
    if prompt != alone {
        return Err(Error::usage(
            format!("{name} is asked one of its tasks: a language or notes cannot be added"),
            "Leave them out, or use a model with a chat template.",
        ));
    }
    Ok(PromptOptions { text: Tasks::of(&config.processor).sentence(&prompt.text)?, ..alone })
}

/// The tasks of a folder.
pub(crate) struct Tasks {
    plain: BTreeMap<String, String>,
    about: BTreeMap<String, String>,
    /// Kinds of answers. A task that is not listed has a text.
    answers: BTreeMap<String, String>,
}

impl Tasks {
    /// The tasks that the configuration lists, or else the published ones.
    pub(crate) fn of(config: &ProcessorConfig) -> Tasks {
        let or = |own: &BTreeMap<String, String>, published: &[(&str, &str)]| {
            let published = || published.iter().map(|(task, text)| (task.to_string(), text.to_string())).collect();
            if own.is_empty() { published() } else { own.clone() }
        };
        let answers: Vec<(&str, &str)> = PLACES.iter().map(|task| (*task, "places")).collect();
        Tasks {
            plain: or(&config.task_prompts_without_inputs, &PLAIN),
            about: or(&config.task_prompts_with_input, &ABOUT),
            answers: or(&config.tasks_answer_post_processing_type, &answers),
        }
    }

    /// Names of the tasks that have a text for an answer.
    pub(crate) fn names(&self) -> String {
        let about = self.about.keys().map(|task| (task, " and its subject"));
        let all = self.plain.keys().map(|task| (task, "")).chain(about);
        let names: Vec<String> =
            all.filter(|(task, _)| self.is_text(task)).map(|(task, more)| format!("{task}{more}")).collect();
        names.join(", ")
    }

    fn is_text(&self, task: &str) -> bool {
        self.answers.get(task).is_none_or(|answer| answer == TEXT)
    }

    /// The sentence of a prompt that is a task with a text for an answer.
    fn sentence(&self, prompt: &str) -> Result<String> {
        let cause = match self.find(prompt) {
            Some((task, sentence)) if self.is_text(task) => return Ok(sentence),
            Some((task, _)) => format!("the task {task} answers with places in the picture, not with a description"),
            None => {
                let shown: String = prompt.chars().take(SHOWN).collect();
                format!("the prompt {shown:?} is not a task of this model")
            }
        };
        Err(Error::usage(cause, message!["Set ", Setting::Prompt, format!(" to one of {}.", self.names())]))
    }

    /// The task that a prompt names or is the sentence of, and its sentence.
    fn find(&self, prompt: &str) -> Option<(&str, String)> {
        // The default prompt asks for a caption.
        let prompt = if prompt == PromptOptions::default().text { CAPTION } else { prompt };
        if let Some((task, text)) = self.plain.iter().find(|(task, text)| prompt == *task || prompt == *text) {
            return Some((task, text.clone()));
        }
        if let Some((task, text)) = self.about.iter().find(|(task, _)| prompt.contains(*task)) {
            let subject = prompt.replace(task, "");
            return (!subject.trim().is_empty()).then(|| (task.as_str(), text.replace(INPUT, subject.trim())));
        }
        let written = self.about.iter().find(|(_, text)| has_form(prompt, text));
        written.map(|(task, _)| (task.as_str(), prompt.to_string()))
    }
}

/// Whether a prompt is a task's sentence about something.
fn has_form(prompt: &str, sentence: &str) -> bool {
    let subject =
        sentence.split_once(INPUT).and_then(|(before, after)| prompt.strip_prefix(before)?.strip_suffix(after));
    subject.is_some_and(|subject| !subject.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tasks(config: serde_json::Value) -> Tasks {
        let mut all = json!({ "size": 768 });
        all.as_object_mut().unwrap().extend(config.as_object().unwrap().clone());
        Tasks::of(&serde_json::from_value(all).unwrap())
    }

    #[test]
    fn a_prompt_is_a_task_or_its_sentence() {
        let tasks = tasks(json!({}));
        for (task, sentence) in PLAIN.into_iter().filter(|(task, _)| !PLACES.contains(task)) {
            assert_eq!(tasks.sentence(task).unwrap(), sentence);
            assert_eq!(tasks.sentence(sentence).unwrap(), sentence);
        }
        assert_eq!(tasks.sentence(&PromptOptions::default().text).unwrap(), PLAIN[0].1);
        let region = tasks.sentence("<REGION_TO_DESCRIPTION><loc_1><loc_2><loc_3><loc_4>").unwrap();
        assert_eq!(region, "What does the region <loc_1><loc_2><loc_3><loc_4> describe?");
        assert_eq!(tasks.sentence(&region).unwrap(), region);
    }

    #[test]
    fn other_prompts_are_refused_with_the_tasks() {
        let tasks = tasks(json!({}));
        for (prompt, cause) in [
            ("<CAPTOIN>", "\"<CAPTOIN>\" is not a task"),
            ("What happens here?", "is not a task"),
            ("<CAPTION> in French", "is not a task"),
            ("<OD>", "<OD> answers with places"),
            ("<OPEN_VOCABULARY_DETECTION> a cat", "answers with places"),
            ("<REGION_TO_OCR> ", "is not a task"),
            ("What is the region ?", "is not a task"),
        ] {
            let error = tasks.sentence(prompt).unwrap_err().to_string();
            assert!(error.contains(cause) && error.contains("<MORE_DETAILED_CAPTION>"), "{prompt}: {error}");
            assert!(!error.contains("<OD>,") && error.contains("<REGION_TO_OCR> and its subject"), "{error}");
        }
    }

    #[test]
    fn a_folder_has_tasks_of_its_own() {
        let own = tasks(json!({
            "task_prompts_without_inputs": { "<CAPTION>": "Say what is there.", "<COUNT>": "Count the people." },
            "tasks_answer_post_processing_type": { "<CAPTION>": "pure_text", "<REGION_TO_OCR>": "ocr" },
        }));
        assert_eq!(own.sentence("<COUNT>").unwrap(), "Count the people.");
        assert_eq!(own.sentence(&PromptOptions::default().text).unwrap(), "Say what is there.");
        assert!(own.sentence("<OCR>").is_err() && own.sentence("<REGION_TO_OCR> x").is_err());
    }
}
