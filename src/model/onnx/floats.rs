//! Weights that a graph stores as 8-bit integers with scales, and reads as floats.
//!
//! ```text
//! integers ─► Cast ─► Mul(scales) ─► W        x · W   or   W ─► Gather(rows)
//! ```
//!
//! ONNX Runtime computes W when it loads the graph, in several copies, which takes most of the time until the first text is
//! encoded. So W is computed here, once. And where only rows of it are looked up, as in a table of words, the integers are
//! looked up instead, and only these rows become floats. Either way every value is the same product of the same two floats.

use std::collections::{BTreeMap, BTreeSet};

use super::model::{Constant, Node, OnnxModel, element};
use crate::model::buffer::reserved;
use crate::model::side_by_side::each_of;

/// Fewest values that are worth it.
const LEAST: usize = 4096;

/// Most bytes of a graph besides such weights. They are copied.
const MOST_BESIDES: usize = 8 << 20;

/// A graph whose weights are floats.
pub(crate) struct FloatGraph {
    pub(crate) bytes: Vec<u8>,
    /// Constants that the graph has by name only, with their dimensions.
    pub(crate) constants: Vec<(String, Vec<i64>, WeightValues)>,
}

/// Values of a constant.
pub(crate) enum WeightValues {
    Floats(Vec<f32>),
    Signed(Vec<i8>),
    Unsigned(Vec<u8>),
}

/// Weights and how they become floats.
pub(super) struct StoredWeights<'a> {
    /// Names of the nodes' results: of integers as floats, and of these times the scales.
    cast: String,
    product: String,
    scales_name: &'a str,
    pub(super) integers: Constant<'a>,
    scales: Constant<'a>,
    /// Only rows are looked up.
    pub(super) is_table: bool,
}

/// Changes a graph, on so many threads; `None` if there is nothing to change, or the bytes are not a graph.
pub(crate) fn to_floats(bytes: &[u8], threads: usize) -> Option<FloatGraph> {
    let mut model = OnnxModel::read(bytes)?;
    let stored = stored_weights(&model, bytes.len())?;
    replace_nodes(&mut model, &stored);
    let read: BTreeSet<&str> = model.nodes.iter().flat_map(|n| &n.inputs).map(String::as_str).collect();
    let unread = stored.values().flat_map(|w| [w.integers.name, w.scales_name]).filter(|n| !read.contains(n));
    let tables = stored.values().filter(|w| w.is_table).map(|w| w.integers.name);
    let removed = unread.chain(tables).collect();
    drop(read);
    model.remove_constants(&removed);
    // First the memory of all, which then lies together, and large pages fit.
    let mut constants: Vec<_> = stored.values().map(StoredWeights::constant).collect();
    let values = constants.iter_mut().map(|(_, _, values)| values);
    each_of(values.zip(stored.values()).collect(), threads, |(values, weights)| weights.fill(values));
    for (name, dims, values) in &constants {
        model.add_constant_of(name, dims, values.element(), "in memory");
    }
    Some(FloatGraph { bytes: model.write_whole(), constants })
}

/// The weights of a graph of so many bytes, by the name of what the graph reads; `None` if it is not worth changing.
pub(super) fn stored_weights<'a>(model: &OnnxModel<'a>, bytes: usize) -> Option<BTreeMap<String, StoredWeights<'a>>> {
    if model.nodes.iter().any(Node::has_graphs) {
        return None;
    }
    let stored = find(model);
    let besides = stored.values().fold(bytes, |rest, w| rest.saturating_sub(w.integers.values.len()));
    (!stored.is_empty() && besides <= MOST_BESIDES).then_some(stored)
}

/// The weights that can be replaced, by the name of what the graph reads.
fn find<'a>(model: &OnnxModel<'a>) -> BTreeMap<String, StoredWeights<'a>> {
    let constants = model.constants();
    let outside: BTreeSet<&str> = model.outside().collect();
    let mut readers: BTreeMap<&str, Vec<&Node>> = BTreeMap::new();
    for node in &model.nodes {
        node.inputs.iter().for_each(|input| readers.entry(input).or_default().push(node));
    }
    let own = |name: &String| !outside.contains(name.as_str());
    let constant = |name: &String| constants.get_key_value(name.as_str()).filter(|_| own(name));
    let weights = |cast: &Node| {
        let ([input], [floats]) = (cast.inputs.as_slice(), cast.outputs.as_slice()) else { return None };
        let (_, integers) =
            constant(input).filter(|_| is_own(cast, "Cast") && cast.int("to") == Some(element::FLOAT))?;
        let &[product] = readers.get(floats.as_str())?.as_slice() else { return None };
        let ([a, b], [output]) = (product.inputs.as_slice(), product.outputs.as_slice()) else { return None };
        let (name, scales) = constant(if a == floats { b } else { a }).filter(|_| is_own(product, "Mul"))?;
        let after = readers.get(output.as_str())?;
        let multiplies =
            |node: &&Node| is_own(node, "MatMul") && node.inputs.iter().position(|i| i == output) == Some(1);
        let looks_up = |node: &&Node| {
            is_own(node, "Gather")
                && node.int("axis").unwrap_or(0) == 0
                && node.inputs.iter().rposition(|i| i == output) == Some(0)
        };
        let stored = StoredWeights {
            cast: floats.clone(),
            product: output.clone(),
            scales_name: name,
            is_table: after.iter().all(looks_up),
            integers: integers.clone(),
            scales: scales.clone(),
        };
        let read_as_expected = stored.is_table && scales.dims.last() == Some(&1) || after.iter().all(multiplies);
        (own(floats) && own(output) && read_as_expected && stored.fits()).then_some(stored)
    };
    model.nodes.iter().filter_map(weights).map(|w| (w.product.clone(), w)).collect()
}

/// Whether a node is this operator of ONNX itself.
fn is_own(node: &Node, operator: &str) -> bool {
    node.domain.is_empty() && node.operator == operator
}

impl StoredWeights<'_> {
    /// Whether this is a matrix of integers with a scale for each row or for each column.
    fn fits(&self) -> bool {
        let (&[rows, columns], scales) = (self.integers.dims.as_slice(), self.scales.dims.as_slice()) else {
            return false;
        };
        let has = |constant: &Constant, count: i64, bytes: usize| {
            usize::try_from(count).ok().and_then(|c| c.checked_mul(bytes)) == Some(constant.values.len())
        };
        let Some(count) = rows.checked_mul(columns).filter(|_| rows > 0 && columns > 0) else { return false };
        let (scaled_by_row, scaled_by_column) = (scales == [rows, 1], scales == [1, columns]);
        [element::INT8, element::UINT8].contains(&self.integers.element)
            && self.scales.element == element::FLOAT
            && (scaled_by_row || scaled_by_column)
            && has(&self.integers, count, 1)
            && has(&self.scales, if scaled_by_row { rows } else { columns }, 4)
            && self.integers.values.len() >= LEAST
    }

    /// What takes the place of the integers, still without values: floats or, of a table, the same integers.
    fn constant(&self) -> (String, Vec<i64>, WeightValues) {
        let (count, signed) = (self.integers.values.len(), self.integers.element == element::INT8);
        let (name, values) = match (self.is_table, signed) {
            (true, true) => (self.integers.name, WeightValues::Signed(reserved(count))),
            (true, false) => (self.integers.name, WeightValues::Unsigned(reserved(count))),
            (false, _) => (self.product.as_str(), WeightValues::Floats(reserved(count))),
        };
        (name.into(), self.integers.dims.clone(), values)
    }

    /// Adds the values.
    fn fill(&self, values: &mut WeightValues) {
        let integers = &*self.integers.values;
        match values {
            WeightValues::Signed(out) => out.extend(integers.iter().map(|v| v.cast_signed())),
            WeightValues::Unsigned(out) => out.extend_from_slice(integers),
            WeightValues::Floats(out) if self.integers.element == element::INT8 => {
                self.fill_floats(out, |v| f32::from(v.cast_signed()));
            }
            WeightValues::Floats(out) => self.fill_floats(out, f32::from),
        }
    }

    fn fill_floats(&self, out: &mut Vec<f32>, value: impl Fn(u8) -> f32) {
        let scales: Vec<f32> = self.scales.values.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
        let by_row = self.scales.dims.last() == Some(&1);
        let columns = self.integers.dims.last().map_or(1, |&c| usize::try_from(c).unwrap_or(1)).max(1);
        for (n, row) in self.integers.values.chunks_exact(columns).enumerate() {
            if by_row {
                let scale = scales[n];
                out.extend(row.iter().map(|&v| value(v) * scale));
            } else {
                out.extend(row.iter().zip(&scales).map(|(&v, scale)| value(v) * scale));
            }
        }
    }
}

impl WeightValues {
    fn element(&self) -> i64 {
        match self {
            WeightValues::Floats(_) => element::FLOAT,
            WeightValues::Signed(_) => element::INT8,
            WeightValues::Unsigned(_) => element::UINT8,
        }
    }
}

/// Leaves out the nodes that made floats, and looks up integers in tables.
pub(super) fn replace_nodes(model: &mut OnnxModel<'_>, stored: &BTreeMap<String, StoredWeights<'_>>) {
    let casts: BTreeSet<&str> = stored.values().map(|w| w.cast.as_str()).collect();
    let mut nodes = Vec::with_capacity(model.nodes.len());
    for node in std::mem::take(&mut model.nodes) {
        let made = node.outputs.first().map_or("", String::as_str);
        if casts.contains(made) || stored.contains_key(made) {
            continue;
        }
        match node.inputs.first().and_then(|input| stored.get(input)).filter(|w| w.is_table) {
            Some(table) => {
                let [row, scale, floats] =
                    ["row", "scale", "floats"].map(|part| format!("descry/floats/{part}/{made}"));
                let rows = &node.inputs[1];
                nodes.extend([
                    Node::new("Gather", &[table.integers.name, rows], &row),
                    Node::new("Gather", &[table.scales_name, rows], &scale),
                    Node::new("Cast", &[&row], &floats).with_int("to", element::FLOAT),
                    Node::new("Mul", &[&floats, &scale], made),
                ]);
            }
            None => nodes.push(node),
        }
    }
    model.nodes = nodes;
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ort::session::Session;
    use ort::value::Tensor;
    use proptest::prelude::*;

    use super::*;
    use crate::model::onnx::in_place;
    use crate::model::onnx::wire::{Field, write};
    use crate::model::runtime::{Runtime, SessionOptions};

    const WIDTH: i64 = 64;

    fn constant(name: &str, element: i64, dims: [i64; 2], values: Vec<u8>) -> Field<'static> {
        let dims = dims.map(|d| Field::int(1, d));
        let rest = [Field::int(2, element), Field::bytes(8, name.as_bytes().to_vec()), Field::bytes(9, values)];
        Field::bytes(5, write(dims.iter().chain(&rest)))
    }

    fn integers(name: &str, dims: [i64; 2]) -> Field<'static> {
        let values = (0..dims[0] * dims[1]).map(|n| (n * 37 + n / 11) as u8).collect();
        constant(name, if name.starts_with('u') { element::UINT8 } else { element::INT8 }, dims, values)
    }

    fn scales(name: &str, dims: [i64; 2]) -> Field<'static> {
        let values = (0..dims[0] * dims[1]).flat_map(|n| (0.001 + n as f32 / 7919.0).to_le_bytes()).collect();
        constant(name, element::FLOAT, dims, values)
    }

    fn value(number: u64, name: &str, element: i64, dims: usize) -> Field<'static> {
        let dims: Vec<Field> =
            (0..dims).map(|n| Field::bytes(1, write(&[Field::bytes(2, vec![b'a' + n as u8])]))).collect();
        let tensor = [Field::int(1, element), Field::bytes(2, write(&dims))];
        let kind = Field::bytes(1, write(&tensor));
        Field::bytes(number, write(&[Field::bytes(1, name.as_bytes().to_vec()), Field::bytes(2, write(&[kind]))]))
    }

    /// Words that are looked up and multiplied by two matrices, whose scales are those of columns and of rows.
    fn graph(change: impl Fn(&mut Vec<Node>)) -> Vec<u8> {
        let parts = [
            integers("words", [300, WIDTH]),
            scales("words.scale", [300, 1]),
            integers("across", [WIDTH, 80]),
            scales("across.scale", [1, 80]),
            integers("up", [80, WIDTH]),
            scales("up.scale", [80, 1]),
            value(11, "ids", element::INT64, 1),
            value(12, "y", element::FLOAT, 2),
        ];
        let opset = Field::bytes(8, write(&[Field::int(2, 17)]));
        let bytes = write(&[Field::int(1, 8), opset, Field::bytes(7, write(&parts))]);
        let mut model = OnnxModel::read(&bytes).unwrap();
        for name in ["words", "across", "up"] {
            let [floats, scale, product] = ["floats", "scale", "product"].map(|part| format!("{name}.{part}"));
            model.nodes.push(Node::new("Cast", &[name], &floats).with_int("to", element::FLOAT));
            model.nodes.push(Node::new("Mul", &[&floats, &scale], &product));
        }
        model.nodes.extend([
            Node::new("Gather", &["words.product", "ids"], "x"),
            Node::new("MatMul", &["x", "across.product"], "between"),
            Node::new("MatMul", &["between", "up.product"], "y"),
        ]);
        change(&mut model.nodes);
        model.write_whole()
    }

    fn operators(bytes: &[u8]) -> Vec<String> {
        OnnxModel::read(bytes).unwrap().nodes.into_iter().map(|n| n.operator).collect()
    }

    fn results(session: &mut Session) -> Vec<f32> {
        let ids = Tensor::from_array(([3], vec![7_i64, 299, 0])).unwrap();
        let outputs = session.run(ort::inputs!["ids" => ids]).unwrap();
        outputs["y"].try_extract_tensor::<f32>().unwrap().1.to_vec()
    }

    #[test]
    fn results_are_the_same_bit_for_bit() {
        let bytes = graph(|_| {});
        let changed = to_floats(&bytes, 2).unwrap();
        assert_eq!(operators(&changed.bytes), ["Gather", "Gather", "Cast", "Mul", "MatMul", "MatMul"]);
        assert!(changed.bytes.len() < bytes.len() / 4, "{} bytes", changed.bytes.len());
        let (runtime, options) = (Runtime::load().unwrap(), SessionOptions::default());
        let mut stored = runtime.session_of_bytes(&bytes, "graph", &options).unwrap();
        let mut floats = runtime.session_of_floats(changed, &options).unwrap();
        let (stored, floats) = (results(&mut stored), results(&mut floats));
        assert_eq!(stored.len(), 3 * WIDTH as usize);
        assert!(stored.iter().zip(&floats).all(|(a, b)| a.to_bits() == b.to_bits()), "{stored:?}\n{floats:?}");
    }

    #[test]
    fn what_is_read_otherwise_stays() {
        // Of three weights, those that are still integers.
        let kept = |change: &dyn Fn(&mut Vec<Node>)| {
            let bytes = graph(change);
            let changed = to_floats(&bytes, 2).map_or(bytes, |graph| graph.bytes);
            let names = OnnxModel::read(&changed).unwrap().nodes.into_iter().flat_map(|n| n.outputs);
            names.filter(|name| name.ends_with(".product")).count()
        };
        assert_eq!(kept(&|_| {}), 0);
        // Multiplied from the left, looked up by column, and read by something else too.
        assert_eq!(kept(&|n| n[8].inputs = vec!["up.product".into(), "between".into()]), 1);
        assert_eq!(kept(&|n| n[6] = n[6].clone().with_int("axis", 1)), 1);
        assert_eq!(kept(&|n| n.push(Node::new("Relu", &["across.product"], "z"))), 1);
        assert_eq!(kept(&|n| n.push(Node::new("Relu", &["across.floats"], "z"))), 1);
        // Something else than a cast to floats, and no product with the scales of its rows or columns.
        assert_eq!(kept(&|n| n[2] = Node::new("Cast", &["across"], "across.floats").with_int("to", element::INT32)), 1);
        assert_eq!(kept(&|n| n[3].inputs[1] = "up.scale".into()), 1);
    }

    proptest! {
        #[test]
        fn a_damaged_graph_does_not_panic(cut in 0_usize..40_000, at in 0_usize..40_000, byte: u8) {
            let mut bytes = graph(|_| {});
            let at = at % bytes.len();
            bytes[at] = byte;
            let change = |bytes: &[u8]| {
                to_floats(bytes, 2);
                in_place(bytes, Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")));
            };
            change(&bytes);
            bytes.truncate(cut);
            change(&bytes);
        }
    }
}
