//! The child: opens one input, answers its parent's questions, and ends with it.
//!
//! One thread replies, in order. A stream is decoded on it, a film [ahead](super::ahead) of the questions. A second one reads
//! what the parent sends, and ends the process with it, so that a decoder in an endless loop does not outlive its parent.
//! Before a decoder allocates a frame of a new size, on whatever thread, it asks the parent ([`AskingGate`]). Memory: the
//! frames that the parent has not dropped, and those ahead.

use std::collections::{HashMap, VecDeque};
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};
use nix::libc;
use nix::time::{ClockId, clock_gettime};

use super::ahead::{Decoded, DecodedStep, FilmAhead, examine, split};
use super::picture;
use super::sandbox::{self, Needs};
use super::task::{ChildTask, child_task, prepare};
use super::template;
use super::wire::{
    AssignedInput, Assignment, BATCH, FromParent, LONGEST_REQUEST, LiveAccess, NoFrame, Reply, Request, SentFrame,
    SourceState, read_message, write_message,
};
use crate::address::{is_object, is_url};
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::media::{
    Advance, DecodeOptions, Frame, FrameGate, FrameSize, SideTrackData, Source, StreamAccess, StreamFault,
    print_warnings,
};
use crate::scene::{StrokeMap, Thumb};
use crate::time::Time;

/// Messages of the parent that may wait: it sends one, and waits for the reply.
const WAITING: usize = 4;
/// Most sizes that are remembered as admitted.
const MOST_SIZES: usize = 16;
/// How long the first frame of a batch waits for others. A message costs as much as a tenth of the decoding of a frame.
const GATHERING: Duration = Duration::from_millis(20);
/// Bytes that are written at once.
const BUFFER: usize = 64 << 10;
/// Variables that name a file or folder which the client of a web server or an object store reads.
const TOKEN_FILES: [&str; 4] =
    ["AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "SSL_CERT_FILE", "SSL_CERT_DIR"];

/// Works for the process that started this one, until that one is done with it. Call it before there is any other thread.
pub fn serve() {
    // Its end, and that of its parent, is all that an error here could mean.
    let _ = match child_task() {
        Some(ChildTask::Render) => template::serve(),
        Some(ChildTask::Decode) => try_serve(),
        None => Ok(()),
    };
}

fn try_serve() -> io::Result<()> {
    prepare();
    let mut socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let (assignment, _) = read_message::<Assignment>(&mut socket, LONGEST_REQUEST)?;
    for (name, value) in &assignment.environment {
        // SAFETY: no other thread runs yet.
        unsafe { std::env::set_var(name, value) };
    }
    let protection = sandbox::enter(&needs(&assignment));
    let (questions, answers) = listen(socket.try_clone()?)?;
    let ready = Reply::Ready(env!("CARGO_PKG_VERSION").into(), protection);
    write_message(&mut socket, &ready, &[])?;
    if assignment.warnings {
        print_warnings();
    }
    let Assignment { input, decode, .. } = assignment;
    let out = Arc::new(Mutex::new(BufWriter::with_capacity(BUFFER, socket)));
    let gate = AskingGate { out: out.clone(), asking: Mutex::new(Asking { answers, admitted: Vec::new() }) };
    let (side_track, strokes) = (VecDeque::new(), decode.strokes);
    let mut decoder = DecodeChild { out, held: HashMap::new(), kept: None, side_track, until: Time::ZERO, strokes };
    let is_film = matches!(input, AssignedInput::Film(_));
    let mut source = match input {
        AssignedInput::Film(input) => match Source::open(&input, &decode, Interrupt::new()) {
            Ok(source) => source,
            Err(e) => return decoder.reply(&Reply::Failed(e.into()), &[]),
        },
        AssignedInput::Stream(access) => match connect(access, &decode) {
            Ok(source) => source,
            Err(fault) => return decoder.reply(&Reply::Fault(fault), &[]),
        },
    };
    decoder.reply(&Reply::Opened(Box::new(source.info().clone()), Box::new(SourceState::of(&source))), &[])?;
    source.guard(Arc::new(gate));
    if is_film {
        let film = FilmAhead::start(source, decoder.strokes)?;
        decoder.serve(&questions, |decoder, request| decoder.next(&film, request))
    } else {
        decoder.serve(&questions, |decoder, request| decoder.advance(&mut source, request))
    }
}

/// What a parent asked.
type ParentQuestion = (Request, Vec<u64>);

/// Reads what the parent sends: its questions, and its answers to the questions of the gate. Ends this process as soon as
/// nobody has the other end of the socket, whatever the decoder does.
fn listen(mut socket: UnixStream) -> io::Result<(Receiver<ParentQuestion>, Receiver<bool>)> {
    let ((ask, questions), (answer, answers)) = (bounded(WAITING), bounded(WAITING));
    let read = move || {
        loop {
            let delivered = match read_message::<FromParent>(&mut socket, LONGEST_REQUEST) {
                Ok((FromParent::Ask(request, dropped), _)) => ask.send((request, dropped)).is_ok(),
                Ok((FromParent::Admit(admitted), _)) => answer.send(admitted).is_ok(),
                Err(_) => false,
            };
            if !delivered {
                // SAFETY: ends the process at once, whatever its other threads do.
                unsafe { libc::_exit(0) }
            }
        }
    };
    std::thread::Builder::new().name("parent".into()).spawn(read)?;
    Ok((questions, answers))
}

/// Asks the parent which frames may be allocated.
struct AskingGate {
    out: Arc<Mutex<BufWriter<UnixStream>>>,
    asking: Mutex<Asking>,
}

/// One thread asks at a time.
struct Asking {
    answers: Receiver<bool>,
    /// Sizes that the parent has admitted, each larger than those before in some way.
    admitted: Vec<FrameSize>,
}

impl FrameGate for AskingGate {
    fn admits(&self, size: FrameSize) -> bool {
        let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        let holds = |large: &FrameSize| {
            size.width <= large.width && size.height <= large.height && size.bits_per_pixel <= large.bits_per_pixel
        };
        if asking.admitted.iter().any(holds) {
            return true;
        }
        if send(&self.out, &Reply::MayAllocate(size), &[]).is_err() || asking.answers.recv() != Ok(true) {
            return false;
        }
        if asking.admitted.len() == MOST_SIZES {
            asking.admitted.remove(0);
        }
        asking.admitted.push(size);
        true
    }

    fn film_mb(&self, _: FrameSize) -> usize {
        // The parent knows.
        0
    }
}

fn send(out: &Mutex<BufWriter<UnixStream>>, reply: &Reply, behind: &[u8]) -> io::Result<()> {
    let mut out = out.lock().unwrap_or_else(PoisonError::into_inner);
    write_message(&mut *out, reply, behind)?;
    out.flush()
}

/// What this process needs for its input.
fn needs(assignment: &Assignment) -> Needs {
    let Assignment { decode, memory_mb, .. } = assignment;
    let mut needs = Needs { hwaccel: decode.hwaccel.is_some(), memory_mb: *memory_mb, ..Needs::default() };
    match &assignment.input {
        AssignedInput::Film(input) => need(&mut needs, input.reveal()),
        AssignedInput::Stream(access) if access.format.as_deref() == Some("v4l2") => {
            needs.device = Some(PathBuf::from(access.address.reveal()));
        }
        AssignedInput::Stream(access) => {
            let address = access.address.reveal();
            need(&mut needs, address.strip_prefix("file:").unwrap_or(address));
        }
    }
    needs
}

fn need(needs: &mut Needs, input: &str) {
    needs.network = is_url(input);
    if is_object(input) || needs.network {
        needs.readable.extend(TOKEN_FILES.iter().filter_map(std::env::var_os).map(PathBuf::from));
        return;
    }
    needs.readable.push(PathBuf::from(input));
}

fn connect(access: LiveAccess, decode: &DecodeOptions) -> Result<Source, StreamFault> {
    // A child connects once, so these live as long as it needs them.
    let fixed = |text: String| -> &'static str { text.leak() };
    let LiveAccess { address, name, format, options } = access;
    if format.as_deref() == Some("v4l2") {
        crate::media::load_camera_support().map_err(|e| StreamFault::Unreachable(e.to_string()))?;
    }
    let options = options.into_iter().map(|(name, value)| (fixed(name), value)).collect();
    let access = StreamAccess { address, name, format: format.map(fixed), options };
    Source::connect(&access, decode, Interrupt::new())
}

/// Nanoseconds of the system's monotonic clock, which all processes share.
pub(super) fn monotonic() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |t| t.tv_sec() as u64 * 1_000_000_000 + t.tv_nsec() as u64)
}

/// The side of the decoder that answers.
struct DecodeChild {
    out: Arc<Mutex<BufWriter<UnixStream>>>,
    /// Frames that the parent may still ask for.
    held: HashMap<u64, Frame>,
    /// What comes after the frames that were sent.
    kept: Option<Decoded>,
    /// Of a stream: what was read of the side track and is not sent yet.
    side_track: VecDeque<SideTrackData>,
    /// Up to when the side track of a stream has been read.
    until: Time,
    /// Whether the strokes of frames are wanted.
    strokes: bool,
}

impl DecodeChild {
    /// Answers questions. Those for frames go to `read`.
    fn serve(
        &mut self,
        questions: &Receiver<ParentQuestion>,
        mut read: impl FnMut(&mut DecodeChild, &Request) -> io::Result<()>,
    ) -> io::Result<()> {
        for (request, dropped) in questions {
            for frame in dropped {
                self.held.remove(&frame);
            }
            match request {
                Request::Next | Request::Advance(_) => read(self, &request)?,
                Request::Picture(frame) => self.picture(frame)?,
                Request::Identity(frame) => {
                    let identity = self.held.get(&frame).map_or(0, Frame::identity);
                    self.reply(&Reply::Identity(identity), &[])?;
                }
            }
        }
        Ok(())
    }

    fn reply(&self, reply: &Reply, behind: &[u8]) -> io::Result<()> {
        send(&self.out, reply, behind)
    }

    /// Sends the next frames of a film: a batch, or what there is of it after [`GATHERING`]. What was read of the
    /// side track, and an error, is sent after the frames before it.
    fn next(&mut self, film: &FilmAhead, request: &Request) -> io::Result<()> {
        if !matches!(request, Request::Next) {
            return Err(io::Error::other("a film cannot be read like a stream"));
        }
        let (mut frames, mut samples) = (Vec::new(), Vec::new());
        let mut decoded = match self.kept.take() {
            Some(kept) => kept,
            None => film.next(|| self.reply(&Reply::Working, &[]))?,
        };
        let until = Instant::now() + GATHERING;
        loop {
            let (step, state) = decoded;
            match step {
                DecodedStep::Frame(frame, thumb, strokes) => {
                    frames.push(self.hold(frame, &thumb, strokes, state.clone(), &mut samples));
                    let next = if frames.len() < BATCH { film.next_before(until) } else { None };
                    match next {
                        Some(next) => decoded = next,
                        None => return self.frames(frames, None, state, &samples),
                    }
                }
                DecodedStep::End => return self.frames(frames, Some(NoFrame::Ended), state, &samples),
                step if !frames.is_empty() => {
                    self.kept = Some((step, state.clone()));
                    return self.frames(frames, None, state, &samples);
                }
                DecodedStep::SideTrack(data) => return self.reply(&Reply::SideTrack(data, Box::new(state)), &[]),
                DecodedStep::Failed(e) => {
                    return self.frames(frames, Some(NoFrame::Failed(e.into())), state, &samples);
                }
            }
        }
    }

    fn frames(
        &self,
        frames: Vec<SentFrame>,
        reason: Option<NoFrame>,
        state: SourceState,
        samples: &[u8],
    ) -> io::Result<()> {
        self.reply(&Reply::Frames(frames, reason, Box::new(state)), samples)
    }

    /// Reads on in a stream, by at most one packet. What was read of the side track is sent before that.
    fn advance(&mut self, source: &mut Source, request: &Request) -> io::Result<()> {
        let Request::Advance(keyframes_only) = request else {
            return Err(io::Error::other("a stream cannot be read like a film"));
        };
        source.set_keyframes_only(*keyframes_only);
        if let Some(data) = self.side_track.pop_front() {
            return self.reply(&Reply::SideTrack(data, Box::new(SourceState::of(source))), &[]);
        }
        let (mut frames, mut samples) = (Vec::new(), Vec::new());
        let advance = source.advance();
        while let Some(data) = source.take_side_track() {
            self.side_track.extend(split(data, &mut self.until));
        }
        match advance {
            Ok(Advance::Frame(frame)) => match examine(&frame, self.strokes) {
                Ok((thumb, strokes)) => {
                    frames.push(self.hold(frame, &thumb, strokes, SourceState::of(source), &mut samples));
                }
                Err(e) => return self.reply(&Reply::Fault(StreamFault::Undecodable(e.to_string())), &[]),
            },
            Ok(Advance::Packet) => {}
            Err(fault) => return self.reply(&Reply::Fault(fault), &[]),
        }
        self.frames(frames, None, SourceState::of(source), &samples)
    }

    /// Keeps a frame, and sends its thumb and its strokes.
    fn hold(
        &mut self,
        frame: Frame,
        thumb: &Thumb,
        strokes: Option<StrokeMap>,
        state: SourceState,
        samples: &mut Vec<u8>,
    ) -> SentFrame {
        for plane in [&thumb.y, &thumb.u, &thumb.v].into_iter().chain(strokes.as_ref().map(|map| &map.values)) {
            samples.extend_from_slice(plane);
        }
        let arrived = frame.arrived.map(|at| {
            let age = u64::try_from(at.elapsed().as_nanos()).unwrap_or(u64::MAX);
            monotonic().saturating_sub(age)
        });
        let header = frame.header();
        self.held.insert(frame.index, frame);
        SentFrame { header, sharpness: thumb.sharpness, arrived, state }
    }

    /// Sends a frame's picture, and forgets the frame.
    fn picture(&mut self, frame: u64) -> io::Result<()> {
        let absent = || Error::input("frame", "its picture is gone", "Report this.");
        let Some(frame) = self.held.remove(&frame) else {
            return self.reply(&Reply::Failed(absent().into()), &[]);
        };
        let Some((av, header)) = frame.av().ok().and_then(|av| Some((av, picture::header(av)?))) else {
            let remedy = "Convert the file first, for example: ffmpeg -i INPUT -pix_fmt yuv420p OUTPUT.mp4";
            let e = Error::input("frame", "its pixel format has no samples in memory", remedy);
            return self.reply(&Reply::Failed(e.into()), &[]);
        };
        // No other thread's message may come in between.
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        write_message(&mut *out, &Reply::Picture(header), &[])?;
        picture::write_samples(av, &mut *out)?;
        out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(input: &str) -> Needs {
        let mut needs = Needs::default();
        need(&mut needs, input);
        needs
    }

    #[test]
    fn a_file_needs_itself_and_no_network() {
        for path in ["films/a.mp4", "a.m3u8"] {
            let needs = of(path);
            assert!(!needs.network && needs.readable == [PathBuf::from(path)], "{path}");
        }
    }

    #[test]
    fn a_url_needs_the_network_and_no_file_but_those_of_its_client() {
        let named: Vec<PathBuf> = TOKEN_FILES.iter().filter_map(std::env::var_os).map(PathBuf::from).collect();
        for url in ["https://host/a.m3u8", "s3://bucket/a.mp4", "rtsp://camera/a"] {
            let needs = of(url);
            assert!(needs.network && needs.readable == named, "{url}");
        }
    }

    #[test]
    fn the_clock_runs() {
        let before = monotonic();
        assert!(before > 0 && monotonic() >= before);
    }
}
