//! One run of a voice's program: text in, bytes out, within limits.

use std::ffi::OsString;
use std::io::{self, ErrorKind, Read};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::interrupt::Interrupt;
use crate::program::{detach, give_text, kill};

/// Most bytes that a program may write: minutes of speech.
const MOST_BYTES: usize = 64 << 20;
/// Bytes of the program's messages that are kept, for the error.
const MESSAGES: usize = 4 << 10;
/// How often the stop flag is checked.
const PATIENCE: Duration = Duration::from_millis(50);

/// What a run needs besides the text.
pub(super) struct ProgramLimits<'a> {
    /// All that the program inherits of the environment.
    pub(super) environment: &'a [(OsString, OsString)],
    /// It is killed after this.
    pub(super) timeout: Duration,
    pub(super) interrupt: &'a Interrupt,
}

/// Why a run gave nothing.
#[derive(Debug)]
pub(super) enum ProgramFault {
    /// The program is not there.
    Missing,
    /// In words, which follow the program's name.
    Failed(String),
    Interrupted,
}

/// Runs a program. Whatever it started is killed with it when this returns.
pub(super) fn run(line: &[String], text: &str, limits: &ProgramLimits<'_>) -> Result<Vec<u8>, ProgramFault> {
    let mut command = Command::new(line.first().map_or("", String::as_str));
    command.args(line.get(1..).unwrap_or_default()).env_clear().envs(limits.environment.iter().cloned());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    detach(&mut command);
    let child = command.spawn().map_err(|e| match e.kind() {
        ErrorKind::NotFound => ProgramFault::Missing,
        _ => ProgramFault::Failed(format!("cannot be run: {e}")),
    })?;
    let mut running = RunningVoice { child, until: Instant::now() + limits.timeout };
    give_text(&mut running.child, text);
    let (mut output, mut messages) = (Vec::new(), Vec::new());
    running.collect(&mut output, &mut messages, limits)?;
    let status = running.wait(limits)?;
    if !status.success() {
        running.collect_messages(&mut messages)?;
        let messages = String::from_utf8_lossy(&messages);
        let last = messages.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default().trim().to_string();
        let more = if last.is_empty() { last } else { format!(": {last}") };
        return Err(ProgramFault::Failed(format!("ended with {status}{more}")));
    }
    Ok(output)
}

/// A program that is killed when this is dropped, with everything that it started.
struct RunningVoice {
    child: Child,
    until: Instant,
}

impl RunningVoice {
    /// Everything that the program writes until it closes its output, or ends, and the end of its messages so far.
    fn collect(
        &mut self,
        output: &mut Vec<u8>,
        messages: &mut Vec<u8>,
        limits: &ProgramLimits<'_>,
    ) -> Result<(), ProgramFault> {
        let mut stdout = self.child.stdout.take();
        while let Some(out) = &mut stdout {
            let stderr = &mut self.child.stderr;
            let (has_output, has_messages) = ready(out, stderr.as_ref(), PATIENCE).map_err(|e| unreadable(&e))?;
            if has_output && take(out, output)? == 0 {
                break;
            }
            if has_messages
                && let Some(err) = stderr
                && take(err, messages)? == 0
            {
                *stderr = None;
            }
            messages.drain(..messages.len().saturating_sub(MESSAGES));
            if output.len() > MOST_BYTES {
                return Err(ProgramFault::Failed(format!("wrote more than {} MB", MOST_BYTES >> 20)));
            }
            // What it started may keep the output open.
            if !has_output && !has_messages && self.child.try_wait().ok().flatten().is_some() {
                break;
            }
            self.check(limits)?;
        }
        Ok(())
    }

    /// The messages that are still there after the program's end. What it started may keep them open, and is not waited for.
    fn collect_messages(&mut self, messages: &mut Vec<u8>) -> Result<(), ProgramFault> {
        while let Some(err) = &mut self.child.stderr {
            let is_ready = ready(err, None::<&ChildStderr>, Duration::ZERO).map_err(|e| unreadable(&e))?.0;
            if !is_ready || messages.len() > MESSAGES || take(err, messages)? == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Waits for the program's end.
    fn wait(&mut self, limits: &ProgramLimits<'_>) -> Result<ExitStatus, ProgramFault> {
        let mut nap = Duration::from_micros(200);
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Ok(status),
                Ok(None) => self.check(limits)?,
                Err(e) => return Err(ProgramFault::Failed(format!("cannot be waited for: {e}"))),
            }
            std::thread::sleep(nap);
            nap = (nap * 2).min(PATIENCE);
        }
    }

    fn check(&self, limits: &ProgramLimits<'_>) -> Result<(), ProgramFault> {
        if limits.interrupt.is_set() {
            Err(ProgramFault::Interrupted)
        } else if Instant::now() >= self.until {
            let limit = limits.timeout.as_secs_f64();
            Err(ProgramFault::Failed(format!("gave no speech within {limit} s and was killed")))
        } else {
            Ok(())
        }
    }
}

impl Drop for RunningVoice {
    fn drop(&mut self) {
        kill(&mut self.child);
        let _ = self.child.wait();
    }
}

/// Appends what can be read at once. 0 at the end.
fn take(from: &mut impl Read, to: &mut Vec<u8>) -> Result<usize, ProgramFault> {
    let mut buffer = [0; 64 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(n) => {
                to.extend_from_slice(&buffer[..n]);
                return Ok(n);
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(unreadable(&e)),
        }
    }
}

fn unreadable(e: &io::Error) -> ProgramFault {
    ProgramFault::Failed(format!("cannot be read: {e}"))
}

/// Waits until one of the two can be read, or `patience` is over. Returns which.
#[cfg(unix)]
fn ready(
    output: &impl std::os::fd::AsFd,
    messages: Option<&impl std::os::fd::AsFd>,
    patience: Duration,
) -> io::Result<(bool, bool)> {
    use nix::errno::Errno;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut both = vec![PollFd::new(output.as_fd(), PollFlags::POLLIN)];
    both.extend(messages.map(|m| PollFd::new(m.as_fd(), PollFlags::POLLIN)));
    match poll(&mut both, PollTimeout::try_from(patience).unwrap_or(PollTimeout::ZERO)) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(e) => return Err(e.into()),
    }
    let is_ready = |at: usize| both.get(at).and_then(PollFd::any).unwrap_or(false);
    Ok((is_ready(0), is_ready(1)))
}

/// This system cannot wait for two: the output comes first.
#[cfg(not(unix))]
fn ready<O, M>(_output: &O, _messages: Option<&M>, _patience: Duration) -> io::Result<(bool, bool)> {
    Ok((true, false))
}
