//! Where events go.

pub mod jsonl;
