//! `descry index`: options, progress on standard error, the summary.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::exit::Exit;
use super::{Describing, Thumbnails, Voice, print, tell};
use crate::archive::index::{
    IndexJob, IndexObserver, IndexProgress, NetworkSources, PlanOptions, ProgressReport, Shard, list_sources, plan,
    prune, recipe,
};
use crate::archive::{Archive, VideoRecord};
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::media::StreamInfo;
use crate::model::ModelFolder;
use crate::pipeline::budget::Budget;
use crate::pipeline::{Config, Observer, Stats};
use crate::time::Time;

#[derive(Args)]
pub(super) struct Index {
    /// Folders (searched through), video files, s3:// prefixes or objects, http(s) addresses, lists of any of these, one a
    /// line (*.txt, *.lst, *.list, or - for standard input).
    #[arg(required = true)]
    sources: Vec<String>,
    /// The archive: a folder, which is made where there is none, or s3://BUCKET/PREFIX.
    #[arg(long, value_name = "ARCHIVE")]
    into: String,
    /// Do a share of the job: the i-th of n. All shares together are the whole, whoever does them and where.
    #[arg(long, value_name = "i/n")]
    shard: Option<Shard>,
    /// Try again what failed before.
    #[arg(long)]
    retry_failed: bool,
    /// Take out of the archive what the sources do not name any more.
    #[arg(long, conflicts_with = "shard")]
    prune: bool,
    /// Only say what would be done: the names of the videos, one a line on standard output.
    #[arg(long, conflicts_with = "prune")]
    plan: bool,
    #[command(flatten)]
    thumbnails: Thumbnails,
    /// Threads that compute at the same time, at most [default: as many as are useful].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Memory that may be taken, as 800M or 2G: films wait for one another, one that needs more is refused [default: no
    /// bound].
    #[arg(long, value_name = "SIZE", value_parser = megabytes)]
    memory: Option<usize>,
    /// Print as JSON on standard error how long each stage was busy.
    #[arg(long)]
    stats: bool,
    #[command(flatten)]
    how: Describing,
}

/// A size in megabytes: `800M`, `2G`, `1.5G`.
fn megabytes(text: &str) -> std::result::Result<usize, String> {
    let (number, unit) = text.split_at(text.len() - text.chars().last().map_or(0, char::len_utf8));
    let factor = match unit.to_ascii_uppercase().as_str() {
        "M" => 1.0,
        "G" => 1024.0,
        "T" => 1024.0 * 1024.0,
        _ => return Err("use a number and M or G, as 800M or 2G".into()),
    };
    match number.parse::<f64>() {
        Ok(n) if n > 0.0 && n < 1e9 => Ok((n * factor) as usize),
        _ => Err("use a number and M or G, as 800M or 2G".into()),
    }
}

impl Index {
    /// The budget, and the shares of it that decoders and the model take.
    fn budget(&self, config: &mut Config, folder: &ModelFolder) -> Result<(Budget, Option<usize>)> {
        let mut budget = Budget::default();
        let mut model_threads = self.how.model.model_threads;
        if let Some(threads) = self.threads.map(usize::from) {
            // As without a budget: half for the model, the rest for the films that run.
            let model = model_threads.unwrap_or(threads.div_ceil(2)).min(threads);
            let films = (threads - model).max(1) / config.jobs;
            if config.decode.threads == 0 {
                config.decode.threads = films.max(1);
            }
            config.decode.threads = config.decode.threads.min(threads);
            model_threads = Some(model);
            budget = budget.threads(threads, config.decode.threads, model);
        }
        if let Some(all) = self.memory {
            let own = own_mb(folder, config);
            if all <= own {
                return Err(Error::usage(
                    format!("--memory {all}M: the program and this model alone can take {own} MB"),
                    format!("Give more: {}M leaves room for a film of 1080p.", own + 200),
                ));
            }
            budget = budget.memory(all - own);
        }
        Ok((budget, model_threads))
    }
}

/// What the program takes beside its films, in megabytes: itself and the runtime, the weights and what they are unpacked
/// to, batches of pictures and of captions with their keys.
fn own_mb(folder: &ModelFolder, config: &Config) -> usize {
    let manifest = folder.manifest();
    let weights: u64 = manifest.files.values().map(|f| f.bytes).sum();
    let side = u64::from(manifest.image.size);
    let pictures = config.encode_batch as u64 * side * side * 3 * 4 * 16;
    let d = &manifest.decoder;
    let keys = (d.layers * 2 * d.heads * d.head_dim * 4) as u64 * manifest.longest() as u64;
    let captions = keys * (config.caption_batch * manifest.decoding.beam.max(1)) as u64 * 3;
    120 + usize::try_from((weights * 3 + pictures + captions) >> 20).unwrap_or(usize::MAX >> 1)
}

/// Progress to standard error: a bar, or a line now and then.
struct Teller<'a> {
    progress: IndexProgress,
    voice: &'a Voice,
    bar: Option<ProgressBar>,
}

/// How often a line tells of the progress where there is no bar.
const LINES: Duration = Duration::from_secs(30);
const JSON_LINES: Duration = Duration::from_secs(5);

impl Teller<'_> {
    fn line(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| self.voice.line(line)),
            None => self.voice.line(line),
        }
    }

    fn say(&self, level: &str, text: &str) {
        self.line(&self.voice.worded(level, text));
    }

    fn json(&self, message: &str, snapshot: &ProgressReport, more: Value) {
        let mut line = json!({ "level": "info", "message": message, "progress": snapshot });
        if let (Some(line), Value::Object(more)) = (line.as_object_mut(), more) {
            line.extend(more);
        }
        self.line(&line.to_string());
    }

    /// Tells of the progress until told to stop.
    fn follow(&self, stop: &AtomicBool) {
        let every = if self.voice.json { JSON_LINES } else { LINES };
        let mut last = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            thread::park_timeout(Duration::from_millis(250));
            if let Some(bar) = &self.bar {
                let now = self.progress.report();
                bar.set_position(now.finished());
                bar.set_message(now.line());
            } else if last.elapsed() >= every && !self.voice.quiet && !stop.load(Ordering::Relaxed) {
                last = Instant::now();
                let now = self.progress.report();
                if self.voice.json { self.json("progress", &now, Value::Null) } else { self.line(&now.line()) }
            }
        }
    }
}

impl Observer for Teller<'_> {
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

impl IndexObserver for Teller<'_> {
    fn stored(&self, file: usize, record: &VideoRecord) {
        self.progress.stored(file, record);
        if let Some(damage) = record.damage.as_ref().filter(|_| !self.voice.quiet) {
            self.say("warning", &format!("{}: described in part: {damage}", record.video));
        }
        if self.voice.verbose > 0 && !self.voice.quiet {
            self.say("info", &format!("{}: {} keyframes, {} cues", record.video, record.keyframes, record.cues));
        }
    }

    fn failed(&self, file: usize, error: &Error, kept: bool) {
        self.progress.failed(file, error, kept);
        self.say("error", &super::flags::explain(error));
    }

    fn described_elsewhere(&self, file: usize) {
        self.progress.described_elsewhere(file);
    }
}

pub(super) fn index(args: &Index, voice: &Voice, interrupt: &Interrupt) -> Result<Exit> {
    args.how.check()?;
    let folder = ModelFolder::load(args.how.model.model.as_deref())?;
    let mut config = args.how.config(&folder)?;
    config.thumbnail = args.thumbnails.options();
    let (budget, model_threads) = args.budget(&mut config, &folder)?;
    config.budget = Arc::new(budget);
    let model = || args.how.model(&folder, model_threads);
    let recipe = recipe(&folder, &config, &model()?.decoding);
    // Who only asks makes nothing.
    let archive = if args.plan { Archive::open_or_empty(&args.into)? } else { Archive::create(&args.into)? };
    let network = NetworkSources::new(config.decode.timeout, interrupt.clone());
    let listing = list_sources(&args.sources, archive.folder(), &network, interrupt)?;
    let complete = listing.problems.is_empty();
    let none = listing.videos.is_empty();
    let mut pruned = 0;
    if args.prune {
        if !complete || none {
            listing.problems.iter().for_each(|e| voice.error(e));
            return Err(Error::usage(
                "--prune: not all sources could be listed, or they hold no videos",
                "Nothing was taken out. Run again when all sources are there, or without --prune.",
            ));
        }
        pruned = prune(&archive, &listing.videos)?;
    }
    let options = PlanOptions { shard: args.shard, retry_failed: args.retry_failed };
    let plan = plan(&archive, &listing.videos, &Arc::new(recipe), &options)?;
    let problems = listing.problems;
    problems.iter().for_each(|e| voice.error(e));
    if args.plan {
        for planned in &plan.videos {
            if !print(&planned.work.video)? {
                break;
            }
        }
        return Ok(if problems.is_empty() { Exit::Done } else { Exit::SomeFailed });
    }
    for name in &plan.outdated {
        if let Some(_claim) = archive.claim(name.key)? {
            archive.remove_older_states(*name)?;
        }
    }
    archive.remove_stale_claims()?;
    let bar = (!voice.quiet && !voice.json && io::stderr().is_terminal() && !plan.videos.is_empty()).then(|| {
        let bar = ProgressBar::new(plan.videos.len() as u64);
        if let Ok(style) = ProgressStyle::with_template("[{bar:24}] {msg}") {
            bar.set_style(style);
        }
        bar
    });
    let teller = Teller { progress: IndexProgress::new(&plan.videos), voice, bar };
    let stop = AtomicBool::new(false);
    let ran = thread::scope(|scope| {
        let follower = scope.spawn(|| teller.follow(&stop));
        let ran = if plan.videos.is_empty() {
            Ok(Stats::default())
        } else {
            IndexJob {
                archive: &archive,
                videos: &plan.videos,
                config: &config,
                model: &model,
                interrupt,
                observer: &teller,
            }
            .run()
        };
        stop.store(true, Ordering::Relaxed);
        follower.thread().unpark();
        ran
    });
    if let Some(bar) = &teller.bar {
        bar.finish_and_clear();
    }
    let end = teller.progress.report();
    let counts = json!({ "up_to_date": plan.up_to_date, "failed_before": plan.failed_before, "pruned": pruned });
    if voice.json {
        teller.json("done", &end, counts);
    } else if !voice.quiet {
        teller.line(&summary(&end, plan.up_to_date, plan.failed_before, pruned, interrupt.is_set()));
    }
    let stats = ran?;
    if args.stats {
        tell(&stats, voice);
    }
    let clean = problems.is_empty() && end.failed == 0 && end.in_part == 0 && plan.failed_before == 0;
    Ok(if interrupt.is_set() {
        Exit::Interrupted
    } else if clean {
        Exit::Done
    } else {
        Exit::SomeFailed
    })
}

fn summary(end: &ProgressReport, up_to_date: usize, failed_before: usize, pruned: usize, interrupted: bool) -> String {
    let videos = |n: u64| if n == 1 { "1 video".to_string() } else { format!("{n} videos") };
    let mut parts = vec![format!("{} described", videos(end.described))];
    if end.in_part > 0 {
        parts.push(format!("{} of them in part", end.in_part));
    }
    for (n, what) in [
        (end.failed, "failed"),
        (end.elsewhere, "described by others meanwhile"),
        (up_to_date as u64, "up to date"),
        (failed_before as u64, "failed before (--retry-failed tries again)"),
        (pruned as u64, "taken out"),
    ] {
        if n > 0 {
            parts.push(format!("{n} {what}"));
        }
    }
    let mut line = parts.join(", ");
    if end.hours > 0.0 {
        let clock = |secs: f64| Time::from_secs(secs).clock();
        line += &format!("; {} watched in {}, {:.1}×", clock(end.hours * 3600.0), clock(end.seconds), end.speed);
    }
    if interrupted {
        line += "; interrupted: run again to go on";
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        assert_eq!((megabytes("800M"), megabytes("2g"), megabytes("1.5G")), (Ok(800), Ok(2048), Ok(1536)));
        for bad in ["", "M", "800", "-1G", "0G", "xG", "1é"] {
            assert!(megabytes(bad).is_err(), "{bad}");
        }
    }
}
