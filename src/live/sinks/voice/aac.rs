//! AAC frames with ADTS headers, each of which can be decoded wherever a file or a segment begins.
//!
//! Silence is encoded once, and then repeated: hours of it cost nothing but their bytes.

use ffmpeg_next as ff;

use super::mix::MixPiece;
use crate::error::{Error, Result};
use crate::media::audio_format::AudioFormat;
use crate::media::remux::AudioEncoder;
use crate::media::{AudioCodec, PROGRAMME_RATE};

/// Frames of samples in a frame of AAC.
pub(super) const AAC_FRAME: u64 = 1_024;
/// Frames of AAC between the last sample and silence that is like any other.
const SETTLING: u64 = 4;
/// [`PROGRAMME_RATE`] in the header.
const RATE_INDEX: u8 = 3;
/// Bytes of a header.
const HEADER: usize = 7;

/// Encodes a track. Frame *n* of AAC has the samples from `(n - 1) ·` [`AAC_FRAME`] on.
pub(super) struct AacTrack {
    encoder: AudioEncoder,
    channels: u8,
    /// Frames of samples that do not fill a frame of AAC yet.
    partial: u64,
    /// A frame of silence.
    silent: Vec<u8>,
}

impl AacTrack {
    /// # Errors
    /// If this FFmpeg has no AAC encoder.
    pub(super) fn new(channels: u8) -> Result<AacTrack> {
        let mut settled = AacTrack { encoder: open(channels)?, channels, partial: 0, silent: Vec::new() };
        let zeros = vec![0.0; (2 * SETTLING * AAC_FRAME) as usize * usize::from(channels)];
        let silent = settled.samples(&zeros)?.pop().unwrap_or_default();
        Ok(AacTrack { encoder: open(channels)?, silent, ..settled })
    }

    /// Takes what comes next. Returns the frames of AAC that are complete.
    ///
    /// # Errors
    /// If the encoder fails.
    pub(super) fn push(&mut self, piece: &MixPiece) -> Result<Vec<Vec<u8>>> {
        match piece {
            MixPiece::Samples(samples) => self.samples(samples),
            MixPiece::Silence(frames) => self.silence(*frames),
        }
    }

    /// Returns the last frames. Nothing follows.
    ///
    /// # Errors
    /// If the encoder fails.
    pub(super) fn finish(&mut self) -> Result<Vec<Vec<u8>>> {
        let mut packets = Vec::new();
        self.encoder.finish(&mut packets).map_err(|e| failed(&e))?;
        Ok(packets.iter().filter_map(|packet| self.frame(packet)).collect())
    }

    fn silence(&mut self, frames: u64) -> Result<Vec<Vec<u8>>> {
        let settling = (AAC_FRAME - self.partial) % AAC_FRAME + SETTLING * AAC_FRAME;
        let first = frames.min(settling);
        let mut out = self.zeros(first)?;
        let left = frames - first;
        out.extend((0..left / AAC_FRAME).map(|_| self.silent.clone()));
        out.extend(self.zeros(left % AAC_FRAME)?);
        Ok(out)
    }

    fn zeros(&mut self, frames: u64) -> Result<Vec<Vec<u8>>> {
        self.samples(&vec![0.0; frames as usize * usize::from(self.channels)])
    }

    fn samples(&mut self, samples: &[f32]) -> Result<Vec<Vec<u8>>> {
        self.partial = (self.partial + samples.len() as u64 / u64::from(self.channels)) % AAC_FRAME;
        let mut packets = Vec::new();
        self.encoder.push(samples, &mut packets).map_err(|e| failed(&e))?;
        Ok(packets.iter().filter_map(|packet| self.frame(packet)).collect())
    }

    /// A packet behind its header.
    fn frame(&self, packet: &ff::Packet) -> Option<Vec<u8>> {
        let data = packet.data()?;
        let length = u16::try_from(HEADER + data.len()).ok().filter(|length| *length < 1 << 13)?;
        let [high, low] = length.to_be_bytes();
        // MPEG-4 without a checksum; AAC LC; the rate and the channels; the length; a buffer of any size; one block.
        let mut frame = vec![
            0xFF,
            0xF1,
            0x40 | RATE_INDEX << 2 | self.channels >> 2,
            (self.channels & 3) << 6 | high >> 3,
            high << 5 | low >> 3,
            low << 5 | 0x1F,
            0xFC,
        ];
        frame.extend_from_slice(data);
        Some(frame)
    }
}

fn open(channels: u8) -> Result<AudioEncoder> {
    AudioEncoder::open(AudioCodec::Aac, AudioFormat::usual(PROGRAMME_RATE, u32::from(channels))).map_err(|e| failed(&e))
}

fn failed(e: &ff::Error) -> Error {
    Error::output("voice", format!("AAC cannot be encoded by this FFmpeg: {e}"), "Install an FFmpeg that has `aac`.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_the_same_whether_it_is_encoded_or_repeated() {
        let mut track = AacTrack::new(1).unwrap();
        let tone: Vec<f32> = (0..20_000).map(|n| (n as f32 * 0.06).sin() * 0.5).collect();
        let mut frames = track.push(&MixPiece::Samples(tone.clone())).unwrap();
        frames.extend(track.push(&MixPiece::Silence(480_000)).unwrap());
        frames.extend(track.push(&MixPiece::Samples(tone)).unwrap());
        // The encoder holds one frame back.
        let whole = (20_000 + 480_000 + 20_000) / AAC_FRAME as usize;
        assert!((whole - 1..=whole + 1).contains(&frames.len()), "{}", frames.len());
        assert!(frames.iter().all(|f| f.starts_with(&[0xFF, 0xF1]) && f.len() > HEADER));
        for frame in &frames {
            let length = usize::from(frame[3] & 3) << 11 | usize::from(frame[4]) << 3 | usize::from(frame[5] >> 5);
            assert_eq!(length, frame.len());
        }
        let silent = frames.iter().filter(|f| **f == track.silent).count();
        assert!((450..475).contains(&silent), "{silent}");
        assert!(track.silent.len() < 40, "{}", track.silent.len());
    }
}
