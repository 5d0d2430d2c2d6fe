//! What an output takes over from the film: streams, chapters and tags.

use std::collections::HashSet;
use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr;

use ffmpeg_next as ff;
use ffmpeg_next::ffi;
use ffmpeg_next::format::context::Output;

use super::encoder::AudioEncoder;
use super::format::FilmFormat;
use super::paused_pictures::PausedPictures;
use super::pauses::FilmPauses;
use super::picture_encoder::{PictureEncoder, survives_encoding};
use super::text_codec::describe_texts;
use super::text_converter::TextConverter;
use super::ticks::{in_ticks, in_time};
use crate::error::{Error, Result};
use crate::media::decode::WholeFilm;
use crate::media::ffmpeg::sound::{StreamKind, TextCodec, holds, tag_of_copy};
use crate::media::ffmpeg::{codec_name, medium_name, parameters};
use crate::message;
use crate::message::Setting;
use crate::time::Time;

/// Tags that tell about the container of the film, not about the film.
const CONTAINER_TAGS: [&CStr; 4] = [c"major_brand", c"minor_version", c"compatible_brands", c"encoder"];

/// A stream that is copied.
pub(super) struct CopiedStream {
    /// Its stream in the output.
    pub(super) index: usize,
    /// Seconds a tick in the film.
    pub(super) tick: ff::Rational,
    /// Latest decoding time that was written, in ticks of the output.
    pub(super) last: Option<i64>,
}

/// The streams of a film in an output.
#[derive(Default)]
pub(super) struct AddedStreams {
    /// By their streams in the film.
    pub(super) all: Vec<Option<CopiedStream>>,
    /// What the container cannot hold, in words.
    pub(super) left_out: Vec<String>,
    /// What is left out because the film pauses, in words.
    pub(super) not_paused: Vec<String>,
    /// What makes texts into such that the container can hold.
    pub(super) texts: Vec<TextConverter>,
    /// What becomes of those texts, in words.
    pub(super) converted: Vec<String>,
}

/// What becomes of the streams of a film that pauses.
#[derive(Clone, Copy)]
pub(super) struct PausedStreams<'a> {
    /// What encodes its pictures.
    pub(super) pictures: Option<&'a PausedPictures>,
    /// The stream with the sound that the new track has too.
    pub(super) programme: Option<usize>,
    /// What encodes other audio tracks, by their streams.
    pub(super) other_sound: &'a [(usize, &'a AudioEncoder)],
    /// Whether the container has no place for what a decoder of these drops first.
    pub(super) drops_priming: bool,
}

impl<'a> PausedStreams<'a> {
    /// What encodes a stream; none if nothing does.
    fn encoder(&self, stream: usize) -> Option<StreamEncoder<'a>> {
        let pictures = self.pictures.filter(|pictures| pictures.stream == stream);
        let sound = self.other_sound.iter().find(|(other, _)| *other == stream);
        let sound = sound.map(|&(_, encoder)| StreamEncoder::Sound(encoder, self.drops_priming));
        pictures.map(|pictures| StreamEncoder::Pictures(pictures.encoder())).or(sound)
    }
}

/// What encodes a stream of the film anew.
#[derive(Clone, Copy)]
enum StreamEncoder<'a> {
    Pictures(&'a PictureEncoder),
    /// With whether its padding is dropped.
    Sound(&'a AudioEncoder, bool),
    Texts(TextCodec),
}

impl StreamEncoder<'_> {
    /// Gives a stream the parameters of the encoder.
    ///
    /// # Safety
    /// `parameters` must be valid, and new.
    unsafe fn describe(self, parameters: *mut ffi::AVCodecParameters) -> c_int {
        // SAFETY: as the caller promises.
        unsafe {
            match self {
                StreamEncoder::Pictures(encoder) => encoder.describe(parameters),
                StreamEncoder::Texts(codec) => describe_texts(parameters, codec),
                StreamEncoder::Sound(encoder, drops_priming) => {
                    let code = encoder.describe(parameters);
                    if drops_priming {
                        (*parameters).initial_padding = 0;
                    }
                    code
                }
            }
        }
    }

    /// Whether side data of the stream is still true.
    fn keeps(self, side: &ff::codec::packet::SideData<'_>) -> bool {
        matches!(self, StreamEncoder::Pictures(_)) && survives_encoding(side)
    }
}

/// Adds the streams of a film to an output that has no header yet. `paused`: if the film pauses.
///
/// # Errors
/// If the container cannot hold the codec of a picture, a sound or a text.
pub(super) fn add_streams(
    film: &WholeFilm,
    output: &mut Output,
    format: FilmFormat,
    paused: Option<PausedStreams<'_>>,
) -> Result<AddedStreams> {
    let mut added = AddedStreams::default();
    // SAFETY: the format of an open output, which is static data.
    let muxer = unsafe { (*output.as_ptr()).oformat };
    let has_chapters = film.input().nb_chapters() > 0;
    for stream in film.input().streams() {
        let what = format!("stream {} ({} {})", stream.index(), medium_name(&stream), codec_name(&stream));
        let kind = StreamKind::of(&stream);
        // SAFETY: one of FFmpeg's formats.
        let fits = unsafe { holds(muxer, &stream) } || format == FilmFormat::Matroska && is_attached_file(&stream);
        // MP4 keeps the titles of chapters in a stream, which FFmpeg also shows as one.
        let are_titles = has_chapters && kind == StreamKind::Other && is_chapter_titles(&stream);
        if kind == StreamKind::Other && !fits {
            if !are_titles {
                added.left_out.push(what);
            }
            added.all.push(None);
            continue;
        }
        let texts = if fits { None } else { TextConverter::open(film, &stream, format) };
        let encoder = paused.and_then(|paused| paused.encoder(stream.index()));
        let encoder = encoder.or(texts.as_ref().map(|texts| StreamEncoder::Texts(texts.codec)));
        if let Some(paused) = paused
            && encoder.is_none()
            && !can_pause(&stream)
        {
            if paused.programme != Some(stream.index()) && !are_titles {
                added.not_paused.push(what);
            }
            added.all.push(None);
            continue;
        }
        if !fits && encoder.is_none() {
            return Err(no_place(film, format, &what));
        }
        let index = add_stream(&stream, output, format, encoder).map_err(|e| {
            let remedy = message!["Name an .mkv with ", Setting::Output, "."];
            Error::usage(format!("{what} of {} cannot be copied: {e}", film.name()), remedy)
        })?;
        added.all.push(Some(CopiedStream { index, tick: stream.time_base(), last: None }));
        if let Some(texts) = texts {
            let (codec, container) = (texts.codec.name(), format.name());
            added.converted.push(format!("{what} becomes {codec} without styles, because {container} cannot hold it"));
            added.texts.push(texts);
        }
    }
    Ok(added)
}

fn no_place(film: &WholeFilm, format: FilmFormat, what: &str) -> Error {
    let cause = format!("{} cannot hold {what} of {}", format.name(), film.name());
    let remedy = message!["Name an .mkv with ", Setting::Output, ", or a file for sound alone, such as an .m4a."];
    Error::usage(cause, remedy)
}

/// Whether a stream can be copied into a film that pauses: texts, covers and fonts, which do not go on all the time.
fn can_pause(stream: &ff::format::stream::Stream<'_>) -> bool {
    let is_cover = stream.disposition().contains(ff::format::stream::Disposition::ATTACHED_PIC);
    is_cover || StreamKind::of(stream) == StreamKind::Text || medium_name(stream) == "Attachment"
}

/// Whether a stream is a file that Matroska can hold whatever is in it: fonts of a type that this FFmpeg does not know, too.
fn is_attached_file(stream: &ff::format::stream::Stream<'_>) -> bool {
    let tags = stream.metadata();
    medium_name(stream) == "Attachment" && ["filename", "mimetype"].into_iter().all(|tag| tags.get(tag).is_some())
}

/// Whether a stream holds the titles of chapters: text of QuickTime's, as data.
fn is_chapter_titles(stream: &ff::format::stream::Stream<'_>) -> bool {
    // SAFETY: a plain read of an integer of a valid stream's parameters.
    unsafe { (*parameters(stream)).codec_tag == u32::from_le_bytes(*b"text") }
}

/// Adds a copy of a stream, or one that is encoded anew, and returns its place.
fn add_stream(
    stream: &ff::format::stream::Stream<'_>,
    output: &mut Output,
    format: FilmFormat,
    encoder: Option<StreamEncoder<'_>>,
) -> Result<usize, ff::Error> {
    // SAFETY: a new stream of a valid output, which the output owns, gets copies of what a valid stream has. The fields are
    // plain values, or copied by FFmpeg.
    unsafe {
        let muxer = (*output.as_ptr()).oformat;
        let new = ffi::avformat_new_stream(output.as_mut_ptr(), ptr::null());
        if new.is_null() {
            return Err(ff::Error::Other { errno: ff::util::error::ENOMEM });
        }
        let old = stream.as_ptr();
        let code = match encoder {
            Some(encoder) => encoder.describe((*new).codecpar),
            None => ffi::avcodec_parameters_copy((*new).codecpar, parameters(stream)),
        };
        if code < 0 {
            return Err(ff::Error::from(code));
        }
        (*(*new).codecpar).codec_tag = if encoder.is_some() { 0 } else { tag_of_copy(muxer, stream) };
        (*new).time_base = (*old).time_base;
        (*new).disposition = (*old).disposition;
        if let Some(StreamEncoder::Sound(encoder, _)) = encoder {
            // The new track is the default one of a film that pauses.
            (*new).disposition &= !ffi::AV_DISPOSITION_DEFAULT;
            (*new).time_base = ffi::AVRational { num: 1, den: i32::try_from(encoder.rate()).unwrap_or(48_000) };
        }
        (*new).avg_frame_rate = (*old).avg_frame_rate;
        (*new).r_frame_rate = (*old).r_frame_rate;
        (*new).sample_aspect_ratio = (*old).sample_aspect_ratio;
        (*new).id = (*old).id;
        copy_tags(&raw mut (*new).metadata, (*old).metadata)?;
        if let Some(language) = stream.metadata().get("language") {
            let language = CString::new(format.language(language)).unwrap_or_default();
            ffi::av_dict_set(&raw mut (*new).metadata, c"language".as_ptr(), language.as_ptr(), 0);
        }
        for side in stream.side_data().filter(|side| encoder.is_none_or(|encoder| encoder.keeps(side))) {
            add_side_data(new, &side)?;
        }
        Ok((*new).index as usize)
    }
}

/// Copies what belongs to a whole stream, such as how the picture is turned. FFmpeg from 8 on has it among the parameters,
/// which are copied already; its function for older ones is gone there, so it is looked up.
///
/// # Safety
/// `stream` must be valid and have no header yet.
unsafe fn add_side_data(stream: *mut ffi::AVStream, side: &ff::codec::packet::SideData<'_>) -> Result<(), ff::Error> {
    /// FFmpeg 8.
    const IN_PARAMETERS: u32 = 62;
    type NewSideData = unsafe extern "C" fn(*mut ffi::AVStream, c_int, usize) -> *mut u8;
    // SAFETY: pure functions of a library that is loaded already. The function is FFmpeg's, of this type. It returns so many
    // bytes that the stream owns, or null. The kind is read as the integer that it is in C.
    unsafe {
        if ffi::avformat_version() >> 16 >= IN_PARAMETERS {
            return Ok(());
        }
        #[cfg(unix)]
        let library = libloading::os::unix::Library::this();
        #[cfg(windows)]
        let library =
            libloading::os::windows::Library::open_already_loaded("avformat-59").map_err(|_| ff::Error::Bug)?;
        let new = library.get::<NewSideData>(b"av_stream_new_side_data\0").map_err(|_| ff::Error::Bug)?;
        let data = side.data();
        let kind = ptr::addr_of!((*side.as_ptr()).type_).cast::<c_int>().read();
        let to = new(stream, kind, data.len());
        if to.is_null() {
            return Err(ff::Error::Other { errno: ff::util::error::ENOMEM });
        }
        ptr::copy_nonoverlapping(data.as_ptr(), to, data.len());
    }
    Ok(())
}

/// Copies tags, without those that tell about the container.
///
/// # Safety
/// `to` must be a valid place, and `from` null or valid.
unsafe fn copy_tags(to: *mut *mut ffi::AVDictionary, from: *const ffi::AVDictionary) -> Result<(), ff::Error> {
    // SAFETY: by the caller's word. A tag without a value is removed.
    unsafe {
        let code = ffi::av_dict_copy(to, from, 0);
        if code < 0 {
            return Err(ff::Error::from(code));
        }
        for tag in CONTAINER_TAGS {
            ffi::av_dict_set(to, tag.as_ptr(), ptr::null::<c_char>(), 0);
        }
    }
    Ok(())
}

/// Copies the tags of the film and its chapters to an output that has no header yet. `pauses`: those of the film.
///
/// # Errors
/// If there is no memory for them.
pub(super) fn copy_head(film: &WholeFilm, output: &mut Output, pauses: &FilmPauses) -> Result<(), ff::Error> {
    let start = film.start().max(Time::ZERO);
    // SAFETY: the dictionaries of a valid input and a valid output.
    unsafe { copy_tags(&raw mut (*output.as_mut_ptr()).metadata, (*film.input().as_ptr()).metadata)? };
    let mut seen = HashSet::new();
    for (n, chapter) in film.input().chapters().enumerate() {
        let tick = chapter.time_base();
        let shift = in_ticks(start, tick);
        let id = if seen.insert(chapter.id()) { chapter.id() } else { i64::MIN + n as i64 };
        let place = |at: i64| {
            let time = in_time(at, tick) - film.start();
            at.saturating_sub(shift).saturating_add(in_ticks(pauses.shifted(time) - time, tick))
        };
        let (from, to) = (place(chapter.start()), place(chapter.end()));
        let place = output.add_chapter(id, tick, from, to.max(from), "")?.index();
        // SAFETY: two valid chapters, by their places.
        unsafe {
            let new = *(*output.as_mut_ptr()).chapters.add(place);
            ffi::av_dict_set(&raw mut (*new).metadata, c"title".as_ptr(), ptr::null::<c_char>(), 0);
            copy_tags(&raw mut (*new).metadata, (*chapter.as_ptr()).metadata)?;
        }
    }
    Ok(())
}
