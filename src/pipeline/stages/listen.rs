//! Beside the first stage: finds speech in what is read beside the pictures. One thread for each film that is decoded, so
//! that decoding does not wait for the detector.
//!
//! Order: in order of time, to the collecting stage, before the film's end. Memory: a few seconds of sound.

use std::time::Instant;

use crossbeam_channel::{Receiver, Sender};

use crate::address::Address;
use crate::error::Result;
use crate::isolate::FrameSource;
use crate::media::decode::Polled;
use crate::media::{Damage, DecodeOptions, DecodedFrames, Heard};
use crate::pipeline::context::Run;
use crate::pipeline::message::HeardSpeech;
use crate::pipeline::stats::StageTimers;
use crate::speech::{SpeechDetector, SpeechFinder};

/// Listens to one film after another.
pub(crate) struct Listener<'a> {
    run: &'a Run<'a>,
    /// Loaded with the first film that has sound.
    detector: Option<SpeechDetector>,
    out: Sender<HeardSpeech>,
}

impl<'a> Listener<'a> {
    pub(crate) fn new(run: &'a Run<'a>, out: Sender<HeardSpeech>) -> Listener<'a> {
        Listener { run, detector: None, out }
    }

    /// Listens to a film until `from` is closed. A detector that fails ends the run.
    pub(crate) fn listen(&mut self, file: usize, from: &Receiver<Heard>) {
        if let Err(e) = self.find(file, &mut from.iter().map(Ok)) {
            self.run.stop(e);
        }
    }

    /// Listens to a film without looking at it.
    ///
    /// # Errors
    /// If it cannot be opened, or not be read to its end, and if the detector fails.
    pub(crate) fn listen_alone(&mut self, file: usize, input: &Address) -> Result<Damage> {
        let config = self.run.config;
        let decode = DecodeOptions { frames: DecodedFrames::Nothing, ..config.decode.clone() };
        let mut source = FrameSource::open(input, &decode, config.isolation.as_ref(), self.run.interrupt.clone())?;
        let mut over = false;
        let mut heard = std::iter::from_fn(|| {
            loop {
                if let Some(heard) = source.take_heard() {
                    return Some(Ok(heard));
                }
                if over {
                    return None;
                }
                match source.poll() {
                    Ok(polled) => over = matches!(polled, Polled::End),
                    Err(e) => return Some(Err(e)),
                }
            }
        });
        self.find(file, &mut heard)?;
        Ok(source.damage().clone())
    }

    fn find(&mut self, file: usize, heard: &mut dyn Iterator<Item = Result<Heard>>) -> Result<()> {
        let detector = match &mut self.detector {
            Some(detector) => detector,
            none => none.insert(SpeechDetector::load()?),
        };
        let mut finder = SpeechFinder::new(detector);
        for heard in heard {
            let update = {
                let _busy = self.run.config.budget.working();
                let start = Instant::now();
                let update = finder.push(&heard?)?;
                StageTimers::add_since(&self.run.timers.listen, start);
                update
            };
            if self.out.send(HeardSpeech { file, update }).is_err() {
                break;
            }
        }
        // Whoever is gone needs no last words.
        let _ = self.out.send(HeardSpeech { file, update: finder.finish()? });
        Ok(())
    }
}
