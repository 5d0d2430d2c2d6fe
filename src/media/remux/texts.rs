//! Texts with their times, from a file: WebVTT, SubRip or ASS, read by FFmpeg.

use std::io::ErrorKind;
use std::path::Path;

use ffmpeg_next as ff;

use crate::address::Address;
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::limited_file::read_bytes;
use crate::media::decode::{DecodeOptions, DecodedText, WholeFilm};
use crate::media::ffmpeg::sound::StreamKind;
use crate::time::Time;

/// Largest file of texts.
const LARGEST: u64 = 16 << 20;

/// A text and its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FilmText {
    pub(crate) start: Time,
    pub(crate) end: Time,
    /// On one line, without markup.
    pub(crate) text: String,
}

/// Reads the texts of a file, in order of their start.
///
/// # Errors
/// If the file cannot be read, or holds no texts with times.
pub(crate) fn read_texts(path: &Path, interrupt: &Interrupt) -> Result<Vec<FilmText>> {
    let name = path.display().to_string();
    let remedy = "Give a WebVTT file, such as descry describe writes, or SubRip or ASS.";
    let bytes = read_bytes(path, LARGEST).map_err(|e| match e.kind() {
        ErrorKind::FileTooLarge => {
            Error::input(&name, format!("has more than {} MB, as no file of texts has", LARGEST >> 20), remedy)
        }
        ErrorKind::IsADirectory => Error::input(&name, "is a folder", remedy),
        _ => Error::read(&name, &e),
    })?;
    let is_utf16 = bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]);
    if !is_utf16 && let Err(e) = std::str::from_utf8(&bytes) {
        let cause = format!("is not UTF-8: byte {} is none of a text", e.valid_up_to());
        let remedy = "Convert it first, for example: iconv -f WINDOWS-1252 -t UTF-8 OLD >NEW";
        return Err(Error::input(&name, cause, remedy));
    }
    let no_texts = |cause: &str| Error::input(&name, cause, remedy);
    let options = DecodeOptions::default();
    let mut film =
        WholeFilm::open(&Address::new(path.to_string_lossy()), &options, interrupt).map_err(|e| match e {
            Error::Interrupted => e,
            _ => no_texts("is no WebVTT, SubRip or ASS file"),
        })?;
    // By the end of its name, FFmpeg takes anything for WebVTT.
    let begins = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&bytes).starts_with(b"WEBVTT");
    if film.container() == "webvtt" && !begins && !is_utf16 {
        return Err(no_texts("is no WebVTT, SubRip or ASS file"));
    }
    let text = film.input().streams().find(|s| StreamKind::of(s) == StreamKind::Text).map(|s| s.index());
    let Some(text) = text else { return Err(no_texts("is no WebVTT, SubRip or ASS file")) };
    let mut decoder = TextDecoder::open(&film, text).ok_or_else(|| no_texts("holds texts that cannot be read"))?;
    let mut texts = Vec::new();
    while let Some(packet) = film.read()? {
        if packet.stream() == text
            && let Some(found) = decoder.decode(&packet)
        {
            texts.push(found);
        }
    }
    texts.sort_by_key(|t| t.start);
    Ok(texts)
}

/// Decodes texts, whatever their format.
struct TextDecoder {
    subtitle: ff::decoder::Subtitle,
    /// Seconds a tick.
    tick: f64,
}

impl TextDecoder {
    fn open(film: &WholeFilm, stream: usize) -> Option<TextDecoder> {
        let opened = film.open_decoder(stream).ok()?;
        let tick = f64::from(film.input().stream(stream)?.time_base());
        Some(TextDecoder { subtitle: ff::decoder::Subtitle(opened), tick })
    }

    /// The text of a packet, if it has one and an end.
    fn decode(&mut self, packet: &ff::Packet) -> Option<FilmText> {
        let time = |ticks: i64| Time::from_secs(ticks as f64 * self.tick);
        let start = packet.pts()?;
        let end = start.checked_add(packet.duration())?;
        let decoded = DecodedText::decode(&mut self.subtitle, packet).ok()??;
        let text = decoded.words();
        (!text.is_empty()).then(|| FilmText { start: time(start), end: time(end.max(start)), text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(dir: &Path, name: &str, bytes: &[u8]) -> Result<Vec<(i64, i64, String)>> {
        let path = dir.join(name);
        std::fs::write(&path, bytes).unwrap();
        let texts = read_texts(&path, &Interrupt::new())?;
        Ok(texts.into_iter().map(|t| (t.start.millis(), t.end.millis(), t.text)).collect())
    }

    #[test]
    fn words_and_times_are_read_without_markup() {
        let dir = tempfile::tempdir().unwrap();
        let vtt = "WEBVTT\n\nNOTE\nmade by hand\n\nid 1\n00:01.000 --> 00:02.500 align:start\n<v Ann>A <i>red</i> car\n\
                   & a dog &lt;3\n\n01:00:00.000 --> 01:00:03.000\nLater.\n";
        let want = [(1_000, 2_500, "A red car & a dog <3".to_string()), (3_600_000, 3_603_000, "Later.".to_string())];
        assert_eq!(read(dir.path(), "a.vtt", vtt.as_bytes()).unwrap(), want);
        let srt = "1\n00:00:01,000 --> 00:00:02,500\n{\\an8}A <b>red</b> car\n\n2\n00:00:04,000 --> 00:00:05,000\nB\n";
        let want = [(1_000, 2_500, "A red car".to_string()), (4_000, 5_000, "B".to_string())];
        assert_eq!(read(dir.path(), "a.srt", srt.as_bytes()).unwrap(), want);
        let utf16: Vec<u8> = std::iter::once(0xFEFF).chain(srt.encode_utf16()).flat_map(u16::to_le_bytes).collect();
        assert_eq!(read(dir.path(), "b.srt", &utf16).unwrap(), want);
    }

    #[test]
    fn what_holds_no_texts_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let says = |name: &str, bytes: &[u8]| read(dir.path(), name, bytes).unwrap_err().to_string();
        assert!(says("latin.vtt", b"WEBVTT\n\n00:01.000 --> 00:02.000\ncaf\xe9\n").contains("iconv"));
        assert!(says("words.vtt", b"Once upon a time.\n").contains("no WebVTT"));
        assert!(says("empty.vtt", b"").contains("empty.vtt"));
        assert!(read(dir.path(), "none.vtt", b"WEBVTT\n").is_ok_and(|texts| texts.is_empty()));
    }
}
