//! The decoder's graph: one run of it, and what its inputs and outputs must be.
//!
//! Owns the decoder's session. All hypotheses of a run are in one list of vectors, whichever picture they belong to.
//! `spread` and `rows` say where each vector belongs among the slots and places of the [`cache`](super::cache).
//!
//! Memory: the weights.

use ort::session::{Session, SessionInputValue, SessionOutputs};
use ort::value::{DynValue, Tensor, TensorElementType};

use super::cache::KeyValueCache;
use super::language_model::TopTokens;
use super::mover::KeyMover;
use crate::error::{Error, Result};
use crate::model::device::DeviceMemory;
use crate::model::folder::ModelFolder;
use crate::model::graph::{GraphCheck, MISMATCH, run_error, wrong_shape};
use crate::model::manifest::{CaptionerSpec, DecoderSpec};
use crate::model::runtime::{Runtime, SessionOptions};

/// The decoder of a model folder.
pub(crate) struct Decoder {
    pub(crate) session: Session,
    pub(crate) graph: DecoderGraph,
    /// For keys that are not moved by hand.
    pub(crate) mover: Option<KeyMover>,
    /// Vectors in a prefix.
    pub(crate) prefix: usize,
}

impl Decoder {
    pub(crate) fn new(folder: &ModelFolder, options: &SessionOptions) -> Result<Decoder> {
        let CaptionerSpec { decoder: spec, mapper, .. } = folder.captioner()?.clone();
        let session = Runtime::load()?.session(folder, &spec.graph, options)?;
        let names = CacheNames::new(spec.layers);
        let element = check(folder, &spec, &session, &names)?;
        let memory = DeviceMemory::of(options.device, options.bind_keys)?;
        let by_hand = KeyValueCache::moves_by_hand(&memory, element);
        let mover = if by_hand { None } else { Some(KeyMover::new(element, options)?) };
        let graph = DecoderGraph { memory, names, spec, element };
        Ok(Decoder { session, graph, mover, prefix: mapper.prefix_length })
    }
}

/// What is fixed about the decoder's graph.
pub(crate) struct DecoderGraph {
    pub(crate) memory: DeviceMemory,
    names: CacheNames,
    pub(crate) spec: DecoderSpec,
    /// Type of keys and values: 32-bit or 16-bit floats.
    pub(crate) element: TensorElementType,
}

/// Names of the tensors that hold the cache: keys and values of each layer in turn.
struct CacheNames {
    settled: Vec<String>,
    recent: Vec<String>,
    output: Vec<String>,
}

impl CacheNames {
    fn new(layers: usize) -> CacheNames {
        let names = |stem: &'static str| {
            (0..layers).flat_map(move |l| [format!("{stem}key_{l}"), format!("{stem}value_{l}")]).collect()
        };
        CacheNames { settled: names("settled_"), recent: names("recent_"), output: names("") }
    }
}

/// What a run of the graph reads besides the cache.
pub(crate) struct DecoderInput {
    /// Vectors of prefixes; empty where tokens are read.
    pub(crate) embeds: Vec<f32>,
    /// Tokens; empty where prefixes are read.
    pub(crate) ids: Vec<i64>,
    /// Position of each vector in its sequence.
    pub(crate) position: Vec<i64>,
    /// The vector at each place of each slot. Places without a hypothesis have any.
    pub(crate) spread: Vec<i64>,
    /// The place of each vector, counted through all slots.
    pub(crate) rows: Vec<i64>,
    /// Slots × places × columns; see [`KeyValueCache::extend`].
    pub(crate) mask: Vec<f32>,
    /// Vectors whose next tokens are wanted.
    pub(crate) asked: Vec<i64>,
    /// Next tokens for each.
    pub(crate) k: usize,
}

impl DecoderInput {
    /// The graph's own inputs, by name.
    fn tensors(self, slots: usize, spec: &DecoderSpec) -> Result<Vec<(&'static str, DynValue)>> {
        let ints = |values: Vec<i64>| Tensor::from_array(([values.len()], values)).map(Tensor::into_dyn);
        let floats = |shape: &[usize], values: Vec<f32>| Tensor::from_array((shape, values)).map(Tensor::into_dyn);
        let places = self.spread.len() / slots.max(1);
        let columns = self.mask.len() / self.spread.len().max(1);
        let tensors = [
            ("embeds", floats(&[self.embeds.len() / spec.width, spec.width], self.embeds)),
            ("ids", ints(self.ids)),
            ("place", ints(self.position)),
            ("spread", Tensor::from_array(([slots, places], self.spread)).map(Tensor::into_dyn)),
            ("rows", ints(self.rows)),
            ("mask", floats(&[slots, places, columns], self.mask)),
            ("asked", ints(self.asked)),
            ("k", ints(vec![self.k as i64])),
        ];
        let failed = run_error(&spec.graph);
        tensors.into_iter().map(|(name, value)| Ok((name, value.map_err(&failed)?))).collect()
    }
}

impl DecoderGraph {
    /// Runs the graph. Returns the best tokens of the first `count` vectors that are asked, and what the recent keys
    /// have become.
    pub(crate) fn run(
        &self,
        session: &mut Session,
        cache: &KeyValueCache,
        input: DecoderInput,
        count: usize,
    ) -> Result<(TopTokens, Vec<DynValue>)> {
        let DecoderGraph { memory, names, spec, .. } = self;
        let failed = run_error(&spec.graph);
        let (asked, k) = (input.asked.len(), input.k);
        let own = input.tensors(cache.slots(), spec)?;
        let recent = names.recent.iter().zip(cache.recent());
        let mut binding;
        let outputs = if memory.is_bound() {
            // With a binding, what a step leaves in the cache stays on the device, and only its few best tokens come
            // back.
            binding = session.create_binding().map_err(&failed)?;
            for (name, value) in &own {
                binding.bind_input(*name, value).map_err(&failed)?;
            }
            for (name, value) in names.settled.iter().zip(cache.settled_values()).chain(recent) {
                binding.bind_input(name, value).map_err(&failed)?;
            }
            for name in ["top_logprob", "top_id"] {
                binding.bind_output_to_device(name, &memory.host).map_err(&failed)?;
            }
            for name in &names.output {
                binding.bind_output_to_device(name, &memory.device).map_err(&failed)?;
            }
            session.run_binding(&binding).map_err(&failed)?
        } else {
            // Without one: a binding would copy the settled keys, which are only borrowed.
            let mut inputs: Vec<(&str, SessionInputValue)> =
                own.iter().map(|(name, value)| (*name, value.into())).collect();
            let settled = names.settled.iter().zip(cache.settled_inputs()?);
            inputs.extend(settled.map(|(name, value)| (name.as_str(), value)));
            inputs.extend(recent.map(|(name, value)| (name.as_str(), value.into())));
            session.run(inputs).map_err(&failed)?
        };
        self.results(outputs, asked, k, count)
    }

    /// Takes the results of a run out of its outputs and checks them: `k` tokens for each of `asked` vectors.
    fn results(
        &self,
        mut outputs: SessionOutputs<'_>,
        asked: usize,
        k: usize,
        count: usize,
    ) -> Result<(TopTokens, Vec<DynValue>)> {
        let graph = &self.spec.graph;
        let failed = run_error(graph);
        let mut take = |name: &str| outputs.remove(name).ok_or_else(|| wrong_shape(graph));
        let (logprob, id) = (take("top_logprob")?, take("top_id")?);
        let keys = self.names.output.iter().map(|name| take(name)).collect::<Result<Vec<_>>>()?;
        let (_, logprob) = logprob.try_extract_tensor::<f32>().map_err(&failed)?;
        let (_, id) = id.try_extract_tensor::<i64>().map_err(&failed)?;
        if logprob.len() != asked * k || id.len() != asked * k || count > asked {
            return Err(wrong_shape(graph));
        }
        let top = TopTokens { k, logprob: logprob[..count * k].to_vec(), id: id[..count * k].to_vec() };
        let broken = |what: &str| Error::runtime(format!("{graph} gave {what}"), "Make the model folder again.");
        if top.logprob.iter().any(|l| l.is_nan()) {
            return Err(broken("log-probabilities that are not numbers"));
        }
        if top.id.iter().any(|&id| id < 0 || id as usize >= self.spec.vocab) {
            return Err(broken("tokens beyond its vocabulary"));
        }
        Ok((top, keys))
    }
}

/// Refuses a graph that is not this manifest's decoder. Returns the type of its keys.
fn check(folder: &ModelFolder, d: &DecoderSpec, session: &Session, names: &CacheNames) -> Result<TensorElementType> {
    let (float, int) = (TensorElementType::Float32, TensorElementType::Int64);
    let check = GraphCheck::new(folder, &d.graph, session);
    let own: [(&str, TensorElementType, &[Option<usize>]); 8] = [
        ("embeds", float, &[None, Some(d.width)]),
        ("ids", int, &[None]),
        ("place", int, &[None]),
        ("spread", int, &[None, None]),
        ("rows", int, &[None]),
        ("mask", float, &[None, None, None]),
        ("asked", int, &[None]),
        ("k", int, &[Some(1)]),
    ];
    for (name, element, dims) in own {
        check.input(name, element, dims)?;
    }
    check.output("top_logprob", float, &[None, None])?;
    check.output("top_id", int, &[None, None])?;
    let half = TensorElementType::Float16;
    let is_half = session.inputs().iter().any(|i| i.name() == "settled_key_0" && i.dtype().tensor_type() == Some(half));
    let element = if is_half { half } else { float };
    let cache = [None, Some(d.heads), None, Some(d.head_dim)];
    for name in names.settled.iter().chain(&names.recent) {
        check.input(name, element, &cache)?;
    }
    for name in &names.output {
        check.output(name, element, &cache)?;
    }
    // A graph with more layers than the manifest says would have inputs that nothing fills.
    let known = own.len() + names.settled.len() + names.recent.len();
    if session.inputs().len() != known {
        return Err(folder.error(
            format!(
                "{} has {} inputs, and a decoder of {} layers has {known}",
                d.graph,
                session.inputs().len(),
                d.layers
            ),
            MISMATCH,
        ));
    }
    Ok(element)
}
