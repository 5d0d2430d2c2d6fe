//! Where the keys of a decoder are between two steps, and how some of their rows are chosen.
//!
//! On the CPU, the decoder leaves them in the host's memory, and rows are copied by hand. On a device with memory of its
//! own, inputs and outputs are bound, so that the keys stay there and only logits come back; a graph gathers rows where
//! they are.
//!
//! Memory: one more tensor of each kind while rows are chosen.

use half::f16;
use ort::editor::{Graph, Model, Node, ONNX_DOMAIN, Opset};
use ort::operator::Attribute;
use ort::session::{Session, SessionInputValue};
use ort::value::{
    DynValue, Outlet, PrimitiveTensorElementType, Shape, SymbolicDimensions, Tensor, TensorElementType, ValueType,
};

use crate::error::{Error, Result};
use crate::message;
use crate::message::Setting;
use crate::model::device::DeviceMemory;
use crate::model::graph::{run_error, wrong_shape};
use crate::model::runtime::{Runtime, SessionOptions};

/// How messages name the graph that gathers rows.
const NAME: &str = "the graph that chooses rows of keys";
/// ONNX's version of the operators.
const OPSET: u32 = 17;

/// The form of some tensors whose rows belong together.
#[derive(Clone, Copy)]
pub(super) struct RowsForm {
    pub(super) element: TensorElementType,
    /// Dimensions of a tensor; the first one counts rows.
    pub(super) rank: usize,
    /// How many tensors are kept at most.
    pub(super) tensors: usize,
}

/// Keeps tensors of rows between two steps.
pub(super) struct RowKeeper {
    element: TensorElementType,
    /// `None` where the host reads the tensors.
    bound: Option<BoundRows>,
}

struct BoundRows {
    memory: DeviceMemory,
    gather: Session,
}

impl RowKeeper {
    pub(super) fn new(form: RowsForm, options: &SessionOptions) -> Result<RowKeeper> {
        let memory = DeviceMemory::of(options.device, options.bind_keys)?;
        let bound = if memory.is_bound() {
            let model = model(form).map_err(|e| {
                let remedy =
                    message!["Use an ONNX Runtime with the model editor, or set ", Setting::Device, " to cpu."];
                Error::runtime(format!("{NAME} cannot be made: {e}"), remedy).with_source(e)
            })?;
            Some(BoundRows { memory, gather: Runtime::load()?.session_of(model, NAME, options)? })
        } else {
            None
        };
        Ok(RowKeeper { element: form.element, bound })
    }

    /// Runs a decoder over its own inputs and tensors that were kept. Returns its logits, which the host can read, and
    /// the outputs named in `keep`. `file` names the graph in messages.
    pub(super) fn run<'n>(
        &self,
        (session, file): (&mut Session, &str),
        own: &'n [(&'n str, DynValue)],
        kept: impl Iterator<Item = (&'n str, &'n DynValue)>,
        keep: &[&str],
    ) -> Result<(DynValue, Vec<DynValue>)> {
        let failed = run_error(file);
        let inputs = own.iter().map(|(name, value)| (*name, value)).chain(kept);
        let binding;
        let mut outputs = if let Some(bound) = &self.bound {
            let mut made = session.create_binding().map_err(&failed)?;
            for (name, value) in inputs {
                made.bind_input(name, value).map_err(&failed)?;
            }
            made.bind_output_to_device("logits", &bound.memory.host).map_err(&failed)?;
            for name in keep {
                made.bind_output_to_device(*name, &bound.memory.device).map_err(&failed)?;
            }
            binding = made;
            session.run_binding(&binding).map_err(&failed)?
        } else {
            let inputs: Vec<(&str, SessionInputValue)> = inputs.map(|(name, value)| (name, value.into())).collect();
            session.run(inputs).map_err(&failed)?
        };
        let mut take = |name: &str| outputs.remove(name).ok_or_else(|| wrong_shape(file));
        Ok((take("logits")?, keep.iter().map(|name| take(name)).collect::<Result<_>>()?))
    }

    /// Some rows of each tensor, in this order; a row may come several times. All of them in their order cost nothing.
    /// There are as many tensors as the form says.
    pub(super) fn select(&mut self, values: Vec<DynValue>, rows: &[usize]) -> Result<Vec<DynValue>> {
        let failed = run_error(NAME);
        let Some(bound) = &mut self.bound else {
            return values.into_iter().map(|v| select_rows(self.element, v, rows).map_err(&failed)).collect();
        };
        if values.iter().all(|value| is_whole(value, rows)) { Ok(values) } else { bound.select(&values, rows) }
    }

    /// The tensors where the decoder reads them, if that is not where the host made them.
    pub(super) fn place(&mut self, values: Vec<DynValue>, rows: usize) -> Result<Vec<DynValue>> {
        match &mut self.bound {
            Some(bound) => bound.select(&values, &(0..rows).collect::<Vec<_>>()),
            None => Ok(values),
        }
    }
}

impl BoundRows {
    fn select(&mut self, values: &[DynValue], rows: &[usize]) -> Result<Vec<DynValue>> {
        let failed = run_error(NAME);
        let rows: Vec<i64> = rows.iter().map(|&row| row as i64).collect();
        let rows = Tensor::from_array(([rows.len()], rows)).map_err(&failed)?;
        let mut binding = self.gather.create_binding().map_err(&failed)?;
        binding.bind_input("rows", &rows).map_err(&failed)?;
        for (n, value) in values.iter().enumerate() {
            binding.bind_input(whole(n), value).map_err(&failed)?;
            binding.bind_output_to_device(chosen(n), &self.memory.device).map_err(&failed)?;
        }
        let mut outputs = self.gather.run_binding(&binding).map_err(&failed)?;
        (0..values.len()).map(|n| outputs.remove(chosen(n)).ok_or_else(|| wrong_shape(NAME))).collect()
    }
}

fn whole(n: usize) -> String {
    format!("whole_{n}")
}

fn chosen(n: usize) -> String {
    format!("chosen_{n}")
}

/// The graph: gathers the same rows of each tensor.
fn model(form: RowsForm) -> ort::Result<Model> {
    let open = |name: &str, ty, rank: usize| {
        let (shape, dimension_symbols) = (Shape::new(vec![-1; rank]), SymbolicDimensions::empty(rank));
        Outlet::new(name, ValueType::Tensor { ty, shape, dimension_symbols })
    };
    let tensors = |name: fn(usize) -> String| {
        (0..form.tensors).map(move |n| open(&name(n), form.element, form.rank)).collect::<Vec<_>>()
    };
    let mut graph = Graph::new()?;
    graph.set_inputs(tensors(whole).into_iter().chain([open("rows", TensorElementType::Int64, 1)]))?;
    graph.set_outputs(tensors(chosen))?;
    for n in 0..form.tensors {
        let (input, output) = (whole(n), chosen(n));
        let axis = Attribute::new("axis", 0i64)?;
        graph.add_node(Node::new("Gather", ONNX_DOMAIN, &output, [&input, "rows"], [&output], [axis])?)?;
    }
    let mut model = Model::new([Opset::new(ONNX_DOMAIN, OPSET)?])?;
    model.set_graph(graph)?;
    Ok(model)
}

/// Whether these rows are all of a tensor's, in their order.
fn is_whole(value: &DynValue, rows: &[usize]) -> bool {
    let have = value.dtype().tensor_shape().and_then(|shape| shape.first().copied());
    have == i64::try_from(rows.len()).ok() && rows.iter().enumerate().all(|(n, &row)| n == row)
}

fn select_rows(element: TensorElementType, value: DynValue, rows: &[usize]) -> ort::Result<DynValue> {
    match element {
        _ if is_whole(&value, rows) => Ok(value),
        TensorElementType::Float16 => select_rows_of::<f16>(&value, rows),
        _ => select_rows_of::<f32>(&value, rows),
    }
}

fn select_rows_of<T>(value: &DynValue, rows: &[usize]) -> ort::Result<DynValue>
where
    T: PrimitiveTensorElementType + Copy + std::fmt::Debug + 'static,
{
    let (shape, all) = value.try_extract_tensor::<T>()?;
    let mut shape: Vec<usize> = shape.iter().map(|&n| n.max(0) as usize).collect();
    let size = all.len() / shape.first().copied().unwrap_or(0).max(1);
    let mut data = Vec::with_capacity(rows.len() * size);
    rows.iter().for_each(|&row| data.extend_from_slice(&all[row * size..(row + 1) * size]));
    shape[0] = rows.len();
    Ok(Tensor::from_array((shape, data))?.into_dyn())
}
