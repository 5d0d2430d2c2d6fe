//! What a source reads beside the pictures: [`Source::take_heard`].

use ffmpeg_next as ff;

use super::demux::Demuxed;
use super::source::Source;
use crate::error::Result;
use crate::media::heard::{Heard, MediaTrack};
use crate::time::Time;

impl Source {
    /// The tracks of sound and those of subtitles.
    pub fn tracks(&self) -> (Vec<MediaTrack>, Vec<MediaTrack>) {
        self.demuxer.tracks()
    }

    /// What was read beside the pictures since the last call, once that is a second or a line of dialogue, and all of it
    /// when there are no more frames.
    pub fn take_heard(&mut self) -> Option<Heard> {
        let all = self.done;
        self.ear.as_mut()?.take(all)
    }

    /// Takes a packet of what is read beside the pictures; none if it is one of the pictures.
    pub(super) fn listen(&mut self, packet: &ff::Packet) -> bool {
        match &mut self.ear {
            Some(ear) if packet.stream() == ear.stream => {
                ear.push(packet);
                (self.damage.sound, self.damage.late_sound) = (ear.broken, ear.is_late());
                true
            }
            _ => false,
        }
    }

    /// After the last picture that was asked for: reads on by a packet, if something before the end has not been heard.
    /// False if nothing is missing.
    pub(super) fn listen_on(&mut self) -> Result<bool> {
        if self.ear.as_ref().is_none_or(|ear| ear.until() == Time::MAX) {
            return Ok(false);
        }
        let mut broken = 0;
        match self.demuxer.read(&mut broken)? {
            Demuxed::Packet(packet) => {
                if !self.listen(&packet)
                    && let Some(ear) = &mut self.ear
                {
                    ear.follow(&packet);
                }
            }
            Demuxed::End(_) => self.end_sound(),
        }
        Ok(true)
    }

    /// The container has no more packets.
    pub(super) fn end_sound(&mut self) {
        if let Some(ear) = &mut self.ear {
            ear.finish();
            (self.damage.sound, self.damage.late_sound) = (ear.broken, ear.is_late());
        }
    }
}
