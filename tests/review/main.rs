//! Reviews through the real binary: its server is asked as a browser asks it, and killed as machines are.

#[path = "../common/mod.rs"]
mod common;

mod archive;
mod bad_input;
mod film;
mod learning;
mod machines;
#[cfg(unix)]
mod read_only;
mod session;
mod support;
