//! The progress bar: time position, speed, cues so far. Draws on standard error, only where that is a terminal.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::media::StreamInfo;
use crate::pipeline::Observer;
use crate::time::Time;

struct Bar {
    bar: ProgressBar,
    started: Instant,
    cues: usize,
    watched: Time,
    /// Media time of the whole file, where its header says so.
    length: Option<Time>,
}

impl Bar {
    /// Position, speed against real time, cues, and the time that is left at this speed.
    fn message(&self, elapsed: Duration) -> String {
        let speed = self.watched.secs() / elapsed.as_secs_f64().max(1e-3);
        let mut text = self.watched.clock();
        if let Some(length) = self.length {
            text += &format!(" of {}", length.clock());
        }
        text += &format!("  {speed:.1}×  {} cues", self.cues);
        if let Some(length) = self.length
            && speed > 0.0
            && elapsed.as_secs() >= 2
        {
            let left = Time::from_secs((length.secs() - self.watched.secs()).max(0.0) / speed);
            text += &format!("  {} left", left.clock());
        }
        text
    }
}

/// One line a running file.
pub struct Bars {
    names: Vec<String>,
    all: MultiProgress,
    bars: Mutex<HashMap<usize, Bar>>,
}

impl Bars {
    pub fn new(names: &[String]) -> Bars {
        Bars { names: names.to_vec(), all: MultiProgress::new(), bars: Mutex::new(HashMap::new()) }
    }

    fn with(&self, file: usize, act: impl FnOnce(&mut Bar)) {
        if let Ok(mut bars) = self.bars.lock()
            && let Some(bar) = bars.get_mut(&file)
        {
            act(bar);
            bar.bar.set_position(bar.watched.millis().max(0) as u64);
            bar.bar.set_message(bar.message(bar.started.elapsed()));
        }
    }

    /// Prints a line above the bars.
    pub fn say(&self, line: &str) {
        self.all.suspend(|| eprintln!("{line}"));
    }
}

impl Observer for Bars {
    fn opened(&self, file: usize, info: &StreamInfo) {
        let length = info.duration.map(|d| (d * 1e3) as u64);
        let bar = self.all.add(length.map_or_else(ProgressBar::no_length, ProgressBar::new));
        let template = if length.is_some() { "{prefix} [{bar:24}] {msg}" } else { "{prefix} {spinner} {msg}" };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_prefix(self.names.get(file).cloned().unwrap_or_default());
        bar.enable_steady_tick(Duration::from_millis(250));
        if let Ok(mut bars) = self.bars.lock() {
            bars.insert(
                file,
                Bar {
                    bar,
                    started: Instant::now(),
                    cues: 0,
                    watched: Time::ZERO,
                    length: info.duration.map(Time::from_secs),
                },
            );
        }
    }

    fn watched(&self, file: usize, time: Time) {
        // Drawing is limited by indicatif; what costs is the message, so it is made a few times a second of media.
        if time.millis() % 500 < 45 {
            self.with(file, |bar| bar.watched = time);
        }
    }

    fn cues(&self, file: usize, count: usize) {
        self.with(file, |bar| bar.cues = count);
    }

    fn ended(&self, file: usize) {
        if let Ok(mut bars) = self.bars.lock()
            && let Some(bar) = bars.remove(&file)
        {
            bar.bar.finish_and_clear();
        }
    }
}

/// Nothing is shown.
pub struct Silent;

impl Observer for Silent {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_tells_position_speed_cues_and_what_is_left() {
        let bar = |length| Bar {
            bar: ProgressBar::hidden(),
            started: Instant::now(),
            cues: 5,
            watched: Time::from_secs(35.4),
            length,
        };
        let after = Duration::from_secs(5);
        assert_eq!(bar(Some(Time::from_secs(60.0))).message(after), "0:35 of 1:00  7.1×  5 cues  0:03 left");
        assert_eq!(bar(None).message(after), "0:35  7.1×  5 cues");
        assert_eq!(bar(Some(Time::from_secs(3_700.0))).message(Duration::ZERO), "0:35 of 1:01:40  35400.0×  5 cues");
    }
}
