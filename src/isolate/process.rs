//! A decoder's process as its parent sees it.
//!
//! Started by one thread that lives as long as this program, because a child dies with the thread that started it
//! (`PR_SET_PDEATHSIG`). It inherits its socket, a pipe for what it prints, and no secret in its environment. What it prints
//! is untrusted text: limited, without credentials and control characters.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, bounded};
use nix::sys::signal::Signal;

use super::options::Isolation;
use super::task::DECODE;
use super::wire::SIGN;
use crate::address::hide;
use crate::media::decode::prints_warnings;

/// Variables that a child inherits, by the beginning of their names: for the loader, the libraries and the language.
const INHERITED: [&str; 12] = [
    "CUDA_",
    "DYLD_",
    "GLIBC_",
    "LANG",
    "LC_",
    "LD_",
    "LIBVA_",
    "MALLOC_",
    "NVIDIA_",
    "RUST_BACKTRACE",
    "TZ",
    "VDPAU_",
];
/// Longest line of a child that is printed, in bytes, and most lines.
const LINE: u64 = 1024;
const LINES: usize = 1000;
/// How long a process that has ended or was killed may take until it is gone. Only one that the kernel holds takes longer.
const GONE: Duration = Duration::from_secs(2);
/// How often its end is checked meanwhile.
const CHECK: Duration = Duration::from_millis(2);

/// A command to start, and where its child goes.
type SpawnOrder = (Command, Sender<io::Result<Child>>);

/// A child that waits for its assignment, and the program that it runs.
type SpareProcess = (PathBuf, DecoderProcess, UnixStream);

/// Children without an assignment, so that an input does not wait until a program is loaded. The oldest first.
static SPARES: Mutex<VecDeque<SpareProcess>> = Mutex::new(VecDeque::new());
/// Most of them: each takes some 20 MB.
const MOST_SPARES: usize = 4;

/// Starts all children.
static STARTER: LazyLock<Option<Sender<SpawnOrder>>> = LazyLock::new(|| {
    let (orders, received) = bounded::<SpawnOrder>(0);
    let run = move || {
        for (mut command, reply) in received {
            let _ = reply.send(command.spawn());
        }
    };
    thread::Builder::new().name("decoders".into()).spawn(run).ok().map(|_| orders)
});

/// A program as a child with one argument, in a process group of its own and without secrets in its environment.
pub(super) fn descry(program: &Path, argument: &str) -> Command {
    let mut command = Command::new(program);
    command.arg0("descry").arg(argument).env_clear().process_group(0);
    for (name, value) in std::env::vars_os() {
        let inherited = |name: &str| INHERITED.iter().any(|start| name.starts_with(start));
        if name.to_str().is_some_and(inherited) {
            command.env(name, value);
        }
    }
    command
}

/// A child. Dropped, it is killed and reaped.
pub(super) struct DecoderProcess {
    child: Child,
    status: Option<ExitStatus>,
    last_line: Arc<Mutex<String>>,
}

impl DecoderProcess {
    /// A child that runs, one that was [prepared](Self::prepare) if there is any; the socket leads to it.
    pub(super) fn start(isolation: &Isolation) -> io::Result<(DecoderProcess, UnixStream)> {
        loop {
            let spare = SPARES.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            match spare {
                None => return DecoderProcess::spawn(isolation),
                Some((program, mut process, socket)) => {
                    if program == isolation.program && process.runs() {
                        return Ok((process, socket));
                    }
                }
            }
        }
    }

    /// Starts a child for an input that comes soon, unless enough of them wait.
    pub(super) fn prepare(isolation: &Isolation) -> io::Result<()> {
        let mut spares = SPARES.lock().unwrap_or_else(PoisonError::into_inner);
        if spares.len() < MOST_SPARES {
            let (process, socket) = DecoderProcess::spawn(isolation)?;
            spares.push_back((isolation.program.clone(), process, socket));
        }
        Ok(())
    }

    fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    fn spawn(isolation: &Isolation) -> io::Result<(DecoderProcess, UnixStream)> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut command = descry(&isolation.program, DECODE);
        command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).stderr(Stdio::piped());
        let starter = STARTER.as_ref().ok_or_else(|| io::Error::other("no thread can be started"))?;
        let (reply, started) = bounded(1);
        let gone = |_| io::Error::other("the thread that starts decoders has ended");
        starter.send((command, reply)).map_err(|e| gone(e.to_string()))?;
        let mut child = started.recv().map_err(|e| gone(e.to_string()))??;
        let last_line = Arc::<Mutex<String>>::default();
        if let Some(printed) = child.stderr.take() {
            let (last_line, prints) = (last_line.clone(), prints_warnings());
            let _ = thread::Builder::new().name("decoder".into()).spawn(move || follow(printed, prints, &last_line));
        }
        Ok((DecoderProcess { child, status: None, last_line }, ours))
    }

    /// Sets the memory that the child may take, up to what it began with.
    pub(super) fn limit_memory(&self, mb: u64) {
        #[cfg(target_os = "linux")]
        {
            use nix::libc;
            let child = self.child.id() as i32;
            let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            // SAFETY: the child is not reaped, so the number is its own. The first call writes the limit, the second reads it.
            unsafe {
                if libc::prlimit(child, libc::RLIMIT_DATA, std::ptr::null(), &raw mut limit) == 0 {
                    limit.rlim_cur = mb.saturating_mul(1 << 20).min(limit.rlim_max);
                    libc::prlimit(child, libc::RLIMIT_DATA, &raw const limit, std::ptr::null_mut());
                }
            }
        }
        #[cfg(not(target_os = "linux"))]
        let _ = mb;
    }

    /// Ends the child, and says how it had ended before, if it had.
    pub(super) fn end(&mut self, closed: bool) -> String {
        if !closed {
            let _ = self.child.kill();
        }
        self.reap();
        let Some(status) = self.status else { return "does not end".into() };
        let line = self.last_line.lock().unwrap_or_else(PoisonError::into_inner);
        match (status.signal(), status.code()) {
            (Some(signal), _) => {
                let name = Signal::try_from(signal).map_or_else(|_| format!("signal {signal}"), |s| s.to_string());
                if signal == Signal::SIGKILL as i32 {
                    format!("was killed ({name}): perhaps the system is out of memory")
                } else {
                    format!("crashed ({name})")
                }
            }
            (None, Some(101)) => format!("panicked: {line}"),
            (None, code) => format!("ended in the middle (exit code {})", code.unwrap_or_default()),
        }
    }

    /// Waits for the end of a child that has ended, or was killed; kills one that takes too long.
    fn reap(&mut self) {
        let begin = Instant::now();
        while self.status.is_none() {
            self.status = self.child.try_wait().unwrap_or_default();
            if self.status.is_some() || begin.elapsed() > 2 * GONE {
                return;
            }
            if begin.elapsed() > GONE {
                let _ = self.child.kill();
            }
            thread::sleep(CHECK);
        }
    }
}

impl Drop for DecoderProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        self.reap();
    }
}

/// Follows what a child prints until it ends: prints it if FFmpeg's warnings are wanted, and remembers the last line.
fn follow(printed: ChildStderr, prints: bool, last: &Mutex<String>) {
    let mut printed = BufReader::new(printed);
    let mut bytes = Vec::new();
    for number in 0.. {
        bytes.clear();
        match printed.by_ref().take(LINE).read_until(b'\n', &mut bytes) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let text = hide(&String::from_utf8_lossy(&bytes)).replace(char::is_control, " ");
        let text = text.trim_end();
        // The panic's own line says where; the next one says what.
        if number < LINES && !text.is_empty() && !text.starts_with("note: ") {
            if prints {
                let _ = writeln!(io::stderr(), "{text}");
            }
            text.clone_into(&mut last.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

/// How long the first sign of life may take: a program that is loaded from a slow disk.
pub(super) const START: Duration = Duration::from_secs(30).saturating_add(SIGN);
