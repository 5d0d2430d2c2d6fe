//! Decoding in processes of their own (`--isolate`): what a decoder that crashes, hangs or was taken over can do, and that
//! the outputs are the same with and without it.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::faulty::{
    self, ABORT, ENDLESS_LOOP, EXIT, KILLED, MEMORY_BOMB, NOISE, PROBE, SEGFAULT, WRONG_MESSAGE, children, descry,
    film, preload,
};
use crate::common::{Bench, TINY, root, sample, tiny};
use descry::address::Address;
use descry::digest::Digest;
use descry::error::Result;
use descry::interrupt::Interrupt;
use descry::isolate::{FrameSource, Isolation};
use descry::media::{Bars, DecodeOptions, DecodedFrames, Frame, StreamInfo};
use descry::model::{Caption, CaptionInput, Captions, Encode, Encoded, ModelFolder, PictureDemand, Pixels};
use descry::pipeline::{Config, Job, Model, Observer, Outcome, run};
use descry::time::Time;

#[test]
fn a_decoder_that_fails_in_any_way_costs_one_film() {
    let b = Bench::new();
    preload(&b);
    let faults = [
        (SEGFAULT, "its decoder crashed (SIGSEGV)"),
        (ABORT, "its decoder crashed (SIGABRT)"),
        (MEMORY_BOMB, "its decoder crashed (SIGABRT)"),
        (EXIT, "its decoder ended in the middle (exit code 0)"),
        (NOISE, "its decoder sends nonsense (a message is too long)"),
        (WRONG_MESSAGE, "its decoder sends nonsense (a message cannot be read)"),
        (KILLED, "its decoder was killed (SIGKILL)"),
    ];
    let (mut films, mut expected) = (vec!["first.mp4".to_string()], Vec::new());
    film(&b, "first.mp4", (320, 180));
    for (height, cause) in faults {
        let name = format!("fault-{height}.mp4");
        film(&b, &name, (322, height));
        expected.push(format!("error: {name}: {cause}"));
        films.push(name);
    }
    film(&b, "last.mp4", (320, 182));
    films.push("last.mp4".into());
    let files: Vec<&str> = films.iter().map(String::as_str).collect();
    let options = ["-f", "json", "-j", "2", "--isolate", "-o", "out/"];
    let out = descry(&b, &tiny(&[&["describe"], files.as_slice(), options.as_slice()].concat()));
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{stderr}");
    for error in &expected {
        assert!(stderr.contains(error), "{error}\n{stderr}");
    }
    assert_eq!(stderr.matches("error: ").count(), expected.len(), "{stderr}");
    b.run(&tiny(&["describe", "first.mp4", "last.mp4", "-f", "json", "-o", "alone/"]), 0);
    for name in ["first.json", "last.json"] {
        assert_eq!(b.read(&format!("out/{name}")), b.read(&format!("alone/{name}")));
    }
    assert_eq!(std::fs::read_dir(b.path("out")).unwrap().count(), 2, "a film that failed has an output");
}

#[test]
fn a_decoder_that_hangs_costs_one_film() {
    let b = Bench::new();
    preload(&b);
    film(&b, "loop.mp4", (322, ENDLESS_LOOP));
    film(&b, "last.mp4", (320, 180));
    let options = ["--isolate", "--decoder-timeout", "4", "-o", "out/"];
    let out = descry(&b, &tiny(&[&["describe", "loop.mp4", "last.mp4"], options.as_slice()].concat()));
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("error: loop.mp4: its decoder hangs: no sign of life for 4 s"), "{stderr}");
    assert_eq!(stderr.matches("error: ").count(), 1, "{stderr}");
    b.run(&tiny(&["describe", "last.mp4", "-o", "alone/"]), 0);
    assert_eq!(b.read("out/last.vtt"), b.read("alone/last.vtt"));
}

/// What the stand-in could do, line by line.
fn probed(b: &Bench, isolate: &str) -> Vec<(String, String)> {
    for name in ["victim", "victim-2"] {
        b.write(name, b"here\n");
    }
    let out = descry(b, &tiny(&["-vv", "describe", "probe.mp4", "--force", "-o", "probe.vtt", isolate]));
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(0), "{stderr}");
    let lines = stderr.lines().filter_map(|line| line.strip_prefix("probe ")?.split_once(": "));
    lines.map(|(what, result)| (what.to_string(), result.to_string())).collect()
}

#[cfg(target_os = "linux")]
#[test]
fn a_decoder_can_read_its_film_and_do_nothing_else() {
    let b = Bench::new();
    preload(&b);
    film(&b, "probe.mp4", (322, PROBE));
    film(&b, "other.mp4", (320, 180));
    let (free, caught) = (probed(&b, "--no-isolate"), probed(&b, "--isolate"));
    let names = |lines: &[(String, String)]| lines.iter().map(|(what, _)| what.clone()).collect::<Vec<_>>();
    assert_eq!(names(&free), names(&caught));
    assert!(caught.len() > 20, "{caught:?}");
    for ((what, allowed), (_, refused)) in free.iter().zip(&caught) {
        if ["read the input", "read a library's folder"].contains(&what.as_str()) {
            assert_eq!(refused, "allowed", "{what}");
        } else {
            assert!(["EACCES", "EPERM", "ENOSYS"].contains(&refused.as_str()), "{what}: {refused}");
        }
        // Otherwise the probe says nothing. Some systems refuse the last one to everybody.
        assert!(allowed == "allowed" || what == "make an io_uring", "{what}: {allowed}");
    }
    for name in ["victim", "victim-2", "probe.mp4"] {
        assert!(b.path(name).exists(), "{name} is gone");
    }
}

/// Everything that two sources say about a film.
fn compare(path: &str, options: &DecodeOptions) -> usize {
    let isolation = Isolation { program: env!("CARGO_BIN_EXE_descry").into(), limit: Duration::from_secs(60) };
    let open = |isolation| FrameSource::open(&path.into(), options, isolation, Interrupt::new());
    let (mut here, mut away) = match (open(None), open(Some(&isolation))) {
        (Ok(here), Ok(away)) => (here, away),
        (here, away) => {
            let text = |source: Result<FrameSource>| source.err().map(|e| e.to_string());
            assert_eq!(text(here), text(away), "{path}");
            return 0;
        }
    };
    assert_eq!(format!("{:?}", here.info()), format!("{:?}", away.info()), "{path}");
    let digest = |source: &FrameSource| {
        let mut digest = Digest::at(0);
        source.digest(&mut digest);
        digest.finish()
    };
    for count in 0.. {
        let state = |s: &FrameSource| (s.end(), s.is_over(), s.has_more(), s.has_clock(), s.is_lost(), digest(s));
        let (one, other) = match (here.next(), away.next()) {
            (Ok(Some(one)), Ok(Some(other))) => (one, other),
            (one, other) => {
                let text = |end: Result<Option<Frame>>| end.map(|f| f.is_some()).map_err(|e| e.to_string());
                assert_eq!(text(one), text(other), "{path} after {count}");
                assert_eq!(state(&here), state(&away), "{path} at the end");
                assert_eq!((here.damage(), here.losses()), (away.damage(), away.losses()), "{path}");
                return count;
            }
        };
        assert_eq!((one.time, one.index, one.pts), (other.time, other.index, other.pts), "{path}");
        assert_eq!((one.is_key(), one.has_own_time()), (other.is_key(), other.has_own_time()), "{path} {count}");
        assert!(one.thumb().unwrap() == other.thumb().unwrap(), "{path} {count}");
        assert_eq!(one.identity(), other.identity(), "{path} {count}: in the child");
        let (whole, same) = (one.to_rgb().unwrap(), other.to_rgb().unwrap());
        assert!(whole == same, "{path} {count}");
        let inside = |frame: &Frame| frame.to_rgb_inside(Bars::Crop, &whole, 640).unwrap();
        assert!(inside(&one) == inside(&other), "{path} {count}: without bars");
        assert_eq!(one.identity(), other.identity(), "{path} {count}: once the picture is here");
        assert_eq!(state(&here), state(&away), "{path} {count}");
    }
    unreachable!()
}

#[test]
fn frames_are_the_same_in_another_process() {
    let b = Bench::new();
    let source = "-f lavfi -i testsrc2=size=322x182:rate=10:duration=1";
    for (name, options) in [
        ("plain.mp4", "-c:v libx264 -pix_fmt yuv420p"),
        ("deep.mkv", "-c:v libx265 -pix_fmt yuv420p10le"),
        ("full.mkv", "-c:v ffv1 -pix_fmt yuv444p -color_range pc -colorspace bt709"),
        ("rgb.mkv", "-c:v ffv1 -pix_fmt bgr0"),
        ("palette.gif", "-c:v gif"),
        ("fields.mpg", "-c:v mpeg2video -flags +ilme+ildct -vf setfield=tff"),
        ("bars.mp4", "-vf pad=322:242:0:30 -c:v libx264 -pix_fmt yuv420p"),
        ("wide.avi", "-vf setsar=4/3 -c:v mjpeg -pix_fmt yuvj422p"),
        ("raw.avi", "-c:v rawvideo -pix_fmt bgr24"),
    ] {
        b.ffmpeg(&format!("{source} {options} {name}"));
    }
    b.ffmpeg("-i plain.mp4 -c copy -metadata:s:v rotate=90 turned.mp4");
    let bytes = std::fs::read(b.path("deep.mkv")).unwrap();
    b.write("cut.mkv", &bytes[..bytes.len() * 2 / 3]);
    b.ffmpeg("-i plain.mp4 -c copy broken.ts");
    let mut bytes = std::fs::read(b.path("broken.ts")).unwrap();
    bytes.iter_mut().skip(9_000).step_by(4_007).for_each(|byte| *byte ^= 0x55);
    b.write("broken.ts", &bytes);
    b.write("none.mp4", b"no video\n");
    let mut frames = 0;
    for entry in std::fs::read_dir(b.path("")).unwrap() {
        let path = entry.unwrap().path();
        // With several threads, FFmpeg conceals errors with whatever another thread has decoded by then.
        let threads = if path.ends_with("broken.ts") { 1 } else { 0 };
        frames += compare(path.to_str().unwrap(), &DecodeOptions { threads, ..DecodeOptions::default() });
    }
    assert!(frames > 90, "{frames}");
    let path = b.path("plain.mp4").display().to_string();
    let at = |millis| Some(Time::from_millis(millis));
    compare(&path, &DecodeOptions { start: at(300), end: at(700), ..DecodeOptions::default() });
    compare(&path, &DecodeOptions { start: at(9_000), ..DecodeOptions::default() });
    compare(&path, &DecodeOptions { frames: DecodedFrames::Keyframes, ..DecodeOptions::default() });
    compare(&path, &DecodeOptions { max_pixels: 1_000, ..DecodeOptions::default() });
}

#[test]
fn outputs_are_the_same_in_another_process() {
    let b = Bench::new();
    let film = sample("bikes.mp4");
    for (name, options) in [
        ("plain", &[][..]),
        ("keyframes", &["--mode", "keyframes"]),
        ("part", &["--start", "2", "--end", "8"]),
        ("fixed", &["--scenes", "fixed", "--interval", "2", "--no-dedup"]),
    ] {
        let (here, away) = (format!("{name}-here.json"), format!("{name}-away.json"));
        let run = |out: &str, more: &[&str]| {
            b.run(&tiny(&[&["describe", &film, "-f", "json", "-o", out], options, more].concat()), 0)
        };
        run(&here, &[]);
        let (_, stats) = run(&away, &["--isolate", "--stats"]);
        assert_eq!(b.read(&here), b.read(&away), "{name}");
        let stats: serde_json::Value = serde_json::from_str(stats.lines().last().unwrap()).unwrap();
        assert!(stats["decoding"].as_str().unwrap().starts_with("separate processes"), "{stats}");
        assert!(stats["frames"].as_u64() > Some(0) && stats["keyframes"].as_u64() > Some(0), "{stats}");
    }
    for part in ["1/2", "2/2"] {
        let to = format!("{}.descry", &part[..1]);
        b.run(&tiny(&["part", &film, "--part", part, "--overlap", "4", "-o", &to, "--isolate"]), 0);
    }
    let (_, said) =
        b.run(&tiny(&["-v", "stitch", &film, "1.descry", "2.descry", "-f", "json", "-o", "s.json", "--isolate"]), 0);
    assert!(!said.contains("as a whole"), "{said}");
    assert_eq!(b.read("plain-here.json"), b.read("s.json"));
}

/// Whether a process runs: one that nobody has reaped yet does not.
#[cfg(target_os = "linux")]
fn runs(id: u32) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    state.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

#[cfg(target_os = "linux")]
fn within(limit: Duration, what: &str, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < limit, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Starts descry on a film whose decoder hangs, and waits for the decoder.
#[cfg(target_os = "linux")]
fn hanging(b: &Bench) -> (std::process::Child, u32) {
    faulty::preload(b);
    film(b, "loop.mp4", (322, ENDLESS_LOOP));
    let parent = Command::new(env!("CARGO_BIN_EXE_descry"))
        .args(tiny(&["describe", "loop.mp4", "--isolate", "--decoder-timeout", "600"]))
        .current_dir(b.path(""))
        .env("LD_PRELOAD", b.path("preload.so"))
        .env("AWS_SECRET_ACCESS_KEY", "sesame")
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut decoder = None;
    // The first child only shows what protects it.
    within(Duration::from_secs(60), "no decoder", || {
        let busy = |id: &u32| {
            let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
            let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
            fields.get(11).and_then(|ticks| ticks.parse::<u32>().ok()).is_some_and(|ticks| ticks >= 30)
        };
        decoder = children(parent.id()).into_iter().find(busy);
        decoder.is_some()
    });
    (parent, decoder.unwrap())
}

#[cfg(target_os = "linux")]
#[test]
fn a_decoder_ends_with_its_parent_and_holds_no_secret() {
    let b = Bench::new();
    let (mut parent, decoder) = hanging(&b);
    let of = |what: &str| std::fs::read(format!("/proc/{decoder}/{what}")).unwrap();
    let arguments = String::from_utf8(of("cmdline")).unwrap();
    assert!(!arguments.contains("loop.mp4"), "{arguments}");
    assert!(!String::from_utf8(of("environ")).unwrap().contains("sesame"));
    let open = std::fs::read_dir(format!("/proc/{decoder}/fd")).unwrap().count();
    // Standard input, output and error; the socket twice more; the film.
    assert!(open <= 8, "{open} descriptors");
    parent.kill().unwrap();
    parent.wait().unwrap();
    within(Duration::from_secs(20), "the decoder outlives its parent", || !runs(decoder));
}

#[cfg(target_os = "linux")]
#[test]
fn an_interrupt_ends_a_decoder_that_hangs() {
    let b = Bench::new();
    let (mut parent, decoder) = hanging(&b);
    assert!(Command::new("kill").args(["-INT", &parent.id().to_string()]).status().unwrap().success());
    within(Duration::from_secs(20), "it does not stop", || parent.try_wait().unwrap().is_some());
    assert_eq!(parent.wait().unwrap().code(), Some(130));
    within(Duration::from_secs(20), "the decoder goes on", || !runs(decoder));
}

#[test]
fn a_program_that_cannot_decode_is_a_mistake() {
    let b = Bench::new();
    film(&b, "a.mp4", (320, 180));
    let film = Address::new(b.path("a.mp4").display().to_string());
    for program in ["/nonexistent", "/bin/true", "/bin/cat"] {
        let isolation = Isolation { program: program.into(), limit: Duration::from_secs(5) };
        let opened = FrameSource::open(&film, &DecodeOptions::default(), Some(&isolation), Interrupt::new());
        let e = opened.err().map(|e| e.to_string()).unwrap_or_default();
        assert!(e.contains("cannot decode for descry"), "{program}: {e}");
        assert_eq!(isolation.prepare().is_err(), program == "/nonexistent");
    }
}

/// To this model, all pictures are the same.
struct Plain;

impl Encode for Plain {
    fn encode(&mut self, pictures: &[Pixels]) -> Result<Vec<Encoded>> {
        Ok(pictures.iter().map(|_| Encoded { embedding: vec![1.0, 0.0], grid: None }).collect())
    }
}

impl Captions for Plain {
    fn caption(&mut self, pictures: &[&CaptionInput]) -> Result<Vec<Caption>> {
        let caption =
            Caption { text: "A picture".into(), ids: Vec::new(), mean_logprob: 0.0, score: None, support: None };
        Ok(vec![caption; pictures.len()])
    }
}

/// Panics on the thread that decodes the second film.
struct PanickingObserver;

impl Observer for PanickingObserver {
    fn opened(&self, file: usize, _: &StreamInfo) {
        assert_ne!(file, 1, "the observer panics");
    }
}

#[test]
fn a_panic_costs_one_film() {
    let b = Bench::new();
    let films = ["a.mp4", "b.mp4", "c.mp4"];
    films.iter().for_each(|name| film(&b, name, (160, 90)));
    let inputs = films.map(|name| b.path(name).display().to_string().into());
    let model = Model {
        demand: PictureDemand::default(),
        prompt: None,
        name: "plain".into(),
        hash: String::new(),
        decoding: serde_json::Value::Null,
        image: ModelFolder::open(root().join(TINY)).unwrap().manifest().image.clone(),
        encoder: Box::new(|| Ok(Box::new(Plain))),
        captioner: Box::new(|| Ok(Box::new(Plain))),
    };
    let interrupt = Interrupt::new();
    let (config, observer) = (&Config::default(), &PanickingObserver);
    let job = Job { inputs: &inputs, config, model, interrupt: &interrupt, observer, sink: None };
    let mut outcomes: Vec<Option<Outcome>> = (0..3).map(|_| None).collect();
    run(job, |file, outcome| outcomes[file] = Some(outcome)).unwrap();
    let [first, second, third] = [0, 1, 2].map(|file| outcomes[file].take().unwrap());
    let error = second.error.unwrap().to_string();
    assert!(error.contains("b.mp4: descry has a bug") && error.contains("the observer panics"), "{error}");
    assert!(second.track.is_none());
    for outcome in [first, third] {
        assert!(outcome.error.is_none() && !outcome.track.unwrap().cues.is_empty());
    }
}
