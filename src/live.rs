//! Live streams: described as they come, told to any number of outputs.

pub mod event;
pub mod http;
pub mod hub;
pub mod line;
pub mod metrics;
pub mod outputs;
pub mod sinks;
pub mod wall;
