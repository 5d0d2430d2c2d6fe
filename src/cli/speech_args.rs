//! Options of finding speech.

use std::path::Path;
use std::sync::Arc;

use clap::Args;

use crate::error::{Error, Result};
use crate::media::{Dialogue, SideTrack, TrackChoice};

/// From what speech is known.
#[derive(Args)]
#[command(next_help_heading = "Speech")]
pub(super) struct SpeechArgs {
    /// Audio track in which to find speech: its number, its language, or none [default: the one that players choose]
    ///
    /// 'descry probe' lists the tracks. Languages are codes such as en or eng. With --mode keyframes, the default is none.
    #[arg(long, value_name = "TRACK", value_parser = audio, conflicts_with = "dialogue")]
    audio: Option<SideTrack>,
    #[command(flatten)]
    dialogue: DialogueArgs,
}

/// From which subtitles speech is known.
#[derive(Args)]
#[command(next_help_heading = "Speech")]
pub(super) struct DialogueArgs {
    /// Subtitles that say when people talk, instead of the audio: a file, or embedded for those in the video
    ///
    /// The file is SubRip, WebVTT or ASS, in UTF-8 or UTF-16. embedded:TRACK chooses among the subtitles in the video by
    /// number or language.
    #[arg(long, value_name = "FILE|embedded")]
    dialogue: Option<String>,
}

/// The value of --dialogue.
pub(super) enum DialogueChoice<'a> {
    Embedded(TrackChoice),
    File(&'a Path),
}

impl SpeechArgs {
    /// Refuses a file of subtitles for several videos.
    pub(super) fn check(&self, videos: usize) -> Result<()> {
        match self.dialogue.choice()? {
            Some(DialogueChoice::File(_)) if videos != 1 => Err(Error::usage(
                "--dialogue: a file of subtitles belongs to one video",
                "Describe that video by itself, or give --dialogue embedded.",
            )),
            _ => Ok(()),
        }
    }

    /// The side track. `usual`: whether it is the usual audio track, unless the user chooses otherwise.
    pub(super) fn side_track(&self, usual: bool) -> Result<SideTrack> {
        let usual = if usual { SideTrack::Audio(TrackChoice::Usual) } else { SideTrack::Nothing };
        Ok(match self.dialogue.choice()? {
            None => self.audio.clone().unwrap_or(usual),
            Some(DialogueChoice::Embedded(track)) => SideTrack::Subtitles(track),
            Some(DialogueChoice::File(_)) => SideTrack::Nothing,
        })
    }

    /// The file of subtitles, if there is one.
    pub(super) fn dialogue(&self) -> Result<Option<Arc<Dialogue>>> {
        self.dialogue.read()
    }
}

impl DialogueArgs {
    /// The file of subtitles, if there is one.
    pub(super) fn read(&self) -> Result<Option<Arc<Dialogue>>> {
        match self.choice()? {
            Some(DialogueChoice::File(path)) => Dialogue::read(path).map(|dialogue| Some(Arc::new(dialogue))),
            _ => Ok(None),
        }
    }

    /// Where the subtitles are; none if there are none.
    pub(super) fn choice(&self) -> Result<Option<DialogueChoice<'_>>> {
        let Some(text) = self.dialogue.as_deref() else { return Ok(None) };
        if text == "embedded" {
            return Ok(Some(DialogueChoice::Embedded(TrackChoice::Usual)));
        }
        let Some(track) = text.strip_prefix("embedded:") else {
            return Ok(Some(DialogueChoice::File(Path::new(text))));
        };
        let choice =
            TrackChoice::parse(track).map_err(|cause| Error::usage(format!("--dialogue {text}: {cause}"), SHAPES))?;
        Ok(Some(DialogueChoice::Embedded(choice)))
    }
}

/// What to write instead of a value that cannot be read.
const SHAPES: &str = "Give embedded:2, for example, or embedded:eng.";

fn audio(text: &str) -> Result<SideTrack, String> {
    if text == "none" { Ok(SideTrack::Nothing) } else { TrackChoice::parse(text).map(SideTrack::Audio) }
}
