//! Moves the keys of a [`cache`](super::cache) that the host does not read: on a device with memory of its own, or in
//! half precision. A graph of six nodes does it where the keys are, so that they never leave the device.
//!
//! Memory: one tensor of keys more while it is made.

use ort::editor::{Graph, Model, Node, ONNX_DOMAIN, Opset};
use ort::operator::Attribute;
use ort::session::Session;
use ort::value::{DynValue, Outlet, Shape, SymbolicDimensions, Tensor, TensorElementType, ValueType};

use crate::error::{Error, Result};
use crate::model::runtime::{Memory, Runtime, SessionOptions, run_error};

const NAME: &str = "the graph that moves keys";
const PARTS: [&str; 3] = ["settled", "recent", "fresh"];

pub struct Mover(Session);

impl Mover {
    /// For keys of this type.
    pub fn new(element: TensorElementType, options: &SessionOptions) -> Result<Mover> {
        let runtime = Runtime::load()?;
        let model = model(element).map_err(|e| {
            Error::runtime(
                format!("{NAME} cannot be made: {e}"),
                "use an ONNX Runtime with the model editor, or --device cpu",
            )
        })?;
        runtime.made(model, NAME, options).map(Mover)
    }

    /// The rows of the parts, each slots × heads × keys × `width`, counted through all three; as a tensor of `shape`.
    pub fn run(&mut self, parts: [&DynValue; 3], rows: &[i64], shape: [i64; 4], memory: &Memory) -> Result<DynValue> {
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
        outputs.remove("moved").ok_or_else(|| super::wrong(NAME))
    }
}

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
    let mut model = Model::new([Opset::new(ONNX_DOMAIN, 17)?])?;
    model.set_graph(graph)?;
    Ok(model)
}
