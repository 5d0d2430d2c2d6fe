//! One stream's thread: connects, decodes, places frames on the stream's clock, chooses keyframes, and reconnects after
//! each loss.
//!
//! Memory: two decoded frames beside the decoder's own, and twice as many as a prompt has where it has several. Some sound.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::access::access;
use super::catch_up::CatchUp;
use super::connection::Connection;
use super::event::{EventKind, LiveAudio, Reason};
use super::inbox::Inbox;
use super::metrics::{DropReason, Stage};
use super::source::SourceKind;
use super::stream::{LiveStream, QueuedKeyframe};
use super::text::{LookFrame, TextFeed, TextInbox};
use super::timeline::Timeline;
use crate::address::hide;
use crate::error;
use crate::error::panic_text;
use crate::interrupt::Interrupt;
use crate::isolate::{FrameSource, Isolation};
use crate::media::{Advance, Bars, DecodeOptions, Frame, ProgrammeChunk, Rgb, StreamFault, StreamInfo};
use crate::model::PictureDemand;
use crate::pipeline::budget::FilmNeed;
use crate::scene::{LiveKeyframe, Watcher};
use crate::speech::{SpeechDetector, SpeechMonitor};
use crate::time::Time;

/// How often a waiting thread checks whether to stop.
const NAP: Duration = Duration::from_millis(20);
/// How often progress is reported.
const REPORT: Duration = Duration::from_millis(500);
/// A source must end this close to its announced end to have ended for good.
const END: Time = Time::from_millis(2_000);
/// A server sends a stream at its own pace, and at first up to this much more. A clock that is further ahead has jumped.
const AHEAD: Time = Time::from_millis(10_000);
/// Damage spreads from frame to frame, at most until the next keyframe: no frame is used for this long after it …
const HEAL: Time = Time::from_millis(1_000);
/// … unless no other frame arrived for this long.
const BLIND: Time = Time::from_millis(3_000);

/// Why a connection ended.
struct Outage {
    fault: StreamFault,
    /// The source has ended and will not return.
    is_final: bool,
}

impl From<StreamFault> for Outage {
    fn from(fault: StreamFault) -> Outage {
        Outage { fault, is_final: false }
    }
}

/// A connection that is being read.
struct OpenSource<'d> {
    source: FrameSource,
    /// None if there is no sound, or nothing waits for a pause.
    speech: Option<SpeechMonitor<'d>>,
    /// The announced end. A source that announces its length has an end.
    end: Option<Time>,
    /// The last frame's time by the source.
    reached: Time,
    /// Packets up to the last frame.
    packets: u64,
    /// When playback began, and with which time.
    playback: Option<(Instant, Time)>,
    catch_up: CatchUp,
    skipped: u64,
}

/// Frames that may show damage. An encoder repairs it with its next keyframe.
#[derive(Default)]
struct DamageFilter {
    /// The last damage that no keyframe has repaired.
    damaged: Option<Time>,
    /// The last frame that was let through.
    sound: Time,
}

impl DamageFilter {
    fn rejects(&mut self, frame: &Frame) -> bool {
        if frame.is_damaged() {
            self.damaged = Some(frame.time);
        } else if frame.is_key() {
            self.damaged = None;
        }
        let doubtful = self.damaged.is_some_and(|at| frame.time - at < HEAL) && frame.time - self.sound < BLIND;
        if !doubtful {
            self.sound = frame.time;
        }
        doubtful
    }
}

/// The state of one stream's thread.
pub(super) struct StreamWatcher<'a> {
    stream: &'a LiveStream,
    inbox: &'a Inbox<QueuedKeyframe>,
    halt: Interrupt,
    decode: DecodeOptions,
    isolation: Option<Isolation>,
    /// How many pictures a keyframe has, and how large they are.
    pictures: PictureDemand,
    bars: Bars,
    timeline: Timeline,
    chooser: Watcher<Arc<Frame>>,
    damage: DamageFilter,
    /// Chooses the frames in which text is read; none if it is not.
    text: Option<TextFeed>,
    /// Loaded with the first connection that has sound.
    detector: Option<SpeechDetector>,
    /// When progress was reported last.
    reported: Option<Instant>,
}

impl<'a> StreamWatcher<'a> {
    pub(super) fn new(
        stream: &'a LiveStream,
        inbox: &'a Inbox<QueuedKeyframe>,
        halt: Interrupt,
        (decode, isolation): (DecodeOptions, Option<Isolation>),
        (pictures, bars): (PictureDemand, Bars),
        text: Option<Arc<TextInbox<LookFrame>>>,
    ) -> StreamWatcher<'a> {
        StreamWatcher {
            stream,
            inbox,
            halt,
            decode,
            isolation,
            pictures,
            bars,
            timeline: Timeline::new(),
            chooser: Watcher::new(&stream.config.watcher).with_spread(pictures.count),
            damage: DamageFilter::default(),
            text: text.map(TextFeed::new),
            detector: None,
            reported: None,
        }
    }

    /// Connects again and again, until it is asked to stop or the source has ended for good. A panic costs this stream alone.
    pub(super) fn run(self) {
        let stream = self.stream;
        // Nothing of the watcher is used again. What it shares with others is behind locks that survive a panic.
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.watch())) {
            stream.give_up(&panic_text(panic.as_ref()));
        }
    }

    fn watch(mut self) {
        let stream = self.stream;
        loop {
            stream.connection(Connection::connecting);
            let Outage { fault, is_final } = self.watch_connection();
            stream.metrics.heartbeat(stream.position, false);
            if let Some(keyframe) = self.chooser.flush() {
                self.submit(keyframe);
            }
            let reason = Reason::from(&fault);
            let mut wait = Duration::ZERO;
            stream.connection(|c| {
                let (change, next) = c.failed(reason, fastrand::f64());
                wait = next;
                Some(change)
            });
            if fault == StreamFault::Stopped || self.halt.is_set() {
                return;
            }
            let cause = hide(&fault.to_string());
            if is_final || stream.config.kind.ends() {
                if fault != StreamFault::Ended {
                    stream.set_failed();
                    stream.warn(&cause);
                }
                return;
            }
            stream.warn(&format!("{cause}; next try in {:.1} s", wait.as_secs_f64()));
            if !self.wait_until(Instant::now() + wait) {
                return;
            }
            if let Some(counters) = stream.counters() {
                counters.reconnect(reason);
            }
        }
    }

    /// Reads one connection until it ends.
    fn watch_connection(&mut self) -> Outage {
        let stream = self.stream;
        let (access, isolation) = (access(&stream.config), self.isolation.as_ref());
        let mut source = match FrameSource::connect(&access, &self.decode, isolation, self.halt.clone()) {
            Ok(source) => source,
            Err(fault) => return fault.into(),
        };
        let (decode_threads, spread) = (self.decode.threads, self.pictures.count);
        if isolation.is_some() {
            source.guard(Arc::new(FilmNeed {
                decode_threads,
                spread,
                isolated: true,
                text: self.text.as_ref().map_or(0, |_| TextFeed::FRAMES),
            }));
        }
        self.timeline.reconnected();
        stream.connection(|c| c.connected(Instant::now()));
        let info = source.info();
        tracing::info!(stream = &*stream.config.name, "connected: {} {}×{}", info.codec, info.width, info.height);
        let mut detector = self.load_detector(info);
        let mut open = OpenSource {
            speech: detector.as_mut().map(SpeechMonitor::new),
            end: info.duration.map(Time::from_secs),
            source,
            reached: Time::ZERO,
            packets: 0,
            playback: None,
            catch_up: CatchUp::new(Instant::now()),
            skipped: 0,
        };
        let outage = loop {
            if let Err(outage) = self.advance(&mut open) {
                // Keyframes may come of frames that are still held.
                open.source.retire();
                break outage;
            }
        };
        drop(open);
        self.detector = detector;
        outage
    }

    /// The detector of speech, if the connection has sound in which to find it.
    fn load_detector(&mut self, info: &StreamInfo) -> Option<SpeechDetector> {
        if let Some(fault) = &info.side_track_fault {
            self.stream.warn(&format!("{fault}; descriptions do not wait for pauses"));
        }
        if !info.has_side_track() || self.stream.config.wait_for_pause.is_zero() {
            return None;
        }
        self.detector.take().or_else(|| {
            let loaded = SpeechMonitor::detector();
            loaded.inspect_err(|e| self.stream.warn(&format!("{e}; descriptions do not wait for pauses"))).ok()
        })
    }

    /// Publishes sound in its place on the stream's clock. Before the first frame, it has none.
    fn publish_audio(&self, programme: &[ProgrammeChunk]) {
        for chunk in programme {
            if let Some(start) = self.timeline.time_of(chunk.pts) {
                let sound = LiveAudio { start, samples: chunk.samples.as_slice().into() };
                self.stream.publish(EventKind::Audio(sound));
            }
        }
    }

    /// Finds out from the sound that has arrived whether somebody talks.
    fn follow_speech(&self, open: &mut OpenSource<'_>) {
        while let Some(data) = open.source.take_side_track() {
            self.publish_audio(&data.programme);
            let Some(speech) = &mut open.speech else { continue };
            let now = Instant::now();
            match speech.push(&data, now) {
                Ok(talked) => talked.into_iter().for_each(|at| self.stream.talked(at)),
                Err(e) => {
                    self.stream.warn(&format!("{e}; descriptions do not wait for pauses"));
                    open.speech = None;
                }
            }
            self.stream.metrics.stage_seconds(Stage::Speech, now.elapsed());
        }
    }

    /// Reads one packet, and the frame that it completes.
    fn advance(&mut self, open: &mut OpenSource<'_>) -> Result<(), Outage> {
        let stream = self.stream;
        let began = Instant::now();
        stream.metrics.heartbeat(stream.position, true);
        let waited = open.source.waited();
        let advanced = open.source.advance();
        self.follow_speech(open);
        match advanced {
            Ok(Advance::Frame(mut frame)) => {
                open.packets = open.source.packets();
                open.reached = frame.time;
                let playback = *open.playback.get_or_insert((Instant::now(), frame.time));
                if stream.config.kind.ends() {
                    self.hold_back(&mut frame, playback)?;
                }
                self.process(frame)?;
            }
            Ok(Advance::Packet) => {
                let busy = began.elapsed().saturating_sub(open.source.waited() - waited);
                stream.metrics.stage_seconds(Stage::Decode, busy);
            }
            Err(StreamFault::Ended) => return Err(self.ended(open)),
            Err(fault) => return Err(fault.into()),
        }
        // The source itself detects that no packet arrives.
        if stream.is_silent(Instant::now()) {
            if open.source.packets() == open.packets {
                let cause = format!("only sound came for {} s", stream.config.silence.as_secs_f64());
                return Err(StreamFault::Silent(cause).into());
            }
            let damage = open.source.damage();
            let cause = if damage.is_clean() { "no frame comes of it".into() } else { damage.to_string() };
            return Err(StreamFault::Undecodable(cause).into());
        }
        if !stream.config.kind.ends() {
            self.keep_up(open);
        }
        Ok(())
    }

    /// The source reports its end.
    fn ended(&self, open: &OpenSource<'_>) -> Outage {
        let own_pace = matches!(self.stream.config.kind, SourceKind::File | SourceKind::Http);
        // A clock that has jumped says nothing about the end.
        let is_credible = own_pace
            || open.playback.is_some_and(|(start, first)| {
                let played = Time::from_secs(start.elapsed().as_secs_f64());
                open.reached - first <= played + AHEAD
            });
        let is_final = is_credible && open.end.is_some_and(|end| open.reached >= end - END);
        // FFmpeg reports the same when the peer is gone: a source that never ends has not ended in order.
        let in_order = is_final || own_pace;
        let fault = if in_order { StreamFault::Ended } else { StreamFault::Lost("the other side closed it".into()) };
        Outage { fault, is_final }
    }

    /// Holds a file's frame back until it is due at the file's own pace.
    fn hold_back(&self, frame: &mut Frame, (start, first): (Instant, Time)) -> Result<(), Outage> {
        let since = Duration::from_micros((frame.time - first).micros().max(0) as u64);
        if !self.wait_until(start + since) {
            return Err(Outage { fault: StreamFault::Stopped, is_final: true });
        }
        frame.arrived = Some(Instant::now());
        Ok(())
    }

    /// False where it is asked to stop.
    fn wait_until(&self, due: Instant) -> bool {
        loop {
            if self.halt.is_set() {
                return false;
            }
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            std::thread::sleep(left.min(NAP));
        }
    }

    /// A reader that has fallen behind skips to keyframes, so that its lag does not grow.
    fn keep_up(&self, open: &mut OpenSource<'_>) {
        let more = open.source.skipped() - open.skipped;
        if more > 0 {
            open.skipped += more;
            self.stream.skip(more);
        }
        if let Some(skipping) = open.catch_up.tick(Instant::now(), open.source.waited()) {
            open.source.set_keyframes_only(skipping);
            self.stream.warn(if skipping {
                "frames arrive faster than they are decoded: skipping some"
            } else {
                "decoding keeps up again"
            });
        }
    }

    /// Places a frame on the stream's clock, and lets the chooser inspect it.
    fn process(&mut self, mut frame: Frame) -> Result<(), StreamFault> {
        let stream = self.stream;
        let now = Instant::now();
        let arrived = *frame.arrived.get_or_insert(now);
        let wall =
            SystemTime::now().checked_sub(now.saturating_duration_since(arrived)).unwrap_or_else(SystemTime::now);
        let placed = self.timeline.place(frame.pts, arrived, wall);
        frame.time = placed.time;
        if let Some(counters) = stream.counters() {
            counters.frame_in();
        }
        stream.connection(|c| c.frame(now));
        if let Some(mapping) = placed.mapping {
            stream.publish(EventKind::Clock(mapping));
        }
        let (not_before, wants_another) = stream.frame(placed.time, self.timeline.wall(placed.time));
        if wants_another {
            self.chooser.again();
        }
        if self.damage.rejects(&frame) {
            stream.count_dropped(DropReason::Decode, 1);
        } else {
            let thumb = frame.thumb().map_err(|e| StreamFault::Undecodable(e.to_string()))?;
            let frame = Arc::new(frame);
            let keyframe = self.chooser.push(thumb, frame.clone(), not_before);
            stream.metrics.stage_seconds(Stage::Scene, now.elapsed());
            if let Some(keyframe) = keyframe {
                self.submit(keyframe);
            }
            if let Some(text) = &mut self.text {
                let wall = self.timeline.wall(placed.time);
                text.push(stream, &frame, wall).map_err(|e| StreamFault::Undecodable(e.to_string()))?;
            }
        }
        if self.reported.is_none_or(|at| now.saturating_duration_since(at) >= REPORT) {
            self.reported = Some(now);
            stream.report_progress(self.chooser.waiting_since(), |time| self.timeline.wall(time));
        }
        Ok(())
    }

    /// A frame's picture, and the part of it that models see, if that is not all of it.
    fn convert(&self, frame: &Frame) -> error::Result<(Arc<Rgb>, Option<Arc<Rgb>>)> {
        let longest = self.pictures.longest;
        let whole = frame.to_rgb_within(longest)?;
        let inside = frame.to_rgb_inside(self.bars, &whole, longest)?;
        Ok((Arc::new(whole), inside.map(Arc::new)))
    }

    /// Queues a keyframe to be described.
    fn submit(&self, keyframe: LiveKeyframe<Arc<Frame>>) {
        let stream = self.stream;
        let LiveKeyframe { start, time, picture: frame, spread } = keyframe;
        let began = Instant::now();
        let pictures = spread.iter().map(|frame| {
            let (whole, inside) = self.convert(frame)?;
            Ok(inside.unwrap_or(whole))
        });
        let pictures = pictures.collect::<error::Result<Vec<_>>>();
        let ((picture, inside), spread) = match self.convert(&frame).and_then(|both| Ok((both, pictures?))) {
            Ok(pictures) => pictures,
            Err(e) => {
                stream.warn(&e.to_string());
                stream.count_dropped(DropReason::Decode, 1);
                return;
            }
        };
        stream.metrics.stage_seconds(Stage::Preprocess, began.elapsed());
        let arrived = frame.arrived.unwrap_or(began);
        let keyframe =
            QueuedKeyframe { start, time, wall: self.timeline.wall(start), arrived, picture, inside, spread };
        stream.open(start);
        if let Some(counters) = stream.counters() {
            counters.keyframe();
        }
        if let Some(oldest) = self.inbox.push(stream.position, keyframe) {
            let why = if self.halt.is_set() { DropReason::Stopped } else { DropReason::Overload };
            stream.drop_keyframe(&oldest, why);
        }
        if let Some(counters) = stream.counters() {
            counters.set_queue(self.inbox.depth(stream.position));
        }
    }
}
