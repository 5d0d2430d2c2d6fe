//! `descry model check` and `descry model rm`.

use serde_json::json;

use super::reporter::{Reporter, count};
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::message;
use crate::message::Setting;
use crate::model::{ModelReference, PulledModel, list_pulled, pulled_as};
use crate::pull::{check_model, remove_model};

pub(super) fn check(name: Option<&str>, reporter: &Reporter, interrupt: &Interrupt) -> Result<()> {
    let models: Vec<Result<PulledModel>> = match name {
        Some(name) => find(name)?.into_iter().map(Ok).collect(),
        None => list_pulled()?,
    };
    let (mut sound, mut damaged) = (0, 0);
    for model in models {
        let faults = match model {
            Ok(model) => check_model(&model, interrupt)?.faults,
            Err(e) => vec![e],
        };
        faults.iter().for_each(|fault| reporter.error(fault));
        if faults.is_empty() { sound += 1 } else { damaged += 1 }
    }
    let text = format!("{} intact, {damaged} damaged", count(sound, "pulled model"));
    reporter.summary(&text, &json!({ "sound": sound, "damaged": damaged }));
    Ok(())
}

fn find(name: &str) -> Result<Vec<PulledModel>> {
    let found = pulled_as(&ModelReference::parse(name)?)?;
    if found.is_empty() {
        return Err(Error::usage(
            format!("{name} was not pulled"),
            message![
                "Bring it here with ",
                Setting::ModelPull,
                format!(" {name}, or name a model that is here: "),
                Setting::ModelList,
                " prints them."
            ],
        ));
    }
    Ok(found)
}

pub(super) fn remove(name: &str, reporter: &Reporter, interrupt: &Interrupt) -> Result<()> {
    remove_model(&ModelReference::parse(name)?, interrupt)?;
    reporter.summary(&format!("{name} removed"), &json!({ "removed": name }));
    Ok(())
}
