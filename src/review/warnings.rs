//! What an editor should look at: cues that cannot be read or spoken in their time, and descriptions that may be wrong.

use serde::Serialize;

use super::cue::ReviewCue;
use super::document::ReviewDocument;
use super::timeline::SceneMark;
use crate::time::Time;
use crate::track::place::speaking_time;

/// How cues are judged.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct WarningRules {
    /// Words that a voice says in a minute, at least 1. Default: 180.
    pub pace: u32,
    /// Characters that people read in a second, at least 0.1. Default: 17, the guideline of Netflix and the BBC for adults.
    pub reading_speed: f64,
    /// A description may cover so much speech. Default: 0.2 s: the start or the end of a word.
    #[serde(serialize_with = "super::seconds::serialize")]
    pub over_speech: Time,
    /// Captions with a lower score are uncertain. Default: 0.6.
    pub uncertain: f32,
}

impl Default for WarningRules {
    fn default() -> WarningRules {
        WarningRules { pace: 180, reading_speed: 17.0, over_speech: Time::from_millis(200), uncertain: 0.6 }
    }
}

/// A reason to look at a cue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Warning {
    /// It says nothing.
    Empty,
    /// It is not within the film.
    OutsideFilm,
    /// It begins before the cue before it has ended.
    Overlap,
    /// It is gone before it can be read.
    TooFast,
    /// Speaking it takes longer than the pause in which it begins.
    LongerThanPause,
    /// It would be spoken while somebody talks.
    OverSpeech,
    /// The model was not sure, and nobody has changed the text.
    Uncertain,
    /// The text shows a mark of invention: it says something twice, or has a name that nobody has told the model.
    PossibleHallucination,
}

/// What is known of a cue, for the page. Times are in seconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CueFacts {
    /// How long it takes to read it.
    #[serde(serialize_with = "super::seconds::serialize")]
    pub reading: Time,
    /// How long it takes to speak it.
    #[serde(serialize_with = "super::seconds::serialize")]
    pub speaking: Time,
    /// The score of the machine's caption, 0 to 1; none if there is none.
    pub score: Option<f32>,
    /// What to look at, most severe first.
    pub warnings: Vec<Warning>,
}

impl ReviewDocument {
    /// What is known of every cue, in their order.
    pub fn facts(&self, rules: &WarningRules) -> Vec<CueFacts> {
        let mut until = Time::from_micros(i64::MIN);
        let judge = |cue: &ReviewCue| {
            let facts = self.judge(cue, until, rules);
            until = until.max(cue.end);
            facts
        };
        self.cues.iter().map(judge).collect()
    }

    /// `until`: when the cues before it have ended.
    fn judge(&self, cue: &ReviewCue, until: Time, rules: &WarningRules) -> CueFacts {
        let speaking = speaking_time(&cue.text, rules.pace);
        let characters = cue.text.chars().count();
        let reading = Time::from_secs(characters as f64 / rules.reading_speed.max(0.1));
        let score = self.scene(cue).and_then(|scene| scene.score);
        let mut warnings = Vec::new();
        let mut warn = |warning, is_so: bool| {
            if is_so {
                warnings.push(warning);
            }
        };
        let is_untouched = cue.machine.as_ref().is_some_and(|machine| machine.text == cue.text) && !cue.checked;
        let spoken_until = cue.start + speaking;
        let pause = self.timeline.pause_from(cue.start, self.end());
        let talk = self.timeline.talk_within(cue.start, spoken_until);
        warn(Warning::Empty, cue.text.is_empty());
        warn(Warning::OutsideFilm, cue.end > self.end());
        warn(Warning::Overlap, cue.start < until);
        warn(Warning::TooFast, reading > cue.end - cue.start);
        let is_over = talk.is_some_and(|talk| talk > rules.over_speech);
        let in_pause = pause.is_some_and(|pause| pause > Time::ZERO);
        warn(Warning::LongerThanPause, is_over && in_pause);
        warn(Warning::OverSpeech, is_over && !in_pause);
        warn(Warning::PossibleHallucination, is_untouched && (says_twice(&cue.text) || self.names_somebody(cue)));
        warn(Warning::Uncertain, is_untouched && score.is_some_and(|score| score < rules.uncertain));
        CueFacts { reading, speaking, score, warnings }
    }

    /// The scene that a cue of the machine describes.
    pub(super) fn scene(&self, cue: &ReviewCue) -> Option<&SceneMark> {
        self.timeline.scenes.as_ref()?.get(cue.machine.as_ref()?.scene?)
    }

    /// Whether a text has a name, in the middle of a sentence, that neither the glossary nor the screen shows: pictures do
    /// not say what people are called. Only in English: in other languages other words have capital letters.
    fn names_somebody(&self, cue: &ReviewCue) -> bool {
        if self.language.split('-').next() != Some("en") || matches!(self.source, super::CueSource::File { .. }) {
            return false;
        }
        let mut begins = true;
        for word in cue.text.split_whitespace() {
            let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
            let is_name =
                bare.chars().next().is_some_and(char::is_uppercase) && bare.chars().skip(1).any(char::is_lowercase);
            if !begins && is_name && !self.knows_word(bare, cue) {
                return true;
            }
            begins = word.ends_with(['.', '!', '?', ':', '"', '”']) || word.starts_with(['"', '“']);
        }
        false
    }

    fn knows_word(&self, word: &str, cue: &ReviewCue) -> bool {
        let word = word.to_lowercase();
        let has = |text: &str| text.split(|c: char| !c.is_alphanumeric()).any(|part| part.to_lowercase() == word);
        let shown = self.timeline.text.iter().flatten();
        self.glossary.iter().any(|term| has(&term.term))
            || shown.filter(|line| line.start < cue.end && line.end > cue.start).any(|line| has(&line.text))
    }
}

/// Whether a text says three words or more twice in a row, or one word three times: a decoder that has lost its way.
fn says_twice(text: &str) -> bool {
    let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
    let repeats = |size: usize, times: usize| {
        words.windows(size * times).any(|part| part.chunks(size).all(|chunk| chunk == &part[..size]))
    };
    repeats(1, 3) || repeats(2, 2) || (3..=words.len() / 2).any(|size| repeats(size, 2))
}

#[cfg(test)]
mod tests {
    use super::super::cue::GlossaryTerm;
    use super::super::tests::{cue, document, ms, scene};
    use super::super::timeline::{SpokenStretch, TextMark};
    use super::*;

    fn warnings(document: &ReviewDocument) -> Vec<Vec<Warning>> {
        document.facts(&WarningRules::default()).into_iter().map(|facts| facts.warnings).collect()
    }

    #[test]
    fn times_that_do_not_fit_are_named() {
        let mut film = document(vec![
            cue(1, 0, 4_000, "A dog runs."),
            cue(2, 3_000, 3_200, "A cat sits on a wall."),
            cue(3, 5_000, 11_000, ""),
        ]);
        film.film.duration = Some(ms(10_000));
        assert_eq!(
            warnings(&film),
            [vec![], vec![Warning::Overlap, Warning::TooFast], vec![Warning::Empty, Warning::OutsideFilm]]
        );
    }

    #[test]
    fn speech_is_left_alone() {
        let mut film = document(vec![
            cue(1, 0, 3_000, "A dog runs across a wide field."),
            cue(2, 4_000, 8_000, "A cat sits on a wall."),
            cue(3, 20_000, 24_000, "A cat sits on a wall."),
        ]);
        film.timeline.speech = Some(vec![SpokenStretch { start: ms(1_000), end: ms(6_000) }]);
        assert_eq!(warnings(&film), [vec![Warning::LongerThanPause], vec![Warning::OverSpeech], vec![]]);
        film.timeline.speech = None;
        assert_eq!(warnings(&film), [vec![], vec![], vec![]]);
    }

    #[test]
    fn what_the_model_was_unsure_of_is_named_until_somebody_has_looked() {
        let mut film = document(vec![cue(1, 0, 4_000, "A dog runs."), cue(2, 4_000, 8_000, "A cat.")]);
        film.timeline.scenes = Some(vec![scene(0, 4_000, Some(0.4)), scene(4_000, 8_000, Some(0.9))]);
        assert_eq!(warnings(&film), [vec![Warning::Uncertain], vec![]]);
        film.cues[0].text = "A wolf runs.".into();
        assert_eq!(warnings(&film), [vec![], vec![]]);
        film.cues[0].text = "A dog runs.".into();
        film.cues[0].checked = true;
        assert_eq!(warnings(&film), [vec![], vec![]]);
    }

    #[test]
    fn marks_of_invention_are_named() {
        let mut film = document(vec![
            cue(1, 0, 4_000, "A photo of Barack at a desk."),
            cue(2, 4_000, 8_000, "A man and a man and a man."),
            cue(3, 8_000, 12_000, "\"Sintel\" is written. A dragon, TV and a dog."),
        ]);
        let hallucination = || vec![Warning::PossibleHallucination];
        assert_eq!(warnings(&film), [hallucination(), hallucination(), vec![]]);
        film.glossary.push(GlossaryTerm { term: "Barack Obama".into(), note: String::new() });
        assert_eq!(warnings(&film)[0], []);
        film.glossary.clear();
        let text = "BARACK".into();
        film.timeline.text = Some(vec![TextMark { start: ms(0), end: ms(2_000), text, kind: "title".into() }]);
        assert_eq!(warnings(&film)[0], []);
        film.timeline.text = None;
        film.language = "de".into();
        assert_eq!(warnings(&film)[0], []);
    }
}
