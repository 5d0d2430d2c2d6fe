//! Pictures in, captions out, several requests at a time.
//!
//! A server answers several requests together much faster than one after the other, and each takes seconds. So a batch is
//! asked by a few threads, which end with it: they are scoped, so that the captioner stays a plain function to its caller,
//! borrows the pictures, and leaves nothing running behind an error. The caller's thread meanwhile checks the stop flag.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::answer::sentence_of;
use super::client::ChatClient;
use super::options::{ServerModel, ServerOptions};
use super::request::{Question, jpeg};
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::message;
use crate::message::Setting;
use crate::model::caption::{Caption, CaptionInput, CaptionOptions, Captions};
use crate::model::prompt::{CaptionPrompt, PromptOptions};

/// Tokens of an answer if the user gives no number.
const MAX_TOKENS: usize = 64;
/// Most tokens of an answer.
const MOST_TOKENS: usize = 1 << 16;
/// How often a batch checks whether to stop.
const TICK: Duration = Duration::from_millis(20);

/// The most tokens of an answer, after checking that the options suit a server.
///
/// # Errors
/// [`Error::Usage`] for options that a server does not have, or that are out of range.
pub(crate) fn server_search(caption: &CaptionOptions, options: &ServerOptions) -> Result<usize> {
    for (given, setting) in [
        (caption.sample.is_some(), Setting::Sample),
        (caption.beam.is_some(), Setting::Beam),
        (caption.greedy, Setting::Greedy),
        (caption.temperature.is_some(), Setting::Temperature),
    ] {
        if given {
            return Err(Error::usage(
                message![setting, " does not work with a server of models: the server searches, at temperature 0"],
                "Leave it out.",
            ));
        }
    }
    options.check()?;
    let tokens = caption.max_tokens.unwrap_or(MAX_TOKENS);
    if !(1..=MOST_TOKENS).contains(&tokens) {
        return Err(Error::usage(
            message![Setting::MaxTokens, format!(" {tokens} is out of range")],
            format!("Use a number from 1 to {MOST_TOKENS}."),
        ));
    }
    Ok(tokens)
}

/// A model on a server.
pub struct ServerCaptioner {
    client: ChatClient,
    /// Where an input has none of its own.
    prompt: CaptionPrompt,
    jobs: usize,
    picture_side: u32,
    interrupt: Interrupt,
}

/// Which failure ends a batch early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum GiveUp {
    /// Any: the batch is lost with it.
    First,
    /// One that concerns all pictures.
    Permanent,
}

impl ServerCaptioner {
    /// Prepares the requests; does not connect yet.
    ///
    /// # Errors
    /// [`Error::Usage`] if the options do not suit a server.
    pub fn new(
        server: &ServerModel,
        options: &ServerOptions,
        prompt: PromptOptions,
        caption: &CaptionOptions,
    ) -> Result<ServerCaptioner> {
        let max_tokens = server_search(caption, options)?;
        let question = Question { model: server.title(), max_tokens };
        Ok(ServerCaptioner {
            client: ChatClient::new(server, options, question),
            prompt: prompt.into(),
            jobs: options.jobs,
            picture_side: options.picture_side,
            interrupt: Interrupt::new(),
        })
    }

    /// Asks for all pictures, with as many requests at a time as allowed. Results in the order of the pictures.
    fn ask_all(&self, inputs: &[&CaptionInput], give_up: GiveUp) -> Vec<Result<Caption>> {
        let results: Mutex<Vec<Option<Result<Caption>>>> = Mutex::new(vec![None; inputs.len()]);
        let next = AtomicUsize::new(0);
        let failed = AtomicBool::new(false);
        let workers = self.jobs.min(inputs.len());
        let stopped = || failed.load(Ordering::Relaxed) || self.interrupt.is_set();
        let work = || {
            while !stopped()
                && let number = next.fetch_add(1, Ordering::Relaxed)
                && let Some(input) = inputs.get(number)
            {
                let result = self.ask(input, &stopped);
                if let Err(e) = &result
                    && (give_up == GiveUp::First || !e.is_temporary())
                {
                    failed.store(true, Ordering::Relaxed);
                }
                results.lock().unwrap_or_else(PoisonError::into_inner)[number] = Some(result);
            }
        };
        thread::scope(|scope| {
            let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
            // Without this, a stop would wait for the slowest answer.
            while !workers.iter().all(thread::ScopedJoinHandle::is_finished) {
                if self.interrupt.is_set() {
                    return self.client.abort();
                }
                thread::sleep(TICK);
            }
        });
        let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
        results.into_iter().map(|result| result.unwrap_or(Err(Error::Interrupted))).collect()
    }

    fn ask(&self, input: &CaptionInput, stopped: &(dyn Fn() -> bool + Sync)) -> Result<Caption> {
        let pictures = input.required_pictures()?.iter();
        let jpegs = pictures.map(|picture| jpeg(picture, self.picture_side)).collect::<Result<Vec<_>>>()?;
        let prompt = input.prompt.as_deref().unwrap_or(&self.prompt).compose();
        let text = sentence_of(&self.client.ask(&prompt, &jpegs, stopped)?);
        Ok(Caption { text, ids: Vec::new(), mean_logprob: 0.0, score: None, support: None })
    }
}

/// What ended the batch, rather than what ended because of it.
fn first_cause(results: Vec<Result<Caption>>) -> Result<Vec<Caption>> {
    if let Some(Err(e)) = results.iter().find(|r| matches!(r, Err(e) if !matches!(e, Error::Interrupted))) {
        return Err(e.clone());
    }
    results.into_iter().collect()
}

impl Captions for ServerCaptioner {
    fn caption(&mut self, inputs: &[&CaptionInput]) -> Result<Vec<Caption>> {
        first_cause(self.ask_all(inputs, GiveUp::First))
    }

    fn caption_each(&mut self, inputs: &[&CaptionInput]) -> Vec<Result<Caption>> {
        let mut results = self.ask_all(inputs, GiveUp::Permanent);
        // Everything that was not asked for any more shares the cause.
        let permanent = results.iter().find_map(|r| match r {
            Err(e) if !e.is_temporary() && !matches!(e, Error::Interrupted) => Some(e.clone()),
            _ => None,
        });
        if let Some(cause) = permanent {
            for result in results.iter_mut().filter(|r| matches!(r, Err(Error::Interrupted))) {
                *result = Err(cause.clone());
            }
        }
        results
    }

    fn begin(&mut self, interrupt: &Interrupt) {
        self.interrupt = interrupt.clone();
    }

    fn is_remote(&self) -> bool {
        true
    }
}
