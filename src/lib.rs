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

pub mod analyse;
pub mod archive;
pub mod beam;
pub mod budget;
pub mod caption;
pub mod cli;
pub mod cue;
pub mod decode;
pub mod dedup;
pub mod digest;
pub mod embed;
pub mod encode;
pub mod error;
pub mod export;
pub mod frame;
pub mod index;
pub mod interrupt;
pub mod keyframe;
pub mod live;
pub mod model;
pub mod output;
pub mod part;
pub mod picture;
pub mod pipeline;
pub mod preprocess;
pub mod probe;
pub mod progress;
pub mod remote;
pub mod resize;
pub mod runtime;
pub mod scene;
pub mod search;
pub mod thumbnail;
pub mod time;
