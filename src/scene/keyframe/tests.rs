//! The selector on synthesised pictures.

use proptest::prelude::*;

use super::*;
use crate::scene::boundary::Transition;
use crate::scene::options::{Detector, SceneOptions};
use crate::scene::test_pictures::{picture, thumb};
use crate::time::Time;

fn select(frames: &[(i64, Vec<f32>)], end: i64, gap: i64) -> Vec<Keyframe<u64>> {
    let options = KeyframeOptions { max_gap: Time::from_millis(gap) };
    let mut s = KeyframeSelector::new(&SceneOptions::default(), &options);
    let mut out = Vec::new();
    for (i, (t, f)) in frames.iter().enumerate() {
        out.extend(s.push(thumb(*t, i as u64, f), i as u64));
        assert!(s.held() <= MAX_PICTURES, "{}", s.held());
    }
    out.extend(s.finish(Time::from_millis(end)));
    out
}

fn tiles(keyframes: &[Keyframe<u64>], first: i64, end: i64) {
    assert_eq!(keyframes[0].start, Time::from_millis(first));
    assert_eq!(keyframes.last().unwrap().end, Time::from_millis(end));
    for pair in keyframes.windows(2) {
        assert_eq!(pair[0].end, pair[1].start);
        assert_eq!(pair[0].end_frame, pair[1].start_frame);
    }
    for k in keyframes {
        assert!(k.start < k.end && k.start <= k.time && k.time < k.end, "{k:?}");
    }
}

#[test]
fn one_keyframe_a_scene_and_the_sharpest() {
    let mut frames: Vec<_> = (0..100).map(|i| (i * 40, picture(if i < 50 { 1 } else { 4 }, 0.0))).collect();
    frames.truncate(100);
    let mut s = KeyframeSelector::new(&SceneOptions::default(), &KeyframeOptions::default());
    let mut out = Vec::new();
    for (i, (t, f)) in frames.iter().enumerate() {
        let mut th = thumb(*t, i as u64, f);
        if i == 33 || i == 77 {
            th.sharpness = 9.0;
        }
        out.extend(s.push(th, i));
    }
    out.extend(s.finish(Time::from_millis(4_000)));
    assert_eq!(out.iter().map(|k| k.picture).collect::<Vec<_>>(), [33, 77]);
    assert_eq!(out[1].start, Time::from_millis(2_000));
}

#[test]
fn a_long_shot_gets_several_keyframes() {
    let frames: Vec<_> = (0..1000).map(|i| (i * 40, picture(1, i as f32 * 0.01))).collect();
    let out = select(&frames, 40_000, 8_000);
    tiles(&out, 0, 40_000);
    assert_eq!(out.len(), 5, "{:?}", out.iter().map(|k| k.start.secs()).collect::<Vec<_>>());
    assert!(out.iter().skip(1).all(|k| k.transition == Transition::Gap && k.scene == 0));
}

#[test]
fn blank_scenes_are_marked_and_transitions_avoided() {
    let frames: Vec<_> = (0..150)
        .map(|i| (i * 40, if (50..100).contains(&i) { vec![0.0; 2304] } else { picture(1 + i as u32 / 100 * 3, 0.0) }))
        .collect();
    let out = select(&frames, 6_000, 8_000);
    tiles(&out, 0, 6_000);
    assert_eq!(out.iter().map(|k| k.blank).collect::<Vec<_>>(), [false, true, false]);
    let dissolve: Vec<_> = (0..150)
        .map(|i| {
            let share = ((i - 60) as f32 / 25.0).clamp(0.0, 1.0);
            let (a, b) = (picture(1, 0.0), picture(4, 0.0));
            (i * 40, a.iter().zip(&b).map(|(x, y)| x * (1.0 - share) + y * share).collect())
        })
        .collect();
    let out = select(&dissolve, 6_000, 8_000);
    tiles(&out, 0, 6_000);
    assert!(
        out.iter().all(|k| !(61..85).contains(&k.picture)),
        "{:?}",
        out.iter().map(|k| k.picture).collect::<Vec<_>>()
    );
}

#[test]
fn one_frame_is_a_scene_and_no_frame_is_none() {
    let out = select(&[(500, picture(1, 0.0))], 540, 8_000);
    tiles(&out, 500, 540);
    assert!(select(&[], 0, 8_000).is_empty());
}

#[test]
fn scenes_below_the_minimum_join_and_still_tile() {
    // Shots of 4 frames (0.16 s) between two of 2 s.
    let frames: Vec<_> = (0..124u32)
        .map(|i| {
            (
                i64::from(i) * 40,
                picture(if (50..74).contains(&i) { 2 + (i - 50) / 4 } else { 1 + i / 74 * 8 }, i as f32 * 0.1),
            )
        })
        .collect();
    let k = select(&frames, 4_960, 60_000);
    tiles(&k, 0, 4_960);
    let least = SceneOptions::default().min_scene;
    assert!(k.iter().all(|k| k.end - k.start >= least), "{k:?}");
    assert!(k.len() > 2, "{k:?}");
}

#[test]
fn pictures_held_are_bounded_even_if_every_frame_is_a_scene() {
    // Sixty pictures a second, none like the previous one; and one shot at 240 frames a second.
    let chaos: Vec<_> = (0..400).map(|i| (i * 1000 / 60, picture(i as u32 * 7 % 13, i as f32 * 9.0))).collect();
    tiles(&select(&chaos, 7_000, 8_000), 0, 7_000);
    let fast: Vec<_> = (0..2_400).map(|i| (i * 1000 / 240, picture(1, i as f32 * 0.01))).collect();
    tiles(&select(&fast, 10_000, 4_000), 0, 10_000);
}

#[test]
fn stillness_counts_on_both_sides() {
    // The last frame before a cut and the first after it are as sharp as any, and are not taken.
    let frames: Vec<_> = (0..100).map(|i| (i * 40, picture(if i < 50 { 1 } else { 4 }, 0.0))).collect();
    let mut s = KeyframeSelector::new(&SceneOptions::default(), &KeyframeOptions::default());
    let mut out = Vec::new();
    for (i, (t, f)) in frames.iter().enumerate() {
        let mut th = thumb(*t, i as u64, f);
        th.sharpness = if [20, 49, 50, 70].contains(&i) { 9.0 } else { 5.0 };
        out.extend(s.push(th, i));
    }
    out.extend(s.finish(Time::from_millis(4_000)));
    assert_eq!(out.iter().map(|k| k.picture).collect::<Vec<_>>(), [20, 70]);
}

#[test]
fn odd_clocks_still_tile() {
    let times = [5_000, 5_000, 4_000, 5_040, 9_000, 8_000, 8_500, 60_000, 60_000, 1_000];
    let mut s = KeyframeSelector::new(&SceneOptions::default(), &KeyframeOptions::default());
    let mut out = Vec::new();
    for (i, t) in times.into_iter().enumerate() {
        out.extend(s.push(thumb(t, i as u64, &picture(i as u32, 0.0)), i));
    }
    out.extend(s.finish(Time::from_millis(2_000)));
    assert_eq!(out.first().map(|k| k.start), Some(Time::from_millis(5_000)));
    assert_eq!(out.last().map(|k| k.end), Some(Time::from_millis(60_001)));
    for pair in out.windows(2) {
        assert_eq!(pair[0].end, pair[1].start);
    }
    assert!(out.iter().all(|k| k.start < k.end));
}

#[test]
fn sparse_frames_are_scenes_where_they_differ() {
    let frames: Vec<_> = (0..20).map(|i| (i * 2_000, picture(i as u32 / 5, 0.1 * i as f32))).collect();
    let out = select(&frames, 40_000, 100_000);
    tiles(&out, 0, 40_000);
    assert_eq!(out.iter().map(|k| k.start_frame).collect::<Vec<_>>(), [0, 5, 10, 15]);
}

#[test]
fn other_detectors_tile_too() {
    for detector in [Detector::Content, Detector::Fixed] {
        let interval = Time::from_millis(1_000);
        let options = SceneOptions { detector, threshold: 10.0, interval, ..SceneOptions::default() };
        let mut s = KeyframeSelector::new(&options, &KeyframeOptions::default());
        let mut out = Vec::new();
        for i in 0..100u64 {
            out.extend(s.push(thumb(i as i64 * 40, i, &picture(if i < 50 { 1 } else { 4 }, 0.0)), i));
        }
        out.extend(s.finish(Time::from_millis(4_000)));
        tiles(&out, 0, 4_000);
        assert!(out.iter().any(|k| k.start == Time::from_millis(2_000)), "{detector:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn time_is_always_tiled(shots in prop::collection::vec((0u32..6, 1usize..60, 0u8..6), 1..12), step in 5i64..400, gap in 500i64..9000) {
        let mut frames = Vec::new();
        for (seed, length, kind) in shots {
            for k in 0..length {
                let p = picture(seed, k as f32 * 0.2);
                let share = k as f32 / length as f32;
                frames.push((frames.len() as i64 * step, match kind {
                    0 => vec![10.0; 2304],
                    4 => picture(k as u32, 0.0),
                    5 => p.iter().map(|v| v * 0.1).collect(),
                    1 => p.iter().map(|v| v * share).collect(),
                    2 => p.iter().zip(&picture(seed + 1, 0.0)).map(|(a, b)| a * (1.0 - share) + b * share).collect(),
                    _ => p,
                }));
            }
        }
        let end = frames.len() as i64 * step;
        let out = select(&frames, end, gap);
        tiles(&out, 0, end);
    }
}
