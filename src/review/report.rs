//! How much was changed: so that models can be compared on real work.

use std::time::Duration;

use serde::Serialize;

use super::cue::ReviewCue;
use super::document::ReviewDocument;

/// Two changes that are farther apart are two stretches of work.
const BREAK: Duration = Duration::from_secs(5 * 60);
/// What a change counts for that has none within [`BREAK`] before it: reading and thinking.
const FIRST: Duration = Duration::from_secs(30);

/// What editors did to the descriptions of a film.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReviewReport {
    /// The film's name.
    pub film: String,
    /// The model, or the file that the cues came from.
    pub source: String,
    /// Cues of the machine.
    pub machine_cues: usize,
    /// Of them, those with the same words now.
    pub kept: usize,
    /// Of them, those with other words now.
    pub reworded: usize,
    /// Of them, those that were deleted.
    pub rejected: usize,
    /// Of those that are left, those with other times now.
    pub moved: usize,
    /// Cues that editors added.
    pub added: usize,
    /// Cues that are marked as checked.
    pub checked: usize,
    /// Share of the machine's words that are still there, in their order, 0 to 1; none if it had no words.
    pub words_kept: Option<f64>,
    /// Changes, those included that were undone.
    pub changes: u64,
    /// Minutes of work: the time between changes, without breaks of more than five minutes.
    pub minutes_of_work: f64,
    /// The same, per minute of film; none if the film's length is not known.
    pub work_per_minute_of_film: Option<f64>,
}

impl ReviewDocument {
    /// What editors did.
    pub fn report(&self) -> ReviewReport {
        let machine = |cue: &&ReviewCue| cue.machine.is_some();
        let left: Vec<&ReviewCue> = self.cues.iter().filter(machine).collect();
        let rejected = self.deleted.iter().filter(machine).count();
        let of = |cue: &ReviewCue, test: fn(&super::MachineCue, &ReviewCue) -> bool| {
            cue.machine.as_ref().is_some_and(|machine| test(machine, cue))
        };
        let kept = left.iter().filter(|cue| of(cue, |machine, cue| words(&machine.text) == words(&cue.text))).count();
        let moved = left.iter().filter(|cue| of(cue, |m, cue| (m.start, m.end) != (cue.start, cue.end))).count();
        let said = self.cues.iter().chain(&self.deleted).filter_map(|cue| cue.machine.as_ref());
        let all_words: usize = said.map(|machine| words(&machine.text).len()).sum();
        let kept_words: usize = left.iter().map(|cue| common(cue)).sum();
        let minutes = self.work().as_secs_f64() / 60.0;
        let film_minutes = self.film.duration.map(|d| d.secs() / 60.0).filter(|m| *m > 0.0);
        ReviewReport {
            film: self.film.name.clone(),
            source: match &self.source {
                super::CueSource::Described { model, .. } => model.clone(),
                super::CueSource::File { name, .. } => name.clone(),
            },
            machine_cues: left.len() + rejected,
            kept,
            reworded: left.len() - kept,
            rejected,
            moved,
            added: self.cues.len() - left.len(),
            checked: self.cues.iter().filter(|cue| cue.checked).count(),
            words_kept: (all_words > 0).then(|| kept_words as f64 / all_words as f64),
            changes: self.revision,
            minutes_of_work: minutes,
            work_per_minute_of_film: film_minutes.map(|film| minutes / film),
        }
    }

    /// How long editors have worked, as far as their changes show.
    fn work(&self) -> Duration {
        let mut moments: Vec<_> = self
            .history
            .iter()
            .flat_map(|change| [change.since.as_deref(), Some(&*change.time)])
            .flatten()
            .filter_map(|time| humantime::parse_rfc3339(time).ok())
            .collect();
        moments.sort_unstable();
        let first = moments.first().map(|_| FIRST);
        let between = moments.windows(2).map(|pair| match pair[1].duration_since(pair[0]) {
            Ok(time) if time <= BREAK => time,
            _ => FIRST,
        });
        first.into_iter().chain(between).sum()
    }
}

/// The words of a text, without case and punctuation.
fn words(text: &str) -> Vec<String> {
    let word = |word: &str| word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
    text.split_whitespace().map(word).filter(|word| !word.is_empty()).collect()
}

/// Words of the machine that a cue still has, in their order: the longest common subsequence.
fn common(cue: &ReviewCue) -> usize {
    let Some(machine) = &cue.machine else { return 0 };
    let (a, b) = (words(&machine.text), words(&cue.text));
    let mut row = vec![0usize; b.len() + 1];
    for word in &a {
        let mut diagonal = 0;
        for (at, other) in b.iter().enumerate() {
            let above = row[at + 1];
            row[at + 1] = if word == other { diagonal + 1 } else { above.max(row[at]) };
            diagonal = above;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::super::tests::{cue, document, edit, ms, seen};
    use super::super::{Edit, NewParts};

    #[test]
    fn what_editors_did_is_counted() {
        let mut film = document(vec![
            cue(1, 0, 1_000, "A dog runs."),
            cue(2, 1_000, 2_000, "A black cat sits there."),
            cue(3, 2_000, 3_000, "A cow."),
        ]);
        film.film.duration = Some(ms(120_000));
        let to = |text: &str| NewParts { text: Some(text.into()), ..NewParts::default() };
        let second = seen(&film, 2);
        edit(&mut film, Edit::Change { cue: second, to: to("A cat sits on a wall."), continues: None }, "10:00:00");
        let third = seen(&film, 3);
        edit(&mut film, Edit::Delete { cues: vec![third] }, "10:01:00");
        let first = seen(&film, 1);
        let to = NewParts { end: Some(ms(900)), ..to("A dog runs") };
        edit(&mut film, Edit::Change { cue: first, to, continues: None }, "11:00:00");
        edit(&mut film, Edit::Add { start: ms(5_000), end: ms(6_000), text: "A hen.".into() }, "11:00:30");
        let report = film.report();
        let counts = (report.machine_cues, report.kept, report.reworded, report.rejected, report.moved, report.added);
        assert_eq!(counts, (3, 1, 1, 1, 1, 1));
        // Of 10 words: 3, "a cat sits", none.
        assert_eq!(report.words_kept, Some(0.6));
        // 30 s, a minute, a break, half a minute.
        assert_eq!((report.minutes_of_work, report.work_per_minute_of_film), (2.5, Some(1.25)));
    }

    #[test]
    fn nothing_was_done_to_a_new_document() {
        let report = document(Vec::new()).report();
        assert_eq!((report.words_kept, report.minutes_of_work, report.changes), (None, 0.0, 0));
    }
}
