//! A new model, made node by node.
//!
//! Values are named by the builder, and nodes come in the order in which they are added. What is written depends on nothing
//! else, so the same networks give the same bytes.

use std::collections::BTreeSet;
use std::io::{self, Write};

use half::f16;

use super::model::{Node, element, tensor_field};
use super::wire::{Field, head_of_bytes, write};

/// Version of ONNX's operators.
const OPSET: i64 = 17;
/// Version of the format that belongs to it.
const FORMAT: i64 = 8;
/// ONNX Runtime's own operators.
const MICROSOFT: &str = "com.microsoft";
/// Protocol buffers hold no message of more bytes.
const LARGEST: u64 = i32::MAX as u64;

mod field {
    pub(super) const MODEL_FORMAT: u64 = 1;
    pub(super) const MODEL_PRODUCER: u64 = 2;
    pub(super) const MODEL_GRAPH: u64 = 7;
    pub(super) const MODEL_OPSET: u64 = 8;
    pub(super) const OPSET_DOMAIN: u64 = 1;
    pub(super) const OPSET_VERSION: u64 = 2;
    pub(super) const GRAPH_NODE: u64 = 1;
    pub(super) const GRAPH_NAME: u64 = 2;
    pub(super) const GRAPH_CONSTANT: u64 = 5;
    pub(super) const GRAPH_INPUT: u64 = 11;
    pub(super) const GRAPH_OUTPUT: u64 = 12;
    pub(super) const VALUE_NAME: u64 = 1;
    pub(super) const VALUE_TYPE: u64 = 2;
    pub(super) const TYPE_TENSOR: u64 = 1;
    pub(super) const TENSOR_ELEMENT: u64 = 1;
    pub(super) const TENSOR_SHAPE: u64 = 2;
    pub(super) const SHAPE_DIMENSION: u64 = 1;
    pub(super) const DIMENSION_SIZE: u64 = 1;
    pub(super) const DIMENSION_NAME: u64 = 2;
}

/// The values of a constant.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ArrayValues {
    F32(Vec<f32>),
    F16(Vec<f16>),
    I8(Vec<i8>),
    U8(Vec<u8>),
    I64(Vec<i64>),
}

impl ArrayValues {
    fn element(&self) -> i64 {
        match self {
            ArrayValues::F32(_) => element::FLOAT,
            ArrayValues::F16(_) => element::FLOAT16,
            ArrayValues::I8(_) => element::INT8,
            ArrayValues::U8(_) => element::UINT8,
            ArrayValues::I64(_) => element::INT64,
        }
    }

    fn bytes(&self) -> u64 {
        let (count, size) = match self {
            ArrayValues::F32(values) => (values.len(), 4),
            ArrayValues::F16(values) => (values.len(), 2),
            ArrayValues::I8(values) => (values.len(), 1),
            ArrayValues::U8(values) => (values.len(), 1),
            ArrayValues::I64(values) => (values.len(), 8),
        };
        count as u64 * size
    }

    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        match self {
            ArrayValues::F32(values) => values.iter().try_for_each(|v| out.write_all(&v.to_le_bytes())),
            ArrayValues::F16(values) => values.iter().try_for_each(|v| out.write_all(&v.to_le_bytes())),
            ArrayValues::I8(values) => values.iter().try_for_each(|v| out.write_all(&v.to_le_bytes())),
            ArrayValues::U8(values) => out.write_all(values),
            ArrayValues::I64(values) => values.iter().try_for_each(|v| out.write_all(&v.to_le_bytes())),
        }
    }
}

/// A constant: its shape, empty for a single value, and its values, the last dimension fastest.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Array {
    pub(crate) shape: Vec<usize>,
    pub(crate) values: ArrayValues,
}

impl Array {
    /// Integers in a row.
    pub(crate) fn ints(values: &[i64]) -> Array {
        Array { shape: vec![values.len()], values: ArrayValues::I64(values.to_vec()) }
    }

    /// Floats of this shape.
    pub(crate) fn floats(shape: &[usize], values: Vec<f32>) -> Array {
        Array { shape: shape.to_vec(), values: ArrayValues::F32(values) }
    }

    /// The message of a constant up to its values, which come last.
    fn head(&self, name: &str) -> Vec<u8> {
        let mut fields: Vec<Field> =
            self.shape.iter().map(|&d| Field::int(tensor_field::DIMENSION, d as i64)).collect();
        fields.push(Field::int(tensor_field::ELEMENT, self.values.element()));
        fields.push(Field::bytes(tensor_field::NAME, name.as_bytes()));
        let mut head = write(&fields);
        head.extend(head_of_bytes(tensor_field::RAW, self.values.bytes()));
        head
    }
}

/// A model that is being made.
#[derive(Debug, Default)]
pub(crate) struct GraphBuilder {
    inputs: Vec<Field<'static>>,
    outputs: Vec<Field<'static>>,
    constants: Vec<(String, Array)>,
    names: BTreeSet<String>,
    nodes: Vec<Node<'static>>,
}

impl GraphBuilder {
    /// Adds an input. A dimension is a number, or a name where it may change.
    pub(crate) fn input(&mut self, name: &str, kind: i64, dims: &[&str]) -> String {
        self.inputs.push(value_info(field::GRAPH_INPUT, name, kind, dims));
        name.into()
    }

    /// Makes a value an output under this name.
    pub(crate) fn output(&mut self, value: &str, name: &str, kind: i64, dims: &[&str]) {
        for node in &mut self.nodes {
            for known in node.inputs.iter_mut().chain(&mut node.outputs) {
                if known == value {
                    *known = name.into();
                }
            }
        }
        self.outputs.push(value_info(field::GRAPH_OUTPUT, name, kind, dims));
    }

    /// Adds a constant under this name. One that is there already keeps its values.
    pub(crate) fn constant(&mut self, name: &str, array: impl FnOnce() -> Array) -> String {
        if self.names.insert(name.into()) {
            self.constants.push((name.into(), array()));
        }
        name.into()
    }

    /// A constant of integers in a row.
    pub(crate) fn ints(&mut self, values: &[i64]) -> String {
        let words: Vec<String> = values.iter().map(ToString::to_string).collect();
        self.constant(&format!("ints/{}", words.join(",")), || Array::ints(values))
    }

    /// Adds a node with one output and returns that.
    pub(crate) fn node(&mut self, operator: &str, inputs: &[&str]) -> String {
        self.add(Node::new(operator, inputs, ""))
    }

    /// Adds a node with one output and returns that.
    pub(crate) fn add(&mut self, mut node: Node<'static>) -> String {
        let name = format!("{}_{}", node.operator, self.nodes.len());
        node.outputs = vec![name.clone()];
        self.nodes.push(node);
        name
    }

    /// Adds a node with several outputs and returns them.
    pub(crate) fn add_many<const N: usize>(&mut self, mut node: Node<'static>) -> [String; N] {
        let names = std::array::from_fn(|i| format!("{}_{}_{i}", node.operator, self.nodes.len()));
        node.outputs = names.to_vec();
        self.nodes.push(node);
        names
    }

    /// Adds a node of ONNX Runtime's own operators.
    pub(crate) fn microsoft(&mut self, operator: &str, inputs: &[&str]) -> String {
        self.add(Node::new(operator, inputs, "").in_domain(MICROSOFT))
    }

    /// Writes the model.
    ///
    /// # Errors
    /// [`io::ErrorKind::FileTooLarge`] if it is larger than the format allows, before anything is written; otherwise those of
    /// `out`.
    pub(crate) fn write(&self, name: &str, out: &mut impl Write) -> io::Result<()> {
        let nodes: Vec<Field> = self.nodes.iter().map(|n| Field::bytes(field::GRAPH_NODE, n.write())).collect();
        let name = Field::bytes(field::GRAPH_NAME, name.as_bytes().to_vec());
        let graph = write(nodes.iter().chain([&name]).chain(&self.inputs).chain(&self.outputs));
        let heads: Vec<Vec<u8>> = self
            .constants
            .iter()
            .map(|(name, array)| {
                let head = array.head(name);
                let mut all = head_of_bytes(field::GRAPH_CONSTANT, head.len() as u64 + array.values.bytes());
                all.extend(head);
                all
            })
            .collect();
        let constants = heads.iter().zip(&self.constants).map(|(head, (_, c))| head.len() as u64 + c.values.bytes());
        let length = constants.sum::<u64>() + graph.len() as u64;
        let mut model = write(&self.model_fields());
        model.extend(head_of_bytes(field::MODEL_GRAPH, length));
        if length + model.len() as u64 > LARGEST {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "a graph holds at most 2 GiB"));
        }
        out.write_all(&model)?;
        out.write_all(&graph)?;
        for (head, (_, constant)) in heads.iter().zip(&self.constants) {
            out.write_all(head)?;
            constant.values.write(out)?;
        }
        Ok(())
    }

    fn model_fields(&self) -> Vec<Field<'static>> {
        let opset = |domain: &'static str, version| {
            let fields =
                [Field::bytes(field::OPSET_DOMAIN, domain.as_bytes()), Field::int(field::OPSET_VERSION, version)];
            Field::bytes(field::MODEL_OPSET, write(&fields))
        };
        let mut model = vec![
            Field::int(field::MODEL_FORMAT, FORMAT),
            Field::bytes(field::MODEL_PRODUCER, b"descry".as_slice()),
            opset("", OPSET),
        ];
        if self.nodes.iter().any(|node| node.domain == MICROSOFT) {
            model.push(opset(MICROSOFT, 1));
        }
        model
    }
}

fn value_info(number: u64, name: &str, kind: i64, dims: &[&str]) -> Field<'static> {
    let dims: Vec<Field> = dims
        .iter()
        .map(|dim| {
            let size = dim.parse().map(|size| Field::int(field::DIMENSION_SIZE, size));
            let size = size.unwrap_or_else(|_| Field::bytes(field::DIMENSION_NAME, dim.as_bytes().to_vec()));
            Field::bytes(field::SHAPE_DIMENSION, write(&[size]))
        })
        .collect();
    let tensor = [Field::int(field::TENSOR_ELEMENT, kind), Field::bytes(field::TENSOR_SHAPE, write(&dims))];
    let kind = [Field::bytes(field::TYPE_TENSOR, write(&tensor))];
    let value = [Field::bytes(field::VALUE_NAME, name.as_bytes()), Field::bytes(field::VALUE_TYPE, write(&kind))];
    Field::bytes(number, write(&value))
}
