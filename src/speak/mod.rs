//! Spoken descriptions: a film and its descriptions in, the film with a spoken track out.
//!
//! [`measure`] decodes the programme once, to find how loud it is and where people talk. [`plan`] has every text spoken, and
//! fits it into its room. [`mixdown`] mixes and writes in a second pass, with [`other_sound`] if the film pauses. [`run`] does
//! all of this; [`setup`] decides what is written. [`job`] is what a caller asks for and gets, [`options`] what it chooses,
//! [`language`] the names of languages.
//!
//! Order: descriptions in order of time, none over another.
//!
//! Determinism: the same film, descriptions and voice give the same bytes.
//!
//! Memory: the texts with their times, and one description as samples, besides what [`media::remux`](crate::media) and
//! [`mix`](crate::mix) hold. What was spoken is kept in a temporary file.

mod job;
mod language;
mod measure;
mod mixdown;
mod options;
mod other_sound;
mod plan;
mod run;
mod setup;

pub use job::{DescriptionSource, SpeakJob, SpeakReport};
pub use language::Language;
pub use options::{DialogueSource, SpeakOptions, SpeechFit};
pub use run::speak;
