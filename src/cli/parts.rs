//! `descry part` and `descry stitch`: one long film by several processes, on any machines.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{Describing, Voice, moment, tell};
use crate::error::{Error, Exit, Result};
use crate::export::Format;
use crate::interrupt::Interrupt;
use crate::model::ModelFolder;
use crate::output;
use crate::part::{self, PartOptions};
use crate::pipeline::{Outcome, Stats};
use crate::progress::Silent;
use crate::thumbnail::ThumbnailOptions;
use crate::time::Time;

/// What both must be told alike.
#[derive(Args)]
struct Alike {
    /// Most pixels across a thumbnail; 0 makes none.
    #[arg(long, value_name = "PIXELS", default_value_t = 320, value_parser = clap::value_parser!(u32).range(0..=1280))]
    thumbnail_width: u32,
    /// JPEG quality of thumbnails, 1 to 100.
    #[arg(long, value_name = "N", default_value_t = 80, value_parser = clap::value_parser!(u8).range(1..=100))]
    thumbnail_quality: u8,
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
    /// File, folder, or - for standard output [default: beside the film].
    #[arg(short, long)]
    output: Option<String>,
    /// Output formats, separated by commas.
    #[arg(short, long, value_enum, value_delimiter = ',', default_value = "vtt")]
    format: Vec<Format>,
    /// Replace outputs that exist.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    alike: Alike,
}

impl Alike {
    fn config(&self, folder: &ModelFolder) -> Result<crate::pipeline::Config> {
        let mut config = self.how.config(folder)?;
        config.thumbnail = ThumbnailOptions { width: self.thumbnail_width, quality: self.thumbnail_quality };
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
    let model = args.alike.how.model(&folder)?;
    let (number, of) = args.part;
    let options = PartOptions { number, of, overlap: args.overlap };
    let stats = part::watch(&args.input, &options, &config, model, interrupt, &Silent, &args.output, args.force)?;
    voice.info(&format!("part {number} of {of} of {} → {}", args.input, args.output.display()));
    args.alike.end(&stats, voice);
    Ok(Exit::Done)
}

pub(super) fn stitch(args: &Stitch, voice: &Voice, interrupt: &Interrupt) -> Result<Exit> {
    args.alike.how.check()?;
    let mut formats = args.format.clone();
    formats.sort_by_key(|f| *f as u8);
    formats.dedup();
    let inputs = [args.input.clone()];
    let targets: Vec<_> = output::plan(&inputs, args.output.as_deref(), &formats)?.into_iter().flatten().collect();
    targets.iter().try_for_each(|t| output::check(t, args.force))?;
    let folder = ModelFolder::load(args.alike.how.model.model.as_deref())?;
    let config = args.alike.config(&folder)?;
    let scratch = Scratch::new()?;
    let paths: Vec<&Path> = args.parts.iter().map(PathBuf::as_path).collect();
    let models = || args.alike.how.model(&folder);
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
            if let Err(e) = output::save(&track, target, args.force) {
                voice.error(&e);
                exit = Exit::SomeFailed;
            }
        }
    };
    let (stitched, stats) =
        part::stitch(&args.input, &paths, &config, &models, scratch.path(), interrupt, &Silent, None, &mut save)?;
    say(&args.input, &stitched, voice);
    args.alike.end(&stats, voice);
    Ok(if interrupt.is_set() { Exit::Interrupted } else { exit })
}

/// How it went: a film that was described whole cost what parts are to save.
fn say(input: &str, stitched: &part::Stitched, voice: &Voice) {
    match &stitched.whole {
        Some(reason) => voice.warn(&format!("{input}: described whole, not of its parts: {reason}")),
        None => voice.info(&format!("{input}: {} seams, {} gaps watched again", stitched.seams, stitched.gaps)),
    }
}

/// A folder of this process for what it watches again, gone with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Scratch> {
        let path = std::env::temp_dir().join(format!("descry-stitch-{}", std::process::id()));
        std::fs::create_dir_all(&path)
            .map_err(|e| Error::output(path.display().to_string(), e.to_string(), "Name another folder in TMPDIR."))?;
        Ok(Scratch(path))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
