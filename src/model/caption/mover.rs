//! Moves keys of the [`cache`](super::cache) that the host does not read: those on a device with memory of its own, and
//! those in half precision. A graph of six nodes does it where the keys are, so that they never leave the device.
//!
//! Memory: one more tensor of keys while it is made.

use ort::editor::{Graph, Model, Node, ONNX_DOMAIN, Opset};
use ort::operator::Attribute;
use ort::session::Session;
use ort::value::{DynValue, Outlet, Shape, SymbolicDimensions, Tensor, TensorElementType, ValueType};

use crate::error::{Error, Result};
use crate::message;
use crate::message::Setting;
use crate::model::device::DeviceMemory;
use crate::model::graph::{run_error, wrong_shape};
use crate::model::runtime::{Runtime, SessionOptions};

/// How messages name the graph.
const NAME: &str = "the graph that moves keys";
/// The parts that keys come from, as the graph names its inputs.
const PARTS: [&str; 3] = ["settled", "recent", "fresh"];

/// ONNX's version of the operators; the same that `tools/models.py` exports decoders with.
const OPSET: u32 = 17;

/// Copies rows of keys into a new tensor.
pub(crate) struct KeyMover(Session);

impl KeyMover {
    /// A mover for keys of this type.
    pub(crate) fn new(element: TensorElementType, options: &SessionOptions) -> Result<KeyMover> {
        let runtime = Runtime::load()?;
        let model = model(element).map_err(|e| {
            Error::runtime(
                format!("{NAME} cannot be made: {e}"),
                message!["Use an ONNX Runtime with the model editor, or set ", Setting::Device, " to cpu."],
            )
        })?;
        runtime.session_of(model, NAME, options).map(KeyMover)
    }

    /// Gathers rows of the parts into a tensor of `shape`. Each part is slots × heads × keys × head size, a row is a
    /// head's key, and rows are counted through all three parts.
    pub(crate) fn run(
        &mut self,
        parts: [&DynValue; 3],
        rows: &[i64],
        shape: [i64; 4],
        memory: &DeviceMemory,
    ) -> Result<DynValue> {
        let failed = run_error(NAME);
        let ints = |values: Vec<i64>| Tensor::from_array(([values.len()], values)).map(Tensor::into_dyn);
        let rows = ints(rows.to_vec()).map_err(&failed)?;
        let flat = ints(vec![-1, shape[3]]).map_err(&failed)?;
        let shape = ints(shape.to_vec()).map_err(&failed)?;
        let mut binding = self.0.create_binding().map_err(&failed)?;
        let own = [("rows", &rows), ("flat", &flat), ("shape", &shape)];
        for (name, value) in PARTS.into_iter().zip(parts).chain(own) {
            binding.bind_input(name, value).map_err(&failed)?;
        }
        binding.bind_output_to_device("moved", &memory.device).map_err(&failed)?;
        let mut outputs = self.0.run_binding(&binding).map_err(&failed)?;
        outputs.remove("moved").ok_or_else(|| wrong_shape(NAME))
    }
}

/// The graph: flattens the parts into rows, joins them, gathers rows and gives them their shape.
fn model(element: TensorElementType) -> ort::Result<Model> {
    let open = |name: &str, ty, rank: usize| {
        let (shape, dimension_symbols) = (Shape::new(vec![-1; rank]), SymbolicDimensions::empty(rank));
        Outlet::new(name, ValueType::Tensor { ty, shape, dimension_symbols })
    };
    let ints = ["rows", "flat", "shape"].map(|name| open(name, TensorElementType::Int64, 1));
    let mut graph = Graph::new()?;
    graph.set_inputs(PARTS.iter().map(|name| open(name, element, 4)).chain(ints))?;
    graph.set_outputs([open("moved", element, 4)])?;
    let mut add = |kind: &str, inputs: &[&str], output: &str, attributes: Vec<Attribute>| {
        graph.add_node(Node::new(kind, ONNX_DOMAIN, output, inputs, [output], attributes)?)
    };
    let flat = ["settled rows", "recent rows", "fresh rows"];
    for (part, rows) in PARTS.into_iter().zip(flat) {
        add("Reshape", &[part, "flat"], rows, vec![])?;
    }
    add("Concat", &flat, "all", vec![Attribute::new("axis", 0i64)?])?;
    add("Gather", &["all", "rows"], "kept", vec![Attribute::new("axis", 0i64)?])?;
    add("Reshape", &["kept", "shape"], "moved", vec![])?;
    let mut model = Model::new([Opset::new(ONNX_DOMAIN, OPSET)?])?;
    model.set_graph(graph)?;
    Ok(model)
}
