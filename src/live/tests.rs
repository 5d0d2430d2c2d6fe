//! A week of two streams in simulated time: the clocks of cameras wrap, days change, passwords and certificates expire and
//! are renewed, and every minute something fails.
//!
//! Everything between a frame's arrival and the files is the real code, except the decoder and the model: frames come with
//! invented times, pictures are directions in a plane, and descriptions their numbers.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::config::StreamConfig;
use super::connection::Connection;
use super::event::{Event, EventKind, LiveCaption, Reason};
use super::hub::{Hub, Sink};
use super::metrics::Metrics;
use super::novelty::{Decision, Novelty, NoveltyOptions};
use super::sinks::existing::Existing;
use super::sinks::hls::{HlsOptions, HlsSink};
use super::sinks::vtt::{RotateWhen, Rotation, VttSink};
use super::stream::LiveStream;
use super::timeline::Timeline;
use crate::error::Result;
use crate::lock::lock;
use crate::time::Time;
use crate::track::{CueOptions, DedupOptions};
use crate::wall::{WallClock, rfc3339};

const DAY: u64 = 86_400;
const WEEK: Duration = Duration::from_secs(7 * DAY);
/// Two frames a second are enough to see what clocks do.
const STEP: Duration = Duration::from_millis(500);
/// A keyframe is chosen this often, and progress is reported.
const KEYFRAME: Time = Time::from_millis(40_000);
const REPORT: Duration = Duration::from_secs(10);
/// Scenes that the model remembers.
const REMEMBERED: usize = 32;

/// A camera's clock: 90 kHz, in so many bits.
struct CameraClock {
    bits: u32,
    /// Its ticks at `since`.
    ticks: u64,
    since: Duration,
}

impl CameraClock {
    fn count(&self, now: Duration) -> u64 {
        let passed = now.saturating_sub(self.since).as_micros() as u64 * 9 / 100;
        (self.ticks + passed) % (1 << self.bits)
    }

    fn pts(&self, now: Duration) -> Time {
        Time::from_micros((self.count(now) * 100 / 9) as i64)
    }

    fn set(&mut self, ticks: u64, now: Duration) {
        (self.ticks, self.since) = (ticks % (1 << self.bits), now);
    }
}

/// What happens in a minute.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// The connection fails so often, for this reason.
    Down(Reason, u32),
    /// No frame comes for this long.
    Silence(Duration),
    /// The camera's clock restarts, jumps an hour ahead, stands still, or is missing for some seconds.
    Restart,
    Jump,
    Freeze,
    NoTimes,
    /// Frames of four seconds arrive at once.
    Burst,
    /// This machine's clock is set so many milliseconds ahead, or back again, in turn.
    Correction(u64),
}

/// One for each minute; their number has no divisor in common with 60, so that each meets each minute of the hour.
const FAULTS: [Fault; 13] = [
    Fault::None,
    Fault::Down(Reason::Read, 1),
    // Nothing answers, or the certificate has expired and is renewed.
    Fault::Down(Reason::OpenRead, 3),
    // A wrong password, or a token that has expired and is renewed: 401, 403.
    Fault::Down(Reason::NotAuthorized, 2),
    Fault::Down(Reason::NotFound, 2),
    Fault::Silence(Duration::from_secs(12)),
    Fault::Silence(Duration::from_secs(3)),
    Fault::Restart,
    Fault::Jump,
    Fault::Freeze,
    Fault::NoTimes,
    Fault::Burst,
    Fault::Correction(700),
];

/// The stream's thread, without the decoder; and the describer, without the model.
struct SimulatedStream {
    stream: LiveStream,
    timeline: Timeline,
    novelty: Novelty,
    camera: CameraClock,
    /// When the week begins, and by how many milliseconds this machine's clock is ahead.
    began: SystemTime,
    off: u64,
    last: Option<Time>,
    keyframe: Time,
    scene: u32,
    reported: Duration,
    /// Attempts to connect.
    attempts: u64,
    resets: u64,
}

impl SimulatedStream {
    fn new(began: SystemTime, bits: u32, hub: &Arc<Hub>, metrics: &Arc<Metrics>) -> SimulatedStream {
        let config = StreamConfig { name: "door".into(), ..StreamConfig::new("rtsp://camera/x").unwrap() };
        let novelty = NoveltyOptions {
            dedup: DedupOptions { same: 0.999, returning: 0.9999, memory: REMEMBERED },
            every: Some(Time::from_millis(600_000)),
            min_interval: config.min_interval,
            min_score: 0.0,
        };
        SimulatedStream {
            stream: LiveStream::new(config, 0, hub.clone(), metrics.clone()),
            timeline: Timeline::new(),
            novelty: Novelty::new(novelty),
            // Shortly before it wraps.
            camera: CameraClock { bits, ticks: (1 << bits) - 90_000 * 1_000, since: Duration::ZERO },
            began,
            off: 0,
            last: None,
            keyframe: Time::ZERO,
            scene: 0,
            reported: Duration::ZERO,
            attempts: 0,
            resets: 0,
        }
    }

    fn wall(&self, now: Duration) -> SystemTime {
        let at = self.began + now;
        at + Duration::from_millis(self.off)
    }

    fn connect(&mut self, start: Instant, now: Duration) {
        self.attempts += 1;
        self.stream.connection(Connection::connecting);
        self.timeline.reconnected();
        self.stream.connection(|c| c.connected(start + now));
    }

    /// Loses the connection. Returns how long to wait.
    fn fail(&mut self, reason: Reason) -> Duration {
        let mut wait = Duration::ZERO;
        self.stream.connection(|c| {
            let (change, next) = c.failed(reason, 0.3);
            wait = next;
            Some(change)
        });
        wait
    }

    /// A frame arrives, as in `watch::StreamWatcher::process`.
    fn frame(&mut self, start: Instant, now: Duration, pts: Option<Time>) {
        let arrived = start + now;
        let placed = self.timeline.place(pts, arrived, self.wall(now));
        assert!(self.last.is_none_or(|last| placed.time > last), "time goes back at {now:?}");
        self.last = Some(placed.time);
        self.stream.connection(|c| c.frame(arrived));
        if let Some(mapping) = placed.mapping {
            self.resets += 1;
            self.stream.publish(EventKind::Clock(mapping));
        }
        let wall = self.timeline.wall(placed.time);
        let (not_before, again) = self.stream.frame(placed.time, wall);
        if placed.time >= not_before && (again || placed.time - self.keyframe >= KEYFRAME) {
            self.keyframe = placed.time;
            self.describe(arrived, placed.time, wall);
        }
        if now - self.reported >= REPORT {
            self.reported = now;
            let timeline = &self.timeline;
            self.stream.report_progress(None, |time| timeline.wall(time));
        }
    }

    /// As in `describe::DescribeLoop`.
    fn describe(&mut self, arrived: Instant, time: Time, wall: SystemTime) {
        self.stream.open(time);
        self.scene += 1;
        // New scenes, scenes that continue, and scenes that return.
        let angle = [self.scene, self.scene - 1, self.scene % 7][self.scene as usize % 3] as f32 * 0.37;
        let unit = [angle.cos(), angle.sin()];
        let words = match self.novelty.judge(&unit, time) {
            Decision::Skip => None,
            Decision::Repeat { text, score } => Some((text, score, true)),
            Decision::Describe(id) => {
                let text = format!("scene number {} of this camera", self.scene);
                self.novelty.described(id, &text, None, time).map(|text| (text, None, false))
            }
        };
        if let Some((text, score, returning)) = words {
            let jpeg = Arc::new([]);
            let (due, waited) = (time, Duration::ZERO);
            let caption = LiveCaption {
                start: time,
                picture_time: time,
                due,
                wall,
                arrived,
                waited,
                text,
                score,
                returning,
                screen_text: Arc::new([]),
                jpeg,
            };
            self.stream.publish(EventKind::Caption(caption));
        }
        self.stream.close(time, self.novelty.not_before());
        assert!(!self.stream.has_open());
    }

    /// Frames at their times, until `end`.
    fn play(&mut self, start: Instant, now: &mut Duration, end: Duration) {
        while *now < end {
            *now += STEP;
            let pts = self.camera.pts(*now);
            self.frame(start, *now, Some(pts));
            self.stream.connection(|c| c.tick(start + *now));
        }
    }

    /// No frames, until `end`. A connection that is silent for too long is given up, and made anew.
    fn stay_silent(&mut self, start: Instant, now: &mut Duration, end: Duration) {
        while *now < end {
            *now += STEP;
            self.stream.connection(|c| c.tick(start + *now));
            if self.stream.is_silent(start + *now) {
                *now += self.fail(Reason::Timeout);
                self.connect(start, *now);
            }
        }
    }

    /// A minute with a fault at its beginning.
    fn minute(&mut self, start: Instant, now: &mut Duration, fault: Fault) {
        let (end, seconds) = (*now + Duration::from_secs(60), Duration::from_secs(5));
        match fault {
            Fault::None => {}
            Fault::Down(reason, times) => {
                for _ in 0..times {
                    let wait = self.fail(reason);
                    assert!(wait <= Duration::from_secs(300));
                    *now += wait;
                    self.attempts += 1;
                    self.stream.connection(Connection::connecting);
                }
                self.connect(start, *now);
            }
            Fault::Silence(time) => self.stay_silent(start, now, *now + time),
            Fault::Restart => self.camera.set(0, *now),
            Fault::Jump => self.camera.set(self.camera.count(*now) + 3_600 * 90_000, *now),
            Fault::Freeze => {
                let still = self.camera.count(*now);
                for _ in 0..10 {
                    *now += STEP;
                    self.camera.set(still, *now);
                    let pts = self.camera.pts(*now);
                    self.frame(start, *now, Some(pts));
                }
            }
            Fault::NoTimes => {
                let until = *now + seconds;
                while *now < until {
                    *now += STEP;
                    self.frame(start, *now, None);
                }
            }
            Fault::Burst => {
                let from = *now;
                *now += STEP * 8;
                for n in 1..=8 {
                    let pts = self.camera.pts(from + STEP * n);
                    self.frame(start, *now, Some(pts));
                }
            }
            Fault::Correction(millis) => self.off = if self.off == 0 { millis } else { 0 },
        }
        self.play(start, now, end);
    }
}

/// What the outputs got.
#[derive(Default)]
struct Seen {
    captions: u64,
    /// Start of the last caption.
    last: Option<Time>,
    states: HashMap<(&'static str, Option<Reason>), u64>,
    /// All files are complete.
    closed: bool,
}

/// Passes events to the real files, under the clock of the event, and checks their numbers.
struct Checker {
    vtt: VttSink,
    hls: HlsSink,
    /// Milliseconds since 1970.
    wall: Arc<AtomicU64>,
    next: u64,
    seen: Arc<Mutex<Seen>>,
}

impl Sink for Checker {
    fn name(&self) -> &str {
        "checker"
    }
    fn capacity(&self) -> usize {
        1 << 16
    }
    fn event(&mut self, event: &Event) -> Result<()> {
        assert_eq!(event.number, self.next);
        self.next += 1;
        let mut seen = lock(&self.seen);
        let wall = match &event.kind {
            EventKind::Caption(c) => {
                assert!(seen.last.is_none_or(|last| c.start > last));
                (seen.last, seen.captions) = (Some(c.start), seen.captions + 1);
                Some(c.wall)
            }
            EventKind::Progress { wall, .. } => Some(*wall),
            EventKind::Clock(mapping) => Some(mapping.wall),
            EventKind::State { state, reason } => {
                *seen.states.entry((state.name(), *reason)).or_default() += 1;
                None
            }
            _ => None,
        };
        drop(seen);
        if let Some(wall) = wall {
            self.wall.store(wall.duration_since(UNIX_EPOCH).unwrap().as_millis() as u64, Ordering::Relaxed);
        }
        self.vtt.event(event)?;
        self.hls.event(event)?;
        self.vtt.delivered();
        self.hls.delivered();
        Ok(())
    }
    fn close(&mut self) -> Result<()> {
        self.vtt.close()?;
        self.hls.close()?;
        lock(&self.seen).closed = true;
        Ok(())
    }
}

/// The cues of a WebVTT file: start and end in milliseconds.
fn cues(text: &str) -> Vec<(u64, u64)> {
    let millis = |stamp: &str| {
        let (clock, millis) = stamp.split_once('.').unwrap();
        let seconds = clock.split(':').fold(0, |sum, part| sum * 60 + part.parse::<u64>().unwrap());
        seconds * 1_000 + millis.parse::<u64>().unwrap()
    };
    text.lines().filter_map(|l| l.split_once(" --> ")).map(|(a, b)| (millis(a), millis(b))).collect()
}

/// The number after a tag of a playlist.
fn number(playlist: &str, tag: &str) -> u64 {
    playlist.lines().find_map(|l| l.strip_prefix(tag)).unwrap().parse().unwrap()
}

/// What may not grow: lines of the metrics, descriptions that are remembered, files of the playlist.
fn sizes(metrics: &Arc<Metrics>, camera: &SimulatedStream, hls: &Path) -> [usize; 3] {
    [metrics.prometheus().lines().count(), camera.novelty.remembered(), std::fs::read_dir(hls).unwrap().count()]
}

/// Plays a week that begins at `began`, in seconds since 1970, with a camera whose clock has so many bits.
fn week(began: u64, bits: u32) {
    let dir = tempfile::tempdir().unwrap();
    let (vtt, hls) = (dir.path().join("live.vtt"), dir.path().join("hls"));
    let name: [Arc<str>; 1] = ["door".into()];
    let metrics = Metrics::new(&name);
    let wall = Arc::new(AtomicU64::new(began * 1_000));
    let shown = wall.clone();
    let clock: WallClock = Arc::new(move || UNIX_EPOCH + Duration::from_millis(shown.load(Ordering::Relaxed)));
    let files = VttSink::open_with(&vtt, &name, Existing::Refuse, &CueOptions::default(), &clock).unwrap();
    let options = HlsOptions { segment: Time::from_millis(60_000), window: 3, ..HlsOptions::default() };
    let seen = Arc::new(Mutex::new(Seen::default()));
    let checker = Checker {
        vtt: files.rotating(Rotation { when: RotateWhen::Day, keep: 30 }),
        hls: HlsSink::open(&hls, &name, &options).unwrap(),
        wall,
        next: 0,
        seen: seen.clone(),
    };
    let hub = Arc::new(Hub::new(vec![Box::new(checker)], metrics.clone()));
    // The outputs keep up, as they do in real time.
    let settle = |most: u64| {
        let began = Instant::now();
        while metrics.sinks()[0].waiting() > most {
            assert!(began.elapsed() < Duration::from_secs(60), "the outputs have stopped");
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    let mut camera = SimulatedStream::new(UNIX_EPOCH + Duration::from_secs(began), bits, &hub, &metrics);
    let (start, mut now, mut minutes) = (Instant::now(), Duration::ZERO, 0u64);
    let (mut day, mut early, mut sequence) = (1, None, (0, 0));
    camera.connect(start, now);
    while now < WEEK {
        camera.minute(start, &mut now, FAULTS[minutes as usize % FAULTS.len()]);
        minutes += 1;
        settle(1_000);
        let shown = camera.timeline.wall(camera.last.unwrap());
        let off = shown.duration_since(camera.wall(now)).unwrap_or_else(|e| e.duration());
        assert!(off < Duration::from_secs(11), "the clock is off by {off:?} after {now:?}");
        if now.as_secs() / DAY < day {
            continue;
        }
        if day == 3 {
            // A token that is renewed only after two hours.
            let (attempts, end) = (camera.attempts, now + Duration::from_secs(7_200));
            while now < end {
                now += camera.fail(Reason::NotAuthorized);
                camera.attempts += 1;
                camera.stream.connection(Connection::connecting);
            }
            assert!(camera.attempts - attempts < 40, "cameras lock out who tries so often");
            camera.connect(start, now);
        }
        day += 1;
        settle(0);
        let after = sizes(&metrics, &camera, &hls);
        let [series, texts, kept] = *early.get_or_insert(after);
        assert_eq!(after[0], series);
        assert!(after[1] <= REMEMBERED + 2 && texts > 0, "{after:?}");
        assert!(after[2] <= 64 && kept > 3, "{after:?}");
        let playlist = std::fs::read_to_string(hls.join("descriptions.m3u8")).unwrap();
        let later = (number(&playlist, "#EXT-X-MEDIA-SEQUENCE:"), number(&playlist, "#EXT-X-DISCONTINUITY-SEQUENCE:"));
        assert!(later.0 > sequence.0 && later.1 > sequence.1, "{later:?} after {sequence:?}");
        sequence = later;
    }
    camera.stream.end();
    hub.close(Duration::from_secs(60));
    assert_eq!(metrics.sinks()[0].lost(), 0);
    let seen = lock(&seen);
    assert!(seen.closed && seen.captions > 5_000, "{}", seen.captions);
    assert!(minutes > 9_000 && camera.resets > 3_000, "{minutes} {}", camera.resets);
    for reason in [Reason::Read, Reason::OpenRead, Reason::NotAuthorized, Reason::NotFound, Reason::Timeout] {
        assert!(seen.states[&("null", Some(reason))] > 500, "{reason}");
    }
    assert!(seen.states[&("paused", Some(Reason::Timeout))] > 500);
    check_files(dir.path(), began / DAY);
}

/// One file a day, none missing, and times that only grow.
fn check_files(folder: &Path, first: u64) {
    let files = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap());
    let mut old: Vec<String> = files.filter(|f| f.starts_with("live.2")).collect();
    old.sort();
    let days = |file: &String| file["live.".len()..][..10].to_string();
    let begun = |day: u64| rfc3339(UNIX_EPOCH + Duration::from_secs((first + day) * DAY))[..10].to_string();
    // An old file is named after the moment at which the next one began.
    assert_eq!(old.iter().map(days).collect::<Vec<_>>(), (1..=7).map(begun).collect::<Vec<_>>());
    assert!(old.iter().all(|file| file["live.".len() + 11..].starts_with("00-0")), "{old:?}");
    let mut all = Vec::new();
    for file in old.iter().map(String::as_str).chain(["live.vtt"]) {
        let some = cues(&std::fs::read_to_string(folder.join(file)).unwrap());
        assert!(some.len() > 200, "{file}: {}", some.len());
        all.extend(some);
    }
    assert!(all.windows(2).all(|w| w[0].0 <= w[1].0) && all.iter().all(|(start, end)| start < end));
}

/// MPEG-TS counts in 33 bits, which wrap after 26.5 hours. Europe's clocks go forward in this week: days are those of UTC.
#[test]
fn a_week_of_an_mpeg_stream_with_a_fault_every_minute() {
    week(1_774_527_300, 33);
}

/// RTP counts in 32 bits. Europe's clocks go back in this week.
#[test]
fn a_week_of_an_rtp_stream_with_a_fault_every_minute() {
    week(1_792_671_301, 32);
}
