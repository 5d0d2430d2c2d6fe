//! What every graph of a model folder has in common: its inputs and outputs must be those of the manifest, floats have 32 or
//! 16 bits, a run has a smallest batch, and a failure names the graph.

use half::f16;
use half::slice::HalfFloatSliceExt;
use half::vec::HalfFloatVecExt;
use ort::session::Session;
use ort::value::{DynValue, Outlet, Tensor, TensorElementType};

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

/// What to do about a graph that does not match the configuration beside it, in the hub's layout.
const HUB_MISMATCH: &str = "Download the whole folder again, or export the model in the layout of transformers.js.";

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

    /// Refuses the graph if it reads anything else, which nothing would fill.
    pub(crate) fn no_input_but(&self, known: &[&str]) -> Result<()> {
        match self.session.inputs().iter().find(|input| !known.contains(&input.name())) {
            None => Ok(()),
            Some(input) => {
                let cause = format!("{} reads {:?}, which descry does not know", self.graph, input.name());
                Err(self.folder.error(cause, self.remedy()))
            }
        }
    }

    fn remedy(&self) -> &'static str {
        if self.folder.precision().is_some() { HUB_MISMATCH } else { MISMATCH }
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
                .error(format!("{graph} has no {side} {name:?}, only {}", names.join(", ")), self.remedy()));
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
        let asking = if self.folder.precision().is_some() { "config.json" } else { "the manifest" };
        let cause = format!(
            "{graph}: {side} {name:?} is {}, and {asking} asks for {element} [{}]",
            outlet.dtype(),
            wanted.join(", ")
        );
        Err(self.folder.error(cause, self.remedy()))
    }
}

/// The type of an input's or output's floats: 16 bits where the graph says so, otherwise 32.
pub(crate) fn float_type(outlets: &[Outlet], name: &str) -> TensorElementType {
    let half = Some(TensorElementType::Float16);
    let is_half = outlets.iter().any(|o| o.name() == name && o.dtype().tensor_type() == half);
    if is_half { TensorElementType::Float16 } else { TensorElementType::Float32 }
}

/// A tensor of floats in the type that a graph reads.
pub(crate) fn floats(element: TensorElementType, shape: &[usize], values: Vec<f32>) -> ort::Result<DynValue> {
    Ok(match element {
        TensorElementType::Float16 => Tensor::from_array((shape, Vec::<f16>::from_f32_slice(&values)))?.into_dyn(),
        _ => Tensor::from_array((shape, values))?.into_dyn(),
    })
}

/// Shape and values of a tensor of floats.
pub(crate) fn floats_of(value: &DynValue) -> ort::Result<(Vec<usize>, Vec<f32>)> {
    let half = value.dtype().tensor_type() == Some(TensorElementType::Float16);
    let (shape, values) = if half {
        let (shape, values) = value.try_extract_tensor::<f16>()?;
        (shape, values.to_f32_vec())
    } else {
        let (shape, values) = value.try_extract_tensor::<f32>()?;
        (shape, values.to_vec())
    };
    Ok((shape.iter().map(|&n| n.max(0) as usize).collect(), values))
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
