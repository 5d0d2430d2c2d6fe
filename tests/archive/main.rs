//! Many videos into an archive, and queries to it: local, in object stores, on many machines.

#[path = "../common/mod.rs"]
mod common;

mod faults;
mod index;
mod ray;
mod s3;
mod search;
