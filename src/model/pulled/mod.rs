//! Models that `descry model pull` brought here: how they are named, where they are, and what they were when they came.
//!
//! ```text
//! reference   NAME or hf:OWNER/NAME@REV
//! record      descry-pull.json, in the folder of each model
//! store       the folder of all pulled models
//! ```
//!
//! The record holds the SHA-256 of every file as it came. Opening the folder compares them, so that the model of tomorrow is
//! that of today.

mod record;
mod reference;
mod store;

pub use record::{PullRecord, PulledModel};
pub(crate) use record::{RECORD, check_against_record};
pub use reference::ModelReference;
pub(crate) use reference::{HUB, is_file_name};
pub(crate) use store::{PARTIAL, store_folder};
pub use store::{find_pulled, list_pulled, pulled_as};
