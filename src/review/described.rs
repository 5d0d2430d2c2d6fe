//! A new document of what descry has written about a film: its descriptions as JSON.

use serde::Deserialize;

use super::document::{CueSource, FilmFacts, ReviewDocument};
use super::sources::new_cues;
use super::timeline::{FilmTimeline, SceneMark, SpokenStretch, TextMark};
use crate::error::{Error, Result};
use crate::message;
use crate::message::Setting;
use crate::time::Time;

/// What a review needs of the JSON that `descry describe` writes.
#[derive(Deserialize)]
struct DescribedJson {
    model: String,
    #[serde(default = "english")]
    language: String,
    scenes: Vec<DescribedScene>,
    cues: Vec<DescribedCue>,
    #[serde(default)]
    speech: Option<DescribedSpeech>,
    #[serde(default)]
    text: Option<Vec<DescribedLine>>,
}

/// Earlier versions wrote no language.
fn english() -> String {
    "en".into()
}

#[derive(Deserialize)]
struct DescribedScene {
    #[serde(with = "super::seconds")]
    start: Time,
    #[serde(with = "super::seconds")]
    end: Time,
    #[serde(with = "super::seconds")]
    keyframe: Time,
    transition: String,
    text: Option<String>,
    score: Option<f32>,
    said: bool,
}

#[derive(Deserialize)]
struct DescribedCue {
    #[serde(with = "super::seconds")]
    start: Time,
    #[serde(with = "super::seconds")]
    end: Time,
    text: String,
}

#[derive(Deserialize)]
struct DescribedSpeech {
    segments: Vec<DescribedStretch>,
}

#[derive(Deserialize)]
struct DescribedStretch {
    #[serde(with = "super::seconds")]
    start: Time,
    #[serde(with = "super::seconds")]
    end: Time,
}

#[derive(Deserialize)]
struct DescribedLine {
    #[serde(with = "super::seconds")]
    start: Time,
    #[serde(with = "super::seconds")]
    end: Time,
    text: String,
    kind: String,
}

impl ReviewDocument {
    /// The document of a film of an archive: of the JSON that descry wrote of it, in a file named `name`. `state`: what the
    /// archive calls the state of the film.
    ///
    /// # Errors
    /// If it is not such JSON, or has too many cues.
    pub fn of_json(bytes: &[u8], name: &str, film: FilmFacts, state: String) -> Result<ReviewDocument> {
        let described: DescribedJson = serde_json::from_slice(bytes).map_err(|e| {
            let remedy = message!["Run ", Setting::ArchiveRepair, ", then ", Setting::Index, " again."];
            Error::input(name, format!("is damaged: {e}"), remedy)
        })?;
        let scene = |scene: DescribedScene| SceneMark {
            start: scene.start,
            end: scene.end,
            keyframe: scene.keyframe,
            transition: scene.transition,
            text: scene.text,
            score: scene.score,
            said: scene.said,
        };
        let stretch = |stretch: DescribedStretch| SpokenStretch { start: stretch.start, end: stretch.end };
        let line =
            |line: DescribedLine| TextMark { start: line.start, end: line.end, text: line.text, kind: line.kind };
        let timeline = FilmTimeline {
            scenes: Some(described.scenes.into_iter().map(scene).collect()),
            speech: described.speech.map(|speech| speech.segments.into_iter().map(stretch).collect()),
            text: described.text.map(|lines| lines.into_iter().map(line).collect()),
        };
        let cues = new_cues(name, described.cues.into_iter().map(|cue| (cue.start, cue.end, cue.text)), &timeline)?;
        let source = CueSource::Described { model: described.model, state: Some(state) };
        Ok(ReviewDocument::new(film, source, &described.language, cues, timeline))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::tests::{film, ms};
    use super::*;
    use crate::speech::Utterance;
    use crate::track::{Cue, Format, SceneRecord, Speech, SpeechSource, Track, write};

    /// The same document as of the track, apart from the state.
    #[test]
    fn the_json_of_a_track_makes_its_document() {
        let mut track = Track::new("/films/film.mp4", "descry-builtin 1");
        track.language = "de".into();
        let cue = |start, end, text: &str| Cue { start: ms(start), end: ms(end), lines: vec![text.into()] };
        track.cues = vec![cue(0, 1_000, "Ein Hund."), cue(1_000, 2_500, "Eine „Katze“.")];
        let scene = |start, end, text: Option<&str>, score| SceneRecord {
            scene: 1,
            start: ms(start),
            end: ms(end),
            start_frame: 0,
            end_frame: 1,
            keyframe: ms(start + 40),
            transition: "cut",
            text: text.map(Into::into),
            shown: text.is_some(),
            score,
            mean_logprob: Some(-1.0),
            similarity: None,
            repeats: None,
            blank: text.is_none(),
            speech: Some(0.5),
        };
        track.scenes = vec![
            scene(0, 1_000, Some("a"), Some(0.25)),
            scene(1_000, 2_500, Some("b"), None),
            scene(2_500, 3_000, None, None),
        ];
        let segments = vec![Utterance { start: ms(300), end: ms(700) }];
        track.speech = Some(Speech { source: SpeechSource::Audio, segments, dialogue: None });
        let mut json = Vec::new();
        write(&track, Format::Json, Path::new("/"), &mut json).unwrap();
        let of_json = ReviewDocument::of_json(&json, "descriptions.json", film(), "00ff".into()).unwrap();
        let mut of_track = ReviewDocument::of_track(&track, film()).unwrap();
        of_track.source = CueSource::Described { model: "descry-builtin 1".into(), state: Some("00ff".into()) };
        assert_eq!(of_json, of_track);
        assert_eq!(of_json.cues[0].machine.as_ref().unwrap().scene, Some(0));
    }

    #[test]
    fn other_json_is_refused() {
        for bytes in [
            "",
            "{}",
            "{\"model\":1}",
            "{\"model\":\"m\",\"scenes\":[],\"cues\":[{\"start\":1e99,\"end\":2,\"text\":\"\"}]}",
        ] {
            let e = ReviewDocument::of_json(bytes.as_bytes(), "descriptions.json", film(), String::new()).unwrap_err();
            assert!(e.to_string().contains("descriptions.json: is damaged"), "{bytes}: {e}");
        }
    }
}
