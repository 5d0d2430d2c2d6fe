//! New documents: of a film that descry has described, or of a track that somebody has made.

use super::cue::{CueId, LONGEST_TEXT, MachineCue, ReviewCue, clean};
use super::document::{CueSource, FilmFacts, MOST_CUES, ReviewDocument};
use super::timeline::FilmTimeline;
use crate::error::{Error, Result};
use crate::media::{Dialogue, DialogueLine};
use crate::time::Time;
use crate::track::Track;

impl ReviewDocument {
    /// The document of a film that descry has described.
    ///
    /// # Errors
    /// If it has too many cues.
    pub fn of_track(track: &Track, film: FilmFacts) -> Result<ReviewDocument> {
        let timeline = FilmTimeline::of(track);
        let cues = track.cues.iter().map(|cue| (cue.start, cue.end, cue.lines.join(" ")));
        let cues = new_cues(&film.name, cues, &timeline)?;
        let source = CueSource::Described { model: track.model.clone(), state: None };
        Ok(ReviewDocument::new(film, source, &track.language, cues, timeline))
    }

    /// The document of a film and a track that somebody has made of it, named `name`.
    ///
    /// # Errors
    /// If it has too many cues, or none of them is within the film.
    pub fn of_dialogue(
        dialogue: &Dialogue,
        name: &str,
        film: FilmFacts,
        language: &str,
        timeline: FilmTimeline,
    ) -> Result<ReviewDocument> {
        if let Some(end) = film.duration
            && dialogue.lines.iter().all(|line| line.start >= end)
        {
            let cause = format!("all its cues begin after the end of {}", film.name);
            return Err(Error::input(name, cause, "Give the track that belongs to this film."));
        }
        let cues = dialogue.lines.iter().map(|line: &DialogueLine| (line.start, line.end, line.text.clone()));
        let cues = new_cues(name, cues, &timeline)?;
        let source = CueSource::File { name: name.into(), sha256: dialogue.hash.clone() };
        Ok(ReviewDocument::new(film, source, language, cues, timeline))
    }
}

/// Cues that nobody has edited.
pub(super) fn new_cues(
    name: &str,
    cues: impl Iterator<Item = (Time, Time, String)>,
    timeline: &FilmTimeline,
) -> Result<Vec<ReviewCue>> {
    let cue = |(number, (start, end, text)): (u32, (Time, Time, String))| {
        let to_millis = |time: Time| Time::from_millis(time.millis().max(0));
        let (start, end) = (to_millis(start), to_millis(end));
        let text: String = clean(&text).chars().take(LONGEST_TEXT).collect();
        let machine = MachineCue { start, end, text: text.clone(), scene: timeline.scene_of(start, end) };
        ReviewCue {
            id: CueId(number),
            start,
            end,
            text,
            checked: false,
            note: String::new(),
            version: 0,
            machine: Some(machine),
        }
    };
    let cues: Vec<ReviewCue> = (1..).zip(cues).take(MOST_CUES + 1).map(cue).filter(|c| c.start < c.end).collect();
    if cues.len() > MOST_CUES {
        let cause = format!("has more than {MOST_CUES} cues");
        return Err(Error::input(name, cause, "Divide it, and review each part with its part of the film."));
    }
    Ok(cues)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{film, ms};
    use super::*;
    use crate::track::Cue;

    #[test]
    fn the_cues_of_a_described_film_keep_what_the_machine_said() {
        let mut track = Track::new("film.mp4", "descry-builtin 1");
        let cue = |start, end, text: &str| Cue {
            start: ms(start),
            end: ms(end),
            lines: text.split('|').map(Into::into).collect(),
        };
        track.cues = vec![cue(0, 1_000, "A dog|runs."), cue(1_000, 2_000, "A cat.")];
        let document = ReviewDocument::of_track(&track, film()).unwrap();
        assert_eq!(document.cues[0].text, "A dog runs.");
        assert_eq!(document.cues[1].machine.as_ref().unwrap().text, "A cat.");
        assert_eq!((document.next_id, document.fault()), (3, None));
    }

    #[test]
    fn a_track_of_another_film_is_refused() {
        let line = |start, end| DialogueLine { start: ms(start), end: ms(end), text: "A dog.".into() };
        let dialogue = |lines| Dialogue { hash: "00".into(), lines };
        let open = |lines| {
            let facts = FilmFacts { duration: Some(ms(10_000)), ..film() };
            ReviewDocument::of_dialogue(&dialogue(lines), "a.vtt", facts, "en", FilmTimeline::default())
        };
        let e = open(vec![line(10_000, 12_000)]).unwrap_err().to_string();
        assert!(e.contains("a.vtt") && e.contains("after the end"), "{e}");
        assert_eq!(open(vec![line(9_000, 12_000), line(20_000, 21_000)]).unwrap().cues.len(), 2);
    }
}
