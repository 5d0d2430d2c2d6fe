//! A batch of pictures in the decoder: the mapper, the decoder and the cache as one [`LanguageModel`].
//!
//! A step computes the hypotheses that continue and nothing else. Each picture has a slot in the
//! [`cache`](super::cache), with a place for each hypothesis. Every [`SETTLE`] steps the cache settles; only then do
//! the slots of pictures that have left go, and new pictures take the room. So a picture's keys settle after every
//! [`SETTLE`] tokens of its own, whenever it joined, and sums over its keys are made in the same order whatever else
//! is in the batch.
//!
//! Memory: the cache of at most as many pictures as the batch may hold.

use std::collections::BTreeMap;

use ort::session::Session;
use ort::value::DynValue;

use super::cache::{JoiningKeys, KeyValueCache};
use super::decoder::{Decoder, DecoderGraph, DecoderInput};
use super::input::CaptionInput;
use super::language_model::{JoinedPicture, LanguageModel, StepRow, TopTokens};
use super::mapper::{Mapper, Prefixes};
use super::mover::KeyMover;
use super::pictures::Pictures;
use super::sample::picture_seed;
use super::visibility::CacheRow;
use crate::error::{Error, Result};
use crate::model::graph::LEAST_ROWS;

/// Steps after which the cache settles and pictures may join. With fewer, keys are moved more often. With more, each
/// step copies more recent keys, and free room is used later. A compromise between the two.
const SETTLE: usize = 8;

/// Size of a batch, and the user's seed.
pub(crate) struct BatchOptions {
    /// Most pictures.
    pub(crate) pictures: usize,
    /// Most hypotheses of a picture.
    pub(crate) hypotheses: usize,
    /// Seed for draws; each picture derives its own from it.
    pub(crate) seed: u64,
}

/// Pictures that are captioned side by side.
pub(crate) struct DecodingBatch<'s> {
    mapper: &'s mut Mapper,
    session: &'s mut Session,
    graph: &'s DecoderGraph,
    mover: Option<&'s mut KeyMover>,
    pictures: &'s mut dyn Pictures,
    cache: KeyValueCache<'s>,
    /// Vectors in a prefix.
    prefix: usize,
    seed: u64,
    /// Most pictures.
    most: usize,
    /// Places of a slot.
    width: usize,
    /// Where each picture is.
    slots: BTreeMap<usize, PictureSlot>,
    /// Pictures that have joined so far.
    joined: usize,
    /// Steps since the cache settled.
    since_settled: usize,
}

/// Where a picture is.
struct PictureSlot {
    /// Its slot in the cache.
    slot: usize,
    /// Position of its next token.
    position: usize,
}

impl<'s> DecodingBatch<'s> {
    /// An empty batch.
    pub(crate) fn new(
        mapper: &'s mut Mapper,
        decoder: &'s mut Decoder,
        pictures: &'s mut dyn Pictures,
        options: &BatchOptions,
    ) -> Result<DecodingBatch<'s>> {
        let Decoder { session, graph, mover, prefix } = decoder;
        // At least two places: a single query is multiplied in another way, which depends on the number of keys.
        let width = options.hypotheses.max(LEAST_ROWS);
        let graph = &*graph;
        let cache = KeyValueCache::new(&graph.memory, &graph.spec, graph.element, 0, width)?;
        Ok(DecodingBatch {
            mapper,
            session,
            graph,
            mover: mover.as_mut(),
            pictures,
            cache,
            prefix: *prefix,
            seed: options.seed,
            most: options.pictures.max(1),
            width,
            slots: BTreeMap::new(),
            joined: 0,
            since_settled: 0,
        })
    }

    /// Reads prefixes, of which the first `count` are of pictures. Returns the likeliest first tokens of those, and the
    /// keys of all with a slot for each.
    fn read_prefixes(&mut self, prefixes: Prefixes, count: usize, k: usize) -> Result<(TopTokens, Vec<DynValue>)> {
        let length = self.prefix;
        let (slots, vectors) = (prefixes.rows, (prefixes.rows * length) as i64);
        let graph = self.graph;
        let cache = KeyValueCache::new(&graph.memory, &graph.spec, graph.element, slots, length)?;
        let input = DecoderInput {
            embeds: prefixes.data,
            ids: Vec::new(),
            position: (0..length as i64).cycle().take(slots * length).collect(),
            spread: (0..vectors).collect(),
            rows: (0..vectors).collect(),
            mask: cache.causal_mask(),
            asked: (1..=slots as i64).map(|n| n * length as i64 - 1).collect(),
            k,
        };
        graph.run(self.session, &cache, input, count)
    }

    /// Gives the pictures that remain the first slots, and the new ones the slots after them.
    fn assign_slots(&mut self, live: &[usize], new: usize) {
        let before = std::mem::take(&mut self.slots);
        let position = |picture| before.get(picture).map_or(self.prefix, |s| s.position);
        self.slots = live
            .iter()
            .enumerate()
            .map(|(slot, picture)| (*picture, PictureSlot { slot, position: position(picture) }))
            .collect();
        let numbers = self.joined..self.joined + new;
        self.joined = numbers.end;
        let position = self.prefix;
        self.slots.extend(numbers.zip(live.len()..).map(|(picture, slot)| (picture, PictureSlot { slot, position })));
    }
}

impl LanguageModel for DecodingBatch<'_> {
    fn join(&mut self, live: &[usize], k: usize) -> Result<(Vec<JoinedPicture>, TopTokens)> {
        if !live.is_empty() && self.since_settled < SETTLE {
            return Ok((Vec::new(), TopTokens::empty(k)));
        }
        let room = self.most.saturating_sub(live.len());
        let mut new = if room > 0 { self.pictures.more(room, live.is_empty()) } else { Vec::new() };
        new.truncate(room);
        let (mut top, mut keys, mut joined) = (TopTokens::empty(k), Vec::new(), Vec::new());
        if !new.is_empty() {
            let mut prefixes = self.mapper.prefixes(&new)?;
            let support = std::mem::take(&mut prefixes.support);
            let seed = |picture: &CaptionInput| picture_seed(self.seed, &picture.encoded.embedding);
            joined = new.iter().zip(support).map(|(p, support)| JoinedPicture { seed: seed(p), support }).collect();
            (top, keys) = self.read_prefixes(prefixes, new.len(), k)?;
        }
        let stay: Vec<usize> = live.iter().map(|picture| self.slots.get(picture).map_or(0, |s| s.slot)).collect();
        let joining = JoiningKeys { count: new.len(), keys, prefix: self.prefix };
        self.cache.settle(&stay, joining, self.mover.as_deref_mut())?;
        self.since_settled = 0;
        self.assign_slots(live, new.len());
        Ok((joined, top))
    }

    fn step(&mut self, rows: &[StepRow], k: usize) -> Result<TopTokens> {
        let count = rows.len().max(LEAST_ROWS);
        let mut input = DecoderInput {
            embeds: Vec::new(),
            ids: Vec::with_capacity(count),
            position: Vec::with_capacity(count),
            spread: vec![0; self.cache.slots() * self.width],
            rows: Vec::with_capacity(count),
            mask: Vec::new(),
            asked: (0..count as i64).collect(),
            k,
        };
        let mut cache_rows = Vec::with_capacity(rows.len());
        for (n, row) in rows.iter().enumerate() {
            let unknown = || Error::runtime("a step names a picture that is not in the batch", "Report this as a bug.");
            let &PictureSlot { slot, position } = self.slots.get(&row.picture).ok_or_else(unknown)?;
            let place = slot * self.width + row.place;
            input.ids.push(row.token);
            input.position.push(position as i64);
            input.spread[place] = n as i64;
            input.rows.push(place as i64);
            cache_rows.push(CacheRow { slot, place: row.place, source: row.source });
        }
        for list in [&mut input.ids, &mut input.position, &mut input.rows] {
            // A single row is computed twice; see LEAST_ROWS.
            list.resize(count, list.last().copied().unwrap_or(0));
        }
        input.mask = self.cache.extend(&cache_rows);
        let (top, keys) = self.graph.run(self.session, &self.cache, input, rows.len())?;
        self.cache.append(keys)?;
        for picture in rows.chunk_by(|a, b| a.picture == b.picture).filter_map(|rows| rows.first()) {
            if let Some(slot) = self.slots.get_mut(&picture.picture) {
                slot.position += 1;
            }
        }
        self.since_settled += 1;
        Ok(top)
    }
}
