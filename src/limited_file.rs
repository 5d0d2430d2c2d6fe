//! Small files, read up to a limit, so that a wrong path (a film) cannot fill the memory. Named pipes and devices are refused.

use std::io::{Error, ErrorKind, Read, Result};
use std::path::Path;

use crate::regular_file;

/// The bytes of a file.
///
/// # Errors
/// [`ErrorKind::FileTooLarge`] if it has more than `limit` bytes, and those of [`regular_file::open`].
pub(crate) fn read_bytes(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    regular_file::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(Error::new(ErrorKind::FileTooLarge, format!("it has more than {limit} bytes")));
    }
    Ok(bytes)
}

/// The text of a file.
///
/// # Errors
/// As for [`read_bytes`], and [`ErrorKind::InvalidData`] if it is not UTF-8.
pub(crate) fn read_text(path: &Path, limit: u64) -> Result<String> {
    String::from_utf8(read_bytes(path, limit)?).map_err(|e| Error::new(ErrorKind::InvalidData, e.utf8_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn larger_files_are_refused_whatever_length_they_report() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.txt");
        std::fs::write(&path, "four").unwrap();
        assert_eq!(read_text(&path, 4).unwrap(), "four");
        assert_eq!(read_text(&path, 3).unwrap_err().kind(), ErrorKind::FileTooLarge);
        std::fs::write(&path, [0xff]).unwrap();
        assert_eq!(read_text(&path, 4).unwrap_err().kind(), ErrorKind::InvalidData);
        #[cfg(unix)]
        assert_eq!(read_bytes(Path::new("/dev/zero"), 9).unwrap_err().kind(), ErrorKind::Unsupported);
    }
}
