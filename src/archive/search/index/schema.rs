//! The database's tables: what it may hold, and which files may be beside it, before SQLite uses them.
//!
//! SQL in a schema runs when a statement touches it, however harmless the statement: a view can compute for ever, a trigger
//! can change what is read. And a journal can name files outside of the folder, which SQLite would remove.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::OnceLock;

use rusqlite::Connection;

use super::fault::{DATABASE, IndexFault};
use crate::open_folder::OpenFolder;

/// Models, videos and files of vectors.
pub(super) const TABLES: &str = "
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE models (id INTEGER PRIMARY KEY, hash TEXT NOT NULL UNIQUE, name TEXT NOT NULL, width INTEGER NOT NULL);
CREATE TABLE videos (id INTEGER PRIMARY KEY AUTOINCREMENT, key INTEGER NOT NULL, state INTEGER NOT NULL, name TEXT NOT NULL,
    model INTEGER REFERENCES models, keyframes INTEGER NOT NULL, review TEXT, UNIQUE (key, state));
CREATE TABLE segments (name TEXT PRIMARY KEY, model INTEGER NOT NULL REFERENCES models, keyframes INTEGER NOT NULL) WITHOUT ROWID;
";

/// Every caption once, and its words. Folds case, accents and English endings.
pub(crate) const CAPTION_TABLES: &str = "
CREATE TABLE texts (id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT NOT NULL UNIQUE);
CREATE VIRTUAL TABLE words USING fts5 (text, content = 'texts', content_rowid = 'id',
    tokenize = 'porter unicode61 remove_diacritics 2');
";

/// The text that appears on the screen in a keyframe's stretch, a line in each line of it, and its words, which are folded as
/// those of captions are. `lines` says when and where each line is seen.
pub(super) const SCREEN_TABLES: &str = "
CREATE TABLE screens (id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT NOT NULL, lines TEXT NOT NULL);
CREATE VIRTUAL TABLE screen_words USING fts5 (text, content = 'screens', content_rowid = 'id',
    tokenize = 'porter unicode61 remove_diacritics 2');
";

/// What a database file begins with.
const MAGIC: &[u8] = b"SQLite format 3\0";
/// Where a database file says, twice, how it is written; 1 is with a journal that is removed after each transaction.
const WRITE_VERSION: usize = 18;
/// What ends a journal that belongs to several databases. The names of the others' journals are in a file that it names.
const SUPER_JOURNAL: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
/// More than the tables and indexes of an index.
const MOST_ENTRIES: u32 = 64;

/// A table or index: its kind, name, table and SQL.
type SchemaEntry = (String, String, String, Option<String>);

/// Whether a database has the tables and indexes that descry makes, and nothing else.
pub(super) fn check_schema(db: &Connection) -> Result<(), IndexFault> {
    match read_schema(db)? == *expected()? {
        true => Ok(()),
        false => Err(IndexFault::Damaged("its tables are not those that descry makes".into())),
    }
}

/// Whether a table is the one that descry makes.
pub(super) fn is_expected(db: &Connection, table: &str) -> Result<bool, IndexFault> {
    let of_table = |entries: &[SchemaEntry]| -> Vec<SchemaEntry> {
        entries.iter().filter(|(_, name, of, _)| name == table || of == table).cloned().collect()
    };
    Ok(of_table(&read_schema(db)?) == of_table(expected()?))
}

fn read_schema(db: &Connection) -> Result<Vec<SchemaEntry>, IndexFault> {
    let mut query = db.prepare("SELECT type, name, tbl_name, sql FROM sqlite_schema LIMIT ?1")?;
    let entries = query.query_map([MOST_ENTRIES], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))?;
    let mut entries: Vec<SchemaEntry> = entries.collect::<Result<_, _>>()?;
    entries.sort_unstable();
    Ok(entries)
}

/// The schema of a new index, sorted.
fn expected() -> Result<&'static [SchemaEntry], IndexFault> {
    static EXPECTED: OnceLock<Vec<SchemaEntry>> = OnceLock::new();
    if let Some(known) = EXPECTED.get() {
        return Ok(known);
    }
    let db = Connection::open_in_memory()?;
    db.execute_batch(TABLES)?;
    db.execute_batch(CAPTION_TABLES)?;
    db.execute_batch(SCREEN_TABLES)?;
    let schema = read_schema(&db)?;
    Ok(EXPECTED.get_or_init(|| schema))
}

/// Checks the database file and what SQLite would read beside it; returns whether there is a database.
pub(super) fn check_files(folder: &Path) -> Result<bool, IndexFault> {
    let opened = match OpenFolder::open(folder) {
        Ok(opened) => opened,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(IndexFault::Read("".into(), e)),
    };
    for tail in ["-wal", "-shm"] {
        let name = format!("{DATABASE}{tail}");
        if opened.exists(&name).map_err(|e| IndexFault::Read(name.clone().into(), e))? {
            return Err(IndexFault::Damaged(format!("{name} is not of descry")));
        }
    }
    let journal = format!("{DATABASE}-journal");
    if let Some(mut file) = open_file(&opened, &journal)?
        && ends_with(&mut file, SUPER_JOURNAL).map_err(|e| IndexFault::Read(journal.clone().into(), e))?
    {
        return Err(IndexFault::Damaged(format!("{journal} names other files")));
    }
    let Some(file) = open_file(&opened, DATABASE)? else { return Ok(false) };
    let mut head = Vec::new();
    file.take(100).read_to_end(&mut head).map_err(|e| IndexFault::Read(DATABASE.into(), e))?;
    // SQLite itself refuses a file that is not a database.
    if head.starts_with(MAGIC) && head.get(WRITE_VERSION..WRITE_VERSION + 2) != Some(&[1, 1]) {
        return Err(IndexFault::Damaged(format!("{DATABASE} is written in another way")));
    }
    Ok(true)
}

/// Opens a regular file; none where it does not exist.
fn open_file(folder: &OpenFolder, name: &str) -> Result<Option<File>, IndexFault> {
    match folder.file(name) {
        Ok(file) => Ok(Some(file)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) if e.kind() == ErrorKind::InvalidInput => Err(IndexFault::Damaged(format!("{name}: {e}"))),
        Err(e) => Err(IndexFault::Read(name.into(), e)),
    }
}

fn ends_with(file: &mut File, tail: [u8; 8]) -> io::Result<bool> {
    if file.metadata()?.len() < tail.len() as u64 {
        return Ok(false);
    }
    file.seek(SeekFrom::End(-(tail.len() as i64)))?;
    let mut found = [0; 8];
    file.read_exact(&mut found)?;
    Ok(found == tail)
}
