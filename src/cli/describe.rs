//! `descry describe`: videos in, one track of descriptions per video out.

use clap::Args;

use super::args::{DescriptionArgs, OutputArgs, ThumbnailArgs, report_skipping};
use super::isolate_args::IsolateDefaults;
use super::progress::VideoBars;
use super::reporter::{Reporter, count};
use super::stats_args::StatsArgs;
use crate::address::Address;
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::pipeline::{self, Config, Job, Model, Observer, Outcome, Silent};
use crate::track::output::{self, Target};
use crate::track::{SceneRecord, Track};

const EXAMPLES: &str = "\
Examples:
  descry describe film.mp4                           Write film.vtt next to film.mp4
  descry describe *.mp4 -o out/ -f vtt,json -j 2     Two videos at a time, two formats each
  descry describe film.mp4 -f vtt,dapt,html          Write a script and a transcript too
  descry describe https://host/clip.mp4 -o -         Print WebVTT on standard output
  descry describe film.mp4 --start 1:30 --end 2:00   Describe half a minute of a film";

/// Describe video files and write WebVTT, SRT, JSON, CSV, DAPT or HTML
///
/// descry finds the scenes of each video, captions a keyframe of each scene, and writes a track of timed descriptions. The
/// same video and options give the same output, byte for byte.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct DescribeArgs {
    /// Video files or URLs: http, https, s3, or another one that FFmpeg reads
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<Address>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    stats: StatsArgs,
    #[command(flatten)]
    thumbnails: ThumbnailArgs,
    #[command(flatten)]
    description: DescriptionArgs,
}

pub(super) fn run(args: &DescribeArgs, reporter: &Reporter, interrupt: &Interrupt) -> Result<()> {
    args.description.check(args.inputs.len())?;
    let (inputs, targets) = free_targets(args, reporter)?;
    if inputs.is_empty() {
        return Ok(());
    }
    let models = args.description.content.model.load()?;
    let mut config = args.description.config(&models)?;
    let (isolation, protection) = args.description.isolation(&IsolateDefaults::FEW, reporter)?.unzip();
    config.isolation = isolation;
    let model = args.description.stages(&models, None)?;
    config.language = args.output.language(&model);
    config.thumbnail = args.thumbnails.options();
    config.keep_pictures = args.output.has_pictures();
    let names = inputs.iter().map(Address::shown).collect();
    let bars = reporter.bars().map(|screen| VideoBars::new(names, screen));
    let observer: &dyn Observer = bars.as_ref().map_or(&Silent, |b| b);
    let mut saver = TrackSaver::new(targets, args.output.force, reporter, interrupt);
    let job = Job { inputs: &inputs, config: &config, model, interrupt, observer, sink: None };
    let ran = pipeline::run(job, |file, outcome| saver.finish(file, outcome));
    saver.print_rest()?;
    let stats = ran?;
    report_skipping(&stats, reporter);
    args.stats.report(&stats, protection, reporter);
    Ok(())
}

/// The inputs whose outputs may be written, with their targets. Reports the others.
fn free_targets(args: &DescribeArgs, reporter: &Reporter) -> Result<(Vec<Address>, Vec<Vec<Target>>)> {
    let planned = args.output.plan(&args.inputs)?;
    let (mut inputs, mut free) = (Vec::new(), Vec::new());
    for (input, targets) in args.inputs.iter().zip(planned) {
        match targets.iter().try_for_each(|t| output::check(t, args.output.force)) {
            Ok(()) => {
                inputs.push(input.clone());
                free.push(targets);
            }
            Err(e) => reporter.error(&e),
        }
    }
    Ok((inputs, free))
}

/// Writes tracks: files at once, standard output in the order of the inputs.
///
/// Memory: holds the tracks for standard output until all inputs before them have ended.
struct TrackSaver<'a> {
    targets: Vec<Vec<Target>>,
    overwrite: bool,
    reporter: &'a Reporter,
    interrupt: &'a Interrupt,
    /// Tracks that wait for the inputs before them.
    waiting: Vec<Option<Track>>,
    ended: Vec<bool>,
    /// Inputs whose turn on standard output has passed.
    printed: usize,
}

impl<'a> TrackSaver<'a> {
    fn new(
        targets: Vec<Vec<Target>>,
        overwrite: bool,
        reporter: &'a Reporter,
        interrupt: &'a Interrupt,
    ) -> TrackSaver<'a> {
        let waiting = targets.iter().map(|_| None).collect();
        let ended = vec![false; targets.len()];
        TrackSaver { targets, overwrite, reporter, interrupt, waiting, ended, printed: 0 }
    }

    /// Takes the outcome of an input.
    fn finish(&mut self, file: usize, outcome: Outcome) {
        if let Some(e) = &outcome.error {
            self.reporter.error(e);
        }
        if let Some(track) = outcome.track {
            report_track(&track, self.reporter);
            self.save_files(file, &track);
            if self.targets[file].iter().any(is_stdout) {
                self.waiting[file] = Some(track);
            }
        }
        self.ended[file] = true;
        self.print_ready();
    }

    fn save_files(&self, file: usize, track: &Track) {
        for target in &self.targets[file] {
            let Target::File(path, _) = target else { continue };
            match output::save(track, target, self.overwrite, self.interrupt) {
                Ok(()) => {
                    self.reporter.info(&format!(
                        "{} → {}, {}",
                        track.input,
                        path.display(),
                        count(track.cues.len(), "cue")
                    ));
                }
                Err(e) => self.reporter.error(&e),
            }
        }
    }

    /// Prints the tracks whose turn has come.
    fn print_ready(&mut self) {
        while self.ended.get(self.printed) == Some(&true) {
            if let Some(track) = self.waiting[self.printed].take() {
                for target in self.targets[self.printed].iter().filter(|t| is_stdout(t)) {
                    if let Err(e) = output::save(&track, target, self.overwrite, self.interrupt) {
                        self.reporter.error(&e);
                    }
                }
            }
            self.printed += 1;
        }
    }

    /// Prints the tracks that still wait, because an input before them never ended.
    fn print_rest(&mut self) -> Result<()> {
        for (track, targets) in self.waiting.iter_mut().zip(&self.targets) {
            if let Some(track) = track.take() {
                targets
                    .iter()
                    .filter(|t| is_stdout(t))
                    .try_for_each(|t| output::save(&track, t, self.overwrite, self.interrupt))?;
            }
        }
        Ok(())
    }
}

/// Describes one film, and reports what is wrong with its track.
///
/// # Errors
/// As the pipeline; also if the film cannot be described, and when interrupted.
pub(super) fn describe_film(
    input: &Address,
    config: &Config,
    model: Model,
    reporter: &Reporter,
    interrupt: &Interrupt,
) -> Result<Track> {
    let bars = reporter.bars().map(|screen| VideoBars::new(vec![input.shown()], screen));
    let observer: &dyn Observer = bars.as_ref().map_or(&Silent, |b| b);
    let inputs = std::slice::from_ref(input);
    let mut outcome = None;
    let job = Job { inputs, config, model, interrupt, observer, sink: None };
    let stats = pipeline::run(job, |_, ended| outcome = Some(ended))?;
    report_skipping(&stats, reporter);
    match outcome {
        Some(Outcome { error: Some(e), .. }) => Err(e),
        Some(Outcome { track: Some(track), .. }) if !track.interrupted => {
            report_track(&track, reporter);
            Ok(track)
        }
        _ => Err(Error::Interrupted),
    }
}

/// Reports what is wrong with a track.
pub(super) fn report_track(track: &Track, reporter: &Reporter) {
    if let Some(fault) = track.info.as_ref().and_then(|info| info.side_track_fault.as_ref()) {
        reporter.warn(&format!("{}: {fault}, so speech is not found", track.input));
    }
    if let Some(damage) = &track.damage {
        reporter.partial(&track.input, damage);
    }
    if let Some(scene) = track.pictures.as_ref().and_then(|pictures| track.scenes.get(pictures.full()?)) {
        let from = scene.start.clock();
        reporter
            .warn(&format!("{}: its page has no pictures from {from} on, because it would be too large", track.input));
    }
    let has_text = |s: &SceneRecord| s.text.as_ref().is_some_and(|text| !text.is_empty());
    if track.cues.is_empty() && track.scenes.iter().any(has_text) {
        reporter.note(&format!(
            "{}: no cues, because no caption reached the score of --min-score; 0 keeps every caption",
            track.input
        ));
    } else if track.cues.is_empty() && track.scenes.iter().any(|s| s.text.is_some()) {
        reporter.note(&format!("{}: no cues, because the model's answers describe nothing", track.input));
    }
}

fn is_stdout(target: &Target) -> bool {
    matches!(target, Target::Stdout(_))
}
