//! An embedding to search for, in 16-bit integers and as it is.

/// An embedding to search for.
#[derive(Debug, Clone)]
pub struct ScanQuery {
    vector: Vec<f32>,
    pub(super) codes: Vec<i16>,
    pub(super) scale: f32,
    /// Distance between `scale × codes` and the vector.
    pub(super) error: f32,
    pub(super) length: f32,
}

impl ScanQuery {
    /// Searches for this embedding; its values must be finite.
    pub fn new(vector: &[f32]) -> ScanQuery {
        // As fine as possible without an overflow: a scan sums products of these codes with 8-bit ones in 32 bits.
        let finest = (i32::MAX / 127 / vector.len().max(1) as i32).clamp(1, 32_767) as f32;
        let largest = vector.iter().fold(0.0f32, |most, v| most.max(v.abs()));
        let scale = Some(largest / finest).filter(|s| s.is_normal()).unwrap_or(0.0);
        let code = |v: &f32| if scale > 0.0 { (v / scale).round().clamp(-finest, finest) as i16 } else { 0 };
        let codes: Vec<i16> = vector.iter().map(code).collect();
        let errors = vector.iter().zip(&codes).map(|(v, &c)| (f64::from(*v) - f64::from(scale) * f64::from(c)).powi(2));
        let error = errors.sum::<f64>().sqrt() as f32;
        let length = vector.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt() as f32;
        ScanQuery { vector: vector.to_vec(), codes, scale, error, length }
    }

    /// The dot product with an embedding: the cosine, as both have length 1. Summed in double precision and always in the
    /// same order, so that a row has one score.
    pub fn score(&self, embedding: &[f32]) -> f32 {
        self.vector.iter().zip(embedding).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>() as f32
    }
}
