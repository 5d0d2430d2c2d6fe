//! Progress on standard error: a bar per video for `describe`; one bar for the whole job, or an occasional line, for `index`.
//!
//! Bars are drawn only where a person sees them: see [`Reporter::bars`].

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::reporter::{Reporter, count};
use crate::archive::VideoRecord;
use crate::archive::index::{IndexObserver, IndexProgress, PlannedVideo, ProgressReport};
use crate::error::Error;
use crate::media::StreamInfo;
use crate::pipeline::Observer;
use crate::printable::printable;
use crate::time::Time;

/// How often bars are drawn again: often enough to look alive.
const REDRAW: Duration = Duration::from_millis(250);
/// How often `index` prints its progress without a terminal, as text and as JSON.
const TEXT_INTERVAL: Duration = Duration::from_secs(30);
const JSON_INTERVAL: Duration = Duration::from_secs(5);

/// The progress of one video.
struct VideoBar {
    bar: ProgressBar,
    started: Instant,
    cues: usize,
    position: Time,
    /// Length of the video, if its container has it.
    length: Option<Time>,
}

impl VideoBar {
    /// Position, speed against real time, cues, and the time left at this speed.
    fn message(&self, elapsed: Duration) -> String {
        let speed = self.position.secs() / elapsed.as_secs_f64().max(1e-3);
        let mut text = self.position.clock();
        if let Some(length) = self.length {
            text += &format!(" of {}", length.clock());
        }
        text += &format!("  {speed:.1}×  {} cues", self.cues);
        if let Some(length) = self.length
            && speed > 0.0
            && elapsed.as_secs() >= 2
        {
            let left = Time::from_secs((length.secs() - self.position.secs()).max(0.0) / speed);
            text += &format!("  {} left", left.clock());
        }
        text
    }
}

/// One bar for each video that is being described.
pub(super) struct VideoBars<'a> {
    names: Vec<String>,
    screen: &'a MultiProgress,
    bars: Mutex<HashMap<usize, VideoBar>>,
}

impl<'a> VideoBars<'a> {
    pub(super) fn new(names: Vec<String>, screen: &'a MultiProgress) -> VideoBars<'a> {
        VideoBars { names, screen, bars: Mutex::default() }
    }

    fn update(&self, file: usize, change: impl FnOnce(&mut VideoBar)) {
        if let Ok(mut bars) = self.bars.lock()
            && let Some(bar) = bars.get_mut(&file)
        {
            change(bar);
            bar.bar.set_position(bar.position.millis().max(0) as u64);
            bar.bar.set_message(bar.message(bar.started.elapsed()));
        }
    }
}

impl Observer for VideoBars<'_> {
    fn opened(&self, file: usize, info: &StreamInfo) {
        let length = info.duration.map(|d| (d * 1e3) as u64);
        let bar = self.screen.add(length.map_or_else(ProgressBar::no_length, ProgressBar::new));
        let template = if length.is_some() { "{prefix} [{bar:24}] {msg}" } else { "{prefix} {spinner} {msg}" };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_prefix(self.names.get(file).map(|name| printable(name).into_owned()).unwrap_or_default());
        bar.enable_steady_tick(REDRAW);
        let length = info.duration.map(Time::from_secs);
        let bar = VideoBar { bar, started: Instant::now(), cues: 0, position: Time::ZERO, length };
        if let Ok(mut bars) = self.bars.lock() {
            bars.insert(file, bar);
        }
    }

    fn watched(&self, file: usize, time: Time) {
        // indicatif limits how often it draws, but building the message costs time too: twice per second of media is
        // enough, whatever the frame rate.
        if time.millis() % 500 < 45 {
            self.update(file, |bar| bar.position = time);
        }
    }

    fn cues(&self, file: usize, count: usize) {
        self.update(file, |bar| bar.cues = count);
    }

    fn ended(&self, file: usize) {
        if let Ok(mut bars) = self.bars.lock()
            && let Some(bar) = bars.remove(&file)
        {
            bar.bar.finish_and_clear();
        }
    }
}

/// Leaves a clean terminal also after an error.
impl Drop for VideoBars<'_> {
    fn drop(&mut self) {
        if let Ok(bars) = self.bars.get_mut() {
            bars.drain().for_each(|(_, bar)| bar.bar.finish_and_clear());
        }
    }
}

/// Reports the progress and the problems of an index job.
pub(super) struct JobProgress<'a> {
    progress: IndexProgress,
    reporter: &'a Reporter,
    bar: Option<ProgressBar>,
}

impl<'a> JobProgress<'a> {
    pub(super) fn new(videos: &[PlannedVideo], reporter: &'a Reporter) -> JobProgress<'a> {
        let screen = if videos.is_empty() { None } else { reporter.bars() };
        let bar = screen.map(|screen| {
            let bar = screen.add(ProgressBar::new(videos.len() as u64));
            if let Ok(style) = ProgressStyle::with_template("[{bar:24}] {msg}") {
                bar.set_style(style);
            }
            bar
        });
        JobProgress { progress: IndexProgress::new(videos), reporter, bar }
    }

    /// Does the work and reports its progress meanwhile. Returns the final progress of the job.
    pub(super) fn during<T>(&self, work: impl FnOnce() -> T) -> (T, ProgressReport) {
        let stop = AtomicBool::new(false);
        let done = thread::scope(|scope| {
            let follower = scope.spawn(|| self.follow(&stop));
            let done = work();
            stop.store(true, Ordering::Relaxed);
            follower.thread().unpark();
            done
        });
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        (done, self.progress.report())
    }

    fn follow(&self, stop: &AtomicBool) {
        let interval = if self.reporter.is_json() { JSON_INTERVAL } else { TEXT_INTERVAL };
        let mut last = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            thread::park_timeout(REDRAW);
            if let Some(bar) = &self.bar {
                let now = self.progress.report();
                bar.set_position(now.finished());
                bar.set_message(now.line());
            } else if last.elapsed() >= interval && !self.reporter.is_quiet() && !stop.load(Ordering::Relaxed) {
                last = Instant::now();
                self.print(&self.progress.report());
            }
        }
    }

    fn print(&self, now: &ProgressReport) {
        if self.reporter.is_json() {
            self.event("progress", now, &Value::Null);
        } else {
            self.reporter.line(&now.line());
        }
    }

    /// Prints a JSON line with the progress and more fields.
    pub(super) fn event(&self, message: &str, snapshot: &ProgressReport, more: &Value) {
        let mut fields = json!({ "progress": snapshot });
        if let (Some(fields), Some(more)) = (fields.as_object_mut(), more.as_object()) {
            fields.extend(more.clone());
        }
        self.reporter.event(message, &fields);
    }
}

impl Observer for JobProgress<'_> {
    fn opened(&self, file: usize, info: &StreamInfo) {
        self.progress.opened(file, info);
    }

    fn watched(&self, file: usize, time: Time) {
        self.progress.watched(file, time);
    }

    fn ended(&self, file: usize) {
        self.progress.ended(file);
    }
}

impl IndexObserver for JobProgress<'_> {
    fn stored(&self, file: usize, record: &VideoRecord) {
        self.progress.stored(file, record);
        if let Some(damage) = &record.damage {
            self.reporter.partial(&record.video, damage);
        }
        self.reporter.info(&format!(
            "{}: {}, {}",
            record.video,
            count(record.keyframes, "keyframe"),
            count(record.cues, "cue")
        ));
    }

    fn failed(&self, file: usize, error: &Error, kept: bool) {
        self.progress.failed(file, error, kept);
        self.reporter.error(error);
    }

    fn described_elsewhere(&self, file: usize) {
        self.progress.described_elsewhere(file);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_has_position_speed_cues_and_what_is_left() {
        let bar = |length| VideoBar {
            bar: ProgressBar::hidden(),
            started: Instant::now(),
            cues: 5,
            position: Time::from_secs(35.4),
            length,
        };
        let after = Duration::from_secs(5);
        assert_eq!(bar(Some(Time::from_secs(60.0))).message(after), "0:35 of 1:00  7.1×  5 cues  0:03 left");
        assert_eq!(bar(None).message(after), "0:35  7.1×  5 cues");
        assert_eq!(bar(Some(Time::from_secs(3_700.0))).message(Duration::ZERO), "0:35 of 1:01:40  35400.0×  5 cues");
    }
}
