//! What every graph of a model folder has in common: its inputs and outputs must be those of the manifest, a run has a
//! smallest batch, and a failure names the graph.

use ort::session::Session;
use ort::value::{Outlet, TensorElementType};

use crate::error::{Error, Result};
use crate::message;
use crate::message::Setting;
use crate::model::folder::ModelFolder;

/// Fewest rows of a batch. ONNX Runtime's matrix kernels take another path for a single row, which rounds
/// differently, and a result must not depend on what else is in the batch. So a single row is run together with a
/// padding row.
pub(crate) const LEAST_ROWS: usize = 2;

/// What to do about a graph that does not match its manifest.
pub(crate) const MISMATCH: &str = "Make the model folder again: its manifest and its graphs do not belong together.";

/// A dimension that a graph must have: exactly this, or any (batches, and lengths that change).
pub(crate) type Dimension = Option<usize>;

/// Compares a graph's inputs and outputs with what the manifest asks for.
pub(crate) struct GraphCheck<'a> {
    folder: &'a ModelFolder,
    graph: &'a str,
    session: &'a Session,
}

impl<'a> GraphCheck<'a> {
    pub(crate) fn new(folder: &'a ModelFolder, graph: &'a str, session: &'a Session) -> GraphCheck<'a> {
        GraphCheck { folder, graph, session }
    }

    /// Refuses the graph if this input is missing or has another type or shape.
    pub(crate) fn input(&self, name: &str, element: TensorElementType, dims: &[Dimension]) -> Result<()> {
        self.outlet("input", self.session.inputs(), name, element, dims)
    }

    /// Refuses the graph if this output is missing or has another type or shape.
    pub(crate) fn output(&self, name: &str, element: TensorElementType, dims: &[Dimension]) -> Result<()> {
        self.outlet("output", self.session.outputs(), name, element, dims)
    }

    fn outlet(
        &self,
        side: &str,
        outlets: &[Outlet],
        name: &str,
        element: TensorElementType,
        dims: &[Dimension],
    ) -> Result<()> {
        let graph = self.graph;
        let Some(outlet) = outlets.iter().find(|o| o.name() == name) else {
            let names: Vec<&str> = outlets.iter().map(|o| o.name()).collect();
            return Err(self
                .folder
                .error(format!("{graph} has no {side} {name:?}, only {}", names.join(", ")), MISMATCH));
        };
        let shape = outlet.dtype().tensor_shape();
        let fits = outlet.dtype().tensor_type() == Some(element)
            && shape.is_some_and(|s| {
                // A graph may leave a size open (negative); where it fixes one, it must be the manifest's.
                s.len() == dims.len()
                    && s.iter().zip(dims).all(|(have, want)| *have < 0 || want.is_none_or(|w| *have == w as i64))
            });
        if fits {
            return Ok(());
        }
        let wanted: Vec<String> = dims.iter().map(|d| d.map_or("?".into(), |d| d.to_string())).collect();
        let cause = format!(
            "{graph}: {side} {name:?} is {}, and the manifest asks for {element} [{}]",
            outlet.dtype(),
            wanted.join(", ")
        );
        Err(self.folder.error(cause, MISMATCH))
    }
}

/// Turns the error of a run into one that names its graph.
pub(crate) fn run_error(graph: &str) -> impl Fn(ort::Error) -> Error + '_ {
    move |e| {
        Error::runtime(
            format!("{graph} failed: {e}"),
            message!["If memory ran out, lower ", Setting::Batch, ". Otherwise make the model folder again."],
        )
        .with_source(e)
    }
}

/// The error of a graph whose result has not the shape that its manifest promises.
pub(crate) fn wrong_shape(graph: &str) -> Error {
    Error::runtime(format!("{graph} gave a result of the wrong shape"), "Make the model folder again.")
}
