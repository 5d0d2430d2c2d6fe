//! The values of a pickle, in one list in which they refer to each other by their places.

use super::stored::ElementType;

/// The place of a value.
pub(super) type ValueId = usize;

/// A value of a pickle.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Pickled {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Tuple(Vec<ValueId>),
    List(Vec<ValueId>),
    Dict(Vec<(ValueId, ValueId)>),
    Name(PickledName),
    Storage(Storage),
    Tensor(PickledTensor),
    /// An object of a TorchScript module, with its attributes.
    Object(Option<ValueId>),
    /// What a TorchScript module holds besides, such as typed lists.
    Other,
}

/// The names that a pickle of tensors uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PickledName {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    StorageOf(ElementType),
    ScriptClass,
    ScriptFunction,
}

/// Where the values of tensors are: an entry of the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Storage {
    pub(super) element: ElementType,
    /// Name of the entry.
    pub(super) key: String,
    /// Values in it, as the pickle says.
    pub(super) count: usize,
}

/// A view of a storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PickledTensor {
    pub(super) storage: Storage,
    /// First value, counted in values.
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    /// Distances between neighbours along each dimension, counted in values.
    pub(super) strides: Vec<usize>,
}

/// What a pickle holds.
#[derive(Debug)]
pub(super) struct Unpickled {
    values: Vec<Pickled>,
    root: ValueId,
}

impl Unpickled {
    pub(super) fn new(values: Vec<Pickled>, root: ValueId) -> Unpickled {
        Unpickled { values, root }
    }

    pub(super) fn root(&self) -> &Pickled {
        self.get(self.root)
    }

    pub(super) fn get(&self, place: ValueId) -> &Pickled {
        self.values.get(place).unwrap_or(&Pickled::None)
    }
}
