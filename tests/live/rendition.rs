//! The rendition of the sound beside the text playlist, on sources whose clocks wrap and jump: both playlists have the same
//! clocks, the same dates and the same discontinuities.

use std::fmt::Write;
use std::sync::Arc;

use crate::common::{Bench, tiny};
use crate::outputs::{caption, clock, event, ms, watched};
use crate::pauses::slow_server;
use crate::speak_support::{output_of, samples, voice};
use crate::streams::Live;
use crate::voice::{by_shell, film};
use descry::live::{EventKind, HlsOptions, HlsSink, LiveAudio, Sink, VoiceOutputs, VoiceSink};

/// MPEG's clock has 33 bits.
const WRAP: i64 = 1 << 33;

/// A segment: its name, its date and its length in seconds, and its clock, where it has one.
#[derive(Debug)]
struct Segment {
    name: String,
    date: f64,
    length: f64,
    clock: i64,
}

/// The segments of a playlist, from discontinuity to discontinuity.
fn stretches(b: &Bench, playlist: &str) -> Vec<Vec<Segment>> {
    let text = b.read(&format!("hls/{playlist}"));
    let (mut all, mut date, mut length) = (vec![Vec::new()], 0.0, 0.0);
    for line in text.lines() {
        if line == "#EXT-X-DISCONTINUITY" {
            all.push(Vec::new());
        } else if let Some(at) = line.strip_prefix("#EXT-X-PROGRAM-DATE-TIME:") {
            let part = |r: std::ops::Range<usize>| at[r].parse::<f64>().unwrap();
            date = part(8..10) * 86_400.0 + part(11..13) * 3_600.0 + part(14..16) * 60.0 + part(17..23);
        } else if let Some(secs) = line.strip_prefix("#EXTINF:") {
            length = secs.trim_end_matches(',').parse().unwrap();
        } else if !line.starts_with('#') {
            let clock = clock_of(b, line);
            all.last_mut().unwrap().push(Segment { name: line.into(), date, length, clock });
        }
    }
    all
}

/// The clock at local time 0 of a segment of text, or at the beginning of one of sound.
fn clock_of(b: &Bench, name: &str) -> i64 {
    let bytes = std::fs::read(b.path(&format!("hls/{name}"))).unwrap();
    if name.ends_with(".aac") {
        let place = bytes.windows(10).position(|w| w == b"Timestamp\0").unwrap() + 10;
        return i64::from_be_bytes(bytes[place..place + 8].try_into().unwrap());
    }
    let text = String::from_utf8(bytes).unwrap();
    text.split("MPEGTS:").nth(1).unwrap().split(',').next().unwrap().parse().unwrap()
}

/// A playlist of these segments, as FFmpeg finds it: its first time, and its sound.
fn read_back(b: &Bench, segments: &[Segment]) -> (f64, Vec<f32>) {
    let mut text = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:0\n".to_string();
    segments.iter().for_each(|s| write!(text, "#EXTINF:{:.3},\n{}\n", s.length, s.name).unwrap());
    b.write("hls/part.m3u8", format!("{text}#EXT-X-ENDLIST\n").as_bytes());
    let probe = output_of(b, "ffprobe", "-v error -show_entries format=start_time hls/part.m3u8");
    let start = probe.lines().find_map(|l| l.strip_prefix("start_time=")?.parse().ok());
    (start.unwrap_or_else(|| panic!("{probe}")), samples(b, "hls/part.m3u8", "a:0"))
}

/// Begins 5 s before the clock wraps, then is an hour ahead, and then before its beginning.
#[test]
fn both_playlists_have_one_clock_when_it_wraps_and_jumps() {
    let b = Bench::new();
    film(&b, 12);
    let wrap = WRAP as f64 / 90_000.0;
    let mut bytes = Vec::new();
    for offset in [wrap - 5.0, 3_607.0, 100.0] {
        b.ffmpeg(&format!("-i film.mp4 -c copy -muxdelay 0 -output_ts_offset {offset:.4} -f mpegts part.ts"));
        bytes.extend(std::fs::read(b.path("part.ts")).unwrap());
    }
    let url = slow_server(bytes, 36);
    let (voice, hls) = (voice(), b.path("hls").display().to_string());
    let mut args = vec!["--allow-private", "--min-interval", "5", "--voice-command", &voice];
    args.extend(["--hls", &hls, "--hls-window", "100", "--jsonl", &url]);
    let mut live = Live::new(&tiny(&args));
    let (_, from) = live.caption(0);
    live.wait("caption after both jumps", from, |l| l["type"] == "caption" && l["time"].as_f64() > Some(30.0));
    live.stop();
    let (text, sound) = (stretches(&b, "descriptions.m3u8"), stretches(&b, "descriptions-audio.m3u8"));
    assert_eq!((text.len(), sound.len()), (3, 3), "{text:?}\n{sound:?}");
    for (n, (text, sound)) in text.iter().zip(&sound).enumerate() {
        let (first, last) = (&text[0], &text[text.len() - 1]);
        for segment in sound {
            let ticks = ((segment.date - first.date) * 90_000.0).round() as i64;
            let off = (segment.clock - first.clock - ticks).rem_euclid(WRAP);
            // Dates are in milliseconds.
            assert!(off.min(WRAP - off) < 200 && (0..WRAP).contains(&segment.clock), "{n}: {segment:?} {first:?}");
        }
        for pair in sound.windows(2) {
            assert!((pair[0].date + pair[0].length - pair[1].date).abs() < 0.004, "{n}: {pair:?}");
        }
        // Sound that comes before its pictures may go on after the last of them.
        let late = sound[0].date - first.date;
        assert!((-0.002..0.2).contains(&late) && (n > 0 || late < 0.002), "{n}: {:?} {first:?}", sound[0]);
        let (end, sounded) = (last.date + last.length, &sound[sound.len() - 1]);
        let most = if n == 2 { 2.0 } else { 0.2 };
        assert!((sounded.date + sounded.length - end).abs() < most, "{n}: {sounded:?} {last:?}");
        let (start, heard) = read_back(&b, sound);
        let off = (start - first.clock as f64 / 90_000.0).rem_euclid(wrap);
        assert!(off.min(wrap - off) < 0.06, "{n}: {start} {first:?}");
        let length: f64 = sound.iter().map(|s| s.length).sum();
        assert!((heard.len() as f64 / 48_000.0 - length).abs() < 0.1, "{n}: {} {length}", heard.len());
        let loud = heard.chunks(4_800).filter(|piece| piece.iter().any(|s| s.abs() > 0.02)).count();
        assert!(loud as f64 > length * 8.0, "{n}: {loud} of {length} s are heard");
    }
}

/// Sound that stops before a jump, pictures that stay away for a while with and without a new clock, and one that is long away.
#[test]
fn both_playlists_end_and_go_on_at_the_same_times() {
    let b = Bench::new();
    let (streams, options) = ([Arc::from("s")], HlsOptions { window: 100, ..HlsOptions::default() });
    let mut text = HlsSink::open(&b.path("hls"), &streams, &options).unwrap();
    let outputs = VoiceOutputs { hls: Some((b.path("hls"), options)), ..VoiceOutputs::default() };
    let mut sound = VoiceSink::open(&streams, &by_shell(&voice()), &outputs).unwrap();
    let mut send = |kind: EventKind| {
        let event = event("s", kind);
        if !matches!(event.kind, EventKind::Audio(_)) {
            text.event(&event).unwrap();
        }
        sound.event(&event).unwrap();
    };
    let tone = |at: i64| {
        let samples: Vec<f32> = (0..4_800).flat_map(|n| [(n as f32 * 0.0576).sin() * 0.3; 2]).collect();
        EventKind::Audio(LiveAudio { start: ms(at), samples: samples.into() })
    };
    send(clock(0, WRAP - 450_000));
    for at in (0..8_000).step_by(100) {
        // The sound is 0.5 s behind, and stops early.
        if (500..6_000).contains(&at) {
            send(tone(at - 500));
        }
        if at % 500 == 0 {
            send(watched(at));
        }
    }
    // Ahead by an hour.
    send(clock(8_000, 8 * 90_000 - 450_000 + 3_600 * 90_000));
    send(watched(12_000));
    // Away for 8 s with the same clock, and for 30 s with and without a word of it.
    send(clock(20_000, 20 * 90_000 - 450_000 + 3_600 * 90_000));
    send(watched(21_000));
    send(clock(51_000, 51 * 90_000 - 450_000 + 3_600 * 90_000));
    send(watched(54_000));
    send(caption(55_000, "a bird"));
    send(watched(84_000));
    send(watched(90_000));
    send(EventKind::End);
    text.close().unwrap();
    let _ = sound.close();
    let (text, sound) = (stretches(&b, "descriptions.m3u8"), stretches(&b, "descriptions-audio.m3u8"));
    let ends = |all: &[Vec<Segment>]| -> Vec<(f64, f64)> {
        let end = |s: &Segment| s.date + s.length;
        all.iter().map(|segments| (segments[0].date, end(&segments[segments.len() - 1]))).collect()
    };
    let (text, sound) = (ends(&text), ends(&sound));
    assert_eq!((text.len(), sound.len()), (4, 4), "{text:?}\n{sound:?}");
    for (text, sound) in text.iter().zip(&sound) {
        // The last frame of AAC is whole, and the encoder has one more.
        assert!((text.0 - sound.0).abs() < 0.002 && (-0.002..0.05).contains(&(sound.1 - text.1)), "{text:?} {sound:?}");
    }
}
