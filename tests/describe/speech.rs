//! Speech: where it is in a film, whatever track, container or length its sound has; what damage costs; and the detector
//! against Silero's own package.
//!
//! The golden sound has 8.7 s, in which two synthetic voices speak between noise, silence and a plucked string.
//! `tests/goldens/make_speech.py` says how it and its figures were made.

use std::time::{Duration, Instant};

use descry::interrupt::Interrupt;
use descry::media::{AudioChunk, DecodeOptions, SideTrack, SideTrackData, Source, TrackChoice, sample_time};
use descry::speech::{SAMPLE_RATE, SpeechDetector, SpeechFinder, SpeechMonitor, SpeechSegmenter, WINDOW};
use serde_json::Value;

use crate::common::{Bench, root, tiny};

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

    let mut segmenter = SpeechSegmenter::default();
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

/// The golden segments in a film whose sound begins with the golden sound at `offset`, in seconds.
fn golden_segments(offset: f64) -> Vec<(f64, f64)> {
    let segments: Vec<(f64, f64)> = serde_json::from_value(golden()["segments"].clone()).unwrap();
    let rate = f64::from(SAMPLE_RATE);
    segments.iter().map(|(start, end)| (start / rate + offset, end / rate + offset)).collect()
}

/// What a track of JSON says about speech.
fn segments(json: &Value) -> Vec<(f64, f64)> {
    let segments = json["speech"]["segments"].as_array().unwrap();
    segments.iter().map(|s| (s["start"].as_f64().unwrap(), s["end"].as_f64().unwrap())).collect()
}

/// Segments are those, within so many seconds.
fn assert_near(found: &[(f64, f64)], expected: &[(f64, f64)], within: f64) {
    let near = |a: &(f64, f64), b: &(f64, f64)| (a.0 - b.0).abs() <= within && (a.1 - b.1).abs() <= within;
    let same = found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| near(a, b));
    assert!(same, "{found:?}\nexpected {expected:?}");
}

/// A folder with the golden sound as `speech.wav`.
fn bench() -> Bench {
    let b = Bench::new();
    std::fs::copy(root().join("tests/goldens/speech/speech.wav"), b.path("speech.wav")).unwrap();
    b
}

/// The pictures of a film: this long, with a cut every 4 s.
fn pictures(secs: u32) -> String {
    format!(
        "-f lavfi -i testsrc2=size=192x108:rate=25:duration={secs},hue=h=137*floor(t/4):s=1+mod(floor(t/4)\\,2)*3 \
         -c:v libx264 -preset ultrafast"
    )
}

/// Describes a film as JSON.
fn describe(b: &Bench, film: &str, args: &[&str], code: i32) -> (Value, String) {
    let (out, err) = b.run(&tiny(&[&["describe", film, "-f", "json", "-o", "-"], args].concat()), code);
    (serde_json::from_str(&out).unwrap_or(Value::Null), err)
}

#[test]
fn speech_is_found_in_a_film_and_changes_no_description_that_is_placed_freely() {
    let b = bench();
    b.ffmpeg(&format!(
        "-itsoffset 3 -i speech.wav {} -map 1:v -map 0:a -c:a aac -ac 2 -ar 44100 film.mp4",
        pictures(14)
    ));
    let (film, _) = describe(&b, "film.mp4", &["--decode-threads", "1"], 0);
    assert_near(&segments(&film), &golden_segments(3.0), 0.15);
    assert_eq!(film["speech"]["source"], "audio");
    assert_eq!(film["stream"]["listens_to"]["number"], 1);

    // Each scene has its share.
    let scenes = film["scenes"].as_array().unwrap();
    assert!(scenes.len() >= 3);
    for scene in scenes {
        let (start, end) = (scene["start"].as_f64().unwrap(), scene["end"].as_f64().unwrap());
        let spoken: f64 = segments(&film).iter().map(|s| (s.1.min(end) - s.0.max(start)).max(0.0)).sum();
        assert!((scene["speech"].as_f64().unwrap() - spoken / (end - start)).abs() < 1e-4, "{scene}");
    }

    // Whatever the threads, and whatever else is described.
    let (again, _) = describe(&b, "film.mp4", &["--decode-threads", "7"], 0);
    assert_eq!(again, film);
    let (away, _) = describe(&b, "film.mp4", &["--isolate"], 0);
    assert_eq!(away, film);
    b.run(&tiny(&["describe", "film.mp4", "film.mp4", "-f", "vtt,json", "-o", "out/", "-j", "2"]), 2);
    let free = ["describe", "film.mp4", "-f", "vtt,json", "--place", "free", "-o"];
    b.run(&tiny(&[&free[..], &["with/"]].concat()), 0);
    b.run(&tiny(&[&free[..], &["without/", "--audio", "none"]].concat()), 0);
    assert_eq!(b.read("with/film.vtt"), b.read("without/film.vtt"));
    let (mut with, mut without): (Value, Value) = (
        serde_json::from_str(&b.read("with/film.json")).unwrap(),
        serde_json::from_str(&b.read("without/film.json")).unwrap(),
    );
    assert!(without["speech"].is_null() && without["scenes"][0]["speech"].is_null());
    for json in [&mut with, &mut without] {
        json["speech"] = Value::Null;
        json["options"]["speech"] = Value::Null;
        json["stream"]["listens_to"] = Value::Null;
        json["scenes"].as_array_mut().unwrap().iter_mut().for_each(|scene| scene["speech"] = Value::Null);
    }
    assert_eq!(with, without);
}

#[test]
fn parts_are_stitched_with_their_speech() {
    let b = bench();
    b.ffmpeg(&format!("-itsoffset 9 -i speech.wav {} -map 1:v -map 0:a -c:a aac -g 25 film.mp4", pictures(24)));
    for (part, to) in [("1/2", "1.part"), ("2/2", "2.part")] {
        b.run(&tiny(&["part", "film.mp4", "--part", part, "-o", to, "--overlap", "12"]), 0);
    }
    b.run(&tiny(&["stitch", "film.mp4", "1.part", "2.part", "-f", "json", "-o", "stitched.json"]), 0);
    b.run(&tiny(&["describe", "film.mp4", "-f", "json", "-o", "whole.json"]), 0);
    let whole: Value = serde_json::from_str(&b.read("whole.json")).unwrap();
    assert_near(&segments(&whole), &golden_segments(9.0), 0.15);
    assert_eq!(b.read("stitched.json"), b.read("whole.json"));
}

#[test]
fn a_stretch_of_a_film_has_its_speech_at_the_times_of_the_film() {
    let b = bench();
    b.ffmpeg(&format!("-itsoffset 3 -i speech.wav {} -map 1:v -map 0:a -c:a aac -g 50 film.mp4", pictures(14)));
    let range = ["--start", "5.1", "--end", "9.5"];
    let (film, _) = describe(&b, "film.mp4", &[&range[..], &["--decode-threads", "1"]].concat(), 0);
    let [_, second, third, fourth] = golden_segments(3.0)[..] else { panic!() };
    assert_near(&segments(&film), &[second, third, (fourth.0, 9.5)], 0.15);
    for args in [&["--decode-threads", "8"][..], &["--isolate"]] {
        assert_eq!(describe(&b, "film.mp4", &[&range[..], args].concat(), 0).0, film);
    }
}

#[test]
fn speech_in_the_centre_of_six_channels_is_found() {
    let b = bench();
    let pan = "-af pan=5.1|FL=0*c0|FR=0*c0|FC=c0|LFE=0*c0|BL=0*c0|BR=0*c0";
    b.ffmpeg(&format!("-i speech.wav {} -map 1:v -map 0:a {pan} -c:a ac3 -ar 48000 film.mkv", pictures(9)));
    let (film, _) = describe(&b, "film.mkv", &[], 0);
    assert_near(&segments(&film), &golden_segments(0.0), 0.15);
    assert_eq!(film["stream"]["listens_to"]["channels"], 6);
}

#[test]
fn tracks_are_chosen_by_number_and_by_language() {
    let b = bench();
    b.ffmpeg(&format!(
        "-f lavfi -i sine=frequency=300:duration=9:sample_rate=44100 -i speech.wav {} -map 2:v -map 0:a -map 1:a -c:a aac \
         -metadata:s:a:0 language=eng -metadata:s:a:1 language=ger -disposition:a:0 default -disposition:a:1 0 film.mkv",
        pictures(9)
    ));
    let of = |args: &[&str]| segments(&describe(&b, "film.mkv", args, 0).0);
    assert_eq!(of(&[]), []);
    for track in ["2", "ger", "deu", "de"] {
        assert_near(&of(&["--audio", track]), &golden_segments(0.0), 0.15);
    }
    for (track, cause) in [
        ("3", "has no audio track 3, but 1: aac, 1 channel, 44100 Hz, eng, default; 2: aac"),
        ("fr", "in the language fr"),
    ] {
        let (_, err) = b.run(&tiny(&["describe", "film.mkv", "-o", "film.vtt", "--audio", track]), 1);
        assert!(err.contains(cause) && err.contains("Choose another track with --audio"), "{err}");
        assert!(!b.path("film.vtt").exists());
    }
    // A commentary that comes first is not what people hear.
    b.ffmpeg("-i film.mkv -map 0 -c copy -disposition:a:0 comment -disposition:a:1 0 comment.mkv");
    assert_near(&segments(&describe(&b, "comment.mkv", &[], 0).0), &golden_segments(0.0), 0.15);
    let (out, _) = b.run(&["probe", "film.mkv", "--json"], 0);
    let probed: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&probed["audio"][1]["language"], &probed["audio"][0]["default"]), (&"ger".into(), &true.into()));
    let (out, _) = b.run(&["probe", "film.mkv"], 0);
    assert!(out.contains("audio      2: aac, 1 channel, 16000 Hz, ger\n"), "{out}");
}

#[test]
fn sound_may_begin_late_end_early_and_be_longer_than_the_pictures() {
    let b = bench();
    // Pictures that begin 2 s after the sound, in a container whose clock begins at 7 s.
    b.ffmpeg(&format!(
        "-i speech.wav -itsoffset 2 {} -map 1:v -map 0:a -c:a mp2 -ar 48000 -output_ts_offset 7 late.ts",
        pictures(14)
    ));
    let (film, _) = describe(&b, "late.ts", &[], 0);
    assert_near(&segments(&film), &golden_segments(0.0), 0.15);
    b.ffmpeg(&format!("-itsoffset 1 -i speech.wav {} -map 1:v -map 0:a -c:a aac short.mp4", pictures(4)));
    let (film, _) = describe(&b, "short.mp4", &[], 0);
    assert_near(&segments(&film), &golden_segments(1.0), 0.15);
    assert!(film["damage"].is_null());
}

#[test]
fn a_film_without_sound_has_no_constraint() {
    let b = Bench::new();
    b.ffmpeg(&format!("{} film.mp4", pictures(3)));
    let (film, err) = describe(&b, "film.mp4", &[], 0);
    assert!(film["speech"].is_null() && film["scenes"][0]["speech"].is_null() && err.is_empty(), "{err}");
    let (_, err) = describe(&b, "film.mp4", &["--audio", "1"], 1);
    assert!(err.contains("film.mp4: has no audio track 1, and no other") && err.contains("Leave out --audio"), "{err}");
}

#[test]
fn sound_that_cannot_be_decoded_costs_only_itself() {
    let b = bench();
    b.ffmpeg(&format!("-i speech.wav {} -map 1:v -map 0:a -c:a aac film.mkv", pictures(9)));
    let mut unknown = std::fs::read(b.path("film.mkv")).unwrap();
    let at = unknown.windows(5).position(|w| w == b"A_AAC").unwrap();
    unknown[at..at + 5].copy_from_slice(b"A_XYZ");
    b.write("unknown.mkv", &unknown);
    b.ffmpeg("-i film.mkv -c copy film.mp4");
    let mut encrypted = std::fs::read(b.path("film.mp4")).unwrap();
    let at = encrypted.windows(4).rposition(|w| w == b"mp4a").unwrap();
    encrypted[at..at + 4].copy_from_slice(b"enca");
    b.write("encrypted.mp4", &encrypted);
    for (name, cause) in [("unknown.mkv", "cannot be decoded by this FFmpeg"), ("encrypted.mp4", "is encrypted (DRM)")]
    {
        let (film, err) = describe(&b, name, &[], 0);
        assert!(film["speech"].is_null() && film["damage"].is_null(), "{film}");
        assert!(film["stream"]["unheard"].as_str().unwrap().contains(cause), "{film}");
        assert!(err.contains(cause) && err.contains("speech is not found"), "{err}");
        let (_, err) = describe(&b, name, &["--audio", "1"], 1);
        assert!(err.contains(cause) && err.contains("Choose another track with --audio, or leave it out."), "{err}");
        assert_eq!(describe(&b, name, &["--isolate"], 0).0, film);
        let (_, err) = describe(&b, name, &["--audio", "none"], 0);
        assert!(err.is_empty(), "{err}");
    }
}

#[test]
fn damaged_sound_costs_its_own_stretch() {
    let b = bench();
    b.ffmpeg(&format!("-itsoffset 1 -i speech.wav {} -map 1:v -map 0:a -c:a aac -ar 48000 film.ts", pictures(12)));
    let whole = describe(&b, "film.ts", &[], 0).0;
    let mut bytes = std::fs::read(b.path("film.ts")).unwrap();
    let packets = bytes.len() / 188;
    let of_sound = |packet: &[u8]| (u16::from(packet[1] & 0x1f) << 8 | u16::from(packet[2])) == 0x101;
    let mut broken = 0;
    for packet in bytes.chunks_exact_mut(188).skip(packets * 5 / 12).take(packets / 6).filter(|p| of_sound(p)) {
        packet[40..].iter_mut().for_each(|byte| *byte = byte.wrapping_mul(31).wrapping_add(77));
        broken += 1;
    }
    assert!(broken > 20);
    b.write("broken.ts", &bytes);
    let (film, err) = describe(&b, "broken.ts", &[], 1);
    assert!(err.contains("described in part") && err.contains("of sound"), "{err}");
    assert!(film["damage"].as_str().unwrap().contains("of sound"), "{film}");
    let cues = |film: &Value| film["cues"].clone();
    assert_eq!(cues(&film), cues(&whole));
    // What is before and after the damage is as it was.
    let (found, expected) = (segments(&film), golden_segments(1.0));
    assert_near(&found[..2], &expected[..2], 0.15);
    assert_near(&found[found.len() - 1..], &expected[3..], 0.2);
}

/// Sound of a film as a source gives it, and the time of its first picture in seconds.
fn read_audio(b: &Bench, name: &str) -> (Vec<AudioChunk>, f64) {
    let options = DecodeOptions { side_track: SideTrack::Audio(TrackChoice::Usual), ..DecodeOptions::default() };
    let mut source = Source::open(&b.path(name).display().to_string().into(), &options, Interrupt::new()).unwrap();
    let (mut chunks, mut first) = (Vec::new(), None);
    loop {
        let frame = source.next().unwrap();
        first = first.or(frame.as_ref().map(|frame| frame.time.secs()));
        while let Some(data) = source.take_side_track() {
            chunks.extend(data.audio);
        }
        if frame.is_none() {
            assert!(source.damage().is_clean(), "{name}: {}", source.damage());
            return (chunks, first.unwrap());
        }
    }
}

/// Where a tone begins after silence, in seconds.
fn onsets(chunks: &[AudioChunk]) -> Vec<f64> {
    let mut found: Vec<f64> = Vec::new();
    for chunk in chunks {
        for (n, sample) in chunk.samples.iter().enumerate() {
            let at = (chunk.start + n as u64) as f64 / f64::from(SAMPLE_RATE);
            if sample.abs() > 0.1 && found.last().is_none_or(|last| at - last > 0.3) {
                found.push(at);
            }
        }
    }
    found
}

/// A tone every second, in many containers and codecs: each is found within 10 ms of its time.
#[test]
fn samples_are_where_they_belong() {
    let b = Bench::new();
    let tone = "-f lavfi -i aevalsrc=exprs=if(lt(mod(t\\,1)\\,0.1)\\,0.5*sin(2*PI*1000*t)\\,0):s=44100:d=8";
    b.ffmpeg(&format!("{tone} -c:a pcm_s16le tone.wav"));
    let drop = "-bsf:a noise=amount=0:drop=gt(pts*tb\\,2.5)*lt(pts*tb\\,2.8)+gt(pts*tb\\,4.5)*lt(pts*tb\\,6.5)";
    for (name, sound) in [
        ("aac.mp4", "-c:a aac"),
        ("aac.ts", "-c:a aac -output_ts_offset 5"),
        ("aac.flv", "-c:a aac"),
        ("mp3.mkv", "-c:a libmp3lame -ar 48000"),
        ("opus.webm", "-c:v libvpx -deadline realtime -c:a libopus"),
        ("vorbis.mkv", "-c:a libvorbis -ac 2"),
        ("flac.mkv", "-c:a flac -ac 2 -ar 96000"),
        ("pcm.mov", "-c:a pcm_s24le"),
        ("pcm.avi", "-c:a pcm_u8 -ar 8000"),
        ("mp2.mpg", "-c:v mpeg1video -c:a mp2 -ar 48000"),
        ("late.mp4", "-c:a aac"),
    ] {
        let late = if name == "late.mp4" { "-itsoffset 1.5" } else { "" };
        b.ffmpeg(&format!("{late} -i tone.wav {} -map 1:v -map 0:a {sound} {name}", pictures(9)));
        let (chunks, first) = read_audio(&b, name);
        let (found, first) = (onsets(&chunks), if name == "late.mp4" { first + 1.5 } else { first });
        assert_eq!(found.len(), 8, "{name}: {found:?}");
        for (n, at) in found.iter().enumerate() {
            assert!((at - first - n as f64).abs() < 0.01, "{name}: {found:?}");
        }
    }
    // Packets that are missing move nothing: a short gap is silent, a long one ends a sound.
    b.ffmpeg(&format!("-i flac.mkv -c copy {drop} gap.mkv"));
    b.ffmpeg("-i gap.mkv -c copy -strict -2 gap.mp4");
    for name in ["gap.mkv", "gap.mp4"] {
        let (chunks, first) = read_audio(&b, name);
        let found = onsets(&chunks);
        let expected = [0.0, 1.0, 2.0, 3.0, 4.0, 7.0];
        assert!(chunks.windows(2).any(|w| w[1].start - w[0].end() > 25_000), "{name}");
        assert_eq!(found.len(), expected.len(), "{name}: {found:?}");
        for (at, expected) in found.iter().zip(expected) {
            assert!((at - first - expected).abs() < 0.01, "{name}: {found:?}");
        }
    }
}

/// A file of subtitles with these lines, in milliseconds.
fn srt(lines: &[(u32, u32)]) -> String {
    let clock = |ms: u32| format!("00:{:02}:{:02},{:03}", ms / 60_000, ms / 1_000 % 60, ms % 1_000);
    let cue =
        |(n, (start, end)): (usize, &(u32, u32))| format!("{n}\n{} --> {}\nWord {n}.\n\n", clock(*start), clock(*end));
    lines.iter().enumerate().map(cue).collect()
}

#[test]
fn a_file_of_subtitles_replaces_the_sound() {
    let b = bench();
    b.ffmpeg(&format!("-i speech.wav {} -map 1:v -map 0:a -c:a aac film.mp4", pictures(9)));
    b.write("film.srt", srt(&[(1_000, 2_000), (2_050, 3_500), (6_000, 12_000)]).as_bytes());
    let (film, _) = describe(&b, "film.mp4", &["--dialogue", "film.srt"], 0);
    assert_eq!(film["speech"]["source"], "file");
    assert_near(&segments(&film), &[(1.0, 3.5), (6.0, 12.0)], 1e-6);
    let first = &film["scenes"][0];
    assert!((first["speech"].as_f64().unwrap() - 2.5 / first["end"].as_f64().unwrap()).abs() < 1e-4, "{first}");
    assert!(film["options"]["speech"].as_str().unwrap().starts_with("file "));
    b.ffmpeg("-i film.srt film.vtt -i film.srt film.ass");
    for name in ["film.vtt", "film.ass"] {
        assert_near(&segments(&describe(&b, "film.mp4", &["--dialogue", name], 0).0), &[(1.0, 3.5), (6.0, 12.0)], 1e-6);
    }
}

#[test]
fn a_bad_file_of_subtitles_is_refused_before_anything_is_written() {
    let b = bench();
    b.ffmpeg(&format!("{} film.mp4", pictures(1)));
    b.write("latin.srt", b"1\n00:00:01,000 --> 00:00:02,000\nCaf\xe9.\n\n");
    b.write("backward.srt", srt(&[(1_000, 2_000), (4_000, 3_000)]).as_bytes());
    b.write("empty.srt", b"");
    for (name, cause, remedy) in [
        ("latin.srt", "is not text in UTF-8", "iconv -f WINDOWS-1252 -t UTF-8 latin.srt > NEW.srt"),
        ("backward.srt", "line 6 ends before it begins: 00:00:04,000 --> 00:00:03,000", "Correct the times"),
        ("empty.srt", "is no file of subtitles", "SubRip, WebVTT or ASS with --dialogue"),
        ("film.mp4", "is not text", "iconv"),
        ("none.srt", "no such file", "Check the path"),
    ] {
        let (_, err) = b.run(&tiny(&["describe", "film.mp4", "-o", "film.vtt", "--dialogue", name]), 1);
        assert!(err.contains(&format!("{name}: {cause}")) && err.contains(remedy), "{err}");
        assert!(!b.path("film.vtt").exists());
    }
    let (_, err) = b.run(&tiny(&["describe", "film.mp4", "film.mp4", "-o", "out/", "--dialogue", "latin.srt"]), 2);
    assert!(err.contains("belongs to one video") && err.contains("--dialogue embedded"), "{err}");
    let (_, err) = b.run(&tiny(&["index", "film.mp4", "--into", "archive", "--dialogue", "latin.srt"]), 2);
    assert!(err.contains("belongs to one video") && !b.path("archive").exists(), "{err}");
    let (_, err) = b.run(&tiny(&["describe", "film.mp4", "--dialogue", "embedded:0"]), 2);
    assert!(err.contains("tracks count from 1"), "{err}");
}

#[test]
fn subtitles_of_the_film_replace_the_sound() {
    let b = bench();
    b.write("one.srt", srt(&[(500, 1_500)]).as_bytes());
    b.write("two.srt", srt(&[(1_000, 2_000), (3_000, 4_500), (4_550, 5_000), (8_000, 8_500)]).as_bytes());
    let both = "-map 3:v -map 2:a -map 0:s -map 1:s -c:a aac -metadata:s:s:0 language=fre -metadata:s:s:1 language=eng";
    for (name, codec) in [
        ("film.mkv", "srt"),
        ("film.mp4", "mov_text"),
        ("ass.mkv", "ass"),
        ("vtt.webm", "webvtt -c:v libvpx -deadline realtime -c:a libopus"),
    ] {
        let input = format!("-i one.srt -i two.srt -i speech.wav {}", pictures(9));
        let both = if name == "vtt.webm" { both.replace("-c:a aac", "") } else { both.to_string() };
        b.ffmpeg(&format!("{input} {both} -disposition:s:0 forced -disposition:s:1 0 -c:s {codec} {name}"));
        let expected = [(1.0, 2.0), (3.0, 5.0), (8.0, 8.5)];
        for choice in ["embedded", "embedded:2", "embedded:en"] {
            let (film, _) = describe(&b, name, &["--dialogue", choice], 0);
            assert_eq!(describe(&b, name, &["--dialogue", choice, "--isolate"], 0).0, film);
            assert_eq!(film["speech"]["source"], "subtitles");
            assert_near(&segments(&film), &expected, 0.1);
        }
        assert_near(&segments(&describe(&b, name, &["--dialogue", "embedded:fr"], 0).0), &[(0.5, 1.5)], 0.1);
    }
    // Pictures of text are no text, and nobody's choice where there is text.
    let mut pictures = std::fs::read(b.path("film.mkv")).unwrap();
    let at = pictures.windows(11).position(|w| w == b"S_TEXT/UTF8").unwrap();
    pictures[at..at + 11].copy_from_slice(b"S_HDMV/PGS\0");
    b.write("pictures.mkv", &pictures);
    assert_eq!(segments(&describe(&b, "pictures.mkv", &["--dialogue", "embedded"], 0).0).len(), 3);
    let (_, err) = b.run(&tiny(&["describe", "pictures.mkv", "-o", "p.vtt", "--dialogue", "embedded:1"]), 1);
    assert!(
        err.contains("its subtitles are pictures of text (hdmv_pgs_subtitle)") && !b.path("p.vtt").exists(),
        "{err}"
    );
    b.ffmpeg("-i film.mkv -map 0 -map -0:s -c copy plain.mkv");
    let (_, err) = b.run(&tiny(&["describe", "plain.mkv", "-o", "plain.vtt", "--dialogue", "embedded"]), 1);
    assert!(
        err.contains("plain.mkv: has no subtitle track, and no other") && err.contains("Give a file of subtitles"),
        "{err}"
    );
    assert!(!b.path("plain.vtt").exists());
}

/// A file that has its sound after all pictures. Nothing waits for it, whatever the decoder's threads.
#[test]
fn sound_that_comes_much_later_than_its_pictures_is_damage() {
    let b = bench();
    b.ffmpeg(&format!("-i speech.wav {} -map 1:v -map 0:a -c:a mp2 -ar 48000 film.ts", pictures(30)));
    let bytes = std::fs::read(b.path("film.ts")).unwrap();
    let of_sound = |packet: &&[u8]| (u16::from(packet[1] & 0x1f) << 8 | u16::from(packet[2])) == 0x101;
    let (sound, others): (Vec<&[u8]>, Vec<&[u8]>) = bytes.chunks_exact(188).partition(of_sound);
    b.write("late.ts", &[others, sound].concat().concat());
    let (film, err) = describe(&b, "late.ts", &["--decode-threads", "1"], 1);
    assert!(err.contains("sound that comes more than 10 s after its pictures was not heard"), "{err}");
    assert!(segments(&film).is_empty() && film["scenes"].as_array().unwrap().len() > 5, "{film}");
    assert!(film["scenes"].as_array().unwrap().iter().all(|scene| scene["speech"] == 0.0));
    assert_eq!(describe(&b, "late.ts", &["--decode-threads", "8"], 1).0, film);
    assert_eq!(describe(&b, "late.ts", &["--isolate"], 1).0, film);
}

/// Feeds sound as it would arrive, in pieces of so many samples. Returns, for each 10 ms, how long nobody has talked then
/// in milliseconds; none before the first word.
fn silences(samples: &[f32], piece: usize) -> Vec<Option<u64>> {
    let mut detector = SpeechMonitor::detector().unwrap();
    let mut monitor = SpeechMonitor::new(&mut detector);
    let (start, mut talked) = (Instant::now(), None);
    let at = |sample: usize| start + Duration::from_secs_f64(sample as f64 / f64::from(SAMPLE_RATE));
    let mut silences = Vec::new();
    for (n, samples) in samples.chunks(piece).enumerate() {
        let first = n * piece;
        let end = first + samples.len();
        let chunk = AudioChunk { start: first as u64, samples: samples.to_vec() };
        let data = SideTrackData { audio: vec![chunk], until: sample_time(end as u64), ..SideTrackData::default() };
        talked = talked.max(monitor.push(&data, at(end)).unwrap());
        while silences.len() * 160 < end {
            let now = at(silences.len() * 160);
            silences.push(talked.map(|talked| now.saturating_duration_since(talked).as_millis() as u64));
        }
    }
    silences
}

#[test]
fn talk_and_pauses_are_noticed_soon_however_sound_is_cut() {
    let samples = sound();
    let mut detector = SpeechDetector::load().unwrap();
    let mut finder = SpeechFinder::new(&mut detector);
    let chunk = AudioChunk { start: 0, samples: samples.clone() };
    let until = sample_time(samples.len() as u64);
    let mut spoken = finder.push(&SideTrackData { audio: vec![chunk], until, ..SideTrackData::default() }).unwrap();
    spoken.ended.extend(finder.finish().unwrap().ended);
    assert!(spoken.ended.len() >= 2, "{:?}", spoken.ended);
    for piece in [1_024, 1_600, 320] {
        let silences = silences(&samples, piece);
        let silence = |ms: i64| silences.get((ms / 10) as usize).copied().flatten();
        for (n, u) in spoken.ended.iter().enumerate() {
            let (start, end) = (u.start.millis(), u.end.millis());
            // Somebody talks, from 0.5 s after the first word on.
            for ms in (start + 500..end).step_by(10) {
                assert!(silence(ms).is_some_and(|quiet| quiet < 300), "{piece}: {:?} at {ms} ms", silence(ms));
            }
            // The pause after it is as long as it is.
            let next = spoken.ended.get(n + 1).map_or(samples.len() as i64 / 16, |next| next.start.millis());
            for ms in (end + 400..next - 10).step_by(10) {
                let known = silence(ms).unwrap() as i64;
                assert!((known - (ms - end)).abs() < 90, "{piece}: {known} and not {} ms", ms - end);
            }
        }
    }
}
