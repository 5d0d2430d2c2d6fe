//! Media in: containers, decoding, pictures, and the object stores that hold them.
//!
//! [`Source`] opens a file, URL or object and returns [`Frame`]s in order; a frame becomes an [`Rgb`] picture only where
//! one is needed. Still pictures come from [`open_picture`]. Nothing here depends on scenes or models.

pub(crate) mod access;
pub(crate) mod audio_format;
pub(crate) mod bars;
pub(crate) mod byte_source;
pub(crate) mod dash;
pub(crate) mod decode;
pub(crate) mod ffmpeg;
pub(crate) mod frame;
#[cfg(feature = "cli")]
pub(crate) mod inventory;
pub(crate) mod language;
pub(crate) mod object_store;
mod orientation;
pub(crate) mod picture;
pub(crate) mod probe;
pub(crate) mod relay;
pub(crate) mod remote;
pub(crate) mod remux;
mod resampler;
pub(crate) mod resize;
pub(crate) mod rgb;
pub(crate) mod scale;
pub(crate) mod side_track;
pub(crate) mod thumbnail;
pub(crate) mod web;

pub use access::{AccessPolicy, Authorities};
pub use bars::Bars;
pub use decode::{
    Advance, Damage, DecodeOptions, DecodedFrames, Dialogue, FrameGate, FrameSize, Source, StreamAccess, StreamFault,
    StreamInfo, check_device, container_version, decoder_threads, load_camera_support, print_warnings,
};
pub use frame::{Frame, LONGEST_SIDE};
pub use picture::{EXTENSIONS as PICTURE_EXTENSIONS, PictureOptions, StillPicture, is_picture, open as open_picture};
pub use probe::{Probe, probe};
pub(crate) use remux::PreviewEncoder;
pub use remux::{AudioCodec, FilmFormat};
pub use resize::{Resample, Window, resize};
pub use rgb::Rgb;
pub use side_track::{
    AUDIO_RATE, AudioChunk, DialogueLine, LONGEST_LINE, MediaTrack, PROGRAMME_CHANNELS, PROGRAMME_RATE, ProgrammeChunk,
    SideTrack, SideTrackData, TrackChoice, sample_at, sample_time,
};
pub use thumbnail::{ThumbnailOptions, thumbnail};
