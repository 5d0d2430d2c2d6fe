//! Descriptions from code: a model and options in, an iterator of cues out.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::config::Config;
use super::message::QUEUE;
use super::observer::{Observer, Outcome};
use super::run::{Job, run};
use crate::address::Address;
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::media::StreamInfo;
use crate::model::{Model, ModelOptions, Models};
use crate::time::Time;
use crate::track::Cue;
use crate::track::Track;

/// Describes films, one after the other or several at once.
///
/// # Examples
///
/// The cues of a film, as they become final:
///
/// ```
/// use descry::Describer;
/// use descry::model::ModelFolder;
///
/// # fn main() -> descry::error::Result<()> {
/// let describer = Describer::new(ModelFolder::open("models/builtin")?);
/// let mut cues = describer.describe("samples/bikes.mp4")?;
/// for cue in cues.by_ref() {
///     let cue = cue?;
///     println!("{} --> {}  {}", cue.start, cue.end, cue.lines.join(" "));
/// }
/// // The whole track, with its scenes and scores.
/// let track = cues.finish()?;
/// assert!(!track.cues.is_empty());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Describer {
    models: Models,
    config: Config,
    options: ModelOptions,
}

impl Describer {
    /// With the model's own thresholds, and default options for everything else.
    pub fn new(models: impl Into<Models>) -> Describer {
        let models = models.into();
        let config = Config::of_models(&models);
        Describer { models, config, options: ModelOptions::default() }
    }

    /// The same with other options of the stages. [`Config::of_models`] has the model's thresholds.
    #[must_use]
    pub fn with_config(self, config: Config) -> Describer {
        Describer { config, ..self }
    }

    /// The same with another way to run the image tower and to search for captions, or with a prompt.
    #[must_use]
    pub fn with_model_options(self, options: ModelOptions) -> Describer {
        Describer { options, ..self }
    }

    /// The options of the stages.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Starts to describe a path or URL, on threads of its own.
    ///
    /// # Errors
    /// When the options do not suit the model, or no thread can be started. What is wrong with the input comes from the
    /// iterator.
    pub fn describe(&self, input: impl Into<Address>) -> Result<Descriptions> {
        let model = Model::of(&self.models, self.options.clone())?;
        let (input, config) = (input.into(), self.config.clone());
        let (to, cues) = bounded(QUEUE);
        let state = Arc::new(FilmState::default());
        let interrupt = Interrupt::new();
        let (follower, stop) = (Follower { state: state.clone(), to }, interrupt.clone());
        let work = thread::Builder::new().name("descry".into()).spawn(move || {
            let inputs = [input];
            let job =
                Job { inputs: &inputs, config: &config, model, interrupt: &stop, observer: &follower, sink: None };
            let mut result = None;
            run(job, |_, outcome| result = Some(outcome))?;
            result.ok_or(Error::Interrupted)
        });
        let work = work.map_err(|e| {
            Error::runtime(format!("no thread can be started: {e}"), "Free some memory or processes.").with_source(e)
        })?;
        Ok(Descriptions { cues: Some(cues), work: Some(work), outcome: None, state, interrupt })
    }
}

/// How far a film is described.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DescriptionProgress {
    /// Media time that was decoded so far.
    pub watched: Time,
    /// Length of the film, where its header states it.
    pub duration: Option<Time>,
}

/// What the description of a film shares with its reader.
#[derive(Default)]
struct FilmState {
    /// Microseconds.
    watched: AtomicI64,
    duration: Mutex<Option<Time>>,
}

/// Passes progress and cues on.
struct Follower {
    state: Arc<FilmState>,
    to: Sender<Cue>,
}

impl Observer for Follower {
    fn opened(&self, _: usize, info: &StreamInfo) {
        *self.state.duration.lock().unwrap_or_else(PoisonError::into_inner) = info.duration.map(Time::from_secs);
    }

    fn watched(&self, _: usize, time: Time) {
        self.state.watched.store(time.micros(), Ordering::Relaxed);
    }

    fn cue(&self, _: usize, cue: &Cue) {
        // Nobody may be listening any longer: the film is then described without.
        let _ = self.to.send(cue.clone());
    }
}

/// The cues of one film, in order of time, as they become final. A reader that is slow holds the work back; dropping the
/// iterator cancels it.
pub struct Descriptions {
    cues: Option<Receiver<Cue>>,
    work: Option<JoinHandle<Result<Outcome>>>,
    outcome: Option<Result<Outcome>>,
    state: Arc<FilmState>,
    interrupt: Interrupt,
}

impl Descriptions {
    /// How far the film is described.
    pub fn progress(&self) -> DescriptionProgress {
        DescriptionProgress {
            watched: Time::from_micros(self.state.watched.load(Ordering::Relaxed)),
            duration: *self.state.duration.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// A flag that cancels the work from anywhere. The cues up to then still come.
    pub fn canceller(&self) -> Interrupt {
        self.interrupt.clone()
    }

    /// Waits for the end, and returns the whole track. Cues that were not read yet are in it.
    ///
    /// # Errors
    /// When nothing of the film could be described. A film that was described in part is no error: see
    /// [`Track::damage`] and [`Track::interrupted`].
    pub fn finish(mut self) -> Result<Track> {
        self.cues = None;
        self.join();
        let outcome = self.outcome.take().unwrap_or(Err(Error::Interrupted))?;
        match (outcome.track, outcome.error) {
            (Some(track), _) => Ok(track),
            (None, error) => Err(error.unwrap_or(Error::Interrupted)),
        }
    }

    fn join(&mut self) {
        if let Some(work) = self.work.take() {
            let result = work.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            self.outcome = Some(result);
        }
    }
}

impl Iterator for Descriptions {
    type Item = Result<Cue>;

    /// The next cue; an error where the film cannot be described, or not to its end. Nothing follows an error.
    fn next(&mut self) -> Option<Result<Cue>> {
        if let Ok(cue) = self.cues.as_ref()?.recv() {
            return Some(Ok(cue));
        }
        self.cues = None;
        self.join();
        let error = match &self.outcome {
            Some(Ok(outcome)) => outcome.error.clone(),
            Some(Err(e)) => Some(e.clone()),
            None => None,
        };
        error.map(Err)
    }
}

impl Drop for Descriptions {
    fn drop(&mut self) {
        self.interrupt.set();
        self.cues = None;
        if let Some(work) = self.work.take() {
            // Its result is no longer needed.
            let _ = work.join();
        }
    }
}
