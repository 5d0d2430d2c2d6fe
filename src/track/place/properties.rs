//! That nothing better is possible, that the rules hold, and that nothing depends on how the input comes.

use proptest::prelude::*;

use super::joiner::{Joiner, SceneRun};
use super::pauses::{BREATH, TICK};
use super::tests::{ms, news, scene};
use super::worth::{FRAGMENT, HASTE, LONGEST_TRAIL, ONSET, cost, latest, over_speech, price, unrest, worth};
use super::*;
use crate::track::cue::sentence;

const FIRST: [&str; 5] = ["a man", "two dogs", "the red car", "a woman and a child", "people"];
const REST: [&str; 5] = ["", "in a park", "on a street at night", "sitting on a sofa with a cat", "near a wall"];

/// Texts of which no two are the same.
fn text(n: usize, first: usize, rest: usize) -> String {
    format!("{} number {n} {}", FIRST[first % 5], REST[rest % 5])
}

/// Stretches from lengths of speech and silence.
fn stretches(lengths: &[(i64, i64)]) -> Vec<(Time, Time)> {
    let mut at = 0;
    let stretch = |&(pause, speech): &(i64, i64)| {
        let start = at + pause;
        at = start + speech;
        (ms(start), ms(at))
    };
    lengths.iter().map(stretch).collect()
}

/// Everything that may be spoken of the pieces from each one on: how many, first and last tick, points. Written without
/// regard to speed, from the rules alone.
fn naive(
    options: &PlaceOptions,
    pieces: &[SceneRun],
    speech: &[(Time, Time)],
    end: i64,
) -> Vec<Vec<(usize, i64, i64, i64)>> {
    let overlap = |stretches: &[(Time, Time)], from: i64, to: i64| -> i64 {
        let within = |s: &(Time, Time)| (s.1.micros().min(to * TICK) - s.0.micros().max(from * TICK)).max(0);
        stretches.iter().map(within).sum()
    };
    let mut blocked: Vec<(Time, Time)> = Vec::new();
    for &(start, end) in speech.iter().filter(|s| s.0.micros() < end * TICK) {
        match blocked.last_mut() {
            Some(last) if start - last.1 < LEAST_PAUSE => last.1 = end,
            _ => blocked.push((start, end)),
        }
    }
    let blocked: Vec<(Time, Time)> = blocked.iter().map(|&(start, end)| (start - BREATH, end + BREATH)).collect();
    let step = |units: i64, hasty: bool| {
        let micros = units * 10_000_000 / i64::from(options.pace);
        if hasty { micros * 5 / 6 } else { micros }
    };
    let followed = |n: usize| pieces.get(n + 1).is_some_and(|next| next.start == pieces[n].end);
    let up = |micros: i64| (micros + TICK - 1) / TICK;
    let mut all = Vec::new();
    for n in 0..pieces.len() {
        let mut ways: Vec<(usize, i64, i64, i64)> = Vec::new();
        let shortest = pieces[n].wordings.iter().rposition(|w| w.alone).unwrap();
        let mut resort = Vec::new();
        for count in 1..=3.min(pieces.len() - n) {
            let group = &pieces[n..n + count];
            let few = |p: &SceneRun| p.text().split(' ').count() < 3;
            let share = |w: &[SceneRun]| {
                let limit = ms(if few(&w[0]) || few(&w[1]) { 4_000 } else { 2_500 });
                let short = |p: &SceneRun| p.end - p.start <= limit;
                short(&w[0]) && (short(&w[1]) || few(&w[0])) && w[0].end == w[1].start
            };
            if !group.windows(2).all(share) {
                break;
            }
            for (level, hasty) in (0..6).flat_map(|level| [(level, false), (level, true)]) {
                let at = |p: &SceneRun| level.min(p.wordings.len() - 1);
                if (count == 1 && (level >= group[0].wordings.len() || !group[0].wordings[level].alone))
                    || group.iter().all(|p| level >= p.wordings.len())
                    || group.iter().any(|p| worth(p, p.novelty, at(p)) == 0)
                {
                    continue;
                }
                let mut units: Vec<i64> = group.iter().map(|p| p.wordings[at(p)].units).collect();
                *units.last_mut().unwrap() += if count > 1 { 6 } else { 0 };
                let sum: i64 = units.iter().sum();
                let whole = step(sum, hasty).max(options.min_duration.micros());
                let saved = step(sum, false) - whole;
                if hasty && saved <= 0 {
                    continue;
                }
                let last = latest(&group[0], followed(n)).micros() / TICK;
                for start in 0..=last.max(group[0].start.micros() / TICK + 1) {
                    let stop = start + up(whole);
                    let (mut points, mut at_tick, mut done) = (Some(-ONSET), start, 0);
                    for ((p, length), m) in group.iter().zip(&units).zip(n..) {
                        done += length;
                        let until = if done == sum { stop } else { start + up(step(done, hasty)) };
                        let costs = cost(p, followed(m), options.lead, (ms(at_tick * 100), ms(until * 100)));
                        points = points.zip(costs).map(|(points, cost)| points + worth(p, p.novelty, at(p)) - cost);
                        at_tick = until;
                    }
                    let Some(mut points) = points.filter(|_| stop <= end) else { continue };
                    points -= if hasty { price(saved, HASTE) } else { 0 };
                    let words = group[0].wordings[at(&group[0])].text.split(' ').count();
                    points -= if count == 1 && words < 3 { FRAGMENT } else { 0 };
                    if overlap(&blocked, start, stop) == 0 {
                        ways.push((count, start, stop, points));
                        resort.push((count == 1 && level == shortest, true, (0, 0, 0, 0)));
                    } else if count == 1 && level == shortest {
                        let spoken = overlap(speech, start, stop);
                        if options.rule == PlaceRule::Pauses || spoken == 0 {
                            resort.push((true, false, (1, start, stop, points - over_speech(spoken))));
                        }
                    }
                }
            }
        }
        if !resort.iter().any(|(shortest, pause, _)| *shortest && *pause) {
            ways.extend(resort.iter().filter(|(_, pause, _)| !pause).map(|(_, _, way)| *way));
        }
        all.push(ways);
    }
    all
}

/// The best of all ways, tried one after the other. `free`: the first free tick; `end`: when the description before ended.
fn brute_force(ways: &[Vec<(usize, i64, i64, i64)>], rest: Time, n: usize, free: i64, end: Option<i64>) -> i64 {
    if n >= ways.len() {
        return 0;
    }
    let without = brute_force(ways, rest, n + 1, free, end);
    let with = |way: &(usize, i64, i64, i64)| {
        way.3 - hurried(rest, end, way.1) + brute_force(ways, rest, n + way.0, way.2, Some(way.2))
    };
    ways[n].iter().filter(|way| way.1 >= free).map(with).fold(without, i64::max)
}

/// What a description costs because another ended just before it.
fn hurried(rest: Time, end: Option<i64>, start: i64) -> i64 {
    end.map_or(0, |end| unrest(rest, ms((start - end) * 100)))
}

/// What has been pushed, in some order: true for the next scene, false for the next piece of news about speech.
fn fed(
    options: &PlaceOptions,
    scenes: &[PlaceableScene],
    speech: &[(Time, Time)],
    turns: &[(bool, i64)],
) -> Vec<PlaceDecision> {
    let mut placer = Placer::new(options);
    let (mut out, mut scenes, mut sent, mut until) = (Vec::new(), scenes.iter(), 0, Time::ZERO);
    for &(is_scene, step) in turns {
        if is_scene {
            out.extend(scenes.next().map(|scene| placer.push(scene)).unwrap_or_default());
            continue;
        }
        until = until + ms(step);
        let over = speech[sent..].iter().take_while(|s| s.1 <= until).count();
        let since = speech.get(sent + over).map(|s| s.0).filter(|since| *since < until);
        out.extend(placer.hear(&news(&speech[sent..sent + over], since, until)));
        sent += over;
    }
    out.extend(scenes.flat_map(|scene| placer.push(scene)));
    out.extend(placer.hear(&news(&speech[sent..], None, Time::MAX)));
    out.extend(placer.finish(Time::ZERO));
    out
}

fn film() -> impl Strategy<Value = (Vec<PlaceableScene>, Vec<(Time, Time)>)> {
    let scene = (0..9_usize, 100..9_000_i64, 0..5_usize, 0.0..1.0_f32, 0..4_usize, 0..5_i64);
    let speech = prop::collection::vec((0..6_000_i64, 100..9_000_i64), 0..30);
    (prop::collection::vec(scene, 1..40), speech).prop_map(|(parts, speech)| {
        let mut at = 0;
        let scene = |(first, length, rest, score, novelty, gap): (usize, i64, usize, f32, usize, i64)| {
            let start = at + if gap == 0 { 700 } else { 0 };
            at = start + if length % 13 == 0 { length * 20 } else { length };
            let text = (first < 8).then(|| format!("{} {}", FIRST[first % 5], REST[rest]));
            let all = [SceneNovelty::New, SceneNovelty::New, SceneNovelty::Returning, SceneNovelty::Same];
            let novelty = all[novelty];
            PlaceableScene { start: ms(start), end: ms(at), text, score: Some(score), novelty }
        };
        (parts.into_iter().map(scene).collect(), stretches(&speech))
    })
}

fn rule() -> impl Strategy<Value = PlaceRule> {
    prop_oneof![Just(PlaceRule::Pauses), Just(PlaceRule::Strict)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn nothing_is_worth_more(
        rule in rule(),
        lengths in prop::collection::vec((300..2_600_i64, 0..5_usize, 0..5_usize, 0.3..1.0_f32, any::<bool>()), 1..4),
        speech in prop::collection::vec((0..4_000_i64, 100..1_500_i64), 0..4),
        pace in 160..800_u32,
        rest in 0..1_500_i64,
    ) {
        let options = PlaceOptions { rule, pace, lead: ms(200), rest: ms(rest), extended: false, min_duration: ms(300) };
        let (mut at, mut scenes, speech) = (0, Vec::new(), stretches(&speech));
        for (n, &(length, first, rest, score, gap)) in lengths.iter().enumerate() {
            let start = at + if gap { 300 } else { 0 };
            at = start + length;
            scenes.push(PlaceableScene { score: Some(score), ..scene(start, at, &text(n, first, rest)) });
        }
        let (mut joiner, mut pieces) = (Joiner::default(), Vec::new());
        scenes.iter().for_each(|scene| joiner.push(scene, &mut pieces));
        pieces.extend(joiner.finish());
        let limit = ms(at).min(pieces.last().unwrap().end + LONGEST_TRAIL).micros() / TICK;
        let ways = naive(&options, &pieces, &speech, limit);
        let origin = (scenes[0].start.micros() + TICK - 1) / TICK;
        let (mut total, mut n, mut before) = (0, 0, None);
        let mut placer = Placer::new(&options);
        let mut decisions: Vec<PlaceDecision> = scenes.iter().flat_map(|scene| placer.push(scene)).collect();
        decisions.extend(placer.hear(&news(&speech, None, Time::MAX)));
        decisions.extend(placer.finish(Time::ZERO));
        for decision in decisions {
            let PlaceDecision::Cue(cue) = decision else { n += 1; continue };
            let (start, end) = (cue.start.micros() / TICK, cue.end.micros() / TICK);
            let same = ways[n].iter().filter(|w| (w.0, w.1, w.2) == (cue.merged, start, end));
            total += same.map(|w| w.3).max().unwrap_or_else(|| panic!("not allowed: {cue:?}")) - hurried(options.rest, before, start);
            before = Some(end);
            n += cue.merged;
        }
        prop_assert_eq!(n, scenes.len());
        prop_assert_eq!(total, brute_force(&ways, options.rest, 0, origin, None));
    }

    #[test]
    fn no_times_are_too_wild(
        scenes in prop::collection::vec((any::<i64>(), any::<i64>(), 0..5_usize), 0..6),
        speech in prop::collection::vec((any::<i64>(), any::<i64>()), 0..6),
        (pace, lead, rest, least, extended) in any::<(u32, i64, i64, i64, bool)>(),
    ) {
        let at = Time::from_micros;
        let options =
            PlaceOptions { rule: PlaceRule::Pauses, pace, lead: at(lead), rest: at(rest), extended, min_duration: at(least) };
        let mut placer = Placer::new(&options);
        for (n, &(start, end, rest)) in scenes.iter().enumerate() {
            placer.push(&PlaceableScene { start: at(start), end: at(end), ..scene(0, 0, &text(n, rest, rest)) });
        }
        for &(start, end) in &speech {
            placer.hear(&news(&[(at(start), at(end))], Some(at(start)), at(end)));
        }
        placer.finish(at(scenes.first().map_or(0, |scene| scene.0)));
    }

    #[test]
    fn decisions_do_not_depend_on_how_the_input_comes(
        (rule, extended) in (rule(), any::<bool>()),
        (scenes, speech) in film(),
        turns in prop::collection::vec((any::<bool>(), 0..20_000_i64), 0..80),
    ) {
        let options = PlaceOptions { rule, extended, ..PlaceOptions::default() };
        let mut placer = Placer::new(&options);
        let mut at_once = placer.hear(&news(&speech, None, Time::MAX));
        at_once.extend(scenes.iter().flat_map(|scene| placer.push(scene)));
        at_once.extend(placer.finish(Time::ZERO));
        prop_assert_eq!(fed(&options, &scenes, &speech, &turns), at_once);
    }

    #[test]
    fn the_rules_hold(rule in rule(), extended in any::<bool>(), (scenes, speech) in film()) {
        let options = PlaceOptions { rule, extended, ..PlaceOptions::default() };
        let decisions = fed(&options, &scenes, &speech, &[]);
        let (mut free, mut next) = (Time::ZERO, 0);
        for decision in &decisions {
            let range = match decision {
                PlaceDecision::Unplaced(unplaced) => unplaced.scenes.clone(),
                PlaceDecision::Cue(cue) => {
                    let (first, last) = (&scenes[cue.scenes.start], &scenes[cue.scenes.end - 1]);
                    prop_assert!(cue.start >= free && cue.start < cue.end && !cue.text.is_empty());
                    prop_assert!(cue.start >= scenes[0].start && cue.start + options.lead >= first.start);
                    prop_assert!(cue.start <= last.end + ms(1_000) && cue.end <= last.end + LONGEST_TRAIL);
                    prop_assert!(cue.end <= scenes.last().unwrap().end);
                    let within = |s: &(Time, Time)| (s.1.min(cue.end) - s.0.max(cue.start)).max(Time::ZERO);
                    let spoken = speech.iter().fold(Time::ZERO, |sum, s| sum + within(s));
                    prop_assert_eq!(cue.overlap, spoken);
                    // A stop in the middle of speech is the last resort: a tick of it.
                    let most = if !extended { Time::MAX } else if cue.extended { ms(100) } else { Time::ZERO };
                    let most = if rule == PlaceRule::Pauses { most } else { Time::ZERO };
                    prop_assert!(spoken <= most);
                    prop_assert!(extended || !cue.extended);
                    prop_assert_eq!(cue.extended, cue.pause > Time::ZERO);
                    prop_assert!(!cue.shortened || cue.text.split(' ').count() > 2, "{}", cue.text);
                    free = cue.end;
                    cue.scenes.clone()
                }
            };
            // Between decisions there are only scenes without a text, and the same as before.
            prop_assert!(range.start + 1 >= next && range.end > range.start);
            let skipped = scenes.get(next..range.start).unwrap_or_default();
            let silent = |s: &PlaceableScene| sentence(s.text.as_deref().unwrap_or_default()).is_empty();
            prop_assert!(skipped.iter().all(|s| silent(s) || s.novelty == SceneNovelty::Same || s.end - s.start > ms(8_000)));
            next = range.end;
        }
    }
}
