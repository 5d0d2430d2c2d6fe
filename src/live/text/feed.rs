//! The part of reading that a stream's thread does: it measures the strokes of each frame, and chooses the frames to read.
//!
//! Memory: the strokes of a few frames.

use std::sync::Arc;
use std::time::SystemTime;

use super::inbox::{Pushed, TextInbox};
use super::reader::LookFrame;
use crate::error::Result;
use crate::live::stream::LiveStream;
use crate::media::Frame;
use crate::ocr::TextGate;
use crate::scene::StrokeMap;
use crate::time::Time;

/// Frames whose strokes are sent together: those of a fifth of a second.
const TOGETHER: usize = 5;

/// See the module.
pub(in crate::live) struct TextFeed {
    gate: TextGate,
    strokes: Vec<(Time, StrokeMap)>,
    inbox: Arc<TextInbox<LookFrame>>,
}

impl TextFeed {
    /// Frames that are held for the reader: the one that waits and the one that is read.
    pub(in crate::live) const FRAMES: usize = 2;

    pub(in crate::live) fn new(inbox: Arc<TextInbox<LookFrame>>) -> TextFeed {
        TextFeed { gate: TextGate::quick(), strokes: Vec::new(), inbox }
    }

    /// Takes the stream's next frame, which is shown at `wall`. Never waits for the reader.
    ///
    /// # Errors
    /// If its pixels cannot be read, or the process that holds them has failed.
    pub(in crate::live) fn push(&mut self, stream: &LiveStream, frame: &Arc<Frame>, wall: SystemTime) -> Result<()> {
        if let Some(lines) = stream.desk(|desk| desk.take_lines()) {
            self.gate.set_lines(lines);
        }
        let map = frame.strokes()?;
        let look = self.gate.push(frame.time, &map);
        self.strokes.push((frame.time, map));
        if look.is_none() && self.strokes.len() < TOGETHER {
            stream.desk(|desk| desk.see(frame.time, false));
            return Ok(());
        }
        let look = look.map(|look| -> Result<_> {
            // Another process may hold the picture. It is fetched here, so that the reader never waits for it.
            frame.av()?;
            Ok((LookFrame { frame: frame.clone(), wall }, look))
        });
        let look = look.transpose()?;
        let looks = look.is_some();
        stream.desk(|desk| desk.see(frame.time, looks));
        if looks && let Some(counters) = stream.counters() {
            counters.text_look();
        }
        match self.inbox.push(stream.position, std::mem::take(&mut self.strokes), look) {
            Pushed::Waits => {}
            Pushed::Replaced(regions) => {
                // What was to be read twice will be read once.
                self.gate.look_again(frame.time, regions);
                stream.drop_look();
            }
            Pushed::Closed => stream.drop_look(),
        }
        Ok(())
    }
}
