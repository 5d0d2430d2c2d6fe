//! Where `descry speak` gets its descriptions from: a file, or the film itself.

use std::path::PathBuf;

use clap::{Arg, Args, ValueEnum};

use super::args::ContentArgs;
use super::decode_args::{DecodeMode, FrameArgs};
use super::describe::describe_film;
use super::isolate_args::IsolateDefaults;
use super::reporter::Reporter;
use super::review::no_review;
use crate::address::Address;
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::media::{DecodeOptions, SideTrack};
use crate::pipeline::Config;
use crate::review::ReviewFile;
use crate::speak::{DialogueSource, Language, SpeakOptions};
use crate::track::output::{self, Target};
use crate::track::{Format, Track};

/// Where descriptions come from.
#[derive(Args)]
#[command(next_help_heading = "Descriptions")]
pub(super) struct SourceArgs {
    /// File of descriptions: WebVTT as descry describe writes it, SubRip, ASS, or a review (.json)
    #[arg(long, value_name = "FILE")]
    pub(super) descriptions: Option<PathBuf>,
    /// Describe the film first, as descry describe does
    ///
    /// The options from Decoding to Model belong to this.
    #[arg(long)]
    pub(super) describe: bool,
    /// Keep the descriptions in a file too: .vtt, .srt, .json, .csv, .ttml or .html
    #[arg(long, value_name = "FILE", requires = "describe")]
    save_descriptions: Option<PathBuf>,
    /// Language of the descriptions: an ISO 639 code [default: that of a review, otherwise en]
    #[arg(long, value_name = "CODE")]
    language: Option<Language>,
}

/// How the film is described: the options of `descry describe`, which make sense with `--describe` only.
#[derive(Args)]
#[command(mut_args(only_with_describe))]
pub(super) struct FilmArgs {
    #[command(flatten)]
    frames: FrameArgs,
    #[command(flatten)]
    content: ContentArgs,
}

/// The headings of [`FilmArgs`].
const HEADINGS: [&str; 7] = ["Decoding", "Scenes", "Repetitions", "Placement", "Cues", "Captions", "Model"];

fn only_with_describe(arg: Arg) -> Arg {
    let is_one = arg.get_help_heading().is_some_and(|heading| HEADINGS.contains(&heading));
    if is_one { arg.requires("describe") } else { arg }
}

impl SourceArgs {
    /// Refuses two sources, or none. For clap, a conflict would forgive options that are only for one of them, and an option
    /// that is missing would hide that there is another.
    pub(super) fn check(&self) -> Result<()> {
        let (cause, remedy) = match (self.describe, &self.descriptions) {
            (true, Some(_)) => ("--descriptions cannot be used with --describe", "Give one of them."),
            (false, None) => (
                "there are no descriptions to speak",
                "Name their file with --descriptions <FILE>, or give --describe, which describes the film first.",
            ),
            _ => return Ok(()),
        };
        Err(Error::usage(cause, remedy))
    }

    /// The track of a review, if that is what the descriptions are.
    ///
    /// # Errors
    /// If it cannot be read, or holds no descriptions.
    pub(super) fn review(&self) -> Result<Option<Track>> {
        let is_json = |path: &&PathBuf| path.extension().is_some_and(|end| end.eq_ignore_ascii_case("json"));
        let Some(path) = self.descriptions.as_ref().filter(is_json) else { return Ok(None) };
        let track = ReviewFile::read_only(path)?.ok_or_else(|| no_review(path))?.track();
        if track.cues.is_empty() {
            let remedy = "Write some in the review first: descry review FILM.";
            return Err(Error::input(path.display().to_string(), "holds no descriptions", remedy));
        }
        Ok(Some(track))
    }

    /// The language of the descriptions.
    pub(super) fn language(&self, review: Option<&Track>) -> Language {
        // Of a BCP 47 tag, what comes before the region; `und` is no language.
        let primary = review.and_then(|track| track.language.split('-').next()).filter(|code| *code != "und");
        self.language.clone().or_else(|| primary?.parse().ok()).unwrap_or_default()
    }

    /// The file that keeps the descriptions, if the user wants one.
    ///
    /// # Errors
    /// If its name stands for no format, or it exists and must not be replaced.
    pub(super) fn kept(&self, overwrite: bool) -> Result<Option<Target>> {
        let Some(path) = &self.save_descriptions else { return Ok(None) };
        let extension = path.extension().map(|end| end.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
        let format =
            Format::value_variants().iter().find(|format| format.extension() == extension).ok_or_else(|| {
                let cause = format!("--save-descriptions {}: the end of the name stands for no format", path.display());
                Error::usage(cause, "Name a file that ends in .vtt, .srt, .json, .csv, .ttml or .html.")
            })?;
        let target = Target::File(path.clone(), *format);
        output::check(&target, overwrite)?;
        Ok(Some(target))
    }
}

impl FilmArgs {
    /// Refuses options with which the film cannot be described.
    pub(super) fn check(&self) -> Result<()> {
        self.frames.check()?;
        self.content.check()
    }

    /// Describes the film. `kept`: where the descriptions are kept.
    ///
    /// # Errors
    /// As the pipeline; also if the film cannot be described, and when interrupted.
    pub(super) fn describe(
        &self,
        input: &Address,
        options: &SpeakOptions,
        kept: Option<&Target>,
        reporter: &Reporter,
        interrupt: &Interrupt,
    ) -> Result<Track> {
        let mode = self.frames.mode;
        let models = self.content.model.load()?;
        let mut config = Config { decode: self.decode(options), ..self.content.config(&models, mode)? };
        if let DialogueSource::File(dialogue) = &options.dialogue {
            config.dialogue = Some(dialogue.clone());
        }
        let isolation = self.frames.isolation(&IsolateDefaults::FEW, reporter)?;
        if isolation.is_some() {
            reporter.warn(
                "only what describes the film is isolated: descry's own process copies the film, and decodes what is mixed",
            );
        }
        config.isolation = isolation.map(|(isolation, _)| isolation);
        config.language = options.language.voice.clone();
        if let Some(place) = &mut config.place {
            place.extended = options.extended;
        }
        config.keep_pictures = matches!(kept, Some(Target::File(_, Format::Html)));
        let model = self.content.stages(&models, mode, options.language.for_prompt(), None)?;
        describe_film(input, &config, model, reporter, interrupt)
    }

    /// How the film is decoded to be described.
    fn decode(&self, options: &SpeakOptions) -> DecodeOptions {
        DecodeOptions {
            access: options.decode.access.clone(),
            timeout: options.decode.timeout,
            side_track: match &options.dialogue {
                // Of a film whose keyframes alone are read, sound would be most of the work. It is read later anyway.
                DialogueSource::Programme if self.frames.mode == DecodeMode::Keyframes => SideTrack::Nothing,
                DialogueSource::Programme => SideTrack::Audio(options.audio.clone()),
                DialogueSource::File(_) => SideTrack::Nothing,
                DialogueSource::Subtitles(track) => SideTrack::Subtitles(track.clone()),
            },
            ..self.frames.options()
        }
    }
}
