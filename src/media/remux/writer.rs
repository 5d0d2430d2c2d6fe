//! A film that is written: copied streams, a new track of sound, and perhaps one of texts.

use std::io;
use std::path::{Path, PathBuf};

use ffmpeg_next as ff;
use ffmpeg_next::ffi;
use ffmpeg_next::format::context::{Output, StreamIo};
use ffmpeg_next::packet::Mut;

use super::copy::{AddedStreams, CopiedStream, PausedStreams, add_streams, copy_head};
use super::encoder::AudioEncoder;
use super::format::FilmFormat;
use super::paused_pictures::PausedPictures;
use super::pauses::FilmPauses;
use super::picture_encoder::PictureCodec;
use super::shared_file::SharedFile;
use super::text_codec::{describe_texts, text_packet};
use super::text_converter::TextConverter;
use super::texts::FilmText;
use super::ticks::{in_ticks, in_time};
use crate::atomic_file::AtomicFile;
use crate::error::{Error, Result};
use crate::media::decode::WholeFilm;
use crate::media::ffmpeg::sound::TextCodec;
use crate::message;
use crate::message::Setting;
use crate::time::Time;

/// Bytes that are written at once.
const BUFFER: usize = 256 << 10;
/// FFmpeg's dispositions.
const DEFAULT: i32 = ffi::AV_DISPOSITION_DEFAULT;
const VISUAL_IMPAIRED: i32 = ffi::AV_DISPOSITION_VISUAL_IMPAIRED;
const DESCRIPTIONS: i32 = ffi::AV_DISPOSITION_DESCRIPTIONS;

/// How a new track is called.
#[derive(Debug, Clone)]
pub(crate) struct NewTrack {
    /// ISO 639-2 code.
    pub(crate) language: String,
    pub(crate) title: String,
    /// Whether players take it by default.
    pub(crate) is_default: bool,
}

/// What is written.
pub(crate) struct WriterPlan<'a> {
    pub(crate) path: &'a Path,
    pub(crate) overwrite: bool,
    pub(crate) format: FilmFormat,
    pub(crate) track: NewTrack,
    /// Title of the text track, if there is to be one.
    pub(crate) texts: Option<String>,
    /// The stream with the sound that the new track has too.
    pub(crate) programme: Option<usize>,
    /// Where the film pauses, if it does.
    pub(crate) pauses: Option<FilmPauses>,
    /// What encodes its other audio tracks then, by their streams.
    pub(crate) other_sound: Vec<(usize, &'a AudioEncoder)>,
    /// Quality of pictures that are encoded then: the constant rate factor.
    pub(crate) quality: Option<u8>,
}

/// Writes a film. Dropped before [`FilmWriter::finish`], it leaves nothing behind.
pub(crate) struct FilmWriter {
    path: PathBuf,
    output: Output,
    file: SharedFile,
    /// What is subtracted from the times of the film: the start of its clock, unless that is before zero.
    shift: Time,
    /// Start of the film's clock.
    start: Time,
    /// When the film begins in the output: zero, unless its clock starts before zero.
    begins: Time,
    /// By their streams in the film; empty if nothing is copied.
    copied: Vec<Option<CopiedStream>>,
    sound: usize,
    /// Whether packets before zero are left out. They contain only the encoder's delay.
    drops_priming: bool,
    /// The track of the texts of descriptions, and its codec.
    texts: Option<(usize, TextCodec)>,
    /// What the container cannot hold, in words.
    left_out: Vec<String>,
    /// What is left out because the film pauses, in words.
    not_paused: Vec<String>,
    /// What makes subtitles into such that the container can hold.
    converters: Vec<TextConverter>,
    /// What becomes of those subtitles, in words.
    converted: Vec<String>,
    pauses: FilmPauses,
    /// The pictures, if they are encoded.
    pictures: Option<PausedPictures>,
}

impl FilmWriter {
    /// Creates a temporary file, and writes the header.
    ///
    /// # Errors
    /// If the file cannot be written, or the container cannot hold what the film has.
    pub(crate) fn create(film: &WholeFilm, plan: &WriterPlan<'_>, encoder: &AudioEncoder) -> Result<FilmWriter> {
        let fail = |e: io::Error| Error::write(plan.path.display().to_string(), &e, Setting::Output);
        let file = AtomicFile::create(plan.path, plan.overwrite).map_err(fail)?;
        let file = SharedFile::new(file);
        let refused = |e: ff::Error| {
            let cause = format!("FFmpeg cannot write {}: {e}", plan.format.name());
            let remedy = message!["Name another format with ", Setting::Output, "."];
            Error::output(plan.path.display().to_string(), cause, remedy)
        };
        let io = StreamIo::from_write_seek_with_capacity(file.clone(), BUFFER).map_err(refused)?;
        let mut output = ff::format::output_to_stream(io, None, Some(plan.format.muxer())).map_err(refused)?;
        // SAFETY: plain writes to fields of a valid output. Without the time of day and random numbers, the same input gives
        // the same bytes.
        unsafe {
            (*output.as_mut_ptr()).flags |= ffi::AVFMT_FLAG_BITEXACT;
            (*output.as_mut_ptr()).strict_std_compliance = ffi::FF_COMPLIANCE_EXPERIMENTAL;
        }
        let pauses = plan.pauses.clone().unwrap_or_default();
        let codec = PictureCodec::of(plan.format);
        let pictures = match &plan.pauses {
            Some(pauses) if plan.format.is_film() => PausedPictures::open(film, codec, plan.quality, pauses)?,
            _ => None,
        };
        let drops_priming = plan.format.lacks_priming(encoder.codec());
        let paused = PausedStreams {
            pictures: pictures.as_ref(),
            programme: plan.programme,
            other_sound: &plan.other_sound,
            drops_priming,
        };
        let streams = match plan.format.is_film() {
            true => add_streams(film, &mut output, plan.format, plan.pauses.as_ref().map(|_| paused))?,
            false => AddedStreams::default(),
        };
        copy_head(film, &mut output, &pauses).map_err(refused)?;
        let track = NewTrack { language: plan.format.language(&plan.track.language).into(), ..plan.track.clone() };
        let sound = add_sound(&mut output, encoder, &track, drops_priming).map_err(refused)?;
        let texts = plan.texts.as_ref().zip(plan.format.text_track());
        let texts = texts.map(|(title, codec)| Ok((add_texts(&mut output, title, &track, codec)?, codec)));
        let texts = texts.transpose().map_err(refused)?;
        let header = output.write_header_with(header_options(plan.format)).map(drop);
        header.map_err(|e| file.fault().map_or_else(|| refused(e), fail))?;
        let path = plan.path.to_path_buf();
        let shift = film.start().max(Time::ZERO);
        let begins = film.start() - shift;
        Ok(FilmWriter {
            path,
            output,
            file,
            shift,
            begins,
            copied: streams.all,
            sound,
            drops_priming,
            texts,
            left_out: streams.left_out,
            not_paused: streams.not_paused,
            converters: streams.texts,
            converted: streams.converted,
            start: film.start(),
            pauses,
            pictures,
        })
    }

    /// What the container cannot hold, in words.
    pub(crate) fn left_out(&self) -> &[String] {
        &self.left_out
    }

    /// What is left out because the film pauses, in words.
    pub(crate) fn not_paused(&self) -> &[String] {
        &self.not_paused
    }

    /// What becomes of subtitles that the container cannot hold as they are, in words.
    pub(crate) fn converted(&self) -> &[String] {
        &self.converted
    }

    /// Packets of such subtitles that are left out so far.
    pub(crate) fn lost_texts(&self) -> u64 {
        self.converters.iter().map(TextConverter::lost).sum()
    }

    /// Packets of pictures that could not be decoded so far.
    pub(crate) fn broken_pictures(&self) -> u64 {
        self.pictures.as_ref().map_or(0, PausedPictures::broken)
    }

    /// Whether packets of a stream are copied, or encoded anew.
    pub(crate) fn copies(&self, stream: usize) -> bool {
        self.copied.get(stream).is_some_and(Option::is_some)
    }

    /// Copies a packet of the film, later by the pauses before it. One of pictures is encoded anew if the film pauses; one of
    /// a stream that is not copied is passed over.
    ///
    /// # Errors
    /// If the file cannot be written, the container refuses the packet, or the pictures cannot be encoded.
    pub(crate) fn copy(&mut self, mut packet: ff::Packet) -> Result<()> {
        let number = packet.stream();
        if let Some(pictures) = self.pictures.as_mut().filter(|pictures| pictures.stream == number) {
            let mut encoded = Vec::new();
            pictures.push(&packet, &mut encoded)?;
            return encoded.into_iter().try_for_each(|packet| self.put(number, packet));
        }
        if !self.pauses.is_empty()
            && let Some(Some(stream)) = self.copied.get(number)
        {
            shift_packet(&mut packet, &self.pauses, self.start, stream.tick);
        }
        match self.converters.iter_mut().find(|converter| converter.stream == number) {
            Some(converter) => converter.push(&packet).into_iter().try_for_each(|packet| self.put(number, packet)),
            None => self.put(number, packet),
        }
    }

    /// Ends the film: what is left of pictures that are encoded, and of texts that are converted.
    ///
    /// # Errors
    /// As [`FilmWriter::copy`].
    pub(crate) fn end_film(&mut self) -> Result<()> {
        self.convert(TextConverter::finish)?;
        let Some(pictures) = &mut self.pictures else { return Ok(()) };
        let (number, mut encoded) = (pictures.stream, Vec::new());
        pictures.finish(&mut encoded)?;
        encoded.into_iter().try_for_each(|packet| self.put(number, packet))
    }

    /// Writes what converters of texts have ready.
    fn convert(&mut self, ready: impl Fn(&mut TextConverter) -> Vec<ff::Packet>) -> Result<()> {
        let ready: Vec<_> = self.converters.iter_mut().map(|converter| (converter.stream, ready(converter))).collect();
        for (number, packets) in ready {
            packets.into_iter().try_for_each(|packet| self.put(number, packet))?;
        }
        Ok(())
    }

    /// Writes a packet of a stream of the film, with times in its ticks.
    fn put(&mut self, number: usize, mut packet: ff::Packet) -> Result<()> {
        let Some(Some(stream)) = self.copied.get_mut(number) else { return Ok(()) };
        let shift = in_ticks(self.shift, stream.tick);
        packet.set_pts(packet.pts().map(|t| t.saturating_sub(shift)));
        packet.set_dts(packet.dts().map(|t| t.saturating_sub(shift)));
        let to = tick(&self.output, stream.index);
        packet.rescale_ts(stream.tick, to);
        // Times of a broken film may stand still or run backwards, which no container can hold.
        if let (Some(dts), Some(last)) = (packet.dts(), stream.last)
            && dts <= last
        {
            packet.set_dts(Some(last + 1));
            packet.set_pts(packet.pts().map(|pts| pts.max(last + 1)));
        }
        stream.last = packet.dts().or(stream.last);
        packet.set_stream(stream.index);
        packet.set_position(-1);
        self.write(packet)
    }

    /// Writes packets of the new track, with times in samples.
    ///
    /// # Errors
    /// As [`FilmWriter::copy`].
    pub(crate) fn sound(&mut self, packets: &mut Vec<ff::Packet>, rate: u32) -> Result<()> {
        let now = packets.last().and_then(ff::Packet::pts);
        self.encoded(self.sound, packets, rate)?;
        // Texts that are over need not wait for the next ones. The new track has the time of the output.
        let Some(now) = now else { return Ok(()) };
        let now = in_time(now, in_samples(rate)) + self.begins + self.shift;
        self.convert(|converter| converter.advance(now))
    }

    /// Writes packets of another audio track that is encoded anew, with times in samples. `stream`: its stream in the film.
    ///
    /// # Errors
    /// As [`FilmWriter::copy`].
    pub(crate) fn other_sound(&mut self, stream: usize, packets: &mut Vec<ff::Packet>, rate: u32) -> Result<()> {
        let Some(Some(CopiedStream { index, .. })) = self.copied.get(stream) else { return Ok(()) };
        self.encoded(*index, packets, rate)
    }

    fn encoded(&mut self, index: usize, packets: &mut Vec<ff::Packet>, rate: u32) -> Result<()> {
        let from = in_samples(rate);
        let begins = in_ticks(self.begins, from);
        for mut packet in packets.drain(..) {
            packet.set_pts(packet.pts().map(|t| t + begins));
            packet.set_dts(packet.dts().map(|t| t + begins));
            if self.drops_priming && packet.pts().is_some_and(|t| t < 0) {
                continue;
            }
            packet.rescale_ts(from, tick(&self.output, index));
            packet.set_stream(index);
            self.write(packet)?;
        }
        Ok(())
    }

    /// Writes a text of the text track, if there is one.
    ///
    /// # Errors
    /// As [`FilmWriter::copy`].
    pub(crate) fn text(&mut self, text: &FilmText) -> Result<()> {
        let Some((index, codec)) = self.texts else { return Ok(()) };
        let to = tick(&self.output, index);
        let at = |time: Time| in_ticks(self.begins + time, to);
        let mut packet = text_packet(codec, &text.text, at(text.start), at(text.end));
        packet.set_stream(index);
        self.write(packet)
    }

    fn write(&mut self, mut packet: ff::Packet) -> Result<()> {
        // SAFETY: a valid output with its header, and a valid packet, whose content the output takes over.
        let code = unsafe { ffi::av_interleaved_write_frame(self.output.as_mut_ptr(), packet.as_mut_ptr()) };
        if code < 0 { Err(self.fail(ff::Error::from(code))) } else { Ok(()) }
    }

    fn fail(&self, e: ff::Error) -> Error {
        let name = self.path.display().to_string();
        if let Some(fault) = self.file.fault() {
            return Error::write(name, &fault, Setting::Output);
        }
        let cause = format!("a packet cannot be written: {e}");
        let remedy = "Name an .mkv, or write the film anew first, for example: ffmpeg -i FILE -c copy -map 0 NEW.mkv";
        Error::output(name, cause, remedy)
    }

    /// Writes what is left, and gives the file its name.
    ///
    /// # Errors
    /// As [`FilmWriter::copy`]; also if another file got the name meanwhile.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.output.write_trailer().map_err(|e| self.fail(e))?;
        let FilmWriter { path, output, file, .. } = self;
        // Writes what FFmpeg still holds.
        drop(output);
        if let Some(fault) = file.fault() {
            return Err(Error::write(path.display().to_string(), &fault, Setting::Output));
        }
        let Some(file) = file.take() else { return Ok(()) };
        file.commit().map(drop).map_err(|e| e.explain(&path, "What was written"))
    }
}

/// Moves a packet, which may last over a pause, to its time in a film that pauses. `start`: of the film's clock.
fn shift_packet(packet: &mut ff::Packet, pauses: &FilmPauses, start: Time, tick: ff::Rational) {
    let Some(from) = packet.pts().or(packet.dts()) else { return };
    let later = |ticks: i64| {
        let time = in_time(ticks, tick) - start;
        in_ticks(pauses.shifted(time) - time, tick)
    };
    let shift = later(from);
    if packet.duration() > 0 {
        let longer = later(from.saturating_add(packet.duration())) - shift;
        packet.set_duration(packet.duration().saturating_add(longer));
    }
    packet.set_pts(packet.pts().map(|t| t.saturating_add(shift)));
    packet.set_dts(packet.dts().map(|t| t.saturating_add(shift)));
}

/// Seconds a tick of a stream.
fn tick(output: &Output, stream: usize) -> ff::Rational {
    output.stream(stream).map_or(ff::Rational::new(1, 1_000), |s| s.time_base())
}

/// Seconds a sample.
fn in_samples(rate: u32) -> ff::Rational {
    ff::Rational::new(1, i32::try_from(rate).unwrap_or(48_000))
}

fn header_options(format: FilmFormat) -> ff::Dictionary<'static> {
    let mut options = ff::Dictionary::new();
    match format {
        // Files of more than 4 GB.
        FilmFormat::Wav => options.set("rf64", "auto"),
        // No track becomes the default one because no other is.
        FilmFormat::Matroska | FilmFormat::Webm => options.set("default_mode", "passthrough"),
        _ => {}
    }
    options
}

/// Adds the new track, and returns its place.
fn add_sound(
    output: &mut Output,
    encoder: &AudioEncoder,
    track: &NewTrack,
    drops_priming: bool,
) -> Result<usize, ff::Error> {
    let tick = in_samples(encoder.rate());
    let disposition = VISUAL_IMPAIRED | if track.is_default { DEFAULT } else { 0 };
    // SAFETY: a new stream of a valid output, which the output owns.
    unsafe {
        let new = new_stream(output, tick, disposition)?;
        let code = encoder.describe((*new).codecpar);
        if code < 0 {
            return Err(ff::Error::from(code));
        }
        if drops_priming {
            (*(*new).codecpar).initial_padding = 0;
        }
        name(new, track, &track.title);
        Ok((*new).index as usize)
    }
}

/// Adds a track of texts, and returns its place.
fn add_texts(output: &mut Output, title: &str, track: &NewTrack, codec: TextCodec) -> Result<usize, ff::Error> {
    // SAFETY: a new stream of a valid output, which the output owns.
    unsafe {
        let new = new_stream(output, ff::Rational::new(1, 1_000), DESCRIPTIONS)?;
        let code = describe_texts((*new).codecpar, codec);
        if code < 0 {
            return Err(ff::Error::from(code));
        }
        name(new, track, title);
        Ok((*new).index as usize)
    }
}

/// Adds a stream to an output without a header.
///
/// # Errors
/// If there is no memory for it.
///
/// # Safety
/// The stream is the output's, and must not be used longer.
pub(super) unsafe fn new_stream(
    output: &mut Output,
    tick: ff::Rational,
    disposition: i32,
) -> Result<*mut ffi::AVStream, ff::Error> {
    // SAFETY: a valid output without a header.
    unsafe {
        let new = ffi::avformat_new_stream(output.as_mut_ptr(), std::ptr::null());
        if new.is_null() {
            return Err(ff::Error::Other { errno: ff::util::error::ENOMEM });
        }
        (*new).time_base = tick.into();
        (*new).disposition = disposition;
        Ok(new)
    }
}

/// Gives a stream its language and its title.
///
/// # Safety
/// `stream` must be valid and have no header yet.
unsafe fn name(stream: *mut ffi::AVStream, track: &NewTrack, title: &str) {
    let mut tags = ff::Dictionary::new();
    tags.set("language", &track.language.replace('\0', ""));
    tags.set("title", &title.replace('\0', ""));
    // MP4's name of a track.
    tags.set("handler_name", &title.replace('\0', ""));
    // SAFETY: a new stream has no tags; it owns these from now on.
    unsafe { (*stream).metadata = tags.disown() };
}
