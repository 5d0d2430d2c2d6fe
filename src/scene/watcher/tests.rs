//! Keyframes of made streams: cuts, flashes, dissolves, pans and black, at any frame rate.

use proptest::prelude::*;

use super::*;
use crate::scene::test_pictures::{blend, picture, thumb};

type Frames = Vec<(i64, Vec<f32>)>;

/// The keyframes, each with the frame at which it was chosen; a picture is the frame's number.
fn keyframes(frames: &Frames, max_gap: i64, not_before: impl Fn(usize) -> i64) -> Vec<(usize, LiveKeyframe<usize>)> {
    let mut watcher = Watcher::new(&WatcherOptions { max_gap: Time::from_millis(max_gap) });
    let mut out = Vec::new();
    for (i, (t, f)) in frames.iter().enumerate() {
        let keyframe = watcher.push(thumb(*t, i as u64, f), i, Time::from_millis(not_before(i)));
        assert!(watcher.recent.len() <= MAX_THUMBS);
        out.extend(keyframe.map(|g| (i, g)));
    }
    out
}

fn at_25(n: usize, f: impl Fn(usize) -> Vec<f32>) -> Frames {
    (0..n).map(|i| (i as i64 * 40, f(i))).collect()
}

#[test]
fn a_cut_gives_one_keyframe_soon() {
    let frames = at_25(200, |i| picture(if i < 100 { 1 } else { 4 }, i as f32 * 0.02));
    let out = keyframes(&frames, 60_000, |_| 0);
    assert_eq!(out.len(), 2, "{out:?}");
    assert!(out[0].0 <= 7 && out[0].1.start == Time::ZERO);
    assert!((105..=108).contains(&out[1].0), "{out:?}");
    assert_eq!(out[1].1.start, Time::from_millis(4_000));
    assert!(out[1].1.picture >= 100);
}

#[test]
fn a_flash_gives_none() {
    let frames = at_25(150, |i| if (80..83).contains(&i) { vec![250.0; 2304] } else { picture(2, 0.0) });
    assert_eq!(keyframes(&frames, 60_000, |_| 0).len(), 1);
    let frames = at_25(150, |i| picture(if (80..84).contains(&i) { 4 } else { 2 }, 0.0));
    assert_eq!(keyframes(&frames, 60_000, |_| 0).len(), 1);
}

#[test]
fn a_dissolve_gives_one_when_it_has_settled() {
    for length in [15, 25, 40] {
        let frames = at_25(250, |i| {
            blend(&picture(1, 0.0), &picture(4, 0.0), ((i as f32 - 100.0) / length as f32).clamp(0.0, 1.0))
        });
        let out = keyframes(&frames, 60_000, |_| 0);
        assert_eq!(out.len(), 2, "{length}: {out:?}");
        let end = 100 + length;
        // Hardly anything of the old picture is left, and it comes soon.
        assert!(out[1].1.picture + 3 >= end && out[1].0 <= end + 12, "{length}: {out:?}");
        assert!(out[1].1.start >= Time::from_millis(4_000));
    }
}

#[test]
fn a_moving_camera_gives_some() {
    let frames = at_25(500, |i| picture(3, i as f32 * 0.8));
    let out = keyframes(&frames, 60_000, |_| 0);
    assert!(out.len() > 3, "{out:?}");
    for pair in out.windows(2) {
        assert!(pair[1].1.time - pair[0].1.time >= MIN_SCENE);
    }
}

#[test]
fn long_shots_give_several() {
    let out = keyframes(&at_25(750, |i| picture(1, i as f32 * 0.001)), 8_000, |_| 0);
    assert_eq!(out.len(), 4, "{out:?}");
    assert!(out[1].1.start >= Time::from_millis(8_000) && out[1].1.start == out[1].1.time);
}

#[test]
fn black_gives_none_and_a_fade_from_it_is_awaited() {
    let frames = at_25(200, |i| {
        let gain = if i < 60 { 1.0 } else { ((i as f32 - 100.0) / 25.0).clamp(0.0, 1.0) };
        picture(if i < 60 { 1 } else { 4 }, 0.0).iter().map(|v| v * gain).collect()
    });
    let out = keyframes(&frames, 2_000, |_| 0);
    let second = &out.iter().find(|(_, g)| g.picture >= 60).unwrap().1;
    assert!(second.picture >= 118 && second.start >= Time::from_millis(3_960), "{out:?}");
    assert!(keyframes(&at_25(500, |_| vec![0.0; 2304]), 1_000, |_| 0).is_empty());
}

#[test]
fn a_dissolve_with_missing_frames_is_not_a_cut() {
    // Four frames in 30 ms, then none until 0.2 s have passed; the dissolve takes 0.9 s.
    let frames: Frames = (0..80)
        .map(|i| {
            let t = i / 4 * 200 + i % 4 * 10;
            (t, blend(&picture(1, 0.0), &picture(4, 0.0), ((t as f32 - 2_000.0) / 900.0).clamp(0.0, 1.0)))
        })
        .collect();
    let out = keyframes(&frames, 60_000, |_| 0);
    assert!(out.len() == 2 && out[1].1.time >= Time::from_millis(2_800), "{out:?}");
}

#[test]
fn keyframes_wait_until_they_are_wanted() {
    let frames = at_25(250, |i| picture(if i < 100 { 1 } else { 4 }, 0.0));
    let out = keyframes(&frames, 60_000, |i| if i < 100 { 0 } else { 6_000 });
    assert_eq!(out.len(), 2);
    assert_eq!(out[1].0, 150);
    assert_eq!(out[1].1.start, Time::from_millis(4_000));
    assert!(out[1].1.time >= Time::from_millis(6_000) - SETTLE);
}

#[test]
fn a_low_frame_rate_needs_no_waiting() {
    let frames: Frames = (0..10).map(|i| (i * 1_000, picture(if i < 5 { 1 } else { 4 }, 0.0))).collect();
    let out = keyframes(&frames, 60_000, |_| 0);
    assert_eq!(out.last().unwrap().0, 5, "{out:?}");
}

#[test]
fn frames_are_spread_over_the_scene_so_far() {
    let frames = at_25(400, |i| picture(if i < 100 { 1 } else { 4 }, 0.0));
    let mut watcher = Watcher::new(&WatcherOptions { max_gap: Time::from_millis(8_000) }).with_spread(3);
    let mut out = Vec::new();
    for (i, (t, f)) in frames.iter().enumerate() {
        out.extend(watcher.push(thumb(*t, i as u64, f), i, Time::ZERO).map(|keyframe| (i, keyframe)));
        assert!(watcher.spread.held() <= 6);
    }
    // As many keyframes as without, and at the same moments.
    let plain: Vec<usize> = keyframes(&frames, 8_000, |_| 0).iter().map(|(i, _)| *i).collect();
    assert_eq!(out.iter().map(|(i, _)| *i).collect::<Vec<_>>(), plain);
    assert!(plain.len() == 3, "{plain:?}");
    // After the cut: the frames of the new scene only. Then those since the keyframe before.
    for ((taken, keyframe), first) in out.iter().zip([0, 100, plain[1] + 1]) {
        let spread = &keyframe.spread;
        assert_eq!(spread.len(), 3, "{out:?}");
        assert!(spread.is_sorted() && spread[0] >= first && spread[2] <= *taken, "{out:?}");
    }
    let last = &out[2].1.spread;
    assert!(last[0] < 200 && last[2] > 240, "{last:?}");
}

#[test]
fn again_and_flush() {
    let mut watcher = Watcher::new(&WatcherOptions { max_gap: Time::from_millis(60_000) });
    let push = |watcher: &mut Watcher<u64>, i: u64, seed| {
        watcher.push(thumb(i as i64 * 40, i, &picture(seed, 0.0)), i, Time::ZERO)
    };
    let seen = (0..50).filter_map(|i| push(&mut watcher, i, 1)).count();
    watcher.again();
    assert_eq!(seen + (50..100).filter_map(|i| push(&mut watcher, i, 1)).count(), 2);
    assert_eq!(watcher.flush(), None);
    assert_eq!(push(&mut watcher, 100, 4), None);
    assert_eq!(watcher.waiting_since(), Some(Time::from_millis(4_000)));
    assert_eq!(watcher.flush().unwrap().picture, 100);
    assert_eq!(watcher.waiting_since(), None);
}

proptest! {
    #[test]
    fn keyframes_are_in_order_and_never_too_close(
        shots in proptest::collection::vec((0u32..6, 1usize..40, 0f32..1.0, 1i64..200), 1..20),
    ) {
        let (mut frames, mut t) = (Frames::new(), 0);
        for (seed, n, speed, step) in shots {
            for i in 0..n {
                t += step;
                frames.push((t, if seed == 5 { vec![0.0; 2304] } else { picture(seed, i as f32 * speed) }));
            }
        }
        let out = keyframes(&frames, 3_000, |_| 0);
        for (chosen, g) in &out {
            prop_assert!(g.start <= g.time && g.time <= Time::from_millis(frames[*chosen].0));
        }
        for pair in out.windows(2) {
            prop_assert!(pair[1].1.time > pair[0].1.time && pair[1].1.start >= pair[0].1.start);
        }
    }
}
