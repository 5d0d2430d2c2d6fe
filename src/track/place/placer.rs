//! Scene after scene: a window moves over the film, and the first scene in it is decided.

use std::collections::VecDeque;

use super::extended::FilmStop;
use super::joiner::{Joiner, SceneRun};
use super::pauses::{KnownSpeech, TICK};
use super::plan::{Chosen, MOST_PIECES, PlanWindow};
use super::wording::joined;
use super::worth::LONGEST_TRAIL;
use super::{PlaceDecision, PlaceOptions, PlaceableScene, PlacedCue, SceneNovelty, UnplacedScene};
use crate::speech::SpeechUpdate;
use crate::time::Time;

/// How far a decision looks ahead of its scene.
const LOOK_AHEAD: Time = Time::from_millis(60_000);
/// Texts that are remembered because nobody has heard them, or because they have been spoken lately.
const MOST_TEXTS: usize = 64;
/// For how long a text that has been spoken is no news, whatever the picture: "A man." again and again says nothing.
const LATELY: Time = Time::from_millis(60_000);
/// Longest that a description may precede its scene, and longest rest. Both bound the work.
const LONGEST: Time = Time::from_millis(10_000);

/// Places descriptions; see [`crate::track::place`].
#[derive(Debug)]
pub struct Placer {
    options: PlaceOptions,
    joiner: Joiner,
    /// What is not decided yet.
    pieces: VecDeque<SceneRun>,
    speech: KnownSpeech,
    /// Texts of scenes that were not described, the oldest first.
    unheard: VecDeque<String>,
    /// What has been spoken lately, and until when, the oldest first.
    spoken_lately: VecDeque<(Time, String)>,
    /// When the first scene begins.
    origin: Option<Time>,
    /// The first tick that is free.
    free: i64,
    /// Whether a description ends there.
    spoken: bool,
    /// The end of the film, once it is known.
    end: Option<Time>,
}

impl Placer {
    /// Starts a film.
    pub fn new(options: &PlaceOptions) -> Placer {
        let (lead, rest) = (options.lead.clamp(Time::ZERO, LONGEST), options.rest.clamp(Time::ZERO, LONGEST));
        Placer {
            options: PlaceOptions { lead, rest, ..options.clone() },
            joiner: Joiner::default(),
            pieces: VecDeque::new(),
            speech: KnownSpeech::default(),
            unheard: VecDeque::new(),
            spoken_lately: VecDeque::new(),
            origin: None,
            free: 0,
            spoken: false,
            end: None,
        }
    }

    /// Adds the next scene, in order of time. Returns what is decided now.
    pub fn push(&mut self, scene: &PlaceableScene) -> Vec<PlaceDecision> {
        if self.origin.is_none() {
            let origin = scene.start.max(Time::ZERO);
            self.free = origin.micros().div_euclid(TICK) + i64::from(origin.micros() % TICK != 0);
            self.origin = Some(origin);
        }
        self.joiner.push(scene, &mut self.pieces);
        self.decide()
    }

    /// Adds what has become known of the speech. Returns what is decided now.
    pub fn hear(&mut self, update: &SpeechUpdate) -> Vec<PlaceDecision> {
        self.speech.hear(update);
        self.decide()
    }

    /// No scene and no news of speech follow, and the film ends at `end`, or with its last scene if that is later. Where
    /// speech is not known, nobody talks. Returns all other decisions.
    pub fn finish(&mut self, end: Time) -> Vec<PlaceDecision> {
        self.speech.finish();
        self.pieces.extend(self.joiner.finish());
        self.end = Some(end.max(self.joiner.covered()));
        self.decide()
    }

    fn decide(&mut self) -> Vec<PlaceDecision> {
        let mut out = Vec::new();
        while let Some(decision) = self.next() {
            out.extend(decision);
        }
        out
    }

    /// Decides about the first piece. None if it has to wait; nothing inside if it has been described already.
    fn next(&mut self) -> Option<Option<PlaceDecision>> {
        let first = self.pieces.front()?;
        if self.heard_as(first) == SceneNovelty::Same {
            self.pieces.pop_front();
            return Some(None);
        }
        let (horizon, count) = self.window()?;
        if !self.speech.knows(horizon) {
            return None;
        }
        let earliest = first.start.max(self.origin.unwrap_or_default()) - self.options.lead;
        let base = earliest.micros().div_euclid(TICK).max(0);
        self.speech.forget(base);
        let ticks = (horizon.micros().div_euclid(TICK) - base).max(0) as usize;
        let novelty = self.novelties(count);
        let pieces = &self.pieces.make_contiguous()[..count];
        let plan = PlanWindow {
            options: &self.options,
            pieces,
            novelty,
            base,
            ticks,
            speech: self.speech.within(base, ticks),
        };
        let from = (self.free - base).max(0) as usize;
        let end = self.spoken.then_some(self.free - base);
        let (decision, taken) = match plan.choose(from, end).0 {
            Some(chosen) => {
                self.spoken = true;
                self.free = base + (chosen.start + chosen.phrasing.ticks()) as i64;
                (PlaceDecision::Cue(cue(&plan, &chosen)), chosen.phrasing.count())
            }
            None => match plan.stop(from).filter(|_| self.options.extended) {
                Some(stop) => {
                    self.spoken = true;
                    self.free = base + (stop.start + stop.ticks) as i64;
                    (PlaceDecision::Cue(extended(&plan, &stop)), 1)
                }
                None => (PlaceDecision::Unplaced(unplaced(&plan)), 1),
            },
        };
        let unheard = plan.novelty[0] == SceneNovelty::New && matches!(decision, PlaceDecision::Unplaced(_));
        let texts: Vec<String> = self.pieces.drain(..taken).map(|piece| piece.text().to_string()).collect();
        self.remember(texts, &decision, unheard);
        Some(Some(decision))
    }

    /// Up to when a decision about the first piece looks, and at how many pieces; none if they are not known yet.
    fn window(&self) -> Option<(Time, usize)> {
        let horizon = self.pieces.front()?.start + LOOK_AHEAD;
        let count = self.pieces.iter().take(MOST_PIECES).take_while(|piece| piece.start < horizon).count();
        let all = self.pieces.len() == count;
        if all && self.end.is_none() && self.joiner.known() < horizon {
            return None;
        }
        // The end of the film matters only where it may be known: before the horizon, it is.
        let end = self.end.filter(|_| all).unwrap_or(Time::MAX);
        let last = self.pieces[count - 1].close() + LONGEST_TRAIL;
        Some((horizon.min(end).min(last), count))
    }

    /// What is new about a piece, considering what has been spoken.
    fn heard_as(&self, piece: &SceneRun) -> SceneNovelty {
        if self.unheard.iter().any(|text| text == piece.text()) {
            return SceneNovelty::New;
        }
        let lately = |spoken: &(Time, String)| piece.start - spoken.0 < LATELY && spoken.1 == piece.text();
        if self.spoken_lately.iter().any(lately) { piece.novelty.min(SceneNovelty::Returning) } else { piece.novelty }
    }

    /// What is new about the first pieces. Of those with one text, the first is expected to be described.
    fn novelties(&self, count: usize) -> Vec<SceneNovelty> {
        let mut novelties: Vec<SceneNovelty> = Vec::with_capacity(count);
        for (n, piece) in self.pieces.iter().take(count).enumerate() {
            let again = self.pieces.iter().take(n).any(|before| before.text() == piece.text());
            let novelty = self.heard_as(piece);
            novelties.push(if again { novelty.min(SceneNovelty::Returning) } else { novelty });
        }
        novelties
    }

    /// Remembers texts that nobody has heard, or what has been spoken; forgets what is not true any more.
    fn remember(&mut self, texts: Vec<String>, decision: &PlaceDecision, unheard: bool) {
        for text in texts {
            self.unheard.retain(|other| *other != text);
            match decision {
                PlaceDecision::Cue(cue) => keep(&mut self.spoken_lately, (cue.end, text)),
                PlaceDecision::Unplaced(_) if unheard => keep(&mut self.unheard, text),
                PlaceDecision::Unplaced(_) => {}
            }
        }
    }
}

/// Adds to a bounded list, whose oldest entry makes room.
fn keep<T>(list: &mut VecDeque<T>, entry: T) {
    if list.len() == MOST_TEXTS {
        list.pop_front();
    }
    list.push_back(entry);
}

fn cue(plan: &PlanWindow<'_>, chosen: &Chosen) -> PlacedCue {
    let (phrasing, end) = (&chosen.phrasing, chosen.start + chosen.phrasing.ticks());
    let pieces = &plan.pieces[..phrasing.count()];
    let level = |piece: &SceneRun| phrasing.level.min(piece.wordings.len() - 1);
    let texts: Vec<&str> = pieces.iter().map(|piece| piece.wordings[level(piece)].text.as_str()).collect();
    let start = plan.time(chosen.start);
    PlacedCue {
        start,
        end: plan.time(end),
        text: joined(&texts),
        scenes: pieces[0].scenes.start..pieces[pieces.len() - 1].scenes.end,
        overlap: Time::from_micros(plan.speech.spoken(chosen.start, end)),
        early: (pieces[0].start - start).max(Time::ZERO),
        merged: pieces.len(),
        shortened: pieces.iter().any(|piece| level(piece) > 0),
        hasty: phrasing.hasty,
        extended: false,
        pause: Time::ZERO,
    }
}

fn extended(plan: &PlanWindow<'_>, stop: &FilmStop) -> PlacedCue {
    let (piece, start, end) = (&plan.pieces[0], plan.time(stop.start), stop.start + stop.ticks);
    PlacedCue {
        start,
        end: plan.time(end),
        text: piece.text().to_string(),
        scenes: piece.scenes.clone(),
        overlap: Time::from_micros(plan.speech.spoken(stop.start, end)),
        early: (piece.start - start).max(Time::ZERO),
        merged: 1,
        shortened: false,
        hasty: false,
        extended: true,
        pause: stop.pause,
    }
}

fn unplaced(plan: &PlanWindow<'_>) -> UnplacedScene {
    let piece = &plan.pieces[0];
    UnplacedScene {
        start: piece.start,
        end: piece.end,
        text: piece.text().to_string(),
        scenes: piece.scenes.clone(),
        obstacle: plan.obstacle(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Otherwise a decision would depend on whether the end of the film is known already.
    #[test]
    fn the_end_of_the_film_does_not_matter_before_its_last_scenes() {
        let mut placer = Placer::new(&PlaceOptions::default());
        for n in 0..14 {
            let (start, end) =
                (Time::from_millis(n * 1_000), Time::from_millis(n * 1_000 + if n < 12 { 1_000 } else { 100 }));
            let text = Some(format!("number {n}"));
            placer.push(&PlaceableScene { start, end, text, score: None, novelty: SceneNovelty::New });
        }
        let before = placer.window();
        assert_eq!(before, Some((Time::from_millis(15_000), 12)));
        placer.pieces.extend(placer.joiner.finish());
        placer.end = Some(placer.joiner.covered());
        assert_eq!((placer.pieces.len(), placer.window()), (14, before));
    }

    /// A film whose sound breaks off, for example.
    #[test]
    fn everything_is_decided_in_the_end() {
        let mut placer = Placer::new(&PlaceOptions::default());
        let at = Time::from_millis;
        let begun = SpeechUpdate { since: Some(at(0)), until: at(3_000), ..SpeechUpdate::default() };
        assert_eq!(placer.hear(&begun), []);
        let text = Some("a dog on a sofa".to_string());
        let scene = PlaceableScene { start: at(0), end: at(10_000), text, score: None, novelty: SceneNovelty::New };
        assert_eq!(placer.push(&scene), []);
        let decisions = placer.finish(Time::ZERO);
        let [PlaceDecision::Cue(cue)] = &decisions[..] else { panic!("{decisions:?}") };
        assert_eq!((cue.start, cue.overlap), (at(3_200), Time::ZERO));
    }
}
