//! Storyboards: the scenes of a film and their pictures, without a model.
//!
//! The film is watched as by any run, on a thread of its own, so the scenes are those that would be described. Order: that
//! of time. Memory: as the first stage of a run, and one picture; those before it are in a temporary file.

use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Sender, bounded};

use super::config::Config;
use super::context::Run;
use super::message::{FileEnd, KeyframeInfo, QUEUE, StageMessage, split};
use super::observer::Observer;
use super::stages::watch::{BesideStages, FrameKeyframe, watch};
use crate::address::Address;
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::media::thumbnail::thumbnail;
use crate::media::{Dialogue, DialogueLine, Frame};
use crate::model::PictureDemand;
use crate::time::Time;
use crate::track::pictures::PictureWriter;
use crate::track::{SceneRecord, Track};

/// Pixels of the longest side from which a thumbnail is made.
const LONGEST: u32 = 1_280;

/// The scenes of a film, with thumbnails as the options have them. `descriptions`: what is said of them, by time.
///
/// # Errors
/// If the film cannot be read, and when interrupted.
pub fn storyboard(
    input: &Address,
    config: &Config,
    descriptions: Option<&Dialogue>,
    interrupt: &Interrupt,
    observer: &dyn Observer,
) -> Result<Track> {
    let run = Run::new(config, PictureDemand::default(), interrupt, observer, None);
    let mut board = StoryboardBuilder {
        track: Track { location: input.location(), ..Track::new(input.shown(), String::new()) },
        pictures: PictureWriter::default(),
        config,
        lines: descriptions.map(|lines| &*lines.lines).unwrap_or_default(),
    };
    let end = thread::scope(|scope| {
        let (to, keyframes) = bounded::<StageMessage<FrameKeyframe>>(QUEUE);
        let watcher = scope.spawn(|| {
            // Closes when the film ends: nobody else sends.
            let to: Sender<_> = to;
            watch(&run, 0, input, None, &mut BesideStages::default(), &to)
        });
        for message in keyframes {
            match message {
                StageMessage::Opened(_, info) => board.track.info = Some(*info),
                StageMessage::Item(_, keyframe) => board.push(keyframe),
                StageMessage::End(..) => {}
            }
        }
        watcher.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    match end {
        FileEnd { error: Some(e), .. } => Err(e),
        FileEnd { interrupted: true, .. } => Err(Error::Interrupted),
        FileEnd { damage, .. } => Ok(Track { damage, pictures: Some(board.pictures.finish()), ..board.track }),
    }
}

/// A storyboard in the making.
struct StoryboardBuilder<'a> {
    track: Track,
    pictures: PictureWriter,
    config: &'a Config,
    lines: &'a [DialogueLine],
}

impl StoryboardBuilder<'_> {
    fn push(&mut self, keyframe: FrameKeyframe) {
        let (info, frame, _) = split(keyframe);
        // A picture that cannot be converted is missing, as on any other page.
        let picture = if info.blank { None } else { self.picture(&frame) };
        self.pictures.push(picture.as_deref());
        let text = text_of(self.lines, &info);
        self.track.scenes.push(SceneRecord { shown: text.is_some(), text, ..info.record() });
    }

    fn picture(&self, frame: &Arc<Frame>) -> Option<Vec<u8>> {
        let whole = frame.to_rgb_within(self.config.thumbnail.width.max(LONGEST)).ok()?;
        thumbnail(&whole, self.config.thumbnail)
    }
}

/// What is said of a scene: the lines of which most is in it. `lines` are in order of their start.
fn text_of(lines: &[DialogueLine], scene: &KeyframeInfo) -> Option<String> {
    let middle = |line: &DialogueLine| Time::from_micros((line.start.micros() + line.end.micros()) / 2);
    let within = lines.iter().filter(|line| (scene.start..scene.end).contains(&middle(line)));
    let texts: Vec<&str> = within.map(|line| &*line.text).collect();
    (!texts.is_empty()).then(|| texts.join(" "))
}
