//! Reads files of subtitles with FFmpeg: SubRip, WebVTT and ASS.

use std::ffi::CString;
use std::io::ErrorKind;
use std::path::Path;

use ffmpeg_next as ff;

use super::byte_io::ByteIo;
use super::container::{ContainerRequest, open_container};
use super::deadline::Deadline;
use super::log::init;
use super::nested::Opener;
use super::subtitle_decoder::SubtitleDecoder;
use super::tracks::{ChosenTrack, choose_track};
use crate::digest::sha256_of;
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::limited_file::read_bytes;
use crate::media::byte_source::MemoryBytes;
use crate::media::side_track::{DialogueLine, SideTrack, TrackChoice};
use crate::message;
use crate::message::{Message, Setting};
use crate::time::Time;

/// Largest file of subtitles in bytes: some thirty times the size for a long film.
const LARGEST: u64 = 16 << 20;
/// FFmpeg's names of the formats.
const FORMATS: [&str; 3] = ["srt", "webvtt", "ass"];

/// The lines of a file of subtitles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dialogue {
    /// SHA-256 of the file in hex.
    pub hash: String,
    /// In order of their start.
    pub lines: Vec<DialogueLine>,
}

impl Dialogue {
    /// Reads a file of subtitles. A text is UTF-8, or UTF-16 with a byte order mark. A line without a letter or a digit is
    /// left out, and so is one that lasts longer than 10 minutes.
    ///
    /// # Errors
    /// If the file cannot be read, is in another encoding or format, holds no line, or a line ends before it begins.
    pub fn read(path: &Path) -> Result<Dialogue> {
        let name = path.display().to_string();
        let bytes = read_bytes(path, LARGEST).map_err(|e| match e.kind() {
            ErrorKind::FileTooLarge => no_subtitles(&name, format!("is larger than {} MB", LARGEST >> 20)),
            ErrorKind::NotFound => Error::input(&name, "no such file", "Check the path."),
            _ => Error::read(&*name, &e),
        })?;
        Dialogue::of_bytes(&name, &bytes)
    }

    /// As [`Dialogue::read`]; `name` is for messages.
    pub(crate) fn of_bytes(name: &str, bytes: &[u8]) -> Result<Dialogue> {
        let text = text_of(bytes).map_err(|cause| Error::input(name, cause, convert(name)))?;
        if let Some((number, line)) = backward(&text) {
            let cause = format!("line {number} ends before it begins: {line}");
            return Err(Error::input(name, cause, "Correct the times of that line."));
        }
        let hash = sha256_of(bytes).map_err(|e| Error::read(name, &e))?;
        let mut lines = parsed(name, text)?;
        if lines.is_empty() {
            return Err(no_subtitles(name, "holds no line of dialogue"));
        }
        lines.sort_unstable();
        Ok(Dialogue { hash, lines })
    }
}

fn no_subtitles(name: &str, cause: impl Into<Message>) -> Error {
    let remedy =
        message!["Give a file of subtitles in SubRip, WebVTT or ASS with ", Setting::Dialogue, ", or leave it out."];
    Error::input(name, cause, remedy)
}

fn convert(name: &str) -> Message {
    let path = shlex::try_quote(name).unwrap_or(name.into());
    format!("Convert it to UTF-8 first, for example: iconv -f WINDOWS-1252 -t UTF-8 {path} > NEW.srt").into()
}

/// The text of a file.
fn text_of(bytes: &[u8]) -> Result<String, &'static str> {
    let utf16 = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let (units, rest) = bytes.as_chunks();
        let text = char::decode_utf16(units.iter().map(|pair| unit(*pair))).collect::<Result<String, _>>();
        text.ok().filter(|_| rest.is_empty()).ok_or("is not whole UTF-16")
    };
    match bytes {
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] | rest => match std::str::from_utf8(rest) {
            Ok(text) if text.contains('\0') => Err("is not text, or UTF-16 without a byte order mark"),
            Ok(text) => Ok(text.to_string()),
            Err(_) => Err("is not text in UTF-8"),
        },
    }
}

/// Microseconds of `HH:MM:SS,mmm`, `MM:SS.mmm` or `H:MM:SS.cc`.
fn timestamp(text: &str) -> Option<u64> {
    let (clock, fraction) = text.split_once([',', '.']).unwrap_or((text, "0"));
    let mut seconds = 0u64;
    for part in clock.split(':') {
        seconds = seconds.checked_mul(60)?.checked_add(part.parse().ok()?)?;
    }
    let digits = fraction.get(..fraction.len().min(6))?;
    let fraction = digits.parse::<u64>().ok()? * 10u64.pow(6 - digits.len() as u32);
    seconds.checked_mul(1_000_000)?.checked_add(fraction)
}

/// The first line of the text whose end is before its start, and its number. FFmpeg would treat such times as missing.
fn backward(text: &str) -> Option<(usize, &str)> {
    let times = |line: &str| -> Option<(u64, u64)> {
        let (start, end) = match (line.split_once("-->"), line.strip_prefix("Dialogue:")) {
            (Some((start, end)), _) => (start.trim(), end.split_whitespace().next()?),
            (None, Some(fields)) => {
                let mut fields = fields.split(',').skip(1);
                (fields.next()?.trim(), fields.next()?.trim())
            }
            (None, None) => return None,
        };
        Some((timestamp(start)?, timestamp(end)?))
    };
    let mut lines = (1..).zip(text.lines().map(str::trim));
    lines.find(|(_, line)| times(line).is_some_and(|(start, end)| end < start))
}

/// The lines of dialogue in the text of a file.
fn parsed(name: &str, text: String) -> Result<Vec<DialogueLine>> {
    init();
    let memory = || Error::input(name, "not enough memory to read it", "Free memory, or run fewer programs.");
    let io = ByteIo::new(Box::new(MemoryBytes::new(text.into_bytes())), None).ok_or_else(memory)?;
    let mut options = ff::Dictionary::new();
    options.set("protocol_whitelist", "data");
    let request = ContainerRequest {
        opener: Opener::object(CString::from(c"subtitles")),
        format: None,
        options,
        max_pixels: 0,
        io: Some(io),
        relay: None,
    };
    let (deadline, interrupt) = (Deadline::new(None), Interrupt::new());
    let mut container =
        open_container(request, &deadline, &interrupt).map_err(|_| no_subtitles(name, "is no file of subtitles"))?;
    let input = container.open.input_mut();
    if !FORMATS.contains(&input.format().name()) {
        return Err(no_subtitles(name, format!("its format is {}, which is none of subtitles", input.format().name())));
    }
    let ChosenTrack::Open(_, opened, tick) = choose_track(input, &SideTrack::Subtitles(TrackChoice::Usual), name)?
    else {
        return Err(no_subtitles(name, "is no file of subtitles"));
    };
    let mut decoder = SubtitleDecoder::new(opened, tick, Some(Time::ZERO), (None, None));
    let (mut lines, mut broken) = (Vec::new(), 0);
    loop {
        let mut packet = ff::Packet::empty();
        match packet.read(input) {
            Ok(()) => broken += decoder.push(&packet),
            Err(_) => break,
        }
        lines.append(&mut decoder.take());
    }
    decoder.finish();
    lines.append(&mut decoder.take());
    match broken {
        0 => Ok(lines),
        n => Err(no_subtitles(name, format!("{n} of its lines cannot be read"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<(i64, i64)>, String> {
        let dialogue = Dialogue::of_bytes("film.srt", bytes).map_err(|e| e.to_string())?;
        Ok(dialogue.lines.iter().map(|line| (line.start.millis(), line.end.millis())).collect())
    }

    const SRT: &str =
        "1\n00:00:01,000 --> 00:00:02,500\nHello.\n\n2\n00:00:04,000 --> 00:00:05,250\n<i>Who is there?</i>\n\n";

    #[test]
    fn three_formats_are_read() {
        assert_eq!(read(SRT.as_bytes()).unwrap(), [(1_000, 2_500), (4_000, 5_250)]);
        let vtt = "WEBVTT\n\nNOTE hello\n\n00:01.000 --> 00:02.500 line:0\nHello.\n\nx\n01:00:04.000 --> 01:00:05.250\n- Who?\n";
        assert_eq!(read(vtt.as_bytes()).unwrap(), [(1_000, 2_500), (3_604_000, 3_605_250)]);
        let ass = "[Script Info]\nScriptType: v4.00+\n\n[V4+ Styles]\nFormat: Name, Fontname\nStyle: Default,Arial\n\n\
                   [Events]\nFormat: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n\
                   Dialogue: 0,0:00:04.00,0:00:05.25,Default,,0,0,0,,Who, then?\n\
                   Dialogue: 0,0:00:01.00,0:00:02.50,Default,,0,0,0,,{\\i1}Hello.\n\
                   Dialogue: 0,0:00:07.00,0:00:09.00,Default,,0,0,0,,{\\p1}m 0 0 l 9 9\n";
        assert_eq!(read(ass.as_bytes()).unwrap(), [(1_000, 2_500), (4_000, 5_250)]);
    }

    #[test]
    fn encodings_are_recognised_by_their_mark() {
        let expected = read(SRT.as_bytes()).unwrap();
        assert_eq!(read(&[b"\xef\xbb\xbf", SRT.as_bytes()].concat()).unwrap(), expected);
        let units = |unit: fn(u16) -> [u8; 2]| SRT.encode_utf16().flat_map(unit).collect::<Vec<u8>>();
        assert_eq!(read(&[&[0xff, 0xfe], &units(u16::to_le_bytes)[..]].concat()).unwrap(), expected);
        assert_eq!(read(&[&[0xfe, 0xff], &units(u16::to_be_bytes)[..]].concat()).unwrap(), expected);
        for (bytes, cause) in [
            (units(u16::to_le_bytes), "UTF-16 without a byte order mark"),
            (SRT.replace("Hello", "Caf\u{e9}").chars().map(|c| c as u8).collect(), "is not text in UTF-8"),
            (vec![0xff, 0xfe, b'1'], "is not whole UTF-16"),
        ] {
            let e = read(&bytes).unwrap_err();
            assert!(e.contains(cause) && e.contains("iconv"), "{e}");
        }
    }

    #[test]
    fn what_is_no_dialogue_is_refused() {
        for (text, cause) in [
            ("", "is no file of subtitles"),
            ("a film", "is no file of subtitles"),
            ("WEBVTT\n\n", "holds no line of dialogue"),
            ("1\n00:00:01,000 --> 00:00:02,500\n♪ ♪\n\n", "holds no line of dialogue"),
            (
                "1\n00:00:01,000 --> 00:00:02,500\nA.\n\n2\n00:00:05,000 --> 00:00:03,000\nB.\n",
                "line 6 ends before it begins: 00:00:05,000",
            ),
            ("WEBVTT\n\n01:02.000 --> 00:59.999 align:left\nB.\n", "line 3 ends before"),
            ("[Events]\nDialogue: 0,0:00:04.00,0:00:03.25,Default,,0,0,0,,Who?\n", "line 2 ends before"),
        ] {
            let e = read(text.as_bytes()).unwrap_err();
            assert!(e.contains(cause), "{text:?}: {e}");
        }
    }
}
