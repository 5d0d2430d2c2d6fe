//! Integers with a scale for each picture. `DynamicQuantizeLinear` rounds activations to integers, with a scale and a zero
//! point from the smallest and the largest of all values. In a batch, a caption would depend on the pictures beside its
//! own. So each of these operations is replaced by its definition, applied to every picture by itself:
//!
//! ```text
//! scale = (max(x, 0) - min(x, 0)) / 255      zero = round(-min(x, 0) / scale)      q = clip(round(x / scale) + zero)
//! ```
//!
//! `MatMulInteger` takes one zero point only. So it multiplies without any, and the zero point times the sum of the weights
//! is subtracted afterwards. Integers are exact, so the result is that of the picture alone, bit for bit.

use std::collections::{BTreeMap, HashSet};

use crate::model::onnx::{Constant, Node, OnnxModel, element};

/// The first version of ONNX's operators in which all those below are as they are used here.
const LEAST_OPSET: i64 = 13;
/// The first in which minima and maxima have their axes as an input.
const EXTREMA_AXES: i64 = 18;
/// A scale must be positive, even where all values are 0 and any scale does.
const LEAST_SCALE: f32 = 1e-37;

const AXES: &str = "descry/scale/axes";
const ZERO: &str = "descry/scale/zero";
const LARGEST: &str = "descry/scale/largest";
const LEAST: &str = "descry/scale/least";

/// The name of the operation.
const BY_BATCH: &str = "DynamicQuantizeLinear";

/// Replaces all operations whose scale is that of the batch; false, and nothing is changed, if there are none or one is
/// not as expected.
pub(super) fn scale_by_picture(model: &mut OnnxModel) -> bool {
    let by_batch = model.nodes.iter().any(|n| n.operator == BY_BATCH);
    if !by_batch || model.opset() < LEAST_OPSET {
        return false;
    }
    let Some(weights) = weights(model) else { return false };
    let axes_are_inputs = model.opset() >= EXTREMA_AXES;
    let mut nodes = Vec::with_capacity(model.nodes.len() * 3);
    for node in std::mem::take(&mut model.nodes) {
        match node.operator.as_str() {
            BY_BATCH => quantize(&node, axes_are_inputs, &mut nodes),
            "MatMulInteger" => multiply(node, &weights, &mut nodes),
            _ => nodes.push(node),
        }
    }
    model.nodes = nodes;
    for (name, WeightSums { columns, rows }) in weights {
        model.add_ints32(&sums_of(&name), &columns);
        if let Some(rows) = rows {
            model.add_ints32(&rows_of(&name), &[rows]);
        }
    }
    // Axes of a picture: all but the first of a batch × vectors × width.
    model.add_ints(AXES, &[1, 2]);
    for (name, value) in [(ZERO, 0.0), (LARGEST, 255.0), (LEAST, LEAST_SCALE)] {
        model.add_float(name, value);
    }
    true
}

/// What a product subtracts for each unit of its pictures' zero point.
struct WeightSums {
    /// The sum of each column of weights, less the column's zero point for every row.
    columns: Vec<i32>,
    /// How many rows there are, if the weights' zero points are not constants, and still have to be subtracted.
    rows: Option<i32>,
}

/// Weights by their names and those of their zero points, which are empty where there are none.
type Weights = BTreeMap<(String, String), WeightSums>;

/// What a product multiplies with, as the key of [`Weights`].
fn weights_of(product: &Node) -> (String, String) {
    (product.inputs[1].clone(), product.inputs.get(3).cloned().unwrap_or_default())
}

fn sums_of((weights, zero): &(String, String)) -> String {
    format!("descry/scale/sums/{weights}/{zero}")
}

fn rows_of((weights, zero): &(String, String)) -> String {
    format!("descry/scale/rows/{weights}/{zero}")
}

/// The weights of all products of integers; `None` if one is not a constant in the file, or something else reads the
/// integers, or something else than a product reads a scale.
fn weights(model: &OnnxModel) -> Option<Weights> {
    let quantized: Vec<&Node> = model.nodes.iter().filter(|n| n.operator == BY_BATCH).collect();
    if quantized.iter().any(|n| n.inputs.len() != 1 || n.outputs.len() != 3 || n.outputs.iter().any(String::is_empty)) {
        return None;
    }
    let of = |k: usize| quantized.iter().map(move |n| n.outputs[k].as_str()).collect();
    let [integers, scales, zeros]: [HashSet<&str>; 3] = [0, 1, 2].map(of);
    let constants = model.constants();
    let mut found = BTreeMap::new();
    for node in &model.nodes {
        let reads = |names: &HashSet<&str>| node.inputs.iter().any(|i| names.contains(i.as_str()));
        if node.operator == "MatMulInteger" {
            let [values, weights, zero, ..] = node.inputs.as_slice() else { return None };
            if !integers.contains(values.as_str()) || !zeros.contains(zero.as_str()) {
                return None;
            }
            let key = weights_of(node);
            let sums = sums(constants.get(weights.as_str())?, &key.1, &constants)?;
            found.insert(key, sums);
        } else if reads(&integers) || reads(&zeros) || node.operator != "Mul" && reads(&scales) {
            return None;
        }
    }
    Some(found)
}

/// The sums of the columns of constant weights, whose zero points have this name.
fn sums(weights: &Constant, zero: &str, constants: &BTreeMap<&str, Constant>) -> Option<WeightSums> {
    let &[rows, columns] = weights.dims.as_slice() else { return None };
    let (rows, columns) = (i32::try_from(rows).ok()?, usize::try_from(columns).ok()?);
    if columns == 0 || weights.values.len() != columns.checked_mul(usize::try_from(rows).ok()?)? {
        return None;
    }
    let signed = match weights.element {
        element::INT8 => true,
        element::UINT8 => false,
        _ => return None,
    };
    let mut sums = if signed {
        column_sums(&weights.values, columns, |v| i32::from(v.cast_signed()))
    } else {
        column_sums(&weights.values, columns, i32::from)
    };
    if zero.is_empty() {
        return Some(WeightSums { columns: sums, rows: None });
    }
    let constant = constants.get(zero).filter(|zero| zero.element == weights.element && zero.dims.len() < 2);
    let zeros = match constant.map(|zero| &*zero.values) {
        Some(&[all]) => vec![all; columns],
        Some(each) if each.len() == columns => each.to_vec(),
        _ => return Some(WeightSums { columns: sums, rows: Some(rows) }),
    };
    for (sum, zero) in sums.iter_mut().zip(zeros) {
        let zero = if signed { i32::from(zero.cast_signed()) } else { i32::from(zero) };
        *sum = sum.wrapping_sub(rows.wrapping_mul(zero));
    }
    Some(WeightSums { columns: sums, rows: None })
}

fn column_sums(values: &[u8], columns: usize, value: impl Fn(u8) -> i32) -> Vec<i32> {
    let mut sums = vec![0_i32; columns];
    for row in values.chunks_exact(columns) {
        sums.iter_mut().zip(row).for_each(|(sum, &v)| *sum = sum.wrapping_add(value(v)));
    }
    sums
}

/// The definition of `DynamicQuantizeLinear` for each picture. The zero point becomes a 32-bit integer.
fn quantize<'a>(node: &Node, axes_are_inputs: bool, nodes: &mut Vec<Node<'a>>) {
    let (x, [quantized, scale, zero]) = (node.inputs[0].as_str(), [0, 1, 2].map(|k| node.outputs[k].as_str()));
    let part = |name: &str| format!("descry/scale/{name}/{quantized}");
    let extreme = |operator: &str, output: &str| {
        if axes_are_inputs {
            Node::new(operator, &[x, AXES], output)
        } else {
            Node::new(operator, &[x], output).with_ints("axes", &[1, 2])
        }
    };
    let [smallest, low, largest, high] = ["smallest", "low", "largest", "high"].map(part);
    let [range, step, ratio, minus, offset] = ["range", "step", "ratio", "minus", "offset"].map(part);
    let [steps, rounded, moved, clipped] = ["steps", "rounded", "moved", "clipped"].map(part);
    nodes.extend([
        extreme("ReduceMin", &smallest),
        Node::new("Min", &[&smallest, ZERO], &low),
        extreme("ReduceMax", &largest),
        Node::new("Max", &[&largest, ZERO], &high),
        Node::new("Sub", &[&high, &low], &range),
        Node::new("Div", &[&range, LARGEST], &step),
        Node::new("Max", &[&step, LEAST], scale),
        Node::new("Div", &[&low, scale], &ratio),
        Node::new("Neg", &[&ratio], &minus),
        Node::new("Round", &[&minus], &offset),
        Node::new("Cast", &[&offset], zero).with_int("to", element::INT32),
        Node::new("Div", &[x, scale], &steps),
        Node::new("Round", &[&steps], &rounded),
        Node::new("Add", &[&rounded, &offset], &moved),
        Node::new("Clip", &[&moved, ZERO, LARGEST], &clipped),
        Node::new("Cast", &[&clipped], quantized).with_int("to", element::UINT8),
    ]);
}

/// A product of integers, less the zero point times the sum of each column of weights, whose own zero points count too.
fn multiply<'a>(mut node: Node<'a>, weights: &Weights, nodes: &mut Vec<Node<'a>>) {
    let key = weights_of(&node);
    let (zero, output) = (std::mem::take(&mut node.inputs[2]), node.outputs[0].clone());
    let part = |name: &str| format!("descry/scale/{name}/{output}");
    let mut sums = sums_of(&key);
    if weights.get(&key).is_some_and(|sums| sums.rows.is_some()) {
        let [wide, all, centred] = ["zeros", "all", "centred"].map(part);
        nodes.push(Node::new("Cast", &[&key.1], &wide).with_int("to", element::INT32));
        nodes.push(Node::new("Mul", &[&wide, &rows_of(&key)], &all));
        nodes.push(Node::new("Sub", &[&sums, &all], &centred));
        sums = centred;
    }
    let [product, offset] = ["product", "offset"].map(part);
    node.outputs[0].clone_from(&product);
    nodes.push(node);
    nodes.push(Node::new("Mul", &[&zero, &sums], &offset));
    nodes.push(Node::new("Sub", &[&product, &offset], &output));
}
