//! `descry archive`: lists, checks, exports and forgets the videos of an archive.

use std::path::Path;

use clap::Subcommand;
use serde_json::json;

use super::reporter::{Reporter, count};
use super::stdout::{print_fields, print_json};
use crate::archive::{Archive, video_key};
use crate::atomic_file::AtomicFile;
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::message::Setting;

#[derive(Subcommand)]
pub(super) enum ArchiveCommand {
    /// List the videos of an archive, or those that failed
    List {
        /// Archive folder, or s3://BUCKET/PREFIX
        archive: String,
        /// List the videos that could not be described, and why
        #[arg(long, help_heading = "Output")]
        failures: bool,
        /// Print one JSON object per video: its whole record
        #[arg(long, help_heading = "Output")]
        json: bool,
    },
    /// Compare every file of an archive with its record
    Check {
        /// Archive folder, or s3://BUCKET/PREFIX
        archive: String,
        /// Remove damaged videos, which 'descry index' then describes again, and leftovers of killed runs
        #[arg(long, help_heading = "Check")]
        repair: bool,
    },
    /// Write all keyframes of an archive as one Parquet file
    Export {
        /// Archive folder, or s3://BUCKET/PREFIX
        archive: String,
        /// File to write, or - for standard output
        #[arg(short, long, help_heading = "Output", value_name = "FILE")]
        output: String,
        /// Replace an existing file
        #[arg(long, help_heading = "Output")]
        force: bool,
    },
    /// Remove videos from an archive
    Forget {
        /// Archive folder, or s3://BUCKET/PREFIX
        archive: String,
        /// Names of the videos, as 'descry archive list' prints them
        #[arg(required = true, value_name = "VIDEO")]
        videos: Vec<String>,
        /// Remove their reviews too, with everything that editors wrote
        #[arg(long, help_heading = "Reviews")]
        reviews: bool,
    },
}

pub(super) fn run(command: &ArchiveCommand, reporter: &Reporter, interrupt: &Interrupt) -> Result<()> {
    match command {
        ArchiveCommand::List { archive, failures, json } => {
            list(&Archive::open(archive)?, *failures, *json, reporter, interrupt)
        }
        ArchiveCommand::Check { archive, repair } => check(&Archive::open(archive)?, *repair, reporter, interrupt),
        ArchiveCommand::Export { archive, output, force } => {
            let rows = export(&Archive::open(archive)?, output, *force, interrupt)?;
            reporter.summary(&format!("{} written to {output}", count(rows, "keyframe")), &json!({ "rows": rows }));
            Ok(())
        }
        ArchiveCommand::Forget { archive, videos, reviews } => {
            forget(&Archive::open(archive)?, videos, *reviews, reporter)
        }
    }
}

fn list(archive: &Archive, failures: bool, json: bool, reporter: &Reporter, interrupt: &Interrupt) -> Result<()> {
    let names = if failures { archive.failure_names()? } else { archive.record_names()? };
    let report = |e: &Error| {
        reporter.error(e);
        Ok(true)
    };
    for name in names {
        if interrupt.is_set() {
            break;
        }
        // `None`: the entry has been removed since the names were listed.
        let printed = if failures {
            match archive.read_failure(name) {
                Ok(Some(f)) if json => print_json(&f),
                Ok(Some(f)) => print_fields(&[&f.video, &f.attempts.to_string(), &f.cause]),
                Ok(None) => Ok(true),
                Err(e) => report(&e),
            }
        } else {
            match archive.read_record(name) {
                Ok(Some(r)) if json => print_json(&r),
                Ok(Some(r)) => print_fields(&[&r.video, &r.keyframes.to_string(), &archive.video_path(name, "")]),
                Ok(None) => Ok(true),
                Err(e) => report(&e),
            }
        };
        if !printed? {
            break;
        }
    }
    Ok(())
}

fn check(archive: &Archive, repair: bool, reporter: &Reporter, interrupt: &Interrupt) -> Result<()> {
    let found = crate::archive::check(archive, repair, interrupt, &mut |e| reporter.error(e))?;
    let unreadable = if found.unreadable > 0 { format!(", {} unreadable", found.unreadable) } else { String::new() };
    let reviews = match (found.reviews, found.damaged_reviews) {
        (0, 0) => String::new(),
        (sound, 0) => format!(", {} intact", count(sound, "review")),
        (sound, damaged) => format!(", {} intact, {damaged} damaged", count(sound, "review")),
    };
    let (removed, again) = if repair { (" and removed", "; run descry index again") } else { ("", "") };
    let text = format!(
        "{} intact, {} damaged{removed}{unreadable}{reviews}; {} of killed runs{removed}{}",
        count(found.sound, "video"),
        found.damaged,
        count(found.leftovers, "leftover"),
        if found.damaged > 0 { again } else { "" }
    );
    let fields = json!({
        "sound": found.sound, "damaged": found.damaged, "unreadable": found.unreadable, "leftovers": found.leftovers,
        "reviews": found.reviews, "damaged_reviews": found.damaged_reviews,
    });
    reporter.summary(&text, &fields);
    Ok(())
}

fn export(archive: &Archive, to: &str, overwrite: bool, interrupt: &Interrupt) -> Result<usize> {
    if to == "-" {
        let out = std::io::stdout();
        return crate::archive::export(archive, out, "standard output", interrupt).map(|(_, rows)| rows);
    }
    let path = Path::new(to);
    if !overwrite && path.exists() {
        return Err(Error::output(to, "exists already", "Give --force to replace it, or another file with -o."));
    }
    let fail = |e: std::io::Error| Error::write(to, &e, Setting::Output);
    let file = AtomicFile::create(path, overwrite).map_err(fail)?;
    let (file, rows) = crate::archive::export(archive, file, to, interrupt)?;
    file.commit().map_err(|e| fail(e.into()))?;
    Ok(rows)
}

fn forget(archive: &Archive, videos: &[String], reviews: bool, reporter: &Reporter) -> Result<()> {
    for video in videos {
        let key = video_key(video);
        let Some(_claim) = archive.claim(key)? else {
            let remedy = "Wait until that has finished, or stop it.";
            reporter.error(&Error::input(video, "is being described by another process", remedy));
            continue;
        };
        // What editors wrote goes first: if it cannot be removed, everything stays.
        let has_review = archive.has_review(key)?;
        if reviews && let Err(e) = archive.remove_review(key) {
            reporter.error(&e);
            continue;
        }
        let is_known = archive.forget(key)?;
        if !is_known && !has_review {
            reporter.error(&Error::input(video, "is not in the archive", "'descry archive list' prints the names."));
        } else if has_review && !reviews {
            reporter.warn(&format!("{video}: its review stays in the archive; --reviews removes it for good"));
        }
    }
    Ok(())
}
