//! Checkpoints of networks: tensors by name, from files that other people made.
//!
//! ```text
//! tensors        a checkpoint, and the values of its tensors
//! stored         where a tensor is, and how its values are written
//! torch_zip      archives of torch.save and torch.jit.save
//! pickle         the pickle inside: tensors and nothing else; pickled: its values
//! safetensors    files in that format
//! ```
//!
//! Nothing that a file holds is run, and no value is read before it is asked for. Memory: the names of the tensors, and the
//! values of those that are asked for; all together at most a small multiple of the file.

mod pickle;
mod pickled;
mod safetensors;
mod stored;
mod tensors;
#[cfg(test)]
mod tests;
mod torch_zip;

pub(crate) use tensors::Checkpoint;
