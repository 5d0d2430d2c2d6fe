//! Films that are made up from a seed.
//!
//! * Shots: lognormal lengths whose standard deviation is 1.2 times their mean, as Salt found in films of all times; the mean
//!   is 2.5 s (action), 4 s (drama, the mean of films since 2000) or 8 s (talk).
//! * Speech: passages of dialogue and passages almost without. Within dialogue, utterances last 2.6 s on average, and four of
//!   five pauses are those between turns, 0.6 s on average; the others are longer. The subtitles of "Sintel" are like that.
//! * Texts have 10 words on average, as captions of COCO do. In dialogue, half of the shots return to one of the two before.

use descry::track::place::{PlaceableScene, SceneNovelty};
use fastrand::Rng;

use super::rules::{Film, secs};

/// Length of a film: 30 minutes.
pub(crate) const FILM: f64 = 1_800.0;

/// A kind of film: name, mean shot in seconds, mean passage of dialogue, mean passage without.
pub(crate) const KINDS: [(&str, f64, f64, f64); 3] =
    [("action", 2.5, 20.0, 40.0), ("drama", 4.0, 45.0, 25.0), ("talk", 8.0, 120.0, 10.0)];

/// Normally distributed.
fn normal(rng: &mut Rng) -> f64 {
    (-2.0 * (1.0 - rng.f64()).ln()).sqrt() * (std::f64::consts::TAU * rng.f64()).cos()
}

/// Lognormal, with a mean and a standard deviation of `spread` means.
fn lognormal(rng: &mut Rng, mean: f64, spread: f64) -> f64 {
    let variance = (1.0 + spread * spread).ln();
    (mean.ln() - variance / 2.0 + variance.sqrt() * normal(rng)).exp()
}

fn exponential(rng: &mut Rng, mean: f64) -> f64 {
    -mean * (1.0 - rng.f64()).ln()
}

/// Begin and end of a passage of dialogue, in seconds.
type Passage = (f64, f64);

/// Speech between `begin` and `until`, in seconds, and the passages of dialogue. `length` draws how long an utterance is: of
/// dialogue, or a single one.
pub(crate) fn talk(
    rng: &mut Rng,
    (begin, until): (f64, f64),
    (dialogue, other): (f64, f64),
    length: &mut dyn FnMut(&mut Rng, f64, bool) -> f64,
) -> Vec<Passage> {
    let (mut passages, mut at) = (Vec::new(), begin);
    while at < until {
        let quiet = at + exponential(rng, other);
        loop {
            at += exponential(rng, 20.0);
            if at >= quiet {
                break;
            }
            at += length(rng, at, false) + 0.2;
        }
        at = at.max(quiet);
        let (from, last) = (at, at + 5.0 + exponential(rng, dialogue));
        while at < last {
            let end = at + length(rng, at, true);
            at = end + if rng.f64() < 0.8 { 0.1 + exponential(rng, 0.5) } else { 1.0 + exponential(rng, 2.5) };
        }
        passages.push((from, at));
    }
    passages
}

/// A caption like those of COCO.
fn caption(rng: &mut Rng) -> String {
    const WHO: [&str; 12] = [
        "a man",
        "a woman",
        "a man in a dark suit",
        "a woman with long hair",
        "two men",
        "a group of people",
        "a young boy",
        "a black dog",
        "a red car",
        "a white boat",
        "a man with a beard",
        "three women in coats",
    ];
    const DOES: [&str; 10] = [
        "sitting at a table",
        "standing in front of a building",
        "walking down a street",
        "holding a phone",
        "riding a bike",
        "looking out of a window",
        "standing in a field",
        "talking to each other",
        "driving through a tunnel",
        "lying on a bed",
    ];
    const WHERE: [&str; 10] = [
        "",
        "",
        "with a cup of coffee",
        "near a bridge",
        "at night",
        "in a large room",
        "on a rainy day",
        "with a lamp behind it",
        "next to a train",
        "by the sea",
    ];
    fn pick(rng: &mut Rng, list: &[&'static str]) -> &'static str {
        list[rng.usize(..list.len())]
    }
    let (who, does, place) = (pick(rng, &WHO), pick(rng, &DOES), pick(rng, &WHERE));
    format!("{who} {does} {place}").trim_end().to_string()
}

pub(crate) fn film(seed: u64, kind: (&str, f64, f64, f64)) -> Film {
    let mut rng = Rng::with_seed(seed);
    let (_, shot, dialogue, other) = kind;
    let mut speech = Vec::new();
    let passages = talk(&mut rng, (0.0, FILM), (dialogue, other), &mut |rng, at, is_dialogue| {
        let length = if is_dialogue { lognormal(rng, 2.6, 0.5).max(0.3) } else { lognormal(rng, 1.2, 0.5) };
        speech.push((secs(at), secs(at + length)));
        length
    });
    let (mut scenes, mut at): (Vec<PlaceableScene>, f64) = (Vec::new(), 0.0);
    while at < FILM {
        let end = at + lognormal(&mut rng, shot, 1.2).clamp(0.6, 60.0);
        let talks = passages.iter().any(|p| (p.0..p.1).contains(&at));
        let back = if talks && rng.bool() && scenes.len() > 2 { Some(scenes.len() - 2) } else { None };
        let (text, novelty) = match back {
            Some(back) => (scenes[back].text.clone(), SceneNovelty::Returning),
            None => (Some(caption(&mut rng)), SceneNovelty::New),
        };
        let score = Some(0.4 + 0.5 * rng.f32());
        scenes.push(PlaceableScene { start: secs(at), end: secs(end), text, score, novelty });
        at = end;
    }
    Film { scenes, known: speech.clone(), speech, length: FILM }
}
