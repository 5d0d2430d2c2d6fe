//! Stitched parts of a film: every output must equal that of one run, byte for byte, for any film, container and borders.
//! The tests synthesise films: moving, still and blank pictures, cuts, dissolves and fades between them, scenes that
//! return. Encoder and captioner are mocks whose results depend only on the pictures.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::common::{Bench, TINY, root};
use descry::error::Result;
use descry::interrupt::Interrupt;
use descry::media::DecodedFrames;
use descry::model::{Caption, CaptionInput, Captions, Encode, Encoded, ModelFolder, PictureDemand, Pixels};
use descry::pipeline::parts::{self, PartJob, PartOptions, StitchJob, Stitched};
use descry::pipeline::{Config, Job, KeyframeRecord, KeyframeSink, Model, Silent, run};
use descry::scene::{Detector, SceneOptions};
use descry::time::Time;
use descry::track::DedupOptions;
use descry::track::{Format, Track, write};

const SIZE: (usize, usize) = (96, 64);
const RATE: usize = 25;

/// The transition from the previous scene.
#[derive(Clone, Copy, Debug)]
enum Into {
    Cut,
    /// This many frames mix both scenes.
    Dissolve(usize),
    /// This many frames fade to black, and as many fade in again.
    Fade(usize),
}

#[derive(Clone, Copy, Debug)]
struct Scene {
    into: Into,
    seed: u32,
    frames: usize,
    /// Samples by which the picture moves in each frame.
    speed: f32,
}

/// Each seed gives a different picture. Seed 0 is black.
fn luma(seed: u32, shift: f32, x: f32, y: f32) -> f32 {
    if seed == 0 {
        return 16.0;
    }
    let s = seed as f32;
    let (x, y) = (x + shift, y + shift * 0.4 * (s % 3.0 - 1.0));
    126.0
        + 45.0 * (x * (0.07 + 0.05 * (s % 4.0)) + s * 1.7).sin()
        + 40.0 * (y * (0.11 + 0.04 * (s % 5.0)) + x * 0.03 * (s % 7.0) + s).cos()
        + 20.0 * (x * 0.41 + y * 0.33 * (s % 2.0) + s * s).sin()
}

fn frame(scene: &Scene, n: usize) -> Vec<f32> {
    let shift = scene.speed * n as f32;
    let (w, h) = SIZE;
    (0..w * h).map(|i| luma(scene.seed, shift, (i % w) as f32, (i / w) as f32)).collect()
}

fn mix(a: &[f32], b: &[f32], share: f32) -> Vec<f32> {
    a.iter().zip(b).map(|(x, y)| x * (1.0 - share) + y * share).collect()
}

/// Every frame of a film.
fn film(scenes: &[Scene]) -> Vec<Vec<u8>> {
    let mut out: Vec<Vec<f32>> = Vec::new();
    for (k, scene) in scenes.iter().enumerate() {
        for n in 0..scene.frames {
            let own = frame(scene, n);
            out.push(match (scene.into, k.checked_sub(1).map(|k| &scenes[k])) {
                (Into::Dissolve(length), Some(before)) if n < length => {
                    mix(&frame(before, before.frames + n), &own, (n + 1) as f32 / (length + 1) as f32)
                }
                (Into::Fade(length), Some(before)) if n < length => {
                    let black = vec![16.0; own.len()];
                    mix(&frame(before, before.frames + n), &black, (n + 1) as f32 / length as f32)
                }
                (Into::Fade(length), _) if n < 2 * length => {
                    mix(&vec![16.0; own.len()], &own, (n + 1 - length.min(n + 1)) as f32 / length as f32)
                }
                _ => own,
            });
        }
    }
    out.into_iter().map(|f| f.into_iter().map(|v| v.clamp(16.0, 235.0) as u8).collect()).collect()
}

/// Encodes frames with these FFmpeg arguments. The output comes last.
fn encode(b: &Bench, frames: &[Vec<u8>], args: &str) {
    let mut ffmpeg = Command::new("ffmpeg")
        .args(["-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "gray"])
        .args(["-s", &format!("{}x{}", SIZE.0, SIZE.1), "-r", &RATE.to_string(), "-i", "-", "-pix_fmt", "yuv420p"])
        .args(args.split_whitespace())
        .current_dir(b.path(""))
        .stdin(Stdio::piped())
        .spawn()
        .expect("ffmpeg is installed");
    let mut pipe = ffmpeg.stdin.take().unwrap();
    frames.iter().try_for_each(|f| pipe.write_all(f)).expect("ffmpeg takes every frame");
    drop(pipe);
    assert!(ffmpeg.wait().unwrap().success(), "{args}");
}

/// Draws numbers. The same seed draws the same numbers.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % below.max(1) as u64) as usize
    }

    /// A film of about this many seconds.
    fn scenes(&mut self, secs: usize) -> Vec<Scene> {
        let mut scenes: Vec<Scene> = Vec::new();
        while scenes.iter().map(|s| s.frames).sum::<usize>() < secs * RATE {
            let into = match self.roll(8) {
                0 => Into::Dissolve(8 + self.roll(30)),
                1 => Into::Fade(6 + self.roll(14)),
                _ => Into::Cut,
            };
            // About one in four repeats an earlier scene, one in twelve is black.
            let seed = match self.roll(12) {
                0 => 0,
                1..4 if !scenes.is_empty() => scenes[self.roll(scenes.len())].seed,
                _ => 1 + scenes.len() as u32,
            };
            let frames = 2 * RATE + self.roll(5 * RATE) + if self.roll(10) == 0 { 15 * RATE } else { 0 };
            let speed = if self.roll(4) == 0 { 0.0 } else { self.roll(30) as f32 / 20.0 };
            scenes.push(Scene { into, seed, frames, speed });
        }
        scenes
    }
}

/// The embedding holds the means of the picture's tiles, so similar pictures have similar embeddings.
struct Encoder;

impl Encode for Encoder {
    fn encode(&mut self, pictures: &[Pixels]) -> Result<Vec<Encoded>> {
        let encode = |p: &Pixels| {
            let tile = p.data.len() / 64;
            let means: Vec<f32> = p.data.chunks(tile).map(|t| t.iter().sum::<f32>() / t.len() as f32).collect();
            Encoded { grid: Some(means.iter().map(|v| v * 0.5).collect()), embedding: means }
        };
        Ok(pictures.iter().map(encode).collect())
    }
}

/// Each caption depends on every bit of the embedding and the grid.
struct Captioner<'a>(&'a AtomicUsize);

impl Captions for Captioner<'_> {
    fn caption(&mut self, pictures: &[&CaptionInput]) -> Result<Vec<Caption>> {
        self.0.fetch_add(pictures.len(), Ordering::SeqCst);
        Ok(pictures
            .iter()
            .map(|input| {
                let e = &input.encoded;
                let grid = e.grid.as_ref().expect("a picture to caption has its grid");
                let hash = e.embedding.iter().chain(grid).fold(7u64, |h, v| {
                    (h ^ u64::from(v.to_bits())).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(23)
                });
                let subject = ["a dog", "a cat", "a man in a suit", "two women"][(hash % 4) as usize];
                let mean_logprob = ((hash >> 8) % 1000) as f32 / -777.0;
                Caption {
                    text: format!("{subject} with number {}", hash % 1_000_003),
                    ids: vec![(hash % 97) as i64],
                    mean_logprob,
                    score: Some(mean_logprob.exp()),
                    support: None,
                }
            })
            .collect())
    }
}

/// Counts the captions of all captioners in this process.
static CAPTIONED: AtomicUsize = AtomicUsize::new(0);

fn model() -> Result<Model> {
    Ok(Model {
        demand: PictureDemand::default(),
        prompt: None,
        name: "mock 1".into(),
        hash: "0123".into(),
        decoding: serde_json::Value::Null,
        image: ModelFolder::open(root().join(TINY))?.manifest().image.clone(),
        encoder: Box::new(|| Ok(Box::new(Encoder))),
        captioner: Box::new(|| Ok(Box::new(Captioner(&CAPTIONED)))),
    })
}

fn config() -> Config {
    Config {
        dedup: DedupOptions { same: 0.97, returning: 0.99, ..DedupOptions::default() },
        min_score: 0.3,
        ..Config::default()
    }
}

/// Collects the record of each keyframe.
#[derive(Default)]
struct Shelf(Mutex<Vec<KeyframeRecord>>);

impl KeyframeSink for Shelf {
    fn scene(&self, _: usize, kept: KeyframeRecord) -> Result<()> {
        self.0.lock().unwrap().push(kept);
        Ok(())
    }
}

/// All outputs of a film: the four formats, and every keyframe with its embedding and thumbnail.
#[derive(PartialEq)]
struct Outputs(Vec<String>, Vec<String>);

fn outputs(track: &Track, shelf: Shelf) -> Outputs {
    let text = |format| {
        let mut bytes = Vec::new();
        write(track, format, Path::new("/"), &mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    };
    let kept = shelf.0.into_inner().unwrap();
    let bits = |v: &Option<Vec<f32>>| v.as_ref().map(|v| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>());
    Outputs(
        [Format::Vtt, Format::Srt, Format::Json, Format::Csv].map(text).to_vec(),
        kept.iter().map(|k| format!("{:?} {:?} {:?}", k.record, bits(&k.embedding), k.thumbnail)).collect(),
    )
}

fn whole(input: &str, config: &Config) -> Outputs {
    let (mut track, shelf) = (None, Shelf::default());
    let interrupt = Interrupt::new();
    let inputs = [input.into()];
    let job = Job {
        inputs: &inputs,
        config,
        model: model().unwrap(),
        interrupt: &interrupt,
        observer: &Silent,
        sink: Some(&shelf),
    };
    run(job, |_, outcome| track = outcome.track).unwrap();
    outputs(&track.expect("the film has a track"), shelf)
}

fn make_part(
    input: &str,
    part: PartOptions,
    config: &Config,
    model: Model,
    output: &Path,
) -> Result<descry::pipeline::Stats> {
    let (interrupt, input) = (&Interrupt::new(), &input.into());
    parts::describe_part(PartJob { input, part, config, model, interrupt, observer: &Silent, output, overwrite: false })
}

fn parted(b: &Bench, input: &str, config: &Config, of: u32, overlap: i64) -> (Outputs, Stitched) {
    let folder = tempfile::tempdir_in(b.path("")).unwrap();
    let paths: Vec<PathBuf> = (1..=of).map(|n| folder.path().join(format!("{n}.watched"))).collect();
    // Parts may finish in any order.
    for number in (1..=of).rev() {
        let options = PartOptions { number, of, overlap: Time::from_millis(overlap) };
        let to = &paths[number as usize - 1];
        make_part(input, options, config, model().unwrap(), to).unwrap();
    }
    stitched(input, config, &paths, folder.path())
}

fn stitched(input: &str, config: &Config, paths: &[PathBuf], folder: &Path) -> (Outputs, Stitched) {
    let (mut track, shelf) = (None, Shelf::default());
    let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    let interrupt = Interrupt::new();
    let mut done = |outcome: descry::pipeline::Outcome| track = outcome.track;
    let job = StitchJob {
        input: &input.into(),
        parts: &paths,
        config,
        models: &model,
        scratch: folder,
        interrupt: &interrupt,
        observer: &Silent,
        sink: Some(&shelf),
    };
    let (stitched, _) = parts::stitch(&job, &mut done).unwrap();
    (outputs(&track.expect("the film has a track"), shelf), stitched)
}

fn same(a: &Outputs, b: &Outputs, what: &str) {
    for (name, (x, y)) in ["vtt", "srt", "json", "csv"].iter().zip(a.0.iter().zip(&b.0)) {
        if x != y {
            let line = x.lines().zip(y.lines()).position(|(p, q)| p != q).unwrap_or(0);
            let context = |t: &str| t.lines().skip(line.saturating_sub(3)).take(8).collect::<Vec<_>>().join("\n");
            panic!("{what}: {name} differs at line {line}\n{}\n--- stitched\n{}", context(x), context(y));
        }
    }
    assert!(a.1 == b.1, "{what}: the keyframes differ");
}

/// Codecs and containers that films use: closed and open groups of pictures, B-frames, inexact seeks.
const WRAPPERS: [&str; 8] = [
    "-c:v libx264 -preset veryfast -g 48 -bf 3 film.mp4",
    "-c:v libx264 -preset veryfast -g 60 -bf 3 -x264-params open-gop=1 film.mkv",
    "-c:v libx264 -preset veryfast -g 50 -bf 2 -x264-params open-gop=1 -f mpegts film.ts",
    "-c:v mpeg4 -q:v 5 -g 40 -bf 2 film.avi",
    "-c:v mpeg2video -q:v 4 -g 15 -bf 2 -f mpegts film.ts",
    "-c:v libvpx -deadline realtime -cpu-used 8 -b:v 400k -g 75 film.webm",
    "-c:v libx265 -preset ultrafast -x265-params log-level=none:keyint=50:bframes=3:open-gop=1 film.mkv",
    "-c:v libx264 -preset veryfast -g 2500 -bf 3 film.mp4",
];

#[test]
fn stitched_parts_equal_one_run() {
    let mut seams = 0;
    // DESCRY_PARTS_FILMS=100 tests more films.
    let films = std::env::var("DESCRY_PARTS_FILMS").ok().and_then(|n| n.parse().ok()).unwrap_or(WRAPPERS.len());
    for seed in 0..films {
        let wrapper = WRAPPERS[seed % WRAPPERS.len()];
        let b = Bench::new();
        let mut dice = Dice(seed as u64 * 977 + 5);
        let scenes = dice.scenes(75);
        encode(&b, &film(&scenes), wrapper);
        let name = wrapper.split(' ').next_back().unwrap();
        let input = b.path(name).display().to_string();
        let one = whole(&input, &config());
        for (of, overlap) in [(2, 24_000), (3 + dice.roll(3) as u32, 16_000 + dice.roll(10_000) as i64)] {
            let (all, how) = parted(&b, &input, &config(), of, overlap);
            println!("{wrapper}: {of} parts, overlap {overlap}: {how:?}");
            same(&one, &all, &format!("{wrapper} in {of} parts with {overlap} ms of overlap: {how:?}\n{scenes:?}"));
            seams += how.seams;
        }
    }
    assert!(seams > films, "{seams}");
}

/// Encodes a film of these scenes with these FFmpeg arguments.
fn one(scenes: &[Scene], args: &str) -> (Bench, String) {
    let b = Bench::new();
    encode(&b, &film(scenes), args);
    let input = b.path(args.split(' ').next_back().unwrap()).display().to_string();
    (b, input)
}

const MP4: &str = "-c:v libx264 -preset veryfast -g 50 -bf 3 film.mp4";

fn cut(seed: u32, secs: f64) -> Scene {
    Scene { into: Into::Cut, seed, frames: (secs * RATE as f64) as usize, speed: 0.7 }
}

/// Stitches a film from parts and compares it with one run.
fn check(b: &Bench, input: &str, config: &Config, of: u32, overlap: i64) -> Stitched {
    let (all, how) = parted(b, input, config, of, overlap);
    same(&whole(input, config), &all, &format!("{of} parts, {overlap} ms: {how:?}"));
    how
}

#[test]
fn a_long_shot_across_a_border_is_watched_again() {
    // A still shot longer than the overlap at one border, and only dissolves at another.
    let mut scenes: Vec<Scene> = (1..6).map(|n| cut(n, 4.0)).collect();
    scenes.push(Scene { speed: 0.0, ..cut(9, 50.0) });
    scenes.extend((11..18).map(|n| Scene { into: Into::Dissolve(20), ..cut(n, 5.0) }));
    let (b, input) = one(&scenes, MP4);
    let how = check(&b, &input, &config(), 3, 12_000);
    assert!(how.gaps > 0 && how.whole.is_none(), "{how:?}");
    // The film has no boundaries at all, so the first part must reach its end.
    let (b, input) = one(&[Scene { speed: 0.0, ..cut(3, 40.0) }], MP4);
    let how = check(&b, &input, &config(), 3, 8_000);
    assert!(how.whole.is_some() || how.gaps > 0, "{how:?}");
}

#[test]
fn high_and_variable_frame_rates_can_be_stitched() {
    let scenes: Vec<Scene> = (1..14).map(|n| cut(n, 3.0 + f64::from(n % 4) * 0.7)).collect();
    for (args, parts) in [
        ("-vf fps=120 -c:v libx264 -preset ultrafast -g 240 film.mp4", 2),
        ("-vf fps=30000/1001 -c:v libx264 -preset ultrafast -g 60 -bf 2 film.mkv", 4),
        (
            "-vf select='lt(mod(n*n,7),4)',settb=1/90000 -fps_mode vfr -c:v libx264 -preset ultrafast -g 40 -bf 2 film.mp4",
            3,
        ),
    ] {
        let (b, input) = one(&scenes, args);
        // A part that begins a frame later finds the same scenes.
        for overlap in [16_000, 16_017] {
            let how = check(&b, &input, &config(), parts, overlap);
            assert!(how.whole.is_none() && how.seams > 0 && how.gaps == 0, "{args}, {overlap}: {how:?}");
        }
    }
}

#[test]
fn every_detector_and_mode_can_be_stitched() {
    let scenes = Dice(77).scenes(60);
    let (b, input) = one(&scenes, MP4);
    let with = |detector| Config { scene: SceneOptions { detector, ..SceneOptions::default() }, ..config() };
    let mut keyframes = config();
    keyframes.decode.frames = DecodedFrames::Keyframes;
    let mut fast = config();
    fast.decode.frames = DecodedFrames::Fast;
    let mut plain = config();
    plain.dedup = DedupOptions::off();
    plain.keyframe.max_gap = Time::from_millis(3_000);
    for (name, config) in [
        ("content", with(Detector::Content)),
        ("fixed", with(Detector::Fixed)),
        ("keyframes", keyframes),
        ("fast", fast),
        ("all", plain),
    ] {
        let how = check(&b, &input, &config, 3, 20_000);
        println!("{name}: {how:?}");
        assert!(how.whole.is_none(), "{name}: {how:?}");
    }
}

#[test]
fn damaged_films_and_reset_clocks_equal_one_run() {
    let scenes: Vec<Scene> = (1..12).map(|n| cut(n, 3.0)).collect();
    let (b, input) = one(&scenes, "-c:v mpeg2video -q:v 3 -g 12 -f mpegts film.ts");
    let mut bytes = std::fs::read(&input).unwrap();
    let middle = bytes.len() / 3;
    bytes[middle..middle + 20_000].iter_mut().step_by(3).for_each(|v| *v ^= 0x55);
    std::fs::write(&input, bytes).unwrap();
    let how = check(&b, &input, &config(), 3, 12_000);
    assert!(how.whole.as_ref().is_some_and(|w| w.contains("lost")), "{how:?}");
    // In two joined recordings, the clock restarts with the second one.
    let (b, input) = one(&scenes, "-c:v mpeg2video -q:v 3 -g 12 -f mpegts film.ts");
    let again = std::fs::read(&input).unwrap();
    std::fs::write(&input, [again.clone(), again].concat()).unwrap();
    check(&b, &input, &config(), 3, 12_000);
}

#[test]
fn borders_can_be_anywhere() {
    // More parts than scenes, overlaps longer than the film, parts that begin after its last picture, a single part.
    let scenes = Dice(4).scenes(40);
    let (b, input) = one(&scenes, MP4);
    for (of, overlap) in [(1, 10_000), (2, 200_000), (9, 12_000), (16, 9_000)] {
        let how = check(&b, &input, &config(), of, overlap);
        println!("{of} parts, {overlap}: {how:?}");
    }
    // The sound is longer than the pictures, so the last parts are empty.
    b.ffmpeg("-i film.mp4 -f lavfi -i anullsrc=r=8000 -map 0:v -map 1:a -t 75 -c:v copy -c:a aac long.mp4");
    let long = b.path("long.mp4").display().to_string();
    let how = check(&b, &long, &config(), 5, 14_000);
    assert!(how.whole.is_none(), "{how:?}");
}

#[test]
fn stitching_captions_only_what_no_part_captioned() {
    let scenes: Vec<Scene> = (0..14).map(|n| Scene { speed: 0.0, ..cut(1 + n % 6, 4.0) }).collect();
    let (b, input) = one(&scenes, MP4);
    let folder = b.path("");
    let paths: Vec<PathBuf> = (1..=2).map(|n| folder.join(format!("{n}.watched"))).collect();
    static MADE: AtomicUsize = AtomicUsize::new(0);
    let model =
        || -> Result<Model> { Ok(Model { captioner: Box::new(|| Ok(Box::new(Captioner(&MADE)))), ..model()? }) };
    let interrupt = Interrupt::new();
    for number in [1, 2] {
        let options = PartOptions { number, of: 2, overlap: Time::from_millis(16_000) };
        let to = &paths[number as usize - 1];
        make_part(&input, options, &config(), model().unwrap(), to).unwrap();
    }
    let made = MADE.load(Ordering::SeqCst);
    assert!((6..=16).contains(&made), "each part captions what is new in it: {made}");
    let refs: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    let mut track = None;
    let mut done = |outcome: descry::pipeline::Outcome| track = outcome.track;
    let job = StitchJob {
        input: &input.as_str().into(),
        parts: &refs,
        config: &config(),
        models: &model,
        scratch: &folder,
        interrupt: &interrupt,
        observer: &Silent,
        sink: None,
    };
    let (how, _) = parts::stitch(&job, &mut done).unwrap();
    assert_eq!(how, Stitched { seams: 1, ..Stitched::default() });
    assert_eq!(MADE.load(Ordering::SeqCst), made);
    assert!(track.is_some_and(|t| t.scenes.iter().filter(|s| s.repeats.is_some()).count() >= 8));
}

#[test]
fn mismatched_parts_are_rejected() {
    let scenes: Vec<Scene> = (1..8).map(|n| cut(n, 3.0)).collect();
    let (b, input) = one(&scenes, MP4);
    let interrupt = Interrupt::new();
    let watch = |name: &str, number: u32, of: u32, config: &Config| {
        let options = PartOptions { number, of, overlap: Time::from_millis(10_000) };
        let to = b.path(name);
        make_part(&input, options, config, model().unwrap(), &to).map(|_| to)
    };
    let one = watch("1", 1, 2, &config()).unwrap();
    let two = watch("2", 2, 2, &config()).unwrap();
    let third = watch("3", 2, 3, &config()).unwrap();
    let other = watch("4", 2, 2, &Config { min_score: 0.5, ..config() }).unwrap();
    assert!(watch("1", 1, 2, &config()).unwrap_err().to_string().contains("`overwrite`"));
    let fails = |paths: &[&Path]| {
        let job = StitchJob {
            input: &input.as_str().into(),
            parts: paths,
            config: &config(),
            models: &model,
            scratch: &b.path(""),
            interrupt: &interrupt,
            observer: &Silent,
            sink: None,
        };
        parts::stitch(&job, &mut |_| panic!("stitching must fail")).unwrap_err().to_string()
    };
    assert!(fails(&[&one]).contains("1 of the film's 2 parts are given"));
    assert!(fails(&[&one, &one]).contains("part 1 of 2, where part 2"));
    assert!(fails(&[&one, &third]).contains("part 2 of 3"));
    assert!(fails(&[&one, &other]).contains("other options"));
    let bytes = std::fs::read(&two).unwrap();
    for (name, damaged) in [
        ("cut", bytes[..bytes.len() / 2].to_vec()),
        ("flipped", {
            let mut b = bytes.clone();
            let middle = b.len() / 2;
            b[middle] ^= 1;
            b
        }),
    ] {
        b.write(name, &damaged);
        let e = fails(&[&one, &b.path(name)]);
        assert!(e.contains(name) && e.contains("`part`"), "{e}");
    }
    b.write("short", b"descry");
    assert!(fails(&[&one, &b.path("short")]).contains("truncated"));
    // Describing a part again gives the same bytes.
    let again = watch("5", 2, 2, &config()).unwrap();
    assert!(std::fs::read(again).unwrap() == bytes);
}

/// What is wrong with a track is reported as if the film had been described at once.
#[test]
fn stitch_warns_as_describe_does() {
    let scenes: Vec<Scene> = (1..10).map(|n| cut(n, 3.0)).collect();
    let (b, _) = one(&scenes, MP4);
    b.ffmpeg("-i film.mp4 -f lavfi -i sine=d=9 -map 0:v -map 1 -c:v copy -c:a adpcm_ms film.mkv");
    // No program knows this codec.
    let mut bytes = std::fs::read(b.path("film.mkv")).unwrap();
    let name = b"A_MS/ACM";
    let at = bytes.windows(name.len()).position(|window| window == name).unwrap();
    bytes[at..at + name.len()].copy_from_slice(b"A_NO/NEX");
    b.write("odd.mkv", &bytes);
    let told = b.run(&crate::common::tiny(&["describe", "odd.mkv", "-o", "whole.vtt"]), 0).1;
    let warning = told.lines().find(|line| line.contains("speech is not found")).unwrap_or_else(|| panic!("{told}"));
    for part in ["1/2", "2/2"] {
        b.run(&crate::common::tiny(&["part", "odd.mkv", "--part", part, "--overlap", "14", "-o", &part[..1]]), 0);
    }
    let told = b.run(&crate::common::tiny(&["-v", "stitch", "odd.mkv", "1", "2", "-o", "parts.vtt"]), 0).1;
    assert!(told.contains(warning) && told.contains("1 seam"), "{told}");
    assert_eq!(b.read("whole.vtt"), b.read("parts.vtt"));
}

#[test]
fn part_and_stitch_equal_describe() {
    let scenes: Vec<Scene> = (1..10).map(|n| cut(n, 3.0)).collect();
    let (b, _) = one(&scenes, MP4);
    b.run(&crate::common::tiny(&["describe", "film.mp4", "-o", "whole/", "-f", "vtt,srt,json,csv,dapt,html"]), 0);
    for part in ["1/2", "2/2"] {
        let name = format!("{}.watched", &part[..1]);
        b.run(&crate::common::tiny(&["part", "film.mp4", "--part", part, "--overlap", "14", "-o", &name]), 0);
    }
    let (_, err) = b.run(
        &crate::common::tiny(&[
            "-v",
            "stitch",
            "film.mp4",
            "2.watched",
            "1.watched",
            "-o",
            "parts/",
            "-f",
            "vtt,srt,json,csv,dapt,html",
        ]),
        0,
    );
    assert!(err.contains("1 seam, 0 gaps"), "{err}");
    for kind in ["vtt", "srt", "json", "csv", "ttml", "html"] {
        assert_eq!(b.read(&format!("whole/film.{kind}")), b.read(&format!("parts/film.{kind}")), "{kind}");
    }
    let (_, e) = b.run(&crate::common::tiny(&["part", "film.mp4", "--part", "1/2", "-o", "1.watched"]), 1);
    assert!(e.contains("1.watched") && e.contains("--force"), "{e}");
    let (_, e) = b.run(&crate::common::tiny(&["part", "film.mp4", "--part", "1/2", "--start", "3", "-o", "x"]), 2);
    assert!(e.contains("--start"), "{e}");
    let (_, e) = b.run(&crate::common::tiny(&["part", "film.mp4", "--part", "3/2", "-o", "x"]), 2);
    assert!(e.contains("from 1 to OF"), "{e}");
    let (_, e) = b.run(&crate::common::tiny(&["stitch", "film.mp4", "1.watched", "-o", "y.vtt"]), 2);
    assert!(e.contains("1 of the film's 2 parts are given"), "{e}");
    let (_, e) =
        b.run(&crate::common::tiny(&["stitch", "film.mp4", "1.watched", "2.watched", "--no-dedup", "-o", "y.vtt"]), 1);
    assert!(e.contains("other options"), "{e}");
    assert!(!b.path("y.vtt").exists());
}
