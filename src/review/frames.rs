//! Frames of the film, described again for an editor: by the same model, with all captions that its search has at the end,
//! and with a prompt of the editor's if the model takes one.
//!
//! One thread loads the model when it is asked first, keeps it, and answers one question after the other. A question whose
//! client is gone is stopped before the model's next token. Memory: the weights once, one decoder, and a picture.

use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use super::film::ReviewFilm;
use crate::error::{Error, Result};
use crate::guard::guarded;
use crate::interrupt::Interrupt;
use crate::media::{Bars, Frame, LONGEST_SIDE, Rgb};
use crate::model::{
    CaptionInput, CaptionPrompt, Captions, Encode, ImageSpec, Model, ModelOptions, ModelPrompt, Models, PictureDemand,
    PromptOptions, preprocess,
};
use crate::time::Time;
use crate::track::cue::sentence;

/// How far from the frame that is asked for others are described too, in milliseconds.
const AROUND: [i64; 2] = [-400, 400];

/// A description of a frame that an editor may take.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Candidate {
    /// What it says.
    pub text: String,
    /// Its score, 0 to 1; none if the model has none.
    pub score: Option<f32>,
    /// The time of its frame less the time that was asked for.
    #[serde(serialize_with = "super::seconds::serialize")]
    pub offset: Time,
}

/// Describes frames of one film.
#[derive(Debug)]
pub struct FrameDescriber {
    name: String,
    prompt: Option<String>,
    /// None once it ends.
    questions: Option<mpsc::Sender<FrameQuestion>>,
    thread: Option<JoinHandle<()>>,
}

/// What an editor asks.
struct FrameQuestion {
    at: Time,
    prompt: Option<String>,
    interrupt: Interrupt,
    answer: oneshot::Sender<Result<Vec<Candidate>>>,
}

impl FrameDescriber {
    /// `bars`: what becomes of black bars. The model is loaded when the first question comes.
    ///
    /// # Errors
    /// If the options do not suit the model, or the system refuses a thread.
    pub fn start(film: ReviewFilm, models: Models, options: ModelOptions, bars: Bars) -> Result<FrameDescriber> {
        let Model { name, prompt, .. } = Model::of(&models, options.clone())?;
        let (questions, asked) = mpsc::channel(1);
        // The model stays on the thread that has loaded it.
        let work = move || FrameWorker { film, models, options, bars, model: None }.answer_all(asked);
        let thread = Builder::new().name("describe".into()).spawn(work);
        let thread =
            thread.map_err(|e| Error::broken(format!("no thread: {e}"), "Close other programs and try again."))?;
        let prompt = prompt.map(|prompt| prompt.options.text);
        Ok(FrameDescriber { name, prompt, questions: Some(questions), thread: Some(thread) })
    }

    /// Name and version of the model.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the model is asked if the editor names no prompt; none if it takes none.
    pub fn prompt(&self) -> Option<&str> {
        self.prompt.as_deref()
    }

    /// What the model says about the frame at a time, and about those around it, best first. Dropping the future ends the
    /// work.
    ///
    /// # Errors
    /// If the frame cannot be read, the model takes no prompt or not this one, or it fails.
    pub async fn describe(&self, at: Time, prompt: Option<String>) -> Result<Vec<Candidate>> {
        let stop = StopOnDrop(Interrupt::new());
        let (answer, answered) = oneshot::channel();
        let question = FrameQuestion { at, prompt, interrupt: stop.0.clone(), answer };
        let ended = || Error::broken("the thread that describes frames has ended", "Start descry again.");
        self.questions.as_ref().ok_or_else(ended)?.send(question).await.map_err(|_| ended())?;
        answered.await.map_err(|_| ended())?
    }
}

impl Drop for FrameDescriber {
    fn drop(&mut self) {
        self.questions = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Sets a flag when it is dropped.
pub(super) struct StopOnDrop(pub(super) Interrupt);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.set();
    }
}

struct FrameWorker {
    film: ReviewFilm,
    models: Models,
    options: ModelOptions,
    bars: Bars,
    model: Option<FrameModel>,
}

/// A model that is loaded.
struct FrameModel {
    name: String,
    image: ImageSpec,
    demand: PictureDemand,
    prompt: Option<ModelPrompt>,
    encoder: Box<dyn Encode>,
    captioner: Box<dyn Captions>,
}

impl FrameWorker {
    /// Answers until nobody can ask any more.
    fn answer_all(mut self, mut asked: mpsc::Receiver<FrameQuestion>) {
        while let Some(FrameQuestion { at, prompt, interrupt, answer }) = asked.blocking_recv() {
            let found = guarded(|| self.answer(at, prompt, &interrupt)).unwrap_or_else(|_| {
                // What a panic has left of the model is not used again.
                self.model = None;
                Err(Error::broken("descry has a bug and cannot describe this frame", "Report it."))
            });
            // Nobody may wait for it any more.
            let _ = answer.send(found);
        }
    }

    fn answer(&mut self, at: Time, prompt: Option<String>, interrupt: &Interrupt) -> Result<Vec<Candidate>> {
        let model = match &mut self.model {
            Some(model) => model,
            none => none.insert(FrameModel::load(&self.models, &self.options)?),
        };
        let prompt = prompt.map(|text| model.settle(text)).transpose()?;
        let mut found = Vec::new();
        let mut look = |by: i64, most: usize| -> Result<()> {
            if interrupt.is_set() {
                return Err(Error::Interrupted);
            }
            let offset = Time::from_millis(by);
            let time = (at + offset).max(Time::ZERO);
            let input = self.film.with_frame(time, interrupt.clone(), |frame| model.read(frame, self.bars))?;
            let Some(input) = input else { return Ok(()) };
            let input = CaptionInput { prompt: prompt.clone(), ..input };
            for caption in model.captioner.candidates(&input, interrupt)?.into_iter().take(most) {
                add(&mut found, Candidate { text: sentence(&caption.text), score: caption.score, offset });
            }
            Ok(())
        };
        look(0, usize::MAX)?;
        for by in AROUND {
            match look(by, 1) {
                // There may be no frame there: the film begins or ends.
                Err(e) if !matches!(e, Error::Input { .. }) => return Err(e),
                _ => {}
            }
        }
        Ok(found)
    }
}

/// Adds a candidate that says something that none before it says.
fn add(found: &mut Vec<Candidate>, candidate: Candidate) {
    if !candidate.text.is_empty() && found.iter().all(|other| other.text != candidate.text) {
        found.push(candidate);
    }
}

impl FrameModel {
    fn load(models: &Models, options: &ModelOptions) -> Result<FrameModel> {
        let Model { name, image, demand, prompt, encoder, captioner, .. } = Model::of(models, options.clone())?;
        Ok(FrameModel { name, image, demand, prompt, encoder: encoder()?, captioner: captioner()? })
    }

    /// A prompt of an editor's, with the language and the notes of the run.
    fn settle(&self, text: String) -> Result<Arc<CaptionPrompt>> {
        let Some(prompt) = &self.prompt else {
            let cause = format!("{} takes no prompt", self.name);
            return Err(Error::usage(cause, "Leave it out, or use a model that follows one."));
        };
        Ok(Arc::new(prompt.settle(PromptOptions { text, ..prompt.options.clone() })?.into()))
    }

    /// What the captioner reads of a frame.
    fn read(&mut self, frame: &Frame, bars: Bars) -> Result<CaptionInput> {
        let inside = |longest: u32| -> Result<Rgb> {
            let whole = frame.to_rgb_within(longest)?;
            Ok(frame.to_rgb_inside(bars, &whole, longest)?.unwrap_or(whole))
        };
        let pixels = preprocess(&inside(self.image.longest_useful())?, &self.image);
        let pictures = match self.demand.count {
            0 => Vec::new(),
            _ => vec![Arc::new(inside(self.demand.longest.min(LONGEST_SIDE))?)],
        };
        let missing = || Error::runtime("a frame got no embedding", "Report this as a bug.");
        let encoded = self.encoder.encode(&[pixels])?.into_iter().next().ok_or_else(missing)?;
        Ok(CaptionInput { encoded, pictures, prompt: None })
    }
}
