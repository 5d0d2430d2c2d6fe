//! Tensors of a checkpoint by name: where each is in its file, and its values as 32-bit floats.
//!
//! Files are read, not mapped: one that is cut while it is read is an error, and would end a process that had mapped it.
//! Memory: the list of tensors, and of those that are asked for their values.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::stored::{ElementType, StoredTensor, gathered};
use super::{safetensors, torch_zip};
use crate::error::{Error, Result};
use crate::regular_file;

/// Bytes that are read at a time.
const BLOCK: usize = 64 << 10;

/// What a `torch.save` of before PyTorch 1.6 begins with: a pickled number.
const LEGACY: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.";

/// What to do about a file that is no checkpoint.
const OTHER_FILE: &str =
    "Name a checkpoint of tensors alone: a .safetensors file, or one that torch.save wrote of a state dict.";
/// What to do about a file in the old format.
const RESAVE: &str =
    "Load it with PyTorch 1.6 or newer and write it again: torch.save(torch.load(FILE, weights_only=True), NEW).";
/// What to do about a tensor that is not as it must be.
const OTHER_TENSOR: &str = "Name the checkpoint that belongs to this layout, or download it again.";

/// A checkpoint: one file of tensors, or several that belong together.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    name: String,
    files: Vec<(PathBuf, File)>,
    tensors: BTreeMap<String, StoredTensor>,
}

impl Checkpoint {
    /// Opens a file and finds its tensors, by what it holds rather than by its name.
    ///
    /// # Errors
    /// [`Error::Input`] if it cannot be read; [`Error::Model`] if it is no checkpoint or holds more than tensors.
    pub(crate) fn open(path: &Path) -> Result<Checkpoint> {
        Checkpoint::of_files(path, &[path.to_path_buf()])
    }

    /// Opens several files as one. `name` is what messages call them.
    ///
    /// # Errors
    /// As for [`Checkpoint::open`].
    pub(crate) fn of_files(name: &Path, paths: &[PathBuf]) -> Result<Checkpoint> {
        let mut checkpoint =
            Checkpoint { name: name.display().to_string(), files: Vec::new(), tensors: BTreeMap::new() };
        for path in paths {
            let file = regular_file::open(path).map_err(|e| Error::read(path.display().to_string(), &e))?;
            let (found, length) = located(path, &file, checkpoint.files.len())?;
            // Views may overlap, and tied weights do. Without a limit, a small file would fill memory and disk.
            let counted = found.values().try_fold(0usize, |sum, tensor| sum.checked_add(tensor.count()?));
            let most = 4 * length.saturating_add(BLOCK as u64);
            if counted.is_none_or(|counted| counted as u64 > most) {
                return Err(refused(path, "its tensors have more values than so small a file can hold", OTHER_FILE));
            }
            checkpoint.tensors.extend(found);
            checkpoint.files.push((path.clone(), file));
        }
        Ok(checkpoint)
    }

    /// What messages call it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// A tensor; `None` if there is none of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&StoredTensor> {
        self.tensors.get(name)
    }

    /// Names of all tensors, sorted.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Sizes of a tensor that must be there with so many dimensions.
    ///
    /// # Errors
    /// [`Error::Model`] that names the tensor.
    pub(crate) fn sizes<const N: usize>(&self, name: &str) -> Result<[usize; N]> {
        let shape = self.required(name)?.shape();
        shape.try_into().map_err(|_| self.error(format!("tensor {name} is {shape:?}: it must have {N} dimensions")))
    }

    /// How many layers there are whose tensors begin with `before`, a number and a dot.
    pub(crate) fn layers(&self, before: &str) -> usize {
        let begins = |n: usize| {
            let layer = format!("{before}{n}.");
            self.tensors.range(layer.clone()..).next().is_some_and(|(name, _)| name.starts_with(&layer))
        };
        (0..).take_while(|&n| begins(n)).count()
    }

    /// The values of a tensor of this shape, the last dimension fastest.
    ///
    /// # Errors
    /// [`Error::Model`] that names the tensor, if it is missing, has another shape or holds integers; [`Error::Input`] if the
    /// file cannot be read.
    pub(crate) fn values(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let tensor = self.required(name)?;
        if tensor.shape != shape {
            return Err(self.error(format!("tensor {name} is {:?}, and must be {shape:?}", tensor.shape)));
        }
        if matches!(tensor.element, ElementType::Integer(_)) {
            return Err(self.error(format!("tensor {name} holds integers, and must hold floats")));
        }
        let count = tensor.count().unwrap_or(0);
        if tensor.is_in_rows() {
            return self.read(tensor, count);
        }
        let span = self.read(tensor, tensor.span().unwrap_or(0))?;
        Ok(gathered(tensor, &span, count))
    }

    /// An error of this checkpoint.
    pub(crate) fn error(&self, cause: String) -> Error {
        Error::model(&self.name, cause, OTHER_TENSOR)
    }

    fn required(&self, name: &str) -> Result<&StoredTensor> {
        self.get(name).ok_or_else(|| self.error(format!("there is no tensor {name}")))
    }

    /// So many values that follow one another in the file.
    fn read(&self, tensor: &StoredTensor, count: usize) -> Result<Vec<f32>> {
        let (path, file) = &self.files[tensor.file];
        let unreadable = |e: std::io::Error| Error::read(path.display().to_string(), &e);
        let (mut file, size) = (file, tensor.element.bytes());
        file.seek(SeekFrom::Start(tensor.start)).map_err(unreadable)?;
        let mut values = Vec::with_capacity(count);
        let mut block = vec![0; BLOCK];
        while values.len() < count {
            let block = &mut block[..((count - values.len()) * size).min(BLOCK)];
            file.read_exact(block).map_err(unreadable)?;
            values.extend(block.chunks_exact(size).map(|bytes| tensor.element.value(bytes)));
        }
        Ok(values)
    }
}

/// The tensors of a file, and its length.
fn located(path: &Path, file: &File, number: usize) -> Result<(BTreeMap<String, StoredTensor>, u64)> {
    let unreadable = |e: std::io::Error| Error::read(path.display().to_string(), &e);
    let mut head = Vec::new();
    file.take(512).read_to_end(&mut head).map_err(unreadable)?;
    let copy = file.try_clone().map_err(unreadable)?;
    let found = if head.starts_with(b"PK\x03\x04") {
        torch_zip::locate(copy, number)
    } else if head.get(8) == Some(&b'{') {
        safetensors::locate(copy, number)
    } else if head.starts_with(LEGACY) || head.get(257..262) == Some(b"ustar") {
        return Err(refused(path, "it is in the format of PyTorch before 1.6, which is not read", RESAVE));
    } else {
        let cause = "it is neither a zip archive of PyTorch nor in the format of safetensors";
        return Err(refused(path, cause, OTHER_FILE));
    };
    let found = found.map_err(|cause| refused(path, &cause, OTHER_FILE))?;
    Ok((found, file.metadata().map_err(unreadable)?.len()))
}

fn refused(path: &Path, cause: &str, remedy: &'static str) -> Error {
    Error::model(path.display().to_string(), format!("refused: {cause}"), remedy)
}
