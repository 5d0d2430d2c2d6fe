//! JSON lines: one object for each caption, change of state, loss and end, flushed as it comes.
//!
//! A reader that goes away ends this output and nothing else.

use std::io::{ErrorKind, Write};

use serde_json::Value;

use super::super::event::{Event, What};
use super::super::hub::{Sink, explain};
use super::super::line::{line, lost};
use crate::error::Result;

/// Writes to standard output, or whatever else takes bytes.
pub struct JsonLines<W> {
    to: W,
    ended: bool,
}

impl<W: Write + Send> JsonLines<W> {
    pub fn new(to: W) -> JsonLines<W> {
        JsonLines { to, ended: false }
    }

    fn write(&mut self, object: &Value) -> Result<()> {
        let text = format!("{object}\n");
        match self.to.write_all(text.as_bytes()).and_then(|()| self.to.flush()) {
            Err(e) if e.kind() == ErrorKind::BrokenPipe => {
                self.ended = true;
                Ok(())
            }
            result => result.map_err(|e| explain("standard output", &e)),
        }
    }
}

impl<W: Write + Send> Sink for JsonLines<W> {
    fn name(&self) -> &str {
        "jsonl"
    }

    fn wants(&self) -> fn(&What) -> bool {
        |what| !matches!(what, What::Clock(_) | What::Watched { .. })
    }

    fn event(&mut self, event: &Event) -> Result<()> {
        line(event).map_or(Ok(()), |object| self.write(&object))
    }

    fn lost(&mut self, events: u64) -> Result<()> {
        self.write(&lost(events))
    }

    fn close(&mut self) -> Result<()> {
        Ok(())
    }

    fn ended(&self) -> bool {
        self.ended
    }
}
