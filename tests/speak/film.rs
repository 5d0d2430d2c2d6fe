//! What is written: streams that are copied, the new track and its names, text tracks, films of all kinds.

use crate::common::Bench;
use crate::support::{descriptions, find, output_of, packet_hashes, samples, speak, spoken, streams};

/// A film with two audio tracks, subtitles, chapters and tags.
fn film(b: &Bench, output: &str, codecs: &str) {
    b.write("subtitles.srt", b"1\n00:00:01,000 --> 00:00:02,000\nHello.\n");
    let chapters = ";FFMETADATA1\ntitle=A film\nartist=Somebody\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=3000\ntitle=One\n\
                    [CHAPTER]\nTIMEBASE=1/1000\nSTART=3000\nEND=8000\ntitle=Two\n";
    b.write("chapters.txt", chapters.as_bytes());
    b.ffmpeg(&format!(
        "-f lavfi -i testsrc2=size=128x72:rate=25:duration=8 -f lavfi -i sine=300:d=8:r=48000 \
         -f lavfi -i sine=500:d=8:r=48000 -i subtitles.srt -i chapters.txt -map 0 -map 1 -map 2 -map 3 -map_metadata 4 \
         -map_chapters 4 {codecs} -bf 2 -metadata:s:a:0 language=deu -metadata:s:a:1 language=fra \
         -disposition:a:0 default -disposition:a:1 0 {output}"
    ));
}

#[test]
fn everything_of_the_film_is_copied_as_it_is() {
    let b = Bench::new();
    descriptions(&b, &[(2_000, "A dog runs."), (5_000, "A cat sleeps.")]);
    for (input, codecs, outputs) in [
        ("film.mkv", "-c:v libx264 -c:a libopus -c:s srt", vec!["a.mkv"]),
        ("film.mp4", "-c:v libx264 -c:a aac -c:s mov_text", vec!["a.mp4", "a.mov"]),
    ] {
        film(&b, input, codecs);
        for output in outputs {
            speak(&b, input, output, &[], 0);
            let all = ["v:0", "a:0", "a:1", "s:0"];
            assert_eq!(packet_hashes(&b, output, &all), packet_hashes(&b, input, &all), "{output}");
            let chapters = |name| output_of(&b, "ffprobe", &format!("-v error -show_chapters -of compact {name}"));
            let times = |text: String| -> Vec<String> {
                text.lines()
                    .map(|l| l.split('|').filter(|f| f.contains("_time=") || f.contains("title")).collect())
                    .collect()
            };
            assert_eq!(times(chapters(output)), times(chapters(input)), "{output}");
            let tags = output_of(&b, "ffprobe", &format!("-v error -show_entries format_tags {output}"));
            assert!(tags.contains("TAG:title=A film") && tags.to_lowercase().contains("tag:artist=somebody"), "{tags}");
            let found = streams(&b, output);
            assert!(
                found[1].contains("default=1")
                    && (found[1].contains("language=deu") || found[1].contains("language=ger")),
                "{found:?}"
            );
            assert!(found[2].contains("default=0") && found[2].contains("language=fra"), "{found:?}");
            // Pictures and sounds stay together.
            let first = |name: &str, stream: &str| {
                output_of(
                    &b,
                    "ffprobe",
                    &format!("-v error -select_streams {stream} -show_entries packet=pts_time -of csv=p=0 {name}"),
                )
                .lines()
                .filter(|l| !l.is_empty())
                .take(20)
                .map(|l| (l.trim_end_matches(',').parse::<f64>().unwrap() * 100.0).round())
                .collect::<Vec<f64>>()
            };
            for stream in ["v:0", "a:0"] {
                assert_eq!(first(output, stream), first(input, stream), "{output} {stream}");
            }
        }
    }
}

#[test]
fn the_new_track_has_its_names_and_flags() {
    let b = Bench::new();
    descriptions(&b, &[(2_000, "A dog runs.")]);
    film(&b, "film.mkv", "-c:v libx264 -c:a aac -c:s srt");
    speak(&b, "film.mkv", "a.mkv", &["--language", "fr", "--title", "Audiodescription"], 0);
    let new = streams(&b, "a.mkv").pop().unwrap();
    for want in ["codec_name=aac", "default=0", "visual_impaired=1", "language=fra", "title=Audiodescription"] {
        assert!(new.contains(want), "{want}: {new}");
    }
    b.ffmpeg("-i film.mkv -map 0:v -map 0:a -map_chapters -1 -c copy film.mp4");
    speak(&b, "film.mp4", "a.mp4", &["--codec", "flac"], 0);
    let new = streams(&b, "a.mp4").pop().unwrap();
    for want in ["codec_name=flac", "default=0", "visual_impaired=1", "language=eng", "Audio description"] {
        assert!(new.contains(want), "{want}: {new}");
    }
    speak(&b, "film.mp4", "a.mov", &[], 0);
    let new = streams(&b, "a.mov").pop().unwrap();
    for want in ["codec_name=aac", "default=0", "language=eng", "Audio description"] {
        assert!(new.contains(want), "{want}: {new}");
    }
}

#[test]
fn texts_become_a_track_too() {
    let b = Bench::new();
    let texts = [(2_000, "A dog & a cat run."), (5_000, "A cat sleeps.")];
    descriptions(&b, &[(2_000, "A dog &amp; a cat run."), texts[1]]);
    film(&b, "film.mkv", "-c:v libx264 -c:a aac -c:s srt");
    b.ffmpeg("-i film.mkv -map 0:v -map 0:a -map_chapters -1 -c copy film.mp4");
    for (input, output, codec) in [("film.mkv", "a.mkv", "webvtt"), ("film.mp4", "a.mp4", "mov_text")] {
        speak(&b, input, output, &["--text-track"], 0);
        let last = streams(&b, output).pop().unwrap();
        assert!(last.contains(&format!("codec_name={codec}")) && last.contains("language=eng"), "{last}");
        if output == "a.mkv" {
            // FlagTextDescriptions, which FFmpeg 5 writes and does not read.
            let bytes = std::fs::read(b.path(output)).unwrap();
            assert!(bytes.windows(4).any(|w| w == [0x55, 0xAD, 0x81, 1]));
        }
        let number = streams(&b, output).len() - 1;
        b.ffmpeg(&format!("-i {output} -map 0:{number} back.srt"));
        let back = b.read("back.srt");
        for (time, text) in
            [("02,000 --> 00:00:03,000", "A dog & a cat run."), ("05,000 --> 00:00:06,000", "A cat sleeps.")]
        {
            assert!(back.contains(&format!("00:00:{time}\n")) && back.contains(text), "{back}");
        }
    }
}

#[test]
fn a_film_without_sound_gets_descriptions_over_silence() {
    let b = Bench::new();
    b.ffmpeg("-f lavfi -i testsrc2=size=64x36:rate=10:duration=8 -c:v mpeg4 film.mp4");
    descriptions(&b, &[(2_000, "A dog runs across the lawn."), (6_500, "A cat.")]);
    for output in ["a.mkv", "a.mp4", "a.wav"] {
        let told = speak(&b, "film.mp4", output, &[], 0);
        assert!(told.contains("has no sound"), "{told}");
        let sound = samples(&b, output, "a:0");
        assert!((sound.len() as f64 / 48_000.0 - 8.0).abs() < 0.1);
        for (start, text) in [(2.0, "A dog runs across the lawn."), (6.5, "A cat.")] {
            let begins = find(&spoken(&b, text), &sound, start - 0.05, start + 0.05);
            assert!((begins - start).abs() < 0.01, "{output}: {begins}");
        }
    }
    let new = streams(&b, "a.mkv").pop().unwrap();
    assert!(new.contains("default=1") && new.contains("visual_impaired=1"), "{new}");
}

#[test]
fn channels_tracks_and_late_sound_keep_their_places() {
    let b = Bench::new();
    descriptions(&b, &[(2_000, "A dog runs across the lawn.")]);
    // Six channels, which differ; sound that begins at 1.5 s; a clock that begins at 10 s.
    b.ffmpeg(
        "-f lavfi -i testsrc2=size=64x36:rate=10:duration=6 -itsoffset 1.5 -f lavfi -i \
         aevalsrc=0.1*sin(2*PI*200*t)|0.1*sin(2*PI*300*t)|0|0|0.1*sin(2*PI*500*t)|0:d=4:s=48000:c=5.1 \
         -c:v mpeg4 -c:a ac3 -output_ts_offset 10 film.ts",
    );
    speak(&b, "film.ts", "a.mkv", &[], 0);
    let new = streams(&b, "a.mkv").pop().unwrap();
    assert!(new.contains("channels=6"), "{new}");
    b.ffmpeg("-i a.mkv -map 0:a:1 -af pan=mono|c0=c2 -ar 48000 centre.wav");
    b.ffmpeg("-i a.mkv -map 0:a:1 -af pan=mono|c0=c0 -ar 48000 left.wav");
    let (centre, left) = (samples(&b, "centre.wav", "a:0"), samples(&b, "left.wav", "a:0"));
    let voice = spoken(&b, "A dog runs across the lawn.");
    let begins = find(&voice, &centre, 1.9, 2.1);
    assert!((begins - 2.0).abs() < 0.01, "{begins}");
    let loud = |samples: &[f32], from: usize, to: usize| samples[from..to].iter().any(|s| s.abs() > 0.05);
    assert!(!loud(&left, 0, 48_000 * 14 / 10) && loud(&left, 48_000 * 16 / 10, 48_000 * 17 / 10));
    // Another track than that of players.
    b.ffmpeg(
        "-f lavfi -i testsrc2=size=64x36:rate=10:duration=4 -f lavfi -i sine=300:d=4:r=48000 -f lavfi -i \
         sine=500:d=4:r=44100 -map 0 -map 1 -map 2 -c:v mpeg4 -c:a pcm_s16le two.mkv",
    );
    speak(&b, "two.mkv", "b.mkv", &["--audio", "2"], 0);
    assert!(streams(&b, "b.mkv").pop().unwrap().contains("sample_rate=44100"));
    let told = speak(&b, "two.mkv", "c.mkv", &["--audio", "3"], 1);
    assert!(told.contains("no audio track 3") && told.contains("--audio"), "{told}");
}

#[test]
fn how_a_picture_is_turned_stays() {
    let b = Bench::new();
    b.ffmpeg("-f lavfi -i testsrc2=size=64x36:rate=10:duration=4 -c:v mpeg4 plain.mp4");
    b.ffmpeg("-i plain.mp4 -c copy -metadata:s:v:0 rotate=90 turned.mp4");
    descriptions(&b, &[(1_000, "A dog.")]);
    let turns = |name| {
        output_of(&b, "ffprobe", &format!("-v error -select_streams v -show_entries stream_side_data=rotation {name}"))
    };
    speak(&b, "turned.mp4", "a.mp4", &[], 0);
    assert!(turns("turned.mp4").contains("rotation=90"));
    assert_eq!(turns("a.mp4"), turns("turned.mp4"));
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let b = Bench::new();
    film(&b, "film.mkv", "-c:v libx264 -c:a aac -c:s srt");
    descriptions(&b, &[(2_000, "A dog runs."), (5_000, "A cat sleeps.")]);
    for end in ["mkv", "m4a", "opus"] {
        let bytes = ["1", "2"].map(|n| {
            let output = format!("{n}.{end}");
            speak(&b, "film.mkv", &output, &[], 0);
            std::fs::read(b.path(&output)).unwrap()
        });
        assert!(bytes[0] == bytes[1], "{end}");
    }
}
