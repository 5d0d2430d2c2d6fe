//! Which keys each hypothesis sees, and which keys are still needed.
//!
//! A key is stored once, whichever hypotheses grew out of it. A hypothesis sees the prefix, the keys of its ancestors
//! and its own. This module turns that into masks, and finds the keys that no living hypothesis needs. It handles
//! positions only; the tensors are the [`cache`](super::cache)'s.
//!
//! Keys have two parts: recent ones, which each step extends by one for each place of a slot, and settled ones, which
//! no step copies. In a mask, the recent keys and those of the step itself come first, then the settled ones.

/// A mask's width is a multiple of this. ONNX Runtime sums a row's exponentials in blocks of 64 and the remainder in
/// another way; with whole blocks, sums are made in the same order whatever the number of keys.
const BLOCK: usize = 64;

/// Is added to the score of a key that a token does not see, which brings its weight to 0. Half precision ends at
/// −65,504.
const UNSEEN: f32 = -3e4;

/// A hypothesis's place in the batch, and the place in the same slot of the hypothesis that it continues.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CacheRow {
    pub(crate) slot: usize,
    pub(crate) place: usize,
    pub(crate) source: usize,
}

/// Which keys there are, and which of them each hypothesis has read.
#[derive(Debug, Default)]
pub(crate) struct Visibility {
    /// Places of a slot: the keys that a step adds to it.
    pub(crate) width: usize,
    /// Settled keys of the prefix; they come first, and every hypothesis of the slot sees them.
    pub(crate) prefix: usize,
    /// Settled keys of a slot. Slots have different numbers of them; this is the largest, and no hypothesis sees the
    /// rest.
    pub(crate) settled: usize,
    /// Recent keys of a slot.
    pub(crate) recent: usize,
    /// By slot and place: what the hypothesis of the last run has read besides the prefix, including itself.
    read: Vec<Vec<Option<KeysRead>>>,
}

/// The keys that a hypothesis has read, by their positions in each part.
#[derive(Debug, Default, Clone, PartialEq)]
struct KeysRead {
    settled: Vec<u32>,
    recent: Vec<u32>,
}

impl Visibility {
    /// No keys yet, for `slots` slots of `width` places.
    pub(crate) fn new(slots: usize, width: usize) -> Visibility {
        Visibility { width, read: vec![vec![None; width]; slots], ..Visibility::default() }
    }

    /// Columns of a mask in the next run.
    fn columns(&self) -> usize {
        (self.settled + self.recent + self.width).next_multiple_of(BLOCK)
    }

    /// The mask of a prefix, for one slot: each of its vectors sees itself and those before it.
    pub(crate) fn causal_mask(&self) -> Vec<f32> {
        let columns = self.columns();
        (0..self.width).flat_map(|row| (0..columns).map(move |key| if key <= row { 0.0 } else { UNSEEN })).collect()
    }

    /// Takes the hypotheses of the next run and returns their mask: slots × places × columns.
    pub(crate) fn extend(&mut self, rows: &[CacheRow]) -> Vec<f32> {
        let (own, columns) = (self.recent, self.columns());
        let first_settled = own + self.width;
        let mut next = vec![vec![None; self.width]; self.read.len()];
        let mut mask = vec![UNSEEN; self.read.len() * self.width * columns];
        for &CacheRow { slot, place, source } in rows {
            let mut read = self.read[slot][source].clone().unwrap_or_default();
            read.recent.push((own + place) as u32);
            let row = &mut mask[(slot * self.width + place) * columns..][..columns];
            row[first_settled..first_settled + self.prefix].fill(0.0);
            read.recent.iter().for_each(|&key| row[key as usize] = 0.0);
            read.settled.iter().for_each(|&key| row[first_settled + key as usize] = 0.0);
            next[slot][place] = Some(read);
        }
        self.read = next;
        mask
    }

    /// Settles the recent keys that a living hypothesis has read. The slots `stay` become the first ones, in their
    /// order; `new` slots with nothing but a prefix come after them.
    ///
    /// Returns the keys that each slot keeps, in order. Settled keys are given by their old positions and recent keys
    /// count on from those; in new slots, the positions are those in the prefix.
    pub(crate) fn settle(&mut self, stay: &[usize], new: usize) -> Vec<Vec<usize>> {
        let (old, all) = (self.settled, self.settled + self.recent);
        let mut read = Vec::with_capacity(stay.len() + new);
        let mut kept: Vec<Vec<usize>> = Vec::with_capacity(stay.len() + new);
        for &slot in stay {
            let mut slot = std::mem::take(&mut self.read[slot]);
            let mut needed = vec![false; all];
            needed[..self.prefix].fill(true);
            for keys in slot.iter().flatten() {
                keys.settled.iter().for_each(|&key| needed[key as usize] = true);
                keys.recent.iter().for_each(|&key| needed[old + key as usize] = true);
            }
            let keys: Vec<usize> = (0..all).filter(|&key| needed[key]).collect();
            let mut position = vec![0; all];
            keys.iter().enumerate().for_each(|(n, &key)| position[key] = n as u32);
            for keys in slot.iter_mut().flatten() {
                keys.settled.iter_mut().for_each(|key| *key = position[*key as usize]);
                keys.settled.extend(keys.recent.drain(..).map(|key| position[old + key as usize]));
            }
            kept.push(keys);
            read.push(slot);
        }
        kept.resize(stay.len() + new, (0..self.prefix).collect());
        let mut fresh = vec![None; self.width];
        fresh[0] = Some(KeysRead::default());
        read.resize(stay.len() + new, fresh);
        self.read = read;
        self.settled = kept.iter().map(Vec::len).max().unwrap_or(0);
        self.recent = 0;
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The columns that each row sees.
    fn seen(mask: &[f32], columns: usize) -> Vec<Vec<usize>> {
        let row = |row: &[f32]| (0..columns).filter(|&c| row[c] == 0.0).collect();
        mask.chunks(columns).map(row).collect()
    }

    fn places(rows: &[[usize; 3]]) -> Vec<CacheRow> {
        rows.iter().map(|&[slot, place, source]| CacheRow { slot, place, source }).collect()
    }

    fn visibility(width: usize) -> Visibility {
        Visibility { width, ..Visibility::default() }
    }

    #[test]
    fn a_prefix_is_causal() {
        assert_eq!(seen(&visibility(3).causal_mask(), 64), [vec![0], vec![0, 1], vec![0, 1, 2]]);
    }

    #[test]
    fn a_row_sees_its_ancestors_and_keys_without_descendants_are_dropped() {
        // Two slots with a prefix of three keys, and places for two hypotheses.
        let mut visibility = Visibility { prefix: 3, ..visibility(2) };
        assert_eq!(visibility.settle(&[], 2), [[0, 1, 2]; 2]);
        assert_eq!((visibility.settled, visibility.recent), (3, 0));
        // Two beams grow out of each prefix: the prefix's keys come after the two new ones.
        let mask = visibility.extend(&places(&[[0, 0, 0], [0, 1, 0], [1, 0, 0], [1, 1, 0]]));
        assert_eq!(seen(&mask, 64)[..3], [vec![0, 2, 3, 4], vec![1, 2, 3, 4], vec![0, 2, 3, 4]]);
        visibility.recent += 2;
        // Both hypotheses of the first slot continue its second; those of the second slot change places.
        let mask = visibility.extend(&places(&[[0, 0, 1], [0, 1, 1], [1, 0, 1], [1, 1, 0]]));
        assert_eq!(
            seen(&mask, 64),
            [vec![1, 2, 4, 5, 6], vec![1, 3, 4, 5, 6], vec![1, 2, 4, 5, 6], vec![0, 3, 4, 5, 6]]
        );
        visibility.recent += 2;
        // The first slot's key 3, its first beam's first, has no child.
        assert_eq!(visibility.settle(&[0, 1], 0), [vec![0, 1, 2, 4, 5, 6], vec![0, 1, 2, 3, 4, 5, 6]]);
        let mask = visibility.extend(&places(&[[0, 0, 0], [0, 1, 1], [1, 0, 0], [1, 1, 1]]));
        assert_eq!(
            seen(&mask, 64),
            [vec![0, 2, 3, 4, 5, 6], vec![1, 2, 3, 4, 5, 7], vec![0, 2, 3, 4, 6, 7], vec![1, 2, 3, 4, 5, 8]]
        );
    }

    #[test]
    fn an_empty_place_sees_and_keeps_nothing() {
        let mut visibility = Visibility { prefix: 1, ..visibility(2) };
        visibility.settle(&[], 2);
        // One hypothesis of the first slot has stopped, and all of the second slot.
        let mask = visibility.extend(&places(&[[0, 1, 0]]));
        assert_eq!(seen(&mask, 64), [vec![], vec![1, 2], vec![], vec![]]);
        visibility.recent += 2;
        assert_eq!(visibility.settle(&[0], 0), [[0, 2]]);
    }

    #[test]
    fn slots_that_stay_move_up_and_new_ones_have_a_prefix() {
        let mut visibility = Visibility { prefix: 2, ..visibility(1) };
        visibility.settle(&[], 3);
        visibility.extend(&places(&[[0, 0, 0], [1, 0, 0], [2, 0, 0]]));
        visibility.recent += 1;
        assert_eq!(visibility.settle(&[2], 1), [vec![0, 1, 2], vec![0, 1]]);
        let mask = visibility.extend(&places(&[[0, 0, 0], [1, 0, 0]]));
        assert_eq!(seen(&mask, 64), [vec![0, 1, 2, 3], vec![0, 1, 2]]);
    }

    #[test]
    fn columns_are_whole_blocks_of_a_sum() {
        let columns = |width| Visibility { prefix: 10, settled: 50, recent: 20, ..visibility(width) }.columns();
        assert_eq!([0, 5, 58, 59].map(columns), [128, 128, 128, 192]);
    }
}
