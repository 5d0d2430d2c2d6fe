//! A WebVTT file that grows, and is valid at every instant.
//!
//! A caption is written the moment it comes, with the end that the pacer gives it. Times are stream times. A file that
//! exists already is refused, replaced or appended to; appended times continue where it ends. The file is locked against a
//! second writer.
//!
//! Where it [rotates](Rotation), a cue that comes when the file is full, or on another day, begins the next file. The old
//! one stays beside it, named after the moment. A fixed number of old files are kept, and older ones removed. Times
//! continue from file to file, and a note gives the wall-clock time.

mod file;
mod rotation;
mod tail;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::super::event::{Event, EventKind};
use super::super::hub::{Sink, write_error};
use super::existing::Existing;
use super::paths::stream_paths;
use crate::error::{Error, Result};
use crate::message::Setting;
use crate::track::cue::CueOptions;
use crate::wall::WallClock;
use file::GrowingFile;

pub use rotation::{RotateWhen, Rotation};

/// Writes a WebVTT file for each stream.
pub struct VttSink {
    files: Vec<(Arc<str>, GrowingFile)>,
    delivered: Vec<(Arc<str>, Duration)>,
}

impl VttSink {
    /// Opens `path` for one stream, or `path/STREAM.vtt` for each of several, and writes the header.
    ///
    /// # Errors
    /// When a file cannot be written, exists and is to be refused, or is written by another program.
    pub fn open(path: &Path, streams: &[Arc<str>], existing: Existing, options: &CueOptions) -> Result<VttSink> {
        VttSink::open_with(path, streams, existing, options, &(Arc::new(SystemTime::now) as WallClock))
    }

    /// As [`VttSink::open`], with this wall clock.
    pub(in crate::live) fn open_with(
        path: &Path,
        streams: &[Arc<str>],
        existing: Existing,
        options: &CueOptions,
        clock: &WallClock,
    ) -> Result<VttSink> {
        if streams.len() > 1 {
            std::fs::create_dir_all(path).map_err(|e| write_error(path.display().to_string(), &e, Setting::Vtt))?;
        }
        let open = |(stream, path): (Arc<str>, PathBuf)| {
            let file = GrowingFile::open(path, &stream, existing, options, clock.clone())?;
            Ok((stream, file))
        };
        let files = stream_paths(path, streams, ".vtt")?.into_iter().map(open).collect::<Result<_>>()?;
        Ok(VttSink { files, delivered: Vec::new() })
    }

    /// The same with files that give way to new ones.
    #[must_use]
    pub fn rotating(mut self, rotation: Rotation) -> VttSink {
        self.files.iter_mut().for_each(|(_, f)| f.set_rotation(rotation));
        self
    }

    /// Writes what is due in every file. Returns the first error.
    fn write(&mut self, now: Instant) -> Result<()> {
        let mut result = Ok(());
        for (stream, file) in &mut self.files {
            let written = file.write(now, |arrived| self.delivered.push((stream.clone(), arrived.elapsed())));
            result = result.and(written);
        }
        result
    }
}

impl Sink for VttSink {
    fn name(&self) -> &str {
        "vtt"
    }

    fn wants(&self) -> fn(&EventKind) -> bool {
        |kind| matches!(kind, EventKind::Caption(_) | EventKind::Clock(_))
    }

    fn event(&mut self, event: &Event) -> Result<()> {
        let Some((_, file)) = self.files.iter_mut().find(|(s, _)| *s == event.stream) else { return Ok(()) };
        let mut kept = true;
        match &event.kind {
            EventKind::Clock(mapping) => file.set_clock(*mapping),
            EventKind::Caption(c) => kept = file.caption(c.due, &c.text, c.arrived),
            _ => {}
        }
        // `tick` reports trouble: nothing is lost by it yet.
        let _ = self.write(Instant::now());
        let full = || Error::output("vtt", "the oldest cues that waited for disk space are lost", "Free some space.");
        kept.then_some(()).ok_or_else(full)
    }

    fn tick(&mut self, now: Instant) -> Result<()> {
        self.write(now)?;
        self.files.iter().try_for_each(|(_, f)| f.trouble())
    }

    fn close(&mut self) -> Result<()> {
        self.files.iter_mut().for_each(|(_, f)| f.hasten());
        self.write(Instant::now())?;
        self.files.iter().try_for_each(|(_, f)| f.sync())
    }

    fn buffers(&self) -> bool {
        true
    }

    fn delivered(&mut self) -> Option<Vec<(Arc<str>, Duration)>> {
        Some(std::mem::take(&mut self.delivered))
    }
}
