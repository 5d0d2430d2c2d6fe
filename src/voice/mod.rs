//! Voices: programs that read a text on standard input and write a WAV file to standard output.
//!
//! [`preset`] knows the command lines of common ones; [`process`] runs one, with limits; [`wav`] reads what it writes,
//! with no more trust than in any other input, and writes WAV files for players; [`speaker`] keeps what was spoken.
//!
//! Order: one program at a time, in the order in which texts are asked for.
//!
//! Memory: what one program writes (64 MiB at most). What was spoken is kept in a temporary file, of 2 GiB at most.

mod preset;
mod process;
mod speaker;
mod wav;

pub use preset::{Voice, VoicePreset};
pub use speaker::{Speaker, SpokenText, VoiceOptions};
pub(crate) use wav::write_wav;
