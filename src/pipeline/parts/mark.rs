//! Parts of a film, each watched by a process of its own, and the track that is made of them.
//!
//! [`watch_stretch`] is the pipeline for one stretch: the same stages, but captions are made where the stretch itself shows
//! something new, and what comes out are keyframes with everything that is known of them. [`retell`] takes the keyframes of
//! a whole film, in order, through the stages behind the encoder, and so gives the very track that one run gives.
//!
//! Order: keyframes come out in order of time. Memory: as the pipeline's; marks, one for each second, grow with the stretch.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use crossbeam_channel::{Receiver, bounded};
use serde::{Deserialize, Serialize};

use super::super::{
    Clock, Config, End, Keep, Look, Model, Moment, Observer, Outcome, QUEUE, Seen, Shared, Stats, Told, Watched,
};
use super::super::{collect, describe, encode, receive, speak, watch};
use crate::digest::hex;
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::media::decode::{Frame, Source, StreamInfo};
use crate::model::caption::{Caption, Captions};
use crate::model::image::Encoded;
use crate::scene::keyframe::KeyframeSelector;
use crate::time::Time;
use crate::track::dedup::Dedup;

/// How often a watching is marked, by the film's clock.
const EVERY: i64 = 1_000_000;

/// Where a watching stood when it had seen a frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Time of that frame, in microseconds.
    pub time: i64,
    /// Its ordinal among those of this watching.
    pub frame: u64,
    /// Ordinal of the scene under way, from 0.
    pub scene: u32,
    /// Keyframes that had been told by then.
    pub told: usize,
    /// Of everything that the keyframes to come depend on; see [`KeyframeSelector::digest`] and [`Source::digest`].
    pub digest: String,
    /// What had been lost in decoding by then; see [`Source::losses`].
    pub losses: u64,
}

/// What a watching leaves beside its keyframes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Watching {
    /// In order of time.
    pub marks: Vec<Mark>,
    /// What was lost in decoding, in all.
    pub losses: u64,
    /// The end of the film, in microseconds, where it was reached.
    pub finished: Option<i64>,
    /// Why there is nothing in it.
    pub empty: Option<String>,
    /// Why its times cannot be compared with those of another watching.
    pub timeless: Option<String>,
}

/// A keyframe and what is known of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Glimpse {
    pub moment: Moment,
    /// None where it is blank or could not be converted. Where there is a caption, the grid may be left out.
    pub encoded: Option<Encoded>,
    /// None where the stretch had shown the like of it before.
    pub caption: Option<Caption>,
    /// Why it could not be converted.
    pub fault: Option<String>,
    /// A small JPEG, where it is not blank and pictures are wanted.
    pub thumbnail: Option<Vec<u8>>,
}

/// Follows a watching and marks it.
pub(in crate::pipeline) struct Marker<'a> {
    watching: Watching,
    last: Option<Time>,
    told: usize,
    stop: &'a mut (dyn FnMut(&Mark) -> bool + Send),
}

impl<'a> Marker<'a> {
    fn new(stop: &'a mut (dyn FnMut(&Mark) -> bool + Send)) -> Marker<'a> {
        Marker { watching: Watching::default(), last: None, told: 0, stop }
    }

    /// Hears of a frame, with the keyframes that it made sure. Marks it where a second begins with it, which does not depend
    /// on where the watching began. False: enough.
    pub(in crate::pipeline) fn see(
        &mut self,
        frame: &Frame,
        told: usize,
        selector: &KeyframeSelector<Arc<Frame>>,
        source: &Source,
    ) -> bool {
        self.told += told;
        if !frame.has_own_time() {
            self.watching.timeless = Some("its timestamps are in disorder".into());
        } else if !source.has_clock() {
            self.watching.timeless = Some("its container has no clock".into());
        }
        let second = |t: Time| t.micros().div_euclid(EVERY);
        let due = self.last.is_some_and(|last| second(last) != second(frame.time));
        self.last = Some(frame.time);
        if !due {
            return true;
        }
        let mut digest = selector.digest(|held| held.identity());
        source.digest(&mut digest);
        let mark = Mark {
            time: frame.time.micros(),
            frame: frame.index,
            scene: selector.scene(),
            told: self.told,
            digest: hex(&digest.finish()),
            losses: source.losses(),
        };
        let stop = (self.stop)(&mark);
        self.watching.marks.push(mark);
        if stop {
            self.watching.losses = source.losses();
        }
        !stop
    }

    /// Whether the film is over. Otherwise what the selector holds is for another watching to tell.
    pub(in crate::pipeline) fn is_finished(&mut self, source: &Source) -> bool {
        self.watching.losses = source.losses();
        let finished = source.is_over() && !source.goes_on();
        self.watching.finished = finished.then(|| source.end().micros());
        finished
    }
}

/// Watches a stretch of one file: what `config.decode` says of start and end. `enough` is asked at every mark whether it
/// is; `sink` gets the keyframes, in order. Where the stretch is beyond the end of the film, it is empty, and no error.
pub fn watch_stretch(
    input: &str,
    config: &Config,
    model: Model,
    interrupt: &Interrupt,
    observer: &dyn Observer,
    enough: &mut (dyn FnMut(&Mark) -> bool + Send),
    sink: &mut dyn FnMut(Glimpse) -> Result<()>,
) -> Result<(Watching, Stats)> {
    let shared = Shared::new();
    let Model { image, encoder, captioner, .. } = model;
    let mut marker = Marker::new(enough);
    let mut ended = None;
    thread::scope(|scope| {
        let (to_encode, watched) = bounded::<Watched>(QUEUE);
        let (to_tell, seen) = bounded::<Seen>(QUEUE);
        let (marker, ended, image) = (&mut marker, &mut ended, &image);
        let (shared, clock) = (&shared, &shared.clock);
        scope.spawn(move || {
            *ended = Some(watch(0, input, config, interrupt, shared, observer, Some(marker), &to_encode));
        });
        scope.spawn(move || {
            shared.stage(&watched, |from| {
                encode(from, &to_tell, encoder()?.as_mut(), image, config.thumbnail, config, clock)
            });
        });
        shared.stage(&seen, |from| tell(from, captioner()?.as_mut(), config, clock, sink));
    });
    let stats = shared.end()?;
    let mut watching = marker.watching;
    match ended {
        Some(End { interrupted: true, .. }) | None => return Err(Error::Interrupted),
        Some(End { error: Some(e), .. }) => {
            if watching.marks.is_empty() && config.decode.start.is_some() && matches!(e, Error::Input { .. }) {
                watching.empty = Some(e.to_string());
            } else {
                return Err(e);
            }
        }
        Some(End { damage: Some(_), .. }) => watching.losses = watching.losses.max(1),
        Some(_) => {}
    }
    Ok((watching, stats))
}

/// The last stage of a stretch: what is new in it is captioned, and all of it is handed on in order.
fn tell(
    from: &Receiver<Seen>,
    captioner: &mut dyn Captions,
    config: &Config,
    clock: &Clock,
    sink: &mut dyn FnMut(Glimpse) -> Result<()>,
) -> Result<()> {
    let mut dedup = Dedup::new(&config.dedup);
    let mut waiting: VecDeque<Glimpse> = VecDeque::new();
    // Positions in `waiting` of what is to be captioned.
    let mut fresh: Vec<usize> = Vec::new();
    let mut deadline: Option<Instant> = None;
    loop {
        let message = receive(from, deadline);
        let closed = message.is_err();
        let mut run = closed || matches!(message, Ok(None));
        if let Ok(Some(Seen::Picture(_, look))) = message {
            let Look { moment, encoded, fault, thumbnail, .. } = *look;
            if let Some(encoded) = &encoded
                && dedup.weigh(&encoded.unit()).verdict.is_new()
            {
                fresh.push(waiting.len());
            }
            waiting.push_back(Glimpse { moment, encoded, caption: None, fault, thumbnail });
        }
        if fresh.is_empty() {
            run = true;
        } else if deadline.is_none() {
            deadline = Some(Instant::now() + config.flush);
        }
        if run || fresh.len() >= config.caption_batch.max(1) || waiting.len() >= 8 * QUEUE {
            if !fresh.is_empty() {
                let pictures: Vec<&Encoded> =
                    fresh.iter().filter_map(|&n| waiting.get(n).and_then(|g| g.encoded.as_ref())).collect();
                let captions = speak(captioner, &pictures, config, clock)?;
                for (n, caption) in fresh.drain(..).zip(captions) {
                    if let Some(glimpse) = waiting.get_mut(n) {
                        glimpse.caption = Some(caption);
                    }
                }
            }
            deadline = None;
            waiting.drain(..).try_for_each(&mut *sink)?;
        }
        if closed {
            return Ok(());
        }
    }
}

/// Makes the track of a film of all its keyframes, which `glimpses` gives in order, as [`run`](crate::pipeline::run) makes it.
/// `end`: of the film. Only what is new in the whole film and has no caption yet is captioned.
#[allow(clippy::too_many_arguments)]
pub fn retell(
    input: &str,
    info: StreamInfo,
    end: Time,
    glimpses: &mut (dyn Iterator<Item = Result<Glimpse>> + Send),
    config: &Config,
    model: Model,
    interrupt: &Interrupt,
    observer: &dyn Observer,
    keep: Option<&dyn Keep>,
    mut done: impl FnMut(usize, Outcome),
) -> Result<Stats> {
    let shared = Shared::new();
    let Model { name, decoding, captioner, .. } = model;
    let options = config.told(&decoding);
    thread::scope(|scope| {
        let (to_describe, seen) = bounded::<Seen>(QUEUE);
        let (to_collect, told) = bounded::<Told>(QUEUE);
        let (shared, clock) = (&shared, &shared.clock);
        scope.spawn(move || {
            let send = |message| to_describe.send(message).is_ok();
            if !send(Seen::Opened(0, Box::new(info))) {
                return;
            }
            for glimpse in glimpses {
                if interrupt.is_set() {
                    return shared.stop(Error::Interrupted);
                }
                let message = match glimpse {
                    Ok(Glimpse { moment, encoded, caption, fault, thumbnail }) => {
                        Seen::Picture(0, Box::new(Look { moment, encoded, caption, fault, thumbnail }))
                    }
                    Err(e) => return shared.stop(e),
                };
                if !send(message) {
                    return;
                }
            }
            send(Seen::End(0, End { end, damage: None, interrupted: false, error: None, lost: false }));
        });
        scope.spawn(move || {
            let mut captioner = Late { load: Some(captioner), loaded: None };
            shared.stage(&seen, |from| describe(from, &to_collect, &mut captioner, keep.is_some(), config, clock));
        });
        let inputs = [input.to_string()];
        shared.stage(&told, |from| collect(from, &inputs, &name, &options, config, observer, keep, &mut done));
    });
    shared.end()
}

/// A captioner that is loaded when the first picture comes: mostly none does.
struct Late {
    load: Option<super::super::Load<dyn Captions>>,
    loaded: Option<Box<dyn Captions>>,
}

impl Captions for Late {
    fn caption(&mut self, pictures: &[&Encoded]) -> Result<Vec<Caption>> {
        if let Some(load) = self.load.take() {
            self.loaded = Some(load()?);
        }
        match &mut self.loaded {
            Some(captioner) => captioner.caption(pictures),
            None => Err(Error::runtime("the captioner could not be loaded", "run again")),
        }
    }
}
