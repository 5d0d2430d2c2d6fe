//! The index: a folder that is made from an archive's tables, kept up to date by the names of its records, and may be
//! deleted at any time.
//!
//! ```text
//! index.sqlite     which records are in it, models, files of vectors, and every caption once, with SQLite's full-text search
//! HASH.vectors     keyframes of one model, packed (see `segment`)
//! lock             held by whoever changes something
//! ```
//!
//! Order: files of vectors are whole and named before the transaction that tells of them; those that are replaced go after
//! it. So a process that is killed leaves at worst files that nobody tells of, which the next one removes. Readers take no
//! lock: they see the last transaction that ended, and open anew what was replaced under their hands.
//!
//! Memory: one file of vectors for each model at a time (at most [`MODELS`]), the captions of one transaction, and eight
//! bytes for each video.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, TransactionBehavior};

use super::segment::{Builder, EXTENSION, Facts, Segment};
use crate::archive::record::Name;
use crate::archive::table::Row;
use crate::archive::{Archive, TABLE};
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;

/// What the index is; another number is another format.
const FORMAT: &str = "descry-search/";
const VERSION: u32 = 1;
const DATABASE: &str = "index.sqlite";
const LOCK: &str = "lock";
/// Models whose vectors are collected at once.
const MODELS: usize = 3;
/// Videos of a transaction at most.
const VIDEOS: usize = 2_000;
/// Files that are less than half full, of one model, that may stand beside each other before they are made one.
const SMALL: usize = 8;
/// How long another process may hold the database: it holds it for the end of a transaction.
const BUSY: Duration = Duration::from_secs(60);

const TABLES: &str = "
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE models (id INTEGER PRIMARY KEY, hash TEXT NOT NULL UNIQUE, name TEXT NOT NULL, width INTEGER NOT NULL);
CREATE TABLE videos (id INTEGER PRIMARY KEY AUTOINCREMENT, key INTEGER NOT NULL, state INTEGER NOT NULL, name TEXT NOT NULL,
    model INTEGER REFERENCES models, keyframes INTEGER NOT NULL, UNIQUE (key, state));
CREATE TABLE segments (name TEXT PRIMARY KEY, model INTEGER NOT NULL REFERENCES models, keyframes INTEGER NOT NULL) WITHOUT ROWID;
";

/// Every caption once, and its words. English stems, as far as letters go.
pub(super) const WORDS: &str = "
CREATE TABLE texts (id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT NOT NULL UNIQUE);
CREATE VIRTUAL TABLE words USING fts5 (text, content = 'texts', content_rowid = 'id',
    tokenize = 'porter unicode61 remove_diacritics 2');
";

/// Where an index gets its rows from.
pub trait Source {
    /// The videos that are done, in any order.
    fn records(&self) -> Result<Vec<Name>>;

    /// A video's keyframes in order of time; false where the record has gone meanwhile.
    fn read(&self, record: Name, each: &mut dyn FnMut(Row) -> Result<()>) -> Result<bool>;
}

impl Source for Archive {
    fn records(&self) -> Result<Vec<Name>> {
        self.record_names()
    }

    fn read(&self, record: Name, each: &mut dyn FnMut(Row) -> Result<()>) -> Result<bool> {
        let read = (|| {
            let Some(table) = self.table(record)? else { return Ok(false) };
            for rows in table {
                for row in rows? {
                    each(row)?;
                }
            }
            Ok(true)
        })();
        match read {
            Ok(true) => Ok(true),
            // What was taken away while it was read is no damage; what has a record and no table is.
            Ok(false) | Err(Error::Input { .. }) if !self.has_record(record)? => Ok(false),
            Ok(false) => Err(Error::input(
                self.store().shown(&self.place(record, TABLE)),
                "is missing",
                "Let descry archive check find what is damaged, and index again.",
            )),
            Err(e) => Err(e),
        }
    }
}

/// What became of bringing an index up to date.
#[derive(Debug, Default)]
pub struct Report {
    pub added: usize,
    pub removed: usize,
    /// Why it was made anew, where it was.
    pub anew: Option<String>,
    /// Records that could not be read, and are not in it.
    pub faults: Vec<Error>,
}

/// What an index is at while it is brought up to date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Another process brings it up to date.
    Waiting,
    /// This one of so many videos is next, counted from 0.
    Video(usize, usize),
}

/// What stops the work on an index.
#[derive(Debug)]
pub(super) enum Fault {
    /// There is none.
    Missing,
    /// It does not hold what it should: make it anew.
    Damaged(String),
    /// It may not be written.
    ReadOnly(Error),
    Other(Error),
}

impl From<Error> for Fault {
    fn from(e: Error) -> Fault {
        Fault::Other(e)
    }
}

/// A model whose embeddings are in the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    pub id: i64,
    pub hash: String,
    /// Name and version.
    pub name: String,
    pub width: usize,
    pub keyframes: usize,
}

/// One state of the index, between two transactions.
pub(super) struct Snapshot {
    generation: i64,
    pub models: Vec<Model>,
    /// With the model that each is of.
    pub segments: Vec<(i64, Segment)>,
    /// By number: the key of each video that is in the archive.
    pub videos: Vec<Option<u64>>,
}

/// An index that is open for reading.
pub struct Index {
    folder: PathBuf,
    pub(super) db: Connection,
    pub(super) now: Snapshot,
}

impl Index {
    /// Opens an index and brings it up to date where something has changed. Of several processes one does so, and the
    /// others wait for it. One that is damaged is made anew, and so is any with `anew`.
    ///
    /// Where nothing may be written, one that is up to date is read all the same.
    pub(super) fn current(
        folder: &Path,
        source: &dyn Source,
        anew: bool,
        interrupt: &Interrupt,
        tell: &mut dyn FnMut(Step),
    ) -> Result<(Index, Report), Fault> {
        let mut why = anew.then(|| "that was asked for".to_string());
        if !anew {
            match Index::open(folder) {
                Ok(index) if index.lacks(source.records()?)?.is_none() => return Ok((index, Report::default())),
                // What a killed process left half done may want writing before it can be read.
                Ok(_) | Err(Fault::Missing | Fault::ReadOnly(_)) => {}
                Err(Fault::Damaged(cause)) => why = Some(cause),
                Err(e) => return Err(e),
            }
        }
        fs::create_dir_all(folder).map_err(|e| unwritten(folder, &e))?;
        let path = folder.join(LOCK);
        let open = File::options().create(true).truncate(false).write(true).open(&path);
        let lock = open.map_err(|e| unwritten(&path, &e))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                tell(Step::Waiting);
                lock.lock().map_err(|e| unwritten(&path, &e))?;
                // Whoever had it may have made it good.
                why = why.filter(|_| anew);
            }
            Err(TryLockError::Error(e)) => return Err(unwritten(&path, &e)),
        }
        let mut report = Report::default();
        let mut left = 2;
        loop {
            left -= 1;
            let done = (|| {
                if why.is_some() {
                    wipe(folder)?;
                }
                let mut writer = Writer::open(folder)?;
                writer.update(source, interrupt, &mut report, tell)?;
                drop(writer);
                Index::open(folder)
            })();
            match done {
                Err(Fault::Damaged(cause)) if left > 0 => {
                    why = Some(cause);
                    report = Report::default();
                }
                Err(Fault::Damaged(cause)) => {
                    return Err(Fault::Other(Error::output(
                        folder.display().to_string(),
                        format!("the search index cannot be made: {cause}"),
                        "Check the disk, or name another place with --index.",
                    )));
                }
                Err(e) => return Err(e),
                Ok(index) => {
                    report.anew = why.filter(|_| !anew);
                    return Ok((index, report));
                }
            }
        }
    }

    fn open(folder: &Path) -> Result<Index, Fault> {
        let path = folder.join(DATABASE);
        if !path.try_exists().map_err(|e| unread(&path, &e))? {
            return Err(Fault::Missing);
        }
        let db = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX);
        let sql = |e| sql(folder, e);
        let db = db.map_err(sql)?;
        db.busy_timeout(BUSY).map_err(sql)?;
        db.execute_batch("PRAGMA temp_store = MEMORY").map_err(sql)?;
        format(folder, &db)?;
        let now = snapshot(folder, &db)?;
        Ok(Index { folder: folder.into(), db, now })
    }

    /// Takes what was written since. To be called inside of a transaction.
    pub(super) fn refresh(&mut self) -> Result<(), Fault> {
        if generation(&self.folder, &self.db)? != self.now.generation {
            self.now = snapshot(&self.folder, &self.db)?;
        }
        Ok(())
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn models(&self) -> &[Model] {
        &self.now.models
    }

    /// What is to be added and removed; none where the index has just these records.
    fn lacks(&self, records: Vec<Name>) -> Result<Option<Changes>, Fault> {
        changes(&self.folder, &self.db, records)
    }

    pub(super) fn sql(&self, e: rusqlite::Error) -> Fault {
        sql(&self.folder, e)
    }
}

/// A name as SQLite has it, whose numbers have a sign.
fn numbers(name: Name) -> (i64, i64) {
    (name.key as i64, name.state as i64)
}

struct Changes {
    new: BTreeSet<Name>,
    gone: Vec<i64>,
}

fn changes(folder: &Path, db: &Connection, records: Vec<Name>) -> Result<Option<Changes>, Fault> {
    let sql = |e| sql(folder, e);
    let mut new: HashSet<Name> = records.into_iter().collect();
    let mut gone = Vec::new();
    let mut have = db.prepare("SELECT id, key, state FROM videos").map_err(sql)?;
    let mut rows = have.query([]).map_err(sql)?;
    while let Some(row) = rows.next().map_err(sql)? {
        let (key, state): (i64, i64) = (row.get(1).map_err(sql)?, row.get(2).map_err(sql)?);
        if !new.remove(&Name { key: key as u64, state: state as u64 }) {
            gone.push(row.get(0).map_err(sql)?);
        }
    }
    let nothing = new.is_empty() && gone.is_empty();
    Ok((!nothing).then(|| Changes { new: new.into_iter().collect(), gone }))
}

fn format(folder: &Path, db: &Connection) -> Result<(), Fault> {
    let told = db.query_row("SELECT value FROM meta WHERE key = 'format'", [], |r| r.get::<_, String>(0));
    let told = told.map_err(|e| sql(folder, e))?;
    let version = told.strip_prefix(FORMAT).and_then(|v| v.parse::<u32>().ok());
    match version {
        Some(VERSION) => Ok(()),
        Some(newer) if newer > VERSION => Err(Fault::Other(Error::usage(
            format!("{}: a newer descry made this search index ({told})", folder.display()),
            "Use that one, or make an index of this descry's own: --index DIR, or --rebuild in this place.",
        ))),
        _ => Err(Fault::Damaged(format!("its format is {told:?}"))),
    }
}

fn generation(folder: &Path, db: &Connection) -> Result<i64, Fault> {
    let mut query = db.prepare_cached("SELECT value FROM meta WHERE key = 'generation'").map_err(|e| sql(folder, e))?;
    query.query_row([], |r| r.get(0)).map_err(|e| sql(folder, e))
}

/// What the database tells, and the files that it tells of, of one moment: while somebody reads in a transaction nobody else's
/// can end, and files go only after the one that replaces them.
fn snapshot(folder: &Path, db: &Connection) -> Result<Snapshot, Fault> {
    // The caller may have begun one already.
    let transaction = db.is_autocommit().then(|| db.unchecked_transaction()).transpose().map_err(|e| sql(folder, e))?;
    let generation = generation(folder, db)?;
    let read = read_snapshot(folder, db, generation);
    drop(transaction);
    read
}

fn read_snapshot(folder: &Path, db: &Connection, generation: i64) -> Result<Snapshot, Fault> {
    let sql = |e| sql(folder, e);
    let damaged = |what: &str| Fault::Damaged(format!("{what} cannot be"));
    let mut models = Vec::new();
    let mut query = db.prepare("SELECT id, hash, name, width FROM models ORDER BY id").map_err(sql)?;
    let mut rows = query.query([]).map_err(sql)?;
    while let Some(row) = rows.next().map_err(sql)? {
        let width: i64 = row.get(3).map_err(sql)?;
        models.push(Model {
            id: row.get(0).map_err(sql)?,
            hash: row.get(1).map_err(sql)?,
            name: row.get(2).map_err(sql)?,
            width: usize::try_from(width).map_err(|_| damaged("a width"))?,
            keyframes: 0,
        });
    }
    let mut segments = Vec::new();
    let mut query = db.prepare("SELECT name, model, keyframes FROM segments ORDER BY name").map_err(sql)?;
    let mut rows = query.query([]).map_err(sql)?;
    while let Some(row) = rows.next().map_err(sql)? {
        let (name, model, keyframes): (String, i64, i64) =
            (row.get(0).map_err(sql)?, row.get(1).map_err(sql)?, row.get(2).map_err(sql)?);
        let width = models.iter().find(|m| m.id == model).ok_or_else(|| damaged("a model's number"))?.width;
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.');
        let path = folder.join(if plain { &name } else { "" });
        let keyframes = usize::try_from(keyframes).map_err(|_| damaged("a number of keyframes"))?;
        let segment = Segment::open(&path, width, keyframes).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => Fault::Damaged(format!("{name} is missing")),
            io::ErrorKind::InvalidData => Fault::Damaged(format!("{name}: {e}")),
            _ => unread(&path, &e),
        })?;
        segments.push((model, segment));
    }
    let last: Option<i64> = db.query_row("SELECT max(id) FROM videos", [], |r| r.get(0)).map_err(sql)?;
    let last = usize::try_from(last.unwrap_or(0)).ok().filter(|n| *n < 1 << 31).ok_or_else(|| damaged("a number"))?;
    let mut videos = vec![None; last + 1];
    let mut query = db.prepare("SELECT id, key, model, keyframes FROM videos").map_err(sql)?;
    let mut rows = query.query([]).map_err(sql)?;
    while let Some(row) = rows.next().map_err(sql)? {
        let (id, key): (i64, i64) = (row.get(0).map_err(sql)?, row.get(1).map_err(sql)?);
        let place =
            usize::try_from(id).ok().and_then(|id| videos.get_mut(id)).ok_or_else(|| damaged("a video's number"))?;
        *place = Some(key as u64);
        let (model, keyframes): (Option<i64>, i64) = (row.get(2).map_err(sql)?, row.get(3).map_err(sql)?);
        if let Some(model) = models.iter_mut().find(|m| Some(m.id) == model) {
            model.keyframes += usize::try_from(keyframes).unwrap_or(0);
        }
    }
    Ok(Snapshot { generation, models, segments, videos })
}

/// Whoever has the lock.
struct Writer {
    folder: PathBuf,
    db: Connection,
}

/// What one transaction adds.
struct Batch {
    builders: HashMap<i64, Builder>,
    videos: usize,
}

impl Writer {
    fn open(folder: &Path) -> Result<Writer, Fault> {
        let path = folder.join(DATABASE);
        let sql = |e| sql(folder, e);
        let mut db = Connection::open(&path).map_err(sql)?;
        db.busy_timeout(BUSY).map_err(sql)?;
        // What is changed stays in memory until the end of a transaction, so that readers are shut out for just that.
        db.execute_batch("PRAGMA temp_store = MEMORY; PRAGMA cache_spill = OFF; PRAGMA journal_mode = DELETE;")
            .map_err(sql)?;
        let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sql)?;
        let tables =
            transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get::<_, i64>(0)).map_err(sql)?;
        if tables == 0 {
            transaction.execute_batch(TABLES).map_err(sql)?;
            transaction.execute_batch(WORDS).map_err(sql)?;
            let meta = "INSERT INTO meta VALUES ('format', ?1), ('generation', 0)";
            transaction.execute(meta, [format!("{FORMAT}{VERSION}")]).map_err(sql)?;
        } else {
            format(folder, &transaction)?;
        }
        transaction.commit().map_err(sql)?;
        Ok(Writer { folder: folder.into(), db })
    }

    fn sql(&self, e: rusqlite::Error) -> Fault {
        sql(&self.folder, e)
    }

    fn update(
        &mut self,
        source: &dyn Source,
        interrupt: &Interrupt,
        report: &mut Report,
        tell: &mut dyn FnMut(Step),
    ) -> Result<(), Fault> {
        self.sweep()?;
        if let Some(Changes { new, gone }) = changes(&self.folder, &self.db, source.records()?)? {
            if !gone.is_empty() {
                report.removed = gone.len();
                self.remove(&gone)?;
            }
            self.add(source, new, interrupt, report, tell)?;
        }
        self.tidy()
    }

    /// Removes files that a killed process left.
    fn sweep(&self) -> Result<(), Fault> {
        let mut query = self.db.prepare("SELECT name FROM segments").map_err(|e| self.sql(e))?;
        let known: HashSet<String> =
            query.query_map([], |r| r.get(0)).and_then(Iterator::collect).map_err(|e| self.sql(e))?;
        for name in ours(&self.folder)? {
            if !known.contains(&name) {
                let _ = fs::remove_file(self.folder.join(name));
            }
        }
        Ok(())
    }

    fn begin(&self) -> Result<(), Fault> {
        self.db.execute_batch("BEGIN IMMEDIATE").map_err(|e| self.sql(e))
    }

    fn commit(&self) -> Result<(), Fault> {
        let end = "UPDATE meta SET value = value + 1 WHERE key = 'generation'; COMMIT";
        self.db.execute_batch(end).map_err(|e| self.sql(e))
    }

    fn remove(&mut self, gone: &[i64]) -> Result<(), Fault> {
        let sql = |e| sql(&self.folder, e);
        self.begin()?;
        {
            let mut remove = self.db.prepare("DELETE FROM videos WHERE id = ?1").map_err(sql)?;
            for id in gone {
                remove.execute([id]).map_err(sql)?;
            }
        }
        self.forget()?;
        self.commit()
    }

    /// Removes captions that no video has any more: they would count in how common a word is.
    fn forget(&self) -> Result<(), Fault> {
        let sql = |e| sql(&self.folder, e);
        let now = snapshot(&self.folder, &self.db)?;
        let of = |s: &Segment| -> Vec<u32> {
            s.videos().iter().zip(s.texts()).filter(|(v, _)| now.has(**v)).map(|(_, t)| *t).collect()
        };
        let used: HashSet<u32> = now.segments.iter().flat_map(|(_, s)| of(s)).collect();
        let mut all = self.db.prepare("SELECT id, text FROM texts").map_err(sql)?;
        let mut rows = all.query([]).map_err(sql)?;
        let mut unused: Vec<(i64, String)> = Vec::new();
        while let Some(row) = rows.next().map_err(sql)? {
            let id: i64 = row.get(0).map_err(sql)?;
            if !u32::try_from(id).is_ok_and(|id| used.contains(&id)) {
                unused.push((id, row.get(1).map_err(sql)?));
            }
        }
        let mut unword =
            self.db.prepare("INSERT INTO words (words, rowid, text) VALUES ('delete', ?1, ?2)").map_err(sql)?;
        let mut untext = self.db.prepare("DELETE FROM texts WHERE id = ?1").map_err(sql)?;
        for (id, text) in unused {
            unword.execute((id, text)).map_err(sql)?;
            untext.execute([id]).map_err(sql)?;
        }
        Ok(())
    }

    fn add(
        &mut self,
        source: &dyn Source,
        new: BTreeSet<Name>,
        interrupt: &Interrupt,
        report: &mut Report,
        tell: &mut dyn FnMut(Step),
    ) -> Result<(), Fault> {
        let mut batch = Batch { builders: HashMap::new(), videos: 0 };
        let (all, mut refused) = (new.len(), false);
        self.begin()?;
        for (number, record) in new.into_iter().enumerate() {
            if interrupt.is_set() {
                break;
            }
            tell(Step::Video(number, all));
            let added = self.add_one(source, record, &mut batch);
            match added {
                Ok(true) => {
                    report.added += 1;
                    batch.videos += 1;
                }
                // It went, or it cannot be read. What came of it so far belongs to a video that does not exist.
                Ok(false) | Err(Fault::Other(Error::Input { .. })) => {
                    let refuse = "DELETE FROM videos WHERE key = ?1 AND state = ?2";
                    self.db.execute(refuse, numbers(record)).map_err(|e| self.sql(e))?;
                    refused = true;
                    if let Err(Fault::Other(e)) = added {
                        report.faults.push(e);
                    }
                }
                Err(e) => return Err(e),
            }
            if batch.videos >= VIDEOS || batch.builders.values().any(|b| 2 * b.rows() > b.most()) {
                self.flush(&mut batch, None)?;
                batch.videos = 0;
                self.commit()?;
                self.begin()?;
            }
        }
        self.flush(&mut batch, None)?;
        if refused {
            self.forget()?;
        }
        self.commit()?;
        if interrupt.is_set() { Err(Fault::Other(Error::Interrupted)) } else { Ok(()) }
    }

    fn add_one(&self, source: &dyn Source, record: Name, batch: &mut Batch) -> Result<bool, Fault> {
        let sql = |e| sql(&self.folder, e);
        let mut video = None;
        let mut keyframes = 0u32;
        // What the index itself cannot do must not be taken for a fault of the video.
        let mut fault = None;
        let read = source.read(record, &mut |row| {
            let number = keyframes;
            keyframes += 1;
            self.add_row(record, row, number, &mut video, batch).map_err(|e| match e {
                Fault::Other(e @ Error::Input { .. }) => e,
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
        match video {
            Some((id, _)) => {
                let mut count =
                    self.db.prepare_cached("UPDATE videos SET keyframes = ?2 WHERE id = ?1").map_err(sql)?;
                count.execute((id, keyframes)).map_err(sql)?;
            }
            // Nothing is to be found in it, and nobody need look again.
            None => {
                let none = "INSERT INTO videos (key, state, name, keyframes) VALUES (?1, ?2, '', 0)";
                self.db.prepare_cached(none).and_then(|mut q| q.execute(numbers(record))).map_err(sql)?;
            }
        }
        Ok(true)
    }

    fn add_row(
        &self,
        record: Name,
        row: Row,
        number: u32,
        video: &mut Option<(i64, i64)>,
        batch: &mut Batch,
    ) -> Result<(), Fault> {
        let sql = |e| sql(&self.folder, e);
        let refuse = |cause: &str| {
            Fault::Other(Error::input(
                &*row.video,
                format!("its keyframes are not searched: {cause}"),
                "Index this video again.",
            ))
        };
        let length = row.embedding.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        if row.embedding.is_empty() || !(0.0..=1.01).contains(&length) {
            return Err(refuse("an embedding is not of length 1"));
        }
        let (video, model) = match *video {
            Some(known) => known,
            None => {
                let width = row.embedding.len() as i64;
                let have = "SELECT id, width FROM models WHERE hash = ?1";
                let known: Option<(i64, i64)> = self
                    .db
                    .prepare_cached(have)
                    .and_then(|mut q| q.query_row([&*row.model_hash], |r| Ok((r.get(0)?, r.get(1)?))).optional())
                    .map_err(sql)?;
                let model = match known {
                    Some((id, w)) if w == width => id,
                    Some(_) => return Err(refuse("its embeddings are not as long as others of their model")),
                    None => {
                        let new = "INSERT INTO models (hash, name, width) VALUES (?1, ?2, ?3)";
                        self.db.execute(new, (&*row.model_hash, &*row.model, width)).map_err(sql)?;
                        self.db.last_insert_rowid()
                    }
                };
                let new = "INSERT INTO videos (key, state, name, model, keyframes) VALUES (?1, ?2, ?3, ?4, 0)";
                let mut insert = self.db.prepare_cached(new).map_err(sql)?;
                let (key, state) = numbers(record);
                insert.execute((key, state, &*row.video, model)).map_err(sql)?;
                *video.insert((self.db.last_insert_rowid(), model))
            }
        };
        let many = |_| Fault::Other(Error::usage("the search index is full", "Split the archive into several."));
        // What was too unsure to be said is not looked for either.
        let text = match row.caption.as_deref().filter(|c| row.said && !c.is_empty()) {
            None => 0,
            Some(caption) => {
                let have = "SELECT id FROM texts WHERE text = ?1";
                let mut have = self.db.prepare_cached(have).map_err(sql)?;
                let known: Option<i64> = have.query_row([caption], |r| r.get(0)).optional().map_err(sql)?;
                let id = match known {
                    Some(id) => id,
                    None => {
                        let new = "INSERT INTO texts (text) VALUES (?1)";
                        self.db.prepare_cached(new).and_then(|mut q| q.execute([caption])).map_err(sql)?;
                        let id = self.db.last_insert_rowid();
                        let new = "INSERT INTO words (rowid, text) VALUES (?1, ?2)";
                        self.db.prepare_cached(new).and_then(|mut q| q.execute((id, caption))).map_err(sql)?;
                        id
                    }
                };
                u32::try_from(id).map_err(many)?
            }
        };
        let facts = Facts {
            video: u32::try_from(video).map_err(many)?,
            number,
            scene: row.scene,
            text,
            start_ms: row.start_ms,
            end_ms: row.end_ms,
            keyframe_ms: row.keyframe_ms,
            score: row.score.filter(|_| text != 0).unwrap_or(f32::NAN),
            thumbnail: row.thumbnail.is_some(),
        };
        if !batch.builders.contains_key(&model) && batch.builders.len() >= MODELS {
            self.flush(batch, None)?;
            batch.builders.clear();
        }
        let builder = batch.builders.entry(model).or_insert_with(|| Builder::new(row.embedding.len()));
        if row.embedding.len() != builder.width() {
            return Err(refuse("its embeddings are not equally long"));
        }
        builder.push(facts, &row.embedding);
        if builder.is_full() {
            self.flush(batch, Some(model))?;
        }
        Ok(())
    }

    /// Writes what was collected, of one model or of all.
    fn flush(&self, batch: &mut Batch, only: Option<i64>) -> Result<(), Fault> {
        for (model, builder) in &mut batch.builders {
            if builder.rows() > 0 && only.is_none_or(|m| m == *model) {
                self.write(*model, builder)?;
            }
        }
        Ok(())
    }

    fn write(&self, model: i64, builder: &mut Builder) -> Result<(), Fault> {
        let keyframes = builder.rows() as i64;
        let name = builder.write(&self.folder).map_err(|e| unwritten(&self.folder, &e))?;
        let tell = "INSERT INTO segments (name, model, keyframes) VALUES (?1, ?2, ?3)";
        self.db.execute(tell, (name, model, keyframes)).map_err(|e| self.sql(e))?;
        Ok(())
    }

    /// Makes many small files few, and drops rows of videos that are gone.
    fn tidy(&mut self) -> Result<(), Fault> {
        let sql = |e| sql(&self.folder, e);
        let now = snapshot(&self.folder, &self.db)?;
        // As the snapshot has them: what becomes of one model's files must not move the names of another's.
        let names: Vec<String> = {
            let mut names = self.db.prepare("SELECT name FROM segments ORDER BY name").map_err(sql)?;
            names.query_map([], |r| r.get(0)).and_then(Iterator::collect).map_err(sql)?
        };
        for model in &now.models {
            let most = Builder::new(model.width).most();
            let mut wanting = Vec::new();
            let mut useless = 0;
            for (name, (_, segment)) in names.iter().zip(&now.segments).filter(|(_, (m, _))| *m == model.id) {
                let alive = segment.videos().iter().filter(|v| now.has(**v)).count();
                if 2 * alive < most.min(segment.rows()) || 2 * segment.rows() < most {
                    wanting.push((name, segment));
                    useless += usize::from(2 * alive < segment.rows());
                }
            }
            if wanting.len() <= SMALL && useless == 0 {
                continue;
            }
            let mut builder = Builder::new(model.width);
            self.begin()?;
            for (name, segment) in &wanting {
                self.db.execute("DELETE FROM segments WHERE name = ?1", [name]).map_err(sql)?;
                for row in 0..segment.rows() {
                    let facts = segment.facts(row);
                    if now.has(facts.video) {
                        builder.push(facts, segment.vector(row));
                    }
                    if builder.is_full() {
                        self.write(model.id, &mut builder)?;
                    }
                }
            }
            if builder.rows() > 0 {
                self.write(model.id, &mut builder)?;
            }
            self.commit()?;
            self.sweep()?;
        }
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // An error may have left a transaction open; closing ends it without a trace.
        if !self.db.is_autocommit() {
            let _ = self.db.execute_batch("ROLLBACK");
        }
    }
}

impl Snapshot {
    /// Whether the archive still has a video.
    pub(super) fn has(&self, video: u32) -> bool {
        self.videos.get(video as usize).is_some_and(Option::is_some)
    }
}

/// Names in the folder that are files of vectors, or parts of them.
fn ours(folder: &Path) -> Result<Vec<String>, Fault> {
    let entries = fs::read_dir(folder).map_err(|e| unread(folder, &e))?;
    let names = entries.filter_map(|e| e.ok()?.file_name().into_string().ok());
    Ok(names.filter(|n| n.ends_with(&format!(".{EXTENSION}")) || n.ends_with(".part")).collect())
}

/// Removes an index, and nothing else that may stand in its folder.
fn wipe(folder: &Path) -> Result<(), Fault> {
    let database = ["", "-journal", "-wal", "-shm"].map(|tail| format!("{DATABASE}{tail}"));
    for name in database.into_iter().chain(ours(folder)?) {
        let path = folder.join(name);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(unwritten(&path, &e)),
            _ => {}
        }
    }
    Ok(())
}

fn unwritten(path: &Path, e: &io::Error) -> Fault {
    let name = path.display().to_string();
    match e.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Fault::ReadOnly(Error::output(
            name,
            format!("the search index cannot be written: {e}"),
            "Name a place for it with --index DIR.",
        )),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => Fault::Other(
            Error::output(name, "the disk is full", "Free some space, or name another place with --index DIR."),
        ),
        _ => Fault::Other(Error::output(
            name,
            format!("the search index cannot be written: {e}"),
            "Name another place for it with --index DIR.",
        )),
    }
}

fn unread(path: &Path, e: &io::Error) -> Fault {
    Fault::Other(Error::input(
        path.display().to_string(),
        format!("the search index cannot be read: {e}"),
        "Make it readable, or name another place with --index DIR.",
    ))
}

/// What an error of SQLite's means for the index.
fn sql(folder: &Path, e: rusqlite::Error) -> Fault {
    use rusqlite::Error as E;
    let path = folder.join(DATABASE);
    let code = e.sqlite_error_code();
    match (&e, code) {
        (_, Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied)) => {
            unwritten(&path, &io::Error::new(io::ErrorKind::ReadOnlyFilesystem, e.to_string()))
        }
        (_, Some(ErrorCode::CannotOpen)) => {
            unwritten(&path, &io::Error::new(io::ErrorKind::PermissionDenied, e.to_string()))
        }
        (_, Some(ErrorCode::DiskFull)) => unwritten(&path, &io::Error::new(io::ErrorKind::StorageFull, e.to_string())),
        (_, Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)) => Fault::Other(Error::output(
            path.display().to_string(),
            "another program holds the search index",
            "End that program, or name another place with --index DIR.",
        )),
        (_, Some(ErrorCode::SystemIoFailure | ErrorCode::OutOfMemory)) => {
            unwritten(&path, &io::Error::other(e.to_string()))
        }
        // No database, one that contradicts itself, or one of another make.
        (_, Some(_)) => Fault::Damaged(e.to_string()),
        (
            E::QueryReturnedNoRows
            | E::InvalidColumnType(..)
            | E::FromSqlConversionFailure(..)
            | E::IntegralValueOutOfRange(..),
            _,
        ) => Fault::Damaged(e.to_string()),
        _ => Fault::Damaged(e.to_string()),
    }
}
