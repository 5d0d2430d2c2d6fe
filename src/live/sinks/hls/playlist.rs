//! The texts of the playlists, and what is read back from one of an earlier run.
//!
//! `m3u8-rs` is not used, although it reads and writes playlists. It cannot write the comment by which descry recognises its
//! own playlists, nor `FORCED=NO`, nor the attributes in this order; and it depends on `nom` and `chrono`.

use std::time::SystemTime;

use super::HlsOptions;
use crate::address::Address;
use crate::time::Time;
use crate::wall::rfc3339;

/// The names of a playlist and its segments.
#[derive(Debug, Clone, Copy)]
pub(super) struct PlaylistNames {
    pub(super) playlist: &'static str,
    /// What the names of segments begin and end with.
    stem: &'static str,
    end: &'static str,
}

/// Descriptions as text.
pub(super) const TEXT: PlaylistNames =
    PlaylistNames { playlist: "descriptions.m3u8", stem: "descriptions-", end: ".vtt" };
/// The stream's sound with spoken descriptions.
pub(super) const AUDIO: PlaylistNames =
    PlaylistNames { playlist: "descriptions-audio.m3u8", stem: "descriptions-audio-", end: ".aac" };
pub(super) const MASTER: &str = "master.m3u8";
/// A line in every playlist of descry.
const MARK: &str = "## made by descry";

/// A segment that is in the folder and in the playlist.
pub(super) struct ListedSegment {
    pub(super) duration: Time,
    /// Wall clock at its start.
    pub(super) wall: SystemTime,
    /// It does not continue the one before.
    pub(super) discontinuity: bool,
}

/// The media playlist of one stream.
#[derive(Default)]
pub(super) struct MediaPlaylist {
    /// Number of the first listed segment.
    pub(super) sequence: u64,
    /// Discontinuities that have left the playlist.
    pub(super) discontinuities: u64,
    pub(super) listed: std::collections::VecDeque<ListedSegment>,
    /// No segment follows.
    pub(super) ended: bool,
}

impl MediaPlaylist {
    /// Continues after the segments of an earlier run's playlist, so that players do. Returns the number of its first
    /// segment too.
    pub(super) fn resume(before: &str) -> (MediaPlaylist, u64) {
        let number = |tag: &str| -> u64 {
            before.lines().find_map(|l| l.strip_prefix(tag)).and_then(|n| n.trim().parse().ok()).unwrap_or(0)
        };
        // Far from the end of the number range, whatever the file contains.
        let first = number("#EXT-X-MEDIA-SEQUENCE:").min(u64::MAX / 2);
        let gone = number("#EXT-X-DISCONTINUITY-SEQUENCE:").min(u64::MAX / 2);
        let segments = before.lines().filter(|l| l.starts_with("#EXTINF:")).count() as u64;
        let jumps = before.lines().filter(|l| *l == "#EXT-X-DISCONTINUITY").count() as u64;
        let playlist =
            MediaPlaylist { sequence: first + segments, discontinuities: gone + jumps, ..Default::default() };
        (playlist, first)
    }

    /// Number of the next segment.
    pub(super) fn next(&self) -> u64 {
        self.sequence + self.listed.len() as u64
    }

    /// `segment`: longest duration of a segment.
    pub(super) fn text(&self, names: &PlaylistNames, segment: Time) -> String {
        let target = (segment.micros() + 999_999) / 1_000_000;
        let mut text = format!(
            "#EXTM3U\n#EXT-X-VERSION:3\n{MARK}\n#EXT-X-TARGETDURATION:{target}\n#EXT-X-MEDIA-SEQUENCE:{}\n\
             #EXT-X-DISCONTINUITY-SEQUENCE:{}\n",
            self.sequence, self.discontinuities,
        );
        for (i, s) in self.listed.iter().enumerate() {
            if s.discontinuity {
                text.push_str("#EXT-X-DISCONTINUITY\n");
            }
            let name = names.segment(self.sequence + i as u64);
            let (wall, secs) = (rfc3339(s.wall), s.duration.secs());
            text.push_str(&format!("#EXT-X-PROGRAM-DATE-TIME:{wall}\n#EXTINF:{secs:.3},\n{name}\n"));
        }
        if self.ended {
            text.push_str("#EXT-X-ENDLIST\n");
        }
        text
    }
}

/// The playlist that joins the video's playlist and the descriptions. With spoken descriptions, players offer the sound that
/// is in the video, and that with the descriptions.
///
/// Viewers choose the text: as the default, or selected by a player, they would be shown to everyone, and to those
/// who asked for captions. There are no `CHARACTERISTICS`: HLS defines `public.accessibility.describes-video` for sound alone.
pub(super) fn master_text(options: &HlsOptions) -> String {
    let HlsOptions { language, bandwidth, .. } = options;
    let mut text = format!(
        "#EXTM3U\n#EXT-X-VERSION:3\n{MARK}\n#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID=\"descriptions\",\
         NAME=\"Descriptions\",LANGUAGE=\"{language}\",DEFAULT=NO,AUTOSELECT=NO,FORCED=NO,\
         URI=\"{}\"\n",
        TEXT.playlist,
    );
    let mut audio = "";
    if options.is_spoken {
        text.push_str(&format!(
            "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio\",NAME=\"Original\",DEFAULT=YES,AUTOSELECT=YES\n\
             #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio\",NAME=\"Audio description\",LANGUAGE=\"{language}\",\
             DEFAULT=NO,AUTOSELECT=YES,CHANNELS=\"2\",\
             CHARACTERISTICS=\"public.accessibility.describes-video\",URI=\"{}\"\n",
            AUDIO.playlist,
        ));
        audio = ",AUDIO=\"audio\"";
    }
    let video = options.video.as_ref().map_or("", Address::reveal);
    text.push_str(&format!("#EXT-X-STREAM-INF:BANDWIDTH={bandwidth}{audio},SUBTITLES=\"descriptions\"\n{video}\n"));
    text
}

/// Whether descry wrote this playlist.
pub(super) fn is_ours(text: &str) -> bool {
    text.contains(MARK)
}

impl PlaylistNames {
    pub(super) fn segment(&self, number: u64) -> String {
        format!("{}{number:06}{}", self.stem, self.end)
    }

    /// The number in a segment's name.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        name.strip_prefix(self.stem)?.strip_suffix(self.end)?.parse().ok()
    }

    /// Whether a temporary file is one of these, half written.
    pub(super) fn is_part(&self, name: &str) -> bool {
        let rest = name.strip_prefix(self.stem).map(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()));
        let is_segment = rest.is_some_and(|rest| rest.starts_with(self.end));
        (is_segment || name.starts_with(self.playlist)) && name.ends_with(".part")
    }
}
