//! How a source reads its side track: see [`Source::take_side_track`].

use ffmpeg_next as ff;

use super::demux::Demuxed;
use super::source::Source;
use crate::error::Result;
use crate::media::side_track::{MediaTrack, SideTrackData};
use crate::time::Time;

impl Source {
    /// The tracks of sound and those of subtitles.
    pub fn tracks(&self) -> (Vec<MediaTrack>, Vec<MediaTrack>) {
        self.demuxer.tracks()
    }

    /// What was read of the side track since the last call, once that is a second (64 ms with
    /// [low delay](crate::media::DecodeOptions::low_delay)) or a line of dialogue; after the last frame, all of it.
    pub fn take_side_track(&mut self) -> Option<SideTrackData> {
        let all = self.done;
        self.side_track.as_mut()?.take(all)
    }

    /// Decodes a packet if it belongs to the side track. False if it does not.
    pub(super) fn take_side_packet(&mut self, packet: &ff::Packet) -> bool {
        match &mut self.side_track {
            Some(side_track) if packet.stream() == side_track.stream => {
                side_track.push(packet);
                (self.damage.sound, self.damage.late_sound) = (side_track.broken, side_track.is_late());
                true
            }
            _ => false,
        }
    }

    /// After the last wanted picture: reads one more packet, if the side track is not complete up to the end of the wanted
    /// range. False if it is.
    pub(super) fn read_side_track(&mut self) -> Result<bool> {
        if self.side_track.as_ref().is_none_or(|side_track| side_track.until() == Time::MAX) {
            return Ok(false);
        }
        let mut broken = 0;
        match self.demuxer.read(&mut broken)? {
            Demuxed::Packet(packet) => {
                if !self.take_side_packet(&packet)
                    && let Some(side_track) = &mut self.side_track
                {
                    side_track.follow_pictures(&packet);
                }
            }
            Demuxed::End(_) => self.end_side_track(),
        }
        Ok(true)
    }

    /// Decodes the rest of the side track, after the last packet.
    pub(super) fn end_side_track(&mut self) {
        if let Some(side_track) = &mut self.side_track {
            side_track.finish();
            (self.damage.sound, self.damage.late_sound) = (side_track.broken, side_track.is_late());
        }
    }
}
