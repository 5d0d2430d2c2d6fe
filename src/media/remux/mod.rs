//! Films out: what an input holds is copied, packet by packet, and a track of sound is added. Pictures are encoded only if
//! the film pauses.
//!
//! [`programme`] decodes the sound of a film onto one clock. [`encoder`] encodes a track, and [`round_trip`] decodes it again.
//! [`writer`] writes the film: copied streams ([`copy`]), the new track, and a track of texts ([`texts`], [`text_codec`]).
//! [`text_converter`] makes subtitles that the container cannot hold into others, with [`shown_texts`] on screen at once.
//! [`format`](mod@format) knows the containers. [`pauses`] says when everything comes in a film that pauses, whose pictures
//! [`paused_pictures`] repeats and [`picture_encoder`] encodes. [`encoder_context`] is FFmpeg's side of both encoders.
//! [`preview`] writes a film for a browser.
//!
//! Order: packets of one stream keep their order. Samples come out in order of time, and every sample has its place.
//!
//! Memory: a packet, a frame, and what FFmpeg holds to interleave streams: at most 10 s of them.

mod copy;
mod encoder;
mod encoder_context;
mod format;
mod paused_pictures;
mod pauses;
mod picture_encoder;
mod preview;
mod programme;
mod round_trip;
mod shared_file;
mod shown_texts;
mod text_codec;
mod text_converter;
mod texts;
mod ticks;
mod writer;

pub(crate) use encoder::AudioEncoder;
pub use format::{AudioCodec, FilmFormat};
pub(crate) use pauses::{FilmPause, FilmPauses};
pub(crate) use preview::PreviewEncoder;
pub(crate) use programme::{Programme, ProgrammeDecoder, SampleConverter, convert_speech};
pub(crate) use round_trip::RoundTrip;
pub(crate) use texts::{FilmText, read_texts};
pub(crate) use writer::{FilmWriter, NewTrack, WriterPlan};
