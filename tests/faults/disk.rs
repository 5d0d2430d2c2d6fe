//! A simulated disk: the states that a log of changes may leave on it after a power failure.
//!
//! A file's bytes are on the disk after it was synced, and a folder's names after that was. What came later is there or not,
//! in any combination: a name without its bytes, a rename undone, half of a write. This is stricter than any common file
//! system.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::Random;

/// Something that a program changed. Paths are below the disk's root, with `/` between their parts.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    Create(String),
    Write(String, usize, Vec<u8>),
    Truncate(String, usize),
    Sync(String),
    Rename(String, String),
    Link(String, String),
    MakeFolder(String),
    Remove(String),
}

/// Reads a log of the shim.
pub(crate) fn read_log(mut log: &[u8], root: &Path) -> Vec<Change> {
    let mut changes = Vec::new();
    while !log.is_empty() {
        let end = log.iter().position(|byte| *byte == b'\n').unwrap();
        let line = std::str::from_utf8(&log[..end]).unwrap();
        log = &log[end + 1..];
        let fields: Vec<&str> = line.split('\t').collect();
        let path = |n: usize| Path::new(fields[n]).strip_prefix(root).unwrap().to_str().unwrap().to_string();
        let number = |n: usize| fields[n].parse::<usize>().unwrap();
        changes.push(match fields[0] {
            "create" => Change::Create(path(1)),
            "write" => {
                let bytes = log[..number(3)].to_vec();
                log = &log[number(3)..];
                Change::Write(path(1), number(2), bytes)
            }
            "truncate" => Change::Truncate(path(1), number(2)),
            "sync" => Change::Sync(path(1)),
            "rename" => Change::Rename(path(1), path(2)),
            "link" => Change::Link(path(1), path(2)),
            "mkdir" => Change::MakeFolder(path(1)),
            "unlink" => Change::Remove(path(1)),
            other => panic!("{other}"),
        });
    }
    changes
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    File(usize),
    Folder(usize),
}

#[derive(Debug, Clone, Default)]
struct SimulatedFile {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// What came after the last sync.
    later: Vec<FileChange>,
}

#[derive(Debug, Clone)]
enum FileChange {
    Write(usize, Vec<u8>),
    Length(usize),
}

type Names = BTreeMap<String, Node>;

/// A change of the names in a folder. Those of one change are there together or not at all.
type NameChange = Vec<(String, Option<Node>)>;

#[derive(Debug, Clone, Default)]
struct SimulatedFolder {
    now: Names,
    durable: Names,
    later: Vec<NameChange>,
}

/// What a power failure leaves of the changes that were not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// All of them are lost.
    Everything,
    /// The names are there and the bytes are lost.
    Bytes,
    /// Any combination, by this seed.
    Some(u64),
}

/// A simulated disk.
#[derive(Debug, Clone)]
pub(crate) struct Disk {
    files: Vec<SimulatedFile>,
    folders: Vec<SimulatedFolder>,
}

impl Disk {
    /// A disk that holds what is in a folder.
    pub(crate) fn of(folder: &Path) -> Disk {
        let mut disk = Disk { files: Vec::new(), folders: vec![SimulatedFolder::default()] };
        disk.load(folder, 0);
        disk
    }

    fn load(&mut self, folder: &Path, id: usize) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let node = if path.is_dir() {
                self.folders.push(SimulatedFolder::default());
                let inner = self.folders.len() - 1;
                self.load(&path, inner);
                Node::Folder(inner)
            } else {
                let bytes = fs::read(&path).unwrap();
                self.files.push(SimulatedFile { now: bytes.clone(), durable: bytes, later: Vec::new() });
                Node::File(self.files.len() - 1)
            };
            let name = path.file_name().unwrap().to_str().unwrap().to_string();
            self.folders[id].now.insert(name.clone(), node);
            self.folders[id].durable.insert(name, node);
        }
    }

    /// Makes a change. Changes of files that have no name any more are lost in any case.
    pub(crate) fn apply(&mut self, change: &Change) {
        match change {
            Change::Create(path) => {
                self.files.push(SimulatedFile::default());
                self.name(path, Some(Node::File(self.files.len() - 1)));
            }
            Change::MakeFolder(path) => {
                self.folders.push(SimulatedFolder::default());
                self.name(path, Some(Node::Folder(self.folders.len() - 1)));
            }
            Change::Remove(path) => self.name(path, None),
            Change::Link(from, to) => {
                let node = self.find(from);
                self.name(to, node);
            }
            Change::Rename(from, to) => {
                let node = self.find(from).unwrap_or_else(|| panic!("{from} is not there"));
                let ((a, old), (b, new)) = (self.place(from).unwrap(), self.place(to).unwrap());
                if a == b {
                    self.change(a, vec![(old, None), (new, Some(node))]);
                } else {
                    // Nobody relies on it that two folders change together.
                    self.change(b, vec![(new, Some(node))]);
                    self.change(a, vec![(old, None)]);
                }
            }
            Change::Write(path, at, bytes) => {
                if let Some(Node::File(id)) = self.find(path) {
                    self.files[id].change(FileChange::Write(*at, bytes.clone()));
                }
            }
            Change::Truncate(path, length) => {
                if let Some(Node::File(id)) = self.find(path) {
                    self.files[id].change(FileChange::Length(*length));
                }
            }
            Change::Sync(path) => match self.find(path) {
                Some(Node::File(id)) => {
                    let file = &mut self.files[id];
                    file.durable = file.now.clone();
                    file.later.clear();
                }
                Some(Node::Folder(id)) => {
                    let folder = &mut self.folders[id];
                    folder.durable = folder.now.clone();
                    folder.later.clear();
                }
                None => {}
            },
        }
    }

    fn find(&self, path: &str) -> Option<Node> {
        if path.is_empty() {
            return Some(Node::Folder(0));
        }
        let (folder, name) = self.place(path)?;
        self.folders[folder].now.get(&name).copied()
    }

    /// The folder of a path, and its last part.
    fn place(&self, path: &str) -> Option<(usize, String)> {
        let mut parts: Vec<&str> = path.split('/').collect();
        let last = parts.pop()?;
        let mut folder = 0;
        for part in parts {
            let Some(Node::Folder(inner)) = self.folders[folder].now.get(part) else { return None };
            folder = *inner;
        }
        Some((folder, last.into()))
    }

    fn name(&mut self, path: &str, node: Option<Node>) {
        if let Some((folder, name)) = self.place(path) {
            self.change(folder, vec![(name, node)]);
        }
    }

    fn change(&mut self, folder: usize, change: NameChange) {
        let folder = &mut self.folders[folder];
        rename(&mut folder.now, &change);
        folder.later.push(change);
    }

    /// Makes a folder of what a power failure leaves.
    pub(crate) fn fail(&self, loss: Loss, to: &Path) {
        let mut random = Random(if let Loss::Some(seed) = loss { seed } else { 0 });
        let files: Vec<Vec<u8>> = self.files.iter().map(|file| file.after(loss, &mut random)).collect();
        self.write(0, loss, &mut random, &files, to);
    }

    fn write(&self, folder: usize, loss: Loss, random: &mut Random, files: &[Vec<u8>], to: &Path) {
        fs::create_dir_all(to).unwrap();
        for (name, node) in self.folders[folder].after(loss, random) {
            match node {
                Node::File(id) => fs::write(to.join(name), &files[id]).unwrap(),
                Node::Folder(id) => self.write(id, loss, random, files, &to.join(name)),
            }
        }
    }
}

fn rename(names: &mut Names, change: &NameChange) {
    for (name, node) in change {
        match node {
            Some(node) => names.insert(name.clone(), *node),
            None => names.remove(name),
        };
    }
}

impl SimulatedFolder {
    fn after(&self, loss: Loss, random: &mut Random) -> Names {
        match loss {
            Loss::Everything => self.durable.clone(),
            Loss::Bytes => self.now.clone(),
            Loss::Some(_) => {
                let mut names = self.durable.clone();
                for change in &self.later {
                    if random.below(2) == 0 {
                        rename(&mut names, change);
                    }
                }
                names
            }
        }
    }
}

impl SimulatedFile {
    fn change(&mut self, change: FileChange) {
        apply(&mut self.now, &change);
        self.later.push(change);
    }

    fn after(&self, loss: Loss, random: &mut Random) -> Vec<u8> {
        if !matches!(loss, Loss::Some(_)) {
            return self.durable.clone();
        }
        match random.below(3) {
            0 => self.durable.clone(),
            1 => self.now.clone(),
            _ => {
                let mut bytes = self.durable.clone();
                for change in &self.later {
                    match (random.below(4), change) {
                        (0, _) => {}
                        // Half of the bytes are there, or the length and no bytes.
                        (1, FileChange::Write(at, new)) => {
                            apply(&mut bytes, &FileChange::Write(*at, new[..random.below(new.len())].to_vec()));
                        }
                        (2, FileChange::Write(at, new)) => {
                            apply(&mut bytes, &FileChange::Write(*at, vec![0; new.len()]));
                        }
                        _ => apply(&mut bytes, change),
                    }
                }
                bytes
            }
        }
    }
}

fn apply(bytes: &mut Vec<u8>, change: &FileChange) {
    match change {
        FileChange::Write(at, new) => {
            bytes.resize(bytes.len().max(at + new.len()), 0);
            bytes[*at..at + new.len()].copy_from_slice(new);
        }
        FileChange::Length(length) => bytes.resize(*length, 0),
    }
}

#[test]
fn a_power_failure_leaves_what_was_synced() {
    let dir = tempfile::tempdir().unwrap();
    let mut disk = Disk::of(dir.path());
    let log = b"create\t/r/a.part\nwrite\t/r/a.part\t0\t2\nhi".as_slice();
    for change in read_log(log, Path::new("/r")) {
        disk.apply(&change);
    }
    let after = |disk: &Disk, loss| {
        let to = tempfile::tempdir().unwrap();
        disk.fail(loss, to.path());
        crate::common::archive_files::tree(to.path())
    };
    assert!(after(&disk, Loss::Everything).is_empty());
    disk.apply(&Change::Rename("a.part".into(), "a".into()));
    assert!(after(&disk, Loss::Everything).is_empty());
    assert_eq!(after(&disk, Loss::Bytes)["a"], b"");
    disk.apply(&Change::Sync("a".into()));
    assert_eq!(after(&disk, Loss::Bytes)["a"], b"hi");
    assert!(after(&disk, Loss::Everything).is_empty());
    disk.apply(&Change::Sync(String::new()));
    assert_eq!(after(&disk, Loss::Everything)["a"], b"hi");
    disk.apply(&Change::Remove("a".into()));
    assert_eq!(after(&disk, Loss::Everything)["a"], b"hi");
    assert!((0..20).any(|seed| after(&disk, Loss::Some(seed)).is_empty()));
    // Writes after the last sync are lost one by one, the earlier one as well.
    disk.apply(&Change::Create("b".into()));
    disk.apply(&Change::Sync(String::new()));
    for (at, bytes) in [(0, b"12"), (2, b"34")] {
        disk.apply(&Change::Write("b".into(), at, bytes.to_vec()));
    }
    let found: std::collections::BTreeSet<Vec<u8>> =
        (0..200).map(|seed| after(&disk, Loss::Some(seed))["b"].clone()).collect();
    for bytes in [&b""[..], b"12", b"1234", b"\0\x0034"] {
        assert!(found.contains(bytes), "{bytes:?}: {found:?}");
    }
}
