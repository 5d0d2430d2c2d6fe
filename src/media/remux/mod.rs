//! Films out: what an input holds is copied, packet by packet, and a track of sound is added. Pictures are never encoded.
//!
//! [`programme`] decodes the sound of a film onto one clock. [`encoder`] encodes a track. [`writer`] writes the film: copied
//! streams ([`copy`]), the new track, and a track of texts ([`texts`]). [`format`](mod@format) knows the containers.
//!
//! Order: packets of one stream keep their order. Samples come out in order of time, and every sample has its place.
//!
//! Memory: a packet, a frame, and what FFmpeg holds to interleave streams: at most 10 s of them.

mod copy;
mod encoder;
mod format;
mod programme;
mod shared_file;
mod texts;
mod writer;

pub(crate) use encoder::AudioEncoder;
pub use format::{AudioCodec, FilmFormat};
pub(crate) use programme::{Programme, ProgrammeDecoder, convert_speech, silence};
pub(crate) use texts::{FilmText, read_texts};
pub(crate) use writer::{FilmWriter, NewTrack, WriterPlan};
