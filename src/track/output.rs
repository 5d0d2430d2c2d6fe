//! Output files: planned before any work starts, written atomically.
//!
//! A file either holds a whole track or does not exist: the bytes go to a `.part` file in the same folder, are synced, and
//! get their name in one step. Unless overwriting is allowed, that fails if a file of that name has appeared meanwhile.
//! Devices and named pipes are written to directly.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use crate::address::Address;
use crate::atomic_file::{AtomicFile, CommitError, create_folder_of};
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::message;
use crate::message::Setting;
use crate::printable::{printable_json, printable_lines};
use crate::regular_file;
use crate::track::formats::{Format, write, write_storyboard};
#[cfg(unix)]
use crate::track::named_pipe::PipeWriter;
use crate::track::pictures::PictureStore;
use crate::track::record::Track;

/// Where one input's track goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Standard output.
    Stdout(Format),
    /// A file.
    File(PathBuf, Format),
}

/// Where the tracks of all inputs go.
enum Destination<'a> {
    Stdout,
    /// Beside each input; of URLs, into the current folder.
    BesideInputs,
    Folder(&'a Path),
    File(&'a Path),
}

/// Names every output of every input.
///
/// `output` is a folder (one that exists, or ends in `/`, or any name if there are several inputs), a file, or `-` for
/// standard output. If it is `None`, outputs are written beside their inputs, those of URLs into the current folder.
///
/// # Errors
/// If two outputs have one name, an output would replace an input, a folder is missing, or one file would hold several
/// formats.
pub fn plan(inputs: &[Address], output: Option<&str>, formats: &[Format]) -> Result<Vec<Vec<Target>>> {
    let destination = Destination::choose(output, inputs.len() > 1, formats)?;
    let sources: HashMap<PathBuf, &Address> =
        inputs.iter().filter(|i| !i.is_url()).map(|i| (identity(Path::new(i.reveal())), i)).collect();
    let mut taken: HashMap<PathBuf, &Address> = HashMap::new();
    let mut plan_one = |input, format| {
        let Some(path) = destination.path(input, format) else { return Ok(Target::Stdout(format)) };
        let identity = identity(&path);
        if let Some(source) = sources.get(&identity) {
            return Err(Error::usage(
                format!("{input}: its output would replace the input {source}"),
                message!["Name another output with ", Setting::Output, "."],
            ));
        }
        if let Some(other) = taken.insert(identity, input) {
            return Err(Error::usage(
                format!("{other} and {input} would both be written to {}", path.display()),
                message!["Describe them in two runs with different ", Setting::Output, " folders, or rename one."],
            ));
        }
        Ok(Target::File(path, format))
    };
    inputs.iter().map(|input| formats.iter().map(|format| plan_one(input, *format)).collect()).collect()
}

impl<'a> Destination<'a> {
    fn choose(output: Option<&'a str>, many_inputs: bool, formats: &[Format]) -> Result<Destination<'a>> {
        let path = match output {
            None => return Ok(Destination::BesideInputs),
            Some("") => {
                return Err(Error::usage(
                    message![Setting::Output, " names nothing"],
                    "Give a file, a folder, or - for standard output.",
                ));
            }
            Some("-") if formats.len() > 1 => {
                return Err(Error::usage(
                    message![Setting::Output, " - can write only one format"],
                    message!["Name one with ", Setting::Format, ", or name a folder with ", Setting::Output, "."],
                ));
            }
            Some("-") if many_inputs && formats.iter().any(|format| format.is_one_document()) => {
                return Err(Error::usage(
                    message![Setting::Output, " - cannot hold several documents of this format"],
                    message!["Name a folder with ", Setting::Output, "."],
                ));
            }
            Some("-") => return Ok(Destination::Stdout),
            Some(path) => path,
        };
        let address = Address::new(path);
        if address.is_url() || address.lacks_slashes() {
            return Err(Error::usage(
                format!("{address}: is an address, and outputs are files"),
                "Give a file, a folder, or - for standard output.",
            ));
        }
        let name = Path::new(path);
        let kind = regular_file::kind(name).map_err(|e| Error::write(path, &e, Setting::Output))?;
        let is_folder = kind.is_some_and(|kind| kind.is_dir());
        if path.ends_with('/') || is_folder || many_inputs {
            if kind.is_some() && !is_folder {
                let cause = format!("{path}: is a file, not a folder");
                return Err(Error::usage(cause, "Name a folder for several inputs."));
            }
            if !is_folder {
                check_parent(name)?;
            }
            return Ok(Destination::Folder(name));
        }
        if formats.len() > 1 {
            return Err(Error::usage(
                format!("{path}: one file cannot hold {} formats", formats.len()),
                "End the name with / for a folder.",
            ));
        }
        check_parent(name)?;
        Ok(Destination::File(name))
    }

    /// The file for one input and format; none for standard output.
    fn path(&self, input: &Address, format: Format) -> Option<PathBuf> {
        let name = || format!("{}.{}", stem(input), format.extension());
        match self {
            Destination::Stdout => None,
            Destination::Folder(folder) => Some(folder.join(name())),
            Destination::File(file) => Some(file.to_path_buf()),
            Destination::BesideInputs if input.is_url() => Some(PathBuf::from(name())),
            Destination::BesideInputs => Some(Path::new(input.reveal()).with_extension(format.extension())),
        }
    }
}

/// Checks that the folder of a path exists.
fn check_parent(path: &Path) -> Result<()> {
    let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) else { return Ok(()) };
    let shown = parent.display();
    match regular_file::kind(parent).map_err(|e| Error::write(shown.to_string(), &e, Setting::Output))? {
        Some(kind) if kind.is_dir() => Ok(()),
        _ => Err(Error::usage(format!("{shown}: no such folder"), format!("Create it first: mkdir -p {shown}"))),
    }
}

/// One path for every way to write it: `film.vtt`, `./film.vtt` and `link/film.vtt` may be the same file.
fn identity(path: &Path) -> PathBuf {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.components().collect());
    path.file_name().map_or(folder.clone(), |name| folder.join(name))
}

/// File name without its extension; for a URL, that of the last part of its path.
fn stem(input: &Address) -> String {
    // Of what is shown: a slash may be part of a password.
    let shown = input.shown();
    let name = match shown.split_once("://").filter(|_| input.is_url()) {
        Some((_, rest)) => {
            let path = rest.split(['?', '#']).next().unwrap_or_default();
            path.split('/').skip(1).filter(|p| !p.is_empty()).last().unwrap_or("stream").to_string()
        }
        None => Path::new(input.reveal()).file_name().map_or("video".into(), |n| n.to_string_lossy().into_owned()),
    };
    Path::new(&name).file_stem().map_or(name.clone(), |s| s.to_string_lossy().into_owned())
}

/// Checks, before any work, that a target can be written. Creates its folder, one level deep.
///
/// Hours of work must not end at a folder that was never writable, so a file is created there and removed again.
///
/// # Errors
/// If the target exists and `overwrite` is false, or it cannot be written.
pub fn check(target: &Target, overwrite: bool) -> Result<()> {
    let Target::File(path, _) = target else { return Ok(()) };
    let name = path.display().to_string();
    match fs::metadata(path) {
        Ok(existing) if existing.is_dir() => {
            return Err(Error::output(
                name,
                "is a folder",
                message!["Name another file with ", Setting::Output, ", or remove the folder."],
            ));
        }
        Ok(existing) if !existing.is_file() || leads_to_descriptor(path) => return Ok(()),
        Ok(_) if !overwrite => {
            return Err(Error::output(
                name,
                "exists already",
                message![
                    "Give ",
                    Setting::Overwrite,
                    " to replace it, or name another place with ",
                    Setting::Output,
                    "."
                ],
            ));
        }
        _ => {}
    }
    create_folder_of(path)
        .and_then(|()| AtomicFile::create(path, overwrite))
        .map(drop)
        .map_err(|e| Error::write(name, &e, Setting::Output))
}

/// Writes a track completely or not at all. A closed standard output is no error. Where the target is a named pipe, waits for
/// its reader, until the interrupt is set.
///
/// # Errors
/// If the target cannot be written, or is a named pipe without a reader. If a file has appeared since [`check`] and `overwrite`
/// is false, the file stays and the message names another that holds the track.
pub fn save(track: &Track, target: &Target, overwrite: bool, interrupt: &Interrupt) -> Result<()> {
    match target {
        Target::Stdout(format) => {
            check_pictures(track, *format, "standard output")?;
            match print(track, *format) {
                Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
                    Err(Error::write("standard output", &e, Setting::Output))
                }
                _ => Ok(()),
            }
        }
        Target::File(path, format) => {
            check_pictures(track, *format, &path.display().to_string())?;
            let page = |folder: &Path, to: &mut dyn Write| write(track, *format, folder, to);
            save_file(path, &page, overwrite, interrupt).map_err(|e| e.explain(path, "The description"))
        }
    }
}

/// Writes the page of all scenes of a track, completely or not at all; as [`save`].
///
/// # Errors
/// As [`save`].
pub fn save_storyboard(track: &Track, path: &Path, overwrite: bool, interrupt: &Interrupt) -> Result<()> {
    check_pictures(track, Format::Html, &path.display().to_string())?;
    let page = |folder: &Path, to: &mut dyn Write| write_storyboard(track, folder, to);
    save_file(path, &page, overwrite, interrupt).map_err(|e| e.explain(path, "The storyboard"))
}

/// Refuses a page whose pictures are lost.
fn check_pictures(track: &Track, format: Format, name: &str) -> Result<()> {
    let fault = track.pictures.as_ref().filter(|_| format == Format::Html).and_then(PictureStore::fault);
    fault.map_or(Ok(()), |e| {
        let folder = std::env::temp_dir();
        let cause = format!("its pictures could not be kept in {}: {e}", folder.display());
        Err(Error::output(name, cause, "Free some space there, or name another folder in TMPDIR."))
    })
}

/// Writes a track to standard output.
fn print(track: &Track, format: Format) -> io::Result<()> {
    let folder = std::env::current_dir().unwrap_or_default();
    let mut out = io::stdout().lock();
    if !out.is_terminal() {
        let mut out = io::BufWriter::new(out);
        write(track, format, &folder, &mut out)?;
        return out.flush();
    }
    let mut bytes = Vec::new();
    write(track, format, &folder, &mut bytes)?;
    // A terminal would act on what is text in a file.
    match std::str::from_utf8(&bytes) {
        Ok(text) => out.write_all(fit_for_terminals(text, format).as_bytes())?,
        Err(_) => out.write_all(&bytes)?,
    }
    out.flush()
}

/// The text without what a terminal would act on.
fn fit_for_terminals(text: &str, format: Format) -> Cow<'_, str> {
    if format == Format::Json { printable_json(text) } else { printable_lines(text) }
}

/// What writes the content of a file whose links start from a folder.
type WriteContent<'a> = dyn Fn(&Path, &mut dyn Write) -> io::Result<()> + 'a;

fn save_file(
    path: &Path,
    content: &WriteContent<'_>,
    overwrite: bool,
    interrupt: &Interrupt,
) -> Result<(), CommitError> {
    let is_device = |existing: fs::Metadata| !existing.is_file() && !existing.is_dir();
    if fs::metadata(path).is_ok_and(is_device) || leads_to_descriptor(path) {
        let folder = std::env::current_dir().unwrap_or_default();
        let written = open_device(path, interrupt).map(io::BufWriter::new).and_then(|mut device| {
            content(&folder, &mut device)?;
            device.flush()
        });
        return match written {
            Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(CommitError::Io(e)),
            _ => Ok(()),
        };
    }
    create_folder_of(path).map_err(CommitError::Io)?;
    let mut file = AtomicFile::create(path, overwrite).map_err(CommitError::Io)?;
    let name = std::path::absolute(path).map_err(CommitError::Io)?;
    content(name.parent().unwrap_or(&name), &mut file).map_err(CommitError::Io)?;
    file.commit().map(drop)
}

/// Whether a name, or a link that it leads to, is one of this process's open descriptors, such as `/dev/stdout`: a name that
/// is written through, and never replaced.
fn leads_to_descriptor(path: &Path) -> bool {
    /// Most links in a row, as the kernel follows them.
    const MOST_LINKS: usize = 40;
    let mut at = path.to_path_buf();
    for _ in 0..MOST_LINKS {
        if at.starts_with("/dev/fd")
            || at.starts_with("/proc") && at.parent().is_some_and(|folder| folder.ends_with("fd"))
        {
            return true;
        }
        match fs::read_link(&at) {
            Ok(target) => at = at.parent().unwrap_or(Path::new("/")).join(target),
            Err(_) => return false,
        }
    }
    false
}

/// Opens what is neither a file nor a folder.
fn open_device<'i>(path: &Path, interrupt: &'i Interrupt) -> io::Result<Box<dyn Write + 'i>> {
    #[cfg(unix)]
    if let Some(pipe) = PipeWriter::open(path, interrupt)? {
        return Ok(Box::new(pipe));
    }
    #[cfg(not(unix))]
    let _ = interrupt;
    Ok(Box::new(fs::OpenOptions::new().write(true).open(path)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(inputs: &[&str], output: Option<&str>) -> Result<Vec<String>> {
        let inputs: Vec<Address> = inputs.iter().map(|s| Address::new(*s)).collect();
        Ok(plan(&inputs, output, &[Format::Vtt])?
            .iter()
            .flatten()
            .map(|t| match t {
                Target::Stdout(_) => "-".into(),
                Target::File(p, _) => p.display().to_string(),
            })
            .collect())
    }

    #[test]
    fn outputs_are_named_as_users_expect() {
        assert_eq!(names(&["a/film.mp4"], None).unwrap(), ["a/film.vtt"]);
        assert_eq!(names(&["a/film.mp4"], Some("x.vtt")).unwrap(), ["x.vtt"]);
        assert_eq!(names(&["a/film.mp4", "b.mkv"], Some("out")).unwrap(), ["out/film.vtt", "out/b.vtt"]);
        assert_eq!(names(&["https://h/a/clip.mp4?x=1/2"], None).unwrap(), ["clip.vtt"]);
        assert_eq!(names(&["https://host"], None).unwrap(), ["stream.vtt"]);
        assert_eq!(names(&["rtsp://u:pass/w0rd@cam?k=v"], None).unwrap(), ["stream.vtt"]);
        assert_eq!(names(&["rtsp://u:12/w0rd@cam"], None).unwrap(), ["stream.vtt"]);
        assert_eq!(names(&["https://site.example/@me/film@2x.mp4#t"], None).unwrap(), ["film@2x.vtt"]);
        for output in ["s3:us3r:pass@bucket", "https://us3r:pass@host/film.vtt"] {
            let e = names(&["a.mp4"], Some(output)).unwrap_err().to_string();
            assert!(e.contains("outputs are files") && !e.contains("us3r") && !e.contains("pass"), "{e}");
        }
        assert_eq!(names(&["a.mp4"], Some("-")).unwrap(), ["-"]);
        let both = [Address::new("a.mp4"), Address::new("b.mp4")];
        assert!(plan(&both, Some("-"), &[Format::Vtt]).is_ok() && plan(&both[..1], Some("-"), &[Format::Dapt]).is_ok());
        assert!(plan(&both, Some("-"), &[Format::Dapt]).unwrap_err().to_string().contains("several documents"));
    }

    #[test]
    fn clashes_are_refused_before_work() {
        assert!(names(&["a/film.mp4", "b/film.mkv"], Some("out")).unwrap_err().to_string().contains("both"));
        assert!(names(&["film.mp4", "film.mkv"], None).is_err());
        assert!(names(&["film.vtt"], None).is_err());
        assert!(names(&["film.mp4"], Some("no/such/folder/x.vtt")).is_err());
    }

    #[test]
    fn one_file_by_two_names_is_a_clash() {
        assert!(names(&["film.mp4", "./film.mkv"], None).unwrap_err().to_string().contains("both"));
        assert!(names(&["film.vtt", "film.mp4"], None).unwrap_err().to_string().contains("replace the input"));
        assert!(names(&["film.mp4"], Some("./film.mp4")).is_err());
        assert!(names(&["src/x.mp4", "src/../src/x.mkv"], None).is_err());
        assert!(names(&["film.mp4"], Some("")).is_err());
    }

    fn track() -> Track {
        Track::new("film.mp4", "test 1")
    }

    fn left(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_whole_or_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let file = Target::File(dir.path().join("new/film.vtt"), Format::Vtt);
        check(&file, false).unwrap();
        assert!(left(&dir.path().join("new")).is_empty());
        save(&track(), &file, false, &Interrupt::new()).unwrap();
        assert_eq!(left(&dir.path().join("new")), ["film.vtt"]);
        assert!(check(&file, false).unwrap_err().to_string().contains("`overwrite`"));
        check(&file, true).unwrap();
        let folder = Target::File(dir.path().join("new"), Format::Vtt);
        assert!(check(&folder, true).unwrap_err().to_string().contains("is a folder"));
        assert!(save(&track(), &folder, true, &Interrupt::new()).is_err());
        assert_eq!(left(dir.path()), ["new"]);
    }

    #[test]
    fn a_file_that_appears_meanwhile_is_kept_and_so_is_the_work() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("film.vtt");
        let file = Target::File(path.clone(), Format::Vtt);
        check(&file, false).unwrap();
        fs::write(&path, "mine").unwrap();
        let e = save(&track(), &file, false, &Interrupt::new()).unwrap_err().to_string();
        assert_eq!(fs::read(&path).unwrap(), b"mine");
        let kept = left(dir.path())
            .into_iter()
            .find(|name| name.ends_with(".part"))
            .map(|name| dir.path().join(name))
            .unwrap();
        assert!(e.contains("film.vtt") && e.contains("`overwrite`") && e.contains(&kept.display().to_string()), "{e}");
        assert!(fs::read_to_string(&kept).unwrap().starts_with("WEBVTT"));
        // A link that leads nowhere takes the name too.
        #[cfg(unix)]
        {
            fs::remove_file(&path).unwrap();
            std::os::unix::fs::symlink("nowhere", &path).unwrap();
            assert!(save(&track(), &file, false, &Interrupt::new()).is_err());
            assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
        }
        save(&track(), &file, true, &Interrupt::new()).unwrap();
        // The two that were refused are still there, and nothing else.
        let (kept, named): (Vec<_>, Vec<_>) = left(dir.path()).into_iter().partition(|name| name.ends_with(".part"));
        assert_eq!((kept.len(), named), (2, vec!["film.vtt".to_string()]));
    }

    #[test]
    fn names_may_be_as_long_as_the_system_allows() {
        let dir = tempfile::tempdir().unwrap();
        for (length, good) in [(100, true), (251, true), (252, false)] {
            let file = Target::File(dir.path().join(format!("{}.vtt", "x".repeat(length))), Format::Vtt);
            assert_eq!(save(&track(), &file, false, &Interrupt::new()).is_ok(), good, "{length}");
        }
        assert_eq!(left(dir.path()).len(), 2);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn devices_are_written_to_and_stay() {
        use std::os::unix::fs::FileTypeExt;
        let null = Target::File("/dev/null".into(), Format::Vtt);
        check(&null, false).unwrap();
        save(&track(), &null, false, &Interrupt::new()).unwrap();
        assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
        let full = Target::File("/dev/full".into(), Format::Vtt);
        let e = save(&track(), &full, false, &Interrupt::new()).unwrap_err().to_string();
        assert!(e.contains("/dev/full") && e.contains("disk is full"), "{e}");
    }
}
