//! Descriptions of films with a few short scenes, as a listener hears them.

use super::*;
use crate::speech::{SpeechUpdate, Utterance};

pub(super) fn ms(millis: i64) -> Time {
    Time::from_millis(millis)
}

/// What has become known of speech: what is over, when that began which goes on, and up to when.
pub(super) fn news(over: &[(Time, Time)], since: Option<Time>, until: Time) -> SpeechUpdate {
    SpeechUpdate {
        ended: over.iter().map(|&(start, end)| Utterance { start, end }).collect(),
        since,
        until,
        ..SpeechUpdate::default()
    }
}

pub(super) fn scene(start: i64, end: i64, text: &str) -> PlaceableScene {
    let text = (!text.is_empty()).then(|| text.to_string());
    PlaceableScene { start: ms(start), end: ms(end), text, score: Some(0.8), novelty: SceneNovelty::New }
}

fn place(options: &PlaceOptions, scenes: &[PlaceableScene], speech: &[(i64, i64)]) -> Vec<PlaceDecision> {
    let speech: Vec<(Time, Time)> = speech.iter().map(|&(start, end)| (ms(start), ms(end))).collect();
    let mut placer = Placer::new(options);
    let mut out = placer.hear(&news(&speech, None, Time::MAX));
    out.extend(scenes.iter().flat_map(|scene| placer.push(scene)));
    out.extend(placer.finish(Time::ZERO));
    out
}

/// What is heard of scenes, one line for each decision.
fn heard(rule: PlaceRule, scenes: &[PlaceableScene], speech: &[(i64, i64)]) -> Vec<String> {
    let options = PlaceOptions { rule, ..PlaceOptions::default() };
    let line = |decision: &PlaceDecision| match decision {
        PlaceDecision::Cue(cue) => format!("{} {} {}", cue.start.millis(), cue.end.millis(), cue.text),
        PlaceDecision::Unplaced(scene) => {
            format!("{}: {}", serde_json::json!(scene.obstacle).as_str().unwrap(), scene.text)
        }
    };
    place(&options, scenes, speech).iter().map(line).collect()
}

const BEACH: &str = "a man in a suit standing on a sandy beach";

#[test]
fn without_speech_descriptions_begin_with_their_scenes() {
    let scenes = [scene(0, 6_000, BEACH), scene(6_000, 12_000, "two dogs")];
    let want = ["0 3800 A man in a suit standing on a sandy beach.", "6000 7000 Two dogs."];
    assert_eq!(heard(PlaceRule::Strict, &scenes, &[]), want);
}

#[test]
fn a_description_waits_for_a_pause_or_precedes_its_scene() {
    let late = heard(PlaceRule::Pauses, &[scene(0, 10_000, "two dogs in a park")], &[(0, 4_030), (7_000, 10_000)]);
    assert_eq!(late, ["4300 6200 Two dogs in a park."]);
    let scenes = [scene(0, 5_000, ""), scene(5_000, 10_000, "two dogs in a park")];
    let early = heard(PlaceRule::Pauses, &scenes, &[(0, 2_500), (5_500, 10_000)]);
    assert_eq!(early, ["3400 5300 Two dogs in a park."]);
}

#[test]
fn a_description_is_shortened_to_fit_its_pause() {
    let got = heard(PlaceRule::Pauses, &[scene(0, 8_000, BEACH)], &[(0, 2_000), (4_500, 12_000)]);
    assert_eq!(got, ["2200 4100 A man in a suit."]);
}

#[test]
fn short_shots_share_a_sentence() {
    let scenes = [
        scene(0, 1_200, "a man"),
        scene(1_200, 3_400, "a cyclist on the street"),
        scene(3_400, 10_000, "a bridge over a river"),
    ];
    let got = heard(PlaceRule::Pauses, &scenes, &[]);
    assert_eq!(got[0], "400 3400 A man; then a cyclist on the street.");
    assert!(got[1].ends_with("A bridge over a river."), "{got:?}");
}

#[test]
fn a_fragment_shares_a_sentence_or_is_left_out() {
    let scenes = [scene(0, 3_000, "a man"), scene(3_000, 9_000, "a bridge over a river")];
    assert_eq!(heard(PlaceRule::Strict, &scenes, &[]), ["2200 5200 A man; then a bridge over a river."]);
    let alone = heard(PlaceRule::Strict, &[scene(0, 1_400, "a man"), scene(1_400, 2_000, "")], &[]);
    assert_eq!(alone, ["says little: A man."]);
    assert_eq!(heard(PlaceRule::Strict, &[scene(0, 8_000, "a man")], &[]), ["0 1000 A man."]);
    // Longer scenes keep their own descriptions.
    let scenes = [scene(0, 4_000, "a dog on a sofa"), scene(4_000, 8_000, "a cat on a roof")];
    assert_eq!(heard(PlaceRule::Strict, &scenes, &[]), ["0 1900 A dog on a sofa.", "4000 5900 A cat on a roof."]);
}

#[test]
fn what_was_said_lately_is_no_news() {
    let film = |gap: i64| {
        [
            scene(0, 5_000, "a man on a road"),
            scene(5_000, 5_000 + gap, "a large clock tower"),
            scene(5_000 + gap, 10_000 + gap, "a man on a road"),
        ]
    };
    let said = |gap| heard(PlaceRule::Strict, &film(gap), &[]);
    assert_eq!(said(20_000)[2], "says little: A man on a road.");
    assert_eq!(said(70_000).last().unwrap(), "75000 76900 A man on a road.");
}

#[test]
fn a_description_may_follow_its_scene_where_the_next_has_none() {
    let scenes = [scene(0, 6_000, "two dogs in a park"), scene(6_000, 12_000, "")];
    let got = heard(PlaceRule::Strict, &scenes, &[(0, 6_300), (10_000, 12_000)]);
    assert_eq!(got, ["6500 8400 Two dogs in a park."]);
    let scenes = [scene(0, 6_000, "two dogs in a park"), scene(6_000, 12_000, "two cats on a roof")];
    let got = heard(PlaceRule::Strict, &scenes, &[(0, 6_300), (10_000, 12_000)]);
    assert_eq!(got, ["no pause: Two dogs in a park.", "6500 8400 Two cats on a roof."]);
}

#[test]
fn nothing_is_said_twice_in_a_sentence() {
    let scenes =
        [scene(0, 1_500, "a man"), scene(1_500, 3_000, "a cyclist on the street"), scene(3_000, 4_500, "a man")];
    let got = heard(PlaceRule::Pauses, &scenes, &[]);
    assert!(got.iter().all(|line| line.to_lowercase().matches("a man").count() < 2), "{got:?}");
    assert!(got.iter().any(|line| line.contains("; then ")), "{got:?}");
}

#[test]
fn speech_without_a_pause_is_the_last_resort() {
    let scenes = [scene(0, 10_000, BEACH), scene(10_000, 12_000, "a dog on a sofa")];
    assert_eq!(
        heard(PlaceRule::Strict, &scenes, &[(0, 20_000)]),
        ["no pause: A man in a suit standing on a sandy beach.", "no pause: A dog on a sofa."]
    );
    let over = place(&PlaceOptions::default(), &scenes, &[(0, 20_000)]);
    let [PlaceDecision::Cue(cue), PlaceDecision::Unplaced(short)] = &over[..] else { panic!("{over:?}") };
    assert_eq!((cue.text.as_str(), cue.shortened, short.obstacle), ("A man in a suit.", true, PlaceObstacle::Speech));
    assert!(cue.overlap > Time::ZERO && cue.overlap <= cue.end - cue.start);
    // A short scene is not worth an interruption.
    assert_eq!(heard(PlaceRule::Pauses, &scenes[1..], &[(0, 20_000)]), ["no pause: A dog on a sofa."]);
    // As soon as a pause holds the shortest wording, nothing is spoken over speech.
    let pause = place(&PlaceOptions::default(), &scenes, &[(0, 5_000), (7_400, 20_000)]);
    assert!(matches!(&pause[0], PlaceDecision::Cue(cue) if cue.overlap == Time::ZERO && cue.start == ms(5_200)));
}

#[test]
fn pauses_between_words_are_used_only_where_there_is_no_other() {
    let scenes = [scene(0, 8_000, "two dogs")];
    let strict = |speech: &[(i64, i64)]| heard(PlaceRule::Strict, &scenes, speech);
    assert_eq!(strict(&[(0, 2_000), (3_500, 5_000), (7_000, 11_000)]), ["5200 6200 Two dogs."]);
    assert_eq!(strict(&[(0, 2_000), (3_500, 11_000)]), ["2000 3000 Two dogs."]);
}

#[test]
fn a_scene_that_comes_back_is_new_until_somebody_has_heard_of_it() {
    let back = |start, end| PlaceableScene { novelty: SceneNovelty::Returning, ..scene(start, end, "a dog on a sofa") };
    let scenes = [scene(0, 4_000, "a dog on a sofa"), scene(4_000, 8_000, "a cat on a roof"), back(8_000, 12_000)];
    let first = heard(PlaceRule::Strict, &scenes, &[]);
    assert_eq!(first, ["0 1900 A dog on a sofa.", "4000 5900 A cat on a roof.", "says little: A dog on a sofa."]);
    let second = heard(PlaceRule::Strict, &scenes, &[(0, 4_000)]);
    assert_eq!(second[0], "no pause: A dog on a sofa.");
    assert_eq!(second[2], "8100 10000 A dog on a sofa.");
    // A scene that has been described stays so, though it is not described again.
    let thrice =
        heard(PlaceRule::Strict, &[&scenes[..], &[scene(12_000, 13_000, ""), back(13_000, 17_000)]].concat(), &[]);
    assert_eq!(thrice[2..], ["says little: A dog on a sofa.", "says little: A dog on a sofa."]);
}

#[test]
fn a_long_scene_is_described_once_and_as_soon_as_there_is_a_pause() {
    let scenes = [scene(0, 100_000, BEACH)];
    assert_eq!(heard(PlaceRule::Strict, &scenes, &[]).len(), 1);
    let got = heard(PlaceRule::Strict, &scenes, &[(0, 70_000)]);
    let none = "no pause: A man in a suit standing on a sandy beach.";
    assert_eq!(got, [none, none, "70200 74000 A man in a suit standing on a sandy beach."]);
}

#[test]
fn the_film_pauses_for_what_fits_nowhere() {
    let stopped = |scenes: &[PlaceableScene], speech: &[(i64, i64)], rule: PlaceRule| {
        let options = PlaceOptions { rule, extended: true, ..PlaceOptions::default() };
        let line = |decision: &PlaceDecision| match decision {
            PlaceDecision::Cue(cue) => (cue.start.millis(), cue.end.millis(), cue.pause.millis(), cue.text.clone()),
            PlaceDecision::Unplaced(scene) => (0, 0, 0, scene.text.clone()),
        };
        place(&options, scenes, speech).iter().map(line).collect::<Vec<_>>()
    };
    let text = || "A man in a suit standing on a sandy beach.".to_string();
    let beach = [scene(0, 8_000, ""), scene(8_000, 12_000, BEACH)];
    let both = [PlaceRule::Pauses, PlaceRule::Strict];
    for rule in both {
        // Before the scene, where nobody talks for half a second, or for less; then within the scene. Ten words take 3.75 s.
        let speech = [(0, 6_400), (6_900, 7_300), (7_400, 20_000)];
        assert_eq!(stopped(&beach, &speech, rule), [(6_400, 6_900, 3_250, text())]);
        // Nearer is better than longer.
        let speech = [(0, 6_000), (6_500, 7_700), (8_000, 20_000)];
        assert_eq!(stopped(&beach, &speech, rule), [(7_700, 8_000, 3_450, text())]);
        assert_eq!(stopped(&beach, &[(0, 7_300), (7_400, 20_000)], rule), [(7_300, 7_400, 3_650, text())]);
        assert_eq!(stopped(&beach, &[(0, 9_000), (9_600, 20_000)], rule), [(9_000, 9_500, 3_250, text())]);
        // Where a pause holds it, the film does not stop; and not for a short scene, or one that was there before.
        assert_eq!(stopped(&beach, &[(0, 6_000), (11_000, 20_000)], rule), [(7_000, 10_800, 0, text())]);
        let short = [scene(0, 2_000, BEACH), scene(2_000, 4_000, "")];
        assert_eq!(stopped(&short, &[(0, 20_000)], rule), [(0, 0, 0, text())]);
        let back = [PlaceableScene { novelty: SceneNovelty::Returning, ..scene(0, 9_000, BEACH) }];
        assert_eq!(stopped(&back, &[(0, 20_000)], rule), [(0, 0, 0, text())]);
    }
    // Somebody who never stops is interrupted at the cut, but by the strict rule.
    let never = both.map(|rule| stopped(&beach, &[(0, 20_000)], rule));
    assert_eq!(never, [[(8_000, 8_100, 3_650, text())], [(0, 0, 0, text())]]);
}

#[test]
fn what_does_not_fit_is_named() {
    let got = heard(PlaceRule::Strict, &[scene(0, 500, BEACH), scene(500, 700, "a dog"), scene(700, 9_000, "")], &[]);
    assert_eq!(got, ["says little: A man in a suit standing on a sandy beach.", "says little: A dog."]);
    let endless = format!("a man {}", "who never ends to walk on ".repeat(20).trim_end());
    assert_eq!(heard(PlaceRule::Strict, &[scene(0, 900, &endless)], &[])[0][..9], *"too short");
    let crowd = [scene(0, 9_000, "two dogs in a park"), scene(9_000, 14_000, "two cats on a roof")];
    let got = heard(PlaceRule::Strict, &crowd, &[(0, 7_500), (10_100, 30_000)]);
    assert_eq!(got, ["7700 9600 Two dogs in a park.", "others first: Two cats on a roof."]);
}
