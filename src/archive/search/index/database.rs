//! The index's database: its tables, and how it is opened.
//!
//! Other people may have made the database. It is used only if its schema is, word for word, the one that descry makes (see
//! [`schema`](super::schema)): views, triggers and virtual tables of others never run. SQLite is set to trust
//! nothing in it, and every statement ends soon after an interrupt.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::fault::{DATABASE, IndexFault};
use super::schema::{CAPTION_TABLES, SCREEN_TABLES, TABLES, check_files, check_schema, is_expected};
use crate::archive::record::RecordName;
use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::message;
use crate::message::Setting;

/// The index's format, followed by a version. An index of an earlier version is built again: 1 had no text of the screen.
const FORMAT_PREFIX: &str = "descry-search/";
const VERSION: u32 = 4;
/// How long to wait for another process: it holds the database only while it ends a transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(60);

/// Steps of SQLite's machine between two looks at the interrupt: some microseconds. Full-text search takes few of them: a
/// handful for each page that it reads, with some thousand captions.
const STEPS: i32 = 100;

/// What no statement of descry needs more of.
const LIMITS: [(Limit, i32); 9] = [
    // Of a value or a row, in bytes. The longest are captions.
    (Limit::SQLITE_LIMIT_LENGTH, 16 << 20),
    (Limit::SQLITE_LIMIT_SQL_LENGTH, 100_000),
    (Limit::SQLITE_LIMIT_COLUMN, 64),
    (Limit::SQLITE_LIMIT_EXPR_DEPTH, 100),
    (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 8),
    (Limit::SQLITE_LIMIT_VDBE_OP, 50_000),
    (Limit::SQLITE_LIMIT_ATTACHED, 0),
    (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 1),
    (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
];

/// Opens the database for reading.
pub(super) fn open_reader(folder: &Path, interrupt: &Interrupt) -> Result<Connection, IndexFault> {
    if !check_files(folder)? {
        return Err(IndexFault::Missing);
    }
    let db = open(folder, OpenFlags::SQLITE_OPEN_READ_ONLY, interrupt)?;
    db.execute_batch("PRAGMA temp_store = MEMORY")?;
    check_format(folder, &db)?;
    check_schema(&db)?;
    Ok(db)
}

/// Opens the database for writing; makes its tables where there are none.
pub(super) fn open_writer(folder: &Path, interrupt: &Interrupt) -> Result<Connection, IndexFault> {
    check_files(folder)?;
    let mut db = open(folder, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE, interrupt)?;
    // Changes stay in memory until the end of a transaction, so that it shuts readers out only then.
    db.execute_batch("PRAGMA temp_store = MEMORY; PRAGMA cache_spill = OFF; PRAGMA journal_mode = DELETE;")?;
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let tables: i64 = transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0))?;
    if tables == 0 {
        transaction.execute_batch(TABLES)?;
        transaction.execute_batch(CAPTION_TABLES)?;
        transaction.execute_batch(SCREEN_TABLES)?;
        let meta = "INSERT INTO meta VALUES ('format', ?1), ('generation', 0)";
        transaction.execute(meta, [format!("{FORMAT_PREFIX}{VERSION}")])?;
    } else {
        check_format(folder, &transaction)?;
        check_schema(&transaction)?;
    }
    transaction.commit()?;
    Ok(db)
}

/// Opens the database, and makes SQLite wary of it.
fn open(folder: &Path, how: OpenFlags, interrupt: &Interrupt) -> Result<Connection, IndexFault> {
    // SQLite refuses a link anywhere in the path; the user may have named the folder by one.
    let folder = folder.canonicalize().map_err(|e| IndexFault::Read("".into(), e))?;
    let how = how | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let mut db = Connection::open_with_flags(folder.join(DATABASE), how)?;
    for (config, value) in [
        (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
        (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false),
    ] {
        db.set_db_config(config, value)?;
    }
    for (limit, most) in LIMITS {
        db.set_limit(limit, most)?;
    }
    let interrupt = interrupt.clone();
    db.progress_handler(STEPS, Some(move || interrupt.is_set()))?;
    db.busy_timeout(BUSY_TIMEOUT)?;
    db.execute_batch("PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0;")?;
    Ok(db)
}

/// Refuses an index of another version of descry. That has other tables, so only the one that states the format is looked at before.
fn check_format(folder: &Path, db: &Connection) -> Result<(), IndexFault> {
    if !is_expected(db, "meta")? {
        return Err(IndexFault::Damaged("it does not state its format".into()));
    }
    let format: String = db.query_row("SELECT value FROM meta WHERE key = 'format'", [], |r| r.get(0))?;
    let version = format.strip_prefix(FORMAT_PREFIX).and_then(|v| v.parse::<u32>().ok());
    match version {
        Some(VERSION) => Ok(()),
        Some(1..VERSION) => Err(IndexFault::Outdated),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_ends_soon_after_an_interrupt() {
        let (dir, interrupt) = (tempfile::tempdir().unwrap(), Interrupt::new());
        let db = open_writer(dir.path(), &interrupt).unwrap();
        interrupt.set();
        let endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n";
        let ended: Result<i64, IndexFault> = db.query_row(endless, [], |r| r.get(0)).map_err(IndexFault::from);
        assert!(matches!(ended, Err(IndexFault::Other(Error::Interrupted))), "{ended:?}");
    }

    /// Full-text search counts no steps of its own, but reads each page of its index by a statement that takes some.
    #[test]
    fn a_search_for_words_ends_soon_after_an_interrupt() {
        let (dir, interrupt) = (tempfile::tempdir().unwrap(), Interrupt::new());
        let db = open_writer(dir.path(), &interrupt).unwrap();
        let words: Vec<String> = (0..64).map(|n| format!("word{n}")).collect();
        begin(&db).unwrap();
        for id in 1..=2_000 {
            let text = format!("{} {id}", words.join(" "));
            db.execute("INSERT INTO texts (id, text) VALUES (?1, ?2)", (id, &text)).unwrap();
            db.execute("INSERT INTO words (rowid, text) VALUES (?1, ?2)", (id, &text)).unwrap();
        }
        commit(&db).unwrap();
        let mut query = db.prepare("SELECT rowid, -bm25(words) FROM words WHERE words MATCH ?1").unwrap();
        // Before the first caption, the captions of each word are counted.
        let mut rows = query.query([words.join(" OR ")]).unwrap();
        interrupt.set();
        let ended = rows.next().map(|row| row.is_some()).map_err(IndexFault::from);
        assert!(matches!(ended, Err(IndexFault::Other(Error::Interrupted))), "{ended:?}");
    }

    #[test]
    fn sqlite_trusts_nothing_in_the_database() {
        let dir = tempfile::tempdir().unwrap();
        let db = open_writer(dir.path(), &Interrupt::new()).unwrap();
        db.execute_batch("CREATE VIEW v AS SELECT 1").unwrap();
        assert!(db.query_row("SELECT * FROM v", [], |r| r.get::<_, i64>(0)).is_err());
        assert!(db.execute_batch("PRAGMA writable_schema = ON; DELETE FROM sqlite_schema").is_err());
        assert!(db.execute_batch("ATTACH ':memory:' AS other").is_err());
        assert!(db.prepare(&format!("SELECT '{}'", "a".repeat(200_000))).is_err());
    }
}
