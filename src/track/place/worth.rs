//! What a description is worth, and what its place costs, in points.
//!
//! A point is a millisecond of a new scene that is described rightly and in full. Costs are so chosen that they order what a
//! listener would choose between: a description on time before a late one, a shorter one in a pause before a longer one in
//! haste, and silence before a word over speech, unless the scene is long and new.

use super::SceneNovelty;
use super::joiner::SceneRun;
use crate::time::Time;

/// A longer scene is not worth more: one description says what is to be seen.
const LONGEST_WORTH: Time = Time::from_millis(10_000);
/// What interrupting costs: nobody wants to hear of every shot.
pub(super) const ONSET: i64 = 500;
/// What it costs that a fragment stands alone: it had better share a sentence.
pub(super) const FRAGMENT: i64 = 700;
/// A second that is missing of the rest after a description.
const UNREST: i64 = 200;
/// A second by which a description comes before its scene.
const EARLY: i64 = 300;
/// A second by which it comes after the beginning of its scene.
const LATE: i64 = 100;
/// A second by which it goes on after its scene.
const BEHIND: i64 = 250;
/// What it costs to talk over somebody at all,
const INTERRUPTION: i64 = 1_500;
/// and each second of it.
const OVER_SPEECH: i64 = 2_000;
/// A second that is gained by haste.
pub(super) const HASTE: i64 = 500;

/// A description begins at least so long before the end of its scene, or at its beginning. One that begins with the next
/// scene would seem to be about that. So one that begins later
const BEFORE_END: Time = Time::from_millis(500);
/// costs so much.
const PAST: i64 = 500;
/// Where the next scene has no description, one may begin so long after its scene, in a pause that begins there.
const AFTER_END: Time = Time::from_millis(1_000);
/// How long after its scene a description may go on, if the next scene has one too,
const TRAIL: Time = Time::from_millis(2_000);
/// and if not.
pub(super) const LONGEST_TRAIL: Time = Time::from_millis(3_000);

/// Points for a number of microseconds at a price for each second.
pub(super) fn price(micros: i64, second: i64) -> i64 {
    micros * second / 1_000_000
}

/// What it costs to talk over speech for so many microseconds.
pub(super) fn over_speech(micros: i64) -> i64 {
    if micros > 0 { INTERRUPTION + price(micros, OVER_SPEECH) } else { 0 }
}

/// What it costs to begin a description so long after the one before, if a listener is to have a rest.
pub(super) fn unrest(rest: Time, since: Time) -> i64 {
    price((rest - since).micros().max(0), UNREST)
}

/// What is new, in thousandths.
fn novelty(novelty: SceneNovelty) -> i64 {
    match novelty {
        SceneNovelty::New => 1_000,
        SceneNovelty::Returning => 100,
        SceneNovelty::Same => 0,
    }
}

/// What a wording of a piece is worth, if it is heard: score × novelty × length × completeness. Captions go from the general
/// to the particular, so half of the words say three quarters: completeness is 1 - (1 - f)², with the share of words f.
pub(super) fn worth(piece: &SceneRun, heard_as: SceneNovelty, level: usize) -> i64 {
    let length = (piece.end - piece.start).min(LONGEST_WORTH).micros() / 1_000;
    let (whole, units) = (piece.wordings[0].units.max(1), piece.wordings[level].units);
    let missing = (whole - units).max(0) * 1_000 / whole;
    let complete = 1_000_000 - missing * missing;
    length * piece.score / 1_000 * novelty(heard_as) / 1_000 * complete / 1_000_000
}

/// When a description of a piece begins at the latest. `followed`: whether the scene behind it has one too.
pub(super) fn latest(piece: &SceneRun, followed: bool) -> Time {
    if followed { before_end(piece) } else { piece.close() + AFTER_END }
}

/// The last moment at which a description seems to be about a piece.
fn before_end(piece: &SceneRun) -> Time {
    (piece.close() - BEFORE_END).max(piece.start)
}

/// What it costs to speak a description of a piece at a time, speech and haste aside; none if it may not be there.
pub(super) fn cost(piece: &SceneRun, followed: bool, lead: Time, (start, end): (Time, Time)) -> Option<i64> {
    let (early, late, behind) = (piece.start - start, start - piece.start, end - piece.close());
    let (last, trail) = if followed { (piece.close(), TRAIL) } else { (latest(piece, false), LONGEST_TRAIL) };
    if early > lead || start > last || behind > trail {
        return None;
    }
    let costs = [(early, EARLY), (late, LATE), (behind, BEHIND)];
    let timing: i64 = costs.iter().map(|&(time, second)| price(time.micros().max(0), second)).sum();
    Some(timing + if start > before_end(piece) { PAST } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::track::place::wording::wordings;

    fn piece(start: i64, end: i64) -> SceneRun {
        SceneRun {
            start: Time::from_millis(start),
            end: Time::from_millis(end),
            scenes: 0..1,
            wordings: wordings("A man in a suit standing on a sandy beach."),
            score: 800,
            novelty: SceneNovelty::New,
        }
    }

    #[test]
    fn worth_is_score_times_novelty_times_length_times_completeness() {
        let four = piece(10_000, 14_000);
        let levels: Vec<i64> = (0..3).map(|level| worth(&four, SceneNovelty::New, level)).collect();
        assert_eq!(levels, [3_200, 2_400, 1_152]);
        assert_eq!(worth(&four, SceneNovelty::Returning, 0), 320);
        assert_eq!(worth(&four, SceneNovelty::Same, 0), 0);
        assert_eq!(worth(&piece(0, 20_000), SceneNovelty::New, 0), 8_000);
    }

    #[test]
    fn descriptions_leave_a_rest() {
        let unrest = |millis: i64| unrest(Time::from_millis(2_000), Time::from_millis(millis));
        assert_eq!((unrest(0), unrest(1_000), unrest(3_000), unrest(9_000)), (400, 200, 0, 0));
    }

    #[test]
    fn a_description_belongs_to_its_scene() {
        let ms = Time::from_millis;
        let at = |followed: bool, start: i64, end: i64| {
            cost(&piece(10_000, 14_000), followed, ms(2_000), (ms(start), ms(end)))
        };
        assert_eq!(at(true, 10_000, 12_000), Some(0));
        assert_eq!((at(true, 8_000, 9_000), at(true, 7_900, 9_000)), (Some(600), None));
        assert_eq!((at(true, 13_500, 14_000), at(true, 13_600, 14_000)), (Some(350), Some(860)));
        // 400 for 4 s of delay, 500 because the scene is over, 500 for 2 s behind it.
        assert_eq!(
            (at(true, 14_000, 16_000), at(true, 14_000, 16_100), at(true, 14_100, 15_000)),
            (Some(1_400), None, None)
        );
        assert_eq!(
            (at(false, 15_000, 17_000), at(false, 15_000, 17_100), at(false, 15_100, 16_000)),
            (Some(1_750), None, None)
        );
        assert_eq!(
            [(true, 4_000), (true, 300), (false, 300)].map(|(followed, end)| latest(&piece(0, end), followed).millis()),
            [3_500, 0, 1_300]
        );
    }
}
