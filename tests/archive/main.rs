//! Archives: indexing many videos and searching them, locally, in object stores and on many machines.

#[path = "../common/mod.rs"]
mod common;

mod faults;
mod hostile;
mod index;
mod isolation;
mod ray;
mod s3;
mod search;
