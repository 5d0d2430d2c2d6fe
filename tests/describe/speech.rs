//! The detector of speech against Silero's own package, on a sound of 8.7 s in which two synthetic voices speak between
//! noise, silence and a plucked string. `tests/goldens/make_speech.py` says how it and its figures were made.

use descry::speech::{SAMPLE_RATE, Segmenter, SpeechDetector, WINDOW};
use serde_json::Value;

use crate::common::root;

fn golden() -> Value {
    serde_json::from_slice(&std::fs::read(root().join("tests/goldens/speech/speech.json")).unwrap()).unwrap()
}

/// Samples of the sound. Its header has 44 bytes.
fn sound() -> Vec<f32> {
    let file = std::fs::read(root().join("tests/goldens/speech/speech.wav")).unwrap();
    assert_eq!(file[24..28], SAMPLE_RATE.to_le_bytes());
    file[44..].as_chunks().0.iter().map(|&b| f32::from(i16::from_le_bytes(b)) / 32768.0).collect()
}

/// Probabilities of a sound that arrives in pieces of this many samples.
fn probabilities(detector: &mut SpeechDetector, sound: &[f32], piece: usize) -> Vec<f32> {
    let mut found = Vec::new();
    for piece in sound.chunks(piece) {
        detector.push(piece, &mut found).unwrap();
    }
    detector.finish(&mut found).unwrap();
    found
}

#[test]
fn probabilities_and_segments_are_those_of_sileros_package() {
    let (sound, golden) = (sound(), golden());
    let mut detector = SpeechDetector::load().unwrap();
    let found = probabilities(&mut detector, &sound, 10_000);
    let expected: Vec<f64> = golden["probabilities"].as_array().unwrap().iter().map(|p| p.as_f64().unwrap()).collect();
    assert_eq!((found.len(), found.len()), (expected.len(), sound.len().div_ceil(WINDOW)));
    for (n, (a, b)) in found.iter().zip(&expected).enumerate() {
        assert!((f64::from(*a) - b).abs() < 1e-4, "window {n}: {a}, expected {b}");
    }

    let mut segmenter = Segmenter::default();
    let mut segments: Vec<_> = found.iter().filter_map(|&p| segmenter.push(p)).collect();
    segments.extend(segmenter.finish(sound.len() as u64));
    let expected: Vec<Vec<u64>> = serde_json::from_value(golden["segments"].clone()).unwrap();
    assert_eq!(segments.iter().map(|s| vec![s.start, s.end]).collect::<Vec<_>>(), expected);

    // However the sound is cut, and whatever came before.
    for piece in [1_000, 16_384, sound.len()] {
        assert_eq!(probabilities(&mut detector, &sound, piece), found, "{piece}");
    }
}

#[test]
fn samples_that_are_no_numbers_do_not_spoil_what_follows() {
    let mut detector = SpeechDetector::load().unwrap();
    let mut broken = vec![f32::NAN; 16_384];
    broken.extend(sound());
    let found = probabilities(&mut detector, &broken, 4_096);
    assert!(found.iter().all(|p| (0.0..=1.0).contains(p)));
    let silence = probabilities(&mut detector, &vec![0.0; 16_384], 4_096);
    assert_eq!(found[..32], silence[..32]);
    assert!(found[32..].iter().any(|&p| p > 0.9));
}
