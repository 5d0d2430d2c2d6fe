//! `--describe`: films that are described and spoken in one run, and dialogue, as loud as which descriptions are.

use descry::speech::SAMPLE_RATE;

use crate::common::{Bench, root, tiny};
use crate::support::{descriptions, files, loudness, speak, voice};

/// Two shots, and a tone.
fn film(b: &Bench) {
    b.ffmpeg(
        "-f lavfi -i testsrc2=size=192x108:rate=25:duration=12,hue=h=137*floor(t/6):s=1+mod(floor(t/6)\\,2)*3 \
         -f lavfi -i sine=300:d=12:r=48000 -c:v libx264 -preset ultrafast -c:a aac film.mp4",
    );
}

#[test]
fn a_film_is_described_and_spoken_in_one_run() {
    let b = Bench::new();
    film(&b);
    let voice = voice();
    b.run(&tiny(&["describe", "film.mp4", "--min-score", "0"]), 0);
    for (output, more) in [("a.mkv", &[][..]), ("a.m4a", &[]), ("a.mp4", &["--extended"])] {
        let from_file = format!("file.{output}");
        let two = ["speak", "film.mp4", "--descriptions", "film.vtt", "-o", &from_file, "--voice-command", &voice];
        b.run(&[&two, more].concat(), 0);
        let one = ["speak", "film.mp4", "--describe", "--min-score", "0", "-o", output, "--voice-command", &voice];
        let told = b.run(&tiny(&[&one[..], &["--save-descriptions", "kept.vtt", "--force"], more].concat()), 0).1;
        assert!(!told.contains("warning"), "{told}");
        assert_eq!(b.read("kept.vtt"), b.read("film.vtt"), "{output}");
        let bytes = |name: &str| std::fs::read(b.path(name)).unwrap();
        assert!(bytes(output) == bytes(&from_file), "{output}");
    }
    // Isolation is no promise for all of it, and changes nothing.
    let one = ["speak", "film.mp4", "--describe", "--isolate", "--min-score", "0", "-o", "isolated.mkv"];
    let told = b.run(&tiny(&[&one[..], &["--voice-command", &voice]].concat()), 0).1;
    assert!(told.contains("only what describes the film is isolated"), "{told}");
    assert!(std::fs::read(b.path("isolated.mkv")).unwrap() == std::fs::read(b.path("a.mkv")).unwrap());
    // The descriptions are kept only on request, in the format of the name.
    let one = ["speak", "film.mp4", "--describe", "--min-score", "0", "-o", "b.wav", "--voice-command", &voice];
    b.run(&tiny(&[&one[..], &["--save-descriptions", "kept.json"]].concat()), 0);
    assert!(b.read("kept.json").contains("\"scenes\""));
    b.run(&tiny(&[&one[..], &["--force"]].concat()), 0);
    assert!(!b.path("b.vtt").exists());
}

#[test]
fn mistakes_are_found_before_a_film_is_described() {
    let b = Bench::new();
    film(&b);
    b.write("there.vtt", b"");
    let voice = voice();
    let before = files(&b);
    let run = |more: &[&str], code: i32, words: &[&str]| {
        let args = [&["speak", "film.mp4", "--voice-command", &voice][..], more].concat();
        let told = b.run(&args, code).1;
        words.iter().for_each(|word| assert!(told.contains(word), "{word}: {told}"));
        assert_eq!(files(&b), before, "{more:?}");
    };
    let describe = ["--describe", "-o", "a.mkv"];
    run(&["--describe", "-o", "a.avi"], 2, &["stands for no container"]);
    run(&["--describe", "-o", "a.webm"], 2, &["WebM cannot hold stream 0"]);
    run(
        &[&describe[..], &["--save-descriptions", "there.vtt"]].concat(),
        1,
        &["there.vtt", "exists already", "--force"],
    );
    run(&[&describe[..], &["--save-descriptions", "a.doc"]].concat(), 2, &["stands for no format", ".json"]);
    run(&["-o", "a.mkv"], 2, &["--descriptions <FILE>", "--describe"]);
    run(&["--descriptions", "film.vtt", "--describe", "-o", "a.mkv"], 2, &["cannot be used with"]);
    // Options of describe without it would have no effect.
    for option in [["--min-score", "0"], ["--scenes", "fixed"], ["--mode", "fast"], ["--place", "strict"]] {
        let args = [&["--descriptions", "film.vtt", "-o", "a.mkv"][..], &option].concat();
        run(&args, 2, &["required arguments were not provided", "--describe"]);
    }
    let args = ["speak", "film.mp4", "--describe", "-o", "a.mkv", "--voice-command", "false"];
    let told = b.run(&[&args[..], &["--model", "/nowhere"]].concat(), 2).1;
    assert!(told.contains("false: ended with exit status: 1"), "{told}");
    assert_eq!(files(&b), before);
}

#[test]
fn a_film_that_cannot_be_described_leaves_nothing() {
    let b = Bench::new();
    b.ffmpeg("-f lavfi -i sine=300:d=4 film.wav");
    film(&b);
    let voice = voice();
    let before = files(&b);
    let told = b.run(&tiny(&["speak", "film.wav", "--describe", "-o", "a.wav", "--voice-command", &voice]), 1).1;
    assert!(told.contains("film.wav: has no video stream"), "{told}");
    let args = ["speak", "film.mp4", "--describe", "-o", "a.mkv", "--min-score", "1", "--voice-command", &voice];
    let told = b.run(&tiny(&args), 1).1;
    assert!(told.contains("film.mp4: no cue describes it") && told.contains("--min-score"), "{told}");
    assert_eq!(files(&b), before);
}

/// Loudness of descriptions that are spoken into a film.
fn spoken_loudness(b: &Bench, more: &[&str]) -> f64 {
    let texts: Vec<(u32, &str)> = (0..4).map(|n| (500 + n * 4_000, "A dog runs across the wide green lawn.")).collect();
    descriptions(b, &texts);
    speak(b, "film.wav", "a.wav", &[&["--only", "--force"], more].concat(), 0);
    loudness(b, "a.wav", "a:0").0
}

#[test]
fn descriptions_are_as_loud_as_what_subtitles_call_dialogue() {
    let b = Bench::new();
    // 8 s of quiet dialogue, and 8 s of louder music.
    b.ffmpeg("-f lavfi -i anoisesrc=d=8:c=pink:a=0.15:r=48000 quiet.wav");
    b.ffmpeg("-f lavfi -i anoisesrc=d=8:c=pink:a=0.95:r=48000 loud.wav");
    b.ffmpeg("-i quiet.wav -i loud.wav -filter_complex [0][1]concat=n=2:v=0:a=1 film.wav");
    b.write("dialogue.srt", b"1\n00:00:00,000 --> 00:00:07,900\nBlah blah.\n");
    b.write("brief.srt", b"1\n00:00:00,000 --> 00:00:02,000\nBlah.\n");
    let (dialogue, everything) = (loudness(&b, "quiet.wav", "a:0").0, loudness(&b, "film.wav", "a:0").0);
    assert!(everything - dialogue > 8.0, "{dialogue} {everything}");
    let near = |found: f64, want: f64| assert!((found - want).abs() < 1.0, "{found} and not {want}");
    near(spoken_loudness(&b, &["--dialogue", "dialogue.srt"]), dialogue);
    near(spoken_loudness(&b, &["--dialogue", "dialogue.srt", "--gain", "3"]), dialogue + 3.0);
    // Noise is no speech, and two seconds are no dialogue: everything counts.
    near(spoken_loudness(&b, &[]), everything);
    near(spoken_loudness(&b, &["--dialogue", "brief.srt"]), everything);
    // The same from a track of subtitles in the film.
    b.ffmpeg("-i film.wav -i dialogue.srt -c:a copy -c:s srt film.mkv");
    std::fs::rename(b.path("film.mkv"), b.path("film.wav")).unwrap();
    near(spoken_loudness(&b, &["--dialogue", "embedded"]), dialogue);
    near(spoken_loudness(&b, &["--dialogue", "embedded:1", "--audio", "1"]), dialogue);
}

#[test]
fn descriptions_are_as_loud_as_speech_that_is_found() {
    let b = Bench::new();
    assert_eq!(SAMPLE_RATE, 16_000);
    let golden = root().join("tests/goldens/speech/speech.wav");
    let speech = "aresample=48000,volume=-8dB,aformat=channel_layouts=mono";
    b.ffmpeg(&format!(
        "-i {} -i {0} -filter_complex [0][1]concat=n=2:v=0:a=1,{speech} -c:a pcm_s16le talk.wav",
        golden.display()
    ));
    b.ffmpeg("-f lavfi -i anoisesrc=d=8:c=pink:a=0.8:r=48000 -c:a pcm_s16le loud.wav");
    b.ffmpeg("-i talk.wav -i loud.wav -filter_complex [0][1]concat=n=2:v=0:a=1 -c:a pcm_s16le film.wav");
    let (talk, everything) = (loudness(&b, "talk.wav", "a:0").0, loudness(&b, "film.wav", "a:0").0);
    assert!(everything - talk > 8.0, "{talk} {everything}");
    // Between the voices the sound has other things, some of them louder.
    let found = spoken_loudness(&b, &[]);
    assert!((found - talk).abs() < 3.0, "{found} and not {talk}");
}
