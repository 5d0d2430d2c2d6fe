//! Room on the disk, before anything is fetched.

use std::path::Path;

use crate::error::{Error, Result};

/// What is to stay free.
const SPARE: u64 = 64 << 20;

/// Refuses a model that does not fit on the disk of this folder.
///
/// # Errors
/// [`Error::Output`] if it does not fit, or if the system does not say how much there is.
pub(super) fn check_space(dir: &Path, needed: u64) -> Result<()> {
    let free = free_bytes(dir).map_err(|e| {
        let cause = format!("the free space of its disk is unknown: {e}");
        Error::output(dir.display().to_string(), cause, "Check the disk.").with_source(e)
    })?;
    check_free(dir, needed, free)
}

fn check_free(dir: &Path, needed: u64, free: Option<u64>) -> Result<()> {
    let Some(free) = free.filter(|free| needed.saturating_add(SPARE) > *free && needed > 0) else { return Ok(()) };
    Err(Error::output(
        dir.display().to_string(),
        format!("the model needs {} more, and its disk has {} left", megabytes(needed), megabytes(free)),
        "Free some space, or name a folder on another disk with the environment variable DESCRY_MODELS.",
    ))
}

/// A size for people.
pub(super) fn megabytes(bytes: u64) -> String {
    if bytes < 10_000_000 { format!("{:.1} MB", bytes as f64 / 1e6) } else { format!("{} MB", bytes / 1_000_000) }
}

#[cfg(unix)]
fn free_bytes(dir: &Path) -> std::io::Result<Option<u64>> {
    let disk = nix::sys::statvfs::statvfs(dir)?;
    // The types differ between systems.
    #[allow(clippy::unnecessary_cast)]
    let (blocks, size) = (disk.blocks_available() as u64, disk.fragment_size() as u64);
    Ok(Some(blocks.saturating_mul(size)))
}

/// Without such a call, a full disk ends the pull where it is.
#[cfg(not(unix))]
fn free_bytes(_: &Path) -> std::io::Result<Option<u64>> {
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused() {
        let check = |needed, free| check_free(Path::new("m"), needed, free).map_err(|e| e.to_string());
        assert!(check(1 << 30, Some(2 << 30)).is_ok() && check(u64::MAX, None).is_ok() && check(0, Some(0)).is_ok());
        let text = check(1 << 30, Some(1 << 30)).unwrap_err();
        assert!(text.contains("needs 1073 MB more") && text.contains("has 1073 MB left"), "{text}");
        assert!(check(u64::MAX, Some(1)).is_err());
        #[cfg(unix)]
        assert!(free_bytes(&std::env::temp_dir()).unwrap().is_some_and(|free| free > 0));
    }
}
