//! What was made for the page, pictures or speech, so that it is not made again.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::Arc;

/// Keeps what was used last.
pub(super) struct MadeCache<K> {
    /// Most bytes of all things together.
    most: usize,
    bytes: usize,
    /// A thing, and when it was used last.
    things: HashMap<K, (Arc<[u8]>, u64)>,
    /// By when they were used last.
    uses: BTreeMap<u64, K>,
    next: u64,
}

impl<K: Clone + Eq + Hash> MadeCache<K> {
    /// `most`: bytes that are kept. A thing that is larger alone is not kept.
    pub(super) fn new(most: usize) -> MadeCache<K> {
        MadeCache { most, bytes: 0, things: HashMap::new(), uses: BTreeMap::new(), next: 0 }
    }

    pub(super) fn get(&mut self, key: &K) -> Option<Arc<[u8]>> {
        let now = self.next;
        let (thing, used) = self.things.get_mut(key)?;
        self.uses.remove(used);
        *used = now;
        self.next += 1;
        self.uses.insert(now, key.clone());
        Some(thing.clone())
    }

    pub(super) fn add(&mut self, key: K, thing: Arc<[u8]>) {
        if let Some((old, used)) = self.things.remove(&key) {
            self.uses.remove(&used);
            self.bytes -= old.len();
        }
        if thing.len() > self.most {
            return;
        }
        while self.bytes + thing.len() > self.most
            && let Some((_, oldest)) = self.uses.pop_first()
        {
            self.bytes -= self.things.remove(&oldest).map_or(0, |(old, _)| old.len());
        }
        self.bytes += thing.len();
        self.uses.insert(self.next, key.clone());
        self.things.insert(key, (thing, self.next));
        self.next += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_were_used_last_are_kept() {
        let mut cache = MadeCache::new(20);
        let thing = |n: u8, bytes| Arc::from(vec![n; bytes]);
        cache.add(1, thing(1, 10));
        cache.add(2, thing(2, 10));
        assert_eq!(cache.get(&1).as_deref(), Some(&[1; 10][..]));
        cache.add(3, thing(3, 10));
        assert!(cache.get(&2).is_none() && cache.get(&1).is_some() && cache.get(&3).is_some());
        cache.add(3, thing(4, 2));
        assert_eq!(cache.get(&3).as_deref(), Some(&[4; 2][..]));
        cache.add(5, thing(5, 18));
        assert!(cache.get(&1).is_none() && cache.get(&3).is_some() && cache.get(&5).is_some());
        assert_eq!((cache.things.len(), cache.uses.len(), cache.bytes), (2, 2, 20));
        // What is larger than all is not kept, and costs nothing else its place.
        cache.add(6, thing(6, 21));
        assert!(cache.get(&6).is_none() && cache.get(&5).is_some());
        cache.add(5, thing(5, 21));
        assert_eq!((cache.things.len(), cache.bytes), (1, 2));
    }
}
