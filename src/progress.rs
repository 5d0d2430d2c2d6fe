//! The progress bar: time position, speed, cues so far. Draws on standard error, only where that is a terminal.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::decode::StreamInfo;
use crate::pipeline::Observer;
use crate::time::Time;

struct Bar {
    bar: ProgressBar,
    started: Instant,
    cues: usize,
    watched: Time,
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
            let speed = bar.watched.secs() / bar.started.elapsed().as_secs_f64().max(1e-3);
            bar.bar.set_position(bar.watched.millis().max(0) as u64);
            bar.bar.set_message(format!("{}  {speed:.1}×  {} cues", bar.watched, bar.cues));
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
            bars.insert(file, Bar { bar, started: Instant::now(), cues: 0, watched: Time::ZERO });
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
