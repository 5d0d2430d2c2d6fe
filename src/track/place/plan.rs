//! The best places in a window, by dynamic programming.
//!
//! `after[n][t]` is the most that the pieces from the *n*th on can be worth if the description before them ends at tick *t*.
//! The *n*th is left out, or begins at some tick, alone or with the next short ones, in one of its wordings. Those that begin
//! soon after *t* pay for it; of the others, the best is a running maximum from the right. So the work is linear in pieces,
//! wordings and ticks.

use super::joiner::SceneRun;
use super::pauses::{TICK, TalkWindow};
use super::wording;
use super::worth::{FRAGMENT, HASTE, ONSET, cost, latest, over_speech, price, unrest, worth};
use super::{PlaceObstacle, PlaceOptions, PlaceRule, SceneNovelty};
use crate::time::Time;

/// Pieces in a window, at most.
pub(super) const MOST_PIECES: usize = 12;
/// Pieces that share a sentence, at most.
const MOST_MERGED: usize = 3;
/// Only shots that are not longer share a sentence: too short for one of their own, as a caption of seven words has it.
const LONGEST_MERGED: Time = Time::from_millis(2_500);
/// The same where one of two texts is a fragment, which had better not stand alone.
const LONGEST_BESIDE_FRAGMENT: Time = Time::from_millis(4_000);
/// A hasty description takes 5/6 of its time: it is spoken faster by a fifth.
const HASTY: (i64, i64) = (5, 6);

/// A part of a film for which places are sought.
pub(super) struct PlanWindow<'a> {
    pub(super) options: &'a PlaceOptions,
    pub(super) pieces: &'a [SceneRun],
    /// What is new about each piece, considering what has been spoken.
    pub(super) novelty: Vec<SceneNovelty>,
    /// The first tick.
    pub(super) base: i64,
    /// How many there are. A description ends before the last one does.
    pub(super) ticks: usize,
    pub(super) speech: TalkWindow,
}

/// One way to say the next pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Phrasing {
    /// What each piece is worth, and when its part ends, in ticks since the beginning.
    parts: Vec<(i64, usize)>,
    /// Which wording of each piece, if it has so many; otherwise its shortest.
    pub(super) level: usize,
    pub(super) hasty: bool,
    /// What it costs wherever it is.
    fixed: i64,
    /// Whether it may be spoken where there is no pause.
    last_resort: bool,
}

impl Phrasing {
    /// How many pieces it describes.
    pub(super) fn count(&self) -> usize {
        self.parts.len()
    }

    /// How long it takes, in ticks.
    pub(super) fn ticks(&self) -> usize {
        self.parts.last().map_or(0, |part| part.1)
    }
}

/// The next description, and when it begins, in ticks of the window.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) phrasing: Phrasing,
    pub(super) start: usize,
}

/// Whether a piece and the next one may share a sentence, as far as this depends on the two.
fn may_share(piece: &SceneRun, next: &SceneRun) -> bool {
    let (first, second) = (piece.is_fragment(), next.is_fragment());
    let longest = if first || second { LONGEST_BESIDE_FRAGMENT } else { LONGEST_MERGED };
    let short = |piece: &SceneRun| piece.end - piece.start <= longest;
    piece.end == next.start && short(piece) && (short(next) || first)
}

impl PlanWindow<'_> {
    /// The best for the first piece: none if it is better left out. Also returns what all pieces are worth then. `from`: the
    /// first free tick of the window; `end`: when the description before it ends, if there is one. Of equal choices it prefers
    /// silence, then the fullest text, then the earliest place.
    pub(super) fn choose(&self, from: usize, end: Option<i64>) -> (Option<Chosen>, i64) {
        let (begun, after) = self.best();
        let rested = |start: usize| end.map_or(0, |end| self.unrest(end, start));
        let without =
            begun.iter().skip(1).flat_map(|begun| (from..=self.ticks).map(|start| begun[start] - rested(start)));
        let (mut chosen, mut most) = (None, without.fold(0, i64::max));
        for phrasing in self.phrasings(0) {
            for start in self.starts(0).filter(|&start| start >= from) {
                let Some(points) = self.points(0, &phrasing, start) else { continue };
                let all = points - rested(start) + after[phrasing.count()][start + phrasing.ticks()];
                if all > most {
                    (chosen, most) = (Some(Chosen { phrasing: phrasing.clone(), start }), all);
                }
            }
        }
        (chosen, most)
    }

    /// What a description costs because it begins so soon after the end of the one before.
    fn unrest(&self, end: i64, start: usize) -> i64 {
        unrest(self.options.rest, Time::from_micros((start as i64 - end).saturating_mul(TICK)))
    }

    /// For each piece and tick, the most that it and those after it can be worth if its description begins there, and if a
    /// description before it ends there. The first piece is left out; of the second, there is one more, after the last piece.
    fn best(&self) -> (Vec<Vec<i64>>, Vec<Vec<i64>>) {
        let count = self.pieces.len();
        let (mut begun, mut after) = (vec![Vec::new(); count], vec![Vec::new(); count + 1]);
        after[count] = vec![0; self.ticks + 1];
        let unrest: Vec<i64> = (0..).map(|ticks| self.unrest(0, ticks)).take_while(|cost| *cost > 0).collect();
        for n in (1..count).rev() {
            let mut placed = vec![0; self.ticks + 1];
            for phrasing in self.phrasings(n) {
                for start in self.starts(n) {
                    if let Some(points) = self.points(n, &phrasing, start) {
                        let all = points + after[n + phrasing.count()][start + phrasing.ticks()];
                        placed[start] = placed[start].max(all);
                    }
                }
            }
            let (mut best, mut later) = (after[n + 1].clone(), 0);
            for (end, best) in best.iter_mut().enumerate().rev() {
                later = later.max(placed.get(end + unrest.len()).copied().unwrap_or(0));
                let soon = placed[end..].iter().zip(&unrest).map(|(placed, unrest)| placed - unrest);
                *best = soon.fold(later.max(*best), i64::max);
            }
            (begun[n], after[n]) = (placed, best);
        }
        (begun, after)
    }

    /// The ticks at which a description of a piece may begin.
    fn starts(&self, n: usize) -> std::ops::Range<usize> {
        let piece = &self.pieces[n];
        let first = (piece.start - self.options.lead).micros().div_euclid(TICK) - self.base;
        // A shot may be shorter than a tick.
        let last = latest(piece, self.is_followed(n)).micros().div_euclid(TICK);
        let last = last.max(piece.start.micros().div_euclid(TICK) + 1) - self.base;
        let within = |tick: i64| tick.clamp(0, self.ticks as i64) as usize;
        within(first)..within(last + 1)
    }

    /// Whether the scene behind a piece has a description too. What is behind a full window may not be known yet.
    fn is_followed(&self, n: usize) -> bool {
        self.pieces.get(n + 1).map_or(self.pieces.len() == MOST_PIECES, |next| next.start == self.pieces[n].end)
    }

    pub(super) fn time(&self, tick: usize) -> Time {
        Time::from_micros((self.base + tick as i64).saturating_mul(TICK))
    }

    /// What a description is worth at a tick, after its costs; none if it may not be there.
    pub(super) fn points(&self, n: usize, phrasing: &Phrasing, start: usize) -> Option<i64> {
        let end = start + phrasing.ticks();
        if end > self.ticks {
            return None;
        }
        let mut points = -phrasing.fixed;
        if !self.speech.is_pause(start, end) {
            let spoken = self.speech.spoken(start, end);
            let silent = self.options.rule == PlaceRule::Strict || self.options.extended;
            if !phrasing.last_resort || (silent && spoken > 0) {
                return None;
            }
            points -= over_speech(spoken);
        }
        let mut begins = self.time(start);
        for (m, &(worth, part)) in (n..).zip(&phrasing.parts) {
            let ends = self.time(start + part);
            points += worth - self.cost(m, begins, ends)?;
            begins = ends;
        }
        Some(points)
    }

    /// All ways to say the pieces from the *n*th on: it alone, and with the next ones; from the whole text to the shortest.
    pub(super) fn phrasings(&self, n: usize) -> Vec<Phrasing> {
        let piece = &self.pieces[n];
        let mut all = Vec::new();
        let mut levels: Vec<usize> = (0..piece.wordings.len()).filter(|&l| piece.wordings[l].alone).collect();
        let shortest = levels.pop();
        let mut shortest_ones = Vec::new();
        for hasty in [false, true] {
            all.extend(levels.iter().filter_map(|&level| self.phrasing(n, 1, level, hasty)));
            shortest_ones.extend(shortest.and_then(|level| self.phrasing(n, 1, level, hasty)));
        }
        if !self.has_pause(n, &shortest_ones) {
            shortest_ones.iter_mut().for_each(|phrasing| phrasing.last_resort = true);
        }
        all.extend(shortest_ones);
        for count in 2..=self.mergeable(n) {
            let levels = self.pieces[n..n + count].iter().map(|p| p.wordings.len()).max().unwrap_or(0);
            for hasty in [false, true] {
                all.extend((0..levels).filter_map(|level| self.phrasing(n, count, level, hasty)));
            }
        }
        all
    }

    /// How many pieces from the *n*th on may share a sentence.
    fn mergeable(&self, n: usize) -> usize {
        let pieces = &self.pieces[n..];
        let mut count = 1;
        while count < pieces.len().min(MOST_MERGED)
            && may_share(&pieces[count - 1], &pieces[count])
            && pieces[..count].iter().all(|piece| piece.text() != pieces[count].text())
        {
            count += 1;
        }
        count
    }

    /// A number of pieces in one sentence; none if one of them is worth nothing.
    fn phrasing(&self, n: usize, count: usize, level: usize, hasty: bool) -> Option<Phrasing> {
        let (mut parts, mut units, mut usual) = (Vec::with_capacity(count), 0, 0);
        for m in n..n + count {
            let piece = &self.pieces[m];
            let level = level.min(piece.wordings.len() - 1);
            let points = worth(piece, self.novelty[m], level);
            if points == 0 {
                return None;
            }
            units += piece.wordings[level].units;
            if count > 1 && m + 1 == n + count {
                units += wording::joint();
            }
            usual = wording::micros(units, self.options.pace);
            let taken = if hasty { usual * HASTY.0 / HASTY.1 } else { usual };
            parts.push((points, taken.max(self.shortest(m + 1 == n + count)) as u64));
        }
        let taken = parts.last().map_or(0, |part| part.1 as i64);
        let saved = usual - taken;
        if hasty && saved <= 0 {
            return None;
        }
        let parts = parts.into_iter().map(|(points, micros)| (points, micros.div_ceil(TICK as u64) as usize)).collect();
        let fragment = count == 1 && self.pieces[n].wordings[level].fragment;
        let fixed = ONSET + if hasty { price(saved, HASTE) } else { 0 } + if fragment { FRAGMENT } else { 0 };
        Some(Phrasing { parts, level, hasty, fixed, last_resort: false })
    }

    /// The least that a description takes, in microseconds; nothing for a part of one.
    fn shortest(&self, whole: bool) -> i64 {
        if whole { self.options.min_duration.micros().max(TICK) } else { 0 }
    }

    /// Whether a pause near a piece holds one of its phrasings.
    fn has_pause(&self, n: usize, phrasings: &[Phrasing]) -> bool {
        let fits = |phrasing: &Phrasing, start: usize| {
            let end = start + phrasing.ticks();
            end <= self.ticks && self.speech.is_pause(start, end) && self.is_near(n, phrasing, start)
        };
        phrasings.iter().any(|phrasing| self.starts(n).any(|start| fits(phrasing, start)))
    }

    /// Whether a phrasing of one piece may be at a tick, speech aside.
    fn is_near(&self, n: usize, phrasing: &Phrasing, start: usize) -> bool {
        self.cost(n, self.time(start), self.time(start + phrasing.ticks())).is_some()
    }

    fn cost(&self, n: usize, start: Time, end: Time) -> Option<i64> {
        cost(&self.pieces[n], self.is_followed(n), self.options.lead, (start, end))
    }

    /// What is in the way of the first piece.
    pub(super) fn obstacle(&self) -> PlaceObstacle {
        let alone: Vec<Phrasing> = self.phrasings(0).into_iter().filter(|p| p.count() == 1).collect();
        if alone.is_empty() {
            return PlaceObstacle::Worth;
        }
        let fits =
            |p: &Phrasing| self.starts(0).any(|start| start + p.ticks() <= self.ticks && self.is_near(0, p, start));
        if !alone.iter().any(fits) {
            return PlaceObstacle::Length;
        }
        if !self.has_pause(0, &alone) {
            return PlaceObstacle::Speech;
        }
        let points = |p: &Phrasing| self.starts(0).filter_map(|start| self.points(0, p, start)).max();
        match alone.iter().filter_map(points).max() {
            Some(most) if most > 0 => PlaceObstacle::Others,
            _ => PlaceObstacle::Worth,
        }
    }
}
