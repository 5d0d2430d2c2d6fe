//! Reading the packets of one stream, or of two.

use ffmpeg_next as ff;

use super::container::Container;
use super::deadline::{Deadline, is_timeout};
use super::open_input::OpenInput;
use super::seek::{KeyframeJumps, seek_to_start};
use super::tracks::{audio_tracks, subtitle_tracks};
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::media::ffmpeg::{codec_name, medium_name};
use crate::media::remote::RemoteError;
use crate::media::side_track::MediaTrack;
use crate::time::Time;

/// How often in a row a demuxer may answer "invalid data" before it counts as stuck.
const MOST_INVALID: u32 = 1_000;

/// Reads the packets of one stream of a container, or of two.
pub(super) struct Demuxer {
    reader: PacketReader,
    stream: usize,
    /// The stream of the side track, which is read too.
    side_track: Option<usize>,
    jumps: KeyframeJumps,
}

/// Reads packets of an open container.
pub(super) struct PacketReader {
    pub(super) open: OpenInput,
    deadline: Deadline,
    interrupt: Interrupt,
}

/// What reading came to.
pub(super) enum Demuxed {
    Packet(ff::Packet),
    End(Ending),
}

/// Why reading ended.
pub(super) struct Ending {
    pub(super) error: ff::Error,
    /// In words, unless it is the end of the file.
    pub(super) reason: Option<String>,
}

impl Demuxer {
    /// Reads `stream` and `side_track`. The others are not even demuxed.
    pub(super) fn new(container: Container, stream: usize, side_track: Option<usize>, interrupt: Interrupt) -> Demuxer {
        let mut reader = PacketReader::new(container, interrupt);
        reader.open.keep(|i| i == stream || Some(i) == side_track);
        Demuxer { reader, stream, side_track, jumps: KeyframeJumps::default() }
    }

    /// Seeks to a time on the container's own clock.
    pub(super) fn seek(&mut self, start: Time) {
        seek_to_start(self.reader.open.input_mut(), start);
    }

    /// Every stream of the container in a few words, this one marked.
    pub(super) fn streams(&self) -> Vec<String> {
        self.reader
            .open
            .input()
            .streams()
            .map(|s| {
                let chosen = if s.index() == self.stream { " (described)" } else { "" };
                format!("{}: {} {}{chosen}", s.index(), medium_name(&s), codec_name(&s))
            })
            .collect()
    }

    /// The tracks of sound and those of subtitles.
    pub(super) fn tracks(&self) -> (Vec<MediaTrack>, Vec<MediaTrack>) {
        (audio_tracks(self.reader.open.input()), subtitle_tracks(self.reader.open.input()))
    }

    /// Whether the input comes from a server.
    pub(super) fn is_remote(&self) -> bool {
        self.reader.deadline.has_limit()
    }

    /// The words for a server that sends nothing.
    pub(super) fn silence(&self) -> String {
        self.reader.deadline.cause()
    }

    /// Jumps from the keyframe `packet` to the next one. Does nothing unless an object is read.
    pub(super) fn jump(&mut self, packet: &ff::Packet) {
        if let (input, Some(io)) = self.reader.open.parts_mut()
            && io.is_by_ranges()
        {
            self.jumps.jump(packet, input, self.stream, io);
        }
    }

    /// The next packet. Adds packets that cannot be read to `broken`.
    ///
    /// # Errors
    /// When interrupted.
    pub(super) fn read(&mut self, broken: &mut u64) -> Result<Demuxed> {
        let Demuxer { reader, stream, side_track, jumps } = self;
        reader.read(broken, |packet| {
            Some(packet.stream()) == *side_track || packet.stream() == *stream && !jumps.has_passed(packet)
        })
    }
}

impl PacketReader {
    pub(super) fn new(container: Container, interrupt: Interrupt) -> PacketReader {
        let Container { open, deadline, .. } = container;
        PacketReader { open, deadline, interrupt }
    }

    /// The next packet that is wanted. Adds packets that cannot be read to `broken`.
    ///
    /// # Errors
    /// When interrupted.
    pub(super) fn read(&mut self, broken: &mut u64, wanted: impl FnMut(&ff::Packet) -> bool) -> Result<Demuxed> {
        self.deadline.start();
        let demuxed = self.read_until_stopped(broken, wanted);
        self.deadline.stop();
        demuxed
    }

    fn read_until_stopped(&mut self, broken: &mut u64, mut wanted: impl FnMut(&ff::Packet) -> bool) -> Result<Demuxed> {
        let mut invalid = 0;
        loop {
            if self.interrupt.is_set() {
                return Err(Error::Interrupted);
            }
            let mut packet = ff::Packet::empty();
            match packet.read(self.open.input_mut()) {
                Ok(()) if wanted(&packet) => return Ok(Demuxed::Packet(packet)),
                Ok(()) => {}
                Err(ff::Error::InvalidData) if invalid < MOST_INVALID => {
                    *broken += 1;
                    invalid += 1;
                }
                Err(ff::Error::Exit) if self.interrupt.is_set() => return Err(Error::Interrupted),
                Err(error) => return Ok(Demuxed::End(Ending { error, reason: self.reason(error) })),
            }
        }
    }

    /// Why reading stopped; none at the end of the file.
    fn reason(&self, error: ff::Error) -> Option<String> {
        let remote = self.open.reading().error();
        // A container may take a failed read for its end.
        if error == ff::Error::Eof && remote.is_none() {
            return None;
        }
        Some(match remote.filter(|e| *e != RemoteError::Interrupted) {
            Some(remote) => remote.to_string(),
            // The interrupt is not set, so only the deadline makes FFmpeg exit.
            None if error == ff::Error::Exit || is_timeout(error) => self.deadline.cause(),
            None => error.to_string(),
        })
    }
}
