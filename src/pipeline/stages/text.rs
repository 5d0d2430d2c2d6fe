//! Beside the first stage: reads the text that a film shows. The [gate](TextWatch) runs on the thread that decodes, and reading
//! on a thread of its own, so that decoding does not wait for it.
//!
//! Order: in order of time, to the collecting stage, before the film's end. Memory: [`WAITING`] frames and the strokes of as
//! many seconds, and what a [`TextFinder`] holds.

use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender};

use crate::error::Result;
use crate::media::Frame;
use crate::model::SessionOptions;
use crate::ocr::{Look, OcrOptions, TextFinder, TextGate, TextModel, TextReader};
use crate::pipeline::context::Run;
use crate::pipeline::message::{Finding, FindingMessage};
use crate::pipeline::stats::StageTimers;
use crate::scene::StrokeMap;
use crate::time::Time;

/// Messages that wait for the reader.
pub(crate) const WAITING: usize = 4;
/// Frames that hold a place in memory until their text is read: those that wait, the one that is read, the one that is sent, and
/// the newest one, which may be the last of its scene.
pub(crate) const FRAMES: usize = WAITING + 3;
/// Frames whose strokes are sent together.
const TOGETHER: usize = 25;

/// What the decoding thread tells the reader.
pub(crate) enum TextInput {
    /// Strokes of the next frames.
    Frames(Vec<(Time, StrokeMap)>),
    /// A frame to read. Its strokes have been sent.
    Look(Arc<Frame>, Look),
    /// The end of the film.
    End(Time),
}

/// Chooses the frames to read.
pub(crate) struct TextWatch {
    gate: TextGate,
    strokes: Vec<(Time, StrokeMap)>,
    newest: Option<Arc<Frame>>,
    out: Sender<TextInput>,
}

impl TextWatch {
    pub(crate) fn new(out: Sender<TextInput>) -> TextWatch {
        TextWatch { gate: TextGate::default(), strokes: Vec::new(), newest: None, out }
    }

    /// Takes the next frame. Waits while the reader is behind.
    ///
    /// # Errors
    /// If its pixel format cannot be read, or the process that holds it has failed.
    pub(crate) fn push(&mut self, frame: &Arc<Frame>) -> Result<()> {
        let map = frame.strokes()?;
        let (newest, last) = (self.newest.take(), self.gate.before(&map));
        self.look(newest, last)?;
        let look = self.gate.push(frame.time, &map);
        self.strokes.push((frame.time, map));
        self.look(Some(frame.clone()), look)?;
        self.newest = Some(frame.clone());
        if self.strokes.len() == TOGETHER {
            self.send_strokes();
        }
        Ok(())
    }

    /// Sends a frame to be looked at, after its strokes.
    fn look(&mut self, frame: Option<Arc<Frame>>, look: Option<Look>) -> Result<()> {
        if let (Some(frame), Some(look)) = (frame, look) {
            self.send_strokes();
            // Another process may hold the picture. It is fetched here, so that the reader never waits for it.
            frame.av()?;
            self.send(TextInput::Look(frame, look));
        }
        Ok(())
    }

    fn send_strokes(&mut self) {
        let strokes = std::mem::take(&mut self.strokes);
        self.send(TextInput::Frames(strokes));
    }

    /// The film ends.
    ///
    /// # Errors
    /// If the process that holds its last frame has failed.
    pub(crate) fn finish(mut self, end: Time) -> Result<()> {
        let (newest, last) = (self.newest.take(), self.gate.finish());
        let looked = self.look(newest, last);
        self.send_strokes();
        self.send(TextInput::End(end));
        looked
    }

    /// If the reader has ended, it has stopped the run.
    fn send(&self, input: TextInput) {
        let _ = self.out.send(input);
    }
}

/// The stage; see the module. Takes one film after another.
pub(crate) struct TextStage<'a> {
    run: &'a Run<'a>,
    model: TextModel,
    /// Loaded with the first film.
    reader: Option<TextReader>,
    out: Sender<FindingMessage>,
}

impl<'a> TextStage<'a> {
    /// None if no text is to be read.
    pub(crate) fn new(run: &'a Run<'a>, out: &Sender<FindingMessage>) -> Option<TextStage<'a>> {
        let model = run.config.text.clone()?;
        Some(TextStage { run, model, reader: None, out: out.clone() })
    }

    /// Reads the text of a film until `from` is closed. A reader that fails ends the run.
    pub(crate) fn run(&mut self, file: usize, from: &Receiver<TextInput>) {
        if let Err(e) = self.read(file, from) {
            self.run.stop(e);
            from.iter().for_each(drop);
        }
    }

    fn read(&mut self, file: usize, from: &Receiver<TextInput>) -> Result<()> {
        let reader = match &mut self.reader {
            Some(reader) => reader,
            none => {
                let session = SessionOptions { threads: 1, ..SessionOptions::default() };
                none.insert(self.model.reader(&session, OcrOptions::of_film())?)
            }
        };
        let mut finder = TextFinder::default();
        for input in from {
            let update = {
                let _busy = self.run.config.budget.working();
                let start = Instant::now();
                let update = match input {
                    TextInput::Frames(frames) => {
                        frames.into_iter().for_each(|(time, map)| finder.frame(time, map));
                        Some(finder.update())
                    }
                    TextInput::Look(frame, look) => {
                        finder.look(reader, &frame, look)?;
                        None
                    }
                    TextInput::End(end) => Some(finder.finish(end)),
                };
                StageTimers::add_since(&self.run.timers.text, start);
                update
            };
            let finding = update.map(|update| FindingMessage { file, finding: Finding::Text(update) });
            // If the collecting stage has ended, the run has failed.
            if finding.is_some_and(|finding| self.out.send(finding).is_err()) {
                break;
            }
        }
        Ok(())
    }
}
