//! The first pass over the programme: how loud its dialogue is, and where it can be heard.
//!
//! Loudness is that of the blocks of EBU R 128 in which somebody talks for at least half of the time, with the gates of the
//! standard. Where too little is said, all blocks count.
//!
//! Memory: blocks that wait until it is known whether somebody talks in them, a few seconds; a bit for each 0.1 s.

use std::collections::VecDeque;

use super::job::SpeakJob;
use super::options::DialogueSource;
use super::setup::seats;
use crate::error::{Error, Result};
use crate::media::audio_format::AudioFormat;
use crate::media::decode::WholeFilm;
use crate::media::remux::{Programme, ProgrammeDecoder, SampleConverter};
use crate::media::{AudioChunk, SideTrackData, sample_time};
use crate::mix::{Audibility, BlockMeter, GatingBlock, IntegratedLoudness};
use crate::speech::{SpeechDetector, SpeechFinder, SpeechLog, SpeechUpdate, Utterance, utterances};
use crate::time::Time;

/// Share of a block in which somebody must talk.
const SPOKEN: f32 = 0.5;
/// Blocks that make a dialogue: 3 s.
const DIALOGUE: u64 = 30;

/// What the first pass found.
pub(super) struct MeasuredProgramme {
    /// Loudness of the dialogue in LUFS; none if too little is said, or it is not known.
    pub(super) dialogue: Option<f64>,
    /// Loudness of everything in LUFS; none for silence.
    pub(super) everything: Option<f64>,
    pub(super) audibility: Audibility,
    pub(super) frames: u64,
    /// Where people talk, in order; none if it is not known.
    pub(super) speech: Option<Vec<Utterance>>,
    /// Why that is not known, in words.
    pub(super) fault: Option<String>,
}

/// Measures a programme in a pass of its own. `speech`: where people talk, if that is known already.
///
/// # Errors
/// If the film or its subtitles cannot be read, or the detector of speech fails.
pub(super) fn measure(
    job: &SpeakJob<'_>,
    programme: Programme,
    format: &AudioFormat,
    speech: Option<Vec<Utterance>>,
) -> Result<MeasuredProgramme> {
    let known = match speech {
        Some(speech) => Some(speech),
        None => subtitles(job)?,
    };
    // Without ONNX Runtime, films can still be spoken.
    let (mut detector, fault) = match known.is_none().then(SpeechDetector::load) {
        None => (None, None),
        Some(Ok(detector)) => (Some(detector), None),
        Some(Err(e)) => (None, Some(e.to_string())),
    };
    let mut talk = TalkMeter::new(known, detector.as_mut(), format)?;
    let mut film = WholeFilm::open(job.input, &job.options.decode, job.interrupt)?;
    film.keep(|stream| stream == programme.stream);
    let mut decoder = ProgrammeDecoder::open(&film, programme, format.clone())?;
    let mut meter = BlockMeter::new(&seats(format), format.rate);
    let mut audibility = Audibility::new(format.channels(), format.rate);
    let mut frames = 0;
    let mut take = |samples: &mut [f32]| {
        frames += (samples.len() / format.channels()) as u64;
        if let Some(meter) = &mut meter {
            meter.push(samples, |block| talk.waiting.push_back(block));
        }
        audibility.push(samples);
        talk.push(samples)
    };
    while let Some(packet) = film.read()? {
        if packet.stream() == programme.stream {
            decoder.push(&packet, &mut take)?;
        }
    }
    decoder.finish(&mut take)?;
    audibility.finish();
    let (everything, dialogue, speech) = talk.finish()?;
    let dialogue = (dialogue.blocks() >= DIALOGUE).then(|| dialogue.value()).flatten();
    Ok(MeasuredProgramme { dialogue, everything: everything.value(), audibility, frames, speech, fault })
}

/// Where people talk by subtitles, if the caller has chosen some.
fn subtitles(job: &SpeakJob<'_>) -> Result<Option<Vec<Utterance>>> {
    let whole = (Time::ZERO, Time::MAX);
    Ok(match &job.options.dialogue {
        DialogueSource::Programme => None,
        DialogueSource::File(dialogue) => Some(utterances(&dialogue.lines, whole)),
        DialogueSource::Subtitles(track) => {
            let film = WholeFilm::open(job.input, &job.options.decode, job.interrupt)?;
            Some(utterances(&film.into_dialogue(track)?, whole))
        }
    })
}

/// Follows where people talk, and sorts blocks by it.
struct TalkMeter<'d> {
    /// None if nothing is known.
    log: Option<SpeechLog>,
    found: Vec<Utterance>,
    /// With what speech is found; none if it is known, or cannot be found.
    finder: Option<(SpeechFinder<'d>, SampleConverter)>,
    /// Samples for the detector so far.
    position: u64,
    rate: u32,
    /// Blocks of which it is not known yet whether somebody talks in them.
    waiting: VecDeque<GatingBlock>,
    everything: IntegratedLoudness,
    dialogue: IntegratedLoudness,
}

impl<'d> TalkMeter<'d> {
    fn new(
        known: Option<Vec<Utterance>>,
        detector: Option<&'d mut SpeechDetector>,
        format: &AudioFormat,
    ) -> Result<TalkMeter<'d>> {
        let converter = detector.is_some().then(|| SampleConverter::for_speech(format.clone()));
        let converter = converter.transpose().map_err(|e| not_converted(&e))?;
        let finder = detector.map(SpeechFinder::new).zip(converter);
        let found = known.clone().unwrap_or_default();
        let log = match known {
            Some(known) => Some(SpeechLog::whole(known)),
            None => finder.is_some().then(SpeechLog::default),
        };
        Ok(TalkMeter {
            log,
            found,
            finder,
            position: 0,
            rate: format.rate,
            waiting: VecDeque::new(),
            everything: IntegratedLoudness::default(),
            dialogue: IntegratedLoudness::default(),
        })
    }

    /// Takes samples of the programme.
    fn push(&mut self, samples: &[f32]) -> Result<()> {
        if let Some((finder, converter)) = &mut self.finder {
            let mut mono = Vec::new();
            converter.push(samples, &mut mono).map_err(|e| not_converted(&e))?;
            let update = finder.push(&chunk(&mut self.position, mono))?;
            self.update(update);
        }
        self.sort();
        Ok(())
    }

    fn update(&mut self, update: SpeechUpdate) {
        self.found.extend(&update.ended);
        if let Some(log) = &mut self.log {
            log.update(update);
        }
    }

    /// Counts the blocks of which everything is known.
    fn sort(&mut self) {
        let time = |frame: u64| Time::from_secs(frame as f64 / f64::from(self.rate));
        while let Some(block) = self.waiting.front() {
            let (start, end) = (time(block.start), time(block.end));
            let share = match &self.log {
                Some(log) if !log.knows(end) => return,
                Some(log) => log.share(start, end).unwrap_or(0.0),
                None => 0.0,
            };
            self.everything.add(block.loudness);
            if share >= SPOKEN {
                self.dialogue.add(block.loudness);
            }
            self.waiting.pop_front();
        }
    }

    /// Ends the programme. Returns the loudness of everything and of the dialogue, and where people talk.
    fn finish(mut self) -> Result<(IntegratedLoudness, IntegratedLoudness, Option<Vec<Utterance>>)> {
        if let Some((mut finder, converter)) = self.finder.take() {
            let mut mono = Vec::new();
            converter.finish(&mut mono);
            let update = finder.push(&chunk(&mut self.position, mono))?;
            self.update(update);
            let last = finder.finish()?;
            self.update(SpeechUpdate { until: Time::MAX, ..last });
        }
        self.sort();
        Ok((self.everything, self.dialogue, self.log.map(|_| self.found)))
    }
}

/// Samples as the detector takes them.
fn chunk(position: &mut u64, samples: Vec<f32>) -> SideTrackData {
    let start = *position;
    *position += samples.len() as u64;
    let audio = if samples.is_empty() { Vec::new() } else { vec![AudioChunk { start, samples }] };
    SideTrackData { audio, until: sample_time(*position), ..SideTrackData::default() }
}

fn not_converted(e: &dyn std::fmt::Display) -> Error {
    Error::runtime(
        format!("the film's sound cannot be prepared for the detector of speech: {e}"),
        "Report this, with the film.",
    )
}
