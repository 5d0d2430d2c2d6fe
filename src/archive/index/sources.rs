//! What is to be in an archive: folders, lists, files, objects and addresses, made into names and fingerprints.
//!
//! Nothing is opened; a source is only asked for its size and age. Order: sources as they are named, folders by path; what is
//! named twice counts once. Memory: the names.

use std::collections::HashSet;
use std::fs;
use std::io::{self, BufRead, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use crate::address::Address;
use crate::address::is_url;
use crate::archive::record::key;
use crate::error::{Error, Result};
use crate::fingerprint::Fingerprint;
use crate::interrupt::Interrupt;

/// File name extensions of videos, in lower case: what a folder or a bucket is searched for. Of `ts`, which has other
/// meanings, only what begins as a transport stream does.
pub const EXTENSIONS: [&str; 30] = [
    "3g2", "3gp", "asf", "avi", "dv", "divx", "f4v", "flv", "m1v", "m2ts", "m2v", "m4v", "mjpeg", "mkv", "mov", "mp4",
    "mpeg", "mpg", "mts", "mxf", "nut", "ogm", "ogv", "rm", "rmvb", "ts", "vob", "webm", "wmv", "y4m",
];
/// File name extensions of lists.
const LISTS: [&str; 3] = ["txt", "lst", "list"];
/// The longest line of a list.
const LONGEST_LINE: usize = 64 << 10;
/// Folders within folders.
const DEEPEST: usize = 128;

/// A video that a source names.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// Its name in the archive.
    pub video: Arc<str>,
    /// What is opened, where that is not the name: an address with its credentials.
    pub input: Option<Address>,
    pub source: Fingerprint,
}

impl Item {
    /// What is to be opened.
    pub fn input(&self) -> &str {
        self.input.as_ref().map_or(&self.video, |a| a.reveal())
    }
}

/// All that the sources name.
#[derive(Debug, Default)]
pub struct Listing {
    pub items: Vec<Item>,
    /// Sources, or parts of them, that cannot be listed.
    pub problems: Vec<Error>,
}

/// Whether a name says that it is a video's.
pub fn is_video(name: &str) -> bool {
    has_extension(name, &EXTENSIONS)
}

fn has_extension(name: &str, known: &[&str]) -> bool {
    let extension = Path::new(name).extension().and_then(|e| e.to_str()).unwrap_or_default();
    known.iter().any(|k| extension.eq_ignore_ascii_case(k))
}

/// Lists all sources. `spare` is the archive's own folder, which is not searched. What cannot be listed is among the
/// problems; only an interrupt is an error.
pub fn list(sources: &[String], spare: Option<&Path>, remote: &dyn Remote, interrupt: &Interrupt) -> Result<Listing> {
    let spare = spare.and_then(|s| s.canonicalize().ok());
    let mut all = Lister { listing: Listing::default(), seen: HashSet::new(), spare, remote, interrupt };
    for source in sources {
        if source == "-" || (!is_url(source) && has_extension(source, &LISTS) && !Path::new(source).is_dir()) {
            all.lines(source)?;
        } else {
            all.source(source)?;
        }
    }
    Ok(all.listing)
}

/// Asks what is not on this machine.
pub trait Remote {
    /// All videos below an address, or the one that it is: address and fingerprint.
    fn list(&self, address: &str, found: &mut dyn FnMut(String, Fingerprint) -> Result<()>) -> Result<()>;
    /// One address of the web.
    fn ask(&self, address: &Address) -> Result<Fingerprint>;
}

struct Lister<'a> {
    listing: Listing,
    seen: HashSet<u64>,
    spare: Option<PathBuf>,
    remote: &'a dyn Remote,
    interrupt: &'a Interrupt,
}

impl Lister<'_> {
    fn add(&mut self, item: Item) {
        if self.seen.insert(key(&item.video)) {
            self.listing.items.push(item);
        } else if item.input.is_some() {
            // Without what must not be shown they are one.
            let cause = "is named twice, or two addresses differ in nothing but their query or credentials";
            self.problem(Error::input(&*item.video, cause, "Name only one of them in an archive."));
        }
    }

    fn problem(&mut self, e: Error) {
        self.listing.problems.push(e);
    }

    fn lines(&mut self, list: &str) -> Result<()> {
        let fail = |e: &io::Error| {
            Error::input(list, format!("cannot be read: {e}"), "Give a text file, a path or address a line.")
        };
        let mut from: Box<dyn BufRead> = if list == "-" {
            Box::new(io::stdin().lock())
        } else {
            match fs::File::open(list) {
                Ok(file) => Box::new(io::BufReader::new(file)),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    self.problem(Error::input(list, "no such list", "Check the path."));
                    return Ok(());
                }
                Err(e) => {
                    self.problem(fail(&e));
                    return Ok(());
                }
            }
        };
        loop {
            let mut line = Vec::new();
            match (&mut from).take(LONGEST_LINE as u64 + 1).read_until(b'\n', &mut line) {
                Ok(0) => return Ok(()),
                Ok(n) if n > LONGEST_LINE => {
                    let cause = format!("has a line of more than {LONGEST_LINE} bytes");
                    self.problem(Error::input(list, cause, "Give a text file, a path or address a line."));
                    return Ok(());
                }
                Ok(_) => {}
                Err(e) => {
                    self.problem(fail(&e));
                    return Ok(());
                }
            }
            let Ok(line) = String::from_utf8(line) else {
                let cause = "has a line that is no UTF-8";
                self.problem(Error::input(list, cause, "Rename that file, or write the list as UTF-8."));
                continue;
            };
            let line = line.trim_end_matches(['\n', '\r']);
            if !line.trim().is_empty() {
                self.source(line)?;
            }
        }
    }

    fn source(&mut self, source: &str) -> Result<()> {
        if self.interrupt.is_set() {
            return Err(Error::Interrupted);
        }
        if is_url(source) {
            return self.address(source);
        }
        let path = Path::new(source);
        match path.canonicalize() {
            Ok(whole) if whole.is_dir() => self.folder(&whole, 0),
            Ok(whole) => {
                self.file(&whole);
                Ok(())
            }
            // What is not there is a failure of that video like any other: kept, and told.
            Err(_) => {
                let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
                match whole.to_str() {
                    Some(name) => self.add(Item { video: name.into(), input: None, source: Fingerprint::default() }),
                    None => self.problem(no_utf8(&whole)),
                }
                Ok(())
            }
        }
    }

    fn address(&mut self, source: &str) -> Result<()> {
        let address = Address::new(source);
        let scheme = source.split("://").next().unwrap_or_default().to_ascii_lowercase();
        match scheme.as_str() {
            "s3" => {
                let (remote, mut found) = (self.remote, Vec::new());
                let listed = remote.list(source, &mut |video, fingerprint| {
                    if self.interrupt.is_set() {
                        return Err(Error::Interrupted);
                    }
                    found.push(Item { video: video.into(), input: None, source: fingerprint });
                    Ok(())
                });
                found.into_iter().for_each(|item| self.add(item));
                match listed {
                    Err(Error::Interrupted) => return Err(Error::Interrupted),
                    Err(e) => self.problem(e),
                    Ok(()) => {}
                }
            }
            "http" | "https" => match self.remote.ask(&address) {
                Ok(source) => self.add(Item { video: address.shown().into(), input: Some(address), source }),
                Err(Error::Interrupted) => return Err(Error::Interrupted),
                // Opening it will say what is wrong.
                Err(_) => {
                    let (video, source) = (address.shown().into(), Fingerprint::default());
                    self.add(Item { video, input: Some(address), source });
                }
            },
            _ => self.problem(Error::input(
                address.shown(),
                format!("{scheme}:// is no place of videos that stay"),
                "Give files, folders, s3:// or http(s):// addresses; descry live watches streams.",
            )),
        }
        Ok(())
    }

    fn folder(&mut self, folder: &Path, depth: usize) -> Result<()> {
        if self.spare.as_deref() == Some(folder) {
            return Ok(());
        }
        if depth > DEEPEST {
            let cause = format!("lies {DEEPEST} folders deep");
            self.problem(Error::input(folder.display().to_string(), cause, "Name the inner folders as sources."));
            return Ok(());
        }
        let unreadable = |path: &Path, e: &io::Error| {
            let remedy = "Make the folder readable for this user.";
            Error::input(path.display().to_string(), format!("cannot be listed: {e}"), remedy)
        };
        let mut entries = Vec::new();
        match fs::read_dir(folder) {
            Ok(read) => {
                for entry in read {
                    match entry.and_then(|e| Ok((e.path(), e.file_type()?))) {
                        Ok(entry) => entries.push(entry),
                        Err(e) => self.problem(unreadable(folder, &e)),
                    }
                }
            }
            Err(e) => self.problem(unreadable(folder, &e)),
        }
        entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        for (path, kind) in entries {
            if self.interrupt.is_set() {
                return Err(Error::Interrupted);
            }
            if kind.is_dir() {
                self.folder(&path, depth + 1)?;
            } else if path.file_name().is_some_and(|n| is_video(&n.to_string_lossy())) {
                if kind.is_symlink() {
                    // Folders behind links are not followed: they may lead back.
                    match path.canonicalize() {
                        Ok(whole) if whole.is_file() => self.file(&whole),
                        _ => {}
                    }
                } else if kind.is_file() && (!has_extension(&path.to_string_lossy(), &["ts"]) || is_transport(&path)) {
                    self.file(&path);
                }
            }
        }
        Ok(())
    }

    fn file(&mut self, whole: &Path) {
        match whole.to_str() {
            Some(name) => self.add(Item { video: name.into(), input: None, source: fingerprint(whole) }),
            None => self.problem(no_utf8(whole)),
        }
    }
}

fn no_utf8(path: &Path) -> Error {
    Error::input(path.display().to_string(), "its name is no UTF-8", "Rename it: an archive's names are UTF-8.")
}

/// What tells a file from a changed one; nothing where it cannot be asked.
pub fn fingerprint(path: &Path) -> Fingerprint {
    let Ok(metadata) = fs::metadata(path) else { return Fingerprint::default() };
    let nanoseconds = metadata.modified().ok().map(|at| match at.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |n| -n),
    });
    Fingerprint { size: Some(metadata.len()), mtime_ns: nanoseconds, ..Fingerprint::default() }
}

/// Whether a file begins with the packets of a transport stream, of 188 bytes, or 192 with a time before each.
fn is_transport(path: &Path) -> bool {
    let mut head = Vec::new();
    let read = fs::File::open(path).and_then(|f| f.take(400).read_to_end(&mut head));
    let sync = |at: usize, step: usize| head.get(at) == Some(&0x47) && head.get(at + step).is_none_or(|b| *b == 0x47);
    // One that cannot be read is told of when its turn comes.
    read.is_err() || sync(0, 188) || sync(4, 192)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nowhere;

    impl Remote for Nowhere {
        fn list(&self, address: &str, found: &mut dyn FnMut(String, Fingerprint) -> Result<()>) -> Result<()> {
            found(format!("{address}/a.mp4"), Fingerprint::default())
        }
        fn ask(&self, _: &Address) -> Result<Fingerprint> {
            Ok(Fingerprint { size: Some(7), ..Fingerprint::default() })
        }
    }

    fn listed(sources: &[String], spare: Option<&Path>) -> (Vec<String>, Vec<String>) {
        let all = list(sources, spare, &Nowhere, &Interrupt::new()).unwrap();
        let names = all.items.iter().map(|i| i.video.to_string()).collect();
        (names, all.problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn folders_lists_and_addresses_become_names_once() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let at = |n: &str| root.join(n);
        for folder in ["films/b", "films/archive/videos", "other"] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        for file in ["films/z.MP4", "films/b/a.mkv", "films/notes.txt", "films/archive/videos/x.mp4", "other/o.mp4"] {
            fs::write(at(file), "x").unwrap();
        }
        fs::write(at("films/code.ts"), "export const a = 1;").unwrap();
        let mut packets = vec![0; 376];
        (packets[0], packets[188]) = (0x47, 0x47);
        fs::write(at("films/video.ts"), packets).unwrap();
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(at("other/o.mp4"), at("films/link.mp4")).unwrap();
            std::os::unix::fs::symlink(at("films"), at("films/b/back")).unwrap();
        }
        let list = at("list.txt");
        let lines = format!(
            "{}\r\n\n{}\nhttps://u:secret@h/v.mp4?sig=hush\n",
            at("films/z.MP4").display(),
            at("gone.mp4").display()
        );
        fs::write(&list, lines).unwrap();
        let sources = [at("films"), list, at("no.lst")].map(|p| p.to_str().unwrap().to_string());
        let sources = [&sources[..], &["s3://bucket/films".into(), "rtsp://camera/1".into()]].concat();
        let (names, problems) = listed(&sources, Some(&at("films/archive")));
        let local = |n: &str| at(n).to_str().unwrap().to_string();
        let mut want: Vec<String> = vec![local("films/b/a.mkv")];
        if cfg!(unix) {
            want.push(local("other/o.mp4"));
        }
        want.extend([local("films/video.ts"), local("films/z.MP4"), local("gone.mp4")]);
        want.extend(["https://h/v.mp4?…".into(), "s3://bucket/films/a.mp4".into()]);
        assert_eq!(names, want);
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].contains("no.lst") && problems[1].contains("descry live"), "{problems:?}");
    }

    #[test]
    fn a_change_is_a_change_of_the_fingerprint() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.mp4");
        assert_eq!(fingerprint(&path), Fingerprint::default());
        fs::write(&path, "x").unwrap();
        let before = fingerprint(&path);
        assert_eq!(before.size, Some(1));
        let later = fs::metadata(&path).unwrap().modified().unwrap() + std::time::Duration::from_nanos(1_000);
        fs::File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
        assert_ne!(fingerprint(&path), before);
    }
}
