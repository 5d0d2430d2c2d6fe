//! A live run: starts the threads, supervises them, and stops them within a bounded time.
//!
//! The caller's thread supervises. It notices streams that have gone quiet, streams that have ended, and a model that hangs;
//! and it stops everything when asked to.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::config::StreamConfig;
use super::describe::{DescriberJob, describe};
use super::event::Reason;
use super::hub::{Hub, LogLevel, Sink, SinkLog};
use super::inbox::Inbox;
use super::metrics::{DropReason, Metrics, ModelState};
use super::source::SourceKind;
use super::stream::{LiveStream, QueuedKeyframe};
use super::text::{LookFrame, TextInbox, TextReaderJob, read_text};
use super::watch::StreamWatcher;
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::isolate::Isolation;
use crate::media::{Bars, DecodeOptions, LONGEST_SIDE, load_camera_support};
use crate::message;
use crate::message::Setting;
use crate::model::{Model, PictureDemand};
use crate::ocr::TextModel;
use crate::track::dedup::DedupOptions;

/// Longest side of the pictures, in pixels, unless the model reads larger ones. The page shows them at this size.
const PICTURE_SIDE: u32 = 640;
/// How often the streams are checked.
const TICK: Duration = Duration::from_millis(20);
/// How long waiting keyframes may still be described after the stop …
const DESCRIBE_TIME: Duration = Duration::from_millis(800);
/// … how long the threads may take in all …
const JOIN_TIME: Duration = Duration::from_millis(1_800);
/// … and how long the outputs may take after that: together within the 3 s in which a service must stop.
const CLOSE_TIME: Duration = Duration::from_millis(700);
/// A hung model ends the run after this many times its limit.
const HANG_FACTOR: u32 = 2;

/// What all streams of a run share.
#[derive(Debug, Clone)]
pub struct LiveOptions {
    /// When two pictures show the same scene. Default: see [`DedupOptions`]; better is what the model's manifest measured.
    pub dedup: DedupOptions,
    /// Captions with a lower score are left out, from 0 to 1. Default: 0.
    pub min_score: f32,
    /// What happens to black bars before a model sees a picture. Outputs show them. Default: crop.
    pub bars: Bars,
    /// Most pictures in one inference. Default: 4.
    pub batch: usize,
    /// Frames with more pixels are refused. Default: that of [`DecodeOptions`].
    pub max_pixels: u64,
    /// Decodes each connection in a process of its own. Default: none, in this process.
    pub isolation: Option<Isolation>,
    /// An inference that takes longer counts as hung; the run ends after twice as long. Default: 30 s.
    pub hang: Duration,
}

impl Default for LiveOptions {
    fn default() -> LiveOptions {
        LiveOptions {
            dedup: DedupOptions::default(),
            min_score: 0.0,
            bars: Bars::default(),
            batch: 4,
            max_pixels: DecodeOptions::default().max_pixels,
            isolation: None,
            hang: Duration::from_secs(30),
        }
    }
}

/// Everything that a live run needs.
pub struct LiveJob {
    /// The streams; their names are unique.
    pub streams: Vec<StreamConfig>,
    /// The model that describes all of them.
    pub model: Model,
    /// What reads text, where a stream wants that. Default: the model is looked for where the run begins.
    pub text: Option<TextModel>,
    /// The outputs. Each gets a thread. Default: none.
    pub outputs: Vec<Box<dyn Sink>>,
    /// What the run counts; outputs such as the HTTP server show it.
    pub metrics: Arc<Metrics>,
    /// What all streams share.
    pub options: LiveOptions,
}

impl LiveJob {
    /// A job with the default options and no output yet.
    pub fn new(streams: Vec<StreamConfig>, model: Model) -> LiveJob {
        let metrics = Metrics::new(streams.iter().map(|s| s.name.clone()));
        LiveJob { streams, model, text: None, outputs: Vec::new(), metrics, options: LiveOptions::default() }
    }

    /// Settles the streams' own prompts.
    ///
    /// # Errors
    /// [`Error::Usage`] that names the first stream whose prompt is out of range, or which the model does not take.
    pub fn settle_prompts(&mut self) -> Result<()> {
        for stream in &mut self.streams {
            let Some(own) = stream.prompt.take() else { continue };
            let Some(prompt) = &self.model.prompt else {
                return Err(Error::usage(
                    format!("stream {} has a prompt, and {} takes none", stream.name, self.model.name),
                    message![
                        "Leave out the stream's prompt, language, notes and context, or name another ",
                        Setting::Model,
                        ": one in the hub's layout or on a server."
                    ],
                ));
            };
            let settled = prompt.settle(own).map_err(|e| e.at(&format!("stream {}", stream.name)))?;
            stream.prompt = Some(settled);
        }
        Ok(())
    }

    /// Finds what reads text, if a stream wants that.
    ///
    /// # Errors
    /// [`Error::Model`] if it is not there.
    pub fn settle_text(&mut self) -> Result<()> {
        if self.text.is_none() && self.streams.iter().any(|s| s.text.is_some()) {
            self.text = Some(TextModel::load()?);
        }
        Ok(())
    }

    /// The streams' names, as outputs need them.
    pub fn names(&self) -> Vec<Arc<str>> {
        self.streams.iter().map(|s| s.name.clone()).collect()
    }
}

/// How a run ended that nothing stopped as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveSummary {
    /// Streams that ended with an error.
    pub failed: usize,
    /// Outputs that could not write everything, such as files on a disk that is full to the end.
    pub incomplete: usize,
}

/// Describes all streams until they end or `interrupt` is set. A stream that fails reconnects, and affects no other.
///
/// # Errors
/// When a stream has a prompt that the model does not take, or something that all streams need fails: the model cannot be
/// loaded, fails or hangs, or its thread panics. A panic of a stream's thread costs that stream.
pub fn run(mut job: LiveJob, interrupt: &Interrupt) -> Result<LiveSummary> {
    job.settle_prompts()?;
    job.settle_text()?;
    if job.streams.iter().any(|s| s.kind == SourceKind::Camera) {
        load_camera_support()?;
    }
    let mut supervisor = Supervisor::start(job);
    let is_over = supervisor.supervise(interrupt);
    supervisor.stop();
    supervisor.finish(is_over.then_some(interrupt))
}

/// A stream and its thread; `None` once that is joined.
type WatchedStream = (Arc<LiveStream>, Option<JoinHandle<()>>);

/// The threads of a run.
struct Supervisor {
    streams: Vec<WatchedStream>,
    describer: Option<JoinHandle<Result<()>>>,
    /// Reads text; none if no stream wants that.
    reader: Option<JoinHandle<Result<()>>>,
    inbox: Arc<Inbox<QueuedKeyframe>>,
    text: Arc<TextInbox<LookFrame>>,
    hub: Arc<Hub>,
    metrics: Arc<Metrics>,
    /// Stops the streams' threads.
    halt: Interrupt,
    /// Ends the describer's waits, once it has had its time.
    give_up: Interrupt,
    hang: Duration,
    /// Whether the model hung at the last check.
    hung: bool,
    /// What ends the run with an error.
    fatal: Option<Error>,
}

impl Supervisor {
    fn start(job: LiveJob) -> Supervisor {
        let LiveJob { streams, model, text: text_model, outputs, metrics, options } = job;
        let hub = Arc::new(Hub::logged(outputs, metrics.clone(), sink_log()));
        let (inbox, text) = (Arc::new(Inbox::new(streams.len())), Arc::new(TextInbox::new(streams.len())));
        let (halt, give_up) = (Interrupt::new(), Interrupt::new());
        metrics.set_hang_limit(Some(options.hang));
        for (counters, s) in metrics.streams().iter().zip(&streams) {
            counters.set_stuck_limit(s.silence.saturating_add(options.hang));
        }
        let longest = PICTURE_SIDE.max(model.image.size.saturating_mul(2)).max(model.demand.longest).min(LONGEST_SIDE);
        let pictures = PictureDemand { longest, ..model.demand };
        let streams: Vec<Arc<LiveStream>> = streams
            .into_iter()
            .enumerate()
            .map(|(position, config)| Arc::new(LiveStream::new(config, position, hub.clone(), metrics.clone())))
            .collect();
        let describer = DescriberJob {
            streams: streams.clone(),
            inbox: inbox.clone(),
            metrics: metrics.clone(),
            dedup: options.dedup,
            min_score: options.min_score,
            batch: options.batch,
            interrupt: give_up.clone(),
        };
        let describer = std::thread::spawn(move || describe(model, describer));
        let reader = text_model.map(|model| {
            let job = TextReaderJob { streams: streams.clone(), inbox: text.clone(), model, metrics: metrics.clone() };
            std::thread::spawn(move || read_text(job))
        });
        let wants_audio = hub.wants_audio();
        let watch = |stream: Arc<LiveStream>| {
            let (shared, inbox, halt) = (stream.clone(), inbox.clone(), halt.clone());
            let (isolation, all_text) = (options.isolation.clone(), text.clone());
            let text = stream.config.text.map(|_| all_text.clone());
            let decode = decode_options(&stream.config, options.max_pixels, wants_audio);
            let thread = std::thread::spawn(move || {
                StreamWatcher::new(&shared, &inbox, halt, (decode, isolation), (pictures, options.bars), text).run();
                all_text.end(shared.position);
            });
            (stream, Some(thread))
        };
        let streams = streams.into_iter().map(watch).collect();
        let hang = options.hang;
        Supervisor {
            streams,
            describer: Some(describer),
            reader,
            inbox,
            text,
            hub,
            metrics,
            halt,
            give_up,
            hang,
            hung: false,
            fatal: None,
        }
    }

    /// Returns when all streams have ended, with true, or everything is to stop.
    fn supervise(&mut self, interrupt: &Interrupt) -> bool {
        loop {
            let sinks = self.metrics.sinks();
            // Nothing reads any output any more.
            let unread = !sinks.is_empty() && sinks.iter().all(|s| s.has_ended());
            let models_end = is_done(&self.describer) || self.reader.as_ref().is_some_and(JoinHandle::is_finished);
            if interrupt.is_set() || unread || models_end || self.model_hangs() {
                self.halt.set();
                return false;
            }
            let now = Instant::now();
            for (stream, thread) in &mut self.streams {
                stream.connection(|c| c.tick(now));
                stream.publish_due(now);
                // The stream ends when all that it showed is described.
                if is_done(thread) && thread.is_some() && !stream.has_open() {
                    join(thread.take(), &mut self.fatal);
                    stream.end();
                }
            }
            if self.streams.iter().all(|(_, thread)| thread.is_none()) {
                return true;
            }
            std::thread::sleep(TICK);
        }
    }

    /// Logs when the model hangs and when it recovers. True when it has hung for too long.
    fn model_hangs(&mut self) -> bool {
        let busy = self.metrics.inference_time();
        if self.metrics.is_hung() != self.hung {
            self.hung = !self.hung;
            if self.hung {
                tracing::error!("the model has been busy with one inference for {} s", busy.as_secs());
            } else {
                tracing::warn!("the model works again");
            }
        }
        if busy < self.hang.saturating_mul(HANG_FACTOR) {
            return false;
        }
        let cause = format!("the model hangs: it has been busy with one inference for {} s", busy.as_secs());
        let remedy = message!["Start descry again. A slow machine may need a longer ", Setting::Hang, "."];
        self.fatal = Some(Error::broken(cause, remedy));
        true
    }

    /// Describes what waits if there is time, drops and counts the rest, and joins the threads.
    fn stop(&mut self) {
        self.streams.iter().for_each(|(stream, _)| stream.stop_waiting());
        let stopped = Instant::now();
        let wait = |most: Duration, done: &dyn Fn() -> bool| {
            while !done() && stopped.elapsed() < most {
                std::thread::sleep(TICK);
            }
        };
        wait(DESCRIBE_TIME, &|| self.watchers_done());
        self.inbox.close();
        for (position, _) in self.text.close() {
            self.streams[position].0.drop_look();
        }
        wait(DESCRIBE_TIME, &|| is_done(&self.describer) && is_done(&self.reader));
        self.give_up.set();
        for (position, keyframe) in self.inbox.abandon() {
            self.streams[position].0.drop_keyframe(&keyframe, DropReason::Stopped);
        }
        wait(JOIN_TIME, &|| self.watchers_done() && is_done(&self.describer) && is_done(&self.reader));
        let (describer, reader) = (take_done(&mut self.describer), take_done(&mut self.reader));
        for thread in reader.into_iter().chain(describer) {
            match thread.join() {
                Ok(Ok(())) => {}
                Ok(Err(e)) => self.fatal = Some(e),
                Err(_) => {
                    self.metrics.set_model(ModelState::Failed);
                    self.fatal = Some(panicked());
                }
            }
        }
    }

    /// Ends every stream and closes the outputs. With an interrupt, all streams have ended by themselves, and outputs that are
    /// busy are waited for.
    fn finish(mut self, is_over: Option<&Interrupt>) -> Result<LiveSummary> {
        for (stream, thread) in &mut self.streams {
            let Some(thread) = thread.take() else { continue };
            if thread.is_finished() {
                join(Some(thread), &mut self.fatal);
            } else {
                stream.connection(|c| Some(c.failed(Reason::Stopped, 0.0).0));
                stream.warn("does not stop; its thread is left behind");
            }
            if self.describer.is_some() {
                stream.drop_open();
            }
            stream.end();
        }
        if let Some(interrupt) = is_over.filter(|_| self.fatal.is_none()) {
            self.hub.settle(interrupt);
        }
        self.hub.close(CLOSE_TIME);
        let failed = self.streams.iter().filter(|(s, _)| s.has_failed()).count();
        let incomplete = self.metrics.sinks().iter().filter(|s| s.is_incomplete()).count();
        self.fatal.map_or(Ok(LiveSummary { failed, incomplete }), Err)
    }

    fn watchers_done(&self) -> bool {
        self.streams.iter().all(|(_, thread)| is_done(thread))
    }
}

/// Logs what happens to outputs.
fn sink_log() -> SinkLog {
    Arc::new(|level, output, text| match level {
        LogLevel::Info => tracing::info!(output, "{text}"),
        LogLevel::Warning => tracing::warn!(output, "{text}"),
    })
}

/// How a stream is decoded. `wants_audio`: whether an output wants its sound.
fn decode_options(stream: &StreamConfig, max_pixels: u64, wants_audio: bool) -> DecodeOptions {
    DecodeOptions {
        threads: stream.decode_threads,
        max_pixels,
        timeout: stream.silence,
        access: stream.access.clone(),
        low_delay: true,
        side_track: stream.side_track(wants_audio),
        programme: wants_audio,
        strokes: stream.text.is_some(),
        ..DecodeOptions::default()
    }
}

/// Whether a thread has finished, or is joined.
fn is_done<T>(thread: &Option<JoinHandle<T>>) -> bool {
    thread.as_ref().is_none_or(JoinHandle::is_finished)
}

/// A thread that has finished.
fn take_done<T>(thread: &mut Option<JoinHandle<T>>) -> Option<JoinHandle<T>> {
    thread.take_if(|thread| thread.is_finished())
}

fn join(watcher: Option<JoinHandle<()>>, fatal: &mut Option<Error>) {
    if watcher.is_some_and(|w| w.join().is_err()) {
        fatal.get_or_insert(panicked());
    }
}

fn panicked() -> Error {
    Error::broken("a thread of descry panicked", "Report this, with the messages before it.")
}
