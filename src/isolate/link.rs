//! One question, one answer, and how long it may take.

use std::io::{self, BufReader, ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::options::Isolation;
use super::picture::{PictureHeader, read_picture};
use super::process::{DecoderProcess, START};
use super::protection::Protection;
use super::wire::{AssignedInput, Assignment, FromParent, LONGEST_REPLY, Reply, Request, read_message, write_message};
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::media::decode::{init, prints_warnings};
use crate::media::frame::DecodedPicture;
use crate::media::{DecodeOptions, FrameGate, FrameSize};
use crate::message;
use crate::message::{Message, Setting};

/// How often a wait checks the interrupt. It counts in these steps, so that a program that was suspended does not take the
/// time of its suspension for the child's.
const STEP: Duration = Duration::from_millis(50);
/// Signs of life in a row without a frame, one a second, for each second that a decoder may be silent: after an hour in
/// which packets give no frame, none will.
const MOST_SIGNS: u32 = 120;
/// How long the last pictures of a source may take. Live mode has 0.8 s from a signal until it describes nothing more.
const LAST_PICTURES: Duration = Duration::from_millis(300);
/// Bytes of replies that are read at once.
const BUFFER: usize = 64 << 10;
/// Megabytes that a child may take beyond its frames: libraries, threads, packets, the container's index.
pub(super) const BASE_MB: u64 = 512;
/// Frames of the largest size that probing may take.
const PROBED_FRAMES: u64 = 24;

/// Why a child gave no answer.
pub(super) enum LinkFault {
    /// The user stopped it.
    Interrupted,
    /// What the child did, and what helps.
    Failed(String, Message),
}

impl LinkFault {
    /// The error about an input.
    pub(super) fn input(self, name: &str) -> Error {
        match self {
            LinkFault::Interrupted => Error::Interrupted,
            LinkFault::Failed(cause, remedy) => Error::input(name, cause, remedy),
        }
    }
}

/// A reader that waits for at most so long.
struct PatientReader {
    stream: UnixStream,
    interrupt: Interrupt,
    limit: Duration,
}

impl Read for PatientReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut waited = Duration::ZERO;
        loop {
            match self.stream.read(buffer) {
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    waited += STEP;
                    if self.interrupt.is_set() {
                        return Err(ErrorKind::ConnectionAborted.into());
                    }
                    if waited >= self.limit {
                        return Err(ErrorKind::TimedOut.into());
                    }
                }
                other => return other,
            }
        }
    }
}

/// Frames that were dropped since the last question. Apart from the link, so that nobody waits for an answer to drop one.
pub(super) type DroppedFrames = Arc<Mutex<Vec<u64>>>;

/// A child, and the way to it.
pub(super) struct DecoderLink {
    reader: BufReader<PatientReader>,
    process: DecoderProcess,
    isolation: Isolation,
    dropped: DroppedFrames,
    gate: Option<Arc<dyn FrameGate>>,
    /// Megabytes that the child may take.
    limit_mb: u64,
    /// Whether the reply to the last request was not waited for.
    owed: bool,
    /// Why the child is gone.
    failure: Option<(String, Message)>,
}

impl DecoderLink {
    /// Starts a child and gives it its assignment. Returns what protects it.
    pub(super) fn start(
        isolation: &Isolation,
        input: AssignedInput,
        decode: &DecodeOptions,
        interrupt: &Interrupt,
    ) -> Result<(DecoderLink, Protection)> {
        let fail = |cause: String| no_decoder(isolation, &cause);
        // FFmpeg scales the child's frames in this process, and would print messages of its own.
        init();
        let (process, stream) = DecoderProcess::start(isolation).map_err(|e| fail(e.to_string()))?;
        let limits = stream.set_read_timeout(Some(STEP)).and(stream.set_write_timeout(Some(isolation.limit)));
        limits.map_err(|e| fail(e.to_string()))?;
        let reader = PatientReader { stream, interrupt: interrupt.clone(), limit: START };
        let reader = BufReader::with_capacity(BUFFER, reader);
        let mut link = DecoderLink {
            reader,
            process,
            isolation: isolation.clone(),
            dropped: DroppedFrames::default(),
            gate: None,
            limit_mb: 0,
            owed: false,
            failure: None,
        };
        let environment = environment(&input);
        let assignment = Assignment {
            version: env!("CARGO_PKG_VERSION").into(),
            input,
            decode: decode.clone(),
            warnings: prints_warnings(),
            memory_mb: BASE_MB + (decode.max_pixels.saturating_mul(PROBED_FRAMES * 3 / 2) >> 20),
            environment,
        };
        if let Err(e) = write_message(&mut link.reader.get_mut().stream, &assignment, &[]) {
            return Err(fail(e.to_string()));
        }
        match link.receive() {
            Ok((Reply::Ready(version, protection), _)) if version == env!("CARGO_PKG_VERSION") => {
                Ok((link, protection))
            }
            Ok((Reply::Ready(..), _)) => Err(fail("it is of another version".into())),
            Ok(_) => Err(fail("it answers something else".into())),
            Err(LinkFault::Interrupted) => Err(Error::Interrupted),
            Err(LinkFault::Failed(cause, _)) => Err(fail(format!("it {cause}"))),
        }
    }

    /// Waits longer for servers: `time` besides the limit for silence.
    pub(super) fn set_patience(&mut self, time: Duration) {
        self.reader.get_mut().limit = self.isolation.limit.saturating_add(time);
    }

    /// From now on the child is only asked for pictures, and for a moment only, whether or not the user stopped the work.
    pub(super) fn hurry(&mut self) {
        let reader = self.reader.get_mut();
        (reader.interrupt, reader.limit) = (Interrupt::new(), LAST_PICTURES);
    }

    /// Ends the child. Pictures that were not fetched are lost.
    pub(super) fn close(&mut self) {
        if self.failure.is_none() {
            self.process.end(false);
            self.failure = Some(("its source is closed".into(), "Report this.".into()));
        }
    }

    /// Who decides which frames the child may allocate. `size`: that of its frames by the header.
    pub(super) fn guard(&mut self, gate: Arc<dyn FrameGate>, size: FrameSize) {
        self.gate = Some(gate);
        self.reserve(size);
    }

    /// Lets the child take the memory of a film of such frames.
    pub(super) fn reserve(&mut self, size: FrameSize) {
        let Some(gate) = &self.gate else { return };
        let mb = BASE_MB.saturating_add(2 * gate.film_mb(size) as u64);
        if mb > self.limit_mb {
            self.limit_mb = mb;
            self.process.limit_memory(mb);
        }
    }

    /// Answers the child's question whether it may allocate a frame. Blocks where a budget has to wait for other films.
    fn admit(&mut self, size: FrameSize) -> io::Result<()> {
        let admitted = self.gate.as_ref().is_none_or(|gate| gate.admits(size));
        if admitted {
            self.reserve(size);
        }
        write_message(&mut self.reader.get_mut().stream, &FromParent::Admit(admitted), &[])
    }

    /// Where to put the frames that the child need not keep.
    pub(super) fn dropped(&self) -> DroppedFrames {
        self.dropped.clone()
    }

    /// Whether the child is gone.
    pub(super) fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    /// Asks, and waits for the reply.
    pub(super) fn ask(&mut self, request: Request) -> Result<(Reply, Vec<u8>), LinkFault> {
        if let Some((cause, remedy)) = &self.failure {
            return Err(LinkFault::Failed(cause.clone(), remedy.clone()));
        }
        if std::mem::take(&mut self.owed) {
            self.receive()?;
        }
        let dropped = std::mem::take(&mut *self.dropped.lock().unwrap_or_else(PoisonError::into_inner));
        match write_message(&mut self.reader.get_mut().stream, &FromParent::Ask(request, dropped), &[]) {
            Ok(()) => self.receive(),
            Err(e) => Err(self.fail(&e)),
        }
    }

    /// Waits for the reply to the last request.
    pub(super) fn receive(&mut self) -> Result<(Reply, Vec<u8>), LinkFault> {
        let most = u64::from(MOST_SIGNS) * self.isolation.limit.as_secs().max(1);
        for _ in 0..most {
            match read_message(&mut self.reader, LONGEST_REPLY) {
                Ok((Reply::Working, _)) => {}
                Ok((Reply::MayAllocate(size), _)) => {
                    if let Err(e) = self.admit(size) {
                        return Err(self.fail(&e));
                    }
                }
                Ok(reply) => return Ok(reply),
                Err(e) if e.kind() == ErrorKind::ConnectionAborted => {
                    self.owed = true;
                    return Err(LinkFault::Interrupted);
                }
                Err(e) => return Err(self.fail(&e)),
            }
        }
        Err(self.fail(&ErrorKind::TimedOut.into()))
    }

    /// Reads the picture that follows.
    pub(super) fn picture(&mut self, header: &PictureHeader, max_pixels: u64) -> Result<DecodedPicture, LinkFault> {
        read_picture(header, max_pixels, &mut self.reader).map_err(|e| self.fail(&e))
    }

    /// The child sent something that it cannot mean: nothing more is read from it.
    pub(super) fn distrust(&mut self, what: &str) -> LinkFault {
        self.fail(&io::Error::new(ErrorKind::InvalidData, what))
    }

    /// Ends the child, and says why.
    fn fail(&mut self, e: &io::Error) -> LinkFault {
        let closed = matches!(e.kind(), ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe | ErrorKind::ConnectionReset);
        let ended = self.process.end(closed);
        let (cause, remedy) = match e.kind() {
            // In the middle of a picture.
            ErrorKind::ConnectionAborted => {
                self.failure = Some(("its decoder was stopped".into(), "Run again.".into()));
                return LinkFault::Interrupted;
            }
            ErrorKind::TimedOut | ErrorKind::WouldBlock => {
                let limit = self.reader.get_ref().limit.as_secs_f64();
                let remedy = message!["If it only decodes slowly, wait longer with ", Setting::DecoderTimeout, "."];
                (format!("its decoder hangs: no sign of life for {limit} s"), remedy)
            }
            ErrorKind::OutOfMemory => {
                ("not enough memory for its pictures".into(), message!["Free memory, or lower ", Setting::Jobs, "."])
            }
            ErrorKind::InvalidData => (format!("its decoder sends nonsense ({e})"), REMEDY.into()),
            _ => (format!("its decoder {ended}"), REMEDY.into()),
        };
        self.failure = Some((cause.clone(), remedy.clone()));
        LinkFault::Failed(cause, remedy)
    }
}

const REMEDY: &str = "The file may be damaged, or made to attack decoders. Keep FFmpeg up to date; other videos go on.";

/// Locks a link.
pub(super) fn lock(link: &Mutex<DecoderLink>) -> MutexGuard<'_, DecoderLink> {
    link.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The variables that the client of a server reads. They go through the socket, because every process of the user can see
/// the environment that another one starts with.
fn environment(input: &AssignedInput) -> Vec<(String, String)> {
    let is_local = match input {
        AssignedInput::Film(input) => !input.is_url(),
        AssignedInput::Stream(access) => !access.address.is_url(),
    };
    let wanted = |name: &str| {
        let lower = name.to_ascii_lowercase();
        name.starts_with("AWS_") || lower.ends_with("_proxy") || name.starts_with("SSL_CERT_")
    };
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| !is_local && wanted(name))
        .collect()
}

impl Isolation {
    /// Starts a decoder's process for an input that comes soon, which then need not wait for it. There are at most four.
    ///
    /// # Errors
    /// If the program cannot be started. Whether it decodes for descry shows when it is given an input.
    pub fn prepare(&self) -> Result<()> {
        DecoderProcess::prepare(self).map_err(|e| no_decoder(self, &e.to_string()))
    }
}

fn no_decoder(isolation: &Isolation, cause: &str) -> Error {
    let remedy = message!["Install descry again, or decode in its own process: ", Setting::NoIsolate, "."];
    Error::usage(format!("{} cannot decode for descry: {cause}", isolation.program.display()), remedy)
}
