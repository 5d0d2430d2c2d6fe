//! `descry speak`: descriptions spoken, and mixed into their film.

use std::path::PathBuf;

use clap::Args;

use super::access_args::AccessArgs;
use super::reporter::{Reporter, count};
use super::speak_source::{FilmArgs, SourceArgs};
use super::speech_args::{DialogueArgs, DialogueChoice};
use super::values;
use super::voice_args::VoiceProgramArgs;
use crate::address::Address;
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::media::{AudioCodec, DecodeOptions, TrackChoice};
use crate::mix::DuckOptions;
use crate::speak::{
    DescriptionSource, DialogueSource, Language, SpeakJob, SpeakOptions, SpeakReport, SpeechFit, speak,
};
use crate::time::Time;
use crate::track::Format;
use crate::track::output::{self, Target};
use crate::voice::VoicePreset;

const EXAMPLES: &str = "\
Examples:
  descry speak film.mp4 --descriptions film.vtt -o film.described.mkv    Add a spoken track
  descry speak film.mp4 --descriptions film.vtt -o film.ad.m4a           Write the sound alone
  descry speak film.mp4 --descriptions film.vtt -o film.mp3 --voice hibari  Speak with another voice
  descry speak film.mp4 --descriptions film.review.json -o film.ad.m4a   Speak what was reviewed
  descry speak film.mp4 --describe -o film.ad.m4a                        Describe and speak in one run";

/// Descriptions that are named in messages, at most.
const NAMED: usize = 3;
/// Highest true peak of a track, in dBTP.
const PEAK: f64 = -2.0;

/// Speak descriptions, and mix them into the sound of their film
///
/// descry has each description spoken, turns the film's sound down under it, and writes the film with one more audio track,
/// or that track alone. Pictures, other tracks, chapters and tags are copied as they are.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct SpeakArgs {
    /// Film: a file or URL (http, https, s3)
    #[arg(value_name = "INPUT")]
    input: Address,
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    output: SpeakOutputArgs,
    #[command(flatten)]
    voice: VoiceArgs,
    #[command(flatten)]
    mix: MixArgs,
    #[command(flatten)]
    dialogue: DialogueArgs,
    #[command(flatten)]
    film: FilmArgs,
    #[command(flatten)]
    access: AccessArgs,
    /// Give up when a server sends nothing for this long
    #[arg(long, value_name = "SECONDS", value_parser = values::time, default_value = "30", help_heading = "Network")]
    timeout: Time,
}

/// What is written.
#[derive(Args)]
#[command(next_help_heading = "Output")]
struct SpeakOutputArgs {
    /// File to write; the end of its name chooses what it is
    ///
    /// .mkv, .webm, .mp4 and .mov hold the film and the new track; .m4a, .mka, .opus, .mp3, .flac and .wav that track alone.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Replace an existing file
    #[arg(long)]
    force: bool,
    /// Write the descriptions without the film's sound
    #[arg(long, conflicts_with = "extended")]
    only: bool,
    /// Pause the film where a description takes longer than there is room
    ///
    /// The picture freezes when the description begins. Pictures are encoded anew, with H.264, or with VP9 in WebM, and other
    /// audio tracks with the codec of the new one.
    #[arg(long)]
    extended: bool,
    /// Quality of pictures that are encoded, as a constant rate factor: lower is better [default: 18 for H.264, 28 for VP9]
    #[arg(long, value_name = "CRF", requires = "extended", value_parser = clap::value_parser!(u8).range(0..=63))]
    crf: Option<u8>,
    /// Add the descriptions as a text track too
    #[arg(long)]
    text_track: bool,
    /// Codec of the new track [default: the usual one of the container]
    #[arg(long, value_enum)]
    codec: Option<AudioCodec>,
    /// Title of the new track
    #[arg(long, value_name = "TEXT", default_value = "Audio description")]
    title: String,
}

/// Who speaks.
#[derive(Args)]
#[command(next_help_heading = "Voice")]
struct VoiceArgs {
    /// Voice to speak with
    #[arg(long, value_enum, default_value = "espeak", conflicts_with = "voice_command")]
    voice: VoicePreset,
    #[command(flatten)]
    program: VoiceProgramArgs,
    /// How many times as fast a description is spoken at most, to fit into its pause
    #[arg(long, value_name = "FACTOR", default_value_t = 1.35)]
    fastest: f64,
    /// Let a description last until its cue ends, not until the next description begins
    #[arg(long)]
    within_cues: bool,
}

/// How film and speech are mixed.
#[derive(Args)]
#[command(next_help_heading = "Mix")]
struct MixArgs {
    /// Audio track that the descriptions are mixed into: its number or its language [default: the one that players choose]
    ///
    /// 'descry probe' lists the tracks. Languages are codes such as en or eng.
    #[arg(long, value_name = "TRACK", value_parser = TrackChoice::parse)]
    audio: Option<TrackChoice>,
    /// How far the film is turned down under a description, in dB
    #[arg(long, value_name = "DB", default_value_t = 8.2)]
    duck: f64,
    /// Time in which the film is turned down and up
    #[arg(long, value_name = "SECONDS", value_parser = values::time, default_value = "0.3")]
    ramp: Time,
    /// How much louder than the film's dialogue descriptions are, in dB
    #[arg(long, value_name = "DB", default_value_t = 0.0, allow_negative_numbers = true)]
    gain: f64,
}

impl SpeakArgs {
    fn options(&self, language: Language) -> Result<SpeakOptions> {
        let (mix, voice) = (&self.mix, &self.voice);
        check(mix.duck, "--duck", 0.0, 60.0)?;
        check(mix.gain, "--gain", -30.0, 30.0)?;
        check(mix.ramp.secs(), "--ramp", 0.01, 10.0)?;
        check(voice.fastest, "--fastest", 1.0, 3.0)?;
        Ok(SpeakOptions {
            decode: DecodeOptions {
                access: self.access.policy()?,
                timeout: values::limit(self.timeout),
                ..DecodeOptions::default()
            },
            voice: voice.program.options(voice.voice, language.voice.clone())?,
            language,
            title: self.output.title.clone(),
            audio: mix.audio.clone().unwrap_or(TrackChoice::Usual),
            dialogue: self.dialogue_source()?,
            fit: if voice.within_cues { SpeechFit::InCue } else { SpeechFit::UntilNext },
            fastest: voice.fastest,
            duck: DuckOptions { depth: mix.duck, ramp: mix.ramp.secs() },
            gain: mix.gain,
            only: self.output.only,
            texts: self.output.text_track,
            codec: self.output.codec,
            extended: self.output.extended,
            quality: self.output.crf,
        })
    }

    fn dialogue_source(&self) -> Result<DialogueSource> {
        if let Some(dialogue) = self.dialogue.read()? {
            return Ok(DialogueSource::File(dialogue));
        }
        Ok(match self.dialogue.choice()? {
            Some(DialogueChoice::Embedded(track)) => DialogueSource::Subtitles(track),
            _ => DialogueSource::Programme,
        })
    }
}

fn check(value: f64, flag: &str, least: f64, most: f64) -> Result<()> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(Error::usage(format!("{flag} {value} is not between {least} and {most}"), "Give a number between these."))
}

pub(super) fn run(args: &SpeakArgs, reporter: &Reporter, interrupt: &Interrupt) -> Result<()> {
    args.source.check()?;
    let review = args.source.review()?;
    let options = args.options(args.source.language(review.as_ref()))?;
    args.film.check()?;
    output::check(&Target::File(args.output.output.clone(), Format::Vtt), args.output.force)?;
    let kept = args.source.kept(args.output.force)?;
    let describer = || {
        if let Some(track) = &review {
            return Ok(track.clone());
        }
        let track = args.film.describe(&args.input, &options, kept.as_ref(), reporter, interrupt)?;
        if let Some(target) = &kept {
            output::save(&track, target, args.output.force, interrupt)?;
        }
        Ok(track)
    };
    let report = speak(&SpeakJob {
        input: &args.input,
        descriptions: match &args.source.descriptions {
            Some(file) if review.is_none() => DescriptionSource::File(file),
            _ => DescriptionSource::Describer(&describer),
        },
        output: &args.output.output,
        overwrite: args.output.force,
        options: &options,
        interrupt,
    })?;
    tell(args, &report, reporter);
    Ok(())
}

/// Reports what became of the descriptions.
fn tell(args: &SpeakArgs, report: &SpeakReport, reporter: &Reporter) {
    let input = args.input.shown();
    if report.is_silent {
        reporter.warn(&format!("{input}: has no sound, so the descriptions are spoken over silence"));
    }
    if let Some(fault) = &report.speech_fault {
        reporter.warn(&format!("{input}: speech is not found, so the whole film counts for the loudness: {fault}"));
    }
    for stream in &report.not_kept {
        reporter.warn(&format!("{input}: {stream} is not kept, because the container cannot hold it; an .mkv may"));
    }
    for stream in &report.converted {
        reporter.warn(&format!("{input}: {stream}"));
    }
    for stream in &report.not_paused {
        reporter.warn(&format!("{input}: {stream} is not kept, because it cannot pause with the film"));
    }
    for (time, text) in report.left_out.iter().take(NAMED) {
        reporter.warn(&format!("{input}: there is no room at {} for: {text}", time.clock()));
    }
    if report.left_out.len() > NAMED {
        reporter.warn(&format!("{input}: and none for {} more", report.left_out.len() - NAMED));
    }
    if let Some(peak) = report.peak.filter(|peak| *peak > PEAK) {
        reporter.warn(&format!("{input}: the new track has true peaks of {peak:.1} dBTP, once it is decoded"));
    }
    if report.shortened > 0 {
        let texts = count(report.shortened, "description");
        reporter.warn(&format!("{input}: {texts} lost words, to fit into the pause"));
    }
    if let Some(damage) = &report.damage {
        reporter.fail();
        reporter.warn(&format!("{input}: copied in part: {damage}"));
    }
    reporter.info(&format!(
        "{input} → {}, {}, {} of them faster",
        args.output.output.display(),
        count(report.spoken, "description"),
        report.faster
    ));
    if let Some(loudness) = report.dialogue {
        reporter.info(&format!("{input}: descriptions are as loud as the dialogue, {loudness:.1} LUFS"));
    }
    let (pauses, length) = report.pauses;
    if pauses > 0 {
        reporter.info(&format!("{input}: {} of {:.1} s in all", count(pauses, "pause"), length.secs()));
    }
}
