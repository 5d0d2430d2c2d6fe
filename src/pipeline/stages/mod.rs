//! The stages of a run, one file each, in the order of the data.

pub(crate) mod collect;
pub(crate) mod describe;
pub(crate) mod encode;
pub(crate) mod speech;
pub(crate) mod text;
pub(crate) mod watch;
