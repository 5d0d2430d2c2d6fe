//! The language model, token by token: the decoder's graph as a [`Step`], for the pictures of one batch.
//!
//! Owns the decoder's session. What is computed in a step are the hypotheses that go on, and no more: they stand in one row
//! of vectors, whichever picture they belong to. Each picture has a slot in the [`cache`](super::cache) with a place
//! for each hypothesis. Between two times that the cache is settled slots stay as they are; then those of pictures that
//! have left go, and new pictures take the room. A picture so finds its cache settled after every [`SETTLE`] tokens of its
//! own, whenever it joined: sums over its keys are made in the same order whatever else is in the batch.
//!
//! Memory: weights once, and the cache of at most as many pictures as the batch may hold.

use std::collections::BTreeMap;

use ort::session::{Session, SessionInputValue};
use ort::value::{DynValue, Tensor, TensorElementType};

use super::cache::{Cache, Place};
use super::mapper::Mapper;
use super::mover::Mover;
use super::{Pictures, seed_of, wrong};
use crate::error::{Error, Result};
use crate::model::caption::beam::{Row, Step, Top};
use crate::model::folder::{DecoderSpec, ModelFolder};
use crate::model::runtime::{LEAST_ROWS, Memory, Runtime, SessionOptions, expect, run_error};

/// Steps after which the cache is settled and pictures may join. Fewer, and keys are moved more often; more, and there are
/// more recent keys for each step to copy, and room stands empty for longer.
const SETTLE: usize = 8;

/// The decoder of a model folder.
pub struct Decoder {
    session: Session,
    memory: Memory,
    names: Names,
    spec: DecoderSpec,
    /// Type of keys.
    element: TensorElementType,
    mover: Option<Mover>,
    /// Vectors of a prefix.
    prefix: usize,
}

/// Names of the decoder's cache tensors, keys and values of each layer in turn.
struct Names {
    settled: Vec<String>,
    recent: Vec<String>,
    output: Vec<String>,
}

impl Decoder {
    pub fn new(folder: &ModelFolder, options: &SessionOptions) -> Result<Decoder> {
        let spec = folder.manifest().decoder.clone();
        let session = Runtime::load()?.session(folder, &spec.graph, options)?;
        let names = Names::new(spec.layers);
        let element = check(folder, &session, &names)?;
        let memory = Memory::of(options.device)?;
        let by_hand = Cache::by_hand(&memory, element);
        let mover = if by_hand { None } else { Some(Mover::new(element, options)?) };
        Ok(Decoder { session, memory, names, spec, element, mover, prefix: folder.manifest().mapper.prefix_length })
    }
}

/// What one run of the graph reads besides the cache.
struct Input {
    embeds: Vec<f32>,
    ids: Vec<i64>,
    /// Position of each vector.
    place: Vec<i64>,
    /// The vector at each place of each slot.
    spread: Vec<i64>,
    /// The place of each vector.
    rows: Vec<i64>,
    mask: Vec<f32>,
    /// Vectors whose next tokens are asked for.
    asked: Vec<i64>,
    k: usize,
}

/// Pictures that are captioned side by side.
pub struct Batch<'s> {
    mapper: &'s mut Mapper,
    session: &'s mut Session,
    memory: &'s Memory,
    names: &'s Names,
    spec: &'s DecoderSpec,
    element: TensorElementType,
    mover: Option<&'s mut Mover>,
    pictures: &'s mut dyn Pictures,
    cache: Cache<'s>,
    prefix: usize,
    seed: u64,
    /// Most pictures.
    most: usize,
    /// Places of a slot.
    width: usize,
    /// Slot of each picture, and the position of its next token.
    slots: BTreeMap<usize, (usize, usize)>,
    joined: usize,
    /// Steps since the cache was settled.
    since: usize,
}

impl<'s> Batch<'s> {
    /// Nobody yet. `width`: hypotheses of a picture, `most`: pictures at once.
    pub fn new(
        mapper: &'s mut Mapper,
        decoder: &'s mut Decoder,
        pictures: &'s mut dyn Pictures,
        (most, width, seed): (usize, usize, u64),
    ) -> Result<Batch<'s>> {
        let Decoder { session, memory, names, spec, element, mover, prefix } = decoder;
        // One query alone is multiplied in another way too, which hangs on how many keys there are.
        let (prefix, most, width) = (*prefix, most.max(1), width.max(LEAST_ROWS));
        let cache = Cache::new(memory, spec, *element, (0, width))?;
        Ok(Batch {
            mapper,
            session,
            memory,
            names,
            spec,
            element: *element,
            mover: mover.as_mut(),
            pictures,
            cache,
            prefix,
            seed,
            most,
            width,
            slots: BTreeMap::new(),
            joined: 0,
            since: 0,
        })
    }

    /// Reads prefixes; gives the likeliest first tokens, and the keys of the prefixes, a slot each.
    fn read(&mut self, pictures: &[crate::model::image::Encoded], k: usize) -> Result<(Top, Vec<DynValue>)> {
        let (prefixes, length) = (self.mapper.prefixes(pictures)?, self.prefix);
        let (slots, count) = (prefixes.rows, (prefixes.rows * length) as i64);
        let cache = Cache::new(self.memory, self.spec, self.element, (slots, length))?;
        let input = Input {
            embeds: prefixes.data,
            ids: Vec::new(),
            place: (0..length as i64).cycle().take(slots * length).collect(),
            spread: (0..count).collect(),
            rows: (0..count).collect(),
            mask: cache.causal(),
            asked: (1..=slots as i64).map(|n| n * length as i64 - 1).collect(),
            k,
        };
        call((self.session, self.memory, self.names, self.spec), &cache, input, pictures.len())
    }
}

impl Step for Batch<'_> {
    fn join(&mut self, live: &[usize], k: usize) -> Result<(Vec<u64>, Top)> {
        let nobody = || (Vec::new(), Top { k, logprob: Vec::new(), id: Vec::new() });
        if !live.is_empty() && self.since < SETTLE {
            return Ok(nobody());
        }
        let room = self.most.saturating_sub(live.len());
        let mut new = if room > 0 { self.pictures.more(room, live.is_empty()) } else { Vec::new() };
        new.truncate(room);
        let (top, fresh) = if new.is_empty() { (nobody().1, Vec::new()) } else { self.read(&new, k)? };
        let stay: Vec<usize> = live.iter().map(|picture| self.slots.get(picture).map_or(0, |s| s.0)).collect();
        self.cache.settle(&stay, (new.len(), fresh, self.prefix), self.mover.as_deref_mut())?;
        self.since = 0;
        let before = std::mem::take(&mut self.slots);
        let position = |picture| before.get(picture).map_or(self.prefix, |s| s.1);
        self.slots = live.iter().enumerate().map(|(slot, picture)| (*picture, (slot, position(picture)))).collect();
        let numbers = self.joined..self.joined + new.len();
        self.joined = numbers.end;
        self.slots.extend(numbers.zip(live.len()..).map(|(picture, slot)| (picture, (slot, self.prefix))));
        Ok((new.iter().map(|p| seed_of(self.seed, &p.embedding)).collect(), top))
    }

    fn step(&mut self, rows: &[Row], k: usize) -> Result<Top> {
        let count = rows.len().max(LEAST_ROWS);
        let mut input = Input {
            embeds: Vec::new(),
            ids: Vec::with_capacity(count),
            place: Vec::with_capacity(count),
            spread: vec![0; self.cache.slots() * self.width],
            rows: Vec::with_capacity(count),
            mask: Vec::new(),
            asked: (0..count as i64).collect(),
            k,
        };
        let mut places = Vec::with_capacity(rows.len());
        for (n, row) in rows.iter().enumerate() {
            let unknown = || Error::runtime("a picture that is not in the batch was to go on", "report this");
            let &(slot, position) = self.slots.get(&row.picture).ok_or_else(unknown)?;
            input.ids.push(row.token);
            input.place.push(position as i64);
            input.spread[slot * self.width + row.place] = n as i64;
            input.rows.push((slot * self.width + row.place) as i64);
            places.push(Place { slot, place: row.place, source: row.source });
        }
        for list in [&mut input.ids, &mut input.place, &mut input.rows] {
            // One alone has its double for company.
            list.resize(count, list.last().copied().unwrap_or(0));
        }
        input.mask = self.cache.branch(&places);
        let (top, keys) = call((self.session, self.memory, self.names, self.spec), &self.cache, input, rows.len())?;
        self.cache.grow(keys)?;
        for picture in rows.chunk_by(|a, b| a.picture == b.picture).filter_map(|rows| rows.first()) {
            if let Some(slot) = self.slots.get_mut(&picture.picture) {
                slot.1 += 1;
            }
        }
        self.since += 1;
        Ok(top)
    }
}

/// Runs the graph; gives the best tokens of the first `count` vectors that are asked, and what the recent keys have become.
fn call(
    (session, memory, names, spec): (&mut Session, &Memory, &Names, &DecoderSpec),
    cache: &Cache,
    input: Input,
    count: usize,
) -> Result<(Top, Vec<DynValue>)> {
    let graph = &spec.graph;
    let failed = run_error(graph);
    let ints = |values: Vec<i64>| Tensor::from_array(([values.len()], values)).map(Tensor::into_dyn);
    let floats = |shape: &[usize], values: Vec<f32>| Tensor::from_array((shape, values)).map(Tensor::into_dyn);
    let (slots, places) = (cache.slots(), input.spread.len() / cache.slots().max(1));
    let (asked, k, columns) = (input.asked.len(), input.k, input.mask.len() / input.spread.len().max(1));
    let own = [
        ("embeds", floats(&[input.embeds.len() / spec.width, spec.width], input.embeds)),
        ("ids", ints(input.ids)),
        ("place", ints(input.place)),
        ("spread", Tensor::from_array(([slots, places], input.spread)).map(Tensor::into_dyn)),
        ("rows", ints(input.rows)),
        ("mask", floats(&[slots, places, columns], input.mask)),
        ("asked", ints(input.asked)),
        ("k", ints(vec![k as i64])),
    ];
    let own = own.into_iter().map(|(name, value)| Ok((name, value.map_err(&failed)?))).collect::<Result<Vec<_>>>()?;
    let recent = names.recent.iter().zip(cache.recent());
    let mut binding;
    let mut outputs = if memory.is_away() {
        // Bound rather than passed: what a step leaves in the cache stays on the device, and only its few best tokens
        // come back.
        binding = session.create_binding().map_err(&failed)?;
        for (name, value) in &own {
            binding.bind_input(*name, value).map_err(&failed)?;
        }
        for (name, value) in names.settled.iter().zip(cache.away()).chain(recent) {
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
        // A binding would copy what is only borrowed.
        let mut inputs: Vec<(&str, SessionInputValue)> = own.iter().map(|(n, value)| (*n, value.into())).collect();
        let settled = names.settled.iter().zip(cache.settled()?);
        inputs.extend(settled.map(|(name, value)| (name.as_str(), value)));
        inputs.extend(recent.map(|(name, value)| (name.as_str(), value.into())));
        session.run(inputs).map_err(&failed)?
    };
    let mut take = |name: &str| outputs.remove(name).ok_or_else(|| wrong(graph));
    let (logprob, id) = (take("top_logprob")?, take("top_id")?);
    let keys = names.output.iter().map(|name| take(name)).collect::<Result<Vec<_>>>()?;
    let (_, logprob) = logprob.try_extract_tensor::<f32>().map_err(&failed)?;
    let (_, id) = id.try_extract_tensor::<i64>().map_err(&failed)?;
    if logprob.len() != asked * k || id.len() != asked * k || count > asked {
        return Err(wrong(graph));
    }
    let top = Top { k, logprob: logprob[..count * k].to_vec(), id: id[..count * k].to_vec() };
    if top.logprob.iter().any(|l| l.is_nan()) {
        return Err(Error::runtime(
            format!("{graph} gave log-probabilities that are no numbers"),
            "make the model folder again",
        ));
    }
    if top.id.iter().any(|&id| id < 0 || id as usize >= spec.vocab) {
        return Err(Error::runtime(
            format!("{graph} gave tokens beyond its vocabulary"),
            "make the model folder again",
        ));
    }
    Ok((top, keys))
}

impl Names {
    fn new(layers: usize) -> Names {
        let name = |stem: &'static str| {
            (0..layers).flat_map(move |l| [format!("{stem}key_{l}"), format!("{stem}value_{l}")]).collect()
        };
        Names { settled: name("settled_"), recent: name("recent_"), output: name("") }
    }
}

/// Refuses a graph that is none of this manifest's decoder; gives the type of its keys.
fn check(folder: &ModelFolder, session: &Session, names: &Names) -> Result<TensorElementType> {
    let d = &folder.manifest().decoder;
    let (float, int) = (TensorElementType::Float32, TensorElementType::Int64);
    let input =
        |name: &str, element, dims: &[_]| expect(folder, &d.graph, "input", session.inputs(), name, element, dims);
    let output =
        |name: &str, element, dims: &[_]| expect(folder, &d.graph, "output", session.outputs(), name, element, dims);
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
        input(name, element, dims)?;
    }
    output("top_logprob", float, &[None, None])?;
    output("top_id", int, &[None, None])?;
    let half = TensorElementType::Float16;
    let is_half = session.inputs().iter().any(|i| i.name() == "settled_key_0" && i.dtype().tensor_type() == Some(half));
    let element = if is_half { half } else { float };
    let cache = [None, Some(d.heads), None, Some(d.head_dim)];
    for name in names.settled.iter().chain(&names.recent) {
        input(name, element, &cache)?;
    }
    for name in &names.output {
        output(name, element, &cache)?;
    }
    // A graph of more layers than the manifest says would ask for inputs that nobody gives.
    let known = own.len() + names.settled.len() + names.recent.len();
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
    Ok(element)
}
