//! Where the files of each stream go.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};

/// The path of each stream: `path` itself for one stream; for several, a name below the folder `path` that every file
/// system accepts.
pub(super) fn stream_paths(path: &Path, streams: &[Arc<str>], extension: &str) -> Result<Vec<(Arc<str>, PathBuf)>> {
    if let [only] = streams {
        return Ok(vec![(only.clone(), path.to_path_buf())]);
    }
    let mut taken = HashSet::new();
    let in_folder = |stream: &Arc<str>| {
        let name = format!("{}{extension}", file_name(stream));
        let free = taken.insert(name.to_lowercase());
        let clash = || {
            let cause = format!("{}: two streams would both be written to {name}", path.display());
            Error::usage(cause, "Give the streams names that differ in letters or digits.")
        };
        free.then(|| (stream.clone(), path.join(&name))).ok_or_else(clash)
    };
    streams.iter().map(in_folder).collect()
}

/// A stream's name with everything replaced but letters, digits and a few signs; never hidden, never a folder of its own.
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
            stream_paths(Path::new("out"), &names, ".vtt").map(|p| p.into_iter().map(|(_, p)| p).collect::<Vec<_>>())
        };
        assert_eq!(of(&["a/b"]).unwrap(), [Path::new("out")]);
        assert_eq!(of(&["a/b", "../c", ""]).unwrap().last().unwrap(), Path::new("out/_.vtt"));
        assert_eq!(of(&["a/b", "../c"]).unwrap(), [Path::new("out/a_b.vtt"), Path::new("out/_.._c.vtt")]);
        assert!(of(&["a b", "A/b"]).is_err());
    }
}
