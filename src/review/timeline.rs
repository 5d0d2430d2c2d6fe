//! What is known of a film besides its cues: the lanes below its picture.

use serde::{Deserialize, Serialize};

use crate::time::Time;
use crate::track::Track;
use crate::track::place::pauses_of;

/// A stretch of a film.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpokenStretch {
    /// Its start.
    #[serde(with = "super::seconds")]
    pub start: Time,
    /// Its end.
    #[serde(with = "super::seconds")]
    pub end: Time,
}

/// A described scene, or a part of a long one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SceneMark {
    /// Its start.
    #[serde(with = "super::seconds")]
    pub start: Time,
    /// Its end.
    #[serde(with = "super::seconds")]
    pub end: Time,
    /// The time of the frame that was described.
    #[serde(with = "super::seconds")]
    pub keyframe: Time,
    /// How it begins: `start`, `cut`, `fade`, `dissolve` or `gap`.
    pub transition: String,
    /// The caption, as the model gave it; none for a blank scene.
    pub text: Option<String>,
    /// How often captions of this kind are right, 0 to 1; none if the model is not calibrated.
    pub score: Option<f32>,
    /// Whether the score was high enough for a cue.
    pub said: bool,
}

/// Text on the screen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextMark {
    /// When it is seen first.
    #[serde(with = "super::seconds")]
    pub start: Time,
    /// When it is gone.
    #[serde(with = "super::seconds")]
    pub end: Time,
    /// As it is written.
    pub text: String,
    /// How it behaves: `title`, `credits`, …
    pub kind: String,
}

/// The lanes of a film.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilmTimeline {
    /// Scenes, in order; none if they are not known.
    #[serde(default)]
    pub scenes: Option<Vec<SceneMark>>,
    /// Where people talk, in order and without overlap; none if that is not known.
    #[serde(default)]
    pub speech: Option<Vec<SpokenStretch>>,
    /// Text on the screen, by its start; none if it was not read.
    #[serde(default)]
    pub text: Option<Vec<TextMark>>,
}

impl FilmTimeline {
    /// What is known of a described film.
    pub fn of(track: &Track) -> FilmTimeline {
        let scene = |scene: &crate::track::SceneRecord| SceneMark {
            start: scene.start,
            end: scene.end,
            keyframe: scene.keyframe,
            transition: scene.transition.into(),
            text: scene.text.clone(),
            score: scene.score,
            said: scene.shown,
        };
        let speech = track
            .speech
            .as_ref()
            .map(|speech| speech.segments.iter().map(|s| SpokenStretch { start: s.start, end: s.end }).collect());
        let text = track.text.as_ref().map(|lines| {
            let mark = |line: &crate::ocr::ScreenText| TextMark {
                start: line.start,
                end: line.end,
                text: line.text.clone(),
                kind: line.kind.name().into(),
            };
            lines.iter().map(mark).collect()
        });
        FilmTimeline { scenes: Some(track.scenes.iter().map(scene).collect()), speech, text }
    }

    /// The position of the scene that holds most of a stretch.
    pub fn scene_of(&self, start: Time, end: Time) -> Option<usize> {
        let scenes = self.scenes.as_ref()?;
        let shared = |scene: &SceneMark| scene.end.min(end) - scene.start.max(start);
        let first = scenes.partition_point(|scene| scene.end <= start);
        let those = scenes.iter().enumerate().skip(first).take_while(|(_, scene)| scene.start < end);
        let best = those.map(|(at, scene)| (shared(scene), std::cmp::Reverse(at))).max()?;
        (best.0 > Time::ZERO).then_some(best.1.0)
    }

    /// Where a description fits, up to the end of the film; none if speech is not known.
    pub(super) fn pauses(&self, end: Time) -> Option<Vec<SpokenStretch>> {
        let speech = self.speech.as_ref()?.iter().map(|s| (s.start, s.end));
        Some(pauses_of(speech, end).into_iter().map(|(start, end)| SpokenStretch { start, end }).collect())
    }

    /// How long it is quiet from a time on, up to `end`; none if speech is not known. Zero if somebody talks then.
    pub(super) fn pause_from(&self, start: Time, end: Time) -> Option<Time> {
        let speech = self.speech.as_ref()?;
        let next = speech.get(speech.partition_point(|s| s.end <= start)).map_or(end, |s| s.start);
        Some((next.min(end) - start).max(Time::ZERO))
    }

    /// How long somebody talks in a stretch; none if speech is not known.
    pub(super) fn talk_within(&self, start: Time, end: Time) -> Option<Time> {
        let speech = self.speech.as_ref()?;
        let within = |s: &SpokenStretch| (s.end.min(end) - s.start.max(start)).max(Time::ZERO);
        let first = speech.partition_point(|s| s.end <= start);
        let those = speech[first..].iter().take_while(|s| s.start < end);
        Some(those.map(within).fold(Time::ZERO, |sum, time| sum + time))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::ms;
    use super::*;

    fn timeline(speech: &[(i64, i64)]) -> FilmTimeline {
        let speech = speech.iter().map(|&(start, end)| SpokenStretch { start: ms(start), end: ms(end) }).collect();
        FilmTimeline { speech: Some(speech), ..FilmTimeline::default() }
    }

    #[test]
    fn pauses_and_talk_are_measured() {
        let timeline = timeline(&[(1_000, 2_000), (3_000, 4_000)]);
        let pause = |at| timeline.pause_from(ms(at), ms(10_000)).unwrap().millis();
        assert_eq!([pause(0), pause(1_500), pause(2_000), pause(2_500), pause(4_000)], [1_000, 0, 1_000, 500, 6_000]);
        assert_eq!(timeline.talk_within(ms(500), ms(3_500)), Some(ms(1_500)));
        assert_eq!(timeline.talk_within(ms(5_000), ms(6_000)), Some(Time::ZERO));
        assert_eq!(FilmTimeline::default().pause_from(ms(0), ms(1)), None);
    }

    #[test]
    fn a_cue_belongs_to_the_scene_that_it_shares_most_with() {
        let mark = |start, end| SceneMark {
            start: ms(start),
            end: ms(end),
            keyframe: ms(start),
            transition: "cut".into(),
            text: None,
            score: None,
            said: true,
        };
        let timeline =
            FilmTimeline { scenes: Some(vec![mark(0, 1_000), mark(1_000, 5_000)]), ..FilmTimeline::default() };
        assert_eq!(timeline.scene_of(ms(500), ms(2_000)), Some(1));
        assert_eq!(timeline.scene_of(ms(0), ms(2_000)), Some(0), "the first of equals");
        assert_eq!(timeline.scene_of(ms(6_000), ms(7_000)), None);
    }
}
