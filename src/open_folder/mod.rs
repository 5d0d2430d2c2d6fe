//! A folder that is open, and files below it that other people may have put there.
//!
//! A name is a path from the folder with `/` between its parts. It never leads out of the folder: every part is checked,
//! and no part may be a symbolic link. Each part is opened from the one before it, so nobody can exchange a folder for a
//! link between the check and the use. The folder itself is the caller's choice, and may be a link.
//!
//! Where the system has no such calls, the parts are checked by name before they are used (`portable`).

use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::Path;

mod named_lock;
#[cfg(any(test, not(unix)))]
mod portable;
#[cfg(unix)]
mod unix;

pub(crate) use named_lock::NamedLock;
#[cfg(not(unix))]
pub(crate) use portable::NamedFolder as OpenFolder;
#[cfg(unix)]
pub(crate) use unix::OpenFolder;

/// The parts of a name. An empty name has none: it is the folder itself.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] if a part is empty, `.` or `..`, or holds what separates parts on some system.
pub(crate) fn parts(name: &str) -> io::Result<Vec<&str>> {
    if name.is_empty() {
        return Ok(Vec::new());
    }
    let good = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(['\\', '\0', ':']);
    let parts: Vec<&str> = name.split('/').collect();
    match parts.iter().all(|part| good(part)) {
        true => Ok(parts),
        false => Err(io::Error::new(ErrorKind::InvalidInput, "the name leads out of its folder")),
    }
}

/// The parts of the folder that holds a name, and the last part.
fn folder_and_last(name: &str) -> io::Result<(Vec<&str>, &str)> {
    let mut parts = parts(name)?;
    parts.pop().map(|last| (parts, last)).ok_or_else(|| ErrorKind::InvalidInput.into())
}

/// A link where a file or folder of descry's own should be.
fn is_link() -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, "it is, or is behind, a symbolic link, and descry follows none here")
}

fn no_file() -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, "it is not a regular file")
}

/// Opens the folder of a file that the caller names.
pub(crate) fn open_folder_of(path: &Path) -> io::Result<OpenFolder> {
    OpenFolder::open(path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")))
}

/// Locks an open file if nobody else has. A signal does not end the attempt.
pub(crate) fn try_lock(file: &File) -> Result<(), TryLockError> {
    loop {
        match file.try_lock() {
            Err(TryLockError::Error(e)) if e.kind() == ErrorKind::Interrupted => {}
            locked => return locked,
        }
    }
}

/// Locks an open file, and waits while another process has. A signal does not end the wait.
pub(crate) fn wait_for_lock(file: &File) -> io::Result<()> {
    loop {
        match file.lock() {
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            locked => return locked,
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::io::{Read, Write};
    use std::os::unix::fs::symlink;

    use super::*;

    /// The same tests for both ways to do it.
    macro_rules! tests_of {
        ($module:ident, $folder:ty) => {
            mod $module {
                use super::*;

                fn read(folder: &$folder, name: &str) -> io::Result<String> {
                    let mut text = String::new();
                    folder.file(name)?.read_to_string(&mut text).map(|_| text)
                }

                #[test]
                fn names_and_links_do_not_lead_out() {
                    let dir = tempfile::tempdir().unwrap();
                    let at = |name: &str| dir.path().join(name);
                    fs::create_dir_all(at("root/a/b")).unwrap();
                    fs::create_dir_all(at("victim/b")).unwrap();
                    fs::write(at("victim/secret"), "secret").unwrap();
                    fs::write(at("root/a/b/mine"), "mine").unwrap();
                    symlink(at("victim/secret"), at("root/a/link")).unwrap();
                    symlink(at("victim"), at("root/shelf")).unwrap();
                    symlink("nowhere", at("root/broken")).unwrap();
                    let root = <$folder>::open(&at("root")).unwrap();
                    assert_eq!(read(&root, "a/b/mine").unwrap(), "mine");
                    for bad in
                        ["../victim/secret", "a/../../victim/secret", "/etc/passwd", "a//b", "./a", "a/..", "a\\b"]
                    {
                        assert_eq!(read(&root, bad).unwrap_err().kind(), ErrorKind::InvalidInput, "{bad}");
                        assert!(root.remove_file(bad).is_err() && root.remove_folder(bad).is_err(), "{bad}");
                        assert!(root.folder(bad).is_err() && root.make_folder(bad).is_err(), "{bad}");
                    }
                    for link in ["a/link", "shelf/secret", "broken"] {
                        let e = read(&root, link).unwrap_err();
                        assert!(e.to_string().contains("symbolic link"), "{link}: {e}");
                    }
                    assert!(root.exists("shelf/secret").is_err());
                    assert!(root.make_folder("shelf/new").is_err() && root.folder("shelf").is_err());
                    assert!(root.remove_file("shelf/secret").is_err() && root.remove_folder("shelf/b").is_err());
                    assert!(root.lock_file("broken").is_err() && root.lock_file("a/link").is_err());
                    assert!(root.create_new("broken".as_ref()).is_err());
                    assert!(!at("root/nowhere").exists() && !at("victim/new").exists() && at("victim/b").exists());
                    // A link itself can be removed; what it names stays.
                    root.remove_folder("shelf").unwrap();
                    root.remove_folder("a").unwrap();
                    assert!(at("victim/secret").exists() && !at("root/a").exists());
                }

                #[test]
                fn only_regular_files_are_opened() {
                    let dir = tempfile::tempdir().unwrap();
                    let pipe = dir.path().join("pipe");
                    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
                    let root = <$folder>::open(dir.path()).unwrap();
                    // Without care, opening a pipe waits for a writer.
                    assert!(root.file("pipe").unwrap_err().to_string().contains("regular"));
                    assert!(root.lock_file("pipe").unwrap_err().to_string().contains("regular"));
                    assert!(root.file("").is_err() && root.file("none").unwrap_err().kind() == ErrorKind::NotFound);
                }

                #[test]
                fn files_are_made_named_and_removed() {
                    let dir = tempfile::tempdir().unwrap();
                    let root = <$folder>::open(dir.path()).unwrap();
                    let folder = root.make_folder("x/y").unwrap();
                    root.make_folder("x/y").unwrap();
                    folder.create_new("part".as_ref()).unwrap().write_all(b"1").unwrap();
                    assert_eq!(folder.create_new("part".as_ref()).unwrap_err().kind(), ErrorKind::AlreadyExists);
                    folder.link("part".as_ref(), "one".as_ref()).unwrap();
                    let e = folder.link("part".as_ref(), "one".as_ref()).unwrap_err();
                    assert_eq!(e.kind(), ErrorKind::AlreadyExists);
                    folder.rename("part".as_ref(), "two".as_ref()).unwrap();
                    root.sync("x/y").and_then(|()| root.sync_tree("x")).unwrap();
                    let mut names = root.names("x/y").unwrap();
                    names.sort();
                    assert_eq!(names, ["one", "two"]);
                    assert!(root.exists("x/y/one").unwrap() && !root.exists("x/z/one").unwrap());
                    assert_eq!(root.names("x/z").unwrap_err().kind(), ErrorKind::NotFound);
                    folder.remove("two".as_ref()).unwrap();
                    root.remove_file("x/y/one").unwrap();
                    assert_eq!(root.remove_file("x/y/one").unwrap_err().kind(), ErrorKind::NotFound);
                    root.remove_folder("x").unwrap();
                    assert_eq!(root.remove_folder("x").unwrap_err().kind(), ErrorKind::NotFound);
                    assert!(root.names("").unwrap().is_empty());
                }
            }
        };
    }

    tests_of!(by_handle, unix::OpenFolder);
    tests_of!(by_name, portable::NamedFolder);
}
