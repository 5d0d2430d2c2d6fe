//! Graphs in ONNX's format, to be changed before ONNX Runtime reads them.
//!
//! ```text
//! wire        protocol buffers: fields of a message
//! model       a model's nodes and constants; everything else is passed on as it is
//! external    the files that its weights are in
//! ```
//!
//! Memory: the bytes of the file belong to the caller. What is written refers to the weights in the file and has none.

mod external;
mod model;
mod wire;

pub(crate) use external::external_files;
pub(crate) use model::{Node, OnnxModel, element};
