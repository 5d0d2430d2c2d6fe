//! A graph whose integer weights stay in the bytes that it was read from, for a few runs.
//!
//! Floats take four times the memory of the integers, and getting that from the system takes longer than a run. So every run
//! computes them anew, in memory that ONNX Runtime uses for one matrix after the other, as the graph says. Tables are looked
//! up as [`super::floats`] does.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::floats::{replace_nodes, stored_weights};
use super::model::OnnxModel;

/// The changed graph.
pub(crate) struct InPlaceGraph {
    pub(crate) bytes: Vec<u8>,
    /// Constants that the graph has by name only.
    pub(crate) constants: Vec<StoredConstant>,
    /// The file that it names as theirs, from which nothing is read.
    pub(crate) file: PathBuf,
}

/// Integers of 8 bits.
pub(crate) struct StoredConstant {
    pub(crate) name: String,
    pub(crate) dims: Vec<i64>,
    /// One of [`super::element`].
    pub(crate) element: i64,
    /// Where they are in the bytes of the graph as it was.
    pub(crate) values: Range<usize>,
}

/// Changes the graph of a file; `None` if it has no such weights, or if the bytes are not a graph.
pub(crate) fn in_place(bytes: &[u8], file: &Path) -> Option<InPlaceGraph> {
    let mut model = OnnxModel::read(bytes)?;
    let mut stored = stored_weights(&model, bytes.len())?;
    let (file, location) = named_file(file)?;
    let mut constants = Vec::new();
    // Two products may read the same integers.
    let mut seen = BTreeSet::new();
    for weights in stored.values().map(|w| &w.integers).filter(|integers| seen.insert(integers.name)) {
        let from = weights.values.as_ptr().addr().checked_sub(bytes.as_ptr().addr())?;
        let values = from..from + weights.values.len();
        // Integers that the graph has as numbers were copied.
        let Cow::Borrowed(_) = weights.values else { return None };
        constants.push(StoredConstant {
            name: weights.name.into(),
            dims: weights.dims.clone(),
            element: weights.element,
            values,
        });
    }
    stored.retain(|_, weights| weights.is_table);
    replace_nodes(&mut model, &stored);
    model.remove_constants(&seen);
    for StoredConstant { name, dims, element, .. } in &constants {
        model.add_constant_of(name, dims, *element, &location);
    }
    Some(InPlaceGraph { bytes: model.write_whole(), constants, file })
}

/// The file that the graph names as that of its constants, and its name without folders. ONNX Runtime wants one that exists,
/// and allows no link out of a folder, so it is the graph's own, where a link leads.
fn named_file(graph: &Path) -> Option<(PathBuf, String)> {
    let file = graph.canonicalize().ok()?;
    let name = file.file_name()?.to_str()?.to_string();
    Some((file, name))
}
