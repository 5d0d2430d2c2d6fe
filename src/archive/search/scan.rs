//! The rows whose vectors are nearest to a query: exactly those, although few vectors are read.
//!
//! A scan reads every row's codes. They tell its dot product with the query but for a margin, which follows from how far the
//! codes are from the vector and from the query (Cauchy and Schwarz). What cannot be among the best k even with all of its
//! margin is left out; the rest is scored by the vectors as they were, and the best k of it are the best k of all. A score
//! outside of its margin shows that the index is damaged.
//!
//! Order: score, then the order that the caller gives, so that the result depends neither on threads nor on how rows are
//! spread over files. Memory: [`LIMIT`] candidates a thread, however many rows there are.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::sync::Mutex;
use std::sync::atomic::{self, AtomicU32, AtomicUsize};
use std::thread;

use super::segment::Segment;

/// Rows that a thread takes at once.
const BLOCK: usize = 1024;
/// Candidates that a thread keeps before it scores them.
const LIMIT: usize = 1 << 16;
/// What rounding may add to a margin, as a share of the longest product that can be.
const SLACK: f32 = 4e-6;

/// A row of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    pub segment: u32,
    pub row: u32,
}

/// A row with its score: the dot product, which is the cosine of vectors of length 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scored {
    pub place: Place,
    pub score: f32,
}

/// A row's codes and its vector are not of one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damaged(pub Place);

/// A vector to look for.
#[derive(Debug, Clone)]
pub struct Query {
    vector: Vec<f32>,
    codes: Vec<i16>,
    scale: f32,
    /// How far the codes are from the vector.
    error: f32,
    length: f32,
}

impl Query {
    /// Of numbers alone.
    pub fn new(vector: &[f32]) -> Query {
        // As fine as a sum over the whole width of 8-bit times 16-bit numbers has room for.
        let finest = (i32::MAX / 127 / vector.len().max(1) as i32).clamp(1, 32_767) as f32;
        let most = vector.iter().fold(0.0f32, |most, v| most.max(v.abs()));
        let scale = Some(most / finest).filter(|s| s.is_normal()).unwrap_or(0.0);
        let code = |v: &f32| if scale > 0.0 { (v / scale).round().clamp(-finest, finest) as i16 } else { 0 };
        let codes: Vec<i16> = vector.iter().map(code).collect();
        let far = vector.iter().zip(&codes).map(|(v, &c)| (f64::from(*v) - f64::from(scale) * f64::from(c)).powi(2));
        let error = far.sum::<f64>().sqrt() as f32;
        let length = vector.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt() as f32;
        Query { vector: vector.to_vec(), codes, scale, error, length }
    }

    /// The one score of a row: summed up in double precision and in one order.
    pub fn score(&self, vector: &[f32]) -> f32 {
        self.vector.iter().zip(vector).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>() as f32
    }
}

/// How the best are chosen.
pub struct Best<'a> {
    /// How many.
    pub most: usize,
    pub threads: usize,
    /// Whether a row may be among them: segment and row.
    pub takes: &'a (dyn Fn(&Segment, usize) -> bool + Sync),
    /// Whether all rows may, so that nothing is gained by asking first.
    pub takes_most: bool,
    /// Which of two rows of one score comes first.
    pub order: &'a (dyn Fn(&Place) -> (u64, u32) + Sync),
}

struct Candidate {
    upper: f32,
    near: f32,
    margin: f32,
    place: Place,
}

/// The best rows of all segments, best first. Segments must have the query's width.
pub fn best(segments: &[(u32, &Segment)], query: &Query, how: &Best) -> Result<Vec<Scored>, Damaged> {
    if how.most == 0 {
        return Ok(Vec::new());
    }
    let blocks: Vec<usize> = segments.iter().map(|(_, s)| s.rows().div_ceil(BLOCK)).collect();
    let ends: Vec<usize> = blocks
        .iter()
        .scan(0, |sum, n| {
            *sum += n;
            Some(*sum)
        })
        .collect();
    let all = ends.last().copied().unwrap_or(0);
    let threads = how.threads.clamp(1, all.max(1));
    // The least score of the best so far, as ordered bits.
    let bar = AtomicU32::new(0);
    let next = AtomicUsize::new(0);
    let found = Mutex::new(Vec::new());
    let damaged = Mutex::new(None);
    let work = || {
        let mut scan = Scan {
            segments,
            query,
            how,
            bar: &bar,
            lowest: BinaryHeap::new(),
            candidates: Vec::new(),
            settled: Vec::new(),
        };
        let done = (|| {
            loop {
                let block = next.fetch_add(1, atomic::Ordering::Relaxed);
                if block >= all {
                    return scan.settle();
                }
                let segment = ends.partition_point(|end| *end <= block);
                let first = (block - (ends[segment] - blocks[segment])) * BLOCK;
                scan.block(segment, first)?;
            }
        })();
        match done {
            Ok(()) => found.lock().unwrap_or_else(|e| e.into_inner()).append(&mut scan.settled),
            Err(e) => *damaged.lock().unwrap_or_else(|e| e.into_inner()) = Some(e),
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    if let Some(damaged) = damaged.into_inner().unwrap_or_else(|e| e.into_inner()) {
        return Err(damaged);
    }
    let mut found = found.into_inner().unwrap_or_else(|e| e.into_inner());
    keep_best(&mut found, how);
    Ok(found)
}

fn keep_best(found: &mut Vec<Scored>, how: &Best) {
    let order = |a: &Scored, b: &Scored| compare(a, b, how.order);
    if found.len() > how.most {
        found.select_nth_unstable_by(how.most - 1, order);
        found.truncate(how.most);
    }
    found.sort_unstable_by(order);
}

fn compare(a: &Scored, b: &Scored, order: &dyn Fn(&Place) -> (u64, u32)) -> Ordering {
    b.score.total_cmp(&a.score).then_with(|| order(&a.place).cmp(&order(&b.place)))
}

/// Bits that are ordered as the floats are.
fn bits(value: f32) -> u32 {
    let bits = value.to_bits();
    if bits >> 31 == 0 { bits | 1 << 31 } else { !bits }
}

/// One thread's part.
struct Scan<'a> {
    segments: &'a [(u32, &'a Segment)],
    query: &'a Query,
    how: &'a Best<'a>,
    bar: &'a AtomicU32,
    /// The highest of the lower bounds, as many as are wanted.
    lowest: BinaryHeap<Reverse<u32>>,
    candidates: Vec<Candidate>,
    settled: Vec<Scored>,
}

impl Scan<'_> {
    fn block(&mut self, number: usize, first: usize) -> Result<(), Damaged> {
        let (id, segment) = self.segments[number];
        let rows = first..segment.rows().min(first + BLOCK);
        if !self.how.takes_most && !rows.clone().any(|row| (self.how.takes)(segment, row)) {
            return Ok(());
        }
        let stride = segment.stride();
        let mut near = [0.0f32; BLOCK];
        let mut margins = [0.0f32; BLOCK];
        let (near, margins) = (&mut near[..rows.len()], &mut margins[..rows.len()]);
        let codes = &segment.codes()[rows.start * stride..rows.end * stride];
        products(codes, stride, &self.query.codes, near);
        let columns =
            (&segment.scales()[rows.clone()], &segment.errors()[rows.clone()], &segment.lengths()[rows.clone()]);
        let Query { scale, error, length, .. } = *self.query;
        for (((near, margin), scale_of), (error_of, length_of)) in
            near.iter_mut().zip(margins.iter_mut()).zip(columns.0).zip(columns.1.iter().zip(columns.2))
        {
            *near *= scale * scale_of;
            *margin =
                error * length_of + length * error_of + SLACK * length * (length_of + error_of) + f32::MIN_POSITIVE;
        }
        let mut bar = self.bar.load(atomic::Ordering::Relaxed);
        for (n, (&near, &margin)) in near.iter().zip(margins.iter()).enumerate() {
            let (upper, lower) = (bits(near + margin), near - margin);
            // What is no number is a candidate: its score tells what is wrong.
            if (upper < bar && !near.is_nan() && !margin.is_nan()) || !(self.how.takes)(segment, rows.start + n) {
                continue;
            }
            let place = Place { segment: id, row: (rows.start + n) as u32 };
            self.candidates.push(Candidate { upper: near + margin, near, margin, place });
            if self.lowest.len() < self.how.most {
                self.lowest.push(Reverse(bits(lower)));
            } else if let Some(mut least) = self.lowest.peek_mut()
                && bits(lower) > least.0
            {
                *least = Reverse(bits(lower));
            }
            if self.lowest.len() == self.how.most
                && let Some(Reverse(least)) = self.lowest.peek()
                && *least > bar
            {
                bar = self.bar.fetch_max(*least, atomic::Ordering::Relaxed).max(*least);
            }
        }
        if self.candidates.len() >= LIMIT.max(2 * self.how.most) { self.settle() } else { Ok(()) }
    }

    /// Scores the candidates that still can be among the best, and keeps those that are.
    fn settle(&mut self) -> Result<(), Damaged> {
        let bar = self.bar.load(atomic::Ordering::Relaxed);
        for Candidate { upper, near, margin, place } in self.candidates.drain(..) {
            if bits(upper) < bar && !upper.is_nan() {
                continue;
            }
            let segment = self.segments.iter().find(|(id, _)| *id == place.segment).ok_or(Damaged(place))?.1;
            let score = self.query.score(segment.vector(place.row as usize));
            // No margin holds what is no number.
            if !(0.0..=margin).contains(&(score - near).abs()) {
                return Err(Damaged(place));
            }
            self.settled.push(Scored { place, score });
        }
        keep_best(&mut self.settled, self.how);
        if self.settled.len() == self.how.most
            && let Some(last) = self.settled.last()
        {
            self.bar.fetch_max(bits(last.score), atomic::Ordering::Relaxed);
        }
        Ok(())
    }
}

/// The products of a query's codes with those of each row.
fn products(codes: &[i8], stride: usize, query: &[i16], out: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512bw") {
            // SAFETY: the processor has what the function is compiled for.
            return unsafe { with_avx512(codes, stride, query, out) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has what the function is compiled for.
            return unsafe { with_avx2(codes, stride, query, out) };
        }
    }
    plain(codes, stride, query, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn with_avx512(codes: &[i8], stride: usize, query: &[i16], out: &mut [f32]) {
    plain(codes, stride, query, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn with_avx2(codes: &[i8], stride: usize, query: &[i16], out: &mut [f32]) {
    plain(codes, stride, query, out);
}

/// Written so that the compiler finds the multiply-and-add of 16-bit pairs wherever a processor has one.
#[inline(always)]
fn plain(codes: &[i8], stride: usize, query: &[i16], out: &mut [f32]) {
    for (row, out) in codes.chunks_exact(stride.max(1)).zip(out) {
        let mut sum = 0i32;
        for (c, q) in row.iter().zip(query) {
            sum = sum.wrapping_add(i32::from(*c) * i32::from(*q));
        }
        *out = sum as f32;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::archive::search::segment::Builder;
    use crate::archive::search::segment::tests::facts;

    /// Vectors of length 1 that lie in heaps, some of them several times.
    fn vectors(width: usize, seed: u64, rows: usize) -> Vec<Vec<f32>> {
        let mut state = seed | 1;
        let mut random = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 24) as f32 - 0.5
        };
        let heaps: Vec<Vec<f32>> = (0..5).map(|_| (0..width).map(|_| random()).collect()).collect();
        (0..rows)
            .map(|n| {
                let spread = [0.0, 0.01, 0.3, 1.0][n % 4];
                let vector: Vec<f32> = heaps[n * 7 % 5].iter().map(|v| v + spread * random()).collect();
                crate::model::unit_vector(&vector)
            })
            .collect()
    }

    struct Files {
        _dir: tempfile::TempDir,
        segments: Vec<Segment>,
    }

    fn files(width: usize, vectors: &[Vec<f32>], each: usize) -> Files {
        let dir = tempfile::tempdir().unwrap();
        let mut segments = Vec::new();
        for (n, some) in vectors.chunks(each.max(1)).enumerate() {
            let mut builder = Builder::new(width);
            some.iter().enumerate().for_each(|(row, v)| builder.push(facts(n * each + row), v));
            let name = builder.write(dir.path()).unwrap();
            segments.push(Segment::open(&dir.path().join(name), width, some.len()).unwrap());
        }
        Files { _dir: dir, segments }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn the_best_are_those_of_a_search_through_all(
            width in 1usize..70, seed: u64, rows in 1usize..3000, each in 100usize..3000, most in 0usize..60, threads in 1usize..4,
            share in 1usize..5,
        ) {
            let all = vectors(width, seed, rows);
            let files = files(width, &all, each);
            let query = Query::new(&vectors(width, seed.rotate_left(9), 3)[2]);
            let takes = |segment: &Segment, row: usize| (segment.numbers()[row] as usize).is_multiple_of(share);
            let order = |p: &Place| (0, files.segments[p.segment as usize].numbers()[p.row as usize]);
            let how = Best { most, threads, takes: &takes, takes_most: share == 1, order: &order };
            let named: Vec<(u32, &Segment)> = files.segments.iter().enumerate().map(|(n, s)| (n as u32, s)).collect();
            let found: Vec<(usize, f32)> =
                best(&named, &query, &how).unwrap().iter().map(|s| (order(&s.place).1 as usize, s.score)).collect();
            let mut want: Vec<(usize, f32)> =
                (0..rows).filter(|n| n % share == 0).map(|n| (n, query.score(&all[n]))).collect();
            want.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            want.truncate(most);
            prop_assert_eq!(found, want);
        }

        #[test]
        fn every_kernel_counts_the_same(codes in prop::collection::vec(any::<i8>(), 128), query in prop::collection::vec(any::<i16>(), 1..65)) {
            let (mut fast, mut slow) = ([0.0; 2], [0.0; 2]);
            products(&codes, 64, &query, &mut fast);
            plain(&codes, 64, &query, &mut slow);
            prop_assert_eq!(fast, slow);
            let sums = codes.chunks(64).map(|r| r.iter().zip(&query).map(|(c, q)| i64::from(*c) * i64::from(*q)).sum::<i64>() as f32);
            prop_assert_eq!(fast.to_vec(), sums.collect::<Vec<_>>());
        }
    }

    #[test]
    fn few_vectors_are_read() {
        let all = vectors(64, 7, 4000);
        let files = files(64, &all, 4000);
        let query = Query::new(&all[17]);
        let how = Best { most: 10, threads: 1, takes: &|_, _| true, takes_most: true, order: &|p| (0, p.row) };
        let (bar, segments) = (AtomicU32::new(0), [(0, &files.segments[0])]);
        let mut scan = Scan {
            segments: &segments,
            query: &query,
            how: &how,
            bar: &bar,
            lowest: BinaryHeap::new(),
            candidates: Vec::new(),
            settled: Vec::new(),
        };
        (0..4).for_each(|n| scan.block(0, n * BLOCK).unwrap());
        let bar = bar.load(atomic::Ordering::Relaxed);
        let left = scan.candidates.iter().filter(|c| bits(c.upper) >= bar).count();
        // A fifth of all rows is of the query's own heap, and a quarter of those the very same.
        assert!((10..600).contains(&left), "{left}");
    }

    #[test]
    fn codes_of_another_vector_are_told() {
        let all = vectors(64, 7, 400);
        let dir = tempfile::tempdir().unwrap();
        let mut builder = Builder::new(64);
        all.iter().enumerate().for_each(|(n, v)| builder.push(facts(n), v));
        let path = dir.path().join(builder.write(dir.path()).unwrap());
        let mut bytes = std::fs::read(&path).unwrap();
        let first = bytes.len() - 400 * 64 * 4;
        for n in 0..400 {
            bytes[first + n * 256 + 3] ^= 0x40;
        }
        let other = dir.path().join("other");
        std::fs::write(&other, bytes).unwrap();
        let segment = Segment::open(&other, 64, 400).unwrap();
        let how = Best { most: 10, threads: 1, takes: &|_, _| true, takes_most: true, order: &|p| (0, p.row) };
        assert!(best(&[(0, &segment)], &Query::new(&all[3]), &how).is_err());
    }

    #[test]
    fn bits_are_ordered_as_floats() {
        let floats = [f32::NEG_INFINITY, -2.0, -1e-40, -0.0, 0.0, 1e-40, 0.5, 3.0, f32::INFINITY];
        assert!(floats.windows(2).all(|w| bits(w[0]) < bits(w[1])));
    }
}
