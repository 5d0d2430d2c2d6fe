//! `descry model list`: the built-in model, those that were pulled, and those that can be.

use serde::Serialize;

use super::reporter::Reporter;
use super::stdout::{print_json, print_line};
use crate::error::Result;
use crate::model::folder::{BUILTIN, locate_builtin, stated_manifest};
use crate::model::{PulledModel, list_pulled};
use crate::printable::printable;
use crate::pull::known_models;

/// A line of the list.
#[derive(Serialize)]
struct ListedModel {
    name: String,
    /// `built-in`, `pulled` or `available`.
    state: &'static str,
    bytes: u64,
    /// Whether `bytes` is what the registry states, and not what was counted.
    about: bool,
    licence: String,
    purpose: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    repository: Option<String>,
    /// Of a model that was pulled.
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<String>,
    /// The variants that are here, or the one that would be pulled.
    precisions: Vec<String>,
}

pub(super) fn run(json: bool, reporter: &Reporter) -> Result<()> {
    let models = models(reporter)?;
    if json {
        for model in &models {
            if !print_json(model)? {
                break;
            }
        }
        return Ok(());
    }
    print_line(&table(&models)).map(drop)
}

fn models(reporter: &Reporter) -> Result<Vec<ListedModel>> {
    let mut models = Vec::new();
    let has_own = locate_builtin().is_ok();
    if has_own {
        match built_in() {
            Ok(model) => models.push(model),
            Err(e) => reporter.error(&e),
        }
    }
    let mut pulled = Vec::new();
    for model in list_pulled()? {
        match model {
            Ok(model) => pulled.push(model),
            Err(e) => reporter.error(&e),
        }
    }
    models.extend(pulled.iter().map(of_pulled));
    for known in known_models().iter().filter(|known| {
        let is_here = pulled.iter().any(|model| model.record.name == known.name);
        !(is_here || has_own && known.name == BUILTIN)
    }) {
        models.push(ListedModel {
            name: known.name.clone(),
            state: "available",
            bytes: known.bytes,
            about: true,
            licence: known.licence.clone(),
            purpose: known.purpose.clone(),
            repository: Some(known.repository.clone()),
            commit: None,
            precisions: vec![known.precision.to_string()],
        });
    }
    Ok(models)
}

fn built_in() -> Result<ListedModel> {
    let manifest = stated_manifest(&locate_builtin()?)?;
    Ok(ListedModel {
        name: BUILTIN.into(),
        state: "built-in",
        bytes: manifest.files.values().map(|spec| spec.bytes).sum(),
        about: false,
        licence: manifest.licence,
        purpose: "live streams, large archives, no set-up".into(),
        repository: None,
        commit: None,
        precisions: Vec::new(),
    })
}

fn of_pulled(model: &PulledModel) -> ListedModel {
    let record = &model.record;
    let purpose = known_models().iter().find(|known| known.name == record.name).map(|known| known.purpose.clone());
    ListedModel {
        name: record.name.clone(),
        state: "pulled",
        bytes: record.bytes(),
        about: false,
        licence: record.licence.clone(),
        // Without graphs, they are files for an import.
        purpose: purpose.unwrap_or_else(|| {
            if record.precisions.is_empty() { "files that descry model import reads".into() } else { String::new() }
        }),
        repository: Some(record.repository.clone()),
        commit: Some(record.commit.clone()),
        precisions: record.precisions.clone(),
    }
}

/// Longest licence in the table, in characters. JSON has all of it.
const LICENCE: usize = 32;

fn table(models: &[ListedModel]) -> String {
    let row = |model: &ListedModel| {
        let about = if model.about { "about " } else { "" };
        let variants =
            if model.precisions.is_empty() { String::new() } else { format!(", {}", model.precisions.join(" ")) };
        let licence = match model.licence.char_indices().nth(LICENCE) {
            Some(_) => model.licence.chars().take(LICENCE - 1).chain(['…']).collect(),
            None if model.licence.is_empty() => "not stated".into(),
            None => model.licence.clone(),
        };
        let size = format!("{about}{:.0} MB{variants}", model.bytes as f64 / 1e6);
        [model.name.clone(), model.state.into(), size, licence, model.purpose.clone()]
    };
    let head = ["NAME", "STATE", "SIZE", "LICENCE", "PURPOSE"].map(String::from);
    let rows: Vec<[String; 5]> = std::iter::once(head)
        .chain(models.iter().map(row))
        .map(|row| row.map(|cell| printable(&cell).into_owned()))
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 5] = std::array::from_fn(width);
    let line = |row: &[String; 5]| {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_string()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}
