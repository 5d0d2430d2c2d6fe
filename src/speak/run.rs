//! From a film and its descriptions to a file: the programme is measured, all texts are spoken, then everything is mixed and
//! written.

use super::job::{DescribedFilm, DescriptionSource, SpeakJob, SpeakReport, of_track};
use super::measure::{MeasuredProgramme, measure};
use super::mixdown::{FinishedFilm, Mixdown, MixedTrack, samples};
use super::other_sound::OtherSound;
use super::plan::{PlacedText, PlanLimits, SpeechPlan, joined, place};
use super::setup::{SpeakSetup, frames, pauses_in_frames, seats};
use crate::error::Result;
use crate::media::decode::WholeFilm;
use crate::media::remux::{
    AudioEncoder, FilmPauses, FilmText, FilmWriter, NewTrack, ProgrammeDecoder, RoundTrip, WriterPlan,
};
use crate::mix::{Ducking, LoudnessMeter, Mixer, PausedProgramme, Seat, Seats, SpeechWindow, TruePeakMeter, gain};
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
/// How far below it a decoded track must stay, in dB, for the same reason.
const METER_MARGIN: f64 = 0.1;
/// How often a track is mixed that exceeds it.
const ATTEMPTS: usize = 3;
/// Two channels with the same sound are louder than one by so many dB.
const TWO_CHANNELS: f64 = 3.01;

/// Speaks the descriptions of a film.
///
/// # Errors
/// If the film or the descriptions cannot be read, the voice fails, the output cannot be written, or it cannot hold what the
/// film has. No output is left then.
pub fn speak(job: &SpeakJob<'_>) -> Result<SpeakReport> {
    let options = job.options;
    super::setup::container(job)?;
    let read = job.descriptions.read(job.interrupt)?;
    let mut speaker = Speaker::new(&options.voice, job.interrupt)?;
    let mut film = open(job)?;
    let setup = SpeakSetup::new(job, &mut film)?;
    // What the container cannot hold is reported before anything is described or spoken.
    let pauses = options.extended.then(FilmPauses::default);
    let others = OtherSound::all(&film, &setup, pauses.as_ref());
    drop(writer(job, &setup, &film, pauses.as_ref(), (&setup.encoder()?, &others))?);
    let encodes = options.extended && writer(job, &setup, &film, None, (&setup.encoder()?, &[])).is_err();
    let described = describe(job, read, &mut speaker)?;
    let programme = match setup.programme {
        Some(programme) => Some(measure(job, programme, &setup.audio, described.speech)?),
        None => None,
    };
    let limits = PlanLimits {
        end: film.duration(),
        speech: programme.as_ref().and_then(|p| p.speech.as_deref()).unwrap_or_default(),
        frame_rate: film.frame_rate().filter(|_| setup.format.is_film()),
    };
    let speech = place(&described.texts, &limits, options, &mut speaker)?;
    let mix = FilmMix {
        job,
        setup: &setup,
        programme: programme.as_ref(),
        speech: &speech,
        texts: shifted(&described.texts, &speech),
        encodes,
    };
    let level = mix.level(&mut speaker)?;
    let lossless = setup.codec.is_lossless();
    let mut ceiling = PEAK - if lossless { LOSSLESS_MARGIN } else { LOSSY_MARGIN };
    let mut attempts = 1;
    let (done, film) = loop {
        let (done, film) = mix.run(&mut speaker, level, ceiling)?;
        let excess = done.peak.map_or(0.0, |peak| peak - PEAK + METER_MARGIN);
        if excess <= 0.0 || attempts == ATTEMPTS {
            break (done, film);
        }
        // What was written goes.
        attempts += 1;
        ceiling -= excess + METER_MARGIN;
    };
    let report = report(&mix, &done, damage(&film, &done));
    done.writer.finish()?;
    Ok(report)
}

fn open(job: &SpeakJob<'_>) -> Result<WholeFilm> {
    WholeFilm::open(job.input, &job.options.decode, job.interrupt)
}

/// The descriptions. A voice that does not work is found before a film is described for an hour.
fn describe(job: &SpeakJob<'_>, read: Option<DescribedFilm>, speaker: &mut Speaker) -> Result<DescribedFilm> {
    if let Some(described) = read {
        if let Some(first) = joined(&described.texts).first() {
            speaker.speak(&first.text, 1.0)?;
        }
        return Ok(described);
    }
    let DescriptionSource::Describer(describer) = job.descriptions else {
        return Ok(DescribedFilm { texts: Vec::new(), speech: None });
    };
    speaker.speak(&job.options.title, 1.0)?;
    of_track(describer()?)
}

fn writer(
    job: &SpeakJob<'_>,
    setup: &SpeakSetup,
    film: &WholeFilm,
    pauses: Option<&FilmPauses>,
    (encoder, others): (&AudioEncoder, &[OtherSound]),
) -> Result<FilmWriter> {
    let options = job.options;
    let track = NewTrack {
        language: options.language.tag.clone(),
        title: options.title.clone(),
        is_default: setup.programme.is_none() || !setup.format.is_film() || pauses.is_some(),
    };
    let plan = WriterPlan {
        path: job.output,
        overwrite: job.overwrite,
        format: setup.format,
        track,
        texts: options.texts.then(|| options.title.clone()),
        programme: setup.programme.map(|programme| programme.stream),
        pauses: pauses.cloned(),
        other_sound: others.iter().map(OtherSound::encoder).collect(),
        quality: options.quality,
    };
    FilmWriter::create(film, &plan, encoder)
}

/// The texts in the time of the output.
fn shifted(texts: &[FilmText], speech: &SpeechPlan) -> Vec<FilmText> {
    let pauses = &speech.pauses;
    let text = |text: &FilmText| FilmText {
        start: pauses.shifted(text.start),
        end: pauses.shifted(text.end),
        text: text.text.clone(),
    };
    texts.iter().map(text).collect()
}

/// What is mixed, once everything is known.
struct FilmMix<'a> {
    job: &'a SpeakJob<'a>,
    setup: &'a SpeakSetup,
    programme: Option<&'a MeasuredProgramme>,
    speech: &'a SpeechPlan,
    texts: Vec<FilmText>,
    /// The container cannot hold the pictures as they are, so they are encoded even if nothing pauses.
    encodes: bool,
}

impl FilmMix<'_> {
    /// Gain of descriptions, in dB.
    fn level(&self, speaker: &mut Speaker) -> Result<f64> {
        let programme = self.programme.and_then(|p| p.dialogue.or(p.everything));
        let loudness = programme.unwrap_or(USUAL_LOUDNESS).clamp(LOUDNESS.0, LOUDNESS.1);
        Ok(loudness + self.job.options.gain - self.loudness_of_speech(speaker)?)
    }

    /// Integrated loudness of all descriptions in LUFS, as they would be mixed without a change.
    fn loudness_of_speech(&self, speaker: &mut Speaker) -> Result<f64> {
        let audio = &self.setup.audio;
        let mut meter = LoudnessMeter::new(&Seats(vec![Seat::Mono]), audio.rate);
        let (mut energy, mut count) = (0.0, 0usize);
        for text in &self.speech.placed {
            let samples = samples(text, speaker, audio.rate)?;
            energy += samples.iter().map(|s| f64::from(*s) * f64::from(*s)).sum::<f64>();
            count += samples.len();
            if let Some(meter) = &mut meter {
                meter.push(&samples);
            }
        }
        // Less than 0.4 s in all has no loudness by the standard; its energy is near it.
        let plain = || 10.0 * (energy / count.max(1) as f64).max(1e-9).log10() - 0.7;
        let mono = meter.as_ref().and_then(LoudnessMeter::integrated).unwrap_or_else(plain);
        Ok(if seats(audio).speech().len() == 2 { mono + TWO_CHANNELS } else { mono })
    }

    /// Where the programme is turned down.
    fn windows(&self) -> Vec<SpeechWindow> {
        let rate = self.setup.audio.rate;
        let window = |start: Time, secs: f64| {
            let start = frames(start.secs(), rate);
            SpeechWindow { start, end: start + frames(secs, rate).max(1) }
        };
        let is_audible = |p: &&PlacedText| {
            let during = window(p.film_start, p.secs() - p.pause.secs());
            self.programme.is_some_and(|programme| programme.audibility.is_audible(during))
        };
        self.speech.placed.iter().filter(is_audible).map(|p| window(p.start, p.secs())).collect()
    }

    /// Mixes and writes everything, with true peaks below `ceiling`, in dBTP, before the track is encoded. `level`: gain of
    /// descriptions, in dB.
    fn run(&self, speaker: &mut Speaker, level: f64, ceiling: f64) -> Result<(FinishedFilm, WholeFilm)> {
        let (setup, options) = (self.setup, self.job.options);
        let (audio, rate) = (&setup.audio, setup.audio.rate);
        let mut film = open(self.job)?;
        let encoder = setup.encoder()?;
        let pauses = Some(&self.speech.pauses).filter(|pauses| self.encodes || !pauses.is_empty());
        let others = OtherSound::all(&film, setup, pauses);
        let writer = writer(self.job, setup, &film, pauses, (&encoder, &others))?;
        let decoded = (!setup.codec.is_lossless()).then(|| RoundTrip::of(&encoder, audio.clone())).flatten();
        let decoded = decoded.map(|decoder| (decoder, TruePeakMeter::new(audio.channels(), gain(PEAK))));
        let ducking = (!options.only).then(|| Ducking::new(options.duck, self.windows(), rate));
        let mixdown = Mixdown {
            paused: PausedProgramme::new(pauses_in_frames(&self.speech.pauses, rate), audio.channels(), rate),
            track: MixedTrack {
                mixer: Mixer::new(&seats(audio), rate, ducking, gain(ceiling)),
                encoder,
                writer,
                speaker,
                placed: &self.speech.placed,
                texts: &self.texts,
                level: gain(level) as f32,
                channels: audio.channels(),
                position: 0,
                last: 0,
                decoded,
            },
            others,
        };
        let programme = setup.programme.filter(|_| !options.only);
        let decoder = programme.map(|p| ProgrammeDecoder::open(&film, p, audio.clone())).transpose()?;
        let length = match self.programme {
            Some(programme) => programme.frames,
            None => film.duration().map_or(0, |d| frames(d.secs(), rate)),
        };
        let done = if setup.format.is_film() || programme.is_some() {
            mixdown.run(&mut film, programme, decoder, length)?
        } else {
            mixdown.run_silent(length)?
        };
        Ok((done, film))
    }
}

fn report(mix: &FilmMix<'_>, done: &FinishedFilm, damage: Option<String>) -> SpeakReport {
    let SpeechPlan { placed, faster, shortened, left_out, pauses } = mix.speech;
    SpeakReport {
        spoken: placed.len(),
        faster: *faster,
        shortened: *shortened,
        left_out: left_out.clone(),
        pauses: (pauses.count(), pauses.total()),
        not_kept: done.writer.left_out().to_vec(),
        converted: done.writer.converted().to_vec(),
        not_paused: done.writer.not_paused().to_vec(),
        damage,
        is_silent: mix.programme.is_none(),
        speech_fault: mix.programme.and_then(|p| p.fault.clone()),
        dialogue: mix.programme.and_then(|p| p.dialogue),
        peak: done.peak,
    }
}

fn damage(film: &WholeFilm, done: &FinishedFilm) -> Option<String> {
    let lost = [("sound", done.broken), ("pictures", done.writer.broken_pictures())];
    let lost = lost.into_iter().filter(|(_, broken)| *broken > 0);
    let lost = lost.map(|(what, broken)| format!("{broken} packets of {what} could not be decoded"));
    let texts = done.writer.lost_texts();
    let texts = (texts > 0).then(|| format!("{texts} packets of subtitles could not be converted"));
    let all: Vec<String> = film.damage().chain(lost).chain(texts).collect();
    (!all.is_empty()).then(|| all.join(", "))
}
