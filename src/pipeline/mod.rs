//! The pipeline: the stages side by side. The only module that knows threads and channels; [`stills`] is its part for
//! pictures, [`parts`] for parts of a film and for what is made of them.
//!
//! ```text
//! watch (one thread a running file)  decode, thumbs, scenes, keyframes
//!   │ bounded
//! encode (one thread)                pictures, preprocessing, CLIP batches filled across scenes and files
//!   │ bounded
//! describe (one thread)              dedup by file, caption batches
//!   │ bounded
//! collect (the caller's thread)      cues, outputs
//! ```
//!
//! Order: what one file sends stays in order through every stage, and its end comes last; files mix freely. Dedup and
//! cues are kept by file and every model run is batch-invariant, so the output does not depend on threads or batches.
//!
//! Memory: each channel holds at most [`QUEUE`] keyframes, each stage one batch, each watcher the selector's
//! pictures. Nothing grows with the length of a film but its list of scenes: embeddings and thumbnails go to a [`Keep`]
//! as they come, or nowhere.
//!
//! Shutdown: a stage ends when its input closes or its output is gone; every thread is joined. The first fatal error
//! wins and stops the watchers.

pub mod budget;
pub mod parts;
mod stills;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use serde::Serialize;
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::media::decode::{DecodeOptions, Frame, LONGEST_SIDE, Source, StreamInfo};
use crate::media::thumbnail::{ThumbnailOptions, thumbnail};
use crate::model::caption::beam::Strategy;
use crate::model::caption::{Caption, CaptionOptions, Captioner, Captions};
use crate::model::folder::{ImageSpec, ModelFolder};
use crate::model::image::{Encode, EncodeOptions, Encoded, ImageEncoder};
use crate::model::preprocess::preprocess;
use crate::pipeline::budget::Budget;
use crate::scene::SceneOptions;
use crate::scene::keyframe::{Keyframe, KeyframeOptions, KeyframeSelector};
use crate::time::Time;
use crate::track::cue::{Cue, CueBuilder, CueOptions, Described};
use crate::track::dedup::{Dedup, DedupOptions};
use crate::track::formats::{SceneRecord, Track};
use parts::mark::Marker;
pub use parts::mark::{Glimpse, Mark, Watching, retell, watch_stretch};
pub use stills::{Still, StillOptions, embeddings, stills};

/// Keyframes that a channel holds at most.
pub const QUEUE: usize = 8;

/// Keyframes are made this many times as long as what the image tower reads: its own filter has enough to choose from, and
/// larger ones only cost time.
const DETAIL: u32 = 3;

/// Everything that the stages are told.
#[derive(Debug, Clone)]
pub struct Config {
    pub decode: DecodeOptions,
    pub scene: SceneOptions,
    pub keyframe: KeyframeOptions,
    pub dedup: DedupOptions,
    pub cue: CueOptions,
    /// What a [`Keep`] gets to see of each keyframe. Default: 320 pixels wide, quality 80.
    pub thumbnail: ThumbnailOptions,
    /// Captions of a lower score are left unsaid. Default: what the model's manifest says, else 0.
    pub min_score: f32,
    /// Files that are watched at once. Default: 1.
    pub jobs: usize,
    /// Most pictures of an encoder batch. Default: 8.
    pub encode_batch: usize,
    /// Most pictures of a caption batch. Default: 16.
    pub caption_batch: usize,
    /// A batch that is not full is run when it has waited this long. Keyframes come several a second where a file is
    /// decoded as fast as it goes: much less, and captions are made picture by picture, which costs more than the
    /// waiting; the end of a file waits for nothing. Default: 1 s.
    pub flush: Duration,
    /// What of the machine the run may take. Default: all.
    pub budget: Arc<Budget>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            decode: DecodeOptions::default(),
            scene: SceneOptions::default(),
            keyframe: KeyframeOptions::default(),
            dedup: DedupOptions::default(),
            cue: CueOptions::default(),
            thumbnail: ThumbnailOptions::default(),
            min_score: 0.0,
            jobs: 1,
            encode_batch: 8,
            caption_batch: 16,
            flush: Duration::from_secs(1),
            budget: Arc::default(),
        }
    }
}

impl Config {
    /// What decides the content of a track, for its JSON. Times are in seconds.
    pub fn told(&self, decoding: &Value) -> Value {
        // As it was written: 0.92 and not 0.9200000166893005.
        let plain = |c: f32| (f64::from(c) * 1e6).round() / 1e6;
        let cosine = |c: f32| c.is_finite().then(|| plain(c));
        json!({
            "start": self.decode.start.map(Time::secs),
            "end": self.decode.end.map(Time::secs),
            "mode": if self.decode.keyframes_only { "keyframes" } else { "all" },
            "scenes": format!("{:?}", self.scene.detector).to_lowercase(),
            "ratio": plain(self.scene.ratio),
            "threshold": plain(self.scene.threshold),
            "interval": self.scene.interval.secs(),
            "min_scene": self.scene.min_scene.secs(),
            "max_gap": self.keyframe.max_gap.secs(),
            "same": cosine(self.dedup.same),
            "returning": cosine(self.dedup.returning),
            "max_line": self.cue.max_line,
            "max_lines": self.cue.max_lines,
            "reading_speed": self.cue.reading_speed,
            "min_duration": self.cue.min_duration.secs(),
            "max_duration": self.cue.max_duration.map(Time::secs),
            "min_score": plain(self.min_score),
            "decoding": decoding,
        })
    }
}

/// Makes a stage's part of the model, on the stage's own thread: graphs load while the first frames are decoded.
pub type Load<T> = Box<dyn FnOnce() -> Result<Box<T>> + Send>;

/// The model's part of the pipeline.
pub struct Model {
    pub name: String,
    /// SHA-256 of its manifest, which holds the hashes of all its files; empty for what is no folder.
    pub hash: String,
    /// How captions are searched for: told in the track's options.
    pub decoding: Value,
    pub image: ImageSpec,
    pub encoder: Load<dyn Encode>,
    pub captioner: Load<dyn Captions>,
}

impl Model {
    /// Of a folder; its graphs load when their stages begin.
    pub fn of(folder: &ModelFolder, encode: EncodeOptions, caption: CaptionOptions) -> Result<Model> {
        let search = caption.search(folder.manifest())?;
        let (of_encoder, of_captioner) = (folder.clone(), folder.clone());
        Ok(Model {
            decoding: json!({
                "strategy": match search.strategy {
                    Strategy::Beam(_) => "beam",
                    Strategy::Greedy => "greedy",
                    Strategy::Sample { .. } => "sample",
                },
                "beam": if let Strategy::Beam(n) = search.strategy { Some(n) } else { None },
                "seed": caption.sample,
                "max_tokens": search.max_tokens,
                "temperature": search.temperature,
            }),
            name: folder.manifest().title(),
            hash: folder.hash().to_string(),
            image: folder.manifest().image.clone(),
            encoder: Box::new(move || Ok(Box::new(ImageEncoder::new(&of_encoder, &encode)?))),
            captioner: Box::new(move || Ok(Box::new(Captioner::new(&of_captioner, &caption)?))),
        })
    }
}

/// Hears of what happens, from several threads at once. All methods have empty defaults.
pub trait Observer: Sync {
    /// A file was opened.
    fn opened(&self, _file: usize, _info: &StreamInfo) {}
    /// A file has been watched up to here.
    fn watched(&self, _file: usize, _time: Time) {}
    /// A file has this many cues by now.
    fn cues(&self, _file: usize, _count: usize) {}
    /// A file is through; nothing more comes of it but its result.
    fn ended(&self, _file: usize) {}
}

/// What is known of one keyframe as soon as it is.
#[derive(Debug, Clone)]
pub struct Kept {
    pub record: SceneRecord,
    /// Of length 1; none where the picture is blank or could not be converted.
    pub embedding: Option<Vec<f32>>,
    /// A small JPEG; none where there is no embedding, or none were wanted.
    pub thumbnail: Option<Vec<u8>>,
}

/// Stores what is found while films go on: a film's own list of scenes holds neither embeddings nor pictures. An error
/// of any method ends the whole run.
pub trait Keep: Sync {
    /// A file's turn has come, on the thread that would watch it. False: not here, not now; nothing more is said of it.
    fn begin(&self, _file: usize) -> Result<bool> {
        Ok(true)
    }
    /// A keyframe, on the thread that called [`run`]: a file's in order of time, files mixed.
    fn scene(&self, file: usize, kept: Kept) -> Result<()>;
}

/// What became of one input.
#[derive(Debug)]
pub struct Outcome {
    /// The track as far as it was described; none where nothing could be.
    pub track: Option<Track>,
    pub error: Option<Error>,
    /// The film goes on where the track ends, and that is not the film's fault.
    pub cut_short: Option<CutShort>,
}

/// Why a film was not described to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CutShort {
    /// The model failed.
    Model,
    /// The server that it comes from did.
    Connection,
}

/// Time that each stage was busy, in seconds, and what went through.
#[derive(Debug, Default, Clone, Serialize)]
pub struct Stats {
    pub wall: f64,
    pub decode: f64,
    pub analyse: f64,
    pub scenes: f64,
    pub prepare: f64,
    pub encode: f64,
    pub caption: f64,
    pub frames: u64,
    pub keyframes: u64,
    pub encoded: u64,
    pub encode_batches: u64,
    pub captions: u64,
    pub caption_batches: u64,
    /// Seconds of media that were watched.
    pub media: f64,
}

impl Stats {
    /// Both together, one after the other.
    pub fn add(&mut self, more: &Stats) {
        self.wall += more.wall;
        self.decode += more.decode;
        self.analyse += more.analyse;
        self.scenes += more.scenes;
        self.prepare += more.prepare;
        self.encode += more.encode;
        self.caption += more.caption;
        self.frames += more.frames;
        self.keyframes += more.keyframes;
        self.encoded += more.encoded;
        self.encode_batches += more.encode_batches;
        self.captions += more.captions;
        self.caption_batches += more.caption_batches;
        self.media += more.media;
    }
}

#[derive(Default)]
struct Clock {
    decode: AtomicU64,
    analyse: AtomicU64,
    scenes: AtomicU64,
    prepare: AtomicU64,
    encode: AtomicU64,
    caption: AtomicU64,
    frames: AtomicU64,
    keyframes: AtomicU64,
    encoded: AtomicU64,
    encode_batches: AtomicU64,
    captions: AtomicU64,
    caption_batches: AtomicU64,
    media: AtomicU64,
}

impl Clock {
    fn add(counter: &AtomicU64, since: Instant) {
        Clock::spend(counter, since.elapsed());
    }

    fn spend(counter: &AtomicU64, time: Duration) {
        counter.fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
    }

    fn count(counter: &AtomicU64, more: usize) {
        counter.fetch_add(more as u64, Ordering::Relaxed);
    }

    fn stats(&self, wall: Duration) -> Stats {
        let secs = |c: &AtomicU64| c.load(Ordering::Relaxed) as f64 / 1e9;
        let count = |c: &AtomicU64| c.load(Ordering::Relaxed);
        Stats {
            wall: wall.as_secs_f64(),
            decode: secs(&self.decode),
            analyse: secs(&self.analyse),
            scenes: secs(&self.scenes),
            prepare: secs(&self.prepare),
            encode: secs(&self.encode),
            caption: secs(&self.caption),
            frames: count(&self.frames),
            keyframes: count(&self.keyframes),
            encoded: count(&self.encoded),
            encode_batches: count(&self.encode_batches),
            captions: count(&self.captions),
            caption_batches: count(&self.caption_batches),
            media: count(&self.media) as f64 / 1e6,
        }
    }
}

/// A keyframe without its picture.
pub type Moment = Keyframe<()>;

enum Watched {
    Opened(usize, Box<StreamInfo>),
    Keyframe(usize, Keyframe<Arc<Frame>>),
    End(usize, End),
}

struct End {
    end: Time,
    damage: Option<String>,
    interrupted: bool,
    lost: bool,
    error: Option<Error>,
}

enum Seen {
    Opened(usize, Box<StreamInfo>),
    Picture(usize, Box<Look>),
    End(usize, End),
}

/// A keyframe that was looked at.
struct Look {
    moment: Moment,
    /// `None` where the picture is blank, or could not be converted (then with the reason).
    encoded: Option<Encoded>,
    /// Where the picture was captioned before; then its grid may be missing.
    caption: Option<Caption>,
    fault: Option<String>,
    thumbnail: Option<Vec<u8>>,
}

struct Said {
    moment: Moment,
    /// Only where somebody keeps them.
    embedding: Option<Vec<f32>>,
    thumbnail: Option<Vec<u8>>,
    caption: Option<Caption>,
    similarity: Option<f32>,
    repeats: bool,
    distinct: Option<u32>,
    fault: Option<String>,
}

enum Told {
    Opened(usize, Box<StreamInfo>),
    Scene(usize, Box<Said>),
    End(usize, End),
}

/// Describes all inputs. `done` is called on this thread once for each input as it ends, in order of ending.
///
/// Fails only on what concerns all of them (the model, the runtime); what concerns one input is in its result.
pub fn run(
    inputs: &[String],
    config: &Config,
    model: Model,
    interrupt: &Interrupt,
    observer: &dyn Observer,
    done: impl FnMut(usize, Outcome),
) -> Result<Stats> {
    run_keeping(inputs, config, model, interrupt, observer, None, done)
}

/// As [`run`], with somebody who stores keyframes as they come.
pub fn run_keeping(
    inputs: &[String],
    config: &Config,
    model: Model,
    interrupt: &Interrupt,
    observer: &dyn Observer,
    keep: Option<&dyn Keep>,
    mut done: impl FnMut(usize, Outcome),
) -> Result<Stats> {
    let shared = Shared::new();
    let next = AtomicUsize::new(0);
    let Model { name, decoding, image, encoder, captioner, .. } = model;
    let options = config.told(&decoding);
    thread::scope(|scope| {
        let (to_encode, watched) = bounded::<Watched>(QUEUE);
        let (to_describe, seen) = bounded::<Seen>(QUEUE);
        let (to_collect, told) = bounded::<Told>(QUEUE);
        for _ in 0..config.jobs.clamp(1, inputs.len().max(1)) {
            let to_encode = to_encode.clone();
            let (next, shared) = (&next, &shared);
            scope.spawn(move || {
                loop {
                    let file = next.fetch_add(1, Ordering::Relaxed);
                    let Some(input) = inputs.get(file) else { return };
                    if interrupt.is_set() || shared.halt.is_set() {
                        return;
                    }
                    match keep.map_or(Ok(true), |k| k.begin(file)) {
                        Ok(true) => {}
                        Ok(false) => continue,
                        Err(e) => return shared.stop(e),
                    }
                    let end = watch(file, input, config, interrupt, shared, observer, None, &to_encode);
                    if to_encode.send(Watched::End(file, end)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(to_encode);
        let (shared, clock, image) = (&shared, &shared.clock, &image);
        let pictures =
            if keep.is_some() { config.thumbnail } else { ThumbnailOptions { width: 0, ..config.thumbnail } };
        scope.spawn(move || {
            shared.stage(&watched, |from| {
                encode(from, &to_describe, encoder()?.as_mut(), image, pictures, config, clock)
            });
        });
        scope.spawn(move || {
            shared
                .stage(&seen, |from| describe(from, &to_collect, captioner()?.as_mut(), keep.is_some(), config, clock));
        });
        shared.stage(&told, |from| collect(from, inputs, &name, &options, config, observer, keep, &mut done));
    });
    shared.end()
}

/// What the stages of one run share.
struct Shared {
    started: Instant,
    clock: Clock,
    /// Stops the watchers where a stage has failed.
    halt: Interrupt,
    fatal: Mutex<Option<Error>>,
}

impl Shared {
    fn new() -> Shared {
        Shared { started: Instant::now(), clock: Clock::default(), halt: Interrupt::new(), fatal: Mutex::new(None) }
    }

    /// The first error of those that concern all files wins, and stops the watchers.
    fn stop(&self, e: Error) {
        self.halt.set();
        if let Ok(mut first) = self.fatal.lock() {
            first.get_or_insert(e);
        }
    }

    /// Runs a stage to its end. Where it fails, what still comes is taken and dropped: those before it must not block on a
    /// stage that is gone.
    fn stage<T>(&self, from: &Receiver<T>, run: impl FnOnce(&Receiver<T>) -> Result<()>) {
        if let Err(e) = run(from) {
            self.stop(e);
            from.iter().for_each(drop);
        }
    }

    /// When every stage has ended.
    fn end(self) -> Result<Stats> {
        match self.fatal.into_inner() {
            Ok(Some(e)) => Err(e),
            _ => Ok(self.clock.stats(self.started.elapsed())),
        }
    }
}

/// Decodes one file and sends its keyframes. A `marker` hears of every frame, and may end it.
#[allow(clippy::too_many_arguments)]
fn watch(
    file: usize,
    input: &str,
    config: &Config,
    interrupt: &Interrupt,
    shared: &Shared,
    observer: &dyn Observer,
    mut marker: Option<&mut Marker<'_>>,
    out: &Sender<Watched>,
) -> End {
    let clock = &shared.clock;
    let failed = |error| End { end: Time::ZERO, damage: None, interrupted: false, lost: false, error: Some(error) };
    let stopped = |end| End { end, damage: None, interrupted: true, lost: false, error: None };
    let mut source = match Source::open(input, &config.decode, interrupt.clone()) {
        Ok(source) => source,
        Err(Error::Interrupted) => return stopped(Time::ZERO),
        Err(e) => return failed(e),
    };
    observer.opened(file, source.info());
    if out.send(Watched::Opened(file, Box::new(source.info().clone()))).is_err() {
        return stopped(Time::ZERO);
    }
    let _memory = match config.budget.film(input, source.info(), config.decode.threads) {
        Ok(held) => held,
        Err(e) => return failed(e),
    };
    let mut selector = KeyframeSelector::new(&config.scene, &config.keyframe);
    let mut last = Time::ZERO;
    let mut first = None;
    let mut error = None;
    loop {
        if shared.halt.is_set() {
            return stopped(last);
        }
        let busy = config.budget.decoding();
        let t = Instant::now();
        let next = source.next();
        Clock::add(&clock.decode, t);
        let frame = match next {
            Ok(Some(frame)) => frame,
            Ok(None) => break,
            Err(Error::Interrupted) => return stopped(last),
            Err(e) if clock.frames.load(Ordering::Relaxed) == 0 || first.is_none() => return failed(e),
            Err(e) => {
                error = Some(e);
                break;
            }
        };
        let t = Instant::now();
        let thumb = match frame.thumb() {
            Ok(thumb) => thumb,
            Err(e) => return failed(e),
        };
        Clock::add(&clock.analyse, t);
        let start = *first.get_or_insert(frame.time);
        last = frame.time;
        Clock::count(&clock.frames, 1);
        let t = Instant::now();
        let frame = Arc::new(frame);
        let keyframes = selector.push(thumb, frame.clone());
        let told = keyframes.len();
        Clock::add(&clock.scenes, t);
        drop(busy);
        observer.watched(file, last - start);
        for keyframe in keyframes {
            Clock::count(&clock.keyframes, 1);
            if out.send(Watched::Keyframe(file, keyframe)).is_err() {
                return stopped(last);
            }
        }
        if let Some(marker) = &mut marker
            && !marker.see(&frame, told, &selector, &source)
        {
            break;
        }
    }
    let end = source.end();
    if let Some(marker) = &mut marker
        && !marker.is_finished(&source)
    {
        observer.ended(file);
        return End {
            end,
            damage: error.map(|e| e.to_string()),
            interrupted: false,
            error: None,
            lost: source.is_lost(),
        };
    }
    for keyframe in selector.finish(end) {
        Clock::count(&clock.keyframes, 1);
        if out.send(Watched::Keyframe(file, keyframe)).is_err() {
            return stopped(last);
        }
    }
    clock.media.fetch_add((end - first.unwrap_or(end)).micros().max(0) as u64, Ordering::Relaxed);
    observer.ended(file);
    let damage = source.damage();
    let mut words = (!damage.is_clean()).then(|| damage.to_string());
    if let Some(e) = error {
        words = Some(words.map_or(e.to_string(), |w| format!("{w}; {e}")));
    }
    End { end, damage: words, interrupted: false, lost: source.is_lost(), error: None }
}

/// The next message, waiting at most until `deadline` where there is one. `None`: time to run what is there.
fn receive<T>(from: &Receiver<T>, deadline: Option<Instant>) -> std::result::Result<Option<T>, ()> {
    match deadline {
        None => from.recv().map(Some).map_err(drop),
        Some(at) => match from.recv_deadline(at) {
            Ok(message) => Ok(Some(message)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(()),
        },
    }
}

/// Pictures into embeddings, in batches that fill across scenes and files.
fn encode(
    from: &Receiver<Watched>,
    to: &Sender<Seen>,
    encoder: &mut dyn Encode,
    spec: &ImageSpec,
    thumbnails: ThumbnailOptions,
    config: &Config,
    clock: &Clock,
) -> Result<()> {
    // Messages in order of arrival; pictures wait for their batch, what stands between them waits with them.
    let mut waiting: VecDeque<Seen> = VecDeque::new();
    let mut pixels = Vec::new();
    let mut deadline: Option<Instant> = None;
    loop {
        let message = receive(from, deadline);
        let closed = message.is_err();
        let mut run = closed || matches!(message, Ok(None));
        match message {
            Ok(Some(Watched::Opened(file, info))) => waiting.push_back(Seen::Opened(file, info)),
            Ok(Some(Watched::End(file, end))) => {
                waiting.push_back(Seen::End(file, end));
                run |= config.jobs <= 1;
            }
            Ok(Some(Watched::Keyframe(file, keyframe))) => {
                let (moment, picture) = part(keyframe);
                let mut look = Look { moment, encoded: None, caption: None, fault: None, thumbnail: None };
                if !look.moment.blank {
                    let _busy = config.budget.working();
                    let t = Instant::now();
                    let rgb = picture.to_rgb_within(spec.size.saturating_mul(DETAIL).min(LONGEST_SIDE));
                    drop(picture);
                    match rgb {
                        Ok(rgb) => {
                            pixels.push(preprocess(&rgb, spec));
                            // A place holder: the embedding is filled in when the batch has run.
                            look.encoded = Some(Encoded { embedding: Vec::new(), grid: None });
                            look.thumbnail = thumbnail(&rgb, thumbnails);
                        }
                        Err(e) => look.fault = Some(e.to_string()),
                    }
                    Clock::add(&clock.prepare, t);
                }
                waiting.push_back(Seen::Picture(file, Box::new(look)));
            }
            _ => {}
        }
        if pixels.is_empty() {
            run = true;
        } else if deadline.is_none() {
            deadline = Some(Instant::now() + config.flush);
        }
        if run || pixels.len() >= config.encode_batch.max(1) || waiting.len() >= 4 * QUEUE {
            if !pixels.is_empty() {
                let busy = config.budget.running();
                let t = Instant::now();
                let encoded = encoder.encode(&pixels)?;
                drop(busy);
                Clock::add(&clock.encode, t);
                Clock::count(&clock.encoded, pixels.len());
                Clock::count(&clock.encode_batches, 1);
                pixels.clear();
                let mut encoded = encoded.into_iter();
                for message in &mut waiting {
                    if let Seen::Picture(_, look) = message
                        && let Some(place) = &mut look.encoded
                        && let Some(e) = encoded.next()
                    {
                        *place = e;
                    }
                }
            }
            deadline = None;
            for message in waiting.drain(..) {
                if to.send(message).is_err() {
                    return Ok(());
                }
            }
        }
        if closed {
            return Ok(());
        }
    }
}

fn part<T>(k: Keyframe<T>) -> (Moment, T) {
    let moment = Keyframe {
        scene: k.scene,
        start: k.start,
        end: k.end,
        time: k.time,
        index: k.index,
        start_frame: k.start_frame,
        end_frame: k.end_frame,
        transition: k.transition,
        blank: k.blank,
        quality: k.quality,
        picture: (),
    };
    (moment, k.picture)
}

/// What one file has shown so far.
struct Shown {
    dedup: Dedup,
    captions: HashMap<u32, Caption>,
}

/// Captions of one batch.
fn speak(captioner: &mut dyn Captions, pictures: &[&Encoded], config: &Config, clock: &Clock) -> Result<Vec<Caption>> {
    let _busy = config.budget.running();
    let t = Instant::now();
    let captions = captioner.caption(pictures)?;
    Clock::add(&clock.caption, t);
    Clock::count(&clock.captions, captions.len());
    Clock::count(&clock.caption_batches, 1);
    Ok(captions)
}

/// Embeddings into captions: only what is new is captioned.
fn describe(
    from: &Receiver<Seen>,
    to: &Sender<Told>,
    captioner: &mut dyn Captions,
    keeping: bool,
    config: &Config,
    clock: &Clock,
) -> Result<()> {
    let mut files: HashMap<usize, Shown> = HashMap::new();
    let fresh_file = || Shown { dedup: Dedup::new(&config.dedup), captions: HashMap::new() };
    let mut waiting: VecDeque<Told> = VecDeque::new();
    // What is to be captioned: file, distinct scene, embedding.
    let mut fresh: Vec<(usize, u32, Encoded)> = Vec::new();
    let mut deadline: Option<Instant> = None;
    loop {
        let message = receive(from, deadline);
        let closed = message.is_err();
        let mut run = closed || matches!(message, Ok(None));
        match message {
            Ok(Some(Seen::Opened(file, info))) => waiting.push_back(Told::Opened(file, info)),
            Ok(Some(Seen::End(file, end))) => {
                waiting.push_back(Told::End(file, end));
                run |= config.jobs <= 1;
            }
            Ok(Some(Seen::Picture(file, look))) => {
                let Look { moment, encoded, caption, fault, thumbnail } = *look;
                let mut said = Said {
                    moment,
                    embedding: None,
                    thumbnail,
                    caption: None,
                    similarity: None,
                    repeats: false,
                    distinct: None,
                    fault,
                };
                if let Some(encoded) = encoded {
                    let shown = files.entry(file).or_insert_with(fresh_file);
                    let unit = encoded.unit();
                    let judgement = shown.dedup.weigh(&unit);
                    said.embedding = keeping.then_some(unit);
                    said.similarity = judgement.previous;
                    said.distinct = Some(judgement.verdict.id());
                    said.repeats = !judgement.verdict.is_new();
                    match caption {
                        _ if !judgement.verdict.is_new() => {}
                        Some(caption) => drop(shown.captions.insert(judgement.verdict.id(), caption)),
                        None => fresh.push((file, judgement.verdict.id(), encoded)),
                    }
                }
                waiting.push_back(Told::Scene(file, Box::new(said)));
            }
            _ => {}
        }
        if fresh.is_empty() {
            run = true;
        } else if deadline.is_none() {
            deadline = Some(Instant::now() + config.flush);
        }
        if run || fresh.len() >= config.caption_batch.max(1) || waiting.len() >= 8 * QUEUE {
            if !fresh.is_empty() {
                let pictures: Vec<&Encoded> = fresh.iter().map(|(_, _, e)| e).collect();
                let captions = speak(captioner, &pictures, config, clock)?;
                for ((file, id, _), caption) in fresh.drain(..).zip(captions) {
                    if let Some(shown) = files.get_mut(&file) {
                        shown.captions.insert(id, caption);
                    }
                }
            }
            deadline = None;
            for mut message in waiting.drain(..) {
                match &mut message {
                    Told::Scene(file, said) => {
                        if let (Some(id), Some(shown)) = (said.distinct, files.get_mut(file)) {
                            said.caption = shown.captions.get(&id).cloned();
                        }
                    }
                    Told::End(file, _) => {
                        files.remove(file);
                    }
                    Told::Opened(..) => {}
                }
                if to.send(message).is_err() {
                    return Ok(());
                }
            }
            // What dedup has forgotten cannot return.
            for shown in files.values_mut() {
                let dedup = &shown.dedup;
                shown.captions.retain(|id, _| dedup.remembers(*id));
            }
        }
        if closed {
            return Ok(());
        }
    }
}

/// One file on its way to a track.
struct Growing {
    info: Option<StreamInfo>,
    builder: CueBuilder,
    cues: Vec<Cue>,
    scenes: Vec<SceneRecord>,
    first_said: HashMap<u32, usize>,
    faults: u64,
    fault: Option<String>,
}

impl Growing {
    /// No scene will follow, and the film goes on at least until `end`.
    fn finish(&mut self, end: Time) {
        let last = self.scenes.last().map_or(Time::ZERO, |s| s.end);
        self.cues.extend(self.builder.finish(end.max(last)));
    }
}

#[allow(clippy::too_many_arguments)]
fn collect(
    from: &Receiver<Told>,
    inputs: &[String],
    model: &str,
    options: &Value,
    config: &Config,
    observer: &dyn Observer,
    keep: Option<&dyn Keep>,
    done: &mut impl FnMut(usize, Outcome),
) -> Result<()> {
    let mut growing: HashMap<usize, Growing> = HashMap::new();
    let fresh = || Growing {
        info: None,
        builder: CueBuilder::new(&config.cue),
        cues: Vec::new(),
        scenes: Vec::new(),
        first_said: HashMap::new(),
        faults: 0,
        fault: None,
    };
    let track = |file: usize, g: Growing, damage: Option<String>, interrupted: bool| Track {
        input: inputs.get(file).cloned().unwrap_or_default(),
        info: g.info,
        model: model.to_string(),
        damage,
        interrupted,
        options: options.clone(),
        cues: g.cues,
        scenes: g.scenes,
    };
    for message in from {
        match message {
            Told::Opened(file, info) => growing.entry(file).or_insert_with(fresh).info = Some(*info),
            Told::Scene(file, said) => {
                let g = growing.entry(file).or_insert_with(fresh);
                let position = g.scenes.len();
                let first = said.distinct.map(|id| *g.first_said.entry(id).or_insert(position));
                let (m, caption) = (&said.moment, said.caption.as_ref());
                let say = caption.is_some_and(|c| c.score.is_none_or(|s| s >= config.min_score));
                g.cues.extend(g.builder.push(Described {
                    start: m.start,
                    end: m.end,
                    text: caption.filter(|_| say).map(|c| c.text.clone()),
                }));
                g.scenes.push(SceneRecord {
                    scene: m.scene + 1,
                    start: m.start,
                    end: m.end,
                    start_frame: m.start_frame,
                    end_frame: m.end_frame,
                    keyframe: m.time,
                    transition: m.transition.name(),
                    text: caption.map(|c| c.text.clone()),
                    said: say,
                    score: caption.and_then(|c| c.score),
                    mean_logprob: caption.map(|c| c.mean_logprob),
                    similarity: said.similarity,
                    repeats: first.filter(|_| said.repeats),
                    blank: m.blank,
                });
                if let (Some(keep), Some(record)) = (keep, g.scenes.last()) {
                    let record = record.clone();
                    keep.scene(file, Kept { record, embedding: said.embedding, thumbnail: said.thumbnail })?;
                }
                if let Some(fault) = said.fault {
                    g.faults += 1;
                    g.fault.get_or_insert(fault);
                }
                observer.cues(file, g.cues.len());
            }
            Told::End(file, end) => {
                let mut g = growing.remove(&file).unwrap_or_else(fresh);
                g.finish(if end.interrupted { Time::ZERO } else { end.end });
                observer.cues(file, g.cues.len());
                let mut damage = end.damage;
                if let Some(fault) = &g.fault {
                    let words = format!("{} keyframes could not be converted ({fault})", g.faults);
                    damage = Some(damage.map_or(words.clone(), |d| format!("{d}, {words}")));
                }
                let usable = end.error.is_none() && !(end.interrupted && g.scenes.is_empty());
                let track = usable.then(|| track(file, g, damage, end.interrupted));
                done(file, Outcome { track, error: end.error, cut_short: end.lost.then_some(CutShort::Connection) });
            }
        }
    }
    // A stage before this one failed: what was described until then is not lost.
    let mut cut_short: Vec<_> = growing.into_iter().filter(|(_, g)| !g.scenes.is_empty()).collect();
    cut_short.sort_by_key(|(file, _)| *file);
    for (file, mut g) in cut_short {
        g.finish(Time::ZERO);
        let until = g.scenes.last().map_or(Time::ZERO, |s| s.end);
        let damage = format!("the model failed after {until}");
        done(
            file,
            Outcome { track: Some(track(file, g, Some(damage), false)), error: None, cut_short: Some(CutShort::Model) },
        );
    }
    Ok(())
}
