//! A voice that remembers: every text is spoken once.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::time::Duration;

use super::preset::{Voice, VoicePreset};
use super::process::{ProgramFault, ProgramLimits, run};
use super::wav::{VoiceSamples, read_wav};
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::message;
use crate::message::Setting;
use crate::program::{environment, file_name};

/// Most texts that are remembered. A film has some hundred.
const MOST_TEXTS: usize = 20_000;
/// Most bytes of speech that are kept.
const MOST_BYTES: u64 = 2 << 30;
/// Bytes of a sample in the temporary file.
const SAMPLE: usize = size_of::<f32>();

/// Which voice speaks, and how its program runs.
#[derive(Debug, Clone)]
pub struct VoiceOptions {
    /// The program. Default: eSpeak NG.
    pub voice: Voice,
    /// Language of the texts: an ISO 639 code of two letters. Default: `en`.
    pub language: String,
    /// The program is killed if it takes longer for one text. Default: 60 s.
    pub timeout: Duration,
    /// Names of further environment variables that the program inherits. Default: none.
    pub environment: Vec<String>,
}

impl Default for VoiceOptions {
    fn default() -> VoiceOptions {
        VoiceOptions {
            voice: Voice::Preset { preset: VoicePreset::Espeak, model: None },
            language: "en".into(),
            timeout: Duration::from_secs(60),
            environment: Vec::new(),
        }
    }
}

/// Where something that was spoken is kept, and how long it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SpokenText {
    offset: u64,
    samples: usize,
    rate: u32,
}

impl SpokenText {
    /// How long it takes, in seconds.
    pub fn secs(&self) -> f64 {
        self.samples as f64 / f64::from(self.rate)
    }
}

/// Speaks texts, and keeps what it spoke in a temporary file.
pub struct Speaker {
    options: VoiceOptions,
    environment: Vec<(OsString, OsString)>,
    kept: File,
    length: u64,
    /// By text and speed in thousandths.
    texts: HashMap<(String, i64), SpokenText>,
    interrupt: Interrupt,
}

impl Speaker {
    /// Nothing runs yet.
    ///
    /// # Errors
    /// When the voice cannot be run as the options say, or there is no room for temporary files.
    pub fn new(options: &VoiceOptions, interrupt: &Interrupt) -> Result<Speaker> {
        options.voice.check()?;
        Ok(Speaker {
            environment: environment(&options.environment, Setting::VoiceEnv)?,
            kept: tempfile::tempfile().map_err(|e| scratch(&e))?,
            options: options.clone(),
            length: 0,
            texts: HashMap::new(),
            interrupt: interrupt.clone(),
        })
    }

    /// Whether the voice itself can speak faster.
    pub(crate) fn has_speed(&self) -> bool {
        self.options.voice.has_speed()
    }

    /// Speaks a text at a speed, of which 1 is the usual. The same text and speed are spoken once.
    ///
    /// # Errors
    /// When interrupted, or the program is missing, fails, hangs, or writes no speech.
    pub fn speak(&mut self, text: &str, speed: f64) -> Result<SpokenText> {
        let key = (text.to_string(), (speed * 1e3).round() as i64);
        if let Some(known) = self.texts.get(&key) {
            return Ok(*known);
        }
        let speech = self.run(text, speed, &self.interrupt)?;
        let spoken = self.keep(&speech)?;
        if self.texts.len() >= MOST_TEXTS {
            self.texts.clear();
        }
        self.texts.insert(key, spoken);
        Ok(spoken)
    }

    /// Speaks a text at the usual speed, and keeps nothing of it.
    ///
    /// # Errors
    /// As [`Speaker::speak`].
    pub(crate) fn speak_once(&self, text: &str) -> Result<VoiceSamples> {
        self.run(text, 1.0, &self.interrupt)
    }

    /// As [`Speaker::speak_once`], until a flag of the caller's is set.
    ///
    /// # Errors
    /// As [`Speaker::speak`].
    pub(crate) fn speak_until(&self, text: &str, interrupt: &Interrupt) -> Result<VoiceSamples> {
        self.run(text, 1.0, interrupt)
    }

    fn run(&self, text: &str, speed: f64, interrupt: &Interrupt) -> Result<VoiceSamples> {
        let line = self.options.voice.line(&self.options.language, speed);
        let limits = ProgramLimits { environment: &self.environment, timeout: self.options.timeout, interrupt };
        let bytes = run(&line, text, &limits).map_err(|fault| self.explain(fault))?;
        let speech = read_wav(bytes).map_err(|cause| self.failed(&cause))?;
        if speech.samples.is_empty() {
            return Err(self.failed(&format!("gave nothing but silence for: {text}")));
        }
        Ok(speech)
    }

    fn keep(&mut self, speech: &VoiceSamples) -> Result<SpokenText> {
        let bytes: &[u8] = bytemuck::cast_slice(&speech.samples);
        if self.length + bytes.len() as u64 > MOST_BYTES {
            let cause = format!("the descriptions take more than {} GB as sound", MOST_BYTES >> 30);
            return Err(Error::usage(cause, "Split the film and its descriptions."));
        }
        let offset = self.length;
        self.kept.seek(SeekFrom::Start(offset)).and_then(|_| self.kept.write_all(bytes)).map_err(|e| scratch(&e))?;
        self.length += bytes.len() as u64;
        Ok(SpokenText { offset, samples: speech.samples.len(), rate: speech.rate })
    }

    /// What was spoken.
    ///
    /// # Errors
    /// When the temporary file cannot be read.
    pub(crate) fn load(&mut self, spoken: SpokenText) -> Result<VoiceSamples> {
        let mut bytes = vec![0; spoken.samples * SAMPLE];
        let read = self.kept.seek(SeekFrom::Start(spoken.offset)).and_then(|_| self.kept.read_exact(&mut bytes));
        read.map_err(|e| scratch(&e))?;
        Ok(VoiceSamples { rate: spoken.rate, samples: bytemuck::pod_collect_to_vec(&bytes) })
    }

    /// The program's name, without its folder.
    pub(crate) fn program(&self) -> String {
        let line = self.options.voice.line("", 1.0);
        file_name(line.first().map_or("", String::as_str)).to_string()
    }

    fn explain(&self, fault: ProgramFault) -> Error {
        match fault {
            ProgramFault::Interrupted => Error::Interrupted,
            ProgramFault::Missing => {
                let cause = format!("the voice {}: no such program", self.program());
                Error::usage(cause, self.options.voice.installation())
            }
            ProgramFault::Failed(cause) => self.failed(&cause),
        }
    }

    fn failed(&self, cause: &str) -> Error {
        Error::usage(
            format!("the voice {}: {cause}", self.program()),
            message!["Run it by hand with a text on its standard input, or choose another with ", Setting::Voice, "."],
        )
    }
}

fn scratch(e: &std::io::Error) -> Error {
    let remedy = "Free some space there, or name another folder in the environment variable TMPDIR.";
    let folder = std::env::temp_dir().display().to_string();
    Error::output(folder, format!("temporary files cannot be kept here: {e}"), remedy)
}

#[cfg(all(test, unix))]
mod tests {
    use std::time::Instant;

    use super::*;

    fn speaker(script: &str, timeout: u64) -> Speaker {
        let voice = Voice::Program(["sh", "-c", script].map(String::from).to_vec());
        let options = VoiceOptions { voice, timeout: Duration::from_millis(timeout), ..VoiceOptions::default() };
        Speaker::new(&options, &Interrupt::new()).unwrap()
    }

    /// A script that writes a second of 8 kHz noise, whatever the text.
    const NOISE: &str = r"cat >/dev/null; printf 'RIFF\0\0\0\0WAVEfmt \20\0\0\0\1\0\1\0\100\37\0\0\200\76\0\0\2\0\20\0data\200\76\0\0';
        head -c 16000 /dev/zero | tr '\0' '@'";

    #[test]
    fn every_text_is_spoken_once_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let runs = dir.path().join("runs");
        let mut speaker = speaker(&format!("echo >>{}; {NOISE}", runs.display()), 20_000);
        let first = speaker.speak("a dog", 1.0).unwrap();
        let second = speaker.speak("a cat", 1.0).unwrap();
        assert_eq!((first.secs(), speaker.speak("a dog", 1.0).unwrap()), (1.0, first));
        assert_eq!(std::fs::read(&runs).unwrap().len(), 2);
        let samples = speaker.load(second).unwrap().samples;
        assert!(samples.len() == 8_000 && samples.iter().all(|s| (s - 0.502).abs() < 0.001), "{:?}", &samples[..3]);
    }

    #[test]
    fn bad_programs_are_named_with_what_is_wrong() {
        let says = |script: &str| speaker(script, 5_000).speak("a dog", 1.0).unwrap_err().to_string();
        assert!(says("cat >/dev/null; echo no model >&2; exit 3").contains("sh: ended with exit status: 3: no model"));
        assert!(says("cat").contains("not a WAV file"));
        assert!(says("exec yes").contains("more than 64 MB"));
        assert!(says(&NOISE.replace("tr '\\0' '@'", "cat")).contains("nothing but silence"));
        let missing = Voice::Program(vec!["no-such-voice".into()]);
        let options = VoiceOptions { voice: missing, ..VoiceOptions::default() };
        let mut missing = Speaker::new(&options, &Interrupt::new()).unwrap();
        assert!(missing.speak("a dog", 1.0).unwrap_err().to_string().contains("no-such-voice: no such program"));
    }

    #[test]
    fn programs_end_in_time_and_nothing_of_them_stays() {
        let dir = tempfile::tempdir().unwrap();
        let pid = dir.path().join("pid");
        let alive = |path: &std::path::Path| {
            let pid = std::fs::read_to_string(path).unwrap();
            // A process that waits to be reaped by its parent has no command line.
            std::fs::read(format!("/proc/{}/cmdline", pid.trim())).is_ok_and(|line| !line.is_empty())
        };
        // It hangs, and so does what it started.
        let script = format!("sleep 300 & echo $! >{}; wait", pid.display());
        let e = speaker(&script, 300).speak("a dog", 1.0).unwrap_err();
        assert!(e.to_string().contains("within 0.3 s and was killed"), "{e}");
        let began = Instant::now();
        while alive(&pid) {
            assert!(began.elapsed() < Duration::from_secs(10), "what it started is alive");
            std::thread::sleep(Duration::from_millis(5));
        }
        // It ends, and what it started keeps its output open.
        let script = format!("sleep 300 & echo $! >{}; {NOISE}", pid.display());
        assert_eq!(speaker(&script, 60_000).speak("a dog", 1.0).unwrap().secs(), 1.0);
        assert!(began.elapsed() < Duration::from_secs(50));
    }

    #[test]
    fn an_interrupt_ends_the_program() {
        let mut speaker = speaker("sleep 300", 60_000);
        speaker.interrupt.set();
        assert!(matches!(speaker.speak("a dog", 1.0), Err(Error::Interrupted)));
    }
}
