//! Adds and removes videos. A writer holds the index's lock.
//!
//! Memory: one file of vectors for each of [`MAX_BUILDERS`] models, and the captions of one transaction.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension};

use super::database::{begin, commit, open_writer, record_name, signed};
use super::fault::IndexFault;
use super::report::{UpdateReport, UpdateStep};
use super::screen::ScreenLine;
use super::script::spaced;
use super::snapshot::IndexSnapshot;
use super::source::RecordSource;
use super::text_tables::{CAPTIONS, SCREENS, TextTables};
use super::vector_file::{EXTENSION, RowFacts, VectorFile};
use super::vector_writer::VectorFileBuilder;
use crate::archive::record::RecordName;
use crate::archive::table::{KeyframeRow, TextRow};
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;

/// Models whose files are built at the same time; an archive seldom holds more.
const MAX_BUILDERS: usize = 3;
/// Videos per transaction: often enough that a killed process loses little, seldom enough to cost nothing.
const VIDEOS_PER_TRANSACTION: usize = 2_000;

/// What an index needs to be up to date.
pub(super) struct IndexChanges {
    /// Each with the mark of its review, if it has one.
    new: BTreeMap<RecordName, Option<String>>,
    /// Ids of videos that the archive does not hold any more, or of which the review has changed.
    gone: Vec<i64>,
}

/// What to add and to remove; none where the index holds exactly these records, with these reviews.
pub(super) fn changes(db: &Connection, source: &dyn RecordSource) -> Result<Option<IndexChanges>, IndexFault> {
    // The reviews first: one that changes from now on has another mark next time.
    let reviews = source.reviews()?;
    let mut new: HashMap<RecordName, Option<String>> =
        source.records()?.into_iter().map(|name| (name, reviews.get(&name.key).cloned())).collect();
    let mut gone = Vec::new();
    let mut query = db.prepare("SELECT id, key, state, review FROM videos")?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let name = record_name(row.get(1)?, row.get(2)?);
        let review: Option<String> = row.get(3)?;
        if new.get(&name) == Some(&review) {
            new.remove(&name);
        } else {
            gone.push(row.get(0)?);
        }
    }
    let current = new.is_empty() && gone.is_empty();
    Ok((!current).then(|| IndexChanges { new: new.into_iter().collect(), gone }))
}

/// Names of the files of vectors in a folder, finished or not.
pub(super) fn vector_files(folder: &Path) -> Result<Vec<String>, IndexFault> {
    let entries = fs::read_dir(folder).map_err(|e| IndexFault::Read("".into(), e))?;
    let names = entries.filter_map(|e| e.ok()?.file_name().into_string().ok());
    Ok(names.filter(|n| n.ends_with(&format!(".{EXTENSION}")) || n.ends_with(".part")).collect())
}

/// Changes an index.
pub(super) struct IndexWriter {
    pub(super) folder: PathBuf,
    pub(super) db: Connection,
}

/// The rows of a transaction that are not in a file yet.
#[derive(Default)]
struct PendingRows {
    /// By id of the model.
    builders: HashMap<i64, VectorFileBuilder>,
    /// Videos added in this transaction.
    videos: usize,
}

/// Ids of a video and of its model, and how far its rows have come.
#[derive(Debug, Clone, Copy)]
struct VideoIds {
    video: i64,
    model: i64,
    /// End of the last row.
    until_ms: Option<i64>,
}

impl IndexWriter {
    pub(super) fn open(folder: &Path, interrupt: &Interrupt) -> Result<IndexWriter, IndexFault> {
        Ok(IndexWriter { folder: folder.into(), db: open_writer(folder, interrupt)? })
    }

    /// Removes and adds videos.
    pub(super) fn apply(
        &mut self,
        source: &dyn RecordSource,
        changes: IndexChanges,
        interrupt: &Interrupt,
        report: &mut UpdateReport,
        progress: &mut dyn FnMut(UpdateStep),
    ) -> Result<(), IndexFault> {
        if !changes.gone.is_empty() {
            report.removed = changes.gone.len();
            self.remove(&changes.gone)?;
        }
        self.add(source, changes.new, interrupt, report, progress)
    }

    /// Removes the files that no transaction names: a killed process or a replacement left them.
    pub(super) fn remove_unnamed_files(&self) -> Result<(), IndexFault> {
        let mut query = self.db.prepare("SELECT name FROM segments")?;
        let named: HashSet<String> = query.query_map([], |r| r.get(0))?.collect::<Result<_, _>>()?;
        for name in vector_files(&self.folder)? {
            if !named.contains(&name) {
                let _ = fs::remove_file(self.folder.join(name));
            }
        }
        Ok(())
    }

    fn remove(&mut self, gone: &[i64]) -> Result<(), IndexFault> {
        begin(&self.db)?;
        {
            let mut remove = self.db.prepare("DELETE FROM videos WHERE id = ?1")?;
            for id in gone {
                remove.execute([id])?;
            }
        }
        self.remove_unused_texts()?;
        commit(&self.db)
    }

    /// Removes texts that no video uses any more: they would count in how rare a word is.
    fn remove_unused_texts(&self) -> Result<(), IndexFault> {
        let now = IndexSnapshot::read(&self.folder, &self.db)?;
        self.remove_unused(&now, &CAPTIONS)?;
        self.remove_unused(&now, &SCREENS)
    }

    fn remove_unused(&self, now: &IndexSnapshot, kind: &TextTables) -> Result<(), IndexFault> {
        let of_file = |file: &VectorFile| -> Vec<u32> {
            let rows = file.videos().iter().zip((kind.ids)(file));
            rows.filter(|(video, _)| now.has_video(**video)).map(|(_, text)| *text).collect()
        };
        let used: HashSet<u32> = now.files.iter().flat_map(|(_, file)| of_file(file)).collect();
        let mut unused: Vec<(i64, String)> = Vec::new();
        let (texts, words) = (kind.texts, kind.words);
        let mut query = self.db.prepare(&format!("SELECT id, text FROM {texts}"))?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let id: i64 = row.get(0)?;
            if !u32::try_from(id).is_ok_and(|id| used.contains(&id)) {
                unused.push((id, row.get(1)?));
            }
        }
        let delete = format!("INSERT INTO {words} ({words}, rowid, text) VALUES ('delete', ?1, ?2)");
        let mut remove_words = self.db.prepare(&delete)?;
        let mut remove_text = self.db.prepare(&format!("DELETE FROM {texts} WHERE id = ?1"))?;
        for (id, text) in unused {
            remove_words.execute((id, text))?;
            remove_text.execute([id])?;
        }
        Ok(())
    }

    fn add(
        &mut self,
        source: &dyn RecordSource,
        new: BTreeMap<RecordName, Option<String>>,
        interrupt: &Interrupt,
        report: &mut UpdateReport,
        progress: &mut dyn FnMut(UpdateStep),
    ) -> Result<(), IndexFault> {
        let mut pending = PendingRows::default();
        let (of, mut incomplete) = (new.len(), false);
        begin(&self.db)?;
        for (number, (record, review)) in new.into_iter().enumerate() {
            if interrupt.is_set() {
                break;
            }
            progress(UpdateStep::Video { number, of });
            match self.add_video(source, (record, review.as_deref()), &mut pending) {
                Ok(true) => {
                    report.added += 1;
                    pending.videos += 1;
                }
                // It was removed meanwhile, or cannot be read: the rows so far belong to no video.
                removed @ (Ok(false) | Err(IndexFault::Other(Error::Input { .. }))) => {
                    self.db.execute("DELETE FROM videos WHERE key = ?1 AND state = ?2", signed(record))?;
                    incomplete = true;
                    if let Err(IndexFault::Other(e)) = removed {
                        report.unreadable.push(e);
                    }
                }
                Err(e) => return Err(e),
            }
            let half_full = |b: &VectorFileBuilder| 2 * b.rows() > b.capacity();
            if pending.videos >= VIDEOS_PER_TRANSACTION || pending.builders.values().any(half_full) {
                self.write_pending(&mut pending)?;
                pending.videos = 0;
                commit(&self.db)?;
                begin(&self.db)?;
            }
        }
        self.write_pending(&mut pending)?;
        if incomplete {
            self.remove_unused_texts()?;
        }
        commit(&self.db)?;
        if interrupt.is_set() { Err(IndexFault::Other(Error::Interrupted)) } else { Ok(()) }
    }

    /// Adds a video; returns false where it was removed meanwhile.
    fn add_video(
        &self,
        source: &dyn RecordSource,
        (record, review): (RecordName, Option<&str>),
        pending: &mut PendingRows,
    ) -> Result<bool, IndexFault> {
        let mut ids = None;
        let mut keyframes = 0u32;
        // A fault of the index must not pass for a fault of the video.
        let mut fault = None;
        let read = source.read(record, &mut |row| {
            let number = keyframes;
            keyframes += 1;
            self.add_row(record, &row, number, &mut ids, pending).map_err(|e| match e {
                IndexFault::Other(e @ Error::Input { .. }) => e,
                e => {
                    fault = Some(e);
                    Error::Interrupted
                }
            })
        });
        if let Some(fault) = fault {
            return Err(fault);
        }
        if !read? {
            return Ok(false);
        }
        match ids {
            Some(VideoIds { video, .. }) => {
                self.db
                    .prepare_cached("UPDATE videos SET keyframes = ?2, review = ?3 WHERE id = ?1")?
                    .execute((video, keyframes, review))?;
            }
            // A video without keyframes is known too, so that no update reads it again.
            None => {
                let empty = "INSERT INTO videos (key, state, name, keyframes, review) VALUES (?1, ?2, '', 0, ?3)";
                let (key, state) = signed(record);
                self.db.prepare_cached(empty)?.execute((key, state, review))?;
            }
        }
        Ok(true)
    }

    fn add_row(
        &self,
        record: RecordName,
        row: &KeyframeRow,
        number: u32,
        ids: &mut Option<VideoIds>,
        pending: &mut PendingRows,
    ) -> Result<(), IndexFault> {
        let length = row.embedding.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        if row.embedding.is_empty() || !(0.0..=1.01).contains(&length) {
            return Err(unsearchable(row, "an embedding is not of length 1"));
        }
        let known = match ids {
            Some(known) => known,
            None => ids.insert(self.insert_video(record, row)?),
        };
        // What was there before is found where it appeared.
        let appears = |line: &&TextRow| known.until_ms.is_none_or(|until| line.start_ms >= until);
        let lines: Vec<&TextRow> = row.text.iter().flatten().filter(appears).collect();
        known.until_ms = Some(row.end_ms);
        // A caption that did not become a cue is not searched either.
        let text = match row.caption.as_deref().filter(|c| row.said && !c.is_empty()) {
            None => 0,
            Some(caption) => index_number(self.caption_id(caption)?)?,
        };
        let facts = RowFacts {
            video: index_number(known.video)?,
            number,
            scene: row.scene,
            text,
            screen: index_number(self.insert_screen(&lines)?)?,
            start_ms: row.start_ms,
            end_ms: row.end_ms,
            keyframe_ms: row.keyframe_ms,
            score: row.score.filter(|_| text != 0).unwrap_or(f32::NAN),
            thumbnail: row.thumbnail.is_some(),
        };
        if !pending.builders.contains_key(&known.model) && pending.builders.len() >= MAX_BUILDERS {
            self.write_pending(pending)?;
            pending.builders.clear();
        }
        let new_builder = || VectorFileBuilder::new(row.embedding.len());
        let builder = pending.builders.entry(known.model).or_insert_with(new_builder);
        if row.embedding.len() != builder.dimension() {
            return Err(unsearchable(row, "its embeddings differ in dimension"));
        }
        builder.push(facts, &row.embedding);
        if builder.is_full() {
            self.write_file(known.model, builder)?;
        }
        Ok(())
    }

    /// Inserts a video, and its model where that is new.
    fn insert_video(&self, record: RecordName, row: &KeyframeRow) -> Result<VideoIds, IndexFault> {
        let dimension = row.embedding.len() as i64;
        let mut query = self.db.prepare_cached("SELECT id, width FROM models WHERE hash = ?1")?;
        let known: Option<(i64, i64)> =
            query.query_row([&*row.model_hash], |r| Ok((r.get(0)?, r.get(1)?))).optional()?;
        let model = match known {
            Some((id, d)) if d == dimension => id,
            Some(_) => return Err(unsearchable(row, "its embeddings differ in dimension from others of their model")),
            None => {
                let new = "INSERT INTO models (hash, name, width) VALUES (?1, ?2, ?3)";
                self.db.execute(new, (&*row.model_hash, &*row.model, dimension))?;
                self.db.last_insert_rowid()
            }
        };
        let new = "INSERT INTO videos (key, state, name, model, keyframes) VALUES (?1, ?2, ?3, ?4, 0)";
        let (key, state) = signed(record);
        self.db.prepare_cached(new)?.execute((key, state, &*row.video, model))?;
        Ok(VideoIds { video: self.db.last_insert_rowid(), model, until_ms: None })
    }

    /// The id of a caption; inserts it where it is new.
    fn caption_id(&self, caption: &str) -> Result<i64, IndexFault> {
        let caption = &*spaced(caption);
        let mut query = self.db.prepare_cached("SELECT id FROM texts WHERE text = ?1")?;
        if let Some(id) = query.query_row([caption], |r| r.get(0)).optional()? {
            return Ok(id);
        }
        self.db.prepare_cached("INSERT INTO texts (text) VALUES (?1)")?.execute([caption])?;
        let id = self.db.last_insert_rowid();
        self.db.prepare_cached("INSERT INTO words (rowid, text) VALUES (?1, ?2)")?.execute((id, caption))?;
        Ok(id)
    }

    /// Inserts the lines that appear in a row; returns the id of their text, 0 if there are none.
    fn insert_screen(&self, lines: &[&TextRow]) -> Result<i64, IndexFault> {
        let Some((text, places)) = ScreenLine::pack(lines) else { return Ok(0) };
        self.db.prepare_cached("INSERT INTO screens (text, lines) VALUES (?1, ?2)")?.execute((&text, places))?;
        let id = self.db.last_insert_rowid();
        self.db.prepare_cached("INSERT INTO screen_words (rowid, text) VALUES (?1, ?2)")?.execute((id, text))?;
        Ok(id)
    }

    /// Writes all pending rows into files.
    fn write_pending(&self, pending: &mut PendingRows) -> Result<(), IndexFault> {
        for (model, builder) in &mut pending.builders {
            if builder.rows() > 0 {
                self.write_file(*model, builder)?;
            }
        }
        Ok(())
    }

    /// Writes a file, and names it in this transaction.
    pub(super) fn write_file(&self, model: i64, builder: &mut VectorFileBuilder) -> Result<(), IndexFault> {
        let keyframes = builder.rows() as i64;
        let name = builder.write(&self.folder).map_err(|e| IndexFault::Write("".into(), e))?;
        let insert = "INSERT INTO segments (name, model, keyframes) VALUES (?1, ?2, ?3)";
        self.db.execute(insert, (name, model, keyframes))?;
        Ok(())
    }
}

impl Drop for IndexWriter {
    fn drop(&mut self) {
        // An error may have left a transaction open. Without a commit it changes nothing.
        if !self.db.is_autocommit() {
            let _ = self.db.execute_batch("ROLLBACK");
        }
    }
}

/// An error about a video whose keyframes cannot be searched.
fn unsearchable(row: &KeyframeRow, cause: &str) -> IndexFault {
    IndexFault::Other(Error::input(
        &*row.video,
        format!("its keyframes cannot be searched: {cause}"),
        "Index this video again.",
    ))
}

/// An id as the files hold it.
fn index_number(id: i64) -> Result<u32, IndexFault> {
    u32::try_from(id)
        .map_err(|_| IndexFault::Other(Error::usage("the search index is full", "Split the archive into several.")))
}
