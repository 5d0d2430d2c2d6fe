//! `descry model pull`, and its progress bar.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::reporter::Reporter;
use crate::error::Result;
use crate::interrupt::Interrupt;
use crate::model::{ModelReference, Precision};
use crate::pull::{HubEnvironment, PullJob, PullObserver, PulledNow, pull};
use crate::time::Time;

pub(super) fn run(name: &str, precision: Option<Precision>, reporter: &Reporter, interrupt: &Interrupt) -> Result<()> {
    let reference = ModelReference::parse(name)?;
    let environment = HubEnvironment::read()?;
    let bar = PullBar::new(name, reporter);
    let job = PullJob { reference: &reference, precision, environment: &environment, observer: &bar, interrupt };
    let done = pull(&job);
    bar.end();
    let PulledNow { dir, record, was_complete } = done?;
    let (megabytes, dir) = (record.bytes() as f64 / 1e6, dir.display().to_string());
    let what = if was_complete { "is complete" } else { "is here" };
    let licence = if record.licence.is_empty() { "not stated" } else { &record.licence };
    let text = format!(
        "{name} {what}: {megabytes:.1} MB in {dir}\n  Commit {} of {}, licence: {licence}.\n  Use it with --model {name}.",
        record.commit, record.repository
    );
    let fields = json!({
        "name": record.name, "folder": dir, "repository": record.repository, "commit": record.commit,
        "precisions": record.precisions, "bytes": record.bytes(), "was_complete": was_complete,
    });
    reporter.summary(&text, &fields);
    Ok(())
}

/// Bytes of a pull.
#[derive(Debug, Default)]
struct PullCount {
    total: u64,
    /// What is here.
    here: u64,
    /// What came from the hub in this run.
    received: u64,
    /// When the first of that came.
    begun: Option<Instant>,
}

impl PullCount {
    /// How much is here, the rate, and the time left at that rate.
    fn message(&self, elapsed: Duration) -> String {
        let megabytes = |bytes: u64| format!("{:.1}", bytes as f64 / 1e6);
        let mut text = format!("{} of {} MB", megabytes(self.here), megabytes(self.total));
        let rate = self.received as f64 / elapsed.as_secs_f64().max(1e-3);
        if self.received > 0 {
            text += &format!("  {:.1} MB/s", rate / 1e6);
            if elapsed.as_secs() >= 2 {
                let left = Time::from_secs(self.total.saturating_sub(self.here) as f64 / rate);
                text += &format!("  {} left", left.clock());
            }
        }
        text
    }
}

/// Shows a pull, if a person sees it.
pub(super) struct PullBar<'a> {
    reporter: &'a Reporter,
    name: String,
    bar: Option<ProgressBar>,
    count: RefCell<PullCount>,
}

impl<'a> PullBar<'a> {
    pub(super) fn new(name: &str, reporter: &'a Reporter) -> PullBar<'a> {
        let bar = reporter.bars().map(|screen| {
            let bar = screen.add(ProgressBar::new(0));
            if let Ok(style) = ProgressStyle::with_template("{prefix} [{bar:24}] {msg}") {
                bar.set_style(style);
            }
            bar.set_prefix(name.to_string());
            bar
        });
        PullBar { reporter, name: name.into(), bar, count: RefCell::default() }
    }

    fn update(&self, change: impl FnOnce(&mut PullCount)) {
        let mut count = self.count.borrow_mut();
        change(&mut count);
        if let Some(bar) = &self.bar {
            bar.set_length(count.total);
            bar.set_position(count.here);
            bar.set_message(count.message(count.begun.map_or(Duration::ZERO, |begun| begun.elapsed())));
        }
    }

    pub(super) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl PullObserver for PullBar<'_> {
    fn waiting(&self) {
        self.reporter.note(&format!("{}: another descry is pulling it; this one waits", self.name));
    }

    fn total(&self, bytes: u64) {
        self.update(|count| count.total = bytes);
    }

    fn file(&self, file: &str) {
        self.reporter.info(&format!("{}: {file}", self.name));
    }

    fn received(&self, bytes: u64) {
        self.update(|count| {
            count.begun.get_or_insert_with(Instant::now);
            count.here += bytes;
            count.received += bytes;
        });
    }

    fn reused(&self, bytes: u64) {
        self.update(|count| count.here += bytes);
    }

    fn lost(&self, bytes: u64) {
        self.update(|count| count.here = count.here.saturating_sub(bytes));
    }

    fn retrying(&self, cause: &str) {
        self.reporter.note(&format!("{}: the hub {cause}; trying again", self.name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_has_bytes_rate_and_time_left() {
        let count = |received| PullCount { total: 260_000_000, here: 60_000_000, received, begun: None };
        let text = count(50_000_000).message(Duration::from_secs(10));
        assert_eq!(text, "60.0 of 260.0 MB  5.0 MB/s  0:40 left");
        assert_eq!(count(50_000_000).message(Duration::from_secs(1)), "60.0 of 260.0 MB  50.0 MB/s");
        assert_eq!(count(0).message(Duration::ZERO), "60.0 of 260.0 MB");
    }
}
