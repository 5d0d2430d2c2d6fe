//! What this machine allows: folders that can be written, programs that speak, and the sandbox of decoders.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde_json::json;

use super::{CheckResult, quoted};
use crate::isolate::Isolation;
use crate::model::store_folder;
use crate::program_files::ProgramFiles;
use crate::voice::VoicePreset;

/// All checks of the machine.
pub(super) fn all() -> Vec<CheckResult> {
    vec![folders(), voices(), sandbox()]
}

fn folders() -> CheckResult {
    let files = ProgramFiles::of_this_program();
    let named = [
        ("models", store_folder().ok()),
        ("cache", files.user_cache()),
        ("configuration", files.user_config()),
        ("temporary files", Some(std::env::temp_dir())),
    ];
    let (mut lines, mut faults) = (Vec::new(), Vec::new());
    let mut found = serde_json::Map::new();
    for (what, folder) in named {
        let Some(folder) = folder else {
            lines.push(format!("{what}: this user has no folder"));
            continue;
        };
        let shown = folder.display().to_string();
        // Configurations are only read.
        let fault = if what == "configuration" { None } else { unwritable(&folder) };
        found.insert(what.into(), json!({ "folder": shown, "writable": fault.is_none() }));
        match fault {
            Some((at, cause)) => {
                lines.push(format!("{what}: {shown} cannot be written: {cause}"));
                faults.push((what, at));
            }
            None => lines.push(format!("{what}: {shown}")),
        }
    }
    let (text, found) = (lines.join("\n"), found.into());
    match faults.first() {
        None => CheckResult::ok("folders", text).with_found(found),
        Some((what, at)) => {
            let variable = match *what {
                "models" => "DESCRY_MODELS",
                "cache" => "XDG_CACHE_HOME",
                _ => "TMPDIR",
            };
            let at = quoted(at.display().to_string());
            CheckResult::problem("folders", text)
                .with_fix(format!("chmod u+rwx {at}, or name another folder: export {variable}=FOLDER"))
                .with_found(found)
        }
    }
}

/// Why a folder cannot be written, and the folder that is in the way. One that is missing is made when it is needed.
fn unwritable(folder: &Path) -> Option<(PathBuf, String)> {
    let there = folder.ancestors().find(|above| above.symlink_metadata().is_ok())?;
    // What is written has no name, or loses it at once.
    tempfile::tempfile_in(there).err().map(|e| (there.to_path_buf(), e.to_string()))
}

fn voices() -> CheckResult {
    let is_there = |program: &str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
    };
    let program = |preset: &VoicePreset| match preset {
        VoicePreset::Espeak => "espeak-ng",
        VoicePreset::Hibari => "hibari",
        VoicePreset::Piper => "piper",
    };
    let found: Vec<&str> = VoicePreset::value_variants().iter().map(program).filter(|name| is_there(name)).collect();
    if found.is_empty() {
        return CheckResult::note("voices", "none; only spoken descriptions need one")
            .with_fix("apt-get install espeak-ng")
            .with_found(json!({ "programs": found }));
    }
    CheckResult::ok("voices", found.join(", ")).with_found(json!({ "programs": found }))
}

fn sandbox() -> CheckResult {
    if !Isolation::is_supported() {
        return CheckResult::note("sandbox", "this system has none: videos are decoded in descry's own process");
    }
    let protection = Isolation::protection(false);
    let found = json!({ "files": protection.files, "calls": protection.calls });
    let text = format!("isolated decoders run in {protection}");
    if protection.is_full() {
        return CheckResult::ok("sandbox", text).with_found(found);
    }
    CheckResult::note("sandbox", text).with_fix("use Linux 5.13 or newer with Landlock").with_found(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_missing_is_judged_by_the_one_above_it() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(unwritable(&root.path().join("a/b/c")), None);
        std::fs::write(root.path().join("file"), "").unwrap();
        let (at, _) = unwritable(&root.path().join("file/b")).unwrap();
        assert_eq!(at, root.path().join("file"));
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1, "nothing is left behind");
    }
}
