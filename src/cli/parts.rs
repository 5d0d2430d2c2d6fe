//! `descry part` and `descry stitch`: one long film by several processes, on any machines.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use clap::Args;

use super::exit::Exit;
use super::{Describing, Thumbnails, Voice, Written, moment, tell};
use crate::archive::index::{
    DescribeRequest, IndexJob, IndexObserver, NetworkSources, PlanOptions, list_sources, plan, recipe,
};
use crate::archive::{Archive, VideoRecord};
use crate::cli::progress::Silent;
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::model::ModelFolder;
use crate::pipeline::parts::{self, PartJob, PartOptions, StitchJob};
use crate::pipeline::{Config, KeyframeRecord, KeyframeSink, Observer, Outcome, Stats};
use crate::time::Time;
use crate::track::output;

/// What both must be told alike.
#[derive(Args)]
struct Alike {
    #[command(flatten)]
    thumbnails: Thumbnails,
    /// Print as JSON on standard error how long each stage was busy.
    #[arg(long)]
    stats: bool,
    #[command(flatten)]
    how: Describing,
}

#[derive(Args)]
pub(super) struct Part {
    /// The film.
    input: String,
    /// Which part, and of how many: 2/8.
    #[arg(long, value_name = "I/N", value_parser = PartOptions::parse)]
    part: (u32, u32),
    /// Seconds that neighbours share, half of it on either side of their border.
    #[arg(long, value_name = "SECS", value_parser = moment, default_value = "40")]
    overlap: Time,
    /// Where the part goes.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Replace it where it exists.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    alike: Alike,
}

#[derive(Args)]
pub(super) struct Stitch {
    /// The film.
    input: String,
    /// All its parts, in any order.
    #[arg(required = true)]
    parts: Vec<PathBuf>,
    #[command(flatten)]
    written: Written,
    /// Into this archive instead, as index does: nothing is done for a film that is there.
    #[arg(long, value_name = "ARCHIVE", conflicts_with_all = ["output", "format", "force"])]
    into: Option<String>,
    #[command(flatten)]
    alike: Alike,
}

impl Alike {
    fn config(&self, folder: &ModelFolder) -> Result<Config> {
        let mut config = self.how.config(folder)?;
        config.thumbnail = self.thumbnails.options();
        Ok(config)
    }

    fn end(&self, stats: &Stats, voice: &Voice) {
        if self.stats {
            tell(stats, voice);
        }
    }
}

pub(super) fn part(args: &Part, voice: &Voice, interrupt: &Interrupt) -> Result<Exit> {
    args.alike.how.check()?;
    let folder = ModelFolder::load(args.alike.how.model.model.as_deref())?;
    let config = args.alike.config(&folder)?;
    let model = args.alike.how.model(&folder, None)?;
    let (number, of) = args.part;
    let options = PartOptions { number, of, overlap: args.overlap };
    let stats = parts::describe_part(PartJob {
        input: &args.input,
        part: options,
        config: &config,
        model,
        interrupt,
        observer: &Silent,
        output: &args.output,
        overwrite: args.force,
    })?;
    voice.info(&format!("part {number} of {of} of {} → {}", args.input, args.output.display()));
    args.alike.end(&stats, voice);
    Ok(Exit::Done)
}

pub(super) fn stitch(args: &Stitch, voice: &Voice, interrupt: &Interrupt) -> Result<Exit> {
    args.alike.how.check()?;
    let mut targets = Vec::new();
    if args.into.is_none() {
        targets = args.written.plan(std::slice::from_ref(&args.input))?.into_iter().flatten().collect();
        targets.iter().try_for_each(|t| output::check(t, args.written.force))?;
    }
    let folder = ModelFolder::load(args.alike.how.model.model.as_deref())?;
    let config = args.alike.config(&folder)?;
    // For what is watched again; it goes with this process.
    let scratch = tempfile::Builder::new().prefix("descry-stitch-").tempdir().map_err(|e| {
        let folder = std::env::temp_dir().display().to_string();
        Error::output(folder, e.to_string(), "Name another folder in TMPDIR.")
    })?;
    let paths: Vec<&Path> = args.parts.iter().map(PathBuf::as_path).collect();
    if let Some(archive) = &args.into {
        return into_archive(args, archive, &folder, &config, &paths, scratch.path(), voice, interrupt);
    }
    let models = || args.alike.how.model(&folder, None);
    let mut exit = Exit::Done;
    let mut save = |outcome: Outcome| {
        if let Some(e) = &outcome.error {
            voice.error(e);
            exit = Exit::SomeFailed;
        }
        let Some(track) = outcome.track else { return };
        if let Some(damage) = &track.damage {
            voice.warn(&format!("{}: described in part: {damage}", track.input));
            exit = Exit::SomeFailed;
        }
        for target in &targets {
            if let Err(e) = output::save(&track, target, args.written.force) {
                voice.error(&e);
                exit = Exit::SomeFailed;
            }
        }
    };
    let (stitched, stats) = parts::stitch(
        &StitchJob {
            input: &args.input,
            parts: &paths,
            config: &config,
            models: &models,
            scratch: scratch.path(),
            interrupt,
            observer: &Silent,
            sink: None,
        },
        &mut save,
    )?;
    say(&args.input, &stitched, voice);
    args.alike.end(&stats, voice);
    Ok(if interrupt.is_set() { Exit::Interrupted } else { exit })
}

/// As `descry index` of this one film, of its parts.
#[allow(clippy::too_many_arguments)]
fn into_archive(
    args: &Stitch,
    location: &str,
    folder: &ModelFolder,
    config: &Config,
    paths: &[&Path],
    scratch: &Path,
    voice: &Voice,
    interrupt: &Interrupt,
) -> Result<Exit> {
    let models = || args.alike.how.model(folder, None);
    let recipe = recipe(folder, config, &models()?.decoding);
    let archive = Archive::create(location)?;
    let web = NetworkSources::new(config.decode.timeout, interrupt.clone());
    let listing = list_sources(std::slice::from_ref(&args.input), archive.folder(), &web, interrupt)?;
    if listing.videos.len() != 1 {
        return Err(listing.problems.into_iter().next().unwrap_or_else(|| {
            Error::usage(format!("{}: is not one film", args.input), "Name the film whose parts these are.")
        }));
    }
    // That it failed before says nothing: its parts are here.
    let options = PlanOptions { retry_failed: true, ..PlanOptions::default() };
    let plan = plan(&archive, &listing.videos, &Arc::new(recipe), &options)?;
    let describe = |request: DescribeRequest<'_>| {
        let DescribeRequest { inputs, observer, sink: keep, done, .. } = request;
        if !keep.begin(0)? {
            return Ok(Stats::default());
        }
        let input = inputs.first().map_or("", String::as_str);
        let keep = Some(&Begun(keep) as &dyn KeyframeSink);
        let mut done = |outcome| done(0, outcome);
        let (stitched, stats) = parts::stitch(
            &StitchJob { input, parts: paths, config, models: &models, scratch, interrupt, observer, sink: keep },
            &mut done,
        )?;
        say(&args.input, &stitched, voice);
        Ok(stats)
    };
    let failures = Failures { voice, count: AtomicU32::new(0) };
    let job =
        IndexJob { archive: &archive, videos: &plan.videos, config, model: &models, interrupt, observer: &failures };
    let stats = job.run_with(&describe)?;
    args.alike.end(&stats, voice);
    Ok(match failures.count.into_inner() {
        _ if interrupt.is_set() => Exit::Interrupted,
        0 => Exit::Done,
        _ => Exit::SomeFailed,
    })
}

/// A keeper whose turn has come already.
struct Begun<'a>(&'a dyn KeyframeSink);

impl KeyframeSink for Begun<'_> {
    fn scene(&self, file: usize, kept: KeyframeRecord) -> Result<()> {
        self.0.scene(file, kept)
    }
}

/// Tells what goes wrong.
struct Failures<'a> {
    voice: &'a Voice,
    count: AtomicU32,
}

impl Observer for Failures<'_> {}

impl IndexObserver for Failures<'_> {
    fn stored(&self, _: usize, record: &VideoRecord) {
        if let Some(damage) = &record.damage {
            self.voice.warn(&format!("{}: described in part: {damage}", record.video));
            self.count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn failed(&self, _: usize, error: &Error, _: bool) {
        self.voice.error(error);
        self.count.fetch_add(1, Ordering::Relaxed);
    }
}

/// How it went: a film that was described whole cost what parts are to save.
fn say(input: &str, stitched: &parts::Stitched, voice: &Voice) {
    match &stitched.whole {
        Some(reason) => voice.warn(&format!("{input}: described whole, not of its parts: {reason}")),
        None => voice.info(&format!("{input}: {} seams, {} gaps watched again", stitched.seams, stitched.gaps)),
    }
}
