//! Mapping networks of ClipCap: an embedding into the prefix of the language model.

use super::net::{Matrix, Net, WeightPrecision};
use crate::checkpoint::Checkpoint;
use crate::error::Result;
use crate::model::{GraphBuilder, Node};

/// Heads of the transformer, in the paper and in its code, which no option of it changes.
const HEADS: usize = 8;
/// What PyTorch adds to the variance.
const EPSILON: f32 = 1e-5;

/// A mapper of a checkpoint, as the shapes of its tensors show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MapperShape {
    pub(super) kind: MapperKind,
    /// Values of the embedding that it reads.
    pub(super) embedding: usize,
    /// Vectors that it makes.
    pub(super) prefix: usize,
    /// Values of each.
    width: usize,
}

/// The two kinds of the paper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MapperKind {
    /// One hidden layer of so many values, with tanh.
    Mlp { hidden: usize },
    /// So many vectors of the embedding, then learned ones, through layers with so many hidden values.
    Transformer { clip_length: usize, layers: usize, hidden: usize },
}

impl MapperKind {
    pub(super) fn name(self) -> &'static str {
        match self {
            MapperKind::Mlp { .. } => "mlp",
            MapperKind::Transformer { .. } => "transformer",
        }
    }
}

impl MapperShape {
    /// Finds the mapper of a checkpoint whose language model has this width.
    pub(super) fn find(of: &Checkpoint, width: usize) -> Result<MapperShape> {
        let multiple = |name: &str, rows: usize| {
            if rows > 0 && rows.is_multiple_of(width) {
                return Ok(rows / width);
            }
            Err(of.error(format!("tensor {name} has {rows} rows, no multiple of the language model's width {width}")))
        };
        if of.get("clip_project.prefix_const").is_some() {
            let [prefix, _] = of.sizes("clip_project.prefix_const")?;
            let [rows, embedding] = of.sizes("clip_project.linear.weight")?;
            let [hidden, _] = of.sizes("clip_project.transformer.layers.0.mlp.fc1.weight")?;
            let clip_length = multiple("clip_project.linear.weight", rows)?;
            if !width.is_multiple_of(HEADS) {
                return Err(of.error(format!(
                    "its transformer mapper has {HEADS} heads, which do not divide its width {width}"
                )));
            }
            let layers = of.layers("clip_project.transformer.layers.");
            return Ok(MapperShape {
                kind: MapperKind::Transformer { clip_length, layers, hidden },
                embedding,
                prefix,
                width,
            });
        }
        if of.get("clip_project.model.0.weight").is_none() {
            let cause = "no mapper in it: neither clip_project.model.0.weight (MLP) nor clip_project.prefix_const (transformer)";
            return Err(of.error(cause.into()));
        }
        let [hidden, embedding] = of.sizes("clip_project.model.0.weight")?;
        let [rows, _] = of.sizes("clip_project.model.2.weight")?;
        let prefix = multiple("clip_project.model.2.weight", rows)?;
        Ok(MapperShape { kind: MapperKind::Mlp { hidden }, embedding, prefix, width })
    }

    /// The graph: `input` [N, embedding] to `prefix` [N, prefix, width].
    pub(super) fn graph(&self, of: &Checkpoint, precision: WeightPrecision) -> Result<GraphBuilder> {
        let mut net = Net::new(precision);
        let x = net.float_input("input", &["n", &self.embedding.to_string()]);
        let prefix = match self.kind {
            MapperKind::Mlp { hidden } => self.mlp(&mut net, of, &x, hidden)?,
            MapperKind::Transformer { clip_length, layers, hidden } => {
                self.transformer(&mut net, of, &x, [clip_length, layers, hidden])?
            }
        };
        net.float_output(&prefix, "prefix", &["n", &self.prefix.to_string(), &self.width.to_string()]);
        Ok(net.graph)
    }

    fn mlp(&self, net: &mut Net, of: &Checkpoint, x: &str, hidden: usize) -> Result<String> {
        let (weight, bias) = linear(of, "clip_project.model.0", hidden, self.embedding, true)?;
        let x = net.product(x, "model.0", weight, bias);
        let x = net.graph.node("Tanh", &[&x]);
        let (weight, bias) = linear(of, "clip_project.model.2", self.prefix * self.width, hidden, true)?;
        let x = net.product(&x, "model.2", weight, bias);
        Ok(net.reshape(&x, &[-1, self.prefix as i64, self.width as i64]))
    }

    fn transformer(&self, net: &mut Net, of: &Checkpoint, x: &str, sizes: [usize; 3]) -> Result<String> {
        let [clip_length, layers, hidden] = sizes;
        let (width, length) = (self.width, clip_length + self.prefix);
        let (weight, bias) = linear(of, "clip_project.linear", clip_length * width, self.embedding, true)?;
        let x = net.product(x, "linear", weight, bias);
        let x = net.reshape(&x, &[-1, clip_length as i64, width as i64]);
        let learned = of.values("clip_project.prefix_const", &[self.prefix, width])?;
        let learned = net.floats("prefix_const", &[1, self.prefix, width], learned);
        let learned = net.for_each_row(&learned, &x, &[self.prefix, width]);
        let mut x = net.concat(&[&x, &learned], 1);
        for layer in 0..layers {
            x = self.layer(net, of, &x, (layer, length, hidden))?;
        }
        let (first, end) = (net.graph.ints(&[clip_length as i64]), net.graph.ints(&[length as i64]));
        Ok(net.slice(&x, 1, &first, &end))
    }

    fn layer(&self, net: &mut Net, of: &Checkpoint, x: &str, sizes: (usize, usize, usize)) -> Result<String> {
        let ((layer, length, hidden), width) = (sizes, self.width);
        let own = format!("layers.{layer}.");
        let named = |name: &str| format!("clip_project.transformer.{own}{name}");
        let y = net.norm(x, &format!("{own}norm1"), norm(of, &named("norm1"), width)?, EPSILON);
        let (weight, _) = linear(of, &named("attn.to_queries"), width, width, false)?;
        let q = net.product_of_many(&y, &format!("{own}to_queries"), weight, None);
        // Keys are the first half of the joint projection, values the second.
        let (weight, _) = linear(of, &named("attn.to_keys_values"), 2 * width, width, false)?;
        let both = net.product_of_many(&y, &format!("{own}to_keys_values"), weight, None);
        let [k, v] = net.parts(&both, 2, width);
        let [q, k, v] = [q, k, v].map(|z| net.heads(&z, length, HEADS, width));
        let scale = net.scalar(((width / HEADS) as f32).powf(-0.5));
        let q = net.graph.node("Mul", &[&q, &scale]);
        let a = net.attend(&q, &k, &v, None);
        let a = net.reshape(&a, &[0, length as i64, width as i64]);
        let (weight, bias) = linear(of, &named("attn.project"), width, width, true)?;
        let a = net.product_of_many(&a, &format!("{own}project"), weight, bias);
        let x = net.graph.node("Add", &[x, &a]);
        let y = net.norm(&x, &format!("{own}norm2"), norm(of, &named("norm2"), width)?, EPSILON);
        let (weight, bias) = linear(of, &named("mlp.fc1"), hidden, width, true)?;
        let y = net.product_of_many(&y, &format!("{own}fc1"), weight, bias);
        let y = net.graph.add(Node::new("Relu", &[&y], ""));
        let (weight, bias) = linear(of, &named("mlp.fc2"), width, hidden, true)?;
        let y = net.product_of_many(&y, &format!("{own}fc2"), weight, bias);
        Ok(net.graph.node("Add", &[&x, &y]))
    }
}

/// Weight and bias of PyTorch's `Linear`.
pub(super) fn linear(
    of: &Checkpoint,
    name: &str,
    outside: usize,
    inside: usize,
    bias: bool,
) -> Result<(Matrix, Option<Vec<f32>>)> {
    let weight = of.values(&format!("{name}.weight"), &[outside, inside])?;
    let bias = if bias { Some(of.values(&format!("{name}.bias"), &[outside])?) } else { None };
    Ok((Matrix::of_rows(outside, inside, &weight), bias))
}

/// Weight and bias of a norm.
pub(super) fn norm(of: &Checkpoint, name: &str, width: usize) -> Result<[Vec<f32>; 2]> {
    Ok([of.values(&format!("{name}.weight"), &[width])?, of.values(&format!("{name}.bias"), &[width])?])
}
