//! Mixing: descriptions into the sound of a film. Pure arithmetic on samples: nothing here knows files, FFmpeg or threads.
//!
//! [`loudness`] measures by EBU R 128, and [`audible`] finds where there is anything to hear. [`stretch`] makes speech shorter
//! without changing its pitch. [`envelope`] says how far the programme is turned down at a time, [`mixer`] adds the speech,
//! [`pause`] puts silence into a programme, and [`limiter`] keeps [true peaks](true_peak) below a ceiling.
//!
//! Order: samples come out in the order in which they go in, and as many.
//!
//! Determinism: the result does not depend on the size of the blocks.
//!
//! Memory: one block, the speech that sounds at the moment, and the limiter's 10 ms.

mod audible;
mod envelope;
mod limiter;
mod loudness;
mod mixer;
mod pause;
mod stretch;
mod true_peak;

pub(crate) use audible::Audibility;
pub use envelope::DuckOptions;
pub(crate) use envelope::{Ducking, SpeechWindow};
pub(crate) use loudness::{BlockMeter, GatingBlock, IntegratedLoudness, LoudnessMeter, Seat, Seats, gain};
pub(crate) use mixer::{MixSpeech, Mixer};
pub(crate) use pause::PausedProgramme;
pub(crate) use stretch::stretch;
pub(crate) use true_peak::TruePeakMeter;
