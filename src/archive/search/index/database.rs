//! The index's database: its tables, and how it is opened.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::fault::{DATABASE, IndexFault};
use crate::archive::record::RecordName;
use crate::error::Error;
use crate::message;
use crate::message::Setting;

/// The index's format, followed by a version.
const FORMAT_PREFIX: &str = "descry-search/";
const VERSION: u32 = 1;
/// How long to wait for another process: it holds the database only while it ends a transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(60);

const TABLES: &str = "
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE models (id INTEGER PRIMARY KEY, hash TEXT NOT NULL UNIQUE, name TEXT NOT NULL, width INTEGER NOT NULL);
CREATE TABLE videos (id INTEGER PRIMARY KEY AUTOINCREMENT, key INTEGER NOT NULL, state INTEGER NOT NULL, name TEXT NOT NULL,
    model INTEGER REFERENCES models, keyframes INTEGER NOT NULL, UNIQUE (key, state));
CREATE TABLE segments (name TEXT PRIMARY KEY, model INTEGER NOT NULL REFERENCES models, keyframes INTEGER NOT NULL) WITHOUT ROWID;
";

/// Every caption once, and its words. Folds case, accents and English endings.
pub(crate) const CAPTION_TABLES: &str = "
CREATE TABLE texts (id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT NOT NULL UNIQUE);
CREATE VIRTUAL TABLE words USING fts5 (text, content = 'texts', content_rowid = 'id',
    tokenize = 'porter unicode61 remove_diacritics 2');
";

/// Opens the database for reading.
pub(super) fn open_reader(folder: &Path) -> Result<Connection, IndexFault> {
    let path = folder.join(DATABASE);
    if !path.try_exists().map_err(|e| IndexFault::Read(DATABASE.into(), e))? {
        return Err(IndexFault::Missing);
    }
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    db.busy_timeout(BUSY_TIMEOUT)?;
    db.execute_batch("PRAGMA temp_store = MEMORY")?;
    check_format(folder, &db)?;
    Ok(db)
}

/// Opens the database for writing; makes its tables where there are none.
pub(super) fn open_writer(folder: &Path) -> Result<Connection, IndexFault> {
    let mut db = Connection::open(folder.join(DATABASE))?;
    db.busy_timeout(BUSY_TIMEOUT)?;
    // Changes stay in memory until the end of a transaction, so that it shuts readers out only then.
    db.execute_batch("PRAGMA temp_store = MEMORY; PRAGMA cache_spill = OFF; PRAGMA journal_mode = DELETE;")?;
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let tables: i64 = transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0))?;
    if tables == 0 {
        transaction.execute_batch(TABLES)?;
        transaction.execute_batch(CAPTION_TABLES)?;
        let meta = "INSERT INTO meta VALUES ('format', ?1), ('generation', 0)";
        transaction.execute(meta, [format!("{FORMAT_PREFIX}{VERSION}")])?;
    } else {
        check_format(folder, &transaction)?;
    }
    transaction.commit()?;
    Ok(db)
}

fn check_format(folder: &Path, db: &Connection) -> Result<(), IndexFault> {
    let format: String = db.query_row("SELECT value FROM meta WHERE key = 'format'", [], |r| r.get(0))?;
    let version = format.strip_prefix(FORMAT_PREFIX).and_then(|v| v.parse::<u32>().ok());
    match version {
        Some(VERSION) => Ok(()),
        Some(newer) if newer > VERSION => Err(IndexFault::Other(Error::usage(
            format!("{}: a newer descry made this search index ({format})", folder.display()),
            message![
                "Use that descry, or make an index for this one: elsewhere with ",
                Setting::SearchIndex,
                ", or in its place with ",
                Setting::Rebuild,
                "."
            ],
        ))),
        _ => Err(IndexFault::Damaged(format!("its format is {format:?}"))),
    }
}

/// A number that every transaction of a writer changes.
pub(super) fn generation(db: &Connection) -> Result<i64, IndexFault> {
    Ok(db.prepare_cached("SELECT value FROM meta WHERE key = 'generation'")?.query_row([], |r| r.get(0))?)
}

/// Starts a transaction that writes.
pub(super) fn begin(db: &Connection) -> Result<(), IndexFault> {
    Ok(db.execute_batch("BEGIN IMMEDIATE")?)
}

/// Ends a transaction that writes.
pub(super) fn commit(db: &Connection) -> Result<(), IndexFault> {
    Ok(db.execute_batch("UPDATE meta SET value = value + 1 WHERE key = 'generation'; COMMIT")?)
}

/// Key and state as SQLite holds them: its integers are signed.
pub(super) fn signed(name: RecordName) -> (i64, i64) {
    (name.key as i64, name.state as i64)
}

/// The reverse of [`signed`].
pub(crate) fn record_name(key: i64, state: i64) -> RecordName {
    RecordName { key: key as u64, state: state as u64 }
}
