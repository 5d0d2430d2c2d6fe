//! The engine of `descry live` with models that are slow or fail: what it drops, counts and finishes.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::common::Bench;
use descry::address::Address;
use descry::cli::Exit;
use descry::error::{Error, Result};
use descry::interrupt::Interrupt;
use descry::live::{Event, EventKind, LiveConfig, LiveJob, LiveOptions, LiveSummary, Sink, StreamConfig, run};
use descry::model::{Caption, CaptionInput, Captions, Encode, Encoded, ModelFolder, PictureDemand, Pixels};
use descry::pipeline::Model;
use descry::track::DedupOptions;

/// A model to which every picture is new. Its descriptions are numbers.
struct Mock {
    count: f32,
    slow: Duration,
    fail_at: usize,
    batches: Arc<Mutex<Vec<usize>>>,
}

impl Encode for Mock {
    fn encode(&mut self, pictures: &[Pixels]) -> Result<Vec<Encoded>> {
        self.batches.lock().unwrap().push(pictures.len());
        let mut one = || {
            self.count += 1.0;
            Encoded { embedding: vec![self.count.cos(), self.count.sin(), self.count], grid: None }
        };
        Ok(pictures.iter().map(|_| one()).collect())
    }
}

impl Captions for Mock {
    fn caption(&mut self, pictures: &[&CaptionInput]) -> Result<Vec<Caption>> {
        std::thread::sleep(self.slow);
        self.count += pictures.len() as f32;
        if self.count as usize >= self.fail_at {
            return Err(Error::runtime("the mock fails", "Raise `fail_at`."));
        }
        let text = |input: &&CaptionInput| format!("Picture {}", input.encoded.embedding[2]);
        Ok(pictures
            .iter()
            .map(|e| Caption { text: text(e), ids: Vec::new(), mean_logprob: 0.0, score: Some(1.0), support: None })
            .collect())
    }
}

struct Keep(Arc<Mutex<Vec<(Instant, Event)>>>);

impl Sink for Keep {
    fn name(&self) -> &str {
        "keep"
    }
    fn event(&mut self, event: &Event) -> Result<()> {
        self.0.lock().unwrap().push((Instant::now(), event.clone()));
        Ok(())
    }
    fn close(&mut self) -> Result<()> {
        Ok(())
    }
}

pub(crate) struct Run {
    /// The answers of /healthz, one per change.
    health: Vec<serde_json::Value>,
    /// The Prometheus metrics at the end.
    pub(crate) figures: String,
    pub(crate) result: Result<LiveSummary>,
    pub(crate) events: Vec<(Instant, Event)>,
    batches: Vec<usize>,
    stopped: Option<Instant>,
}

/// Plays `files` at their own pace to a mock model. Descriptions wait for a pause for so many seconds.
pub(crate) fn watch_speech(b: &Bench, files: &[&str], wait: f64) -> Run {
    let asked = LiveConfig { wait_for_pause: Some(wait), ..LiveConfig::default() };
    let mock = MockPlan { slow: Duration::ZERO, fail_at: usize::MAX, stop: false, hang: Duration::from_secs(30) };
    play(b, files, asked, &mock)
}

/// Plays `files` at their own pace to a mock model. With `stop`, interrupts the run once the first batch has started.
pub(crate) fn watch(b: &Bench, files: &[&str], slow: Duration, fail_at: usize, stop: bool) -> Run {
    watch_for(b, files, slow, fail_at, stop, Duration::from_secs(30))
}

/// Like [`watch`], with `hang` as the limit for one inference.
fn watch_for(b: &Bench, files: &[&str], slow: Duration, fail_at: usize, stop: bool, hang: Duration) -> Run {
    play(b, files, LiveConfig::default(), &MockPlan { slow, fail_at, stop, hang })
}

/// How a mock model behaves, and the run with it.
struct MockPlan {
    slow: Duration,
    fail_at: usize,
    stop: bool,
    hang: Duration,
}

fn play(b: &Bench, files: &[&str], asked: LiveConfig, plan: &MockPlan) -> Run {
    let MockPlan { slow, fail_at, stop, hang } = *plan;
    let (events, batches) = (Arc::<Mutex<_>>::default(), Arc::<Mutex<Vec<usize>>>::default());
    let urls: Vec<Address> = files.iter().map(|f| b.path(f).display().to_string().into()).collect();
    let asked = LiveConfig { realtime: Some(true), min_interval: Some(0.0), ..asked };
    let streams: Vec<StreamConfig> = asked.streams(None, &urls).unwrap();
    let dedup = DedupOptions::off();
    let options = LiveOptions { dedup, max_pixels: 1 << 24, hang, ..LiveOptions::default() };
    let mock = |batches: Arc<Mutex<Vec<usize>>>| Mock { count: 0.0, slow, fail_at, batches };
    let (one, two) = (mock(batches.clone()), mock(Arc::default()));
    let model = Model {
        demand: PictureDemand::default(),
        prompt: None,
        name: "mock".into(),
        hash: String::new(),
        decoding: serde_json::Value::Null,
        image: ModelFolder::load(Some(crate::common::TINY)).unwrap().manifest().image.clone(),
        encoder: Box::new(move || Ok(Box::new(one))),
        captioner: Box::new(move || Ok(Box::new(two))),
    };
    let mut job = LiveJob { options, ..LiveJob::new(streams, model) };
    job.outputs.push(Box::new(Keep(events.clone())));
    let metrics = job.metrics.clone();
    let interrupt = Interrupt::new();
    let mut stopped = None;
    let (mut health, done) = (Vec::<serde_json::Value>::new(), Interrupt::new());
    let result = std::thread::scope(|scope| {
        let (kept, watched, over) = (&mut health, metrics.clone(), done.clone());
        scope.spawn(move || {
            while !over.is_set() {
                let now = watched.health();
                if kept.last().is_none_or(|last| (&last["healthy"], &last["model"]) != (&now["healthy"], &now["model"]))
                {
                    kept.push(now);
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        if stop {
            let (batches, interrupt, stopped) = (batches.clone(), interrupt.clone(), &mut stopped);
            scope.spawn(move || {
                while batches.lock().unwrap().is_empty() {
                    std::thread::sleep(Duration::from_millis(5));
                }
                std::thread::sleep(Duration::from_millis(50));
                *stopped = Some(Instant::now());
                interrupt.set();
            });
        }
        let result = run(job, &interrupt);
        done.set();
        result
    });
    let figures = metrics.prometheus();
    let batches = batches.lock().unwrap().clone();
    let events = events.lock().unwrap().clone();
    Run { health, figures, result, events, batches, stopped }
}

/// A film that changes every 0.8 s.
pub(crate) fn film(b: &Bench, name: &str, seconds: u32) {
    let sources = ["testsrc2", "smptebars", "mandelbrot", "rgbtestsrc"];
    let inputs: String = sources.iter().map(|s| format!("-f lavfi -t 0.8 -i {s}=size=160x90:rate=25 ")).collect();
    b.ffmpeg(&format!(
        "{inputs}-filter_complex [0]format=yuv420p,setsar=1[a];[1]format=yuv420p,setsar=1[b];\
         [2]format=yuv420p,setsar=1[c];[3]format=yuv420p,setsar=1[d];[a][b][c][d]concat=n=4 -g 20 -bf 0 part-{name}"
    ));
    b.ffmpeg(&format!("-stream_loop 20 -i part-{name} -c copy -t {seconds} {name}"));
}

fn captions(run: &Run) -> Vec<f64> {
    let lag = |(at, e): &(Instant, Event)| match &e.kind {
        EventKind::Caption(c) => Some(at.saturating_duration_since(c.arrived).as_secs_f64()),
        _ => None,
    };
    run.events.iter().filter_map(lag).collect()
}

fn dropped(run: &Run) -> u64 {
    run.events.iter().map(|(_, e)| if let EventKind::Dropped { keyframes, .. } = e.kind { keyframes } else { 0 }).sum()
}

/// Checks that the events of each stream are numbered without a gap, that no caption is due before progress that the
/// stream has already reported, and that the end comes last.
pub(crate) fn sound(run: &Run, streams: usize) {
    let mut ended = 0;
    let mut names: Vec<_> = run.events.iter().map(|(_, e)| e.stream.clone()).collect();
    names.sort();
    names.dedup();
    for name in names {
        let (mut number, mut watched) = (0, None);
        for (_, e) in run.events.iter().filter(|(_, e)| e.stream == name) {
            assert_eq!(e.number, number);
            number += 1;
            match &e.kind {
                EventKind::Progress { time, .. } => watched = watched.max(Some(*time)),
                EventKind::Caption(c) => assert!(watched.is_none_or(|w| c.due >= w), "{e:?} after {watched:?}"),
                EventKind::End => ended += 1,
                _ => {}
            }
        }
        assert!(matches!(run.events.iter().rfind(|(_, e)| e.stream == name).unwrap().1.kind, EventKind::End));
    }
    assert_eq!(ended, streams);
}

#[test]
fn a_slow_model_drops_the_oldest_keyframes_and_the_lag_stays_bounded() {
    let b = Bench::new();
    film(&b, "film.mp4", 9);
    let slow = Duration::from_millis(1_500);
    let run = watch(&b, &["film.mp4"], slow, usize::MAX, false);
    assert_eq!(run.result.as_ref().unwrap(), &LiveSummary { failed: 0, incomplete: 0 });
    sound(&run, 1);
    let (lags, dropped) = (captions(&run), dropped(&run));
    assert!(dropped >= 1, "{lags:?}");
    // A described keyframe was among the last three when the model became free, and needs one more run.
    let most = slow.as_secs_f64() * 4.0 + 1.0;
    assert!(lags.len() >= 4 && lags.iter().all(|l| *l < most), "{lags:?}");
}

#[test]
fn streams_share_batches() {
    let b = Bench::new();
    film(&b, "a.mp4", 6);
    std::fs::copy(b.path("a.mp4"), b.path("b.mp4")).unwrap();
    std::fs::copy(b.path("a.mp4"), b.path("c.mp4")).unwrap();
    let run = watch(&b, &["a.mp4", "b.mp4", "c.mp4", "none.mp4"], Duration::from_millis(300), usize::MAX, false);
    assert_eq!(run.result.as_ref().unwrap(), &LiveSummary { failed: 1, incomplete: 0 });
    sound(&run, 4);
    assert!(run.batches.contains(&3), "{:?}", run.batches);
    for name in ["a.mp4", "b.mp4", "c.mp4"] {
        let own = run.events.iter().filter(|(_, e)| &*e.stream == name && matches!(e.kind, EventKind::Caption(_)));
        assert!(own.count() >= 4, "{name}: {:?}", run.batches);
    }
}

#[test]
fn a_stop_in_the_middle_of_a_batch_finishes_the_batch() {
    let b = Bench::new();
    film(&b, "film.mp4", 20);
    let run = watch(&b, &["film.mp4"], Duration::from_millis(700), usize::MAX, true);
    assert!(run.stopped.unwrap().elapsed() < Duration::from_secs(3));
    assert!(run.result.is_ok());
    sound(&run, 1);
    assert!(!captions(&run).is_empty());
}

#[test]
fn a_model_that_hangs_for_a_while_is_reported_and_recovers() {
    let b = Bench::new();
    film(&b, "film.mp4", 5);
    let run = watch_for(&b, &["film.mp4"], Duration::from_millis(700), usize::MAX, false, Duration::from_millis(400));
    assert_eq!(run.result.as_ref().unwrap(), &LiveSummary { failed: 0, incomplete: 0 });
    sound(&run, 1);
    let words: Vec<&str> = run.health.iter().filter_map(|h| h["model"].as_str()).collect();
    assert!(words.windows(2).any(|w| w == ["working", "hung"]), "{words:?}");
    assert!(words.windows(2).any(|w| w == ["hung", "working"]), "{words:?}");
    let hung = run.health.iter().find(|h| h["model"] == "hung").unwrap();
    assert_eq!(hung["healthy"], false);
    assert!(hung["reason"].as_str().unwrap().starts_with("the model has been busy with one inference for"), "{hung}");
    assert!(captions(&run).len() >= 3);
}

#[test]
fn a_model_that_hangs_forever_ends_the_run_and_every_keyframe_is_counted() {
    let b = Bench::new();
    film(&b, "film.mp4", 20);
    let started = Instant::now();
    let run = watch_for(&b, &["film.mp4"], Duration::from_secs(600), usize::MAX, false, Duration::from_secs(1));
    let error = run.result.as_ref().unwrap_err();
    assert!(error.to_string().contains("hangs") && error.to_string().contains("`hang`"), "{error}");
    assert_eq!(Exit::of(error), Exit::Broken);
    assert!(started.elapsed() < Duration::from_secs(12), "{:?}", started.elapsed());
    assert_eq!(run.health.last().unwrap()["model"], "hung");
    assert!(run.figures.contains("\ndescry_model_working 0\n"), "{}", run.figures);
    // The stream reports its end, and reports every chosen keyframe as dropped.
    sound(&run, 1);
    let chosen = run.figures.lines().find_map(|l| l.strip_prefix("descry_keyframes_total{stream=\"film.mp4\"} "));
    assert_eq!(chosen.unwrap().parse::<u64>().unwrap(), dropped(&run));
    assert!(dropped(&run) >= 2);
}

#[test]
fn a_model_that_fails_ends_the_run() {
    let b = Bench::new();
    film(&b, "film.mp4", 20);
    let started = Instant::now();
    let run = watch(&b, &["film.mp4"], Duration::ZERO, 2, false);
    let error = run.result.unwrap_err();
    assert!(error.to_string().contains("the mock fails"));
    assert_eq!(Exit::of(&error), Exit::Broken);
    assert_eq!(run.health.last().unwrap()["reason"], "the model has failed");
    assert!(started.elapsed() < Duration::from_secs(15));
}
