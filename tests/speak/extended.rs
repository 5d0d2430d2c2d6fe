//! `--extended`: films that pause for descriptions.

use crate::common::Bench;
use crate::support::{RATE, descriptions, find, level, output_of, packet_hashes, samples, speak, spoken, streams};

/// A description of 2 s, and one of 3 s.
const TWO: &str = "A dog runs across the green lawn today.";
const THREE: &str = "A cat sleeps on a chair in the sun, while a bird is singing.";

/// A film of 8 s whose every picture has another grey, with a tone, a second audio track, subtitles and chapters.
fn film(b: &Bench, output: &str, codecs: &str) {
    b.write(
        "subtitles.srt",
        b"1\n00:00:00,500 --> 00:00:01,000\nBefore.\n\n2\n00:00:01,600 --> 00:00:03,000\nOver.\n\n3\n00:00:05,000 --> \
          00:00:06,000\nAfter.\n",
    );
    let chapters = ";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=3000\ntitle=One\n\
                    [CHAPTER]\nTIMEBASE=1/1000\nSTART=3000\nEND=8000\ntitle=Two\n";
    b.write("chapters.txt", chapters.as_bytes());
    b.ffmpeg(&format!(
        "-f lavfi -i color=black:size=64x36:rate=25:duration=8,format=yuv420p,geq=lum=20+mod(N*13\\,200):cb=128:cr=128 \
         -f lavfi -i sine=220:d=8:r=48000 -f lavfi -i sine=500:d=8:r=48000 -i subtitles.srt -i chapters.txt -map 0 -map 1 \
         -map 2 -map 3 -map_metadata 4 -map_chapters 4 -metadata:s:a:1 language=fra {codecs} {output}"
    ));
}

/// The numbers of the pictures of the film, as they come in a file.
fn pictures(b: &Bench, name: &str) -> Vec<usize> {
    b.ffmpeg(&format!("-i {name} -map 0:v:0 -fps_mode passthrough -pix_fmt gray -f rawvideo pictures.raw"));
    let bytes = std::fs::read(b.path("pictures.raw")).unwrap();
    let mut last = 0usize;
    let number = |picture: &[u8]| {
        let grey = picture.iter().map(|g| f64::from(*g)).sum::<f64>() / picture.len() as f64;
        // Greys come again after 200 pictures. Grey is full range, and the film is not.
        let grey = grey * 219.0 / 255.0 + 16.0;
        let found = (0..200).min_by(|a, b| {
            let off = |n: usize| (grey - (20 + n * 13 % 200) as f64).abs();
            off(*a).total_cmp(&off(*b))
        });
        last = found.unwrap();
        last
    };
    bytes.chunks(64 * 36).map(number).collect()
}

/// Times of pictures in milliseconds.
fn times(b: &Bench, name: &str) -> Vec<i64> {
    b.frame_times(name).iter().map(|micros| micros / 1_000).collect()
}

/// What is expected: the pictures up to each pause, then the last one again.
fn paused(pauses: &[(usize, usize)]) -> Vec<usize> {
    (0..200)
        .flat_map(|n| {
            let again = pauses.iter().find(|pause| pause.0 == n).map_or(0, |pause| pause.1);
            std::iter::repeat_n(n, 1 + again)
        })
        .collect()
}

#[test]
fn the_film_pauses_where_a_description_takes_too_long() {
    let b = Bench::new();
    // The first has room for 1.3 s and takes 1.95 s, so the film pauses for 17 pictures. The second has room.
    // The third takes 3 s, of which the film has 1 s left.
    descriptions(&b, &[(1_000, TWO), (2_500, THREE), (7_000, THREE)]);
    for (input, codecs, outputs) in [
        ("film.mkv", "-c:v libx264 -qp 0 -bf 2 -c:a flac -c:s srt", vec!["a.mkv"]),
        ("film.mp4", "-c:v libx264 -crf 5 -bf 2 -c:a aac -c:s mov_text", vec!["a.mp4", "a.mov"]),
        ("film.webm", "-c:v libvpx-vp9 -crf 5 -b:v 0 -deadline realtime -c:a libopus -c:s webvtt", vec!["a.webm"]),
    ] {
        film(&b, input, codecs);
        assert_eq!(pictures(&b, input), paused(&[]), "{input}");
        for output in outputs {
            let told = speak(&b, input, output, &["--extended", "-v", "--crf", "8"], 0);
            assert!(told.contains("2 pauses of 2.7 s in all"), "{told}");
            assert!(!told.contains("warning"), "{told}");
            assert_eq!(pictures(&b, output), paused(&[(25, 17), (175, 50)]), "{output}");
            // Pictures stay as far apart as they were.
            let times = times(&b, output);
            let far = |pair: &[i64]| (39..=41).contains(&(pair[1] - pair[0]));
            assert!(times.windows(2).all(far), "{output}: {times:?}");
            // The first audio track is in the new one, which comes after the second one.
            let sound = samples(&b, output, "a:1");
            assert!((sound.len() as f64 / RATE as f64 - 10.68).abs() < 0.08, "{output}: {}", sound.len());
            for (start, text) in [(1.0, TWO), (3.18, THREE), (7.68, THREE)] {
                let begins = find(&spoken(&b, text), &sound, start - 0.05, start + 0.05);
                assert!((begins - start).abs() < 0.012, "{output}: {begins} and not {start}");
            }
            // The programme is silent in the pause, and goes on after it.
            assert!(level(&sound, 220.0, 0.3) > -25.0 && level(&sound, 220.0, 6.5) > -25.0);
            assert!(level(&sound, 220.0, 1.2) < level(&sound, 220.0, 0.3) - 30.0, "{}", level(&sound, 220.0, 1.2));
            let tracks: Vec<_> = streams(&b, output).into_iter().filter(|s| s.contains("codec_type=audio")).collect();
            assert!(tracks.len() == 2 && tracks[1].contains("default=1"), "{tracks:?}");
            assert!(tracks[0].contains("default=0") && tracks[0].contains("language=fr"), "{tracks:?}");
            // The second track pauses, too: from 1 s to 1.68 s, and from 7.68 s to 9.68 s.
            let other = samples(&b, output, "a:0");
            assert!((other.len() as f64 / RATE as f64 - 10.68).abs() < 0.08, "{output}: {}", other.len());
            let heard = |at: f64| level(&other, 500.0, at) > -25.0;
            let silent = |at: f64| level(&other, 500.0, at) < -60.0;
            assert!([0.1, 0.85, 1.76, 5.0, 7.55, 9.76, 10.5].into_iter().all(heard), "{output}");
            assert!([1.03, 1.3, 1.6, 7.73, 9.6].into_iter().all(silent), "{output}");
        }
    }
}

#[test]
fn a_track_that_cannot_be_decoded_is_named_and_left_out() {
    let b = Bench::new();
    descriptions(&b, &[(1_000, TWO), (2_000, "A cat.")]);
    film(&b, "film.mkv", "-c:v libx264 -c:a:0 flac -c:a:1 adpcm_ms -c:s srt");
    // No program knows this codec.
    let mut bytes = std::fs::read(b.path("film.mkv")).unwrap();
    let name = b"A_MS/ACM";
    let at = bytes.windows(name.len()).position(|window| window == name).unwrap();
    bytes[at..at + name.len()].copy_from_slice(b"A_NO/NEX");
    b.write("odd.mkv", &bytes);
    let told = speak(&b, "odd.mkv", "a.mkv", &["--extended", "-v"], 0);
    assert!(told.contains("stream 2 (Audio") && told.contains("is not kept"), "{told}");
    let tracks: Vec<_> = streams(&b, "a.mkv").into_iter().filter(|s| s.contains("codec_type=audio")).collect();
    assert!(tracks.len() == 1 && tracks[0].contains("default=1"), "{tracks:?}");
}

#[test]
fn subtitles_and_chapters_move_with_the_film() {
    let b = Bench::new();
    // The film pauses at 2 s, in the middle of a subtitle, for 1 s.
    descriptions(&b, &[(2_000, TWO), (3_150, "A cat.")]);
    for (input, codecs, output) in [
        ("film.mkv", "-c:v libx264 -c:a flac -c:s srt -attach subtitles.srt -metadata:s:t mimetype=font/ttf", "a.mkv"),
        ("film.mp4", "-c:v libx264 -c:a aac -c:s mov_text", "a.mp4"),
    ] {
        film(&b, input, codecs);
        let told = speak(&b, input, output, &["--extended", "-v", "--text-track"], 0);
        assert!(told.contains("1 pause of 1.0 s in all"), "{told}");
        let attached = streams(&b, output).iter().any(|s| s.contains("codec_type=attachment"));
        assert_eq!(attached, output == "a.mkv");
        b.ffmpeg(&format!("-i {output} -map 0:s:0 back.srt"));
        let back = b.read("back.srt");
        for time in ["00:00:00,500 --> 00:00:01,000", "00:00:01,600 --> 00:00:04,000", "00:00:06,000 --> 00:00:07,000"]
        {
            assert!(back.contains(time), "{output}: {time}: {back}");
        }
        b.ffmpeg(&format!("-i {output} -map 0:s:1 texts.srt"));
        let texts = b.read("texts.srt");
        assert!(texts.contains("00:00:02,000 -->") && texts.contains("00:00:04,150 -->"), "{texts}");
        let chapters = output_of(&b, "ffprobe", &format!("-v error -show_chapters -of compact {output}"));
        assert!(chapters.contains("end_time=4.000000") && chapters.contains("start_time=4.000000"), "{chapters}");
        assert!(chapters.contains("end_time=9.000000"), "{chapters}");
    }
}

#[test]
fn a_film_that_need_not_pause_is_copied() {
    let b = Bench::new();
    descriptions(&b, &[(1_000, "A cat."), (5_000, "A dog.")]);
    film(&b, "film.mkv", "-c:v libx264 -c:a aac -c:s srt");
    let told = speak(&b, "film.mkv", "a.mkv", &["--extended", "-v"], 0);
    assert!(!told.contains("pause"), "{told}");
    let all = ["v:0", "a:0", "a:1", "s:0"];
    assert_eq!(packet_hashes(&b, "a.mkv", &all), packet_hashes(&b, "film.mkv", &all));
}

#[test]
fn pictures_that_the_container_cannot_hold_are_encoded_for_it() {
    let b = Bench::new();
    descriptions(&b, &[(1_000, "A cat."), (5_000, "A dog.")]);
    film(&b, "film.webm", "-c:v libvpx -crf 5 -b:v 2M -deadline realtime -c:a libvorbis -sn");
    // Without a pause and with one.
    for (texts, told_pause) in [(vec![(1_000, "A cat.")], false), (vec![(1_000, TWO), (2_000, "A cat.")], true)] {
        descriptions(&b, &texts);
        for output in ["a.mp4", "a.mov"] {
            let told = speak(&b, "film.webm", output, &["--extended", "-v", "--force"], 0);
            assert_eq!(told.contains("1 pause of"), told_pause, "{told}");
            let found = streams(&b, output);
            assert!(found[0].contains("codec_name=h264") && found[1].contains("codec_name=aac"), "{found:?}");
            assert_eq!(pictures(&b, output), paused(if told_pause { &[(25, 29)] } else { &[] }), "{output}");
        }
    }
    let told = speak(&b, "film.webm", "b.mp4", &[], 2);
    assert!(told.contains("MP4 cannot hold stream 0 (video vp8)"), "{told}");
}

#[test]
fn the_film_pauses_rather_than_let_a_description_cover_speech() {
    let b = Bench::new();
    descriptions(&b, &[(1_000, TWO)]);
    film(&b, "film.mkv", "-c:v libx264 -qp 0 -c:a flac -c:s srt");
    // Somebody talks from 1.6 s on; with the gap, there is room for 0.4 s.
    b.write("dialogue.srt", b"1\n00:00:01,600 --> 00:00:03,000\nBlah.\n");
    let told = speak(&b, "film.mkv", "a.mkv", &["--extended", "-v", "--dialogue", "dialogue.srt"], 0);
    assert!(told.contains("1 pause of 1.6 s"), "{told}");
    assert_eq!(pictures(&b, "a.mkv"), paused(&[(25, 39)]));
    // Without speech there is room enough, and with --within-cues until the cue ends.
    let told = speak(&b, "film.mkv", "b.mkv", &["--extended", "-v"], 0);
    assert!(!told.contains("pause"), "{told}");
    let told = speak(&b, "film.mkv", "c.mkv", &["--extended", "-v", "--within-cues"], 0);
    assert!(told.contains("1 pause of 1.0 s"), "{told}");
}

#[test]
fn pictures_keep_their_format_colours_and_shape() {
    let b = Bench::new();
    descriptions(&b, &[(1_000, TWO), (2_000, THREE)]);
    let entries = "-v error -select_streams v:0 -show_entries stream=codec_name,width,height,pix_fmt,sample_aspect_ratio,\
                   color_range,color_space,color_transfer,color_primaries,avg_frame_rate,field_order:stream_side_data=rotation -of compact";
    for (name, make, want) in [
        (
            "hdr.mkv",
            "-f lavfi -i testsrc2=size=96x54:rate=30000/1001:duration=4,format=yuv420p10le,setsar=4/3 -c:v libx265 \
             -x265-params log-level=error -colorspace bt2020nc -color_trc smpte2084 -color_primaries bt2020 -color_range tv",
            vec!["yuv420p10le", "color_space=bt2020nc", "smpte2084", "color_primaries=bt2020", "4:3", "30000/1001"],
        ),
        (
            "full.mov",
            "-f lavfi -i testsrc2=size=96x54:rate=24:duration=4,format=yuvj444p -c:v libx264 -color_range pc",
            vec!["yuvj444p", "color_range=pc", "24/1", "rotation=90"],
        ),
        (
            "fields.mkv",
            "-f lavfi -i testsrc2=size=96x54:rate=25:duration=4,format=yuv422p,setfield=tff -c:v mpeg2video -q:v 2 -flags +ildct+ilme -top 1 -field_order tt",
            vec!["yuv422p", "field_order=tt"],
        ),
        ("rgb.mkv", "-f lavfi -i testsrc2=size=96x54:rate=25:duration=4,format=rgb24 -c:v png", vec!["yuv444p"]),
        ("odd.mkv", "-f lavfi -i testsrc2=size=96x54:rate=25:duration=4,format=yuv411p -c:v ffv1", vec!["yuv4"]),
    ] {
        b.ffmpeg(&format!("-f lavfi -i sine=220:d=4 {make} -c:a aac {name}"));
        if name == "full.mov" {
            b.ffmpeg("-i full.mov -c copy -metadata:s:v rotate=90 turned.mov");
            std::fs::rename(b.path("turned.mov"), b.path("full.mov")).unwrap();
        }
        let output = format!("paused.{name}");
        let told = speak(&b, name, &output, &["--extended", "-v"], 0);
        assert!(told.contains("pause"), "{told}");
        let found = output_of(&b, "ffprobe", &format!("{entries} {output}"));
        assert!(found.contains("codec_name=h264") && found.contains("width=96|height=54"), "{found}");
        want.iter().for_each(|want| assert!(found.contains(want), "{name}: {want}: {found}"));
        // The first picture looks as it did.
        let graph = "[0:v]format=yuv444p[a];[1:v]format=yuv444p[b];[a][b]ssim";
        let text =
            output_of(&b, "ffmpeg", &format!("-nostats -t 0.9 -i {name} -t 0.9 -i {output} -lavfi {graph} -f null -"));
        let ssim: f64 = text.rsplit_once("All:").unwrap().1.split(' ').next().unwrap().parse().unwrap();
        assert!(ssim > 0.93, "{name}: {ssim}");
    }
}

#[test]
fn sound_alone_pauses_too_and_the_same_input_gives_the_same_bytes() {
    let b = Bench::new();
    descriptions(&b, &[(1_000, TWO), (2_000, THREE)]);
    film(&b, "film.mkv", "-c:v libx264 -c:a aac -c:s srt");
    let told = speak(&b, "film.mkv", "a.wav", &["--extended", "-v"], 0);
    assert!(told.contains("1 pause of 1.1 s") || told.contains("1 pause of 1.2 s"), "{told}");
    let sound = samples(&b, "a.wav", "a:0");
    assert!((sound.len() as f64 / RATE as f64 - 9.15).abs() < 0.1, "{}", sound.len());
    for name in ["one.mkv", "two.mkv"] {
        speak(&b, "film.mkv", name, &["--extended"], 0);
    }
    assert!(std::fs::read(b.path("one.mkv")).unwrap() == std::fs::read(b.path("two.mkv")).unwrap());
}

/// A frozen picture is shown again as often as pictures come. Where the header tells a rate that no film has, it is 25 a
/// second.
#[test]
fn a_frozen_picture_comes_as_often_as_others() {
    let b = Bench::new();
    descriptions(&b, &[(1_000, TWO), (1_500, "A cat.")]);
    for (rate, step) in [("1/2", 40), ("1", 1_000), ("240", 4), ("300", 40)] {
        b.ffmpeg(&format!(
            "-f lavfi -i color=size=64x36:rate={rate}:duration=8 -f lavfi -i sine=220:d=8:r=48000 -c:v libx264 -c:a flac film.mkv"
        ));
        let told = speak(&b, "film.mkv", "a.mkv", &["--extended", "-v", "--force"], 0);
        assert!(told.contains("1 pause of"), "{told}");
        // The film pauses for 1.65 s at least.
        let times = times(&b, "a.mkv");
        let paused = times.windows(2).filter(|pair| (1_070..=2_000).contains(&pair[1]));
        let gaps: Vec<i64> = paused.map(|pair| pair[1] - pair[0]).collect();
        assert!(!gaps.is_empty() && gaps.iter().all(|gap| (step..=step + 1).contains(gap)), "{rate}: {times:?}");
    }
}

#[test]
fn pictures_without_bounds_are_copied_and_not_decoded() {
    let b = Bench::new();
    descriptions(&b, &[(1_000, TWO), (2_000, "A cat.")]);
    b.ffmpeg(
        "-f lavfi -i color=size=8200x8200:rate=1:duration=4 -f lavfi -i sine=d=4 -c:v mjpeg -q:v 20 -c:a flac film.mkv",
    );
    let told = speak(&b, "film.mkv", "a.mkv", &["--extended"], 1);
    assert!(told.contains("frames of 8200×8200 are larger than the limit of 67108864 pixels"), "{told}");
    assert!(told.contains("Leave out --extended") && !b.path("a.mkv").exists(), "{told}");
    speak(&b, "film.mkv", "a.mkv", &[], 0);
    assert_eq!(packet_hashes(&b, "a.mkv", &["v:0"]), packet_hashes(&b, "film.mkv", &["v:0"]));
    let size = output_of(&b, "ffprobe", "-v error -show_entries stream=width,height -of compact a.mkv");
    assert!(size.contains("width=8200|height=8200"), "{size}");
}

#[test]
fn what_cannot_be_combined_is_refused() {
    let b = Bench::new();
    let run = |more: &[&str], words: &[&str]| {
        let args = [&["speak", "film.mkv", "--descriptions", "film.vtt", "-o", "a.mkv"][..], more].concat();
        let told = b.run(&args, 2).1;
        words.iter().for_each(|word| assert!(told.contains(word), "{word}: {told}"));
    };
    run(&["--extended", "--only"], &["--extended", "--only", "cannot be used with"]);
    run(&["--crf", "20"], &["--extended"]);
}
