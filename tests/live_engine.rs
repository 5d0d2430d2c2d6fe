//! The engine of `descry live` with models that are slow or fail: what is dropped, counted and finished.

mod common;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::Bench;
use descry::caption::{Caption, Captions};
use descry::dedup::DedupOptions;
use descry::encode::{Encode, Encoded};
use descry::error::{Error, Result};
use descry::interrupt::Interrupt;
use descry::live::config::{Defaults, StreamConfig};
use descry::live::event::{Event, What};
use descry::live::hub::Sink;
use descry::live::metrics::Metrics;
use descry::live::{LiveOptions, Outcome, run};
use descry::model::ModelFolder;
use descry::pipeline::Model;
use descry::preprocess::Pixels;

/// Every picture is new, and its description a number.
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
    fn caption(&mut self, pictures: &[&Encoded]) -> Result<Vec<Caption>> {
        std::thread::sleep(self.slow);
        self.count += pictures.len() as f32;
        if self.count as usize >= self.fail_at {
            return Err(Error::runtime("the mock fails", "it is told to"));
        }
        let text = |e: &&Encoded| format!("Picture {}", e.embedding[2]);
        Ok(pictures
            .iter()
            .map(|e| Caption { text: text(e), ids: Vec::new(), mean_logprob: 0.0, score: Some(1.0) })
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

struct Run {
    result: Result<Outcome>,
    events: Vec<(Instant, Event)>,
    batches: Vec<usize>,
    stopped: Option<Instant>,
}

/// Watches `files` at their own pace with a mock model; `stop`: interrupts when the first captioning has begun.
fn watch(b: &Bench, files: &[&str], slow: Duration, fail_at: usize, stop: bool) -> Run {
    let (events, batches) = (Arc::<Mutex<_>>::default(), Arc::<Mutex<Vec<usize>>>::default());
    let urls: Vec<String> = files.iter().map(|f| b.path(f).display().to_string()).collect();
    let asked = Defaults { realtime: Some(true), min_interval: Some(0.0), ..Defaults::default() };
    let streams: Vec<StreamConfig> = asked.streams(None, &urls).unwrap();
    let dedup = DedupOptions::off();
    let options = LiveOptions { streams, dedup, min_score: 0.0, batch: 4, max_pixels: 1 << 24 };
    let metrics = Metrics::new(options.streams.iter().map(|s| s.name.clone()));
    let mock = |batches: Arc<Mutex<Vec<usize>>>| Mock { count: 0.0, slow, fail_at, batches };
    let (one, two) = (mock(batches.clone()), mock(Arc::default()));
    let model = Model {
        name: "mock".into(),
        hash: String::new(),
        decoding: serde_json::Value::Null,
        image: ModelFolder::load(Some(common::TINY)).unwrap().manifest().image.clone(),
        encoder: Box::new(move || Ok(Box::new(one))),
        captioner: Box::new(move || Ok(Box::new(two))),
    };
    let interrupt = Interrupt::new();
    let mut stopped = None;
    let result = std::thread::scope(|scope| {
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
        run(&options, model, vec![Box::new(Keep(events.clone()))], metrics, &interrupt)
    });
    let batches = batches.lock().unwrap().clone();
    let events = events.lock().unwrap().clone();
    Run { result, events, batches, stopped }
}

/// A film that changes every 0.8 s.
fn film(b: &Bench, name: &str, seconds: u32) {
    let sources = ["testsrc2", "smptebars", "mandelbrot", "rgbtestsrc"];
    let inputs: String = sources.iter().map(|s| format!("-f lavfi -t 0.8 -i {s}=size=160x90:rate=25 ")).collect();
    b.ffmpeg(&format!(
        "{inputs}-filter_complex [0]format=yuv420p,setsar=1[a];[1]format=yuv420p,setsar=1[b];\
         [2]format=yuv420p,setsar=1[c];[3]format=yuv420p,setsar=1[d];[a][b][c][d]concat=n=4 -g 20 -bf 0 part-{name}"
    ));
    b.ffmpeg(&format!("-stream_loop 20 -i part-{name} -c copy -t {seconds} {name}"));
}

fn captions(run: &Run) -> Vec<f64> {
    let lag = |(at, e): &(Instant, Event)| match &e.what {
        What::Caption(c) => Some(at.saturating_duration_since(c.arrived).as_secs_f64()),
        _ => None,
    };
    run.events.iter().filter_map(lag).collect()
}

fn dropped(run: &Run) -> u64 {
    run.events.iter().map(|(_, e)| if let What::Dropped { keyframes } = e.what { keyframes } else { 0 }).sum()
}

/// Every event is there in its order, no progress is told beyond a caption that still comes, and the end is last.
fn sound(run: &Run, streams: usize) {
    let mut ended = 0;
    let mut names: Vec<_> = run.events.iter().map(|(_, e)| e.stream.clone()).collect();
    names.sort();
    names.dedup();
    for name in names {
        let (mut number, mut watched) = (0, None);
        for (_, e) in run.events.iter().filter(|(_, e)| e.stream == name) {
            assert_eq!(e.number, number);
            number += 1;
            match &e.what {
                What::Watched { time, .. } => watched = watched.max(Some(*time)),
                What::Caption(c) => assert!(watched.is_none_or(|w| c.start >= w), "{e:?} after {watched:?}"),
                What::End => ended += 1,
                _ => {}
            }
        }
        assert!(matches!(run.events.iter().rfind(|(_, e)| e.stream == name).unwrap().1.what, What::End));
    }
    assert_eq!(ended, streams);
}

#[test]
fn a_model_that_is_too_slow_drops_the_oldest_and_its_lag_stays_bounded() {
    let b = Bench::new();
    film(&b, "film.mp4", 9);
    let slow = Duration::from_millis(1_500);
    let run = watch(&b, &["film.mp4"], slow, usize::MAX, false);
    assert_eq!(run.result.as_ref().unwrap(), &Outcome { failed: 0 });
    sound(&run, 1);
    let (lags, dropped) = (captions(&run), dropped(&run));
    assert!(dropped >= 1, "{lags:?}");
    // What is described was one of the last three when the model was free, and takes one run more.
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
    assert_eq!(run.result.as_ref().unwrap(), &Outcome { failed: 1 });
    sound(&run, 4);
    assert!(run.batches.contains(&3), "{:?}", run.batches);
    for name in ["a.mp4", "b.mp4", "c.mp4"] {
        let own = run.events.iter().filter(|(_, e)| &*e.stream == name && matches!(e.what, What::Caption(_)));
        assert!(own.count() >= 4, "{name}: {:?}", run.batches);
    }
}

#[test]
fn a_stop_in_the_middle_of_a_batch_finishes_it() {
    let b = Bench::new();
    film(&b, "film.mp4", 20);
    let run = watch(&b, &["film.mp4"], Duration::from_millis(700), usize::MAX, true);
    assert!(run.stopped.unwrap().elapsed() < Duration::from_secs(3));
    assert!(run.result.is_ok());
    sound(&run, 1);
    assert!(!captions(&run).is_empty());
}

#[test]
fn a_model_that_fails_ends_all() {
    let b = Bench::new();
    film(&b, "film.mp4", 20);
    let started = Instant::now();
    let run = watch(&b, &["film.mp4"], Duration::ZERO, 2, false);
    assert!(run.result.unwrap_err().to_string().contains("the mock fails"));
    assert!(started.elapsed() < Duration::from_secs(15));
}
