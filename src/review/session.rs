//! A review that is under way: one document, several windows, one file.
//!
//! Edits are applied one by one, in the order in which they come. A thread saves the document: at once, and again while it
//! changes. If the file cannot be written, it tries again; nothing that was edited is dropped. Everybody who follows the
//! session learns of every change, in order.
//!
//! Memory: the document, one copy while it is saved, and [`EVENTS`] events; a follower that is further behind must load the
//! document again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, SystemTime};

use serde::Serialize;
use tokio::sync::broadcast;

use super::cue::{CueId, GlossaryTerm, ReviewCue};
use super::document::ReviewDocument;
use super::edit::{Edit, Refusal};
use super::file::{ReviewFile, SaveOutcome};
use super::warnings::{CueFacts, WarningRules};
use crate::error::{Error, Result};
use crate::lock::lock;
use crate::wall::rfc3339;

/// Events that wait for a follower.
const EVENTS: usize = 256;
/// How long after a failure the file is written again.
const RETRY: Duration = Duration::from_secs(2);

/// What an edit has changed. Times are in seconds.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct EditReport {
    /// The revision of the document.
    pub revision: u64,
    /// What was done; none if the edit changes nothing.
    pub change: Option<ChangeSummary>,
    /// The revision of the change that this one continues, and replaces in the history.
    pub replaced: Option<u64>,
    /// Cues that are new or changed, as they are now.
    pub changed: Vec<ReviewCue>,
    /// Cues that are gone.
    pub removed: Vec<CueId>,
    /// What is known of cues of which something else is known now.
    pub facts: BTreeMap<u32, CueFacts>,
    /// The glossary, if it has changed.
    pub glossary: Option<Vec<GlossaryTerm>>,
    /// The notes, if they have changed.
    pub notes: Option<String>,
}

/// A change, without what it changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChangeSummary {
    /// What kind of change it is.
    pub what: String,
    /// Who made it.
    pub who: String,
    /// When: RFC 3339 in UTC.
    pub time: String,
    /// The revision that it undid or did again.
    pub of: Option<u64>,
}

/// Whether the file holds the document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum SaveState {
    /// It does, up to this revision.
    Saved {
        /// The revision.
        revision: u64,
    },
    /// It could not be written. It is tried again.
    Failed {
        /// Why, in words.
        why: String,
    },
    /// Somebody else has changed it. The document is in a copy beside it.
    ChangedOnDisk {
        /// The copy's name.
        copy: String,
    },
}

/// What followers learn.
#[derive(Debug, Clone)]
pub enum ReviewEvent {
    /// An edit.
    Change(Arc<EditReport>),
    /// What became of the file.
    Save(SaveState),
    /// The whole document is another one.
    Document,
}

/// A review that is under way.
pub struct ReviewSession {
    shared: Arc<SharedSession>,
    saver: Mutex<Option<JoinHandle<()>>>,
}

struct SharedSession {
    rules: WarningRules,
    state: Mutex<SessionState>,
    /// None once the session is over. Locked after the state, never before it.
    file: Mutex<Option<ReviewFile>>,
    changed: Condvar,
    events: broadcast::Sender<ReviewEvent>,
}

struct SessionState {
    document: ReviewDocument,
    facts: BTreeMap<u32, CueFacts>,
    saved: SaveState,
    /// The revision that was written last; none if none was.
    written: Option<u64>,
    stopped: bool,
}

impl ReviewSession {
    /// Begins to keep a document in a file.
    ///
    /// # Errors
    /// If the file cannot be written, or the system refuses a thread.
    pub fn start(mut file: ReviewFile, document: ReviewDocument, rules: WarningRules) -> Result<ReviewSession> {
        // What cannot be saved is reported before anybody begins to work.
        file.save(&document)?;
        let facts = facts_of(&document, &rules);
        let revision = document.revision;
        let saved = SaveState::Saved { revision };
        let state = SessionState { document, facts, saved, written: Some(revision), stopped: false };
        let (events, _) = broadcast::channel(EVENTS);
        let shared = Arc::new(SharedSession {
            rules,
            state: Mutex::new(state),
            file: Mutex::new(Some(file)),
            changed: Condvar::new(),
            events,
        });
        let saving = shared.clone();
        let saver = Builder::new().name("save".into()).spawn(move || saving.save_until_stopped());
        let saver =
            saver.map_err(|e| Error::broken(format!("no thread: {e}"), "Close other programs and try again."))?;
        Ok(ReviewSession { shared, saver: Mutex::new(Some(saver)) })
    }

    /// Makes an edit. Followers learn of it.
    ///
    /// # Errors
    /// When it is refused.
    pub fn edit(&self, edit: &Edit, who: &str) -> std::result::Result<Arc<EditReport>, Refusal> {
        let mut state = lock(&self.shared.state);
        if state.stopped {
            return Err(closed());
        }
        let time = rfc3339(SystemTime::now());
        let before = state.document.history.last().map(|change| change.revision);
        let state = &mut *state;
        let Some(change) = state.document.edit(edit, who, &time)? else {
            let revision = state.document.revision;
            return Ok(Arc::new(EditReport { revision, ..EditReport::default() }));
        };
        let summary = ChangeSummary {
            what: change.what.clone(),
            who: change.who.clone(),
            time: change.time.clone(),
            of: change.of,
        };
        let after = change.after.clone();
        let gone = change.before.cues.iter().map(|cue| cue.id).filter(|id| !after.cues.iter().any(|c| c.id == *id));
        let removed = gone.collect();
        let replaced = before.filter(|before| state.document.change(*before).is_none());
        let facts = facts_of(&state.document, &self.shared.rules);
        let report = Arc::new(EditReport {
            revision: state.document.revision,
            change: Some(summary),
            replaced,
            changed: after.cues,
            removed,
            facts: facts
                .iter()
                .filter(|(id, now)| state.facts.get(id) != Some(now))
                .map(|(i, f)| (*i, f.clone()))
                .collect(),
            glossary: after.glossary,
            notes: after.notes,
        });
        state.facts = facts;
        // Nobody may follow.
        let _ = self.shared.events.send(ReviewEvent::Change(report.clone()));
        self.shared.changed.notify_all();
        Ok(report)
    }

    /// Gives the document and what is known of its cues, in their order, to a function.
    pub fn read<T>(&self, look: impl FnOnce(&ReviewDocument, &SaveState, &[&CueFacts]) -> T) -> T {
        let state = lock(&self.shared.state);
        let facts: Vec<&CueFacts> = state.document.cues.iter().filter_map(|cue| state.facts.get(&cue.id.0)).collect();
        look(&state.document, &state.saved, &facts)
    }

    /// The file; none once the session is over.
    pub fn path(&self) -> Option<PathBuf> {
        lock(&self.shared.file).as_ref().map(|file| file.path().into())
    }

    /// How many follow it.
    pub fn followers(&self) -> usize {
        self.shared.events.receiver_count()
    }

    /// Whether the file holds everything that was edited.
    pub fn is_saved(&self) -> bool {
        let state = lock(&self.shared.state);
        state.written == Some(state.document.revision)
    }

    /// The rules by which cues are judged.
    pub fn rules(&self) -> &WarningRules {
        &self.shared.rules
    }

    /// Everything that happens from now on.
    pub fn follow(&self) -> broadcast::Receiver<ReviewEvent> {
        self.shared.events.subscribe()
    }

    /// Replaces the file that somebody else has changed; their version gets another name.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn take_mine(&self) -> Result<()> {
        let document = lock(&self.shared.state).document.clone();
        lock(&self.shared.file).as_mut().ok_or_else(is_over)?.replace(&document)?;
        self.shared.saved(SaveState::Saved { revision: document.revision }, Some(document.revision));
        Ok(())
    }

    /// Takes the document of the file that somebody else has changed. This one's is kept in the copy beside it.
    ///
    /// # Errors
    /// If the file cannot be read, or is gone.
    pub fn take_theirs(&self) -> Result<()> {
        let mut state = lock(&self.shared.state);
        let mut file = lock(&self.shared.file);
        let file = file.as_mut().ok_or_else(is_over)?;
        let path = file.path().display().to_string();
        let theirs = file.read()?;
        let mut theirs =
            theirs.ok_or_else(|| Error::input(path, "is gone", "Keep your own version, which writes it again."))?;
        // Windows know versions of cues by this document's revisions; theirs must not mean something else.
        theirs.revision = theirs.revision.max(state.document.revision) + 1;
        let revision = theirs.revision;
        theirs.cues.iter_mut().for_each(|cue| cue.version = revision);
        state.facts = facts_of(&theirs, &self.shared.rules);
        state.document = theirs;
        drop(state);
        let _ = self.shared.events.send(ReviewEvent::Document);
        self.shared.changed.notify_all();
        Ok(())
    }

    /// Saves what is not saved yet, and lets others have the file. Edits that come later are refused.
    ///
    /// # Errors
    /// If the file does not hold the document: the message says why.
    pub fn finish(&self) -> Result<()> {
        self.shared.stop();
        let mut saver = lock(&self.saver);
        if let Some(saver) = saver.take() {
            let _ = saver.join();
        }
        let state = lock(&self.shared.state);
        let Some(file) = lock(&self.shared.file).take() else { return Ok(()) };
        if state.written == Some(state.document.revision) {
            return Ok(());
        }
        let path = file.path().display().to_string();
        match &state.saved {
            SaveState::ChangedOnDisk { copy } => {
                let cause = format!("was changed by another program; this review is in {copy} beside it");
                Err(Error::output(path, cause, "Compare the two, and keep the one that you want under this name."))
            }
            SaveState::Failed { why } => {
                Err(Error::output(path, format!("could not be saved: {why}"), "Check the disk and its permissions."))
            }
            SaveState::Saved { .. } => Ok(()),
        }
    }
}

impl Drop for ReviewSession {
    fn drop(&mut self) {
        // Those who want to know whether it was saved have called `finish` themselves.
        let _ = self.finish();
    }
}

impl SharedSession {
    fn stop(&self) {
        lock(&self.state).stopped = true;
        self.changed.notify_all();
    }

    /// Saves whenever the document has changed.
    fn save_until_stopped(&self) {
        loop {
            let mut state = lock(&self.state);
            while state.written == Some(state.document.revision) && !state.stopped {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            let (stopped, is_written) = (state.stopped, state.written == Some(state.document.revision));
            if is_written {
                return;
            }
            let document = state.document.clone();
            drop(state);
            let Some(saved) = lock(&self.file).as_mut().map(|file| file.save(&document)) else { return };
            let revision = document.revision;
            match saved {
                Ok(SaveOutcome::Saved) => self.saved(SaveState::Saved { revision }, Some(revision)),
                Ok(SaveOutcome::ChangedOnDisk { copy }) => {
                    let copy = file_name(&copy);
                    self.saved(SaveState::ChangedOnDisk { copy }, None);
                    if !stopped {
                        self.wait_for_change(revision);
                    }
                }
                Err(e) => {
                    self.saved(SaveState::Failed { why: e.to_string() }, None);
                    if !stopped {
                        let state = lock(&self.state);
                        drop(self.changed.wait_timeout(state, RETRY));
                    }
                }
            }
            if stopped {
                return;
            }
        }
    }

    /// Until the document is another one than that which was written beside the file, or somebody has decided.
    fn wait_for_change(&self, revision: u64) {
        let mut state = lock(&self.state);
        while state.document.revision == revision && !state.stopped && state.written != Some(revision) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Remembers what became of the file; `written`: the revision that it holds, if it holds one of this document.
    fn saved(&self, saved: SaveState, written: Option<u64>) {
        let mut state = lock(&self.state);
        let is_news = state.saved != saved;
        state.saved = saved.clone();
        state.written = written;
        self.changed.notify_all();
        drop(state);
        if is_news {
            let _ = self.events.send(ReviewEvent::Save(saved));
        }
    }
}

/// The answer to an edit that comes too late.
fn closed() -> Refusal {
    Refusal::Impossible("This review is closed. Load the page again.".into())
}

fn is_over() -> Error {
    Error::usage("this review is closed", "Load the page again.")
}

fn facts_of(document: &ReviewDocument, rules: &WarningRules) -> BTreeMap<u32, CueFacts> {
    document.cues.iter().map(|cue| cue.id.0).zip(document.facts(rules)).collect()
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::edit::NewParts;
    use super::super::tests::{cue, document, ms, seen};
    use super::*;

    fn session(folder: &Path) -> ReviewSession {
        let (file, none) = ReviewFile::open(&folder.join("film.review.json")).unwrap();
        assert!(none.is_none());
        let film = document(vec![cue(1, 0, 2_000, "A dog runs."), cue(2, 2_000, 4_000, "A cat sits.")]);
        ReviewSession::start(file, film, WarningRules::default()).unwrap()
    }

    fn add(text: &str) -> Edit {
        Edit::Add { start: ms(5_000), end: ms(9_000), text: text.into() }
    }

    fn saved(folder: &Path) -> ReviewDocument {
        serde_json::from_slice(&fs::read(folder.join("film.review.json")).unwrap()).unwrap()
    }

    /// Waits until the session says something that fits.
    fn wait(events: &mut broadcast::Receiver<ReviewEvent>, fits: impl Fn(&ReviewEvent) -> bool) {
        while !fits(&events.blocking_recv().unwrap()) {}
    }

    #[test]
    fn every_edit_is_saved_and_told() {
        let folder = tempfile::tempdir().unwrap();
        let session = session(folder.path());
        let mut events = session.follow();
        let report = session.edit(&add("A hen."), "ann").unwrap();
        assert_eq!((report.revision, report.changed[0].id, report.facts.len()), (1, CueId(3), 1));
        assert!(matches!(events.blocking_recv().unwrap(), ReviewEvent::Change(told) if told == report));
        wait(&mut events, |e| matches!(e, ReviewEvent::Save(SaveState::Saved { revision: 1 })));
        assert_eq!(saved(folder.path()).cues.len(), 3);
        // A move changes what is known of the cue after it, too.
        let to = NewParts { end: Some(ms(3_000)), ..NewParts::default() };
        let one = session.read(|document, _, _| seen(document, 1));
        let report = session.edit(&Edit::Change { cue: one, to, continues: None }, "ann").unwrap();
        assert_eq!(report.facts.keys().copied().collect::<Vec<_>>(), [2]);
        let stale = session.edit(&Edit::Delete { cues: vec![one] }, "bob");
        assert_eq!(stale.unwrap_err(), Refusal::Conflict { cues: vec![CueId(1)] });
        session.finish().unwrap();
        assert_eq!(saved(folder.path()).revision, 2);
    }

    #[test]
    fn two_versions_of_the_file_are_kept_until_somebody_decides() {
        let folder = tempfile::tempdir().unwrap();
        let session = session(folder.path());
        let mut events = session.follow();
        let path = folder.path().join("film.review.json");
        let mut theirs = saved(folder.path());
        theirs.notes = "theirs".into();
        fs::write(&path, serde_json::to_vec(&theirs).unwrap()).unwrap();
        session.edit(&add("A hen."), "ann").unwrap();
        let conflict = |e: &ReviewEvent| matches!(e, ReviewEvent::Save(SaveState::ChangedOnDisk { copy }) if copy == "film.review.mine-1.json");
        wait(&mut events, conflict);
        assert_eq!(saved(folder.path()).notes, "theirs");
        session.take_theirs().unwrap();
        wait(&mut events, |e| matches!(e, ReviewEvent::Document));
        session.read(|document, _, _| assert_eq!((document.cues.len(), &*document.notes), (2, "theirs")));
        wait(&mut events, |e| matches!(e, ReviewEvent::Save(SaveState::Saved { .. })));
        // Once more, and this time mine stays.
        fs::write(&path, serde_json::to_vec(&theirs).unwrap()).unwrap();
        session.edit(&add("A cow."), "ann").unwrap();
        wait(&mut events, |e| matches!(e, ReviewEvent::Save(SaveState::ChangedOnDisk { .. })));
        session.take_mine().unwrap();
        assert_eq!(saved(folder.path()).cues.len(), 3);
        session.edit(&add("A pig."), "ann").unwrap();
        session.finish().unwrap();
        assert!(matches!(session.edit(&add("A cow."), "ann"), Err(Refusal::Impossible(_))));
        // Others may have the file now.
        assert_eq!(ReviewFile::open(&path).unwrap().1.unwrap().cues.len(), 4);
        assert_eq!(saved(folder.path()).cues.len(), 4);
    }

    #[test]
    fn an_end_without_a_decision_is_reported_and_loses_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let session = session(folder.path());
        fs::write(folder.path().join("film.review.json"), "{}").unwrap();
        session.edit(&add("A hen."), "ann").unwrap();
        let e = session.finish().unwrap_err().to_string();
        assert!(e.contains("film.review.mine-1.json"), "{e}");
        let copy = fs::read(folder.path().join("film.review.mine-1.json")).unwrap();
        assert_eq!(serde_json::from_slice::<ReviewDocument>(&copy).unwrap().cues.len(), 3);
    }
}
