//! Runs a program for each spoken description, with it as a WAV file on standard input.
//!
//! As with [commands](super::super::command): one program at a time, never through a shell, and it is killed with what it
//! started when it takes too long or descry ends. Memory: [`WAITING`] descriptions.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use super::mix::LiveSpeech;
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::lock::lock;
use crate::media::PROGRAMME_RATE;
use crate::program::{detach, kill};
use crate::voice::write_wav;

/// Descriptions that wait for the program.
const WAITING: usize = 4;
/// How much longer than its description a program may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);
/// How often a waiting thread checks whether to stop.
const NAP: Duration = Duration::from_millis(20);

/// The program in its thread.
pub(super) struct PlayerThread {
    to: Option<Sender<(Arc<str>, LiveSpeech)>>,
    waiting: Receiver<(Arc<str>, LiveSpeech)>,
    state: Arc<PlayerState>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread and the output share.
#[derive(Default)]
struct PlayerState {
    /// What went wrong and is not reported yet.
    fault: Mutex<Option<Error>>,
    lost: AtomicU64,
    /// Descriptions that wait or are played.
    pending: AtomicUsize,
    /// Descriptions that a program has, as stream and lag.
    delivered: Mutex<Vec<(Arc<str>, Duration)>>,
    interrupt: Interrupt,
}

/// What runs.
struct PlayerProgram {
    line: Vec<String>,
    environment: Vec<(OsString, OsString)>,
}

impl PlayerThread {
    /// `environment`: all that the program inherits of it.
    ///
    /// # Errors
    /// If the program's name is empty, or the system refuses a thread.
    pub(super) fn start(line: &[String], environment: Vec<(OsString, OsString)>) -> Result<PlayerThread> {
        if line.first().is_none_or(String::is_empty) {
            return Err(Error::usage("the program that plays is empty", "Name one, such as `aplay -q`."));
        }
        let program = PlayerProgram { line: line.to_vec(), environment };
        let (to, waiting) = bounded::<(Arc<str>, LiveSpeech)>(WAITING);
        let state = Arc::<PlayerState>::default();
        let (from, shared) = (waiting.clone(), state.clone());
        let play = move || {
            for (stream, speech) in from {
                if shared.interrupt.is_set() {
                    return;
                }
                if let Err(cause) = program.play(&stream, &speech, &shared) {
                    let e = Error::output(program.name(), cause, "Run it by hand with a WAV file to see why.");
                    shared.lost.fetch_add(1, Ordering::Relaxed);
                    lock(&shared.fault).get_or_insert(e);
                }
                shared.pending.fetch_sub(1, Ordering::AcqRel);
            }
        };
        let thread = std::thread::Builder::new().name("player".into()).spawn(play).map_err(|e| {
            Error::output("voice", format!("gets no thread: {e}"), "Stop other programs, or raise the limit.")
        })?;
        Ok(PlayerThread { to: Some(to), waiting, state, thread: Some(thread) })
    }

    /// Plays a description when its turn comes. The oldest one that waits may be lost for it.
    pub(super) fn play(&self, stream: &Arc<str>, speech: LiveSpeech) {
        let mut next = (stream.clone(), speech);
        self.state.pending.fetch_add(1, Ordering::AcqRel);
        while let Some(to) = &self.to {
            match to.try_send(next) {
                Ok(()) | Err(TrySendError::Disconnected(_)) => return,
                Err(TrySendError::Full(again)) => {
                    if self.waiting.try_recv().is_ok() {
                        self.state.pending.fetch_sub(1, Ordering::AcqRel);
                        let e = Error::output("voice", "the player is too slow; a description is lost", "Use another.");
                        self.state.lost.fetch_add(1, Ordering::Relaxed);
                        lock(&self.state.fault).get_or_insert(e);
                    }
                    next = again;
                }
            }
        }
    }

    /// Descriptions that were lost since the last call, and what went wrong first.
    pub(super) fn take_lost(&self) -> (u64, Option<Error>) {
        (self.state.lost.swap(0, Ordering::Relaxed), lock(&self.state.fault).take())
    }

    /// Descriptions that a program got since the last call, as stream and lag.
    pub(super) fn take_delivered(&self) -> Vec<(Arc<str>, Duration)> {
        std::mem::take(&mut *lock(&self.state.delivered))
    }

    /// Descriptions that wait or are played.
    pub(super) fn pending(&self) -> usize {
        self.state.pending.load(Ordering::Acquire)
    }

    /// Plays what waits until then. Returns how many descriptions are left.
    pub(super) fn finish(&mut self, until: Instant) -> usize {
        self.to = None;
        while self.thread.as_ref().is_some_and(|t| !t.is_finished()) && Instant::now() < until {
            std::thread::sleep(NAP);
        }
        self.pending()
    }
}

impl Drop for PlayerThread {
    fn drop(&mut self) {
        self.state.interrupt.set();
        self.to = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl PlayerProgram {
    fn name(&self) -> String {
        let program = self.line.first().map_or("", String::as_str);
        format!("player {}", program.rsplit('/').next().unwrap_or(program))
    }

    /// Runs the program to its end. The error is in words.
    fn play(&self, stream: &Arc<str>, speech: &LiveSpeech, state: &PlayerState) -> Result<(), String> {
        let unwritable = |e: &dyn std::fmt::Display| format!("a temporary file cannot be written: {e}");
        let file = wav(speech).map_err(|e| unwritable(&e))?;
        let mut command = Command::new(&self.line[0]);
        command.args(&self.line[1..]).env_clear().envs(self.environment.iter().cloned());
        command.env("DESCRY_STREAM", &**stream);
        // Standard output may carry JSON lines.
        command.stdin(Stdio::from(file)).stdout(Stdio::null());
        detach(&mut command);
        let mut child = command.spawn().map_err(|e| format!("cannot be run: {e}"))?;
        lock(&state.delivered).push((stream.clone(), speech.arrived.elapsed()));
        let length = Duration::from_secs_f64(speech.samples.len() as f64 / f64::from(PROGRAMME_RATE));
        match wait(&mut child, length + PATIENCE, &state.interrupt) {
            Ok(Some(status)) if status.success() => Ok(()),
            Ok(Some(status)) => {
                // What it started would go on.
                kill(&mut child);
                Err(format!("ended with {status}"))
            }
            Ok(None) if state.interrupt.is_set() => Err("was killed because descry ends".into()),
            Ok(None) => Err("took too long and was killed".into()),
            Err(e) => Err(format!("cannot be waited for: {e}")),
        }
    }
}

/// Waits for the program's end, and kills it when its time is over. `None` where it was killed.
fn wait(child: &mut Child, most: Duration, interrupt: &Interrupt) -> io::Result<Option<ExitStatus>> {
    let until = Instant::now() + most;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if interrupt.is_set() || Instant::now() >= until {
            kill(child);
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(NAP);
    }
}

/// A WAV file without a name, at its beginning.
fn wav(speech: &LiveSpeech) -> Result<File, hound::Error> {
    let mut file = tempfile::tempfile()?;
    write_wav(PROGRAMME_RATE, &speech.samples, io::BufWriter::new(&file))?;
    file.seek(SeekFrom::Start(0))?;
    Ok(file)
}
