//! The models: the default one, the one that reads text, and those that were pulled.

use serde_json::json;

use super::CheckResult;
use super::checks::{is_of_checkout, pip};
use crate::cli::model_choice::ModelChoice;
use crate::error::Error;
use crate::model::{FoundModel, list_pulled};
use crate::ocr::{TESTED_PACKAGE, TextModel};
use crate::program_files::ProgramFiles;

/// All checks of models.
pub(super) fn all() -> Vec<CheckResult> {
    vec![default_model(), text_model(), pulled_models()]
}

fn default_model() -> CheckResult {
    let choice = ModelChoice::default();
    match choice.server() {
        Ok(None) => {}
        Ok(Some(server)) => {
            return CheckResult::ok("model", format!("{}, on a server that is not asked", server.title()))
                .with_found(json!({ "server": true }));
        }
        Err(e) => return CheckResult::of_error("model", &e),
    }
    match FoundModel::open(None, None) {
        Ok(found) => {
            let folder = found.dir().display().to_string();
            CheckResult::ok("model", format!("{}, {folder}, all files as they should be", found.title()))
                .with_found(json!({ "name": found.title(), "folder": folder }))
        }
        Err(e) => missing_model(&e),
    }
}

fn missing_model(e: &Error) -> CheckResult {
    let result = CheckResult::of_error("model", e);
    if std::env::var_os("DESCRY_MODEL").is_some_and(|model| !model.is_empty()) {
        return result.with_fix("unset DESCRY_MODEL, or let it name one of those that `descry model list` prints");
    }
    if is_of_checkout() {
        return result.with_fix("git checkout -- models/builtin");
    }
    let place = ProgramFiles::of_this_program().user_data().map(|data| data.join("models"));
    let place = place.map_or("~/.local/share/descry/models".to_string(), |place| place.display().to_string());
    result.with_fix(format!(
        "descry model pull builtin; or, in a copy of descry's repository: make install-model MODELS={place}"
    ))
}

fn text_model() -> CheckResult {
    let fix = if is_of_checkout() { "make setup".to_string() } else { pip("rapidocr", TESTED_PACKAGE) };
    match TextModel::find() {
        Ok(Some(model)) => {
            let folder = model.dir().display().to_string();
            CheckResult::ok("text model", folder.clone()).with_found(json!({ "folder": folder }))
        }
        Ok(None) => CheckResult::note("text model", "none; only --text needs it").with_fix(fix),
        Err(e) => CheckResult::of_error("text model", &e).with_fix(fix),
    }
}

fn pulled_models() -> CheckResult {
    let models = match list_pulled() {
        Ok(models) => models,
        Err(e) => return CheckResult::of_error("pulled models", &e),
    };
    let (mut names, mut faults) = (Vec::new(), Vec::new());
    for model in models {
        match model {
            Ok(model) => names.push(model.record.name),
            Err(e) => faults.push(e),
        }
    }
    if let Some(fault) = faults.first() {
        return CheckResult::of_error("pulled models", fault);
    }
    let text = if names.is_empty() { "none".into() } else { names.join(", ") };
    CheckResult::ok("pulled models", text).with_found(json!({ "names": names }))
}
