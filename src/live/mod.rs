//! Live: streams that never end, described as they come.
//!
//! ```text
//! watch (one thread a stream)   connect, decode, place on the stream's clock, choose pictures; again after each loss
//!   │ inbox: a short line a stream, the oldest leaves
//! describe (one thread)         CLIP and caption batches across all streams, what is new of it
//!   │ hub: a bounded queue a sink
//! sinks (one thread each)
//! ```
//!
//! The caller's thread looks after them: it tells streams that have gone quiet and stops all when asked to. The only live
//! module that knows threads, but for those of the outputs.
//!
//! Order: events of one stream are numbered without a gap and come in that order. Two threads tell of a stream, so each
//! holds its counter while it does; publishing never blocks.
//!
//! Memory: nothing grows with time. A watcher holds two decoded frames beside the decoder's own, the inbox
//! [`inbox::DEPTH`] small pictures a stream, the describer one batch and what dedup remembers.
//!
//! Faults: whatever happens to one stream's source is that stream's own. Only the model's failure ends all. One that makes
//! no progress is told in the metrics; when that lasts, all ends too, for nothing can wake a thread inside of it.
//!
//! Stopping: watchers and describer finish what they are at; what waits is described if there is time, else counted. All
//! threads are joined. Only one that nothing can interrupt, in the system's resolver or in a model that hangs, is left to
//! the end of the process, which must then not wait for it.

pub mod config;
pub mod event;
pub mod http;
pub mod hub;
pub mod inbox;
pub mod line;
pub mod metrics;
pub mod novelty;
pub mod outputs;
pub mod session;
pub mod sinks;
pub mod timeline;
pub mod wall;

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;

use crate::address::hide;
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::media::frame::Rgb;
use crate::media::{Advance, DecodeOptions, Frame, Source, StreamFault, load_camera_support};
use crate::model::{Encoded, preprocess};
use crate::pipeline::Model;
use crate::scene::{self, LiveKeyframe};
use crate::time::Time;
use crate::track::DedupOptions;
use config::{Kind, StreamConfig};
use event::{Event, Reason, Spoken, What};
use hub::{Hub, Sink};
use inbox::Inbox;
use metrics::{Dropped, Metrics, ModelState, Stage};
use novelty::{Novelty, NoveltyOptions, Say};
use session::{Change, Hurry, Session};
use timeline::Timeline;

/// Pictures are made no longer than this on their longer side, unless the model reads larger ones.
const PICTURE: u32 = 640;
/// Quality of their JPEG, of 100.
const QUALITY: u8 = 80;
/// How long a batch that is not full waits for other streams.
const LINGER: Duration = Duration::from_millis(60);
/// How often the streams are looked after.
const TICK: Duration = Duration::from_millis(20);
/// How often outputs are told how far a stream has been watched.
const WATCHED: Duration = Duration::from_millis(500);
/// How long what waits may still be described after the stop, how long threads may take, and the outputs.
const LAST_WORDS: Duration = Duration::from_millis(800);
const JOIN: Duration = Duration::from_millis(1_800);
const CLOSE: Duration = Duration::from_millis(700);
/// Damage spreads from frame to frame, at most until the next keyframe: none that may have some is looked at for so long
/// after it …
const HURT: Time = Time::from_millis(1_000);
/// … unless nothing else has come for so long.
const BLIND: Time = Time::from_millis(3_000);
/// How close to its told end a source must end to have ended for good.
const END: Time = Time::from_millis(2_000);
/// A model that hangs is given this many times its limit before all ends.
const LAST_CHANCE: u32 = 2;

/// All that a run is told.
#[derive(Debug, Clone)]
pub struct LiveOptions {
    pub streams: Vec<StreamConfig>,
    pub dedup: DedupOptions,
    /// Captions of a lower score are left unsaid. Default: 0.
    pub min_score: f32,
    /// Most pictures of a model run. Default: 4.
    pub batch: usize,
    /// Frames of more pixels are refused.
    pub max_pixels: u64,
    /// A run of the model that takes longer than this hangs. Default: 30 s.
    pub hang: Duration,
}

/// How a run ended, where nothing concerned all streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Streams that ended with a failure rather than in order.
    pub failed: usize,
}

/// A picture that waits to be described.
struct Keyframe {
    start: Time,
    time: Time,
    wall: SystemTime,
    arrived: Instant,
    picture: Rgb,
}

/// What watcher and describer of one stream must know of each other.
#[derive(Default)]
struct Between {
    /// From when on something may be said.
    not_before: Time,
    /// A picture came too soon to be said; another is wanted.
    again: bool,
    /// Where pictures begin that are not described yet: nothing before them is settled.
    open: Vec<Time>,
    /// Left undescribed, and not decoded, and not told yet.
    dropped: u64,
    skipped: u64,
    /// The last frame.
    last: Option<(Time, SystemTime)>,
    /// How far it was told to have been watched.
    watched: Option<Time>,
}

/// One stream, shared by all threads that have to do with it.
struct Stream {
    config: StreamConfig,
    position: usize,
    session: Mutex<Session>,
    between: Mutex<Between>,
    /// Number of the next event.
    number: Mutex<u64>,
    hub: Arc<Hub>,
    metrics: Arc<Metrics>,
    failed: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What a thread that panicked has left is still a state.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Stream {
    fn tell(&self, what: What) {
        let mut number = lock(&self.number);
        let event = Event { stream: self.config.name.clone(), number: *number, at: SystemTime::now(), what };
        *number += 1;
        self.hub.publish(Arc::new(event));
    }

    /// Lets something happen to the session and tells what has changed by it.
    fn session(&self, f: impl FnOnce(&mut Session) -> Option<Change>) {
        let mut session = lock(&self.session);
        if let Some((state, reason)) = f(&mut session) {
            self.tell(What::State { state, reason });
        }
    }

    fn warn(&self, text: &str) {
        tracing::warn!(stream = &*self.config.name, "{text}");
    }

    fn metrics(&self) -> Option<&metrics::StreamMetrics> {
        self.metrics.streams().get(self.position)
    }

    /// Counts frames or pictures that nothing comes of.
    fn count_dropped(&self, why: Dropped, frames: u64) {
        if let Some(m) = self.metrics() {
            m.frames_dropped(why, frames);
        }
    }

    /// A picture will not be described.
    fn drop_one(&self, keyframe: &Keyframe, why: Dropped) {
        let mut between = lock(&self.between);
        between.close(keyframe.start);
        between.dropped += 1;
        self.count_dropped(why, 1);
    }

    /// Nobody will describe what the model was at.
    fn forsake(&self) {
        let mut between = lock(&self.between);
        let left = std::mem::take(&mut between.open).len() as u64;
        between.dropped += left;
        self.count_dropped(Dropped::Stopped, left);
    }

    /// Tells how far the stream has been watched, and what was left out on the way. `waiting`: from here on the watcher
    /// itself has not decided.
    fn watched(&self, waiting: Option<Time>, wall: impl FnOnce(Time) -> SystemTime) {
        let mut between = lock(&self.between);
        let (dropped, skipped) = (std::mem::take(&mut between.dropped), std::mem::take(&mut between.skipped));
        let settled = between.last.map(|(last, _)| {
            between.open.iter().copied().chain(waiting).fold(last, Time::min).max(between.watched.unwrap_or(Time::ZERO))
        });
        between.watched = settled.or(between.watched);
        drop(between);
        if dropped > 0 || skipped > 0 {
            self.tell(What::Dropped { keyframes: dropped, frames: skipped });
        }
        if let Some(time) = settled {
            self.tell(What::Watched { time, wall: wall(time) });
        }
    }

    /// Nothing more comes of it.
    fn end(&self) {
        let last = lock(&self.between).last.map_or(SystemTime::UNIX_EPOCH, |(_, wall)| wall);
        self.watched(None, |_| last);
        self.tell(What::End);
    }
}

impl Between {
    fn close(&mut self, start: Time) {
        if let Some(place) = self.open.iter().position(|s| *s == start) {
            self.open.swap_remove(place);
        }
    }
}

/// Watches all streams until they end or are interrupted. Fails only on what concerns all of them.
pub fn run(
    options: &LiveOptions,
    model: Model,
    sinks: Vec<Box<dyn Sink>>,
    metrics: Arc<Metrics>,
    interrupt: &Interrupt,
) -> Result<Outcome> {
    if options.streams.iter().any(|s| s.kind == Kind::Camera) {
        load_camera_support()?;
    }
    let log: hub::Log = Arc::new(|level, output, text| match level {
        hub::Level::Info => tracing::info!(output, "{text}"),
        hub::Level::Warning => tracing::warn!(output, "{text}"),
    });
    let hub = Arc::new(Hub::logged(sinks, metrics.clone(), log));
    let inbox = Arc::new(Inbox::new(options.streams.len()));
    let halt = Interrupt::new();
    let streams: Vec<Arc<Stream>> = options
        .streams
        .iter()
        .enumerate()
        .map(|(position, config)| {
            Arc::new(Stream {
                session: Mutex::new(Session::new(config.silence)),
                config: config.clone(),
                position,
                between: Mutex::default(),
                number: Mutex::new(0),
                hub: hub.clone(),
                metrics: metrics.clone(),
                failed: AtomicBool::new(false),
            })
        })
        .collect();
    let side = PICTURE.max(model.image.size.saturating_mul(2)).min(crate::media::LONGEST_SIDE);
    let describer = {
        let (streams, inbox, metrics, options) = (streams.clone(), inbox.clone(), metrics.clone(), options.clone());
        thread::spawn(move || describe(model, &options, &streams, &inbox, &metrics))
    };
    let mut watchers: Vec<(Arc<Stream>, Option<JoinHandle<()>>)> = streams
        .iter()
        .map(|stream| {
            let (of_thread, inbox, halt) = (stream.clone(), inbox.clone(), halt.clone());
            let decode = DecodeOptions {
                threads: stream.config.decode_threads,
                max_pixels: options.max_pixels,
                timeout: stream.config.silence,
                low_delay: true,
                ..DecodeOptions::default()
            };
            let watcher = thread::spawn(move || Watcher::new(&of_thread, &inbox, halt, decode, side).run());
            (stream.clone(), Some(watcher))
        })
        .collect();
    let mut describer = Some(describer);
    let mut fatal = None;
    let mut hung = false;
    metrics.patience(Some(options.hang));
    for (m, s) in metrics.streams().iter().zip(&options.streams) {
        m.patience(s.silence.saturating_add(options.hang));
    }
    // Until all streams have ended by themselves, or all is to stop.
    loop {
        // Whoever read the outputs has left: there is nobody to tell anything.
        let unheard = !metrics.sinks().is_empty() && metrics.sinks().iter().all(|s| s.has_ended());
        if interrupt.is_set() || unheard || describer.as_ref().is_none_or(JoinHandle::is_finished) {
            halt.set();
            break;
        }
        if metrics.hangs() != hung {
            hung = !hung;
            if hung {
                tracing::error!("the model has been at one run for {} s", metrics.busy().as_secs());
            } else {
                tracing::warn!("the model gets on again");
            }
        }
        if metrics.busy() >= options.hang.saturating_mul(LAST_CHANCE) {
            let cause = format!("the model has been at one run for {} s and hangs", metrics.busy().as_secs());
            fatal = Some(Error::broken(cause, "Start descry again; a slow machine may need a longer --hang."));
            halt.set();
            break;
        }
        let now = Instant::now();
        for (stream, watcher) in &mut watchers {
            stream.session(|s| s.tick(now));
            // What it has shown is described before it ends.
            if watcher.as_ref().is_some_and(JoinHandle::is_finished) && lock(&stream.between).open.is_empty() {
                join(watcher.take(), &mut fatal);
                stream.end();
            }
        }
        if watchers.iter().all(|(_, watcher)| watcher.is_none()) {
            break;
        }
        thread::sleep(TICK);
    }
    // What waits is described if there is time.
    let stopped = Instant::now();
    let at_work = |watchers: &[(Arc<Stream>, Option<JoinHandle<()>>)]| {
        watchers.iter().any(|(_, w)| w.as_ref().is_some_and(|w| !w.is_finished()))
    };
    while at_work(&watchers) && stopped.elapsed() < LAST_WORDS {
        thread::sleep(TICK);
    }
    inbox.close();
    let finished = |d: &Option<JoinHandle<Result<()>>>| d.as_ref().is_none_or(JoinHandle::is_finished);
    while !finished(&describer) && stopped.elapsed() < LAST_WORDS {
        thread::sleep(TICK);
    }
    for (stream, keyframe) in inbox.abandon() {
        streams[stream].drop_one(&keyframe, Dropped::Stopped);
    }
    while (at_work(&watchers) || !finished(&describer)) && stopped.elapsed() < JOIN {
        thread::sleep(TICK);
    }
    if finished(&describer)
        && let Some(done) = describer.take()
    {
        match done.join() {
            Ok(Ok(())) => {}
            Ok(Err(e)) => fatal = Some(e),
            Err(_) => {
                metrics.model(ModelState::Failed);
                fatal = Some(panicked());
            }
        }
    }
    for (stream, watcher) in &mut watchers {
        let Some(watcher) = watcher.take() else { continue };
        if watcher.is_finished() {
            join(Some(watcher), &mut fatal);
        } else {
            stream.session(|s| Some(s.failed(Reason::Stopped, 0.0).0));
            stream.warn("does not stop; it is left behind");
        }
        if describer.is_some() {
            stream.forsake();
        }
        stream.end();
    }
    let failed = streams.iter().filter(|s| s.failed.load(Ordering::Relaxed)).count();
    hub.close(CLOSE);
    match fatal {
        Some(e) => Err(e),
        None => Ok(Outcome { failed }),
    }
}

fn join(watcher: Option<JoinHandle<()>>, fatal: &mut Option<Error>) {
    if watcher.is_some_and(|w| w.join().is_err()) {
        fatal.get_or_insert(panicked());
    }
}

fn panicked() -> Error {
    Error::broken("a thread of descry panicked", "report this, with what was printed before")
}

/// One stream's thread.
struct Watcher<'a> {
    stream: &'a Stream,
    inbox: &'a Inbox<Keyframe>,
    halt: Interrupt,
    decode: DecodeOptions,
    /// Longest side of a picture.
    side: u32,
    timeline: Timeline,
    glance: scene::Watcher<Frame>,
    told: Option<Instant>,
    /// The last damage that no keyframe has mended, and the last frame that was looked at.
    hurt: Option<Time>,
    sound: Time,
    random: RandomState,
    draws: u64,
}

impl<'a> Watcher<'a> {
    fn new(
        stream: &'a Stream,
        inbox: &'a Inbox<Keyframe>,
        halt: Interrupt,
        decode: DecodeOptions,
        side: u32,
    ) -> Watcher<'a> {
        Watcher {
            stream,
            inbox,
            halt,
            decode,
            side,
            timeline: Timeline::new(),
            glance: scene::Watcher::new(&stream.config.glance),
            told: None,
            hurt: None,
            sound: Time::ZERO,
            random: RandomState::new(),
            draws: 0,
        }
    }

    /// Sessions, one after the other, until it is told to stop or the source has ended for good.
    fn run(mut self) {
        let stream = self.stream;
        loop {
            stream.session(Session::connecting);
            let (fault, done) = self.session();
            stream.metrics.turn(stream.position, false);
            if let Some(keyframe) = self.glance.flush() {
                self.offer(keyframe);
            }
            let reason = Reason::from(&fault);
            let draw = self.draw();
            let mut wait = Duration::ZERO;
            stream.session(|s| {
                let (change, w) = s.failed(reason, draw);
                wait = w;
                Some(change)
            });
            if fault == StreamFault::Stopped || self.halt.is_set() {
                return;
            }
            if done || stream.config.kind.ends() {
                if fault != StreamFault::Ended {
                    stream.failed.store(true, Ordering::Relaxed);
                    stream.warn(&hide(&fault.to_string()));
                }
                return;
            }
            let words = format!("{}; next try in {:.1} s", hide(&fault.to_string()), wait.as_secs_f64());
            stream.warn(&words);
            let until = Instant::now() + wait;
            while Instant::now() < until {
                if self.halt.is_set() {
                    return;
                }
                thread::sleep(TICK.min(until.saturating_duration_since(Instant::now())));
            }
            if let Some(m) = stream.metrics() {
                m.reconnect(reason);
            }
        }
    }

    /// A number from 0 up to 1.
    fn draw(&mut self) -> f64 {
        self.draws += 1;
        (self.random.hash_one(self.draws) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// One connection, until it fails. The second value: nothing comes after it.
    fn session(&mut self) -> (StreamFault, bool) {
        let stream = self.stream;
        let mut source = match Source::connect(&stream.config.access(), &self.decode, self.halt.clone()) {
            Ok(source) => source,
            Err(fault) => return (fault, false),
        };
        self.timeline.reconnected();
        stream.session(|s| s.connected(Instant::now()));
        let info = source.info();
        tracing::info!(stream = &*stream.config.name, "connected: {} {}×{}", info.codec, info.width, info.height);
        // A source that says how long it is has an end.
        let end = info.duration.map(Time::from_secs);
        let mut reached = Time::ZERO;
        let mut packets = 0;
        let mut pace: Option<(Instant, Time)> = None;
        let (mut hurry, mut skipped) = (Hurry::new(Instant::now()), 0);
        loop {
            let began = Instant::now();
            stream.metrics.turn(stream.position, true);
            let waited = source.waited();
            match source.advance() {
                Ok(Advance::Frame(mut frame)) => {
                    packets = source.packets();
                    reached = frame.time;
                    if stream.config.kind.ends() {
                        let (start, first) = *pace.get_or_insert((Instant::now(), frame.time));
                        if !self.wait_until(start + duration(frame.time - first)) {
                            return (StreamFault::Stopped, true);
                        }
                        frame.arrived = Some(Instant::now());
                    }
                    if let Err(fault) = self.see(frame) {
                        return (fault, false);
                    }
                }
                Ok(Advance::Packet) => {
                    let busy = began.elapsed().saturating_sub(source.waited() - waited);
                    stream.metrics.stage_seconds(Stage::Decode, busy);
                }
                Err(StreamFault::Ended) => {
                    let done = end.is_some_and(|end| reached >= end - END);
                    // FFmpeg says the same of a peer that is gone: who never ends has not ended in order.
                    let in_order = done || matches!(stream.config.kind, Kind::File | Kind::Http);
                    let fault = if in_order {
                        StreamFault::Ended
                    } else {
                        StreamFault::Lost("the other side closed it".into())
                    };
                    return (fault, done);
                }
                Err(fault) => return (fault, false),
            }
            // Packets come, and nothing can be made of them; that none comes the source finds by itself.
            if source.packets() > packets && lock(&stream.session).is_silent(Instant::now()) {
                let damage = source.damage();
                let words = if damage.is_clean() { "no frame comes of it".into() } else { damage.to_string() };
                return (StreamFault::Undecodable(words), false);
            }
            if !stream.config.kind.ends() {
                self.keep_up(&mut source, &mut hurry, &mut skipped);
            }
        }
    }

    /// False where it is told to stop.
    fn wait_until(&self, due: Instant) -> bool {
        loop {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return !self.halt.is_set();
            }
            if self.halt.is_set() {
                return false;
            }
            thread::sleep(left.min(TICK));
        }
    }

    /// A reader that has fallen behind skips to the next keyframe, so that its lag does not grow.
    fn keep_up(&self, source: &mut Source, hurry: &mut Hurry, skipped: &mut u64) {
        let more = source.skipped() - *skipped;
        if more > 0 {
            *skipped += more;
            self.stream.count_dropped(Dropped::Overload, more);
            lock(&self.stream.between).skipped += more;
        }
        if let Some(on) = hurry.tick(Instant::now(), source.waited()) {
            source.set_keyframes_only(on);
            let words =
                if on { "frames come faster than they are decoded: some are skipped" } else { "keeps up again" };
            self.stream.warn(words);
        }
    }

    /// Looks at a frame.
    fn see(&mut self, mut frame: Frame) -> std::result::Result<(), StreamFault> {
        let stream = self.stream;
        let now = Instant::now();
        let arrived = *frame.arrived.get_or_insert(now);
        let wall =
            SystemTime::now().checked_sub(now.saturating_duration_since(arrived)).unwrap_or_else(SystemTime::now);
        let place = self.timeline.place(frame.pts, arrived, wall);
        frame.time = place.time;
        if let Some(m) = stream.metrics() {
            m.frame_in();
        }
        stream.session(|s| s.frame(now));
        if let Some(mapping) = place.mapping {
            stream.tell(What::Clock(mapping));
        }
        let (not_before, again) = {
            let mut between = lock(&stream.between);
            between.last = Some((place.time, self.timeline.wall(place.time)));
            (between.not_before, std::mem::take(&mut between.again))
        };
        if again {
            self.glance.again();
        }
        if self.doubtful(&frame) {
            stream.count_dropped(Dropped::Decode, 1);
        } else {
            let thumb = frame.thumb().map_err(|e| StreamFault::Undecodable(e.to_string()))?;
            let keyframe = self.glance.push(thumb, frame, not_before);
            stream.metrics.stage_seconds(Stage::Scene, now.elapsed());
            if let Some(keyframe) = keyframe {
                self.offer(keyframe);
            }
        }
        if self.told.is_none_or(|told| now.saturating_duration_since(told) >= WATCHED) {
            self.told = Some(now);
            stream.watched(self.glance.waiting_since(), |time| self.timeline.wall(time));
        }
        Ok(())
    }

    /// Whether a frame may show what is not there.
    fn doubtful(&mut self, frame: &Frame) -> bool {
        if frame.is_damaged() {
            self.hurt = Some(frame.time);
        } else if frame.is_key() {
            self.hurt = None;
        }
        let doubt = self.hurt.is_some_and(|hurt| frame.time - hurt < HURT) && frame.time - self.sound < BLIND;
        if !doubt {
            self.sound = frame.time;
        }
        doubt
    }

    /// Puts a picture in line to be described.
    fn offer(&self, keyframe: LiveKeyframe<Frame>) {
        let stream = self.stream;
        let LiveKeyframe { start, time, picture: frame } = keyframe;
        let began = Instant::now();
        let picture = match frame.to_rgb_within(self.side) {
            Ok(picture) => picture,
            Err(e) => {
                stream.warn(&e.to_string());
                stream.count_dropped(Dropped::Decode, 1);
                return;
            }
        };
        stream.metrics.stage_seconds(Stage::Preprocess, began.elapsed());
        let arrived = frame.arrived.unwrap_or(began);
        let keyframe = Keyframe { start, time, wall: self.timeline.wall(start), arrived, picture };
        lock(&stream.between).open.push(start);
        if let Some(m) = stream.metrics() {
            m.keyframe();
        }
        if let Some(left) = self.inbox.push(stream.position, keyframe) {
            let why = if self.halt.is_set() { Dropped::Stopped } else { Dropped::Overload };
            stream.drop_one(&left, why);
        }
        if let Some(m) = stream.metrics() {
            m.queue(self.inbox.depth(stream.position));
        }
    }
}

fn duration(time: Time) -> Duration {
    Duration::from_micros(time.micros().max(0) as u64)
}

/// The describer's thread: batches out of the inbox, what is new of them to the outputs.
fn describe(
    model: Model,
    options: &LiveOptions,
    streams: &[Arc<Stream>],
    inbox: &Inbox<Keyframe>,
    metrics: &Metrics,
) -> Result<()> {
    let mut loaded = false;
    let result = describe_all(model, options, streams, inbox, metrics, &mut loaded);
    metrics.at_work(false);
    result.map_err(|e| {
        metrics.model(ModelState::Failed);
        // One that cannot be loaded will not be next time.
        let again = "Start descry again; where that does not help, `descry caption` on a picture may say more.";
        if loaded { Error::broken(e.to_string(), again) } else { e }
    })
}

fn describe_all(
    model: Model,
    options: &LiveOptions,
    streams: &[Arc<Stream>],
    inbox: &Inbox<Keyframe>,
    metrics: &Metrics,
    loaded: &mut bool,
) -> Result<()> {
    let spec = model.image;
    let mut encoder = (model.encoder)()?;
    let mut captioner = (model.captioner)()?;
    metrics.model(ModelState::Working);
    *loaded = true;
    let mut novelties: Vec<Novelty> = streams
        .iter()
        .map(|s| {
            Novelty::new(NoveltyOptions {
                dedup: options.dedup,
                every: s.config.every,
                min_interval: s.config.min_interval,
                min_score: options.min_score,
            })
        })
        .collect();
    while let Some(batch) = inbox.take(options.batch, LINGER) {
        let began = Instant::now();
        let mut pictures = Vec::with_capacity(batch.len());
        let mut pixels = Vec::with_capacity(batch.len());
        for (stream, keyframe) in batch {
            if let Some(m) = streams[stream].metrics() {
                m.queue(inbox.depth(stream));
            }
            if keyframe.time < novelties[stream].not_before() {
                // It was chosen before the last one was said.
                let mut between = lock(&streams[stream].between);
                between.close(keyframe.start);
                between.again = true;
                continue;
            }
            pixels.push(preprocess(&keyframe.picture, &spec));
            pictures.push((stream, keyframe));
        }
        if pictures.is_empty() {
            continue;
        }
        metrics.stage_seconds(Stage::Preprocess, began.elapsed());
        let began = Instant::now();
        metrics.at_work(true);
        let encoded = encoder.encode(&pixels)?;
        metrics.stage_seconds(Stage::Encode, began.elapsed());
        metrics.encode_batch(pixels.len());
        let judged: Vec<Say> = pictures
            .iter()
            .zip(&encoded)
            .map(|((stream, keyframe), e)| novelties[*stream].judge(&e.unit(), keyframe.time))
            .collect();
        let fresh: Vec<&Encoded> =
            judged.iter().zip(&encoded).filter(|(say, _)| matches!(say, Say::Describe(_))).map(|(_, e)| e).collect();
        let mut captions = if fresh.is_empty() {
            Vec::new()
        } else {
            let began = Instant::now();
            metrics.at_work(true);
            let captions = captioner.caption(&fresh)?;
            metrics.stage_seconds(Stage::Caption, began.elapsed());
            metrics.caption_batch(fresh.len());
            captions
        }
        .into_iter();
        metrics.at_work(false);
        for ((stream, keyframe), say) in pictures.into_iter().zip(judged) {
            let (novelty, stream) = (&mut novelties[stream], &streams[stream]);
            let said = match say {
                Say::Nothing => None,
                Say::Again { text, score } => Some((text, score, true)),
                Say::Describe(id) => captions.next().and_then(|c| {
                    let text = novelty.described(id, &c.text, c.score, keyframe.time)?;
                    Some((text, c.score, false))
                }),
            };
            let start = keyframe.start;
            if let Some((text, score, returning)) = said {
                let began = Instant::now();
                let jpeg = jpeg(&keyframe.picture);
                metrics.stage_seconds(Stage::Picture, began.elapsed());
                if let Some(m) = stream.metrics() {
                    m.caption();
                }
                let Keyframe { start, time: picture_time, wall, arrived, .. } = keyframe;
                stream.tell(What::Caption(Spoken { start, picture_time, wall, arrived, text, score, returning, jpeg }));
            }
            let mut between = lock(&stream.between);
            between.close(start);
            between.not_before = novelty.not_before();
        }
    }
    Ok(())
}

/// A picture as JPEG; empty where it cannot be one, for it is larger than JPEG allows.
fn jpeg(picture: &Rgb) -> Arc<[u8]> {
    let mut out = Vec::new();
    let mut encoder = JpegEncoder::new_with_quality(&mut out, QUALITY);
    let done = encoder.encode(&picture.data, picture.width, picture.height, ExtendedColorType::Rgb8);
    if done.is_err() {
        out.clear();
    }
    out.into()
}
