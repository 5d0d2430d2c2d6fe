//! GPT-2 as the decoder of a model folder.

use super::mapper::norm;
use super::net::{Matrix, Net, Table, WeightPrecision};
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::message;
use crate::message::Setting;
use crate::model::{GraphBuilder, Node, element};

/// What GPT-2 adds to the variance.
const EPSILON: f32 = 1e-5;
/// What the tensors' names begin with.
const GPT: &str = "gpt.transformer.";
const HEAD: &str = "gpt.lm_head.weight";

/// A GPT-2, as the shapes of its tensors and the user show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gpt2Shape {
    pub(super) vocab: usize,
    pub(super) width: usize,
    pub(super) layers: usize,
    pub(super) heads: usize,
    /// Positions, those of the prefix included.
    pub(super) context: usize,
}

impl Gpt2Shape {
    /// Values of a token's vector, and the number of layers.
    pub(super) fn width_and_layers(of: &Checkpoint) -> Result<(usize, usize)> {
        let [_, width] = of.sizes(&format!("{GPT}wte.weight"))?;
        match of.layers(&format!("{GPT}h.")) {
            0 => Err(of.error(format!("there is no layer {GPT}h.0 of a GPT-2"))),
            _ if width == 0 => Err(of.error(format!("tensor {GPT}wte.weight is empty"))),
            layers => Ok((width, layers)),
        }
    }

    /// Finds the GPT-2 of a checkpoint. Its heads are those that the user gives or a preset knows.
    pub(super) fn find(of: &Checkpoint, heads: Option<usize>) -> Result<Gpt2Shape> {
        let (width, layers) = Gpt2Shape::width_and_layers(of)?;
        let [vocab, _] = of.sizes(&format!("{GPT}wte.weight"))?;
        let [context, _] = of.sizes(&format!("{GPT}wpe.weight"))?;
        let Some(heads) = heads else {
            let cause =
                format!("{}: no tensor shows how many attention heads its GPT-2 of width {width} has", of.name());
            let remedy = message![
                "Give ",
                Setting::Heads,
                " (GPT-2 has 12, medium 16, large 20, XL 25), or the ",
                Setting::Preset,
                " of a published checkpoint.",
            ];
            return Err(Error::usage(cause, remedy));
        };
        if heads == 0 || !width.is_multiple_of(heads) {
            let cause = format!("{}: {heads} attention heads do not divide its GPT-2's width {width}", of.name());
            let remedy = message!["Give the number that it was trained with as ", Setting::Heads, "."];
            return Err(Error::usage(cause, remedy));
        }
        Ok(Gpt2Shape { vocab, width, layers, heads, context })
    }

    pub(super) fn head_dim(&self) -> usize {
        self.width / self.heads
    }

    /// The graph, with the inputs and outputs of every decoder of a model folder.
    pub(super) fn graph(&self, of: &Checkpoint, precision: WeightPrecision) -> Result<GraphBuilder> {
        let mut decoder = Gpt2Decoder { shape: *self, of, net: Net::new(precision) };
        decoder.build()?;
        Ok(decoder.net.graph)
    }
}

/// What all layers read.
struct Step {
    spread: String,
    rows: String,
    /// [B,1,T,M]
    mask: String,
}

/// Lengths and padding of the attention, which are the same in all layers.
struct Lengths {
    /// Where the recent keys and the new ones end among the columns.
    recent: String,
    /// Where the settled ones end.
    settled: String,
    /// Scores of the columns without a key.
    blank: String,
}

struct Gpt2Decoder<'a> {
    shape: Gpt2Shape,
    of: &'a Checkpoint,
    net: Net,
}

impl Gpt2Decoder<'_> {
    fn build(&mut self) -> Result<()> {
        let Gpt2Shape { vocab, width, layers, context, .. } = self.shape;
        let net = &mut self.net;
        let embeds = net.float_input("embeds", &["e", &width.to_string()]);
        let ids = net.graph.input("ids", element::INT64, &["s"]);
        let place = net.graph.input("place", element::INT64, &["n"]);
        let spread = net.graph.input("spread", element::INT64, &["b", "t"]);
        let rows = net.graph.input("rows", element::INT64, &["n"]);
        let mask = net.float_input("mask", &["b", "t", "seen"]);
        let asked = net.graph.input("asked", element::INT64, &["a"]);
        let count = net.graph.input("k", element::INT64, &["1"]);
        let one = net.graph.ints(&[1]);
        let step = Step { spread, rows, mask: net.graph.node("Unsqueeze", &[&mask, &one]) };
        for kind in ["settled", "recent"] {
            (0..layers).for_each(|layer| self.cache_inputs(kind, layer));
        }
        let values = self.of.values(&format!("{GPT}wte.weight"), &[vocab, width])?;
        let tied = self.head_is_tied(&values)?;
        let words = self.net.table("wte.weight", width, values);
        let places = self.of.values(&format!("{GPT}wpe.weight"), &[context, width])?;
        let places = self.net.table("wpe.weight", width, places);
        let known = self.net.look_up(&words, &ids);
        let x = self.net.concat(&[&embeds, &known], 0);
        let places = self.net.look_up(&places, &place);
        let mut x = self.net.graph.node("Add", &[&x, &places]);
        let mut lengths = None;
        for layer in 0..layers {
            x = self.layer(&x, layer, &step, &mut lengths)?;
        }
        let x = self.net.graph.node("Gather", &[&x, &asked]);
        let x = self.net.norm(&x, "ln_f", norm(self.of, &format!("{GPT}ln_f"), width)?, EPSILON);
        self.finish(&x, &words, tied, &count)
    }

    /// Whether the words' table is the output head too.
    fn head_is_tied(&self, words: &[f32]) -> Result<bool> {
        let Some(head) = self.of.get(HEAD) else { return Ok(true) };
        if self.of.get(&format!("{GPT}wte.weight")) == Some(head) {
            return Ok(true);
        }
        Ok(self.of.values(HEAD, &[self.shape.vocab, self.shape.width])? == words)
    }

    fn cache_inputs(&mut self, kind: &str, layer: usize) {
        let (heads, size) = (self.shape.heads.to_string(), self.shape.head_dim().to_string());
        let length = if kind == "settled" { "c" } else { "r" };
        let float = self.net.float();
        for part in ["key", "value"] {
            self.net.graph.input(&format!("{kind}_{part}_{layer}"), float, &["b", &heads, length, &size]);
        }
    }

    /// Weight and bias of GPT-2's `Conv1D`, whose matrices are stored as products read them.
    fn conv(&self, name: &str, inside: usize, outside: usize) -> Result<(Matrix, Option<Vec<f32>>)> {
        let values = self.of.values(&format!("{name}.weight"), &[inside, outside])?;
        let bias = self.of.values(&format!("{name}.bias"), &[outside])?;
        Ok((Matrix { inside, outside, values }, Some(bias)))
    }

    fn layer(&mut self, x: &str, layer: usize, step: &Step, lengths: &mut Option<Lengths>) -> Result<String> {
        let (width, theirs, own) = (self.shape.width, format!("{GPT}h.{layer}."), format!("blocks.{layer}."));
        let y = self.net.norm(x, &format!("{own}ln_1"), norm(self.of, &format!("{theirs}ln_1"), width)?, EPSILON);
        let (weight, bias) = self.conv(&format!("{theirs}attn.c_attn"), width, 3 * width)?;
        let all = self.net.product(&y, &format!("{own}attn"), weight, bias);
        let a = self.attention(&all, layer, step, lengths);
        let net = &mut self.net;
        let a = net.reshape(&a, &[-1, width as i64]);
        let a = net.graph.node("Gather", &[&a, &step.rows]);
        let (weight, bias) = self.conv(&format!("{theirs}attn.c_proj"), width, width)?;
        let a = self.net.product(&a, &format!("{own}proj"), weight, bias);
        let x = self.net.graph.node("Add", &[x, &a]);
        let y = self.net.norm(&x, &format!("{own}ln_2"), norm(self.of, &format!("{theirs}ln_2"), width)?, EPSILON);
        let (weight, bias) = self.conv(&format!("{theirs}mlp.c_fc"), width, 4 * width)?;
        let y = self.net.product(&y, &format!("{own}fc"), weight, bias);
        let y = self.net.graph.microsoft("FastGelu", &[&y]);
        let (weight, bias) = self.conv(&format!("{theirs}mlp.c_proj"), 4 * width, width)?;
        let y = self.net.product(&y, &format!("{own}fc_out"), weight, bias);
        Ok(self.net.graph.node("Add", &[&x, &y]))
    }

    /// Attention of the new vectors, whose queries, keys and values are `all` [N,3W]. Returns [B,T,H,D].
    fn attention(&mut self, all: &str, layer: usize, step: &Step, lengths: &mut Option<Lengths>) -> String {
        let Gpt2Shape { width, heads, .. } = self.shape;
        let (size, float) = (self.shape.head_dim(), self.net.float());
        let parts: [String; 3] = self.net.parts(all, 1, width);
        let [q, key, value] = parts.map(|z| {
            let z = self.net.reshape(&z, &[0, heads as i64, size as i64]);
            let z = self.net.graph.node("Gather", &[&z, &step.spread]);
            self.net.transpose(&z, &[0, 2, 1, 3])
        });
        let net = &mut self.net;
        let scale = net.scalar((size as f32).powf(-0.5));
        let q = net.graph.node("Mul", &[&q, &scale]);
        let [key, value] = [("key", key), ("value", value)].map(|(kind, new)| {
            let grown = net.concat(&[&format!("recent_{kind}_{layer}"), &new], 2);
            let name = format!("{kind}_{layer}");
            net.graph.output(&grown, &name, float, &["b", &heads.to_string(), "g", &size.to_string()]);
            name
        });
        let settled = format!("settled_key_{layer}");
        let lengths = lengths.get_or_insert_with(|| lengths_of(net, (&q, &key, &settled), &step.mask));
        let turned = net.transpose(&key, &[0, 1, 3, 2]);
        let of_recent = net.graph.node("MatMul", &[&q, &turned]);
        let turned = net.transpose(&settled, &[0, 1, 3, 2]);
        let of_settled = net.graph.node("MatMul", &[&q, &turned]);
        let scores = net.concat(&[&of_recent, &of_settled, &lengths.blank], 3);
        let scores = net.graph.node("Add", &[&scores, &step.mask]);
        let weights = net.softmax(&scores);
        let none = net.graph.ints(&[0]);
        let of_recent = net.slice(&weights, 3, &none, &lengths.recent);
        let of_recent = net.graph.node("MatMul", &[&of_recent, &value]);
        let of_settled = net.slice(&weights, 3, &lengths.recent, &lengths.settled);
        let of_settled = net.graph.node("MatMul", &[&of_settled, &format!("settled_value_{layer}")]);
        let a = net.graph.node("Add", &[&of_recent, &of_settled]);
        net.transpose(&a, &[0, 2, 1, 3])
    }

    /// From the last hidden states to the likeliest tokens.
    fn finish(&mut self, x: &str, words: &Table, tied: bool, count: &str) -> Result<()> {
        let Gpt2Shape { vocab, width, .. } = self.shape;
        let logits = if tied {
            self.net.product_with(x, words, vocab)
        } else {
            let head = self.of.values(HEAD, &[vocab, width])?;
            self.net.product(x, "lm_head", Matrix::of_rows(vocab, width, &head), None)
        };
        let net = &mut self.net;
        // Sums over a vocabulary need 32 bits.
        let logits = if net.float() == element::FLOAT { logits } else { net.cast(&logits, element::FLOAT) };
        let logprobs = net.graph.add(Node::new("LogSoftmax", &[&logits], "").with_int("axis", -1));
        let top = Node::new("TopK", &[&logprobs, count], "").with_int("axis", -1).with_int("largest", 1);
        let [top, ids] = net.graph.add_many(top.with_int("sorted", 1));
        net.graph.output(&top, "top_logprob", element::FLOAT, &["a", "likeliest"]);
        net.graph.output(&ids, "top_id", element::INT64, &["a", "likeliest"]);
        Ok(())
    }
}

fn lengths_of(net: &mut Net, (q, key, settled): (&str, &str, &str), mask: &str) -> Lengths {
    let mut size = |x: &str, axis: i64| {
        net.graph.add(Node::new("Shape", &[x], "").with_int("start", axis).with_int("end", axis + 1))
    };
    let (recent, settled, columns) = (size(key, 2), size(settled, 2), size(mask, 3));
    let of_q = net.graph.add(Node::new("Shape", &[q], "").with_int("start", 0).with_int("end", 3));
    let settled = net.graph.node("Add", &[&recent, &settled]);
    let free = net.graph.node("Sub", &[&columns, &settled]);
    let shape = net.concat(&[&of_q, &free], 0);
    let zero = if net.float() == element::FLOAT { &[0u8; 4][..] } else { &[0u8; 2] };
    let blank = Node::new("ConstantOfShape", &[&shape], "").with_value("value", net.float(), zero);
    let blank = net.graph.add(blank);
    Lengths { recent, settled, blank }
}
