//! Where a tensor is in its file, and how its values are written there.

use half::{bf16, f16};

/// Type of a tensor's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ElementType {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
    /// 16-bit floats with the range of 32-bit ones.
    Bf16,
    /// 64-bit floats.
    F64,
    /// Integers or truth values of so many bytes, which no network computes with.
    Integer(usize),
}

impl ElementType {
    /// That of a storage class of PyTorch.
    pub(super) fn of_storage(name: &str) -> Option<ElementType> {
        Some(match name {
            "FloatStorage" => ElementType::F32,
            "HalfStorage" => ElementType::F16,
            "BFloat16Storage" => ElementType::Bf16,
            "DoubleStorage" => ElementType::F64,
            "LongStorage" => ElementType::Integer(8),
            "IntStorage" => ElementType::Integer(4),
            "ShortStorage" => ElementType::Integer(2),
            "CharStorage" | "ByteStorage" | "BoolStorage" => ElementType::Integer(1),
            _ => return None,
        })
    }

    /// Bytes of a value.
    pub(super) fn bytes(self) -> usize {
        match self {
            ElementType::F32 => 4,
            ElementType::F16 | ElementType::Bf16 => 2,
            ElementType::F64 => 8,
            ElementType::Integer(bytes) => bytes,
        }
    }

    /// A value as it is in the file, whose length is that of the type.
    pub(super) fn value(self, bytes: &[u8]) -> f32 {
        match (self, bytes) {
            (ElementType::F32, &[a, b, c, d]) => f32::from_le_bytes([a, b, c, d]),
            (ElementType::F16, &[a, b]) => f16::from_le_bytes([a, b]).to_f32(),
            (ElementType::Bf16, &[a, b]) => bf16::from_le_bytes([a, b]).to_f32(),
            (ElementType::F64, &[a, b, c, d, e, f, g, h]) => f64::from_le_bytes([a, b, c, d, e, f, g, h]) as f32,
            _ => f32::NAN,
        }
    }
}

/// Where a tensor is: a view of bytes of a file, all of which it has been checked to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredTensor {
    pub(super) element: ElementType,
    pub(super) shape: Vec<usize>,
    /// Distances between neighbours along each dimension, counted in values.
    pub(super) strides: Vec<usize>,
    /// First byte in the file.
    pub(super) start: u64,
    /// Number of the file.
    pub(super) file: usize,
}

impl StoredTensor {
    /// One whose values follow one another, the last dimension fastest.
    pub(super) fn in_rows(element: ElementType, shape: Vec<usize>, start: u64, file: usize) -> StoredTensor {
        let mut strides = vec![1; shape.len()];
        for i in (1..shape.len()).rev() {
            strides[i - 1] = shape[i].saturating_mul(strides[i]);
        }
        StoredTensor { element, shape, strides, start, file }
    }

    /// Sizes of its dimensions.
    pub(crate) fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// How many values it has; `None` if no machine can count them.
    pub(super) fn count(&self) -> Option<usize> {
        self.shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size))
    }

    /// Values from its first to its last one in the file; `None` if no machine can count them.
    pub(super) fn span(&self) -> Option<usize> {
        if self.shape.contains(&0) {
            return Some(0);
        }
        self.shape
            .iter()
            .zip(&self.strides)
            .try_fold(1usize, |span, (&size, &stride)| span.checked_add((size - 1).checked_mul(stride)?))
    }

    /// Whether its values follow one another.
    pub(super) fn is_in_rows(&self) -> bool {
        let rows = StoredTensor::in_rows(self.element, self.shape.clone(), 0, 0);
        let mut each = self.shape.iter().zip(self.strides.iter().zip(&rows.strides));
        each.all(|(&size, (have, want))| size == 1 || have == want)
    }
}

/// The values of a view, from all values that it spans.
pub(super) fn gathered(tensor: &StoredTensor, span: &[f32], count: usize) -> Vec<f32> {
    let mut index = vec![0; tensor.shape.len()];
    let (mut at, mut values) = (0, Vec::with_capacity(count));
    for _ in 0..count {
        values.push(span[at]);
        for i in (0..index.len()).rev() {
            index[i] += 1;
            at += tensor.strides[i];
            if index[i] < tensor.shape[i] {
                break;
            }
            at -= index[i] * tensor.strides[i];
            index[i] = 0;
        }
    }
    values
}
