//! Models from the hub: which there are, and how one comes here, whole and as it was stated.
//!
//! ```text
//! registry      models that descry knows by a name
//! environment   HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE, HF_HOME, HF_HUB_CACHE
//! listing       a commit and its files, as the hub states them
//! client        requests, redirects, and whom they may lead to
//! fault         what an answer or an error means
//! cache         files that another program of the hub has brought here
//! hashes        whether bytes are those that were stated
//! choice        which files a model needs
//! download      one file: resumed, verified, named
//! space         room on the disk
//! target        the folder that a model is collected in, and its lock
//! run           a whole model, or the files for an import
//! keep          what becomes of pulled models: checked, removed
//! ```
//!
//! Order: small files come first, because they say which graphs a model needs and whether descry can run it. The folder gets
//! its name when everything is there and verified.
//!
//! Memory: a block of 64 KiB of a file, and at most 8 MiB of a listing.
//!
//! Security: names, sizes, hashes and redirects are the server's. Only names that descry knows are asked for. The token goes to
//! the endpoint alone. A hub with a public address does not lead into private networks.

mod cache;
mod choice;
mod client;
mod download;
mod environment;
mod fault;
mod hashes;
mod keep;
mod listing;
mod registry;
mod run;
mod space;
mod target;

pub use choice::ImportPart;
#[cfg(feature = "fuzzing")]
pub(crate) use choice::chosen_files;
#[cfg(feature = "cli")]
pub(crate) use client::reach;
pub use download::PullObserver;
pub use environment::HubEnvironment;
pub use keep::{CheckedModel, check_model, remove_model};
pub use registry::{KnownModel, known_models};
pub use run::{PullJob, PulledNow, pull, pull_part};
