//! The outputs, one file each.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};

pub mod command;
pub mod hls;
pub mod jsonl;
pub mod pace;
pub mod vtt;
pub mod webhook;

/// Where each stream's files go: `path` itself for one stream, below the folder `path` for several, under names that every
/// file system takes.
fn places(path: &Path, streams: &[Arc<str>], extension: &str) -> Result<Vec<(Arc<str>, PathBuf)>> {
    if let [only] = streams {
        return Ok(vec![(only.clone(), path.to_path_buf())]);
    }
    let mut taken = HashSet::new();
    let place = |stream: &Arc<str>| {
        let name = format!("{}{extension}", file_name(stream));
        let free = taken.insert(name.to_lowercase());
        let clash = || {
            let cause = format!("{}: two streams would both be written to {name} there", path.display());
            Error::usage(cause, "Give the streams names that differ in more than signs.")
        };
        free.then(|| (stream.clone(), path.join(&name))).ok_or_else(clash)
    };
    streams.iter().map(place).collect()
}

/// A stream's name with all but letters, digits and a few signs replaced; never hidden, never a folder of its own.
fn file_name(stream: &str) -> String {
    let keep = |c: char| if c.is_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' };
    let name: String = stream.chars().take(60).map(keep).collect();
    if name.is_empty() || name.starts_with('.') { format!("_{name}") } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_after_their_streams() {
        let of = |names: &[&str]| {
            let names: Vec<Arc<str>> = names.iter().map(|n| Arc::from(*n)).collect();
            places(Path::new("out"), &names, ".vtt").map(|p| p.into_iter().map(|(_, p)| p).collect::<Vec<_>>())
        };
        assert_eq!(of(&["a/b"]).unwrap(), [Path::new("out")]);
        assert_eq!(of(&["a/b", "../c", ""]).unwrap().last().unwrap(), Path::new("out/_.vtt"));
        assert_eq!(of(&["a/b", "../c"]).unwrap(), [Path::new("out/a_b.vtt"), Path::new("out/_.._c.vtt")]);
        assert!(of(&["a b", "A/b"]).is_err());
    }
}
