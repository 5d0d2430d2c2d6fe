//! The pipeline with a mock encoder and a mock captioner: order, bounds, failures and interrupts, for any batches and
//! threads.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::{Bench, TINY, root};
use descry::error::{Error, Result};
use descry::interrupt::Interrupt;
use descry::model::{Caption, CaptionInput, Captions, Encode, Encoded, ModelFolder, PictureDemand, Pixels};
use descry::pipeline::{Config, Job, Model, Observer, Stats, StillOptions, run, stills};
use descry::scene::{Detector, SceneOptions};
use descry::time::Time;
use descry::track::DedupOptions;
use descry::track::{Format, Track, write};

/// Counters of the mocks, shared with the test.
#[derive(Default)]
struct Log {
    encoded: AtomicUsize,
    captioned: AtomicUsize,
    /// The widths of the caption batches.
    widths: Mutex<Vec<usize>>,
    /// The most pictures that were encoded but not yet captioned.
    ahead: AtomicUsize,
}

/// The embedding holds the means of the four quarters of the pixel data.
struct Encoder {
    log: Arc<Log>,
    fails_at: Option<usize>,
}

impl Encode for Encoder {
    fn encode(&mut self, pictures: &[Pixels]) -> Result<Vec<Encoded>> {
        let before = self.log.encoded.fetch_add(pictures.len(), Ordering::SeqCst);
        if self.fails_at.is_some_and(|n| before + pictures.len() > n) {
            return Err(Error::runtime("the encoder broke", "mend it"));
        }
        let quarter = |p: &Pixels, n: usize| {
            let some = &p.data[n * p.data.len() / 4..(n + 1) * p.data.len() / 4];
            some.iter().sum::<f32>() / some.len() as f32
        };
        Ok(pictures
            .iter()
            .map(|p| Encoded { embedding: (0..4).map(|n| quarter(p, n)).collect(), grid: None })
            .collect())
    }
}

type Hook = Box<dyn FnMut(usize) + Send>;

struct Captioner {
    log: Arc<Log>,
    fails_at: Option<usize>,
    /// Called before each batch, with the number of captions so far.
    hook: Hook,
}

impl Captions for Captioner {
    fn caption(&mut self, pictures: &[&CaptionInput]) -> Result<Vec<Caption>> {
        let before = self.log.captioned.load(Ordering::SeqCst);
        (self.hook)(before);
        self.log.ahead.fetch_max(self.log.encoded.load(Ordering::SeqCst) - before, Ordering::SeqCst);
        self.log.widths.lock().unwrap().push(pictures.len());
        if self.fails_at.is_some_and(|n| before + pictures.len() > n) {
            return Err(Error::runtime("the captioner broke", "mend it"));
        }
        self.log.captioned.fetch_add(pictures.len(), Ordering::SeqCst);
        let text = |input: &CaptionInput| format!("a picture of {:?}", input.encoded.embedding);
        Ok(pictures
            .iter()
            .map(|e| Caption { text: text(e), ids: vec![1], mean_logprob: -0.5, score: None, support: None })
            .collect())
    }
}

/// How far the run has watched.
#[derive(Default)]
struct Watch(Mutex<Time>);

impl Observer for Watch {
    fn watched(&self, _: usize, time: Time) {
        *self.0.lock().unwrap() = time;
    }
}

struct Case {
    log: Arc<Log>,
    encoder_fails: Option<usize>,
    captioner_fails: Option<usize>,
    hook: Hook,
    interrupt: Interrupt,
    watch: Arc<Watch>,
}

impl Case {
    fn new() -> Case {
        Case {
            log: Arc::default(),
            encoder_fails: None,
            captioner_fails: None,
            hook: Box::new(|_| ()),
            interrupt: Interrupt::new(),
            watch: Arc::default(),
        }
    }

    fn model(&mut self) -> Model {
        let folder = ModelFolder::open(root().join(TINY)).unwrap();
        let hook = std::mem::replace(&mut self.hook, Box::new(|_| ()));
        Model {
            demand: PictureDemand::default(),
            prompt: None,
            name: "mock 1".into(),
            hash: String::new(),
            decoding: serde_json::Value::Null,
            image: folder.manifest().image.clone(),
            encoder: {
                let encoder = Encoder { log: self.log.clone(), fails_at: self.encoder_fails };
                Box::new(move || Ok(Box::new(encoder)))
            },
            captioner: {
                let captioner = Captioner { log: self.log.clone(), fails_at: self.captioner_fails, hook };
                Box::new(move || Ok(Box::new(captioner)))
            },
        }
    }

    /// The caption of each picture, by number. `None` if the picture failed.
    fn stills(mut self, paths: &[PathBuf], batch: usize, readers: usize) -> (Result<Stats>, Vec<Option<String>>) {
        let (model, interrupt) = (self.model(), self.interrupt.clone());
        let mut captions = Vec::new();
        let stats = stills(
            paths,
            StillOptions { batch, readers, ..StillOptions::default() },
            model,
            &interrupt,
            |number, still| {
                assert_eq!(number, captions.len(), "pictures come in order");
                captions.push(still.ok().map(|(_, caption)| caption.text));
                Ok(true)
            },
        );
        (stats, captions)
    }

    fn run(mut self, inputs: &[String], config: &Config) -> (Result<Stats>, Vec<Option<Track>>) {
        let model = self.model();
        let mut tracks: Vec<Option<Track>> = inputs.iter().map(|_| None).collect();
        let inputs: &Vec<_> = &inputs.iter().map(|input| input.as_str().into()).collect();
        let job = Job { inputs, config, model, interrupt: &self.interrupt, observer: &*self.watch, sink: None };
        let stats = run(job, |file, outcome| {
            assert!(tracks[file].is_none(), "each input has one outcome");
            tracks[file] = outcome.track;
        });
        (stats, tracks)
    }
}

/// A keyframe every fifth of a second, each with a caption.
fn often() -> Config {
    Config {
        scene: SceneOptions {
            detector: Detector::Fixed,
            interval: Time::from_millis(200),
            min_scene: Time::from_millis(100),
            ..SceneOptions::default()
        },
        dedup: DedupOptions::off(),
        ..Config::default()
    }
}

fn films(b: &Bench, seconds: &[u32]) -> Vec<String> {
    seconds
        .iter()
        .enumerate()
        .map(|(i, s)| {
            b.ffmpeg(&format!("-f lavfi -i testsrc2=size=64x64:rate=25:duration={s} -c:v libx264 {i}.mp4"));
            b.path(&format!("{i}.mp4")).display().to_string()
        })
        .collect()
}

fn bytes(track: &Option<Track>) -> Vec<String> {
    let track = track.as_ref().expect("a track");
    [Format::Vtt, Format::Srt, Format::Json, Format::Csv]
        .map(|format| {
            let mut out = Vec::new();
            write(track, format, std::path::Path::new("/"), &mut out).unwrap();
            String::from_utf8(out).unwrap()
        })
        .to_vec()
}

fn assert_tiles(track: &Track, end: Option<f64>) {
    assert_eq!(track.scenes[0].start, Time::ZERO);
    assert!(track.scenes.windows(2).all(|w| w[0].end == w[1].start));
    assert!(track.scenes.iter().all(|s| s.text.is_some()), "every scene has a caption");
    if let Some(end) = end {
        assert_eq!(track.scenes.last().unwrap().end, Time::from_secs(end));
    }
}

#[test]
fn output_does_not_depend_on_batches_or_threads() {
    let b = Bench::new();
    let films = films(&b, &[7, 3, 5]);
    let (stats, want) = Case::new().run(&films, &often());
    let stats = stats.unwrap();
    assert!(stats.captions >= 70 && stats.captions == stats.encoded, "{stats:?}");
    for (track, end) in want.iter().zip([7.0, 3.0, 5.0]) {
        assert_tiles(track.as_ref().unwrap(), Some(end));
    }
    let want: Vec<_> = want.iter().map(bytes).collect();
    for (encode_batch, caption_batch, jobs, threads, flush) in [
        (1, 1, 1, 1, 1_000_000),
        (3, 5, 1, 2, 1_000_000),
        (8, 16, 2, 1, 1_000_000),
        (64, 64, 3, 4, 1_000_000),
        (8, 16, 3, 1, 0),
        (5, 2, 2, 2, 700),
    ] {
        let mut config = Config { encode_batch, caption_batch, jobs, linger: Duration::from_micros(flush), ..often() };
        config.decode.threads = threads;
        let (stats, got) = Case::new().run(&films, &config);
        assert!(stats.is_ok());
        let got: Vec<_> = got.iter().map(bytes).collect();
        assert!(got == want, "{config:?}");
    }
}

#[test]
fn batches_fill_and_the_last_one_does_not_wait() {
    let b = Bench::new();
    let films = films(&b, &[8]);
    let case = Case::new();
    let log = case.log.clone();
    // The run would hang if a batch did not start when it is full or the film ends.
    let config = Config { encode_batch: 4, caption_batch: 8, linger: Duration::from_secs(3_600), ..often() };
    let (stats, tracks) = case.run(&films, &config);
    assert_tiles(tracks[0].as_ref().unwrap(), Some(8.0));
    let widths = log.widths.lock().unwrap();
    let (last, full) = widths.split_last().unwrap();
    assert!(full.len() >= 4 && full.iter().all(|w| *w == 8) && (1..=8).contains(last), "{widths:?}");
    assert_eq!(stats.unwrap().caption_batches as usize, widths.len());
}

#[test]
fn bad_inputs_do_not_stop_the_others() {
    let b = Bench::new();
    let mut inputs = films(&b, &[3, 2]);
    inputs.insert(1, b.path("missing.mp4").display().to_string());
    inputs.push(b.path("none.mp4").display().to_string());
    for jobs in [1, 2, 9] {
        let (stats, tracks) = Case::new().run(&inputs, &Config { jobs, ..often() });
        assert!(stats.is_ok());
        assert_eq!(tracks.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false, true, false]);
        assert_tiles(tracks[2].as_ref().unwrap(), Some(2.0));
    }
}

/// The run returns the first failure, every thread ends, and nothing blocks on the stage that is gone. Finished
/// descriptions are kept and marked as incomplete.
#[test]
fn a_model_failure_ends_the_run() {
    let b = Bench::new();
    let films = films(&b, &[20, 20, 20]);
    let (_, whole) = Case::new().run(&films, &often());
    let described = |t: &Track| t.scenes.iter().map(|s| (s.start, s.end, s.text.clone())).collect::<Vec<_>>();
    for jobs in [1, 3] {
        for at in [0, 1, 30] {
            let config = Config { jobs, encode_batch: 2, caption_batch: 2, ..often() };
            let (stats, _) = Case { encoder_fails: Some(at), ..Case::new() }.run(&films, &config);
            assert!(stats.unwrap_err().to_string().contains("the encoder broke"));
            let (stats, tracks) = Case { captioner_fails: Some(at), ..Case::new() }.run(&films, &config);
            assert!(stats.unwrap_err().to_string().contains("the captioner broke"));
            let kept: Vec<_> = tracks.iter().zip(&whole).filter_map(|(t, w)| t.as_ref().zip(w.as_ref())).collect();
            for (track, whole) in &kept {
                assert!(described(whole).starts_with(&described(track)), "{at}: {:?}", track.damage);
                assert_eq!(track.cues.last().unwrap().end, track.scenes.last().unwrap().end);
            }
            let mut short = kept.iter().filter(|(t, w)| t.scenes.len() < w.scenes.len()).peekable();
            assert_eq!(short.peek().is_some(), at == 30, "{at}: 30 captions leave a partial track");
            for (track, _) in short {
                assert!(track.damage.as_ref().is_some_and(|d| d.contains("the model failed after")));
            }
        }
    }
}

/// While the captioner sleeps, the other stages fill the queues between them and wait.
#[test]
fn a_slow_captioner_slows_the_watching() {
    let b = Bench::new();
    let films = films(&b, &[40]);
    let (asleep, awake) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (sleeping, wake) = (asleep.clone(), awake.clone());
    let mut case = Case::new();
    case.hook = Box::new(move |_| {
        sleeping.store(true, Ordering::SeqCst);
        while !wake.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    let (watch, log) = (case.watch.clone(), case.log.clone());
    let config = Config { encode_batch: 4, caption_batch: 4, ..often() };
    let reached = std::thread::scope(|scope| {
        let watcher = scope.spawn(move || {
            let still = || {
                let before = *watch.0.lock().unwrap();
                std::thread::sleep(Duration::from_millis(700));
                (before == *watch.0.lock().unwrap()).then_some(before)
            };
            // The stages wait when the position no longer changes.
            let reached = loop {
                if let (true, Some(at)) = (asleep.load(Ordering::SeqCst), still()) {
                    break at;
                }
            };
            awake.store(true, Ordering::SeqCst);
            reached
        });
        let (stats, tracks) = case.run(&films, &config);
        assert!(stats.unwrap().captions >= 190);
        assert_tiles(tracks[0].as_ref().unwrap(), Some(40.0));
        watcher.join().unwrap()
    });
    // The film has 200 keyframes. Before the captioner there is only room for three queues of 8, two batches of 4 and a
    // few frames of look-ahead.
    assert!(reached < Time::from_secs(14.0), "{reached}");
    assert!(log.ahead.load(Ordering::SeqCst) <= 40, "{:?}", log.ahead);
}

/// Scenes that are complete at the interrupt are kept, and every scene that is kept is complete.
#[test]
fn an_interrupt_keeps_complete_scenes() {
    let b = Bench::new();
    let films = films(&b, &[40, 40]);
    let mut case = Case::new();
    let flag = case.interrupt.clone();
    case.hook = Box::new(move |made| {
        if made >= 20 {
            flag.set();
        }
    });
    let config = Config { encode_batch: 4, caption_batch: 4, ..often() };
    let (stats, tracks) = case.run(&films, &config);
    assert!(stats.is_ok());
    let track = tracks[0].as_ref().unwrap();
    assert!(track.interrupted && track.damage.is_none());
    assert_tiles(track, None);
    let scenes = track.scenes.len();
    assert!((20..150).contains(&scenes), "{scenes}");
    // Cues end exactly where the scenes end.
    assert_eq!(track.cues.last().unwrap().end, track.scenes.last().unwrap().end);
    assert!(bytes(&tracks[0])[0].contains("\nincomplete: interrupted\n"));
    assert!(tracks[1].is_none(), "the second film never begins");
    // An interrupt before the first frame gives no tracks.
    let case = Case::new();
    case.interrupt.set();
    let (stats, tracks) = case.run(&films, &config);
    assert!(stats.is_ok() && tracks.iter().all(Option::is_none));
}

/// Eleven files, of which the fourth is not a picture and the eighth is missing.
fn album(b: &Bench) -> Vec<PathBuf> {
    b.ffmpeg("-f lavfi -i testsrc2=size=80x60:rate=25:duration=0.44 %d.png");
    b.write("4.png", b"no picture");
    std::fs::remove_file(b.path("8.png")).unwrap();
    (1..=11).map(|n| b.path(&format!("{n}.png"))).collect()
}

#[test]
fn stills_come_in_order_for_any_batch_and_readers() {
    let b = Bench::new();
    let paths = album(&b);
    let (stats, want) = Case::new().stills(&paths, 1, 1);
    assert_eq!(stats.unwrap().captions, 9);
    assert_eq!(want.len(), 11);
    for (n, text) in want.iter().enumerate() {
        assert_eq!(text.is_none(), n == 3 || n == 7, "{n}");
    }
    for (batch, readers) in [(2, 1), (3, 2), (8, 3), (64, 20)] {
        let (stats, got) = Case::new().stills(&paths, batch, readers);
        assert!(stats.is_ok());
        assert_eq!(got, want, "batch {batch}, readers {readers}");
    }
    let (stats, none) = Case::new().stills(&[], 8, 2);
    assert_eq!((stats.unwrap().captions, none.len()), (0, 0));
}

#[test]
fn stills_end_on_a_model_failure_or_an_interrupt() {
    let b = Bench::new();
    let paths = album(&b);
    let mut case = Case::new();
    case.encoder_fails = Some(5);
    let (stats, captions) = case.stills(&paths, 2, 2);
    assert!(stats.is_err() && captions.len() < paths.len());
    let mut case = Case::new();
    case.captioner_fails = Some(5);
    let (stats, captions) = case.stills(&paths, 2, 2);
    assert!(stats.is_err() && captions.len() < paths.len());
    let mut case = Case::new();
    let interrupt = case.interrupt.clone();
    case.hook = Box::new(move |made| {
        if made >= 2 {
            interrupt.set();
        }
    });
    let (stats, captions) = case.stills(&paths, 2, 2);
    assert!(stats.is_ok());
    assert!(!captions.is_empty() && captions.len() < paths.len(), "{}", captions.len());
}
