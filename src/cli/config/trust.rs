//! What a project's file may set.
//!
//! Somebody else may have written it: it comes with a folder of films, or with a repository. So it may say how films are
//! described, and nothing that runs a program, opens a connection or a port, names a file outside of its folder, replaces a
//! file, weakens a protection, or takes more of the machine. An option that is not listed here is refused.

use std::path::{Component, Path};

/// Options that decide how videos are described, and how results are shown.
const ALLOWED: &[&str] = &[
    // Scenes, repetitions, cues.
    "interval",
    "keep-bars",
    "max-duration",
    "max-gap",
    "max-line",
    "max-lines",
    "min-duration",
    "min-scene",
    "mode",
    "no-dedup",
    "reading-speed",
    "returning",
    "same",
    "scenes",
    "threshold",
    // Captions and prompts.
    "beam",
    "context",
    "frames",
    "greedy",
    "language",
    "language-tag",
    "max-tokens",
    "min-score",
    "precision",
    "prompt",
    "sample",
    "whole-pictures",
    // Placement, speech, text.
    "audio",
    "every",
    "extended",
    "lead",
    "min-interval",
    "place",
    "rest",
    "speaking-pace",
    "text",
    "text-static",
    "wait-for-pause",
    // Spoken descriptions.
    "crf",
    "duck",
    "fastest",
    "gain",
    "only",
    "ramp",
    "text-track",
    "title",
    "voice-language",
    "within-cues",
    // What is printed and written.
    "by",
    "embedding",
    "format",
    "json",
    "limit",
    "log",
    "min-similarity",
    "quiet",
    "stats",
    "thumbnail-quality",
    "thumbnail-width",
    "verbose",
];
/// Options that name a model. A project may choose one that the user has; not a folder, and not a server.
const MODELS: [&str; 2] = ["embedder", "model"];
/// Options that name a file to read. A project may name its own.
const FILES: [&str; 2] = ["notes", "prompt-file"];

/// Whether a project may set an option, and to which values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProjectRule {
    /// To any value.
    Allowed,
    /// To the name of a model.
    Model,
    /// To a file of the project.
    File,
    /// Not at all.
    Refused,
}

/// The rule for the option with this name.
pub(super) fn project_rule(name: &str) -> ProjectRule {
    if MODELS.contains(&name) {
        ProjectRule::Model
    } else if FILES.contains(&name) {
        ProjectRule::File
    } else if ALLOWED.contains(&name) {
        ProjectRule::Allowed
    } else {
        ProjectRule::Refused
    }
}

/// Whether a text is the name of a model, and neither a folder nor an address. A folder of that name in the current folder
/// would be opened instead of the model.
pub(super) fn is_model_name(text: &str) -> bool {
    let mut parts = Path::new(text).components();
    let is_one_name = matches!(parts.next(), Some(Component::Normal(_))) && parts.next().is_none();
    let hub = text.strip_prefix("hf:").is_some_and(|rest| !rest.contains(':'));
    (hub || (is_one_name && !text.contains([':', '/', '\\']))) && !Path::new(text).exists()
}

/// Whether a file is inside of a folder, whatever links lead to.
pub(super) fn is_inside(folder: &Path, file: &Path) -> bool {
    match (folder.canonicalize(), file.canonicalize()) {
        (Ok(folder), Ok(file)) => file.starts_with(folder),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::cli::config::options::{commands, options, program};

    fn all() -> BTreeSet<String> {
        let program = program();
        commands(&program)
            .iter()
            .flat_map(|(_, command)| options(command).map(|(name, _)| name.to_string()).collect::<Vec<_>>())
            .collect()
    }

    #[test]
    fn every_listed_option_exists() {
        let all = all();
        for name in ALLOWED.iter().chain(&MODELS).chain(&FILES) {
            assert!(all.contains(*name), "there is no --{name}");
        }
        assert!(ALLOWED.len() + MODELS.len() + FILES.len() < all.len());
    }

    /// What would be dangerous in a file of somebody else's is refused, by every name that options have today. A new option is
    /// refused until somebody lists it.
    #[test]
    fn options_that_run_send_write_or_weaken_are_refused() {
        for name in [
            "allow-private",
            "append",
            "ca",
            "command",
            "command-env",
            "config",
            "device",
            "force",
            "hls",
            "html",
            "http",
            "hwaccel",
            "index",
            "insecure",
            "into",
            "isolate",
            "listen",
            "max-pixels",
            "memory",
            "model-name",
            "no-isolate",
            "output",
            "prune",
            "retry-failed",
            "save-descriptions",
            "threads",
            "voice",
            "voice-command",
            "voice-env",
            "voice-file",
            "voice-model",
            "voice-play",
            "vtt",
            "webhook",
            "webhook-ca",
        ] {
            assert!(all().contains(name), "there is no --{name}");
            assert_eq!(project_rule(name), ProjectRule::Refused, "{name}");
        }
    }

    #[test]
    fn a_model_is_named_and_neither_a_folder_nor_a_server() {
        for name in ["builtin", "smolvlm2-256m", "hf:Owner/Name", "hf:Owner/Name@v1"] {
            assert!(is_model_name(name), "{name}");
        }
        // `src` is a folder of the current folder.
        for other in ["openai:http://host/v1", "./x", "../x", "/x", "a/b", "src", "", ".", "..", "a\\b", "hf:openai:x"]
        {
            assert!(!is_model_name(other), "{other}");
        }
    }

    #[test]
    #[cfg(unix)]
    fn links_do_not_lead_out_of_a_project() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("project");
        std::fs::create_dir(&folder).unwrap();
        for file in ["project/notes.txt", "secret"] {
            std::fs::write(root.path().join(file), "").unwrap();
        }
        std::os::unix::fs::symlink("../secret", folder.join("link")).unwrap();
        assert!(is_inside(&folder, &folder.join("notes.txt")));
        for file in ["link", "../secret", "absent"] {
            assert!(!is_inside(&folder, &folder.join(file)), "{file}");
        }
    }
}
