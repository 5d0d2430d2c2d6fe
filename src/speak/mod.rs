//! Spoken descriptions: a film and its descriptions in, the film with a spoken track out.
//!
//! [`plan`] has every text spoken, and fits it into its pause. [`run`] measures the programme in one pass over the film, and
//! mixes and writes in a second one. [`options`] are what a caller chooses, [`language`] the names of languages.
//!
//! Order: descriptions in order of time, none over another.
//!
//! Determinism: the same film, descriptions and voice give the same bytes.
//!
//! Memory: the texts with their times, and one description as samples, besides what [`media::remux`](crate::media) and
//! [`mix`](crate::mix) hold. What was spoken is kept in a temporary file.

mod language;
mod options;
mod plan;
mod run;

pub use language::Language;
pub use options::{SpeakOptions, SpeechFit};
pub use run::{SpeakJob, SpeakReport, speak};
