//! `descry index`: many videos in, one archive out.

use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};

use super::args::{DescriptionArgs, ThumbnailArgs, report_skipping};
use super::isolate_args::IsolateDefaults;
use super::progress::JobProgress;
use super::reporter::{Reporter, count};
use super::stats_args::StatsArgs;
use super::stdout::print_fields;
use super::values;
use crate::address::Address;
use crate::archive::Archive;
use crate::archive::index::{
    IndexJob, IndexPlan, NetworkSources, PlanOptions, ProgressReport, Shard, SourceListing, list_sources, plan, prune,
    recipe,
};
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::media::LONGEST_SIDE;
use crate::model::{CaptionModel, Manifest, Models};
use crate::pipeline::budget::Budget;
use crate::pipeline::{Config, Stats};
use crate::time::Time;

const EXAMPLES: &str = "\
Examples:
  descry index films/ --into archive                 Describe every video below films/
  descry index films/ --into archive                 Again: only what is new or has changed
  descry index list.txt --into s3://bucket/archive   Videos of a list, into an object store
  descry search archive a dog on a beach             Search in it";

/// Describe many videos into an archive
///
/// Each video is described once: run the command again, and it processes only what is new or has changed. Several processes
/// can share an archive.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct IndexArgs {
    /// Folders, video files, s3:// prefixes, http(s) URLs, or lists of any of these
    ///
    /// Folders are searched recursively. A list is a file *.txt, *.lst or *.list, or - for standard input; it has one source
    /// per line.
    #[arg(required = true, value_name = "SOURCE")]
    sources: Vec<Address>,
    /// The archive: a folder, created if missing, or s3://BUCKET/PREFIX
    #[arg(long, help_heading = "Archive", value_name = "ARCHIVE")]
    into: String,
    /// Retry videos that failed before
    #[arg(long, help_heading = "Archive")]
    retry_failed: bool,
    /// Remove videos from the archive that the sources no longer name
    #[arg(long, help_heading = "Archive", conflicts_with = "shard")]
    prune: bool,
    /// Only print the names of the videos to process, one per line
    #[arg(long, help_heading = "Archive", conflicts_with = "prune")]
    plan: bool,
    /// Process only the I-th of N shares; all shares together are the whole job
    ///
    /// Shares are disjoint. They can run at any time, on any machine.
    #[arg(long, help_heading = "Load", value_name = "I/N")]
    shard: Option<Shard>,
    /// Most threads that compute at the same time [default: no limit]
    #[arg(long, help_heading = "Load", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Most memory to use, such as 800M or 2G [default: no limit]
    ///
    /// Videos wait until there is memory for them. A video that needs more than the limit is refused.
    #[arg(long, help_heading = "Load", value_name = "SIZE", value_parser = values::megabytes)]
    memory: Option<usize>,
    #[command(flatten)]
    stats: StatsArgs,
    #[command(flatten)]
    thumbnails: ThumbnailArgs,
    #[command(flatten)]
    description: DescriptionArgs,
}

pub(super) fn run(args: &IndexArgs, reporter: &Reporter, interrupt: &Interrupt) -> Result<()> {
    // How many videos the sources name is not known yet.
    args.description.check(usize::MAX)?;
    let models = args.description.content.model.load()?;
    let mut config = args.description.config(&models)?;
    config.thumbnail = args.thumbnails.options();
    let (budget, model_threads) = args.budget(&mut config, &models)?;
    config.budget = Arc::new(budget);
    let model = || args.description.stages(&models, model_threads);
    let recipe = recipe(&models.embedder, &config, &model()?.decoding);
    // A plan changes nothing, so it does not create the archive.
    let archive = if args.plan { Archive::open_or_empty(&args.into)? } else { Archive::create(&args.into)? };
    let network = NetworkSources::new(&config.decode, interrupt.clone());
    let listing = list_sources(&args.sources, archive.folder(), &network, interrupt)?;
    let pruned = if args.prune { prune_archive(&archive, &listing, reporter)? } else { 0 };
    let options = PlanOptions { shard: args.shard, retry_failed: args.retry_failed };
    let plan = plan(&archive, &listing.videos, &Arc::new(recipe), &options)?;
    listing.problems.iter().for_each(|e| reporter.error(e));
    if args.plan {
        return print_plan(&plan);
    }
    if args.threads.is_none() {
        args.description.spread(&mut config, plan.videos.len());
    }
    let (isolation, protection) = args.description.isolation(&IsolateDefaults::MANY, reporter)?.unzip();
    config.isolation = isolation;
    remove_left_over(&archive, &plan)?;
    let progress = JobProgress::new(&plan.videos, reporter);
    let (ran, end) = progress.during(|| match plan.videos.as_slice() {
        [] => Ok(Stats::default()),
        videos => {
            IndexJob { archive: &archive, videos, config: &config, model: &model, interrupt, observer: &progress }.run()
        }
    });
    let result = JobResult { end, plan: &plan, pruned, interrupted: interrupt.is_set() };
    if reporter.is_json() {
        progress.event("done", &result.end, &result.fields());
    } else if !reporter.is_quiet() {
        reporter.line(&result.summary());
    }
    let stats = ran?;
    if plan.failed_before > 0 {
        reporter.fail();
    }
    report_skipping(&stats, reporter);
    args.stats.report(&stats, protection, reporter);
    Ok(())
}

/// Removes what the sources no longer name, unless they may be incomplete.
fn prune_archive(archive: &Archive, listing: &SourceListing, reporter: &Reporter) -> Result<usize> {
    if !listing.problems.is_empty() || listing.videos.is_empty() {
        listing.problems.iter().for_each(|e| reporter.error(e));
        return Err(Error::usage(
            "--prune: a source could not be listed, or the sources name no video",
            "Nothing was removed. Run again when all sources are there, or without --prune.",
        ));
    }
    prune(archive, &listing.videos)
}

fn print_plan(plan: &IndexPlan) -> Result<()> {
    for planned in &plan.videos {
        if !print_fields(&[&planned.work.video])? {
            break;
        }
    }
    Ok(())
}

/// Removes older states of videos that are up to date, and what killed runs left.
fn remove_left_over(archive: &Archive, plan: &IndexPlan) -> Result<()> {
    for name in &plan.outdated {
        if let Some(_claim) = archive.claim(name.key)? {
            archive.remove_older_states(*name)?;
        }
    }
    archive.remove_stale_claims()
}

impl IndexArgs {
    /// The limits of the job, and the threads of an inference if they are limited. Adapts the decoder threads in `config`.
    fn budget(&self, config: &mut Config, models: &Models) -> Result<(Budget, Option<usize>)> {
        let mut budget = Budget::default();
        let mut model_threads = self.description.content.model.threads();
        if let Some(threads) = self.threads.map(usize::from) {
            // As without a limit: half for the model, the rest for the videos under way.
            let model = model_threads.unwrap_or(threads.div_ceil(2)).min(threads);
            let decoder = (threads - model).max(1) / config.jobs;
            if config.decode.threads == 0 {
                config.decode.threads = decoder.max(1);
            }
            config.decode.threads = config.decode.threads.min(threads);
            model_threads = Some(model);
            budget = budget.threads(threads, config.decode.threads, model);
        }
        if let Some(all) = self.memory {
            let own = own_mb(models, config);
            if all <= own {
                return Err(Error::usage(
                    format!("--memory {all}M: the program and this model alone can use {own} MB"),
                    format!("Give more: {}M leaves room for a video of 1080p.", own + 200),
                ));
            }
            budget = budget.memory(all - own);
        }
        Ok((budget, model_threads))
    }
}

/// Memory that the program can use besides its videos, in megabytes: itself and the runtime, the weights and what they
/// unpack to, batches of pictures, and batches of captions with their key-value caches.
fn own_mb(models: &Models, config: &Config) -> usize {
    let bytes_of = |manifest: &Manifest| manifest.files.values().map(|f| f.bytes).sum::<u64>();
    let pictures_of = |manifest: &Manifest| {
        let side = u64::from(manifest.image.size);
        config.encode_batch as u64 * side * side * 3 * 4 * 16
    };
    let manifest = models.embedder.manifest();
    let (mut weights, mut pictures) = (bytes_of(manifest), pictures_of(manifest));
    let captions = match &models.captioner {
        CaptionModel::ClipCap(folder) => {
            if folder.hash() != models.embedder.hash() {
                weights += bytes_of(folder.manifest());
                pictures += pictures_of(folder.manifest());
            }
            folder.manifest().captioner.as_ref().map_or(0, |captioner| {
                let d = &captioner.decoder;
                let keys = (d.layers * 2 * d.heads * d.head_dim * 4) as u64 * captioner.longest() as u64;
                keys * (config.caption_batch * captioner.decoding.beam.max(1)) as u64 * 3
            })
        }
        CaptionModel::Hub(folder) => {
            weights += folder.bytes();
            folder.batch_bytes(config.caption_batch)
        }
        // Pictures, and the JPEG and the request of each.
        CaptionModel::Server(_) => config.caption_batch as u64 * 8 * u64::from(LONGEST_SIDE * LONGEST_SIDE),
    };
    120 + usize::try_from((weights * 3 + pictures + captions) >> 20).unwrap_or(usize::MAX >> 1)
}

/// How a job ended.
struct JobResult<'a> {
    end: ProgressReport,
    plan: &'a IndexPlan,
    pruned: usize,
    interrupted: bool,
}

impl JobResult<'_> {
    /// The result for programs, besides the progress.
    fn fields(&self) -> Value {
        json!({ "up_to_date": self.plan.up_to_date, "failed_before": self.plan.failed_before, "pruned": self.pruned })
    }

    /// The result for people.
    fn summary(&self) -> String {
        let end = &self.end;
        let mut parts = vec![format!("{} described", count(end.described, "video"))];
        for (n, what) in [
            (end.in_part, "of them only in part"),
            (end.failed, "failed"),
            (end.elsewhere, "described by another process"),
            (self.plan.up_to_date as u64, "up to date"),
            (self.plan.failed_before as u64, "failed before (--retry-failed tries again)"),
            (self.pruned as u64, "removed"),
        ] {
            if n > 0 {
                parts.push(format!("{n} {what}"));
            }
        }
        let mut line = parts.join(", ");
        if end.hours > 0.0 {
            let clock = |secs: f64| Time::from_secs(secs).clock();
            let (media, wall) = (clock(end.hours * 3600.0), clock(end.seconds));
            line += &format!("; {media} of video processed in {wall}, {:.1}×", end.speed);
        }
        if self.interrupted {
            line += "; interrupted: run again to continue";
        }
        line
    }
}
