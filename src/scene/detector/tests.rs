//! The adaptive detector on synthesised pictures.

use super::*;
use crate::scene::test_pictures::{blend, picture, thumb};

fn run(frames: impl IntoIterator<Item = Vec<f32>>) -> Vec<Boundary> {
    let mut d = SceneDetector::new(&SceneOptions::default());
    let mut out = Vec::new();
    for (i, f) in frames.into_iter().enumerate() {
        out.extend(d.push(&thumb(i as i64 * 40, i as u64, &f)));
        assert!(d.frames.len() <= MAX_HELD);
    }
    out.extend(d.finish());
    out
}

#[test]
fn cut_is_found_on_its_frame() {
    let b = run((0..100).map(|i| picture(if i < 50 { 1 } else { 4 }, i as f32 * 0.1)));
    assert_eq!(b.iter().map(|b| (b.index, b.transition)).collect::<Vec<_>>(), [(50, Transition::Cut)]);
}

#[test]
fn a_flash_is_not_a_cut() {
    let b = run((0..100).map(|i| {
        let p = picture(1, i as f32 * 0.1);
        if (50..53).contains(&i) { p.iter().map(|v| v * 0.2 + 200.0).collect() } else { p }
    }));
    assert_eq!(b, []);
    let b = run((0..100).map(|i| if (50..53).contains(&i) { vec![250.0; 2304] } else { picture(2, 0.0) }));
    assert_eq!(b, []);
}

#[test]
fn dissolve_is_found_in_its_middle() {
    for length in [8, 15, 25, 50] {
        let b = run((0..150).map(|i| {
            let share = ((i - 60) as f32 / length as f32).clamp(0.0, 1.0);
            blend(&picture(1, i as f32 * 0.05), &picture(4, i as f32 * 0.05), share)
        }));
        assert_eq!(b.len(), 1, "{length}: {b:?}");
        assert_eq!(b[0].transition, Transition::Dissolve);
        let middle = 60 + length as u64 / 2;
        assert!(b[0].index.abs_diff(middle) <= 3, "{length}: {b:?}");
    }
}

#[test]
fn fade_through_black_is_one_boundary_where_the_new_picture_shows() {
    let b = run((0..150).map(|i| {
        let (p, gain) = if i < 70 {
            (picture(1, 0.0), ((65 - i) as f32 / 20.0).clamp(0.0, 1.0))
        } else {
            (picture(4, 0.0), ((i - 75) as f32 / 20.0).clamp(0.0, 1.0))
        };
        p.iter().map(|v| v * gain).collect()
    }));
    assert_eq!(b.len(), 1, "{b:?}");
    assert_eq!(b[0].transition, Transition::Fade);
    assert!((75..=80).contains(&b[0].index), "{b:?}");
}

#[test]
fn a_long_black_stretch_is_a_scene() {
    let b = run((0..150)
        .map(|i| if (50..100).contains(&i) { vec![0.0; 2304] } else { picture(if i < 50 { 1 } else { 4 }, 0.0) }));
    assert_eq!(b.iter().map(|b| b.index).collect::<Vec<_>>(), [50, 100]);
}

#[test]
fn pan_and_noise_are_not_cuts() {
    assert_eq!(run((0..150).map(|i| picture(3, i as f32 * 1.5))), []);
    let mut state = 1u32;
    let noise = (0..150).map(|_| {
        picture(2, 0.0)
            .iter()
            .map(|v| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                v + (state >> 24) as f32 * 0.3 - 38.0
            })
            .collect()
    });
    assert_eq!(run(noise.collect::<Vec<_>>()), []);
}

#[test]
fn never_panics_on_odd_clocks() {
    let mut d = SceneDetector::new(&SceneOptions::default());
    for (i, t) in [0, 0, -500, 10, i64::MAX / 2000, 3, 3].into_iter().enumerate() {
        d.push(&thumb(t, i as u64, &picture(i as u32, 0.0)));
    }
    d.finish();
}

/// As `run`, with frames at given times.
fn run_at(frames: impl IntoIterator<Item = (f64, Vec<f32>)>) -> Vec<(u64, Transition)> {
    let mut d = SceneDetector::new(&SceneOptions::default());
    let mut out = Vec::new();
    for (i, (ms, f)) in frames.into_iter().enumerate() {
        let mut t = thumb(0, i as u64, &f);
        t.time = Time::from_secs(ms / 1e3);
        out.extend(d.push(&t));
        assert!(d.frames.len() <= MAX_HELD && d.found.len() < 100 && d.fades.spans.len() < 100);
    }
    out.extend(d.finish());
    out.iter().map(|b| (b.index, b.transition)).collect()
}

fn gain(p: &[f32], by: f32) -> Vec<f32> {
    p.iter().map(|v| v * by).collect()
}

#[test]
fn high_frame_rates_lose_neither_cuts_nor_dissolves() {
    for rate in [120.0, 240.0, 1000.0] {
        let n = (6.0 * rate) as usize;
        let frames = (0..n).map(|i| {
            let t = i as f64 / rate;
            let share = ((t - 3.0) as f32).clamp(0.0, 1.0);
            let p = if t < 1.5 { picture(2, 0.0) } else { blend(&picture(1, 0.0), &picture(4, 0.0), share) };
            (t * 1e3, p)
        });
        let b = run_at(frames);
        assert_eq!(b.len(), 2, "{rate}: {b:?}");
        assert_eq!(b[0], ((1.5 * rate) as u64, Transition::Cut));
        assert_eq!(b[1].1, Transition::Dissolve);
        assert!((b[1].0 as f64 / rate - 3.5).abs() < 0.1, "{rate}: {b:?}");
    }
}

#[test]
fn uneven_frame_times_are_not_cuts() {
    // A steady motion, with frames after 1, 1, 1 and 6 sixtieths of a second.
    let mut at = 0.0;
    let frames = (0..200).map(|i| {
        at += if i % 4 == 3 { 6.0 } else { 1.0 } / 60.0;
        (at * 1e3, picture(if i < 100 { 3 } else { 1 }, at as f32 * 18.0))
    });
    assert_eq!(run_at(frames.collect::<Vec<_>>()), [(100, Transition::Cut)]);
}

#[test]
fn repeated_frames_are_not_cuts() {
    for times in [2, 3] {
        let frames = (0..240).map(|i| picture(if i < 120 { 3 } else { 1 }, (i / times * times) as f32 * 1.2));
        assert_eq!(run(frames).iter().map(|b| b.index).collect::<Vec<_>>(), [120], "{times}");
    }
}

#[test]
fn min_scene_holds_and_the_first_cut_stays() {
    let shots = [30, 5, 6, 40];
    let frames = shots.iter().enumerate().flat_map(|(k, &n)| vec![picture(k as u32, 0.0); n]);
    assert_eq!(run(frames.collect::<Vec<_>>()).iter().map(|b| b.index).collect::<Vec<_>>(), [30]);
}

#[test]
fn dark_cuts_are_cuts() {
    let b = run((0..100).map(|i| gain(&picture(if i < 50 { 1 } else { 4 }, 0.0), 0.15)));
    assert_eq!(b.iter().map(|b| b.index).collect::<Vec<_>>(), [50]);
}

#[test]
fn one_colour_after_another_is_a_cut() {
    let b = run((0..100).map(|i| vec![if i < 50 { 60.0 } else { 180.0 }; 2304]));
    assert_eq!(b.iter().map(|b| (b.index, b.transition)).collect::<Vec<_>>(), [(50, Transition::Cut)]);
}

#[test]
fn changes_of_light_and_camera_motion_are_not_cuts() {
    let lamp = (0..120).map(|i| gain(&picture(2, i as f32 * 0.1), if i < 60 { 1.0 } else { 0.4 }));
    assert_eq!(run(lamp), []);
    let dusk = (0..200).map(|i| gain(&picture(2, 0.0), 1.0 - 0.004 * i as f32));
    assert_eq!(run(dusk), []);
    let shake = (0..150).map(|i| picture(2, 3.0 * (i as f32 * 1.9).sin()));
    assert_eq!(run(shake), []);
    let pan = (0..200).map(|i| picture(5, 90.0 * (0.5 - 0.5 * (i as f32 / 40.0).cos())));
    assert_eq!(run(pan), []);
}

#[test]
fn fades_at_the_ends_are_not_scenes() {
    let b = run((0..150).map(|i| {
        let level = (i as f32 / 20.0).min((149 - i) as f32 / 20.0).clamp(0.0, 1.0);
        gain(&picture(1, 0.0), level)
    }));
    assert_eq!(b, []);
}

#[test]
fn a_short_dip_to_the_same_picture_is_not_a_boundary() {
    let b = run((0..150).map(|i| {
        let level = ((i as f32 - 75.0).abs() / 15.0 - 0.2).clamp(0.0, 1.0);
        gain(&picture(1, i as f32 * 0.02), level)
    }));
    assert_eq!(b, []);
}

#[test]
fn fades_through_any_colour() {
    for colour in [0.0, 128.0, 255.0] {
        for (out, hold, back) in [(6, 1, 6), (30, 5, 10), (25, 12, 30)] {
            let b = run((0..160).map(|i| {
                let a = ((60 + out - i) as f32 / out as f32).clamp(0.0, 1.0);
                let c = ((i - 60 - out - hold) as f32 / back as f32).clamp(0.0, 1.0);
                let flat = vec![colour; 2304];
                if a > 0.0 { blend(&flat, &picture(1, 0.0), a) } else { blend(&flat, &picture(4, 0.0), c) }
            }));
            assert_eq!(b.len(), 1, "{colour} {out}: {b:?}");
            assert_eq!(b[0].transition, Transition::Fade);
            let shows = 60 + out as i64 + hold as i64;
            assert!((0..=4).contains(&(b[0].index as i64 - shows)), "{colour} {out}: {b:?}");
            assert!(b[0].from < b[0].at && b[0].at < b[0].to, "{b:?}");
        }
    }
}

#[test]
fn a_flash_between_two_shots_is_one_boundary() {
    let b = run((0..100).map(|i| match i {
        ..50 => picture(1, 0.0),
        50..52 => vec![250.0; 2304],
        _ => picture(4, 0.0),
    }));
    assert_eq!(b.len(), 1, "{b:?}");
    assert!((50..=52).contains(&b[0].index), "{b:?}");
}

#[test]
fn dissolves_between_moving_shots() {
    let b = run((0..150).map(|i| {
        let share = ((i - 60) as f32 / 30.0).clamp(0.0, 1.0);
        blend(&picture(1, i as f32 * 0.15), &picture(4, i as f32 * -0.1), share)
    }));
    assert_eq!(b.iter().map(|b| b.transition).collect::<Vec<_>>(), [Transition::Dissolve], "{b:?}");
    assert!(b[0].from.millis() >= 2_200 && b[0].to.millis() <= 3_900, "{b:?}");
}

#[test]
fn boundaries_are_in_order_and_not_before_the_horizon() {
    let mut d = SceneDetector::new(&SceneOptions::default());
    let (mut last, mut horizon) = (Time::ZERO, Time::ZERO - Time::MAX);
    for i in 0..1_500u64 {
        // Cuts, fades and dissolves in turn, one every two seconds.
        let (shot, k) = (i as u32 / 50, i as u32 % 50);
        let (p, next) = (picture(shot, k as f32 * 0.05), picture(shot + 1, 0.0));
        let frame = match shot % 3 {
            1 if k >= 30 => gain(&p, (48 - k.min(48)) as f32 / 18.0),
            2 if k >= 30 => blend(&p, &next, (k - 29) as f32 / 21.0),
            _ => p,
        };
        for b in d.push(&thumb(i as i64 * 40, i, &frame)) {
            assert!(b.at > last && b.from <= b.at && b.at <= b.to, "{b:?}");
            assert!(b.from >= horizon, "{b:?} {horizon:?}");
            last = b.at;
        }
        horizon = d.horizon();
    }
    assert!(last > Time::from_millis(50_000));
}
