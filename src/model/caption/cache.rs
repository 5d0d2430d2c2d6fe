//! The decoder's key/value cache, for all pictures in a batch.
//!
//! All hypotheses of a picture share its keys, and a mask selects which of them each new token sees (see
//! [`visibility`](super::visibility)). So choosing beams copies nothing, and one matrix product compares a picture's
//! keys with all of its beams.
//!
//! Keys have two parts. The graph itself appends what a step adds to the recent keys, and copies those. To keep that
//! copy short, every few steps the recent keys move to the settled ones, which no step copies. Keys that no living
//! hypothesis has read are dropped then: most hypotheses share their ancestors except for the last few tokens. The
//! slots of pictures that have ended go as well, and the prefixes of pictures that join are put in.
//!
//! Order: the keys of a picture are in order of arrival, in each part. A step adds a key for each place of a slot,
//! whether or not there is a hypothesis. Slots have different numbers of settled keys and are padded to the largest;
//! no hypothesis sees the padding.
//!
//! Keys that the host can read as 32-bit floats are moved by hand. In the memory of a device, and in half precision, a
//! [`KeyMover`] moves them where they are.
//!
//! Memory: two tensors for each layer, of slots × heads × keys × head size values. A slot has the keys of the prefix
//! and at most one for each place and token of the longest caption. While keys settle there is one such tensor more.

use ort::memory::Allocator;
use ort::session::SessionInputValue;
use ort::value::{DynTensor, DynValue, TensorElementType, TensorRef};

use super::mover::KeyMover;
use super::visibility::{CacheRow, Visibility};
use crate::error::{Error, Result};
use crate::model::device::DeviceMemory;
use crate::model::graph::{run_error, wrong_shape};
use crate::model::manifest::DecoderSpec;

/// Keys and values of the pictures in a batch. Each picture has a slot.
pub(crate) struct KeyValueCache<'m> {
    memory: &'m DeviceMemory,
    spec: &'m DecoderSpec,
    slots: usize,
    visibility: Visibility,
    element: TensorElementType,
    settled: SettledKeys,
    /// As the graph left them.
    recent: Vec<DynValue>,
}

/// Settled keys and values: for each layer two tensors of slots × heads × settled keys × head size.
enum SettledKeys {
    /// In the host's memory, moved by hand.
    Host(Vec<Vec<f32>>),
    /// As ONNX Runtime's own values, moved by a [`KeyMover`].
    Runtime(Vec<DynValue>),
}

/// Pictures that join the batch.
pub(crate) struct JoiningKeys {
    /// How many there are.
    pub(crate) count: usize,
    /// The keys of their prefixes: the first `count` slots of each tensor. Empty if `count` is 0.
    pub(crate) keys: Vec<DynValue>,
    /// Keys of a prefix.
    pub(crate) prefix: usize,
}

impl<'m> KeyValueCache<'m> {
    /// No keys yet. A run adds `width` keys to each of the `slots`; `element` is the type of keys in the graph.
    pub(crate) fn new(
        memory: &'m DeviceMemory,
        spec: &'m DecoderSpec,
        element: TensorElementType,
        slots: usize,
        width: usize,
    ) -> Result<KeyValueCache<'m>> {
        let visibility = Visibility::new(slots, width.max(1));
        let settled = if KeyValueCache::moves_by_hand(memory, element) {
            SettledKeys::Host(vec![Vec::new(); 2 * spec.layers])
        } else {
            SettledKeys::Runtime(no_keys(spec, element, slots)?)
        };
        let recent = no_keys(spec, element, slots)?;
        Ok(KeyValueCache { memory, spec, slots, visibility, element, settled, recent })
    }

    /// Whether keys are moved by hand. Otherwise [`settle`](KeyValueCache::settle) needs a [`KeyMover`].
    pub(crate) fn moves_by_hand(memory: &DeviceMemory, element: TensorElementType) -> bool {
        !memory.is_bound() && element == TensorElementType::Float32
    }

    pub(crate) fn slots(&self) -> usize {
        self.slots
    }

    /// The recent keys and values.
    pub(crate) fn recent(&self) -> &[DynValue] {
        &self.recent
    }

    /// The settled keys and values, as inputs of a graph that reads the host's memory.
    pub(crate) fn settled_inputs(&self) -> Result<Vec<SessionInputValue<'_>>> {
        let shape = self.shape(self.visibility.settled);
        let size = shape.iter().product::<usize>();
        match &self.settled {
            SettledKeys::Host(buffers) => {
                let views = buffers.iter().map(|buffer| {
                    TensorRef::from_array_view((shape, &buffer[..size])).map(|view| view.into_dyn().into())
                });
                views.collect::<ort::Result<_>>().map_err(run_error(&self.spec.graph))
            }
            SettledKeys::Runtime(values) => Ok(values.iter().map(SessionInputValue::from).collect()),
        }
    }

    /// The settled keys and values, as ONNX Runtime's own. None if they are in the host's memory.
    pub(crate) fn settled_values(&self) -> &[DynValue] {
        match &self.settled {
            SettledKeys::Host(_) => &[],
            SettledKeys::Runtime(values) => values,
        }
    }

    fn shape(&self, keys: usize) -> [usize; 4] {
        [self.slots, self.spec.heads, keys, self.spec.head_dim]
    }

    /// The mask of prefixes that are as long as a slot is wide: slots × vectors × columns.
    pub(crate) fn causal_mask(&self) -> Vec<f32> {
        self.visibility.causal_mask().repeat(self.slots)
    }

    /// Takes the hypotheses of the next run and returns their mask: slots × places × columns.
    pub(crate) fn extend(&mut self, rows: &[CacheRow]) -> Vec<f32> {
        self.visibility.extend(rows)
    }

    /// Takes the result of a run: the recent keys, with the new ones at the end.
    pub(crate) fn append(&mut self, recent: Vec<DynValue>) -> Result<()> {
        self.visibility.recent += self.visibility.width;
        let shape = self.shape(self.visibility.recent).map(|n| n as i64);
        if recent.iter().any(|value| value.dtype().tensor_shape().is_none_or(|s| s[..] != shape)) {
            return Err(wrong_shape(&self.spec.graph));
        }
        self.recent = recent;
        Ok(())
    }

    /// Moves the recent keys to the settled ones. The slots `stay` become the first ones, and the joining pictures'
    /// slots come after them. `mover` moves keys that are not moved by hand.
    pub(crate) fn settle(&mut self, stay: &[usize], joining: JoiningKeys, mover: Option<&mut KeyMover>) -> Result<()> {
        let spec = self.spec;
        let JoiningKeys { count, keys, prefix } = joining;
        let fresh = if count == 0 { no_keys(spec, self.element, 0)? } else { keys };
        self.check_prefixes(&fresh, count, prefix)?;
        self.visibility.prefix = prefix;
        let before = PartSizes { slots: self.slots, settled: self.visibility.settled, recent: self.visibility.recent };
        let kept = self.visibility.settle(stay, count);
        self.slots = kept.len();
        let rows = KeptRows { stay, kept: &kept, before, prefix, heads: spec.heads }.rows(self.visibility.settled);
        let shape = self.shape(self.visibility.settled).map(|n| n as i64);
        let failed = run_error(&spec.graph);
        let floats = |value| -> Result<&[f32]> { Ok(DynValue::try_extract_tensor::<f32>(value).map_err(&failed)?.1) };
        match (&mut self.settled, mover) {
            (SettledKeys::Host(buffers), _) => {
                let mut spare = Vec::new();
                for ((buffer, recent), fresh) in buffers.iter_mut().zip(&self.recent).zip(&fresh) {
                    gather(&mut spare, [buffer, floats(recent)?, floats(fresh)?], &rows, spec.head_dim);
                    std::mem::swap(&mut spare, buffer);
                }
            }
            (SettledKeys::Runtime(values), Some(mover)) if !rows.is_empty() => {
                for ((value, recent), fresh) in values.iter_mut().zip(&self.recent).zip(&fresh) {
                    *value = mover.run([value, recent, fresh], &rows, shape, self.memory)?;
                }
            }
            (SettledKeys::Runtime(values), Some(_)) => *values = no_keys(spec, self.element, self.slots)?,
            (SettledKeys::Runtime(_), None) => {
                return Err(Error::runtime("there is nothing to move the keys with", "Report this as a bug."));
            }
        }
        self.recent = no_keys(spec, self.element, self.slots)?;
        Ok(())
    }

    /// Refuses keys of prefixes that have not the shape that the manifest promises.
    fn check_prefixes(&self, fresh: &[DynValue], count: usize, prefix: usize) -> Result<()> {
        let shape = [self.spec.heads, prefix, self.spec.head_dim].map(|n| n as i64);
        let fits = |value: &DynValue| {
            value.dtype().tensor_shape().is_some_and(|s| s.len() == 4 && s[0] >= count as i64 && s[1..] == shape)
        };
        if fresh.len() != self.recent.len() || count > 0 && !fresh.iter().all(fits) {
            return Err(wrong_shape(&self.spec.graph));
        }
        Ok(())
    }
}

/// Keys and values of each layer, with no keys in them.
fn no_keys(spec: &DecoderSpec, element: TensorElementType, slots: usize) -> Result<Vec<DynValue>> {
    let shape = [slots, spec.heads, 0, spec.head_dim];
    let none = || DynTensor::new(&Allocator::default(), element, shape).map(DynTensor::into_dyn);
    (0..2 * spec.layers).map(|_| none()).collect::<ort::Result<_>>().map_err(run_error(&spec.graph))
}

/// Sizes of the settled and the recent part before keys settle.
struct PartSizes {
    slots: usize,
    /// Settled keys of a slot.
    settled: usize,
    /// Recent keys of a slot.
    recent: usize,
}

/// The keys that a settled tensor will hold.
struct KeptRows<'a> {
    /// The old slots that stay, in order; their keys come from the settled and the recent part.
    stay: &'a [usize],
    /// The keys that each slot keeps; see [`Visibility::settle`]. Slots after those that stay are new, and their keys
    /// come from the prefixes.
    kept: &'a [Vec<usize>],
    before: PartSizes,
    /// Keys of a prefix.
    prefix: usize,
    heads: usize,
}

impl KeptRows<'_> {
    /// The rows of the new tensor, by slot and head: `keys` rows for each head, the last one repeated where there are
    /// fewer. Rows are counted through the settled part, the recent part and the prefixes.
    fn rows(&self, keys: usize) -> Vec<i64> {
        let KeptRows { stay, kept, prefix, heads, .. } = *self;
        let PartSizes { slots, settled, recent } = self.before;
        let (first_recent, first_prefix) = (slots * heads * settled, slots * heads * (settled + recent));
        let mut rows = Vec::with_capacity(kept.len() * heads * keys);
        for (slot, kept) in kept.iter().enumerate() {
            for head in 0..heads {
                let mut last = 0;
                for &key in kept {
                    last = match (stay.get(slot), key.checked_sub(settled)) {
                        (Some(slot), None) => (slot * heads + head) * settled + key,
                        (Some(slot), Some(key)) => first_recent + (slot * heads + head) * recent + key,
                        (None, _) => first_prefix + ((slot - stay.len()) * heads + head) * prefix + key,
                    };
                    rows.push(last as i64);
                }
                rows.resize((slot * heads + head + 1) * keys, last as i64);
            }
        }
        rows
    }
}

/// Copies rows of `width` values out of three parts; rows are counted through all of them.
fn gather(to: &mut Vec<f32>, parts: [&[f32]; 3], rows: &[i64], width: usize) {
    to.clear();
    to.reserve(rows.len() * width);
    for &row in rows {
        let mut at = row as usize * width;
        let part = parts.into_iter().find(|part| {
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

    /// Keys of two values; the number in them gives slot, head and key.
    fn keys(base: usize, slots: usize, keys: std::ops::Range<usize>) -> Vec<f32> {
        let names = (0..2 * slots).flat_map(|at| keys.clone().map(move |key| (base + at * 100 + key) as f32));
        names.flat_map(|n| [n, -n]).collect()
    }

    #[test]
    fn kept_keys_are_gathered_by_slot_and_head() {
        let (settled, recent, fresh) = (keys(0, 2, 0..3), keys(0, 2, 3..5), keys(1000, 1, 0..1));
        let before = PartSizes { slots: 2, settled: 3, recent: 2 };
        let kept = [vec![1], vec![0, 2, 4], vec![0]];
        let rows = KeptRows { stay: &[1, 0], kept: &kept, before, prefix: 1, heads: 2 }.rows(4);
        let mut to = vec![7.0; 3];
        gather(&mut to, [&settled, &recent, &fresh], &rows, 2);
        let firsts: Vec<f32> = to.iter().step_by(2).copied().collect();
        // Slots with fewer keys repeat their last one, which no hypothesis sees there.
        assert_eq!(firsts[..8], [201.0, 201.0, 201.0, 201.0, 301.0, 301.0, 301.0, 301.0]);
        assert_eq!(firsts[8..16], [0.0, 2.0, 4.0, 4.0, 100.0, 102.0, 104.0, 104.0]);
        assert_eq!(firsts[16..], [1000.0, 1000.0, 1000.0, 1000.0, 1100.0, 1100.0, 1100.0, 1100.0]);
        assert!(to.chunks(2).all(|pair| pair[0] == -pair[1]));
    }
}
