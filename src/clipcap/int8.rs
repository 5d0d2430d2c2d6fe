//! Weights in 8-bit integers.
//!
//! Weights are rounded to 7 bits with a scale for each output; what they are multiplied with is rounded when the graph runs,
//! to 8 bits with a scale for each row. A result does not depend on other rows, and sums of integers are exact, so captions
//! are the same in every batch.

/// Largest integer of a weight. Processors without VNNI add two products in 16 bits: 2 × 255 × 63 fits, 127 would overflow.
const LARGEST: f32 = 63.0;
/// Smallest scale, so that a row of zeros has one.
const LEAST_SCALE: f32 = 1e-12;

/// A rounded matrix.
#[derive(Debug, PartialEq)]
pub(super) struct RoundedMatrix {
    pub(super) values: Vec<i8>,
    /// A float for each row or each column.
    pub(super) scales: Vec<f32>,
}

/// Rounds a matrix with a scale for each row.
pub(super) fn round_rows(values: &[f32], columns: usize) -> RoundedMatrix {
    let columns = columns.max(1);
    let scales: Vec<f32> = values.chunks(columns).map(|row| scale(row.iter())).collect();
    let rounded = values.chunks(columns).zip(&scales).flat_map(|(row, s)| row.iter().map(move |v| round(*v, *s)));
    RoundedMatrix { values: rounded.collect(), scales }
}

/// Rounds a matrix with a scale for each column.
pub(super) fn round_columns(values: &[f32], columns: usize) -> RoundedMatrix {
    let columns = columns.max(1);
    let mut largest = vec![0f32; columns];
    for row in values.chunks(columns) {
        largest.iter_mut().zip(row).for_each(|(most, v)| *most = most.max(v.abs()));
    }
    let scales: Vec<f32> = largest.iter().map(|most| scale([*most].iter())).collect();
    let rounded = values.chunks(columns).flat_map(|row| row.iter().zip(&scales).map(|(v, s)| round(*v, *s)));
    RoundedMatrix { values: rounded.collect(), scales }
}

fn scale<'a>(values: impl Iterator<Item = &'a f32>) -> f32 {
    (values.fold(0f32, |most, v| most.max(v.abs())) / LARGEST).max(LEAST_SCALE)
}

fn round(value: f32, scale: f32) -> i8 {
    (value / scale).round_ties_even() as i8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_output_has_a_scale() {
        let columns = round_columns(&[63.0, -6.3, 0.0, 1.0, 2.0, 0.0], 3);
        assert_eq!((columns.scales, columns.values), (vec![1.0, 0.1, 1e-12], vec![63, -63, 0, 1, 20, 0]));
        let rows = round_rows(&[63.0, -2.5, 3.5, 0.0, 0.0, 31.5], 3);
        assert_eq!((rows.scales, rows.values), (vec![1.0, 0.5], vec![63, -2, 4, 0, 0, 63]), "halves become even");
    }
}
