//! Runs a program for each caption, with the text on its standard input: to speak it, for example.
//!
//! The program inherits only what [every program](crate::program) does, the variables that
//! [`CommandOptions::environment`] names, and standard error.
//!
//! Order: one program at a time, never through a shell. It is killed, with what it started, when it takes too long or the
//! run ends.
//!
//! Memory: few captions wait, because a caption spoken minutes later is useless; the oldest are lost and counted.

use std::ffi::OsString;
use std::process::{Child, Command as Process, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::event::{Event, EventKind};
use super::super::hub::{Sink, StopSignal};
use crate::error::{Error, Result};
use crate::message::Setting;
use crate::program::{detach, environment, file_name, give_text, kill};
use crate::track::cue::sentence;
use crate::wall::rfc3339;

/// How the program runs.
#[derive(Debug, Clone)]
pub struct CommandOptions {
    /// The program is killed after this. Default: 30 s.
    pub timeout: Duration,
    /// Captions that may wait for the program. Default: 4.
    pub waiting: usize,
    /// Names of further environment variables that the program inherits. Default: none.
    pub environment: Vec<String>,
}

impl Default for CommandOptions {
    fn default() -> CommandOptions {
        CommandOptions { timeout: Duration::from_secs(30), waiting: 4, environment: Vec::new() }
    }
}

/// Runs a program for each caption.
pub struct CommandSink {
    name: String,
    line: Vec<String>,
    options: CommandOptions,
    environment: Vec<(OsString, OsString)>,
    stop: StopSignal,
    delivered: Vec<(Arc<str>, Duration)>,
}

impl CommandSink {
    /// `line`: the program and its arguments. Its environment also has `DESCRY_STREAM`, `DESCRY_TIME` (stream time in
    /// seconds) and `DESCRY_WALL` (RFC 3339).
    ///
    /// # Errors
    /// When `line` is empty, or an environment variable that the program is to inherit does not exist.
    pub fn new(line: &[String], options: &CommandOptions) -> Result<CommandSink> {
        let Some(program) = line.first().filter(|p| !p.is_empty()) else {
            return Err(Error::usage("the command to run is empty", "Name a program, such as espeak-ng."));
        };
        Ok(CommandSink {
            name: format!("command {}", file_name(program)),
            line: line.to_vec(),
            options: options.clone(),
            environment: environment(&options.environment, Setting::CommandEnv)?,
            stop: StopSignal::default(),
            delivered: Vec::new(),
        })
    }

    fn start(&self, event: &Event, text: &str, time: f64, wall: &str) -> std::io::Result<Child> {
        let mut process = Process::new(&self.line[0]);
        process
            .args(&self.line[1..])
            .env_clear()
            .envs(self.environment.iter().cloned())
            .env("DESCRY_STREAM", &*event.stream)
            .env("DESCRY_TIME", format!("{time:.3}"))
            .env("DESCRY_WALL", wall)
            .stdin(Stdio::piped())
            // Standard output may carry JSON lines.
            .stdout(Stdio::null());
        detach(&mut process);
        let mut child = process.spawn()?;
        give_text(&mut child, text);
        Ok(child)
    }

    /// Waits for the program's end, and kills it when its time is over. `None` where it was killed.
    fn wait(&self, child: &mut Child) -> std::io::Result<Option<ExitStatus>> {
        let until = Instant::now() + self.options.timeout;
        let mut nap = Duration::from_millis(2);
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(Some(status));
            }
            // Leaves the hub a moment to notice that this output is done.
            let left = self.stop.at_most(until.saturating_duration_since(Instant::now()));
            if left <= Duration::from_millis(100) && (self.stop.deadline().is_some() || left.is_zero()) {
                kill(child);
                child.wait()?;
                return Ok(None);
            }
            std::thread::sleep(nap.min(left));
            nap = (nap * 2).min(Duration::from_millis(50));
        }
    }
}

impl Sink for CommandSink {
    fn name(&self) -> &str {
        &self.name
    }

    fn wants(&self) -> fn(&EventKind) -> bool {
        |kind| matches!(kind, EventKind::Caption(_))
    }

    fn capacity(&self) -> usize {
        self.options.waiting
    }

    fn begin(&mut self, stop: StopSignal) {
        self.stop = stop;
    }

    fn event(&mut self, event: &Event) -> Result<()> {
        let EventKind::Caption(c) = &event.kind else { return Ok(()) };
        let text = sentence(&c.text);
        if text.is_empty() {
            return Ok(());
        }
        let fail = |cause: String| Err(Error::output(&self.name, cause, "Run it by hand to see why."));
        let child = self.start(event, &text, c.start.secs(), &rfc3339(c.wall));
        if child.is_ok() {
            // The program has the text; how long it speaks does not count as lag.
            self.delivered.push((event.stream.clone(), c.arrived.elapsed()));
        }
        match child.and_then(|mut child| self.wait(&mut child)) {
            Ok(Some(status)) if status.success() => Ok(()),
            Ok(Some(status)) => fail(format!("ended with {status}")),
            Ok(None) if self.stop.deadline().is_some() => fail("was killed because descry ends".into()),
            Ok(None) => fail("took too long and was killed".into()),
            Err(e) => fail(format!("cannot be run: {e}")),
        }
    }

    fn close(&mut self) -> Result<()> {
        Ok(())
    }

    fn delivered(&mut self) -> Option<Vec<(Arc<str>, Duration)>> {
        Some(std::mem::take(&mut self.delivered))
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs::File;
    use std::os::fd::{AsRawFd, FromRawFd};
    use std::time::SystemTime;

    use super::super::super::event::LiveCaption;
    use super::*;
    use crate::time::Time;

    #[test]
    fn the_program_inherits_no_open_file() {
        let dir = tempfile::tempdir().unwrap();
        let (secret, seen) = (dir.path().join("secret"), dir.path().join("seen"));
        let file = File::create(&secret).unwrap();
        // SAFETY: the copy is a descriptor of its own, which the new `File` closes. Programs inherit it.
        let _inherited = unsafe { File::from_raw_fd(nix::libc::dup(file.as_raw_fd())) };
        let script = format!("ls -l /proc/self/fd > {}; cat > /dev/null", seen.display());
        let mut sink = CommandSink::new(&["sh".into(), "-c".into(), script], &CommandOptions::default()).unwrap();
        let caption = LiveCaption {
            start: Time::ZERO,
            picture_time: Time::ZERO,
            due: Time::ZERO,
            wall: SystemTime::now(),
            arrived: Instant::now(),
            waited: Duration::ZERO,
            text: "a dog".into(),
            score: None,
            returning: false,
            screen_text: Arc::new([]),
            jpeg: Arc::new([]),
        };
        let event = Event { stream: "s".into(), number: 0, at: SystemTime::now(), kind: EventKind::Caption(caption) };
        sink.event(&event).unwrap();
        let seen = std::fs::read_to_string(seen).unwrap();
        assert!(seen.contains("seen") && !seen.contains("secret"), "{seen}");
    }
}
