//! The decoder's key/value cache, of all pictures in a batch.
//!
//! All hypotheses of a picture share its keys. A key stands there once, whichever hypotheses grew out of it, and a mask tells
//! each new token which of them it sees: its prefix, its ancestors and itself. So choosing beams copies nothing, and
//! one product asks a picture's keys for all of its beams.
//!
//! Keys stand in two parts. What a step adds is joined to the `recent` ones inside the graph, which copies those; so that it
//! copies few, they are moved to the `settled` ones, which no step copies, every few steps. What no
//! living hypothesis has read is left behind then (most have the same ancestors but for their last few tokens), and so are
//! the slots of pictures that have ended; the prefixes of pictures that join are put in.
//!
//! Order: keys of a picture stand in order of arrival, in each part; a step adds one for each place of a slot, whether a
//! hypothesis stands there or not. Pictures have settled keys of different number; the
//! places up to the largest are unseen. They come last, behind the recent keys, and the mask's width is a multiple of
//! [`WIDTH`], so that sums are made in the same order whichever pictures share a batch.
//!
//! Where the host reads them, keys are floats that are moved by hand; on a device with memory of its own and in half precision
//! they are moved where they are, by a [`Mover`].
//!
//! Memory: two tensors a layer of slots × heads × keys × head size floats, where keys are at most those of the prefix and, for
//! each token of the longest caption, one a place; and one such tensor more while keys settle.

use ort::memory::Allocator;
use ort::session::SessionInputValue;
use ort::value::{DynTensor, DynValue, TensorElementType, TensorRef};

use super::mover::Mover;
use super::wrong;
use crate::error::Result;
use crate::model::folder::DecoderSpec;
use crate::model::runtime::{Memory, run_error};

/// ONNX Runtime sums a row's exponentials in blocks of 64, and what is over in another way.
const WIDTH: usize = 64;

/// What is added to the score of a key that a token does not see: its weight is then 0. Half precision goes not much further.
const UNSEEN: f32 = -3e4;

/// Keys and values of the pictures in a batch, a slot each.
pub struct Cache<'m> {
    memory: &'m Memory,
    spec: &'m DecoderSpec,
    slots: usize,
    /// Who sees what.
    sight: Sight,
    element: TensorElementType,
    settled: Settled,
    /// As the graph left them.
    recent: Vec<DynValue>,
}

/// Settled keys and values, slots × heads × settled keys × head size a tensor.
enum Settled {
    Host(Vec<Vec<f32>>),
    Away(Vec<DynValue>),
}

/// A hypothesis's place in the batch, and the place in the same slot of the one that it continues.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    pub slot: usize,
    pub place: usize,
    pub source: usize,
}

/// Which keys there are, and which of them each hypothesis has read.
#[derive(Debug, Default)]
struct Sight {
    /// Places of a slot: keys that a step adds to it.
    width: usize,
    /// Settled keys that everybody sees, the first ones.
    prefix: usize,
    /// Places for settled keys in each slot.
    settled: usize,
    /// Recent keys of each slot.
    recent: usize,
    /// For each slot and place, what the hypothesis of the last run there has read besides the prefix, itself included.
    lines: Vec<Vec<Option<Line>>>,
}

/// The keys that a hypothesis has read, by their places in each part.
#[derive(Debug, Default, Clone, PartialEq)]
struct Line {
    settled: Vec<u32>,
    recent: Vec<u32>,
}

impl Sight {
    /// Columns of a mask in the next run.
    fn columns(&self) -> usize {
        (self.settled + self.recent + self.width).next_multiple_of(WIDTH)
    }

    /// The mask of a prefix, for one slot: each of its vectors sees itself and those before it.
    fn causal(&self) -> Vec<f32> {
        let columns = self.columns();
        (0..self.width).flat_map(|row| (0..columns).map(move |key| if key <= row { 0.0 } else { UNSEEN })).collect()
    }

    /// The hypotheses of the next run; gives their mask.
    fn branch(&mut self, rows: &[Place]) -> Vec<f32> {
        let (own, columns) = (self.recent, self.columns());
        let first = own + self.width;
        let mut next = vec![vec![None; self.width]; self.lines.len()];
        let mut mask = vec![UNSEEN; self.lines.len() * self.width * columns];
        for &Place { slot, place, source } in rows {
            let mut line = self.lines[slot][source].clone().unwrap_or_default();
            line.recent.push((own + place) as u32);
            let row = &mut mask[(slot * self.width + place) * columns..][..columns];
            row[first..first + self.prefix].fill(0.0);
            line.recent.iter().for_each(|&key| row[key as usize] = 0.0);
            line.settled.iter().for_each(|&key| row[first + key as usize] = 0.0);
            next[slot][place] = Some(line);
        }
        self.lines = next;
        mask
    }

    /// Settles the recent keys that a living hypothesis has read. The slots `stay` become the first ones, in their order, and
    /// `new` ones with nothing but a prefix come behind them. Gives the keys that each slot keeps, in order: settled ones by
    /// their old places, recent ones counted on from those; of new slots, the places in their prefix.
    fn settle(&mut self, stay: &[usize], new: usize) -> Vec<Vec<usize>> {
        let (old, all) = (self.settled, self.settled + self.recent);
        let mut lines = Vec::with_capacity(stay.len() + new);
        let mut kept: Vec<Vec<usize>> = Vec::with_capacity(stay.len() + new);
        for &slot in stay {
            let mut slot = std::mem::take(&mut self.lines[slot]);
            let mut living = vec![false; all];
            living[..self.prefix].fill(true);
            for line in slot.iter().flatten() {
                line.settled.iter().for_each(|&key| living[key as usize] = true);
                line.recent.iter().for_each(|&key| living[old + key as usize] = true);
            }
            let keys: Vec<usize> = (0..all).filter(|&key| living[key]).collect();
            let mut place = vec![0; all];
            keys.iter().enumerate().for_each(|(n, &key)| place[key] = n as u32);
            for line in slot.iter_mut().flatten() {
                line.settled.iter_mut().for_each(|key| *key = place[*key as usize]);
                line.settled.extend(line.recent.drain(..).map(|key| place[old + key as usize]));
            }
            kept.push(keys);
            lines.push(slot);
        }
        kept.resize(stay.len() + new, (0..self.prefix).collect());
        let mut fresh = vec![None; self.width];
        fresh[0] = Some(Line::default());
        lines.resize(stay.len() + new, fresh);
        self.lines = lines;
        self.settled = kept.iter().map(Vec::len).max().unwrap_or(0);
        self.recent = 0;
        kept
    }
}

impl<'m> Cache<'m> {
    /// No keys yet; each of the `slots` gets `width` keys in a run. `element`: the type of keys in the graph.
    pub fn new(
        memory: &'m Memory,
        spec: &'m DecoderSpec,
        element: TensorElementType,
        (slots, width): (usize, usize),
    ) -> Result<Cache<'m>> {
        let width = width.max(1);
        let sight = Sight { width, lines: vec![vec![None; width]; slots], ..Sight::default() };
        let settled = if Cache::by_hand(memory, element) {
            Settled::Host(vec![Vec::new(); 2 * spec.layers])
        } else {
            Settled::Away(nothing(spec, element, slots)?)
        };
        let recent = nothing(spec, element, slots)?;
        Ok(Cache { memory, spec, slots, sight, element, settled, recent })
    }

    /// Whether keys are moved by hand; else a [`Mover`] is wanted.
    pub fn by_hand(memory: &Memory, element: TensorElementType) -> bool {
        !memory.is_away() && element == TensorElementType::Float32
    }

    pub fn slots(&self) -> usize {
        self.slots
    }

    pub fn recent(&self) -> &[DynValue] {
        &self.recent
    }

    /// The settled keys and values as inputs of a graph that reads the host's memory.
    pub fn settled(&self) -> Result<Vec<SessionInputValue<'_>>> {
        let shape = self.shape(self.sight.settled);
        let size = shape.iter().product::<usize>();
        match &self.settled {
            Settled::Host(buffers) => {
                let views = buffers.iter().map(|buffer| {
                    TensorRef::from_array_view((shape, &buffer[..size])).map(|view| view.into_dyn().into())
                });
                views.collect::<ort::Result<_>>().map_err(run_error(&self.spec.graph))
            }
            Settled::Away(values) => Ok(values.iter().map(SessionInputValue::from).collect()),
        }
    }

    /// The same as values of their own; nothing where they are the host's.
    pub fn away(&self) -> &[DynValue] {
        match &self.settled {
            Settled::Host(_) => &[],
            Settled::Away(values) => values,
        }
    }

    fn shape(&self, keys: usize) -> [usize; 4] {
        [self.slots, self.spec.heads, keys, self.spec.head_dim]
    }

    /// The mask of prefixes as long as a slot is wide: slots × vectors × columns.
    pub fn causal(&self) -> Vec<f32> {
        self.sight.causal().repeat(self.slots)
    }

    /// The hypotheses of the next run. Gives their mask: slots × width × columns.
    pub fn branch(&mut self, rows: &[Place]) -> Vec<f32> {
        self.sight.branch(rows)
    }

    /// Takes what a run gave: the recent keys with the new ones behind, if the graph has kept to its shapes.
    pub fn grow(&mut self, recent: Vec<DynValue>) -> Result<()> {
        self.sight.recent += self.sight.width;
        let shape = self.shape(self.sight.recent).map(|n| n as i64);
        if recent.iter().any(|value| value.dtype().tensor_shape().is_none_or(|s| s[..] != shape)) {
            return Err(wrong(&self.spec.graph));
        }
        self.recent = recent;
        Ok(())
    }

    /// Moves recent keys to the settled ones. The slots `stay` become the first ones; `new` ones come behind, whose keys are the
    /// first slots of `fresh`, each of `prefix` keys. `mover`: for keys that are not moved by hand.
    pub fn settle(
        &mut self,
        stay: &[usize],
        (new, fresh, prefix): (usize, Vec<DynValue>, usize),
        mover: Option<&mut Mover>,
    ) -> Result<()> {
        let spec = self.spec;
        let failed = run_error(&spec.graph);
        let shape = [spec.heads, prefix, spec.head_dim].map(|n| n as i64);
        let fits = |value: &DynValue| {
            value.dtype().tensor_shape().is_some_and(|s| s.len() == 4 && s[0] >= new as i64 && s[1..] == shape)
        };
        let fresh = if new == 0 { nothing(spec, self.element, 0)? } else { fresh };
        if fresh.len() != self.recent.len() || new > 0 && !fresh.iter().all(fits) {
            return Err(wrong(&spec.graph));
        }
        self.sight.prefix = prefix;
        let before = (self.slots, self.sight.settled, self.sight.recent);
        let kept = self.sight.settle(stay, new);
        self.slots = kept.len();
        let rows = rows(stay, &kept, before, (self.sight.settled, prefix), spec.heads);
        let shape = self.shape(self.sight.settled).map(|n| n as i64);
        let keys = |value| -> Result<&[f32]> { Ok(DynValue::try_extract_tensor::<f32>(value).map_err(&failed)?.1) };
        match (&mut self.settled, mover) {
            (Settled::Host(buffers), _) => {
                let mut spare = Vec::new();
                for ((buffer, recent), fresh) in buffers.iter_mut().zip(&self.recent).zip(&fresh) {
                    gather(&mut spare, [buffer, keys(recent)?, keys(fresh)?], &rows, spec.head_dim);
                    std::mem::swap(&mut spare, buffer);
                }
            }
            (Settled::Away(values), Some(mover)) if !rows.is_empty() => {
                for ((value, recent), fresh) in values.iter_mut().zip(&self.recent).zip(&fresh) {
                    *value = mover.run([value, recent, fresh], &rows, shape, self.memory)?;
                }
            }
            (Settled::Away(values), Some(_)) => *values = nothing(spec, self.element, self.slots)?,
            (Settled::Away(_), None) => {
                return Err(crate::error::Error::runtime("nothing moves the keys", "report this"));
            }
        }
        self.recent = nothing(spec, self.element, self.slots)?;
        Ok(())
    }
}

/// Keys and values of each layer, of which there are none.
fn nothing(spec: &DecoderSpec, element: TensorElementType, slots: usize) -> Result<Vec<DynValue>> {
    let shape = [slots, spec.heads, 0, spec.head_dim];
    let none = || DynTensor::new(&Allocator::default(), element, shape).map(DynTensor::into_dyn);
    (0..2 * spec.layers).map(|_| none()).collect::<ort::Result<_>>().map_err(run_error(&spec.graph))
}

/// Which keys a settled tensor is made of: of each slot and head those `kept`, and up to `places` any. They are counted through
/// the settled, the recent and the fresh ones. The slots that `stay` had theirs in the first two of these, each of so many slots and keys
/// as `before` says; the slots behind have theirs in the third, each of `prefix` keys.
fn rows(
    stay: &[usize],
    kept: &[Vec<usize>],
    (slots, old, more): (usize, usize, usize),
    (places, prefix): (usize, usize),
    heads: usize,
) -> Vec<i64> {
    let (recent, fresh) = (slots * heads * old, slots * heads * (old + more));
    let mut rows = Vec::with_capacity(kept.len() * heads * places);
    for (slot, keys) in kept.iter().enumerate() {
        for head in 0..heads {
            let mut last = 0;
            for &key in keys {
                last = match (stay.get(slot), key.checked_sub(old)) {
                    (Some(slot), None) => (slot * heads + head) * old + key,
                    (Some(slot), Some(key)) => recent + (slot * heads + head) * more + key,
                    (None, _) => fresh + ((slot - stay.len()) * heads + head) * prefix + key,
                };
                rows.push(last as i64);
            }
            rows.resize((slot * heads + head + 1) * places, last as i64);
        }
    }
    rows
}

/// Some rows of `width` of three parts, counted through all of them.
fn gather(to: &mut Vec<f32>, [settled, recent, fresh]: [&[f32]; 3], rows: &[i64], width: usize) {
    to.clear();
    to.reserve(rows.len() * width);
    for &row in rows {
        let mut at = row as usize * width;
        let part = [settled, recent, fresh].into_iter().find(|part| {
            let inside = at < part.len();
            at -= if inside { 0 } else { part.len() };
            inside
        });
        to.extend_from_slice(part.map_or(&[][..], |part| &part[at..at + width]));
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

    fn places(rows: &[[usize; 3]]) -> Vec<Place> {
        rows.iter().map(|&[slot, place, source]| Place { slot, place, source }).collect()
    }

    fn sight(width: usize) -> Sight {
        Sight { width, ..Sight::default() }
    }

    #[test]
    fn a_prefix_is_causal() {
        assert_eq!(seen(&sight(3).causal(), 64), [vec![0], vec![0, 1], vec![0, 1, 2]]);
    }

    #[test]
    fn a_row_sees_its_ancestors_and_what_nobody_has_read_is_left_behind() {
        // Two slots with a prefix of three keys, and places for two hypotheses.
        let mut sight = Sight { prefix: 3, ..sight(2) };
        assert_eq!(sight.settle(&[], 2), [[0, 1, 2]; 2]);
        assert_eq!((sight.settled, sight.recent), (3, 0));
        // Two beams out of each prefix: the prefix's keys stand behind the two new ones.
        let mask = sight.branch(&places(&[[0, 0, 0], [0, 1, 0], [1, 0, 0], [1, 1, 0]]));
        assert_eq!(seen(&mask, 64)[..3], [vec![0, 2, 3, 4], vec![1, 2, 3, 4], vec![0, 2, 3, 4]]);
        sight.recent += 2;
        // Both of the first slot go on from its second; the second one's change places.
        let mask = sight.branch(&places(&[[0, 0, 1], [0, 1, 1], [1, 0, 1], [1, 1, 0]]));
        assert_eq!(
            seen(&mask, 64),
            [vec![1, 2, 4, 5, 6], vec![1, 3, 4, 5, 6], vec![1, 2, 4, 5, 6], vec![0, 3, 4, 5, 6]]
        );
        sight.recent += 2;
        // The first slot's key 3, its first beam's first, has no child.
        assert_eq!(sight.settle(&[0, 1], 0), [vec![0, 1, 2, 4, 5, 6], vec![0, 1, 2, 3, 4, 5, 6]]);
        let mask = sight.branch(&places(&[[0, 0, 0], [0, 1, 1], [1, 0, 0], [1, 1, 1]]));
        assert_eq!(
            seen(&mask, 64),
            [vec![0, 2, 3, 4, 5, 6], vec![1, 2, 3, 4, 5, 7], vec![0, 2, 3, 4, 6, 7], vec![1, 2, 3, 4, 5, 8]]
        );
    }

    #[test]
    fn a_place_that_nobody_has_sees_and_keeps_nothing() {
        let mut sight = Sight { prefix: 1, ..sight(2) };
        sight.settle(&[], 2);
        // One hypothesis of the first slot has stopped, all of the second one have.
        let mask = sight.branch(&places(&[[0, 1, 0]]));
        assert_eq!(seen(&mask, 64), [vec![], vec![1, 2], vec![], vec![]]);
        sight.recent += 2;
        assert_eq!(sight.settle(&[0], 0), [[0, 2]]);
    }

    #[test]
    fn who_stays_moves_up_and_who_joins_has_a_prefix() {
        let mut sight = Sight { prefix: 2, ..sight(1) };
        sight.settle(&[], 3);
        sight.branch(&places(&[[0, 0, 0], [1, 0, 0], [2, 0, 0]]));
        sight.recent += 1;
        assert_eq!(sight.settle(&[2], 1), [vec![0, 1, 2], vec![0, 1]]);
        let mask = sight.branch(&places(&[[0, 0, 0], [1, 0, 0]]));
        assert_eq!(seen(&mask, 64), [vec![0, 1, 2, 3], vec![0, 1, 2]]);
    }

    #[test]
    fn columns_are_a_multiple_of_the_blocks_that_are_summed() {
        let columns = |width| Sight { prefix: 10, settled: 50, recent: 20, ..sight(width) }.columns();
        assert_eq!([0, 5, 58, 59].map(columns), [128, 128, 128, 192]);
    }

    /// Each number tells slot, head and key; a key is a pair.
    fn keys(base: usize, slots: usize, keys: std::ops::Range<usize>) -> Vec<f32> {
        let names = (0..2 * slots).flat_map(|at| keys.clone().map(move |key| (base + at * 100 + key) as f32));
        names.flat_map(|n| [n, -n]).collect()
    }

    #[test]
    fn kept_keys_are_gathered_by_slot_and_head() {
        let (settled, recent, fresh) = (keys(0, 2, 0..3), keys(0, 2, 3..5), keys(1000, 1, 0..1));
        let rows = rows(&[1, 0], &[vec![1], vec![0, 2, 4], vec![0]], (2, 3, 2), (4, 1), 2);
        let mut to = vec![7.0; 3];
        gather(&mut to, [&settled, &recent, &fresh], &rows, 2);
        let firsts: Vec<f32> = to.iter().step_by(2).copied().collect();
        // Behind those that are kept stands the last of them, which nobody sees there.
        assert_eq!(firsts[..8], [201.0, 201.0, 201.0, 201.0, 301.0, 301.0, 301.0, 301.0]);
        assert_eq!(firsts[8..16], [0.0, 2.0, 4.0, 4.0, 100.0, 102.0, 104.0, 104.0]);
        assert_eq!(firsts[16..], [1000.0, 1000.0, 1000.0, 1000.0, 1100.0, 1100.0, 1100.0, 1100.0]);
        assert!(to.chunks(2).all(|pair| pair[0] == -pair[1]));
    }
}
