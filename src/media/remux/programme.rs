//! The sound of a film, decoded: interleaved samples, each at its place on the film's clock.

use ffmpeg_next as ff;
use ffmpeg_next::ffi;

use crate::error::{Error, Result};
use crate::media::audio_format::AudioFormat;
use crate::media::decode::WholeFilm;
use crate::media::ffmpeg::parameters;
use crate::media::ffmpeg::sound::SampleFormat;
use crate::media::resampler::Resampler;
use crate::media::side_track::{AUDIO_RATE, TrackChoice};
use crate::message;
use crate::message::Setting;

/// Sound that is late or early by less keeps its samples, in seconds: containers round times.
const TOLERANCE: f64 = 0.02;
/// A longer gap is no gap but a broken clock, in seconds.
const LONGEST_GAP: f64 = 3_600.0;
/// Frames of silence at once.
const SILENCE: usize = 8_192;
const NO_MEMORY: ff::Error = ff::Error::Other { errno: ff::util::error::ENOMEM };

/// Takes samples, interleaved and in order.
pub(crate) type SampleSink<'a> = dyn FnMut(&mut [f32]) -> Result<()> + 'a;

/// Which stream of a film is its programme.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Programme {
    /// Its stream in the container.
    pub(crate) stream: usize,
}

impl Programme {
    /// Chooses an audio track. None if that is the usual one, and the film has no sound.
    ///
    /// # Errors
    /// If there is no such track.
    pub(crate) fn choose(film: &WholeFilm, choice: &TrackChoice) -> Result<Option<Programme>> {
        Ok(film.audio_track(choice)?.map(|track| Programme { stream: track.stream as usize }))
    }

    /// The rate and the channels of the programme.
    ///
    /// # Errors
    /// If the header gives none.
    pub(crate) fn format(self, film: &WholeFilm) -> Result<AudioFormat> {
        let found = film.input().stream(self.stream).and_then(|stream| {
            let par = parameters(&stream);
            // SAFETY: reads of a valid stream's parameters.
            let (rate, layout) = unsafe { ((*par).sample_rate, &raw const (*par).ch_layout) };
            let rate = u32::try_from(rate).ok().filter(|rate| (4_000..=768_000).contains(rate))?;
            // SAFETY: the layout of a valid stream's parameters.
            unsafe { AudioFormat::of(rate, layout) }
        });
        found.ok_or_else(|| {
            let cause = "its sound has no rate or no channels that can be mixed";
            Error::input(film.name(), cause, message!["Choose another audio track with ", Setting::Audio, "."])
        })
    }
}

/// Decodes a programme into one format.
pub(crate) struct ProgrammeDecoder {
    name: String,
    audio: ff::decoder::Audio,
    format: AudioFormat,
    /// Of the frames since the format changed or there was a gap.
    resampler: Option<Resampler>,
    /// Seconds a tick.
    tick: f64,
    /// Start of the container's own clock, in seconds.
    origin: f64,
    /// Frames handed out so far: the place of the next one.
    position: u64,
    /// Frames to come whose places are taken.
    dropping: u64,
    /// Where the next frame of the decoder belongs if it follows without a gap, in seconds.
    expected: Option<f64>,
    /// Packets that could not be decoded.
    broken: u64,
}

impl ProgrammeDecoder {
    /// `format`: that of the samples which come out.
    ///
    /// # Errors
    /// If this FFmpeg has no decoder.
    pub(crate) fn open(film: &WholeFilm, programme: Programme, format: AudioFormat) -> Result<ProgrammeDecoder> {
        let name = film.name().to_string();
        let opened = film.open_decoder(programme.stream).map_err(|cause| {
            let remedy =
                message!["Install an FFmpeg that has this codec, or choose another track with ", Setting::Audio, "."];
            Error::input(&name, cause, remedy)
        })?;
        Ok(ProgrammeDecoder {
            name,
            audio: ff::decoder::Audio(opened),
            format,
            resampler: None,
            tick: film.input().stream(programme.stream).map_or(0.0, |stream| f64::from(stream.time_base())),
            origin: film.start().secs(),
            position: 0,
            dropping: 0,
            expected: None,
            broken: 0,
        })
    }

    /// Packets that could not be decoded so far.
    pub(crate) fn broken(&self) -> u64 {
        self.broken
    }

    /// Decodes a packet.
    ///
    /// # Errors
    /// If its time makes no sense, or `out` fails.
    pub(crate) fn push(&mut self, packet: &ff::Packet, out: &mut SampleSink<'_>) -> Result<()> {
        // A packet that cannot be decoded leaves a gap, which becomes silence.
        self.broken += u64::from(self.audio.send_packet(packet).is_err());
        self.receive(out)
    }

    /// Decodes what the decoder still holds.
    ///
    /// # Errors
    /// As [`ProgrammeDecoder::push`].
    pub(crate) fn finish(&mut self, out: &mut SampleSink<'_>) -> Result<()> {
        let _ = self.audio.send_eof();
        self.receive(out)?;
        self.flush(out)
    }

    /// Hands out silence up to a place.
    ///
    /// # Errors
    /// If `out` fails.
    pub(crate) fn silence_until(&mut self, place: u64, out: &mut SampleSink<'_>) -> Result<()> {
        let position = &mut self.position;
        silence(position, place, self.format.channels(), out)
    }

    fn receive(&mut self, out: &mut SampleSink<'_>) -> Result<()> {
        loop {
            let mut frame = ff::frame::Audio::empty();
            match self.audio.receive_frame(&mut frame) {
                Ok(()) => self.admit(&frame, out)?,
                Err(ff::Error::Eof) => return Ok(()),
                Err(ff::Error::Other { errno }) if errno == ff::util::error::EAGAIN => return Ok(()),
                Err(_) => {
                    self.broken += 1;
                    return Ok(());
                }
            }
        }
    }

    /// Puts a frame into its place.
    fn admit(&mut self, frame: &ff::frame::Audio, out: &mut SampleSink<'_>) -> Result<()> {
        let (samples, rate) = (frame.samples(), frame.rate());
        if samples == 0 || rate == 0 {
            return Ok(());
        }
        let time = frame.timestamp().map(|time| time as f64 * self.tick - self.origin);
        match (time, self.expected) {
            (Some(time), Some(expected)) if (time - expected).abs() > TOLERANCE => self.jump(time, out)?,
            (Some(time), None) => self.jump(time, out)?,
            _ => {}
        }
        let start = self.expected.unwrap_or(0.0);
        self.expected = Some(start + samples as f64 / f64::from(rate));
        let mut converted = Vec::new();
        if self.convert(frame, &mut converted).is_err() {
            // Its format differs from that before: what is left of that comes first.
            self.flush(out)?;
            if self.convert(frame, &mut converted).is_err() {
                self.broken += 1;
            }
        }
        self.put(&mut converted, out)
    }

    fn convert(&mut self, frame: &ff::frame::Audio, to: &mut Vec<f32>) -> Result<(), ff::Error> {
        if self.resampler.is_none() {
            self.resampler = Resampler::new(self.format.clone());
        }
        self.resampler.as_mut().ok_or(NO_MEMORY)?.convert(frame, to)
    }

    /// Goes on at another time: silence up to it, or samples that are left out.
    fn jump(&mut self, time: f64, out: &mut SampleSink<'_>) -> Result<()> {
        self.flush(out)?;
        let place = (time * f64::from(self.format.rate)).round();
        let ahead = place - self.position as f64;
        if ahead > LONGEST_GAP * f64::from(self.format.rate) || !ahead.is_finite() {
            let cause = format!("its sound jumps to {time:.0} s, so its clock is broken");
            let remedy = "Write it anew, for example: ffmpeg -i FILE -c copy -map 0 NEW.mkv";
            return Err(Error::input(&self.name, cause, remedy));
        }
        self.expected = Some(time);
        self.dropping = (-ahead).max(0.0) as u64;
        self.silence_until(place.max(0.0) as u64, out)
    }

    fn flush(&mut self, out: &mut SampleSink<'_>) -> Result<()> {
        let mut rest = Vec::new();
        if let Some(resampler) = self.resampler.take() {
            resampler.finish(&mut rest);
        }
        self.put(&mut rest, out)
    }

    fn put(&mut self, samples: &mut [f32], out: &mut SampleSink<'_>) -> Result<()> {
        let channels = self.format.channels();
        let frames = (samples.len() / channels) as u64;
        let dropped = self.dropping.min(frames);
        self.dropping -= dropped;
        let samples = &mut samples[dropped as usize * channels..];
        if samples.is_empty() {
            return Ok(());
        }
        // Floating point allows samples that are no numbers.
        samples.iter_mut().filter(|s| !s.is_finite()).for_each(|s| *s = 0.0);
        self.position += frames - dropped;
        out(samples)
    }
}

/// Hands out silence up to a place, and moves there.
pub(crate) fn silence(position: &mut u64, place: u64, channels: usize, out: &mut SampleSink<'_>) -> Result<()> {
    while *position < place {
        let frames = (place - *position).min(SILENCE as u64);
        *position += frames;
        out(&mut vec![0.0; frames as usize * channels])?;
    }
    Ok(())
}

/// Converts speech, of one channel, to another rate.
///
/// # Errors
/// If there is no memory for it.
pub(crate) fn convert_speech(samples: &[f32], from: u32, to: u32) -> Result<Vec<f32>, ff::Error> {
    if from == to {
        return Ok(samples.to_vec());
    }
    let mut converter = SampleConverter::new(AudioFormat::usual(from, 1), AudioFormat::usual(to, 1))?;
    let mut converted = Vec::new();
    converter.push(samples, &mut converted)?;
    converter.finish(&mut converted);
    Ok(converted)
}

/// Converts interleaved samples to another format.
pub(crate) struct SampleConverter {
    from: AudioFormat,
    resampler: Resampler,
}

impl SampleConverter {
    /// # Errors
    /// If there is no memory for it.
    fn new(from: AudioFormat, to: AudioFormat) -> Result<SampleConverter, ff::Error> {
        Ok(SampleConverter { from, resampler: Resampler::new(to).ok_or(NO_MEMORY)? })
    }

    /// Into the form that the detector of speech takes.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub(crate) fn for_speech(from: AudioFormat) -> Result<SampleConverter, ff::Error> {
        let SampleConverter { from, resampler } = SampleConverter::new(from, AudioFormat::usual(AUDIO_RATE, 1))?;
        Ok(SampleConverter { from, resampler: resampler.within_range() })
    }

    /// Converts whole frames, and appends what is ready.
    ///
    /// # Errors
    /// If there is no memory for it, or FFmpeg cannot convert the format.
    pub(crate) fn push(&mut self, samples: &[f32], to: &mut Vec<f32>) -> Result<(), ff::Error> {
        for block in samples.chunks(SILENCE * self.from.channels()) {
            let mut frame = ff::frame::Audio::empty();
            // SAFETY: a new frame gets its format and buffers, into which as many samples are written as it has.
            unsafe {
                let raw = frame.as_mut_ptr();
                SampleFormat::float().set_frame(raw);
                (*raw).nb_samples = (block.len() / self.from.channels()) as i32;
                (*raw).sample_rate = i32::try_from(self.from.rate).unwrap_or(48_000);
                self.from.copy_to(&raw mut (*raw).ch_layout);
                let code = ffi::av_frame_get_buffer(raw, 0);
                if code < 0 {
                    return Err(ff::Error::from(code));
                }
                std::slice::from_raw_parts_mut((*raw).data[0].cast::<f32>(), block.len()).copy_from_slice(block);
            }
            self.resampler.convert(&frame, to)?;
        }
        Ok(())
    }

    /// Appends what is left.
    pub(crate) fn finish(self, to: &mut Vec<f32>) {
        self.resampler.finish(to);
    }
}
