//! Graphs in ONNX's format: those that are changed before ONNX Runtime reads them, and those that descry makes itself.
//!
//! ```text
//! wire        protocol buffers: fields of a message
//! model       a model's nodes and constants; everything else is passed on as it is
//! external    the files that its weights are in
//! build       a new model: inputs, constants, nodes, outputs
//! floats      weights that are stored as integers and read as floats
//! in_place    the same, without taking them out of the file's bytes
//! ```
//!
//! Memory: the bytes of the file belong to the caller. A changed graph refers to the weights in its file and has none; a new
//! one holds its own until it is written.

mod build;
mod external;
mod floats;
mod in_place;
mod model;
mod wire;

pub(crate) use build::{Array, ArrayValues, GraphBuilder};
pub(crate) use external::external_files;
pub(crate) use floats::{FloatGraph, WeightValues, to_floats};
pub(crate) use in_place::{InPlaceGraph, StoredConstant, in_place};
pub(crate) use model::{Constant, Node, OnnxModel, element};
