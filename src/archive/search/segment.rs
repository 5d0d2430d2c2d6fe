//! One file of the index: keyframes of one model, packed column by column, read through a memory map.
//!
//! A vector is there twice: in whole numbers of eight bits, which a scan reads, and as it was, which only the few that may
//! be among the best are scored by. Each row says how far the first is from the second, so that a scan knows what it may
//! leave out. A file is named by its own content and never changed, so that nobody can read another under its name; what
//! is replaced is removed, and stays readable for whoever has it open.
//!
//! Memory: a builder holds the columns of one file, at most [`BYTES`]; a reader holds a map, which the system may drop.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::ops::Range;
use std::path::Path;

use memmap2::Mmap;
use sha2::{Digest, Sha256};

use crate::digest::hex;

/// What a file begins with.
const MAGIC: &[u8; 16] = b"descry-vectors/1";
/// Bytes of a file at most, roughly: a row more is no harm.
const BYTES: usize = 64 << 20;
/// Columns begin at multiples of this, and so do the rows of the codes: a cache line.
const LINE: usize = 64;
/// Extension of the files.
pub(super) const EXTENSION: &str = "vectors";

/// What is known of a row beside its vector.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Facts {
    /// Number of the video in the index.
    pub video: u32,
    /// Which of the video's keyframes it is, from 0.
    pub number: u32,
    pub scene: i32,
    /// Number of its caption in the index; 0 where it has none.
    pub text: u32,
    pub start_ms: i64,
    pub end_ms: i64,
    pub keyframe_ms: i64,
    /// Of the caption; NaN where there is none.
    pub score: f32,
    pub thumbnail: bool,
}

/// A vector in whole numbers: `scale × codes`, which is `error` away from it and `length` long.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Coded {
    pub codes: Vec<i8>,
    pub scale: f32,
    pub error: f32,
    pub length: f32,
}

impl Coded {
    pub fn of(vector: &[f32]) -> Coded {
        let most = vector.iter().fold(0.0f32, |most, v| most.max(v.abs()));
        let scale = most / 127.0;
        // A scale that is zero or no normal number would make codes of noise: nothing is left to the codes then.
        if !scale.is_normal() {
            return Coded { codes: vec![0; vector.len()], scale: 0.0, error: above(length(vector)), length: 0.0 };
        }
        let codes: Vec<i8> = vector.iter().map(|v| (v / scale).round().clamp(-127.0, 127.0) as i8).collect();
        let kept = || codes.iter().map(|&c| f64::from(scale) * f64::from(c));
        let error = vector.iter().zip(kept()).map(|(v, k)| (f64::from(*v) - k).powi(2)).sum::<f64>().sqrt();
        let length = kept().map(|k| k * k).sum::<f64>().sqrt();
        Coded { scale, error: above(error), length: above(length), codes }
    }
}

fn length(vector: &[f32]) -> f64 {
    vector.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt()
}

/// A float that is not below the value.
fn above(value: f64) -> f32 {
    let near = value as f32;
    if f64::from(near) < value { near.next_up() } else { near }
}

/// Where the columns of a file are.
#[derive(Debug, Clone)]
struct Layout {
    width: usize,
    rows: usize,
    stride: usize,
    /// Codes, then four bytes a row seven times, eight bytes a row three times, one byte a row, and the vectors.
    columns: Vec<Range<usize>>,
}

const FACTS: [usize; 12] = [4, 4, 4, 4, 4, 4, 4, 4, 8, 8, 8, 1];
const CODES: usize = 0;
const SCALE: usize = 1;
const ERROR: usize = 2;
const LENGTH: usize = 3;
const VIDEO: usize = 4;
const NUMBER: usize = 5;
const SCENE: usize = 6;
const TEXT: usize = 7;
const SCORE: usize = 8;
const START: usize = 9;
const END: usize = 10;
const KEYFRAME: usize = 11;
const FLAGS: usize = 12;
const EXACT: usize = 13;

impl Layout {
    /// None where the numbers are too large to be true.
    fn new(width: usize, rows: usize) -> Option<Layout> {
        let stride = width.checked_next_multiple_of(LINE)?;
        let mut at = LINE;
        let mut columns = Vec::new();
        for bytes in [stride].into_iter().chain(FACTS).chain([width.checked_mul(4)?]) {
            let end = at.checked_add(bytes.checked_mul(rows)?)?;
            columns.push(at..end);
            at = end.checked_next_multiple_of(LINE)?;
        }
        Some(Layout { width, rows, stride, columns })
    }

    fn bytes(&self) -> usize {
        self.columns[EXACT].end
    }

    fn header(&self) -> [u8; LINE] {
        let mut header = [0; LINE];
        header[..16].copy_from_slice(MAGIC);
        header[16..24].copy_from_slice(&(self.width as u64).to_ne_bytes());
        header[24..32].copy_from_slice(&(self.rows as u64).to_ne_bytes());
        header
    }
}

/// Collects the rows of a file.
pub struct Builder {
    width: usize,
    most: usize,
    codes: Vec<i8>,
    floats: [Vec<f32>; 3],
    facts: Vec<Facts>,
    exact: Vec<f32>,
}

impl Builder {
    pub fn new(width: usize) -> Builder {
        let row = width.next_multiple_of(LINE) + 4 * width + FACTS.iter().sum::<usize>();
        let most = (BYTES / row.max(1)).max(1);
        Builder { width, most, codes: Vec::new(), floats: Default::default(), facts: Vec::new(), exact: Vec::new() }
    }

    /// Rows of a full file of this width.
    pub fn most(&self) -> usize {
        self.most
    }

    pub fn rows(&self) -> usize {
        self.facts.len()
    }

    pub fn width(&self) -> usize {
        self.width
    }

    pub fn is_full(&self) -> bool {
        self.rows() >= self.most
    }

    /// Adds a row; its vector must have the builder's width, and be made of numbers.
    pub fn push(&mut self, facts: Facts, vector: &[f32]) {
        let coded = Coded::of(vector);
        self.codes.extend_from_slice(&coded.codes);
        self.codes.resize((self.rows() + 1) * self.width.next_multiple_of(LINE), 0);
        for (column, value) in self.floats.iter_mut().zip([coded.scale, coded.error, coded.length]) {
            column.push(value);
        }
        self.facts.push(facts);
        self.exact.extend_from_slice(vector);
    }

    /// Writes the file into a folder, whole or not at all, and gives its name. The builder is empty then.
    pub fn write(&mut self, folder: &Path) -> io::Result<String> {
        let layout = Layout::new(self.width, self.rows()).ok_or_else(|| io::Error::other("too many rows"))?;
        let part = folder.join(format!("{}.part", std::process::id()));
        let written = (|| {
            let mut to = Hashing { to: BufWriter::new(File::create(&part)?), hash: Sha256::new(), at: 0 };
            to.all(0, &layout.header())?;
            let mut column = 0;
            let mut next = |to: &mut Hashing<_>, bytes: &[u8]| {
                column += 1;
                to.all(layout.columns[column - 1].start, bytes)
            };
            next(&mut to, bytemuck::cast_slice(&self.codes))?;
            for floats in &self.floats {
                next(&mut to, bytemuck::cast_slice(floats))?;
            }
            let words = |of: fn(&Facts) -> u32| -> Vec<u32> { self.facts.iter().map(of).collect() };
            for of in [|f| f.video, |f| f.number, |f| f.scene as u32, |f| f.text, |f| f.score.to_bits()]
                as [fn(&Facts) -> u32; 5]
            {
                next(&mut to, bytemuck::cast_slice(&words(of)))?;
            }
            for of in [|f| f.start_ms, |f| f.end_ms, |f| f.keyframe_ms] as [fn(&Facts) -> i64; 3] {
                let times: Vec<i64> = self.facts.iter().map(of).collect();
                next(&mut to, bytemuck::cast_slice(&times))?;
            }
            let flags: Vec<u8> = self.facts.iter().map(|f| u8::from(f.thumbnail)).collect();
            next(&mut to, &flags)?;
            next(&mut to, bytemuck::cast_slice(&self.exact))?;
            let hash = hex(&to.hash.finalize()[..16]);
            to.to.into_inner().map_err(|e| e.into_error())?.sync_all()?;
            let name = format!("{hash}.{EXTENSION}");
            fs::rename(&part, folder.join(&name))?;
            Ok(name)
        })();
        if written.is_err() {
            let _ = fs::remove_file(&part);
        }
        *self = Builder::new(self.width);
        written
    }
}

struct Hashing<W> {
    to: W,
    hash: Sha256,
    at: usize,
}

impl<W: Write> Hashing<W> {
    /// Writes bytes that begin at a place, with zeros before them.
    fn all(&mut self, place: usize, bytes: &[u8]) -> io::Result<()> {
        let gap = [0; LINE];
        for piece in [&gap[..place.saturating_sub(self.at)], bytes] {
            self.hash.update(piece);
            self.to.write_all(piece)?;
            self.at += piece.len();
        }
        Ok(())
    }
}

/// A file that is open.
pub struct Segment {
    map: Mmap,
    layout: Layout,
}

impl Segment {
    /// Opens a file. `InvalidData` where it is not one, or not of this width and number of rows.
    pub fn open(path: &Path, width: usize, rows: usize) -> io::Result<Segment> {
        let file = File::open(path)?;
        let damaged = |cause: String| io::Error::new(io::ErrorKind::InvalidData, cause);
        let layout = Layout::new(width, rows).ok_or_else(|| damaged("its size cannot be".into()))?;
        let bytes = file.metadata()?.len();
        if bytes != layout.bytes() as u64 {
            return Err(damaged(format!("it has {bytes} bytes in place of {}", layout.bytes())));
        }
        // SAFETY: these files are written once, under a name that nobody else has, and never changed after they got it;
        // what replaces one has another name, and a removed one keeps its content as long as it is mapped.
        let map = unsafe { Mmap::map(&file)? };
        if map.get(..LINE) != Some(&layout.header()[..]) {
            return Err(damaged("it does not begin as it should".into()));
        }
        Ok(Segment { map, layout })
    }

    pub fn rows(&self) -> usize {
        self.layout.rows
    }

    pub fn width(&self) -> usize {
        self.layout.width
    }

    pub(super) fn stride(&self) -> usize {
        self.layout.stride
    }

    fn column<T: bytemuck::Pod>(&self, column: usize) -> &[T] {
        // The header was checked against the file's length, and columns begin at whole cache lines of a map, which
        // begins at a page.
        bytemuck::cast_slice(&self.map[self.layout.columns[column].clone()])
    }

    pub(super) fn codes(&self) -> &[i8] {
        self.column(CODES)
    }

    pub(super) fn scales(&self) -> &[f32] {
        self.column(SCALE)
    }

    pub(super) fn errors(&self) -> &[f32] {
        self.column(ERROR)
    }

    pub(super) fn lengths(&self) -> &[f32] {
        self.column(LENGTH)
    }

    pub(super) fn videos(&self) -> &[u32] {
        self.column(VIDEO)
    }

    pub(super) fn texts(&self) -> &[u32] {
        self.column(TEXT)
    }

    pub(super) fn scores(&self) -> &[f32] {
        self.column(SCORE)
    }

    pub(super) fn starts(&self) -> &[i64] {
        self.column(START)
    }

    pub(super) fn ends(&self) -> &[i64] {
        self.column(END)
    }

    pub(super) fn numbers(&self) -> &[u32] {
        self.column(NUMBER)
    }

    pub fn facts(&self, row: usize) -> Facts {
        Facts {
            video: self.videos()[row],
            number: self.numbers()[row],
            scene: self.column::<i32>(SCENE)[row],
            text: self.texts()[row],
            start_ms: self.starts()[row],
            end_ms: self.ends()[row],
            keyframe_ms: self.column::<i64>(KEYFRAME)[row],
            score: self.scores()[row],
            thumbnail: self.column::<u8>(FLAGS)[row] & 1 != 0,
        }
    }

    /// The vector as it was.
    pub fn vector(&self, row: usize) -> &[f32] {
        let width = self.layout.width;
        &self.column(EXACT)[row * width..(row + 1) * width]
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub fn facts(number: usize) -> Facts {
        Facts {
            video: 1,
            number: number as u32,
            scene: 1 + number as i32 / 2,
            text: number as u32 % 5,
            start_ms: number as i64 * 1_000,
            end_ms: number as i64 * 1_000 + 1_000,
            keyframe_ms: number as i64 * 1_000 + 500,
            score: if number.is_multiple_of(3) { f32::NAN } else { number as f32 / 100.0 },
            thumbnail: number.is_multiple_of(2),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let mut builder = Builder::new(70);
        let vector = |n: usize| -> Vec<f32> { (0..70).map(|i| ((n * 70 + i) as f32).sin()).collect() };
        (0..33).for_each(|n| builder.push(facts(n), &vector(n)));
        let name = builder.write(dir.path()).unwrap();
        assert_eq!(builder.rows(), 0);
        let segment = Segment::open(&dir.path().join(&name), 70, 33).unwrap();
        for n in 0..33 {
            assert_eq!(format!("{:?}", segment.facts(n)), format!("{:?}", facts(n)));
            assert_eq!(segment.vector(n), vector(n));
            let coded = Coded::of(&vector(n));
            assert_eq!(segment.codes()[n * 128..n * 128 + 70], coded.codes);
            assert_eq!(segment.codes()[n * 128 + 70..(n + 1) * 128], [0; 58]);
        }
        // The same rows, the same name.
        (0..33).for_each(|n| builder.push(facts(n), &vector(n)));
        assert_eq!(builder.write(dir.path()).unwrap(), name);
        for (width, rows) in [(70, 32), (69, 33), (usize::MAX, 33), (70, usize::MAX / 2)] {
            let e = Segment::open(&dir.path().join(&name), width, rows).err().unwrap();
            assert_eq!(e.kind(), io::ErrorKind::InvalidData);
        }
        let mut bytes = fs::read(dir.path().join(&name)).unwrap();
        bytes[3] ^= 1;
        fs::write(dir.path().join("other"), &bytes).unwrap();
        assert!(Segment::open(&dir.path().join("other"), 70, 33).is_err());
        let files = fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(files, 2, "no part is left");
    }

    proptest! {
        #[test]
        fn codes_are_as_far_away_as_they_say(vector in prop::collection::vec(-1e3f32..1e3, 1..80), shift in -40i32..40) {
            let vector: Vec<f32> = vector.iter().map(|v| v * 2f32.powi(shift)).collect();
            let coded = Coded::of(&vector);
            let kept: Vec<f64> = coded.codes.iter().map(|&c| f64::from(coded.scale) * f64::from(c)).collect();
            let error = vector.iter().zip(&kept).map(|(v, k)| (f64::from(*v) - k).powi(2)).sum::<f64>().sqrt();
            prop_assert!(error <= f64::from(coded.error) && kept.iter().map(|k| k * k).sum::<f64>().sqrt() <= f64::from(coded.length));
            // Half a step a value.
            prop_assert!(f64::from(coded.error) <= f64::from(coded.scale) * 0.51 * (vector.len() as f64).sqrt() + 1e-30);
        }
    }
}
