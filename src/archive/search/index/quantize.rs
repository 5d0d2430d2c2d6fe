//! Vectors in 8-bit integers, with a bound on what that loses.

/// A vector as `scale × codes`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct QuantizedVector {
    pub(super) codes: Vec<i8>,
    pub(super) scale: f32,
    /// Distance to the vector; never less than that.
    pub(super) error: f32,
    /// Length of `scale × codes`; never less than that.
    pub(super) length: f32,
}

impl QuantizedVector {
    pub(super) fn of(vector: &[f32]) -> QuantizedVector {
        let largest = vector.iter().fold(0.0f32, |most, v| most.max(v.abs()));
        let scale = largest / 127.0;
        // A scale of zero or below the normal numbers makes codes of noise: all codes are 0 then, and the error is all.
        if !scale.is_normal() {
            let error = round_up(length(vector));
            return QuantizedVector { codes: vec![0; vector.len()], scale: 0.0, error, length: 0.0 };
        }
        let codes: Vec<i8> = vector.iter().map(|v| (v / scale).round().clamp(-127.0, 127.0) as i8).collect();
        let decoded = || codes.iter().map(|&c| f64::from(scale) * f64::from(c));
        let error = vector.iter().zip(decoded()).map(|(v, d)| (f64::from(*v) - d).powi(2)).sum::<f64>().sqrt();
        let length = decoded().map(|d| d * d).sum::<f64>().sqrt();
        QuantizedVector { scale, error: round_up(error), length: round_up(length), codes }
    }
}

fn length(vector: &[f32]) -> f64 {
    vector.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt()
}

/// A float that is not below the value.
fn round_up(value: f64) -> f32 {
    let near = value as f32;
    if f64::from(near) < value { near.next_up() } else { near }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_error_is_never_understated(vector in prop::collection::vec(-1e3f32..1e3, 1..80), shift in -40i32..40) {
            let vector: Vec<f32> = vector.iter().map(|v| v * 2f32.powi(shift)).collect();
            let coded = QuantizedVector::of(&vector);
            let kept: Vec<f64> = coded.codes.iter().map(|&c| f64::from(coded.scale) * f64::from(c)).collect();
            let error = vector.iter().zip(&kept).map(|(v, k)| (f64::from(*v) - k).powi(2)).sum::<f64>().sqrt();
            prop_assert!(error <= f64::from(coded.error) && kept.iter().map(|k| k * k).sum::<f64>().sqrt() <= f64::from(coded.length));
            // Half a step per value.
            prop_assert!(f64::from(coded.error) <= f64::from(coded.scale) * 0.51 * (vector.len() as f64).sqrt() + 1e-30);
        }
    }
}
