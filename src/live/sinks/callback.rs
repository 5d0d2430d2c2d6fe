//! Passes events to a function: the output for programs that use descry as a library.

use super::super::event::Event;
use super::super::hub::Sink;
use crate::error::Result;

/// Calls a function with each event, in a thread of its own. A function that is too slow misses the oldest events.
pub struct CallbackSink<F> {
    callback: F,
}

impl<F: FnMut(&Event) + Send> CallbackSink<F> {
    /// Calls `callback` with each event.
    pub fn new(callback: F) -> CallbackSink<F> {
        CallbackSink { callback }
    }
}

impl<F: FnMut(&Event) + Send> Sink for CallbackSink<F> {
    fn name(&self) -> &str {
        "callback"
    }

    fn event(&mut self, event: &Event) -> Result<()> {
        (self.callback)(event);
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        Ok(())
    }
}
