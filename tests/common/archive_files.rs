//! Reads the files of archives, and starts jobs in the background.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::common::{Bench, TINY, root};

/// All files below a folder, by their relative paths. A job may be at work there: a file that gets its name between the listing
/// and the reading is left out.
pub(crate) fn tree(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    fn walk(folder: &Path, root: &Path, all: &mut BTreeMap<String, Vec<u8>>) {
        for entry in std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, root, all);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_string();
                match std::fs::read(&path) {
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound && name.ends_with(".part") => {}
                    bytes => drop(all.insert(name, bytes.unwrap())),
                }
            }
        }
    }
    let mut all = BTreeMap::new();
    walk(folder, folder, &mut all);
    all
}

/// Asserts that two archives hold the same files with the same bytes.
pub(crate) fn assert_same(got: &Path, want: &Path) {
    let (got, want) = (tree(got), tree(want));
    let names = |t: &BTreeMap<String, Vec<u8>>| t.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&got), names(&want));
    for (name, bytes) in &want {
        assert!(got[name] == *bytes, "{name} differs");
    }
}

/// The records of an archive, by the video's file name: path and content.
pub(crate) fn records(archive: &Path) -> BTreeMap<String, (String, serde_json::Value)> {
    read_all(archive, "records/")
}

/// The failures of an archive, in the same form as [`records`].
pub(crate) fn failures(archive: &Path) -> BTreeMap<String, (String, serde_json::Value)> {
    read_all(archive, "failures/")
}

fn read_all(archive: &Path, kind: &str) -> BTreeMap<String, (String, serde_json::Value)> {
    tree(archive)
        .into_iter()
        .filter(|(name, _)| name.starts_with(kind) && !name.ends_with(".part"))
        .map(|(name, bytes)| {
            let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
            let video = json["video"].as_str().unwrap().rsplit('/').next().unwrap().to_string();
            (video, (name, json))
        })
        .collect()
}

/// The folder of a finished video.
pub(crate) fn folder(archive: &Path, video: &str) -> std::path::PathBuf {
    let (record, _) = &records(archive)[video];
    archive.join(record.replacen("records/", "videos/", 1).trim_end_matches(".json"))
}

/// Starts `descry index` with the small model.
pub(crate) fn start(b: &Bench, args: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_descry"))
        .arg("index")
        .args(args)
        .args(["--log", "json", "--model"])
        .arg(root().join(TINY))
        .current_dir(b.path(""))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts")
}

/// The summary of a run with `--log json`.
pub(crate) fn summary(err: &str) -> serde_json::Value {
    let line = err.lines().rev().find(|l| l.contains("\"done\"")).unwrap_or_else(|| panic!("no summary: {err}"));
    serde_json::from_str(line).unwrap()
}

/// Makes `n` different short films in the folder `films`.
pub(crate) fn films(b: &Bench, n: usize) {
    std::fs::create_dir_all(b.path("films/more")).unwrap();
    for i in 0..n {
        let folder = if i % 3 == 2 { "films/more" } else { "films" };
        b.ffmpeg(&format!(
            "-f lavfi -i testsrc2=size=192x108:rate=25:duration=1 -f lavfi -i mandelbrot=size=192x108:rate=25 \
             -filter_complex [0:v]hue=h={}[a];[1:v]trim=duration=1[b];[a][b]concat -c:v libx264 -preset ultrafast \
             {folder}/film-{i}.mp4",
            i * 29
        ));
    }
}
