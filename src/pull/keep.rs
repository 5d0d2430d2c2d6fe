//! What becomes of pulled models: they are checked, repaired by another pull, and removed.

use std::path::Path;

use super::listing::StatedFile;
use super::target::PullTarget;
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::message;
use crate::message::Setting;
use crate::model::pulled::{RECORD, store_folder};
use crate::model::{ModelReference, PulledModel};
use crate::regular_file;

/// A pulled model whose files were compared with its record.
#[derive(Debug, Clone)]
pub struct CheckedModel {
    /// What is wrong, one error for each file.
    pub faults: Vec<Error>,
    /// How many files are as they were.
    pub sound: usize,
}

/// Compares every file of a pulled model with what it was when it came.
///
/// # Errors
/// [`Error::Interrupted`].
pub fn check_model(model: &PulledModel, interrupt: &Interrupt) -> Result<CheckedModel> {
    let mut checked = CheckedModel { faults: Vec::new(), sound: 0 };
    for (name, spec) in &model.record.files {
        let path = model.dir.join(name);
        let found = StatedFile::from(spec).find(&path, interrupt);
        if interrupt.is_set() {
            return Err(Error::Interrupted);
        }
        if found.is_some() {
            checked.sound += 1;
            continue;
        }
        let cause = match path.metadata() {
            Ok(found) if !found.is_file() => "is not a file".into(),
            Ok(found) if found.len() != spec.bytes => format!("has {} bytes instead of {}", found.len(), spec.bytes),
            Ok(_) => "is not the file that was pulled: its SHA-256 is another".into(),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => "is missing".to_string(),
            Err(e) => format!("cannot be read: {e}"),
        };
        let remedy = message![Setting::ModelPull, format!(" {} repairs it.", model.record.name)];
        checked.faults.push(Error::input(path.display().to_string(), cause, remedy));
    }
    Ok(checked)
}

/// Removes a pulled model, or what has come of one.
///
/// # Errors
/// [`Error::Usage`] if descry did not pull it, [`Error::Output`] if it cannot be removed.
pub fn remove_model(reference: &ModelReference, interrupt: &Interrupt) -> Result<()> {
    let store = store_folder()?;
    let not_pulled = || {
        Error::usage(
            format!("{reference} was not pulled"),
            message![Setting::ModelList, " prints the models that were. Others are not descry's to remove."],
        )
    };
    // A disk that fails must not make a model look as if it were not there.
    let kind = |path: &Path| regular_file::kind(path).map_err(|e| Error::read(path.display().to_string(), &e));
    if kind(&store)?.is_none() {
        return Err(not_pulled());
    }
    let mut is_removed = false;
    for name in [reference.folder(), reference.import_folder()] {
        let target = PullTarget::lock(&store, name, || (), interrupt)?;
        if kind(&target.dir().join(RECORD))?.is_some() {
            target.remove()?;
            is_removed = true;
        } else {
            is_removed |= target.remove_partial()?;
        }
    }
    if is_removed { Ok(()) } else { Err(not_pulled()) }
}
