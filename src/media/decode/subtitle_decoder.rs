//! Decodes one track of subtitles: packets in, the times of lines of dialogue out.

use std::ffi::CStr;

use ffmpeg_next as ff;
use ffmpeg_next::ffi;

use super::stream::rescale;
use crate::media::side_track::DialogueLine;
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
    /// Start of the last line, if its end is not known yet.
    open: Option<Time>,
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

    /// Its texts, with the tags of ASS.
    pub(crate) fn texts(&self) -> impl Iterator<Item = String> + '_ {
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

/// Whether a text of ASS has a letter or a digit to read: outside of its `{…}`, and not as a drawing.
fn is_spoken(text: &str) -> bool {
    let mut drawing = false;
    for (n, part) in text.split('{').enumerate() {
        let (tags, words) = if n > 0 { part.split_once('}').unwrap_or(("", part)) } else { ("", part) };
        for (at, _) in tags.match_indices("\\p") {
            if let Some(digit) = tags[at + 2..].chars().next().filter(char::is_ascii_digit) {
                drawing = digit != '0';
            }
        }
        let words = words.replace("\\N", " ").replace("\\n", " ").replace("\\h", " ");
        if !drawing && words.chars().any(char::is_alphanumeric) {
            return true;
        }
    }
    false
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
            Ok(Some(decoded)) if decoded.texts().any(|text| is_spoken(&text)) => decoded,
            Ok(_) => return 0,
            Err(_) => return 1,
        };
        let ms = decoded.0.end_display_time;
        match packet.duration() {
            ticks if ticks > 0 => self.line(start, start + rescale(ticks, self.time_base)),
            _ if ms > 0 && ms != NO_END => self.line(start, start + Time::from_millis(i64::from(ms))),
            _ => self.open = Some(start),
        }
        0
    }

    /// Ends the last line, after the last packet.
    pub(super) fn finish(&mut self) {
        self.close(Time::MAX);
    }

    /// Ends a line that is still open.
    fn close(&mut self, at: Time) {
        if let Some(start) = self.open.take() {
            self.line(start, at.min(start + LONGEST_OPEN));
        }
    }

    fn line(&mut self, start: Time, end: Time) {
        let (start, end) = (start.max(self.range.0), end.min(self.range.1));
        if start < end && end - start <= LONGEST {
            self.lines.push(DialogueLine { start, end });
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
        for spoken in
            ["Hello.", "{\\i1}Hello{\\i0}", "{\\an8}1984", "{\\p1}m 0 0 l 5 5{\\p0}Yes", "é", "{\\pos(1,2)}Over there"]
        {
            assert!(is_spoken(spoken), "{spoken}");
        }
        for silent in ["", " ", "\\N\\h", "{\\i1}{\\i0}", "{\\p1}m 0 0 l 5 5", "♪ ♪", "…"] {
            assert!(!is_spoken(silent), "{silent}");
        }
    }
}
