//! What an update of an index reports.

use crate::error::Error;

/// What an update changed.
#[derive(Debug, Default)]
pub struct UpdateReport {
    /// Videos that were added.
    pub added: usize,
    /// Videos that were removed.
    pub removed: usize,
    /// What was damaged, where the index had to be rebuilt.
    pub damage: Option<String>,
    /// Why videos could not be read. They are not in the index; the next update tries them again.
    pub unreadable: Vec<Error>,
}

/// What an update is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpdateStep {
    /// Another process is updating the index.
    Waiting,
    /// The next video is added.
    Video {
        /// Which one, from 0.
        number: usize,
        /// How many there are.
        of: usize,
    },
}
