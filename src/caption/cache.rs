//! The decoder's key/value cache, of all pictures in a batch.
//!
//! All hypotheses of a picture share its keys. A key stands there once, whichever hypotheses grew out of it, and a mask tells
//! each new token which of them it sees: its prefix, its ancestors and itself. So choosing beams copies nothing, and
//! one product asks a picture's keys for all of its beams.
//!
//! Keys stand in two parts. What a step adds is joined to the `recent` ones inside the graph, which copies those; so that it
//! copies few, they are moved to the `settled` ones, which no step copies, whenever there are [`RECENT`] of them. What no
//! living hypothesis has read is left behind then: most have the same ancestors but for their last few tokens. A picture
//! that ends gives its slot to the last one.
//!
//! Order: keys of a picture stand in order of arrival, in each part. Pictures have settled keys of different number; the
//! places up to the largest are unseen. They come last, behind the recent keys, and the mask's width is a multiple of
//! [`WIDTH`], so that sums are made in the same order whichever pictures share a batch.
//!
//! Memory: two tensors a layer of slots × heads × keys × head size floats, where keys are at most those of the prefix and, for
//! each token of the longest caption, one a beam; and one such tensor more while keys settle.

use ort::value::{DynValue, Tensor, TensorRef};

use crate::error::Result;
use crate::model::DecoderSpec;
use crate::runtime::{Memory, run_error};

/// Recent keys from which they are settled. Fewer are copied less often by the graph, more are moved less often here.
const RECENT: usize = 40;

/// ONNX Runtime sums a row's exponentials in blocks of 64, and what is over in another way.
const WIDTH: usize = 64;

/// What is added to the score of a key that a token does not see: its weight is then 0.
const UNSEEN: f32 = -1e9;

/// Keys and values of the pictures in a batch, a slot each, and who sees them.
pub struct Cache<'m> {
    memory: &'m Memory,
    spec: &'m DecoderSpec,
    slots: usize,
    /// Settled keys that everybody sees, the first ones.
    prefix: usize,
    /// Places for settled keys in each slot, and recent keys.
    lengths: (usize, usize),
    /// A buffer a tensor: slots × heads × settled keys × head size.
    settled: Vec<Vec<f32>>,
    /// The same on the device, where that has memory of its own.
    away: Vec<DynValue>,
    /// As the graph left them.
    recent: Vec<DynValue>,
    /// For each row of the last run, what it has read besides the prefix, itself included.
    lines: Vec<Line>,
}

/// The keys that a row has read, by their places in each part.
#[derive(Debug, Default, Clone, PartialEq)]
struct Line {
    settled: Vec<u32>,
    recent: Vec<u32>,
}

/// A settled tensor as the graph reads it.
pub enum Settled<'c> {
    Here(TensorRef<'c, f32>),
    Away(&'c DynValue),
}

impl<'m> Cache<'m> {
    /// No keys yet.
    pub fn new(memory: &'m Memory, spec: &'m DecoderSpec, slots: usize) -> Result<Cache<'m>> {
        let count = 2 * spec.layers;
        let settled = vec![Vec::new(); count];
        let (away, recent, lines) = (Vec::new(), Vec::new(), Vec::new());
        let mut cache = Cache { memory, spec, slots, prefix: 0, lengths: (0, 0), settled, away, recent, lines };
        cache.forget(count)?;
        cache.bring()?;
        Ok(cache)
    }

    pub fn slots(&self) -> usize {
        self.slots
    }

    pub fn recent(&self) -> &[DynValue] {
        &self.recent
    }

    /// One tensor of the settled keys or values.
    pub fn settled(&self, tensor: usize) -> Result<Settled<'_>> {
        if let Some(away) = self.away.get(tensor) {
            return Ok(Settled::Away(away));
        }
        let shape = self.shape(self.lengths.0);
        let data = &self.settled[tensor][..shape.iter().product()];
        Ok(Settled::Here(TensorRef::from_array_view((shape, data)).map_err(run_error(&self.spec.graph))?))
    }

    fn shape(&self, keys: usize) -> [usize; 4] {
        [self.slots, self.spec.heads, keys, self.spec.head_dim]
    }

    /// Columns of a mask where each slot gets `more` keys.
    pub fn columns(&self, more: usize) -> usize {
        (self.lengths.0 + self.lengths.1 + more).next_multiple_of(WIDTH)
    }

    /// The mask of a prefix: each of its vectors sees itself and those before it. Slots × vectors × columns.
    pub fn causal(&self, length: usize) -> Vec<f32> {
        let columns = self.columns(length);
        let seen = |row: usize| (0..columns).map(move |key| if key <= row { 0.0 } else { UNSEEN });
        (0..length).flat_map(seen).collect::<Vec<f32>>().repeat(self.slots)
    }

    /// Takes the prefix's keys: what the first run gave.
    pub fn begin(&mut self, keys: Vec<DynValue>, length: usize) -> Result<()> {
        self.prefix = length;
        self.recent = keys;
        self.lengths.1 = length;
        let all = Line { settled: Vec::new(), recent: (0..length as u32).collect() };
        self.lines = vec![all; self.slots];
        self.settle()?;
        self.lines.fill(Line::default());
        Ok(())
    }

    /// The rows of the next run, `beams` a slot, each going on from a row of the last one. Gives their mask: slots × beams ×
    /// columns.
    pub fn branch(&mut self, source: &[usize], beams: usize) -> Vec<f32> {
        let own = self.lengths.1;
        let line = |(row, &from): (usize, &usize)| {
            let mut line = self.lines[from].clone();
            line.recent.push((own + row % beams) as u32);
            line
        };
        self.lines = source.iter().enumerate().map(line).collect();
        let columns = self.columns(beams);
        let first = own + beams;
        let mut mask = vec![UNSEEN; source.len() * columns];
        for (row, line) in mask.chunks_exact_mut(columns).zip(&self.lines) {
            row[first..first + self.prefix].fill(0.0);
            line.recent.iter().for_each(|&key| row[key as usize] = 0.0);
            line.settled.iter().for_each(|&key| row[first + key as usize] = 0.0);
        }
        mask
    }

    /// Takes what the run gave: the recent keys with `more` behind them.
    pub fn grow(&mut self, recent: Vec<DynValue>, more: usize) -> Result<()> {
        self.recent = recent;
        self.lengths.1 += more;
        if self.lengths.1 >= RECENT { self.settle() } else { Ok(()) }
    }

    /// Moves what living hypotheses have read of the recent keys to the settled ones.
    fn settle(&mut self) -> Result<()> {
        let spec = self.spec;
        let failed = run_error(&spec.graph);
        let (old, more) = self.lengths;
        // The keys that each slot keeps, those beyond `old` being recent ones.
        let beams = self.lines.len() / self.slots;
        let mut kept: Vec<Vec<usize>> = Vec::with_capacity(self.slots);
        for lines in self.lines.chunks_exact_mut(beams) {
            let mut living = vec![false; old + more];
            living[..self.prefix.min(old)].fill(true);
            for line in lines.iter() {
                line.settled.iter().for_each(|&key| living[key as usize] = true);
                line.recent.iter().for_each(|&key| living[old + key as usize] = true);
            }
            let keys: Vec<usize> = (0..old + more).filter(|&key| living[key]).collect();
            let mut place = vec![0; old + more];
            keys.iter().enumerate().for_each(|(n, &key)| place[key] = n as u32);
            for line in lines {
                line.settled.iter_mut().for_each(|key| *key = place[*key as usize]);
                line.settled.extend(line.recent.drain(..).map(|key| place[old + key as usize]));
            }
            kept.push(keys);
        }
        let length = kept.iter().map(Vec::len).max().unwrap_or(0);
        let mut spare = Vec::new();
        for (buffer, recent) in self.settled.iter_mut().zip(&self.recent) {
            let there = self.memory.fetch(recent).map_err(&failed)?;
            let (_, new) = there.as_ref().unwrap_or(recent).try_extract_tensor::<f32>().map_err(&failed)?;
            gather(&mut spare, buffer, new, &kept, (old, more, length), spec);
            std::mem::swap(&mut spare, buffer);
        }
        self.lengths = (length, 0);
        self.forget(self.recent.len())?;
        self.bring()
    }

    /// Leaves these slots: place `n` of the list is then slot `n`. One that comes before its old place takes that of a slot that is
    /// not in the list.
    pub fn keep(&mut self, slots: &[usize]) -> Result<()> {
        let spec = self.spec;
        let failed = run_error(&spec.graph);
        let each = spec.heads * self.lengths.0 * spec.head_dim;
        for buffer in &mut self.settled {
            for (to, &from) in slots.iter().enumerate() {
                if from != to {
                    buffer.copy_within(from * each..(from + 1) * each, to * each);
                }
            }
        }
        self.slots = slots.len();
        let shape = self.shape(self.lengths.1);
        let each: usize = shape[1..].iter().product();
        for value in &mut self.recent {
            let there = self.memory.fetch(value).map_err(&failed)?;
            let (_, data) = there.as_ref().unwrap_or(value).try_extract_tensor::<f32>().map_err(&failed)?;
            let mut kept = Vec::with_capacity(slots.len() * each);
            slots.iter().for_each(|&slot| kept.extend_from_slice(&data[slot * each..(slot + 1) * each]));
            *value = self.memory.put(Tensor::from_array((shape, kept)).map_err(&failed)?).map_err(&failed)?;
        }
        self.bring()
    }

    /// The settled part on a device with memory of its own.
    fn bring(&mut self) -> Result<()> {
        if !self.memory.is_away() {
            return Ok(());
        }
        let spec = self.spec;
        let failed = run_error(&spec.graph);
        let shape = self.shape(self.lengths.0);
        let size = shape.iter().product();
        self.away.clear();
        for buffer in &self.settled {
            let tensor = Tensor::from_array((shape, buffer[..size].to_vec())).map_err(&failed)?;
            self.away.push(self.memory.put(tensor).map_err(&failed)?);
        }
        Ok(())
    }

    /// No recent keys.
    fn forget(&mut self, count: usize) -> Result<()> {
        let failed = run_error(&self.spec.graph);
        let none = || Tensor::<f32>::from_array((self.shape(0), Vec::new())).map(Tensor::into_dyn);
        self.recent = (0..count).map(|_| none()).collect::<ort::Result<_>>().map_err(failed)?;
        Ok(())
    }
}

/// One tensor's kept keys: of each slot `kept`, then zeros up to `lengths.2` places. Those before `lengths.0` are in `old`, the
/// `lengths.1` ones behind in `new`.
fn gather(
    to: &mut Vec<f32>,
    old: &[f32],
    new: &[f32],
    kept: &[Vec<usize>],
    lengths: (usize, usize, usize),
    spec: &DecoderSpec,
) {
    let (width, (settled, recent, places)) = (spec.head_dim, lengths);
    to.clear();
    to.reserve(kept.len() * spec.heads * places * width);
    for (slot, keys) in kept.iter().enumerate() {
        for head in slot * spec.heads..(slot + 1) * spec.heads {
            for &key in keys {
                let (from, at) = match key.checked_sub(settled) {
                    None => (old, head * settled + key),
                    Some(key) => (new, head * recent + key),
                };
                to.extend_from_slice(&from[at * width..(at + 1) * width]);
            }
            to.resize((head + 1) * places * width, 0.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{Device, Runtime};

    /// Seen columns of each row.
    fn seen(mask: &[f32], columns: usize) -> Vec<Vec<usize>> {
        let row = |row: &[f32]| (0..columns).filter(|&c| row[c] == 0.0).collect();
        mask.chunks(columns).map(row).collect()
    }

    /// Keys of which each number tells whose it is: `name(slot)` of each slot, with a place for each of `heads` and keys.
    fn keys(slots: &[usize], names: &[usize]) -> Vec<f32> {
        let key = |slot: usize, head: usize, name: usize| (slot * 10_000 + head * 1000 + name) as f32;
        let mut all = Vec::new();
        for &slot in slots {
            for head in 0..3 {
                all.extend(names.iter().flat_map(|&n| [key(slot, head, n), -key(slot, head, n)]));
            }
        }
        all
    }

    #[test]
    fn keys_settle_where_hypotheses_live_and_pictures_leave() {
        Runtime::load().expect("the tests need ONNX Runtime: run them with `make test`");
        let memory = Memory::of(Device::Cpu).unwrap();
        let graph = "g".to_string();
        let spec = DecoderSpec { graph, layers: 1, heads: 3, head_dim: 2, width: 6, vocab: 9, context: 100 };
        let value = |slots: &[usize], names: &[usize]| -> Vec<DynValue> {
            let tensor = || Tensor::from_array(([slots.len(), 3, names.len(), 2], keys(slots, names))).unwrap();
            (0..2).map(|_| tensor().into_dyn()).collect()
        };
        let settled = |cache: &Cache| {
            let Settled::Here(settled) = cache.settled(0).unwrap() else { panic!("on no device") };
            settled.extract_tensor().1.to_vec()
        };
        let mut cache = Cache::new(&memory, &spec, 4).unwrap();
        let mask = cache.causal(3);
        assert_eq!(seen(&mask, 64)[..4], [vec![0], vec![0, 1], vec![0, 1, 2], vec![0]]);
        cache.begin(value(&[0, 1, 2, 3], &[0, 1, 2]), 3).unwrap();
        assert_eq!(settled(&cache), keys(&[0, 1, 2, 3], &[0, 1, 2]));

        // Two beams out of each prefix: the prefix's keys stand behind the two new ones.
        let mask = cache.branch(&[0, 0, 1, 1, 2, 2, 3, 3], 2);
        assert_eq!(seen(&mask, 64)[..3], [vec![0, 2, 3, 4], vec![1, 2, 3, 4], vec![0, 2, 3, 4]]);
        cache.grow(value(&[0, 1, 2, 3], &[3, 4]), 2).unwrap();
        // Slots 0 and 2 end; the last takes the place of the first. Both of its beams come out of its second one, and those of
        // slot 1 change places.
        cache.keep(&[3, 1]).unwrap();
        let (_, recent) = cache.recent()[1].try_extract_tensor::<f32>().unwrap();
        assert_eq!(recent, keys(&[3, 1], &[3, 4]));
        let mask = cache.branch(&[7, 7, 3, 2], 2);
        assert_eq!(
            seen(&mask, 64),
            [vec![1, 2, 4, 5, 6], vec![1, 3, 4, 5, 6], vec![1, 2, 4, 5, 6], vec![0, 3, 4, 5, 6]]
        );
        cache.grow(value(&[3, 1], &[3, 4, 5, 6]), 2).unwrap();
        cache.settle().unwrap();
        // The first picture's key 3 has no child.
        let mut want = Vec::new();
        for head in 0..3 {
            let all = keys(&[3], &[0, 1, 2, 4, 5, 6]);
            want.extend_from_slice(&all[head * 12..(head + 1) * 12]);
            want.extend([0.0, 0.0]);
        }
        want.extend(keys(&[1], &[0, 1, 2, 3, 4, 5, 6]));
        assert_eq!(settled(&cache), want);
        let mask = cache.branch(&[0, 1, 2, 3], 2);
        assert_eq!(
            seen(&mask, 64),
            [vec![0, 2, 3, 4, 5, 6], vec![1, 2, 3, 4, 5, 7], vec![0, 2, 3, 4, 6, 7], vec![1, 2, 3, 4, 5, 8]]
        );
    }
}
