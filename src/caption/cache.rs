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

use super::wrong;
use crate::error::Result;
use crate::model::DecoderSpec;
use crate::runtime::{Memory, run_error};

/// Recent keys from which they are settled. Fewer are copied less often by the graph, more are moved less often here.
const RECENT: usize = 40;

/// ONNX Runtime sums a row's exponentials in blocks of 64, and what is over in another way.
const WIDTH: usize = 64;

/// What is added to the score of a key that a token does not see: its weight is then 0.
const UNSEEN: f32 = -1e9;

/// Keys and values of the pictures in a batch, a slot each.
pub struct Cache<'m> {
    memory: &'m Memory,
    spec: &'m DecoderSpec,
    slots: usize,
    /// Who sees what.
    sight: Sight,
    /// A buffer a tensor: slots × heads × settled keys × head size.
    settled: Vec<Vec<f32>>,
    /// The same on the device, where that has memory of its own.
    away: Vec<DynValue>,
    /// As the graph left them.
    recent: Vec<DynValue>,
}

/// Which keys there are, and which of them each row of the last run has read.
#[derive(Debug, Default)]
struct Sight {
    /// Settled keys that everybody sees, the first ones.
    prefix: usize,
    /// Places for settled keys in each slot.
    settled: usize,
    /// Recent keys of each slot.
    recent: usize,
    /// For each row, what it has read besides the prefix, itself included.
    lines: Vec<Line>,
}

/// The keys that a row has read, by their places in each part.
#[derive(Debug, Default, Clone, PartialEq)]
struct Line {
    settled: Vec<u32>,
    recent: Vec<u32>,
}

impl Sight {
    /// Columns of a mask where each slot gets `more` keys.
    fn columns(&self, more: usize) -> usize {
        (self.settled + self.recent + more).next_multiple_of(WIDTH)
    }

    /// The mask of a prefix, for one slot: each of its vectors sees itself and those before it.
    fn causal(&self, length: usize) -> Vec<f32> {
        let columns = self.columns(length);
        (0..length).flat_map(|row| (0..columns).map(move |key| if key <= row { 0.0 } else { UNSEEN })).collect()
    }

    fn branch(&mut self, source: &[usize], beams: usize) -> Vec<f32> {
        let own = self.recent;
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

    /// Settles the recent keys that a living row has read. Gives the keys that each slot keeps, in order: settled ones by their old
    /// places, recent ones counted on from those.
    fn settle(&mut self, slots: usize) -> Vec<Vec<usize>> {
        let (old, all) = (self.settled, self.settled + self.recent);
        let beams = self.lines.len() / slots;
        let mut kept: Vec<Vec<usize>> = Vec::with_capacity(slots);
        for lines in self.lines.chunks_exact_mut(beams) {
            let mut living = vec![false; all];
            living[..self.prefix].fill(true);
            for line in lines.iter() {
                line.settled.iter().for_each(|&key| living[key as usize] = true);
                line.recent.iter().for_each(|&key| living[old + key as usize] = true);
            }
            let keys: Vec<usize> = (0..all).filter(|&key| living[key]).collect();
            let mut place = vec![0; all];
            keys.iter().enumerate().for_each(|(n, &key)| place[key] = n as u32);
            for line in lines {
                line.settled.iter_mut().for_each(|key| *key = place[*key as usize]);
                line.settled.extend(line.recent.drain(..).map(|key| place[old + key as usize]));
            }
            kept.push(keys);
        }
        self.settled = kept.iter().map(Vec::len).max().unwrap_or(0);
        self.recent = 0;
        kept
    }
}

impl<'m> Cache<'m> {
    /// No keys yet.
    pub fn new(memory: &'m Memory, spec: &'m DecoderSpec, slots: usize) -> Result<Cache<'m>> {
        let count = 2 * spec.layers;
        let settled = vec![Vec::new(); count];
        let (away, recent, sight) = (Vec::new(), Vec::new(), Sight::default());
        let mut cache = Cache { memory, spec, slots, sight, settled, away, recent };
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

    /// The settled keys and values in the host's memory.
    pub fn settled(&self) -> Result<Vec<TensorRef<'_, f32>>> {
        let shape = self.shape(self.sight.settled);
        let size = shape.iter().product::<usize>();
        let tensors = self.settled.iter().map(|buffer| TensorRef::from_array_view((shape, &buffer[..size])));
        tensors.collect::<ort::Result<_>>().map_err(run_error(&self.spec.graph))
    }

    /// The same on a device with memory of its own; nothing where there is none.
    pub fn away(&self) -> &[DynValue] {
        &self.away
    }

    fn shape(&self, keys: usize) -> [usize; 4] {
        [self.slots, self.spec.heads, keys, self.spec.head_dim]
    }

    /// Columns of a mask where each slot gets `more` keys.
    pub fn columns(&self, more: usize) -> usize {
        self.sight.columns(more)
    }

    /// The mask of a prefix: slots × vectors × columns.
    pub fn causal(&self, length: usize) -> Vec<f32> {
        self.sight.causal(length).repeat(self.slots)
    }

    /// Takes the prefix's keys: what the first run gave.
    pub fn begin(&mut self, keys: Vec<DynValue>, length: usize) -> Result<()> {
        self.take(keys, length)?;
        self.sight.prefix = length;
        self.sight.lines = vec![Line::default(); self.slots];
        self.settle()
    }

    /// The rows of the next run, `beams` a slot, each going on from a row of the last one. Gives their mask: slots × beams ×
    /// columns.
    pub fn branch(&mut self, source: &[usize], beams: usize) -> Vec<f32> {
        self.sight.branch(source, beams)
    }

    /// Takes what the run gave: the recent keys with `more` behind them.
    pub fn grow(&mut self, recent: Vec<DynValue>, more: usize) -> Result<()> {
        self.take(recent, more)?;
        if self.sight.recent >= RECENT { self.settle() } else { Ok(()) }
    }

    /// Recent keys of which `more` are new, if the graph has kept to its shapes.
    fn take(&mut self, recent: Vec<DynValue>, more: usize) -> Result<()> {
        self.sight.recent += more;
        let shape = self.shape(self.sight.recent).map(|n| n as i64);
        if recent.iter().any(|value| value.dtype().tensor_shape().is_none_or(|s| s[..] != shape)) {
            return Err(wrong(&self.spec.graph));
        }
        self.recent = recent;
        Ok(())
    }

    fn settle(&mut self) -> Result<()> {
        let spec = self.spec;
        let failed = run_error(&spec.graph);
        let (old, more) = (self.sight.settled, self.sight.recent);
        let kept = self.sight.settle(self.slots);
        let mut spare = Vec::new();
        for (buffer, recent) in self.settled.iter_mut().zip(&self.recent) {
            let there = self.memory.fetch(recent).map_err(&failed)?;
            let (_, new) = there.as_ref().unwrap_or(recent).try_extract_tensor::<f32>().map_err(&failed)?;
            gather(&mut spare, buffer, new, &kept, (old, more, self.sight.settled), spec);
            std::mem::swap(&mut spare, buffer);
        }
        self.forget(self.recent.len())?;
        self.bring()
    }

    /// Leaves these slots: place `n` of the list is then slot `n`. One that comes before its old place takes that of a slot that is
    /// not in the list.
    pub fn keep(&mut self, slots: &[usize]) -> Result<()> {
        let spec = self.spec;
        let failed = run_error(&spec.graph);
        let each = spec.heads * self.sight.settled * spec.head_dim;
        for buffer in &mut self.settled {
            for (to, &from) in slots.iter().enumerate() {
                if from != to {
                    buffer.copy_within(from * each..(from + 1) * each, to * each);
                }
            }
        }
        self.slots = slots.len();
        let shape = self.shape(self.sight.recent);
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
        let shape = self.shape(self.sight.settled);
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

    /// Seen columns of each row.
    fn seen(mask: &[f32], columns: usize) -> Vec<Vec<usize>> {
        let row = |row: &[f32]| (0..columns).filter(|&c| row[c] == 0.0).collect();
        mask.chunks(columns).map(row).collect()
    }

    #[test]
    fn a_prefix_is_causal_and_settles_whole() {
        let mut sight = Sight::default();
        assert_eq!(seen(&sight.causal(3), 64), [vec![0], vec![0, 1], vec![0, 1, 2]]);
        (sight.prefix, sight.recent) = (3, 3);
        sight.lines = vec![Line::default(); 2];
        assert_eq!(sight.settle(2), [[0, 1, 2]; 2]);
        assert_eq!((sight.settled, sight.recent), (3, 0));
    }

    #[test]
    fn a_row_sees_its_ancestors_and_what_nobody_has_read_is_left_behind() {
        // Two slots with a prefix of three keys.
        let mut sight = Sight { prefix: 3, settled: 3, recent: 0, lines: vec![Line::default(); 2] };
        // Two beams out of each prefix: the prefix's keys stand behind the two new ones.
        let mask = sight.branch(&[0, 0, 1, 1], 2);
        assert_eq!(seen(&mask, 64)[..3], [vec![0, 2, 3, 4], vec![1, 2, 3, 4], vec![0, 2, 3, 4]]);
        sight.recent += 2;
        // The first slot goes on from the last row, twice: it has been given that slot. The second one's beams change places.
        let mask = sight.branch(&[3, 3, 1, 0], 2);
        assert_eq!(
            seen(&mask, 64),
            [vec![1, 2, 4, 5, 6], vec![1, 3, 4, 5, 6], vec![1, 2, 4, 5, 6], vec![0, 3, 4, 5, 6]]
        );
        sight.recent += 2;
        // The first slot's key 3, the first beam's first, has no child.
        assert_eq!(sight.settle(2), [vec![0, 1, 2, 4, 5, 6], vec![0, 1, 2, 3, 4, 5, 6]]);
        let mask = sight.branch(&[0, 1, 2, 3], 2);
        assert_eq!(
            seen(&mask, 64),
            [vec![0, 2, 3, 4, 5, 6], vec![1, 2, 3, 4, 5, 7], vec![0, 2, 3, 4, 6, 7], vec![1, 2, 3, 4, 5, 8]]
        );
    }

    #[test]
    fn columns_are_a_multiple_of_the_blocks_that_are_summed() {
        let sight = Sight { prefix: 10, settled: 50, recent: 20, lines: Vec::new() };
        assert_eq!((sight.columns(0), sight.columns(5), sight.columns(58), sight.columns(59)), (128, 128, 128, 192));
    }

    #[test]
    fn kept_keys_are_gathered_by_slot_and_head() {
        let spec = DecoderSpec {
            graph: "decoder.onnx".into(),
            layers: 1,
            heads: 2,
            head_dim: 2,
            width: 4,
            vocab: 9,
            context: 100,
        };
        // Each number tells slot, head and key; a key is a pair.
        let keys = |keys: std::ops::Range<usize>| -> Vec<f32> {
            let names = (0..4).flat_map(|at| keys.clone().map(move |key| (at * 100 + key) as f32));
            names.flat_map(|n| [n, -n]).collect()
        };
        let mut to = vec![7.0; 3];
        gather(&mut to, &keys(0..3), &keys(3..5), &[vec![0, 2, 4], vec![1]], (3, 2, 4), &spec);
        let names = [[0, 2, 4], [100, 102, 104]].map(|k| k.map(|n| n as f32)).concat();
        let firsts: Vec<f32> = to.iter().step_by(2).copied().collect();
        assert_eq!(firsts[..3], names[..3]);
        assert_eq!((firsts[3], &firsts[4..7], firsts[7]), (0.0, &names[3..], 0.0));
        assert_eq!(firsts[8..], [201.0, 0.0, 0.0, 0.0, 301.0, 0.0, 0.0, 0.0]);
        assert!(to.chunks(2).all(|pair| pair[0] == -pair[1]));
    }
}
