//! An index as a reader sees it: one state between two transactions of a writer.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::database::{generation, open_reader};
use super::fault::IndexFault;
use super::vector_file::VectorFile;
use super::vector_writer::VectorFileBuilder;
use crate::archive::table::MAX_DIMENSION;
use crate::interrupt::Interrupt;
use crate::open_folder::OpenFolder;

/// A model whose embeddings are in an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexedModel {
    pub(crate) id: i64,
    /// SHA-256 of the model's manifest in hex.
    pub hash: String,
    /// Name and version.
    pub name: String,
    /// Values per embedding.
    pub dimension: usize,
    /// Number of keyframes.
    pub keyframes: usize,
}

/// Ids up to which there is room for something in memory, if there are `count` of them. Every update takes new ids; a new
/// index begins at 1 again.
pub(crate) fn most_ids(count: usize) -> usize {
    count.saturating_mul(64).saturating_add(1 << 20)
}

/// One state of an index. Memory: eight bytes per video; the files are mapped.
pub(crate) struct IndexSnapshot {
    generation: i64,
    pub(crate) models: Vec<IndexedModel>,
    /// Each with the id of its model, by name of the file.
    pub(crate) files: Vec<(i64, VectorFile)>,
    /// Keys of the videos in the archive, by their id in the index.
    pub(crate) videos: Vec<Option<u64>>,
}

impl IndexSnapshot {
    /// Reads the database and opens the files that it names. While a transaction reads, no other one can end, and a file
    /// is removed only after the transaction that replaces it: so all of them are there.
    pub(super) fn read(folder: &Path, db: &Connection) -> Result<IndexSnapshot, IndexFault> {
        // The caller may be in a transaction already.
        let transaction = db.is_autocommit().then(|| db.unchecked_transaction()).transpose()?;
        let mut snapshot = IndexSnapshot {
            generation: generation(db)?,
            models: read_models(db)?,
            files: Vec::new(),
            videos: Vec::new(),
        };
        snapshot.open_files(folder, db)?;
        snapshot.read_videos(db)?;
        drop(transaction);
        Ok(snapshot)
    }

    fn open_files(&mut self, folder: &Path, db: &Connection) -> Result<(), IndexFault> {
        let opened_folder = OpenFolder::open(folder).map_err(|e| IndexFault::Read("".into(), e))?;
        let mut query = db.prepare("SELECT name, model, keyframes FROM segments ORDER BY name")?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let (name, model, keyframes): (String, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let known = self.models.iter().find(|m| m.id == model);
            let dimension = known.ok_or_else(|| IndexFault::impossible("a model's number"))?.dimension;
            // No file has more, so that a name and a number cannot make a search of many gigabytes.
            let most = VectorFileBuilder::new(dimension).capacity();
            let rows = usize::try_from(keyframes).ok().filter(|n| *n <= most);
            let rows = rows.ok_or_else(|| IndexFault::impossible("a number of keyframes"))?;
            let opened = opened_folder.file(&name).and_then(|file| VectorFile::of_file(&file, dimension, rows));
            let file = opened.map_err(|e| match e.kind() {
                io::ErrorKind::NotFound => IndexFault::Damaged(format!("{name} is missing")),
                io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => IndexFault::Damaged(format!("{name}: {e}")),
                _ => IndexFault::Read(name.as_str().into(), e),
            })?;
            self.files.push((model, file));
        }
        Ok(())
    }

    fn read_videos(&mut self, db: &Connection) -> Result<(), IndexFault> {
        let impossible = || IndexFault::impossible("a video's number");
        let (last, count): (Option<i64>, u32) =
            db.query_row("SELECT max(id), count(*) FROM videos", [], |r| Ok((r.get(0)?, r.get(1)?)))?;
        let last = usize::try_from(last.unwrap_or(0)).ok().filter(|n| *n < 1 << 31).ok_or_else(impossible)?;
        if last > most_ids(count as usize) {
            return Err(IndexFault::Damaged("most of its numbers for videos are unused".into()));
        }
        self.videos = vec![None; last + 1];
        let mut query = db.prepare("SELECT id, key, model, keyframes FROM videos")?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let (id, key): (i64, i64) = (row.get(0)?, row.get(1)?);
            let video = usize::try_from(id).ok().and_then(|id| self.videos.get_mut(id)).ok_or_else(impossible)?;
            *video = Some(key as u64);
            let (model, keyframes): (Option<i64>, i64) = (row.get(2)?, row.get(3)?);
            if let Some(model) = self.models.iter_mut().find(|m| Some(m.id) == model) {
                model.keyframes += usize::try_from(keyframes).unwrap_or(0);
            }
        }
        Ok(())
    }

    /// Whether the archive still has a video.
    pub(super) fn has_video(&self, id: u32) -> bool {
        self.videos.get(id as usize).is_some_and(Option::is_some)
    }
}

/// Models without their numbers of keyframes.
fn read_models(db: &Connection) -> Result<Vec<IndexedModel>, IndexFault> {
    let mut models = Vec::new();
    let mut query = db.prepare("SELECT id, hash, name, width FROM models ORDER BY id")?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let dimension: i64 = row.get(3)?;
        models.push(IndexedModel {
            id: row.get(0)?,
            hash: row.get(1)?,
            name: row.get(2)?,
            dimension: usize::try_from(dimension)
                .ok()
                .filter(|n| (1..=MAX_DIMENSION).contains(n))
                .ok_or_else(|| IndexFault::impossible("a dimension"))?,
            keyframes: 0,
        });
    }
    Ok(models)
}

/// An index that is open for reading.
pub(crate) struct SearchIndex {
    folder: PathBuf,
    pub(crate) db: Connection,
    pub(crate) now: IndexSnapshot,
}

impl SearchIndex {
    pub(super) fn open(folder: &Path, interrupt: &Interrupt) -> Result<SearchIndex, IndexFault> {
        let db = open_reader(folder, interrupt)?;
        let now = IndexSnapshot::read(folder, &db)?;
        Ok(SearchIndex { folder: folder.into(), db, now })
    }

    /// Takes up what writers have changed. Call it inside a transaction.
    pub(crate) fn refresh(&mut self) -> Result<(), IndexFault> {
        if generation(&self.db)? != self.now.generation {
            self.now = IndexSnapshot::read(&self.folder, &self.db)?;
        }
        Ok(())
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }
}
