//! `descry review ARCHIVE`: the reviews of an archive's films.

use std::path::Path;
use std::sync::Arc;

use super::flags::explain;
use super::reporter::{Reporter, count};
use super::review::{DescribeSetup, ReviewArgs, report_captions};
use super::stdout::print_json;
use super::voice_args::CueVoiceArgs;
use crate::address::Address;
use crate::archive::Archive;
use crate::archive::reviews::{ArchiveSite, OpenFilms, ReviewDesk, ReviewPlace};
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::review::{CaptionExport, CueVoice, FrameDescriber, ReviewFilm, ReviewMachines};

pub(super) fn run(args: &ReviewArgs, reporter: &Reporter, interrupt: &Interrupt) -> Result<()> {
    if let Some(track) = &args.track {
        let cause = format!("{}: a track belongs to one film, and {} is a folder", track.display(), args.film);
        return Err(Error::usage(cause, "Name the film, or leave the track out to review an archive."));
    }
    let archive = Archive::open(args.film.reveal())?;
    let place = place(args)?;
    if args.report {
        return report(&archive, &place, reporter, interrupt);
    }
    args.description.check(usize::MAX)?;
    if let Some(folder) = &args.export_captions {
        return export(args, (&archive, &place), folder, reporter, interrupt);
    }
    args.check_listen()?;
    let names = archive.record_names()?;
    reporter.info(&format!("{}: {}", archive.location(), count(names.len(), "film")));
    let desk = Arc::new(ReviewDesk::new(archive, place, Box::new(FilmsOfArchive::of(args, reporter)?)));
    let site = Arc::new(ArchiveSite::new(desk.clone(), explain));
    args.serve(site.router(), reporter, interrupt, || desk.close_idle())?;
    // Each says what became of its review.
    desk.close().iter().for_each(|e| reporter.error(e));
    Ok(())
}

/// Where the reviews are.
fn place(args: &ReviewArgs) -> Result<ReviewPlace> {
    match &args.review {
        None => Ok(ReviewPlace::InArchive),
        Some(folder) if folder.is_dir() => Ok(ReviewPlace::Folder(folder.clone())),
        Some(folder) => {
            let cause = format!("--review {}: is no folder, and an archive has many reviews", folder.display());
            Err(Error::usage(cause, format!("Make it first: mkdir -p {}", folder.display())))
        }
    }
}

/// Opens films, models and voices as the options say.
struct FilmsOfArchive {
    setup: DescribeSetup,
    voice: CueVoiceArgs,
}

impl FilmsOfArchive {
    fn of(args: &ReviewArgs, reporter: &Reporter) -> Result<FilmsOfArchive> {
        let setup = args.setup(reporter)?;
        // What is wrong with it is known before a film is opened.
        args.voice.options("en")?;
        Ok(FilmsOfArchive { setup, voice: args.voice.clone() })
    }
}

impl OpenFilms for FilmsOfArchive {
    fn film(&self, film: &Address, interrupt: &Interrupt) -> Result<ReviewFilm> {
        let config = &self.setup.config;
        ReviewFilm::open(film, config.decode.clone(), config.isolation.clone(), interrupt.clone())
    }

    fn machines(&self, film: &ReviewFilm, language: &str, interrupt: &Interrupt) -> Result<ReviewMachines> {
        let DescribeSetup { models, options, config } = &self.setup;
        let describer = FrameDescriber::start(film.clone(), models.clone(), options.clone(), config.bars)?;
        let voice = self.voice.options(language)?.map(|voice| CueVoice::new(&voice, interrupt)).transpose()?;
        Ok(ReviewMachines { describer: Some(describer), voice })
    }
}

/// Writes what editors wrote or checked. Films that are not there are reported, and the others go on.
fn export(
    args: &ReviewArgs,
    (archive, place): (&Archive, &ReviewPlace),
    folder: &Path,
    reporter: &Reporter,
    interrupt: &Interrupt,
) -> Result<()> {
    let films = args.films(reporter)?;
    let mut captions = CaptionExport::create(folder)?;
    for review in place.reviews(archive)? {
        let mut add = || -> Result<()> {
            let Some(outline) = place.review(archive, review.key)? else { return Ok(()) };
            if !outline.is_vouched_for() {
                return Ok(());
            }
            let Some((_, record)) = archive.find_record(review.key)? else {
                let cause = "is in a review of this archive, but not in the archive";
                return Err(Error::input(outline.film.name, cause, "Add the film with descry index."));
            };
            captions.add(&films(&record.film()?, interrupt)?, &outline, interrupt)
        };
        match add() {
            Err(e @ Error::Input { .. }) => reporter.error(&e),
            added => added?,
        }
    }
    report_captions(captions.finish(archive.location())?, folder, reporter);
    Ok(())
}

/// Prints what editors did, a line for each film.
fn report(archive: &Archive, place: &ReviewPlace, reporter: &Reporter, interrupt: &Interrupt) -> Result<()> {
    for review in place.reviews(archive)? {
        if interrupt.is_set() {
            return Err(Error::Interrupted);
        }
        match place.document(archive, review.key) {
            Ok(Some(document)) => {
                if !print_json(&document.report())? {
                    break;
                }
            }
            Ok(None) => {}
            Err(e) => reporter.error(&e),
        }
    }
    Ok(())
}
