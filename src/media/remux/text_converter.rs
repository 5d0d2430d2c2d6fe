//! Subtitles of another container: texts that the output's container cannot hold become texts that it can.

use ffmpeg_next as ff;

use super::format::FilmFormat;
use super::shown_texts::{ShownText, ShownTexts};
use super::text_codec::text_packet;
use super::ticks::in_ticks;
use crate::media::decode::{DecodedText, WholeFilm};
use crate::media::ffmpeg::codec_name;
use crate::media::ffmpeg::sound::TextCodec;
use crate::time::Time;

/// FFmpeg's names of the subtitles whose texts are converted.
const SOURCES: [&str; 7] = ["mov_text", "subrip", "srt", "webvtt", "ass", "ssa", "text"];
/// A text without an end lasts until the next one begins, but not longer than this.
const LONGEST_OPEN: Time = Time::from_millis(5_000);
/// How long after its end a text is written at the latest: the streams of a file are not read at exactly the same time.
const LATEST: Time = Time::from_millis(1_000);

/// Converts a stream of texts, packet by packet.
pub(super) struct TextConverter {
    /// Its stream in the film.
    pub(super) stream: usize,
    /// What its texts become.
    pub(super) codec: TextCodec,
    subtitle: ff::decoder::Subtitle,
    /// Seconds a tick in the film.
    tick: ff::Rational,
    shown: ShownTexts,
    /// Packets that are left out: broken ones, and texts that are too long or too many at once.
    lost: u64,
}

impl TextConverter {
    /// None if the stream does not hold texts that can be converted, or the container holds no texts.
    pub(super) fn open(
        film: &WholeFilm,
        stream: &ff::format::stream::Stream<'_>,
        format: FilmFormat,
    ) -> Option<TextConverter> {
        let codec = format.subtitles().filter(|_| SOURCES.contains(&codec_name(stream).as_str()))?;
        let opened = film.open_decoder(stream.index()).ok()?;
        Some(TextConverter {
            stream: stream.index(),
            codec,
            subtitle: ff::decoder::Subtitle(opened),
            tick: stream.time_base(),
            shown: ShownTexts::new(codec == TextCodec::MovText),
            lost: 0,
        })
    }

    /// Packets that are left out so far.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    /// Takes a packet of the film. Returns packets that are complete, with times in its ticks.
    pub(super) fn push(&mut self, packet: &ff::Packet) -> Vec<ff::Packet> {
        let decoded = DecodedText::decode(&mut self.subtitle, packet);
        let (Some(start), Ok(decoded)) = (packet.pts(), decoded) else {
            self.lost += 1;
            return Vec::new();
        };
        let text = decoded.map(|decoded| decoded.lines()).unwrap_or_default();
        if text.is_empty() {
            return Vec::new();
        }
        let (is_open, length) = match packet.duration() {
            ticks if ticks > 0 => (false, ticks),
            _ => (true, in_ticks(LONGEST_OPEN, self.tick)),
        };
        let shown = ShownText { start, end: start.saturating_add(length), is_open, text };
        let mut out = Vec::new();
        if !self.shown.push(shown, &mut out) {
            self.lost += 1;
        }
        self.packets(out)
    }

    /// The film has come to a time of its own clock. Returns what ended long ago.
    pub(super) fn advance(&mut self, now: Time) -> Vec<ff::Packet> {
        let mut out = Vec::new();
        self.shown.advance(in_ticks(now - LATEST, self.tick), &mut out);
        self.packets(out)
    }

    /// Returns what is left, after the last packet.
    pub(super) fn finish(&mut self) -> Vec<ff::Packet> {
        let mut out = Vec::new();
        self.shown.advance(i64::MAX, &mut out);
        self.packets(out)
    }

    fn packets(&self, texts: Vec<ShownText>) -> Vec<ff::Packet> {
        texts.iter().map(|shown| text_packet(self.codec, &shown.text, shown.start, shown.end)).collect()
    }
}
