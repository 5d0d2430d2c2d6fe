//! Subtitles that the container of the output cannot hold: texts become others, and pictures are refused.

use crate::common::Bench;
use crate::support::{descriptions, output_of, packet_hashes, speak};

/// Texts of one and of two lines, with what markup would take for its own. The last two follow each other at once.
const SRT: &str = "1\n00:00:00,500 --> 00:00:01,250\nHello, you & I.\n\n2\n00:00:02,000 --> 00:00:04,040\n\
                   Who is 1 < 2?\nÄ dog…\n\n3\n00:00:04,040 --> 00:00:05,000\nAfter.\n\n";

/// The same for a program that reads texts as ASS.
const ASS: &str = "[Script Info]\nScriptType: v4.00+\n\n[V4+ Styles]\nFormat: Name, Fontname\nStyle: Default,Arial\n\n\
                   [Events]\nFormat: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n\
                   Dialogue: 0,0:00:01.00,0:00:04.00,Default,,0,0,0,,{\\i1}Hello,{\\i0} you.\n\
                   Dialogue: 0,0:00:02.00,0:00:03.00,Default,,0,0,0,,{\\an8\\c&HFF0000&}STATION\\NEXIT\n\
                   Dialogue: 1,0:00:02.00,0:00:03.00,Default,,0,0,0,,{\\an8\\bord4}STATION\\NEXIT\n\
                   Dialogue: 0,0:00:05.00,0:00:06.00,Default,,0,0,0,,{\\p1}m 0 0 l 9 9{\\p0}\n\
                   Dialogue: 0,0:00:06.50,0:00:07.25,Default,,0,0,0,,A & B.\n";

/// A film of 8 s with subtitles in French for people who do not hear well, in a file of the name `texts`.
fn film(b: &Bench, texts: (&str, &str), codecs: &str, output: &str) {
    b.write(texts.0, texts.1.as_bytes());
    b.ffmpeg(&format!(
        "-f lavfi -i testsrc2=size=64x36:rate=25:duration=8 -f lavfi -i sine=220:d=8:r=48000 -i {} -map 0 -map 1 -map 2 \
         {codecs} -metadata:s:s:0 language=fra -metadata:s:s:0 title=Paroles -disposition:s:0 default+hearing_impaired \
         {output}",
        texts.0
    ));
    descriptions(b, &[(1_500, "A dog.")]);
}

/// Times, from the first picture on, and texts of the first subtitles of a film, read by FFmpeg's program.
fn subtitles(b: &Bench, name: &str) -> Vec<String> {
    let entries = "-v error -select_streams v:0 -show_entries stream=start_time -of csv=p=0";
    let start: f64 = output_of(b, "ffprobe", &format!("{entries} {name}")).trim().parse().unwrap();
    b.ffmpeg(&format!("-copyts -itsoffset {} -i {name} -map 0:s:0 -f webvtt back.vtt", -start));
    let back = b.read("back.vtt").replace('\r', "");
    back.split("\n\n").skip(1).map(|cue| cue.trim_end().to_string()).filter(|cue| !cue.is_empty()).collect()
}

/// The texts of [`SRT`] and their times.
const TEXTS: [&str; 3] = [
    "00:00.500 --> 00:01.250\nHello, you & I.",
    "00:02.000 --> 00:04.040\nWho is 1 < 2?\nÄ dog…",
    "00:04.040 --> 00:05.000\nAfter.",
];

/// What ffprobe says about the first subtitles of a film.
fn stream(b: &Bench, name: &str) -> String {
    let entries = "stream=codec_name:stream_disposition=default,hearing_impaired:stream_tags=language,title";
    output_of(b, "ffprobe", &format!("-v error -select_streams s:0 -show_entries {entries} -of compact=p=0 {name}"))
}

#[test]
fn texts_keep_words_times_and_names_in_another_container() {
    let b = Bench::new();
    film(&b, ("texts.srt", SRT), "-c:v libx264 -c:a aac -c:s mov_text", "film.mp4");
    let told = speak(&b, "film.mp4", "a.mkv", &[], 0);
    let want = "film.mp4: stream 2 (Subtitle mov_text) becomes SubRip without styles, because Matroska cannot hold it";
    assert_eq!(told.matches(want).count(), 1, "{told}");
    // There and back again.
    for (input, output, codec) in
        [("film.mp4", "a.mkv", "subrip"), ("a.mkv", "a.mp4", "mov_text"), ("a.mkv", "a.mov", "mov_text")]
    {
        let told = speak(&b, input, output, &["--force"], 0);
        assert_eq!(subtitles(&b, output), TEXTS, "{output}");
        assert_eq!(told.contains("becomes"), input.split('.').next_back() != output.split('.').next_back(), "{told}");
        let found = stream(&b, output);
        assert!(found.contains(&format!("codec_name={codec}|")) && found.contains("default=1"), "{found}");
        assert!(found.contains("language=fra"), "{found}");
        // MOV has no such mark.
        assert!(output == "a.mov" || found.contains("hearing_impaired=1"), "{found}");
    }
    speak(&b, "film.mp4", "b.mkv", &[], 0);
    assert!(std::fs::read(b.path("a.mkv")).unwrap() == std::fs::read(b.path("b.mkv")).unwrap());
}

#[test]
fn texts_that_overlap_are_shown_together_where_only_one_can_be() {
    let b = Bench::new();
    film(&b, ("texts.ass", ASS), "-c:v libvpx-vp9 -deadline realtime -c:a libopus -c:s copy", "film.mkv");
    for output in ["a.mp4", "a.webm"] {
        let told = speak(&b, "film.mkv", output, &[], 0);
        assert!(told.contains("stream 2 (Subtitle ass) becomes"), "{told}");
    }
    let joined = [
        "00:01.000 --> 00:02.000\nHello, you.",
        "00:02.000 --> 00:03.000\nHello, you.\nSTATION\nEXIT",
        "00:03.000 --> 00:04.000\nHello, you.",
        "00:06.500 --> 00:07.250\nA & B.",
    ];
    assert_eq!(subtitles(&b, "a.mp4"), joined);
    // WebVTT shows several, as ASS does.
    let apart = subtitles(&b, "a.webm");
    for text in [
        "00:01.000 --> 00:04.000\nHello, you.",
        "00:02.000 --> 00:03.000\nSTATION\nEXIT",
        "00:06.500 --> 00:07.250\nA & B.",
    ] {
        assert!(apart.iter().any(|cue| cue == text), "{text}: {apart:?}");
    }
    let found = stream(&b, "a.webm");
    assert!(found.contains("codec_name=webvtt|") && found.contains("title=Paroles"), "{found}");
    // FFmpeg 5 writes titles of tracks into MP4, and does not read them.
    let bytes = std::fs::read(b.path("a.mp4")).unwrap();
    assert!(bytes.windows(11).any(|window| window == b"nameParoles"));
    // What the container holds is copied, with its styles.
    speak(&b, "film.mkv", "a.mkv", &[], 0);
    assert_eq!(packet_hashes(&b, "a.mkv", &["s:0"]), packet_hashes(&b, "film.mkv", &["s:0"]));
}

/// Players read a film from its start on, and what belongs together is near each other.
#[test]
fn a_text_does_not_wait_for_the_next_one() {
    let b = Bench::new();
    let one = "1\n00:00:00,500 --> 00:00:01,000\nHello.\n\n";
    film(&b, ("texts.srt", one), "-c:v libx264 -c:a aac -c:s srt", "short.mkv");
    // FFmpeg keeps 10 s to bring packets into order.
    b.ffmpeg("-stream_loop 3 -i short.mkv -map 0:v -map 0:a -c copy long.mkv");
    b.ffmpeg("-i long.mkv -i short.mkv -map 0 -map 1:s -c copy film.mkv");
    speak(&b, "film.mkv", "a.mp4", &[], 0);
    let args = "-v error -show_entries packet=codec_type,pos,size -of compact=p=0:nk=1 a.mp4";
    let packets = output_of(&b, "ffprobe", args);
    let places = |kind: &str| -> Vec<u64> {
        let of_kind = packets.lines().map(|line| line.split('|').collect::<Vec<_>>());
        // A text of two bytes is the end of another.
        let of_kind = of_kind.filter(|packet| packet[0] == kind && packet[1] != "2");
        of_kind.map(|packet| packet[2].parse().unwrap()).collect()
    };
    let (texts, pictures) = (places("subtitle"), places("video"));
    assert_eq!((texts.len(), pictures.len()), (1, 800), "{packets}");
    // It comes before the picture at 16 s.
    assert!(texts[0] < pictures[400], "{texts:?} {pictures:?}");
}

#[test]
fn texts_move_with_a_film_that_pauses() {
    let b = Bench::new();
    film(&b, ("texts.srt", SRT), "-c:v libx264 -c:a aac -c:s mov_text", "film.mp4");
    b.ffmpeg("-i film.mp4 -map 0 -c copy -c:s srt film.mkv");
    // The film pauses at 3 s, in the middle of a text.
    descriptions(&b, &[(3_000, "A dog runs across the green lawn today."), (4_150, "A cat.")]);
    for (input, copied, converted) in [("film.mp4", "a.mp4", "a.mkv"), ("film.mkv", "b.mkv", "b.mp4")] {
        for output in [copied, converted] {
            let told = speak(&b, input, output, &["--extended", "-v"], 0);
            assert!(told.contains("1 pause of 1.0 s in all"), "{told}");
            assert_eq!(told.contains("becomes"), output == converted, "{told}");
        }
        let moved = subtitles(&b, converted);
        let want = [TEXTS[0], "00:02.000 --> 00:05.040\nWho is 1 < 2?\nÄ dog…", "00:05.040 --> 00:06.000\nAfter."];
        assert_eq!(moved, want, "{converted}");
        assert_eq!(moved, subtitles(&b, copied));
    }
}

#[test]
fn a_damaged_text_is_left_out_and_counted() {
    let b = Bench::new();
    film(&b, ("texts.srt", SRT), "-c:v libx264 -c:a aac -c:s mov_text", "film.mp4");
    let mut bytes = std::fs::read(b.path("film.mp4")).unwrap();
    let at = bytes.windows(3).position(|window| window == b"Who").unwrap();
    bytes[at..at + 3].copy_from_slice(&[0xFF; 3]);
    b.write("damaged.mp4", &bytes);
    let told = speak(&b, "damaged.mp4", "a.mkv", &[], 1);
    assert!(told.contains("copied in part: 1 packets of subtitles could not be converted"), "{told}");
    assert_eq!(subtitles(&b, "a.mkv"), [TEXTS[0], TEXTS[2]]);
}

#[test]
fn pictures_of_subtitles_are_refused() {
    let b = Bench::new();
    film(&b, ("texts.srt", SRT), "-c:v libx264 -c:a aac -c:s srt", "film.mkv");
    let mut bytes = std::fs::read(b.path("film.mkv")).unwrap();
    let at = bytes.windows(11).position(|window| window == b"S_TEXT/UTF8").unwrap();
    bytes[at..at + 11].copy_from_slice(b"S_HDMV/PGS\0");
    b.write("pictures.mkv", &bytes);
    let told = speak(&b, "pictures.mkv", "a.mp4", &[], 2);
    assert!(told.contains("MP4 cannot hold stream 2 (Subtitle hdmv_pgs_subtitle) of pictures.mkv"), "{told}");
    assert!(told.contains("Name an .mkv with -o") && !b.path("a.mp4").exists(), "{told}");
}
