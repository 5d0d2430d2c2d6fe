//! The archives of `torch.save` and `torch.jit.save`: a zip of stored entries, `NAME/data.pkl` and the values of each storage
//! in `NAME/data/KEY`.
//!
//! Entries are only located; their values are read when a tensor is asked for. Memory: the pickle, of at most
//! [`LARGEST_PICKLE`] bytes, and the list of entries.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};

use zip::{CompressionMethod, ZipArchive};

use super::pickle::unpickle;
use super::pickled::{Pickled, PickledTensor, Unpickled, ValueId};
use super::stored::StoredTensor;

/// Largest `data.pkl`. That of GPT-2 XL takes 100 KB.
const LARGEST_PICKLE: u64 = 16 << 20;
/// Most modules inside one another.
const DEEPEST: usize = 64;
/// Most tensors. GPT-2 XL has 580.
const MOST_TENSORS: usize = 1 << 16;
/// Most characters of all names of a module's tensors, and most values that are visited for them.
const MOST_NAMES: usize = 16 << 20;

type TorchArchive = ZipArchive<BufReader<File>>;

/// A storage's bytes in the file.
#[derive(Debug, Clone, Copy)]
struct Entry {
    start: u64,
    bytes: u64,
}

/// Locates the tensors of an archive by name. `number` is that of the file among those of the checkpoint.
///
/// # Errors
/// The cause.
pub(super) fn locate(file: File, number: usize) -> Result<BTreeMap<String, StoredTensor>, String> {
    let length = file.metadata().map_err(|e| format!("its length is unknown: {e}"))?.len();
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|e| format!("its archive cannot be read: {e}"))?;
    let root = root_of(&archive)?;
    if let Some(order) = read_entry(&mut archive, &format!("{root}byteorder"), 64)?
        && order != b"little"
    {
        return Err("its values are in big-endian order".into());
    }
    let script = archive.index_for_name(&format!("{root}constants.pkl")).is_some();
    let pickle = read_entry(&mut archive, &format!("{root}data.pkl"), LARGEST_PICKLE)?.ok_or_else(no_pickle)?;
    let unpickled = unpickle(&pickle, script)?;
    let found = if script { of_module(&unpickled)? } else { of_state_dict(&unpickled)? };
    if found.len() > MOST_TENSORS {
        return Err(format!("it holds more than {MOST_TENSORS} tensors"));
    }
    let mut entries = BTreeMap::new();
    let located = found.into_iter().map(|(name, tensor)| {
        let key = &tensor.storage.key;
        let entry = match entries.get(key) {
            Some(&entry) => entry,
            None => {
                let entry = locate_entry(&mut archive, &format!("{root}data/{key}"))?;
                if entry.start.checked_add(entry.bytes).is_none_or(|end| end > length) {
                    return Err(format!("it ends in the middle of its entry {root}data/{key}"));
                }
                entries.insert(key.clone(), entry);
                entry
            }
        };
        let stored = in_entry(tensor, entry, number).map_err(|cause| format!("tensor {name}: {cause}"))?;
        Ok((name, stored))
    });
    located.collect()
}

/// What all names of an archive begin with.
fn root_of(archive: &TorchArchive) -> Result<String, String> {
    let mut roots = Vec::new();
    for name in archive.file_names_raw() {
        let Ok(name) = std::str::from_utf8(name) else { continue };
        if let Some(root) = name.strip_suffix("data.pkl")
            && root.matches('/').count() == 1
            && root.ends_with('/')
        {
            roots.push(root.to_string());
        }
    }
    match roots.len() {
        1 => Ok(roots.remove(0)),
        0 => Err(no_pickle()),
        more => Err(format!("it holds {more} checkpoints")),
    }
}

fn no_pickle() -> String {
    "it is a zip archive without NAME/data.pkl, so PyTorch did not write it".into()
}

/// The bytes of a small entry; `None` if there is none.
fn read_entry(archive: &mut TorchArchive, name: &str, limit: u64) -> Result<Option<Vec<u8>>, String> {
    if archive.index_for_name(name).is_none() {
        return Ok(None);
    }
    let size = locate_entry(archive, name)?.bytes;
    if size > limit {
        return Err(format!("its entry {name} has {size} bytes, more than {limit}"));
    }
    let mut bytes = Vec::new();
    let mut entry = archive.by_name(name).map_err(|e| damaged(name, &e))?;
    entry.by_ref().take(limit).read_to_end(&mut bytes).map_err(|e| format!("its entry {name} cannot be read: {e}"))?;
    Ok(Some(bytes))
}

fn locate_entry(archive: &mut TorchArchive, name: &str) -> Result<Entry, String> {
    let shown: String = name.chars().take(100).collect();
    let Some(index) = archive.index_for_name(name) else { return Err(format!("it lacks its entry {shown}")) };
    let entry = archive.by_index_raw(index).map_err(|e| damaged(&shown, &e))?;
    if entry.encrypted() || entry.compression() != CompressionMethod::Stored || entry.size() != entry.compressed_size()
    {
        return Err(format!("its entry {shown} is compressed or encrypted, which PyTorch never does"));
    }
    let start = entry.data_start().ok_or_else(|| format!("its entry {shown} has no place in the file"))?;
    Ok(Entry { start, bytes: entry.size() })
}

fn damaged(name: &str, e: &impl std::fmt::Display) -> String {
    format!("its entry {name} is damaged: {e}")
}

/// A tensor in its entry, if it fits.
fn in_entry(tensor: PickledTensor, entry: Entry, file: usize) -> Result<StoredTensor, String> {
    let PickledTensor { storage, offset, shape, strides } = tensor;
    let bytes = storage.element.bytes();
    let room = entry.bytes / bytes as u64;
    if storage.count as u64 > room {
        return Err(format!("its storage has {} bytes, too few for {} values", entry.bytes, storage.count));
    }
    let skipped = (offset as u64).checked_mul(bytes as u64).and_then(|skipped| entry.start.checked_add(skipped));
    let start = skipped.ok_or("its offset is too large")?;
    let stored = StoredTensor { element: storage.element, shape, strides, start, file };
    let end = stored.span().and_then(|span| span.checked_add(offset));
    match end {
        Some(end) if end <= storage.count => Ok(stored),
        _ => Err("it reaches beyond its storage".into()),
    }
}

/// The tensors of a state dict, and nothing else.
fn of_state_dict(all: &Unpickled) -> Result<BTreeMap<String, PickledTensor>, String> {
    let Pickled::Dict(pairs) = all.root() else { return Err("it holds no state dict".into()) };
    let (mut found, mut odd) = (BTreeMap::new(), Vec::new());
    for &(key, value) in pairs {
        match (all.get(key), all.get(value)) {
            (Pickled::Text(name), Pickled::Tensor(tensor)) if found.len() <= MOST_TENSORS => {
                found.insert(name.clone(), tensor.clone());
            }
            (Pickled::Text(_), Pickled::Tensor(_)) => break,
            (Pickled::Text(name), _) => odd.push(name.chars().take(100).collect()),
            _ => odd.push("a key that is no text".to_string()),
        }
    }
    if odd.is_empty() {
        return Ok(found);
    }
    odd.truncate(5);
    Err(format!("it holds more than tensors: {}", odd.join(", ")))
}

/// The tensors of a TorchScript module and of those inside it, under the names that its state dict would have.
fn of_module(all: &Unpickled) -> Result<BTreeMap<String, PickledTensor>, String> {
    let Pickled::Object(attributes) = all.root() else { return Err("it holds no module".into()) };
    let mut walk = ModuleWalk { all, found: BTreeMap::new(), left: MOST_NAMES };
    walk.visit(*attributes, "", 0)?;
    Ok(walk.found)
}

struct ModuleWalk<'a> {
    all: &'a Unpickled,
    found: BTreeMap<String, PickledTensor>,
    /// What may still be visited. A module that is shared many times would be visited as often.
    left: usize,
}

impl ModuleWalk<'_> {
    fn visit(&mut self, attributes: Option<ValueId>, path: &str, depth: usize) -> Result<(), String> {
        let Some(attributes) = attributes else { return Ok(()) };
        let Pickled::Dict(pairs) = self.all.get(attributes) else { return Err("a module in it has no names".into()) };
        for &(key, value) in pairs {
            let Pickled::Text(name) = self.all.get(key) else { return Err("a module in it has no names".into()) };
            let value = self.all.get(value);
            let cost =
                if matches!(value, Pickled::Tensor(_) | Pickled::Object(_)) { path.len() + name.len() + 1 } else { 1 };
            self.left = self.left.checked_sub(cost).ok_or("its modules are nested too often")?;
            match value {
                Pickled::Tensor(_) if self.found.len() > MOST_TENSORS => return Ok(()),
                Pickled::Tensor(tensor) => {
                    self.found.insert(format!("{path}{name}"), tensor.clone());
                }
                Pickled::Object(_) if depth >= DEEPEST => return Err("its modules are nested too deeply".into()),
                Pickled::Object(inner) => self.visit(*inner, &format!("{path}{name}."), depth + 1)?,
                _ => {}
            }
        }
        Ok(())
    }
}
