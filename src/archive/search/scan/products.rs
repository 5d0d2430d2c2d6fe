//! Dot products of 8-bit codes with 16-bit ones: where a scan spends its time.

/// Writes to `out` the product of a query's codes with each row's. Rows have `stride` codes, of which the first ones count.
pub(super) fn products(codes: &[i8], stride: usize, query: &[i16], out: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512bw") {
            // SAFETY: the processor has the features that the function is compiled for.
            return unsafe { products_avx512(codes, stride, query, out) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has the features that the function is compiled for.
            return unsafe { products_avx2(codes, stride, query, out) };
        }
    }
    products_plain(codes, stride, query, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn products_avx512(codes: &[i8], stride: usize, query: &[i16], out: &mut [f32]) {
    products_plain(codes, stride, query, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn products_avx2(codes: &[i8], stride: usize, query: &[i16], out: &mut [f32]) {
    products_plain(codes, stride, query, out);
}

/// Simple enough that compilers use the multiply-and-add of 16-bit pairs where a processor has it.
#[inline(always)]
fn products_plain(codes: &[i8], stride: usize, query: &[i16], out: &mut [f32]) {
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

    proptest! {
        #[test]
        fn every_kernel_counts_the_same(codes in prop::collection::vec(any::<i8>(), 128), query in prop::collection::vec(any::<i16>(), 1..65)) {
            let (mut fast, mut slow) = ([0.0; 2], [0.0; 2]);
            products(&codes, 64, &query, &mut fast);
            products_plain(&codes, 64, &query, &mut slow);
            prop_assert_eq!(fast, slow);
            let sums = codes.chunks(64).map(|r| r.iter().zip(&query).map(|(c, q)| i64::from(*c) * i64::from(*q)).sum::<i64>() as f32);
            prop_assert_eq!(fast.to_vec(), sums.collect::<Vec<_>>());
        }
    }
}
