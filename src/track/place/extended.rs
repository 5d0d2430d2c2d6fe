//! Extended descriptions: the film pauses for a scene that no pause of speech holds.
//!
//! As DCMP has it, such a description comes before what it describes. The film stops just before the scene, where nobody
//! talks, and the whole text is spoken. The cue lasts as long as the quiet there, so it says what is true of every cue: while
//! it lasts, it can be spoken over the film, and for the rest of its text the film has to wait.

use super::pauses::TICK;
use super::plan::PlanWindow;
use super::worth::{FRAGMENT, ONSET, latest, worth};
use super::{PlaceRule, SceneNovelty, wording};
use crate::time::Time;

/// What it costs to stop the film: only a scene that is worth more is described so.
const STOP: i64 = 1_500;
/// Longest cue, in ticks. Players look for the present cue every quarter of a second, so they find one of half a second.
const LONGEST_CUE: usize = 5;
/// Nearest to the scene, there must be quiet for so many ticks, or else for fewer.
const CUES: [usize; 2] = [3, 1];

/// Where the film pauses.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FilmStop {
    /// In ticks of the window.
    pub(super) start: usize,
    /// Length of the cue, in ticks.
    pub(super) ticks: usize,
    /// For how long the film pauses: as long as it takes to speak the whole text, and at least as long as the shortest
    /// description, less the cue. Never zero.
    pub(super) pause: Time,
}

impl PlanWindow<'_> {
    /// Where the film pauses for the first piece, from a tick on; none if the piece is not worth it, or can have no place.
    pub(super) fn stop(&self, from: usize) -> Option<FilmStop> {
        let piece = &self.pieces[0];
        let cost = ONSET + STOP + if piece.is_fragment() { FRAGMENT } else { 0 };
        if self.novelty[0] != SceneNovelty::New || worth(piece, SceneNovelty::New, 0) <= cost {
            return None;
        }
        let tick = |time: Time| (time.micros().div_euclid(TICK) - self.base).clamp(0, self.ticks as i64) as usize;
        let begins = tick(piece.start);
        let earliest = tick(piece.start - self.options.lead + Time::from_micros(TICK - 1));
        let before = from.max(earliest)..begins + 1;
        let within = from.max(begins + 1)..tick(latest(piece, true)) + 1;
        let last_resort = (self.options.rule == PlaceRule::Pauses && begins >= from).then_some((begins, 1));
        let (first, next) = (before.start, within.start);
        let quiet = self.quiet(before.rev(), first).or_else(|| self.quiet(within, next));
        let (start, ticks) = quiet.or(last_resort)?;
        // The shortest texts need less time than the quiet has, but every description is given its least time.
        let spoken =
            wording::micros(piece.wordings[0].units, self.options.pace).max(self.options.min_duration.micros());
        let pause = Time::from_micros(spoken - ticks as i64 * TICK);
        (start + ticks <= self.ticks && pause > Time::ZERO).then_some(FilmStop { start, ticks, pause })
    }

    /// The quiet nearest to a scene: its first tick, and how long a cue may last there. `ticks`: where a cue may begin, the
    /// nearest first; `least`: the first of them in time.
    fn quiet(&self, ticks: impl Iterator<Item = usize> + Clone, least: usize) -> Option<(usize, usize)> {
        let is_quiet = |from: usize, to: usize| to <= self.ticks && self.speech.spoken(from, to) == 0;
        let start = CUES.iter().find_map(|&length| ticks.clone().find(|&tick| is_quiet(tick, tick + length)));
        let (mut from, mut to) = (start?, start? + 1);
        while to - from < LONGEST_CUE && is_quiet(from, to + 1) {
            to += 1;
        }
        while to - from < LONGEST_CUE && from > least && is_quiet(from - 1, to) {
            from -= 1;
        }
        Some((from, to - from))
    }
}
