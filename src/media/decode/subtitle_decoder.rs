//! Decodes one track of subtitles: packets in, lines of dialogue out.

use std::ffi::CStr;

use ffmpeg_next as ff;
use ffmpeg_next::ffi;

use super::stream::rescale;
use crate::media::side_track::{DialogueLine, LONGEST_LINE};
use crate::time::Time;

/// A line without an end lasts until the next one begins, but not longer than this.
const LONGEST_OPEN: Time = Time::from_millis(5_000);
/// A line that lasts longer does not count as dialogue: 10 minutes.
const LONGEST: Time = Time::from_millis(600_000);
/// Commas before the text of a line in FFmpeg's form of ASS: `ReadOrder,Layer,Style,Name,MarginL,MarginR,MarginV,Effect,Text`.
const FIELDS_BEFORE_TEXT: usize = 8;
/// The value in [`ffi::AVSubtitle`] for an unknown end.
const NO_END: u32 = u32::MAX;

/// Decodes a track of subtitles.
pub(super) struct SubtitleDecoder {
    subtitle: ff::decoder::Subtitle,
    /// Seconds a tick, as a fraction.
    time_base: (i64, i64),
    /// Start of the container's own clock.
    origin: Time,
    range: (Time, Time),
    /// Start and text of the last line, if its end is not known yet.
    open: Option<(Time, String)>,
    lines: Vec<DialogueLine>,
}

/// What a decoder made of a packet of subtitles. Frees what it holds.
pub(crate) struct DecodedText(ffi::AVSubtitle);

impl Drop for DecodedText {
    fn drop(&mut self) {
        // SAFETY: zeroed, or filled by FFmpeg.
        unsafe { ffi::avsubtitle_free(&raw mut self.0) };
    }
}

impl DecodedText {
    /// Decodes a packet. None if there is nothing in it.
    ///
    /// # Errors
    /// If it is broken.
    pub(crate) fn decode(
        decoder: &mut ff::decoder::Subtitle,
        packet: &ff::Packet,
    ) -> Result<Option<DecodedText>, ff::Error> {
        // SAFETY: a plain structure of C, which may be zero.
        let mut decoded = DecodedText(unsafe { std::mem::zeroed() });
        let mut got = 0;
        // SAFETY: an open decoder, a valid packet, which is only read, and places for the results.
        let code = unsafe {
            let packet = ff::packet::Ref::as_ptr(packet).cast_mut();
            ffi::avcodec_decode_subtitle2(decoder.as_mut_ptr(), &raw mut decoded.0, &raw mut got, packet)
        };
        if code < 0 { Err(ff::Error::from(code)) } else { Ok((got != 0).then_some(decoded)) }
    }

    /// Its words, on one line; empty if there are none.
    pub(crate) fn words(&self) -> String {
        one_line(&self.texts().map(|text| words_of(&text)).collect::<Vec<_>>().join(" "))
    }

    /// Its words, on the lines that they are on; empty if there are none. No line is empty.
    pub(crate) fn lines(&self) -> String {
        let words = self.texts().map(|text| words_of(&text)).collect::<Vec<_>>().join("\n");
        words.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
    }

    /// Its texts, with the tags of ASS.
    fn texts(&self) -> impl Iterator<Item = String> + '_ {
        let count = if self.0.rects.is_null() { 0 } else { self.0.num_rects as usize };
        (0..count).filter_map(|n| {
            // SAFETY: FFmpeg has filled so many pointers to rectangles, whose texts are null or C strings.
            let line = unsafe {
                let rect = *self.0.rects.add(n);
                if rect.is_null() || (*rect).ass.is_null() {
                    return None;
                }
                CStr::from_ptr((*rect).ass).to_string_lossy()
            };
            line.splitn(FIELDS_BEFORE_TEXT + 1, ',').nth(FIELDS_BEFORE_TEXT).map(String::from)
        })
    }
}

/// The words of a text of ASS: without its `{…}`, and without drawings. No character but a new line is a control character.
fn words_of(text: &str) -> String {
    let (mut out, mut drawing, mut rest) = (String::new(), false, text);
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        let mut word = Some(c);
        match (c, rest.chars().next()) {
            ('{', _) => {
                word = None;
                if let Some((tags, after)) = rest.split_once('}') {
                    drawing = draws(tags).unwrap_or(drawing);
                    rest = after;
                }
            }
            ('\\', Some('N')) => (word, rest) = (Some('\n'), &rest[1..]),
            ('\\', Some('n' | 'h')) => (word, rest) = (Some(' '), &rest[1..]),
            ('\\', Some(brace @ ('{' | '}'))) => (word, rest) = (Some(brace), &rest[1..]),
            // FFmpeg puts a word joiner after a backslash of the text.
            ('\\' | '\u{2060}', _) => word = None,
            _ => {}
        }
        out.extend(word.filter(|_| !drawing).map(|c| if c.is_control() && c != '\n' { ' ' } else { c }));
    }
    out
}

fn one_line(words: &str) -> String {
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether a drawing follows tags of ASS; none if they do not say.
fn draws(tags: &str) -> Option<bool> {
    let digits = tags.match_indices("\\p").filter_map(|(at, _)| tags[at + 2..].chars().next());
    digits.filter(char::is_ascii_digit).last().map(|digit| digit != '0')
}

/// A text as a line of dialogue; none if it has no letter or digit.
fn spoken(words: String) -> Option<String> {
    if !words.chars().any(char::is_alphanumeric) {
        return None;
    }
    match words.char_indices().nth(LONGEST_LINE) {
        Some(_) => Some(words.chars().take(LONGEST_LINE - 1).chain(['…']).collect()),
        None => Some(words),
    }
}

impl SubtitleDecoder {
    /// `origin`: start of the container's own clock. `range`: what is wanted, in times from there.
    pub(super) fn new(
        opened: ff::decoder::Opened,
        time_base: (i64, i64),
        origin: Option<Time>,
        range: (Option<Time>, Option<Time>),
    ) -> SubtitleDecoder {
        SubtitleDecoder {
            subtitle: ff::decoder::Subtitle(opened),
            time_base,
            origin: origin.unwrap_or_default(),
            range: (range.0.unwrap_or_default().max(Time::ZERO), range.1.unwrap_or(Time::MAX)),
            open: None,
            lines: Vec::new(),
        }
    }

    /// Decodes a packet. Returns how many packets are found to be broken: none or one.
    pub(super) fn push(&mut self, packet: &ff::Packet) -> u64 {
        let Some(ts) = packet.pts() else { return 1 };
        let start = rescale(ts, self.time_base) - self.origin;
        self.close(start);
        let decoded = match DecodedText::decode(&mut self.subtitle, packet) {
            Ok(Some(decoded)) => decoded,
            Ok(None) => return 0,
            Err(_) => return 1,
        };
        let Some(text) = spoken(decoded.words()) else { return 0 };
        let ms = decoded.0.end_display_time;
        match packet.duration() {
            ticks if ticks > 0 => self.line((start, text), start + rescale(ticks, self.time_base)),
            _ if ms > 0 && ms != NO_END => self.line((start, text), start + Time::from_millis(i64::from(ms))),
            _ => self.open = Some((start, text)),
        }
        0
    }

    /// Ends the last line, after the last packet.
    pub(super) fn finish(&mut self) {
        self.close(Time::MAX);
    }

    /// Ends a line that is still open.
    fn close(&mut self, at: Time) {
        if let Some((start, text)) = self.open.take() {
            self.line((start, text), at.min(start + LONGEST_OPEN));
        }
    }

    fn line(&mut self, (start, text): (Time, String), end: Time) {
        let (start, end) = (start.max(self.range.0), end.min(self.range.1));
        if start < end && end - start <= LONGEST {
            self.lines.push(DialogueLine { start, end, text });
        }
    }

    /// Whether lines wait to be taken.
    pub(super) fn has_lines(&self) -> bool {
        !self.lines.is_empty()
    }

    pub(super) fn take(&mut self) -> Vec<DialogueLine> {
        std::mem::take(&mut self.lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_words_are_spoken() {
        for (text, expected) in [
            ("Hello.", "Hello."),
            ("{\\i1}Hello{\\i0}\\Nthere", "Hello there"),
            ("{\\an8}1984", "1984"),
            ("{\\p1}m 0 0 l 5 5{\\p0}Yes", "Yes"),
            ("{\\pos(1,2)}Over {there", "Over there"),
            ("a \\{b\\} c\\\u{2060}d\u{7}e", "a {b} cd e"),
        ] {
            assert_eq!(spoken(one_line(&words_of(text))).as_deref(), Some(expected), "{text}");
        }
        for silent in ["", " ", "\\N\\h", "{\\i1}{\\i0}", "{\\p1}m 0 0 l 5 5", "♪ ♪", "…"] {
            assert_eq!(spoken(one_line(&words_of(silent))), None, "{silent}");
        }
    }

    #[test]
    fn long_lines_are_cut() {
        assert_eq!(spoken("ä".repeat(LONGEST_LINE)).unwrap(), "ä".repeat(LONGEST_LINE));
        let cut = spoken("ä".repeat(LONGEST_LINE + 1)).unwrap();
        assert!(cut.chars().count() == LONGEST_LINE && cut.ends_with("ä…"));
    }
}
