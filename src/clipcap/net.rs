//! The parts that all networks are made of, at a precision: products with weights, tables, norms, heads of attention.

use std::collections::BTreeMap;

use half::f16;

use super::int8::{round_columns, round_rows};
use crate::model::{Array, ArrayValues, GraphBuilder, Node, element};

/// Weights of a matrix that is worth rounding to integers.
const WORTH_ROUNDING: usize = 4096;
/// Weights of a tensor that is worth storing in 16 bits.
const WORTH_HALVING: usize = 1024;
/// Zero among the unsigned 8-bit numbers.
const MIDDLE: u8 = 128;

/// How the weights of a model folder are stored and multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightPrecision {
    /// 32-bit floats.
    Fp32,
    /// Stored in 16 bits, multiplied in 32.
    Fp16,
    /// 16-bit floats throughout, for GPUs; log-probabilities in 32.
    Half,
    /// 8-bit integers, for CPUs.
    Int8,
}

impl WeightPrecision {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            WeightPrecision::Fp32 => "fp32",
            WeightPrecision::Fp16 => "fp16",
            WeightPrecision::Half => "half",
            WeightPrecision::Int8 => "int8",
        }
    }
}

/// A matrix as a product reads it: `inside` rows and `outside` columns.
pub(super) struct Matrix {
    pub(super) inside: usize,
    pub(super) outside: usize,
    pub(super) values: Vec<f32>,
}

impl Matrix {
    /// A matrix that is stored with its outputs as rows, as PyTorch's `Linear` does.
    pub(super) fn of_rows(outside: usize, inside: usize, values: &[f32]) -> Matrix {
        Matrix { inside, outside, values: transposed(values, outside, inside) }
    }
}

/// A matrix of `rows` × `columns` with rows and columns exchanged.
pub(super) fn transposed(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    /// Values of a side of the squares that are copied, so that both matrices stay in the cache.
    const SIDE: usize = 32;
    let mut out = vec![0.0; values.len()];
    for first_row in (0..rows).step_by(SIDE) {
        for first_column in (0..columns).step_by(SIDE) {
            for row in first_row..rows.min(first_row + SIDE) {
                for column in first_column..columns.min(first_column + SIDE) {
                    out[column * rows + row] = values[row * columns + column];
                }
            }
        }
    }
    out
}

/// A table that is looked up by row, and may also be the last matrix of a network.
pub(super) struct Table {
    name: String,
    width: usize,
    rounded: bool,
}

/// A network that is being made.
pub(super) struct Net {
    pub(super) graph: GraphBuilder,
    precision: WeightPrecision,
    /// Rows that were rounded: their integers, their scales as a column, and their first dimensions.
    rounded: BTreeMap<String, [String; 3]>,
}

impl Net {
    pub(super) fn new(precision: WeightPrecision) -> Net {
        Net { graph: GraphBuilder::default(), precision, rounded: BTreeMap::new() }
    }

    fn is_half(&self) -> bool {
        self.precision == WeightPrecision::Half
    }

    /// The type that the network computes in.
    pub(super) fn float(&self) -> i64 {
        if self.is_half() { element::FLOAT16 } else { element::FLOAT }
    }

    pub(super) fn cast(&mut self, x: &str, to: i64) -> String {
        self.graph.add(Node::new("Cast", &[x], "").with_int("to", to))
    }

    /// An input of 32-bit floats, in the type that the network computes in.
    pub(super) fn float_input(&mut self, name: &str, dims: &[&str]) -> String {
        let input = self.graph.input(name, element::FLOAT, dims);
        if self.is_half() { self.cast(&input, element::FLOAT16) } else { input }
    }

    /// An output of 32-bit floats.
    pub(super) fn float_output(&mut self, x: &str, name: &str, dims: &[&str]) {
        let x = if self.is_half() { self.cast(x, element::FLOAT) } else { x.to_string() };
        self.graph.output(&x, name, element::FLOAT, dims);
    }

    /// Floats as they are, in the type that the network computes in.
    pub(super) fn floats(&mut self, name: &str, shape: &[usize], values: Vec<f32>) -> String {
        let half = self.is_half();
        let stored_half = self.precision == WeightPrecision::Fp16 && values.len() >= WORTH_HALVING;
        if !half && !stored_half {
            return self.graph.constant(name, || Array::floats(shape, values));
        }
        let values = ArrayValues::F16(values.into_iter().map(f16::from_f32).collect());
        let stored = self.graph.constant(name, || Array { shape: shape.to_vec(), values });
        if half { stored } else { self.cast(&stored, element::FLOAT) }
    }

    pub(super) fn scalar(&mut self, value: f32) -> String {
        self.floats(&format!("scalar/{value:e}"), &[], vec![value])
    }

    /// x @ W (+ bias) of rows: x has two dimensions.
    pub(super) fn product(&mut self, x: &str, name: &str, matrix: Matrix, bias: Option<Vec<f32>>) -> String {
        self.linear(x, name, matrix, bias, true)
    }

    /// x @ W (+ bias) of x with any number of dimensions.
    pub(super) fn product_of_many(&mut self, x: &str, name: &str, matrix: Matrix, bias: Option<Vec<f32>>) -> String {
        self.linear(x, name, matrix, bias, false)
    }

    fn linear(&mut self, x: &str, name: &str, matrix: Matrix, bias: Option<Vec<f32>>, flat: bool) -> String {
        let Matrix { inside, outside, values } = matrix;
        let bias = bias.map(|values| self.floats(&format!("{name}.bias"), &[outside], values));
        let weight = format!("{name}.weight");
        let product = if self.precision == WeightPrecision::Int8 && values.len() >= WORTH_ROUNDING {
            let rounded = round_columns(&values, outside);
            let whole = self.graph.constant(&format!("{weight}/i8"), || Array {
                shape: vec![inside, outside],
                values: ArrayValues::I8(rounded.values),
            });
            let scales = rounded.scales;
            let scales = self.graph.constant(&format!("{weight}/scale"), || Array::floats(&[outside], scales));
            self.rounded_product(x, inside, (&whole, &scales), outside)
        } else {
            let weight = self.floats(&weight, &[inside, outside], values);
            match &bias {
                // One kernel; it reads two dimensions only.
                Some(bias) if flat => return self.graph.node("Gemm", &[x, &weight, bias]),
                _ => self.graph.node("MatMul", &[x, &weight]),
            }
        };
        match bias {
            Some(bias) => self.graph.node("Add", &[&product, &bias]),
            None => product,
        }
    }

    /// 8-bit rows of `x`, their scales as a column, and the rows' shape. All matrices that read `x` share them.
    fn rounded_rows(&mut self, x: &str, width: usize) -> [String; 3] {
        if let Some(known) = self.rounded.get(x) {
            return known.clone();
        }
        let shape = self.graph.add(Node::new("Shape", &[x], "").with_int("start", 0).with_int("end", -1));
        let flat = self.graph.ints(&[-1, width as i64]);
        let flat = self.graph.node("Reshape", &[x, &flat]);
        let size = self.graph.node("Abs", &[&flat]);
        let size =
            self.graph.add(Node::new("ReduceMax", &[&size], "").with_ints("axes", &[-1]).with_int("keepdims", 0));
        let least = self.graph.constant("int8/least", || Array::floats(&[], vec![1e-12]));
        let size = self.graph.node("Max", &[&size, &least]);
        let step = self.graph.constant("int8/step", || Array::floats(&[], vec![1.0 / 127.0]));
        let scale = self.graph.node("Mul", &[&size, &step]);
        let count = self.graph.node("Shape", &[&scale]);
        let middle = Node::new("ConstantOfShape", &[&count], "").with_value("value", element::UINT8, &[MIDDLE]);
        let middle = self.graph.add(middle);
        let rows = self.graph.add(Node::new("QuantizeLinear", &[&flat, &scale, &middle], "").with_int("axis", 0));
        let last = self.graph.ints(&[1]);
        let column = self.graph.node("Unsqueeze", &[&scale, &last]);
        let rounded = [rows, column, shape];
        self.rounded.insert(x.into(), rounded.clone());
        rounded
    }

    fn rounded_product(&mut self, x: &str, inside: usize, matrix: (&str, &str), outside: usize) -> String {
        let (whole, scales) = matrix;
        let [rows, column, shape] = self.rounded_rows(x, inside);
        let zero = self.graph.constant("int8/zero", || Array { shape: vec![], values: ArrayValues::U8(vec![MIDDLE]) });
        let y = self.graph.node("MatMulInteger", &[&rows, whole, &zero]);
        let y = self.cast(&y, element::FLOAT);
        // In this form ONNX Runtime fuses the nodes into one, which scales its own sums. A bias must not follow directly: the
        // fusion would include it, and adds it wrongly where each row has its own scale (1.32).
        let scale = self.graph.node("Mul", &[&column, scales]);
        let y = self.graph.node("Mul", &[&y, &scale]);
        let size = self.graph.ints(&[outside as i64]);
        let shape = self.graph.add(Node::new("Concat", &[&shape, &size], "").with_int("axis", 0));
        self.graph.node("Reshape", &[&y, &shape])
    }

    /// A table of rows that have `width` values.
    pub(super) fn table(&mut self, name: &str, width: usize, values: Vec<f32>) -> Table {
        let rounded = self.precision == WeightPrecision::Int8 && values.len() >= WORTH_ROUNDING;
        let rows = values.len() / width.max(1);
        let name = if rounded {
            let round = round_rows(&values, width);
            let whole = Array { shape: vec![rows, width], values: ArrayValues::I8(round.values) };
            self.graph.constant(&format!("{name}/i8"), || whole);
            self.graph.constant(&format!("{name}/scale"), || Array::floats(&[rows, 1], round.scales));
            name.to_string()
        } else {
            self.floats(name, &[rows, width], values)
        };
        Table { name, width, rounded }
    }

    /// Rows of a table, as floats.
    pub(super) fn look_up(&mut self, table: &Table, ids: &str) -> String {
        let name = &table.name;
        if !table.rounded {
            return self.graph.node("Gather", &[name, ids]);
        }
        // Only the rows that are looked up become floats.
        let row = self.graph.node("Gather", &[&format!("{name}/i8"), ids]);
        let size = self.graph.node("Gather", &[&format!("{name}/scale"), ids]);
        let row = self.cast(&row, element::FLOAT);
        self.graph.node("Mul", &[&row, &size])
    }

    /// The product of rows with a table's rows.
    pub(super) fn product_with(&mut self, x: &str, table: &Table, rows: usize) -> String {
        let name = &table.name;
        let turn = |whole: &str| Node::new("Transpose", &[whole], "").with_ints("perm", &[1, 0]);
        if !table.rounded {
            let turned = self.graph.add(turn(name));
            return self.graph.node("MatMul", &[x, &turned]);
        }
        let turned = self.graph.add(turn(&format!("{name}/i8")));
        let flat = self.graph.ints(&[-1]);
        let scales = self.graph.node("Reshape", &[&format!("{name}/scale"), &flat]);
        self.rounded_product(x, table.width, (&turned, &scales), rows)
    }

    /// A norm over the last dimension, with its weight and its bias.
    pub(super) fn norm(&mut self, x: &str, name: &str, weights: [Vec<f32>; 2], epsilon: f32) -> String {
        let [weight, bias] = weights;
        let width = weight.len();
        let weight = self.floats(&format!("{name}.weight"), &[width], weight);
        let bias = self.floats(&format!("{name}.bias"), &[width], bias);
        let node = Node::new("LayerNormalization", &[x, &weight, &bias], "");
        self.graph.add(node.with_int("axis", -1).with_float("epsilon", epsilon))
    }

    /// Equal parts of `x` along an axis.
    pub(super) fn parts<const N: usize>(&mut self, x: &str, axis: i64, size: usize) -> [String; N] {
        let sizes = self.graph.ints(&[size as i64; N]);
        self.graph.add_many(Node::new("Split", &[x, &sizes], "").with_int("axis", axis))
    }

    pub(super) fn concat(&mut self, parts: &[&str], axis: i64) -> String {
        self.graph.add(Node::new("Concat", parts, "").with_int("axis", axis))
    }

    /// `x` in this shape; 0 is the size that it has there.
    pub(super) fn reshape(&mut self, x: &str, shape: &[i64]) -> String {
        let shape = self.graph.ints(shape);
        self.graph.node("Reshape", &[x, &shape])
    }

    pub(super) fn transpose(&mut self, x: &str, order: &[i64]) -> String {
        self.graph.add(Node::new("Transpose", &[x], "").with_ints("perm", order))
    }

    /// From `first` to before `end` along an axis.
    pub(super) fn slice(&mut self, x: &str, axis: i64, first: &str, end: &str) -> String {
        let axis = self.graph.ints(&[axis]);
        self.graph.node("Slice", &[x, first, end, &axis])
    }

    pub(super) fn softmax(&mut self, x: &str) -> String {
        self.graph.add(Node::new("Softmax", &[x], "").with_int("axis", -1))
    }

    /// Floats as many times as `like` has rows: [N, ...] of [1, ...].
    pub(super) fn for_each_row(&mut self, x: &str, like: &str, sizes: &[usize]) -> String {
        let rows = self.graph.add(Node::new("Shape", &[like], "").with_int("start", 0).with_int("end", 1));
        let rest: Vec<i64> = sizes.iter().map(|&size| size as i64).collect();
        let rest = self.graph.ints(&rest);
        let shape = self.concat(&[&rows, &rest], 0);
        self.graph.node("Expand", &[x, &shape])
    }

    /// Attention of heads: queries [N,H,T,D] that are scaled already, keys and values of vectors [N,T,W]. Returns [N,T,W].
    pub(super) fn attend(&mut self, q: &str, k: &str, v: &str, mask: Option<&str>) -> String {
        let k = self.transpose(k, &[0, 1, 3, 2]);
        let mut scores = self.graph.node("MatMul", &[q, &k]);
        if let Some(mask) = mask {
            scores = self.graph.node("Add", &[&scores, mask]);
        }
        let weights = self.softmax(&scores);
        let a = self.graph.node("MatMul", &[&weights, v]);
        self.transpose(&a, &[0, 2, 1, 3])
    }

    /// Vectors [N,T,W] as heads [N,H,T,D].
    pub(super) fn heads(&mut self, x: &str, length: usize, heads: usize, width: usize) -> String {
        let split = self.reshape(x, &[0, length as i64, heads as i64, (width / heads) as i64]);
        self.transpose(&split, &[0, 2, 1, 3])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_columns_whatever_the_size() {
        for (rows, columns) in [(1, 1), (3, 2), (70, 33), (1, 40), (40, 1)] {
            let values: Vec<f32> = (0..rows * columns).map(|v| v as f32).collect();
            let out = transposed(&values, rows, columns);
            for row in 0..rows {
                for column in 0..columns {
                    assert_eq!(out[column * rows + row], values[row * columns + column]);
                }
            }
        }
    }
}
