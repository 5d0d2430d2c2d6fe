//! What stages pass to one another.

use crate::error::Error;
use crate::media::StreamInfo;
use crate::model::{Caption, CaptionInput};
use crate::ocr::{ScreenText, TextUpdate};
use crate::scene::Keyframe;
use crate::speech::SpeechUpdate;
use crate::time::Time;
use crate::track::SceneRecord;

/// Most messages in a channel between two stages.
pub const QUEUE: usize = 8;

/// A message about one file: it was opened, has one item more, or has ended. Files are numbered in the order of the inputs.
#[derive(Debug)]
pub(crate) enum StageMessage<T> {
    /// The file is open. Its first message.
    Opened(usize, Box<StreamInfo>),
    /// One more item of the file, in order of time.
    Item(usize, T),
    /// The file's last message.
    End(usize, FileEnd),
}

/// What has become known of a file beside its pictures. Its last messages are sent before that of its pictures.
#[derive(Debug)]
pub(crate) struct FindingMessage {
    pub(crate) file: usize,
    pub(crate) finding: Finding,
}

/// What is found beside the pictures.
#[derive(Debug)]
pub(crate) enum Finding {
    /// Where people talk.
    Speech(SpeechUpdate),
    /// What the film shows in writing.
    Text(TextUpdate),
}

/// How a file ended.
#[derive(Debug)]
pub(crate) struct FileEnd {
    /// End of the last frame.
    pub(crate) end: Time,
    /// What was lost in decoding.
    pub(crate) damage: Option<String>,
    /// The user stopped the run before the end.
    pub(crate) interrupted: bool,
    /// The connection to the server was lost.
    pub(crate) lost: bool,
    /// Why nothing can be described.
    pub(crate) error: Option<Error>,
}

impl FileEnd {
    /// A file that ended in order, up to `end`.
    pub(crate) fn at(end: Time) -> FileEnd {
        FileEnd { end, damage: None, interrupted: false, lost: false, error: None }
    }

    pub(crate) fn failed(error: Error) -> FileEnd {
        FileEnd { error: Some(error), ..FileEnd::at(Time::ZERO) }
    }

    pub(crate) fn interrupted(end: Time) -> FileEnd {
        FileEnd { interrupted: true, ..FileEnd::at(end) }
    }
}

/// A keyframe without its picture.
pub type KeyframeInfo = Keyframe<()>;

impl KeyframeInfo {
    /// The record of a keyframe without a caption.
    pub(crate) fn record(&self) -> SceneRecord {
        SceneRecord {
            scene: self.scene + 1,
            start: self.start,
            end: self.end,
            start_frame: self.start_frame,
            end_frame: self.end_frame,
            keyframe: self.time,
            transition: self.transition.name(),
            text: None,
            shown: false,
            score: None,
            mean_logprob: None,
            similarity: None,
            repeats: None,
            blank: self.blank,
            speech: None,
        }
    }
}

/// The keyframe without its pictures, its picture, and those spread over its stretch.
pub(crate) fn split<T>(k: Keyframe<T>) -> (KeyframeInfo, T, Vec<T>) {
    let info = Keyframe {
        scene: k.scene,
        start: k.start,
        end: k.end,
        time: k.time,
        index: k.index,
        start_frame: k.start_frame,
        end_frame: k.end_frame,
        transition: k.transition,
        blank: k.blank,
        quality: k.quality,
        picture: (),
        spread: Vec::new(),
    };
    (info, k.picture, k.spread)
}

/// A keyframe after the image tower.
#[derive(Debug, Clone, PartialEq)]
pub struct EncodedKeyframe {
    /// When and where the keyframe is.
    pub info: KeyframeInfo,
    /// What the captioner reads. None where the picture is blank or could not be converted. Where there is a caption
    /// already, the grid and the pictures may be missing.
    pub input: Option<CaptionInput>,
    /// The caption, where the keyframe was captioned before.
    pub caption: Option<Caption>,
    /// Why the picture could not be converted.
    pub fault: Option<String>,
    /// A small JPEG; none where the keyframe is blank or no thumbnails are wanted.
    pub thumbnail: Option<Vec<u8>>,
}

/// A keyframe after dedup and captioning.
#[derive(Debug)]
pub(crate) struct CaptionedKeyframe {
    pub(crate) info: KeyframeInfo,
    /// Of length 1. Only where somebody stores it.
    pub(crate) embedding: Option<Vec<f32>>,
    pub(crate) thumbnail: Option<Vec<u8>>,
    pub(crate) caption: Option<Caption>,
    /// Cosine to the keyframe before.
    pub(crate) similarity: Option<f32>,
    /// It shows nothing new.
    pub(crate) repeats: bool,
    /// Which distinct scene it shows.
    pub(crate) distinct: Option<u32>,
    pub(crate) fault: Option<String>,
}

/// Everything known about a keyframe, as soon as it is known.
#[derive(Debug, Clone)]
pub struct KeyframeRecord {
    /// The scene, its caption and its score.
    pub record: SceneRecord,
    /// Of length 1; none where the picture is blank or could not be converted.
    pub embedding: Option<Vec<f32>>,
    /// A small JPEG; none where there is no embedding or no thumbnails are wanted.
    pub thumbnail: Option<Vec<u8>>,
    /// The lines of text that can be seen in the scene's stretch, in order of their start, as far as they are known by then: a
    /// line may last longer, and be of another kind. None where text is not read.
    pub text: Option<Vec<ScreenText>>,
}

/// Why a film was not described to its end, where that is not the film's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CutShort {
    /// The model failed.
    Model,
    /// The connection to the server failed.
    Connection,
}
