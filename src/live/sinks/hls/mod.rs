//! HLS: a rolling WebVTT media playlist beside somebody's video.
//!
//! Stream time is cut into segments of at most one length, closed as the stream is watched past their end; one without cues
//! is written empty. A caption does not wait for that: the open segment ends with the picture that it was made from, though
//! not within [`LEAST_CUT`] of its start, and is out at once. HLS lets segments be shorter than the target duration, and
//! players that follow a live playlist ask for it again the sooner. A segment holds every cue that is not over when it
//! begins: one that crosses a boundary stands in both segments with the same times, and one that has to wait for its turn
//! is there before it is due. Players show a cue that they have got twice once. Each segment maps its local time to the source's own clock (`X-TIMESTAMP-MAP`), so that players lay cues over a video that carries that clock, and
//! each has its wall-clock time. Where the source's clock jumps, the segment ends there and the next has
//! `EXT-X-DISCONTINUITY`. A caption that comes when its moment is in a closed segment is shown at the start of the open one.
//!
//! The playlist is as long as so many segments of full length. Files are written beside and renamed into place; a segment is
//! gone only when it has been out of the playlist for longer than it was in it. What a full disk refuses is kept, as much as
//! the playlist holds, and tried again; older segments are lost and counted, and leave a discontinuity. After a restart the numbers go on, so that players do.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::super::event::{Event, Mapping, Reason, Spoken, State, What};
use super::super::hub::{Sink, explain};
use super::super::wall::rfc3339;
use super::pace::Pace;
use super::vtt::cue_block;
use crate::error::{Error, Result};
use crate::time::Time;
use crate::track::cue::{Cue, CueOptions};

/// How the playlist is made.
#[derive(Debug, Clone)]
pub struct HlsOptions {
    /// Longest segment. HLS wants the target duration of the video's own playlist, so give that. Default: 2 s.
    pub segment: Time,
    /// Segments of that length that the playlist is long; shorter ones are more. Default: 10.
    pub window: usize,
    /// The video's media playlist, as it is to stand in `master.m3u8`. Default: none, and no master playlist.
    pub video: Option<String>,
    /// Bits a second of that video at their most, as the master playlist has to say. Default: 5 000 000.
    pub bandwidth: u64,
    /// Language of the descriptions, a BCP 47 tag. Default: en.
    pub language: String,
    /// Replaces a playlist that is not descry's. Default: false.
    pub force: bool,
    pub cue: CueOptions,
}

impl Default for HlsOptions {
    fn default() -> HlsOptions {
        HlsOptions {
            segment: Time::from_millis(2_000),
            window: 10,
            video: None,
            bandwidth: 5_000_000,
            language: "en".into(),
            force: false,
            cue: CueOptions::default(),
        }
    }
}

const PLAYLIST: &str = "descriptions.m3u8";
const MASTER: &str = "master.m3u8";
/// In every playlist of ours.
const MARK: &str = "## made by descry";
/// MPEG's clock has 33 bits.
const WRAP: i64 = 1 << 33;
/// A source's clock that is off by more than this has jumped: 100 ms.
const JUMP: i64 = 9_000;
/// Wall clocks drift apart; beyond this the playlist follows.
const DRIFT: Duration = Duration::from_secs(1);
/// Local times begin anew after this, where no cue stands: no player has to count past MPEG's 26 hours.
const REBASE: Time = Time::from_millis(3_600_000);
/// A piece shorter than this is no segment: it goes to the next.
const LEAST: Time = Time::from_millis(20);
/// A segment that ends for a caption's sake is no shorter than this, or players would have to ask too often.
const LEAST_CUT: Time = Time::from_millis(500);
const RETRY: Duration = Duration::from_secs(1);
/// Cues that are not over.
const CUES: usize = 1_000;

/// Playlists of one or several streams.
pub struct Hls {
    streams: Vec<(Arc<str>, Rolling)>,
    settled: Vec<(Arc<str>, Duration)>,
}

impl Hls {
    /// Into `folder` for one stream, or `folder/STREAM` for each of several. Folders are made.
    pub fn open(folder: &Path, streams: &[Arc<str>], options: &HlsOptions) -> Result<Hls> {
        if !(Time::from_millis(500)..=Time::from_millis(60_000)).contains(&options.segment) {
            return Err(Error::usage("HLS segments must have between 0.5 and 60 s", "2 s to 6 s is usual."));
        }
        if !(3..=1_000).contains(&options.window) {
            return Err(Error::usage("an HLS playlist must have between 3 and 1000 segments", "10 is usual."));
        }
        let plain = |s: &str| !s.is_empty() && !s.contains(['"', '\n', '\r']) && !s.starts_with('#');
        if !plain(&options.language) || !options.video.as_deref().is_none_or(plain) {
            let cause = "the language or the video's playlist has signs that HLS cannot hold";
            return Err(Error::usage(cause, "Give a tag such as en, and a plain URL."));
        }
        if options.video.as_deref().and_then(|v| v.split_once("://")).is_some_and(|(_, rest)| {
            rest.split(['/', '?', '#']).next().is_some_and(|authority| authority.contains('@'))
        }) {
            let cause = "the video's playlist has a user name or password in its URL, which every player would see";
            return Err(Error::usage(cause, "Give the URL without them."));
        }
        let open = |(stream, folder): (Arc<str>, PathBuf)| Ok((stream, Rolling::open(folder, options)?));
        let streams = super::places(folder, streams, "")?.into_iter().map(open).collect::<Result<_>>()?;
        Ok(Hls { streams, settled: Vec::new() })
    }

    fn write(&mut self, now: Instant) -> Result<()> {
        let mut result = Ok(());
        for (stream, rolling) in &mut self.streams {
            let written = rolling.write(now, |arrived| self.settled.push((stream.clone(), arrived.elapsed())));
            result = result.and(written);
        }
        result
    }
}

impl Sink for Hls {
    fn name(&self) -> &str {
        "hls"
    }

    fn wants(&self) -> fn(&What) -> bool {
        |what| !matches!(what, What::Dropped { .. })
    }

    fn event(&mut self, event: &Event) -> Result<()> {
        let Some((_, rolling)) = self.streams.iter_mut().find(|(s, _)| *s == event.stream) else { return Ok(()) };
        let lost = rolling.event(&event.what);
        // Trouble is told by `tick`: nothing is lost by it yet.
        let _ = self.write(Instant::now());
        let full = || Error::output("hls", "segments that waited for room on the disk are lost", "Free some space.");
        (!lost).then_some(()).ok_or_else(full)
    }

    fn tick(&mut self, now: Instant) -> Result<()> {
        self.write(now)?;
        self.streams.iter().try_for_each(|(_, r)| r.trouble())
    }

    fn close(&mut self) -> Result<()> {
        for (_, rolling) in &mut self.streams {
            rolling.finish();
            rolling.retry = None;
        }
        self.write(Instant::now())
    }

    fn keeps(&self) -> bool {
        true
    }

    fn settled(&mut self) -> Option<Vec<(Arc<str>, Duration)>> {
        Some(std::mem::take(&mut self.settled))
    }
}

/// A segment that is closed.
struct Segment {
    duration: Time,
    wall: SystemTime,
    discontinuity: bool,
    text: String,
    /// Arrivals of the captions that are first in it.
    arrivals: Vec<Instant>,
}

/// A segment that stands in the folder.
struct Listed {
    duration: Time,
    wall: SystemTime,
    discontinuity: bool,
}

/// The playlist of one stream.
struct Rolling {
    folder: PathBuf,
    options: HlsOptions,
    pace: Pace,
    clock: Option<Mapping>,
    /// Start of the open segment, once there is one.
    open: Option<Time>,
    /// The stream is watched up to here.
    watched: Time,
    /// The open segment does not go on where the last one ended.
    jumped: bool,
    /// Stream time of local time 0.
    zero: Time,
    /// Not over when the open segment began, ordered by start.
    cues: VecDeque<Cue>,
    /// Of captions that are in no segment yet: start of the first cue, arrival.
    arrivals: Vec<(Time, Instant)>,
    stopped: bool,
    ended: bool,

    /// Number of the first in `listed`.
    sequence: u64,
    /// Discontinuities that have left the playlist.
    discontinuities: u64,
    listed: VecDeque<Listed>,
    /// Numbers from this one on may still be in the folder.
    oldest: u64,
    /// Length of those that are and have left the playlist, the oldest first.
    left: VecDeque<Time>,
    waiting: VecDeque<Segment>,
    /// The playlist does not say what is so.
    stale: bool,
    master: bool,
    retry: Option<(Instant, io::ErrorKind)>,
    settled: Vec<Instant>,
}

impl Rolling {
    fn open(folder: PathBuf, options: &HlsOptions) -> Result<Rolling> {
        let name = folder.display().to_string();
        let fail = |e: io::Error| explain(&name, &e);
        fs::create_dir_all(&folder).map_err(fail)?;
        let mut rolling = Rolling {
            pace: Pace::new(&options.cue),
            clock: None,
            open: None,
            watched: Time::ZERO,
            jumped: false,
            zero: Time::ZERO,
            cues: VecDeque::new(),
            arrivals: Vec::new(),
            stopped: false,
            ended: false,
            sequence: 0,
            discontinuities: 0,
            listed: VecDeque::new(),
            oldest: 0,
            left: VecDeque::new(),
            waiting: VecDeque::new(),
            stale: false,
            master: options.video.is_some(),
            retry: None,
            settled: Vec::new(),
            options: options.clone(),
            folder,
        };
        let read = |name: &str| match fs::read_to_string(rolling.folder.join(name)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) if e.kind() != io::ErrorKind::InvalidData => Err(fail(e)),
            text => Ok(Some(text.unwrap_or_default())),
        };
        let before = read(PLAYLIST)?;
        let master = if rolling.master { read(MASTER)? } else { None };
        let foreign = |text: &Option<String>| text.as_ref().is_some_and(|t| !t.contains(MARK));
        if !options.force && (foreign(&before) || foreign(&master)) {
            let cause = "holds a playlist that descry did not make";
            return Err(Error::output(name, cause, "Name another folder, or give --force to replace it."));
        }
        if let Some(before) = before.filter(|b| b.contains(MARK)) {
            let number = |tag: &str| -> u64 {
                before.lines().find_map(|l| l.strip_prefix(tag)).and_then(|n| n.trim().parse().ok()).unwrap_or(0)
            };
            let count = |tag: &str| before.lines().filter(|l| l.starts_with(tag)).count() as u64;
            // Far from the end of the number range, whatever the file says.
            let first = number("#EXT-X-MEDIA-SEQUENCE:").min(u64::MAX / 2);
            let gone = number("#EXT-X-DISCONTINUITY-SEQUENCE:").min(u64::MAX / 2);
            rolling.sequence = first + count("#EXTINF:");
            rolling.discontinuities = gone + before.lines().filter(|l| *l == "#EXT-X-DISCONTINUITY").count() as u64;
            rolling.oldest = first;
            // How long they were is not worth reading.
            rolling.left = (first..rolling.sequence).map(|_| options.segment).collect();
            rolling.jumped = true;
        }
        rolling.clear_old();
        Ok(rolling)
    }

    /// Removes segments that an earlier run left and that no playlist has named for long.
    fn clear_old(&self) {
        let Ok(files) = fs::read_dir(&self.folder) else { return };
        for file in files.flatten() {
            let name = file.file_name();
            let Some(rest) = name.to_str().and_then(|n| n.strip_prefix("descriptions-")) else { continue };
            let number = rest.strip_suffix(".vtt").and_then(|n| n.parse::<u64>().ok());
            if rest.ends_with(".vtt.part") || number.is_some_and(|n| n < self.oldest || n >= self.sequence) {
                let _ = fs::remove_file(file.path());
            }
        }
    }

    /// Takes an event; true where segments were lost for it.
    fn event(&mut self, what: &What) -> bool {
        match what {
            What::Clock(mapping) => self.set_clock(*mapping),
            What::Caption(c) => {
                self.caption(c);
                self.publish(c.picture_time.max(c.start))
            }
            What::Watched { time, wall } => {
                self.follow(*time, *wall);
                self.publish(*time)
            }
            What::State { state, reason } => {
                self.stopped = *reason == Some(Reason::Stopped);
                // Who knows when frames come again: what was said is not kept back until then.
                *state != State::Playing && !self.arrivals.is_empty() && self.finish()
            }
            What::End => {
                self.ended = !self.stopped;
                self.finish()
            }
            What::Dropped { .. } => false,
        }
    }

    fn set_clock(&mut self, mapping: Mapping) -> bool {
        let Some(open) = self.open else {
            self.clock = Some(mapping);
            self.begin(mapping.time);
            return false;
        };
        let off = (self.pts(mapping.time) - mapping.pts.rem_euclid(WRAP)).rem_euclid(WRAP);
        let apart = mapping.time > self.watched.max(open) + self.options.segment + self.options.segment;
        if off.min(WRAP - off) <= JUMP && !apart {
            self.clock = Some(mapping);
            return false;
        }
        // What was seen before is told with the old clock.
        let end = if apart { self.watched } else { mapping.time };
        let lost = self.advance(end) | self.close_segment(end, true);
        self.clock = Some(mapping);
        let resume = mapping.time.max(self.open.unwrap_or(open));
        // Nothing stands across a jump.
        self.cues.retain(|c| c.start >= resume);
        self.pace.cut(resume);
        self.begin(resume);
        self.jumped = true;
        lost
    }

    fn begin(&mut self, at: Time) {
        let at = at.max(Time::ZERO);
        self.open = Some(at);
        self.zero = at;
        self.watched = self.watched.max(at);
    }

    /// Wall clocks of the source and of this machine drift apart.
    fn follow(&mut self, time: Time, wall: SystemTime) {
        let told = self.wall(time);
        let off = told.duration_since(wall).or_else(|_| wall.duration_since(told)).unwrap_or_default();
        if let Some(clock) = &mut self.clock
            && off > DRIFT
        {
            let since = time - clock.time;
            let step = Duration::from_micros(since.micros().unsigned_abs());
            let back = if since >= Time::ZERO { wall.checked_sub(step) } else { wall.checked_add(step) };
            clock.wall = back.unwrap_or(wall);
        }
    }

    fn wall(&self, time: Time) -> SystemTime {
        let Some(clock) = self.clock else { return SystemTime::now() };
        let since = time - clock.time;
        let step = Duration::from_micros(since.micros().unsigned_abs());
        let at = if since >= Time::ZERO { clock.wall.checked_add(step) } else { clock.wall.checked_sub(step) };
        at.unwrap_or(clock.wall)
    }

    /// Stream time on the source's clock.
    fn pts(&self, time: Time) -> i64 {
        let (from, pts) = self.clock.map_or((Time::ZERO, 0), |c| (c.time, c.pts));
        let ticks = i128::from((time - from).micros()) * 9 / 100 + i128::from(pts);
        ticks.rem_euclid(i128::from(WRAP)) as i64
    }

    fn caption(&mut self, c: &Spoken) {
        if self.open.is_none() {
            self.clock = Some(Mapping { time: c.start, pts: (c.start.micros() / 100).saturating_mul(9), wall: c.wall });
            self.begin(c.start);
        }
        let start = c.start.max(self.open.unwrap_or(c.start));
        let cues = self.pace.cues(start, &c.text);
        if let Some(first) = cues.first() {
            self.arrivals.push((first.start, c.arrived));
        }
        self.cues.extend(cues);
        while self.cues.len() > CUES {
            self.cues.pop_front();
        }
        let excess = self.arrivals.len().saturating_sub(CUES);
        self.arrivals.drain(..excess);
    }

    /// The stream is watched up to `time`: closes the segments that end by then, and the open one if a caption waits in it.
    fn publish(&mut self, time: Time) -> bool {
        let lost = self.advance(time);
        let Some(open) = self.open.filter(|_| !self.arrivals.is_empty()) else { return lost };
        let least = LEAST_CUT.min(self.options.segment);
        let end = time.max(open + least);
        // Where captions come faster than that, segments do not run ahead of the stream.
        if end > time + least { lost } else { self.close_segment(end, false) | lost }
    }

    /// Closes the segments that end by `time`.
    fn advance(&mut self, time: Time) -> bool {
        let mut lost = false;
        let Some(open) = self.open else { return false };
        self.watched = self.watched.max(time);
        // A leap over more than a playlist holds, with no word of the clock: nobody can have watched the time between.
        if time - open > self.span() {
            lost |= self.close_segment(open + self.options.segment, false);
            let resume = time - self.options.segment;
            self.cues.retain(|c| c.end > resume);
            self.begin(resume);
            self.jumped = true;
        }
        while let Some(end) = self.open.map(|o| o + self.options.segment).filter(|end| *end <= time) {
            lost |= self.close_segment(end, false);
        }
        lost
    }

    /// Most segments that it has: the short ones hold captions, or end with a jump.
    fn most(&self) -> usize {
        (self.span().micros() / LEAST_CUT.micros()) as usize + self.options.window
    }

    /// What the playlist is long.
    fn span(&self) -> Time {
        Time::from_micros(self.options.segment.micros().saturating_mul(self.options.window as i64))
    }

    /// Closes what is open at the end of all; a last caption gets a moment, though nothing was watched after it.
    fn finish(&mut self) -> bool {
        let Some(open) = self.open else { return false };
        let last = self.cues.back().map_or(Time::ZERO, |c| c.end.min(c.start + self.options.segment));
        let end = self.watched.max(last);
        let mut lost = false;
        if end > open {
            lost = self.advance(end) | self.close_segment(end, false);
        }
        self.stale |= self.ended;
        lost
    }

    /// Ends the open segment there and begins the next; true where an older one was lost. `jump`: what begins after it has
    /// another clock.
    fn close_segment(&mut self, end: Time, jump: bool) -> bool {
        let Some(open) = self.open.filter(|open| end >= *open + LEAST) else { return false };
        if open - self.zero > REBASE && self.cues.front().is_none_or(|c| c.start >= open) {
            self.zero = open;
        }
        let mut text = format!("WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:{},LOCAL:00:00:00.000\n", self.pts(self.zero));
        let holds = |start: Time| !jump || start < end;
        for cue in self.cues.iter().filter(|c| holds(c.start) && c.end > open) {
            let block = cue_block(cue, Time::ZERO - self.zero);
            text.push('\n');
            text.push_str(&block);
        }
        let (told, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.arrivals).into_iter().partition(|(start, _)| holds(*start));
        self.arrivals = later;
        self.cues.retain(|c| c.end > end);
        self.waiting.push_back(Segment {
            duration: end - open,
            wall: self.wall(open),
            discontinuity: std::mem::take(&mut self.jumped),
            text,
            arrivals: told.into_iter().map(|(_, arrived)| arrived).collect(),
        });
        self.open = Some(end);
        let kept = self.waiting.iter().skip(1).fold(Time::ZERO, |sum, s| sum + s.duration);
        if kept < self.span() && self.waiting.len() <= self.most() {
            return false;
        }
        self.waiting.pop_front();
        if let Some(next) = self.waiting.front_mut() {
            next.discontinuity = true;
        }
        true
    }

    fn trouble(&self) -> Result<()> {
        match self.retry {
            Some((_, kind)) => Err(explain(self.folder.display().to_string(), &kind.into())),
            None => Ok(()),
        }
    }

    /// Writes what waits, unless it was tried a moment ago.
    fn write(&mut self, now: Instant, settled: impl FnMut(Instant)) -> Result<()> {
        if self.retry.is_some_and(|(at, _)| now < at) {
            return Ok(());
        }
        let result = self.try_write();
        if let Err(e) = &result {
            self.retry = Some((now + RETRY, e.kind()));
            return Err(explain(self.folder.display().to_string(), e));
        }
        self.retry = None;
        self.settled.drain(..).for_each(settled);
        Ok(())
    }

    fn try_write(&mut self) -> io::Result<()> {
        if self.master {
            self.place(MASTER, &self.master_text())?;
            self.master = false;
        }
        while let Some(segment) = self.waiting.front() {
            let number = self.sequence + self.listed.len() as u64;
            self.place(&segment_name(number), &segment.text)?;
            if let Some(Segment { duration, wall, discontinuity, arrivals, .. }) = self.waiting.pop_front() {
                self.listed.push_back(Listed { duration, wall, discontinuity });
                self.settled.extend(arrivals);
            }
            let mut length = self.listed.iter().fold(Time::ZERO, |sum, s| sum + s.duration);
            while let Some(first) = self.listed.front() {
                length = length - first.duration;
                if length < self.span() && self.listed.len() <= self.most() {
                    break;
                }
                self.sequence += 1;
                self.discontinuities += u64::from(first.discontinuity);
                self.left.push_back(first.duration);
                self.listed.pop_front();
            }
            self.stale = true;
        }
        let mut result = Ok(());
        if self.stale && !self.listed.is_empty() {
            result = self.place(PLAYLIST, &self.playlist_text());
            self.stale = result.is_err();
        }
        // A player may still read what the longest playlist named when it was new.
        let longest = self.span() + self.options.segment + self.options.segment;
        let mut out = self.left.iter().skip(1).fold(Time::ZERO, |sum, d| sum + *d);
        while out >= longest || self.left.len() > 2 * self.most() {
            let _ = fs::remove_file(self.folder.join(segment_name(self.oldest)));
            self.oldest += 1;
            self.left.pop_front();
            out = out - self.left.front().copied().unwrap_or(out);
        }
        result
    }

    /// A file with this text, or as it was.
    fn place(&self, name: &str, text: &str) -> io::Result<()> {
        let part = self.folder.join(format!("{name}.part"));
        let result = fs::write(&part, text).and_then(|()| fs::rename(&part, self.folder.join(name)));
        if let Err(e) = &result {
            let _ = fs::remove_file(&part);
            if e.kind() == io::ErrorKind::NotFound {
                fs::create_dir_all(&self.folder)?;
            }
        }
        result
    }

    fn playlist_text(&self) -> String {
        let target = (self.options.segment.micros() + 999_999) / 1_000_000;
        let mut text = format!(
            "#EXTM3U\n#EXT-X-VERSION:3\n{MARK}\n#EXT-X-TARGETDURATION:{target}\n#EXT-X-MEDIA-SEQUENCE:{}\n\
             #EXT-X-DISCONTINUITY-SEQUENCE:{}\n",
            self.sequence, self.discontinuities,
        );
        for (i, s) in self.listed.iter().enumerate() {
            if s.discontinuity {
                text.push_str("#EXT-X-DISCONTINUITY\n");
            }
            let name = segment_name(self.sequence + i as u64);
            let (wall, secs) = (rfc3339(s.wall), s.duration.secs());
            text.push_str(&format!("#EXT-X-PROGRAM-DATE-TIME:{wall}\n#EXTINF:{secs:.3},\n{name}\n"));
        }
        if self.ended {
            text.push_str("#EXT-X-ENDLIST\n");
        }
        text
    }

    fn master_text(&self) -> String {
        format!(
            "#EXTM3U\n#EXT-X-VERSION:3\n{MARK}\n#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID=\"descriptions\",\
             NAME=\"Descriptions\",LANGUAGE=\"{}\",DEFAULT=YES,AUTOSELECT=YES,FORCED=NO,\
             CHARACTERISTICS=\"public.accessibility.describes-video\",URI=\"{PLAYLIST}\"\n\
             #EXT-X-STREAM-INF:BANDWIDTH={},SUBTITLES=\"descriptions\"\n{}\n",
            self.options.language,
            self.options.bandwidth,
            self.options.video.as_deref().unwrap_or_default(),
        )
    }
}

fn segment_name(number: u64) -> String {
    format!("descriptions-{number:06}.vtt")
}
