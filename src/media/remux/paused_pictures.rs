//! The pictures of a film that pauses: decoded, shown again during a pause, and encoded.

use ffmpeg_next as ff;

use super::pauses::FilmPauses;
use super::picture_encoder::{PictureCodec, PictureEncoder};
use super::ticks::{in_ticks, in_time};
use crate::error::{Error, Result};
use crate::media::decode::{VideoDecoder, WholeFilm};
use crate::message;
use crate::message::Setting;
use crate::time::Time;

/// Pictures a second during a pause of a film that does not tell.
const USUAL_RATE: f64 = 25.0;

/// Decodes and encodes the pictures of a film, in order.
///
/// Memory: a frame, and those that the decoder and the encoder hold.
pub(super) struct PausedPictures {
    /// Their stream in the film.
    pub(super) stream: usize,
    decoder: VideoDecoder,
    encoder: PictureEncoder,
    codec: PictureCodec,
    pauses: FilmPauses,
    /// Seconds a tick of the stream, and the start of the film's clock.
    tick: ff::Rational,
    start: Time,
    /// Ticks that a picture is shown.
    step: i64,
    last: Option<ShownPicture>,
    /// Packets that could not be decoded.
    broken: u64,
}

/// A picture that was encoded.
struct ShownPicture {
    frame: ff::frame::Video,
    /// When it comes in the film and in the output, in ticks.
    film: i64,
    shown: i64,
}

impl PausedPictures {
    /// None if the film has no pictures.
    ///
    /// # Errors
    /// If they cannot be decoded, or this FFmpeg cannot encode them.
    pub(super) fn open(
        film: &WholeFilm,
        codec: PictureCodec,
        quality: Option<u8>,
        pauses: &FilmPauses,
    ) -> Result<Option<PausedPictures>> {
        let Some(index) = film.pictures() else { return Ok(None) };
        let Some(stream) = film.input().stream(index) else { return Ok(None) };
        let decoder = film.open_pictures(index)?;
        let encoder = PictureEncoder::open(&stream, codec, quality).map_err(|e| {
            let cause = format!(
                "its pictures cannot be encoded with {} by this FFmpeg: {e}",
                codec.encoder().to_string_lossy()
            );
            let remedy = message![
                "Install an FFmpeg that has this encoder, leave out ",
                Setting::Extended,
                ", or name a file for sound alone with ",
                Setting::Output,
                "."
            ];
            Error::usage(format!("{}: {cause}", film.name()), remedy)
        })?;
        let tick = stream.time_base();
        let step = in_ticks(Time::from_secs(1.0 / film.frame_rate().unwrap_or(USUAL_RATE)), tick).max(1);
        Ok(Some(PausedPictures {
            stream: index,
            decoder,
            encoder,
            codec,
            pauses: pauses.clone(),
            tick,
            start: film.start(),
            step,
            last: None,
            broken: 0,
        }))
    }

    pub(super) fn encoder(&self) -> &PictureEncoder {
        &self.encoder
    }

    /// Packets that could not be decoded so far.
    pub(super) fn broken(&self) -> u64 {
        self.broken
    }

    /// Decodes a packet, and appends the encoded ones that are ready. Their times are in ticks of the film's stream.
    ///
    /// # Errors
    /// If the encoder fails.
    pub(super) fn push(&mut self, packet: &ff::Packet, out: &mut Vec<ff::Packet>) -> Result<()> {
        self.broken += u64::from(self.decoder.video.send_packet(packet).is_err());
        self.receive(out)
    }

    /// Ends the film: shows its last picture for as long as it pauses, and appends the last packets.
    ///
    /// # Errors
    /// As [`PausedPictures::push`].
    pub(super) fn finish(&mut self, out: &mut Vec<ff::Packet>) -> Result<()> {
        let _ = self.decoder.video.send_eof();
        self.receive(out)?;
        if let Some(last) = &self.last {
            let rest = in_ticks(self.pauses.total(), self.tick) - (last.shown - last.film);
            if rest > 0 {
                self.repeat(last.shown.saturating_add(self.step).saturating_add(rest), out)?;
            }
        }
        self.encoder.finish(out).map_err(|e| self.failed(&e))
    }

    fn receive(&mut self, out: &mut Vec<ff::Packet>) -> Result<()> {
        loop {
            let mut frame = ff::frame::Video::empty();
            match self.decoder.video.receive_frame(&mut frame) {
                Ok(()) => self.admit(frame, out)?,
                Err(ff::Error::Eof) => return Ok(()),
                Err(ff::Error::Other { errno }) if errno == ff::util::error::EAGAIN => return Ok(()),
                Err(_) => {
                    self.broken += 1;
                    return Ok(());
                }
            }
        }
    }

    /// Encodes a frame at its time, and those before it that are shown during a pause.
    fn admit(&mut self, frame: ff::frame::Video, out: &mut Vec<ff::Packet>) -> Result<()> {
        let follows = self.last.as_ref().map(|last| last.film.saturating_add(self.step));
        let Some(film) = frame.timestamp().or(follows).or(Some(0)) else { return Ok(()) };
        if self.last.as_ref().is_some_and(|last| film <= last.film) {
            // Two pictures of one time; the clock of a broken film may also run backwards.
            return Ok(());
        }
        // A pause freezes the picture that begins with it. Times of cues are rounded, so that one may begin a little later.
        let time = in_time(film.saturating_sub(self.step / 2), self.tick) - self.start;
        let shown = film.saturating_add(in_ticks(self.pauses.shifted(time) - time, self.tick));
        let shift = self.last.as_ref().map_or(0, |last| last.shown - last.film);
        if self.last.is_none() && shown > film {
            // The film pauses before its first picture.
            self.show(frame.clone(), film, film, out)?;
        }
        if shown - film > shift {
            self.repeat(shown, out)?;
        }
        self.show(frame, film, shown, out)
    }

    fn show(&mut self, frame: ff::frame::Video, film: i64, shown: i64, out: &mut Vec<ff::Packet>) -> Result<()> {
        self.encoder.push(&frame, shown, false, out).map_err(|e| self.failed(&e))?;
        self.last = Some(ShownPicture { frame, film, shown });
        Ok(())
    }

    /// Shows the last picture again, as often as it takes until the next one.
    fn repeat(&mut self, next: i64, out: &mut Vec<ff::Packet>) -> Result<()> {
        let Some(last) = &self.last else { return Ok(()) };
        let mut time = last.shown.saturating_add(self.step);
        while time.saturating_add(self.step / 2) < next {
            self.encoder.push(&last.frame, time, true, out).map_err(|e| self.failed(&e))?;
            time = time.saturating_add(self.step);
        }
        Ok(())
    }

    fn failed(&self, e: &ff::Error) -> Error {
        let remedy = message!["Leave out ", Setting::Extended, "."];
        Error::usage(
            format!("the pictures cannot be encoded with {}: {e}", self.codec.encoder().to_string_lossy()),
            remedy,
        )
    }
}
