//! Spoken descriptions: into a file, a program that plays them, and an HLS rendition.
//!
//! One voice speaks each description once, in a thread of its own ([`speaker_thread`]). [`mix`] places it on stream time,
//! [`aac`] encodes, [`file`](mod@file) and [`rendition`] write, and [`player`] runs a program.
//!
//! Order: descriptions are spoken in the order in which they come. Faults: a voice or a player that fails costs the
//! description, and nothing else waits for it. Memory: see the modules; sound that waits is bounded by the queue.

mod aac;
mod file;
mod mix;
mod player;
mod rendition;
mod speaker_thread;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::existing::Existing;
use super::hls::HlsOptions;
use super::paths::stream_paths;
use crate::error::{Error, Result};
use crate::live::event::{Event, EventKind, Reason};
use crate::live::hub::{Sink, StopSignal, write_error};
use crate::message::Setting;
use crate::program::environment;
use crate::track::cue::sentence;
use crate::voice::VoiceOptions;
use file::VoiceFile;
use player::{PATIENCE, PlayerThread};
use rendition::{AudioRendition, unsaid};
use speaker_thread::{LONGEST, SpeakerThread};

/// Events that may wait besides those of each stream.
const CAPACITY: usize = 64;
/// Events of each stream that may wait: 4 s of sound.
const STREAM_CAPACITY: usize = 64;
/// Left for writing, and to the hub to notice that this output is done, when the run ends.
const MARGIN: Duration = Duration::from_millis(150);
/// How long it may take to mix the last descriptions of a stream that has ended, for each file and each rendition.
const FINISHING: Duration = Duration::from_secs(10);

/// Where spoken descriptions go.
#[derive(Debug, Clone, Default)]
pub struct VoiceOutputs {
    /// A file of AAC; for several streams, a folder of them; and what happens to those that exist. Default: none.
    pub file: Option<(PathBuf, Existing)>,
    /// A program that plays each description, which it gets as a WAV file on standard input. Default: none.
    pub player: Option<Vec<String>>,
    /// A folder for an HLS rendition of the stream's sound and the descriptions; for several streams, a folder of folders.
    /// Default: none.
    pub hls: Option<(PathBuf, HlsOptions)>,
}

/// Where the descriptions of one stream go.
struct StreamVoice {
    name: Arc<str>,
    file: Option<VoiceFile>,
    rendition: Option<AudioRendition>,
    /// The stream was stopped, so its end is not the source's.
    stopped: bool,
    /// The stream has ended; and all is said.
    ended: bool,
    finished: bool,
}

/// Has descriptions spoken.
pub struct VoiceSink {
    voice: SpeakerThread,
    player: Option<PlayerThread>,
    streams: Vec<StreamVoice>,
    /// What went wrong with descriptions that were lost. One is reported with each event.
    losses: VecDeque<Error>,
    delivered: Vec<(Arc<str>, Duration)>,
    stop: StopSignal,
    /// How long the voice may take for a description.
    timeout: Duration,
    /// Once all streams have ended: until when the voice may speak.
    until: Option<Instant>,
}

impl VoiceSink {
    /// Has the voice speak once, and opens all files.
    ///
    /// # Errors
    /// When the voice does not work, an option is out of range, or a file cannot be written or exists.
    pub fn open(streams: &[Arc<str>], voice: &VoiceOptions, outputs: &VoiceOutputs) -> Result<VoiceSink> {
        let inherited = environment(&voice.environment, Setting::VoiceEnv)?;
        let player = outputs.player.as_ref().map(|line| PlayerThread::start(line, inherited)).transpose()?;
        let speaker = SpeakerThread::start(voice)?;
        let paths = |to: Option<&Path>, extension: &str| match to {
            Some(path) => {
                stream_paths(path, streams, extension).map(|all| all.into_iter().map(|(_, p)| Some(p)).collect())
            }
            None => Ok(vec![None; streams.len()]),
        };
        let file = outputs.file.as_ref();
        if let Some((path, _)) = file.filter(|_| streams.len() > 1) {
            std::fs::create_dir_all(path)
                .map_err(|e| write_error(path.display().to_string(), &e, Setting::VoiceFile))?;
        }
        let hls = outputs.hls.as_ref();
        let files = paths(file.map(|(path, _)| path.as_path()), ".aac")?;
        let folders = paths(hls.map(|(path, _)| path.as_path()), "")?;
        let open = |((name, path), folder): ((&Arc<str>, Option<PathBuf>), Option<PathBuf>)| {
            let rendition = folder.zip(hls).map(|(folder, (_, options))| AudioRendition::open(folder, options));
            let file = path.zip(file).map(|(path, (_, existing))| VoiceFile::open(path, *existing));
            let (rendition, file) = (rendition.transpose()?, file.transpose()?);
            Ok(StreamVoice { name: name.clone(), file, rendition, stopped: false, ended: false, finished: false })
        };
        let streams = streams.iter().zip(files).zip(folders).map(open).collect::<Result<_>>()?;
        Ok(VoiceSink {
            voice: speaker,
            player,
            streams,
            losses: VecDeque::new(),
            delivered: Vec::new(),
            stop: StopSignal::default(),
            timeout: voice.timeout,
            until: None,
        })
    }

    /// Notes what was lost.
    fn note(&mut self, result: Result<()>) {
        if let Err(e) = result
            && self.losses.len() < CAPACITY
        {
            self.losses.push_back(e);
        }
    }

    /// Hands on what was spoken.
    fn hand_on(&mut self, answers: Vec<speaker_thread::SpeechAnswer>) {
        for answer in answers {
            let speech = match answer.speech {
                Ok(speech) => speech,
                Err(e) => {
                    self.note(Err(e));
                    continue;
                }
            };
            if let Some(player) = &self.player {
                player.play(&answer.stream, speech.clone());
            }
            let Some(at) = self.streams.iter().position(|s| s.name == answer.stream) else { continue };
            let said = self.streams[at].file.as_mut().map_or(Ok(()), |file| file.speak(speech.clone()));
            self.note(said);
            let said = self.streams[at].rendition.as_mut().map_or(Ok(()), |rendition| rendition.speak(speech));
            self.note(said);
        }
        self.follow_player();
    }

    /// Notes what became of the descriptions that are played.
    fn follow_player(&mut self) {
        if let Some(player) = &self.player {
            let ((lost, fault), delivered) = (player.take_lost(), player.take_delivered());
            self.delivered.extend(delivered);
            let again = || Error::output("voice", "descriptions are not played", "Run the player by hand to see why.");
            let mut fault = fault;
            (0..lost).for_each(|_| {
                let e = fault.take().unwrap_or_else(again);
                self.note(Err(e));
            });
        }
    }

    /// Writes what is due everywhere. Returns the first error.
    fn write(&mut self, now: Instant) -> Result<()> {
        let mut result = Ok(());
        let mut lost = Vec::new();
        for stream in &mut self.streams {
            let (name, delivered) = (&stream.name, &mut self.delivered);
            let mut deliver = |arrived: Instant| delivered.push((name.clone(), arrived.elapsed()));
            if let Some(file) = &mut stream.file {
                let written = file.write(now, &mut deliver);
                result = result.and(written);
            }
            if let Some(rendition) = &mut stream.rendition {
                lost.push(rendition.check_lost());
                let written = rendition.write(now, &mut deliver);
                result = result.and(written);
            }
        }
        lost.into_iter().for_each(|lost| self.note(lost));
        result
    }
}

/// Leaves time for what comes after.
fn before_the_end(deadline: Instant) -> Instant {
    deadline.checked_sub(MARGIN).unwrap_or(deadline)
}

impl StreamVoice {
    fn event(&mut self, kind: &EventKind) -> Result<()> {
        if self.finished {
            return Ok(());
        }
        let rendition = self.rendition.as_mut();
        match kind {
            EventKind::Clock(mapping) => rendition.map_or(Ok(()), |r| r.set_clock(*mapping)),
            EventKind::Audio(sound) => rendition.map_or(Ok(()), |r| r.sound(sound)),
            EventKind::Progress { time, wall } => {
                if let Some(file) = &mut self.file {
                    file.progress(*time);
                }
                rendition.map_or(Ok(()), |r| r.progress(*time, *wall))
            }
            EventKind::State { reason, .. } => {
                self.stopped = *reason == Some(Reason::Stopped);
                Ok(())
            }
            EventKind::End => {
                self.ended = true;
                Ok(())
            }
            EventKind::Caption(c) => rendition.map_or(Ok(()), |r| r.reach(c.picture_time.max(c.due))),
            EventKind::Dropped { .. } | EventKind::Text(_) => Ok(()),
        }
    }

    /// Completes everything, once. `most`: how long each output may take; less once the run ends.
    fn finish(&mut self, stop: &StopSignal, most: Duration) -> Result<()> {
        if std::mem::replace(&mut self.finished, true) {
            return Ok(());
        }
        let is_final = self.ended && !self.stopped;
        let finish = |output: &mut dyn FnMut(&dyn Fn() -> bool) -> Result<()>| {
            let until = Instant::now() + most;
            output(&|| Instant::now() < stop.deadline().map_or(until, before_the_end))
        };
        let file = self.file.as_mut().map_or(Ok(()), |file| finish(&mut |has_time| file.finish(has_time)));
        let rendition = self.rendition.as_mut();
        file.and(rendition.map_or(Ok(()), |r| finish(&mut |has_time| r.finish(is_final, has_time))))
    }

    fn trouble(&self) -> Result<()> {
        let file = self.file.as_ref().map_or(Ok(()), VoiceFile::trouble);
        file.and(self.rendition.as_ref().map_or(Ok(()), AudioRendition::trouble))
    }
}

impl Sink for VoiceSink {
    fn name(&self) -> &str {
        "voice"
    }

    fn wants(&self) -> fn(&EventKind) -> bool {
        if self.wants_audio() {
            |kind| !matches!(kind, EventKind::Dropped { .. } | EventKind::Text(_))
        } else {
            |kind| {
                !matches!(
                    kind,
                    EventKind::Dropped { .. } | EventKind::Text(_) | EventKind::Audio(_) | EventKind::Clock(_)
                )
            }
        }
    }

    fn wants_audio(&self) -> bool {
        self.streams.iter().any(|s| s.rendition.is_some())
    }

    fn capacity(&self) -> usize {
        CAPACITY + STREAM_CAPACITY * self.streams.len()
    }

    fn begin(&mut self, stop: StopSignal) {
        self.stop = stop;
    }

    fn event(&mut self, event: &Event) -> Result<()> {
        if let EventKind::Caption(caption) = &event.kind {
            let text = sentence(&caption.text);
            if !text.is_empty() && !self.voice.request(&event.stream, &text, caption.arrived) {
                let remedy = "Choose a faster voice, or describe less often.";
                self.note(Err(Error::output("voice", "is too slow; a description is lost", remedy)));
            }
        }
        let answers = self.voice.answers();
        self.hand_on(answers);
        let stream = self.streams.iter_mut().find(|s| s.name == event.stream);
        let taken = stream.map_or(Ok(()), |stream| stream.event(&event.kind));
        self.note(taken);
        if self.until.is_none() && self.streams.iter().all(|s| s.ended) {
            self.until = Some(Instant::now() + self.timeout);
        }
        // `tick` reports trouble: nothing is lost by it yet.
        let _ = self.write(Instant::now());
        self.losses.pop_front().map_or(Ok(()), Err)
    }

    fn tick(&mut self, now: Instant) -> Result<()> {
        let answers = self.voice.answers();
        self.hand_on(answers);
        if self.voice.pending() == 0 {
            for at in 0..self.streams.len() {
                let stream = &mut self.streams[at];
                let finished = if stream.ended { stream.finish(&self.stop, FINISHING) } else { Ok(()) };
                self.note(finished);
            }
        }
        self.write(now)?;
        self.streams.iter().try_for_each(StreamVoice::trouble)
    }

    fn close(&mut self) -> Result<()> {
        let deadline = self.stop.deadline().unwrap_or_else(Instant::now);
        let until = before_the_end(deadline);
        let answers = self.voice.finish(before_the_end(until));
        self.hand_on(answers);
        let mut result = unsaid("voice", self.voice.pending());
        for stream in &mut self.streams {
            let finished = stream.finish(&self.stop, Duration::ZERO);
            result = result.and(finished);
            stream.file.iter_mut().for_each(VoiceFile::hasten);
            stream.rendition.iter_mut().for_each(AudioRendition::hasten);
        }
        let written = self.write(Instant::now());
        result = result.and(written);
        for file in self.streams.iter().filter_map(|s| s.file.as_ref()) {
            result = result.and(file.sync());
        }
        if let Some(player) = &mut self.player {
            let unplayed = unsaid("player", player.finish(until));
            self.follow_player();
            result = result.and(unplayed);
        }
        result.and(self.losses.pop_front().map_or(Ok(()), Err))
    }

    fn finishing(&self) -> Duration {
        let playing = self.player.as_ref().map_or(Duration::ZERO, |_| LONGEST + PATIENCE);
        let outputs = self.streams.iter().map(|s| u32::from(s.file.is_some()) + u32::from(s.rendition.is_some()));
        self.timeout + FINISHING * outputs.sum() + playing
    }

    fn is_busy(&self) -> bool {
        let Some(until) = self.until else { return false };
        if self.voice.pending() > 0 {
            return Instant::now() < until;
        }
        self.streams.iter().any(|s| !s.finished) || self.player.as_ref().is_some_and(|player| player.pending() > 0)
    }

    fn buffers(&self) -> bool {
        true
    }

    fn delivered(&mut self) -> Option<Vec<(Arc<str>, Duration)>> {
        Some(std::mem::take(&mut self.delivered))
    }
}
