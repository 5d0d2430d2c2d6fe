//! `--mode fast`: which frames it decodes and how they differ from those of `--mode all`, that it finds the same scenes and
//! takes keyframes from what it decodes in full, and that it says so where there is nothing to leave out.

use serde_json::Value;

use crate::common::{Bench, sample, tiny};
use descry::interrupt::Interrupt;
use descry::media::{DecodeOptions, DecodedFrames, Frame, Source};
use descry::scene::{KeyframeOptions, KeyframeSelector, SceneOptions};
use descry::time::Time;

const X264: &str = "-c:v libx264 -preset veryfast -pix_fmt yuv420p";

fn frames(bench: &Bench, name: &str, options: &DecodeOptions) -> (Vec<Frame>, Source) {
    let path = bench.path(name).display().to_string();
    let mut source = Source::open(&path.into(), options, Interrupt::new()).unwrap();
    let mut out = Vec::new();
    while let Some(frame) = source.next().unwrap() {
        out.push(frame);
    }
    (out, source)
}

fn fast() -> DecodeOptions {
    DecodeOptions { frames: DecodedFrames::Fast, ..DecodeOptions::default() }
}

/// How far the lumas of two frames are apart, in levels.
fn mean_difference(a: &Frame, b: &Frame) -> f32 {
    let (a, b) = (a.thumb().unwrap().y, b.thumb().unwrap().y);
    a.iter().zip(&b).map(|(a, b)| f32::from(a.abs_diff(*b))).sum::<f32>() / a.len() as f32
}

/// Decodes a film both ways. Returns how many frames there are, and how many the fast way decodes.
fn compare(b: &Bench, name: &str) -> (usize, usize) {
    let (all, whole) = frames(b, name, &DecodeOptions::default());
    let (few, source) = frames(b, name, &fast());
    assert!(source.damage().is_clean(), "{name}: {}", source.damage());
    assert_eq!(source.end(), whole.end(), "{name}");
    assert_eq!(few.len() as u64 + source.left_out(), all.len() as u64, "{name}");
    let mut keyframe = Time::ZERO;
    for frame in &few {
        let same = &all[frame.index as usize];
        assert_eq!((frame.time, frame.index), (same.time, same.index), "{name}");
        if frame.is_key() {
            keyframe = frame.time;
        }
        let (drift, passed) = (mean_difference(frame, same), frame.time - keyframe);
        assert!(passed > Time::from_millis(340) || !frame.unfiltered, "{name}: not filtered at {}", frame.time);
        // A B-frame that is filtered may refer to a frame that is not.
        if passed < Time::from_millis(150) || source.info().codec != "h264" {
            assert_eq!(frame.identity(), same.identity(), "{name}: other samples at {}", frame.time);
        } else {
            assert!(drift < 4.0, "{name}: {drift} levels at {}", frame.time);
        }
    }
    for pair in few.windows(2) {
        assert!(pair[1].index - pair[0].index <= 3, "{name}: more than two frames left out at {}", pair[0].time);
    }
    (all.len(), few.len())
}

#[test]
fn frames_that_others_refer_to_are_decoded_and_those_after_keyframes_are_the_same_as_when_all_are() {
    let b = Bench::new();
    let source = "-f lavfi -i testsrc2=size=192x108:rate=25:duration=6";
    for (name, options, least) in [
        ("defaults.mp4", X264, 0.4),
        ("mkv.mkv", X264, 0.4),
        ("ts.ts", "-c:v libx264 -preset veryfast -pix_fmt yuv420p -output_ts_offset 3", 0.4),
        ("open.mp4", "-c:v libx264 -preset veryfast -g 25 -flags -cgop -x264-params open-gop=1", 0.4),
        ("flat.mp4", "-c:v libx264 -bf 3 -x264-params b-pyramid=none:b-adapt=0", 0.4),
        ("many.mp4", "-c:v libx264 -bf 16 -x264-params b-adapt=0", 0.5),
        ("fields.mp4", "-vf fps=50,interlace -c:v libx264 -preset veryfast -flags +ildct+ilme", 0.4),
        ("ten.mp4", "-c:v libx264 -preset veryfast -pix_fmt yuv420p10le", 0.4),
        ("hevc.mp4", "-c:v libx265 -x265-params log-level=none", 0.3),
        ("hevc.ts", "-c:v libx265 -x265-params log-level=none:temporal-layers=1", 0.2),
        ("mpeg2.ts", "-c:v mpeg2video -bf 2", 0.5),
        ("vfr.mkv", "-vf select='not(mod(n\\,3))+not(mod(n\\,7))' -vsync vfr -c:v libx264", 0.01),
    ] {
        b.ffmpeg(&format!("{source} {options} {name}"));
        let (all, few) = compare(&b, name);
        assert!((few as f64) < (1.0 - least) * all as f64, "{name}: {few} of {all}");
    }
}

#[test]
fn a_part_of_a_film_has_the_same_frames() {
    let b = Bench::new();
    b.ffmpeg(&format!("-f lavfi -i testsrc2=size=192x108:rate=25:duration=6 {X264} -g 50 clip.mp4"));
    let (whole, _) = frames(&b, "clip.mp4", &fast());
    let (from, to) = (Time::from_millis(2_500), Time::from_millis(4_000));
    let (part, source) = frames(&b, "clip.mp4", &DecodeOptions { start: Some(from), end: Some(to), ..fast() });
    let inside = whole.iter().filter(|frame| (from..to).contains(&frame.time));
    let times: Vec<_> = inside.map(|frame| (frame.time, frame.identity())).collect();
    assert_eq!(part.iter().map(|frame| (frame.time, frame.identity())).collect::<Vec<_>>(), times);
    assert_eq!(source.end(), to);
}

/// Films in which nothing can be left out.
const NOTHING_TO_SKIP: [(&str, &str); 5] = [
    ("none.mp4", "-c:v libx264 -bf 0"),
    ("intra.mkv", "-c:v mjpeg"),
    ("vp9.webm", "-c:v libvpx-vp9 -deadline realtime -cpu-used 8"),
    ("slow.mp4", "-r 10 -c:v libx264 -bf 3"),
    ("timeless.avi", "-c:v mpeg4 -bf 2"),
];

#[test]
fn where_there_is_nothing_to_leave_out_every_frame_is_decoded_and_a_warning_says_so() {
    let b = Bench::new();
    for (name, options) in NOTHING_TO_SKIP {
        b.ffmpeg(&format!("-f lavfi -i testsrc2=size=192x108:rate=25:duration=2 {options} {name}"));
        let (all, few) = compare(&b, name);
        assert_eq!(all, few, "{name}");
        let (plain, _) = b.run(&tiny(&["describe", name, "-o", "-"]), 0);
        let (fast, messages) = b.run(&tiny(&["describe", name, "-o", "-", "--mode", "fast"]), 0);
        assert_eq!(plain, fast, "{name}");
        assert!(messages.contains("--mode fast left out no frame of 1 video"), "{name}: {messages}");
    }
    b.ffmpeg(&format!("-f lavfi -i testsrc2=size=192x108:rate=25:duration=2 {X264} some.mp4"));
    let (_, messages) = b.run(&tiny(&["describe", "some.mp4", "-o", "-", "--mode", "fast"]), 0);
    assert_eq!(messages, "");
}

/// Writes a film of six shots, joined by cuts, dissolves and fades.
fn film(b: &Bench, name: &str, options: &str) {
    let shots = [("bikes.mp4", 0.6), ("bigbuckbunny.mp4", 0.4), ("bikes.mp4", 2.4), ("bigbuckbunny.mp4", 3.6)];
    let shots = [&shots[..], &[("bikes.mp4", 6.4), ("bikes.mp4", 8.6)]].concat();
    let inputs: Vec<String> = shots.iter().map(|(file, at)| format!("-ss {at} -i {}", sample(file))).collect();
    let mut filter = String::new();
    for n in 0..shots.len() {
        // One frame of each, under a moving camera.
        filter += &format!(
            "[{n}]trim=end_frame=1,scale=960:540,zoompan=z='1+0.002*on':d=100:s=480x270:fps=25,setsar=1[s{n}];"
        );
    }
    filter += "[s0][s1]concat,fps=25[a];[a][s2]xfade=transition=fade:duration=1:offset=7[b];[b][s3]concat,fps=25[c];\
               [c][s4]xfade=transition=fadeblack:duration=1.2:offset=13.8[d];\
               [d][s5]xfade=transition=fade:duration=0.4:offset=17.4,noise=alls=3:allf=t,format=yuv420p";
    b.ffmpeg(&format!("{} -filter_complex {} {options} {name}", inputs.join(" "), filter.replace(' ', "")));
}

/// The start of each scene in seconds, and how it follows the one before.
fn scenes(b: &Bench, name: &str, mode: &str) -> Vec<(f64, String)> {
    let (out, _) = b.run(&tiny(&["describe", name, "-o", "-", "-f", "json", "--mode", mode]), 0);
    let track: Value = serde_json::from_str(&out).unwrap();
    let scene = |s: &Value| (s["start"].as_f64().unwrap(), s["transition"].as_str().unwrap().to_string());
    track["scenes"].as_array().unwrap().iter().map(scene).collect()
}

#[test]
fn cuts_dissolves_and_fades_are_those_of_all_frames() {
    let b = Bench::new();
    for (name, options) in [
        ("defaults.mp4", "-c:v libx264"),
        ("pyramid.mp4", "-c:v libx264 -bf 3 -x264-params b-adapt=0:scenecut=0:keyint=75"),
        ("flat.ts", "-c:v libx264 -bf 3 -x264-params b-pyramid=none:b-adapt=0:scenecut=0"),
        ("mpeg2.ts", "-c:v mpeg2video -q:v 3 -bf 2"),
    ] {
        film(&b, name, options);
        let (all, fast) = (scenes(&b, name, "all"), scenes(&b, name, "fast"));
        let kinds = |scenes: &[(f64, String)]| scenes.iter().map(|s| s.1.clone()).collect::<Vec<_>>();
        assert_eq!(kinds(&all), ["start", "cut", "dissolve", "cut", "fade", "dissolve"], "{name}: {all:?}");
        assert_eq!(kinds(&fast), kinds(&all), "{name}: {fast:?}");
        for ((a, kind), (f, _)) in all.iter().zip(&fast) {
            // In frames. The middle of a dissolve is not as sharp as a cut.
            let most = if kind == "dissolve" { 4.5 } else { 2.5 };
            assert!((a - f).abs() < most / 25.0, "{name}: {all:?}\n{fast:?}");
        }
    }
}

/// Writes a film that leaves a shot for another one and comes back.
fn away_and_back(b: &Bench, name: &str, options: &str) {
    let filter = "[0]trim=end_frame=1,scale=960:540,zoompan=z='1+0.001*on':d=150:s=480x270:fps=25,setsar=1,split[x][y];\
                  [1]trim=end_frame=1,scale=960:540,zoompan=z='1+0.001*on':d=25:s=480x270:fps=25,setsar=1[b];\
                  [x]trim=end_frame=55[a];[y]trim=start_frame=80,setpts=PTS-STARTPTS[c];\
                  [a][b][c]concat=n=3,noise=alls=3:allf=t,format=yuv420p";
    let inputs =
        [("bikes.mp4", 0.6), ("bigbuckbunny.mp4", 0.4)].map(|(file, at)| format!("-ss {at} -i {}", sample(file)));
    b.ffmpeg(&format!("{} -filter_complex {} {options} {name}", inputs.join(" "), filter.replace(' ', "")));
}

/// Encoders that put no keyframe where a scene begins, and one that has few bits for it.
const FIXED: [(&str, &str); 4] = [
    ("fixed.mp4", "-c:v libx264 -sc_threshold 0 -g 250"),
    ("poor.mp4", "-c:v libx264 -sc_threshold 0 -g 250 -b:v 150k -maxrate 150k -bufsize 30k"),
    ("open.ts", "-c:v libx264 -sc_threshold 0 -g 50 -bf 3 -x264-params open-gop=1"),
    ("refresh.mp4", "-c:v libx264 -sc_threshold 0 -g 50 -x264-params intra-refresh=1"),
];

#[test]
fn a_cut_away_and_back_within_a_group_of_pictures_is_found() {
    let b = Bench::new();
    for (name, options) in FIXED {
        away_and_back(&b, name, options);
        let (all, fast) = (scenes(&b, name, "all"), scenes(&b, name, "fast"));
        assert_eq!(all.iter().map(|s| s.1.as_str()).collect::<Vec<_>>(), ["start", "cut", "cut"], "{name}: {all:?}");
        assert_eq!(fast.len(), 3, "{name}: {fast:?}");
        let close = |(a, f): (&(f64, String), &(f64, String))| (a.0 - f.0).abs() < 2.5 / 25.0;
        assert!(all.iter().zip(&fast).all(close), "{name}: {all:?}\n{fast:?}");
    }
}

#[test]
fn keyframes_are_taken_from_what_was_decoded_in_full() {
    let b = Bench::new();
    for (name, options) in [("film.mp4", "-c:v libx264"), FIXED[0]] {
        away_and_back(&b, name, options);
        let (frames, _) = frames(&b, name, &fast());
        assert!(frames.iter().filter(|frame| frame.unfiltered).count() > frames.len() / 2, "{name}");
        let mut selector = KeyframeSelector::new(&SceneOptions::default(), &KeyframeOptions::default());
        let mut chosen = Vec::new();
        for frame in &frames {
            chosen.extend(selector.push(frame.thumb().unwrap(), frame));
        }
        chosen.extend(selector.finish(Time::from_millis(6_000)));
        assert_eq!(chosen.len(), 3, "{name}");
        assert!(chosen.iter().all(|keyframe| !keyframe.picture.unfiltered), "{name}");
    }
}

#[test]
fn the_result_does_not_depend_on_threads() {
    let b = Bench::new();
    film(&b, "film.mp4", "-c:v libx264 -bf 3 -x264-params b-adapt=0");
    let run = |threads: &str, format: &str| {
        let args = ["describe", "film.mp4", "-o", "-", "-f", format, "--mode", "fast", "--decode-threads", threads];
        b.run(&tiny(&args), 0).0
    };
    for format in ["json", "csv"] {
        let one = run("1", format);
        assert_eq!(one, run("2", format));
        assert_eq!(one, run("7", format));
    }
    // Frames that were left out count, so that numbers of frames mean what they mean in other programs.
    let last = |mode: &str| {
        let (csv, _) = b.run(&tiny(&["describe", "film.mp4", "-o", "-", "-f", "csv", "--mode", mode]), 0);
        csv.lines().last().unwrap().split(',').nth(4).unwrap().parse::<i64>().unwrap()
    };
    assert!((last("all") - last("fast")).abs() <= 2);
}

#[test]
fn a_decoder_in_a_process_of_its_own_gives_the_same_scenes() {
    let b = Bench::new();
    film(&b, "film.mp4", "-c:v libx264 -bf 3");
    let run = |isolate: &[&str]| {
        let args = [&["describe", "film.mp4", "-o", "-", "-f", "csv", "--mode", "fast"], isolate].concat();
        b.run(&tiny(&args), 0)
    };
    assert_eq!(run(&[]), run(&["--isolate"]));
}

#[test]
fn damaged_films_are_described_in_part() {
    let b = Bench::new();
    film(&b, "film.ts", "-c:v libx264 -bf 3");
    let mut bytes = std::fs::read(b.path("film.ts")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 30_000].iter_mut().step_by(5).for_each(|byte| *byte ^= 0x3B);
    b.write("damaged.ts", &bytes);
    let (track, messages) = b.run(&tiny(&["describe", "damaged.ts", "-o", "-", "--mode", "fast"]), 1);
    assert!(track.starts_with("WEBVTT") && messages.contains("described in part"), "{messages}");
}

#[test]
fn live_mode_has_no_fast_mode() {
    let b = Bench::new();
    let (_, messages) = b.run(&["live", "film.mp4", "--mode", "fast"], 2);
    assert!(messages.contains("--mode"), "{messages}");
}
