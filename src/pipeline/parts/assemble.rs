//! From the keyframes of a whole film to its track. Uses the stages behind the image tower, so that the track is the same as
//! that of a single run.

use std::thread;

use crossbeam_channel::{Sender, bounded};

use crate::address::Address;
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::media::{Damage, StreamInfo};
use crate::model::{Caption, CaptionInput, Captions, Load, Model};
use crate::pipeline::config::Config;
use crate::pipeline::context::Run;
use crate::pipeline::message::{EncodedKeyframe, FileEnd, QUEUE, StageMessage};
use crate::pipeline::observer::{KeyframeSink, Observer, Outcome};
use crate::pipeline::stages::collect::{CollectStage, TrackHeader};
use crate::pipeline::stages::describe::DescribeStage;
use crate::pipeline::stages::speech::SpeechStage;
use crate::pipeline::stats::Stats;
use crate::time::Time;

/// A film whose keyframes are known.
pub(super) struct AssembleJob<'a> {
    pub(super) input: &'a Address,
    pub(super) info: StreamInfo,
    /// End of the film.
    pub(super) end: Time,
    pub(super) config: &'a Config,
    pub(super) model: Model,
    pub(super) interrupt: &'a Interrupt,
    pub(super) observer: &'a dyn Observer,
    pub(super) sink: Option<&'a dyn KeyframeSink>,
}

/// Makes the track of a film from all of its keyframes, given in order, and finds its speech first. Only what is new in the
/// whole film and has no caption yet is captioned.
pub(super) fn assemble_track(
    job: AssembleJob<'_>,
    keyframes: &mut (dyn Iterator<Item = Result<EncodedKeyframe>> + Send),
    done: &mut dyn FnMut(usize, Outcome),
) -> Result<Stats> {
    let AssembleJob { input, info, end, config, model, interrupt, observer, sink } = job;
    let Model { name, decoding, captioner, demand, .. } = model;
    let run = Run::new(config, demand, interrupt, observer, sink);
    let options = config.content_options(&decoding);
    thread::scope(|scope| {
        let (to_describe, encoded) = bounded::<StageMessage<EncodedKeyframe>>(QUEUE);
        let (to_collect, captioned) = bounded(QUEUE);
        let (to_log, speech) = bounded(QUEUE);
        let (run, speech_stage) = (&run, SpeechStage::new(&run, to_log));
        scope.spawn(move || {
            let film = ReplayedFilm { input, info, end, speech_stage };
            film.replay(run, keyframes, &to_describe);
        });
        scope.spawn(move || {
            let captioner =
                Box::new(LazyCaptioner { load: Some(captioner), loaded: None, interrupt: run.interrupt.clone() });
            run.stage(&encoded, |from| DescribeStage::new(run, captioner, None, to_collect).run(from));
        });
        let inputs = [input.clone()];
        let track = TrackHeader { inputs: &inputs, model: name, options };
        run.stage(&captioned, |from| CollectStage::new(run, track, done).run(from, speech));
    });
    run.finish()
}

/// A film whose keyframes are sent again.
struct ReplayedFilm<'a> {
    input: &'a Address,
    info: StreamInfo,
    end: Time,
    speech_stage: SpeechStage<'a>,
}

impl ReplayedFilm<'_> {
    /// Sends a film's keyframes and its speech, as the stages before would have sent them.
    fn replay(
        mut self,
        run: &Run<'_>,
        keyframes: &mut (dyn Iterator<Item = Result<EncodedKeyframe>> + Send),
        out: &Sender<StageMessage<EncodedKeyframe>>,
    ) {
        let send = |message| out.send(message).is_ok();
        let has_side_track = self.info.has_side_track();
        if !send(StageMessage::Opened(0, Box::new(self.info))) {
            return;
        }
        let damage = match has_side_track.then(|| self.speech_stage.run_alone(0, self.input)).transpose() {
            Ok(damage) => damage.unwrap_or_default(),
            Err(e) => return run.stop(e),
        };
        for keyframe in keyframes {
            if run.interrupt.is_set() {
                return run.stop(Error::Interrupted);
            }
            let sent = match keyframe {
                Ok(keyframe) => send(StageMessage::Item(0, keyframe)),
                Err(e) => return run.stop(e),
            };
            if !sent {
                return;
            }
        }
        // The parts are complete, so only the sound can be damaged.
        let damage = Damage { sound: damage.sound, late_sound: damage.late_sound, ..Damage::default() };
        let damage = (!damage.is_clean()).then(|| damage.to_string());
        send(StageMessage::End(0, FileEnd { damage, ..FileEnd::at(self.end) }));
    }
}

/// A captioner that loads with its first picture, because most films need none.
struct LazyCaptioner {
    load: Option<Load<dyn Captions>>,
    loaded: Option<Box<dyn Captions>>,
    interrupt: Interrupt,
}

impl Captions for LazyCaptioner {
    fn caption(&mut self, inputs: &[&CaptionInput]) -> Result<Vec<Caption>> {
        if let Some(load) = self.load.take() {
            let mut captioner = load()?;
            captioner.begin(&self.interrupt);
            self.loaded = Some(captioner);
        }
        match &mut self.loaded {
            Some(captioner) => captioner.caption(inputs),
            None => Err(Error::runtime("the captioner could not be loaded", "Run again.")),
        }
    }
}
