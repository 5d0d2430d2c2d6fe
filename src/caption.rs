//! Embeddings to captions: mapping network, then the language model behind its prefix, token by token.
//!
//! Owns the mapper's and the decoder's sessions and the tokenizer. Captions come in the order of the pictures and do not
//! depend on how they were batched. Memory: weights once, and the [`cache`] of at most [`CaptionOptions::batch`] pictures.

mod cache;

use cache::Cache;
use ort::session::{Session, SessionInputValue};
use ort::value::{DynValue, Tensor, TensorElementType};
use tokenizers::Tokenizer;

use crate::beam::{SearchOptions, SplitMix, Step, Strategy, Top, search};
use crate::embed::load_tokenizer;
use crate::encode::{Encoded, unit};
use crate::error::{Error, Result};
use crate::model::{MAX_BEAM, Manifest, MapperInput, ModelFolder};
use crate::runtime::{LEAST_ROWS, Memory, Runtime, SessionOptions, expect, run_error};

/// What is to be seen in a picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Caption {
    /// Without the stop token, trimmed.
    pub text: String,
    /// Token ids, the stop token included.
    pub ids: Vec<i64>,
    pub mean_logprob: f32,
    /// From 0 to 1, where the model has a calibration.
    pub score: Option<f32>,
}

/// Describes pictures. A trait so that the pipeline is tested without a model.
pub trait Captions {
    /// One caption a picture, in order.
    fn caption(&mut self, pictures: &[&Encoded]) -> Result<Vec<Caption>>;
}

/// How captions are made. What is left open is as the model's manifest says.
#[derive(Debug, Clone, PartialEq)]
pub struct CaptionOptions {
    /// Hypotheses side by side. Default: the model's.
    pub beam: Option<usize>,
    /// The likeliest token each time, instead of beams. Default: false.
    pub greedy: bool,
    /// Draw tokens with this seed, instead of beams. Default: none.
    pub sample: Option<u64>,
    /// Tokens that a draw chooses from. Default: 20.
    pub top_k: usize,
    /// Logits are divided by it. Default: the model's.
    pub temperature: Option<f32>,
    /// Most tokens, the stop token counted. Default: the model's.
    pub max_tokens: Option<usize>,
    /// Most pictures at once. Default: 16.
    pub batch: usize,
    /// Threads, device and memory. Default: ONNX Runtime's threads on the CPU.
    pub session: SessionOptions,
}

impl Default for CaptionOptions {
    fn default() -> CaptionOptions {
        CaptionOptions {
            beam: None,
            greedy: false,
            sample: None,
            top_k: 20,
            temperature: None,
            max_tokens: None,
            batch: 16,
            session: SessionOptions::default(),
        }
    }
}

impl CaptionOptions {
    /// The search that these options come to with a model, or what is wrong with them.
    pub fn search(&self, manifest: &Manifest) -> Result<SearchOptions> {
        let decoding = &manifest.decoding;
        let vocab = manifest.decoder.vocab;
        let beam = self.beam.unwrap_or(decoding.beam);
        let most = MAX_BEAM.min(vocab);
        if beam == 0 || beam > most {
            return Err(Error::usage(format!("--beam {beam} cannot be"), format!("use a beam from 1 to {most}")));
        }
        let max_tokens = self.max_tokens.unwrap_or(decoding.max_tokens);
        let longest = manifest.longest();
        if max_tokens == 0 || max_tokens > longest {
            let remedy = format!("this model can make from 1 to {longest} tokens");
            return Err(Error::usage(format!("--max-tokens {max_tokens} cannot be"), remedy));
        }
        let temperature = self.temperature.unwrap_or(decoding.temperature);
        if !(temperature.is_finite() && temperature > 0.0) {
            return Err(Error::usage(format!("--temperature {temperature} cannot be"), "use a number above 0"));
        }
        let strategy = match (self.greedy, self.sample) {
            (true, Some(_)) => {
                return Err(Error::usage("--greedy and sampling exclude each other", "ask for one of them"));
            }
            (true, None) => Strategy::Greedy,
            (false, Some(_)) => Strategy::Sample { top_k: self.top_k.clamp(1, vocab) },
            (false, None) => Strategy::Beam(beam),
        };
        let stop_tokens = decoding.stop_tokens.clone();
        Ok(SearchOptions { strategy, max_tokens, temperature, stop_tokens, vocab })
    }
}

/// The mapper and the decoder of a model folder.
pub struct Captioner {
    mapper: Session,
    decoder: Session,
    memory: Memory,
    tokenizer: Tokenizer,
    manifest: Manifest,
    names: Names,
    search: SearchOptions,
    seed: u64,
    batch: usize,
}

/// Names of the decoder's cache tensors, one a layer, keys and values in turn.
struct Names {
    settled: Vec<String>,
    recent: Vec<String>,
    output: Vec<String>,
}

impl Captioner {
    pub fn new(folder: &ModelFolder, options: &CaptionOptions) -> Result<Captioner> {
        let manifest = folder.manifest().clone();
        let search = options.search(&manifest)?;
        let runtime = Runtime::load()?;
        let mapper = runtime.session(folder, &manifest.mapper.graph, &options.session)?;
        let decoder = runtime.session(folder, &manifest.decoder.graph, &options.session)?;
        let names = Names::new(manifest.decoder.layers);
        check_mapper(folder, &mapper)?;
        check_decoder(folder, &decoder, &names)?;
        let tokenizer = load_tokenizer(folder, &manifest.tokenizer)?;
        let seed = options.sample.unwrap_or(0);
        let memory = Memory::of(options.session.device)?;
        Ok(Captioner { mapper, decoder, memory, tokenizer, manifest, names, search, seed, batch: options.batch.max(1) })
    }

    /// The search that captions come from.
    pub fn search(&self) -> &SearchOptions {
        &self.search
    }

    /// Mapping network: a prefix for each row. Rows beyond the pictures are padding.
    fn prefixes(&mut self, pictures: &[&Encoded], rows: usize) -> Result<DynValue> {
        let (mapper, image) = (&self.manifest.mapper, &self.manifest.image);
        let (width, shape) = match (mapper.input, image.grid) {
            (MapperInput::Grid, Some(grid)) => (grid.cells * grid.dim, vec![rows, grid.cells, grid.dim]),
            _ => (image.embedding_dim, vec![rows, image.embedding_dim]),
        };
        let mut input = Vec::with_capacity(rows * width);
        for picture in pictures {
            let values = match mapper.input {
                MapperInput::Grid => picture.grid.as_deref().unwrap_or_default(),
                MapperInput::Embedding => &picture.embedding,
            };
            if values.len() != width {
                return Err(Error::runtime(
                    format!("{} values of a picture came to a mapper that reads {width}", values.len()),
                    "encode pictures with the same model that captions them",
                ));
            }
            if mapper.normalize_prefix {
                input.extend(unit(values));
            } else {
                input.extend_from_slice(values);
            }
        }
        input.resize(rows * width, 0.0);
        let failed = run_error(&mapper.graph);
        let input = Tensor::from_array((shape, input)).map_err(&failed)?;
        let mut outputs = self.mapper.run(ort::inputs!["input" => input]).map_err(&failed)?;
        let prefix = outputs.remove("prefix").ok_or_else(|| wrong(&mapper.graph))?;
        let want = [rows, mapper.prefix_length, self.manifest.decoder.width].map(|n| n as i64);
        if prefix.dtype().tensor_shape().is_none_or(|s| s[..] != want) {
            return Err(wrong(&mapper.graph));
        }
        Ok(prefix)
    }

    fn run(&mut self, pictures: &[&Encoded], out: &mut Vec<Caption>) -> Result<()> {
        let rows = pictures.len().max(LEAST_ROWS);
        let prefix = self.prefixes(pictures, rows)?;
        let seeds: Vec<u64> = pictures.iter().map(|p| seed_of(self.seed, &p.embedding)).collect();
        let mut model = Model {
            session: &mut self.decoder,
            memory: &self.memory,
            names: &self.names,
            manifest: &self.manifest,
            prefix: Some(prefix),
            cache: Cache::new(&self.memory, &self.manifest.decoder, rows)?,
            slots: (0..pictures.len()).collect(),
            beams: 1,
            position: self.manifest.mapper.prefix_length,
        };
        for found in search(&mut model, &seeds, &self.search)? {
            let stop = found.ids.last().is_some_and(|id| self.search.stop_tokens.contains(id));
            let spoken: Vec<u32> = found.ids[..found.ids.len() - usize::from(stop)]
                .iter()
                .map(|&id| u32::try_from(id).unwrap_or(0))
                .collect();
            let text = self.tokenizer.decode(&spoken, true).map_err(|e| {
                Error::runtime(format!("{} cannot decode: {e}", self.manifest.tokenizer), "make the model folder again")
            })?;
            let score = self.manifest.score.as_ref().and_then(|s| s.score(found.mean_logprob));
            let text = text.trim().to_string();
            out.push(Caption { text, ids: found.ids, mean_logprob: found.mean_logprob, score });
        }
        Ok(())
    }
}

impl Captions for Captioner {
    fn caption(&mut self, pictures: &[&Encoded]) -> Result<Vec<Caption>> {
        let mut out = Vec::with_capacity(pictures.len());
        for some in pictures.chunks(self.batch) {
            self.run(some, &mut out)?;
        }
        Ok(out)
    }
}

/// A picture's own seed: the same picture draws the same tokens whatever stands beside or before it.
fn seed_of(seed: u64, embedding: &[f32]) -> u64 {
    embedding.iter().fold(seed, |hash, v| SplitMix(hash ^ u64::from(v.to_bits())).draw())
}

fn wrong(graph: &str) -> Error {
    Error::runtime(format!("{graph} gave a result of the wrong shape"), "make the model folder again")
}

/// The decoder's graph as a [`Step`], for one batch of pictures. Rows stand by the slots that pictures have in the
/// cache, which are not in order once some have left.
struct Model<'s> {
    session: &'s mut Session,
    memory: &'s Memory,
    names: &'s Names,
    manifest: &'s Manifest,
    /// The mapper's output, until the prefill has read it.
    prefix: Option<DynValue>,
    cache: Cache<'s>,
    /// The slot of each picture in the batch. There may be one more, which nobody has.
    slots: Vec<usize>,
    /// Rows a picture in the last run.
    beams: usize,
    /// Of the next token.
    position: usize,
}

/// What one run of the graph reads besides the cache.
struct Input {
    embeds: DynValue,
    ids: Vec<i64>,
    /// Of each vector of a picture.
    place: Vec<i64>,
    mask: Vec<f32>,
    /// Vectors of each picture, from its end, whose next tokens are asked for.
    last: usize,
    k: usize,
}

impl Model<'_> {
    /// Runs the graph; gives the best tokens of each asked row and what the recent keys have become.
    fn call(&mut self, input: Input) -> Result<(Top, Vec<DynValue>)> {
        let graph = &self.manifest.decoder.graph;
        let failed = run_error(graph);
        let (slots, each) = (self.cache.slots(), input.place.len());
        let ids = Tensor::from_array(([slots, input.ids.len() / slots], input.ids)).map_err(&failed)?.into_dyn();
        let place = Tensor::from_array(([each], input.place)).map_err(&failed)?.into_dyn();
        let mask =
            Tensor::from_array(([slots, each, self.cache.columns(each)], input.mask)).map_err(&failed)?.into_dyn();
        let last = Tensor::from_array(([1], vec![input.last as i64])).map_err(&failed)?.into_dyn();
        let wanted = Tensor::from_array(([1], vec![input.k as i64])).map_err(&failed)?.into_dyn();
        let own: [(&str, &DynValue); 6] = [
            ("embeds", &input.embeds),
            ("ids", &ids),
            ("place", &place),
            ("mask", &mask),
            ("last", &last),
            ("k", &wanted),
        ];
        let recent = self.names.recent.iter().zip(self.cache.recent());
        let mut binding;
        let mut outputs = if self.memory.is_away() {
            // Bound rather than passed: what a step leaves in the cache stays on the device, and only its few best tokens
            // come back.
            binding = self.session.create_binding().map_err(&failed)?;
            for (name, value) in own {
                binding.bind_input(name, value).map_err(&failed)?;
            }
            for (name, value) in self.names.settled.iter().zip(self.cache.away()).chain(recent) {
                binding.bind_input(name, value).map_err(&failed)?;
            }
            for name in ["top_logprob", "top_id"] {
                binding.bind_output_to_device(name, &self.memory.host).map_err(&failed)?;
            }
            for name in &self.names.output {
                binding.bind_output_to_device(name, &self.memory.device).map_err(&failed)?;
            }
            self.session.run_binding(&binding).map_err(&failed)?
        } else {
            // A binding would copy what is only borrowed.
            let mut inputs: Vec<(&str, SessionInputValue)> = own.map(|(name, value)| (name, value.into())).into();
            let settled = self.names.settled.iter().zip(self.cache.settled()?);
            inputs.extend(settled.map(|(name, value)| (name.as_str(), value.into_dyn().into())));
            inputs.extend(recent.map(|(name, value)| (name.as_str(), value.into())));
            self.session.run(inputs).map_err(&failed)?
        };
        let mut take = |name: &str| outputs.remove(name).ok_or_else(|| wrong(graph));
        let (logprob, id) = (take("top_logprob")?, take("top_id")?);
        let recent = self.names.output.iter().map(|name| take(name)).collect::<Result<Vec<_>>>()?;
        let (_, logprob) = logprob.try_extract_tensor::<f32>().map_err(&failed)?;
        let (_, id) = id.try_extract_tensor::<i64>().map_err(&failed)?;
        let size = slots * input.last * input.k;
        if logprob.len() != size || id.len() != size {
            return Err(wrong(graph));
        }
        // Rows of the pictures, in their order.
        let rows = input.last * input.k;
        let mut top = Top { k: input.k, logprob: Vec::with_capacity(size), id: Vec::with_capacity(size) };
        for &slot in &self.slots {
            top.logprob.extend_from_slice(&logprob[slot * rows..(slot + 1) * rows]);
            top.id.extend_from_slice(&id[slot * rows..(slot + 1) * rows]);
        }
        if top.logprob.iter().any(|l| l.is_nan()) {
            return Err(Error::runtime(
                format!("{graph} gave log-probabilities that are no numbers"),
                "make the model folder again",
            ));
        }
        if top.id.iter().any(|&id| id < 0 || id as usize >= self.manifest.decoder.vocab) {
            return Err(Error::runtime(
                format!("{graph} gave tokens beyond its vocabulary"),
                "make the model folder again",
            ));
        }
        Ok((top, recent))
    }

    /// Gives the pictures that remain the first slots, `least` of them at least.
    fn keep(&mut self, places: Option<&[usize]>, least: usize) -> Result<()> {
        if let Some(places) = places {
            self.slots = places.iter().map(|&place| self.slots[place]).collect();
        }
        let count = self.slots.len().max(least).min(self.cache.slots());
        if count == self.cache.slots() {
            return Ok(());
        }
        let mut from: Vec<usize> = (0..count).collect();
        let mut free = (0..count).filter(|slot| !self.slots.contains(slot)).collect::<Vec<_>>().into_iter();
        for slot in &mut self.slots {
            if *slot >= count
                && let Some(to) = free.next()
            {
                from[to] = *slot;
                *slot = to;
            }
        }
        self.cache.keep(&from)
    }
}

impl Step for Model<'_> {
    fn start(&mut self, k: usize) -> Result<Top> {
        let embeds = self.prefix.take().ok_or_else(|| wrong(&self.manifest.decoder.graph))?;
        let length = self.position;
        let (place, mask) = ((0..length as i64).collect(), self.cache.causal(length));
        let (top, keys) = self.call(Input { embeds, ids: Vec::new(), place, mask, last: 1, k })?;
        self.cache.begin(keys, length)?;
        Ok(top)
    }

    fn step(&mut self, tokens: &[i64], source: &[usize], keep: Option<&[usize]>, k: usize) -> Result<Top> {
        let before = self.slots.clone();
        let live = keep.map_or(self.slots.len(), <[usize]>::len).max(1);
        let beams = tokens.len() / live;
        self.keep(keep, LEAST_ROWS.div_ceil(beams.max(1)))?;
        let slots = self.cache.slots();
        let rows = slots * beams;
        let (mut ids, mut from) = (vec![0; rows], vec![0; rows]);
        for (place, &slot) in self.slots.iter().enumerate() {
            for beam in 0..beams {
                let (row, old) = (place * beams + beam, source[place * beams + beam]);
                ids[slot * beams + beam] = tokens[row];
                from[slot * beams + beam] = before[old / self.beams] * self.beams + old % self.beams;
            }
        }
        let mask = self.cache.branch(&from, beams);
        let d = &self.manifest.decoder;
        let embeds =
            Tensor::<f32>::from_array(([slots, 0, d.width], Vec::new())).map_err(run_error(&d.graph))?.into_dyn();
        let place = vec![self.position as i64; beams];
        let (top, keys) = self.call(Input { embeds, ids, place, mask, last: beams, k })?;
        self.cache.grow(keys, beams)?;
        self.beams = beams;
        self.position += 1;
        Ok(top)
    }
}

impl Names {
    fn new(layers: usize) -> Names {
        let name = |stem: &'static str| {
            (0..layers).flat_map(move |l| [format!("{stem}key_{l}"), format!("{stem}value_{l}")]).collect()
        };
        Names { settled: name("settled_"), recent: name("recent_"), output: name("") }
    }
}

fn check_mapper(folder: &ModelFolder, session: &Session) -> Result<()> {
    let (m, float) = (folder.manifest(), TensorElementType::Float32);
    let graph = &m.mapper.graph;
    match (m.mapper.input, m.image.grid) {
        (MapperInput::Grid, Some(g)) => {
            let dims = [None, Some(g.cells), Some(g.dim)];
            expect(folder, graph, "input", session.inputs(), "input", float, &dims)?;
        }
        _ => {
            let dims = [None, Some(m.image.embedding_dim)];
            expect(folder, graph, "input", session.inputs(), "input", float, &dims)?;
        }
    }
    let dims = [None, Some(m.mapper.prefix_length), Some(m.decoder.width)];
    expect(folder, graph, "output", session.outputs(), "prefix", float, &dims)
}

fn check_decoder(folder: &ModelFolder, session: &Session, names: &Names) -> Result<()> {
    let d = &folder.manifest().decoder;
    let (float, int) = (TensorElementType::Float32, TensorElementType::Int64);
    let input =
        |name: &str, element, dims: &[_]| expect(folder, &d.graph, "input", session.inputs(), name, element, dims);
    let output =
        |name: &str, element, dims: &[_]| expect(folder, &d.graph, "output", session.outputs(), name, element, dims);
    input("embeds", float, &[None, None, Some(d.width)])?;
    input("ids", int, &[None, None])?;
    input("place", int, &[None])?;
    input("mask", float, &[None, None, None])?;
    input("last", int, &[Some(1)])?;
    input("k", int, &[Some(1)])?;
    output("top_logprob", float, &[None, None])?;
    output("top_id", int, &[None, None])?;
    let cache = [None, Some(d.heads), None, Some(d.head_dim)];
    for name in names.settled.iter().chain(&names.recent) {
        input(name, float, &cache)?;
    }
    for name in &names.output {
        output(name, float, &cache)?;
    }
    // A graph of more layers than the manifest says would ask for inputs that nobody gives.
    let known = 6 + names.settled.len() + names.recent.len();
    if session.inputs().len() != known {
        return Err(folder.error(
            format!(
                "{} has {} inputs, and a decoder of {} layers has {known}",
                d.graph,
                session.inputs().len(),
                d.layers
            ),
            "make the model folder again: its manifest and its graphs are not of one model",
        ));
    }
    Ok(())
}
