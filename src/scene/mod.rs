//! Where shots begin and end, and which frame stands for each of them.

mod cuts;
mod detector;
mod dissolves;
mod fades;
pub mod keyframe;
mod seen;
pub mod thumb;
pub mod watcher;

pub use detector::*;
