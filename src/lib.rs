//! descry watches video and says what is to be seen.
//!
//! Video goes through stages joined by bounded channels, one module a stage:
//!
//! [`decode`] → [`analyse`] → [`scene`] → [`keyframe`] → [`preprocess`] → [`encode`] → [`dedup`] → [`caption`] → [`cue`] → [`export`]
//!
//! [`live`] does the same of streams that never end: scenes are looked at as they come, and what is new is said at once.
//!
//! [`index`] describes many videos into an [`archive`], each once, from disks and object stores ([`remote`]).
//!
//! Every stage is a struct with plain methods and is tested without threads; only `pipeline` and `live`
//! know threads and channels.

pub mod address;
pub mod archive;
mod atomic_file;
pub mod cli;
pub mod digest;
pub mod error;
pub mod fingerprint;
pub mod interrupt;
pub mod live;
pub mod media;
pub mod message;
pub mod model;
pub mod pipeline;
pub mod scene;
pub mod time;
pub mod track;
