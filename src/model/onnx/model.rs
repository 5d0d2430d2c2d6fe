//! A model's nodes and constants. What else the file holds is passed on as it is.
//!
//! The numbers are those of the fields in ONNX's `onnx.proto`.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::wire::{Field, read, read_packed, write};

mod model_field {
    pub(super) const GRAPH: u64 = 7;
    pub(super) const OPSET: u64 = 8;
}

mod graph_field {
    pub(super) const NODE: u64 = 1;
    pub(super) const INITIALIZER: u64 = 5;
    pub(super) const INPUT: u64 = 11;
    pub(super) const OUTPUT: u64 = 12;
    pub(super) const VALUE_INFO: u64 = 13;
}

mod node_field {
    pub(super) const INPUT: u64 = 1;
    pub(super) const OUTPUT: u64 = 2;
    pub(super) const OPERATOR: u64 = 4;
    pub(super) const ATTRIBUTE: u64 = 5;
    pub(super) const DOMAIN: u64 = 7;
}

mod attribute_field {
    pub(super) const NAME: u64 = 1;
    pub(super) const FLOAT: u64 = 2;
    pub(super) const TENSOR: u64 = 5;
    pub(super) const INT: u64 = 3;
    pub(super) const GRAPH: u64 = 6;
    pub(super) const GRAPHS: u64 = 11;
    pub(super) const INTS: u64 = 8;
    pub(super) const TYPE: u64 = 20;
    /// Values of the type.
    pub(super) const IS_FLOAT: i64 = 1;
    pub(super) const IS_TENSOR: i64 = 4;
    pub(super) const IS_INT: i64 = 2;
    pub(super) const IS_INTS: i64 = 7;
}

pub(super) mod tensor_field {
    pub(in crate::model::onnx) const DIMENSION: u64 = 1;
    pub(in crate::model::onnx) const ELEMENT: u64 = 2;
    /// Integers of up to 32 bits, each as a number of its own.
    pub(in crate::model::onnx) const INTS: u64 = 5;
    pub(in crate::model::onnx) const NAME: u64 = 8;
    pub(in crate::model::onnx) const RAW: u64 = 9;
    pub(in crate::model::onnx) const EXTERNAL: u64 = 13;
    pub(in crate::model::onnx) const LOCATION: u64 = 14;
    /// Where values are that are in another file.
    pub(in crate::model::onnx) const IS_EXTERNAL: i64 = 1;
}

/// Types of a tensor's values.
pub(crate) mod element {
    pub(crate) const FLOAT: i64 = 1;
    pub(crate) const UINT8: i64 = 2;
    pub(crate) const INT8: i64 = 3;
    pub(crate) const INT32: i64 = 6;
    pub(crate) const INT64: i64 = 7;
    pub(crate) const FLOAT16: i64 = 10;
}

mod value_field {
    pub(super) const NAME: u64 = 1;
}

mod entry_field {
    pub(super) const KEY: u64 = 1;
    pub(super) const VALUE: u64 = 2;
}

mod opset_field {
    pub(super) const DOMAIN: u64 = 1;
    pub(super) const VERSION: u64 = 2;
}

/// An operation: what it reads and what it makes, by name.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node<'a> {
    pub(crate) operator: String,
    /// Empty for the operators of ONNX itself.
    pub(crate) domain: String,
    pub(crate) inputs: Vec<String>,
    pub(crate) outputs: Vec<String>,
    /// Attributes, name, documentation.
    rest: Vec<Field<'a>>,
}

impl<'a> Node<'a> {
    /// A node of ONNX's own operators with one output.
    pub(crate) fn new(operator: &str, inputs: &[&str], output: &str) -> Node<'a> {
        Node {
            operator: operator.into(),
            domain: String::new(),
            inputs: inputs.iter().map(ToString::to_string).collect(),
            outputs: vec![output.into()],
            rest: Vec::new(),
        }
    }

    /// With an attribute that is an integer.
    pub(crate) fn with_int(self, name: &str, value: i64) -> Node<'a> {
        self.with(name, attribute_field::IS_INT, vec![Field::int(attribute_field::INT, value)])
    }

    /// With an attribute that is a list of integers.
    pub(crate) fn with_ints(self, name: &str, values: &[i64]) -> Node<'a> {
        let values = values.iter().map(|&v| Field::int(attribute_field::INTS, v)).collect();
        self.with(name, attribute_field::IS_INTS, values)
    }

    /// With an attribute that is a float.
    pub(crate) fn with_float(self, name: &str, value: f32) -> Node<'a> {
        self.with(name, attribute_field::IS_FLOAT, vec![Field::float(attribute_field::FLOAT, value)])
    }

    /// With an attribute that is a tensor of one value, as [`element`] and the bytes of the value.
    pub(crate) fn with_value(self, name: &str, element: i64, value: &[u8]) -> Node<'a> {
        let tensor = [
            Field::int(tensor_field::DIMENSION, 1),
            Field::int(tensor_field::ELEMENT, element),
            Field::bytes(tensor_field::RAW, value),
        ];
        self.with(name, attribute_field::IS_TENSOR, vec![Field::bytes(attribute_field::TENSOR, write(&tensor))])
    }

    /// With operators of this domain.
    pub(crate) fn in_domain(mut self, domain: &str) -> Node<'a> {
        self.domain = domain.into();
        self
    }

    fn with(mut self, name: &str, kind: i64, mut fields: Vec<Field<'static>>) -> Node<'a> {
        fields.push(Field::int(attribute_field::TYPE, kind));
        let name = Field::bytes(attribute_field::NAME, name.as_bytes());
        self.rest.push(Field::bytes(node_field::ATTRIBUTE, write([&name].into_iter().chain(&fields))));
        self
    }

    fn read(bytes: &'a [u8]) -> Option<Node<'a>> {
        let mut node = Node::new("", &[], "");
        node.outputs.clear();
        for field in read(bytes)? {
            let text = || Some(std::str::from_utf8(field.as_bytes()?).ok()?.to_string());
            match field.number() {
                node_field::INPUT => node.inputs.push(text()?),
                node_field::OUTPUT => node.outputs.push(text()?),
                node_field::OPERATOR => node.operator = text()?,
                node_field::DOMAIN => node.domain = text()?,
                _ => node.rest.push(field),
            }
        }
        Some(node)
    }

    pub(super) fn write(&self) -> Vec<u8> {
        let mut fields: Vec<Field> = Vec::new();
        fields.extend(self.inputs.iter().map(|i| Field::bytes(node_field::INPUT, i.as_bytes())));
        fields.extend(self.outputs.iter().map(|o| Field::bytes(node_field::OUTPUT, o.as_bytes())));
        fields.push(Field::bytes(node_field::OPERATOR, self.operator.as_bytes()));
        if !self.domain.is_empty() {
            fields.push(Field::bytes(node_field::DOMAIN, self.domain.as_bytes()));
        }
        write(fields.iter().chain(&self.rest))
    }

    /// The fields of its attributes.
    fn attributes(&self) -> impl Iterator<Item = Vec<Field<'_>>> {
        let attributes = self.rest.iter().filter(|f| f.number() == node_field::ATTRIBUTE);
        attributes.filter_map(|f| read(f.as_bytes()?))
    }

    /// An attribute that is an integer.
    pub(crate) fn int(&self, name: &str) -> Option<i64> {
        self.attributes().find_map(|fields| {
            let named =
                fields.iter().any(|f| f.number() == attribute_field::NAME && f.as_bytes() == Some(name.as_bytes()));
            let value = || fields.iter().find(|f| f.number() == attribute_field::INT)?.as_int();
            named.then(value).flatten()
        })
    }

    /// Whether it holds graphs of its own: a branch or a loop.
    pub(crate) fn has_graphs(&self) -> bool {
        let graphs = [attribute_field::GRAPH, attribute_field::GRAPHS];
        self.attributes().flatten().any(|f| graphs.contains(&f.number()))
    }
}

/// Constants of more bytes are not copied.
const SMALL: usize = 1024;

/// A model whose nodes can be changed.
#[derive(Debug)]
pub(crate) struct OnnxModel<'a> {
    /// The file.
    bytes: &'a [u8],
    /// Everything but the graph.
    model: Vec<Field<'a>>,
    /// Everything but the nodes, and new constants.
    graph: Vec<Field<'a>>,
    /// In an order in which each node comes behind those whose results it reads.
    pub(crate) nodes: Vec<Node<'a>>,
}

impl<'a> OnnxModel<'a> {
    /// Reads a model; `None` if the bytes are not one.
    pub(crate) fn read(bytes: &'a [u8]) -> Option<OnnxModel<'a>> {
        let (graph, model): (Vec<Field>, Vec<Field>) =
            read(bytes)?.into_iter().partition(|f| f.number() == model_field::GRAPH);
        let graph = read(graph.first()?.borrowed_bytes()?)?;
        let (nodes, graph): (Vec<Field>, Vec<Field>) = graph.into_iter().partition(|f| f.number() == graph_field::NODE);
        let nodes = nodes.iter().map(|field| Node::read(field.borrowed_bytes()?)).collect::<Option<_>>()?;
        Some(OnnxModel { bytes, model, graph, nodes })
    }

    /// Writes the model. The values of its constants are left where they are, in the file of this name, and the new model
    /// refers to them.
    ///
    /// Types and shapes between the nodes are left out: they are optional, and may no longer be true.
    pub(crate) fn write(&self, file: &str) -> Vec<u8> {
        self.write_with(|constant| self.referred(constant, file))
    }

    /// Writes the model with the values of its constants.
    pub(crate) fn write_whole(&self) -> Vec<u8> {
        self.write_with(|_| None)
    }

    fn write_with(&self, constant: impl Fn(&Field<'a>) -> Option<Field<'a>>) -> Vec<u8> {
        let nodes: Vec<Field> = self.nodes.iter().map(|n| Field::bytes(graph_field::NODE, n.write())).collect();
        let rest = self.graph.iter().filter(|f| f.number() != graph_field::VALUE_INFO);
        let rest: Vec<Field> = rest.map(|f| constant(f).unwrap_or_else(|| f.clone())).collect();
        let graph = Field::bytes(model_field::GRAPH, write(nodes.iter().chain(&rest)));
        write(self.model.iter().chain([&graph]))
    }

    /// A large constant whose values are in the file, as one that refers to them.
    fn referred(&self, field: &Field<'a>, file: &str) -> Option<Field<'a>> {
        if field.number() != graph_field::INITIALIZER {
            return None;
        }
        let fields = read(field.borrowed_bytes()?)?;
        let raw = fields.iter().find(|f| f.number() == tensor_field::RAW)?.borrowed_bytes()?;
        let offset = (raw.as_ptr() as usize).checked_sub(self.bytes.as_ptr() as usize)?;
        if raw.len() <= SMALL {
            return None;
        }
        let rest = fields.iter().filter(|f| f.number() != tensor_field::RAW);
        let place = place(file, offset, raw.len());
        Some(Field::bytes(graph_field::INITIALIZER, write(rest.chain(&place))))
    }

    /// The version of ONNX's own operators; 0 if the model does not say.
    pub(crate) fn opset(&self) -> i64 {
        self.opsets().find(|(domain, _)| domain.is_empty() || domain == "ai.onnx").map_or(0, |(_, version)| version)
    }

    fn opsets(&self) -> impl Iterator<Item = (String, i64)> {
        let opsets = self.model.iter().filter(|f| f.number() == model_field::OPSET);
        opsets.filter_map(|f| {
            let fields = read(f.as_bytes()?)?;
            let of = |number| fields.iter().find(|f| f.number() == number);
            let domain = of(opset_field::DOMAIN).and_then(|f| f.as_bytes()).unwrap_or_default();
            Some((String::from_utf8_lossy(domain).into_owned(), of(opset_field::VERSION)?.as_int()?))
        })
    }

    /// All constants of the file, by name.
    pub(crate) fn constants(&self) -> BTreeMap<&'a str, Constant<'a>> {
        let initializers = self.graph.iter().filter(|f| f.number() == graph_field::INITIALIZER);
        let constants = initializers.filter_map(|f| Constant::read(f.borrowed_bytes()?));
        constants.map(|constant| (constant.name, constant)).collect()
    }

    /// Names of what the graph reads and of what it returns.
    pub(crate) fn outside(&self) -> impl Iterator<Item = &str> {
        let values = self.graph.iter().filter(|f| [graph_field::INPUT, graph_field::OUTPUT].contains(&f.number()));
        let names = values.filter_map(|f| read(f.borrowed_bytes()?));
        let names =
            names.filter_map(|fields| fields.iter().find(|f| f.number() == value_field::NAME)?.borrowed_bytes());
        names.filter_map(|name| std::str::from_utf8(name).ok())
    }

    /// Removes constants that nothing reads any more.
    pub(crate) fn remove_constants(&mut self, names: &BTreeSet<&str>) {
        self.graph.retain(|f| {
            let of = |f: &Field<'a>| Constant::read(f.borrowed_bytes()?);
            f.number() != graph_field::INITIALIZER || of(f).is_none_or(|constant| !names.contains(constant.name))
        });
    }

    /// Adds a constant whose values are given to ONNX Runtime by its name. They are said to be in the file, and are not read
    /// from it.
    pub(crate) fn add_constant_of(&mut self, name: &str, dims: &[i64], element: i64, file: &str) {
        let mut fields: Vec<Field> = dims.iter().map(|&d| Field::int(tensor_field::DIMENSION, d)).collect();
        fields.push(Field::int(tensor_field::ELEMENT, element));
        fields.push(Field::bytes(tensor_field::NAME, name.as_bytes()));
        let place = place(file, 0, 0);
        self.graph.push(Field::bytes(graph_field::INITIALIZER, write(fields.iter().chain(&place))));
    }

    /// Adds a constant: one 32-bit float.
    pub(crate) fn add_float(&mut self, name: &str, value: f32) {
        self.add_tensor(name, element::FLOAT, &[], value.to_le_bytes().to_vec());
    }

    /// Adds a constant: a list of integers.
    pub(crate) fn add_ints(&mut self, name: &str, values: &[i64]) {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.add_tensor(name, element::INT64, &[values.len() as i64], bytes);
    }

    /// Adds a constant: a list of 32-bit integers.
    pub(crate) fn add_ints32(&mut self, name: &str, values: &[i32]) {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.add_tensor(name, element::INT32, &[values.len() as i64], bytes);
    }

    fn add_tensor(&mut self, name: &str, kind: i64, dims: &[i64], values: Vec<u8>) {
        let mut fields: Vec<Field> = dims.iter().map(|&d| Field::int(tensor_field::DIMENSION, d)).collect();
        fields.push(Field::int(tensor_field::ELEMENT, kind));
        fields.push(Field::bytes(tensor_field::NAME, name.as_bytes()));
        fields.push(Field::bytes(tensor_field::RAW, values));
        self.graph.push(Field::bytes(graph_field::INITIALIZER, write(&fields)));
    }
}

/// Fields of a tensor: its values are in this file.
fn place(file: &str, offset: usize, bytes: usize) -> Vec<Field<'static>> {
    let entry = |(key, value): (&str, String)| {
        let pair = [Field::bytes(entry_field::KEY, key.as_bytes()), Field::bytes(entry_field::VALUE, value.as_bytes())];
        Field::bytes(tensor_field::EXTERNAL, write(&pair))
    };
    let place = [("location", file.into()), ("offset", offset.to_string()), ("length", bytes.to_string())];
    let location = Field::int(tensor_field::LOCATION, tensor_field::IS_EXTERNAL);
    place.into_iter().map(entry).chain([location]).collect()
}

/// A constant with its values as they are in memory.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Constant<'a> {
    pub(super) name: &'a str,
    /// Rows, columns and so on; empty for a single value.
    pub(crate) dims: Vec<i64>,
    /// One of [`element`].
    pub(crate) element: i64,
    pub(crate) values: Cow<'a, [u8]>,
}

impl<'a> Constant<'a> {
    fn read(bytes: &'a [u8]) -> Option<Constant<'a>> {
        let mut constant = Constant { name: "", dims: Vec::new(), element: 0, values: Cow::Borrowed(&[]) };
        let mut ints = Vec::new();
        for field in read(bytes)? {
            match field.number() {
                tensor_field::DIMENSION => match field.as_int() {
                    Some(dim) => constant.dims.push(dim),
                    None => constant.dims.extend(read_packed(field.borrowed_bytes()?)?),
                },
                tensor_field::ELEMENT => constant.element = field.as_int()?,
                tensor_field::NAME => constant.name = std::str::from_utf8(field.borrowed_bytes()?).ok()?,
                tensor_field::RAW => constant.values = Cow::Borrowed(field.borrowed_bytes()?),
                tensor_field::INTS => ints.push(field),
                _ => {}
            }
        }
        // Exporters write a single byte, such as a zero point, as a number.
        if !ints.is_empty() && [element::INT8, element::UINT8].contains(&constant.element) {
            let numbers = ints.iter().map(|field| match field.as_int() {
                Some(int) => Some(vec![int]),
                None => read_packed(field.borrowed_bytes()?),
            });
            let numbers = numbers.collect::<Option<Vec<_>>>()?;
            constant.values = numbers.iter().flatten().map(|int| int.to_le_bytes()[0]).collect();
        }
        Some(constant)
    }
}
