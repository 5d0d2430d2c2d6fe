//! Reviews through the real binary: its server is asked as a browser asks it, and killed as machines are.

#[path = "../common/mod.rs"]
mod common;

mod bad_input;
mod film;
mod machines;
mod session;
mod support;
