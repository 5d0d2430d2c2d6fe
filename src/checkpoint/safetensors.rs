//! Files in the format of safetensors: a header in JSON, then the values.
//!
//! The crate reads and checks the header alone; the file is not mapped. Memory: the header.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use safetensors::tensor::{Dtype, Metadata};

use super::stored::{ElementType, StoredTensor};

/// Largest header. Those of the largest models take a few megabytes.
const LARGEST_HEADER: u64 = 16 << 20;
/// The header's length, before it.
const LENGTH: u64 = 8;

/// Locates the tensors of a file. `number` is that of the file among those of the checkpoint.
///
/// # Errors
/// The cause.
pub(super) fn locate(mut file: File, number: usize) -> Result<BTreeMap<String, StoredTensor>, String> {
    let unreadable = |e: std::io::Error| format!("its header cannot be read: {e}");
    let mut length = [0; LENGTH as usize];
    file.seek(SeekFrom::Start(0)).map_err(unreadable)?;
    file.read_exact(&mut length).map_err(unreadable)?;
    let length = u64::from_le_bytes(length);
    if length > LARGEST_HEADER {
        return Err(format!("its header has {length} bytes, more than {LARGEST_HEADER}"));
    }
    let mut header = Vec::new();
    file.by_ref().take(length).read_to_end(&mut header).map_err(unreadable)?;
    let metadata: Metadata = serde_json::from_slice(&header).map_err(|e| format!("its header is damaged: {e}"))?;
    let (begin, size) = (LENGTH + length, file.metadata().map_err(unreadable)?.len());
    // The crate has checked that the tensors follow one another without gaps.
    if begin.checked_add(metadata.data_len() as u64) != Some(size) {
        return Err(format!(
            "it has {size} bytes, and its header describes {}",
            begin.saturating_add(metadata.data_len() as u64)
        ));
    }
    let tensors = metadata.tensors().into_iter().map(|(name, info)| {
        let element =
            element(info.dtype).ok_or_else(|| format!("tensor {name} has the unknown type {:?}", info.dtype))?;
        let start = begin + info.data_offsets.0 as u64;
        Ok((name, StoredTensor::in_rows(element, info.shape.clone(), start, number)))
    });
    tensors.collect()
}

fn element(kind: Dtype) -> Option<ElementType> {
    Some(match kind {
        Dtype::F32 => ElementType::F32,
        Dtype::F16 => ElementType::F16,
        Dtype::BF16 => ElementType::Bf16,
        Dtype::F64 => ElementType::F64,
        Dtype::I64 | Dtype::U64 => ElementType::Integer(8),
        Dtype::I32 | Dtype::U32 => ElementType::Integer(4),
        Dtype::I16 | Dtype::U16 => ElementType::Integer(2),
        Dtype::I8 | Dtype::U8 | Dtype::BOOL => ElementType::Integer(1),
        _ => return None,
    })
}
