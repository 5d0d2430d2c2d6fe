//! From a film and its descriptions to a file: all texts are spoken, the programme is measured, then everything is mixed and
//! written.

use std::path::Path;

use super::options::SpeakOptions;
use super::plan::{PlacedText, SpeechPlan, place};
use crate::address::Address;
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::media::audio_format::{AudioFormat, ChannelPlace};
use crate::media::decode::WholeFilm;
use crate::media::remux::{
    AudioEncoder, FilmText, FilmWriter, NewTrack, Programme, ProgrammeDecoder, WriterPlan, convert_speech, read_texts,
    silence,
};
use crate::media::{AudioCodec, FilmFormat};
use crate::message;
use crate::message::Setting;
use crate::mix::{Audibility, Ducking, LoudnessMeter, MixSpeech, Mixer, Seat, Seats, SpeechWindow, gain, stretch};
use crate::time::Time;
use crate::voice::Speaker;

/// Loudness of descriptions if the programme has none, in LUFS: that of broadcasts (EBU R 128).
const USUAL_LOUDNESS: f64 = -23.0;
/// Louder and quieter programmes do not make descriptions louder and quieter, in LUFS.
const LOUDNESS: (f64, f64) = (-36.0, -12.0);
/// Highest true peak of a track, in dBTP.
const PEAK: f64 = -2.0;
/// How far below it the mix stays, in dB, because a lossy codec changes peaks.
const LOSSY_MARGIN: f64 = 2.0;
/// The same for what is not changed: meters find peaks with filters that differ.
const LOSSLESS_MARGIN: f64 = 0.5;
/// Two channels with the same sound are louder than one by so many dB.
const TWO_CHANNELS: f64 = 3.01;

/// A film and what is to become of it.
pub struct SpeakJob<'a> {
    /// The film.
    pub input: &'a Address,
    /// Its descriptions: WebVTT, SubRip or ASS.
    pub descriptions: &'a Path,
    /// The file to write. The end of its name chooses the container.
    pub output: &'a Path,
    /// Whether a file of that name is replaced.
    pub overwrite: bool,
    /// How it is done.
    pub options: &'a SpeakOptions,
    /// Stops the work.
    pub interrupt: &'a Interrupt,
}

/// What became of the descriptions.
#[derive(Debug, Clone, Default)]
pub struct SpeakReport {
    /// How many are spoken.
    pub spoken: usize,
    /// How many of them are spoken faster, to fit.
    pub faster: usize,
    /// How many of them lost words, to fit.
    pub shortened: usize,
    /// Those without room, and their times.
    pub left_out: Vec<(Time, String)>,
    /// Streams of the film that the container cannot hold, in words.
    pub not_kept: Vec<String>,
    /// What of the film could not be read, in words.
    pub damage: Option<String>,
    /// Whether the film has no sound, so that descriptions are spoken over silence.
    pub is_silent: bool,
}

/// Speaks the descriptions of a film.
///
/// # Errors
/// If the film or the descriptions cannot be read, the voice fails, the output cannot be written, or it cannot hold what the
/// film has. No output is left then.
pub fn speak(job: &SpeakJob<'_>) -> Result<SpeakReport> {
    let options = job.options;
    let (format, codec) = container(job)?;
    let texts = read_texts(job.descriptions, job.interrupt)?;
    if texts.is_empty() {
        let remedy = message!["Make some with ", Setting::Describe, ", or name another file."];
        return Err(Error::input(job.descriptions.display().to_string(), "holds no descriptions", remedy));
    }
    let mut speaker = Speaker::new(&options.voice, job.interrupt)?;
    let mut film = WholeFilm::open(job.input, &options.decode, job.interrupt)?;
    let programme = Programme::choose(&film, options.audio)?;
    let sound = sound_format(&mut film, programme, codec)?;
    let encoder = open_encoder(&sound, codec)?;
    let track = NewTrack {
        language: options.language.tag.clone(),
        title: options.title.clone(),
        is_default: programme.is_none() || !format.is_film(),
    };
    let plan = WriterPlan {
        path: job.output,
        overwrite: job.overwrite,
        format,
        track,
        texts: options.texts.then(|| options.title.clone()),
    };
    // First, so that what the container cannot hold is reported before anything is spoken.
    let writer = FilmWriter::create(&film, &plan, &encoder)?;
    let speech = place(&texts, film.duration(), options, &mut speaker)?;
    let windows = windows(&speech.placed, sound.rate);
    let heard = programme.map(|p| measure(job, p, &sound, windows)).transpose()?.unwrap_or_default();
    let loudness = heard.loudness.unwrap_or(USUAL_LOUDNESS).clamp(LOUDNESS.0, LOUDNESS.1);
    let level = loudness + options.gain - loudness_of(&speech.placed, &mut speaker, &sound)?;
    let ducking = (!options.only).then(|| Ducking::new(options.duck, heard.windows, sound.rate));
    let margin = if codec.is_lossless() { LOSSLESS_MARGIN } else { LOSSY_MARGIN };
    let mut mixdown = Mixdown {
        mixer: Mixer::new(&seats(&sound), sound.rate, ducking, gain(PEAK - margin)),
        encoder,
        writer,
        speaker: &mut speaker,
        placed: &speech.placed,
        texts: &texts,
        level: gain(level) as f32,
        position: 0,
        channels: sound.channels(),
        mixed: Vec::new(),
    };
    let decoded = programme.filter(|_| !options.only);
    let reads_film = format.is_film() || decoded.is_some();
    let broken = if reads_film { mixdown.run(&mut film, decoded, &sound)? } else { 0 };
    let length = heard.frames.max(last_frame(&speech.placed, sound.rate)).max(match programme {
        None => film.duration().map_or(0, |d| frames(d.secs(), sound.rate)),
        Some(_) => 0,
    });
    let not_kept = mixdown.finish(length)?;
    Ok(report(speech, not_kept, damage(&film, broken), programme.is_none()))
}

fn report(speech: SpeechPlan, not_kept: Vec<String>, damage: Option<String>, is_silent: bool) -> SpeakReport {
    let SpeechPlan { placed, faster, shortened, left_out } = speech;
    SpeakReport { spoken: placed.len(), faster, shortened, left_out, not_kept, damage, is_silent }
}

fn damage(film: &WholeFilm, broken: u64) -> Option<String> {
    let sound = (broken > 0).then(|| format!("{broken} packets of sound could not be decoded"));
    let all: Vec<String> = film.damage().chain(sound).collect();
    (!all.is_empty()).then(|| all.join(", "))
}

/// The container and the codec of the output.
fn container(job: &SpeakJob<'_>) -> Result<(FilmFormat, AudioCodec)> {
    let name = job.output.display();
    let format = FilmFormat::of(job.output).ok_or_else(|| {
        let remedy = message!["Name a file with ", Setting::Output, format!(" that ends in {}.", FilmFormat::NAMES)];
        Error::usage(format!("{name}: the end of the name stands for no container that descry writes"), remedy)
    })?;
    if let (Ok(input), Ok(output)) = (Path::new(job.input.reveal()).canonicalize(), job.output.canonicalize())
        && input == output
        && !job.input.is_url()
    {
        let remedy = message!["Name another file with ", Setting::Output, "."];
        return Err(Error::usage(format!("{name}: the output would replace the input"), remedy));
    }
    if job.options.texts && format.has_webvtt().is_none() {
        let remedy = message!["Name an .mkv or an .mp4 with ", Setting::Output, ", or leave the text track out."];
        return Err(Error::usage(format!("{name}: {} cannot hold a text track", format.name()), remedy));
    }
    let codecs = format.codecs();
    let codec = job.options.codec.unwrap_or(codecs[0]);
    if !codecs.contains(&codec) {
        let names: Vec<&str> = codecs.iter().map(|c| c.name()).collect();
        let cause = format!("{name}: {} cannot hold {}", format.name(), codec.name());
        let remedy = message![
            format!("It holds {}: choose that with ", names.join(", ")),
            Setting::AudioCodec,
            ", or another container with ",
            Setting::Output,
            "."
        ];
        return Err(Error::usage(cause, remedy));
    }
    Ok((format, codec))
}

/// The rate and the channels of the new track.
fn sound_format(film: &mut WholeFilm, programme: Option<Programme>, codec: AudioCodec) -> Result<AudioFormat> {
    let Some(programme) = programme else { return Ok(AudioFormat::usual(codec.rate(48_000), 2)) };
    // Nothing is known about what is encrypted, which is the better message.
    let own = programme.format(film).map_err(|e| film.read().err().unwrap_or(e))?;
    let rate = codec.rate(own.rate);
    Ok(if own.channels() > codec.most_channels() { AudioFormat::usual(rate, 2) } else { own.with_rate(rate) })
}

fn open_encoder(sound: &AudioFormat, codec: AudioCodec) -> Result<AudioEncoder> {
    AudioEncoder::open(codec, sound.clone()).map_err(|e| {
        let cause =
            format!("{} with {} channels cannot be encoded by this FFmpeg: {e}", codec.name(), sound.channels());
        Error::usage(cause, message!["Choose another codec with ", Setting::AudioCodec, "."])
    })
}

fn seats(sound: &AudioFormat) -> Seats {
    let places = sound.places();
    if places.len() == 1 {
        return Seats(vec![Seat::Mono]);
    }
    let seat = |place: &ChannelPlace| match place {
        ChannelPlace::FrontLeft => Seat::Left,
        ChannelPlace::FrontRight => Seat::Right,
        ChannelPlace::FrontCentre => Seat::Centre,
        ChannelPlace::Low => Seat::Low,
        ChannelPlace::Around => Seat::Surround,
    };
    Seats(places.iter().map(seat).collect())
}

fn frames(secs: f64, rate: u32) -> u64 {
    (secs * f64::from(rate)).round().max(0.0) as u64
}

fn windows(placed: &[PlacedText], rate: u32) -> Vec<SpeechWindow> {
    let window = |p: &PlacedText| {
        let start = frames(p.start.secs(), rate);
        SpeechWindow { start, end: start + frames(p.secs(), rate).max(1) }
    };
    placed.iter().map(window).collect()
}

/// The frame after the last description.
fn last_frame(placed: &[PlacedText], rate: u32) -> u64 {
    placed.last().map_or(0, |p| frames(p.start.secs() + p.secs(), rate) + 1)
}

/// What the first pass found.
#[derive(Default)]
struct HeardProgramme {
    /// Integrated loudness in LUFS.
    loudness: Option<f64>,
    /// The descriptions under which the programme is not silent.
    windows: Vec<SpeechWindow>,
    frames: u64,
}

/// Measures a programme in a pass of its own.
///
/// The loudness is that of the whole programme, whose gates leave out what is quiet. Where segments of speech are known, only
/// their samples are to go to the meter.
fn measure(
    job: &SpeakJob<'_>,
    programme: Programme,
    sound: &AudioFormat,
    windows: Vec<SpeechWindow>,
) -> Result<HeardProgramme> {
    let mut film = WholeFilm::open(job.input, &job.options.decode, job.interrupt)?;
    film.keep(|stream| stream == programme.stream);
    let mut decoder = ProgrammeDecoder::open(&film, programme, sound.clone())?;
    let mut meter = LoudnessMeter::new(&seats(sound), sound.rate);
    let mut audibility = Audibility::new(windows, sound.channels(), sound.rate);
    let mut frames = 0;
    let mut listen = |samples: &mut [f32]| {
        frames += (samples.len() / sound.channels()) as u64;
        if let Some(meter) = &mut meter {
            meter.push(samples);
        }
        audibility.push(samples);
        Ok(())
    };
    while let Some(packet) = film.read()? {
        if packet.stream() == programme.stream {
            decoder.push(&packet, &mut listen)?;
        }
    }
    decoder.finish(&mut listen)?;
    let loudness = meter.as_ref().and_then(LoudnessMeter::integrated);
    Ok(HeardProgramme { loudness, windows: audibility.finish(), frames })
}

/// Integrated loudness of all descriptions in LUFS, as they would be mixed without a change.
fn loudness_of(placed: &[PlacedText], speaker: &mut Speaker, sound: &AudioFormat) -> Result<f64> {
    let mut meter = LoudnessMeter::new(&Seats(vec![Seat::Mono]), sound.rate);
    let (mut energy, mut count) = (0.0, 0usize);
    for text in placed {
        let samples = samples(text, speaker, sound.rate)?;
        energy += samples.iter().map(|s| f64::from(*s) * f64::from(*s)).sum::<f64>();
        count += samples.len();
        if let Some(meter) = &mut meter {
            meter.push(&samples);
        }
    }
    // Less than 0.4 s in all has no loudness by the standard; its energy is near it.
    let plain = || 10.0 * (energy / count.max(1) as f64).max(1e-9).log10() - 0.7;
    let mono = meter.as_ref().and_then(LoudnessMeter::integrated).unwrap_or_else(plain);
    Ok(if seats(sound).speech().len() == 2 { mono + TWO_CHANNELS } else { mono })
}

/// A description as samples of a rate.
fn samples(text: &PlacedText, speaker: &mut Speaker, rate: u32) -> Result<Vec<f32>> {
    let speech = speaker.load(text.spoken)?;
    let faster = stretch(&speech.samples, speech.rate, text.stretch);
    convert_speech(&faster, speech.rate, rate).map_err(|e| {
        Error::usage(format!("speech of {} Hz cannot be converted: {e}", speech.rate), "Choose another voice.")
    })
}

/// The second pass: programme in, film out.
struct Mixdown<'a> {
    mixer: Mixer,
    encoder: AudioEncoder,
    writer: FilmWriter,
    speaker: &'a mut Speaker,
    /// Descriptions that are not mixed yet.
    placed: &'a [PlacedText],
    /// Texts that are not written yet.
    texts: &'a [FilmText],
    /// Gain of descriptions.
    level: f32,
    position: u64,
    channels: usize,
    mixed: Vec<f32>,
}

impl Mixdown<'_> {
    /// Mixes and writes everything up to the end of the film. Returns how many packets of the programme could not be decoded.
    /// Without a programme, or if only descriptions are to be heard, silence takes its place.
    fn run(&mut self, film: &mut WholeFilm, programme: Option<Programme>, sound: &AudioFormat) -> Result<u64> {
        let mut decoder = programme.map(|p| ProgrammeDecoder::open(film, p, sound.clone())).transpose()?;
        let decoded = programme.map(|p| p.stream);
        film.complete_times();
        film.keep(|stream| Some(stream) == decoded || self.writer.copies(stream));
        while let Some(packet) = film.read()? {
            match &mut decoder {
                Some(decoder) if Some(packet.stream()) == decoded => {
                    decoder.push(&packet, &mut |samples| self.take(samples))?;
                }
                Some(_) => {}
                None => {
                    let time = film.time_of(&packet).unwrap_or_default().secs();
                    self.silence_until(frames(time, sound.rate))?;
                }
            }
            self.writer.copy(packet)?;
        }
        if let Some(decoder) = &mut decoder {
            decoder.finish(&mut |samples| self.take(samples))?;
        }
        Ok(decoder.map_or(0, |decoder| decoder.broken()))
    }

    /// Takes samples of the programme.
    fn take(&mut self, samples: &mut [f32]) -> Result<()> {
        let rate = self.encoder.rate();
        self.position += (samples.len() / self.channels) as u64;
        while let Some((text, rest)) = self.placed.split_first()
            && frames(text.start.secs(), rate) < self.position
        {
            let mut speech = self::samples(text, self.speaker, rate)?;
            speech.iter_mut().for_each(|s| *s *= self.level);
            self.mixer.add(MixSpeech { start: frames(text.start.secs(), rate), samples: speech });
            self.placed = rest;
        }
        while let Some((text, rest)) = self.texts.split_first()
            && frames(text.start.secs(), rate) < self.position
        {
            self.writer.text(text)?;
            self.texts = rest;
        }
        self.mixed.clear();
        self.mixer.mix(samples, &mut self.mixed);
        let mut packets = Vec::new();
        self.encoder.push(&self.mixed, &mut packets).map_err(|e| encoding_failed(&e))?;
        self.writer.sound(&mut packets, rate)
    }

    fn silence_until(&mut self, place: u64) -> Result<()> {
        let (mut position, channels) = (self.position, self.channels);
        silence(&mut position, place, channels, &mut |samples| self.take(samples))
    }

    /// Writes what is left, with silence up to `length` frames. Returns what the container cannot hold.
    fn finish(mut self, length: u64) -> Result<Vec<String>> {
        self.silence_until(length)?;
        let rate = self.encoder.rate();
        let (mut rest, mut packets) = (Vec::new(), Vec::new());
        self.mixer.finish(&mut rest);
        let encoded = self.encoder.push(&rest, &mut packets).and_then(|()| self.encoder.finish(&mut packets));
        encoded.map_err(|e| encoding_failed(&e))?;
        self.writer.sound(&mut packets, rate)?;
        for text in self.texts {
            self.writer.text(text)?;
        }
        let not_kept = self.writer.left_out().to_vec();
        self.writer.finish()?;
        Ok(not_kept)
    }
}

fn encoding_failed(e: &dyn std::fmt::Display) -> Error {
    Error::usage(
        format!("the new track cannot be encoded: {e}"),
        message!["Choose another codec with ", Setting::AudioCodec, "."],
    )
}
