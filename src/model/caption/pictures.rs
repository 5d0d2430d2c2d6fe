//! Where the pictures of a batch come from.

use super::input::CaptionInput;

/// A source of pictures that arrive one after the other.
pub trait Pictures {
    /// Returns the pictures that have arrived, at most `most`. If there are none and `wait` is set, waits for one; an
    /// empty answer then means that the source has ended.
    fn more(&mut self, most: usize, wait: bool) -> Vec<CaptionInput>;
}

/// Pictures that are all there.
pub(crate) struct PictureSlice<'p>(pub(crate) std::slice::Iter<'p, &'p CaptionInput>);

impl Pictures for PictureSlice<'_> {
    fn more(&mut self, most: usize, _wait: bool) -> Vec<CaptionInput> {
        self.0.by_ref().take(most).map(|&picture| picture.clone()).collect()
    }
}
