//! Counters, gauges and histograms of a live run, and how they read: Prometheus text, and JSON for the status.
//!
//! All of it is made when the run begins, for the streams and outputs that there are; from then on every writer only
//! touches atomics, so that no stage waits for a reader, nothing is allocated, and memory does not grow with time or with
//! what streams send. Numbers only go up, but for gauges. Readers see each number whole, and several of them at slightly
//! different moments.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use super::event::{Reason, State};

/// Why a frame or keyframe came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Dropped {
    /// The model could not keep up; the oldest keyframes go.
    Overload,
    /// It could not be decoded, or came damaged.
    Decode,
    /// It was still waiting when the program was told to stop.
    Stopped,
}

impl Dropped {
    pub const ALL: [Dropped; 3] = [Dropped::Overload, Dropped::Decode, Dropped::Stopped];

    pub fn name(self) -> &'static str {
        ["overload", "decode", "stopped"][self as usize]
    }
}

/// Work whose time is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    Decode,
    Scene,
    Preprocess,
    Encode,
    Caption,
    /// The picture as JPEG.
    Picture,
}

impl Stage {
    pub const ALL: [Stage; 6] =
        [Stage::Decode, Stage::Scene, Stage::Preprocess, Stage::Encode, Stage::Caption, Stage::Picture];

    pub fn name(self) -> &'static str {
        ["decode", "scene", "preprocess", "encode", "caption", "picture"][self as usize]
    }
}

/// What the shared model is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ModelState {
    Loading,
    Working,
    Failed,
}

impl ModelState {
    pub fn name(self) -> &'static str {
        ["loading", "working", "failed"][self as usize]
    }
}

const SECONDS: [f64; 21] =
    [0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0, 5.0, 7.5, 10.0, 30.0, 60.0];
const STAGE_SECONDS: [f64; 12] = [0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];
const FILL: [f64; 8] = [1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 16.0, 32.0];

/// Counts by bucket, and their sum. `SCALE` units of the sum are one.
struct Histogram {
    bounds: &'static [f64],
    /// One for each bound, and one for what is above all.
    buckets: Box<[AtomicU64]>,
    /// In millionths.
    sum: AtomicU64,
}

impl Histogram {
    fn new(bounds: &'static [f64]) -> Histogram {
        let buckets = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Histogram { bounds, buckets, sum: AtomicU64::new(0) }
    }

    fn add(&self, value: f64) {
        let bucket = self.bounds.iter().position(|b| value <= *b).unwrap_or(self.bounds.len());
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add((value * 1e6) as u64, Ordering::Relaxed);
    }

    fn text(&self, out: &mut String, name: &str, labels: &str) {
        let mut total = 0;
        for (i, count) in self.buckets.iter().enumerate() {
            total += count.load(Ordering::Relaxed);
            let bound = self.bounds.get(i).map_or("+Inf".into(), f64::to_string);
            let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {total}");
        }
        let _ = writeln!(out, "{name}_sum{{{labels}}} {}", self.sum.load(Ordering::Relaxed) as f64 / 1e6);
        let _ = writeln!(out, "{name}_count{{{labels}}} {total}");
    }
}

/// Lags of one stream at one output: all of them as a histogram, the last ones as they were.
pub struct Lag {
    all: Histogram,
    /// Milliseconds of the last ones, in a ring.
    recent: Box<[AtomicU32]>,
    count: AtomicU64,
}

/// How many lags the quantiles are of.
const RECENT: usize = 256;

impl Lag {
    fn new() -> Lag {
        let recent = (0..RECENT).map(|_| AtomicU32::new(0)).collect();
        Lag { all: Histogram::new(&SECONDS), recent, count: AtomicU64::new(0) }
    }

    fn add(&self, lag: Duration) {
        self.all.add(lag.as_secs_f64());
        let place = self.count.fetch_add(1, Ordering::Relaxed) as usize % RECENT;
        self.recent[place].store(u32::try_from(lag.as_millis()).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// Captions that were counted.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Of the last 256 captions, in seconds; none before the first.
    pub fn quantiles<const N: usize>(&self, wanted: [f64; N]) -> Option<[f64; N]> {
        let kept = self.count().min(RECENT as u64) as usize;
        let mut last: Vec<u32> = self.recent[..kept].iter().map(|m| m.load(Ordering::Relaxed)).collect();
        last.sort_unstable();
        let at = |q: f64| last[((q * kept as f64).ceil() as usize).clamp(1, kept) - 1];
        (kept > 0).then(|| wanted.map(|q| f64::from(at(q)) / 1e3))
    }
}

/// What is counted of one stream.
pub struct StreamMetrics {
    name: Arc<str>,
    frames: AtomicU64,
    dropped: [AtomicU64; Dropped::ALL.len()],
    keyframes: AtomicU64,
    captions: AtomicU64,
    queue: AtomicU64,
    reconnects: [AtomicU64; Reason::ALL.len()],
    state: AtomicU8,
    /// Position in `Reason::ALL`, from 1; 0 is none.
    reason: AtomicU8,
    /// Milliseconds since the run began.
    since: AtomicU64,
    ended: AtomicBool,
    /// Its watcher's last sign of life while it is connected, in milliseconds since the run began, from 1; 0: not connected.
    turned: AtomicU64,
    /// How long it may give none, in milliseconds; 0: for ever.
    patience: AtomicU64,
}

impl StreamMetrics {
    fn new(name: Arc<str>) -> StreamMetrics {
        StreamMetrics {
            name,
            frames: AtomicU64::new(0),
            dropped: Default::default(),
            keyframes: AtomicU64::new(0),
            captions: AtomicU64::new(0),
            queue: AtomicU64::new(0),
            reconnects: Default::default(),
            state: AtomicU8::new(State::Null as u8),
            reason: AtomicU8::new(0),
            since: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            turned: AtomicU64::new(0),
            patience: AtomicU64::new(0),
        }
    }

    /// A connected stream whose watcher shows no sign of life for so long is stuck.
    pub fn patience(&self, most: Duration) {
        self.patience.store(u64::try_from(most.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// A frame has left the decoder.
    pub fn frame_in(&self) {
        self.frames.fetch_add(1, Ordering::Relaxed);
    }

    pub fn frames_dropped(&self, why: Dropped, n: u64) {
        self.dropped[why as usize].fetch_add(n, Ordering::Relaxed);
    }

    /// A picture was chosen to be described.
    pub fn keyframe(&self) {
        self.keyframes.fetch_add(1, Ordering::Relaxed);
    }

    /// Something was said.
    pub fn caption(&self) {
        self.captions.fetch_add(1, Ordering::Relaxed);
    }

    /// Keyframes that wait to be described.
    pub fn queue(&self, depth: usize) {
        self.queue.store(depth as u64, Ordering::Relaxed);
    }

    /// A new connection is tried, because of this.
    pub fn reconnect(&self, why: Reason) {
        self.reconnects[place(why)].fetch_add(1, Ordering::Relaxed);
    }

    fn state(&self) -> State {
        [State::Null, State::Ready, State::Paused, State::Playing][usize::from(self.state.load(Ordering::Relaxed)) % 4]
    }

    fn reason(&self) -> Option<Reason> {
        Reason::ALL.get(usize::from(self.reason.load(Ordering::Relaxed)).checked_sub(1)?).copied()
    }
}

fn place(reason: Reason) -> usize {
    Reason::ALL.iter().position(|r| *r == reason).unwrap_or(0)
}

/// What is counted of one output.
pub struct SinkMetrics {
    name: String,
    queue: AtomicU64,
    written: AtomicU64,
    lost: AtomicU64,
    errors: AtomicU64,
    ended: AtomicBool,
    /// In the order of the streams.
    lags: Box<[Lag]>,
}

impl SinkMetrics {
    pub fn queue(&self, depth: usize) {
        self.queue.store(depth as u64, Ordering::Relaxed);
    }

    /// An event was taken.
    pub fn written(&self) {
        self.written.fetch_add(1, Ordering::Relaxed);
    }

    /// Events that the output never got.
    pub fn lost(&self, events: u64) {
        self.lost.fetch_add(events, Ordering::Relaxed);
    }

    pub fn error(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
    }

    /// Nobody reads it any more.
    pub fn ended(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    pub fn waiting(&self) -> u64 {
        self.queue.load(Ordering::Relaxed)
    }

    /// Whether nothing is written to it any more.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    pub fn lost_so_far(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    pub fn written_so_far(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    pub fn errors_so_far(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    pub fn lag_of(&self, stream: usize) -> Option<&Lag> {
        self.lags.get(stream)
    }
}

/// Everything that is counted.
pub struct Metrics {
    began: Instant,
    began_wall: SystemTime,
    streams: Box<[StreamMetrics]>,
    sinks: OnceLock<Box<[SinkMetrics]>>,
    model: AtomicU8,
    /// When the model's run under way began, in milliseconds since the run began, from 1; 0: none is.
    at_work: AtomicU64,
    /// How long one may take, in milliseconds; 0: for ever.
    patience: AtomicU64,
    stages: [Histogram; Stage::ALL.len()],
    encode_fill: Histogram,
    caption_fill: Histogram,
    pub(super) clients: AtomicU64,
    pub(super) clients_dropped: AtomicU64,
    pub(super) requests: AtomicU64,
    pub(super) refused: AtomicU64,
}

impl Metrics {
    /// Of these streams, whose names are unique; the hub adds its outputs.
    pub fn new<S: AsRef<str>>(streams: impl IntoIterator<Item = S>) -> Arc<Metrics> {
        Arc::new(Metrics {
            began: Instant::now(),
            began_wall: SystemTime::now(),
            streams: streams.into_iter().map(|s| StreamMetrics::new(s.as_ref().into())).collect(),
            sinks: OnceLock::new(),
            model: AtomicU8::new(ModelState::Loading as u8),
            at_work: AtomicU64::new(0),
            patience: AtomicU64::new(0),
            stages: [(); Stage::ALL.len()].map(|()| Histogram::new(&STAGE_SECONDS)),
            encode_fill: Histogram::new(&FILL),
            caption_fill: Histogram::new(&FILL),
            clients: AtomicU64::new(0),
            clients_dropped: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        })
    }

    /// Names the outputs, once; a second call changes nothing.
    pub(super) fn set_sinks(&self, names: impl IntoIterator<Item = String>) {
        let made = names.into_iter().map(|name| SinkMetrics {
            name,
            queue: AtomicU64::new(0),
            written: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            lags: self.streams.iter().map(|_| Lag::new()).collect(),
        });
        let _ = self.sinks.set(made.collect());
    }

    pub fn streams(&self) -> &[StreamMetrics] {
        &self.streams
    }

    /// Position of a stream, for callers that keep it.
    pub fn position(&self, stream: &str) -> Option<usize> {
        self.streams.iter().position(|s| &*s.name == stream)
    }

    pub fn stream(&self, name: &str) -> Option<&StreamMetrics> {
        self.streams.get(self.position(name)?)
    }

    pub fn sinks(&self) -> &[SinkMetrics] {
        self.sinks.get().map_or(&[], |s| s)
    }

    /// A caption has reached an output.
    pub fn lag(&self, sink: usize, stream: &str, lag: Duration) {
        if let (Some(sink), Some(stream)) = (self.sinks().get(sink), self.position(stream)) {
            sink.lags[stream].add(lag);
        }
    }

    pub fn state(&self, stream: &str, state: State, reason: Option<Reason>) {
        if let Some(s) = self.stream(stream) {
            s.state.store(state as u8, Ordering::Relaxed);
            s.reason.store(reason.map_or(0, |r| place(r) as u8 + 1), Ordering::Relaxed);
            s.since.store(self.began.elapsed().as_millis() as u64, Ordering::Relaxed);
        }
    }

    /// Nothing more comes from a stream.
    pub fn ended(&self, stream: &str) {
        if let Some(s) = self.stream(stream) {
            s.ended.store(true, Ordering::Relaxed);
        }
    }

    pub fn model(&self, state: ModelState) {
        self.model.store(state as u8, Ordering::Relaxed);
    }

    fn model_state(&self) -> ModelState {
        [ModelState::Loading, ModelState::Working, ModelState::Failed]
            [usize::from(self.model.load(Ordering::Relaxed)) % 3]
    }

    /// A run of the model that takes longer than this hangs; none may take for ever.
    pub fn patience(&self, most: Option<Duration>) {
        let millis = most.map_or(0, |m| u64::try_from(m.as_millis()).unwrap_or(u64::MAX).max(1));
        self.patience.store(millis, Ordering::Relaxed);
    }

    /// A run of the model begins or has ended.
    pub fn at_work(&self, on: bool) {
        self.at_work.store(if on { self.now() } else { 0 }, Ordering::Relaxed);
    }

    /// How long the model's run under way has taken.
    pub fn busy(&self) -> Duration {
        let since = self.at_work.load(Ordering::Relaxed);
        Duration::from_millis(if since == 0 { 0 } else { self.now().saturating_sub(since) })
    }

    /// Whether the model's run under way has taken longer than it may.
    pub fn hangs(&self) -> bool {
        let patience = self.patience.load(Ordering::Relaxed);
        patience > 0 && self.busy() >= Duration::from_millis(patience)
    }

    /// A stream's watcher gives a sign of life, or says that it is not connected and owes none.
    pub fn turn(&self, stream: usize, connected: bool) {
        if let Some(s) = self.streams.get(stream) {
            s.turned.store(if connected { self.now() } else { 0 }, Ordering::Relaxed);
        }
    }

    /// For how long a connected stream has given no sign of life, where that is longer than it may.
    fn stuck(&self, s: &StreamMetrics) -> Option<Duration> {
        let (turned, patience) = (s.turned.load(Ordering::Relaxed), s.patience.load(Ordering::Relaxed));
        let still = self.now().saturating_sub(turned);
        (turned > 0 && patience > 0 && still >= patience).then(|| Duration::from_millis(still))
    }

    /// Milliseconds since the run began, from 1.
    fn now(&self) -> u64 {
        self.began.elapsed().as_millis() as u64 + 1
    }

    pub fn stage_seconds(&self, stage: Stage, spent: Duration) {
        self.stages[stage as usize].add(spent.as_secs_f64());
    }

    /// Pictures that one run of the image tower encoded.
    pub fn encode_batch(&self, fill: usize) {
        self.encode_fill.add(fill as f64);
    }

    /// Pictures that one run of the decoder described.
    pub fn caption_batch(&self, fill: usize) {
        self.caption_fill.add(fill as f64);
    }

    /// Whether every stream is watched, or tried again, and the model works and gets on.
    pub fn healthy(&self) -> bool {
        self.trouble().is_none()
    }

    /// Why it is not healthy.
    fn trouble(&self) -> Option<String> {
        match self.model_state() {
            ModelState::Loading => return Some("the model is being loaded".into()),
            ModelState::Failed => return Some("the model has failed".into()),
            ModelState::Working => {}
        }
        if self.hangs() {
            return Some(format!("the model has been at one run for {} s", self.busy().as_secs()));
        }
        self.streams.iter().find_map(|s| {
            let name = &s.name;
            match self.stuck(s) {
                Some(still) => Some(format!("stream {name} has made no progress for {} s", still.as_secs())),
                None => s.ended.load(Ordering::Relaxed).then(|| format!("stream {name} has ended")),
            }
        })
    }

    fn model_word(&self) -> &'static str {
        if self.model_state() == ModelState::Working && self.hangs() { "hung" } else { self.model_state().name() }
    }

    /// In few words, for probes.
    pub fn health(&self) -> Value {
        let streams: Map<String, Value> = self
            .streams
            .iter()
            .map(|s| {
                let state = if s.ended.load(Ordering::Relaxed) {
                    "ended"
                } else if self.stuck(s).is_some() {
                    "stuck"
                } else if s.state() == State::Playing {
                    "playing"
                } else {
                    "retrying"
                };
                (s.name.to_string(), state.into())
            })
            .collect();
        let trouble = self.trouble();
        json!({ "healthy": trouble.is_none(), "reason": trouble, "model": self.model_word(), "streams": streams })
    }

    /// Tells one run from another.
    pub(super) fn run(&self) -> String {
        super::wall::rfc3339(self.began_wall)
    }

    /// All that a person asks for.
    pub fn status(&self) -> Value {
        let get = |n: &AtomicU64| n.load(Ordering::Relaxed);
        let streams: Vec<Value> = self
            .streams
            .iter()
            .enumerate()
            .map(|(i, s)| {
                let since = Duration::from_millis(get(&s.since));
                let dropped: Map<String, Value> =
                    Dropped::ALL.iter().map(|d| (d.name().into(), get(&s.dropped[*d as usize]).into())).collect();
                let reconnects: Map<String, Value> = Reason::ALL
                    .iter()
                    .map(|r| (r.name().to_string(), get(&s.reconnects[place(*r)])))
                    .filter(|(_, n)| *n > 0)
                    .map(|(r, n)| (r, n.into()))
                    .collect();
                let lag: Map<String, Value> = self
                    .sinks()
                    .iter()
                    .filter_map(|sink| {
                        let lag = sink.lag_of(i)?;
                        let [p50, p95] = lag.quantiles([0.5, 0.95])?;
                        Some((sink.name.clone(), json!({ "p50": p50, "p95": p95, "captions": lag.count() })))
                    })
                    .collect();
                json!({
                    "name": &*s.name,
                    "state": s.state().name(),
                    "reason": s.reason().map(Reason::name),
                    "state_seconds": self.began.elapsed().saturating_sub(since).as_secs(),
                    "ended": s.ended.load(Ordering::Relaxed),
                    "frames": get(&s.frames),
                    "frames_dropped": dropped,
                    "keyframes": get(&s.keyframes),
                    "captions": get(&s.captions),
                    "waiting": get(&s.queue),
                    "reconnects": reconnects,
                    "lag": lag,
                })
            })
            .collect();
        let sinks: Vec<Value> = self
            .sinks()
            .iter()
            .map(|s| {
                json!({
                    "name": s.name,
                    "waiting": get(&s.queue),
                    "written": get(&s.written),
                    "lost": get(&s.lost),
                    "errors": get(&s.errors),
                    "ended": s.ended.load(Ordering::Relaxed),
                })
            })
            .collect();
        json!({
            "descry": env!("CARGO_PKG_VERSION"),
            "healthy": self.healthy(),
            "model": self.model_word(),
            "uptime_seconds": self.began.elapsed().as_secs(),
            "resident_bytes": process("VmRSS:").map(|kb| kb * 1024),
            "streams": streams,
            "outputs": sinks,
        })
    }

    /// Prometheus' text format, version 0.0.4.
    pub fn prometheus(&self) -> String {
        let mut out = String::with_capacity(16 << 10);
        let get = |n: &AtomicU64| n.load(Ordering::Relaxed);
        let label = |s: &StreamMetrics| format!("stream=\"{}\"", escape(&s.name));
        let head = |out: &mut String, name: &str, kind: &str, help: &str| {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        };

        head(&mut out, "descry_build_info", "gauge", "Which descry this is.");
        let _ = writeln!(out, "descry_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"));
        head(&mut out, "process_start_time_seconds", "gauge", "When the run began, in Unix time.");
        let began = self.began_wall.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let _ = writeln!(out, "process_start_time_seconds {began}");
        if let Some(kb) = process("VmRSS:") {
            head(&mut out, "process_resident_memory_bytes", "gauge", "Memory of this process.");
            let _ = writeln!(out, "process_resident_memory_bytes {}", kb * 1024);
        }
        if let Some(threads) = process("Threads:") {
            head(&mut out, "process_threads", "gauge", "Threads of this process.");
            let _ = writeln!(out, "process_threads {threads}");
        }
        if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
            head(&mut out, "process_open_fds", "gauge", "Open files of this process.");
            let _ = writeln!(out, "process_open_fds {}", open.count());
        }
        head(&mut out, "descry_healthy", "gauge", "1 while /healthz says 200.");
        let _ = writeln!(out, "descry_healthy {}", u8::from(self.healthy()));
        head(&mut out, "descry_model_working", "gauge", "1 while the model is loaded, works and does not hang.");
        let _ = writeln!(out, "descry_model_working {}", u8::from(self.model_word() == ModelState::Working.name()));
        head(
            &mut out,
            "descry_model_busy_seconds",
            "gauge",
            "How long the model's run under way has taken; 0: none is.",
        );
        let _ = writeln!(out, "descry_model_busy_seconds {}", self.busy().as_secs_f64());

        type Of = fn(&StreamMetrics) -> &AtomicU64;
        let counters: [(&str, &str, &str, Of); 4] = [
            ("descry_frames_total", "counter", "Frames that were decoded.", |s| &s.frames),
            ("descry_keyframes_total", "counter", "Pictures that were chosen to be described.", |s| &s.keyframes),
            ("descry_captions_total", "counter", "Descriptions that were told.", |s| &s.captions),
            ("descry_queue_depth", "gauge", "Keyframes that wait to be described.", |s| &s.queue),
        ];
        for (name, kind, help, of) in counters {
            head(&mut out, name, kind, help);
            for s in &self.streams {
                let _ = writeln!(out, "{name}{{{}}} {}", label(s), get(of(s)));
            }
        }
        let name = "descry_frames_dropped_total";
        head(&mut out, name, "counter", "Frames and keyframes that came to nothing, by reason.");
        for s in &self.streams {
            for d in Dropped::ALL {
                let _ = writeln!(out, "{name}{{{},reason=\"{}\"}} {}", label(s), d.name(), get(&s.dropped[d as usize]));
            }
        }
        let name = "descry_reconnects_total";
        head(&mut out, name, "counter", "Connections that were tried again, by reason.");
        for s in &self.streams {
            for r in Reason::ALL {
                let _ =
                    writeln!(out, "{name}{{{},reason=\"{}\"}} {}", label(s), r.name(), get(&s.reconnects[place(r)]));
            }
        }
        let name = "descry_state";
        head(&mut out, name, "gauge", "1 for the state that a stream is in.");
        for s in &self.streams {
            for state in [State::Null, State::Ready, State::Paused, State::Playing] {
                let is = u8::from(s.state() == state);
                let _ = writeln!(out, "{name}{{{},state=\"{}\"}} {is}", label(s), state.name());
            }
        }
        head(&mut out, "descry_stuck", "gauge", "1 where a stream is connected and its decoder gets no further.");
        for s in &self.streams {
            let _ = writeln!(out, "descry_stuck{{{}}} {}", label(s), u8::from(self.stuck(s).is_some()));
        }
        head(&mut out, "descry_ended", "gauge", "1 where nothing more comes from a stream.");
        for s in &self.streams {
            let _ = writeln!(out, "descry_ended{{{}}} {}", label(s), u8::from(s.ended.load(Ordering::Relaxed)));
        }

        head(&mut out, "descry_stage_seconds", "histogram", "Time that one piece of work took, by stage.");
        for stage in Stage::ALL {
            let labels = format!("stage=\"{}\"", stage.name());
            self.stages[stage as usize].text(&mut out, "descry_stage_seconds", &labels);
        }
        head(&mut out, "descry_batch_fill", "histogram", "Pictures in a batch, by stage.");
        self.encode_fill.text(&mut out, "descry_batch_fill", "stage=\"encode\"");
        self.caption_fill.text(&mut out, "descry_batch_fill", "stage=\"caption\"");

        type OfSink = fn(&SinkMetrics) -> &AtomicU64;
        let counters: [(&str, &str, &str, OfSink); 4] = [
            ("descry_sink_queue_depth", "gauge", "Events that wait for an output.", |s| &s.queue),
            ("descry_sink_written_total", "counter", "Events that an output took.", |s| &s.written),
            ("descry_sink_lost_total", "counter", "Events that an output missed, being slow or away.", |s| &s.lost),
            ("descry_sink_errors_total", "counter", "Failures of an output.", |s| &s.errors),
        ];
        for (name, kind, help, of) in counters {
            head(&mut out, name, kind, help);
            for s in self.sinks() {
                let _ = writeln!(out, "{name}{{sink=\"{}\"}} {}", escape(&s.name), get(of(s)));
            }
        }
        let name = "descry_lag_seconds";
        head(&mut out, name, "histogram", "From a picture's arrival to its caption at an output.");
        let pairs = || {
            let of = |sink| self.streams.iter().enumerate().map(move |(i, s): (usize, &StreamMetrics)| (sink, i, s));
            self.sinks().iter().flat_map(of)
        };
        for (sink, i, s) in pairs() {
            let labels = format!("{},sink=\"{}\"", label(s), escape(&sink.name));
            sink.lags[i].all.text(&mut out, name, &labels);
        }
        let name = "descry_lag_recent_seconds";
        head(&mut out, name, "gauge", "Quantiles of that lag over the last 256 captions.");
        for (sink, i, s) in pairs() {
            let quantiles = [0.5, 0.95];
            for (q, lag) in quantiles.iter().zip(sink.lags[i].quantiles(quantiles).into_iter().flatten()) {
                let labels = format!("{},sink=\"{}\"", label(s), escape(&sink.name));
                let _ = writeln!(out, "{name}{{{labels},quantile=\"{q}\"}} {lag}");
            }
        }

        let own: [(&str, &str, &str, &AtomicU64); 4] = [
            ("descry_http_clients", "gauge", "Clients that read events.", &self.clients),
            ("descry_http_clients_dropped_total", "counter", "Clients that read too slowly.", &self.clients_dropped),
            ("descry_http_requests_total", "counter", "Requests that were answered.", &self.requests),
            ("descry_http_refused_total", "counter", "Connections and requests that were refused.", &self.refused),
        ];
        for (name, kind, help, n) in own {
            head(&mut out, name, kind, help);
            let _ = writeln!(out, "{name} {}", get(n));
        }
        out
    }
}

/// A label's value as the text format wants it.
fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// A number of `/proc/self/status`, where the system has it.
fn process(line: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find(|l| l.starts_with(line))?.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_last_captions() {
        let lag = Lag::new();
        assert_eq!(lag.quantiles([0.5]), None);
        lag.add(Duration::from_millis(700));
        assert_eq!(lag.quantiles([0.5, 0.95]), Some([0.7, 0.7]));
        (0..300).for_each(|i| lag.add(Duration::from_millis(i)));
        // 44 … 299 are left.
        assert_eq!(lag.quantiles([0.5, 0.95]), Some([0.171, 0.287]));
        assert_eq!(lag.count(), 301);
    }

    #[test]
    fn a_stream_that_is_tried_again_is_healthy_and_one_that_ended_is_not() {
        let m = Metrics::new(["a", "b"]);
        assert!(!m.healthy());
        m.model(ModelState::Working);
        m.state("a", State::Null, Some(Reason::OpenRead));
        assert!(m.healthy());
        assert_eq!(m.status()["streams"][0]["reason"], "open-read");
        m.ended("b");
        assert!(!m.healthy());
        assert_eq!(m.health()["streams"], json!({ "a": "retrying", "b": "ended" }));
        assert_eq!(m.health()["reason"], "stream b has ended");
    }

    #[test]
    fn what_makes_no_progress_is_told() {
        let m = Metrics::new(["a", "b"]);
        m.model(ModelState::Working);
        // Without patience nothing hangs.
        m.at_work(true);
        m.turn(1, true);
        std::thread::sleep(Duration::from_millis(20));
        assert!(m.healthy());
        m.patience(Some(Duration::from_millis(10)));
        assert!(!m.healthy() && m.hangs());
        assert_eq!((&m.health()["model"], &m.status()["model"]), (&json!("hung"), &json!("hung")));
        assert!(m.health()["reason"].as_str().unwrap().starts_with("the model has been at one run for 0 s"));
        assert!(
            m.prometheus().contains("\ndescry_model_working 0\n") && m.prometheus().contains("\ndescry_healthy 0\n")
        );
        m.at_work(false);
        assert!(m.healthy());
        m.streams()[1].patience(Duration::from_millis(10));
        assert!(!m.healthy());
        assert_eq!(m.health()["streams"], json!({ "a": "retrying", "b": "stuck" }));
        assert!(m.prometheus().contains("descry_stuck{stream=\"b\"} 1\n"));
        m.turn(1, false);
        assert!(m.healthy());
        assert!(
            m.prometheus().contains("\ndescry_model_working 1\n") && m.prometheus().contains("\ndescry_healthy 1\n")
        );
    }
}
