//! The tracks of sound and subtitles in a container, and the decoder of the side track.

use ffmpeg_next as ff;
use ffmpeg_next::ffi;
use ffmpeg_next::format::stream::{Disposition, Stream};

use super::stream::{open_codec, time_base};
use crate::error::{Error, Result};
use crate::media::ffmpeg::sound::StreamKind;
use crate::media::ffmpeg::{codec_name, is_encrypted, is_text, parameters};
use crate::media::side_track::{MediaTrack, SideTrack, TrackChoice, language};
use crate::message;
use crate::message::{Message, Setting};

/// Most samples in a frame of sound: what is longer comes from a broken header.
const MOST_SAMPLES: i64 = 1 << 20;

/// Tracks of sound in a container.
pub(super) fn audio_tracks(input: &ff::format::context::Input) -> Vec<MediaTrack> {
    let sound = input.streams().filter(|stream| StreamKind::of(stream) == StreamKind::Sound);
    numbered(sound.map(|stream| {
        // SAFETY: plain reads of integers of a valid stream's parameters.
        let (channels, rate) = unsafe {
            let parameters = parameters(&stream);
            ((*parameters).ch_layout.nb_channels, (*parameters).sample_rate)
        };
        (stream, u32::try_from(channels).unwrap_or(0), u32::try_from(rate).unwrap_or(0))
    }))
}

/// Tracks of subtitles in a container.
pub(super) fn subtitle_tracks(input: &ff::format::context::Input) -> Vec<MediaTrack> {
    let subtitles = input.streams().filter(|stream| StreamKind::of(stream) == StreamKind::Text);
    numbered(subtitles.map(|stream| (stream, 0, 0)))
}

fn numbered<'a>(streams: impl Iterator<Item = (Stream<'a>, u32, u32)>) -> Vec<MediaTrack> {
    let track = |(number, (stream, channels, sample_rate)): (u32, (Stream<'a>, u32, u32))| {
        let marks = stream.disposition();
        let special = Disposition::COMMENT
            | Disposition::FORCED
            | Disposition::HEARING_IMPAIRED
            | Disposition::VISUAL_IMPAIRED
            | Disposition::DESCRIPTIONS;
        let tag = stream.metadata().get("language").and_then(language);
        MediaTrack {
            number,
            stream: stream.index() as u32,
            codec: codec_name(&stream),
            channels,
            sample_rate,
            language: tag.filter(|tag| tag != "und"),
            default: marks.contains(Disposition::DEFAULT),
            special: marks.intersects(special),
        }
    };
    (1..).zip(streams).map(track).collect()
}

/// The side track of a container.
pub(super) enum ChosenTrack {
    /// There is none.
    Nothing,
    /// The default track cannot be read, for a reason that is a text for people.
    Unreadable(MediaTrack, String),
    /// It can be read, with this decoder, and seconds a tick as a fraction.
    Open(MediaTrack, ff::decoder::Opened, (i64, i64)),
}

/// Chooses a track and opens its decoder.
///
/// # Errors
/// If a track was asked for, and there is none or it cannot be read. Subtitles are always asked for.
pub(super) fn choose_track(
    input: &ff::format::context::Input,
    side_track: &SideTrack,
    name: &str,
) -> Result<ChosenTrack> {
    let (choice, tracks, setting) = match side_track {
        SideTrack::Nothing => return Ok(ChosenTrack::Nothing),
        SideTrack::Audio(choice) => (choice, audio_tracks(input), Setting::Audio),
        SideTrack::Subtitles(choice) => (choice, text_first(input), Setting::Dialogue),
    };
    let is_sound = setting == Setting::Audio;
    let Some(track) = choice.choose(&tracks).and_then(|n| tracks.get(n)) else {
        if is_sound && choice.is_usual() {
            return Ok(ChosenTrack::Nothing);
        }
        return Err(no_such_track(name, choice, &tracks, setting));
    };
    let Some(stream) = input.stream(track.stream as usize) else {
        return Err(Error::input(name, "lost one of its streams", "Report this file."));
    };
    match open_track(&stream) {
        Ok(decoder) => Ok(ChosenTrack::Open(track.clone(), decoder, time_base(&stream))),
        Err(reason) if is_sound && choice.is_usual() => Ok(ChosenTrack::Unreadable(track.clone(), reason)),
        Err(reason) => Err(Error::input(name, reason, other_choice(setting, &tracks))),
    }
}

/// Tracks of subtitles. Where there is text, pictures of text are never what a player's default means.
fn text_first(input: &ff::format::context::Input) -> Vec<MediaTrack> {
    let is_picture = |track: &MediaTrack| !input.stream(track.stream as usize).is_some_and(|stream| is_text(&stream));
    let mut tracks = subtitle_tracks(input);
    tracks.sort_by_key(is_picture);
    for track in &mut tracks {
        track.special |= is_picture(track);
    }
    tracks
}

/// The error for a choice that no track fits.
pub(super) fn no_such_track(name: &str, choice: &TrackChoice, tracks: &[MediaTrack], setting: Setting) -> Error {
    let what = if setting == Setting::Audio { "audio" } else { "subtitle" };
    let wanted = match choice {
        TrackChoice::Usual => format!("no {what} track"),
        TrackChoice::Number(number) => format!("no {what} track {number}"),
        TrackChoice::Language(tag) => format!("no {what} track in the language {tag}"),
    };
    let list: Vec<String> = tracks.iter().map(ToString::to_string).collect();
    let cause = match list.is_empty() {
        true => format!("has {wanted}, and no other"),
        false => format!("has {wanted}, but {}", list.join("; ")),
    };
    Error::input(name, cause, other_choice(setting, tracks))
}

fn other_choice(setting: Setting, tracks: &[MediaTrack]) -> Message {
    match (setting, tracks.is_empty()) {
        (Setting::Audio, true) => message!["Leave out ", Setting::Audio, "."],
        (Setting::Audio, false) => message!["Choose another track with ", Setting::Audio, ", or leave it out."],
        (_, true) => message!["Give a file of subtitles with ", Setting::Dialogue, ", or leave it out."],
        (_, false) => {
            message!["Choose another track with ", Setting::Dialogue, ", give a file of subtitles, or leave it out."]
        }
    }
}

/// Opens the decoder of a track of sound or of subtitles. The error is in words.
pub(super) fn open_track(stream: &Stream<'_>) -> Result<ff::decoder::Opened, String> {
    let is_sound = StreamKind::of(stream) == StreamKind::Sound;
    let (kind, codec) = (if is_sound { "audio" } else { "subtitle" }, codec_name(stream));
    if is_encrypted(stream) {
        return Err(format!("its {kind} track is encrypted (DRM)"));
    }
    if !is_sound && !is_text(stream) {
        return Err(format!("its subtitles are pictures of text ({codec}), which descry cannot read"));
    }
    let mut context = ff::codec::Context::new();
    // SAFETY: FFmpeg copies the parameters of a valid stream into a new context, which is not open yet; plain writes.
    let code = unsafe {
        let av = context.as_mut_ptr();
        let tick = stream.time_base();
        let code = ffi::avcodec_parameters_to_context(av, parameters(stream));
        (*av).pkt_timebase = ffi::AVRational { num: tick.numerator(), den: tick.denominator() };
        (*av).thread_count = 1;
        (*av).max_samples = MOST_SAMPLES;
        code
    };
    if code < 0 {
        return Err(format!("its {kind} track cannot be set up: {}", ff::Error::from(code)));
    }
    open_codec(context.decoder(), stream)
        .map_err(|e| format!("its {kind} track ({codec}) cannot be decoded by this FFmpeg: {e}"))
}
