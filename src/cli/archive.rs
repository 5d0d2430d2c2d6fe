//! `descry archive`: what an archive holds, whether it is sound, all of it as one table.

use std::path::Path;

use clap::Subcommand;
use serde_json::json;

use super::exit::Exit;
use super::{Voice, print};
use crate::archive::{Archive, check, video_key};
use crate::atomic_file::AtomicFile;
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::message::Setting;

#[derive(Subcommand)]
pub(super) enum ArchiveCommand {
    /// List videos that are done, or those that failed and why.
    List {
        archive: String,
        /// Those that could not be described.
        #[arg(long)]
        failures: bool,
        /// One JSON object a line: the whole record.
        #[arg(long)]
        json: bool,
    },
    /// Read every file and compare it with its record.
    Check {
        archive: String,
        /// Take away what is damaged, so that the next index does it again, and what belongs to no video.
        #[arg(long)]
        repair: bool,
    },
    /// Write all keyframes as one Parquet file.
    Export {
        archive: String,
        /// The file; - is standard output.
        #[arg(short, long, value_name = "FILE")]
        output: String,
        /// Replace a file that exists.
        #[arg(long)]
        force: bool,
    },
    /// Take videos out of an archive.
    Forget {
        archive: String,
        /// Their names, as `list` gives them.
        #[arg(required = true)]
        videos: Vec<String>,
    },
}

pub(super) fn run(command: &ArchiveCommand, voice: &Voice, interrupt: &Interrupt) -> Result<Exit> {
    match command {
        ArchiveCommand::List { archive, failures, json } => list(archive, *failures, *json, voice, interrupt),
        ArchiveCommand::Check { archive, repair } => {
            let archive = Archive::open(archive)?;
            let found = check(&archive, *repair, interrupt, &mut |e| voice.error(e))?;
            let mended = if *repair { ", taken away: index again" } else { "" };
            voice.summary(
                &format!(
                    "{} videos sound, {} damaged{mended}; {} leftovers of killed runs{}",
                    found.sound,
                    found.damaged,
                    found.leftovers,
                    if *repair { ", taken away" } else { "" }
                ),
                json!({ "sound": found.sound, "damaged": found.damaged, "leftovers": found.leftovers }),
            );
            Ok(if interrupt.is_set() {
                Exit::Interrupted
            } else if found.damaged > 0 {
                Exit::SomeFailed
            } else {
                Exit::Done
            })
        }
        ArchiveCommand::Export { archive, output, force } => {
            let archive = Archive::open(archive)?;
            let rows = export(&archive, output, *force, interrupt)?;
            voice.summary(&format!("{rows} keyframes written to {output}"), json!({ "rows": rows }));
            Ok(Exit::Done)
        }
        ArchiveCommand::Forget { archive, videos } => {
            let archive = Archive::open(archive)?;
            let mut exit = Exit::Done;
            for video in videos {
                let fail = |cause, remedy| voice.error(&Error::input(video, cause, remedy));
                let forgotten = match archive.claim(video_key(video))? {
                    None => Err(("is being described by another process", "Wait for that, or stop it.")),
                    Some(_claim) if archive.forget(video_key(video))? => Ok(()),
                    Some(_) => Err(("is not in the archive", "descry archive list shows the names.")),
                };
                if let Err((cause, remedy)) = forgotten {
                    fail(cause, remedy);
                    exit = Exit::SomeFailed;
                }
            }
            Ok(exit)
        }
    }
}

fn list(archive: &str, failures: bool, json: bool, voice: &Voice, interrupt: &Interrupt) -> Result<Exit> {
    let archive = Archive::open(archive)?;
    let names = if failures { archive.failure_names()? } else { archive.record_names()? };
    let mut exit = Exit::Done;
    for name in names {
        if interrupt.is_set() {
            return Ok(Exit::Interrupted);
        }
        let line = if failures {
            archive.read_failure(name).map(|f| {
                f.map(|f| match json {
                    true => serde_json::to_string(&f).unwrap_or_default(),
                    false => format!("{}\t{}\t{}", f.video, f.attempts, f.cause),
                })
            })
        } else {
            archive.read_record(name).map(|r| {
                r.map(|r| match json {
                    true => serde_json::to_string(&r).unwrap_or_default(),
                    false => format!("{}\t{}\t{}", r.video, r.keyframes, archive.video_path(name, "")),
                })
            })
        };
        match line {
            Ok(Some(line)) if !print(&line)? => return Ok(exit),
            // Taken away since it was listed.
            Ok(_) => {}
            Err(e) => {
                voice.error(&e);
                exit = Exit::SomeFailed;
            }
        }
    }
    Ok(exit)
}

/// Writes all keyframes beside the file, and renames it into place.
fn export(archive: &Archive, to: &str, force: bool, interrupt: &Interrupt) -> Result<usize> {
    if to == "-" {
        let out = std::io::stdout();
        return crate::archive::export(archive, out, "standard output", interrupt).map(|(_, rows)| rows);
    }
    let path = Path::new(to);
    if !force && path.exists() {
        return Err(Error::output(to, "exists already", "Give --force to replace it, or -o for another place."));
    }
    let fail = |e: std::io::Error| Error::write(to, &e, Setting::Output);
    let file = AtomicFile::create(path, force).map_err(fail)?;
    let (file, rows) = crate::archive::export(archive, file, to, interrupt)?;
    file.commit().map_err(|e| fail(e.into()))?;
    Ok(rows)
}
