//! A file of the index: keyframes of one model, column by column, read through a memory map.
//!
//! A file holds every embedding twice: in 8-bit integers, which a scan reads, and unchanged, which only the best rows are
//! scored by. Each row stores how far the two differ, so that a scan knows which rows it may skip. A file is named by its
//! content and never changes. A reader that has a file open can still read it after it was replaced and removed.
//!
//! Memory: a map, which the system may drop.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;

use memmap2::Mmap;

/// What a file begins with.
const MAGIC: &[u8; 16] = b"descry-vectors/2";
/// Columns, and rows of codes, begin at multiples of this: a cache line.
pub(super) const ALIGNMENT: usize = 64;
/// Extension of the files.
pub(super) const EXTENSION: &str = "vectors";

/// What a file knows about a keyframe beside its embedding.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RowFacts {
    /// Id of the video in the index.
    pub video: u32,
    /// Which of the video's keyframes it is, from 0.
    pub number: u32,
    /// Ordinal of the scene in its video, from 1.
    pub scene: i32,
    /// Id of the caption in the index; 0 where there is none.
    pub text: u32,
    /// Id in the index of the text that appears on the screen; 0 where there is none.
    pub screen: u32,
    /// Start of the scene in milliseconds.
    pub start_ms: i64,
    /// End of the scene in milliseconds.
    pub end_ms: i64,
    /// Time of the picture in milliseconds.
    pub keyframe_ms: i64,
    /// Score of the caption; NaN where there is none.
    pub score: f32,
    /// Whether the archive has a thumbnail.
    pub thumbnail: bool,
}

/// Bytes per row of each column between the codes and the exact embeddings.
pub(super) const FACT_BYTES: [usize; 13] = [4, 4, 4, 4, 4, 4, 4, 4, 4, 8, 8, 8, 1];
const CODES: usize = 0;
const SCALE: usize = 1;
const ERROR: usize = 2;
const LENGTH: usize = 3;
const VIDEO: usize = 4;
const NUMBER: usize = 5;
const SCENE: usize = 6;
const TEXT: usize = 7;
const SCREEN: usize = 8;
const SCORE: usize = 9;
const START: usize = 10;
const END: usize = 11;
const KEYFRAME: usize = 12;
const FLAGS: usize = 13;
const EXACT: usize = 14;

/// Where the columns of a file are.
#[derive(Debug, Clone)]
pub(super) struct FileLayout {
    dimension: usize,
    rows: usize,
    /// Bytes per row of codes.
    stride: usize,
    /// In the order of the constants above.
    pub(super) columns: Vec<Range<usize>>,
}

impl FileLayout {
    /// None where the size of the file would overflow.
    pub(super) fn new(dimension: usize, rows: usize) -> Option<FileLayout> {
        let stride = dimension.checked_next_multiple_of(ALIGNMENT)?;
        let mut at = ALIGNMENT;
        let mut columns = Vec::new();
        for bytes in [stride].into_iter().chain(FACT_BYTES).chain([dimension.checked_mul(4)?]) {
            let end = at.checked_add(bytes.checked_mul(rows)?)?;
            columns.push(at..end);
            at = end.checked_next_multiple_of(ALIGNMENT)?;
        }
        Some(FileLayout { dimension, rows, stride, columns })
    }

    fn bytes(&self) -> usize {
        self.columns[EXACT].end
    }

    pub(super) fn header(&self) -> [u8; ALIGNMENT] {
        let mut header = [0; ALIGNMENT];
        header[..16].copy_from_slice(MAGIC);
        header[16..24].copy_from_slice(&(self.dimension as u64).to_ne_bytes());
        header[24..32].copy_from_slice(&(self.rows as u64).to_ne_bytes());
        header
    }
}

/// A file of keyframes that is open for reading.
pub struct VectorFile {
    map: Mmap,
    layout: FileLayout,
}

impl VectorFile {
    /// Opens a file with embeddings of `dimension` values and this number of rows.
    ///
    /// # Errors
    /// The file cannot be read; `InvalidData` where it is something else, or has another dimension or number of rows.
    pub fn open(path: &Path, dimension: usize, rows: usize) -> io::Result<VectorFile> {
        VectorFile::of_file(&File::open(path)?, dimension, rows)
    }

    /// As [`VectorFile::open`], for a file that is open already.
    pub(super) fn of_file(file: &File, dimension: usize, rows: usize) -> io::Result<VectorFile> {
        let damaged = |cause: String| io::Error::new(io::ErrorKind::InvalidData, cause);
        let layout = FileLayout::new(dimension, rows).ok_or_else(|| damaged("its size is impossible".into()))?;
        let bytes = file.metadata()?.len();
        if bytes != layout.bytes() as u64 {
            return Err(damaged(format!("it has {bytes} bytes instead of {}", layout.bytes())));
        }
        // SAFETY: these files are written once and never change after they have their name; a replacement has another
        // name, and a removed file keeps its content as long as it is mapped.
        let map = unsafe { Mmap::map(file)? };
        if map.get(..ALIGNMENT) != Some(&layout.header()[..]) {
            return Err(damaged("it has a wrong header".into()));
        }
        Ok(VectorFile { map, layout })
    }

    /// Has the system map the columns that a scan reads, which it otherwise does page by page while the scan waits. Returns
    /// their bytes, which are not more than `most`.
    pub(crate) fn prepare_scan(&self, most: usize) -> usize {
        let columns = self.layout.columns[CODES].start..self.layout.columns[VIDEO].end;
        let bytes = columns.len().min(most);
        // The system may not know how; then the scan waits.
        #[cfg(target_os = "linux")]
        let _ = self.map.advise_range(memmap2::Advice::PopulateRead, columns.start, bytes);
        bytes
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.layout.rows
    }

    pub(crate) fn stride(&self) -> usize {
        self.layout.stride
    }

    fn column<T: bytemuck::Pod>(&self, column: usize) -> &[T] {
        // Cannot panic: `open` checked the file's length, and columns begin at whole cache lines of a map, which itself
        // begins at a page.
        bytemuck::cast_slice(&self.map[self.layout.columns[column].clone()])
    }

    pub(crate) fn codes(&self) -> &[i8] {
        self.column(CODES)
    }

    pub(crate) fn scales(&self) -> &[f32] {
        self.column(SCALE)
    }

    pub(crate) fn errors(&self) -> &[f32] {
        self.column(ERROR)
    }

    pub(crate) fn lengths(&self) -> &[f32] {
        self.column(LENGTH)
    }

    pub(crate) fn videos(&self) -> &[u32] {
        self.column(VIDEO)
    }

    pub(crate) fn texts(&self) -> &[u32] {
        self.column(TEXT)
    }

    pub(crate) fn screens(&self) -> &[u32] {
        self.column(SCREEN)
    }

    pub(crate) fn scores(&self) -> &[f32] {
        self.column(SCORE)
    }

    pub(crate) fn starts(&self) -> &[i64] {
        self.column(START)
    }

    pub(crate) fn ends(&self) -> &[i64] {
        self.column(END)
    }

    pub(crate) fn numbers(&self) -> &[u32] {
        self.column(NUMBER)
    }

    /// What the file knows about a keyframe.
    pub fn facts(&self, row: usize) -> RowFacts {
        RowFacts {
            video: self.videos()[row],
            number: self.numbers()[row],
            scene: self.column::<i32>(SCENE)[row],
            text: self.texts()[row],
            screen: self.screens()[row],
            start_ms: self.starts()[row],
            end_ms: self.ends()[row],
            keyframe_ms: self.column::<i64>(KEYFRAME)[row],
            score: self.scores()[row],
            thumbnail: self.column::<u8>(FLAGS)[row] & 1 != 0,
        }
    }

    /// A keyframe's embedding, as it was.
    pub fn embedding(&self, row: usize) -> &[f32] {
        let dimension = self.layout.dimension;
        &self.column(EXACT)[row * dimension..(row + 1) * dimension]
    }
}
