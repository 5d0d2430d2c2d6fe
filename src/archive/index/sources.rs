//! Turns sources (folders, lists, files, objects and web addresses) into names and fingerprints of videos.
//!
//! Opens no video: a fingerprint is size and age, or what a server states. Order: sources as they are given, folders by
//! path; what is named twice counts once. Memory: the names.

use std::collections::HashSet;
use std::fs;
use std::io::{self, BufRead, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::address::{Address, NO_SLASHES};
use crate::archive::record::video_key;
use crate::error::{Error, Result};
use crate::fingerprint::Fingerprint;
use crate::interrupt::Interrupt;
use crate::regular_file;

/// File name extensions of videos, in lower case; others are skipped in folders and buckets. Files named `.ts` must also
/// begin like a transport stream, since that extension has other uses.
pub const VIDEO_EXTENSIONS: [&str; 30] = [
    "3g2", "3gp", "asf", "avi", "dv", "divx", "f4v", "flv", "m1v", "m2ts", "m2v", "m4v", "mjpeg", "mkv", "mov", "mp4",
    "mpeg", "mpg", "mts", "mxf", "nut", "ogm", "ogv", "rm", "rmvb", "ts", "vob", "webm", "wmv", "y4m",
];
/// File name extensions of lists.
const LIST_EXTENSIONS: [&str; 3] = ["txt", "lst", "list"];
/// Longest line of a list in bytes. Paths are limited to 4 kB on Linux; addresses may be longer.
const MAX_LINE: usize = 64 << 10;
/// Deepest nesting of folders: bounds the stack, and is far beyond what people use.
const MAX_DEPTH: usize = 128;

/// A video that a source names.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceVideo {
    /// Its name in the archive: a canonical path, or an address without credentials.
    pub video: Arc<str>,
    /// The full address; none where the name is what to open.
    pub address: Option<Address>,
    /// What distinguishes the source from a changed one; empty where that is unknown.
    pub fingerprint: Fingerprint,
}

impl SourceVideo {
    /// What to open.
    pub fn input(&self) -> Address {
        self.address.clone().unwrap_or_else(|| Address::new(&*self.video))
    }
}

/// All videos that the sources name.
#[derive(Debug, Default)]
pub struct SourceListing {
    /// The videos, each once.
    pub videos: Vec<SourceVideo>,
    /// Sources, or parts of them, that could not be listed.
    pub problems: Vec<Error>,
}

/// Whether a name ends like that of a video.
pub(super) fn is_video(name: &str) -> bool {
    has_extension(name, &VIDEO_EXTENSIONS)
}

fn has_extension(name: &str, known: &[&str]) -> bool {
    let extension = Path::new(name).extension().and_then(|e| e.to_str()).unwrap_or_default();
    known.iter().any(|k| extension.eq_ignore_ascii_case(k))
}

/// Lists all sources: folders, video files, `s3://` prefixes or objects, web addresses, and lists of any of these (`*.txt`,
/// `*.lst`, `*.list`, or `-` for standard input). Skips the folder `exclude`, which is the archive's own. A source that
/// cannot be listed becomes one of the problems.
///
/// # Errors
/// The interrupt was set.
pub fn list_sources(
    sources: &[Address],
    exclude: Option<&Path>,
    remote: &dyn RemoteSources,
    interrupt: &Interrupt,
) -> Result<SourceListing> {
    let exclude = exclude.and_then(|s| s.canonicalize().ok());
    let mut all = Lister { listing: SourceListing::default(), seen: HashSet::new(), exclude, remote, interrupt };
    for source in sources {
        let name = source.reveal();
        if name == "-" || (!source.is_url() && has_extension(name, &LIST_EXTENSIONS) && !Path::new(name).is_dir()) {
            all.add_list(name)?;
        } else {
            all.add_source(source)?;
        }
    }
    Ok(all.listing)
}

/// Looks up sources that are not on this machine.
pub trait RemoteSources {
    /// Calls `found` with the address and fingerprint of each video below an `s3://` address, or of the video that has it.
    ///
    /// # Errors
    /// The store does not answer, or `found` fails.
    fn list(&self, address: &Address, found: &mut dyn FnMut(String, Fingerprint) -> Result<()>) -> Result<()>;

    /// The fingerprint of a web address.
    ///
    /// # Errors
    /// The server does not answer, or refuses.
    fn fingerprint(&self, address: &Address) -> Result<Fingerprint>;
}

struct Lister<'a> {
    listing: SourceListing,
    /// Keys of the listed videos.
    seen: HashSet<u64>,
    exclude: Option<PathBuf>,
    remote: &'a dyn RemoteSources,
    interrupt: &'a Interrupt,
}

impl Lister<'_> {
    fn add(&mut self, source: SourceVideo) {
        if self.seen.insert(video_key(&source.video)) {
            self.listing.videos.push(source);
        } else if source.address.is_some() {
            // Names hold neither query nor credentials, so these two would be one video.
            let cause = "is named twice, or two addresses differ only in their query or credentials";
            self.problem(Error::input(&*source.video, cause, "Use one archive for each of them."));
        }
    }

    fn problem(&mut self, e: Error) {
        self.listing.problems.push(e);
    }

    fn add_list(&mut self, list: &str) -> Result<()> {
        let mut from = match open_list(list) {
            Ok(from) => from,
            Err(e) => {
                self.problem(Error::read(list, &e));
                return Ok(());
            }
        };
        loop {
            let mut line = Vec::new();
            match self.interrupt.endure(|| (&mut from).take(MAX_LINE as u64 + 1).read_until(b'\n', &mut line))? {
                Ok(0) => return Ok(()),
                Ok(n) if n > MAX_LINE => {
                    let cause = format!("has a line of more than {MAX_LINE} bytes");
                    self.problem(Error::input(list, cause, "Give a text file with one path or address per line."));
                    return Ok(());
                }
                Ok(_) => {}
                Err(e) => {
                    self.problem(Error::read(list, &e));
                    return Ok(());
                }
            }
            let Ok(line) = String::from_utf8(line) else {
                let cause = "has a line that is not UTF-8";
                self.problem(Error::input(list, cause, "Rename that file, or write the list as UTF-8."));
                continue;
            };
            let line = line.trim_end_matches(['\n', '\r']);
            if !line.trim().is_empty() {
                self.add_source(&Address::new(line))?;
            }
        }
    }

    fn add_source(&mut self, source: &Address) -> Result<()> {
        if self.interrupt.is_set() {
            return Err(Error::Interrupted);
        }
        if source.is_url() {
            return self.add_address(source);
        }
        let path = Path::new(source.reveal());
        match path.canonicalize() {
            Ok(whole) if whole.is_dir() => self.add_folder(&whole, 0),
            Ok(whole) => {
                self.add_file(&whole);
                Ok(())
            }
            Err(_) if source.lacks_slashes() => {
                self.problem(Error::input(source.shown(), NO_SLASHES, "Write SCHEME://… for an address."));
                Ok(())
            }
            // A missing file fails like any other video when its turn comes: reported, and recorded.
            Err(_) => {
                let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
                match whole.to_str() {
                    Some(name) => self.add_named(name, Fingerprint::default()),
                    None => self.problem(not_utf8(&whole)),
                }
                Ok(())
            }
        }
    }

    fn add_address(&mut self, address: &Address) -> Result<()> {
        let scheme = address.reveal().split("://").next().unwrap_or_default().to_ascii_lowercase();
        match scheme.as_str() {
            "s3" => {
                let (remote, mut found) = (self.remote, Vec::new());
                let listed = remote.list(address, &mut |video, fingerprint| {
                    if self.interrupt.is_set() {
                        return Err(Error::Interrupted);
                    }
                    found.push(SourceVideo { video: video.into(), address: None, fingerprint });
                    Ok(())
                });
                found.into_iter().for_each(|source| self.add(source));
                match listed {
                    Err(Error::Interrupted) => return Err(Error::Interrupted),
                    Err(e) => self.problem(e),
                    Ok(()) => {}
                }
            }
            "http" | "https" => {
                let fingerprint = match self.remote.fingerprint(address) {
                    Err(Error::Interrupted) => return Err(Error::Interrupted),
                    // Opening the video will show what is wrong.
                    other => other.unwrap_or_default(),
                };
                self.add(SourceVideo { video: address.shown().into(), address: Some(address.clone()), fingerprint });
            }
            _ => self.problem(Error::input(
                address.shown(),
                format!("{scheme}:// does not name stored videos"),
                "Give files, folders, s3:// or http(s):// addresses. For streams use descry live.",
            )),
        }
        Ok(())
    }

    fn add_folder(&mut self, folder: &Path, depth: usize) -> Result<()> {
        if self.exclude.as_deref() == Some(folder) {
            return Ok(());
        }
        if depth > MAX_DEPTH {
            let cause = format!("is {MAX_DEPTH} folders deep");
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
                self.add_folder(&path, depth + 1)?;
            } else if path.file_name().is_some_and(|n| is_video(&n.to_string_lossy())) {
                if kind.is_symlink() {
                    // Links to folders are not followed: they may lead back.
                    if let Some(whole) = path.canonicalize().ok().filter(|whole| whole.is_file()) {
                        self.add_file(&whole);
                    }
                } else if kind.is_file()
                    && (!has_extension(&path.to_string_lossy(), &["ts"]) || is_transport_stream(&path))
                {
                    self.add_file(&path);
                }
            }
        }
        Ok(())
    }

    fn add_file(&mut self, whole: &Path) {
        match whole.to_str() {
            Some(name) => self.add_named(name, file_fingerprint(whole)),
            None => self.problem(not_utf8(whole)),
        }
    }

    fn add_named(&mut self, name: &str, fingerprint: Fingerprint) {
        self.add(SourceVideo { video: name.into(), address: None, fingerprint });
    }
}

fn open_list(list: &str) -> io::Result<Box<dyn BufRead>> {
    match list {
        "-" => Ok(Box::new(io::stdin().lock())),
        _ => Ok(Box::new(io::BufReader::new(regular_file::open(Path::new(list))?))),
    }
}

fn not_utf8(path: &Path) -> Error {
    Error::input(path.display().to_string(), "its name is not UTF-8", "Rename it: names in an archive are UTF-8.")
}

/// What distinguishes a file from a changed one: its size and when it was last written. Empty where the file system does
/// not answer.
pub fn file_fingerprint(path: &Path) -> Fingerprint {
    fs::metadata(path).map_or_else(|_| Fingerprint::default(), |metadata| Fingerprint::of_file(&metadata))
}

/// Whether a file begins like a transport stream: packets of 188 bytes, or of 192 with a timestamp before each.
fn is_transport_stream(path: &Path) -> bool {
    let mut head = Vec::new();
    let read = regular_file::open(path).and_then(|f| f.take(400).read_to_end(&mut head));
    let sync = |at: usize, step: usize| head.get(at) == Some(&0x47) && head.get(at + step).is_none_or(|b| *b == 0x47);
    // A file that cannot be read is reported when its turn comes.
    read.is_err() || sync(0, 188) || sync(4, 192)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nowhere;

    impl RemoteSources for Nowhere {
        fn list(&self, address: &Address, found: &mut dyn FnMut(String, Fingerprint) -> Result<()>) -> Result<()> {
            found(format!("{}/a.mp4", address.reveal()), Fingerprint::default())
        }
        fn fingerprint(&self, _: &Address) -> Result<Fingerprint> {
            Ok(Fingerprint { size: Some(7), ..Fingerprint::default() })
        }
    }

    fn listed(sources: &[Address], exclude: Option<&Path>) -> (Vec<String>, Vec<String>) {
        let all = list_sources(sources, exclude, &Nowhere, &Interrupt::new()).unwrap();
        let names = all.videos.iter().map(|i| i.video.to_string()).collect();
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
        let sources = [at("films"), list, at("no.lst")].map(|p| Address::new(p.to_str().unwrap()));
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
    fn a_changed_file_has_another_fingerprint() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.mp4");
        assert_eq!(file_fingerprint(&path), Fingerprint::default());
        fs::write(&path, "x").unwrap();
        let before = file_fingerprint(&path);
        assert_eq!(before.size, Some(1));
        let later = fs::metadata(&path).unwrap().modified().unwrap() + std::time::Duration::from_nanos(1_000);
        fs::File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
        assert_ne!(file_fingerprint(&path), before);
    }
}
