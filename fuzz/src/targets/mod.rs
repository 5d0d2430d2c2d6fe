//! The targets, by the part of descry that they read bytes with.

pub(crate) mod archive;
pub(crate) mod isolate;
pub(crate) mod live;
pub(crate) mod media;
pub(crate) mod model;
pub(crate) mod review;
