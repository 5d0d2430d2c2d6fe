//! `descry stitch`: the parts of a long video in, the descriptions of the whole video out.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use super::args::{OutputArgs, report_skipping};
use super::describe::report_track;
use super::isolate_args::IsolateDefaults;
use super::part::{EXAMPLES, SharedPartArgs};
use super::reporter::{Reporter, count};
use crate::address::Address;
use crate::archive::index::{
    DescribeRequest, IndexJob, IndexObserver, NetworkSources, PlanOptions, list_sources, plan, recipe,
};
use crate::archive::{Archive, VideoRecord};
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::model::Models;
use crate::pipeline::parts::{StitchJob, Stitched, stitch};
use crate::pipeline::{Config, KeyframeRecord, KeyframeSink, Model, Observer, Outcome, Silent, Stats};
use crate::track::output::{self, Target};

/// Join the parts of a long video
///
/// Writes what 'descry describe' writes for the whole video, byte for byte. Give it the options that the parts had.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct StitchArgs {
    /// Video file or URL
    input: Address,
    /// All parts of the video, in any order
    #[arg(required = true, value_name = "PART")]
    parts: Vec<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
    /// Add the video to this archive instead, as 'descry index' does
    ///
    /// Does nothing if the archive has the video already.
    #[arg(long, help_heading = "Output", value_name = "ARCHIVE", conflicts_with_all = ["output", "format", "language_tag", "force"])]
    into: Option<String>,
    #[command(flatten)]
    shared: SharedPartArgs,
}

pub(super) fn run(args: &StitchArgs, reporter: &Reporter, interrupt: &Interrupt) -> Result<()> {
    args.shared.description.check(1)?;
    let mut targets = Vec::new();
    if args.into.is_none() {
        targets = args.output.plan(std::slice::from_ref(&args.input))?.into_iter().flatten().collect();
        targets.iter().try_for_each(|t| output::check(t, args.output.force))?;
    }
    let models = args.shared.description.content.model.load()?;
    let mut config = args.shared.config(&models)?;
    let (isolation, protection) = args.shared.description.isolation(&IsolateDefaults::FEW, reporter)?.unzip();
    config.isolation = isolation;
    config.keep_pictures = args.output.has_pictures();
    config.language = args.output.language(&args.shared.description.stages(&models, None)?);
    let scratch = tempfile::Builder::new().prefix("descry-stitch-").tempdir().map_err(|e| {
        let folder = std::env::temp_dir().display().to_string();
        Error::output(folder, e.to_string(), "Name another folder in TMPDIR.")
    })?;
    let run = StitchRun {
        args,
        models: &models,
        config: &config,
        parts: args.parts.iter().map(PathBuf::as_path).collect(),
        scratch: scratch.path(),
        reporter,
        interrupt,
    };
    let stats = match &args.into {
        Some(archive) => run.add_to_archive(archive)?,
        None => run.write_files(&targets)?,
    };
    report_skipping(&stats, reporter);
    args.shared.stats.report(&stats, protection, reporter);
    Ok(())
}

/// The video and its parts.
struct StitchRun<'a> {
    args: &'a StitchArgs,
    models: &'a Models,
    config: &'a Config,
    parts: Vec<&'a Path>,
    /// A folder for stretches that have to be processed again; it is removed at the end.
    scratch: &'a Path,
    reporter: &'a Reporter,
    interrupt: &'a Interrupt,
}

impl StitchRun<'_> {
    fn model(&self) -> Result<Model> {
        self.args.shared.description.stages(self.models, None)
    }

    fn stitch(
        &self,
        input: &Address,
        observer: &dyn Observer,
        sink: Option<&dyn KeyframeSink>,
        done: &mut dyn FnMut(Outcome),
    ) -> Result<Stats> {
        let job = StitchJob {
            input,
            parts: &self.parts,
            config: self.config,
            models: &|| self.model(),
            scratch: self.scratch,
            interrupt: self.interrupt,
            observer,
            sink,
        };
        let (stitched, stats) = stitch(&job, done)?;
        self.report(&stitched);
        Ok(stats)
    }

    /// Reports how it went. A video that was processed as a whole cost the time that parts are meant to save.
    fn report(&self, stitched: &Stitched) {
        let video = &self.args.input;
        match &stitched.whole {
            Some(reason) => {
                self.reporter.warn(&format!("{video}: processed as a whole, because its parts do not fit: {reason}"));
            }
            None => self.reporter.info(&format!(
                "{video}: {}, {} processed again",
                count(stitched.seams, "seam"),
                count(stitched.gaps, "gap")
            )),
        }
    }

    fn write_files(&self, targets: &[Target]) -> Result<Stats> {
        let mut save = |outcome: Outcome| {
            if let Some(e) = &outcome.error {
                self.reporter.error(e);
            }
            let Some(track) = outcome.track else { return };
            report_track(&track, self.reporter);
            for target in targets {
                if let Err(e) = output::save(&track, target, self.args.output.force, self.interrupt) {
                    self.reporter.error(&e);
                }
            }
        };
        self.stitch(&self.args.input, &Silent, None, &mut save)
    }

    /// Does what `descry index` does with this one video, from its parts.
    fn add_to_archive(&self, location: &str) -> Result<Stats> {
        let recipe = recipe(&self.models.embedder, self.config, &self.model()?.decoding);
        let archive = Archive::create(location)?;
        let network = NetworkSources::new(&self.config.decode, self.interrupt.clone());
        let listing = list_sources(std::slice::from_ref(&self.args.input), archive.folder(), &network, self.interrupt)?;
        if listing.videos.len() != 1 {
            return Err(listing.problems.into_iter().next().unwrap_or_else(|| {
                Error::usage(format!("{}: is not one video", self.args.input), "Name the video whose parts these are.")
            }));
        }
        // The parts exist, so an earlier failure says nothing about this attempt.
        let options = PlanOptions { retry_failed: true, ..PlanOptions::default() };
        let plan = plan(&archive, &listing.videos, &Arc::new(recipe), &options)?;
        let describe = |request: DescribeRequest<'_>| {
            let DescribeRequest { inputs, observer, sink, done, .. } = request;
            if !sink.begin(0)? {
                return Ok(Stats::default());
            }
            let input = inputs.first().unwrap_or(&self.args.input);
            self.stitch(input, observer, Some(&BegunSink(sink)), &mut |outcome| done(0, outcome))
        };
        let observer = ProblemReporter(self.reporter);
        let models = || self.model();
        let job = IndexJob {
            archive: &archive,
            videos: &plan.videos,
            config: self.config,
            model: &models,
            interrupt: self.interrupt,
            observer: &observer,
        };
        job.run_with(&describe)
    }
}

/// Stores the keyframes of a video that has begun already.
struct BegunSink<'a>(&'a dyn KeyframeSink);

impl KeyframeSink for BegunSink<'_> {
    fn scene(&self, file: usize, keyframe: KeyframeRecord) -> Result<()> {
        self.0.scene(file, keyframe)
    }
}

/// Reports problems.
struct ProblemReporter<'a>(&'a Reporter);

impl Observer for ProblemReporter<'_> {}

impl IndexObserver for ProblemReporter<'_> {
    fn stored(&self, _: usize, record: &VideoRecord) {
        if let Some(damage) = &record.damage {
            self.0.partial(&record.video, damage);
        }
    }

    fn failed(&self, _: usize, error: &Error, _: bool) {
        self.0.error(error);
    }
}
