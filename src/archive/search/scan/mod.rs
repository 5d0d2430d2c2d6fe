//! Finds the rows whose embeddings are nearest to a query: exactly those, although it reads few embeddings.
//!
//! A scan reads every row's codes. They give the dot product with the query up to a margin, which follows from how far the
//! codes are from the embedding and from the query (by the Cauchy-Schwarz inequality). Rows that cannot be among the best k
//! even with all of their margin are dropped. The others are scored by their exact embeddings, and the best k of them are
//! the best k of all. A score outside of its margin shows that the index is damaged.
//!
//! Order: by score, then by the order that the caller gives. So the result depends neither on threads nor on how rows are
//! spread over files. Memory: [`MAX_CANDIDATES`] candidates per thread, however many rows there are.

mod products;
mod query;

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::sync::atomic::{self, AtomicU32, AtomicUsize};
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::index::VectorFile;
use products::products;
pub use query::ScanQuery;

/// Rows that a thread takes at once: their products fit the first-level cache.
const BLOCK_ROWS: usize = 1024;
/// Candidates that a thread keeps before it scores them: 1 MB.
const MAX_CANDIDATES: usize = 1 << 16;
/// What rounding may add to a margin, relative to the largest possible product. The computation in single precision
/// rounds a dozen times by at most 6e-8.
const ROUNDING_SLACK: f32 = 4e-6;

/// A row of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowId {
    /// The file's number.
    pub file: u32,
    /// The row in the file, from 0.
    pub row: u32,
}

/// A row with its score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScoredRow {
    /// Which row.
    pub id: RowId,
    /// The dot product: the cosine, as embeddings have length 1.
    pub score: f32,
}

/// A row whose codes do not match its embedding: its file is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodeMismatch(
    /// Which row.
    pub RowId,
);

/// Which rows a scan returns.
pub struct ScanOptions<'a> {
    /// Number of rows at most.
    pub limit: usize,
    /// Threads.
    pub threads: usize,
    /// Whether a row may be returned.
    pub accepts: &'a (dyn Fn(&VectorFile, usize) -> bool + Sync),
    /// Whether nearly all rows are accepted. Otherwise a scan first asks whether a block has any accepted row.
    pub accepts_most: bool,
    /// Orders rows of the same score.
    pub order: &'a (dyn Fn(&RowId) -> (u64, u32) + Sync),
}

/// A row that may be among the best.
struct ScanCandidate {
    upper: f32,
    near: f32,
    margin: f32,
    id: RowId,
}

/// The rows nearest to a query in these numbered files, best first. Files must have the query's dimension.
///
/// # Errors
/// A file is damaged.
pub fn nearest(
    files: &[(u32, &VectorFile)],
    query: &ScanQuery,
    options: &ScanOptions<'_>,
) -> Result<Vec<ScoredRow>, CodeMismatch> {
    if options.limit == 0 {
        return Ok(Vec::new());
    }
    let blocks = Blocks::of(files);
    let threads = options.threads.clamp(1, blocks.all().max(1));
    let (bar, next) = (AtomicU32::new(0), AtomicUsize::new(0));
    let found = Mutex::new(Vec::new());
    let damaged = Mutex::new(None);
    let work = || {
        let mut worker = ScanWorker::new(files, query, options, &bar);
        match worker.scan(&blocks, &next) {
            Ok(()) => found.lock().unwrap_or_else(PoisonError::into_inner).append(&mut worker.scored),
            Err(e) => *damaged.lock().unwrap_or_else(PoisonError::into_inner) = Some(e),
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    if let Some(damaged) = damaged.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(damaged);
    }
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    keep_best(&mut found, options);
    Ok(found)
}

/// The rows of all files in blocks of [`BLOCK_ROWS`], numbered across files.
struct Blocks {
    /// Blocks of each file.
    counts: Vec<usize>,
    /// The number after the last block of each file.
    ends: Vec<usize>,
}

impl Blocks {
    fn of(files: &[(u32, &VectorFile)]) -> Blocks {
        let counts: Vec<usize> = files.iter().map(|(_, file)| file.rows().div_ceil(BLOCK_ROWS)).collect();
        let ends = counts.iter().scan(0, |sum, n| {
            *sum += n;
            Some(*sum)
        });
        Blocks { ends: ends.collect(), counts }
    }

    fn all(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }

    /// The file of a block, and its first row there.
    fn locate(&self, block: usize) -> (usize, usize) {
        let file = self.ends.partition_point(|end| *end <= block);
        (file, (block - (self.ends[file] - self.counts[file])) * BLOCK_ROWS)
    }
}

fn keep_best(found: &mut Vec<ScoredRow>, options: &ScanOptions<'_>) {
    let order = |a: &ScoredRow, b: &ScoredRow| compare(a, b, options.order);
    if found.len() > options.limit {
        found.select_nth_unstable_by(options.limit - 1, order);
        found.truncate(options.limit);
    }
    found.sort_unstable_by(order);
}

fn compare(a: &ScoredRow, b: &ScoredRow, order: &dyn Fn(&RowId) -> (u64, u32)) -> Ordering {
    b.score.total_cmp(&a.score).then_with(|| order(&a.id).cmp(&order(&b.id)))
}

/// Bits that have the same order as the floats.
fn ordered_bits(value: f32) -> u32 {
    let bits = value.to_bits();
    if bits >> 31 == 0 { bits | 1 << 31 } else { !bits }
}

/// One thread of a scan.
struct ScanWorker<'a> {
    files: &'a [(u32, &'a VectorFile)],
    query: &'a ScanQuery,
    options: &'a ScanOptions<'a>,
    /// The score that the best rows so far reach at least, as ordered bits. Shared by all threads.
    bar: &'a AtomicU32,
    /// The highest lower bounds, as many as rows are wanted.
    lower_bounds: BinaryHeap<Reverse<u32>>,
    candidates: Vec<ScanCandidate>,
    scored: Vec<ScoredRow>,
}

impl<'a> ScanWorker<'a> {
    fn new(
        files: &'a [(u32, &'a VectorFile)],
        query: &'a ScanQuery,
        options: &'a ScanOptions<'a>,
        bar: &'a AtomicU32,
    ) -> ScanWorker<'a> {
        let (lower_bounds, candidates, scored) = (BinaryHeap::new(), Vec::new(), Vec::new());
        ScanWorker { files, query, options, bar, lower_bounds, candidates, scored }
    }

    /// Takes block after block until none is left.
    fn scan(&mut self, blocks: &Blocks, next: &AtomicUsize) -> Result<(), CodeMismatch> {
        loop {
            let block = next.fetch_add(1, atomic::Ordering::Relaxed);
            if block >= blocks.all() {
                return self.score_candidates();
            }
            let (file, first) = blocks.locate(block);
            self.scan_block(file, first)?;
        }
    }

    fn scan_block(&mut self, number: usize, first: usize) -> Result<(), CodeMismatch> {
        let (_, file) = self.files[number];
        let rows = first..file.rows().min(first + BLOCK_ROWS);
        if !self.options.accepts_most && !rows.clone().any(|row| (self.options.accepts)(file, row)) {
            return Ok(());
        }
        let stride = file.stride();
        let mut near = [0.0f32; BLOCK_ROWS];
        let mut margins = [0.0f32; BLOCK_ROWS];
        let (near, margins) = (&mut near[..rows.len()], &mut margins[..rows.len()]);
        let codes = &file.codes()[rows.start * stride..rows.end * stride];
        products(codes, stride, &self.query.codes, near);
        let (scales, errors, lengths) =
            (&file.scales()[rows.clone()], &file.errors()[rows.clone()], &file.lengths()[rows.clone()]);
        let ScanQuery { scale, error, length, .. } = *self.query;
        for (((near, margin), row_scale), (row_error, row_length)) in
            near.iter_mut().zip(margins.iter_mut()).zip(scales).zip(errors.iter().zip(lengths))
        {
            *near *= scale * row_scale;
            *margin = error * row_length
                + length * row_error
                + ROUNDING_SLACK * length * (row_length + row_error)
                + f32::MIN_POSITIVE;
        }
        self.collect_candidates(number, rows.start, near, margins);
        if self.candidates.len() >= MAX_CANDIDATES.max(2 * self.options.limit) {
            self.score_candidates()
        } else {
            Ok(())
        }
    }

    /// Keeps the rows of a block that may be among the best, and raises the bar.
    fn collect_candidates(&mut self, number: usize, first: usize, near: &[f32], margins: &[f32]) {
        let (file_id, file) = self.files[number];
        let mut bar = self.bar.load(atomic::Ordering::Relaxed);
        for (n, (&near, &margin)) in near.iter().zip(margins).enumerate() {
            let (upper, lower) = (ordered_bits(near + margin), near - margin);
            // NaN is a candidate: its score will show that the file is damaged.
            if (upper < bar && !near.is_nan() && !margin.is_nan()) || !(self.options.accepts)(file, first + n) {
                continue;
            }
            let id = RowId { file: file_id, row: (first + n) as u32 };
            self.candidates.push(ScanCandidate { upper: near + margin, near, margin, id });
            if self.lower_bounds.len() < self.options.limit {
                self.lower_bounds.push(Reverse(ordered_bits(lower)));
            } else if let Some(mut least) = self.lower_bounds.peek_mut()
                && ordered_bits(lower) > least.0
            {
                *least = Reverse(ordered_bits(lower));
            }
            if self.lower_bounds.len() == self.options.limit
                && let Some(Reverse(least)) = self.lower_bounds.peek()
                && *least > bar
            {
                bar = self.bar.fetch_max(*least, atomic::Ordering::Relaxed).max(*least);
            }
        }
    }

    /// Scores the candidates that can still be among the best, and keeps the best.
    fn score_candidates(&mut self) -> Result<(), CodeMismatch> {
        let bar = self.bar.load(atomic::Ordering::Relaxed);
        for ScanCandidate { upper, near, margin, id } in self.candidates.drain(..) {
            if ordered_bits(upper) < bar && !upper.is_nan() {
                continue;
            }
            let file = self.files.iter().find(|(n, _)| *n == id.file).ok_or(CodeMismatch(id))?.1;
            let score = self.query.score(file.embedding(id.row as usize));
            // No margin contains NaN.
            if !(0.0..=margin).contains(&(score - near).abs()) {
                return Err(CodeMismatch(id));
            }
            self.scored.push(ScoredRow { id, score });
        }
        keep_best(&mut self.scored, self.options);
        if self.scored.len() == self.options.limit
            && let Some(last) = self.scored.last()
        {
            self.bar.fetch_max(ordered_bits(last.score), atomic::Ordering::Relaxed);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::archive::search::index::{VectorFileBuilder, facts};

    /// Vectors of length 1 in clusters; some occur several times.
    fn vectors(width: usize, seed: u64, rows: usize) -> Vec<Vec<f32>> {
        let mut state = seed | 1;
        let mut random = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 24) as f32 - 0.5
        };
        let clusters: Vec<Vec<f32>> = (0..5).map(|_| (0..width).map(|_| random()).collect()).collect();
        (0..rows)
            .map(|n| {
                let spread = [0.0, 0.01, 0.3, 1.0][n % 4];
                let vector: Vec<f32> = clusters[n * 7 % 5].iter().map(|v| v + spread * random()).collect();
                crate::model::unit_vector(&vector)
            })
            .collect()
    }

    struct Folder {
        _dir: tempfile::TempDir,
        files: Vec<VectorFile>,
    }

    fn folder(width: usize, vectors: &[Vec<f32>], each: usize) -> Folder {
        let dir = tempfile::tempdir().unwrap();
        let mut files = Vec::new();
        for (n, some) in vectors.chunks(each.max(1)).enumerate() {
            let mut builder = VectorFileBuilder::new(width);
            some.iter().enumerate().for_each(|(row, v)| builder.push(facts(n * each + row), v));
            let name = builder.write(dir.path()).unwrap();
            files.push(VectorFile::open(&dir.path().join(name), width, some.len()).unwrap());
        }
        Folder { _dir: dir, files }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn the_nearest_are_those_of_an_exhaustive_search(
            width in 1usize..70, seed: u64, rows in 1usize..3000, each in 100usize..3000, most in 0usize..60, threads in 1usize..4,
            share in 1usize..5,
        ) {
            let all = vectors(width, seed, rows);
            let folder = folder(width, &all, each);
            let query = ScanQuery::new(&vectors(width, seed.rotate_left(9), 3)[2]);
            let takes = |file: &VectorFile, row: usize| (file.numbers()[row] as usize).is_multiple_of(share);
            let order = |p: &RowId| (0, folder.files[p.file as usize].numbers()[p.row as usize]);
            let options = ScanOptions { limit: most, threads, accepts: &takes, accepts_most: share == 1, order: &order };
            let named: Vec<(u32, &VectorFile)> = folder.files.iter().enumerate().map(|(n, s)| (n as u32, s)).collect();
            let found: Vec<(usize, f32)> =
                nearest(&named, &query, &options).unwrap().iter().map(|s| (order(&s.id).1 as usize, s.score)).collect();
            let mut want: Vec<(usize, f32)> =
                (0..rows).filter(|n| n % share == 0).map(|n| (n, query.score(&all[n]))).collect();
            want.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            want.truncate(most);
            prop_assert_eq!(found, want);
        }
    }

    #[test]
    fn few_embeddings_are_read() {
        let all = vectors(64, 7, 4000);
        let folder = folder(64, &all, 4000);
        let query = ScanQuery::new(&all[17]);
        let options =
            ScanOptions { limit: 10, threads: 1, accepts: &|_, _| true, accepts_most: true, order: &|p| (0, p.row) };
        let (bar, files) = (AtomicU32::new(0), [(0, &folder.files[0])]);
        let mut scan = ScanWorker::new(&files, &query, &options, &bar);
        (0..4).for_each(|n| scan.scan_block(0, n * BLOCK_ROWS).unwrap());
        let bar = bar.load(atomic::Ordering::Relaxed);
        let left = scan.candidates.iter().filter(|c| ordered_bits(c.upper) >= bar).count();
        // A fifth of all rows is in the query's own cluster, and a quarter of those are equal to it.
        assert!((10..600).contains(&left), "{left}");
    }

    #[test]
    fn codes_of_another_embedding_are_reported() {
        let all = vectors(64, 7, 400);
        let dir = tempfile::tempdir().unwrap();
        let mut builder = VectorFileBuilder::new(64);
        all.iter().enumerate().for_each(|(n, v)| builder.push(facts(n), v));
        let path = dir.path().join(builder.write(dir.path()).unwrap());
        let mut bytes = std::fs::read(&path).unwrap();
        let first = bytes.len() - 400 * 64 * 4;
        for n in 0..400 {
            bytes[first + n * 256 + 3] ^= 0x40;
        }
        let other = dir.path().join("other");
        std::fs::write(&other, bytes).unwrap();
        let file = VectorFile::open(&other, 64, 400).unwrap();
        let options =
            ScanOptions { limit: 10, threads: 1, accepts: &|_, _| true, accepts_most: true, order: &|p| (0, p.row) };
        assert!(nearest(&[(0, &file)], &ScanQuery::new(&all[3]), &options).is_err());
    }

    #[test]
    fn bits_have_the_order_of_floats() {
        let floats = [f32::NEG_INFINITY, -2.0, -1e-40, -0.0, 0.0, 1e-40, 0.5, 3.0, f32::INFINITY];
        assert!(floats.windows(2).all(|w| ordered_bits(w[0]) < ordered_bits(w[1])));
    }
}
