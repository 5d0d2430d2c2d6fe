//! Where descriptions are spoken in films whose speech is known exactly: `free` cues, a greedy rule, and the placer.
//!
//! The films are made up from a seed: `cargo bench --bench placement -- [seed]`. With `--show` it prints a minute and a half
//! of each film and what is spoken in it.
//!
//! * Shots: lognormal lengths whose standard deviation is 1.2 times their mean, as Salt found in films of all times; the mean
//!   is 2.5 s (action), 4 s (drama, the mean of films since 2000) or 8 s (talk).
//! * Speech: passages of dialogue and passages almost without. Within dialogue, utterances last 2.6 s on average, and four of
//!   five pauses are those between turns, 0.6 s on average; the others are longer. The subtitles of "Sintel" are like that.
//! * Texts have 10 words on average, as captions of COCO do. In dialogue, half of the shots return to one of the two before.

use std::time::Instant;

use descry::speech::{SpeechUpdate, Utterance};
use descry::time::Time;
use descry::track::place::{
    LEAST_PAUSE, PlaceDecision, PlaceOptions, PlaceRule, PlaceableScene, Placer, SceneNovelty, shortenings,
    speaking_time,
};
use descry::track::{CueBuilder, CueOptions, Description};
use fastrand::Rng;

/// Length of a film: 30 minutes.
const FILM: f64 = 1_800.0;
const FILMS: u64 = 8;

/// A kind of film: name, mean shot in seconds, mean passage of dialogue, mean passage without.
const KINDS: [(&str, f64, f64, f64); 3] =
    [("action", 2.5, 20.0, 40.0), ("drama", 4.0, 45.0, 25.0), ("talk", 8.0, 120.0, 10.0)];

struct Film {
    scenes: Vec<PlaceableScene>,
    speech: Vec<(Time, Time)>,
}

/// What is spoken: the scene (the first of several), when, and what share of its words.
struct Spoken {
    scene: usize,
    count: usize,
    start: Time,
    end: Time,
    text: String,
    /// Whether another description begins before it is over.
    cut: bool,
}

fn secs(seconds: f64) -> Time {
    Time::from_secs(seconds)
}

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

/// Speech, and the passages of dialogue.
fn talk(rng: &mut Rng, dialogue: f64, other: f64) -> (Vec<(Time, Time)>, Vec<Passage>) {
    let (mut speech, mut passages, mut at) = (Vec::new(), Vec::new(), 0.0);
    while at < FILM {
        let until = at + exponential(rng, other);
        loop {
            at += exponential(rng, 20.0);
            if at >= until {
                break;
            }
            let end = at + lognormal(rng, 1.2, 0.5);
            speech.push((secs(at), secs(end)));
            at = end + 0.2;
        }
        at = at.max(until);
        let (from, until) = (at, at + 5.0 + exponential(rng, dialogue));
        while at < until {
            let end = at + lognormal(rng, 2.6, 0.5).max(0.3);
            speech.push((secs(at), secs(end)));
            at = end + if rng.f64() < 0.8 { 0.1 + exponential(rng, 0.5) } else { 1.0 + exponential(rng, 2.5) };
        }
        passages.push((from, at));
    }
    (speech, passages)
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

fn film(seed: u64, kind: (&str, f64, f64, f64)) -> Film {
    let mut rng = Rng::with_seed(seed);
    let (_, shot, dialogue, other) = kind;
    let (speech, passages) = talk(&mut rng, dialogue, other);
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
    Film { scenes, speech }
}

/// For how long somebody talks meanwhile.
fn overlap(film: &Film, start: Time, end: Time) -> Time {
    let within = film.speech.iter().map(|s| (s.1.min(end) - s.0.max(start)).max(Time::ZERO));
    within.fold(Time::ZERO, |sum, time| sum + time)
}

/// Cues that are as long as their scenes, spoken when they appear.
fn free(film: &Film) -> Vec<Spoken> {
    let mut builder = CueBuilder::new(&CueOptions::default());
    let described = |s: &PlaceableScene| Description { start: s.start, end: s.end, text: s.text.clone() };
    let mut cues: Vec<_> = film.scenes.iter().flat_map(|s| builder.push(described(s))).collect();
    cues.extend(builder.finish(Time::ZERO));
    let mut spoken: Vec<Spoken> = Vec::new();
    for cue in cues {
        let text = cue.lines.join(" ");
        let scene = film.scenes.partition_point(|s| s.end <= cue.start);
        let end = cue.start + speaking_time(&text, 160);
        spoken.push(Spoken { scene, count: 1, start: cue.start, end, text, cut: false });
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
fn greedy(film: &Film, rest: f64) -> Vec<Spoken> {
    let (mut spoken, mut free) = (Vec::new(), Time::ZERO);
    let mut pauses: Vec<(Time, Time)> = Vec::new();
    let mut from = Time::ZERO;
    for &(start, end) in &film.speech {
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
            spoken.push(Spoken { scene: n, count: 1, start, end, text, cut: false });
        }
    }
    spoken
}

fn placed(film: &Film, rule: PlaceRule, rest: f64) -> Vec<Spoken> {
    let mut placer = Placer::new(&PlaceOptions { rule, rest: secs(rest), ..PlaceOptions::default() });
    let ended = film.speech.iter().map(|&(start, end)| Utterance { start, end }).collect();
    let mut decisions = placer.hear(&SpeechUpdate { ended, until: Time::MAX, ..SpeechUpdate::default() });
    decisions.extend(film.scenes.iter().flat_map(|scene| placer.push(scene)));
    decisions.extend(placer.finish(Time::ZERO));
    let cue = |decision| match decision {
        PlaceDecision::Cue(cue) => Some(cue),
        PlaceDecision::Unplaced(_) => None,
    };
    let spoken = decisions.into_iter().filter_map(cue).map(|cue| Spoken {
        scene: cue.scenes.start,
        count: cue.merged,
        start: cue.start,
        end: cue.end,
        text: cue.text,
        cut: false,
    });
    spoken.collect()
}

/// Sums over films.
#[derive(Default)]
struct Sums {
    films: f64,
    /// New scenes, and how many of them are described, in pauses too.
    scenes: f64,
    described: f64,
    clear: f64,
    /// The same, weighted with the length of the scenes, up to 10 s.
    seconds: f64,
    described_seconds: f64,
    cues: f64,
    repeated: f64,
    fragments: f64,
    cut: f64,
    spoken: f64,
    over_speech: f64,
    late: f64,
    early: f64,
    behind: f64,
    /// Begins less than half a second after another.
    restless: f64,
    /// Words of the new scenes, and those that are heard in pauses.
    words: f64,
    clear_words: f64,
    /// What the new scenes are worth, score times seconds, and what is heard of that in pauses. Half of the words are worth
    /// three quarters.
    value: f64,
    clear_value: f64,
}

fn add(sums: &mut Sums, film: &Film, spoken: &[Spoken]) {
    let length = |n: usize| (film.scenes[n].end - film.scenes[n].start).secs().min(10.0);
    let new = |n: &usize| film.scenes[*n].novelty == SceneNovelty::New;
    let all: Vec<usize> = (0..film.scenes.len()).filter(new).collect();
    sums.films += FILM / 3_600.0;
    sums.scenes += all.len() as f64;
    sums.seconds += all.iter().map(|&n| length(n)).sum::<f64>();
    let value = |n: usize| f64::from(film.scenes[n].score.unwrap_or(1.0)) * length(n);
    sums.value += all.iter().map(|&n| value(n)).sum::<f64>();
    let words = |n: usize| film.scenes[n].text.as_deref().unwrap_or_default().split(' ').count() as f64;
    sums.words += all.iter().map(|&n| words(n)).sum::<f64>();
    for pair in spoken.windows(2) {
        sums.restless += f64::from(u8::from(pair[1].start - pair[0].end < secs(0.5)));
    }
    for cue in spoken {
        let (first, last) = (&film.scenes[cue.scene], &film.scenes[cue.scene + cue.count - 1]);
        let over = overlap(film, cue.start, cue.end).secs();
        let new: Vec<usize> = (cue.scene..cue.scene + cue.count).filter(new).collect();
        sums.cues += 1.0;
        sums.repeated += f64::from(u8::from(new.is_empty()));
        sums.fragments += f64::from(u8::from(cue.text.split(' ').count() < 3));
        sums.cut += f64::from(u8::from(cue.cut));
        sums.spoken += (cue.end - cue.start).secs();
        sums.over_speech += over;
        sums.late += (cue.start - first.start).secs().max(0.0);
        sums.early += f64::from(u8::from(first.start - cue.start > secs(0.1)));
        sums.behind += (cue.end - last.end).secs().max(0.0);
        if !cue.cut {
            sums.described += new.len() as f64;
            sums.described_seconds += new.iter().map(|&n| length(n)).sum::<f64>();
            let clear = over < 0.001;
            sums.clear += if clear { new.len() as f64 } else { 0.0 };
            // Of a sentence that several scenes share, "then" is no word of theirs.
            let (whole, said) =
                (new.iter().map(|&n| words(n)).sum::<f64>(), cue.text.split(' ').count() - cue.count.min(2) + 1);
            let complete = 1.0 - (1.0 - (said as f64 / whole.max(1.0)).min(1.0)).powi(2);
            sums.clear_value += if clear { complete * new.iter().map(|&n| value(n)).sum::<f64>() } else { 0.0 };
            sums.clear_words += if clear && !new.is_empty() { cue.text.split(' ').count() as f64 } else { 0.0 };
        }
    }
}

const HEAD: &str = "| rule | per hour | scenes | in pauses | seconds | words in pauses | value in pauses | over speech | late | early | after its scene | no rest | cut off | fragments | repeats |";

fn print(name: &str, s: &Sums) {
    let cues = s.cues.max(1.0);
    let share = |part: f64, whole: f64| format!("{:3.0} %", 100.0 * part / whole.max(1e-9));
    let columns = [
        format!("{:4.0}", s.cues / s.films),
        share(s.described, s.scenes),
        share(s.clear, s.scenes),
        share(s.described_seconds, s.seconds),
        share(s.clear_words, s.words),
        share(s.clear_value, s.value),
        format!("{} ({:.0} s/h)", share(s.over_speech, s.spoken), s.over_speech / s.films),
        format!("{:.2} s", s.late / cues),
        share(s.early, cues),
        format!("{:.2} s", s.behind / cues),
        share(s.restless, cues),
        share(s.cut, cues),
        share(s.fragments, cues),
        share(s.repeated, cues),
    ];
    println!("| {name:11} | {} |", columns.join(" | "));
}

/// A part of a film, and what is spoken in it.
fn show(film: &Film, kind: &str) {
    let (from, until) = (secs(300.0), secs(390.0));
    let within = |start: Time| start >= from && start < until;
    println!("\n{kind}");
    let mut lines: Vec<(Time, String)> = Vec::new();
    for s in film.scenes.iter().filter(|s| within(s.start)) {
        let text =
            format!("scene {:5.1} s {:?} {}", (s.end - s.start).secs(), s.novelty, s.text.as_deref().unwrap_or(""));
        lines.push((s.start, text));
    }
    lines.extend(
        film.speech.iter().filter(|s| within(s.0)).map(|s| (s.0, format!("    speech until {:.1}", s.1.secs()))),
    );
    for cue in placed(film, PlaceRule::Pauses, 2.0).iter().filter(|cue| within(cue.start)) {
        let over = overlap(film, cue.start, cue.end).secs();
        let mark = if over > 0.0 { format!(" OVER {over:.1}") } else { String::new() };
        lines.push((cue.start, format!("        >>> {} (until {:.1}){mark}", cue.text, cue.end.secs())));
    }
    lines.sort_by_key(|line| line.0);
    for (at, line) in lines {
        println!("{:6.1} {line}", at.secs());
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let seed: u64 = arguments.iter().find_map(|a| a.parse().ok()).unwrap_or(1);
    for kind in KINDS {
        let films: Vec<Film> = (0..FILMS).map(|n| film(seed * 1_000 + n, kind)).collect();
        if arguments.iter().any(|a| a == "--show") {
            films.iter().take(4).for_each(|film| show(film, kind.0));
            continue;
        }
        let talks: f64 =
            films.iter().map(|f| overlap(f, Time::ZERO, secs(FILM)).secs()).sum::<f64>() / FILM / FILMS as f64;
        let scenes: usize = films.iter().map(|f| f.scenes.len()).sum();
        println!(
            "\n{}: speech {:.0} % of the time, {} scenes in {} h",
            kind.0,
            100.0 * talks,
            scenes,
            FILM * FILMS as f64 / 3_600.0
        );
        println!("{HEAD}\n|{}", "---|".repeat(HEAD.matches('|').count() - 1));
        type Rule = Box<dyn Fn(&Film) -> Vec<Spoken>>;
        let rules: [(&str, Rule); 8] = [
            ("free", Box::new(free)),
            ("greedy", Box::new(|film| greedy(film, 0.0))),
            ("strict, 0 s", Box::new(|film| placed(film, PlaceRule::Strict, 0.0))),
            ("greedy, 1 s", Box::new(|film| greedy(film, 1.0))),
            ("strict, 1 s", Box::new(|film| placed(film, PlaceRule::Strict, 1.0))),
            ("greedy, 2 s", Box::new(|film| greedy(film, 2.0))),
            ("strict", Box::new(|film| placed(film, PlaceRule::Strict, 2.0))),
            ("pauses", Box::new(|film| placed(film, PlaceRule::Pauses, 2.0))),
        ];
        for (name, rule) in rules {
            let begun = Instant::now();
            let spoken: Vec<Vec<Spoken>> = films.iter().map(&rule).collect();
            let took = begun.elapsed();
            let mut sums = Sums::default();
            films.iter().zip(&spoken).for_each(|(film, spoken)| add(&mut sums, film, spoken));
            print(name, &sums);
            if name == "pauses" {
                eprintln!("{name}: {:.2} ms a scene", took.as_secs_f64() * 1_000.0 / scenes as f64);
            }
        }
    }
}
