//! An archive that is open for searching.

use std::path::{Path, PathBuf};

use super::answer::answer;
use super::index::{IndexFault, IndexedModel, RecordSource, SearchIndex, UpdateReport, UpdateStep, open_current};
use super::moments::Moment;
use super::query::SearchQuery;
use crate::archive::catalog::Archive;
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::message;
use crate::message::Setting;

/// Most bytes that are mapped ahead: those of some two million keyframes. More take longer than a model takes to load.
const MOST_PREPARED: usize = 512 << 20;

/// Where a search index is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IndexLocation {
    /// In this folder of the archive. Where it cannot be written, a temporary index is made for this process alone.
    InArchive(PathBuf),
    /// In this folder and nowhere else.
    Folder(PathBuf),
}

impl IndexLocation {
    /// The archive's own place for its index; none where the archive is in an object store.
    pub fn of(archive: &Archive) -> Option<IndexLocation> {
        archive.search_folder().map(IndexLocation::InArchive)
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        match self {
            IndexLocation::InArchive(folder) | IndexLocation::Folder(folder) => folder,
        }
    }
}

/// Why a query could not be answered.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SearchError {
    /// The index is damaged, for this reason. Opening the searcher with `rebuild` repairs it.
    #[error("the search index is damaged: {0}")]
    DamagedIndex(String),
    /// Something else.
    #[error(transparent)]
    Other(#[from] Error),
}

impl From<SearchError> for Error {
    fn from(e: SearchError) -> Error {
        match e {
            SearchError::DamagedIndex(cause) => damaged_index("search index", &cause),
            SearchError::Other(e) => e,
        }
    }
}

/// An archive that is open for searching.
pub struct Searcher {
    index: SearchIndex,
    report: UpdateReport,
    /// The folder of a temporary index, which is removed with it.
    temporary: Option<tempfile::TempDir>,
}

impl Searcher {
    /// Opens an archive on this machine, after bringing its index up to date.
    ///
    /// # Errors
    /// The archive is in an object store: give [`Searcher::open_at`] a folder for the index. Or the archive or the index
    /// cannot be read or written.
    pub fn open(archive: &Archive) -> Result<Searcher> {
        let location = IndexLocation::of(archive).ok_or_else(|| {
            Error::usage(
                format!("{}: an index cannot be kept in an object store", archive.location()),
                message!["Name a folder of this machine for it with ", Setting::SearchIndex, "."],
            )
        })?;
        Searcher::open_at(&location, archive, false, &Interrupt::new(), &mut |_| {})
    }

    /// Opens an index, after bringing it up to date with its source or, with `rebuild`, building it again. Calls `progress`
    /// before each step.
    ///
    /// # Errors
    /// The source or the index cannot be read or written, a newer version of descry made the index, or the interrupt was
    /// set. A video that cannot be read is no error: see [`Searcher::report`].
    pub fn open_at(
        location: &IndexLocation,
        source: &dyn RecordSource,
        rebuild: bool,
        interrupt: &Interrupt,
        progress: &mut dyn FnMut(UpdateStep),
    ) -> Result<Searcher> {
        let folder = location.folder();
        if matches!(location, IndexLocation::InArchive(_)) {
            refuse_link(folder)?;
        }
        match open_current(folder, source, rebuild, interrupt, progress) {
            Ok((index, report)) => Ok(Searcher { index, report, temporary: None }),
            Err(e) if e.is_read_only() && matches!(location, IndexLocation::InArchive(_)) => {
                let temporary = temporary_folder()?;
                let opened = open_current(temporary.path(), source, true, interrupt, progress);
                let (index, report) = opened.map_err(|e| e.explain(temporary.path()))?;
                Ok(Searcher { index, report, temporary: Some(temporary) })
            }
            Err(e) => Err(e.explain(folder)),
        }
    }

    /// What bringing the index up to date changed, and which videos could not be read.
    pub fn report(&self) -> &UpdateReport {
        &self.report
    }

    /// Maps what a query by meaning reads, so that it waits less. Worth it while something else is waited for.
    pub fn prepare(&self) {
        let mut left = MOST_PREPARED;
        for (_, file) in &self.index.now.files {
            left -= file.prepare_scan(left);
        }
    }

    /// Whether the index is a temporary one, because its own place cannot be written.
    pub fn is_temporary(&self) -> bool {
        self.temporary.is_some()
    }

    /// The folder of the index.
    pub fn index_folder(&self) -> &Path {
        self.index.folder()
    }

    /// The models that made the keyframes.
    pub fn models(&self) -> &[IndexedModel] {
        &self.index.now.models
    }

    /// Whether any text on the screen is in the index.
    pub fn has_screen_text(&self) -> bool {
        let any = self.index.db.query_row("SELECT EXISTS (SELECT 1 FROM screens)", [], |r| r.get(0));
        // A damaged index is reported by the next query.
        any.unwrap_or(true)
    }

    /// Ends the transaction of a query. A damaged database may refuse that.
    fn end_reading(&self) -> rusqlite::Result<()> {
        if self.index.db.is_autocommit() { Ok(()) } else { self.index.db.execute_batch("COMMIT") }
    }

    /// The moments that answer a query, best first. Sees what other processes have changed in the index since the last
    /// query.
    ///
    /// # Errors
    /// The index is damaged, or cannot be read.
    pub fn find(&mut self, query: &SearchQuery) -> Result<Vec<Moment>, SearchError> {
        // A transaction keeps the database as it is until the answer is complete.
        let begun = self.index.db.execute_batch("BEGIN").map_err(IndexFault::from);
        let answered = begun.and_then(|()| self.index.refresh()).and_then(|()| answer(&self.index, query));
        let answered = answered.and_then(|moments| Ok(self.end_reading().map(|()| moments)?));
        if !self.index.db.is_autocommit() {
            // After a failure. A transaction that went on would make every later query fail.
            let _ = self.index.db.execute_batch("ROLLBACK");
        }
        answered.map_err(|e| match e {
            IndexFault::Damaged(cause) => SearchError::DamagedIndex(cause),
            e => SearchError::Other(e.explain(self.index.folder())),
        })
    }
}

/// Other people may have made the archive, and have its index written wherever a link leads.
fn refuse_link(folder: &Path) -> Result<()> {
    match folder.symlink_metadata() {
        Ok(found) if found.is_symlink() => Err(Error::output(
            folder.display().to_string(),
            "is a symbolic link, and the search index of an archive is not kept behind one",
            message!["Remove the link, or name the folder that it leads to with ", Setting::SearchIndex, "."],
        )),
        _ => Ok(()),
    }
}

fn temporary_folder() -> Result<tempfile::TempDir> {
    tempfile::Builder::new().prefix("descry-search-").tempdir().map_err(|e| {
        Error::output(
            std::env::temp_dir().display().to_string(),
            format!("no temporary search index can be made: {e}"),
            message!["Name a place for it with ", Setting::SearchIndex, "."],
        )
    })
}

fn damaged_index(name: &str, cause: &str) -> Error {
    Error::output(
        name,
        format!("the search index is damaged: {cause}"),
        message!["Make it anew with ", Setting::Rebuild, "."],
    )
}
