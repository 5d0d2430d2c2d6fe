//! CLIP's transformers: the image tower ViT and the text tower, from either layout of their tensors.

use super::layout::Layout;
use super::mapper::norm;
use super::net::{Matrix, Net, WeightPrecision};
use crate::checkpoint::Checkpoint;
use crate::error::Result;
use crate::model::{GraphBuilder, Node, element};

/// What keeps a token from those behind it.
const HIDDEN: f32 = -1e9;

/// An activation between the two products of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Activation {
    QuickGelu,
    Gelu,
    GeluTanh,
}

/// What both transformers have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct TransformerShape {
    pub(super) width: usize,
    pub(super) layers: usize,
    pub(super) heads: usize,
    pub(super) hidden: usize,
    /// Values of the embedding.
    pub(super) out: usize,
    pub(super) activation: Activation,
    pub(super) epsilon: f32,
}

/// An image tower.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct VitShape {
    pub(super) common: TransformerShape,
    /// Pixels along a side of a picture, and of a patch.
    pub(super) size: usize,
    pub(super) patch: usize,
}

/// A text tower.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct TextShape {
    pub(super) common: TransformerShape,
    pub(super) context: usize,
    pub(super) vocab: usize,
    /// Id of the end token; `None`: the highest id of a line.
    pub(super) end: Option<i64>,
}

impl VitShape {
    /// The graph: `pixels` [N, 3, size, size] to `embedding` [N, out].
    pub(super) fn graph(&self, of: &Checkpoint, layout: Layout, precision: WeightPrecision) -> Result<GraphBuilder> {
        let VitShape { common, size, patch } = *self;
        let (side, width, names) = (size / patch, common.width, layout.image());
        let length = side * side + 1;
        let mut net = Net::new(precision);
        let pixels = net.float_input("pixels", &["n", "3", &size.to_string(), &size.to_string()]);
        let x = patches(&mut net, &pixels, side, patch);
        // A convolution whose patches do not overlap, as a product of patches.
        let inside = 3 * patch * patch;
        let weight = of.values(names.patches, &[width, 3, patch, patch])?;
        let x = net.product_of_many(&x, "patches", Matrix::of_rows(width, inside, &weight), None);
        let class = net.floats("cls", &[1, 1, width], of.values(names.class, &[width])?);
        let class = net.for_each_row(&class, &x, &[1, width]);
        let x = net.concat(&[&class, &x], 1);
        let place = net.floats("place", &[length, width], of.values(names.place, &[length, width])?);
        let x = net.graph.node("Add", &[&x, &place]);
        let mut x = net.norm(&x, "ln_pre", norm(of, names.norm_before, width)?, common.epsilon);
        let block = ClipBlock { of, layout, shape: common, before: names.layers, length };
        for layer in 0..common.layers {
            // Of the last layer, only the class vector is needed.
            x = block.add(&mut net, &x, layer, None, layer + 1 == common.layers)?;
        }
        let x = net.reshape(&x, &[-1, width as i64]);
        let x = net.norm(&x, "ln_post", norm(of, names.norm_after, width)?, common.epsilon);
        let x = project(&mut net, of, &x, (layout, names.out), common)?;
        net.float_output(&x, "embedding", &["n", &common.out.to_string()]);
        Ok(net.graph)
    }
}

/// Patches [N, side², 3·patch²] of pixels.
fn patches(net: &mut Net, pixels: &str, side: usize, patch: usize) -> String {
    let (side, patch) = (side as i64, patch as i64);
    let x = net.reshape(pixels, &[0, 3, side, patch, side, patch]);
    let x = net.transpose(&x, &[0, 2, 4, 1, 3, 5]);
    net.reshape(&x, &[0, side * side, 3 * patch * patch])
}

/// The last product, without a bias.
fn project(
    net: &mut Net,
    of: &Checkpoint,
    x: &str,
    (layout, name): (Layout, &str),
    shape: TransformerShape,
) -> Result<String> {
    let (inside, outside) = (shape.width, shape.out);
    let matrix = match layout {
        Layout::OpenAi => Matrix { inside, outside, values: of.values(name, &[inside, outside])? },
        Layout::HuggingFace => Matrix::of_rows(outside, inside, &of.values(name, &[outside, inside])?),
    };
    Ok(net.product(x, "out", matrix, None))
}

impl TextShape {
    /// The graph: `ids` [N, context] to `embedding` [N, out], read at the end token.
    pub(super) fn graph(&self, of: &Checkpoint, layout: Layout, precision: WeightPrecision) -> Result<GraphBuilder> {
        let TextShape { common, context, vocab, end } = *self;
        let (width, names) = (common.width, layout.text());
        let mut net = Net::new(precision);
        let ids = net.graph.input("ids", element::INT64, &["n", &context.to_string()]);
        let table = net.table("table.weight", width, of.values(names.table, &[vocab, width])?);
        let x = net.look_up(&table, &ids);
        let place = net.floats("place", &[context, width], of.values(names.place, &[context, width])?);
        let mut x = net.graph.node("Add", &[&x, &place]);
        let mask = (0..context * context).map(|i| if i % context > i / context { HIDDEN } else { 0.0 }).collect();
        let mask = net.floats("mask", &[context, context], mask);
        let block = ClipBlock { of, layout, shape: common, before: names.layers, length: context };
        for layer in 0..common.layers {
            x = block.add(&mut net, &x, layer, Some(&mask), false)?;
        }
        let marks = match end {
            Some(end) => {
                let end = net.graph.ints(&[end]);
                net.graph.node("Equal", &[&ids, &end])
            }
            None => ids,
        };
        let marks = net.cast(&marks, element::INT32);
        let end = net.graph.add(Node::new("ArgMax", &[&marks], "").with_int("axis", 1).with_int("keepdims", 1));
        let x = net.graph.add(Node::new("GatherND", &[&x, &end], "").with_int("batch_dims", 1));
        let x = net.norm(&x, "ln", norm(of, names.norm_after, width)?, common.epsilon);
        let x = project(&mut net, of, &x, (layout, names.out), common)?;
        net.float_output(&x, "embedding", &["n", &common.out.to_string()]);
        Ok(net.graph)
    }
}

/// The layers of a transformer: norm, attention, norm, two products.
struct ClipBlock<'a> {
    of: &'a Checkpoint,
    layout: Layout,
    shape: TransformerShape,
    /// What the names of a layer's tensors begin with, before its number.
    before: &'a str,
    /// Vectors of a picture or a text.
    length: usize,
}

impl ClipBlock<'_> {
    /// Adds a layer. With `first` only the first vector is computed, which attends to all.
    fn add(&self, net: &mut Net, x: &str, layer: usize, mask: Option<&str>, first: bool) -> Result<String> {
        let TransformerShape { width, heads, hidden, epsilon, .. } = self.shape;
        let (theirs, own) = (format!("{}{layer}.", self.before), format!("blocks.{layer}."));
        let names = self.layout.block();
        let y = net.norm(x, &format!("{own}ln_1"), self.norm(&theirs, names.norm_1)?, epsilon);
        let (weight, bias) = self.queries_keys_values(&theirs)?;
        let all = net.product_of_many(&y, &format!("{own}qkv"), weight, Some(bias));
        let [mut q, k, v] = net.parts(&all, 2, width);
        let (mut x, mut length) = (x.to_string(), self.length);
        if first {
            let (zero, one) = (net.graph.ints(&[0]), net.graph.ints(&[1]));
            x = net.slice(&x, 1, &zero, &one);
            q = net.slice(&q, 1, &zero, &one);
            length = 1;
        }
        let q = net.heads(&q, length, heads, width);
        let [k, v] = [k, v].map(|z| net.heads(&z, self.length, heads, width));
        let scale = net.scalar(((width / heads) as f32).powf(-0.5));
        let q = net.graph.node("Mul", &[&q, &scale]);
        let a = net.attend(&q, &k, &v, mask);
        let a = net.reshape(&a, &[0, length as i64, width as i64]);
        let (weight, bias) = self.linear(&theirs, names.out, width, width)?;
        let a = net.product_of_many(&a, &format!("{own}out"), weight, Some(bias));
        let x = net.graph.node("Add", &[&x, &a]);
        let y = net.norm(&x, &format!("{own}ln_2"), self.norm(&theirs, names.norm_2)?, epsilon);
        let (weight, bias) = self.linear(&theirs, names.wide, hidden, width)?;
        let y = net.product_of_many(&y, &format!("{own}fc"), weight, Some(bias));
        let y = self.activate(net, &y);
        let (weight, bias) = self.linear(&theirs, names.narrow, width, hidden)?;
        let y = net.product_of_many(&y, &format!("{own}proj"), weight, Some(bias));
        Ok(net.graph.node("Add", &[&x, &y]))
    }

    fn activate(&self, net: &mut Net, x: &str) -> String {
        match self.shape.activation {
            Activation::QuickGelu => {
                let factor = net.scalar(1.702);
                let y = net.graph.node("Mul", &[x, &factor]);
                let y = net.graph.node("Sigmoid", &[&y]);
                net.graph.node("Mul", &[x, &y])
            }
            Activation::Gelu => net.graph.microsoft("Gelu", &[x]),
            Activation::GeluTanh => net.graph.microsoft("FastGelu", &[x]),
        }
    }

    fn norm(&self, theirs: &str, name: &str) -> Result<[Vec<f32>; 2]> {
        norm(self.of, &format!("{theirs}{name}"), self.shape.width)
    }

    fn linear(&self, theirs: &str, name: &str, outside: usize, inside: usize) -> Result<(Matrix, Vec<f32>)> {
        let weight = self.of.values(&format!("{theirs}{name}.weight"), &[outside, inside])?;
        let bias = self.of.values(&format!("{theirs}{name}.bias"), &[outside])?;
        Ok((Matrix::of_rows(outside, inside, &weight), bias))
    }

    /// One matrix for queries, keys and values, which one layout stores apart.
    fn queries_keys_values(&self, theirs: &str) -> Result<(Matrix, Vec<f32>)> {
        let width = self.shape.width;
        if self.layout == Layout::OpenAi {
            let weight = self.of.values(&format!("{theirs}attn.in_proj_weight"), &[3 * width, width])?;
            let bias = self.of.values(&format!("{theirs}attn.in_proj_bias"), &[3 * width])?;
            return Ok((Matrix::of_rows(3 * width, width, &weight), bias));
        }
        let (mut weights, mut biases) = (Vec::new(), Vec::new());
        for part in ["q_proj", "k_proj", "v_proj"] {
            let name = format!("{theirs}self_attn.{part}");
            weights.extend(self.of.values(&format!("{name}.weight"), &[width, width])?);
            biases.extend(self.of.values(&format!("{name}.bias"), &[width])?);
        }
        Ok((Matrix::of_rows(3 * width, width, &weights), biases))
    }
}
