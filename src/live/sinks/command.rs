//! A program that is run for each caption, with the text on its standard input: to speak it, say.
//!
//! One at a time, and never through a shell. It is killed, with what it started, when it takes too long or descry ends.
//! Few captions wait for it, because one that is spoken minutes later helps nobody; the oldest are lost and counted.

use std::io::Write;
use std::process::{Child, Command as Process, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::event::{Event, What};
use super::super::hub::{Sink, Stop};
use super::super::wall::rfc3339;
use crate::error::{Error, Result};
use crate::track::cue::sentence;

/// How a program is run.
#[derive(Debug, Clone)]
pub struct CommandOptions {
    /// It is killed after this. Default: 30 s.
    pub timeout: Duration,
    /// Captions that may wait for it. Default: 4.
    pub waiting: usize,
}

impl Default for CommandOptions {
    fn default() -> CommandOptions {
        CommandOptions { timeout: Duration::from_secs(30), waiting: 4 }
    }
}

/// More of a text is not given to it: what a pipe takes without waiting for its reader.
const TEXT: usize = 4_096;

pub struct Command {
    name: String,
    line: Vec<String>,
    options: CommandOptions,
    stop: Stop,
    settled: Vec<(Arc<str>, Duration)>,
}

impl Command {
    /// The program and its arguments. Its environment has `DESCRY_STREAM`, `DESCRY_TIME` (seconds) and `DESCRY_WALL`.
    pub fn new(line: &[String], options: &CommandOptions) -> Result<Command> {
        let Some(program) = line.first().filter(|p| !p.is_empty()) else {
            return Err(Error::usage("the command to run is empty", "Name a program, such as espeak-ng."));
        };
        let file = program.rsplit('/').next().unwrap_or(program);
        Ok(Command {
            name: format!("command {file}"),
            line: line.to_vec(),
            options: options.clone(),
            stop: Stop::default(),
            settled: Vec::new(),
        })
    }

    fn start(&self, event: &Event, text: &str, time: f64, wall: &str) -> std::io::Result<Child> {
        let mut process = Process::new(&self.line[0]);
        process
            .args(&self.line[1..])
            // What is descry's to know is not the program's.
            .env_remove("DESCRY_HTTP_TOKEN")
            .env_remove("DESCRY_WEBHOOK_TOKEN")
            .env("DESCRY_STREAM", &*event.stream)
            .env("DESCRY_TIME", format!("{time:.3}"))
            .env("DESCRY_WALL", wall)
            .stdin(Stdio::piped())
            // Standard output may carry descry's own lines.
            .stdout(Stdio::null());
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut process, 0);
        let mut child = process.spawn()?;
        if let Some(mut input) = child.stdin.take() {
            // A program that does not want the text is within its rights.
            let _ = input.write_all(text.as_bytes());
        }
        Ok(child)
    }

    /// Waits; kills when it is time. None for one that had to be killed.
    fn wait(&self, child: &mut Child) -> std::io::Result<Option<ExitStatus>> {
        let until = Instant::now() + self.options.timeout;
        let mut nap = Duration::from_millis(2);
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(Some(status));
            }
            // Leaves the hub a moment to see that it is done.
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

/// With all that it started, where the system has groups of processes.
fn kill(child: &mut Child) {
    #[cfg(unix)]
    if let Ok(group) = i32::try_from(child.id()) {
        let _ = nix::sys::signal::killpg(nix::unistd::Pid::from_raw(group), nix::sys::signal::Signal::SIGKILL);
    }
    let _ = child.kill();
}

impl Sink for Command {
    fn name(&self) -> &str {
        &self.name
    }

    fn wants(&self) -> fn(&What) -> bool {
        |what| matches!(what, What::Caption(_))
    }

    fn capacity(&self) -> usize {
        self.options.waiting
    }

    fn begin(&mut self, stop: Stop) {
        self.stop = stop;
    }

    fn event(&mut self, event: &Event) -> Result<()> {
        let What::Caption(c) = &event.what else { return Ok(()) };
        let mut text = sentence(&c.text);
        if text.is_empty() {
            return Ok(());
        }
        text.truncate(text.floor_char_boundary(TEXT - 1));
        text.push('\n');
        let fail = |cause: String| Err(Error::output(&self.name, cause, "Run it by hand to see why."));
        let child = self.start(event, &text, c.start.secs(), &rfc3339(c.wall));
        if child.is_ok() {
            // It has the text; how long it speaks is its own affair.
            self.settled.push((event.stream.clone(), c.arrived.elapsed()));
        }
        match child.and_then(|mut child| self.wait(&mut child)) {
            Ok(Some(status)) if status.success() => Ok(()),
            Ok(Some(status)) => fail(format!("ends with {status}")),
            Ok(None) if self.stop.deadline().is_some() => fail("was killed, for descry ends".into()),
            Ok(None) => fail("took too long and was killed".into()),
            Err(e) => fail(format!("cannot be run: {e}")),
        }
    }

    fn close(&mut self) -> Result<()> {
        Ok(())
    }

    fn settled(&mut self) -> Option<Vec<(Arc<str>, Duration)>> {
        Some(std::mem::take(&mut self.settled))
    }
}
