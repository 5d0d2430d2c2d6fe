//! Beside the first stage: finds speech in the side track. One thread for each film that is decoded, so that decoding does
//! not wait for the detector.
//!
//! Order: in order of time, to the collecting stage, before the film's end. Memory: a few seconds of sound.

use std::time::Instant;

use crossbeam_channel::{Receiver, Sender};

use crate::address::Address;
use crate::error::Result;
use crate::isolate::FrameSource;
use crate::media::decode::Polled;
use crate::media::{Damage, DecodeOptions, DecodedFrames, SideTrackData};
use crate::pipeline::context::Run;
use crate::pipeline::message::{Finding, FindingMessage};
use crate::pipeline::stats::StageTimers;
use crate::speech::{SpeechDetector, SpeechFinder};

/// The stage; see the module. Takes one film after another.
pub(crate) struct SpeechStage<'a> {
    run: &'a Run<'a>,
    /// Loaded with the first film that has sound.
    detector: Option<SpeechDetector>,
    out: Sender<FindingMessage>,
}

impl<'a> SpeechStage<'a> {
    pub(crate) fn new(run: &'a Run<'a>, out: Sender<FindingMessage>) -> SpeechStage<'a> {
        SpeechStage { run, detector: None, out }
    }

    /// Finds the speech of a film until `from` is closed. A detector that fails ends the run.
    pub(crate) fn run(&mut self, file: usize, from: &Receiver<SideTrackData>) {
        if let Err(e) = self.find(file, &mut from.iter().map(Ok)) {
            self.run.stop(e);
        }
    }

    /// Finds the speech of a film without decoding its pictures.
    ///
    /// # Errors
    /// If the film cannot be opened or read to its end, or the detector fails.
    pub(crate) fn run_alone(&mut self, file: usize, input: &Address) -> Result<Damage> {
        let config = self.run.config;
        let decode = DecodeOptions { frames: DecodedFrames::Nothing, ..config.decode.clone() };
        let mut source = FrameSource::open(input, &decode, config.isolation.as_ref(), self.run.interrupt.clone())?;
        let mut over = false;
        let mut data = std::iter::from_fn(|| {
            loop {
                if let Some(data) = source.take_side_track() {
                    return Some(Ok(data));
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
        self.find(file, &mut data)?;
        Ok(source.damage().clone())
    }

    fn find(&mut self, file: usize, side_track: &mut dyn Iterator<Item = Result<SideTrackData>>) -> Result<()> {
        let detector = match &mut self.detector {
            Some(detector) => detector,
            none => none.insert(SpeechDetector::load()?),
        };
        let mut finder = SpeechFinder::new(detector);
        for data in side_track {
            let update = {
                let _busy = self.run.config.budget.working();
                let start = Instant::now();
                let update = finder.push(&data?)?;
                StageTimers::add_since(&self.run.timers.speech, start);
                update
            };
            if self.out.send(FindingMessage { file, finding: Finding::Speech(update) }).is_err() {
                break;
            }
        }
        // If the collecting stage has ended, the run has failed.
        let _ = self.out.send(FindingMessage { file, finding: Finding::Speech(finder.finish()?) });
        Ok(())
    }
}
