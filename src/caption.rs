//! Embeddings to captions: mapping network, then the language model behind its prefix, token by token.
//!
//! Owns the mapper's and the decoder's sessions and the tokenizer. Captions come in the order of the pictures and do not
//! depend on how they were batched. The key/value cache stays in ONNX Runtime's own tensors: what a step gives is
//! what the next one takes, and the reordering of beams happens inside the graph. Memory: weights once, and the cache
//! of at most [`CaptionOptions::batch`] pictures.

use ort::session::Session;
use ort::value::{DynValue, Tensor, TensorElementType};
use tokenizers::Tokenizer;

use crate::beam::{SearchOptions, SplitMix, Step, Strategy, Top, search};
use crate::embed::load_tokenizer;
use crate::encode::{Encoded, unit};
use crate::error::{Error, Result};
use crate::model::{MAX_BEAM, Manifest, MapperInput, ModelFolder};
use crate::runtime::{Memory, Runtime, SessionOptions, expect, run_error};

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
    prefix: Vec<String>,
    cache: Vec<String>,
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
        // Matrix kernels take another path where a batch has one row; two rows keep every picture on the same one.
        let padding = usize::from(pictures.len() == 1);
        let prefix = self.prefixes(pictures, pictures.len() + padding)?;
        let seeds: Vec<u64> = pictures.iter().map(|p| seed_of(self.seed, &p.embedding)).collect();
        let mut model = Model {
            session: &mut self.decoder,
            memory: &self.memory,
            names: &self.names,
            manifest: &self.manifest,
            prefix: Some(prefix),
            prefix_cache: Vec::new(),
            cache: Vec::new(),
            pictures: pictures.len() + padding,
            padding,
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

/// The decoder's graph as a [`Step`], for one batch of pictures.
///
/// A batch that has come down to one row runs with a second, idle picture beside it (`padding`), which keeps
/// the arithmetic of the first the same as in company.
struct Model<'s> {
    session: &'s mut Session,
    memory: &'s Memory,
    names: &'s Names,
    manifest: &'s Manifest,
    /// The mapper's output, until the prefill has read it.
    prefix: Option<DynValue>,
    /// The prefix's keys and values, a row a picture.
    prefix_cache: Vec<DynValue>,
    /// Keys and values of what was generated, a row a hypothesis.
    cache: Vec<DynValue>,
    /// Pictures in the graph's batch, padding included.
    pictures: usize,
    padding: usize,
}

impl Model<'_> {
    /// An empty tensor with this many rows: no positions.
    fn none(&self, rows: usize) -> Result<DynValue> {
        let d = &self.manifest.decoder;
        let failed = run_error(&d.graph);
        Ok(Tensor::<f32>::from_array(([rows, d.heads, 0, d.head_dim], Vec::new())).map_err(failed)?.into_dyn())
    }

    fn call(
        &mut self,
        embeds: DynValue,
        ids: &[i64],
        rows: usize,
        source: Vec<i64>,
        k: usize,
    ) -> Result<(Top, Vec<DynValue>)> {
        let graph = &self.manifest.decoder.graph;
        let failed = run_error(graph);
        let each = ids.len() / rows;
        let ids = Tensor::from_array(([rows, each], ids.to_vec())).map_err(&failed)?;
        let source = Tensor::from_array(([rows], source)).map_err(&failed)?;
        let wanted = Tensor::from_array(([1], vec![k as i64])).map_err(&failed)?;
        // Bound rather than passed: what a step leaves in the cache stays on the device, and only its few best tokens come back.
        let mut binding = self.session.create_binding().map_err(&failed)?;
        binding.bind_input("embeds", &embeds).map_err(&failed)?;
        binding.bind_input("ids", &ids).map_err(&failed)?;
        binding.bind_input("source", &source).map_err(&failed)?;
        binding.bind_input("k", &wanted).map_err(&failed)?;
        let names = self.names.prefix.iter().chain(&self.names.cache);
        for (name, value) in names.zip(self.prefix_cache.iter().chain(&self.cache)) {
            binding.bind_input(name, value).map_err(&failed)?;
        }
        for name in ["top_logprob", "top_id"] {
            binding.bind_output_to_device(name, &self.memory.host).map_err(&failed)?;
        }
        for name in &self.names.output {
            binding.bind_output_to_device(name, &self.memory.device).map_err(&failed)?;
        }
        let mut outputs = self.session.run_binding(&binding).map_err(&failed)?;
        let mut take = |name: &str| outputs.remove(name).ok_or_else(|| wrong(graph));
        let (logprob, id) = (take("top_logprob")?, take("top_id")?);
        let cache = self.names.output.iter().map(|name| take(name)).collect::<Result<Vec<_>>>()?;
        let (_, logprob) = logprob.try_extract_tensor::<f32>().map_err(&failed)?;
        let (_, id) = id.try_extract_tensor::<i64>().map_err(&failed)?;
        if logprob.len() != rows * k || id.len() != rows * k {
            return Err(wrong(graph));
        }
        if logprob.iter().any(|l| l.is_nan()) {
            return Err(Error::runtime(
                format!("{graph} gave log-probabilities that are no numbers"),
                "make the model folder again",
            ));
        }
        if id.iter().any(|&id| id < 0 || id as usize >= self.manifest.decoder.vocab) {
            return Err(Error::runtime(
                format!("{graph} gave tokens beyond its vocabulary"),
                "make the model folder again",
            ));
        }
        Ok((Top { k, logprob: logprob.to_vec(), id: id.to_vec() }, cache))
    }

    /// Leaves the listed pictures' prefixes in the cache. It happens as pictures end, and not at every step: by way of the
    /// host's memory.
    fn keep(&mut self, places: &[usize]) -> Result<()> {
        let d = &self.manifest.decoder;
        let failed = run_error(&d.graph);
        for value in &mut self.prefix_cache {
            let there = self.memory.fetch(value).map_err(&failed)?;
            let (shape, data) = there.as_ref().unwrap_or(value).try_extract_tensor::<f32>().map_err(&failed)?;
            let each = data.len() / self.pictures;
            let length = shape[2] as usize;
            let mut kept = Vec::with_capacity(places.len() * each);
            for &place in places {
                kept.extend_from_slice(&data[place * each..(place + 1) * each]);
            }
            let shape = [places.len(), d.heads, length, d.head_dim];
            let kept = Tensor::from_array((shape, kept)).map_err(&failed)?;
            *value = self.memory.put(kept).map_err(&failed)?;
        }
        self.pictures = places.len();
        Ok(())
    }
}

/// Drops the rows of the idle picture.
fn without(mut top: Top, rows: usize) -> Top {
    top.logprob.truncate(rows * top.k);
    top.id.truncate(rows * top.k);
    top
}

impl Step for Model<'_> {
    fn start(&mut self, k: usize) -> Result<Top> {
        let prefix = self.prefix.take().ok_or_else(|| wrong(&self.manifest.decoder.graph))?;
        let rows = self.pictures;
        for _ in 0..self.names.cache.len() {
            self.prefix_cache.push(self.none(rows)?);
            self.cache.push(self.none(rows)?);
        }
        let (top, cache) = self.call(prefix, &[], rows, (0..rows as i64).collect(), k)?;
        self.prefix_cache = cache;
        self.cache.clear();
        Ok(without(top, rows - self.padding))
    }

    fn step(&mut self, tokens: &[i64], source: &[usize], keep: Option<&[usize]>, k: usize) -> Result<Top> {
        let live = keep.map_or(self.pictures - self.padding, <[usize]>::len);
        let beams = tokens.len() / live.max(1);
        let rows = live * beams;
        // One row alone is accompanied by its own double; a batch of several rows needs no company.
        let padding = usize::from(rows == 1);
        let mut places: Vec<usize> = keep.map_or_else(|| (0..live).collect(), <[usize]>::to_vec);
        if padding == 1 {
            places.push(places[0]);
        }
        if places.len() != self.pictures || keep.is_some() {
            self.keep(&places)?;
        }
        self.padding = padding;
        let mut tokens = tokens.to_vec();
        let mut source: Vec<i64> = source.iter().map(|&s| s as i64).collect();
        if padding == 1 {
            tokens.push(tokens[0]);
            source.push(source[0]);
        }
        if self.cache.is_empty() {
            // First step: nothing was generated that beams could share or swap.
            for _ in 0..self.names.cache.len() {
                self.cache.push(self.none(tokens.len())?);
            }
            source = (0..tokens.len() as i64).collect();
        }
        let d = &self.manifest.decoder;
        let all = tokens.len();
        let embeds =
            Tensor::<f32>::from_array(([all, 0, d.width], Vec::new())).map_err(run_error(&d.graph))?.into_dyn();
        let (top, cache) = self.call(embeds, &tokens, all, source, k)?;
        self.cache = cache;
        Ok(without(top, rows))
    }
}

impl Names {
    fn new(layers: usize) -> Names {
        let name = |stem: &'static str| {
            (0..layers).flat_map(move |l| [format!("{stem}key_{l}"), format!("{stem}value_{l}")]).collect()
        };
        Names { prefix: name("prefix_"), cache: name("cache_"), output: name("") }
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
    input("source", int, &[None])?;
    input("k", int, &[Some(1)])?;
    output("top_logprob", float, &[None, None])?;
    output("top_id", int, &[None, None])?;
    let cache = [None, Some(d.heads), None, Some(d.head_dim)];
    for name in names.prefix.iter().chain(&names.cache) {
        input(name, float, &cache)?;
    }
    for name in &names.output {
        output(name, float, &cache)?;
    }
    // A graph of more layers than the manifest says would ask for inputs that nobody gives.
    let known = 4 + names.prefix.len() + names.cache.len();
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
