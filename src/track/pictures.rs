//! The thumbnails of a film's scenes, in a temporary file until its page is written.
//!
//! The file has no name, so that nothing is left of it. Memory: 16 bytes a scene.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::{Arc, Mutex, PoisonError};

/// Most bytes of the pictures of one film: a browser holds the whole page.
const MOST: u64 = 256 << 20;

/// Where a picture is in the file: its start and its length.
type StoredPicture = (u64, u32);

/// Takes the pictures of a film.
#[derive(Debug)]
pub(crate) struct PictureWriter {
    store: PictureStore,
    /// Most bytes.
    most: u64,
}

/// The pictures of a film.
#[derive(Debug, Clone, Default)]
pub struct PictureStore {
    /// None if there is no picture.
    file: Option<Arc<Mutex<File>>>,
    length: u64,
    /// One a scene; none where it has no picture.
    places: Vec<Option<StoredPicture>>,
    /// The first scene whose picture is left out, because there is no room for more.
    full: Option<usize>,
    /// Why pictures are missing.
    fault: Option<Arc<io::Error>>,
}

impl Default for PictureWriter {
    fn default() -> PictureWriter {
        PictureWriter { store: PictureStore::default(), most: MOST }
    }
}

impl PictureWriter {
    /// Takes the picture of the next scene, if it has one. What goes wrong is kept for [`PictureStore::fault`].
    pub(crate) fn push(&mut self, picture: Option<&[u8]>) {
        let store = &mut self.store;
        let scene = store.places.len();
        let place = picture.filter(|_| store.fault.is_none() && store.full.is_none()).and_then(|picture| {
            if store.length + picture.len() as u64 > self.most {
                store.full = Some(scene);
                return None;
            }
            store.append(picture).map_err(|e| store.fault = Some(Arc::new(e))).ok()
        });
        store.places.push(place);
    }

    /// All pictures are there.
    pub(crate) fn finish(self) -> PictureStore {
        self.store
    }
}

impl PictureStore {
    fn append(&mut self, picture: &[u8]) -> io::Result<StoredPicture> {
        let file = match &self.file {
            Some(file) => file,
            none => {
                debug_assert!(none.is_none());
                self.file.insert(Arc::new(Mutex::new(tempfile::tempfile()?)))
            }
        };
        let place = (self.length, u32::try_from(picture.len()).map_err(io::Error::other)?);
        file.lock().unwrap_or_else(PoisonError::into_inner).write_all(picture)?;
        self.length += picture.len() as u64;
        Ok(place)
    }

    /// The picture of a scene as JPEG; none where there is none.
    ///
    /// # Errors
    /// When the temporary file cannot be read.
    pub fn read(&self, scene: usize) -> io::Result<Option<Vec<u8>>> {
        let (Some(Some((start, length))), Some(file)) = (self.places.get(scene), &self.file) else { return Ok(None) };
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(*start))?;
        let mut picture = vec![0; *length as usize];
        file.read_exact(&mut picture)?;
        Ok(Some(picture))
    }

    /// The first scene, from 0, whose picture is left out, because those before it take 256 MB.
    pub fn full(&self) -> Option<usize> {
        self.full
    }

    /// Why pictures are missing: the temporary file could not be written.
    pub fn fault(&self) -> Option<&io::Error> {
        self.fault.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_come_out_as_they_went_in() {
        let mut writer = PictureWriter::default();
        let pictures = [Some(&b"one"[..]), None, Some(b""), Some(b"four")];
        pictures.iter().for_each(|picture| writer.push(*picture));
        let store = writer.finish();
        for (scene, picture) in pictures.iter().enumerate().rev() {
            assert_eq!(store.read(scene).unwrap().as_deref(), *picture);
        }
        assert_eq!(store.clone().read(4).unwrap(), None);
        assert!(store.full().is_none() && store.fault().is_none());
        assert_eq!(PictureStore::default().read(0).unwrap(), None);
    }

    #[test]
    fn pictures_beyond_the_limit_are_left_out() {
        let mut writer = PictureWriter { most: 7, ..PictureWriter::default() };
        [&b"one"[..], b"four", b"x", b""].iter().for_each(|picture| writer.push(Some(picture)));
        let store = writer.finish();
        assert_eq!((store.full(), store.length), (Some(2), 7));
        assert_eq!(store.read(1).unwrap().as_deref(), Some(&b"four"[..]));
        assert_eq!((store.read(2).unwrap(), store.read(3).unwrap()), (None, None));
    }
}
