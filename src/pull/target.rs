//! The folder that a model is collected in, and the lock of the process that collects it.
//!
//! `NAME.partial` becomes `NAME` when it is complete. The lock is a file beside them; the system releases it when the process
//! ends, however it ends.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::message::Setting;
use crate::model::FileSpec;
use crate::model::pulled::{PARTIAL, RECORD};
use crate::open_folder::{OpenFolder, open_folder_of, try_lock, wait_for_lock};
use crate::regular_file;

/// The folders of one model, which this process alone changes.
pub(super) struct PullTarget {
    store: PathBuf,
    /// The same, open.
    folder: OpenFolder,
    name: String,
    /// The locked file.
    _lock: File,
}

impl PullTarget {
    /// Makes the folder of all models if it is missing, and locks the folder `name` in it. `waiting` is called if another process has it.
    ///
    /// # Errors
    /// [`Error::Output`] if the folder cannot be written.
    pub(super) fn lock(
        store: &Path,
        name: String,
        waiting: impl FnOnce(),
        interrupt: &Interrupt,
    ) -> Result<PullTarget> {
        let fail = |e: io::Error| Error::write(store.display().to_string(), &e, Setting::ModelStore);
        make_folders(store).map_err(fail)?;
        let folder = OpenFolder::open(store).map_err(fail)?;
        let mut waiting = Some(waiting);
        let lock_name = format!("{name}.lock");
        let lock = loop {
            let lock = folder.lock_file(&lock_name).map_err(fail)?;
            match try_lock(&lock) {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    if let Some(waiting) = waiting.take() {
                        waiting();
                    }
                    interrupt.endure(|| wait_for_lock(&lock))?.map_err(fail)?;
                }
                Err(TryLockError::Error(e)) => return Err(fail(e)),
            }
            // The process before may have removed the file after this one opened it.
            if folder.is_at(&lock, &lock_name).map_err(fail)? {
                break lock;
            }
        };
        Ok(PullTarget { store: store.to_path_buf(), folder, name, _lock: lock })
    }

    /// The model's folder. It need not exist.
    pub(super) fn dir(&self) -> PathBuf {
        self.store.join(&self.name)
    }

    /// Where the model is collected.
    pub(super) fn partial(&self) -> PathBuf {
        self.store.join(format!("{}{PARTIAL}", self.name))
    }

    /// Makes the folder where the model is collected.
    pub(super) fn make_partial(&self) -> Result<OpenFolder> {
        self.folder.make_folder(&format!("{}{PARTIAL}", self.name)).map_err(|e| self.fail(&e))
    }

    /// Refuses a folder with the model's name that descry did not make.
    pub(super) fn check_own(&self) -> Result<()> {
        let dir = self.dir();
        let kind = |path: &Path| regular_file::kind(path).map_err(|e| self.fail(&e));
        if kind(&dir)?.is_none() || kind(&dir.join(RECORD))?.is_some() {
            return Ok(());
        }
        let cause = "is there already, and descry did not pull it";
        Err(Error::output(dir.display().to_string(), cause, "Give that folder another name, or remove it."))
    }

    /// Removes what is in the folder where the model is collected and is none of these files: what killed runs left behind, and
    /// files of another variant.
    pub(super) fn sweep_partial(&self, known: &BTreeMap<String, FileSpec>) -> Result<()> {
        let partial = self.make_partial()?;
        let swept = |folder: &str| -> io::Result<()> {
            for entry in partial.names(folder)? {
                let entry = entry.to_string_lossy();
                let name = if folder.is_empty() { entry.into_owned() } else { format!("{folder}/{entry}") };
                let is_needed = known.contains_key(&name) || known.keys().any(|k| k.starts_with(&format!("{name}/")));
                if !is_needed {
                    partial.remove_folder(&name)?;
                }
            }
            Ok(())
        };
        let folders: BTreeSet<&str> = known.keys().filter_map(|name| Some(name.rsplit_once('/')?.0)).collect();
        std::iter::once("").chain(folders).try_for_each(swept).map_err(|e| self.fail(&e))
    }

    /// Gives the complete folder its name.
    pub(super) fn name_partial(&self) -> Result<()> {
        let from = format!("{}{PARTIAL}", self.name);
        let named = self.folder.sync_tree(&from).and_then(|()| self.folder.rename(from.as_ref(), self.name.as_ref()));
        named.and_then(|()| self.folder.sync("")).map_err(|e| self.fail(&e))
    }

    /// Moves files of the folder where the model is collected into the model's folder, and brings them to the disk. Each is whole
    /// at any time.
    pub(super) fn move_files(&self, names: &[&str]) -> Result<()> {
        let (from, to) = (self.partial(), self.dir());
        for name in names {
            let path = to.join(name);
            let made = path.parent().map_or(Ok(()), make_folders);
            let moved = made.and_then(|()| std::fs::rename(from.join(name), &path));
            moved.map_err(|e| Error::write(path.display().to_string(), &e, Setting::ModelStore))?;
        }
        self.folder.sync_tree(&self.name).map_err(|e| self.fail(&e))
    }

    /// Removes the folder where the model is collected.
    pub(super) fn remove_partial(&self) -> Result<bool> {
        match self.folder.remove_folder(&format!("{}{PARTIAL}", self.name)) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(self.fail(&e)),
        }
    }

    /// Removes the model. From the first moment on, it counts as one that is not complete.
    pub(super) fn remove(&self) -> Result<()> {
        self.remove_partial()?;
        let partial = format!("{}{PARTIAL}", self.name);
        self.folder.rename(self.name.as_ref(), partial.as_ref()).map_err(|e| self.fail(&e))?;
        self.remove_partial().map(drop)
    }

    fn fail(&self, e: &io::Error) -> Error {
        Error::write(self.dir().display().to_string(), e, Setting::ModelStore)
    }
}

/// Makes a folder and those above it, and brings their names to the disk.
fn make_folders(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(above) = folder.parent().filter(|above| !above.as_os_str().is_empty()) {
        make_folders(above)?;
    }
    match std::fs::create_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        made => made.and_then(|()| open_folder_of(folder)?.sync("")),
    }
}

impl Drop for PullTarget {
    fn drop(&mut self) {
        // Removed while it is locked: a process that opened it meanwhile notices that it has lost its name.
        let _ = self.folder.remove_file(&format!("{}.lock", self.name));
    }
}
