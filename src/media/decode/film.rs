//! A whole film: the packets of all its streams, in the order of the file.

use std::path::Path;

use ffmpeg_next as ff;
use ffmpeg_next::ffi::AVPacketSideDataType as SideData;

use super::container::matroska_cut_off;
use super::demux::{Demuxed, Ending, PacketReader};
use super::log::init;
use super::open::open_any;
use super::options::DecodeOptions;
use super::stream::{StreamHeader, VideoDecoder, choose_stream, encrypted, rescale, time_base};
use super::subtitle_decoder::SubtitleDecoder;
use super::tracks::{ChosenTrack, audio_tracks, choose_track, no_such_track, open_track};
use super::web_input::is_web;
use crate::address::Address;
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::media::ffmpeg::{is_encrypted, is_side_data};
use crate::media::side_track::{DialogueLine, MediaTrack, SideTrack, TrackChoice};
use crate::message;
use crate::message::Setting;
use crate::time::Time;

/// Pictures a second that films have. Others come from broken headers, or from slides.
const PLAUSIBLE_RATES: std::ops::RangeInclusive<f64> = 1.0..=240.0;
/// Most lines of dialogue that are read: many times those of any film.
const MOST_LINES: usize = 1 << 20;

/// An open film, of which every stream is read.
pub(crate) struct WholeFilm {
    name: String,
    options: DecodeOptions,
    reader: PacketReader,
    /// Packets that could not be read.
    broken: u64,
    cut_off: Option<String>,
}

impl WholeFilm {
    /// Opens a film, with or without pictures. It must not be a stream that never ends.
    ///
    /// # Errors
    /// If the input cannot be read, or has an encrypted stream.
    pub(crate) fn open(input: &Address, options: &DecodeOptions, interrupt: &Interrupt) -> Result<WholeFilm> {
        init();
        if input.is_url() && !input.is_object() && !is_web(input.reveal()) {
            let cause = "is a stream, and a film must be read twice";
            return Err(Error::input(input.shown(), cause, "Record it to a file first, and name that."));
        }
        let (mut container, pipe) = open_any(input, options, interrupt)?;
        let name = input.shown();
        if pipe.is_some() {
            let cause = "is a named pipe, and a film must be read twice";
            return Err(Error::input(name, cause, "Write it to a file first, and name that."));
        }
        let sizes = std::mem::take(&mut container.sizes);
        let mut reader = PacketReader::new(container, interrupt.clone());
        restore_sizes(reader.open.input_mut(), &sizes);
        if reader.open.input().streams().any(|stream| is_encrypted(&stream)) {
            return Err(encrypted(&name, "film"));
        }
        let is_matroska = reader.open.format_name().starts_with("matroska");
        let cut_off = (is_matroska && !input.is_url()).then(|| matroska_cut_off(Path::new(input.reveal()))).flatten();
        Ok(WholeFilm { name, options: options.clone(), reader, broken: 0, cut_off })
    }

    /// The input as the caller named it, without credentials.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The container.
    pub(crate) fn input(&self) -> &ff::format::context::Input {
        self.reader.open.input()
    }

    /// FFmpeg's name of the container.
    pub(crate) fn container(&self) -> String {
        self.reader.open.format_name()
    }

    /// Start of the container's own clock.
    pub(crate) fn start(&self) -> Time {
        self.reader.open.start_time().unwrap_or_default()
    }

    /// How long the film is, by its header.
    pub(crate) fn duration(&self) -> Option<Time> {
        self.reader.open.duration()
    }

    /// The audio track of a choice. None if that is the usual one, and the film has no sound.
    ///
    /// # Errors
    /// If there is no such track.
    pub(crate) fn audio_track(&self, choice: &TrackChoice) -> Result<Option<MediaTrack>> {
        let mut tracks = audio_tracks(self.input());
        match choice.choose(&tracks) {
            Some(n) => Ok(Some(tracks.swap_remove(n))),
            None if choice.is_usual() => Ok(None),
            None => Err(no_such_track(&self.name, choice, &tracks, Setting::Audio)),
        }
    }

    /// The streams of its audio tracks.
    pub(crate) fn sound(&self) -> impl Iterator<Item = usize> {
        audio_tracks(self.input()).into_iter().map(|track| track.stream as usize)
    }

    /// The stream of the film's pictures: the best that is not a cover picture.
    pub(crate) fn pictures(&self) -> Option<usize> {
        choose_stream(self.input(), &self.name).ok()
    }

    /// Pictures a second, on average; none if that is not plausible.
    pub(crate) fn frame_rate(&self) -> Option<f64> {
        let stream = self.input().stream(self.pictures()?)?;
        StreamHeader::read(&stream, None).frame_rate.filter(|rate| PLAUSIBLE_RATES.contains(rate))
    }

    /// Opens the decoder of a stream of pictures.
    ///
    /// # Errors
    /// If it is encrypted, its pictures are too large, or FFmpeg cannot decode it.
    pub(crate) fn open_pictures(&self, stream: usize) -> Result<VideoDecoder> {
        let lost = || Error::input(&self.name, "lost one of its streams", "Report this file.");
        let stream = self.input().stream(stream).ok_or_else(lost)?;
        let header = StreamHeader::read(&stream, None);
        let (width, height) = (header.width, header.height);
        if width.max(0) as u64 * height.max(0) as u64 > self.options.max_pixels {
            let cause =
                format!("frames of {width}×{height} are larger than the limit of {} pixels", self.options.max_pixels);
            let remedy = message![
                "Leave out ",
                Setting::Extended,
                ", or name a file for sound alone with ",
                Setting::Output,
                "."
            ];
            return Err(Error::input(&self.name, cause, remedy));
        }
        header.check(&self.name, self.options.max_pixels)?;
        VideoDecoder::open(&stream, &header, &self.options, &self.name)
    }

    /// Reads the lines of a track of subtitles, up to the end of the film, in order of their start.
    ///
    /// # Errors
    /// If there is no such track, it cannot be read, or reading fails.
    pub(crate) fn into_dialogue(mut self, choice: &TrackChoice) -> Result<Vec<DialogueLine>> {
        let wanted = SideTrack::Subtitles(choice.clone());
        let ChosenTrack::Open(track, opened, tick) = choose_track(self.input(), &wanted, &self.name)? else {
            return Ok(Vec::new());
        };
        let stream = track.stream as usize;
        self.keep(|other| other == stream);
        let mut decoder = SubtitleDecoder::new(opened, tick, self.reader.open.start_time(), (None, None));
        let mut lines = Vec::new();
        while let Some(packet) = self.read()?
            && lines.len() < MOST_LINES
        {
            if packet.stream() == stream {
                self.broken += decoder.push(&packet);
                lines.extend(decoder.take());
            }
        }
        decoder.finish();
        lines.extend(decoder.take());
        lines.sort_unstable();
        Ok(lines)
    }

    /// Opens the decoder of a stream of sound or of subtitles. The error is in words.
    pub(crate) fn open_decoder(&self, stream: usize) -> Result<ff::decoder::Opened, String> {
        let stream = self.input().stream(stream).ok_or("lost one of its streams")?;
        open_track(&stream)
    }

    /// When a packet is decoded, counted from the start of the container's own clock.
    pub(crate) fn time_of(&self, packet: &ff::Packet) -> Option<Time> {
        let tick = time_base(&self.input().stream(packet.stream())?);
        Some(rescale(packet.dts().or(packet.pts())?, tick) - self.start())
    }

    /// Reads these streams alone from now on.
    pub(crate) fn keep(&mut self, wanted: impl Fn(usize) -> bool) {
        self.reader.open.keep(wanted);
    }

    /// Computes times that packets lack, from now on.
    pub(crate) fn complete_times(&mut self) {
        // SAFETY: a plain write to a flag of the open container.
        unsafe { (*self.reader.open.input_mut().as_mut_ptr()).flags |= ff::ffi::AVFMT_FLAG_GENPTS };
    }

    /// What was lost so far, in words; complete at the end.
    pub(crate) fn damage(&self) -> impl Iterator<Item = String> {
        let packets = (self.broken > 0).then(|| format!("{} broken packets", self.broken));
        packets.into_iter().chain(self.cut_off.clone())
    }

    /// The next packet; none at the end.
    ///
    /// # Errors
    /// When interrupted, a stream is encrypted, or reading fails before the end.
    pub(crate) fn read(&mut self) -> Result<Option<ff::Packet>> {
        match self.reader.read(&mut self.broken, |_| true)? {
            Demuxed::Packet(packet)
                if packet.side_data().any(|s| is_side_data(&s, SideData::AV_PKT_DATA_ENCRYPTION_INFO)) =>
            {
                Err(encrypted(&self.name, "film"))
            }
            Demuxed::Packet(packet) => Ok(Some(packet)),
            Demuxed::End(Ending { reason: None, .. }) => Ok(None),
            Demuxed::End(Ending { reason: Some(reason), .. }) => {
                let remedy = "Copy or download it again, and name that file.";
                Err(Error::input(&self.name, format!("reading stopped before the end: {reason}"), remedy))
            }
        }
    }
}

/// Gives streams the size that the container's header says. FFmpeg forgets one that it refuses to decode, and without a size a
/// stream cannot be copied.
fn restore_sizes(input: &mut ff::format::context::Input, sizes: &[(i32, i32)]) {
    for (n, &(width, height)) in sizes.iter().enumerate().take(input.nb_streams() as usize) {
        // SAFETY: writes of integers to the parameters of a stream that the open container has.
        unsafe {
            let parameters = (**(*input.as_mut_ptr()).streams.add(n)).codecpar;
            if (*parameters).width <= 0 || (*parameters).height <= 0 {
                ((*parameters).width, (*parameters).height) = (width, height);
            }
        }
    }
}
