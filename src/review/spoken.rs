//! Cues spoken by a voice, for the page.
//!
//! The voice's program speaks one text at a time. What it spoke is kept: [`KEPT`] bytes of what was asked for last. A text
//! whose client is gone is not spoken to its end.

use std::io::Cursor;
use std::sync::{Arc, Mutex};

use super::made::MadeCache;
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::lock::lock;
use crate::voice::{Speaker, VoiceOptions, write_wav};

/// Bytes of speech that are kept: 12 minutes at 22 kHz.
const KEPT: usize = 32 << 20;

/// A voice that speaks cues.
pub struct CueVoice {
    speaker: Mutex<Speaker>,
    name: String,
    spoken: Mutex<MadeCache<String>>,
}

impl CueVoice {
    /// Nothing is spoken yet.
    ///
    /// # Errors
    /// As [`Speaker::new`].
    pub fn new(options: &VoiceOptions, interrupt: &Interrupt) -> Result<CueVoice> {
        let speaker = Speaker::new(options, interrupt)?;
        let name = speaker.program();
        Ok(CueVoice { speaker: Mutex::new(speaker), name, spoken: Mutex::new(MadeCache::new(KEPT)) })
    }

    /// The name of its program.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A text as a WAV file. Waits for the text before it.
    ///
    /// # Errors
    /// When interrupted, or the program is missing, fails, hangs, or writes no speech.
    pub(super) fn speak(&self, text: &str, interrupt: &Interrupt) -> Result<Arc<[u8]>> {
        let key = text.to_string();
        if let Some(wav) = lock(&self.spoken).get(&key) {
            return Ok(wav);
        }
        let speaker = lock(&self.speaker);
        // The one before may have been the same, and the client may be gone.
        if let Some(wav) = lock(&self.spoken).get(&key) {
            return Ok(wav);
        }
        if interrupt.is_set() {
            return Err(Error::Interrupted);
        }
        let speech = speaker.speak_until(text, interrupt)?;
        let mut wav = Vec::new();
        write_wav(speech.rate, &speech.samples, Cursor::new(&mut wav))
            .map_err(|e| Error::broken(format!("speech cannot be written as WAV: {e}"), "Report this as a bug."))?;
        let wav: Arc<[u8]> = wav.into();
        lock(&self.spoken).add(key, wav.clone());
        Ok(wav)
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::voice::Voice;

    fn voice(script: &str) -> CueVoice {
        let voice = Voice::Program(["sh", "-c", script].map(String::from).to_vec());
        CueVoice::new(&VoiceOptions { voice, ..VoiceOptions::default() }, &Interrupt::new()).unwrap()
    }

    #[test]
    fn a_text_is_spoken_once_as_wav() {
        let dir = tempfile::tempdir().unwrap();
        let (given, runs) = (dir.path().join("given.wav"), dir.path().join("runs"));
        write_wav(8_000, &[0.5; 800], std::fs::File::create(&given).unwrap()).unwrap();
        let voice = voice(&format!("cat >>{}; cat {}", runs.display(), given.display()));
        let first = voice.speak("a dog", &Interrupt::new()).unwrap();
        assert_eq!(*first, *std::fs::read(&given).unwrap());
        assert_eq!(voice.speak("a dog", &Interrupt::new()).unwrap(), first);
        voice.speak("a cat", &Interrupt::new()).unwrap();
        assert_eq!(std::fs::read_to_string(&runs).unwrap(), "a dog\na cat\n");
        assert_eq!(voice.name(), "sh");
    }

    #[test]
    fn a_text_that_nobody_waits_for_is_not_spoken_to_its_end() {
        let voice = voice("sleep 300");
        let (begun, interrupt) = (Instant::now(), Interrupt::new());
        let stop = interrupt.clone();
        let stopper = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            stop.set();
        });
        assert!(matches!(voice.speak("a dog", &interrupt), Err(Error::Interrupted)));
        assert!(matches!(voice.speak("a dog", &interrupt), Err(Error::Interrupted)));
        assert!(begun.elapsed() < Duration::from_secs(60));
        stopper.join().unwrap();
    }
}
