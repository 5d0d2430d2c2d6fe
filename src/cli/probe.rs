//! `descry probe`: what inputs contain.

use std::path::{Path, PathBuf};

use clap::Args;

use super::access_args::AccessArgs;
use super::describe::report_track;
use super::progress::VideoBars;
use super::reporter::{Reporter, count};
use super::stdout::{print_json, print_line};
use crate::address::Address;
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::media::probe::probe;
use crate::media::{DecodeOptions, Dialogue, SideTrack};
use crate::pipeline::{Config, Observer, Silent, storyboard};
use crate::track::Format;
use crate::track::output::{self, Target};

const EXAMPLES: &str = "\
Examples:
  descry probe film.mp4                    Print streams, duration, size and rotation
  descry probe *.mp4 --json                One JSON object per video
  descry probe film.mp4 --storyboard film.html    Write a page with a picture of each scene";

/// Show what a video contains and what descry would describe
///
/// Decodes only the first frame of each input. With --storyboard, it decodes all of it, finds its scenes, and runs no model.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ProbeArgs {
    /// Video files or URLs: http, https, s3, or another one that FFmpeg reads
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<Address>,
    /// Print one JSON object per input
    #[arg(long, help_heading = "Output")]
    json: bool,
    #[command(flatten)]
    board: StoryboardArgs,
    #[command(flatten)]
    access: AccessArgs,
}

/// The scenes as a page.
#[derive(Args)]
#[command(next_help_heading = "Storyboard")]
struct StoryboardArgs {
    /// Also write a page with a picture of each scene: a file, or a folder for several videos
    ///
    /// The page is one file without scripts, as describe -f html writes it. Its scenes are those that describe captions.
    #[arg(long, value_name = "FILE|DIR")]
    storyboard: Option<String>,
    /// Show these descriptions on the page: WebVTT, SubRip or ASS
    #[arg(long, value_name = "FILE", requires = "storyboard")]
    descriptions: Option<PathBuf>,
    /// Replace an existing page
    #[arg(long, requires = "storyboard")]
    force: bool,
}

pub(super) fn run(args: &ProbeArgs, reporter: &Reporter, interrupt: &Interrupt) -> Result<()> {
    let options = DecodeOptions { access: args.access.policy()?, ..DecodeOptions::default() };
    let pages = args.board.plan(&args.inputs)?;
    for (n, input) in args.inputs.iter().enumerate() {
        let page = pages.as_ref().and_then(|pages| pages.paths.get(n).zip(Some(pages)));
        let probed = probe(input, &options, interrupt.clone()).and_then(|found| {
            let more = if args.json { print_json(&found) } else { print_line(&found.to_string()) }?;
            if let Some((path, pages)) = page {
                pages.write(input, path, &options, reporter, interrupt)?;
            }
            Ok(more)
        });
        match probed {
            Ok(true) => {}
            Ok(false) | Err(Error::Interrupted) => return Ok(()),
            Err(e) => reporter.error(&e),
        }
    }
    Ok(())
}

impl StoryboardArgs {
    /// The pages to write; none if none is asked for.
    fn plan(&self, inputs: &[Address]) -> Result<Option<StoryboardPages>> {
        let Some(to) = &self.storyboard else { return Ok(None) };
        if to == "-" {
            let remedy = "Name a file, or a folder for several videos.";
            return Err(Error::usage("--storyboard - is no file, and probe prints what it finds there", remedy));
        }
        if self.descriptions.is_some() && inputs.len() > 1 {
            let remedy = "Probe one video at a time, or leave them out.";
            return Err(Error::usage("--descriptions belong to one video, and there are several", remedy));
        }
        let descriptions = self.descriptions.as_deref().map(Dialogue::read).transpose()?;
        let planned = output::plan(inputs, Some(to), &[Format::Html])?;
        planned.iter().flatten().try_for_each(|target| output::check(target, self.force))?;
        let path = |target| match target {
            Target::File(path, _) => Some(path),
            Target::Stdout(_) => None,
        };
        let paths = planned.into_iter().flatten().filter_map(path).collect();
        Ok(Some(StoryboardPages { paths, descriptions, overwrite: self.force }))
    }
}

/// Where the pages go, one for each input.
struct StoryboardPages {
    paths: Vec<PathBuf>,
    descriptions: Option<Dialogue>,
    overwrite: bool,
}

impl StoryboardPages {
    fn write(
        &self,
        input: &Address,
        path: &Path,
        decode: &DecodeOptions,
        reporter: &Reporter,
        interrupt: &Interrupt,
    ) -> Result<()> {
        let decode = DecodeOptions { side_track: SideTrack::Nothing, ..decode.clone() };
        let config = Config { decode, keep_pictures: true, ..Config::default() };
        let bars = reporter.bars().map(|screen| VideoBars::new(vec![input.shown()], screen));
        let observer: &dyn Observer = bars.as_ref().map_or(&Silent, |bars| bars);
        let track = storyboard(input, &config, self.descriptions.as_ref(), interrupt, observer)?;
        report_track(&track, reporter);
        output::save_storyboard(&track, path, self.overwrite, interrupt)?;
        reporter.info(&format!("{} → {}, {}", track.input, path.display(), count(track.scenes.len(), "scene")));
        Ok(())
    }
}
