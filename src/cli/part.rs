//! `descry part`: one part of a long video, for [`stitch`](super::stitch).

use std::path::PathBuf;

use clap::Args;

use super::args::{DescriptionArgs, ThumbnailArgs, report_skipping};
use super::isolate_args::IsolateDefaults;
use super::reporter::Reporter;
use super::stats_args::StatsArgs;
use super::values;
use crate::address::Address;
use crate::error::Result;
use crate::interrupt::Interrupt;
use crate::model::Models;
use crate::pipeline::parts::{PartJob, PartOptions, describe_part};
use crate::pipeline::{Config, Silent};
use crate::time::Time;

pub(super) const EXAMPLES: &str = "\
Examples:
  descry part film.mkv --part 1/2 -o 1.descry             On one machine
  descry part film.mkv --part 2/2 -o 2.descry             On another
  descry stitch film.mkv 1.descry 2.descry -o film.vtt    Join both";

/// Process one part of a long video
///
/// 'descry stitch' joins the parts to what 'descry describe' writes for the whole video, byte for byte. Give all parts and
/// 'descry stitch' the same options.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct PartArgs {
    /// Video file or URL
    input: Address,
    /// Which part to process, and of how many: 2/8 is the second of eight
    #[arg(long, help_heading = "Part", value_name = "I/N", value_parser = PartOptions::parse)]
    part: (u32, u32),
    /// Time that neighbouring parts share, half of it on each side of their border
    ///
    /// It should contain a scene change, because that is where two parts are joined.
    #[arg(long, help_heading = "Part", value_name = "SECONDS", value_parser = values::time, default_value = "40")]
    overlap: Time,
    /// File to write the part to
    #[arg(short, long, help_heading = "Output", value_name = "FILE")]
    output: PathBuf,
    /// Replace an existing file
    #[arg(long, help_heading = "Output")]
    force: bool,
    #[command(flatten)]
    shared: SharedPartArgs,
}

/// Options that all parts and their stitching have in common.
#[derive(Args)]
pub(super) struct SharedPartArgs {
    #[command(flatten)]
    pub stats: StatsArgs,
    #[command(flatten)]
    thumbnails: ThumbnailArgs,
    #[command(flatten)]
    pub description: DescriptionArgs,
}

impl SharedPartArgs {
    pub(super) fn config(&self, models: &Models) -> Result<Config> {
        self.description.text.refuse_for_parts()?;
        let mut config = self.description.config(models)?;
        config.thumbnail = self.thumbnails.options();
        Ok(config)
    }
}

pub(super) fn run(args: &PartArgs, reporter: &Reporter, interrupt: &Interrupt) -> Result<()> {
    args.shared.description.check(1)?;
    let models = args.shared.description.content.model.load()?;
    let mut config = args.shared.config(&models)?;
    let (isolation, protection) = args.shared.description.isolation(&IsolateDefaults::FEW, reporter)?.unzip();
    config.isolation = isolation;
    let model = args.shared.description.stages(&models, None)?;
    let (number, of) = args.part;
    let stats = describe_part(PartJob {
        input: &args.input,
        part: PartOptions { number, of, overlap: args.overlap },
        config: &config,
        model,
        interrupt,
        observer: &Silent,
        output: &args.output,
        overwrite: args.force,
    })?;
    reporter.info(&format!("part {number} of {of} of {} → {}", args.input, args.output.display()));
    report_skipping(&stats, reporter);
    args.shared.stats.report(&stats, protection, reporter);
    Ok(())
}
