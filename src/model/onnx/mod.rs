//! Graphs in ONNX's format, to be changed before ONNX Runtime reads them.
//!
//! ```text
//! wire        protocol buffers: fields of a message
//! model       a model's nodes and constants; everything else is passed on as it is
//! ```
//!
//! Memory: weights in the file stay where they were read, and are copied once when the model is written.

mod model;
mod wire;

pub(crate) use model::{Node, OnnxModel, element};
