//! One JSON object a line.

use std::io::Write;

use crate::error::{Error, Result};
use crate::live::event::Event;
use crate::live::hub::Sink;
use crate::live::line::line;

pub struct JsonLines<W> {
    out: W,
}

impl<W: Write + Send> JsonLines<W> {
    pub fn new(out: W) -> JsonLines<W> {
        JsonLines { out }
    }

    fn write(&mut self, text: &str) -> std::io::Result<()> {
        writeln!(self.out, "{text}")?;
        self.out.flush()
    }
}

impl<W: Write + Send> Sink for JsonLines<W> {
    fn name(&self) -> &str {
        "jsonl"
    }

    fn event(&mut self, event: &Event) -> Result<()> {
        let Some(object) = line(event) else { return Ok(()) };
        self.write(&object.to_string())
            .map_err(|e| Error::output("standard output", e.to_string(), "Check where it is written to."))
    }

    fn close(&mut self) -> Result<()> {
        Ok(())
    }
}
