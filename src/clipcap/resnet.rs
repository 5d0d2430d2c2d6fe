//! CLIP's ResNet: a stem of three convolutions, four stages, and attention of the mean over the cells.
//!
//! Norms over a batch are constant when a network is used, and go into the convolutions before them.

use super::layout::side_of;
use super::mapper::linear;
use super::net::{Net, WeightPrecision};
use crate::checkpoint::Checkpoint;
use crate::error::Result;
use crate::model::{GraphBuilder, Node};

/// What PyTorch adds to the variance of a batch.
const EPSILON: f64 = 1e-5;
/// Pixels along a side of a cell.
const CELL: usize = 32;
/// How much wider a block's last convolution is.
const WIDER: usize = 4;

/// An image tower, as the shapes of its tensors show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ResnetShape {
    pub(super) size: usize,
    width: usize,
    /// Blocks of each stage.
    blocks: [usize; 4],
    heads: usize,
    pub(super) out: usize,
}

impl ResnetShape {
    /// Finds the tower of one of OpenAI's files, whose heads are always 64 wide.
    pub(super) fn find(of: &Checkpoint) -> Result<ResnetShape> {
        let place = "visual.attnpool.positional_embedding";
        let [places, inside] = of.sizes(place)?;
        let [width, _, _, _] = of.sizes("visual.layer1.0.conv1.weight")?;
        let [out, _] = of.sizes("visual.attnpool.c_proj.weight")?;
        let blocks = [1, 2, 3, 4].map(|stage| of.layers(&format!("visual.layer{stage}.")));
        if blocks.contains(&0) || inside != width * 8 * WIDER || !inside.is_multiple_of(64) {
            return Err(of.error(format!("stages of {blocks:?} blocks and {inside} values are no ResNet of CLIP")));
        }
        let size = CELL * side_of(of, place, places)?;
        Ok(ResnetShape { size, width, blocks, heads: inside / 64, out })
    }

    /// The graph: `pixels` [N, 3, size, size] to `embedding` [N, out].
    pub(super) fn graph(&self, of: &Checkpoint, precision: WeightPrecision) -> Result<GraphBuilder> {
        let ResnetShape { size, width, .. } = *self;
        let mut tower = Tower { of, net: Net::new(precision) };
        let pixels = tower.net.float_input("pixels", &["n", "3", &size.to_string(), &size.to_string()]);
        let x = tower.convolve(&pixels, ("visual.conv1", "visual.bn1"), [width / 2, 3, 3], 2)?;
        let x = tower.relu(&x);
        let x = tower.convolve(&x, ("visual.conv2", "visual.bn2"), [width / 2, width / 2, 3], 1)?;
        let x = tower.relu(&x);
        let x = tower.convolve(&x, ("visual.conv3", "visual.bn3"), [width, width / 2, 3], 1)?;
        let x = tower.relu(&x);
        let mut x = tower.pool(&x, 2);
        let mut inside = width;
        for (stage, count) in self.blocks.into_iter().enumerate() {
            for block in 0..count {
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                x = tower.bottleneck(
                    &x,
                    &format!("visual.layer{}.{block}.", stage + 1),
                    [inside, width << stage],
                    stride,
                )?;
                inside = WIDER * (width << stage);
            }
        }
        let x = self.attention(&mut tower, &x, inside)?;
        tower.net.float_output(&x, "embedding", &["n", &self.out.to_string()]);
        Ok(tower.net.graph)
    }

    /// Attention of the mean over the cells, to the mean and the cells.
    fn attention(&self, tower: &mut Tower<'_>, x: &str, width: usize) -> Result<String> {
        let (of, net) = (tower.of, &mut tower.net);
        let length = (self.size / CELL).pow(2) + 1;
        // The global average is an operator of its own: a mean over a middle axis changes with the batch.
        let mean = net.graph.node("GlobalAveragePool", &[x]);
        let mean = net.reshape(&mean, &[0, width as i64, 1]);
        let cells = net.reshape(x, &[0, width as i64, length as i64 - 1]);
        let x = net.concat(&[&mean, &cells], 2);
        let x = net.transpose(&x, &[0, 2, 1]);
        let place = of.values("visual.attnpool.positional_embedding", &[length, width])?;
        let place = net.floats("place", &[length, width], place);
        let x = net.graph.node("Add", &[&x, &place]);
        let (zero, one) = (net.graph.ints(&[0]), net.graph.ints(&[1]));
        let first = net.slice(&x, 1, &zero, &one);
        let mut heads = Vec::new();
        for (name, from, count) in [("q_proj", &first, 1), ("k_proj", &x, length), ("v_proj", &x, length)] {
            let (weight, bias) = linear(of, &format!("visual.attnpool.{name}"), width, width, true)?;
            let y = net.product_of_many(from, name, weight, bias);
            heads.push(net.heads(&y, count, self.heads, width));
        }
        let scale = net.scalar(((width / self.heads) as f32).powf(-0.5));
        let q = net.graph.node("Mul", &[&heads[0], &scale]);
        let a = net.attend(&q, &heads[1], &heads[2], None);
        let a = net.reshape(&a, &[-1, width as i64]);
        let (weight, bias) = linear(of, "visual.attnpool.c_proj", self.out, width, true)?;
        Ok(net.product(&a, "c_proj", weight, bias))
    }
}

struct Tower<'a> {
    of: &'a Checkpoint,
    net: Net,
}

impl Tower<'_> {
    fn relu(&mut self, x: &str) -> String {
        self.net.graph.node("Relu", &[x])
    }

    fn pool(&mut self, x: &str, stride: i64) -> String {
        let node = Node::new("AveragePool", &[x], "");
        self.net.graph.add(node.with_ints("kernel_shape", &[stride; 2]).with_ints("strides", &[stride; 2]))
    }

    /// A convolution and the norm behind it. Sizes: outputs, inputs, and a side of the kernel, which keeps a picture's size.
    fn convolve(&mut self, x: &str, names: (&str, &str), sizes: [usize; 3], stride: i64) -> Result<String> {
        let ((conv, norm), [outside, inside, side]) = (names, sizes);
        let mut weights = self.of.values(&format!("{conv}.weight"), &[outside, inside, side, side])?;
        let of_norm = |part: &str| self.of.values(&format!("{norm}.{part}"), &[outside]);
        let (weight, bias) = (of_norm("weight")?, of_norm("bias")?);
        let (mean, variance) = (of_norm("running_mean")?, of_norm("running_var")?);
        let mut biases = Vec::with_capacity(outside);
        for (i, kernel) in weights.chunks_mut((inside * side * side).max(1)).enumerate() {
            let factor = f64::from(weight[i]) / (f64::from(variance[i]) + EPSILON).sqrt();
            kernel.iter_mut().for_each(|v| *v = (f64::from(*v) * factor) as f32);
            biases.push((f64::from(bias[i]) - f64::from(mean[i]) * factor) as f32);
        }
        let weights = self.net.floats(&format!("{conv}.weight"), &[outside, inside, side, side], weights);
        let biases = self.net.floats(&format!("{conv}.bias"), &[outside], biases);
        let node = Node::new("Conv", &[x, &weights, &biases], "").with_ints("kernel_shape", &[side as i64; 2]);
        let node = node.with_ints("strides", &[stride; 2]).with_ints("pads", &[side as i64 / 2; 4]);
        Ok(self.net.graph.add(node))
    }

    /// 1×1, 3×3, 1×1. Where the picture shrinks, an average pool does it rather than a stride.
    fn bottleneck(&mut self, x: &str, name: &str, sizes: [usize; 2], stride: i64) -> Result<String> {
        let ([inside, width], wide) = (sizes, WIDER * sizes[1]);
        let named = |n: usize| (format!("{name}conv{n}"), format!("{name}bn{n}"));
        let [one, two, three] = [1, 2, 3].map(named);
        let y = self.convolve(x, (&one.0, &one.1), [width, inside, 1], 1)?;
        let y = self.relu(&y);
        let y = self.convolve(&y, (&two.0, &two.1), [width, width, 3], 1)?;
        let mut y = self.relu(&y);
        let mut x = x.to_string();
        if stride > 1 {
            y = self.pool(&y, stride);
            x = self.pool(&x, stride);
        }
        let y = self.convolve(&y, (&three.0, &three.1), [wide, width, 1], 1)?;
        if stride > 1 || inside != wide {
            let (conv, norm) = (format!("{name}downsample.0"), format!("{name}downsample.1"));
            x = self.convolve(&x, (&conv, &norm), [wide, inside, 1], 1)?;
        }
        let sum = self.net.graph.node("Add", &[&y, &x]);
        Ok(self.relu(&sum))
    }
}
