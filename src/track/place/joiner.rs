//! Scenes into runs with the same text, and long runs into pieces.

use std::ops::Range;

use super::wording::{Wording, wordings};
use super::{PlaceableScene, SceneNovelty};
use crate::time::Time;
use crate::track::cue::sentence;

/// A longer run is several pieces, so that a decision need not wait for its end. The length of a piece also bounds how late a
/// description comes.
pub(super) const LONGEST_PIECE: Time = Time::from_millis(30_000);
/// A run is at most so many pieces: an hour. The last one is as long as the rest.
const MOST_PIECES: usize = 120;

/// A stretch with one description: a run of scenes with the same text, or a piece of a long one.
#[derive(Debug, Clone)]
pub(super) struct SceneRun {
    pub(super) start: Time,
    pub(super) end: Time,
    /// The scenes that it holds, as they were pushed.
    pub(super) scenes: Range<usize>,
    /// From the whole text to the shortest.
    pub(super) wordings: Vec<Wording>,
    /// In thousandths.
    pub(super) score: i64,
    pub(super) novelty: SceneNovelty,
}

impl SceneRun {
    /// The whole text.
    pub(super) fn text(&self) -> &str {
        self.wordings.first().map_or("", |w| &w.text)
    }

    /// Whether its whole text says too little alone.
    pub(super) fn is_fragment(&self) -> bool {
        self.wordings.first().is_none_or(|w| w.fragment)
    }

    /// When a description of it is late, at the latest.
    pub(super) fn close(&self) -> Time {
        self.end.min(self.start + LONGEST_PIECE)
    }
}

/// Makes pieces of scenes that come in order.
#[derive(Debug, Default)]
pub(super) struct Joiner {
    /// Everything before this is in pieces, or has no text.
    covered: Time,
    /// How many scenes have been pushed.
    count: usize,
    /// May still grow.
    open: Option<SceneRun>,
    /// How many pieces its run has been cut into.
    cuts: usize,
}

impl Joiner {
    /// Adds the next scene, and those pieces to `out` that cannot grow any more.
    pub(super) fn push(&mut self, scene: &PlaceableScene, out: &mut impl Extend<SceneRun>) {
        let position = self.count;
        self.count += 1;
        let (start, end) = (scene.start.max(self.covered), scene.end);
        if end <= start {
            return;
        }
        self.covered = end;
        let text = scene.text.as_deref().map(sentence).unwrap_or_default();
        match &mut self.open {
            Some(open) if open.end == start && open.text() == text => {
                open.end = end;
                open.scenes.end = position + 1;
                open.novelty = open.novelty.max(scene.novelty);
            }
            _ => {
                out.extend(self.open.take());
                self.cuts = 0;
                self.open = (!text.is_empty()).then(|| SceneRun {
                    start,
                    end,
                    scenes: position..position + 1,
                    wordings: wordings(&text),
                    score: scene.score.map_or(1_000, thousandths),
                    novelty: scene.novelty,
                });
            }
        }
        self.cut(position, out);
    }

    /// Cuts pieces off a long run.
    fn cut(&mut self, position: usize, out: &mut impl Extend<SceneRun>) {
        let Some(open) = &mut self.open else { return };
        while open.end - open.start > LONGEST_PIECE && self.cuts < MOST_PIECES {
            self.cuts += 1;
            let at = open.start + LONGEST_PIECE;
            out.extend([SceneRun { end: at, ..open.clone() }]);
            (open.start, open.scenes.start, open.novelty) = (at, position, SceneNovelty::Same);
        }
    }

    /// No scene follows.
    pub(super) fn finish(&mut self) -> Option<SceneRun> {
        self.open.take()
    }

    /// Before this, all pieces are known.
    pub(super) fn known(&self) -> Time {
        self.open.as_ref().map_or(self.covered, |open| open.start)
    }

    /// When the last scene ends.
    pub(super) fn covered(&self) -> Time {
        self.covered
    }
}

fn thousandths(score: f32) -> i64 {
    (f64::from(score).clamp(0.0, 1.0) * 1_000.0).round() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(scenes: &[(i64, i64, &str)]) -> Vec<(i64, i64, Range<usize>, SceneNovelty)> {
        let (mut joiner, mut out) = (Joiner::default(), Vec::new());
        for &(start, end, text) in scenes {
            let scene = PlaceableScene {
                start: Time::from_millis(start),
                end: Time::from_millis(end),
                text: Some(text.to_string()),
                score: None,
                novelty: SceneNovelty::New,
            };
            joiner.push(&scene, &mut out);
        }
        out.extend(joiner.finish());
        out.into_iter().map(|p| (p.start.millis(), p.end.millis(), p.scenes, p.novelty)).collect()
    }

    use SceneNovelty::{New, Same};

    #[test]
    fn scenes_with_one_text_are_one_piece() {
        let got =
            pieces(&[(0, 8_000, "a dog"), (8_000, 9_000, "A dog."), (9_000, 9_500, " "), (9_500, 12_000, "a dog")]);
        assert_eq!(got, [(0, 9_000, 0..2, New), (9_500, 12_000, 3..4, New)]);
        let cut = pieces(&[(-500, 3_000, "a dog"), (2_000, 2_500, "a cat"), (2_000, 4_000, "a cat")]);
        assert_eq!(cut, [(0, 3_000, 0..1, New), (3_000, 4_000, 2..3, New)]);
    }

    #[test]
    fn a_long_run_is_cut() {
        let got = pieces(&[(0, 8_000, "a dog"), (8_000, 70_000, "a dog"), (70_000, 71_000, "a cat")]);
        let want = [(0, 30_000, 0..2, New), (30_000, 60_000, 1..2, Same), (60_000, 70_000, 1..2, Same)];
        assert_eq!(got[..3], want);
        assert_eq!(got.len(), 4);
        assert_eq!(pieces(&[(0, i64::MAX, "a dog")]).len(), MOST_PIECES + 1);
    }
}
