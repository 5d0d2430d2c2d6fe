//! Films with their speech, and the rules by which descriptions are spoken in them.

use std::ops::Range;

use descry::speech::{SpeechUpdate, Utterance};
use descry::time::Time;
use descry::track::place::{
    LEAST_PAUSE, PlaceDecision, PlaceOptions, PlaceRule, PlaceableScene, Placer, shortenings, speaking_time,
};
use descry::track::{CueBuilder, CueOptions, Description};

/// Begin and end of speech.
pub(crate) type Utterances = Vec<(Time, Time)>;

pub(crate) struct Film {
    pub(crate) scenes: Vec<PlaceableScene>,
    /// When somebody talks.
    pub(crate) speech: Utterances,
    /// What the rules know of it.
    pub(crate) known: Utterances,
    /// In seconds.
    pub(crate) length: f64,
}

/// What is spoken.
pub(crate) struct Spoken {
    /// The scenes that it describes.
    pub(crate) scenes: Range<usize>,
    /// How many texts share the sentence.
    pub(crate) texts: usize,
    pub(crate) start: Time,
    pub(crate) end: Time,
    pub(crate) text: String,
    /// Whether another description begins before it is over.
    pub(crate) cut: bool,
}

pub(crate) fn secs(seconds: f64) -> Time {
    Time::from_secs(seconds)
}

/// For how long somebody talks meanwhile.
pub(crate) fn overlap(speech: &[(Time, Time)], start: Time, end: Time) -> Time {
    let within = speech.iter().map(|s| (s.1.min(end) - s.0.max(start)).max(Time::ZERO));
    within.fold(Time::ZERO, |sum, time| sum + time)
}

/// Cues that are as long as their scenes, spoken when they appear.
pub(crate) fn free(film: &Film) -> Vec<Spoken> {
    let mut builder = CueBuilder::new(&CueOptions::default());
    let described = |s: &PlaceableScene| Description { start: s.start, end: s.end, text: s.text.clone() };
    let mut cues: Vec<_> = film.scenes.iter().flat_map(|s| builder.push(described(s))).collect();
    cues.extend(builder.finish(Time::ZERO));
    appearing(film, cues.into_iter().map(|cue| (cue.start, cue.lines.join(" "))))
}

/// Texts that are spoken when they appear. Scenes with the same text in a row have it once.
pub(crate) fn appearing(film: &Film, texts: impl Iterator<Item = (Time, String)>) -> Vec<Spoken> {
    let mut spoken: Vec<Spoken> = Vec::new();
    if film.scenes.is_empty() {
        return spoken;
    }
    for (start, text) in texts {
        let scene = film.scenes.partition_point(|s| s.end <= start).min(film.scenes.len() - 1);
        let same = film.scenes[scene..].iter().take_while(|s| s.text == film.scenes[scene].text).count();
        let end = start + speaking_time(&text, 160);
        spoken.push(Spoken { scenes: scene..scene + same.max(1), texts: 1, start, end, text, cut: false });
    }
    for n in 1..spoken.len() {
        let next = spoken[n].start;
        let before = &mut spoken[n - 1];
        before.cut = before.end > next;
        before.end = before.end.min(next);
    }
    spoken
}

/// Scene by scene, the longest wording that fits into the first pause within the scene, so many seconds after the one before.
pub(crate) fn greedy(film: &Film, rest: f64) -> Vec<Spoken> {
    let (mut spoken, mut free) = (Vec::new(), Time::ZERO);
    let mut pauses: Vec<(Time, Time)> = Vec::new();
    let mut from = Time::ZERO;
    for &(start, end) in &film.known {
        pauses.push((from, start));
        from = end;
    }
    pauses.push((from, Time::MAX));
    pauses.retain(|p| p.1 - p.0 >= LEAST_PAUSE);
    for (n, scene) in film.scenes.iter().enumerate() {
        let Some(text) = &scene.text else { continue };
        let place = pauses.iter().find_map(|pause| {
            let (start, end) = (pause.0.max(scene.start).max(free), pause.1.min(scene.end));
            let ways = shortenings(text).into_iter();
            let mut ways = ways.map(|text| (start, start + speaking_time(&text, 160).max(secs(1.0)), text));
            ways.find(|way| way.1 <= end)
        });
        if let Some((start, end, text)) = place {
            free = end + secs(rest);
            spoken.push(Spoken { scenes: n..n + 1, texts: 1, start, end, text, cut: false });
        }
    }
    spoken
}

pub(crate) fn placed(film: &Film, rule: PlaceRule, rest: f64) -> Vec<Spoken> {
    let mut placer = Placer::new(&PlaceOptions { rule, rest: secs(rest), ..PlaceOptions::default() });
    let ended = film.known.iter().map(|&(start, end)| Utterance { start, end }).collect();
    let mut decisions = placer.hear(&SpeechUpdate { ended, until: Time::MAX, ..SpeechUpdate::default() });
    decisions.extend(film.scenes.iter().flat_map(|scene| placer.push(scene)));
    decisions.extend(placer.finish(Time::ZERO));
    let cue = |decision| match decision {
        PlaceDecision::Cue(cue) => Some(cue),
        PlaceDecision::Unplaced(_) => None,
    };
    let spoken = decisions.into_iter().filter_map(cue).map(|cue| Spoken {
        scenes: cue.scenes,
        texts: cue.merged,
        start: cue.start,
        end: cue.end,
        text: cue.text,
        cut: false,
    });
    spoken.collect()
}
