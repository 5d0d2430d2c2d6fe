//! Writes files of the index; see [`vector_file`](super::vector_file).
//!
//! Memory: the columns of one file, at most [`FILE_BYTES`].

use std::io::{self, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::quantize::QuantizedVector;
use super::vector_file::{ALIGNMENT, EXTENSION, FACT_BYTES, FileLayout, RowFacts};
use crate::atomic_file::AtomicFile;
use crate::digest::hex;

/// Largest size of a file, roughly. Large enough that a million keyframes need a few dozen files, small enough to collect
/// in memory.
const FILE_BYTES: usize = 64 << 20;

/// Collects the rows of a file.
pub(crate) struct VectorFileBuilder {
    dimension: usize,
    capacity: usize,
    codes: Vec<i8>,
    /// Scales, errors and lengths.
    floats: [Vec<f32>; 3],
    facts: Vec<RowFacts>,
    exact: Vec<f32>,
}

impl VectorFileBuilder {
    pub(crate) fn new(dimension: usize) -> VectorFileBuilder {
        let row = dimension.next_multiple_of(ALIGNMENT) + 4 * dimension + FACT_BYTES.iter().sum::<usize>();
        VectorFileBuilder {
            dimension,
            capacity: (FILE_BYTES / row.max(1)).max(1),
            codes: Vec::new(),
            floats: Default::default(),
            facts: Vec::new(),
            exact: Vec::new(),
        }
    }

    /// Rows of a full file.
    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(crate) fn rows(&self) -> usize {
        self.facts.len()
    }

    pub(super) fn dimension(&self) -> usize {
        self.dimension
    }

    pub(super) fn is_full(&self) -> bool {
        self.rows() >= self.capacity
    }

    /// Adds a row. Its embedding must have the builder's dimension and finite values.
    pub(crate) fn push(&mut self, facts: RowFacts, embedding: &[f32]) {
        let quantized = QuantizedVector::of(embedding);
        self.codes.extend_from_slice(&quantized.codes);
        self.codes.resize((self.rows() + 1) * self.dimension.next_multiple_of(ALIGNMENT), 0);
        for (column, value) in self.floats.iter_mut().zip([quantized.scale, quantized.error, quantized.length]) {
            column.push(value);
        }
        self.facts.push(facts);
        self.exact.extend_from_slice(embedding);
    }

    /// Writes the file into a folder, whole or not at all, and returns its name. Empties the builder.
    pub(crate) fn write(&mut self, folder: &Path) -> io::Result<String> {
        let full = std::mem::replace(self, VectorFileBuilder::new(self.dimension));
        let mut hash = Sha256::new();
        full.write_to(&mut |bytes| {
            hash.update(bytes);
            Ok(())
        })?;
        let name = format!("{}.{EXTENSION}", hex(&hash.finalize()[..16]));
        let mut file = AtomicFile::create(&folder.join(&name), true)?;
        full.write_to(&mut |bytes| file.write_all(bytes))?;
        file.commit()?;
        Ok(name)
    }

    /// Passes the file's bytes to `write`, from first to last.
    fn write_to(&self, write: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let layout = FileLayout::new(self.dimension, self.rows()).ok_or_else(|| io::Error::other("too many rows"))?;
        write(&layout.header())?;
        let (mut at, mut starts) = (ALIGNMENT, layout.columns.iter().map(|c| c.start));
        let mut column = |bytes: &[u8]| {
            let start = starts.next().unwrap_or(at);
            write(&[0; ALIGNMENT][..start - at])?;
            at = start + bytes.len();
            write(bytes)
        };
        column(bytemuck::cast_slice(&self.codes))?;
        for floats in &self.floats {
            column(bytemuck::cast_slice(floats))?;
        }
        let numbers: [fn(&RowFacts) -> u32; 6] =
            [|f| f.video, |f| f.number, |f| f.scene as u32, |f| f.text, |f| f.screen, |f| f.score.to_bits()];
        for number in numbers {
            column(bytemuck::cast_slice(&self.facts.iter().map(number).collect::<Vec<u32>>()))?;
        }
        let times: [fn(&RowFacts) -> i64; 3] = [|f| f.start_ms, |f| f.end_ms, |f| f.keyframe_ms];
        for time in times {
            column(bytemuck::cast_slice(&self.facts.iter().map(time).collect::<Vec<i64>>()))?;
        }
        column(&self.facts.iter().map(|f| u8::from(f.thumbnail)).collect::<Vec<u8>>())?;
        column(bytemuck::cast_slice(&self.exact))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs;

    use super::*;
    use crate::archive::search::index::vector_file::VectorFile;

    pub(crate) fn facts(number: usize) -> RowFacts {
        RowFacts {
            video: 1,
            number: number as u32,
            scene: 1 + number as i32 / 2,
            text: number as u32 % 5,
            screen: number as u32 % 3,
            start_ms: number as i64 * 1_000,
            end_ms: number as i64 * 1_000 + 1_000,
            keyframe_ms: number as i64 * 1_000 + 500,
            score: if number.is_multiple_of(3) { f32::NAN } else { number as f32 / 100.0 },
            thumbnail: number.is_multiple_of(2),
        }
    }

    #[test]
    fn files_round_trip() {
        let dir = tempfile::tempdir().unwrap();
        let mut builder = VectorFileBuilder::new(70);
        let vector = |n: usize| -> Vec<f32> { (0..70).map(|i| ((n * 70 + i) as f32).sin()).collect() };
        (0..33).for_each(|n| builder.push(facts(n), &vector(n)));
        let name = builder.write(dir.path()).unwrap();
        assert_eq!(builder.rows(), 0);
        let file = VectorFile::open(&dir.path().join(&name), 70, 33).unwrap();
        for n in 0..33 {
            assert_eq!(format!("{:?}", file.facts(n)), format!("{:?}", facts(n)));
            assert_eq!(file.embedding(n), vector(n));
            let coded = QuantizedVector::of(&vector(n));
            assert_eq!(file.codes()[n * 128..n * 128 + 70], coded.codes);
            assert_eq!(file.codes()[n * 128 + 70..(n + 1) * 128], [0; 58]);
        }
        // The same rows, the same name.
        (0..33).for_each(|n| builder.push(facts(n), &vector(n)));
        assert_eq!(builder.write(dir.path()).unwrap(), name);
        for (width, rows) in [(70, 32), (69, 33), (usize::MAX, 33), (70, usize::MAX / 2)] {
            let e = VectorFile::open(&dir.path().join(&name), width, rows).err().unwrap();
            assert_eq!(e.kind(), io::ErrorKind::InvalidData);
        }
        let mut bytes = fs::read(dir.path().join(&name)).unwrap();
        bytes[3] ^= 1;
        fs::write(dir.path().join("other"), &bytes).unwrap();
        assert!(VectorFile::open(&dir.path().join("other"), 70, 33).is_err());
        let files = fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(files, 2, "no partial file is left");
    }
}
