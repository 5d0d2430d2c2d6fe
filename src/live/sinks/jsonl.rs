//! JSON lines: one object for each caption, change of state, loss and end, flushed as it comes.
//!
//! A reader that goes away ends this output and nothing else.

use std::io::{ErrorKind, Write};

use serde_json::Value;

use super::super::event::{Event, EventKind};
use super::super::hub::{Sink, write_error};
use super::super::json::{event_json, has_json, lost_json};
use crate::error::Result;
use crate::message::Setting;
use crate::printable::printable_json;

/// Writes JSON lines to standard output, or to anything else that takes bytes.
pub struct JsonLinesSink<W> {
    to: W,
    ended: bool,
}

impl<W: Write + Send> JsonLinesSink<W> {
    /// Writes to `to`.
    pub fn new(to: W) -> JsonLinesSink<W> {
        JsonLinesSink { to, ended: false }
    }

    fn write(&mut self, object: &Value) -> Result<()> {
        let text = format!("{}\n", printable_json(&object.to_string()));
        match self.to.write_all(text.as_bytes()).and_then(|()| self.to.flush()) {
            Err(e) if e.kind() == ErrorKind::BrokenPipe => {
                self.ended = true;
                Ok(())
            }
            result => result.map_err(|e| write_error("standard output", &e, Setting::Output)),
        }
    }
}

impl<W: Write + Send> Sink for JsonLinesSink<W> {
    fn name(&self) -> &str {
        "jsonl"
    }

    fn wants(&self) -> fn(&EventKind) -> bool {
        has_json
    }

    fn event(&mut self, event: &Event) -> Result<()> {
        event_json(event).map_or(Ok(()), |object| self.write(&object))
    }

    fn lost(&mut self, events: u64) -> Result<()> {
        self.write(&lost_json(events))
    }

    fn close(&mut self) -> Result<()> {
        Ok(())
    }

    fn ended(&self) -> bool {
        self.ended
    }
}
