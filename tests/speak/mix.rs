//! What is heard: where descriptions begin, how far the programme is turned down, how loud everything is.

use crate::common::Bench;
use crate::support::{RATE, descriptions, find, level, loudness, samples, speak, spoken};

/// A film with a tone of 220 Hz, which the voice never has, and silence from 12 s on.
fn film(b: &Bench, sound: &str) {
    b.ffmpeg(&format!(
        "-f lavfi -i testsrc2=size=64x36:rate=10:duration=16 -f lavfi -i {sound} -c:v ffv1 -c:a pcm_s16le film.mkv"
    ));
}

const TONE: &str = "aevalsrc=0.2*sin(2*PI*220*t)*lt(t\\,12)|0.2*sin(2*PI*220*t)*lt(t\\,12):d=16:s=48000";

#[test]
fn descriptions_begin_where_they_should_in_every_container() {
    let b = Bench::new();
    film(&b, TONE);
    let texts = [(2_345, "A dog runs across the lawn."), (7_010, "A cat."), (12_990, "Someone cooks a meal.")];
    descriptions(&b, &texts);
    for output in ["a.mkv", "a.mp4", "a.mov", "a.m4a", "a.mka", "a.opus", "a.mp3", "a.flac", "a.wav"] {
        let stream = if output.ends_with(".mkv") { "a:1" } else { "a:0" };
        let input = if matches!(output, "a.mp4" | "a.mov") {
            b.ffmpeg("-i film.mkv -c:v mpeg4 -c:a aac film.mp4");
            "film.mp4"
        } else {
            "film.mkv"
        };
        let stream = if input == "film.mp4" { "a:1" } else { stream };
        speak(&b, input, output, &[], 0);
        let mixed = samples(&b, output, stream);
        assert!((mixed.len() as f64 / RATE as f64 - 16.0).abs() < 0.1, "{output}: {}", mixed.len());
        for (start, text) in texts {
            let want = f64::from(start) / 1e3;
            let begins = find(&spoken(&b, text), &mixed, want - 0.05, want + 0.05);
            assert!((begins - want).abs() < 0.01, "{output}: {begins} and not {want}");
        }
    }
}

#[test]
fn the_programme_is_turned_down_under_descriptions_alone() {
    let b = Bench::new();
    film(&b, TONE);
    descriptions(&b, &[(3_000, "A dog runs across the wide green lawn.")]);
    speak(&b, "film.mkv", "a.wav", &[], 0);
    let (before, after) = (samples(&b, "film.mkv", "a:0"), samples(&b, "a.wav", "a:0"));
    let change = |at: f64| level(&after, 220.0, at) - level(&before, 220.0, at);
    // The description ends at 4.9 s.
    for at in [0.5, 2.6, 5.3, 8.0] {
        assert!(change(at).abs() < 0.05, "{at} s: {}", change(at));
    }
    for at in [3.1, 4.0, 4.8] {
        assert!((change(at) + 8.2).abs() < 0.15, "{at} s: {}", change(at));
    }
    // In the middle of a ramp of 0.3 s, half of the way: −3.15 dB.
    for at in [2.825, 5.025] {
        assert!((change(at) + 3.15).abs() < 0.5, "{at} s: {}", change(at));
    }
    // No click: no step is larger than those of the tone and of the voice.
    let step = |s: &[f32]| s.windows(2).map(|w| (w[0] - w[1]).abs()).fold(0f32, f32::max);
    let quiet = |from: f64, to: f64| &after[(from * RATE as f64) as usize..(to * RATE as f64) as usize];
    assert!(step(quiet(0.0, 2.99)) < 1.1 * step(&before[..RATE]));
}

#[test]
fn depth_and_ramps_are_options() {
    let b = Bench::new();
    film(&b, TONE);
    descriptions(&b, &[(3_000, "A dog runs across the wide green lawn.")]);
    speak(&b, "film.mkv", "a.wav", &["--duck", "14", "--ramp", "1"], 0);
    let (before, after) = (samples(&b, "film.mkv", "a:0"), samples(&b, "a.wav", "a:0"));
    let change = |at: f64| level(&after, 220.0, at) - level(&before, 220.0, at);
    assert!((change(4.0) + 14.0).abs() < 0.2, "{}", change(4.0));
    assert!(change(2.5) < -3.0 && change(1.9).abs() < 0.05, "{} {}", change(2.5), change(1.9));
}

#[test]
fn a_silent_programme_is_not_turned_down() {
    let b = Bench::new();
    // Too quiet to be heard, but there.
    film(&b, "aevalsrc=if(lt(t\\,6)\\,0.2\\,0.0005)*sin(2*PI*220*t):d=16:s=48000");
    descriptions(&b, &[(2_000, "A dog runs."), (10_000, "A cat sleeps.")]);
    speak(&b, "film.mkv", "a.flac", &[], 0);
    let (before, after) = (samples(&b, "film.mkv", "a:0"), samples(&b, "a.flac", "a:0"));
    let change = |at: f64| level(&after, 220.0, at) - level(&before, 220.0, at);
    assert!(change(2.2) < -8.0, "{}", change(2.2));
    assert!(change(9.9).abs() < 0.5, "{}", change(9.9));
}

#[test]
fn descriptions_are_as_loud_as_the_programme() {
    let b = Bench::new();
    let texts: Vec<(u32, &str)> = (0..5).map(|n| (500 + n * 3_000, "A dog runs across the wide green lawn.")).collect();
    for (sound, gain) in [
        ("anoisesrc=d=16:c=pink:a=0.3:r=48000,aformat=channel_layouts=stereo", "0"),
        ("anoisesrc=d=16:c=pink:a=0.1:r=44100,aformat=channel_layouts=mono", "0"),
        ("anoisesrc=d=16:c=pink:a=0.1:r=48000,aformat=channel_layouts=5.1", "-3"),
    ] {
        film(&b, sound);
        descriptions(&b, &texts);
        speak(&b, "film.mkv", "a.wav", &["--only", "--force", "--gain", gain], 0);
        let (programme, _) = loudness(&b, "film.mkv", "a:0");
        let (speech, _) = loudness(&b, "a.wav", "a:0");
        let want = programme + gain.parse::<f64>().unwrap();
        assert!((speech - want).abs() < 1.0, "{sound}: {speech} and not {want}");
    }
}

#[test]
fn true_peaks_stay_below_two_decibels() {
    let b = Bench::new();
    descriptions(&b, &[(500, "A dog runs across the wide green lawn."), (3_000, "A cat.")]);
    // As loud as a film gets: bass, tones and noise that are clipped at full scale. White noise is what lossy codecs change
    // most: it needs another mix.
    let loud = "aevalsrc=clip(1.5*sin(2*PI*110*t)+0.7*sin(2*PI*997*t)*lt(mod(t\\,2)\\,1)+0.05*(random(0)-0.5)\\,-1\\,1):d=4:s=48000";
    let noise = "aevalsrc=2*random(0)-1:d=4:s=48000";
    let all = ["n.wav", "n.flac", "n.m4a", "n.opus", "n.mp3"].map(|name| (noise, name)).into_iter().chain([
        (loud, "a.wav"),
        (loud, "a.m4a"),
        (loud, "a.opus"),
        (loud, "a.mp3"),
    ]);
    for (sound, output) in all {
        b.ffmpeg(&format!("-f lavfi -i {sound} -c:a pcm_f32le film.wav"));
        speak(&b, "film.wav", output, &["--gain", "12"], 0);
        let (_, peak) = loudness(&b, output, "a:0");
        assert!(peak <= -2.0, "{output}: {peak} dBTP");
        assert!(peak > -8.0, "{output}: {peak} dBTP");
    }
}
