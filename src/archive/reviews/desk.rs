//! The reviews of an archive that are open at the moment.
//!
//! A film is opened when its page is asked for: its review, or a new one of its descriptions, in a session of its own, which
//! has the review locked. It is closed when nobody has followed it for a while and everything is saved. A page that comes
//! back later opens it again, and notices nothing. One film is opened or closed at a time.
//!
//! Memory: at most [`MOST_OPEN`] films, each with what a [`ReviewSite`] holds: with a model of its own once frames of it were
//! described again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use tokio::task::spawn_blocking;

use super::overview::read_document;
use super::place::ReviewPlace;
use crate::address::Address;
use crate::archive::catalog::Archive;
use crate::archive::record::{RecordName, VideoRecord};
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::lock::lock;
use crate::message;
use crate::message::Setting;
use crate::review::{
    Renewal, ReviewDocument, ReviewFile, ReviewFilm, ReviewMachines, ReviewProgress, ReviewSession, ReviewSite,
    SiteNotes, WarningRules,
};
use crate::wall::rfc3339;

/// Films that are open at the same time.
pub(super) const MOST_OPEN: usize = 8;
/// How long a film stays open that nobody follows.
const IDLE: Duration = Duration::from_secs(20);

/// Opens films, and what helps to review them.
pub trait OpenFilms: Send + Sync {
    /// Opens a film.
    ///
    /// # Errors
    /// As [`ReviewFilm::open`].
    fn film(&self, film: &Address, interrupt: &Interrupt) -> Result<ReviewFilm>;

    /// What helps to review a film whose descriptions are in this language, a BCP 47 tag.
    ///
    /// # Errors
    /// If a model or a voice cannot be used.
    fn machines(&self, film: &ReviewFilm, language: &str, interrupt: &Interrupt) -> Result<ReviewMachines>;
}

/// The reviews of an archive.
pub struct ReviewDesk {
    archive: Archive,
    place: ReviewPlace,
    films: Box<dyn OpenFilms>,
    open: Mutex<BTreeMap<u64, Arc<OpenReview>>>,
    /// Held while a film is opened or closed.
    turn: tokio::sync::Mutex<()>,
    rules: WarningRules,
}

/// A review that is open.
pub(super) struct OpenReview {
    session: Arc<ReviewSession>,
    /// Its page, and everything that the page asks for.
    pub(super) router: Router,
    interrupt: Interrupt,
    used: Mutex<Instant>,
}

impl OpenReview {
    /// Whether nobody has followed it for so long, and nothing is lost when it is closed.
    fn is_idle(self: &Arc<OpenReview>, for_so_long: Duration) -> bool {
        Arc::strong_count(self) == 1
            && self.session.followers() == 0
            && self.session.is_saved()
            && lock(&self.used).elapsed() >= for_so_long
    }

    fn close(&self) -> Result<()> {
        self.interrupt.set();
        self.session.finish()
    }
}

impl ReviewDesk {
    /// A desk without an open film.
    pub fn new(archive: Archive, place: ReviewPlace, films: Box<dyn OpenFilms>) -> ReviewDesk {
        ReviewDesk {
            archive,
            place,
            films,
            open: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            rules: WarningRules::default(),
        }
    }

    /// The archive.
    pub fn archive(&self) -> &Archive {
        &self.archive
    }

    /// Where its reviews are.
    pub fn place(&self) -> &ReviewPlace {
        &self.place
    }

    /// How far the reviews are that are open, by the keys of their videos.
    pub(super) fn progress(&self) -> Vec<(u64, ReviewProgress)> {
        let open = lock(&self.open);
        open.iter().map(|(key, open)| (*key, open.session.read(|document, _, _| document.progress()))).collect()
    }

    /// The review of a video, which is opened if it is not yet.
    ///
    /// # Errors
    /// If there is no such video, or its film or its review cannot be opened, or too many are open.
    pub(super) async fn review(self: &Arc<ReviewDesk>, key: u64) -> Result<Arc<OpenReview>> {
        if let Some(open) = self.used(key) {
            return Ok(open);
        }
        let _turn = self.turn.lock().await;
        // Somebody else may have opened it meanwhile.
        if let Some(open) = self.used(key) {
            return Ok(open);
        }
        let desk = self.clone();
        let opened = spawn_blocking(move || {
            desk.make_room()?;
            let opened = Arc::new(desk.open_review(key)?);
            lock(&desk.open).insert(key, opened.clone());
            Ok(opened)
        });
        opened.await.unwrap_or_else(|_| {
            Err(Error::broken("opening this review failed", "Report this as a bug, with the film if possible."))
        })
    }

    fn used(&self, key: u64) -> Option<Arc<OpenReview>> {
        let open = lock(&self.open).get(&key)?.clone();
        *lock(&open.used) = Instant::now();
        Some(open)
    }

    /// Closes what nobody has followed for a while.
    pub fn close_idle(&self) {
        if let Ok(_turn) = self.turn.try_lock() {
            while self.close_one(IDLE) {}
        }
    }

    /// Closes the film that was used longest ago, if nobody needs it; returns whether there was one.
    fn close_one(&self, idle: Duration) -> bool {
        let mut open = lock(&self.open);
        let idle = open.iter().filter(|(_, film)| film.is_idle(idle)).min_by_key(|(_, film)| *lock(&film.used));
        let Some(key) = idle.map(|(key, _)| *key) else { return false };
        let closed = open.remove(&key);
        drop(open);
        // It was saved already, so that nothing can go wrong.
        closed.is_some_and(|closed| closed.close().is_ok())
    }

    fn make_room(&self) -> Result<()> {
        let is_full = || lock(&self.open).len() >= MOST_OPEN;
        while is_full() {
            if !self.close_one(Duration::ZERO) {
                let cause = format!("{MOST_OPEN} reviews of this archive are open in windows");
                return Err(Error::usage(cause, "Close some of these windows first, and try again."));
            }
        }
        Ok(())
    }

    /// Closes everything.
    ///
    /// # Errors
    /// For each review that could not be saved: its message says why.
    pub fn close(&self) -> Vec<Error> {
        let open = std::mem::take(&mut *lock(&self.open));
        // All of them at once, so that none waits for the decoder of another.
        for film in open.values() {
            film.interrupt.set();
        }
        open.values().filter_map(|film| film.close().err()).collect()
    }

    fn open_review(&self, key: u64) -> Result<OpenReview> {
        let found = self.archive.find_record(key)?;
        let (name, record) = found.ok_or_else(|| {
            let remedy = message!["Load the list again, or add the film with ", Setting::Index, "."];
            Error::input(self.archive.location(), "has no such film any more", remedy)
        })?;
        let interrupt = Interrupt::new();
        let film = self.films.film(&record.film()?, &interrupt)?;
        let (file, known) = ReviewFile::open(&self.place.path(&self.archive, key)?)?;
        let (document, renewal) = self.document(name, &record, known)?;
        let machines = self.films.machines(&film, &document.language, &interrupt)?;
        let session = Arc::new(ReviewSession::start(file, document, self.rules)?);
        let notes = SiteNotes { archive: Some(self.arguments()), renewal };
        let site = Arc::new(ReviewSite::new(session.clone(), film, machines, interrupt.clone()).with_notes(notes));
        let router = site.clone().router();
        // It ends with the interrupt.
        drop(site.start_listening());
        Ok(OpenReview { session, router, interrupt, used: Mutex::new(Instant::now()) })
    }

    /// The arguments with which `descry review` opens this archive.
    fn arguments(&self) -> Vec<String> {
        let folder = match &self.place {
            ReviewPlace::InArchive => Vec::new(),
            ReviewPlace::Folder(folder) => vec!["--review".to_string(), folder.display().to_string()],
        };
        [vec![self.archive.location().to_string()], folder].concat()
    }

    /// The document of a video: the one that is known, with what is new of the descriptions, or one of its descriptions.
    fn document(
        &self,
        name: RecordName,
        record: &VideoRecord,
        known: Option<ReviewDocument>,
    ) -> Result<(ReviewDocument, Option<Renewal>)> {
        let Some(mut document) = known else { return Ok((read_document(&self.archive, name, record)?, None)) };
        if document.source.state() == Some(name.state_text().as_str()) {
            return Ok((document, None));
        }
        let new = read_document(&self.archive, name, record)?;
        if document.revision == 0 {
            return Ok((new, None));
        }
        let renewal = document.renew(new, &rfc3339(SystemTime::now()));
        Ok((document, Some(renewal)))
    }
}

impl Drop for ReviewDesk {
    fn drop(&mut self) {
        // Those who want to know whether everything was saved have called `close` themselves.
        drop(self.close());
    }
}
