//! One file: received into `FILE.part`, which a later run continues, verified, and named.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::client::{Attempts, HubClient, interrupted};
use super::fault::HubFault;
use super::hashes::{BLOCK, FileHasher};
use super::listing::StatedFile;
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::message::Setting;
use crate::model::FileSpec;
use crate::open_folder::OpenFolder;
use crate::regular_file;

/// What the name of a file ends with that is not complete.
pub(super) const PART: &str = ".part";
/// After so many more bytes, attempts are counted anew.
const PROGRESS: u64 = 1 << 20;
/// Most bytes of a file whose size nobody states.
const LARGEST_UNSTATED: u64 = 64 << 20;

/// Follows a pull. Called from the thread that pulls.
pub trait PullObserver {
    /// Another process is pulling this model, and this one waits for it.
    fn waiting(&self) {}
    /// How many bytes there are in all, as far as is known. Called again when more is known.
    fn total(&self, bytes: u64);
    /// The next file.
    fn file(&self, name: &str);
    /// So many bytes have come from the hub.
    fn received(&self, bytes: u64);
    /// So many bytes were here already.
    fn reused(&self, bytes: u64);
    /// So many bytes are to come again.
    fn lost(&self, bytes: u64);
    /// An attempt has failed, and there will be another one.
    fn retrying(&self, cause: &str);
}

/// A file that is to be here.
pub(super) struct Fetch<'a> {
    /// The model and the file, for messages.
    pub(super) about: String,
    /// Its path below the model's folder.
    pub(super) name: &'a str,
    pub(super) stated: &'a StatedFile,
    /// Where the model is collected.
    pub(super) into: &'a OpenFolder,
    /// The path of that, for messages.
    pub(super) dir: &'a Path,
    pub(super) observer: &'a dyn PullObserver,
    pub(super) interrupt: &'a Interrupt,
}

/// The part of a file that is here.
struct OpenPart {
    file: File,
    hasher: FileHasher,
    /// Whether some of it is of an earlier run.
    is_old: bool,
}

/// Why the rest of a file has not come.
enum Broken {
    Hub(HubFault),
    Here(Error),
}

impl From<HubFault> for Broken {
    fn from(fault: HubFault) -> Broken {
        Broken::Hub(fault)
    }
}

impl Fetch<'_> {
    /// Receives the file from the hub. `at`: repository and commit.
    ///
    /// # Errors
    /// [`Error::Input`] if the hub does not give it, [`Error::Output`] if it cannot be written.
    pub(super) fn download(&self, client: &HubClient, at: (&str, &str)) -> Result<FileSpec> {
        let mut part = self.open_part()?;
        let mut attempts = Attempts::default();
        loop {
            if self.interrupt.is_set() {
                return Err(Error::Interrupted);
            }
            let before = part.hasher.bytes();
            // A run may have been killed just before it named the file.
            let is_here = before > 0 && self.stated.bytes == Some(before);
            let received = if is_here { Ok(()) } else { self.receive(client, at, &mut part) };
            let fault = match received {
                Ok(()) => {
                    let OpenPart { file, hasher, is_old } = part;
                    let cause = match hasher.finish(self.stated) {
                        Ok(spec) => return self.name(&file).map(|()| spec),
                        Err(cause) => cause,
                    };
                    part = self.emptied(file)?;
                    if is_old {
                        self.observer.lost(self.stated.bytes.unwrap_or(before));
                        continue;
                    }
                    let remedy =
                        "Do not use this model before you know why. Another HF_ENDPOINT may have the right one.";
                    HubFault::permanent(format!("sends another file than it states: {cause}"), remedy)
                }
                Err(Broken::Here(e)) => return Err(e),
                Err(Broken::Hub(fault)) => fault,
            };
            if part.hasher.bytes() >= before.saturating_add(PROGRESS) {
                attempts = Attempts::default();
            }
            if fault.temporary && !self.interrupt.is_set() {
                self.observer.retrying(&fault.cause);
            }
            let failed = attempts.again(fault, self.interrupt);
            failed.map_err(|fault| fault.into_error(&self.about, &client.shown(), attempts.failed))?;
        }
    }

    /// Receives what is missing of a file.
    fn receive(&self, client: &HubClient, at: (&str, &str), part: &mut OpenPart) -> Result<(), Broken> {
        let have = part.hasher.bytes();
        let answer = client.file(at, self.name, have, self.interrupt)?;
        match (answer.status, answer.start) {
            (206, Some(start)) if start == have => {}
            // Ranges are ignored.
            (200, _) => self.empty(part).map_err(Broken::Here)?,
            _ => {
                self.empty(part).map_err(Broken::Here)?;
                return Err(HubFault::temporary("does not send the part of the file that was asked for").into());
            }
        }
        let most = self.stated.bytes.unwrap_or(LARGEST_UNSTATED);
        let mut reader = answer.body.into_reader();
        let mut block = vec![0; BLOCK];
        loop {
            let n = match interrupted(self.interrupt, || reader.read(&mut block))? {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => return Err(HubFault::of_connection(e.into()).into()),
            };
            if part.hasher.bytes() + n as u64 > most {
                self.empty(part).map_err(Broken::Here)?;
                let cause = format!("sends more than the {most} bytes that the file has");
                return Err(HubFault::permanent(cause, "Check that HF_ENDPOINT is the address of a hub.").into());
            }
            part.file.write_all(&block[..n]).map_err(|e| Broken::Here(self.unwritable(&e)))?;
            part.hasher.update(&block[..n]);
            self.observer.received(n as u64);
        }
        match self.stated.bytes.is_some_and(|want| part.hasher.bytes() < want) {
            true => Err(HubFault::broken_off().into()),
            false => Ok(()),
        }
    }

    /// Copies the file from elsewhere on this machine. None if it is not the one that was stated.
    ///
    /// # Errors
    /// [`Error::Output`] if it cannot be written, and [`Error::Interrupted`].
    pub(super) fn copy(&self, from: &Path) -> Result<Option<FileSpec>> {
        let Ok(mut from) = regular_file::open(from) else { return Ok(None) };
        let length = from.metadata().map(|found| found.len()).ok();
        // What has come of the file so far is not given up for another one.
        if length.is_none() || self.stated.bytes.is_some() && self.stated.bytes != length {
            return Ok(None);
        }
        let mut part = self.emptied(self.open_file()?)?;
        let mut block = vec![0; BLOCK];
        loop {
            match from.read(&mut block) {
                _ if self.interrupt.is_set() => return Err(Error::Interrupted),
                Ok(0) => break,
                Ok(n) => {
                    part.file.write_all(&block[..n]).map_err(|e| self.unwritable(&e))?;
                    part.hasher.update(&block[..n]);
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Ok(None),
            }
        }
        let OpenPart { file, hasher, .. } = part;
        match hasher.finish(self.stated) {
            Ok(spec) => {
                self.name(&file)?;
                self.observer.reused(spec.bytes);
                Ok(Some(spec))
            }
            Err(_) => self.emptied(file).map(|_| None),
        }
    }

    /// The folder of the file, and its name there.
    fn place(&self) -> (&str, &str) {
        self.name.rsplit_once('/').unwrap_or(("", self.name))
    }

    fn open_file(&self) -> Result<File> {
        let (folder, file) = self.place();
        let folder = self.into.make_folder(folder).map_err(|e| self.unwritable(&e))?;
        folder.lock_file(&format!("{file}{PART}")).map_err(|e| self.unwritable(&e))
    }

    /// Opens what is here of the file, and hashes it.
    fn open_part(&self) -> Result<OpenPart> {
        let mut file = self.open_file()?;
        let length = file.metadata().map_err(|e| self.unwritable(&e))?.len();
        if !self.stated.has_hash() || self.stated.bytes.is_some_and(|bytes| length > bytes) {
            return self.emptied(file);
        }
        let mut hasher = FileHasher::new(self.stated);
        let mut block = vec![0; BLOCK];
        loop {
            match file.read(&mut block) {
                _ if self.interrupt.is_set() => return Err(Error::Interrupted),
                Ok(0) => break,
                Ok(n) => hasher.update(&block[..n]),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(self.unwritable(&e)),
            }
        }
        self.observer.reused(hasher.bytes());
        Ok(OpenPart { file, is_old: hasher.bytes() > 0, hasher })
    }

    /// Begins the file anew.
    fn emptied(&self, mut file: File) -> Result<OpenPart> {
        file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0))).map_err(|e| self.unwritable(&e))?;
        Ok(OpenPart { file, hasher: FileHasher::new(self.stated), is_old: false })
    }

    /// Begins the file anew, if any of it is here.
    fn empty(&self, part: &mut OpenPart) -> Result<()> {
        let bytes = part.hasher.bytes();
        if bytes > 0 {
            self.observer.lost(bytes);
            let file = part.file.try_clone().map_err(|e| self.unwritable(&e))?;
            *part = self.emptied(file)?;
        }
        Ok(())
    }

    /// Brings the file to the disk, and gives it its name.
    fn name(&self, file: &File) -> Result<()> {
        let (folder, name) = self.place();
        let named = file.sync_all().and_then(|()| self.into.folder(folder)).and_then(|folder| {
            folder.rename(format!("{name}{PART}").as_ref(), name.as_ref())?;
            folder.sync("")
        });
        named.map_err(|e| self.unwritable(&e))
    }

    fn unwritable(&self, e: &io::Error) -> Error {
        Error::write(self.dir.join(self.name).display().to_string(), e, Setting::ModelStore)
    }
}
