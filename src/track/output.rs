//! Output files: planned before any work starts, written beside and renamed into place.
//!
//! A file either holds a whole track or is not there: the bytes go to a `.part` file in the same folder, are synced,
//! and take their name in one step. Unless overwriting is allowed, that fails where a file of that name has appeared
//! meanwhile. Devices and named pipes are written to directly.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::address::is_url;
use crate::atomic_file::{AtomicFile, CommitError, create_folder_of};
use crate::error::{Error, Result};
use crate::message;
use crate::message::Setting;
use crate::track::formats::{Format, Track, write};

/// Where one input's track goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Standard output.
    Stdout(Format),
    File(PathBuf, Format),
}

/// Names every output of every input, or says why that cannot be: two inputs for one file, a missing folder.
///
/// `output`: none writes beside the input (URLs: into the current folder), `-` to standard output, a folder (one that
/// exists, or a name that ends in `/`, or any name where there are several inputs) into it, else the file itself.
pub fn plan(inputs: &[String], output: Option<&str>, formats: &[Format]) -> Result<Vec<Vec<Target>>> {
    if output == Some("") {
        return Err(Error::usage(
            message![Setting::Output, " is empty"],
            "Give a file, a folder, or - for standard output.",
        ));
    }
    let folder = output.filter(|o| *o != "-").filter(|o| o.ends_with('/') || Path::new(o).is_dir() || inputs.len() > 1);
    if output == Some("-") && formats.len() > 1 {
        return Err(Error::usage(
            "standard output can hold only one format",
            message!["Name one with ", Setting::Format, ", or name a folder with ", Setting::Output, "."],
        ));
    }
    if let (Some(file), None) = (output.filter(|o| *o != "-"), folder) {
        if formats.len() > 1 {
            return Err(Error::usage(
                format!("{file}: one file cannot hold {} formats", formats.len()),
                "End the name with / for a folder.",
            ));
        }
        let parent = Path::new(file).parent().filter(|p| !p.as_os_str().is_empty());
        if let Some(parent) = parent.filter(|p| !p.is_dir()) {
            return Err(missing(parent));
        }
    }
    if let Some(folder) = folder.filter(|f| !Path::new(f).is_dir()) {
        if Path::new(folder).exists() {
            return Err(Error::usage(
                format!("{folder}: is a file, not a folder"),
                "Name a folder for several inputs.",
            ));
        }
        let parent = Path::new(folder).parent().filter(|p| !p.as_os_str().is_empty());
        if let Some(parent) = parent.filter(|p| !p.is_dir()) {
            return Err(missing(parent));
        }
    }
    let sources: HashMap<PathBuf, &String> =
        inputs.iter().filter(|i| !is_url(i)).map(|i| (place(Path::new(i)), i)).collect();
    let mut taken: HashMap<PathBuf, &String> = HashMap::new();
    let mut all = Vec::new();
    for input in inputs {
        let mut targets = Vec::new();
        for &format in formats {
            if output == Some("-") {
                targets.push(Target::Stdout(format));
                continue;
            }
            let path = match (folder, output) {
                (Some(folder), _) => Path::new(folder).join(format!("{}.{}", stem(input), format.extension())),
                (None, Some(file)) => PathBuf::from(file),
                (None, None) if is_url(input) => PathBuf::from(format!("{}.{}", stem(input), format.extension())),
                (None, None) => Path::new(input).with_extension(format.extension()),
            };
            let place = place(&path);
            if let Some(source) = sources.get(&place) {
                return Err(Error::usage(
                    format!("{input}: its output would replace the input {source}"),
                    message!["Name another output with ", Setting::Output, "."],
                ));
            }
            if let Some(other) = taken.insert(place, input) {
                return Err(Error::usage(
                    format!("{other} and {input} would both be written to {}", path.display()),
                    message![
                        "Describe them in two runs with different folders for ",
                        Setting::Output,
                        ", or rename one."
                    ],
                ));
            }
            targets.push(Target::File(path, format));
        }
        all.push(targets);
    }
    Ok(all)
}

/// One name for every way to write a path: `film.vtt`, `./film.vtt` and `link/film.vtt` may be the same file.
fn place(path: &Path) -> PathBuf {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.components().collect());
    path.file_name().map_or(folder.clone(), |name| folder.join(name))
}

fn missing(folder: &Path) -> Error {
    Error::usage(
        format!("{}: no such folder", folder.display()),
        format!("Make it first: mkdir -p {}", folder.display()),
    )
}

/// File name without its extension; of a URL, the last part of its path.
fn stem(input: &str) -> String {
    let name = if is_url(input) {
        let path = input.split(['?', '#']).next().unwrap_or(input);
        let path = path.split_once("://").map_or(path, |(_, rest)| rest);
        path.split('/').skip(1).filter(|p| !p.is_empty()).last().unwrap_or("stream").to_string()
    } else {
        Path::new(input).file_name().map_or("video".into(), |n| n.to_string_lossy().into_owned())
    };
    Path::new(&name).file_stem().map_or(name.clone(), |s| s.to_string_lossy().into_owned())
}

/// Says before any work whether a target may be written; makes the folder that is named for it.
///
/// Hours of work must not end at a folder that was never writable, so a file is made there and taken away again.
pub fn check(target: &Target, force: bool) -> Result<()> {
    let Target::File(path, _) = target else { return Ok(()) };
    let name = path.display().to_string();
    match fs::metadata(path) {
        Ok(there) if there.is_dir() => {
            return Err(Error::output(
                name,
                "is a folder",
                message!["Name another file with ", Setting::Output, ", or remove the folder."],
            ));
        }
        Ok(there) if !there.is_file() => return Ok(()),
        Ok(_) if !force => {
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
        .and_then(|()| AtomicFile::create(path, force))
        .map(drop)
        .map_err(|e| Error::write(name, &e, Setting::Output))
}

/// Writes a track whole, or nothing. A reader of standard output that has gone away is no error.
///
/// Without `force` a file that has appeared since [`check`] is left alone. The work is not lost then: it stays under
/// the name that the message says.
pub fn save(track: &Track, target: &Target, force: bool) -> Result<()> {
    match target {
        Target::Stdout(format) => {
            let mut bytes = Vec::new();
            let mut out = io::stdout().lock();
            match write(track, *format, &mut bytes).and_then(|()| out.write_all(&bytes)).and_then(|()| out.flush()) {
                Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
                    Err(Error::write("standard output", &e, Setting::Output))
                }
                _ => Ok(()),
            }
        }
        Target::File(path, format) => save_file(track, path, *format, force).map_err(|e| match e {
            CommitError::Exists(kept) => Error::output(
                path.display().to_string(),
                "has appeared while descry was at work, and is not replaced",
                message![
                    format!("The description is in {}: rename it, or run again with ", kept.display()),
                    Setting::Overwrite,
                    "."
                ],
            ),
            CommitError::Io(e) => Error::write(path.display().to_string(), &e, Setting::Output),
        }),
    }
}

fn save_file(track: &Track, path: &Path, format: Format, force: bool) -> Result<(), CommitError> {
    if fs::metadata(path).is_ok_and(|there| !there.is_file() && !there.is_dir()) {
        let open = || fs::OpenOptions::new().write(true).open(path);
        let written = open().map(io::BufWriter::new).and_then(|mut device| {
            write(track, format, &mut device)?;
            device.flush()
        });
        return match written {
            Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(CommitError::Io(e)),
            _ => Ok(()),
        };
    }
    create_folder_of(path).map_err(CommitError::Io)?;
    let mut file = AtomicFile::create(path, force).map_err(CommitError::Io)?;
    write(track, format, &mut file).map_err(CommitError::Io)?;
    file.commit().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(inputs: &[&str], output: Option<&str>) -> Result<Vec<String>> {
        let inputs: Vec<String> = inputs.iter().map(|s| s.to_string()).collect();
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
        assert_eq!(names(&["a.mp4"], Some("-")).unwrap(), ["-"]);
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
        Track {
            input: "film.mp4".into(),
            info: None,
            model: "test 1".into(),
            damage: None,
            interrupted: false,
            options: serde_json::Value::Null,
            cues: Vec::new(),
            scenes: Vec::new(),
        }
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
        save(&track(), &file, false).unwrap();
        assert_eq!(left(&dir.path().join("new")), ["film.vtt"]);
        assert!(check(&file, false).unwrap_err().to_string().contains("`overwrite`"));
        check(&file, true).unwrap();
        let folder = Target::File(dir.path().join("new"), Format::Vtt);
        assert!(check(&folder, true).unwrap_err().to_string().contains("is a folder"));
        assert!(save(&track(), &folder, true).is_err());
        assert_eq!(left(dir.path()), ["new"]);
    }

    #[test]
    fn what_appears_meanwhile_is_kept_and_so_is_the_work() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("film.vtt");
        let file = Target::File(path.clone(), Format::Vtt);
        check(&file, false).unwrap();
        fs::write(&path, "mine").unwrap();
        let e = save(&track(), &file, false).unwrap_err().to_string();
        assert_eq!(fs::read(&path).unwrap(), b"mine");
        let kept = left(dir.path())
            .into_iter()
            .find(|name| name.ends_with(".part"))
            .map(|name| dir.path().join(name))
            .unwrap();
        assert!(e.contains("film.vtt") && e.contains("`overwrite`") && e.contains(&kept.display().to_string()), "{e}");
        assert!(fs::read_to_string(&kept).unwrap().starts_with("WEBVTT"));
        // A link that leads nowhere is a name that is taken, too.
        #[cfg(unix)]
        {
            fs::remove_file(&path).unwrap();
            std::os::unix::fs::symlink("nowhere", &path).unwrap();
            assert!(save(&track(), &file, false).is_err());
            assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
        }
        save(&track(), &file, true).unwrap();
        // The two that were refused are still there, and nothing else.
        let (kept, named): (Vec<_>, Vec<_>) = left(dir.path()).into_iter().partition(|name| name.ends_with(".part"));
        assert_eq!((kept.len(), named), (2, vec!["film.vtt".to_string()]));
    }

    #[test]
    fn names_may_be_as_long_as_the_system_lets() {
        let dir = tempfile::tempdir().unwrap();
        for (length, good) in [(100, true), (251, true), (252, false)] {
            let file = Target::File(dir.path().join(format!("{}.vtt", "x".repeat(length))), Format::Vtt);
            assert_eq!(save(&track(), &file, false).is_ok(), good, "{length}");
        }
        assert_eq!(left(dir.path()).len(), 2);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn devices_are_written_to_and_stay() {
        use std::os::unix::fs::FileTypeExt;
        let null = Target::File("/dev/null".into(), Format::Vtt);
        check(&null, false).unwrap();
        save(&track(), &null, false).unwrap();
        assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
        let full = Target::File("/dev/full".into(), Format::Vtt);
        let e = save(&track(), &full, false).unwrap_err().to_string();
        assert!(e.contains("/dev/full") && e.contains("disk is full"), "{e}");
    }
}
