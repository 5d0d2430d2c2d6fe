//! Commands that take a review further, as the page shows them: spoken descriptions, and training data.

use std::path::Path;

use serde::Serialize;

use super::film::ReviewFilm;

/// A command, and what it is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct NextCommand {
    what: &'static str,
    command: String,
}

/// The commands for a review in a file. `archive`: if the film is in one, the arguments with which `descry review` opens that.
/// Commands whose names no command line can hold are left out.
pub(super) fn next_commands(film: &ReviewFilm, review: &Path, archive: Option<&[String]>) -> Vec<NextCommand> {
    let shown = film.shown();
    let name = shown.rsplit(['/', '\\']).next().unwrap_or_default();
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let review = review.display().to_string();
    let spoken = format!("{stem}.ad.m4a");
    let speak = vec!["descry", "speak", &shown, "--descriptions", &review, "-o", &spoken];
    let of = archive.map_or_else(|| vec![&*shown, "--review", &review], |words| words.iter().map(|w| &**w).collect());
    let learn = [&["descry", "review"][..], &of, &["--export-captions", "captions"]].concat();
    [("Speak the descriptions", speak), ("Write checked captions and their pictures as training data", learn)]
        .into_iter()
        .filter_map(|(what, words)| Some(NextCommand { what, command: shlex::try_join(words).ok()? }))
        .collect()
}
