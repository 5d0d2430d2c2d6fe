//! Opening what must be a file.
//!
//! Opening a named pipe waits for its writer, possibly for ever, and no signal ends that. A device may never end. So these
//! are refused wherever a file is read as a whole: models, configurations, prompts, lists, pictures.

use std::fs::{File, FileType};
use std::io::{Error, ErrorKind, Result};
use std::path::Path;

/// Opens a file to read it, or a folder. Never waits.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for a named pipe, a device or a socket; otherwise those of the system.
pub(crate) fn open(path: &Path) -> Result<File> {
    let mut options = File::options();
    options.read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY);
    let file = options.open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_file() || kind.is_dir() {
        return Ok(file);
    }
    #[cfg(unix)]
    let what = if std::os::unix::fs::FileTypeExt::is_fifo(&kind) { "a named pipe" } else { "a device" };
    #[cfg(not(unix))]
    let what = "a device";
    Err(Error::new(ErrorKind::Unsupported, format!("it is {what}, not a file")))
}

/// What has a name; `None` if nothing has.
///
/// # Errors
/// Those of the system. A disk that fails must not make a file look missing.
pub(crate) fn kind(path: &Path) -> Result<Option<FileType>> {
    match path.metadata() {
        Ok(found) => Ok(Some(found.file_type())),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(e) => Err(e),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    /// Any fault that is not an absence will do; this one needs no broken disk.
    #[test]
    fn what_the_system_does_not_tell_is_not_missing() {
        let dir = tempfile::tempdir().unwrap();
        assert!(kind(dir.path()).unwrap().is_some_and(|kind| kind.is_dir()));
        assert!(kind(&dir.path().join("none/inside")).unwrap().is_none());
        let long = dir.path().join("x".repeat(300));
        assert!(!long.exists() && kind(&long).is_err());
    }

    #[test]
    fn pipes_and_devices_are_refused_without_waiting() {
        let dir = tempfile::tempdir().unwrap();
        let (pipe, file) = (dir.path().join("pipe"), dir.path().join("file"));
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        std::fs::write(&file, "four").unwrap();
        assert_eq!(open(&file).unwrap().metadata().unwrap().len(), 4);
        assert!(open(dir.path()).is_ok());
        assert_eq!(open(&dir.path().join("none")).unwrap_err().kind(), ErrorKind::NotFound);
        for (path, what) in [(pipe.as_path(), "a named pipe"), (Path::new("/dev/zero"), "a device")] {
            let e = open(path).unwrap_err();
            assert_eq!((e.kind(), e.to_string()), (ErrorKind::Unsupported, format!("it is {what}, not a file")));
        }
    }
}
