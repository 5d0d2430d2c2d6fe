//! Silero's detector of speech, run on blocks of windows.

use std::mem;

use ort::session::Session;
use ort::value::Tensor;

use super::{BLOCK, WINDOW};
use crate::error::{Error, Result};
use crate::model::{Runtime, SessionOptions};

/// Silero VAD 6.2.3, for 16 kHz; see `models/silero-vad/README.md`.
const GRAPH: &[u8] = include_bytes!("../../models/silero-vad/silero_vad_16k_sequence.onnx");
/// Samples before a window that the graph reads with it.
const CONTEXT: usize = 64;
/// Values of each of the two states that go from window to window.
const STATE: usize = 128;

/// Computes the probability of speech in each window of a sound.
pub struct SpeechDetector {
    session: Session,
    /// Hidden state and cell of the LSTM, after the last block.
    state: [Vec<f32>; 2],
    /// The last samples before the block.
    context: [f32; CONTEXT],
    /// Samples that have not been examined yet: less than a block.
    samples: Vec<f32>,
    /// Samples of a block.
    block: usize,
}

/// The outputs of the graph for a block.
struct ExaminedBlock {
    probabilities: Vec<f32>,
    state: [Vec<f32>; 2],
}

impl SpeechDetector {
    /// Loads the detector. It runs on the thread that uses it, and on the CPU.
    ///
    /// # Errors
    /// [`Error::Runtime`] if ONNX Runtime is not found or cannot run the graph.
    pub fn load() -> Result<SpeechDetector> {
        let options = SessionOptions { threads: 1, ..SessionOptions::default() };
        Ok(SpeechDetector {
            session: Runtime::load()?.session_of_bytes(GRAPH, "the speech detector", &options)?,
            state: [vec![0.0; STATE], vec![0.0; STATE]],
            context: [0.0; CONTEXT],
            samples: Vec::new(),
            block: BLOCK * WINDOW,
        })
    }

    /// Examines blocks of so many windows: few for a result soon, [`BLOCK`] for the least work.
    #[must_use]
    pub fn with_block(mut self, windows: usize) -> SpeechDetector {
        self.block = windows.max(1) * WINDOW;
        self
    }

    /// Resets the state: the next sample begins another sound.
    pub fn reset(&mut self) {
        self.state = [vec![0.0; STATE], vec![0.0; STATE]];
        self.context = [0.0; CONTEXT];
        self.samples.clear();
    }

    /// Takes the next samples, and appends the probabilities of all windows of the blocks that they complete, each from 0
    /// to 1.
    ///
    /// # Errors
    /// [`Error::Runtime`] if ONNX Runtime fails.
    pub fn push(&mut self, mut samples: &[f32], probabilities: &mut Vec<f32>) -> Result<()> {
        while !samples.is_empty() {
            let (now, later) = samples.split_at(samples.len().min(self.block - self.samples.len()));
            // Samples that are no numbers would spoil the state for good.
            self.samples.extend(now.iter().map(|s| if s.is_finite() { s.clamp(-1.0, 1.0) } else { 0.0 }));
            samples = later;
            if self.samples.len() == self.block {
                self.examine(probabilities)?;
            }
        }
        Ok(())
    }

    /// Ends the sound: appends the probabilities of the windows that are left, the last of which is filled up with silence.
    /// The next sample begins another sound.
    ///
    /// # Errors
    /// As [`SpeechDetector::push`].
    pub fn finish(&mut self, probabilities: &mut Vec<f32>) -> Result<()> {
        let windows = self.samples.len().div_ceil(WINDOW);
        if windows > 0 {
            self.samples.resize(windows * WINDOW, 0.0);
            self.examine(probabilities)?;
        }
        self.reset();
        Ok(())
    }

    /// Runs the graph on the samples that have been collected, which are whole windows.
    fn examine(&mut self, probabilities: &mut Vec<f32>) -> Result<()> {
        let samples = mem::replace(&mut self.samples, Vec::with_capacity(self.block));
        let windows = samples.len() / WINDOW;
        let mut rows = Vec::with_capacity(windows * (CONTEXT + WINDOW));
        for window in samples.chunks_exact(WINDOW) {
            rows.extend_from_slice(&self.context);
            rows.extend_from_slice(window);
            self.context.copy_from_slice(&window[WINDOW - CONTEXT..]);
        }
        let [hidden, cell] = mem::take(&mut self.state);
        let found = self.run(rows, windows, hidden, cell).map_err(|e| {
            Error::runtime(format!("the speech detector failed: {e}"), "Report this, with the film.").with_source(e)
        })?;
        self.state = found.state;
        probabilities.extend(found.probabilities);
        Ok(())
    }

    fn run(&mut self, rows: Vec<f32>, windows: usize, hidden: Vec<f32>, cell: Vec<f32>) -> ort::Result<ExaminedBlock> {
        let outputs = self.session.run(ort::inputs! {
            "input" => Tensor::from_array(([windows, CONTEXT + WINDOW], rows))?,
            "h" => Tensor::from_array(([1, 1, STATE], hidden))?,
            "c" => Tensor::from_array(([1, 1, STATE], cell))?,
        })?;
        let floats = |name: &str| outputs[name].try_extract_tensor::<f32>().map(|(_, values)| values.to_vec());
        Ok(ExaminedBlock { probabilities: floats("speech_probs")?, state: [floats("hn")?, floats("cn")?] })
    }
}
