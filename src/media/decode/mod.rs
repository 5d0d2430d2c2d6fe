//! Decoding: a file or URL in, frames in presentation order out.
//!
//! A [`Source`] owns the demuxer and the decoder of one input. Frames come with strictly increasing times, counted from
//! the container's start. Memory is bounded by FFmpeg's own frame threads: a [`Frame`](crate::media::frame::Frame) is a
//! reference to the decoder's buffer, not a copy, and lives only as long as a later stage holds it.
//!
//! Broken packets and frames do not end decoding. They are counted in [`Damage`], so that a file that decodes in part is
//! described in part.
//!
//! [`Source::connect`] opens live sources: it names the kind of each failure, stamps packets as they arrive, and lets a
//! caller that cannot keep up skip to the next keyframe.
//!
//! From the bottom up: [`container`] opens a file, URL or object, of an allowed [format](formats) and with everything that
//! its content names going through [`nested`]; objects and web servers are read through [`byte_io`]; [`open_input`]
//! owns all of it. [`relayed`] opens RTSP and RTMP. [`stream`] chooses the video stream and opens its decoder; [`demux`]
//! reads packets; [`skip`] leaves some out, by what their [`syntax`] says; [`source`] turns them into frames, whose times
//! come from [`clock`]; [`open`] and [`live`] are the two ways to create a source.
//! [`film`] reads the packets of all streams, to copy them.
//!
//! In the same pass as the pictures a source can read one track of sound or subtitles, the side track:
//! [`side_track_packets`] finds its packets, and [`side_track_reader`] follows it. [`tracks`] chooses the track;
//! [`audio_decoder`] or [`subtitle_decoder`] decodes it; [`resampler`](super::resampler) and [`sample_grid`] bring samples
//! into one form and into their places. [`dialogue`] reads a file of subtitles with the same decoder.

mod arrivals;
mod audio_decoder;
mod byte_io;
mod clock;
mod container;
mod deadline;
mod demux;
mod device;
mod dialogue;
mod encrypted_bytes;
mod film;
mod formats;
mod gate;
mod live;
mod log;
mod named_pipe;
mod nested;
mod open;
mod open_input;
mod options;
mod programme_buffer;
mod ranges;
mod reading;
mod relayed;
mod sample_grid;
mod seek;
mod side_track_packets;
mod side_track_reader;
mod skip;
mod source;
mod stream;
mod subtitle_decoder;
mod syntax;
mod tracks;
mod web_input;

pub(crate) use clock::FrameClock;
pub use container::container_version;
pub use device::{check_device, load_camera_support};
pub use dialogue::Dialogue;
pub(crate) use film::WholeFilm;
pub use gate::{FrameGate, FrameSize};
pub use live::{Advance, StreamAccess, StreamFault};
pub use log::print_warnings;
pub(crate) use log::{init, prints_warnings};
pub use options::{Damage, DecodeOptions, DecodedFrames, StreamInfo, decoder_threads};
pub(crate) use skip::MOST_PENDING;
pub(crate) use source::Polled;
pub use source::Source;
pub(crate) use stream::VideoDecoder;
pub(crate) use subtitle_decoder::DecodedText;
