//! A reviewed document as a track, for every format that `describe` writes.

use std::io;
use std::path::Path;

use super::cue::ReviewCue;
use super::document::{CueSource, ReviewDocument};
use crate::track::{Cue, Format, SceneRecord, Speech, SpeechSource, Track, write};

/// Characters of a line, as in new cues.
const LINE: usize = 42;

impl ReviewDocument {
    /// The track that the editors made. Cues without text are left out.
    pub fn track(&self) -> Track {
        let model = match &self.source {
            CueSource::Described { model, .. } => model.clone(),
            CueSource::File { name, .. } => name.clone(),
        };
        let mut track = Track::new(self.film.name.clone(), model);
        track.language.clone_from(&self.language);
        let cues: Vec<&ReviewCue> = self.cues.iter().filter(|cue| !cue.text.is_empty()).collect();
        track.cues = cues.iter().map(|cue| Cue { start: cue.start, end: cue.end, lines: lines(&cue.text) }).collect();
        track.scenes = (1..).zip(&cues).map(|(number, cue)| self.record(number, cue)).collect();
        track.speech = self.timeline.speech.as_ref().map(|speech| Speech {
            source: SpeechSource::Audio,
            segments: speech.iter().map(|s| crate::speech::Utterance { start: s.start, end: s.end }).collect(),
            dialogue: None,
        });
        track
    }

    fn record(&self, number: u32, cue: &ReviewCue) -> SceneRecord {
        let scene = self.scene(cue);
        SceneRecord {
            scene: number,
            start: cue.start,
            end: cue.end,
            start_frame: 0,
            end_frame: 0,
            keyframe: scene.map_or(cue.start, |scene| scene.keyframe),
            transition: "cut",
            text: Some(cue.text.replace('\n', " ")),
            shown: true,
            score: scene.and_then(|scene| scene.score),
            mean_logprob: None,
            similarity: None,
            repeats: None,
            blank: false,
            speech: None,
        }
    }

    /// The track in a format, as `describe` writes it.
    ///
    /// # Errors
    /// If the format cannot be written: never in memory.
    pub fn export(&self, format: Format, folder: &Path) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        write(&self.track(), format, folder, &mut bytes)?;
        Ok(bytes)
    }
}

/// The lines of a text: the editor's own, where each fits.
fn lines(text: &str) -> Vec<String> {
    let fits = text.lines().all(|line| line.chars().count() <= LINE);
    if fits {
        return text.lines().map(Into::into).collect();
    }
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    crate::track::cue::lines(&words, LINE)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{cue, document};
    use super::*;

    #[test]
    fn what_editors_wrote_is_exported() {
        let film = document(vec![
            cue(1, 0, 1_000, "A dog runs\nto & fro."),
            cue(2, 1_000, 2_000, ""),
            cue(3, 2_000, 4_000, "A cat sits on a wall that is longer than all of the others in the street."),
        ]);
        let vtt = String::from_utf8(film.export(Format::Vtt, Path::new("/")).unwrap()).unwrap();
        assert!(vtt.contains("00:00:00.000 --> 00:00:01.000\nA dog runs\nto &amp; fro.\n"), "{vtt}");
        assert!(
            vtt.contains("\nA cat sits on a wall that is longer\nthan all of the others in the street.\n"),
            "{vtt}"
        );
        assert_eq!(vtt.matches("-->").count(), 2);
        for format in [Format::Srt, Format::Json, Format::Csv, Format::Dapt, Format::Html] {
            assert!(!film.export(format, Path::new("/")).unwrap().is_empty());
        }
    }
}
