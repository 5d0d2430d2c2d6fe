//! Containers and codecs of outputs.

use std::ffi::CStr;
use std::path::Path;

use crate::media::ffmpeg::sound::TextCodec;

/// A codec of a new track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum AudioCodec {
    /// AAC: 96 kb/s a channel
    Aac,
    /// Opus: 64 kb/s a channel
    Opus,
    /// MP3: 80 kb/s a channel, two channels at most
    Mp3,
    /// FLAC, lossless
    Flac,
    /// 16-bit samples as they are
    Pcm,
}

impl AudioCodec {
    /// FFmpeg's encoder.
    pub(super) fn encoder(self) -> &'static CStr {
        match self {
            AudioCodec::Aac => c"aac",
            AudioCodec::Opus => c"libopus",
            AudioCodec::Mp3 => c"libmp3lame",
            AudioCodec::Flac => c"flac",
            AudioCodec::Pcm => c"pcm_s16le",
        }
    }

    /// FFmpeg's name of the samples that it takes.
    pub(super) fn samples(self) -> &'static CStr {
        match self {
            AudioCodec::Aac | AudioCodec::Mp3 => c"fltp",
            AudioCodec::Opus => c"flt",
            AudioCodec::Flac | AudioCodec::Pcm => c"s16",
        }
    }

    /// Bits a second for each channel; 0 for what is lossless.
    pub(super) fn bit_rate(self) -> i64 {
        match self {
            AudioCodec::Aac => 96_000,
            AudioCodec::Mp3 => 80_000,
            AudioCodec::Opus => 64_000,
            AudioCodec::Flac | AudioCodec::Pcm => 0,
        }
    }

    /// Whether what is decoded is what was encoded.
    pub(crate) fn is_lossless(self) -> bool {
        matches!(self, AudioCodec::Flac | AudioCodec::Pcm)
    }

    /// The rate of a track for a programme of this rate, in Hz.
    pub(crate) fn rate(self, programme: u32) -> u32 {
        match self {
            AudioCodec::Opus => 48_000,
            AudioCodec::Aac | AudioCodec::Mp3 if matches!(programme, 32_000 | 44_100 | 48_000) => programme,
            AudioCodec::Flac | AudioCodec::Pcm if (16_000..=192_000).contains(&programme) => programme,
            _ => 48_000,
        }
    }

    /// Most channels of a track.
    pub(crate) fn most_channels(self) -> usize {
        if self == AudioCodec::Mp3 { 2 } else { 8 }
    }

    /// The name for people.
    pub fn name(self) -> &'static str {
        match self {
            AudioCodec::Aac => "AAC",
            AudioCodec::Opus => "Opus",
            AudioCodec::Mp3 => "MP3",
            AudioCodec::Flac => "FLAC",
            AudioCodec::Pcm => "PCM",
        }
    }
}

/// A container of outputs, by the end of a file's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilmFormat {
    /// `mkv`
    Matroska,
    /// `webm`
    Webm,
    /// `mp4`, `m4v`
    Mp4,
    /// `mov`
    Mov,
    /// `mka`: sound alone
    MatroskaSound,
    /// `m4a`: sound alone
    M4a,
    /// `opus`, `ogg`, `oga`: sound alone
    Ogg,
    /// `mp3`: sound alone
    Mp3,
    /// `wav`: sound alone
    Wav,
    /// `flac`: sound alone
    Flac,
}

impl FilmFormat {
    /// The ends of names, for messages.
    pub const NAMES: &'static str =
        ".mkv, .webm, .mp4, .mov for films; .m4a, .mka, .opus, .mp3, .flac, .wav for sound alone";

    /// By the end of a file's name.
    pub fn of(path: &Path) -> Option<FilmFormat> {
        let end = path.extension()?.to_str()?.to_ascii_lowercase();
        Some(match end.as_str() {
            "mkv" => FilmFormat::Matroska,
            "webm" => FilmFormat::Webm,
            "mp4" | "m4v" => FilmFormat::Mp4,
            "mov" => FilmFormat::Mov,
            "mka" => FilmFormat::MatroskaSound,
            "m4a" => FilmFormat::M4a,
            "opus" | "ogg" | "oga" => FilmFormat::Ogg,
            "mp3" => FilmFormat::Mp3,
            "wav" => FilmFormat::Wav,
            "flac" => FilmFormat::Flac,
            _ => return None,
        })
    }

    /// FFmpeg's name.
    pub(super) fn muxer(self) -> &'static str {
        match self {
            FilmFormat::Matroska | FilmFormat::MatroskaSound => "matroska",
            FilmFormat::Webm => "webm",
            FilmFormat::Mp4 => "mp4",
            FilmFormat::Mov => "mov",
            FilmFormat::M4a => "ipod",
            FilmFormat::Ogg => "ogg",
            FilmFormat::Mp3 => "mp3",
            FilmFormat::Wav => "wav",
            FilmFormat::Flac => "flac",
        }
    }

    /// The name for people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            FilmFormat::Matroska | FilmFormat::MatroskaSound => "Matroska",
            FilmFormat::Webm => "WebM",
            FilmFormat::Mp4 => "MP4",
            FilmFormat::Mov => "MOV",
            FilmFormat::M4a => "M4A",
            FilmFormat::Ogg => "Ogg",
            FilmFormat::Mp3 => "MP3",
            FilmFormat::Wav => "WAV",
            FilmFormat::Flac => "FLAC",
        }
    }

    /// The name of a language there, of which the other is ISO 639-2/T. QuickTime has older names.
    pub(super) fn language(self, tag: &str) -> &str {
        match (self, tag) {
            (FilmFormat::Mov, "deu") => "ger",
            (FilmFormat::Mov, "ell") => "gre",
            (FilmFormat::Mov, "isl") => "ice",
            (FilmFormat::Mov, "mkd") => "mac",
            (FilmFormat::Mov, "nld") => "dut",
            (FilmFormat::Mov, "sqi") => "alb",
            (FilmFormat::Mov, "swe") => "sve",
            (FilmFormat::Mov, "zho") => "chi",
            _ => tag,
        }
    }

    /// Whether it holds pictures.
    pub fn is_film(self) -> bool {
        matches!(self, FilmFormat::Matroska | FilmFormat::Webm | FilmFormat::Mp4 | FilmFormat::Mov)
    }

    /// Whether times cannot be before zero there, and a track of this codec has no place for what its decoder drops first.
    pub(super) fn lacks_priming(self, codec: AudioCodec) -> bool {
        use FilmFormat::{Matroska, MatroskaSound, Webm};
        matches!(self, Matroska | MatroskaSound | Webm) && codec != AudioCodec::Opus
    }

    /// What a track with the texts of descriptions is there. None if there can be no such track.
    pub(crate) fn text_track(self) -> Option<TextCodec> {
        match self {
            FilmFormat::Matroska | FilmFormat::Webm => Some(TextCodec::WebVtt),
            FilmFormat::Mp4 | FilmFormat::Mov => Some(TextCodec::MovText),
            _ => None,
        }
    }

    /// What subtitles of a film become that it cannot hold, if they are texts. None if there can be none.
    pub(super) fn subtitles(self) -> Option<TextCodec> {
        if self == FilmFormat::Matroska { Some(TextCodec::SubRip) } else { self.text_track() }
    }

    /// The codecs that it can hold, the usual one first.
    pub fn codecs(self) -> &'static [AudioCodec] {
        use AudioCodec::{Aac, Flac, Mp3, Opus, Pcm};
        match self {
            FilmFormat::Matroska | FilmFormat::MatroskaSound => &[Aac, Opus, Mp3, Flac, Pcm],
            FilmFormat::Webm => &[Opus],
            FilmFormat::Mp4 => &[Aac, Opus, Mp3, Flac],
            FilmFormat::Mov => &[Aac, Mp3, Pcm],
            FilmFormat::M4a => &[Aac],
            FilmFormat::Ogg => &[Opus, Flac],
            FilmFormat::Mp3 => &[Mp3],
            FilmFormat::Wav => &[Pcm],
            FilmFormat::Flac => &[Flac],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_the_container() {
        assert_eq!(FilmFormat::of(Path::new("a/film.described.MKV")), Some(FilmFormat::Matroska));
        assert_eq!(FilmFormat::of(Path::new("film.ad.m4a")), Some(FilmFormat::M4a));
        assert_eq!(FilmFormat::of(Path::new("film.avi")), None);
        assert_eq!(FilmFormat::of(Path::new("film")), None);
        assert_eq!(AudioCodec::Opus.rate(44_100), 48_000);
        assert_eq!((AudioCodec::Aac.rate(44_100), AudioCodec::Pcm.rate(96_000)), (44_100, 96_000));
    }
}
