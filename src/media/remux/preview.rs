//! A film as a browser plays it: WebM with VP8 and Opus, small, written while it is watched.
//!
//! Times in the stream are those of the film, so that a browser can join streams that begin at different times. A cluster is
//! written every second, and each begins with a keyframe. Nothing is sought in what was written.
//!
//! Memory: three pictures, and what FFmpeg holds to interleave the two tracks: at most 2 s of them.

use std::io::Write;

use ffmpeg_next as ff;
use ffmpeg_next::ffi;
use ffmpeg_next::format::context::{Output, StreamIo};
use ffmpeg_next::packet::Mut;

use super::encoder::AudioEncoder;
use super::encoder_context::EncoderContext;
use super::format::AudioCodec;
use super::picture_encoder::{PictureScaler, VP8};
use super::ticks::in_ticks;
use super::writer::new_stream;
use crate::media::audio_format::AudioFormat;
use crate::media::decode::init;
use crate::media::ffmpeg::{PixelFormat, ScalerSide, set_encoder_format, set_encoder_matrix};
use crate::media::rgb::Rgb;
use crate::media::side_track::{PROGRAMME_CHANNELS, PROGRAMME_RATE, ProgrammeChunk};
use crate::time::Time;

/// Bytes that are handed on at once.
const BUFFER: usize = 32 << 10;
/// Bits a second of pictures of 854 × 480. Smaller ones get their share.
const BIT_RATE: i64 = 1_200_000;
/// Time between keyframes, in milliseconds: a browser can begin at each.
const CLUSTER_MS: i64 = 1_000;
/// Browsers take pictures that are farther apart for a hole in the film, and wait for a keyframe: so a picture is repeated
/// then, at this distance. In milliseconds.
const FARTHEST_MS: i64 = 80;
const STEP_MS: i64 = 40;
/// Longest time for which a picture is repeated, in milliseconds.
const LONGEST_FILL_MS: i64 = 10_000;
/// Sound that starts this much too late or too early is moved into its place.
const TOLERANCE: i64 = PROGRAMME_RATE as i64 / 25;
/// Longest gap in the sound that is filled with silence, in seconds; after a longer one the clock of the film is broken.
const LONGEST_GAP: i64 = 600;
/// Times of pictures are milliseconds, as in WebM.
const MILLIS: ff::Rational = ff::Rational(1, 1_000);

/// Writes a film for a browser.
pub(crate) struct PreviewEncoder {
    output: Output,
    pictures: EncoderContext,
    scaler: Option<PictureScaler>,
    size: (u32, u32),
    /// The time of the last picture in milliseconds, and the picture.
    last: Option<(i64, ff::frame::Video)>,
    /// The time of the last keyframe that was asked for, in milliseconds.
    keyframe: Option<i64>,
    sound: Option<PreviewSound>,
}

/// The track of sound.
struct PreviewSound {
    encoder: AudioEncoder,
    /// The sample, counted from the start of the film's clock, that the encoder's first one is.
    begins: i64,
    /// The sample after the last one.
    next: i64,
}

impl PreviewEncoder {
    /// Writes the header. `size`: width and height of the first picture in pixels, which all others are scaled to. `start`:
    /// the time at which the stream begins. `bare`: without a track of sound.
    ///
    /// # Errors
    /// If this FFmpeg cannot encode VP8 or Opus, or nothing can be written.
    pub(crate) fn new(
        to: impl Write + Send + 'static,
        size: (u32, u32),
        start: Time,
        bare: bool,
    ) -> Result<PreviewEncoder, ff::Error> {
        init();
        // Halves of each side hold the colours.
        let size = ((size.0 & !1).max(2), (size.1 & !1).max(2));
        let pictures = open_pictures(size)?;
        let sound = (!bare).then(|| {
            let format = AudioFormat::usual(PROGRAMME_RATE, PROGRAMME_CHANNELS as u32);
            let begins = samples_at(start);
            AudioEncoder::open(AudioCodec::Opus, format).map(|encoder| PreviewSound { encoder, begins, next: begins })
        });
        let sound = sound.transpose()?;
        let io = StreamIo::from_write_with_capacity(to, BUFFER)?;
        let mut output = ff::format::output_to_stream(io, None, Some("webm"))?;
        // SAFETY: plain writes to fields of a valid output, and new streams of it, which it owns.
        unsafe {
            let raw = output.as_mut_ptr();
            (*raw).flags |= ffi::AVFMT_FLAG_BITEXACT | ffi::AVFMT_FLAG_FLUSH_PACKETS;
            (*raw).avoid_negative_ts = 0;
            (*raw).max_interleave_delta = 2_000_000;
            add_stream(&mut output, MILLIS, |parameters| pictures.describe(parameters))?;
            if let Some(sound) = &sound {
                add_stream(&mut output, SAMPLES, |parameters| sound.encoder.describe(parameters))?;
            }
        }
        let mut options = ff::Dictionary::new();
        options.set("live", "1");
        options.set("cluster_time_limit", &CLUSTER_MS.to_string());
        output.write_header_with(options)?;
        Ok(PreviewEncoder { output, pictures, scaler: None, size, last: None, keyframe: None, sound })
    }

    /// Writes a picture that is shown from a time on. One that is not later than the one before is left out.
    ///
    /// # Errors
    /// If it cannot be encoded or written: also when nobody reads any more.
    pub(crate) fn picture(&mut self, picture: &Rgb, time: Time) -> Result<(), ff::Error> {
        let at = time.millis();
        let last = self.last.take();
        if let Some((before, mut shown)) = last {
            if at <= before {
                self.last = Some((before, shown));
                return Ok(());
            }
            // A longer gap is a hole in the film, after which a browser begins anew.
            let mut filled = before;
            while at - filled > FARTHEST_MS && at - before <= LONGEST_FILL_MS {
                filled += STEP_MS;
                self.encode(&mut shown, filled)?;
            }
        }
        let mut frame = self.fitting(picture)?;
        self.encode(&mut frame, at)?;
        self.last = Some((at, frame));
        Ok(())
    }

    fn encode(&mut self, frame: &mut ff::frame::Video, at: i64) -> Result<(), ff::Error> {
        let is_due = self.keyframe.is_none_or(|keyframe| at - keyframe >= CLUSTER_MS);
        if is_due {
            self.keyframe = Some(at);
        }
        frame.set_kind(if is_due { ff::picture::Type::I } else { ff::picture::Type::None });
        frame.set_pts(Some(at));
        let mut packets = Vec::new();
        // SAFETY: an open encoder and a valid frame.
        unsafe { self.pictures.encode(frame.as_ptr(), &mut packets)? };
        self.write(packets, 0, MILLIS, 0)
    }

    /// Writes sound. Gaps become silence; what comes twice is left out.
    ///
    /// # Errors
    /// As [`PreviewEncoder::picture`].
    pub(crate) fn sound(&mut self, chunk: &ProgrammeChunk) -> Result<(), ff::Error> {
        let Some(sound) = &mut self.sound else { return Ok(()) };
        let from = samples_at(chunk.pts);
        let ahead = from - sound.next;
        let mut samples = &chunk.samples[..];
        let mut packets = Vec::new();
        if ahead > TOLERANCE {
            let silence = ahead.min(LONGEST_GAP * i64::from(PROGRAMME_RATE));
            // In blocks, so that a long gap does not take more memory than a short one.
            let block = vec![0.0; PROGRAMME_RATE as usize * PROGRAMME_CHANNELS];
            let mut left = silence as usize * PROGRAMME_CHANNELS;
            while left > 0 {
                let now = left.min(block.len());
                sound.encoder.push(&block[..now], &mut packets)?;
                left -= now;
            }
            sound.next += silence;
        } else if ahead < -TOLERANCE {
            let twice = usize::try_from(-ahead).unwrap_or(usize::MAX).saturating_mul(PROGRAMME_CHANNELS);
            samples = samples.get(twice..).unwrap_or_default();
        }
        sound.next += (samples.len() / PROGRAMME_CHANNELS) as i64;
        sound.encoder.push(samples, &mut packets)?;
        let begins = sound.begins;
        self.write(packets, 1, SAMPLES, begins)
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// As [`PreviewEncoder::picture`].
    pub(crate) fn finish(mut self) -> Result<(), ff::Error> {
        let mut packets = Vec::new();
        // SAFETY: an open encoder; null ends the stream.
        unsafe { self.pictures.encode(std::ptr::null(), &mut packets)? };
        self.write(packets, 0, MILLIS, 0)?;
        if let Some(sound) = &mut self.sound {
            let mut packets = Vec::new();
            sound.encoder.finish(&mut packets)?;
            let begins = sound.begins;
            self.write(packets, 1, SAMPLES, begins)?;
        }
        self.output.write_trailer()
    }

    /// Writes packets of a stream, with times in ticks that are counted from `begins`.
    fn write(
        &mut self,
        packets: Vec<ff::Packet>,
        stream: usize,
        tick: ff::Rational,
        begins: i64,
    ) -> Result<(), ff::Error> {
        for mut packet in packets {
            packet.set_pts(packet.pts().map(|t| t + begins));
            packet.set_dts(packet.dts().map(|t| t + begins));
            // The encoder's delay before the start of the film.
            if packet.pts().is_some_and(|t| t < 0) {
                continue;
            }
            let to = self.output.stream(stream).map_or(MILLIS, |stream| stream.time_base());
            packet.rescale_ts(tick, to);
            packet.set_stream(stream);
            // SAFETY: a valid output with its header, and a valid packet, whose content the output takes over.
            let code = unsafe { ffi::av_interleaved_write_frame(self.output.as_mut_ptr(), packet.as_mut_ptr()) };
            if code < 0 {
                return Err(ff::Error::from(code));
            }
        }
        Ok(())
    }

    /// The picture in the size and the format of the encoder.
    fn fitting(&mut self, picture: &Rgb) -> Result<ff::frame::Video, ff::Error> {
        let mut frame = ff::frame::Video::new(ff::format::Pixel::RGB24, picture.width, picture.height);
        let row = picture.width as usize * 3;
        let stride = frame.stride(0);
        for (to, from) in frame.data_mut(0).chunks_mut(stride).zip(picture.data.chunks(row)) {
            to[..from.len()].copy_from_slice(from);
        }
        let side =
            |(width, height): (u32, u32), format| ScalerSide { width: width as i32, height: height as i32, format };
        let own = side((picture.width, picture.height), PixelFormat::RGB24);
        let to = side(self.size, PixelFormat::YUV420P);
        let scaler = match &mut self.scaler {
            Some(scaler) if scaler.is_from(own) => scaler,
            other => other.insert(PictureScaler::new(own, to)?),
        };
        scaler.scale(&frame)
    }
}

const SAMPLES: ff::Rational = ff::Rational(1, PROGRAMME_RATE as i32);

/// The sample of a time, counted from the start of the film's clock.
fn samples_at(time: Time) -> i64 {
    in_ticks(time, SAMPLES)
}

fn open_pictures(size: (u32, u32)) -> Result<EncoderContext, ff::Error> {
    let mut context = EncoderContext::new(VP8)?;
    // SAFETY: a valid context, which is not open yet.
    unsafe {
        let raw = context.as_ptr();
        ((*raw).width, (*raw).height) = (size.0 as i32, size.1 as i32);
        set_encoder_format(raw, PixelFormat::YUV420P);
        set_encoder_matrix(raw);
        (*raw).time_base = MILLIS.into();
        let pixels = i64::from(size.0) * i64::from(size.1);
        (*raw).bit_rate = (BIT_RATE * pixels / (854 * 480)).clamp(100_000, 4 * BIT_RATE);
        (*raw).thread_count = 2;
        // Keyframes come when they are asked for.
        (*raw).gop_size = 10_000;
    }
    let mut options = ff::Dictionary::new();
    options.set("deadline", "realtime");
    options.set("cpu-used", "8");
    options.set("lag-in-frames", "0");
    context.open(options)?;
    Ok(context)
}

/// Adds a stream to an output, with the parameters that `describe` fills in.
///
/// # Safety
/// The output must have no header yet.
unsafe fn add_stream(
    output: &mut Output,
    tick: ff::Rational,
    describe: impl FnOnce(*mut ffi::AVCodecParameters) -> i32,
) -> Result<(), ff::Error> {
    // SAFETY: a new stream, whose parameters are valid.
    let code = unsafe { describe((*new_stream(output, tick, 0)?).codecpar) };
    if code < 0 { Err(ff::Error::from(code)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Bytes(Arc<Mutex<Vec<u8>>>);

    impl Write for Bytes {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// A reader that has gone.
    struct Gone;

    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn picture(side: u32, value: u8) -> Rgb {
        Rgb { width: side * 2, height: side, data: vec![value; (side * side * 6) as usize] }
    }

    fn second(at: i64) -> ProgrammeChunk {
        let samples = vec![0.1; PROGRAMME_RATE as usize * PROGRAMME_CHANNELS];
        ProgrammeChunk { pts: Time::from_millis(at), samples }
    }

    #[test]
    fn a_browser_gets_clusters_with_the_times_of_the_film() {
        let bytes = Bytes::default();
        let mut preview = PreviewEncoder::new(bytes.clone(), (91, 51), Time::from_millis(5_000), false).unwrap();
        for n in 0..75 {
            // Another size in the middle of the film, and a time that stands still.
            let side = if n < 40 { 51 } else { 64 };
            preview.picture(&picture(side, n as u8), Time::from_millis(5_000 + n / 2 * 80)).unwrap();
        }
        // A gap of a second, then half a second twice.
        [5_000, 7_000, 7_500].into_iter().for_each(|at| preview.sound(&second(at)).unwrap());
        preview.finish().unwrap();
        let written = bytes.0.lock().unwrap().clone();
        let clusters = written.windows(4).filter(|w| *w == [0x1f, 0x43, 0xb6, 0x75]).count();
        assert!((3..=5).contains(&clusters), "{clusters}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.webm");
        std::fs::write(&path, written).unwrap();
        let mut input = ff::format::input(&path).unwrap();
        let mut times = [Vec::new(), Vec::new()];
        for (stream, packet) in input.packets() {
            assert_eq!(stream.time_base(), MILLIS);
            times[stream.index()].push((packet.pts().unwrap(), packet.is_key()));
        }
        let [pictures, sound] = times;
        assert_eq!((pictures[0], pictures.len(), pictures[37].0), ((5_000, true), 38, 7_960));
        let keys: Vec<i64> = pictures.iter().filter(|p| p.1).map(|p| p.0).collect();
        assert_eq!(keys, [5_000, 6_040, 7_080]);
        let (first, last) = (sound[0].0, sound.last().unwrap().0);
        assert!((4_980..=5_000).contains(&first) && (8_460..=8_520).contains(&last), "{first} {last}");
        assert!(sound.windows(2).all(|pair| (pair[1].0 - pair[0].0) <= 21));
    }

    #[test]
    fn few_pictures_are_repeated_so_that_browsers_see_no_hole() {
        let bytes = Bytes::default();
        let mut preview = PreviewEncoder::new(bytes.clone(), (64, 36), Time::ZERO, true).unwrap();
        for at in [0, 200, 1_000, 60_000] {
            preview.picture(&picture(36, at as u8), Time::from_millis(at)).unwrap();
        }
        preview.finish().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.webm");
        std::fs::write(&path, &*bytes.0.lock().unwrap()).unwrap();
        let mut input = ff::format::input(&path).unwrap();
        let times: Vec<(i64, bool)> = input.packets().map(|(_, p)| (p.pts().unwrap(), p.is_key())).collect();
        let far = times.windows(2).filter(|pair| pair[1].0 - pair[0].0 > FARTHEST_MS).count();
        assert_eq!((far, times.last()), (1, Some(&(60_000, true))), "{times:?}");
        assert!([0, 200, 1_000].iter().all(|at| times.iter().any(|time| time.0 == *at)), "{times:?}");
    }

    #[test]
    fn a_reader_that_has_gone_ends_the_work() {
        let gone = PreviewEncoder::new(Gone, (64, 36), Time::ZERO, true).and_then(|mut preview| {
            (0..100).try_for_each(|n| preview.picture(&picture(36, n as u8), Time::from_millis(n * 40)))
        });
        assert!(gone.is_err());
    }
}
