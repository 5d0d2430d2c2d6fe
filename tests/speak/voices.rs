//! Voices: how texts fit into their pauses, and a real one.

use crate::common::Bench;
use crate::support::{descriptions, find, loudness, samples, speak, spoken, voice};

fn film(b: &Bench) {
    b.ffmpeg("-f lavfi -i anoisesrc=d=12:c=pink:a=0.1:r=48000 -c:a pcm_s16le film.wav");
}

#[test]
fn a_long_text_is_spoken_faster_then_shortened() {
    let b = Bench::new();
    film(&b);
    // The first takes 1.35 s, for which there are 1.1 s; the second 2.95 s, for which there are 1.8 s.
    let texts = [
        (1_000, "A dog runs across the lawn."),
        (2_300, "A dog runs across the lawn with a ball in front of a house."),
        (4_300, "A cat."),
    ];
    descriptions(&b, &texts);
    let told = speak(&b, "film.wav", "a.wav", &["-v"], 0);
    assert!(told.contains("1 description lost words") && told.contains("3 descriptions, 2 of them faster"), "{told}");
    let mixed = samples(&b, "a.wav", "a:0");
    let begins = find(&spoken(&b, "A cat."), &mixed, 4.25, 4.35);
    assert!((begins - 4.3).abs() < 0.01, "{begins}");
    // A voice that can speak faster does so itself: then the same tone is only shorter.
    let faster = format!("{} {{speed}}", voice());
    let args = ["speak", "film.wav", "--descriptions", "film.vtt", "-o", "b.wav", "--only", "--voice-command", &faster];
    b.run(&args, 0);
    let alone = samples(&b, "b.wav", "a:0");
    let heard = |from: f64, to: f64| {
        alone[(from * 48e3) as usize..(to * 48e3) as usize].iter().filter(|s| s.abs() > 1e-3).count() as f64 / 48e3
    };
    assert!(heard(1.0, 2.2) > 1.0 && heard(2.11, 2.29) == 0.0, "{} {}", heard(1.0, 2.2), heard(2.11, 2.29));
}

#[test]
fn a_text_without_room_is_reported() {
    let b = Bench::new();
    film(&b);
    descriptions(&b, &[(1_000, "A dog runs across the lawn."), (1_250, "A cat."), (30_000, "The end.")]);
    let told = speak(&b, "film.wav", "a.wav", &[], 0);
    assert!(told.contains("no room at 0:01 for: A dog runs across the lawn."), "{told}");
    assert!(told.contains("no room at 0:30 for: The end."), "{told}");
}

#[test]
fn a_pause_can_be_that_of_the_cue() {
    let b = Bench::new();
    film(&b);
    descriptions(&b, &[(1_000, "A dog runs across the lawn.")]);
    let told = speak(&b, "film.wav", "a.wav", &["-v"], 0);
    assert!(told.contains("1 description, 0 of them faster"), "{told}");
    let told = speak(&b, "film.wav", "b.wav", &["-v", "--within-cues"], 0);
    assert!(told.contains("1 description, 1 of them faster"), "{told}");
}

#[test]
fn espeak_speaks() {
    let b = Bench::new();
    film(&b);
    descriptions(&b, &[(1_000, "A dog runs across the lawn."), (6_000, "Two people cook a meal in a large kitchen.")]);
    let args = ["speak", "film.wav", "--descriptions", "film.vtt", "-o", "a.wav", "--only"];
    b.run(&args, 0);
    let (programme, speech) = (loudness(&b, "film.wav", "a:0").0, loudness(&b, "a.wav", "a:0").0);
    assert!((programme - speech).abs() < 1.0, "{programme} {speech}");
    let alone = samples(&b, "a.wav", "a:0");
    let loud = |from: f64, to: f64| alone[(from * 48e3) as usize..(to * 48e3) as usize].iter().any(|s| s.abs() > 0.01);
    assert!(!loud(0.0, 0.999) && loud(1.0, 1.05) && !loud(4.5, 5.999) && loud(6.0, 6.1) && loud(7.0, 8.0));
}
