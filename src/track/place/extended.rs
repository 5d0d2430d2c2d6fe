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
/// Shorter cues, where the quiet is too short; the best first.
const CUES: [usize; 3] = [LONGEST_CUE, 3, 1];

/// Where the film pauses.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FilmStop {
    /// In ticks of the window.
    pub(super) start: usize,
    /// Length of the cue, in ticks.
    pub(super) ticks: usize,
    /// For how long the film pauses: as long as it takes to speak the whole text, less the cue.
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
        let (start, ticks) = self.quiet(before.rev()).or_else(|| self.quiet(within)).or(last_resort)?;
        let spoken = wording::micros(piece.wordings[0].units, self.options.pace);
        let pause = Time::from_micros((spoken - ticks as i64 * TICK).max(0));
        (start + ticks <= self.ticks).then_some(FilmStop { start, ticks, pause })
    }

    /// The first of some ticks from which on nobody talks for as long as a cue, and how long that is.
    fn quiet(&self, ticks: impl Iterator<Item = usize> + Clone) -> Option<(usize, usize)> {
        let is_quiet = |start: usize, length: usize| {
            start + length <= self.ticks && self.speech.spoken(start, start + length) == 0
        };
        CUES.iter().find_map(|&length| ticks.clone().find(|&tick| is_quiet(tick, length)).map(|tick| (tick, length)))
    }
}
