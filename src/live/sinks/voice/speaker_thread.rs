//! The thread in which a voice speaks descriptions, one after another, so that nothing else waits for it.
//!
//! Memory: [`WAITING`] texts, and as many descriptions as sound of [`LONGEST`] at most.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use super::mix::LiveSpeech;
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::media::PROGRAMME_RATE;
use crate::media::remux::convert_speech;
use crate::mix::{LoudnessMeter, Seat, Seats};
use crate::voice::{Speaker, VoiceOptions};

/// Texts that wait to be spoken, and descriptions that wait to be taken.
const WAITING: usize = 4;
/// A description is cut off after this.
pub(super) const LONGEST: Duration = Duration::from_secs(30);
/// What is spoken before anything is connected to, to see whether the voice works.
const TRIAL: &str = "Audio description.";

/// A text to be spoken.
struct SpeechRequest {
    stream: Arc<str>,
    text: String,
    arrived: Instant,
}

/// What became of a text.
pub(super) struct SpeechAnswer {
    pub(super) stream: Arc<str>,
    pub(super) speech: Result<LiveSpeech>,
}

/// A voice in its thread.
pub(super) struct SpeakerThread {
    requests: Option<Sender<SpeechRequest>>,
    /// The other end, from which the oldest text is taken when there is no room.
    waiting: Receiver<SpeechRequest>,
    answers: Receiver<SpeechAnswer>,
    /// Texts whose answers have not been taken.
    pending: usize,
    interrupt: Interrupt,
    thread: Option<JoinHandle<()>>,
}

impl SpeakerThread {
    /// Has the voice speak once, and starts the thread.
    ///
    /// # Errors
    /// If the voice does not work.
    pub(super) fn start(options: &VoiceOptions) -> Result<SpeakerThread> {
        let interrupt = Interrupt::new();
        let speaker = Speaker::new(options, &interrupt)?;
        speaker.speak_once(TRIAL)?;
        let ((requests, waiting), (to, answers)) = (bounded::<SpeechRequest>(WAITING), bounded(WAITING));
        let (from, stop) = (waiting.clone(), interrupt.clone());
        let speak = move || {
            for SpeechRequest { stream, text, arrived } in from {
                let speech = speak(&speaker, &text, arrived);
                if stop.is_set() || to.send(SpeechAnswer { stream, speech }).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("voice".into()).spawn(speak).map_err(|e| {
            Error::output("voice", format!("gets no thread: {e}"), "Stop other programs, or raise the limit.")
        })?;
        Ok(SpeakerThread { requests: Some(requests), waiting, answers, pending: 0, interrupt, thread: Some(thread) })
    }

    /// Asks for a text to be spoken. False where the oldest one that waits is lost for it.
    pub(super) fn request(&mut self, stream: &Arc<str>, text: &str, arrived: Instant) -> bool {
        let mut request = SpeechRequest { stream: stream.clone(), text: text.to_string(), arrived };
        let mut lost = false;
        self.pending += 1;
        while let Some(requests) = &self.requests {
            match requests.try_send(request) {
                Ok(()) => break,
                Err(TrySendError::Full(again)) => {
                    if self.waiting.try_recv().is_ok() {
                        lost = true;
                        self.pending -= 1;
                    }
                    request = again;
                }
                Err(TrySendError::Disconnected(_)) => return false,
            }
        }
        !lost
    }

    /// What has been spoken since the last call.
    pub(super) fn answers(&mut self) -> Vec<SpeechAnswer> {
        let answers: Vec<SpeechAnswer> = self.answers.try_iter().collect();
        self.pending = self.pending.saturating_sub(answers.len());
        answers
    }

    /// Texts that have not been spoken or whose speech has not been taken.
    pub(super) fn pending(&self) -> usize {
        self.pending
    }

    /// What is spoken until then; returns when all texts have been.
    pub(super) fn finish(&mut self, until: Instant) -> Vec<SpeechAnswer> {
        self.requests = None;
        let mut all = Vec::new();
        while let Ok(answer) = self.answers.recv_deadline(until) {
            all.push(answer);
        }
        self.pending = self.pending.saturating_sub(all.len());
        all
    }
}

impl Drop for SpeakerThread {
    fn drop(&mut self) {
        self.interrupt.set();
        self.requests = None;
        // Makes room for the answer that the thread may wait with.
        let _ = self.answers.try_iter().count();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn speak(speaker: &Speaker, text: &str, arrived: Instant) -> Result<LiveSpeech> {
    let spoken = speaker.speak_once(text)?;
    let mut samples = convert_speech(&spoken.samples, spoken.rate, PROGRAMME_RATE).map_err(|e| {
        Error::output(
            "voice",
            format!("speech of {} Hz cannot be converted: {e}", spoken.rate),
            "Choose another voice.",
        )
    })?;
    samples.truncate((LONGEST.as_secs() * u64::from(PROGRAMME_RATE)) as usize);
    let mut meter = LoudnessMeter::new(&Seats(vec![Seat::Mono]), PROGRAMME_RATE);
    if let Some(meter) = &mut meter {
        meter.push(&samples);
    }
    // Less than 0.4 s has no loudness by the standard; its energy is near it.
    let plain = || {
        let energy: f64 = samples.iter().map(|s| f64::from(*s) * f64::from(*s)).sum();
        10.0 * (energy / samples.len().max(1) as f64).max(1e-9).log10() - 0.7
    };
    let loudness = meter.as_ref().and_then(LoudnessMeter::integrated).unwrap_or_else(plain);
    Ok(LiveSpeech { samples: samples.into(), loudness, arrived })
}
