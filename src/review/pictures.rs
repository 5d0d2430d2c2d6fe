//! Pictures of the film that were made, so that they are not made again.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Keeps the pictures that were used last.
pub(super) struct PictureCache {
    most: usize,
    /// By their times in milliseconds: a picture, and when it was used last.
    pictures: HashMap<u32, (Arc<[u8]>, u64)>,
    /// The times, by when they were used last.
    uses: BTreeMap<u64, u32>,
    next: u64,
}

impl PictureCache {
    /// `most`: how many are kept, at least 1.
    pub(super) fn new(most: usize) -> PictureCache {
        PictureCache { most: most.max(1), pictures: HashMap::new(), uses: BTreeMap::new(), next: 0 }
    }

    pub(super) fn get(&mut self, at: u32) -> Option<Arc<[u8]>> {
        let now = self.next;
        let (picture, used) = self.pictures.get_mut(&at)?;
        self.uses.remove(used);
        *used = now;
        self.next += 1;
        self.uses.insert(now, at);
        Some(picture.clone())
    }

    pub(super) fn add(&mut self, at: u32, picture: Arc<[u8]>) {
        if let Some((_, used)) = self.pictures.remove(&at) {
            self.uses.remove(&used);
        }
        if self.pictures.len() >= self.most
            && let Some((_, oldest)) = self.uses.pop_first()
        {
            self.pictures.remove(&oldest);
        }
        self.pictures.insert(at, (picture, self.next));
        self.uses.insert(self.next, at);
        self.next += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_were_used_last_are_kept() {
        let mut cache = PictureCache::new(2);
        let picture = |n: u8| Arc::from([n]);
        cache.add(1, picture(1));
        cache.add(2, picture(2));
        assert_eq!(cache.get(1).as_deref(), Some(&[1][..]));
        cache.add(3, picture(3));
        assert!(cache.get(2).is_none() && cache.get(1).is_some() && cache.get(3).is_some());
        cache.add(3, picture(4));
        assert_eq!(cache.get(3).as_deref(), Some(&[4][..]));
        assert_eq!((cache.pictures.len(), cache.uses.len()), (2, 2));
    }
}
